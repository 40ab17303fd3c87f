"""Figures of the return stream: growth, drawdown, calendar, rolling ratios, distribution."""

from __future__ import annotations

from collections.abc import Mapping
from math import pi, sqrt

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from quant_engine.reports.derived import growth_table, regime_spans, rolling_table
from quant_engine.reports.figures.kit import (
    canvas,
    drawn_positions,
    line,
    reference_line,
    row_titles,
    session_text,
)
from quant_engine.reports.formats import NumberFormat
from quant_engine.reports.tearsheet_data import REGIME_NAMES
from quant_engine.reports.theme import LIGHT, Palette, template
from quant_engine.stats.metrics import drawdown_series, var_es

__all__ = [
    "MAX_REGIME_SPANS",
    "equity_figure",
    "monthly_heatmap",
    "return_histogram",
    "rolling_figure",
    "yearly_returns_figure",
]

MAX_REGIME_SPANS = 240
"""More stripes than this are merged to months."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def equity_figure(
    daily: pd.DataFrame,
    *,
    regime_names: Mapping[int, str] = REGIME_NAMES,
    is_log: bool = True,
    palette: Palette = LIGHT,
) -> go.Figure:
    """Growth of 1 (net, gross, benchmark, hedged) over the drawdown of net, shaded by regime.

    Parameters
    ----------
    daily : DataFrame, index session
        Columns of ``FRAMES["daily"]``; absent series are left out.
    regime_names : Mapping of int to str
        Names of the codes in column ``regime``.
    is_log : bool
        Logarithmic growth axis: equal distances are equal percentages.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Two rows; at most ``MAX_POINTS`` points per line.

    Examples
    --------
    >>> sessions = pd.date_range("2024-01-01", periods=3)
    >>> daily = pd.DataFrame({"ret_net": 0.01, "ret_gross": 0.02}, index=sessions)
    >>> [trace.name for trace in equity_figure(daily).data]
    ['Gross', 'Net', 'Drawdown']
    """
    table = growth_table(daily)
    table["drawdown"] = drawdown_series(daily["ret_net"].to_numpy(dtype=float))
    chosen = table.iloc[drawn_positions(table, list(table.columns))]
    sessions = session_text(chosen.index)
    figure = canvas(palette, height_px=540, row_heights=(0.72, 0.28), row_gap=0.045)
    styles = {
        "benchmark": ("Benchmark", palette.benchmark, 3, {"width": 1.4}),
        "hedged": ("Net, beta-hedged", palette.hedged, 4, {"width": 1.3, "dash": "dash"}),
        "gross": ("Gross", palette.gross, 2, {"width": 1.4, "dash": "dot"}),
        "net": ("Net", palette.strategy, 1, {"width": 2.2}),
    }
    for column, (name, colour, rank, style) in styles.items():
        if column in chosen:
            values = chosen[column].to_numpy()
            figure.add_trace(
                line(sessions, values, name=name, colour=colour, legendrank=rank, **style),
                row=1,
                col=1,
            )
    figure.add_trace(
        line(
            sessions,
            chosen["drawdown"].to_numpy(),
            name="Drawdown",
            colour=palette.down,
            width=1.1,
            hover=".2%",
            fill="tozeroy",
            fillcolor=palette.down_fill,
            showlegend=False,
        ),
        row=2,
        col=1,
    )
    if "regime" in daily and daily["regime"].notna().any():
        _shade_regimes(figure, daily["regime"], regime_names, palette)
    figure.update_yaxes(
        type="log" if is_log else "linear", tickformat="~g", row=1, col=1, minor_showgrid=False
    )
    figure.update_yaxes(tickformat="~%", rangemode="tozero", nticks=5, row=2, col=1)
    row_titles(figure, ["", "Drawdown of net equity"])
    return figure


def _shade_regimes(
    figure: go.Figure, regime: pd.Series, names: Mapping[int, str], palette: Palette
) -> None:
    spans, _ = regime_spans(regime, n_max=MAX_REGIME_SPANS)
    first, last = session_text(spans["first"]), session_text(spans["last"])
    shapes = [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": x0,
            "x1": x1,
            "y0": 0,
            "y1": 1,
            "layer": "below",
            "line": {"width": 0},
            "fillcolor": palette.shade(code),
        }
        for code, x0, x1 in zip(spans["code"].tolist(), first, last, strict=True)
    ]
    figure.update_layout(shapes=shapes)
    for code in sorted(set(spans["code"].tolist())):
        # Shapes have no legend of their own weight: an empty trace carries the solid colour.
        figure.add_trace(
            go.Scatter(
                x=[None],
                y=[None],
                mode="markers",
                name=names.get(code, f"Regime {code}"),
                marker={"symbol": "square", "size": 10, "color": palette.regime(code)},
                hoverinfo="skip",
                legendrank=2000 + code,
            ),
            row=1,
            col=1,
        )


def monthly_heatmap(monthly: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """Net return of every month, and of every year at the right edge.

    Parameters
    ----------
    monthly : DataFrame
        Columns ``year``, ``month`` (1 to 12), ``ret_net`` (fraction; NaN = none).
    palette : Palette
        Theme; the colour scale itself stands in the template.

    Returns
    -------
    plotly.graph_objects.Figure
        Two heatmaps; the scale ends at the 95% quantile of absolute returns.

    Examples
    --------
    >>> monthly = pd.DataFrame({"year": [2024, 2024], "month": [1, 2], "ret_net": [0.1, 0.1]})
    >>> monthly_heatmap(monthly).data[1].text.tolist()
    [['+21.0']]
    """
    grid = monthly.pivot(index="year", columns="month", values="ret_net")
    grid = grid.reindex(columns=range(1, 13)).sort_index()
    yearly = (1.0 + grid.fillna(0.0)).prod(axis=1).to_frame() - 1.0
    figure = make_subplots(
        rows=1, cols=2, shared_yaxes=True, column_widths=[0.9, 0.1], horizontal_spacing=0.012
    )
    years = [str(year) for year in grid.index]
    for column, (table, labels) in enumerate(((grid, _MONTHS), (yearly, ("Year",))), start=1):
        values = table.to_numpy(dtype=float)
        bound = float(np.nanquantile(np.abs(values), 0.95)) or 1.0
        figure.add_trace(
            go.Heatmap(
                x=list(labels),
                y=years,
                z=values.astype(np.float32),
                zmin=-bound,
                zmax=bound,
                text=_percent_labels(values),
                texttemplate="%{text}",
                hovertemplate="%{x} %{y}: %{text}%<extra></extra>",
            ),
            row=1,
            col=column,
        )
    figure.update_layout(template=template(palette.name), height=56 + 30 * len(years))
    figure.update_layout(hovermode="closest", uirevision="keep")
    figure.update_xaxes(side="top", ticks="", fixedrange=True)
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False, fixedrange=True)
    return figure


def _percent_labels(values: np.ndarray) -> np.ndarray:
    label = NumberFormat(1, scale=100, is_signed=True).text
    flat = ["" if np.isnan(value) else label(float(value)) for value in values.ravel()]
    return np.array(flat, dtype=object).reshape(values.shape)


def rolling_figure(
    daily: pd.DataFrame,
    *,
    periods_per_year: float,
    window_sessions: int = 126,
    palette: Palette = LIGHT,
) -> go.Figure:
    """Sharpe ratio, volatility and beta over a moving window, one row each.

    Parameters
    ----------
    daily : DataFrame, index session
        Columns ``ret_net`` and optionally ``benchmark_ret``; without it there is no beta row.
    periods_per_year : float
        Annualisation.
    window_sessions : int
        Length of the window (126 = half a year).
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Two or three rows.

    Examples
    --------
    >>> sessions = pd.date_range("2024-01-01", periods=4)
    >>> daily = pd.DataFrame({"ret_net": [0.01, 0.0, 0.02, 0.01]}, index=sessions)
    >>> len(rolling_figure(daily, periods_per_year=252, window_sessions=2).data)
    2
    """
    table = rolling_table(daily, periods_per_year=periods_per_year, window_sessions=window_sessions)
    chosen = table.iloc[drawn_positions(table, list(table.columns))]
    sessions = session_text(chosen.index)
    rows = [
        ("sharpe", "Sharpe ratio", palette.strategy, ".2f", "~g"),
        ("vol_ann", "Volatility, annual", palette.cost_spread, ".1%", "~%"),
        ("beta", "Beta to benchmark", palette.hedged, ".2f", "~g"),
    ]
    rows = [row for row in rows if row[0] in chosen]
    figure = canvas(
        palette, height_px=130 * len(rows) + 40, row_heights=[1.0] * len(rows), row_gap=0.1
    )
    for number, (column, name, colour, hover, ticks) in enumerate(rows, start=1):
        values = chosen[column].to_numpy()
        trace = line(sessions, values, name=name, colour=colour, hover=hover, showlegend=False)
        figure.add_trace(trace, row=number, col=1)
        figure.update_yaxes(tickformat=ticks, nticks=5, row=number, col=1)
        if column == "vol_ann":
            figure.update_yaxes(rangemode="tozero", row=number, col=1)
        else:
            reference_line(figure, 0.0, row=number, palette=palette)
    row_titles(figure, [row[1] for row in rows])
    figure.update_layout(margin={"t": 22})
    return figure


def return_histogram(
    returns: pd.Series, *, alpha: float = 0.05, palette: Palette = LIGHT
) -> go.Figure:
    """Distribution of session returns with value at risk, expected shortfall and a normal curve.

    Parameters
    ----------
    returns : Series
        Simple returns per session (fraction); NaN = not observed.
    alpha : float
        Tail probability of VaR and ES.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Bars coloured by tail; the curve has the sample mean and standard deviation.

    Examples
    --------
    >>> figure = return_histogram(pd.Series([-0.02, -0.01, 0.0, 0.01, 0.02]))
    >>> [shape.name for shape in figure.layout.shapes]
    ['VaR', 'ES']
    """
    observed = returns.dropna().to_numpy(dtype=float)
    risk = var_es(observed, alpha=alpha)
    counts, edges = np.histogram(observed, bins=min(60, max(5, observed.size // 8)))
    centres = (edges[:-1] + edges[1:]) / 2
    figure = canvas(palette, height_px=330)
    is_tail = centres <= -risk.var
    colours = [palette.down if tail else palette.strategy for tail in is_tail.tolist()]
    figure.add_trace(
        go.Bar(
            x=centres,
            y=counts,
            width=float(edges[1] - edges[0]) * 0.9,
            marker={"color": colours, "opacity": 0.85},
            name="Sessions",
            hovertemplate="%{x:.2%}: %{y} sessions<extra></extra>",
            showlegend=False,
        )
    )
    curve_x, curve_y = _normal_counts(observed, edges)
    figure.add_trace(
        go.Scatter(
            x=curve_x,
            y=curve_y,
            mode="lines",
            name="Normal with the same mean and deviation",
            line={"color": palette.benchmark, "width": 1.5, "dash": "dash"},
            hoverinfo="skip",
        )
    )
    share = f"{1 - alpha:.0%}"
    for name, loss, height in (("VaR", risk.var, 0.97), ("ES", risk.es, 0.84)):
        _mark_loss(figure, f"{name} {share}", name, (loss, height), palette)
    figure.update_layout(hovermode="closest", bargap=0.06)
    figure.update_xaxes(tickformat="~%")
    return figure


def _normal_counts(observed: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    deviation = float(observed.std(ddof=1)) if observed.size > 1 else 0.0
    if deviation == 0.0:
        return np.array([]), np.array([])
    x = np.linspace(edges[0], edges[-1], 121)
    density = np.exp(-(((x - observed.mean()) / deviation) ** 2) / 2) / (deviation * sqrt(2 * pi))
    return x, (density * observed.size * (edges[1] - edges[0])).astype(np.float32)


def _mark_loss(
    figure: go.Figure, label: str, name: str, place: tuple[float, float], palette: Palette
) -> None:
    loss, height = place
    colour = palette.down
    figure.add_shape(
        type="line",
        name=name,
        x0=-loss,
        x1=-loss,
        yref="paper",
        y0=0,
        y1=height,
        line={"color": colour, "width": 1.3, "dash": "dot" if name == "ES" else "solid"},
    )
    figure.add_annotation(
        x=-loss,
        y=height,
        yref="paper",
        text=f"{label}  {NumberFormat(2, scale=100, suffix='%').text(-loss)}",
        xanchor="right",
        xshift=-6,
        yanchor="top",
        font={"color": colour},
    )


def yearly_returns_figure(years: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """Net return of each calendar year beside the benchmark.

    Parameters
    ----------
    years : DataFrame
        As :func:`quant_engine.reports.derived.year_table`.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Grouped bars; the benchmark is left out where it was never observed.

    Examples
    --------
    >>> years = pd.DataFrame({"year": [2024], "ret_net": [0.1], "ret_benchmark": [float("nan")]})
    >>> [trace.name for trace in yearly_returns_figure(years).data]
    ['Net']
    """
    figure = canvas(palette, height_px=300)
    labels = [str(year) for year in years["year"]]
    series = [
        ("Net", "ret_net", palette.strategy),
        ("Benchmark", "ret_benchmark", palette.benchmark),
    ]
    for name, column, colour in series:
        if years[column].notna().any():
            figure.add_trace(
                go.Bar(
                    x=labels,
                    y=years[column].to_numpy(dtype=np.float32),
                    name=name,
                    marker={"color": colour},
                    hovertemplate=f"%{{y:.1%}}<extra>{name}</extra>",
                )
            )
    figure.update_layout(barmode="group", bargap=0.28, bargroupgap=0.08)
    figure.update_xaxes(type="category")
    figure.update_layout(meta={"narrow": {"xaxis.nticks": 6, "xaxis.tickangle": 0}})
    figure.update_yaxes(tickformat="~%", zeroline=True)
    return figure
