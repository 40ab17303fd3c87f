"""Simulate: the scores of a training run traded on the run's own panel, as a stage.

Whoever asks for the same book of the same run gets the same artifacts: a backtest and a variant of
it that happens to be that backtest are one and the same trial.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from quant_engine.artifacts.kinds.backtest import BACKTEST, ORDERS, TRADES
from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.market import MARKET
from quant_engine.artifacts.kinds.model import MODEL
from quant_engine.artifacts.kinds.panel import FEATURE_PANEL, PANEL
from quant_engine.artifacts.kinds.training import OOS, REGIME
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.result import BacktestResult
from quant_engine.backtest.simulation import Simulation
from quant_engine.core.config import FrozenConfig
from quant_engine.core.panel import Panel
from quant_engine.execution.costs import CostProfile
from quant_engine.models.predictor import predict as predict_rows
from quant_engine.models.serialization import load
from quant_engine.workflows.config import TrainConfig
from quant_engine.workflows.context import Stages, Workspace
from quant_engine.workflows.data import frame_on_sessions
from quant_engine.workflows.inputs import market_features, read_feature_set
from quant_engine.workflows.labels import is_meta, primary_sides
from quant_engine.workflows.run_registry import RunRecord


class BacktestRunConfig(FrozenConfig):
    """Everything that determines a backtest of given predictions.

    Parameters
    ----------
    backtest : BacktestConfig
        Book, capital, delisting assumptions.
    costs : str
        Cost profile in ``specs/costs``.
    in_sample : bool
        True = trade the final model's predictions of its own training data.
    """

    backtest: BacktestConfig
    costs: str = "base"
    in_sample: bool = False


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
    costs = workspace.catalog.load("costs", config.costs, CostProfile)

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
    return Simulation(
        scores=directed(scores, panel, TrainConfig.model_validate(run.config)),
        panel=panel,
        costs=workspace.catalog.load("costs", config.costs, CostProfile),
        config=config.backtest,
        delistings=market.tables["delistings"],
        regimes=regimes.set_index("session"),
        benchmark_returns=frame_on_sessions(market.tables["benchmark"], panel)["close_return"],
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
            },
        },
    )
