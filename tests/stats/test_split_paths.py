"""Combinatorial paths: counts, recombination, and the choice of N and k by brute force."""

from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.splits import (
    CombinatorialConfig,
    PurgedKFoldConfig,
    WalkForwardConfig,
    average_train_sessions,
    combinatorial,
    cpcv_paths,
    label_spans,
    n_cpcv_paths,
    n_cpcv_splits,
    optimal_folds_number,
    path_ids,
    purged_kfold,
    recombined_paths,
    walk_forward_rows,
)
from quant_engine.testing.reference.cases import agree, read_cases
from quant_engine.testing.reference.splits import ADAPTERS

PAIRS = [(n, k) for n in range(2, 9) for k in range(1, n)]


@pytest.mark.parametrize(("n", "k"), PAIRS)
def test_counts_and_paths_against_a_plain_loop(n, k):
    splits = list(combinations(range(n), k))
    seen = dict.fromkeys(range(n), 0)
    ids = []
    paths = {}
    for number, blocks in enumerate(splits):
        ids.append([seen[block] for block in blocks])
        for block in blocks:
            paths[block, seen[block]] = number
            seen[block] += 1
    assert n_cpcv_splits(n, k) == len(splits)
    assert set(seen.values()) == {n_cpcv_paths(n, k)}
    assert n_cpcv_paths(n, k) == k * len(splits) // n
    assert path_ids(n, k).tolist() == ids
    wanted = [[paths[block, path] for path in range(n_cpcv_paths(n, k))] for block in range(n)]
    assert recombined_paths(n, k).tolist() == wanted


def test_every_path_holds_one_refitted_prediction_per_row():
    days = np.arange("2024-01-01", "2024-03-01", dtype="datetime64[D]")
    start = np.repeat(days, 2)
    spans = label_spans(start, start + 2)
    config = CombinatorialConfig(n_folds=5, n_test_folds=2, embargo_sessions=1, holdout_frac=0.1)
    plan = combinatorial(spans, config=config)
    # A model that predicts the number of its own split shows which refit made each value.
    paths = cpcv_paths(plan, [np.full(len(split.test), split.number - 1) for split in plan])
    assert paths.shape == (4, len(spans))
    untested = np.isnan(paths[0])
    assert np.flatnonzero(untested).tolist() == sorted(
        set(plan.holdout.tolist()) | set(np.flatnonzero((plan.roles == 3).all(axis=0)).tolist())
    )
    made_by = recombined_paths(5, 2)
    for block in range(5):
        rows = np.flatnonzero(plan.roles[block] == 4)
        for path in range(4):
            assert set(paths[path, rows]) == {made_by[block, path]}
    for path in paths:
        for row in np.flatnonzero(~untested):
            assert row in plan[int(path[row])].test
            assert row not in plan[int(path[row])].train


def test_a_kfold_plan_has_one_path():
    spans = label_spans(np.arange(9), np.arange(9))
    plan = purged_kfold(spans, config=PurgedKFoldConfig(n_splits=3))
    paths = cpcv_paths(plan, [split.test * 10.0 for split in plan])
    assert paths.tolist() == [(10.0 * np.arange(9)).tolist()]


def test_what_has_no_paths_is_refused():
    spans = label_spans(np.arange(12), np.arange(12))
    plan = combinatorial(spans, config=CombinatorialConfig(n_folds=3, n_test_folds=2))
    with pytest.raises(DataError, match="wanted 3 arrays, one per split, got 2"):
        cpcv_paths(plan, [np.zeros(8)] * 2)
    with pytest.raises(DataError, match=r"predictions of split 2: wanted shape \(8,\)"):
        cpcv_paths(plan, [np.zeros(8), np.zeros(7), np.zeros(8)])
    config = WalkForwardConfig(min_train_sessions=4, test_sessions=4, holdout_frac=0.0)
    forward = walk_forward_rows(spans, config=config)
    with pytest.raises(ConfigError, match="every combination"):
        cpcv_paths(forward, [np.zeros(len(split.test)) for split in forward])
    for n, k in [(3, 3), (3, 0), (1, 1)]:
        with pytest.raises(ConfigError, match="n_test_folds: wanted between 1"):
            n_cpcv_paths(n, k)


@given(
    st.integers(3, 30), st.integers(1, 60), st.integers(1, 40), st.sampled_from([0.25, 1.0, 4.0])
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_search_for_folds_equals_brute_force(n_sessions, paths, train, weight):
    def cost(pair):
        n, k = pair
        by_paths = abs(comb(n - 1, k - 1) - paths) / paths
        by_train = abs(average_train_sessions(n_sessions, n, k) - train) / train
        return (by_paths + weight * by_train, n, k)

    pairs = [(n, k) for n in range(3, n_sessions + 1) for k in range(2, n)]
    assert min(map(cost, pairs))[1:] == optimal_folds_number(
        n_sessions, target_train_sessions=train, target_n_paths=paths, weight_train=weight
    )


def test_the_search_for_folds_is_quick_where_counts_do_not_fit_into_a_float():
    assert comb(1499, 749) > 10**308
    n, k = optimal_folds_number(1500, target_train_sessions=1000, target_n_paths=100)
    assert abs(n_cpcv_paths(n, k) - 100) <= 20
    assert abs(average_train_sessions(1500, n, k) - 1000) < 400


def test_targets_have_to_be_positive():
    with pytest.raises(ConfigError, match="targets and weights: wanted positive numbers"):
        optimal_folds_number(100, target_train_sessions=0, target_n_paths=10)
    with pytest.raises(ConfigError, match="n_sessions: wanted at least 3, got 2"):
        optimal_folds_number(2, target_train_sessions=1, target_n_paths=1)


@pytest.mark.reference
def test_reference_cases_of_splits(shared_reference: Path):
    checked = 0
    for case in read_cases(shared_reference / "dev"):
        fitting = [a for a in ADAPTERS if a.topic == case.topic and case.name.startswith(a.prefix)]
        if not fitting:
            continue
        adapter = max(fitting, key=lambda one: len(one.prefix))
        assert adapter.needs <= set(case.inputs)
        for name, value in case.expected.items():
            got = adapter.gives[name](case.inputs)
            assert agree(got, value, tol_abs=case.tol_abs, tol_rel=case.tol_rel), (case.name, name)
            checked += 1
    assert checked >= 30
