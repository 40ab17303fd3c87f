"""Technical indicators: plain twins, gaps, lookbacks, look-ahead and independence of columns.

A twin computes the outputs of one run of complete bars of one asset, with pandas or a plain loop;
`by_runs` cuts a history at its gaps. Numbers frozen from TA-Lib stand in
`test_technical_talib.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant_engine.features.functions import FUNCTIONS
from quant_engine.features.indicators import catalogue
from quant_engine.features.indicators.smoothing import DECAYED, decayed_rows
from quant_engine.testing import assert_prefix_invariant

pytestmark = pytest.mark.feature("Q-19")

assert catalogue.momentum

LETTERS = {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"}


def begun_with_mean(x: np.ndarray, n: int, alpha: float, first: int | None = None) -> np.ndarray:
    """Exponential average of pandas that begins with the mean of n values."""
    first = n if first is None else first
    out = np.full(len(x), np.nan)
    start = np.flatnonzero(~np.isnan(x))
    if len(start) < first:
        return out
    at = start[0] + first - 1
    seeded = np.concatenate([[x[at - n + 1 : at + 1].mean()], x[at + 1 :]])
    out[at:] = pd.Series(seeded).ewm(alpha=alpha, adjust=False).mean()
    return out


def ema(x: np.ndarray, n: int, first: int | None = None) -> np.ndarray:
    return begun_with_mean(x, n, 2.0 / (n + 1.0), first)


def wilder(x: np.ndarray, n: int) -> np.ndarray:
    return begun_with_mean(x, n, 1.0 / n)


def rolled(x: np.ndarray, n: int, how: str) -> np.ndarray:
    return getattr(pd.Series(x).rolling(n), how)().to_numpy()


def over(a: np.ndarray, b: np.ndarray, neutral: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.where(b == 0.0, neutral, a / b)


def moves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    d = np.diff(x, prepend=np.nan)
    return np.where(d > 0, d, np.where(d <= 0, 0.0, np.nan)), np.where(d < 0, -d, 0.0 * d)


def span_of(h: np.ndarray, lo: np.ndarray, c: np.ndarray) -> np.ndarray:
    before = np.concatenate([[np.nan], c[:-1]])
    return np.maximum(h, before) - np.minimum(lo, before)


def twin_rsi(c: np.ndarray, n: int) -> np.ndarray:
    up, down = (wilder(m, n) for m in moves(c))
    return 100.0 * over(up, up + down, 0.5)


def twin_cmou(c: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    up, down = (rolled(m, n, "sum").round(12) for m in moves(c))
    return (100.0 * over(up - down, up + down, 0.0),)


def chain(c: np.ndarray, n: int, depth: int) -> list[np.ndarray]:
    found = [ema(c, n)]
    for _ in range(depth - 1):
        found.append(ema(found[-1], n))
    return found


def twin_dema(c: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    a, b = chain(c, n, 2)
    return (2 * a - b,)


def twin_tema(c: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    a, b, d = chain(c, n, 3)
    return (3 * a - 3 * b + d,)


def twin_kama(c: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    out = np.full(len(c), np.nan)
    level = c[n - 1] if len(c) >= n else np.nan
    for t in range(n, len(c)):
        path = np.abs(np.diff(c[t - n : t + 1])).sum()
        efficiency = abs(c[t] - c[t - n]) / path if path else 1.0
        level += (efficiency * (2 / 3 - 2 / 31) + 2 / 31) ** 2 * (c[t] - level)
        out[t] = level
    return (out,)


def twin_trix(c: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    last = chain(c, n, 3)[-1]
    return (100.0 * (last / np.concatenate([[np.nan], last[:-1]]) - 1.0),)


def twin_macd(c: np.ndarray, fast: int, slow: int, signal: int) -> tuple[np.ndarray, ...]:
    line = ema(c, fast, slow) - ema(c, slow)
    average = ema(line, signal)
    return np.where(np.isnan(average), np.nan, line), average, line - average


def twin_ppo(c: np.ndarray, fast: int, slow: int) -> tuple[np.ndarray, ...]:
    return (100.0 * (ema(c, fast) / ema(c, slow) - 1.0),)


def place(h: np.ndarray, lo: np.ndarray, c: np.ndarray, n: int, least: float = 0.0) -> np.ndarray:
    top, bottom = rolled(h, n, "max"), rolled(lo, n, "min")
    extent = top - bottom
    return 100.0 * over(c - bottom, np.where(extent <= least, 0.0, extent), 0.5)


def both(fast: np.ndarray, smooth: int, signal: int) -> tuple[np.ndarray, ...]:
    k = rolled(fast, smooth, "mean")
    d = rolled(k, signal, "mean")
    return np.where(np.isnan(d), np.nan, k), d


def twin_stochastic_rsi(c: np.ndarray, n: int, window: int, signal: int) -> tuple[np.ndarray, ...]:
    level = twin_rsi(c, n)
    return both(place(level, level, level, window, 1e-9), 1, signal)


def twin_cci(h: np.ndarray, lo: np.ndarray, c: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    out = np.full(len(c), np.nan)
    typical = (h + lo + c) / 3.0
    for t in range(n - 1, len(c)):
        part = typical[t - n + 1 : t + 1]
        if np.ptp(part) == 0.0:
            out[t] = 0.0
        else:
            out[t] = (part[-1] - part.mean()) / (0.015 * np.abs(part - part.mean()).mean())
    return (out,)


def twin_ultimate(
    h: np.ndarray, lo: np.ndarray, c: np.ndarray, *windows: int
) -> tuple[np.ndarray, ...]:
    before = np.concatenate([[np.nan], c[:-1]])
    bought = c - np.minimum(lo, before)
    extent = span_of(h, lo, c)
    parts = [
        over(rolled(bought, n, "sum").round(12), rolled(extent, n, "sum").round(12), 0.5)
        for n in windows
    ]
    return (100.0 * (4 * parts[0] + 2 * parts[1] + parts[2]) / 7.0,)


def twin_mfi(
    h: np.ndarray, lo: np.ndarray, c: np.ndarray, v: np.ndarray, n: int
) -> tuple[np.ndarray, ...]:
    typical = (h + lo + c) / 3.0
    d = np.diff(typical.round(9), prepend=np.nan)
    flow = typical * v
    up = rolled(np.where(np.isnan(d), np.nan, np.where(d > 0, flow, 0.0)), n, "sum").round(3)
    down = rolled(np.where(np.isnan(d), np.nan, np.where(d < 0, flow, 0.0)), n, "sum").round(3)
    return (100.0 * over(up, up + down, 0.5),)


def running(x: np.ndarray, n: int) -> np.ndarray:
    out = np.full(len(x), np.nan)
    total = x[1:n].sum()
    for t in range(n, len(x)):
        total = total * (1.0 - 1.0 / n) + x[t]
        out[t] = total
    return out


def twin_directional(
    h: np.ndarray, lo: np.ndarray, c: np.ndarray, n: int
) -> tuple[np.ndarray, ...]:
    rise, fall = np.diff(h, prepend=np.nan), -np.diff(lo, prepend=np.nan)
    plus = np.where((rise > 0) & (rise > fall), rise, 0.0)
    minus = np.where((fall > 0) & (fall > rise), fall, 0.0)
    extent = running(span_of(h, lo, c), n)
    up = 100.0 * over(running(plus, n), extent, 0.0)
    down = 100.0 * over(running(minus, n), extent, 0.0)
    dx = 100.0 * over(np.abs(up - down), up + down, 0.0)
    return up, down, dx, wilder(dx, n)


def twin_atr(h: np.ndarray, lo: np.ndarray, c: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    level = wilder(span_of(h, lo, c), n)
    return level, 100.0 * level / c


def twin_aroon(h: np.ndarray, lo: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    def since(x: np.ndarray) -> np.ndarray:
        newest_first = pd.Series(x).rolling(n + 1)
        return newest_first.apply(lambda w: np.argmax(w[::-1]), raw=True).to_numpy()

    up, down = 100.0 * (n - since(h)) / n, 100.0 * (n - since(-lo)) / n
    return up, down, up - down


def twin_vortex(h: np.ndarray, lo: np.ndarray, c: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    before = lambda x: np.concatenate([[np.nan], x[:-1]])  # noqa: E731
    total = rolled(span_of(h, lo, c), n, "sum").round(12)
    plus = rolled(np.abs(h - before(lo)), n, "sum")
    minus = rolled(np.abs(lo - before(h)), n, "sum")
    return over(plus, total, 1.0), over(minus, total, 1.0)


def twin_sar(h: np.ndarray, lo: np.ndarray, step: float, limit: float) -> tuple[np.ndarray, ...]:
    out = np.full(len(h), np.nan)
    if len(h) < 2:
        return (out,)
    long = not (lo[0] - lo[1] > max(h[1] - h[0], 0.0))
    stop, extreme, pace = (lo[0], h[1], step) if long else (h[0], lo[1], step)
    for t in range(1, len(h)):
        s = max(t - 1, 1)
        if long and lo[t] <= stop:
            stop = max(extreme, h[s], h[t])
            out[t] = stop
            long, extreme, pace = False, lo[t], step
            stop = max(stop + step * (extreme - stop), h[s], h[t])
        elif long:
            out[t] = stop
            if h[t] > extreme:
                extreme, pace = h[t], min(pace + step, limit)
            stop = min(stop + pace * (extreme - stop), lo[s], lo[t])
        elif h[t] >= stop:
            stop = min(extreme, lo[s], lo[t])
            out[t] = stop
            long, extreme, pace = True, h[t], step
            stop = min(stop + step * (extreme - stop), lo[s], lo[t])
        else:
            out[t] = stop
            if lo[t] < extreme:
                extreme, pace = lo[t], min(pace + step, limit)
            stop = max(stop + pace * (extreme - stop), h[s], h[t])
    return (out,)


def twin_obv(c: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.cumsum(np.sign(np.diff(c, prepend=-np.inf)) * v),)


def flow_of(h: np.ndarray, lo: np.ndarray, c: np.ndarray, v: np.ndarray) -> np.ndarray:
    return over(2 * c - h - lo, h - lo, 0.0) * v


def twin_chaikin(
    h: np.ndarray, lo: np.ndarray, c: np.ndarray, v: np.ndarray, fast: int, slow: int
) -> tuple[np.ndarray, ...]:
    level = pd.Series(np.cumsum(flow_of(h, lo, c, v)))
    quick, calm = (level.ewm(span=n, adjust=False).mean() for n in (fast, slow))
    return ((quick - calm).where(np.arange(len(c)) >= slow - 1).to_numpy(),)


def twin_cmf(
    h: np.ndarray, lo: np.ndarray, c: np.ndarray, v: np.ndarray, n: int
) -> tuple[np.ndarray, ...]:
    total = rolled(v, n, "sum").round(3)
    return (over(rolled(flow_of(h, lo, c, v), n, "sum"), total, 0.0),)


def twin_vwap(p: np.ndarray, v: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    out = np.full((2, len(p)), np.nan)
    for t in range(n - 1, len(p)):
        price, weight = p[t - n + 1 : t + 1], v[t - n + 1 : t + 1]
        if weight.sum() > 0:
            out[0, t] = np.average(price, weights=weight)
            out[1, t] = np.sqrt(np.average((price - out[0, t]) ** 2, weights=weight))
    return tuple(out)


def twin_profile(
    h: np.ndarray, lo: np.ndarray, v: np.ndarray, n: int, n_bins: int, share: float
) -> tuple[np.ndarray, ...]:
    out = np.full((3, len(h)), np.nan)
    for t in range(n - 1, len(h)):
        high, low, volume = (x[t - n + 1 : t + 1] for x in (h, lo, v))
        if volume.sum() == 0:
            continue
        edges = np.linspace(low.min(), high.max(), n_bins + 1)
        if edges[0] == edges[-1]:
            out[:, t] = edges[0]
            continue
        bins = np.zeros(n_bins)
        for a, b, size in zip(low, high, volume, strict=True):
            if a == b:
                inside = round((a - edges[0]) / (edges[1] - edges[0]), 9)
                bins[min(int(inside), n_bins - 1)] += size
            else:
                overlap = np.minimum(b, edges[1:]) - np.maximum(a, edges[:-1])
                bins += size * np.maximum(overlap, 0.0) / (b - a)
        bins = bins.round(4)
        peak = first = last = int(np.argmax(bins))
        while bins[first : last + 1].sum() < share * volume.sum() - 1e-3:
            above = bins[last + 1] if last + 1 < n_bins else -1.0
            below = bins[first - 1] if first else -1.0
            first, last = (first, last + 1) if above >= below else (first - 1, last)
        out[:, t] = 0.5 * (edges[peak] + edges[peak + 1]), edges[last + 1], edges[first]
    return tuple(out)


def twin_streak(c: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    out = np.full(len(c), np.nan)
    signs = np.sign(np.diff(c))
    for t in range(n, len(c)):
        newest = signs[t - n : t][::-1]
        same = np.cumprod(newest == newest[0]).sum()
        out[t] = newest[0] * same
    return (out,)


def twin_swings(c: np.ndarray, k: int, n: int) -> tuple[np.ndarray, ...]:
    out = np.full((3, len(c)), np.nan)
    for t in range(n - 1, len(c)):
        part = c[t - n + 1 : t + 1]
        found = [
            i
            for i in range(k, n - k)
            if part[i] > part[i - k : i].max() and part[i] >= part[i + 1 : i + k + 1].max()
        ]
        if found:
            out[0, t], out[2, t] = part[found[-1]], n - 1 - found[-1]
        if len(found) > 1:
            out[1, t] = part[found[-2]]
    return tuple(out)


def twin_swing_low(c: np.ndarray, k: int, n: int) -> tuple[np.ndarray, ...]:
    newest, before, age = twin_swings(-c, k, n)
    return -newest, -before, age


@dataclass(frozen=True)
class Case:
    """One function with small numbers, its series, and its twin."""

    name: str
    series: str
    numbers: tuple[float, ...]
    twin: Any
    level: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def function(self):
        return FUNCTIONS.get(self.name)

    def whole(self) -> tuple[float, ...]:
        return tuple(int(n) if n == int(n) else n for n in self.numbers)


CASES = [
    Case("SeededEMA", "c", (8,), lambda c, n: (ema(c, n),)),
    Case("Wilder", "c", (6,), lambda c, n: (wilder(c, n),)),
    Case("DEMA", "c", (6,), twin_dema),
    Case("TEMA", "c", (5,), twin_tema),
    Case("KAMA", "c", (6,), twin_kama),
    Case("RSI", "c", (6,), lambda c, n: (twin_rsi(c, n),)),
    Case("CMO", "c", (6,), lambda c, n: (2 * twin_rsi(c, n) - 100,)),
    Case("CMOU", "c", (6,), twin_cmou),
    Case("TRIX", "c", (5,), twin_trix),
    Case("MACD", "c", (4, 9, 3), twin_macd),
    Case("PPO", "c", (4, 9), twin_ppo),
    Case("StochK", "hlc", (8, 3, 4), lambda h, lo, c, n, s, d: both(place(h, lo, c, n), s, d)),
    Case("FastK", "hlc", (8, 3), lambda h, lo, c, n, d: both(place(h, lo, c, n), 1, d)),
    Case("StochRSIK", "c", (6, 5, 3), twin_stochastic_rsi),
    Case("WilliamsR", "hlc", (8,), lambda h, lo, c, n: (place(h, lo, c, n) - 100,)),
    Case("CCI", "hlc", (9,), twin_cci),
    Case("UltOsc", "hlc", (4, 7, 11), twin_ultimate),
    Case("MFI", "hlcv", (7,), twin_mfi),
    Case("TrueRange", "hlc", (), lambda h, lo, c: (span_of(h, lo, c),)),
    Case("ATR", "hlc", (6,), twin_atr),
    Case("ADX", "hlc", (5,), twin_directional),
    Case("AroonUp", "hl", (9,), twin_aroon),
    Case("VortexPlus", "hlc", (8,), twin_vortex),
    Case("SAR", "hl", (0.02, 0.2), twin_sar),
    Case("OBV", "cv", (), twin_obv, level=True),
    Case("AccDist", "hlcv", (), lambda *bar: (np.cumsum(flow_of(*bar)),), level=True),
    Case("ChaikinOsc", "hlcv", (3, 8), twin_chaikin),
    Case("CMF", "hlcv", (8,), twin_cmf),
    Case("VWAP", "cv", (8,), twin_vwap),
    Case("PointOfControl", "hlv", (12, 9, 0.7), twin_profile),
    Case("Streak", "c", (4,), twin_streak),
    Case("SwingHigh", "h", (2, 17), twin_swings),
    Case("SwingLow", "l", (2, 17), twin_swing_low),
]  # fmt: skip
EVERY = pytest.mark.parametrize("case", CASES, ids=str)


def market(n_rows: int = 330, n_assets: int = 7, seed: int = 11) -> dict[str, np.ndarray]:
    """Bars with ties, a standing price, no volume, gaps of one field and of all, and a dead one."""
    rng = np.random.default_rng(seed)
    shape = (n_rows, n_assets)
    close = 50.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(shape), axis=0))
    opened = close * np.exp(0.01 * rng.standard_normal(shape))
    bars = {
        "open": opened,
        "high": np.maximum(opened, close) * np.exp(0.01 * rng.random(shape)),
        "low": np.minimum(opened, close) * np.exp(-0.01 * rng.random(shape)),
        "close": close,
        "volume": np.round(np.exp(10.0 + 0.5 * rng.standard_normal(shape))),
    }
    for name in ("open", "high", "low", "close"):
        bars[name][:, 1] = bars[name][:, 1].round(0)
        bars[name][60:150, 2] = 42.1
    bars["volume"][100:140, 3] = 0.0
    for row, column, names in (
        (90, 4, bars), (91, 4, bars), (200, 4, ("high",)), (205, 4, ("volume",)),
        (150, 5, ("close",)), (0, 5, ("low",)),
    ):  # fmt: skip
        for name in names:
            bars[name][row, column] = np.nan
    for values in bars.values():
        values[:, 6] = np.nan
    return bars


def pick(bars: dict[str, np.ndarray], case: Case) -> list[np.ndarray]:
    return [np.ascontiguousarray(bars[LETTERS[letter]]) for letter in case.series]


def by_runs(case: Case, series: list[np.ndarray]) -> np.ndarray:
    out = np.full((len(case.function.outputs), *series[0].shape), np.nan)
    for j in range(series[0].shape[1]):
        present = ~np.isnan(np.stack([x[:, j] for x in series])).any(axis=0)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], present.astype(int), [0]])))
        for a, b in edges.reshape(-1, 2):
            out[:, a:b, j] = case.twin(*[x[a:b, j] for x in series], *case.whole())
    return out


@pytest.fixture(scope="module")
def bars() -> dict[str, np.ndarray]:
    return market()


def test_every_function_of_the_modules_has_a_case():
    modules = ("averages", "directional", "momentum", "oscillators", "parabolic", "price_action",
               "volume", "volume_profile")  # fmt: skip
    named = {FUNCTIONS.get(name) for name in FUNCTIONS.names()}
    ours = {f for f in named if f.compute.__module__.rsplit(".", 1)[-1] in modules}
    assert ours == {case.function for case in CASES}


@EVERY
def test_values_are_those_of_the_twin_and_begin_again_after_a_gap(case, bars):
    series = pick(bars, case)
    before = [x.copy() for x in series]
    got = case.function.run(*series, numbers=case.numbers)
    for kept, x in zip(before, series, strict=True):
        np.testing.assert_array_equal(kept, x)
    want = by_runs(case, series)
    assert np.isfinite(want[:, :, 0]).any(axis=1).all()
    scale = np.nanmax(np.abs(want))
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11 * scale)


@EVERY
def test_columns_do_not_read_each_other_and_every_cell_is_written(case, bars):
    wide = [np.tile(x, (1, 6))[:, :37].copy() for x in pick(bars, case)]
    numbers = tuple(float(n) for n in case.numbers)
    out = np.full((len(case.function.outputs), *wide[0].shape), 123.0)
    case.function.compute(tuple(wide), numbers, out)
    assert not (out == 123.0).any()
    for columns in (slice(0, 1), slice(1, 4), slice(30, 37)):
        alone = case.function.run(
            *[np.ascontiguousarray(x[:, columns]) for x in wide], numbers=numbers
        )
        assert alone.tobytes() == np.ascontiguousarray(out[:, :, columns]).tobytes()


@EVERY
def test_lookback_is_what_one_value_needs(case):
    rows = case.function.lookback(tuple(float(n) for n in case.numbers))
    if case.function.recursive:
        bars = market(max(rows + 80, 330), seed=5)
        series = [x[:, :1] for x in pick(bars, case)]
        whole = case.function.run(*series, numbers=case.numbers)
        part = case.function.run(*[x[-rows:] for x in series], numbers=case.numbers)
        if not case.level:
            spread = np.nanstd(whole, axis=(1, 2))
            assert (np.abs(whole[:, -1, 0] - part[:, -1, 0]) <= 1e-4 * spread).all()
        return
    series = [x[:300, :1] for x in pick(market(), case)]
    whole = case.function.run(*series, numbers=case.numbers)
    for end in range(250, 300):
        part = case.function.run(*[x[end - rows : end] for x in series], numbers=case.numbers)
        np.testing.assert_array_equal(part[:, -1], whole[:, end - 1])
        if rows > 1:
            short = case.function.run(
                *[x[end - rows + 1 : end] for x in series], numbers=case.numbers
            )
            assert np.isnan(short[:, -1]).all()


@EVERY
def test_no_value_reads_the_future(case, panel_factory):
    panel = panel_factory(200, 3, seed=3)

    def compute(p):
        series = [p.field(LETTERS[letter]) for letter in case.series]
        return dict(
            zip(case.function.names, case.function.run(*series, numbers=case.numbers), strict=True)
        )

    assert assert_prefix_invariant(compute, panel, cuts=[90, 150], seed=1).n_values > 0


def test_rows_of_a_chain_are_those_of_its_tail():
    # Left of two equal averages after m rows: keep^m (1 + m (1 - keep)).
    for keep in (0.5, 0.8, 12.0 / 13.0):
        m = np.arange(1000)
        left = keep**m * (1.0 + m * (1.0 - keep))
        assert decayed_rows(keep, keep) == np.flatnonzero(left <= DECAYED)[0]
        assert decayed_rows(keep) == np.flatnonzero(keep**m <= DECAYED)[0]
    assert decayed_rows(0.0) == 1
    # An average that forgets at once adds nothing to a chain.
    assert decayed_rows(0.8, 0.0) == decayed_rows(0.8)
