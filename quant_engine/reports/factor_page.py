"""The factor page: one self-contained HTML file about every factor of a report.

First how many tests there were, then all factors in one table, then the strongest by themselves.
"""

from __future__ import annotations

from quant_engine.reports.factor_data import FactorPageData
from quant_engine.reports.markup import el
from quant_engine.reports.page import render_page
from quant_engine.reports.panels.evidence import lineage_panel
from quant_engine.reports.panels.factors import (
    chance_panel,
    factor_callouts,
    factor_figures,
    factor_masthead,
    factor_sections,
    factor_table,
    grid_panels,
)
from quant_engine.reports.panels.parts import section

__all__ = ["render_factor_page"]


def render_factor_page(data: FactorPageData) -> str:
    """Write the page of one factor report.

    Parameters
    ----------
    data : FactorPageData
        Everything that is shown. Nothing else is read: no file, no clock, no network.

    Returns
    -------
    str
        An HTML5 document; equal data give equal text. ``?theme=dark`` or ``?theme=light`` in its
        address fixes the theme, otherwise the reader's system decides.
    """
    by_horizon, by_group = grid_panels(data)
    details = factor_sections(data)
    summary = el(
        "section",
        el("h2", "Key figures", class_="hidden-text", id="s-summary"),
        factor_figures(data),
        el("div", factor_table(data), class_="grid"),
        id="summary",
        class_="block",
        aria_labelledby="s-summary",
    )
    anchors = [("summary", "Factors"), ("overview", "Overview")]
    anchors += [(anchor, title) for anchor, title, _ in details]
    why_no_lineage = "The report was rendered without its artifacts."
    return render_page(
        f"{data.title} · factor report",
        [*anchors, ("lineage", "Lineage")],
        [
            factor_masthead(data),
            factor_callouts(data),
            summary,
            section("overview", "Overview", chance_panel(data), by_horizon, by_group),
            *(content for _, _, content in details),
            section("lineage", "Lineage", lineage_panel(data.lineage, why_no_lineage)),
        ],
    )
