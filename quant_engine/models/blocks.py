"""Block: the predictions of one fold as wide arrays, with labels, maps and what they gave.

Contract: a block knows the labels of its own sessions only to score itself; its map columns come
from maps that were fitted before it began.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatMatrix
from quant_engine.models.blend import Blend, Matrix, blend_members
from quant_engine.models.config import ModelConfig
from quant_engine.models.maps import ScoreMaps, fit_maps
from quant_engine.models.matrix import RowMatrix, Sessions

__all__ = ["Block", "Mapped", "Market", "fit_maps_on", "make_block", "map_scores", "spread_members"]


@dataclass(frozen=True, eq=False)
class Market:
    """What blocks are cut from.

    Parameters
    ----------
    rows : RowMatrix
        Usable rows.
    label : ndarray of float64, shape (T, N)
        Labels, fraction; NaN = none.
    volatility : ndarray, shape (T, N)
        Trailing volatility, fraction; NaN = unknown.
    """

    rows: RowMatrix
    label: Matrix
    volatility: FloatMatrix


@dataclass(frozen=True, eq=False)
class Block:
    """Predictions of S consecutive sessions.

    Parameters
    ----------
    sessions : ndarray of int64, shape (S,)
        Positions on the session axis.
    raw : dict of str to ndarray, shape (S, N)
        Raw predictions by member; NaN = row not usable.
    blend : Blend
        Scores.
    label, volatility : ndarray, shape (S, N)
        Labels (NaN = none) and trailing volatility, fraction.
    """

    sessions: Sessions
    raw: dict[str, Matrix]
    blend: Blend
    label: Matrix
    volatility: FloatMatrix

    def at(self, sessions: Sessions) -> npt.NDArray[np.bool_]:
        """Which rows of the block are the given sessions, bool (S,)."""
        return np.isin(self.sessions, sessions)


@dataclass(frozen=True, eq=False)
class Mapped:
    """Map columns of a block, each float64 (S, N); NaN where no map exists.

    Parameters
    ----------
    expected, low, high : ndarray, shape (S, N)
        Expected label and interval, fraction.
    confidence : ndarray, shape (S, N)
        Probability that the label has the sign of the score.
    """

    expected: Matrix
    low: Matrix
    high: Matrix
    confidence: Matrix


def make_block(
    market: Market, sessions: Sessions, raw: npt.NDArray[np.float64], *, config: ModelConfig
) -> Block:
    """Spread row predictions over a wide block and blend them.

    Parameters
    ----------
    market : Market
        Rows, labels, volatility.
    sessions : ndarray of int64, shape (S,)
        Predicted sessions, increasing.
    raw : ndarray of float64, shape (M, R)
        Raw predictions per member for the rows of those sessions.
    config : ModelConfig
        Member columns and long/short share.

    Returns
    -------
    Block
        NaN where a row is not usable.
    """
    rows = market.rows.of_sessions(sessions)
    place = (np.searchsorted(sessions, market.rows.session[rows]), market.rows.asset[rows])
    dense = spread_members(raw, place, (len(sessions), market.label.shape[1]), config=config)
    return Block(
        sessions=sessions,
        raw=dense,
        blend=blend_members(dense, long_short_frac=config.long_short_frac),
        label=market.label[sessions],
        volatility=market.volatility[sessions],
    )


def spread_members(
    raw: npt.NDArray[np.float64],
    place: tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]],
    shape: tuple[int, int],
    *,
    config: ModelConfig,
) -> dict[str, Matrix]:
    """Spread raw predictions over wide arrays.

    Parameters
    ----------
    raw : ndarray of float64, shape (M, R)
        Raw predictions per member and row.
    place : tuple of ndarray, each of shape (R,)
        Position of each row among the sessions and among the assets.
    shape : tuple of int
        Sessions and assets (S, N).
    config : ModelConfig
        Member columns.

    Returns
    -------
    dict of str to ndarray, shape (S, N)
        By member; NaN where there is no row.
    """
    dense = {}
    for name, values in zip(config.columns, raw, strict=True):
        dense[name] = np.full(shape, np.nan)
        dense[name][place] = values
    return dense


def fit_maps_on(
    evidence: Sequence[tuple[Block, Sessions]], config: ModelConfig, *, lags: int
) -> ScoreMaps | None:
    """Fit maps on chosen sessions of out-of-fold blocks.

    Parameters
    ----------
    evidence : sequence of (Block, ndarray of int64)
        Blocks in time order, each with the sessions that may be used.
    config : ModelConfig
        Map settings.
    lags : int
        Newey-West lags.

    Returns
    -------
    ScoreMaps or None
        None where there are too few sessions.
    """
    parts = [(block, block.at(sessions)) for block, sessions in evidence]
    if not any(chosen.any() for _, chosen in parts):
        return None
    return fit_maps(
        np.concatenate([block.blend.score[chosen] for block, chosen in parts]),
        np.concatenate([block.label[chosen] for block, chosen in parts]),
        np.concatenate([block.volatility[chosen] for block, chosen in parts]),
        config=config.maps,
        lags=lags,
    )


def map_scores(maps: ScoreMaps | None, score: Matrix, volatility: FloatMatrix) -> Mapped:
    """Apply maps to scores.

    Parameters
    ----------
    maps : ScoreMaps or None
        None gives NaN everywhere: not available.
    score : ndarray, shape (S, N)
        Scores in [-1, 1]; NaN = none.
    volatility : ndarray, shape (S, N)
        Trailing volatility, fraction; NaN or 0 = unknown.

    Returns
    -------
    Mapped
        Expected label, interval, confidence.
    """
    if maps is None:
        nothing = np.full(score.shape, np.nan)
        return Mapped(nothing, nothing, nothing, nothing)
    expected = maps.expected_return(score)
    low, high = maps.bounds(expected, volatility)
    return Mapped(expected, low, high, maps.confidence(score))
