"""Volume: on-balance volume, accumulation, money flow, volume-weighted price.

`OBV` and `AccDist` are levels since the last gap: a model reads their differences or slopes. The
force index needs no function: ``SeededEMA(Delta($close, 1)*$volume, 13)``.
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
from quant_engine.features.indicators.rolling import complete, window_sum
from quant_engine.features.indicators.smoothing import decayed_rows, ema_keep

__all__ = ["ACCUMULATION", "CHAIKIN", "MONEY_FLOW", "ON_BALANCE", "VOLUME_PRICE"]

SHARES = "as the volume"


@njit(cache=True, nogil=True, error_model="numpy")
def _on_balance(close: FloatMatrix, volume: FloatMatrix, out: FloatMatrix) -> None:
    for t in range(close.shape[0]):
        for j in range(close.shape[1]):
            c, v = close[t, j], volume[t, j]
            if t == 0 or out[t - 1, j] != out[t - 1, j]:
                # TA-Lib begins with the first volume, not with nothing.
                out[t, j] = np.nan if c != c else v
            else:
                d = c - close[t - 1, j]
                out[t, j] = out[t - 1, j] + (v if d > 0.0 else (-v if d < 0.0 else 0.0 * (c + v)))


def _obv(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    close, volume = complete(*series)
    _on_balance(close, volume, out[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _flow(
    high: FloatMatrix, low: FloatMatrix, close: FloatMatrix, volume: FloatMatrix, out: FloatMatrix
) -> None:
    for t in range(high.shape[0]):
        for j in range(high.shape[1]):
            extent = high[t, j] - low[t, j]
            place = ((close[t, j] - low[t, j]) - (high[t, j] - close[t, j])) / extent
            out[t, j] = 0.0 if extent <= 0.0 else place * volume[t, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _accumulate(x: FloatMatrix, out: FloatMatrix) -> None:
    for t in range(x.shape[0]):
        for j in range(x.shape[1]):
            first = t == 0 or out[t - 1, j] != out[t - 1, j]
            out[t, j] = x[t, j] + (0.0 if first else out[t - 1, j])


def _money_flow(series: tuple[FloatMatrix, ...]) -> FloatMatrix:
    high, low, close, volume = complete(*series)
    flow = np.empty_like(high)
    _flow(high, low, close, volume, flow)
    return flow


def _accumulation(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _accumulate(_money_flow(series), out[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _two_paces(x: FloatMatrix, fast: int, slow: int, out: FloatMatrix) -> None:
    n_rows, width = x.shape
    share_fast, share_slow = 2.0 / (fast + 1.0), 2.0 / (slow + 1.0)
    count = np.zeros(width, np.int64)
    quick, calm = np.zeros(width), np.zeros(width)
    for t in range(n_rows):
        for j in range(width):
            v = x[t, j]
            count[j] = count[j] + 1 if v == v else 0
            # Both averages begin with the first level, as in TA-Lib.
            quick[j] = share_fast * v + (1.0 - share_fast) * quick[j] if count[j] > 1 else v
            calm[j] = share_slow * v + (1.0 - share_slow) * calm[j] if count[j] > 1 else v
            out[t, j] = quick[j] - calm[j] if count[j] >= slow else np.nan


def _chaikin(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    level = np.empty_like(series[0])
    _accumulate(_money_flow(series), level)
    fast, slow = sorted(int(n) for n in numbers)
    _two_paces(level, fast, slow, out[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _over_or_nothing(x: FloatMatrix, base: FloatMatrix, out: FloatMatrix) -> None:
    for t in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[t, j] = 0.0 if base[t, j] == 0.0 else x[t, j] / base[t, j]


def _cmf(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    flow = _money_flow(series)
    volume = np.where(np.isnan(flow), np.nan, series[3])
    total, part = np.empty_like(flow), np.empty_like(flow)
    window_sum(flow, int(numbers[0]), part)
    window_sum(volume, int(numbers[0]), total)
    _over_or_nothing(part, total, out[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _weighted_price(price: FloatMatrix, volume: FloatMatrix, window: int, out: Pages) -> None:
    n_rows, width = price.shape
    total, rest, squares = np.empty(width), np.empty(width), np.empty(width)
    for t in range(n_rows):
        if t < window - 1:
            out[:, t] = np.nan
            continue
        # Distances from the newest price: digits are not lost to its level.
        total[:] = 0.0
        rest[:] = 0.0
        squares[:] = 0.0
        for s in range(t - window + 1, t + 1):
            for j in range(width):
                d, v = price[s, j] - price[t, j], volume[s, j]
                total[j] += v
                rest[j] += v * d
        for s in range(t - window + 1, t + 1):
            for j in range(width):
                d = price[s, j] - price[t, j] - rest[j] / total[j]
                squares[j] += volume[s, j] * d * d
        for j in range(width):
            traded = total[j] > 0.0
            out[0, t, j] = price[t, j] + rest[j] / total[j] if traded else np.nan
            out[1, t, j] = np.sqrt(squares[j] / total[j]) if traded else np.nan


def _vwap(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    price, volume = complete(*series)
    _weighted_price(price, volume, int(numbers[0]), out)


ON_BALANCE = add_function(
    Function(
        outputs=(Output("OBV", "volume added on rises, taken off on falls", SHARES),),
        n_series=2,
        parameters=(),
        lookback=lambda numbers: 1,
        compute=_obv,
        source="Granville 1963; TA-Lib OBV, which begins with the first volume",
        recursive=True,
    )
)
"""`OBV` of close, volume. A level: its differences need no more rows than they span."""

ACCUMULATION = add_function(
    Function(
        outputs=(Output("AccDist", "volume times the place of the close in the bar", SHARES),),
        n_series=4,
        parameters=(),
        lookback=lambda numbers: 1,
        compute=_accumulation,
        source="Chaikin; TA-Lib AD",
        recursive=True,
    )
)
"""`AccDist` of high, low, close, volume. A level, as `OBV`."""

CHAIKIN = add_function(
    Function(
        outputs=(Output("ChaikinOsc", "fast minus slow average of AccDist", SHARES),),
        n_series=4,
        parameters=(Parameter("fast", 2, default=3), Parameter("slow", 2, default=10)),
        lookback=lambda numbers: decayed_rows(ema_keep(max(numbers))),
        compute=_chaikin,
        source="Chaikin; TA-Lib ADOSC",
        recursive=True,
    )
)
"""`ChaikinOsc` of high, low, close, volume. The level cancels."""

MONEY_FLOW = add_function(
    Function(
        outputs=(Output("CMF", "place of the close in the bar, weighted by volume", "-1 to 1"),),
        n_series=4,
        parameters=(Parameter("window", 1, default=20),),
        lookback=lambda numbers: int(numbers[0]),
        compute=_cmf,
        source="Chaikin; TA-Lib CMF",
    )
)
"""`CMF` of high, low, close, volume: Chaikin's money flow; 0 without volume."""

VOLUME_PRICE = add_function(
    Function(
        outputs=(
            Output("VWAP", "mean price, weighted by volume", "as the price"),
            Output("VWAPStd", "standard deviation around it, weighted by volume", "as the price"),
        ),
        n_series=2,
        parameters=(Parameter("window", 1, default=20),),
        lookback=lambda numbers: int(numbers[0]),
        compute=_vwap,
        source="volume-weighted mean and population standard deviation",
    )
)
"""`VWAP`, `VWAPStd` of price, volume over the last rows; NaN without volume."""
