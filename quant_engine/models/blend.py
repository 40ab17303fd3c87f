"""Blend: members' raw predictions become one score, its percentile, z-score and long/short flags.

Contract: everything is relative to the other assets of the same session. Raw predictions of
different members have different scales, so only their order is blended. Ranks are exact multiples
of one half, hence ties are exact and no float noise decides an order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_engine.models.matrix import standardize
from quant_engine.stats.cross_section import average_ranks

__all__ = ["Blend", "blend_members"]

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Blend:
    """Scores of a block of sessions.

    Parameters
    ----------
    member_scores : dict of str to ndarray, shape (S, N)
        Centred ranks of each member, in (-1, 1).
    score : ndarray, shape (S, N)
        Centred rank of the mean member rank, in (-1, 1), unitless: uniform in every session.
    percentile : ndarray, shape (S, N)
        ``(score + 1) / 2``, in (0, 1).
    z : ndarray, shape (S, N)
        Z-score of the mean member rank within the session: unlike ``score`` it keeps distances,
        which are small where the members disagree.
    is_long, is_short : ndarray of bool, shape (S, N)
        Percentile above ``1 - share`` and below ``share``; assets tied across that edge are not
        flagged.

    Notes
    -----
    NaN (False in the flags) wherever a member gave no prediction.
    """

    member_scores: dict[str, Matrix]
    score: Matrix
    percentile: Matrix
    z: Matrix
    is_long: npt.NDArray[np.bool_]
    is_short: npt.NDArray[np.bool_]


def blend_members(raw: Mapping[str, Matrix], *, long_short_frac: float) -> Blend:
    """Average the members' ranks within each session.

    Parameters
    ----------
    raw : mapping of str to ndarray, shape (S, N)
        Raw predictions by member column; NaN = no prediction (in every member alike).
    long_short_frac : float
        Share of the session flagged at each end.

    Returns
    -------
    Blend
        Scores, percentile, z-score and flags.

    Examples
    --------
    >>> raw = {"a": np.array([[3.0, 1.0, 2.0]]), "b": np.array([[30.0, 20.0, 10.0]])}
    >>> blend_members(raw, long_short_frac=0.2).score.round(3)
    array([[ 0.667, -0.333, -0.333]])
    """
    ranks = {name: average_ranks(values)[0] for name, values in raw.items()}
    total = np.sum(list(ranks.values()), axis=0)
    final, counts = average_ranks(total)
    size = np.maximum(counts, 1)[:, None].astype(np.float64)
    centred = {name: (2.0 * values - 1.0 - size) / size for name, values in ranks.items()}
    # Twice the rank minus one is an exact integer; the tolerance covers only the product with a
    # decimal share such as 0.2.
    place = 2.0 * final - 1.0
    edge = 2.0 * size * long_short_frac
    return Blend(
        member_scores=centred,
        score=(2.0 * final - 1.0 - size) / size,
        percentile=(final - 0.5) / size,
        z=standardize(total, "z_score"),
        is_long=place > 2.0 * size - edge + 1e-9,
        is_short=place < edge - 1e-9,
    )
