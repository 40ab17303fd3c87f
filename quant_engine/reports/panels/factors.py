"""Panels of factor research: how much was asked, what was found, and each factor by itself."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quant_engine.reports.factor_data import FactorPageData
from quant_engine.reports.figures.factors import (
    chance_figure,
    decay_figure,
    grid_figure,
    group_figure,
)
from quant_engine.reports.figures.signal import (
    ic_by_date_figure,
    ic_by_horizon_figure,
    ic_is_monthly,
    quantile_bar_figure,
)
from quant_engine.reports.formats import (
    COUNT,
    PERCENT,
    SIGNED_IC,
    SIGNED_RATIO,
    NumberFormat,
)
from quant_engine.reports.markup import EMPTY, Markup, el, join
from quant_engine.reports.panels.parts import (
    Column,
    absent_panel,
    chart,
    panel,
    section,
    sparkline,
    table,
    value,
)
from quant_engine.reports.panels.summary import TRACK_MEANING, callout, digest, track_badge

__all__ = [
    "FOUND",
    "N_DETAILS",
    "chance_panel",
    "factor_callouts",
    "factor_figures",
    "factor_masthead",
    "factor_sections",
    "factor_table",
    "grid_panels",
]

FOUND = 0.05
"""False discovery rate below which a test counts as found."""

N_DETAILS = 8
"""Factors that have figures of their own."""

N_ROWS = 30
"""Rows of the table and of the grids; the rest of the table is folded away."""

WINDOW_DATES = 63
P_VALUE = NumberFormat(4)
Q_VALUE = NumberFormat(3)
SIGNED_TENTHS = NumberFormat(1, is_signed=True)
SESSIONS = NumberFormat(1)
ABSENT_IC = "No session had enough names with both a score and a known outcome."


def factor_masthead(data: FactorPageData) -> Markup:
    """Title, track and identity of the report.

    Parameters
    ----------
    data : FactorPageData
        The report.

    Returns
    -------
    Markup
        Header element with the only ``h1``.
    """
    dataset = data.dataset
    horizons = ", ".join(str(one) for one in data.facts["study"]["horizons"])
    span = [
        value("dataset.first_session", dataset.first_session, class_="nowrap"),
        " to ",
        value("dataset.last_session", dataset.last_session, class_="nowrap"),
    ]
    facts = [
        ("Dataset", value("dataset.dataset_id", dataset.dataset_id)),
        ("Source", value("dataset.source", dataset.source)),
        ("Sessions", join(span)),
        ("Assets", value("dataset.n_assets", dataset.n_assets, COUNT)),
        ("Factors", value("facts.factor_set", data.facts["factor_set"])),
        ("Label", value("facts.target", data.facts["target"])),
        ("Horizons", join([value("facts.horizons", horizons), " sessions"])),
        ("Main horizon", join([value("facts.main_horizon", data.main_horizon), " sessions"])),
        ("Run", value("run.run_id", data.run_id)),
        ("Known as of", value("run.as_of", data.as_of)),
        ("Configuration", digest("run.config_id", data.config_id)),
        ("Code", digest("run.code_digest", data.code_digest)),
    ]
    return el(
        "header",
        el(
            "div",
            el("p", "Factor report", class_="eyebrow"),
            el("h1", data.title),
            el("div", track_badge(data.track), class_="badges"),
            class_="masthead-title",
        ),
        el(
            "dl",
            *(el("div", el("dt", label), el("dd", content)) for label, content in facts),
            class_="facts",
        ),
        class_="masthead",
    )


def factor_callouts(data: FactorPageData) -> Markup:
    """What must be read before the figures: how many tests, what the figures are not.

    Parameters
    ----------
    data : FactorPageData
        The report.

    Returns
    -------
    Markup
        Boxes.
    """
    n_tests = int(data.facts["n_tests"])
    counted = el(
        "p",
        value("facts.n_factors", data.facts["n_factors"], COUNT),
        " factors at ",
        value("facts.n_horizons", len(data.facts["study"]["horizons"]), COUNT),
        " horizons: ",
        value("facts.n_tests", n_tests, COUNT),
        " tests. If none of them meant anything, about ",
        value("facts.by_chance", 0.05 * n_tests, NumberFormat(1)),
        " would still have p below .05. On this source ",
        value("n_trials", data.n_trials, COUNT),
        " factor trials are recorded in all.",
    )
    meaning = el(
        "p",
        "Nothing is fitted, and every figure uses scores known at the decision. But whoever picks "
        "the best row of this page has selected it on this history: judge it on later data, or by "
        "its out-of-sample gain over a baseline (run_factors.py gain). Returns are before costs.",
    )
    track = f"{data.track.value.capitalize()} track"
    return el(
        "div",
        callout("How much was asked", counted, "warn"),
        callout("What this is not", meaning, "neutral"),
        callout(track, el("p", TRACK_MEANING[data.track]), "neutral"),
        class_="callouts",
    )


def factor_figures(data: FactorPageData) -> Markup:
    """The four figures of the whole report as cards.

    Parameters
    ----------
    data : FactorPageData
        The report.

    Returns
    -------
    Markup
        A grid of cards.
    """
    tests = data.tables["horizons"]
    best = data.ranked.iloc[0]
    n_tests = int(data.facts["n_tests"])
    cards = [
        (
            "Found, any dependence",
            value("found.q_by", int((tests["q_by"] < FOUND).sum()), COUNT, tag="p"),
            ["tests with q below .05", "Benjamini-Yekutieli"],
        ),
        (
            "Found, positive dependence",
            value("found.q_bh", int((tests["q_bh"] < FOUND).sum()), COUNT, tag="p"),
            ["tests with q below .05", "Benjamini-Hochberg"],
        ),
        (
            "Uncorrected p below .05",
            value("found.p", int((tests["p"] < FOUND).sum()), COUNT, tag="p"),
            [join([value("found.n_tests", n_tests, COUNT), " tests"]), "not a finding by itself"],
        ),
        (
            "Strongest rank IC",
            value("strongest.rank_ic", float(best["rank_ic"]), SIGNED_IC, tag="p"),
            [
                value("strongest.factor", str(best["factor"])),
                join(
                    [
                        "t ",
                        value("strongest.t", float(best["t"]), SIGNED_RATIO),
                        ", q ",
                        value("strongest.q_by", float(best["q_by"]), Q_VALUE),
                    ]
                ),
            ],
        ),
    ]
    return el("div", *(_card(*card) for card in cards), class_="kpis")


def _card(label: str, figure: Markup, context: list[object]) -> Markup:
    return el(
        "section",
        el("h3", label, class_="kpi-label"),
        el("div", figure, class_="kpi-value"),
        el("p", *(el("span", line) for line in context), class_="kpi-context"),
        class_="kpi",
    )


def factor_table(data: FactorPageData) -> Markup:
    """Every factor at the main horizon, the strongest first.

    Parameters
    ----------
    data : FactorPageData
        The report.

    Returns
    -------
    Markup
        Panel; rows beyond :data:`N_ROWS` are folded away.
    """
    ranked = data.ranked.assign(half_life_sessions=_half_lives(data))
    columns = [
        Column("factor", "Factor"),
        Column("family", "Family"),
        Column("rank_ic", "Rank IC", SIGNED_IC),
        Column("t", "NW t", SIGNED_RATIO),
        Column("q_bh", "q BH", Q_VALUE),
        Column("q_by", "q BY", Q_VALUE),
        Column("hit_share", "Hit", PERCENT),
        Column("spread_bps", "Spread, bps", SIGNED_TENTHS),
        Column("spread_t", "Spread t", SIGNED_RATIO),
        Column("monotonicity", "Monotone", SIGNED_RATIO),
        Column("turnover", "Turnover", PERCENT),
        Column("half_life_sessions", "Half-life", is_left=False),
        Column("coverage", "Coverage", PERCENT),
    ]
    curves = [_decay_curve(data, factor) for factor in ranked["factor"]]
    parts = [_table_rows(ranked[:N_ROWS], columns, curves[:N_ROWS], "Factors, the strongest first")]
    if len(ranked) > N_ROWS:
        rest = _table_rows(ranked[N_ROWS:], columns, curves[N_ROWS:], "Further factors")
        parts.append(el("details", el("summary", f"Show {len(ranked) - N_ROWS} more"), rest))
    note = (
        f"Labels of {data.main_horizon} sessions. t: Newey-West over sessions with lags twice the "
        "overlap. q: over all factors and horizons of this report. Spread: highest minus lowest "
        "quantile per horizon, before costs. Monotone: rank correlation of quantile number and "
        "mean label. Turnover: per session, one way, mean of the two outer books. Half-life: "
        "sessions until the rank IC has halved, where it can be measured. Decay: rank IC by age "
        "of the score."
    )
    return panel("factors", "Factors", *parts, span=12, note=note)


def _half_lives(data: FactorPageData) -> list[object]:
    """Half-life of each ranked factor; beyond the last delay only a bound is known."""
    longest = max(data.facts["study"]["delays"])
    return [
        f"> {longest}" if np.isinf(half) else half for half in data.ranked["half_life_sessions"]
    ]


def _table_rows(
    frame: pd.DataFrame, columns: list[Column], curves: list[Markup], caption: str
) -> Markup:
    return table(
        "factors", frame, columns, caption=caption, row_key="factor", drawn=("Decay", curves)
    )


def _decay_curve(data: FactorPageData, factor: str) -> Markup:
    curve = data.of("decay", factor)["rank_ic"].to_numpy(dtype=float)
    first = curve[np.isfinite(curve)][:1]
    return sparkline(curve, class_="down" if first.size and first[0] < 0 else "")


def chance_panel(data: FactorPageData) -> Markup:
    """P-values of all tests against chance.

    Parameters
    ----------
    data : FactorPageData
        The report.

    Returns
    -------
    Markup
        Panel.
    """
    title = "All tests against chance"
    p_values = data.tables["horizons"]["p"]
    if not p_values.notna().any():
        return absent_panel("chance", title, "No test had enough sessions.", span=5)
    label = "Observed p-values of all tests against those expected by chance."
    note = (
        "On the dotted line: as many small p-values as chance gives. Neighbouring horizons and "
        "related factors move together, so the points are not independent."
    )
    slot = chart("chance", chance_figure(p_values), label=label)
    return panel("chance", title, slot, span=5, note=note)


def grid_panels(data: FactorPageData) -> tuple[Markup, Markup]:
    """Tests by factor and horizon, and rank IC by factor and group.

    Parameters
    ----------
    data : FactorPageData
        The report.

    Returns
    -------
    horizons, groups : Markup
        Two panels with the strongest :data:`N_ROWS` factors.
    """
    names = data.ranked["factor"].tolist()[:N_ROWS]
    tests = data.tables["horizons"]
    by_horizon = tests.pivot(index="factor", columns="horizon", values="t").reindex(names)
    by_horizon.columns = [f"{horizon} s" for horizon in by_horizon.columns]
    horizons = panel(
        "grid-horizons",
        "t of the rank IC by horizon",
        chart(
            "grid-horizons", grid_figure(by_horizon), label="Heatmap of t by factor and horizon."
        ),
        span=7,
        note="Newey-West t, not corrected for the number of tests.",
    )
    groups = data.tables["groups"]
    order = list(dict.fromkeys(groups["group"]))
    by_group = groups.pivot(index="factor", columns="group", values="rank_ic").reindex(names)
    by_group = by_group[order].dropna(axis="columns", how="all")
    title = "Rank IC by sector and regime"
    if by_group.empty or not by_group.notna().to_numpy().any():
        return horizons, absent_panel("grid-groups", title, ABSENT_IC, span=12)
    figure = grid_figure(by_group, number_format=NumberFormat(3, is_signed=True))
    slot = chart("grid-groups", figure, label="Heatmap of rank IC.", min_width_px=560)
    note = "Sectors: within the sector. Regimes: sessions of the regime, as known at the decision."
    return horizons, panel("grid-groups", title, slot, span=12, note=note)


def factor_sections(data: FactorPageData) -> list[tuple[str, str, Markup]]:
    """One section of figures for each of the strongest factors.

    Parameters
    ----------
    data : FactorPageData
        The report.

    Returns
    -------
    list of (str, str, Markup)
        Anchor, title and section, at most :data:`N_DETAILS`.
    """
    found = []
    for number, factor in enumerate(data.ranked["factor"].tolist()[:N_DETAILS], start=1):
        anchor = f"factor-{number}"
        panels = [
            _formula_panel(data, factor, anchor),
            _time_panel(data, factor, anchor),
            _horizon_panel(data, factor, anchor),
            _quantile_panel(data, factor, anchor),
            _decay_panel(data, factor, anchor),
            _group_panel(data, factor, anchor),
        ]
        found.append((anchor, factor, section(anchor, factor, *panels)))
    return found


def _formula_panel(data: FactorPageData, factor: str, anchor: str) -> Markup:
    row = data.ranked.set_index("factor").loc[factor]
    shown = [
        ("Rank IC", "rank_ic", SIGNED_IC),
        ("IC", "ic", SIGNED_IC),
        ("ICIR, per session", "icir", SIGNED_RATIO),
        ("NW t", "t", SIGNED_RATIO),
        ("p", "p", P_VALUE),
        ("q, any dependence", "q_by", Q_VALUE),
        ("Sessions", "n", COUNT),
        ("Rank autocorrelation", "rank_autocorr", SIGNED_RATIO),
        ("The same, one horizon", "rank_autocorr_main", SIGNED_RATIO),
    ]
    entries = [
        el(
            "div",
            el("dt", label),
            el("dd", value(f"detail.{factor}.{key}", row[key], number_format)),
        )
        for label, key, number_format in shown
    ]
    formula = value(f"detail.{factor}.formula", row["formula"], class_="mono")
    body = el("dl", *entries, class_="facts wide")
    return panel(f"{anchor}-facts", "Definition and figures", body, span=12, note=formula)


def _time_panel(data: FactorPageData, factor: str, anchor: str) -> Markup:
    title = "Rank IC over time"
    series = data.at_main_horizon("by_date", factor).set_index("session")[["ic", "rank_ic"]]
    if series.empty:
        return absent_panel(f"{anchor}-time", title, ABSENT_IC, span=8)
    figure = ic_by_date_figure(series, window_dates=WINDOW_DATES)
    unit = "monthly means" if ic_is_monthly(series) else "single sessions"
    label = f"Rank IC of {factor} with moving mean; running sum below."
    slot = chart(f"{anchor}-time", figure, label=label)
    return panel(f"{anchor}-time", title, slot, span=8, note=f"Bars are {unit}.")


def _horizon_panel(data: FactorPageData, factor: str, anchor: str) -> Markup:
    title = "IC by horizon"
    rows = data.of("horizons", factor)
    means = rows[["horizon", "rank_ic", "t", "n"]].rename(columns={"rank_ic": "mean", "t": "t_nw"})
    if means["mean"].isna().all():
        return absent_panel(f"{anchor}-horizons", title, ABSENT_IC, span=4)
    columns = [
        Column("horizon", "Horizon", COUNT, is_left=True),
        Column("rank_ic", "Rank IC", SIGNED_IC),
        Column("t", "NW t", SIGNED_RATIO),
        Column("q_by", "q BY", Q_VALUE),
        Column("n", "Sessions", COUNT),
    ]
    detail = el(
        "details",
        el("summary", "Show as a table"),
        table(f"horizons.{factor}", rows, columns, caption=title, row_key="horizon"),
    )
    label = f"Mean rank IC of {factor} by horizon with 95% intervals."
    slot = chart(f"{anchor}-horizons", ic_by_horizon_figure(means), label=label)
    note = "Whiskers: 95% interval from the Newey-West standard error."
    return panel(f"{anchor}-horizons", title, slot, detail, span=4, note=note)


def _quantile_panel(data: FactorPageData, factor: str, anchor: str) -> Markup:
    title = "Label by quantile"
    rows = data.at_main_horizon("quantiles", factor)
    if rows["mean_fwd_return_bps"].isna().all():
        return absent_panel(f"{anchor}-quantiles", title, ABSENT_IC, span=4)
    row = data.ranked.set_index("factor").loc[factor]
    note = join(
        [
            "Highest minus lowest ",
            value(f"detail.{factor}.spread_bps", row["spread_bps"], SIGNED_TENTHS),
            " bps per horizon, t ",
            value(f"detail.{factor}.spread_t", row["spread_t"], SIGNED_RATIO),
            ", before costs.",
        ]
    )
    label = f"Mean label by quantile of {factor} with 95% intervals."
    slot = chart(f"{anchor}-quantiles", quantile_bar_figure(rows), label=label)
    return panel(f"{anchor}-quantiles", title, slot, span=4, note=note)


def _decay_panel(data: FactorPageData, factor: str, anchor: str) -> Markup:
    title = "IC by age of the score"
    decay = data.of("decay", factor)
    if decay["rank_ic"].isna().all():
        return absent_panel(f"{anchor}-decay", title, ABSENT_IC, span=4)
    half = float(data.ranked.set_index("factor").loc[factor, "half_life_sessions"])
    if np.isinf(half):
        note: object = f"Not halved within {int(decay['delay'].max())} sessions."
    elif np.isnan(half):
        note = "No half-life: the IC of fresh scores is not distinguishable from zero."
    else:
        shown = value(f"detail.{factor}.half_life_sessions", half, SESSIONS)
        note = join(["Halved after ", shown, " sessions (dotted: half)."])
    label = f"Mean rank IC of {factor} by age of the score with 95% intervals."
    slot = chart(f"{anchor}-decay", decay_figure(decay), label=label)
    return panel(f"{anchor}-decay", title, slot, span=4, note=note)


def _group_panel(data: FactorPageData, factor: str, anchor: str) -> Markup:
    title = "By sector and regime"
    groups = data.of("groups", factor)
    if groups["rank_ic"].isna().all():
        return absent_panel(f"{anchor}-groups", title, ABSENT_IC, span=4)
    has_sectors = (groups["by"] == "sector").any()
    note = EMPTY if has_sectors else "No sectors were given: regimes alone."
    label = f"Mean rank IC of {factor} by sector and regime with 95% intervals."
    slot = chart(f"{anchor}-groups", group_figure(groups), label=label)
    return panel(f"{anchor}-groups", title, slot, span=4, note=note or None)
