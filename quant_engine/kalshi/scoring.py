"""Scores of one event's forecast over its atoms or cells: log loss, Brier, RPS, CRPS, PIT.

Contract: a forecast is a list of probabilities that adds up to 1. Last prices of bins add up to
more than 1 and would look better than they are: they are refused, and dividing them by their sum is
the caller's visible step.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt

from quant_engine.core.errors import DataError
from quant_engine.stats.checks import parse_vector
from quant_engine.stats.crps import ranked_probability_score

__all__ = ["HALF_TICK", "EventScore", "score_event"]

HALF_TICK = 0.005
"""Least probability of an outcome in the log loss: half a cent, below which no price can go."""

SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class EventScore:
    """Scores of one forecast; lower is better.

    Parameters
    ----------
    log_loss : float
        ``-log max(p, half a tick)`` of what happened, nats.
    brier : float
        ``sum (p - happened)^2``, 0 to 2.
    rps : float
        Ranked probability score, sum over cells.
    crps : float
        The same in the unit of the settlement value (cells of one width); NaN without a width.
    pit_low, pit_high : float
        Distribution function before and at what happened: a uniform number between them is the
        randomised transform.
    """

    log_loss: float
    brier: float
    rps: float
    crps: float
    pit_low: float
    pit_high: float


def score_event(prob: npt.ArrayLike, happened: int, *, width: float | None = None) -> EventScore:
    """Score a forecast of one event.

    Parameters
    ----------
    prob : array-like, shape (n,)
        Probability per cell or bin in rising order; adds up to 1. NaN = no forecast.
    happened : int
        Position of the cell that happened.
    width : float, optional
        Width of a cell, for the CRPS.

    Returns
    -------
    EventScore
        NaN in every field for a forecast with NaN.

    Raises
    ------
    DataError
        Probabilities that are negative or do not add up to 1, or a position that does not exist.

    Notes
    -----
    On cells of one width the CRPS is the width times the ranked probability score
    (:func:`quant_engine.stats.crps.ranked_probability_score`).

    Examples
    --------
    >>> found = score_event([0.2, 0.5, 0.3], 1)
    >>> round(found.log_loss, 4), round(found.brier, 2), round(found.rps, 2)
    (0.6931, 0.38, 0.13)
    """
    p = parse_vector("prob", prob)
    if not 0 <= happened < len(p):
        raise DataError(
            "happened",
            wanted=f"a position from 0 to {len(p) - 1}",
            got=happened,
            hint="Use Lattice.cell_of for a settlement value.",
        )
    if np.isnan(p).any():
        return EventScore(*[float("nan")] * 6)
    total = float(p.sum())
    if p.min() < 0.0 or abs(total - 1.0) > SUM_TOLERANCE:
        raise DataError(
            "prob",
            wanted="probabilities of at least 0 that add up to 1",
            got=f"sum {total:.6g}, least {p.min():.6g}",
            hint="Divide prices by their sum first, and say so: the raw ones are no forecast.",
        )
    outcome = np.zeros(len(p))
    outcome[happened] = 1.0
    rps = float(ranked_probability_score(p[None, :], [happened])[0])
    below = float(p[:happened].sum())
    return EventScore(
        log_loss=-log(max(float(p[happened]), HALF_TICK)),
        brier=float(((p - outcome) ** 2).sum()),
        rps=rps,
        crps=float("nan") if width is None else rps * width,
        pit_low=below,
        pit_high=min(below + float(p[happened]), 1.0),
    )
