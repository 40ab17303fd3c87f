"""Splits over groups of rows that must stay together: one event, one market cluster.

Contract: no group has rows on both sides of a split, whatever the label spans say. On top of that
the purge by spans holds as everywhere else. Groups are ordered by their first start, then by their
last end, so the order of the rows does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from quant_engine.core.errors import DataError, InsufficientHistoryError
from quant_engine.stats.splits.plan import PURGED, TEST, TRAIN, UNUSED, SplitPlan, make_plan
from quant_engine.stats.splits.purged import PurgedKFoldConfig, block_roles, held_out
from quant_engine.stats.splits.spans import (
    IndexArray,
    Instants,
    LabelSpans,
    PurgeConfig,
    block_edges,
)
from quant_engine.stats.splits.walk_forward import LeftOver, block_starts

__all__ = ["GroupedWalkForwardConfig", "grouped_kfold", "grouped_walk_forward"]


class GroupedWalkForwardConfig(PurgeConfig):
    """Settings of :func:`grouped_walk_forward`.

    Parameters
    ----------
    min_train_groups : int
        Groups, over and embargoed, that the first train window must hold. Also the window length
        of ``mode="rolling"``.
    test_groups : int
        Groups per test block, and the step between refits.
    mode : {"expanding", "rolling"}
        Train on all groups that are over, or on the newest ``min_train_groups`` of them.
    left_over : {"join_last", "drop", "short_block"}
        What happens to groups behind the last full block.

    Examples
    --------
    >>> GroupedWalkForwardConfig().test_groups
    20
    """

    min_train_groups: int = Field(default=40, ge=1)
    test_groups: int = Field(default=20, ge=1)
    mode: Literal["expanding", "rolling"] = "expanding"
    left_over: LeftOver = "join_last"


@dataclass(frozen=True, eq=False)
class _Groups:
    """Groups in time order: rank of each row's group, and extent of each group."""

    rank: IndexArray
    start: Instants
    end: Instants


def grouped_kfold(
    spans: LabelSpans,
    groups: npt.NDArray[Any],
    *,
    config: PurgedKFoldConfig = PurgedKFoldConfig(),  # noqa: B008
) -> SplitPlan:
    """Test every block of groups once; the other groups train where they do not touch it.

    Parameters
    ----------
    spans : LabelSpans
        Label spans of the rows.
    groups : ndarray, shape (R,)
        Group of each row, such as an event or market-cluster id.
    config : PurgedKFoldConfig
        Blocks (counted in groups), purge, embargo, remainder and holdout. A group that reaches
        into the holdout leaves development entirely.

    Returns
    -------
    SplitPlan
        One split per block of groups.

    Raises
    ------
    DataError
        Another number of groups than rows.
    InsufficientHistoryError
        Fewer groups than blocks, or a split without training rows, as when groups last so long
        that every one touches every other.

    Examples
    --------
    >>> from quant_engine.stats.splits import label_spans
    >>> spans = label_spans(np.arange(6), np.arange(6))
    >>> events = np.array(["a", "a", "b", "b", "c", "c"])
    >>> plan = grouped_kfold(spans, events, config=PurgedKFoldConfig(n_splits=3))
    >>> [split.test.tolist() for split in plan]
    [[0, 1], [2, 3], [4, 5]]
    """
    ordered = _ordered(spans, groups)
    n_development, reaching = held_out(spans, config.holdout_frac)
    late = reaching | (spans.position >= n_development)
    leaving = np.zeros(len(ordered.start), dtype=np.bool_)
    leaving[ordered.rank[late]] = True
    # Ranks of the groups that stay, so that the blocks are cut over them alone.
    staying = np.cumsum(~leaving) - 1
    edges = block_edges(int((~leaving).sum()), config.n_splits, remainder=config.remainder)
    excluded = leaving[ordered.rank]
    block_of_row = np.searchsorted(edges, staying[ordered.rank], side="right") - 1
    roles = block_roles(
        spans,
        [(block_of_row == block) & ~excluded for block in range(config.n_splits)],
        rule=config,
        n_development=n_development,
        excluded=excluded,
    )
    return make_plan(
        "grouped_kfold",
        spans,
        roles,
        tested=np.arange(config.n_splits, dtype=np.int64)[:, None],
        convention=f"groups, {config.convention(len(spans.sessions))}",
    )


def grouped_walk_forward(
    spans: LabelSpans,
    groups: npt.NDArray[Any],
    *,
    config: GroupedWalkForwardConfig = GroupedWalkForwardConfig(),  # noqa: B008
) -> SplitPlan:
    """Test blocks of groups in time order, each trained on groups that were over before it.

    Parameters
    ----------
    spans : LabelSpans
        Label spans of the rows.
    groups : ndarray, shape (R,)
        Group of each row.
    config : GroupedWalkForwardConfig
        Window lengths in groups, purge and embargo.

    Returns
    -------
    SplitPlan
        One split per block, in time order. A group trains when its last span, and the embargo
        behind it, ended before the block's first start.

    Raises
    ------
    DataError
        Another number of groups than rows.
    InsufficientHistoryError
        Too few groups for a train window and one test block.

    Examples
    --------
    >>> from quant_engine.stats.splits import label_spans
    >>> spans = label_spans(np.arange(6), np.arange(6))
    >>> config = GroupedWalkForwardConfig(min_train_groups=1, test_groups=1)
    >>> plan = grouped_walk_forward(spans, np.array([7, 7, 8, 8, 9, 9]), config=config)
    >>> [(split.train.tolist(), split.test.tolist()) for split in plan]
    [([0, 1], [2, 3]), ([0, 1, 2, 3], [4, 5])]
    """
    ordered = _ordered(spans, groups)
    axis, n_groups = spans.sessions, len(ordered.start)
    begin = np.searchsorted(axis, ordered.start)
    free = config.after(axis, ordered.end) + config.embargo(len(axis))
    # Sorted release positions: how many groups are over before each group begins.
    n_over = np.searchsorted(np.sort(free), begin, side="right")
    enough = np.flatnonzero(n_over >= config.min_train_groups)
    first = int(enough[0]) if len(enough) else n_groups
    edges = block_starts(first, n_groups, config.test_groups, left_over=config.left_over)
    if edges is None:
        raise InsufficientHistoryError(
            "groups",
            wanted=f"{config.min_train_groups} groups that are over, then {config.test_groups}",
            got=f"{n_groups} groups, of which {int(n_over.max())} are over before the last",
            hint="Load more events, or lower min_train_groups, test_groups or the embargo.",
        )
    n_blocks = len(edges) - 1
    roles = np.full((n_blocks, len(spans)), UNUSED, dtype=np.int8)
    for role, left, right in zip(roles, edges[:-1], edges[1:], strict=True):
        over = np.flatnonzero(free <= begin[left])
        if config.mode == "rolling":
            over = over[-config.min_train_groups :]
        early = (ordered.rank >= over[0]) & (ordered.rank < left)
        role[early] = PURGED
        role[np.isin(ordered.rank, over)] = TRAIN
        role[(ordered.rank >= left) & (ordered.rank < right)] = TEST
    return make_plan(
        "grouped_walk_forward",
        spans,
        roles,
        tested=np.arange(n_blocks, dtype=np.int64)[:, None],
        convention=f"groups, {config.mode}, embargo {config.embargo(len(axis))} sessions, "
        f"left over: {config.left_over}",
    )


def _ordered(spans: LabelSpans, groups: npt.NDArray[Any]) -> _Groups:
    names = np.asarray(groups)
    if names.shape != (len(spans),):
        raise DataError(
            "groups",
            wanted=f"shape ({len(spans)},), one group per row",
            got=names.shape,
            hint="Pass the group of exactly the rows whose spans these are.",
        )
    unique, code = np.unique(names, return_inverse=True)
    by_group = np.argsort(code, kind="stable")
    at = np.searchsorted(code[by_group], np.arange(len(unique)))
    start = np.minimum.reduceat(spans.start[by_group], at)
    end = np.maximum.reduceat(spans.end[by_group], at)
    order = np.lexsort((np.arange(len(unique)), end, start))
    rank = np.empty(len(unique), dtype=np.int64)
    rank[order] = np.arange(len(unique))
    return _Groups(rank[code], start[order], end[order])
