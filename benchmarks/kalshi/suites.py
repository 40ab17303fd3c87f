"""Rows 15, 16, 21 and 22: suites of tests as goals, by the number of their failures.

    python benchmarks/kalshi/suites.py [ROW ...]

Fees against the exchange's own fills and against decimals; signing against the public key; fields,
types and values that nobody knows, and the fields of the pinned documents of the exchange against
those that the readers know (skipped, and said so, where the documents are absent); the named
regressions and leak traps.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from goals import show

ROOT = Path(__file__).resolve().parents[2]
SUITES = {
    "15": ["tests/kalshi/test_fees.py"],
    "16": ["tests/kalshi/test_exchange_signing.py"],
    "21": [
        "tests/kalshi/test_exchange_wire.py",
        "tests/kalshi/test_exchange_fixed.py",
        "tests/kalshi/test_exchange_stream.py",
    ],
    "22": ["tests/kalshi/test_regressions.py", "tests/kalshi/test_regressions_traps.py"],
}


def failures(paths: list[str]) -> tuple[int, str]:
    """Run one suite: how many tests failed or could not run, and how many did what."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    counted = {
        word: int(number)
        for number, word in re.findall(r"(\d+) (passed|failed|error|skipped)", done.stdout)
    }
    told = ", ".join(f"{number} {word}" for word, number in counted.items())
    wrong = sum(counted.get(word, 0) for word in ("failed", "error"))
    # A suite that did not run has not passed.
    return max(wrong, int(done.returncode != 0)), told


def main() -> None:
    """Run the suites of the chosen rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"some of {', '.join(SUITES)}")
    rows = parser.parse_args().rows or list(SUITES)
    unknown = sorted(set(rows) - set(SUITES))
    if unknown:
        parser.error(f"no suite for {', '.join(unknown)}; choose from {', '.join(SUITES)}")
    for row in rows:
        wrong, told = failures(SUITES[row])
        print(f"       {told or 'no test ran'}")
        show(row, wrong)


if __name__ == "__main__":
    main()
