"""Shallow gradient boosted trees: LightGBM with settings for weak signals.

Contract: one thread, deterministic, row-wise histograms over the float32 matrix; the same input
gives the same text on one machine type, and the text is the model.
"""

from __future__ import annotations

from typing import Any, ClassVar

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
from pydantic import Field

from quant_engine.core.arrays import FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import UnreadableFileError
from quant_engine.core.registry import PluginMetadata
from quant_engine.models.learners import LEARNERS, Rows

__all__ = ["FittedShallowTrees", "ShallowTrees", "ShallowTreesParams"]

BIN_SAMPLE_ROWS = 50_000
"""Rows that place the histogram edges: 800 per bin at 63 bins, and a third of the sorting time."""


class ShallowTreesParams(FrozenConfig):
    """Gradient boosted trees for a weak signal: shallow, many, slow, few columns each.

    Parameters
    ----------
    depth : int
        Tree depth d; leaves are 2**d. At an oracle IC of .03 (5 planted worlds, 138,000 rows, half
        of the signal in interactions) depth 2 keeps 41 % of it, depth 3 39 %, and the library
        defaults (31 leaves, 100 trees) 18 %, each with a standard error of 1 to 2.
    n_trees : int
        Fixed number of trees (300 to 600). Early stopping on a thin tail was worse than a fixed
        count, and a stopping set that is also scored leaks.
    learning_rate : float
        Shrinkage per tree (.02 to .03).
    column_share : float
        Share of features offered to each tree (.1 to .3).
    min_leaf_share : float
        Smallest leaf as a share of the training rows (.5 to 1 %).
    max_bins : int
        Histogram bins; 63 equal-population bins lose nothing on rank-gaussian features.
    seed : int
        Seed of the column draws.

    Examples
    --------
    >>> ShallowTreesParams().n_trees
    400
    """

    depth: int = Field(default=2, ge=1, le=6)
    n_trees: int = Field(default=400, ge=1)
    learning_rate: float = Field(default=0.03, gt=0.0, le=1.0)
    column_share: float = Field(default=0.3, gt=0.0, le=1.0)
    min_leaf_share: float = Field(default=0.0075, gt=0.0, lt=0.5)
    max_bins: int = Field(default=63, ge=2, le=255)
    seed: int = Field(default=20_240_101, ge=0)


class FittedShallowTrees:
    """Boosted trees, held as LightGBM's own text so that a stored model is the same model.

    Parameters
    ----------
    text : str
        LightGBM model text.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._booster = lgb.Booster(model_str=text)

    def predict(self, x: Rows) -> FloatVector:
        """Raw predictions, shape (R,)."""
        return np.asarray(self._booster.predict(np.asarray(x), num_threads=1), dtype=np.float64)

    def contributions(self, x: Rows) -> npt.NDArray[np.float64]:
        """TreeSHAP parts and the expected value, shape (R, P + 1)."""
        parts = self._booster.predict(np.asarray(x), pred_contrib=True, num_threads=1)
        return np.asarray(parts, dtype=np.float64)

    def to_bytes(self) -> bytes:
        """LightGBM text, UTF-8."""
        return self.text.encode("utf-8")


@LEARNERS.register(
    "lightgbm_shallow",
    metadata=PluginMetadata(
        summary="Gradient boosted trees of depth 2 or 3 with settings for weak signals.",
        params=ShallowTreesParams,
        test_params=({"n_trees": 20}, {"n_trees": 20, "depth": 3, "column_share": 1.0}),
        source="Ke et al. (2017), LightGBM; Lundberg et al. (2020) for the contributions",
    ),
)
class ShallowTrees:
    """LightGBM regression on one thread, deterministic, with row-wise histograms.

    Parameters
    ----------
    params : ShallowTreesParams
        Shape and number of trees.
    """

    file_suffix: ClassVar[str] = ".txt"

    def __init__(self, params: ShallowTreesParams) -> None:
        self.params = params

    def fit(self, x: Rows, y: FloatVector, sample_weight: FloatVector | None) -> FittedShallowTrees:
        """Fit trees.

        Parameters
        ----------
        x : ndarray of float32, shape (R, P)
            Standardised features without NaN; binned once, not copied to float64.
        y : ndarray of float64, shape (R,)
            Targets without NaN.
        sample_weight : ndarray of float64, shape (R,), or None
            Positive weights; None = equal.

        Returns
        -------
        FittedShallowTrees
            Same bytes for the same input on one machine type.
        """
        params = self.params
        settings: dict[str, Any] = {
            "objective": "regression",
            "max_depth": params.depth,
            "num_leaves": 2**params.depth,
            "learning_rate": params.learning_rate,
            "feature_fraction": params.column_share,
            "min_data_in_leaf": max(1, int(params.min_leaf_share * len(x))),
            "max_bin": params.max_bins,
            "bin_construct_sample_cnt": BIN_SAMPLE_ROWS,
            "seed": params.seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "verbosity": -1,
        }
        data = lgb.Dataset(
            np.asarray(x),
            label=y.astype(np.float32),
            weight=None if sample_weight is None else sample_weight.astype(np.float32),
            params=settings,
        )
        booster = lgb.train(settings, data, num_boost_round=params.n_trees)
        return FittedShallowTrees(booster.model_to_string())

    @staticmethod
    def from_bytes(data: bytes) -> FittedShallowTrees:
        """Read the text of :meth:`FittedShallowTrees.to_bytes`.

        Parameters
        ----------
        data : bytes
            LightGBM model text.

        Returns
        -------
        FittedShallowTrees
            Predicts the same bits.

        Raises
        ------
        UnreadableFileError
            Not such a text.
        """
        try:
            text = data.decode("utf-8")
            if not text.startswith("tree\n"):
                raise ValueError("no LightGBM header")
            return FittedShallowTrees(text)
        except (UnicodeDecodeError, ValueError, lgb.basic.LightGBMError) as error:
            raise UnreadableFileError(
                "LightGBM file",
                wanted="the text of a LightGBM model",
                got=f"{len(data)} bytes that are none",
                hint="Restore the file or retrain.",
            ) from error
