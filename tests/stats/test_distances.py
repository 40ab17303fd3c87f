"""Distances between distributions against plain loops, scipy, scikit-learn and closed forms."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon, mahalanobis
from scipy.stats import entropy
from sklearn.metrics.pairwise import rbf_kernel

from quant_engine.core.errors import ConfigError, DataError, EmptyDataError
from quant_engine.stats.distances import (
    energy_distance,
    js_divergence,
    kl_divergence,
    ks_distance,
    mahalanobis_distances,
    mmd,
    psi,
    psi_shares,
    wasserstein,
    wasserstein_shares,
)

RNG = np.random.default_rng(14)
BEFORE, AFTER = RNG.standard_normal(300), 0.3 + 1.2 * RNG.standard_normal(200)
shares = st.lists(st.floats(0.0, 10.0), min_size=3, max_size=3).filter(lambda s: sum(s) > 0.1)
settled = settings(max_examples=60, deadline=None, derandomize=True)


def test_psi_equals_the_table_of_quantile_bins():
    got = psi(BEFORE, AFTER, n_bins=8)
    edges = np.quantile(BEFORE, np.arange(1, 8) / 8)
    bins = [-np.inf, *edges, np.inf]
    e = np.bincount(pd.cut(BEFORE, bins, labels=False)) / 300
    a = np.bincount(pd.cut(AFTER, bins, labels=False)) / 200
    np.testing.assert_allclose(got.expected_share, e)
    np.testing.assert_allclose(got.actual_share, a)
    wanted = sum((x - y) * np.log(x / y) for x, y in zip(a, e, strict=True))
    assert got.psi == pytest.approx(wanted)
    assert (got.n_reference, got.n_actual) == (300, 200)


def test_psi_is_two_divergences():
    p, q = np.array([0.2, 0.3, 0.5]), np.array([0.6, 0.3, 0.1])
    assert psi_shares(p, q) == pytest.approx(kl_divergence(p, q) + kl_divergence(q, p))


@given(shares, shares)
@settled
def test_laws_of_shares(p, q):
    assert psi_shares(p, q) >= 0.0
    assert psi_shares(p, q) == pytest.approx(psi_shares(q, p))
    assert psi_shares(p, p) == 0.0
    assert kl_divergence(p, q) >= 0.0
    assert 0.0 <= js_divergence(p, q) <= np.log(2.0)
    assert js_divergence(p, q) == pytest.approx(js_divergence(q, p), abs=1e-12)
    assert psi_shares(np.array(p) * 7.0, q) == pytest.approx(psi_shares(p, q))


def test_an_empty_bin_costs_what_epsilon_says():
    got = psi_shares([0.5, 0.5], [1.0, 0.0], epsilon=1e-3)
    assert got == pytest.approx(0.5 * np.log(2.0) + (1e-3 - 0.5) * np.log(1e-3 / 0.5))
    assert psi_shares([0.5, 0.5], [1.0, 0.0], epsilon=1e-9) > got


def test_values_beyond_the_reference_fall_into_the_outer_bins():
    got = psi(BEFORE, [-1e9, 1e9], n_bins=4)
    np.testing.assert_array_equal(got.actual_share, [0.5, 0.0, 0.0, 0.5])


def test_repeated_values_merge_their_edges():
    before = np.repeat([0.0, 1.0, 2.0], [81, 15, 5])
    got = psi(before, before, n_bins=10)
    np.testing.assert_array_equal(got.edges, [0.0, 1.0])
    np.testing.assert_allclose(got.expected_share, np.array([81, 15, 5]) / 101)
    two = psi([0.0] * 6 + [1.0] * 5, [0.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(two.actual_share, [0.25, 0.75])


def test_what_goes_missing_can_be_a_bin():
    holes = AFTER.copy()
    holes[:50] = np.nan
    dropped, counted = psi(BEFORE, holes), psi(BEFORE, holes, missing="bin")
    assert dropped.n_actual == 150
    assert counted.n_actual == 200
    assert counted.actual_share[-1] == 0.25
    assert counted.expected_share[-1] == 0.0
    assert counted.psi > dropped.psi + 1.0


def test_divergences_equal_scipy():
    p, q = RNG.random(9), RNG.random(9)
    assert kl_divergence(p, q) == pytest.approx(entropy(p, q))
    assert js_divergence(p, q) == pytest.approx(jensenshannon(p, q) ** 2)
    assert kl_divergence([0.5, 0.5], [1.0, 0.0]) == float("inf")
    assert kl_divergence([1.0, 0.0], [0.5, 0.5]) == pytest.approx(np.log(2.0))


def step(sample, x):
    return (np.asarray(sample)[:, None] <= x).mean(axis=0)


def test_sample_distances_equal_their_definitions():
    grid = np.sort(np.concatenate([BEFORE, AFTER]))
    gap = step(BEFORE, grid) - step(AFTER, grid)
    assert ks_distance(BEFORE, AFTER).statistic == pytest.approx(np.abs(gap).max())
    area = (np.abs(gap)[:-1] * np.diff(grid)).sum()
    assert wasserstein(BEFORE, AFTER) == pytest.approx(area)

    def mean_gap(a, b):
        return np.abs(a[:, None] - b[None, :]).mean()

    square = 2 * mean_gap(BEFORE, AFTER) - mean_gap(BEFORE, BEFORE) - mean_gap(AFTER, AFTER)
    assert energy_distance(BEFORE, AFTER) == pytest.approx(np.sqrt(square))


@pytest.mark.parametrize("distance", [wasserstein, energy_distance])
def test_a_shift_is_seen_and_gaps_are_not(distance):
    assert distance(BEFORE, BEFORE) == pytest.approx(0.0, abs=1e-7)
    holes = np.append(AFTER, [np.nan, np.nan])
    assert distance(BEFORE, holes) == pytest.approx(distance(BEFORE, AFTER))
    assert distance(BEFORE, BEFORE + 2.0) > distance(BEFORE, BEFORE + 1.0)
    assert wasserstein(BEFORE, BEFORE + 2.0) == pytest.approx(2.0)


def test_ks_counts_what_it_used():
    got = ks_distance(np.append(BEFORE, np.nan), AFTER)
    assert (got.n_reference, got.n_actual) == (300, 200)
    assert got.p_value < 0.05
    assert ks_distance(BEFORE[:150], BEFORE[150:]).p_value > 0.01


def test_shares_on_points_equal_the_area_between_the_steps():
    support = np.array([0.0, 0.5, 2.0, 7.0])
    p, q = np.array([0.1, 0.4, 0.4, 0.1]), np.array([0.3, 0.1, 0.2, 0.4])
    wanted = (np.abs(np.cumsum(p - q))[:-1] * np.diff(support)).sum()
    assert wasserstein_shares(p, q, support=support) == pytest.approx(wanted)
    order = [2, 0, 3, 1]
    again = wasserstein_shares(p[order], q[order], support=support[order])
    assert again == pytest.approx(wanted)


def test_mahalanobis_equals_scipy():
    base = RNG.standard_normal((50, 3)) @ RNG.standard_normal((3, 3))
    rows = RNG.standard_normal((4, 3))
    inverse = np.linalg.inv(np.cov(base.T))
    wanted = [mahalanobis(row, base.mean(axis=0), inverse) for row in rows]
    holes = np.vstack([base, [[np.nan, 0.0, 0.0]]])
    np.testing.assert_allclose(mahalanobis_distances(rows, holes), wanted)
    assert np.isnan(mahalanobis_distances([[np.nan, 0.0, 0.0]], base)[0])


def test_mmd_equals_the_kernel_means():
    x, y = RNG.standard_normal((40, 2)), RNG.standard_normal((30, 2)) + 0.8
    gamma = 1 / (2 * 1.5**2)
    square = (
        rbf_kernel(x, x, gamma).mean()
        + rbf_kernel(y, y, gamma).mean()
        - 2 * rbf_kernel(x, y, gamma).mean()
    )
    assert mmd(x, y, bandwidth=1.5) == pytest.approx(np.sqrt(square))
    assert mmd(x, x) == pytest.approx(0.0, abs=1e-7)
    assert mmd(x, y + 5.0) > mmd(x, y)
    holes = np.vstack([y, [[np.nan, 1.0]]])
    assert mmd(x, holes) == pytest.approx(mmd(x, y))


def test_bad_arguments_name_themselves():
    with pytest.raises(DataError, match="values that vary"):
        psi([1.0] * 9, [1.0, 2.0])
    with pytest.raises(EmptyDataError, match="actual"):
        psi(BEFORE, [np.nan])
    with pytest.raises(ConfigError, match="n_bins"):
        psi(BEFORE, AFTER, n_bins=1)
    with pytest.raises(ConfigError, match="missing"):
        psi(BEFORE, AFTER, missing="zero")
    with pytest.raises(ConfigError, match="epsilon"):
        psi_shares([0.5, 0.5], [0.5, 0.5], epsilon=0.0)
    for bad in ([-0.1, 1.1], [np.nan, 1.0], [0.0, 0.0]):
        with pytest.raises(DataError, match="shares of at least 0"):
            kl_divergence(bad, [0.5, 0.5])
    with pytest.raises(DataError, match="shape"):
        js_divergence([0.5, 0.5], [1.0])
    with pytest.raises(DataError, match="support"):
        wasserstein_shares([0.5, 0.5], [1.0, 0.0], support=[0.0, np.nan])
    with pytest.raises(EmptyDataError, match="reference"):
        wasserstein([], AFTER)
    with pytest.raises(DataError, match="linearly independent"):
        mahalanobis_distances([[1.0, 1.0]], [[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
    with pytest.raises(EmptyDataError, match="more than 2 complete rows"):
        mahalanobis_distances([[1.0, 1.0]], [[1.0, 2.0], [2.0, 4.0]])
    with pytest.raises(DataError, match="columns"):
        mmd([[1.0]], [[1.0, 2.0]])
    with pytest.raises(DataError, match="rows that differ"):
        mmd([[1.0], [1.0]], [[2.0]])
    with pytest.raises(ConfigError, match="bandwidth"):
        mmd([[1.0], [2.0]], [[2.0]], bandwidth=0.0)
    with pytest.raises(EmptyDataError, match="complete rows"):
        mmd([[np.nan]], [[2.0]])
