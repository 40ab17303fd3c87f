"""Slices: how a book did in different markets, years, regimes, sectors and sizes of names.

Contract: phases of the market describe what happened; they are named with hindsight of the whole
sample (its 80 % quantile of volatility), so nothing may trade on them. Every row says how much it
was seen on: below ``MIN_OBS`` sessions (or trades, for sectors and sizes) it is marked thin, and no
verdict may rest on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import DataError
from quant_engine.core.regimes import RegimeLabel
from quant_engine.stats.checks import parse_vector
from quant_engine.stats.cross_section import percentile_rank
from quant_engine.stats.inference import known_mean
from quant_engine.stats.metrics import (
    annual_return,
    annual_vol,
    drawdown_series,
    hit_rate,
    max_drawdown,
    sharpe,
)

MIN_OBS = 20
"""Sessions (trades) below which a slice is thin."""

PHASES = ("unknown", "crash", "recovery", "high_vol", "trendless", "normal")
"""Phases of a market, in the order in which they are decided; the first that fits holds."""

UNKNOWN = "unknown"

SIZES = ("small", "middle", "large")
"""Thirds of the names of a session by traded value."""

SLICE_COLUMNS = (
    "dimension",
    "slice",
    "n_obs",
    "is_thin",
    "annual_return",
    "annual_vol",
    "sharpe",
    "max_drawdown",
    "session_hit_rate",
    "avg_gross_exposure",
    "avg_net_exposure",
    "n_trades",
    "pnl_net",
)


class PhaseConfig(FrozenConfig):
    """Where a market counts as crashing, recovering, wild or going nowhere.

    Parameters
    ----------
    drawdown_frac : float
        Depth below the running peak from which on a fall is a crash or a recovery.
    trend_sessions : int
        Window of the direction (crash or recovery) and of the trend.
    vol_sessions : int
        Window of the volatility.
    high_vol_quantile : float
        Sessions above this quantile of the sample's own volatility are wild.
    trend_sd : float
        A move of fewer standard deviations than this over the window is no trend.
    """

    drawdown_frac: float = Field(default=0.10, gt=0.0, lt=1.0)
    trend_sessions: int = Field(default=63, ge=3)
    vol_sessions: int = Field(default=21, ge=3)
    high_vol_quantile: float = Field(default=0.80, gt=0.0, lt=1.0)
    trend_sd: float = Field(default=0.25, ge=0.0)


def market_phases(
    returns: npt.ArrayLike,
    config: PhaseConfig = PhaseConfig(),  # noqa: B008
) -> npt.NDArray[np.int64]:
    """Name the phase of a market in every session.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns of the market per session (fraction); NaN = not observed.
    config : PhaseConfig
        Thresholds.

    Returns
    -------
    ndarray of int64, shape (T,)
        Positions in `PHASES`; 0 = unknown, before the windows are full or without a return.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Notes
    -----
    Below the running peak by `drawdown_frac` or more: crash while the return over
    `trend_sessions` is negative, else recovery. Then volatility above its quantile, then a move
    ``|log(1 + R)| < trend_sd * sd * sqrt(trend_sessions)`` as trendless, then normal.

    Examples
    --------
    >>> calm, fall = np.tile([0.002, -0.001], 60), np.full(40, -0.01)
    >>> phases = market_phases(np.concatenate((calm, fall, -fall)))
    >>> [PHASES[phases[row]] for row in (0, 100, 159, 199)]
    ['unknown', 'normal', 'crash', 'normal']
    """
    series = parse_vector("returns", returns)
    known = ~np.isnan(series)
    logs = pd.Series(np.log1p(np.where(known, series, 0.0)))
    depth = np.nan_to_num(drawdown_series(np.where(known, series, 0.0)))
    move = logs.rolling(config.trend_sessions).sum().to_numpy()
    spread = logs.rolling(config.trend_sessions).std().to_numpy()
    vol = logs.rolling(config.vol_sessions).std().to_numpy()
    full = known & ~np.isnan(move) & ~np.isnan(vol)
    limit = np.quantile(vol[full], config.high_vol_quantile) if full.any() else np.inf
    deep = depth <= -config.drawdown_frac
    small = np.abs(move) < config.trend_sd * spread * np.sqrt(config.trend_sessions)
    conditions = [~full, deep & (move < 0.0), deep, vol > limit, small]
    return np.select(conditions, range(len(conditions)), default=len(PHASES) - 1).astype(np.int64)


def size_thirds(traded_value: npt.ArrayLike) -> npt.NDArray[np.object_]:
    """Sort the names of every session into thirds by traded value.

    Parameters
    ----------
    traded_value : array-like, shape (T, N)
        Trailing mean of the traded value, or any rising function of it; NaN = unknown.

    Returns
    -------
    ndarray of str, shape (T, N)
        `SIZES`, or ``"unknown"``.

    Examples
    --------
    >>> size_thirds([[5.0, 1.0, 3.0, np.nan]]).tolist()
    [['large', 'small', 'middle', 'unknown']]
    """
    rank = percentile_rank(np.asarray(traded_value, dtype=np.float64))
    place = np.minimum(np.nan_to_num(rank) * len(SIZES), len(SIZES) - 1).astype(np.int64)
    names = np.array(SIZES, dtype=object)[place]
    names[np.isnan(rank)] = UNKNOWN
    return names


def slice_table(
    daily: pd.DataFrame,
    trades: pd.DataFrame,
    *,
    phases: npt.NDArray[np.int64],
    sectors: pd.Series | None,
    periods_per_year: float,
    sizes: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """Performance by phase, regime, year, sector and size.

    Parameters
    ----------
    daily : DataFrame indexed by session, R rows
        ``ret_net, equity, gross_exposure, net_exposure, regime``.
    trades : DataFrame
        ``asset_id, entry_session, pnl_net``.
    phases : ndarray of int64, shape (R,)
        Of :func:`market_phases`, on the sessions of `daily`.
    sectors : Series of str, indexed by asset_id, or None
        None = no sector is known, so there are no sector rows.
    periods_per_year : float
        Annualisation.
    sizes : array-like of str, one per trade, optional
        Of :func:`size_thirds`; None = no size is known, so there are no size rows.

    Returns
    -------
    DataFrame
        `SLICE_COLUMNS`, one row per dimension (``phase, regime, year, sector, size``) and slice
        that occurs. The sessions of a slice are compounded one after the other although they need
        not be adjacent. Rows of sectors and sizes count trades and money only, NaN elsewhere.

    Raises
    ------
    DataError
        Another number of phases than sessions.
    """
    if len(phases) != len(daily):
        raise DataError(
            "phases", wanted=f"one per session ({len(daily)})", got=len(phases), hint="Align them."
        )
    sessions = pd.DatetimeIndex(daily.index)
    labels = {
        "phase": np.array(PHASES, dtype=object)[phases],
        "regime": np.array([RegimeLabel(int(code)).text for code in daily["regime"]], dtype=object),
        "year": sessions.year.astype(str).to_numpy(dtype=object),
    }
    entered = sessions.get_indexer(pd.DatetimeIndex(trades["entry_session"]))
    rows = []
    for dimension, label in labels.items():
        of_trade = label[np.maximum(entered, 0)]
        of_trade[entered < 0] = None
        for name in sorted(set(label)):
            part = daily[label == name]
            n_trades = int((of_trade == name).sum())
            rows.append(_session_row(dimension, name, part, n_trades, periods_per_year))
    if sectors is not None:
        sector = trades["asset_id"].astype("str").map(sectors).fillna(UNKNOWN)
        rows += _trade_rows("sector", trades, sector.to_numpy(dtype=object))
    if sizes is not None:
        rows += _trade_rows("size", trades, np.asarray(sizes, dtype=object))
    return pd.DataFrame(rows, columns=list(SLICE_COLUMNS))


def positive_share(slices: pd.DataFrame, dimension: str) -> float:
    """Share of slices that are not thin whose annual return is above 0; NaN without any.

    Parameters
    ----------
    slices : DataFrame
        Of :func:`slice_table`.
    dimension : str
        Such as ``"regime"``; unknown slices do not count.

    Returns
    -------
    float
        From 0 to 1.
    """
    judged = slices[
        (slices["dimension"] == dimension) & ~slices["is_thin"] & (slices["slice"] != UNKNOWN)
    ]
    return known_mean((judged["annual_return"] > 0.0).to_numpy(dtype=np.float64))


def _session_row(
    dimension: str, name: str, part: pd.DataFrame, n_trades: int, per_year: float
) -> dict[str, Any]:
    net = part["ret_net"].to_numpy(dtype=np.float64)
    equity = part["equity"].to_numpy(dtype=np.float64)
    return {
        "dimension": dimension,
        "slice": name,
        "n_obs": len(part),
        "is_thin": len(part) < MIN_OBS,
        "annual_return": annual_return(net, periods_per_year=per_year),
        "annual_vol": annual_vol(net, periods_per_year=per_year),
        "sharpe": sharpe(net, periods_per_year=per_year, method="per_period").value,
        "max_drawdown": max_drawdown(net),
        "session_hit_rate": hit_rate(net),
        "avg_gross_exposure": known_mean(part["gross_exposure"].to_numpy(dtype=np.float64)),
        "avg_net_exposure": known_mean(part["net_exposure"].to_numpy(dtype=np.float64)),
        "n_trades": n_trades,
        "pnl_net": float((equity * net / (1.0 + net)).sum()),
    }


def _trade_rows(
    dimension: str, trades: pd.DataFrame, names: npt.NDArray[np.object_]
) -> list[dict[str, Any]]:
    """Rows of slices that hold trades and no sessions."""
    rows = []
    order = {name: place for place, name in enumerate((*SIZES, UNKNOWN))}
    for name in sorted(set(names), key=lambda one: (order.get(one, -1), str(one))):
        part = trades[names == name]
        row: dict[str, Any] = dict.fromkeys(SLICE_COLUMNS, float("nan"))
        row |= {
            "dimension": dimension,
            "slice": str(name),
            "n_obs": len(part),
            "is_thin": len(part) < MIN_OBS,
            "n_trades": len(part),
            "pnl_net": float(part["pnl_net"].sum()),
        }
        rows.append(row)
    return rows
