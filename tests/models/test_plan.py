"""Plans are proved before they are used: purge, order, warm-up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quant_engine.core.errors import ConfigError, LookAheadError
from quant_engine.models.plan import FINAL, WARMUP, check_folds, fit_tasks, label_is_over


def _tasks(world, config):
    labelled = (~np.isnan(world.label)).sum(axis=1)
    return fit_tasks(world.folds, config, labels=world.labels, labelled_rows=labelled)


def test_a_walk_forward_plan_passes(world):
    check_folds(world.labels, world.folds)


@pytest.mark.leakage
@pytest.mark.feature("Q-26")
def test_a_single_unpurged_session_is_refused(world):
    fold = world.folds[1]
    assert fold.train[-1] == fold.test[0] - 5
    touching = replace(fold, train=np.append(fold.train, fold.test[0] - 4))
    with pytest.raises(LookAheadError, match=r"train labels of fold 2.*1 that do not"):
        check_folds(world.labels, [world.folds[0], touching])


@pytest.mark.leakage
def test_scored_labels_that_reach_into_the_holdout_are_refused(world):
    folds = list(world.folds)
    folds[-2] = replace(folds[-2], scored=folds[-2].test)
    with pytest.raises(LookAheadError, match="scored labels of fold"):
        check_folds(world.labels, folds)


def test_training_on_the_future_or_on_unlabelled_sessions_is_refused(world):
    fold = world.folds[0]
    for extra in (int(fold.test[-1]) + 30, len(world.label) - 1):
        future = replace(fold, train=np.append(fold.train, extra))
        with pytest.raises(LookAheadError):
            check_folds(world.labels, [future])


def test_blocks_out_of_order_or_off_the_axis_are_refused(world):
    with pytest.raises(ConfigError, match="in time order"):
        check_folds(world.labels, [world.folds[1], world.folds[0]])
    far = replace(world.folds[0], test=world.folds[0].test + 1_000)
    with pytest.raises(ConfigError, match="session axis"):
        check_folds(world.labels, [far])


def test_spans_are_closed_intervals(world):
    sessions = np.array([0, 1, 2, 3, 199])
    np.testing.assert_array_equal(
        label_is_over(world.labels, sessions, 6), [True, True, False, False, False]
    )


@pytest.mark.leakage
def test_the_warm_up_is_purged_inside_the_first_train_window(world, config):
    tasks = {task.name: task for task in _tasks(world, config)}
    assert list(tasks) == [FINAL, *(f"fold {f.number}" for f in world.folds[::-1]), WARMUP]
    warmup, first = tasks[WARMUP], world.folds[0]
    assert set(warmup.test) <= set(first.train)
    assert len(warmup.test) == len(first.train) // 4
    ends = world.labels.span_end[warmup.train]
    assert (ends < world.labels.values.time.values[warmup.test[0]]).all()
    assert warmup.test[0] - warmup.train[-1] == first.test[0] - first.train[-1]
    np.testing.assert_array_equal(tasks[FINAL].train, np.arange(196))
    assert tasks[FINAL].keep
    assert not len(tasks[FINAL].test)


def test_no_warm_up_without_enough_rows(world, config):
    rows_of_warmup = 40 * len(_tasks(world, config)[-1].train)
    for least, expected in ((rows_of_warmup, True), (rows_of_warmup + 1, False)):
        tasks = _tasks(world, config.model_copy(update={"min_train_rows": least}))
        assert (tasks[-1].name == WARMUP) is expected
