"""The ranked ensemble as a strategy: train every member on some sessions, predict others.

Contract: a fit is a pure function of shared arrays and a small description, so that it can run in
any process with the same bits. It sees labels of its train sessions only. Rows of the plan are
sessions; a score is one raw prediction per member and row of the matrix.
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
from quant_engine.stats.fold_runs import FoldTask, evenly

__all__ = ["EnsembleStrategy", "FitReport", "FittedEnsemble"]

IMPORTANCE_ROWS = 2_000
"""Rows on which mean absolute contributions are measured; TreeSHAP takes 0.1 s for them."""


@dataclass(frozen=True, eq=False)
class FitReport:
    """What is known about one fit.

    Parameters
    ----------
    importance : ndarray of float64, shape (M, P)
        Mean absolute contribution of each feature, in units of the transformed target.
    n_train_rows, n_train_sessions : int
        Labelled rows and sessions that trained.
    train_first, train_last : int
        Session positions of the first and last labelled row.
    files : dict of str to bytes
        Fitted members by column; empty unless kept.
    """

    importance: npt.NDArray[np.float64]
    n_train_rows: int
    n_train_sessions: int
    train_first: int
    train_last: int
    files: dict[str, bytes]


@dataclass(frozen=True, eq=False)
class FittedEnsemble:
    """Fitted members.

    Parameters
    ----------
    members : dict of str to FittedLearner
        By column.
    rows : ndarray of int64, shape (S,)
        Sessions with a labelled row that trained, increasing.
    train_rows : ndarray of int64, shape (R,)
        Rows of the matrix that trained.
    """

    members: dict[str, FittedLearner]
    rows: Sessions
    train_rows: npt.NDArray[np.int64]

    def score(
        self, shared: Mapping[str, npt.NDArray[Any]], rows: Sessions
    ) -> npt.NDArray[np.float64]:
        """Raw predictions.

        Parameters
        ----------
        shared : mapping of str to ndarray
            As for :meth:`EnsembleStrategy.fit`, any shape.
        rows : ndarray of int64, shape (S,)
            Session positions, increasing.

        Returns
        -------
        ndarray of float64, shape (M, R)
            Per member, for the rows of those sessions.
        """
        return _predict(self.members, _take(shared["x"], row_numbers(shared["offsets"], rows)))

    def report(self, shared: Mapping[str, npt.NDArray[Any]], task: FoldTask) -> FitReport:
        """Importance on the predicted rows (on the train rows where none is), counts and members.

        Parameters
        ----------
        shared : mapping of str to ndarray
            As for :meth:`EnsembleStrategy.fit`, any shape.
        task : FoldTask
            The fold.

        Returns
        -------
        FitReport
            What is known about the fit.
        """
        predicted = row_numbers(shared["offsets"], task.test)
        explained = predicted if len(predicted) else self.train_rows
        return FitReport(
            importance=_importance(self.members, shared["x"][evenly(explained, IMPORTANCE_ROWS)]),
            n_train_rows=len(self.train_rows),
            n_train_sessions=len(self.rows),
            train_first=int(self.rows[0]),
            train_last=int(self.rows[-1]),
            files={name: member.to_bytes() for name, member in self.members.items()}
            if task.keep
            else {},
        )


@dataclass(frozen=True, eq=False)
class EnsembleStrategy:
    """The members of a model configuration, fitted side by side on the same rows.

    Parameters
    ----------
    config : ModelConfig
        Learners, weights, sampling.
    weigh : RowWeights or None
        Weights of the train rows beside the recency weight.
    """

    config: ModelConfig
    weigh: RowWeights | None = None

    def fit(self, shared: Mapping[str, npt.NDArray[Any]], task: FoldTask) -> FittedEnsemble:
        """Fit the members.

        Parameters
        ----------
        shared : mapping of str to ndarray
            ``x`` float32 (R, P) without NaN; ``y`` float64 (R,) transformed target, NaN = no
            label; ``offsets`` int64 (T + 1,); ``day`` int64 (T,) calendar day number of each
            session. Where rows are weighed: ``asset``, ``label_first``, ``label_last`` int64
            (R,), column of each row and session positions of entry and exit of its label.
        task : FoldTask
            Its rows are session positions.

        Returns
        -------
        FittedEnsemble
            Ready to score.

        Raises
        ------
        InsufficientHistoryError
            Fewer labelled rows than ``min_train_rows``.
        """
        offsets = shared["offsets"]
        rows = row_numbers(offsets, task.train)
        rows = rows[~np.isnan(shared["y"][rows])]
        if len(rows) < self.config.min_train_rows:
            raise InsufficientHistoryError(
                f"train rows of {task.name}",
                wanted=f"at least {self.config.min_train_rows} labelled rows",
                got=len(rows),
                hint="Use more assets or a longer train window, or lower min_train_rows.",
            )
        session = np.searchsorted(offsets, rows, side="right") - 1
        members = _fit_members(shared, rows, session, self)
        return FittedEnsemble(members, np.unique(session), rows)


def _fit_members(
    shared: Mapping[str, npt.NDArray[Any]],
    rows: npt.NDArray[np.int64],
    session: npt.NDArray[np.int64],
    strategy: EnsembleStrategy,
) -> dict[str, FittedLearner]:
    """Fit every member on the same rows."""
    config = strategy.config
    x, y = _take(shared["x"], rows), _take(shared["y"], rows)
    weight = None
    if config.recency_decay_per_day > 0.0:
        day = shared["day"][session]
        weight = np.exp(-config.recency_decay_per_day * (day[-1] - day))
    if strategy.weigh is not None:
        spans = (shared[name][rows] for name in ("label_first", "label_last", "asset"))
        own = strategy.weigh(*spans, n_bars=len(shared["day"]))
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
