"""Factor research: each chosen factor against later returns, counted, corrected and reported.

1. ``load_data`` reads the market and ``_outcomes`` builds the labels of every horizon.
2. ``value_stage`` and ``regime_stage`` compute what a decision knew.
3. ``study_task`` asks every factor the same questions, side by side through the executor.
4. ``record_factors`` counts one trial per factor and horizon; then the page is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.artifacts.files import write_atomic
from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.factor_report import FACTOR_REPORT
from quant_engine.artifacts.kinds.panel import FEATURE_PANEL
from quant_engine.artifacts.kinds.training import REGIME
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import InsufficientHistoryError
from quant_engine.core.panel import Panel
from quant_engine.core.scratch import sweep_scratch
from quant_engine.core.tracks import ScoreSource
from quant_engine.execution.cost_model import Costs
from quant_engine.features.labels import SECTOR
from quant_engine.reports.factor_page import render_factor_page
from quant_engine.reports.load import FactorSources, load_factor_page
from quant_engine.stats.factor_study import (
    PARTS,
    FactorMarket,
    FactorStudy,
    FactorStudyConfig,
    false_discovery,
    study_factor,
    study_table,
)
from quant_engine.workflows.context import Stages, Workspace, new_run_id, require_writable
from quant_engine.workflows.data import LoadedData, Location, data_facts, load_data, save_data
from quant_engine.workflows.factor_config import FactorConfig
from quant_engine.workflows.factor_values import ChosenFactors, chosen_factors, value_stage
from quant_engine.workflows.inputs import regime_stage
from quant_engine.workflows.labels import form_settings, label_costs, run_betas, run_labels
from quant_engine.workflows.outcome import Outcome, listed
from quant_engine.workflows.run_registry import RunRecord, RunRegistry
from quant_engine.workflows.train import require_built
from quant_engine.workflows.trials import count_factor_trials, record_factors, track_ledger

LEVEL = 0.05
"""False discovery rate at which the text calls a test found."""

SHOWN = 10


def research(
    workspace: Workspace, config: FactorConfig, location: Location, *, dry_run: bool = False
) -> Outcome:
    """Study factors and write the report.

    Parameters
    ----------
    workspace : Workspace
        Store, progress, workers.
    config : FactorConfig
        Data, factors, questions.
    location : Location
        Where raw data lies; outside every hash.
    dry_run : bool
        Load and describe the data, write nothing.

    Returns
    -------
    Outcome
        Strongest factors with their q-values, the page and the table.

    Raises
    ------
    InsufficientHistoryError
        When no session has enough names, or the history ends inside every look-back.
    """
    factors = chosen_factors(workspace, config.choice, default=config.run.feature_set)
    if dry_run:
        return _dry_run(workspace, config, location, factors)
    require_writable(workspace)
    sweep_scratch()
    data = load_data(workspace, config.run.data, location)
    _require_enough(data, config, factors)
    costs = label_costs(workspace.catalog, config.run)
    outcomes = _outcomes(workspace, data, config, costs)
    data = save_data(workspace, data)
    stages = Stages(workspace, data_facts(data, score_source=ScoreSource.HEURISTIC, seed=None))
    stages.written.extend(data.refs.values())
    refs = dict(data.refs)
    refs |= value_stage(workspace, stages, data, factors)
    refs |= regime_stage(workspace, stages, data, config.run.regime)
    refs |= stages.run(
        "factors.study",
        lambda: _study(workspace, refs, data, config, factors, outcomes),
        packages=FACTOR_REPORT.packages,
        config={
            "study": config.study.content(),
            "labels": config.run.labels.content(),
            "target": config.run.target,
            **form_settings(config.run, costs),
            "factors": factors.set_id,
        },
        inputs=(refs["features"], refs["regimes"], data.refs["panel"], data.refs["market"]),
        facts={"feature_version": factors.version},
    )
    return _finish(workspace, stages, refs, data, config, location)


def _require_enough(data: LoadedData, config: FactorConfig, factors: ChosenFactors) -> None:
    allowed = data.panel.mask("member") & data.panel.mask("tradable")
    most = int(allowed.sum(axis=1).max())
    if most < config.study.min_assets:
        raise InsufficientHistoryError(
            "assets",
            wanted=f"a session with at least {config.study.min_assets} assets to rank",
            got=f"{most} at most",
            hint="Load more symbols, or lower --set study.min_assets.",
        )
    needed = factors.shortest_lookback_sessions + config.study.main_horizon
    if data.panel.shape[0] <= needed:
        raise InsufficientHistoryError(
            "sessions",
            wanted=f"more than the {needed} that look-back and horizon take",
            got=data.panel.shape[0],
            hint="Load a longer history, or study factors with shorter windows.",
        )


def _outcomes(
    workspace: Workspace, data: LoadedData, config: FactorConfig, costs: Costs
) -> dict[int, FloatMatrix]:
    """What a decision earned over each horizon, by the label of a training run."""
    outcomes = {}
    with workspace.progress.stage("labels", len(config.study.horizons)) as stage:
        beta = run_betas(data, config.run)
        for horizon in config.study.horizons:
            labels = run_labels(data, config.run, costs, beta=beta, horizon=horizon)
            require_built(labels)
            earned = labels.panel.values.field(labels.outcome)
            outcomes[horizon] = np.asarray(earned, dtype=np.float64)
            stage.advance()
    return outcomes


def _study(
    workspace: Workspace,
    refs: Mapping[str, ArtifactRef],
    data: LoadedData,
    config: FactorConfig,
    factors: ChosenFactors,
    outcomes: Mapping[int, FloatMatrix],
) -> dict[str, tuple[Any, Any]]:
    panel = workspace.store.read(FEATURE_PANEL, refs["features"])
    regimes = workspace.store.read(REGIME, refs["regimes"]).tables["regimes"]
    shared = {
        "sessions": data.panel.time.values.astype(np.int64),
        "allowed": data.panel.mask("member") & data.panel.mask("tradable"),
        "regimes": _on_sessions(regimes, data.panel),
        **{f"outcome {horizon}": outcome for horizon, outcome in outcomes.items()},
        **{f"score {name}": panel.field(name) for name in factors.names},
    }
    sectors: tuple[str, ...] = ()
    if SECTOR in data.panel.groups:
        table = data.panel.group(SECTOR)
        sectors, shared["sectors"] = table.categories, table.codes
    items = [(name, config.study, sectors) for name in factors.names]
    with workspace.progress.stage("factor study", len(items)) as stage:
        studies = workspace.executor.map(study_task, items, shared=shared, on_done=stage.advance)
    return {"report": (FACTOR_REPORT, _bundle(studies, config, factors))}


def study_task(
    shared: Mapping[str, npt.NDArray[Any]], item: tuple[str, FactorStudyConfig, tuple[str, ...]]
) -> FactorStudy:
    """Study one factor of the shared arrays, in whichever process.

    Parameters
    ----------
    shared : mapping of str to ndarray
        ``sessions`` (days since 1970), ``allowed``, ``regimes``, ``outcome H``, ``score NAME`` and
        perhaps ``sectors``.
    item : tuple
        Name, questions, sector names.

    Returns
    -------
    FactorStudy
        Tables without the name.
    """
    name, config, sectors = item
    market = FactorMarket(
        sessions=shared["sessions"].astype("datetime64[D]"),
        outcomes={horizon: shared[f"outcome {horizon}"] for horizon in config.horizons},
        allowed=shared["allowed"],
        regimes=shared["regimes"],
        sectors=shared.get("sectors"),
        sector_names=sectors,
    )
    return study_factor(shared[f"score {name}"], market, config)


def _on_sessions(regimes: pd.DataFrame, panel: Panel) -> npt.NDArray[np.int64]:
    """Label of each session of the panel; -1 where the table has none."""
    known = regimes.set_index("session")["regime"].reindex(panel.time.index)
    return known.fillna(-1).to_numpy(dtype=np.int64)


def _bundle(studies: list[FactorStudy], config: FactorConfig, factors: ChosenFactors) -> Bundle:
    rows = factors.descriptions()
    named = dict(zip(factors.names, studies, strict=True))
    tables = {part: study_table(named, part) for part in PARTS}
    tables["horizons"] = tables["horizons"].assign(**false_discovery(tables["horizons"]["p"]))
    tables["factors"] = pd.DataFrame([{**row, **named[row["factor"]].headline} for row in rows])
    tables["factors"] = tables["factors"].astype({"n_sessions": "int64"})
    facts = {
        "factor_set": factors.version,
        "target": config.run.target,
        "study": config.study.content(),
        "entry_lag": config.run.labels.entry_lag,
        "n_factors": len(named),
        "n_tests": int(tables["horizons"]["p"].notna().sum()),
    }
    return Bundle(tables=tables, documents={"facts": facts})


def _finish(
    workspace: Workspace,
    stages: Stages,
    refs: dict[str, ArtifactRef],
    data: LoadedData,
    config: FactorConfig,
    location: Location,
) -> Outcome:
    track = workspace.store.manifest(refs["report"]).provenance.track.value
    record = RunRecord(
        run_id=new_run_id(workspace.clock, "factors", config.content()),
        command="factors",
        dataset=data.dataset,
        horizon_sessions=config.study.main_horizon,
        track=track,
        first_session=data.first_session,
        last_session=data.last_session,
        artifacts=refs,
        config=config.content(),
        location=location.content(),
    )
    report = workspace.store.read(FACTOR_REPORT, refs["report"])
    # Counted before anyone sees a figure of it.
    ledger = track_ledger(workspace, track)
    with ledger.batch():
        record_factors(ledger, record, report.tables["factors"], config.study.horizons)
    sources = FactorSources(
        refs=refs,
        title=f"Factor report of {data.dataset}",
        run_id=record.run_id,
        n_trials=count_factor_trials(ledger, data.dataset),
    )
    with workspace.progress.stage("factor page", 1):
        content = load_factor_page(workspace.store, sources)
        page = render_factor_page(content)
    root = workspace.settings.results_root
    paths = {"page": root / "factor_report.html", "table": root / "factor_report.csv"}
    write_atomic(paths["page"], page.encode("utf-8"))
    table = report.tables["horizons"].to_csv(index=False)
    write_atomic(paths["table"], table.encode("utf-8"))
    RunRegistry(workspace).add(record)
    lines = [record.title(), *(f"note: {sentence}" for sentence in data.market.notes)]
    lines += _lines(content.ranked, report, sources.n_trials)
    lines += [f"{name}: {path}" for name, path in paths.items()]
    return Outcome(
        text="\n".join(lines),
        run_id=record.run_id,
        track=track,
        dataset=data.dataset,
        artifacts=listed(workspace.store, stages.written),
        metrics=_metrics(content.ranked, report, sources.n_trials),
        warnings=[*data.market.notes, *data.repairs()],
    )


def _lines(ranked: pd.DataFrame, report: Bundle, n_trials: int) -> list[str]:
    facts = report.documents["facts"]
    found = _found(report)
    lines = [
        f"{facts['n_factors']} factors x {len(facts['study']['horizons'])} horizons: "
        f"{facts['n_tests']} tests, {found['q_bh']} with q below {LEVEL} (Benjamini-Hochberg), "
        f"{found['q_by']} whatever their dependence (Benjamini-Yekutieli)",
        f"factor trials ever recorded on this source: {n_trials}",
        f"horizon {facts['study']['main_horizon']} sessions, strongest first "
        "(t: Newey-West, q: over all tests)",
    ]
    for row in ranked.head(SHOWN).itertuples(index=False):
        tested = "not tested" if np.isnan(row.t) else f"t {row.t:+.2f}  q {row.q_bh:.3f}"
        lines.append(
            f"  {row.factor:<20} IC {row.rank_ic:+.4f}  {tested}  "
            f"spread {row.spread_bps:+.1f} bps  turnover {row.turnover:.1%}"
        )
    return lines


def _found(report: Bundle) -> dict[str, int]:
    table = report.tables["horizons"]
    return {rule: int((table[rule] < LEVEL).sum()) for rule in ("q_bh", "q_by")}


def _metrics(ranked: pd.DataFrame, report: Bundle, n_trials: int) -> dict[str, Any]:
    found = _found(report)
    best = ranked.iloc[0]
    return {
        "n_factors": len(ranked),
        "n_tests": report.documents["facts"]["n_tests"],
        "n_trials_recorded": n_trials,
        "n_found_bh": found["q_bh"],
        "n_found_by": found["q_by"],
        "strongest_rank_ic": float(best["rank_ic"]),
        "strongest_t": float(best["t"]),
        "strongest_q_bh": float(best["q_bh"]),
    }


def _dry_run(
    workspace: Workspace, config: FactorConfig, location: Location, factors: ChosenFactors
) -> Outcome:
    data = load_data(workspace, config.run.data, location)
    _require_enough(data, config, factors)
    rows, columns = data.panel.shape
    horizons = ", ".join(str(horizon) for horizon in config.study.horizons)
    lines = [
        f"dataset {data.dataset}: {columns} assets, {rows} sessions, "
        f"{data.first_session} to {data.last_session}",
        *(f"note: {note}" for note in data.market.notes),
        f"factors: {factors.version} ({len(factors.names)}); horizons {horizons}; "
        f"{len(factors.names) * len(config.study.horizons)} trials would be counted",
        f"configuration {config.config_id()[:12]}; nothing was written",
    ]
    return Outcome(text="\n".join(lines), status="dry_run", dataset=data.dataset)
