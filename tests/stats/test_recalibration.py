"""Probability maps against scikit-learn, a min-max formula and a general optimiser."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from quant_engine.core.errors import DataError, EmptyDataError
from quant_engine.stats.calibration import expected_calibration_error
from quant_engine.stats.recalibration import fit_isotonic, fit_platt, pool_adjacent_violators

RNG = np.random.default_rng(61)


def min_max(y, w):
    """The isotonic fit as max over starts of min over stops of block means."""
    n = len(y)
    return [
        max(
            min(np.average(y[a : b + 1], weights=w[a : b + 1]) for b in range(i, n))
            for a in range(i + 1)
        )
        for i in range(n)
    ]


@pytest.mark.parametrize("n", [1, 2, 7, 25])
def test_pooling_equals_the_min_max_formula(n):
    y, w = RNG.normal(size=n).round(1), RNG.random(n) + 0.1
    np.testing.assert_allclose(pool_adjacent_violators(y, weights=w), min_max(y, w), atol=1e-12)
    falling = pool_adjacent_violators(y, weights=w, increasing=False)
    np.testing.assert_allclose(falling, -np.array(min_max(-y, w)), atol=1e-12)


def test_pooling_keeps_the_weighted_mean_and_what_is_in_order():
    y, w = RNG.normal(size=40), RNG.random(40) + 0.1
    assert np.average(pool_adjacent_violators(y, weights=w), weights=w) == pytest.approx(
        np.average(y, weights=w)
    )
    ordered = np.sort(y)
    assert pool_adjacent_violators(ordered).tolist() == ordered.tolist()


def test_sequences_that_cannot_be_pooled_are_refused():
    with pytest.raises(EmptyDataError):
        pool_adjacent_violators([])
    with pytest.raises(DataError, match="1 NaN"):
        pool_adjacent_violators([1.0, np.nan])
    with pytest.raises(DataError, match="1 weights"):
        pool_adjacent_violators([1.0, 2.0], weights=[1.0, 0.0])
    with pytest.raises(DataError, match="weights: wanted shape"):
        pool_adjacent_violators([1.0, 2.0], weights=[1.0])


def test_isotonic_map_equals_scikit_learn():
    score = RNG.normal(size=300).round(1)
    outcome = (RNG.random(300) < 1 / (1 + np.exp(-score))).astype(float)
    weights = RNG.random(300) + 0.2
    peer = IsotonicRegression(out_of_bounds="clip").fit(score, outcome, sample_weight=weights)
    fitted = fit_isotonic(score, outcome, weights=weights)
    new = np.linspace(-5, 5, 101)
    np.testing.assert_allclose(fitted.apply(new), peer.predict(new), atol=1e-9)
    order = RNG.permutation(300)
    again = fit_isotonic(score[order], outcome[order], weights=weights[order])
    np.testing.assert_allclose(again.prob, fitted.prob, atol=1e-12)
    assert fitted.n_obs == 300


def smoothed_loss(parameters, score, outcome):
    n_yes, n_no = outcome.sum(), (1 - outcome).sum()
    target = np.where(outcome == 1, (n_yes + 1) / (n_yes + 2), 1 / (n_no + 2))
    u = parameters[0] * score + parameters[1]
    return (target * np.logaddexp(0, u) + (1 - target) * np.logaddexp(0, -u)).sum()


@pytest.mark.parametrize("unit", [1.0, 1e-4, 1e5])
def test_platt_map_minimises_the_smoothed_loss_in_any_unit(unit):
    score = RNG.normal(0.4, 1.0, 120)
    outcome = (RNG.random(120) < 1 / (1 + np.exp(-1.5 * score + 0.3))).astype(float)
    fitted = fit_platt(unit * score, outcome)
    best = minimize(smoothed_loss, [0.0, 0.0], args=(score, outcome), method="BFGS", tol=1e-10)
    np.testing.assert_allclose([fitted.a * unit, fitted.b], best.x, rtol=1e-4)
    assert fitted.a < 0
    np.testing.assert_allclose(fitted.apply([0.0]), [1 / (1 + np.exp(fitted.b))], rtol=1e-12)


def test_separable_classes_have_a_finite_platt_map():
    fitted = fit_platt([-2.0, -1.0, 1.0, 2.0], [0, 0, 1, 1])
    prob = fitted.apply([-2.0, 2.0])
    assert 0.0 < prob[0] < 0.3 < 0.7 < prob[1] < 1.0
    only = fit_platt([1.0, 2.0, 3.0], [1, 1, 1])
    assert only.apply([2.0])[0] == pytest.approx(4 / 5, abs=1e-6)


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_maps_make_scores_honest_and_skip_what_is_missing(fit):
    score = RNG.normal(size=8000)
    outcome = (RNG.random(8000) < 1 / (1 + np.exp(-2.0 * score))).astype(float)
    holes = np.append(score, [np.nan, 1.0])
    fitted = fit(holes, np.append(outcome, [1.0, np.nan]))
    assert fitted.n_obs == 8000
    assert expected_calibration_error(fitted.apply(score), outcome) < 0.02
    assert np.isnan(fitted.apply([np.nan])).all()


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_rows_that_cannot_be_fitted_are_refused(fit):
    with pytest.raises(EmptyDataError):
        fit([np.nan], [1.0])
    with pytest.raises(DataError, match="outcome: wanted 0 or 1"):
        fit([1.0, 2.0], [0.5, 1.0])
    with pytest.raises(DataError, match="outcome: wanted shape"):
        fit([1.0, 2.0], [1.0])


def test_scores_and_weights_are_checked():
    with pytest.raises(DataError, match="scores that vary"):
        fit_platt([1.0, 1.0], [0, 1])
    with pytest.raises(DataError, match="positive weights"):
        fit_isotonic([1.0, 2.0], [0, 1], weights=[1.0, -1.0])
