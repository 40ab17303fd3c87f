"""The vendor's tables of a world: corporate actions, delistings, spells, identities, benchmark."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector, TimeVector
from quant_engine.data.simulated.lifecycle import REASON_NAMES, Lives
from quant_engine.data.simulated.prices import Bars

_STAMP = "datetime64[us]"


def splits_table(bars: Bars, sessions: TimeVector, asset_ids: Sequence[str]) -> pd.DataFrame:
    """List the splits.

    Parameters
    ----------
    bars : Bars
        Bars with R = T + 1 rows.
    sessions : ndarray of datetime64[D], shape (T,)
        Sessions.
    asset_ids : sequence of str, length N
        Identifiers.

    Returns
    -------
    DataFrame
        asset_id, ex_session, ratio (new shares per old share), by session.
    """
    row, asset = np.nonzero(bars.split_ratio[1:] != 1.0)
    return pd.DataFrame(
        {
            "asset_id": _names(asset_ids, asset),
            "ex_session": sessions[row].astype(_STAMP),
            "ratio": bars.split_ratio[1:][row, asset],
        }
    )


def dividends_table(bars: Bars, sessions: TimeVector, asset_ids: Sequence[str]) -> pd.DataFrame:
    """List the dividends.

    Parameters
    ----------
    bars : Bars
        Bars with R = T + 1 rows.
    sessions : ndarray of datetime64[D], shape (T,)
        Sessions.
    asset_ids : sequence of str, length N
        Identifiers.

    Returns
    -------
    DataFrame
        asset_id, ex_session, amount_usd (as paid), amount_split_adj_usd, by session.
    """
    paid = np.nan_to_num(bars.raw["dividend"][1:])
    row, asset = np.nonzero(paid > 0.0)
    return pd.DataFrame(
        {
            "asset_id": _names(asset_ids, asset),
            "ex_session": sessions[row].astype(_STAMP),
            "amount_usd": paid[row, asset],
            "amount_split_adj_usd": bars.adjusted["dividend"][1:][row, asset],
        }
    )


def delistings_table(lives: Lives, sessions: TimeVector, asset_ids: Sequence[str]) -> pd.DataFrame:
    """List the delistings.

    Parameters
    ----------
    lives : Lives
        Lives of the names; row r is session r - 1.
    sessions : ndarray of datetime64[D], shape (T,)
        Sessions.
    asset_ids : sequence of str, length N
        Identifiers.

    Returns
    -------
    DataFrame
        asset_id, last_session, terminal_return (simple), reason, by session.
    """
    gone = np.flatnonzero(lives.reason > 0)
    gone = gone[np.argsort(lives.last_row[gone], kind="stable")]
    return pd.DataFrame(
        {
            "asset_id": _names(asset_ids, gone),
            "last_session": sessions[lives.last_row[gone] - 1].astype(_STAMP),
            "terminal_return": lives.terminal_return[gone],
            "reason": pd.Series([REASON_NAMES[code] for code in lives.reason[gone]], dtype="str"),
        }
    )


def membership_table(
    member: BoolMatrix, sessions: TimeVector, asset_ids: Sequence[str]
) -> pd.DataFrame:
    """List the spells of a membership mask.

    Parameters
    ----------
    member : ndarray of bool, shape (T, N)
        Membership.
    sessions : ndarray of datetime64[D], shape (T,)
        Sessions.
    asset_ids : sequence of str, length N
        Identifiers.

    Returns
    -------
    DataFrame
        asset_id, start_session, end_session (first session outside; NaT = to the end of the data).
    """
    padded = np.zeros((member.shape[0] + 1, member.shape[1]), dtype=np.int8)
    padded[:-1] = member
    change = np.diff(padded, axis=0, prepend=np.int8(0))
    start_asset, start = np.nonzero(change.T == 1)
    _, end = np.nonzero(change.T == -1)
    ends = np.append(sessions.astype(_STAMP), np.datetime64("NaT", "us"))
    frame = pd.DataFrame(
        {
            "asset_id": _names(asset_ids, start_asset),
            "start_session": sessions[start].astype(_STAMP),
            "end_session": ends[end],
        }
    )
    return frame.sort_values(["asset_id", "start_session"], ignore_index=True)


def security_master_table(
    lives: Lives, sessions: TimeVector, *, asset_ids: Sequence[str], tickers: Sequence[str]
) -> pd.DataFrame:
    """List which asset carried which ticker when.

    Parameters
    ----------
    lives : Lives
        Lives of the names; row r is session r - 1.
    sessions : ndarray of datetime64[D], shape (T,)
        Sessions.
    asset_ids : sequence of str, length N
        Identifiers.
    tickers : sequence of str, length N
        Display symbols.

    Returns
    -------
    DataFrame
        asset_id, ticker, valid_from, valid_to (first session after the last; NaT = valid).
    """
    ends = np.append(sessions.astype(_STAMP), np.datetime64("NaT", "us"))
    valid_to = np.where(lives.reason > 0, ends[lives.last_row], np.datetime64("NaT", "us"))
    frame = pd.DataFrame(
        {
            "asset_id": pd.Series(list(asset_ids), dtype="str"),
            "ticker": pd.Series(list(tickers), dtype="str"),
            "valid_from": sessions[lives.first_row - 1].astype(_STAMP),
            "valid_to": valid_to,
        }
    )
    return frame.sort_values(["ticker", "valid_from"], ignore_index=True)


def benchmark_table(
    bars: Bars, lives: Lives, *, member: BoolMatrix, sessions: TimeVector
) -> pd.DataFrame:
    """Return equal- and cap-weighted total simple returns of the members.

    Both are funds that buy the members of session t - 1 at its close, at equal weights or weights
    proportional to size, and hold them to the close of t: a name whose last session was t - 1 earns
    its terminal return, a halted name keeps its last price. The open-to-open return of a fund is
    the ratio of its values at the opens of t and t - 1.

    Parameters
    ----------
    bars : Bars
        Bars with R rows.
    lives : Lives
        Lives of the names.
    member : ndarray of bool, shape (R, N)
        Universe.
    sessions : ndarray of datetime64[D], shape (T,)
        Sessions, T = R - 1.

    Returns
    -------
    DataFrame
        Index ``session``; ``equal_weight`` and ``cap_weight`` (close to close) and each of them
        with suffix ``_overnight`` (close to open) and ``_open`` (open to open), all ending on the
        session; NaN on the first session, open to open also on the second.
    """
    close = pd.DataFrame(bars.adjusted["close"][1:]).ffill().to_numpy()
    open_ = bars.adjusted["open"][1:]
    open_ = np.where(np.isnan(open_), close, open_)
    cash = np.nan_to_num(bars.adjusted["dividend"][1:])
    row = np.arange(sessions.size)[:, None]
    leaves = (lives.reason > 0) & (row[1:] == lives.last_row)
    proceeds = close[:-1] * (1.0 + np.nan_to_num(lives.terminal_return))
    members = member[1:-1]
    weights = {
        "equal_weight": members.astype(np.float64),
        "cap_weight": np.where(members, np.nan_to_num(bars.size_usd[1:-1]), 0.0),
    }
    overnight, whole = (
        np.where(members, np.where(leaves, proceeds, price[1:] + cash[1:]) / close[:-1] - 1.0, 0.0)
        for price in (open_, close)
    )
    frame = pd.DataFrame(index=pd.DatetimeIndex(sessions.astype(_STAMP), name="session"))
    for name, weight in weights.items():
        frame[name] = _weighted_mean(whole, weight)
    for name, weight in weights.items():
        night = _weighted_mean(overnight, weight)
        frame[f"{name}_overnight"] = night
        day = (1.0 + frame[name].to_numpy()) / (1.0 + night)
        frame[f"{name}_open"] = np.append(np.nan, day[:-1] * (1.0 + night[1:]) - 1.0)
    return frame


def _weighted_mean(change: FloatMatrix, weight: FloatMatrix) -> FloatVector:
    total = weight.sum(axis=1)
    mean = np.full(total.size + 1, np.nan)
    held = total > 0.0
    mean[1:][held] = (change * weight).sum(axis=1)[held] / total[held]
    return mean


def _names(asset_ids: Sequence[str], positions: np.ndarray) -> pd.Series:
    return pd.Series([asset_ids[i] for i in positions], dtype="str")
