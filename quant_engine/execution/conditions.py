"""Market conditions: how much dearer trading gets when markets move or an asset is thin.

Contract: volatility and range are those of the *decision* session, the gap is that of the fill
session and an outcome, like the spread. Every multiplier is 1 in a calm, liquid market. The
numbers are the assumptions of the source documents, not estimates; calibrate a profile from fills
(`execution.calibration`) where there are some.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field

from quant_engine.core.arrays import BoolMatrix, FloatMatrix
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError

__all__ = [
    "CostConditions",
    "ShockMode",
    "liquidity_multiplier",
    "shock_sessions",
    "stress_multiplier",
    "structural_multiplier",
    "trailing_sigma_ann",
]

Amount = float | FloatMatrix


class CostConditions(FrozenConfig):
    """How costs react to volatility, gaps, ranges and liquidity.

    Parameters
    ----------
    sigma_calm_ann : float
        Annual volatility up to which a market counts as calm, fraction.
    sigma_weight, gap_weight, range_weight : float
        Weights of the three parts of stress.
    gap_limit_frac, range_limit_frac : float
        A larger gap or range counts as this, fraction of the price.
    impact_share_of_stress : float
        Share of the stress that impact takes over, between 0 and 1; spreads take all of it. The
        default is the dear end.
    liquidity_reference_usd : float
        Average daily traded value at which the liquidity multiplier is 1, currency.
    liquidity_low, liquidity_high : float
        Bounds of the liquidity multiplier.
    sigma_sessions : int
        Returns in the trailing volatility.
    unknown_stress : float
        Stress of an asset whose volatility is not known yet.

    Examples
    --------
    >>> CostConditions().sigma_calm_ann
    0.2
    """

    sigma_calm_ann: float = Field(default=0.20, gt=0.0)
    sigma_weight: float = Field(default=1.0, ge=0.0)
    gap_weight: float = Field(default=4.0, ge=0.0)
    range_weight: float = Field(default=2.0, ge=0.0)
    gap_limit_frac: float = Field(default=0.10, ge=0.0)
    range_limit_frac: float = Field(default=0.20, ge=0.0)
    impact_share_of_stress: float = Field(default=1.0, ge=0.0, le=1.0)
    liquidity_reference_usd: float = Field(default=25e6, gt=0.0)
    liquidity_low: float = Field(default=0.70, gt=0.0)
    liquidity_high: float = Field(default=3.0, gt=0.0)
    sigma_sessions: int = Field(default=20, ge=2)
    unknown_stress: float = Field(default=1.0, ge=1.0)


class ShockMode(FrozenConfig):
    """What changes while the whole market is in shock.

    Parameters
    ----------
    quantile : float
        A session decides in shock when the median volatility of the assets is above this quantile
        of its own past.
    lookback_sessions, min_sessions : int
        Length of that past, and how much of it is needed; without it there is no shock.
    spread_multiplier : float
        Factor on spreads.
    participation_cap_frac : float
        Largest share of ADV; the cap of the profile holds where it is lower.

    Examples
    --------
    >>> ShockMode().participation_cap_frac
    0.005
    """

    quantile: float = Field(default=0.95, gt=0.0, lt=1.0)
    lookback_sessions: int = Field(default=252, ge=2)
    min_sessions: int = Field(default=126, ge=2)
    spread_multiplier: float = Field(default=2.0, ge=1.0)
    participation_cap_frac: float = Field(default=0.005, gt=0.0, le=1.0)


def stress_multiplier(
    sigma_ann: Amount, gap_frac: Amount, range_frac: Amount, *, conditions: CostConditions
) -> Amount:
    """Factor on spreads when markets move.

    ``1 + a max(0, (sigma - sigma0) / sigma0) + b min(|gap|, g) + c min(range, r)``.

    Parameters
    ----------
    sigma_ann : float or ndarray, any shape
        Annual volatility, fraction. NaN = unknown.
    gap_frac : float or ndarray
        Open of the fill session over the close before, less 1. NaN = no gap is known, counts as 0.
    range_frac : float or ndarray
        (high - low) / close. NaN counts as 0, as for a session that did not trade.
    conditions : CostConditions
        Weights and limits.

    Returns
    -------
    float or ndarray
        At least 1; ``conditions.unknown_stress`` in place of the volatility part's 1 where the
        volatility is unknown.

    Examples
    --------
    >>> round(float(stress_multiplier(0.30, -0.05, 0.03, conditions=CostConditions())), 10)
    1.76
    """
    rule = conditions
    excess = np.maximum(0.0, (np.asarray(sigma_ann) - rule.sigma_calm_ann) / rule.sigma_calm_ann)
    moved = np.where(np.isnan(excess), rule.unknown_stress, 1.0 + rule.sigma_weight * excess)
    gap = np.minimum(np.abs(np.nan_to_num(gap_frac, nan=0.0)), rule.gap_limit_frac)
    span = np.minimum(np.nan_to_num(range_frac, nan=0.0), rule.range_limit_frac)
    return np.asarray(moved + rule.gap_weight * gap + rule.range_weight * span)


def liquidity_multiplier(adv_value: Amount, *, conditions: CostConditions) -> Amount:
    """Factor on spread and impact of thinly traded assets.

    ``clip(sqrt(reference / ADV), low, high)``.

    Parameters
    ----------
    adv_value : float or ndarray, any shape
        Average daily traded value, currency; NaN or 0 = unknown.
    conditions : CostConditions
        Reference and bounds.

    Returns
    -------
    float or ndarray
        Between the bounds; the upper one where ADV is unknown.

    Examples
    --------
    >>> liquidity_multiplier(6.25e6, conditions=CostConditions()).item()
    2.0
    """
    adv = np.asarray(adv_value, dtype=np.float64)
    known = np.where(adv > 0.0, adv, np.nan)
    factor = np.sqrt(conditions.liquidity_reference_usd / known)
    bounded = np.clip(factor, conditions.liquidity_low, conditions.liquidity_high)
    return np.asarray(np.where(np.isnan(known), conditions.liquidity_high, bounded))


def structural_multiplier(
    break_probability: Amount, uncertainty: Amount, *, drift: Amount, systemic: Amount
) -> Amount:
    """Factor for structural breaks and system-wide stress, between 1 and 3.

    ``clip(b (1 + 0.5 u) (1 - 0.2 d) (1 + 0.3 s), 1, 3)`` with b = 1.0, 1.3, 2.0 for a break
    probability below 0.05, below 0.15, and above.

    Parameters
    ----------
    break_probability : float or ndarray, any shape
        Probability that the regime just broke, between 0 and 1.
    uncertainty, drift, systemic : float or ndarray
        Scores between 0 and 1: uncertainty of the regime, strength of a drift (a market that
        trends takes orders more easily), stress of the whole system.

    Returns
    -------
    float or ndarray
        Number. NaN in any argument gives NaN.

    Raises
    ------
    ConfigError
        A value outside [0, 1].

    Examples
    --------
    >>> round(float(structural_multiplier(0.10, 0.4, drift=0.5, systemic=0.0)), 10)
    1.404
    """
    parts = {"uncertainty": uncertainty, "drift": drift, "systemic": systemic}
    for name, value in {"break_probability": break_probability, **parts}.items():
        given = np.asarray(value, dtype=np.float64)
        if (given < 0.0).any() or (given > 1.0).any():
            raise ConfigError(name, wanted="values in [0, 1]", got=value, hint="Scale it first.")
    chance = np.asarray(break_probability, dtype=np.float64)
    base = np.where(chance < 0.05, 1.0, np.where(chance < 0.15, 1.3, 2.0))
    base = np.where(np.isnan(chance), np.nan, base)
    factor = base * (1.0 + 0.5 * np.asarray(uncertainty)) * (1.0 - 0.2 * np.asarray(drift))
    return np.asarray(np.clip(factor * (1.0 + 0.3 * np.asarray(systemic)), 1.0, 3.0))


def trailing_sigma_ann(
    close: FloatMatrix, *, window_sessions: int, periods_per_year: float
) -> FloatMatrix:
    """Annual volatility of the trailing close-to-close returns.

    Parameters
    ----------
    close : ndarray of float64, shape (T, N)
        Prices in currency; NaN = not traded. A return needs two sessions in a row.
    window_sessions : int
        Returns in the window; at least half of them have to exist.
    periods_per_year : float
        Sessions per year.

    Returns
    -------
    ndarray of float64, shape (T, N)
        Standard deviation of log returns (ddof 1) times the root of `periods_per_year`, fraction;
        row t knows closes up to t. NaN with too few returns.

    Examples
    --------
    >>> close = np.exp(np.cumsum([[0.0], [0.01], [-0.01], [0.01], [-0.01]], axis=0))
    >>> trailing_sigma_ann(close, window_sessions=4, periods_per_year=252).round(4).ravel()
    array([   nan,    nan, 0.2245, 0.1833, 0.1833])
    """
    returns = np.full(close.shape, np.nan)
    returns[1:] = np.diff(np.log(close), axis=0)
    count, total = _window_sums(np.isfinite(returns), returns, window_sessions)
    mean = total / np.maximum(count, 1)
    squares = np.zeros(close.shape)
    for lag in range(min(window_sessions, close.shape[0])):
        moved = returns[: close.shape[0] - lag] - mean[lag:]
        squares[lag:] += np.where(np.isfinite(moved), moved, 0.0) ** 2
    enough = count >= max(2, (window_sessions + 1) // 2)
    variance = squares / np.maximum(count - 1, 1)
    return np.where(enough, np.sqrt(variance * periods_per_year), np.nan)


def _window_sums(
    present: BoolMatrix, values: FloatMatrix, window: int
) -> tuple[FloatMatrix, FloatMatrix]:
    """Count and sum of the trailing rows, each window summed afresh."""
    count, total = np.zeros(values.shape), np.zeros(values.shape)
    filled = np.where(present, values, 0.0)
    for lag in range(min(window, values.shape[0])):
        count[lag:] += present[: values.shape[0] - lag]
        total[lag:] += filled[: values.shape[0] - lag]
    return count, total


def shock_sessions(sigma_ann: FloatMatrix, shock: ShockMode) -> npt.NDArray[np.bool_]:
    """Sessions whose decisions are made in shock.

    Parameters
    ----------
    sigma_ann : ndarray of float64, shape (T, N)
        Annual volatility known at each close, fraction; NaN = unknown.
    shock : ShockMode
        Quantile and its past.

    Returns
    -------
    ndarray of bool, shape (T,)
        Row t reads rows up to t; its own row is not part of the past it is compared with.

    Examples
    --------
    >>> sigma = np.array([[0.2], [0.2], [0.2], [0.2], [0.5], [0.2]])
    >>> shock_sessions(sigma, ShockMode(lookback_sessions=4, min_sessions=2)).tolist()
    [False, False, False, False, True, False]
    """
    has_any = np.isfinite(sigma_ann).any(axis=1)
    median = np.full(sigma_ann.shape[0], np.nan)
    if has_any.any():
        median[has_any] = np.nanmedian(sigma_ann[has_any], axis=1)
    found = np.zeros(median.size, dtype=np.bool_)
    for t in range(1, median.size):
        past = median[max(0, t - shock.lookback_sessions) : t]
        past = past[np.isfinite(past)]
        if past.size >= shock.min_sessions:
            found[t] = median[t] > np.quantile(past, shock.quantile)
    return found
