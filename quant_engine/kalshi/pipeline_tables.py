"""Tables of looks: distributions, quotes, raw markets and the panel, as artifacts hold them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.kalshi.bounds import Band
from quant_engine.kalshi.distribution import LadderDistribution
from quant_engine.kalshi.event_frames import LOOK_KEY
from quant_engine.kalshi.events import LadderLook
from quant_engine.kalshi.lattice import LadderStructure, find_structure_faults, ladder_structure
from quant_engine.kalshi.panel import EventPanel
from quant_engine.kalshi.panel_frames import PanelFrames, market_atoms
from quant_engine.kalshi.pipeline import PipelinePanel
from quant_engine.kalshi.quality import incoherence_of_middles_e4
from quant_engine.kalshi.quotes import LadderQuotes, ladder_quotes
from quant_engine.kalshi.regimes import regime_names
from quant_engine.stats.recalibration import pool_adjacent_violators

__all__ = ["distribution_tables", "panel_tables", "repair_figures"]

NAN = float("nan")
POSTERIOR = 0.9
"""Coverage of the posterior interval of the distribution function in tables."""
_COPIED = (
    "event_ticker", "family", "cluster", "asof_us", "scheduled_us", "max_input_avail_us",
    "has_distribution", "gates", "n_legs", "n_usable", "n_stale", "mean", "mean_sd", "sd", "sd_sd",
    "skew", "bowley_skew", "q05", "q25", "q50", "q75", "q95", "entropy_nats", "p_below_lowest",
    "p_above_highest", "is_moment_truncated", "post_sd_mean", "quality", "quality_spread",
    "quality_freshness", "quality_coverage", "quality_coherence", "quality_depth",
    "quality_listed", "outside_band", "sum_of_middles",
)  # fmt: skip
_LEG_NAMES = {
    "bid": "bid_usd", "ask": "ask_usd", "last": "last_usd", "bid_size": "bid_contracts",
    "ask_size": "ask_contracts", "raw_probability": "raw_prob", "last_probability": "last_prob",
    "probability": "prob",
}  # fmt: skip
_TEXTS = ("event_ticker", "family", "cluster", "gates", "absent", "strike_type", "unit")
LookKey = tuple[int, int]


def repair_figures(quotes: LadderQuotes) -> tuple[float, float]:
    """What is wrong with the raw middles of a ladder, before anything is repaired.

    Parameters
    ----------
    quotes : LadderQuotes
        Ladder with its quotes.

    Returns
    -------
    neg_mass : float
        Probability below zero that naive differences of half-lines give; 0 for bins.
    isotonic_l1 : float
        Mean absolute change of the middles that makes them monotone, dollars; for bins their
        distance from a sum of 1, per leg. Both NaN where a leg is not quoted or the ladder mixes.

    Examples
    --------
    >>> from quant_engine.kalshi.lattice import SettlementGrid
    >>> from quant_engine.kalshi.payoffs import Contract
    >>> from quant_engine.kalshi.quotes import LegQuote
    >>> legs = [Contract("A", "greater", 1.0), Contract("B", "greater", 2.0)]
    >>> ladder = ladder_structure(legs, SettlementGrid(1.0), is_exclusive=False)
    >>> found = [LegQuote("A", 3_000, 3_000, 1, 1), LegQuote("B", 5_000, 5_000, 1, 1)]
    >>> [round(x, 9) for x in repair_figures(ladder_quotes(ladder, found))]
    [0.2, 0.1]
    """
    structure = quotes.structure
    if not quotes.is_quoted.all() or structure.kind == "mixed":
        return NAN, NAN
    middle = quotes.middle
    if structure.kind == "exclusive":
        excess = float(middle.sum()) - 1.0
        wrong = abs(excess) if structure.is_covering else max(excess, 0.0)
        return 0.0, wrong / len(middle)
    counts = structure.pays.sum(axis=0)
    rising = middle[np.argsort(counts, kind="stable")]
    parts = np.diff(np.concatenate(([0.0], rising, [1.0])))
    repaired = pool_adjacent_violators(rising)
    return float(np.maximum(-parts, 0.0).sum()), float(np.abs(repaired - rising).mean())


def distribution_tables(made: PipelinePanel) -> dict[str, pd.DataFrame]:
    """Tables ``looks``, ``cells``, ``atoms`` and ``legs`` of every decision.

    Parameters
    ----------
    made : PipelinePanel
        Panel with its looks.

    Returns
    -------
    dict of str to DataFrame
        Ordered by event, horizon, and cell, atom or market.
    """
    known = {(look.event_id, look.horizon_s): look for look in made.inputs.looks}
    extra, cells, atoms, bands = [], [], [], []
    for key, distribution in sorted(made.panel.distributions.items()):
        look = known[key]
        ladder = _ladder(made, look)
        extra.append(_look_extra(key, distribution, ladder, made))
        cells += _cell_rows(key, distribution)
        if ladder is not None:
            atoms += _atom_rows(key, distribution, ladder)
            bands += _band_rows(key, distribution, ladder)
    looks = _plain(made.panel.looks[list(_COPIED)]).reset_index()
    looks = looks.merge(pd.DataFrame(extra), on=LOOK_KEY, validate="one_to_one")
    legs = _plain(made.panel.legs).rename(columns=_LEG_NAMES).reset_index()
    keys = [*LOOK_KEY, "ticker"]
    found = pd.DataFrame(bands, columns=[*keys, "band_low", "band_high", "residual"])
    legs = legs.merge(found, on=keys, how="left", validate="one_to_one")
    return {
        "looks": looks,
        "cells": pd.DataFrame(
            cells, columns=[*LOOK_KEY, "cell", "lo", "hi", "prob", "cdf", "cdf_low", "cdf_high"]
        ),
        "atoms": pd.DataFrame(
            atoms,
            columns=[*LOOK_KEY, "atom", "lo", "hi", "prob", "market_prob", "band_low", "band_high"],
        ),
        "legs": legs,
    }


def panel_tables(
    made: PipelinePanel, frames: PanelFrames | None, calendar: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Tables of the panel: looks with features, what models see of them, labels, calendar.

    Parameters
    ----------
    made : PipelinePanel
        Panel.
    frames : PanelFrames or None
        What is evaluated; None where no look has a label, and its tables are then empty.
    calendar : DataFrame
        Columns of the artifact's table of that name.

    Returns
    -------
    dict of str to DataFrame
    """
    panel = made.panel
    identity = [
        "event_ticker", "family", "cluster", "asof_us", "scheduled_us", "max_input_avail_us",
        "release_id", "cluster_id", "series_id", "has_distribution",
    ]  # fmt: skip
    looks = _plain(panel.looks[identity])
    looks["regime"] = regime_names(made.regimes)
    for tag in ("activity", "window"):
        looks[tag] = regime_names(made.regimes, tag)
    looks = pd.concat([looks, panel.values], axis=1).reset_index()
    left_out = {} if frames is None else frames.left_out
    rows = [(*key, reason) for key, reason in sorted(left_out.items())]
    return {
        "looks": looks,
        "labels": _plain(made.labels).reset_index(),
        "calendar": calendar,
        "features": _feature_table(panel),
        "left_out": pd.DataFrame(rows, columns=[*LOOK_KEY, "reason"]),
        **_frame_tables(frames),
    }


def _frame_tables(frames: PanelFrames | None) -> dict[str, pd.DataFrame]:
    leg_names = [
        f"{when}{name}"
        for when in ("", "next_")
        for name in ("bid_e4", "ask_e4", "bid_size_c2", "ask_size_c2")
    ]
    columns = {
        "cells": [*LOOK_KEY, "cell", "market_prob", "fitted_gap"],
        "legs": [*LOOK_KEY, "ticker", "first_cell", "last_cell", *leg_names],
    }
    if frames is None:
        return {name: pd.DataFrame(columns=wanted) for name, wanted in columns.items()}
    held = {"cells": frames.frames.cells, "legs": frames.frames.legs}
    return {
        name: pd.DataFrame(columns=wanted) if held[name] is None else held[name][wanted]
        for name, wanted in columns.items()
    }


def _feature_table(panel: EventPanel) -> pd.DataFrame:
    known = panel.values.notna().mean()
    rows = [
        {
            "feature": feature.name,
            "kind": feature.kind,
            "unit": feature.unit,
            "source": feature.source,
            "lookback_s": feature.lookback_s,
            "known_share": float(known[feature.name]),
        }
        for feature in panel.features.features
    ]
    return pd.DataFrame(rows).astype({"lookback_s": "Int64"})


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Absent texts become empty ones."""
    made = frame.copy()
    for name in _TEXTS:
        if name in made.columns:
            made[name] = made[name].fillna("")
    return made


def _ladder(made: PipelinePanel, look: LadderLook) -> LadderQuotes | None:
    grid = made.config.grid_of(look.family)
    faults = find_structure_faults(look.contracts, grid, is_exclusive=look.is_exclusive)
    if faults or look.without_strikes:
        return None
    structure = ladder_structure(look.contracts, grid, is_exclusive=look.is_exclusive)
    return ladder_quotes(structure, look.quotes)


def _look_extra(
    key: LookKey,
    distribution: LadderDistribution,
    ladder: LadderQuotes | None,
    made: PipelinePanel,
) -> dict[str, Any]:
    """Columns that the panel does not have: further quantiles, the band, the raw middles."""
    band, row = distribution.band, dict(zip(LOOK_KEY, key, strict=True))
    q10, q90 = distribution.quantiles([0.1, 0.9]).tolist()
    row |= {"q10": q10, "q90": q90, "is_band_feasible": band is not None and band.is_feasible}
    names = ("half_spread_usd", "age_s", "incoherence_e4", "neg_mass_pre", "isotonic_l1")
    if ladder is None or not ladder.is_quoted.any():
        return row | dict.fromkeys(names, NAN)
    quality = made.config.distribution.quality
    negative, moved = repair_figures(ladder)
    quoted = ladder.is_quoted
    figures = (
        float(np.median(ladder.half_spread[quoted])),
        float(np.median(ladder.age_s[quoted])),
        incoherence_of_middles_e4(ladder, quality),
        negative,
        moved,
    )
    return row | dict(zip(names, figures, strict=True))


def _cell_rows(key: LookKey, distribution: LadderDistribution) -> Iterator[tuple[Any, ...]]:
    if not distribution.is_available:
        return
    half = distribution.width / 2.0
    low, high = distribution.cdf_interval(POSTERIOR)
    columns = (distribution.points, distribution.pmf, distribution.cdf, low, high)
    for cell, (x, p, total, below, above) in enumerate(
        zip(*(column.tolist() for column in columns), strict=True)
    ):
        yield (*key, cell, x - half, x + half, p, total, below, above)


def _atom_rows(
    key: LookKey, distribution: LadderDistribution, ladder: LadderQuotes
) -> Iterator[tuple[Any, ...]]:
    structure = ladder.structure
    n_atoms = len(structure.atoms)
    market = market_atoms(structure, ladder)
    low, high = _limits(distribution.band, "atom", n_atoms)
    fitted = _atom_masses(structure, distribution)
    for number, atom in enumerate(structure.atoms):
        first = -np.inf if atom.first is None else structure.grid.value(atom.first)
        last = np.inf if atom.last is None else structure.grid.value(atom.last)
        given = NAN if market is None else float(market[number])
        yield (
            *key, number, first, last, float(fitted[number]), given, float(low[number]),
            float(high[number]),
        )  # fmt: skip


def _atom_masses(structure: LadderStructure, distribution: LadderDistribution) -> np.ndarray:
    """Fitted probability of each atom; cells that straddle an end are counted where they begin."""
    if not distribution.is_available:
        return np.full(len(structure.atoms), NAN)
    step = structure.grid.step / 2.0
    ends = [
        np.inf if atom.last is None else structure.grid.value(atom.last) + step
        for atom in structure.atoms
    ]
    place = np.searchsorted(np.array(ends), distribution.points, side="left")
    return np.bincount(place, weights=distribution.pmf, minlength=len(ends))


def _band_rows(
    key: LookKey, distribution: LadderDistribution, ladder: LadderQuotes
) -> Iterator[tuple[Any, ...]]:
    tickers = ladder.structure.tickers
    low, high = _limits(distribution.band, "leg", len(tickers))
    residual = distribution.leg_residual
    missing = len(residual) != len(tickers)
    for place, ticker in enumerate(tickers):
        gap = NAN if missing else float(residual[place])
        yield (*key, ticker, float(low[place]), float(high[place]), gap)


def _limits(band: Band | None, what: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    if band is None or not band.is_feasible:
        return np.full(n, NAN), np.full(n, NAN)
    return getattr(band, f"{what}_low"), getattr(band, f"{what}_high")
