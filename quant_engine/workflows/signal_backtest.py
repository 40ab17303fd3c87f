"""Backtest of a ranking: every session's signals, traded at the next open.

The book is that of `run_backtest`: the same simulator, costs, defaults and exports. A ranking has
no training run, so there is no model to judge and no tear sheet of one; the figures of the book are
printed, written and counted as a trial of the ledger.
"""

from __future__ import annotations

from typing import Any

from quant_engine.artifacts.files import write_atomic, write_json
from quant_engine.artifacts.kinds.backtest import BACKTEST, TRADES
from quant_engine.artifacts.kinds.market import MARKET
from quant_engine.artifacts.kinds.panel import PANEL
from quant_engine.artifacts.kinds.signals import SIGNALS
from quant_engine.artifacts.kinds.training import REGIME
from quant_engine.backtest.simulation import Simulation
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.core.hashing import sha256_json
from quant_engine.core.trials import Trial
from quant_engine.execution.cost_model import Costs
from quant_engine.workflows.backtest import resolve_book, text_of_book
from quant_engine.workflows.context import Stages, Workspace, new_run_id, require_writable
from quant_engine.workflows.costs import load_costs
from quant_engine.workflows.data import frame_on_sessions
from quant_engine.workflows.outcome import Outcome, listed
from quant_engine.workflows.run_registry import RunRecord, RunRegistry
from quant_engine.workflows.simulation import BacktestRunConfig, result_artifacts
from quant_engine.workflows.trials import family_of, track_ledger

__all__ = ["SIGNALS_COMMAND", "trade_signals"]

SIGNALS_COMMAND = "backtest-signals"
"""Command of such a run in the registry of runs."""

FAMILY = "signals"
"""Rankings compete among themselves."""


def trade_signals(
    workspace: Workspace,
    overrides: dict[str, Any],
    *,
    run_id: str | None = None,
    dry_run: bool = False,
) -> Outcome:
    """Trade the signals of a ranking with history.

    Parameters
    ----------
    workspace : Workspace
        Store and registries.
    overrides : dict
        Nested settings of a backtest; unknown keys are refused.
    run_id : str, optional
        A ranking; the newest one by default.
    dry_run : bool
        Say what would be simulated.

    Returns
    -------
    Outcome
        Headline figures, exports and artifacts.

    Raises
    ------
    DataError
        When the ranking holds one session alone.
    ConfigError
        For fills on the deciding bar.
    """
    runs = RunRegistry(workspace)
    run = runs.get(run_id) if run_id else runs.newest("rank")
    config = resolve_book(overrides, run, run.config["run"]["labels"]["terminal"])
    if config.is_same_bar:
        raise ConfigError(
            "--unsafe-same-bar",
            wanted="no such flag beside --signals",
            got="both",
            hint="Its runs are kept apart and marked where the predictions of a model are traded.",
        )
    _require_history(workspace, run)
    if dry_run:
        return Outcome(text=f"would trade {run.title()}", status="dry_run", dataset=run.dataset)
    require_writable(workspace)
    source = workspace.store.manifest(run.artifacts["signals"]).provenance
    stages = Stages(workspace, source.model_dump(exclude={"producer", "config", "inputs"}))
    costs = load_costs(workspace.catalog, config.costs)

    def compute() -> dict[str, tuple[Any, Any]]:
        with workspace.progress.stage("simulate", 1):
            return result_artifacts(_simulation(workspace, run, config, costs).run())

    refs = stages.run(
        "backtest.signals",
        compute,
        packages=BACKTEST.packages,
        config={**config.content(), "cost_profile": costs.content()},
        inputs=tuple(run.artifacts[role] for role in ("panel", "market", "regimes", "signals")),
    )
    record = run.model_copy(
        update={
            "run_id": new_run_id(workspace.clock, SIGNALS_COMMAND, config.content()),
            "command": SIGNALS_COMMAND,
            "artifacts": refs,
            "config": config.content(),
            "parent": run.run_id,
        }
    )
    _count(workspace, record, run)
    runs.add(record)
    return _reported(workspace, stages, record, run)


def _require_history(workspace: Workspace, run: RunRecord) -> None:
    facts = workspace.store.read(SIGNALS, run.artifacts["signals"]).documents["facts"]
    if facts["n_sessions"] < 2:
        raise DataError(
            f"ranking {run.run_id}",
            wanted="signals of many sessions",
            got=f"{facts['n_sessions']} session",
            hint="Rank the history: run_factors.py rank --history --weights ...",
        )


def _simulation(
    workspace: Workspace, run: RunRecord, config: BacktestRunConfig, costs: Costs
) -> Simulation:
    panel = workspace.store.read(PANEL, run.artifacts["panel"])
    market = workspace.store.read(MARKET, run.artifacts["market"])
    regimes = workspace.store.read(REGIME, run.artifacts["regimes"]).tables["regimes"]
    signals = workspace.store.read(SIGNALS, run.artifacts["signals"]).tables["signals"]
    return Simulation(
        scores=signals[["date", "asset_id", "score"]],
        panel=panel,
        costs=costs,
        config=config.backtest,
        delistings=market.tables["delistings"],
        regimes=regimes.set_index("session"),
        benchmark_returns=frame_on_sessions(market.tables["benchmark"], panel)["close_return"],
    )


def _count(workspace: Workspace, record: RunRecord, run: RunRecord) -> None:
    track_ledger(workspace, run.track).record(
        Trial(
            family=family_of(FAMILY, record),
            spec_id=sha256_json({"ranking": run.config, "book": record.config}),
            data_id=run.dataset,
            split_id=sha256_json("every session"),
            asked_by="backtest",
            returns_ref=str(record.artifacts["backtest"]),
        )
    )


def _reported(workspace: Workspace, stages: Stages, record: RunRecord, run: RunRecord) -> Outcome:
    root, horizon = workspace.settings.results_root, record.horizon_sessions
    summary = workspace.store.read(BACKTEST, record.artifacts["backtest"]).documents["summary"]
    trades = workspace.store.read(TRADES, record.artifacts["trades"]).tables["trades"]
    paths = {
        "trades": root / f"signals_{horizon}d_trades.csv",
        "summary": root / f"signals_{horizon}d_summary.json",
    }
    text = trades.to_csv(index=False, date_format="%Y-%m-%d")
    write_atomic(paths["trades"], text.encode("utf-8"))
    write_json(paths["summary"], summary)
    lines = [run.title(), text_of_book(summary)]
    lines += [f"{name}: {path}" for name, path in paths.items()]
    return Outcome(
        text="\n".join(lines),
        run_id=record.run_id,
        track=record.track,
        dataset=record.dataset,
        artifacts=listed(workspace.store, stages.written),
        metrics={key: value for key, value in summary.items() if not isinstance(value, str)},
    )
