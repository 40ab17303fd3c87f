"""Panels of event markets: which run, what is coming, contradictions of prices."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quant_engine.reports.event_data import EventReportData
from quant_engine.reports.figures.event_scores import span_text
from quant_engine.reports.figures.events import (
    calendar_figure,
    moment_text,
)
from quant_engine.reports.formats import (
    COUNT,
    PERCENT,
    RATIO,
    NumberFormat,
)
from quant_engine.reports.markup import Markup, el, join
from quant_engine.reports.panels.parts import (
    Column,
    absent_panel,
    chart,
    panel,
    table,
    value,
)
from quant_engine.reports.panels.summary import TRACK_MEANING, callout, digest, track_badge

__all__ = [
    "arbitrage_panel",
    "calendar_panels",
    "event_callouts",
    "event_masthead",
    "folded",
    "incoherence_panel",
    "moment_column",
]

N_ROWS = 12
"""Rows of a long table; the rest is folded away."""

USD3 = NumberFormat(3)
USD4 = NumberFormat(4)
PROB = NumberFormat(3)
HOURS = NumberFormat(1, scale=1 / 3600, suffix=" h")
PLAIN = NumberFormat(2)
ENVIRONMENT_MEANING = {
    "fake": "A simulated exchange with known truth; no market was asked.",
    "replay": "Recorded answers of the exchange, read by the same client.",
    "demo": "The exchange's demo environment; its prices are play money.",
    "prod": "The exchange itself, read only.",
}


def event_masthead(data: EventReportData) -> Markup:
    """Title, track, verdict and identity of the run.

    Parameters
    ----------
    data : EventReportData
        The run.

    Returns
    -------
    Markup
        Header element with the only ``h1``.
    """
    calendar = data.table("panel", "calendar")
    looks = data.table("distributions", "looks")
    facts = [
        ("Environment", value("run.environment", data.environment)),
        ("Dataset", value("run.dataset", data.dataset)),
        ("Events", value("events.n", None if calendar is None else len(calendar), COUNT)),
        ("Looks", value("looks.n", None if looks is None else len(looks), COUNT)),
        ("Run", value("run.run_id", data.run_id)),
        ("Known as of", value("run.as_of", data.as_of)),
        ("Configuration", digest("run.config_id", data.config_id)),
        ("Code", digest("run.code_digest", data.code_digest)),
    ]
    return el(
        "header",
        el(
            "div",
            el("p", "Event-market report", class_="eyebrow"),
            el("h1", data.title),
            el("div", track_badge(data.track), _verdict_badge(data), class_="badges"),
            class_="masthead-title",
        ),
        el(
            "dl",
            *(el("div", el("dt", label), el("dd", content)) for label, content in facts),
            class_="facts",
        ),
        class_="masthead",
    )


def _verdict_badge(data: EventReportData) -> Markup:
    verdicts = data.table("report", "verdicts")
    if verdicts is None:
        return el("span", "Not judged", class_="badge neutral")
    n_promoted = int(verdicts["is_promoted"].sum())
    is_judged = bool((verdicts["status"] != "not evaluated").any())
    if not is_judged:
        return el("span", "Not evaluated", class_="badge neutral")
    return el(
        "span",
        f"✓ {n_promoted} promoted" if n_promoted else "✕ Nothing promoted",
        class_=f"badge {'good' if n_promoted else 'bad'}",
        data_metric="verdicts.n_promoted",
        data_value=str(n_promoted),
    )


def event_callouts(data: EventReportData) -> Markup:
    """What must be read before the figures: track, source of the quotes, what failed.

    Parameters
    ----------
    data : EventReportData
        The run.

    Returns
    -------
    Markup
        Boxes.
    """
    meaning = ENVIRONMENT_MEANING.get(data.environment, "Source of the quotes not described.")
    unit = (
        "One real-world occurrence is one observation, with all its events and horizons. Forecasts "
        "are out of sample; prices are the baseline."
    )
    boxes = [
        callout(
            f"{data.track.value.capitalize()} track", el("p", TRACK_MEANING[data.track]), "warn"
        ),
        callout(f"Environment {data.environment}", el("p", meaning), "neutral"),
        callout("What is counted", el("p", unit), "neutral"),
    ]
    if data.n_leak_faults:
        faults = value("audit.n_faults", data.n_leak_faults, COUNT)
        text = el("p", "The leak audit found ", faults, " faults; no figure below can be trusted.")
        boxes.insert(0, callout("Leak", text, "bad"))
    return el("div", *boxes, class_="callouts")


def folded(
    name: str, frame: pd.DataFrame, columns: list[Column], *, caption: str, n_shown: int = N_ROWS
) -> Markup:
    """A table whose rows beyond the first are folded away.

    Parameters
    ----------
    name : str
        Prefix of the values.
    frame : DataFrame
        One row per line.
    columns : list of Column
        Which columns.
    caption : str
        What the table holds.
    n_shown : int
        Rows that are always shown.

    Returns
    -------
    Markup
        One table, or a table and a folded one.
    """
    first = table(name, frame[:n_shown], columns, caption=caption)
    if len(frame) <= n_shown:
        return first
    rest = table(f"{name}.more", frame[n_shown:], columns, caption=f"{caption}, continued")
    return join([first, el("details", el("summary", f"Show {len(frame) - n_shown} more"), rest)])


def moment_column(moments_us: pd.Series) -> pd.Series:
    """Moments as a column of text, absent where they are not known.

    Parameters
    ----------
    moments_us : Series of int
        Microseconds since 1970 UTC.

    Returns
    -------
    Series of str
        ``YYYY-MM-DD HH:MM``, UTC.

    Examples
    --------
    >>> moment_column(pd.Series([0], index=[7])).to_dict()
    {7: '1970-01-01 00:00'}
    """
    return pd.Series(moment_text(moments_us), index=moments_us.index, dtype="str")


def calendar_panels(data: EventReportData) -> tuple[Markup, Markup]:
    """Events by schedule as marks and as a table, the newest first.

    Parameters
    ----------
    data : EventReportData
        The run.

    Returns
    -------
    marks, rows : Markup
        Two panels.
    """
    titles = ("Events over time", "Calendar")
    calendar = data.table("panel", "calendar")
    if calendar is None:
        reason = data.why_absent("panel", "No event was listed.")
        return (
            absent_panel("calendar-marks", titles[0], reason, span=12),
            absent_panel("calendar", titles[1], reason, span=12),
        )
    named = calendar.assign(
        series=calendar["series"].where(calendar["series"] != "", "series not known")
    )
    if named["scheduled_us"].notna().any():
        slot = chart(
            "calendar-marks", calendar_figure(named), label="Events by series and schedule."
        )
        marks = panel("calendar-marks", titles[0], slot, span=12)
    else:
        marks = absent_panel("calendar-marks", titles[0], "No event has a schedule.", span=12)
    rows = named.sort_values("scheduled_us", ascending=False, na_position="last").assign(
        scheduled=lambda t: moment_column(t["scheduled_us"]),
        published=lambda t: moment_column(t["publish_us"]),
    )
    columns = [
        Column("event_ticker", "Event"),
        Column("series", "Series"),
        Column("family", "Family"),
        Column("cluster", "Occurrence"),
        Column("scheduled", "Scheduled, UTC"),
        Column("n_markets", "Contracts", COUNT),
        Column("value", "First print", NumberFormat(2)),
        Column("published", "Published, UTC"),
    ]
    body = folded("calendar", rows.reset_index(drop=True), columns, caption="Events")
    note = "Schedules are those that were known; the final close of a market is never one."
    return marks, panel("calendar", titles[1], body, span=12, note=note)


def incoherence_panel(data: EventReportData) -> Markup:
    """How much the quotes of ladders contradict themselves, before anything is fitted.

    Parameters
    ----------
    data : EventReportData
        The run.

    Returns
    -------
    Markup
        Panel: one row per horizon.
    """
    title = "Incoherence of quotes, by time before the schedule"
    looks = data.table("distributions", "looks")
    if looks is None:
        reason = data.why_absent("distributions", "There is no look at any event.")
        return absent_panel("incoherence", title, reason, span=12)
    rows = []
    for horizon, group in looks.groupby("horizon_s", sort=True):
        rows.append(
            {
                "horizon": span_text(int(str(horizon))),
                "n_looks": len(group),
                "fitted": float(group["has_distribution"].mean()),
                "infeasible": float((~group["is_band_feasible"].astype(bool)).mean()),
                "incoherence_usd": float(group["incoherence_e4"].mean()) / 1e4,
                "neg_mass_pre": float(group["neg_mass_pre"].mean()),
                "isotonic_l1": float(group["isotonic_l1"].mean()),
                "sum_of_middles": float(group["sum_of_middles"].mean()),
                "half_spread_usd": float(group["half_spread_usd"].median()),
                "quality": float(group["quality"].median()),
            }
        )
    columns = [
        Column("horizon", "Before"),
        Column("n_looks", "Looks", COUNT),
        Column("fitted", "With a distribution", PERCENT),
        Column("infeasible", "Executable contradiction", PERCENT),
        Column("incoherence_usd", "Contradiction of middles, $", USD4),
        Column("neg_mass_pre", "Negative mass if differenced", PROB),
        Column("isotonic_l1", "Monotone repair, $", USD4),
        Column("sum_of_middles", "Sum of middles, $", USD3),
        Column("half_spread_usd", "Half-spread, $", USD3),
        Column("quality", "Trust", RATIO),
    ]
    body = table("incoherence", pd.DataFrame(rows), columns, caption="Incoherence by horizon")
    note = (
        "Means over looks; half-spread and trust are medians. The fitted distribution is free of "
        "arbitrage by construction; these figures are those of the quotes."
    )
    return panel("incoherence", title, body, span=12, note=note)


def arbitrage_panel(data: EventReportData) -> Markup:
    """Violations that would have paid after fees, with their life-times.

    Parameters
    ----------
    data : EventReportData
        The run.

    Returns
    -------
    Markup
        Panel.
    """
    title = "Arbitrage after fees, and how long it lasted"
    if ("report", "arbitrage") not in data.tables:
        return absent_panel("arbitrage", title, data.why_absent("report", ""), span=12)
    found = data.table("report", "arbitrage")
    if found is None and not data.shows_sizes:
        reason = "Prices of prints show no size: there is nothing that could have been traded."
        return absent_panel("arbitrage", title, reason, span=12)
    if found is None:
        text = "Every ladder was scanned; no violation was left after exact fees."
        return panel("arbitrage", title, el("p", text, class_="note"), span=12)
    seconds = found["lifetime_s"].astype(float)
    rows = found.sort_values("best_profit_usd", ascending=False).assign(
        first=lambda t: moment_column(t["first_us"]),
        ended=lambda t: np.where(t["gone_us"].notna(), "seen to end", "still there at the last"),
    )
    columns = [
        Column("event_ticker", "Event"),
        Column("kind", "Kind"),
        Column("legs", "Bought + and sold −"),
        Column("first", "First seen, UTC"),
        Column("lifetime_s", "Lasted", HOURS),
        Column("ended", "End"),
        Column("n_seen", "Looks", COUNT),
        Column("best_profit_usd", "Worst case, $", NumberFormat(2)),
    ]
    body = folded("arbitrage", rows.reset_index(drop=True), columns, caption="Violations")
    note = join(
        [
            value("arbitrage.n", len(found), COUNT),
            " episodes; median life-time ",
            value("arbitrage.median_s", float(seconds.median()), HOURS),
            " as far as the looks tell. Worst case over every outcome, at displayed sizes.",
        ]
    )
    return panel("arbitrage", title, body, span=12, note=note)
