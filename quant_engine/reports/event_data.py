"""What an event-market page is made of: the tables of one pipeline run, and where they come from.

Every stage of the pipeline is its own artifact. A stage that was not run leaves its panels absent,
with the reason given here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from quant_engine.artifacts.kinds.bundle import BundleKind
from quant_engine.artifacts.kinds.events import (
    EVENT_DISTRIBUTIONS,
    EVENT_FORECASTS,
    EVENT_HEALTH,
    EVENT_PANEL,
    EVENT_REPORT,
    EVENT_TRADES,
)
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.artifacts.store import ArtifactStore
from quant_engine.core.errors import ConfigError
from quant_engine.core.tracks import Track
from quant_engine.reports.load_lineage import load_lineage
from quant_engine.reports.tearsheet_data import Lineage

__all__ = ["ROLES", "EventReportData", "EventReportSources", "LookKey", "load_event_report"]

LookKey = tuple[int, int]
"""Number of an event and seconds before its schedule."""

ROLES: Mapping[str, tuple[BundleKind, str]] = {
    "distributions": (EVENT_DISTRIBUTIONS, "The stage distributions was not run."),
    "panel": (EVENT_PANEL, "The stage features was not run."),
    "forecasts": (EVENT_FORECASTS, "The stage walkforward was not run."),
    "trades": (EVENT_TRADES, "The stage walkforward was not run."),
    "report": (EVENT_REPORT, "The stages promote, arb and audit were not run."),
    "health": (EVENT_HEALTH, "The run gave no record of its collection."),
}
"""Role of an artifact to its kind, and to what its absence means."""


@dataclass(frozen=True)
class EventReportSources:
    """Which artifacts and facts an event-market page is made from.

    Parameters
    ----------
    refs : mapping of str to ArtifactRef
        Roles of :data:`ROLES`; at least one, in the order in which the stages ran.
    title : str
        Heading.
    run_id : str
        Shown in the header.
    environment : str
        Where the quotes come from: fake, replay, demo or prod.

    Raises
    ------
    ConfigError
        Without an artifact, or with an unknown role.
    """

    refs: Mapping[str, ArtifactRef]
    title: str
    run_id: str
    environment: str

    def __post_init__(self) -> None:
        """Refuse roles that no page has a place for."""
        unknown = sorted(set(self.refs) - set(ROLES))
        if unknown or not self.refs:
            raise ConfigError(
                "refs",
                wanted=f"one or more of {', '.join(ROLES)}",
                got=", ".join(unknown) or "none",
                hint="Give the artifact of every stage that was run.",
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class EventReportData:
    """Everything an event-market page shows.

    Parameters
    ----------
    title, run_id, environment : str
        As in :class:`EventReportSources`.
    as_of, dataset, config_id, code_digest : str
        Identities of the newest artifact.
    track : Track
        Where it counts.
    tables : mapping of (str, str) to DataFrame
        Role and table, as stored; a stage that was not run has none.
    documents : mapping of (str, str) to mapping
        Role and document, as stored.
    lineage : Lineage or None
        From raw data to the newest artifact.
    """

    title: str
    run_id: str
    environment: str
    as_of: str
    dataset: str
    config_id: str
    code_digest: str
    track: Track
    tables: Mapping[tuple[str, str], pd.DataFrame]
    documents: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    lineage: Lineage | None = None

    def table(self, role: str, name: str) -> pd.DataFrame | None:
        """One table, or None where its stage was not run or it has no rows."""
        frame = self.tables.get((role, name))
        return None if frame is None or frame.empty else frame

    def why_absent(self, role: str, sentence: str) -> str:
        """Why a table of a role is not there: its stage was not run, or `sentence`."""
        was_run = any(one == role for one, _ in self.tables)
        return sentence if was_run else ROLES[role][1]

    def of_look(self, role: str, name: str, look: LookKey) -> pd.DataFrame:
        """Rows of one look at one event."""
        frame = self.tables[role, name]
        is_here = (frame["event_id"] == look[0]) & (frame["horizon_s"] == look[1])
        return frame[is_here].reset_index(drop=True)

    @cached_property
    def examples(self) -> tuple[LookKey, ...]:
        """Last look with a distribution at the newest event of each series or family."""
        looks = self.table("distributions", "looks")
        if looks is None or not looks["has_distribution"].any():
            return ()
        known = looks[looks["has_distribution"]].sort_values(["scheduled_us", "event_id"])
        last = known.sort_values("horizon_s", kind="stable").drop_duplicates("event_id")
        group = last["family"].where(
            last["family"] != "", last["event_ticker"].str.split("-").str[0]
        )
        newest = last.assign(group=group).sort_values(["scheduled_us", "event_id"])
        chosen = newest.drop_duplicates("group", keep="last").sort_values("group")
        return tuple(zip(chosen["event_id"].tolist(), chosen["horizon_s"].tolist(), strict=True))

    @cached_property
    def shows_sizes(self) -> bool:
        """Whether any look shows how much could be traded; prices of prints show none."""
        legs = self.table("distributions", "legs")
        return legs is None or bool((legs[["bid_contracts", "ask_contracts"]] > 0).any(axis=None))

    @property
    def why_no_fill(self) -> str:
        """Why there is no fill to show."""
        sentence = "No order was filled."
        if not self.shows_sizes:
            sentence += " Prices of prints show no size, and orders fill against displayed sizes."
        return self.why_absent("trades", sentence)

    @cached_property
    def audit(self) -> pd.DataFrame | None:
        """Checks of the leak audit; of a check that also gives its sum, the sum is not a line."""
        rows = self.table("report", "audit")
        return None if rows is None else rows[rows["subject"] != "all"]

    @cached_property
    def n_leak_faults(self) -> int | None:
        """Faults of the leak audit; None where it was not run."""
        rows = self.table("report", "audit")
        if rows is None:
            return None
        # A check with a line for all its subjects counts what several of them share once.
        summed = set(rows.loc[rows["subject"] == "all", "check"])
        is_counted = (rows["subject"] == "all") | ~rows["check"].isin(summed)
        return int(rows.loc[is_counted, "n_faults"].sum())

    @cached_property
    def best_member(self) -> str | None:
        """Forecast with the largest gain of log loss over the market; None without scores."""
        skill = self.table("forecasts", "skill")
        if skill is None:
            return None
        gains = skill[(skill["base"] == "market") & (skill["score"] == "log_loss")]
        gains = gains[gains["mean"].notna()]
        return None if gains.empty else str(gains["member"].iloc[int(gains["mean"].argmax())])

    @cached_property
    def best_strategy(self) -> str | None:
        """Strategy with the largest gain after fees, of those with an interval where there are."""
        strategies = self.table("trades", "strategies")
        if strategies is None:
            return None
        traded = strategies[strategies["n_fills"] > 0]
        if traded.empty:
            return None
        # Of a strategy with fills in one occurrence nobody can say how sure its gain is.
        stresses = self.tables["trades", "stresses"]
        known = stresses.loc[stresses["pnl_contract_usd"].notna(), "strategy"]
        judged = traded[traded["strategy"].isin(known)]
        traded = traded if judged.empty else judged
        return str(traded["strategy"].iloc[int(traded["pnl_usd"].argmax())])


def load_event_report(store: ArtifactStore, sources: EventReportSources) -> EventReportData:
    """Read the artifacts of a pipeline run and arrange them for the page.

    Parameters
    ----------
    store : ArtifactStore
        Where they lie.
    sources : EventReportSources
        Which ones.

    Returns
    -------
    EventReportData
        Tables and documents as stored.
    """
    tables: dict[tuple[str, str], pd.DataFrame] = {}
    documents: dict[tuple[str, str], Mapping[str, Any]] = {}
    for role, ref in sources.refs.items():
        bundle = store.read(ROLES[role][0], ref)
        tables |= {(role, name): frame for name, frame in bundle.tables.items()}
        documents |= {(role, name): content for name, content in bundle.documents.items()}
    # The record of the collection comes last and has no settings of its own.
    computed = [ref for role, ref in sources.refs.items() if role != "health"]
    newest = [*sources.refs.values(), *computed][-1]
    manifest = store.manifest(newest)
    return EventReportData(
        title=sources.title,
        run_id=sources.run_id,
        environment=sources.environment,
        as_of=manifest.provenance.as_of,
        dataset=manifest.provenance.dataset,
        config_id=manifest.config_sha256,
        code_digest=manifest.code_digest,
        track=manifest.provenance.track,
        tables=tables,
        documents=documents,
        lineage=load_lineage(store, *sources.refs.values()),
    )
