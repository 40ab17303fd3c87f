"""Decision score, band, holding costs and bar costs by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.core.specs import SpecCatalog
from quant_engine.execution import CostProfile, borrow_cost
from quant_engine.execution.bar_costs import BarCosts, bar_cost_bps
from quant_engine.execution.decision import (
    HoldingRates,
    decision_score,
    funding_cost,
    holding_cost_frac,
    targets_with_band,
)

pytestmark = pytest.mark.feature("L-26")

number = st.floats(-0.2, 0.2)
size = st.just(0.0) | st.floats(1e-6, 0.2)


def plain_score(expected, cost, sigma, width):
    unit = max(sigma, width)
    if unit == 0.0:
        return math.nan
    if expected > 0 and expected - cost > 0:
        return (expected - cost) / unit
    if expected < 0 and -expected - cost > 0:
        return (expected + cost) / unit
    return 0.0


@settings(max_examples=200, deadline=None, derandomize=True)
@given(number, st.floats(0.0, 0.1), size, size)
def test_the_score_is_its_formula_on_both_sides(expected, cost, sigma, width):
    got = decision_score(expected, cost, sigma, interval_frac=width)
    assert got == pytest.approx(plain_score(expected, cost, sigma, width), nan_ok=True)
    mirrored = decision_score(-expected, cost, sigma, interval_frac=width)
    assert mirrored == pytest.approx(-got, nan_ok=True)
    if got == got:
        assert abs(decision_score(expected, cost + 0.01, sigma, interval_frac=width)) <= abs(got)


def test_received_carry_adds_and_missing_inputs_stay_missing():
    assert decision_score(0.01, -0.002, 0.02) == pytest.approx(0.6)
    assert np.isnan(decision_score(np.nan, 0.0, 0.02))
    assert np.isnan(decision_score(0.01, np.nan, 0.02))
    assert np.isnan(decision_score(0.01, 0.0, 0.02, interval_frac=np.nan))
    with pytest.raises(DataError, match="sigma_frac"):
        decision_score(0.01, 0.0, -0.02)


def test_inside_the_band_nothing_changes():
    score = np.array([0.2, 0.1, -0.1, 0.0, -0.2, np.nan, np.nan])
    held = np.array([-1, -1, 0, 1, 1, 1, 0], dtype=np.int8)
    assert targets_with_band(score, held, band=0.1).tolist() == [1, -1, 0, 1, -1, 1, 0]
    closed = targets_with_band(score, held, band=0.1, unknown="close")
    assert closed.tolist() == [1, -1, 0, 1, -1, 0, 0]
    with pytest.raises(ConfigError, match="band"):
        targets_with_band(score, held, band=-1.0)


def test_a_wider_band_never_trades_more():
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 1, (200, 5))
    trades = []
    for band in (0.0, 0.5, 1.0, 2.0):
        held, n = np.zeros(5, dtype=np.int8), 0
        for score in scores:
            after = targets_with_band(score, held, band=band)
            n += int((after != held).sum())
            held = after
        trades.append(n)
    assert trades == sorted(trades, reverse=True)
    assert trades[-1] < trades[0] / 3


def test_holding_costs_by_side():
    rates = HoldingRates(borrow_bps_ann=50.0, funding_bps_ann=300.0, infra_bps_ann=20.0)
    got = holding_cost_frac(
        np.array([1, 0, -1]), rates, horizon_sessions=21, periods_per_year=252.0
    )
    assert got == pytest.approx([320e-4 / 12, 0.0, (50 - 300 + 20) * 1e-4 / 12])
    only = HoldingRates(borrow_bps_ann=80.0)
    short = holding_cost_frac(-1, only, horizon_sessions=1, periods_per_year=252.0)
    assert 5_000.0 * short == pytest.approx(borrow_cost(5_000.0, 80.0, 252.0))
    with pytest.raises(ConfigError, match="horizon_sessions"):
        holding_cost_frac(1, rates, horizon_sessions=-1, periods_per_year=252.0)


def test_longs_pay_what_shorts_receive():
    value = np.array([1e4, -1e4, 0.0])
    paid = funding_cost(value, 3e-4)
    assert paid.tolist() == pytest.approx([3.0, -3.0, 0.0])
    assert paid.sum() == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_bar_costs_by_hand(seed):
    rng = np.random.default_rng(seed)
    spread, sigma, thin = rng.uniform(0, 300, (3, 40))
    share = rng.uniform(0, 0.5, 40)
    costs = BarCosts(stress_multiplier=1.5)
    got = bar_cost_bps(costs, spread, sigma, illiquidity_bps=thin, participation_frac=share)
    n_capped = 0
    for i in range(40):
        impact = sigma[i] * (math.sqrt(share[i]) + (share[i] - 0.1 if share[i] > 0.1 else 0.0))
        slip = 2 + 0.5 * spread[i] + 0.1 * (sigma[i] + thin[i] + impact)
        n_capped += slip > 150
        assert got[i] == pytest.approx(1.5 * (4 + min(150.0, slip)))
    assert 0 < n_capped < 40


def test_a_calm_bar_costs_what_the_fixed_profile_says():
    fixed = BarCosts().fixed_profile("bars")
    calm = bar_cost_bps(BarCosts(), 0.0, 0.0, illiquidity_bps=0.0, participation_frac=0.0)
    assert calm == fixed.fee_bps + fixed.half_spread_bps == 6.0
    shipped = SpecCatalog.default().load("costs", "bars_4_2", CostProfile)
    assert shipped.profile_id() == fixed.profile_id()
    assert not fixed.needs_adv
    with pytest.raises(DataError, match="spread_bps"):
        bar_cost_bps(BarCosts(), -1.0, 0.0, illiquidity_bps=0.0, participation_frac=0.0)
