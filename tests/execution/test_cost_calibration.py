"""Calibration recovers what made the fills, with errors, and refuses what it cannot know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quant_engine.core.errors import ConfigError, DataError, InsufficientObservationError
from quant_engine.execution import CostProfile, impact_cost, spread_cost
from quant_engine.execution.calibration import (
    CalibrationRules,
    calibrate_costs,
    calibrate_segments,
    calibrated_profile,
)

pytestmark = pytest.mark.feature("Q-35")


def fills(seed, n=400, half_spread_bps=2.0, impact_coef_bps=30.0):
    """Slippage as the cost model charges it, with noise and a few wild fills."""
    rng = np.random.default_rng(seed)
    adv = rng.uniform(1e6, 1e9, n)
    value = adv * rng.uniform(0.0, 0.02, n)
    charged = spread_cost(value, half_spread_bps * 1e-4) + impact_cost(value, adv, impact_coef_bps)
    noise = rng.normal(0, 3e-4, n)
    noise[rng.random(n) < 0.05] *= 30
    return charged / value + noise, value / adv


def test_the_rates_that_made_the_fills_are_within_their_errors():
    inside = np.zeros(2)
    for seed in range(100):
        fit = calibrate_costs(*fills(seed))
        inside += [
            abs(fit.half_spread_bps - 2.0) <= 1.96 * fit.half_spread_se_bps,
            abs(fit.impact_coef_bps - 30.0) <= 1.96 * fit.impact_se_bps,
        ]
    assert (inside >= 88).all()
    assert fit.n_fills == 400
    assert 20 < fit.n_outliers < 150
    assert fit.scale_bps == pytest.approx(3.0, rel=0.2)


def test_a_profile_moves_part_of_the_way():
    base = CostProfile(name="base")
    fit = calibrate_costs(*fills(1))
    moved = calibrated_profile(base, fit, name="new")
    assert moved.half_spread_bps == pytest.approx(0.7 * 1.5 + 0.3 * fit.half_spread_bps)
    assert moved.impact_coef_bps == pytest.approx(0.7 * 25.0 + 0.3 * fit.impact_coef_bps)
    changed = {k for k, v in moved.content().items() if v != base.content()[k]}
    assert changed == {"name", "half_spread_bps", "impact_coef_bps"}
    again = base
    for _ in range(40):
        again = calibrated_profile(again, fit, name="new")
    assert again.impact_coef_bps == pytest.approx(fit.impact_coef_bps, rel=1e-4)


def test_too_little_is_refused_and_not_answered():
    paid, share = fills(2, n=99)
    with pytest.raises(InsufficientObservationError, match="at least 100"):
        calibrate_costs(paid, share)
    calibrate_costs(paid, share, rules=CalibrationRules(min_fills=99))
    paid, share = fills(2)
    with pytest.raises(DataError, match="does not vary"):
        calibrate_costs(paid, np.full(400, 0.01))
    with pytest.raises(DataError, match="at least 0"):
        calibrate_costs(paid, -share)
    with pytest.raises(DataError, match="NaN"):
        calibrate_costs(np.where(share > 0.01, paid, np.nan), share)
    with pytest.raises(DataError, match="participation_frac"):
        calibrate_costs(paid, share[:-1])


def test_segments_are_fitted_apart_and_small_ones_left_out():
    thin, deep = fills(3, impact_coef_bps=60.0), fills(4, impact_coef_bps=15.0)
    few = fills(5, n=19)
    paid, share = (np.concatenate(parts) for parts in zip(thin, deep, few, strict=True))
    group = np.repeat([0, 1, 2], [400, 400, 19])
    found = calibrate_segments(paid, share, group)
    assert list(found) == [0, 1]
    assert found[0] == calibrate_costs(*thin)
    assert found[1] == calibrate_costs(*deep)
    with pytest.raises(InsufficientObservationError):
        calibrate_segments(paid[-19:], share[-19:], group[-19:])


def test_an_estimate_below_zero_counts_as_zero_or_is_refused():
    base, fit = CostProfile(name="base"), calibrate_costs(*fills(6))
    noise = replace(fit, half_spread_bps=-0.3, half_spread_se_bps=0.2)
    assert calibrated_profile(base, noise, name="n").half_spread_bps == pytest.approx(1.05)
    wrong = replace(fit, impact_coef_bps=-9.0, impact_se_bps=3.0)
    with pytest.raises(DataError, match="impact_coef_bps"):
        calibrated_profile(base, wrong, name="n")
    with pytest.raises(ConfigError, match="stress_multiplier"):
        calibrated_profile(base.stressed(2.0), fit, name="n")
