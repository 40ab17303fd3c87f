"""The terms of a book in sentences: every setting that was in force is named."""

from __future__ import annotations

import pytest

from quant_engine.backtest import BacktestConfig
from quant_engine.backtest.config import TradingRules
from quant_engine.backtest.rules import RuleConfig
from quant_engine.reports.book_terms import book_terms
from quant_engine.risk.kelly import KellyConfig
from quant_engine.risk.sizing import SizingConfig, VolatilityTarget

pytestmark = pytest.mark.feature("Q-36")


def lines(config=None, rules=None) -> dict[str, str]:
    settings = {"backtest": (config or BacktestConfig()).content()}
    if rules is not None:
        settings["rules"] = rules.content()
    return dict(line.split(": ", 1) for line in book_terms(settings))


def test_a_plain_book():
    told = lines()
    assert told["Fill"] == "at the open of session t + 1, never on the bar that made the signal."
    assert told["Sizing"] == "weights of the portfolio."
    assert told["Trading rules"] == "fractions of a share, no smallest order, no margin."


def test_what_was_set_is_told():
    config = BacktestConfig(
        fill="next_vwap_proxy",
        sizing=SizingConfig(
            weighting="inverse_volatility",
            target=VolatilityTarget(target_ann=0.12),
            kelly=KellyConfig(fraction=0.25),
        ),
        trading=TradingRules(
            lot_shares=100.0,
            min_notional_usd=2_500.0,
            maintenance_margin_frac=0.25,
            max_gross_frac=2.0,
        ),
    )
    told = lines(config)
    assert told["Fill"].startswith("at (high + low + close) / 3 of session t + 1")
    assert told["Sizing"] == (
        "weights by inverse volatility; volatility target 12.0% a year, at most 2 times the book; "
        "0.25 of what Kelly's rule gives; at most 10% name, 100% gross."
    )
    assert told["Trading rules"] == (
        "lots of 100 shares, no order below 2,500, margin call below 25% of the positions, "
        "refused above 200% of equity."
    )


def test_rules_fill_hold_and_size_themselves():
    told = lines(rules=RuleConfig(fill="next_close", position_frac=0.1, max_positions=10))
    assert told["Fill"].startswith("at the close of session t + 1")
    assert told["Sizing"] == "10.0% a position, at most 10 of them."
    assert "until an exit" in lines(rules=RuleConfig(holding_sessions=None))["Holding"]
    assert "for 7 sessions" in lines(rules=RuleConfig(holding_sessions=7))["Holding"]


def test_a_fill_that_nobody_could_have_had_is_told_as_one():
    same_bar = BacktestConfig(fill="next_close", unsafe_same_bar=True)
    assert "nobody could have" in lines(same_bar)["Fill"]
