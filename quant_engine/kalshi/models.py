"""Forecasts of event markets: the market itself, and what past outcomes add to it.

Four members, each a probability per cell that adds up to 1 per look:

* ``market``: the prices' own distribution, the baseline of everything;
* ``recalibrated``: the market through :mod:`recalibration`, the second baseline;
* ``boosted``: the recalibrated market plus :mod:`boosting`'s trees on all features,
  in log odds;
* ``shrunk``: ``w boosted + (1 - w) market``, w chosen on events behind those it was fitted on.

Contract: everything is fitted on the looks that are handed in; nothing here knows about time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.special import expit

from quant_engine.core.arrays import FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import DataError, SchemaMismatchError
from quant_engine.kalshi.boosting import BoostedTrees, BoostingConfig, fit_boosted_trees
from quant_engine.kalshi.event_frames import LEAST_PROB, CellArrays, logit
from quant_engine.kalshi.recalibration import Recalibration, fit_recalibration
from quant_engine.kalshi.scoring import HALF_TICK

__all__ = ["MEMBERS", "FittedMembers", "Member", "ModelConfig", "fit_members"]

IntVector = npt.NDArray[np.int64]
Member = Literal["market", "recalibrated", "boosted", "shrunk"]
MEMBERS: tuple[Member, ...] = get_args(Member)
"""Names of the forecasts, baselines first."""

SCHEMA = "qe.kalshi_members/1"


class ModelConfig(FrozenConfig):
    """Settings of all members.

    Parameters
    ----------
    prior_strength : float
        Cells that the belief in the price is worth in the recalibration.
    boosting : BoostingConfig
        Settings of the trees.
    mix_weights : tuple of float
        What the weight of ``shrunk`` is chosen from, 0 to 1, rising; the smallest of equals.
    """

    prior_strength: float = Field(default=4.0, gt=0.0)
    boosting: BoostingConfig = BoostingConfig()
    mix_weights: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, eq=False)
class FittedMembers:
    """Everything that is needed to forecast.

    Parameters
    ----------
    recalibration : Recalibration
        Maps of the market.
    trees : BoostedTrees
        Correction of the recalibrated market.
    mix_weight : float
        Weight of ``boosted`` in ``shrunk``.
    names : tuple of str
        Columns that the trees read.
    """

    recalibration: Recalibration
    trees: BoostedTrees
    mix_weight: float
    names: tuple[str, ...]

    def forecast(self, cells: CellArrays, looks: IntVector) -> dict[Member, FloatVector]:
        """Probability of every cell of some looks by every member.

        Parameters
        ----------
        cells : CellArrays
            With the columns that were fitted on.
        looks : ndarray of int64
            Positions of looks, rising.

        Returns
        -------
        dict of str to ndarray
            Member to probabilities in the order of the looks' cells.

        Raises
        ------
        DataError
            Columns other than those that were fitted on.
        """
        if cells.names != self.names:
            raise DataError(
                "cells",
                wanted="columns " + ", ".join(self.names),
                got=", ".join(cells.names),
                hint="Build the frames with the features that the model was fitted on.",
            )
        places = cells.cells_of(looks)
        market = cells.prob[places]
        recalibrated = _recalibrated(self.recalibration, cells, looks, places)
        boosted = _boosted(recalibrated, self.trees, cells, looks, places)
        shrunk = self.mix_weight * boosted + (1.0 - self.mix_weight) * market
        return dict(zip(MEMBERS, (market, recalibrated, boosted, shrunk), strict=True))

    def content(self) -> dict[str, Any]:
        """Return everything as plain JSON values under its schema name."""
        return {
            "schema": SCHEMA,
            "recalibration": self.recalibration.content(),
            "trees": self.trees.content(),
            "mix_weight": self.mix_weight,
            "names": list(self.names),
        }

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> FittedMembers:
        """Rebuild from :meth:`content`.

        Parameters
        ----------
        content : dict
            As it was stored.

        Returns
        -------
        FittedMembers

        Raises
        ------
        SchemaMismatchError
            Another schema.
        """
        if content.get("schema") != SCHEMA:
            raise SchemaMismatchError(
                "schema", wanted=SCHEMA, got=content.get("schema"), hint="Fit the members again."
            )
        return cls(
            Recalibration.from_content(content["recalibration"]),
            BoostedTrees.from_content(content["trees"]),
            content["mix_weight"],
            tuple(content["names"]),
        )


def fit_members(
    cells: CellArrays,
    outcome: FloatVector,
    train: IntVector,
    *,
    inner: tuple[IntVector, IntVector] | None,
    config: ModelConfig,
) -> FittedMembers:
    """Fit all members on some looks.

    Parameters
    ----------
    cells : CellArrays
        All cells.
    outcome : ndarray of float64, shape (N,)
        1 in the cell that happened; only the cells of `train` are read.
    train : ndarray of int64
        Positions of the looks to fit on, rising.
    inner : tuple of two ndarray of int64, or None
        Looks of `train` to fit on, and later ones to choose the weight of ``shrunk`` on. None:
        too few for a choice, and the weight is 0, the market.
    config : ModelConfig
        Settings.

    Returns
    -------
    FittedMembers
        Equal for equal input.
    """
    weight = 0.0
    if inner is not None:
        weight = _choose_weight(cells, outcome, inner, config)
    recalibration, trees = _fit_both(cells, outcome, train, config)
    return FittedMembers(recalibration, trees, weight, cells.names)


def _fit_both(
    cells: CellArrays, outcome: FloatVector, train: IntVector, config: ModelConfig
) -> tuple[Recalibration, BoostedTrees]:
    places = cells.cells_of(train)
    # A cluster seen at many horizons is still one outcome: its looks share its weight.
    _, code, count = np.unique(cells.cluster[train], return_inverse=True, return_counts=True)
    per_look = np.zeros(len(cells.horizon_s))
    per_look[train] = 1.0 / count[code]
    weights = per_look[cells.look[places]]
    recalibration = fit_recalibration(
        cells.prob[places],
        outcome[places],
        cells.horizon_s[cells.look[places]],
        weights=weights,
        strength=config.prior_strength,
    )
    q = np.clip(_recalibrated(recalibration, cells, train, places), LEAST_PROB, 1.0 - LEAST_PROB)
    # One Newton step in log odds: its working response, with the information as weight.
    information = q * (1.0 - q)
    trees = fit_boosted_trees(
        cells.x[places],
        (outcome[places] - q) / information,
        weights=weights * information,
        rising=(0,),
        config=config.boosting,
    )
    return recalibration, trees


def _choose_weight(
    cells: CellArrays,
    outcome: FloatVector,
    inner: tuple[IntVector, IntVector],
    config: ModelConfig,
) -> float:
    early, late = inner
    recalibration, trees = _fit_both(cells, outcome, early, config)
    places = cells.cells_of(late)
    recalibrated = _recalibrated(recalibration, cells, late, places)
    boosted = _boosted(recalibrated, trees, cells, late, places)
    hit = outcome[places] == 1.0
    losses = [
        -float(np.log(np.maximum(mixed[hit], HALF_TICK)).mean())
        for mixed in (w * boosted + (1.0 - w) * cells.prob[places] for w in config.mix_weights)
    ]
    return config.mix_weights[int(np.argmin(losses))]


def _recalibrated(
    recalibration: Recalibration, cells: CellArrays, looks: IntVector, places: IntVector
) -> FloatVector:
    mapped = recalibration.apply(cells.prob[places], cells.horizon_s[cells.look[places]])
    return cells.normalised(mapped, looks)


def _boosted(
    recalibrated: FloatVector,
    trees: BoostedTrees,
    cells: CellArrays,
    looks: IntVector,
    places: IntVector,
) -> FloatVector:
    moved = expit(logit(recalibrated) + trees.predict(cells.x[places]))
    return cells.normalised(moved, looks)
