"""Huber regression against statsmodels, its coverage, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.robust import huber_regression


def sample(seed, n=300, wild=0.1):
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(n), rng.uniform(0, 1, n), rng.normal(0, 2, n)])
    noise = rng.normal(0, 0.5, n)
    noise[rng.random(n) < wild] *= 20
    return x @ np.array([1.0, 3.0, -0.5]) + noise, x


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tuning", [1.0, 1.345, 3.0])
def test_equal_to_statsmodels(seed, tuning):
    import statsmodels.api as sm

    y, x = sample(seed)
    oracle = sm.RLM(y, x, M=sm.robust.norms.HuberT(tuning)).fit(maxiter=500, tol=1e-12)
    got = huber_regression(y, x, tuning=tuning)
    assert got.coefficients == pytest.approx(oracle.params, rel=1e-7)
    assert got.std_errors == pytest.approx(oracle.bse, rel=1e-6)
    assert got.scale == pytest.approx(oracle.scale, rel=1e-7)
    assert got.n_outliers == int((oracle.weights < 1).sum())


def test_wild_observations_do_not_bend_it():
    y, x = sample(9, n=2_000)
    robust = huber_regression(y, x)
    plain = np.linalg.lstsq(x, y, rcond=None)[0]
    truth = np.array([1.0, 3.0, -0.5])
    assert np.abs(robust.coefficients - truth).max() < 0.12
    assert np.abs(robust.coefficients - truth).sum() < np.abs(plain - truth).sum()


def test_intervals_cover_the_truth():
    inside = np.zeros(3)
    for seed in range(300):
        y, x = sample(1_000 + seed, n=120)
        got = huber_regression(y, x)
        inside += np.abs(got.coefficients - [1.0, 3.0, -0.5]) <= 1.96 * got.std_errors
    assert (inside / 300 > 0.90).all()
    assert (inside / 300 < 0.99).all()


def test_coefficients_follow_the_unit_of_the_outcome():
    y, x = sample(2)
    one, two = huber_regression(y, x), huber_regression(1e-4 * y, x)
    assert two.coefficients == pytest.approx(1e-4 * one.coefficients, rel=1e-7)
    assert two.std_errors == pytest.approx(1e-4 * one.std_errors, rel=1e-7)


@pytest.mark.parametrize(
    ("error", "match", "change"),
    [
        (DataError, "without NaN", lambda y, x: (np.where(y > 1, y, np.nan), x)),
        (DataError, "without NaN", lambda y, x: (y[:-1], x)),
        (DataError, "rank", lambda y, x: (y, np.column_stack([x, x[:, 0]]))),
        (DataError, "residuals", lambda y, x: (x[:, 0] * 2.0, x)),
        (InsufficientHistoryError, "more than 3", lambda y, x: (y[:3], x[:3])),
    ],
)
def test_what_cannot_be_fitted_is_refused(error, match, change):
    with pytest.raises(error, match=match):
        huber_regression(*change(*sample(0, n=30)))


def test_tuning_is_above_0():
    with pytest.raises(ConfigError, match="tuning"):
        huber_regression(*sample(0), tuning=0.0)
