"""Transaction cost analysis: what trading cost against the prices on which it was decided.

Contract: a paper trade at the decision price is the yardstick (Perold 1988). Of the gap to it,
spread, impact and fees were charged and stand between gross and net; delay and the missed gain of
what did not fill were never charged: they say what another book would have earned. Settlements, of
delistings and of halts that outlast the limit, are no orders and are left out. Money is in the
currency of the prices, positive = worse than paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.backtest.facts import SETTLEMENTS
from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import DataError
from quant_engine.core.units import BPS_PER_UNIT

PARTS = ("delay", "spread", "impact", "fees", "opportunity")
"""Parts of the implementation shortfall, in the order in which they arise."""

CHARGED = ("spread", "impact", "fees")
"""Parts that were paid."""

PARTICIPATION_EDGES = (0.001, 0.005, 0.01, 0.02)
"""Edges of the classes of participation: traded value over trailing average daily value."""

SIZE_NAMES = ("smallest fifth", "second fifth", "middle fifth", "fourth fifth", "largest fifth")

TCA_COLUMNS = (
    "dimension",
    "slice",
    "n_orders",
    "ordered_value",
    "traded_value",
    "fill_frac",
    *PARTS,
    "shortfall",
    "shortfall_bps",
)


@dataclass(frozen=True, eq=False)
class TradingCosts:
    """What trading cost.

    Parameters
    ----------
    orders : DataFrame
        `PARTS` and ``shortfall`` (currency), ``ordered_value`` and ``filled_value`` at decision
        prices and ``traded_value`` of every order but settlements, with its row number.
    table : DataFrame
        `TCA_COLUMNS` by ``all, year, side, size, participation``; ``shortfall_bps`` of the ordered
        value at decision prices.
    bridge : dict of str to float
        From gross to net profit: ``pnl_gross``, the charged parts, ``borrow``, ``pnl_net``, and
        ``gap``: what is left of gross minus all of these, 0 up to rounding. Currency.
    """

    orders: pd.DataFrame
    table: pd.DataFrame
    bridge: dict[str, float]


def trading_costs(
    orders: pd.DataFrame, daily: pd.DataFrame, *, closes: pd.DataFrame
) -> TradingCosts:
    """Split what trading cost into its parts.

    Parameters
    ----------
    orders : DataFrame
        Of a backtest, ``ORDER_COLUMNS``; shares signed, prices in currency per share.
    daily : DataFrame indexed by session
        ``equity, ret_net, ret_gross`` and the four cost columns of the same backtest.
    closes : DataFrame indexed by session, one column per asset_id
        Closing prices in the basis of the backtest; NaN = no bar, then the last close counts.

    Returns
    -------
    TradingCosts
        By order, by slice, and the bridge from gross to net.

    Raises
    ------
    DataError
        Orders of a session or an asset without a close.

    Notes
    -----
    With decision price p, fill reference q, close of the fill session c, ordered shares n and
    filled shares m (signed): ``delay = m (q - p)``, ``opportunity = (n - m) (c - p)``, and spread,
    impact and fees as charged. Their sum is the implementation shortfall of Perold (1988), The
    Journal of Portfolio Management 14(3), in the split of Kissell and Glantz (2003). Prices are
    taken as they are: a dividend that goes ex over night stands in the delay.

    Examples
    --------
    >>> day = pd.to_datetime(["2024-05-02"])
    >>> orders = pd.DataFrame(
    ...     {"session": day, "asset_id": ["A@US#1"], "side": ["buy"], "reason": ["rebalance"],
    ...      "ordered_shares": [10.0], "filled_shares": [6.0], "decision_price": [100.0],
    ...      "reference_price": [101.0], "traded_value": [606.0], "adv_value": [1e6],
    ...      "cost_fees": [0.5], "cost_spread": [1.0], "cost_impact": [2.0]}
    ... )
    >>> daily = pd.DataFrame(
    ...     {"equity": [996.5], "ret_net": [-0.0035], "ret_gross": [0.0], "cost_fees": [0.5],
    ...      "cost_spread": [1.0], "cost_impact": [2.0], "cost_borrow": [0.0]}, index=day
    ... )
    >>> found = trading_costs(orders, daily, closes=pd.DataFrame({"A@US#1": [103.0]}, index=day))
    >>> found.orders[list(PARTS)].iloc[0].tolist(), found.table["shortfall_bps"].iloc[0].round(1)
    ([6.0, 1.0, 2.0, 0.5, 12.0], np.float64(215.0))
    """
    kept = orders[~orders["reason"].isin(SETTLEMENTS)]
    priced = _priced(kept, closes)
    return TradingCosts(priced, _table(kept, priced), _bridge(daily))


def _priced(orders: pd.DataFrame, closes: pd.DataFrame) -> pd.DataFrame:
    """Parts of the shortfall of each order."""
    rows = closes.index.get_indexer(pd.DatetimeIndex(orders["session"]))
    columns = closes.columns.get_indexer(pd.Index(orders["asset_id"].astype("str")))
    if (rows < 0).any() or (columns < 0).any():
        strange = int(((rows < 0) | (columns < 0)).sum())
        raise DataError(
            "closes",
            wanted="a row and a column for every order",
            got=f"{strange} orders without",
            hint="Pass the closes of the panel that the backtest ran on.",
        )
    # A book values what it holds at the last close, so a missed order is valued there too.
    marks = closes.ffill().to_numpy(dtype=np.float64)[rows, columns]
    decided = orders["decision_price"].to_numpy(dtype=np.float64)
    reference = orders["reference_price"].to_numpy(dtype=np.float64)
    filled = orders["filled_shares"].to_numpy(dtype=np.float64)
    ordered = orders["ordered_shares"].to_numpy(dtype=np.float64)
    rest = ordered - filled
    values = {
        "ordered_value": np.abs(ordered) * decided,
        "filled_value": np.abs(filled) * decided,
        "traded_value": orders["traded_value"].to_numpy(dtype=np.float64),
        "delay": np.where(filled == 0.0, 0.0, filled * (reference - decided)),
        "spread": orders["cost_spread"].to_numpy(dtype=np.float64),
        "impact": orders["cost_impact"].to_numpy(dtype=np.float64),
        "fees": orders["cost_fees"].to_numpy(dtype=np.float64),
        "opportunity": np.where(rest == 0.0, 0.0, rest * (marks - decided)),
    }
    frame = pd.DataFrame(values, index=orders.index)
    return frame.assign(shortfall=frame[list(PARTS)].sum(axis=1))


def _table(orders: pd.DataFrame, priced: pd.DataFrame) -> pd.DataFrame:
    labels = {
        "all": np.full(len(orders), "all orders", dtype=object),
        "year": pd.DatetimeIndex(orders["session"]).year.astype(str).to_numpy(dtype=object),
        "side": orders["side"].astype("str").to_numpy(dtype=object),
        "size": _size_names(priced["ordered_value"].to_numpy(dtype=np.float64)),
        "participation": _participation_names(orders, priced),
    }
    orders_of = {"size": SIZE_NAMES, "participation": participation_classes()}
    rows: list[dict[str, Any]] = []
    for dimension, label in labels.items():
        names = orders_of.get(dimension, tuple(sorted(set(label))))
        for name in names:
            part = priced[label == name]
            if len(part):
                rows.append(_row(dimension, name, part))
    return pd.DataFrame(rows, columns=list(TCA_COLUMNS))


def _row(dimension: str, name: str, part: pd.DataFrame) -> dict[str, Any]:
    sums = {column: float(part[column].sum()) for column in (*PARTS, "shortfall")}
    ordered, traded = float(part["ordered_value"].sum()), float(part["traded_value"].sum())
    return {
        "dimension": dimension,
        "slice": name,
        "n_orders": len(part),
        "ordered_value": ordered,
        "traded_value": traded,
        "fill_frac": float(part["filled_value"].sum()) / ordered if ordered > 0.0 else np.nan,
        **sums,
        "shortfall_bps": sums["shortfall"] / ordered * BPS_PER_UNIT if ordered > 0.0 else np.nan,
    }


def _size_names(value: FloatVector) -> npt.NDArray[np.object_]:
    """Fifths of the orders by their value; ties in the order of the table."""
    place = np.empty(len(value), dtype=np.int64)
    place[np.argsort(value, kind="stable")] = np.arange(len(value))
    return np.array(SIZE_NAMES, dtype=object)[place * len(SIZE_NAMES) // max(len(value), 1)]


def participation_classes() -> tuple[str, ...]:
    """Names of the classes of participation, smallest first; the last two are no share of volume.

    Returns
    -------
    tuple of str
        One more than `PARTICIPATION_EDGES`, then ``not traded`` and ``volume unknown``.

    Examples
    --------
    >>> participation_classes()[1]
    '0.1 % to 0.5 % of volume'
    """
    text = [f"{edge * 100:g} %" for edge in PARTICIPATION_EDGES]
    between = [f"{low} to {high} of volume" for low, high in pairwise(text)]
    return (
        f"up to {text[0]} of volume",
        *between,
        f"above {text[-1]} of volume",
        "not traded",
        "volume unknown",
    )


def _participation_names(orders: pd.DataFrame, priced: pd.DataFrame) -> npt.NDArray[np.object_]:
    names = np.array(participation_classes(), dtype=object)
    traded = priced["traded_value"].to_numpy(dtype=np.float64)
    volume = orders["adv_value"].to_numpy(dtype=np.float64)
    known = volume > 0.0
    share = traded / np.where(known, volume, 1.0)
    place = np.searchsorted(np.array(PARTICIPATION_EDGES), share, side="left")
    place = np.where(known, place, len(names) - 1)
    return names[np.where(traded > 0.0, place, len(names) - 2)]


def _bridge(daily: pd.DataFrame) -> dict[str, float]:
    """From gross to net profit in money."""
    net, gross = (daily[name].to_numpy(dtype=np.float64) for name in ("ret_net", "ret_gross"))
    equity = daily["equity"].to_numpy(dtype=np.float64)
    # Equity at the start from the session before; a return of -1 leaves nothing to divide by.
    start = np.concatenate((equity[:1] / (1.0 + net[:1]), equity[:-1]))
    parts = {kind: float(daily[f"cost_{kind}"].sum()) for kind in (*CHARGED, "borrow")}
    earned = {"pnl_gross": float((start * gross).sum()), "pnl_net": float((start * net).sum())}
    gap = earned["pnl_gross"] - sum(parts.values()) - earned["pnl_net"]
    return {"pnl_gross": earned["pnl_gross"], **parts, "pnl_net": earned["pnl_net"], "gap": gap}
