"""Model inputs as stages that training and prediction share: features and regimes.

Both call the same functions under the same stage names, so equal data gives one artifact, and the
columns of training and prediction cannot differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quant_engine.artifacts.code import code_digest
from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.panel import FEATURE_PANEL
from quant_engine.artifacts.kinds.training import REGIME
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.artifacts.pages import PageFolder
from quant_engine.core.hashing import sha256_json
from quant_engine.core.panel import Panel
from quant_engine.core.progress import SILENT, Progress
from quant_engine.data.universe import total_returns
from quant_engine.features.pipeline import check_feature_set, compute_features
from quant_engine.features.sets import FeatureSet, whole_set
from quant_engine.features.volatility import trailing_volatility
from quant_engine.models.inputs import FeatureSchema, ModelFeatures
from quant_engine.regime.detector import RegimeConfig, detect_regimes
from quant_engine.workflows.context import Stages, Workspace
from quant_engine.workflows.data import LoadedData

FEATURE_BYTES_IN_MEMORY = 2 * 1024**3
"""Largest feature panel that is held in memory; beyond it features are computed in parts."""


def read_feature_set(workspace: Workspace, name: str) -> FeatureSet:
    """Read a feature set together with the sets that it includes.

    Parameters
    ----------
    workspace : Workspace
        Shipped specs and those of the working folder.
    name : str
        Name in ``specs/features``.

    Returns
    -------
    FeatureSet
        Every feature, in column order.
    """
    return whole_set(name, lambda part: workspace.catalog.load("features", part, FeatureSet))


def feature_stage(
    workspace: Workspace, stages: Stages, data: LoadedData, feature_set: FeatureSet
) -> dict[str, ArtifactRef]:
    """Compute the feature panel of a market.

    Parameters
    ----------
    workspace : Workspace
        Progress.
    stages : Stages
        Writes the artifact.
    data : LoadedData
        The market.
    feature_set : FeatureSet
        What to compute.

    Returns
    -------
    dict of str to ArtifactRef
        Role ``features``.
    """
    key = sha256_json(
        [feature_set.set_id(), str(data.refs["panel"]), code_digest(FEATURE_PANEL.packages)]
    )
    pages = PageFolder(workspace.settings.results_root, key)
    if not workspace.resume:
        pages.remove()

    def compute() -> dict[str, tuple[Any, Any]]:
        panel = computed_features(data.panel, feature_set, pages, progress=workspace.progress)
        return {"features": (FEATURE_PANEL, panel)}

    written = stages.run(
        "features",
        compute,
        packages=FEATURE_PANEL.packages,
        config=feature_set.content(),
        inputs=(data.refs["panel"],),
        facts={"feature_version": feature_version(feature_set)},
    )
    pages.remove()
    return written


def computed_features(
    panel: Panel,
    feature_set: FeatureSet,
    pages: PageFolder,
    *,
    max_bytes: int = FEATURE_BYTES_IN_MEMORY,
    progress: Progress = SILENT,
) -> Panel:
    """Compute a set in memory, or, when it is too large for that, a few features at a time on disk.

    Parameters
    ----------
    panel : Panel
        Market panel (T, N).
    feature_set : FeatureSet
        What to compute.
    pages : PageFolder
        Where finished features wait for the others; those found there are not computed again.
    max_bytes : int
        Largest result kept in memory at a time, in bytes.
    progress : Progress, optional
        Listener.

    Returns
    -------
    Panel
        The same bits either way; arrays are maps of the pages when the set was too large.
    """
    feature_bytes = np.dtype(np.float32).itemsize * panel.shape[0] * panel.shape[1]
    n_at_once = max(1, max_bytes // max(feature_bytes, 1))
    specs = feature_set.features
    if n_at_once >= len(specs):
        return compute_features(panel, feature_set, progress=progress)
    check_feature_set(feature_set)
    with progress.stage(f"features {feature_set.name}", len(specs)) as stage:
        for first in range(0, len(specs), n_at_once):
            part = specs[first : first + n_at_once]
            missing = pages.missing([spec.name for spec in part])
            if missing:
                wanted = tuple(spec for spec in part if spec.name in missing)
                found = compute_features(panel, feature_set.model_copy(update={"features": wanted}))
                for name in missing:
                    pages.save(name, found.field(name))
            stage.advance(len(part))
    fields = {name: pages.load(name) for name in feature_set.names}
    return Panel(panel.time, panel.asset_ids, fields, panel.masks, panel.groups, panel.price_basis)


def regime_stage(
    workspace: Workspace, stages: Stages, data: LoadedData, config: RegimeConfig
) -> dict[str, ArtifactRef]:
    """Detect the regimes of a market, filtered only.

    Parameters
    ----------
    workspace : Workspace
        Progress.
    stages : Stages
        Writes the artifact.
    data : LoadedData
        The market.
    config : RegimeConfig
        Detector.

    Returns
    -------
    dict of str to ArtifactRef
        Role ``regimes``.
    """

    def compute() -> dict[str, tuple[Any, Any]]:
        with workspace.progress.stage("regimes", 1):
            frame = detect_regimes(
                data.market_returns,
                data.total_returns,
                config,
                sessions=data.panel.time.values,
            )
        table = frame.rename_axis("session").reset_index()
        return {"regimes": (REGIME, Bundle({"regimes": table}))}

    return stages.run(
        "regimes",
        compute,
        packages=REGIME.packages,
        config=config.content(),
        inputs=(data.refs["panel"], data.refs["market"]),
    )


def feature_version(feature_set: FeatureSet) -> str:
    """Return name, version and beginning of the id of a feature set."""
    return f"{feature_set.name}/{feature_set.version}/{feature_set.set_id()[:12]}"


def market_features(features: Panel, feature_set: FeatureSet, panel: Panel) -> ModelFeatures:
    """Put features, their identity and the trailing volatility together.

    Parameters
    ----------
    features : Panel
        Feature panel (T, N).
    feature_set : FeatureSet
        Its definition.
    panel : Panel
        The market panel they were computed from.

    Returns
    -------
    ModelFeatures
        Input of trainer and predictor.
    """
    volatility = trailing_volatility(total_returns(panel))
    return ModelFeatures(
        features.only_fields(feature_set.names), feature_schema(feature_set), volatility
    )


def feature_schema(feature_set: FeatureSet) -> FeatureSchema:
    """Return what a model remembers of a feature set.

    Parameters
    ----------
    feature_set : FeatureSet
        Its definition.

    Returns
    -------
    FeatureSchema
        Set id, names in order, causality.
    """
    return FeatureSchema(
        set_id=feature_set.set_id(),
        names=feature_set.names,
        causality=tuple(spec.causality for spec in feature_set.features),
    )
