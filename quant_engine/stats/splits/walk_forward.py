"""Walk-forward splits on label spans: which sessions train and which sessions test.

Contract: a split knows when every label *begins and ends to depend on prices*, not how many rows
lie between two rows. A row may train only if its whole label span ended before the test block
began. Spans are closed intervals, so two spans that share one session touch, and touching counts
as overlap. Because the purge works on time, a panel of 5 assets and one of 5,000 assets have the
same plan.

The plan of :func:`walk_forward` is built in four steps.

1. ``_check_spans`` parses sessions and spans.
2. ``_release_positions`` finds, for every row, the first test block it may train for.
3. ``_test_blocks`` cuts the development sessions into test blocks and keeps the holdout apart.
4. ``_fold`` selects the released rows of each block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import floor
from typing import Any, Literal, TypeAlias

import numpy as np
from pydantic import Field

from quant_engine.core.arrays import TimeVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.splits.plan import (
    HOLDOUT,
    PURGED,
    TEST,
    TRAIN,
    UNUSED,
    SplitPlan,
    make_plan,
)
from quant_engine.stats.splits.spans import IndexArray, LabelSpans, SessionWindow

__all__ = [
    "Fold",
    "LeftOver",
    "WalkForwardConfig",
    "block_starts",
    "label_horizon",
    "walk_forward",
    "walk_forward_rows",
]

LeftOver: TypeAlias = Literal["join_last", "drop", "short_block"]


class WalkForwardConfig(FrozenConfig):
    """How sessions are divided into train windows, test blocks and a final holdout.

    Parameters
    ----------
    min_train_sessions : int
        Labelled, purged and embargoed sessions that the first train window must hold (252, one
        year of daily sessions: fewer give no seasonal variety). Also the window length of
        ``mode="rolling"``.
    test_sessions : int
        Sessions per test block (63, one quarter between refits).
    embargo_sessions : int or None
        The last ``embargo_sessions`` sessions before a test block never train, whatever their
        label span. None takes the longest label horizon. A smaller number than the longest label
        horizon is refused: serial dependence of overlapping labels lasts that long.
    mode : {"expanding", "rolling"}
        Train on all released rows, or on the newest of them.
    holdout_frac : float
        Share of the last sessions kept as the holdout fold (fraction, 0 = no holdout).
    max_train_sessions : int or None
        Longest train window, the newest sessions of it. None is no limit for ``"expanding"`` and
        ``min_train_sessions`` for ``"rolling"``.
    left_over : {"join_last", "drop", "short_block"}
        What happens to development sessions behind the last full test block: they join it, stay
        untested, or make a block of their own.

    Examples
    --------
    >>> WalkForwardConfig().min_train_sessions
    252
    """

    min_train_sessions: int = Field(default=252, ge=1)
    test_sessions: int = Field(default=63, ge=1)
    embargo_sessions: int | None = Field(default=None, ge=0)
    mode: Literal["expanding", "rolling"] = "expanding"
    holdout_frac: float = Field(default=0.15, ge=0.0, le=0.5)
    max_train_sessions: int | None = Field(default=None, ge=1)
    left_over: LeftOver = "join_last"

    @property
    def train_limit(self) -> int | None:
        """Sessions that a train window may hold; None = no limit."""
        if self.max_train_sessions is None and self.mode == "rolling":
            return self.min_train_sessions
        return self.max_train_sessions

    @classmethod
    def ending_with(
        cls, n_sessions: int, *, n_blocks: int, test_sessions: int | None = None, gap: int = 0
    ) -> WalkForwardConfig:
        """Expanding windows with exactly ``n_blocks`` test blocks at the end of the sessions.

        Parameters
        ----------
        n_sessions : int
            Sessions of the plan.
        n_blocks : int
            Test blocks.
        test_sessions : int or None
            Sessions per block; None takes ``n_sessions // (n_blocks + 1)``.
        gap : int
            Sessions that the labels keep out between train window and test block, that is their
            horizon.

        Returns
        -------
        WalkForwardConfig
            Without holdout; the first train window takes whatever the blocks leave.

        Raises
        ------
        InsufficientHistoryError
            The blocks leave no session to train on.

        Notes
        -----
        The convention of ``sklearn.model_selection.TimeSeriesSplit``, on sessions.

        Examples
        --------
        >>> WalkForwardConfig.ending_with(17, n_blocks=3, test_sessions=3, gap=1).min_train_sessions
        7
        """
        size = n_sessions // (n_blocks + 1) if test_sessions is None else test_sessions
        first = n_sessions - n_blocks * size - gap
        if first < 1 or size < 1:
            raise InsufficientHistoryError(
                "sessions",
                wanted=f"more than {n_blocks} blocks of {size} sessions and a gap of {gap}",
                got=n_sessions,
                hint="Load a longer history, or ask for fewer or shorter blocks.",
            )
        return cls(min_train_sessions=first, test_sessions=size, holdout_frac=0.0)


@dataclass(frozen=True, eq=False)
class Fold:
    """One train window and the test block that follows it.

    Parameters
    ----------
    number : int
        1 for the first fold in time.
    train : ndarray of int64, shape (n_train,)
        Positions on the session axis whose labels may train, increasing.
    test : ndarray of int64, shape (n_test,)
        Positions to predict: every session of the block, increasing, also those without a label.
    scored : ndarray of int64, shape (n_scored,)
        Part of ``test`` that may be scored: the label span is known and, in a development fold,
        ends before the holdout begins. A metric that selects anything reads these rows only.
    train_window, test_window : tuple of datetime64
        First and last session of ``train`` and of ``test``.
    test_span : tuple of datetime64
        From the first decision of the block to the end of its last label span. No train label
        span touches this closed interval.
    is_holdout : bool
        True for the final holdout fold, which selects nothing.

    Examples
    --------
    >>> days = np.arange("2024-01-01", "2024-01-21", dtype="datetime64[D]")
    >>> config = WalkForwardConfig(min_train_sessions=5, test_sessions=5, holdout_frac=0.0)
    >>> walk_forward(days, days, days, config=config)[0]
    Fold(1: train 2024-01-01..2024-01-05 (5), test 2024-01-06..2024-01-10 (5))
    """

    number: int
    train: IndexArray
    test: IndexArray
    scored: IndexArray
    train_window: SessionWindow
    test_window: SessionWindow
    test_span: SessionWindow
    is_holdout: bool

    def __repr__(self) -> str:
        """Windows and row counts in one line."""
        name = "holdout" if self.is_holdout else "test"
        train = f"{self.train_window[0]}..{self.train_window[1]} ({len(self.train)})"
        test = f"{self.test_window[0]}..{self.test_window[1]} ({len(self.test)})"
        return f"Fold({self.number}: train {train}, {name} {test})"


def walk_forward(
    sessions: TimeVector,
    span_start: TimeVector,
    span_end: TimeVector,
    *,
    config: WalkForwardConfig,
) -> tuple[Fold, ...]:
    """Plan refits over time in which every train label is over before its test block begins.

    A row trains for a block that begins at position p when its label span ended strictly before
    session p (purge, closed intervals) and the row lies at least ``embargo_sessions + 1``
    positions before p (embargo). Rows without a label (NaT) never train. The first block begins
    at the earliest position with ``min_train_sessions`` such rows, so the plan of the early folds
    does not change when sessions are appended, as long as the holdout lies after them.

    Parameters
    ----------
    sessions : ndarray of datetime64, shape (T,)
        Decision sessions, strictly increasing.
    span_start, span_end : ndarray of datetime64, shape (T,)
        Closed interval of prices that the label of each session depends on; both NaT where the
        span runs past the data. A span does not begin before its own decision session.
    config : WalkForwardConfig
        Window lengths, embargo and holdout share.

    Returns
    -------
    tuple of Fold
        Development folds in time order, then the holdout fold where ``holdout_frac`` > 0.

    Raises
    ------
    DataError
        Sessions not increasing, lengths that differ, or a span that is not an interval.
    ConfigError
        ``embargo_sessions`` below the longest label horizon.
    InsufficientHistoryError
        Fewer sessions than the first train window and one test block need.

    Notes
    -----
    Lopez de Prado, Advances in Financial Machine Learning, section 7.4.1, lets intervals touch in
    snippet 7.3 and closes them in snippet 7.1; the stricter reading is used here.

    Examples
    --------
    Labels that depend on the two sessions after the decision (entry t+1, exit t+2):
    >>> from quant_engine.stats.splits import picture
    >>> days = np.arange("2024-01-01", "2024-01-31", dtype="datetime64[D]")
    >>> start, end = days + 1, days + 2
    >>> start[-2:] = end[-2:] = np.datetime64("NaT")
    >>> plan = WalkForwardConfig(min_train_sessions=8, test_sessions=7, holdout_frac=0.2)
    >>> print(picture(walk_forward(days, start, end, config=plan)))
    fold train test scored |one column = 1 session|
       1     8    7      7 |########xxTTTTTTT.............|
       2    15    7      5 |###############xxTTTTTTT......|
       H    22    6      4 |######################xxHHHHHH|
    """
    days, starts, ends = _check_spans(sessions, span_start, span_end)
    embargo = _checked_embargo(days, starts, ends, config)
    release = _release_positions(days, ends, embargo)
    n_holdout = floor(config.holdout_frac * len(days) + 1e-9)
    blocks = _test_blocks(release, len(days) - n_holdout, config)
    axis = (days, ends, release)
    holdout_from = days[-n_holdout] if n_holdout else None
    folds = [
        _fold(number, block, axis, config=config, holdout_from=holdout_from)
        for number, block in enumerate(blocks, start=1)
    ]
    if n_holdout:
        block = np.arange(len(days) - n_holdout, len(days), dtype=np.int64)
        last = _fold(len(folds) + 1, block, axis, config=config, holdout_from=None)
        folds.append(replace(last, is_holdout=True))
    return tuple(folds)


def walk_forward_rows(spans: LabelSpans, *, config: WalkForwardConfig) -> SplitPlan:
    """Plan a walk-forward on rows, several of which may share a session.

    A session trains when the longest of its labels is over, so rows of one session stay together.

    Parameters
    ----------
    spans : LabelSpans
        Label spans of the rows.
    config : WalkForwardConfig
        Window lengths in sessions, embargo and holdout share.

    Returns
    -------
    SplitPlan
        One split per development fold of :func:`walk_forward`; rows of the holdout, and test rows
        whose span reaches into it, are not scored.

    Raises
    ------
    ConfigError
        ``embargo_sessions`` below the longest label horizon.
    InsufficientHistoryError
        Too few sessions.

    Examples
    --------
    >>> from quant_engine.stats.splits import label_spans
    >>> spans = label_spans(np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 1, 1, 2, 2]))
    >>> config = WalkForwardConfig(min_train_sessions=1, test_sessions=1, holdout_frac=0.0)
    >>> [(s.train.tolist(), s.test.tolist()) for s in walk_forward_rows(spans, config=config)]
    [([0, 1], [2, 3]), ([0, 1, 2, 3], [4, 5])]
    """
    folds = walk_forward(*_by_session(spans), config=config)
    holdout = next((int(fold.test[0]) for fold in folds if fold.is_holdout), len(spans.sessions))
    late = spans.position >= holdout
    reaching = ~late & (spans.end >= spans.sessions[holdout]) if late.any() else late
    development = [fold for fold in folds if not fold.is_holdout]
    roles = np.full((len(development), len(spans)), UNUSED, dtype=np.int8)
    for role, fold in zip(roles, development, strict=True):
        between = (spans.position > fold.train[-1]) & (spans.position < fold.test[0])
        role[between] = PURGED
        role[np.isin(spans.position, fold.train)] = TRAIN
        role[np.isin(spans.position, fold.test)] = TEST
        role[reaching & (role == TEST)] = PURGED
        role[late] = HOLDOUT
    return make_plan(
        "walk_forward",
        spans,
        roles,
        tested=np.arange(len(development), dtype=np.int64)[:, None],
        convention=f"closed spans, {config.mode}, left over: {config.left_over}",
    )


def block_starts(first: int, stop: int, size: int, *, left_over: LeftOver) -> IndexArray | None:
    """Edges of consecutive test blocks.

    Parameters
    ----------
    first, stop : int
        First unit that is tested, and the unit behind the last.
    size : int
        Units (sessions or groups) per block.
    left_over : {"join_last", "drop", "short_block"}
        What happens to units behind the last full block.

    Returns
    -------
    ndarray of int64, shape (n_blocks + 1,), or None
        Block b holds units ``edges[b] : edges[b + 1]``; None where not one full block fits.

    Examples
    --------
    >>> block_starts(2, 9, 3, left_over="join_last"), block_starts(2, 9, 3, left_over="short_block")
    (array([2, 5, 9]), array([2, 5, 8, 9]))
    """
    n_blocks = (stop - first) // size
    if n_blocks < 1:
        return None
    edges = first + size * np.arange(n_blocks + 1, dtype=np.int64)
    if left_over == "join_last":
        edges[-1] = stop
    elif left_over == "short_block" and edges[-1] < stop:
        edges = np.append(edges, stop)
    return edges


def label_horizon(sessions: TimeVector, span_start: TimeVector, span_end: TimeVector) -> int:
    """Longest label span, counted in sessions from its start to its end.

    Parameters
    ----------
    sessions : ndarray of datetime64, shape (T,)
        Decision sessions, strictly increasing.
    span_start, span_end : ndarray of datetime64, shape (T,)
        Closed label spans; NaT = no label.

    Returns
    -------
    int
        Sessions between entry and exit of the longest label (0 where no row has a label).

    Raises
    ------
    DataError
        Sessions not increasing, lengths that differ, or a span that is not an interval.

    Examples
    --------
    >>> days = np.arange("2024-01-01", "2024-01-11", dtype="datetime64[D]")
    >>> label_horizon(days, days + 1, days + 6)
    5
    """
    days, starts, ends = _check_spans(sessions, span_start, span_end)
    return _longest_horizon(days, starts, ends)


def _by_session(spans: LabelSpans) -> tuple[TimeVector, TimeVector, TimeVector]:
    """Sessions with first start and last end of their rows; NaT where a session has no row."""
    days = spans.sessions
    order = np.argsort(spans.position, kind="stable")
    used, at = np.unique(spans.position[order], return_index=True)
    # Whole numbers become days: the plan compares instants and never measures them.
    unit = days.dtype if days.dtype.kind == "M" else np.dtype("datetime64[D]")
    starts = np.full(len(days), np.datetime64("NaT"), dtype=unit)
    ends = np.full(len(days), np.datetime64("NaT"), dtype=spans.end.astype(unit).dtype)
    starts[used] = days[used].astype(unit)
    ends[used] = np.maximum.reduceat(spans.end[order], at).astype(unit)
    return days.astype(unit), starts, ends


def _check_spans(
    sessions: TimeVector, span_start: TimeVector, span_end: TimeVector
) -> tuple[TimeVector, TimeVector, TimeVector]:
    """Parse the three arrays once; everything behind this trusts them."""
    named = {"sessions": sessions, "span_start": span_start, "span_end": span_end}
    arrays = {name: _as_dates(name, values) for name, values in named.items()}
    days, starts, ends = arrays["sessions"], arrays["span_start"], arrays["span_end"]
    if np.isnat(days).any() or (days[1:] <= days[:-1]).any():
        raise DataError(
            "sessions",
            wanted="strictly increasing dates without NaT",
            got="unsorted, repeated or missing dates",
            hint="Pass the session axis of the panel, not the rows of a long table.",
        )
    for name in ("span_start", "span_end"):
        if len(arrays[name]) != len(days):
            raise DataError(
                name,
                wanted=f"{len(days)} values, one per session",
                got=len(arrays[name]),
                hint="Take sessions and spans from the same LabelPanel.",
            )
    unlabelled = np.isnat(starts)
    is_interval = (starts <= ends) & (starts >= days)
    broken = np.flatnonzero(~(is_interval | (unlabelled & np.isnat(ends))))
    if len(broken):
        row = int(broken[0])
        raise DataError(
            "span_start, span_end",
            wanted="decision session <= span_start <= span_end, or NaT in both",
            got=f"[{starts[row]}, {ends[row]}] for session {days[row]} ({len(broken)} rows)",
            hint="A label describes prices after its decision; check how the spans were built.",
        )
    return days, starts, ends


def _as_dates(name: str, values: Any) -> TimeVector:
    """One-dimensional datetime64 array, or an error with the name of the argument."""
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind != "M":
        raise DataError(
            name,
            wanted="a one-dimensional datetime64 array",
            got=f"shape {array.shape}, dtype {array.dtype}",
            hint="Use TimeAxis.values or LabelPanel.span_start / span_end.",
        )
    return array


def _longest_horizon(days: TimeVector, starts: TimeVector, ends: TimeVector) -> int:
    """Sessions from span start to span end, over the labelled rows."""
    labelled = ~np.isnat(starts)
    if not labelled.any():
        return 0
    first = np.searchsorted(days, starts[labelled])
    last = np.searchsorted(days, ends[labelled])
    return int((last - first).max())


def _checked_embargo(
    days: TimeVector, starts: TimeVector, ends: TimeVector, config: WalkForwardConfig
) -> int:
    """Embargo in sessions, refused where it is shorter than the longest label."""
    horizon = _longest_horizon(days, starts, ends)
    if config.embargo_sessions is None:
        return horizon
    if config.embargo_sessions < horizon:
        raise ConfigError(
            "embargo_sessions",
            wanted=f">= {horizon}, the longest label horizon in sessions",
            got=config.embargo_sessions,
            hint="Leave it unset to take the label horizon.",
        )
    return config.embargo_sessions


def _release_positions(days: TimeVector, ends: TimeVector, embargo: int) -> IndexArray:
    """First test-block position each row may train for; T + 1 = never.

    A block at position p has p > row + embargo and days[p] > end of the label span.
    """
    never = len(days) + 1
    labelled = ~np.isnat(ends)
    release = np.full(len(days), never, dtype=np.int64)
    after_span = np.searchsorted(days, ends[labelled], side="right")
    after_embargo = np.flatnonzero(labelled) + embargo + 1
    release[labelled] = np.maximum(after_span, after_embargo)
    return release


def _test_blocks(
    release: IndexArray, n_development: int, config: WalkForwardConfig
) -> Iterator[IndexArray]:
    """Consecutive test blocks of the development period."""
    never = len(release) + 1
    ordered = np.sort(release[release < never])
    has_train = len(ordered) >= config.min_train_sessions
    first = int(ordered[config.min_train_sessions - 1]) if has_train else never
    edges = block_starts(first, n_development, config.test_sessions, left_over=config.left_over)
    if edges is None:
        raise InsufficientHistoryError(
            "sessions",
            wanted=_needed_sessions(first if has_train else None, config),
            got=len(release),
            hint="Load a longer history, or lower min_train_sessions, test_sessions or the label "
            "horizon.",
        )
    return (np.arange(a, b, dtype=np.int64) for a, b in pairwise(edges))


def _needed_sessions(first: int | None, config: WalkForwardConfig) -> str:
    """Sentence for the error: how many sessions one block and its train window take."""
    parts = f"{config.min_train_sessions} train + label and embargo gap + {config.test_sessions}"
    holdout = f" test + {config.holdout_frac:.0%} holdout" if config.holdout_frac else " test"
    if first is None:
        return f"at least {config.min_train_sessions} labelled sessions before a test block"
    needed = first + config.test_sessions
    while needed - floor(config.holdout_frac * needed + 1e-9) < first + config.test_sessions:
        needed += 1
    return f">= {needed} ({parts}{holdout})"


def _fold(
    number: int,
    block: IndexArray,
    axis: tuple[TimeVector, TimeVector, IndexArray],
    *,
    config: WalkForwardConfig,
    holdout_from: np.datetime64 | None,
) -> Fold:
    """Released rows before the block, and the rows of the block that have a usable label."""
    days, ends, release = axis
    train = np.flatnonzero(release <= block[0]).astype(np.int64)
    if config.train_limit is not None:
        train = train[-config.train_limit :]
    block_ends = ends[block]
    labelled = ~np.isnat(block_ends)
    usable = labelled if holdout_from is None else labelled & (block_ends < holdout_from)
    last_end = block_ends[labelled].max() if labelled.any() else days[block[-1]]
    return Fold(
        number=number,
        train=train,
        test=block,
        scored=block[usable],
        train_window=(days[train[0]], days[train[-1]]),
        test_window=(days[block[0]], days[block[-1]]),
        test_span=(days[block[0]], max(last_end, days[block[-1]])),
        is_holdout=False,
    )
