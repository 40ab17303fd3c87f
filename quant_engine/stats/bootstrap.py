"""Resampling of a time series: which observations a bootstrap sample holds.

Contract: a resampling plan is an index matrix, int64 of shape (n_draws, n_obs), row = one sample.
It is a pure function of its arguments and of ``seed``; every statistic takes the matrix as an
argument, so that two statistics can be computed on the same samples and a published index matrix
can be used as it is.

1. ``iid_indices`` draws single observations; right for independent observations only.
2. ``moving_indices`` (Kuensch 1989) and ``circular_indices`` (Politis and Romano 1992) draw blocks
   of fixed length; the circular one wraps, so that every observation is equally likely.
3. ``stationary_indices`` (Politis and Romano 1994) draws blocks of geometric length and wraps; the
   samples are stationary, and the choice of the mean length matters less.
4. ``optimal_block_length`` chooses the length; ``bootstrap_distribution`` applies a statistic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.special import ndtri

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import (
    ConfigError,
    DataError,
    InsufficientHistoryError,
    did_you_mean,
)
from quant_engine.stats.checks import check_coverage, parse_vector

__all__ = [
    "BlockLength",
    "BootstrapResult",
    "IndexMatrix",
    "bootstrap_distribution",
    "bootstrap_means",
    "check_indices",
    "circular_indices",
    "iid_indices",
    "measured_block_length",
    "moving_indices",
    "optimal_block_length",
    "stationary_from_draws",
    "stationary_indices",
]

IndexMatrix = npt.NDArray[np.int64]
Interval = Literal["percentile", "basic", "normal"]

CHUNK_VALUES = 4_000_000
"""Values of resampled data held at once (32 MB): memory stays flat in the number of draws."""


def iid_indices(n_obs: int, *, n_draws: int, seed: int) -> IndexMatrix:
    """Draw single observations with replacement (Efron 1979).

    Parameters
    ----------
    n_obs : int
        Length of the series.
    n_draws : int
        Bootstrap samples.
    seed : int
        Seed of the generator.

    Returns
    -------
    ndarray of int64, shape (n_draws, n_obs)
        Positions in the series.

    Raises
    ------
    ConfigError
        A count below 1.

    Examples
    --------
    >>> iid_indices(4, n_draws=2, seed=0)
    array([[3, 2, 2, 1],
           [1, 0, 0, 0]])
    """
    _check_plan(n_obs, n_draws)
    return np.random.default_rng(seed).integers(0, n_obs, size=(n_draws, n_obs))


def moving_indices(n_obs: int, *, block: int, n_draws: int, seed: int) -> IndexMatrix:
    """Draw blocks of fixed length that lie inside the series (Kuensch 1989).

    Observations near the two ends are drawn less often than the others; use
    :func:`circular_indices` where that matters.

    Parameters
    ----------
    n_obs : int
        Length of the series.
    block : int
        Observations per block, from 1 to n_obs; the last block of a sample is cut.
    n_draws : int
        Bootstrap samples.
    seed : int
        Seed of the generator.

    Returns
    -------
    ndarray of int64, shape (n_draws, n_obs)
        Positions in the series.

    Raises
    ------
    ConfigError
        A count below 1, or a block longer than the series.

    Examples
    --------
    >>> moving_indices(6, block=3, n_draws=2, seed=1)
    array([[1, 2, 3, 2, 3, 4],
           [3, 4, 5, 3, 4, 5]])
    """
    _check_plan(n_obs, n_draws)
    _check_block("block", block, n_obs)
    return _fixed_blocks(n_obs, block, n_draws, seed, last_start=n_obs - block)


def circular_indices(n_obs: int, *, block: int, n_draws: int, seed: int) -> IndexMatrix:
    """Draw blocks of fixed length from the series laid in a circle (Politis and Romano 1992).

    Parameters
    ----------
    n_obs : int
        Length of the series.
    block : int
        Observations per block, from 1 to n_obs; the last block of a sample is cut.
    n_draws : int
        Bootstrap samples.
    seed : int
        Seed of the generator.

    Returns
    -------
    ndarray of int64, shape (n_draws, n_obs)
        Positions in the series.

    Raises
    ------
    ConfigError
        A count below 1, or a block longer than the series.

    Examples
    --------
    >>> circular_indices(6, block=3, n_draws=2, seed=1)
    array([[2, 3, 4, 3, 4, 5],
           [4, 5, 0, 5, 0, 1]])
    """
    _check_plan(n_obs, n_draws)
    _check_block("block", block, n_obs)
    return _fixed_blocks(n_obs, block, n_draws, seed, last_start=n_obs - 1)


def stationary_indices(n_obs: int, *, avg_block: float, n_draws: int, seed: int) -> IndexMatrix:
    """Draw blocks of geometric length from the series laid in a circle (stationary bootstrap).

    Parameters
    ----------
    n_obs : int
        Length of the series.
    avg_block : float
        Mean block length in observations, from 1 to n_obs; 1 draws single observations.
    n_draws : int
        Bootstrap samples.
    seed : int
        Seed of the generator.

    Returns
    -------
    ndarray of int64, shape (n_draws, n_obs)
        Positions in the series.

    Raises
    ------
    ConfigError
        A count below 1, or a mean block outside [1, n_obs].

    Notes
    -----
    Politis and Romano (1994). Every position of a sample is uniform on the series whatever the
    block length. The rule is that of :func:`stationary_from_draws`, given one start and one
    uniform number per position.

    Examples
    --------
    >>> stationary_indices(8, avg_block=4.0, n_draws=2, seed=0)
    array([[6, 7, 0, 2, 3, 0, 1, 0],
           [1, 2, 3, 4, 4, 4, 5, 6]])
    """
    _check_plan(n_obs, n_draws)
    _check_block("avg_block", avg_block, n_obs)
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, n_obs, size=(n_draws, n_obs))
    _continue_blocks(starts, rng.random((n_draws, n_obs)), 1.0 / avg_block)
    return starts


def stationary_from_draws(
    starts: npt.ArrayLike, uniforms: npt.ArrayLike, *, avg_block: float
) -> IndexMatrix:
    """Apply the stationary-bootstrap rule to given random numbers.

    Position t begins a new block at ``starts[t]`` when ``uniforms[t] <= 1 / avg_block``; otherwise
    it is the observation after position t - 1, the first one after the last. Position 0 always
    begins a block.

    Parameters
    ----------
    starts : array-like of int, shape (n_obs,) or (n_draws, n_obs)
        Observation at which a block would begin, from 0 to n_obs - 1.
    uniforms : array-like of float, same shape
        Numbers in [0, 1).
    avg_block : float
        Mean block length in observations, from 1 to n_obs.

    Returns
    -------
    ndarray of int64, same shape
        Positions in the series.

    Raises
    ------
    DataError
        Shapes that differ, starts outside the series, or uniforms outside [0, 1].
    ConfigError
        A mean block outside [1, n_obs].

    Examples
    --------
    >>> stationary_from_draws([3, 0, 1, 2], [0.9, 0.8, 0.1, 0.7], avg_block=2.0)
    array([3, 0, 1, 2])
    """
    first = np.atleast_1d(np.asarray(starts))
    draws = np.asarray(uniforms, dtype=np.float64)
    n_obs = first.shape[-1]
    _check_plan(n_obs, 1)
    _check_block("avg_block", avg_block, n_obs)
    in_range = first.dtype.kind in "iu" and ((first >= 0) & (first < n_obs)).all()
    if first.shape != draws.shape or not in_range or not ((draws >= 0.0) & (draws <= 1.0)).all():
        raise DataError(
            "starts, uniforms",
            wanted=f"equal shapes, whole starts from 0 to {n_obs - 1}, uniforms in [0, 1]",
            got=f"shapes {first.shape} and {draws.shape}",
            hint="The last axis is the series; draw one start and one uniform per position.",
        )
    indices = np.array(first, dtype=np.int64, order="C", ndmin=2)
    _continue_blocks(indices, np.ascontiguousarray(np.atleast_2d(draws)), 1.0 / avg_block)
    return indices.reshape(first.shape)


@dataclass(frozen=True)
class BlockLength:
    """Block lengths that minimise the error of the bootstrap variance of a mean.

    Parameters
    ----------
    stationary : float
        Mean length of the stationary bootstrap, observations; below 1 where the series shows no
        dependence, which means blocks of 1.
    circular : float
        Length of the circular and of the moving block bootstrap, observations, not rounded.
    n_obs : int
        Observations used.

    Examples
    --------
    >>> BlockLength(stationary=0.6, circular=0.7, n_obs=100).circular_whole
    1
    """

    stationary: float
    circular: float
    n_obs: int

    @property
    def stationary_usable(self) -> float:
        """Mean length for :func:`stationary_indices`: at least 1."""
        return max(self.stationary, 1.0)

    @property
    def circular_whole(self) -> int:
        """Length for :func:`circular_indices`: rounded up, at least 1."""
        return max(int(np.ceil(self.circular)), 1)


def optimal_block_length(x: npt.ArrayLike) -> BlockLength:
    """Choose the block length of a bootstrap of the mean (Politis and White 2004).

    Parameters
    ----------
    x : array-like, shape (n,)
        Series in time order, any unit; NaN refused, because a gap would join distant values.

    Returns
    -------
    BlockLength
        One length per bootstrap.

    Raises
    ------
    DataError
        NaN, or a series without variation.
    InsufficientHistoryError
        Fewer than 9 observations.

    Notes
    -----
    With autocovariances ``R_k`` (divided by n) and the flat-top weight ``w(s) = min(1, 2 (1-s))``,
    ``G = 2 sum_{k=1..M} w(k/M) k R_k`` and ``S = R_0 + 2 sum_{k=1..M} w(k/M) R_k``, the length is
    ``(2 G^2 / D)^(1/3) n^(1/3)`` with ``D = 2 S^2`` (stationary) or ``4 S^2 / 3`` (circular), and
    at most ``ceil(min(3 sqrt(n), n / 3))``. M is twice the lag after which ``max(5, log10 n)``
    autocorrelations in a row are below ``2 sqrt(log10(n) / n)``. Politis and White (2004) with the
    correction of Patton, Politis and White (2009).

    Examples
    --------
    >>> trend = optimal_block_length(np.sin(np.arange(60.0) / 3.0))
    >>> round(trend.stationary, 2), trend.circular_whole
    (20.0, 20)
    """
    series = parse_vector("x", x)
    n_obs = len(series)
    if n_obs < 9:
        raise InsufficientHistoryError(
            "x", wanted="at least 9 observations", got=n_obs, hint="Choose the block by hand."
        )
    if np.isnan(series).any() or series.min() == series.max():
        raise DataError(
            "x",
            wanted="a series that varies, without NaN",
            got=f"{int(np.isnan(series).sum())} NaN, from {series.min()} to {series.max()}",
            hint="Pass one stretch of time without gaps.",
        )
    covariance, correlation = _autocovariances(series - series.mean(), _most_lags(n_obs))
    last = _last_lag(correlation, n_obs)
    lag = np.arange(1, last + 1)
    weighted = np.minimum(1.0, 2.0 * (1.0 - lag / last)) * covariance[1 : last + 1]
    slope = 2.0 * float((lag * weighted).sum())
    spectrum = float(covariance[0] + 2.0 * weighted.sum())
    longest = float(np.ceil(min(3.0 * np.sqrt(n_obs), n_obs / 3.0)))
    if spectrum == 0.0:
        return BlockLength(longest, longest, n_obs)
    stationary = float(np.cbrt(slope**2 / spectrum**2 * n_obs))
    return BlockLength(
        stationary=min(stationary, longest),
        circular=min(float(np.cbrt(1.5)) * stationary, longest),
        n_obs=n_obs,
    )


@dataclass(frozen=True, eq=False)
class BootstrapResult:
    """A statistic and its bootstrap distribution.

    Parameters
    ----------
    estimate : ndarray of float64, shape (...)
        Statistic of the data itself.
    draws : ndarray of float64, shape (n_draws, ...)
        Statistic of every bootstrap sample.

    Examples
    --------
    >>> plan = iid_indices(5, n_draws=200, seed=0)
    >>> result = bootstrap_distribution(
    ...     [1.0, 2.0, 3.0, 4.0, 5.0], lambda x: x.mean(axis=1), indices=plan
    ... )
    >>> round(float(result.std_error), 2)
    0.64
    """

    estimate: FloatVector
    draws: FloatVector

    @property
    def std_error(self) -> FloatVector:
        """Standard deviation of the draws, ddof 1."""
        return np.asarray(self.draws.std(axis=0, ddof=1))

    @property
    def bias(self) -> FloatVector:
        """Mean of the draws minus the estimate."""
        return np.asarray(self.draws.mean(axis=0) - self.estimate)

    def interval(
        self, *, confidence: float = 0.95, kind: Interval = "percentile"
    ) -> tuple[FloatVector, FloatVector]:
        """Two-sided confidence interval.

        Parameters
        ----------
        confidence : float
            Coverage, strictly between 0 and 1.
        kind : {"percentile", "basic", "normal"}
            Quantiles of the draws; the same reflected about the estimate; or the estimate plus
            and minus normal quantiles times the standard error.

        Returns
        -------
        low, high : ndarray of float64, shape (...)
            Ends of the interval, in the unit of the statistic.

        Raises
        ------
        ConfigError
            A confidence outside (0, 1), or an unknown kind.
        """
        known = ("percentile", "basic", "normal")
        if kind not in known:
            raise ConfigError(
                "kind", wanted="an interval", got=kind, hint=did_you_mean(kind, known)
            )
        tail = (1.0 - check_coverage("confidence", confidence)) / 2.0
        low, high = np.quantile(self.draws, [tail, 1.0 - tail], axis=0)
        if kind == "basic":
            return 2.0 * self.estimate - high, 2.0 * self.estimate - low
        if kind == "normal":
            half = float(ndtri(1.0 - tail)) * self.std_error
            return self.estimate - half, self.estimate + half
        return np.asarray(low), np.asarray(high)


def bootstrap_distribution(
    data: npt.ArrayLike,
    statistic: Callable[[FloatVector], npt.ArrayLike],
    *,
    indices: IndexMatrix,
) -> BootstrapResult:
    """Evaluate a statistic on every sample of a resampling plan.

    Parameters
    ----------
    data : array-like, shape (n_obs,) or (n_obs, k)
        Series in time order, any unit; rows are resampled together. NaN is passed on.
    statistic : callable
        From samples of shape (b, n_obs) or (b, n_obs, k) to values of shape (b, ...): it works on
        a batch of samples at once, for instance ``lambda x: x.mean(axis=1)``.
    indices : ndarray of int64, shape (n_draws, n_obs)
        Resampling plan, for instance of :func:`stationary_indices`.

    Returns
    -------
    BootstrapResult
        Estimate on the data and one value per draw.

    Raises
    ------
    DataError
        A plan that does not fit the data, or a statistic that does not return one value (or
        array) per sample.

    Notes
    -----
    Samples are built in chunks of :data:`CHUNK_VALUES` values. For means use
    :func:`bootstrap_means`, which needs no sample at all.

    Examples
    --------
    >>> plan = circular_indices(6, block=2, n_draws=500, seed=3)
    >>> x = [0.1, 0.3, 0.2, 0.5, 0.4, 0.6]
    >>> result = bootstrap_distribution(x, lambda x: np.median(x, axis=1), indices=plan)
    >>> [round(float(end), 2) for end in result.interval(confidence=0.9)]
    [0.25, 0.45]
    """
    rows = np.ascontiguousarray(data, dtype=np.float64)
    check_indices(indices, len(rows))
    estimate = np.asarray(statistic(rows[None]), dtype=np.float64)
    per_chunk = max(1, CHUNK_VALUES // max(rows.size, 1))
    parts = []
    for first in range(0, len(indices), per_chunk):
        batch = indices[first : first + per_chunk]
        values = np.asarray(statistic(rows[batch]), dtype=np.float64)
        if values.shape != (len(batch), *estimate.shape[1:]):
            raise DataError(
                "statistic",
                wanted=f"a result of shape {(len(batch), *estimate.shape[1:])} for {len(batch)} "
                "samples",
                got=values.shape,
                hint="Reduce over axis 1 (time) and keep axis 0 (samples).",
            )
        parts.append(values)
    return BootstrapResult(estimate=estimate[0], draws=np.concatenate(parts))


def bootstrap_means(data: npt.ArrayLike, indices: IndexMatrix) -> FloatVector:
    """Mean of every bootstrap sample, without building the samples.

    Counting how often each observation is drawn turns all means of all columns into one matrix
    product.

    Parameters
    ----------
    data : array-like, shape (n_obs,) or (n_obs, k)
        Series in time order, any unit; NaN makes the means of its column NaN.
    indices : ndarray of int64, shape (n_draws, n_obs)
        Resampling plan.

    Returns
    -------
    ndarray of float64, shape (n_draws,) or (n_draws, k)
        Means in the unit of the data.

    Raises
    ------
    DataError
        A plan that does not fit the data.

    Examples
    --------
    >>> bootstrap_means([1.0, 2.0, 4.0], np.array([[0, 0, 1], [2, 2, 2]]))
    array([1.33333333, 4.        ])
    """
    rows = np.ascontiguousarray(data, dtype=np.float64)
    check_indices(indices, len(rows))
    means: FloatVector = _draw_counts(np.ascontiguousarray(indices, dtype=np.int64)) @ rows
    means /= len(rows)
    return means


def measured_block_length(indices: IndexMatrix) -> float:
    """Mean length of the blocks that a plan consists of.

    Parameters
    ----------
    indices : ndarray of int64, shape (n_draws, n_obs)
        Resampling plan.

    Returns
    -------
    float
        Steps per step that begins a block, in observations; blocks cut by the end of a sample do
        not make it smaller. Infinity where no sample begins a second block.

    Raises
    ------
    DataError
        Not a plan.

    Examples
    --------
    >>> round(measured_block_length(stationary_indices(500, avg_block=10, n_draws=500, seed=0)), 1)
    10.0
    """
    check_indices(indices, indices.shape[-1])
    follows = (indices[:, :-1] + 1) % indices.shape[1] == indices[:, 1:]
    n_begun = int((~follows).sum())
    return follows.size / n_begun if n_begun else float("inf")


def _fixed_blocks(
    n_obs: int, block: int, n_draws: int, seed: int, *, last_start: int
) -> IndexMatrix:
    """Blocks of fixed length, laid one after the other and cut at the end of the sample."""
    n_blocks = -(-n_obs // block)
    starts = np.random.default_rng(seed).integers(0, last_start + 1, size=(n_draws, n_blocks))
    blocks = (starts[:, :, None] + np.arange(block)) % n_obs
    return np.ascontiguousarray(blocks.reshape(n_draws, n_blocks * block)[:, :n_obs])


@njit(cache=True, nogil=True)
def _continue_blocks(indices: IndexMatrix, uniforms: FloatVector, new_block: float) -> None:
    """Overwrite candidate starts, in place, by the successor of the observation before them."""
    n_draws, n_obs = indices.shape
    for draw in range(n_draws):
        for t in range(1, n_obs):
            if uniforms[draw, t] > new_block:
                following = indices[draw, t - 1] + 1
                indices[draw, t] = 0 if following == n_obs else following


@njit(cache=True, nogil=True)
def _draw_counts(indices: IndexMatrix) -> FloatVector:
    """How often each observation stands in each sample; shape (n_draws, n_obs)."""
    counts = np.zeros(indices.shape)
    for draw in range(indices.shape[0]):
        for t in range(indices.shape[1]):
            counts[draw, indices[draw, t]] += 1.0
    return counts


def _most_lags(n_obs: int) -> int:
    """Largest lag that the rule looks at; it also has to leave products to add up."""
    return min(int(np.ceil(np.sqrt(n_obs))) + _quiet_lags(n_obs), n_obs - 2)


def _quiet_lags(n_obs: int) -> int:
    """Autocorrelations in a row that have to be small."""
    return max(5, int(np.log10(n_obs)))


def _autocovariances(deviations: FloatVector, n_lags: int) -> tuple[FloatVector, FloatVector]:
    """Autocovariances (divided by n) and absolute autocorrelations at lags 0 to n_lags.

    A correlation is scaled by the two stretches that are one observation shorter than those of
    its product; this is how the published numbers come out.
    """
    n_obs = len(deviations)
    covariance, correlation = np.zeros(n_lags + 1), np.zeros(n_lags + 1)
    for lag in range(n_lags + 1):
        late, early = deviations[lag + 1 :], deviations[: n_obs - lag - 1]
        cross = deviations[lag:] @ deviations[: n_obs - lag]
        scale = np.sqrt((late @ late) * (early @ early))
        covariance[lag] = cross / n_obs
        correlation[lag] = abs(cross) / scale if scale > 0.0 else np.inf
    return covariance, correlation


def _last_lag(correlation: FloatVector, n_obs: int) -> int:
    """M: twice the lag after which the series looks uncorrelated, else the largest lag."""
    quiet, n_lags = _quiet_lags(n_obs), len(correlation) - 1
    small = correlation < 2.0 * np.sqrt(np.log10(n_obs) / n_obs)
    for first in range(n_lags - quiet + 1):
        if small[first : first + quiet].all():
            return min(2 * max(first, 1), n_lags)
    return n_lags


def _check_plan(n_obs: int, n_draws: int) -> None:
    for name, count in (("n_obs", n_obs), ("n_draws", n_draws)):
        if count < 1:
            raise ConfigError(name, wanted="at least 1", got=count, hint="Pass a positive count.")


def _check_block(name: str, block: float, n_obs: int) -> None:
    if not 1 <= block <= n_obs:
        raise ConfigError(
            name,
            wanted=f"a block of 1 to {n_obs} observations, the length of the series",
            got=block,
            hint="Use optimal_block_length, or about n^(1/3).",
        )


def check_indices(indices: IndexMatrix, n_obs: int) -> None:
    """Refuse a resampling plan that was not made for a series of this length.

    Parameters
    ----------
    indices : ndarray of int64, shape (n_draws, n_obs)
        Plan.
    n_obs : int
        Length of the series.

    Raises
    ------
    DataError
        Another shape, not whole numbers, or positions outside the series.

    Examples
    --------
    >>> check_indices(iid_indices(4, n_draws=2, seed=0), 4)
    """
    fits = indices.ndim == 2 and indices.size > 0 and indices.dtype.kind in "iu"
    if not fits or indices.shape[1] != n_obs or indices.min() < 0 or indices.max() >= n_obs:
        raise DataError(
            "indices",
            wanted=f"whole numbers from 0 to {n_obs - 1}, shape (n_draws, {n_obs})",
            got=f"shape {indices.shape}, dtype {indices.dtype}",
            hint="Build the plan for the length of this series.",
        )
