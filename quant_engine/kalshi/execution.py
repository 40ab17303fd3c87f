"""Fill simulation: what forecasts would have earned at displayed prices, after exact fees.

A decision buys YES at the ask or NO at one minus the bid where the forecast exceeds price and fee
by a threshold. An order takes at most the displayed size; positions are held to settlement.
Stresses fill the *same* orders worse: nothing is decided anew with knowledge of the stress.

Contract: money is whole 1e-6 dollars until it is reported, fees are those of
:mod:`quant_engine.kalshi.fees` at the moment of the trade, and nothing at or behind the fill
decides about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field
from scipy.special import stdtrit

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError, MissingFieldError
from quant_engine.kalshi.event_frames import LOOK_KEY
from quant_engine.kalshi.exchange.fixed import ONE_DOLLAR_E4
from quant_engine.kalshi.fees import (
    CENT_E6,
    FeeEntry,
    Fill,
    Liquidity,
    charge_order,
    fee_entry_at,
)
from quant_engine.kalshi.models import Member
from quant_engine.kalshi.walkforward import WalkForwardForecasts
from quant_engine.stats.clustered import cluster_mean

__all__ = [
    "DISPLAYED",
    "STRESSES",
    "FillConfig",
    "FillResult",
    "FillStress",
    "PerContract",
    "decide_orders",
    "fill_orders",
    "pnl_per_contract",
]

IntVector = npt.NDArray[np.int64]

PRINT_COLUMNS = ("traded_low_e4", "traded_high_e4")


class FillConfig(FrozenConfig):
    """Decision rule and limits.

    Parameters
    ----------
    threshold : float
        Least expected gain per contract after fee, dollars.
    max_leg_c2 : int
        Most contracts held of one leg, hundredths.
    max_event_risk_e6, max_cluster_risk_e6 : int
        Most that can be lost on one event, and on all events of one cluster, 1e-6 dollars.
    liquidity : {"taker", "maker"}
        Take displayed prices, or rest at the own side's best price.
    precision_e6 : int
        Precision of the balance, for the rounding fee.
    """

    threshold: float = Field(default=0.015, ge=0.0)
    max_leg_c2: int = Field(default=10_000, gt=0)
    max_event_risk_e6: int = Field(default=100_000_000, gt=0)
    max_cluster_risk_e6: int = Field(default=100_000_000, gt=0)
    liquidity: Liquidity = "taker"
    precision_e6: int = CENT_E6


@dataclass(frozen=True)
class FillStress:
    """How orders are filled.

    Parameters
    ----------
    name : str
        In reports.
    spread_factor, fee_factor : float
        Multiples of the spread and of the fee.
    is_delayed : bool
        Fill at the following snapshot's price and size, whatever they are.

    Examples
    --------
    >>> [stress.name for stress in STRESSES]
    ['spread_x2', 'fee_x2', 'delay_1']
    """

    name: str
    spread_factor: float = 1.0
    fee_factor: float = 1.0
    is_delayed: bool = False


DISPLAYED = FillStress("displayed")
"""Fills at the displayed price."""
STRESSES = (
    FillStress("spread_x2", spread_factor=2.0),
    FillStress("fee_x2", fee_factor=2.0),
    FillStress("delay_1", is_delayed=True),
)
"""What a promoted claim has to survive."""


@dataclass(frozen=True, eq=False)
class FillResult:
    """Orders of one strategy under one way of filling.

    Parameters
    ----------
    fills : DataFrame
        One row per order that filled: ``event_id, horizon_s, cluster_id, ticker, side, price_e4,
        count_c2, fee_e6, cost_e6`` (paid before fees), ``pnl_e6`` (after fees) and ``liquidity``.
    by_cluster : DataFrame, index cluster_id
        Every out-of-sample cluster in time order, zeros included: ``pnl, risk`` (dollars),
        ``contracts``, ``n_orders``.
    stress : FillStress
        How it was filled.
    """

    fills: pd.DataFrame
    by_cluster: pd.DataFrame
    stress: FillStress


@dataclass(frozen=True)
class PerContract:
    """Gain per contract after fees with a cluster interval.

    Parameters
    ----------
    mean, ci_low, ci_high : float
        Dollars per contract; NaN where nothing was traded.
    n_clusters : int
        Clusters with a trade.
    n_contracts : float
        Contracts.
    """

    mean: float
    ci_low: float
    ci_high: float
    n_clusters: int
    n_contracts: float


def decide_orders(
    forecasts: WalkForwardForecasts,
    member: Member,
    *,
    fees: Sequence[FeeEntry],
    config: FillConfig,
) -> pd.DataFrame:
    """Orders that one forecast sends at what was displayed.

    Parameters
    ----------
    forecasts : WalkForwardForecasts
        Out-of-sample forecasts with legs.
    member : str
        Whose probabilities decide.
    fees : sequence of FeeEntry
        Schedule; the entry of the moment of each look counts.
    config : FillConfig
        Threshold and limits.

    Returns
    -------
    DataFrame
        In the order of sending: ``leg`` (row of ``frames.legs``), ``place`` (row of
        ``frames.looks``), ``side``, ``price_e4``, ``count_c2``, ``edge`` (dollars after fee).

    Raises
    ------
    MissingFieldError
        Frames without legs.
    DataError
        No schedule for a trade.

    Notes
    -----
    Within a look the largest edge is served first. A leg is never held on both sides, and a later
    look adds only up to the limits.
    """
    legs = _legs(forecasts)
    prob = _leg_probabilities(forecasts, member, legs)
    candidates = _candidates(legs, prob, config)
    looks = forecasts.frames.looks
    asof = looks["asof_us"].to_numpy()[candidates["place"]]
    order = np.lexsort((candidates["leg"], -candidates["raw_edge"], asof))
    book = _Limits(config)
    sent = []
    names = looks[["series", "event_ticker", "cluster_id", "asof_us"]].to_numpy()
    tickers = legs["ticker"].to_numpy()
    row: Any
    for row in candidates.iloc[order].itertuples():
        series, event, cluster, asof_us = names[row.place]
        entry = fee_entry_at(fees, series=series, event=event, trade_us=int(asof_us))
        keys = (event, tickers[row.row], cluster)
        count = book.room(keys, row.side, row.price_e4, int(row.size_c2))
        if count <= 0:
            continue
        fill = Fill(row.price_e4, count, liquidity=config.liquidity)
        (charge,) = charge_order([fill], entry, precision_e6=config.precision_e6)
        # 1e-6 dollars over hundredths of a contract: 1e-4 dollars per contract.
        edge = row.raw_edge - charge.net_fee_e6 / count / 1e4
        if edge <= config.threshold:
            continue
        book.take(keys, row.side, row.price_e4, count)
        sent.append((row.leg, row.place, row.side, row.price_e4, count, edge))
    return pd.DataFrame(
        sent, columns=["leg", "place", "side", "price_e4", "count_c2", "edge"]
    ).astype({"leg": np.int64, "place": np.int64, "price_e4": np.int64, "count_c2": np.int64})


def fill_orders(
    forecasts: WalkForwardForecasts,
    orders: pd.DataFrame,
    *,
    fees: Sequence[FeeEntry],
    config: FillConfig,
    stress: FillStress = DISPLAYED,
) -> FillResult:
    """Fill orders and settle them.

    Parameters
    ----------
    forecasts : WalkForwardForecasts
        Where the orders come from.
    orders : DataFrame
        Of :func:`decide_orders`.
    fees : sequence of FeeEntry
        Schedule.
    config : FillConfig
        As for the orders.
    stress : FillStress
        How they are filled.

    Returns
    -------
    FillResult

    Raises
    ------
    ConfigError
        A resting order under a stress of spread or delay, which is not defined.
    MissingFieldError
        Resting orders without the lowest and highest print.

    Notes
    -----
    A taker pays the displayed price, or at a spread factor f another (f - 1) / 2 spreads (an absent
    other side counts as 0). Resting orders fill only where a trade printed strictly through their
    price, and are labelled ``maker``.
    """
    legs = _legs(forecasts)
    looks = forecasts.frames.looks[["series", "event_ticker", "cluster_id", "asof_us"]].to_numpy()
    happened = forecasts.frames.labels["happened"].to_numpy()
    _check_stress(config, stress)
    rows = []
    for order, leg in _with_legs(orders, legs):
        price, count = _filled(order, leg, config, stress)
        if count <= 0:
            continue
        series, event, cluster, asof_us = looks[order.place]
        entry = fee_entry_at(fees, series=series, event=event, trade_us=int(asof_us))
        fill = Fill(price, count, liquidity=config.liquidity)
        (charge,) = charge_order([fill], entry, precision_e6=config.precision_e6)
        fee = round(charge.net_fee_e6 * stress.fee_factor)
        hit = leg.first_cell <= happened[order.place] <= leg.last_cell
        paid = ONE_DOLLAR_E4 * count if hit == (order.side == "yes") else 0
        rows.append(
            (leg.event_id, leg.horizon_s, cluster, leg.ticker, order.side, price, count,
             fee, -fill.revenue_e6, paid + fill.revenue_e6 - fee, config.liquidity)
        )  # fmt: skip
    names = [*LOOK_KEY, "cluster_id", "ticker", "side", "price_e4", "count_c2", "fee_e6",
             "cost_e6", "pnl_e6", "liquidity"]  # fmt: skip
    fills = pd.DataFrame(rows, columns=names)
    return FillResult(fills, _by_cluster(forecasts, fills), stress)


def pnl_per_contract(result: FillResult, *, coverage: float = 0.95) -> PerContract:
    """Gain per contract after fees, with an interval over clusters.

    Parameters
    ----------
    result : FillResult
        Fills of one strategy.
    coverage : float
        Of the two-sided interval.

    Returns
    -------
    PerContract
        NaN with fewer than 2 clusters that traded.

    Notes
    -----
    Ratio ``R = sum pnl_g / sum n_g`` over the clusters that traded; its error is that of the
    residuals ``pnl_g - R n_g`` over the mean of n_g (Cochran 1977, section 6.3), with Student t.
    """
    traded = result.by_cluster[result.by_cluster["contracts"] > 0]
    count = float(traded["contracts"].sum())
    if len(traded) < 2:
        nan = float("nan")
        return PerContract(nan, nan, nan, len(traded), count)
    ratio = float(traded["pnl"].sum()) / count
    residual = (traded["pnl"] - ratio * traded["contracts"]).to_numpy()
    test = cluster_mean(residual, np.arange(len(residual)))
    reach = float(stdtrit(test.df, 0.5 + coverage / 2.0)) * test.std_error * len(traded) / count
    return PerContract(ratio, ratio - reach, ratio + reach, len(traded), count)


class _Limits:
    """What is held so far, per leg, event and cluster."""

    def __init__(self, config: FillConfig) -> None:
        self._config = config
        self._held: dict[Any, int] = {}
        self._side: dict[Any, str] = {}
        self._risk: dict[tuple[str, Any], int] = {}

    def room(self, keys: tuple[Any, Any, Any], side: str, price_e4: int, size_c2: int) -> int:
        """Contracts (hundredths, whole contracts) that the limits leave."""
        event, ticker, cluster = keys
        if self._side.get(ticker, side) != side:
            return 0
        limits = self._config
        left = min(
            limits.max_event_risk_e6 - self._risk.get(("event", event), 0),
            limits.max_cluster_risk_e6 - self._risk.get(("cluster", cluster), 0),
        )
        most = min(size_c2, limits.max_leg_c2 - self._held.get(ticker, 0), left // price_e4)
        return max(int(most) // 100 * 100, 0)

    def take(self, keys: tuple[Any, Any, Any], side: str, price_e4: int, count_c2: int) -> None:
        """Remember an order."""
        event, ticker, cluster = keys
        self._side[ticker] = side
        self._held[ticker] = self._held.get(ticker, 0) + count_c2
        for key in (("event", event), ("cluster", cluster)):
            self._risk[key] = self._risk.get(key, 0) + price_e4 * count_c2


def _legs(forecasts: WalkForwardForecasts) -> pd.DataFrame:
    legs = forecasts.frames.legs
    if legs is None:
        raise MissingFieldError(
            "legs", wanted="frames with legs", got=None, hint="Build the panel with its quotes."
        )
    return legs


def _leg_probabilities(
    forecasts: WalkForwardForecasts, member: Member, legs: pd.DataFrame
) -> pd.DataFrame:
    """Rows of out-of-sample legs: position, place of the look and probability of YES."""
    looks = forecasts.looks
    at = looks.index.get_indexer(pd.MultiIndex.from_frame(legs[LOOK_KEY]))
    mine = np.flatnonzero(at >= 0)
    cells = forecasts.cells
    start = np.flatnonzero(cells["cell"].to_numpy() == 0)
    below = np.concatenate(([0.0], np.cumsum(cells[member].to_numpy())))
    first = start[at[mine]] + legs["first_cell"].to_numpy()[mine]
    last = start[at[mine]] + legs["last_cell"].to_numpy()[mine]
    places = looks["place"].to_numpy()[at[mine]]
    return pd.DataFrame({"leg": mine, "place": places, "prob": below[last + 1] - below[first]})


def _candidates(legs: pd.DataFrame, prob: pd.DataFrame, config: FillConfig) -> pd.DataFrame:
    """Both sides of every leg whose edge before fee exceeds the threshold."""
    mine = legs.iloc[prob["leg"].to_numpy()]
    bid, ask = mine["bid_e4"].to_numpy(), mine["ask_e4"].to_numpy()
    is_taker = config.liquidity == "taker"
    buy, buy_size = (ask, "ask_size_c2") if is_taker else (bid, "bid_size_c2")
    sell, sell_size = (bid, "bid_size_c2") if is_taker else (ask, "ask_size_c2")
    sides = []
    p = prob["prob"].to_numpy()
    for side, price, size, fair in (
        ("yes", buy, mine[buy_size], p),
        ("no", np.where(sell < 0, -1, ONE_DOLLAR_E4 - sell), mine[sell_size], 1.0 - p),
    ):
        edge = fair - price / ONE_DOLLAR_E4
        is_open = (price > 0) & (price < ONE_DOLLAR_E4) & (edge > config.threshold)
        table = prob[["leg", "place"]].assign(
            row=prob["leg"], side=side, price_e4=price, size_c2=size.to_numpy(), raw_edge=edge
        )
        sides.append(table[is_open])
    return pd.concat(sides, ignore_index=True)


def _with_legs(orders: pd.DataFrame, legs: pd.DataFrame) -> Iterator[tuple[Any, Any]]:
    chosen = legs.iloc[orders["leg"].to_numpy()]
    return zip(orders.itertuples(), chosen.itertuples(), strict=True)


def _check_stress(config: FillConfig, stress: FillStress) -> None:
    if config.liquidity == "maker" and (stress.is_delayed or stress.spread_factor != 1.0):
        raise ConfigError(
            "stress",
            wanted="a fee stress for resting orders",
            got=stress.name,
            hint="Spread and delay act on orders that take.",
        )


def _filled(order: Any, leg: Any, config: FillConfig, stress: FillStress) -> tuple[int, int]:
    """Price and count at which an order fills; count 0 where it does not."""
    price, count = int(order.price_e4), int(order.count_c2)
    is_yes = order.side == "yes"
    if config.liquidity == "maker":
        if not all(hasattr(leg, name) for name in PRINT_COLUMNS):
            raise MissingFieldError(
                "legs", wanted=", ".join(PRINT_COLUMNS), got="absent",
                hint="Resting orders need the prints before the following snapshot.",
            )  # fmt: skip
        through = (
            0 <= leg.traded_low_e4 < price if is_yes else leg.traded_high_e4 > ONE_DOLLAR_E4 - price
        )
        return price, count if through else 0
    bid, ask = leg.bid_e4, leg.ask_e4
    size = count
    if stress.is_delayed:
        bid, ask = leg.next_bid_e4, leg.next_ask_e4
        size = int(leg.next_ask_size_c2 if is_yes else leg.next_bid_size_c2) // 100 * 100
        shown = ask if is_yes else bid
        if shown < 0:
            return price, 0
        price = int(shown if is_yes else ONE_DOLLAR_E4 - shown)
    other = max(bid, 0) if is_yes else (ask if ask >= 0 else ONE_DOLLAR_E4)
    spread = abs((ask if is_yes else bid) - other)
    price += int(np.ceil((stress.spread_factor - 1.0) * spread / 2.0))
    return price, min(count, size) if 0 < price < ONE_DOLLAR_E4 else 0


def _by_cluster(forecasts: WalkForwardForecasts, fills: pd.DataFrame) -> pd.DataFrame:
    asof = forecasts.frames.looks["asof_us"].to_numpy()[forecasts.looks["place"]]
    first = pd.Series(asof, index=forecasts.looks["cluster_id"].to_numpy()).groupby(level=0).min()
    ordered = first.sort_values(kind="stable").index
    if not set(fills["cluster_id"]) <= set(ordered):
        raise DataError(
            "orders", wanted="orders of out-of-sample looks", got="others", hint="Decide anew."
        )
    groups = fills.groupby("cluster_id")
    table = pd.DataFrame(
        {
            "pnl": groups["pnl_e6"].sum() / 1e6,
            "risk": (groups["cost_e6"].sum() + groups["fee_e6"].sum()) / 1e6,
            "contracts": groups["count_c2"].sum() / 100.0,
            "n_orders": groups.size().astype(float),
        }
    ).reindex(ordered, fill_value=0.0)
    return table.rename_axis("cluster_id")
