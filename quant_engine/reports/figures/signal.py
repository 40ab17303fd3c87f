"""Figures of the signal itself: information coefficients and quantile returns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from quant_engine.reports.figures.kit import (
    Z_95,
    canvas,
    drawn_positions,
    line,
    reference_line,
    row_titles,
    session_text,
)
from quant_engine.reports.theme import LIGHT, Palette

__all__ = [
    "MAX_IC_BARS",
    "ic_by_date_figure",
    "ic_by_horizon_figure",
    "ic_is_monthly",
    "quantile_bar_figure",
    "quantile_cumulative_figure",
]

MAX_IC_BARS = 260
"""More dates than this are shown as monthly means."""


def ic_is_monthly(ic_by_date: pd.DataFrame) -> bool:
    """Whether :func:`ic_by_date_figure` draws monthly means instead of single dates.

    Parameters
    ----------
    ic_by_date : DataFrame, index session
        One row per date.

    Returns
    -------
    bool
        True when there are more than :data:`MAX_IC_BARS` dates.

    Examples
    --------
    >>> ic_is_monthly(pd.DataFrame(index=pd.date_range("2024-01-01", periods=300)))
    True
    """
    return len(ic_by_date) > MAX_IC_BARS


def ic_by_date_figure(
    ic_by_date: pd.DataFrame,
    *,
    column: str = "rank_ic",
    window_dates: int = 63,
    palette: Palette = LIGHT,
) -> go.Figure:
    """Information coefficient over time: bars with moving mean, and its running sum.

    Parameters
    ----------
    ic_by_date : DataFrame, index session
        Columns ``ic``, ``rank_ic`` (NaN = too few assets that date).
    column : str
        Which of the two.
    window_dates : int
        Length of the moving mean in dates (63 = one quarter of sessions).
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Two rows. Bars are dates, or monthly means where there are more than
        :data:`MAX_IC_BARS` dates.

    Examples
    --------
    >>> ic = pd.DataFrame({"rank_ic": [0.1, -0.1]}, index=pd.date_range("2024-01-01", periods=2))
    >>> [trace.name for trace in ic_by_date_figure(ic, window_dates=2).data]
    ['Per date', 'Mean of 2 dates', 'Running sum']
    """
    values = ic_by_date[column]
    is_monthly = ic_is_monthly(ic_by_date)
    bars = values
    if is_monthly:
        bars = values.groupby(values.index.to_period("M")).mean()
        bars.index = bars.index.to_timestamp() + pd.Timedelta(days=14)
    table = pd.DataFrame(
        {"mean": values.rolling(window_dates).mean(), "sum": values.fillna(0.0).cumsum()}
    )
    chosen = table.iloc[drawn_positions(table, ["mean", "sum"])]
    sessions = session_text(chosen.index)
    figure = canvas(palette, height_px=400, row_heights=(0.62, 0.38), row_gap=0.11)
    heights = bars.to_numpy(dtype=np.float32)
    colours = [palette.up if height > 0 else palette.down for height in heights.tolist()]
    name = "Monthly mean" if is_monthly else "Per date"
    figure.add_trace(
        go.Bar(
            x=session_text(bars.index),
            y=heights,
            marker={"color": colours, "opacity": 0.55},
            name=name,
            hovertemplate=f"%{{y:.4f}}<extra>{name}</extra>",
            # A legend can show one colour only, and these bars have two.
            showlegend=False,
        ),
        row=1,
        col=1,
    )
    mean_name = f"Mean of {window_dates} dates"
    mean = chosen["mean"].to_numpy()
    figure.add_trace(
        line(sessions, mean, name=mean_name, colour=palette.strategy, width=2, hover=".4f"),
        row=1,
        col=1,
    )
    total = chosen["sum"].to_numpy()
    figure.add_trace(
        line(
            sessions,
            total,
            name="Running sum",
            colour=palette.hedged,
            hover=".2f",
            showlegend=False,
        ),
        row=2,
        col=1,
    )
    row_titles(figure, ["", "Running sum"])
    figure.update_yaxes(tickformat="~g", nticks=6, row=1, col=1)
    figure.update_yaxes(tickformat="~g", nticks=4, row=2, col=1)
    return figure


def ic_by_horizon_figure(ic_by_horizon: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """Mean information coefficient per horizon with its 95% interval.

    Parameters
    ----------
    ic_by_horizon : DataFrame
        Columns ``horizon`` (sessions), ``mean``, ``t_nw`` (Newey-West t), ``n`` (dates). The
        standard error is ``mean / t_nw``; where t is 0 or NaN there is no bar.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Bars with error bars of 1.96 standard errors.

    Examples
    --------
    >>> table = pd.DataFrame({"horizon": [5], "mean": [0.02], "t_nw": [2.0], "n": [500]})
    >>> round(float(ic_by_horizon_figure(table).data[0].error_y.array[0]), 4)
    0.0196
    """
    means = ic_by_horizon["mean"].to_numpy(dtype=float)
    ratios = ic_by_horizon["t_nw"].to_numpy(dtype=float)
    errors = np.divide(
        np.abs(means), np.abs(ratios), out=np.full(means.shape, np.nan), where=ratios != 0
    )
    figure = canvas(palette, height_px=400)
    figure.add_trace(
        go.Bar(
            x=[f"{horizon} s" for horizon in ic_by_horizon["horizon"]],
            y=means.astype(np.float32),
            width=0.55,
            error_y={"type": "data", "array": errors * Z_95, "thickness": 1.4},
            marker={
                "color": [palette.up if mean > 0 else palette.down for mean in means.tolist()],
                "opacity": 0.85,
            },
            customdata=np.stack([ratios, ic_by_horizon["n"].to_numpy(dtype=float)], axis=1),
            hovertemplate=(
                "%{y:.4f}, t %{customdata[0]:.2f}, %{customdata[1]:.0f} dates<extra></extra>"
            ),
            showlegend=False,
        )
    )
    figure.update_xaxes(type="category", title_text="Horizon, sessions")
    figure.update_yaxes(tickformat="~g", zeroline=True)
    return figure


def quantile_bar_figure(quantile_returns: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """Mean forward return per score quantile with its 95% interval.

    Parameters
    ----------
    quantile_returns : DataFrame
        Columns ``quantile`` (1 = lowest score), ``mean_fwd_return_bps``, ``std_error_bps``.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Bars with error bars of 1.96 standard errors.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {"quantile": [1, 2], "mean_fwd_return_bps": [-5.0, 5.0], "std_error_bps": [1.0, 1.0]}
    ... )
    >>> list(quantile_bar_figure(table).data[0].x)
    ['Q1', 'Q2']
    """
    ordered = quantile_returns.sort_values("quantile")
    n_groups = len(ordered)
    figure = canvas(palette, height_px=320)
    figure.add_trace(
        go.Bar(
            x=[f"Q{quantile}" for quantile in ordered["quantile"]],
            y=ordered["mean_fwd_return_bps"].to_numpy(dtype=np.float32),
            error_y={
                "type": "data",
                "array": ordered["std_error_bps"].to_numpy(dtype=float) * Z_95,
                "thickness": 1.4,
            },
            marker={"color": [palette.ramp(k, n_groups) for k in range(n_groups)]},
            hovertemplate="%{x}: %{y:.1f} bps<extra></extra>",
            showlegend=False,
        )
    )
    figure.update_xaxes(type="category")
    figure.update_yaxes(ticksuffix=" bps", zeroline=True)
    return figure


def quantile_cumulative_figure(
    quantile_cumulative: pd.DataFrame, *, palette: Palette = LIGHT
) -> go.Figure:
    """Cumulative return of each score quantile.

    Parameters
    ----------
    quantile_cumulative : DataFrame, index session
        One column per quantile (1 = lowest score), cumulative simple return (fraction).
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        One line per quantile, coloured from low to high.

    Examples
    --------
    >>> table = pd.DataFrame({1: [0.0], 2: [0.1]}, index=pd.to_datetime(["2024-01-02"]))
    >>> [trace.name for trace in quantile_cumulative_figure(table).data]
    ['Q1', 'Q2']
    """
    columns = sorted(quantile_cumulative.columns)
    chosen = quantile_cumulative[columns]
    # Extremes of the outer groups decide the picture; the others follow them.
    chosen = chosen.iloc[drawn_positions(chosen, [columns[0], columns[-1]])]
    sessions = session_text(chosen.index)
    figure = canvas(palette, height_px=320)
    for number, column in enumerate(columns):
        is_outer = number in (0, len(columns) - 1)
        trace = line(
            sessions,
            chosen[column].to_numpy(),
            name=f"Q{column}",
            colour=palette.ramp(number, len(columns)),
            width=2.0 if is_outer else 1.1,
            hover=".1%",
        )
        figure.add_trace(trace)
    reference_line(figure, 0.0, row=1, palette=palette)
    figure.update_yaxes(tickformat="~%")
    # Five names fill the width of a narrow card, where the mode bar stands at the top.
    figure.update_layout(legend={"y": -0.12, "yanchor": "top"}, margin={"t": 24})
    return figure
