"""Boosted trees on what the recalibrated market gets wrong, kept as plain numbers.

Trees are grown by scikit-learn's HistGradientBoostingRegressor with one thread and a seed, on the
error of its log odds. They never fall with the market's logit: the recalibrated log odds do not
fall either, so the sum never turns the market's order round. What is stored and used afterwards is
the list of nodes, not the estimator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import DataError, SchemaMismatchError

__all__ = ["BoostedTrees", "BoostingConfig", "fit_boosted_trees"]

SCHEMA = "qe.kalshi_boosted_trees/1"


class BoostingConfig(FrozenConfig):
    """Settings of the boosted trees; few, shallow and slow, for little signal.

    Parameters
    ----------
    n_trees, max_depth, min_leaf : int
        Trees, their depth, cells that a leaf must hold.
    n_bins : int
        Bins of a column; few, because weighted quantiles are most of the work.
    learning_rate, l2 : float
        Step, and shrinkage of leaf values.
    seed : int
        Of the estimator.
    """

    n_trees: int = 60
    max_depth: int = 2
    min_leaf: int = 100
    n_bins: int = 32
    learning_rate: float = 0.05
    l2: float = 20.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class BoostedTrees:
    """Trees as numbers.

    Parameters
    ----------
    baseline : float
        Value before any tree.
    trees : tuple of dict
        Per tree the lists ``value, feature, threshold, left, right, is_leaf, missing_left``.
    n_features : int
        Columns of what the trees read.
    """

    baseline: float
    trees: tuple[dict[str, npt.NDArray[Any]], ...]
    n_features: int

    def predict(self, x: npt.ArrayLike) -> FloatVector:
        """Sum of the trees, shape (n,).

        Parameters
        ----------
        x : array-like, shape (n, n_features)
            NaN goes where the tree sends what is missing.

        Returns
        -------
        ndarray of float64
            In the unit of the target.
        """
        rows = np.asarray(x, dtype=np.float64)
        total = np.full(len(rows), self.baseline)
        for tree in self.trees:
            total += _values(tree, rows)
        return total

    def content(self) -> dict[str, Any]:
        """Return the trees as plain JSON values under their schema name."""
        return {
            "schema": SCHEMA,
            "baseline": self.baseline,
            "n_features": self.n_features,
            "trees": [{name: v.tolist() for name, v in tree.items()} for tree in self.trees],
        }

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> BoostedTrees:
        """Rebuild from :meth:`content`.

        Parameters
        ----------
        content : dict
            As it was stored.

        Returns
        -------
        BoostedTrees

        Raises
        ------
        SchemaMismatchError
            Another schema.
        """
        if content.get("schema") != SCHEMA:
            raise SchemaMismatchError(
                "schema", wanted=SCHEMA, got=content.get("schema"), hint="Fit the trees again."
            )
        trees = [{k: np.asarray(v) for k, v in tree.items()} for tree in content["trees"]]
        return cls(content["baseline"], tuple(trees), content["n_features"])


def fit_boosted_trees(
    x: npt.ArrayLike,
    residual: npt.ArrayLike,
    *,
    weights: npt.ArrayLike,
    rising: tuple[int, ...],
    config: BoostingConfig,
) -> BoostedTrees:
    """Grow trees with one thread.

    Parameters
    ----------
    x : array-like, shape (n, k)
        What the trees read; NaN = not known.
    residual : array-like, shape (n,)
        Target.
    weights : array-like, shape (n,)
        Positive.
    rising : tuple of int
        Columns with which the sum must never fall.
    config : BoostingConfig
        Settings, among them the seed.

    Returns
    -------
    BoostedTrees
        Equal for equal input.

    Raises
    ------
    DataError
        Shapes that differ, or a target that is not finite.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 400)[:, None]
    >>> trees = fit_boosted_trees(x, x[:, 0] > 0, weights=np.ones(400), rising=(0,),
    ...                           config=BoostingConfig(min_leaf=20, l2=0.0))
    >>> trees.predict([[-0.5], [0.5]]).round(2).tolist()
    [0.02, 0.98]
    """
    rows, y = np.asarray(x, dtype=np.float64), np.asarray(residual, dtype=np.float64)
    w = np.asarray(weights, dtype=np.float64)
    if rows.ndim != 2 or y.shape != (len(rows),) or w.shape != y.shape or not np.isfinite(y).all():
        raise DataError(
            "x, residual, weights",
            wanted="a matrix, and one finite target and weight per row",
            got=f"{rows.shape}, {y.shape}, {w.shape}",
            hint="Cut them to the same rows.",
        )
    # A column without any value cannot be binned; as a constant no tree ever asks for it.
    rows = np.where(np.isnan(rows).all(axis=0), 0.0, rows)
    signs = np.zeros(rows.shape[1], dtype=np.int8)
    signs[list(rising)] = 1
    estimator = HistGradientBoostingRegressor(
        max_iter=config.n_trees,
        max_bins=config.n_bins,
        max_depth=config.max_depth,
        min_samples_leaf=config.min_leaf,
        learning_rate=config.learning_rate,
        l2_regularization=config.l2,
        monotonic_cst=signs,
        early_stopping=False,
        random_state=config.seed,
    )
    with threadpool_limits(limits=1):
        estimator.fit(rows, y, sample_weight=w)
    return BoostedTrees(
        float(np.ravel(estimator._baseline_prediction)[0]),
        tuple(_nodes(step[0].nodes) for step in estimator._predictors),
        rows.shape[1],
    )


def _nodes(nodes: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Columns of scikit-learn's node table; its fields are checked by comparing predictions."""
    threshold = nodes["num_threshold"].astype(np.float64)
    return {
        "value": nodes["value"].astype(np.float64),
        "feature": nodes["feature_idx"].astype(np.int64),
        # An infinite threshold only parts missing values from the rest; JSON has no infinity.
        "threshold": np.clip(threshold, -1e300, 1e300),
        "left": nodes["left"].astype(np.int64),
        "right": nodes["right"].astype(np.int64),
        "is_leaf": nodes["is_leaf"].astype(np.bool_),
        "missing_left": nodes["missing_go_to_left"].astype(np.bool_),
    }


def _values(tree: dict[str, npt.NDArray[Any]], rows: FloatMatrix) -> FloatVector:
    at = np.zeros(len(rows), dtype=np.int64)
    everyone = np.arange(len(rows))
    while not tree["is_leaf"][at].all():
        asked = rows[everyone, np.where(tree["is_leaf"][at], 0, tree["feature"][at])]
        is_left = np.where(
            np.isnan(asked), tree["missing_left"][at], asked <= tree["threshold"][at]
        )
        below = np.where(is_left, tree["left"][at], tree["right"][at])
        at = np.where(tree["is_leaf"][at], at, below)
    return np.asarray(tree["value"][at])
