"""The event pipeline on values: panel, audit, arbitrage, walk-forward, evidence, in this order.

Each step takes what the one before it returned and a configuration; nothing here opens a file or
asks the time. Reading the store and writing artifacts is in ``workflows.event_pipeline``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import EmptyDataError
from quant_engine.core.executor import Executor
from quant_engine.core.progress import SILENT, Progress
from quant_engine.core.trials import TrialSink
from quant_engine.kalshi.arbitrage import Arbitrage, ViolationEpisode, scan_ladder, track_violations
from quant_engine.kalshi.audit import (
    audit_views,
    availability_faults,
    look_faults,
    standard_views,
)
from quant_engine.kalshi.distribution import DistributionConfig
from quant_engine.kalshi.events import LadderLook, LookConfig, ladder_panel
from quant_engine.kalshi.fees import FeeEntry, fee_entry_at
from quant_engine.kalshi.lattice import SettlementGrid, find_structure_faults, ladder_structure
from quant_engine.kalshi.panel import EventPanel, PanelConfig, PanelInputs, event_panel
from quant_engine.kalshi.panel_audit import fold_faults, outcome_echoes, panel_faults
from quant_engine.kalshi.panel_frames import PanelFrames, frames_of_panel
from quant_engine.kalshi.panel_store import label_frame, panel_view, read_inputs
from quant_engine.kalshi.quality import QualityConfig
from quant_engine.kalshi.quotes import ladder_quotes
from quant_engine.kalshi.regimes import event_regimes, regime_names
from quant_engine.kalshi.strategies import StrategySetConfig, StrategyTable, run_strategies
from quant_engine.kalshi.walkforward import (
    WalkForwardEventsConfig,
    WalkForwardForecasts,
    plan_folds,
    walk_forward_events,
)

__all__ = [
    "AuditLine",
    "Evaluation",
    "EventPipelineConfig",
    "PipelinePanel",
    "arbitrage_episodes",
    "audit_folds",
    "audit_panel_of",
    "audit_rows",
    "build_panel",
    "evaluate_panel",
    "fee_schedule",
    "frames_of",
    "n_leak_faults",
    "panel_config",
    "recorded_share",
    "series_names",
]

US_PER_S = 1_000_000
INPUT_TABLES = ("trade", "market_v", "event_v", "release", "event_map")
"""Tables that a panel reads besides the source of its quotes."""


class EventPipelineConfig(FrozenConfig):
    """What the pipeline computes; everything that changes a result.

    Parameters
    ----------
    horizons_s : tuple of int
        Decisions, seconds before the schedule.
    later_s : int
        Seconds from a decision to the following snapshot, for fills with delay.
    source : {"quote", "trade", "candle"}
        Where quotes come from.
    stale_after_s : int
        Age beyond which a quote is absent.
    widest_e4 : int
        Widest usable quote, 1e-4 dollars.
    grids : dict of str to float
        Family to settlement precision, over what strikes show.
    until_us : int or None
        Latest decision, and latest availability of a label that is read; None = all.
    n_audit_asofs : int
        Moments at which the future is spoiled.
    seed : int
        Of the moments of the audit.
    walk : WalkForwardEventsConfig
        Windows, purges, models.
    strategies : StrategySetConfig
        What is tried.
    """

    horizons_s: tuple[int, ...] = (172_800, 86_400)
    later_s: int = Field(default=86_100, gt=0)
    source: str = "quote"
    stale_after_s: int = Field(default=86_400, gt=0)
    widest_e4: int = Field(default=2_500, gt=0)
    grids: dict[str, float] = Field(default_factory=dict)
    until_us: int | None = None
    n_audit_asofs: int = Field(default=2, ge=1)
    seed: int = 0
    walk: WalkForwardEventsConfig = WalkForwardEventsConfig()
    strategies: StrategySetConfig = StrategySetConfig()


@dataclass(frozen=True, eq=False)
class PipelinePanel:
    """A panel and what it was made of.

    Parameters
    ----------
    config : PanelConfig
        How.
    inputs : PanelInputs
        Looks, prints, records and first prints.
    panel : EventPanel
        Rows.
    labels : DataFrame, index event_id
        First prints, apart from the panel.
    later : tuple of LadderLook
        Following snapshots, with the horizon of the look that they follow.
    regimes : DataFrame
        Tags of every look.
    """

    config: PanelConfig
    inputs: PanelInputs
    panel: EventPanel
    labels: pd.DataFrame
    later: tuple[LadderLook, ...]
    regimes: pd.DataFrame


@dataclass(frozen=True)
class AuditLine:
    """One check of the leak audit.

    Parameters
    ----------
    check : str
        ``views``, ``rows``, ``looks``, ``panel``, ``folds`` or ``echoes``.
    subject : str
        View, rule or feature.
    n_faults : int
        Faults.
    asof_us : int or None
        Moment of the comparison.
    poison : str
        How the future was spoiled.
    n_rows : int or None
        Rows that were compared.
    """

    check: str
    subject: str
    n_faults: int
    asof_us: int | None = None
    poison: str = ""
    n_rows: int | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Frames, forecasts and strategies of one walk-forward.

    Parameters
    ----------
    frames : PanelFrames
        What was evaluated, and what was left out.
    forecasts : WalkForwardForecasts
        Out-of-sample forecasts.
    table : StrategyTable
        Strategies that traded them.
    """

    frames: PanelFrames
    forecasts: WalkForwardForecasts
    table: StrategyTable


def panel_config(config: EventPipelineConfig, steps: Mapping[str, float]) -> PanelConfig:
    """Settings of the panel.

    Parameters
    ----------
    config : EventPipelineConfig
        Settings of the pipeline.
    steps : mapping of str to float
        Family to settlement precision as strikes show it; ``config.grids`` goes before it.

    Returns
    -------
    PanelConfig

    Examples
    --------
    >>> panel_config(EventPipelineConfig(), {"": 1.0, "cpi": 0.1}).grid_of("cpi").step
    0.1
    """
    grids = {family: SettlementGrid(step) for family, step in {**steps, **config.grids}.items()}
    return PanelConfig(
        config.horizons_s,
        grids,
        look=LookConfig(config.source, config.stale_after_s * US_PER_S),
        distribution=DistributionConfig(quality=QualityConfig(widest_e4=config.widest_e4)),
    )


def build_panel(
    connection: duckdb.DuckDBPyConnection,
    config: EventPipelineConfig,
    steps: Mapping[str, float],
    *,
    progress: Progress = SILENT,
    executor: Executor | None = None,
) -> PipelinePanel:
    """Make the panel of a store.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.
    config : EventPipelineConfig
        How.
    steps : mapping of str to float
        Settlement precision of every family.
    progress : Progress
        Told about the events.
    executor : Executor, optional
        Where ladders are fitted; serial by default.

    Returns
    -------
    PipelinePanel

    Raises
    ------
    EmptyDataError
        When no event has a look at any horizon.
    """
    settings = panel_config(config, steps)
    inputs = read_inputs(connection, settings, until_us=config.until_us)
    panel = event_panel(inputs, settings, progress=progress, executor=executor)
    if not len(panel.looks):
        raise EmptyDataError(
            "panel",
            wanted="an event that was listed at one of the horizons "
            + ", ".join(f"{h} s" for h in config.horizons_s),
            got="none",
            hint="Synchronise events with a strike date or a release, or use shorter horizons.",
        )
    return PipelinePanel(
        settings,
        inputs,
        panel,
        label_frame(connection, panel, asof_us=config.until_us),
        _later(connection, config, settings),
        event_regimes(panel),
    )


def _later(
    connection: duckdb.DuckDBPyConnection, config: EventPipelineConfig, settings: PanelConfig
) -> tuple[LadderLook, ...]:
    """Ladders at the snapshot after each decision, where it is before the schedule."""
    follows = {h - config.later_s: h for h in config.horizons_s if h > config.later_s}
    if not follows:
        return ()
    until = None if config.until_us is None else config.until_us + config.later_s * US_PER_S
    looks = ladder_panel(connection, sorted(follows), config=settings.look, until_us=until)
    return tuple(replace(look, horizon_s=follows[look.horizon_s]) for look in looks)


def arbitrage_episodes(
    made: PipelinePanel, fees: Sequence[FeeEntry], series_of: Mapping[str, str]
) -> dict[str, tuple[ViolationEpisode, ...]]:
    """Violations that pay after fees, and how long they lived, from all looks of every event.

    Parameters
    ----------
    made : PipelinePanel
        Looks at decisions and at the steps back from them.
    fees : sequence of FeeEntry
        Schedule; a look without one is not scanned, because its cost is not known.
    series_of : mapping of str to str
        Event ticker to series.

    Returns
    -------
    dict of str to tuple of ViolationEpisode
        Event ticker to its episodes; events without any are left out.
    """
    by_event: dict[str, list[LadderLook]] = {}
    for look in made.inputs.looks:
        by_event.setdefault(look.event_ticker, []).append(look)
    found = {}
    for ticker in sorted(by_event):
        looks = sorted(by_event[ticker], key=lambda look: look.asof_us)
        scans: list[tuple[int, Sequence[Arbitrage]]] = []
        scanned: dict[object, tuple[Arbitrage, ...]] = {}
        for look in looks:
            entry = _fee_of(fees, series_of.get(ticker, ""), look)
            if entry is not None:
                # Looks between two quotes see the same ladder.
                prices = [(q.bid_e4, q.ask_e4, q.bid_size_c2, q.ask_size_c2) for q in look.quotes]
                same = (look.contracts, entry, tuple(prices))
                if same not in scanned:
                    scanned[same] = _violations(made.config, look, entry)
                scans.append((look.asof_us, scanned[same]))
        episodes = track_violations(scans)
        if episodes:
            found[ticker] = episodes
    return found


def _violations(config: PanelConfig, look: LadderLook, entry: FeeEntry) -> tuple[Arbitrage, ...]:
    grid = config.grid_of(look.family)
    quoted = any(quote.bid_size_c2 or quote.ask_size_c2 for quote in look.quotes)
    if not quoted or look.without_strikes:
        return ()
    if find_structure_faults(look.contracts, grid, is_exclusive=look.is_exclusive):
        return ()
    structure = ladder_structure(look.contracts, grid, is_exclusive=look.is_exclusive)
    return scan_ladder(ladder_quotes(structure, look.quotes), entry)


def _fee_of(fees: Sequence[FeeEntry], series: str, look: LadderLook) -> FeeEntry | None:
    named = [f for f in fees if f.scope_id in (series, look.event_ticker)]
    if not any(entry.effective_us <= look.asof_us for entry in named):
        return None
    return fee_entry_at(named, series=series, event=look.event_ticker, trade_us=look.asof_us)


def audit_rows(connection: duckdb.DuckDBPyConnection) -> tuple[AuditLine, ...]:
    """Claims of the rows of a store, whether a panel can be made of it or not.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Store.

    Returns
    -------
    tuple of AuditLine
        Check ``rows``, one per rule.
    """
    faults = availability_faults(connection)
    return tuple(AuditLine("rows", rule, n) for rule, n in faults.items())


def audit_panel_of(
    connection: duckdb.DuckDBPyConnection, made: PipelinePanel, config: EventPipelineConfig
) -> tuple[AuditLine, ...]:
    """Checks of the leak audit that need a panel.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Store that the panel was made of.
    made : PipelinePanel
        Panel.
    config : EventPipelineConfig
        Number of moments, their seed, and the latest decision.

    Returns
    -------
    tuple of AuditLine
        Views under a spoiled future, assembled looks, the panel, and echoes of the outcome. The
        panel itself is rebuilt at the earliest moment only.
    """
    views = standard_views(config.horizons_s, config=made.config.look)
    decided = np.sort(made.panel.looks["asof_us"].to_numpy(np.int64))
    rng = np.random.default_rng(config.seed)
    # Early moments: everything behind them is spoiled, and the views stay small.
    drawn = rng.integers(0, max(len(decided) // 4, 1), config.n_audit_asofs)
    asofs = [int(us) for us in np.sort(decided[drawn])]
    findings = audit_views(connection, views, asofs)
    rebuilt = {"event panel": panel_view(made.config)}
    findings += audit_views(connection, rebuilt, asofs[:1])
    lines = [
        AuditLine("views", f.view, int(not f.is_equal), f.asof_us, f.poison, f.n_rows)
        for f in findings
    ]
    stale_us = made.config.look.stale_after_us
    counted = look_faults(made.inputs.looks, stale_after_us=stale_us)
    lines.append(AuditLine("looks", "all", counted.total(), n_rows=len(made.inputs.looks)))
    lines += [AuditLine("looks", name, n) for name, n in sorted(counted.items())]
    faults = panel_faults(made.panel, made.labels)
    lines.append(AuditLine("panel", "all", faults.total(), n_rows=len(made.panel.looks)))
    lines += [AuditLine("panel", name, n) for name, n in sorted(faults.items())]
    echoes = outcome_echoes(made.panel, made.labels)
    n_features = len(made.panel.features.names)
    lines.append(AuditLine("echoes", "all", len(echoes), n_rows=n_features))
    lines += [AuditLine("echoes", echo.feature, 1) for echo in echoes]
    return tuple(lines)


def audit_folds(
    made: PipelinePanel, frames: PanelFrames, walk: WalkForwardEventsConfig
) -> AuditLine:
    """What the folds of the walk-forward share between training and test.

    Parameters
    ----------
    made : PipelinePanel
        Panel and labels.
    frames : PanelFrames
        What is evaluated.
    walk : WalkForwardEventsConfig
        Windows.

    Returns
    -------
    AuditLine
        Check ``folds``.
    """
    events = frames.frames.looks.index.get_level_values("event_id").to_numpy()
    plan = plan_folds(frames.frames, walk)
    folds = [
        (np.unique(events[split.train]).tolist(), np.unique(events[split.test]).tolist())
        for split in plan
    ]
    faults = fold_faults(made.panel, made.labels, folds)
    return AuditLine("folds", "all", faults.total(), n_rows=len(folds))


def n_leak_faults(lines: Sequence[AuditLine]) -> int:
    """Faults of an audit, each once.

    Parameters
    ----------
    lines : sequence of AuditLine
        Of :func:`audit_rows`, :func:`audit_panel_of` and :func:`audit_folds`.

    Returns
    -------
    int
        0 = sound.

    Examples
    --------
    >>> n_leak_faults([AuditLine("panel", "all", 2), AuditLine("panel", "late", 2)])
    2
    """
    summed = {line.check for line in lines if line.subject == "all"}
    return sum(line.n_faults for line in lines if line.check not in summed or line.subject == "all")


def evaluate_panel(
    frames: PanelFrames,
    config: EventPipelineConfig,
    *,
    fees: Sequence[FeeEntry],
    trials: TrialSink,
    track_name: str,
    executor: Executor | None = None,
) -> Evaluation:
    """Forecast and trade every cluster by models that knew only older ones.

    Parameters
    ----------
    frames : PanelFrames
        Of :func:`frames_of`.
    config : EventPipelineConfig
        Windows, models and strategies.
    fees : sequence of FeeEntry
        Schedule.
    trials : TrialSink
        Counts every forecast and every strategy.
    track_name : str
        Source of the data in the names of the families, such as ``fake``.
    executor : Executor, optional
        Where folds run; serial by default.

    Returns
    -------
    Evaluation

    Raises
    ------
    InsufficientHistoryError
        Too few clusters for one test block.
    """
    forecasts = walk_forward_events(
        frames.frames,
        config.walk,
        trials=trials,
        family=f"kalshi_forecast|{track_name}",
        executor=executor,
    )
    table = run_strategies(
        forecasts,
        config.strategies,
        fees=fees,
        walk=config.walk,
        trials=trials,
        family=f"kalshi_strategy|{track_name}",
    )
    return Evaluation(frames, forecasts, table)


def frames_of(made: PipelinePanel, series_of: Mapping[str, str]) -> PanelFrames:
    """Frames of a panel, sliced by the liquidity that was known at each decision.

    Parameters
    ----------
    made : PipelinePanel
        Panel.
    series_of : mapping of str to str
        Event ticker to series.

    Returns
    -------
    PanelFrames

    Raises
    ------
    EmptyDataError
        No look has a market, a label and a cluster.
    """
    return frames_of_panel(
        made.panel,
        made.inputs.looks,
        made.labels,
        config=made.config,
        series_of=series_of,
        later=made.later,
        regimes=regime_names(made.regimes),
    )


def series_names(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Series of every event, by the first names that were known.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.

    Returns
    -------
    dict of str to str
        Event ticker to series ticker; empty text where the series is not known.
    """
    rows = connection.execute("""
        SELECT arg_min(e.event_ticker, (e.avail_us, e.kid)) FILTER (e.event_ticker IS NOT NULL),
          arg_min(s.name, (e.avail_us, e.kid)) FILTER (s.name IS NOT NULL)
        FROM event_v e LEFT JOIN dimension s ON s.kind = 'series' AND s.id = e.series_id
        GROUP BY e.event_id ORDER BY e.event_id""").fetchall()
    return {str(ticker): str(series or "") for ticker, series in rows if ticker is not None}


def fee_schedule(
    connection: duckdb.DuckDBPyConnection, *, assumed: Sequence[str] = ()
) -> tuple[FeeEntry, ...]:
    """Fee schedule of a store.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.
    assumed : sequence of str
        Series that get the exchange's standard fee from the beginning where the store holds none:
        recordings seldom carry a schedule. What the store holds goes before it.

    Returns
    -------
    tuple of FeeEntry
        Series entries by their effect.
    """
    rows: list[tuple[Any, ...]] = connection.execute("""
        SELECT d.name, f.fee_type, f.multiplier, f.effective_us FROM fee_schedule f
        JOIN dimension d ON d.kind = f.scope AND d.id = f.scope_id
        WHERE f.scope = 'series' ORDER BY d.name, f.effective_us, f.kid""").fetchall()
    held = [
        FeeEntry("series", name, kind, Fraction(str(multiplier)), effective_us=int(us))
        for name, kind, multiplier, us in rows
    ]
    known = {entry.scope_id for entry in held}
    standard = [FeeEntry("series", name, "quadratic") for name in assumed if name not in known]
    return (*held, *standard)


def recorded_share(
    connection: duckdb.DuckDBPyConnection, source: str, *, last_us: int
) -> float | None:
    """Share of the rows behind a panel whose availability was recorded and not assumed.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.
    source : {"quote", "trade", "candle"}
        Where quotes come from.
    last_us : int
        Last decision, microseconds UTC.

    Returns
    -------
    float or None
        Over quotes, prints, listings and the calendar alike; None without rows.
    """
    tables = dict.fromkeys((source, *INPUT_TABLES))
    union = " UNION ALL ".join(
        f"SELECT avail_basis FROM {name} WHERE avail_us <= {int(last_us)}" for name in tables
    )
    (found,) = connection.execute(
        f"SELECT avg(CASE WHEN avail_basis = 'recorded' THEN 1.0 ELSE 0.0 END) FROM ({union})"
    ).fetchall()
    return None if found[0] is None else float(found[0])
