"""From scores to target weights: who is held, how much of it, and when that is decided.

The algorithm, one decision session at a time:

1. `schedule` says which sessions decide and which tranche of the capital each one re-decides.
2. The names that may be held (a finite score, eligible, allowed on that side) are ordered by score,
   best first; equal scores are ordered by asset id, so that no result depends on column order.
3. `_pick` takes the best names for the long side and the last ones of the same order for the short
   side. Names of the tranche's previous book may stay inside the rank buffer.
4. `_weigh` turns the picks of a side into weights that sum to the side's share of the gross
   exposure, none above the cap.

Row t uses scores known after the close of session t and nothing later. The weights are wishes: what
is really traded at the next open is decided by the simulator.
"""

# ruff: noqa: ANN001 -- compiled functions take their types from their arguments.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from numba import njit
from pydantic import Field, model_validator

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, EmptyDataError, SchemaMismatchError
from quant_engine.core.ids import id_order
from quant_engine.stats.checks import parse_matrix
from quant_engine.stats.ordering import row_order

NO_DECISION = -1
"""Tranche number of a session on which nothing is decided."""


class PortfolioConfig(FrozenConfig):
    """How scores become a book.

    The default is the common research book: 50 names per side, equal weights, half of the capital
    long and half short, re-decided every session.

    Parameters
    ----------
    mode : {"long_short", "long_only"}
        Long-short puts half of the gross exposure on each side.
    names_per_side : int or None
        Names held per side; never more than half of the eligible names on a long-short book.
    fraction_per_side : float or None
        Instead of `names_per_side`: fraction of the eligible names, at least one name.
    weighting : {"equal", "rank"}
        Rank: weights proportional to m, m-1, ..., 1 from the best of m picks to the last.
    gross_exposure : float
        Sum of absolute target weights, fraction of equity.
    max_weight_frac : float
        Cap on one name as a fraction of the tranche's capital. What the cap cuts off goes to the
        side's other names in proportion; when all are capped the rest stays in cash.
    rebalance : {"full", "staggered"}
        Full: the whole book every `rebalance_sessions`. Staggered: as many tranches of equal
        capital as `rebalance_sessions`, one of them re-decided each session.
    rebalance_sessions : int
        Holding period in sessions.
    rank_buffer : int
        A name already held on a side stays while its rank is within `names_per_side` plus this
        many names, which lowers turnover. 0 = off.
    no_trade_band_frac : float
        A position that keeps its side is left alone while it is within this fraction of its target
        size. Entries and exits always trade. 0 = off.

    Examples
    --------
    >>> PortfolioConfig(names_per_side=10, rebalance="staggered", rebalance_sessions=5).n_tranches
    5
    """

    mode: Literal["long_short", "long_only"] = "long_short"
    names_per_side: int | None = Field(default=50, ge=1)
    fraction_per_side: float | None = Field(default=None, gt=0.0, le=1.0)
    weighting: Literal["equal", "rank"] = "equal"
    gross_exposure: float = Field(default=1.0, gt=0.0)
    max_weight_frac: float = Field(default=0.05, gt=0.0)
    rebalance: Literal["full", "staggered"] = "full"
    rebalance_sessions: int = Field(default=1, ge=1)
    rank_buffer: int = Field(default=0, ge=0)
    no_trade_band_frac: float = Field(default=0.0, ge=0.0)

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if (self.names_per_side is None) == (self.fraction_per_side is None):
            raise ValueError(
                "give exactly one of names_per_side and fraction_per_side; set the other to null"
            )
        if self.mode == "long_short" and (self.fraction_per_side or 0.0) > 0.5:
            raise ValueError("fraction_per_side of a long-short book is at most 0.5")
        return self

    @property
    def n_tranches(self) -> int:
        """Number of separately held books: `rebalance_sessions` when staggered, else 1."""
        return self.rebalance_sessions if self.rebalance == "staggered" else 1


@dataclass(frozen=True, eq=False)
class TargetWeights:
    """Wanted weights per decision session.

    Parameters
    ----------
    weights : ndarray of float64, shape (T, N)
        Row t: wanted weights of the tranche re-decided after the close of session t, as fractions
        of that tranche's capital (equity / `n_tranches`); 0 = not held. Rows without a decision
        are 0 and mean nothing.
    tranche : ndarray of int64, shape (T,)
        Tranche re-decided by row t, or -1 where nothing is decided and positions stay.
    n_tranches : int
        Number of tranches.
    """

    weights: FloatMatrix
    tranche: npt.NDArray[np.int64]
    n_tranches: int

    @property
    def decision_rows(self) -> npt.NDArray[np.int64]:
        """Rows on which something is decided, ascending."""
        return np.flatnonzero(self.tranche != NO_DECISION)


def target_weights(
    scores: FloatMatrix,
    *,
    config: PortfolioConfig,
    asset_ids: Sequence[str],
    allowed_long: BoolMatrix | None = None,
    allowed_short: BoolMatrix | None = None,
    size_multiplier: FloatVector | None = None,
) -> TargetWeights:
    """Turn scores into target weights, row by row.

    Parameters
    ----------
    scores : ndarray, shape (T, N)
        Score known after the close of each session; higher is better, any unit. NaN = no opinion,
        so the name is not held. A row without any usable score decides nothing.
    config : PortfolioConfig
        Shape of the book.
    asset_ids : sequence of str, length N
        Column identifiers, which order equal scores.
    allowed_long, allowed_short : ndarray of bool, shape (T, N), optional
        Names that may be held on a side, as known at the same close; all by default.
    size_multiplier : ndarray, shape (T,), optional
        Factor on the weights of each row (regime sizing); 0 = go flat. All 1 by default.

    Returns
    -------
    TargetWeights
        Weights in the column order of `scores`.

    Raises
    ------
    SchemaMismatchError
        Shapes that differ.
    EmptyDataError
        No row has a usable score.
    ConfigError
        A long-short book of a single asset.

    Examples
    --------
    >>> book = PortfolioConfig(names_per_side=1, max_weight_frac=1.0)
    >>> ids = ("A@US#1", "B@US#1", "C@US#1")
    >>> target_weights(np.array([[0.3, 0.1, np.nan]]), config=book, asset_ids=ids).weights
    array([[ 0.5, -0.5,  0. ]])
    """
    values = parse_matrix("scores", scores)
    _check_shapes(values, config, asset_ids, allowed_long, allowed_short)
    column_order = id_order(asset_ids)
    in_order = np.array_equal(column_order, np.arange(values.shape[1]))
    columns = None if in_order else column_order
    ranked = values if columns is None else np.ascontiguousarray(values[:, columns])
    long_ok = _side_mask(allowed_long, values, columns)
    short_ok = _side_mask(allowed_short, values, columns)
    if config.mode == "long_only":
        short_ok = np.zeros_like(short_ok)
    usable = np.isfinite(ranked) & (long_ok | short_ok)
    tranche = schedule(usable.any(axis=1), config)
    if (tranche == NO_DECISION).all():
        raise _nothing_usable(values)
    factor = np.ones(len(values)) if size_multiplier is None else size_multiplier
    decided = np.flatnonzero(tranche != NO_DECISION)
    # Zero is added because an order of rows takes no -0.0.
    negated = np.where(usable[decided], 0.0 - ranked[decided], np.nan)
    best_first = row_order(negated)[0]
    weights = np.zeros(values.shape)
    _fill_weights(
        ranked, best_first, (long_ok, short_ok), tranche, np.asarray(factor, np.float64),
        _shape_of(config), weights,
    )  # fmt: skip
    if in_order:
        return TargetWeights(weights, tranche, config.n_tranches)
    restored = np.empty_like(weights)
    restored[:, column_order] = weights
    return TargetWeights(restored, tranche, config.n_tranches)


def schedule(has_scores: npt.NDArray[np.bool_], config: PortfolioConfig) -> npt.NDArray[np.int64]:
    """Say which sessions decide, and for which tranche.

    Parameters
    ----------
    has_scores : ndarray of bool, shape (T,)
        Whether any usable score is known after the close of each session.
    config : PortfolioConfig
        Its `rebalance` and `rebalance_sessions`.

    Returns
    -------
    ndarray of int64, shape (T,)
        Tranche re-decided, or -1. Full: a session with scores at least `rebalance_sessions` after
        the previous decision. Staggered: tranches take turns from the first session with scores;
        a tranche whose turn has no scores keeps its book until its next turn.

    Examples
    --------
    >>> every_other = PortfolioConfig(rebalance_sessions=2)
    >>> schedule(np.array([False, True, True, True, False, True]), every_other).tolist()
    [-1, 0, -1, 0, -1, 0]
    >>> two_books = PortfolioConfig(rebalance="staggered", rebalance_sessions=2)
    >>> schedule(np.array([False, True, True, True, False, True]), two_books).tolist()
    [-1, 0, 1, 0, -1, 0]
    """
    rows = np.flatnonzero(has_scores)
    tranche = np.full(len(has_scores), NO_DECISION, dtype=np.int64)
    if rows.size == 0:
        return tranche
    if config.rebalance == "staggered":
        tranche[rows] = (rows - rows[0]) % config.rebalance_sessions
        return tranche
    last = -config.rebalance_sessions
    for row in rows:
        if row - last >= config.rebalance_sessions:
            tranche[row] = 0
            last = row
    return tranche


def _nothing_usable(values: FloatMatrix) -> EmptyDataError:
    return EmptyDataError(
        "scores",
        wanted="at least one finite score of an eligible asset",
        got=f"{int(np.isfinite(values).sum())} finite scores, none of them usable",
        hint="Check that scores fall on sessions where the asset is a member and trades.",
    )


def _check_shapes(
    values: FloatMatrix,
    config: PortfolioConfig,
    asset_ids: Sequence[str],
    *masks: BoolMatrix | None,
) -> None:
    for name, mask in zip(("allowed_long", "allowed_short"), masks, strict=True):
        if mask is not None and mask.shape != values.shape:
            raise SchemaMismatchError(
                name, wanted=f"shape {values.shape}", got=mask.shape, hint="Align it with scores."
            )
    if len(asset_ids) != values.shape[1]:
        raise SchemaMismatchError(
            "asset_ids",
            wanted=f"{values.shape[1]} identifiers, one per column of scores",
            got=len(asset_ids),
            hint="Pass the panel's asset_ids.",
        )
    if config.mode == "long_short" and values.shape[1] < 2:
        raise ConfigError(
            "mode",
            wanted="at least two assets for a long-short book",
            got=f"{values.shape[1]} asset",
            hint="Use mode='long_only', or a wider panel.",
        )


def _side_mask(
    mask: BoolMatrix | None, values: FloatMatrix, columns: npt.NDArray[np.int64] | None
) -> BoolMatrix:
    if mask is None:
        return np.ones(values.shape, dtype=np.bool_)
    allowed = np.asarray(mask, dtype=np.bool_)
    return np.ascontiguousarray(allowed if columns is None else allowed[:, columns])


def _shape_of(config: PortfolioConfig) -> tuple[int, float, bool, bool, float, float, int, int]:
    """Config as the plain numbers that the kernel takes."""
    return (
        config.names_per_side or 0,
        config.fraction_per_side or 0.0,
        config.mode == "long_short",
        config.weighting == "rank",
        config.gross_exposure,
        config.max_weight_frac,
        config.rank_buffer,
        config.n_tranches,
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_weights(scores, best_first, sides_ok, tranche, multiplier, shape, weights):
    long_ok, short_ok = sides_ok
    n_names, fraction, is_long_short, by_rank, gross, cap, buffer, n_tranches = shape
    n_rows, n_assets = scores.shape
    side_held = np.zeros((n_tranches, n_assets), np.int8)
    picks = np.empty(n_assets, np.int64)
    picked = np.zeros(n_assets, np.bool_)
    n_decided = 0
    for t in range(n_rows):
        k = tranche[t]
        if k < 0:
            continue
        order = best_first[n_decided]
        n_decided += 1
        n = 0
        while n < n_assets:
            i = order[n]
            if not (np.isfinite(scores[t, i]) and (long_ok[t, i] or short_ok[t, i])):
                break
            n += 1
        size = n_names if n_names > 0 else max(1, int(np.floor(fraction * n + 1e-9)))
        zone = n // 2 if is_long_short else n
        size = min(size, zone)
        side_gross = gross / 2.0 if is_long_short else gross
        held = side_held[k].copy()
        side_held[k, :] = 0
        for side in (1, -1):
            if side == -1 and not is_long_short:
                continue
            allowed = long_ok[t] if side == 1 else short_ok[t]
            picked[:] = False
            m = _pick(order, n, side, size, (zone, buffer), allowed, held, picked, picks)
            _weigh(picks, m, side * side_gross * multiplier[t], by_rank, cap, weights[t])
            for j in range(m):
                side_held[k, picks[j]] = side


@njit(cache=True, nogil=True)
def _pick(order, n, side, size, zone_and_buffer, allowed, held, picked, picks):
    """Fill `picks` with up to `size` columns of a side, best first; return how many.

    The side looks only at its own half of the order (`zone`), so both sides never want one name.
    """
    zone, buffer = zone_and_buffer
    kept = 0
    for position in range(min(size + buffer, zone) if buffer > 0 else 0):
        i = order[position] if side == 1 else order[n - 1 - position]
        if kept < size and held[i] == side and allowed[i]:
            picked[i] = True
            kept += 1
    for position in range(zone):
        if kept >= size:
            break
        i = order[position] if side == 1 else order[n - 1 - position]
        if allowed[i] and not picked[i]:
            picked[i] = True
            kept += 1
    m = 0
    for position in range(zone):
        i = order[position] if side == 1 else order[n - 1 - position]
        if picked[i]:
            picks[m] = i
            m += 1
    return m


@njit(cache=True, nogil=True, error_model="numpy")
def _weigh(picks, m, side_gross, by_rank, cap, row):
    """Write the weights of m picks, best first, that sum to `side_gross` under the cap.

    Raw weights fall with rank, so the capped names are a head of the list: cap the first one while
    its share of what is left exceeds the cap, then share the rest in proportion.
    """
    total = m * (m + 1) / 2.0 if by_rank else float(m)
    left = abs(side_gross)
    sign = 1.0 if side_gross >= 0.0 else -1.0
    for j in range(m):
        raw = float(m - j) if by_rank else 1.0
        weight = left * raw / total
        if weight > cap:
            row[picks[j]] = sign * cap
            left -= cap
            total -= raw
        else:
            for rest in range(j, m):
                raw = float(m - rest) if by_rank else 1.0
                row[picks[rest]] = sign * left * raw / total
            return
