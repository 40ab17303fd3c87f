"""D3, label intervals: proof that no training label shares an instant with a test label.

Every label of row i depends on the closed interval ``[start[i], end[i]]``. A split is clean when
no interval of a training row meets an interval of a test row; touching counts as meeting.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from quant_engine.core.causality import Causality
from quant_engine.core.errors import DataError
from quant_engine.testing.findings import Detector, Finding, iso
from quant_engine.testing.results import AuditRow

__all__ = ["SplitRows", "audit_splits", "overlapping"]

SplitRows: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""Row positions that train, and row positions that test."""


def overlapping(
    start: npt.NDArray[Any],
    end: npt.NDArray[Any],
    *,
    train: npt.NDArray[Any],
    test: npt.NDArray[Any],
) -> npt.NDArray[np.int64]:
    """Find training rows whose label shares an instant with the label of a test row.

    Parameters
    ----------
    start, end : ndarray of datetime64 or int, shape (R,)
        Closed interval that each row's label depends on.
    train, test : ndarray of int, shape (A,) and (B,)
        Row positions.

    Returns
    -------
    ndarray of int64
        Positions of the training rows concerned, ascending.

    Notes
    -----
    The intervals of the test rows are united into disjoint ones; a training interval meets one of
    them when the last one that begins no later than its end does not stop before its start.

    Examples
    --------
    >>> start = np.arange(6)
    >>> overlapping(start, start + 1, train=np.array([0, 1, 2, 5]), test=np.array([3]))
    array([2])
    """
    if not len(test) or not len(train):
        return np.empty(0, dtype=np.int64)
    order = test[np.argsort(start[test], kind="stable")]
    first, last = start[order], np.maximum.accumulate(end[order])
    opens = np.concatenate(([True], first[1:] > last[:-1]))
    united_first = first[opens]
    united_last = last[np.concatenate((np.flatnonzero(opens)[1:] - 1, [len(last) - 1]))]
    place = np.searchsorted(united_first, end[train], side="right") - 1
    meets = (place >= 0) & (united_last[np.maximum(place, 0)] >= start[train])
    return np.sort(train[meets]).astype(np.int64)


def audit_splits(
    start: npt.NDArray[Any], end: npt.NDArray[Any], splits: Iterable[SplitRows]
) -> tuple[AuditRow, ...]:
    """Prove for every split that training and test labels share no instant.

    Parameters
    ----------
    start, end : ndarray of datetime64 or int, shape (R,)
        Closed interval that each row's label depends on; NaT = no label, then a split may not use
        the row.
    splits : iterable of (train, test)
        Row positions of every split.

    Returns
    -------
    tuple of AuditRow
        One per split, named ``split 1``, ``split 2`` ...; ``n_values`` counts its training rows.

    Raises
    ------
    DataError
        When a split uses a row without an interval.

    Examples
    --------
    >>> start = np.arange(6)
    >>> (row,) = audit_splits(start, start + 2, [(np.array([0, 1, 2]), np.array([3, 4]))])
    >>> str(row.verdict), row.findings[0].n_cells
    ('leaks', 2)
    """
    rows = []
    for number, (train, test) in enumerate(splits, start=1):
        used = np.concatenate([train, test]).astype(np.int64)
        if start.dtype.kind == "M" and (np.isnat(start[used]) | np.isnat(end[used])).any():
            raise DataError(
                f"split {number}",
                wanted="rows with a label interval",
                got="a row whose label has no end yet",
                hint="Leave rows without a label out of the plan.",
            )
        faults = overlapping(start, end, train=np.asarray(train), test=np.asarray(test))
        findings: tuple[Finding, ...] = ()
        if len(faults):
            worst = faults[-1]
            findings = (
                Finding(
                    detector=Detector.PURGE,
                    field=f"split {number}",
                    row=_as_text(start[worst]),
                    asset="",
                    cut=_as_text(start[np.asarray(test)].min()),
                    before="a label interval clear of the test labels",
                    after=f"{_as_text(start[worst])} to {_as_text(end[worst])}",
                    n_cells=len(faults),
                    cause="training labels are not purged around the test block",
                ),
            )
        rows.append(AuditRow(f"split {number}", Causality.CAUSAL, len(train), findings))
    return tuple(rows)


def _as_text(value: Any) -> str:
    return iso(value) if isinstance(value, np.datetime64) else str(value)
