"""The HTML tear sheet: one self-contained page per backtest.

:func:`render_tearsheet` collects the panels by section; the shell around them is that of every page
(`quant_engine.reports.page`).
"""

from __future__ import annotations

from quant_engine.reports.markup import Markup, el
from quant_engine.reports.page import render_page
from quant_engine.reports.panels.activity import (
    cost_panels,
    exposure_panel,
    trade_extremes,
    trade_panels,
    turnover_panel,
)
from quant_engine.reports.panels.evaluation import (
    attribution_panels,
    calibration_panel,
    crisis_panels,
    excursion_panel,
    slices_panels,
    tca_panel,
    waterfall_panel,
)
from quant_engine.reports.panels.evidence import (
    contract_panel,
    coverage_panel,
    fold_panels,
    glossary_panel,
    lineage_panel,
    quality_panel,
)
from quant_engine.reports.panels.parts import section
from quant_engine.reports.panels.performance import (
    distribution_panel,
    drawdown_panel,
    equity_panel,
    monthly_panel,
    regime_panel,
    rolling_panel,
    year_panels,
)
from quant_engine.reports.panels.signal import (
    ic_date_panel,
    ic_horizon_panel,
    ic_year_panel,
    quantile_panels,
)
from quant_engine.reports.panels.summary import (
    callouts,
    key_figures,
    masthead,
    recorded_panel,
    sharpe_panel,
)
from quant_engine.reports.panels.validation import validation_panels
from quant_engine.reports.tearsheet_data import TearSheetData

__all__ = ["render_tearsheet"]


def render_tearsheet(data: TearSheetData) -> str:
    """Write the tear sheet of one run as a single HTML file.

    Parameters
    ----------
    data : TearSheetData
        Everything that is shown. Nothing else is read: no file, no clock, no network.

    Returns
    -------
    str
        An HTML5 document; equal data give equal text. ``?theme=dark`` or ``?theme=light`` in its
        address fixes the theme, otherwise the reader's system decides.

    Examples
    --------
    A run that recorded nothing still gives a page, and every panel says why it is empty.

    >>> from datetime import date
    >>> from quant_engine.core.tracks import Track
    >>> from quant_engine.reports.tearsheet_data import DatasetFacts, RunFacts
    >>> data = TearSheetData(
    ...     title="Empty run",
    ...     track=Track.CALIBRATION,
    ...     dataset=DatasetFacts(
    ...         dataset_id="demo",
    ...         source="simulated",
    ...         first_session=date(2024, 1, 2),
    ...         last_session=date(2024, 1, 3),
    ...         n_assets=2,
    ...     ),
    ...     run=RunFacts(
    ...         run_id="r1",
    ...         model_version="v1",
    ...         config_id="c1",
    ...         code_digest="d1",
    ...         horizon_sessions=10,
    ...         as_of="2024-01-03",
    ...     ),
    ...     periods_per_year=252,
    ...     summary={},
    ... )
    >>> page = render_tearsheet(data)
    >>> page.startswith("<!doctype html>"), page.count('data-mode="absent"') > 20
    (True, True)
    """
    sections = _sections(data)
    return render_page(
        f"{data.title} · tear sheet",
        [(anchor, title) for anchor, title, _ in sections],
        [
            masthead(data),
            callouts(data),
            *(
                section(anchor, title, *panels) if anchor != "summary" else panels[0]
                for anchor, title, panels in sections
            ),
        ],
    )


def _sections(data: TearSheetData) -> list[tuple[str, str, list[Markup]]]:
    lineage = lineage_panel(data.lineage, data.why_absent("lineage"))
    summary = el(
        "section",
        el("h2", "Key figures", class_="hidden-text", id="s-summary"),
        key_figures(data),
        el("div", sharpe_panel(data), class_="grid"),
        id="summary",
        class_="block",
        aria_labelledby="s-summary",
    )
    return [
        ("summary", "Summary", [summary]),
        *_book_sections(data),
        *_model_sections(data),
        ("validation", "Validation", validation_panels(data)),
        (
            "data",
            "Data and lineage",
            [coverage_panel(data), quality_panel(data), lineage, recorded_panel(data)],
        ),
        ("glossary", "Glossary", [glossary_panel()]),
    ]


def _book_sections(data: TearSheetData) -> list[tuple[str, str, list[Markup]]]:
    """What the book earned, risked, held, paid and traded, and where it came from."""
    year_bars, year_slices = year_panels(data)
    cost_curve, cost_years = cost_panels(data)
    statistics, trade_returns = trade_panels(data)
    best, worst = trade_extremes(data)
    risk = [rolling_panel(data), distribution_panel(data), drawdown_panel(data), regime_panel(data)]
    return [
        (
            "performance",
            "Performance",
            [equity_panel(data), monthly_panel(data), year_bars, year_slices],
        ),
        ("risk", "Risk", [*risk, *crisis_panels(data)]),
        (
            "positions",
            "Positions and costs",
            [
                exposure_panel(data),
                turnover_panel(data),
                waterfall_panel(data),
                cost_curve,
                cost_years,
                tca_panel(data),
            ],
        ),
        ("trades", "Trades", [statistics, trade_returns, best, worst, excursion_panel(data)]),
        ("attribution", "Attribution", [*attribution_panels(data), *slices_panels(data)]),
    ]


def _model_sections(data: TearSheetData) -> list[tuple[str, str, list[Markup]]]:
    """How good the scores were, and how they were made out of sample."""
    quantile_bars, quantile_curves = quantile_panels(data)
    timeline, folds = fold_panels(data)
    return [
        (
            "signal",
            "Signal",
            [
                ic_date_panel(data),
                ic_horizon_panel(data),
                ic_year_panel(data),
                quantile_bars,
                quantile_curves,
                calibration_panel(data),
            ],
        ),
        ("walk-forward", "Walk-forward", [timeline, contract_panel(data), folds]),
    ]
