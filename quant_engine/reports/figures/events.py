"""Figures of event markets: calendar, ladder, distribution, fan over time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from quant_engine.core.arrays import FloatVector
from quant_engine.reports.figures.kit import canvas
from quant_engine.reports.theme import LIGHT, Palette

__all__ = [
    "calendar_figure",
    "distribution_figure",
    "fan_figure",
    "ladder_figure",
    "leg_names",
    "moment_text",
]

_MINUTE_US = 60_000_000
_ENDS = 0.001
"""Mass of a cell below which both ends of a lattice are not drawn."""


def moment_text(moments_us: pd.Series) -> list[str | None]:
    """Moments as ISO dates and minutes.

    Parameters
    ----------
    moments_us : Series of int
        Microseconds since 1970 UTC; missing = not known.

    Returns
    -------
    list of str or None
        ``YYYY-MM-DD HH:MM``, UTC.

    Examples
    --------
    >>> moment_text(pd.Series([1_700_000_000_000_000]))
    ['2023-11-14 22:13']
    """
    # In integers: a moment in microseconds is larger than a float counts exactly.
    minutes = [None if pd.isna(us) else int(us) // _MINUTE_US for us in moments_us.tolist()]
    return [
        None if one is None else str(np.datetime64(one, "m")).replace("T", " ") for one in minutes
    ]


def leg_names(legs: pd.DataFrame) -> list[str]:
    """What each contract pays on, in signs.

    Parameters
    ----------
    legs : DataFrame
        ``strike_type, floor_strike, cap_strike, ticker``.

    Returns
    -------
    list of str
        Such as ``> 3.1`` and ``75 to 76``; the ticker where the strikes are not known.

    Examples
    --------
    >>> leg_names(pd.DataFrame({"strike_type": ["greater", "custom"], "ticker": ["A", "B"],
    ...                         "floor_strike": [3.1, np.nan], "cap_strike": [np.nan, np.nan]}))
    ['> 3.1', 'B']
    """
    signs = {"greater": ">", "greater_or_equal": "≥", "less": "<", "less_or_equal": "≤"}
    names = []
    for kind, floor, cap, ticker in zip(
        legs["strike_type"], legs["floor_strike"], legs["cap_strike"], legs["ticker"], strict=True
    ):
        if kind == "between" and not (pd.isna(floor) or pd.isna(cap)):
            names.append(f"{floor:g} to {cap:g}")
            continue
        strike = floor if str(kind).startswith("greater") else cap
        is_known = kind in signs and not pd.isna(strike)
        names.append(f"{signs[kind]} {strike:g}" if is_known else str(ticker))
    return names


def calendar_figure(calendar: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """When events are decided, by series, and which have a first print.

    Parameters
    ----------
    calendar : DataFrame
        ``event_ticker, series, scheduled_us, value``; events without a schedule are left out.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        One row of marks per series.

    Examples
    --------
    >>> calendar = pd.DataFrame({"event_ticker": ["E"], "series": ["S"], "value": [3.1],
    ...                          "scheduled_us": [1_700_000_000_000_000]})
    >>> [trace.name for trace in calendar_figure(calendar).data]
    ['First print known']
    """
    known = calendar[calendar["scheduled_us"].notna()]
    printed = known["value"].notna()
    figure = canvas(palette, height_px=122 + 34 * max(known["series"].nunique(), 1))
    for name, rows, colour, symbol in (
        ("First print known", known[printed], palette.strategy, "circle"),
        ("Open", known[~printed], palette.benchmark, "circle-open"),
    ):
        if rows.empty:
            continue
        figure.add_trace(
            go.Scatter(
                x=moment_text(rows["scheduled_us"]),
                y=rows["series"].tolist(),
                mode="markers",
                name=name,
                marker={"color": colour, "size": 7, "symbol": symbol, "opacity": 0.75},
                text=rows["event_ticker"].tolist(),
                hovertemplate="%{text}<br>%{x}<extra></extra>",
            )
        )
    # Room for the controls above the uppermost row.
    figure.update_layout(hovermode="closest", margin={"t": 40})
    figure.update_xaxes(type="date", showgrid=True)
    figure.update_yaxes(type="category", showgrid=False)
    return figure


def ladder_figure(legs: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """Quotes of one ladder between their no-arbitrage band, and what was fitted to them.

    Parameters
    ----------
    legs : DataFrame
        ``strike_type, floor_strike, cap_strike, ticker, bid_usd, ask_usd, band_low, band_high,
        prob, last_usd``, in the order of the strikes; NaN = absent.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Per contract: band, bid to ask, last price, fitted probability.

    Examples
    --------
    >>> legs = pd.DataFrame({"strike_type": ["greater"], "floor_strike": [3.0], "prob": [0.42],
    ...     "cap_strike": [np.nan], "ticker": ["A"], "bid_usd": [0.4], "ask_usd": [0.44],
    ...     "band_low": [0.4], "band_high": [0.44], "last_usd": [0.41]})
    >>> [trace.name for trace in ladder_figure(legs).data]
    ['No-arbitrage band', 'Bid to ask', 'Bid', 'Ask', 'Last price', 'Fitted']
    """
    names = leg_names(legs)
    figure = canvas(palette, height_px=400)
    for title, low, high, width, colour in (
        ("No-arbitrage band", "band_low", "band_high", 0.72, palette.band),
        ("Bid to ask", "bid_usd", "ask_usd", 0.34, palette.strategy_fill),
    ):
        base = legs[low].to_numpy(dtype=float)
        figure.add_trace(
            go.Bar(
                x=names,
                y=legs[high].to_numpy(dtype=float) - base,
                base=base,
                width=width,
                name=title,
                marker={"color": colour},
                hoverinfo="skip",
            )
        )
    for title, column, symbol, colour, size in (
        ("Bid", "bid_usd", "line-ew", palette.benchmark, 15),
        ("Ask", "ask_usd", "line-ew", palette.benchmark, 15),
        ("Last price", "last_usd", "x-thin", palette.cost_spread, 7),
        ("Fitted", "prob", "diamond", palette.strategy, 8),
    ):
        figure.add_trace(
            go.Scatter(
                x=names,
                y=legs[column].to_numpy(dtype=float),
                mode="markers",
                name=title,
                showlegend=title not in ("Bid", "Ask"),
                marker={
                    "color": colour, "size": size, "symbol": symbol,
                    "line": {"color": colour, "width": 1.8},
                },
                hovertemplate=f"%{{y:.3f}}<extra>{title}</extra>",
            )
        )  # fmt: skip
    # Room for the controls above a legend that is as wide as the panel.
    figure.update_layout(barmode="overlay", margin={"t": 64})
    figure.update_xaxes(type="category")
    figure.update_yaxes(range=[-0.02, 1.02], tickformat=".1f", title_text="dollars, probability")
    return figure


def distribution_figure(
    cells: pd.DataFrame,
    atoms: pd.DataFrame,
    *,
    outcome: float | None,
    palette: Palette = LIGHT,
) -> go.Figure:
    """Fitted distribution of one look, with its posterior, beside what prices alone say.

    Parameters
    ----------
    cells : DataFrame
        Lattice: ``lo, hi, prob, cdf, cdf_low, cdf_high``.
    atoms : DataFrame
        Outcomes that the ladder tells apart: ``hi, market_prob``; NaN = prices give none.
    outcome : float or None
        First print; None = not known.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Probability per cell above, distribution function with its 90 % posterior below.

    Examples
    --------
    >>> cells = pd.DataFrame({"lo": [0.0, 1.0], "hi": [1.0, 2.0], "prob": [0.4, 0.6],
    ...                       "cdf": [0.4, 1.0], "cdf_low": [0.3, 1.0], "cdf_high": [0.5, 1.0]})
    >>> atoms = pd.DataFrame({"hi": [1.0, np.inf], "market_prob": [0.45, 0.55]})
    >>> [trace.name for trace in distribution_figure(cells, atoms, outcome=None).data]
    ['Fitted', '95 % of the posterior', '5 % of the posterior', 'Fitted', 'Prices alone']
    """
    shown = cells.iloc[_middle(cells["prob"].to_numpy(dtype=float))]
    centre = ((shown["lo"] + shown["hi"]) / 2).to_numpy(dtype=float)
    figure = canvas(palette, height_px=400, row_heights=(0.45, 0.55), row_gap=0.12)
    figure.add_trace(
        go.Bar(
            x=centre,
            y=shown["prob"].to_numpy(dtype=float),
            name="Fitted",
            showlegend=False,
            marker={"color": palette.strategy},
            hovertemplate="%{x:g}: %{y:.3f}<extra></extra>",
        ),
        row=1,
        col=1,
    )
    edge = {"width": 0.5, "color": palette.strategy}
    for column, name, fill in (
        ("cdf_high", "95 % of the posterior", None),
        ("cdf_low", "5 % of the posterior", "tonexty"),
    ):
        curve = _curve(centre, shown[column], name=name, line=edge, showlegend=False)
        curve.update(fill=fill, fillcolor=palette.strategy_fill)
        figure.add_trace(curve, row=2, col=1)
    whole = {"width": 1.8, "color": palette.strategy}
    figure.add_trace(_curve(centre, shown["cdf"], name="Fitted", line=whole), row=2, col=1)
    priced = atoms[atoms["market_prob"].notna() & np.isfinite(atoms["hi"])]
    marks = go.Scatter(
        x=priced["hi"].to_numpy(dtype=float),
        y=atoms["market_prob"].cumsum().loc[priced.index].to_numpy(dtype=float),
        mode="markers",
        name="Prices alone",
        marker={"color": palette.benchmark, "size": 7, "symbol": "circle-open"},
        hovertemplate="up to %{x:g}: %{y:.3f}<extra>Prices alone</extra>",
    )
    figure.add_trace(marks, row=2, col=1)
    if outcome is not None and np.isfinite(outcome):
        figure.add_vline(x=outcome, line={"color": palette.up, "width": 1.6, "dash": "dot"})
    figure.update_layout(hovermode="closest", bargap=0.06)
    figure.update_yaxes(title_text="per value", rangemode="tozero", nticks=4, row=1, col=1)
    figure.update_yaxes(title_text="up to", range=[-0.02, 1.02], tickformat=".1f", row=2, col=1)
    return figure


def _middle(prob: FloatVector) -> slice:
    """Cells between the first and the last that hold a visible mass, and one more each side."""
    places = np.flatnonzero(prob > _ENDS)
    if not places.size:
        return slice(None)
    return slice(max(int(places[0]) - 1, 0), int(places[-1]) + 2)


def _curve(x: FloatVector, y: pd.Series, **style: object) -> go.Scatter:
    return go.Scatter(
        x=x,
        y=y.to_numpy(dtype=float),
        mode="lines",
        line_shape="hv",
        hovertemplate="up to %{x:g}: %{y:.3f}<extra></extra>",
        **style,
    )


def fan_figure(
    looks: pd.DataFrame, *, outcome: float | None, palette: Palette = LIGHT
) -> go.Figure:
    """Quantiles of one event over its looks, and where it ended.

    Parameters
    ----------
    looks : DataFrame
        ``asof_us, q05, q25, q50, q75, q95`` in the order of time; NaN = no distribution.
    outcome : float or None
        First print; None = not known.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Two bands and the median.

    Examples
    --------
    >>> looks = pd.DataFrame({"asof_us": [0, 10**9], "q05": [1.0, 1.5], "q25": [2.0, 2.1],
    ...                       "q50": [2.5, 2.4], "q75": [3.0, 2.8], "q95": [4.0, 3.2]})
    >>> [trace.name for trace in fan_figure(looks, outcome=2.6).data]
    ['95 %', '90 % of outcomes', '75 %', '50 % of outcomes', 'Median']
    """
    x = moment_text(looks["asof_us"])
    figure = canvas(palette, height_px=340)
    edge = {"width": 0, "color": palette.strategy}
    for high, low, top, name in (
        ("q95", "q05", "95 %", "90 % of outcomes"),
        ("q75", "q25", "75 %", "50 % of outcomes"),
    ):
        upper = _quantile_line(x, looks[high], name=top, line=edge, showlegend=False)
        lower = _quantile_line(x, looks[low], name=name, line=edge)
        lower.update(fill="tonexty", fillcolor=palette.strategy_fill)
        figure.add_traces([upper, lower])
    style = {"line": {"width": 2, "color": palette.strategy}, "mode": "lines+markers"}
    figure.add_trace(_quantile_line(x, looks["q50"], name="Median", **style))
    if outcome is not None and np.isfinite(outcome):
        figure.add_hline(y=outcome, line={"color": palette.up, "width": 1.6, "dash": "dot"})
        figure.add_annotation(
            x=0, xref="paper", y=outcome, text="first print", xanchor="left", yanchor="bottom",
            font={"color": palette.up},
        )  # fmt: skip
    figure.update_xaxes(type="date")
    return figure


def _quantile_line(x: list[str | None], y: pd.Series, *, name: str, **style: object) -> go.Scatter:
    style = {"mode": "lines", **style}
    values = y.to_numpy(dtype=float)
    hover = f"%{{y:.4g}}<extra>{name}</extra>"
    return go.Scatter(x=x, y=values, name=name, hovertemplate=hover, **style)
