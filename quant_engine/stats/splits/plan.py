"""A split plan: the role of every row when each block is tested, and which blocks a split tests.

Contract: a plan is a value. It hands out row positions, never data, and follows scikit-learn's
splitter protocol, so that ``cross_val_score(model, X, y, cv=plan)`` works as it stands. Roles of
several tested blocks combine by the strictest one: a row that is purged for any of them is purged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from quant_engine.core.errors import DataError, InsufficientHistoryError
from quant_engine.core.hashing import array_digest, sha256_json
from quant_engine.stats.splits.spans import IndexArray, LabelSpans

__all__ = [
    "EMBARGOED",
    "HOLDOUT",
    "PURGED",
    "TEST",
    "TRAIN",
    "UNUSED",
    "PlanKind",
    "RoleMatrix",
    "Split",
    "SplitPlan",
    "make_plan",
]

TRAIN, UNUSED, EMBARGOED, PURGED, TEST, HOLDOUT = 0, 1, 2, 3, 4, 5
"""Roles of a row, in the order in which the stricter one wins."""

RoleMatrix: TypeAlias = npt.NDArray[np.int8]
PlanKind: TypeAlias = Literal[
    "walk_forward", "purged_kfold", "combinatorial", "grouped_kfold", "grouped_walk_forward"
]


@dataclass(frozen=True, eq=False)
class Split:
    """One train/test pair of a plan.

    Parameters
    ----------
    number : int
        1 for the first split.
    blocks : tuple of int
        Test blocks of this split, counted from 0 in time order.
    test_blocks : tuple of ndarray of int64
        Rows of each tested block, increasing.
    roles : ndarray of int8, shape (R,)
        ``TRAIN``, ``UNUSED``, ``EMBARGOED``, ``PURGED``, ``TEST`` or ``HOLDOUT`` per row.
    """

    number: int
    blocks: tuple[int, ...]
    test_blocks: tuple[IndexArray, ...]
    roles: npt.NDArray[np.int8]

    @property
    def train(self) -> IndexArray:
        """Rows that train, increasing."""
        return np.flatnonzero(self.roles == TRAIN).astype(np.int64)

    @property
    def test(self) -> IndexArray:
        """Rows of all tested blocks, increasing."""
        return np.flatnonzero(self.roles == TEST).astype(np.int64)

    @property
    def purged(self) -> IndexArray:
        """Rows whose label span touches a tested block, increasing."""
        return np.flatnonzero(self.roles == PURGED).astype(np.int64)

    @property
    def embargoed(self) -> IndexArray:
        """Rows within the embargo behind a tested block, increasing."""
        return np.flatnonzero(self.roles == EMBARGOED).astype(np.int64)


@dataclass(frozen=True, eq=False)
class SplitPlan:
    """All splits of R rows; also a scikit-learn splitter.

    Parameters
    ----------
    kind : str
        How the plan was made.
    spans : LabelSpans
        Label spans of the rows.
    roles : ndarray of int8, shape (B, R)
        Role of every row when block b alone is tested.
    tested : ndarray of int64, shape (n_splits, k)
        Blocks that each split tests, increasing.
    convention : str
        What touching means, the embargo in sessions and the remainder rule, in words.

    Examples
    --------
    >>> from quant_engine.stats.splits import PurgedKFoldConfig, label_spans, purged_kfold
    >>> days = np.arange("2024-01-01", "2024-01-10", dtype="datetime64[D]")
    >>> plan = purged_kfold(label_spans(days, days + 1), config=PurgedKFoldConfig(n_splits=3))
    >>> [(split.train.tolist(), split.test.tolist()) for split in plan][1]
    ([0, 1, 7, 8], [3, 4, 5])
    """

    kind: PlanKind
    spans: LabelSpans
    roles: RoleMatrix
    tested: IndexArray
    convention: str

    def __len__(self) -> int:
        return len(self.tested)

    def __getitem__(self, index: int) -> Split:
        blocks = self.tested[index]
        roles = self.roles[blocks].max(axis=0)
        rows = tuple(np.flatnonzero(self.roles[block] == TEST).astype(np.int64) for block in blocks)
        number = 1 + index % len(self)
        return Split(number, tuple(int(block) for block in blocks), rows, roles)

    def __iter__(self) -> Iterator[Split]:
        return (self[index] for index in range(len(self)))

    @property
    def n_folds(self) -> int:
        """Blocks that the rows are cut into."""
        return len(self.roles)

    @property
    def n_test_folds(self) -> int:
        """Blocks that every split tests."""
        return int(self.tested.shape[1])

    @property
    def holdout(self) -> IndexArray:
        """Rows kept apart from every split, increasing."""
        return np.flatnonzero((self.roles == HOLDOUT).any(axis=0)).astype(np.int64)

    def plan_id(self) -> str:
        """Hash of kind, roles and tested blocks (64 hexadecimal characters), for a manifest."""
        parts = [array_digest(self.roles), array_digest(self.tested)]
        return sha256_json([self.kind, self.convention, *parts])

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Count the splits; the arguments are scikit-learn's and are not used.

        Parameters
        ----------
        X, y, groups : object
            Not used.

        Returns
        -------
        int
            Number of splits.
        """
        return len(self)

    def split(
        self,
        X: Any = None,
        y: Any = None,
        groups: Any = None,
    ) -> Iterator[tuple[IndexArray, IndexArray]]:
        """Yield train and test rows of every split, as scikit-learn asks for them.

        Parameters
        ----------
        X : sized, or None
            Data of the plan's rows; its length is compared with the plan's.
        y, groups : object
            Not used: the plan already knows spans and groups.

        Yields
        ------
        train, test : ndarray of int64
            Row positions, increasing.

        Raises
        ------
        DataError
            Other rows than those of the plan.
        """
        if X is not None:
            n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
            if n_rows != len(self.spans):
                raise DataError(
                    "X",
                    wanted=f"the {len(self.spans)} rows that the plan was made for",
                    got=n_rows,
                    hint="Make a plan from the label spans of exactly these rows.",
                )
        for number in range(len(self)):
            split = self[number]
            yield split.train, split.test


def make_plan(
    kind: PlanKind,
    spans: LabelSpans,
    roles: RoleMatrix,
    *,
    tested: IndexArray,
    convention: str,
) -> SplitPlan:
    """Build a plan and refuse one with a split that cannot be fitted or scored.

    Parameters
    ----------
    kind : str
        How the plan was made.
    spans : LabelSpans
        Spans of the rows.
    roles : ndarray of int8, shape (B, R)
        Role of every row per tested block.
    tested : ndarray of int64, shape (n_splits, k)
        Blocks of each split.
    convention : str
        Rules in words.

    Returns
    -------
    SplitPlan
        Every split has train and test rows.

    Raises
    ------
    InsufficientHistoryError
        A split without a row to train on or to test.
    """
    plan = SplitPlan(kind, spans, roles, tested, convention)
    has_test = (roles == TEST).any(axis=1)
    for index, blocks in enumerate(tested):
        if has_test[blocks].all() and (roles[blocks].max(axis=0) == TRAIN).any():
            continue
        split = plan[index]
        raise InsufficientHistoryError(
            f"split {split.number}",
            wanted="rows to train on and rows in every tested block",
            got=f"{len(split.train)} train rows, {len(split.purged)} purged, "
            f"{len(split.embargoed)} embargoed, {len(split.test)} test",
            hint="Load a longer history, use fewer blocks, or shorten label or embargo.",
        )
    return plan
