"""Spread from daily bars.

``CorwinSchultz`` reads the spread as a fraction of the price from highs and lows, which are mostly
buys and sells: the range of two days together holds twice the variance of one but the same spread.
The formula is :func:`quant_engine.stats.spread_estimates.corwin_schultz_pair`; the value is the
mean of the window's pairs. A negative pair counts as 0, which biases the mean upwards where the
spread is small beside the volatility.

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
from quant_engine.stats.spread_estimates import corwin_schultz_pair

__all__: list[str] = []


@njit(cache=True, nogil=True, error_model="numpy")
def _corwin_schultz(
    high: FloatMatrix, low: FloatMatrix, close: FloatMatrix, window: int, out: FloatMatrix
) -> None:
    for j in range(high.shape[1]):
        h, low_j, c = np.log(high[:, j]), np.log(low[:, j]), np.log(close[:, j])
        spread = np.full(h.size, np.nan)
        for t in range(1, h.size):
            pair = corwin_schultz_pair(h[t - 1], low_j[t - 1], c[t - 1], h[t], low_j[t])
            # A session without a close is missing, although the formula does not read it.
            spread[t] = pair if abs(c[t]) < np.inf else np.nan
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
