"""Calibration battery of event markets: the shipped chain in worlds whose truth is known.

One world goes through walk-forward, fills, evidence and gates with a signed ledger of its own. In
worlds without an edge whatever passes is a false promotion; in worlds with one the share that
passes is the power.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

from scipy.stats import binomtest

from quant_engine.artifacts.signing import Signer
from quant_engine.core.clock import FixedClock
from quant_engine.core.errors import EmptyDataError
from quant_engine.core.hashing import sha256_json
from quant_engine.core.scratch import scratch_folder
from quant_engine.core.specs import SpecCatalog
from quant_engine.core.tracks import Track
from quant_engine.governance.bundle import Alignment, Lineage, SignatureState
from quant_engine.governance.catalogue import MetricCatalogue
from quant_engine.governance.gate_specs import load_profile
from quant_engine.governance.lifecycle import open_ledger
from quant_engine.governance.records import RecordChain
from quant_engine.kalshi.event_frames import frames_digest
from quant_engine.kalshi.fake.edge_worlds import EdgeWorldConfig, make_edge_world
from quant_engine.kalshi.fees import FeeEntry
from quant_engine.kalshi.promotion import (
    PROFILE,
    EvidenceFacts,
    Judgement,
    gather_evidence,
    judge_strategies,
)
from quant_engine.kalshi.strategies import StrategySetConfig, run_strategies
from quant_engine.kalshi.walkforward import WalkForwardEventsConfig, walk_forward_events

__all__ = ["BatteryConfig", "PromotedShare", "WorldVerdict", "judge_world", "promoted_share"]

CLOCK = FixedClock(datetime(2026, 1, 2, tzinfo=UTC))
FORECASTS, STRATEGIES = "kalshi_forecast|fake", "kalshi_strategy|fake"


@dataclass(frozen=True)
class BatteryConfig:
    """What every world goes through.

    Parameters
    ----------
    walk : WalkForwardEventsConfig
        Windows and models.
    strategies : StrategySetConfig
        What is tried.
    fee_multiplier : Fraction
        0 for worlds without fees, the least favourable ones.
    profile : str
        Gate profile.
    """

    walk: WalkForwardEventsConfig = field(
        default_factory=lambda: WalkForwardEventsConfig(test_clusters=40)
    )
    strategies: StrategySetConfig = field(default_factory=StrategySetConfig)
    fee_multiplier: Fraction = Fraction(1)
    profile: str = PROFILE


@dataclass(frozen=True)
class WorldVerdict:
    """What one world ended with.

    Parameters
    ----------
    world : EdgeWorldConfig
        Its knobs.
    judged : tuple of Judgement
        One per strategy.
    largest_gap : float
        Mean of the largest mispricing per look, dollars.
    cpu_seconds : float
        Of the process, all stages.
    """

    world: EdgeWorldConfig
    judged: tuple[Judgement, ...]
    largest_gap: float
    cpu_seconds: float

    @property
    def is_promoted(self) -> bool:
        """Whether any strategy passed every hard rule."""
        return any(one.passed for one in self.judged)


@dataclass(frozen=True)
class PromotedShare:
    """Share of worlds with a promotion.

    Parameters
    ----------
    n_promoted, n_worlds : int
        Counts.
    share, low, high : float
        Share, and its two-sided 95 % Clopper-Pearson interval.
    """

    n_promoted: int
    n_worlds: int
    share: float
    low: float
    high: float


def judge_world(world: EdgeWorldConfig, config: BatteryConfig) -> WorldVerdict:
    """Send one world through the whole chain.

    Parameters
    ----------
    world : EdgeWorldConfig
        Knobs, among them the seed.
    config : BatteryConfig
        The chain.

    Returns
    -------
    WorldVerdict
        Equal for equal input, besides the CPU seconds.
    """
    started = time.process_time()
    made = make_edge_world(world)
    catalog = SpecCatalog.default()
    metrics = MetricCatalogue.load(catalog)
    fees = (FeeEntry("series", "KXEDGE", "quadratic", config.fee_multiplier),)
    with scratch_folder() as folder:
        signer = Signer(folder / "key")
        ledger = open_ledger(folder, Track.CALIBRATION, clock=CLOCK, signer=signer)
        with ledger.batch():
            forecasts = walk_forward_events(
                made.frames, config.walk, trials=ledger, family=FORECASTS
            )
            table = run_strategies(
                forecasts, config.strategies, fees=fees, walk=config.walk, trials=ledger,
                family=STRATEGIES,
            )  # fmt: skip
        lineage = _signed_lineage(folder, signer, frames_digest(made.frames), config)
        facts = EvidenceFacts("fake", recorded_frac=1.0, n_leak_faults=0, lineage=lineage)
        bundles = gather_evidence(forecasts, table, ledger=ledger, facts=facts)
    judged = judge_strategies(
        bundles, table, profile=load_profile(catalog, config.profile, metrics=metrics),
        metrics=metrics,
    )  # fmt: skip
    return WorldVerdict(world, judged, made.largest_gap, time.process_time() - started)


def promoted_share(verdicts: Iterable[WorldVerdict]) -> PromotedShare:
    """Share of worlds with a promotion, with an exact interval.

    Parameters
    ----------
    verdicts : iterable of WorldVerdict
        Of one kind of world.

    Returns
    -------
    PromotedShare

    Raises
    ------
    EmptyDataError
        No world.

    Notes
    -----
    Clopper and Pearson (1934), two-sided 95 %.
    """
    found = [verdict.is_promoted for verdict in verdicts]
    if not found:
        raise EmptyDataError("verdicts", wanted="at least one world", got=0, hint="Run one.")
    hits = sum(found)
    interval = binomtest(hits, len(found)).proportion_ci(0.95, method="exact")
    return PromotedShare(
        hits, len(found), hits / len(found), float(interval.low), float(interval.high)
    )


def _signed_lineage(folder: Path, signer: Signer, data_id: str, config: BatteryConfig) -> Lineage:
    """Write the evaluation down, signed, and read it back: what is whole counts as signed."""
    settings = {"walk": config.walk.content(), "strategies": config.strategies.content()}
    chain = RecordChain(folder / "evaluations", signer=signer)
    record = chain.append(lambda _: {"data": data_id, **settings})
    model = sha256_json(settings)
    used = Alignment("qe.kalshi_members/1", data_id[:16], data_id, "kalshi_members", model, model)
    whole = not chain.faults()
    return replace(
        Lineage(evaluated=used, deployed=used, n_synthetic_links=0),
        signature=SignatureState.SIGNED if whole else SignatureState.INVALID,
        evaluation=f"evaluations/{record.number}",
    )
