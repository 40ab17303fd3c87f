"""Sharpe ratios under named conventions, from periods or from steps summed per day.

Contract: returns are simple returns per period (fractions); NaN = not observed, left out; infinity
is refused. A name of :data:`SHARPE_PERIODS_PER_YEAR` stands for one kind of series and one
annualisation; ``sharpe_step_raw`` is a diagnostic that no gate reads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatVector, TimeVector
from quant_engine.core.errors import ConfigError, DataError, did_you_mean
from quant_engine.stats.checks import parse_vector
from quant_engine.stats.metrics.sharpe_error import (
    DEFAULT_INTERVAL,
    IntervalMethod,
    SharpeIntervalConfig,
    SharpeStatus,
    estimate_sharpe,
    interval_of,
)

__all__ = [
    "DIAGNOSTIC_METHODS",
    "SHARPE_PERIODS_PER_YEAR",
    "DailyMethod",
    "DailyReturns",
    "SharpeResult",
    "daily_returns",
    "daily_sharpe",
    "sharpe",
    "sharpe_step_raw",
]

SHARPE_PERIODS_PER_YEAR = {"daily_agg_v1": 365, "session_agg_v1": 252, "sharpe_step_raw": 1}
"""Named Sharpe conventions and the only periods per year each one allows.

``daily_agg_v1``: step returns summed per UTC day, markets that never close. ``session_agg_v1``:
one return per exchange session. ``sharpe_step_raw``: per step and not annualised; a diagnostic
that no gate reads, because it grows with the number of steps per day.
"""

DIAGNOSTIC_METHODS = frozenset({"sharpe_step_raw"})
"""Conventions that are shown and never judged."""

DAILY_METHODS = ("daily_agg_v1", "session_agg_v1")

DailyMethod = Literal["daily_agg_v1", "session_agg_v1"]


@dataclass(frozen=True)
class SharpeResult:
    """A Sharpe ratio with its convention, sampling error and the counts it rests on.

    Parameters
    ----------
    value : float
        Annualised ratio; NaN unless ``status`` is ``"ok"``.
    per_period : float
        The same per period: ``mean(r - rf) / std(r, ddof)``.
    status : str
        ``"ok"``, ``"too_few"`` (fewer than 2 observations) or ``"no_variation"`` (and no floor): a
        ratio over no risk is undefined, not infinite.
    method : str
        Convention of the series: a key of :data:`SHARPE_PERIODS_PER_YEAR` or ``"per_period"``.
    n_obs : int
        Periods in the mean and in the standard deviation.
    periods_per_year, rf_per_period, ddof : float, float, int
        What the ratio was computed with.
    std_error : float
        Annualised standard error.
    ci_low, ci_high : float
        Two-sided confidence interval, annualised.
    interval_method : str
        How error and interval were found, see `quant_engine.stats.metrics.sharpe_error`.
    confidence : float
        Coverage that the interval aims at.
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
    per_period: float
    status: SharpeStatus
    method: str
    n_obs: int
    periods_per_year: float
    rf_per_period: float
    ddof: int
    std_error: float
    ci_low: float
    ci_high: float
    interval_method: IntervalMethod
    confidence: float
    observation_days: int | None
    vol_floor_applied: bool

    @property
    def is_diagnostic(self) -> bool:
        """Whether the number is only shown; a gate refuses to read it."""
        return self.method in DIAGNOSTIC_METHODS


@dataclass(frozen=True, eq=False)
class DailyReturns:
    """Step returns summed per day.

    Parameters
    ----------
    days : ndarray of datetime64[D], shape (D,)
        Running days in time order.
    values : ndarray of float64, shape (D,)
        Sum of the steps of each day (fraction); 0 on a running day without a step.
    observation_days : int
        Days with at least one step.

    Examples
    --------
    >>> days = np.arange("2024-01-01", "2024-01-03", dtype="M8[D]")
    >>> daily_returns(days[:1], [0.01], running_days=days).values.tolist()
    [0.01, 0.0]
    """

    days: TimeVector
    values: FloatVector
    observation_days: int


def sharpe(
    returns: npt.ArrayLike,
    *,
    periods_per_year: float,
    rf_per_period: float = 0.0,
    ddof: int = 1,
    method: str = "per_period",
    vol_floor_per_period: float = 0.0,
    interval: SharpeIntervalConfig = DEFAULT_INTERVAL,
) -> SharpeResult:
    """Sharpe ratio ``sqrt(periods_per_year) * mean(r - rf) / std(r, ddof)`` with its error.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period in time order; NaN = not observed, left out.
    periods_per_year : float
        Annualisation, for instance 252 for sessions.
    rf_per_period : float
        Riskless return per period (fraction).
    ddof : int
        1 for the sample standard deviation, 0 for the population one. With 0 the ratio of a series
        laid end to end m times is the ratio of the series; with 1 it is
        ``sqrt((m n - 1) / (m (n - 1)))`` times that.
    method : str
        Convention of the series, recorded in the result. A name of
        :data:`SHARPE_PERIODS_PER_YEAR` must come with the periods per year it stands for.
    vol_floor_per_period : float
        Smallest standard deviation used (fraction per period, 0 = no floor).
    interval : SharpeIntervalConfig
        How the error is found; by default Lo's (2002) general case with a Bartlett window.

    Returns
    -------
    SharpeResult
        With a status and NaN for value, error and interval where there is no ratio.
        `sharpe_interval` raises instead.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.
    InsufficientHistoryError
        2 observations with the interval methods ``lo_iid`` or ``opdyke``, which need 3.
    ConfigError
        Unknown method, periods per year that contradict it, or an interval method that annualises
        differently from it (``lo_eta`` with a name that stands for a square root).

    Notes
    -----
    Sharpe (1994). With ``lo_eta`` the ratio itself is annualised with eta instead of the root.

    Examples
    --------
    >>> result = sharpe([0.01, -0.02, 0.015, 0.0, 0.005], periods_per_year=252)
    >>> f"{result.value:.3f} +- {result.std_error:.3f} {result.interval_method}"
    '2.350 +- 4.123 lo_hac'
    """
    _check_method(method, periods_per_year, interval)
    estimate = estimate_sharpe(
        returns,
        rf_per_period=rf_per_period,
        ddof=ddof,
        vol_floor_per_period=vol_floor_per_period,
    )
    value = error = low = high = float("nan")
    if estimate.status == "ok":
        found = interval_of(estimate, periods_per_year=periods_per_year, config=interval)
        value, error, low, high = found.value, found.std_error, found.ci_low, found.ci_high
    return SharpeResult(
        value=value,
        per_period=estimate.ratio,
        status=estimate.status,
        method=method,
        n_obs=estimate.n_obs,
        periods_per_year=periods_per_year,
        rf_per_period=rf_per_period,
        ddof=ddof,
        std_error=error,
        ci_low=low,
        ci_high=high,
        interval_method=interval.method,
        confidence=interval.confidence,
        observation_days=estimate.n_obs if method in DAILY_METHODS else None,
        vol_floor_applied=estimate.is_floored,
    )


def daily_returns(
    step_times: TimeVector, step_returns: npt.ArrayLike, *, running_days: TimeVector
) -> DailyReturns:
    """Sum step returns per day; a running day without a step is a zero, any other day is absent.

    Parameters
    ----------
    step_times : ndarray of datetime64, shape (S,)
        Instant of each step in UTC, or its session date; any order.
    step_returns : array-like, shape (S,)
        Return of each step as a fraction of capital; NaN = no step.
    running_days : ndarray of datetime64, shape (D,)
        Days (UTC) or sessions on which the strategy was running, unique, any order.

    Returns
    -------
    DailyReturns
        One value per running day.

    Raises
    ------
    DataError
        A step on a day that is not a running day, repeated running days, or lengths that differ.

    Examples
    --------
    >>> steps = np.array(["2024-01-01T03:00", "2024-01-01T09:00", "2024-01-03T09:00"], "M8[s]")
    >>> days = np.arange("2024-01-01", "2024-01-04", dtype="M8[D]")
    >>> daily_returns(steps, [0.01, -0.004, 0.002], running_days=days).values
    array([0.006, 0.   , 0.002])
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
    values: FloatVector = np.zeros(len(days))
    np.add.at(values, position, pnl[is_step])
    return DailyReturns(
        days=days,
        values=values,
        observation_days=len(np.unique(position)),
    )


def daily_sharpe(
    step_times: TimeVector,
    step_returns: npt.ArrayLike,
    *,
    running_days: TimeVector,
    method: DailyMethod = "daily_agg_v1",
    rf_per_day: float = 0.0,
    vol_floor_per_day: float = 0.0,
    interval: SharpeIntervalConfig = DEFAULT_INTERVAL,
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
    interval : SharpeIntervalConfig
        How the error is found.

    Returns
    -------
    SharpeResult
        Named by ``method``.

    Raises
    ------
    DataError
        A step on a day that is not a running day, repeated running days, or lengths that differ.
    ConfigError
        A method that is not one of days.

    Examples
    --------
    >>> steps = np.array(["2024-01-01T03:00", "2024-01-01T09:00", "2024-01-03T09:00"], "M8[s]")
    >>> days = np.arange("2024-01-01", "2024-01-04", dtype="M8[D]")
    >>> result = daily_sharpe(steps, [0.01, -0.004, 0.002], running_days=days)
    >>> result.n_obs, result.observation_days
    (3, 2)
    """
    if method not in DAILY_METHODS:
        raise ConfigError(
            "method",
            wanted="a convention of days",
            got=repr(method),
            hint=did_you_mean(method, list(DAILY_METHODS)),
        )
    daily = daily_returns(step_times, step_returns, running_days=running_days)
    result = sharpe(
        daily.values,
        periods_per_year=SHARPE_PERIODS_PER_YEAR[method],
        rf_per_period=rf_per_day,
        method=method,
        vol_floor_per_period=vol_floor_per_day,
        interval=interval,
    )
    return replace(result, observation_days=daily.observation_days)


def sharpe_step_raw(step_returns: npt.ArrayLike) -> SharpeResult:
    """Sharpe ratio per step, not annualised: a diagnostic that no gate may read.

    Parameters
    ----------
    step_returns : array-like, shape (S,)
        Return of each step (fraction) in time order; NaN = no step.

    Returns
    -------
    SharpeResult
        ``method="sharpe_step_raw"``, with ``is_diagnostic`` true.

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


def _check_method(method: str, periods_per_year: float, interval: SharpeIntervalConfig) -> None:
    """A named convention stands for one number of periods per year and for its square root."""
    if not periods_per_year > 0.0:
        raise ConfigError(
            "periods_per_year", wanted="above 0", got=periods_per_year, hint="252 for sessions."
        )
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
    if interval.method == "lo_eta":
        root = sqrt(periods_per_year)
        raise ConfigError(
            "interval",
            wanted=f"a method that annualises with {root:.4g}, as {method} does",
            got="'lo_eta'",
            hint="Use method='per_period' with lo_eta, or lo_hac.",
        )
