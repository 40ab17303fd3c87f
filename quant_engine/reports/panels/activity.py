"""Panels of what the strategy held, traded and paid."""

from __future__ import annotations

import pandas as pd

from quant_engine.reports.derived import (
    closed_trades,
    cost_table,
    trade_statistics,
    worst_and_best,
)
from quant_engine.reports.figures.activity import (
    cost_figure,
    exposure_figure,
    trade_histogram,
    turnover_figure,
)
from quant_engine.reports.formats import (
    COUNT,
    DAYS,
    PERCENT,
    PRICE,
    RATIO,
    SIGNED_MONEY,
    SIGNED_PERCENT,
    SIGNED_PERCENT2,
    NumberFormat,
)
from quant_engine.reports.markup import Markup, join
from quant_engine.reports.panels.parts import (
    Column,
    absent_panel,
    chart,
    metric_value,
    panel,
    table,
    value,
)
from quant_engine.reports.tearsheet_data import COST_KINDS, TearSheetData

__all__ = [
    "cost_panels",
    "exposure_panel",
    "trade_extremes",
    "trade_panels",
    "turnover_panel",
]

_BPS0 = NumberFormat(1)


def _has(frame: pd.DataFrame | None, columns: list[str]) -> bool:
    return frame is not None and len(frame) > 0 and any(column in frame for column in columns)


def exposure_panel(data: TearSheetData) -> Markup:
    """Gross and net exposure and the number of positions.

    Parameters
    ----------
    data : TearSheetData
        Uses ``daily``.

    Returns
    -------
    Markup
        Panel.
    """
    title = "Exposure and positions"
    columns = ["gross_exposure", "net_exposure", "n_long", "n_short"]
    if not _has(data.daily, columns):
        return absent_panel("exposure", title, data.why_absent("daily.gross_exposure"))
    figure = exposure_figure(data.daily)
    label = "Gross and net exposure as a share of equity; long and short positions below."
    note = "Shares of equity; short positions are drawn below zero."
    return panel("exposure", title, chart("exposure", figure, label=label), note=note)


def turnover_panel(data: TearSheetData) -> Markup:
    """Turnover over time.

    Parameters
    ----------
    data : TearSheetData
        Uses ``daily``.

    Returns
    -------
    Markup
        Panel.
    """
    title = "Turnover, times per year"
    if not _has(data.daily, ["turnover"]):
        return absent_panel("turnover", title, data.why_absent("daily.turnover"))
    figure = turnover_figure(data.daily["turnover"], periods_per_year=data.periods_per_year)
    note = join(
        [
            "Moving mean of 21 sessions; half of the absolute weight changes. Whole run: ",
            metric_value(data, "turnover_ann"),
            ".",
        ]
    )
    label = "Annualised turnover over time."
    return panel("turnover", title, chart("turnover", figure, label=label), note=note)


def cost_panels(data: TearSheetData) -> tuple[Markup, Markup]:
    """Costs by kind over time, and per year.

    Parameters
    ----------
    data : TearSheetData
        Uses ``daily``.

    Returns
    -------
    curve, years : Markup
        Two panels.
    """
    titles = ("Costs by kind, cumulative", "Costs per year, bps of equity")
    columns = [f"cost_{kind}" for kind in COST_KINDS]
    if not _has(data.daily, columns):
        reason = data.why_absent("daily.cost_fees")
        return (
            absent_panel("costs", titles[0], reason),
            absent_panel("cost-table", titles[1], reason, span=12),
        )
    label = "Stacked areas of fees, spread, impact and borrow cost, summed over time."
    curve = panel(
        "costs",
        titles[0],
        chart("costs", cost_figure(data.daily), label=label),
        note=join(
            [
                "Sum of session costs as a share of equity. Share of gross profit: ",
                metric_value(data, "cost_share_of_gross"),
                ".",
            ]
        ),
    )
    years = cost_table(data.daily)
    shown = [
        Column("year", "Year", is_left=True),
        Column("n_sessions", "Sessions", COUNT),
        Column("turnover", "Turnover", NumberFormat(1, suffix="×")),
        *(Column(kind, kind.capitalize(), _BPS0) for kind in COST_KINDS),
        Column("total", "Total", _BPS0),
    ]
    body = table("costs", years, shown, caption="Costs per calendar year", row_key="year")
    note = "Sums of the sessions of each year."
    return curve, panel("cost-table", titles[1], body, span=12, note=note)


def _closed(data: TearSheetData) -> pd.DataFrame:
    return pd.DataFrame() if data.trades is None else closed_trades(data.trades)


def _why_no_trade(data: TearSheetData) -> str:
    return data.why_absent("trades") if data.trades is None else "The run closed no trade."


def trade_panels(data: TearSheetData) -> tuple[Markup, Markup]:
    """Trade statistics and the distribution of trade returns.

    Parameters
    ----------
    data : TearSheetData
        Uses ``trades``.

    Returns
    -------
    statistics, distribution : Markup
        Two panels.
    """
    titles = ("Trade statistics", "Net return per trade")
    trades = _closed(data)
    if trades.empty:
        reason = _why_no_trade(data)
        return (
            absent_panel("trade-statistics", titles[0], reason),
            absent_panel("trade-returns", titles[1], reason),
        )
    columns = [
        Column("group", "Side"),
        Column("n_trades", "Trades", COUNT),
        Column("hit_rate", "Hit rate", PERCENT),
        Column("mean_ret", "Mean", SIGNED_PERCENT2),
        Column("median_ret", "Median", SIGNED_PERCENT2),
        Column("mean_win", "Mean win", SIGNED_PERCENT2),
        Column("mean_loss", "Mean loss", SIGNED_PERCENT2),
        Column("profit_factor", "Profit f.", RATIO),
        Column("mean_holding_sessions", "Holding", DAYS),
    ]
    body: list[object] = [
        table(
            "trade_statistics",
            trade_statistics(trades),
            columns,
            caption="Trade statistics by side",
            row_key="group",
        )
    ]
    if "exit_reason" in trades:
        body.append(_exit_table(trades))
    n_open = 0 if data.trades is None else len(data.trades) - len(trades)
    note = join(
        [
            "Per closed trade, equal weight, net of costs; holding in sessions. The hit rate "
            "counts trades, not sessions. Not closed at the end, and left out: ",
            value("trades.n_not_closed", n_open, COUNT),
            ".",
        ]
    )
    figure = trade_histogram(trades)
    label = f"Histogram of net returns of {len(trades)} trades."
    return (
        panel("trade-statistics", titles[0], *body, note=note),
        panel(
            "trade-returns",
            titles[1],
            chart("trade-returns", figure, label=label),
            note="The outermost 1% of trades are counted in the last bins.",
        ),
    )


def _exit_table(trades: pd.DataFrame) -> Markup:
    grouped = trades.groupby("exit_reason", sort=True)["ret_net"]
    exits = pd.DataFrame({"n_trades": grouped.size(), "mean_ret": grouped.mean()}).reset_index()
    exits["share"] = exits["n_trades"] / len(trades)
    exits = exits.sort_values(["n_trades", "exit_reason"], ascending=[False, True])
    columns = [
        Column("exit_reason", "Exit reason"),
        Column("n_trades", "Trades", COUNT),
        Column("share", "Share", PERCENT),
        Column("mean_ret", "Mean", SIGNED_PERCENT2),
    ]
    return table("exits", exits, columns, caption="Trades by reason of exit", row_key="exit_reason")


def trade_extremes(data: TearSheetData, *, n_each: int = 8) -> tuple[Markup, Markup]:
    """The trades that made and lost most.

    Parameters
    ----------
    data : TearSheetData
        Uses ``trades``.
    n_each : int
        How many of each.

    Returns
    -------
    best, worst : Markup
        Two panels.
    """
    titles = {"best": "Best trades", "worst": "Worst trades"}
    trades = _closed(data)
    if trades.empty:
        reason = _why_no_trade(data)
        return (
            absent_panel("trades-best", titles["best"], reason),
            absent_panel("trades-worst", titles["worst"], reason),
        )
    worst, best, ranked_by = worst_and_best(trades, n_each=n_each)
    unit = "profit and loss" if ranked_by == "pnl_usd" else "net return"
    return (
        _extreme_panel("best", titles["best"], best, unit),
        _extreme_panel("worst", titles["worst"], worst, unit),
    )


def _extreme_panel(name: str, title: str, trades: pd.DataFrame, unit: str) -> Markup:
    if trades.empty:
        return absent_panel(f"trades-{name}", title, f"No trade belongs here by {unit}.")
    columns = [
        Column("ticker", "Ticker"),
        Column("side", "Side"),
        Column("entry_session", "Entry"),
        Column("exit_session", "Exit"),
        Column("holding_sessions", "Held", COUNT),
        Column("entry_price", "In", PRICE),
        Column("exit_price", "Out", PRICE),
        Column("ret_net", "Net", SIGNED_PERCENT),
        Column("pnl_usd", "P&L", SIGNED_MONEY),
    ]
    body = table(f"trades.{name}", trades, columns, caption=f"{title} by {unit}")
    return panel(f"trades-{name}", title, body, note=f"Ranked by {unit}; held in sessions.")
