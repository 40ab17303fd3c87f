"""Rows 15, 16, 21 and 22: suites of tests as goals, by the number of their failures.

    python benchmarks/kalshi/suites.py [ROW ...]

Fees against the exchange's own fills and against decimals, signing against the public key, schema
drift, and the named regressions and leak traps.
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
    "21": ["tests/kalshi/test_exchange_wire.py"],
    "22": ["tests/kalshi/test_regressions.py", "tests/kalshi/test_regressions_traps.py"],
}


def failures(paths: list[str]) -> tuple[int, int]:
    """Run one suite: how many tests failed or could not run, and how many passed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    counted = {
        word: int(number)
        for number, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)
    }
    passed = counted.pop("passed", 0)
    # A suite that did not run has not passed.
    return max(sum(counted.values()), int(done.returncode != 0)), passed


def main() -> None:
    """Run the suites of the chosen rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", choices=[*SUITES, []], default=list(SUITES))
    for row in parser.parse_args().rows:
        wrong, passed = failures(SUITES[row])
        print(f"       {passed} tests passed")
        show(row, wrong)


if __name__ == "__main__":
    main()
