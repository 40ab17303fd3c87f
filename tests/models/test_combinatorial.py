"""Combinatorial refits: purged, refitted, and the fit that a single task would give."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.core.errors import InsufficientHistoryError, SchemaMismatchError
from quant_engine.models.combinatorial import combinatorial_plan, refit_splits
from quant_engine.models.fitting import EnsembleStrategy
from quant_engine.models.inputs import Target
from quant_engine.models.training_rows import training_rows
from quant_engine.stats.cross_section import average_ranks
from quant_engine.stats.fold_runs import FoldTask
from quant_engine.stats.ic import ic_by_date
from quant_engine.stats.splits import CombinatorialConfig

BLOCKS = CombinatorialConfig(n_folds=4, n_test_folds=2, embargo_sessions=3)


@pytest.fixture(scope="module")
def planned(world):
    usable = np.arange(len(world.labels.values.time)) >= 10
    return combinatorial_plan(world.labels, usable=usable, config=BLOCKS)


@pytest.fixture(scope="module")
def frames(world, config, target, planned):
    plan, sessions = planned
    splits = [(f"split {s.number}", sessions[s.train], sessions[s.test]) for s in plan]
    return refit_splits(
        world.features, world.labels, target=Target.of(target), splits=splits, config=config
    )


@pytest.mark.leakage
def test_no_train_label_touches_a_tested_session(world, planned):
    plan, sessions = planned
    days = world.labels.values.time.values
    for split in plan:
        for rows in split.test_blocks:
            first, last = days[sessions[rows[0]]], world.labels.span_end[sessions[rows[-1]]]
            train = sessions[split.train]
            before = world.labels.span_end[train] < first
            behind = days[train] > last
            assert (before | behind).all()
    assert sessions[0] == 10
    assert not np.isnat(world.labels.span_end[sessions]).any()


def test_every_split_is_a_fit_of_its_own(world, config, target, planned, frames):
    plan, sessions = planned
    made = training_rows(world.features, world.labels, target=Target.of(target), config=config)
    split = plan[2]
    tested = sessions[split.test]
    alone = EnsembleStrategy(config).fit(made.shared, FoldTask("x", sessions[split.train], tested))
    row = made.rows.of_sessions(sessions[split.test])
    first = made.rows.session[row] == made.rows.session[row][0]
    ranks = [average_ranks(member[first][None])[0] for member in alone.score(made.shared, tested)]
    expected = average_ranks(np.mean(ranks, axis=0))[0][0]
    frame = frames[2]
    found = frame[frame["date"] == frame["date"].iloc[0]]["score"].to_numpy()
    np.testing.assert_array_equal(np.argsort(found), np.argsort(expected))
    assert len(frames) == 6
    assert frame["date"].nunique() == len(split.test)


def test_a_planted_signal_is_found_on_every_split(world, target, frames):
    label, axis = world.label, world.labels.values.time.values
    for frame in frames:
        score = np.full(label.shape, np.nan)
        rows = np.searchsorted(axis, frame["date"].to_numpy().astype("datetime64[D]"))
        columns = [world.labels.values.asset_ids.index(name) for name in frame["asset_id"]]
        score[rows, columns] = frame["score"]
        assert np.nanmean(ic_by_date(score, label, method="rank", min_assets=5)) > 0.15


def test_what_cannot_be_cut_or_matched_is_refused(world, config, target, make_world):
    nothing = np.zeros(len(world.labels.values.time), dtype=bool)
    with pytest.raises(InsufficientHistoryError, match="one per block"):
        combinatorial_plan(world.labels, usable=nothing, config=BLOCKS)
    other = make_world(1, shape=(150, 40, 5)).labels
    with pytest.raises(SchemaMismatchError, match="axes of the features"):
        training_rows(world.features, other, target=Target.of(target), config=config)
