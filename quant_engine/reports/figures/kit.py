"""Parts shared by all figures: empty canvas, line, row titles, reference lines.

Figures are pure functions of tables; they carry a template and colours by role, no titles (the
page or the notebook cell has the heading), and at most :data:`MAX_POINTS` points per trace.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from quant_engine.core.arrays import FloatVector
from quant_engine.reports.decimate import envelope_positions
from quant_engine.reports.theme import Palette, template

__all__ = [
    "MAX_POINTS",
    "Z_95",
    "canvas",
    "drawn_positions",
    "line",
    "reference_line",
    "row_titles",
    "session_text",
]

MAX_POINTS = 1500
"""Points per trace: about one per pixel column of a full-width panel."""

Z_95 = 1.959963984540054
"""Half width of a two-sided 95% normal interval in standard errors."""


def canvas(
    palette: Palette,
    *,
    height_px: int,
    row_heights: Sequence[float] = (1.0,),
    row_gap: float = 0.06,
) -> go.Figure:
    """Empty figure with stacked rows that share the x axis.

    Parameters
    ----------
    palette : Palette
        Theme whose template is attached.
    height_px : int
        Height of the figure.
    row_heights : sequence of float
        Relative heights, top to bottom.
    row_gap : float
        Gap between rows as a share of the height.

    Returns
    -------
    plotly.graph_objects.Figure
        Without traces.

    Examples
    --------
    >>> from quant_engine.reports.theme import LIGHT
    >>> canvas(LIGHT, height_px=300, row_heights=(2, 1)).layout.height
    300
    """
    figure = make_subplots(
        rows=len(row_heights),
        cols=1,
        shared_xaxes=True,
        row_heights=list(row_heights),
        vertical_spacing=row_gap if len(row_heights) > 1 else 0.0,
    )
    figure.update_layout(template=template(palette.name), height=height_px)
    # A theme toggle or a resize must not throw away the reader's zoom.
    figure.update_layout(uirevision="keep")
    for row in range(1, len(row_heights)):
        figure.update_xaxes(ticks="", row=row, col=1)
    return figure


def session_text(sessions: pd.DatetimeIndex | pd.Series) -> list[str]:
    """Sessions as ISO dates, half the size of instants in the page.

    Parameters
    ----------
    sessions : DatetimeIndex or Series of datetime64
        Tz-naive sessions.

    Returns
    -------
    list of str
        ``YYYY-MM-DD``.

    Examples
    --------
    >>> session_text(pd.DatetimeIndex(["2024-01-02"]))
    ['2024-01-02']
    """
    return np.datetime_as_string(np.asarray(sessions).astype("M8[D]"), unit="D").tolist()


def drawn_positions(table: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64]:
    """Rows to draw so that every column keeps its envelope.

    Parameters
    ----------
    table : DataFrame
        One row per session.
    columns : sequence of str
        Columns whose extremes must stay.

    Returns
    -------
    ndarray (K,), int64
        At most :data:`MAX_POINTS` positions; the same for all columns, so that one hover box can
        show all series of a date.

    Examples
    --------
    >>> drawn_positions(pd.DataFrame({"a": [1.0, 2.0, 3.0]}), ["a"])
    array([0, 1, 2])
    """
    series = [table[column].to_numpy(dtype=float) for column in columns]
    return envelope_positions(series, n_max=MAX_POINTS)


def line(
    sessions: list[str], values: FloatVector, *, name: str, colour: str, **style: object
) -> go.Scatter:
    """One line; float32, because a screen shows fewer digits than that.

    Parameters
    ----------
    sessions : list of str, length K
        ISO dates.
    values : ndarray (K,)
        Any unit; NaN = gap.
    name, colour : str
        Legend text and CSS colour.
    **style : object
        ``width`` (px), ``dash``, ``hover`` (d3 format of the value), and any trace property.

    Returns
    -------
    plotly.graph_objects.Scatter
        SVG line.

    Examples
    --------
    >>> line(["2024-01-02"], np.array([1.0]), name="Net", colour="#000000").line.width
    1.6
    """
    width, dash = style.pop("width", 1.6), style.pop("dash", None)
    hover = style.pop("hover", ".3f")
    return go.Scatter(
        x=sessions,
        y=np.asarray(values, dtype=np.float32),
        mode="lines",
        name=name,
        line={"color": colour, "width": width, "dash": dash},
        hovertemplate=f"%{{y:{hover}}}<extra>{name}</extra>",
        **style,
    )


def row_titles(figure: go.Figure, titles: Sequence[str]) -> None:
    """Write a small title at the upper left of each row.

    Parameters
    ----------
    figure : Figure
        Made by :func:`canvas`; changed in place.
    titles : sequence of str
        One per row, top to bottom; empty = none.

    Examples
    --------
    >>> from quant_engine.reports.theme import LIGHT
    >>> figure = canvas(LIGHT, height_px=300)
    >>> row_titles(figure, ["Sharpe"])
    >>> figure.layout.annotations[0].text
    'Sharpe'
    """
    for number, title in enumerate(titles, start=1):
        axis = figure.layout["yaxis" if number == 1 else f"yaxis{number}"]
        if title:
            figure.add_annotation(
                text=title,
                xref="paper",
                yref="paper",
                x=0,
                y=axis.domain[1],
                xanchor="left",
                yanchor="bottom",
                yshift=2,
            )


def reference_line(figure: go.Figure, value: float, *, row: int, palette: Palette) -> None:
    """Draw a thin horizontal line at ``value``.

    Parameters
    ----------
    figure : Figure
        Changed in place.
    value : float
        In the unit of the row's y axis.
    row : int
        1 = top.
    palette : Palette
        For the colour.

    Examples
    --------
    >>> from quant_engine.reports.theme import LIGHT
    >>> figure = canvas(LIGHT, height_px=300)
    >>> _ = figure.add_scatter(y=[1.0])
    >>> reference_line(figure, 0.0, row=1, palette=LIGHT)
    >>> figure.layout.shapes[0].y0
    0.0
    """
    figure.add_hline(
        y=value, row=row, col=1, line={"color": palette.benchmark, "width": 1, "dash": "dot"}
    )
