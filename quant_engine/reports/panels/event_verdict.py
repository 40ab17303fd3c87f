"""Panels of what an event-market verdict rests on: checklist, data health, leak audit."""

from __future__ import annotations

import pandas as pd

from quant_engine.reports.event_data import EventReportData
from quant_engine.reports.figures.event_scores import availability_figure
from quant_engine.reports.formats import COUNT, FLAG, NumberFormat
from quant_engine.reports.markup import Markup, el, join
from quant_engine.reports.panels.events import folded, moment_column
from quant_engine.reports.panels.parts import Column, absent_panel, chart, panel, table, value

__all__ = ["audit_panel", "checklist_panels", "health_panels"]

FIGURE = NumberFormat(4)
_SIDES = ("<", "<=", ">", ">=")
_SIGNS = {"pass": "✓ pass", "fail": "✕ fail", "warn": "! warn"}


def checklist_panels(data: EventReportData) -> tuple[Markup, ...]:
    """Verdict on every strategy, and the checklist of each with its reasons.

    Parameters
    ----------
    data : EventReportData
        The run.

    Returns
    -------
    tuple of Markup
        Two panels.
    """
    titles = ("Verdicts", "Promotion checklist")
    verdicts = data.table("report", "verdicts")
    if verdicts is None:
        reason = data.why_absent("report", "No strategy was put before the gates.")
        return tuple(
            absent_panel(name, title, reason, span=12)
            for name, title in zip(("verdicts", "checklist"), titles, strict=True)
        )
    columns = [
        Column("strategy", "Strategy"),
        Column("status", "Verdict"),
        Column("is_promoted", "Promoted", FLAG, is_left=True),
        Column("stops", "Stopped by", is_prose=True),
        Column("subject", "Subject"),
    ]
    rules = data.table("report", "checklist")
    named = zip(verdicts["strategy"], verdicts["blocks"], strict=True)
    shown = verdicts.assign(stops=[_stops(data, *one) for one in named])
    body = table("verdicts", shown, columns, caption="Verdicts", row_key="strategy")
    note = "A missing figure never passes. Nothing of a simulated exchange reaches production."
    first = panel("verdicts", titles[0], body, span=12, note=note)
    if rules is None:
        reason = "The gates were switched off, so that nothing was judged and nothing promoted."
        return first, absent_panel("checklist", titles[1], reason, span=12)
    return first, panel("checklist", titles[1], *_checklists(data, rules, verdicts), span=12)


def _stops(data: EventReportData, strategy: str, blocks: str) -> str:
    """What kept one strategy from promotion: blocks, then the hard rules that do not hold."""
    found = [one for one in blocks.split(";") if one]
    rules = data.table("report", "checklist")
    if rules is None:
        return "; ".join(found) or "not judged"
    own = rules[(rules["strategy"] == strategy) & (rules["severity"] == "hard")]
    broken = own.loc[own["status"] != "pass", "rule"].tolist()
    named = [" ".join(word for word in rule.split() if word not in _SIDES) for rule in broken]
    return "; ".join([*found, *named]) or "nothing"


def _checklists(data: EventReportData, rules: pd.DataFrame, verdicts: pd.DataFrame) -> list[Markup]:
    """The best strategy's rules in full, those of the others folded away."""
    order = verdicts.sort_values("is_promoted", ascending=False, kind="stable")["strategy"].tolist()
    if data.best_strategy in order:
        order.remove(data.best_strategy)
        order.insert(0, data.best_strategy)
    parts = []
    for number, strategy in enumerate(order):
        own = rules[rules["strategy"] == strategy].reset_index(drop=True)
        if own.empty:
            continue
        passed = int((own["status"] == "pass").sum())
        heading = join(
            [
                f"{strategy}: ",
                value(f"checklist.{strategy}.n_pass", passed, COUNT),
                " of ",
                value(f"checklist.{strategy}.n", len(own), COUNT),
                " rules hold",
            ]
        )
        body = _rules_table(strategy, own)
        if number == 0:
            parts += [el("h4", heading), body]
        else:
            parts.append(el("details", el("summary", heading), body))
    return parts


def _rules_table(strategy: str, rules: pd.DataFrame) -> Markup:
    shown = rules.assign(
        status=[_SIGNS.get(one, str(one).replace("_", " ")) for one in rules["status"]],
        why=rules["reason"].where(rules["note"] == "", rules["reason"] + ". " + rules["note"]),
    )
    columns = [
        Column("rule", "Rule"),
        Column("gate", "Gate"),
        Column("status", "Says"),
        Column("severity", "Kind"),
        Column("value", "Value", FIGURE),
        Column("threshold", "Limit", FIGURE),
        Column("n_obs", "Seen", COUNT),
        Column("why", "Reason", is_prose=True),
    ]
    return table(f"checklist.{strategy}", shown, columns, caption=f"Rules for {strategy}")


def health_panels(data: EventReportData) -> tuple[Markup, ...]:
    """What availability rests on, freshness, counters of the connection, gaps of books, runs.

    Parameters
    ----------
    data : EventReportData
        The run.

    Returns
    -------
    tuple of Markup
        Panels, each filled or absent with its reason.
    """
    return (
        _availability_panel(data),
        _freshness_panel(data),
        _counter_panel(data),
        _gap_panel(data),
        _run_panel(data),
    )


def _availability_panel(data: EventReportData) -> Markup:
    title = "What availability rests on"
    rows = data.table("report", "availability")
    if rows is None:
        reason = data.why_absent("report", "No row of the store was counted.")
        return absent_panel("availability", title, reason, span=6)
    figure = availability_figure(rows)
    slot = chart("availability", figure, label="Share of rows by basis of their availability.")
    note = "Recorded: somebody wrote it down when it happened. Everything else is derived."
    return panel("availability", title, slot, span=6, note=note)


def _freshness_panel(data: EventReportData) -> Markup:
    title = "Tables of the store"
    rows = data.table("health", "tables")
    if rows is None:
        reason = data.why_absent("health", "The store holds no table.")
        return absent_panel("freshness", title, reason, span=6)
    shown = rows.assign(first=moment_column(rows["first_us"]), last=moment_column(rows["last_us"]))
    columns = [
        Column("table", "Table"),
        Column("n_rows", "Rows", COUNT),
        Column("first", "Oldest, UTC"),
        Column("last", "Newest, UTC"),
    ]
    body = folded("freshness", shown, columns, caption="Rows and freshness by table", n_shown=16)
    return panel("freshness", title, body, span=6)


def _counter_panel(data: EventReportData) -> Markup:
    title = "Connection: refusals, repetitions, skew, schema drift"
    rows = data.table("health", "counters")
    if rows is None:
        reason = data.why_absent("health", "Nothing was counted: no connection was opened.")
        return absent_panel("counters", title, reason, span=6)
    columns = [
        Column("endpoint", "Connection"),
        Column("counter", "Counted"),
        Column("value", "Times", COUNT),
    ]
    body = folded("counters", rows, columns, caption="Counters of the connection", n_shown=16)
    return panel("counters", title, body, span=6, note="Over all runs of the store.")


def _gap_panel(data: EventReportData) -> Markup:
    title = "Gaps of order books"
    if ("report", "gaps") not in data.tables:
        return absent_panel("gaps", title, data.why_absent("report", ""), span=6)
    rows = data.table("report", "gaps")
    if rows is None:
        text = "No book was lost, or no book was recorded; quotes inside a gap would be absent."
        return panel("gaps", title, el("p", text, class_="note"), span=6)
    shown = rows.assign(since=moment_column(rows["from_us"]), until=moment_column(rows["to_us"]))
    columns = [
        Column("ticker", "Market"),
        Column("since", "Lost, UTC"),
        Column("until", "Known again, UTC"),
        Column("reason", "Why"),
    ]
    return panel("gaps", title, folded("gaps", shown, columns, caption="Gaps"), span=6)


def _run_panel(data: EventReportData) -> Markup:
    title = "Repetitions of ingest"
    rows = data.table("health", "runs")
    if rows is None:
        reason = data.why_absent("health", "No run wrote a row.")
        return absent_panel("ingest-runs", title, reason, span=12)
    columns = [
        Column("run_id", "Run"),
        Column("table", "Table"),
        Column("n_offered", "Rows offered", COUNT),
        Column("n_new", "New", COUNT),
    ]
    body = folded("ingest_runs", rows, columns, caption="Rows offered and new by run and table")
    note = "A batch may be sent again: what is stored already is not stored twice."
    return panel("ingest-runs", title, body, span=12, note=note)


def audit_panel(data: EventReportData) -> Markup:
    """What the leak audit compared, and what it found.

    Parameters
    ----------
    data : EventReportData
        The run.

    Returns
    -------
    Markup
        Panel: one row per check and subject, those with faults first.
    """
    title = "Leak audit"
    rows = data.audit
    if rows is None:
        reason = data.why_absent("report", "The stage audit was not run.")
        return absent_panel("leak-audit", title, reason, span=12)
    grouped = (
        rows.groupby(["check", "subject"], sort=True)
        .agg(
            n_checks=("n_faults", "size"),
            n_rows=("n_rows", _known_sum),
            n_faults=("n_faults", "sum"),
        )
        .reset_index()
        .sort_values("n_faults", ascending=False, kind="stable")
        .reset_index(drop=True)
    )
    columns = [
        Column("subject", "View, rule or feature"),
        Column("check", "Check"),
        Column("n_checks", "Comparisons", COUNT),
        Column("n_rows", "Rows compared", COUNT),
        Column("n_faults", "Faults", COUNT),
    ]
    body = folded("leak_audit", grouped, columns, caption="Leak audit", n_shown=16)
    note = join(
        [
            value("leak_audit.n_faults", data.n_leak_faults, COUNT),
            " faults. Views: everything after a moment is overwritten by garbage, and once "
            "removed; a view that changes has read the future. Rules of rows are looked for in the "
            "whole store, so that nothing is compared.",
        ]
    )
    return panel("leak-audit", title, body, span=12, note=note)


def _known_sum(numbers: pd.Series) -> float:
    """Sum of what is known; NaN where nothing is: a rule of rows compares none."""
    return float(numbers.astype("float64").sum(min_count=1))
