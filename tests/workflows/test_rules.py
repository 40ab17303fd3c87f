"""Rules by name: what a spec says, what a person changes, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.portfolio import PortfolioConfig
from quant_engine.backtest.random_scores import RandomScores, randomised
from quant_engine.backtest.rules import RuleConfig
from quant_engine.core.errors import ConfigError
from quant_engine.core.panel import Panel, PriceBasis, TimeAxis
from quant_engine.core.specs import SpecCatalog
from quant_engine.execution.contract import ExecutionContract
from quant_engine.execution.cost_model import CostModel
from quant_engine.execution.costs import CostProfile
from quant_engine.workflows.config import TrainConfig
from quant_engine.workflows.costs import load_costs
from quant_engine.workflows.rules import RuleSpec, TradedRules, rule_panel, rule_scores, take_rules
from quant_engine.workflows.run_registry import RunRecord
from quant_engine.workflows.simulation import BacktestRunConfig, fills_contract
from quant_engine.workflows.trials import fills_same_bar, strategy_family

CATALOG = SpecCatalog.default()
RUN = RunRecord(
    run_id="r",
    command="train",
    dataset="local-1",
    horizon_sessions=7,
    track="research",
    first_session="2020-01-02",
    last_session="2021-01-04",
    artifacts={},
    config=TrainConfig().content(),
)


@pytest.mark.feature("Q-34")
def test_the_shipped_modes_are_those_of_the_library():
    plain = CATALOG.load("rules", "plain", RuleSpec)
    managed = CATALOG.load("rules", "risk_managed", RuleSpec)
    assert plain.rules({}) == RuleConfig()
    assert managed.rules({}) == RuleConfig.risk_managed()
    assert (plain.min_confidence, managed.min_confidence) == (0.6, 0.6)
    for name in CATALOG.names("rules"):
        assert CATALOG.load("rules", name, RuleSpec).name == name


@pytest.mark.feature("Q-34")
def test_a_spec_holds_for_the_horizon_and_a_person_wins():
    others, traded = take_rules({"rules": {"name": "plain"}, "costs": "zero"}, CATALOG, RUN)
    assert others == {"costs": "zero", "backtest": {"min_confidence": 0.6}}
    assert traded == TradedRules(settings=RuleConfig(holding_sessions=7))
    changed = {"name": "plain", "unit": "score", "settings": {"holding_sessions": 3}}
    given = {"rules": changed, "backtest": {"min_confidence": 0.5}}
    others, traded = take_rules(given, CATALOG, RUN)
    assert others == {"backtest": {"min_confidence": 0.5}}
    assert (traded.unit, traded.settings.holding_sessions) == ("score", 3)
    assert given["rules"] == changed  # nothing is changed in the caller's hands
    assert take_rules({"costs": "zero"}, CATALOG, RUN) == ({"costs": "zero"}, None)


def test_complete_rules_need_no_name():
    traded = TradedRules(settings=RuleConfig.risk_managed(), unit="score")
    assert take_rules({"rules": traded.content()}, CATALOG, RUN) == ({}, traded)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"name": "plane"}, "plain"),
        ({"name": "plain", "settings": {"holding_session": 3}}, "holding_sessions"),
        ({"name": "plain", "settings": {"entry_min": 0.0}}, "entry_min"),
        ({"name": "plain", "units": "score"}, "unit"),
        ({"settings": {"max_position": 3}}, "max_positions"),
    ],
)
def test_what_nobody_knows_is_refused_with_the_nearest_name(rules, words):
    with pytest.raises(ConfigError, match=words):
        take_rules({"rules": rules}, CATALOG, RUN)


def market(n_rows=260):
    rng = np.random.default_rng(0)
    close = 20.0 * np.exp(np.cumsum(rng.normal(0, 0.01, (n_rows, 2)), axis=0))
    fields = {"high": 1.02 * close, "low": 0.99 * close, "close": close}
    sessions = pd.bdate_range("2019-01-01", periods=n_rows).to_numpy()
    return Panel(TimeAxis.sessions(sessions), ("A@US#1", "B@US#1"), fields)


def test_the_atr_is_wilders_in_currency_and_known_at_the_close():
    panel = market()
    atr = rule_panel(panel, RuleConfig.risk_managed()).field("atr")
    high, low, close = (panel.field(name)[:, 0] for name in ("high", "low", "close"))
    before = np.concatenate([[np.nan], close[:-1]])
    true_range = np.fmax(high - low, np.fmax(abs(high - before), abs(low - before)))
    value = true_range[1:15].mean()
    for t in range(15, len(close)):
        value = (13.0 * value + true_range[t]) / 14.0
    assert atr[-1, 0] == pytest.approx(value, rel=1e-9)
    early = Panel(
        TimeAxis.sessions(panel.time.values[:240]),
        panel.asset_ids,
        {name: panel.field(name)[:240] for name in panel.fields},
    )
    known = rule_panel(early, RuleConfig.risk_managed()).field("atr")
    np.testing.assert_array_equal(known, atr[:240])
    assert rule_panel(panel, RuleConfig()) is panel


def scores():
    return pd.DataFrame(
        {
            "date": pd.to_datetime(["2020-01-02"] * 3 + ["2020-01-03"] * 3),
            "asset_id": ["A", "B", "C"] * 2,
            "score": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            "expected_return_frac": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
            "confidence": [0.5] * 6,
        }
    )


def test_the_unit_says_which_score_is_traded():
    assert rule_scores(scores(), TradedRules(unit="score")).equals(scores())
    by_return = rule_scores(scores(), TradedRules())
    assert by_return["score"].tolist() == scores()["expected_return_frac"].tolist()


def test_random_scores_keep_the_values_of_every_session():
    drawn = {draw: randomised(scores(), RandomScores(seed=1, draw=draw)) for draw in range(40)}
    for frame in drawn.values():
        for day, part in frame.groupby("date"):
            wanted = scores().loc[lambda found, day=day: found["date"] == day, "score"]
            assert sorted(part["score"]) == wanted.tolist()
    again = randomised(scores(), RandomScores(seed=1, draw=7))
    assert again.equals(drawn[7])
    orders = {tuple(frame.sort_values(["date", "asset_id"])["score"]) for frame in drawn.values()}
    assert len(orders) > 10


@pytest.mark.feature("Q-47")
@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        (RuleConfig(holding_sessions=7), set()),
        (RuleConfig(holding_sessions=9), {"horizon_sessions"}),
        (RuleConfig(holding_sessions=None), {"horizon_sessions"}),
        (RuleConfig(holding_sessions=7, profit_target_frac=0.1), {"exit_price"}),
        (
            RuleConfig(holding_sessions=7, fill="next_vwap_proxy"),
            {"entry_price", "exit_price"},
        ),
        (
            RuleConfig(holding_sessions=7, fill="next_close", unsafe_same_bar=True),
            {"entry_lag", "entry_price", "exit_price"},
        ),
    ],
)
def test_the_contract_of_rules_says_on_what_it_differs(rules, wanted):
    config = BacktestRunConfig(
        backtest=BacktestConfig(), rules=TradedRules(settings=rules, unit="score")
    )
    documents = {
        "settings": {"price_basis": "split_adj", "cost_profile_id": "c"},
        "summary": {"n_sessions": 500},
    }
    fills = fills_contract(config, RUN, documents)
    labels = ExecutionContract(horizon_sessions=7, price_basis=PriceBasis.SPLIT_ADJ)
    assert {found.term for found in labels.differences(fills)} == wanted
    assert config.is_same_bar == rules.unsafe_same_bar


@pytest.mark.feature("Q-47")
@pytest.mark.parametrize(
    ("book", "wanted"),
    [
        ({}, set()),
        ({"fill": "next_vwap"}, {"entry_price", "exit_price"}),
        (
            {"fill": "next_close", "unsafe_same_bar": True},
            {"entry_lag", "entry_price", "exit_price"},
        ),
    ],
)
def test_the_contract_of_weights_says_where_they_fill(book, wanted):
    held = PortfolioConfig(rebalance_sessions=7)
    config = BacktestRunConfig(backtest=BacktestConfig(portfolio=held, **book))
    documents = {"settings": {"price_basis": "split_adj", "cost_profile_id": "c"}}
    fills = fills_contract(config, RUN, documents)
    labels = ExecutionContract(horizon_sessions=7, price_basis=PriceBasis.SPLIT_ADJ)
    assert {found.term for found in labels.differences(fills)} == wanted
    made = RUN.model_copy(update={"config": config.content()})
    assert config.is_same_bar == fills_same_bar(made) == ("entry_lag" in wanted)
    assert strategy_family(made).startswith(
        "strategy_same_bar|" if config.is_same_bar else "strategy|"
    )


def test_costs_are_found_in_either_folder(tmp_path):
    assert isinstance(load_costs(CATALOG, "base"), CostProfile)
    assert isinstance(load_costs(CATALOG, "us_segments"), CostModel)
    with pytest.raises(ConfigError, match="us_segments"):
        load_costs(CATALOG, "us_segment")
    assert not set(CATALOG.names("costs")) & set(CATALOG.names("cost_models"))
    (tmp_path / "specs" / "costs").mkdir(parents=True)
    own = tmp_path / "specs" / "costs" / "us_segments.yaml"
    own.write_text("name: mine\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="a profile and a model"):
        load_costs(SpecCatalog.default(tmp_path), "us_segments")


@pytest.mark.parametrize("cost", ["fee_bps", "half_spread_bps", "impact_coef_bps"])
def test_costs_above_the_whole_value_are_refused(tmp_path, cost):
    folder = tmp_path / "specs" / "costs"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(f"name: mine\n{cost}: 10001.0\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=cost):
        load_costs(SpecCatalog.default(tmp_path), "mine")
