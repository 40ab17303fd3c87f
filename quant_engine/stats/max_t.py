"""Max-T: which of many strategies earn more than nothing, all tried ones counted.

Contract: the joint null is drawn by flipping the signs of whole blocks of days, the same blocks for
every strategy, so correlation between strategies, fat tails and dependence within a block stay as
they are. The statistic is self-normalised, ``sum of block sums / sqrt(sum of squared block sums)``;
its denominator does not change under flips. The test is exact for a single maximum where block
sums are symmetric about zero, and step-down over the family.

Every strategy that was tried has to be a column. A family with the losers left out is not the
family that was searched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import (
    ConfigError,
    DataError,
    EmptyDataError,
    InsufficientObservationError,
)
from quant_engine.stats.checks import parse_matrix
from quant_engine.stats.step_down import StepDown, check_resolution

__all__ = ["MaxTResult", "block_sign_flip_statistics", "max_t"]

DRAWS_PER_PART = 512
"""Draws computed at once: the memory of one part, not of all draws."""


@dataclass(frozen=True, eq=False)
class MaxTResult:
    """Max-T of a family of strategies.

    Parameters
    ----------
    statistics : ndarray of float64, shape (N,)
        Self-normalised statistics; about normal under the null.
    p_values : ndarray of float64, shape (N,)
        Step-down adjusted one-sided probabilities: family-wise error rate.
    p_single_step : ndarray of float64, shape (N,)
        Each statistic against the maximum of all strategies.
    is_significant : ndarray of bool, shape (N,)
        ``p_values <= alpha``.
    critical_value : float
        What a statistic has to exceed for a single-step p-value of at most alpha.
    best : int
        Column of the largest statistic, the first of ties.
    alpha : float
        Level.
    n_strategies, n_sessions, n_blocks, block_sessions, n_draws, seed : int
        How it was computed.

    Examples
    --------
    >>> pnl = np.random.default_rng(0).normal(0.1, 1.0, (400, 2))
    >>> max_t(pnl, seed=1).n_blocks
    20
    """

    statistics: FloatVector
    p_values: FloatVector
    p_single_step: FloatVector
    is_significant: npt.NDArray[np.bool_]
    critical_value: float
    best: int
    alpha: float
    n_strategies: int
    n_sessions: int
    n_blocks: int
    block_sessions: int
    n_draws: int
    seed: int


def block_sign_flip_statistics(pnl: npt.ArrayLike, *, block_sessions: int = 20) -> FloatVector:
    """Self-normalised statistics of strategies, ``S = sum_b s_b / sqrt(sum_b s_b^2)``.

    Parameters
    ----------
    pnl : array-like, shape (T, N)
        Net profit per session, any unit per strategy, rows in time order; no NaN.
    block_sessions : int
        Sessions per block; the last block holds what is left over.

    Returns
    -------
    ndarray of float64, shape (N,)
        Between ``-sqrt(n_blocks)`` and ``sqrt(n_blocks)``.

    Raises
    ------
    ConfigError, DataError, EmptyDataError
        As :func:`max_t`.

    Notes
    -----
    Source: the self-normalised sum of de la Peña, Lai and Shao (2009), "Self-Normalized
    Processes"; conditional on the absolute block sums its null distribution is that of the signs.

    Examples
    --------
    >>> block_sign_flip_statistics([[1.0], [2.0], [-1.0], [3.0]], block_sessions=2).round(4)
    array([1.3868])
    """
    sums = _block_sums(pnl, block_sessions)
    return np.asarray(_normalised(sums).sum(axis=0), dtype=np.float64)


def max_t(
    pnl: npt.ArrayLike,
    *,
    seed: int,
    alpha: float = 0.025,
    block_sessions: int = 20,
    n_draws: int = 4_999,
) -> MaxTResult:
    """Test by block sign-flips which strategies earn more than nothing.

    Parameters
    ----------
    pnl : array-like, shape (T, N)
        Net profit or return per session, rows in time order, one column for *every* strategy that
        was tried. NaN is refused: strategies must cover the same sessions, and a session without
        position is a zero. (A strategy that stops after losses would not be symmetric.)
    seed : int
        Seed of the signs.
    alpha : float
        Family-wise level, one-sided. 0.025 with blocks of 20 sessions is the shipped gate.
    block_sessions : int
        Sessions per block, longer than the dependence of profits; the last block holds what is
        left over.
    n_draws : int
        Sign vectors. A level below ``1 / (n_draws + 1)`` is refused, because nothing could pass.

    Returns
    -------
    MaxTResult

    Raises
    ------
    ConfigError
        `alpha` outside (0, 1), too few draws for it, or blocks below 1 session.
    EmptyDataError
        No strategy.
    InsufficientObservationError
        So few blocks that ``2^-n_blocks > alpha``: not even gains in every block could pass.
    DataError
        NaN or infinity, or a strategy whose block sums are all zero.

    Notes
    -----
    ``p = (1 + #{draws that reach the statistic}) / (1 + n_draws)``, which is at most alpha with a
    probability of at most alpha for every number of draws (Phipson and Smyth 2010). Step-down:
    Westfall and Young (1993), Romano and Wolf (2005). Sign-flips with a self-normalised statistic:
    Canay, Romano and Shaikh (2017), "Randomization tests under an approximate symmetry
    assumption".

    Examples
    --------
    >>> rng = np.random.default_rng(4)
    >>> pnl = rng.standard_normal((1000, 5))
    >>> pnl[:, 2] += 0.15
    >>> result = max_t(pnl, seed=0, n_draws=999)
    >>> result.best, result.is_significant.tolist()
    (2, [False, False, True, False, False])
    """
    check_resolution(alpha, n_draws=n_draws)
    sums = _block_sums(pnl, block_sessions)
    n_blocks, n_strategies = sums.shape
    if 2.0**-n_blocks > alpha:
        raise InsufficientObservationError(
            "pnl",
            wanted=f"at least {int(np.ceil(-np.log2(alpha)))} blocks for a level of {alpha:.3g}",
            got=f"{n_blocks} blocks of {block_sessions} sessions",
            hint="Wait for more sessions: with so few sign patterns nothing could pass.",
        )
    scaled = _normalised(sums)
    statistics = np.asarray(scaled.sum(axis=0), dtype=np.float64)
    counter = StepDown(statistics)
    ordered = np.ascontiguousarray(scaled[:, counter.order])
    rng = np.random.default_rng(seed)
    for start in range(0, n_draws, DRAWS_PER_PART):
        n_part = min(DRAWS_PER_PART, n_draws - start)
        signs = rng.integers(0, 2, (n_part, n_blocks), dtype=np.int8) * 2.0 - 1.0
        counter.add(signs @ ordered)
    result = counter.result()
    return MaxTResult(
        statistics=statistics,
        p_values=result.p_values,
        p_single_step=result.p_single_step,
        is_significant=result.p_values <= alpha,
        critical_value=result.critical_value(alpha),
        best=int(statistics.argmax()),
        alpha=alpha,
        n_strategies=n_strategies,
        n_sessions=np.shape(pnl)[0],
        n_blocks=n_blocks,
        block_sessions=block_sessions,
        n_draws=n_draws,
        seed=seed,
    )


def _block_sums(pnl: npt.ArrayLike, block_sessions: int) -> FloatVector:
    """Profit per block and strategy, shape (n_blocks, N)."""
    matrix = parse_matrix("pnl", pnl)
    if block_sessions < 1:
        raise ConfigError(
            "block_sessions", wanted="at least 1", got=block_sessions, hint="Use 20, about a month."
        )
    if matrix.size == 0:
        raise EmptyDataError(
            "pnl",
            wanted="at least one session and one strategy",
            got=f"shape {matrix.shape}",
            hint="Pass the profits of every strategy that was tried.",
        )
    if np.isnan(matrix).any():
        raise DataError(
            "pnl",
            wanted="a profit for every strategy in every session",
            got=f"NaN in {int(np.isnan(matrix).any(axis=0).sum())} columns",
            hint="Cut to the common sessions; a session without position is a zero.",
        )
    return np.asarray(
        np.add.reduceat(matrix, np.arange(0, len(matrix), block_sessions), axis=0),
        dtype=np.float64,
    )


def _normalised(sums: FloatVector) -> FloatVector:
    """Block sums over the root of their sum of squares, which no flip of signs changes."""
    scale = np.abs(sums).max(axis=0)
    if not (scale > 0.0).all():
        raise DataError(
            "pnl",
            wanted="strategies that earned or lost something",
            got=f"only zero block sums in columns {np.flatnonzero(scale == 0.0)[:10].tolist()}",
            hint="Leave out what never traded: it can neither pass nor change the maximum.",
        )
    # Divided by the largest first, so that squares neither overflow nor vanish.
    ratios = sums / scale
    return np.asarray(ratios / np.sqrt((ratios**2).sum(axis=0)), dtype=np.float64)
