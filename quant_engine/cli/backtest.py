"""``run_backtest.py`` and ``qe backtest``: out-of-sample predictions to a costed backtest."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from quant_engine.cli.flags import RetiredFlag, add_run_flags, make_parser, overrides_of
from quant_engine.cli.run import execute
from quant_engine.cli.setup import open_workspace, put

if TYPE_CHECKING:
    from quant_engine.workflows.outcome import Outcome


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    result = make_parser(
        "run_backtest.py",
        "Trade the purged walk-forward out-of-sample predictions of the newest completed training "
        "run at the next open, with costs, and write the tear sheet.",
    )
    choice = result.add_argument_group("what")
    choice.add_argument("--horizon", type=int, metavar="H", help="newest run with this horizon")
    choice.add_argument(
        "--signals",
        action="store_true",
        help="trade the newest ranking with history (run_factors.py rank --history) instead",
    )
    choice.add_argument("--run", metavar="RUN_ID", help="a training run (default: the newest)")
    choice.add_argument(
        "--allow-in-sample",
        action="store_true",
        help="trade predictions of the final model on its own training data; marked everywhere",
    )
    choice.add_argument(
        "--advanced",
        action="store_true",
        help="also run the validation suite: stresses, null baselines, Monte Carlo, refits, slices",
    )
    book = result.add_argument_group("book")
    book.add_argument("--mode", choices=("long_short", "long_only"), help="kind of book")
    book.add_argument("--top", type=_top, metavar="K", help="names per side, or a share below 1")
    book.add_argument("--costs", metavar="PROFILE", help="cost profile from specs/costs (base)")
    book.add_argument("--capital", type=float, metavar="USD", help="starting capital")
    book.add_argument("--min-confidence", type=float, metavar="P", help="trade only above this")
    book.add_argument(
        "--min-predicted", type=float, metavar="R", help="least absolute expected return"
    )
    book.add_argument(
        "--no-survivorship", action="store_true", help="also without membership history"
    )
    retired = result.add_argument_group("retired")
    retired.add_argument(
        "--n-trials",
        action=RetiredFlag,
        reason="trials are counted where they are evaluated, never typed.",
    )
    retired.add_argument(
        "--risk",
        action=RetiredFlag,
        reason="risk-managed mode is not part of this version.",
    )
    add_run_flags(result, settings=True)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, simulate, print; return the exit code."""
    return execute("run_backtest.py", parser().parse_args(argv), _work)


def _top(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (0 < value < 1 or (value >= 1 and value.is_integer())):
        message = f"wanted a whole number of names, or a share above 0 and below 1, got {text}"
        raise argparse.ArgumentTypeError(message)
    return value


def _work(args: argparse.Namespace) -> Outcome:
    from quant_engine.workflows.backtest import BacktestRequest, run_backtest
    from quant_engine.workflows.config import TrainConfig
    from quant_engine.workflows.factor_config import SECTIONS as FACTOR_SECTIONS
    from quant_engine.workflows.signal_backtest import trade_signals

    overrides = overrides_of(args, foreign=(*TrainConfig.model_fields, *FACTOR_SECTIONS))
    put(overrides, "backtest.portfolio.mode", args.mode)
    if args.top is not None:
        is_share = args.top < 1
        put(overrides, "backtest.portfolio.fraction_per_side", args.top if is_share else None)
        put(overrides, "backtest.portfolio.names_per_side", None if is_share else int(args.top))
    put(overrides, "costs", args.costs)
    put(overrides, "backtest.initial_equity_usd", args.capital)
    put(overrides, "backtest.min_confidence", args.min_confidence)
    put(overrides, "backtest.min_expected_return_frac", args.min_predicted)
    request = BacktestRequest(
        run_id=args.run,
        horizon=args.horizon,
        allow_in_sample=args.allow_in_sample,
        compare_survivorship=args.no_survivorship,
        advanced=args.advanced,
    )
    workspace = open_workspace(args)
    if args.signals:
        _refuse_of_predictions(args)
        return trade_signals(workspace, overrides, run_id=args.run, dry_run=args.dry_run)
    return run_backtest(workspace, request, overrides, dry_run=args.dry_run)


def _refuse_of_predictions(args: argparse.Namespace) -> None:
    """A ranking has no model: what asks about predictions has no meaning for it."""
    from quant_engine.core.errors import ConfigError

    for flag in ("horizon", "allow_in_sample", "advanced", "no_survivorship"):
        if getattr(args, flag):
            raise ConfigError(
                f"--{flag.replace('_', '-')}",
                wanted="no such flag beside --signals",
                got="both",
                hint="It asks about the predictions of a model; a ranking has none of its own.",
            )
