"""Is one backtest or forecast better than another on the same dates.

Contract: both series are of equal length, aligned in time, complete (NaN refused) and per period.
Every test works on pairs, so that what both have in common cancels. Ratios are per period and not
annualised; an estimate is "first minus second".

* ``mean_difference``: Newey-West test of the difference of means.
* ``sharpe_difference``: Ledoit and Wolf (2008), HAC error and studentised block bootstrap.
* ``diebold_mariano``: difference of forecast losses with the correction of Harvey, Leybourne and
  Newbold (1997).
* ``paired_bootstrap``: any statistic, by resampling the pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.bootstrap import (
    BootstrapResult,
    IndexMatrix,
    bootstrap_distribution,
    circular_indices,
)
from quant_engine.stats.checks import check_same_shape, parse_vector
from quant_engine.stats.hac import MeanTest, bartlett_sum, newey_west_mean, student_p_value

__all__ = [
    "DieboldMariano",
    "PairedBootstrap",
    "SharpeDifference",
    "diebold_mariano",
    "mean_difference",
    "paired_bootstrap",
    "sharpe_difference",
]

Kernel = Literal["rectangular", "bartlett"]

CHUNK_VALUES = 2_000_000
"""Resampled pairs held at once by the studentised bootstrap."""


@dataclass(frozen=True)
class SharpeDifference:
    """Two-sided test that two strategies have the same Sharpe ratio.

    Parameters
    ----------
    sharpe_first, sharpe_second : float
        Per period; standard deviation with ddof 0, as in the paper.
    difference : float
        First minus second.
    std_error : float
        HAC standard error of the difference (delta method).
    p_normal : float
        Two-sided p-value of ``difference / std_error`` as a normal number.
    p_bootstrap : float or None
        Two-sided p-value of the studentised circular block bootstrap; None without one.
    n : int
        Pairs.
    lags : int
        Bartlett lags.
    block, n_draws : int
        Block length and bootstrap samples; 0 without a bootstrap.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(0.001, 0.01, 250)
    >>> sharpe_difference(a, a + rng.normal(0.0, 0.001, 250), lags=4).n
    250
    """

    sharpe_first: float
    sharpe_second: float
    difference: float
    std_error: float
    p_normal: float
    p_bootstrap: float | None
    n: int
    lags: int
    block: int
    n_draws: int


@dataclass(frozen=True)
class DieboldMariano:
    """Two-sided test that two forecasts have the same expected loss.

    Parameters
    ----------
    mean_difference : float
        Mean loss of the first minus the second; negative = the first is better.
    dm : float
        Diebold and Mariano's statistic (asymptotically normal).
    hln : float
        The same with the small-sample correction of Harvey, Leybourne and Newbold.
    p_value : float
        Two-sided, of `hln`, Student t with ``n - 1`` degrees of freedom.
    n : int
        Forecasts.
    horizon : int
        Steps ahead; ``horizon - 1`` autocovariances enter.
    kernel : str
        Weights of the autocovariances.

    Examples
    --------
    >>> diebold_mariano([1.0, 2.0, 3.0, 2.0], [2.0, 2.0, 3.5, 3.0], horizon=1).n
    4
    """

    mean_difference: float
    dm: float
    hln: float
    p_value: float
    n: int
    horizon: int
    kernel: str


@dataclass(frozen=True, eq=False)
class PairedBootstrap:
    """Bootstrap test that a statistic is equal for two series.

    Parameters
    ----------
    difference : float
        Statistic of the first minus the second.
    distribution : BootstrapResult
        Differences on the samples.
    p_value : float
        Two-sided: share of samples whose difference is as far from `difference` as that is from
        zero, ``(1 + count) / (1 + draws)``.
    n : int
        Pairs.

    Examples
    --------
    >>> plan = circular_indices(4, block=2, n_draws=9, seed=0)
    >>> paired_bootstrap(
    ...     [1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 2.0, 2.0], lambda x: x.mean(axis=1), indices=plan
    ... ).difference
    1.0
    """

    difference: float
    distribution: BootstrapResult
    p_value: float
    n: int


def mean_difference(
    first: npt.ArrayLike, second: npt.ArrayLike, *, lags: int, small_sample: bool = False
) -> MeanTest:
    """Test that two series have the same mean, pair by pair.

    Parameters
    ----------
    first, second : array-like, shape (T,)
        Returns per period (fractions) in time order; no NaN.
    lags : int
        Bartlett lags of :func:`quant_engine.stats.hac.newey_west_mean`.
    small_sample : bool
        Multiply the variance by n / (n - 1).

    Returns
    -------
    MeanTest
        Of the differences, first minus second.

    Raises
    ------
    DataError
        NaN, infinity, or lengths that differ.
    InsufficientHistoryError
        Fewer than 3 pairs.
    ConfigError
        Lags below 0 or not smaller than the length.

    Examples
    --------
    >>> test = mean_difference([0.02, 0.01, 0.03, 0.0], [0.01, 0.01, 0.01, 0.0], lags=0)
    >>> f"{test.mean:.4f} {test.t:.2f}"
    '0.0075 1.81'
    """
    a, b = _parse_pairs("first", first, "second", second)
    return newey_west_mean(a - b, lags=lags, small_sample=small_sample)


def sharpe_difference(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    lags: int,
    block: int | None = None,
    n_draws: int = 4999,
    seed: int | None = None,
) -> SharpeDifference:
    """Test that two strategies have the same Sharpe ratio (Ledoit and Wolf 2008).

    Parameters
    ----------
    first, second : array-like, shape (T,)
        Excess returns per period (fractions) in time order; no NaN.
    lags : int
        Bartlett lags of the HAC error.
    block : int, optional
        Block length of the studentised bootstrap, below T; without it no bootstrap is made.
    n_draws : int
        Bootstrap samples.
    seed : int, optional
        Seed of the bootstrap; required with `block`.

    Returns
    -------
    SharpeDifference
        Difference, error and p-values.

    Raises
    ------
    DataError
        NaN, infinity, lengths that differ, a series without variation, or two series whose
        difference of ratios has no sampling error (one is a multiple of the other).
    InsufficientHistoryError
        Fewer than 10 pairs, or fewer than 2 blocks.
    ConfigError
        Lags or block outside their range, or a block without seed.

    Notes
    -----
    With ``v = (m1, m2, q1, q2)`` (means and uncentred second moments) and the gradient of
    ``m1 / sqrt(q1 - m1^2) - m2 / sqrt(q2 - m2^2)``, the error is ``sqrt(g' Psi g / T)`` with the
    Bartlett long-run covariance Psi of v. The bootstrap draws circular blocks, studentises each
    sample by the covariance of its own block sums, and compares ``|d* - d| / se*`` with
    ``|d| / se``. The paper's kernel is prewhitened with an
    automatic lag; ours is plain with an explicit one.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> market = rng.normal(0.0, 0.01, 500)
    >>> good = 0.001 + market + rng.normal(0.0, 0.002, 500)
    >>> test = sharpe_difference(good, market, lags=4, block=5, n_draws=499, seed=0)
    >>> f"{test.difference:.3f} {test.std_error:.4f} {test.p_bootstrap:.3f}"
    '0.092 0.0111 0.002'
    """
    a, b = _parse_pairs("first", first, "second", second)
    n_obs = len(a)
    if n_obs < 10:
        raise InsufficientHistoryError("first", wanted="at least 10 pairs", got=n_obs, hint="Wait.")
    if not 0 <= lags < n_obs:
        raise ConfigError(
            "lags", wanted=f"0 <= lags < {n_obs}", got=lags, hint="Use newey_west_lags(n)."
        )
    for name, series in (("first", a), ("second", b)):
        if series.min() == series.max():
            raise DataError(
                name, wanted="returns that vary", got="a constant", hint="It has no Sharpe ratio."
            )
    moments = np.column_stack([a, b, a * a, b * b])
    mean = moments.mean(axis=0)
    ratios, gradient = _sharpe_gradient(mean[None])
    psi = bartlett_sum(moments - mean, lags) / n_obs
    variance = float(gradient[0] @ psi @ gradient[0]) / n_obs
    # Equal or proportional series leave rounding: some 1e-16 of the variance of one ratio.
    if variance <= 1e-14 / n_obs:
        raise DataError(
            "first, second",
            wanted="two different strategies",
            got="the same returns up to a factor",
            hint="Compare a strategy with something else than itself at another leverage.",
        )
    difference = float(ratios[0, 0] - ratios[0, 1])
    std_error = sqrt(variance)
    p_bootstrap = None
    if block is not None:
        indices = _plan(n_obs, block, n_draws, seed)
        p_bootstrap = _studentised_p(
            moments, indices, block, difference, abs(difference) / std_error
        )
    return SharpeDifference(
        sharpe_first=float(ratios[0, 0]),
        sharpe_second=float(ratios[0, 1]),
        difference=difference,
        std_error=std_error,
        p_normal=float(2.0 * ndtr(-abs(difference) / std_error)),
        p_bootstrap=p_bootstrap,
        n=n_obs,
        lags=lags,
        block=0 if block is None else block,
        n_draws=0 if block is None else n_draws,
    )


def diebold_mariano(
    loss_first: npt.ArrayLike,
    loss_second: npt.ArrayLike,
    *,
    horizon: int,
    kernel: Kernel = "rectangular",
) -> DieboldMariano:
    """Test that two forecasts have the same expected loss.

    Parameters
    ----------
    loss_first, loss_second : array-like, shape (T,)
        Loss of each forecast, for instance its squared error, in time order, any unit; no NaN.
    horizon : int
        Steps ahead of the forecasts, at least 1: errors overlap for ``horizon - 1`` steps.
    kernel : {"rectangular", "bartlett"}
        Weights of the autocovariances: 1 (the paper), which can give a negative variance, or
        Bartlett's, which cannot.

    Returns
    -------
    DieboldMariano
        Statistic, corrected statistic and p-value.

    Raises
    ------
    DataError
        NaN, infinity, lengths that differ, equal losses, or a variance that is not positive.
    InsufficientHistoryError
        Fewer than 3 forecasts, or not more than the horizon.
    ConfigError
        A horizon below 1 or an unknown kernel.

    Notes
    -----
    ``DM = mean(d) / sqrt((g_0 + 2 sum_{k<h} w_k g_k) / T)`` (Diebold and Mariano 1995);
    ``HLN = DM sqrt((T + 1 - 2 h + h (h - 1) / T) / T)`` (Harvey, Leybourne and Newbold 1997).

    Examples
    --------
    >>> test = diebold_mariano([1.0, 4.0, 2.0, 3.0, 1.0], [2.0, 4.5, 3.0, 3.0, 2.5], horizon=1)
    >>> f"{test.dm:.3f} {test.hln:.3f} {test.p_value:.3f}"
    '-3.508 -3.138 0.035'
    """
    a, b = _parse_pairs("loss_first", loss_first, "loss_second", loss_second)
    n_obs = len(a)
    if horizon < 1 or kernel not in ("rectangular", "bartlett"):
        raise ConfigError(
            "horizon, kernel",
            wanted="a horizon of at least 1 and 'rectangular' or 'bartlett'",
            got=f"{horizon}, {kernel!r}",
            hint="Use the steps ahead of the forecast and 'rectangular'.",
        )
    if n_obs <= horizon:
        raise InsufficientHistoryError(
            "loss_first", wanted=f"more than {horizon} forecasts", got=n_obs, hint="Wait."
        )
    d = a - b
    deviations = d - d.mean() if d.min() < d.max() else np.zeros(n_obs)
    if kernel == "bartlett":
        total = float(bartlett_sum(deviations[:, None], horizon - 1)[0, 0])
    else:
        covariances = [deviations[k:] @ deviations[:-k] for k in range(1, horizon)]
        total = float(deviations @ deviations + 2.0 * sum(covariances))
    if not total > 0.0:
        raise DataError(
            "loss_first, loss_second",
            wanted="a positive variance of the loss difference",
            got=total / n_obs,
            hint="With kernel='bartlett' only a constant difference has none.",
        )
    mean = float(d.mean())
    dm = mean / (sqrt(total) / n_obs)
    factor = (n_obs + 1.0 - 2.0 * horizon + horizon * (horizon - 1.0) / n_obs) / n_obs
    hln = dm * sqrt(factor)
    return DieboldMariano(
        mean_difference=mean,
        dm=dm,
        hln=hln,
        p_value=float(student_p_value(hln, df=n_obs - 1)),
        n=n_obs,
        horizon=horizon,
        kernel=kernel,
    )


def paired_bootstrap(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    statistic: Callable[[FloatVector], npt.ArrayLike],
    *,
    indices: IndexMatrix,
) -> PairedBootstrap:
    """Test that a statistic is equal for two series, by resampling pairs of observations.

    Parameters
    ----------
    first, second : array-like, shape (T,)
        Series in time order, any unit; no NaN.
    statistic : callable
        From samples of shape (b, T) to one value per sample, shape (b,).
    indices : ndarray of int64, shape (n_draws, T)
        Resampling plan: blocks where the series are serially dependent.

    Returns
    -------
    PairedBootstrap
        Difference, its distribution and p-value.

    Raises
    ------
    DataError
        NaN, infinity, lengths that differ, or a plan that does not fit.
    InsufficientHistoryError
        Fewer than 3 pairs.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(0.0, 1.0, 200), rng.normal(0.0, 1.0, 200)
    >>> plan = circular_indices(200, block=5, n_draws=999, seed=1)
    >>> round(paired_bootstrap(a, b, lambda x: np.median(x, axis=1), indices=plan).p_value, 2)
    0.1
    """
    a, b = _parse_pairs("first", first, "second", second)

    def difference(pairs: FloatVector) -> FloatVector:
        one, other = statistic(pairs[..., 0]), statistic(pairs[..., 1])
        return np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)

    result = bootstrap_distribution(np.column_stack([a, b]), difference, indices=indices)
    observed = float(result.estimate)
    extreme = int((np.abs(result.draws - observed) >= abs(observed)).sum())
    return PairedBootstrap(
        difference=observed,
        distribution=result,
        p_value=(1 + extreme) / (1 + len(result.draws)),
        n=len(a),
    )


def _sharpe_gradient(mean: FloatVector) -> tuple[FloatVector, FloatVector]:
    """Sharpe ratios (R, 2) of moments (R, 4), and the gradient (R, 4) of their difference."""
    m, q = mean[:, :2], mean[:, 2:]
    variance = np.maximum(q - m * m, np.finfo(np.float64).tiny)
    ratios = m / np.sqrt(variance)
    sign = np.array([1.0, -1.0])
    gradient = np.hstack([sign * q / variance**1.5, -0.5 * sign * m / variance**1.5])
    return ratios, gradient


def _plan(n_obs: int, block: int, n_draws: int, seed: int | None) -> IndexMatrix:
    """Circular blocks, of which at least two fit into the series."""
    if seed is None:
        raise ConfigError("seed", wanted="a whole number", got=None, hint="Pass seed with block.")
    indices = circular_indices(n_obs, block=block, n_draws=n_draws, seed=seed)
    if n_obs // block < 2:
        raise InsufficientHistoryError(
            "block", wanted="at least 2 blocks in the series", got=block, hint="Shorten the block."
        )
    return indices


def _studentised_p(
    moments: FloatVector, indices: IndexMatrix, block: int, difference: float, observed: float
) -> float:
    """Share of samples whose studentised difference is at least the observed one."""
    n_obs = len(moments)
    n_blocks = n_obs // block
    extreme = 0
    per_chunk = max(1, CHUNK_VALUES // moments.size)
    for first in range(0, len(indices), per_chunk):
        sample = moments[indices[first : first + per_chunk]]
        mean = sample.mean(axis=1)
        ratios, gradient = _sharpe_gradient(mean)
        # Influence of every observation on the difference, then its sums over blocks.
        influence = np.einsum("rtk,rk->rt", sample - mean[:, None, :], gradient)
        sums = influence[:, : n_blocks * block].reshape(len(sample), n_blocks, block).sum(axis=2)
        std_error = np.sqrt((sums**2).sum(axis=1) / (n_blocks * block) / n_obs)
        distance = np.abs(ratios[:, 0] - ratios[:, 1] - difference)
        extreme += int((distance >= observed * std_error).sum())
    return (1 + extreme) / (1 + len(indices))


def _parse_pairs(
    name: str, values: npt.ArrayLike, other_name: str, other_values: npt.ArrayLike
) -> tuple[FloatVector, FloatVector]:
    """Two complete series of equal length."""
    a, b = parse_vector(name, values), parse_vector(other_name, other_values)
    check_same_shape(name, a, other_name, b)
    n_missing = int((np.isnan(a) | np.isnan(b)).sum())
    if n_missing:
        raise DataError(
            f"{name}, {other_name}",
            wanted="complete pairs",
            got=f"{n_missing} pairs with NaN",
            hint="Compare on the dates that both series have.",
        )
    if len(a) < 3:
        raise InsufficientHistoryError(name, wanted="at least 3 pairs", got=len(a), hint="Wait.")
    return a, b
