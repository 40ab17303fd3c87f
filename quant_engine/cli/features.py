"""``qe features VERB``: the feature store from the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quant_engine.cli.flags import (
    add_data_flags,
    add_run_flags,
    iso_date,
    make_parser,
    overrides_of,
    positive,
)
from quant_engine.cli.run import execute
from quant_engine.cli.setup import open_workspace, put, put_data_flags

if TYPE_CHECKING:
    from quant_engine.workflows.outcome import Outcome


def materialise_parser() -> argparse.ArgumentParser:
    """Return the parser of ``qe features materialise``."""
    result = make_parser(
        "qe features materialise",
        "Compute the features of the newest sessions and write them into the store as known now. "
        "Sessions that it holds with the same values stay as they are.",
    )
    add_data_flags(result)
    what = result.add_argument_group("features")
    what.add_argument("--features", metavar="SET", help="feature set from specs/features")
    what.add_argument(
        "--sessions", type=positive, default=1, metavar="N", help="newest sessions to write (1)"
    )
    add_run_flags(result, settings=True)
    return result


def read_parser() -> argparse.ArgumentParser:
    """Return the parser of ``qe features read``."""
    result = make_parser(
        "qe features read",
        "Show the features that were known at an instant, newest of each session.",
    )
    result.add_argument("set", metavar="SET", help="name of the feature set")
    _add_query_flags(result)
    result.add_argument("--start", type=iso_date, metavar="DATE", help="first session")
    result.add_argument("--end", type=iso_date, metavar="DATE", help="last session")
    result.add_argument("--set-version", default="", metavar="V", help="version of the set")
    result.add_argument("--set-id", default="", metavar="ID", help="beginning of the set's hash")
    result.add_argument("--output", type=Path, metavar="FILE", help="CSV with rows and lineage")
    return result


def drift_parser() -> argparse.ArgumentParser:
    """Return the parser of ``qe features drift``."""
    result = make_parser(
        "qe features drift",
        "Compare the newest snapshots with the data of a training run: PSI, KS, mean shift, "
        "missing and flagged values, and an alarm of stated false-alarm rate per feature.",
    )
    _add_query_flags(result)
    result.add_argument("--run", metavar="RUN", help="training run (default: the newest)")
    result.add_argument(
        "--sessions", type=positive, default=21, metavar="N", help="newest sessions (21)"
    )
    return result


def _add_query_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--as-of", metavar="WHEN", help="date (counts whole) or instant in UTC (default: now)"
    )
    parser.add_argument("--dataset", default="", metavar="NAME", help="dataset of the snapshots")


def _materialise(args: argparse.Namespace) -> Outcome:
    from quant_engine.workflows.backtest import SECTIONS as BACKTEST_SECTIONS
    from quant_engine.workflows.config import resolve_train_config
    from quant_engine.workflows.factor_config import SECTIONS as FACTOR_SECTIONS
    from quant_engine.workflows.feature_store import materialise

    overrides = overrides_of(args, foreign=(*BACKTEST_SECTIONS, *FACTOR_SECTIONS))
    put(overrides, "feature_set", args.features)
    location = put_data_flags(overrides, args)
    workspace = open_workspace(args)
    config = resolve_train_config(
        overrides, workspace.catalog, world=args.world, quality=args.quality
    )
    return materialise(workspace, config, location, sessions=args.sessions, dry_run=args.dry_run)


def _read(args: argparse.Namespace) -> Outcome:
    from quant_engine.artifacts.feature_store import SnapshotQuery
    from quant_engine.workflows.feature_store import instant, read_as_of

    workspace = open_workspace(args)
    query = SnapshotQuery(
        args.set,
        instant(args.as_of) if args.as_of else workspace.clock.now(),
        set_version=args.set_version,
        set_id=args.set_id,
        dataset=args.dataset,
        first=args.start,
        last=args.end,
    )
    return read_as_of(workspace, query, output=args.output)


def _drift(args: argparse.Namespace) -> Outcome:
    from quant_engine.workflows.feature_drift import DriftRequest, drift
    from quant_engine.workflows.feature_store import instant

    request = DriftRequest(
        run_id=args.run,
        as_of=instant(args.as_of) if args.as_of else None,
        sessions=args.sessions,
        dataset=args.dataset,
    )
    return drift(open_workspace(args), request)


VERBS: dict[
    str,
    tuple[Callable[[], argparse.ArgumentParser], Callable[[argparse.Namespace], Outcome], str],
] = {
    "materialise": (materialise_parser, _materialise, "write the newest sessions, as known now"),
    "read": (read_parser, _read, "what was known at an instant"),
    "drift": (drift_parser, _drift, "how far features are from those of a training run"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Dispatch ``qe features VERB ARGS``; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: qe features VERB [flags]      (qe features VERB --help for its flags)\n")
        for name, (_, _, summary) in VERBS.items():
            print(f"  {name:<12} {summary}")
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        print(f"error: unknown verb {verb!r}; known: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    make, work, _ = VERBS[verb]
    return execute(f"qe features {verb}", make().parse_args(rest), work)
