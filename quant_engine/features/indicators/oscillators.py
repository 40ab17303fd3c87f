"""Oscillators of a bar in its recent range: stochastics, Williams %R, CCI, UltOsc, MFI.

Where the range, the true range or the money flow is nothing, a value in the middle says so:
50 (-50 for Williams %R, 0 for CCI), where TA-Lib returns the lowest or the highest value.
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
from quant_engine.features.indicators.directional import true_range
from quant_engine.features.indicators.momentum import rsi
from quant_engine.features.indicators.rolling import (
    changes,
    complete,
    share_of,
    window_extreme,
    window_mean,
    window_sum,
)
from quant_engine.features.indicators.smoothing import decayed_rows, wilder_keep

__all__ = ["CCI", "FAST_STOCHASTIC", "MFI", "STOCHASTIC", "STOCHASTIC_RSI", "ULTIMATE", "WILLIAMS"]

CCI_SCALE = 0.015
FLAT = 1e-12
"""Mean distance over mean below which a window of prices is constant but for rounding."""

FLAT_RSI = 1e-9
"""Range of the RSI, in its points, that is rounding: of a price that stands still."""


@njit(cache=True, nogil=True, error_model="numpy")
def _place(
    x: FloatMatrix, low: FloatMatrix, high: FloatMatrix, least: float, out: FloatMatrix
) -> None:
    for t in range(x.shape[0]):
        for j in range(x.shape[1]):
            extent = high[t, j] - low[t, j]
            share = (x[t, j] - low[t, j]) / extent
            # A missing close is missing in a flat range too.
            flat = (extent <= least) & (x[t, j] == x[t, j])
            out[t, j] = 50.0 if flat else 100.0 * share


def _in_range(bar: tuple[FloatMatrix, ...], window: int, least: float, out: FloatMatrix) -> None:
    high, low, close = bar
    top, bottom = np.empty_like(high), np.empty_like(high)
    window_extreme(high, window, 1.0, top)
    window_extreme(low, window, -1.0, bottom)
    _place(close, bottom, top, least, out)


def _smooth_both(fast: FloatMatrix, smooth: int, signal: int, out: Pages) -> None:
    # Both begin where the second does.
    window_mean(fast, smooth, out[0])
    window_mean(out[0], signal, out[1])
    out[0][np.isnan(out[1])] = np.nan


def _stochastic(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    window, smooth, signal = (int(n) for n in numbers)
    fast = np.empty_like(series[0])
    _in_range(complete(*series), window, 0.0, fast)
    _smooth_both(fast, smooth, signal, out)


def _fast_stochastic(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    window, signal = (int(n) for n in numbers)
    fast = np.empty_like(series[0])
    _in_range(complete(*series), window, 0.0, fast)
    _smooth_both(fast, 1, signal, out)


def _stochastic_rsi(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    window, place, signal = (int(n) for n in numbers)
    level, fast = np.empty_like(series[0]), np.empty_like(series[0])
    rsi(series[0], window, level)
    _in_range((level, level, level), place, FLAT_RSI, fast)
    _smooth_both(fast, 1, signal, out)


def _stochastic_rsi_lookback(numbers: Numbers) -> int:
    window, place, signal = numbers
    return 1 + decayed_rows(wilder_keep(window)) + int(place) - 1 + int(signal) - 1


def _williams(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _in_range(complete(*series), int(numbers[0]), 0.0, out[0])
    out[0] -= 100.0


@njit(cache=True, nogil=True, error_model="numpy")
def _cci_kernel(x: FloatMatrix, window: int, mean: FloatMatrix, out: FloatMatrix) -> None:
    n_rows, width = x.shape
    spread = np.empty(width)
    for t in range(n_rows):
        if t < window - 1:
            out[t] = np.nan
            continue
        spread[:] = 0.0
        for s in range(t - window + 1, t + 1):
            for j in range(width):
                spread[j] += abs(x[s, j] - mean[t, j])
        for j in range(width):
            distance = spread[j] / window
            flat = distance <= FLAT * abs(mean[t, j])
            out[t, j] = 0.0 if flat else (x[t, j] - mean[t, j]) / (CCI_SCALE * distance)


def _cci(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    high, low, close = complete(*series)
    typical = (high + low + close) / 3.0
    mean = np.empty_like(typical)
    window_mean(typical, int(numbers[0]), mean)
    _cci_kernel(typical, int(numbers[0]), mean, out[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _pressure(low: FloatMatrix, close: FloatMatrix, out: FloatMatrix) -> None:
    out[:1] = np.nan
    for t in range(1, low.shape[0]):
        for j in range(low.shape[1]):
            before = close[t - 1, j]
            known = low[t, j] + before
            out[t, j] = np.nan if known != known else close[t, j] - min(low[t, j], before)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_share(a: FloatMatrix, b: FloatMatrix, weight: float, out: FloatMatrix) -> None:
    for t in range(a.shape[0]):
        for j in range(a.shape[1]):
            out[t, j] += weight * (0.5 if b[t, j] == 0.0 else a[t, j] / b[t, j])


def _ultimate(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    high, low, close = complete(*series)
    bought, extent = np.empty_like(high), np.empty_like(high)
    _pressure(low, close, bought)
    true_range(high, low, close, extent)
    sum_bought, sum_extent = np.empty_like(high), np.empty_like(high)
    out[0] = 0.0
    for window, weight in zip(sorted(int(n) for n in numbers), (4.0, 2.0, 1.0), strict=True):
        window_sum(bought, window, sum_bought)
        window_sum(extent, window, sum_extent)
        _add_share(sum_bought, sum_extent, 100.0 * weight / 7.0, out[0])


def _mfi(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    high, low, close, volume = complete(*series)
    typical = (high + low + close) / 3.0
    up, down = np.empty_like(high), np.empty_like(high)
    changes(typical, typical * volume, up, down)
    inflow, outflow = np.empty_like(high), np.empty_like(high)
    window_sum(up, int(numbers[0]), inflow)
    window_sum(down, int(numbers[0]), outflow)
    share_of(inflow, outflow, 100.0, 50.0, out[0])


STOCHASTIC = add_function(
    Function(
        outputs=(
            Output("StochK", "mean of the place of the close in the range", "0 to 100"),
            Output("StochD", "mean of StochK", "0 to 100"),
        ),
        n_series=3,
        parameters=(
            Parameter("window", 1, default=14),
            Parameter("smooth", 1, default=3),
            Parameter("signal", 1, default=3),
        ),
        lookback=lambda numbers: int(sum(numbers)) - 2,
        compute=_stochastic,
        source="Lane 1984; TA-Lib STOCH, but 50 in a flat range",
    )
)
"""`StochK`, `StochD` of high, low, close: the slow stochastic."""

FAST_STOCHASTIC = add_function(
    Function(
        outputs=(
            Output("FastK", "place of the close in the range", "0 to 100"),
            Output("FastD", "mean of FastK", "0 to 100"),
        ),
        n_series=3,
        parameters=(Parameter("window", 1, default=14), Parameter("signal", 1, default=3)),
        lookback=lambda numbers: int(sum(numbers)) - 1,
        compute=_fast_stochastic,
        source="Lane 1984; TA-Lib STOCHF, but 50 in a flat range",
    )
)
"""`FastK`, `FastD` of high, low, close: the fast stochastic."""

STOCHASTIC_RSI = add_function(
    Function(
        outputs=(
            Output("StochRSIK", "place of the RSI in its own range", "0 to 100"),
            Output("StochRSID", "mean of StochRSIK", "0 to 100"),
        ),
        n_series=1,
        parameters=(
            Parameter("window", 2, default=14),
            Parameter("place", 2, default=14),
            Parameter("signal", 1, default=3),
        ),
        lookback=_stochastic_rsi_lookback,
        compute=_stochastic_rsi,
        source="Chande and Kroll 1994; TA-Lib STOCHRSI, but 50 where the RSI stands still",
        recursive=True,
    )
)
"""`StochRSIK`, `StochRSID`: the fast stochastic of the relative strength index."""

WILLIAMS = add_function(
    Function(
        outputs=(Output("WilliamsR", "distance of the close from the high", "-100 to 0"),),
        n_series=3,
        parameters=(Parameter("window", 1, default=14),),
        lookback=lambda numbers: int(numbers[0]),
        compute=_williams,
        source="Williams 1973; TA-Lib WILLR, but -50 in a flat range",
    )
)
"""`WilliamsR` of high, low, close."""

CCI = add_function(
    Function(
        outputs=(Output("CCI", "distance of the typical price from its mean", "score"),),
        n_series=3,
        parameters=(Parameter("window", 2, default=20),),
        lookback=lambda numbers: int(numbers[0]),
        compute=_cci,
        source="Lambert 1980; TA-Lib CCI",
    )
)
"""`CCI` of high, low, close: distance over 0.015 mean absolute deviations."""

ULTIMATE = add_function(
    Function(
        outputs=(Output("UltOsc", "buying pressure over three windows", "0 to 100"),),
        n_series=3,
        parameters=(
            Parameter("short", 1, default=7),
            Parameter("middle", 1, default=14),
            Parameter("long", 1, default=28),
        ),
        lookback=lambda numbers: 1 + int(max(numbers)),
        compute=_ultimate,
        source="Williams 1985; TA-Lib ULTOSC, but a window without any range counts 50",
    )
)
"""`UltOsc` of high, low, close: weights 4, 2 and 1, the shortest window first."""

MFI = add_function(
    Function(
        outputs=(Output("MFI", "share of inflows in money flow", "0 to 100"),),
        n_series=4,
        parameters=(Parameter("window", 1, default=14),),
        lookback=lambda numbers: 1 + int(numbers[0]),
        compute=_mfi,
        source="Quong and Soudack 1989; TA-Lib MFI, but in any unit of volume",
    )
)
"""`MFI` of high, low, close, volume. 50 without any flow."""
