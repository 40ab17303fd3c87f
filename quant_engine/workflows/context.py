"""Workspace: the folders, store, registries, clock and workers that a workflow runs with."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from quant_engine.artifacts.code import code_digest
from quant_engine.artifacts.files import explained_os_errors
from quant_engine.artifacts.manifest import ArtifactRef, Provenance
from quant_engine.artifacts.stages import StageRecords
from quant_engine.artifacts.store import ArtifactKind, ArtifactStore
from quant_engine.core.clock import Clock, SystemClock
from quant_engine.core.executor import Executor, SerialExecutor
from quant_engine.core.executor_choice import make_executor
from quant_engine.core.hashing import sha256_json
from quant_engine.core.progress import SILENT, Progress
from quant_engine.core.settings import Settings
from quant_engine.core.specs import SpecCatalog

DEFAULT_JOBS = 2


@dataclass(frozen=True)
class Workspace:
    """Everything around a computation that may not change its result.

    Parameters
    ----------
    settings : Settings
        State folders.
    store : ArtifactStore
        Artifacts of the results folder.
    catalog : SpecCatalog
        Shipped specs and those of the working folder.
    clock : Clock
        Wall clock of records and run ids.
    progress : Progress
        Who hears about stages.
    executor : Executor
        Serial, process pool or Ray; results do not depend on it.
    resume : bool
        Whether finished stages are reused.
    """

    settings: Settings
    store: ArtifactStore
    catalog: SpecCatalog
    clock: Clock
    progress: Progress = SILENT
    executor: Executor = field(default_factory=SerialExecutor)
    resume: bool = False

    @classmethod
    def open(
        cls,
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        progress: Progress = SILENT,
        jobs: int = DEFAULT_JOBS,
        resume: bool = False,
    ) -> Workspace:
        """Open the workspace of the current folder.

        Parameters
        ----------
        settings : Settings, optional
            State folders and executor; from the environment by default.
        clock : Clock, optional
            The machine's clock by default.
        progress : Progress
            Listener.
        jobs : int
            Parallel tasks; the settings say where they run.
        resume : bool
            Whether finished stages are reused.

        Returns
        -------
        Workspace
            Ready; nothing is written by opening.
        """
        settings = settings or Settings()
        clock = clock or SystemClock()
        store = ArtifactStore(settings.results_root, clock=clock, commit=_commit())
        return cls(
            settings=settings,
            store=store,
            catalog=SpecCatalog.default(Path.cwd()),
            clock=clock,
            progress=progress,
            executor=make_executor(jobs, settings.executor, ray_address=settings.ray_address),
            resume=resume,
        )


def moved_workspace(workspace: Workspace, folder: Path) -> Workspace:
    """Return the same workspace with its results and models in another folder.

    Parameters
    ----------
    workspace : Workspace
        Clock, progress, workers and specs are kept.
    folder : Path
        Existing folder, usually temporary.

    Returns
    -------
    Workspace
        Nothing is resumed in it.
    """
    moved = {"results_root": folder / "results", "models_root": folder / "models"}
    return replace(
        workspace,
        settings=workspace.settings.model_copy(update=moved),
        store=ArtifactStore(folder / "results", clock=workspace.clock),
        resume=False,
    )


def require_writable(workspace: Workspace) -> None:
    """Fail before any work when a state folder cannot be written.

    Parameters
    ----------
    workspace : Workspace
        Its results and model folders are examined; nothing is left behind.

    Raises
    ------
    StoreError
        When a file stands in the way, the folder is read-only or the disk is full.
    """
    for folder in (workspace.settings.results_root, workspace.settings.models_root):
        existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        with explained_os_errors(folder), tempfile.TemporaryFile(dir=existing):
            pass


class Stages:
    """Runs the stages of one workflow: reuse what finished, write what is computed.

    Parameters
    ----------
    workspace : Workspace
        Store, progress and the resume switch.
    facts : dict
        Fields of :class:`~quant_engine.artifacts.manifest.Provenance` that all artifacts of the
        run share (dataset, as_of, track ...).
    """

    def __init__(self, workspace: Workspace, facts: dict[str, Any]) -> None:
        self._workspace = workspace
        self._records = StageRecords(workspace.store)
        self._facts = facts
        self.written: list[ArtifactRef] = []

    def run(
        self,
        name: str,
        compute: Callable[[], dict[str, tuple[ArtifactKind[Any], Any]]],
        *,
        packages: tuple[str, ...],
        config: dict[str, Any],
        inputs: tuple[ArtifactRef, ...],
        facts: dict[str, Any] | None = None,
    ) -> dict[str, ArtifactRef]:
        """Run one stage, or reuse its artifacts when the run is resumed.

        Parameters
        ----------
        name : str
            Stage name, such as ``"train.features"``.
        compute : callable
            Returns role -> (kind, value); called only when needed.
        packages : tuple of str
            Packages whose code determines the result.
        config : dict
            Semantic configuration, plain JSON values.
        inputs : tuple of ArtifactRef
            Artifacts it reads.
        facts : dict, optional
            Further provenance fields of this stage.

        Returns
        -------
        dict of str to ArtifactRef
            Role to artifact.
        """
        shared = {**self._facts, **(facts or {})}
        plain = {key: str(value) for key, value in shared.items()}
        key = StageRecords.key(
            name,
            config={"config": config, "facts": plain},
            code=code_digest(("core", "artifacts", *packages)),
            inputs=[str(ref) for ref in inputs],
        )
        store = self._workspace.store
        outputs = self._records.load(key) if self._workspace.resume else None
        if outputs is None or any(store.faults(ref) for ref in outputs.values()):
            outputs = self.write_all(name, compute(), config=config, inputs=inputs, facts=facts)
            self._records.save(key, outputs)
        else:
            self.written.extend(outputs.values())
        return outputs

    def write_all(
        self,
        name: str,
        values: dict[str, tuple[ArtifactKind[Any], Any]],
        *,
        config: dict[str, Any],
        inputs: tuple[ArtifactRef, ...],
        facts: dict[str, Any] | None = None,
    ) -> dict[str, ArtifactRef]:
        """Write computed values as artifacts of a stage.

        Parameters
        ----------
        name : str
            Stage name.
        values : dict of str to (ArtifactKind, object)
            Role to kind and value.
        config : dict
            Semantic configuration, plain JSON values.
        inputs : tuple of ArtifactRef
            Artifacts they were computed from.
        facts : dict, optional
            Further provenance fields of this stage.

        Returns
        -------
        dict of str to ArtifactRef
            Role to artifact.
        """
        shared = {**self._facts, **(facts or {})}
        outputs = {}
        for role, (kind, value) in values.items():
            provenance = Provenance(producer=name, config=config, inputs=inputs, **shared)
            outputs[role] = self._workspace.store.write(kind, value, provenance)
        self.written.extend(outputs.values())
        return outputs


def new_run_id(clock: Clock, command: str, config: dict[str, Any]) -> str:
    """Return a run id: UTC time and the beginning of a hash of command and configuration.

    Parameters
    ----------
    clock : Clock
        Source of the time.
    command : str
        Such as ``"train"``: two commands of one second are two runs.
    config : dict
        Resolved configuration.

    Returns
    -------
    str
        Such as ``20260102T030405-1a2b3c4d``; never part of a hash.
    """
    return f"{clock.now():%Y%m%dT%H%M%S}-{sha256_json([command, config])[:8]}"


def _commit() -> str:
    """Return the commit of the installed sources where they are a git working copy."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return ""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
