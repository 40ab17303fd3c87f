"""The event-market page: one self-contained HTML file about one run of the pipeline.

Track and verdict first, then what is decided when, single ladders, contradictions of prices, how
honest and how good the forecasts are, what is left after fees, and what all that rests on.
"""

from __future__ import annotations

from quant_engine.reports.event_data import EventReportData
from quant_engine.reports.markup import el
from quant_engine.reports.page import render_page
from quant_engine.reports.panels.event_ladders import ladder_sections
from quant_engine.reports.panels.event_scores import (
    calibration_panels,
    event_figures,
    fold_panels,
    money_panels,
    skill_panels,
)
from quant_engine.reports.panels.event_verdict import (
    audit_panel,
    checklist_panels,
    health_panels,
)
from quant_engine.reports.panels.events import (
    arbitrage_panel,
    calendar_panels,
    event_callouts,
    event_masthead,
    incoherence_panel,
)
from quant_engine.reports.panels.evidence import lineage_panel
from quant_engine.reports.panels.parts import section

__all__ = ["render_event_page"]


def render_event_page(data: EventReportData) -> str:
    """Write the page of one pipeline run.

    Parameters
    ----------
    data : EventReportData
        Everything that is shown. Nothing else is read: no file, no clock, no network.

    Returns
    -------
    str
        An HTML5 document; equal data give equal text. ``?theme=dark`` or ``?theme=light`` in its
        address fixes the theme, otherwise the reader's system decides.
    """
    first_ladder, ladders = ladder_sections(data)
    summary = el(
        "section",
        el("h2", "Key figures", class_="hidden-text", id="s-summary"),
        event_figures(data),
        id="summary",
        class_="block",
        aria_labelledby="s-summary",
    )
    parts = [
        ("calendar", "Calendar", calendar_panels(data)),
        ("coherence", "Coherence", (incoherence_panel(data), arbitrage_panel(data))),
        ("calibration", "Calibration", calibration_panels(data)),
        ("skill", "Skill", (*skill_panels(data), *fold_panels(data))),
        ("money", "After fees", money_panels(data)),
        ("promotion", "Promotion", checklist_panels(data)),
        ("health", "Data health", health_panels(data)),
        ("audit", "Leak audit", (audit_panel(data),)),
    ]
    sections = [(anchor, title, section(anchor, title, *panels)) for anchor, title, panels in parts]
    sections.insert(1, (first_ladder, "Ladders", ladders))
    why_no_lineage = "The report was rendered without its artifacts."
    anchors = [("summary", "Summary"), *((anchor, title) for anchor, title, _ in sections)]
    return render_page(
        f"{data.title} · event-market report",
        [*anchors, ("lineage", "Lineage")],
        [
            event_masthead(data),
            event_callouts(data),
            summary,
            *(content for _, _, content in sections),
            section("lineage", "Lineage", lineage_panel(data.lineage, why_no_lineage)),
        ],
    )
