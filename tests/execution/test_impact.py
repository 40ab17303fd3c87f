"""Impact models against published tables and a direct minimisation."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from quant_engine.core.errors import ConfigError
from quant_engine.execution.impact import (
    AlmgrenChriss,
    AlmgrenImpact,
    almgren_chriss_trajectory,
    permanent_impact_frac,
    realised_impact_frac,
)

pytestmark = pytest.mark.feature("Q-35")


def cases(folder, definition):
    content = json.loads((folder / "dev" / "risk_tail_execution.json").read_text())
    return [case for case in content["cases"] if case["definition"].startswith(definition)]


def setting(inputs):
    return AlmgrenChriss(
        duration_days=inputs["T"],
        n_slices=inputs["N"],
        sigma_per_share=inputs["sigma"],
        fixed_cost_per_share=inputs["epsilon"],
        permanent_coef=inputs["gamma"],
        temporary_coef=inputs["eta"],
        risk_aversion=inputs["lam"],
    )


@pytest.mark.reference
def test_trajectories_equal_the_published_ones(shared_reference):
    found = cases(shared_reference, "almgren_chriss")
    assert len(found) >= 3
    for case in found:
        got = almgren_chriss_trajectory(case["inputs"]["X"], setting(case["inputs"]))
        want = case["expected"]
        if "holdings" not in want:
            assert got.expected_cost == pytest.approx(want["mean_musd"] * 1e6, rel=1e-7)
            assert got.variance == pytest.approx(want["variance_musd2"] * 1e12, rel=1e-6)
            assert got.half_life_days == pytest.approx(want["half_life_days"], rel=1e-6)
            continue
        assert got.holdings == pytest.approx(want["holdings"], rel=1e-9, abs=1e-5)
        assert got.trades == pytest.approx(want["trades"], rel=1e-9)
        assert got.expected_cost == pytest.approx(want["expected_cost"], rel=1e-9)
        assert got.variance == pytest.approx(want["variance"], rel=1e-9)
        assert got.kappa_per_day == pytest.approx(want["kappa"], rel=1e-9, abs=1e-12)
        assert got.half_life_days == pytest.approx(float(want["half_life"]), rel=1e-9)


@pytest.mark.reference
def test_the_cost_of_one_order_equals_the_published_table(shared_reference):
    (case,) = cases(shared_reference, "I=gamma")
    inputs, want = case["inputs"], case["expected"]
    model = AlmgrenImpact()
    args = (inputs["x_over_v"], inputs["sigma_daily"])
    ratio = inputs["theta_over_v"]
    stays = permanent_impact_frac(*args, shares_to_volume=ratio, model=model)
    paid = realised_impact_frac(
        *args,
        shares_to_volume=ratio,
        duration_days=np.array(inputs["durations_days"]),
        model=model,
    )
    assert 1e4 * stays == pytest.approx(want["I_bps"], abs=1e-9)
    assert 1e4 * paid == pytest.approx(want["J_bps"], abs=1e-9)


@pytest.mark.parametrize("risk_aversion", [0.0, 1e-7, 1e-6, 1e-5])
def test_no_other_schedule_is_better(risk_aversion):
    market = AlmgrenChriss(
        duration_days=3,
        n_slices=6,
        sigma_per_share=0.9,
        fixed_cost_per_share=0.05,
        permanent_coef=2e-7,
        temporary_coef=3e-6,
        risk_aversion=risk_aversion,
    )
    best = almgren_chriss_trajectory(5e5, market)

    def priced(trades):
        """Trade by trade: every share pays the drift of what was sold before it."""
        left, moved, paid, variance = 5e5, 0.0, 0.0, 0.0
        for shares in trades:
            rate = shares / market.tau_days
            paid += shares * (moved + market.temporary_coef * rate) + 0.05 * abs(shares)
            moved += market.permanent_coef * shares
            left -= shares
            variance += 0.9**2 * market.tau_days * left**2
        return paid, variance

    cost, variance = priced(best.trades)
    assert best.trades.sum() == pytest.approx(5e5)
    assert cost == pytest.approx(best.expected_cost, rel=1e-9)
    assert variance == pytest.approx(best.variance, rel=1e-9)
    rng = np.random.default_rng(0)
    for scale in (10.0, 1_000.0, 30_000.0):
        change = rng.normal(0, scale, (20, 6))
        change -= change.mean(axis=1, keepdims=True)
        for step in change:
            other, risk = priced(best.trades + step)
            assert other + risk_aversion * risk > cost + risk_aversion * variance


def test_a_sale_mirrors_a_purchase_and_urgency_has_no_overflow():
    market = AlmgrenChriss(
        duration_days=100, n_slices=50, sigma_per_share=50, temporary_coef=1e-6, risk_aversion=1.0
    )
    buy, sell = almgren_chriss_trajectory(1e3, market), almgren_chriss_trajectory(-1e3, market)
    assert sell.trades.tolist() == (-buy.trades).tolist()
    assert sell.expected_cost == buy.expected_cost
    assert np.isfinite(buy.trades).all()
    assert buy.trades[0] == pytest.approx(1e3)


def test_slices_too_long_for_the_model_are_refused():
    market = AlmgrenChriss(
        duration_days=10, n_slices=1, sigma_per_share=1, permanent_coef=1e-6, temporary_coef=1e-6
    )
    with pytest.raises(ConfigError, match="n_slices"):
        almgren_chriss_trajectory(1.0, market)


def test_with_exponent_one_half_the_temporary_part_is_the_square_root_law():
    model = AlmgrenImpact(gamma=0.0, eta=1.0, exponent=0.5)
    paid = realised_impact_frac(0.04, 0.02, shares_to_volume=200.0, duration_days=1.0, model=model)
    assert paid == pytest.approx(0.02 * math.sqrt(0.04))
