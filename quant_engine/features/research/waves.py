"""Waves and flow: how the energy of a series spreads over time scales.

The maximal-overlap Haar transform splits each value causally: with V_0 = x and h = 2^(j-1),
``W_j(t) = (V_{j-1}(t) - V_{j-1}(t - h))/2`` is the wave of scale j (about 2^j to 2^(j+1) rows) and
``V_j(t) = (V_{j-1}(t) + V_{j-1}(t - h))/2``, the mean of the last 2^j values, is what is left. The
flow is V of the last scale. ``x = V_J + W_1 + ... + W_J`` on every row, and no row after t is read:
the boundary of the newest row is not padded, because the filter only looks back.
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

__all__ = ["WAVES", "WAVE_SCALES"]

WAVE_SCALES = 4
"""Number J of scales: waves of about 2-4, 4-8, 8-16 and 16-32 rows, and the flow beyond them."""

_OUTPUTS = (
    *(
        Output(f"WaveShare{j}", f"energy of the waves of {2**j} to {2 ** (j + 1)} rows", "fraction")
        for j in range(1, WAVE_SCALES + 1)
    ),
    Output("FlowShare", f"energy of the mean of {2**WAVE_SCALES} rows", "fraction"),
)


@njit(cache=True, nogil=True, error_model="numpy")
def _split(x: FloatMatrix, out: Pages) -> None:
    # Squares of the waves into the pages, of the flow into the last one.
    n_rows, width = x.shape
    smooth = x.copy()
    n_scales = len(out) - 1
    for j in range(n_scales):
        h = 2**j
        # From the newest row down, so that row t - h still holds the smoother of the scale above.
        for t in range(n_rows - 1, -1, -1):
            if t < h:
                out[j, t] = np.nan
                smooth[t] = np.nan
                continue
            page, here, before = out[j, t], smooth[t], smooth[t - h]
            for i in range(width):
                wave = 0.5 * (here[i] - before[i])
                page[i] = wave * wave
            for i in range(width):
                here[i] = 0.5 * (here[i] + before[i])
    for t in range(n_rows):
        for i in range(width):
            out[n_scales, t, i] = smooth[t, i] * smooth[t, i]


@njit(cache=True, nogil=True, error_model="numpy")
def _energy_shares(window: int, out: Pages) -> None:
    n_pages, n_rows, width = out.shape
    total, energy = np.empty(width), np.empty((n_pages, width))
    for t in range(n_rows - 1, -1, -1):
        if t < window - 1:
            out[:, t] = np.nan
            continue
        total[:] = 0.0
        for p in range(n_pages):
            here = energy[p]
            here[:] = 0.0
            for s in range(t - window + 1, t + 1):
                row = out[p, s]
                for i in range(width):
                    here[i] += row[i]
            for i in range(width):
                total[i] += here[i]
        for p in range(n_pages):
            for i in range(width):
                share = energy[p, i] / total[i]
                out[p, t, i] = share if total[i] > 0.0 else np.nan


def _compute(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _split(series[0], out)
    _energy_shares(int(numbers[0]), out)


WAVES = add_function(
    Function(
        _OUTPUTS,
        1,
        (Parameter("window", 2, 5000),),
        lambda numbers: int(numbers[0]) + 2**WAVE_SCALES - 1,
        _compute,
        "Percival and Walden 2000, chapter 5 (MODWT, Haar filter)",
    )
)
"""Shares of the energy of a window by scale; they sum to 1."""
