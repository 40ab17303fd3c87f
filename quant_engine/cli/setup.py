"""From parsed arguments to a workspace and configuration overrides."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quant_engine.workflows.context import Workspace


def open_workspace(args: argparse.Namespace) -> Workspace:
    """Open the workspace that the flags describe.

    Parameters
    ----------
    args : Namespace
        With ``results``, ``models``, ``quiet`` and, for computing commands, ``jobs`` and
        ``resume``.

    Returns
    -------
    Workspace
        Progress goes to standard error.
    """
    from quant_engine.core.progress import make_progress
    from quant_engine.core.settings import Settings
    from quant_engine.workflows.context import DEFAULT_JOBS, Workspace

    settings = Settings()
    moved = {
        name: Path(value)
        for name, value in (("results_root", args.results), ("models_root", args.models))
        if value is not None
    }
    return Workspace.open(
        settings=settings.model_copy(update=moved),
        progress=make_progress(quiet=args.quiet, timer=time.monotonic, stream=sys.stderr),
        jobs=getattr(args, "jobs", None) or DEFAULT_JOBS,
        resume=getattr(args, "resume", False),
    )


def put(overrides: dict[str, Any], name: str, value: Any) -> None:
    """Set ``overrides["a"]["b"]`` for the dotted name ``a.b`` unless the flag was not given.

    Parameters
    ----------
    overrides : dict
        Nested values, changed in place.
    name : str
        Dotted name.
    value : object
        None = the flag was not given.
    """
    from quant_engine.core.settings import set_nested

    if value is not None:
        set_nested(overrides, name.split("."), value)
