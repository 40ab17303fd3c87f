"""Consecutive windows of time: search, validation, forward; discovery, bridge train, bridge check.

Contract: the windows are cut at sessions, and a row belongs to a window only when its label span,
and the embargo behind it, ended before the next window begins. So nothing that is computed on a
later window depends on prices that an earlier one saw.

The forward window is sealed: its rows come out of :meth:`SealedForward.open_forward` alone, for
the configuration that was sealed, once per study. Nothing here remembers anything: the ledger of
openings goes in and a longer one comes out, for the caller to keep.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import floor
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from quant_engine.core.errors import (
    ConfigError,
    GateNotPassedError,
    InsufficientHistoryError,
    LookAheadError,
)
from quant_engine.core.hashing import array_digest, sha256_json
from quant_engine.stats.splits.spans import IndexArray, LabelSpans, PurgeConfig, clear_of

__all__ = [
    "BRIDGE",
    "THREE_STAGE",
    "ForwardLedger",
    "ForwardOpening",
    "SealedForward",
    "WindowPlan",
    "WindowsConfig",
    "bridge_windows",
    "cut_windows",
    "refuse_used",
    "seal_forward",
    "three_stage",
]


class WindowsConfig(PurgeConfig):
    """Names and lengths of consecutive windows.

    Parameters
    ----------
    names : tuple of str
        Windows in time order.
    shares : tuple of float
        Share of the sessions per window (fractions that sum to 1). Sessions that do not divide
        evenly go to the last window.
    sealed : str
        Window that only :meth:`SealedForward.open_forward` hands out; empty = none.

    Examples
    --------
    >>> WindowsConfig(names=("train", "test"), shares=(0.7, 0.3)).sealed
    ''
    """

    names: tuple[str, ...]
    shares: tuple[float, ...]
    sealed: str = Field(default="")

    @model_validator(mode="after")
    def _fits_together(self) -> WindowsConfig:
        if len(self.names) != len(self.shares) or len(set(self.names)) != len(self.names):
            raise ValueError("one share per window and no name twice")
        if min(self.shares) <= 0.0 or abs(sum(self.shares) - 1.0) > 1e-9:
            raise ValueError(f"shares {self.shares} must be positive and sum to 1")
        if self.sealed and self.sealed not in self.names:
            raise ValueError(f"sealed window {self.sealed!r} is not one of {self.names}")
        return self


THREE_STAGE = WindowsConfig(
    names=("search", "validation", "forward"), shares=(0.6, 0.2, 0.2), sealed="forward"
)
"""Coarse search, refinement, and a forward window that is opened once per study."""

BRIDGE = WindowsConfig(
    names=("discovery", "bridge_train", "bridge_validation"),
    shares=(0.6, 0.2, 0.2),
    embargo_sessions=1,
)
"""Discovery, then two windows from which every bridge number is computed anew."""


@dataclass(frozen=True, eq=False)
class WindowPlan:
    """Rows of consecutive windows.

    Parameters
    ----------
    spans : LabelSpans
        Label spans of the rows.
    config : WindowsConfig
        Names, shares, embargo and seal.
    edges : ndarray of int64, shape (W + 1,)
        Window w holds the sessions ``edges[w] : edges[w + 1]``.
    window_of_row : ndarray of int64, shape (R,)
        Window of each row, -1 where the row is purged between two windows.
    """

    spans: LabelSpans
    config: WindowsConfig
    edges: IndexArray
    window_of_row: IndexArray

    def rows(self, name: str) -> IndexArray:
        """Rows of an open window, increasing.

        Parameters
        ----------
        name : str
            Window.

        Returns
        -------
        ndarray of int64, shape (n,)
            Row positions.

        Raises
        ------
        ConfigError
            No window of that name.
        GateNotPassedError
            The sealed window.
        """
        number = self._number(name)
        if name == self.config.sealed:
            raise GateNotPassedError(
                f"window {name!r}",
                wanted="an open window",
                got="the sealed one",
                hint="Choose one configuration, seal it with seal_forward and open it once.",
            )
        return self._rows(number)

    @property
    def purged(self) -> IndexArray:
        """Rows that belong to no window, increasing."""
        return np.flatnonzero(self.window_of_row < 0).astype(np.int64)

    def sessions(self, name: str) -> tuple[Any, Any]:
        """First and last session of a window, sealed or not."""
        number = self._number(name)
        axis = self.spans.sessions
        return axis[self.edges[number]], axis[self.edges[number + 1] - 1]

    def plan_id(self) -> str:
        """Hash of the configuration, the axis and the rows (64 hexadecimal characters)."""
        digests = [array_digest(self.spans.sessions), array_digest(self.window_of_row)]
        return sha256_json([self.config.config_id(), *digests])

    def _rows(self, number: int) -> IndexArray:
        return np.flatnonzero(self.window_of_row == number).astype(np.int64)

    def _number(self, name: str) -> int:
        if name not in self.config.names:
            raise ConfigError(
                "window",
                wanted=f"one of {', '.join(self.config.names)}",
                got=repr(name),
                hint="The names are those of the configuration.",
            )
        return self.config.names.index(name)


@dataclass(frozen=True)
class ForwardOpening:
    """One opening of a forward window, as it is kept.

    Parameters
    ----------
    study : str
        Question that the window answers.
    plan_id, config_id : str
        Plan and configuration that were judged.
    first, last : str
        First session and end of the last label span, as text.
    """

    study: str
    plan_id: str
    config_id: str
    first: str
    last: str

    def content(self) -> dict[str, str]:
        """Plain JSON values for a ledger on disk."""
        return asdict(self)


@dataclass(frozen=True)
class ForwardLedger:
    """Openings so far; a value that grows by replacement.

    Parameters
    ----------
    openings : tuple of ForwardOpening
        In the order in which they happened.
    """

    openings: tuple[ForwardOpening, ...] = field(default=())


@dataclass(frozen=True, eq=False)
class SealedForward:
    """A forward window bound to one study and one configuration.

    Parameters
    ----------
    plan : WindowPlan
        Plan with a sealed window.
    study : str
        Question that the window answers.
    config_id : str
        Hash of the one configuration that may be judged on it.

    Examples
    --------
    >>> from quant_engine.stats.splits import label_spans
    >>> spans = label_spans(np.arange(10), np.arange(10))
    >>> sealed = seal_forward(three_stage(spans), study="momentum", config_id="c1")
    >>> rows, ledger = sealed.open_forward(ForwardLedger(), config_id="c1")
    >>> rows, len(ledger.openings)
    (array([8, 9]), 1)
    """

    plan: WindowPlan
    study: str
    config_id: str

    def open_forward(
        self, ledger: ForwardLedger, *, config_id: str
    ) -> tuple[IndexArray, ForwardLedger]:
        """Hand out the sealed rows and record that it happened.

        Parameters
        ----------
        ledger : ForwardLedger
            Openings so far.
        config_id : str
            Hash of the configuration about to be judged.

        Returns
        -------
        rows : ndarray of int64, shape (n,)
            Rows of the sealed window, increasing.
        ledger : ForwardLedger
            The openings including this one; keep it, for it alone refuses the next.

        Raises
        ------
        GateNotPassedError
            Another configuration than the sealed one, or a window that overlaps one which the
            study opened before.
        """
        if config_id != self.config_id:
            raise GateNotPassedError(
                "config_id",
                wanted=f"the sealed configuration {self.config_id}",
                got=config_id,
                hint="What was chosen before the seal is judged; a change is a new study.",
            )
        number = self.plan.config.names.index(self.plan.config.sealed)
        rows = self.plan._rows(number)
        first, last = self.plan.spans.interval(rows)
        opening = ForwardOpening(
            self.study, self.plan.plan_id(), config_id, _written(first), _written(last)
        )
        for earlier in ledger.openings:
            if earlier.study == self.study and _overlap(earlier, opening):
                raise GateNotPassedError(
                    f"forward window {opening.first} to {opening.last}",
                    wanted=f"a window that study {self.study!r} has not opened",
                    got=f"{earlier.first} to {earlier.last}, opened for {earlier.config_id}",
                    hint="Wait for new sessions; a window that was looked at is no longer forward.",
                )
        return rows, ForwardLedger((*ledger.openings, opening))


def cut_windows(spans: LabelSpans, *, config: WindowsConfig) -> WindowPlan:
    """Cut sessions into consecutive windows and purge between them.

    Parameters
    ----------
    spans : LabelSpans
        Label spans of the rows.
    config : WindowsConfig
        Names, shares, embargo and seal.

    Returns
    -------
    WindowPlan
        Rows per window.

    Raises
    ------
    InsufficientHistoryError
        A window without sessions, or without rows after the purge.

    Notes
    -----
    The rows of the earlier window give way: the last sessions before an edge are dropped when
    their spans, or the embargo behind them, reach it. Later windows, which judge, stay whole.

    Examples
    --------
    >>> from quant_engine.stats.splits import label_spans
    >>> spans = label_spans(np.arange(10), np.arange(10) + 1)
    >>> halves = WindowsConfig(names=("early", "late"), shares=(0.5, 0.5))
    >>> plan = cut_windows(spans, config=halves)
    >>> plan.rows("early"), plan.rows("late"), plan.purged
    (array([0, 1, 2, 3]), array([5, 6, 7, 8, 9]), array([4]))
    """
    n_sessions = len(spans.sessions)
    shares = np.cumsum((0.0, *config.shares))
    edges = np.array([floor(share * n_sessions + 1e-9) for share in shares], dtype=np.int64)
    edges[-1] = n_sessions
    window = np.searchsorted(edges, spans.position, side="right") - 1
    free = config.after(spans.sessions, spans.end) + config.embargo(n_sessions)
    last = len(config.names) - 1
    reaches = (window < last) & (free > edges[window + 1])
    window_of_row = np.where(reaches, -1, window).astype(np.int64)
    for number, name in enumerate(config.names):
        if not (window_of_row == number).any():
            raise InsufficientHistoryError(
                f"window {name!r}",
                wanted="rows that are over before the next window begins",
                got=f"none of {int((window == number).sum())} rows in "
                f"{edges[number + 1] - edges[number]} sessions",
                hint="Load a longer history, widen the window, or shorten label or embargo.",
            )
    return WindowPlan(spans, config, edges, window_of_row)


def three_stage(spans: LabelSpans, *, config: WindowsConfig = THREE_STAGE) -> WindowPlan:
    """Cut into search, validation and a sealed forward window.

    Parameters
    ----------
    spans : LabelSpans
        Label spans of the rows.
    config : WindowsConfig
        Three windows, the last of them sealed.

    Returns
    -------
    WindowPlan
        ``rows("search")`` and ``rows("validation")``; the forward rows need
        :func:`seal_forward`.

    Raises
    ------
    ConfigError
        Not three windows, or a seal on another window than the last.
    InsufficientHistoryError
        A window without rows.

    Examples
    --------
    >>> from quant_engine.stats.splits import label_spans
    >>> three_stage(label_spans(np.arange(10), np.arange(10))).rows("validation")
    array([6, 7])
    """
    if len(config.names) != 3 or config.sealed != config.names[-1]:
        raise ConfigError(
            "config",
            wanted="three windows, the last one sealed",
            got=f"{config.names}, sealed {config.sealed!r}",
            hint="Start from THREE_STAGE.model_copy(update=...).",
        )
    return cut_windows(spans, config=config)


def bridge_windows(spans: LabelSpans, *, config: WindowsConfig = BRIDGE) -> WindowPlan:
    """Cut into discovery and two windows from untouched dates.

    Parameters
    ----------
    spans : LabelSpans
        Label spans of the rows.
    config : WindowsConfig
        Three windows.

    Returns
    -------
    WindowPlan
        Rows of ``discovery``, ``bridge_train`` and ``bridge_validation``. No span of a window
        touches a session of a later one, so changing any discovery price changes no bridge number.

    Raises
    ------
    ConfigError
        Not three windows.
    InsufficientHistoryError
        A window without rows.

    Examples
    --------
    >>> from quant_engine.stats.splits import label_spans
    >>> plan = bridge_windows(label_spans(np.arange(10), np.arange(10)))
    >>> plan.rows("discovery"), plan.rows("bridge_train"), plan.rows("bridge_validation")
    (array([0, 1, 2, 3, 4]), array([6]), array([8, 9]))
    """
    if len(config.names) != 3:
        raise ConfigError(
            "config",
            wanted="three windows: discovery, bridge train, bridge validation",
            got=config.names,
            hint="Start from BRIDGE.model_copy(update=...).",
        )
    return cut_windows(spans, config=config)


def seal_forward(plan: WindowPlan, *, study: str, config_id: str) -> SealedForward:
    """Bind the sealed window of a plan to the one configuration that may be judged on it.

    Parameters
    ----------
    plan : WindowPlan
        Plan of :func:`three_stage`.
    study : str
        Question that the window answers; it is opened once per study.
    config_id : str
        Hash of the chosen configuration.

    Returns
    -------
    SealedForward
        What :meth:`SealedForward.open_forward` opens.

    Raises
    ------
    ConfigError
        A plan without a sealed window, or an empty study or configuration.
    """
    if not (plan.config.sealed and study and config_id):
        raise ConfigError(
            "plan, study, config_id",
            wanted="a plan with a sealed window, a study and a configuration",
            got=f"sealed {plan.config.sealed!r}, study {study!r}, config_id {config_id!r}",
            hint="Plan with three_stage and name what is judged.",
        )
    return SealedForward(plan, study, config_id)


def refuse_used(
    evaluation: LabelSpans,
    discovery: LabelSpans,
    *,
    rule: PurgeConfig = PurgeConfig(),  # noqa: B008
) -> None:
    """Refuse an evaluation whose label spans overlap what discovery has seen.

    Parameters
    ----------
    evaluation : LabelSpans
        Spans of the rows that would be judged.
    discovery : LabelSpans
        Spans of the rows that were searched: everything from their first start to their last end
        is used, gaps included.
    rule : PurgeConfig
        What touching means, and the embargo behind discovery. It is counted on the sessions of
        both; where sessions lie between them, give the spans the whole axis.

    Raises
    ------
    LookAheadError
        At least one row overlaps discovery or begins within the embargo behind it.

    Examples
    --------
    >>> from quant_engine.stats.splits import label_spans
    >>> seen = label_spans(np.arange(5), np.arange(5) + 1)
    >>> refuse_used(label_spans(np.arange(6, 9), np.arange(6, 9)), seen)
    """
    axis = np.union1d(evaluation.sessions, discovery.sessions)
    judged = LabelSpans(evaluation.start, evaluation.end, axis)
    first, last = discovery.start.min(), discovery.end.max()
    purged, embargoed = clear_of(judged, (first, last), rule=rule)
    _refuse(judged, purged | embargoed, (first, last))


def _refuse(judged: LabelSpans, used: npt.NDArray[np.bool_], seen: tuple[Any, Any]) -> None:
    rows = np.flatnonzero(used)
    if len(rows):
        row = int(rows[0])
        raise LookAheadError(
            "evaluation window",
            wanted=f"label spans clear of discovery, {seen[0]} to {seen[1]}, and its embargo",
            got=f"{len(rows)} rows that are not, the first with span "
            f"[{judged.start[row]}, {judged.end[row]}]",
            hint="Judge on later sessions: what helped to find an idea cannot confirm it.",
        )


def _written(instant: Any) -> str:
    """Instant as text: ISO 8601 with microseconds, or digits."""
    if isinstance(instant, np.datetime64):
        return str(instant.astype("datetime64[us]"))
    return str(int(instant))


def _overlap(one: ForwardOpening, other: ForwardOpening) -> bool:
    texts = (one.first, one.last, other.first, other.last)
    numbers = [text.lstrip("-").isdigit() for text in texts]
    if any(numbers) and not all(numbers):
        # Windows on two kinds of axis cannot be told apart, and a doubt is no permission.
        return True
    a, b, c, d = (int(t) if all(numbers) else np.datetime64(t).astype(np.int64) for t in texts)
    return bool(a <= d and c <= b)
