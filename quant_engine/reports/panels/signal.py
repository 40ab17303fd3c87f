"""Panels of the signal: information coefficients and quantile returns."""

from __future__ import annotations

from quant_engine.reports.figures.signal import (
    ic_by_date_figure,
    ic_by_horizon_figure,
    ic_is_monthly,
    quantile_bar_figure,
    quantile_cumulative_figure,
)
from quant_engine.reports.formats import COUNT, SIGNED_IC, SIGNED_RATIO, NumberFormat
from quant_engine.reports.markup import Markup, el, join
from quant_engine.reports.panels.parts import (
    Column,
    absent_panel,
    chart,
    metric_value,
    panel,
    table,
    value,
)
from quant_engine.reports.tearsheet_data import TearSheetData

__all__ = ["ic_date_panel", "ic_horizon_panel", "ic_year_panel", "quantile_panels"]

IC_WINDOW_DATES = 63


def ic_date_panel(data: TearSheetData) -> Markup:
    """Rank IC over time.

    Parameters
    ----------
    data : TearSheetData
        Uses ``ic_by_date``.

    Returns
    -------
    Markup
        Panel.
    """
    title = "Rank IC over time"
    if data.ic_by_date is None or data.ic_by_date["rank_ic"].notna().sum() == 0:
        return absent_panel("ic-date", title, data.why_absent("ic_by_date"), span=8)
    figure = ic_by_date_figure(data.ic_by_date, window_dates=IC_WINDOW_DATES)
    unit = "monthly means" if ic_is_monthly(data.ic_by_date) else "single dates"
    positive = float((data.ic_by_date["rank_ic"].dropna() > 0).mean())
    note = join(
        [
            f"Bars are {unit}. Mean of all dates ",
            metric_value(data, "rank_ic_mean"),
            ", Newey-West t ",
            metric_value(data, "rank_ic_t_nw"),
            ", positive on ",
            value("ic.share_positive", positive, NumberFormat(1, scale=100, suffix="%")),
            " of dates.",
        ]
    )
    label = "Bars of rank IC with moving mean; running sum below."
    return panel("ic-date", title, chart("ic-date", figure, label=label), span=8, note=note)


def ic_horizon_panel(data: TearSheetData) -> Markup:
    """Mean IC by horizon with intervals, and the same as a table.

    Parameters
    ----------
    data : TearSheetData
        Uses ``ic_by_horizon``.

    Returns
    -------
    Markup
        Panel.
    """
    title = "IC by horizon"
    horizons = data.ic_by_horizon
    if horizons is None or horizons.empty:
        return absent_panel("ic-horizon", title, data.why_absent("ic_by_horizon"), span=4)
    columns = [
        Column("horizon", "Horizon", COUNT, is_left=True),
        Column("mean", "Mean IC", SIGNED_IC),
        Column("t_nw", "NW t", SIGNED_RATIO),
        Column("n", "Dates", COUNT),
    ]
    detail = el(
        "details",
        el("summary", "Show as a table"),
        table("ic_by_horizon", horizons, columns, caption="IC by horizon", row_key="horizon"),
    )
    figure = ic_by_horizon_figure(horizons)
    label = "Bars of mean IC per horizon with 95% intervals."
    note = "Whiskers: 95% interval from the Newey-West standard error."
    return panel(
        "ic-horizon", title, chart("ic-horizon", figure, label=label), detail, span=4, note=note
    )


def ic_year_panel(data: TearSheetData) -> Markup:
    """IC by calendar year.

    Parameters
    ----------
    data : TearSheetData
        Uses ``ic_by_year``.

    Returns
    -------
    Markup
        Panel with a table.
    """
    title = "IC by year"
    if data.ic_by_year is None or data.ic_by_year.empty:
        return absent_panel("ic-year", title, data.why_absent("ic_by_year"), span=4)
    columns = [
        Column("year", "Year", is_left=True),
        Column("ic", "IC", SIGNED_IC),
        Column("rank_ic", "Rank IC", SIGNED_IC),
        Column("t_nw", "NW t", SIGNED_RATIO),
        Column("n", "Dates", COUNT),
    ]
    body = table("ic_by_year", data.ic_by_year, columns, caption="IC by year", row_key="year")
    note = "Newey-West t of the rank IC within the year."
    return panel("ic-year", title, body, span=4, note=note)


def quantile_panels(data: TearSheetData) -> tuple[Markup, Markup]:
    """Returns of score quantiles: mean, and cumulative.

    Parameters
    ----------
    data : TearSheetData
        Uses ``quantile_returns`` and ``quantile_cumulative``.

    Returns
    -------
    means, curves : Markup
        Two panels.
    """
    titles = ("Forward return by score quantile", "Cumulative return by score quantile")
    means = data.quantile_returns
    if means is None or means.empty:
        bars = absent_panel("quantiles", titles[0], data.why_absent("quantile_returns"), span=4)
    else:
        ordered = means.sort_values("quantile")
        spread = float(
            ordered["mean_fwd_return_bps"].iloc[-1] - ordered["mean_fwd_return_bps"].iloc[0]
        )
        bps = NumberFormat(1, is_signed=True)
        columns = [
            Column("quantile", "Quantile", COUNT, is_left=True),
            Column("mean_fwd_return_bps", "Mean, bps", bps),
            Column("std_error_bps", "Std error", NumberFormat(1)),
        ]
        detail = el(
            "details",
            el("summary", "Show as a table"),
            table("quantiles", ordered, columns, caption=titles[0], row_key="quantile"),
        )
        note = join(
            [
                "Highest minus lowest quantile: ",
                value("quantiles.spread", spread, NumberFormat(1, suffix=" bps", is_signed=True)),
                " per horizon, before costs. Whiskers: 95% interval.",
            ]
        )
        figure = quantile_bar_figure(means)
        label = "Bars of mean forward return per score quantile with 95% intervals."
        bars = panel(
            "quantiles",
            titles[0],
            chart("quantiles", figure, label=label),
            detail,
            span=4,
            note=note,
        )
    curves = data.quantile_cumulative
    if curves is None or curves.empty:
        reason = data.why_absent("quantile_cumulative")
        return bars, absent_panel("quantile-curves", titles[1], reason, span=4)
    label = "One curve of cumulative return per score quantile."
    slot = chart("quantile-curves", quantile_cumulative_figure(curves), label=label)
    return bars, panel("quantile-curves", titles[1], slot, span=4, note="Before costs.")
