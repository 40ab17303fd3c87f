"""Step-down p-values against Westfall and Young's loop, limits and rounding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import ConfigError
from quant_engine.stats.step_down import StepDown, check_resolution


def counted(observed, draws, parts=1):
    counter = StepDown(observed)
    for part in np.array_split(draws, parts):
        counter.add(np.ascontiguousarray(part[:, counter.order]))
    return counter.result()


def plain(observed, draws):
    """From the largest statistic down: compare with the maximum of all that are left."""
    left, p, floor = list(np.argsort(-observed)), np.empty(len(observed)), 0.0
    while left:
        reached = sum(max(draw[left]) >= observed[left[0]] for draw in draws)
        floor = max(floor, (1 + reached) / (1 + len(draws)))
        p[left.pop(0)] = floor
    return p


@given(seed=st.integers(0, 10_000), n=st.integers(1, 7), parts=st.integers(1, 5))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_equals_the_plain_loop_in_any_parts(seed, n, parts):
    rng = np.random.default_rng(seed)
    observed, draws = rng.standard_normal(n) * 2, rng.standard_normal((60, n))
    got = counted(observed, draws, parts)
    np.testing.assert_array_equal(got.p_values, plain(observed, draws))
    single = [(1 + (draws.max(axis=1) >= x).sum()) / 61 for x in observed]
    np.testing.assert_array_equal(got.p_single_step, single)
    assert (got.p_values <= got.p_single_step).all(), "never less powerful than one step"
    assert got.p_values.min() == got.p_single_step.min(), "the best one sees the same maximum"


def test_ties_share_their_p_value_in_any_order():
    rng = np.random.default_rng(0)
    observed = np.array([1.0, 2.0, 1.0, 0.0, 1.0])
    draws = rng.standard_normal((200, 5))
    p = counted(observed, draws).p_values
    assert len(set(p[[0, 2, 4]])) == 1
    order = [4, 3, 0, 1, 2]
    np.testing.assert_array_equal(counted(observed[order], draws[:, order]).p_values, p[order])


def test_a_draw_that_equals_the_observation_up_to_rounding_reaches_it():
    observed = np.array([0.1 + 0.2, 1e9])
    draws = np.array([[0.3, 1e9 * (1 - 1e-15)]])
    np.testing.assert_array_equal(counted(observed, draws).p_values, [1.0, 1.0])


def test_critical_value_is_the_edge_of_significance():
    draws = np.random.default_rng(1).standard_normal((199, 3))
    result = counted(np.zeros(3), draws)
    edge = result.critical_value(0.05)
    for value, significant in ((edge + 1e-6, True), (edge - 1e-6, False)):
        p = counted(np.array([value, -9.0, -9.0]), draws).p_single_step[0]
        assert (p <= 0.05) == significant
    assert result.critical_value(0.005) == result.maxima.max()


def test_levels_that_draws_cannot_resolve_are_refused():
    assert check_resolution(0.05, n_draws=19) == 0.05
    with pytest.raises(ConfigError, match="at least 19 draws"):
        check_resolution(0.05, n_draws=18)
    with pytest.raises(ConfigError, match="alpha"):
        check_resolution(1.0, n_draws=100)
    with pytest.raises(ConfigError, match="draws"):
        counted(np.zeros(1), np.zeros((10, 1))).critical_value(0.01)
