"""Training rows: what every fit of a run shares, made once.

Contract: a row is one usable (session, asset); its features are standardised inside its session and
its target is transformed there, so rows of one session never depend on another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import SchemaMismatchError
from quant_engine.core.panel import LabelPanel
from quant_engine.models.config import ModelConfig
from quant_engine.models.inputs import ModelFeatures, Target
from quant_engine.models.matrix import RowMatrix, build_rows, transform_target

__all__ = ["TrainingRows", "training_rows"]


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Rows, labels and the arrays that fits read.

    Parameters
    ----------
    rows : RowMatrix
        Usable rows.
    label : ndarray of float64, shape (T, N)
        Outcome by which predictions are measured, fraction; NaN = none.
    n_labelled : ndarray of int64, shape (T,)
        Usable rows with a target per session.
    shared : dict of str to ndarray
        Input of :meth:`quant_engine.models.fitting.EnsembleStrategy.fit`.
    """

    rows: RowMatrix
    label: FloatMatrix
    n_labelled: npt.NDArray[np.int64]
    shared: dict[str, npt.NDArray[Any]]


def training_rows(
    features: ModelFeatures, labels: LabelPanel, *, target: Target, config: ModelConfig
) -> TrainingRows:
    """Build the rows of a market.

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
    TrainingRows

    Raises
    ------
    SchemaMismatchError
        Labels on other axes than features.
    EmptyDataError
        No usable row.
    """
    _check_axes(features, labels)
    learned, label = (
        np.asarray(labels.values.field(name), dtype=np.float64)
        for name in (target.learned, target.outcome)
    )
    rows = build_rows(features, config)
    y = transform_target(learned, rows, config)
    shared = {
        "x": rows.x,
        "y": y,
        "offsets": rows.offsets,
        "day": labels.values.time.values.astype("datetime64[D]").astype(np.int64),
        **({} if target.weigh is None else _label_rows(labels, rows, target.exit_field)),
    }
    n_labelled = np.bincount(rows.session[~np.isnan(y)], minlength=len(label))
    return TrainingRows(rows, label, n_labelled.astype(np.int64), shared)


def _label_rows(
    labels: LabelPanel, rows: RowMatrix, exit_field: str
) -> dict[str, npt.NDArray[np.int64]]:
    """Positions of entry and exit of the label of each row; -1 where the row has no span."""
    sessions = labels.values.time.values
    known = ~np.isnat(labels.span_end)
    first, last = (
        np.where(known, np.searchsorted(sessions, span), -1)[rows.session]
        for span in (labels.span_start, labels.span_end)
    )
    if exit_field:
        held = labels.values.field(exit_field)[rows.session, rows.asset]
        last = np.where(np.isnan(held), -1, rows.session + np.nan_to_num(held)).astype(np.int64)
    return {"label_first": first, "label_last": last, "asset": rows.asset.astype(np.int64)}


def _check_axes(features: ModelFeatures, labels: LabelPanel) -> None:
    panel, other = features.panel, labels.values
    if panel.time != other.time or panel.asset_ids != other.asset_ids:
        raise SchemaMismatchError(
            "labels",
            wanted=f"the axes of the features: {panel.shape[0]} sessions x {panel.shape[1]} assets",
            got=f"{other.shape[0]} sessions x {other.shape[1]} assets, or other dates or ids",
            hint="Build labels and features from one market panel.",
        )
