"""Permanent and temporary impact, beside the square-root law of `costs.impact_cost`.

Two models. Almgren, Thum, Hauptmann and Li (2005) estimate both parts on real orders and are asked
what one order costs. Almgren and Chriss (2001) take linear impact as given and say how to spread a
large order over time: faster costs more impact, slower more risk. The permanent part stays in the
price, so a backtest on recorded prices must not charge it twice; half of it is paid on the way.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from pydantic import Field

from quant_engine.core.arrays import FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError

__all__ = [
    "AlmgrenChriss",
    "AlmgrenImpact",
    "Trajectory",
    "almgren_chriss_trajectory",
    "permanent_impact_frac",
    "realised_impact_frac",
]

Amount = float | FloatVector


class AlmgrenImpact(FrozenConfig):
    """Coefficients that Almgren et al. (2005) estimated on orders in large US stocks.

    Parameters
    ----------
    gamma : float
        Permanent impact, in units of daily volatility for trading a day's volume.
    eta : float
        Temporary impact, in the same unit.
    exponent : float
        Power of the trading rate in the temporary part; 0.5 is the square-root law.
    turnover_exponent : float
        Power of shares outstanding over daily volume in the permanent part.

    Examples
    --------
    >>> AlmgrenImpact().eta
    0.142
    """

    gamma: float = Field(default=0.314, ge=0.0)
    eta: float = Field(default=0.142, ge=0.0)
    exponent: float = Field(default=0.6, gt=0.0, le=1.0)
    turnover_exponent: float = Field(default=0.25, ge=0.0)


def permanent_impact_frac(
    participation_frac: Amount,
    sigma_daily: Amount,
    *,
    shares_to_volume: Amount,
    model: AlmgrenImpact,
) -> Amount:
    """Part of the price move that stays after the order.

    ``I = gamma sigma (X / V) (Theta / V)^0.25``.

    Parameters
    ----------
    participation_frac : float or ndarray, any shape
        Order over average daily volume X / V, fraction, at least 0. NaN gives NaN.
    sigma_daily : float or ndarray
        Daily volatility of returns, fraction.
    shares_to_volume : float or ndarray
        Shares outstanding over average daily volume, Theta / V.
    model : AlmgrenImpact
        Coefficients.

    Returns
    -------
    float or ndarray
        Fraction of the price, against the order.

    Examples
    --------
    >>> paid = permanent_impact_frac(0.1, 0.0157, shares_to_volume=263.0, model=AlmgrenImpact())
    >>> round(1e4 * float(paid), 1)
    19.9
    """
    turnover = np.power(shares_to_volume, model.turnover_exponent)
    return model.gamma * sigma_daily * participation_frac * turnover


def realised_impact_frac(
    participation_frac: Amount,
    sigma_daily: Amount,
    *,
    shares_to_volume: Amount,
    duration_days: Amount,
    model: AlmgrenImpact,
) -> Amount:
    """What an order pays on average against the price before it began.

    ``J = I / 2 + eta sigma (X / (V T))^0.6``: half of the permanent part, because it builds up
    evenly while the order runs, and all of the temporary one.

    Parameters
    ----------
    participation_frac : float or ndarray, any shape
        Order over average daily volume X / V, fraction, at least 0. NaN gives NaN.
    sigma_daily : float or ndarray
        Daily volatility of returns, fraction.
    shares_to_volume : float or ndarray
        Shares outstanding over average daily volume.
    duration_days : float or ndarray
        Time the order takes in trading days T, above 0.
    model : AlmgrenImpact
        Coefficients.

    Returns
    -------
    float or ndarray
        Fraction of the order's value, at least 0.

    Examples
    --------
    >>> paid = realised_impact_frac(
    ...     0.1, 0.0157, shares_to_volume=263.0, duration_days=0.5, model=AlmgrenImpact()
    ... )
    >>> round(1e4 * float(paid), 1)
    18.4
    """
    permanent = permanent_impact_frac(
        participation_frac, sigma_daily, shares_to_volume=shares_to_volume, model=model
    )
    rate = np.power(participation_frac / duration_days, model.exponent)
    return 0.5 * permanent + model.eta * sigma_daily * rate


class AlmgrenChriss(FrozenConfig):
    """Setting of the linear model of Almgren and Chriss (2001).

    Parameters
    ----------
    duration_days : float
        Time until the order has to be done, trading days.
    n_slices : int
        Trades of equal length in that time.
    sigma_per_share : float
        Volatility of the price, currency per share and square root of a day.
    fixed_cost_per_share : float
        Half-spread and fees, currency per share.
    permanent_coef : float
        Permanent impact, currency per share and share traded.
    temporary_coef : float
        Temporary impact, currency per share and (share per day).
    risk_aversion : float
        Price of variance, 1 / currency; 0 trades evenly.

    Examples
    --------
    >>> AlmgrenChriss(
    ...     duration_days=5, n_slices=5, sigma_per_share=0.95, temporary_coef=2.5e-6
    ... ).tau_days
    1.0
    """

    duration_days: float = Field(gt=0.0)
    n_slices: int = Field(ge=1)
    sigma_per_share: float = Field(ge=0.0)
    fixed_cost_per_share: float = Field(default=0.0, ge=0.0)
    permanent_coef: float = Field(default=0.0, ge=0.0)
    temporary_coef: float = Field(gt=0.0)
    risk_aversion: float = Field(default=0.0, ge=0.0)

    @property
    def tau_days(self) -> float:
        """Length of a slice, trading days."""
        return self.duration_days / self.n_slices


class Trajectory(NamedTuple):
    """Optimal way of working an order.

    Parameters
    ----------
    trades : ndarray of float64, shape (n_slices,)
        Shares per slice, with the sign of the order.
    holdings : ndarray of float64, shape (n_slices + 1,)
        Shares still to trade before the first and after every slice.
    expected_cost : float
        Currency.
    variance : float
        Of the cost, currency squared.
    kappa_per_day : float
        Urgency; 0 = even trading.
    half_life_days : float
        ``1 / kappa``, the time in which holdings fall by the factor e; infinity for even trading.
    """

    trades: FloatVector
    holdings: FloatVector
    expected_cost: float
    variance: float
    kappa_per_day: float
    half_life_days: float


def almgren_chriss_trajectory(shares: float, setting: AlmgrenChriss) -> Trajectory:
    """Spread an order over its slices so that cost plus priced variance is least.

    With tau the slice length and ``eta~ = eta - gamma tau / 2``::

        cosh(kappa tau) = 1 + tau^2 lambda sigma^2 / (2 eta~)
        x_j = X sinh(kappa (T - t_j)) / sinh(kappa T)
        E = gamma X^2 / 2 + eps |X| + eta~ / tau sum n_j^2,   V = sigma^2 tau sum x_j^2

    Parameters
    ----------
    shares : float
        Shares to trade X, signed.
    setting : AlmgrenChriss
        Market and preference.

    Returns
    -------
    Trajectory
        Trades add up to `shares` up to rounding.

    Raises
    ------
    ConfigError
        A slice so long that the permanent part exceeds the temporary one (``eta~ <= 0``): trading
        in one block would then be free of temporary impact.

    Notes
    -----
    Almgren and Chriss (2001), Optimal execution of portfolio transactions, equations 16 to 20.

    Examples
    --------
    >>> setting = AlmgrenChriss(
    ...     duration_days=5, n_slices=5, sigma_per_share=0.95, temporary_coef=2.5e-6,
    ...     permanent_coef=2.5e-7, risk_aversion=1e-6,
    ... )
    >>> almgren_chriss_trajectory(1e6, setting).trades.round().tolist()
    [458044.0, 252101.0, 141957.0, 85756.0, 62142.0]
    """
    tau = setting.tau_days
    eta = setting.temporary_coef - 0.5 * setting.permanent_coef * tau
    if eta <= 0.0:
        raise ConfigError(
            "setting.n_slices",
            wanted="slices so short that temporary_coef > permanent_coef * tau / 2",
            got=f"tau = {tau:g} days",
            hint="Use more slices, or check the two coefficients.",
        )
    urgency = setting.risk_aversion * setting.sigma_per_share**2 / eta
    kappa = math.acosh(1.0 + 0.5 * urgency * tau**2) / tau
    times = np.linspace(0.0, setting.duration_days, setting.n_slices + 1)
    left = setting.duration_days - times
    if kappa == 0.0:
        holdings = shares * left / setting.duration_days
    else:
        # sinh(a) / sinh(b) without overflow for a long or very urgent order.
        whole = math.expm1(-2.0 * kappa * setting.duration_days)
        shape = np.exp(-kappa * times) * np.expm1(-2.0 * kappa * left) / whole
        holdings = shares * shape
    trades = -np.diff(holdings)
    cost = (
        0.5 * setting.permanent_coef * shares**2
        + setting.fixed_cost_per_share * abs(shares)
        + eta / tau * float(np.sum(trades**2))
    )
    variance = setting.sigma_per_share**2 * tau * float(np.sum(holdings[1:] ** 2))
    half_life = math.inf if kappa == 0.0 else 1.0 / kappa
    return Trajectory(trades, holdings, cost, variance, kappa, half_life)
