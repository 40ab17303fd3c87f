"""Capacity: the capital at which impact has eaten half of the net Sharpe ratio.

Contract: orders keep their size as a fraction of equity, so k times the capital trades k times the
value. Fees, spread and borrow are proportional to value and keep their share of equity; impact
follows the square-root law and its share grows with sqrt(k). What the participation cap would cut
is left to ``capped_value_frac``: a book that cannot be filled is another book.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, InsufficientHistoryError
from quant_engine.stats.metrics import sharpe

MIN_SESSIONS = 3
MAX_MULTIPLE = 1e9
"""Capital beyond this multiple is no statement about this book any more."""

MULTIPLES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Multiples of the tested capital in the table."""


@dataclass(frozen=True, eq=False)
class Capacity:
    """What the cost model says about more capital.

    Parameters
    ----------
    capacity_usd : float or None
        Starting capital at which the net Sharpe ratio is half of that at the tested one; None
        where there is nothing to halve or no impact.
    reason : str
        Why there is none; empty otherwise.
    capped_value_frac : float or None
        Share of the traded value beyond the participation cap at that capital.
    table : DataFrame
        ``multiple`` of the tested capital, ``capital_usd``, ``sharpe`` (annualised, net),
        ``annual_impact_frac`` (fraction of equity a year) and ``capped_value_frac`` (share of the
        ordered value beyond the participation cap).
    """

    capacity_usd: float | None
    reason: str
    capped_value_frac: float | None
    table: pd.DataFrame


def capacity(
    daily: pd.DataFrame,
    orders: pd.DataFrame,
    *,
    initial_equity_usd: float,
    periods_per_year: float,
    participation_cap_frac: float | None,
    multiples: Sequence[float] = MULTIPLES,
) -> Capacity:
    """Find the capital at which the net Sharpe ratio halves.

    Parameters
    ----------
    daily : DataFrame, R rows
        ``equity``, ``ret_net``, ``cost_impact`` (currency, positive = paid) per session.
    orders : DataFrame
        ``traded_value`` and ``adv_value`` (currency) per order; NaN = not traded.
    initial_equity_usd : float
        Tested capital.
    periods_per_year : float
        Sessions per year.
    participation_cap_frac : float or None
        Cap of the cost profile; None = no cap.
    multiples : sequence of float
        Rows of the table.

    Returns
    -------
    Capacity
        With the reason where there is no such capital.

    Raises
    ------
    InsufficientHistoryError
        Fewer than 3 sessions.
    ConfigError
        A multiple that is not positive.

    Notes
    -----
    ``r_t(k) = r_t - (sqrt(k) - 1) impact_t / equity_(t-1)``: impact per unit of value is
    ``c sqrt(V / ADV)``, so its share of equity grows with the root of the capital (Almgren et al.
    2005; the law of :func:`quant_engine.execution.costs.impact_cost`).

    Examples
    --------
    >>> net = np.array([0.01, -0.005, 0.01, 0.0])
    >>> daily = pd.DataFrame(
    ...     {"equity": 100.0 * np.cumprod(1 + net), "ret_net": net, "cost_impact": 0.05}
    ... )
    >>> orders = pd.DataFrame({"traded_value": [1.0], "adv_value": [100.0]})
    >>> found = capacity(
    ...     daily, orders, initial_equity_usd=100.0, periods_per_year=252.0,
    ...     participation_cap_frac=0.02,
    ... )
    >>> round(found.capacity_usd), found.table["capped_value_frac"].iloc[1].round(2)
    (2287, np.float64(0.33))
    """
    if len(daily) < MIN_SESSIONS:
        raise InsufficientHistoryError(
            "daily", wanted=f"at least {MIN_SESSIONS} sessions", got=len(daily), hint="Wait."
        )
    if min(multiples) <= 0.0:
        raise ConfigError(
            "multiples", wanted="more than 0", got=tuple(multiples), hint="Use (1, 10, 100)."
        )
    net = daily["ret_net"].to_numpy(dtype=np.float64)
    start = daily["equity"].to_numpy(dtype=np.float64) / (1.0 + net)
    impact = daily["cost_impact"].to_numpy(dtype=np.float64) / start

    def ratio(multiple: float) -> float:
        returns = net - (np.sqrt(multiple) - 1.0) * impact
        return float(sharpe(returns, periods_per_year=periods_per_year, method="per_period").value)

    rows = [
        {
            "multiple": multiple,
            "capital_usd": multiple * initial_equity_usd,
            "sharpe": ratio(multiple),
            "annual_impact_frac": float(impact.mean() * np.sqrt(multiple) * periods_per_year),
            "capped_value_frac": _capped(orders, multiple, participation_cap_frac),
        }
        for multiple in multiples
    ]
    multiple, reason = _halving(ratio, impact)
    found, cut = None, None
    if multiple is not None:
        found = multiple * initial_equity_usd
        cut = _capped(orders, multiple, participation_cap_frac)
    return Capacity(found, reason, cut, pd.DataFrame(rows))


def _halving(ratio: Callable[[float], float], impact: FloatVector) -> tuple[float | None, str]:
    """Multiple of the capital at which the ratio is half of that at 1."""
    base = ratio(1.0)
    if not base > 0.0:
        return None, "the net Sharpe ratio is not positive, so there is nothing to halve"
    if not impact.sum() > 0.0:
        return None, "no impact was charged, so the cost model sets no limit"
    high = 2.0
    while ratio(high) > 0.5 * base:
        high *= 2.0
        if high > MAX_MULTIPLE:
            return (
                None,
                f"the Sharpe ratio does not halve up to {MAX_MULTIPLE:.0e} times it",
            )
    root = brentq(lambda m: ratio(m) - 0.5 * base, 1.0, high, xtol=1e-9, rtol=1e-12)
    return float(root), ""


def _capped(orders: pd.DataFrame, multiple: float, cap: float | None) -> float:
    """Share of the traded value that a cap would cut at a multiple of the capital."""
    value = multiple * orders["traded_value"].to_numpy(dtype=np.float64)
    total = np.nansum(value)
    if cap is None or not total > 0.0:
        return 0.0
    room = cap * orders["adv_value"].to_numpy(dtype=np.float64)
    return float(np.nansum(np.maximum(value - room, 0.0)) / total)
