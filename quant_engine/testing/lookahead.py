"""Look-ahead audit: change the future, demand bit identity of the past.

How a function is audited (`assert_prefix_invariant`):

1. it runs twice on the whole panel; unequal bits mean that it is not repeatable, and nothing can
   be said about leaks;
2. at every cut the panel is cut off after the cut row and the function runs on what is left
   (detector ``prefix``). This catches whatever looks at later rows, also at their absence;
3. at every cut all later rows are replaced (`poison_future`): prices go on as random walks,
   assets vanish and return, masks and groups are redrawn (detector ``poison``);
4. the last `rows` rows up to the cut must be the same, bit for bit, NaN equal to NaN
   (`first_difference`). One row is not enough: a limit taken from the full sample shows only where
   a past value touches it.

A cut is one date for all assets. With a cut per asset every clean cross-sectional rank would
raise an alarm, because the other assets' rows of that date would be poisoned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from quant_engine.core.arrays import TimeVector
from quant_engine.core.errors import ConfigError
from quant_engine.core.panel import Panel
from quant_engine.testing.errors import ConformanceError, LeakFoundError
from quant_engine.testing.findings import iso
from quant_engine.testing.outputs import Labelled, Output, first_difference, labelled
from quant_engine.testing.poison import poison_future

MIN_ROWS = 10
"""Rows that are compared at least; fewer miss limits taken from the whole sample."""


@dataclass(frozen=True)
class Difference:
    """The first value of the past that the future changed.

    Parameters
    ----------
    detector : str
        ``"repeat"``, ``"prefix"`` or ``"poison"``.
    field : str
        Field, mask, group or column.
    session : str
        Time of the row, ISO format.
    asset : str
        asset_id; empty for values without an asset.
    cut : str
        Last time whose data both runs shared.
    before, after : object
        The value with the true future, and with the changed one; None = no such row.
    """

    detector: str
    field: str
    session: str
    asset: str
    cut: str
    before: object
    after: object

    def __str__(self) -> str:
        where = f"{self.field} at {self.session}" + (f" of {self.asset}" if self.asset else "")
        return f"{where}: {self.before} became {self.after} ({self.detector} at cut {self.cut})"


@dataclass(frozen=True)
class AuditReport:
    """What a passed audit has looked at.

    Parameters
    ----------
    n_cuts : int
        Cuts, each with both detectors.
    n_values : int
        Compared values that were present and not NaN, over all cuts.
    fields : tuple of str
        Names of what was compared.
    """

    n_cuts: int
    n_values: int
    fields: tuple[str, ...]


def assert_prefix_invariant(
    fn: Callable[[Panel], Output],
    panel: Panel,
    *,
    cuts: Sequence[int],
    seed: int,
    rows: int = MIN_ROWS,
) -> AuditReport:
    """Raise when any of the last rows up to a cut depends on what comes after it.

    Parameters
    ----------
    fn : callable
        The function under audit: a panel in; a panel, a frame indexed by time or by
        (date, asset_id), an array of shape (T,), (T, N) or (T, N, P), or a mapping of names to
        arrays out. It must not keep state between calls.
    panel : Panel
        Example data, shape (T, N), long enough for the function's warm-up before each cut.
    cuts : sequence of int
        Row positions; rows up to and including a cut are the past. See :func:`random_cuts`.
    seed : int
        Seed of the poisoned futures.
    rows : int
        Rows compared at each cut, at least 10 sessions or bars.

    Returns
    -------
    AuditReport
        How much was compared.

    Raises
    ------
    LeakFoundError
        With the first differing (field, session, asset).
    ConformanceError
        When the function is not repeatable, or when every compared value of a field is missing,
        so that the audit would prove nothing about it.
    ConfigError
        For cuts without enough rows before or any row after them.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> days = np.datetime64("2020-01-01") + np.arange(40)
    >>> prices = np.linspace(10.0, 20.0, 40)[:, None]
    >>> panel = Panel(TimeAxis.sessions(days), ("A@US#1",), {"close": prices})
    >>> assert_prefix_invariant(lambda p: p.field("close") ** 2, panel, cuts=[20], seed=1).n_values
    10
    >>> def centred(p):
    ...     return p.field("close") - p.field("close").mean()
    >>> try:
    ...     assert_prefix_invariant(centred, panel, cuts=[20], seed=1)
    ... except LeakFoundError as error:
    ...     print(error.got.field, error.got.session, error.got.asset, error.got.detector)
    value 2020-01-12 A@US#1 prefix
    """
    _check_cuts(panel, cuts, rows)
    name = getattr(fn, "__name__", type(fn).__name__)
    baseline = _run(fn, panel, name, "the true data")
    times = panel.time.values
    _demand(name, "repeat", baseline, _run(fn, panel, name, "the same data again"), times)
    counts = dict.fromkeys(baseline.fields, 0)
    for cut in cuts:
        compared = times[cut - rows + 1 : cut + 1]
        versions = {"prefix": panel.rows(0, cut + 1)}
        versions["poison"] = poison_future(panel, cut=cut, seed=seed + cut)
        for detector, changed in versions.items():
            outcome = _run(fn, changed, name, f"{detector} at cut {iso(times[cut])}")
            _demand(name, detector, baseline, outcome, compared)
        for field, count in baseline.counts(compared[0], compared[-1]).items():
            counts[field] += count
    unseen = [field for field, count in counts.items() if count == 0]
    if unseen or not counts:
        raise ConformanceError.broken(
            name,
            "something to compare",
            wanted="a value of every field before at least one cut",
            got=f"missing values alone in {unseen[:5]}" if unseen else "no field",
            hint="Use later cuts or more data: the warm-up is longer than the past.",
        )
    return AuditReport(len(cuts), sum(counts.values()), tuple(baseline.fields))


def random_cuts(panel: Panel, *, count: int, seed: int, warmup: int) -> tuple[int, ...]:
    """Draw cut rows between a warm-up and the end.

    Parameters
    ----------
    panel : Panel
        The data to cut, shape (T, N).
    count : int
        Number of cuts; fewer when there is no room for so many.
    seed : int
        Seed of the draw.
    warmup : int
        First row that may be a cut; at least the function's lookback plus the compared rows.

    Returns
    -------
    tuple of int
        Ascending row positions, each with at least one row after it.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> days = np.datetime64("2020-01-01") + np.arange(30)
    >>> panel = Panel(TimeAxis.sessions(days), (), {})
    >>> len(random_cuts(panel, count=3, seed=0, warmup=20))
    3
    """
    room = np.arange(max(warmup, MIN_ROWS - 1), len(panel.time) - 1)
    if room.size == 0:
        raise ConfigError(
            "warmup",
            wanted=f"less than {len(panel.time) - 1} rows",
            got=warmup,
            hint="Use a longer panel.",
        )
    drawn = np.random.default_rng(seed).choice(room, min(count, room.size), replace=False)
    return tuple(int(row) for row in np.sort(drawn))


def _run(fn: Callable[[Panel], Output], panel: Panel, name: str, what: str) -> Labelled:
    try:
        return labelled(fn(panel), panel)
    except Exception as error:
        error.add_note(f"while {name} ran on {what}")
        raise


def _demand(
    name: str, detector: str, before: Labelled, after: Labelled, compared: TimeVector
) -> None:
    found = first_difference(before, after, first=compared[0], last=compared[-1])
    if found is None:
        return
    field, time, asset, old, new = found
    difference = Difference(detector, field, iso(time), asset, iso(compared[-1]), old, new)
    if detector == "repeat":
        raise ConformanceError.broken(
            name,
            "repeatable",
            wanted="equal bits from two runs on equal data",
            got=difference,
            hint="Seed every random number and keep no state between calls.",
        )
    raise LeakFoundError.broken(
        name,
        "no look-ahead",
        wanted="a past that does not depend on the future",
        got=difference,
        hint="Row t may read rows up to t alone: no centred windows, no full-sample statistics.",
    )


def _check_cuts(panel: Panel, cuts: Sequence[int], rows: int) -> None:
    if rows < MIN_ROWS:
        raise ConfigError(
            "rows", wanted=f"at least {MIN_ROWS}", got=rows, hint="Fewer rows miss real leaks."
        )
    first, last = rows - 1, len(panel.time) - 2
    outside = [cut for cut in cuts if not first <= cut <= last]
    if outside or not cuts:
        raise ConfigError(
            "cuts",
            wanted=f"row positions from {first} to {last}",
            got=outside or "none",
            hint="A cut needs enough rows before it and one after it.",
        )
