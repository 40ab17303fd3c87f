"""The event pipeline: one store, the stages on it, and the artifacts that they leave.

How a command works (`EventPipeline`):

1. the store of the source is opened, which nobody else may have open;
2. every asked stage runs in the order of :data:`STAGES`; what it needs of earlier ones is computed
   once and kept in memory;
3. a stage writes its artifact as soon as it has it: with ``--resume`` whole artifacts of the same
   inputs, settings and code are taken as they are.

Stages of computing read the store as it was ingested; what they write into its tables is no input
of any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import duckdb
import pandas as pd

from quant_engine.artifacts.files import explained_os_errors, write_atomic
from quant_engine.artifacts.kinds.bundle import Bundle, parquet_bytes
from quant_engine.artifacts.kinds.events import (
    EVENT_DISTRIBUTIONS,
    EVENT_FORECASTS,
    EVENT_HEALTH,
    EVENT_PANEL,
    EVENT_TRADES,
)
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.core.errors import EmptyDataError
from quant_engine.core.executor import Executor, SerialExecutor
from quant_engine.core.hashing import sha256_json
from quant_engine.kalshi.calendar import calendar_table, settlement_steps
from quant_engine.kalshi.events import ladder_panel
from quant_engine.kalshi.fees import FeeEntry
from quant_engine.kalshi.panel_frames import PanelFrames
from quant_engine.kalshi.pipeline import (
    AuditLine,
    Evaluation,
    EventPipelineConfig,
    PipelinePanel,
    arbitrage_episodes,
    audit_folds,
    audit_panel_of,
    audit_rows,
    build_panel,
    evaluate_panel,
    fee_schedule,
    frames_of,
    panel_config,
    series_names,
)
from quant_engine.kalshi.pipeline_results import arbitrage_table, forecast_tables, trade_tables
from quant_engine.kalshi.pipeline_tables import distribution_tables, panel_tables
from quant_engine.kalshi.promotion import origin_of
from quant_engine.kalshi.store.database import Checkpoint, KalshiStore
from quant_engine.kalshi.store.export import export_store
from quant_engine.workflows.context import Stages, Workspace
from quant_engine.workflows.event_results import put_study
from quant_engine.workflows.event_sources import EventSource, store_name
from quant_engine.workflows.event_tables import (
    COMPUTED,
    health_bundle,
    put_distributions,
    put_features,
)
from quant_engine.workflows.trials import track_ledger

__all__ = ["EventPipeline"]

PACKAGES = ("stats", "governance", "kalshi", "workflows")
PANEL_EXPORT = "kalshi_event_features.parquet"
PARALLEL_FROM = 2_500
"""Looks at ladders from which on processes save more time than they take to start."""


class EventPipeline:
    """Stages on one open store.

    Parameters
    ----------
    workspace : Workspace
        Results folder, clock and progress.
    store : KalshiStore
        Open store of the source.
    source : EventSource
        Where its content comes from.
    config : EventPipelineConfig
        What is computed.
    """

    def __init__(
        self,
        workspace: Workspace,
        store: KalshiStore,
        source: EventSource,
        config: EventPipelineConfig,
    ) -> None:
        self.workspace = workspace
        self.store = store
        self.source = source
        self.config = config
        self.refs: dict[str, ArtifactRef] = {}

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """Connection of the store."""
        return self.store.connection

    @property
    def dataset(self) -> str:
        """Name of the data with the beginning of their hash."""
        return f"kalshi_{store_name(self.source)}-{self.data_id[:12]}"

    @property
    def track(self) -> str:
        """Track on which evidence of this source counts."""
        return str(origin_of(self.source.environment).track)

    @cached_property
    def data_id(self) -> str:
        """Hash of everything that was ingested."""
        hashes = self.export()
        return sha256_json({n: h for n, h in hashes.items() if n not in COMPUTED})

    @property
    def data_version(self) -> str:
        """Version of the data in records."""
        return self.data_id[:32]

    @cached_property
    def stages(self) -> Stages:
        """Runner of the stages with the facts that all artifacts share."""
        origin = origin_of(self.source.environment)
        last = self.calendar["scheduled_us"].dropna()
        day = "" if not len(last) else f"{pd.Timestamp(int(last.max()), unit='us'):%Y-%m-%d}"
        return Stages(
            self.workspace,
            {
                "dataset": self.dataset,
                "as_of": day,
                "run_source": origin.run_source,
                "data_regime": origin.data_regime,
                "score_source": origin.score_source,
                "track": origin.track,
                "data_version": self.data_version,
            },
        )

    @cached_property
    def calendar(self) -> pd.DataFrame:
        """Events with releases and the outcomes that may be known."""
        return calendar_table(self.connection, until_us=self.config.until_us)

    @cached_property
    def steps(self) -> dict[str, float]:
        """Settlement precision of every family."""
        return settlement_steps(self.connection) | self.config.grids

    @cached_property
    def panel(self) -> PipelinePanel:
        """Looks, distributions, features and labels."""
        if not self.store.count("event_v"):
            raise EmptyDataError(
                str(self.store.path),
                wanted="events",
                got="an empty store",
                hint="Run the stage sync first, or all.",
            )
        n_looks = len(self.calendar) * len(panel_config(self.config, self.steps).looks_s)
        return build_panel(
            self.connection,
            self.config,
            self.steps,
            progress=self.workspace.progress,
            executor=self._executor(n_looks),
        )

    @cached_property
    def series_of(self) -> dict[str, str]:
        """Series of every event."""
        return series_names(self.connection)

    @cached_property
    def fees(self) -> tuple[FeeEntry, ...]:
        """Fee schedule; recordings without one get the exchange's standard fee."""
        assumed = sorted(set(self.series_of.values()) - {""})
        return fee_schedule(
            self.connection, assumed=assumed if self.source.environment == "replay" else ()
        )

    @cached_property
    def frames(self) -> PanelFrames:
        """What models see."""
        return frames_of(self.panel, self.series_of)

    @cached_property
    def evaluation(self) -> Evaluation:
        """Forecasts and strategies, counted in the ledger of the track."""
        ledger = track_ledger(self.workspace, self.track)
        with self.workspace.progress.stage("event walk-forward", 1), ledger.batch():
            return evaluate_panel(
                self.frames,
                self.config,
                fees=self.fees,
                trials=ledger,
                track_name=store_name(self.source),
                executor=self._executor(len(self.frames.frames.looks)),
            )

    @cached_property
    def audit_lines(self) -> tuple[AuditLine, ...]:
        """Every check of the leak audit; folds only where there is something to evaluate."""
        with self.workspace.progress.stage("leak audit", 1):
            lines = audit_rows(self.connection)
            if self.has_looks:
                lines += audit_panel_of(self.connection, self.panel, self.config)
            if self.has_frames:
                lines += (audit_folds(self.panel, self.frames, self.config.walk),)
        return lines

    @cached_property
    def has_looks(self) -> bool:
        """Whether any event was listed at one of the horizons."""
        looks = ladder_panel(self.connection, self.config.horizons_s, until_us=self.config.until_us)
        return bool(looks)

    @cached_property
    def has_frames(self) -> bool:
        """Whether anything can be evaluated: labelled looks for at least one test block."""
        if not self.has_looks:
            return False
        wanted = self.config.walk.min_train_clusters + self.config.walk.test_clusters
        labels = self.panel.labels
        return int(labels["cluster_id"][labels["value"].notna()].nunique()) >= wanted

    @cached_property
    def arbitrage(self) -> pd.DataFrame:
        """Violations that pay after fees, with their life-times."""
        if not self.has_looks:
            return arbitrage_table({})
        with self.workspace.progress.stage("arbitrage", 1):
            return arbitrage_table(arbitrage_episodes(self.panel, self.fees, self.series_of))

    def distributions(self) -> ArtifactRef:
        """Fit every ladder; write the store's table and the artifact."""

        def compute() -> Bundle:
            tables = distribution_tables(self.panel)
            return Bundle(tables=tables, documents={"facts": self._panel_facts()})

        ref = self._stage("distributions", EVENT_DISTRIBUTIONS, compute, inputs=())
        self._put_once(
            "distribution",
            lambda: put_distributions(self.store, self.panel, config_id=self._config_id),
        )
        return ref

    def features(self) -> ArtifactRef:
        """Build the panel; write the store's table, the artifact and the Parquet file."""
        known = self.distributions()

        def compute() -> Bundle:
            labelled = self.panel.labels["value"].notna().any()
            frames = self.frames if labelled else None
            tables = panel_tables(self.panel, frames, self.calendar)
            return Bundle(tables=tables, documents={"facts": self._panel_facts()})

        ref = self._stage("features", EVENT_PANEL, compute, inputs=(known,))
        self._put_once("feature", lambda: put_features(self.store, self.panel))
        looks = self.workspace.store.read(EVENT_PANEL, ref).tables["looks"]
        path = self.workspace.settings.results_root / PANEL_EXPORT
        with explained_os_errors(path.parent):
            write_atomic(path, parquet_bytes(looks))
        return ref

    def walkforward(self) -> tuple[ArtifactRef, ArtifactRef]:
        """Forecast and trade out of sample; write both artifacts."""
        panel = self.features()

        def forecasts() -> Bundle:
            facts = self._panel_facts() | {
                "data_id": self.evaluation.forecasts.data_id,
                "split_id": self.evaluation.forecasts.split_id,
                "n_clusters": self.evaluation.forecasts.n_clusters,
                "n_folds": self.evaluation.forecasts.n_folds,
            }
            return Bundle(forecast_tables(self.evaluation), {"facts": facts})

        def trades() -> Bundle:
            table = self.evaluation.table
            facts = {"capital_usd": table.capital, "family": table.family}
            return Bundle(trade_tables(table, self.frames.frames.looks), {"facts": facts})

        first = self._stage(
            "forecasts", EVENT_FORECASTS, forecasts, inputs=(panel,), facts=self.model_facts()
        )
        second = self._stage("trades", EVENT_TRADES, trades, inputs=(panel, first))
        self._put_once("study", lambda: self._put_study(panel, first, second))
        return first, second

    def _put_study(self, panel: ArtifactRef, forecasts: ArtifactRef, trades: ArtifactRef) -> None:
        read = self.workspace.store.read
        bundles = {
            "panel": read(EVENT_PANEL, panel),
            "forecasts": read(EVENT_FORECASTS, forecasts),
            "trades": read(EVENT_TRADES, trades),
        }
        put_study(self.store, self.study, bundles)

    @property
    def study(self) -> str:
        """Name of data and settings in the store's tables of results."""
        return sha256_json([self._config_id, self.data_id])[:16]

    def health(self) -> ArtifactRef:
        """Write what the collection met on its way."""
        bundle = health_bundle(self.store)
        written = self.stages.write_all(
            "kalshi.health", {"health": (EVENT_HEALTH, bundle)}, config={}, inputs=()
        )
        self.refs |= written
        return written["health"]

    def export(self) -> dict[str, str]:
        """Write every table as Parquet; return the hash of each."""
        folder = self.workspace.settings.results_root / "kalshi" / store_name(self.source)
        with explained_os_errors(folder):
            return export_store(self.store, folder)

    def settings(self) -> dict[str, Any]:
        """Everything that decides the results, as plain values."""
        return {
            "source": self.source.content(),
            "config": self.config.content(),
            "settlement_steps": self.steps,
            "fee_schedule": [
                [fee.scope_id, fee.fee_type, str(fee.multiplier), fee.effective_us]
                for fee in self.fees
            ],
        }

    @property
    def _config_id(self) -> str:
        return sha256_json([self.config.content(), self.steps])

    def _put_once(self, table: str, put: Callable[[], object]) -> None:
        """Write computed rows, unless they stand there for these settings."""
        name = sha256_json([self._config_id, self.data_id])
        if self.store.checkpoint(table, name) is None:
            with self.store.transaction():
                put()
                self.store.set_checkpoint(table, name, Checkpoint(self.store.run_id))

    def model_facts(self) -> dict[str, str]:
        """Contract of alignment: what makes the forecasts."""
        return {
            "feature_version": self.panel.panel.features.config_id()[:16],
            "model_name": "kalshi_members",
            "model_version": sha256_json(self.config.walk.content())[:32],
        }

    def _executor(self, n_looks: int) -> Executor:
        """The executor that was asked for; unasked, a pool only where it is worth its start."""
        asked = self.workspace.settings.executor is not None
        return self.workspace.executor if asked or n_looks >= PARALLEL_FROM else SerialExecutor()

    def _panel_facts(self) -> dict[str, Any]:
        looks = self.panel.panel.looks
        return {
            "dataset": self.dataset,
            "environment": self.source.environment,
            "track": self.track,
            "n_events": int(looks.index.get_level_values("event_id").nunique()),
            "n_looks": len(looks),
            "n_distributions": int(looks["has_distribution"].sum()),
            "horizons_s": list(self.config.horizons_s),
            "posterior_coverage": 0.9,
            "features_id": self.panel.panel.features.config_id(),
        }

    def _stage(
        self,
        role: str,
        kind: Any,
        compute: Callable[[], Bundle],
        *,
        inputs: tuple[ArtifactRef, ...],
        facts: dict[str, Any] | None = None,
    ) -> ArtifactRef:
        if role in self.refs:
            return self.refs[role]
        config = {"settings": self.settings(), "data": self.data_id}
        outputs = self.stages.run(
            f"kalshi.{role}",
            lambda: {role: (kind, compute())},
            packages=PACKAGES,
            config=config,
            inputs=inputs,
            facts=facts,
        )
        self.refs |= outputs
        return outputs[role]
