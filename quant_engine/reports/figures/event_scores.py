"""Figures of event forecasts: honesty, skill by event, gains after fees, availability."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from quant_engine.reports.figures.events import moment_text
from quant_engine.reports.figures.kit import canvas, reference_line, row_titles
from quant_engine.reports.theme import LIGHT, Palette

__all__ = [
    "availability_figure",
    "equity_by_event_figure",
    "interval_figure",
    "longshot_figure",
    "member_colours",
    "murphy_figure",
    "pit_figure",
    "reliability_figure",
    "span_text",
]

_N_PIT_BINS = 10
_MAX_LINES = 6
_HEADROOM = {"t": 34}
"""Margin above figures without a legend, so that controls and row titles cover nothing, px."""
_SPANS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def span_text(seconds: int) -> str:
    """Time before the schedule in its largest whole unit.

    Parameters
    ----------
    seconds : int
        Seconds, positive.

    Returns
    -------
    str
        Such as ``1 d``, ``6 h`` or ``90 min``.

    Examples
    --------
    >>> span_text(86_400), span_text(5_400), span_text(45)
    ('1 d', '90 min', '45 s')
    """
    for size, unit in _SPANS:
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def member_colours(palette: Palette) -> dict[str, str]:
    """Colour of each forecast, the same in every figure.

    Parameters
    ----------
    palette : Palette
        Theme.

    Returns
    -------
    dict of str to str
        Member to CSS colour.

    Examples
    --------
    >>> list(member_colours(LIGHT))
    ['market', 'recalibrated', 'boosted', 'shrunk']
    """
    return {
        "market": palette.benchmark,
        "recalibrated": palette.hedged,
        "boosted": palette.cost_spread,
        "shrunk": palette.strategy,
    }


def reliability_figure(reliability: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """How often cells came true against how likely they were called, by time before the schedule.

    Parameters
    ----------
    reliability : DataFrame
        One member: ``horizon_s`` (0 = all), ``mean_prob, frequency, n_obs``.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        The diagonal, and one curve per horizon.

    Examples
    --------
    >>> table = pd.DataFrame({"horizon_s": [0, 3600], "mean_prob": [0.1, 0.2],
    ...                       "frequency": [0.1, 0.3], "n_obs": [50, 9]})
    >>> [trace.name for trace in reliability_figure(table).data]
    ['Honest', 'All', '1 h']
    """
    figure = canvas(palette, height_px=380)
    figure.add_trace(
        go.Scatter(
            x=[0.0, 1.0],
            y=[0.0, 1.0],
            mode="lines",
            name="Honest",
            line={"color": palette.benchmark, "width": 1.2, "dash": "dot"},
            hoverinfo="skip",
        )
    )
    horizons = sorted(reliability["horizon_s"].unique().tolist())
    single = [one for one in horizons if one > 0]
    for horizon in horizons:
        rows = reliability[reliability["horizon_s"] == horizon]
        is_all = horizon == 0
        place = 0 if is_all else single.index(horizon)
        colour = palette.strategy if is_all else palette.ramp(place, len(single))
        name = "All" if is_all else span_text(horizon)
        figure.add_trace(
            go.Scatter(
                x=rows["mean_prob"].to_numpy(dtype=float),
                y=rows["frequency"].to_numpy(dtype=float),
                mode="lines+markers",
                name=name,
                opacity=1.0 if is_all else 0.7,
                line={"color": colour, "width": 2.2 if is_all else 1.2},
                marker={"color": colour, "size": 7 if is_all else 5},
                customdata=rows["n_obs"].to_numpy(dtype=float),
                hovertemplate=f"called %{{x:.3f}}, came true %{{y:.3f}} of %{{customdata:.0f}}"
                f"<extra>{name}</extra>",
            )
        )
    # Room for the controls above a legend that may be as wide as the panel.
    figure.update_layout(hovermode="closest", margin={"t": 64})
    figure.update_xaxes(title_text="forecast probability", range=[-0.02, 1.02], showgrid=True)
    figure.update_yaxes(title_text="share that came true", range=[-0.02, 1.02])
    return figure


def pit_figure(
    scores: pd.DataFrame, *, members: tuple[str, ...], palette: Palette = LIGHT
) -> go.Figure:
    """Where outcomes fell within the forecasts: flat where the forecast is honest.

    Parameters
    ----------
    scores : DataFrame
        ``member, pit``.
    members : tuple of str
        Which, in order.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Share of outcomes per tenth, one bar per member.

    Examples
    --------
    >>> scores = pd.DataFrame({"member": ["market"] * 2, "pit": [0.05, 0.95]})
    >>> pit_figure(scores, members=("market",)).data[0].y.tolist()[:2]
    [0.5, 0.0]
    """
    figure = canvas(palette, height_px=300)
    edges = np.linspace(0.0, 1.0, _N_PIT_BINS + 1)
    for member in members:
        values = scores.loc[scores["member"] == member, "pit"].dropna().to_numpy(dtype=float)
        counts, _ = np.histogram(values, bins=edges)
        figure.add_trace(
            go.Bar(
                x=(edges[:-1] + edges[1:]) / 2,
                y=counts / max(len(values), 1),
                name=member,
                marker={"color": member_colours(palette)[member], "opacity": 0.85},
                hovertemplate=f"%{{y:.1%}}<extra>{member}</extra>",
            )
        )
    reference_line(figure, 1.0 / _N_PIT_BINS, row=1, palette=palette)
    figure.update_xaxes(title_text="probability transform of the outcome")
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return figure


def murphy_figure(calibration: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """Murphy's two terms per forecast: what it loses by dishonesty, what it gains by telling apart.

    Parameters
    ----------
    calibration : DataFrame
        ``member, reliability, resolution``.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Resolution above (larger is better), reliability below (smaller is better).

    Examples
    --------
    >>> table = pd.DataFrame({"member": ["market"], "reliability": [0.001], "resolution": [0.05]})
    >>> [trace.y.tolist() for trace in murphy_figure(table).data]
    [[0.05], [0.001]]
    """
    figure = canvas(palette, height_px=300, row_heights=(0.5, 0.5), row_gap=0.2)
    colours = [member_colours(palette)[member] for member in calibration["member"]]
    for row, column in enumerate(("resolution", "reliability"), start=1):
        figure.add_trace(
            go.Bar(
                x=calibration["member"].tolist(),
                y=calibration[column].to_numpy(dtype=float),
                marker={"color": colours},
                width=0.5,
                showlegend=False,
                hovertemplate="%{x}: %{y:.5f}<extra></extra>",
            ),
            row=row,
            col=1,
        )
    row_titles(figure, ["Resolution, larger is better", "Reliability, 0 = honest"])
    figure.update_layout(hovermode="closest", margin=_HEADROOM)
    figure.update_xaxes(type="category")
    figure.update_yaxes(rangemode="tozero", nticks=4)
    return figure


def longshot_figure(longshot: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """What a contract paid beyond its price, by price, with 95 % intervals over events.

    Parameters
    ----------
    longshot : DataFrame
        ``mean_price_usd, gain_usd, std_error_usd, n_legs``.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Below zero on the left and above on the right is the favourite-longshot bias.

    Examples
    --------
    >>> table = pd.DataFrame({"mean_price_usd": [0.05], "gain_usd": [-0.008],
    ...                       "std_error_usd": [0.002], "n_legs": [500]})
    >>> longshot_figure(table).data[0].y.tolist()
    [-0.8]
    """
    figure = canvas(palette, height_px=300)
    figure.add_trace(
        go.Scatter(
            x=longshot["mean_price_usd"].to_numpy(dtype=float),
            y=100.0 * longshot["gain_usd"].to_numpy(dtype=float),
            mode="lines+markers",
            line={"color": palette.strategy, "width": 1.6},
            marker={"color": palette.strategy, "size": 7},
            error_y={
                "type": "data",
                "array": 196.0 * longshot["std_error_usd"].to_numpy(dtype=float),
                "thickness": 1.2,
            },
            customdata=longshot["n_legs"].to_numpy(dtype=float),
            hovertemplate="at %{x:.3f}: %{y:+.2f} cents, %{customdata:.0f} contracts"
            "<extra></extra>",
            showlegend=False,
        )
    )
    reference_line(figure, 0.0, row=1, palette=palette)
    figure.update_layout(hovermode="closest", margin=_HEADROOM)
    figure.update_xaxes(title_text="price, dollars", range=[-0.02, 1.02])
    figure.update_yaxes(title_text="paid less price, cents")
    return figure


def interval_figure(table: pd.DataFrame, *, unit: str, palette: Palette = LIGHT) -> go.Figure:
    """Means with intervals, one below the other; whole intervals above zero are green.

    Parameters
    ----------
    table : DataFrame
        ``name, mean, low, high``; NaN ends = no interval.
    unit : str
        Title of the axis.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        In the order of the table, top to bottom.

    Examples
    --------
    >>> table = pd.DataFrame({"name": ["a"], "mean": [1.0], "low": [0.5], "high": [1.5]})
    >>> interval_figure(table, unit="nats").data[0].marker.color == (LIGHT.up,)
    True
    """
    mean, low, high = (table[name].to_numpy(dtype=float) for name in ("mean", "low", "high"))
    figure = canvas(palette, height_px=max(170, 80 + 28 * len(table)))
    colours = np.where(low > 0, palette.up, np.where(high < 0, palette.down, palette.benchmark))
    figure.add_trace(
        go.Scatter(
            x=mean,
            y=table["name"].tolist(),
            mode="markers",
            marker={"color": colours.tolist(), "size": 9},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": high - mean,
                "arrayminus": mean - low,
                "thickness": 1.4,
                "color": palette.text,
            },
            customdata=np.stack([low, high], axis=1),
            hovertemplate="%{y}: %{x:.4f}, %{customdata[0]:.4f} to %{customdata[1]:.4f}"
            "<extra></extra>",
            showlegend=False,
        )
    )
    figure.add_vline(x=0.0, line={"color": palette.benchmark, "width": 1, "dash": "dot"})
    figure.update_layout(hovermode="closest", margin=_HEADROOM)
    figure.update_xaxes(title_text=unit, showgrid=True)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return figure


def equity_by_event_figure(
    clusters: pd.DataFrame, *, strategies: tuple[str, ...], palette: Palette = LIGHT
) -> go.Figure:
    """Capital and gains after fees, one step per real-world event.

    Parameters
    ----------
    clusters : DataFrame
        ``strategy, place, scheduled_us, equity_usd``.
    strategies : tuple of str
        Which, the emphasised one first; at most six are drawn.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        One line per strategy.

    Examples
    --------
    >>> table = pd.DataFrame({"strategy": ["s"], "place": [0], "equity_usd": [1_001.0],
    ...                       "scheduled_us": [1_700_000_000_000_000]})
    >>> equity_by_event_figure(table, strategies=("s",)).data[0].name
    's'
    """
    figure = canvas(palette, height_px=340)
    others = len(strategies[:_MAX_LINES]) - 1
    for number, strategy in enumerate(strategies[:_MAX_LINES]):
        own = clusters[clusters["strategy"] == strategy].sort_values("place")
        # Occurrences of one moment are one step: none of them is before another.
        rows = own.drop_duplicates("scheduled_us", keep="last")
        is_first = number == 0
        colour = palette.strategy if is_first else palette.ramp(number - 1, others)
        figure.add_trace(
            go.Scatter(
                x=moment_text(rows["scheduled_us"]),
                y=rows["equity_usd"].to_numpy(dtype=float),
                mode="lines",
                line={"color": colour, "width": 2 if is_first else 1.1, "shape": "hv"},
                name=strategy,
                hovertemplate=f"%{{y:,.2f}}<extra>{strategy}</extra>",
            )
        )
    figure.update_xaxes(type="date")
    figure.update_yaxes(title_text="dollars")
    return figure


def availability_figure(availability: pd.DataFrame, *, palette: Palette = LIGHT) -> go.Figure:
    """What the availability of the rows of each table rests on.

    Parameters
    ----------
    availability : DataFrame
        ``table, basis, n_rows``.
    palette : Palette
        Theme.

    Returns
    -------
    plotly.graph_objects.Figure
        Shares of rows, stacked, one bar per table.

    Examples
    --------
    >>> rows = pd.DataFrame({"table": ["quote"], "basis": ["recorded"], "n_rows": [9]})
    >>> [(trace.name, trace.x.tolist()) for trace in availability_figure(rows).data]
    [('recorded', [1.0])]
    """
    shares = availability.pivot_table(
        index="table", columns="basis", values="n_rows", aggfunc="sum", fill_value=0
    )
    shares = shares.div(shares.sum(axis=1).clip(lower=1), axis=0)
    colours = {
        "recorded": palette.up,
        "ws_send+lag": palette.long_side,
        "trade_ts+lag": palette.strategy,
        "candle_end+lag": palette.gross,
        "release_calendar": palette.hedged,
        "assumed": palette.cost_spread,
    }
    figure = canvas(palette, height_px=160 + 26 * max(len(shares), 1))
    for basis in [*colours, *sorted({str(one) for one in shares} - set(colours))]:
        if basis not in shares:
            continue
        figure.add_trace(
            go.Bar(
                x=shares[basis].to_numpy(dtype=float),
                y=shares.index.tolist(),
                orientation="h",
                name=basis,
                marker={"color": colours.get(basis, palette.benchmark)},
                hovertemplate=f"%{{x:.1%}}<extra>{basis}</extra>",
            )
        )
    # Room for the controls above a legend that may be as wide as the panel.
    figure.update_layout(
        barmode="stack",
        hovermode="y unified",
        margin={"t": 84},
        legend={"traceorder": "normal"},
    )
    figure.update_xaxes(tickformat=".0%", range=[0, 1])
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return figure
