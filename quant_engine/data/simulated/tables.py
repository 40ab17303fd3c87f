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
    """Return asset_id, ex_session, ratio of every split, sorted by session."""
    row, asset = np.nonzero(bars.split_ratio[1:] != 1.0)
    return pd.DataFrame(
        {
            "asset_id": _names(asset_ids, asset),
            "ex_session": sessions[row].astype(_STAMP),
            "ratio": bars.split_ratio[1:][row, asset],
        }
    )


def dividends_table(bars: Bars, sessions: TimeVector, asset_ids: Sequence[str]) -> pd.DataFrame:
    """Return asset_id, ex_session, amount_usd, amount_split_adj_usd, sorted by session."""
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
    """Return asset_id, last_session, terminal_return, reason, sorted by session."""
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
    """Return the spells of a membership mask (T, N): asset_id, start_session, end_session.

    Spells are half open: the end is the first session outside, NaT for spells that last to the
    end of the data.
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
    lives: Lives, sessions: TimeVector, asset_ids: Sequence[str], tickers: Sequence[str]
) -> pd.DataFrame:
    """Return asset_id, ticker, valid_from, valid_to (first session after the last one)."""
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
    bars: Bars, lives: Lives, member: BoolMatrix, sessions: TimeVector
) -> pd.DataFrame:
    """Return equal- and cap-weighted total simple returns of the members.

    The return that ends on session t is earned by the members of t - 1; a name whose last session
    was t - 1 earns its terminal return, a halted name keeps its last price. Weights are sizes that
    were known when the return began: the close of t - 1 for returns between closes, the close of
    t - 2 for returns between opens.

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
        Index ``session``; equal_weight, cap_weight, equal_weight_open, cap_weight_open; NaN on
        the first session (cap_weight_open also on the second).
    """
    close = pd.DataFrame(bars.adjusted["close"][1:]).ffill().to_numpy()
    open_ = bars.adjusted["open"][1:]
    open_ = np.where(np.isnan(open_), close, open_)
    cash = np.nan_to_num(bars.adjusted["dividend"][1:])
    row = np.arange(sessions.size)[:, None]
    leaves = (lives.reason > 0) & (row[1:] == lives.last_row)
    proceeds = close[:-1] * (1.0 + np.nan_to_num(lives.terminal_return))
    members = member[1:-1]
    equal = members.astype(np.float64)
    size = np.where(members, np.nan_to_num(bars.size_usd[1:-1]), 0.0)
    earlier = np.where(members, np.nan_to_num(bars.size_usd[:-2]), 0.0)
    columns: dict[str, FloatVector] = {}
    for suffix, price, cap in (("", close, size), ("_open", open_, earlier)):
        after = np.where(leaves, proceeds, price[1:] + cash[1:])
        change = np.where(members, after / price[:-1] - 1.0, 0.0)
        for name, weight in (("equal_weight", equal), ("cap_weight", cap)):
            columns[name + suffix] = _weighted_mean(change, weight)
    index = pd.DatetimeIndex(sessions.astype(_STAMP), name="session")
    order = ["equal_weight", "cap_weight", "equal_weight_open", "cap_weight_open"]
    return pd.DataFrame({name: columns[name] for name in order}, index=index)


def _weighted_mean(change: FloatMatrix, weight: FloatMatrix) -> FloatVector:
    total = weight.sum(axis=1)
    mean = np.full(total.size + 1, np.nan)
    held = total > 0.0
    mean[1:][held] = (change * weight).sum(axis=1)[held] / total[held]
    return mean


def _names(asset_ids: Sequence[str], positions: np.ndarray) -> pd.Series:
    return pd.Series([asset_ids[i] for i in positions], dtype="str")
