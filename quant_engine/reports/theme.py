"""The look: two palettes with the same roles, two Plotly templates, one set of CSS variables.

A colour is never written down outside this module. Figures ask a :class:`Palette` for a *role*
(``strategy``, ``benchmark``, ``up`` …); the light and the dark palette answer the same roles. A
figure built with one palette becomes the figure of the other when every colour value is replaced
by the value of the same role (:func:`palette_swap`): that is all the client does on a theme
toggle. Text, grid lines and heatmap scales are not baked into figures at all: they live in the
template, whose trace defaults carry the colour scale.

Importing this module registers the templates ``quant_engine_light`` and ``quant_engine_dark``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio

from quant_engine.core.errors import ConfigError, did_you_mean

__all__ = ["DARK", "FONT_STACK", "LIGHT", "Palette", "css_variables", "palette_swap", "template"]

FONT_STACK = (
    'Inter, ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", '
    "Arial, sans-serif"
)
"""System fonts only: Inter where it is installed, nothing is ever fetched."""

_RAMP_STEPS = 10


@dataclass(frozen=True, kw_only=True)
class Palette:
    """Colours by role, as CSS colour strings.

    Text roles (``text``, ``muted``, ``accent``, ``up``, ``down``, ``warn``) have a contrast of at
    least 4.5:1 on ``card``, line roles at least 3:1 (WCAG 2.2, criteria 1.4.3 and 1.4.11).

    Parameters
    ----------
    name : str
        ``light`` or ``dark``.
    body, card, inset, line, grid : str
        Page, panel, recessed surface, border and grid line.
    text, muted, accent, up, down, warn : str
        Text, secondary text, links and controls, gain, loss, caution.
    strategy, gross, benchmark, hedged : str
        The four return series, the same everywhere.
    strategy_fill, down_fill, band : str
        Translucent areas.
    long_side, short_side : str
        Exposure of the two sides.
    cost_fees, cost_spread, cost_impact, cost_borrow : str
        Kinds of cost.
    regime_0, regime_1, regime_2, regime_3 : str
        Solid colours of the canonical regimes (bull, bear, mean-reverting, high volatility).
    shade_0, shade_1, shade_2, shade_3 : str
        The same, translucent, for shading behind a curve.
    ramp_low, ramp_mid, ramp_high : str
        Ends and middle of the diverging scale of ordered groups.
    heat_low, heat_mid, heat_high : str
        Ends and middle (zero) of the scale of heatmaps; text on any of its colours stays legible.

    Examples
    --------
    >>> LIGHT.ramp(0, 5) == LIGHT.ramp_low, LIGHT.ramp(4, 5) == LIGHT.ramp_high
    (True, True)
    """

    name: str
    body: str
    card: str
    inset: str
    line: str
    grid: str
    text: str
    muted: str
    accent: str
    up: str
    down: str
    warn: str
    strategy: str
    gross: str
    benchmark: str
    hedged: str
    strategy_fill: str
    down_fill: str
    band: str
    long_side: str
    short_side: str
    cost_fees: str
    cost_spread: str
    cost_impact: str
    cost_borrow: str
    regime_0: str
    regime_1: str
    regime_2: str
    regime_3: str
    shade_0: str
    shade_1: str
    shade_2: str
    shade_3: str
    ramp_low: str
    ramp_mid: str
    ramp_high: str
    heat_low: str
    heat_mid: str
    heat_high: str

    def regime(self, code: int) -> str:
        """Solid colour of a canonical regime.

        Parameters
        ----------
        code : int
            0 to 3; any other code (warm-up, unknown) is drawn as ``muted``.

        Returns
        -------
        str
            CSS colour.

        Examples
        --------
        >>> LIGHT.regime(1) == LIGHT.regime_1, LIGHT.regime(-1) == LIGHT.muted
        (True, True)
        """
        solid = (self.regime_0, self.regime_1, self.regime_2, self.regime_3)
        return solid[code] if 0 <= code < len(solid) else self.muted

    def shade(self, code: int) -> str:
        """Translucent colour of a canonical regime, for areas behind a curve.

        Parameters
        ----------
        code : int
            0 to 3; any other code is drawn with the grid colour.

        Returns
        -------
        str
            CSS colour.

        Examples
        --------
        >>> LIGHT.shade(3) == LIGHT.shade_3
        True
        """
        shades = (self.shade_0, self.shade_1, self.shade_2, self.shade_3)
        return shades[code] if 0 <= code < len(shades) else self.grid

    def ramp(self, step: int, n_steps: int) -> str:
        """Colour of one of ``n_steps`` ordered groups, low to high.

        Parameters
        ----------
        step : int
            0 (lowest) to ``n_steps - 1`` (highest).
        n_steps : int
            Number of groups, at least 1.

        Returns
        -------
        str
            CSS hex colour, linear in RGB between low, middle and high.

        Examples
        --------
        >>> len({LIGHT.ramp(k, 10) for k in range(10)})
        10
        """
        position = 0.5 if n_steps <= 1 else step / (n_steps - 1)
        return _ramp_colour(self, round(position * (_RAMP_STEPS - 1)))

    def heat_scale(self) -> list[list[float | str]]:
        """Plotly colour scale of heatmaps: low, zero, high.

        Returns
        -------
        list of [position, colour]
            Positions in [0, 1].

        Examples
        --------
        >>> [stop[0] for stop in LIGHT.heat_scale()]
        [0.0, 0.5, 1.0]
        """
        return [[0.0, self.heat_low], [0.5, self.heat_mid], [1.0, self.heat_high]]


LIGHT = Palette(
    name="light",
    body="#f4f6f9",
    card="#ffffff",
    inset="#f0f3f7",
    line="#dfe4ec",
    grid="#e9edf3",
    text="#17202e",
    muted="#586476",
    accent="#2f62c8",
    up="#147a55",
    down="#bf3642",
    warn="#8a5a00",
    strategy="#3468cf",
    gross="#6d8fdc",
    benchmark="#7f8a9a",
    hedged="#8455bd",
    strategy_fill="rgba(52,104,207,0.10)",
    down_fill="rgba(191,54,66,0.14)",
    band="rgba(127,138,154,0.16)",
    long_side="#1f9068",
    short_side="#cc4853",
    cost_fees="#5876a8",
    cost_spread="#b67a1f",
    cost_impact="#b9515a",
    cost_borrow="#6a8f4f",
    regime_0="#2a9a72",
    regime_1="#d2545f",
    regime_2="#8e99a9",
    regime_3="#c98a1c",
    shade_0="rgba(42,154,114,0.08)",
    shade_1="rgba(210,84,95,0.11)",
    shade_2="rgba(142,153,169,0.05)",
    shade_3="rgba(201,138,28,0.13)",
    ramp_low="#d2555f",
    ramp_mid="#8e99aa",
    ramp_high="#2b9c74",
    heat_low="#f0a6ab",
    heat_mid="#f1f3f7",
    heat_high="#7fcaab",
)

DARK = Palette(
    name="dark",
    body="#0d1117",
    card="#141a24",
    inset="#1a2230",
    line="#253043",
    grid="#212b3a",
    text="#e6eaf1",
    muted="#98a4b6",
    accent="#7ea6f7",
    up="#35c194",
    down="#f26f7b",
    warn="#e9b44c",
    strategy="#6a9af5",
    gross="#4a73c4",
    benchmark="#8c97a9",
    hedged="#b08cf0",
    strategy_fill="rgba(106,154,245,0.13)",
    down_fill="rgba(242,111,123,0.18)",
    band="rgba(140,151,169,0.18)",
    long_side="#2fb488",
    short_side="#ea6470",
    cost_fees="#7f9fd6",
    cost_spread="#dca548",
    cost_impact="#de7079",
    cost_borrow="#93b876",
    regime_0="#35b98d",
    regime_1="#ee6b76",
    regime_2="#74809a",
    regime_3="#e3ad45",
    shade_0="rgba(53,185,141,0.11)",
    shade_1="rgba(238,107,118,0.15)",
    shade_2="rgba(116,128,154,0.07)",
    shade_3="rgba(227,173,69,0.15)",
    ramp_low="#d8525f",
    ramp_mid="#74819b",
    ramp_high="#29a67c",
    heat_low="#b23c49",
    heat_mid="#1f2836",
    heat_high="#1b7f5d",
)


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _ramp_colour(palette: Palette, step: int) -> str:
    position = step / (_RAMP_STEPS - 1)
    low, high = (
        (palette.ramp_low, palette.ramp_mid)
        if position < 0.5
        else (palette.ramp_mid, palette.ramp_high)
    )
    share = position * 2 if position < 0.5 else position * 2 - 1
    pairs = zip(_channels(low), _channels(high), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def palette_swap(source: Palette, target: Palette) -> dict[str, str]:
    """Which colour of ``source`` becomes which colour of ``target``.

    Parameters
    ----------
    source, target : Palette
        The palette a figure was built with, and the wanted one.

    Returns
    -------
    dict of str to str
        Colour value to colour value, for every role and every step of the ramp.

    Raises
    ------
    ConfigError
        If one colour of ``source`` stands for two roles that differ in ``target``; the swap would
        be ambiguous.

    Examples
    --------
    >>> palette_swap(LIGHT, DARK)[LIGHT.strategy] == DARK.strategy
    True
    """
    roles = [field.name for field in fields(Palette) if field.name != "name"]
    pairs = [(getattr(source, role), getattr(target, role)) for role in roles]
    pairs += [(_ramp_colour(source, k), _ramp_colour(target, k)) for k in range(_RAMP_STEPS)]
    swap: dict[str, str] = {}
    for before, after in pairs:
        if swap.setdefault(before, after) != after:
            raise ConfigError(
                f"palette {source.name!r}",
                wanted="one colour per role",
                got=f"{before} for two roles",
                hint="Shift one of the two by one step.",
            )
    return swap


def css_variables(palette: Palette) -> str:
    """Palette as CSS custom properties.

    Parameters
    ----------
    palette : Palette
        Which one.

    Returns
    -------
    str
        ``--role: value;`` declarations, one per role, underscores as dashes.

    Examples
    --------
    >>> css_variables(LIGHT).split(";")[0]
    '--body: #f4f6f9'
    """
    roles = [field.name for field in fields(Palette) if field.name != "name"]
    return "".join(f"--{role.replace('_', '-')}: {getattr(palette, role)};" for role in roles)


def _axis(palette: Palette) -> dict[str, Any]:
    return {
        "gridcolor": palette.grid,
        "linecolor": palette.line,
        "zerolinecolor": palette.line,
        "zerolinewidth": 1,
        "tickcolor": palette.line,
        "tickfont": {"color": palette.muted, "size": 11},
        "title": {"font": {"color": palette.muted, "size": 11}, "standoff": 8},
        "automargin": True,
        "exponentformat": "none",
    }


def _build_template(palette: Palette) -> go.layout.Template:
    x_axis = _axis(palette) | {"showgrid": False, "ticks": "outside", "ticklen": 4}
    layout = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT_STACK, "size": 12, "color": palette.text},
        "colorway": [palette.strategy, palette.benchmark, palette.hedged, palette.cost_spread],
        "xaxis": x_axis,
        "yaxis": _axis(palette) | {"ticks": ""},
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "font": {"size": 11.5, "color": palette.muted},
            "bgcolor": "rgba(0,0,0,0)",
        },
        "hovermode": "x unified",
        "hoverlabel": {
            "bgcolor": palette.card,
            "bordercolor": palette.line,
            "font": {"color": palette.text, "size": 12, "family": FONT_STACK},
        },
        "annotationdefaults": {"font": {"color": palette.muted, "size": 11.5}, "showarrow": False},
        "shapedefaults": {"line": {"color": palette.muted, "width": 1}},
        "modebar": {
            "bgcolor": "rgba(0,0,0,0)",
            "color": palette.muted,
            "activecolor": palette.text,
        },
        "bargap": 0.18,
        "barcornerradius": 2,
    }
    heat = {
        "colorscale": palette.heat_scale(),
        "zmid": 0,
        "xgap": 2,
        "ygap": 2,
        "showscale": False,
        "textfont": {"size": 11, "family": FONT_STACK},
    }
    data = {
        "heatmap": [heat],
        "bar": [{"marker": {"line": {"width": 0}}, "error_y": {"color": palette.text}}],
    }
    return go.layout.Template(layout=layout, data=data)


def template(name: str) -> go.layout.Template:
    """Registered Plotly template of a theme.

    Parameters
    ----------
    name : str
        ``light`` or ``dark``.

    Returns
    -------
    plotly.graph_objects.layout.Template
        Transparent backgrounds; axis, text and heatmap colours of the palette.

    Raises
    ------
    ConfigError
        If there is no such theme.

    Examples
    --------
    >>> template("dark").layout.paper_bgcolor
    'rgba(0,0,0,0)'
    """
    key = f"quant_engine_{name}"
    if key not in pio.templates:
        raise ConfigError(
            "theme", wanted="light or dark", got=name, hint=did_you_mean(name, ["light", "dark"])
        )
    return pio.templates[key]


pio.templates["quant_engine_light"] = _build_template(LIGHT)
pio.templates["quant_engine_dark"] = _build_template(DARK)
