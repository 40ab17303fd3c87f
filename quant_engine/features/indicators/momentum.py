"""Momentum: oscillators of one price series, smoothed recursively or summed over a window.

A series that did not move says nothing: there `RSI` is 50 and `CMO` 0, where TA-Lib says 0 and R's
TTR NaN.
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
from quant_engine.features.indicators.averages import ema_chain
from quant_engine.features.indicators.rolling import changes, share_of, window_sum
from quant_engine.features.indicators.smoothing import (
    decayed_rows,
    ema,
    ema_keep,
    wilder,
    wilder_keep,
)

__all__ = ["CHANDE", "CHANDE_WINDOW", "MACD", "PERCENTAGE", "RSI", "TRIX", "rsi"]

NO_WEIGHT = np.empty((0, 0))


def _smoothed_changes(x: FloatMatrix, window: int) -> tuple[FloatMatrix, FloatMatrix]:
    up, down = np.empty_like(x), np.empty_like(x)
    changes(x, NO_WEIGHT, up, down)
    # In place: a row is read before it is written, and never again.
    wilder(up, window, up)
    wilder(down, window, down)
    return up, down


def rsi(x: FloatMatrix, window: int, out: FloatMatrix) -> None:
    """Relative strength index.

    Parameters
    ----------
    x : ndarray of float64, shape (T, B)
        Positive values of any unit; NaN = missing.
    window : int
        Rows of Wilder's averages, >= 2.
    out : ndarray of float64, shape (T, B)
        0 to 100; NaN before ``window + 1`` values of a run; 50 where there was no change at all.

    Returns
    -------
    None
        Every row is written.

    Notes
    -----
    ``100 u / (u + d)`` with Wilder's averages u of the rises and d of the falls, Wilder (1978).

    Examples
    --------
    >>> x, out = np.array([[1.0], [4.0], [3.0]]), np.empty((3, 1))
    >>> rsi(x, 2, out)
    >>> out.ravel().tolist()
    [nan, nan, 75.0]
    """
    up, down = _smoothed_changes(x, window)
    share_of(up, down, 100.0, 50.0, out)


def _rsi(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    rsi(series[0], int(numbers[0]), out[0])


def _cmo(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    up, down = _smoothed_changes(series[0], int(numbers[0]))
    share_of(up, down, 200.0, 100.0, out[0])
    out[0] -= 100.0


def _cmo_window(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    x, window = series[0], int(numbers[0])
    up, down = np.empty_like(x), np.empty_like(x)
    sum_up, sum_down = np.empty_like(x), np.empty_like(x)
    changes(x, NO_WEIGHT, up, down)
    window_sum(up, window, sum_up)
    window_sum(down, window, sum_down)
    share_of(sum_up, sum_down, 200.0, 100.0, out[0])
    out[0] -= 100.0


@njit(cache=True, nogil=True, error_model="numpy")
def _growth(x: FloatMatrix, scale: float, out: FloatMatrix) -> None:
    out[:1] = np.nan
    for t in range(1, x.shape[0]):
        for j in range(x.shape[1]):
            out[t, j] = scale * (x[t, j] / x[t - 1, j] - 1.0)


def _trix(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _growth(ema_chain(series[0], int(numbers[0]), 3)[-1], 100.0, out[0])


def _spans(numbers: Numbers) -> tuple[int, int]:
    fast, slow = sorted(int(n) for n in numbers[:2])
    return fast, slow


def _macd(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    x = series[0]
    fast, slow = _spans(numbers)
    signal = int(numbers[2])
    quick, calm = np.empty_like(x), np.empty_like(x)
    # Both averages begin at the first value of the slow one, as in TA-Lib.
    ema(x, fast, slow, quick)
    ema(x, slow, slow, calm)
    line = np.subtract(quick, calm, out=quick)
    ema(line, signal, signal, out[1])
    np.subtract(line, out[1], out=out[2])
    # The line begins where its signal does.
    out[0] = np.where(np.isnan(out[1]), np.nan, line)


def _macd_lookback(numbers: Numbers) -> int:
    _, slow = _spans(numbers)
    signal = numbers[2]
    return max(slow + int(signal) - 1, decayed_rows(ema_keep(slow), ema_keep(signal)))


def _ppo(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    x = series[0]
    fast, slow = _spans(numbers)
    quick, calm = np.empty_like(x), np.empty_like(x)
    ema(x, fast, fast, quick)
    ema(x, slow, slow, calm)
    _ratio_less_one(quick, calm, out[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _ratio_less_one(a: FloatMatrix, b: FloatMatrix, out: FloatMatrix) -> None:
    for t in range(a.shape[0]):
        for j in range(a.shape[1]):
            out[t, j] = 100.0 * ((a[t, j] - b[t, j]) / b[t, j])


RSI = add_function(
    Function(
        outputs=(Output("RSI", "share of rises in smoothed changes", "0 to 100"),),
        n_series=1,
        parameters=(Parameter("window", 2, default=14),),
        lookback=lambda numbers: 1 + decayed_rows(wilder_keep(numbers[0])),
        compute=_rsi,
        source="Wilder 1978; TA-Lib RSI, but 50 where nothing moved",
        recursive=True,
    )
)
"""`RSI`: relative strength index."""

CHANDE = add_function(
    Function(
        outputs=(Output("CMO", "smoothed rises minus falls over their sum", "-100 to 100"),),
        n_series=1,
        parameters=(Parameter("window", 2, default=14),),
        lookback=lambda numbers: 1 + decayed_rows(wilder_keep(numbers[0])),
        compute=_cmo,
        source="TA-Lib CMO, which is 2 RSI - 100",
        recursive=True,
    )
)
"""`CMO`: Chande's momentum oscillator as TA-Lib has it, with Wilder's averages."""

CHANDE_WINDOW = add_function(
    Function(
        outputs=(Output("CMOU", "sum of rises minus falls over sum of both", "-100 to 100"),),
        n_series=1,
        parameters=(Parameter("window", 1, default=14),),
        lookback=lambda numbers: 1 + int(numbers[0]),
        compute=_cmo_window,
        source="Chande 1994; TA-Lib CMOU",
    )
)
"""`CMOU`: Chande's momentum oscillator as he wrote it, without smoothing."""

TRIX = add_function(
    Function(
        outputs=(Output("TRIX", "growth of a triple exponential average", "percent per row"),),
        n_series=1,
        parameters=(Parameter("span", 1, default=15),),
        lookback=lambda numbers: 1 + decayed_rows(*[ema_keep(numbers[0])] * 3),
        compute=_trix,
        source="Hutson 1983; TA-Lib TRIX",
        recursive=True,
    )
)
"""`TRIX`: one-row rate of change of an average of an average of an average."""

MACD = add_function(
    Function(
        outputs=(
            Output("MACD", "fast minus slow exponential average", "as the input"),
            Output("MACDSignal", "exponential average of MACD", "as the input"),
            Output("MACDHist", "MACD minus its signal", "as the input"),
        ),
        n_series=1,
        parameters=(
            Parameter("fast", 2, default=12),
            Parameter("slow", 2, default=26),
            Parameter("signal", 1, default=9),
        ),
        lookback=_macd_lookback,
        compute=_macd,
        source="Appel 1979; TA-Lib MACD: both averages begin at the first value of the slow one",
        recursive=True,
    )
)
"""`MACD`, `MACDSignal`, `MACDHist`: all three begin where the signal does."""

PERCENTAGE = add_function(
    Function(
        outputs=(Output("PPO", "fast over slow exponential average, less one", "percent"),),
        n_series=1,
        parameters=(Parameter("fast", 2, default=12), Parameter("slow", 2, default=26)),
        lookback=lambda numbers: decayed_rows(ema_keep(_spans(numbers)[1])),
        compute=_ppo,
        source="Appel; TA-Lib PPO with exponential averages",
        recursive=True,
    )
)
"""`PPO`: percentage price oscillator, the MACD line over the slow average."""
