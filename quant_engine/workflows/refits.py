"""Refits: the shipped model fitted again on every split of a combinatorial purged plan.

Walk-forward folds cannot be recombined: each was trained on the past of its own block alone. So the
paths need models of their own. They are fitted some splits at a time; what is finished is stored
and not fitted again when the run is resumed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.panel import FEATURE_PANEL, LABEL_PANEL, PANEL
from quant_engine.artifacts.kinds.training import TRAINING_REPORT
from quant_engine.artifacts.kinds.validation import REFIT_PATHS, REFITS
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.backtest.simulation import compared_figures
from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.panel import LabelPanel
from quant_engine.features.training_labels import FORMS
from quant_engine.models.combinatorial import combinatorial_plan, refit_splits
from quant_engine.models.inputs import Target
from quant_engine.stats.ic import ic_by_date
from quant_engine.stats.inference import known_mean
from quant_engine.stats.splits import CombinatorialConfig, SplitPlan, n_cpcv_paths, path_ids
from quant_engine.workflows.advanced_parts import Subject
from quant_engine.workflows.config import TrainConfig
from quant_engine.workflows.inputs import market_features, read_feature_set
from quant_engine.workflows.simulation import (
    BacktestRunConfig,
    directed,
    read_simulation,
    simulation_inputs,
)
from quant_engine.workflows.train import wide


def refit_stages(tested: Subject) -> tuple[dict[str, ArtifactRef], str]:
    """Fit every split again, recombine the predictions into paths and trade each path.

    Parameters
    ----------
    tested : Subject
        The backtest.

    Returns
    -------
    dict of str to ArtifactRef
        Roles ``refits_1, refits_2 ...`` and ``paths``; empty where there are none.
    str
        What it cost, or why there are no paths, in words.
    """
    is_asked = tested.advanced.refit
    reason = "" if is_asked else "refits were switched off (advanced.refit)"
    reason = reason or why_no_refits(tested.config)
    if reason:
        return {}, reason
    labels = tested.workspace.store.read(LABEL_PANEL, tested.run.artifacts["labels"])
    plan, sessions = _block_plan(tested, labels)
    refs: dict[str, ArtifactRef] = {}
    per_stage = tested.advanced.splits_per_stage
    for first in range(0, len(plan), per_stage):
        numbers = range(first, min(first + per_stage, len(plan)))
        refs[f"refits_{len(refs) + 1}"] = _refit_stage(tested, labels, plan, sessions, numbers)
    refs["paths"] = _path_stage(tested, labels, plan, sessions, refs)
    rows = sum(len(split.train) for split in plan)
    n_paths = n_cpcv_paths(plan.n_folds, plan.n_test_folds)
    return refs, (
        f"{len(plan)} refits on {rows} train sessions in all, {n_paths} paths; {plan.convention}"
    )


def why_no_refits(config: BacktestRunConfig) -> str:
    """Say why models cannot be fitted again for a book; empty where they can.

    Parameters
    ----------
    config : BacktestRunConfig
        Book.

    Returns
    -------
    str
        In words.
    """
    if config.in_sample:
        return "in-sample predictions have no out-of-sample paths"
    if config.rules is not None and config.rules.unit == "return":
        return "the rules trade expected returns, which refits do not map"
    book = config.backtest
    if book.min_confidence is not None or book.min_expected_return_frac is not None:
        return "the book has limits on confidence or expected return, which refits do not map"
    return ""


def _block_plan(tested: Subject, labels: LabelPanel) -> tuple[SplitPlan, np.ndarray]:
    """Blocks over all sessions before the holdout that have features and labels."""
    config = _train_config(tested)
    lookback = read_feature_set(tested.workspace, config.feature_set).max_lookback_sessions
    axis = labels.values.time.values.astype("datetime64[D]")
    usable = np.arange(len(axis)) >= lookback
    folds = tested.workspace.store.read(TRAINING_REPORT, tested.run.artifacts["report"]).tables[
        "folds"
    ]
    is_holdout = folds["is_holdout"].astype(bool)
    usable &= axis <= np.datetime64(folds.loc[~is_holdout, "test_last"].max(), "D")
    if is_holdout.any():
        sealed = np.datetime64(folds.loc[is_holdout, "test_first"].min(), "D")
        usable &= labels.span_end < sealed
    embargo = config.split.embargo_sessions
    blocks = CombinatorialConfig(
        n_folds=tested.advanced.n_blocks,
        n_test_folds=tested.advanced.n_test_blocks,
        embargo_sessions=config.labels.horizon_sessions if embargo is None else embargo,
    )
    return combinatorial_plan(labels, usable=usable, config=blocks)


def _refit_stage(
    tested: Subject,
    labels: LabelPanel,
    plan: SplitPlan,
    sessions: np.ndarray,
    numbers: range,
) -> ArtifactRef:
    workspace, run, config = tested.workspace, tested.run, _train_config(tested)
    feature_set = read_feature_set(workspace, config.feature_set)

    def compute() -> dict[str, tuple[Any, Any]]:
        features = market_features(
            workspace.store.read(FEATURE_PANEL, run.artifacts["features"]),
            feature_set,
            workspace.store.read(PANEL, run.artifacts["panel"]),
        )
        frames = refit_splits(
            features,
            labels,
            target=_target(config, labels),
            splits=[
                (f"split {n + 1} of {len(plan)}", sessions[plan[n].train], sessions[plan[n].test])
                for n in numbers
            ],
            config=config.seeded_model(),
            executor=workspace.executor,
            progress=workspace.progress,
        )
        found = [f.assign(split=n + 1) for n, f in zip(numbers, frames, strict=True)]
        document = {"plan_id": plan.plan_id(), "convention": plan.convention}
        scores = pd.concat(found, ignore_index=True)
        return {"refits": (REFITS, Bundle({"scores": scores}, {"plan": document}))}

    return tested.stages.run(
        "advanced.refits",
        compute,
        packages=REFITS.packages,
        config={
            "model": config.seeded_model().content(),
            "target": config.target,
            "feature_set": feature_set.set_id(),
            "plan": plan.plan_id(),
            "splits": list(numbers),
            **({} if config.weights.is_plain else {"weights": config.weights.content()}),
        },
        inputs=tuple(run.artifacts[role] for role in ("features", "labels", "panel")),
    )["refits"]


def _path_stage(
    tested: Subject,
    labels: LabelPanel,
    plan: SplitPlan,
    sessions: np.ndarray,
    refits: dict[str, ArtifactRef],
) -> ArtifactRef:
    workspace, config = tested.workspace, _train_config(tested)

    def compute() -> dict[str, tuple[Any, Any]]:
        parts = [workspace.store.read(REFITS, ref).tables["scores"] for ref in refits.values()]
        simulation = read_simulation(workspace, tested.run, tested.config)
        outcome = np.asarray(labels.values.field(_target(config, labels).outcome), np.float64)
        rows = []
        paths = _recombined(pd.concat(parts, ignore_index=True), plan, labels, sessions)
        with workspace.progress.stage("combinatorial paths", len(paths)) as stage:
            for number, scores in enumerate(paths, start=1):
                traded = directed(
                    scores.assign(expected_return_frac=np.nan), simulation.panel, config
                )
                traded = traded.drop(columns="expected_return_frac")
                rows.append(
                    {
                        "path": number,
                        "rank_ic": _mean_ic(scores, outcome, labels, config),
                        **compared_figures(simulation.run(scores=traded)),
                    }
                )
                stage.advance()
        table = pd.DataFrame(rows)
        facts = {
            **path_figures(table["sharpe"].to_numpy(dtype=np.float64)),
            "n_splits": len(plan),
            "n_paths": len(table),
        }
        return {"paths": (REFIT_PATHS, Bundle({"paths": table}, {"facts": facts}))}

    simulated = simulation_inputs(tested.run, in_sample=False)
    return tested.stages.run(
        "advanced.paths",
        compute,
        packages=REFIT_PATHS.packages,
        config={"book": tested.config.content(), "plan": plan.plan_id()},
        inputs=(*refits.values(), *simulated, tested.run.artifacts["labels"]),
    )["paths"]


def path_figures(ratio: FloatVector) -> dict[str, float | None]:
    """Summarise the Sharpe ratios of paths.

    Parameters
    ----------
    ratio : ndarray of float64, shape (P,)
        Net, annualised; NaN = the path never traded, which is neither a gain nor a loss.

    Returns
    -------
    dict
        ``median_sharpe, lowest_sharpe`` (annualised) and ``negative_frac`` of the paths that
        traded; None where none did.

    Examples
    --------
    >>> path_figures(np.array([-0.5, 1.0, np.nan]))
    {'median_sharpe': 0.25, 'lowest_sharpe': -0.5, 'negative_frac': 0.5}
    """
    known = ratio[~np.isnan(ratio)]
    if not len(known):
        return dict.fromkeys(("median_sharpe", "lowest_sharpe", "negative_frac"))
    return {
        "median_sharpe": float(np.median(known)),
        "lowest_sharpe": float(known.min()),
        "negative_frac": float(np.mean(known < 0.0)),
    }


def _recombined(
    scores: pd.DataFrame, plan: SplitPlan, labels: LabelPanel, sessions: np.ndarray
) -> list[pd.DataFrame]:
    """Scores of each path: every block once, each from the split that the path takes it from."""
    ids = path_ids(plan.n_folds, plan.n_test_folds)
    days = labels.values.time.values[sessions].astype("datetime64[us]")
    found: list[list[pd.DataFrame]] = [
        [] for _ in range(n_cpcv_paths(plan.n_folds, plan.n_test_folds))
    ]
    by_split = dict(tuple(scores.groupby("split", sort=True)))
    for index, split in enumerate(plan):
        own = by_split[split.number]
        for path, rows in zip(ids[index], split.test_blocks, strict=True):
            found[path].append(own[own["date"].isin(days[rows])])
    return [
        pd.concat(parts, ignore_index=True)
        .sort_values(["date", "asset_id"], ignore_index=True)
        .drop(columns="split")
        for parts in found
    ]


def _mean_ic(
    scores: pd.DataFrame, outcome: FloatMatrix, labels: LabelPanel, config: TrainConfig
) -> float:
    placed = wide(scores, "score", labels.values)
    series = ic_by_date(
        placed, outcome, method="rank", min_assets=config.model.min_assets_per_session
    )
    return known_mean(series)


def _target(config: TrainConfig, labels: LabelPanel) -> Target:
    horizon = config.labels.horizon_sessions
    learned, outcome = (name.format(h=horizon) for name in FORMS[config.target])
    exits = [name for name in labels.values.fields if name.startswith("tb_exit_")]
    weigh = None if config.weights.is_plain else config.weights
    return Target(learned, outcome, exits[0] if exits else "", weigh)


def _train_config(tested: Subject) -> TrainConfig:
    return TrainConfig.model_validate(tested.run.config)
