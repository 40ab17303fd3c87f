"""``python -m quant_engine.testing.reference FOLDER [--json] [--strict]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from quant_engine.core.errors import QuantEngineError
from quant_engine.testing.reference.registered import ADAPTERS
from quant_engine.testing.reference.run import render, run_folder, to_json


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a folder of reference cases; return 0 when nothing failed.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line; the process's own without it.

    Returns
    -------
    int
        0 when no case failed, 1 when one did (with ``--strict`` also when one is unknown), 3 when
        the folder cannot be read.
    """
    parser = argparse.ArgumentParser(prog="python -m quant_engine.testing.reference")
    parser.add_argument("folder", type=Path, help="folder of TOPIC.json files")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--strict", action="store_true", help="an unknown case fails too")
    options = parser.parse_args(arguments)
    try:
        outcomes = run_folder(options.folder, ADAPTERS)
    except QuantEngineError as error:
        sys.stderr.write(f"error: {error}\n")
        return 3
    sys.stdout.write((to_json(outcomes) if options.json else render(outcomes)) + "\n")
    bad = {"failed", "unknown"} if options.strict else {"failed"}
    return int(any(outcome.status in bad for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
