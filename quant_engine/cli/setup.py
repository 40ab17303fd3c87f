"""From parsed arguments to a workspace and configuration overrides."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quant_engine.workflows.context import Workspace
    from quant_engine.workflows.data import Location


def open_workspace(args: argparse.Namespace) -> Workspace:
    """Open the workspace that the flags describe.

    Parameters
    ----------
    args : Namespace
        With ``results``, ``models``, ``quiet`` and, for computing commands, ``jobs``,
        ``executor``, ``ray_address`` and ``resume``.

    Returns
    -------
    Workspace
        Progress goes to standard error.
    """
    from quant_engine.core.progress import make_progress
    from quant_engine.core.settings import Settings
    from quant_engine.workflows.context import DEFAULT_JOBS, Workspace

    settings = Settings()
    given = {
        "results_root": None if args.results is None else Path(args.results),
        "models_root": None if args.models is None else Path(args.models),
        "executor": getattr(args, "executor", None),
        "ray_address": getattr(args, "ray_address", None),
    }
    moved = {name: value for name, value in given.items() if value is not None}
    return Workspace.open(
        settings=settings.model_copy(update=moved),
        progress=make_progress(quiet=args.quiet, timer=time.monotonic, stream=sys.stderr),
        jobs=getattr(args, "jobs", None) or DEFAULT_JOBS,
        resume=getattr(args, "resume", False),
    )


def put_data_flags(overrides: dict[str, Any], args: argparse.Namespace) -> Location:
    """Put the data flags into overrides and return where files lie.

    Parameters
    ----------
    overrides : dict
        Nested values, changed in place.
    args : Namespace
        With the flags of ``add_data_flags``.

    Returns
    -------
    Location
        Absolute paths; they enter no hash.
    """
    from quant_engine.core.errors import ConfigError
    from quant_engine.workflows.data import Location

    is_file = args.benchmark is not None and Path(args.benchmark).exists()
    source = args.source or ("local" if args.path is not None else None)
    put(overrides, "data.source", source)
    put(overrides, "data.start", args.start)
    put(overrides, "data.end", args.end)
    put(overrides, "data.years", args.years)
    put(overrides, "data.tickers", args.tickers)
    put(overrides, "data.columns", pairs("--map", args.columns) or None)
    put(overrides, "data.renames", pairs("--rename", args.renames) or None)
    put(overrides, "data.date_format", args.date_format)
    put(overrides, "data.vendor", args.dataset)
    put(overrides, "data.benchmark", "file" if is_file else args.benchmark)
    put(overrides, "data.require_survivorship_safe", True if args.survivorship else None)
    paths = {
        "bars": args.path,
        "membership": args.membership,
        "sectors": args.sectors,
        "delistings": args.delistings,
        "benchmark": Path(args.benchmark) if is_file else None,
        "statements": getattr(args, "statements", None),
    }
    for name, path in paths.items():
        if path is not None and not path.exists():
            raise ConfigError(
                f"--{'path' if name == 'bars' else name}",
                wanted="an existing file or folder",
                got=str(path),
                hint="Check the spelling; paths are relative to the working folder.",
            )
    return Location(**{name: str(path.absolute()) for name, path in paths.items() if path})


def pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    """Read ``NAME=VALUE`` arguments.

    Parameters
    ----------
    flag : str
        Name of the flag, for the message.
    texts : sequence of str
        As given.

    Returns
    -------
    dict of str to str
        In the order given.

    Raises
    ------
    ConfigError
        For a text without ``=`` or with an empty side.
    """
    from quant_engine.core.errors import ConfigError

    found = [text.partition("=") for text in texts]
    if not all(name and value for name, _, value in found):
        raise ConfigError(
            flag, wanted="NAME=VALUE", got=list(texts), hint=f"Write {flag} NAME=VALUE."
        )
    return {name: value for name, _, value in found}


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
