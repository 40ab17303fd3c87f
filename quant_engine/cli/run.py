"""Running a command: one result object, one place for exit codes, one place for the unexpected."""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quant_engine.core.errors import QuantEngineError
    from quant_engine.workflows.outcome import Outcome

SCHEMA = "qe.run/1"
INTERRUPTED = 130
UNEXPECTED = 1


def execute(
    command: str,
    args: argparse.Namespace,
    work: Callable[[argparse.Namespace], Outcome],
) -> int:
    """Run a command and turn every ending into output and an exit code.

    Parameters
    ----------
    command : str
        Name such as ``"train"``.
    args : Namespace
        Parsed arguments with ``json`` and ``debug``.
    work : callable
        Makes the workflow call.

    Returns
    -------
    int
        Process exit code.
    """
    from quant_engine.core.errors import QuantEngineError

    # A killed run ends like an interrupted one: artifacts are whole, the run is resumable.
    # A shell starts background jobs with SIGINT ignored; sent on purpose, it still has to work.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _raise_interrupt)
    started = time.monotonic()
    try:
        outcome = work(args)
    except QuantEngineError as error:
        return _failed(command, args, error, time.monotonic() - started)
    except KeyboardInterrupt:
        return _interrupted(command, args, time.monotonic() - started)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        return _unexpected(command, args, error, time.monotonic() - started)
    _print_outcome(command, args, outcome, time.monotonic() - started)
    return outcome.exit_code


def _print_outcome(
    command: str, args: argparse.Namespace, outcome: Outcome, seconds: float
) -> None:
    if not args.json:
        for warning in outcome.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print(outcome.text)
        return
    _print_json(
        command,
        ok=outcome.exit_code == 0,
        run_id=outcome.run_id,
        status=outcome.status,
        exit_code=outcome.exit_code,
        track=outcome.track,
        dataset=outcome.dataset,
        artifacts=outcome.artifacts,
        metrics=_numbers(outcome.metrics),
        warnings=outcome.warnings,
        timings={**outcome.timings, "total_s": round(seconds, 3)},
    )


def _numbers(metrics: dict[str, Any]) -> dict[str, float | int | None]:
    """Return metrics as the schema promises them: numbers, or null where there is none."""
    return {
        name: None if value is None or not math.isfinite(value) else value + 0
        for name, value in metrics.items()
    }


def _failed(command: str, args: argparse.Namespace, error: QuantEngineError, seconds: float) -> int:
    if args.debug:
        traceback.print_exc()
    notes = " ".join(getattr(error, "__notes__", []))
    if args.json:
        description = {
            "code": error.code,
            "message": f"{error} {notes}".strip(),
            "hint": error.hint,
        }
        _print_json(
            command,
            status="failed",
            exit_code=error.exit_code,
            error=description,
            timings={"total_s": round(seconds, 3)},
        )
    else:
        print(f"error: {error} {notes}".rstrip(), file=sys.stderr)
    return error.exit_code


def _interrupted(command: str, args: argparse.Namespace, seconds: float) -> int:
    message = f"interrupted; finished stages are kept, go on with: {command} ... --resume"
    if args.json:
        description = {"code": "interrupted", "message": message, "hint": "Add --resume."}
        _print_json(
            command,
            status="interrupted",
            exit_code=INTERRUPTED,
            error=description,
            timings={"total_s": round(seconds, 3)},
        )
    else:
        print(message, file=sys.stderr)
    return INTERRUPTED


def _unexpected(command: str, args: argparse.Namespace, error: Exception, seconds: float) -> int:
    message = f"{type(error).__name__}: {error}"
    if args.debug:
        traceback.print_exc()
    if args.json:
        description = {
            "code": "unexpected",
            "message": message,
            "hint": "Run again with --debug and report it.",
        }
        _print_json(
            command,
            status="failed",
            exit_code=UNEXPECTED,
            error=description,
            timings={"total_s": round(seconds, 3)},
        )
    else:
        print(
            f"unexpected error: {message}\nRun again with --debug and report it.", file=sys.stderr
        )
    return UNEXPECTED


def _print_json(command: str, **parts: Any) -> None:
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "ok": False,
        "command": command,
        "run_id": None,
        "status": "",
        "exit_code": 0,
        "track": None,
        "dataset": None,
        "artifacts": [],
        "metrics": {},
        "warnings": [],
        "timings": {},
        "error": None,
    }
    print(json.dumps({**content, **parts}, indent=2, allow_nan=False))


def _raise_interrupt(signum: int, frame: object) -> None:
    del signum, frame
    raise KeyboardInterrupt
