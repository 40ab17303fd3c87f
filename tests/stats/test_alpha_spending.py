"""Alpha spending: sums, published values, and what it refuses."""

from math import pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import norm

from quant_engine.core.errors import ConfigError, DataError, GateNotPassedError
from quant_engine.stats.alpha_spending import AlphaSpending, Schedule, check_spent

SCHEDULES = [schedule.value for schedule in Schedule]


@given(
    st.sampled_from(SCHEDULES),
    st.floats(0.001, 0.2),
    st.integers(1, 120),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_levels_add_up_to_what_is_spent_and_never_beyond(schedule, alpha, n_looks):
    plan = AlphaSpending(schedule=schedule, alpha=alpha, n_looks=n_looks)
    levels = plan.levels(n_looks)
    assert (levels >= 0.0).all()
    spent = [plan.spent(k) for k in range(n_looks + 1)]
    np.testing.assert_allclose(np.diff(spent), levels, atol=1e-15)
    np.testing.assert_allclose(np.cumsum(levels), spent[1:], rtol=1e-9, atol=1e-15)
    assert check_spent(levels, alpha=alpha) >= 0.0
    if schedule != "inverse_square":
        assert plan.spent(n_looks) == alpha
    assert [plan.level(k) for k in range(1, n_looks + 1)] == levels.tolist(), "pure in k"


def test_inverse_squares_add_up_to_alpha():
    plan = AlphaSpending(schedule="inverse_square", alpha=0.05)
    assert plan.level(1) / plan.level(10) == pytest.approx(100.0)
    tail = 0.05 * 6 / pi**2 / 2000.5
    assert plan.spent(2000) == pytest.approx(0.05 - tail, abs=1e-9)
    assert plan.level(3) == AlphaSpending(alpha=0.05, n_looks=5).level(3), "a last look is an end"


def test_lan_demets_equals_published_values():
    """Spent at half the information, alpha 0.025: gsDesign's sfLDOF and sfLDPocock."""
    brien = AlphaSpending(schedule="obrien_fleming", alpha=0.025, n_looks=2)
    pocock = AlphaSpending(schedule="pocock", alpha=0.025, n_looks=2)
    assert brien.spent(1) == pytest.approx(0.00152532, abs=5e-9)
    assert pocock.spent(1) == pytest.approx(0.01550286, abs=5e-9)
    four = AlphaSpending(schedule="obrien_fleming", alpha=0.05, n_looks=4)
    formula = [2 - 2 * norm.cdf(norm.isf(0.025) / np.sqrt(k / 4)) for k in (1, 2, 3, 4)]
    np.testing.assert_allclose([four.spent(k) for k in (1, 2, 3, 4)], formula, rtol=1e-9)


def test_shapes_of_the_schedules():
    brien = AlphaSpending(schedule="obrien_fleming", n_looks=10).levels(10)
    pocock = AlphaSpending(schedule="pocock", n_looks=10).levels(10)
    assert (np.diff(brien[:6]) > 0).all()
    assert brien[0] < 1e-9
    assert (np.diff(pocock) < 0).all()
    assert pocock[0] / pocock[-1] < 3


def test_one_planned_look_may_use_everything():
    for schedule in ("pocock", "obrien_fleming"):
        assert AlphaSpending(schedule=schedule, alpha=0.02, n_looks=1).level(1) == 0.02


def test_overspending_is_refused():
    plan = AlphaSpending(schedule="pocock", alpha=0.05, n_looks=4)
    with pytest.raises(ConfigError, match="last planned look"):
        plan.level(5)
    with pytest.raises(ConfigError, match="look"):
        plan.spent(5)
    for look in (0, -1):
        with pytest.raises(ConfigError, match="look"):
            plan.level(look)
    with pytest.raises(ConfigError, match="look"):
        plan.spent(-1)
    with pytest.raises(ConfigError, match="look"):
        plan.levels(0)
    with pytest.raises(GateNotPassedError, match=r"0\.06 over 2 looks"):
        check_spent([0.03, 0.03], alpha=0.05)
    assert check_spent([], alpha=0.05) == 0.05
    assert check_spent([0.1] * 3, alpha=0.3) == 0.0, "rounding is no overspending"
    with pytest.raises(DataError, match="probabilities"):
        check_spent([0.01, np.nan], alpha=0.05)
    with pytest.raises(ConfigError, match="alpha"):
        check_spent([0.01], alpha=5.0)


def test_plans_are_checked():
    with pytest.raises(ValidationError, match="needs n_looks"):
        AlphaSpending(schedule="pocock")
    with pytest.raises(ValidationError, match="alpha"):
        AlphaSpending(alpha=1.0)
    with pytest.raises(ValidationError, match="schedule"):
        AlphaSpending(schedule="linear")
    with pytest.raises(ValidationError, match="n_looks"):
        AlphaSpending(n_looks=0)


def test_many_looks_at_one_growing_sample_stay_within_alpha():
    """Monte Carlo null, 20 looks at a random walk, nominal 10 %."""
    rng = np.random.default_rng(0)
    walk = rng.standard_normal((4000, 20)).cumsum(axis=1) / np.sqrt(np.arange(1, 21))
    p = norm.sf(walk)
    naive = (p <= 0.1).any(axis=1).mean()
    assert naive > 0.3
    for schedule in SCHEDULES:
        plan = AlphaSpending(schedule=schedule, alpha=0.1, n_looks=20)
        assert (p <= plan.levels(20)).any(axis=1).mean() <= 0.1 + 3 * np.sqrt(0.09 / 4000)
