"""Probability of backtest overfitting: how the in-sample winner ranks out of sample.

Contract: combinatorially symmetric cross-validation (CSCV) of Bailey, Borwein, López de Prado and
Zhu (2017). The rows are cut into S even blocks; every choice of S/2 blocks is once the sample in
which a strategy is chosen, and its complement the sample in which the choice is judged. Too little
data is an error: a number would be read as a verdict.

PBO measures how much choosing *among these strategies* is worth. Execution variants of one
predictor have a PBO near one half whether the predictor is worthless or excellent: report it, and
do not gate on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import (
    ConfigError,
    DataError,
    InsufficientHistoryError,
    InsufficientObservationError,
)
from quant_engine.stats.checks import parse_matrix

__all__ = [
    "MAX_BLOCKS",
    "Metric",
    "OverfittingResult",
    "n_combinations",
    "pbo_cscv",
    "varies_in_blocks",
]

MAX_BLOCKS = 20
"""20 blocks make 184,756 combinations; two more would make four times as many."""

Metric: TypeAlias = Callable[[FloatVector], FloatVector]
"""From returns (t, N), rows in time order, to one value per strategy (N,); larger is better."""

IntVector: TypeAlias = npt.NDArray[np.int64]
BoolVector: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class OverfittingResult:
    """What CSCV found.

    Parameters
    ----------
    pbo : float
        Share of combinations whose winner is at or below the median out of sample.
    prob_loss : float
        Share of combinations whose winner has a negative metric out of sample.
    slope, intercept : float
        Least squares of the winner's out-of-sample metric on its in-sample metric; NaN where the
        in-sample metric does not vary.
    dominance_gap : float
        Largest amount by which the distribution function of the winners' out-of-sample metric
        exceeds that of all strategies. At most 0: choosing dominates picking at random to first
        order; above 0: at some level it loses more often.
    logits : ndarray of float64, shape (C,)
        ``log(w / (1 - w))``, w the relative out-of-sample rank of the winner.
    is_best : ndarray of int64, shape (C,)
        Column of the winner of each combination.
    in_sample, out_of_sample : ndarray of float64, shape (C,)
        Metric of the winner in both samples.
    n_combinations, n_strategies, n_blocks : int
        C, N and S.
    n_rows, n_rows_dropped : int
        Rows used, and rows left out at the start so that blocks are even.
    metric : str
        ``"sharpe"`` (mean / standard deviation, ddof 1, per period) or ``"custom"``.

    Examples
    --------
    >>> up_then_down = [[1.0, -1.0], [2.0, -2.0], [-1.0, 1.0], [-2.0, 2.0]]
    >>> pbo_cscv(up_then_down, n_blocks=2).pbo
    1.0
    """

    pbo: float
    prob_loss: float
    slope: float
    intercept: float
    dominance_gap: float
    logits: FloatVector
    is_best: IntVector
    in_sample: FloatVector
    out_of_sample: FloatVector
    n_combinations: int
    n_strategies: int
    n_blocks: int
    n_rows: int
    n_rows_dropped: int
    metric: str


def n_combinations(n_blocks: int) -> int:
    """Count the ways to choose half of the blocks.

    Parameters
    ----------
    n_blocks : int
        S, even.

    Returns
    -------
    int
        ``S! / (S/2)!^2``.

    Raises
    ------
    ConfigError
        Odd, below 2 or above `MAX_BLOCKS`.

    Examples
    --------
    >>> n_combinations(16)
    12870
    """
    if n_blocks < 2 or n_blocks % 2 or n_blocks > MAX_BLOCKS:
        raise ConfigError(
            "n_blocks",
            wanted=f"an even number from 2 to {MAX_BLOCKS}",
            got=n_blocks,
            hint="Use 16, as the paper does: 12,870 combinations.",
        )
    return comb(n_blocks, n_blocks // 2)


def pbo_cscv(
    returns: npt.ArrayLike, *, n_blocks: int = 16, metric: Metric | None = None
) -> OverfittingResult:
    """Probability of backtest overfitting by CSCV.

    Parameters
    ----------
    returns : array-like, shape (T, N)
        Returns per period (fraction), rows in time order, one column per strategy tried. NaN is
        refused: all strategies must cover the same periods, and a period without position is 0.
    n_blocks : int
        S, even. When T is no multiple of S the first ``T % S`` rows are left out.
    metric : callable, optional
        From returns (t, N) to a value per strategy (N,), larger is better; by default the Sharpe
        ratio per period, mean / standard deviation with ddof 1. Both samples are passed in time
        order.

    Returns
    -------
    OverfittingResult

    Raises
    ------
    ConfigError
        `n_blocks` odd, below 2 or above `MAX_BLOCKS`.
    InsufficientObservationError
        Fewer than 2 strategies: nothing was chosen.
    InsufficientHistoryError
        Fewer than 2 rows per block.
    DataError
        NaN or infinity, a strategy that does not vary over S/2 blocks (it has no Sharpe ratio
        there), or a metric that is not finite.

    Notes
    -----
    The relative rank is ``w = rank / (N + 1)`` with average ranks for ties, and
    ``PBO = P(logit(w) <= 0)`` (Bailey, Borwein, López de Prado and Zhu 2017, "The probability of
    backtest overfitting", Journal of Computational Finance 20(4), section 3). The first column
    wins a tie in sample. Sums are combined from block means and block sums of squared deviations,
    which is exact whatever the size of the mean.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noise = rng.standard_normal((320, 10))
    >>> result = pbo_cscv(noise, n_blocks=8)
    >>> result.n_combinations, round(result.pbo, 2), round(result.slope, 2)
    (70, 0.34, -0.51)
    """
    n_chosen = n_combinations(n_blocks)
    blocks, n_dropped = _blocks(returns, n_blocks)
    n_strategies = blocks.shape[2]
    if n_strategies < 2:
        raise InsufficientObservationError(
            "returns",
            wanted="at least 2 strategies (columns)",
            got=n_strategies,
            hint="Overfitting by selection needs a selection: pass every variant that was tried.",
        )
    chosen = np.array(list(combinations(range(n_blocks), n_blocks // 2)), dtype=np.int64)
    if metric is None:
        _check_varying(blocks)
        winners = _sharpe_winners(blocks, chosen)
    else:
        winners = _metric_winners(blocks, chosen, metric)
    rank = winners.n_smaller + (winners.n_equal + 1) / 2.0
    slope, intercept = _line(winners.in_sample, winners.out_of_sample)
    return OverfittingResult(
        # Ranks are exact multiples of one half: no rounding decides about the median.
        pbo=float(np.mean(2.0 * rank <= n_strategies + 1)),
        prob_loss=float(np.mean(winners.out_of_sample < 0.0)),
        slope=slope,
        intercept=intercept,
        dominance_gap=_dominance_gap(winners.out_of_sample, winners.below, n_strategies),
        logits=np.log(rank / (n_strategies + 1 - rank)),
        is_best=winners.best,
        in_sample=winners.in_sample,
        out_of_sample=winners.out_of_sample,
        n_combinations=n_chosen,
        n_strategies=n_strategies,
        n_blocks=n_blocks,
        n_rows=blocks.shape[0] * blocks.shape[1],
        n_rows_dropped=n_dropped,
        metric="sharpe" if metric is None else "custom",
    )


@dataclass(frozen=True, eq=False)
class _Winners:
    """Per combination: the winner, its two values, and how many strategies it leaves behind.

    ``below`` counts, per winner value in ascending order, all out-of-sample values up to it.
    """

    best: IntVector
    in_sample: FloatVector
    out_of_sample: FloatVector
    n_smaller: IntVector
    n_equal: IntVector
    below: IntVector


def _blocks(returns: npt.ArrayLike, n_blocks: int) -> tuple[FloatVector, int]:
    """Cut the rows into blocks (S, L, N), dropping the remainder at the start."""
    matrix = parse_matrix("returns", returns)
    n_rows, n_strategies = matrix.shape
    if n_rows < 2 * n_blocks:
        raise InsufficientHistoryError(
            "returns",
            wanted=f"at least {2 * n_blocks} rows, 2 for each of {n_blocks} blocks",
            got=n_rows,
            hint="Use a longer sample or fewer blocks.",
        )
    if np.isnan(matrix).any():
        raise DataError(
            "returns",
            wanted="a return for every strategy in every period",
            got=f"NaN in {int(np.isnan(matrix).any(axis=0).sum())} columns",
            hint="Cut to the common periods; a period without position is a zero return.",
        )
    n_dropped = n_rows % n_blocks
    return matrix[n_dropped:].reshape(n_blocks, -1, n_strategies), n_dropped


def varies_in_blocks(returns: npt.ArrayLike, *, n_blocks: int = 16) -> BoolVector:
    """Tell which strategies have a Sharpe ratio in every half of the blocks.

    Parameters
    ----------
    returns : array-like, shape (T, N)
        Returns per period (fraction), rows in time order, one column per strategy; no NaN.
    n_blocks : int
        Even blocks of :func:`pbo_cscv`.

    Returns
    -------
    ndarray of bool, shape (N,)
        False for a strategy that is constant, at one value, over half of the blocks or more: CSCV
        refuses it, because one choice of blocks leaves nothing that varies.

    Raises
    ------
    ConfigError
        As :func:`n_combinations`.
    DataError, InsufficientHistoryError
        NaN, or fewer than two rows per block.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> idle = np.where(np.arange(40) < 20, 0.0, rng.standard_normal(40))
    >>> varies_in_blocks(np.stack([rng.standard_normal(40), idle], axis=1), n_blocks=4).tolist()
    [True, False]
    """
    n_combinations(n_blocks)
    return _varying(_blocks(returns, n_blocks)[0])


def _varying(blocks: FloatVector) -> BoolVector:
    """Strategies that no choice of half of the blocks finds constant; shape (N,)."""
    low, high = blocks.min(axis=1), blocks.max(axis=1)
    still = low == high
    result = 2 * still.sum(axis=0) < len(blocks)
    for column in np.flatnonzero(~result):
        n_equal = np.unique(low[still[:, column], column], return_counts=True)[1].max()
        result[column] = 2 * n_equal < len(blocks)
    return np.asarray(result, dtype=np.bool_)


def _check_varying(blocks: FloatVector) -> None:
    """Refuse a strategy that is constant over half of the blocks: its Sharpe ratio is undefined."""
    flat = np.flatnonzero(~_varying(blocks)).tolist()
    if flat:
        raise DataError(
            "returns",
            wanted=f"strategies that vary within every {len(blocks) // 2} of {len(blocks)} blocks",
            got=f"constant columns {flat[:10]}",
            hint="Leave out strategies that hardly ever trade, or pass another metric.",
        )


def _sharpe_winners(blocks: FloatVector, chosen: IntVector) -> _Winners:
    """Winners by Sharpe ratio, from block moments."""
    means = blocks.mean(axis=1)
    squares = ((blocks - means[:, None, :]) ** 2).sum(axis=1)
    best, inside, outside, smaller, equal = _winners_kernel(means, squares, chosen, blocks.shape[1])
    edges = np.sort(outside)
    counts = _below_kernel(means, squares, chosen, blocks.shape[1], edges)
    return _Winners(best, inside, outside, smaller, equal, np.cumsum(counts))


def _metric_winners(blocks: FloatVector, chosen: IntVector, metric: Metric) -> _Winners:
    """Winners by any metric: every sample is put together in time order."""
    inside = np.empty((len(chosen), blocks.shape[2]))
    outside = np.empty_like(inside)
    for number, members in enumerate(chosen):
        others = np.setdiff1d(np.arange(len(blocks)), members)
        inside[number] = metric(np.concatenate(blocks[members]))
        outside[number] = metric(np.concatenate(blocks[others]))
    n_bad = int((~np.isfinite(inside)).sum() + (~np.isfinite(outside)).sum())
    if n_bad:
        raise DataError(
            "metric",
            wanted="a finite value for every strategy in every sample",
            got=f"{n_bad} values that are NaN or infinite",
            hint="Leave out strategies for which the metric is undefined.",
        )
    best = inside.argmax(axis=1)
    rows = np.arange(len(chosen))
    value = outside[rows, best]
    edges = np.sort(value)
    places = np.searchsorted(edges, outside.ravel(), side="left")
    return _Winners(
        best,
        inside[rows, best],
        value,
        (outside < value[:, None]).sum(axis=1),
        (outside == value[:, None]).sum(axis=1),
        np.cumsum(np.bincount(places, minlength=len(edges) + 1)[:-1]),
    )


def _line(x: FloatVector, y: FloatVector) -> tuple[float, float]:
    """Slope and intercept of y on x; NaN where x does not vary."""
    spread = x - x.mean()
    total = float(spread @ spread)
    if x.min() == x.max() or total == 0.0:
        return float("nan"), float("nan")
    slope = float(spread @ y) / total
    return slope, float(y.mean() - slope * x.mean())


def _dominance_gap(values: FloatVector, below: IntVector, n_strategies: int) -> float:
    """Largest excess of the winners' distribution function over that of all strategies.

    It is reached at a jump of the winners' function, that is at one of their values.
    """
    edges = np.sort(values)
    winners = np.searchsorted(edges, edges, side="right") / len(edges)
    last_of_ties = np.searchsorted(edges, edges, side="right") - 1
    everyone = below[last_of_ties] / (len(edges) * n_strategies)
    return float((winners - everyone).max())


@njit(cache=True, nogil=True, error_model="numpy")
def _half_sharpe(means: Any, squares: Any, members: Any, length: Any, out: Any) -> None:
    """Sharpe ratio of every strategy over some blocks, summed in block order."""
    n_members, n_columns = len(members), means.shape[1]
    total = np.zeros(n_columns)
    deviations = np.zeros(n_columns)
    for b in members:
        for j in range(n_columns):
            total[j] += means[b, j]
    for j in range(n_columns):
        total[j] /= n_members
    for b in members:
        for j in range(n_columns):
            gap = means[b, j] - total[j]
            deviations[j] += squares[b, j] + length * gap * gap
    for j in range(n_columns):
        out[j] = total[j] / np.sqrt(deviations[j] / (n_members * length - 1))


@njit(cache=True, nogil=True, error_model="numpy")
def _winners_kernel(means: Any, squares: Any, chosen: Any, length: Any) -> Any:
    n_chosen, n_columns = len(chosen), means.shape[1]
    best = np.empty(n_chosen, np.int64)
    inside, outside = np.empty(n_chosen), np.empty(n_chosen)
    n_smaller, n_equal = np.empty(n_chosen, np.int64), np.empty(n_chosen, np.int64)
    halves = np.empty((2, n_columns))
    for c in range(n_chosen // 2):
        # In lexicographic order the complement of combination c is the c-th from the end.
        pair = (c, n_chosen - 1 - c)
        for side in range(2):
            _half_sharpe(means, squares, chosen[pair[side]], length, halves[side])
        for side in range(2):
            judged = halves[1 - side]
            winner = np.argmax(halves[side])
            value = judged[winner]
            smaller, equal = 0, 0
            for j in range(n_columns):
                smaller += judged[j] < value
                equal += judged[j] == value
            place = pair[side]
            best[place], inside[place], outside[place] = winner, halves[side, winner], value
            n_smaller[place], n_equal[place] = smaller, equal
    return best, inside, outside, n_smaller, n_equal


@njit(cache=True, nogil=True, error_model="numpy")
def _below_kernel(means: Any, squares: Any, chosen: Any, length: Any, edges: Any) -> Any:
    """Count all out-of-sample values by the first edge that is not below them."""
    counts = np.zeros(len(edges) + 1, np.int64)
    values = np.empty(means.shape[1])
    # Every half of the blocks is the out-of-sample part of exactly one combination.
    for c in range(len(chosen)):
        _half_sharpe(means, squares, chosen[c], length, values)
        for value in values:
            counts[np.searchsorted(edges, value)] += 1
    return counts[:-1]
