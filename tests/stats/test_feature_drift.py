"""Drift of one feature: distances against scipy, alarms at their stated rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from quant_engine.core.errors import DataError
from quant_engine.stats.feature_drift import FeatureDriftConfig, feature_drift

pytestmark = pytest.mark.feature("Q-17")

QUICK = FeatureDriftConfig(n_draws=99, avg_block=1.0)


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def test_distances_are_those_of_the_values_that_are_there(rng):
    then, now = rng.standard_normal((60, 7)), 0.5 + 2.0 * rng.standard_normal((25, 9))
    then[rng.random(then.shape) < 0.1] = np.nan
    now[rng.random(now.shape) < 0.3] = np.nan
    found = feature_drift(then, now, QUICK)
    old, new = then[~np.isnan(then)], now[~np.isnan(now)]
    assert found.ks == pytest.approx(ks_2samp(old, new).statistic, abs=1e-12)
    assert found.mean_shift_sd == pytest.approx((new.mean() - old.mean()) / old.std())
    edges = np.quantile(old, np.arange(1, 10) / 10)
    shares = [np.bincount(np.searchsorted(edges, x), minlength=10) / x.size for x in (old, new)]
    e, a = (np.where(part > 0, part, 1e-6) for part in shares)
    assert found.psi == pytest.approx(((a - e) * np.log(a / e)).sum())
    assert found.missing_then == pytest.approx(np.isnan(then).mean())
    assert found.missing_now == pytest.approx(np.isnan(now).mean())
    assert (found.n_then, found.n_now) == (old.size, new.size)


def test_only_rows_count(rng):
    then, now = rng.standard_normal((40, 6)), rng.standard_normal((10, 6))
    rows = rng.random(then.shape) < 0.5, rng.random(now.shape) < 0.5
    found = feature_drift(then, now, QUICK, rows=rows)
    spoiled = [np.where(part, values, 99.0) for part, values in zip(rows, (then, now), strict=True)]
    assert found == feature_drift(*spoiled, QUICK, rows=rows)
    assert found.n_then == rows[0].sum()
    assert found.missing_then == 0.0


def test_a_thinned_reference_keeps_its_ends(rng):
    then = rng.standard_normal((100, 3))
    config = QUICK.model_copy(update={"max_reference_sessions": 10})
    found = feature_drift(then, then[:5], config)
    kept = then[np.linspace(0, 99, 10).round().astype(int)]
    assert found.n_then == 30
    assert found.ks == pytest.approx(ks_2samp(kept.ravel(), then[:5].ravel()).statistic)


def test_undisturbed_windows_alarm_about_as_often_as_stated(rng):
    config = QUICK.model_copy(update={"false_alarm": 0.1})
    alarms = [
        feature_drift(rng.standard_normal((120, 4)), rng.standard_normal((20, 4)), config).alarm
        is not None
        for _ in range(80)
    ]
    # Standard error 3.4 %; a reference of 120 sessions costs some percent, see stats.drift.
    assert 0.01 < np.mean(alarms) < 0.25


def test_a_lasting_shift_is_seen_after_it_began(rng):
    then, now = rng.standard_normal((150, 5)), rng.standard_normal((30, 5))
    now[12:] += 1.5
    found = feature_drift(then, now, QUICK)
    assert found.is_watched
    assert found.alarm is not None
    assert 12 <= found.alarm <= 20


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (np.full((30, 2), np.nan), np.ones((5, 2))),
        (np.ones((30, 2)), np.full((5, 2), np.nan)),
        (np.ones((30, 2)), np.ones((5, 2))),
    ],
)
def test_what_cannot_be_compared_is_not_available_and_no_alarm(then, now):
    found = feature_drift(then, now, QUICK)
    assert np.isnan(found.psi)
    assert np.isnan(found.mean_shift_sd)
    assert (found.alarm, found.is_watched) == (None, False)


def test_windows_of_other_shapes_are_refused(rng):
    wide = rng.standard_normal((30, 2))
    with pytest.raises(DataError, match="windows"):
        feature_drift(wide[:, 0], wide, QUICK)
    with pytest.raises(DataError, match="windows"):
        feature_drift(wide, wide, QUICK, rows=(wide > 0, wide[:3] > 0))
