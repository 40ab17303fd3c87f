"""Fills: how much of an order executes in one session, and the volume that limits it.

An order fills at the session's open up to a share of the trailing average traded value (ADV)
known at the decision. What does not fill is dropped: the next decision starts from the position
that exists, so an old order never trades on a view that has been replaced.
"""

# ruff: noqa: ANN001 -- compiled functions take their types from their arguments.

from __future__ import annotations

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
    return _trailing_adv_kernel(prices, shares, adv_sessions, min_sessions)


@njit(cache=True, nogil=True)
def _trailing_adv_kernel(close, volume, adv_sessions, min_sessions):
    n_rows, n_assets = close.shape
    traded = np.empty((n_rows, n_assets))
    adv = np.empty((n_rows, n_assets))
    age = np.zeros(n_assets, np.int64)
    total = np.empty(n_assets)
    for t in range(n_rows):
        for i in range(n_assets):
            value = close[t, i] * volume[t, i]
            has_bar = value == value
            traded[t, i] = value if has_bar else 0.0
            if has_bar or age[i] > 0:
                age[i] += 1
        # A fresh sum per row (not a running one): the value does not depend on where the panel
        # starts, and a later row cannot disturb an earlier one through rounding.
        total[:] = 0.0
        for s in range(max(0, t - adv_sessions + 1), t + 1):
            for i in range(n_assets):
                total[i] += traded[s, i]
        for i in range(n_assets):
            n = min(adv_sessions, age[i])
            adv[t, i] = total[i] / n if age[i] >= min_sessions else np.nan
    return adv
