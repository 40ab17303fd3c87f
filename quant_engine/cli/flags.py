"""Flags that several commands share, and how they become overrides of a run's configuration."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import Any

from quant_engine import __version__

EPILOG = (
    "exit codes: 0 ok, 1 unexpected, 2 usage or config, 3 data missing or invalid, "
    "4 gate not passed, 5 insufficient observation, 6 source unavailable, 7 missing extra, "
    "130 interrupted (resumable). "
    "The result goes to standard output, progress to standard error."
)


class RetiredFlag(argparse.Action):
    """A flag of an older system without meaning here; using it is an error that says why."""

    def __init__(self, option_strings: list[str], dest: str, reason: str, **kwargs: Any) -> None:
        super().__init__(option_strings, dest, nargs="?", help=argparse.SUPPRESS, **kwargs)
        self.reason = reason

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Stop with exit code 2 and the reason."""
        del namespace, values
        parser.error(f"{option_string} has no meaning in quant_engine: {self.reason}")


def make_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the flags that every command has.

    Parameters
    ----------
    prog : str
        Name shown in usage lines.
    description : str
        What the command does, in a sentence or two.

    Returns
    -------
    ArgumentParser
        Ready for the command's own flags.
    """
    parser = argparse.ArgumentParser(
        prog=prog, description=description, epilog=EPILOG, allow_abbrev=False
    )
    parser.add_argument("--version-info", action="version", version=f"quant_engine {__version__}")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print one JSON object (qe.run/1)")
    output.add_argument("--quiet", action="store_true", help="no progress on standard error")
    output.add_argument("--debug", action="store_true", help="show the traceback of an error")
    state = parser.add_argument_group("state")
    state.add_argument(
        "--results", type=Path, metavar="DIR", help="results folder (default: results)"
    )
    state.add_argument(
        "--models", type=Path, metavar="DIR", help="model folder (default: trained_models)"
    )
    return parser


def add_run_flags(parser: argparse.ArgumentParser, *, settings: bool = False) -> None:
    """Add the flags of commands that compute: resume, parallel jobs, overrides.

    Parameters
    ----------
    parser : ArgumentParser
        Of the command.
    settings : bool
        Whether the command has settings of its own. Commands that go on with a recorded run take
        its settings, and an override that would change nothing is a usage error.
    """
    run = parser.add_argument_group("run")
    run.add_argument("--resume", action="store_true", help="reuse stages that already finished")
    run.add_argument("--dry-run", action="store_true", help="say what would be done, then stop")
    run.add_argument("--jobs", type=positive, metavar="N", help="parallel tasks (default: 2)")
    run.add_argument(
        "--executor",
        choices=("serial", "process", "ray"),
        help="where tasks run (default: processes); results do not depend on it",
    )
    run.add_argument(
        "--ray-address", metavar="HOST:PORT", help="running Ray cluster (default: started here)"
    )
    if not settings:
        return
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="A.B=V",
        dest="overrides",
        help="override one setting, such as --set model.n_trees=200; repeatable",
    )


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which market data a run reads."""
    data = parser.add_argument_group("data")
    data.add_argument("--source", help="provider: simulated (default), local, yahoo, wrds")
    data.add_argument("--path", type=Path, help="folder or file of price data (source local)")
    data.add_argument("--world", metavar="NAME", help="simulated world from specs/worlds")
    data.add_argument("--start", type=iso_date, metavar="DATE", help="first session, YYYY-MM-DD")
    data.add_argument("--end", type=iso_date, metavar="DATE", help="last session, YYYY-MM-DD")
    data.add_argument("--years", type=float, metavar="Y", help="only the last Y years of data")
    data.add_argument("--tickers", nargs="+", metavar="T", help="only these tickers")
    data.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="FIELD=COLUMN",
        dest="columns",
        help="name an unusual column, such as close=Last; repeatable",
    )
    data.add_argument(
        "--date-format", metavar="FMT", help="such as DD-MM-YYYY where dates are ambiguous"
    )
    data.add_argument("--benchmark", metavar="FILE|equal_weight", help="benchmark prices")
    data.add_argument("--sectors", type=Path, metavar="FILE", help="ticker and sector table")
    data.add_argument(
        "--rename",
        action="append",
        default=[],
        dest="renames",
        metavar="OLD=NEW",
        help="a ticker of the price files and the company's ticker elsewhere, such as COH=TPR",
    )
    data.add_argument("--membership", type=Path, metavar="FILE", help="index membership spells")
    data.add_argument(
        "--delistings", type=Path, metavar="FILE", help="delistings with terminal return"
    )
    data.add_argument("--quality", metavar="PROFILE", help="rules from specs/quality")
    data.add_argument("--dataset", metavar="NAME", help="name of the dataset (default: derived)")
    data.add_argument(
        "--survivorship",
        action="store_true",
        help="stop unless the universe can be called survivorship-safe",
    )


def overrides_of(args: argparse.Namespace, *, foreign: Collection[str]) -> dict[str, Any]:
    """Merge ``config.py``, the environment and ``--set`` into nested overrides.

    Parameters
    ----------
    args : Namespace
        Parsed arguments with ``overrides``.
    foreign : collection of str
        Sections of other commands. ``config.py`` and the environment serve all commands, so these
        are passed over there; in ``--set`` they would do nothing and are left to be refused.

    Returns
    -------
    dict
        Nested plain values; ``--set`` wins over the environment, which wins over ``config.py``.
    """
    import yaml

    from quant_engine.core.errors import ConfigError
    from quant_engine.core.settings import environment_overrides, set_nested

    merged = read_config_file(Path("config.py"))
    _merge(merged, environment_overrides())
    merged = {name: value for name, value in merged.items() if name not in foreign}
    for text in args.overrides:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise ConfigError(
                "--set", wanted="A.B=VALUE", got=repr(text), hint="Write --set model.n_trees=200."
            )
        set_nested(merged, name.strip().split("."), yaml.safe_load(value))
    return merged


def read_config_file(path: Path) -> dict[str, Any]:
    """Read plain assignments ``section = {...}`` or ``name = value`` from a person's config.py.

    The file is parsed, never executed: values are literals.

    Parameters
    ----------
    path : Path
        ``config.py`` of the working folder; may be absent.

    Returns
    -------
    dict
        Assigned names to values.

    Raises
    ------
    ConfigError
        When a line is anything but a plain assignment of a literal.
    """
    from quant_engine.core.errors import ConfigError

    if not path.is_file():
        return {}
    values: dict[str, Any] = {}
    try:
        statements = ast.parse(path.read_text(encoding="utf-8"), filename=str(path)).body
        for statement in statements:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                continue
            if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
                raise ValueError(f"line {statement.lineno} is not a plain assignment")
            (target,) = statement.targets
            if not isinstance(target, ast.Name):
                raise ValueError(f"line {statement.lineno} assigns to more than a name")
            values[target.id.lower()] = ast.literal_eval(statement.value)
    except (ValueError, SyntaxError) as error:
        raise ConfigError(
            "config.py",
            wanted="plain assignments of literals",
            got=str(error),
            hint='Write lines such as: model = {"n_trees": 200}.',
        ) from error
    return values


def _merge(target: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value


def positive(text: str) -> int:
    """Parse a whole number of at least 1, for use as the ``type`` of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"wanted a whole number of at least 1, got {text}")
    return int(text)


def iso_date(text: str) -> date:
    """Parse a date such as 2024-01-31, for use as the ``type`` of an argument."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        message = f"wanted a date such as 2024-01-31, got {text}"
        raise argparse.ArgumentTypeError(message) from None
