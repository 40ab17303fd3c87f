"""Meta-labels: was the side of a primary signal right, and what a filter on it would have earned.

Contract: a meta-label needs the return of the bet, so it has the span of the label that return
comes from; a filter may use probabilities that were out of sample alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import DataError

__all__ = ["MetaMetrics", "meta_label_metrics", "meta_labels"]


@dataclass(frozen=True)
class MetaMetrics:
    """A primary signal, and the part of it that a meta-model lets through.

    Parameters
    ----------
    n_bets, n_taken : int
        Bets with a known outcome, and those whose probability was above the threshold.
    precision_primary, precision_meta : float
        Share of right sides among all bets, and among those taken; NaN without a bet.
    recall_meta : float
        Share of the right bets that were taken; NaN without a right bet.
    f1_meta : float
        ``2 TP / (2 TP + FP + FN)``; NaN when all three are zero.
    pnl_primary, pnl_meta : float
        Sum of the returns in the direction of the side, fraction of one unit per bet.
    """

    n_bets: int
    n_taken: int
    precision_primary: float
    precision_meta: float
    recall_meta: float
    f1_meta: float
    pnl_primary: float
    pnl_meta: float


def meta_labels(side: npt.ArrayLike, returns: npt.ArrayLike) -> FloatVector:
    """Meta-label of each bet: 1 where the side earned something, else 0 (AFML 3.7).

    Parameters
    ----------
    side : array-like, shape (E,)
        Side of the primary signal: 1, -1, or 0 = no bet; NaN = no bet.
    returns : array-like, shape (E,)
        Simple return of the asset over the life of the bet, fraction; NaN = unknown.

    Returns
    -------
    ndarray of float64, shape (E,)
        NaN where there is no bet or its return is unknown.

    Raises
    ------
    DataError
        Arrays of different shapes.

    Examples
    --------
    >>> meta_labels([1, -1, -1, 0], [0.02, 0.01, -0.03, 0.01]).tolist()
    [1.0, 0.0, 1.0, nan]
    """
    earned = _earned(side, returns)
    return np.where(np.isnan(earned), np.nan, (earned > 0.0).astype(np.float64))


def meta_label_metrics(
    side: npt.ArrayLike,
    returns: npt.ArrayLike,
    probability: npt.ArrayLike,
    *,
    threshold: float,
) -> MetaMetrics:
    """Compare a primary signal with the bets that a meta-model takes.

    Parameters
    ----------
    side, returns : array-like, shape (E,)
        See :func:`meta_labels`.
    probability : array-like, shape (E,)
        Out-of-sample probability that the side is right, in [0, 1]; NaN = not taken.
    threshold : float
        A bet is taken when its probability is strictly above this.

    Returns
    -------
    MetaMetrics

    Raises
    ------
    DataError
        Arrays of different shapes.

    Notes
    -----
    A meta-model trades recall for precision (Lopez de Prado 2018, section 3.6). Nothing here is
    annualised or net of costs.

    Examples
    --------
    >>> got = meta_label_metrics([1, 1, -1], [0.02, -0.01, -0.03], [0.7, 0.4, 0.6], threshold=0.5)
    >>> got.n_taken, got.precision_meta, round(got.pnl_meta - got.pnl_primary, 6)
    (2, 1.0, 0.01)
    """
    earned = _earned(side, returns)
    chance = np.asarray(probability, dtype=np.float64)
    if chance.shape != earned.shape:
        raise DataError(
            "probability",
            wanted=f"one value per bet, shape {earned.shape}",
            got=chance.shape,
            hint="Use NaN for bets that the meta-model did not see.",
        )
    known = ~np.isnan(earned)
    right, taken = earned > 0.0, known & (chance > threshold)
    hits, missed = int((right & taken).sum()), int((right & ~taken).sum())
    n_bets, n_taken = int(known.sum()), int(taken.sum())
    return MetaMetrics(
        n_bets=n_bets,
        n_taken=n_taken,
        precision_primary=_ratio(hits + missed, n_bets),
        precision_meta=_ratio(hits, n_taken),
        recall_meta=_ratio(hits, hits + missed),
        f1_meta=_ratio(2 * hits, n_taken + hits + missed),
        pnl_primary=float(earned[known].sum()),
        pnl_meta=float(earned[taken].sum()),
    )


def _earned(side: npt.ArrayLike, returns: npt.ArrayLike) -> FloatVector:
    sides, moves = np.asarray(side, dtype=np.float64), np.asarray(returns, dtype=np.float64)
    if sides.shape != moves.shape or sides.ndim != 1:
        raise DataError(
            "returns",
            wanted=f"one value per bet, shape {sides.shape}",
            got=moves.shape,
            hint="Give the return of the asset over the life of each bet.",
        )
    return np.where(sides == 0.0, np.nan, np.sign(sides) * moves)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
