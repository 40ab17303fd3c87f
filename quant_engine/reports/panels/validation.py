"""Panels of the validation: verdicts, stresses, null baselines, capacity, paths."""

from __future__ import annotations

from quant_engine.reports.figures.evaluation import capacity_figure
from quant_engine.reports.figures.validation import null_figure, wealth_band_figure
from quant_engine.reports.formats import (
    COUNT,
    MONEY,
    PERCENT,
    RATIO,
    SIGNED_IC,
    SIGNED_PERCENT,
    SIGNED_RATIO,
    TIMES,
    NumberFormat,
)
from quant_engine.reports.markup import Markup, join
from quant_engine.reports.panels.parts import Column, absent_panel, chart, panel, table, value
from quant_engine.reports.suite_data import SuiteData
from quant_engine.reports.tearsheet_data import TearSheetData

__all__ = ["validation_panels"]

_WORDS = {"insufficient_observation": "insufficient"}
_COUNTED = {
    "pass": "Passed",
    "warn": "warned",
    "fail": "failed",
    "insufficient": "too little seen",
}
_FIGURES = (
    Column("sharpe", "Net Sharpe", SIGNED_RATIO),
    Column("annual_return", "Return a year", SIGNED_PERCENT),
    Column("max_drawdown", "Max drawdown", PERCENT),
    Column("turnover_ann", "Turnover a year", TIMES),
)
_PROBABILITY = NumberFormat(3)


def validation_panels(data: TearSheetData) -> list[Markup]:
    """Panels of the section, in reading order.

    Parameters
    ----------
    data : TearSheetData
        Uses ``checks`` and ``suite``.

    Returns
    -------
    list of Markup
        Verdicts first, then what they rest on.
    """
    if data.suite is None:
        reason = (
            "The validation suite was not run: run_backtest.py --advanced adds stresses, null "
            "baselines, refits, resampled paths and capacity."
        )
        return [_checks(data), absent_panel("suite", "Validation suite", reason, span=12)]
    suite = data.suite
    return [
        _checks(data),
        _bands(suite),
        _nulls(suite),
        _stress(suite),
        _variants(suite),
        *_capacity(suite),
        _paths(suite),
        _simulated_quantiles(suite),
    ]


def _checks(data: TearSheetData) -> Markup:
    if data.checks is None:
        return absent_panel("checks", "Verdicts", data.why_absent("checks"), span=12)
    frame = data.checks.assign(verdict=data.checks["verdict"].replace(_WORDS))
    columns = [
        Column("check", "Check"),
        Column("verdict", "Verdict"),
        Column("reason", "Why", is_prose=True),
    ]
    body = table("checks", frame, columns, caption="Verdict of every rule")
    counts = frame["verdict"].value_counts()
    parts: list[object] = []
    for word, text in _COUNTED.items():
        parts += [f"{text}: ", value(f"checks.n_{word}", int(counts.get(word, 0)), COUNT), ", "]
    parts[-1] = ". "
    if data.suite is not None:
        trials = data.suite.figures.get("n_trials")
        parts += ["Trials counted in the family: ", value("suite.n_trials", trials, COUNT), ". "]
    parts.append("Rules stand in specs/gates; nothing is promoted by them.")
    return panel("checks", "Verdicts", body, span=12, note=join(parts))


def _bands(suite: SuiteData) -> Markup:
    label = "Observed wealth between the 5 % and 95 % quantiles of resampled paths."
    note = join(
        [
            "Blocks of sessions drawn again; bands hold session by session, not for whole paths. "
            "Chance of such a Sharpe ratio without a mean: ",
            value("suite.monte_carlo_p", suite.figures.get("monte_carlo_p"), _PROBABILITY),
            ".",
        ]
    )
    slot = chart("suite-wealth-bands", wealth_band_figure(suite.bands), label=label)
    return panel("suite-wealth-bands", "Monte Carlo: wealth", slot, span=7, note=note)


def _nulls(suite: SuiteData) -> Markup:
    own = suite.stress[(suite.stress["kind"] == "cost") & (suite.stress["level"] == 1.0)]
    sharpe = float(own["sharpe"].iloc[0]) if own["sharpe"].notna().any() else None
    label = "Histogram of the net Sharpe ratios of random books, with the strategy marked."
    note = join(
        [
            "Books without an opinion that pay the same costs. Share of random books of equal "
            "turnover below the strategy: ",
            value("suite.null_percentile", suite.figures.get("null_percentile"), PERCENT),
            ".",
        ]
    )
    slot = chart("suite-nulls", null_figure(suite.nulls, sharpe=sharpe), label=label)
    return panel("suite-nulls", "Null baselines", slot, span=5, note=note)


def _stress(suite: SuiteData) -> Markup:
    names = {
        "cost": lambda level: f"Cost × {level:g}",
        "delay": _delay,
    }
    levels = zip(suite.stress["kind"], suite.stress["level"], strict=True)
    frame = suite.stress.assign(name=[names[kind](level) for kind, level in levels])
    columns = [Column("name", "Stress"), *_FIGURES]
    body = table("suite_stress", frame, columns, caption="Cost and delay stress")
    note = "The same book at other costs, and deciding on scores that are some sessions old."
    return panel("suite-stress", "Cost and delay stress", body, span=6, note=note)


def _variants(suite: SuiteData) -> Markup:
    title = "Neighbouring books"
    if suite.variants.empty:
        return absent_panel("suite-variants", title, "No variant of the book was asked for.")
    columns = [Column("variant", "Variant"), *_FIGURES]
    body = table("suite_variants", suite.variants, columns, caption="Neighbouring books")
    note = "One setting changed at a time. Every row was counted as a trial."
    return panel("suite-variants", title, body, span=6, note=note)


def _capacity(suite: SuiteData) -> list[Markup]:
    columns = [
        Column("capital_usd", "Capital", MONEY, is_left=True),
        Column("sharpe", "Net Sharpe", SIGNED_RATIO),
        Column("annual_impact_frac", "Impact a year", PERCENT),
        Column("capped_value_frac", "Beyond the cap", PERCENT),
    ]
    body = table("suite_capacity", suite.capacity, columns, caption="Capital and net Sharpe")
    limit = suite.figures.get("capacity_usd")
    note = join(
        [
            "By the square-root law of impact, orders scaled with the capital. Sharpe halves at ",
            value("suite.capacity_usd", limit, MONEY),
            ".",
        ]
    )
    slot = chart(
        "suite-capacity-curve",
        capacity_figure(suite.capacity, capacity_usd=limit),
        label="Net Sharpe ratio and the share of orders beyond the cap against capital.",
    )
    return [
        panel("suite-capacity-curve", "Capacity: net Sharpe and value beyond the cap", slot,
              note="Capital on a logarithmic scale; below, the share of the ordered value that "
              "would not fill. Dashed: where the ratio has halved, if it does so on this scale."),
        panel("suite-capacity", "Capacity: table", body, note=note),
    ]  # fmt: skip


def _paths(suite: SuiteData) -> Markup:
    title = "Refitted paths"
    reason = suite.notes.get("cpcv_median_sharpe", "")
    if suite.paths is None:
        return absent_panel("suite-paths", title, f"There are none: {reason}.", span=12)
    columns = [
        Column("path", "Path", COUNT, is_left=True),
        Column("rank_ic", "Rank IC", SIGNED_IC),
        *_FIGURES,
    ]
    body = table("suite_paths", suite.paths, columns, caption="Combinatorial paths")
    note = join(["Combinatorial purged cross-validation: ", reason, "."])
    return panel("suite-paths", title, body, span=12, note=note)


def _simulated_quantiles(suite: SuiteData) -> Markup:
    wide = suite.quantiles.pivot(index="level", columns="kind")
    frame = suite.quantiles.loc[suite.quantiles["kind"] == "paths", ["level"]].reset_index(
        drop=True
    )
    for outcome, kind in wide.columns:
        frame[f"{kind}_{outcome}"] = wide[(outcome, kind)].reindex(frame["level"]).to_numpy()
    frame["level"] = [_level_text(level) for level in frame["level"]]
    columns = [
        Column("level", "Quantile"),
        Column("paths_terminal_wealth", "Blocks of returns: end", RATIO),
        Column("paths_max_drawdown", "Max drawdown", PERCENT),
        Column("paths_lowest_wealth", "Lowest", RATIO),
        Column("trades_max_drawdown", "Order of trades: max drawdown", PERCENT),
        Column("trades_lowest_wealth", "Lowest", RATIO),
    ]
    body = table("suite_quantiles", frame, columns, caption="Quantiles of simulated paths")
    note = "Wealth, 1 = the start. Another order of the same trades ends where they ended."
    return panel("suite-quantiles", "Monte Carlo: quantiles", body, span=12, note=note)


def _delay(level: float) -> str:
    if not level:
        return "As tested"
    return f"Entry {level:.0f} session{'s' if level > 1.0 else ''} later"


def _level_text(level: object) -> str:
    text = str(level)
    return text if text == "observed" else f"{float(text):.0%}"
