"""CUSUM events, barrier targets and fractional differences: twins, limits, no look-ahead."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import binom

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.features.cusum import cusum_events
from quant_engine.features.fracdiff import (
    expanding_fracdiff,
    fixed_width_weights,
    fracdiff_weights,
    windowed_fracdiff,
)
from quant_engine.features.prices import total_returns
from quant_engine.features.volatility import ewm_volatility
from quant_engine.testing.lookahead import assert_prefix_invariant


def plain_cusum(close, threshold):
    out, last, up, down = np.zeros(len(close), int), None, 0.0, 0.0
    for t, price in enumerate(close):
        if np.isnan(price):
            continue
        if last is not None:
            step = np.log(price) - np.log(last)
            up, down = max(0.0, up + step), min(0.0, down + step)
            if down < -threshold[t]:
                down, out[t] = 0.0, -1
            elif up > threshold[t]:
                up, out[t] = 0.0, 1
        last = price
    return out


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cusum_equals_a_plain_loop(panel_factory, seed):
    panel = panel_factory(200, 6, seed=seed, gaps=0.1)
    close = panel.field("close")
    limits = np.random.default_rng(seed).uniform(0.02, 0.06, close.shape)
    limits[::17] = np.nan
    got = cusum_events(close, limits)
    want = np.column_stack([plain_cusum(close[:, j], limits[:, j]) for j in range(6)])
    np.testing.assert_array_equal(got, want)
    assert {-1, 0, 1} == set(np.unique(got))
    np.testing.assert_array_equal(cusum_events(close[:, 0], 0.03), cusum_events(close, 0.03)[:, 0])


def test_a_flat_price_and_a_wide_threshold_make_no_event():
    assert not cusum_events(np.full(50, 7.0), 0.01).any()
    assert not cusum_events(np.array([1.0, 2.0, 4.0]), 10.0).any()


def test_ewm_volatility_equals_its_formula(panel_factory):
    returns = total_returns(panel_factory(60, 2, gaps=0.1))
    got = ewm_volatility(returns, span_bars=12)
    alpha = 2 / 13
    for t in range(60):
        for j in range(2):
            lags = np.arange(t + 1)
            x = returns[t::-1, j][: t + 1]
            known = ~np.isnan(x)
            if not known[0] or known.sum() < 2:
                assert np.isnan(got[t, j])
                continue
            w, x = ((1 - alpha) ** lags)[known], x[known]
            total = w.sum()
            mean = (w * x).sum() / total
            biased = (w * (x - mean) ** 2).sum() / total
            want = np.sqrt(biased * total**2 / (total**2 - (w**2).sum()))
            assert got[t, j] == pytest.approx(want, rel=1e-9)


def test_weights_are_binomial_coefficients():
    for order in (0.1, 0.5, 0.9, 1.7):
        k = np.arange(40)
        np.testing.assert_allclose(
            fracdiff_weights(order, 40), (-1.0) ** k * binom(order, k), rtol=1e-12
        )
    np.testing.assert_array_equal(fracdiff_weights(0.0, 3), [1.0, 0.0, 0.0])
    np.testing.assert_array_equal(fracdiff_weights(1.0, 4), [1.0, -1.0, 0.0, 0.0])


def test_differences_equal_plain_loops():
    rng = np.random.default_rng(2)
    levels = np.cumsum(rng.standard_normal((80, 3)), axis=0)
    levels[:7, 0] = np.nan
    levels[50, 1] = np.nan
    weights = fixed_width_weights(0.4, min_abs_weight=0.01)
    windowed, expanding = windowed_fracdiff(levels, weights), expanding_fracdiff(levels, 0.4)
    everything = fracdiff_weights(0.4, 80)
    for j in range(3):
        begin = 7 if j == 0 else 0
        for t in range(80):
            want = np.nan
            if t >= len(weights) - 1:
                want = sum(w * levels[t - k, j] for k, w in enumerate(weights))
            np.testing.assert_allclose(windowed[t, j], want, rtol=1e-12, atol=1e-14)
            want = np.nan
            if t >= begin:
                want = sum(everything[k] * levels[t - k, j] for k in range(t - begin + 1))
            np.testing.assert_allclose(expanding[t, j], want, rtol=1e-12, atol=1e-13)
    assert np.isnan(expanding[50:, 1]).all()


def test_whole_orders_are_the_known_differences():
    levels = np.cumsum(np.random.default_rng(3).standard_normal(50))
    np.testing.assert_array_equal(windowed_fracdiff(levels, fracdiff_weights(0.0, 1)), levels)
    np.testing.assert_allclose(expanding_fracdiff(levels, 1.0)[1:], np.diff(levels), rtol=1e-12)
    np.testing.assert_allclose(
        windowed_fracdiff(levels, fracdiff_weights(2.0, 3))[2:], np.diff(levels, 2), atol=1e-12
    )


@pytest.mark.leakage
def test_nothing_looks_ahead(panel):
    weights = fixed_width_weights(0.5, min_abs_weight=0.02)

    def all_series(given):
        close = given.field("close")
        volatility = ewm_volatility(total_returns(given), span_bars=20)
        return {
            "cusum": cusum_events(close, np.where(volatility > 0.0, 2.0 * volatility, np.nan)),
            "target": volatility,
            "windowed": windowed_fracdiff(np.log(close), weights),
            "expanding": expanding_fracdiff(np.log(close), 0.5),
        }

    report = assert_prefix_invariant(all_series, panel, cuts=[60, 200, 300], seed=1)
    assert report.n_values > 500


def test_errors_say_what_is_wrong():
    with pytest.raises(DataError, match="positive numbers"):
        cusum_events(np.ones(3), 0.0)
    with pytest.raises(DataError, match="shape"):
        cusum_events(np.ones(3), np.ones(2))
    with pytest.raises(ConfigError, match="span_bars"):
        ewm_volatility(np.ones(3), span_bars=1.0)
    with pytest.raises(ConfigError, match="order"):
        fracdiff_weights(-0.1, 3)
    with pytest.raises(ConfigError, match="min_abs_weight"):
        fixed_width_weights(0.5, min_abs_weight=0.0)
    with pytest.raises(ConfigError, match="at most 10 weights"):
        fixed_width_weights(0.5, min_abs_weight=1e-6, max_weights=10)


def test_pandas_agrees_on_the_target(panel):
    returns = total_returns(panel)
    want = pd.DataFrame(returns).ewm(span=30).std().to_numpy()
    np.testing.assert_array_equal(ewm_volatility(returns, span_bars=30), want)
