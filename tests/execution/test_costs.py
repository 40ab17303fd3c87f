"""Cost formulas by hand, the shipped profiles, and the digest."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from quant_engine.core.specs import SpecCatalog
from quant_engine.execution import (
    CostProfile,
    borrow_cost,
    fee_cost,
    impact_cost,
    participation_frac,
    spread_cost,
)

pytestmark = pytest.mark.feature("Q-35")


@pytest.mark.parametrize("seed", range(5))
def test_cost_formulas_recomputed_by_hand(seed):
    rng = np.random.default_rng(seed)
    value = rng.normal(0, 1e5, 7)
    adv = rng.uniform(1e5, 1e8, 7)
    half_spread = rng.uniform(0, 1e-3, 7)
    fee_bps, coef_bps, borrow_bps = rng.uniform(0, 50, 3)
    fees = fee_cost(value, fee_bps)
    spreads = spread_cost(value, half_spread)
    impacts = impact_cost(value, adv, coef_bps)
    shares = participation_frac(value, adv)
    borrows = borrow_cost(np.abs(value), borrow_bps, 252)
    for i in range(7):
        traded = math.fabs(value[i])
        assert fees[i] == pytest.approx(traded * fee_bps / 10_000, rel=1e-14)
        assert spreads[i] == pytest.approx(traded * half_spread[i], rel=1e-14)
        assert shares[i] == pytest.approx(traded / adv[i], rel=1e-14)
        by_hand = traded * coef_bps / 10_000 * math.sqrt(traded / adv[i])
        assert impacts[i] == pytest.approx(by_hand, rel=1e-14)
        assert borrows[i] == pytest.approx(traded * borrow_bps / 10_000 / 252, rel=1e-14)


def test_a_year_of_borrow_is_the_annual_rate():
    assert 252 * borrow_cost(1_000_000.0, 50.0, 252.0) == pytest.approx(5_000.0)


def test_halving_the_size_divides_impact_by_two_to_the_three_halves():
    whole, half = impact_cost(80_000.0, 1e6, 25.0), impact_cost(40_000.0, 1e6, 25.0)
    assert whole / half == pytest.approx(2**1.5)


def test_impact_without_coefficient_needs_no_adv():
    assert impact_cost(10_000.0, float("nan"), 0.0) == 0.0
    assert math.isnan(impact_cost(10_000.0, float("nan"), 25.0))


@pytest.mark.reference
def test_square_root_law_matches_the_reference_case(shared_reference):
    case = _case(shared_reference, "square_root_impact")
    for sigma, share, bps in zip(
        case["inputs"]["sigma_daily"],
        case["inputs"]["participation"],
        case["expected"]["bps"],
        strict=True,
    ):
        cost = impact_cost(share * 1e6, 1e6, sigma * 1e4)
        got = cost / (share * 1e6) * 1e4 if share else cost
        assert got == pytest.approx(bps, abs=1e-9)


def _case(folder, name):
    import json

    content = json.loads((folder / "dev" / "risk_tail_execution.json").read_text())
    return next(case for case in content["cases"] if case["name"] == name)


def test_shipped_profiles_load_and_differ():
    catalog = SpecCatalog.default()
    profiles = {n: catalog.load("costs", n, CostProfile) for n in ("base", "zero", "stress_2x")}
    assert {name: profile.name for name, profile in profiles.items()} == {n: n for n in profiles}
    assert len({profile.profile_id() for profile in profiles.values()}) == 3
    assert profiles["base"].profile_id() == CostProfile(name="defaults").profile_id()
    stressed = profiles["base"].stressed(2.0)
    assert stressed.profile_id() == profiles["stress_2x"].profile_id()
    assert stressed.effective_fee_bps == 2 * profiles["base"].effective_fee_bps
    assert stressed.effective_half_spread_frac == pytest.approx(3e-4)
    assert stressed.effective_impact_coef_bps == 50.0
    assert stressed.effective_borrow_bps_ann == 100.0
    assert stressed.participation_cap_frac == profiles["base"].participation_cap_frac
    assert not profiles["zero"].needs_adv
    assert profiles["base"].needs_adv


def test_stress_factors_compound_and_zero_is_free():
    base = CostProfile(name="b")
    assert base.stressed(2.0).stressed(2.5).effective_fee_bps == pytest.approx(5.0)
    assert base.stressed(0.0).effective_impact_coef_bps == 0.0


@pytest.mark.parametrize(
    "bad",
    [{"fee_bps": -1}, {"participation_cap_frac": 0.0}, {"min_fill_frac": 2}, {"fees": 1.0}],
)
def test_profile_refuses_values_outside_its_meaning(bad):
    with pytest.raises(ValidationError):
        CostProfile(name="bad", **bad)
