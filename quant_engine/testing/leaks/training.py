"""Planted leaks in training: splits that touch, and choices made on the answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.panel import Panel
from quant_engine.testing.leaks.arenas import Arena, FillArena, ProcessArena, SplitArena
from quant_engine.testing.leaks.registry import PlantedLeak, add_leak
from quant_engine.testing.purge import SplitRows

_Rows = npt.NDArray[np.int64]
_Matrix = npt.NDArray[Any]
_N_FOLDS = 4
_N_KEPT = 5
_PENALTIES = (0.1, 3.0, 30.0, 300.0, 3000.0)
_STEP_SIZE, _MAX_STEPS = 0.02, 60


def _blocks(start: _Matrix, end: _Matrix, *, purged: bool) -> list[SplitRows]:
    found = []
    for days in np.array_split(np.unique(start), _N_FOLDS):
        tested = (start >= days[0]) & (start <= days[-1])
        reach = end[tested].max()
        clear = (end < days[0]) | (start > reach) if purged else ~tested
        found.append((np.flatnonzero(clear & ~tested), np.flatnonzero(tested)))
    return found


def _unpurged(start: _Matrix, end: _Matrix) -> list[SplitRows]:
    return _blocks(start, end, purged=False)


def _purged(start: _Matrix, end: _Matrix) -> list[SplitRows]:
    return _blocks(start, end, purged=True)


def _shuffled(start: _Matrix, end: _Matrix) -> list[SplitRows]:
    del end
    order = np.random.default_rng(0).permutation(len(start))
    folds = np.array_split(order, _N_FOLDS)
    return [(np.setdiff1d(order, fold), np.sort(fold)) for fold in folds]


def _ridge(x: FloatMatrix, y: FloatVector, penalty: float) -> FloatVector:
    gram = x.T @ x + penalty * np.eye(x.shape[1])
    return np.linalg.solve(gram, x.T @ y)


def _correlation(x: FloatMatrix, y: FloatVector) -> FloatVector:
    return (x - x.mean(axis=0)).T @ (y - y.mean()) / (x.std(axis=0) * y.std() * len(y))


def _on_selected(x: FloatMatrix, y: FloatVector, train: _Rows, test: _Rows, seen: _Rows) -> Any:
    chosen = np.argsort(-np.abs(_correlation(x[seen], y[seen])))[:_N_KEPT]
    return x[test][:, chosen] @ _ridge(x[train][:, chosen], y[train], 1.0)


def _selected_on_all(x: FloatMatrix, y: FloatVector, train: _Rows, test: _Rows) -> FloatVector:
    return np.asarray(_on_selected(x, y, train, test, np.concatenate([train, test])))


def _selected_on_train(x: FloatMatrix, y: FloatVector, train: _Rows, test: _Rows) -> FloatVector:
    return np.asarray(_on_selected(x, y, train, test, train))


def _tuned(x: FloatMatrix, y: FloatVector, train: _Rows, test: _Rows, judge: _Rows) -> Any:
    fit = np.setdiff1d(train, judge)
    scores = [_correlation((x[judge] @ _ridge(x[fit], y[fit], p))[:, None], y[judge])[0]
              for p in _PENALTIES]  # fmt: skip
    return x[test] @ _ridge(x[train], y[train], _PENALTIES[int(np.argmax(scores))])


def _tuned_on_test(x: FloatMatrix, y: FloatVector, train: _Rows, test: _Rows) -> FloatVector:
    return np.asarray(_tuned(x, y, train, test, test))


def _tuned_inside(x: FloatMatrix, y: FloatVector, train: _Rows, test: _Rows) -> FloatVector:
    return np.asarray(_tuned(x, y, train, test, train[-len(train) // 4 :]))


def _stopped(x: FloatMatrix, y: FloatVector, train: _Rows, test: _Rows, judge: _Rows) -> Any:
    fit = np.setdiff1d(train, judge)
    beta = np.zeros(x.shape[1])
    best, kept = np.inf, beta
    for _ in range(_MAX_STEPS):
        beta = beta + _STEP_SIZE * x[fit].T @ (y[fit] - x[fit] @ beta) / len(fit)
        loss = float(np.mean((y[judge] - x[judge] @ beta) ** 2))
        if loss < best:
            best, kept = loss, beta
    return x[test] @ kept


def _stopped_on_test(x: FloatMatrix, y: FloatVector, train: _Rows, test: _Rows) -> FloatVector:
    return np.asarray(_stopped(x, y, train, test, test))


def _stopped_inside(x: FloatMatrix, y: FloatVector, train: _Rows, test: _Rows) -> FloatVector:
    return np.asarray(_stopped(x, y, train, test, train[-len(train) // 4 :]))


def _encoded(x: FloatMatrix, y: FloatVector, train: _Rows, test: _Rows, seen: _Rows) -> Any:
    # The last feature, cut into twenty classes, stands for a category.
    category = np.floor(20 * np.argsort(np.argsort(x[:, -1])) / len(x)).astype(np.int64)
    total = np.bincount(category[seen], y[seen], minlength=20)
    code = total / np.maximum(np.bincount(category[seen], minlength=20), 1)
    wide = np.column_stack([x[:, :2], code[category]])
    return wide[test] @ _ridge(wide[train], y[train], 1.0)


def _encoded_on_all(x: FloatMatrix, y: FloatVector, train: _Rows, test: _Rows) -> FloatVector:
    return np.asarray(_encoded(x, y, train, test, np.concatenate([train, test])))


def _encoded_on_train(x: FloatMatrix, y: FloatVector, train: _Rows, test: _Rows) -> FloatVector:
    return np.asarray(_encoded(x, y, train, test, train))


def _taught(x: FloatMatrix, y: FloatVector, train: _Rows, test: _Rows, seen: _Rows) -> Any:
    # The student learns the teacher's fitted values from the first ten features.
    taught = x[train] @ _ridge(x[seen], y[seen], 1.0)
    return x[test][:, :10] @ _ridge(x[train][:, :10], taught, 1.0)


def _taught_in_sample(x: FloatMatrix, y: FloatVector, train: _Rows, test: _Rows) -> FloatVector:
    return np.asarray(_taught(x, y, train, test, np.concatenate([train, test])))


def _taught_by_the_past(x: FloatMatrix, y: FloatVector, train: _Rows, test: _Rows) -> FloatVector:
    return np.asarray(_taught(x, y, train, test, train))


def _without_extremes(x: FloatMatrix, y: FloatVector, train: _Rows, test: _Rows) -> FloatVector:
    predicted = x[test] @ _ridge(x[train], y[train], 1.0)
    low, high = np.quantile(y[test], [0.025, 0.975])
    return np.where((y[test] >= low) & (y[test] <= high), predicted, np.nan)


def _with_every_row(x: FloatMatrix, y: FloatVector, train: _Rows, test: _Rows) -> FloatVector:
    low, high = np.quantile(y[train], [0.025, 0.975])
    kept = train[(y[train] >= low) & (y[train] <= high)]
    return np.asarray(x[test] @ _ridge(x[kept], y[kept], 1.0))


def _filled_at_the_close(panel: Panel) -> FloatMatrix:
    return panel.field("close")


def _filled_at_the_next_open(panel: Panel) -> FloatMatrix:
    prices = np.full(panel.shape, np.nan)
    prices[:-1] = panel.field("open")[1:]
    return prices


_ALL: tuple[tuple[str, str, str, Callable[..., Any], Callable[..., Any], Arena], ...] = (
    (
        "same-bar-fill",
        "fill",
        "a decision after the close fills at that close",
        _filled_at_the_close,
        _filled_at_the_next_open,
        FillArena(),
    ),
    (
        "target-encoding",
        "training",
        "categories replaced by mean labels of all rows",
        _encoded_on_all,
        _encoded_on_train,
        ProcessArena(),
    ),
    (
        "drop-by-extreme-label",
        "training",
        "test rows with extreme labels dropped",
        _without_extremes,
        _with_every_row,
        ProcessArena(),
    ),
    (
        "unpurged-folds",
        "training",
        "blocks without a gap for the labels",
        _unpurged,
        _purged,
        SplitArena(),
    ),
    (
        "shuffled-folds",
        "training",
        "rows dealt to folds at random",
        _shuffled,
        _purged,
        SplitArena(),
    ),
    (
        "selection-on-all",
        "training",
        "features chosen by their correlation in all rows",
        _selected_on_all,
        _selected_on_train,
        ProcessArena(n_features=120),
    ),
    (
        "tuning-on-test",
        "training",
        "the penalty that is best in the test rows",
        _tuned_on_test,
        _tuned_inside,
        ProcessArena(),
    ),
    (
        "early-stopping-on-test",
        "training",
        "stopped where the test loss is least",
        _stopped_on_test,
        _stopped_inside,
        ProcessArena(),
    ),
    (
        "teacher-in-sample",
        "training",
        "a student of a teacher that saw the test labels",
        _taught_in_sample,
        _taught_by_the_past,
        ProcessArena(),
    ),
)

for _name, _part, _summary, _leak, _clean, _arena in _ALL:
    add_leak(PlantedLeak(_name, _part, _summary, leak=_leak, clean=_clean, arena=_arena))
