"""Panels of single ladders: quotes and band, distribution, looks over time, quality, contracts."""

from __future__ import annotations

import pandas as pd

from quant_engine.reports.event_data import EventReportData, LookKey
from quant_engine.reports.figures.event_scores import span_text
from quant_engine.reports.figures.events import (
    distribution_figure,
    fan_figure,
    ladder_figure,
    leg_names,
)
from quant_engine.reports.formats import COUNT, FLAG, PERCENT, RATIO, NumberFormat
from quant_engine.reports.markup import Markup, el, join
from quant_engine.reports.panels.events import folded
from quant_engine.reports.panels.parts import Column, absent_panel, chart, panel, section, value

__all__ = ["N_LADDERS", "ladder_sections"]

N_LADDERS = 4
"""Ladders that have figures of their own."""

USD3 = NumberFormat(3)
PROB = NumberFormat(3)
AGE = NumberFormat(0, suffix=" s")
PLAIN = NumberFormat(2)


def ladder_sections(data: EventReportData) -> tuple[str, Markup]:
    """One section per example: its ladder, distribution, fan over time and legs.

    Parameters
    ----------
    data : EventReportData
        The run.

    Returns
    -------
    str
        Anchor of the first.
    Markup
        All of them; one absent panel where there is no distribution.
    """
    if not data.examples:
        reason = data.why_absent("distributions", "No ladder passed every gate.")
        absent = absent_panel("ladder", "Ladder", reason, span=12)
        return "ladders", section("ladders", "Ladders", absent)
    found = []
    for number, look in enumerate(data.examples[:N_LADDERS], start=1):
        anchor = f"ladder-{number}"
        row = data.of_look("distributions", "looks", look).iloc[0]
        title = f"{row['event_ticker']}, {span_text(look[1])} before"
        panels: tuple[Markup, ...] = (
            _ladder_panel(data, look, anchor),
            _distribution_panel(data, look, anchor),
            _fan_panel(data, look, anchor),
            _quality_panel(row, anchor),
            _legs_panel(data, look, anchor),
        )
        if number == N_LADDERS < len(data.examples):
            panels = (*panels, _others_note(len(data.examples) - number))
        found.append(section(anchor, title, *panels))
    return "ladder-1", join(found)


def _others_note(n_others: int) -> Markup:
    words = [
        value("ladders.n_others", n_others, COUNT),
        " more series or families have ladders too; those of all looks are in the artifact "
        "event_distributions.",
    ]
    return el("p", join(words), class_="note")


def _ladder_panel(data: EventReportData, look: LookKey, anchor: str) -> Markup:
    title = "Ladder and its band"
    legs = _by_strike(data.of_look("distributions", "legs", look))
    if legs.empty:
        return absent_panel(f"{anchor}-legs", title, "The look lists no contract.", span=6)
    slot = chart(
        f"{anchor}-legs",
        ladder_figure(legs),
        label="Bid, ask, no-arbitrage band and fitted probability of every contract.",
        min_width_px=420,
    )
    note = (
        "Wide bars: prices without arbitrage given all other quotes. Narrow bars: bid to ask. "
        "A contract without one of them has no bar."
    )
    if legs["band_low"].isna().all():
        note += " The quotes contradict each other here: no prices lie between all of them."
    return panel(f"{anchor}-legs", title, slot, span=6, note=note)


def _by_strike(legs: pd.DataFrame) -> pd.DataFrame:
    """Legs from the lowest strike to the highest; those without a strike last."""
    low = legs["floor_strike"].where(legs["floor_strike"].notna(), legs["cap_strike"])
    # "Less than 75" stands before "75 to 76", which has the same number.
    is_open = legs["floor_strike"].isna().astype(int)
    order = pd.DataFrame({"low": low, "open": -is_open}).sort_values(
        ["low", "open"], kind="stable", na_position="last"
    )
    return legs.loc[order.index].reset_index(drop=True)


def _outcome(data: EventReportData, event_id: int) -> float | None:
    calendar = data.table("panel", "calendar")
    if calendar is None:
        return None
    values = calendar.loc[calendar["event_id"] == event_id, "value"].dropna()
    return None if values.empty else float(values.iloc[0])


def _distribution_panel(data: EventReportData, look: LookKey, anchor: str) -> Markup:
    outcome = _outcome(data, look[0])
    figure = distribution_figure(
        data.of_look("distributions", "cells", look),
        data.of_look("distributions", "atoms", look),
        outcome=outcome,
    )
    label = "Fitted probability per value; distribution function with its posterior."
    slot = chart(f"{anchor}-fit", figure, label=label)
    said = (
        "No first print is known."
        if outcome is None
        else join(["Dotted: the first print, ", value(f"{anchor}.outcome", outcome, PLAIN), "."])
    )
    note = join(["Shaded: 90 % of the posterior. ", said])
    return panel(f"{anchor}-fit", "Distribution and posterior", slot, span=6, note=note)


def _fan_panel(data: EventReportData, look: LookKey, anchor: str) -> Markup:
    title = "Over time"
    looks = data.tables["distributions", "looks"]
    own = looks[looks["event_id"] == look[0]].sort_values("asof_us")
    if int(own["q50"].notna().sum()) < 2:
        reason = "Fewer than two looks at this event have a distribution."
        return absent_panel(f"{anchor}-fan", title, reason, span=8)
    figure = fan_figure(own, outcome=_outcome(data, look[0]))
    slot = chart(f"{anchor}-fan", figure, label="Quantiles of the event by moment of the look.")
    n_refused = int((~own["has_distribution"]).sum())
    note = join(
        [
            value(f"{anchor}.n_looks", len(own), COUNT),
            " looks, ",
            value(f"{anchor}.n_refused", n_refused, COUNT),
            " without a distribution.",
        ]
    )
    return panel(f"{anchor}-fan", title, slot, span=8, note=note)


def _quality_panel(row: pd.Series, anchor: str) -> Markup:
    shown = [
        ("Trust", "quality", RATIO),
        ("of spread", "quality_spread", RATIO),
        ("of freshness", "quality_freshness", RATIO),
        ("of coverage", "quality_coverage", RATIO),
        ("of coherence", "quality_coherence", RATIO),
        ("Depth, reported", "quality_depth", RATIO),
        ("Mean", "mean", PLAIN),
        ("Its error", "mean_sd", PLAIN),
        ("Standard deviation", "sd", PLAIN),
        ("Below the lowest strike", "p_below_lowest", PERCENT),
        ("Above the highest", "p_above_highest", PERCENT),
        ("Moments cut off", "is_moment_truncated", FLAG),
        ("Contracts quoted", "n_usable", COUNT),
        ("Farthest outside the band", "outside_band", PROB),
    ]
    entries = [
        el("div", el("dt", label), el("dd", value(f"{anchor}.{key}", row.get(key), number_format)))
        for label, key, number_format in shown
    ]
    note = "Trust is the product of its four parts, each from 0 to 1."
    body = el("dl", *entries, class_="facts")
    return panel(f"{anchor}-quality", "Quality and moments", body, span=4, note=note)


def _legs_panel(data: EventReportData, look: LookKey, anchor: str) -> Markup:
    legs = _by_strike(data.of_look("distributions", "legs", look))
    shown = legs.assign(contract=leg_names(legs), absent=legs["absent"].replace("", "quoted"))
    columns = [
        Column("contract", "Contract"),
        Column("bid_usd", "Bid", USD3),
        Column("ask_usd", "Ask", USD3),
        Column("bid_contracts", "Bid size", COUNT),
        Column("ask_contracts", "Ask size", COUNT),
        Column("age_s", "Age", AGE),
        Column("absent", "Quote"),
        Column("last_usd", "Last", USD3),
        Column("raw_prob", "Prices alone", PROB),
        Column("prob", "Fitted", PROB),
        Column("band_low", "Band from", PROB),
        Column("band_high", "Band to", PROB),
        Column("residual", "Middle less fit", PROB),
        Column("ticker", "Market"),
    ]
    body = folded(f"{anchor}.leg", shown, columns, caption="Contracts of the ladder", n_shown=20)
    return panel(f"{anchor}-table", "Contracts, with age and quality of each quote", body, span=12)
