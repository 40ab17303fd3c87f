"""Panels of the return stream and its risk."""

from __future__ import annotations

import pandas as pd

from quant_engine.reports.derived import (
    Reconciliation,
    growth_table,
    reconcile,
    regime_spans,
    top_drawdowns,
    year_table,
)
from quant_engine.reports.figures.performance import (
    MAX_REGIME_SPANS,
    equity_figure,
    monthly_heatmap,
    return_histogram,
    rolling_figure,
    yearly_returns_figure,
)
from quant_engine.reports.formats import (
    COUNT,
    PERCENT,
    RATIO,
    SIGNED_PERCENT,
    SIGNED_RATIO,
    NumberFormat,
)
from quant_engine.reports.markup import Markup, el, join
from quant_engine.reports.panels.parts import (
    Column,
    absent_panel,
    chart,
    panel,
    table,
    value,
)
from quant_engine.reports.tearsheet_data import TearSheetData
from quant_engine.stats.metrics import moments, var_es

__all__ = [
    "FEW_SESSIONS",
    "distribution_panel",
    "drawdown_panel",
    "equity_panel",
    "monthly_panel",
    "regime_panel",
    "rolling_panel",
    "year_panels",
]

FEW_SESSIONS = 20
"""A slice with fewer sessions is marked: its figures are anecdotes."""

ROLLING_SESSIONS = 126
TAIL_ALPHA = 0.05


def equity_panel(data: TearSheetData) -> Markup:
    """Growth, drawdown and regimes.

    Parameters
    ----------
    data : TearSheetData
        Uses ``daily``.

    Returns
    -------
    Markup
        Panel with a linear/log control, or the reason for its absence.
    """
    title = "Growth of 1 and drawdown"
    daily = data.daily
    if daily is None or not data.has_returns:
        return absent_panel("equity", title, data.why_absent("daily"), span=12)
    growth = growth_table(daily)
    # A series that lost everything has no logarithm, so there is nothing to switch to.
    is_log = bool((growth.min() > 0).all())
    figure = equity_figure(daily, regime_names=data.regime_names, is_log=is_log)
    last = growth.ffill().iloc[-1]
    first_session, last_session = daily.index[0], daily.index[-1]
    label = (
        f"Growth of 1 from {first_session.date()} to {last_session.date()}: "
        + ", ".join(f"{name} ends at {number:.2f}" for name, number in last.items())
        + "; below, the drawdown of net equity."
    )
    tools = el(
        "div",
        _axis_button("log", "Log", is_pressed=True),
        _axis_button("linear", "Linear", is_pressed=False),
        class_="segmented",
        role="group",
        aria_label="Scale of the growth axis",
    )
    ends = [
        join([f"{name} ", value(f"growth.{name}.last", float(number), RATIO)])
        for name, number in last.items()
    ]
    note = [join(["Growth of 1 at the end: ", join(ends, ", "), "."]), *_equity_notes(data, daily)]
    return panel(
        "equity",
        title,
        chart("equity", figure, label=label),
        span=12,
        tools=tools if is_log else None,
        note=join([join([" ", part]) for part in note]),
    )


def _axis_button(kind: str, text: str, *, is_pressed: bool) -> Markup:
    return el(
        "button",
        text,
        type="button",
        data_target="equity",
        data_path="yaxis.type",
        data_setting=kind,
        aria_pressed="true" if is_pressed else "false",
    )


def _equity_notes(data: TearSheetData, daily: pd.DataFrame) -> list[object]:
    notes: list[object] = []
    for column, text in (("benchmark_ret", "No benchmark"), ("ret_hedged", "No hedged series")):
        if column not in daily:
            notes.append(f"{text}: {data.why_absent(f'daily.{column}')}")
    if "regime" not in daily:
        notes.append(f"No regime shading: {data.why_absent('daily.regime')}")
    elif regime_spans(daily["regime"], n_max=MAX_REGIME_SPANS)[1]:
        notes.append("Shaded by the most frequent regime of each month.")
    else:
        notes.append("Shaded by the filtered regime of each session.")
    notes.append(_reconciliation_note(reconcile(daily)))
    return notes


def _reconciliation_note(result: Reconciliation) -> Markup:
    bps = NumberFormat(2, suffix=" bps")
    parts = [
        "Net returns and equity differ by at most ",
        value("reconcile.equity_gap_bps", result.equity_gap_bps, bps),
    ]
    if result.cost_gap_bps == result.cost_gap_bps:
        parts += [
            ", gross minus listed costs and net by at most ",
            value("reconcile.cost_gap_bps", result.cost_gap_bps, bps),
        ]
    return join([*parts, " on any session."])


def monthly_panel(data: TearSheetData) -> Markup:
    """Calendar of monthly net returns as a heatmap, and the same as a table.

    Parameters
    ----------
    data : TearSheetData
        Uses ``monthly_returns``.

    Returns
    -------
    Markup
        Panel.
    """
    title = "Monthly net returns, %"
    monthly = data.monthly_returns
    if monthly is None or monthly["ret_net"].notna().sum() == 0:
        return absent_panel("monthly", title, data.why_absent("monthly_returns"), span=7)
    figure = monthly_heatmap(monthly)
    grid = monthly.pivot(index="year", columns="month", values="ret_net").sort_index()
    grid = grid.reindex(columns=range(1, 13))
    grid.columns = [str(month) for month in grid.columns]
    grid["total"] = (1.0 + grid.fillna(0.0)).prod(axis=1) - 1.0
    months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
    columns = [
        Column("year", "Year", is_left=True),
        *(Column(str(k), name, SIGNED_PERCENT) for k, name in enumerate(months, start=1)),
        Column("total", "Year total", SIGNED_PERCENT),
    ]
    detail = el(
        "details",
        el("summary", "Show as a table"),
        table(
            "monthly",
            grid.reset_index(),
            columns,
            caption="Net return by month",
            row_key="year",
        ),
    )
    label = f"Heatmap of net returns by month, {grid.index[0]} to {grid.index[-1]}."
    return panel(
        "monthly", title, chart("monthly", figure, label=label, min_width_px=560), detail, span=7
    )


def year_panels(data: TearSheetData) -> tuple[Markup, Markup]:
    """Calendar years as bars and as a table.

    Parameters
    ----------
    data : TearSheetData
        Uses ``daily``.

    Returns
    -------
    bars, years : Markup
        Two panels.
    """
    titles = ("Net return by year", "Slices by year")
    if data.daily is None or not data.has_returns:
        reason = data.why_absent("daily")
        return (
            absent_panel("years", titles[0], reason, span=5),
            absent_panel("year-table", titles[1], reason, span=12),
        )
    years = year_table(data.daily, periods_per_year=data.periods_per_year)
    bars = chart(
        "years",
        yearly_returns_figure(years),
        label=f"Bars of net return by year, {years['year'].iloc[0]} to {years['year'].iloc[-1]}.",
    )
    columns = [
        Column("year", "Year", is_left=True),
        Column("n_sessions", "Sessions", COUNT),
        Column("ret_net", "Net", SIGNED_PERCENT),
        Column("ret_gross", "Gross", SIGNED_PERCENT),
        Column("ret_benchmark", "Benchmark", SIGNED_PERCENT),
        Column("vol_ann", "Vol", PERCENT),
        Column("sharpe", "Sharpe", SIGNED_RATIO),
        Column("max_drawdown", "Max DD", PERCENT),
    ]
    body = table("years", years, columns, caption="Calendar years", row_key="year")
    note = "Vol and Sharpe are annualised also for part years; Max DD is within the year."
    return (
        panel("years", titles[0], bars, span=5),
        panel("year-table", titles[1], body, span=12, note=note),
    )


def rolling_panel(data: TearSheetData) -> Markup:
    """Sharpe, volatility and beta over half a year.

    Parameters
    ----------
    data : TearSheetData
        Uses ``daily``.

    Returns
    -------
    Markup
        Panel.
    """
    title = f"Rolling Sharpe, volatility and beta, {ROLLING_SESSIONS} sessions"
    daily = data.daily
    if daily is None or not data.has_returns:
        return absent_panel("rolling", title, data.why_absent("daily"), span=7)
    if daily["ret_net"].notna().sum() < ROLLING_SESSIONS:
        reason = f"Fewer than {ROLLING_SESSIONS} sessions were simulated."
        return absent_panel("rolling", title, reason, span=7)
    figure = rolling_figure(
        daily, periods_per_year=data.periods_per_year, window_sessions=ROLLING_SESSIONS
    )
    has_beta = "benchmark_ret" in daily
    note = None if has_beta else f"No beta: {data.why_absent('daily.benchmark_ret')}"
    label = f"Three curves over moving windows of {ROLLING_SESSIONS} sessions."
    return panel("rolling", title, chart("rolling", figure, label=label), span=7, note=note)


def distribution_panel(data: TearSheetData) -> Markup:
    """Histogram of session returns with VaR and ES.

    Parameters
    ----------
    data : TearSheetData
        Uses ``daily``.

    Returns
    -------
    Markup
        Panel.
    """
    title = "Session returns"
    if data.daily is None or not data.has_returns:
        return absent_panel("distribution", title, data.why_absent("daily"), span=5)
    returns = data.daily["ret_net"]
    risk = var_es(returns.to_numpy(dtype=float), alpha=TAIL_ALPHA)
    figure = return_histogram(returns, alpha=TAIL_ALPHA)
    two = NumberFormat(2, scale=100, suffix="%")
    shape = moments(returns.to_numpy(dtype=float), convention="sample")
    note = join(
        [
            "VaR 95% ",
            value("distribution.var", risk.var, two),
            ", ES 95% ",
            value("distribution.es", risk.es, two),
            " (loss of one session, historical). Skew ",
            value("distribution.skew", shape.skew, RATIO),
            ", excess kurtosis ",
            value("distribution.excess_kurtosis", shape.excess_kurtosis, RATIO),
            ".",
        ]
    )
    label = f"Histogram of {shape.n_obs} session returns."
    return panel(
        "distribution", title, chart("distribution", figure, label=label), span=5, note=note
    )


def drawdown_panel(data: TearSheetData, *, n_worst: int = 5) -> Markup:
    """The deepest drawdowns.

    Parameters
    ----------
    data : TearSheetData
        Uses ``daily``.
    n_worst : int
        How many.

    Returns
    -------
    Markup
        Panel with a table.
    """
    title = f"Deepest drawdowns, top {n_worst}"
    if data.daily is None or not data.has_returns:
        return absent_panel("drawdowns", title, data.why_absent("daily"))
    worst = top_drawdowns(data.daily["ret_net"], n_worst=n_worst)
    if worst.empty:
        return absent_panel("drawdowns", title, "Net equity never fell below an earlier peak.")
    worst.insert(0, "rank", range(1, len(worst) + 1))
    columns = [
        Column("rank", "#", is_left=True),
        Column("depth", "Depth", SIGNED_PERCENT),
        Column("peak", "Peak"),
        Column("trough", "Trough"),
        Column("recovered", "Recovered"),
        Column("sessions_to_trough", "To trough", COUNT),
        Column("sessions_under", "Under water", COUNT),
    ]
    body = table("drawdowns", worst, columns, caption="Deepest drawdowns", row_key="rank")
    note = "Sessions from the peak to the trough, and below the old high. n/a: not recovered yet."
    return panel("drawdowns", title, body, note=note)


def regime_panel(data: TearSheetData) -> Markup:
    """Results by market regime.

    Parameters
    ----------
    data : TearSheetData
        Uses ``regime_slices``.

    Returns
    -------
    Markup
        Panel with a table; slices with few sessions are marked.
    """
    title = "Slices by regime"
    slices = data.regime_slices
    if slices is None or slices.empty:
        return absent_panel("regimes", title, data.why_absent("regime_slices"))
    shown = slices.copy()
    shown["regime"] = [_regime_name(data, code) for code in slices["regime"]]
    shown["flag"] = [
        "few sessions" if count < FEW_SESSIONS else "enough" for count in slices["n_sessions"]
    ]
    columns = [
        Column("regime", "Regime"),
        Column("n_sessions", "Sessions", COUNT),
        Column("annual_return", "Return p.a.", SIGNED_PERCENT),
        Column("annual_vol", "Vol p.a.", PERCENT),
        Column("sharpe", "Sharpe", SIGNED_RATIO),
        Column("max_drawdown", "Max DD", PERCENT),
    ]
    if (slices["n_sessions"] < FEW_SESSIONS).any():
        columns.append(Column("flag", "Evidence"))
    body = table("regimes", shown, columns, caption="Results by regime", row_key="regime")
    note = "Net returns of the sessions of each regime, put side by side and annualised."
    return panel("regimes", title, body, note=note)


def _regime_name(data: TearSheetData, code: object) -> str:
    if isinstance(code, str):
        return code
    number = int(code)
    return data.regime_names.get(number, "Warm-up" if number < 0 else f"Regime {number}")
