"""Price action: streaks, and swings that are known only after they are confirmed.

A swing high is a bar whose value no bar within `beside` rows exceeds. Nobody knows that before
those rows have passed, so the value appears that many rows after the bar, and never before.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from quant_engine.core.arrays import FloatMatrix
from quant_engine.features.functions import (
    Function,
    Numbers,
    Output,
    Pages,
    Parameter,
    add_function,
)

__all__ = ["STREAK", "SWING_HIGH", "SWING_LOW"]


@njit(cache=True, nogil=True, error_model="numpy")
def _streak_kernel(x: FloatMatrix, window: int, out: FloatMatrix) -> None:
    n_rows, width = x.shape
    count = np.zeros(width, np.int64)
    streak = np.zeros(width)
    for t in range(n_rows):
        for j in range(width):
            v = x[t, j]
            count[j] = count[j] + 1 if v == v else 0
            if count[j] < 2:
                streak[j] = 0.0
                out[t, j] = np.nan
                continue
            d = v - x[t - 1, j]
            if d > 0.0:
                streak[j] = min(max(streak[j], 0.0) + 1.0, float(window))
            elif d < 0.0:
                streak[j] = max(min(streak[j], 0.0) - 1.0, -float(window))
            else:
                streak[j] = 0.0
            out[t, j] = streak[j] if count[j] > window else np.nan


def _streak(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _streak_kernel(series[0], int(numbers[0]), out[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _swings(x: FloatMatrix, beside: int, window: int, sign: float, out: Pages) -> None:
    n_rows, width = x.shape
    count = np.zeros(width, np.int64)
    newest, before = np.full(width, -1), np.full(width, -1)
    is_swing = np.empty(width, np.bool_)
    for t in range(n_rows):
        middle = t - beside
        is_swing[:] = middle >= beside
        if middle >= beside:
            # Of equal neighbours the first is the swing. Missing values compare as false.
            for m in range(1, beside + 1):
                for j in range(width):
                    v = sign * x[middle, j]
                    is_swing[j] &= (v > sign * x[middle - m, j]) & (v >= sign * x[middle + m, j])
        for j in range(width):
            count[j] = count[j] + 1 if x[t, j] == x[t, j] else 0
            if is_swing[j]:
                before[j] = newest[j]
                newest[j] = middle
            # A swing counts while the bars that make it one lie in the window.
            first = t - window + 1 + beside
            known = count[j] >= window and newest[j] >= first
            out[0, t, j] = x[newest[j], j] if known else np.nan
            out[1, t, j] = x[before[j], j] if known and before[j] >= first else np.nan
            out[2, t, j] = float(t - newest[j]) if known else np.nan


def _swing_high(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _swings(series[0], int(numbers[0]), int(numbers[1]), 1.0, out)


def _swing_low(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _swings(series[0], int(numbers[0]), int(numbers[1]), -1.0, out)


SWING_PARAMETERS = (Parameter("beside", 1, default=5), Parameter("window", 3, default=60))

STREAK = add_function(
    Function(
        outputs=(Output("Streak", "rises or (negative) falls in a row", "rows, capped"),),
        n_series=1,
        parameters=(Parameter("window", 1, default=20),),
        lookback=lambda numbers: 1 + int(numbers[0]),
        compute=_streak,
        source="run of equal signs of the change; a row without a change ends it",
    )
)
"""`Streak`: never longer than its window, so that it has a lookback."""

SWING_HIGH = add_function(
    Function(
        outputs=(
            Output("SwingHigh", "newest confirmed swing high of the window", "as the input"),
            Output("SwingHighBefore", "the one before it", "as the input"),
            Output("SwingHighAge", "rows since the bar of the newest one", "rows"),
        ),
        n_series=1,
        parameters=SWING_PARAMETERS,
        lookback=lambda numbers: int(numbers[1]),
        compute=_swing_high,
        source="fractal of Williams 1995, any width, known `beside` rows after its bar",
    )
)
"""`SwingHigh`, `SwingHighBefore`, `SwingHighAge`; NaN where the window has no such swing."""

SWING_LOW = add_function(
    Function(
        outputs=(
            Output("SwingLow", "newest confirmed swing low of the window", "as the input"),
            Output("SwingLowBefore", "the one before it", "as the input"),
            Output("SwingLowAge", "rows since the bar of the newest one", "rows"),
        ),
        n_series=1,
        parameters=SWING_PARAMETERS,
        lookback=lambda numbers: int(numbers[1]),
        compute=_swing_low,
        source="fractal of Williams 1995, any width, known `beside` rows after its bar",
    )
)
"""`SwingLow`, `SwingLowBefore`, `SwingLowAge`; NaN where the window has no such swing."""
