"""``qe sweep``: every variant of a grid of rules on a run's predictions, all of them counted."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from quant_engine.cli.flags import add_run_flags, make_parser, overrides_of
from quant_engine.cli.run import execute
from quant_engine.cli.setup import open_workspace, put

if TYPE_CHECKING:
    from quant_engine.workflows.outcome import Outcome


WALK_FORWARD = (
    "choose the best variant of the past, trade it on the next unseen sessions, and chain them; "
    "settings: --set walk_forward.split.test_sessions=63, walk_forward.choose_by=sharpe, ..."
)
"""Help of the flag that ``run_backtest.py --sweep`` shares."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    result = make_parser(
        "qe sweep",
        "Simulate every variant of a grid in specs/sweeps on the out-of-sample predictions of the "
        "newest completed training run. Every variant is a trial of the ledger.",
    )
    result.add_argument("name", help="spec from specs/sweeps: risk_managed, random_rules, ...")
    result.add_argument("--horizon", type=int, metavar="H", help="newest run with this horizon")
    result.add_argument("--run", metavar="RUN_ID", help="a training run (default: the newest)")
    result.add_argument("--curve", type=int, metavar="N", help="also write the equity of variant N")
    result.add_argument("--walk-forward", action="store_true", help=WALK_FORWARD)
    result.add_argument(
        "--costs",
        metavar="NAME",
        help="cost profile from specs/costs (base), or cost model from specs/cost_models",
    )
    result.add_argument("--capital", type=float, metavar="USD", help="starting capital")
    result.add_argument("--min-confidence", type=float, metavar="P", help="trade only above this")
    add_run_flags(result, settings=True)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, sweep, print; return the exit code."""
    return execute("qe sweep", parser().parse_args(argv), _work)


def _work(args: argparse.Namespace) -> Outcome:
    from quant_engine.workflows.config import TrainConfig
    from quant_engine.workflows.factor_config import SECTIONS as FACTOR_SECTIONS

    # The section counts where the flag is given; config.py may hold it for all sweeps.
    walk = () if args.walk_forward else ("walk_forward",)
    foreign = (*TrainConfig.model_fields, *FACTOR_SECTIONS, *walk)
    overrides = overrides_of(args, foreign=foreign)
    put(overrides, "costs", args.costs)
    put(overrides, "backtest.initial_equity_usd", args.capital)
    put(overrides, "backtest.min_confidence", args.min_confidence)
    return sweep(args, args.name, overrides)


def sweep(args: argparse.Namespace, name: str, overrides: dict[str, Any]) -> Outcome:
    """Run a sweep with the flags that ``run_backtest.py --sweep`` shares.

    Parameters
    ----------
    args : Namespace
        With ``run``, ``horizon``, ``curve``, ``walk_forward``, ``dry_run`` and the flags of a
        workspace.
    name : str
        Spec.
    overrides : dict
        Nested settings.

    Returns
    -------
    Outcome
        Table, headline figures, exports.
    """
    from quant_engine.workflows.sweep import SweepRequest, run_sweep

    request = SweepRequest(
        name,
        run_id=args.run,
        horizon=args.horizon,
        curve=args.curve,
        walk_forward=args.walk_forward,
    )
    return run_sweep(open_workspace(args), request, overrides, dry_run=args.dry_run)
