"""Panels of what the figures rest on: folds, time contract, data, lineage, glossary."""

from __future__ import annotations

from quant_engine.reports.figures.evidence import coverage_figure, fold_figure
from quant_engine.reports.formats import COUNT, DAYS, PERCENT2, SIGNED_IC
from quant_engine.reports.glossary import METRICS, TERMS
from quant_engine.reports.markup import Markup, el, join
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
    label = "Number of assets and universe members; share of members with a price below."
    slot = chart("coverage", coverage_figure(coverage), label=label)
    return panel("coverage", title, slot, span=7)


def quality_panel(data: TearSheetData) -> Markup:
    """Coverage in figures, findings of the data quality rules, what the dataset does not hold.

    Parameters
    ----------
    data : TearSheetData
        Uses ``dataset.coverage``, ``quality_findings`` and ``dataset.absences``.

    Returns
    -------
    Markup
        Panel.
    """
    title = "Data quality"
    absences = data.dataset.absences
    facts = _coverage_facts(data)
    if data.quality_findings is None and not absences and facts is None:
        return absent_panel("quality", title, data.why_absent("quality_findings"), span=5)
    missing = (
        join([el("h4", "Not in this dataset"), sentences("dataset.absences", absences)])
        if absences
        else None
    )
    return panel("quality", title, facts, _findings(data), missing, span=5)


def _findings(data: TearSheetData) -> Markup:
    findings = data.quality_findings
    if findings is None:
        return el("p", data.why_absent("quality_findings"), class_="note")
    if findings.empty:
        return el("p", "Every quality rule was evaluated; none found anything.", class_="note")
    columns = [
        Column("rule", "Rule"),
        Column("severity", "Severity"),
        Column("n_findings", "Findings", COUNT),
    ]
    return table("quality", findings, columns, caption="Findings by rule", row_key="rule")


def _coverage_facts(data: TearSheetData) -> Markup | None:
    coverage = data.dataset.coverage
    if coverage is None or coverage["share_covered"].notna().sum() == 0:
        return None
    share = coverage["share_covered"].astype(float)
    entries = [
        ("Sessions", value("coverage.n_sessions", len(coverage), COUNT)),
        ("Assets, mean", value("coverage.assets", float(coverage["n_assets"].mean()), DAYS)),
        ("Members, mean", value("coverage.members", float(coverage["n_members"].mean()), DAYS)),
        ("Covered, mean", value("coverage.mean", float(share.mean()), PERCENT2)),
        ("Covered, lowest", value("coverage.lowest", float(share.min()), PERCENT2)),
        ("Lowest on", value("coverage.lowest_session", share.idxmin(), class_="nowrap")),
    ]
    pairs = (el("div", el("dt", label), el("dd", content)) for label, content in entries)
    return el("dl", *pairs, class_="facts thirds")


def lineage_panel(lineage: Lineage | None, reason: str) -> Markup:
    """From raw file to this page, one column per step.

    Parameters
    ----------
    lineage : Lineage or None
        Artifacts and which was made from which.
    reason : str
        Why there is none, in a sentence.

    Returns
    -------
    Markup
        Panel.
    """
    title = "Lineage"
    if lineage is None or not lineage.nodes:
        return absent_panel("lineage", title, reason, span=12)
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
