"""Recalibrated market: what a price has meant so far, by distance from the event.

Contract: fitted on outcomes of past clusters only, by whoever calls. The map is a beta map of a
cell's probability, pulled towards "the price is right" where there is little data: first over all
horizons together, then each horizon towards that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_expit

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.errors import DataError, EmptyDataError, SchemaMismatchError
from quant_engine.kalshi.event_frames import LEAST_PROB

__all__ = ["BetaMap", "Recalibration", "fit_beta_map", "fit_recalibration"]

SCHEMA = "qe.kalshi_recalibration/1"
N_STEPS = 50
IDENTITY = (1.0, 1.0, 0.0)


@dataclass(frozen=True)
class BetaMap:
    """``logit q = a log p - b log(1 - p) + c``; a = b = 1, c = 0 leaves the price as it is.

    Parameters
    ----------
    a, b, c : float
        Coefficients. a = b > 1: unlikely cells are dearer, and likely ones cheaper, than they
        should be (the favourite-longshot bias).

    Examples
    --------
    >>> BetaMap(2.0, 2.0, 0.0).apply([0.2]).round(4).tolist()
    [0.0588]
    """

    a: float
    b: float
    c: float

    def apply(self, prob: npt.ArrayLike) -> FloatVector:
        """Mapped probabilities, shape (n,), before they are divided by their sum.

        Parameters
        ----------
        prob : array-like, shape (n,)
            The market's probabilities.

        Returns
        -------
        ndarray of float64
            Strictly between 0 and 1.
        """
        return np.asarray(expit(_design(np.asarray(prob, dtype=np.float64)) @ self._vector))

    @property
    def _vector(self) -> FloatVector:
        return np.array([self.a, self.b, self.c])


@dataclass(frozen=True)
class Recalibration:
    """One map per horizon, and one for horizons that were never seen.

    Parameters
    ----------
    pooled : BetaMap
        Over all horizons.
    by_horizon : dict of int to BetaMap
        Seconds before the schedule to its map.
    """

    pooled: BetaMap
    by_horizon: dict[int, BetaMap]

    def apply(self, prob: npt.ArrayLike, horizon_s: npt.ArrayLike) -> FloatVector:
        """Mapped probabilities, not yet divided by their sum per look.

        Parameters
        ----------
        prob : array-like, shape (n,)
            The market's probabilities.
        horizon_s : array-like of int, shape (n,)
            Horizon of each.

        Returns
        -------
        ndarray of float64, shape (n,)
            Strictly between 0 and 1.
        """
        p, horizon = np.asarray(prob, dtype=np.float64), np.asarray(horizon_s)
        mapped = self.pooled.apply(p)
        for known, chosen in self.by_horizon.items():
            mine = horizon == known
            mapped[mine] = chosen.apply(p[mine])
        return mapped

    def content(self) -> dict[str, Any]:
        """Return the maps as plain JSON values under their schema name."""
        return {
            "schema": SCHEMA,
            "pooled": [self.pooled.a, self.pooled.b, self.pooled.c],
            "by_horizon": {str(h): [m.a, m.b, m.c] for h, m in sorted(self.by_horizon.items())},
        }

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Recalibration:
        """Rebuild from :meth:`content`.

        Parameters
        ----------
        content : dict
            As it was stored.

        Returns
        -------
        Recalibration

        Raises
        ------
        SchemaMismatchError
            Another schema.
        """
        if content.get("schema") != SCHEMA:
            raise SchemaMismatchError(
                "schema", wanted=SCHEMA, got=content.get("schema"), hint="Fit the map again."
            )
        found = {int(h): BetaMap(*values) for h, values in content["by_horizon"].items()}
        return cls(BetaMap(*content["pooled"]), found)


def fit_beta_map(
    prob: npt.ArrayLike,
    outcome: npt.ArrayLike,
    *,
    weights: npt.ArrayLike,
    towards: BetaMap,
    strength: float,
) -> BetaMap:
    """Fit one map by penalised likelihood.

    Parameters
    ----------
    prob : array-like, shape (n,)
        The market's probabilities of cells.
    outcome : array-like, shape (n,)
        1 where the cell happened, else 0.
    weights : array-like, shape (n,)
        Positive; their sum is the number of independent observations that they stand for.
    towards : BetaMap
        What is believed without data.
    strength : float
        Observations that this belief is worth, positive.

    Returns
    -------
    BetaMap

    Raises
    ------
    EmptyDataError
        No cell.
    DataError
        Shapes that differ, outcomes other than 0 and 1, or weights or a strength not above 0.

    Notes
    -----
    Beta calibration (Kull, Silva Filho and Flach 2017) with a normal prior of precision
    ``strength / 4`` around `towards`: ``min sum w CE(y, q) + strength |v - v0|^2 / 8``, convex, by
    Newton steps with halving. The logistic map is the case a = b.

    Examples
    --------
    >>> p = np.array([0.1, 0.9] * 50)
    >>> fitted = fit_beta_map(p, np.round(p), weights=np.ones(100),
    ...                       towards=BetaMap(1, 1, 0), strength=10.0)
    >>> fitted.a > 1.0 and fitted.b > 1.0
    True
    """
    p, y = np.asarray(prob, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    w = np.asarray(weights, dtype=np.float64)
    if p.size == 0:
        raise EmptyDataError("prob", wanted="at least one cell", got=0, hint="Fit on past events.")
    alike = p.shape == y.shape == w.shape
    if not alike or not np.isin(y, (0.0, 1.0)).all() or not (w > 0.0).all() or not strength > 0.0:
        raise DataError(
            "prob, outcome, weights, strength",
            wanted="equal shapes, outcomes of 0 and 1, weights and a strength above 0",
            got=f"shapes {p.shape}, {y.shape}, {w.shape}, strength {strength}",
            hint="Mark the cell that happened with 1.",
        )
    design, prior, penalty = _design(p), towards._vector, strength / 4.0
    beta = prior.copy()
    loss = _loss(design, y, w, beta)
    for _ in range(N_STEPS):
        q = expit(design @ beta)
        gradient = design.T @ (w * (q - y)) + penalty * (beta - prior)
        hessian = (design * (w * q * (1.0 - q))[:, None]).T @ design + penalty * np.eye(3)
        step = -np.linalg.solve(hessian, gradient)
        length = 1.0
        while length > 1e-8:
            new = beta + length * step
            value = _loss(design, y, w, new) + penalty / 2.0 * float(((new - prior) ** 2).sum())
            if value <= loss:
                break
            length /= 2.0
        else:
            break
        moved, beta, loss = float(np.abs(new - beta).max()), new, value
        if moved < 1e-10:
            break
    return BetaMap(*(float(v) for v in beta))


def fit_recalibration(
    prob: npt.ArrayLike,
    outcome: npt.ArrayLike,
    horizon_s: npt.ArrayLike,
    *,
    weights: npt.ArrayLike,
    strength: float,
) -> Recalibration:
    """Fit a map over all horizons, then one per horizon that is pulled towards it.

    Parameters
    ----------
    prob, outcome : array-like, shape (n,)
        As for :func:`fit_beta_map`.
    horizon_s : array-like of int, shape (n,)
        Seconds before the schedule.
    weights : array-like, shape (n,)
        As for :func:`fit_beta_map`.
    strength : float
        Observations that each of the two beliefs is worth.

    Returns
    -------
    Recalibration

    Raises
    ------
    EmptyDataError, DataError
        As :func:`fit_beta_map`.

    Examples
    --------
    >>> p = np.tile([0.2, 0.8], 40)
    >>> found = fit_recalibration(p, np.round(p), np.repeat([60, 3600], 40),
    ...                           weights=np.ones(80), strength=5.0)
    >>> sorted(found.by_horizon)
    [60, 3600]
    """
    p, y = np.asarray(prob, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    w, horizon = np.asarray(weights, dtype=np.float64), np.asarray(horizon_s)
    pooled = fit_beta_map(p, y, weights=w, towards=BetaMap(*IDENTITY), strength=strength)
    parts = {
        int(one): fit_beta_map(
            p[horizon == one], y[horizon == one], weights=w[horizon == one], towards=pooled,
            strength=strength,
        )
        for one in np.unique(horizon)
    }  # fmt: skip
    return Recalibration(pooled, parts)


def _design(prob: FloatVector) -> FloatMatrix:
    p = np.clip(prob, LEAST_PROB, 1.0 - LEAST_PROB)
    return np.column_stack([np.log(p), -np.log1p(-p), np.ones_like(p)])


def _loss(design: FloatMatrix, y: FloatVector, w: FloatVector, beta: FloatVector) -> float:
    score = design @ beta
    return float(-(w * (y * log_expit(score) + (1.0 - y) * log_expit(-score))).sum())
