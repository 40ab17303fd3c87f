"""Entropy of returns: of their histogram, of their order, of their repetition.

* ``ShannonEntropy`` of the shares of `bins` bins of equal width between the smallest and the
  largest value of the window, over ln(bins). One jump leaves everything else in few bins: low.
* ``PermutationEntropy`` of the shares of the ``order!`` orders of `order` values in a row, over
  ln(order!). 1 for returns without memory, lower for patterns that come again. Equal values are
  ordered by time, so stale prices lower it; a constant window has one order, and so 0.
* ``ApproxEntropy`` is ApEn(2, 0.2 sd): how little it helps to know two values when guessing the
  third, in nats. Matches of a pattern with itself are counted, as in the source, which biases
  short windows downwards: values compare between windows of one length alone.

Sources: Shannon (1948); Bandt and Pompe (2002), Physical Review Letters 88; Pincus (1991), PNAS 88.
"""

from __future__ import annotations

from math import factorial

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
from quant_engine.features.indicators.pieces import (
    IntVector,
    entropy_of,
    is_flat,
    rows_of,
    run_lengths,
)

__all__: list[str] = []


@njit(cache=True, nogil=True, error_model="numpy")
def _shannon(x: FloatMatrix, window: int, bins: int, out: FloatMatrix) -> None:
    counts = np.empty(bins)
    for j in range(x.shape[1]):
        v = x[:, j].copy()
        runs = run_lengths(v)
        for t in range(v.size):
            out[t, j] = np.nan
            if runs[t] < window:
                continue
            low = high = v[t]
            for i in range(t - window + 1, t):
                low = min(low, v[i])
                high = max(high, v[i])
            scale = bins / (high - low)
            if not scale < np.inf:
                continue
            counts[:] = 0.0
            for i in range(t - window + 1, t + 1):
                counts[min(int((v[i] - low) * scale), bins - 1)] += 1.0
            out[t, j] = entropy_of(counts, bins)


def _compute_shannon(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _shannon(series[0], int(numbers[0]), int(numbers[1]), out[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _pattern_codes(v: FloatVector, runs: IntVector, order: int) -> IntVector:
    # Number of the order of the values that end at each row (Lehmer code); -1 = not complete.
    codes = np.full(v.size, -1, np.int64)
    for t in range(order - 1, v.size):
        if runs[t] < order:
            continue
        code = 0
        for i in range(order):
            smaller = 0
            for k in range(i + 1, order):
                smaller += v[t - order + 1 + k] < v[t - order + 1 + i]
            code = code * (order - i) + smaller
        codes[t] = code
    return codes


@njit(cache=True, nogil=True, error_model="numpy")
def _permutation(x: FloatMatrix, window: int, order: int, states: int, out: FloatMatrix) -> None:
    counts = np.empty(states)
    for j in range(x.shape[1]):
        v = x[:, j].copy()
        runs = run_lengths(v)
        codes = _pattern_codes(v, runs, order)
        counts[:] = 0.0
        for t in range(v.size):
            out[t, j] = np.nan
            oldest = t - window + order - 1
            if runs[t] == 0:
                counts[:] = 0.0
            elif codes[t] >= 0:
                counts[codes[t]] += 1.0
                # What left the window was counted in this run only if it is as old as the run.
                if oldest >= 0 and runs[t] > window:
                    counts[codes[oldest]] -= 1.0
            if runs[t] >= window:
                out[t, j] = entropy_of(counts, states)


def _compute_permutation(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    order = int(numbers[1])
    _permutation(series[0], int(numbers[0]), order, factorial(order), out[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _mean_log_share(counts: IntVector, n: int) -> float:
    total = 0.0
    for i in range(n):
        total += np.log(counts[i] / n)
    return total / n


@njit(cache=True, nogil=True, error_model="numpy")
def _approximate(x: FloatMatrix, window: int, tolerance: float, out: FloatMatrix) -> None:
    close = np.empty(window + 2, np.int64)
    pairs, triples = np.empty(window, np.int64), np.empty(window, np.int64)
    for j in range(x.shape[1]):
        v = x[:, j].copy()
        runs = run_lengths(v)
        for t in range(v.size):
            out[t, j] = np.nan
            if runs[t] < window:
                continue
            values = v[t - window + 1 : t + 1]
            mean = 0.0
            for i in range(window):
                mean += values[i]
            mean /= window
            squares = 0.0
            for i in range(window):
                squares += (values[i] - mean) ** 2
            if is_flat(squares, mean, window):
                continue
            limit = tolerance * np.sqrt(squares / window)
            pairs[:] = 1
            triples[:] = 1
            for lag in range(1, window - 1):
                n = window - lag
                for i in range(n):
                    close[i] = abs(values[i] - values[i + lag]) <= limit
                close[n] = 0
                for i in range(n - 1):
                    both = close[i] & close[i + 1]
                    pairs[i] += both
                    pairs[i + lag] += both
                    triples[i] += both & close[i + 2]
                    triples[i + lag] += both & close[i + 2]
            out[t, j] = _mean_log_share(pairs, window - 1) - _mean_log_share(triples, window - 2)


def _compute_approximate(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _approximate(series[0], int(numbers[0]), numbers[1], out[0])


add_function(
    Function(
        (Output("ShannonEntropy", "entropy of the window's histogram", "fraction of the largest"),),
        1,
        (Parameter("window", 10, 2000, 60), Parameter("bins", 2, 100, 8)),
        rows_of(0),
        _compute_shannon,
        "Shannon 1948",
    )
)
add_function(
    Function(
        (
            Output(
                "PermutationEntropy",
                "entropy of the orders of consecutive values",
                "fraction of the largest",
            ),
        ),
        1,
        (Parameter("window", 10, 2000, 60), Parameter("order", 2, 6, 3)),
        rows_of(0),
        _compute_permutation,
        "Bandt and Pompe 2002",
    )
)
add_function(
    Function(
        (Output("ApproxEntropy", "approximate entropy of patterns of two values", "nats"),),
        1,
        (
            Parameter("window", 20, 500, 60),
            Parameter("tolerance", 0.01, 2.0, 0.2, whole=False),
        ),
        rows_of(0),
        _compute_approximate,
        "Pincus 1991",
    )
)
