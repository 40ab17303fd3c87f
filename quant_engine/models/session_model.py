"""Session model: the ranked ensemble as a strategy whose rows are sessions and columns assets.

The trainer needs more of every fold than a score (maps, importance, the final model); whoever wants
the out-of-sample scores alone, such as a walk-forward runner, takes this strategy. Fits are those
of `fitting.EnsembleStrategy`, scores those of `blend`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import InsufficientHistoryError
from quant_engine.core.panel import LabelPanel
from quant_engine.models.blend import blend_members
from quant_engine.models.blocks import spread_members
from quant_engine.models.config import ModelConfig
from quant_engine.models.fitting import EnsembleStrategy, FittedEnsemble
from quant_engine.models.inputs import ModelFeatures, Target
from quant_engine.models.matrix import row_numbers
from quant_engine.models.training_rows import training_rows
from quant_engine.stats.fold_runs import FoldTask
from quant_engine.stats.splits import LabelSpans, label_spans

__all__ = ["FittedSessionModel", "SessionModel", "SessionRows", "session_rows"]


@dataclass(frozen=True, eq=False)
class SessionRows:
    """A market as rows of a plan: its sessions with a label.

    Parameters
    ----------
    spans : LabelSpans
        Label span of each row, from the decision on, counted on all sessions.
    arrays : dict of str to ndarray
        What a :class:`SessionModel` reads.
    outcome : ndarray of float64, shape (R, N)
        Outcome by which predictions are measured, fraction; NaN = none.
    sessions : ndarray of int64, shape (R,)
        Position of each row on the session axis.
    """

    spans: LabelSpans
    arrays: dict[str, npt.NDArray[Any]]
    outcome: FloatMatrix
    sessions: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FittedSessionModel:
    """A fitted ensemble that scores sessions.

    Parameters
    ----------
    fitted : FittedEnsemble
        Members.
    config : ModelConfig
        How they are blended.
    rows : ndarray of int64, shape (n,)
        Rows of the plan that trained, increasing.
    """

    fitted: FittedEnsemble
    config: ModelConfig
    rows: npt.NDArray[np.int64]

    def score(
        self, shared: Mapping[str, npt.NDArray[Any]], rows: npt.NDArray[np.int64]
    ) -> FloatMatrix:
        """Blended scores.

        Parameters
        ----------
        shared : mapping of str to ndarray
            Arrays of :func:`session_rows`, in their shapes.
        rows : ndarray of int64, shape (n,)
            Rows of the plan, increasing.

        Returns
        -------
        ndarray of float64, shape (n, N)
            In (-1, 1); NaN where a row is not usable.
        """
        sessions = shared["session"][rows]
        offsets, n_assets = shared["offsets"], int(shared["n_assets"][0])
        inside = row_numbers(offsets, sessions)
        counts = offsets[sessions + 1] - offsets[sessions]
        place = (np.repeat(np.arange(len(sessions)), counts), shared["column"][inside])
        dense = spread_members(
            self.fitted.score(shared, sessions),
            place,
            (len(sessions), n_assets),
            config=self.config,
        )
        return blend_members(dense, long_short_frac=self.config.long_short_frac).score

    def report(
        self, shared: Mapping[str, npt.NDArray[Any]], task: FoldTask
    ) -> dict[str, float | int | str]:
        """Counts of the fit.

        Parameters
        ----------
        shared : mapping of str to ndarray
            Not read, any shape.
        task : FoldTask
            Not read.

        Returns
        -------
        dict
            ``n_train_rows, n_train_sessions`` with labels.
        """
        del shared, task
        return {
            "n_train_rows": len(self.fitted.train_rows),
            "n_train_sessions": len(self.fitted.rows),
        }


@dataclass(frozen=True, eq=False)
class SessionModel:
    """The ranked ensemble, one configuration.

    Parameters
    ----------
    ensemble : EnsembleStrategy
        Members and row weights.
    """

    ensemble: EnsembleStrategy

    def configurations(self) -> Sequence[Mapping[str, Any]]:
        """The model configuration: fitting chooses among no others."""
        return [{"strategy": "session_model", "model": self.ensemble.config.content()}]

    def fit(self, shared: Mapping[str, npt.NDArray[Any]], task: FoldTask) -> FittedSessionModel:
        """Fit the members.

        Parameters
        ----------
        shared : mapping of str to ndarray
            Arrays of :func:`session_rows`, in their shapes.
        task : FoldTask
            Its rows are rows of the plan.

        Returns
        -------
        FittedSessionModel
            Ready to score.

        Raises
        ------
        InsufficientHistoryError
            Fewer labelled rows than ``min_train_rows``.
        """
        session = shared["session"]
        own = replace(task, train=session[task.train], test=session[task.test])
        fitted = self.ensemble.fit(shared, own)
        rows = np.searchsorted(session, fitted.rows).astype(np.int64)
        return FittedSessionModel(fitted, self.ensemble.config, rows)


def session_rows(
    features: ModelFeatures, labels: LabelPanel, *, target: Target, config: ModelConfig
) -> SessionRows:
    """Lay a market out as rows of a plan.

    Parameters
    ----------
    features : ModelFeatures
        Feature panel (T, N), NaN = missing.
    labels : LabelPanel
        Labels on the same axes.
    target : Target
        What is learned and what is measured.
    config : ModelConfig
        Standardisation and transform.

    Returns
    -------
    SessionRows
        Spans for a plan, arrays for a strategy, outcomes for its measure.

    Raises
    ------
    LookAheadError
        A research-only feature.
    SchemaMismatchError
        Labels on other axes than features.
    EmptyDataError
        No usable row.
    InsufficientHistoryError
        No session has a label.
    """
    features.schema.require_usable()
    made = training_rows(features, labels, target=target, config=config)
    sessions = np.flatnonzero(~np.isnat(labels.span_end)).astype(np.int64)
    if not len(sessions):
        raise InsufficientHistoryError(
            "labels",
            wanted="a session whose label is known",
            got="none",
            hint="Load a longer history or shorten the horizon.",
        )
    axis = labels.values.time.values.astype("datetime64[D]")
    ends = labels.span_end[sessions].astype("datetime64[D]")
    spans = label_spans(axis[sessions], ends, sessions=axis)
    arrays = {
        **made.shared,
        "session": sessions,
        "column": made.rows.asset.astype(np.int64),
        "n_assets": np.array([made.label.shape[1]]),
    }
    return SessionRows(spans, arrays, made.label[sessions], sessions)
