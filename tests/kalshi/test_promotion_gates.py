"""Promotion of event-market strategies: evidence, gates, tracks and the book."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from quant_engine.artifacts.signing import Signer
from quant_engine.core.clock import FixedClock
from quant_engine.core.errors import ConfigError
from quant_engine.core.specs import SpecCatalog
from quant_engine.core.tracks import Track
from quant_engine.governance.bundle import Alignment, Lineage, SignatureState
from quant_engine.governance.catalogue import MetricCatalogue
from quant_engine.governance.gate_specs import load_profile
from quant_engine.governance.lifecycle import LifecycleBook, open_ledger
from quant_engine.governance.lifecycle_specs import State, load_lifecycle
from quant_engine.kalshi.fake.edge_worlds import EdgeWorldConfig, make_edge_world
from quant_engine.kalshi.fees import FeeEntry
from quant_engine.kalshi.promotion import (
    NOT_EVALUATED,
    EvidenceFacts,
    evidence_id,
    gather_evidence,
    judge_strategies,
    origin_of,
    promote_judged,
)
from quant_engine.kalshi.strategies import StrategySetConfig, run_strategies
from quant_engine.kalshi.walkforward import WalkForwardEventsConfig, walk_forward_events

pytestmark = pytest.mark.feature("Q-45")

CLOCK = FixedClock(datetime(2026, 1, 2, tzinfo=UTC))
ALIKE = Alignment("a", "b", "c", "d", "e", "f")
LINEAGE = Lineage(ALIKE, ALIKE, SignatureState.SIGNED, "evaluation/1", (), 0)
FACTS = EvidenceFacts("fake", recorded_frac=1.0, n_leak_faults=0, lineage=LINEAGE)
FAMILY = "kalshi_strategy|fake"


class Chain:
    """One world through everything, with the books of one results folder."""

    def __init__(self, folder):
        signer = Signer(folder / "key")
        self.catalog = SpecCatalog.default()
        self.metrics = MetricCatalogue.load(self.catalog)
        self.profile = load_profile(self.catalog, "kalshi_v1", metrics=self.metrics)
        self.ledger = open_ledger(folder, Track.CALIBRATION, clock=CLOCK, signer=signer)
        self.book = LifecycleBook(
            folder, Track.CALIBRATION, clock=CLOCK, signer=signer, ledger=self.ledger,
            spec=load_lifecycle(self.catalog),
        )  # fmt: skip
        walk = WalkForwardEventsConfig()
        world = make_edge_world(EdgeWorldConfig(seed=4, kind="longshot", edge=0.2, n_clusters=170))
        self.forecasts = walk_forward_events(
            world.frames, walk, trials=self.ledger, family="kalshi_forecast|fake"
        )
        self.table = run_strategies(
            self.forecasts, StrategySetConfig(), walk=walk, trials=self.ledger, family=FAMILY,
            fees=(FeeEntry("series", "KXEDGE", "quadratic"),),
        )  # fmt: skip
        self.bundles = self.evidence(FACTS)

    def evidence(self, facts):
        return gather_evidence(self.forecasts, self.table, ledger=self.ledger, facts=facts)

    def judge(self, bundles=None, **options):
        bundles = self.bundles if bundles is None else bundles
        return judge_strategies(
            bundles, self.table, profile=self.profile, metrics=self.metrics, **options
        )


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    return Chain(tmp_path_factory.mktemp("results"))


def without(bundle, name):
    return replace(bundle, metrics=tuple(m for m in bundle.metrics if m.name != name))


def passing(bundle):
    """The same bundle with every judged figure on the good side."""
    good = {
        "skill_market_ci_low": 0.01, "skill_recalibrated_ci_low": 0.01, "calibration_slope": 1.0,
        "pnl_contract_ci_low": 0.01, "pnl_contract_stress_min": 0.0, "max_t_p_value": 0.001,
        "n_folds": 5, "n_oos_clusters": 60, "worst_event_return": -0.08,
        "regime_skill_ratio": -0.5,
    }  # fmt: skip
    return replace(
        bundle, metrics=tuple(replace(m, value=good.get(m.name, m.value)) for m in bundle.metrics)
    )


def test_the_evidence_is_complete_and_repeats(chain):
    names = {metric.name for metric in chain.bundles[-1].metrics}
    rules = {rule.metric for gate in chain.profile.gates for rule in gate.rules}
    assert rules - names == {"n_trials"}
    assert chain.bundles[-1].trials.n_trials == 4
    assert evidence_id(chain.evidence(FACTS)) == evidence_id(chain.bundles)
    assert [b.event for b in chain.bundles] == ["market_recalibration"] * 2 + ["model"] * 2


def test_figures_by_a_second_way(chain):
    run, bundle = chain.table.runs[0], chain.bundles[0]
    clusters = run.displayed.by_cluster
    traded = clusters[clusters["contracts"] > 0]
    ratio = traded["pnl"].sum() / traded["contracts"].sum()
    residual = traded["pnl"] - ratio * traded["contracts"]
    g = len(traded)
    error = np.sqrt(g / (g - 1) * (residual**2).sum()) / traded["contracts"].sum()
    low = ratio - student.ppf(0.975, g - 1) * error
    assert bundle.get("pnl_contract_ci_low").value == pytest.approx(low)
    stress = min(r.fills["pnl_e6"].sum() / r.fills["count_c2"].sum() / 1e4 for r in run.stressed)
    assert bundle.get("pnl_contract_stress_min").value == pytest.approx(stress)
    worst = run.displayed.fills.groupby("cluster_id")["pnl_e6"].sum().min() / 1e6 / 1_000.0
    assert bundle.get("worst_event_return").value == pytest.approx(min(worst, 0.0))
    # Step-down max-T of the best equals the share of sign patterns that reach it.
    pnl = chain.table.pnl.to_numpy()
    sums = np.add.reduceat(pnl, np.arange(0, len(pnl), 5), axis=0)
    scaled = sums / np.sqrt((sums**2).sum(axis=0))
    best = int(scaled.sum(axis=0).argmax())
    signs = np.random.default_rng(9).choice([-1.0, 1.0], (20_000, len(sums)))
    share = ((signs @ scaled).max(axis=1) >= scaled.sum(axis=0)[best]).mean()
    assert chain.bundles[best].get("max_t_p_value").value == pytest.approx(share, abs=0.01)


def test_every_rule_can_stop_a_strategy(chain):
    good = passing(chain.bundles[-1])
    (judged,) = chain.judge((chain.bundles[0],) * 3 + (good,))[-1:]
    assert judged.passed, judged.report.reasons
    bad = {
        "skill_market_ci_low": 0.0, "skill_recalibrated_ci_low": 0.0, "calibration_slope": 1.11,
        "pnl_contract_ci_low": 0.0, "pnl_contract_stress_min": -1e-9, "max_t_p_value": 0.02,
        "n_folds": 4, "n_oos_clusters": 59, "worst_event_return": -0.081, "n_leak_faults": 1,
        "regime_skill_ratio": -0.51, "recorded_frac": 0.49, "arbitrage_free_frac": 0.999,
        "n_regimes": 1,
    }  # fmt: skip
    for name, value in bad.items():
        worse = tuple(replace(m, value=value) if m.name == name else m for m in good.metrics)
        for bundle in (replace(good, metrics=worse), without(good, name)):
            *_, found = chain.judge((good,) * 3 + (bundle,))
            assert not found.passed, name
    few = tuple(replace(m, n_obs=14) if m.name == "regime_skill_ratio" else m for m in good.metrics)
    *_, found = chain.judge((good,) * 3 + (replace(good, metrics=few),))
    assert found.status == "insufficient_observation"


def test_a_recalibration_need_not_beat_itself_and_a_model_must(chain):
    name = "skill_recalibrated_ci_low"
    own = without(passing(chain.bundles[0]), name)
    model = without(passing(chain.bundles[-1]), name)
    first, *_, last = chain.judge((own, own, model, model))
    assert first.passed
    assert not last.passed


def test_unknown_facts_and_unsigned_evaluations_never_pass(chain):
    bundles = tuple(passing(b) for b in chain.evidence(EvidenceFacts("fake", lineage=LINEAGE)))
    assert not any(one.passed for one in chain.judge(bundles))
    unsigned = replace(FACTS, lineage=Lineage(ALIKE, ALIKE, n_synthetic_links=0))
    bundles = tuple(passing(b) for b in chain.evidence(unsigned))
    judged = chain.judge(bundles)[-1]
    assert judged.report.blocks == ("the evaluation is not signed",)


@pytest.mark.parametrize(
    ("environment", "track"),
    [("fake", "calibration"), ("replay", "research"), ("demo", "research"), ("prod", "production")],
)
def test_the_environment_decides_the_track(environment, track):
    assert origin_of(environment).track == track
    with pytest.raises(ConfigError, match="environment"):
        origin_of("paper")


def test_the_gate_can_be_switched_off_and_then_promotes_nothing(chain):
    good = tuple(passing(bundle) for bundle in chain.bundles)
    judged = chain.judge(good, disable_promotion_gate=True)
    assert {one.status for one in judged} == {NOT_EVALUATED}
    assert not any(one.passed for one in judged)
    before = chain.book.standings()
    assert promote_judged(judged, chain.book, competition="fake|1|calibration", reason="r") == ()
    assert chain.book.standings() == before


def test_what_passes_moves_once_in_the_book_of_its_track(chain):
    good = passing(chain.bundles[-1])
    judged = chain.judge((*chain.bundles[:3], good))
    where = {"competition": "fake|1|calibration", "reason": "passed kalshi_v1"}
    records = promote_judged(judged, chain.book, **where)
    assert len(records) == sum(one.passed for one in judged) >= 1
    assert chain.book.standing(good.subject).state is State.QUALIFIED
    assert promote_judged(judged, chain.book, **where) == ()
    failed = [one for one in judged if not one.passed]
    assert all(chain.book.standing(one.subject).state is State.CANDIDATE for one in failed)


def test_trials_of_other_runs_make_the_test_stricter(chain, tmp_path):
    ledger = open_ledger(tmp_path, Track.CALIBRATION, clock=CLOCK, signer=Signer(tmp_path / "key"))
    run = {"fees": (FeeEntry("series", "KXEDGE", "quadratic"),), "trials": ledger}
    walk = WalkForwardEventsConfig()
    table = run_strategies(chain.forecasts, StrategySetConfig(), walk=walk, family=FAMILY, **run)
    alone = gather_evidence(chain.forecasts, table, ledger=ledger, facts=FACTS)
    more = StrategySetConfig(thresholds=(0.03, 0.04))
    run_strategies(chain.forecasts, more, walk=walk, family=FAMILY, **run)
    after = gather_evidence(chain.forecasts, table, ledger=ledger, facts=FACTS)
    one, two = (b[-1].get("max_t_p_value").value for b in (alone, after))
    assert two == pytest.approx(min(2 * one, 1.0), rel=0.2)
    levels = [b[-1].get("alpha_this_look").value for b in (alone, after)]
    assert levels[0] == pytest.approx(4 * levels[1])  # the second look


def test_a_strategy_that_never_trades_has_no_test_to_pass(chain, tmp_path):
    ledger = open_ledger(tmp_path, Track.CALIBRATION, clock=CLOCK, signer=Signer(tmp_path / "key"))
    config = StrategySetConfig(members=("shrunk",), thresholds=(0.9,))
    table = run_strategies(
        chain.forecasts, config, fees=(), walk=WalkForwardEventsConfig(), trials=ledger,
        family=FAMILY,
    )  # fmt: skip
    (bundle,) = gather_evidence(chain.forecasts, table, ledger=ledger, facts=FACTS)
    assert bundle.get("max_t_p_value") is None
    assert bundle.get("pnl_contract_ci_low").is_missing
    assert isinstance(table.pnl, pd.DataFrame)
