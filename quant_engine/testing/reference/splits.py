"""Splits: combinatorial, purged k-fold, walk-forward and end-anchored plans of other software.

Other libraries count rows. A gap of p rows is the label span ``[i, i + p]`` of row i on an axis of
one row per session; the plans are then ours, with the remainder and touching rule that each case
was made with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from quant_engine.stats.splits import (
    CombinatorialConfig,
    Fold,
    LabelSpans,
    PurgedKFoldConfig,
    SplitPlan,
    WalkForwardConfig,
    combinatorial,
    label_spans,
    n_cpcv_paths,
    n_cpcv_splits,
    optimal_folds_number,
    path_ids,
    purged_kfold,
    recombined_paths,
    walk_forward,
)
from quant_engine.stats.splits.spans import Remainder
from quant_engine.testing.reference.adapters import Adapter, Give

__all__ = ["ADAPTERS"]

Inputs = Mapping[str, Any]
TOPIC = "pbo_cpcv"


def _rows(n_obs: int, gap: int) -> LabelSpans:
    row = np.arange(n_obs)
    return label_spans(row, row + gap)


def _times(values: Any) -> np.ndarray:
    """Whole numbers as they are, texts as dates."""
    times = np.asarray(values)
    return times if times.dtype.kind in "iu" else times.astype("datetime64[us]")


def _spans(case: Inputs) -> LabelSpans:
    """Label spans of a case: given, or a gap in rows."""
    if "label_start" in case:
        return label_spans(_times(case["label_start"]), _times(case["label_end"]))
    return _rows(case["n_obs"], case.get("purged_size", 0))


def _first(case: Inputs, *names: str) -> Any:
    """Value under the first of several names for one thing."""
    return case[next((name for name in names if name in case), names[0])]


def _folds_of(case: Inputs) -> tuple[Any, Any]:
    """Blocks N and tested blocks k, under the names that libraries give them."""
    return _first(case, "n_folds", "N", "n_splits"), _first(
        case, "n_test_folds", "k", "n_test_splits"
    )


def _combinatorial(case: Inputs, remainder: Remainder) -> SplitPlan:
    n_folds, n_test_folds = _folds_of(case)
    config = CombinatorialConfig(
        n_folds=n_folds,
        n_test_folds=n_test_folds,
        embargo_sessions=case.get("embargo_size", 0),
        embargo_frac=case.get("pct_embargo", 0.0),
        remainder=remainder,
    )
    return combinatorial(_spans(case), config=config)


def _kfold(case: Inputs, touching: Literal["purged", "allowed"]) -> SplitPlan:
    config = PurgedKFoldConfig(
        n_splits=case["n_splits"],
        embargo_sessions=case.get("embargo_size", 0),
        embargo_frac=case.get("pct_embargo", 0.0),
        touching=touching,
    )
    return purged_kfold(_spans(case), config=config)


def _by_block(plan: SplitPlan) -> list[dict[str, Any]]:
    return [
        {"train": split.train.tolist(), "test": [rows.tolist() for rows in split.test_blocks]}
        for split in plan
    ]


def _flat(plan: SplitPlan) -> list[dict[str, Any]]:
    return [{"train": split.train.tolist(), "test": split.test.tolist()} for split in plan]


def _folds(n_obs: int, gap: int, config: WalkForwardConfig) -> list[dict[str, Any]]:
    day = np.arange(n_obs).astype("datetime64[D]")
    folds: tuple[Fold, ...] = walk_forward(day, day, day + gap, config=config)
    return [{"train": fold.train.tolist(), "test": fold.test.tolist()} for fold in folds]


def _walk_forward(case: Inputs) -> list[dict[str, Any]]:
    expanding = case.get("expand_train", case.get("expend_train", False))
    config = WalkForwardConfig(
        min_train_sessions=case["train_size"],
        test_sessions=case["test_size"],
        mode="expanding" if expanding else "rolling",
        left_over="short_block" if case.get("reduce_test", False) else "drop",
        holdout_frac=0.0,
    )
    return _folds(case["n_obs"], case.get("purged_size", 0), config)


def _time_series_split(case: Inputs) -> list[dict[str, Any]]:
    gap = case.get("gap", 0)
    config = WalkForwardConfig.ending_with(
        case["n_obs"], n_blocks=case["n_splits"], test_sessions=case.get("test_size"), gap=gap
    )
    limit = {"max_train_sessions": case.get("max_train_size")}
    return _folds(case["n_obs"], gap, config.model_copy(update=limit))


def _optimal(case: Inputs) -> list[list[int]]:
    names = ("n_observations", "target_n_test_paths", "target_train_size")
    targets = zip(*(np.atleast_1d(case[name]).tolist() for name in names), strict=True)
    return [
        list(optimal_folds_number(n, target_n_paths=paths, target_train_sessions=train))
        for n, paths, train in targets
    ]


def _counted(case: Inputs, count: Callable[[int, int], Any]) -> Any:
    """A count for one pair (N, k), or for each of several."""
    n_folds, n_test_folds = _folds_of(case)
    if not isinstance(n_folds, list):
        return count(n_folds, n_test_folds)
    return [count(n, k) for n, k in zip(n_folds, n_test_folds, strict=True)]


_COUNTS: Mapping[str, Give] = {
    "n_splits": lambda case: _counted(case, n_cpcv_splits),
    "n_paths": lambda case: _counted(case, n_cpcv_paths),
    "n_test_paths": lambda case: _counted(case, n_cpcv_paths),
    "recombined_paths": lambda case: _counted(case, recombined_paths),
    "path_ids": lambda case: _counted(case, path_ids),
}

ADAPTERS: tuple[Adapter, ...] = (
    Adapter(TOPIC, "cpcv_counts", frozenset({"N", "k"}), _COUNTS),
    Adapter(TOPIC, "cpcv_", frozenset({"n_folds", "n_test_folds"}), _COUNTS),
    Adapter(
        TOPIC,
        "cpcv_split",
        frozenset({"n_obs", "n_folds", "n_test_folds"}),
        {"splits": lambda case: _by_block(_combinatorial(case, "last")), **_COUNTS},
    ),
    Adapter(
        TOPIC,
        "cpcv_mlfin",
        frozenset({"label_start", "label_end"}),
        {"splits": lambda case: _by_block(_combinatorial(case, "first")), **_COUNTS},
    ),
    Adapter(
        TOPIC,
        "optimal_folds_number",
        frozenset({"n_observations", "target_n_test_paths", "target_train_size"}),
        {"n_folds_n_test_folds": _optimal},
    ),
    Adapter(
        TOPIC,
        "purged_kfold",
        frozenset({"label_start", "label_end", "n_splits"}),
        {
            "splits": lambda case: _flat(_kfold(case, "purged")),
            "splits_closed_intervals": lambda case: _flat(_kfold(case, "purged")),
            "splits_touching_allowed": lambda case: _flat(_kfold(case, "allowed")),
        },
    ),
    Adapter(
        TOPIC,
        "walk_forward",
        frozenset({"n_obs", "test_size", "train_size"}),
        {"splits": _walk_forward},
    ),
    Adapter(
        TOPIC, "timeseries_split", frozenset({"n_obs", "n_splits"}), {"splits": _time_series_split}
    ),
)
