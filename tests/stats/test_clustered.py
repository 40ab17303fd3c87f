"""Clustered tests against statsmodels, plain loops, and their size in worlds without effect."""

from math import isnan, sqrt

import numpy as np
import pytest
from scipy.stats import t as student_t
from statsmodels.regression.linear_model import OLS

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.clustered import (
    cluster_codes,
    cluster_mean,
    cluster_regression,
    clustered_cell_means,
)
from quant_engine.stats.hac import newey_west_mean

RNG = np.random.default_rng(17)
DAYS = RNG.integers(0, 25, 400)
ASSETS = RNG.integers(0, 12, 400)
X = np.column_stack([RNG.standard_normal((400, 2)), np.ones(400)])
Y = X @ [0.3, -0.2, 0.1] + RNG.standard_normal(25)[DAYS] + RNG.standard_normal(400)


def outside(y, x, *ways):
    groups = ways[0] if len(ways) == 1 else np.column_stack(ways)
    return OLS(y, x).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)


@pytest.mark.parametrize("ways", [(DAYS,), (DAYS, ASSETS)], ids=["one way", "two ways"])
def test_regression_equals_statsmodels(ways):
    wanted = outside(Y, X, *ways)
    got = cluster_regression(Y, X, ways[0], second=ways[1] if len(ways) == 2 else None)
    np.testing.assert_allclose(got.params, wanted.params, rtol=1e-10)
    np.testing.assert_allclose(got.std_errors, wanted.bse, rtol=1e-10)
    np.testing.assert_allclose(got.t, wanted.tvalues, rtol=1e-9)
    np.testing.assert_allclose(got.p_values, wanted.pvalues, rtol=1e-8)
    assert got.n_clusters == tuple(len(set(way)) for way in ways)
    assert got.df == min(got.n_clusters) - 1
    assert ("two-way" in got.convention) == (len(ways) == 2)


@pytest.mark.parametrize("ways", [(DAYS,), (DAYS, ASSETS)], ids=["one way", "two ways"])
def test_mean_equals_statsmodels_and_the_regression_on_a_constant(ways):
    wanted = outside(Y, np.ones(400), *ways)
    got = cluster_mean(Y, *ways)
    assert got.mean == pytest.approx(wanted.params[0], rel=1e-12)
    assert got.std_error == pytest.approx(wanted.bse[0], rel=1e-10)
    assert got.p_value == pytest.approx(wanted.pvalues[0], rel=1e-8)


def loop_mean(x, days):
    """Liang and Zeger with dictionaries."""
    mean = sum(x) / len(x)
    sums = {}
    for value, day in zip(x, days, strict=True):
        sums[day] = sums.get(day, 0.0) + value - mean
    g = len(sums)
    error = sqrt(g / (g - 1) * sum(s * s for s in sums.values())) / len(x)
    return mean, error, 2 * student_t.sf(abs(mean / error), g - 1)


def test_mean_equals_the_loop_and_leaves_out_what_is_missing():
    x, days = Y.copy(), [f"day {d}" for d in DAYS]
    x[DAYS == 3] = np.nan
    x[7] = np.nan
    seen = ~np.isnan(x)
    got = cluster_mean(x, days)
    wanted = loop_mean(x[seen].tolist(), [d for d, s in zip(days, seen, strict=True) if s])
    assert (got.mean, got.std_error, got.p_value) == pytest.approx(wanted, rel=1e-10)
    assert (got.n, got.n_clusters) == (int(seen.sum()), (24,))


def test_clusters_of_one_are_the_textbook_t():
    got = cluster_mean(Y, np.arange(400))
    plain = newey_west_mean(Y, lags=0, small_sample=True)
    assert got.t == pytest.approx(plain.t, rel=1e-12)
    assert got.p_value == pytest.approx(plain.p_value, rel=1e-9)


def test_order_and_names_of_clusters_do_not_matter():
    order = RNG.permutation(400)
    one, other = cluster_mean(Y, DAYS), cluster_mean(Y[order], 1000 - 3 * DAYS[order])
    assert other.std_error == pytest.approx(one.std_error, rel=1e-12)


def test_the_same_clusters_twice_are_one_way():
    assert cluster_mean(Y, DAYS, DAYS).std_error == pytest.approx(cluster_mean(Y, DAYS).std_error)


def test_a_two_way_variance_that_is_not_positive_gives_no_error():
    """Perfectly opposed pairs in both ways: the intersection alone varies."""
    x = [1.0, -1.0, -1.0, 1.0]
    got = cluster_mean(x, [0, 0, 1, 1], [0, 1, 0, 1])
    assert isnan(got.std_error)
    assert isnan(got.t)
    assert isnan(got.p_value)
    fit = cluster_regression(x, np.ones((4, 1)), [0, 0, 1, 1], second=[0, 1, 0, 1])
    assert np.isnan([*fit.std_errors, *fit.t, *fit.p_values]).all()


def test_cells_equal_one_test_each():
    cells = RNG.integers(0, 9, 400)
    x = Y.copy()
    x[::13] = np.nan
    x[cells == 4] = 0.1
    days = np.where(cells == 7, 2, DAYS)
    got = clustered_cell_means(x, cells, days, n_cells=11)
    for cell in (0, 1, 2, 3, 5, 6, 8):
        one = cluster_mean(x[cells == cell], days[cells == cell])
        assert (got.mean[cell], got.std_error[cell], got.t[cell], got.p_value[cell]) == (
            pytest.approx((one.mean, one.std_error, one.t, one.p_value), rel=1e-10)
        )
        assert (got.n[cell], got.n_clusters[cell]) == (one.n, one.n_clusters[0])
    assert got.std_error[4] == 0.0, "a constant cell has no error and no t"
    assert isnan(got.t[4])
    assert isnan(got.std_error[7]), "one day says nothing"
    assert not isnan(got.mean[7])
    assert np.isnan(got.mean[9:]).all()
    assert got.n[9:].tolist() == [0, 0]
    assert len(clustered_cell_means([], np.zeros(0, int), []).mean) == 0


def test_simultaneous_events_reject_as_often_as_promised():
    """Null worlds: 40 events a day share the day's shock."""
    rng = np.random.default_rng(4)
    days = np.repeat(np.arange(60), 40)
    plain = clustered = 0
    for _ in range(400):
        x = rng.standard_normal(60)[days] + rng.standard_normal(2400)
        plain += newey_west_mean(x, lags=0, small_sample=True).p_value < 0.05
        clustered += cluster_mean(x, days).p_value < 0.05
    assert plain / 400 > 0.5
    assert 0.02 < clustered / 400 < 0.085


def test_weeks_begin_on_monday():
    days = np.arange("2024-01-01", "2024-01-22", dtype="M8[D]")
    weeks = cluster_codes(days, period="week")
    assert (np.diff(weeks) == (np.arange(1, 21) % 7 == 0)).all(), "2024-01-01 was a Monday"
    before = cluster_codes(np.array(["1969-12-28", "1969-12-29"], "M8[ns]"), period="week")
    assert before.tolist() == [-1, 0]
    stamps = np.array(["2024-01-01T00:00", "2024-01-01T23:59", "2024-01-02"], "M8[s]")
    assert np.diff(cluster_codes(stamps)).tolist() == [0, 1]


def test_bad_arguments_name_themselves():
    with pytest.raises(InsufficientHistoryError, match="at least 2 clusters"):
        cluster_mean([1.0, 2.0], ["a", "a"])
    with pytest.raises(InsufficientHistoryError, match="second"):
        cluster_mean([1.0, 2.0], [0, 1], [0, 0])
    with pytest.raises(InsufficientHistoryError, match="got 0"):
        cluster_mean([np.nan, np.nan], [0, 1])
    with pytest.raises(DataError, match="clusters"):
        cluster_mean([1.0, 2.0], [0])
    with pytest.raises(DataError, match="missing"):
        cluster_mean([1.0, 2.0], ["a", None])
    with pytest.raises(DataError, match="complete rows"):
        cluster_regression([1.0, np.nan, 2.0], np.ones((3, 1)), [0, 1, 2])
    for cells in ([0.0, 1.0], [0, -1], [0], [0, 5]):
        with pytest.raises(DataError, match="cells"):
            clustered_cell_means([1.0, 2.0], cells, [0, 1], n_cells=5)
    for times in ([1, 2], np.array(["NaT"], "M8[D]"), np.zeros((1, 1), "M8[D]")):
        with pytest.raises(DataError, match="times"):
            cluster_codes(times)
    with pytest.raises(ConfigError, match="period"):
        cluster_codes(np.array(["2024-01-01"], "M8[D]"), period="month")
