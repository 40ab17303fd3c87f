"""A gate report as Markdown: the verdict first, then what speaks against it, then every rule."""

from __future__ import annotations

from quant_engine.governance.gates import GateReport, Outcome, Status
from quant_engine.governance.wording import number_text

_MARKS = {
    Status.PASS: "pass",
    Status.FAIL: "**fail**",
    Status.WARN: "warn",
    Status.INSUFFICIENT: "**insufficient**",
}


def gate_report_markdown(report: GateReport) -> str:
    """Write a gate report for people.

    Parameters
    ----------
    report : GateReport
        A verdict.

    Returns
    -------
    str
        Markdown with one table per gate; the same facts as ``report.content()``.
    """
    label = f", label `{report.track_label}`" if report.track_label else ""
    stage = report.stage or "single gates"
    lines = [
        f"# {_cell(report.subject)}: {report.status}",
        "",
        f"Profile `{report.profile}` ({report.profile_id[:12]}){label}, {stage}, "
        f"track **{report.track}**.",
        "",
    ]
    for heading, sentences in (
        ("Blocked", report.blocks),
        ("Hard rules that do not hold", report.failed_hard),
        ("Warnings", report.failed_soft),
    ):
        if sentences:
            lines += [f"## {heading}", "", *(f"- {_cell(text)}" for text in sentences), ""]
    for gate in report.gates:
        lines += [f"## {gate}", "", "| rule | verdict | why | n |", "|---|---|---|---|"]
        lines += [_row(outcome) for outcome in report.outcomes if outcome.gate == gate]
        lines.append("")
    notes = dict.fromkeys(f"- {o.rule}: {o.note}" for o in report.outcomes if o.note)
    return "\n".join([*lines, *(["## Notes", "", *map(_cell, notes), ""] if notes else [])])


def _row(outcome: Outcome) -> str:
    seen = "" if outcome.n_obs is None else number_text(outcome.n_obs, "count")
    kind = "" if outcome.severity == "hard" else " (soft)"
    cells = (outcome.rule + kind, _MARKS[outcome.status], outcome.reason, seen)
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")
