"""``run_retrain.py`` and ``qe retrain``: is a new model due, and which versions exist."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from quant_engine.cli.flags import add_run_flags, make_parser
from quant_engine.cli.run import execute
from quant_engine.cli.setup import open_workspace

if TYPE_CHECKING:
    from quant_engine.workflows.outcome import Outcome


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    result = make_parser(
        "run_retrain.py",
        "Retrain the newest run's model when a trigger fires; list versions, or roll back.",
    )
    action = result.add_mutually_exclusive_group()
    action.add_argument("--status", action="store_true", help="show triggers, train nothing")
    action.add_argument("--versions", action="store_true", help="list versions and champions")
    action.add_argument(
        "--rollback", action="store_true", help="make the previous champion champion again"
    )
    action.add_argument("--force", action="store_true", help="retrain whatever the triggers say")
    result.add_argument("--horizon", type=int, metavar="H", help="newest run with this horizon")
    add_run_flags(result)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, look or retrain, print; return the exit code."""
    return execute("run_retrain.py", parser().parse_args(argv), _work)


def _work(args: argparse.Namespace) -> Outcome:
    from quant_engine.workflows import retrain

    workspace = open_workspace(args)
    if args.versions:
        return retrain.versions(workspace)
    if args.rollback:
        return retrain.rollback(workspace, horizon=args.horizon, dry_run=args.dry_run)
    if args.status or args.dry_run:
        return retrain.status(workspace, horizon=args.horizon)
    return retrain.retrain(workspace, horizon=args.horizon, force=args.force)
