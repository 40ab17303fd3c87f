"""Redrawn futures beside poisoned prices: universes, splits, and tables of dated facts.

Each function leaves everything that was known at the cut as it is and invents the rest.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant_engine.core.asof import KNOWN_TS
from quant_engine.core.panel import Panel

__all__ = ["Facts", "redraw_facts", "redraw_universe", "rescale_split"]

PRICE_FIELDS = ("open", "high", "low", "close", "vwap", "dividend")
"""Amounts per share: a split multiplies them; it divides ``volume``."""

SPLIT_FACTOR = 0.125
"""One share became eight. A power of two, so that products and quotients keep their last bit."""

_DELISTED_SHARE = 0.25
_DROPPED_SHARE = 1 / 3


@dataclass(frozen=True, eq=False)
class Facts:
    """A table of dated facts: filings, delistings, quotes, settlements.

    Parameters
    ----------
    frame : DataFrame
        One row per fact.
    known : str
        Column with the time from which on the fact is known.
    """

    frame: pd.DataFrame
    known: str = KNOWN_TS

    def until(self, when: np.datetime64) -> pd.DataFrame:
        """Return the facts known at a time."""
        return self.frame[~self.is_later(when)]

    def is_later(self, when: np.datetime64) -> pd.Series[bool]:
        """Tell which facts become known after a time."""
        return self.frame[self.known] > _stamp(when, self.frame[self.known])


def redraw_facts(facts: Facts, *, after: np.datetime64, seed: int) -> pd.DataFrame:
    """Replace every fact that was not known at a time, and restate some that were.

    A third of the later facts vanishes, the others get new values and come later; of the earlier
    ones a third is stated again after the cut, with other values.

    Parameters
    ----------
    facts : Facts
        True facts.
    after : datetime64
        Facts known by then stay as they are.
    seed : int
        Seed of the draw.

    Returns
    -------
    DataFrame
        The same columns and dtypes; the rows known at `after` come first and are unchanged.

    Examples
    --------
    >>> days = pd.to_datetime(["2020-01-02", "2020-03-02"])
    >>> facts = Facts(pd.DataFrame({"known_ts": days, "eps": [1.0, 2.0]}))
    >>> redrawn = redraw_facts(facts, after=np.datetime64("2020-02-01"), seed=1)
    >>> redrawn["eps"].iloc[0], bool((redrawn["eps"] == 2.0).any())
    (np.float64(1.0), False)
    """
    rng = np.random.default_rng(seed)
    is_later = facts.is_later(after)
    earlier, later = facts.frame[~is_later], facts.frame[is_later]
    later = later[rng.random(len(later)) >= _DROPPED_SHARE]
    restated = earlier[rng.random(len(earlier)) < _DROPPED_SHARE]
    delay = pd.to_timedelta(rng.integers(1, 60, len(restated)), unit="D")
    unit = facts.frame[facts.known].dt.unit
    stamp = _stamp(after, facts.frame[facts.known])
    restated = restated.assign(**{facts.known: (stamp + delay).as_unit(unit)})
    if len(later):
        moved = later[facts.known] + pd.to_timedelta(rng.integers(1, 9, len(later)), unit="D")
        later = later.assign(**{facts.known: moved.astype(facts.frame[facts.known].dtype)})
    invented = [part for part in (later, restated) if len(part)]
    if not invented:
        return earlier
    changed = pd.concat(invented)
    for name in changed.columns:
        values = facts.frame[name]
        if pd.api.types.is_float_dtype(values) and values.notna().any():
            # Inside the range of the true values, so that every check of the reader still holds.
            changed[name] = rng.uniform(values.min(), values.max(), len(changed))
    return pd.concat([earlier, changed], ignore_index=True)[list(facts.frame.columns)]


def redraw_universe(panel: Panel, *, cut: int, seed: int) -> Panel:
    """Redraw after a row who is a member and who is delisted when; prices stay true.

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
        A quarter of the assets ends at a random later row; every mask is redrawn in spells.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03"])
    >>> member = {"member": np.ones((2, 40), dtype=bool)}
    >>> ids = tuple(f"A{i:02d}@US#1" for i in range(40))
    >>> redrawn = redraw_universe(Panel(axis, ids, {}, member), cut=0, seed=1).mask("member")
    >>> bool(redrawn[0].all()), bool(redrawn[1].all())
    (True, False)
    """
    rng = np.random.default_rng(seed)
    n_later, n_assets = panel.shape[0] - cut - 1, panel.shape[1]
    row = np.arange(n_later)[:, None]
    ended = (rng.random(n_assets) < _DELISTED_SHARE) & (row >= rng.integers(0, n_later, n_assets))
    fields = {name: np.array(values) for name, values in panel.fields.items()}
    for values in fields.values():
        values[cut + 1 :][ended] = np.nan
    masks = {name: np.array(mask) for name, mask in panel.masks.items()}
    for mask in masks.values():
        first, last = np.sort(rng.integers(0, n_later + 1, (2, n_assets)), axis=0)
        mask[cut + 1 :] ^= (row >= first) & (row < last)
        mask[cut + 1 :] &= ~ended
    return dataclasses.replace(panel, fields=fields, masks=masks)


def rescale_split(panel: Panel, *, seed: int, factor: float = SPLIT_FACTOR) -> Panel:
    """Rescale the whole history of one asset, as adjusting for a later split does.

    Parameters
    ----------
    panel : Panel
        Split-adjusted data, shape (T, N).
    seed : int
        Seed of the choice among the assets with the longest histories.
    factor : float
        Multiplies amounts per share, divides volume.

    Returns
    -------
    Panel
        The same panel in which one asset has another price level.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> fields = {"close": np.array([[8.0]]), "volume": np.array([[5.0]])}
    >>> panel = Panel(TimeAxis.sessions(["2020-01-02"]), ("A@US#1",), fields)
    >>> other = rescale_split(panel, seed=0)
    >>> float(other.field("close")[0, 0]), float(other.field("volume")[0, 0])
    (1.0, 40.0)
    """
    some = next((name for name in PRICE_FIELDS if name in panel.fields), None)
    if some is None or not panel.shape[1]:
        return panel
    length = np.isfinite(panel.fields[some]).sum(axis=0)
    longest = np.flatnonzero(length >= np.median(length))
    asset = int(np.random.default_rng(seed).choice(longest))
    fields = {}
    for name in (*PRICE_FIELDS, "volume"):
        if name in panel.fields:
            values = np.array(panel.fields[name])
            values[:, asset] *= 1.0 / factor if name == "volume" else factor
            fields[name] = values
    return panel.with_fields(fields)


def _stamp(when: np.datetime64, like: pd.Series[pd.Timestamp]) -> pd.Timestamp:
    # A session stands for its end: facts of that day are known by then.
    stamp = pd.Timestamp(when)
    if np.datetime_data(when.dtype)[0] == "D":
        stamp += pd.Timedelta(days=1) - pd.Timedelta(microseconds=1)
    return stamp.tz_localize("UTC") if like.dt.tz is not None else stamp
