"""Figures of the validation suite: bands of resampled wealth, and null baselines."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from quant_engine.reports.figures.kit import canvas, drawn_positions, line, session_text
from quant_engine.reports.theme import LIGHT, Palette

__all__ = ["null_figure", "wealth_band_figure"]

_N_BINS = 30
_NULL_NAMES = {"random_entry": "Random, same turnover", "shuffled": "Shuffled"}


def wealth_band_figure(bands: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """Wealth as it was, between the quantiles of resampled paths.

    Parameters
    ----------
    bands : DataFrame, index session
        ``low, middle, high, observed``; 1 = the start.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        A band, its median and the observed curve.

    Examples
    --------
    >>> bands = pd.DataFrame(
    ...     {"low": [0.9], "middle": [1.0], "high": [1.1], "observed": [1.05]},
    ...     index=pd.to_datetime(["2024-01-02"]),
    ... )
    >>> [trace.name for trace in wealth_band_figure(bands).data]
    ['95 % of paths', '5 % of paths', 'Median path', 'Observed']
    """
    columns = ["low", "middle", "high", "observed"]
    chosen = bands.iloc[drawn_positions(bands, columns)]
    sessions = session_text(chosen.index)
    figure = canvas(palette, height_px=340)
    edge = {"width": 0.6, "colour": palette.benchmark}
    figure.add_trace(line(sessions, chosen["high"].to_numpy(), name="95 % of paths", **edge))
    low = line(sessions, chosen["low"].to_numpy(), name="5 % of paths", **edge)
    low.update(fill="tonexty", fillcolor=palette.band)
    figure.add_trace(low)
    for column, name, colour, dash in (
        ("middle", "Median path", palette.benchmark, "dash"),
        ("observed", "Observed", palette.strategy, None),
    ):
        values = chosen[column].to_numpy()
        figure.add_trace(line(sessions, values, name=name, colour=colour, dash=dash))
    return figure


def null_figure(
    draws: pd.DataFrame, *, sharpe: float | None, palette: Palette = LIGHT
) -> go.Figure:
    """Net Sharpe ratios of books without an opinion, and where the strategy stands.

    Parameters
    ----------
    draws : DataFrame
        ``kind, sharpe``; the one draw of ``always_long`` becomes a line.
    sharpe : float or None
        Of the strategy; None = it has none.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        One histogram per random kind over common bins.

    Examples
    --------
    >>> draws = pd.DataFrame({"kind": ["random_entry"] * 3, "sharpe": [-1.0, 0.0, 1.0]})
    >>> [shape.name for shape in null_figure(draws, sharpe=0.5).layout.shapes]
    ['Strategy']
    """
    random = draws[draws["kind"].isin(list(_NULL_NAMES)) & draws["sharpe"].notna()]
    figure = canvas(palette, height_px=340)
    _, edges = np.histogram(random["sharpe"], bins=_N_BINS)
    colours = {"random_entry": palette.benchmark, "shuffled": palette.cost_impact}
    for kind, name in _NULL_NAMES.items():
        counts, _ = np.histogram(random.loc[random["kind"] == kind, "sharpe"], bins=edges)
        figure.add_trace(
            go.Bar(
                x=(edges[:-1] + edges[1:]) / 2,
                y=counts,
                width=float(edges[1] - edges[0]) * 0.95,
                name=name,
                marker={"color": colours[kind], "opacity": 0.65},
                hovertemplate=f"%{{x:.2f}}: %{{y}} draws<extra>{name}</extra>",
            )
        )
    always = draws.loc[draws["kind"] == "always_long", "sharpe"].dropna()
    marks = [("Strategy", sharpe, palette.strategy, 0.97)]
    if len(always):
        marks.append(("Always long", float(always.iloc[0]), palette.hedged, 0.84))
    right = max((place for _, place, _, _ in marks if place is not None), default=0.0)
    for name, place, colour, height in marks:
        if place is not None:
            # Words point away from the other line.
            side = ("left", 4) if place == right else ("right", -4)
            figure.add_vline(x=place, line={"color": colour, "width": 2}, name=name)
            figure.add_annotation(
                x=place, y=height, yref="paper", text=name, xanchor=side[0], xshift=side[1],
                font={"color": colour}, bgcolor=palette.card,
            )  # fmt: skip
    figure.update_layout(barmode="overlay", hovermode="closest", bargap=0.02)
    figure.update_xaxes(title_text="net Sharpe ratio")
    return figure
