"""Artifacts as tables and figures for people: pure functions, the HTML tear sheet, the theme."""

from quant_engine.reports.tearsheet import render_tearsheet
from quant_engine.reports.tearsheet_data import (
    DatasetFacts,
    Lineage,
    LineageNode,
    QualityOutcome,
    RunFacts,
    TearSheetData,
)

__all__ = [
    "DatasetFacts",
    "Lineage",
    "LineageNode",
    "QualityOutcome",
    "RunFacts",
    "TearSheetData",
    "render_tearsheet",
]
