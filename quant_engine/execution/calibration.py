"""Calibration: half-spread and impact of a profile from what fills really cost.

Contract: slippage is regressed on a constant (the half-spread) and the root of participation (the
impact of `costs.impact_cost`) by a robust regression with standard errors. Too few fills, or fills
of one size, are refused rather than answered. A profile moves only part of the way to a new
estimate, so that one bad month does not decide; fees are invoices and are not estimated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from quant_engine.core.arrays import FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError, InsufficientObservationError
from quant_engine.core.units import BPS_PER_UNIT
from quant_engine.execution.costs import CostProfile
from quant_engine.stats.checks import check_same_shape, parse_vector
from quant_engine.stats.robust import huber_regression

__all__ = [
    "CalibrationRules",
    "CostCalibration",
    "calibrate_costs",
    "calibrate_segments",
    "calibrated_profile",
]


class CalibrationRules(FrozenConfig):
    """When and how far a calibration moves a profile.

    Parameters
    ----------
    min_fills : int
        Fewer fills are refused.
    min_segment_fills : int
        A segment with fewer keeps its rates.
    blend_frac : float
        Part of the way from the old rate to the estimate.
    max_negative_t : float
        An estimate below 0 by more standard errors than this is refused; by fewer it counts as 0.
    tuning : float
        See `stats.robust.huber_regression`.

    Examples
    --------
    >>> CalibrationRules().min_fills
    100
    """

    min_fills: int = Field(default=100, ge=3)
    min_segment_fills: int = Field(default=20, ge=3)
    blend_frac: float = Field(default=0.30, gt=0.0, le=1.0)
    max_negative_t: float = Field(default=2.0, ge=0.0)
    tuning: float = Field(default=1.345, gt=0.0)


@dataclass(frozen=True)
class CostCalibration:
    """Estimated rates with their errors.

    Parameters
    ----------
    half_spread_bps, half_spread_se_bps : float
        Slippage of a very small order, and its standard error, bps.
    impact_coef_bps, impact_se_bps : float
        Impact of trading all of ADV, and its standard error, bps.
    scale_bps : float
        Robust standard deviation of a fill's slippage around the line, bps.
    n_fills, n_outliers : int
        Fills used, and those that were given less than full weight.
    """

    half_spread_bps: float
    half_spread_se_bps: float
    impact_coef_bps: float
    impact_se_bps: float
    scale_bps: float
    n_fills: int
    n_outliers: int


def calibrate_costs(
    slippage_frac: FloatVector,
    participation_frac: FloatVector,
    *,
    rules: CalibrationRules | None = None,
) -> CostCalibration:
    """Estimate half-spread and impact from fills.

    ``slippage = s + c sqrt(participation) + error``.

    Parameters
    ----------
    slippage_frac : ndarray, shape (n,)
        Side times (fill price over mid price at arrival, less 1), fraction: positive = a cost.
        Fees excluded. NaN is refused.
    participation_frac : ndarray, shape (n,)
        Traded value over the ADV known at the decision, fraction, at least 0.
    rules : CalibrationRules, optional
        Minimum and tuning.

    Returns
    -------
    CostCalibration
        Estimates as they are, negative ones included.

    Raises
    ------
    InsufficientObservationError
        Fewer fills than the minimum.
    DataError
        NaN, a negative participation, shapes that differ, or sizes that do not vary.

    Examples
    --------
    >>> share = np.linspace(0.0, 0.02, 200)
    >>> wobble = 1e-5 * np.where(np.arange(200) % 2 == 0, 1.0, -1.0)
    >>> fit = calibrate_costs(1.5e-4 + 25e-4 * np.sqrt(share) + wobble, share)
    >>> round(fit.half_spread_bps, 2), round(fit.impact_coef_bps, 1), fit.n_fills
    (1.5, 25.0, 200)
    """
    rules = CalibrationRules() if rules is None else rules
    return _estimate(slippage_frac, participation_frac, rules, rules.min_fills)


def _estimate(
    slippage_frac: FloatVector, participation_frac: FloatVector, rules: CalibrationRules, least: int
) -> CostCalibration:
    paid = parse_vector("slippage_frac", slippage_frac)
    share = parse_vector("participation_frac", participation_frac)
    check_same_shape("slippage_frac", paid, "participation_frac", share)
    if paid.size < least:
        raise InsufficientObservationError(
            "fills",
            wanted=f"at least {least}",
            got=paid.size,
            hint="Keep the profile until more orders have filled.",
        )
    if not (share >= 0.0).all():
        raise DataError(
            "participation_frac",
            wanted="fractions of at least 0",
            got=float(np.nanmin(share)) if np.isfinite(share).any() else math.nan,
            hint="Divide the absolute traded value by the ADV of the decision.",
        )
    columns = np.column_stack([np.ones(share.size), np.sqrt(share)])
    fit = huber_regression(paid, columns, tuning=rules.tuning)
    (spread, impact), (spread_se, impact_se) = fit.coefficients, fit.std_errors
    return CostCalibration(
        float(spread) * BPS_PER_UNIT,
        float(spread_se) * BPS_PER_UNIT,
        float(impact) * BPS_PER_UNIT,
        float(impact_se) * BPS_PER_UNIT,
        fit.scale * BPS_PER_UNIT,
        fit.n,
        fit.n_outliers,
    )


def calibrate_segments(
    slippage_frac: FloatVector,
    participation_frac: FloatVector,
    segment: FloatVector,
    *,
    rules: CalibrationRules | None = None,
) -> dict[int, CostCalibration]:
    """Calibrate every segment that has enough fills.

    Parameters
    ----------
    slippage_frac, participation_frac : ndarray, shape (n,)
        As in `calibrate_costs`.
    segment : ndarray of int, shape (n,)
        Position in a segment table per fill.
    rules : CalibrationRules, optional
        The minimum over all fills and that of a segment.

    Returns
    -------
    dict of int to CostCalibration
        In ascending order; a segment with too few fills is absent.

    Raises
    ------
    InsufficientObservationError
        Too few fills over all.
    DataError
        See `calibrate_costs`.

    Examples
    --------
    >>> share = np.tile(np.linspace(0.0, 0.02, 60), 2)
    >>> wobble = 1e-5 * np.where(np.arange(120) % 2 == 0, 1.0, -1.0)
    >>> group = np.repeat([0, 1], 60)
    >>> paid = 1e-4 + np.where(group == 0, 40e-4, 15e-4) * np.sqrt(share) + wobble
    >>> found = calibrate_segments(paid, share, group)
    >>> {key: round(fit.impact_coef_bps) for key, fit in found.items()}
    {0: 40, 1: 15}
    """
    rules = CalibrationRules() if rules is None else rules
    calibrate_costs(slippage_frac, participation_frac, rules=rules)
    paid = parse_vector("slippage_frac", slippage_frac)
    share = parse_vector("participation_frac", participation_frac)
    group = parse_vector("segment", segment)
    check_same_shape("slippage_frac", paid, "segment", group)
    codes, counts = np.unique(group, return_counts=True)
    return {
        int(code): _estimate(
            paid[group == code], share[group == code], rules, rules.min_segment_fills
        )
        for code, count in zip(codes, counts, strict=True)
        if count >= rules.min_segment_fills
    }


def calibrated_profile(
    profile: CostProfile, fit: CostCalibration, *, name: str, rules: CalibrationRules | None = None
) -> CostProfile:
    """Move a profile towards an estimate.

    ``new = old + blend (max(0, estimate) - old)`` for half-spread and impact.

    Parameters
    ----------
    profile : CostProfile
        Profile in use, without stress.
    fit : CostCalibration
        Estimates.
    name : str
        Name of the new profile.
    rules : CalibrationRules, optional
        Blend, and how negative an estimate may be.

    Returns
    -------
    CostProfile
        All other assumptions unchanged.

    Raises
    ------
    ConfigError
        A stressed profile: its rates are not the ones that were paid.
    DataError
        An estimate below 0 by more standard errors than noise explains: slippage has the wrong
        sign, or is measured against a price after the order.

    Examples
    --------
    >>> fit = CostCalibration(2.5, 0.1, 35.0, 2.0, 4.0, 500, 10)
    >>> moved = calibrated_profile(CostProfile(name="base"), fit, name="2024-05")
    >>> round(moved.half_spread_bps, 10), round(moved.impact_coef_bps, 10)
    (1.8, 28.0)
    """
    rules = CalibrationRules() if rules is None else rules
    if profile.stress_multiplier != 1.0:
        raise ConfigError(
            "profile.stress_multiplier",
            wanted="1 (rates as they are paid)",
            got=profile.stress_multiplier,
            hint="Calibrate the profile first and stress it then.",
        )
    estimates = {
        "half_spread_bps": (fit.half_spread_bps, fit.half_spread_se_bps),
        "impact_coef_bps": (fit.impact_coef_bps, fit.impact_se_bps),
    }
    content = profile.content()
    for rate, (value, error) in estimates.items():
        if value < -rules.max_negative_t * error:
            raise DataError(
                f"fit.{rate}",
                wanted="a cost, at least 0 within its error",
                got=f"{value:g} with standard error {error:g}",
                hint="Check the sign of the slippage and the time of its mid price.",
            )
        content[rate] += rules.blend_frac * (max(0.0, value) - content[rate])
    return type(profile).model_validate({**content, "name": name})
