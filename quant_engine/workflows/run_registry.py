"""Registry of completed runs: which run is the newest, and which artifacts belong to it.

``results/runs.json`` holds one entry per completed run. It is written after all artifacts of the
run, so a run that stands there is whole.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from quant_engine.artifacts.json_registry import JsonRegistry
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError, did_you_mean
from quant_engine.workflows.context import Workspace

KEPT_RUNS = 500


class RunRecord(FrozenConfig):
    """A completed run.

    Parameters
    ----------
    run_id : str
        Identifier.
    command : str
        ``"train"``, ``"predict"``, ``"backtest"``, ``"factors"``, ``"rank"`` or ``"gain"``.
    dataset : str
        Dataset id.
    horizon_sessions : int
        Label horizon.
    track : str
        Track of its records.
    first_session, last_session : str
        ISO dates of the data.
    artifacts : dict of str to ArtifactRef
        Role to artifact.
    config : dict
        Resolved configuration, for going on and for replay.
    location : dict of str to str
        Where the raw data lay (paths), outside every hash.
    parent : str
        Run whose artifacts it went on from; empty for training.
    model_version : str
        Version name in the model registry; empty where none was registered.
    suite : dict
        Settings of the validation suite of a backtest; left out where it was not run. It adds to
        a backtest and changes none, so it is no part of ``config``.
    """

    run_id: str
    command: str
    dataset: str
    horizon_sessions: int
    track: str
    first_session: str
    last_session: str
    artifacts: dict[str, ArtifactRef]
    config: dict[str, Any]
    location: dict[str, str] = Field(default_factory=dict)
    parent: str = ""
    model_version: str = ""
    suite: dict[str, Any] = Field(default_factory=dict, exclude_if=lambda suite: not suite)

    def title(self) -> str:
        """Return dataset, version and dates in one line."""
        version = self.model_version or self.run_id
        return (
            f"dataset {self.dataset} ({self.first_session} to {self.last_session}), "
            f"horizon {self.horizon_sessions} sessions, version {version}, track {self.track}"
        )


class RunRegistry:
    """Completed runs of one results folder.

    Parameters
    ----------
    workspace : Workspace
        Results folder and clock.
    """

    def __init__(self, workspace: Workspace) -> None:
        path = workspace.settings.results_root / "runs.json"
        self._registry = JsonRegistry(path, clock=workspace.clock)

    def add(self, record: RunRecord) -> None:
        """Append a completed run; older entries beyond the bound stay in the history."""
        entry = record.content()

        def update(current: dict[str, Any]) -> dict[str, Any]:
            runs = [*current.get("runs", []), entry]
            return {"runs": runs[-KEPT_RUNS:]}

        details = {"run_id": record.run_id, "command": record.command}
        self._registry.change("run_completed", details, update)

    def all(self, command: str | None = None) -> list[RunRecord]:
        """Return completed runs, oldest first, optionally of one command."""
        runs = [RunRecord.model_validate(r) for r in self._registry.read().current.get("runs", [])]
        return [run for run in runs if command in (None, run.command)]

    def newest(self, command: str, *, horizon: int | None = None) -> RunRecord:
        """Return the newest completed run of a command.

        Parameters
        ----------
        command : str
            ``"train"`` and so on.
        horizon : int, optional
            Only runs with this label horizon, in sessions.

        Returns
        -------
        RunRecord
            The newest one.

        Raises
        ------
        DataError
            When there is none.
        """
        runs = [r for r in self.all(command) if horizon in (None, r.horizon_sessions)]
        if not runs:
            known = sorted({r.horizon_sessions for r in self.all(command)})
            raise DataError(
                "results folder",
                wanted=f"a completed {command} run"
                + ("" if horizon is None else f" with horizon {horizon}"),
                got=f"runs with horizons {known}" if known else "none",
                hint=f"Run `python run_{command}.py` first.",
            )
        return runs[-1]

    def get(self, run_id: str) -> RunRecord:
        """Return a run by its id; ConfigError names the nearest ids."""
        runs = {run.run_id: run for run in self.all()}
        if run_id not in runs:
            raise ConfigError(
                "run id",
                wanted="a completed run",
                got=repr(run_id),
                hint=did_you_mean(run_id, runs),
            )
        return runs[run_id]

    def making(self, ref: ArtifactRef) -> RunRecord | None:
        """Return the newest run that has an artifact among its own, or None."""
        found = [run for run in self.all() if ref in run.artifacts.values()]
        return found[-1] if found else None
