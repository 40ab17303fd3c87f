"""Random scores: the scores of a strategy handed out at random, as rules that know nothing.

The best of many of them looks like a strategy. They exist so that whoever judges strategies can be
shown one that must be refused.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from pydantic import Field

from quant_engine.backtest.nulls import ScoreOrder
from quant_engine.core.config import FrozenConfig

__all__ = ["RandomScores", "randomised"]


class RandomScores(FrozenConfig):
    """One random rule.

    Parameters
    ----------
    seed : int
        Of all rules that were drawn together.
    draw : int
        Number of the rule.
    persistence : float
        Autocorrelation per session of the series that order the names, from 0 to below 1.

    Examples
    --------
    >>> RandomScores(seed=1, draw=0).persistence
    0.9
    """

    seed: int = Field(ge=0)
    draw: int = Field(default=0, ge=0)
    persistence: float = Field(default=0.9, ge=0.0, lt=1.0)


def randomised(scores: pd.DataFrame | ScoreOrder, random: RandomScores) -> pd.DataFrame:
    """Hand the scores of every session out at random.

    Parameters
    ----------
    scores : DataFrame or ScoreOrder
        ``date, asset_id, score`` with optional ``expected_return_frac`` and ``confidence``; sorted
        once where many rules are drawn.
    random : RandomScores
        Which rule.

    Returns
    -------
    DataFrame
        The same values and names in every session, in a random order that lasts.

    Raises
    ------
    EmptyDataError
        No finite score.

    Examples
    --------
    >>> frame = pd.DataFrame(
    ...     {"date": ["d"] * 3, "asset_id": ["A", "B", "C"], "score": [1.0, 2.0, 3.0]}
    ... )
    >>> drawn = randomised(frame, RandomScores(seed=3))
    >>> sorted(drawn["score"])
    [1.0, 2.0, 3.0]
    """
    generator = np.random.default_rng([random.seed, random.draw])
    order = ScoreOrder.of(scores) if isinstance(scores, pd.DataFrame) else scores
    return order.drawn(random.persistence, generator)
