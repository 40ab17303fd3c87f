"""Frames that walk-forward evaluation works on: looks at events, their cells, legs and labels.

A look is one event seen at one distance before its schedule. Its cells are the outcomes that the
ladder can tell apart, in rising order, with the market's probability of each. Legs are what can be
traded, each paying on a run of cells. Labels are kept apart, so that nothing that forecasts can
read them by accident.

Contract: every look knows what it rests on before it is due; a frame that does not is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.errors import DataError, LookAheadError, MissingFieldError
from quant_engine.core.hashing import array_digest, sha256_json
from quant_engine.kalshi.scoring import SUM_TOLERANCE

__all__ = [
    "LEAST_PROB",
    "LOOK_KEY",
    "CellArrays",
    "EventFrames",
    "cell_arrays",
    "frames_digest",
    "logit",
]

IntVector = npt.NDArray[np.int64]

LOOK_KEY = ["event_id", "horizon_s"]
"""What names a look: event and whole seconds before its schedule."""

LOOK_COLUMNS = (
    "cluster_id", "family", "series", "event_ticker", "regime", "asof_us", "scheduled_us",
    "max_input_avail_us",
)  # fmt: skip
CELL_COLUMNS = (*LOOK_KEY, "cell", "market_prob")
LABEL_COLUMNS = ("happened", "label_avail_us")
LEG_COLUMNS = (
    *LOOK_KEY, "ticker", "first_cell", "last_cell", "bid_e4", "ask_e4", "bid_size_c2",
    "ask_size_c2", "next_bid_e4", "next_ask_e4", "next_bid_size_c2", "next_ask_size_c2",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class EventFrames:
    """Input of a walk-forward evaluation, checked when it is made.

    Parameters
    ----------
    looks : DataFrame, index (event_id, horizon_s)
        ``cluster_id`` (the real-world event: looks of one cluster never part), ``family`` (decides
        the purge), ``series`` and ``event_ticker`` (decide the fee), ``regime`` (text),
        ``asof_us``, ``scheduled_us``, ``max_input_avail_us`` (microseconds UTC) and the columns
        that `features` names.
    cells : DataFrame
        One row per look and cell: ``event_id, horizon_s, cell`` (0, 1, ... in rising order of the
        outcome), ``market_prob`` (adds up to 1 per look; the prices' own distribution, not ours)
        and the columns that `cell_features` names.
    labels : DataFrame, index (event_id, horizon_s)
        ``happened`` (cell) and ``label_avail_us``. Per look, because strikes can be listed in
        mid-life, so that one outcome lies in another cell.
    legs : DataFrame, optional
        What can be traded: ``event_id, horizon_s, ticker, first_cell, last_cell`` (pays on these
        and all between), ``bid_e4, ask_e4`` (-1 = none), ``bid_size_c2, ask_size_c2``, and the
        same four with ``next_`` at the following snapshot. ``traded_low_e4, traded_high_e4``
        (lowest and highest print before the following snapshot) where resting orders are
        simulated.
    features, cell_features : tuple of str
        Columns that models may read; NaN = not known.

    Raises
    ------
    MissingFieldError
        A column is absent.
    DataError
        Doubled or unordered rows, cells without a gapless numbering, probabilities that do not add
        up to 1, looks without a label, legs outside the cells.
    LookAheadError
        A look that rests on something later than itself, that is not before its schedule, or a
        label that was known before the schedule.

    Examples
    --------
    >>> from quant_engine.kalshi.fake.edge_worlds import EdgeWorldConfig, make_edge_world
    >>> frames = make_edge_world(EdgeWorldConfig(seed=1, n_clusters=3)).frames
    >>> len(frames.looks), len(frames.cells), len(frames.legs)
    (6, 48, 48)
    """

    looks: pd.DataFrame
    cells: pd.DataFrame
    labels: pd.DataFrame
    legs: pd.DataFrame | None = None
    features: tuple[str, ...] = ()
    cell_features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check every promise of the class text."""
        _require("looks", self.looks, (*LOOK_COLUMNS, *self.features))
        _require("cells", self.cells, (*CELL_COLUMNS, *self.cell_features))
        _require("labels", self.labels, LABEL_COLUMNS)
        _check_looks(self.looks)
        places = _places(self.looks, self.cells, "cells")
        counts = _check_cells(self.cells, places, len(self.looks))
        _check_labels(self.looks, self.labels, counts)
        if self.legs is not None:
            _require("legs", self.legs, LEG_COLUMNS)
            _check_legs(self.legs, counts[_places(self.looks, self.legs, "legs")])


@dataclass(frozen=True, eq=False)
class CellArrays:
    """Cells of all looks as arrays; L looks in the order of the frame, N cells.

    Parameters
    ----------
    look : ndarray of int64, shape (N,)
        Position of the look of each cell.
    start : ndarray of int64, shape (L + 1,)
        Where the cells of each look begin.
    prob : ndarray of float64, shape (N,)
        The market's probabilities.
    x : ndarray of float64, shape (N, k)
        What models read; the first column is the market's logit.
    names : tuple of str
        Columns of `x`.
    horizon_s : ndarray of int64, shape (L,)
        Distance of each look, seconds.
    cluster : ndarray, shape (L,)
        Cluster of each look.
    """

    look: IntVector
    start: IntVector
    prob: FloatVector
    x: FloatMatrix
    names: tuple[str, ...]
    horizon_s: IntVector
    cluster: npt.NDArray[Any] = field(repr=False)

    def cells_of(self, looks: IntVector) -> IntVector:
        """Positions of the cells of some looks, in their order."""
        return np.concatenate(
            [np.arange(self.start[i], self.start[i + 1]) for i in looks], dtype=np.int64
        )

    def outcome(self, happened: npt.ArrayLike) -> FloatVector:
        """1 in the cell that happened, else 0, shape (N,), from one cell number per look."""
        hit = np.zeros(len(self.look))
        hit[self.start[:-1] + np.asarray(happened, dtype=np.int64)] = 1.0
        return hit

    def normalised(self, values: FloatVector, looks: IntVector | None = None) -> FloatVector:
        """Positive values divided by their sum per look; all cells, or those of `looks`."""
        group = self.look if looks is None else self.look[self.cells_of(looks)]
        total = np.bincount(group, weights=values, minlength=len(self.horizon_s))
        return np.asarray(values / total[group])


LEAST_PROB = 1e-4
"""Price of the finest tick: logits of smaller probabilities are taken here."""


def logit(prob: npt.ArrayLike) -> FloatVector:
    """Log odds of probabilities that are kept a tick from 0 and 1, same shape.

    Parameters
    ----------
    prob : array-like, any shape
        Probabilities.

    Returns
    -------
    ndarray of float64
        ``log(p / (1 - p))`` with p in [:data:`LEAST_PROB`, 1 - :data:`LEAST_PROB`].

    Examples
    --------
    >>> logit([0.5, 0.0]).round(2).tolist()
    [0.0, -9.21]
    """
    p = np.clip(np.asarray(prob, dtype=np.float64), LEAST_PROB, 1.0 - LEAST_PROB)
    return np.asarray(np.log(p) - np.log1p(-p))


def cell_arrays(frames: EventFrames) -> CellArrays:
    """Turn frames into arrays for models.

    Parameters
    ----------
    frames : EventFrames
        Input; labels are not read.

    Returns
    -------
    CellArrays
        Columns: market logit, the market's distribution function at the middle of the cell, log
        of the horizon, then features of cells and of looks.

    Examples
    --------
    >>> from quant_engine.kalshi.fake.edge_worlds import EdgeWorldConfig, make_edge_world
    >>> cell_arrays(make_edge_world(EdgeWorldConfig(seed=1, n_clusters=3)).frames).names[:3]
    ('market_logit', 'market_cdf', 'log_horizon')
    """
    look = _places(frames.looks, frames.cells, "cells")
    n_looks = len(frames.looks)
    start = np.concatenate(([0], np.cumsum(np.bincount(look, minlength=n_looks))))
    prob = frames.cells["market_prob"].to_numpy(dtype=np.float64)
    total = np.cumsum(prob)
    before = np.concatenate(([0.0], total))[start[:-1]]
    horizon = frames.looks.index.get_level_values("horizon_s").to_numpy(dtype=np.int64)
    own = [frames.cells[name].to_numpy(dtype=np.float64) for name in frames.cell_features]
    whole = [frames.looks[name].to_numpy(dtype=np.float64)[look] for name in frames.features]
    columns = [logit(prob), total - before[look] - prob / 2.0, np.log(horizon)[look], *own, *whole]
    return CellArrays(
        look=look,
        start=start.astype(np.int64),
        prob=prob,
        x=np.column_stack(columns),
        names=("market_logit", "market_cdf", "log_horizon", *frames.cell_features,
               *frames.features),
        horizon_s=horizon,
        cluster=frames.looks["cluster_id"].to_numpy(),
    )  # fmt: skip


def frames_digest(frames: EventFrames) -> str:
    """Hash of all columns that an evaluation reads.

    Parameters
    ----------
    frames : EventFrames
        Input.

    Returns
    -------
    str
        64 hexadecimal characters; equal content in equal order gives an equal hash.
    """
    tables = {
        "looks": frames.looks.reset_index()[[*LOOK_KEY, *LOOK_COLUMNS, *frames.features]],
        "cells": frames.cells[[*CELL_COLUMNS, *frames.cell_features]],
        "labels": frames.labels.reset_index()[[*LOOK_KEY, *LABEL_COLUMNS]],
    }
    if frames.legs is not None:
        tables["legs"] = frames.legs
    return sha256_json(
        {
            name: {str(column): _column_digest(table[column]) for column in table.columns}
            for name, table in tables.items()
        }
    )


def _column_digest(column: pd.Series[Any]) -> str:
    if column.dtype.kind in "iufb":
        return array_digest(column.to_numpy())
    return sha256_json([str(value) for value in column])


def _require(name: str, frame: pd.DataFrame, columns: tuple[str, ...]) -> None:
    absent = [column for column in columns if column not in frame.columns]
    if absent:
        raise MissingFieldError(
            name,
            wanted="columns " + ", ".join(columns),
            got="without " + ", ".join(absent),
            hint="See EventFrames for what each column holds.",
        )


def _check_looks(looks: pd.DataFrame) -> None:
    named = list(looks.index.names) == LOOK_KEY
    if not named or not looks.index.is_unique or len(looks) == 0:
        raise DataError(
            "looks",
            wanted="at least one row, indexed once by event_id and horizon_s",
            got=f"{len(looks)} rows, index {list(looks.index.names)}",
            hint="Use set_index(['event_id', 'horizon_s']) on one row per look.",
        )
    asof = looks["asof_us"].to_numpy()
    late = looks["max_input_avail_us"].to_numpy() > asof
    late |= asof >= looks["scheduled_us"].to_numpy()
    if late.any():
        raise LookAheadError(
            "looks",
            wanted="max_input_avail_us <= asof_us < scheduled_us in every row",
            got=f"{int(late.sum())} rows otherwise, such as {looks.index[int(late.argmax())]}",
            hint="Rebuild the panel as of the decision time.",
        )


def _places(looks: pd.DataFrame, frame: pd.DataFrame, name: str) -> IntVector:
    """Position of the look of each row."""
    places = looks.index.get_indexer(pd.MultiIndex.from_frame(frame[LOOK_KEY]))
    if (places < 0).any():
        raise DataError(
            name,
            wanted="rows of looks that exist",
            got=f"{int((places < 0).sum())} rows of others",
            hint="Cut all frames to the same looks.",
        )
    return places.astype(np.int64)


def _check_cells(cells: pd.DataFrame, places: IntVector, n_looks: int) -> IntVector:
    counts = np.bincount(places, minlength=n_looks)
    start = np.cumsum(counts) - counts
    is_ordered = (np.diff(places) >= 0).all() and (
        cells["cell"].to_numpy() == np.arange(len(cells)) - start[places]
    ).all()
    prob = cells["market_prob"].to_numpy(dtype=np.float64)
    total = np.bincount(places, weights=prob, minlength=n_looks)
    sums = bool(np.isfinite(prob).all()) and prob.min(initial=0.0) >= 0.0
    sums = sums and float(np.abs(total - 1.0).max()) <= SUM_TOLERANCE
    if not is_ordered or counts.min() < 2 or not sums:
        raise DataError(
            "cells",
            wanted="per look, in the order of looks, cells 0, 1, ... (two or more) whose "
            "market_prob adds up to 1",
            got="rows that are unordered, missing, or that add up otherwise",
            hint="A look without a distribution is left out; prices are divided by their sum.",
        )
    return counts.astype(np.int64)


def _check_labels(looks: pd.DataFrame, labels: pd.DataFrame, counts: IntVector) -> None:
    if not labels.index.equals(looks.index):
        raise DataError(
            "labels",
            wanted="one row per look, in its order",
            got=f"{len(labels)} rows for {len(looks)} looks",
            hint="Leave out looks whose event has not settled.",
        )
    happened = labels["happened"].to_numpy()
    if happened.dtype.kind not in "iu" or (happened < 0).any() or (happened >= counts).any():
        raise DataError(
            "happened",
            wanted="the number of a cell of its look",
            got="others",
            hint="Use Lattice.cell_of for the settlement value.",
        )
    if (labels["label_avail_us"].to_numpy() < looks["scheduled_us"].to_numpy()).any():
        raise LookAheadError(
            "label_avail_us",
            wanted="labels that become known at the schedule or later",
            got="labels that were known before",
            hint="An event that settled early has no look behind its settlement.",
        )


def _check_legs(legs: pd.DataFrame, n_cells: IntVector) -> None:
    first, last = legs["first_cell"].to_numpy(), legs["last_cell"].to_numpy()
    prices = legs[["bid_e4", "ask_e4", "next_bid_e4", "next_ask_e4"]].to_numpy()
    sizes = legs[[name for name in LEG_COLUMNS if name.endswith("size_c2")]].to_numpy()
    inside = (0 <= first).all() and (first <= last).all() and (last < n_cells).all()
    whole = prices.dtype.kind in "iu" and sizes.dtype.kind in "iu"
    if not inside or not whole or prices.min() < -1 or prices.max() > 10_000 or sizes.min() < 0:
        raise DataError(
            "legs",
            wanted="runs of cells of their look, whole prices from -1 to 10000, sizes from 0",
            got="others",
            hint="Prices are 1e-4 dollars, sizes 0.01 contracts; -1 = nobody quotes.",
        )
