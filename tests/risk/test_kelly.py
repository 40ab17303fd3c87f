"""Fractional Kelly: closed forms, a simulation of the optimum, and the rules at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from quant_engine.core.errors import DataError
from quant_engine.risk.kelly import KellyConfig, kelly_stake, shrunk_edge, trailing_kelly

pytestmark = pytest.mark.feature("Q-37")

OPEN = KellyConfig(fraction=1.0, min_multiplier=0.0, max_multiplier=1e9, min_observations=2)


def test_an_even_money_bet_has_the_stake_of_kelly() -> None:
    # Kelly (1956): p = 0.6 at even money is 2p - 1 = 0.2; a large sample leaves nothing to shrink.
    won = np.tile([1.0, 1.0, 1.0, -1.0, -1.0], 40_000)
    stake = kelly_stake(won, OPEN.model_copy(update={"window": won.size}))
    assert stake.full_kelly == pytest.approx(0.2, rel=1e-3)
    assert stake.edge == pytest.approx(0.2)


def test_the_numbers_of_a_small_sample_by_hand() -> None:
    stake = kelly_stake(np.array([0.03, np.nan, -0.01, 0.02, 0.04]), OPEN)
    mean = 0.08 / 4
    variance = ((0.01) ** 2 + (0.03) ** 2 + 0 + (0.02) ** 2) / 3
    assert stake.n_obs == 4
    assert stake.edge == pytest.approx(mean)
    assert stake.std_error == pytest.approx((variance / 4) ** 0.5)
    assert stake.shrunk_edge == pytest.approx(mean * (1 - variance / 4 / mean**2))
    square = (0.03**2 + 0.01**2 + 0.02**2 + 0.04**2) / 4
    assert stake.full_kelly == pytest.approx(stake.shrunk_edge / square)


def test_the_shrinkage_is_the_best_one_of_a_measured_edge() -> None:
    # Average growth of betting k m / q, over many measurements m of one edge, is largest near
    # k = mu^2 / (mu^2 + v); the derivation in the module, done with numbers.
    rng = np.random.default_rng(5)
    mu, error, square = 1.0, 0.8, 4.0
    measured = rng.normal(mu, error, 400_000)
    k = np.linspace(0.05, 1.5, 59)
    growth = [np.mean(f * measured * mu / square - (f * measured) ** 2 / square / 2) for f in k]
    assert k[int(np.argmax(growth))] == pytest.approx(mu**2 / (mu**2 + error**2), abs=0.03)


def test_shrinkage_element_by_element() -> None:
    edge = np.array([[2.0, 1.0, 0.5], [0.0, -1.0, np.nan]])
    error = np.array([[1.0, 1.0, 1.0], [1.0, 0.1, 1.0]])
    got = shrunk_edge(edge, error)
    np.testing.assert_allclose(got, [[1.5, 0.0, 0.0], [0.0, 0.0, np.nan]])
    assert np.isnan(shrunk_edge(1.0, np.nan))
    assert shrunk_edge(1.0, 0.0) == 1.0


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(-0.5, 0.5, allow_subnormal=False), max_size=60))
def test_the_factor_stays_within_its_limits(results) -> None:
    config = KellyConfig()
    stake = kelly_stake(np.array(results, dtype=float), config)
    if stake.n_obs < config.min_observations:
        assert stake.multiplier == 0.25
    elif stake.edge <= 0:
        assert stake.multiplier == 0.0
    else:
        assert 0.25 <= stake.multiplier <= 1.5
        assert 0.0 <= stake.shrunk_edge <= stake.edge


def test_without_an_edge_nothing_is_held_and_doubt_holds_little() -> None:
    up, down = np.full(30, 0.01), np.full(30, -0.01)
    assert kelly_stake(down, KellyConfig()).multiplier == 0.0
    assert kelly_stake(np.zeros(30), KellyConfig()).multiplier == 0.0
    assert kelly_stake(up, KellyConfig()).multiplier == 1.5
    assert kelly_stake(up[:5], KellyConfig()).multiplier == 0.25
    assert kelly_stake(up[:1], KellyConfig()).multiplier == 0.25
    noisy = np.tile([0.05, -0.049], 30)  # positive, and far inside its own error
    assert kelly_stake(noisy, KellyConfig()).shrunk_edge == 0.0
    assert kelly_stake(noisy, KellyConfig()).multiplier == 0.25


def test_only_the_window_counts_and_gaps_do_not() -> None:
    config = KellyConfig(window=30)
    recent = np.random.default_rng(1).normal(0.01, 0.01, 30)
    long = np.concatenate([np.full(50, -1.0), recent])
    assert kelly_stake(long, config) == kelly_stake(recent, config)
    with_gaps = np.insert(long, [55, 60, 80], np.nan)
    assert kelly_stake(with_gaps, config) == kelly_stake(recent, config)


def test_each_close_knows_its_past_alone() -> None:
    rng = np.random.default_rng(2)
    results = rng.normal(0.002, 0.01, 120)
    results[rng.random(120) < 0.1] = np.nan
    config = KellyConfig(window=40)
    path = trailing_kelly(results, config)
    wanted = [kelly_stake(results[: t + 1], config).multiplier for t in range(120)]
    np.testing.assert_array_equal(path, wanted)
    assert len(np.unique(path)) > 3


def test_what_is_no_sample_is_refused() -> None:
    with pytest.raises(DataError, match="returns"):
        kelly_stake(np.array([0.1, np.inf]), KellyConfig())
    for wrong in (
        {"min_multiplier": 2.0},
        {"min_observations": 300},
        {"fraction": 1.1},
        {"fraction": 0.0},
    ):
        with pytest.raises(ValidationError):
            KellyConfig(**wrong)
