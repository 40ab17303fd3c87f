"""The event-market page of a run, made from what lies in the store and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from quant_engine.artifacts.files import explained_os_errors, write_atomic
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.core.hashing import sha256_bytes
from quant_engine.reports.event_data import ROLES, EventReportSources, load_event_report
from quant_engine.reports.event_page import render_event_page
from quant_engine.workflows.context import Workspace
from quant_engine.workflows.event_sources import FAKE, EventSource, store_name
from quant_engine.workflows.run_registry import RunRecord, RunRegistry

__all__ = ["page_entry", "page_path", "write_page"]

PANEL = {"features": "panel"}
"""Roles of the pipeline that the page calls otherwise."""


def page_path(workspace: Workspace, source: EventSource) -> Path:
    """Where the page of a source lies: one page for each store.

    Parameters
    ----------
    workspace : Workspace
        Its results folder.
    source : EventSource
        Source; the season of the fake exchange has the plain name.

    Returns
    -------
    Path

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> place = SimpleNamespace(settings=SimpleNamespace(results_root=Path("results")))
    >>> page_path(place, EventSource("demo", series=("KXCPI",))).name
    'kalshi_report_demo.html'
    """
    suffix = "" if source.environment == FAKE else f"_{store_name(source)}"
    return workspace.settings.results_root / f"kalshi_report{suffix}.html"


def write_page(workspace: Workspace, source: EventSource, record: RunRecord) -> Path | None:
    """Write the page of a run.

    Parameters
    ----------
    workspace : Workspace
        Store, registry of runs and results folder.
    source : EventSource
        Where the quotes come from.
    record : RunRecord
        The run. What it did not do is taken from the newest run of the same data and settings
        that did, so that a single stage does not empty the page of a whole run.

    Returns
    -------
    Path or None
        None where nothing was computed yet: a store alone has nothing to show.
    """
    refs = _refs(workspace, record)
    if set(refs) <= {"health"}:
        return None
    sources = EventReportSources(
        refs=refs,
        title=f"Event markets of {record.dataset}",
        run_id=record.run_id,
        environment=source.environment,
    )
    with workspace.progress.stage("event page", 1):
        page = render_event_page(load_event_report(workspace.store, sources))
    path = page_path(workspace, source)
    with explained_os_errors(path.parent):
        write_atomic(path, page.encode("utf-8"))
    return path


def page_entry(path: Path) -> dict[str, str]:
    """Describe a page beside the artifacts of a run.

    Parameters
    ----------
    path : Path
        Page that was written.

    Returns
    -------
    dict of str to str
        ``{"kind", "id", "path", "sha256"}``.
    """
    content = sha256_bytes(path.read_bytes())
    return {"kind": "page", "id": path.stem, "path": str(path), "sha256": content}


def _refs(workspace: Workspace, record: RunRecord) -> Mapping[str, ArtifactRef]:
    """Artifacts by the roles of the page, in its order; own ones before those of earlier runs."""
    earlier = [
        run
        for run in RunRegistry(workspace).all(record.command)
        if run.dataset == record.dataset
        and run.config.get("settings") == record.config.get("settings")
    ]
    found: dict[str, ArtifactRef] = {}
    for run in [*earlier, record]:
        found |= {PANEL.get(role, role): ref for role, ref in run.artifacts.items()}
    known = {role: ref for role, ref in found.items() if role in ROLES}
    return {role: known[role] for role in ROLES if role in known}
