"""``run_predict.py`` and ``qe predict``: the newest model, the latest bars, ranked predictions."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quant_engine.cli.flags import add_run_flags, iso_date, make_parser, positive
from quant_engine.cli.run import execute
from quant_engine.cli.setup import open_workspace

if TYPE_CHECKING:
    from quant_engine.workflows.outcome import Outcome


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    result = make_parser(
        "run_predict.py",
        "Predict the latest session with the newest completed training run of the results folder, "
        "from the same source of bars and by the same feature code.",
    )
    choice = result.add_argument_group("model")
    choice.add_argument("--horizon", type=int, metavar="H", help="newest run with this horizon")
    choice.add_argument(
        "--version", default="latest", metavar="V", help="model version, 'latest' or 'champion'"
    )
    choice.add_argument("--champion", action="store_true", help="same as --version champion")
    choice.add_argument("--path", type=Path, help="where the run's own files lie now")
    choice.add_argument(
        "--end", type=iso_date, metavar="DATE", help="predict as of this session (default: last)"
    )
    choice.add_argument("--top", type=positive, default=20, metavar="K", help="rows to print (20)")
    choice.add_argument(
        "--output", type=Path, metavar="FILE", help="CSV to write (default: results/)"
    )
    add_run_flags(result)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, predict, print; return the exit code."""
    return execute("run_predict.py", parser().parse_args(argv), _work)


def _work(args: argparse.Namespace) -> Outcome:
    from quant_engine.workflows.predict import PredictRequest, predict

    request = PredictRequest(
        version="champion" if args.champion else args.version,
        horizon=args.horizon,
        path=args.path,
        end=args.end,
        top=args.top,
        output=args.output,
    )
    return predict(open_workspace(args), request, dry_run=args.dry_run)
