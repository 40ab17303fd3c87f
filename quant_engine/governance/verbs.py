"""What the command line asks of governance: objects in, report objects out, nothing printed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from quant_engine.core.errors import ConfigError
from quant_engine.governance.admission import MoveRequest
from quant_engine.governance.contest import Contest
from quant_engine.governance.families import Family, TrialStatistics
from quant_engine.governance.gates import GateReport
from quant_engine.governance.ledger import TrialLedger
from quant_engine.governance.lifecycle import LifecycleBook
from quant_engine.governance.lifecycle_specs import State, Tier
from quant_engine.governance.records import Record
from quant_engine.governance.verification import LedgerCheck

LEDGER_REPORT_SCHEMA: Final = "qe.ledger_report/1"
_ENTRANCES = {Tier.CANDIDATE: State.QUALIFIED, Tier.PRODUCTION: State.CANARY}


@dataclass(frozen=True)
class LedgerReport:
    """What `qe ledger` shows.

    Parameters
    ----------
    families : tuple of Family
        Trials of every family.
    consumptions : tuple of Record
        What each verdict used, oldest first.
    check : LedgerCheck or None
        What verification found; None when it was not asked for.
    """

    families: tuple[Family, ...]
    consumptions: tuple[Record, ...]
    check: LedgerCheck | None

    def content(self) -> dict[str, Any]:
        """Return the report as plain JSON values under its schema name."""
        return {
            "schema": LEDGER_REPORT_SCHEMA,
            "families": [asdict(family) for family in self.families],
            "consumed": [record.payload for record in self.consumptions],
            "check": None
            if self.check is None
            else {
                "n_rows": self.check.n_rows,
                "head": self.check.head.own,
                "faults": list(self.check.faults),
            },
        }

    def text(self) -> str:
        """Return the report as lines for a terminal."""
        lines = [f"{'family':<32} {'trials':>8} {'effective':>10} {'askings':>8}"]
        for item in self.families:
            effective = "-" if item.n_effective is None else f"{item.n_effective:.1f}"
            lines.append(
                f"{item.family:<32} {item.n_trials:>8} {effective:>10} {item.n_askings:>8}"
            )
        for record in self.consumptions:
            entry = record.payload
            lines.append(
                f"verdict {entry['verdict']} used N={entry['n_trials']} of {entry['family']} "
                f"at row {entry['head_number']}"
            )
        if self.check is not None:
            state = "whole" if self.check.is_whole else f"{len(self.check.faults)} faults"
            lines += [f"{self.check.n_rows} rows: {state}", *self.check.faults]
        return "\n".join(lines)


def ledger_report(
    ledger: TrialLedger, *, statistics: TrialStatistics | None = None, verify: bool = False
) -> LedgerReport:
    """Look at a trial ledger.

    Parameters
    ----------
    ledger : TrialLedger
        Ledger of a track.
    statistics : TrialStatistics, optional
        Returns of trials, for effective N and the variance of Sharpe.
    verify : bool
        Recompute every hash as well.

    Returns
    -------
    LedgerReport
        Families, what verdicts used, and faults.
    """
    check = ledger.verify() if verify else None
    # A damaged ledger is reported by its check; counting it would raise before anyone saw why.
    if check is not None and not check.is_whole:
        return LedgerReport((), (), check)
    return LedgerReport(ledger.families(statistics), tuple(ledger.consumptions()), check)


def promote(
    book: LifecycleBook,
    strategy: str,
    tier: Tier,
    *,
    reason: str,
    asked_by: str,
    report: GateReport,
    contest: Contest | None = None,
) -> Record:
    """Move a strategy into a tier: to qualified, or from paper to canary.

    Parameters
    ----------
    book : LifecycleBook
        Book of the track.
    strategy : str
        Registered id.
    tier : Tier
        ``candidate`` or ``production``.
    reason : str
        Why, in words.
    asked_by : str
        Who asks.
    report : GateReport
        Verdict of the stage that the tier's entrance demands.
    contest : Contest, optional
        Meeting with the frozen baseline; needed for production.

    Returns
    -------
    Record
        The promotion record, written once and signed.

    Raises
    ------
    ConfigError
        For a tier without an entrance, or as `LifecycleBook.move` does.
    GateNotPassedError
        When the verdict, the contest or the ledger says no.
    """
    if tier not in _ENTRANCES:
        raise ConfigError(
            "--tier",
            wanted=" or ".join(_ENTRANCES),
            got=repr(str(tier)),
            hint="Other moves are made by name.",
        )
    request = MoveRequest(
        to=_ENTRANCES[tier], reason=reason, asked_by=asked_by, report=report, contest=contest
    )
    return book.move(strategy, request)
