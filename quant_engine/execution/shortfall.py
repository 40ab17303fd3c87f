"""What an order cost against a price: the market's average, the price at arrival, a paper trade.

Contract: positive = worse than the yardstick, for a purchase and for a sale. Shares are counted
without a sign; the side gives it.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import DataError, SchemaMismatchError
from quant_engine.core.units import BPS_PER_UNIT
from quant_engine.stats.checks import parse_vector

__all__ = ["Shortfall", "implementation_shortfall", "slippage_bps", "volume_weighted_price"]


class Shortfall(NamedTuple):
    """Gap between an order and the same order done on paper, currency.

    Parameters
    ----------
    executed : float
        Of the shares that were traded.
    unfilled : float
        Of those that were not: what the price did without them.
    """

    executed: float
    unfilled: float

    @property
    def total(self) -> float:
        """Both parts."""
        return self.executed + self.unfilled


def volume_weighted_price(prices: FloatVector, shares: FloatVector) -> float:
    """Average price by shares: of a market's bars its VWAP, of an order's fills what it paid.

    ``sum(p_b n_b) / sum(n_b)``

    Parameters
    ----------
    prices : ndarray, shape (B,)
        Currency per share; NaN where nothing was traded.
    shares : ndarray, shape (B,)
        Shares traded at each price, at least 0; NaN counts as 0.

    Returns
    -------
    float
        Currency per share; NaN where nothing was traded.

    Raises
    ------
    SchemaMismatchError
        Shapes that differ.
    DataError
        Negative shares, or shares traded at an unknown price.

    Examples
    --------
    >>> volume_weighted_price(np.array([10.0, 11.0]), np.array([300.0, 100.0]))
    10.25
    """
    price = parse_vector("prices", prices)
    traded = np.nan_to_num(parse_vector("shares", shares), nan=0.0)
    if price.shape != traded.shape:
        raise SchemaMismatchError(
            "shares",
            wanted=f"{price.size} values, as many as prices",
            got=traded.size,
            hint="One number of shares per price.",
        )
    used = traded != 0.0
    if not (traded >= 0.0).all() or not np.isfinite(price[used]).all():
        raise DataError(
            "prices and shares",
            wanted="shares of at least 0, and a price wherever shares were traded",
            got=f"shares down to {traded.min()}, {int(np.isnan(price[used]).sum())} absent prices",
            hint="The side of an order is an argument of its own.",
        )
    total = float(traded.sum())
    return float(price[used] @ traded[used]) / total if total > 0.0 else math.nan


def slippage_bps(paid: float, yardstick: float, *, side: Literal[1, -1]) -> float:
    """Return the gap between a paid price and a yardstick.

    ``side (paid / yardstick - 1)``

    Parameters
    ----------
    paid : float
        Average price of an order, currency per share.
    yardstick : float
        Price at arrival, or the market's VWAP, currency per share.
    side : {1, -1}
        Purchase or sale.

    Returns
    -------
    float
        In bps; NaN where a price is.

    Examples
    --------
    >>> slippage_bps(99.9, 100.0, side=-1)
    9.999999999998899
    """
    return side * (paid / yardstick - 1.0) * BPS_PER_UNIT


def implementation_shortfall(
    paid: float,
    arrival: float,
    last: float,
    *,
    filled_shares: float,
    unfilled_shares: float,
    side: Literal[1, -1],
) -> Shortfall:
    """Compare an order with a paper trade of all of it at the price at arrival.

    Parameters
    ----------
    paid : float
        Average price of the fills, currency per share; not read where nothing was filled.
    arrival, last : float
        Price when the order was decided, and when what is left of it was given up.
    filled_shares, unfilled_shares : float
        Shares, at least 0.
    side : {1, -1}
        Purchase or sale.

    Returns
    -------
    Shortfall
        Currency.

    Notes
    -----
    ``side ((paid - arrival) filled + (last - arrival) unfilled)``; Perold (1988), The
    Implementation Shortfall, The Journal of Portfolio Management 14(3). Fees are not contained.

    Examples
    --------
    >>> implementation_shortfall(
    ...     100.5, 100.0, 102.0, filled_shares=60.0, unfilled_shares=40.0, side=1
    ... ).total
    110.0
    """
    done = side * (paid - arrival) * filled_shares if filled_shares else 0.0
    return Shortfall(done, side * (last - arrival) * unfilled_shares)
