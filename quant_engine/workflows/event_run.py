"""One run of the event pipeline: open the store, do the stages, judge, register, tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from quant_engine.artifacts.files import explained_os_errors
from quant_engine.artifacts.store import ArtifactStore
from quant_engine.core.errors import ConfigError, LookAheadError, StoreError
from quant_engine.kalshi.distribution import reconstruct
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.pipeline import EventPipelineConfig, n_leak_faults
from quant_engine.kalshi.provider import JOBS
from quant_engine.kalshi.store.database import KalshiStore
from quant_engine.workflows.context import Workspace, new_run_id, require_writable
from quant_engine.workflows.event_page import page_entry, write_page
from quant_engine.workflows.event_pipeline import EventPipeline
from quant_engine.workflows.event_record import record_books
from quant_engine.workflows.event_sources import (
    FAKE,
    REPLAY,
    EventSource,
    collect,
    store_name,
)
from quant_engine.workflows.event_verdict import (
    EventVerdict,
    judge_events,
    record_audit,
    write_report,
)
from quant_engine.workflows.outcome import Outcome, listed
from quant_engine.workflows.run_registry import RunRecord, RunRegistry

__all__ = ["STAGES", "EventRequest", "run_events"]

STAGES = (
    "sync", "record", "distributions", "features", "walkforward", "promote", "arb", "audit",
    "export", "bench", "all",
)  # fmt: skip
"""What a run can be asked for; ``all`` is everything but ``record`` and ``bench``."""
COMMAND = "kalshi"
BENCH_LOOKS = 100


@dataclass(frozen=True)
class EventRequest:
    """What a run is asked for.

    Parameters
    ----------
    stage : str
        One of :data:`STAGES`.
    what : tuple of str
        Jobs of the stage ``sync``.
    run_id : str
        Name of the run; derived where empty.
    disable_promotion_gate : bool
        End as "not evaluated" and promote nothing.
    minutes : float
        Length of a recording.
    """

    stage: str = "all"
    what: tuple[str, ...] = JOBS
    run_id: str = ""
    disable_promotion_gate: bool = False
    minutes: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what no stage understands."""
        if self.stage not in STAGES:
            raise ConfigError(
                "stage", wanted=", ".join(STAGES), got=repr(self.stage), hint="Choose one."
            )
        unknown = sorted(set(self.what) - set(JOBS))
        if unknown or not self.what:
            raise ConfigError(
                "--what", wanted="some of " + ", ".join(JOBS), got=", ".join(unknown) or "nothing",
                hint="Leave it out to do all of them.",
            )  # fmt: skip
        if self.minutes <= 0:
            raise ConfigError("--minutes", wanted="more than 0", got=self.minutes, hint="Use 1.")


@dataclass(frozen=True, eq=False)
class _Told:
    """What stages have to tell."""

    lines: list[str] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def run_events(
    workspace: Workspace,
    source: EventSource,
    config: EventPipelineConfig,
    request: EventRequest,
) -> Outcome:
    """Run one stage, or all of them.

    Parameters
    ----------
    workspace : Workspace
        Folders, clock, progress, and whether the run is resumed.
    source : EventSource
        Where the data come from.
    config : EventPipelineConfig
        What is computed.
    request : EventRequest
        What is asked for.

    Returns
    -------
    Outcome
        Exit code 0, 4 (not promoted) or 5 (too little observed).

    Raises
    ------
    StoreError
        No room, no right to write, or a store that another process holds.
    LookAheadError
        The stage ``audit`` found a fault.
    """
    clock = source.clock(workspace.clock)
    machine = workspace.clock
    workspace = replace(
        workspace,
        clock=clock,
        store=ArtifactStore(workspace.settings.results_root, clock=clock),
    )
    require_writable(workspace)
    path = workspace.settings.data_root / "kalshi" / f"{store_name(source)}.duckdb"
    collects = request.stage in ("sync", "all")
    if source.environment == FAKE and collects and not workspace.resume:
        # A season is drawn anew at no cost; what is left of another one must not mix with it.
        with _full_disk_explained(path):
            for old in (path, Path(f"{path}.wal")):
                old.unlink(missing_ok=True)
    told = _Told()
    with _full_disk_explained(path), KalshiStore(path, run_id="", threads=1) as store:
        store.run_id = _run_id(workspace, store, source, request)
        if collects:
            drift = DriftLog()
            written = collect(
                store, source, request.what, clock=machine, drift=drift,
                progress=workspace.progress,
            )  # fmt: skip
            told.lines.extend(f"  {name}: {n} new" for name, n in sorted(written.items()))
            told.metrics["n_schema_drifts"] = drift.total()
        if request.stage == "record":
            folder = path.parent / "recordings" / store_name(source)
            heard = record_books(
                store, source, folder, minutes=request.minutes, clock=machine,
                progress=workspace.progress,
            )  # fmt: skip
            told.lines.extend(f"  {name}: {n}" for name, n in sorted(heard.items()))
            told.lines.append(f"recording: {folder}")
        pipeline = EventPipeline(workspace, store, source, config)
        verdict = _work(pipeline, request, told)
        if request.stage != "bench":
            pipeline.health()
            pipeline.export()
        return _finish(pipeline, request, verdict, told)


def _work(pipeline: EventPipeline, request: EventRequest, told: _Told) -> EventVerdict | None:
    """Do what the stage asks for; a verdict where it was judged."""
    # Recordings without a schedule have no looks; their rows are audited all the same.
    first = (
        (pipeline.features,) if request.stage in ("promote", "all") and pipeline.has_looks else ()
    )
    plans: dict[str, tuple[Callable[[], Any], ...]] = {
        "sync": (),
        "record": (),
        "distributions": (pipeline.distributions,),
        "features": (pipeline.features,),
        "walkforward": (pipeline.walkforward,),
        "arb": (lambda: pipeline.arbitrage,),
        "audit": (lambda: record_audit(pipeline),),
        "export": (),
        "bench": (lambda: _bench(pipeline, told),),
        "promote": (*first, lambda: record_audit(pipeline)),
        "all": (*first, lambda: pipeline.arbitrage, lambda: record_audit(pipeline)),
    }
    for step in plans[request.stage]:
        step()
    verdict = None
    if request.stage in ("promote", "all"):
        verdict = judge_events(pipeline, disable_promotion_gate=request.disable_promotion_gate)
    if request.stage in ("promote", "all", "arb", "audit"):
        write_report(pipeline, verdict)
    if request.stage == "audit":
        _require_sound(pipeline)
    return verdict


def _require_sound(pipeline: EventPipeline) -> None:
    faults = n_leak_faults(pipeline.audit_lines)
    if faults:
        first = next(line for line in pipeline.audit_lines if line.n_faults)
        raise LookAheadError(
            "leak audit",
            wanted="no fault",
            got=f"{faults}, such as {first.check}: {first.subject}",
            hint="See the table audit of the artifact event_report.",
        )


def _run_id(
    workspace: Workspace, store: KalshiStore, source: EventSource, request: EventRequest
) -> str:
    """Name of the run: asked for, the one that is resumed, or a new one."""
    if request.run_id:
        return request.run_id
    if source.environment in (FAKE, REPLAY):
        return store_name(source)
    if workspace.resume:
        rows = store.connection.execute(
            "SELECT mark FROM ingest_checkpoint WHERE job IN "
            f"({', '.join(repr(job) for job in JOBS)}) ORDER BY hi_recorded_us DESC LIMIT 1"
        ).fetchall()
        if rows:
            return str(rows[0][0])
    return new_run_id(workspace.clock, COMMAND, source.content())


@contextmanager
def _full_disk_explained(path: Path) -> Iterator[None]:
    """Turn an error of writing into a sentence; everything committed before it is kept."""
    try:
        with explained_os_errors(path.parent):
            yield
    except StoreError as error:
        if error.parameter != str(path.parent):
            raise
        # What is said about places is said about results; the store lies in the data folder.
        hint = error.hint.replace("--results", "--data")
        raise StoreError(error.parameter, wanted=error.wanted, got=error.got, hint=hint) from error
    except duckdb.Error as error:
        # A commit that finds no room is an error of its transaction, not of the file.
        is_full = "could not write" in str(error).lower()
        if not (is_full or isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException)):
            raise
        raise StoreError(
            str(path),
            wanted="room to write",
            got=str(error).splitlines()[0],
            hint="Free some, then run the same command with --resume: what is stored is kept.",
        ) from error


def _bench(pipeline: EventPipeline, told: _Told) -> None:
    """Time the fit of single ladders on this machine; nothing of it is written."""
    made = pipeline.panel
    looks = made.inputs.looks[:BENCH_LOOKS]
    started = time.perf_counter()
    for look in looks:
        reconstruct(
            look.contracts,
            look.quotes,
            made.config.grid_of(look.family),
            is_exclusive=look.is_exclusive,
            config=made.config.distribution,
        )
    per_look = (time.perf_counter() - started) / max(len(looks), 1)
    told.metrics["fit_ms"] = 1000.0 * per_look
    told.metrics["n_fits"] = len(looks)
    told.lines.append(f"fit: {1000.0 * per_look:.2f} ms per ladder over {len(looks)} ladders")


def _finish(
    pipeline: EventPipeline,
    request: EventRequest,
    verdict: EventVerdict | None,
    told: _Told,
) -> Outcome:
    workspace, refs = pipeline.workspace, pipeline.refs
    store_rows = {name: pipeline.store.count(name) for name in ("event_v", "quote", "trade")}
    due = pipeline.calendar["scheduled_us"].dropna()
    days = [f"{pd.Timestamp(int(us), unit='us'):%Y-%m-%d}" for us in (due.min(), due.max())
            if len(due)]  # fmt: skip
    first, last = days or ("", "")
    content = {"settings": pipeline.settings(), "stage": request.stage}
    run_id = request.run_id or new_run_id(workspace.clock, COMMAND, content)
    page = None
    if refs:
        record = RunRecord(
            run_id=run_id,
            command=COMMAND,
            dataset=pipeline.dataset,
            horizon_sessions=max(1, min(pipeline.config.horizons_s) // 86_400),
            track=pipeline.track,
            first_session=first,
            last_session=last,
            artifacts=refs,
            config=content,
        )
        page = write_page(workspace, pipeline.source, record)
        RunRegistry(workspace).add(record)
    head = f"kalshi {request.stage}: {pipeline.dataset} ({first} to {last}), "
    head += f"track {pipeline.track}, {len(pipeline.calendar)} events"
    lines = [head, *told.lines, *_verdict_lines(verdict)]
    lines += [f"{role}: {ref}" for role, ref in refs.items()]
    artifacts = listed(workspace.store, pipeline.stages.written)
    if page is not None:
        lines.append(f"page: {page}")
        artifacts.append(page_entry(page))
    return Outcome(
        text="\n".join(lines),
        status="completed" if verdict is None else verdict.status,
        exit_code=0 if verdict is None else verdict.exit_code,
        run_id=run_id,
        track=pipeline.track,
        dataset=pipeline.dataset,
        artifacts=artifacts,
        metrics=_metrics(pipeline, verdict, store_rows) | told.metrics,
        warnings=told.warnings,
    )


def _verdict_lines(verdict: EventVerdict | None) -> list[str]:
    if verdict is None:
        return []
    lines = [f"verdict: {verdict.status}"]
    for one in verdict.judged:
        reasons = [] if one.report is None else one.report.reasons[:3]
        lines.append(f"  {one.strategy}: {one.status}")
        lines += [f"    {reason}" for reason in reasons]
    if not verdict.judged and not verdict.is_switched_off:
        lines.append("  too few events with an outcome for one test block")
    return lines


def _metrics(
    pipeline: EventPipeline, verdict: EventVerdict | None, rows: dict[str, int]
) -> dict[str, Any]:
    found: dict[str, Any] = {f"n_rows_{name}": n for name, n in rows.items()}
    found["n_events"] = len(pipeline.calendar)
    if verdict is not None:
        found["n_leak_faults"] = verdict.n_faults
        found["recorded_frac"] = verdict.recorded_frac
        found["n_promoted"] = sum(one.passed for one in verdict.judged)
    return found
