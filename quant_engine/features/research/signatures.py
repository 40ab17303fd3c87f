"""Path signatures: what a path of two series did, beyond where it ended.

The path of a window has the coordinates time (0 to 1), A and B, both starting at 0. Its signature
up to order 2 holds the increments and the iterated integrals ``S_ij = integral of (X_i - X_i(0))
dX_j``. ``S_ij + S_ji`` is the product of the two increments, so what order 2 adds is the order of
moves, and the Levy area ``(S_AB - S_BA)/2`` is its part that no increment knows: positive where A
moved first and B followed.

The series are increments of the two coordinates, such as log returns and changes of log volume.
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

__all__ = ["SIGNATURE"]

_SOURCE = "Chen 1957; Lyons 1998; Gyurko et al. 2013; path linear between rows"
_OUTPUTS = (
    Output("SigA", "increment of A", "as a"),
    Output("SigB", "increment of B", "as b"),
    Output("SigTA", "integral of time dA", "as a"),
    Output("SigAT", "integral of A dt", "as a"),
    Output("SigTB", "integral of time dB", "as b"),
    Output("SigBT", "integral of B dt", "as b"),
    Output("SigAA", "integral of A dA = A^2/2", "a squared"),
    Output("SigBB", "integral of B dB = B^2/2", "b squared"),
    Output("SigAB", "integral of A dB", "a times b"),
    Output("SigBA", "integral of B dA", "a times b"),
    Output("LevyArea", "(SigAB - SigBA)/2", "a times b"),
)


@njit(cache=True, nogil=True, error_model="numpy")
def _signature(a: FloatMatrix, b: FloatMatrix, window: int, out: Pages) -> None:
    n_rows, width = a.shape
    level_a, level_b = np.empty(width), np.empty(width)
    time_a, time_b, a_b = np.empty(width), np.empty(width), np.empty(width)
    for t in range(n_rows):
        if t < window - 1:
            out[:, t] = np.nan
            continue
        for part in (level_a, level_b, time_a, time_b, a_b):
            part[:] = 0.0
        for k in range(window):
            row_a, row_b = a[t - window + 1 + k], b[t - window + 1 + k]
            middle = (k + 0.5) / window
            for j in range(width):
                time_a[j] += middle * row_a[j]
                time_b[j] += middle * row_b[j]
            for j in range(width):
                a_b[j] += (level_a[j] + 0.5 * row_a[j]) * row_b[j]
            for j in range(width):
                level_a[j] += row_a[j]
                level_b[j] += row_b[j]
        for j in range(width):
            x, y = level_a[j], level_b[j]
            out[0, t, j] = x
            out[1, t, j] = y
            out[2, t, j] = time_a[j]
            out[3, t, j] = x - time_a[j]
            out[4, t, j] = time_b[j]
            out[5, t, j] = y - time_b[j]
            out[6, t, j] = 0.5 * x * x
            out[7, t, j] = 0.5 * y * y
            out[8, t, j] = a_b[j]
            out[9, t, j] = x * y - a_b[j]
            out[10, t, j] = a_b[j] - 0.5 * x * y


def _compute(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _signature(series[0], series[1], int(numbers[0]), out)


SIGNATURE = add_function(
    Function(
        _OUTPUTS,
        2,
        (Parameter("window", 2, 5000),),
        lambda numbers: int(numbers[0]),
        _compute,
        _SOURCE,
    )
)
"""Signature of (time, A, B) up to order 2 over a window of rows."""
