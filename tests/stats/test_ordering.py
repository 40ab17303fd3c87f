"""Orders of rows: the same as a stable sort of the exact values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from quant_engine.stats.ordering import NARROW_COLUMNS, fill_ranks, row_order

WIDTHS = [1, 2, 3, 7, 64, 800, NARROW_COLUMNS, NARROW_COLUMNS + 1]


def known(values):
    return np.isfinite(values).sum(axis=1)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sorted_by_exact_value_with_nan_last(width, dtype):
    rng = np.random.default_rng(width)
    # Neighbours that only the last bits of a float64 tell apart, over many magnitudes.
    values = rng.standard_normal((6, width)) * 10.0 ** rng.integers(-30, 30, (6, 1))
    values[2] = 1.0 + 1e-15 * rng.permutation(width)
    values[3] = -1.0 - 1e-15 * rng.permutation(width)
    values[4, rng.random(width) < 0.4] = np.nan
    values[5] = np.nan
    values = values.astype(dtype)
    order, tied = row_order(values)
    np.testing.assert_array_equal(order, np.argsort(values, axis=1, kind="stable"))
    for row, count, tie in zip(values, known(values), tied, strict=True):
        assert tie == (np.unique(row[np.isfinite(row)]).size < count)


@pytest.mark.parametrize("scale", [1e-310, 1e-50, 1.0, 1e50, 1e307])
def test_values_outside_the_range_of_float32(scale):
    values = np.array([[3.0, -1.0, 2.0, np.nan, 1.0, 0.0, -2.0]]) * scale
    order, tied = row_order(values)
    assert order[0].tolist() == [6, 1, 5, 4, 2, 0, 3]
    assert not tied[0]


@pytest.mark.parametrize("distinct", [1, 2, 5, 40])
def test_ranks_of_ties_are_averages(distinct):
    rng = np.random.default_rng(distinct)
    values = rng.integers(0, distinct, (20, 50)).astype(np.float64)
    values[:, ::7] = np.nan
    order, tied = row_order(values)
    np.testing.assert_array_equal(order, np.argsort(values, axis=1, kind="stable"))
    for row, columns, tie, count in zip(values, order, tied, known(values), strict=True):
        ranks = np.full(row.size, -1.0)
        squares = fill_ranks(row, columns, tie, count, ranks)
        there = np.isfinite(row)
        np.testing.assert_array_equal(ranks[there], rankdata(row[there]))
        assert (ranks[~there] == -1.0).all()
        assert squares == (rankdata(row[there]) ** 2).sum()
