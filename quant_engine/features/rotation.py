"""Rotation: who gains on the market, who loses, and how strongly the signs agree.

* Relative strength ratio: the price relative to a benchmark, rebased to 100 at a row `base` rows
  ago, then averaged over `period` rows. Without rebasing the ratio of two prices is near 100 only
  by accident, and a limit of 100 would mean nothing.
* Momentum: change of the averaged ratio over `period` rows, in percent; no base enters.
* Quadrants: ratio >= 100 and momentum >= 0 leading, ratio >= 100 and momentum < 0 weakening,
  ratio < 100 and momentum < 0 lagging, ratio < 100 and momentum >= 0 improving.
* Scorecard: a weighted sum of five components in [-1, 1]; bought from 0.6 up, sold from -0.3 down.

Every formula is written once, as an array function here, and registered for formulas of sets.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import DataError
from quant_engine.features.functions import (
    Function,
    Numbers,
    Output,
    Pages,
    Parameter,
    add_function,
)

__all__ = [
    "BUY_SCORE",
    "COMPONENTS",
    "QUADRANTS",
    "RS_MOMENTUM",
    "RS_RATIO",
    "SELL_SCORE",
    "rotation_quadrants",
    "rotation_score",
    "rotation_signals",
]

CodeArray: TypeAlias = npt.NDArray[np.int8]

QUADRANTS = ("leading", "weakening", "lagging", "improving")
"""Quadrants in the order in which an asset usually passes through them; a code is a position."""

COMPONENTS = {
    "relative_strength": 0.25,
    "momentum": 0.20,
    "money_flow": 0.20,
    "trend": 0.20,
    "calm": 0.15,
}
"""Weight of each component of the scorecard; they sum to 1."""

BUY_SCORE, SELL_SCORE = 0.6, -0.3
"""Scores from which a name is bought and sold."""

_ROUNDING = 1e-12


def rotation_quadrants(ratio: FloatMatrix, momentum: FloatMatrix) -> CodeArray:
    """Quadrant of relative strength.

    Parameters
    ----------
    ratio : ndarray, any shape
        Relative strength ratio, 100 = as strong as at the base; NaN = missing.
    momentum : ndarray, same shape
        Change of the ratio, percent; NaN = missing.

    Returns
    -------
    ndarray of int8, same shape
        Position in `QUADRANTS`; -1 where either is missing.

    Examples
    --------
    >>> codes = rotation_quadrants(np.array([101.0, 99.0, np.nan]), np.array([-1.0, 0.0, 1.0]))
    >>> codes.tolist()
    [1, 3, -1]
    """
    strong, rising = np.asarray(ratio) >= 100.0, np.asarray(momentum) >= 0.0
    code = np.where(strong, np.where(rising, 0, 1), np.where(rising, 3, 2))
    return np.where(np.isnan(ratio) | np.isnan(momentum), -1, code).astype(np.int8)


def rotation_score(components: npt.ArrayLike) -> FloatMatrix:
    """Weighted sum of the components of the scorecard.

    Parameters
    ----------
    components : ndarray, shape (5, ...)
        Each from -1 (bad) to 1 (good), in the order of `COMPONENTS`; NaN = missing.

    Returns
    -------
    ndarray of float64, shape (...)
        Score in [-1, 1]; NaN where a component is missing, because the others would then weigh
        more without saying so.

    Raises
    ------
    DataError
        For another number of components, or a value outside [-1, 1].

    Examples
    --------
    >>> rotation_score([[1.0], [1.0], [1.0], [0.0], [-1.0]]).round(2).tolist()
    [0.5]
    """
    values = np.asarray(components, dtype=np.float64)
    if len(values) != len(COMPONENTS) or np.any(np.abs(values) > 1.0):
        raise DataError(
            "components",
            wanted=f"{len(COMPONENTS)} components from -1 to 1",
            got=f"{len(values)} components, largest {np.nanmax(np.abs(values), initial=0.0):g}",
            hint=f"Give {', '.join(COMPONENTS)}, each scaled to [-1, 1].",
        )
    total = np.zeros(values.shape[1:])
    for weight, value in zip(COMPONENTS.values(), values, strict=True):
        total += weight * value
    return total


def rotation_signals(
    score: FloatMatrix, *, buy: float = BUY_SCORE, sell: float = SELL_SCORE
) -> CodeArray:
    """What the score says to do.

    Parameters
    ----------
    score : ndarray, any shape
        Of `rotation_score`; NaN = missing.
    buy, sell : float
        Scores from which a name is bought and sold, sell below buy.

    Returns
    -------
    ndarray of int8, same shape
        1 buy, -1 sell, 0 neither or missing.

    Examples
    --------
    >>> rotation_signals(np.array([0.6, 0.1, -0.3, np.nan])).tolist()
    [1, 0, -1, 0]
    """
    values = np.asarray(score)
    # Scores of ranks meet the limits exactly, but for the rounding of their sum.
    bought, sold = values >= buy - _ROUNDING, values <= sell + _ROUNDING
    return (bought.astype(np.int8) - sold).astype(np.int8)


@njit(cache=True, nogil=True, error_model="numpy")
def _ratio(x: FloatMatrix, period: int, base: int, out: FloatMatrix) -> None:
    n_rows, width = x.shape
    span = max(base, period - 1)
    level, origin, total = np.empty(width), np.empty(width), np.empty(width)
    for t in range(n_rows):
        if t < span - 1:
            out[t] = np.nan
            continue
        level[:] = 0.0
        total[:] = 0.0
        for i in range(span + 1):
            if i > 0:
                row = x[t - span + i]
                for j in range(width):
                    level[j] += row[j]
            if i == span - base:
                origin[:] = level
            if i > span - period:
                for j in range(width):
                    total[j] += np.exp(level[j])
        for j in range(width):
            out[t, j] = 100.0 * total[j] / period * np.exp(-origin[j])


@njit(cache=True, nogil=True, error_model="numpy")
def _momentum(x: FloatMatrix, period: int, out: FloatMatrix) -> None:
    n_rows, width = x.shape
    span = 2 * period - 1
    level, older, newer = np.empty(width), np.empty(width), np.empty(width)
    for t in range(n_rows):
        if t < span - 1:
            out[t] = np.nan
            continue
        level[:] = 0.0
        older[:] = 1.0
        newer[:] = 0.0
        for i in range(1, span + 1):
            row = x[t - span + i]
            total = older if i < period else newer
            for j in range(width):
                level[j] += row[j]
                total[j] += np.exp(level[j])
        for j in range(width):
            out[t, j] = 100.0 * (newer[j] / older[j] - 1.0)


def _compute_ratio(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _ratio(series[0], int(numbers[0]), int(numbers[1]), out[0])


def _compute_momentum(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _momentum(series[0], int(numbers[0]), out[0])


def _compute_quadrants(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    codes = rotation_quadrants(*series)
    out[0] = np.where(codes < 0, np.nan, codes)


def _compute_score(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    out[0] = rotation_score(series)


def _compute_signals(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    signals = rotation_signals(series[0], buy=numbers[0], sell=numbers[1])
    out[0] = np.where(np.isnan(series[0]), np.nan, signals)


_PERIOD = Parameter("period", 1, 1000, default=14)
_RULES = "relative strength quadrants of sector rotation"

RS_RATIO = add_function(
    Function(
        (Output("RsRatio", "mean price relative, 100 at the base", "index"),),
        1,
        (_PERIOD, Parameter("base", 1, 5000, default=63)),
        lambda numbers: max(int(numbers[1]), int(numbers[0]) - 1),
        _compute_ratio,
        _RULES,
    )
)
"""``RsRatio(relative, period, base)`` of log returns relative to the benchmark."""

RS_MOMENTUM = add_function(
    Function(
        (Output("RsMomentum", "change of the mean price relative", "percent"),),
        1,
        (_PERIOD,),
        lambda numbers: 2 * int(numbers[0]) - 1,
        _compute_momentum,
        _RULES,
    )
)
"""``RsMomentum(relative, period)`` of log returns relative to the benchmark."""

add_function(
    Function(
        (Output("RsQuadrant", "0 leading, 1 weakening, 2 lagging, 3 improving", "code"),),
        2,
        (),
        lambda numbers: 1,
        _compute_quadrants,
        _RULES,
    )
)
add_function(
    Function(
        (Output("RotationScore", "weighted sum of five components", "-1 to 1"),),
        len(COMPONENTS),
        (),
        lambda numbers: 1,
        _compute_score,
        "weights .25 .20 .20 .20 .15",
    )
)
add_function(
    Function(
        (Output("RotationSignal", "1 buy, -1 sell, 0 neither", "code"),),
        1,
        (
            Parameter("buy", -1.0, 1.0, default=BUY_SCORE, whole=False),
            Parameter("sell", -1.0, 1.0, default=SELL_SCORE, whole=False),
        ),
        lambda numbers: 1,
        _compute_signals,
        "buy from .6, sell from -.3",
    )
)
