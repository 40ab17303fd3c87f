"""Spread from daily bars.

``CorwinSchultz`` reads the spread as a fraction of the price from highs and lows, which are mostly
buys and sells: the range of two days together holds twice the variance of one but the same spread.
With h and l the logarithms, for two days in a row, the second one shifted by the overnight gap
(where the earlier close lies outside its range):

    beta = (h1 - l1)^2 + (h2 - l2)^2,   gamma = (max(h1, h2) - min(l1, l2))^2
    alpha = (sqrt(2 beta) - sqrt(beta)) / (3 - 2 sqrt 2) - sqrt(gamma / (3 - 2 sqrt 2))
    spread = 2 (e^alpha - 1) / (1 + e^alpha)

A negative one counts as 0, as the authors do; the value is the mean of the window's pairs. Setting
to 0 biases the mean upwards where the spread is small beside the volatility.

The measures of Roll, Abdi and Ranaldo, Amihud and Kyle are formulas of operators, see the sets.

Source: Corwin and Schultz (2012), Journal of Finance 67.
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
from quant_engine.features.indicators.pieces import rows_of, run_lengths

__all__: list[str] = []

WIDTH = 3.0 - 2.0 * np.sqrt(2.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _corwin_schultz(
    high: FloatMatrix, low: FloatMatrix, close: FloatMatrix, window: int, out: FloatMatrix
) -> None:
    for j in range(high.shape[1]):
        h, low_j, c = np.log(high[:, j]), np.log(low[:, j]), np.log(close[:, j])
        spread = np.full(h.size, np.nan)
        for t in range(1, h.size):
            gap = max(low_j[t] - c[t - 1], 0.0) - max(c[t - 1] - h[t], 0.0)
            top, bottom = h[t] - gap, low_j[t] - gap
            beta = (h[t - 1] - low_j[t - 1]) ** 2 + (top - bottom) ** 2
            both = max(h[t - 1], top) - min(low_j[t - 1], bottom)
            alpha = (np.sqrt(2.0 * beta) - np.sqrt(beta)) / WIDTH - both / np.sqrt(WIDTH)
            spread[t] = max(2.0 * np.tanh(0.5 * alpha), 0.0)
            if not abs(h[t] + low_j[t] + h[t - 1] + low_j[t - 1] + c[t - 1] + c[t]) < np.inf:
                spread[t] = np.nan
        runs = run_lengths(spread)
        for t in range(h.size):
            out[t, j] = np.nan
            if runs[t] >= window:
                total = 0.0
                for i in range(t - window + 1, t + 1):
                    total += spread[i]
                out[t, j] = total / window


def _compute(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _corwin_schultz(series[0], series[1], series[2], int(numbers[0]), out[0])


add_function(
    Function(
        (Output("CorwinSchultz", "spread from high, low and close", "fraction of the price"),),
        3,
        (Parameter("window", 1, 2000, 20),),
        rows_of(0, more=1),
        _compute,
        "Corwin and Schultz 2012",
    )
)
