"""Volatility curve: the shape of an asset's volatility over horizons, against its own past.

A curve is one value per horizon and row, such as log volatilities over 5, 10, 20, 60 and 120
sessions. The principal components of an asset's own trailing curves say along which shapes it
usually moves; the score of a row is how far today's curve lies from the trailing mean along each.
Nothing is fitted on rows after t.

The sign of an eigenvector is arbitrary, so it is fixed by a rule that needs no history: component
1 points towards higher curves, component 2 towards steeper ones (long above short), component 3
towards a hump (middle above both ends).
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
from quant_engine.features.research.moments import IntArray, all_pairs, varies, window_moments

__all__ = ["N_HORIZONS", "VOL_CURVE"]

N_HORIZONS = 5
"""Points of a curve, shortest horizon first."""

_N_COMPONENTS = 3
_SWEEPS = 8
"""Sweeps of the Jacobi method: 5 x 5 matrices are diagonal to rounding after five or six."""

_SHAPES = np.array([
    [1.0, 1.0, 1.0, 1.0, 1.0],
    [-2.0, -1.0, 0.0, 1.0, 2.0],
    [-2.0, 1.0, 2.0, 1.0, -2.0],
])  # fmt: skip
_PAIRS = all_pairs(N_HORIZONS)


@njit(cache=True, nogil=True, error_model="numpy")
def _rotate(a: FloatMatrix, v: FloatMatrix, p: int, q: int) -> None:
    # One Jacobi rotation that makes a[p, q] zero (Golub and Van Loan, section 8.5).
    if a[p, q] == 0.0:
        return
    theta = 0.5 * (a[q, q] - a[p, p]) / a[p, q]
    sign = 1.0 if theta >= 0.0 else -1.0
    tangent = sign / (abs(theta) + np.sqrt(theta * theta + 1.0))
    c = 1.0 / np.sqrt(tangent * tangent + 1.0)
    s = tangent * c
    for k in range(len(a)):
        left, right = a[k, p], a[k, q]
        a[k, p] = c * left - s * right
        a[k, q] = s * left + c * right
    for k in range(len(a)):
        left, right = a[p, k], a[q, k]
        a[p, k] = c * left - s * right
        a[q, k] = s * left + c * right
    for k in range(len(a)):
        left, right = v[k, p], v[k, q]
        v[k, p] = c * left - s * right
        v[k, q] = s * left + c * right


@njit(cache=True, nogil=True, error_model="numpy")
def _decompose(a: FloatMatrix, v: FloatMatrix) -> None:
    # Eigenvalues on the diagonal of a, eigenvectors in the columns of v.
    n = len(a)
    for i in range(n):
        for k in range(n):
            v[i, k] = 1.0 if i == k else 0.0
    for _ in range(_SWEEPS):
        for p in range(n - 1):
            for q in range(p + 1, n):
                _rotate(a, v, p, q)


@njit(cache=True, nogil=True, error_model="numpy")
def _towards(v: FloatMatrix, column: int, shape: FloatVector) -> float:
    total = 0.0
    for k in range(len(shape)):
        total += v[k, column] * shape[k]
    return 1.0 if total >= 0.0 else -1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _today_scores(a: FloatMatrix, v: FloatMatrix, today: FloatVector, result: FloatVector) -> None:
    # Scores of today's distance from the mean, largest component first, then its share.
    n = len(a)
    total = 0.0
    for k in range(n):
        total += a[k, k]
    used = np.zeros(n, np.bool_)
    for c in range(_N_COMPONENTS):
        best = -1
        for k in range(n):
            if not used[k] and (best < 0 or a[k, k] > a[best, best]):
                best = k
        used[best] = True
        score = 0.0
        for k in range(n):
            score += v[k, best] * today[k]
        result[c] = score * _towards(v, best, _SHAPES[c])
        if c == 0:
            result[_N_COMPONENTS] = a[best, best] / total


@njit(cache=True, nogil=True, error_model="numpy")
def _components(pages: Pages, window: int, pairs: IntArray, out: Pages) -> None:
    n, n_rows, width = pages.shape
    mean, cross = np.empty((n, width)), np.empty((len(pairs), width))
    a, v = np.empty((n, n)), np.empty((n, n))
    today, result = np.empty(n), np.empty(_N_COMPONENTS + 1)
    for t in range(n_rows):
        out[:, t] = np.nan
        if t < window - 1:
            continue
        window_moments(pages, t, window, pairs, mean, cross)
        for j in range(width):
            complete, moved = True, False
            for q in range(len(pairs)):
                p, r = pairs[q]
                a[p, r] = cross[q, j]
                a[r, p] = cross[q, j]
                if p == r:
                    moved |= varies(cross[q, j], mean[p, j], window)
                    complete &= cross[q, j] == cross[q, j]
            # Curves that never moved have no components.
            if not (complete and moved):
                continue
            _decompose(a, v)
            for k in range(n):
                today[k] = pages[k, t, j] - mean[k, j]
            _today_scores(a, v, today, result)
            for c in range(_N_COMPONENTS + 1):
                out[c, t, j] = result[c]


def _compute(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    _components(np.stack(series), int(numbers[0]), _PAIRS, out)


VOL_CURVE = add_function(
    Function(
        (
            Output("VolCurvePc1", "score of the first component (level)", "as the curve"),
            Output("VolCurvePc2", "score of the second component (slope)", "as the curve"),
            Output("VolCurvePc3", "score of the third component (hump)", "as the curve"),
            Output("VolCurveShare", "variance share of the first component", "fraction"),
        ),
        N_HORIZONS,
        (Parameter("window", 10, 5000),),
        lambda numbers: int(numbers[0]),
        _compute,
        "Litterman and Scheinkman 1991, on an asset's own trailing volatility curve",
    )
)
"""Scores of today's curve on the principal components of the asset's own trailing curves."""
