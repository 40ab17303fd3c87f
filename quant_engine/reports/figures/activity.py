"""Figures of what the strategy did: exposure, turnover, costs, trades."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from quant_engine.reports.decimate import even_positions
from quant_engine.reports.figures.kit import (
    canvas,
    drawn_positions,
    line,
    reference_line,
    row_titles,
    session_text,
)
from quant_engine.reports.tearsheet_data import COST_KINDS
from quant_engine.reports.theme import LIGHT, Palette

__all__ = ["cost_figure", "exposure_figure", "trade_histogram", "turnover_figure"]

_STACK_POINTS = 500


def exposure_figure(daily: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """Gross and net exposure over the number of long and short positions.

    Parameters
    ----------
    daily : DataFrame, index session
        Columns among ``gross_exposure``, ``net_exposure`` (fraction of equity), ``n_long``,
        ``n_short`` (counts); rows without any column are left out.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        One or two rows; short positions are drawn downwards.

    Examples
    --------
    >>> daily = pd.DataFrame(
    ...     {"gross_exposure": [1.0], "n_long": [10]}, index=pd.to_datetime(["2024-01-02"])
    ... )
    >>> [trace.name for trace in exposure_figure(daily).data]
    ['Gross', 'Long positions']
    """
    exposures = [
        ("gross_exposure", "Gross", palette.strategy),
        ("net_exposure", "Net", palette.hedged),
    ]
    counts = [
        ("n_long", "Long positions", palette.long_side),
        ("n_short", "Short positions", palette.short_side),
    ]
    exposures = [entry for entry in exposures if entry[0] in daily]
    counts = [entry for entry in counts if entry[0] in daily]
    columns = [entry[0] for entry in exposures + counts]
    chosen = daily[columns].astype(float)
    chosen = chosen.iloc[drawn_positions(chosen, columns)]
    sessions = session_text(chosen.index)
    n_rows = int(bool(exposures)) + int(bool(counts))
    figure = canvas(
        palette, height_px=330, row_heights=[0.55, 0.45][-n_rows:] if n_rows else [1], row_gap=0.13
    )
    for column, name, colour in exposures:
        values = chosen[column].to_numpy()
        trace = line(sessions, values, name=name, colour=colour, hover=".1%", width=1.4)
        figure.add_trace(trace, row=1, col=1)
    for column, name, colour in counts:
        sign = -1.0 if column == "n_short" else 1.0
        values = chosen[column].to_numpy()
        trace = line(sessions, sign * values, name=name, colour=colour, width=1.2)
        trace.update(
            customdata=values.astype(np.float32),
            hovertemplate=f"%{{customdata:.0f}}<extra>{name}</extra>",
            line_shape="hv",
        )
        figure.add_trace(trace, row=n_rows, col=1)
    titles = [*(["Exposure, share of equity"] * bool(exposures)), *(["Positions"] * bool(counts))]
    row_titles(figure, titles)
    if exposures:
        figure.update_yaxes(tickformat="~%", nticks=6, row=1, col=1)
        reference_line(figure, 0.0, row=1, palette=palette)
    if counts:
        reference_line(figure, 0.0, row=n_rows, palette=palette)
    # Legend above the first row title.
    figure.update_layout(legend={"y": 1.09}, margin={"t": 20})
    return figure


def turnover_figure(
    turnover: pd.Series,
    *,
    periods_per_year: float,
    window_sessions: int = 21,
    palette: Palette = LIGHT,
) -> go.Figure:
    """Turnover as a moving mean, annualised.

    Parameters
    ----------
    turnover : Series, index session
        Half of the absolute weight changes of the session (fraction of equity).
    periods_per_year : float
        Annualisation.
    window_sessions : int
        Length of the mean (21 = one month).
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Times per year.

    Examples
    --------
    >>> turnover = pd.Series([0.1, 0.1], index=pd.to_datetime(["2024-01-02", "2024-01-03"]))
    >>> figure = turnover_figure(turnover, periods_per_year=252, window_sessions=2)
    >>> round(float(figure.data[0].y[1]), 3)
    25.2
    """
    table = (turnover.rolling(window_sessions).mean() * periods_per_year).to_frame("turnover")
    chosen = table.iloc[drawn_positions(table, ["turnover"])]
    figure = canvas(palette, height_px=300)
    figure.add_trace(
        line(
            session_text(chosen.index),
            chosen["turnover"].to_numpy(),
            name="Turnover, times per year",
            colour=palette.strategy,
            hover=".1f",
            fill="tozeroy",
            fillcolor=palette.strategy_fill,
            showlegend=False,
        )
    )
    figure.update_yaxes(ticksuffix="×", rangemode="tozero")
    return figure


def cost_figure(daily: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """Costs by kind, summed over time and stacked.

    Parameters
    ----------
    daily : DataFrame, index session
        The ``cost_*`` columns that are there (fraction of equity, positive = paid; NaN = 0).
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Stacked areas as a percentage of equity (sum of session fractions, not compounded).

    Examples
    --------
    >>> sessions = pd.to_datetime(["2024-01-02", "2024-01-03"])
    >>> figure = cost_figure(pd.DataFrame({"cost_fees": [0.001, 0.001]}, index=sessions))
    >>> figure.data[0].y.round(4).tolist()
    [0.0010000000474974513, 0.0020000000949949026]
    """
    colours = {
        "fees": palette.cost_fees,
        "spread": palette.cost_spread,
        "impact": palette.cost_impact,
        "borrow": palette.cost_borrow,
    }
    kinds = [kind for kind in COST_KINDS if f"cost_{kind}" in daily]
    paid = daily[[f"cost_{kind}" for kind in kinds]].fillna(0.0).cumsum()
    chosen = paid.iloc[even_positions(len(paid), _STACK_POINTS)]
    sessions = session_text(chosen.index)
    figure = canvas(palette, height_px=300)
    for kind in kinds:
        figure.add_trace(
            line(
                sessions,
                chosen[f"cost_{kind}"].to_numpy(),
                name=kind.capitalize(),
                colour=colours[kind],
                width=0.6,
                hover=".2%",
                stackgroup="costs",
                fillcolor=colours[kind],
            )
        )
    figure.update_layout(legend={"traceorder": "normal"})
    figure.update_yaxes(tickformat="~%")
    return figure


def trade_histogram(trades: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """Distribution of net returns per trade, gains and losses in their colours.

    Parameters
    ----------
    trades : DataFrame
        Column ``ret_net`` (fraction; NaN = not closed, left out).
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Bins of equal width with an edge at zero; the outer 0.5% on each side are drawn in the
        last bins.

    Examples
    --------
    >>> figure = trade_histogram(pd.DataFrame({"ret_net": [-0.02, 0.01, 0.03]}))
    >>> int(figure.data[0].y.sum())
    3
    """
    returns = trades["ret_net"].dropna().to_numpy(dtype=float)
    bound = float(np.quantile(np.abs(returns), 0.99)) or 1.0
    half = min(25, max(3, returns.size // 20))
    edges = np.linspace(-bound, bound, 2 * half + 1)
    counts, _ = np.histogram(np.clip(returns, -bound, bound), bins=edges)
    centres = (edges[:-1] + edges[1:]) / 2
    colours = [palette.up if centre > 0 else palette.down for centre in centres.tolist()]
    figure = canvas(palette, height_px=300)
    figure.add_trace(
        go.Bar(
            x=centres,
            y=counts,
            width=float(edges[1] - edges[0]) * 0.9,
            marker={"color": colours, "opacity": 0.8},
            name="Trades",
            hovertemplate="%{x:.1%}: %{y} trades<extra></extra>",
            showlegend=False,
        )
    )
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(tickformat="~%")
    return figure
