"""Mean pairwise correlation against the full matrix, with holes."""

import numpy as np
import pandas as pd
import pytest

from quant_engine.regime.correlation import (
    CorrelationConfig,
    average_pairwise_correlation,
    correlation_regime,
    trailing_z_score,
)

pytestmark = pytest.mark.feature("Q-23")

RNG = np.random.default_rng(9)


def factor_returns(n_sessions=120, n_assets=14, strength=1.0):
    """One common factor plus own noise, with unlike volatilities and means."""
    common = strength * RNG.standard_normal((n_sessions, 1))
    own = RNG.standard_normal((n_sessions, n_assets))
    return 0.001 + RNG.uniform(0.005, 0.03, n_assets) * (common + own)


def matrix_mean(window: np.ndarray) -> float:
    """Mean off-diagonal element of the correlation matrix of the complete assets."""
    complete = window[:, ~np.isnan(window).any(axis=0)]
    complete = complete[:, complete.std(axis=0) > 1e-12]
    n = complete.shape[1]
    if n < 5:
        return np.nan
    corr = np.corrcoef(complete, rowvar=False)
    return (corr.sum() - n) / (n * (n - 1))


def test_identity_equals_the_full_matrix_with_holes_and_constants():
    returns = factor_returns()
    returns[RNG.random(returns.shape) < 0.01] = np.nan
    returns[:, 3] = 0.001
    returns[:50, 4] = np.nan
    got = average_pairwise_correlation(returns, window_sessions=21, min_assets=5)
    assert np.isnan(got[:20]).all()
    wanted = [matrix_mean(returns[t - 20 : t + 1]) for t in range(20, 120)]
    np.testing.assert_allclose(got[20:], wanted, rtol=1e-9, atol=1e-12)
    assert np.isfinite(wanted).any()


def test_too_few_complete_assets_are_unknown():
    returns = factor_returns(n_assets=6)
    returns[40, :2] = np.nan
    got = average_pairwise_correlation(returns, window_sessions=21, min_assets=5)
    assert np.isnan(got[40:61]).all()
    assert np.isfinite(got[[39, 61]]).all()


def test_order_and_scale_of_assets_do_not_matter():
    returns = factor_returns()
    base = average_pairwise_correlation(returns, window_sessions=30, min_assets=5)
    moved = returns[:, RNG.permutation(14)] * RNG.uniform(0.1, 9.0, 14)
    got = average_pairwise_correlation(moved, window_sessions=30, min_assets=5)
    np.testing.assert_allclose(got, base, rtol=1e-9)


def test_limits_of_the_mean_correlation():
    one = RNG.standard_normal((40, 1))
    same = average_pairwise_correlation(np.tile(one, 6), window_sessions=40, min_assets=5)
    assert same[-1] == pytest.approx(1.0)
    opposite = average_pairwise_correlation(
        np.hstack([one, -one]), window_sessions=40, min_assets=2
    )
    assert opposite[-1] == pytest.approx(-1.0)


def test_spike_flag_and_z_score():
    returns = np.vstack([factor_returns(150, 8, 0.3), factor_returns(80, 8, 4.0)])
    state = correlation_regime(returns, CorrelationConfig(z_sessions=100))
    assert (state.corr_regime[:62] == -1).all()
    assert set(state.corr_regime[62:150]) == {0}
    assert state.corr_regime[-1] == 1
    rolling = pd.Series(state.avg_pairwise_corr).rolling(100)
    wanted = (state.avg_pairwise_corr - rolling.mean()) / rolling.std()
    np.testing.assert_allclose(state.corr_z_score, wanted, rtol=1e-7)
    assert state.corr_z_score[165] > 2


def test_a_window_without_variation_has_no_z_score():
    assert np.isnan(trailing_z_score(np.full(10, 0.1), window_sessions=5)).all()
    assert np.isnan(trailing_z_score(np.array([1.0, np.nan, 2.0, 3.0]), window_sessions=3)).all()
