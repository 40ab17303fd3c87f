"""Retrain: is a new model due, which versions exist, and going back to the previous champion."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from quant_engine.artifacts.kinds.backtest import BACKTEST
from quant_engine.core.errors import InsufficientObservationError
from quant_engine.workflows.config import TrainConfig
from quant_engine.workflows.context import Workspace
from quant_engine.workflows.data import Location
from quant_engine.workflows.model_registry import ModelRegistry, ModelVersion
from quant_engine.workflows.outcome import Outcome
from quant_engine.workflows.run_registry import RunRecord, RunRegistry
from quant_engine.workflows.train import train

MAX_AGE_DAYS = 30.0
MIN_RANK_IC = 0.05
MIN_SHARPE = 0.3
MIN_WIN_RATE = 0.45


@dataclass(frozen=True)
class Trigger:
    """One reason to retrain.

    Parameters
    ----------
    name : str
        What is watched.
    fires : bool or None
        None = too little was observed to say.
    reason : str
        One sentence.
    """

    name: str
    fires: bool | None
    reason: str


def triggers(workspace: Workspace, run: RunRecord) -> list[Trigger]:
    """Examine a run for reasons to retrain.

    Parameters
    ----------
    workspace : Workspace
        Registries and clock.
    run : RunRecord
        The newest training run.

    Returns
    -------
    list of Trigger
        Age, out-of-sample rank IC, and what the newest backtest of the run says.
    """
    made = datetime.strptime(run.run_id.partition("-")[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    age = (workspace.clock.now() - made).total_seconds() / 86_400.0
    found = [
        Trigger("age", age > MAX_AGE_DAYS, f"{age:.1f} days, limit {MAX_AGE_DAYS:.0f}"),
    ]
    version = _version(workspace, run)
    ic = None if version is None else version.figures.get("oos_rank_ic")
    found.append(_below("out-of-sample rank IC", ic, MIN_RANK_IC))
    tests = [r for r in RunRegistry(workspace).all("backtest") if r.parent == run.run_id]
    summary = _summary(workspace, tests[-1]) if tests else {}
    found.append(_below("net Sharpe", summary.get("sharpe"), MIN_SHARPE))
    found.append(_below("win rate", summary.get("hit_rate"), MIN_WIN_RATE))
    return found


def status(workspace: Workspace, *, horizon: int | None = None) -> Outcome:
    """Show the newest run, its champion and the triggers; train nothing.

    Parameters
    ----------
    workspace : Workspace
        Registries.
    horizon : int, optional
        Newest run with this horizon.

    Returns
    -------
    Outcome
        One line per trigger.
    """
    run = RunRegistry(workspace).newest("train", horizon=horizon)
    champion = ModelRegistry(workspace).champion(run.dataset, run.horizon_sessions, run.track)
    found = triggers(workspace, run)
    lines = [
        run.title(),
        f"champion: {champion.version if champion else 'none (no promotable version)'}",
    ]
    version = _version(workspace, run)
    if version is not None and not version.promotable:
        lines += [f"not promotable: {reason}" for reason in version.reasons]
    lines += [f"  {_word(t):<12} {t.name}: {t.reason}" for t in found]
    lines.append("retrain is due" if any(t.fires for t in found) else "no trigger fires")
    return Outcome(
        text="\n".join(lines),
        track=run.track,
        dataset=run.dataset,
        metrics={"due": any(t.fires for t in found)},
    )


def versions(workspace: Workspace) -> Outcome:
    """List registered versions and mark champions.

    Parameters
    ----------
    workspace : Workspace
        Registries.

    Returns
    -------
    Outcome
        One line per version, oldest first.
    """
    registry = ModelRegistry(workspace)
    champions = set(registry.champions().values())
    lines = []
    for version in registry.all():
        mark = "champion" if version.version in champions else ""
        ic = version.figures.get("oos_rank_ic")
        lines.append(
            f"{version.version}  {version.triple:<50}  "
            f"rank IC {'n/a' if ic is None else f'{ic:+.4f}'}  "
            f"{'promotable' if version.promotable else 'not promotable'}  {mark}".rstrip()
        )
    return Outcome(
        text="\n".join(lines) or "no versions yet; run `python run_train.py`",
        metrics={"versions": len(lines), "champions": len(champions)},
    )


def rollback(workspace: Workspace, *, horizon: int | None = None, dry_run: bool = False) -> Outcome:
    """Make the previous champion of the newest run's triple champion again.

    Parameters
    ----------
    workspace : Workspace
        Registries.
    horizon : int, optional
        Newest run with this horizon.
    dry_run : bool
        Say which version would be champion, change nothing.

    Returns
    -------
    Outcome
        The champion after the rollback.
    """
    run = RunRegistry(workspace).newest("train", horizon=horizon)
    triple = f"{run.dataset}|{run.horizon_sessions}|{run.track}"
    if dry_run:
        target = ModelRegistry(workspace).earlier_champion(triple)
        text = f"would make {target.version} champion of {triple} again"
        return Outcome(text=text, status="dry_run", track=run.track, dataset=run.dataset)
    champion = ModelRegistry(workspace).rollback(triple)
    return Outcome(
        text=f"champion of {triple} is {champion.version} again",
        track=run.track,
        dataset=run.dataset,
    )


def retrain(workspace: Workspace, *, horizon: int | None = None, force: bool = False) -> Outcome:
    """Train the newest run's configuration again when a trigger fires, or when forced.

    Parameters
    ----------
    workspace : Workspace
        Registries.
    horizon : int, optional
        Newest run with this horizon.
    force : bool
        Train whatever the triggers say.

    Returns
    -------
    Outcome
        Of the training, or a sentence saying that none was due.

    Raises
    ------
    InsufficientObservationError
        When no trigger fires and at least one could not be judged.
    """
    run = RunRegistry(workspace).newest("train", horizon=horizon)
    found = triggers(workspace, run)
    if not force and not any(t.fires for t in found):
        unknown = [t.name for t in found if t.fires is None]
        if unknown:
            raise InsufficientObservationError(
                "retrain triggers",
                wanted="a verdict on every trigger",
                got=f"none fires, not judged: {', '.join(unknown)}",
                hint="Run `python run_backtest.py` first, or use --force.",
            )
        return Outcome(text=f"{run.title()}\nno trigger fires; nothing was trained")
    return train(workspace, TrainConfig.model_validate(run.config), Location(**run.location))


def _version(workspace: Workspace, run: RunRecord) -> ModelVersion | None:
    found = [v for v in ModelRegistry(workspace).all() if v.version == run.model_version]
    return found[-1] if found else None


def _summary(workspace: Workspace, run: RunRecord) -> dict[str, float | None]:
    summary: dict[str, float | None] = workspace.store.read(
        BACKTEST, run.artifacts["backtest"]
    ).documents["summary"]
    return summary


def _below(name: str, value: float | None, limit: float) -> Trigger:
    if value is None:
        return Trigger(name, None, "not observed")
    return Trigger(name, value < limit, f"{value:.4f}, limit {limit}")


def _word(trigger: Trigger) -> str:
    if trigger.fires is None:
        return "insufficient"
    return "fires" if trigger.fires else "quiet"
