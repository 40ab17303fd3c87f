"""Kernels of the equity world against plain loops, scipy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from quant_engine.data.simulated.config import (
    BETA_MAX,
    IDIO_CAP_FRAC,
    MARKET_CAP_FRAC,
    N_STYLES,
    SECTOR_CAP_FRAC,
    STYLE_CAP_FRAC,
)
from quant_engine.data.simulated.kernels import (
    ar1_in_place,
    assemble_noise,
    garch_multipliers,
    lifecycle,
    price_paths,
    rank_correlation_rows,
    rank_map,
    regime_path,
    split_factors,
    to_uniform,
)
from quant_engine.data.simulated.streams import Streams


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_ar1_path_follows_its_recursion(rng: np.random.Generator):
    shocks = rng.standard_normal((200, 3))
    path = shocks.copy()
    ar1_in_place(path, 0.9)
    expected = shocks[0]
    for t in range(1, 200):
        expected = 0.9 * expected + math.sqrt(1 - 0.81) * shocks[t]
        np.testing.assert_allclose(path[t], expected, rtol=1e-12)


def test_uniform_map_is_the_normal_distribution_function(rng: np.random.Generator):
    latent = rng.standard_normal((20, 5))
    out = np.empty_like(latent)
    to_uniform(latent, out)
    np.testing.assert_allclose(out, 2 * stats.norm.cdf(latent) - 1, atol=1e-14)


def test_rank_map_agrees_with_scipy_as_names_come_and_go(rng: np.random.Generator):
    latent = rng.standard_normal((60, 25)).astype(np.float32)
    ar1_in_place(latent, 0.97)
    listed = rng.random((60, 25)) < 0.7
    out = np.empty_like(latent)
    rank_map(latent, listed, out)
    for t in range(60):
        ranks = stats.rankdata(latent[t, listed[t]])
        expected = 2 * ranks / (listed[t].sum() + 1) - 1
        np.testing.assert_allclose(out[t, listed[t]], expected, atol=1e-6)
        assert np.isnan(out[t, ~listed[t]]).all()


def test_regimes_spend_time_in_proportion_to_their_durations(rng: np.random.Generator):
    durations = np.array([30.0, 10.0, 20.0])
    path = np.empty(200_000, dtype=np.int64)
    regime_path(rng.random(path.size), durations, path)
    share = np.bincount(path) / path.size
    np.testing.assert_allclose(share, durations / durations.sum(), atol=0.02)
    for k in range(3):
        inside = path[:-1] == k
        assert abs((path[1:][inside] != k).mean() - 1 / durations[k]) < 0.005
    moves = path[1:][(path[:-1] == 0) & (path[1:] != 0)]
    assert abs((moves == 1).mean() - 0.5) < 0.03


def test_single_regime_never_moves(rng: np.random.Generator):
    path = np.empty(50, dtype=np.int64)
    regime_path(rng.random(50), np.array([2.0]), path)
    assert (path == 0).all()


def test_garch_multiplier_follows_its_recursion_and_has_mean_one(rng: np.random.Generator):
    z = rng.standard_normal((50_000, 2))
    h = np.empty_like(z)
    garch_multipliers(z, 0.05, 0.9, 0.4, h)
    value = 1.0
    for t in range(300):
        assert h[t, 1] == pytest.approx(value, rel=1e-12)
        omega = 1 - 0.05 * (1 + 0.16) - 0.9
        value = min(omega + 0.05 * value * (z[t, 1] - 0.4) ** 2 + 0.9 * value, 16.0)
    assert h.mean() == pytest.approx(1.0, abs=0.05)
    assert np.corrcoef(z[:-1, 0], h[1:, 0])[0, 1] < -0.05


def test_noise_is_assembled_from_exposures_of_the_row_before(rng: np.random.Generator):
    n_rows, n_assets = 6, 4
    idio = rng.standard_normal((n_rows, n_assets))
    beta = rng.standard_normal((n_rows, n_assets))
    loadings = rng.standard_normal((2, n_rows, n_assets))
    sector = np.array([0, 2, 1, 2])
    shocks = rng.standard_normal((n_rows, 1 + 3 + 2))
    out = np.empty_like(idio)
    assemble_noise(idio, beta, sector, loadings, shocks, out)
    for t in range(1, n_rows):
        for i in range(n_assets):
            expected = idio[t, i] + beta[t - 1, i] * shocks[t, 0] + shocks[t, 1 + sector[i]]
            expected += sum(loadings[k, t - 1, i] * shocks[t, 4 + k] for k in range(2))
            assert out[t, i] == pytest.approx(expected, rel=1e-12)


def test_worst_half_session_keeps_prices_positive():
    largest_loading = math.sqrt(0.5) * (math.sqrt(3.0) + 2.5)
    worst = BETA_MAX * MARKET_CAP_FRAC + SECTOR_CAP_FRAC + IDIO_CAP_FRAC
    worst += N_STYLES * largest_loading * STYLE_CAP_FRAC
    assert worst < 0.85


def test_rank_correlation_agrees_with_scipy_with_ties_and_gaps(rng: np.random.Generator):
    left = rng.integers(0, 6, size=(30, 20)).astype(float)
    right = rng.standard_normal((30, 20)).round(1)
    right[rng.random((30, 20)) < 0.2] = np.nan
    out = np.empty(30)
    rank_correlation_rows(left, right, 1, 5, out)
    for t in range(30):
        known = ~np.isnan(right[t])
        expected = stats.spearmanr(left[t, known], right[t, known]).statistic
        assert out[t] == pytest.approx(expected, abs=1e-12)


def test_rank_correlation_skips_rows_and_refuses_thin_or_constant_ones():
    scores = np.array([[1.0, 2, 3], [1, 2, 3], [7, 7, 7], [1, 2, np.nan]])
    out = np.empty(4)
    rank_correlation_rows(scores, np.tile([1.0, 2, 3], (4, 1)), 1, 3, out)
    np.testing.assert_array_equal(out, [1.0, 1.0, np.nan, np.nan])
    rank_correlation_rows(scores, np.tile([1.0, 2, 3], (4, 1)), 2, 3, out)
    np.testing.assert_array_equal(out, [1.0, np.nan, np.nan, np.nan])


def test_prices_compound_half_sessions_and_pay_dividends_at_the_open():
    halves = np.array([[[0.0], [0.5], [0.1]], [[0.0], [0.2], [-0.5]]])
    payout = np.array([[0.0], [0.0], [0.05]])
    lives = np.array([[1], [2]])
    out = np.empty((2, 3, 1))
    price_paths(halves, payout, lives, np.array([10.0]), out)
    assert np.isnan(out[:, 0]).all()
    assert out[0, 1, 0] == 10.0  # the first open is the initial price, not moved overnight
    assert out[1, 1, 0] == pytest.approx(12.0)
    assert out[0, 2, 0] == pytest.approx(12.0 * (1 + 0.1 - 0.05))
    assert out[1, 2, 0] == pytest.approx(12.0 * 1.05 * 0.5)


def test_splits_become_effective_ten_sessions_after_the_bound_is_crossed():
    close = np.full((40, 2), 100.0)
    close[5:, 0] = 500.0
    close[3:, 1] = 1.0
    out = np.empty((2, 40, 2))
    split_factors(close, np.array([[0, 0], [39, 39]]), np.array([1.5, 300.0]), out)
    np.testing.assert_array_equal(np.flatnonzero(out[1, :, 0] != 1), [15])
    assert out[1, 15, 0] == 4.0
    assert (close[:, 0] * out[0, :, 0])[15] == 125.0
    assert out[1, 13, 1] == 0.1
    assert out[0, 39, 1] == pytest.approx(10.0)


def test_hazards_average_to_the_rate_whatever_the_scores(rng: np.random.Generator):
    n_rows, n_assets = 400, 60
    hazards = np.empty((2, n_rows, n_assets))
    lives = np.zeros((4, n_assets), dtype=np.int64)
    lives[0] = 1
    lifecycle(
        0.02 * rng.standard_normal((n_rows, n_assets)),
        rng.uniform(-1, 1, (2, n_rows, n_assets)),
        np.ones((n_rows, n_assets)),  # nobody ever delists
        np.array([2e-4, 1e-4]),
        np.array([10, 5, 300]),
        lives,
        hazards,
    )
    assert (lives[2] == 0).all()
    np.testing.assert_allclose(hazards[0, 1:-1].mean(axis=1), 2e-4, rtol=1e-9)
    np.testing.assert_allclose(hazards[1, 1:-1].mean(axis=1), 1e-4, rtol=1e-9)
    assert hazards[0].max() > 4e-4
    assert (hazards[:, -1] == 0).all()


def test_a_waiting_name_lists_under_the_ticker_of_the_first_delisted_one():
    n_rows = 100
    uniforms = np.ones((n_rows, 4))
    uniforms[20, 1] = 0.0  # name 1 fails after row 20
    lives = np.zeros((4, 4), dtype=np.int64)
    lives[0] = [1, 1, -1, -1]
    lifecycle(
        np.zeros((n_rows, 4)),
        np.zeros((2, n_rows, 4)),
        uniforms,
        np.array([1e-3, 1e-3]),
        np.array([10, 5, 80]),
        lives,
        np.empty((2, n_rows, 4)),
    )
    assert lives[1, 1] == 20
    assert lives[2, 1] == 1
    assert (lives[0, 2], lives[3, 2]) == (26, 1)
    assert (lives[0, 3], lives[3, 3]) == (81, -1)  # no other delisting in time: its own ticker


def test_streams_are_independent_repeatable_and_keyed():
    first, second = Streams(9), Streams(9)
    assert first.of("idio").random() == second.of("idio").random()
    assert first.of("idio").random() == first.of("idio").random()
    draws = {first.of("characteristics", k).random() for k in range(40)}
    assert len(draws) == 40
    assert first.of("idio").random() != first.of("range").random()
    assert Streams(10).of("idio").random() != first.of("idio").random()
