"""Figures of what the numbers rest on: walk-forward folds and data coverage."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from quant_engine.reports.figures.kit import (
    canvas,
    drawn_positions,
    line,
    row_titles,
    session_text,
)
from quant_engine.reports.theme import LIGHT, Palette

__all__ = ["coverage_figure", "fold_figure"]

_MILLISECONDS_PER_DAY = 86_400_000


def fold_figure(folds: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """When each fold trained and when it was tested; the gap between is purge and embargo.

    Parameters
    ----------
    folds : DataFrame
        Columns ``fold``, ``train_first``, ``train_last``, ``test_first``, ``test_last``
        (sessions).
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        One horizontal bar pair per fold, the first fold on top.

    Examples
    --------
    >>> folds = pd.DataFrame(
    ...     {
    ...         "fold": [1],
    ...         "train_first": pd.to_datetime(["2020-01-02"]),
    ...         "train_last": pd.to_datetime(["2020-12-31"]),
    ...         "test_first": pd.to_datetime(["2021-01-15"]),
    ...         "test_last": pd.to_datetime(["2021-06-30"]),
    ...     }
    ... )
    >>> [trace.name for trace in fold_figure(folds).data]
    ['Train', 'Test, out of sample']
    """
    figure = canvas(palette, height_px=max(170, 70 + 22 * len(folds)))
    labels = [f"Fold {fold}" for fold in folds["fold"]]
    parts = (
        ("Train", "train", palette.benchmark),
        ("Test, out of sample", "test", palette.strategy),
    )
    for name, part, colour in parts:
        first = pd.to_datetime(folds[f"{part}_first"])
        last = pd.to_datetime(folds[f"{part}_last"])
        days = (last - first).dt.days.to_numpy() + 1
        figure.add_trace(
            go.Bar(
                base=session_text(first),
                x=(days * _MILLISECONDS_PER_DAY).tolist(),
                y=labels,
                orientation="h",
                name=name,
                marker={"color": colour},
                customdata=np.stack([session_text(first), session_text(last)], axis=1).tolist(),
                hovertemplate=f"%{{customdata[0]}} to %{{customdata[1]}}<extra>{name}</extra>",
            )
        )
    figure.update_layout(barmode="overlay", bargap=0.35, hovermode="y unified")
    figure.update_xaxes(type="date", showgrid=True)
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    return figure


def coverage_figure(coverage: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """How many assets are in the data and in the universe, and the share that has a price.

    Parameters
    ----------
    coverage : DataFrame, index session
        Columns ``n_assets``, ``n_members`` (counts), ``share_covered`` (fraction of members).
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Two rows.

    Examples
    --------
    >>> coverage = pd.DataFrame(
    ...     {"n_assets": [3], "n_members": [2], "share_covered": [1.0]},
    ...     index=pd.to_datetime(["2024-01-02"]),
    ... )
    >>> len(coverage_figure(coverage).data)
    3
    """
    table = coverage.astype(float)
    chosen = table.iloc[drawn_positions(table, ["n_assets", "n_members", "share_covered"])]
    sessions = session_text(chosen.index)
    figure = canvas(palette, height_px=320, row_heights=(0.6, 0.4), row_gap=0.13)
    for column, name, colour in (
        ("n_assets", "Assets in the data", palette.benchmark),
        ("n_members", "Universe members", palette.strategy),
    ):
        trace = line(sessions, chosen[column].to_numpy(), name=name, colour=colour, hover=".0f")
        trace.update(line_shape="hv")
        figure.add_trace(trace, row=1, col=1)
    figure.add_trace(
        line(
            sessions,
            chosen["share_covered"].to_numpy(),
            name="Share covered",
            colour=palette.up,
            hover=".2%",
            showlegend=False,
        ),
        row=2,
        col=1,
    )
    row_titles(figure, ["", "Share of members with a price"])
    figure.update_yaxes(rangemode="tozero", row=1, col=1)
    figure.update_yaxes(tickformat="~%", nticks=4, row=2, col=1)
    return figure
