"""The 101 formulaic alphas against the paper's text, read by an evaluator of their own."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from quant_engine.core.panel import GroupTable, Panel, PriceBasis, TimeAxis
from quant_engine.core.specs import SpecCatalog
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.pipeline import FeatureSet, check_feature_set, compute_features
from quant_engine.testing.lookahead import assert_prefix_invariant

pytestmark = [pytest.mark.feature("Q-19"), pytest.mark.feature("Q-20")]

PAPER = Path(__file__).with_name("alpha101_paper.txt")
GROUPED = {48, 56, 58, 59, 63, 67, 69, 70, 76, 79, 80, 82, 87, 89, 90, 91, 93, 97, 100}
TIED = {13, 15, 16, 27, 31, 45, 50, 67, 68, 71, 72, 75, 76, 78, 79, 81, 85, 88, 92, 94, 96, 97, 98}
"""Alphas that rank averages, covariances or correlations of ranks: exact ties, and rounding."""

WOBBLE = 1e-11


def paper_formulas():
    lines = [line for line in PAPER.read_text().splitlines() if not line.startswith("#")]
    return {int(number): text for number, text in (line.split(" ", 1) for line in lines)}


def shipped(name):
    return SpecCatalog.default().load("features", name, FeatureSet)


class Grid(np.ndarray):
    """(T, N) values; a comparison or power with a missing value is missing."""

    def _known(self, other, result):
        result = np.asarray(result, dtype=float)
        missing = np.isnan(np.asarray(self)) | np.isnan(np.asarray(other))
        return grid(np.where(missing, np.nan, result))

    def __lt__(self, other):
        return self._known(other, np.asarray(self) < np.asarray(other))

    def __gt__(self, other):
        return self._known(other, np.asarray(self) > np.asarray(other))

    def __eq__(self, other):
        return self._known(other, np.asarray(self) == np.asarray(other))

    def __or__(self, other):
        return grid(np.maximum(self, other))

    def __pow__(self, other):
        return self._known(other, np.asarray(self) ** np.asarray(other))

    __hash__ = None


def grid(values):
    values = np.asarray(values, dtype=float)
    return np.where(np.isfinite(values), values, np.nan).view(Grid)


class Paper:
    """The functions of appendix A.2, each in the plainest way; `sign` shifts the last digits.

    Only results that another order of summation may round otherwise are shifted.
    """

    def __init__(self, panel, sign=0.0, seed=0):
        self.rng, self.sign = np.random.default_rng(seed), sign
        self.names = {name: grid(values) for name, values in panel.fields.items()}
        close = self.names["close"]
        self.names["returns"] = close / self.delay(close, 1) - 1
        self.names |= {name: table.codes for name, table in panel.groups.items()}
        self.names |= {
            name: getattr(self, name)
            for name in vars(Paper)
            if not name.startswith("_") and name != "evaluate"
        }
        self.names |= {"abs": np.abs, "sign": np.sign}

    def evaluate(self, text):
        days = {name: int(name[3:]) for name in re.findall(r"adv\d+", text)}
        traded = self.names["close"] * self.names["volume"]
        adv = {name: self._mean(traded, d) for name, d in days.items()}
        with np.errstate(all="ignore"):
            return np.asarray(eval(text, {"__builtins__": {}}, {**self.names, **adv}))

    def _shifted(self, x, scale):
        if not self.sign:
            return grid(x)
        return grid(x + self.sign * WOBBLE * scale * self.rng.uniform(0.0, 1.0, np.shape(x)))

    def _rolled(self, x, d, function):
        out = np.full(x.shape, np.nan)
        if d <= len(x):
            windows = sliding_window_view(np.asarray(x), d, axis=0)
            known = ~np.isnan(windows).any(axis=-1)
            out[d - 1 :] = np.where(known, function(windows), np.nan)
        return grid(out)

    def _mean(self, x, d):
        mean = self._rolled(x, int(d), lambda w: w.mean(axis=-1))
        return self._shifted(mean, np.abs(mean))

    def _pair(self, x, y, d):
        a = sliding_window_view(np.asarray(x), d, axis=0)
        b = sliding_window_view(np.asarray(y), d, axis=0)
        flat = (np.ptp(a, axis=-1) == 0) | (np.ptp(b, axis=-1) == 0)
        a, b = (v - v.mean(axis=-1, keepdims=True) for v in (a, b))
        warm_up = np.full((d - 1, x.shape[1]), np.nan)
        squares = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
        return [np.vstack([warm_up, part]) for part in ((a * b).sum(axis=-1), squares, flat)]

    def rank(self, x):
        return grid(pd.DataFrame(x).rank(axis=1, pct=True))

    def ts_rank(self, x, d):
        return grid(pd.DataFrame(x).rolling(int(d)).rank(pct=True))

    def delay(self, x, d):
        return grid(pd.DataFrame(x).shift(int(d)))

    def delta(self, x, d):
        return x - self.delay(x, d)

    def correlation(self, x, y, d):
        products, squares, flat = self._pair(x, y, int(d))
        with np.errstate(all="ignore"):
            value = np.where(flat == 0, np.clip(products / squares, -1, 1), np.nan)
        return self._shifted(value, 1.0)

    def correlation_or_zero(self, x, y, d):
        value = self.correlation(x, y, d)
        return grid(np.where(self._pair(x, y, int(d))[2] == 1, 0 * delta_sum(x, y, d), value))

    def covariance(self, x, y, d):
        products, squares, _ = self._pair(x, y, int(d))
        return self._shifted(products / (int(d) - 1), squares)

    def stddev(self, x, d):
        value = self._rolled(x, int(d), lambda w: w.std(axis=-1, ddof=1))
        return self._shifted(value, np.abs(value))

    def sum(self, x, d):
        value = self._rolled(x, int(d), lambda w: w.sum(axis=-1))
        size = self._rolled(np.abs(x), int(d), lambda w: w.sum(axis=-1))
        return self._shifted(value, size) if d > 1 else value

    def product(self, x, d):
        value = self._rolled(x, int(d), lambda w: w.prod(axis=-1))
        return self._shifted(value, np.abs(value)) if d > 1 else value

    def decay_linear(self, x, d):
        weights = np.arange(1, int(d) + 1) / (int(d) * (int(d) + 1) / 2)
        value = self._rolled(x, int(d), lambda w: w @ weights)
        return self._shifted(value, self._rolled(np.abs(x), int(d), lambda w: w @ weights))

    def ts_min(self, x, d):
        return self._rolled(x, int(d), lambda w: w.min(axis=-1))

    def ts_max(self, x, d):
        return self._rolled(x, int(d), lambda w: w.max(axis=-1))

    def ts_argmax(self, x, d):
        return self._rolled(x, int(d), lambda w: w.argmax(axis=-1) + 1)

    def ts_argmin(self, x, d):
        return self._rolled(x, int(d), lambda w: w.argmin(axis=-1) + 1)

    def min(self, x, other):
        return grid(np.minimum(x, other)) if np.ndim(other) else self.ts_min(x, other)

    def max(self, x, other):
        return grid(np.maximum(x, other)) if np.ndim(other) else self.ts_max(x, other)

    def where(self, condition, a, b):
        chosen = np.where(np.asarray(condition) != 0, a, b)
        return grid(np.where(np.isnan(condition), np.nan, chosen))

    def log(self, x):
        with np.errstate(all="ignore"):
            return grid(np.log(np.asarray(x)))

    def signedpower(self, x, a):
        return x**a

    def scale(self, x, a=1.0):
        return grid(a * x / np.nansum(np.abs(x), axis=1, keepdims=True))

    def indneutralize(self, x, codes):
        out = np.full(x.shape, np.nan)
        for code in np.unique(codes[codes >= 0]):
            inside = np.where(codes == code, x, np.nan)
            count = np.isfinite(inside).sum(axis=1, keepdims=True)
            mean = np.nansum(inside, axis=1, keepdims=True) / np.maximum(count, 1)
            out = np.where(codes == code, x - mean, out)
        return self._shifted(out, np.abs(x))


def delta_sum(x, y, d):
    """Missing where a window of either is not complete, else a number."""
    return (pd.DataFrame(x + y).rolling(int(d)).sum()).to_numpy()


def draw_market(n_rows=330, n_assets=12, seed=7):
    """Prices around one, so that shares and dollars are alike; one late start, one gap."""
    rng = np.random.default_rng(seed)
    path = rng.normal(0.0, 0.06, (n_rows, n_assets))
    for t in range(1, n_rows):
        path[t] += 0.9 * path[t - 1]
    close = np.exp(path)
    open_ = close * np.exp(rng.normal(0.0, 0.01, close.shape))
    high = np.maximum(open_, close) * np.exp(rng.exponential(0.006, close.shape))
    low = np.minimum(open_, close) * np.exp(-rng.exponential(0.006, close.shape))
    fields = {
        "open": open_, "high": high, "low": low, "close": close,
        "volume": rng.lognormal(10.0, 0.5, close.shape).round(),
        "vwap": low + (high - low) * rng.beta(2.0, 2.0, close.shape),
        "cap": close * rng.lognormal(15.0, 1.0, n_assets),
    }  # fmt: skip
    for values in fields.values():
        values[:25, 3] = np.nan
        values[40, 8] = np.nan
    place = np.arange(n_assets)
    groups = {}
    for name, n_groups in (("sector", 2), ("industry", 3), ("subindustry", 4)):
        codes = np.tile(place % n_groups, (n_rows, 1))
        codes[n_rows - 30 :, 5] = 0
        codes[:, 11] = -1 if name == "subindustry" else codes[:, 11]
        groups[name] = GroupTable(codes, tuple(f"{name} {i}" for i in range(n_groups)))
    days = np.datetime64("2020-01-01") + np.arange(n_rows)
    assets = tuple(f"A{i:02}@US#1" for i in place)
    return Panel(TimeAxis.sessions(days), assets, fields, {}, groups, PriceBasis.SPLIT_ADJ)


@pytest.fixture(scope="module")
def market():
    return draw_market()


def all_specs():
    return [s for name in ("alpha101", "alpha101_groups") for s in shipped(name).features]


def number_of(name):
    return int(name.removeprefix("ALPHA"))


@pytest.fixture(scope="module")
def ours(market):
    return alphas().run(market, dtype=np.float64)


def alphas():
    return compile_expressions({s.name: s.expression for s in all_specs()})


def decided(market, text, want):
    """Cells that do not hang on the last digits."""
    # A tie of two values falls one way under a shift of the last digits and the other way under
    # its opposite.
    stays = np.ones(want.shape, bool)
    for seed in range(1, 9):
        for sign in (1.0, -1.0):
            other = Paper(market, sign, seed).evaluate(text)
            stays &= np.isclose(other, want, rtol=1e-7, atol=1e-9, equal_nan=True)
    return stays


def differs(values, want):
    return ~np.isclose(values, want, rtol=1e-9, atol=1e-12, equal_nan=True)


def test_every_alpha_has_a_formula_and_its_set():
    plain, grouped = shipped("alpha101"), shipped("alpha101_groups")
    assert (len(plain.names), len(grouped.names)) == (82, 19)
    assert set(paper_formulas()) == set(range(1, 102))
    assert {number_of(name) for name in grouped.names} == GROUPED
    assert {number_of(name) for name in plain.names} == set(range(1, 102)) - GROUPED
    program = check_feature_set(plain)
    assert program.groups == ()
    assert set(program.fields) == {"open", "high", "low", "close", "volume", "vwap"}
    assert check_feature_set(grouped).groups == ("industry", "sector", "subindustry")


def test_values_are_those_of_the_papers_text(market, ours):
    plain = Paper(market)
    for n, text in paper_formulas().items():
        want, got = plain.evaluate(text), ours.field(f"ALPHA{n:03}")
        wrong = differs(got, want)
        if n not in TIED:
            assert not wrong.any(), n
            continue
        # Ties of many values may fall the same way in every shift: one cell in a thousand.
        assert (wrong & decided(market, text, want)).mean() < 1e-3, n
        assert (np.isfinite(want) == np.isfinite(got)).all(), n


def test_every_alpha_is_alive(market, ours):
    for name in ours.fields:
        values = ours.field(name)[252:]
        known = values[np.isfinite(values)]
        assert known.size > 0.5 * values.size, name
        assert np.ptp(known) > 0.0, name


def test_broken_ties_are_the_same_bits_on_every_run(market, ours):
    program = alphas()
    again = program.run(market, dtype=np.float64, threads=3)
    tail = program.tail(market, first_row=300, dtype=np.float64)
    for name in ours.fields:
        np.testing.assert_array_equal(again.field(name), ours.field(name), err_msg=name)
        np.testing.assert_array_equal(tail.field(name), ours.field(name)[300:], err_msg=name)


@pytest.mark.leakage
@pytest.mark.parametrize("name", ["alpha101", "alpha101_groups"])
def test_no_alpha_sees_the_future(market, name):
    loaded = shipped(name)
    report = assert_prefix_invariant(
        lambda panel: compute_features(panel, loaded), market, cuts=[300, 325], seed=1
    )
    assert set(loaded.names) <= set(report.fields)


@pytest.mark.parametrize("name", ["alpha101", "alpha101_groups"])
def test_the_pipeline_gives_the_same_numbers(market, ours, name):
    got = compute_features(market, shipped(name))
    for field in got.fields:
        want = ours.field(field).astype(np.float32)
        np.testing.assert_array_equal(got.field(field), want, err_msg=field)
