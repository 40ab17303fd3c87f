"""Maps: shrinkage, isotonic confidence and volatility-scaled intervals, each derived twice."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from quant_engine.models import MapConfig
from quant_engine.models.maps import ScoreMaps, fit_maps, shrunk_mean
from quant_engine.stats.calibration import expected_calibration_error
from quant_engine.stats.inference import newey_west_mean

SETTINGS = MapConfig()


def scores(seed: int, n_sessions: int, n_assets: int) -> np.ndarray:
    """Centred ranks in random order, as every session has them."""
    rng = np.random.default_rng(seed)
    ladder = (2.0 * np.arange(1, n_assets + 1) - 1.0 - n_assets) / n_assets
    return np.stack([rng.permutation(ladder) for _ in range(n_sessions)])


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(5)
    score = scores(1, 120, 50)
    volatility = np.exp(rng.normal(-4.0, 0.6, (120, 50)))
    label = 0.004 * score + volatility * rng.standard_normal((120, 50)) + 0.001
    score[rng.random(score.shape) < 0.05] = np.nan
    label[rng.random(score.shape) < 0.05] = np.nan
    return score, label, volatility


def test_slope_and_intercept_in_a_plain_loop(sample):
    score, label, volatility = sample
    maps = fit_maps(score, label, volatility, config=SETTINGS, lags=3)
    slopes, levels = [], []
    for s, y in zip(score, label, strict=True):
        known = ~(np.isnan(s) | np.isnan(y))
        slopes.append(np.polyfit(s[known], y[known], 1)[0])
        levels.append(y[known].mean())
    for series, fitted in ((slopes, maps.slope_frac), (levels, maps.intercept_frac)):
        test = newey_west_mean(series, lags=3)
        assert fitted == pytest.approx(test.mean * max(0.0, 1 - (test.std_error / test.mean) ** 2))
    assert maps.slope_frac == pytest.approx(0.004, rel=0.2)
    assert maps.n_sessions == 120
    assert maps.n_rows == (~(np.isnan(score) | np.isnan(label))).sum()


def test_shrinkage_limits():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(400)
    noise -= noise.mean()
    assert shrunk_mean(noise + 1e-3, lags=0) == 0.0
    assert shrunk_mean(noise + 50.0, lags=0) == pytest.approx(50.0, rel=1e-5)
    assert shrunk_mean(-(noise + 0.2), lags=0) == -shrunk_mean(noise + 0.2, lags=0)


def test_a_score_that_works_backwards_earns_no_slope(sample):
    score, label, volatility = sample
    maps = fit_maps(-score, label, volatility, config=SETTINGS, lags=3)
    assert maps.slope_frac == 0.0
    assert (np.diff(maps.knot_prob_up) >= 0.0).all()


def test_expected_returns_are_monotone_and_clipped(sample):
    score, label, volatility = sample
    maps = fit_maps(score, label, volatility, config=MapConfig(clip_sigmas=0.02), lags=3)
    grid = np.linspace(-1.0, 1.0, 201)
    expected = maps.expected_return(grid)
    assert (np.diff(expected) >= 0.0).all()
    used = label[~(np.isnan(score) | np.isnan(label))]
    assert np.abs(expected).max() == pytest.approx(0.02 * used.std())
    assert np.isnan(maps.expected_return(np.array([np.nan]))).all()


@pytest.mark.feature("Q-28")
def test_sign_curve_equals_scikit_learn_on_the_same_bins(sample):
    score, label, volatility = sample
    maps = fit_maps(score, label, volatility, config=SETTINGS, lags=3)
    known = ~(np.isnan(score) | np.isnan(label))
    s, up = score[known], label[known] > 0.0
    edges = np.linspace(-1.0, 1.0, 21)
    inside = [(s >= a) & ((s < b) | (b == 1.0)) for a, b in itertools.pairwise(edges)]
    centres = 0.5 * (edges[:-1] + edges[1:])
    other = IsotonicRegression().fit(
        centres, [up[i].mean() for i in inside], sample_weight=[i.sum() for i in inside]
    )
    np.testing.assert_allclose(maps.knot_prob_up, other.predict(centres), atol=1e-12)


@pytest.mark.feature("Q-28")
def test_confidence_is_calibrated_where_probabilities_are_known():
    rng = np.random.default_rng(8)
    score = scores(2, 800, 100)
    prob_up = 0.5 + 0.25 * score
    size = np.abs(rng.standard_normal(score.shape))
    label = np.where(rng.random(score.shape) < prob_up, size, -size)
    fit, rest = slice(0, 400), slice(400, None)
    maps = fit_maps(score[fit], label[fit], np.ones((400, 100)), config=SETTINGS, lags=0)
    confidence = maps.confidence(score[rest])
    hit = (score[rest] >= 0.0) == (label[rest] > 0.0)
    assert expected_calibration_error(confidence.ravel(), hit.ravel()) <= 0.02
    truth = np.where(score[rest] >= 0.0, prob_up[rest], 1.0 - prob_up[rest])
    assert np.abs(confidence - truth).max() < 0.05


def test_confidence_says_when_the_base_rate_works_against_the_score():
    score = scores(3, 60, 40)
    rng = np.random.default_rng(1)
    label = np.where(rng.random(score.shape) < 0.4, 1.0, -1.0)
    maps = fit_maps(score, label, np.ones(score.shape), config=SETTINGS, lags=0)
    assert maps.confidence(np.array([0.05]))[0] < 0.5 < maps.confidence(np.array([-0.05]))[0]


@pytest.mark.feature("Q-28")
def test_intervals_cover_heteroscedastic_noise_at_every_volatility():
    rng = np.random.default_rng(9)
    shape = (400, 60)
    volatility = np.exp(rng.normal(-4.0, 0.8, shape))
    label = volatility * rng.standard_t(5, shape)
    score = scores(4, *shape)
    half = slice(0, 200), slice(200, None)
    maps = fit_maps(score[half[0]], label[half[0]], volatility[half[0]], config=SETTINGS, lags=0)
    expected = maps.expected_return(score[half[1]])
    low, high = maps.bounds(expected, volatility[half[1]])
    inside = (label[half[1]] >= low) & (label[half[1]] <= high)
    assert inside.mean() == pytest.approx(0.9, abs=0.015)
    tercile = np.digitize(volatility[half[1]], np.quantile(volatility, [1 / 3, 2 / 3]))
    for third in range(3):
        assert inside[tercile == third].mean() == pytest.approx(0.9, abs=0.025)


def test_unknown_volatility_gives_no_interval(sample):
    score, label, volatility = sample
    maps = fit_maps(score, label, volatility, config=SETTINGS, lags=3)
    low, high = maps.bounds(np.array([[0.0, 0.0, 0.0]]), np.array([[0.02, 0.0, np.nan]]))
    np.testing.assert_array_equal(np.isnan(low), [[False, True, True]])
    assert high[0, 0] == -low[0, 0] > 0.0
    assert fit_maps(score, label, np.zeros(score.shape), config=SETTINGS, lags=3) is None


def test_too_few_sessions_give_no_map(sample):
    score, label, volatility = (part[:19] for part in sample)
    assert fit_maps(score, label, volatility, config=SETTINGS, lags=3) is None


def test_scores_that_never_differ_give_no_slope(sample):
    _, label, volatility = sample
    maps = fit_maps(np.zeros(label.shape), label, volatility, config=SETTINGS, lags=3)
    assert maps.slope_frac == 0.0


def test_json_keeps_every_bit_and_an_infinite_interval(sample):
    score, label, volatility = sample
    few = MapConfig(coverage=0.999999)
    for config in (SETTINGS, few):
        maps = fit_maps(score, label, volatility, config=config, lags=3)
        again = ScoreMaps.from_json(json.loads(json.dumps(maps.to_json(), allow_nan=False)))
        grid = np.linspace(-1.0, 1.0, 77)
        for method in (ScoreMaps.expected_return, ScoreMaps.confidence):
            np.testing.assert_array_equal(method(maps, grid), method(again, grid))
        assert again.interval == maps.interval
    assert np.isinf(again.interval.quantile)
