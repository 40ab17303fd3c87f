"""SPA, Reality Check, StepM and Romano-Wolf against plain loops, `arch`, limits and order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.bootstrap import stationary_indices
from quant_engine.stats.snooping import (
    SnoopingConfig,
    loss_differences,
    reality_check,
    romano_wolf,
    spa_test,
    stationary_variance,
    step_m,
)

CONFIGS = [SnoopingConfig(avg_block=5, studentised=value) for value in (True, False)]
each_statistic = pytest.mark.parametrize("config", CONFIGS, ids=["studentised", "plain"])


def family(seed=0, n_rows=60, n_columns=5):
    """Differences of strategies of unequal noise, some good, some hopeless."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n_rows, n_columns)) * rng.uniform(0.3, 2.0, n_columns)
    return noise + rng.normal(0.0, 0.4, n_columns)


def loop_variance(x, block):
    n, q = len(x), 1 - 1 / block
    d = x - x.mean()
    total = d @ d / n
    for i in range(1, n):
        kappa = (1 - i / n) * q**i + i / n * q ** (n - i)
        total += 2 * kappa * (d[:-i] @ d[i:]) / n
    return total


def plain(d, indices, block, studentised):
    """Hansen's test draw by draw; returns statistic, p-values and the draws per recentring."""
    n, k = d.shape
    mean = [d[:, j].mean() for j in range(k)]
    omega = [loop_variance(d[:, j], block) ** 0.5 for j in range(k)]
    unit = [w / n**0.5 if studentised else 1.0 for w in omega]
    edge = [-w * (2 * np.log(np.log(n)) / n) ** 0.5 for w in omega]
    centres = {
        "lower": [max(m, 0.0) for m in mean],
        "consistent": [m if m >= e else 0.0 for m, e in zip(mean, edge, strict=True)],
        "upper": mean,
    }
    least = 0.0 if studentised else -np.inf
    observed = max(least, *(m / u for m, u in zip(mean, unit, strict=True)))
    draws = {name: [] for name in centres}
    for row in indices:
        star = d[row].mean(axis=0)
        for name, centre in centres.items():
            draws[name].append(max(least, *((star[j] - centre[j]) / unit[j] for j in range(k))))
    return observed, {n: np.mean(np.array(v) > observed) for n, v in draws.items()}, draws


@each_statistic
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_spa_equals_the_plain_loop(config, seed):
    d = family(seed)
    indices = stationary_indices(60, avg_block=5, n_draws=150, seed=seed)
    statistic, p, draws = plain(d, indices, 5, config.studentised)
    got = spa_test(d, config=config, indices=indices)
    assert got.statistic == pytest.approx(statistic, rel=1e-10)
    assert (got.p_lower, got.p_consistent, got.p_upper) == tuple(p.values())
    np.testing.assert_allclose(got.draws, np.column_stack(list(draws.values())), atol=1e-10)
    for name, value in got.critical_values(0.1).items():
        assert value == pytest.approx(np.percentile(draws[name], 90))


def test_a_seed_is_a_stationary_bootstrap():
    d = family()
    config = SnoopingConfig(avg_block=5, n_draws=80)
    indices = stationary_indices(60, avg_block=5, n_draws=80, seed=3)
    one, other = spa_test(d, config=config, seed=3), spa_test(d, config=config, indices=indices)
    np.testing.assert_array_equal(one.draws, other.draws)


@pytest.mark.parametrize("block", [1.0, 3.5, 20.0])
def test_variance_equals_the_loop_and_the_bootstrap(block):
    d = family(n_rows=50)
    got = stationary_variance(d, avg_block=block)
    np.testing.assert_allclose(got, [loop_variance(x, block) for x in d.T], rtol=1e-10)
    indices = stationary_indices(50, avg_block=block, n_draws=20_000, seed=0)
    means = np.stack([d[:, j][indices].mean(axis=1) for j in range(2)], axis=1)
    np.testing.assert_allclose(got[:2], 50 * means.var(axis=0), rtol=0.06)


def test_plain_convention_equals_arch():
    spa_of_arch = pytest.importorskip("arch.bootstrap").SPA
    losses = np.random.default_rng(5).standard_normal((80, 7))
    benchmark = losses.mean(axis=1) + 0.3
    indices = stationary_indices(80, avg_block=4, n_draws=200, seed=1)
    theirs = spa_of_arch(benchmark, losses, block_size=4, reps=200)
    d = loss_differences(benchmark, losses)

    class Injected:
        def bootstrap(self, reps):
            return (((d[row],), {}) for row in indices)

    theirs.bootstrap = Injected()
    theirs.compute()
    config = SnoopingConfig(avg_block=4, studentised=False)
    ours = spa_test(d, config=config, indices=indices)
    np.testing.assert_allclose([ours.p_lower, ours.p_consistent, ours.p_upper], theirs.pvalues)
    np.testing.assert_allclose(
        list(ours.critical_values(0.1).values()), theirs.critical_values(0.1), rtol=1e-10
    )
    superior = step_m(d, config=config, alpha=0.1, indices=indices).superior
    assert set(theirs.better_models(0.1)) <= set(superior)


@given(
    seed=st.integers(0, 10_000),
    n_columns=st.integers(1, 8),
    shift=st.floats(-1, 1),
    studentised=st.booleans(),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_p_values_are_ordered_and_columns_interchangeable(seed, n_columns, shift, studentised):
    rng = np.random.default_rng(seed)
    d = rng.standard_normal((40, n_columns)) * rng.uniform(0.1, 3, n_columns) + shift
    config = SnoopingConfig(avg_block=3, n_draws=99, studentised=studentised)
    order = rng.permutation(n_columns)
    got, moved = (spa_test(x, config=config, seed=1) for x in (d, d[:, order]))
    assert got.p_lower <= got.p_consistent <= got.p_upper
    assert moved.p_consistent == got.p_consistent
    step, step_moved = (romano_wolf(x, config=config, seed=1) for x in (d, d[:, order]))
    np.testing.assert_array_equal(step_moved.p_values, step.p_values[order])
    assert (step.p_values <= step.p_single_step).all()
    named, named_moved = (step_m(x, config=config, alpha=0.1, seed=1) for x in (d, d[:, order]))
    assert set(order[named_moved.superior]) == set(named.superior)


def test_unit_of_a_strategy_matters_only_without_studentising():
    d, unit = family(7), np.array([1.0, 1e3, 1e-3, 10.0, 0.1])
    studentised, plain_form = CONFIGS
    one, other = (spa_test(x, config=studentised, seed=0) for x in (d, d * unit))
    assert other.p_consistent == one.p_consistent
    assert other.statistic == pytest.approx(one.statistic)
    one, other = (spa_test(x, config=plain_form, seed=0) for x in (d, d * unit))
    assert other.statistic != pytest.approx(one.statistic)


def test_studentising_finds_the_quiet_good_one_among_noisy_ones():
    rng = np.random.default_rng(8)
    d = rng.standard_normal((300, 20)) * 5.0
    d[:, 4] = rng.standard_normal(300) * 0.2 + 0.06
    studentised, plain_form = (spa_test(d, config=config, seed=0) for config in CONFIGS)
    assert studentised.p_consistent < 0.01
    assert plain_form.p_consistent > 0.2
    assert step_m(d, config=CONFIGS[0], alpha=0.05, seed=0).superior.tolist() == [4]


def test_a_hopeless_family_is_not_significant():
    """All strategies lose clearly: draws that are not recentred cannot be above zero either."""
    d = np.random.default_rng(9).standard_normal((200, 4)) * 0.1 - 1.0
    got = spa_test(d, config=CONFIGS[0], seed=0)
    assert got.statistic == 0.0
    assert got.p_lower == got.p_consistent == got.p_upper == 1.0
    assert not got.is_relevant.any()
    assert len(step_m(d, config=CONFIGS[0], alpha=0.1, seed=0).superior) == 0


def test_bad_company_costs_the_reality_check_and_not_the_spa():
    rng = np.random.default_rng(10)
    good = rng.standard_normal((250, 1))
    good += 0.12 - good.mean()
    bad = rng.standard_normal((250, 60)) - 1.0
    alone = spa_test(good, config=CONFIGS[0], seed=0)
    joined = np.hstack([good, bad])
    assert spa_test(joined, config=CONFIGS[0], seed=0).p_consistent == alone.p_consistent
    assert reality_check(joined, config=CONFIGS[0], seed=0).p_value > alone.p_upper + 0.05


@each_statistic
def test_reality_check_is_the_upper_p_value(config):
    d = family(3)
    got, spa = (test(d, config=config, seed=2) for test in (reality_check, spa_test))
    assert (got.statistic, got.p_value) == (spa.statistic, spa.p_upper)
    scale = np.sqrt(stationary_variance(d, avg_block=5)) if config.studentised else 1.0
    assert got.best == (d.mean(axis=0) / scale).argmax()


@each_statistic
def test_romano_wolf_equals_the_plain_step_down(config):
    d = family(4)
    indices = stationary_indices(60, avg_block=5, n_draws=120, seed=4)
    unit = np.sqrt(stationary_variance(d, avg_block=5) / 60) if config.studentised else 1.0
    observed = d.mean(axis=0) / unit
    draws = np.array([(d[row].mean(axis=0) - d.mean(axis=0)) / unit for row in indices])
    left, want, floor = list(np.argsort(-observed)), np.empty(5), 0.0
    while left:
        reached = (draws[:, left].max(axis=1) >= observed[left[0]]).sum()
        floor = max(floor, (1 + reached) / 121)
        want[left.pop(0)] = floor
    got = romano_wolf(d, config=config, indices=indices)
    np.testing.assert_allclose(got.p_values, want)
    np.testing.assert_allclose(got.statistics, observed)


@each_statistic
def test_step_m_goes_on_where_a_single_step_stops(config):
    """Romano and Wolf: what is found is taken out, and the others face a smaller maximum."""
    rng = np.random.default_rng(11)
    d = rng.standard_normal((200, 30)) + 0.02
    d[:, :10] += np.linspace(0.15, 0.5, 10)
    steps = step_m(d, config=config, alpha=0.1, recentring="upper", seed=0)
    spa = spa_test(d, config=config, seed=0)
    scale = np.sqrt(spa.variance / 200) if config.studentised else 1.0
    at_once = np.flatnonzero(spa.mean_difference / scale > spa.critical_values(0.1)["upper"])
    assert set(at_once) <= set(steps.superior)
    assert steps.n_steps > 1
    p = romano_wolf(d, config=config, seed=0).p_values
    assert len(set(np.flatnonzero(p <= 0.1)) ^ set(steps.superior)) <= 1, "two forms of one test"


def test_all_strategies_may_be_superior():
    d = np.random.default_rng(12).standard_normal((100, 3)) + 3.0
    got = step_m(d, config=CONFIGS[0], alpha=0.05, seed=0)
    assert got.superior.tolist() == [0, 1, 2]


def test_losses_become_differences():
    d = loss_differences([3.0, 1.0], [[1.0, 4.0], [1.0, 0.0]])
    assert d.tolist() == [[2.0, -1.0], [0.0, 1.0]]
    with pytest.raises(DataError, match="benchmark_losses"):
        loss_differences([1.0], [[1.0], [2.0]])


def test_false_alarms_stay_near_the_level():
    """Monte Carlo null with autocorrelation: nominal 10 %, a little more in samples of 150."""
    rng = np.random.default_rng(13)
    config = SnoopingConfig(avg_block=8, n_draws=199)
    alarms = 0
    for number in range(200):
        noise = rng.standard_normal((151, 8))
        d = noise[1:] + 0.3 * noise[:-1]
        alarms += spa_test(d, config=config, seed=number).p_consistent < 0.1
    assert 0.04 < alarms / 200 < 0.22


def test_bad_arguments_name_themselves():
    d, config = family(), CONFIGS[0]
    indices = np.zeros((5, 60), dtype=np.int64)
    for both_or_none in ({}, {"seed": 0, "indices": indices}):
        with pytest.raises(ConfigError, match="exactly one"):
            spa_test(d, config=config, **both_or_none)
    for wrong in (indices[:, :-1], indices + 60, indices - 1, indices * 1.0, indices[0]):
        with pytest.raises(DataError, match="indices"):
            step_m(d, config=config, alpha=0.3, indices=wrong)
    with pytest.raises(InsufficientHistoryError, match="at least 10 rows"):
        spa_test(d[:9], config=SnoopingConfig(avg_block=1), seed=0)
    with pytest.raises(InsufficientHistoryError, match="at least 80 rows"):
        spa_test(d, config=SnoopingConfig(avg_block=40), seed=0)
    with pytest.raises(DataError, match=r"constant columns \[1\]"):
        romano_wolf(np.column_stack([d[:, 0], np.full(60, 0.1)]), config=config, seed=0)
    with pytest.raises(DataError, match="0 columns"):
        spa_test(np.empty((60, 0)), config=config, seed=0)
    d[3, 2] = np.nan
    with pytest.raises(DataError, match="1 of them with NaN"):
        reality_check(d, config=config, seed=0)
    with pytest.raises(ConfigError, match="avg_block"):
        stationary_variance(family(), avg_block=0.5)
    with pytest.raises(ConfigError, match="draws"):
        step_m(family(), config=config, alpha=0.0001, seed=0)
    with pytest.raises(ConfigError, match="recentring"):
        step_m(family(), config=config, alpha=0.05, recentring="middle", seed=0)
    with pytest.raises(ConfigError, match="alpha"):
        spa_test(family(), config=config, seed=0).critical_values(1.5)
    with pytest.raises(ValidationError, match="avg_block"):
        SnoopingConfig(avg_block=0.5)
