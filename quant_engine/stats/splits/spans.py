"""Label spans: for every row the closed interval of time that its label depends on.

Contract: distances are measured in time or in sessions of one axis, never in rows. Two rows of one
session are the same distance apart as one row from itself, so a panel of 5 assets and one of 5,000
assets get the same purge.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import floor
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import DataError, EmptyDataError, InsufficientHistoryError

__all__ = [
    "IndexArray",
    "Instants",
    "LabelSpans",
    "PurgeConfig",
    "Remainder",
    "SessionWindow",
    "block_edges",
    "clear_of",
    "label_spans",
]

IndexArray: TypeAlias = npt.NDArray[np.int64]
Instants: TypeAlias = npt.NDArray[Any]
"""Shape (R,), datetime64 of any resolution, or whole numbers such as eras."""

SessionWindow: TypeAlias = tuple[np.datetime64, np.datetime64]
Remainder: TypeAlias = Literal["first", "last"]


class PurgeConfig(FrozenConfig):
    """Which training rows are too close to a test block.

    Parameters
    ----------
    embargo_sessions : int
        Sessions right after the last test label span that never train. Counted from the first
        session that the purge leaves.
    embargo_frac : float
        The same as a share of all sessions, rounded down. The larger of the two holds.
    touching : {"purged", "allowed"}
        Whether spans that share one instant overlap. ``"purged"`` treats spans as closed intervals
        (AFML snippet 7.1), ``"allowed"`` lets a training span end where the test begins (AFML
        snippet 7.3) and is there to compare with software that does.

    Examples
    --------
    >>> PurgeConfig(embargo_sessions=1, embargo_frac=0.01).embargo(500)
    5
    """

    embargo_sessions: int = Field(default=0, ge=0)
    embargo_frac: float = Field(default=0.0, ge=0.0, lt=1.0)
    touching: Literal["purged", "allowed"] = "purged"

    def embargo(self, n_sessions: int) -> int:
        """Embargo in sessions on an axis of ``n_sessions``."""
        return max(self.embargo_sessions, floor(self.embargo_frac * n_sessions + 1e-9))

    def after(self, axis: Instants, instants: Instants) -> IndexArray:
        """Position of the first session clear of each instant, shape of ``instants``."""
        side: Literal["left", "right"] = "right" if self.touching == "purged" else "left"
        return np.searchsorted(axis, instants, side=side).astype(np.int64)


@dataclass(frozen=True, eq=False)
class LabelSpans:
    """Spans of R rows on an axis of S sessions; made by :func:`label_spans`.

    Parameters
    ----------
    start, end : ndarray, shape (R,)
        Closed interval of time that each row's label depends on. ``start`` decides to which
        session a row belongs.
    sessions : ndarray, shape (S,)
        Axis on which an embargo is counted and blocks are cut, strictly increasing.

    Examples
    --------
    >>> spans = label_spans(np.array([0, 0, 1]), np.array([2, 1, 3]))
    >>> len(spans), spans.sessions, spans.position
    (3, array([0, 1]), array([0, 0, 1]))
    """

    start: Instants
    end: Instants
    sessions: Instants

    def __len__(self) -> int:
        return len(self.start)

    @cached_property
    def position(self) -> IndexArray:
        """Session of each row, as a position on the axis, shape (R,)."""
        return np.searchsorted(self.sessions, self.start).astype(np.int64)

    def take(self, rows: IndexArray) -> LabelSpans:
        """Spans of some rows, shape (len(rows),), on the same axis."""
        return LabelSpans(self.start[rows], self.end[rows], self.sessions)

    def extended(self, by: Any) -> LabelSpans:
        """Spans whose ends lie later, for a purge that depends on the kind of row.

        Parameters
        ----------
        by : timedelta64 or int, or ndarray of them with shape (R,)
            Time added to every end, such as 14 days for one kind of event and 21 for another.

        Returns
        -------
        LabelSpans
            Same starts and axis.

        Raises
        ------
        DataError
            An end that would precede its start.

        Examples
        --------
        >>> label_spans(np.array([0, 1]), np.array([0, 1])).extended(np.array([2, 0])).end
        array([2, 1])
        """
        return label_spans(self.start, self.end + by, sessions=self.sessions)

    def interval(self, rows: IndexArray) -> tuple[Any, Any]:
        """First start and last end of some rows, shape (n,): the closed reach of a block."""
        return self.start[rows].min(), self.end[rows].max()


def label_spans(start: Instants, end: Instants, *, sessions: Instants | None = None) -> LabelSpans:
    """Parse spans once; everything behind this trusts them.

    Parameters
    ----------
    start, end : ndarray of datetime64 or int, shape (R,)
        Closed intervals, rows in any order, several rows per session allowed. Where the decision
        precedes the first price of the label, the decision is the safe start.
    sessions : ndarray, shape (S,), or None
        Session axis, strictly increasing and holding every start. None takes the distinct starts.

    Returns
    -------
    LabelSpans
        The parsed spans.

    Raises
    ------
    EmptyDataError
        No row.
    DataError
        Not one-dimensional times or whole numbers, lengths that differ, NaT, an end before its
        start, or a start that is not on the axis.

    Examples
    --------
    >>> days = np.arange("2024-01-01", "2024-01-05", dtype="datetime64[D]")
    >>> len(label_spans(days, days + 2).sessions)
    4
    """
    starts, ends = _instants("start", start), _instants("end", end)
    if not len(starts):
        raise EmptyDataError(
            "start", wanted="at least one labelled row", got=0, hint="Check how labels were built."
        )
    if len(starts) != len(ends) or starts.dtype.kind != ends.dtype.kind:
        raise DataError(
            "end",
            wanted=f"{len(starts)} values of kind {starts.dtype}",
            got=f"{len(ends)} of kind {ends.dtype}",
            hint="Take start and end of every row from the same labels.",
        )
    backwards = np.flatnonzero(ends < starts)
    if len(backwards):
        row = int(backwards[0])
        raise DataError(
            "end",
            wanted="start <= end",
            got=f"[{starts[row]}, {ends[row]}] in row {row} ({len(backwards)} rows)",
            hint="A label depends on prices from its start to its end.",
        )
    return LabelSpans(starts, ends, _axis(starts, sessions))


def block_edges(n_units: int, n_blocks: int, *, remainder: Remainder) -> IndexArray:
    """Cut a sequence of units into consecutive blocks.

    Parameters
    ----------
    n_units : int
        Sessions or groups.
    n_blocks : int
        Blocks.
    remainder : {"first", "last"}
        ``"first"``: the first blocks hold one unit more (``numpy.array_split``). ``"last"``: the
        last block takes the whole remainder (skfolio).

    Returns
    -------
    ndarray of int64, shape (n_blocks + 1,)
        Block b holds units ``edges[b] : edges[b + 1]``.

    Raises
    ------
    InsufficientHistoryError
        Fewer units than blocks.

    Examples
    --------
    >>> block_edges(11, 4, remainder="first"), block_edges(11, 4, remainder="last")
    (array([ 0,  3,  6,  9, 11]), array([ 0,  2,  4,  6, 11]))
    """
    if n_units < n_blocks or n_blocks < 1:
        raise InsufficientHistoryError(
            "blocks",
            wanted=f"between 1 and {n_units} blocks, at most one per session or group",
            got=n_blocks,
            hint="Load a longer history or ask for fewer blocks.",
        )
    size, left = divmod(n_units, n_blocks)
    if remainder == "last":
        edges = size * np.arange(n_blocks + 1, dtype=np.int64)
        edges[-1] = n_units
        return edges
    sizes = np.full(n_blocks, size, dtype=np.int64)
    sizes[:left] += 1
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(sizes)))


def clear_of(
    spans: LabelSpans, interval: tuple[Any, Any], *, rule: PurgeConfig
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Judge every row against one closed interval of time.

    Parameters
    ----------
    spans : LabelSpans
        Rows to judge.
    interval : tuple
        First start and last end of a test block.
    rule : PurgeConfig
        What touching means, and the embargo.

    Returns
    -------
    purged, embargoed : ndarray of bool, shape (R,)
        Rows whose span overlaps the interval; rows that do not, but begin within the embargo
        behind it. A row that is neither is clear.

    Examples
    --------
    >>> spans = label_spans(np.arange(8), np.arange(8) + 1)
    >>> purged, embargoed = clear_of(spans, (3, 5), rule=PurgeConfig(embargo_sessions=1))
    >>> np.flatnonzero(purged), np.flatnonzero(embargoed)
    (array([2, 3, 4, 5]), array([6]))
    """
    first, last = interval
    if rule.touching == "purged":
        before, behind = spans.end < first, spans.start > last
    else:
        before, behind = spans.end <= first, spans.start >= last
    free = int(rule.after(spans.sessions, np.asarray([last]))[0])
    free += rule.embargo(len(spans.sessions))
    return ~(before | behind), behind & ~before & (spans.position < free)


def _instants(name: str, values: Any) -> Instants:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "Miu":
        raise DataError(
            name,
            wanted="one-dimensional datetime64 values or whole numbers",
            got=f"shape {array.shape}, dtype {array.dtype}",
            hint="Use LabelPanel.span_start / span_end, or era numbers.",
        )
    if array.dtype.kind == "M" and np.isnat(array).any():
        raise DataError(
            name,
            wanted="a time in every row",
            got=f"{int(np.isnat(array).sum())} NaT",
            hint="Leave rows without a label out of the plan.",
        )
    return array


def _axis(starts: Instants, sessions: Instants | None) -> Instants:
    if sessions is None:
        return np.unique(starts)
    axis = _instants("sessions", sessions)
    if len(axis) > 1 and (axis[1:] <= axis[:-1]).any():
        raise DataError(
            "sessions",
            wanted="strictly increasing values",
            got="unsorted or repeated ones",
            hint="Pass the session axis, not the rows of a long table.",
        )
    at = np.minimum(np.searchsorted(axis, starts), len(axis) - 1)
    missing = int((axis[at] != starts).sum()) if len(axis) else len(starts)
    if missing:
        raise DataError(
            "sessions",
            wanted="an axis that holds every start",
            got=f"{missing} starts that are not on it",
            hint="Snap starts to sessions first, or leave the axis out.",
        )
    return axis
