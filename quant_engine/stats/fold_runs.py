"""Fold runs: a strategy refitted on the train rows of every fold, which then scores its test rows.

The one loop behind every walk-forward and every combinatorial refit: the model trainer, its refits
on other splits and the runner of the backtest hand in their folds and read the same results.

Contract: a fold is a pure function of the shared arrays, the strategy and a small description, so
it may run in any process and on any machine with the same bits; folds come back in their order.
What may train is decided by the plan behind the folds (purge and embargo); a strategy reads the
outcomes of the train rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from quant_engine.core.executor import Executor, SerialExecutor, SharedArrays
from quant_engine.stats.splits.spans import IndexArray

__all__ = ["FittedStrategy", "FoldRun", "FoldTask", "Strategy", "evenly", "run_folds"]

ReportT = TypeVar("ReportT")
ReportT_co = TypeVar("ReportT_co", covariant=True)


@dataclass(frozen=True, eq=False)
class FoldTask:
    """What to fit and what to score.

    Parameters
    ----------
    name : str
        For messages: ``"fold 3"``, ``"final model"``.
    train : ndarray of int64, shape (n_train,)
        Rows of the plan whose outcomes may train, increasing.
    test : ndarray of int64, shape (n_test,)
        Rows to score, increasing; may be empty.
    n_in_sample : int
        Train rows, evenly spaced, that are scored too, to compare in sample with out of sample.
        A fold that scores no test row scores none of them.
    keep : bool
        Whether the report shall hold the fitted strategy itself.
    """

    name: str
    train: IndexArray
    test: IndexArray
    n_in_sample: int = 0
    keep: bool = False


class FittedStrategy(Protocol[ReportT_co]):
    """A strategy that knows its train rows; it lives where it was fitted."""

    @property
    def rows(self) -> IndexArray:
        """Rows of the plan that trained, increasing: the task's, or those that have outcomes."""
        ...

    def score(self, shared: SharedArrays, rows: IndexArray) -> npt.NDArray[np.float64]:
        """Score rows of the plan without reading their outcomes, in a shape of its own choice."""
        ...

    def report(self, shared: SharedArrays, task: FoldTask) -> ReportT_co:
        """Say what is worth knowing about the fit, small enough to travel."""
        ...


class Strategy(Protocol[ReportT_co]):
    """Something that can be fitted; small, because it travels with every fold."""

    def fit(self, shared: SharedArrays, task: FoldTask) -> FittedStrategy[ReportT_co]:
        """Fit on the train rows of the task."""
        ...


@dataclass(frozen=True, eq=False)
class FoldRun(Generic[ReportT]):
    """What one fold gave.

    Parameters
    ----------
    test_score : ndarray of float64
        Scores of the test rows, in the strategy's shape; NaN = no opinion.
    in_sample_rows : ndarray of int64, shape (n,)
        Train rows that were scored in sample, increasing.
    in_sample_score : ndarray of float64
        Their scores.
    report : object
        What the strategy says about its fit.
    """

    test_score: npt.NDArray[np.float64]
    in_sample_rows: IndexArray
    in_sample_score: npt.NDArray[np.float64]
    report: ReportT


def run_folds(
    strategy: Strategy[ReportT],
    tasks: Sequence[FoldTask],
    *,
    shared: SharedArrays,
    executor: Executor | None = None,
    on_done: Callable[[], None] | None = None,
) -> list[FoldRun[ReportT]]:
    """Fit and score every fold.

    Parameters
    ----------
    strategy : Strategy
        What is fitted anew on each fold; of a module that workers can import.
    tasks : sequence of FoldTask
        Folds in any order; long ones first lets parallel workers finish together.
    shared : mapping of str to ndarray
        Inputs of any shape that every fold reads; passed once.
    executor : Executor, optional
        Where folds run; serial by default. Results are the same bits on each.
    on_done : callable, optional
        Called once per finished fold, in order.

    Returns
    -------
    list of FoldRun
        In the order of the tasks.

    Raises
    ------
    QuantEngineError
        Whatever a strategy raises, such as InsufficientHistoryError.

    Examples
    --------
    A strategy that predicts the mean of what it was shown:

    >>> class Mean:
    ...     def __init__(self, rows, level):
    ...         self.rows, self.level = rows, level
    ...     def score(self, shared, rows):
    ...         return np.full(len(rows), self.level)
    ...     def report(self, shared, task):
    ...         return {"level": self.level}
    >>> class MeanStrategy:
    ...     def fit(self, shared, task):
    ...         return Mean(task.train, shared["outcome"][task.train].mean())
    >>> task = FoldTask("fold 1", np.array([0, 1]), np.array([3]))
    >>> run, = run_folds(MeanStrategy(), [task], shared={"outcome": np.array([1.0, 2.0, 9.0, 9.0])})
    >>> run.test_score, float(run.report["level"])
    (array([1.5]), 1.5)
    """
    items = [(strategy, task) for task in tasks]
    return (executor or SerialExecutor()).map(_run_fold, items, shared=shared, on_done=on_done)


def evenly(values: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    """Thin a sequence to evenly spaced entries, first and last included.

    Parameters
    ----------
    values : ndarray of int64, shape (n,)
        Rows.
    limit : int
        Most entries to keep, at least 0.

    Returns
    -------
    ndarray of int64, shape (min(n, limit),)
        Entries in their order.

    Examples
    --------
    >>> evenly(np.arange(10), 4)
    array([0, 3, 6, 9])
    """
    if len(values) <= limit:
        return values
    return values[np.linspace(0, len(values) - 1, limit).round().astype(np.int64)]


def _run_fold(shared: SharedArrays, item: tuple[Strategy[Any], FoldTask]) -> FoldRun[Any]:
    strategy, task = item
    fitted = strategy.fit(shared, task)
    score = fitted.score(shared, task.test)
    # A fold that scores nothing has no out-of-sample figure to compare an in-sample one with.
    sampled = evenly(fitted.rows, task.n_in_sample if score.size else 0)
    return FoldRun(
        test_score=score,
        in_sample_rows=sampled,
        in_sample_score=fitted.score(shared, sampled),
        report=fitted.report(shared, task),
    )
