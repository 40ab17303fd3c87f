"""Price of a session for an order that is sliced along the volume of its bars.

Contract: the slices of a session are decided before it opens, by the average profile of the
sessions before; the bars of the session itself give prices alone. A bucket without a bar hands its
slice to the next one, as in `quant_engine.execution.slices`; what no later bucket takes is not
traded and counts for no price.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import ConfigError, IdentityError, MissingFieldError
from quant_engine.core.panel import Panel

__all__ = ["scheduled_prices"]

_PROXY = ("high", "low", "close")


def scheduled_prices(
    bars: Panel, daily: Panel, *, history_sessions: int = 20, min_sessions: int = 5
) -> FloatMatrix:
    """Average price of every session by the profile that was known before it.

    Parameters
    ----------
    bars : Panel
        Bars (M, N) with ``volume`` and ``vwap``, or ``high``, ``low``, ``close``. NaN = no bar.
        The session of a bar is the UTC date on which it begins, its bucket the number of bar
        lengths since the session's first bar.
    daily : Panel
        Sessions (T, N) of the same assets and prices; its other fields are not read.
    history_sessions : int
        Sessions before, whose average share of volume by bucket is the profile.
    min_sessions : int
        Sessions with volume that a profile needs; an order is sliced evenly in time until then.

    Returns
    -------
    ndarray of float64, shape (T, N)
        In the rows and columns of `daily`, for its field ``vwap``; NaN where nothing traded.

    Raises
    ------
    ConfigError
        Axes that are not bars and sessions, other price bases, or a history that cannot be.
    IdentityError
        Assets that differ.
    MissingFieldError
        No volume or no price.

    Notes
    -----
    ``price = sum_b w_b p_b / sum_b w_b`` with ``w`` the profile ``mean(v_b / sum v)`` over past
    sessions and ``p_b`` the bar's VWAP, or (high + low + close) / 3.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> times = np.array(["2024-05-02T15:00", "2024-05-02T16:00"], "datetime64[us]")
    >>> axis = TimeAxis("bar", times, "XNYS", 3600)
    >>> fields = {"vwap": np.array([[10.0], [12.0]]), "volume": np.array([[300.0], [100.0]])}
    >>> day = Panel(TimeAxis.sessions(["2024-05-02"]), ("A@US#1",), {"close": np.ones((1, 1))})
    >>> scheduled_prices(Panel(axis, ("A@US#1",), fields), day)
    array([[11.]])
    """
    _check_bars(bars, daily, history_sessions, min_sessions)
    columns = [bars.asset_ids.index(asset) for asset in daily.asset_ids]
    row, bucket, days = _buckets(bars)
    cube = (len(days), int(bucket.max(initial=0)) + 1, len(columns))
    price, volume = np.full(cube, np.nan), np.zeros(cube)
    price[row, bucket] = _bar_prices(bars)[:, columns]
    volume[row, bucket] = np.nan_to_num(np.asarray(bars.field("volume"), np.float64)[:, columns])
    volume[np.isnan(price)] = 0.0
    price[volume == 0.0] = np.nan
    weights = _profiles(volume, price, history_sessions, min_sessions)
    made = _average(weights, price)
    out = np.full(daily.shape, np.nan)
    found = np.searchsorted(days, daily.time.values)
    known = found < len(days)
    known[known] = days[found[known]] == daily.time.values[known]
    out[known] = made[found[known]]
    return out


def _check_bars(bars: Panel, daily: Panel, history: int, least: int) -> None:
    if bars.time.kind != "bar" or daily.time.kind != "session":
        raise ConfigError(
            "bars and daily",
            wanted="a panel of bars and one of sessions",
            got=f"{bars.time.kind} and {daily.time.kind}",
            hint="The first argument holds the bars.",
        )
    if bars.price_basis is not daily.price_basis:
        raise ConfigError(
            "bars.price_basis",
            wanted=f"{daily.price_basis}, as the sessions",
            got=str(bars.price_basis),
            hint="A fill has to be in the prices of the book.",
        )
    if not 1 <= least <= history:
        raise ConfigError(
            "min_sessions",
            wanted="from 1 to history_sessions",
            got=f"{least} of {history}",
            hint="Use 5 of 20.",
        )
    absent = sorted(set(daily.asset_ids) - set(bars.asset_ids))
    if absent:
        raise IdentityError(
            "bars.asset_ids",
            wanted="bars of every asset of the sessions",
            got=f"none of {absent[0]!r} and {len(absent) - 1} others",
            hint="Load bars and sessions from one security master.",
        )


def _bar_prices(bars: Panel) -> FloatMatrix:
    names = ("vwap",) if "vwap" in bars.fields else _PROXY
    absent = [name for name in (*names, "volume") if name not in bars.fields]
    if absent:
        raise MissingFieldError(
            "bars",
            wanted="volume, and vwap or high, low and close",
            got=f"no {', '.join(absent)}",
            hint="Add the fields.",
        )
    prices = [np.asarray(bars.field(name), np.float64) for name in names]
    return np.asarray(sum(prices) / len(prices), np.float64)


def _buckets(
    bars: Panel,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.datetime64]]:
    """Session row and bucket of every bar, and the sessions."""
    # The axis holds closes: a bar that ends at midnight belongs to the day that ends.
    length = np.timedelta64(int(bars.time.bar_seconds or 1), "s")
    begins = bars.time.values - length
    days, first, row = np.unique(
        begins.astype("datetime64[D]"), return_index=True, return_inverse=True
    )
    # Counted from the first bar, because clocks change and exchanges do not.
    bucket = (begins - begins[first][row]) // length
    return row.astype(np.int64), bucket.astype(np.int64), days


def _profiles(
    volume: npt.NDArray[np.float64], price: npt.NDArray[np.float64], history: int, least: int
) -> npt.NDArray[np.float64]:
    """Mean share of volume by bucket over the sessions before, or even parts; shape (D, B, N)."""
    total = volume.sum(axis=1, keepdims=True)
    has_volume = total > 0.0
    share = np.where(has_volume, volume / np.where(has_volume, total, 1.0), 0.0)
    even = np.isfinite(price).any(axis=2, keepdims=True).astype(np.float64)
    out = np.empty(volume.shape)
    for day in range(len(volume)):
        past = slice(max(0, day - history), day)
        n_known = has_volume[past].sum(axis=0)
        sums = share[past].sum(axis=0)
        out[day] = np.where(n_known >= least, sums / np.maximum(n_known, 1), even[day])
    return out


def _average(
    weights: npt.NDArray[np.float64], price: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Average over the buckets that trade; the others hand their part on. Shape (D, N)."""
    carried = np.zeros((len(price), price.shape[2]))
    paid, done = carried.copy(), carried.copy()
    for bucket in range(price.shape[1]):
        due = carried + weights[:, bucket]
        trades = np.isfinite(price[:, bucket])
        paid += np.where(trades, due * np.nan_to_num(price[:, bucket]), 0.0)
        done += np.where(trades, due, 0.0)
        carried = np.where(trades, 0.0, due)
    return np.where(done > 0.0, paid / np.where(done > 0.0, done, 1.0), np.nan)
