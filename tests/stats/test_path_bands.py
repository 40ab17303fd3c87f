"""Bands and the null p-value: against a loop, and under a null and an edge."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.bootstrap import iid_indices, stationary_indices
from quant_engine.stats.montecarlo import resample_paths
from quant_engine.stats.path_bands import null_sharpe_p, wealth_bands

RETURNS = np.random.default_rng(0).normal(0.0005, 0.01, 600)
PLAN = stationary_indices(600, avg_block=10.0, n_draws=500, seed=1)


def test_bands_are_quantiles_of_every_path():
    bands = wealth_bands(RETURNS, indices=PLAN, levels=(0.05, 0.5, 0.95))
    paths = np.cumprod(1.0 + RETURNS[PLAN], axis=1)
    for session in (0, 255, 256, 599):
        expected = np.quantile(paths[:, session], (0.05, 0.5, 0.95))
        np.testing.assert_allclose(bands[session], expected, rtol=1e-12)
    ends = resample_paths(RETURNS, indices=PLAN, periods_per_year=252).terminal_wealth
    assert bands[-1, 1] == pytest.approx(np.median(ends))


def test_p_value_counts_paths_of_a_world_without_a_mean():
    observed = RETURNS.mean() / RETURNS.std(ddof=1)
    centred = RETURNS - RETURNS.mean()
    reached = sum(centred[row].mean() / centred[row].std(ddof=1) >= observed for row in PLAN)
    assert null_sharpe_p(RETURNS, indices=PLAN) == (1 + reached) / 501


def test_an_edge_is_seen_and_noise_is_not():
    noise = RETURNS - RETURNS.mean()
    assert 0.3 < null_sharpe_p(noise, indices=PLAN) < 0.7
    assert null_sharpe_p(noise + 0.003, indices=PLAN) == pytest.approx(1 / 501)
    assert null_sharpe_p(noise - 0.003, indices=PLAN) == 1.0
    assert np.isnan(null_sharpe_p(np.zeros(600), indices=PLAN))


@pytest.mark.slow
def test_p_values_of_noise_are_uniform():
    rng = np.random.default_rng(5)
    plan = iid_indices(250, n_draws=199, seed=2)
    found = [null_sharpe_p(rng.normal(0, 0.01, 250), indices=plan) for _ in range(300)]
    assert np.mean(np.array(found) <= 0.05) < 0.09
    assert 0.45 < np.mean(found) < 0.55


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(DataError, match="no NaN"):
        wealth_bands([0.1, np.nan, 0.1], indices=np.zeros((1, 3), np.int64), levels=(0.5,))
    with pytest.raises(InsufficientHistoryError):
        null_sharpe_p([0.1, 0.2], indices=np.zeros((1, 2), np.int64))
    with pytest.raises(ConfigError, match="probabilities"):
        wealth_bands(RETURNS, indices=PLAN, levels=(1.5,))
