"""Averages: smoothed levels in the unit of their input.

`Hull` moving averages need no function: ``WMA(2*WMA(x, n/2) - WMA(x, n), sqrt(n))`` with whole
numbers written out. The operator `EMA` ends where its weights do; the averages here begin with a
plain mean as TA-Lib does and remember, ever more weakly, the whole run of values.
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
from quant_engine.features.indicators.smoothing import (
    decayed_rows,
    ema,
    ema_keep,
    wilder,
    wilder_keep,
)

__all__ = ["DOUBLE_EMA", "KAUFMAN", "SEEDED_EMA", "TRIPLE_EMA", "WILDER"]

SLOWEST_KEEP = 1.0 - (2.0 / 31.0) ** 2
"""Ratio of weights of Kaufman's average while the price goes nowhere."""

UNIT = "as the input"


def _seeded_ema(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    span = int(numbers[0])
    ema(series[0], span, span, out[0])


def _wilder(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    wilder(series[0], int(numbers[0]), out[0])


def ema_chain(x: FloatMatrix, span: int, depth: int) -> list[FloatMatrix]:
    """Exponential average, the average of that, and so on.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Any unit; NaN = missing.
    span : int
        Rows of each average.
    depth : int
        Number of averages.

    Returns
    -------
    list of ndarray of float64, shape (T, B)
        Each begins ``span - 1`` rows after the one before.

    Examples
    --------
    >>> once, twice = ema_chain(np.array([[1.0], [3.0], [5.0]]), 2, 2)
    >>> twice.ravel().tolist()
    [nan, nan, 3.0]
    """
    found: list[FloatMatrix] = []
    for _ in range(depth):
        level = np.empty_like(x)
        ema(found[-1] if found else x, span, span, level)
        found.append(level)
    return found


def _dema(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    once, twice = ema_chain(series[0], int(numbers[0]), 2)
    np.subtract(2.0 * once, twice, out=out[0])


def _tema(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    once, twice, thrice = ema_chain(series[0], int(numbers[0]), 3)
    np.add(3.0 * once - 3.0 * twice, thrice, out=out[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _kaufman(x: FloatMatrix, window: int, out: FloatMatrix) -> None:
    n_rows, width = x.shape
    fast, slow = 2.0 / 3.0, 2.0 / 31.0
    count = np.zeros(width, np.int64)
    level = np.zeros(width)
    path = np.empty(width)
    for t in range(n_rows):
        path[:] = 0.0
        for s in range(max(t - window, 0), t):
            for j in range(width):
                path[j] += abs(x[s + 1, j] - x[s, j])
        for j in range(width):
            v = x[t, j]
            count[j] = count[j] + 1 if v == v else 0
            if count[j] == window:
                level[j] = v
            if count[j] <= window:
                out[t, j] = np.nan
                continue
            move = abs(v - x[t - window, j])
            # No path at all counts as the straightest one; the level does not move either way.
            efficiency = 1.0 if path[j] <= move else move / path[j]
            share = (efficiency * (fast - slow) + slow) ** 2
            level[j] = (v - level[j]) * share + level[j]
            out[t, j] = level[j]


def _kama(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _kaufman(series[0], int(numbers[0]), out[0])


SEEDED_EMA = add_function(
    Function(
        outputs=(Output("SeededEMA", "exponential average, begun with a plain mean", UNIT),),
        n_series=1,
        parameters=(Parameter("span", 1),),
        lookback=lambda numbers: max(int(numbers[0]), decayed_rows(ema_keep(numbers[0]))),
        compute=_seeded_ema,
        source="TA-Lib EMA",
        recursive=True,
    )
)
"""`SeededEMA`: TA-Lib's EMA."""

WILDER = add_function(
    Function(
        outputs=(Output("Wilder", "Wilder's average, begun with a plain mean", UNIT),),
        n_series=1,
        parameters=(Parameter("window", 1),),
        lookback=lambda numbers: max(int(numbers[0]), decayed_rows(wilder_keep(numbers[0]))),
        compute=_wilder,
        source="Wilder 1978; TA-Lib RMA",
        recursive=True,
    )
)
"""`Wilder`: the smoothing inside `RSI` and `ATR`."""

DOUBLE_EMA = add_function(
    Function(
        outputs=(Output("DEMA", "2 EMA - EMA of EMA", UNIT),),
        n_series=1,
        parameters=(Parameter("span", 2),),
        lookback=lambda numbers: decayed_rows(*[ema_keep(numbers[0])] * 2),
        compute=_dema,
        source="Mulloy 1994; TA-Lib DEMA",
        recursive=True,
    )
)
"""`DEMA`: double exponential average."""

TRIPLE_EMA = add_function(
    Function(
        outputs=(Output("TEMA", "3 EMA - 3 EMA of EMA + EMA of that", UNIT),),
        n_series=1,
        parameters=(Parameter("span", 2),),
        lookback=lambda numbers: decayed_rows(*[ema_keep(numbers[0])] * 3),
        compute=_tema,
        source="Mulloy 1994; TA-Lib TEMA",
        recursive=True,
    )
)
"""`TEMA`: triple exponential average."""

KAUFMAN = add_function(
    Function(
        outputs=(Output("KAMA", "average whose speed follows the straightness of the path", UNIT),),
        n_series=1,
        parameters=(Parameter("window", 2),),
        lookback=lambda numbers: int(numbers[0]) + decayed_rows(SLOWEST_KEEP),
        compute=_kama,
        source="Kaufman 1995; TA-Lib KAMA",
        recursive=True,
    )
)
"""`KAMA`: Kaufman's adaptive average. A price that goes nowhere is forgotten most slowly."""
