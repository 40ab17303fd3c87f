"""The shipped code under the audit: no feature, label, split, regime, input or fill leaks."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from quant_engine.backtest.config import BacktestConfig
from quant_engine.cli.audit import subject_of
from quant_engine.core.causality import Causality
from quant_engine.core.errors import ConfigError
from quant_engine.core.specs import SpecCatalog
from quant_engine.features.expressions.errors import ExpressionError
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.factors import FACTORS
from quant_engine.features.labels import LabelConfig
from quant_engine.features.sets import FeatureSet
from quant_engine.stats.splits import (
    CombinatorialConfig,
    PurgedKFoldConfig,
    WalkForwardConfig,
    combinatorial,
    label_spans,
    purged_kfold,
    walk_forward,
)
from quant_engine.testing.audit import audit
from quant_engine.testing.fills import audit_fill_prices, audit_fill_times
from quant_engine.testing.joins import Join, audit_join
from quant_engine.testing.purge import audit_splits
from quant_engine.testing.redraws import Facts
from quant_engine.testing.results import Audit, Verdict, audit_table
from quant_engine.workflows.audit import audit_world, feature_parts, longest_lookback
from quant_engine.workflows.audit_factors import factor_part
from quant_engine.workflows.audit_pipeline import (
    PIPELINE_SET,
    fill_parts,
    join_part,
    label_parts,
    model_parts,
    regime_part,
    split_parts,
)
from quant_engine.workflows.context import Workspace
from quant_engine.workflows.inputs import read_feature_set

pytestmark = [
    pytest.mark.leakage,
    pytest.mark.feature("Q-21", "Q-47"),
    pytest.mark.feature("Q-21"),
    pytest.mark.feature("Q-47"),
]

CATALOG = SpecCatalog.default()
OWN = {name: CATALOG.load("features", name, FeatureSet) for name in CATALOG.names("features")}
SETS = [name for name, own in OWN.items() if own.features]
"""Sets with features of their own; what a set includes stands among them."""
BATTERY = (1, 2)
"""Other worlds than the default suite's; `qe audit features --seeds 20` runs the whole battery."""
HEAVY = ("structural", "research")
"""Sets whose kernels take long: audited on fewer assets. Others need thirty: ranks tie in fewer."""


@pytest.fixture(scope="module")
def workspace() -> Workspace:
    return Workspace.open()


@pytest.fixture(scope="module")
def market(workspace):
    lookback = longest_lookback(workspace, ())
    return audit_world(lookback, seed=0, n_assets=30, n_later_rows=120)


@pytest.fixture(scope="module")
def world(workspace):
    return audit_world(longest_lookback(workspace, [PIPELINE_SET]), seed=0, n_assets=30)


def demand_clean(result: Audit) -> None:
    """No leak, nothing unseen, and research-only fields alarm as they declare."""
    assert result.exit_code == 0, audit_table([result])
    assert not result.of(Verdict.OVER_DECLARED), audit_table([result])


@pytest.mark.parametrize("name", SETS)
def test_no_shipped_feature_leaks(workspace, market, name):
    panel = market.panel.columns(np.arange(12)) if name in HEAVY else market.panel
    (part,) = feature_parts(workspace, panel, names=[name])
    result = audit(subject_of(part), seed=0)
    demand_clean(result)
    assert {row.field for row in result.rows} == set(part.causality)


def test_every_shipped_feature_stands_in_an_audited_set(workspace):
    audited = {
        (spec.name, spec.expression)
        for name in SETS
        for spec in read_feature_set(workspace, name).features
    }
    for name in OWN:
        features = read_feature_set(workspace, name).features
        assert {(spec.name, spec.expression) for spec in features} <= audited, name


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_no_false_alarm_in_the_battery(workspace, name):
    for seed in BATTERY:
        world = audit_world(longest_lookback(workspace, [name]), seed=seed)
        (part,) = feature_parts(workspace, world.panel, names=[name])
        demand_clean(audit(subject_of(part), seed=seed))


@pytest.mark.slow
def test_no_registered_factor_leaks(world):
    part = factor_part(world)
    for seed in (1, 2):
        result = audit(subject_of(part), seed=seed)
        demand_clean(result)
        assert {row.field for row in result.rows} == set(FACTORS.names())


def test_labels_depend_on_their_span_and_nothing_behind_it(workspace, world):
    for part in label_parts(workspace, world):
        demand_clean(audit(subject_of(part), seed=1))


def test_a_label_that_is_called_known_too_early_is_caught(workspace, world):
    part = label_parts(workspace, world)[0]
    subject = subject_of(part)
    early = {"known": lambda panel: subject.known(panel) - np.timedelta64(5, "D")}
    result = audit(type(subject)(**{**vars(subject), **early}), seed=1)
    assert result.of(Verdict.LEAKS)


def test_shipped_splits_are_purged(world):
    for part in split_parts(world):
        rows = audit_splits(part.start, part.end, part.splits)
        assert len(rows) >= 3
        assert {row.verdict for row in rows} == {Verdict.CLEAN}, part.name


def test_splits_of_other_shapes_are_purged():
    """Events: several rows a day, spans of every length."""
    rng = np.random.default_rng(3)
    day = np.sort(rng.integers(0, 400, 900))
    start = np.datetime64("2020-01-01") + day
    end = start + rng.integers(0, 40, 900)
    spans = label_spans(start, end)
    plans = [
        purged_kfold(spans, config=PurgedKFoldConfig(n_splits=6)),
        combinatorial(spans, config=CombinatorialConfig(n_folds=5, n_test_folds=2)),
    ]
    for plan in plans:
        splits = [(split.train, split.test) for split in plan]
        assert {row.verdict for row in audit_splits(start, end, splits)} == {Verdict.CLEAN}
    days = np.datetime64("2020-01-01") + np.arange(300)
    ends = days + 12
    config = WalkForwardConfig(min_train_sessions=60, test_sessions=30)
    folds = [(fold.train, fold.test) for fold in walk_forward(days, days, ends, config=config)]
    assert {row.verdict for row in audit_splits(days, ends, folds)} == {Verdict.CLEAN}


def test_regimes_are_filtered_only(world):
    demand_clean(audit(subject_of(regime_part(world)), seed=2))


def test_the_book_and_its_fills_come_after_the_decision(workspace, world):
    book, times, prices = fill_parts(workspace, world)
    demand_clean(audit(subject_of(book), seed=3))
    assert audit_fill_times(times.decided, times.filled).verdict is Verdict.CLEAN
    assert audit_fill_prices(prices.prices, prices.panel, seed=3).verdict is Verdict.CLEAN


def test_filings_are_joined_as_they_were_known(world):
    part = join_part(world)
    join = Join(part.attach, part.decisions, Facts(part.facts))
    rows = audit_join(join, seed=4)
    assert {row.verdict for row in rows} == {Verdict.CLEAN}
    assert "join.value" in {row.field for row in rows}


def test_the_model_matrix_and_the_targets_do_not_leak(workspace, world):
    for part in model_parts(workspace, world)[:3]:
        demand_clean(audit(subject_of(part), seed=5))


@pytest.mark.slow
def test_predictions_do_not_depend_on_what_is_trained_later(workspace, world):
    (part,) = [p for p in model_parts(workspace, world) if p.name == "predictions"]
    for seed in (6, 7):
        demand_clean(audit(subject_of(part), seed=seed))


class TestWhatCannotBeWritten:
    """Leaks that the public interfaces refuse."""

    def test_a_formula_cannot_read_ahead(self):
        with pytest.raises(ExpressionError, match="a look into the future"):
            compile_expressions({"ahead": "Ref($close, -1)/$close"})

    def test_a_formula_that_may_read_ahead_is_research_only(self):
        program = compile_expressions({"ahead": "Ref($close, -1)/$close"}, allow_future=True)
        assert program.causality is Causality.RESEARCH_ONLY

    def test_a_label_cannot_enter_on_its_own_session(self):
        with pytest.raises((ValidationError, ConfigError)):
            LabelConfig(entry_lag=0)

    def test_a_backtest_has_no_fill_but_the_next_open(self):
        with pytest.raises((ValidationError, ConfigError)):
            BacktestConfig(fill="close")
