"""Qualification and promotion: a backtest before the gates of its track.

1. `evidence.gather_evidence` collects the figures and asks the trial ledger.
2. The gate profile judges them; the report is written and the strategy enters the book.
3. ``promote`` judges again, from the store and not from a file, and moves the strategy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quant_engine.artifacts.files import write_atomic
from quant_engine.core.errors import ConfigError, did_you_mean
from quant_engine.core.tracks import Track
from quant_engine.governance.catalogue import MetricCatalogue
from quant_engine.governance.families import TrialStatistics
from quant_engine.governance.gate_specs import load_profile
from quant_engine.governance.gates import GateReport, Status
from quant_engine.governance.ledger import TrialLedger
from quant_engine.governance.lifecycle import LifecycleBook, track_folder
from quant_engine.governance.lifecycle_specs import Tier, load_lifecycle
from quant_engine.governance.qualification import (
    QualificationReport,
    qualify,
    write_qualification,
)
from quant_engine.governance.report_text import gate_report_markdown
from quant_engine.governance.verbs import ledger_report, promote
from quant_engine.workflows.competition import Competition, competing_returns, trial_statistics
from quant_engine.workflows.context import Workspace
from quant_engine.workflows.evidence import check_backtest, gather_evidence
from quant_engine.workflows.outcome import Outcome
from quant_engine.workflows.run_registry import RunRecord, RunRegistry
from quant_engine.workflows.trials import track_ledger

GATE_NOT_PASSED, INSUFFICIENT = 4, 5
DEFAULT_PROFILE = "strict_v1"
_EXIT_CODES = {Status.FAIL: GATE_NOT_PASSED, Status.INSUFFICIENT: INSUFFICIENT}


@dataclass(frozen=True, eq=False)
class _Judged:
    """A backtest with its verdict and the books of its track."""

    run: RunRecord
    report: QualificationReport
    competition: Competition
    ledger: TrialLedger
    book: LifecycleBook

    @property
    def subject(self) -> str:
        """Id of the strategy: that of its backtest."""
        return self.run.artifacts["backtest"].id

    @property
    def verdict(self) -> GateReport:
        """What the gates say."""
        return self.report.verdict


def qualify_backtest(
    workspace: Workspace,
    identity: str | None,
    *,
    baseline: str | None = None,
    profile: str = DEFAULT_PROFILE,
) -> Outcome:
    """Judge a backtest and write ``qualification_report.json``.

    Parameters
    ----------
    workspace : Workspace
        Store and registries.
    identity : str or None
        Run id of a backtest, its artifact id or the beginning of either; None = the newest.
    baseline : str, optional
        Another backtest, the control arm.
    profile : str
        Gate profile in ``specs/gates``.

    Returns
    -------
    Outcome
        Exit code 0 when every hard rule holds, 4 when one does not, 5 when too little was seen.
    """
    judged = _put_before_gates(workspace, identity, baseline=baseline, profile=profile)
    folder = _folder(workspace, judged)
    path = write_qualification(judged.report, folder)
    text = gate_report_markdown(judged.verdict)
    write_atomic(folder / "qualification_report.md", text.encode("utf-8"))
    _register(judged)
    return Outcome(
        text=_verdict_text(judged, path),
        status=str(judged.verdict.status),
        exit_code=_EXIT_CODES.get(judged.verdict.status, 0),
        run_id=judged.run.run_id,
        track=judged.run.track,
        dataset=judged.run.dataset,
        metrics=_figures(judged.verdict),
        warnings=_warnings(judged),
    )


def promote_backtest(
    workspace: Workspace,
    identity: str | None,
    *,
    tier: str,
    reason: str,
    profile: str = DEFAULT_PROFILE,
) -> Outcome:
    """Judge a backtest again and, when it passes, move it into a tier.

    Parameters
    ----------
    workspace : Workspace
        Store and registries.
    identity : str or None
        As for :func:`qualify_backtest`.
    tier : str
        ``"candidate"`` or ``"production"``.
    reason : str
        Why, in words.
    profile : str
        Gate profile in ``specs/gates``.

    Returns
    -------
    Outcome
        With the number of the signed record.

    Raises
    ------
    ConfigError
        For an unknown tier, an empty reason or a move that is not legal.
    GateNotPassedError, InsufficientObservationError
        When the verdict says no.
    """
    if tier not in (Tier.CANDIDATE, Tier.PRODUCTION):
        known = [str(Tier.CANDIDATE), str(Tier.PRODUCTION)]
        raise ConfigError(
            "--tier", wanted=" or ".join(known), got=repr(tier), hint=did_you_mean(tier, known)
        )
    judged = _put_before_gates(workspace, identity, baseline=None, profile=profile)
    write_qualification(judged.report, _folder(workspace, judged))
    _register(judged)
    record = promote(
        judged.book,
        judged.subject,
        Tier(tier),
        reason=reason,
        asked_by="qe promote",
        report=judged.verdict,
    )
    standing = judged.book.standing(judged.subject)
    return Outcome(
        text=(
            f"{judged.subject} is {standing.state} (tier {standing.tier}, track "
            f"{judged.run.track}), record {record.number}: {reason}"
        ),
        run_id=judged.run.run_id,
        track=judged.run.track,
        dataset=judged.run.dataset,
        metrics=_figures(judged.verdict),
        warnings=_warnings(judged),
    )


def show_ledger(workspace: Workspace, track: str | None, *, verify: bool) -> Outcome:
    """Show families, effective N and what each verdict consumed.

    Parameters
    ----------
    workspace : Workspace
        Results folder.
    track : str or None
        Only this track; None = all that have a ledger.
    verify : bool
        Recompute every hash as well.

    Returns
    -------
    Outcome
        Exit code 4 when verification finds a fault.
    """
    known = [str(name) for name in Track]
    if track is not None and track not in known:
        raise ConfigError(
            "--track", wanted=", ".join(known), got=repr(track), hint=did_you_mean(track, known)
        )
    lines, metrics, whole = [], {}, True
    for name in [track] if track else known:
        ledger = track_ledger(workspace, name)
        if not ledger.folder.is_dir():
            continue
        # Rows of a damaged ledger are not counted; its report names the faults.
        can_count = not verify or ledger.verify().is_whole
        statistics = _statistics(workspace, ledger) if can_count else None
        report = ledger_report(ledger, statistics=statistics, verify=verify)
        lines += [f"track {name}", report.text()]
        metrics[f"n_trials_{name}"] = sum(family.n_trials for family in report.families)
        whole = whole and (report.check is None or report.check.is_whole)
    return Outcome(
        text="\n".join(lines) or "no trial was counted yet",
        exit_code=0 if whole else GATE_NOT_PASSED,
        status="completed" if whole else "damaged",
        track=track,
        metrics=metrics,
    )


def governance_faults(workspace: Workspace) -> list[str]:
    """Say in words what is wrong with the ledgers and lifecycle records of a results folder.

    Parameters
    ----------
    workspace : Workspace
        Results folder.

    Returns
    -------
    list of str
        Empty when every row, record and signature is right.
    """
    faults: list[str] = []
    for track in Track:
        ledger = track_ledger(workspace, track)
        if ledger.folder.is_dir():
            faults += [f"ledger {track}: {fault}" for fault in ledger.verify().faults]
        if track_folder(workspace.settings.results_root, track).is_dir():
            book = _book(workspace, track, ledger)
            faults += [f"lifecycle {track}: {fault}" for fault in book.verify()]
    return faults


def _statistics(workspace: Workspace, ledger: TrialLedger) -> TrialStatistics:
    """Returns of every family whose trials left any."""
    names = {row["family"] for row in ledger.read(("family",)).to_pylist()}
    return trial_statistics(
        {name: competing_returns(workspace, ledger, name) for name in sorted(names)}
    )


def _book(workspace: Workspace, track: Track, ledger: TrialLedger) -> LifecycleBook:
    return LifecycleBook(
        workspace.settings.results_root,
        track,
        clock=workspace.clock,
        signer=workspace.store.signer,
        ledger=ledger,
        spec=load_lifecycle(workspace.catalog),
    )


def _put_before_gates(
    workspace: Workspace, identity: str | None, *, baseline: str | None, profile: str
) -> _Judged:
    run = _find(workspace, identity)
    ledger = track_ledger(workspace, run.track)
    evidence, competition = gather_evidence(workspace, run, ledger)
    control = None
    if baseline is not None:
        control, _ = gather_evidence(workspace, _find(workspace, baseline), ledger)
    catalogue = MetricCatalogue.load(workspace.catalog)
    report = qualify(
        evidence,
        profile=load_profile(workspace.catalog, profile, metrics=catalogue),
        track=Track(run.track),
        metrics=catalogue,
        baseline=control,
    )
    book = _book(workspace, Track(run.track), ledger)
    return _Judged(run, report, competition, ledger, book)


def _find(workspace: Workspace, identity: str | None) -> RunRecord:
    runs = RunRegistry(workspace)
    if identity is None:
        run = runs.newest("backtest")
    else:
        plain = identity.rpartition("/")[2]
        found = [
            run
            for run in runs.all("backtest")
            if run.run_id.startswith(plain) or run.artifacts["backtest"].id.startswith(plain)
        ]
        if len({run.artifacts["backtest"] for run in found}) != 1:
            known = [run.run_id for run in runs.all("backtest")]
            raise ConfigError(
                "ID",
                wanted="one backtest, by run id or artifact id",
                got=f"{identity!r}, which fits {len(found)}",
                hint=did_you_mean(identity, known),
            )
        run = found[-1]
    check_backtest(run)
    return run


def _folder(workspace: Workspace, judged: _Judged) -> Path:
    track = track_folder(workspace.settings.results_root, Track(judged.run.track))
    return track / "qualification" / judged.subject


def _register(judged: _Judged) -> None:
    known = {standing.strategy for standing in judged.book.standings()}
    if judged.subject in known:
        return
    run = judged.run
    judged.book.register(
        judged.subject,
        f"{run.dataset}|{run.horizon_sessions}|{run.track}",
        reason=f"backtest {run.run_id} was put before the gates",
        asked_by="qe qualify",
    )


def _figures(verdict: GateReport) -> dict[str, float | int | None]:
    trials = verdict.evidence["trials"]
    figures = {item["name"]: item["value"] for item in verdict.evidence["metrics"]}
    return {**figures, "n_trials": trials["n_trials"], "n_effective": trials["n_effective"]}


def _warnings(judged: _Judged) -> list[str]:
    lost = judged.competition.lost
    if not lost:
        return []
    return [
        f"returns of {len(lost)} counted trials are no longer in the store, so max-T and PBO "
        f"cannot be computed: {', '.join(lost[:3])}"
    ]


def _verdict_text(judged: _Judged, path: Path) -> str:
    verdict = judged.verdict
    use = verdict.evidence["trials"]
    lines = [
        judged.run.title(),
        f"verdict {verdict.status}: profile {verdict.profile}, stage {verdict.stage}, "
        f"{use['n_trials']} trials of {use['family']}",
        *(f"  {reason}" for reason in verdict.reasons),
        f"report: {path}",
    ]
    return "\n".join(lines)
