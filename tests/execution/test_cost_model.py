"""Rates of the cost model against plain loops, its limits, and what it may know."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from quant_engine.core.errors import ConfigError, DataError, MissingFieldError
from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.core.specs import SpecCatalog
from quant_engine.execution import CostProfile, trailing_adv
from quant_engine.execution.conditions import (
    CostConditions,
    ShockMode,
    shock_sessions,
    stress_multiplier,
    structural_multiplier,
    trailing_sigma_ann,
)
from quant_engine.execution.cost_model import (
    CostModel,
    CostSegment,
    SegmentTable,
    SpreadEstimate,
    cost_rates,
    costs_id,
    decision_rates,
)
from quant_engine.stats.spread_estimates import abdi_ranaldo_spread, corwin_schultz_spread

pytestmark = pytest.mark.feature("Q-35")

T, N = 60, 4
PROFILE = CostProfile(name="p", half_spread_bps=2.0, stress_multiplier=1.5)
SEGMENTS = SegmentTable(
    by="adv",
    segments=(
        CostSegment(name="thin", below_usd=2e6, impact_coef_bps=40.0, half_spread_bps=9.0),
        CostSegment(name="deep", impact_coef_bps=15.0),
    ),
    unknown="thin",
)
FULL = CostModel(
    name="full",
    profile=PROFILE,
    segments=SEGMENTS,
    spread_estimate=SpreadEstimate(method="abdi_ranaldo", window_sessions=5),
    conditions=CostConditions(sigma_sessions=6, impact_share_of_stress=0.4, unknown_stress=1.2),
    shock=ShockMode(quantile=0.8, lookback_sessions=12, min_sessions=4),
)


def market(seed=0, quoted=True):
    rng = np.random.default_rng(seed)
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.02, (T, N)), axis=0))
    open_ = close * np.exp(rng.normal(0, 0.02, close.shape))
    high = np.maximum(open_, close) * 1.01
    low = np.minimum(open_, close) * 0.99
    volume = rng.lognormal(11.5, 0.8, close.shape)
    gone = rng.random(close.shape) < 0.04
    for values in (open_, close, high, low, volume):
        values[gone] = np.nan
    fields = {"open": open_, "high": high, "low": low, "close": close, "volume": volume}
    if quoted:
        spread = rng.uniform(1e-4, 9e-4, close.shape)
        spread[rng.random(close.shape) < 0.6] = np.nan
        fields["half_spread_frac"] = spread
    axis = TimeAxis.sessions(pd.bdate_range("2021-03-01", periods=T).to_numpy())
    return Panel(axis, tuple(f"{letter}@US#1" for letter in "ABCD"), fields)


def plain_sigma(close, t, i, window):
    returns = []
    for s in range(max(1, t - window + 1), t + 1):
        value = math.log(close[s, i]) - math.log(close[s - 1, i])
        if math.isfinite(value):
            returns.append(value)
    if len(returns) < max(2, (window + 1) // 2):
        return math.nan
    mean = sum(returns) / len(returns)
    return math.sqrt(sum((r - mean) ** 2 for r in returns) / (len(returns) - 1) * 252)


def test_all_parts_together_equal_a_plain_loop():
    panel = market()
    got = cost_rates(panel, FULL)
    f = {name: panel.field(name) for name in panel.fields}
    adv = trailing_adv(f["close"], f["volume"])
    estimate = abdi_ranaldo_spread(f["high"], f["low"], f["close"], window_sessions=5)
    medians = []
    for t in range(T):
        values = [plain_sigma(f["close"], t, i, 6) for i in range(N)]
        values = sorted(v for v in values if math.isfinite(v))
        medians.append(float(np.median(values)) if values else math.nan)
    n_shock = 0
    for t in range(T):
        past = [m for m in medians[max(0, t - 1 - 12) : max(0, t - 1)] if math.isfinite(m)]
        shock = t > 0 and len(past) >= 4 and medians[t - 1] > np.quantile(past, 0.8)
        n_shock += shock
        for i in range(N):
            known = adv[t - 1, i] if t else math.nan
            thin = not known >= 2e6
            liquid = 3.0 if not known > 0 else min(3.0, max(0.7, math.sqrt(25e6 / known)))
            sigma = plain_sigma(f["close"], t - 1, i, 6) if t else math.nan
            stress = 1.2 if math.isnan(sigma) else 1 + max(0.0, (sigma - 0.2) / 0.2)
            gap = f["open"][t, i] / f["close"][t - 1, i] - 1 if t else math.nan
            span = (f["high"] - f["low"])[t - 1, i] / f["close"][t - 1, i] if t else math.nan
            stress += 0.0 if math.isnan(gap) else 4 * min(0.10, abs(gap))
            stress += 0.0 if math.isnan(span) else 2 * min(0.20, span)
            half = (9e-4 if thin else 2e-4) * stress * liquid
            if t and math.isfinite(estimate[t - 1, i]):
                half = min(200e-4, max(0.5e-4, estimate[t - 1, i] / 2))
            if math.isfinite(f["half_spread_frac"][t, i]):
                half = f["half_spread_frac"][t, i]
            half *= 2 if shock else 1
            impact = (40.0 if thin else 15.0) * (1 + 0.4 * (stress - 1)) * liquid
            assert got.half_spread_frac[t, i] == pytest.approx(1.5 * half, rel=1e-9)
            assert got.impact_coef_bps[t, i] == pytest.approx(1.5 * impact, rel=1e-9)
            assert got.participation_cap_frac[t, i] == (0.005 if shock else 0.02)
            assert got.segment[t, i] == (0 if thin else 1)
    assert n_shock > 3


def test_a_plain_model_has_the_rates_of_its_profile():
    got = cost_rates(market(quoted=False), CostModel(name="m", profile=PROFILE))
    assert set(got.half_spread_frac.ravel()) == {PROFILE.effective_half_spread_frac}
    assert set(got.impact_coef_bps.ravel()) == {PROFILE.effective_impact_coef_bps}
    assert got.at(3, 1) == (
        PROFILE.effective_half_spread_frac,
        PROFILE.effective_impact_coef_bps,
        PROFILE.participation_cap_frac,
    )
    free = CostProfile(name="f", participation_cap_frac=None)
    assert np.isinf(cost_rates(market(), CostModel(name="m", profile=free))[2]).all()


@pytest.mark.leakage
def test_rates_of_a_session_know_only_its_gap_and_quote():
    panel = market(3)
    before = cost_rates(panel, FULL)
    for cut in (8, 30, 45):
        fields = {name: panel.field(name).copy() for name in panel.fields}
        for name, values in fields.items():
            first = cut + 1 if name in ("open", "half_spread_frac") else cut
            values[first:] = values[first:] * 3.0 if name != "volume" else np.nan
        after = cost_rates(Panel(panel.time, panel.asset_ids, fields), FULL)
        for left, right in zip(before, after, strict=True):
            assert np.array_equal(left[: cut + 1], right[: cut + 1])


@pytest.mark.leakage
def test_a_decision_knows_the_rates_of_the_next_fill_but_its_gap_and_quote():
    panel = market(4, quoted=False)
    calm = CostConditions(sigma_sessions=6, unknown_stress=1.2, gap_weight=0.0)
    model = FULL.model_copy(update={"conditions": calm})
    decided, filled = decision_rates(panel, model), cost_rates(panel, model)
    for left, right in zip(decided, filled, strict=True):
        np.testing.assert_array_equal(left[:-1], right[1:])
    panel = market(4)
    quoted, whole = panel.field("half_spread_frac"), decision_rates(panel, FULL)
    known = np.isfinite(quoted)
    shocked = whole.participation_cap_frac == FULL.shock.participation_cap_frac
    np.testing.assert_allclose(
        whole.half_spread_frac[known], (1.5 * quoted * np.where(shocked, 2.0, 1.0))[known]
    )
    for cut in (8, 30, 45):
        part = decision_rates(panel.rows(0, cut), FULL)
        for left, right in zip(part, whole, strict=True):
            np.testing.assert_array_equal(left, right[:cut])


def test_profiles_and_models_are_named_by_what_they_assume():
    assert costs_id(PROFILE) == PROFILE.profile_id()
    assert costs_id(FULL) == FULL.model_id() != costs_id(PROFILE)


def test_market_cap_segments_need_their_measure():
    model = SpecCatalog.default().load("cost_models", "us_segments", CostModel)
    panel = market()
    with pytest.raises(MissingFieldError, match="market_cap_usd"):
        cost_rates(panel, model)
    with pytest.raises(DataError, match="market_cap_usd"):
        cost_rates(panel, model, market_cap_usd=np.ones((2, 2)))
    size = np.tile([1e8, 1e9, 5e9, 5e10], (T, 1))
    size[5:10, 3] = np.nan
    got = cost_rates(panel, model, market_cap_usd=size)
    assert got.impact_coef_bps[1].tolist() == [40.0, 30.0, 20.0, 15.0]
    assert got.impact_coef_bps[:, 3].tolist() == [40.0] + [15.0] * 5 + [40.0] * 5 + [15.0] * 49


def test_corwin_schultz_serves_where_nothing_is_quoted():
    panel = market(quoted=False)
    rule = SpreadEstimate(method="corwin_schultz", window_sessions=3, floor_half_spread_bps=0.0)
    got = cost_rates(panel, CostModel(name="m", profile=PROFILE, spread_estimate=rule))
    bars = [panel.field(name) for name in ("high", "low", "close")]
    half = np.minimum(0.5 * corwin_schultz_spread(*bars, window_sessions=3)[:-1], 0.02)
    want = np.where(np.isnan(half), 2e-4, half) * 1.5
    assert got.half_spread_frac[1:] == pytest.approx(want, rel=1e-12)


def test_shipped_models_load_stress_and_differ():
    catalog = SpecCatalog.default()
    models = [catalog.load("cost_models", n, CostModel) for n in catalog.names("cost_models")]
    assert {model.name for model in models} == {"us_conditions", "us_segments"}
    assert {model.profile.profile_id() for model in models} == {
        catalog.load("costs", "base", CostProfile).profile_id()
    }
    ids = {m.model_id() for m in models} | {m.stressed(2.0).model_id() for m in models}
    assert len(ids) == 4
    renamed = models[0].model_copy(update={"name": "other"})
    assert renamed.model_id() == models[0].model_id()
    panel = market()
    once, twice = (cost_rates(panel, m) for m in (FULL, FULL.stressed(2.0)))
    assert twice.impact_coef_bps == pytest.approx(2 * once.impact_coef_bps)
    assert twice.half_spread_frac == pytest.approx(2 * once.half_spread_frac)
    assert np.array_equal(twice.participation_cap_frac, once.participation_cap_frac)


@pytest.mark.parametrize(
    "bad",
    [
        {"unknown": "nobody"},
        {"segments": SEGMENTS.segments[::-1]},
        {"segments": SEGMENTS.segments[:1]},
        {"segments": (SEGMENTS.segments[1],) * 2},
    ],
)
def test_a_segment_table_has_to_be_in_order(bad):
    with pytest.raises(ValidationError):
        SegmentTable.model_validate({**SEGMENTS.content(), **bad})


def test_stress_by_hand_and_without_measurements():
    rule = CostConditions()
    assert stress_multiplier(0.40, 0.5, 0.9, conditions=rule) == pytest.approx(2 + 0.4 + 0.4)
    assert stress_multiplier(0.10, 0.0, 0.0, conditions=rule) == 1.0
    assert stress_multiplier(np.nan, np.nan, np.nan, conditions=rule) == 1.0


@pytest.mark.parametrize(
    ("args", "want"),
    [
        ((0.04, 0.0, 0.0, 0.0), 1.0),
        ((0.05, 0.0, 0.0, 0.0), 1.3),
        ((0.15, 0.0, 0.0, 0.0), 2.0),
        ((0.9, 1.0, 0.0, 1.0), 3.0),
        ((0.0, 0.0, 1.0, 0.0), 1.0),
        ((0.2, 0.5, 0.5, 0.1), 2.0 * 1.25 * 0.9 * 1.03),
    ],
)
def test_structural_multiplier_by_hand(args, want):
    got = structural_multiplier(args[0], args[1], drift=args[2], systemic=args[3])
    assert got == pytest.approx(want)


def test_structural_scores_are_between_0_and_1():
    with pytest.raises(ConfigError, match="drift"):
        structural_multiplier(0.1, 0.1, drift=1.1, systemic=0.0)
    assert np.isnan(structural_multiplier(np.nan, 0.1, drift=0.0, systemic=0.0))


def test_volatility_and_shock_of_an_empty_market():
    empty = np.full((5, 2), np.nan)
    sigma = trailing_sigma_ann(empty, window_sessions=3, periods_per_year=252)
    assert np.isnan(sigma).all()
    assert not shock_sessions(sigma, ShockMode()).any()
