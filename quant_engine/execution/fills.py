"""Fills: how much of an order executes in one session, and the volume that limits it.

An order fills at the session's open up to a share of the trailing average traded value (ADV)
known at the decision. What does not fill is dropped: the next decision starts from the position
that exists, so an old order never trades on a view that has been replaced.
"""

# ruff: noqa: ANN001 -- compiled functions take their types from their arguments.

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import ConfigError
from quant_engine.stats.checks import check_same_shape, parse_matrix


@register_jitable
def fill_fraction(ordered: float, adv: float, participation_cap_frac: float) -> float:
    """Fraction of an order that the participation cap lets through.

    ``f = min(1, cap * ADV / |order|)``.

    Parameters
    ----------
    ordered : float
        Size of the order, in currency (or shares, with `adv` in shares); the sign does not matter.
    adv : float
        Trailing average traded value known at the decision, in the unit of `ordered`. NaN or 0
        means unknown and fills nothing.
    participation_cap_frac : float
        Cap as a fraction of `adv`; infinity = no cap, whatever `adv` is.

    Returns
    -------
    float
        Between 0 and 1.

    Examples
    --------
    >>> fill_fraction(50_000.0, 1_000_000.0, 0.02)
    0.4
    """
    if np.isinf(participation_cap_frac) or ordered == 0.0:
        return 1.0
    if not adv > 0.0:
        return 0.0
    return min(1.0, participation_cap_frac * adv / abs(ordered))


FILL_STATUSES = ("filled", "partial", "no_bar", "below_min_fill", "adv_unknown")
"""What became of an order in its session, by the code that `decide_fill` returns."""

FILLED, PARTIAL, NO_BAR, BELOW_MIN_FILL, ADV_UNKNOWN = range(len(FILL_STATUSES))


class FillLimits(NamedTuple):
    """What limits a fill, as plain numbers; see `CostProfile`.

    Parameters
    ----------
    participation_cap_frac : float
        Largest share of ADV; infinity = no cap.
    min_fill_frac : float
        Smallest part of an opening order that is worth executing.
    needs_adv : bool
        Whether nothing fills while ADV is unknown.
    """

    participation_cap_frac: float
    min_fill_frac: float
    needs_adv: bool


class FillRates(NamedTuple):
    """Rates of one fill, stress included; see `CostProfile` and `CostRates`.

    Parameters
    ----------
    half_spread_frac : float
        Fraction of the price.
    impact_coef_bps : float
        Impact of trading all of ADV, bps.
    participation_cap_frac : float
        Largest share of ADV; infinity = no cap.
    """

    half_spread_frac: float
    impact_coef_bps: float
    participation_cap_frac: float


@register_jitable
def decide_fill(
    ordered_shares: float,
    price: float,
    adv: float,
    held_shares: float,
    can_trade: bool,
    limits: FillLimits,
) -> tuple[int, float]:
    """Decide what becomes of an order in its session.

    An order that opens or adds to a position needs at least the minimum fill; one that reduces a
    position always fills as far as the cap allows.

    Parameters
    ----------
    ordered_shares, held_shares : float
        Shares wanted and held, signed.
    price : float
        Fill price, currency per share.
    adv : float
        Average traded value known at the decision, currency; NaN = unknown.
    can_trade : bool
        Whether the session has a bar.
    limits : FillLimits
        Cap and minimum.

    Returns
    -------
    status : int
        Code into `FILL_STATUSES`.
    fraction : float
        Between 0 and 1; 0 where nothing fills.

    Examples
    --------
    >>> limits = FillLimits(0.02, 0.20, True)
    >>> decide_fill(10.0, 5_000.0, 1e6, 0.0, True, limits)
    (1, 0.4)
    >>> decide_fill(100.0, 5_000.0, 1e6, 0.0, True, limits)
    (3, 0.0)
    """
    if not can_trade:
        return NO_BAR, 0.0
    if limits.needs_adv and not adv > 0.0:
        return ADV_UNKNOWN, 0.0
    fraction = fill_fraction(abs(ordered_shares) * price, adv, limits.participation_cap_frac)
    opens = held_shares * ordered_shares >= 0.0
    if opens and fraction < limits.min_fill_frac:
        return BELOW_MIN_FILL, 0.0
    return (FILLED if fraction >= 1.0 else PARTIAL), fraction


def trailing_adv(
    close: FloatMatrix, volume: FloatMatrix, *, adv_sessions: int = 20, min_sessions: int = 5
) -> FloatMatrix:
    """Average daily traded value over the trailing sessions, known at each close.

    ``ADV[t] = sum(close[s] * volume[s], s = t-n+1 .. t) / n`` with n = min(`adv_sessions`, sessions
    since the asset's first bar). A session without a bar inside that span counts as zero traded
    value, because a halted stock cannot absorb an order. Split adjustment cancels: price times
    volume is the same in either basis.

    Parameters
    ----------
    close, volume : ndarray, shape (T, N)
        Price in currency per share and shares traded, in one price basis; NaN = not traded.
    adv_sessions : int
        Window length in sessions.
    min_sessions : int
        Sessions since the first bar before the average counts as known.

    Returns
    -------
    ndarray of float64, shape (T, N)
        Currency per session; NaN until `min_sessions` sessions have passed since the first bar.

    Raises
    ------
    ConfigError
        A window or minimum below 1.
    DataError
        Arrays of different shapes.

    Examples
    --------
    >>> close, volume = np.array([[10.0], [np.nan], [20.0]]), np.array([[5.0], [np.nan], [1.0]])
    >>> trailing_adv(close, volume, adv_sessions=2, min_sessions=2).ravel()
    array([nan, 25., 10.])
    """
    prices = parse_matrix("close", close)
    shares = parse_matrix("volume", volume)
    check_same_shape("close", prices, "volume", shares)
    for name, value in (("adv_sessions", adv_sessions), ("min_sessions", min_sessions)):
        if value < 1:
            raise ConfigError(name, wanted="at least 1", got=value, hint="Use 20 and 5.")
    # Made here, because numpy asks for large pages and compiled code would not.
    adv = np.empty(prices.shape)
    _fill_trailing_adv(prices, shares, adv_sessions, min_sessions, adv)
    return adv


_BLOCK = 64
"""Assets worked on at a time, so that a window of their traded values stays in the cache."""


@njit(cache=True, nogil=True)
def _fill_trailing_adv(close, volume, adv_sessions, min_sessions, adv):
    n_rows, n_assets = close.shape
    traded = np.empty((min(adv_sessions, n_rows), _BLOCK))
    total, age = np.empty(_BLOCK), np.empty(_BLOCK, np.int64)
    for first in range(0, n_assets, _BLOCK):
        n = min(_BLOCK, n_assets - first)
        age[:] = 0
        traded[:] = 0.0
        for t in range(n_rows):
            row = traded[t % adv_sessions]
            for i in range(n):
                value = close[t, first + i] * volume[t, first + i]
                has_bar = value == value
                row[i] = value if has_bar else 0.0
                if has_bar or age[i] > 0:
                    age[i] += 1
            # A fresh sum per row (not a running one): the value does not depend on where the panel
            # starts, and a later row cannot disturb an earlier one through rounding.
            total[:] = 0.0
            for s in range(max(0, t - adv_sessions + 1), t + 1):
                row = traded[s % adv_sessions]
                for i in range(_BLOCK):
                    total[i] += row[i]
            for i in range(n):
                known = min(adv_sessions, age[i])
                adv[t, first + i] = total[i] / known if age[i] >= min_sessions else np.nan
