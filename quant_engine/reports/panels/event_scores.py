"""Panels of event forecasts: honesty, skill against the market, folds, gains after fees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from quant_engine.reports.event_data import EventReportData
from quant_engine.reports.figures.event_scores import (
    equity_by_event_figure,
    interval_figure,
    longshot_figure,
    murphy_figure,
    pit_figure,
    reliability_figure,
)
from quant_engine.reports.figures.kit import Z_95
from quant_engine.reports.formats import (
    COUNT,
    PERCENT,
    RATIO,
    SIGNED_PERCENT,
    SIGNED_RATIO,
    NumberFormat,
)
from quant_engine.reports.markup import Markup, el, join
from quant_engine.reports.panels.events import moment_column
from quant_engine.reports.panels.parts import Column, absent_panel, chart, panel, table, value

__all__ = [
    "calibration_panels",
    "event_figures",
    "fold_panels",
    "money_panels",
    "skill_panels",
]

SIGNED_NATS = NumberFormat(4, is_signed=True)
SIGNED_USD = NumberFormat(2, is_signed=True)
SIGNED_CENTS = NumberFormat(2, scale=100, suffix=" ¢", is_signed=True)
P_VALUE = NumberFormat(4)
USD = NumberFormat(2)
MIN_CLUSTERS = 2
SCORE_NAMES = {"log_loss": "log loss", "brier": "Brier", "rps": "RPS"}
STRESS_NAMES = {
    "displayed": "as displayed",
    "spread_x2": "twice the spread",
    "fee_x2": "twice the fee",
    "delay_1": "one snapshot later",
}


def event_figures(data: EventReportData) -> Markup:
    """The four figures of the whole run as cards.

    Parameters
    ----------
    data : EventReportData
        The run.

    Returns
    -------
    Markup
        A grid of cards; what is not known says so.
    """
    return el(
        "div",
        _skill_card(data),
        _money_card(data),
        _leak_card(data),
        _availability_card(data),
        class_="kpis",
    )


def _card(label: str, figure: Markup, context: list[object]) -> Markup:
    return el(
        "section",
        el("h3", label, class_="kpi-label"),
        el("div", figure, class_="kpi-value"),
        el("p", *(el("span", line) for line in context), class_="kpi-context"),
        class_="kpi",
    )


def _skill_card(data: EventReportData) -> Markup:
    member, label = data.best_member, "Log loss gained over the market"
    skill = data.table("forecasts", "skill")
    if member is None or skill is None:
        reason = data.why_absent("forecasts", "No forecast was scored.")
        return _card(label, value("best.skill", None, tag="p"), [reason])
    row = skill[
        (skill["member"] == member) & (skill["base"] == "market") & (skill["score"] == "log_loss")
    ].iloc[0]
    interval = join(
        [
            value("best.skill_low", row["ci_low"], SIGNED_NATS),
            " to ",
            value("best.skill_high", row["ci_high"], SIGNED_NATS),
            " nats",
        ]
    )
    clusters = join([value("best.n_clusters", int(row["n_clusters"]), COUNT), " occurrences"])
    best = join([value("best.member", member), ", the best of all members"])
    return _card(
        label, value("best.skill", row["mean"], SIGNED_NATS, tag="p"), [best, interval, clusters]
    )


def _money_card(data: EventReportData) -> Markup:
    strategy, label = data.best_strategy, "Gained per contract after fees"
    stresses = data.table("trades", "stresses")
    if strategy is None or stresses is None:
        reason = data.why_no_fill
        return _card(label, value("best.pnl_contract", None, tag="p"), [reason])
    own = stresses[(stresses["strategy"] == strategy) & (stresses["stress"] == "displayed")]
    row = own.iloc[0]
    interval = join(
        [
            value("best.pnl_low", row["ci_low_usd"], SIGNED_CENTS),
            " to ",
            value("best.pnl_high", row["ci_high_usd"], SIGNED_CENTS),
        ]
    )
    total = join([value("best.pnl_usd", row["pnl_usd"], SIGNED_USD), " dollars in all"])
    best = join([value("best.strategy", strategy), ", the best strategy that can be judged"])
    figure = value("best.pnl_contract", row["pnl_contract_usd"], SIGNED_CENTS, tag="p")
    return _card(label, figure, [best, interval, total])


def _leak_card(data: EventReportData) -> Markup:
    audit, label = data.audit, "Faults of the leak audit"
    if audit is None:
        reason = data.why_absent("report", "The stage audit was not run.")
        return _card(label, value("audit.faults", None, tag="p"), [reason])
    kinds = ", ".join(sorted(set(audit["check"])))
    n_checks = join([value("audit.n_checks", len(audit), COUNT), " checks"])
    figure = value("audit.faults", data.n_leak_faults, COUNT, tag="p")
    return _card(label, figure, [n_checks, kinds])


def _availability_card(data: EventReportData) -> Markup:
    rows, label = data.table("report", "availability"), "Availability truly recorded"
    if rows is None:
        reason = data.why_absent("report", "No row of the store was counted.")
        return _card(label, value("availability.recorded", None, tag="p"), [reason])
    total = int(rows["n_rows"].sum())
    recorded = int(rows.loc[rows["basis"] == "recorded", "n_rows"].sum())
    counted = join([value("availability.n_rows", total, COUNT), " rows of the store"])
    share = value("availability.recorded", recorded / total, PERCENT, tag="p")
    return _card(label, share, [counted, "the rest is derived or assumed"])


def calibration_panels(data: EventReportData) -> tuple[Markup, ...]:
    """Reliability by horizon, probability transform, Murphy's terms, longshot curve, table.

    Parameters
    ----------
    data : EventReportData
        The run.

    Returns
    -------
    tuple of Markup
        Panels, each filled or absent with its reason.
    """
    best = data.best_member
    members = tuple(dict.fromkeys(("market", best))) if best else ("market",)
    return (
        *(_reliability_panel(data, member) for member in members),
        _PIT.panel(data, lambda scores: pit_figure(scores, members=members)),
        _MURPHY.panel(data, murphy_figure),
        _LONGSHOT.panel(data, longshot_figure),
        _calibration_table(data),
    )


def _reliability_panel(data: EventReportData, member: str) -> Markup:
    title, anchor = f"Reliability by horizon, {member}", f"reliability-{member}"
    rows = data.table("forecasts", "reliability")
    own = None if rows is None else rows[rows["member"] == member]
    if own is None or own.empty:
        reason = data.why_absent("forecasts", "No forecast was scored.")
        return absent_panel(anchor, title, reason, span=6)
    label = f"How often cells came true against the probability that {member} gave them."
    return panel(anchor, title, chart(anchor, reliability_figure(own), label=label), span=6)


@dataclass(frozen=True)
class _Chart:
    """A panel of one table and one figure."""

    panel_id: str
    title: str
    table: str
    label: str
    note: str
    none: str = "No forecast was scored."

    def panel(self, data: EventReportData, draw: Callable[[pd.DataFrame], go.Figure]) -> Markup:
        """The figure, or why it is absent."""
        rows = data.table("forecasts", self.table)
        if rows is None:
            reason = data.why_absent("forecasts", self.none)
            return absent_panel(self.panel_id, self.title, reason, span=6)
        slot = chart(self.panel_id, draw(rows), label=self.label)
        return panel(self.panel_id, self.title, slot, span=6, note=self.note)


_PIT = _Chart(
    "pit",
    "Probability transform",
    "scores",
    "Share of outcomes in each tenth of the forecast.",
    "Flat is honest; a hump is too wide, a bowl too narrow, a slope is a bias.",
)
_MURPHY = _Chart(
    "murphy",
    "Murphy's terms of the Brier score",
    "calibration",
    "Resolution and reliability by forecast.",
    "Brier = reliability − resolution + uncertainty + terms within bins.",
)
_LONGSHOT = _Chart(
    "longshot",
    "Longshots and favourites",
    "longshot",
    "What contracts paid beyond their price.",
    "Middle prices, before fees; bars are 95 % intervals over real-world occurrences.",
    "No priced contract has a known outcome.",
)


def _calibration_table(data: EventReportData) -> Markup:
    title = "Calibration by forecast"
    rows = data.table("forecasts", "calibration")
    if rows is None:
        reason = data.why_absent("forecasts", "No forecast was scored.")
        return absent_panel("calibration", title, reason, span=6)
    columns = [
        Column("member", "Forecast"),
        Column("slope", "Slope", RATIO),
        Column("intercept", "Intercept", RATIO),
        Column("calibration_error", "Error", NumberFormat(4)),
        Column("skill_score", "Skill", SIGNED_PERCENT),
        Column("coverage_50", "In 50 %", PERCENT),
        Column("coverage_80", "In 80 %", PERCENT),
        Column("coverage_95", "In 95 %", PERCENT),
        Column("n_obs", "Cells", COUNT),
    ]
    body = table("calibration", rows, columns, caption="Calibration", row_key="member")
    note = "Slope 1 and intercept 0 are honest. Skill: against the base rate."
    return panel("calibration", title, body, span=6, note=note)


def skill_panels(data: EventReportData) -> tuple[Markup, Markup]:
    """Gains over the raw and the recalibrated market, with intervals over occurrences.

    Parameters
    ----------
    data : EventReportData
        The run.

    Returns
    -------
    figure, rows : Markup
        Two panels.
    """
    titles = ("Log loss gained, with intervals", "Skill by score")
    skill = data.table("forecasts", "skill")
    if skill is None:
        reason = data.why_absent("forecasts", "No forecast was scored.")
        return (
            absent_panel("skill-figure", titles[0], reason, span=5),
            absent_panel("skill", titles[1], reason, span=7),
        )
    losses = skill[skill["score"] == "log_loss"]
    drawn = pd.DataFrame(
        {
            "name": [
                f"{m} over {b}" for m, b in zip(losses["member"], losses["base"], strict=True)
            ],
            "mean": losses["mean"],
            "low": losses["ci_low"],
            "high": losses["ci_high"],
        }
    )
    figure = interval_figure(drawn, unit="nats per look, above 0 = better")
    slot = chart("skill-figure", figure, label="Mean gain of log loss and its interval.")
    columns = [
        Column("member", "Forecast"),
        Column("base", "Over"),
        Column("score", "Score"),
        Column("mean", "Gain", SIGNED_NATS),
        Column("ci_low", "From", SIGNED_NATS),
        Column("ci_high", "To", SIGNED_NATS),
        Column("t", "t", SIGNED_RATIO),
        Column("p_value", "p", P_VALUE),
        Column("n_clusters", "Occurrences", COUNT),
    ]
    named = skill.assign(score=skill["score"].replace(SCORE_NAMES))
    body = table("skill", named, columns, caption="Gain of every forecast over every baseline")
    note = (
        "Averages per real-world occurrence, then a t-test over occurrences; out of sample. RPS: "
        "ranked probability score, CRPS in cells."
    )
    return (
        panel("skill-figure", titles[0], slot, span=5),
        panel("skill", titles[1], body, span=7, note=note),
    )


def fold_gains(scores: pd.DataFrame, member: str) -> pd.DataFrame:
    """Gain of log loss over the market by test block.

    Parameters
    ----------
    scores : DataFrame
        ``fold, cluster_id, event_id, horizon_s, member, log_loss``.
    member : str
        Forecast.

    Returns
    -------
    DataFrame
        ``fold, name, mean, low, high, n_clusters``; means over occurrences, normal 95 % interval,
        NaN ends with fewer than two.

    Examples
    --------
    >>> rows = [(1, 1, m, v) for m, v in (("market", 1.0), ("shrunk", 0.9))]
    >>> scores = pd.DataFrame(rows, columns=["fold", "cluster_id", "member", "log_loss"])
    >>> round(float(fold_gains(scores.assign(event_id=1, horizon_s=60), "shrunk")["mean"][0]), 6)
    0.1
    """
    wide = scores.pivot_table(
        index=["fold", "cluster_id", "event_id", "horizon_s"], columns="member", values="log_loss"
    )
    gain = (wide["market"] - wide[member]).groupby(["fold", "cluster_id"]).mean()
    found = gain.groupby("fold").agg(["mean", "std", "size"]).reset_index()
    half = Z_95 * found["std"] / np.sqrt(found["size"])
    half = half.where(found["size"] >= MIN_CLUSTERS)
    return pd.DataFrame(
        {
            "fold": found["fold"],
            "name": [f"fold {fold}" for fold in found["fold"]],
            "mean": found["mean"],
            "low": found["mean"] - half,
            "high": found["mean"] + half,
            "n_clusters": found["size"],
        }
    )


def fold_panels(data: EventReportData) -> tuple[Markup, Markup]:
    """Test blocks: what trained, what was tested, and the gain of each.

    Parameters
    ----------
    data : EventReportData
        The run.

    Returns
    -------
    figure, rows : Markup
        Two panels.
    """
    titles = ("Gain by fold", "Folds")
    folds, scores, member = (
        data.table("forecasts", "folds"),
        data.table("forecasts", "scores"),
        data.best_member,
    )
    if folds is None or scores is None or member is None:
        reason = data.why_absent("forecasts", "No fold could be made.")
        return (
            absent_panel("fold-gain", titles[0], reason, span=5),
            absent_panel("event-folds", titles[1], reason, span=7),
        )
    figure = interval_figure(fold_gains(scores, member), unit="nats per look over the market")
    slot = chart("fold-gain", figure, label=f"Gain of {member} over the market by fold.")
    drawn = folds.assign(
        **{
            name: moment_column(folds[f"{name}_us"]).str[:10]
            for name in ("train_to", "test_from", "test_to")
        }
    )
    columns = [
        Column("fold", "Fold", COUNT, is_left=True),
        Column("train_to", "Train to"),
        Column("test_from", "Test from"),
        Column("test_to", "Test to"),
        Column("n_train_clusters", "Trained on", COUNT),
        Column("n_test_clusters", "Tested on", COUNT),
        Column("n_dropped_looks", "Purged looks", COUNT),
        Column("mix_weight", "Model's weight", RATIO),
    ]
    body = table("event_folds", drawn, columns, caption="Folds", row_key="fold")
    note = (
        "Trained on and tested on: real-world occurrences, never on both sides. Purged: looks too "
        "near the block to train. Model's weight: of boosted in shrunk."
    )
    first = panel(
        "fold-gain", titles[0], slot, span=5, note=f"Best member ({member}), 95 % over occurrences."
    )
    return first, panel("event-folds", titles[1], body, span=7, note=note)


def money_panels(data: EventReportData) -> tuple[Markup, ...]:
    """Equity by occurrence, stresses with intervals, and every strategy.

    Parameters
    ----------
    data : EventReportData
        The run.

    Returns
    -------
    tuple of Markup
        Three panels.
    """
    titles = ("Equity after fees, by occurrence", "Per contract, under stress", "Strategies")
    best = data.best_strategy
    clusters, stresses, strategies = (
        data.table("trades", name) for name in ("clusters", "stresses", "strategies")
    )
    if best is None or clusters is None or stresses is None or strategies is None:
        reason = data.why_no_fill
        return (
            absent_panel("event-equity", titles[0], reason, span=7),
            absent_panel("stresses", titles[1], reason, span=5),
            absent_panel("strategies", titles[2], reason, span=12),
        )
    ranked = strategies.sort_values("pnl_usd", ascending=False)["strategy"].tolist()
    figure = equity_by_event_figure(clusters, strategies=tuple(ranked))
    equity = chart("event-equity", figure, label="Equity of every strategy by occurrence.")
    own = stresses[stresses["strategy"] == best]
    drawn = pd.DataFrame(
        {
            "name": [STRESS_NAMES.get(one, one) for one in own["stress"]],
            "mean": 100.0 * own["pnl_contract_usd"],
            "low": 100.0 * own["ci_low_usd"],
            "high": 100.0 * own["ci_high_usd"],
        }
    )
    slot = chart(
        "stresses",
        interval_figure(drawn, unit="cents per contract after fees"),
        label=f"Gain per contract of {best} as displayed and under each stress.",
    )
    note = f"{best}: the same orders, filled worse. 95 % over occurrences."
    return (
        panel("event-equity", titles[0], equity, span=7, note="Held to settlement; exact fees."),
        panel("stresses", titles[1], slot, span=5, note=note),
        _strategy_panel(strategies, stresses, titles[2]),
    )


def _strategy_panel(strategies: pd.DataFrame, stresses: pd.DataFrame, title: str) -> Markup:
    wide = stresses.pivot_table(
        index="strategy", columns="stress", values="pnl_contract_usd", dropna=False
    )
    shown = strategies.merge(wide.reset_index(), on="strategy", how="left")
    columns = [
        Column("strategy", "Strategy"),
        Column("liquidity", "Side"),
        Column("n_fills", "Fills", COUNT),
        Column("n_contracts", "Contracts", COUNT),
        Column("fee_usd", "Fees, $", USD),
        Column("pnl_usd", "After fees, $", SIGNED_USD),
        Column("return_frac", "Of capital", SIGNED_PERCENT),
        *(Column(key, name.capitalize(), SIGNED_CENTS) for key, name in STRESS_NAMES.items()),
        Column("worst_cluster_usd", "Worst occurrence, $", SIGNED_USD),
    ]
    ordered = shown.sort_values("pnl_usd", ascending=False).reset_index(drop=True)
    body = table("strategies", ordered, columns, caption="Strategies", row_key="strategy")
    note = (
        "Every strategy is one trial of the ledger. Cents: mean per contract after fees, n/a with "
        "fills in fewer than two occurrences."
    )
    return panel("strategies", title, body, span=12, note=note)
