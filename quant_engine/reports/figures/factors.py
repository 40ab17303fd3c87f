"""Figures of factor research: tests against chance, decay, groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from quant_engine.reports.figures.kit import Z_95, canvas, reference_line
from quant_engine.reports.formats import NumberFormat
from quant_engine.reports.theme import LIGHT, Palette

__all__ = ["chance_figure", "decay_figure", "grid_figure", "group_figure"]

_SIGNED = NumberFormat(1, is_signed=True)


def chance_figure(p_values: pd.Series, *, palette: Palette = LIGHT) -> go.Figure:
    """Sorted p-values of all tests against what chance alone would give.

    Parameters
    ----------
    p_values : Series
        Two-sided p-values; NaN = not tested, left out.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        ``-log10`` of both: points on the diagonal are what uniform p-values look like.

    Examples
    --------
    >>> [trace.name for trace in chance_figure(pd.Series([0.01, 0.5])).data]
    ['Chance alone', 'Tests']
    """
    known = np.sort(p_values.dropna().to_numpy(dtype=float))
    expected = -np.log10((np.arange(len(known)) + 0.5) / max(len(known), 1))
    observed = -np.log10(np.maximum(known, 1e-16))
    end = float(expected.max(initial=1.0))
    figure = canvas(palette, height_px=320)
    figure.add_trace(
        go.Scatter(
            x=[0.0, end],
            y=[0.0, end],
            mode="lines",
            name="Chance alone",
            line={"color": palette.benchmark, "width": 1.4, "dash": "dot"},
            hoverinfo="skip",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=expected.astype(np.float32),
            y=observed.astype(np.float32),
            mode="markers",
            name="Tests",
            marker={"color": palette.strategy, "size": 5},
            customdata=known,
            hovertemplate="p %{customdata:.2g}<extra></extra>",
        )
    )
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(title_text="−log₁₀ p expected by chance")
    figure.update_yaxes(title_text="−log₁₀ p observed")
    return figure


def decay_figure(decay: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """Mean rank IC of scores by their age, with 95% intervals.

    Parameters
    ----------
    decay : DataFrame
        Columns ``delay`` (sessions), ``rank_ic``, ``t``, ``n``; where t is 0 or NaN there is no
        interval.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        A line with error bars, and a dotted line at half of the IC of fresh scores.

    Examples
    --------
    >>> table = pd.DataFrame({"delay": [0, 5], "rank_ic": [0.04, 0.01], "t": [4.0, 1.0]})
    >>> decay_figure(table).layout.shapes[0].y0
    0.02
    """
    means = decay["rank_ic"].to_numpy(dtype=float)
    figure = canvas(palette, height_px=300)
    figure.add_trace(
        go.Scatter(
            x=decay["delay"].to_numpy(dtype=float),
            y=means.astype(np.float32),
            mode="lines+markers",
            line={"color": palette.strategy, "width": 2},
            marker={"color": palette.strategy, "size": 6},
            error_y={"type": "data", "array": _half_widths(means, decay["t"]), "thickness": 1.2},
            hovertemplate="%{x} sessions old: %{y:.4f}<extra></extra>",
            showlegend=False,
        )
    )
    if len(means) and np.isfinite(means[0]):
        reference_line(figure, float(means[0]) / 2.0, row=1, palette=palette)
    figure.update_xaxes(title_text="Age of the score, sessions")
    figure.update_yaxes(tickformat="~g", zeroline=True)
    return figure


def group_figure(groups: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """Mean rank IC of one factor inside sectors and in regimes, with 95% intervals.

    Parameters
    ----------
    groups : DataFrame
        Columns ``by``, ``group``, ``rank_ic``, ``t``, ``n``; rows without an IC are left out.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Horizontal bars in the order of the table, top to bottom.

    Examples
    --------
    >>> table = pd.DataFrame({"by": ["regime"], "group": ["bull_trend"], "rank_ic": [0.02],
    ...                       "t": [2.0], "n": [300]})
    >>> list(group_figure(table).data[0].y)
    ['bull trend']
    """
    shown = groups[groups["rank_ic"].notna()]
    means = shown["rank_ic"].to_numpy(dtype=float)
    figure = canvas(palette, height_px=max(300, 60 + 22 * len(shown)))
    figure.add_trace(
        go.Bar(
            x=means.astype(np.float32),
            y=[str(name).replace("_", " ") for name in shown["group"]],
            orientation="h",
            error_x={
                "type": "data",
                "array": _half_widths(means, shown["t"]),
                "thickness": 1.2,
                "color": palette.text,
            },
            marker={
                "color": [palette.up if mean > 0 else palette.down for mean in means.tolist()],
                "opacity": 0.85,
            },
            customdata=np.stack(
                [shown["t"].to_numpy(dtype=float), shown["n"].to_numpy(dtype=float)], axis=1
            ),
            hovertemplate=(
                "%{y}: %{x:.4f}, t %{customdata[0]:.2f}, %{customdata[1]:.0f} dates<extra></extra>"
            ),
            showlegend=False,
        )
    )
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(tickformat="~g", zeroline=True, showgrid=True)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return figure


def grid_figure(
    values: pd.DataFrame, *, number_format: NumberFormat = _SIGNED, palette: Palette = LIGHT
) -> go.Figure:
    """Heatmap of one figure by factor and column, such as t by horizon.

    Parameters
    ----------
    values : DataFrame
        Factors in rows, columns as they are shown; NaN = not measured.
    number_format : NumberFormat
        Text of the cells.
    palette : Palette
        Theme; the colour scale itself stands in the template.

    Returns
    -------
    plotly.graph_objects.Figure
        The scale ends at the 95% quantile of absolute values.

    Examples
    --------
    >>> grid_figure(pd.DataFrame({"5 s": [2.0]}, index=["mom"])).data[0].text.tolist()
    [['+2.0']]
    """
    numbers = values.to_numpy(dtype=float)
    known = np.abs(numbers[np.isfinite(numbers)])
    bound = float(np.quantile(known, 0.95)) if known.size else 1.0
    texts = ["" if np.isnan(x) else number_format.text(float(x)) for x in numbers.ravel()]
    figure = canvas(palette, height_px=64 + 26 * max(len(values), 1))
    figure.add_trace(
        go.Heatmap(
            x=[str(name).replace("_", " ") for name in values.columns],
            y=[str(name) for name in values.index],
            z=numbers.astype(np.float32),
            zmin=-(bound or 1.0),
            zmax=bound or 1.0,
            text=np.array(texts, dtype=object).reshape(numbers.shape),
            texttemplate="%{text}",
            hovertemplate="%{y}, %{x}: %{text}<extra></extra>",
        )
    )
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(side="top", ticks="", fixedrange=True, type="category")
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False, fixedrange=True)
    return figure


def _half_widths(means: np.ndarray, ratios: pd.Series) -> np.ndarray:
    """Half width of the 95% interval of each mean from its t; NaN without one."""
    sizes = np.abs(ratios.to_numpy(dtype=float))
    errors = np.divide(np.abs(means), sizes, out=np.full(means.shape, np.nan), where=sizes > 0)
    return errors * Z_95
