"""``run_factors.py`` and ``qe factors``: factor report, ranking, and gain over a baseline."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quant_engine.cli.flags import (
    add_data_flags,
    add_run_flags,
    make_parser,
    overrides_of,
    positive,
)
from quant_engine.cli.run import execute
from quant_engine.cli.setup import open_workspace, pairs, put, put_data_flags

if TYPE_CHECKING:
    from quant_engine.workflows.data import Location
    from quant_engine.workflows.factor_config import FactorChoice
    from quant_engine.workflows.outcome import Outcome

SCRIPT = "run_factors.py"
_NAMED = re.compile(r"\s*([A-Za-z]\w*)\s*=(?!=)\s*(.+)", re.DOTALL)


def report_parser() -> argparse.ArgumentParser:
    """Return the parser of the report, which runs when no other task is named."""
    result = _parser(
        "report",
        "Study factors one by one: IC and quantile returns at several horizons with corrected "
        "p-values, turnover, decay, sectors and regimes; writes results/factor_report.html. "
        "Other tasks: run_factors.py rank (a composite ranking), run_factors.py gain (does a block "
        "of features add anything out of sample).",
    )
    study = result.add_argument_group("questions")
    study.add_argument(
        "--horizons", type=_horizons, metavar="H,H", help="label horizons (1,5,10,20)"
    )
    add_run_flags(result, settings=True)
    return result


def rank_parser() -> argparse.ArgumentParser:
    """Return the parser of the ranking."""
    result = _parser(
        "rank",
        "Rank the last session by a weighted sum of z-scores of factors and, as 'prediction', of "
        "the newest model; writes results/signals.csv.",
    )
    weights = result.add_argument_group("composite")
    weights.add_argument(
        "--weights", metavar="A=W,B=W", help="such as mom=0.6,prediction=0.4; required"
    )
    weights.add_argument(
        "--history",
        action="store_true",
        help="rank every session, for run_backtest.py --signals; keeps every name unless --top",
    )
    weights.add_argument("--top", type=positive, metavar="N", help="names to keep (50)")
    weights.add_argument("--output", type=Path, metavar="FILE", help=".csv or .parquet to write")
    add_run_flags(result, settings=True)
    return result


def gain_parser() -> argparse.ArgumentParser:
    """Return the parser of the gain over a baseline."""
    result = _parser(
        "gain",
        "Train the same model on the baseline (--features) and on baseline and block by purged "
        "walk-forward, and test the paired differences of IC and squared error per session.",
    )
    block = result.add_argument_group("block")
    block.add_argument("--block", metavar="SET", help="feature set that is added")
    block.add_argument("--seed", type=int, metavar="S", help="seed of the learners (7)")
    add_run_flags(result, settings=True)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Find the task, parse, work, print; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    task = arguments.pop(0) if arguments and arguments[0] in TASKS else "report"
    parser, work = TASKS[task]
    return execute(f"{SCRIPT} {task}", parser().parse_args(arguments), work)


def _parser(task: str, description: str) -> argparse.ArgumentParser:
    result = make_parser(f"{SCRIPT} {task}", description)
    add_data_flags(result)
    factors = result.add_argument_group("factors")
    factors.add_argument(
        "--expr",
        action="append",
        default=[],
        metavar="[NAME=]FORMULA",
        help="a formula such as 'mom=$close/Ref($close, 20)'; repeatable",
    )
    factors.add_argument(
        "--feature", nargs="+", default=[], metavar="NAME", help="features of the set by name"
    )
    factors.add_argument("--factors", metavar="A,B", help="registered factors such as vsm,momentum")
    factors.add_argument(
        "--statements", type=Path, metavar="FILE", help="reports, for factors that read them"
    )
    factors.add_argument("--features", metavar="SET", help="feature set from specs/features")
    factors.add_argument("--horizon", type=positive, metavar="H", help="main label horizon (10)")
    return result


def _horizons(text: str) -> list[int]:
    return [positive(part.strip()) for part in text.split(",")]


def _choice(args: argparse.Namespace, *, feature_set: str = "") -> FactorChoice:
    """Read the factors that the flags name."""
    from quant_engine.core.errors import ConfigError
    from quant_engine.workflows.factor_config import FactorChoice

    named: dict[str, str] = {}
    for number, text in enumerate(args.expr, start=1):
        match = _NAMED.fullmatch(text)
        name, formula = match.groups() if match else (f"expr_{number}", text)
        if name in named:
            raise ConfigError(
                "--expr",
                wanted="a name of its own for every formula",
                got=f"{name!r} twice",
                hint="Write --expr NAME=FORMULA.",
            )
        named[name] = formula
    plugins = [part.strip() for part in (args.factors or "").split(",")]
    return FactorChoice(
        expressions=named,
        features=tuple(args.feature),
        plugins=tuple(part for part in plugins if part),
        feature_set=feature_set,
    )


def _settings(args: argparse.Namespace) -> tuple[dict[str, Any], Location]:
    from quant_engine.workflows.backtest import SECTIONS as BACKTEST_SECTIONS

    overrides = overrides_of(args, foreign=BACKTEST_SECTIONS)
    put(overrides, "labels.horizon_sessions", args.horizon)
    put(overrides, "feature_set", args.features)
    return overrides, put_data_flags(overrides, args)


def _run_report(args: argparse.Namespace) -> Outcome:
    from quant_engine.workflows.factor_config import resolve_factor_config
    from quant_engine.workflows.factor_research import research

    overrides, location = _settings(args)
    put(overrides, "study.horizons", args.horizons)
    workspace = open_workspace(args)
    config = resolve_factor_config(
        overrides,
        workspace.catalog,
        choice=_choice(args, feature_set=args.features or ""),
        world=args.world,
        quality=args.quality,
    )
    return research(workspace, config, location, dry_run=args.dry_run)


def _run_rank(args: argparse.Namespace) -> Outcome:
    from quant_engine.workflows.factor_config import resolve_rank_config
    from quant_engine.workflows.factor_signals import rank

    overrides, location = _settings(args)
    texts = [] if args.weights is None else args.weights.split(",")
    put(overrides, "ranking.weights", pairs("--weights", texts) or None)
    put(overrides, "ranking.top", args.top)
    put(overrides, "ranking.history", True if args.history else None)
    workspace = open_workspace(args)
    config = resolve_rank_config(
        overrides,
        workspace.catalog,
        choice=_choice(args),
        world=args.world,
        quality=args.quality,
    )
    return rank(workspace, config, location, output=args.output, dry_run=args.dry_run)


def _run_gain(args: argparse.Namespace) -> Outcome:
    from quant_engine.workflows.factor_config import resolve_gain_config
    from quant_engine.workflows.factor_gain import gain

    overrides, location = _settings(args)
    put(overrides, "seed", args.seed)
    workspace = open_workspace(args)
    config = resolve_gain_config(
        overrides,
        workspace.catalog,
        block=_choice(args, feature_set=args.block or ""),
        world=args.world,
        quality=args.quality,
    )
    return gain(workspace, config, location, dry_run=args.dry_run)


Task = tuple["Callable[[], argparse.ArgumentParser]", "Callable[[argparse.Namespace], Outcome]"]

TASKS: dict[str, Task] = {
    "report": (report_parser, _run_report),
    "rank": (rank_parser, _run_rank),
    "gain": (gain_parser, _run_gain),
}
