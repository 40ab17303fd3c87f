"""Train: purged walk-forward of a ranked ensemble, honest maps, a verdict, and the final model.

Contract: every number of a test block depends only on labels that were over before the block
began; the holdout fold decides nothing but its own figures. The result does not depend on the
executor.

1. ``check_folds`` (module ``plan``) proves that no train label span touches its test block.
2. ``training_rows`` makes the row matrix, standardised inside each session.
3. ``run_folds`` (``stats.fold_runs``) fits the ensemble (``fitting``) on each fold, a warm-up fold
   inside the first train window, and all labelled rows, all side by side through the executor.
4. ``make_block`` (``blocks``) turns raw predictions into scores per session.
5. ``_outcomes`` fits the maps of each block on earlier blocks and applies them to it.
6. ``fold_table`` and ``oos_frame`` (``evaluation``) tabulate; ``judge`` (``quality``) decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lightgbm as lgb
import pandas as pd

from quant_engine.core.executor import Executor
from quant_engine.core.panel import LabelPanel
from quant_engine.core.progress import SILENT, Progress
from quant_engine.models.blocks import Block, Market, fit_maps_on, make_block, map_scores
from quant_engine.models.config import ModelConfig
from quant_engine.models.evaluation import (
    FoldOutcome,
    fold_table,
    importance_frame,
    oos_frame,
    overall_figures,
)
from quant_engine.models.fitting import EnsembleStrategy, FitReport
from quant_engine.models.inputs import ModelFeatures, Target
from quant_engine.models.learners import LEARNERS, build_learner
from quant_engine.models.maps import ScoreMaps
from quant_engine.models.matrix import Sessions
from quant_engine.models.model import FittedModel, FoldWindow, TrainingRecord
from quant_engine.models.plan import (
    FINAL,
    WARMUP,
    check_folds,
    fit_tasks,
    fold_name,
    label_is_over,
)
from quant_engine.models.quality import QualityVerdict, judge
from quant_engine.models.training_rows import training_rows
from quant_engine.stats.fold_runs import FoldRun, run_folds
from quant_engine.stats.splits import Fold, label_horizon

__all__ = ["TrainResult", "train"]


@dataclass(frozen=True, eq=False)
class TrainResult:
    """A trained model with the evidence about it.

    Parameters
    ----------
    model : FittedModel
        Final model, fitted on all labelled rows.
    oos : DataFrame
        One row per predicted (date, asset_id), sorted: fold, is_holdout, score,
        expected_return_frac, lo, hi, confidence, percentile, z, is_long, is_short,
        ``<member>_score``, ``raw_<member>``, n_missing_features, label. NaN in the map columns
        where no earlier out-of-fold rows existed; NaN label where it is not known yet.
    folds : DataFrame
        One row per fold: windows, row counts, IC and rank IC per member and blend in and out of
        sample, gap, coverage, calibration error, maps.
    importance : DataFrame
        fold (0 = final model), member, feature, mean_abs_contribution, share.
    quality : QualityVerdict
        Promotable or not, with reasons and figures.
    """

    model: FittedModel
    oos: pd.DataFrame
    folds: pd.DataFrame
    importance: pd.DataFrame
    quality: QualityVerdict


def train(
    features: ModelFeatures,
    labels: LabelPanel,
    *,
    target: str | Target,
    folds: Sequence[Fold],
    config: ModelConfig,
    executor: Executor | None = None,
    progress: Progress = SILENT,
) -> TrainResult:
    """Train a cross-sectional return model and measure it out of sample.

    Parameters
    ----------
    features : ModelFeatures
        Feature panel (T, N), NaN = missing; masks; trailing volatility (T, N), fraction.
    labels : LabelPanel
        Labels on the same axes, fraction, NaN = none; spans say what each session's label needs.
    target : str or Target
        Label field to predict; a Target tells apart what is learned and what is measured, and may
        weigh the rows.
    folds : sequence of Fold
        Plan of ``stats.splits.walk_forward``: development folds, then at most one holdout.
    config : ModelConfig
        Members, transforms, maps, quality rules.
    executor : Executor, optional
        Where fits run; serial by default. Results are the same bits on each.
    progress : Progress
        Listener.

    Returns
    -------
    TrainResult
        Also for a model that breaks a quality rule: then ``quality.promotable`` is False.

    Raises
    ------
    SchemaMismatchError
        Labels on other axes than features.
    LookAheadError
        A research-only feature, or a fold whose train labels touch its test block.
    InsufficientHistoryError
        A fit with fewer labelled rows than ``min_train_rows``.
    EmptyDataError
        No usable row.

    Examples
    --------
    One feature that is the label itself, seen through noise of the same size:

    >>> import numpy as np
    >>> from quant_engine.core.panel import Panel, TimeAxis
    >>> from quant_engine.models import FeatureSchema, MemberConfig
    >>> from quant_engine.stats.splits import WalkForwardConfig, walk_forward
    >>> rng = np.random.default_rng(0)
    >>> label = rng.normal(0.0, 0.02, (200, 30))
    >>> days = np.arange("2024-01-01", "2024-07-19", dtype="datetime64[D]")
    >>> axis, ids = TimeAxis.sessions(days, "24/7"), tuple(f"A{i:02d}@US#1" for i in range(30))
    >>> masks = {name: np.ones((200, 30), dtype=bool) for name in ("member", "tradable")}
    >>> noisy = Panel(axis, ids, {"hint": label + rng.normal(0.0, 0.02, (200, 30))}, masks)
    >>> schema = FeatureSchema(set_id="example", names=("hint",), causality=("CAUSAL",))
    >>> plan = WalkForwardConfig(min_train_sessions=60, test_sessions=40)
    >>> result = train(
    ...     ModelFeatures(noisy, schema, np.full((200, 30), 0.02)),
    ...     LabelPanel(Panel(axis, ids, {"fwd_excess_1s": label}), days, days),
    ...     target="fwd_excess_1s",
    ...     folds=walk_forward(days, days, days, config=plan),
    ...     config=ModelConfig(members=(MemberConfig(learner="ridge", column="ridge"),)),
    ... )
    >>> result.quality.promotable, round(result.quality.figures["holdout_rank_ic"], 2)
    (True, 0.68)
    """
    features.schema.require_usable()
    for member in config.members:
        build_learner(member)
    check_folds(labels, folds)
    wanted = Target.of(target)
    with progress.stage("row matrix", 1) as stage:
        made = training_rows(features, labels, target=wanted, config=config)
        stage.advance()
    rows, label = made.rows, made.label
    tasks = fit_tasks(folds, config, labels=labels, labelled_rows=made.n_labelled)
    with progress.stage("model fits", len(tasks)) as stage:
        results = run_folds(
            EnsembleStrategy(config, wanted.weigh),
            tasks,
            shared=made.shared,
            executor=executor,
            on_done=stage.advance,
        )
    fits = {task.name: result for task, result in zip(tasks, results, strict=True)}
    market = Market(rows, label, features.volatility)
    span = labels.values.time.values, labels.span_start, labels.span_end
    lags = label_horizon(*span)
    warmup = next((task.test for task in tasks if task.name == WARMUP), None)
    outcomes, maps = _outcomes(
        folds, fits, market=market, labels=labels, warmup=warmup, config=config, lags=lags
    )
    numbered = [(o.fold.number, o.fit) for o in outcomes]
    final = fits[FINAL].report
    return TrainResult(
        model=_final_model(features, wanted.learned, final, folds=folds, maps=maps, config=config),
        oos=oos_frame(outcomes, features.panel, rows=rows),
        folds=fold_table(outcomes, features.panel, config=config),
        importance=importance_frame(
            [*numbered, (0, final)], config=config, names=features.schema.names
        ),
        quality=judge(overall_figures(outcomes, config=config, lags=lags), config.quality),
    )


def _outcomes(
    folds: Sequence[Fold],
    fits: Mapping[str, FoldRun[FitReport]],
    *,
    market: Market,
    labels: LabelPanel,
    warmup: Sessions | None,
    config: ModelConfig,
    lags: int,
) -> tuple[list[FoldOutcome], ScoreMaps | None]:
    """Score every fold with maps of earlier blocks; then the maps of the final model.

    Evidence grows block by block: warm-up first, then the scored sessions of each development
    fold. A fold uses the part of it whose labels were over before its own test block began and
    that lies inside its embargo. The holdout never becomes evidence.
    """
    evidence: list[tuple[Block, Sessions]] = []
    if warmup is not None:
        raw = fits[WARMUP].test_score
        evidence.append((make_block(market, warmup, raw, config=config), warmup))
    outcomes = []
    for fold in folds:
        run = fits[fold_name(fold)]
        block = make_block(market, fold.test, run.test_score, config=config)
        in_sample = make_block(market, run.in_sample_rows, run.in_sample_score, config=config)
        first, last_train = int(fold.test[0]), fold.train[-1]
        known = [
            (earlier, s[(s <= last_train) & label_is_over(labels, s, first)])
            for earlier, s in evidence
        ]
        maps = fit_maps_on(known, config, lags=lags)
        mapped = map_scores(maps, block.blend.score, block.volatility)
        outcomes.append(FoldOutcome(fold, run.report, block, in_sample, maps, mapped))
        if not fold.is_holdout:
            evidence.append((block, fold.scored))
    return outcomes, fit_maps_on(evidence, config, lags=lags)


def _final_model(
    features: ModelFeatures,
    target: str,
    fit: FitReport,
    *,
    folds: Sequence[Fold],
    maps: ScoreMaps | None,
    config: ModelConfig,
) -> FittedModel:
    """Rebuild the members from their bytes, so that a fresh model is what a stored one will be."""
    days = features.panel.time.values.astype("datetime64[D]").astype(str)
    return FittedModel(
        schema=features.schema,
        target=target,
        config=config,
        members={
            member.column: LEARNERS.get(member.learner).from_bytes(fit.files[member.column])
            for member in config.members
        },
        maps=maps,
        training=TrainingRecord(
            first_session=str(days[fit.train_first]),
            last_session=str(days[fit.train_last]),
            n_sessions=fit.n_train_sessions,
            n_rows=fit.n_train_rows,
            folds=tuple(
                FoldWindow(
                    fold.number, fold.is_holdout, *map(str, fold.train_window + fold.test_window)
                )
                for fold in folds
            ),
            learner_library=f"lightgbm {lgb.__version__}",
        ),
    )
