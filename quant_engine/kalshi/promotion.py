"""Promotion of event-market strategies: evidence by cluster, judged by rules that are data.

``gather_evidence`` turns scores, fills and what the store says about itself into a metric bundle;
``judge_strategies`` puts bundles before the gates of ``specs/gates/kalshi_v1.yaml``;
``promote_judged`` moves what passed into the book of its track. Evidence of a simulated exchange
counts on track calibration and that of recordings on track research, whatever anybody asks.

A strategy that trades the recalibrated market claims that prices are biased; any other one claims
to add to that, and has to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil

import numpy as np
import pandas as pd

from quant_engine.core.errors import ConfigError
from quant_engine.core.hashing import sha256_json
from quant_engine.core.tracks import DataRegime, RunSource, ScoreSource
from quant_engine.governance.bundle import Lineage, Metric, MetricBundle, Origin
from quant_engine.governance.catalogue import MetricCatalogue
from quant_engine.governance.families import TrialStatistics
from quant_engine.governance.gate_specs import GateProfile
from quant_engine.governance.gates import GateReport, evaluate
from quant_engine.governance.ledger import LedgerUse, TrialLedger
from quant_engine.governance.lifecycle import LifecycleBook
from quant_engine.governance.lifecycle_specs import Tier
from quant_engine.governance.records import Record
from quant_engine.governance.verbs import promote
from quant_engine.kalshi.execution import pnl_per_contract
from quant_engine.kalshi.forecast_scores import (
    compare_members,
    score_forecasts,
    summarise_calibration,
)
from quant_engine.kalshi.scoring import SUM_TOLERANCE
from quant_engine.kalshi.strategies import StrategyRun, StrategyTable
from quant_engine.kalshi.walkforward import WalkForwardForecasts
from quant_engine.stats.alpha_spending import AlphaSpending
from quant_engine.stats.deflation import deflated_sharpe
from quant_engine.stats.max_t import max_t
from quant_engine.stats.sharpe_inference import sharpe_sample

__all__ = [
    "NOT_EVALUATED",
    "PROFILE",
    "EvidenceFacts",
    "Judgement",
    "evidence_id",
    "gather_evidence",
    "judge_strategies",
    "origin_of",
    "promote_judged",
]

PROFILE = "kalshi_v1"
"""Gate profile in ``specs/gates``."""
NOT_EVALUATED = "not evaluated"
"""Status of a strategy that was not put before the gates."""
RECALIBRATION_CLAIM = "market_recalibration"
MODEL_CLAIM = "model"
MIN_REGIME_CLUSTERS = 15
BLOCK_CLUSTERS = 5
SIGN_FLIP_SEED = 0
MIN_DRAWS = 4_999
DRAWS_PER_LEVEL = 20.0
"""Sign vectors that are expected at or above the level's critical value."""
PLAN = AlphaSpending(alpha=0.025, n_looks=None)
"""Error budget over looks: 0.025 in all, falling with the square of the look."""

REGIMES = {
    "fake": DataRegime.SIMULATED,
    "replay": DataRegime.MAINTENANCE_REPLAY,
    "demo": DataRegime.MIXED,
    "prod": DataRegime.PROD_LIVE,
}


@dataclass(frozen=True)
class EvidenceFacts:
    """What evidence rests on besides forecasts and fills; None = not known, which never passes.

    Parameters
    ----------
    environment : {"fake", "replay", "demo", "prod"}
        Where the quotes come from; decides the track.
    recorded_frac : float or None
        Share of inputs whose availability was recorded, not assumed.
    n_leak_faults : int or None
        Faults of the leak audit.
    lineage : Lineage
        What was evaluated, what would be used, and the signature of the evaluation.
    """

    environment: str
    recorded_frac: float | None = None
    n_leak_faults: int | None = None
    lineage: Lineage = field(default_factory=Lineage)


@dataclass(frozen=True)
class Judgement:
    """What the gates say about one strategy.

    Parameters
    ----------
    subject : str
        Id: the strategy's name and the beginning of its trial's hash.
    strategy : str
        Name of the strategy.
    report : GateReport or None
        None where the gates were switched off.
    """

    subject: str
    strategy: str
    report: GateReport | None

    @property
    def status(self) -> str:
        """Word of the report, or :data:`NOT_EVALUATED`."""
        return NOT_EVALUATED if self.report is None else str(self.report.status)

    @property
    def passed(self) -> bool:
        """Whether every hard rule holds; never without a report."""
        return self.report is not None and self.report.passed


def origin_of(environment: str) -> Origin:
    """Origin of evidence of one environment.

    Parameters
    ----------
    environment : {"fake", "replay", "demo", "prod"}
        Where the quotes come from.

    Returns
    -------
    Origin
        Fake is simulated, replay a maintenance replay; only prod can reach track production.

    Raises
    ------
    ConfigError
        Another environment.

    Examples
    --------
    >>> [origin_of(name).track.value for name in ("fake", "replay", "prod")]
    ['calibration', 'research', 'production']
    """
    if environment not in REGIMES:
        raise ConfigError(
            "environment", wanted=", ".join(REGIMES), got=repr(environment), hint="Use fake."
        )
    is_live = environment == "prod"
    source = RunSource.PROD if is_live else RunSource.MAINTENANCE
    return Origin(source, ScoreSource.MODEL, REGIMES[environment])


def gather_evidence(
    forecasts: WalkForwardForecasts,
    table: StrategyTable,
    *,
    ledger: TrialLedger,
    facts: EvidenceFacts,
) -> tuple[MetricBundle, ...]:
    """Collect what the gates may look at, for every strategy.

    Parameters
    ----------
    forecasts : WalkForwardForecasts
        Out-of-sample forecasts.
    table : StrategyTable
        Strategies that traded them, already counted in `ledger`.
    ledger : TrialLedger
        Ledger of the track; what is taken from it is written down there.
    facts : EvidenceFacts
        What else it rests on.

    Returns
    -------
    tuple of MetricBundle
        One per strategy; a figure that cannot be computed is not in it, and never passes.

    Raises
    ------
    ConfigError
        An unknown environment, or a ledger without these trials.
    """
    scores = score_forecasts(forecasts)
    traded = table.pnl[[name for name in table.pnl.columns if table.pnl[name].any()]]
    statistics = TrialStatistics({table.family: traded.to_numpy()} if traded.shape[1] else {})
    bundles = []
    for run in table.runs:
        subject = _subject(run)
        use = ledger.consumed(subject, table.family, statistics)
        metrics = [
            *_skill(forecasts, scores, run),
            *_money(table, run),
            *_selection(traded, table, run, use, look=ledger.looks_at(table.family)),
            *_provenance(forecasts, run, facts),
        ]
        is_market = run.config.member == "recalibrated"
        bundles.append(
            MetricBundle(
                subject=subject,
                metrics=tuple(metrics),
                origin=origin_of(facts.environment),
                lineage=facts.lineage,
                trials=use,
                event=RECALIBRATION_CLAIM if is_market else MODEL_CLAIM,
            )
        )
    return tuple(bundles)


def judge_strategies(
    bundles: tuple[MetricBundle, ...],
    table: StrategyTable,
    *,
    profile: GateProfile,
    metrics: MetricCatalogue,
    disable_promotion_gate: bool = False,
) -> tuple[Judgement, ...]:
    """Put every strategy before the gates of its own track.

    Parameters
    ----------
    bundles : tuple of MetricBundle
        Of :func:`gather_evidence`, in the order of the table.
    table : StrategyTable
        Strategies.
    profile : GateProfile
        Rules.
    metrics : MetricCatalogue
        Figures with units.
    disable_promotion_gate : bool
        Judge nothing: every strategy ends as :data:`NOT_EVALUATED`, and nothing can be promoted.

    Returns
    -------
    tuple of Judgement
        One per strategy.
    """
    judged = []
    for bundle, run in zip(bundles, table.runs, strict=True):
        report = None
        if not disable_promotion_gate:
            track = bundle.origin.track
            report = evaluate(profile, bundle, stage="qualified", track=track, metrics=metrics)
        judged.append(Judgement(bundle.subject, run.config.name, report))
    return tuple(judged)


def promote_judged(
    judged: tuple[Judgement, ...], book: LifecycleBook, *, competition: str, reason: str
) -> tuple[Record, ...]:
    """Register what was judged and move what passed to tier candidate.

    Parameters
    ----------
    judged : tuple of Judgement
        Of :func:`judge_strategies`.
    book : LifecycleBook
        Book of the track that the evidence belongs to.
    competition : str
        ``dataset|horizon|track``.
    reason : str
        Why, in words.

    Returns
    -------
    tuple of Record
        One per promotion; empty where nothing passed or the gates were switched off.

    Raises
    ------
    GateNotPassedError
        The book's ledger does not confirm the evidence.
    """
    records = []
    known = {standing.strategy for standing in book.standings()}
    for one in judged:
        if one.report is None:
            continue
        if one.subject not in known:
            book.register(one.subject, competition, reason=reason, asked_by="kalshi promotion")
        is_new = book.standing(one.subject).tier is not Tier.CANDIDATE
        if one.passed and is_new:
            records.append(
                promote(
                    book, one.subject, Tier.CANDIDATE, reason=reason,
                    asked_by="kalshi promotion", report=one.report,
                )
            )  # fmt: skip
    return tuple(records)


def _subject(run: StrategyRun) -> str:
    return f"kalshi-{run.config.member}-{run.trial_id[:12]}"


def _skill(
    forecasts: WalkForwardForecasts, scores: pd.DataFrame, run: StrategyRun
) -> Iterator[Metric]:
    member = run.config.member
    gain = compare_members(scores, member, "market")
    n = gain.n_clusters
    yield Metric("n_oos_clusters", n, "count")
    yield Metric("n_folds", forecasts.n_folds, "count")
    yield Metric("skill_market_ci_low", gain.ci_low, "nats", n)
    added = compare_members(scores, member, "recalibrated")
    yield Metric("skill_recalibrated_ci_low", added.ci_low, "nats", n)
    slope = summarise_calibration(forecasts, scores, member).slope
    yield Metric("calibration_slope", slope, "ratio", n)
    sizes = scores.groupby("regime")["cluster_id"].nunique()
    large = [str(name) for name in sizes[sizes >= MIN_REGIME_CLUSTERS].index]
    yield Metric("n_regimes", len(large), "count")
    for name in large:
        part = compare_members(scores, member, "market", regime=name)
        ratio = part.mean / abs(gain.mean) if gain.mean else None
        yield Metric("regime_skill_ratio", ratio, "ratio", part.n_clusters, scope=f"regime:{name}")


def _money(table: StrategyTable, run: StrategyRun) -> Iterator[Metric]:
    gained = pnl_per_contract(run.displayed)
    yield Metric("pnl_contract_ci_low", gained.ci_low, "dollars", gained.n_clusters)
    if run.stressed:
        worst = min(pnl_per_contract(result).mean for result in run.stressed)
        yield Metric("pnl_contract_stress_min", worst, "dollars", gained.n_clusters)
    least = float(run.displayed.by_cluster["pnl"].min()) / table.capital
    yield Metric("worst_event_return", least, "fraction", len(table.pnl))


def _selection(
    traded: pd.DataFrame, table: StrategyTable, run: StrategyRun, use: LedgerUse, *, look: int
) -> Iterator[Metric]:
    """What depends on every strategy that was tried."""
    level = PLAN.level(look)
    yield Metric("alpha_this_look", level, "probability", method=PLAN.schedule.value)
    n_blocks = -(-len(traded) // BLOCK_CLUSTERS)
    if run.config.name not in traded.columns or 2.0**-n_blocks > level:
        return
    n_draws = max(MIN_DRAWS, ceil(DRAWS_PER_LEVEL / level))
    tested = max_t(
        traded.to_numpy(), seed=SIGN_FLIP_SEED, alpha=level, block_sessions=BLOCK_CLUSTERS,
        n_draws=n_draws,
    )  # fmt: skip
    own = float(tested.p_values[list(traded.columns).index(run.config.name)])
    # Trials of other runs have no returns here: each run of this size is one more family.
    value = min(own * max(use.n_trials / len(table.runs), 1.0), 1.0)
    yield Metric("max_t_p_value", value, "probability", len(traded), "block_sign_flip_5_events")
    sample = sharpe_sample(traded[run.config.name].to_numpy())
    if use.n_trials == 1 or use.sharpe_variance is not None:
        deflated = deflated_sharpe(
            sample.sharpe_per_period,
            n_obs=sample.n_obs,
            shape=sample.shape,
            trial_variance_per_period=use.sharpe_variance or 0.0,
            n_trials=use.n_trials,
        )
        chance = 1.0 - float(deflated.probability)
        yield Metric("dsr_p_value", chance, "probability", len(traded), deflated.convention)


def _provenance(
    forecasts: WalkForwardForecasts, run: StrategyRun, facts: EvidenceFacts
) -> Iterator[Metric]:
    prob = forecasts.cells[run.config.member].to_numpy()
    look = np.cumsum(forecasts.cells["cell"].to_numpy() == 0) - 1
    is_whole = np.abs(np.bincount(look, weights=prob) - 1.0) <= SUM_TOLERANCE
    is_positive = np.bincount(look, weights=prob < 0.0) == 0
    yield Metric("arbitrage_free_frac", float((is_whole & is_positive).mean()), "fraction",
                 len(is_whole))  # fmt: skip
    yield Metric("recorded_frac", facts.recorded_frac, "fraction")
    yield Metric("n_leak_faults", facts.n_leak_faults, "count")


def evidence_id(bundles: tuple[MetricBundle, ...]) -> str:
    """Hash of all evidence: equal runs have an equal one.

    Parameters
    ----------
    bundles : tuple of MetricBundle
        Of :func:`gather_evidence`.

    Returns
    -------
    str
        64 hexadecimal characters.
    """
    return sha256_json([bundle.content() for bundle in bundles])
