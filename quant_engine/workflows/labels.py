"""Labels of a run as a stage: market data and configuration in, labels with their contract out.

Betas come from the market returns of the run, costs from the profile or cost model that its
settings name; both only where the form asks for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from quant_engine.artifacts.kinds.panel import LABEL_PANEL
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.panel import Panel
from quant_engine.core.specs import SpecCatalog
from quant_engine.execution.cost_model import Costs
from quant_engine.features.training_labels import (
    LabelInputs,
    TrainingLabels,
    market_betas,
    primary_side,
    training_labels,
)
from quant_engine.workflows.config import TrainConfig
from quant_engine.workflows.context import Stages
from quant_engine.workflows.costs import load_costs
from quant_engine.workflows.data import LoadedData

PLAIN_FORMS = ("ret", "excess", "sector_excess")


def run_labels(
    data: LoadedData,
    config: TrainConfig,
    costs: Costs,
    *,
    beta: FloatMatrix | None,
    horizon: int | None = None,
) -> TrainingLabels:
    """Build the labels of a run.

    Parameters
    ----------
    data : LoadedData
        The market.
    config : TrainConfig
        Form, horizon, settings of the form.
    costs : CostProfile or CostModel
        What cost-aware labels are net of.
    beta : ndarray of float64, shape (T, N), or None
        From :func:`run_betas`.
    horizon : int, optional
        Another horizon, in sessions; that of the configuration without it.

    Returns
    -------
    TrainingLabels
        With the names of the fields that count and the contract.
    """
    labels = config.labels
    if horizon is not None:
        labels = labels.model_copy(update={"horizon_sessions": horizon})
    return training_labels(
        data.panel,
        labels,
        config.target,
        settings=config.forms,
        inputs=LabelInputs(
            benchmark_returns=data.benchmark_open_returns,
            delistings=data.market.delistings,
            beta=beta,
            costs=costs,
        ),
    )


def run_betas(data: LoadedData, config: TrainConfig) -> FloatMatrix | None:
    """Betas of a run, made once for all horizons; None where its form needs none.

    Parameters
    ----------
    data : LoadedData
        The market.
    config : TrainConfig
        Form, and the window of the betas.

    Returns
    -------
    ndarray of float64, shape (T, N), or None
        Row t known at the close of t.
    """
    if config.target != "beta_residual":
        return None
    return market_betas(data.panel, data.market_returns, config.forms)


def label_costs(catalog: SpecCatalog, config: TrainConfig) -> Costs:
    """Return the costs that cost-aware labels of a run are net of: a profile or a cost model."""
    return load_costs(catalog, config.forms.cost_profile, where="settings: forms.cost_profile")


def form_settings(config: TrainConfig, costs: Costs) -> dict[str, Any]:
    """Return what determines labels beside their ``LabelConfig``; empty for plain forms.

    Parameters
    ----------
    config : TrainConfig
        Form and its settings.
    costs : CostProfile or CostModel
        What cost-aware labels are net of.

    Returns
    -------
    dict
        Plain JSON values.
    """
    if config.target in PLAIN_FORMS:
        return {}
    return {
        "form": config.target,
        "settings": config.forms.content(),
        **({"costs": costs.content()} if config.target == "cost_aware" else {}),
    }


def is_meta(config: TrainConfig) -> bool:
    """Whether scores of a run say that the side of a primary signal is right."""
    return config.target == "meta"


def primary_sides(frame: pd.DataFrame, panel: Panel, config: TrainConfig) -> pd.Series:
    """Sides of the primary signal for the rows of a prediction frame.

    Parameters
    ----------
    frame : DataFrame
        Columns ``date`` and ``asset_id``.
    panel : Panel
        Market panel (T, N) that holds those sessions and assets.
    config : TrainConfig
        Names the signal.

    Returns
    -------
    Series of float64
        1, -1 or 0 = no bet, on the index of `frame`; known at the close of the session.
    """
    sides = primary_side(panel, sessions=config.forms.primary_sessions)
    rows = np.searchsorted(panel.time.values, frame["date"].to_numpy().astype("datetime64[D]"))
    columns = pd.Index(panel.asset_ids).get_indexer(frame["asset_id"])
    return pd.Series(sides[rows, columns].astype(np.float64), index=frame.index)


def label_stage(
    stages: Stages,
    data: LoadedData,
    config: TrainConfig,
    costs: Costs,
    labels: TrainingLabels,
) -> dict[str, ArtifactRef]:
    """Write the labels of a run.

    Parameters
    ----------
    stages : Stages
        Writes the artifact.
    data : LoadedData
        The market they were made from.
    config : TrainConfig
        How they were made.
    costs : CostProfile or CostModel
        What cost-aware labels are net of.
    labels : TrainingLabels
        From :func:`run_labels`.

    Returns
    -------
    dict of str to ArtifactRef
        Role ``labels``.
    """
    return stages.run(
        "labels",
        lambda: {"labels": (LABEL_PANEL, labels.panel)},
        packages=LABEL_PANEL.packages,
        config={**config.labels.content(), **form_settings(config, costs)},
        inputs=(data.refs["panel"], data.refs["market"]),
    )


def label_document(labels: TrainingLabels, config: TrainConfig, costs: Costs) -> dict[str, Any]:
    """Describe labels in a training report: contract, and what the form adds.

    Parameters
    ----------
    labels : TrainingLabels
        Labels of the run.
    config : TrainConfig
        How they were made.
    costs : CostProfile or CostModel
        What cost-aware labels are net of.

    Returns
    -------
    dict
        ``target``, ``contract``, and for forms beyond plain returns ``outcome`` and ``label``.
    """
    document: dict[str, Any] = {
        "target": labels.learned,
        "contract": labels.contract.content(),
    }
    settings = form_settings(config, costs)
    if settings:
        document |= {"outcome": labels.outcome, "label": settings}
    return document
