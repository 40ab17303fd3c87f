"""Every metric of the tear sheet: its label, its unit and its meaning in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from quant_engine.reports.formats import (
    BPS,
    COUNT,
    DAYS,
    FLAG,
    IC,
    MONEY,
    PERCENT,
    PERCENT2,
    RATIO,
    SIGNED_IC,
    SIGNED_MONEY,
    SIGNED_PERCENT,
    SIGNED_PERCENT2,
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
        Unit and rounding; None for text.
    meaning : str
        One sentence with the formula in words.
    """

    label: str
    number_format: NumberFormat | None
    meaning: str


METRICS: Mapping[str, MetricDefinition] = MappingProxyType(
    {
        # Sharpe ratios
        "sharpe_session": MetricDefinition(
            "Net Sharpe",
            RATIO,
            "Mean over standard deviation (n−1) of net returns per exchange session, times the "
            "square root of sessions per year; the gates read this one.",
        ),
        "sharpe_session_ci_low": MetricDefinition(
            "Net Sharpe, lower 95%",
            SIGNED_RATIO,
            "Lower end of the 95% interval, with a standard error that is robust to skew, fat "
            "tails and serial correlation (Lo 2002).",
        ),
        "sharpe_session_ci_high": MetricDefinition(
            "Net Sharpe, upper 95%", SIGNED_RATIO, "Upper end of the same 95% interval."
        ),
        "sharpe_std_error": MetricDefinition(
            "Standard error of Sharpe", RATIO, "Standard error behind that interval."
        ),
        "sharpe_method": MetricDefinition(
            "Sharpe method", None, "Name of the aggregation behind the net Sharpe ratio."
        ),
        "sharpe_daily": MetricDefinition(
            "Daily Sharpe",
            RATIO,
            "The same ratio on profit and loss summed per UTC day, times the square root of 365.",
        ),
        "sharpe_daily_method": MetricDefinition(
            "Daily Sharpe method", None, "Name of the aggregation behind the daily Sharpe ratio."
        ),
        "sharpe_step_raw": MetricDefinition(
            "Raw step Sharpe",
            NumberFormat(3),
            "Mean over standard deviation per simulation step, not annualised. Diagnostic only: "
            "no gate reads it.",
        ),
        "sharpe_gross": MetricDefinition(
            "Gross Sharpe", RATIO, "The session Sharpe ratio before costs."
        ),
        "sharpe_hedged": MetricDefinition(
            "Hedged Sharpe",
            RATIO,
            "The session Sharpe ratio of net returns minus trailing beta times the benchmark.",
        ),
        "sharpe_hedged_ci_low": MetricDefinition(
            "Hedged Sharpe, lower 95%", SIGNED_RATIO, "Lower end of its 95% interval."
        ),
        "sharpe_hedged_ci_high": MetricDefinition(
            "Hedged Sharpe, upper 95%", SIGNED_RATIO, "Upper end of its 95% interval."
        ),
        "vol_floor_applied": MetricDefinition(
            "Volatility floor used",
            FLAG,
            "Whether the standard deviation was raised to the floor before dividing.",
        ),
        "observation_days": MetricDefinition(
            "Observation days", COUNT, "Days on which the strategy was observed."
        ),
        # Return and risk
        "n_sessions": MetricDefinition("Sessions", COUNT, "Sessions in the simulation."),
        "initial_equity": MetricDefinition(
            "Initial equity", MONEY, "Capital before the first session, in currency."
        ),
        "final_equity": MetricDefinition(
            "Final equity", MONEY, "Equity after the last session, in currency."
        ),
        "is_ruined": MetricDefinition("Ruined", FLAG, "Whether equity fell to zero or below."),
        "annual_return": MetricDefinition(
            "Annual return", SIGNED_PERCENT, "Compound net growth per year, after all costs."
        ),
        "annual_return_gross": MetricDefinition(
            "Annual return, gross", SIGNED_PERCENT, "Compound growth per year before costs."
        ),
        "annual_return_hedged": MetricDefinition(
            "Annual return, hedged", SIGNED_PERCENT, "Compound growth per year of hedged returns."
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
        "var_95": MetricDefinition(
            "VaR 95%", PERCENT2, "Loss of one session that is not exceeded in 95% of sessions."
        ),
        "es_95": MetricDefinition(
            "ES 95%", PERCENT2, "Mean loss of the worst 5% of sessions (expected shortfall)."
        ),
        "session_hit_rate": MetricDefinition(
            "Sessions up", PERCENT, "Share of sessions with a net return above zero."
        ),
        "beta": MetricDefinition(
            "Beta",
            SIGNED_RATIO,
            "Slope of net returns on benchmark returns over trailing sessions, mean of the run.",
        ),
        "benchmark_sharpe": MetricDefinition(
            "Benchmark Sharpe", RATIO, "The session Sharpe ratio of the benchmark."
        ),
        "benchmark_correlation": MetricDefinition(
            "Correlation", SIGNED_RATIO, "Correlation of net and benchmark session returns."
        ),
        "n_sessions_benchmark": MetricDefinition(
            "Benchmark sessions", COUNT, "Sessions with a benchmark return."
        ),
        "n_sessions_hedged": MetricDefinition(
            "Hedged sessions", COUNT, "Sessions with a hedged return; the first have no beta yet."
        ),
        # Exposure, turnover, costs
        "avg_gross_exposure": MetricDefinition(
            "Gross exposure", PERCENT, "Mean sum of absolute weights, of equity."
        ),
        "avg_net_exposure": MetricDefinition(
            "Net exposure", SIGNED_PERCENT, "Mean sum of weights, of equity."
        ),
        "turnover_ann": MetricDefinition(
            "Turnover",
            TIMES,
            "Half of the traded value over equity per session, times sessions per year.",
        ),
        "traded_value": MetricDefinition(
            "Traded value", MONEY, "Value of all purchases and sales, in currency."
        ),
        "cost_share_of_gross": MetricDefinition(
            "Cost share", PERCENT, "All costs divided by the gross profit they were paid out of."
        ),
        "cost_bps_ann": MetricDefinition(
            "Costs per year", NumberFormat(0, suffix=" bps"), "All costs per year, of equity."
        ),
        "trading_cost_bps_per_side": MetricDefinition(
            "Trading cost per side", BPS, "Fees, spread and impact over traded value."
        ),
        "cost_total": MetricDefinition("Costs, total", MONEY, "All costs, in currency."),
        "cost_fees": MetricDefinition("Fees", MONEY, "Commissions and fees, in currency."),
        "cost_spread": MetricDefinition("Spread", MONEY, "Half of the quoted spread per side."),
        "cost_impact": MetricDefinition("Impact", MONEY, "Price moved by the run's own orders."),
        "cost_borrow": MetricDefinition("Borrow", MONEY, "Fees for borrowed shares."),
        "pnl_net": MetricDefinition(
            "Net profit", SIGNED_MONEY, "Final minus initial equity, in currency."
        ),
        "pnl_gross": MetricDefinition(
            "Gross profit", SIGNED_MONEY, "Net profit plus all costs, in currency."
        ),
        "dividends": MetricDefinition(
            "Dividends", SIGNED_MONEY, "Dividends received minus dividends owed on shorts."
        ),
        "settlement_pnl": MetricDefinition(
            "Delisting settlement", SIGNED_MONEY, "Profit and loss settled at delistings."
        ),
        # Trades and orders
        "n_trades": MetricDefinition("Trades", COUNT, "Closed round trips."),
        "n_open_at_end": MetricDefinition(
            "Open at the end", COUNT, "Positions still open after the last session."
        ),
        "trades_per_year": MetricDefinition(
            "Trades per year", COUNT, "Closed round trips per year."
        ),
        "hit_rate": MetricDefinition(
            "Hit rate", PERCENT, "Share of closed trades with a net return above zero."
        ),
        "profit_factor": MetricDefinition(
            "Profit factor", RATIO, "Sum of gains over sum of losses of closed trades, in currency."
        ),
        "avg_trade_return": MetricDefinition(
            "Mean trade", SIGNED_PERCENT2, "Mean net return of closed trades."
        ),
        "avg_win_return": MetricDefinition(
            "Mean win", SIGNED_PERCENT2, "Mean net return of winning trades."
        ),
        "avg_loss_return": MetricDefinition(
            "Mean loss", SIGNED_PERCENT2, "Mean net return of losing trades."
        ),
        "avg_holding_sessions": MetricDefinition(
            "Mean holding", DAYS, "Mean sessions between entry and exit."
        ),
        "n_orders": MetricDefinition("Orders", COUNT, "Orders decided; settlements are none."),
        "n_unfilled_orders": MetricDefinition(
            "Unfilled orders", COUNT, "Orders of which no share was traded, for any reason."
        ),
        "avg_participation": MetricDefinition(
            "Mean participation", PERCENT2, "Mean share of the session's volume taken by an order."
        ),
        "max_participation": MetricDefinition(
            "Greatest participation", PERCENT2, "Largest such share of any order."
        ),
        "avg_fill_value": MetricDefinition(
            "Mean fill", MONEY, "Mean value of filled orders, in currency."
        ),
        # Signal and data
        "ic_mean": MetricDefinition(
            "IC",
            SIGNED_IC,
            "Mean over dates of the correlation across assets of score and forward return.",
        ),
        "ic_std": MetricDefinition("IC std", IC, "Standard deviation of the IC across dates."),
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
