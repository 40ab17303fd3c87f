"""Finished repetitions of a benchmark, kept in a JSONL file so that a run can be gone on with."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from quant_engine.core.executor_choice import make_executor


class Task(Protocol):
    """One repetition: a pure function of what its key hashes."""

    cache: str

    @property
    def key(self) -> str:
        """Hash of everything that decides the result."""
        ...


def append(cache: str, record: Mapping[str, Any]) -> None:
    """Append a finished repetition; an empty name keeps nothing."""
    if not cache:
        return
    # One write of one line: processes that append to the same file do not mix their lines.
    line = (json.dumps(record) + "\n").encode()
    descriptor = os.open(cache, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def finished(cache: str) -> dict[str, dict[str, Any]]:
    """Finished repetitions by key; a line that an interruption cut off is left out."""
    known = {}
    if cache and Path(cache).exists():
        for line in Path(cache).read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            known[record["key"]] = record
    return known


def run(
    measure: Callable[[Mapping[str, np.ndarray], Any], dict[str, Any]],
    tasks: Sequence[Task],
    *,
    jobs: int,
    name: str,
) -> list[dict[str, Any]]:
    """Measure what the cache does not hold; return all in the order of the tasks.

    Parameters
    ----------
    measure : callable
        Of shared arrays (none) and a task; returns a record with the task's ``key``.
    tasks : sequence of Task
        All repetitions, with one cache.
    jobs : int
        Repetitions measured side by side.
    name : str
        What is counted on standard error.

    Returns
    -------
    list of dict
        One record per task.
    """
    known = finished(tasks[0].cache) if tasks else {}
    missing = [task for task in tasks if task.key not in known]
    done = len(tasks) - len(missing)

    def tell() -> None:
        nonlocal done
        done += 1
        print(f"{name}: {done} of {len(tasks)}", file=sys.stderr, flush=True)

    fresh = make_executor(jobs).map(measure, missing, on_done=tell) if missing else []
    # Through JSON, so that a cached repetition and a fresh one give the same bits.
    known |= {record["key"]: json.loads(json.dumps(record)) for record in fresh}
    return [known[task.key] for task in tasks]
