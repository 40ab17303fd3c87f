"""Panels of the evaluation: what trading cost, where the return came from, how the model held."""

from __future__ import annotations

import pandas as pd

from quant_engine.reports.derived import closed_trades
from quant_engine.reports.episodes import (
    cost_bridge,
    crisis_paths,
    crisis_table,
    cumulative_parts,
)
from quant_engine.reports.evaluation_data import ALPHA_PARTS, EvaluationData, style_names
from quant_engine.reports.figures.evaluation import (
    attribution_figure,
    crisis_figure,
    excursion_figure,
    waterfall_figure,
)
from quant_engine.reports.formats import (
    BPS,
    COUNT,
    MONEY,
    PERCENT,
    PERCENT2,
    RATIO,
    SIGNED_IC,
    SIGNED_MONEY,
    SIGNED_PERCENT,
    SIGNED_PERCENT2,
    SIGNED_RATIO,
)
from quant_engine.reports.markup import Markup, join
from quant_engine.reports.panels.parts import Column, absent_panel, chart, panel, table, value
from quant_engine.reports.tearsheet_data import TearSheetData

__all__ = [
    "attribution_panels",
    "calibration_panel",
    "crisis_panels",
    "excursion_panel",
    "slices_panels",
    "tca_panel",
    "waterfall_panel",
]

N_EPISODES = 4
_TRADE_DIMENSIONS = ("sector", "size")
_PART_NAMES = {
    "market": "Market (mean of names)",
    "sector": "Sectors",
    "momentum": "Momentum",
    "volatility": "Volatility",
    "size": "Size",
    "reversal": "Reversal",
    "selection": "Selection of names",
    "trading": "Trading inside sessions",
    "costs": "Costs",
    "alpha": "Alpha (last three)",
    "net": "Net return",
}


def waterfall_panel(data: TearSheetData) -> Markup:
    """The way from gross to net.

    Parameters
    ----------
    data : TearSheetData
        Uses ``daily``.

    Returns
    -------
    Markup
        Panel.
    """
    title = "From gross to net, % of equity a year"
    if data.daily is None or not any(name.startswith("cost_") for name in data.daily):
        return absent_panel("cost-waterfall", title, data.why_absent("daily.cost_fees"))
    bridge = cost_bridge(data.daily, periods_per_year=data.periods_per_year)
    steps = bridge.set_index("step")["annual_frac"]
    label = "Bars from the gross return through each kind of cost to the net return."
    costs = [join([f"{step} ", value(f"bridge.{step}", float(steps[step]), SIGNED_PERCENT2)])
             for step in steps.index]  # fmt: skip
    note = join(["Mean of the sessions times the sessions of a year: ", join(costs, ", "), "."])
    slot = chart("cost-waterfall", waterfall_figure(bridge), label=label)
    return panel("cost-waterfall", title, slot, note=note)


def excursion_panel(data: TearSheetData) -> Markup:
    """Worst and best price that each trade lived through.

    Parameters
    ----------
    data : TearSheetData
        Uses ``trades``.

    Returns
    -------
    Markup
        Panel.
    """
    title = "Worst and best price while held"
    trades = None if data.trades is None else closed_trades(data.trades)
    if trades is None or trades.empty or "mae_frac" not in trades or "mfe_frac" not in trades:
        reason = data.why_absent("trades") if data.trades is None else data.why_absent("excursions")
        return absent_panel("excursions", title, reason, span=12)
    won = trades[trades["ret_net"] > 0.0]
    note = join(
        [
            "Returns on the entry price. Median worst price of trades that gained: ",
            value("excursions.mae_of_gains", float(won["mae_frac"].median()), SIGNED_PERCENT),
            "; median best price of trades that lost: ",
            value(
                "excursions.mfe_of_losses",
                float(trades.loc[trades["ret_net"] <= 0.0, "mfe_frac"].median()),
                SIGNED_PERCENT,
            ),
            ".",
        ]
    )
    label = f"Worst against best price of {len(trades)} trades, gains and losses in their colours."
    slot = chart("excursions", excursion_figure(trades), label=label)
    return panel("excursions", title, slot, span=12, note=note)


def tca_panel(data: TearSheetData) -> Markup:
    """What trading cost against the prices on which it was decided.

    Parameters
    ----------
    data : TearSheetData
        Uses ``evaluation``.

    Returns
    -------
    Markup
        Panel.
    """
    title = "Trading costs against the deciding price"
    found = data.evaluation
    if found is None or found.tca.empty:
        return absent_panel("tca", title, data.why_absent("evaluation"), span=12)
    frame = found.tca.copy()
    for part in ("delay", "spread", "impact", "fees", "opportunity"):
        frame[part] = frame[part] / frame["ordered_value"] * 1e4
    columns = [
        Column("dimension", "By"),
        Column("slice", "Orders"),
        Column("n_orders", "Number", COUNT),
        Column("ordered_value", "Ordered", MONEY),
        Column("fill_frac", "Filled", PERCENT),
        Column("delay", "Delay", BPS),
        Column("spread", "Spread", BPS),
        Column("impact", "Impact", BPS),
        Column("fees", "Fees", BPS),
        Column("opportunity", "Not filled", BPS),
        Column("shortfall_bps", "Shortfall", BPS),
        Column("shortfall", "In money", MONEY),
    ]
    body = table("tca", frame, columns, caption="Implementation shortfall by kind of order")
    return panel("tca", title, body, span=12, note=_tca_note(found))


def _tca_note(found: EvaluationData) -> Markup:
    bridge = found.metrics["trading_costs"]
    parts: list[object] = [
        "Parts in bps of the ordered value, positive = worse than trading at the close that "
        "decided. Spread, impact and fees were paid; delay and what did not fill say what another "
        "book would have earned. In money: gross profit ",
        value("tca.pnl_gross", bridge["pnl_gross"], SIGNED_MONEY),
    ]
    for kind in ("spread", "impact", "fees", "borrow"):
        parts += [f", less {kind} ", value(f"tca.{kind}", bridge[kind], MONEY)]
    parts += [", is net profit ", value("tca.pnl_net", bridge["pnl_net"], SIGNED_MONEY), "."]
    return join(parts)


def attribution_panels(data: TearSheetData) -> list[Markup]:
    """Which part of the return market, sectors and styles explain.

    Parameters
    ----------
    data : TearSheetData
        Uses ``evaluation``.

    Returns
    -------
    list of Markup
        A figure and a table.
    """
    titles = ("What added up to the net return", "Sums by part")
    found = data.evaluation
    if found is None or found.attribution.empty:
        reason = data.why_absent("evaluation") if found is None else found.absent["attribution"]
        return [
            absent_panel("attribution", titles[0], reason, span=8),
            absent_panel("attribution-totals", titles[1], reason, span=4),
        ]
    slot = chart(
        "attribution",
        attribution_figure(cumulative_parts(found.attribution)),
        label="Market, sectors, styles, selection, trading and costs stacked to the net return.",
    )
    styles = ", ".join(style_names(found.attribution))
    note = (
        f"Shares of the starting capital. Styles: {styles}, from prices and volume up to the close "
        "before. Selection is what names did beyond them; a part below 0 is stacked downwards."
    )
    return [
        panel("attribution", titles[0], slot, span=8, note=note),
        panel("attribution-totals", titles[1], _totals(found), span=4, note=_totals_note(found)),
    ]


def _totals(found: EvaluationData) -> Markup:
    frame = found.attribution_totals
    frame = frame.assign(name=[_PART_NAMES.get(part, part) for part in frame["part"]])
    columns = [
        Column("name", "Part"),
        Column("total_frac", "Of the capital", SIGNED_PERCENT2),
        Column("money", "Money", SIGNED_MONEY),
    ]
    return table("attribution_totals", frame, columns, caption="Sum of every part", row_key="part")


def _totals_note(found: EvaluationData) -> Markup:
    parts = found.attribution_totals.set_index("part")["total_frac"]
    explained = parts.drop([*ALPHA_PARTS, "alpha", "net"]).sum()
    beta = found.metrics["benchmark"]
    notes: list[object] = [
        "The parts sum to the compounded net return. Explained without alpha: ",
        value("attribution.explained", float(explained), SIGNED_PERCENT2),
        ".",
    ]
    if beta["net"] is not None:
        notes += [
            " Another view: a trailing beta times the benchmark made ",
            value("attribution.beta_part", beta["beta_part"], SIGNED_PERCENT2),
            " of the ",
            value("attribution.beta_net", beta["net"], SIGNED_PERCENT2),
            " that the sessions with a beta add up to.",
        ]
    return join(notes)


def crisis_panels(data: TearSheetData) -> list[Markup]:
    """The worst falls of the market, and the book in them.

    Parameters
    ----------
    data : TearSheetData
        Uses ``daily``.

    Returns
    -------
    list of Markup
        A figure and a table.
    """
    titles = ("The market's worst falls", "Book and market in these falls")
    daily = data.daily
    reason = ""
    if daily is None or "benchmark_ret" not in daily:
        reason = data.why_absent("daily.benchmark_ret")
    episodes = pd.DataFrame() if reason else crisis_table(daily, n_worst=N_EPISODES)
    if episodes.empty:
        reason = reason or "The benchmark never fell below an earlier high."
        return [
            absent_panel("crises", titles[0], reason, span=12),
            absent_panel("crisis-table", titles[1], reason, span=12),
        ]
    names = [f"{number}: {_day(row.peak)} to {_day(row.recovered)}" for number, row in
             enumerate(episodes.itertuples(index=False), start=1)]  # fmt: skip
    slot = chart(
        "crises",
        crisis_figure(crisis_paths(daily, episodes), names),
        label="Return of book and benchmark from the market's peak to its recovery.",
        min_width_px=640,
    )
    columns = [
        Column("episode", "Fall", COUNT, is_left=True),
        Column("peak", "Peak"),
        Column("trough", "Trough"),
        Column("recovered", "Recovered"),
        Column("sessions_to_trough", "Sessions down", COUNT),
        Column("benchmark_fall", "Market, peak to trough", SIGNED_PERCENT),
        Column("book_in_fall", "Book, the same sessions", SIGNED_PERCENT),
        Column("benchmark_whole", "Market, whole", SIGNED_PERCENT),
        Column("book_whole", "Book, whole", SIGNED_PERCENT),
        Column("book_drawdown", "Book's deepest loss inside", PERCENT),
    ]
    body = table("crises", episodes, columns, caption=titles[1], row_key="episode")
    note = ("From a peak of the benchmark until it was reached again, or to the end of the run; "
            "sessions since the peak.")  # fmt: skip
    return [
        panel("crises", titles[0], slot, span=12, note=note),
        panel("crisis-table", titles[1], body, span=12, note="Compounded, net of costs."),
    ]


def _day(stamp: pd.Timestamp) -> str:
    return "the end" if pd.isna(stamp) else stamp.date().isoformat()


def slices_panels(data: TearSheetData) -> list[Markup]:
    """Performance by phase, regime and year; profit by sector and size of the names.

    Parameters
    ----------
    data : TearSheetData
        Uses ``evaluation``.

    Returns
    -------
    list of Markup
        Slices of sessions, slices of trades.
    """
    titles = ("Slices of sessions", "Slices of trades")
    if data.evaluation is None:
        reason = data.why_absent("evaluation")
        return [
            absent_panel("slices", titles[0], reason, span=12),
            absent_panel("slices-trades", titles[1], reason, span=12),
        ]
    slices = _readable(data.evaluation.slices)
    is_trades = slices["dimension"].isin(_TRADE_DIMENSIONS)
    seen = [Column("n_obs", "Seen", COUNT), Column("n_obs_note", "Evidence")]
    columns = [
        Column("dimension", "By"),
        Column("slice", "Slice"),
        *seen,
        Column("annual_return", "Return a year", SIGNED_PERCENT),
        Column("sharpe", "Sharpe", SIGNED_RATIO),
        Column("max_drawdown", "Max drawdown", PERCENT),
        Column("avg_gross_exposure", "Gross", PERCENT),
        Column("avg_net_exposure", "Net", PERCENT),
        Column("pnl_net", "Profit", SIGNED_MONEY),
    ]
    body = table("slices", slices[~is_trades], columns, caption="Performance by slice")
    note = "Seen: sessions; thin: fewer than 20. Phases of the market are named with hindsight."
    return [
        panel("slices", titles[0], body, span=12, note=note),
        _trade_slices(slices[is_trades], titles[1], seen),
    ]


def _trade_slices(slices: pd.DataFrame, title: str, seen: list[Column]) -> Markup:
    columns = [
        Column("dimension", "By"),
        Column("slice", "Slice"),
        *seen,
        Column("pnl_net", "Profit", SIGNED_MONEY),
    ]
    body = table("slices_trades", slices, columns, caption="Profit by sector and size of the name")
    note = (
        "Seen: trades; thin: fewer than 20. Size is the third of the names by traded value when "
        "the trade was decided."
    )
    if "sector" not in set(slices["dimension"]):
        note += " No sector is known."
    return panel("slices-trades", title, body, span=12, note=note)


def _readable(slices: pd.DataFrame) -> pd.DataFrame:
    """Slices with words for their names and for thin ones."""
    return slices.assign(
        slice=slices["slice"].str.replace("_", " "),
        n_obs_note=["thin" if thin else "enough" for thin in slices["is_thin"]],
    )


def calibration_panel(data: TearSheetData) -> Markup:
    """Whether the model's confidence holds, by slice, and what else fades.

    Parameters
    ----------
    data : TearSheetData
        Uses ``evaluation``.

    Returns
    -------
    Markup
        Panel.
    """
    title = "Confidence against frequency"
    found = data.evaluation
    if found is None:
        return absent_panel("calibration", title, data.why_absent("evaluation"), span=12)
    if found.calibration_slices.empty:
        reason = "No prediction has both a confidence and a known outcome."
        return absent_panel("calibration", title, reason, span=12)
    frame = _readable(found.calibration_slices)
    columns = [
        Column("dimension", "By"),
        Column("slice", "Slice"),
        Column("n_obs", "Predictions", COUNT),
        Column("n_obs_note", "Evidence"),
        Column("mean_confidence", "Confidence", PERCENT2),
        Column("frequency", "Right sign", PERCENT2),
        Column("calibration_error", "Mean distance", PERCENT2),
    ]
    body = table("calibration", frame, columns, caption="Calibration by slice")
    return panel("calibration", title, body, span=12, note=_model_note(found))


def _model_note(found: EvaluationData) -> Markup:
    """Decay, concentration and agreement of the members, each with its word."""
    metrics = found.metrics
    notes: list[object] = [
        "Out of sample. Newest 60-session rank IC below its past by ",
        value("evaluation.rolling_ic_decay", metrics["rolling_ic_decay"], SIGNED_IC),
        _alarm_text(metrics["rolling_ic_alarm"], " (alarm: above 0.02)", " (no alarm)"),
        "; share of the profit in the 20 best trades ",
        value("evaluation.pnl_top20_frac", metrics["pnl_top20_frac"], PERCENT),
        _alarm_text(metrics["pnl_is_fragile"], " (fragile: above 70 %)", ""),
        "; disagreement of the members ",
        value("evaluation.disagreement_mean", metrics["disagreement_mean"], RATIO),
        _alarm_text(metrics["disagreement_alarm"], " (alarm: above 0.5)", ""),
    ]
    if "disagreement" in found.absent:
        notes.append(f" ({found.absent['disagreement']})")
    notes.append(".")
    return join(notes)


def _alarm_text(alarm: bool | None, yes: str, no: str) -> str:
    return "" if alarm is None else yes if alarm else no
