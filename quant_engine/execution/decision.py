"""Decision score: what is left of a forecast after its costs, in units of its uncertainty.

Contract: the costs of a decision are the round trip (`round_trip_costs`) plus what holding costs
(`holding_cost_frac`), both as fractions of the entry value over the horizon of the forecast. Inside
the no-trade band nothing changes: a forecast that does not pay its own way is no reason to sell
what is held, and none to buy.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.core.units import BPS

__all__ = [
    "HoldingRates",
    "decision_score",
    "funding_cost",
    "holding_cost_frac",
    "targets_with_band",
]

Amount = float | FloatMatrix


class HoldingRates(FrozenConfig):
    """What it costs to hold a position, beside trading it.

    Parameters
    ----------
    borrow_bps_ann : float
        Annual fee on short market value, bps.
    funding_bps_ann : float
        Annual rate that longs pay to shorts, bps; negative = shorts pay. Financing of a margin
        account or the funding of perpetual contracts.
    infra_bps_ann : float
        Data, machines and accounts, annual, bps of the value they are used for.

    Examples
    --------
    >>> HoldingRates().borrow_bps_ann
    50.0
    """

    borrow_bps_ann: float = Field(default=50.0, ge=0.0)
    funding_bps_ann: float = 0.0
    infra_bps_ann: float = Field(default=0.0, ge=0.0)


def funding_cost(position_value: Amount, funding_frac: Amount) -> Amount:
    """Funding of one interval, in currency.

    ``cost = V * f``: at a positive rate longs pay and shorts receive.

    Parameters
    ----------
    position_value : float or ndarray, any shape
        Market value of the position at the funding time, currency, signed. NaN gives NaN.
    funding_frac : float or ndarray
        Rate of the interval, fraction.

    Returns
    -------
    float or ndarray
        Currency; negative = received.

    Examples
    --------
    >>> funding_cost(-10_000.0, 0.0001)
    -1.0
    """
    return position_value * funding_frac


def holding_cost_frac(
    side: npt.NDArray[np.int8] | int,
    rates: HoldingRates,
    *,
    horizon_sessions: int,
    periods_per_year: float,
) -> Amount:
    """Cost of holding a position over a horizon.

    ``(borrow [short] + side * funding + infra) * h / periods_per_year``.

    Parameters
    ----------
    side : int or ndarray of int, any shape
        +1 long, -1 short, 0 none.
    rates : HoldingRates
        Annual rates.
    horizon_sessions : int
        Sessions held, at least 0.
    periods_per_year : float
        Sessions per year.

    Returns
    -------
    float or ndarray
        Fraction of the position's value, shape of `side`; can be negative where funding is
        received.

    Raises
    ------
    ConfigError
        A negative horizon.

    Examples
    --------
    >>> rates = HoldingRates(borrow_bps_ann=252.0, funding_bps_ann=126.0)
    >>> cost = holding_cost_frac(
    ...     np.array([1, -1]), rates, horizon_sessions=10, periods_per_year=252.0
    ... )
    >>> (1e4 * cost).round(6).tolist()
    [5.0, 5.0]
    """
    if horizon_sessions < 0:
        raise ConfigError(
            "horizon_sessions", wanted="at least 0", got=horizon_sessions, hint="Use the label's."
        )
    sign = np.sign(np.asarray(side, dtype=np.float64))
    annual = np.where(sign < 0, rates.borrow_bps_ann, 0.0) + sign * rates.funding_bps_ann
    annual = annual + np.abs(sign) * rates.infra_bps_ann
    return np.asarray(annual * BPS * horizon_sessions / periods_per_year, dtype=np.float64)


def decision_score(
    expected_frac: Amount,
    cost_frac: Amount,
    sigma_frac: Amount,
    *,
    interval_frac: Amount | None = None,
) -> Amount:
    """Expected return after costs per unit of uncertainty, for both sides.

    ``score = sign(E) max(|E| - cost, 0) / max(sigma, q90 - q10)``. For a long forecast that pays
    its cost this is ``(E - cost) / max(sigma, q90 - q10)``; where the forecast does not pay, the
    score is 0 and not a signal for the other side.

    Parameters
    ----------
    expected_frac : float or ndarray, any shape
        Expected return over the horizon, fraction, signed. NaN = no forecast.
    cost_frac : float or ndarray
        All costs over the horizon, fraction; negative = carry that is received.
    sigma_frac : float or ndarray
        Standard deviation of the return over the horizon, fraction, at least 0.
    interval_frac : float or ndarray, optional
        Width of the forecast's 10 % to 90 % interval, fraction, at least 0; None = not available.

    Returns
    -------
    float or ndarray
        Number; 0 where cost eats the forecast, NaN where an input is missing or the uncertainty
        is 0.

    Raises
    ------
    DataError
        A negative standard deviation or width.

    Examples
    --------
    >>> score = decision_score(
    ...     np.array([0.02, -0.02, 0.001]), 0.002, 0.03, interval_frac=np.array([0.02, 0.06, 0.02])
    ... )
    >>> score.round(6).tolist()
    [0.6, -0.3, 0.0]
    """
    sigma = np.asarray(sigma_frac, dtype=np.float64)
    width = sigma if interval_frac is None else np.asarray(interval_frac, dtype=np.float64)
    if (sigma < 0.0).any() or (width < 0.0).any():
        raise DataError(
            "sigma_frac and interval_frac",
            wanted="at least 0",
            got="a negative value",
            hint="The interval is the upper quantile less the lower one.",
        )
    expected = np.asarray(expected_frac, dtype=np.float64)
    unit = np.maximum(sigma, width)
    unit = np.where(unit > 0.0, unit, np.nan)
    # Adding 0 turns the -0 of a short forecast that does not pay into 0.
    edge = np.sign(expected) * np.maximum(np.abs(expected) - cost_frac, 0.0) + 0.0
    return np.asarray(edge / unit, dtype=np.float64)


def targets_with_band(
    score: FloatMatrix,
    held_side: npt.NDArray[np.int8],
    *,
    band: float,
    unknown: Literal["hold", "close"] = "hold",
) -> npt.NDArray[np.int8]:
    """Side to hold after a decision, with a band in which nothing changes.

    Parameters
    ----------
    score : ndarray of float64, any shape
        Decision score; NaN = no forecast.
    held_side : ndarray of int8, shape of `score`
        +1 long, -1 short, 0 none: what is held now.
    band : float
        Scores of at most this size change nothing, at least 0.
    unknown : {"hold", "close"}
        What becomes of a position without a forecast.

    Returns
    -------
    ndarray of int8, shape of `score`
        +1, -1 or 0.

    Raises
    ------
    ConfigError
        A negative band.

    Examples
    --------
    >>> score = np.array([0.3, 0.05, -0.05, -0.3, np.nan])
    >>> targets_with_band(score, np.array([0, 1, 1, 1, -1]), band=0.1).tolist()
    [1, 1, 1, -1, -1]
    """
    if band < 0.0:
        raise ConfigError("band", wanted="at least 0", got=band, hint="Use 0 for no band.")
    values = np.asarray(score, dtype=np.float64)
    held = np.asarray(held_side, dtype=np.int8)
    outside = np.abs(values) > band
    side = np.where(outside, np.sign(np.nan_to_num(values)), held)
    if unknown == "close":
        side = np.where(np.isnan(values), 0, side)
    return side.astype(np.int8)
