"""Market data as a run sees it: loaded, cleaned, on sessions, and written as artifacts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.market import MARKET, QUALITY, SOURCE
from quant_engine.artifacts.kinds.panel import PANEL
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.hashing import sha256_json
from quant_engine.core.panel import Panel
from quant_engine.core.tracks import DataRegime, RunSource, ScoreSource, track_of
from quant_engine.data.loader import LoadRequest, MarketData, Places, load_market
from quant_engine.data.quality.profile import Action
from quant_engine.data.statements import Statements, StatementsConfig, load_statements
from quant_engine.data.universe import total_returns
from quant_engine.workflows.context import Stages, Workspace

_DONE = {Action.FIX: "repaired", Action.REJECT: "rejected", Action.QUARANTINE: "left out"}


class Location(FrozenConfig):
    """Where raw data lies; outside every hash, because paths change no result.

    Parameters
    ----------
    bars, membership, sectors, delistings, benchmark : str
        Absolute paths of files and folders; empty = not given.
    statements : str
        Reports of companies, for factors that read them.
    """

    bars: str = ""
    membership: str = ""
    sectors: str = ""
    delistings: str = ""
    benchmark: str = ""
    statements: str = ""

    def places(self, cache: Path) -> Places:
        """Return the paths as the loader takes them, with the folder of the bar cache."""
        market = {name: text for name, text in self.content().items() if name != "statements"}
        given = {name: Path(text) for name, text in market.items() if text}
        return Places(cache=cache, **given)


@dataclass(frozen=True)
class LoadedData:
    """Market data of a run with its artifacts.

    Parameters
    ----------
    request : LoadRequest
        What was asked for.
    market : MarketData
        What came.
    refs : dict of str to ArtifactRef
        ``source, quality, panel, market``; empty when nothing was written.
    statements : Statements or None
        Reports of companies; None when none were named.
    """

    request: LoadRequest
    market: MarketData
    refs: dict[str, ArtifactRef] = field(default_factory=dict)
    statements: Statements | None = None

    @property
    def panel(self) -> Panel:
        """The canonical market panel."""
        return self.market.panel

    @cached_property
    def dataset(self) -> str:
        """Dataset id: name of the source and a hash of its assets and calendar."""
        if self.market.world is not None:
            return f"simulated-{self.market.world.config.config_id()[:8]}"
        identity = [list(self.panel.asset_ids), self.panel.time.calendar]
        return f"{self.market.vendor}-{sha256_json(identity)[:8]}"

    @property
    def data_regime(self) -> DataRegime:
        """Simulated, or a replay of recorded history."""
        return DataRegime.SIMULATED if self.market.world else DataRegime.MAINTENANCE_REPLAY

    @property
    def first_session(self) -> str:
        """ISO date of the first session."""
        return str(self.panel.time.values[0])

    @property
    def last_session(self) -> str:
        """ISO date of the last session."""
        return str(self.panel.time.values[-1])

    @cached_property
    def total_returns(self) -> FloatMatrix:
        """Simple total returns close to close, shape (T, N)."""
        return total_returns(self.panel)

    @property
    def benchmark_open_returns(self) -> FloatVector | None:
        """Simple benchmark returns open(t) to open(t+1), shape (T,); None without a benchmark."""
        return None if self.market.benchmark is None else self.market.benchmark.open_returns

    @cached_property
    def market_returns(self) -> FloatVector:
        """Simple close-to-close returns of the market for regimes, shape (T,).

        The benchmark's where there is one, else the mean over tradable assets.
        """
        if self.market.benchmark is not None:
            return self.market.benchmark.close_returns
        known = ~np.isnan(self.total_returns)
        count = known.sum(axis=1)
        total = np.where(known, self.total_returns, 0.0).sum(axis=1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    @cached_property
    def tickers(self) -> dict[str, str]:
        """Asset id to display symbol."""
        return dict(zip(self.panel.asset_ids, self.market.tickers, strict=True))

    @property
    def mean_member_coverage(self) -> float | None:
        """Mean share of members with a price; None without membership history."""
        if self.market.coverage is None:
            return None
        return float(self.market.coverage["priced_frac"].mean())

    def repairs(self) -> list[str]:
        """Say what reading and cleaning took out or changed, one sentence per rule."""
        sentences = [str(fault) for fault in self.market.faults if fault.action != "noted"]
        if self.market.quality is None:
            return sentences
        findings = self.market.quality.findings
        changed = findings[findings["action"] != Action.WARN.value]
        counts = changed.groupby(["rule", "action"], sort=True).size()
        return sentences + [
            f"{rule}: {count} {_DONE[Action(action)]}" for (rule, action), count in counts.items()
        ]


def load_data(workspace: Workspace, request: LoadRequest, location: Location) -> LoadedData:
    """Load market data; nothing is written.

    Loading is repeated on every run, because only the bytes read can say whether they changed;
    equal data gives equal artifacts.

    Parameters
    ----------
    workspace : Workspace
        Store, clock, progress.
    request : LoadRequest
        What is wanted, completed with its specs.
    location : Location
        Where files lie.

    Returns
    -------
    LoadedData
        The market, without artifacts yet.
    """
    market = load_market(
        request,
        location.places(workspace.settings.data_root / "cache"),
        as_of=workspace.clock.now().date(),
        clock=workspace.clock,
        progress=workspace.progress,
    )
    statements = None
    if location.statements:
        renames = StatementsConfig(renames=dict(request.renames))
        statements = load_statements(Path(location.statements), renames)
    return LoadedData(request, market, statements=statements)


def save_data(workspace: Workspace, data: LoadedData) -> LoadedData:
    """Write loaded market data as artifacts.

    Parameters
    ----------
    workspace : Workspace
        Store.
    data : LoadedData
        From :func:`load_data`.

    Returns
    -------
    LoadedData
        The same market with the addresses of its artifacts.
    """
    return replace(data, refs=_write(workspace, data))


def data_facts(data: LoadedData, *, score_source: ScoreSource, seed: int | None) -> dict[str, Any]:
    """Return the provenance fields that all artifacts of a run share.

    Parameters
    ----------
    data : LoadedData
        The run's market.
    score_source : ScoreSource
        What makes the scores.
    seed : int or None
        The run's seed.

    Returns
    -------
    dict
        Keyword arguments of :class:`~quant_engine.artifacts.manifest.Provenance`.
    """
    return {
        "dataset": data.dataset,
        "as_of": data.last_session,
        "run_source": RunSource.PROD,
        "data_regime": data.data_regime,
        "score_source": score_source,
        "track": track_of(data.data_regime, RunSource.PROD, score_source),
        "seed": seed,
        "data_version": data.market.content_digest()[:32],
    }


def frame_on_sessions(frame: pd.DataFrame, panel: Panel) -> pd.DataFrame:
    """Index a stored table by its sessions, which must be the panel's.

    Parameters
    ----------
    frame : DataFrame
        With a column ``session``.
    panel : Panel
        Axes.

    Returns
    -------
    DataFrame
        Indexed by the panel's sessions; NaN rows where the table has none.
    """
    return frame.set_index("session").reindex(panel.time.index.rename("session"))


def _write(workspace: Workspace, data: LoadedData) -> dict[str, ArtifactRef]:
    market = data.market
    shared = {**data_facts(data, score_source=ScoreSource.NONE, seed=None)}
    stages = Stages(workspace, shared)
    config = data.request.content()
    refs = stages.write_all(
        "data.source", {"source": (SOURCE, _source(data))}, config=config, inputs=()
    )
    inputs = (refs["source"],)
    outputs = {
        "quality": (QUALITY, _quality(market)),
        "panel": (PANEL, market.panel),
        "market": (MARKET, _market(data)),
    }
    return refs | stages.write_all("data.load", outputs, config=config, inputs=inputs)


def _source(data: LoadedData) -> Bundle:
    market = data.market
    files = pd.DataFrame(
        [(s.name, s.size_bytes, s.sha256, s.n_rows) for s in market.sources],
        columns=["name", "size_bytes", "sha256", "n_rows"],
    )
    facts = {
        "vendor": market.vendor,
        "columns": market.columns,
        "world": None if market.world is None else market.world.config.content(),
        "faults": [str(fault) for fault in market.faults],
    }
    return Bundle({"files": files}, {"facts": facts})


def _quality(market: MarketData) -> Bundle:
    columns = ["asset_id", "session", "rule", "action", "value", "message"]
    if market.quality is None:
        findings = pd.DataFrame({name: [] for name in columns}).astype({"value": float})
        findings["session"] = pd.to_datetime(findings["session"])
        summary: dict[str, Any] = {"profile": None, "n_rows_in": None, "n_rows_out": None}
    else:
        report = market.quality
        findings = report.findings[columns].reset_index(drop=True)
        findings = findings.astype({"asset_id": "str", "rule": "str", "action": "str"})
        summary = {
            "profile": report.profile,
            "profile_id": report.profile_id,
            "n_rows_in": report.n_rows_in,
            "n_rows_out": report.n_rows_out,
        }
    by_rule = findings.groupby(["rule", "action"], sort=True).size().reset_index(name="n_findings")
    return Bundle({"findings": findings, "by_rule": by_rule}, {"summary": summary})


def _market(data: LoadedData) -> Bundle:
    market, panel = data.market, data.panel
    sessions = panel.time.index
    unknown = np.full(len(sessions), np.nan)
    benchmark = market.benchmark
    priced = np.isfinite(panel.field("close")).sum(axis=1)
    coverage = market.coverage
    delistings = market.delistings
    tables = {
        "benchmark": pd.DataFrame(
            {
                "session": sessions,
                "close_return": unknown if benchmark is None else benchmark.close_returns,
                "open_return": unknown if benchmark is None else benchmark.open_returns,
            }
        ),
        "delistings": delistings.reset_index(drop=True).astype({"terminal_return": float}),
        "coverage": pd.DataFrame(
            {
                "session": sessions,
                "n_assets": priced,
                "n_members": unknown if coverage is None else coverage["n_members"].to_numpy(),
                "share_covered": unknown
                if coverage is None
                else coverage["priced_frac"].to_numpy(),
            }
        ),
        "securities": pd.DataFrame(
            {"asset_id": list(data.tickers), "ticker": list(data.tickers.values())}
        ),
    }
    facts = {
        "source": market.vendor,
        "n_assets": panel.shape[1],
        "benchmark": None if benchmark is None else benchmark.name,
        "has_membership": coverage is not None,
        "mean_member_coverage": data.mean_member_coverage,
        "survivorship_safe": market.survivorship.safe,
        "survivorship_reasons": list(market.survivorship.reasons),
        "absent": list(market.notes),
    }
    return Bundle(tables, {"facts": facts})
