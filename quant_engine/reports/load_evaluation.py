"""From the artifact of an evaluation to the data of its panels."""

from __future__ import annotations

from collections.abc import Mapping

from quant_engine.artifacts.kinds.validation import EVALUATION
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.artifacts.store import ArtifactStore
from quant_engine.reports.evaluation_data import EvaluationData


def load_evaluation(store: ArtifactStore, refs: Mapping[str, ArtifactRef]) -> EvaluationData | None:
    """Read what the evaluation of a backtest found.

    Parameters
    ----------
    store : ArtifactStore
        Where the artifacts lie.
    refs : mapping of str to ArtifactRef
        Role ``evaluation``, where there is one.

    Returns
    -------
    EvaluationData or None
        None for a backtest without it.
    """
    if "evaluation" not in refs:
        return None
    bundle = store.read(EVALUATION, refs["evaluation"])
    tables, metrics = bundle.tables, bundle.documents["metrics"]
    return EvaluationData(
        slices=tables["slices"],
        calibration_slices=tables["calibration_slices"],
        tca=tables["tca"],
        attribution=tables["attribution"].set_index("session"),
        attribution_totals=tables["attribution_totals"],
        metrics=metrics,
        absent=metrics["absent"],
    )
