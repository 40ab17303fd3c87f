"""Families of tests against plain loops, and what grouping does to the error."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from quant_engine.core.errors import ConfigError, DataError, EmptyDataError
from quant_engine.stats.families import bh_within_groups, reject_families, simes_by_family
from quant_engine.stats.multiplicity import adjusted_p

pytestmark = pytest.mark.feature("B-12")


def draw(seed, n_families=8):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_families, 90)
    p = np.round(rng.random(90) ** (1.0 + 3.0 * (labels < 3)), 3)
    p[rng.random(90) < 0.1] = np.nan
    return p, np.array([f"f{k}" for k in labels])


def loop_families(p, family, alpha):
    """Three steps, one family at a time."""
    labels = list(dict.fromkeys(family))
    tested = [f for f in labels if (~np.isnan(p[family == f])).any()]
    simes = {}
    for f in tested:
        members = np.sort(p[(family == f) & ~np.isnan(p)])
        simes[f] = min(len(members) * v / i for i, v in enumerate(members, 1))
    q = dict(zip(tested, false_discovery_control(list(simes.values())), strict=True))
    selected = [f for f in tested if q[f] <= alpha]
    rejected = np.zeros(len(p), bool)
    for f in selected:
        where = np.flatnonzero((family == f) & ~np.isnan(p))
        inside = false_discovery_control(p[where])
        rejected[where] = inside <= len(selected) * alpha / len(tested) + 1e-15
    return simes, selected, rejected


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_selection_and_rejection_equal_the_plain_loop(seed, alpha):
    p, family = draw(seed)
    simes, selected, rejected = loop_families(p, family, alpha)
    got = reject_families(p, family, alpha=alpha)
    np.testing.assert_allclose(got.simes, [simes[f] for f in got.families])
    assert [f for f, yes in zip(got.families, got.selected, strict=True) if yes] == selected
    np.testing.assert_array_equal(got.rejected, rejected)
    assert got.within_level == pytest.approx(alpha * len(selected) / got.n_families)
    assert got.sizes.sum() == got.m == (~np.isnan(p)).sum()
    np.testing.assert_array_equal(np.isnan(got.adjusted), np.isnan(p))


def test_a_selected_family_has_a_rejection_and_another_has_none():
    for seed in range(20):
        p, family = draw(seed)
        got = reject_families(p, family, alpha=0.1)
        for label, selected in zip(got.families, got.selected, strict=True):
            assert got.rejected[family == label].any() == selected


def test_one_family_is_plain_bh_and_singletons_are_plain_bh():
    p, _ = draw(3)
    one = reject_families(p, np.zeros(90), alpha=0.1)
    if one.n_selected:
        np.testing.assert_allclose(one.adjusted, adjusted_p(p, method="bh"))
    single = reject_families(p, np.arange(90), alpha=0.1)
    flat = adjusted_p(p, method="bh")
    np.testing.assert_array_equal(single.rejected, np.nan_to_num(flat, nan=1.0) <= 0.1)


def test_a_family_without_a_test_is_not_counted():
    got = reject_families([0.01, np.nan, 0.02], ["a", "b", "c"], alpha=0.05)
    assert got.n_families == 2
    assert np.isnan(got.simes[1])
    assert got.sizes.tolist() == [1, 0, 1]
    assert not got.selected[1]


@pytest.mark.parametrize("seed", range(4))
def test_groups_apart_are_bh_one_group_at_a_time(seed):
    p, group = draw(seed)
    got = bh_within_groups(p, group, alpha=0.05)
    for label in np.unique(group):
        np.testing.assert_array_equal(
            got.adjusted[group == label], adjusted_p(p[group == label], method="bh")
        )
    assert got.n_rejected == (got.adjusted <= 0.05).sum()
    np.testing.assert_array_equal(got.overall.adjusted, adjusted_p(p, method="bh"))
    assert "not over the union" in got.guarantee


def test_groups_apart_fail_where_families_hold():
    """Worlds without any effect: 67 groups of 18 hypotheses, as an event study lays them out."""
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(67), 18)
    found = {"apart": 0, "families": 0, "overall": 0}
    for _ in range(200):
        p = rng.random(len(group))
        apart = bh_within_groups(p, group, alpha=0.05)
        found["apart"] += apart.n_rejected > 0
        found["overall"] += apart.overall.n_rejected > 0
        found["families"] += reject_families(p, group, alpha=0.05).n_rejected > 0
    # Independent groups: 1 - 0.95^67 = 97 %.
    assert found["apart"] >= 185
    assert found["overall"] <= 20
    assert found["families"] <= 20


def test_the_mean_over_selected_families_is_held():
    """10 of 50 families hold effects; a second stage at q instead of R q / F would not do."""
    rng = np.random.default_rng(6)
    family = np.repeat(np.arange(50), 20)
    truth = (family < 10) & (np.arange(1000) % 20 < 2)
    fair, naive = [], []
    for _ in range(200):
        p = rng.random(1000)
        p[truth] **= 12.0
        got = reject_families(p, family, alpha=0.1)
        inside = bh_within_groups(p, family, alpha=0.1).rejected
        shares = np.zeros((2, 50))
        for row, rejected in enumerate((got.rejected, inside)):
            false = np.bincount(family, weights=rejected & ~truth)
            total = np.bincount(family, weights=rejected)
            shares[row] = false / np.maximum(total, 1)
        if got.n_selected:
            fair.append(shares[0][got.selected].mean())
            naive.append(shares[1][got.selected].mean())
    error = np.std(fair) / np.sqrt(len(fair))
    assert np.mean(fair) <= 0.1 + 3.0 * error
    assert np.mean(naive) > 0.1 + 5.0 * error


def test_a_million_hypotheses():
    rng = np.random.default_rng(7)
    p, family = rng.random(1_000_000), rng.integers(0, 3000, 1_000_000)
    got = reject_families(p, family, alpha=0.05)
    assert got.m == 1_000_000
    assert got.n_families == 3000


def test_simes_alone():
    simes, families = simes_by_family([0.04, 0.02, np.nan, 0.5], ["b", "b", "a", "c"])
    np.testing.assert_allclose(simes, [0.04, np.nan, 0.5])
    assert families == ("b", "a", "c")


def test_bad_arguments_name_themselves():
    with pytest.raises(DataError, match="one label for each of 2"):
        reject_families([0.1, 0.2], ["a"], alpha=0.05)
    with pytest.raises(DataError, match="1 missing"):
        bh_within_groups([0.1, 0.2], np.array(["a", None], dtype=object), alpha=0.05)
    with pytest.raises(EmptyDataError):
        reject_families([np.nan], ["a"], alpha=0.05)
    with pytest.raises(ConfigError, match="alpha"):
        bh_within_groups([0.1], ["a"], alpha=0.0)
