"""What a backtest leaves behind: the book day by day, trades, orders, and a signed report."""

from __future__ import annotations

from quant_engine.artifacts.kinds.bundle import BundleKind, Column

_TESTED = (
    "core", "artifacts", "stats", "governance", "risk", "execution", "models", "backtest",
    "workflows",
)  # fmt: skip

_DAILY = {
    "session": Column("session", "session"),
    "equity": Column("float", "equity after the close, currency"),
    "ret_net": Column("float", "return after costs, fraction"),
    "ret_gross": Column("float", "return before costs, fraction"),
    "ret_hedged": Column("float", "net return minus beta x benchmark, fraction"),
    "cash": Column("float", "cash after the close, currency"),
    "gross_exposure": Column("float", "sum of absolute weights"),
    "net_exposure": Column("float", "sum of weights"),
    "n_long": Column("int", "names held long"),
    "n_short": Column("int", "names held short"),
    "turnover": Column("float", "traded value / 2 / equity"),
    "traded_value": Column("float", "currency"),
    "cost_fees": Column("float", "currency, positive = paid"),
    "cost_spread": Column("float", "currency, positive = paid"),
    "cost_impact": Column("float", "currency, positive = paid"),
    "cost_borrow": Column("float", "currency, positive = paid"),
    "dividends": Column("float", "currency, received minus paid"),
    "interest": Column("float", "currency"),
    "settlement_pnl": Column("float", "profit of delisting settlements, currency"),
    "benchmark_ret": Column("float", "benchmark return, fraction"),
    "beta": Column("float", "trailing beta known at the previous close"),
    "regime": Column("int", "label known at the previous close; -1 = unknown"),
}

_TRADES = {
    "trade_id": Column("int", "number in order of closing"),
    "asset_id": Column("str", "asset"),
    "side": Column("str", "long or short"),
    "tranche": Column("int", "tranche of the book"),
    "decision_session": Column("session", "decision of the entry"),
    "entry_session": Column("session", "first entry fill"),
    "exit_session": Column("session", "last exit fill"),
    "entry_price": Column("float", "average paid, spread and impact included"),
    "exit_price": Column("float", "average received, spread and impact included"),
    "entry_reference_price": Column("float", "average open of the entry fills"),
    "exit_reference_price": Column("float", "average open of the exit fills"),
    "entry_decision_price": Column("float", "close on which the entry was sized"),
    "exit_decision_price": Column("float", "close on which the exit was decided"),
    "predicted": Column("float", "expected return (or score) at the decision"),
    "score": Column("float", "score at the decision"),
    "actual_net_return": Column("float", "net profit over the entry value, fraction"),
    "actual_gross_return": Column("float", "gross profit over the entry value, fraction"),
    "pnl_net": Column("float", "currency"),
    "pnl_gross": Column("float", "currency"),
    "regime": Column("int", "label at the decision; -1 = unknown"),
    "confidence": Column("float", "confidence at the decision"),
    "holding_sessions": Column("int", "sessions from entry to exit"),
    "shares": Column("float", "shares bought into the position"),
    "entry_value": Column("float", "currency"),
    "size_frac": Column("float", "first entry value over equity at the decision"),
    "exit_reason": Column("str", "why it ended"),
    "fill_ratio": Column("float", "filled over ordered shares of the entry"),
    "entry_spread_bps": Column("float", "half spread of the entry"),
    "exit_spread_bps": Column("float", "half spread of the exit"),
    "entry_impact_bps": Column("float", "impact of the entry"),
    "exit_impact_bps": Column("float", "impact of the exit"),
    "cost_fees": Column("float", "currency"),
    "cost_spread": Column("float", "currency"),
    "cost_impact": Column("float", "currency"),
    "cost_borrow": Column("float", "currency"),
    "dividends": Column("float", "currency"),
    "entry_reason": Column("str", "why it began; of rules", optional=True),
    "mae_frac": Column("float", "worst price while held, as a return; of rules", optional=True),
    "mfe_frac": Column("float", "best price while held, as a return; of rules", optional=True),
    "implementation_shortfall_bps": Column(
        "float", "against the prices that decided, positive = worse; of rules", optional=True
    ),
}

TRADES = BundleKind("trades", 1, _TESTED, {"trades": _TRADES})
"""Round trips."""

ORDERS = BundleKind(
    "orders",
    1,
    _TESTED,
    {
        "orders": {
            "decision_session": Column("session", "decision"),
            "session": Column("session", "fill"),
            "asset_id": Column("str", "asset"),
            "tranche": Column("int", "tranche of the book"),
            "side": Column("str", "buy or sell"),
            "reason": Column("str", "why it was sent"),
            "status": Column("str", "what became of it"),
            "ordered_shares": Column("float", "signed"),
            "filled_shares": Column("float", "signed"),
            "fill_ratio": Column("float", "filled over ordered"),
            "decision_price": Column("float", "close on which it was sized"),
            "reference_price": Column("float", "open of the fill session"),
            "fill_price": Column("float", "spread and impact included"),
            "traded_value": Column("float", "currency"),
            "adv_value": Column("float", "trailing average daily value, currency"),
            "participation_frac": Column("float", "traded value over that average"),
            "cost_fees": Column("float", "currency"),
            "cost_spread": Column("float", "currency"),
            "cost_impact": Column("float", "currency"),
            "shortfall_executed": Column(
                "float",
                "what the filled shares lost on the decision price, currency; of rules",
                optional=True,
            ),
            "shortfall_unfilled": Column(
                "float",
                "what the others would have gained by the close, currency; of rules",
                optional=True,
            ),
        }
    },
)
"""Every order, filled or not."""

BACKTEST = BundleKind(
    name="backtest_result",
    schema_version=1,
    packages=_TESTED,
    tables={
        "daily": _DAILY,
        "exposures": {
            "session": Column("session", "session"),
            "long": Column("float", "fraction of equity"),
            "short": Column("float", "fraction of equity, positive"),
            "gross": Column("float", "fraction of equity"),
            "net": Column("float", "fraction of equity"),
            "largest_weight": Column("float", "largest absolute weight"),
        },
        "regime_breakdown": {
            "regime": Column("int", "label; -1 = unknown"),
            "label": Column("str", "name of the regime"),
            "n_sessions": Column("int", "sessions"),
            "n_trades": Column("int", "closed trades"),
        },
        "monthly_returns": {
            "month": Column("str", "YYYY-MM"),
            "n_sessions": Column("int", "sessions"),
        },
    },
    documents=("summary", "settings"),
    open_tables=("exposures", "regime_breakdown", "monthly_returns"),
)
"""The book day by day and its headline figures."""

VALIDATION = BundleKind(
    name="validation_report",
    schema_version=1,
    packages=_TESTED,
    tables={
        "checks": {
            "check": Column("str", "what was examined"),
            "value": Column("float", "figure; NaN = not available"),
            "verdict": Column("str", "pass, fail, warn or insufficient_observation"),
            "reason": Column("str", "one sentence"),
        }
    },
    documents=("facts",),
    signed=True,
)
"""Verdicts on a backtest, in words; signed."""
