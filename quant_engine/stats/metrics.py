"""Return, risk and Sharpe metrics: one formula per name, its convention named in the result.

Contract: returns are simple returns per period (fractions); NaN = the period was not observed and
is left out; infinity is refused. ``periods_per_year`` is always an argument, because the number
of periods in a year is a fact about the series and not about the metric.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, sqrt
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatVector, TimeVector
from quant_engine.core.errors import ConfigError, DataError, did_you_mean
from quant_engine.stats.checks import (
    check_coverage,
    check_same_shape,
    exact_level,
    parse_matrix,
    parse_vector,
)
from quant_engine.stats.inference import long_run_variance, newey_west_lags

__all__ = [
    "SHARPE_PERIODS_PER_YEAR",
    "SharpeResult",
    "TailRisk",
    "annual_return",
    "annual_vol",
    "calmar",
    "daily_sharpe",
    "drawdown_series",
    "hit_rate",
    "max_drawdown",
    "profit_factor",
    "sharpe",
    "sharpe_step_raw",
    "sortino",
    "turnover",
    "var_es",
]

SHARPE_PERIODS_PER_YEAR = {"daily_agg_v1": 365, "session_agg_v1": 252, "sharpe_step_raw": 1}
"""Named Sharpe conventions and the only periods per year each one allows.

``daily_agg_v1``: step returns summed per UTC day, markets that never close. ``session_agg_v1``:
one return per exchange session. ``sharpe_step_raw``: per step and not annualised; a diagnostic
that no gate reads, because it grows with the number of steps per day.
"""

DailyMethod = Literal["daily_agg_v1", "session_agg_v1"]


@dataclass(frozen=True)
class SharpeResult:
    """A Sharpe ratio with its convention, sampling error and the counts it rests on.

    Parameters
    ----------
    value : float
        Annualised ratio; NaN with fewer than 2 observations or without variation.
    method : str
        Convention of the series: a key of :data:`SHARPE_PERIODS_PER_YEAR` or ``"per_period"``.
    n_obs : int
        Periods in the mean and in the standard deviation.
    std_error : float
        Annualised standard error, robust to fat tails, skew and serial correlation.
    ci_low, ci_high : float
        Two-sided normal confidence interval, annualised.
    observation_days : int or None
        Days (or sessions) on which something was observed. Smaller than ``n_obs`` where the
        strategy was running on days without a step. None where periods are not days.
    vol_floor_applied : bool
        True where the standard deviation was raised to the floor.

    Examples
    --------
    >>> sharpe([0.01, -0.005, 0.002], periods_per_year=252, method="session_agg_v1").n_obs
    3
    """

    value: float
    method: str
    n_obs: int
    std_error: float
    ci_low: float
    ci_high: float
    observation_days: int | None
    vol_floor_applied: bool


@dataclass(frozen=True)
class TailRisk:
    """Historical value at risk and expected shortfall of one period.

    Parameters
    ----------
    var : float
        Loss that is not exceeded with probability ``1 - alpha`` (positive = loss, fraction).
    es : float
        Mean loss of the worst ``alpha`` share of periods (positive = loss, fraction).
    alpha : float
        Tail probability.
    n_obs : int
        Observed periods.

    Examples
    --------
    >>> var_es([-0.03, -0.01, 0.0, 0.02], alpha=0.25).es
    0.03
    """

    var: float
    es: float
    alpha: float
    n_obs: int


def sharpe(
    returns: npt.ArrayLike,
    *,
    periods_per_year: float,
    rf_per_period: float = 0.0,
    ddof: int = 1,
    method: str = "per_period",
    vol_floor_per_period: float = 0.0,
    confidence: float = 0.95,
) -> SharpeResult:
    """Sharpe ratio ``sqrt(periods_per_year) * mean(r - rf) / std(r, ddof)`` with its error.

    The standard error is that of Lo (2002, equation 15 and appendix A, the GMM case), by the
    delta method: with ``z = (r - mean) / std`` and per-period ratio s, the influence of one period
    is ``z - s (z^2 - 1) / 2``; its Bartlett long-run variance with floor(4 (n/100)^(2/9)) lags,
    divided by n, is the variance of s. At lag 0 this is ``(1 - g3 s + (g4 - 1) s^2 / 4) / n``
    (Mertens 2002), and ``(1 + s^2 / 2) / n`` for independent normal returns.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period in time order; NaN = not observed, left out.
    periods_per_year : float
        Annualisation, for instance 252 for sessions.
    rf_per_period : float
        Riskless return per period (fraction).
    ddof : int
        1 for the sample standard deviation, 0 for the population one.
    method : str
        Convention of the series, recorded in the result. A name of
        :data:`SHARPE_PERIODS_PER_YEAR` must come with the periods per year it stands for.
    vol_floor_per_period : float
        Smallest standard deviation used (fraction per period, 0 = no floor).
    confidence : float
        Coverage of the interval.

    Returns
    -------
    SharpeResult
        NaN value, error and interval with fewer than 2 observations, or with no variation and no
        floor: a ratio with zero risk is undefined, not infinite.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.
    ConfigError
        Unknown method, or periods per year that contradict it.

    Examples
    --------
    >>> result = sharpe([0.01, -0.02, 0.015, 0.0, 0.005], periods_per_year=252)
    >>> f"{result.value:.3f} +- {result.std_error:.3f}"
    '2.350 +- 4.123'
    """
    series = parse_vector("returns", returns)
    _check_method(method, periods_per_year)
    check_coverage("confidence", confidence)
    excess = series - rf_per_period
    observed = excess[~np.isnan(excess)]
    n_obs = len(observed)
    spread = _std(observed, ddof)
    floored = spread < vol_floor_per_period
    used = vol_floor_per_period if floored else spread
    nan = float("nan")
    ratio = float(observed.mean()) / used if n_obs >= 2 and used > 0.0 else nan
    error = _sharpe_std_error(excess, ratio)
    scale = sqrt(periods_per_year)
    half_width = NormalDist().inv_cdf(0.5 + confidence / 2.0) * error * scale
    return SharpeResult(
        value=ratio * scale,
        method=method,
        n_obs=n_obs,
        std_error=error * scale,
        ci_low=ratio * scale - half_width,
        ci_high=ratio * scale + half_width,
        observation_days=n_obs if method in ("daily_agg_v1", "session_agg_v1") else None,
        vol_floor_applied=bool(floored and n_obs >= 2),
    )


def daily_sharpe(
    step_times: TimeVector,
    step_returns: npt.ArrayLike,
    *,
    running_days: TimeVector,
    method: DailyMethod = "daily_agg_v1",
    rf_per_day: float = 0.0,
    vol_floor_per_day: float = 0.0,
) -> SharpeResult:
    """Sharpe ratio of step returns summed per day.

    A day on which the strategy was running without a step counts as a zero return; a day on which
    it was not running is absent. The two counts are ``n_obs`` (days in the ratio) and
    ``observation_days`` (days with at least one step).

    Parameters
    ----------
    step_times : ndarray of datetime64, shape (S,)
        Instant of each step in UTC (``daily_agg_v1``) or its session date (``session_agg_v1``);
        any order.
    step_returns : array-like, shape (S,)
        Return of each step as a fraction of capital; NaN = no step.
    running_days : ndarray of datetime64, shape (D,)
        Days (UTC) or sessions on which the strategy was running, unique, any order.
    method : {"daily_agg_v1", "session_agg_v1"}
        Calendar: 365 UTC days or 252 sessions a year.
    rf_per_day : float
        Riskless return per day (fraction).
    vol_floor_per_day : float
        Smallest daily standard deviation used (fraction).

    Returns
    -------
    SharpeResult
        Named by ``method``.

    Raises
    ------
    DataError
        A step on a day that is not a running day, repeated running days, or lengths that differ.
    ConfigError
        Unknown method.

    Examples
    --------
    >>> steps = np.array(["2024-01-01T03:00", "2024-01-01T09:00", "2024-01-03T09:00"], "M8[s]")
    >>> days = np.arange("2024-01-01", "2024-01-04", dtype="M8[D]")
    >>> result = daily_sharpe(steps, [0.01, -0.004, 0.002], running_days=days)
    >>> result.n_obs, result.observation_days
    (3, 2)
    """
    pnl = parse_vector("step_returns", step_returns)
    days = np.unique(np.asarray(running_days).astype("M8[D]"))
    step_days = np.asarray(step_times).astype("M8[D]")
    if len(days) != len(running_days):
        raise DataError(
            "running_days",
            wanted="unique days",
            got=f"{len(running_days)} values for {len(days)} days",
            hint="Pass each day once.",
        )
    if step_days.shape != pnl.shape or not np.isin(step_days, days).all():
        raise DataError(
            "step_times",
            wanted="one running day per step",
            got=f"{len(step_days)} times, {len(pnl)} returns, "
            f"{int((~np.isin(step_days, days)).sum())} outside the running days",
            hint="A step proves that the strategy ran that day: add the day to running_days.",
        )
    is_step = ~np.isnan(pnl)
    position = np.searchsorted(days, step_days[is_step])
    daily = np.bincount(position, weights=pnl[is_step], minlength=len(days))
    result = sharpe(
        daily,
        periods_per_year=SHARPE_PERIODS_PER_YEAR.get(method, 1),
        rf_per_period=rf_per_day,
        method=method,
        vol_floor_per_period=vol_floor_per_day,
    )
    return replace(result, observation_days=len(np.unique(position)))


def sharpe_step_raw(step_returns: npt.ArrayLike) -> SharpeResult:
    """Sharpe ratio per step, not annualised: a diagnostic that no gate may read.

    Parameters
    ----------
    step_returns : array-like, shape (S,)
        Return of each step (fraction) in time order; NaN = no step.

    Returns
    -------
    SharpeResult
        ``method="sharpe_step_raw"``.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> round(sharpe_step_raw([0.01, -0.02, 0.015, 0.0, 0.005]).value, 3)
    0.148
    """
    return sharpe(step_returns, periods_per_year=1, method="sharpe_step_raw")


def sortino(
    returns: npt.ArrayLike, *, periods_per_year: float, target_per_period: float = 0.0
) -> float:
    """Sortino ratio: annualised mean over target per unit of downside deviation.

    ``sqrt(periods_per_year) * mean(r - target) / sqrt(mean(min(r - target, 0)^2))``: the downside
    deviation divides by all periods, not by the losing ones (Sortino and Price 1994).

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period; NaN = not observed, left out.
    periods_per_year : float
        Annualisation.
    target_per_period : float
        Return below which a period counts as downside (fraction per period).

    Returns
    -------
    float
        NaN without observation or without downside.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> round(sortino([0.01, -0.02, 0.015, 0.0, 0.005], periods_per_year=252), 3)
    3.55
    """
    excess = _observed(returns) - target_per_period
    downside = sqrt(float(np.mean(np.minimum(excess, 0.0) ** 2))) if len(excess) else 0.0
    if downside == 0.0:
        return float("nan")
    return float(excess.mean()) / downside * sqrt(periods_per_year)


def drawdown_series(returns: npt.ArrayLike) -> FloatVector:
    """Loss from the running peak of compounded equity, per period.

    ``E_t / max(1, E_1, ..., E_t) - 1`` with ``E_t = prod (1 + r)``: the starting capital is the
    first peak.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period in time order; NaN = not observed: equity stays, and the
        drawdown of that period is NaN.

    Returns
    -------
    ndarray of float64, shape (T,)
        At most 0 (fraction of the peak).

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> drawdown_series([-0.1, 0.2, -0.5]).round(3)
    array([-0.1,  0. , -0.5])
    """
    series = parse_vector("returns", returns)
    missing = np.isnan(series)
    equity = np.cumprod(np.where(missing, 1.0, 1.0 + series))
    peak = np.maximum(np.maximum.accumulate(equity), 1.0) if len(equity) else equity
    return np.where(missing, np.nan, equity / peak - 1.0)


def max_drawdown(returns: npt.ArrayLike) -> float:
    """Deepest loss from a running peak of compounded equity.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period in time order; NaN = not observed.

    Returns
    -------
    float
        At most 0 (fraction); NaN without observation.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> max_drawdown([-0.1, 0.2, -0.5])
    -0.5
    """
    depths = drawdown_series(returns)
    observed = depths[~np.isnan(depths)]
    return float(observed.min()) if len(observed) else float("nan")


def annual_return(returns: npt.ArrayLike, *, periods_per_year: float) -> float:
    """Compound growth per year, ``prod(1 + r)^(periods_per_year / n) - 1``.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period; NaN = not observed, left out of n.
    periods_per_year : float
        Annualisation.

    Returns
    -------
    float
        Fraction per year; -1 where the capital was lost; NaN without observation.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> round(annual_return([0.01, 0.01], periods_per_year=12), 4)
    0.1268
    """
    observed = _observed(returns)
    if len(observed) == 0:
        return float("nan")
    growth = 1.0 + observed
    if (growth <= 0.0).any():
        return -1.0
    return float(np.expm1(np.log(growth).mean() * periods_per_year))


def annual_vol(returns: npt.ArrayLike, *, periods_per_year: float, ddof: int = 1) -> float:
    """Annualised standard deviation, ``sqrt(periods_per_year) * std(r, ddof)``.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period; NaN = not observed, left out.
    periods_per_year : float
        Annualisation.
    ddof : int
        1 for the sample standard deviation, 0 for the population one.

    Returns
    -------
    float
        Fraction per square root of a year; NaN with ``ddof`` or fewer observations.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> round(annual_vol([0.01, -0.01, 0.0], periods_per_year=252), 4)
    0.1587
    """
    return _std(_observed(returns), ddof) * sqrt(periods_per_year)


def calmar(returns: npt.ArrayLike, *, periods_per_year: float) -> float:
    """Compound growth per year divided by the depth of the deepest drawdown.

    The sign is that of the growth: a losing strategy has a negative ratio.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period in time order; NaN = not observed.
    periods_per_year : float
        Annualisation.

    Returns
    -------
    float
        NaN without observation or without drawdown.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> round(calmar([0.02, -0.01, 0.02], periods_per_year=12), 2)
    12.55
    """
    depth = -max_drawdown(returns)
    if not depth > 0.0:
        return float("nan")
    return annual_return(returns, periods_per_year=periods_per_year) / depth


def var_es(returns: npt.ArrayLike, *, alpha: float) -> TailRisk:
    """Historical value at risk and expected shortfall (Rockafellar and Uryasev 2000).

    With losses ``l = -r`` sorted upwards and ``k = ceil((1 - alpha) n)`` in rational arithmetic,
    ``var = l_(k)`` and ``es = var + sum(max(l - var, 0)) / (alpha n)``, the minimum over c of
    ``c + E[max(l - c, 0)] / alpha``. No interpolation between order statistics.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period; NaN = not observed, left out.
    alpha : float
        Tail probability, for instance 0.05.

    Returns
    -------
    TailRisk
        Positive losses; NaN without observation.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.
    ConfigError
        ``alpha`` not strictly between 0 and 1.

    Examples
    --------
    >>> var_es([-0.05, -0.04, -0.03, -0.02, -0.01], alpha=0.4)
    TailRisk(var=0.03, es=0.045, alpha=0.4, n_obs=5)
    """
    check_coverage("alpha", alpha)
    losses = np.sort(-_observed(returns))
    n_obs = len(losses)
    if n_obs == 0:
        return TailRisk(var=float("nan"), es=float("nan"), alpha=alpha, n_obs=0)
    var = float(losses[max(ceil((1 - exact_level(alpha)) * n_obs), 1) - 1])
    es = var + float(np.maximum(losses - var, 0.0).sum()) / (alpha * n_obs)
    return TailRisk(var=var, es=es, alpha=alpha, n_obs=n_obs)


def hit_rate(values: npt.ArrayLike) -> float:
    """Share of observed values above zero; an exact zero is no hit.

    Parameters
    ----------
    values : array-like, shape (n,)
        Returns, trade results or information coefficients; NaN = not observed, left out.

    Returns
    -------
    float
        Fraction; NaN without observation.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> hit_rate([0.02, -0.01, 0.0, 0.03])
    0.5
    """
    observed = _observed(values)
    return float((observed > 0.0).mean()) if len(observed) else float("nan")


def profit_factor(values: npt.ArrayLike) -> float:
    """Sum of gains divided by the sum of losses.

    Parameters
    ----------
    values : array-like, shape (n,)
        Returns or trade results, any unit; NaN = not observed, left out.

    Returns
    -------
    float
        Infinity with gains and no loss; NaN with neither.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> profit_factor([3.0, -1.0, -0.5])
    2.0
    """
    observed = _observed(values)
    gains = float(observed[observed > 0.0].sum())
    losses = -float(observed[observed < 0.0].sum())
    if losses == 0.0:
        return float("inf") if gains > 0.0 else float("nan")
    return gains / losses


def turnover(weights: npt.ArrayLike, *, held_before: npt.ArrayLike | None = None) -> FloatVector:
    """Half of the traded weight per period, ``sum |w_t - h_t| / 2``.

    Parameters
    ----------
    weights : array-like, shape (T, N)
        Weights after trading (fraction of equity); NaN = not held, counts as 0.
    held_before : array-like, shape (T, N), optional
        Weights just before trading, drifted by returns. Without it the previous row is used,
        which ignores drift, and the first row starts from cash.

    Returns
    -------
    ndarray of float64, shape (T,)
        Fraction of equity per period; times periods per year for the annual number.

    Raises
    ------
    DataError
        Shapes that differ, or values that are not finite.

    Examples
    --------
    >>> turnover([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0]])
    array([0.5, 0.5, 0. ])
    """
    after = np.nan_to_num(parse_matrix("weights", weights))
    if held_before is None:
        before = np.vstack([np.zeros((1, after.shape[1])), after[:-1]])[: len(after)]
    else:
        before = np.nan_to_num(parse_matrix("held_before", held_before))
    check_same_shape("weights", after, "held_before", before)
    moved: FloatVector = np.abs(after - before).sum(axis=1) / 2.0
    return moved


def _observed(values: npt.ArrayLike) -> FloatVector:
    """Values that are not NaN."""
    series = parse_vector("returns", values)
    return series[~np.isnan(series)]


def _std(observed: FloatVector, ddof: int) -> float:
    """Standard deviation; exactly 0 for equal values, NaN with ``ddof`` or fewer values."""
    if len(observed) <= ddof:
        return float("nan")
    if observed.min() == observed.max():
        # The mean of equal floats need not equal them, and rounding is not risk.
        return 0.0
    return float(observed.std(ddof=ddof))


def _sharpe_std_error(excess: FloatVector, ratio: float) -> float:
    """Per-period standard error of a Sharpe ratio by the influence function of Lo's GMM case."""
    observed = ~np.isnan(excess)
    spread = _std(excess[observed], 0)
    if np.isnan(ratio) or not spread > 0.0:
        return float("nan")
    n_obs = int(observed.sum())
    z = (excess - excess[observed].mean()) / spread
    influence = z - ratio * (z * z - 1.0) / 2.0
    lags = min(newey_west_lags(n_obs), len(excess) - 1)
    return sqrt(max(long_run_variance(influence, lags=lags), 0.0) / n_obs)


def _check_method(method: str, periods_per_year: float) -> None:
    """A named convention stands for one number of periods per year."""
    if method == "per_period":
        return
    if method not in SHARPE_PERIODS_PER_YEAR:
        known = ["per_period", *SHARPE_PERIODS_PER_YEAR]
        raise ConfigError(
            "method",
            wanted="a named Sharpe convention",
            got=repr(method),
            hint=did_you_mean(method, known),
        )
    if periods_per_year != SHARPE_PERIODS_PER_YEAR[method]:
        raise ConfigError(
            "periods_per_year",
            wanted=f"{SHARPE_PERIODS_PER_YEAR[method]}, what {method} stands for",
            got=periods_per_year,
            hint="Use method='per_period' for another kind of series.",
        )
