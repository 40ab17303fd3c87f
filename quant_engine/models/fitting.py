"""One fit of the walk-forward: train every member on some sessions, predict others.

Contract: :func:`fit_task` is a pure function of shared arrays and a small description, so that it
can run in any process with the same bits. It sees labels of its train sessions only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_engine.core.errors import InsufficientHistoryError
from quant_engine.models.config import ModelConfig
from quant_engine.models.inputs import RowWeights
from quant_engine.models.learners import FittedLearner, build_learner
from quant_engine.models.matrix import Sessions, row_numbers

__all__ = ["FitResult", "FitTask", "fit_task"]

IMPORTANCE_ROWS = 2_000
"""Rows on which mean absolute contributions are measured; TreeSHAP takes 0.1 s for them."""


@dataclass(frozen=True, eq=False)
class FitTask:
    """What to fit and what to predict.

    Parameters
    ----------
    name : str
        For messages: ``"fold 3"``, ``"final model"``.
    train : ndarray of int64
        Session positions whose labels may train, increasing.
    predict : ndarray of int64
        Session positions to predict, increasing.
    keep_members : bool
        Return the fitted members as bytes.
    config : ModelConfig
        Learners, weights, sampling.
    weigh : RowWeights or None
        Weights of the train rows beside the recency weight.
    """

    name: str
    train: Sessions
    predict: Sessions
    keep_members: bool
    config: ModelConfig
    weigh: RowWeights | None = None


@dataclass(frozen=True, eq=False)
class FitResult:
    """What came out.

    Parameters
    ----------
    raw : ndarray of float64, shape (M, R_predict)
        Raw predictions per member for the rows of the ``predict`` sessions.
    in_sample_sessions : ndarray of int64
        Evenly spaced train sessions that were predicted in sample.
    in_sample_raw : ndarray of float64, shape (M, R_in_sample)
        Raw predictions for their rows.
    importance : ndarray of float64, shape (M, P)
        Mean absolute contribution of each feature, in units of the transformed target.
    n_train_rows, n_train_sessions : int
        Labelled rows and sessions that trained.
    train_first, train_last : int
        Session positions of the first and last labelled row.
    files : dict of str to bytes
        Fitted members by column; empty unless kept.
    """

    raw: npt.NDArray[np.float64]
    in_sample_sessions: Sessions
    in_sample_raw: npt.NDArray[np.float64]
    importance: npt.NDArray[np.float64]
    n_train_rows: int
    n_train_sessions: int
    train_first: int
    train_last: int
    files: dict[str, bytes]


def fit_task(shared: Mapping[str, npt.NDArray[Any]], task: FitTask) -> FitResult:
    """Fit the members of one task and predict.

    Parameters
    ----------
    shared : mapping of str to ndarray
        ``x`` float32 (R, P) without NaN; ``y`` float64 (R,) transformed target, NaN = no label;
        ``offsets`` int64 (T + 1,); ``day`` int64 (T,) calendar day number of each session. Where
        the task weighs rows: ``asset``, ``label_first``, ``label_last`` int64 (R,), column of each
        row and session positions of entry and exit of its label.
    task : FitTask
        What to do.

    Returns
    -------
    FitResult
        Predictions, in-sample predictions and importance.

    Raises
    ------
    InsufficientHistoryError
        Fewer labelled rows than ``min_train_rows``.
    """
    config, offsets = task.config, shared["offsets"]
    rows = row_numbers(offsets, task.train)
    rows = rows[~np.isnan(shared["y"][rows])]
    if len(rows) < config.min_train_rows:
        raise InsufficientHistoryError(
            f"train rows of {task.name}",
            wanted=f"at least {config.min_train_rows} labelled rows",
            got=len(rows),
            hint="Use more assets or a longer train window, or lower min_train_rows.",
        )
    session = np.searchsorted(offsets, rows, side="right") - 1
    train_sessions = np.unique(session)
    fitted = _fit_members(shared, rows, session, task)
    predict_rows = row_numbers(offsets, task.predict)
    # A fit that predicts nothing has no out-of-sample figure to compare an in-sample one with.
    sampled = _evenly(train_sessions, config.max_in_sample_sessions if len(predict_rows) else 0)
    explained = predict_rows if len(predict_rows) else rows
    return FitResult(
        raw=_predict(fitted, _take(shared["x"], predict_rows)),
        in_sample_sessions=sampled,
        in_sample_raw=_predict(fitted, _take(shared["x"], row_numbers(offsets, sampled))),
        importance=_importance(fitted, shared["x"][_evenly(explained, IMPORTANCE_ROWS)]),
        n_train_rows=len(rows),
        n_train_sessions=len(train_sessions),
        train_first=int(train_sessions[0]),
        train_last=int(train_sessions[-1]),
        files={name: member.to_bytes() for name, member in fitted.items()}
        if task.keep_members
        else {},
    )


def _fit_members(
    shared: Mapping[str, npt.NDArray[Any]],
    rows: npt.NDArray[np.int64],
    session: npt.NDArray[np.int64],
    task: FitTask,
) -> dict[str, FittedLearner]:
    """Fit every member on the same rows."""
    config = task.config
    x, y = _take(shared["x"], rows), _take(shared["y"], rows)
    weight = None
    if config.recency_decay_per_day > 0.0:
        day = shared["day"][session]
        weight = np.exp(-config.recency_decay_per_day * (day[-1] - day))
    if task.weigh is not None:
        spans = (shared[name][rows] for name in ("label_first", "label_last", "asset"))
        own = task.weigh(*spans, n_bars=len(shared["day"]))
        weight = own if weight is None else weight * own
    return {member.column: build_learner(member).fit(x, y, weight) for member in config.members}


def _take(array: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Rows of an array: a view where they are one range, which spares a copy of the matrix."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return array[int(rows[0]) : int(rows[-1]) + 1]
    return array[rows]


def _predict(
    fitted: Mapping[str, FittedLearner], x: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Raw predictions, one row per member."""
    if not len(x):
        return np.empty((len(fitted), 0))
    return np.stack([member.predict(x) for member in fitted.values()])


def _importance(
    fitted: Mapping[str, FittedLearner], x: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Mean absolute contribution per member and feature, base value left out."""
    return np.stack(
        [np.abs(member.contributions(x)[:, :-1]).mean(axis=0) for member in fitted.values()]
    )


def _evenly(values: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    """At most ``limit`` evenly spaced entries, first and last included."""
    if len(values) <= limit:
        return values
    return values[np.linspace(0, len(values) - 1, limit).round().astype(np.int64)]
