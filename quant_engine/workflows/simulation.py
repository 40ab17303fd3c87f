"""Simulate: the scores of a training run traded on the run's own panel, as a stage.

Whoever asks for the same book of the same run gets the same artifacts: a backtest and a variant of
it that happens to be that backtest are one and the same trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from pydantic import Field

from quant_engine.artifacts.kinds.backtest import BACKTEST, ORDERS, TRADES
from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.market import MARKET
from quant_engine.artifacts.kinds.model import MODEL
from quant_engine.artifacts.kinds.panel import FEATURE_PANEL, PANEL
from quant_engine.artifacts.kinds.training import OOS, REGIME
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.result import BacktestResult
from quant_engine.backtest.rules import RuleConfig
from quant_engine.backtest.rules_result import RuleBacktestResult
from quant_engine.backtest.simulation import Simulation
from quant_engine.core.config import FrozenConfig
from quant_engine.core.panel import Panel
from quant_engine.execution.contract import ExecutionContract
from quant_engine.models.predictor import predict as predict_rows
from quant_engine.models.serialization import load
from quant_engine.workflows.config import TrainConfig
from quant_engine.workflows.context import Stages, Workspace
from quant_engine.workflows.costs import load_costs
from quant_engine.workflows.data import frame_on_sessions
from quant_engine.workflows.inputs import market_features, read_feature_set
from quant_engine.workflows.labels import is_meta, primary_sides
from quant_engine.workflows.rules import TradedRules, rule_panel, rule_scores
from quant_engine.workflows.run_registry import RunRecord

_PRICES = {
    "next_open": "open",
    "next_close": "close",
    "next_vwap_proxy": "vwap_proxy",
    "next_vwap": "vwap",
}
"""Price of a fill as a contract names it."""


class BacktestRunConfig(FrozenConfig):
    """Everything that determines a backtest of given predictions.

    Parameters
    ----------
    backtest : BacktestConfig
        Book, capital, delisting assumptions.
    costs : str
        Cost profile in ``specs/costs``, or cost model in ``specs/cost_models``.
    in_sample : bool
        True = trade the final model's predictions of its own training data.
    rules : TradedRules, optional
        Trade single positions by rules instead of target weights; left out of the content, and so
        of the id, where absent.
    """

    backtest: BacktestConfig
    costs: str = "base"
    in_sample: bool = False
    rules: TradedRules | None = Field(default=None, exclude_if=lambda value: value is None)

    @property
    def is_same_bar(self) -> bool:
        """Whether orders fill on the bar that decided them, which nobody could have done."""
        return self.filling.unsafe_same_bar

    @property
    def filling(self) -> BacktestConfig | RuleConfig:
        """Whose ``fill`` and ``unsafe_same_bar`` hold: the rules' where there are any."""
        return self.backtest if self.rules is None else self.rules.settings


def simulate_stage(
    workspace: Workspace, stages: Stages, run: RunRecord, config: BacktestRunConfig
) -> dict[str, ArtifactRef]:
    """Trade the scores of a training run.

    Parameters
    ----------
    workspace : Workspace
        Store, cost profiles, progress.
    stages : Stages
        Writes the artifacts, or finds them.
    run : RunRecord
        Training run.
    config : BacktestRunConfig
        Book and costs.

    Returns
    -------
    dict of str to ArtifactRef
        Roles ``backtest, trades, orders``.
    """
    costs = load_costs(workspace.catalog, config.costs)

    def compute() -> dict[str, tuple[Any, Any]]:
        simulation = read_simulation(workspace, run, config)
        with workspace.progress.stage("simulate", 1):
            return result_artifacts(simulation.run())

    return stages.run(
        "backtest.simulate",
        compute,
        packages=BACKTEST.packages,
        config={**config.content(), "cost_profile": costs.content()},
        inputs=simulation_inputs(run, in_sample=config.in_sample),
    )


def fills_contract(
    config: BacktestRunConfig, run: RunRecord, documents: Mapping[str, Any]
) -> ExecutionContract:
    """State the terms of the trades of a simulated book.

    Parameters
    ----------
    config : BacktestRunConfig
        Book or rules.
    run : RunRecord
        Training run whose scores were traded.
    documents : mapping
        ``settings`` and ``summary`` of the backtest.

    Returns
    -------
    ExecutionContract
        To be compared with that of the labels. Stops and targets leave at a barrier; rules
        without a holding period may hold as long as the run.
    """
    settings = documents["settings"]
    rules = None if config.rules is None else config.rules.settings
    held = config.backtest.portfolio.rebalance_sessions
    enter = leave = _PRICES[config.filling.fill]
    if rules is not None:
        held = rules.holding_sessions or int(documents["summary"]["n_sessions"])
        leave = "barrier" if rules.rests_orders else enter
    return ExecutionContract.model_validate(
        {
            "horizon_sessions": held,
            "price_basis": settings["price_basis"],
            "entry_lag": 0 if config.is_same_bar else 1,
            "entry_price": enter,
            "exit_price": leave,
            "terminal": config.backtest.terminal.content(),
            # A book that follows the sides of a primary signal keeps the promise of its
            # meta-labels.
            "direction": "primary" if is_meta(TrainConfig.model_validate(run.config)) else "score",
            "costs": settings["cost_profile_id"],
        }
    )


def result_artifacts(result: BacktestResult) -> dict[str, tuple[Any, Any]]:
    """Return what is stored of a simulated book.

    Parameters
    ----------
    result : BacktestResult
        Of one simulation.

    Returns
    -------
    dict of str to (ArtifactKind, Bundle)
        Roles ``backtest, trades, orders``.
    """
    return {
        "backtest": (BACKTEST, _result_bundle(result)),
        "trades": (TRADES, Bundle({"trades": result.trades})),
        "orders": (ORDERS, Bundle({"orders": result.orders})),
    }


def simulation_inputs(run: RunRecord, *, in_sample: bool) -> tuple[ArtifactRef, ...]:
    """Return the artifacts of a training run that its simulations read.

    Parameters
    ----------
    run : RunRecord
        Training run.
    in_sample : bool
        Whether the final model's predictions of its own training data are traded.

    Returns
    -------
    tuple of ArtifactRef
        In a fixed order.
    """
    roles = ["panel", "market", "regimes", *(["model", "features"] if in_sample else ["oos"])]
    return tuple(run.artifacts[role] for role in roles)


def read_simulation(workspace: Workspace, run: RunRecord, config: BacktestRunConfig) -> Simulation:
    """Read all that a book of a training run is simulated with.

    Parameters
    ----------
    workspace : Workspace
        Store and cost profiles.
    run : RunRecord
        Training run.
    config : BacktestRunConfig
        Book and costs.

    Returns
    -------
    Simulation
        Ready to run.
    """
    panel = workspace.store.read(PANEL, run.artifacts["panel"])
    market = workspace.store.read(MARKET, run.artifacts["market"])
    regimes = workspace.store.read(REGIME, run.artifacts["regimes"]).tables["regimes"]
    scores = _scores(workspace, run, in_sample=config.in_sample)
    scores = directed(scores, panel, TrainConfig.model_validate(run.config))
    traded = config.rules
    if traded is not None:
        panel, scores = rule_panel(panel, traded.settings), rule_scores(scores, traded)
    return Simulation(
        scores=scores,
        panel=panel,
        costs=load_costs(workspace.catalog, config.costs),
        config=config.backtest,
        delistings=market.tables["delistings"],
        regimes=regimes.set_index("session"),
        benchmark_returns=frame_on_sessions(market.tables["benchmark"], panel)["close_return"],
        rules=None if traded is None else traded.settings,
    )


def _scores(workspace: Workspace, run: RunRecord, *, in_sample: bool) -> pd.DataFrame:
    columns = ["date", "asset_id", "score", "expected_return_frac", "confidence"]
    if not in_sample:
        return workspace.store.read(OOS, run.artifacts["oos"]).tables["oos"][columns]
    config = TrainConfig.model_validate(run.config)
    feature_set = read_feature_set(workspace, config.feature_set)
    features = market_features(
        workspace.store.read(FEATURE_PANEL, run.artifacts["features"]),
        feature_set,
        workspace.store.read(PANEL, run.artifacts["panel"]),
    )
    model = load(workspace.store.read(MODEL, run.artifacts["model"]))
    warmup = feature_set.max_lookback_sessions
    table = predict_rows(model, features, rows=slice(warmup, None), with_contributions=False).table
    return table[columns]


def directed(scores: pd.DataFrame, panel: Panel, config: TrainConfig) -> pd.DataFrame:
    """Turn how sure a meta-model is of a side into a score of the asset; others stay as they are.

    A rank in (0, 1] within the session times the side: the surest longs on top, the surest shorts
    at the bottom, bets that the model doubts in the middle.

    Parameters
    ----------
    scores : DataFrame
        ``date, asset_id, score, expected_return_frac``.
    panel : Panel
        Market panel that holds those sessions and assets.
    config : TrainConfig
        Says whether the scores are those of a meta-model.

    Returns
    -------
    DataFrame
        NaN score where the primary signal has no side.
    """
    if not is_meta(config):
        return scores
    side = primary_sides(scores, panel, config)
    rank = scores.groupby("date")["score"].rank(pct=True)
    directed = scores.assign(
        score=(side * rank).where(side != 0.0),
        expected_return_frac=side * scores["expected_return_frac"],
    )
    return directed


def _result_bundle(result: BacktestResult) -> Bundle:
    rules = {"rules": result.rules.content()} if isinstance(result, RuleBacktestResult) else {}
    return Bundle(
        tables={
            "daily": result.daily.reset_index(),
            "exposures": result.exposures.reset_index(),
            "regime_breakdown": result.regime_breakdown.reset_index(),
            "monthly_returns": result.monthly_returns.reset_index(),
        },
        documents={
            "summary": dict(result.summary),
            "settings": {
                "backtest": result.config.content(),
                "cost_profile": result.cost_profile_name,
                "cost_profile_id": result.cost_profile_id,
                "price_basis": result.price_basis.value,
                **rules,
            },
        },
    )
