"""``python -m quant_engine.testing.leaks``: the planted leaks, and which detector catches each."""

from __future__ import annotations

import sys

from quant_engine.testing.leaks.grade import grade, grade_table


def main() -> int:
    """Grade the audit on every planted leak.

    Returns
    -------
    int
        0 when every leak is alive and caught and every clean twin silent, else 4.
    """
    grades = grade()
    sys.stdout.write(grade_table(grades) + "\n")
    return 0 if all(item.passed for item in grades) else 4


if __name__ == "__main__":
    sys.exit(main())
