"""Every shipped price and volume feature against pandas, and its lookback against its own rows."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.specs import SpecCatalog
from quant_engine.features.pipeline import FeatureSet, check_feature_set, compute_features

pytestmark = [pytest.mark.feature("Q-19"), pytest.mark.feature("Q-20")]

SETS = ("price_volume_v1", "price_volume_core")


@pytest.fixture(scope="module")
def full_set():
    return SpecCatalog.default().load("features", "price_volume_v1", FeatureSet)


@pytest.fixture(scope="module")
def frames(panel):
    return {name: pd.DataFrame(panel.field(name)) for name in panel.fields}


@pytest.fixture(scope="module")
def computed(panel, full_set):
    return compute_features(panel, full_set)


def rank_of_last(values):
    return (values < values[-1]).mean() + ((values == values[-1]).sum() + 1) / 2 / len(values)


def line_fit(frame, w, part):
    def fit(values):
        time = np.arange(1.0, w + 1)
        slope, level = np.polyfit(time, values, 1)
        errors = values - level - slope * time
        squared = 1.0 - (errors**2).sum() / ((values - values.mean()) ** 2).sum()
        return {"slope": slope, "rsquare": squared, "residual": errors[-1]}[part]

    return frame.rolling(w).apply(fit, raw=True)


def pandas_features(f, mask):
    """The definitions, written with pandas: kind -> function of the window."""
    o, h, low, c, v = (f[name] for name in ("open", "high", "low", "close", "volume"))
    d = c.diff()
    dv = v.diff()
    up, down = d.clip(lower=0), (-d).clip(lower=0)
    v_up, v_down = dv.clip(lower=0), (-dv).clip(lower=0)
    top, bottom = o.where(o > c, c), o.where(o < c, c)
    move = (c / c.shift() - 1).abs() * v
    total = (c + f["dividend"]) / c.shift() - 1
    money = c * v
    held = np.vstack([np.zeros_like(mask[:1]), mask[:-1]])
    market = total.where(held).mean(axis=1)
    ratio, v_ratio = c / c.shift(), np.log(v / v.shift() + 1)

    def place(frame, w, function):
        return frame.rolling(w).apply(lambda x: function(x) + 1, raw=True) / w

    def market_beta(w):
        return total.rolling(w).cov(market).div(market.rolling(w).var(), axis=0)

    def growth(w):
        return np.expm1(np.log1p(total).rolling(w - 21).sum()).shift(21)

    return {
        "kmid": lambda w: (c - o) / o,
        "klen": lambda w: (h - low) / o,
        "kmid2": lambda w: (c - o) / (h - low + 1e-12),
        "kup": lambda w: (h - top) / o,
        "kup2": lambda w: (h - top) / (h - low + 1e-12),
        "klow": lambda w: (bottom - low) / o,
        "klow2": lambda w: (bottom - low) / (h - low + 1e-12),
        "ksft": lambda w: (2 * c - h - low) / o,
        "ksft2": lambda w: (2 * c - h - low) / (h - low + 1e-12),
        "open0": lambda w: o / c,
        "high0": lambda w: h / c,
        "low0": lambda w: low / c,
        "gap": lambda w: (o + f["dividend"]) / c.shift() - 1,
        "roc": lambda w: c.shift(w) / c,
        "ma": lambda w: c.rolling(w).mean() / c,
        "std": lambda w: c.rolling(w).std() / c,
        "beta": lambda w: line_fit(c, w, "slope") / c,
        "rsqr": lambda w: line_fit(c, w, "rsquare"),
        "resi": lambda w: line_fit(c, w, "residual") / c,
        "max": lambda w: h.rolling(w).max() / c,
        "min": lambda w: low.rolling(w).min() / c,
        "qtlu": lambda w: c.rolling(w).quantile(0.8) / c,
        "qtld": lambda w: c.rolling(w).quantile(0.2) / c,
        "rank": lambda w: c.rolling(w).apply(rank_of_last, raw=True),
        "rsv": lambda w: (
            (c - low.rolling(w).min()) / (h.rolling(w).max() - low.rolling(w).min() + 1e-12)
        ),
        "imax": lambda w: place(h, w, np.argmax),
        "imin": lambda w: place(low, w, np.argmin),
        "imxd": lambda w: place(h, w, np.argmax) - place(low, w, np.argmin),
        "corr": lambda w: c.rolling(w).corr(np.log(v + 1)),
        "cord": lambda w: ratio.rolling(w).corr(v_ratio),
        "cntp": lambda w: (d > 0).where(d.notna()).astype(float).rolling(w).mean(),
        "cntn": lambda w: (d < 0).where(d.notna()).astype(float).rolling(w).mean(),
        "cntd": lambda w: np.sign(d).rolling(w).mean(),
        "sump": lambda w: up.rolling(w).sum() / d.abs().rolling(w).sum(),
        "sumn": lambda w: down.rolling(w).sum() / d.abs().rolling(w).sum(),
        "sumd": lambda w: d.rolling(w).sum() / d.abs().rolling(w).sum(),
        "vma": lambda w: v.rolling(w).mean() / v,
        "vstd": lambda w: v.rolling(w).std() / v,
        "wvma": lambda w: move.rolling(w).std() / move.rolling(w).mean(),
        "vsump": lambda w: v_up.rolling(w).sum() / dv.abs().rolling(w).sum(),
        "vsumn": lambda w: v_down.rolling(w).sum() / dv.abs().rolling(w).sum(),
        "vsumd": lambda w: dv.rolling(w).sum() / dv.abs().rolling(w).sum(),
        "momentum": growth,
        "vol": lambda w: total.rolling(w).std(),
        "vol_ratio": lambda w: total.rolling(20).std() / total.rolling(w).std(),
        "parkinson": lambda w: np.sqrt((np.log(h / low) ** 2).rolling(w).mean() / 4 / np.log(2)),
        "max_return": lambda w: total.rolling(w).max(),
        "amihud": lambda w: (total.abs() / money).rolling(w).mean() * 1e6,
        "dollar_volume_z": lambda w: (
            (np.log(money) - np.log(money).rolling(w).mean()) / np.log(money).rolling(w).std()
        ),
        "log_dollar_volume": lambda w: np.log(money.rolling(w).mean()),
        "high_distance": lambda w: c / h.rolling(w).max() - 1,
        "low_distance": lambda w: c / low.rolling(w).min() - 1,
        "beta_market": market_beta,
        "ivol_market": lambda w: np.sqrt(
            (
                total.rolling(w).var()
                - market_beta(w) ** 2 * market.rolling(w).var().to_numpy()[:, None]
            )
            * (w - 1)
            / (w - 2)
        ),
    }


LONG_NAMES = {
    "mom12_1": ("momentum", 252), "mom6_1": ("momentum", 126), "gap0": ("gap", 0),
    "volr": "vol_ratio", "park": "parkinson", "maxret": "max_return", "dvolz": "dollar_volume_z",
    "ldvol": "log_dollar_volume", "highd": "high_distance", "lowd": "low_distance",
    "betam": "beta_market", "ivol": "ivol_market",
}  # fmt: skip


def family_of(name):
    """Definition and window of a feature, from its name."""
    name = name.lower()
    if name in LONG_NAMES:
        return LONG_NAMES[name]
    family, window = re.fullmatch(r"([a-z]+)(\d*)", name).groups()
    if family.startswith("k") or window == "0":
        return name, 0
    return LONG_NAMES.get(family, family), int(window)


def test_every_feature_equals_its_pandas_definition(panel, full_set, frames, computed):
    definitions = pandas_features(frames, panel.mask("member"))
    for spec in full_set.features:
        family, window = family_of(spec.name)
        want = definitions[family](window).to_numpy(dtype=float)
        got = computed.field(spec.name)
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6, err_msg=spec.name)


def test_every_feature_needs_exactly_its_lookback(panel, full_set, computed):
    n_rows = panel.shape[0]
    lookbacks = {spec.lookback_sessions for spec in full_set.features}
    tails = {
        n: compute_features(panel.rows(n_rows - n, n_rows), full_set)
        for n in lookbacks | {n - 1 for n in lookbacks} | {n - 2 for n in lookbacks}
    }
    for spec in full_set.features:
        enough = tails[spec.lookback_sessions].field(spec.name)
        assert np.isfinite(enough[-1]).all(), spec.name
        if not spec.name.startswith(("BETAM", "IVOL")):
            assert np.isnan(enough[:-1]).all(), spec.name
        np.testing.assert_allclose(
            enough[-1], computed.field(spec.name)[-1], rtol=1e-5, atol=1e-6, err_msg=spec.name
        )
        # The market return needs the members of the session before it, and the first return comes
        # one session after the first member: its first value does not need all its rows.
        shorter = 1 + spec.name.startswith(("BETAM", "IVOL"))
        assert np.isnan(tails[spec.lookback_sessions - shorter].field(spec.name)).all(), spec.name


def test_a_missing_bar_blanks_exactly_the_windows_that_hold_it(panel_factory, full_set):
    panel = panel_factory(600, 3)
    gap, column = 300, 1
    fields = {name: values.copy() for name, values in panel.fields.items()}
    for name in ("open", "high", "low", "close", "volume"):
        fields[name][gap, column] = np.nan
    # Everybody is a member: a session without any member has no market return.
    panel = panel.with_fields(fields).with_masks({"member": np.ones(panel.shape, bool)})
    got = compute_features(panel, full_set)
    rows = np.arange(600)
    for spec in full_set.features:
        n = spec.lookback_sessions
        blank = (rows < n - 1) | ((rows >= gap) & (rows < gap + n))
        if spec.name.startswith("ROC"):  # reads the two ends of its window
            blank = (rows < n - 1) | (rows == gap) | (rows == gap + n - 1)
        if spec.name.startswith("MOM"):  # reads no session of the last month
            blank = (rows < n - 1) | ((rows >= gap + 21) & (rows < gap + n))
        if spec.name.startswith(("BETAM", "IVOL")):  # the first return is the market's first, too
            n -= 1
            blank = (rows < n - 1) | ((rows >= gap) & (rows < gap + n))
        values = got.field(spec.name)
        np.testing.assert_array_equal(np.isnan(values[:, column]), blank, err_msg=spec.name)
        assert np.isfinite(values[n - 1 :, 0]).all(), spec.name


def test_zero_volume_is_no_number_and_not_a_huge_one(panel, full_set):
    volume = panel.field("volume").copy()
    volume[300, 0] = 0.0
    got = compute_features(panel.with_fields({"volume": volume}), full_set)
    for name in ("VMA5", "VSTD20", "CORD5", "AMIHUD20", "DVOLZ20"):
        assert np.isnan(got.field(name)[301 if name == "CORD5" else 300, 0]), name
    assert np.isfinite(got.field("CORR5")[300, 0])
    assert max(np.nanmax(np.abs(got.field(name))) for name in full_set.names) < 1e6


@pytest.mark.parametrize("name", SETS)
def test_shipped_sets_are_well_formed(name):
    loaded = SpecCatalog.default().load("features", name, FeatureSet)
    assert loaded.name == name
    check_feature_set(loaded)


def test_the_full_set_holds_alpha158_without_vwap(full_set):
    families = (
        "ROC MA STD BETA RSQR RESI MAX MIN QTLU QTLD RANK RSV IMAX IMIN IMXD CORR CORD CNTP CNTN "
        "CNTD SUMP SUMN SUMD VMA VSTD WVMA VSUMP VSUMN VSUMD"
    ).split()
    rolling = {f"{family}{w}" for family in families for w in (5, 10, 20, 30, 60)}
    bars = set("KMID KLEN KMID2 KUP KUP2 KLOW KLOW2 KSFT KSFT2 OPEN0 HIGH0 LOW0".split())
    assert rolling | bars < set(full_set.names)
    assert len(rolling | bars) == 157


def test_the_core_set_is_a_part_of_the_full_set(full_set):
    core = SpecCatalog.default().load("features", "price_volume_core", FeatureSet)
    assert set(core.features) <= set(full_set.features)
    assert 55 <= len(core.features) <= 70
