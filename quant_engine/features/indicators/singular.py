"""Singular spectrum analysis: how much of a window is trend, oscillation and noise.

The window, less its mean, is cut into overlapping vectors of `lags` values; the eigenvalues of
their second-moment matrix say how much each pattern explains.

* ``SSATrend``: share of the largest eigenvalue;
* ``SSAOscillatory``: share of the next ones, up to `components`;
* ``SSANoise``: share of the rest; the three add up to 1;
* ``SSAEntropy``: entropy of all shares over ln(lags), 1 for white noise.

White noise in 60 rows with 12 lags shows a trend share of about 0.16, not 1/12: the largest of
twelve noisy eigenvalues is large by selection.

Source: Broomhead and King (1986), Physica D 20; Golyandina et al. (2001), Analysis of Time Series
Structure.
"""

from __future__ import annotations

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
    run_lengths,
)

__all__: list[str] = []

CHUNK_ROWS = 512
"""Matrices held at a time."""


@njit(cache=True, nogil=True, error_model="numpy")
def _full_rows(v: FloatVector, window: int) -> IntVector:
    # Rows whose window is complete and varies.
    runs = run_lengths(v)
    found = np.empty(v.size, np.int64)
    count = 0
    for t in range(v.size):
        if runs[t] >= window:
            values = v[t - window + 1 : t + 1]
            mean = values.sum() / window
            if not is_flat(((values - mean) ** 2).sum(), mean, window):
                found[count] = t
                count += 1
    return found[:count]


@njit(cache=True, nogil=True, error_model="numpy")
def _lag_matrices(
    v: FloatVector, rows: IntVector, window: int, matrices: npt.NDArray[np.float64]
) -> None:
    # Entry (i, k) is sum_s y[s+i] y[s+k] over the vectors s. Along a diagonal two values leave and
    # enter: only the first row of the matrix is summed.
    lags = matrices.shape[1]
    n = window - lags + 1
    y = np.empty(window)
    for r in range(rows.size):
        values = v[rows[r] - window + 1 : rows[r] + 1]
        mean = 0.0
        for i in range(window):
            mean += values[i]
        mean /= window
        for i in range(window):
            y[i] = values[i] - mean
        for lag in range(lags):
            total = 0.0
            for s in range(n):
                total += y[s] * y[s + lag]
            matrices[r, 0, lag] = matrices[r, lag, 0] = total
            for i in range(1, lags - lag):
                total += y[i - 1 + n] * y[i - 1 + n + lag] - y[i - 1] * y[i - 1 + lag]
                matrices[r, i, i + lag] = matrices[r, i + lag, i] = total


@njit(cache=True, nogil=True, error_model="numpy")
def _write_shares(
    values: FloatMatrix, rows: IntVector, components: int, column: int, out: Pages
) -> None:
    lags = values.shape[1]
    for r in range(rows.size):
        t = rows[r]
        total = 0.0
        for i in range(lags):
            # Rounding may leave an eigenvalue of zero slightly below it.
            values[r, i] = max(values[r, i], 0.0)
            total += values[r, i]
        first = oscillatory = 0.0
        for i in range(lags):
            if i == lags - 1:
                first = values[r, i]
            elif i >= lags - components:
                oscillatory += values[r, i]
        out[0, t, column] = first / total
        out[1, t, column] = oscillatory / total
        out[2, t, column] = max(total - first - oscillatory, 0.0) / total
        out[3, t, column] = entropy_of(values[r], lags)


def _ssa_rows(numbers: Numbers) -> int:
    window, lags, components = numbers
    hint = "Longer vectors hold nothing new, and leave few of them."
    check_at_most("lags of SSATrend", lags, window // 2, hint=hint)
    check_at_most("components of SSATrend", components, lags, hint="There is one per lag.")
    return int(window)


def _compute(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    window, lags, components = _ssa_rows(numbers), int(numbers[1]), int(numbers[2])
    out[:] = np.nan
    for column in range(series[0].shape[1]):
        v = np.ascontiguousarray(series[0][:, column])
        rows = _full_rows(v, window)
        for start in range(0, len(rows), CHUNK_ROWS):
            part = rows[start : start + CHUNK_ROWS]
            matrices = np.empty((len(part), lags, lags))
            _lag_matrices(v, part, window, matrices)
            _write_shares(np.linalg.eigvalsh(matrices), part, components, column, out)


add_function(
    Function(
        (
            Output("SSATrend", "share of the largest eigenvalue", "fraction"),
            Output("SSAOscillatory", "share of the further components", "fraction"),
            Output("SSANoise", "share of all other eigenvalues", "fraction"),
            Output("SSAEntropy", "entropy of the eigenvalues", "fraction of the largest"),
        ),
        1,
        (
            Parameter("window", 20, 1000, 60),
            Parameter("lags", 3, 60, 12),
            Parameter("components", 2, 60, 5),
        ),
        _ssa_rows,
        _compute,
        "Broomhead and King 1986",
    )
)
