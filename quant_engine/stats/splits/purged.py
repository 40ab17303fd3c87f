"""Purged k-fold and combinatorial purged cross-validation, cut over sessions.

Contract: the blocks are consecutive sessions, so all rows of a session are tested together. A row
trains for a split when its span overlaps no tested block's closed reach and it does not begin
within the embargo behind one. k-fold is the combinatorial plan that tests one block at a time.
"""

from __future__ import annotations

from math import floor

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from quant_engine.core.errors import ConfigError
from quant_engine.stats.splits.paths import n_cpcv_splits, tested_blocks
from quant_engine.stats.splits.plan import (
    EMBARGOED,
    HOLDOUT,
    PURGED,
    TEST,
    PlanKind,
    RoleMatrix,
    SplitPlan,
    make_plan,
)
from quant_engine.stats.splits.spans import (
    LabelSpans,
    PurgeConfig,
    Remainder,
    block_edges,
    clear_of,
)

__all__ = [
    "MAX_SPLITS",
    "BlockConfig",
    "CombinatorialConfig",
    "PurgedKFoldConfig",
    "block_roles",
    "combinatorial",
    "held_out",
    "purged_kfold",
]

MAX_SPLITS = 100_000
"""Splits that a combinatorial plan may have; a refit each makes more than that a mistake."""


class BlockConfig(PurgeConfig):
    """How rows are cut into test blocks, beside the purge.

    Parameters
    ----------
    remainder : {"first", "last"}
        Which blocks hold the sessions that do not divide evenly; see :func:`block_edges`.
    holdout_frac : float
        Share of the last sessions that no split touches (fraction, 0 = none). Earlier rows whose
        span reaches into it are purged from every split.
    """

    remainder: Remainder = "first"
    holdout_frac: float = Field(default=0.0, ge=0.0, le=0.5)

    def convention(self, n_sessions: int) -> str:
        """Rules in words, on an axis of ``n_sessions``."""
        closed = "closed spans" if self.touching == "purged" else "spans may touch"
        return f"{closed}, embargo {self.embargo(n_sessions)} sessions, remainder {self.remainder}"


class PurgedKFoldConfig(BlockConfig):
    """Settings of :func:`purged_kfold`.

    Parameters
    ----------
    n_splits : int
        Blocks, each of them tested once.

    Examples
    --------
    >>> PurgedKFoldConfig(embargo_frac=0.01).n_splits
    5
    """

    n_splits: int = Field(default=5, ge=2)


class CombinatorialConfig(BlockConfig):
    """Settings of :func:`combinatorial`.

    Parameters
    ----------
    n_folds : int
        Blocks N.
    n_test_folds : int
        Blocks k that every split tests together, fewer than N.

    Examples
    --------
    >>> CombinatorialConfig().n_test_folds
    2
    """

    n_folds: int = Field(default=6, ge=2)
    n_test_folds: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _some_block_trains(self) -> CombinatorialConfig:
        if self.n_test_folds >= self.n_folds:
            raise ValueError(f"n_test_folds {self.n_test_folds} must be below {self.n_folds} folds")
        return self


def purged_kfold(
    spans: LabelSpans,
    *,
    config: PurgedKFoldConfig = PurgedKFoldConfig(),  # noqa: B008
) -> SplitPlan:
    """Test every block of sessions once, and train on what does not touch it.

    Parameters
    ----------
    spans : LabelSpans
        Label spans of the rows.
    config : PurgedKFoldConfig
        Blocks, purge, embargo, remainder and holdout.

    Returns
    -------
    SplitPlan
        One split per block; every row outside the holdout is tested exactly once.

    Raises
    ------
    InsufficientHistoryError
        Fewer sessions than blocks, or a split without training rows.

    Notes
    -----
    Lopez de Prado, Advances in Financial Machine Learning, section 7.4. Widely used ports take the
    end of the first test label as the beginning of the test block and then purge nothing before
    it; here the block begins at its first start.

    Examples
    --------
    >>> from quant_engine.stats.splits import label_spans
    >>> spans = label_spans(np.arange(9), np.arange(9) + 1)
    >>> plan = purged_kfold(spans, config=PurgedKFoldConfig(n_splits=3, embargo_sessions=1))
    >>> plan[0].train, plan[0].test
    (array([5, 6, 7, 8]), array([0, 1, 2]))
    """
    return _blocks("purged_kfold", spans, config, n_folds=config.n_splits, n_test_folds=1)


def combinatorial(
    spans: LabelSpans,
    *,
    config: CombinatorialConfig = CombinatorialConfig(),  # noqa: B008
) -> SplitPlan:
    """Test every combination of k of N blocks: combinatorial purged cross-validation.

    Parameters
    ----------
    spans : LabelSpans
        Label spans of the rows.
    config : CombinatorialConfig
        Blocks, purge, embargo, remainder and holdout.

    Returns
    -------
    SplitPlan
        ``C(N, k)`` splits in lexicographic order; every row outside the holdout is tested
        ``C(N - 1, k - 1)`` times. :func:`cpcv_paths` recombines the predictions of the refits.

    Raises
    ------
    ConfigError
        More than ``MAX_SPLITS`` splits.
    InsufficientHistoryError
        Fewer sessions than blocks, or a split without training rows.

    Notes
    -----
    Lopez de Prado, Advances in Financial Machine Learning, chapter 12.

    Examples
    --------
    >>> from quant_engine.stats.splits import label_spans
    >>> spans = label_spans(np.arange(8), np.arange(8))
    >>> plan = combinatorial(spans, config=CombinatorialConfig(n_folds=4, n_test_folds=2))
    >>> len(plan), plan[1].blocks, plan[1].train
    (6, (0, 2), array([2, 3, 6, 7]))
    """
    n_splits = n_cpcv_splits(config.n_folds, config.n_test_folds)
    if n_splits > MAX_SPLITS:
        raise ConfigError(
            "n_folds, n_test_folds",
            wanted=f"at most {MAX_SPLITS} splits",
            got=f"C({config.n_folds}, {config.n_test_folds}) = {n_splits}",
            hint="Use fewer folds; optimal_folds_number finds a pair for a number of paths.",
        )
    return _blocks(
        "combinatorial", spans, config, n_folds=config.n_folds, n_test_folds=config.n_test_folds
    )


def held_out(spans: LabelSpans, holdout_frac: float) -> tuple[int, npt.NDArray[np.bool_]]:
    """Place the holdout: sessions of the development period, and rows that reach past it.

    Parameters
    ----------
    spans : LabelSpans
        Label spans of the rows.
    holdout_frac : float
        Share of the last sessions (fraction).

    Returns
    -------
    n_development : int
        Sessions before the holdout.
    reaching : ndarray of bool, shape (R,)
        Rows that begin before the holdout and end inside it.
    """
    n_sessions = len(spans.sessions)
    n_development = n_sessions - floor(holdout_frac * n_sessions + 1e-9)
    if n_development == n_sessions:
        return n_sessions, np.zeros(len(spans), dtype=np.bool_)
    inside = spans.position >= n_development
    return n_development, ~inside & (spans.end >= spans.sessions[n_development])


def block_roles(
    spans: LabelSpans,
    blocks: list[npt.NDArray[np.bool_]],
    *,
    rule: PurgeConfig,
    n_development: int,
    excluded: npt.NDArray[np.bool_],
) -> RoleMatrix:
    """Roles of every row when one block is tested.

    Parameters
    ----------
    spans : LabelSpans
        Label spans of the rows.
    blocks : list of ndarray of bool, shape (R,)
        Rows of each block.
    rule : PurgeConfig
        Purge and embargo.
    n_development : int
        Sessions before the holdout; rows from there on are the holdout.
    excluded : ndarray of bool, shape (R,)
        Development rows that neither train nor test.

    Returns
    -------
    ndarray of int8, shape (B, R)
        Roles.
    """
    roles = np.zeros((len(blocks), len(spans)), dtype=np.int8)
    for role, block in zip(roles, blocks, strict=True):
        rows = np.flatnonzero(block & ~excluded)
        if len(rows):
            purged, embargoed = clear_of(spans, spans.interval(rows), rule=rule)
            role[embargoed] = EMBARGOED
            role[purged] = PURGED
        role[excluded] = PURGED
        role[rows] = TEST
        role[spans.position >= n_development] = HOLDOUT
    return roles


def _blocks(
    kind: PlanKind, spans: LabelSpans, config: BlockConfig, *, n_folds: int, n_test_folds: int
) -> SplitPlan:
    n_development, reaching = held_out(spans, config.holdout_frac)
    edges = block_edges(n_development, n_folds, remainder=config.remainder)
    block_of_row = np.searchsorted(edges, spans.position, side="right") - 1
    roles = block_roles(
        spans,
        [block_of_row == block for block in range(n_folds)],
        rule=config,
        n_development=n_development,
        excluded=reaching,
    )
    return make_plan(
        kind,
        spans,
        roles,
        tested=tested_blocks(n_folds, n_test_folds),
        convention=config.convention(len(spans.sessions)),
    )
