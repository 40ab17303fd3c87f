"""Themes: legible, complete, unambiguous."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quant_engine.core.errors import ConfigError
from quant_engine.reports.theme import DARK, LIGHT, css_variables, palette_swap, template

TEXT = ("text", "muted", "accent", "up", "down", "warn")
LINES = (
    "strategy benchmark hedged long_side short_side cost_fees cost_spread cost_impact cost_borrow "
    "regime_1 ramp_low ramp_high"
).split()


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_formula_on_known_pairs() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=lambda one: one.name)
@pytest.mark.parametrize("role", TEXT)
@pytest.mark.parametrize("surface", ["card", "body", "inset"])
def test_text_reaches_aa(palette, role, surface) -> None:
    assert contrast(getattr(palette, role), getattr(palette, surface)) >= 4.5


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=lambda one: one.name)
@pytest.mark.parametrize("role", LINES)
def test_lines_stand_out_from_the_panel(palette, role) -> None:
    assert contrast(getattr(palette, role), palette.card) >= 3.0


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=lambda one: one.name)
def test_numbers_in_heatmap_cells_are_legible(palette) -> None:
    # plotly.js writes #444 on light cells and white on dark ones.
    for cell in (palette.heat_low, palette.heat_mid, palette.heat_high):
        ink = "#444444" if palette.name == "light" else "#ffffff"
        assert contrast(ink, cell) >= 4.5


def test_swap_covers_every_role_and_comes_back() -> None:
    there, back = palette_swap(LIGHT, DARK), palette_swap(DARK, LIGHT)
    assert {back[after] for after in there.values()} == set(there)
    assert all(back[there[before]] == before for before in there)


def test_ambiguous_palette_is_refused() -> None:
    twice = replace(LIGHT, gross=LIGHT.strategy)
    with pytest.raises(ConfigError, match="one colour per role"):
        palette_swap(twice, DARK)


def test_both_themes_define_the_same_variables() -> None:
    def names(palette):
        return [part.split(":")[0] for part in css_variables(palette).split(";") if part]

    assert names(LIGHT) == names(DARK)


def test_unknown_theme_is_named_in_the_error() -> None:
    with pytest.raises(ConfigError, match="light or dark"):
        template("sepia")
