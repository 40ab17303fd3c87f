"""Fractional differences: a series with less memory than its levels and more than its returns.

Contract: row t reads rows up to t alone. The weights of order d are
``w_0 = 1, w_k = -w_{k-1} (d - k + 1) / k`` (Hosking 1981; Lopez de Prado 2018, chapter 5), the
output is ``sum_k w_k x_{t-k}``.
"""

from __future__ import annotations

import numpy as np

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.errors import ConfigError

__all__ = [
    "expanding_fracdiff",
    "fixed_width_weights",
    "fracdiff_weights",
    "windowed_fracdiff",
]

MAX_WEIGHTS = 10_000
"""Longest window: forty years of sessions. Weights of a small order fall very slowly."""


def fracdiff_weights(order: float, n_weights: int) -> FloatVector:
    """First weights of a fractional difference, the newest observation first.

    Parameters
    ----------
    order : float
        d, at least 0; 0 leaves a series as it is, 1 is the first difference.
    n_weights : int
        Number of weights, at least 1.

    Returns
    -------
    ndarray of float64, shape (n_weights,)

    Raises
    ------
    ConfigError
        A negative order or no weight.

    Examples
    --------
    >>> fracdiff_weights(0.5, 4).tolist()
    [1.0, -0.5, -0.125, -0.0625]
    """
    if not 0.0 <= order < np.inf or n_weights < 1:
        raise ConfigError(
            "order",
            wanted="an order of at least 0 and at least one weight",
            got=f"order {order}, n_weights {n_weights}",
            hint="Orders between 0 and 1 keep part of the memory.",
        )
    lags = np.arange(1, n_weights, dtype=np.float64)
    weights = np.ones(n_weights)
    weights[1:] = np.cumprod(-(order - lags + 1.0) / lags)
    return weights


def fixed_width_weights(
    order: float, *, min_abs_weight: float, max_weights: int = MAX_WEIGHTS
) -> FloatVector:
    """Weights of a fixed-width window: all up to the first one that is too small.

    Parameters
    ----------
    order : float
        d, at least 0.
    min_abs_weight : float
        Weights of at least this size are kept, above 0.
    max_weights : int
        Most weights.

    Returns
    -------
    ndarray of float64, shape (L,)
        The newest observation first.

    Raises
    ------
    ConfigError
        A negative order, no positive threshold, or a threshold that more weights than
        `max_weights` pass.

    Examples
    --------
    >>> len(fixed_width_weights(0.9, min_abs_weight=1e-3))
    12
    """
    if not min_abs_weight > 0.0:
        raise ConfigError(
            "min_abs_weight", wanted="more than 0", got=min_abs_weight, hint="Use 1e-4."
        )
    weights = fracdiff_weights(order, max_weights + 1)
    small = np.abs(weights) < min_abs_weight
    if not small.any():
        raise ConfigError(
            "min_abs_weight",
            wanted=f"a threshold that at most {max_weights} weights pass",
            got=min_abs_weight,
            hint="Raise the threshold or max_weights.",
        )
    return weights[: int(np.argmax(small))]


def windowed_fracdiff(values: FloatMatrix, weights: FloatVector) -> FloatMatrix:
    """Fractional difference over a window of fixed width (AFML 5.3).

    Parameters
    ----------
    values : ndarray, shape (T, N) or (T,)
        Levels, usually log prices; NaN = missing.
    weights : ndarray of float64, shape (L,)
        Of :func:`fixed_width_weights`, the newest observation first.

    Returns
    -------
    ndarray of float64, shape of `values`
        NaN in the first L - 1 rows and where the window misses a value.

    Examples
    --------
    >>> windowed_fracdiff(np.array([1.0, 2.0, 4.0]), np.array([1.0, -1.0])).tolist()
    [nan, 1.0, 2.0]
    """
    wide = np.asarray(values, dtype=np.float64)
    out = np.full(wide.shape, np.nan)
    first = len(weights) - 1
    if first < len(wide):
        # Lag by lag, so that a row adds up in the same order whatever follows it.
        total = np.zeros_like(wide[first:])
        for lag, weight in enumerate(weights):
            total += weight * wide[first - lag : len(wide) - lag]
        out[first:] = total
    return out


def expanding_fracdiff(values: FloatMatrix, order: float) -> FloatMatrix:
    """Fractional difference over everything since a series began (AFML 5.2 without skipping).

    Parameters
    ----------
    values : ndarray, shape (T, N) or (T,)
        Levels; NaN before the first value = not listed yet.
    order : float
        d, at least 0.

    Returns
    -------
    ndarray of float64, shape of `values`
        NaN before the first value and from the first gap on, because every later window holds the
        gap. Early rows have few weights and are not comparable with late ones; the window of fixed
        width is the usual choice.

    Raises
    ------
    ConfigError
        A negative order.

    Notes
    -----
    R's ``fracdiff::diffseries`` first takes away the mean of the whole series, which is a look at
    the future; do so beforehand where only the past is studied.

    Examples
    --------
    >>> expanding_fracdiff(np.array([np.nan, 1.0, 2.0, 4.0]), 1.0).tolist()
    [nan, 1.0, 1.0, 2.0]
    """
    wide = np.asarray(values, dtype=np.float64)
    weights = fracdiff_weights(order, max(len(wide), 1))
    begun = np.logical_or.accumulate(~np.isnan(wide), axis=0)
    levels = np.where(begun, wide, 0.0)
    out = np.zeros_like(levels)
    for lag in range(len(wide)):
        out[lag:] += weights[lag] * levels[: len(wide) - lag]
    return np.where(begun, out, np.nan)
