"""Spreads from daily bars: plain loops, a market with a known spread, no view of the future."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.spread_estimates import abdi_ranaldo_spread, corwin_schultz_spread

BOTH = pytest.mark.parametrize("estimate", [corwin_schultz_spread, abdi_ranaldo_spread])


def bars(seed, spread, n=120, n_assets=3, sigma=0.01):
    """Sessions of 390 trades, each at the bid or the ask of a random walk."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, sigma / math.sqrt(390), (n * 390, n_assets))
    mid = 50 * np.exp(np.cumsum(steps, axis=0))
    trade = mid * np.exp(np.where(rng.random(mid.shape) < 0.5, -0.5, 0.5) * spread)
    days = trade.reshape(n, 390, n_assets)
    return days.max(axis=1), days.min(axis=1), days[:, -1]


def plain_corwin_schultz(high, low, close, window):
    n = len(high)
    pairs = [math.nan]
    for t in range(1, n):
        top, bottom, c = high[t], low[t], close[t - 1]
        if bottom > c:
            top, bottom = top * c / bottom, c
        elif top < c:
            top, bottom = c, bottom * c / top
        h1, l1 = high[t - 1], low[t - 1]
        beta = math.log(h1 / l1) ** 2 + math.log(top / bottom) ** 2
        gamma = math.log(max(top, h1) / min(bottom, l1)) ** 2
        k = 3 - 2 * math.sqrt(2)
        alpha = (math.sqrt(2 * beta) - math.sqrt(beta)) / k - math.sqrt(gamma / k)
        pairs.append(max(0.0, 2 * (math.exp(alpha) - 1) / (1 + math.exp(alpha))))
    return [
        math.nan if t < window else sum(pairs[t - window + 1 : t + 1]) / window for t in range(n)
    ]


def plain_abdi_ranaldo(high, low, close, window):
    n = len(high)
    out = []
    for t in range(n):
        if t < window:
            out.append(math.nan)
            continue
        total = 0.0
        for s in range(t - window + 1, t + 1):
            before = math.log(math.sqrt(high[s - 1] * low[s - 1]))
            after = math.log(math.sqrt(high[s] * low[s]))
            total += (math.log(close[s - 1]) - before) * (math.log(close[s - 1]) - after)
        out.append(2 * math.sqrt(max(total / window, 0.0)))
    return out


@pytest.mark.parametrize("window", [1, 5, 20])
def test_both_equal_plain_loops(window):
    high, low, close = bars(1, 0.004, n=40)
    gap = np.random.default_rng(2).normal(0, 0.02, high.shape)
    high, low, close = (values * np.exp(np.cumsum(gap, axis=0)) for values in (high, low, close))
    for estimate, plain in (
        (corwin_schultz_spread, plain_corwin_schultz),
        (abdi_ranaldo_spread, plain_abdi_ranaldo),
    ):
        got = estimate(high, low, close, window_sessions=window)
        for i in range(3):
            want = plain(high[:, i].tolist(), low[:, i].tolist(), close[:, i].tolist(), window)
            assert got[:, i] == pytest.approx(want, rel=1e-9, abs=1e-12, nan_ok=True)


@BOTH
def test_a_wide_spread_is_recovered(estimate):
    high, low, close = bars(3, 0.03, n=200, n_assets=4)
    got = np.nanmean(estimate(high, low, close, window_sessions=199)[-1])
    assert got == pytest.approx(0.03, rel=0.15)


@BOTH
def test_a_missing_bar_empties_every_window_that_holds_it(estimate):
    high, low, close = bars(4, 0.004, n=30)
    high[10, 0] = low[10, 0] = close[10, 0] = np.nan
    got = estimate(high, low, close, window_sessions=3)
    assert np.isnan(got[:3]).all()
    assert np.flatnonzero(np.isnan(got[3:, 0])).tolist() == [7, 8, 9, 10]
    assert not np.isnan(got[3:, 1:]).any()


@BOTH
@pytest.mark.leakage
def test_no_later_bar_changes_an_earlier_spread(estimate):
    high, low, close = bars(5, 0.004, n=40)
    before = estimate(high, low, close, window_sessions=5)
    for cut in (6, 20):
        changed = [values.copy() for values in (high, low, close)]
        for values in changed:
            values[cut:] *= 3.0
        after = estimate(*changed, window_sessions=5)
        assert np.array_equal(before[:cut], after[:cut], equal_nan=True)


@BOTH
def test_bad_arguments_are_refused(estimate):
    ones = np.ones((3, 2))
    with pytest.raises(ConfigError, match="window_sessions"):
        estimate(ones, ones, ones, window_sessions=0)
    with pytest.raises(DataError, match="close"):
        estimate(ones, ones, ones[:2])
