"""The verdict on event-market strategies: evidence from the artifacts, gates, book, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.events import EVENT_FORECASTS, EVENT_REPORT
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.core.errors import GateNotPassedError, InsufficientObservationError
from quant_engine.core.tracks import Track
from quant_engine.governance.bundle import Alignment, Lineage, SignatureState
from quant_engine.governance.catalogue import MetricCatalogue
from quant_engine.governance.gate_specs import load_profile
from quant_engine.governance.gates import Status
from quant_engine.governance.lifecycle import LifecycleBook, track_folder
from quant_engine.governance.lifecycle_specs import load_lifecycle
from quant_engine.governance.records import RecordChain
from quant_engine.kalshi.audit import AuditFinding, put_findings
from quant_engine.kalshi.exchange.timing import microseconds
from quant_engine.kalshi.pipeline import n_leak_faults, recorded_share
from quant_engine.kalshi.pipeline_results import audit_table, verdict_tables
from quant_engine.kalshi.promotion import (
    NOT_EVALUATED,
    PROFILE,
    EvidenceFacts,
    Judgement,
    gather_evidence,
    judge_strategies,
    promote_judged,
)
from quant_engine.workflows.event_pipeline import EventPipeline
from quant_engine.workflows.event_results import put_verdicts
from quant_engine.workflows.event_tables import availability_mix, gap_rows
from quant_engine.workflows.trials import track_ledger

__all__ = ["EventVerdict", "judge_events", "record_audit", "write_report"]

EVALUATIONS = "kalshi_evaluations"


@dataclass(frozen=True)
class EventVerdict:
    """What the gates said about all strategies.

    Parameters
    ----------
    judged : tuple of Judgement
        One per strategy; empty where there was too little to evaluate.
    recorded_frac : float or None
        Share of inputs whose availability was recorded.
    n_faults : int
        Faults of the leak audit.
    is_switched_off : bool
        The gates were not asked.
    """

    judged: tuple[Judgement, ...]
    recorded_frac: float | None
    n_faults: int
    is_switched_off: bool = False

    @property
    def status(self) -> str:
        """One word: the best that any strategy reached."""
        if self.is_switched_off:
            return NOT_EVALUATED
        if any(one.passed for one in self.judged):
            return "promoted"
        found = {one.status for one in self.judged}
        if not found or found == {str(Status.INSUFFICIENT)}:
            return str(Status.INSUFFICIENT)
        return "not promoted"

    @property
    def exit_code(self) -> int:
        """0 promoted or not evaluated, 4 not promoted, 5 too little was observed."""
        codes = {
            "not promoted": GateNotPassedError.exit_code,
            str(Status.INSUFFICIENT): InsufficientObservationError.exit_code,
        }
        return codes.get(self.status, 0)


def judge_events(pipeline: EventPipeline, *, disable_promotion_gate: bool = False) -> EventVerdict:
    """Put every strategy before the gates of its track, and promote what passed.

    Parameters
    ----------
    pipeline : EventPipeline
        Its forecasts and trades are written first.
    disable_promotion_gate : bool
        Judge nothing and promote nothing.

    Returns
    -------
    EventVerdict
        Without judgements where too few events have an outcome.
    """
    faults = n_leak_faults(pipeline.audit_lines)
    if not pipeline.has_looks:
        return EventVerdict((), None, faults, disable_promotion_gate)
    last_us = int(pipeline.panel.panel.looks["asof_us"].max())
    share = recorded_share(pipeline.connection, pipeline.config.source, last_us=last_us)
    if not pipeline.has_frames:
        return EventVerdict((), share, faults, disable_promotion_gate)
    workspace = pipeline.workspace
    forecasts, trades = pipeline.walkforward()
    ledger = track_ledger(workspace, pipeline.track)
    evaluation = pipeline.evaluation
    facts = EvidenceFacts(
        pipeline.source.environment,
        recorded_frac=share,
        n_leak_faults=faults,
        lineage=_lineage(pipeline, forecasts, trades),
    )
    bundles = gather_evidence(evaluation.forecasts, evaluation.table, ledger=ledger, facts=facts)
    metrics = MetricCatalogue.load(workspace.catalog)
    judged = judge_strategies(
        bundles,
        evaluation.table,
        profile=load_profile(workspace.catalog, PROFILE, metrics=metrics),
        metrics=metrics,
        disable_promotion_gate=disable_promotion_gate,
    )
    book = LifecycleBook(
        workspace.settings.results_root,
        Track(pipeline.track),
        clock=workspace.clock,
        signer=workspace.store.signer,
        ledger=ledger,
        spec=load_lifecycle(workspace.catalog),
    )
    competition = f"{pipeline.dataset}|ladder|{pipeline.track}"
    promote_judged(judged, book, competition=competition, reason=f"passed {PROFILE}")
    decided_us = microseconds(workspace.clock.now())
    put_verdicts(pipeline.store, pipeline.study, judged, decided_us=decided_us)
    return EventVerdict(judged, share, faults, disable_promotion_gate)


def _lineage(pipeline: EventPipeline, forecasts: ArtifactRef, trades: ArtifactRef) -> Lineage:
    """What was evaluated, by the artifacts as they lie on disk, and its signed record."""
    workspace = pipeline.workspace
    store = workspace.store
    evaluated = Alignment(**store.manifest(forecasts).alignment())
    deployed = _deployed(pipeline, forecasts, trades)
    folder = track_folder(workspace.settings.results_root, Track(pipeline.track))
    chain = RecordChain(folder / EVALUATIONS, signer=store.signer)
    payload: dict[str, Any] = {
        "dataset": pipeline.dataset,
        "forecasts": str(forecasts),
        "trades": str(trades),
    }
    known = [record for record in chain.all() if record.payload == payload]
    record = known[0] if known else chain.append(lambda _: payload)
    state = SignatureState.INVALID if chain.faults() else SignatureState.SIGNED
    return Lineage(
        evaluated=evaluated,
        deployed=deployed,
        signature=state,
        evaluation=f"{EVALUATIONS}/{record.number}",
        n_synthetic_links=0,
    )


def _deployed(pipeline: EventPipeline, forecasts: ArtifactRef, trades: ArtifactRef) -> Alignment:
    """What would trade: this code with these settings on this store, and what the fills used.

    An artifact that was taken over from an earlier run agrees with it or is refused; a damaged one
    has no known content.
    """
    store = pipeline.workspace.store
    if store.faults(forecasts) or store.faults(trades):
        return Alignment()
    traded = [
        ref for ref in store.manifest(trades).provenance.inputs if ref.kind == EVENT_FORECASTS.name
    ]
    return Alignment(
        payload_schema_version=f"{EVENT_FORECASTS.name}/{EVENT_FORECASTS.schema_version}",
        data_version=pipeline.data_version,
        lineage_id=store.manifest(traded[0]).lineage_id if traded else "",
        **pipeline.model_facts(),
    )


def record_audit(pipeline: EventPipeline) -> int:
    """Write the comparisons of the leak audit into the store.

    Parameters
    ----------
    pipeline : EventPipeline
        Its audit is made where it was not.

    Returns
    -------
    int
        Rows that were new.
    """
    findings = [
        AuditFinding(line.subject, line.asof_us, line.poison, line.n_rows, line.n_faults == 0)
        for line in pipeline.audit_lines
        if line.asof_us is not None and line.n_rows is not None
    ]
    sql = "SELECT coalesce(max(recorded_us), 0) FROM market_v"
    recorded_us = int(pipeline.connection.execute(sql).fetchall()[0][0])
    name = pipeline.data_id[:16]
    return put_findings(pipeline.store, findings, audit_id=name, recorded_us=recorded_us)


def write_report(pipeline: EventPipeline, verdict: EventVerdict | None) -> ArtifactRef:
    """Write the report of a run.

    Parameters
    ----------
    pipeline : EventPipeline
        Its audit and arbitrage are computed where they were not.
    verdict : EventVerdict or None
        None where nothing was judged in this run.

    Returns
    -------
    ArtifactRef
        Artifact ``event_report``.
    """
    judged: Sequence[Judgement] = () if verdict is None else verdict.judged
    tables = {
        **verdict_tables(judged),
        "arbitrage": pipeline.arbitrage,
        "audit": audit_table(pipeline.audit_lines),
        "availability": availability_mix(pipeline.connection),
        "gaps": gap_rows(pipeline.connection),
    }
    facts = {
        "dataset": pipeline.dataset,
        "environment": pipeline.source.environment,
        "track": pipeline.track,
        "verdict": NOT_EVALUATED if verdict is None else verdict.status,
        "n_leak_faults": n_leak_faults(pipeline.audit_lines),
        "recorded_frac": None if verdict is None else verdict.recorded_frac,
        "profile": PROFILE,
        "panel": str(pipeline.refs.get("features", "")),
        "distributions": str(pipeline.refs.get("distributions", "")),
        "forecasts": str(pipeline.refs.get("forecasts", "")),
        "trades": str(pipeline.refs.get("trades", "")),
    }
    bundle = Bundle(tables, {"facts": facts, "settings": pipeline.settings()})
    inputs = tuple(pipeline.refs[role] for role in sorted(pipeline.refs) if role != "health")
    written = pipeline.stages.write_all(
        "kalshi.report", {"report": (EVENT_REPORT, bundle)}, config=facts, inputs=inputs
    )
    pipeline.refs |= written
    return written["report"]
