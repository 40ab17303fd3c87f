"""Walk-forward over variants: the best so far is traded next, and only what it then earned counts.

Given are the returns of every variant of a sweep, session by session. On each fold of a plan the
variant that did best on the train sessions is chosen and held over the test sessions, which nobody
has looked at; the test sessions one after another are the record of choosing. In sample the best of
many is always good. What is left out of sample is what choosing was worth.

Contract: a variant's return of session t depends on nothing after t, as in a sweep. The choice of a
fold reads its train sessions alone (`walk_forward` checks the plan). Between two folds the book
changes from one variant's to another's at no cost: the number of changes is stated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from quant_engine.backtest.performance import session_sharpe
from quant_engine.backtest.walk_forward import WalkForwardInputs, walk_forward
from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import SchemaMismatchError
from quant_engine.core.executor import Executor
from quant_engine.core.progress import SILENT, Progress
from quant_engine.core.trials import TrialSink
from quant_engine.stats.fold_runs import FoldTask
from quant_engine.stats.inference import known_mean
from quant_engine.stats.metrics import annual_return, max_drawdown
from quant_engine.stats.splits import WalkForwardConfig, label_spans, walk_forward_rows

__all__ = [
    "BestVariant",
    "ChosenVariant",
    "VariantWalk",
    "VariantWalkConfig",
    "walk_variants",
]

NONE = -1
"""Number of the choice where no variant had moved on the train sessions."""

ChooseBy = Literal["sharpe", "mean"]


class VariantWalkConfig(FrozenConfig):
    """How variants are chosen and folds are cut.

    Parameters
    ----------
    choose_by : {"sharpe", "mean"}
        What is highest on the train sessions: mean over standard deviation of the returns, or
        their mean.
    split : WalkForwardConfig
        Train and test sessions. Returns of a session end with it, so nothing is purged; no session
        is kept back, because whoever sweeps has looked at all of them.
    periods_per_year : float
        Sessions per year.

    Examples
    --------
    >>> VariantWalkConfig().split.test_sessions
    63
    """

    choose_by: ChooseBy = "sharpe"
    split: WalkForwardConfig = WalkForwardConfig(holdout_frac=0.0)
    periods_per_year: float = Field(default=252.0, gt=0.0)


@dataclass(frozen=True, eq=False)
class ChosenVariant:
    """The variant that did best on the train sessions.

    Parameters
    ----------
    number : int
        Its position; -1 = none had moved.
    choose_by : {"sharpe", "mean"}
        By what.
    rows : ndarray of int64, shape (n_train,)
        Train rows.
    """

    number: int
    choose_by: ChooseBy
    rows: npt.NDArray[np.int64]

    def score(
        self, shared: Mapping[str, npt.NDArray[Any]], rows: npt.NDArray[np.int64]
    ) -> FloatMatrix:
        """Hold the chosen variant.

        Parameters
        ----------
        shared : mapping of str to ndarray
            With ``returns``, shape (R, K); only K is read.
        rows : ndarray of int64, shape (n,)
            Rows of the plan.

        Returns
        -------
        ndarray of float64, shape (n, K)
            1 for the chosen variant, 0 for all others.
        """
        held = np.zeros((len(rows), shared["returns"].shape[1]))
        if self.number != NONE:
            held[:, self.number] = 1.0
        return held

    def report(
        self, shared: Mapping[str, npt.NDArray[Any]], task: FoldTask
    ) -> dict[str, float | int | str]:
        """Compare the choice in sample and out of sample.

        Parameters
        ----------
        shared : mapping of str to ndarray
            With ``returns``, shape (R, K), fraction.
        task : FoldTask
            Train and test rows.

        Returns
        -------
        dict
            ``chosen``; ``train_mean, train_ratio, test_mean, test_ratio`` of it, per session
            (fraction; mean over standard deviation); ``rank`` of its test figure among the
            ``n_ranked`` variants that have one, 1 = best, ties in the middle; and
            ``median_test_mean`` of all variants, what was earned without choosing.
        """
        train, test = shared["returns"][task.train], shared["returns"][task.test]
        rank, n_ranked = _rank(_figures(test, self.choose_by), self.number)
        return {
            "chosen": self.number,
            "train_mean": self._own(train, "mean"),
            "train_ratio": self._own(train, "sharpe"),
            "test_mean": self._own(test, "mean"),
            "test_ratio": self._own(test, "sharpe"),
            "rank": rank,
            "n_ranked": n_ranked,
            "median_test_mean": float(np.median(test.mean(axis=0))),
        }

    def _own(self, returns: FloatMatrix, figure: ChooseBy) -> float:
        if self.number == NONE:
            return float("nan")
        return float(_figures(returns, figure)[self.number])


@dataclass(frozen=True)
class BestVariant:
    """Choose the variant that did best on the train sessions.

    Parameters
    ----------
    settings : sequence of mapping
        Of each variant, plain JSON values, in the order of the columns.
    choose_by : {"sharpe", "mean"}
        By what.

    Notes
    -----
    Reads one shared array: ``returns`` float64 (R, K), fraction, no NaN. A variant that did not
    move on the train sessions is not chosen; the first of equal ones is.
    """

    settings: Sequence[Mapping[str, Any]]
    choose_by: ChooseBy = "sharpe"

    def configurations(self) -> Sequence[Mapping[str, Any]]:
        """Settings of every variant."""
        return [dict(own) for own in self.settings]

    def fit(self, shared: Mapping[str, npt.NDArray[Any]], task: FoldTask) -> ChosenVariant:
        """Choose a variant.

        Parameters
        ----------
        shared : mapping of str to ndarray
            With ``returns``, shape (R, K), fraction.
        task : FoldTask
            Its train rows decide.

        Returns
        -------
        ChosenVariant
            The best of them.
        """
        train = shared["returns"][task.train]
        figures = _figures(train, self.choose_by)
        figures = np.where(train.max(axis=0) > train.min(axis=0), figures, np.nan)
        best = NONE if np.isnan(figures).all() else int(np.nanargmax(figures))
        return ChosenVariant(best, self.choose_by, task.train)


@dataclass(frozen=True, eq=False)
class VariantWalk:
    """What choosing was worth.

    Parameters
    ----------
    chained : DataFrame indexed by session
        Unseen sessions one after another: ``ret`` (fraction), ``fold`` (from 1) and ``variant``
        (-1 = none).
    folds : DataFrame
        One row per fold: ``fold, train_first, train_last, test_first, test_last, n_train, n_test``
        and the report of :class:`ChosenVariant`.
    summary : dict of str to float, int or None
        ``n_folds, n_sessions, n_changes`` (folds that chose another variant than the one before),
        ``in_sample_mean, out_of_sample_mean, gap`` (per session, fraction; means of the folds, and
        of the chained sessions), ``in_sample_sharpe`` (mean of the folds), ``sharpe,
        sharpe_ci_low, sharpe_ci_high`` of the chain (annualised, 95 %), ``annual_return,
        max_drawdown``, ``median_rank_frac`` (0 = best out of sample, 1 = worst) and
        ``median_variant_mean`` (per session, of the median variant out of sample). None = not
        defined.
    """

    chained: pd.DataFrame
    folds: pd.DataFrame
    summary: dict[str, float | int | None]


def walk_variants(
    returns: pd.DataFrame,
    settings: Sequence[Mapping[str, Any]],
    *,
    config: VariantWalkConfig,
    trials: TrialSink,
    family: str,
    executor: Executor | None = None,
    progress: Progress = SILENT,
) -> VariantWalk:
    """Choose the best variant of each train span, hold it over the next unseen span, and chain.

    Parameters
    ----------
    returns : DataFrame indexed by session, one column per variant
        Net returns (fraction); no NaN.
    settings : sequence of mapping
        Of each variant, plain JSON values: every variant is a trial.
    config : VariantWalkConfig
        Choice and folds.
    trials : TrialSink
        Remembers every variant once, chosen or not.
    family : str
        Group whose members compete with one another.
    executor : Executor, optional
        Where folds run; serial by default. Results are the same bytes on each.
    progress : Progress
        Listener.

    Returns
    -------
    VariantWalk
        Chained unseen sessions, folds and figures.

    Raises
    ------
    SchemaMismatchError
        NaN or infinity, another number of settings than columns, or sessions out of order.
    InsufficientHistoryError
        Fewer sessions than one train window and one test block need.

    Examples
    --------
    >>> from quant_engine.core.trials import MemoryTrialSink
    >>> rng = np.random.default_rng(0)
    >>> returns = pd.DataFrame(rng.normal(0.0, 0.01, (400, 3)), pd.bdate_range("2020", periods=400))
    >>> returns[1] += 0.004
    >>> split = WalkForwardConfig(min_train_sessions=100, test_sessions=100, holdout_frac=0.0)
    >>> found = walk_variants(
    ...     returns, [{"k": k} for k in range(3)], config=VariantWalkConfig(split=split),
    ...     trials=MemoryTrialSink(), family="example",
    ... )
    >>> found.folds["chosen"].tolist(), found.summary["n_changes"], len(found.chained)
    ([1, 1, 1], 0, 300)
    """
    values, days = _checked(returns, len(settings)), returns.index.to_numpy()
    plan = walk_forward_rows(label_spans(days, days), config=config.split)
    found = walk_forward(
        BestVariant(settings, config.choose_by),
        plan,
        # In sample a choice is compared by its report: scores of all train rows would be large.
        inputs=WalkForwardInputs({"returns": values}, values, measure="mean_return", n_in_sample=0),
        trials=trials,
        family=family,
        executor=executor,
        progress=progress,
    )
    folds = found.folds.drop(columns=["in_sample", "out_of_sample", "gap"])
    tested = found.fold_of_row > 0
    chosen = folds.set_index("fold")["chosen"]
    chained = pd.DataFrame(
        {
            "ret": found.by_row[tested],
            "fold": found.fold_of_row[tested],
            "variant": chosen.loc[found.fold_of_row[tested]].to_numpy(),
        },
        index=returns.index[tested],
    )
    return VariantWalk(chained, folds, _walk_summary(chained, folds, config.periods_per_year))


def _checked(returns: pd.DataFrame, n_variants: int) -> FloatMatrix:
    """Returns as a matrix: one column per variant, finite, sessions in order."""
    values = np.ascontiguousarray(returns.to_numpy(dtype=np.float64))
    n_bad = int((~np.isfinite(values)).any(axis=0).sum())
    if n_bad or values.shape[1] != n_variants or not n_variants:
        raise SchemaMismatchError(
            "returns",
            wanted=f"a finite return for each of {n_variants or 'some'} variants in every session",
            got=f"{values.shape[1]} columns, {n_bad} of them with NaN or infinity",
            hint="Cut to the sessions that all variants have; one without a position is a zero.",
        )
    if not (returns.index.is_monotonic_increasing and returns.index.is_unique):
        raise SchemaMismatchError(
            "returns",
            wanted="an index of sessions in increasing order, each once",
            got="repeated sessions" if not returns.index.is_unique else "another order",
            hint="Sort by session and drop what is repeated.",
        )
    return values


def _figures(returns: FloatMatrix, choose_by: ChooseBy) -> FloatVector:
    """Figure of every variant per session; NaN where it is not defined. Shape (K,)."""
    mean = returns.mean(axis=0)
    if choose_by == "mean":
        return np.asarray(mean, dtype=np.float64)
    moves = returns.max(axis=0) > returns.min(axis=0)
    spread = returns.std(axis=0, ddof=1) if len(returns) > 1 else np.full(len(mean), np.nan)
    return np.where(moves, mean / np.where(moves, spread, 1.0), np.nan)


def _rank(figures: FloatVector, number: int) -> tuple[float, int]:
    """Rank of one variant, 1 = best, ties in the middle; NaN where it has no figure."""
    known = figures[~np.isnan(figures)]
    if number == NONE or np.isnan(figures[number]):
        return float("nan"), len(known)
    own = figures[number]
    return float((known > own).sum() + ((known == own).sum() + 1) / 2.0), len(known)


def _walk_summary(
    chained: pd.DataFrame, folds: pd.DataFrame, periods_per_year: float
) -> dict[str, float | int | None]:
    net = chained["ret"].to_numpy(dtype=np.float64)
    chosen = folds["chosen"].to_numpy()
    inside = known_mean(folds["train_mean"].to_numpy(dtype=np.float64))
    outside = known_mean(net)
    ratio = session_sharpe(net, periods_per_year=periods_per_year)
    others = folds["n_ranked"].to_numpy(dtype=np.float64) - 1.0
    worse = (folds["rank"].to_numpy(dtype=np.float64) - 1.0) / np.where(others > 0, others, np.nan)
    ranked = worse[~np.isnan(worse)]
    figures: dict[str, float] = {
        "in_sample_mean": inside,
        "out_of_sample_mean": outside,
        "gap": inside - outside,
        "in_sample_sharpe": known_mean(folds["train_ratio"].to_numpy(dtype=np.float64))
        * float(np.sqrt(periods_per_year)),
        "sharpe": float(ratio.value),
        "sharpe_ci_low": float(ratio.ci_low),
        "sharpe_ci_high": float(ratio.ci_high),
        "annual_return": annual_return(net, periods_per_year=periods_per_year),
        "max_drawdown": max_drawdown(net),
        "median_rank_frac": float(np.median(ranked)) if len(ranked) else float("nan"),
        "median_variant_mean": known_mean(folds["median_test_mean"].to_numpy(dtype=np.float64)),
    }
    return {
        "n_folds": len(folds),
        "n_sessions": len(net),
        "n_changes": int((chosen[1:] != chosen[:-1]).sum()),
        **{name: None if np.isnan(value) else float(value) for name, value in figures.items()},
    }
