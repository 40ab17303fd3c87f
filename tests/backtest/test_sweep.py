"""Sweeps: the same bits as single runs, every variant counted, statistics derived again."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from quant_engine.backtest import BacktestConfig, Backtester, RuleConfig
from quant_engine.backtest.rules_inputs import parse_rule_inputs
from quant_engine.backtest.sweep import SweepIdentity, sweep_rules
from quant_engine.backtest.sweep_averages import AverageCross, sweep_average_crosses
from quant_engine.backtest.sweep_kernel import STATISTICS
from quant_engine.backtest.sweep_spec import RobustnessRule, SweepSpec, neighbourhood
from quant_engine.core.errors import (
    ConfigError,
    EmptyDataError,
    IdentityError,
    MissingFieldError,
    SchemaMismatchError,
)
from quant_engine.core.panel import Panel
from quant_engine.core.specs import SpecCatalog
from quant_engine.core.trials import MemoryTrialSink
from quant_engine.execution import CostProfile
from quant_engine.stats.metrics import annual_return, annual_vol, max_drawdown, sharpe

pytestmark = pytest.mark.feature("T-13")

IDENTITY = SweepIdentity("rules", "data", "split")
CONFIG = BacktestConfig(halt_limit_sessions=8, cash_interest_bps_ann=100.0)
FIXED = CostProfile(
    name="fixed", fee_bps=10.0, half_spread_bps=5.0, impact_coef_bps=0.0,
    participation_cap_frac=None, use_panel_spread=False,
)  # fmt: skip


def with_ranges(panel):
    opened, close = panel.field("open"), panel.field("close")
    high, low = 1.01 * np.maximum(opened, close), 0.99 * np.minimum(opened, close)
    return panel.with_fields({**panel.fields, "high": high, "low": low})


def without(panel, *names):
    fields = {name: panel.field(name) for name in panel.fields if name not in names}
    return Panel(panel.time, panel.asset_ids, fields, panel.masks, {}, panel.price_basis)


def check_statistics(row, net, per_year):
    wanted = {
        "total_return": np.prod(1.0 + net) - 1.0,
        "annual_return": annual_return(net, periods_per_year=per_year),
        "annual_vol": annual_vol(net, periods_per_year=per_year),
        "sharpe": sharpe(net, periods_per_year=per_year).value,
        "max_drawdown": max_drawdown(net),
        "n_sessions": len(net),
    }
    for name, value in wanted.items():
        assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), name


@pytest.fixture(scope="module")
def swept(make_market, costly):
    market = make_market(4)
    inputs = parse_rule_inputs(
        market.scores, with_ranges(market.panel), config=CONFIG, costs=costly,
        delistings=market.delistings, regimes=market.regimes,
    )  # fmt: skip
    spec = SweepSpec(
        name="grid", rule="signals",
        fixed={"sides": "both", "entry_min": 0.4, "position_frac": 0.2},
        grid={
            "max_positions": (3, 5), "hard_stop_frac": (0.02, 0.05, None),
            "holding_sessions": (2, 6), "fill": ("next_open", "next_close"),
        },
    )  # fmt: skip
    sink = MemoryTrialSink()
    sweep = sweep_rules(inputs, spec.variants(), trials=sink, identity=IDENTITY)
    return market, inputs, spec, sink, sweep


def test_every_variant_is_a_trial(swept):
    _, _, spec, sink, sweep = swept
    assert spec.n_variants == len(sweep.table) == 24 == len(sink.trials)
    assert set(sweep.table["trial_id"]) == set(sink.trials)
    trial = sink.trials[sweep.table["trial_id"].iloc[0]]
    assert (trial.family, trial.data_id, trial.split_id) == ("rules", "data", "split")
    assert sweep.table["spec_id"].is_unique


def test_a_repeated_variant_is_one_trial(swept):
    _, inputs, spec, _, _ = swept
    sink = MemoryTrialSink()
    variant = spec.variants()[0]
    sweep = sweep_rules(inputs, [variant, variant], trials=sink, identity=IDENTITY)
    assert len(sink.trials) == 1
    assert sweep.table.drop(columns=[]).iloc[0].equals(sweep.table.iloc[1])


def test_a_swept_variant_is_the_single_run_bit_for_bit(swept, costly):
    market, _, spec, _, sweep = swept
    variants = spec.variants()
    for number in (0, 7, 23):
        alone = Backtester(CONFIG).run_signals(
            market.scores, with_ranges(market.panel), rules=variants[number], costs=costly,
            delistings=market.delistings, regimes=market.regimes,
        )  # fmt: skip
        curve = sweep.curve(number)
        assert curve.equals(alone.daily["equity"])
        assert sweep.table.loc[number, "final_equity"] == curve.iloc[-1]
        assert sweep.table.loc[number, "n_trades"] == len(alone.trades)


def test_statistics_of_rules_are_those_of_the_metrics(swept):
    *_, sweep = swept
    for number in range(len(sweep.table)):
        result = sweep.result(number)
        row = sweep.table.loc[number]
        check_statistics(row, result.daily["ret_net"].to_numpy(), 252.0)
        assert row["turnover_ann"] == pytest.approx(result.summary["turnover_ann"], rel=1e-12)
        assert row["total_return"] == pytest.approx(result.summary["total_return"], rel=1e-12)


def test_a_sweep_does_not_depend_on_its_order(swept):
    _, inputs, spec, _, sweep = swept
    back = sweep_rules(
        inputs, spec.variants()[::-1], trials=MemoryTrialSink(), identity=IDENTITY
    ).table.iloc[::-1]
    pd.testing.assert_frame_equal(
        back.reset_index(drop=True), sweep.table.reset_index(drop=True), check_exact=True
    )


def test_rules_need_variants_and_fields(swept, make_market, costly):
    market, inputs, _, _, sweep = swept
    sink = MemoryTrialSink()
    with pytest.raises(EmptyDataError, match="at least one"):
        sweep_rules(inputs, [], trials=sink, identity=IDENTITY)
    with pytest.raises(ConfigError, match="0 to 23"):
        sweep.result(24)
    plain = parse_rule_inputs(market.scores, market.panel, config=CONFIG, costs=costly)
    with pytest.raises(MissingFieldError, match="high"):
        sweep_rules(plain, [RuleConfig(hard_stop_frac=0.1)], trials=sink, identity=IDENTITY)
    assert not sink.trials


# --- averages ------------------------------------------------------------------------------------


def plain_cross(opened, close, can_trade, rule, cost, gone):
    """Equity of one asset, one session after another, with averages taken afresh."""
    n = len(close)
    bars = [t for t in range(n) if math.isfinite(close[t])]
    if not bars:
        return None
    cash, shares, mark, marks = 1.0, 0.0, math.nan, []
    curve, traded, trades = [], 0.0, 0
    for t in range(n):
        if t > bars[0] and len(marks) >= rule.slow_sessions and can_trade[t]:
            fast = sum(marks[-rule.fast_sessions :]) / rule.fast_sessions
            slow = sum(marks[-rule.slow_sessions :]) / rule.slow_sessions
            wanted = rule.above if fast > slow * (1 + 1e-9) else rule.below
            if np.sign(wanted) != np.sign(shares):
                before = curve[-1]
                if shares:
                    trades += 1
                    traded += abs(shares) * opened[t] / before
                cash += shares * opened[t] - abs(shares) * opened[t] * cost
                shares = wanted * cash / (opened[t] * (1 + cost))
                traded += abs(shares) * opened[t] / before
                cash -= shares * opened[t] + abs(shares) * opened[t] * cost
        if math.isfinite(close[t]):
            mark = close[t]
        marks += [mark] if t >= bars[0] else []
        if gone is not None and t >= gone[0] and not can_trade[t] and t > bars[0]:
            curve.append(cash + shares * mark * (1 + gone[1]))
            return curve, traded, trades + (shares != 0)
        if t >= bars[0]:
            curve.append(cash + shares * mark)
    return curve, traded, trades + (shares != 0)


@pytest.fixture(scope="module")
def crosses(make_market):
    market = make_market(5, n_rows=60, n_assets=8)
    wide = np.tile(np.arange(8), 5)  # more than one block of columns
    panel = without(market.panel, "dividend", "half_spread_frac")
    names = tuple(f"{i:03d}@US#1" for i in range(len(wide)))
    rng = np.random.default_rng(0)
    factor = 1.0 + 0.05 * rng.random((60, len(wide)))
    fields = {n: panel.field(n)[:, wide] * factor for n in ("open", "close")}
    fields["volume"] = panel.field("volume")[:, wide]
    panel = Panel(panel.time, names, fields)
    gone = market.delistings.assign(asset_id=[names[1], names[2]], terminal_return=[-0.55, 0.1])
    variants = [
        AverageCross(fast_sessions=f, slow_sessions=s, above=a, below=b)
        for f, s, a, b in ((1, 3, 1, 0), (2, 7, 1, -1), (4, 15, -0.5, 0.5), (5, 59, 0, 1))
    ]
    costs = FIXED.model_copy(update={"borrow_bps_ann": 0.0})
    sink = MemoryTrialSink()
    sweep = sweep_average_crosses(
        panel, variants, config=BacktestConfig(), costs=costs, trials=sink,
        identity=IDENTITY, delistings=gone,
    )  # fmt: skip
    return panel, sweep, sink


def test_averages_equal_a_plain_loop(crosses):
    panel, sweep, sink = crosses
    assert len(sink.trials) == 4
    can_trade = np.isfinite(panel.field("close")) & (panel.field("volume") > 0)
    gone = {1: (34, -0.55), 2: (40, 0.1)}
    for v, rule in enumerate(sweep.variants):
        for i, name in enumerate(panel.asset_ids):
            curve, traded, trades = plain_cross(
                panel.field("open")[:, i], panel.field("close")[:, i], can_trade[:, i], rule,
                15e-4, gone.get(i),
            )  # fmt: skip
            row = dict(zip(STATISTICS, sweep.statistics[v, i], strict=True))
            net = np.diff(curve) / curve[:-1]
            check_statistics(row, net, 252.0)
            assert row["n_trades"] == trades
            assert row["turnover_ann"] == pytest.approx(traded / 2 / len(net) * 252, rel=1e-9)
            again = sweep.curve(v, name)
            first = 60 - len(curve) if i not in gone else np.flatnonzero(can_trade[:, i])[0]
            np.testing.assert_allclose(
                again.to_numpy()[first : first + len(curve)], curve, rtol=1e-11
            )
            assert again.iloc[-1] - 1.0 == row["total_return"]


def test_the_table_is_the_mean_over_assets(crosses):
    _, sweep, _ = crosses
    frame = sweep.statistic("sharpe")
    np.testing.assert_allclose(sweep.table["sharpe"], frame.mean(axis=1), rtol=1e-12)
    with pytest.raises(ConfigError, match="sharpe"):
        sweep.statistic("sharp")
    with pytest.raises(IdentityError, match="asset of the panel"):
        sweep.curve(0, "nobody")
    with pytest.raises(ConfigError, match="0 to 3"):
        sweep.curve(4, sweep.panel.asset_ids[0])


def test_the_future_does_not_reach_back_into_a_curve(crosses):
    panel, sweep, _ = crosses
    cut = sweep_average_crosses(
        panel.rows(0, 30), sweep.variants, config=BacktestConfig(),
        costs=FIXED.model_copy(update={"borrow_bps_ann": 0.0}),
        trials=MemoryTrialSink(), identity=IDENTITY,
    )  # fmt: skip
    for v in range(4):
        for name in panel.asset_ids[3:7]:
            assert sweep.curve(v, name).iloc[:30].equals(cut.curve(v, name))


def test_averages_refuse_costs_that_need_a_size(crosses, make_market):
    panel, sweep, _ = crosses
    settings = {"config": BacktestConfig(), "trials": MemoryTrialSink(), "identity": IDENTITY}
    with pytest.raises(ConfigError, match="half-spread"):
        sweep_average_crosses(panel, sweep.variants, costs=CostProfile(name="all"), **settings)
    with pytest.raises(ConfigError, match="half-spread"):
        sweep_average_crosses(panel, sweep.variants, costs=FIXED, **settings)
    with pytest.raises(ConfigError, match="dividends"):
        sweep_average_crosses(make_market(1).panel, sweep.variants[:1], costs=FIXED, **settings)
    with pytest.raises(EmptyDataError, match="at least one"):
        sweep_average_crosses(panel, [], costs=FIXED, **settings)
    with pytest.raises(ValidationError, match="below slow_sessions"):
        AverageCross(fast_sessions=5, slow_sessions=5)


# --- specs ---------------------------------------------------------------------------------------


def test_shipped_specs_are_complete_grids():
    catalog = SpecCatalog.default()
    sizes = {}
    for name in catalog.names("sweeps"):
        spec = catalog.load("sweeps", name, SweepSpec)
        variants = spec.variants()
        assert spec.name == name
        told = {(v.config_id(), str(d)) for v, d in zip(variants, spec.draws(), strict=True)}
        assert len(told) == spec.n_variants == len(spec.settings())
        sizes[name] = spec.n_variants
    assert sizes == {"average_crosses": 1000, "random_rules": 500, "risk_managed": 81}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": {}}, "every other rule takes a grid"),
        ({"grid": {"fast_sessions": (3, 3)}}, "different values"),
        ({"fixed": {"fast_sessions": 3}}, "fixed and on the grid"),
        ({"metrics": ("sharp",)}, "sharpe"),
        ({"max_variants": 1}, "more than max_variants"),
        ({"robustness": {"metric": "sharp"}}, "sharpe"),
    ],
)
def test_a_spec_says_what_is_wrong(change, message):
    content = {"name": "a", "rule": "averages", "fixed": {"slow_sessions": 9},
               "grid": {"fast_sessions": (2, 3)}}  # fmt: skip
    SweepSpec.model_validate(content)
    with pytest.raises(ValidationError, match=message):
        SweepSpec.model_validate({**content, **change})


def test_a_refused_variant_is_named():
    spec = SweepSpec(name="a", rule="averages", fixed={"slow_sessions": 9},
                     grid={"fast_sessions": (2, 20)})  # fmt: skip
    with pytest.raises(ConfigError, match="variant 1"):
        spec.variants()


def test_neighbours_are_found_one_step_away():
    """Against a search over all pairs of variants."""
    spec = SweepSpec(
        name="a", rule="averages",
        grid={"fast_sessions": (2, 3, 4), "slow_sessions": (10, 20), "below": (0.0, -0.5, -1.0)},
        robustness=RobustnessRule(min_kept_frac=0.6, min_neighbours=3),
    )  # fmt: skip
    rng = np.random.default_rng(3)
    value = rng.normal(0.5, 1.0, 18)
    value[4] = np.nan
    found = neighbourhood(spec, pd.DataFrame({"sharpe": value}))
    places = [np.unravel_index(v, spec.shape) for v in range(18)]
    for v in range(18):
        near = [
            value[o] for o in range(18)
            if np.abs(np.subtract(places[v], places[o])).sum() == 1 and np.isfinite(value[o])
        ]  # fmt: skip
        row = found.loc[v]
        assert row["n_neighbours"] == len(near)
        assert row["neighbour_median"] == np.median(near)
        assert row["neighbour_worst"] == min(near)
        if len(near) < 3 or not value[v] > 0:
            assert row["verdict"] == "insufficient"
        else:
            kept = np.median(near) / value[v]
            assert row["kept_frac"] == pytest.approx(kept)
            assert row["verdict"] == ("pass" if kept >= 0.6 else "warn")
    assert set(found["verdict"]) == {"pass", "warn", "insufficient"}
    with pytest.raises(SchemaMismatchError, match="18 rows"):
        neighbourhood(spec, pd.DataFrame({"sharpe": value[:5]}))
    with pytest.raises(ConfigError, match="metric"):
        neighbourhood(spec, pd.DataFrame({"sharp": value}))


@pytest.mark.feature("T-13")
def test_kept_returns_are_those_of_single_runs(make_market):
    market = make_market(3)
    panel = without(with_ranges(market.panel), "dividend")
    inputs = parse_rule_inputs(market.scores, panel, config=CONFIG, costs=FIXED)
    variants = [RuleConfig(entry_min=limit, max_positions=3) for limit in (0.3, 0.8, 1.2)]
    given = {"trials": MemoryTrialSink(), "identity": IDENTITY}
    swept = sweep_rules(inputs, variants, **given, keep_returns=True)
    assert sweep_rules(inputs, variants, **given).returns is None
    for number in range(len(variants)):
        net = swept.result(number).daily["ret_net"]
        column = pd.Series(swept.returns[:, number], panel.time.index)
        np.testing.assert_array_equal(column.reindex(net.index), net)
        assert not column.drop(net.index).any()


RANDOM = {"name": "r", "rule": "random", "random": {"n_draws": 4, "seed": 9}}


@pytest.mark.feature("T-13")
def test_random_rules_have_numbers_and_no_neighbours():
    spec = SweepSpec.model_validate({**RANDOM, "fixed": {"entry_min": 0.5}})
    assert (spec.n_variants, spec.shape) == (4, (4,))
    assert spec.settings()["draw"].tolist() == [0, 1, 2, 3]
    assert {rules.entry_min for rules in spec.variants()} == {0.5}
    assert [drawn.draw for drawn in spec.draws()] == [0, 1, 2, 3]
    near = neighbourhood(spec, pd.DataFrame({"sharpe": [1.0, 2.0, 3.0, 4.0]}))
    assert near["verdict"].unique().tolist() == ["insufficient"]
    assert near["n_neighbours"].sum() == 0


@pytest.mark.parametrize(
    "content",
    [
        {"name": "r", "rule": "random"},
        {**RANDOM, "grid": {"entry_min": [0.1, 0.2]}},
        {"name": "r", "rule": "signals"},
        {**RANDOM, "rule": "signals", "grid": {"entry_min": [0.1]}},
    ],
)
def test_a_grid_or_draws_but_not_both(content):
    with pytest.raises(ValidationError, match="rule random takes random and no grid"):
        SweepSpec.model_validate(content)
