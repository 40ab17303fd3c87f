"""Poisoned futures: everything after one date replaced by something that never happened."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.panel import GroupTable, Panel

_OHLC = ("open", "high", "low", "close")
# Large daily moves, so that every statistic of the full sample is moved too.
_WALK_VOL = 0.06
_MISSING_SHARE = 0.1
_VANISHING_SHARE = 0.2


def poison_future(panel: Panel, *, cut: int, seed: int) -> Panel:
    """Replace everything after a row by something that never happened.

    Open, high, low and close go on as one random walk per asset from their last values and keep
    their order (high on top, low at the bottom); other fields walk on their own, positive ones by
    factors. A tenth of the later cells is missing, some assets vanish for good, and cells that
    were missing may be filled. Masks and groups are redrawn.

    Parameters
    ----------
    panel : Panel
        True data, shape (T, N).
    cut : int
        Last row that stays as it is.
    seed : int
        Seed of the draw.

    Returns
    -------
    Panel
        Same axes, names and dtypes; rows up to the cut are the same bits.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03"])
    >>> panel = Panel(axis, ("A@US#1",), {"close": np.array([[10.0], [10.0]])})
    >>> poisoned = poison_future(panel, cut=0, seed=1).field("close")
    >>> float(poisoned[0, 0]), bool(poisoned[1, 0] == 10.0)
    (10.0, False)
    """
    rng = np.random.default_rng(seed)
    n_times, n_assets = panel.shape
    shape = (n_times - cut - 1, n_assets)
    missing = rng.random(shape) < _MISSING_SHARE
    vanished = rng.random(n_assets) < _VANISHING_SHARE
    last_seen = rng.integers(0, max(1, shape[0]), n_assets)
    missing |= vanished & (np.arange(shape[0])[:, None] >= last_seen)
    futures = _walk_prices(panel, cut, shape, rng)
    for name, values in panel.fields.items():
        if name not in futures:
            futures[name] = _walk(values[: cut + 1], shape, rng)
    fields = {
        name: _spliced(values, np.where(missing, np.nan, futures[name]), cut)
        for name, values in panel.fields.items()
    }
    masks = {
        name: _spliced(mask, (rng.random(shape) < 0.5) & ~missing, cut)
        for name, mask in panel.masks.items()
    }
    groups = {
        name: GroupTable(
            _spliced(table.codes, rng.integers(-1, len(table.categories), shape), cut),
            table.categories,
        )
        for name, table in panel.groups.items()
    }
    return dataclasses.replace(panel, fields=fields, masks=masks, groups=groups)


def _walk_prices(
    panel: Panel, cut: int, shape: tuple[int, int], rng: np.random.Generator
) -> dict[str, FloatMatrix]:
    """Continue open, high, low and close as one walk, so that bars stay well formed."""
    known = [name for name in _OHLC if name in panel.fields]
    if not known:
        return {}
    anchor = _last_values(panel.fields[known[-1]][: cut + 1])
    close = anchor * np.exp(np.cumsum(rng.normal(0, _WALK_VOL, shape), axis=0))
    gap, up, down = (np.exp(np.abs(rng.normal(0, _WALK_VOL, shape))) for _ in range(3))
    opening = close * gap
    bars = {
        "open": opening,
        "high": np.maximum(opening, close) * up,
        "low": np.minimum(opening, close) / down,
        "close": close,
    }
    return {name: bars[name] for name in known}


def _walk(past: FloatMatrix, shape: tuple[int, int], rng: np.random.Generator) -> FloatMatrix:
    """Continue any other field: by factors where the past is positive, else by steps."""
    anchor = _last_values(past)
    steps = np.cumsum(rng.normal(0, 1, shape), axis=0)
    finite = past[np.isfinite(past)]
    if finite.size and finite.min() > 0:
        return anchor * np.exp(4 * _WALK_VOL * steps)
    spread = float(finite.std()) if finite.size else 0.0
    return anchor + steps * (spread or 1.0)


def _last_values(past: FloatMatrix) -> npt.NDArray[np.float64]:
    """Last finite value of each asset, shape (N,); the median of all, or 1, where it has none."""
    finite = np.isfinite(past)
    fallback = float(np.median(past[finite])) if finite.any() else 1.0
    row = past.shape[0] - 1 - np.argmax(finite[::-1], axis=0)
    values = past[row, np.arange(past.shape[1])].astype(np.float64)
    return np.where(finite.any(axis=0), values, fallback)


def _spliced(values: npt.NDArray[Any], future: npt.NDArray[Any], cut: int) -> npt.NDArray[Any]:
    whole = values.copy()
    whole[cut + 1 :] = future
    return whole
