"""Tails of returns.

``ExpectedShortfall`` is the mean loss of the worst `level` share of the window, positive = loss,
the minimum of Rockafellar and Uryasev as in `quant_engine.stats.metrics.tails`: where the share is
not a whole number of rows, the next worst row counts with the rest. Jump intensity, bipower
variation, the share of jumps and the downside share of the variance are formulas of operators, see
the sets.

Source: Rockafellar and Uryasev (2000), Journal of Risk 2.
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


@njit(cache=True, nogil=True, error_model="numpy")
def _shortfall(x: FloatMatrix, window: int, level: float, out: FloatMatrix) -> None:
    wanted = level * window
    whole = int(wanted + 1e-9)
    rest = max(wanted - whole, 0.0)
    worst = np.empty(whole + 1)
    for j in range(x.shape[1]):
        v = x[:, j].copy()
        runs = run_lengths(v)
        for t in range(v.size):
            out[t, j] = np.nan
            if runs[t] < window:
                continue
            # The smallest values of the window, kept in order.
            worst[:] = np.inf
            for i in range(t - window + 1, t + 1):
                place = whole
                if v[i] < worst[place]:
                    while place > 0 and worst[place - 1] > v[i]:
                        worst[place] = worst[place - 1]
                        place -= 1
                    worst[place] = v[i]
            total = rest * worst[whole] if rest > 0.0 else 0.0
            for i in range(whole):
                total += worst[i]
            out[t, j] = -total / wanted


def _compute(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _shortfall(series[0], int(numbers[0]), numbers[1], out[0])


add_function(
    Function(
        (Output("ExpectedShortfall", "mean loss of the worst share of rows", "as a, loss > 0"),),
        1,
        (
            Parameter("window", 2, 2000, 60),
            Parameter("level", 0.001, 0.5, 0.05, whole=False),
        ),
        rows_of(0),
        _compute,
        "Rockafellar and Uryasev 2000",
    )
)
