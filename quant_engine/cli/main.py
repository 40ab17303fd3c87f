"""``qe VERB``: every command under one name; the run_*.py scripts call the same functions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quant_engine.cli import (
    audit,
    backtest,
    factors,
    features,
    kalshi,
    predict,
    retrain,
    sweep,
    train,
)
from quant_engine.cli.flags import add_run_flags, make_parser
from quant_engine.cli.run import execute
from quant_engine.cli.setup import open_workspace, pairs

if TYPE_CHECKING:
    from quant_engine.workflows.outcome import Outcome

Command = Callable[[Sequence[str] | None], int]


def demo(argv: Sequence[str] | None = None) -> int:
    """Train, predict and backtest on the embedded simulated market."""
    parser = make_parser("qe demo", "Train, predict and backtest on the embedded market.")
    add_run_flags(parser)

    def work(args: argparse.Namespace) -> Outcome:
        from quant_engine.workflows.demo import demo as run_demo

        return run_demo(open_workspace(args), dry_run=args.dry_run)

    return execute("qe demo", parser.parse_args(argv), work)


def warm_up(argv: Sequence[str] | None = None) -> int:
    """Compile the numerical kernels before they are needed."""
    parser = make_parser("qe warm-up", "Compile the numerical kernels on a tiny market.")

    def work(args: argparse.Namespace) -> Outcome:
        from quant_engine.workflows.demo import warm_up as run_warm_up

        return run_warm_up(open_workspace(args))

    return execute("qe warm-up", parser.parse_args(argv), work)


def artifacts(argv: Sequence[str] | None = None) -> int:
    """List what the store holds."""
    parser = make_parser("qe artifacts", "List artifacts in order of writing.")
    parser.add_argument("--kind", help="only this kind")

    def work(args: argparse.Namespace) -> Outcome:
        from quant_engine.workflows.inspect import list_artifacts

        return list_artifacts(open_workspace(args), args.kind)

    return execute("qe artifacts", parser.parse_args(argv), work)


def lineage(argv: Sequence[str] | None = None) -> int:
    """Draw where an artifact came from."""
    parser = make_parser("qe lineage", "Draw the lineage of an artifact from its raw files.")
    parser.add_argument("id", help="artifact id, its beginning, or KIND/ID")

    def work(args: argparse.Namespace) -> Outcome:
        from quant_engine.workflows.inspect import show_lineage

        return show_lineage(open_workspace(args), args.id)

    return execute("qe lineage", parser.parse_args(argv), work)


def replay(argv: Sequence[str] | None = None) -> int:
    """Compute an artifact again and compare bytes."""
    parser = make_parser("qe replay", "Compute an artifact again from raw data and compare bytes.")
    parser.add_argument("id", help="artifact id, its beginning, or KIND/ID")
    add_run_flags(parser)

    def work(args: argparse.Namespace) -> Outcome:
        from quant_engine.workflows.replay import replay as run_replay

        return run_replay(open_workspace(args), args.id, dry_run=args.dry_run)

    return execute("qe replay", parser.parse_args(argv), work)


def verify(argv: Sequence[str] | None = None) -> int:
    """Re-hash everything."""
    parser = make_parser("qe verify", "Re-hash every artifact; check inputs, signatures and runs.")

    def work(args: argparse.Namespace) -> Outcome:
        from quant_engine.workflows.inspect import verify as run_verify

        return run_verify(open_workspace(args))

    return execute("qe verify", parser.parse_args(argv), work)


def doctor(argv: Sequence[str] | None = None) -> int:
    """Examine the installation."""
    parser = make_parser("qe doctor", "Examine versions, extras, folders and disk.")

    def work(args: argparse.Namespace) -> Outcome:
        from quant_engine.workflows.inspect import doctor as run_doctor

        return run_doctor(open_workspace(args))

    return execute("qe doctor", parser.parse_args(argv), work)


def ledger(argv: Sequence[str] | None = None) -> int:
    """Show which configurations were ever evaluated, and what verdicts used."""
    parser = make_parser("qe ledger", "Show the trial ledger: families, effective N, verdicts.")
    parser.add_argument("--track", help="only this track")
    parser.add_argument("--verify", action="store_true", help="recompute every hash of the chain")

    def work(args: argparse.Namespace) -> Outcome:
        from quant_engine.workflows.qualify import show_ledger

        return show_ledger(open_workspace(args), args.track, verify=args.verify)

    return execute("qe ledger", parser.parse_args(argv), work)


def qualify(argv: Sequence[str] | None = None) -> int:
    """Put a backtest before the gates of its track."""
    parser = make_parser("qe qualify", "Judge a backtest by the gates, counting every trial.")
    parser.add_argument("id", nargs="?", help="backtest: run id or artifact id (default: newest)")
    parser.add_argument("--baseline", metavar="ID", help="backtest to compare with")
    parser.add_argument("--profile", default="strict_v1", help="gate profile from specs/gates")

    def work(args: argparse.Namespace) -> Outcome:
        from quant_engine.workflows.qualify import qualify_backtest

        return qualify_backtest(
            open_workspace(args), args.id, baseline=args.baseline, profile=args.profile
        )

    return execute("qe qualify", parser.parse_args(argv), work)


def promote(argv: Sequence[str] | None = None) -> int:
    """Move a backtest that passes its gates into a tier."""
    parser = make_parser("qe promote", "Move a strategy into a tier, if its gates say yes.")
    parser.add_argument("id", help="backtest: run id or artifact id")
    parser.add_argument("--tier", required=True, help="candidate or production")
    parser.add_argument("--reason", required=True, help="why, in words; stands in the record")
    parser.add_argument("--profile", default="strict_v1", help="gate profile from specs/gates")

    def work(args: argparse.Namespace) -> Outcome:
        from quant_engine.workflows.qualify import promote_backtest

        return promote_backtest(
            open_workspace(args),
            args.id,
            tier=args.tier,
            reason=args.reason,
            profile=args.profile,
        )

    return execute("qe promote", parser.parse_args(argv), work)


def reconcile(argv: Sequence[str] | None = None) -> int:
    """Compare vendors of the same bars and merge them by rank."""
    parser = make_parser("qe reconcile", "Compare folders of price files and merge them by rank.")
    parser.add_argument(
        "vendors", nargs="+", metavar="NAME=FOLDER", help="vendors, the most trusted first"
    )
    parser.add_argument(
        "--rename", action="append", default=[], metavar="OLD=NEW", help="a vendor's old ticker"
    )
    parser.add_argument("--profile", default="default", help="tolerances from specs/reconciliation")
    parser.add_argument("--quality", default="default", help="rules from specs/quality")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where merged bars are written")

    def work(args: argparse.Namespace) -> Outcome:
        from quant_engine.workflows.vendors import reconcile_vendors

        return reconcile_vendors(
            open_workspace(args),
            [(name, Path(folder)) for name, folder in pairs("vendors", args.vendors).items()],
            renames=pairs("--rename", args.rename),
            profile=args.profile,
            quality=args.quality,
            output=args.output,
        )

    return execute("qe reconcile", parser.parse_args(argv), work)


def rebuild_sidecars(argv: Sequence[str] | None = None) -> int:
    """Write lost sidecars of the bar cache again."""
    parser = make_parser("qe rebuild-sidecars", "Write lost sidecars of the bar cache again.")
    parser.add_argument("--source", default="unknown", help="source to record (unknown: untrusted)")

    def work(args: argparse.Namespace) -> Outcome:
        from quant_engine.workflows.vendors import rebuild_sidecars as run_rebuild

        return run_rebuild(open_workspace(args), source=args.source)

    return execute("qe rebuild-sidecars", parser.parse_args(argv), work)


COMMANDS: dict[str, tuple[Command, str]] = {
    "demo": (demo, "train, predict and backtest on the embedded simulated market"),
    "train": (train.main, "market data to a trained, versioned model"),
    "predict": (predict.main, "latest bars to ranked predictions"),
    "backtest": (backtest.main, "out-of-sample predictions to a costed backtest and tear sheet"),
    "sweep": (sweep.main, "every variant of a grid of rules, each of them counted"),
    "factors": (factors.main, "factor report, composite ranking, gain of a block of features"),
    "kalshi": (kalshi.main, "event markets from records to a verdict"),
    "retrain": (retrain.main, "triggers, versions, rollback"),
    "features": (features.main, "snapshots of features as known at an instant, and their drift"),
    "warm-up": (warm_up, "compile the numerical kernels before they are needed"),
    "reconcile": (reconcile, "compare vendors of the same bars and merge them by rank"),
    "rebuild-sidecars": (rebuild_sidecars, "write lost sidecars of the bar cache again"),
    "audit": (audit.main, "change the future and see whether anything of the past moves"),
    "ledger": (ledger, "every configuration ever evaluated, and what verdicts used"),
    "qualify": (qualify, "put a backtest before the gates of its track"),
    "promote": (promote, "move a strategy that passed into a tier"),
    "artifacts": (artifacts, "list what the store holds"),
    "lineage": (lineage, "where an artifact came from"),
    "replay": (replay, "compute an artifact again and compare bytes"),
    "verify": (verify, "re-hash everything"),
    "doctor": (doctor, "examine the installation"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Dispatch ``qe VERB ARGS``; without a verb, list the verbs."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: qe VERB [flags]      (qe VERB --help for its flags)\n")
        for name, (_, summary) in COMMANDS.items():
            print(f"  {name:<10} {summary}")
        return 0
    verb, *rest = arguments
    if verb not in COMMANDS:
        print(f"error: unknown verb {verb!r}; known: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    return COMMANDS[verb][0](rest)
