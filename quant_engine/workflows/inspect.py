"""Looking at the store: list, follow lineage, verify every byte, and examine the machine."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from importlib import metadata
from importlib.util import find_spec

from quant_engine import __version__
from quant_engine.artifacts.lineage import lineage
from quant_engine.core.errors import IntegrityError
from quant_engine.workflows.context import Workspace
from quant_engine.workflows.outcome import Outcome, listed
from quant_engine.workflows.qualify import governance_faults
from quant_engine.workflows.run_registry import RunRegistry

_GIB = 1024**3
_EXTRAS = {
    "kalshi": "cryptography",
    "neural": "torch",
    "rl": "stable_baselines3",
    "distributed": "ray",
    "tracking": "mlflow",
    "api": "fastapi",
    "data": "yfinance",
    "wrds": "sqlalchemy",
    "explain": "shap",
    "charts": "dash_tvlwc",
    "ga": "deap",
}
_CORE = ("numpy", "pandas", "pyarrow", "scipy", "scikit-learn", "lightgbm", "numba", "plotly")


def list_artifacts(workspace: Workspace, kind: str | None = None) -> Outcome:
    """List artifacts with kind, id, time and producer.

    Parameters
    ----------
    workspace : Workspace
        Results folder.
    kind : str, optional
        Only this kind.

    Returns
    -------
    Outcome
        One line per artifact, in order of writing.
    """
    found = [workspace.store.describe(ref) for ref in workspace.store.refs(kind)]
    found.sort(key=lambda item: (item.created_at, str(item.manifest.ref)))
    lines = [
        f"{item.created_at}  {item.manifest.ref!s:<55}  {item.manifest.provenance.producer}"
        for item in found
    ]
    refs = [item.manifest.ref for item in found]
    return Outcome(
        text="\n".join(lines) or _nothing(workspace, kind),
        artifacts=listed(workspace.store, refs),
    )


def _nothing(workspace: Workspace, kind: str | None) -> str:
    kinds = sorted({ref.kind for ref in workspace.store.refs()})
    if kind is None or not kinds:
        return "no artifacts yet; start with `make demo`"
    return f"no artifact of kind {kind!r}; there are: {', '.join(kinds)}"


def show_lineage(workspace: Workspace, identity: str) -> Outcome:
    """Draw the lineage of an artifact from its raw files.

    Parameters
    ----------
    workspace : Workspace
        Results folder.
    identity : str
        Id, beginning of an id, or ``KIND/ID``.

    Returns
    -------
    Outcome
        The tree as text and every ancestor in ``artifacts``.
    """
    graph = lineage(workspace.store, workspace.store.find(identity))
    refs = [manifest.ref for manifest in graph.manifests.values()]
    return Outcome(text=graph.text(), artifacts=listed(workspace.store, refs))


def verify(workspace: Workspace) -> Outcome:
    """Re-hash every artifact; check inputs, signatures, completed runs, ledgers and records.

    Parameters
    ----------
    workspace : Workspace
        Results folder.

    Returns
    -------
    Outcome
        Counts.

    Raises
    ------
    IntegrityError
        Naming the first fault, when there is one.
    """
    store = workspace.store
    refs = list(store.refs())
    faults: list[str] = []
    with workspace.progress.stage("verify", len(refs)) as stage:
        for ref in refs:
            faults.extend(f"{ref}: {fault}" for fault in store.faults(ref))
            stage.advance()
    runs = RunRegistry(workspace).all()
    for run in runs:
        gone = [str(ref) for ref in run.artifacts.values() if not store.path(ref).is_dir()]
        faults.extend(f"run {run.run_id}: {ref} is missing" for ref in gone)
    faults.extend(governance_faults(workspace))
    if faults:
        raise IntegrityError(
            "results folder",
            wanted="every artifact as it was written",
            got=f"{len(faults)} faults: " + "; ".join(faults[:5]),
            hint="Remove the damaged artifacts and run the command again with --resume.",
        )
    signed = sum(store.is_signed(ref) for ref in refs)
    return Outcome(
        text=f"{len(refs)} artifacts and {len(runs)} runs are whole; {signed} signatures are valid",
        metrics={"artifacts": len(refs), "runs": len(runs), "signed": signed, "faults": 0},
    )


def doctor(workspace: Workspace) -> Outcome:
    """Examine versions, extras, disk and folders; never print a credential.

    Parameters
    ----------
    workspace : Workspace
        Folders to examine.

    Returns
    -------
    Outcome
        One line per finding; warnings for what will not work.
    """
    warnings: list[str] = []
    lines = [f"quant_engine {__version__}, Python {platform.python_version()}, {sys.platform}"]
    lines.append(", ".join(f"{name} {metadata.version(name)}" for name in _CORE))
    for extra, module in _EXTRAS.items():
        present = find_spec(module) is not None
        hint = "" if present else f' (pip install "quant-engine[{extra}]")'
        lines.append(f"extra {extra}: {'installed' if present else 'not installed'}{hint}")
    folders = {
        "data": workspace.settings.data_root,
        "results": workspace.settings.results_root,
        "models": workspace.settings.models_root,
    }
    for name, folder in folders.items():
        existing = next(p for p in (folder, *folder.absolute().parents) if p.is_dir())
        free = shutil.disk_usage(existing).free / _GIB
        writable = _can_write(existing)
        state = "writable" if writable else "NOT writable"
        lines.append(f"folder {name}: {folder} ({state}, {free:.1f} GiB free)")
        if not writable:
            warnings.append(f"folder {name} is not writable: {folder}")
        if free < 1:
            warnings.append(f"folder {name} has less than 1 GiB free: {folder}")
    runs = RunRegistry(workspace).all("train")
    lines.append(f"newest training run: {runs[-1].title()}" if runs else "no training run yet")
    return Outcome(text="\n".join(lines), warnings=warnings, metrics={"warnings": len(warnings)})


def _can_write(folder: object) -> bool:
    try:
        with tempfile.TemporaryFile(dir=str(folder)):
            return True
    except OSError:
        return False
