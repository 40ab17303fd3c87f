"""Replay: compute an artifact again from raw data in an empty store, and compare bytes."""

from __future__ import annotations

from pathlib import Path

from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.artifacts.store import ArtifactStore
from quant_engine.core.errors import DataError, IntegrityError
from quant_engine.core.scratch import scratch_folder
from quant_engine.workflows.backtest import BacktestRequest, run_backtest
from quant_engine.workflows.config import TrainConfig
from quant_engine.workflows.context import Workspace, moved_workspace
from quant_engine.workflows.data import Location
from quant_engine.workflows.factor_config import FactorConfig, GainConfig, RankConfig
from quant_engine.workflows.factor_gain import gain
from quant_engine.workflows.factor_research import research
from quant_engine.workflows.factor_signals import rank
from quant_engine.workflows.outcome import Outcome
from quant_engine.workflows.predict import PredictRequest, predict
from quant_engine.workflows.run_registry import RunRecord, RunRegistry
from quant_engine.workflows.signal_backtest import SIGNALS_COMMAND, trade_signals
from quant_engine.workflows.simulation import BacktestRunConfig
from quant_engine.workflows.sweep import SWEEP_COMMAND, repeat_sweep
from quant_engine.workflows.train import train


def replay(workspace: Workspace, identity: str, *, dry_run: bool = False) -> Outcome:
    """Reproduce an artifact.

    The run that made it is repeated, with the run it went on from, in a temporary results folder;
    raw data is read again from where it lay.

    Parameters
    ----------
    workspace : Workspace
        Store that holds the artifact.
    identity : str
        Id, beginning of an id, or ``KIND/ID``.
    dry_run : bool
        Say which runs would be repeated.

    Returns
    -------
    Outcome
        A sentence; equal bytes are success.

    Raises
    ------
    DataError
        When no completed run made the artifact.
    IntegrityError
        When the bytes differ, naming the first artifact along the chain that does.
    """
    ref = workspace.store.find(identity)
    run = RunRegistry(workspace).making(ref)
    if run is None:
        raise DataError(
            f"artifact {ref}",
            wanted="a completed run that made it",
            got="none",
            hint="Artifacts of interrupted runs are replayed after the run was resumed.",
        )
    chain = _chain(RunRegistry(workspace), run)
    if dry_run:
        steps = ", then ".join(f"{step.command} {step.run_id}" for step in chain)
        return Outcome(text=f"would repeat {steps}", status="dry_run", dataset=run.dataset)
    with scratch_folder() as folder:
        again = moved_workspace(workspace, folder)
        for step in chain:
            _repeat(again, step)
        newest = RunRegistry(again).all(run.command)[-1]
        notes = _compare(workspace.store, run, again.store, newest, ref)
    return Outcome(
        text=f"{ref} was computed again from raw data: same bytes",
        track=run.track,
        dataset=run.dataset,
        warnings=notes,
        metrics={"identical": True, "runs_repeated": len(chain)},
    )


def _chain(runs: RunRegistry, run: RunRecord) -> list[RunRecord]:
    chain = [run]
    while chain[0].parent:
        chain.insert(0, runs.get(chain[0].parent))
    return chain


def _repeat(workspace: Workspace, run: RunRecord) -> None:
    location = Location(**run.location)
    if run.command == "train":
        train(workspace, TrainConfig.model_validate(run.config), location)
    elif run.command == "predict":
        end = TrainConfig.model_validate(run.config).data.end
        path = Path(location.bars) if location.bars else None
        predict(workspace, PredictRequest(end=end, path=path))
    elif run.command == "factors":
        research(workspace, FactorConfig.model_validate(run.config), location)
    elif run.command == "rank":
        rank(workspace, RankConfig.model_validate(run.config), location)
    elif run.command == "gain":
        gain(workspace, GainConfig.model_validate(run.config), location)
    elif run.command == SWEEP_COMMAND:
        repeat_sweep(workspace, run)
    else:
        config = BacktestRunConfig.model_validate(run.config)
        overrides = {"backtest": config.backtest.content(), "costs": config.costs}
        if run.command == SIGNALS_COMMAND:
            trade_signals(workspace, overrides)
            return
        if run.suite:
            overrides["advanced"] = run.suite
        if config.rules is not None:
            overrides["rules"] = config.rules.content()
        request = BacktestRequest(allow_in_sample=config.in_sample, advanced=bool(run.suite))
        run_backtest(workspace, request, overrides)


def _compare(
    store: ArtifactStore,
    before: RunRecord,
    other: ArtifactStore,
    after: RunRecord,
    ref: ArtifactRef,
) -> list[str]:
    """Compare payload bytes of the artifact; name what differs along the chain when they do."""

    def same(role: str) -> bool:
        made = store.manifest(before.artifacts[role])
        again = other.manifest(after.artifacts[role])
        return made.content_sha256 == again.content_sha256

    wanted = [role for role, made in before.artifacts.items() if made == ref]
    if wanted and all(same(role) for role in wanted):
        if all(after.artifacts[role] == ref for role in wanted):
            return []
        return ["the id differs although the bytes do not: code changed since it was written"]
    different = [role for role in before.artifacts if not same(role)]
    raise IntegrityError(
        f"replay of {ref}",
        wanted="the same bytes",
        got=f"other bytes in {', '.join(different)}",
        hint="Raw data, code or library versions changed; see the manifests with `qe lineage`.",
    )
