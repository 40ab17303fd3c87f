"""Cost models in the simulator: rates per session and asset, derived again for every order."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.backtest import BacktestConfig, Backtester, RuleConfig
from quant_engine.backtest.portfolio import PortfolioConfig
from quant_engine.backtest.run_costs import parse_costs
from quant_engine.core.errors import ConfigError, MissingFieldError
from quant_engine.core.panel import Panel, PriceBasis
from quant_engine.execution import CostProfile
from quant_engine.execution.conditions import CostConditions, ShockMode
from quant_engine.execution.cost_model import (
    CostModel,
    CostSegment,
    SegmentTable,
    SpreadEstimate,
    cost_rates,
)

PROFILE = CostProfile(name="base", adv_min_sessions=1, min_fill_frac=0.0)
BOOK = BacktestConfig(
    portfolio=PortfolioConfig(names_per_side=2, max_weight_frac=1.0), initial_equity_usd=2e6
)
RULES = RuleConfig(entry_min=0.5, max_positions=4, position_frac=0.25, sides="both")
SEGMENTS = SegmentTable(
    by="adv",
    segments=(
        CostSegment(name="thin", below_usd=8e5, impact_coef_bps=60.0, half_spread_bps=20.0),
        CostSegment(name="deep", impact_coef_bps=10.0),
    ),
    unknown="thin",
)
FULL = CostModel(
    name="full",
    profile=PROFILE,
    segments=SEGMENTS,
    spread_estimate=SpreadEstimate(method="abdi_ranaldo", window_sessions=5),
    conditions=CostConditions(sigma_sessions=5),
    shock=ShockMode(lookback_sessions=20, min_sessions=10, quantile=0.7),
)
WAYS = ("weights", "rules")


@pytest.fixture
def market(make_market):
    return make_market(3)


@pytest.fixture
def panel(market):
    panel = market.panel
    opened, close = panel.field("open"), panel.field("close")
    high, low = 1.01 * np.fmax(opened, close), 0.99 * np.fmin(opened, close)
    return panel.with_fields({"high": high, "low": low})


def run(market, panel, costs, way):
    given = {
        "costs": costs,
        "delistings": market.delistings,
        "regimes": market.regimes,
        "benchmark_returns": market.benchmark,
    }
    tester = Backtester(BOOK)
    if way == "weights":
        return tester.run(market.scores, panel, **given)
    return tester.run_signals(market.scores, panel, rules=RULES, **given)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.feature("Q-35", "B-18")
def test_a_model_without_anything_that_varies_gives_the_bits_of_its_profile(market, panel, way):
    plain = run(market, panel, PROFILE.stressed(1.5), way)
    model = CostModel(name="m", profile=PROFILE.stressed(1.5))
    same = run(market, panel, model, way)
    assert same.daily.equals(plain.daily)
    assert same.orders.equals(plain.orders)
    assert (plain.cost_profile_id, same.cost_profile_id) == (
        PROFILE.stressed(1.5).profile_id(),
        model.model_id(),
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", [FULL, FULL.stressed(3.0)], ids=["as is", "stressed"])
@pytest.mark.feature("Q-35", "B-18")
def test_every_order_pays_the_rates_of_its_cell(market, panel, model, way):
    orders = run(market, panel, model, way).orders
    rates = cost_rates(panel, model)
    sessions = list(panel.time.index)
    filled = orders[(orders["filled_shares"] != 0.0) & orders["adv_value"].notna()]
    assert len(filled) > 20
    caps = set()
    for order in filled.itertuples():
        row, column = sessions.index(order.session), panel.asset_ids.index(order.asset_id)
        half, coef, cap = rates.at(row, column)
        share = order.traded_value / order.adv_value
        assert order.cost_spread == pytest.approx(order.traded_value * half, rel=1e-12)
        assert order.cost_impact == pytest.approx(
            order.traded_value * coef * np.sqrt(share) * 1e-4, rel=1e-12
        )
        assert share <= cap * (1 + 1e-12)
        caps.add(cap)
    assert caps == {0.02, 0.005}  # in calm sessions, and in shock


def test_rates_of_a_session_without_a_bar_before_it_are_known(market, panel):
    rates = parse_costs(FULL, panel).rates
    order = np.argsort(panel.asset_ids)
    trades = (panel.field("volume") > 0.0)[:, order]
    for values in (rates.half_spread_frac, rates.impact_coef_bps, rates.participation_cap_frac):
        assert np.isfinite(values[trades]).all()


def test_a_split_is_no_volatility_and_no_gap(market, panel):
    factor = np.full(panel.shape, np.nan)
    factor[10, 1], factor[15, 1] = 4.0, 0.5
    grown = np.cumprod(np.where(np.isnan(factor), 1.0, factor), axis=0)
    fields = {name: panel.field(name) / grown for name in ("open", "high", "low", "close")}
    fields |= {"volume": panel.field("volume") * grown, "split_factor": factor}
    fields["half_spread_frac"] = np.full(panel.shape, 0.002)
    fields["half_spread_frac"][20:] = np.nan
    raw = Panel(panel.time, panel.asset_ids, fields, price_basis=PriceBasis.RAW)
    whole = panel.with_fields({"half_spread_frac": fields["half_spread_frac"]})
    wanted, found = parse_costs(FULL, whole).rates, parse_costs(FULL, raw).rates
    for name in ("half_spread_frac", "impact_coef_bps", "participation_cap_frac"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-9)


@pytest.mark.parametrize("way", WAYS)
def test_the_order_of_the_columns_does_not_matter(market, panel, way):
    other = panel.columns(np.arange(panel.shape[1])[::-1])
    before = run(market, panel, FULL, way).daily["equity"]
    market.scores = market.scores[:, ::-1]
    assert run(market, other, FULL, way).daily["equity"].equals(before)


def test_segments_by_market_capitalisation_read_the_panel(market, panel):
    model = CostModel(
        name="caps", profile=PROFILE, segments=SEGMENTS.model_copy(update={"by": "market_cap"})
    )
    with pytest.raises(MissingFieldError, match="market_cap_usd"):
        parse_costs(model, panel)
    sized = panel.with_fields({"market_cap_usd": np.full(panel.shape, 1e9)})
    impact = parse_costs(model, sized).rates.impact_coef_bps
    # The first session knows no size yet and pays as a thin name.
    assert (np.unique(impact[0]).tolist(), np.unique(impact[1:]).tolist()) == ([60.0], [10.0])


@pytest.mark.parametrize("costs", [None, "base"])
def test_what_are_no_costs_is_refused_by_name(panel, costs):
    with pytest.raises(ConfigError, match="costs: wanted a CostProfile or a CostModel"):
        parse_costs(costs, panel)
