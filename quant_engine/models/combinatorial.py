"""Combinatorial refits: a model fitted again for every split of a combinatorial purged plan.

Contract: every split refits on its own train sessions and predicts its own test sessions; nothing
is re-used between splits. A split trains on sessions behind its test blocks too, so its predictions
say how the model does in other arrangements of history; nobody could have had them as a record.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.errors import InsufficientHistoryError
from quant_engine.core.executor import Executor
from quant_engine.core.panel import LabelPanel
from quant_engine.core.progress import SILENT, Progress
from quant_engine.models.blocks import Market, make_block
from quant_engine.models.config import ModelConfig
from quant_engine.models.fitting import EnsembleStrategy
from quant_engine.models.inputs import ModelFeatures, Target
from quant_engine.models.training_rows import training_rows
from quant_engine.stats.fold_runs import FoldTask, run_folds
from quant_engine.stats.splits import CombinatorialConfig, SplitPlan, combinatorial, label_spans

__all__ = ["combinatorial_plan", "refit_splits"]


def combinatorial_plan(
    labels: LabelPanel,
    *,
    usable: npt.NDArray[np.bool_],
    config: CombinatorialConfig,
) -> tuple[SplitPlan, npt.NDArray[np.int64]]:
    """Cut the sessions that have labels into blocks and test every combination of them.

    Parameters
    ----------
    labels : LabelPanel
        Spans of every session.
    usable : ndarray of bool, shape (T,)
        Sessions that may train or be tested, such as those before the holdout.
    config : CombinatorialConfig
        Blocks, purge, embargo.

    Returns
    -------
    plan : SplitPlan
        Its rows are the sessions below.
    sessions : ndarray of int64, shape (R,)
        Positions on the session axis of the labels.

    Raises
    ------
    InsufficientHistoryError
        Fewer labelled sessions than blocks, or a split without training rows.

    Notes
    -----
    A span begins at the decision and not at the first price of the label: the safe start.
    """
    sessions = np.flatnonzero(usable & ~np.isnat(labels.span_end)).astype(np.int64)
    if len(sessions) < config.n_folds:
        raise InsufficientHistoryError(
            "labelled sessions",
            wanted=f"at least {config.n_folds}, one per block",
            got=len(sessions),
            hint="Load a longer history.",
        )
    decided = labels.values.time.values[sessions].astype("datetime64[D]")
    spans = label_spans(decided, labels.span_end[sessions].astype("datetime64[D]"))
    return combinatorial(spans, config=config), sessions


def refit_splits(
    features: ModelFeatures,
    labels: LabelPanel,
    *,
    target: Target,
    splits: Sequence[tuple[str, npt.NDArray[np.int64], npt.NDArray[np.int64]]],
    config: ModelConfig,
    executor: Executor | None = None,
    progress: Progress = SILENT,
) -> list[pd.DataFrame]:
    """Fit and predict every split.

    Parameters
    ----------
    features : ModelFeatures
        Feature panel (T, N), NaN = missing; masks; trailing volatility.
    labels : LabelPanel
        Labels on the same axes.
    target : Target
        What is learned.
    splits : sequence of (str, ndarray of int64, ndarray of int64)
        Name, train sessions and test sessions (positions, increasing) of each split.
    config : ModelConfig
        Members and blend.
    executor : Executor, optional
        Where fits run; serial by default. Results are the same bits on each.
    progress : Progress
        Listener.

    Returns
    -------
    list of DataFrame
        Per split ``date, asset_id, score``, sorted; the blended score in (-1, 1) of every row that
        could be predicted.

    Raises
    ------
    LookAheadError
        A research-only feature.
    SchemaMismatchError
        Labels on other axes than features.
    InsufficientHistoryError
        A split with fewer labelled rows than ``min_train_rows``.
    """
    features.schema.require_usable()
    made = training_rows(features, labels, target=target, config=config)
    tasks = [FoldTask(name, train, test) for name, train, test in splits]
    stage_name = f"refits, {splits[0][0]} to {splits[-1][0]}"
    with progress.stage(stage_name, len(tasks)) as stage:
        results = run_folds(
            EnsembleStrategy(config, target.weigh),
            tasks,
            shared=made.shared,
            executor=executor,
            on_done=stage.advance,
        )
    market = Market(made.rows, made.label, features.volatility)
    axis, assets = labels.values.time.values, np.array(labels.values.asset_ids, dtype=object)
    frames = []
    for task, result in zip(tasks, results, strict=True):
        score = make_block(market, task.test, result.test_score, config=config).blend.score
        row, column = np.nonzero(~np.isnan(score))
        frames.append(
            pd.DataFrame(
                {
                    "date": axis[task.test[row]].astype("datetime64[us]"),
                    "asset_id": assets[column],
                    "score": score[row, column],
                }
            ).astype({"asset_id": "str"})
        )
    return frames
