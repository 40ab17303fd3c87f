"""How much the whole market moves as one: the correlation matrix of the members.

At row t the matrix holds the assets that are members at t, have a complete window up to t and vary
in it; fewer than `MIN_ASSETS` of them give no value. Every member of the row gets the same value,
everybody else none.

* ``EigenConcentration``: largest eigenvalue over the sum of all, 1/n without any dependence and 1
  where all move as one;
* ``EffectiveRank``: e to the entropy of the eigenvalues' shares, over the largest rank that n
  assets and w rows allow, min(n, w - 1);
* ``ConditionNumber``: log10 of the largest over the smallest of those min(n, w - 1) eigenvalues,
  at most `LARGEST_CONDITION`;
* ``AverageCorrelation``: mean of all pairwise correlations.

As many assets as rows leave the matrix singular; its positive eigenvalues are those of the w x w
matrix of inner products of the standardised rows, which is then computed instead. Where n is near
w the smallest eigenvalue is small by sampling alone (Marchenko and Pastur 1967): compare over time,
not between markets of different size.

Source: Roy and Vetterli (2007), EUSIPCO (effective rank); Kritzman et al. (2011), Journal of
Portfolio Management 37 (concentration).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
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
from quant_engine.stats.mean_correlation import mean_pairwise_correlation

__all__: list[str] = []

MIN_ASSETS = 5
"""Fewer assets describe their pairs, not the market."""

LARGEST_CONDITION = 12.0
"""log10; beyond it eigenvalues are rounding."""


@njit(cache=True, nogil=True, error_model="numpy")
def _standardised(x: FloatMatrix, columns: IntVector, t: int, window: int) -> FloatMatrix:
    # Windows of unit length, one asset per row; those that do not vary are left out.
    found = np.empty((columns.size, window))
    count = 0
    for j in columns:
        mean = 0.0
        for i in range(window):
            found[count, i] = x[t - window + 1 + i, j]
            mean += found[count, i]
        mean /= window
        squares = 0.0
        for i in range(window):
            found[count, i] -= mean
            squares += found[count, i] ** 2
        if not is_flat(squares, mean, window):
            length = np.sqrt(squares)
            for i in range(window):
                found[count, i] /= length
            count += 1
    return found[:count]


@njit(cache=True, nogil=True, error_model="numpy")
def _inner_products(vectors: FloatMatrix) -> FloatMatrix:
    # Sum of v v' over the rows v.
    size = vectors.shape[1]
    products = np.zeros((size, size))
    for r in range(len(vectors)):
        row = vectors[r]
        for i in range(size):
            here = row[i]
            for k in range(i + 1):
                products[i, k] += here * row[k]
    for i in range(size):
        for k in range(i):
            products[k, i] = products[i, k]
    return products


@njit(cache=True, nogil=True, error_model="numpy")
def _eigen_figures(values: FloatVector, rank: int) -> tuple[float, float, float]:
    # Ascending eigenvalues; those beyond the rank are rounding.
    positive = np.maximum(values[values.size - rank :], 0.0)
    total = 0.0
    for i in range(rank):
        total += positive[i]
    largest = positive[rank - 1]
    condition = np.log10(largest / positive[0])
    effective = np.exp(entropy_of(positive, rank) * np.log(rank)) / rank
    return largest / total, effective, min(condition, LARGEST_CONDITION)


def _in_canonical_order(z: FloatMatrix) -> FloatMatrix:
    # Sums over the assets must not depend on the order in which a panel lists them.
    return np.ascontiguousarray(z[np.lexsort((z[:, -3], z[:, -2], z[:, -1]))])


def _compute(
    series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages, member: BoolMatrix
) -> None:
    x, window = series[0], int(numbers[0])
    out[:] = np.nan
    runs = np.stack([run_lengths(np.ascontiguousarray(column)) for column in x.T], axis=1)
    counted = member & (runs >= window)
    for t in np.flatnonzero(counted.sum(axis=1) >= MIN_ASSETS):
        z = _standardised(x, np.flatnonzero(counted[t]), t, window)
        if len(z) < MIN_ASSETS:
            continue
        z = _in_canonical_order(z)
        products = _inner_products(z if len(z) >= window else np.ascontiguousarray(z.T))
        summary = _eigen_figures(np.linalg.eigvalsh(products), min(len(z), window - 1))
        together = mean_pairwise_correlation(np.ascontiguousarray(z.T))
        for page, value in zip(out, (*summary, together), strict=True):
            page[t, member[t]] = value


add_function(
    Function(
        (
            Output("EigenConcentration", "share of the largest eigenvalue", "fraction"),
            Output("EffectiveRank", "effective rank over the largest possible", "fraction"),
            Output("ConditionNumber", "condition of the correlation matrix", "log10"),
            Output("AverageCorrelation", "mean pairwise correlation", "correlation"),
        ),
        1,
        (Parameter("window", 10, 500, 60),),
        rows_of(0),
        _compute,
        "Roy and Vetterli 2007; Kritzman et al. 2011",
        across=True,
    )
)
