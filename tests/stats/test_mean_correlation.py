"""Mean correlations against numpy's matrix of all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.stats.mean_correlation import mean_correlations, mean_pairwise_correlation


def unit_columns(n_rows: int, n_columns: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n_rows, n_columns)) + rng.standard_normal((n_rows, 1))
    values -= values.mean(axis=0)
    return values / np.sqrt((values**2).sum(axis=0))


@pytest.mark.parametrize(("n_rows", "n_columns"), [(20, 5), (5, 20), (3, 2)])
def test_means_are_those_of_the_correlation_matrix(n_rows: int, n_columns: int) -> None:
    unit = unit_columns(n_rows, n_columns, seed=n_rows)
    matrix = np.corrcoef(unit.T)
    np.fill_diagonal(matrix, np.nan)
    out = np.empty(n_columns)
    mean_correlations(unit, out)
    np.testing.assert_allclose(out, np.nanmean(matrix, axis=0), rtol=1e-10, atol=1e-13)
    for layout in (unit, np.asfortranarray(unit), np.hstack([unit, unit])[:, :n_columns]):
        together = mean_pairwise_correlation(layout)
        assert together == pytest.approx(np.nanmean(matrix), abs=1e-13)
    twin = np.empty(n_columns)
    mean_correlations.py_func(unit, twin)
    np.testing.assert_array_equal(out, twin)
    assert mean_pairwise_correlation.py_func(unit) == mean_pairwise_correlation(unit)


def test_one_column_has_no_pair() -> None:
    assert np.isnan(mean_pairwise_correlation(unit_columns(4, 1, seed=0)))
