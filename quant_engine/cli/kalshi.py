"""``run_kalshi_event_pipeline.py`` and ``qe kalshi``: event markets from records to a verdict."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quant_engine.cli.flags import add_run_flags, iso_date, make_parser, positive
from quant_engine.cli.run import execute
from quant_engine.cli.setup import open_workspace, put

if TYPE_CHECKING:
    from quant_engine.workflows.outcome import Outcome

SCRIPT = "run_kalshi_event_pipeline.py"
STAGES = (
    "sync", "record", "distributions", "features", "walkforward", "promote", "arb", "audit",
    "export", "bench", "all",
)  # fmt: skip
"""Names of ``workflows.event_run.STAGES``, written out so that ``--help`` loads nothing."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    result = make_parser(
        SCRIPT,
        "Collect ladders of event contracts, fit their distributions, build the event panel, "
        "forecast and trade it out of sample, and put the strategies before the promotion gates. "
        "Without flags it does everything on a simulated exchange that it starts on this machine.",
    )
    result.add_argument(
        "stage", nargs="?", default="all", choices=STAGES, metavar="STAGE",
        help=f"what to do (all): {', '.join(STAGES)}",
    )  # fmt: skip
    source = result.add_argument_group("source")
    source.add_argument(
        "--env",
        choices=("fake", "replay", "demo", "prod"),
        default="fake",
        help="simulated exchange (default), recordings (--path), demo or production with keys "
        "from QE_KALSHI_KEY_ID and QE_KALSHI_PRIVATE_KEY_FILE",
    )
    source.add_argument("--path", type=Path, metavar="DIR", help="folder of recordings (replay)")
    source.add_argument("--series", nargs="+", default=[], metavar="S", help="series tickers")
    source.add_argument("--since", type=iso_date, metavar="DATE", help="first day, YYYY-MM-DD")
    source.add_argument("--until", type=iso_date, metavar="DATE", help="last day, YYYY-MM-DD")
    source.add_argument(
        "--what", metavar="A,B", help="jobs of sync: catalog,quotes,trades,candles,historical"
    )
    source.add_argument("--minutes", type=float, default=1.0, metavar="M", help="of record (1)")
    source.add_argument("--events", type=positive, metavar="N", help="simulated events (200)")
    source.add_argument("--seed", type=int, metavar="S", help="of the simulated exchange (2026)")
    source.add_argument(
        "--backend", default="duckdb", metavar="NAME", help="store back end; duckdb is the one"
    )
    source.add_argument("--data", type=Path, metavar="DIR", help="folder of the store (data)")
    gate = result.add_argument_group("gate")
    gate.add_argument(
        "--disable-promotion-gate",
        action="store_true",
        help="end with the verdict 'not evaluated'; nothing is promoted",
    )
    gate.add_argument("--run-id", default="", metavar="ID", help="name of the run")
    add_run_flags(result, settings=True)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, work, print; return the exit code."""
    return execute(SCRIPT, parser().parse_args(argv), _work)


def _work(args: argparse.Namespace) -> Outcome:
    from dataclasses import replace

    from quant_engine.core.settings import exchange_variables
    from quant_engine.kalshi.fake.season import SeasonConfig
    from quant_engine.kalshi.provider import JOBS
    from quant_engine.workflows.event_config import pipeline_config
    from quant_engine.workflows.event_run import EventRequest, run_events
    from quant_engine.workflows.event_sources import EventSource

    _require_duckdb(args.backend)
    season = SeasonConfig(
        **{
            name: value
            for name, value in (("n_events", args.events), ("seed", args.seed))
            if value is not None
        }
    )
    source = EventSource(
        args.env,
        path=args.path,
        series=tuple(args.series),
        since=args.since,
        until=args.until,
        season=season,
        variables=exchange_variables() if args.env in ("demo", "prod") else None,
    )
    request = EventRequest(
        args.stage,
        what=tuple(args.what.split(",")) if args.what is not None else JOBS,
        run_id=args.run_id,
        disable_promotion_gate=args.disable_promotion_gate,
        minutes=args.minutes,
    )
    config = pipeline_config(source, _overrides(args))
    workspace = open_workspace(args)
    if args.data is not None:
        settings = workspace.settings.model_copy(update={"data_root": args.data})
        workspace = replace(workspace, settings=settings)
    return run_events(workspace, source, config, request)


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Read ``--set``; ``config.py`` and the environment belong to the other commands."""
    import yaml

    from quant_engine.core.errors import ConfigError

    overrides: dict[str, Any] = {}
    for text in args.overrides:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise ConfigError(
                "--set", wanted="A.B=VALUE", got=repr(text), hint="Write --set seed=1."
            )
        put(overrides, name.strip(), yaml.safe_load(value))
    return overrides


def _require_duckdb(backend: str) -> None:
    from quant_engine.core.errors import ConfigError

    if backend != "duckdb":
        raise ConfigError(
            "--backend",
            wanted="duckdb",
            got=repr(backend),
            hint="As-of joins of millions of quotes and exact repetitions need DuckDB's ASOF and "
            "anti joins; SQLite has neither, and two back ends would give two answers.",
        )
