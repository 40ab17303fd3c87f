"""Walk-forward runner: out-of-sample rows alone, counted trials, the same bytes everywhere."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kurtosis, skew, spearmanr

from quant_engine.backtest.best_rule import BestRule
from quant_engine.backtest.walk_forward import WalkForwardInputs, walk_forward
from quant_engine.core.errors import (
    ConfigError,
    EmptyDataError,
    LookAheadError,
    SchemaMismatchError,
)
from quant_engine.core.executor import ProcessExecutor
from quant_engine.core.trials import MemoryTrialSink
from quant_engine.stats.deflation import deflated_sharpe
from quant_engine.stats.sharpe_inference import ReturnShape
from quant_engine.stats.splits import (
    PurgedKFoldConfig,
    WalkForwardConfig,
    label_spans,
    purged_kfold,
    walk_forward_rows,
)
from quant_engine.stats.splits.plan import TRAIN

N_RULES = 6


def made_plan(n_rows: int, n_folds: int, horizon: int = 3):
    days = np.arange(n_rows)
    config = WalkForwardConfig.ending_with(n_rows, n_blocks=n_folds, test_sessions=5, gap=horizon)
    return walk_forward_rows(label_spans(days, days + horizon), config=config)


def made_inputs(n_rows: int, n_assets: int = 7, seed: int = 0, **changes):
    rng = np.random.default_rng(seed)
    weights = rng.normal(0.0, 1.0 / n_assets, (N_RULES, n_rows, n_assets))
    outcome = 0.01 * rng.standard_normal((n_rows, n_assets)) + 0.01 * weights[4]
    weights[2, ::9, 1] = np.nan
    outcome[::11, 0] = np.nan
    arrays = {"weights": weights, "outcome": outcome}
    return WalkForwardInputs(arrays, outcome, **changes)


def strategy(n_rules: int = N_RULES) -> BestRule:
    return BestRule([{"number": number} for number in range(n_rules)])


def run(plan, inputs, executor=None):
    sink = MemoryTrialSink()
    result = walk_forward(
        strategy(), plan, inputs=inputs, trials=sink, family="test", executor=executor
    )
    return result, sink


def bytes_of(result) -> bytes:
    parts = [result.score.tobytes(), result.fold_of_row.tobytes(), result.by_row.tobytes()]
    parts += [result.folds[name].to_numpy().tobytes() for name in result.folds]
    figures = np.array([result.out_of_sample, result.in_sample, result.gap])
    return b"".join([*parts, figures.tobytes()])


@pytest.mark.feature("D-28")
def test_every_fold_is_what_a_plain_loop_finds():
    plan, inputs = made_plan(120, 8), made_inputs(120, measure="mean_return")
    result, sink = run(plan, inputs)
    weights, outcome = inputs.arrays["weights"], inputs.outcome
    gaps, seen = [], []
    for split, row in zip(plan, result.folds.itertuples(), strict=True):
        earned = []
        for rule in range(N_RULES):
            total = 0.0
            for t in split.train:
                pairs = zip(weights[rule, t], outcome[t], strict=True)
                total += sum(w * y for w, y in pairs if not np.isnan(w * y))
            earned.append(total / len(split.train))
        best = earned.index(max(earned))
        assert row.chosen == best
        assert row.train_mean == pytest.approx(earned[best])
        assert row.in_sample == pytest.approx(earned[best]), "all train rows are scored in sample"
        outside = [np.nansum(weights[best, t] * outcome[t]) for t in split.test]
        assert row.out_of_sample == pytest.approx(np.mean(outside))
        np.testing.assert_array_equal(result.score[split.test], weights[best, split.test])
        assert (result.fold_of_row[split.test] == split.number).all()
        gaps.append(earned[best] - np.mean(outside))
        seen += outside
    assert result.gap == pytest.approx(np.mean(gaps))
    assert result.out_of_sample == pytest.approx(np.mean(seen))
    np.testing.assert_allclose(result.by_row[result.fold_of_row > 0], seen)
    untested = result.fold_of_row == 0
    assert np.isnan(result.score[untested]).all()
    assert untested.sum() == 120 - 8 * 5
    assert len(sink.trials) == N_RULES
    assert set(result.trial_ids) == set(sink.trials)
    trial = sink.trials[result.trial_ids[0]]
    assert (trial.family, trial.split_id) == ("test", plan.plan_id())
    assert trial.asked_by == "backtest.walk_forward"


def test_rank_correlation_is_the_mean_over_rows_of_scipys():
    plan, inputs = made_plan(80, 4), made_inputs(80)
    result, _ = run(plan, inputs)
    found = []
    for row in np.flatnonzero(result.fold_of_row):
        known = ~np.isnan(result.score[row] * inputs.outcome[row])
        found.append(spearmanr(result.score[row][known], inputs.outcome[row][known]).statistic)
    assert result.out_of_sample == pytest.approx(np.mean(found))


@pytest.mark.leakage
def test_what_comes_after_a_block_changes_nothing_before():
    plan, inputs = made_plan(120, 8), made_inputs(120, measure="mean_return")
    clean, _ = run(plan, inputs)
    for split in plan:
        poisoned = np.array(inputs.outcome)
        poisoned[split.test[0] - 3 :] = 1e6
        other = replace(
            inputs, arrays={**inputs.arrays, "outcome": poisoned}, outcome=inputs.outcome
        )
        dirty, _ = run(plan, other)
        assert dirty.data_id != clean.data_id
        before = np.arange(split.test[-1] + 1)
        np.testing.assert_array_equal(dirty.score[before], clean.score[before])


def test_a_good_rule_is_found_and_a_bad_search_shows_its_gap():
    plan = made_plan(600, 40)
    found, _ = run(plan, made_inputs(600, measure="mean_return"))
    assert (found.folds["chosen"] == 4).all()
    rng = np.random.default_rng(5)
    arrays = {"weights": rng.normal(size=(60, 600, 7)), "outcome": rng.normal(size=(600, 7))}
    noise = WalkForwardInputs(arrays, arrays["outcome"], measure="mean_return")
    sink = MemoryTrialSink()
    lucky = walk_forward(strategy(60), plan, inputs=noise, trials=sink, family="test")
    assert lucky.in_sample > 0.1
    assert abs(lucky.out_of_sample) < 3.0 * np.sqrt(7 / 200)
    assert len(sink.trials) == 60
    assert deflated(found, N_RULES) > 0.95
    assert deflated(lucky, len(lucky.trial_ids)) < 0.5


def deflated(result, n_trials: int) -> float:
    """Probability that the out-of-sample series beats the best of as many useless trials."""
    series = result.by_row[result.fold_of_row > 0]
    ratio = series.mean() / series.std(ddof=1)
    found = deflated_sharpe(
        ratio,
        n_obs=len(series),
        shape=ReturnShape(skew=skew(series), kurtosis_pearson=kurtosis(series, fisher=False)),
        trial_variance_per_period=1.0 / len(series),
        n_trials=n_trials,
    )
    return float(found.probability)


@pytest.mark.slow
@pytest.mark.feature("D-28")
def test_forty_folds_are_the_same_bytes_in_processes():
    plan, inputs = made_plan(400, 40), made_inputs(400)
    assert len(plan) == 40
    assert bytes_of(run(plan, inputs, ProcessExecutor(2))[0]) == bytes_of(run(plan, inputs)[0])


@pytest.mark.slow
@pytest.mark.feature("D-28")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_forty_folds_are_the_same_bytes_on_two_nodes_of_which_one_dies():
    told = subprocess.run([sys.executable, "-c", "import ray"], capture_output=True)
    if told.returncode:
        pytest.skip('Ray is absent: pip install "quant-engine[distributed]"')
    from quant_engine.core.executor_ray import RayExecutor, local_environment
    from quant_engine.core.settings import exported

    plan, inputs, done = made_plan(400, 40), made_inputs(400), []
    node = {"num_cpus": 1, "object_store_memory": 90 * 2**20, "include_dashboard": False}
    with exported(local_environment()):
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args=node)
        try:
            second = cluster.add_node(**node)

            class Listener:
                """Takes the second machine away after the tenth fold."""

                def stage(self, name, total):
                    assert (name, total) == ("walk-forward folds", 40)
                    return self

                def __enter__(self):
                    return self

                def __exit__(self, *told):
                    return None

                def advance(self, steps=1):
                    done.append(steps)
                    if len(done) == 10:
                        cluster.remove_node(second, allow_graceful=False)

            spread = walk_forward(
                strategy(),
                plan,
                inputs=inputs,
                trials=MemoryTrialSink(),
                family="test",
                executor=RayExecutor(1, address=cluster.address),
                progress=Listener(),
            )
        finally:
            cluster.shutdown()
    assert len(done) == 40
    assert bytes_of(spread) == bytes_of(run(plan, inputs)[0])


def test_what_does_not_fit_is_refused():
    plan, inputs = made_plan(120, 8), made_inputs(120)
    days = np.arange(120)
    folds = purged_kfold(label_spans(days, days), config=PurgedKFoldConfig(n_splits=3))
    with pytest.raises(ConfigError, match="plan: wanted a walk-forward plan"):
        run(folds, inputs)
    with pytest.raises(SchemaMismatchError, match="outcome"):
        run(plan, made_inputs(119))
    leaking = replace(plan, roles=np.array(plan.roles))
    leaking.roles[3, plan[3].test[0] - 1] = TRAIN
    with pytest.raises(LookAheadError, match="train labels of fold 4"):
        run(leaking, inputs)
    with pytest.raises(EmptyDataError, match="weights: wanted one matrix for each of the 5 rules"):
        walk_forward(strategy(5), plan, inputs=inputs, trials=MemoryTrialSink(), family="test")


class Narrow(BestRule):
    def fit(self, shared, task):
        return replace_score(super().fit(shared, task))


def replace_score(fitted):
    class Cut:
        rows = fitted.rows

        def score(self, shared, rows):
            return fitted.score(shared, rows)[:, :2]

        def report(self, shared, task):
            return {}

    return Cut()


def test_scores_of_another_shape_are_refused():
    plan, inputs = made_plan(120, 8), made_inputs(120, n_in_sample=0)
    with pytest.raises(SchemaMismatchError, match=r"scores of fold 1: wanted shape \(5, 7\)"):
        walk_forward(
            Narrow(strategy().rules), plan, inputs=inputs, trials=MemoryTrialSink(), family="test"
        )
