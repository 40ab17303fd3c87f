"""A distribution from threshold prices: repair, mass, moments and scores."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from quant_engine.core.errors import DataError
from quant_engine.stats.threshold_curve import fit_threshold_curve

STRIKES = [1.0, 2.0, 4.0]


def test_a_monotone_ladder_is_kept_and_its_mean_is_the_area_under_it():
    curve = fit_threshold_curve(STRIKES, [0.9, 0.5, 0.2], lower_edge=0.0, upper_edge=5.0)
    assert curve.survival.tolist() == [0.9, 0.5, 0.2]
    assert curve.n_violations == 0
    # Mean = lower edge + integral of the survival function, trapezoid by trapezoid.
    points, survival = [0.0, *STRIKES, 5.0], [1.0, 0.9, 0.5, 0.2, 0.0]
    area = sum(
        (b - a) * (p + q) / 2
        for a, b, p, q in zip(points, points[1:], survival, survival[1:], strict=False)
    )
    assert curve.mean() == pytest.approx(area, rel=1e-12)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12), st.integers(0, 1000))
def test_any_quotes_become_a_distribution(quotes, seed):
    weights = np.random.default_rng(seed).random(len(quotes)) + 0.1
    strikes = np.arange(len(quotes), dtype=float)
    curve = fit_threshold_curve(
        strikes, quotes, lower_edge=-1.0, upper_edge=float(len(quotes)), weights=weights
    )
    assert (np.diff(curve.survival) <= 1e-12).all()
    assert curve.mass.sum() == pytest.approx(1.0)
    assert (curve.mass >= -1e-12).all()
    assert np.average(curve.survival, weights=weights) == pytest.approx(
        np.average(quotes, weights=weights), abs=1e-12
    )
    assert curve.n_violations == sum(b > a for a, b in pairwise(quotes))
    assert (curve.crps([-2.0, 0.0, 3.3]) >= 0.0).all()


def test_a_fine_ladder_of_a_normal_law_has_its_moments_and_score():
    strikes = np.linspace(-5.0, 5.0, 401)
    curve = fit_threshold_curve(
        strikes, scipy_stats.norm.sf(strikes), lower_edge=-6.0, upper_edge=6.0
    )
    assert curve.mean() == pytest.approx(0.0, abs=1e-6)
    assert curve.crps([0.0])[0] == pytest.approx(0.2336949773, abs=1e-4)


def test_score_at_strikes_counts_each_contract_once():
    curve = fit_threshold_curve(STRIKES, [0.9, 0.5, 0.2], lower_edge=0.0, upper_edge=5.0)
    assert curve.rps_at_strikes(3.0) == pytest.approx(0.1**2 + 0.5**2 + 0.2**2)
    assert curve.rps_at_strikes(2.0) == pytest.approx(0.1**2 + 0.5**2 + 0.2**2)
    assert curve.rps_at_strikes(0.5) == pytest.approx(0.9**2 + 0.5**2 + 0.2**2)


@pytest.mark.parametrize(
    ("strikes", "quotes", "edges", "part"),
    [
        ([2.0, 1.0], [0.5, 0.4], (0.0, 5.0), "rise strictly"),
        ([1.0, 2.0], [0.5, 0.4], (1.0, 5.0), "rise strictly"),
        ([1.0, 2.0], [0.5, 0.4], (0.0, 2.0), "rise strictly"),
        ([], [], (0.0, 5.0), "at least one strike"),
        ([1.0, 2.0], [50.0, 40.0], (0.0, 5.0), "probabilities"),
        ([1.0, 2.0], [0.5, np.nan], (0.0, 5.0), "without NaN"),
        ([1.0, 2.0], [0.5], (0.0, 5.0), "shape"),
    ],
)
def test_ladders_that_are_none_are_refused(strikes, quotes, edges, part):
    with pytest.raises(DataError, match=part):
        fit_threshold_curve(
            np.array(strikes, dtype=float),
            np.array(quotes, dtype=float),
            lower_edge=edges[0],
            upper_edge=edges[1],
        )
