"""Fit plan: from walk-forward folds to the list of independent fits, with the purge proved.

Contract: the trainer does not believe a plan, it checks it. A fold whose train labels touch its
test block, or whose scored rows reach into the holdout, is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from quant_engine.core.errors import ConfigError, LookAheadError
from quant_engine.core.panel import LabelPanel
from quant_engine.models.config import ModelConfig
from quant_engine.models.matrix import Sessions
from quant_engine.stats.fold_runs import FoldTask
from quant_engine.stats.splits import Fold

__all__ = ["FINAL", "WARMUP", "check_folds", "fit_tasks", "fold_name", "label_is_over"]

FINAL = "final model"
WARMUP = "warm-up fold"


def fold_name(fold: Fold) -> str:
    """Name of a fold's fit in messages and results.

    Parameters
    ----------
    fold : Fold
        Fold of the plan.

    Returns
    -------
    str
        ``"fold 1"``, ...
    """
    return f"fold {fold.number}"


def label_is_over(labels: LabelPanel, sessions: Sessions, position: int) -> npt.NDArray[np.bool_]:
    """Which labels were over before the session at a position (closed spans).

    Parameters
    ----------
    labels : LabelPanel
        Spans of every session.
    sessions : ndarray of int64, shape (S,)
        Session positions to judge.
    position : int
        First session of a test block.

    Returns
    -------
    ndarray of bool, shape (S,)
        True where the span ended strictly before that session; False where there is no label.
    """
    return np.asarray(labels.span_end[sessions] < _day(labels, position))


def check_folds(labels: LabelPanel, folds: Sequence[Fold]) -> None:
    """Refuse a plan that leaks or is out of order.

    Parameters
    ----------
    labels : LabelPanel
        Spans of every session.
    folds : sequence of Fold
        Development folds in time order, then at most one holdout fold.

    Raises
    ------
    ConfigError
        No development fold, a holdout that is not last, blocks that overlap or are out of order,
        or positions that are not on the axis.
    LookAheadError
        A train label span touches the test block, or a scored development label touches the
        holdout.
    """
    kinds = [fold.is_holdout for fold in folds]
    if not kinds or kinds[0] or any(kinds[:-1]):
        raise ConfigError(
            "folds",
            wanted="one or more development folds, then at most one holdout fold",
            got=f"{len(kinds)} folds, holdout flags {kinds}",
            hint="Build the plan with stats.splits.walk_forward.",
        )
    last = -1
    for fold in folds:
        used = np.concatenate((fold.train, fold.test))
        if used.max() >= len(labels.values.time) or fold.test[0] <= last:
            raise ConfigError(
                fold_name(fold),
                wanted="test blocks in time order on the session axis of the labels",
                got=f"positions up to {used.max()}, test from {fold.test[0]} after {last}",
                hint="Build the plan on the sessions and spans of these labels.",
            )
        last = int(fold.test[-1])
        _require_over(labels, fold.train, int(fold.test[0]), f"train labels of {fold_name(fold)}")
        if kinds[-1] and not fold.is_holdout:
            holdout = int(folds[-1].test[0])
            _require_over(labels, fold.scored, holdout, f"scored labels of {fold_name(fold)}")


def fit_tasks(
    folds: Sequence[Fold],
    config: ModelConfig,
    *,
    labels: LabelPanel,
    labelled_rows: npt.NDArray[np.int64],
) -> list[FoldTask]:
    """List every fit, largest first so that parallel workers finish together.

    Parameters
    ----------
    folds : sequence of Fold
        Checked plan.
    config : ModelConfig
        How many train sessions are scored in sample; ``maps.warmup_frac`` decides the warm-up
        fold.
    labels : LabelPanel
        Spans of every session.
    labelled_rows : ndarray of int64, shape (T,)
        Usable rows with a label per session.

    Returns
    -------
    list of FoldTask
        Final model, folds from last to first, then the warm-up fold where it has enough rows.
    """
    everything = np.flatnonzero(labelled_rows)
    nothing = np.empty(0, dtype=np.int64)
    n_in_sample = config.max_in_sample_sessions
    tasks = [FoldTask(FINAL, everything, nothing, n_in_sample, keep=True)]
    tasks += [FoldTask(fold_name(fold), fold.train, fold.test, n_in_sample) for fold in folds[::-1]]
    train, predict = _warmup(folds[0], labels, config.maps.warmup_frac)
    if len(predict) and labelled_rows[train].sum() >= config.min_train_rows:
        tasks.append(FoldTask(WARMUP, train, predict, n_in_sample))
    return tasks


def _warmup(fold: Fold, labels: LabelPanel, share: float) -> tuple[Sessions, Sessions]:
    """Split a train window once more: the last share is predicted by a model of what precedes it.

    The gap between the two parts is purged by label spans and as wide as the fold's own gap.
    """
    n_predict = int(share * len(fold.train))
    predict = fold.train[len(fold.train) - n_predict :]
    if not len(predict):
        return fold.train, predict
    gap = int(fold.test[0] - fold.train[-1])
    before = fold.train[fold.train <= predict[0] - gap]
    return before[label_is_over(labels, before, int(predict[0]))], predict


def _require_over(labels: LabelPanel, sessions: Sessions, position: int, what: str) -> None:
    late = sessions[~label_is_over(labels, sessions, position) | (sessions >= position)]
    if len(late):
        row = int(late[0])
        raise LookAheadError(
            what,
            wanted=f"label spans that end before {_day(labels, position)}",
            got=f"{len(late)} that do not, first session {labels.values.time.values[row]} "
            f"with span end {labels.span_end[row]}",
            hint="Purge on label spans: build the plan with stats.splits.walk_forward.",
        )


def _day(labels: LabelPanel, position: int) -> np.datetime64:
    return np.datetime64(labels.values.time.values[position], "D")
