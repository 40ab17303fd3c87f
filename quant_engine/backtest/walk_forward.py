"""Walk-forward runner: a strategy refitted along a purged plan, judged on rows it never saw.

A strategy is fitted on the train rows of each fold and scores its test rows (`stats.fold_runs`, the
loop that the model trainer uses too); folds run side by side through an executor with the same
bytes on each. The plan carries purge and embargo (`stats.splits`); the runner does not believe it
and checks that every train label was over before its test block began.

Rows are decisions, columns assets. Every configuration that a strategy chooses among is given to
the trial sink before anything is returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.errors import ConfigError, LookAheadError, SchemaMismatchError
from quant_engine.core.executor import Executor
from quant_engine.core.hashing import array_digest, sha256_json
from quant_engine.core.progress import SILENT, Progress
from quant_engine.core.trials import Trial, TrialSink
from quant_engine.stats.fold_runs import FoldRun, FoldTask, Strategy, run_folds
from quant_engine.stats.ic import ic_by_date
from quant_engine.stats.inference import known_mean
from quant_engine.stats.splits import SplitPlan

__all__ = [
    "CountedStrategy",
    "Measure",
    "WalkForwardInputs",
    "WalkForwardResult",
    "walk_forward",
]

Measure = Literal["rank_ic", "mean_return"]
Facts = Mapping[str, float | int | str]


class CountedStrategy(Strategy[Facts], Protocol):
    """A strategy that knows how many configurations it tries.

    Its scores have shape (rows, assets); its report is a flat mapping that becomes columns of the
    fold table.
    """

    def configurations(self) -> Sequence[Mapping[str, Any]]:
        """Every configuration that a fit may choose, as plain JSON values; at least one."""
        ...


@dataclass(frozen=True, eq=False)
class WalkForwardInputs:
    """What every fold sees, and how its scores are measured.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Inputs of the strategy, any shape; a strategy may find ``outcome`` among them too.
    outcome : ndarray of float64, shape (R, N)
        What the scores of each row of the plan should order: return of the label, fraction; NaN =
        none.
    measure : {"rank_ic", "mean_return"}
        ``rank_ic``: mean over rows of the rank correlation across assets. ``mean_return``: mean
        over rows of the sum of score times outcome, for scores that are weights (fraction per
        row).
    min_assets : int
        Assets that a row needs for a rank correlation.
    n_in_sample : int
        Train rows per fold, evenly spaced, that are scored in sample.
    """

    arrays: Mapping[str, npt.NDArray[Any]]
    outcome: FloatMatrix
    measure: Measure = "rank_ic"
    min_assets: int = 5
    n_in_sample: int = 250

    def data_id(self) -> str:
        """Hash of all values (64 hexadecimal characters)."""
        named = {name: array_digest(array) for name, array in self.arrays.items()}
        return sha256_json([named, array_digest(self.outcome)])

    def by_row(self, score: FloatMatrix, rows: npt.NDArray[np.int64]) -> FloatVector:
        """Measure scores row by row.

        Parameters
        ----------
        score : ndarray of float64, shape (n, N)
            Scores; NaN = no opinion, which holds nothing.
        rows : ndarray of int64, shape (n,)
            Their rows of the plan.

        Returns
        -------
        ndarray of float64, shape (n,)
            Correlation or return (fraction) of each row; NaN where nothing can be measured.
        """
        outcome = self.outcome[rows]
        if self.measure == "rank_ic":
            return ic_by_date(score, outcome, method="rank", min_assets=self.min_assets)
        earned = score * outcome
        return np.where(np.isnan(earned).all(axis=1), np.nan, np.nansum(earned, axis=1))


@dataclass(frozen=True, eq=False)
class WalkForwardResult:
    """Out-of-sample scores with what is known about each fold.

    Parameters
    ----------
    score : ndarray of float64, shape (R, N)
        Score of every tested row, each from a fit that ended before it; NaN = no opinion or not
        tested.
    fold_of_row : ndarray of int64, shape (R,)
        Fold that tested each row, from 1; 0 = not tested.
    by_row : ndarray of float64, shape (R,)
        Out-of-sample figure of each row, what a deflated Sharpe ratio is made of; NaN = not tested
        or not measurable.
    folds : DataFrame
        One row per fold: ``fold, train_first, train_last, test_first, test_last`` (starts of
        label spans), ``n_train, n_test, in_sample, out_of_sample, gap`` and the strategy's facts.
    trial_ids : tuple of str
        What the sink called each configuration.
    split_id, data_id : str
        Hashes of plan and inputs, as they stand in the trials.
    measure : str
        Unit of the figures.
    out_of_sample, in_sample, gap : float
        Figure of all tested rows, mean of the folds' in-sample figures, and the mean of the
        folds' differences (in sample minus out of sample); NaN = not available.
    """

    score: FloatMatrix
    fold_of_row: npt.NDArray[np.int64]
    by_row: FloatVector
    folds: pd.DataFrame
    trial_ids: tuple[str, ...]
    split_id: str
    data_id: str
    measure: Measure
    out_of_sample: float
    in_sample: float
    gap: float


def walk_forward(
    strategy: CountedStrategy,
    plan: SplitPlan,
    *,
    inputs: WalkForwardInputs,
    trials: TrialSink,
    family: str,
    executor: Executor | None = None,
    progress: Progress = SILENT,
) -> WalkForwardResult:
    """Refit a strategy on every fold of a plan and join its out-of-sample scores.

    Parameters
    ----------
    strategy : CountedStrategy
        What is fitted and counted; of a module that workers can import.
    plan : SplitPlan
        Of ``stats.splits.walk_forward_rows`` or ``grouped_walk_forward``.
    inputs : WalkForwardInputs
        What folds see, one row per row of the plan.
    trials : TrialSink
        Remembers every configuration.
    family : str
        Group whose members compete with one another.
    executor : Executor, optional
        Where folds run; serial by default. Results are the same bytes on each.
    progress : Progress
        Listener.

    Returns
    -------
    WalkForwardResult
        Scores, folds and figures.

    Raises
    ------
    ConfigError
        A plan of another kind, whose folds train on what came later.
    LookAheadError
        A train label that was not over before its test block began.
    SchemaMismatchError
        Outcomes or scores of another shape than the plan's rows.

    Examples
    --------
    A rule that is right about one asset and wrong about the other:

    >>> from quant_engine.backtest.best_rule import BestRule
    >>> from quant_engine.core.trials import MemoryTrialSink
    >>> from quant_engine.stats.splits import WalkForwardConfig, label_spans, walk_forward_rows
    >>> day, sink = np.arange(9), MemoryTrialSink()
    >>> config = WalkForwardConfig(min_train_sessions=3, test_sessions=3, holdout_frac=0.0)
    >>> plan = walk_forward_rows(label_spans(day, day), config=config)
    >>> outcome = np.tile([0.02, -0.01], (9, 1))
    >>> weights = np.stack([np.tile([1.0, 0.0], (9, 1)), np.tile([0.0, 1.0], (9, 1))])
    >>> result = walk_forward(
    ...     BestRule(({"asset": 0}, {"asset": 1})),
    ...     plan,
    ...     inputs=WalkForwardInputs(
    ...         {"weights": weights, "outcome": outcome}, outcome, measure="mean_return"
    ...     ),
    ...     trials=sink,
    ...     family="example",
    ... )
    >>> result.folds["chosen"].tolist(), round(result.out_of_sample, 4), len(sink.trials)
    ([0, 0], 0.02, 2)
    """
    _refuse_plan(plan, inputs)
    data_id, split_id = inputs.data_id(), plan.plan_id()
    trial_ids = tuple(
        trials.record(
            Trial(family, sha256_json(dict(own)), data_id, split_id, "backtest.walk_forward")
        )
        for own in strategy.configurations()
    )
    tasks = [
        FoldTask(f"fold {split.number}", split.train, split.test, inputs.n_in_sample)
        for split in plan
    ]
    # The newest folds have the longest train windows; first in line they do not end alone.
    with progress.stage("walk-forward folds", len(tasks)) as stage:
        found = run_folds(
            strategy, tasks[::-1], shared=inputs.arrays, executor=executor, on_done=stage.advance
        )
    runs = found[::-1]
    score = np.full(inputs.outcome.shape, np.nan)
    fold_of_row = np.zeros(len(score), dtype=np.int64)
    rows = []
    for number, (task, run) in enumerate(zip(tasks, runs, strict=True), start=1):
        _check_score(run, task, inputs.outcome.shape[1])
        score[task.test] = run.test_score
        fold_of_row[task.test] = number
        rows.append(_fold_row(number, task, run, plan, inputs))
    folds = pd.DataFrame(rows)
    tested = np.flatnonzero(fold_of_row).astype(np.int64)
    by_row = np.full(len(score), np.nan)
    by_row[tested] = inputs.by_row(score[tested], tested)
    return WalkForwardResult(
        score=score,
        fold_of_row=fold_of_row,
        by_row=by_row,
        folds=folds,
        trial_ids=trial_ids,
        split_id=split_id,
        data_id=data_id,
        measure=inputs.measure,
        out_of_sample=known_mean(by_row),
        in_sample=known_mean(folds["in_sample"].to_numpy(dtype=np.float64)),
        gap=known_mean(folds["gap"].to_numpy(dtype=np.float64)),
    )


def _fold_row(
    number: int, task: FoldTask, run: FoldRun[Facts], plan: SplitPlan, inputs: WalkForwardInputs
) -> dict[str, Any]:
    start = plan.spans.start
    inside = known_mean(inputs.by_row(run.in_sample_score, run.in_sample_rows))
    outside = known_mean(inputs.by_row(run.test_score, task.test))
    return {
        "fold": number,
        "train_first": start[task.train].min(),
        "train_last": start[task.train].max(),
        "test_first": start[task.test].min(),
        "test_last": start[task.test].max(),
        "n_train": len(task.train),
        "n_test": len(task.test),
        "in_sample": inside,
        "out_of_sample": outside,
        "gap": inside - outside,
        **run.report,
    }


def _refuse_plan(plan: SplitPlan, inputs: WalkForwardInputs) -> None:
    if plan.kind not in ("walk_forward", "grouped_walk_forward"):
        raise ConfigError(
            "plan",
            wanted="a walk-forward plan, whose folds train on the past alone",
            got=plan.kind,
            hint="Plan with walk_forward_rows; combinatorial refits have a runner of their own.",
        )
    if inputs.outcome.ndim != 2 or len(inputs.outcome) != len(plan.spans):
        raise SchemaMismatchError(
            "outcome",
            wanted=f"shape ({len(plan.spans)}, assets), one row per row of the plan",
            got=inputs.outcome.shape,
            hint="Take the rows in the order of the label spans that the plan was made from.",
        )
    for split in plan:
        begin = plan.spans.start[split.test].min()
        late = split.train[plan.spans.end[split.train] >= begin]
        if len(late):
            raise LookAheadError(
                f"train labels of fold {split.number}",
                wanted=f"label spans that end before {begin}",
                got=f"{len(late)} that do not, the first ends {plan.spans.end[late[0]]}",
                hint="Purge on label spans: build the plan with walk_forward_rows.",
            )


def _check_score(run: FoldRun[Facts], task: FoldTask, n_assets: int) -> None:
    wanted = (len(task.test), n_assets)
    if run.test_score.shape != wanted:
        raise SchemaMismatchError(
            f"scores of {task.name}",
            wanted=f"shape {wanted}, one row per test row and one column per asset",
            got=run.test_score.shape,
            hint="A strategy scores every row that it is given; NaN says that it has no opinion.",
        )
