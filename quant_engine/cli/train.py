"""``run_train.py`` and ``qe train``: market data to a trained, versioned model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from quant_engine.cli.flags import (
    RetiredFlag,
    add_data_flags,
    add_run_flags,
    make_parser,
    overrides_of,
)
from quant_engine.cli.run import execute
from quant_engine.cli.setup import open_workspace, put, put_data_flags

if TYPE_CHECKING:
    from quant_engine.workflows.outcome import Outcome

LABELS = (
    *("ret", "excess", "sector_excess", "beta_residual", "rank_gaussian", "cost_aware"),
    *("barrier_ret", "barrier", "meta"),
)
"""Names of ``features.training_labels.FORMS``, written out so that ``--help`` loads nothing."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    result = make_parser(
        "run_train.py",
        "Load market data, build features, labels and regimes, train by purged walk-forward, and "
        "register a model version. Without flags it trains on the embedded simulated market.",
    )
    add_data_flags(result)
    model = result.add_argument_group("model")
    model.add_argument("--horizon", type=int, metavar="H", help="label horizon in sessions (10)")
    model.add_argument(
        "--label",
        choices=LABELS,
        metavar="FORM",
        help=f"form of the label to learn (excess): {', '.join(LABELS)}",
    )
    model.add_argument("--features", metavar="SET", help="feature set from specs/features")
    model.add_argument(
        "--feature-mode", choices=("core", "full"), help="the shipped core or full price set"
    )
    model.add_argument("--recency", action="store_true", help="weight recent rows more")
    model.add_argument("--seed", type=int, metavar="S", help="seed of the learners (7)")
    model.add_argument("--no-version", action="store_true", help="do not register a model version")
    retired = result.add_argument_group("retired")
    retired.add_argument(
        "--full",
        action=RetiredFlag,
        reason="every name of the source is used; choose fewer with --tickers.",
    )
    retired.add_argument(
        "--no-interactions",
        action=RetiredFlag,
        reason="feature sets are named lists; choose one with --features.",
    )
    add_run_flags(result, settings=True)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, train, print; return the exit code."""
    return execute("run_train.py", parser().parse_args(argv), _work)


def _work(args: argparse.Namespace) -> Outcome:
    from quant_engine.workflows.backtest import SECTIONS as BACKTEST_SECTIONS
    from quant_engine.workflows.config import RECENCY_DECAY_PER_DAY, resolve_train_config
    from quant_engine.workflows.factor_config import SECTIONS as FACTOR_SECTIONS
    from quant_engine.workflows.train import train

    overrides = overrides_of(args, foreign=(*BACKTEST_SECTIONS, *FACTOR_SECTIONS))
    put(overrides, "labels.horizon_sessions", args.horizon)
    put(overrides, "target", args.label)
    put(overrides, "seed", args.seed)
    put(overrides, "feature_set", args.features)
    if args.feature_mode is not None:
        names = {"core": "price_volume_core", "full": "price_volume_v1"}
        put(overrides, "feature_set", names[args.feature_mode])
    if args.recency:
        put(overrides, "model.recency_decay_per_day", RECENCY_DECAY_PER_DAY)
    location = put_data_flags(overrides, args)
    workspace = open_workspace(args)
    config = resolve_train_config(
        overrides, workspace.catalog, world=args.world, quality=args.quality
    )
    return train(workspace, config, location, register=not args.no_version, dry_run=args.dry_run)
