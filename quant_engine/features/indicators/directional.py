"""Direction and range: true range, ATR, directional movement, Aroon, vortex, parabolic SAR."""

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
from quant_engine.features.indicators.rolling import complete, window_sum
from quant_engine.features.indicators.smoothing import (
    decayed_rows,
    wilder,
    wilder_keep,
    wilder_sum,
)

__all__ = ["AROON", "AVERAGE_RANGE", "DIRECTIONAL", "TRUE_RANGE", "VORTEX", "true_range"]


@njit(cache=True, nogil=True, error_model="numpy")
def true_range(high: FloatMatrix, low: FloatMatrix, close: FloatMatrix, out: FloatMatrix) -> None:
    """Range of a bar and the gap before it.

    Parameters
    ----------
    high, low, close : ndarray of float64, shape (T, B)
        Currency per share; NaN = missing.
    out : ndarray of float64, shape (T, B)
        Currency per share; NaN in the first row and where anything is missing, also the close
        before.

    Returns
    -------
    None
        Every row is written.

    Notes
    -----
    The largest of high - low, |high - close before| and |low - close before|, Wilder (1978).

    Examples
    --------
    >>> high, low = np.array([[10.0], [13.0]]), np.array([[9.0], [12.0]])
    >>> out = np.empty((2, 1))
    >>> true_range(high, low, low, out)
    >>> out.ravel().tolist()
    [nan, 4.0]
    """
    out[:1] = np.nan
    for t in range(1, high.shape[0]):
        for j in range(high.shape[1]):
            h, w, before = high[t, j], low[t, j], close[t - 1, j]
            known = h + w + before + close[t, j]
            widest = max(h - w, max(abs(h - before), abs(w - before)))
            out[t, j] = np.nan if known != known else widest


def _true_range(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    high, low, close = complete(*series)
    true_range(high, low, close, out[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _percent_of(x: FloatMatrix, base: FloatMatrix, out: FloatMatrix) -> None:
    for t in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[t, j] = 100.0 * (x[t, j] / base[t, j])


def _average_range(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    high, low, close = complete(*series)
    extent = np.empty_like(high)
    true_range(high, low, close, extent)
    wilder(extent, int(numbers[0]), out[0])
    _percent_of(out[0], close, out[1])


@njit(cache=True, nogil=True, error_model="numpy")
def _movements(
    high: FloatMatrix,
    low: FloatMatrix,
    extent: FloatMatrix,
    plus: FloatMatrix,
    minus: FloatMatrix,
) -> None:
    plus[:1] = np.nan
    minus[:1] = np.nan
    for t in range(1, high.shape[0]):
        for j in range(high.shape[1]):
            rise = high[t, j] - high[t - 1, j]
            fall = low[t - 1, j] - low[t, j]
            lost = extent[t, j] != extent[t, j]
            plus[t, j] = np.nan if lost else (rise if (rise > 0.0) & (rise > fall) else 0.0)
            minus[t, j] = np.nan if lost else (fall if (fall > 0.0) & (fall > rise) else 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _indicators(plus: FloatMatrix, minus: FloatMatrix, extent: FloatMatrix, out: Pages) -> None:
    for t in range(plus.shape[0]):
        for j in range(plus.shape[1]):
            width = extent[t, j]
            up = 0.0 if width == 0.0 else 100.0 * (plus[t, j] / width)
            down = 0.0 if width == 0.0 else 100.0 * (minus[t, j] / width)
            both = up + down
            out[0, t, j] = up
            out[1, t, j] = down
            out[2, t, j] = 0.0 if both == 0.0 else 100.0 * (abs(up - down) / both)


def _directional(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    high, low, close = complete(*series)
    window = int(numbers[0])
    extent, plus, minus = np.empty_like(high), np.empty_like(high), np.empty_like(high)
    true_range(high, low, close, extent)
    _movements(high, low, extent, plus, minus)
    for page in (extent, plus, minus):
        # In place: a row is read before it is written, and never again.
        wilder_sum(page, window, page)
    _indicators(plus, minus, extent, out)
    wilder(out[2], window, out[3])


@njit(cache=True, nogil=True, error_model="numpy")
def _since_extremes(high: FloatMatrix, low: FloatMatrix, window: int, out: Pages) -> None:
    n_rows, width = high.shape
    top, bottom = np.empty(width), np.empty(width)
    rows_top, rows_bottom = np.empty(width), np.empty(width)
    for t in range(n_rows):
        if t < window:
            out[:, t] = np.nan
            continue
        top[:] = -np.inf
        bottom[:] = np.inf
        for s in range(t - window, t + 1):
            back = float(t - s)
            for j in range(width):
                h, w = high[s, j], low[s, j]
                # Of equal extremes the newest counts. A missing value makes the place missing.
                higher, lower = h >= top[j], w <= bottom[j]
                top[j] = h if higher else top[j]
                bottom[j] = w if lower else bottom[j]
                lost = (h + w) != (h + w)
                back_top = back if higher else rows_top[j]
                back_bottom = back if lower else rows_bottom[j]
                rows_top[j] = np.nan if lost else back_top
                rows_bottom[j] = np.nan if lost else back_bottom
                top[j] = np.inf if lost else top[j]
                bottom[j] = -np.inf if lost else bottom[j]
        for j in range(width):
            out[0, t, j] = 100.0 * (window - rows_top[j]) / window
            out[1, t, j] = 100.0 * (window - rows_bottom[j]) / window
            out[2, t, j] = 100.0 * (rows_bottom[j] - rows_top[j]) / window


def _aroon(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    high, low = complete(*series)
    _since_extremes(high, low, int(numbers[0]), out)


@njit(cache=True, nogil=True, error_model="numpy")
def _vortex_moves(
    high: FloatMatrix,
    low: FloatMatrix,
    extent: FloatMatrix,
    plus: FloatMatrix,
    minus: FloatMatrix,
) -> None:
    plus[:1] = np.nan
    minus[:1] = np.nan
    for t in range(1, high.shape[0]):
        for j in range(high.shape[1]):
            lost = extent[t, j] != extent[t, j]
            plus[t, j] = np.nan if lost else abs(high[t, j] - low[t - 1, j])
            minus[t, j] = np.nan if lost else abs(low[t, j] - high[t - 1, j])


@njit(cache=True, nogil=True, error_model="numpy")
def _over(x: FloatMatrix, base: FloatMatrix, neutral: float, out: FloatMatrix) -> None:
    for t in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[t, j] = neutral if base[t, j] == 0.0 else x[t, j] / base[t, j]


def _vortex(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    high, low, close = complete(*series)
    extent, plus, minus = np.empty_like(high), np.empty_like(high), np.empty_like(high)
    true_range(high, low, close, extent)
    _vortex_moves(high, low, extent, plus, minus)
    total, part = np.empty_like(high), np.empty_like(high)
    window_sum(extent, int(numbers[0]), total)
    for page, moves in enumerate((plus, minus)):
        window_sum(moves, int(numbers[0]), part)
        _over(part, total, 1.0, out[page])


TRUE_RANGE = add_function(
    Function(
        outputs=(Output("TrueRange", "range of the bar and the gap before it", "as the input"),),
        n_series=3,
        parameters=(),
        lookback=lambda numbers: 2,
        compute=_true_range,
        source="Wilder 1978; TA-Lib TRANGE",
    )
)
"""`TrueRange` of high, low, close."""

AVERAGE_RANGE = add_function(
    Function(
        outputs=(
            Output("ATR", "Wilder's average of the true range", "as the input"),
            Output("NATR", "ATR over the close", "percent"),
        ),
        n_series=3,
        parameters=(Parameter("window", 1, default=14),),
        lookback=lambda numbers: 1 + max(int(numbers[0]), decayed_rows(wilder_keep(numbers[0]))),
        compute=_average_range,
        source="Wilder 1978; TA-Lib ATR and NATR",
        recursive=True,
    )
)
"""`ATR`, `NATR` of high, low, close."""

DIRECTIONAL = add_function(
    Function(
        outputs=(
            Output("PlusDI", "smoothed upward movement over true range", "0 to 100"),
            Output("MinusDI", "smoothed downward movement over true range", "0 to 100"),
            Output("DX", "distance of the two over their sum", "0 to 100"),
            Output("ADX", "Wilder's average of DX", "0 to 100"),
        ),
        n_series=3,
        parameters=(Parameter("window", 2, default=14),),
        lookback=lambda numbers: 1 + decayed_rows(*[wilder_keep(numbers[0])] * 2),
        compute=_directional,
        source="Wilder 1978; TA-Lib PLUS_DI, MINUS_DI, DX, ADX",
        recursive=True,
    )
)
"""`PlusDI`, `MinusDI`, `DX`, `ADX` of high, low, close. 0 where nothing moved."""

AROON = add_function(
    Function(
        outputs=(
            Output("AroonUp", "how recent the highest high is", "0 to 100"),
            Output("AroonDown", "how recent the lowest low is", "0 to 100"),
            Output("AroonOsc", "AroonUp - AroonDown", "-100 to 100"),
        ),
        n_series=2,
        parameters=(Parameter("window", 1, default=14),),
        lookback=lambda numbers: 1 + int(numbers[0]),
        compute=_aroon,
        source="Chande 1995; TA-Lib AROON and AROONOSC",
    )
)
"""`AroonUp`, `AroonDown`, `AroonOsc` of high, low; of equal extremes the newest counts."""

VORTEX = add_function(
    Function(
        outputs=(
            Output("VortexPlus", "moves from low to next high over true range", "ratio"),
            Output("VortexMinus", "moves from high to next low over true range", "ratio"),
        ),
        n_series=3,
        parameters=(Parameter("window", 1, default=14),),
        lookback=lambda numbers: 1 + int(numbers[0]),
        compute=_vortex,
        source="Botes and Siepman 2010; TA-Lib VORTEX",
    )
)
"""`VortexPlus`, `VortexMinus` of high, low, close. 1 where nothing moved."""
