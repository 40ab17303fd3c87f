"""Haircut Sharpe ratio and profit hurdle: what multiple testing leaves of a backtest.

Contract: Harvey and Liu (2015). A Sharpe ratio becomes a two-sided p-value on monthly observations,
the p-value is adjusted for the number of tests by Bonferroni, Holm and Benjamini-Hochberg-Yekutieli
(BHY), and the adjusted p-value becomes a Sharpe ratio again. Holm and BHY depend on the p-values of
the other tests, which nobody has; they are simulated from the model of Harvey, Liu and Zhu (2016)
for published factors, and the median over simulations is reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from pydantic import Field
from scipy.special import ndtr, ndtri, stdtrit

from quant_engine.core.arrays import FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.broadcast import parse_counts, parse_numbers
from quant_engine.stats.checks import check_coverage
from quant_engine.stats.hac import student_p_value
from quant_engine.stats.metrics.sharpe_error import lo_annualisation
from quant_engine.stats.multiplicity import adjusted_p, by_factor

__all__ = [
    "Haircut",
    "HaircutSharpe",
    "ProfitHurdle",
    "StrategyModel",
    "haircut_sharpe",
    "profit_hurdle",
    "simulate_t_values",
]

# Correlation of strategies, share of strategies without a premium, mean monthly premium of the
# others: estimates of Harvey, Liu and Zhu, as used by the published code of Harvey and Liu (2015).
_CORRELATION = (0.0, 0.2, 0.4, 0.6, 0.8)
_SHARE_NULL = (0.39660, 0.44589, 0.48604, 0.59902, 0.83901)
_MEAN_PREMIUM = (5.4995e-3, 5.5508e-3, 5.5413e-3, 5.5512e-3, 5.5956e-3)
_MODEL_VOL_ANNUAL, _MODEL_MONTHS = 0.15, 240


class StrategyModel(FrozenConfig):
    """How the tests of other strategies are simulated.

    Parameters
    ----------
    correlation : float
        Correlation between strategies, 0 to 0.8 (the range of the published estimates).
    n_simulations : int
        Simulated families.
    seed : int
        Seed of the generator.

    Examples
    --------
    >>> StrategyModel(correlation=0.4, seed=1).n_simulations
    2000
    """

    correlation: float = Field(default=0.2, ge=0.0, le=0.8)
    n_simulations: int = Field(default=2000, ge=1)
    seed: int


@dataclass(frozen=True)
class Haircut:
    """A Sharpe ratio after one adjustment for multiple tests.

    Parameters
    ----------
    p_value : float
        Adjusted two-sided p-value.
    sharpe_annual : float
        Annualised Sharpe ratio with that p-value in a single test.
    haircut_pct : float
        Percent taken off.

    Examples
    --------
    >>> Haircut(p_value=1.0, sharpe_annual=0.0, haircut_pct=100.0).haircut_pct
    100.0
    """

    p_value: float
    sharpe_annual: float
    haircut_pct: float


@dataclass(frozen=True)
class HaircutSharpe:
    """A Sharpe ratio and what each adjustment leaves of it.

    Parameters
    ----------
    sharpe_annual : float
        Annualised ratio after the correction for autocorrelation.
    n_monthly : int
        Monthly observations.
    t : float
        t-value of the mean.
    p_single : float
        Two-sided p-value of a single test.
    n_tests : int
        Tests adjusted for.
    bonferroni : Haircut
        ``min(1, n_tests * p)``.
    holm, bhy, average : Haircut or None
        Medians over simulated families of `n_tests` other strategies and this one, and the
        haircut of the mean of the three p-values; None without a model.

    Examples
    --------
    >>> haircut_sharpe(1.0, n_obs=120, periods_per_year=12, n_tests=10).holm is None
    True
    """

    sharpe_annual: float
    n_monthly: int
    t: float
    p_single: float
    n_tests: int
    bonferroni: Haircut
    holm: Haircut | None
    bhy: Haircut | None
    average: Haircut | None


@dataclass(frozen=True)
class ProfitHurdle:
    """Mean return per period that is significant after each adjustment.

    Parameters
    ----------
    independent, bonferroni : float
        Fraction per period, for one test and for `n_tests`.
    holm, bhy, average : float or None
        Medians over simulated families, and the mean of the three adjusted hurdles; None without
        a model.
    n_tests : int
        Tests adjusted for.
    alpha : float
        Significance level, two-sided.

    Examples
    --------
    >>> hurdle = profit_hurdle(vol_annual=0.1, n_obs=240, periods_per_year=12, n_tests=1)
    >>> hurdle.independent == hurdle.bonferroni
    True
    """

    independent: float
    bonferroni: float
    holm: float | None
    bhy: float | None
    average: float | None
    n_tests: int
    alpha: float


def haircut_sharpe(
    sharpe_annual: float,
    *,
    n_obs: int,
    periods_per_year: int,
    n_tests: int,
    autocorrelation: float = 0.0,
    model: StrategyModel | None = None,
) -> HaircutSharpe:
    """Sharpe ratio after the adjustment for the number of tests.

    Parameters
    ----------
    sharpe_annual : float
        Annualised Sharpe ratio, positive.
    n_obs : int
        Observations behind it.
    periods_per_year : int
        Observations in a year; they become ``floor(n_obs * 12 / periods_per_year)`` months.
    n_tests : int
        Strategies that were tried, at least 1.
    autocorrelation : float
        First-order autocorrelation of the returns, strictly between -1 and 1.
    model : StrategyModel, optional
        How the other strategies are simulated; without it Bonferroni alone is computed.

    Returns
    -------
    HaircutSharpe
        p-values, Sharpe ratios and haircuts.

    Raises
    ------
    DataError
        A Sharpe ratio that is not positive: there is nothing to take off.
    InsufficientHistoryError
        Fewer than 3 months.
    ConfigError
        No test, or an autocorrelation outside (-1, 1).

    Notes
    -----
    ``t = SR / sqrt(12) * sqrt(months)``, ``p = 2 P[T > t]`` with ``months - 1`` degrees of freedom.
    The ratio is first multiplied by ``eta(q) / sqrt(q)`` of Lo (2002) for a first-order
    autoregression. Holm and BHY adjust families of ``n_tests + 1`` p-values.

    Examples
    --------
    >>> cut = haircut_sharpe(
    ...     1.0, n_obs=120, periods_per_year=12, n_tests=100, autocorrelation=0.1
    ... )
    >>> f"{cut.p_single:.4f} {cut.bonferroni.sharpe_annual:.3f} {cut.bonferroni.haircut_pct:.1f}"
    '0.0047 0.232 74.6'
    """
    if not float(parse_numbers("sharpe_annual", sharpe_annual)) > 0.0:
        raise DataError(
            "sharpe_annual",
            wanted="more than 0",
            got=sharpe_annual,
            hint="A strategy that lost needs no haircut.",
        )
    _check_family(n_tests)
    if not -1.0 < autocorrelation < 1.0:
        raise ConfigError(
            "autocorrelation", wanted="between -1 and 1", got=autocorrelation, hint="Use 0."
        )
    rho = autocorrelation ** np.arange(1, periods_per_year)
    adjusted = sharpe_annual * lo_annualisation(rho, q=periods_per_year) / sqrt(periods_per_year)
    months = n_obs * 12 // periods_per_year
    if months < 3:
        raise InsufficientHistoryError("n_obs", wanted="3 months", got=months, hint="Wait.")
    t_value = adjusted * sqrt(months / 12.0)
    single = float(student_p_value(t_value, df=months - 1))

    def cut(p_value: float) -> Haircut:
        quantile = float(-stdtrit(months - 1, p_value / 2.0)) if p_value < 1.0 else 0.0
        left = quantile * sqrt(12.0 / months)
        return Haircut(p_value, left, 100.0 * (1.0 - left / adjusted))

    bonferroni = min(1.0, n_tests * single)
    holm = bhy = None
    if model is not None:
        others = _two_sided(simulate_t_values(n_tests, model))
        family = np.column_stack([others, np.full(len(others), single)])
        holm = float(np.median([adjusted_p(row, method="holm")[-1] for row in family]))
        bhy = float(np.median([adjusted_p(row, method="by")[-1] for row in family]))
    return HaircutSharpe(
        sharpe_annual=adjusted,
        n_monthly=months,
        t=t_value,
        p_single=single,
        n_tests=n_tests,
        bonferroni=cut(bonferroni),
        holm=None if holm is None else cut(holm),
        bhy=None if bhy is None else cut(bhy),
        average=None if holm is None or bhy is None else cut((bonferroni + holm + bhy) / 3.0),
    )


def profit_hurdle(
    *,
    vol_annual: float,
    n_obs: int,
    periods_per_year: float,
    n_tests: int,
    alpha: float = 0.05,
    model: StrategyModel | None = None,
) -> ProfitHurdle:
    """Mean return per period that a strategy needs to be significant.

    Parameters
    ----------
    vol_annual : float
        Annualised volatility of its returns (fraction).
    n_obs : int
        Observations, at least 3.
    periods_per_year : float
        Observations in a year.
    n_tests : int
        Strategies that were tried, at least 1.
    alpha : float
        Two-sided significance level, strictly between 0 and 1.
    model : StrategyModel, optional
        How the other strategies are simulated; without it Holm and BHY are not computed.

    Returns
    -------
    ProfitHurdle
        Hurdles as fractions per period.

    Raises
    ------
    DataError
        A volatility that is not positive.
    InsufficientHistoryError
        Fewer than 3 observations.
    ConfigError
        No test, or a level outside (0, 1).

    Notes
    -----
    ``vol / sqrt(periods_per_year) / sqrt(n_obs) * z`` with the two-sided normal quantile z of alpha
    (independent), of ``alpha / N`` (Bonferroni), of the smallest p-value that Holm does not reject,
    and of the mean of BHY's last rejected and first not rejected p-value, as in the code of Harvey
    and Liu. A deviation: where BHY rejects nothing, z is that of its first step
    ``alpha / (N sum_{i<=N} 1/i)`` and not 1.96, which would be lenient just where nothing passes;
    where Holm rejects everything, z is the independent one.

    Examples
    --------
    >>> hurdle = profit_hurdle(vol_annual=0.1, n_obs=240, periods_per_year=12, n_tests=300)
    >>> f"{100 * hurdle.independent:.3f} {100 * hurdle.bonferroni:.3f}"
    '0.365 0.702'
    """
    if not float(parse_numbers("vol_annual", vol_annual)) > 0.0:
        raise DataError("vol_annual", wanted="more than 0", got=vol_annual, hint="Use 0.1.")
    parse_counts("n_obs", n_obs, at_least=3)
    _check_family(n_tests)
    check_coverage("alpha", alpha)
    error = vol_annual / sqrt(periods_per_year) / sqrt(n_obs)

    def at(level: float | FloatVector) -> float:
        return error * float(np.median(-ndtri(np.asarray(level) / 2.0)))

    bonferroni, holm, bhy = at(alpha / n_tests), None, None
    if model is not None:
        family = _two_sided(simulate_t_values(n_tests, model))
        holm = at(_holm_stop(family, alpha))
        bhy = at(_bhy_stop(family, alpha))
    return ProfitHurdle(
        independent=at(alpha),
        bonferroni=bonferroni,
        holm=holm,
        bhy=bhy,
        average=None if holm is None or bhy is None else (bonferroni + holm + bhy) / 3.0,
        n_tests=n_tests,
        alpha=alpha,
    )


def simulate_t_values(n_tests: int, model: StrategyModel) -> FloatVector:
    """Draw absolute t-values of families of strategies from the model of published factors.

    Parameters
    ----------
    n_tests : int
        Strategies per family.
    model : StrategyModel
        Correlation, simulations and seed.

    Returns
    -------
    ndarray of float64, shape (n_simulations, n_tests)
        Absolute t-values of means over 240 months.

    Raises
    ------
    ConfigError
        No test.

    Notes
    -----
    A strategy has no premium with a probability that rises with the correlation, otherwise an
    exponential one; its estimate is normal with 15 % annual volatility over 240 months, and all
    pairs have the same correlation. Parameters are interpolated linearly in the correlation.

    Examples
    --------
    >>> simulate_t_values(3, StrategyModel(n_simulations=2, seed=0)).shape
    (2, 3)
    """
    _check_family(n_tests)
    rho, size = model.correlation, (model.n_simulations, n_tests)
    rng = np.random.default_rng(model.seed)
    common = rng.standard_normal((model.n_simulations, 1))
    noise = sqrt(rho) * common + sqrt(1.0 - rho) * rng.standard_normal(size)
    has_premium = rng.random(size) > np.interp(rho, _CORRELATION, _SHARE_NULL)
    premium = rng.exponential(np.interp(rho, _CORRELATION, _MEAN_PREMIUM), size) * has_premium
    error = _MODEL_VOL_ANNUAL / sqrt(12.0) / sqrt(_MODEL_MONTHS)
    t_values: FloatVector = np.abs(premium / error + noise)
    return t_values


def _two_sided(t_values: FloatVector) -> FloatVector:
    p_values: FloatVector = 2.0 * ndtr(-t_values)
    return p_values


def _holm_stop(families: FloatVector, alpha: float) -> FloatVector:
    """Smallest p-value that Holm keeps in every family; alpha where it rejects all."""
    stops = []
    for row in families:
        kept = row[adjusted_p(row, method="holm") > alpha]
        stops.append(float(kept.min()) if len(kept) else alpha)
    return np.array(stops)


def _bhy_stop(families: FloatVector, alpha: float) -> FloatVector:
    """Middle between BHY's last rejected and first kept p-value of every family."""
    n_tests = families.shape[1]
    stops = []
    for row in families:
        passed = adjusted_p(row, method="by") <= alpha
        if not passed.any():
            stops.append(alpha / (n_tests * by_factor(n_tests)))
            continue
        last = float(row[passed].max())
        following = last if passed.all() else float(row[~passed].min())
        stops.append(0.5 * (last + following))
    return np.array(stops)


def _check_family(n_tests: int) -> None:
    if n_tests < 1:
        raise ConfigError("n_tests", wanted="at least 1", got=n_tests, hint="Count every trial.")
