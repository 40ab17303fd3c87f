"""From the event panel to the frames of a walk-forward: atoms, raw market, legs and labels.

The cells of a look are the atoms of its ladder, the coarsest parts of the settlement values on
which no leg changes its payoff. The market's probability of an atom comes from prices alone
(middles, or last prices where quotes are implied from trades): divided by their sum for bins that
cover everything, and differences of the monotone sequence for nested half-lines. Ladders of another
kind have no such distribution and are left out by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import EmptyDataError, MissingFieldError
from quant_engine.kalshi.event_frames import LOOK_KEY, EventFrames
from quant_engine.kalshi.events import LadderLook
from quant_engine.kalshi.exchange.fixed import ONE_DOLLAR_E4
from quant_engine.kalshi.lattice import (
    IndexInterval,
    LadderStructure,
    find_structure_faults,
    ladder_structure,
)
from quant_engine.kalshi.panel import EventPanel, PanelConfig
from quant_engine.kalshi.quotes import NO_QUOTE, LadderQuotes, ladder_quotes
from quant_engine.stats.recalibration import pool_adjacent_violators

__all__ = ["PanelFrames", "frames_of_panel", "market_atoms"]

LookKey = tuple[int, int]
FITTED_GAP = "fitted_gap"
"""Feature of cells: the fitted distribution's probability less the market's; NaN without a fit."""
TRADE_SOURCE = "trade"
NO_REGIME = "all"
"""Regime of every look where none is given: too few regimes for a promotion."""


@dataclass(frozen=True, eq=False)
class PanelFrames:
    """Frames, and the looks that have no place in them.

    Parameters
    ----------
    frames : EventFrames
        Looks with a market, a label and a cluster.
    left_out : dict of (int, int) to str
        Event and horizon to the reason.
    """

    frames: EventFrames
    left_out: dict[LookKey, str]


def market_atoms(structure: LadderStructure, quotes: LadderQuotes) -> FloatVector | None:
    """Probability of each atom from prices alone.

    Parameters
    ----------
    structure : LadderStructure
        Ladder.
    quotes : LadderQuotes
        Its quotes.

    Returns
    -------
    ndarray of float64, shape (A,), or None
        Adds up to 1. None where a leg is not quoted, where the ladder is of kind ``mixed``, or
        where bins do not cover every settlement value.

    Notes
    -----
    Bins: middles over their sum. Half-lines: middles pooled to a monotone sequence (adjacent
    violators), then differenced between 0 and 1.
    """
    return _atoms(structure, np.where(quotes.is_quoted, quotes.middle, np.nan))


def _atoms(structure: LadderStructure, middle: FloatVector) -> FloatVector | None:
    """Probability of each atom from one of each leg; None as :func:`market_atoms`."""
    if np.isnan(middle).any():
        return None
    if structure.kind == "exclusive" and structure.is_covering and middle.sum() > 0.0:
        return np.asarray(structure.pays @ (middle / middle.sum()))
    if structure.kind != "threshold":
        return None
    counts = structure.pays.sum(axis=0)
    pays_above = bool(structure.pays[-1].all())
    if not pays_above and not bool(structure.pays[0].all()):
        return None  # both directions: not nested
    order = np.argsort(counts)
    rising = pool_adjacent_violators(middle[order])
    total = np.clip(np.concatenate(([0.0], rising, [1.0])), 0.0, 1.0)
    # A leg that pays on more atoms is worth more: differences are atoms from the narrow side.
    parts = np.diff(total)
    return np.asarray(parts[::-1] if pays_above else parts)


def frames_of_panel(
    panel: EventPanel,
    looks: Iterable[LadderLook],
    labels: pd.DataFrame,
    *,
    config: PanelConfig,
    series_of: Mapping[str, str],
    later: Iterable[LadderLook] = (),
    regimes: pd.Series | None = None,
) -> PanelFrames:
    """Turn a panel with its looks and labels into frames.

    Parameters
    ----------
    panel : EventPanel
        Features per event and horizon.
    looks : iterable of LadderLook
        What the panel was made of.
    labels : DataFrame, index event_id
        ``value`` and ``label_avail_us``, as `panel_store.label_frame` gives them.
    config : PanelConfig
        Settlement grids.
    series_of : mapping of str to str
        Event ticker to series ticker, for the fee.
    later : iterable of LadderLook
        Looks at the same events one snapshot after each look, with the horizon of the look that
        they follow; a leg without one has no following quote.
    regimes : Series of str, index (event_id, horizon_s), optional
        Regime of each look.

    Returns
    -------
    PanelFrames

    Raises
    ------
    EmptyDataError
        No look has a market, a label and a cluster.
    MissingFieldError
        An event without a series.
    LookAheadError
        As :class:`~quant_engine.kalshi.event_frames.EventFrames`.
    """
    known = {(look.event_id, look.horizon_s): look for look in looks}
    after = {(look.event_id, look.horizon_s): look for look in later}
    left_out: dict[LookKey, str] = {}
    rows, cells, legs = [], [], []
    for key, place in _identities(panel).items():
        found = _ladder(known.get(key), place, config)
        outcome = _first_print(labels, key[0])
        if isinstance(found, str) or outcome is None:
            left_out[key] = found if isinstance(found, str) else "no outcome"
            continue
        look, structure, market = found
        ticker = look.event_ticker
        if ticker not in series_of:
            raise MissingFieldError(
                "series_of", wanted=f"the series of {ticker}", got=None,
                hint="The fee of a trade depends on its series.",
            )  # fmt: skip
        value, label_avail_us = outcome
        rows.append((*key, _atom_of(structure, value), label_avail_us, series_of[ticker]))
        gap = _fitted(panel, key, structure) - market
        cells += [
            (*key, number, p, g)
            for number, (p, g) in enumerate(zip(market.tolist(), gap.tolist(), strict=True))
        ]
        legs += _legs(key, look, structure, after.get(key))
    if not rows:
        raise EmptyDataError(
            "panel",
            wanted="at least one look with a market, a label and a cluster",
            got=f"{len(left_out)} looks without",
            hint="See why: " + "; ".join(sorted(set(left_out.values()))),
        )
    kept = pd.DataFrame(rows, columns=[*LOOK_KEY, "happened", "label_avail_us", "series"])
    kept = kept.set_index(LOOK_KEY)
    frames = EventFrames(
        looks=_looks(panel, kept, regimes),
        cells=pd.DataFrame(cells, columns=[*LOOK_KEY, "cell", "market_prob", FITTED_GAP]),
        labels=kept[["happened", "label_avail_us"]],
        legs=pd.DataFrame(legs),
        features=tuple(panel.features.names),
        cell_features=(FITTED_GAP,),
    )
    return PanelFrames(frames, left_out)


def _identities(panel: EventPanel) -> dict[LookKey, bool]:
    """Event and horizon of every row, and whether its cluster is known."""
    events, horizons = (panel.looks.index.get_level_values(name) for name in LOOK_KEY)
    has_cluster = panel.looks["cluster_id"].notna()
    return {
        (int(e), int(h)): bool(known)
        for e, h, known in zip(events, horizons, has_cluster, strict=True)
    }


def _ladder(
    look: LadderLook | None, has_cluster: bool, config: PanelConfig
) -> tuple[LadderLook, LadderStructure, FloatVector] | str:
    """Ladder of a look with the market's atoms, or why there is none."""
    if look is None:
        return "no look"
    if not has_cluster:
        return "no cluster"
    grid = config.grid_of(look.family)
    faults = find_structure_faults(look.contracts, grid, is_exclusive=look.is_exclusive)
    if look.without_strikes or faults:
        return "the ladder has faults"
    structure = ladder_structure(look.contracts, grid, is_exclusive=look.is_exclusive)
    if config.look.source == TRADE_SOURCE:
        # Both takers' last prices are no quote of one moment; the last price is the market then.
        last = dict(zip((c.ticker for c in look.contracts), look.last_e4, strict=True))
        known = [last[ticker] for ticker in structure.tickers]
        prices = [np.nan if price is None else price / ONE_DOLLAR_E4 for price in known]
        market = _atoms(structure, np.array(prices))
    else:
        market = market_atoms(structure, ladder_quotes(structure, look.quotes))
    return "prices give no distribution" if market is None else (look, structure, market)


def _fitted(panel: EventPanel, key: LookKey, structure: LadderStructure) -> FloatVector:
    """Atoms of the fitted distribution, NaN where there is none."""
    none = np.full(len(structure.atoms), np.nan)
    if key not in panel.distributions or not panel.distributions[key].is_available:
        return none
    prob = panel.legs["probability"].loc[key].reindex(structure.tickers).to_numpy(np.float64)
    atoms = _atoms(structure, prob)
    return none if atoms is None else atoms


def _first_print(labels: pd.DataFrame, event_id: int) -> tuple[float, int] | None:
    """Settlement value and when it was known."""
    if event_id not in labels.index:
        return None
    row: Any = labels.loc[event_id]
    if pd.isna(row["value"]) or pd.isna(row["label_avail_us"]):
        return None
    return float(row["value"]), int(row["label_avail_us"])


def _atom_of(structure: LadderStructure, value: float) -> int:
    """Number of the atom that a settlement value lies in."""
    step = structure.grid.index_of(value)
    here = IndexInterval(step, step)
    return next(number for number, atom in enumerate(structure.atoms) if atom.contains(here))


def _looks(panel: EventPanel, kept: pd.DataFrame, regimes: pd.Series | None) -> pd.DataFrame:
    table = panel.looks.loc[kept.index]
    regime = NO_REGIME if regimes is None else regimes.reindex(kept.index).fillna(NO_REGIME)
    return table.assign(
        series=kept["series"],
        regime=regime,
        family=table["family"].fillna(""),
        cluster_id=table["cluster_id"].astype(np.int64),
    )


def _legs(
    key: LookKey, look: LadderLook, structure: LadderStructure, following: LadderLook | None
) -> list[dict[str, object]]:
    now = {quote.ticker: quote for quote in look.quotes}
    after = {} if following is None else {quote.ticker: quote for quote in following.quotes}
    rows = []
    for place, contract in enumerate(structure.contracts):
        on = np.flatnonzero(structure.pays[:, place])
        quote, then = now[contract.ticker], after.get(contract.ticker)
        rows.append({
            "event_id": key[0], "horizon_s": key[1], "ticker": contract.ticker,
            "first_cell": int(on[0]), "last_cell": int(on[-1]),
            "bid_e4": quote.bid_e4, "ask_e4": quote.ask_e4,
            "bid_size_c2": quote.bid_size_c2, "ask_size_c2": quote.ask_size_c2,
            "next_bid_e4": NO_QUOTE if then is None else then.bid_e4,
            "next_ask_e4": NO_QUOTE if then is None else then.ask_e4,
            "next_bid_size_c2": 0 if then is None else then.bid_size_c2,
            "next_ask_size_c2": 0 if then is None else then.ask_size_c2,
        })  # fmt: skip
    return rows
