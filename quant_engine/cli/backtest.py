"""``run_backtest.py`` and ``qe backtest``: out-of-sample predictions to a costed backtest."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from quant_engine.cli.flags import RetiredFlag, add_run_flags, make_parser, overrides_of
from quant_engine.cli.run import execute
from quant_engine.cli.setup import open_workspace, put

if TYPE_CHECKING:
    from quant_engine.workflows.outcome import Outcome


FILLS = ("next_open", "next_close", "next_vwap_proxy", "next_vwap")
"""Choices of ``--fill``: `FillPrice` of the settings, without loading them for a help text."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    result = make_parser(
        "run_backtest.py",
        "Trade the purged walk-forward out-of-sample predictions of the newest completed training "
        "run at the next open, with costs, and write the tear sheet.",
    )
    _add_choice(result)
    _add_book(result)
    retired = result.add_argument_group("retired")
    retired.add_argument(
        "--n-trials",
        action=RetiredFlag,
        reason="trials are counted where they are evaluated, never typed.",
    )
    add_run_flags(result, settings=True)
    return result


def _add_choice(result: argparse.ArgumentParser) -> None:
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


def _add_book(result: argparse.ArgumentParser) -> None:
    book = result.add_argument_group("book")
    book.add_argument("--mode", choices=("long_short", "long_only"), help="kind of book")
    book.add_argument("--top", type=_top, metavar="K", help="names per side, or a share below 1")
    book.add_argument(
        "--costs",
        metavar="NAME",
        help="cost profile from specs/costs (base), or cost model from specs/cost_models",
    )
    book.add_argument(
        "--rules",
        metavar="NAME",
        help="open and close single positions by rules from specs/rules: plain, risk_managed, ...",
    )
    book.add_argument(
        "--fill",
        choices=FILLS,
        help="price of the session after the decision at which orders fill (next_open)",
    )
    book.add_argument(
        "--unsafe-same-bar",
        action="store_true",
        help="fill at the close of the deciding bar; marked everywhere and never promoted",
    )
    book.add_argument(
        "--risk",
        nargs="?",
        const="",
        metavar="NAME",
        help="size the book by specs/sizing: vol_target (without a name), equal, "
        "inverse_volatility, fractional_kelly",
    )
    book.add_argument(
        "--sweep",
        metavar="NAME",
        help="simulate every variant of a grid from specs/sweeps instead (as `qe sweep`)",
    )
    book.add_argument(
        "--variant", type=int, metavar="N", help="with --sweep: trade variant N as a full backtest"
    )
    book.add_argument(
        "--curve", type=int, metavar="N", help="with --sweep: also write the equity of variant N"
    )
    book.add_argument(
        "--walk-forward",
        action="store_true",
        help="with --sweep: choose by the past, trade the next unseen sessions (as `qe sweep`)",
    )
    book.add_argument("--capital", type=float, metavar="USD", help="starting capital")
    book.add_argument("--min-confidence", type=float, metavar="P", help="trade only above this")
    book.add_argument(
        "--min-predicted", type=float, metavar="R", help="least absolute expected return"
    )
    book.add_argument(
        "--no-survivorship", action="store_true", help="also without membership history"
    )


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
    from quant_engine.cli.sweep import sweep
    from quant_engine.workflows.backtest import BacktestRequest, run_backtest
    from quant_engine.workflows.signal_backtest import trade_signals
    from quant_engine.workflows.sizing import DEFAULT_SIZING, put_sizing
    from quant_engine.workflows.sweep import SweepRequest, put_variant

    _refuse_without_meaning(args)
    overrides = _overrides(args)
    workspace = open_workspace(args)
    if args.risk is not None:
        put_sizing(overrides, args.risk or DEFAULT_SIZING, workspace.catalog)
    if args.sweep is not None and args.variant is None:
        return sweep(args, args.sweep, overrides)
    if args.sweep is not None:
        put_variant(workspace, SweepRequest(args.sweep), args.variant, overrides)
    if args.signals:
        _refuse_of_predictions(args)
        return trade_signals(workspace, overrides, run_id=args.run, dry_run=args.dry_run)
    request = BacktestRequest(
        run_id=args.run,
        horizon=args.horizon,
        allow_in_sample=args.allow_in_sample,
        compare_survivorship=args.no_survivorship,
        advanced=args.advanced,
    )
    return run_backtest(workspace, request, overrides, dry_run=args.dry_run)


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Settings that the flags of the book stand for."""
    from quant_engine.workflows.config import TrainConfig
    from quant_engine.workflows.factor_config import SECTIONS as FACTOR_SECTIONS

    walk = () if args.walk_forward else ("walk_forward",)
    foreign = (*TrainConfig.model_fields, *FACTOR_SECTIONS, *walk)
    overrides = overrides_of(args, foreign=foreign)
    put(overrides, "backtest.portfolio.mode", args.mode)
    if args.top is not None:
        is_share = args.top < 1
        put(overrides, "backtest.portfolio.fraction_per_side", args.top if is_share else None)
        put(overrides, "backtest.portfolio.names_per_side", None if is_share else int(args.top))
    put(overrides, "costs", args.costs)
    put(overrides, "rules.name", args.rules)
    where = "backtest" if args.rules is None else "rules.settings"
    put(overrides, f"{where}.fill", args.fill or ("next_close" if args.unsafe_same_bar else None))
    put(overrides, f"{where}.unsafe_same_bar", args.unsafe_same_bar or None)
    put(overrides, "backtest.initial_equity_usd", args.capital)
    put(overrides, "backtest.min_confidence", args.min_confidence)
    least = "rules.settings.entry_min" if "rules" in overrides else None
    put(overrides, least or "backtest.min_expected_return_frac", args.min_predicted)
    return overrides


def _refuse_without_meaning(args: argparse.Namespace) -> None:
    """A flag that would change nothing is a usage error."""
    from quant_engine.core.errors import ConfigError

    by_rules = args.rules is not None or args.sweep is not None
    is_sweep = args.sweep is not None and args.variant is None
    wrong = [
        *((flag, given and args.sweep is not None, "no --sweep, whose grid says its own fills")
          for flag, given in (
              ("--fill", args.fill is not None),
              ("--unsafe-same-bar", args.unsafe_same_bar),
          )),
        ("--variant", args.variant is not None and args.sweep is None, "--sweep NAME beside it"),
        ("--curve", args.curve is not None and not is_sweep, "--sweep NAME without --variant"),
        ("--walk-forward", args.walk_forward and not is_sweep, "--sweep NAME without --variant"),
        ("--rules", args.rules is not None and args.sweep is not None, "no --sweep beside it"),
        *((flag, by_rules and given, "a book of target weights")
          for flag, given in (
              ("--mode", args.mode is not None),
              ("--top", args.top is not None),
              ("--risk", args.risk is not None),
          )),
        *((flag, is_sweep and given, "a single backtest")
          for flag, given in (
              ("--advanced", args.advanced),
              ("--allow-in-sample", args.allow_in_sample),
              ("--no-survivorship", args.no_survivorship),
          )),
    ]  # fmt: skip
    for flag, is_wrong, wanted in wrong:
        if is_wrong:
            raise ConfigError(
                flag, wanted=wanted, got="none" if "beside it" in wanted else "rules or a sweep",
                hint="It would change nothing here; leave it out.",
            )  # fmt: skip


def _refuse_of_predictions(args: argparse.Namespace) -> None:
    """A ranking has no model: what asks about predictions has no meaning for it."""
    from quant_engine.core.errors import ConfigError

    flags = ("horizon", "allow_in_sample", "advanced", "no_survivorship", "rules", "sweep")
    for flag in flags:
        if getattr(args, flag):
            raise ConfigError(
                f"--{flag.replace('_', '-')}",
                wanted="no such flag beside --signals",
                got="both",
                hint="It asks about the predictions of a model; a ranking has none of its own.",
            )
