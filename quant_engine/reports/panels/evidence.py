"""Panels of what the figures rest on: folds, time contract, data, lineage, glossary."""

from __future__ import annotations

from quant_engine.reports.figures.evidence import coverage_figure, fold_figure
from quant_engine.reports.formats import COUNT, PERCENT2, SIGNED_IC
from quant_engine.reports.glossary import METRICS, TERMS
from quant_engine.reports.markup import EMPTY, Markup, el, join
from quant_engine.reports.panels.parts import (
    Column,
    absent_panel,
    chart,
    panel,
    sentences,
    table,
    value,
)
from quant_engine.reports.tearsheet_data import Lineage, LineageNode, TearSheetData

__all__ = [
    "contract_panel",
    "coverage_panel",
    "fold_panels",
    "glossary_panel",
    "lineage_panel",
    "quality_panel",
]


def fold_panels(data: TearSheetData) -> tuple[Markup, Markup]:
    """Walk-forward folds as a timeline and as a table.

    Parameters
    ----------
    data : TearSheetData
        Uses ``folds``.

    Returns
    -------
    timeline, folds : Markup
        Two panels.
    """
    titles = ("Walk-forward timeline", "Walk-forward folds")
    folds = data.folds
    if folds is None or folds.empty:
        reason = data.why_absent("folds")
        return (
            absent_panel("fold-timeline", titles[0], reason, span=7),
            absent_panel("folds", titles[1], reason, span=12),
        )
    label = f"Timeline of {len(folds)} folds: training block, gap, test block."
    timeline = panel(
        "fold-timeline",
        titles[0],
        chart("folds", fold_figure(folds), label=label),
        span=7,
        note="The gap between training and test is purge and embargo.",
    )
    columns = [
        Column("fold", "Fold", COUNT, is_left=True),
        Column("train_first", "Train from"),
        Column("train_last", "Train to"),
        Column("test_first", "Test from"),
        Column("test_last", "Test to"),
        Column("n_train_rows", "Train rows", COUNT),
        Column("n_test_rows", "Test rows", COUNT),
        Column("ic_in_sample", "IC in sample", SIGNED_IC),
        Column("ic", "IC", SIGNED_IC),
        Column("rank_ic", "Rank IC", SIGNED_IC),
    ]
    body = table("folds", folds, columns, caption="Walk-forward folds", row_key="fold")
    positive = int((folds["rank_ic"] > 0).sum())
    note = join(
        [
            "Rank IC above zero in ",
            value("folds.n_positive", positive, COUNT),
            " of ",
            value("folds.n", len(folds), COUNT),
            " folds. Only the test blocks enter the figures of this page.",
        ]
    )
    return timeline, panel("folds", titles[1], body, span=12, note=note)


def contract_panel(data: TearSheetData) -> Markup:
    """When decisions were made and filled, and what the labels span.

    Parameters
    ----------
    data : TearSheetData
        Uses ``time_contract``.

    Returns
    -------
    Markup
        Panel.
    """
    title = "Time contract"
    if not data.time_contract:
        return absent_panel("contract", title, data.why_absent("time_contract"), span=5)
    body = sentences("time_contract", data.time_contract, class_="steps")
    return panel("contract", title, body, span=5)


def coverage_panel(data: TearSheetData) -> Markup:
    """Assets, members and the share that has a price.

    Parameters
    ----------
    data : TearSheetData
        Uses ``dataset.coverage``.

    Returns
    -------
    Markup
        Panel.
    """
    title = "Data coverage"
    coverage = data.dataset.coverage
    if coverage is None or coverage.empty:
        return absent_panel("coverage", title, data.why_absent("coverage"), span=7)
    share = coverage["share_covered"].astype(float)
    note = join(
        [
            "Share of members with a price: mean ",
            value("coverage.mean", float(share.mean()), PERCENT2),
            ", lowest ",
            value("coverage.lowest", float(share.min()), PERCENT2),
            " on ",
            value("coverage.lowest_session", share.idxmin()),
            ".",
        ]
        if share.notna().any()
        else []
    )
    label = "Number of assets and universe members; share of members with a price below."
    slot = chart("coverage", coverage_figure(coverage), label=label)
    return panel("coverage", title, slot, span=7, note=note)


def quality_panel(data: TearSheetData) -> Markup:
    """Findings of the data quality rules, and what the dataset does not hold.

    Parameters
    ----------
    data : TearSheetData
        Uses ``quality_findings`` and ``dataset.absences``.

    Returns
    -------
    Markup
        Panel.
    """
    title = "Data quality"
    findings = data.quality_findings
    absences = (
        join(
            [
                el("h4", "Not in this dataset"),
                sentences("dataset.absences", data.dataset.absences),
            ]
        )
        if data.dataset.absences
        else EMPTY
    )
    if findings is None:
        reason = data.why_absent("quality_findings")
        if not data.dataset.absences:
            return absent_panel("quality", title, reason, span=5)
        return panel("quality", title, el("p", reason, class_="note"), absences, span=5)
    columns = [
        Column("rule", "Rule"),
        Column("severity", "Severity"),
        Column("n_findings", "Findings", COUNT),
    ]
    body = (
        table("quality", findings, columns, caption="Findings by rule", row_key="rule")
        if len(findings)
        else el("p", "Every rule was evaluated; none found anything.", class_="note")
    )
    return panel("quality", title, body, absences, span=5)


def lineage_panel(data: TearSheetData) -> Markup:
    """From raw file to this page, one column per step.

    Parameters
    ----------
    data : TearSheetData
        Uses ``lineage``.

    Returns
    -------
    Markup
        Panel.
    """
    title = "Lineage"
    lineage = data.lineage
    if lineage is None or not lineage.nodes:
        return absent_panel("lineage", title, data.why_absent("lineage"), span=12)
    depths = lineage.depths()
    columns = [
        el(
            "li",
            el(
                "ul",
                *(
                    _node(lineage, node, position)
                    for position, node in enumerate(lineage.nodes)
                    if depths[node.artifact_id] == depth
                ),
            ),
        )
        for depth in range(max(depths.values()) + 1)
    ]
    note = "Each box is one artifact: kind, description, start of its content hash, its inputs."
    return panel("lineage", title, el("ol", *columns, class_="lineage"), span=12, note=note)


def _node(lineage: Lineage, node: LineageNode, position: int) -> Markup:
    kinds = {one.artifact_id: one.kind for one in lineage.nodes}
    inputs = [kinds[source] for source, product in lineage.edges if product == node.artifact_id]
    prefix = f"lineage.{position}"
    return el(
        "li",
        value(f"{prefix}.kind", node.kind, tag="strong"),
        value(f"{prefix}.label", node.label, class_="label"),
        value(f"{prefix}.sha256", node.sha256, text=node.sha256[:12], class_="mono"),
        el("span", f"from {', '.join(inputs)}", class_="inputs") if inputs else None,
        class_="node",
        title=node.artifact_id,
    )


def glossary_panel() -> Markup:
    """One line for each metric and term.

    Returns
    -------
    Markup
        Panel with a definition list.
    """
    entries = [
        el("div", el("dt", one.label), el("dd", one.meaning), id=f"g-{name}")
        for name, one in METRICS.items()
    ]
    entries += [el("div", el("dt", name), el("dd", meaning)) for name, meaning in TERMS.items()]
    return panel(
        "glossary", "What the figures mean", el("dl", *entries, class_="glossary"), span=12
    )
