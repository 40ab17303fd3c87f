"""Outcome: what a workflow tells the person or program that started it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.artifacts.store import ArtifactStore


@dataclass(frozen=True)
class Outcome:
    """Result of one command.

    Parameters
    ----------
    text : str
        What a person reads on standard output.
    status : str
        ``"completed"``, ``"dry_run"`` and the like.
    exit_code : int
        Process exit code.
    run_id : str or None
        Identifier of the run, outside every hash.
    track, dataset : str or None
        Where the result counts and what it is about.
    artifacts : list of dict
        ``{"kind", "id", "path", "sha256"}`` of every artifact written or reused.
    metrics : dict of str to float or None
        Flat headline numbers; None = not available.
    warnings : list of str
        Sentences.
    timings : dict of str to float
        Seconds by stage.
    """

    text: str
    status: str = "completed"
    exit_code: int = 0
    run_id: str | None = None
    track: str | None = None
    dataset: str | None = None
    artifacts: list[dict[str, str]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)


def listed(store: ArtifactStore, refs: list[ArtifactRef]) -> list[dict[str, str]]:
    """Describe artifacts for the JSON output, each once, in order.

    Parameters
    ----------
    store : ArtifactStore
        Where they lie.
    refs : list of ArtifactRef
        Artifacts of a run.

    Returns
    -------
    list of dict
        ``{"kind", "id", "path", "sha256"}``.
    """
    return [
        {
            "kind": ref.kind,
            "id": ref.id,
            "path": str(store.path(ref)),
            "sha256": store.manifest(ref).content_sha256,
        }
        for ref in dict.fromkeys(refs)
    ]
