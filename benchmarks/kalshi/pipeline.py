"""Rows 23 and 24: the whole command on the fake exchange from nothing, twice, and its bytes.

    python benchmarks/kalshi/pipeline.py [--runs 2]

Runs ``run_kalshi_event_pipeline.py --env fake all`` in empty folders. Exit code 0 is a promotion
and 4 a verdict without one; anything else is a failure. Compared are all Parquet files and
artifacts; not the database, not the record of the collection (it tells how often runs were
started), not the registers of runs, which hold wall-clock times.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from goals import show

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "run_kalshi_event_pipeline.py"
GOOD_EXITS = (0, 4)


def run_in(folder: Path) -> tuple[float, float]:
    """Wall and processor seconds of one run in an empty folder."""
    before = os.times()
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--env", "fake", "all"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    after = os.times()
    if done.returncode not in GOOD_EXITS:
        sys.exit(f"exit code {done.returncode}\n{done.stderr[-3_000:]}")
    cpu = after.children_user + after.children_system
    return seconds, cpu - before.children_user - before.children_system


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every exported table by its path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.parquet"))
        if "event_health" not in str(path)
    }


def main() -> None:
    """Measure both rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2)
    flags = parser.parse_args()
    if not SCRIPT.is_file():
        sys.exit(f"{SCRIPT.name} is not there")
    seconds, found = [], []
    with tempfile.TemporaryDirectory() as place:
        for number in range(flags.runs):
            folder = Path(place) / str(number)
            folder.mkdir()
            wall, cpu = run_in(folder)
            seconds.append(wall)
            found.append(digests(folder))
            print(f"       run {number + 1}: {wall:.1f} s, {cpu:.1f} s of processor, "
                  f"{len(found[-1])} tables", flush=True)  # fmt: skip
    show("23", max(seconds))
    if len(found) > 1:
        names = set().union(*found)
        show("24", sum(len({one.get(name) for one in found}) > 1 for name in names))


if __name__ == "__main__":
    main()
