"""Cycles: the power spectrum of a window.

Windows are multiplied by a Hann taper (periodic) and transformed; frequency k/w has the power of a
one-sided periodogram, frequency 0 is left out.

``SpectralHigh``, ``SpectralLow``, ``SpectralEntropy``, ``SpectralPeriod``, ``SpectralBandwidth``
describe a stationary series, such as returns, less its mean: the share of power at periods below
`cut` rows, the share at longer ones (they add up to 1), the entropy of the shares over that of
equal ones, the period of the largest power, and the standard deviation of frequency under the
shares (cycles per row). White noise with w = 252 and cut 20 has 0.9 of its power in the high part.

``DominantCycle`` and ``DominantCycleShare`` describe a level, such as ``Log($close)``, less its
line: the period of the largest power among periods from `shortest` rows to w/2, and the share of
power within one frequency of it. Any random walk has most of its power at its longest periods, so a
long dominant cycle is what chance gives; the share says whether there is a cycle at all.

Source: Welch (1967), IEEE Transactions on Audio and Electroacoustics 15; Percival and Walden
(1993), Spectral Analysis for Physical Applications.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
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
from quant_engine.features.indicators.pieces import (
    IntVector,
    check_at_most,
    entropy_of,
    is_flat,
    rows_of,
    run_lengths,
)

__all__: list[str] = []

STRAIGHT = 1e-12
"""Share of variance about the line below which there is nothing but rounding to transform."""

CHUNK_ROWS = 64
"""Windows transformed at a time: few enough to stay in the cache."""


@njit(cache=True, nogil=True, error_model="numpy")
def _tapered(
    v: FloatVector,
    first: int,
    taper: FloatVector,
    line: bool,
    segments: FloatMatrix,
    rows: IntVector,
) -> int:
    # Complete, varying windows from row `first` on, centred and tapered, until all places are
    # taken; returns how many. rows[-1] is the next row to start from.
    window = taper.size
    runs = run_lengths(v[max(first - window + 1, 0) :])
    skipped = max(first - window + 1, 0)
    half = 0.5 * (window - 1)
    count = 0
    t = first
    while t < v.size and count < len(segments):
        if runs[t - skipped] >= window:
            values = v[t - window + 1 : t + 1]
            mean = 0.0
            for i in range(window):
                mean += values[i]
            mean /= window
            squares = cross = 0.0
            for i in range(window):
                d = values[i] - mean
                squares += d * d
                cross += (i - half) * d
            slope = cross / (window * (window * window - 1.0) / 12.0) if line else 0.0
            rest = squares - slope * cross
            if not is_flat(squares, mean, window) and rest > STRAIGHT * squares:
                for i in range(window):
                    segments[count, i] = (values[i] - mean - slope * (i - half)) * taper[i]
                rows[count] = t
                count += 1
        t += 1
    rows[-1] = t
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _powers(spectrum: npt.NDArray[np.complex128], window: int, power: FloatMatrix) -> None:
    for r in range(spectrum.shape[0]):
        for k in range(1, spectrum.shape[1]):
            value = spectrum[r, k]
            # Frequency 1/2 has no mirror image.
            weight = 1.0 if 2 * k == window else 2.0
            power[r, k - 1] = weight * (value.real * value.real + value.imag * value.imag)


def _periodograms(
    x: FloatMatrix, window: int, *, line: bool
) -> Iterator[tuple[int, IntVector, FloatMatrix]]:
    """Column, rows, and power of the frequencies 1/w, 2/w, ... of their windows."""
    taper = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(window) / window)
    segments = np.empty((CHUNK_ROWS, window))
    rows = np.empty(CHUNK_ROWS + 1, np.int64)
    power = np.empty((CHUNK_ROWS, window // 2))
    for column in range(x.shape[1]):
        v = np.ascontiguousarray(x[:, column])
        first = 0
        while first < len(v):
            count = _tapered(v, first, taper, line, segments, rows)
            first = int(rows[-1])
            if count:
                _powers(np.fft.rfft(segments[:count]), window, power)
                yield column, rows[:count], power[:count]


@njit(cache=True, nogil=True, error_model="numpy")
def _describe(
    power: FloatMatrix, rows: IntVector, window: int, cut: float, column: int, out: Pages
) -> None:
    for r in range(rows.size):
        total = high = mean = square = 0.0
        best = 0
        for i in range(power.shape[1]):
            p, frequency = power[r, i], (i + 1.0) / window
            total += p
            high += p if frequency * cut > 1.0 else 0.0
            mean += p * frequency
            square += p * frequency * frequency
            best = i if p > power[r, best] else best
        mean /= total
        t = rows[r]
        out[0, t, column] = high / total
        out[1, t, column] = 1.0 - high / total
        out[2, t, column] = entropy_of(power[r], power.shape[1])
        out[3, t, column] = window / (best + 1.0)
        out[4, t, column] = np.sqrt(max(square / total - mean * mean, 0.0))


def _compute_spectrum(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    window, cut = int(numbers[0]), numbers[1]
    out[:] = np.nan
    for column, rows, power in _periodograms(series[0], window, line=False):
        _describe(power, rows, window, cut, column, out)


@njit(cache=True, nogil=True, error_model="numpy")
def _peak(
    power: FloatMatrix, rows: IntVector, window: int, shortest: float, column: int, out: Pages
) -> None:
    last = min(int(window / shortest), power.shape[1])
    for r in range(rows.size):
        total = 0.0
        best = 1
        for i in range(power.shape[1]):
            total += power[r, i]
            # The lowest frequency is what the line has left over.
            best = i if 1 <= i < last and power[r, i] > power[r, best] else best
        near = power[r, best - 1] + power[r, best]
        if best + 1 < power.shape[1]:
            near += power[r, best + 1]
        out[0, rows[r], column] = window / (best + 1.0)
        out[1, rows[r], column] = min(near / total, 1.0)


def _cycle_rows(numbers: Numbers) -> int:
    hint = "A cycle has to pass twice through the window."
    check_at_most("shortest of DominantCycle", numbers[1], numbers[0] / 2, hint=hint)
    return int(numbers[0])


def _compute_cycle(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    window, shortest = _cycle_rows(numbers), numbers[1]
    out[:] = np.nan
    for column, rows, power in _periodograms(series[0], window, line=True):
        _peak(power, rows, window, shortest, column, out)


add_function(
    Function(
        (
            Output("SpectralHigh", "share of power at periods below the cut", "fraction"),
            Output("SpectralLow", "share of power at the cut and longer periods", "fraction"),
            Output("SpectralEntropy", "entropy of the power", "fraction of the largest"),
            Output("SpectralPeriod", "period of the largest power", "sessions"),
            Output("SpectralBandwidth", "spread of the power", "cycles per session"),
        ),
        1,
        (Parameter("window", 16, 2048, 252), Parameter("cut", 2, 2000, 20, whole=False)),
        rows_of(0),
        _compute_spectrum,
        "Welch 1967",
    )
)
add_function(
    Function(
        (
            Output("DominantCycle", "period of the strongest cycle about the line", "sessions"),
            Output("DominantCycleShare", "share of power within one frequency of it", "fraction"),
        ),
        1,
        (Parameter("window", 16, 2048, 120), Parameter("shortest", 4, 512, 6, whole=False)),
        _cycle_rows,
        _compute_cycle,
        "Percival and Walden 1993",
    )
)
