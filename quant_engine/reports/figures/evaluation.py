"""Figures of the evaluation: cost waterfall, excursions, capacity, attribution, crises."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from quant_engine.reports.decimate import even_positions
from quant_engine.reports.figures.kit import (
    MAX_POINTS,
    canvas,
    line,
    reference_line,
    session_text,
)
from quant_engine.reports.theme import LIGHT, Palette, template

__all__ = [
    "attribution_figure",
    "capacity_figure",
    "crisis_figure",
    "excursion_figure",
    "waterfall_figure",
]

_STACK_POINTS = 400
_STEP_NAMES = {"gross": "Gross", "net": "Net", "other": "Not listed"}


def waterfall_figure(bridge: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """The way from gross to net, one bar per kind of cost.

    Parameters
    ----------
    bridge : DataFrame
        ``step, annual_frac, start`` of :func:`quant_engine.reports.episodes.cost_bridge`.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Bars that begin where the one before ends; the first and the last stand on 0.

    Examples
    --------
    >>> bridge = pd.DataFrame(
    ...     {"step": ["gross", "fees", "net"], "annual_frac": [0.03, -0.01, 0.02],
    ...      "start": [0.0, 0.03, 0.0]}
    ... )
    >>> waterfall_figure(bridge).data[0].text
    ('+3.00%', '−1.00%', '+2.00%')
    """
    colours = {
        "gross": palette.gross,
        "spread": palette.cost_spread,
        "impact": palette.cost_impact,
        "fees": palette.cost_fees,
        "borrow": palette.cost_borrow,
        "other": palette.benchmark,
        "net": palette.strategy,
    }
    change = bridge["annual_frac"].to_numpy(dtype=float)
    names = [_STEP_NAMES.get(step, step.capitalize()) for step in bridge["step"]]
    figure = canvas(palette, height_px=320)
    figure.add_trace(
        go.Bar(
            x=names,
            y=change,
            base=bridge["start"].to_numpy(dtype=float),
            marker={"color": [colours[step] for step in bridge["step"]]},
            text=[_percent(one) for one in change],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{x}: %{text} a year<extra></extra>",
            showlegend=False,
        )
    )
    reference_line(figure, 0.0, row=1, palette=palette)
    figure.update_layout(hovermode="closest", bargap=0.35, margin={"t": 44})
    figure.update_xaxes(type="category")
    figure.update_yaxes(tickformat="~%")
    return figure


def _percent(value: float) -> str:
    sign = "+" if value > 0 else "−" if value < 0 else ""
    return f"{sign}{abs(value) * 100:.2f}%"


def excursion_figure(trades: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """Worst and best price that each trade lived through, gains and losses apart.

    Parameters
    ----------
    trades : DataFrame
        ``mae_frac`` (at most 0), ``mfe_frac`` (at least 0) and ``ret_net``, fractions.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        One point per trade, evenly thinned beyond 1,500 of a colour.

    Examples
    --------
    >>> trades = pd.DataFrame(
    ...     {"mae_frac": [-0.01, -0.05], "mfe_frac": [0.04, 0.0], "ret_net": [0.03, -0.05]}
    ... )
    >>> [(trace.name, len(trace.x)) for trace in excursion_figure(trades).data]
    [('Gain', 1), ('Loss', 1)]
    """
    figure = canvas(palette, height_px=320)
    known = trades.dropna(subset=["mae_frac", "mfe_frac", "ret_net"])
    gained = known["ret_net"] > 0.0
    for name, part, colour in (
        ("Gain", known[gained], palette.up),
        ("Loss", known[~gained], palette.down),
    ):
        chosen = part.iloc[even_positions(len(part), MAX_POINTS)] if len(part) else part
        figure.add_trace(
            go.Scatter(
                x=chosen["mae_frac"].to_numpy(dtype=np.float32),
                y=chosen["mfe_frac"].to_numpy(dtype=np.float32),
                customdata=chosen["ret_net"].to_numpy(dtype=np.float32),
                mode="markers",
                name=name,
                marker={"color": colour, "size": 5, "opacity": 0.45},
                hovertemplate=(
                    "worst %{x:.1%}, best %{y:.1%}, net %{customdata:.1%}<extra></extra>"
                ),
            )
        )
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(tickformat="~%", title_text="worst price while held")
    figure.update_yaxes(tickformat="~%", title_text="best price while held")
    return figure


def capacity_figure(
    capacity: pd.DataFrame, *, capacity_usd: float | None, palette: Palette = LIGHT
) -> go.Figure:
    """Net Sharpe ratio against capital, and what would no longer fill.

    Parameters
    ----------
    capacity : DataFrame
        ``capital_usd``, ``sharpe``, ``capped_value_frac``.
    capacity_usd : float or None
        Where the ratio has halved; None = nowhere.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Capital on a logarithmic axis; bars of the share beyond the participation cap below.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {"capital_usd": [1e6, 1e7], "sharpe": [0.8, 0.5], "capped_value_frac": [0.0, 0.2]}
    ... )
    >>> [trace.name for trace in capacity_figure(table, capacity_usd=2e7).data]
    ['Net Sharpe', 'Beyond the cap']
    """
    figure = canvas(palette, height_px=340, row_heights=(0.68, 0.32), row_gap=0.1)
    x = capacity["capital_usd"].to_numpy(dtype=float)
    figure.add_trace(
        go.Scatter(
            x=x, y=capacity["sharpe"].to_numpy(dtype=float), mode="lines+markers",
            name="Net Sharpe", line={"color": palette.strategy, "width": 1.8},
            hovertemplate="%{x:,.0f}: %{y:.2f}<extra></extra>",
        ),
        row=1, col=1,
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=x, y=capacity["capped_value_frac"].to_numpy(dtype=float), mode="lines+markers",
            name="Beyond the cap", fill="tozeroy", fillcolor=palette.down_fill,
            line={"color": palette.cost_impact, "width": 1.4},
            hovertemplate="%{x:,.0f}: %{y:.1%}<extra></extra>",
        ),
        row=2, col=1,
    )  # fmt: skip
    reference_line(figure, 0.0, row=1, palette=palette)
    figure.update_xaxes(type="log")
    figure.update_yaxes(tickformat="~%", rangemode="tozero", row=2, col=1)
    if capacity_usd is not None and x.min() <= capacity_usd <= x.max():
        figure.add_vline(
            x=capacity_usd, line={"color": palette.warn, "width": 1.5, "dash": "dash"},
            name="Capacity",
        )  # fmt: skip
    figure.update_layout(hovermode="closest")
    return figure


def attribution_figure(cumulative: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """What added up to the net return, stacked over time.

    Parameters
    ----------
    cumulative : DataFrame, index session
        Parts of :func:`quant_engine.reports.episodes.cumulative_parts`, shares of the starting
        capital.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Parts above 0 stacked upwards, parts below 0 downwards, and the net return as a line.

    Examples
    --------
    >>> parts = ("market", "sector", "styles", "selection", "trading", "costs", "net")
    >>> table = pd.DataFrame({name: [0.01] for name in parts}, pd.to_datetime(["2024-01-02"]))
    >>> figure = attribution_figure(table)
    >>> [trace.name for trace in figure.data if trace.showlegend is not False]
    ['Market', 'Sector', 'Styles', 'Selection', 'Trading', 'Costs', 'Net return']
    """
    colours = {
        "market": palette.benchmark,
        "sector": palette.hedged,
        "styles": palette.regime_3,
        "selection": palette.long_side,
        "trading": palette.gross,
        "costs": palette.short_side,
    }
    chosen = cumulative.iloc[even_positions(len(cumulative), _STACK_POINTS)]
    sessions = session_text(chosen.index)
    figure = canvas(palette, height_px=380)
    for part, colour in colours.items():
        values = chosen[part].to_numpy(dtype=float)
        for sign, side in ((1.0, "above"), (-1.0, "below")):
            # A part changes sides over time, so it is drawn on both and named once.
            figure.add_trace(
                line(
                    sessions,
                    np.where(sign * values > 0.0, values, 0.0),
                    name=part.capitalize(),
                    colour=colour,
                    width=0.4,
                    stackgroup=side,
                    fillcolor=colour,
                    opacity=0.75,
                    legendgroup=part,
                    showlegend=sign > 0.0,
                    hoverinfo="skip",
                )
            )
            figure.data[-1].hovertemplate = None
    net = line(
        sessions, chosen["net"].to_numpy(), name="Net return", colour=palette.text, hover=".1%",
        width=2.0,
    )  # fmt: skip
    net.customdata = np.round(chosen[list(colours)].to_numpy(dtype=float) * 100.0, 2)
    shown = "".join(
        f"<br>{part} %{{customdata[{place}]:.1f}}%" for place, part in enumerate(colours)
    )
    net.hovertemplate = f"net %{{y:.1%}}{shown}<extra></extra>"
    figure.add_trace(net)
    reference_line(figure, 0.0, row=1, palette=palette)
    figure.update_layout(legend={"traceorder": "normal"})
    figure.update_yaxes(tickformat="~%")
    return figure


def crisis_figure(
    paths: Sequence[pd.DataFrame], titles: Sequence[str], *, palette: Palette = LIGHT
) -> go.Figure:
    """Book and benchmark through the worst episodes of the market.

    Parameters
    ----------
    paths : sequence of DataFrame, index session
        ``book`` and ``benchmark``, 1 at the peak.
    titles : sequence of str
        One per path.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Small panels beside one another that share their scale, over sessions since the peak.

    Examples
    --------
    >>> path = pd.DataFrame({"book": [1.0], "benchmark": [0.9]}, pd.to_datetime(["2020-03-02"]))
    >>> [trace.name for trace in crisis_figure([path], ["2020"]).data]
    ['Benchmark', 'Book, net']
    """
    figure = make_subplots(
        rows=1, cols=len(paths), shared_yaxes=True, subplot_titles=list(titles),
        horizontal_spacing=0.03,
    )  # fmt: skip
    figure.update_layout(template=template(palette.name), height=300, uirevision="keep")
    for place, path in enumerate(paths, start=1):
        kept = even_positions(len(path), _STACK_POINTS)
        chosen = path.iloc[kept]
        for column, name, colour in (
            ("benchmark", "Benchmark", palette.benchmark),
            ("book", "Book, net", palette.strategy),
        ):
            trace = line(
                kept.tolist(), chosen[column].to_numpy(dtype=float) - 1.0, name=name,
                colour=colour, legendgroup=column, showlegend=place == 1,
            )  # fmt: skip
            # Small panels have no room for dates; the title and the table say when it was.
            trace.customdata = session_text(chosen.index)
            trace.hovertemplate = f"%{{customdata}}: %{{y:+.1%}}<extra>{name}</extra>"
            figure.add_trace(trace, row=1, col=place)
    figure.update_xaxes(nticks=3)
    figure.update_yaxes(tickformat="~%")
    figure.add_hline(y=0.0, line={"color": palette.benchmark, "width": 1, "dash": "dot"})
    figure.update_annotations(font={"size": 12})
    figure.update_layout(margin={"t": 56}, legend={"y": 1.25})
    return figure
