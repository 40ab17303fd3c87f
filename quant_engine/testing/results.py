"""Results of audits: a verdict per field, merged over seeds, as a text table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from quant_engine.core.causality import Causality
from quant_engine.core.errors import ConfigError, GateNotPassedError, InsufficientObservationError
from quant_engine.testing.findings import Finding

__all__ = ["Audit", "AuditRow", "Verdict", "audit_table", "exit_code_of", "merged"]


class Verdict(StrEnum):
    """What is said about one field.

    ``CLEAN``
        No detector moved it.
    ``LEAKS``
        It may be used by decisions and depends on what comes later.
    ``DECLARED``
        Research only, and it does depend on what comes later.
    ``OVER_DECLARED``
        Research only, and nothing moved it: the class may be too weak.
    ``UNSEEN``
        It had no value before the cut, so nothing was proven.
    """

    CLEAN = "clean"
    LEAKS = "leaks"
    DECLARED = "alarms as declared"
    OVER_DECLARED = "over-declared"
    UNSEEN = "not seen"


@dataclass(frozen=True)
class AuditRow:
    """One field, label, fold or stage.

    Parameters
    ----------
    field : str
        Name.
    causality : Causality
        What it declares.
    n_values : int
        Compared values that were not missing, over all seeds.
    findings : tuple of Finding
        What moved it; empty is good.
    """

    field: str
    causality: Causality
    n_values: int
    findings: tuple[Finding, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """What the findings mean under the declared class."""
        if self.causality is Causality.RESEARCH_ONLY:
            if self.findings:
                return Verdict.DECLARED
            return Verdict.OVER_DECLARED if self.n_values else Verdict.UNSEEN
        if self.findings:
            return Verdict.LEAKS
        return Verdict.CLEAN if self.n_values else Verdict.UNSEEN


@dataclass(frozen=True)
class Audit:
    """Everything one audit found.

    Parameters
    ----------
    subject : str
        What was audited.
    seeds : tuple of int
        Seeds that ran.
    cuts : tuple of str
        Cut of each seed; empty where a detector has none.
    shape : tuple of int
        (T, N) of the data.
    rows : tuple of AuditRow
        One per field.

    Examples
    --------
    >>> row = AuditRow("MA5", Causality.CAUSAL, 100)
    >>> Audit("tiny", (1,), ("2020-01-02",), (60, 3), (row,)).exit_code
    0
    """

    subject: str
    seeds: tuple[int, ...]
    cuts: tuple[str, ...]
    shape: tuple[int, int]
    rows: tuple[AuditRow, ...]

    def of(self, *verdicts: Verdict) -> tuple[AuditRow, ...]:
        """Return the rows with one of the given verdicts."""
        return tuple(row for row in self.rows if row.verdict in verdicts)

    @property
    def exit_code(self) -> int:
        """4 = a field that may be used leaks; 5 = a field was not seen; else 0."""
        return exit_code_of([self])

    def content(self) -> dict[str, Any]:
        """Return the audit as plain JSON values."""
        return {
            "subject": self.subject,
            "seeds": list(self.seeds),
            "cuts": list(self.cuts),
            "shape": list(self.shape),
            "rows": [
                {
                    "field": row.field,
                    "causality": str(row.causality),
                    "verdict": str(row.verdict),
                    "n_values": row.n_values,
                    "findings": [finding.content() for finding in row.findings],
                }
                for row in self.rows
            ],
        }

    @classmethod
    def of_content(cls, content: dict[str, Any]) -> Audit:
        """Return the audit that :meth:`content` described."""
        rows = tuple(
            AuditRow(
                field=row["field"],
                causality=Causality(row["causality"]),
                n_values=row["n_values"],
                findings=tuple(Finding.of_content(item) for item in row["findings"]),
            )
            for row in content["rows"]
        )
        shape = content["shape"]
        return cls(
            subject=content["subject"],
            seeds=tuple(content["seeds"]),
            cuts=tuple(content["cuts"]),
            shape=(shape[0], shape[1]),
            rows=rows,
        )


def merged(audits: Sequence[Audit]) -> Audit:
    """Put the audits of one subject under several seeds together.

    Parameters
    ----------
    audits : sequence of Audit
        At least one, all of one subject.

    Returns
    -------
    Audit
        Counts add up; of several findings of one detector in one field the first is kept.

    Raises
    ------
    ConfigError
        For no audit, or audits of several subjects.

    Examples
    --------
    >>> parts = [Audit("x", (seed,), ("2020-01-02",), (60, 3),
    ...                (AuditRow("MA5", Causality.CAUSAL, 100),)) for seed in (1, 2)]
    >>> merged(parts).rows[0].n_values, merged(parts).seeds
    (200, (1, 2))
    """
    subjects = {audit.subject for audit in audits}
    if len(subjects) != 1:
        raise ConfigError(
            "audits", wanted="audits of one subject", got=sorted(subjects) or "none", hint="Group."
        )
    counts: dict[str, int] = {}
    classes: dict[str, Causality] = {}
    found: dict[str, dict[str, Finding]] = {}
    for audit in audits:
        for row in audit.rows:
            counts[row.field] = counts.get(row.field, 0) + row.n_values
            classes.setdefault(row.field, row.causality)
            kept = found.setdefault(row.field, {})
            for finding in row.findings:
                kept.setdefault(finding.detector, finding)
    return Audit(
        subject=audits[0].subject,
        seeds=tuple(seed for audit in audits for seed in audit.seeds),
        cuts=tuple(cut for audit in audits for cut in audit.cuts),
        shape=audits[0].shape,
        rows=tuple(
            AuditRow(name, classes[name], counts[name], tuple(found[name].values()))
            for name in counts
        ),
    )


def exit_code_of(audits: Sequence[Audit]) -> int:
    """Return the exit code of several audits.

    Parameters
    ----------
    audits : sequence of Audit
        Results.

    Returns
    -------
    int
        4 = a field that may be used leaks, 5 = a field was not seen, else 0.
    """
    verdicts = {row.verdict for audit in audits for row in audit.rows}
    if Verdict.LEAKS in verdicts:
        return GateNotPassedError.exit_code
    if Verdict.UNSEEN in verdicts:
        return InsufficientObservationError.exit_code
    return 0


def audit_table(audits: Sequence[Audit]) -> str:
    """Write audits as text: one line per subject, then every field that is not clean.

    Parameters
    ----------
    audits : sequence of Audit
        Results.

    Returns
    -------
    str
        Lines.

    Examples
    --------
    >>> row = AuditRow("MA5", Causality.CAUSAL, 100)
    >>> print(audit_table([Audit("tiny", (1,), ("2020-01-02",), (60, 3), (row,))]))
    subject  fields  clean  leaks  research  over-declared  not seen  values  seeds
    tiny          1      1      0         0              0         0     100      1
    """
    order = (
        Verdict.CLEAN,
        Verdict.LEAKS,
        Verdict.DECLARED,
        Verdict.OVER_DECLARED,
        Verdict.UNSEEN,
    )
    head = ["subject", "fields", "clean", "leaks", "research", "over-declared", "not seen"]
    cells = [[*head, "values", "seeds"]]
    for audit in audits:
        counted = [str(len(audit.of(verdict))) for verdict in order]
        n_values = sum(row.n_values for row in audit.rows)
        cells.append(
            [audit.subject, str(len(audit.rows)), *counted, str(n_values), str(len(audit.seeds))]
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = [
        "  ".join(
            text.ljust(width) if number == 0 else text.rjust(width)
            for number, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    for audit in audits:
        for row in audit.rows:
            if row.verdict is not Verdict.CLEAN:
                lines.append(f"{audit.subject}: {row.field} ({row.causality}): {row.verdict}")
                lines.extend(f"    {finding}" for finding in row.findings)
    return "\n".join(lines)
