"""Paths of combinatorial cross-validation: counts, recombination, and the choice of N and k.

Every block is tested in ``C(N - 1, k - 1)`` splits. Taking for each block its p-th test gives path
p: one out-of-sample prediction per row, each from a model that was refitted without that row.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.splits.plan import SplitPlan
from quant_engine.stats.splits.spans import IndexArray

__all__ = [
    "average_train_sessions",
    "cpcv_paths",
    "n_cpcv_paths",
    "n_cpcv_splits",
    "optimal_folds_number",
    "path_ids",
    "recombined_paths",
    "tested_blocks",
]


def n_cpcv_splits(n_folds: int, n_test_folds: int) -> int:
    """Count the splits of a combinatorial plan.

    Parameters
    ----------
    n_folds : int
        Blocks N.
    n_test_folds : int
        Tested blocks k.

    Returns
    -------
    int
        ``C(N, k)``.

    Raises
    ------
    ConfigError
        Not 1 <= k < N.

    Examples
    --------
    >>> n_cpcv_splits(6, 2)
    15
    """
    _check(n_folds, n_test_folds)
    return comb(n_folds, n_test_folds)


def n_cpcv_paths(n_folds: int, n_test_folds: int) -> int:
    """Count the recombined paths of a combinatorial plan.

    Parameters
    ----------
    n_folds : int
        Blocks N.
    n_test_folds : int
        Tested blocks k.

    Returns
    -------
    int
        ``k / N * C(N, k) = C(N - 1, k - 1)``.

    Raises
    ------
    ConfigError
        Not 1 <= k < N.

    Examples
    --------
    >>> n_cpcv_paths(6, 2)
    5
    """
    _check(n_folds, n_test_folds)
    return comb(n_folds - 1, n_test_folds - 1)


def average_train_sessions(n_sessions: int, n_folds: int, n_test_folds: int) -> float:
    """Average sessions that train in a split, before the purge.

    Parameters
    ----------
    n_sessions : int
        Sessions of the plan.
    n_folds, n_test_folds : int
        Blocks N and tested blocks k.

    Returns
    -------
    float
        ``n_sessions / N * (N - k)``.

    Raises
    ------
    ConfigError
        Not 1 <= k < N.

    Examples
    --------
    >>> average_train_sessions(12, 6, 2)
    8.0
    """
    _check(n_folds, n_test_folds)
    return n_sessions / n_folds * (n_folds - n_test_folds)


def tested_blocks(n_folds: int, n_test_folds: int) -> IndexArray:
    """List the blocks that each split of a combinatorial plan tests.

    Parameters
    ----------
    n_folds, n_test_folds : int
        Blocks N and tested blocks k.

    Returns
    -------
    ndarray of int64, shape (C(N, k), k)
        Lexicographic order.

    Raises
    ------
    ConfigError
        Not 1 <= k < N.

    Examples
    --------
    >>> tested_blocks(3, 2).tolist()
    [[0, 1], [0, 2], [1, 2]]
    """
    _check(n_folds, n_test_folds)
    return np.array(list(combinations(range(n_folds), n_test_folds)), dtype=np.int64)


def recombined_paths(n_folds: int, n_test_folds: int) -> IndexArray:
    """Split that predicts each block on each path.

    Parameters
    ----------
    n_folds, n_test_folds : int
        Blocks N and tested blocks k.

    Returns
    -------
    ndarray of int64, shape (N, n_paths)
        Entry (b, p): position of the split whose model predicts block b on path p, which is the
        p-th split that tests block b.

    Raises
    ------
    ConfigError
        Not 1 <= k < N.

    Examples
    --------
    >>> recombined_paths(3, 2)
    array([[0, 1],
           [0, 2],
           [1, 2]])
    """
    tested = tested_blocks(n_folds, n_test_folds)
    # Row-major order lists the splits of a block in time order of the splits.
    return np.array(
        [np.flatnonzero((tested == block).any(axis=1)) for block in range(n_folds)], dtype=np.int64
    )


def path_ids(n_folds: int, n_test_folds: int) -> IndexArray:
    """Path to which each tested block of each split belongs.

    Parameters
    ----------
    n_folds, n_test_folds : int
        Blocks N and tested blocks k.

    Returns
    -------
    ndarray of int64, shape (n_splits, k)
        Entry (s, j): path of the j-th tested block of split s.

    Raises
    ------
    ConfigError
        Not 1 <= k < N.

    Examples
    --------
    >>> path_ids(3, 2)
    array([[0, 0],
           [1, 0],
           [1, 1]])
    """
    tested = tested_blocks(n_folds, n_test_folds)
    is_tested = np.zeros((len(tested), n_folds), dtype=np.int64)
    np.put_along_axis(is_tested, tested, 1, axis=1)
    return np.take_along_axis(np.cumsum(is_tested, axis=0) - 1, tested, axis=1)


def cpcv_paths(
    plan: SplitPlan, predictions_per_split: Sequence[npt.ArrayLike]
) -> npt.NDArray[np.float64]:
    """Recombine out-of-sample predictions of refitted models into paths.

    Parameters
    ----------
    plan : SplitPlan
        A combinatorial or k-fold plan.
    predictions_per_split : sequence of array-like, shape (n_test,)
        Per split, the predictions (or returns) of its own refit for ``split.test``, in that order.

    Returns
    -------
    ndarray of float64, shape (n_paths, R)
        One value per row and path; NaN in rows that no split tests (the holdout).

    Raises
    ------
    ConfigError
        A plan that does not test every combination.
    DataError
        Another number of predictions than the plan has splits or test rows.

    Examples
    --------
    >>> from quant_engine.stats.splits import CombinatorialConfig, combinatorial, label_spans
    >>> spans = label_spans(np.arange(3), np.arange(3))
    >>> plan = combinatorial(spans, config=CombinatorialConfig(n_folds=3, n_test_folds=2))
    >>> cpcv_paths(plan, [[10, 11], [20, 22], [31, 32]])
    array([[10., 11., 22.],
           [20., 31., 32.]])
    """
    n_folds, n_test_folds = plan.n_folds, plan.n_test_folds
    if plan.kind not in ("combinatorial", "purged_kfold"):
        raise ConfigError(
            "plan",
            wanted="a plan of combinatorial() or purged_kfold()",
            got=plan.kind,
            hint="Only a plan that tests every combination of its blocks has paths.",
        )
    if len(predictions_per_split) != len(plan):
        raise DataError(
            "predictions_per_split",
            wanted=f"{len(plan)} arrays, one per split",
            got=len(predictions_per_split),
            hint="Refit and predict once per split, in the plan's order.",
        )
    paths = np.full((n_cpcv_paths(n_folds, n_test_folds), len(plan.spans)), np.nan)
    ids = path_ids(n_folds, n_test_folds)
    for index, (split, values) in enumerate(zip(plan, predictions_per_split, strict=True)):
        wide = np.full(len(plan.spans), np.nan)
        wide[split.test] = _predictions(split.number, values, len(split.test))
        for path, rows in zip(ids[index], split.test_blocks, strict=True):
            paths[path, rows] = wide[rows]
    return paths


def optimal_folds_number(
    n_sessions: int,
    *,
    target_train_sessions: float,
    target_n_paths: int,
    weight_train: float = 1.0,
    weight_paths: float = 1.0,
) -> tuple[int, int]:
    """Find the N and k whose train length and number of paths are nearest to two targets.

    Parameters
    ----------
    n_sessions : int
        Sessions of the plan, at least 3.
    target_train_sessions : float
        Wanted average train length in sessions.
    target_n_paths : int
        Wanted number of paths.
    weight_train, weight_paths : float
        Weights of the two relative distances.

    Returns
    -------
    n_folds, n_test_folds : int
        With 3 <= N <= n_sessions and 2 <= k < N; of equally good pairs the smallest N, then k.

    Raises
    ------
    ConfigError
        Fewer than three sessions, or a target or weight that is not positive.

    Notes
    -----
    Minimises ``w_p |paths - target| / target + w_t |train - target| / target``, as skfolio does.
    The search visits every pair that can still win: for fixed N the number of paths rises and
    falls with k, so a pair whose paths alone cost more than the best pair ends its side.

    Examples
    --------
    >>> optimal_folds_number(100, target_train_sessions=10, target_n_paths=20)
    (21, 20)
    """
    _check_targets(n_sessions, target_train_sessions, target_n_paths, weight_train, weight_paths)
    best = (float("inf"), 0, 0)
    for n_folds in range(3, n_sessions + 1):
        for side in (range(2, n_folds), range(n_folds - 1, 1, -1)):
            for n_test_folds in side:
                paths = comb(n_folds - 1, n_test_folds - 1)
                # Compared as whole numbers first: huge ones do not fit into a float.
                too_many = paths > target_n_paths * (2.0 + min(best[0], 1e9) / weight_paths)
                if too_many:
                    break
                train = average_train_sessions(n_sessions, n_folds, n_test_folds)
                cost = (
                    weight_paths * abs(paths - target_n_paths) / target_n_paths
                    + weight_train * abs(train - target_train_sessions) / target_train_sessions
                )
                best = min(best, (cost, n_folds, n_test_folds))
    return best[1], best[2]


def _predictions(number: int, values: npt.ArrayLike, wanted: int) -> FloatVector:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (wanted,):
        raise DataError(
            f"predictions of split {number}",
            wanted=f"shape ({wanted},), one value per row of split.test",
            got=array.shape,
            hint="Predict exactly the rows split.test, in that order.",
        )
    return array


def _check(n_folds: int, n_test_folds: int) -> None:
    if not 1 <= n_test_folds < n_folds:
        raise ConfigError(
            "n_test_folds",
            wanted=f"between 1 and n_folds - 1 = {n_folds - 1}",
            got=n_test_folds,
            hint="At least one block has to train.",
        )


def _check_targets(n_sessions: int, *values: float) -> None:
    if n_sessions < 3:
        raise ConfigError(
            "n_sessions", wanted="at least 3", got=n_sessions, hint="Load a longer history."
        )
    if not all(value > 0.0 for value in values):
        raise ConfigError(
            "targets and weights",
            wanted="positive numbers",
            got=values,
            hint="A relative distance needs a positive target.",
        )
