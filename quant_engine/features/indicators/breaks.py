"""Breaks in the mean.

With ``S_k`` the sum of the first k deviations from the window's mean, the symmetric CUSUM statistic
is the largest ``|S_k| / sqrt(sum of squared deviations)``. Without a break it is above 1.36 in
5 % of long windows (in fewer of short ones). ``Cusum`` gives it with the sign of S at that
place: positive where the mean was higher before than after. ``CusumAge`` is the share of the window
that came after that place. Both scale-free.

Source: Ploberger and Krämer (1992), Econometrica 60.
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
from quant_engine.features.indicators.pieces import is_flat, rows_of, run_lengths

__all__: list[str] = []


@njit(cache=True, nogil=True, error_model="numpy")
def _cusum(x: FloatMatrix, window: int, out: Pages) -> None:
    for j in range(x.shape[1]):
        v = x[:, j].copy()
        runs = run_lengths(v)
        for t in range(v.size):
            out[0, t, j] = out[1, t, j] = np.nan
            if runs[t] < window:
                continue
            mean = 0.0
            for i in range(t - window + 1, t + 1):
                mean += v[i]
            mean /= window
            squares = total = peak = 0.0
            place = t
            for i in range(t - window + 1, t + 1):
                d = v[i] - mean
                squares += d * d
                total += d
                if abs(total) > abs(peak):
                    peak = total
                    place = i
            if not is_flat(squares, mean, window):
                out[0, t, j] = peak / np.sqrt(squares)
                out[1, t, j] = (t - place) / window


def _compute(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _cusum(series[0], int(numbers[0]), out)


add_function(
    Function(
        (
            Output("Cusum", "symmetric CUSUM statistic, with its sign", "standard deviations"),
            Output("CusumAge", "share of the window after the place of the break", "fraction"),
        ),
        1,
        (Parameter("window", 10, 2000, 60),),
        rows_of(0),
        _compute,
        "Ploberger and Krämer 1992",
    )
)
