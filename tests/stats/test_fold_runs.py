"""Fold runs: order, in-sample rows, and what a strategy is asked."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.core.errors import InsufficientHistoryError
from quant_engine.stats.fold_runs import FoldTask, evenly, run_folds


class Line:
    def __init__(self, rows, slope):
        self.rows, self.slope = rows, slope

    def score(self, shared, rows):
        return self.slope * shared["x"][rows]

    def report(self, shared, task):
        return self.slope if task.keep else None


class LineStrategy:
    def fit(self, shared, task):
        known = task.train[~np.isnan(shared["y"][task.train])]
        if not len(known):
            raise InsufficientHistoryError(task.name, wanted="rows", got=0, hint="More.")
        x, y = shared["x"][known], shared["y"][known]
        return Line(known, (x @ y) / (x @ x))


@pytest.fixture(scope="module")
def shared():
    rng = np.random.default_rng(3)
    x = rng.normal(size=60)
    y = 2.0 * x + rng.normal(size=60)
    y[[2, 5]] = np.nan
    return {"x": x, "y": y}


def test_every_fold_is_the_fit_of_its_own_rows(shared):
    tasks = [
        FoldTask("b", np.arange(40), np.arange(45, 60), 5, keep=True),
        FoldTask("a", np.arange(20), np.arange(25, 40), 1000),
        FoldTask("final", np.arange(60), np.arange(0), 10),
    ]
    done = []
    runs = run_folds(LineStrategy(), tasks, shared=shared, on_done=lambda: done.append(1))
    assert len(done) == 3
    for task, run in zip(tasks, runs, strict=True):
        known = [row for row in task.train if row not in (2, 5)]
        wanted = np.linalg.lstsq(shared["x"][known, None], shared["y"][known])[0][0]
        np.testing.assert_allclose(run.test_score, wanted * shared["x"][task.test])
        np.testing.assert_allclose(run.in_sample_score, wanted * shared["x"][run.in_sample_rows])
    assert runs[0].in_sample_rows[0] == 0
    assert runs[0].in_sample_rows[-1] == 39
    assert len(runs[0].in_sample_rows) == 5
    assert runs[1].in_sample_rows.tolist() == [r for r in range(20) if r not in (2, 5)]
    assert not len(runs[2].in_sample_rows), "nothing out of sample to compare with"
    assert runs[0].report is not None
    assert runs[1].report is None


def test_an_error_of_a_fold_is_the_error_of_the_run(shared):
    with pytest.raises(InsufficientHistoryError, match="fold 1"):
        run_folds(LineStrategy(), [FoldTask("fold 1", np.array([2]), np.array([9]))], shared=shared)
    assert run_folds(LineStrategy(), [], shared=shared) == []


def test_evenly_keeps_both_ends():
    values = np.arange(7, 107)
    assert evenly(values, 100) is values
    assert evenly(values, 2).tolist() == [7, 106]
    assert evenly(values, 0).tolist() == []
    assert (np.diff(evenly(values, 33)) >= 3).all()
