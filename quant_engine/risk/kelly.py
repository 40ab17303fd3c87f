"""Fractional Kelly: how large a stake its own past results justify, after shrinkage.

The stake is whatever earned the returns: a trade, or a whole book. With stake multiple f and return
r the growth of equity is, to second order, ``g(f) = f E[r] - f^2 E[r^2] / 2``, which is largest at
``f* = E[r] / E[r^2]`` (Kelly 1956; exact for an even-money bet; Thorp 2006 for returns).

The edge E[r] is not known but measured, with a standard error. Betting ``k f*`` of a measured edge
m with sampling variance v grows on average by ``k mu^2 - k^2 (mu^2 + v) / 2`` in units of
``1 / E[r^2]``, which is largest at ``k = mu^2 / (mu^2 + v)`` (Baker and McHale 2013). With the
unbiased estimate ``m^2 - v`` of ``mu^2`` this is ``k = max(0, 1 - v / m^2)``, the positive-part
James-Stein factor: an edge of one standard error counts as none, one of two keeps three quarters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from quant_engine.core.arrays import FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.stats.checks import parse_vector

__all__ = ["KellyConfig", "KellyStake", "kelly_stake", "shrunk_edge", "trailing_kelly"]


class KellyConfig(FrozenConfig):
    """Fraction of Kelly, and the sample that it is measured on.

    Parameters
    ----------
    fraction : float
        Share of the shrunk Kelly stake that is taken. Half of it has three quarters of the growth
        at half of the volatility.
    window : int
        The last so many results are used.
    min_observations : int
        With fewer results nothing is known and the smallest multiplier is used.
    min_multiplier, max_multiplier : float
        Limits of the factor on the size. They hold where the measured edge is above 0; at or below
        it the factor is 0.
    cost_bps : float
        Cost per unit of traded weight that is taken off a book's results before they are judged.

    Examples
    --------
    >>> KellyConfig().fraction
    0.5
    """

    fraction: float = Field(default=0.5, gt=0.0, le=1.0)
    window: int = Field(default=200, ge=2)
    min_observations: int = Field(default=20, ge=2)
    min_multiplier: float = Field(default=0.25, ge=0.0)
    max_multiplier: float = Field(default=1.5, gt=0.0)
    cost_bps: float = Field(default=10.0, ge=0.0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_multiplier > self.max_multiplier:
            raise ValueError("min_multiplier must not exceed max_multiplier")
        if self.min_observations > self.window:
            raise ValueError("min_observations must not exceed window")
        return self


@dataclass(frozen=True)
class KellyStake:
    """What a sample of results says about the stake that earned them.

    Parameters
    ----------
    n_obs : int
        Results used.
    edge, std_error : float
        Mean result and its standard error, fraction of the stake; NaN with fewer than two results.
    shrunk_edge : float
        Edge after shrinkage, at least 0; NaN where the edge is.
    full_kelly : float
        Multiple of the stake with the largest expected growth, at least 0; NaN where the edge is.
    multiplier : float
        Factor on the size.
    """

    n_obs: int
    edge: float
    std_error: float
    shrunk_edge: float
    full_kelly: float
    multiplier: float


def shrunk_edge(edge: npt.ArrayLike, std_error: npt.ArrayLike) -> FloatVector:
    """Shrink edges towards zero by their own sampling error.

    Parameters
    ----------
    edge : array-like of any shape
        Measured mean results, any unit.
    std_error : array-like of the same shape
        Their standard errors in the same unit, at least 0.

    Returns
    -------
    ndarray of float64, any shape
        ``edge max(0, 1 - std_error^2 / edge^2)`` where the edge is above 0, else 0; NaN where
        either is NaN.

    Examples
    --------
    >>> shrunk_edge(np.array([2.0, 1.0, 0.5, -3.0]), np.ones(4)).tolist()
    [1.5, 0.0, 0.0, 0.0]
    """
    measured, error = np.asarray(edge, np.float64), np.asarray(std_error, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = np.maximum(0.0, measured - error * (error / measured))
    shrunk = np.where(measured > 0.0, kept, 0.0)
    return np.where(np.isnan(measured) | np.isnan(error), np.nan, shrunk)


def kelly_stake(returns: FloatVector, config: KellyConfig) -> KellyStake:
    """Judge a stake by its last results.

    Parameters
    ----------
    returns : ndarray, shape (n,)
        Results in order of time, after costs, fraction of the stake; NaN = no result, left out
        before the window is counted.
    config : KellyConfig
        Sample, fraction and limits; ``cost_bps`` is not read here.

    Returns
    -------
    KellyStake
        Edge, shrunk edge, full Kelly and the factor on the size: ``fraction * full_kelly`` within
        the limits, 0 where the edge is not above 0, ``min_multiplier`` with too few results.

    Raises
    ------
    DataError
        Another rank or an infinite value.

    Examples
    --------
    >>> won_60_of_100 = np.tile([1.0, 1.0, 1.0, -1.0, -1.0], 20)
    >>> stake = kelly_stake(won_60_of_100, KellyConfig(min_multiplier=0.0))
    >>> round(stake.edge, 3), round(stake.shrunk_edge, 3), round(stake.multiplier, 3)
    (0.2, 0.152, 0.076)
    """
    results = parse_vector("returns", returns)
    sample = results[~np.isnan(results)][-config.window :]
    if sample.size < 2:
        nan = float("nan")
        return KellyStake(int(sample.size), nan, nan, nan, nan, config.min_multiplier)
    edge = float(sample.mean())
    error = float(sample.std(ddof=1) / np.sqrt(sample.size))
    kept = float(shrunk_edge(edge, error))
    square = float((sample**2).mean())
    full = kept / square if square > 0.0 else 0.0
    if sample.size < config.min_observations:
        factor = config.min_multiplier
    elif edge > 0.0:
        factor = min(max(config.fraction * full, config.min_multiplier), config.max_multiplier)
    else:
        factor = 0.0
    return KellyStake(int(sample.size), edge, error, kept, full, factor)


def trailing_kelly(returns: FloatVector, config: KellyConfig) -> FloatVector:
    """Factor on the size known at each close, from the results up to it.

    Parameters
    ----------
    returns : ndarray, shape (T,)
        Result of each session after costs, fraction of the stake; NaN = no result.
    config : KellyConfig
        Sample, fraction and limits.

    Returns
    -------
    ndarray of float64, shape (T,)
        Row t: `kelly_stake` of the results up to and including t. No NaN.

    Examples
    --------
    >>> config = KellyConfig(min_observations=2)
    >>> trailing_kelly(np.array([np.nan, -0.01, -0.01, 0.05, 0.05]), config).tolist()
    [0.25, 0.25, 0.0, 0.25, 1.5]
    """
    results = parse_vector("returns", returns)
    finite = ~np.isnan(results)
    observed, n_known = results[finite], np.cumsum(finite)
    return np.array(
        [kelly_stake(observed[max(0, n - config.window) : n], config).multiplier for n in n_known]
    )
