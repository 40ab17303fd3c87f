"""Parabolic stop and reverse: a trailing stop that accelerates with every new extreme.

How a step of a long position goes; short is its mirror:

1. the stop of the row is where the row before left it;
2. a low at or below the stop turns the position: the stop becomes the extreme of the trend that
   ended, not inside this bar or the one before;
3. otherwise a new high is a new extreme and raises the acceleration up to its limit;
4. the stop moves towards the extreme by the acceleration, never into the last two bars.
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
from quant_engine.features.indicators.rolling import complete

__all__ = ["PARABOLIC"]

FORGETS_AFTER = 300
"""Rows after which stops begun at different rows are the same: 195 was the longest of 41,000 tries
on daily bars of stocks and of random walks. No number is certain."""


@njit(cache=True, nogil=True, error_model="numpy")
def _reverse_at(
    high: FloatMatrix, low: FloatMatrix, step: float, limit: float, out: FloatMatrix
) -> None:
    n_rows, width = high.shape
    run = np.zeros(width, np.int64)
    # side 1 = long; for short everything is mirrored at zero, so that one rule serves both.
    side, stop, extreme, pace = np.zeros(width), np.zeros(width), np.zeros(width), np.zeros(width)
    for t in range(n_rows):
        for j in range(width):
            h, w = high[t, j], low[t, j]
            out[t, j] = np.nan
            if (h + w) != (h + w):
                run[j] = 0
                continue
            run[j] += 1
            if run[j] == 1:
                continue
            h_before, w_before = high[t - 1, j], low[t - 1, j]
            if run[j] == 2:
                fall = w_before - w
                side[j] = -1.0 if (fall > 0.0) & (fall > h - h_before) else 1.0
                stop[j] = w_before if side[j] > 0.0 else -h_before
                extreme[j] = h if side[j] > 0.0 else -w
                pace[j] = step
                # The bar before counts as this one in the first step.
                h_before, w_before = h, w
            # Best and worst price of this bar and of the one before, seen from the position.
            long = side[j] > 0.0
            best, worst = (h, w) if long else (-w, -h)
            best_before, worst_before = (h_before, w_before) if long else (-w_before, -h_before)
            if worst <= stop[j]:
                # Seen from the new position, signs turn and best becomes worst.
                turned = max(extreme[j], max(best_before, best))
                out[t, j] = side[j] * turned
                side[j] = -side[j]
                extreme[j] = -worst
                pace[j] = step
                moved = -turned + step * (extreme[j] + turned)
                stop[j] = min(moved, min(-best_before, -best))
            else:
                out[t, j] = side[j] * stop[j]
                if best > extreme[j]:
                    extreme[j] = best
                    pace[j] = min(pace[j] + step, limit)
                moved = stop[j] + pace[j] * (extreme[j] - stop[j])
                stop[j] = min(moved, min(worst_before, worst))


def _parabolic(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    high, low = complete(*series)
    _reverse_at(high, low, min(numbers[0], numbers[1]), numbers[1], out[0])


PARABOLIC = add_function(
    Function(
        outputs=(Output("SAR", "parabolic stop and reverse", "as the input"),),
        n_series=2,
        parameters=(
            Parameter("step", 1e-4, 1.0, default=0.02, whole=False),
            Parameter("limit", 1e-4, 1.0, default=0.2, whole=False),
        ),
        lookback=lambda numbers: FORGETS_AFTER,
        compute=_parabolic,
        source="Wilder 1978; TA-Lib SAR",
        recursive=True,
    )
)
"""`SAR` of high, low. What it remembers ends with a reversal, not after a number of rows."""
