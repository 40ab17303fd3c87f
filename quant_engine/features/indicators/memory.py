"""Memory of a series: Hurst exponent, detrended fluctuation analysis, variance ratio.

The input of all three is a series of *returns*, not of prices. 0.5 (a variance ratio of 1) is a
series without memory, more is trending, less is mean-reverting.

* ``Hurst`` is the rescaled range. For blocks of w, w/2, w/4 ... rows (at least `SMALLEST_BLOCK`),
  counted from the newest row back, R/S is the range of the cumulated deviations from the block's
  mean over its standard deviation (ddof 0); the values of the blocks of one size are averaged.
  Raw R/S is biased: independent returns show slopes near 0.6 in short windows. Its exact
  expectation for independent normal values (Anis and Lloyd 1976) is taken out of every size, so
  ``H = 0.5 + slope of ln(R/S) - ln(E[R/S]) on ln(size)``.
* ``DFA`` is the same for the fluctuations about straight lines in boxes of 6 to w/4 rows of the
  cumulated returns. For independent returns the mean square about the line of a box of s rows is
  (s^2 - 4)/(15 s) variances; it is taken out as above. Insensitive to a drift.
* ``VarianceRatio`` is the unbiased overlapping ratio of the variance of sums over q rows to q
  times that of single rows, ``VarianceRatioZ`` its statistic that holds under changing volatility.

What remains of bias at w = 100, mean over windows of fractional noise with true exponents 0.3, 0.5
and 0.7: `Hurst` 0.34, 0.49, 0.62, `DFA` 0.31, 0.49, 0.67. The standard deviation between windows is
0.11: one value says little about one asset, the order of many values says something.

Sources: Hurst (1951); Anis and Lloyd (1976), Biometrika 63; Peng et al. (1994), Physical Review E
49; Lo and MacKinlay (1988), Review of Financial Studies 1.
"""

from __future__ import annotations

from math import exp, lgamma, log, pi, sqrt

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
    check_at_most,
    is_flat,
    line_slope,
    rows_of,
    run_lengths,
)

__all__ = ["expected_rescaled_range"]

SMALLEST_BLOCK = 8
"""Rows of the smallest block of the rescaled range."""

SMALLEST_BOX = 6
"""Rows of the smallest box of the fluctuation analysis."""

N_BOX_SIZES = 6
"""Sizes of boxes, spaced evenly in logarithms."""


def expected_rescaled_range(n: int) -> float:
    """Expectation of R/S of n independent normal values.

    Parameters
    ----------
    n : int
        Number of values, at least 2.

    Returns
    -------
    float
        Dimensionless.

    Notes
    -----
    ``Gamma((n-1)/2) / (sqrt(pi) Gamma(n/2)) sum_{i=1}^{n-1} sqrt((n-i)/i)``, Anis and Lloyd (1976),
    with the standard deviation of ddof 0.

    Examples
    --------
    >>> round(expected_rescaled_range(2), 6), round(expected_rescaled_range(50), 3)
    (1.0, 7.813)
    """
    ratio = exp(lgamma((n - 1) / 2) - lgamma(n / 2)) / sqrt(pi)
    total: float = sum(sqrt((n - i) / i) for i in range(1, n))
    return ratio * total


@njit(cache=True, nogil=True, error_model="numpy")
def _rescaled_range(block: FloatVector) -> float:
    mean = 0.0
    for i in range(block.size):
        mean += block[i]
    mean /= block.size
    squares = total = highest = lowest = 0.0
    for i in range(block.size):
        d = block[i] - mean
        squares += d * d
        total += d
        highest = max(highest, total)
        lowest = min(lowest, total)
    if is_flat(squares, mean, block.size):
        return np.nan
    return (highest - lowest) / np.sqrt(squares / block.size)


@njit(cache=True, nogil=True, error_model="numpy")
def _hurst(x: FloatMatrix, sizes: IntVector, expected: FloatVector, out: FloatMatrix) -> None:
    window = sizes[0]
    log_sizes = np.log(sizes.astype(np.float64))
    excess = np.empty(sizes.size)
    for j in range(x.shape[1]):
        v = x[:, j].copy()
        runs = run_lengths(v)
        for t in range(v.size):
            out[t, j] = np.nan
            if runs[t] < window:
                continue
            for k in range(sizes.size):
                size = sizes[k]
                total, count = 0.0, 0
                for stop in range(t + 1, t + 1 - window + size - 1, -size):
                    value = _rescaled_range(v[stop - size : stop])
                    if value == value:
                        total += value
                        count += 1
                # Blocks without variation say nothing; a size of only such blocks has no value.
                excess[k] = np.log(total / count) - expected[k] if count > 0 else np.nan
            out[t, j] = 0.5 + line_slope(log_sizes, excess)


def _block_sizes(window: int) -> list[int]:
    sizes = [window]
    while sizes[-1] // 2 >= SMALLEST_BLOCK:
        sizes.append(sizes[-1] // 2)
    return sizes


def _compute_hurst(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    sizes = _block_sizes(int(numbers[0]))
    expected = np.array([log(expected_rescaled_range(size)) for size in sizes])
    _hurst(series[0], np.array(sizes), expected, out[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _box_residual(y: FloatVector) -> float:
    # Sum of squares about the line of one box, from values relative to its first one.
    s = y.size
    half = 0.5 * (s - 1)
    total = squares = cross = 0.0
    for i in range(s):
        d = y[i] - y[0]
        total += d
        squares += d * d
        cross += (i - half) * d
    rest = squares - total * total / s - cross * cross / (s * (s * s - 1.0) / 12.0)
    return max(rest, 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _fluctuation(x: FloatMatrix, window: int, sizes: IntVector, out: FloatMatrix) -> None:
    log_sizes = np.log(sizes.astype(np.float64))
    excess = np.empty(sizes.size)
    profile = np.empty(window)
    for j in range(x.shape[1]):
        v = x[:, j].copy()
        runs = run_lengths(v)
        for t in range(v.size):
            out[t, j] = np.nan
            if runs[t] < window:
                continue
            mean = 0.0
            for i in range(t - window + 1, t + 1):
                mean += v[i]
            mean /= window
            squares = total = 0.0
            for i in range(window):
                d = v[t - window + 1 + i] - mean
                squares += d * d
                total += d
                profile[i] = total
            if is_flat(squares, mean, window):
                continue
            for k in range(sizes.size):
                size = sizes[k]
                rest, boxes = 0.0, 0
                for stop in range(window, size - 1, -size):
                    rest += _box_residual(profile[stop - size : stop])
                    boxes += 1
                excess[k] = 0.5 * np.log(rest / (boxes * (size * size - 4.0) / 15.0))
            value = 0.5 + line_slope(log_sizes, excess)
            out[t, j] = value if abs(value) < np.inf else np.nan


def _box_sizes(window: int) -> list[int]:
    found = np.geomspace(SMALLEST_BOX, window // 4, N_BOX_SIZES).round().astype(int)
    return sorted(set(found.tolist()))


def _compute_dfa(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    window = int(numbers[0])
    _fluctuation(series[0], window, np.array(_box_sizes(window)), out[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _variance_ratio(x: FloatMatrix, window: int, q: int, out: Pages) -> None:
    d, e = np.empty(window), np.empty(window)
    scale = q * (window - q + 1.0) * (1.0 - q / window)
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
            squares = 0.0
            for i in range(window):
                d[i] = v[t - window + 1 + i] - mean
                e[i] = d[i] * d[i]
                squares += e[i]
            if is_flat(squares, mean, window):
                continue
            long = 0.0
            for i in range(q - 1, window):
                total = 0.0
                for k in range(q):
                    total += d[i - k]
                long += total * total
            ratio = long / scale / (squares / (window - 1.0))
            theta = 0.0
            for lag in range(1, q):
                total = 0.0
                for i in range(lag, window):
                    total += e[i] * e[i - lag]
                theta += (2.0 * (q - lag) / q) ** 2 * total
            out[0, t, j] = ratio
            if theta > 0.0:
                out[1, t, j] = (ratio - 1.0) * squares / np.sqrt(theta)


def _ratio_rows(numbers: Numbers) -> int:
    hint = "A variance of sums needs at least two of them that do not overlap."
    check_at_most("q of VarianceRatio", numbers[1], numbers[0] // 2, hint=hint)
    return int(numbers[0])


def _compute_ratio(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _variance_ratio(series[0], _ratio_rows(numbers), int(numbers[1]), out)


_WINDOW = Parameter("window", 32, 2000, 100)

add_function(
    Function(
        (Output("Hurst", "Hurst exponent of returns: rescaled range, bias removed", "exponent"),),
        1,
        (_WINDOW,),
        rows_of(0),
        _compute_hurst,
        "Hurst 1951; Anis and Lloyd 1976",
    )
)
add_function(
    Function(
        (Output("DFA", "exponent of the fluctuations about lines of returns", "exponent"),),
        1,
        (_WINDOW,),
        rows_of(0),
        _compute_dfa,
        "Peng et al. 1994",
    )
)
add_function(
    Function(
        (
            Output("VarianceRatio", "variance of q-row sums over q times that of rows", "ratio"),
            Output("VarianceRatioZ", "its statistic under changing volatility", "z-score"),
        ),
        1,
        (Parameter("window", 10, 2000, 100), Parameter("q", 2, 250, 5)),
        _ratio_rows,
        _compute_ratio,
        "Lo and MacKinlay 1988",
    )
)
