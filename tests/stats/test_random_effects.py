"""Group and nested shrinkage against plain loops and simulation."""

import numpy as np
import pytest

from quant_engine.core.errors import DataError, InsufficientHistoryError
from quant_engine.stats.random_effects import nested_effects, one_way_effects

pytestmark = pytest.mark.feature("B-11")


def grouped(seed, sizes, between=1.0):
    rng = np.random.default_rng(seed)
    group = np.repeat([f"g{k}" for k in range(len(sizes))], sizes)
    shift = np.repeat(between * rng.standard_normal(len(sizes)), sizes)
    return shift + rng.standard_normal(len(group)), group


def loop_one_way(y, group):
    labels = list(dict.fromkeys(group))
    cells = [[v for v, g in zip(y, group, strict=True) if g == label] for label in labels]
    n, total = [len(c) for c in cells], len(y)
    means, grand = [sum(c) / len(c) for c in cells], sum(y) / len(y)
    within = sum((v - m) ** 2 for c, m in zip(cells, means, strict=True) for v in c)
    within /= total - len(cells)
    between = sum(k * (m - grand) ** 2 for k, m in zip(n, means, strict=True)) / (len(cells) - 1)
    n0 = (total - sum(k * k for k in n) / total) / (len(cells) - 1)
    true = max(0.0, (between - within) / n0)
    weights = [true / (true + within / k) for k in n]
    shrunk = [grand + w * (m - grand) for w, m in zip(weights, means, strict=True)]
    return within, true, n0, weights, shrunk


@pytest.mark.parametrize("sizes", [[5] * 6, [2, 9, 30, 4], [1, 1, 3]])
@pytest.mark.parametrize("between", [0.0, 1.0])
def test_one_way_equals_the_plain_loop(sizes, between):
    y, group = grouped(3, sizes, between)
    within, true, n0, weights, shrunk = loop_one_way(y, group)
    got = one_way_effects(y, group)
    assert got.var_within == pytest.approx(within)
    assert got.var_between == pytest.approx(true)
    assert got.n0 == pytest.approx(n0)
    np.testing.assert_allclose(got.weight_own, weights)
    np.testing.assert_allclose(got.shrunk, shrunk)
    assert got.n_obs.tolist() == sizes


def test_without_effects_the_weights_are_small():
    """A between-variance that kept the sampling noise would give weights near one half."""
    weights, naive = [], []
    for seed in range(200):
        y, group = grouped(seed, [20] * 12, between=0.0)
        got = one_way_effects(y, group)
        weights.append(got.weight_own[0])
        raw = got.group_mean.var(ddof=1)
        naive.append(raw / (raw + got.var_within / 20))
    assert np.median(weights) < 0.06
    assert np.median(naive) > 0.4


def test_variances_are_unbiased():
    fits = [one_way_effects(*grouped(seed, [3, 8, 15, 6, 10], 0.8)) for seed in range(600)]
    assert np.mean([fit.var_within for fit in fits]) == pytest.approx(1.0, abs=0.03)
    # Clipping at 0 adds little when the true value is far from it.
    assert np.mean([fit.var_between for fit in fits]) == pytest.approx(0.64, abs=0.07)


def test_more_observations_weigh_more_and_gaps_count_for_nothing():
    y, group = grouped(5, [3, 10, 40], 2.0)
    got = one_way_effects(y, group)
    assert (np.diff(got.weight_own) > 0.0).all()
    y_gaps = np.insert(y, [0, 20], np.nan)
    again = one_way_effects(y_gaps, np.insert(group.astype(object), [0, 20], ["g9", "g2"]))
    assert again.groups == ("g0", "g1", "g2")
    np.testing.assert_allclose(again.shrunk, got.shrunk)


def nested(seed, n_obs, family_sd=1.0, event_sd=0.7):
    """``n_obs[f][e]`` observations of event e in family f."""
    rng = np.random.default_rng(seed)
    y, family, event = [], [], []
    for f, sizes in enumerate(n_obs):
        level = family_sd * rng.standard_normal()
        for e, size in enumerate(sizes):
            y.append(level + event_sd * rng.standard_normal() + rng.standard_normal(size))
            family += [f"F{f}"] * size
            event += [f"E{e}"] * size
    return np.concatenate(y), np.array(family), np.array(event)


def test_balanced_nested_is_the_textbook():
    a, b, n = 5, 4, 6
    y, family, event = nested(2, [[n] * b] * a)
    cube = y.reshape(a, b, n)
    grand, by_family, by_event = cube.mean(), cube.mean((1, 2)), cube.mean(2)
    msa = b * n * ((by_family - grand) ** 2).sum() / (a - 1)
    msb = n * ((by_event - by_family[:, None]) ** 2).sum() / (a * (b - 1))
    msw = ((cube - by_event[..., None]) ** 2).sum() / (a * b * (n - 1))
    got = nested_effects(y, family, event)
    assert got.var_within == pytest.approx(msw)
    assert got.var_event == pytest.approx((msb - msw) / n)
    assert got.var_family == pytest.approx((msa - msb) / (b * n))
    total = got.var_family + got.var_event / b + msw / (b * n)
    np.testing.assert_allclose(got.weight_family, got.var_family / total)
    np.testing.assert_allclose(got.weight_event, got.var_event / (got.var_event + msw / n))
    center = grand + got.weight_family * (by_family - grand)
    wanted = center[:, None] + got.weight_event[0] * (by_event - center[:, None])
    np.testing.assert_allclose(got.event_shrunk, wanted.ravel())
    assert got.events[5] == ("F1", "E1")


def test_unbalanced_nested_is_unbiased():
    """The coefficients of the expected mean squares, checked by simulation."""
    plan = [[2, 7], [5, 3, 9], [4, 4, 1, 6], [8, 2], [3, 3, 3]]
    fits = [nested_effects(*nested(seed, plan, 2.0, 1.5)) for seed in range(800)]
    for name, wanted, slack in (
        ("var_within", 1.0, 0.03),
        ("var_event", 2.25, 0.2),
        ("var_family", 4.0, 0.5),
    ):
        assert np.mean([getattr(fit, name) for fit in fits]) == pytest.approx(wanted, abs=slack)


def test_a_family_noise_is_the_variance_of_its_mean():
    """Var(family mean | family) by simulation of one unbalanced family."""
    rng = np.random.default_rng(1)
    sizes = np.array([2, 7, 11])
    means = [
        (sizes * (1.5 * rng.standard_normal(3) + rng.standard_normal(3) / np.sqrt(sizes))).sum()
        / sizes.sum()
        for _ in range(20_000)
    ]
    wanted = 2.25 * (sizes**2).sum() / sizes.sum() ** 2 + 1.0 / sizes.sum()
    assert np.var(means) == pytest.approx(wanted, rel=0.04)
    y, family, event = nested(4, [sizes, sizes, sizes], 2.0, 1.5)
    got = nested_effects(y, family, event)
    noise = got.var_event * (sizes**2).sum() / 400 + got.var_within / 20
    np.testing.assert_allclose(got.weight_family, got.var_family / (got.var_family + noise))


def test_order_of_rows_does_not_matter_and_first_appearance_orders_the_answer():
    y, family, event = nested(6, [[3, 4], [5, 2, 6], [2, 2]])
    order = np.random.default_rng(0).permutation(len(y))
    got, again = (
        nested_effects(y, family, event),
        nested_effects(y[order], family[order], event[order]),
    )
    mine = dict(zip(got.events, got.event_shrunk, strict=True))
    theirs = dict(zip(again.events, again.event_shrunk, strict=True))
    assert mine.keys() == theirs.keys()
    assert all(mine[key] == pytest.approx(theirs[key]) for key in mine)
    assert again.families == tuple(dict.fromkeys(family[order]))


def test_bad_arguments_name_themselves():
    with pytest.raises(InsufficientHistoryError, match="group: wanted at least 2"):
        one_way_effects([1.0, 2.0], ["a", "a"])
    with pytest.raises(InsufficientHistoryError, match="2 with 2 members"):
        one_way_effects([1.0, 2.0], ["a", "b"])
    with pytest.raises(DataError, match="observations that vary"):
        one_way_effects([1.0] * 4, list("aabb"))
    with pytest.raises(DataError, match="one label for each"):
        one_way_effects([1.0, 2.0], ["a"])
    with pytest.raises(InsufficientHistoryError, match="family"):
        nested_effects([1.0, 2.0, 3.0, 5.0], list("ffff"), list("aabb"))
    with pytest.raises(InsufficientHistoryError, match="event"):
        nested_effects([1.0, 2.0, 3.0, 5.0], list("ffgg"), list("abab"))
