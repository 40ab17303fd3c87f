"""Volume profile: at which prices the volume of the last rows was traded.

How a profile is made:

1. the range from the lowest low to the highest high of the window is cut into equal bins;
2. the volume of each bar is spread evenly over its own range (a bar without a range puts it all
   into one bin);
3. the point of control is the middle of the fullest bin, the lowest of equally full ones;
4. the value area grows from that bin, each time by the fuller of its two neighbours (the upper of
   equal ones), until it holds its share of the volume.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.features.functions import (
    Function,
    Numbers,
    Output,
    Pages,
    Parameter,
    add_function,
)
from quant_engine.features.indicators.rolling import complete, window_extreme, window_sum

__all__ = ["PROFILE"]

TIE = 1e-9
"""Share of the volume, or part of a bin, below which a difference is rounding: which of two equally
full bins comes first must not depend on it."""


@njit(cache=True, nogil=True, error_model="numpy")
def _spread_bar(low: float, high: float, volume: float, bins: FloatVector) -> None:
    # low and high in bins, counted from the bottom of the profile.
    n = bins.size
    first = min(int(low + TIE), n - 1)
    last = min(int(high + TIE), n - 1)
    if first == last:
        bins[first] += volume
        return
    density = volume / (high - low)
    bins[first] += density * (first + 1.0 - low)
    for b in range(first + 1, last):
        bins[b] += density
    bins[last] += density * (high - last)


@njit(cache=True, nogil=True, error_model="numpy")
def _value_area(bins: FloatVector, total: float, share: float) -> tuple[int, int, int]:
    least = TIE * total
    wanted = share * total - least
    peak = 0
    for b in range(1, bins.size):
        if bins[b] > bins[peak] + least:
            peak = b
    low = high = peak
    held = bins[peak]
    while held < wanted and (low > 0 or high < bins.size - 1):
        above = bins[high + 1] if high < bins.size - 1 else -np.inf
        below = bins[low - 1] if low > 0 else -np.inf
        if above >= below - least:
            high += 1
            held += above
        else:
            low -= 1
            held += below
    return peak, low, high


@njit(cache=True, nogil=True, error_model="numpy")
def _profiles(
    bar: tuple[FloatMatrix, FloatMatrix, FloatMatrix],
    limits: tuple[FloatMatrix, FloatMatrix, FloatMatrix],
    window: int,
    bins: FloatVector,
    share: float,
    out: Pages,
) -> None:
    high, low, volume = bar
    top, bottom, total = limits
    n_rows, width = high.shape
    for t in range(n_rows):
        for j in range(width):
            floor = bottom[t, j]
            step = (top[t, j] - floor) / bins.size
            if not total[t, j] > 0.0 or step != step:
                out[:, t, j] = np.nan
                continue
            if step == 0.0:
                out[:, t, j] = floor
                continue
            bins[:] = 0.0
            for s in range(t - window + 1, t + 1):
                _spread_bar((low[s, j] - floor) / step, (high[s, j] - floor) / step,
                            volume[s, j], bins)  # fmt: skip
            peak, first, last = _value_area(bins, total[t, j], share)
            out[0, t, j] = floor + (peak + 0.5) * step
            out[1, t, j] = floor + (last + 1.0) * step
            out[2, t, j] = floor + first * step


def _profile(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    high, low, volume = complete(*series)
    window, n_bins = int(numbers[0]), int(numbers[1])
    top, bottom, total = np.empty_like(high), np.empty_like(high), np.empty_like(high)
    window_extreme(high, window, 1.0, top)
    window_extreme(low, window, -1.0, bottom)
    window_sum(volume, window, total)
    _profiles((high, low, volume), (top, bottom, total), window, np.empty(n_bins), numbers[2], out)


PROFILE = add_function(
    Function(
        outputs=(
            Output("PointOfControl", "price with the most volume", "as the price"),
            Output("ValueAreaHigh", "upper end of the value area", "as the price"),
            Output("ValueAreaLow", "lower end of the value area", "as the price"),
        ),
        n_series=3,
        parameters=(
            Parameter("window", 1, default=60),
            Parameter("bins", 2, 1000, default=24),
            Parameter("share", 0.01, 1.0, default=0.7, whole=False),
        ),
        lookback=lambda numbers: int(numbers[0]),
        compute=_profile,
        source="Steidlmayer's market profile on bars; share 0.7 of the volume",
    )
)
"""`PointOfControl`, `ValueAreaHigh`, `ValueAreaLow` of high, low, volume; NaN without volume."""
