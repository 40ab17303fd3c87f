"""Splits on label spans: what trains, what tests, and what is kept apart from both.

A split knows the closed interval of time that every label depends on; it never counts rows. The
modules: ``spans`` (intervals, purge and embargo), ``plan`` (the result, a scikit-learn splitter),
``walk_forward``, ``purged`` (k-fold and combinatorial), ``paths`` (recombined paths), ``grouped``
(events and clusters), ``windows`` (three-stage, bridge, sealed forward window, guard), ``picture``.
"""

from quant_engine.stats.splits.grouped import (
    GroupedWalkForwardConfig,
    grouped_kfold,
    grouped_walk_forward,
)
from quant_engine.stats.splits.paths import (
    average_train_sessions,
    cpcv_paths,
    n_cpcv_paths,
    n_cpcv_splits,
    optimal_folds_number,
    path_ids,
    recombined_paths,
)
from quant_engine.stats.splits.picture import describe, picture
from quant_engine.stats.splits.plan import Split, SplitPlan
from quant_engine.stats.splits.purged import (
    CombinatorialConfig,
    PurgedKFoldConfig,
    combinatorial,
    purged_kfold,
)
from quant_engine.stats.splits.spans import LabelSpans, PurgeConfig, label_spans
from quant_engine.stats.splits.walk_forward import (
    Fold,
    WalkForwardConfig,
    label_horizon,
    walk_forward,
    walk_forward_rows,
)
from quant_engine.stats.splits.windows import (
    BRIDGE,
    THREE_STAGE,
    ForwardLedger,
    ForwardOpening,
    SealedForward,
    WindowPlan,
    WindowsConfig,
    bridge_windows,
    cut_windows,
    refuse_used,
    seal_forward,
    three_stage,
)

__all__ = [
    "BRIDGE",
    "THREE_STAGE",
    "CombinatorialConfig",
    "Fold",
    "ForwardLedger",
    "ForwardOpening",
    "GroupedWalkForwardConfig",
    "LabelSpans",
    "PurgeConfig",
    "PurgedKFoldConfig",
    "SealedForward",
    "Split",
    "SplitPlan",
    "WalkForwardConfig",
    "WindowPlan",
    "WindowsConfig",
    "average_train_sessions",
    "bridge_windows",
    "combinatorial",
    "cpcv_paths",
    "cut_windows",
    "describe",
    "grouped_kfold",
    "grouped_walk_forward",
    "label_horizon",
    "label_spans",
    "n_cpcv_paths",
    "n_cpcv_splits",
    "optimal_folds_number",
    "path_ids",
    "picture",
    "purged_kfold",
    "recombined_paths",
    "refuse_used",
    "seal_forward",
    "three_stage",
    "walk_forward",
    "walk_forward_rows",
]
