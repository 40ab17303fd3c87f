"""Grading an auditor: alive leaks must be caught, clean twins must stay silent.

A leak is alive when it computes something else than its clean twin on the same data; only then a
miss counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from quant_engine.testing.findings import Detector
from quant_engine.testing.leaks.arenas import Arena
from quant_engine.testing.leaks.catalogue import LEAKS
from quant_engine.testing.leaks.registry import PlantedLeak
from quant_engine.testing.processes import NULL_LIMIT

__all__ = ["Auditor", "Grade", "detectors_that_alarm", "grade", "grade_table", "is_alive"]

Auditor: TypeAlias = Callable[[Callable[..., Any], Arena], Sequence[str]]
"""Candidate and arena to the names of the detectors that alarmed; empty = silent."""


@dataclass(frozen=True)
class Grade:
    """How an auditor did on one leak.

    Parameters
    ----------
    leak : str
        Name.
    part : str
        Part of a pipeline.
    alive : bool
        Whether the leak computes something else than its clean twin.
    detectors : tuple of str
        What alarmed on the leak; empty = missed.
    false_alarms : tuple of str
        What alarmed on the clean twin; empty is good.
    """

    leak: str
    part: str
    alive: bool
    detectors: tuple[str, ...]
    false_alarms: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Alive, caught, and silent on the clean twin."""
        return self.alive and bool(self.detectors) and not self.false_alarms


def detectors_that_alarm(candidate: Callable[..., Any], arena: Arena) -> tuple[str, ...]:
    """Audit a candidate with every detector of its arena; the auditor of this package.

    Parameters
    ----------
    candidate : callable
        With the signature of the arena.
    arena : Arena
        Data and detectors.

    Returns
    -------
    tuple of str
        Codes of the detectors that alarmed under any seed of the arena, in order.
    """
    found: set[Detector] = set()
    for seed in range(arena.n_seeds):
        for row in arena.audit(candidate, seed=seed):
            found |= {finding.detector for finding in row.findings}
    z = arena.null_z(candidate, seed=0)
    if z is not None and abs(z) > NULL_LIMIT:
        found.add(Detector.NULL)
    return tuple(detector.code for detector in Detector if detector in found)


def is_alive(leak: PlantedLeak) -> bool:
    """Tell whether a leak computes something else than its clean twin.

    Parameters
    ----------
    leak : PlantedLeak
        To be proven alive.

    Returns
    -------
    bool
        False for a leak whose miss would prove nothing.
    """
    one, two = (leak.arena.values(fn) for fn in (leak.leak, leak.clean))
    return one.keys() != two.keys() or any(not _same(one[name], two[name]) for name in one)


def grade(
    auditor: Auditor = detectors_that_alarm, *, leaks: Iterable[PlantedLeak] | None = None
) -> tuple[Grade, ...]:
    """Grade an auditor on the planted leaks and their clean twins.

    Parameters
    ----------
    auditor : callable
        Candidate and arena to the names of the detectors that alarmed; the own one by default.
    leaks : iterable of PlantedLeak, optional
        All of them by default.

    Returns
    -------
    tuple of Grade
        In the order of the leaks.

    Examples
    --------
    >>> (one,) = grade(leaks=[LEAKS["same-bar-fill"]])
    >>> one.alive, one.detectors, one.false_alarms
    (True, ('D6',), ())
    """
    return tuple(
        Grade(
            leak=leak.name,
            part=leak.part,
            alive=is_alive(leak),
            detectors=tuple(auditor(leak.leak, leak.arena)),
            false_alarms=tuple(auditor(leak.clean, leak.arena)),
        )
        for leak in (LEAKS.values() if leaks is None else leaks)
    )


def grade_table(grades: Sequence[Grade]) -> str:
    """Write grades as a text table with a line of totals.

    Parameters
    ----------
    grades : sequence of Grade
        From :func:`grade`.

    Returns
    -------
    str
        Lines.

    Examples
    --------
    >>> print(grade_table([Grade("shift", "feature", True, ("D1", "D2"), ())]))
    leak   part     alive  caught by  clean twin
    shift  feature  yes    D1 D2      silent
    1 of 1 alive, 1 caught, 0 false alarms
    """
    lines = [("leak", "part", "alive", "caught by", "clean twin")]
    for item in grades:
        lines.append(
            (
                item.leak,
                item.part,
                "yes" if item.alive else "NO",
                " ".join(item.detectors) or "MISSED",
                "ALARM " + " ".join(item.false_alarms) if item.false_alarms else "silent",
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    n_alive = sum(item.alive for item in grades)
    n_caught = sum(bool(item.alive and item.detectors) for item in grades)
    n_false = sum(bool(item.false_alarms) for item in grades)
    text.append(f"{n_alive} of {len(grades)} alive, {n_caught} caught, {n_false} false alarms")
    return "\n".join(text)


def _same(one: npt.NDArray[Any], two: npt.NDArray[Any]) -> bool:
    return one.shape == two.shape and np.array_equal(one, two, equal_nan=one.dtype.kind == "f")
