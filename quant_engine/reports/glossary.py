"""Every metric of the tear sheet: its label, its unit and its meaning in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from quant_engine.reports.formats import (
    COUNT,
    DAYS,
    IC,
    PERCENT,
    PERCENT2,
    RATIO,
    SIGNED_IC,
    SIGNED_PERCENT,
    SIGNED_RATIO,
    TIMES,
    NumberFormat,
)

__all__ = ["METRICS", "TERMS", "MetricDefinition"]


@dataclass(frozen=True)
class MetricDefinition:
    """One metric of a run's summary.

    Parameters
    ----------
    label : str
        Short display name.
    number_format : NumberFormat or None
        Unit and rounding; None for text and yes/no.
    meaning : str
        One sentence with the formula in words.
    """

    label: str
    number_format: NumberFormat | None
    meaning: str


METRICS: Mapping[str, MetricDefinition] = MappingProxyType(
    {
        "sharpe_session": MetricDefinition(
            "Net Sharpe",
            RATIO,
            "Mean over standard deviation (n−1) of net returns per exchange session, times the "
            "square root of sessions per year; the gates read this one.",
        ),
        "sharpe_session_ci_low": MetricDefinition(
            "Net Sharpe, lower 95 %",
            SIGNED_RATIO,
            "Lower end of the 95 % interval, with a standard error that is robust to skew, fat "
            "tails and serial correlation (Lo 2002).",
        ),
        "sharpe_session_ci_high": MetricDefinition(
            "Net Sharpe, upper 95 %", SIGNED_RATIO, "Upper end of the same 95 % interval."
        ),
        "sharpe_method": MetricDefinition(
            "Sharpe method", None, "Name of the aggregation behind the net Sharpe ratio."
        ),
        "sharpe_daily": MetricDefinition(
            "Daily Sharpe",
            RATIO,
            "The same ratio on profit and loss summed per UTC day, times the square root of 365 "
            "(daily_agg_v1).",
        ),
        "sharpe_step_raw": MetricDefinition(
            "Raw step Sharpe",
            NumberFormat(3),
            "Mean over standard deviation per simulation step, not annualised. Diagnostic only: "
            "no gate reads it.",
        ),
        "vol_floor_applied": MetricDefinition(
            "Volatility floor used",
            None,
            "Whether the standard deviation was raised to the floor before dividing.",
        ),
        "observation_days": MetricDefinition(
            "Observation days", COUNT, "Days on which the strategy was observed."
        ),
        "n_sessions": MetricDefinition("Sessions", COUNT, "Sessions in the simulation."),
        "annual_return": MetricDefinition(
            "Annual return", SIGNED_PERCENT, "Compound net growth per year, after all costs."
        ),
        "annual_return_gross": MetricDefinition(
            "Annual return, gross", SIGNED_PERCENT, "Compound growth per year before costs."
        ),
        "annual_return_benchmark": MetricDefinition(
            "Annual return, benchmark",
            SIGNED_PERCENT,
            "Compound growth per year of the benchmark over the same sessions.",
        ),
        "total_return": MetricDefinition(
            "Total return", SIGNED_PERCENT, "Compounded net return over the whole period."
        ),
        "annual_vol": MetricDefinition(
            "Volatility",
            PERCENT,
            "Standard deviation of net session returns times the square root of sessions per year.",
        ),
        "sortino": MetricDefinition(
            "Sortino", RATIO, "Annualised mean over downside deviation around zero."
        ),
        "calmar": MetricDefinition(
            "Calmar", RATIO, "Annual return divided by the depth of the maximum drawdown."
        ),
        "max_drawdown": MetricDefinition(
            "Max drawdown",
            SIGNED_PERCENT,
            "Deepest loss from a running peak of compounded net equity.",
        ),
        "max_drawdown_sessions": MetricDefinition(
            "Longest drawdown", COUNT, "Sessions of the longest stretch below an earlier peak."
        ),
        "var_95": MetricDefinition(
            "VaR 95 %", PERCENT2, "Loss of one session that is not exceeded in 95 % of sessions."
        ),
        "es_95": MetricDefinition(
            "ES 95 %", PERCENT2, "Mean loss of the worst 5 % of sessions (expected shortfall)."
        ),
        "turnover_ann": MetricDefinition(
            "Turnover",
            TIMES,
            "Half of the absolute weight changes per session, times sessions per year.",
        ),
        "cost_share_of_gross": MetricDefinition(
            "Cost share", PERCENT, "All costs divided by the gross profit they were paid out of."
        ),
        "cost_bps_ann": MetricDefinition(
            "Costs per year", NumberFormat(0, suffix=" bps"), "All costs per year, of equity."
        ),
        "beta": MetricDefinition(
            "Beta", SIGNED_RATIO, "Slope of net returns on benchmark returns."
        ),
        "hit_rate": MetricDefinition(
            "Hit rate", PERCENT, "Share of closed trades with a net return above zero."
        ),
        "profit_factor": MetricDefinition(
            "Profit factor", RATIO, "Sum of gains over sum of losses of closed trades."
        ),
        "n_trades": MetricDefinition("Trades", COUNT, "Closed round trips."),
        "avg_holding_sessions": MetricDefinition(
            "Mean holding", DAYS, "Mean sessions between entry and exit."
        ),
        "ic_mean": MetricDefinition(
            "IC",
            SIGNED_IC,
            "Mean over dates of the correlation across assets of score and forward return.",
        ),
        "rank_ic_mean": MetricDefinition(
            "Rank IC", SIGNED_IC, "The same with ranks (Spearman) instead of values."
        ),
        "rank_ic_t_nw": MetricDefinition(
            "Newey-West t",
            SIGNED_RATIO,
            "Mean rank IC over its Newey-West standard error, because overlapping labels make "
            "neighbouring dates alike.",
        ),
        "rank_ic_ir": MetricDefinition(
            "Rank ICIR", RATIO, "Mean rank IC over its standard deviation across dates."
        ),
        "coverage_mean": MetricDefinition(
            "Coverage", PERCENT, "Mean share of universe members with a price."
        ),
        "ic_std": MetricDefinition("IC std", IC, "Standard deviation of the IC across dates."),
    }
)
"""Known metrics of ``TearSheetData.summary``, by name."""

TERMS: Mapping[str, str] = MappingProxyType(
    {
        "Net / gross": "After / before fees, spread, market impact and borrow cost.",
        "bps": "Basis points, one hundredth of one percent.",
        "Session": "One trading day of the exchange calendar.",
        "Out of sample": "Scores of sessions that no fit has seen.",
        "Purge": "Training rows whose label span touches the test span are dropped.",
        "Embargo": "Further sessions before a test block that never train.",
        "Regime": "State of the market by filtered probabilities: only the past was used.",
        "Drawdown": "Loss from the running peak, at most zero.",
        "Gross / net exposure": "Sum of absolute weights / sum of weights, of equity.",
        "Quantile": "Equal groups of assets by score on each date; the lowest score is in Q1.",
        "Promotable": "All quality rules hold; without that no later stage may use the model.",
        "Track": "Production, research or calibration: records of one never count on another.",
        "Lineage": "Content hashes from the raw file to this page; equal inputs give equal ids.",
    }
)
"""Terms that are not metrics."""
