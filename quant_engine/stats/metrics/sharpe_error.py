"""Sampling error of a Sharpe ratio: standard errors and confidence intervals by named method.

Contract: ratios, skew and kurtosis are per period and population moments; kurtosis is plain
(normal = 3). An interval is about ``value``, annualised, and names its method, lags and block.

1. ``lo_iid``: ``(1 + s^2 / 2) / n``, independent normal returns (Lo 2002).
2. ``opdyke``: ``(1 - g3 s + (g4 - 1) s^2 / 4) / n``, independent returns of any shape (Mertens
   2002; Opdyke 2007; Bailey and Lopez de Prado 2012). The formula of both is that of
   `quant_engine.stats.sharpe_inference.sharpe_std_error`.
3. ``lo_hac``: any stationary returns, by the delta method with a Bartlett long-run variance (Lo
   2002, appendix A). The default: it needs the least to be true.
4. ``lo_eta``: the same for the ratio annualised with the sample's autocorrelations,
   ``eta(q) s`` instead of ``sqrt(q) s`` (Lo 2002, equation 20).
5. ``block_bootstrap``: quantiles of the ratio over circular block resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt
from numba import njit
from pydantic import Field
from scipy.special import ndtri

from quant_engine.core.arrays import FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.bootstrap import BootstrapResult, optimal_block_length
from quant_engine.stats.checks import parse_vector
from quant_engine.stats.hac import long_run_variance, newey_west_lags
from quant_engine.stats.metrics.moments import moments, standard_deviation
from quant_engine.stats.sharpe_inference import NORMAL_SHAPE, ReturnShape, sharpe_std_error

__all__ = [
    "IntervalMethod",
    "SharpeEstimate",
    "SharpeInterval",
    "SharpeIntervalConfig",
    "estimate_sharpe",
    "lo_annualisation",
    "sharpe_interval",
]

IntervalMethod = Literal["lo_iid", "opdyke", "lo_hac", "lo_eta", "block_bootstrap"]
SharpeStatus = Literal["ok", "too_few", "no_variation"]

FEWEST_FOR_AUTOMATIC_BLOCK = 9
"""Observations that the automatic block length needs."""

LEAST_SPREAD = 1e-6
"""Spread of a resample, relative to the sample's, below which it is rounding and no risk."""


class SharpeIntervalConfig(FrozenConfig):
    """How the error of a Sharpe ratio is found.

    Parameters
    ----------
    method : {"lo_hac", "lo_iid", "opdyke", "lo_eta", "block_bootstrap"}
        Named method, see `quant_engine.stats.metrics.sharpe_error`.
    confidence : float
        Coverage of the two-sided interval.
    lags : int, optional
        Bartlett lags of ``lo_hac`` and ``lo_eta``, and the autocorrelations that eta uses;
        without it floor(4 (n / 100)^(2/9)).
    block : int, optional
        Block length of the bootstrap; without it that of Politis and White (2004).
    n_draws : int
        Resamples of the bootstrap.
    seed : int, optional
        Seed of the bootstrap, which has no default.

    Examples
    --------
    >>> SharpeIntervalConfig(method="block_bootstrap", seed=1).n_draws
    10000
    """

    method: IntervalMethod = "lo_hac"
    confidence: float = Field(default=0.95, gt=0.0, lt=1.0)
    lags: int | None = Field(default=None, ge=0)
    block: int | None = Field(default=None, ge=1)
    n_draws: int = Field(default=10_000, ge=100)
    seed: int | None = None


DEFAULT_INTERVAL = SharpeIntervalConfig()


@dataclass(frozen=True)
class SharpeInterval:
    """A Sharpe ratio with its error, annualised.

    Parameters
    ----------
    value : float
        The ratio that the interval is about.
    std_error : float
        Standard error; of the bootstrap: standard deviation of the draws.
    ci_low, ci_high : float
        Two-sided interval: normal, or quantiles of the draws.
    method : str
        How the error was found.
    confidence : float
        Coverage that the interval aims at.
    n_obs : int
        Observed periods.
    annual_factor : float
        What the ratio per period was multiplied by: ``sqrt(periods_per_year)``, or eta.
    lags : int or None
        Bartlett lags, where the method has them.
    block : int or None
        Block length, where the method has one.
    n_draws : int or None
        Resamples that have a ratio, where the method resamples.

    Examples
    --------
    >>> config = SharpeIntervalConfig(method="lo_iid")
    >>> sharpe_interval([0.01, -0.005, 0.002], periods_per_year=252, config=config).method
    'lo_iid'
    """

    value: float
    std_error: float
    ci_low: float
    ci_high: float
    method: IntervalMethod
    confidence: float
    n_obs: int
    annual_factor: float
    lags: int | None = None
    block: int | None = None
    n_draws: int | None = None


@dataclass(frozen=True, eq=False)
class SharpeEstimate:
    """A Sharpe ratio per period and what it was computed from.

    Parameters
    ----------
    ratio : float
        ``mean / used spread``; NaN unless ``status`` is ``"ok"``.
    status : str
        ``"ok"``, ``"too_few"`` (fewer than 2 observations) or ``"no_variation"``.
    excess : ndarray of float64, shape (T,)
        Returns minus the riskless return; NaN = not observed.
    n_obs : int
        Observed periods.
    spread : float
        Standard deviation that was divided by: the sample's, or the floor.
    ddof : int
        Of the standard deviation.
    vol_floor_per_period : float
        Smallest standard deviation allowed (fraction per period).
    is_floored : bool
        Whether the floor was used.

    Examples
    --------
    >>> estimate_sharpe([0.01]).status
    'too_few'
    """

    ratio: float
    status: SharpeStatus
    excess: FloatVector
    n_obs: int
    spread: float
    ddof: int
    vol_floor_per_period: float
    is_floored: bool


def estimate_sharpe(
    returns: npt.ArrayLike,
    *,
    rf_per_period: float = 0.0,
    ddof: int = 1,
    vol_floor_per_period: float = 0.0,
) -> SharpeEstimate:
    """Sharpe ratio per period, ``mean(r - rf) / max(std(r, ddof), floor)``.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period in time order; NaN = not observed, left out.
    rf_per_period : float
        Riskless return per period (fraction).
    ddof : int
        1 for the sample standard deviation, 0 for the population one.
    vol_floor_per_period : float
        Smallest standard deviation used (fraction per period, 0 = no floor).

    Returns
    -------
    SharpeEstimate
        With a named status where there is no ratio.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.
    ConfigError
        A negative floor.

    Examples
    --------
    >>> round(estimate_sharpe([0.01, -0.02, 0.015, 0.0, 0.005]).ratio, 4)
    0.148
    """
    if not vol_floor_per_period >= 0.0:
        raise ConfigError(
            "vol_floor_per_period",
            wanted="at least 0",
            got=vol_floor_per_period,
            hint="0 means no floor.",
        )
    excess = parse_vector("returns", returns) - rf_per_period
    observed = excess[~np.isnan(excess)]
    n_obs = len(observed)
    own = standard_deviation(observed, ddof=ddof)
    is_floored = bool(n_obs >= 2 and own < vol_floor_per_period)
    spread = vol_floor_per_period if is_floored else own
    status: SharpeStatus = "ok"
    if n_obs < 2:
        status = "too_few"
    elif not spread > 0.0:
        status = "no_variation"
    return SharpeEstimate(
        ratio=float(observed.mean()) / spread if status == "ok" else float("nan"),
        status=status,
        excess=excess,
        n_obs=n_obs,
        spread=spread,
        ddof=ddof,
        vol_floor_per_period=vol_floor_per_period,
        is_floored=is_floored,
    )


def lo_annualisation(autocorrelations: npt.ArrayLike, *, q: int) -> float:
    """Factor from a ratio per period to one per q periods under serial correlation.

    ``eta(q) = q / sqrt(q + 2 sum_{k=1..q-1} (q - k) rho_k)`` (Lo 2002, equation 20); ``sqrt(q)``
    without autocorrelation, less with a positive one.

    Parameters
    ----------
    autocorrelations : array-like, shape (K,)
        rho_1 to rho_K; those beyond q - 1 are not needed, and missing ones count as 0.
    q : int
        Periods to aggregate, for instance 12 from months to years.

    Returns
    -------
    float
        Factor.

    Raises
    ------
    ConfigError
        ``q`` below 1.
    DataError
        NaN, or autocorrelations that give the aggregate no positive variance.

    Examples
    --------
    >>> round(lo_annualisation(0.2 ** np.arange(1, 12), q=12), 3)
    2.879
    """
    if q < 1:
        raise ConfigError("q", wanted="at least 1", got=q, hint="Pass the periods of a year.")
    rho = parse_vector("autocorrelations", autocorrelations)[: q - 1]
    inside = q + 2.0 * float((q - np.arange(1, len(rho) + 1)) @ rho)
    if not inside > 0.0:
        raise DataError(
            "autocorrelations",
            wanted=f"a positive variance of the sum of {q} periods",
            got=f"{inside:.4g} times the variance of one",
            hint="Estimate fewer autocorrelations: distant ones are mostly noise.",
        )
    return q / sqrt(inside)


def sharpe_interval(
    returns: npt.ArrayLike,
    *,
    periods_per_year: float,
    rf_per_period: float = 0.0,
    ddof: int = 1,
    vol_floor_per_period: float = 0.0,
    config: SharpeIntervalConfig = DEFAULT_INTERVAL,
) -> SharpeInterval:
    """Confidence interval of a Sharpe ratio by a named method.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period in time order; NaN = not observed: it is left out and keeps its
        place in time.
    periods_per_year : float
        Annualisation; a whole number for ``lo_eta``.
    rf_per_period : float
        Riskless return per period (fraction).
    ddof : int
        1 for the sample standard deviation, 0 for the population one.
    vol_floor_per_period : float
        Smallest standard deviation used (fraction per period, 0 = no floor).
    config : SharpeIntervalConfig
        Method, coverage, lags, block and seed.

    Returns
    -------
    SharpeInterval
        Annualised.

    Raises
    ------
    InsufficientHistoryError
        Fewer than 2 observations, or than 3 for ``lo_iid`` and ``opdyke``.
    DataError
        No variation, or not a finite one-dimensional series.
    ConfigError
        A bootstrap without a seed, a block longer than the series, lags not smaller than its
        length, or ``lo_eta`` with a floor or a broken year.

    Notes
    -----
    Under ``lo_hac`` the influence of one period on the ratio is ``z - s (z^2 - 1) / 2`` with
    ``z = (r - mean) / std``; the Bartlett long-run variance of these numbers over n is the
    variance of s. Where the floor is used the ratio is a mean divided by a constant, and only the
    error of the mean remains. The bootstrap follows the rule of
    `quant_engine.stats.bootstrap.circular_indices` and adds whole blocks by running sums.

    Examples
    --------
    >>> returns = np.tile([0.01, -0.02, 0.015, 0.0, 0.005, -0.004], 20)
    >>> for method in ("lo_iid", "opdyke", "lo_hac"):
    ...     config = SharpeIntervalConfig(method=method)
    ...     interval = sharpe_interval(returns, periods_per_year=252, config=config)
    ...     print(f"{method} {interval.value:.2f} +- {interval.std_error:.2f}")
    lo_iid 1.40 +- 1.45
    opdyke 1.40 +- 1.49
    lo_hac 1.40 +- 0.66
    """
    estimate = estimate_sharpe(
        returns,
        rf_per_period=rf_per_period,
        ddof=ddof,
        vol_floor_per_period=vol_floor_per_period,
    )
    if estimate.status == "too_few":
        raise InsufficientHistoryError(
            "returns", wanted="at least 2 observations", got=estimate.n_obs, hint="Wait for more."
        )
    if estimate.status == "no_variation":
        raise DataError(
            "returns",
            wanted="returns that vary",
            got=f"{estimate.n_obs} equal values",
            hint="A ratio over no risk is undefined; set vol_floor_per_period to define it.",
        )
    return interval_of(estimate, periods_per_year=periods_per_year, config=config)


def interval_of(
    estimate: SharpeEstimate, *, periods_per_year: float, config: SharpeIntervalConfig
) -> SharpeInterval:
    """Interval of an estimate whose status is ``"ok"``; see :func:`sharpe_interval`.

    Parameters
    ----------
    estimate : SharpeEstimate
        With a ratio.
    periods_per_year : float
        Annualisation.
    config : SharpeIntervalConfig
        Method and its settings.

    Returns
    -------
    SharpeInterval
        Annualised.

    Examples
    --------
    >>> estimate = estimate_sharpe([0.01, -0.005, 0.002])
    >>> interval_of(estimate, periods_per_year=252, config=DEFAULT_INTERVAL).n_obs
    3
    """
    if config.method == "block_bootstrap":
        return _bootstrap_interval(estimate, periods_per_year, config)
    factor, lags = sqrt(periods_per_year), None
    if config.method in ("lo_hac", "lo_eta"):
        lags = config.lags
        if lags is None:
            lags = min(newey_west_lags(estimate.n_obs), len(estimate.excess) - 1)
    if config.method == "lo_eta":
        factor, error = _eta_error(estimate, periods_per_year, lags or 0)
    elif lags is not None:
        error = _hac_error(estimate, lags) * factor
    else:
        error = _moment_error(estimate, config.method) * factor
    value = estimate.ratio * factor
    half_width = float(ndtri(0.5 + config.confidence / 2.0)) * error
    return SharpeInterval(
        value=value,
        std_error=error,
        ci_low=value - half_width,
        ci_high=value + half_width,
        method=config.method,
        confidence=config.confidence,
        n_obs=estimate.n_obs,
        annual_factor=factor,
        lags=lags,
    )


def _moment_error(estimate: SharpeEstimate, method: IntervalMethod) -> float:
    """Error of independent returns, per period."""
    shape = moments(estimate.excess, ddof=estimate.ddof)
    if estimate.is_floored:
        return shape.std / estimate.spread / sqrt(estimate.n_obs)
    of_returns = ReturnShape(skew=shape.skew, kurtosis_pearson=shape.kurtosis)
    chosen = NORMAL_SHAPE if method == "lo_iid" else of_returns
    return float(sharpe_std_error(estimate.ratio, n_obs=estimate.n_obs, shape=chosen))


def _hac_error(estimate: SharpeEstimate, lags: int) -> float:
    """Error by the influence function of Lo's GMM case, per period."""
    observed = estimate.excess[~np.isnan(estimate.excess)]
    deviation = estimate.excess - observed.mean()
    if estimate.is_floored:
        influence = deviation / estimate.spread
    else:
        z = deviation / standard_deviation(observed, ddof=0)
        influence = z - estimate.ratio * (z * z - 1.0) / 2.0
    return sqrt(max(long_run_variance(influence, lags=lags), 0.0) / estimate.n_obs)


def _eta_error(estimate: SharpeEstimate, periods_per_year: float, lags: int) -> tuple[float, float]:
    """Annual factor eta(q) and the annual error of the ratio, autocorrelations estimated too.

    The ratio of q periods is ``q m V^(-1/2)`` with ``V = q g_0 + 2 sum (q - k) g_k``; its
    influence function has one term for the mean and one for each autocovariance.
    """
    q = int(periods_per_year)
    if q != periods_per_year or estimate.is_floored:
        raise ConfigError(
            "config",
            wanted="a whole number of periods per year and no volatility floor for lo_eta",
            got=f"{periods_per_year} periods, floor used: {estimate.is_floored}",
            hint="Use method 'lo_hac'.",
        )
    observed = ~np.isnan(estimate.excess)
    mean = float(estimate.excess[observed].mean())
    deviation = np.where(observed, estimate.excess - mean, 0.0)
    n_obs = estimate.n_obs
    variance = float(deviation @ deviation) / n_obs
    n_lags = min(lags, q - 1, len(deviation) - 1)
    products = [
        np.concatenate([np.zeros(k), deviation[k:] * deviation[: len(deviation) - k]])
        for k in range(1, n_lags + 1)
    ]
    covariances = np.array([float(product.sum()) / n_obs for product in products])
    eta = lo_annualisation(covariances / variance, q=q)
    aggregate = (q / eta) ** 2 * variance
    of_variance = q * (deviation**2 - variance)
    for k, (product, covariance) in enumerate(zip(products, covariances, strict=True), start=1):
        of_variance += 2.0 * (q - k) * (product - covariance)
    influence = q * (deviation - mean * of_variance / (2.0 * aggregate)) / sqrt(aggregate)
    influence[~observed] = np.nan
    return eta, sqrt(max(long_run_variance(influence, lags=lags), 0.0) / n_obs)


def _bootstrap_interval(
    estimate: SharpeEstimate, periods_per_year: float, config: SharpeIntervalConfig
) -> SharpeInterval:
    """Percentile interval over circular block resamples."""
    if config.seed is None:
        raise ConfigError(
            "seed", wanted="a whole number", got=None, hint="Randomness is always asked for."
        )
    n = len(estimate.excess)
    block = config.block or _automatic_block(estimate)
    if block > n:
        raise ConfigError(
            "block", wanted=f"at most {n}, the length of the series", got=block, hint="Use 20."
        )
    rng = np.random.default_rng(config.seed)
    starts = rng.integers(0, n, size=(config.n_draws, -(-n // block)))
    observed = ~np.isnan(estimate.excess)
    own = standard_deviation(estimate.excess, ddof=0)
    mean = float(estimate.excess[observed].mean())
    # Standardised first, so that running sums of squares lose no digits. A floored constant
    # series has no scale of its own.
    scale = own if own > 0.0 else 1.0
    z = np.where(observed, (estimate.excess - mean) / scale, 0.0)
    wrapped = np.stack([observed, z, z * z])[:, np.arange(n + block) % n]
    sums = np.concatenate([np.zeros((3, 1)), np.cumsum(wrapped, axis=1)], axis=1)
    draws = np.empty(config.n_draws)
    mean_and_floor = np.array([mean, estimate.vol_floor_per_period]) / scale
    _resampled_ratios(sums, starts, n, estimate.ddof, mean_and_floor, draws)
    factor = sqrt(periods_per_year)
    value = estimate.ratio * factor
    known = draws[~np.isnan(draws)] * factor
    if len(known) < 2:
        raise DataError(
            "returns",
            wanted="resamples that vary",
            got=f"{len(known)} of {config.n_draws}",
            hint="Use a shorter block or another method.",
        )
    result = BootstrapResult(estimate=np.asarray(value), draws=known)
    low, high = result.interval(confidence=config.confidence)
    return SharpeInterval(
        value=value,
        std_error=float(result.std_error),
        ci_low=float(low),
        ci_high=float(high),
        method="block_bootstrap",
        confidence=config.confidence,
        n_obs=estimate.n_obs,
        annual_factor=factor,
        block=block,
        n_draws=len(known),
    )


def _automatic_block(estimate: SharpeEstimate) -> int:
    observed = estimate.excess[~np.isnan(estimate.excess)]
    if len(observed) < FEWEST_FOR_AUTOMATIC_BLOCK or observed.min() == observed.max():
        return 1
    return optimal_block_length(observed).circular_whole


@njit(cache=True, nogil=True)
def _resampled_ratios(
    sums: FloatVector,
    starts: npt.NDArray[np.int64],
    n_obs: int,
    ddof: int,
    mean_and_floor: FloatVector,
    out: FloatVector,
) -> None:
    """Ratio of each resample, from running sums of counts, values and squares over the circle."""
    n_draws, n_blocks = starts.shape
    block = sums.shape[1] - 1 - n_obs
    mean, floor = mean_and_floor
    for draw in range(n_draws):
        count, total, squares = 0.0, 0.0, 0.0
        left = n_obs
        for b in range(n_blocks):
            first = starts[draw, b]
            last = first + min(block, left)
            count += sums[0, last] - sums[0, first]
            total += sums[1, last] - sums[1, first]
            squares += sums[2, last] - sums[2, first]
            left -= block
        out[draw] = np.nan
        if count > ddof and count >= 2.0:
            variance = (squares - total * total / count) / (count - ddof)
            spread = max(np.sqrt(max(variance, 0.0)), floor)
            if spread > LEAST_SPREAD:
                out[draw] = (mean + total / count) / spread
