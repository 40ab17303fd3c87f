"""Fractal dimension of a path after Higuchi.

``Higuchi`` measures the length L(k) of the window's path when only every k-th value is joined,
scaled to the whole window and averaged over the k starting points, for k = 1 ... `steps`; the
dimension is minus the slope of ln L(k) on ln k. A smooth line has 1, a random walk 1.5, white
noise 2. The input is a level, such as ``Log($close)``; the sum of a Hurst exponent of returns and
the dimension of the path is 2 for a self-affine process. At w = 100 and 8 steps the mean for a
random walk is 1.50 and the standard deviation between windows about 0.08.

Source: Higuchi (1988), Physica D 31.
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
from quant_engine.features.indicators.pieces import line_slope, rows_of, run_lengths

__all__: list[str] = []


@njit(cache=True, nogil=True, error_model="numpy")
def _higuchi(x: FloatMatrix, window: int, steps: int, out: FloatMatrix) -> None:
    log_steps = np.log(np.arange(1.0, steps + 1.0))
    lengths = np.empty(steps)
    for j in range(x.shape[1]):
        v = x[:, j].copy()
        runs = run_lengths(v)
        for t in range(v.size):
            out[t, j] = np.nan
            if runs[t] < window:
                continue
            path = v[t - window + 1 : t + 1]
            for k in range(1, steps + 1):
                total = 0.0
                for start in range(k):
                    moves = (window - 1 - start) // k
                    length = 0.0
                    for i in range(start + k, start + moves * k + 1, k):
                        length += abs(path[i] - path[i - k])
                    total += length * (window - 1) / (moves * k)
                lengths[k - 1] = np.log(total / (k * k))
            value = -line_slope(log_steps, lengths)
            # A path that does not move has no length at all.
            out[t, j] = value if abs(value) < np.inf else np.nan


def _compute(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _higuchi(series[0], int(numbers[0]), int(numbers[1]), out[0])


add_function(
    Function(
        (Output("Higuchi", "fractal dimension of the path, 1 smooth to 2 noise", "dimension"),),
        1,
        (Parameter("window", 20, 2000, 100), Parameter("steps", 3, 10, 8)),
        rows_of(0),
        _compute,
        "Higuchi 1988",
    )
)
