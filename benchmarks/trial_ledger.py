"""Speed of the trial ledger: append with one flush per batch and alone, read, count, verify.

Run ``python benchmarks/trial_ledger.py --rows 1000000``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from pathlib import Path

from quant_engine.artifacts.signing import Signer
from quant_engine.core.clock import SystemClock
from quant_engine.core.trials import Trial
from quant_engine.governance.ledger import TrialLedger

BATCH = 1000


def trials(n_rows: int) -> list[Trial]:
    """Trials as a search writes them: hashes of 64 signs, eight families, four data sets."""
    digest = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(n_rows)]
    return [
        Trial(
            family=f"family_{number % 8}",
            spec_id=text,
            data_id=digest[number % 4],
            split_id=digest[number % 2],
            asked_by="benchmark",
            returns_ref=text[:32],
        )
        for number, text in enumerate(digest)
    ]


def timed(name: str, count: int, work) -> None:
    before = os.times()
    start = time.perf_counter()
    work()
    wall = time.perf_counter() - start
    after = os.times()
    cpu = after.user + after.system - before.user - before.system
    print(f"{name:<34} {count:>9} rows {wall:9.3f} s wall {cpu:9.3f} s cpu {count / wall:12.0f}/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    asked = trials(rows)
    with tempfile.TemporaryDirectory() as root:
        signer = Signer(Path(root) / "key")
        ledger = TrialLedger(Path(root) / "ledger", clock=SystemClock(), signer=signer)

        def in_batches() -> None:
            for first in range(0, rows, BATCH):
                with ledger.batch():
                    for trial in asked[first : first + BATCH]:
                        ledger.record(trial)

        timed(f"append, batches of {BATCH}", rows, in_batches)
        timed("append, one flush per row", 200, lambda: [ledger.record(t) for t in asked[:200]])
        timed("read all columns", rows, ledger.read)
        timed("read all columns again", rows, ledger.read)
        timed("count families", rows, ledger.families)
        timed("verify every hash", rows, ledger.verify)
        size = sum(path.stat().st_size for path in (Path(root) / "ledger").rglob("*.*"))
        print(f"{size / rows:.0f} bytes per row; {ledger.verify()}")


if __name__ == "__main__":
    main()
