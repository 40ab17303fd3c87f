"""Drift detectors against plain loops; causality; false alarms by simulation."""

import numpy as np
import pytest
from pydantic import ValidationError

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.drift import (
    Calibration,
    Cusum,
    PageHinkley,
    WindowShift,
    calibrate_drift,
)

DETECTORS = [Cusum(), PageHinkley(), WindowShift(window_obs=60, min_segment_obs=10)]
names = pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: d.kind)


def stream(seed, size, rho=0.0):
    """Unit-variance AR(1)."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(size + 100)
    x = np.zeros(size + 100)
    for t in range(1, size + 100):
        x[t] = rho * x[t - 1] + np.sqrt(1 - rho**2) * noise[t]
    return x[100:]


def monitor(detector, seed=0, size=300, **more):
    config = Calibration(**{"run_length": 200, "n_draws": 99, **more})
    return calibrate_drift(stream(seed, size), detector=detector, config=config, seed=seed)


def test_cusum_equals_its_recursion():
    z, up, down = stream(1, 50), [], []
    for value in z:
        up.append(max(0.0, (up[-1] if up else 0.0) + value - 0.3))
        down.append(max(0.0, (down[-1] if down else 0.0) - value - 0.3))
    got = Cusum(allowance_sd=0.3).paths(z)
    np.testing.assert_allclose(got, [up, down], atol=1e-12)


def test_cusum_is_the_largest_sum_of_a_recent_stretch():
    z = stream(2, 40)
    got, _ = Cusum(allowance_sd=0.2).paths(z)
    wanted = [max(0.0, *(sum(z[s : t + 1] - 0.2) for s in range(t + 1))) for t in range(40)]
    np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_page_hinkley_equals_its_definition():
    z = stream(3, 40)
    up, down = PageHinkley(allowance_sd=0.1).paths(z)
    gap = np.array([z[t] - z[: t + 1].mean() for t in range(40)])
    rise, fall = np.cumsum(gap - 0.1), np.cumsum(-gap - 0.1)
    np.testing.assert_allclose(up, rise - np.minimum.accumulate(rise), atol=1e-12)
    np.testing.assert_allclose(down, fall - np.minimum.accumulate(fall), atol=1e-12)


def test_window_shift_equals_the_loop_over_cuts():
    past, z = stream(4, 30), stream(5, 45)
    detector = WindowShift(window_obs=30, min_segment_obs=4)
    up, down = detector.paths(z, past)
    joined = np.concatenate([past, z])
    for t in range(45):
        window = joined[: 30 + t + 1][-30:]
        shifts = [0.0]
        for recent in (4, 8, 16):
            new, old = window[-recent:], window[:-recent]
            if len(old) >= 4:
                scale = np.sqrt(1 / len(new) + 1 / len(old))
                shifts.append((new.mean() - old.mean()) / scale)
        assert up[t] == pytest.approx(max(shifts), abs=1e-10)
        assert down[t] == pytest.approx(-min(shifts), abs=1e-10)


@names
def test_states_depend_on_the_past_only(detector):
    watcher = monitor(detector)
    x = stream(6, 200)
    x[[5, 90, 91]] = np.nan
    whole = watcher.watch(x)
    for cut in (1, 7, 60, 91, 150):
        part = watcher.watch(x[:cut])
        np.testing.assert_array_equal(part.up, whole.up[:cut])
        np.testing.assert_array_equal(part.down, whole.down[:cut])
        np.testing.assert_array_equal(part.alarm, whole.alarm[:cut])
    other = x.copy()
    other[120:] = 1e6
    np.testing.assert_array_equal(watcher.watch(other).up[:120], whole.up[:120])


@names
def test_a_gap_carries_the_state(detector):
    watcher = monitor(detector)
    x = stream(7, 60)
    holes = np.insert(x, [0, 0, 30], np.nan)
    got, wanted = watcher.watch(holes), watcher.watch(x)
    assert np.isnan(got.up[:2]).all()
    assert not got.alarm[:2].any()
    known = ~np.isnan(holes)
    np.testing.assert_array_equal(got.up[known], wanted.up)
    assert got.up[32] == got.up[31]
    assert got.n_obs == 60


@names
def test_the_unit_and_the_sign_do_not_matter(detector):
    x, y = stream(8, 300), stream(9, 150) + 0.4
    config = Calibration(run_length=150, n_draws=99)
    plain = calibrate_drift(x, detector=detector, config=config, seed=3)
    scaled = calibrate_drift(5.0 + 100.0 * x, detector=detector, config=config, seed=3)
    assert scaled.threshold == pytest.approx(plain.threshold)
    np.testing.assert_allclose(scaled.watch(5.0 + 100.0 * y).up, plain.watch(y).up, atol=1e-8)
    turned = calibrate_drift(-x, detector=detector, config=config, seed=3)
    np.testing.assert_allclose(turned.watch(-y).down, plain.watch(y).up, atol=1e-8)


@names
@pytest.mark.parametrize("shift", [1.5, -1.5])
def test_a_shift_is_found_on_its_side(detector, shift):
    x = stream(10, 200)
    x[100:] += shift
    run = monitor(detector).watch(x)
    assert run.first_alarm is not None
    assert 100 <= run.first_alarm <= 140
    assert run.direction == ("up" if shift > 0 else "down")
    assert run.alarm[run.first_alarm]
    assert not run.alarm[: run.first_alarm].any()


def test_nothing_to_report():
    run = monitor(Cusum(), false_alarm=0.02).watch([0.0, 0.1, np.nan])
    assert run.first_alarm is None
    assert run.direction == "none"
    assert monitor(Cusum()).watch([np.nan]).n_obs == 0


def test_the_threshold_is_an_order_statistic_and_reproducible():
    loose, strict = monitor(Cusum(), false_alarm=0.2), monitor(Cusum(), false_alarm=0.02)
    assert loose.threshold < strict.threshold
    assert monitor(Cusum()).threshold == monitor(Cusum()).threshold
    longer = monitor(Cusum(), run_length=800)
    assert longer.threshold > monitor(Cusum()).threshold, "runs longer than the reference too"


def alarm_share(detector, rho, avg_block, *, worlds, size=800):
    found = 0
    config = Calibration(run_length=200, avg_block=avg_block, n_draws=99, false_alarm=0.1)
    for seed in range(worlds):
        x = stream(seed + 500, size + 200, rho)
        watcher = calibrate_drift(x[:size], detector=detector, config=config, seed=seed)
        found += watcher.watch(x[size:]).first_alarm is not None
    return found / worlds


@pytest.mark.slow
@names
def test_the_false_alarm_rate_is_the_stated_one(detector):
    """100 worlds at 10 %, three standard errors: independent, and autocorrelated in blocks."""
    assert alarm_share(detector, 0.0, 1.0, worlds=100) == pytest.approx(0.1, abs=0.09)
    rate = alarm_share(detector, 0.5, 40.0, worlds=100, size=4000)
    assert rate == pytest.approx(0.1, abs=0.09)


def test_blocks_are_what_keeps_autocorrelation_quiet():
    assert alarm_share(Cusum(), 0.5, 1.0, worlds=40) > 0.5
    assert alarm_share(Cusum(), 0.5, 20.0, worlds=40) < 0.35


def test_bad_arguments_name_themselves():
    config = Calibration(run_length=20, n_draws=99)
    with pytest.raises(InsufficientHistoryError, match="at least 20"):
        calibrate_drift(np.arange(9.0), detector=Cusum(), config=config, seed=0)
    with pytest.raises(InsufficientHistoryError, match="at least 250"):
        calibrate_drift(stream(0, 100), detector=WindowShift(), config=config, seed=0)
    with pytest.raises(DataError, match="values that vary"):
        calibrate_drift(np.full(50, 0.1), detector=Cusum(), config=config, seed=0)
    rare = Calibration(run_length=20, n_draws=99, false_alarm=0.001)
    with pytest.raises(ConfigError, match="n_draws: wanted at least 999"):
        calibrate_drift(stream(0, 50), detector=Cusum(), config=rare, seed=0)
    never = Calibration(run_length=20, false_alarm=1.0)
    with pytest.raises(ConfigError, match="false_alarm"):
        calibrate_drift(stream(0, 50), detector=Cusum(), config=never, seed=0)
    with pytest.raises(ConfigError, match="at most run_length = 200"):
        monitor(Cusum()).watch(np.zeros(201))
    with pytest.raises(ValidationError, match="half of window_obs"):
        WindowShift(window_obs=20, min_segment_obs=11)
    with pytest.raises(ValidationError, match="allowance_sd"):
        Cusum(allowance_sd=-1.0)
