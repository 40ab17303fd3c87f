"""A run without a trade says why: every condition counted again, and the words for each case."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quant_engine.backtest import BacktestConfig, RuleConfig
from quant_engine.backtest.funnel import entry_funnel, why_nothing_traded
from quant_engine.backtest.simulation import Simulation
from quant_engine.execution import CostProfile


@pytest.fixture
def market(make_market):
    return make_market(3)


@pytest.fixture
def simulation(market):
    rows, columns = np.nonzero(np.isfinite(market.scores))
    scores = pd.DataFrame(
        {
            "date": market.panel.time.index[rows],
            "asset_id": np.asarray(market.panel.asset_ids)[columns],
            "score": market.scores[rows, columns],
            "expected_return_frac": 0.01 * market.scores[rows, columns],
            "confidence": 0.5 + 0.1 * np.abs(market.scores[rows, columns]),
        }
    )
    config = BacktestConfig(min_confidence=0.6, min_expected_return_frac=0.015)
    return Simulation(
        scores, market.panel, CostProfile(name="x"), config, rules=RuleConfig(entry_min=2.0)
    )


def by_hand(simulation):
    """The same counts, one score at a time."""
    panel, config = simulation.panel, simulation.config
    row = {session: t for t, session in enumerate(panel.time.index)}
    column = {asset: i for i, asset in enumerate(panel.asset_ids)}
    counts = np.zeros(6, dtype=int)
    for score in simulation.scores.itertuples():
        place = row[score.date], column[score.asset_id]
        bars = [panel.field(name)[place] for name in ("open", "close")]
        has_bar = np.isfinite(bars).all() and panel.field("volume")[place] > 0.0
        conditions = (
            True,
            panel.mask("member")[place],
            has_bar,
            score.confidence >= config.min_confidence,
            abs(score.expected_return_frac) >= config.min_expected_return_frac,
            score.score >= simulation.rules.entry_min,
        )
        for number, holds in enumerate(conditions):
            if not holds:
                break
            counts[number] += 1
    return counts.tolist()


@pytest.mark.feature("Q-34")
def test_counts_are_those_of_a_plain_loop(simulation):
    found = [condition.n_left for condition in entry_funnel(simulation)]
    assert found == by_hand(simulation)
    assert found[-1] > 0
    without = replace(simulation, rules=None)
    assert [condition.n_left for condition in entry_funnel(without)] == found[:-1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config": BacktestConfig(min_confidence=0.99)}, "none has a confidence of at least 0.99"),
        (
            {"config": BacktestConfig(min_expected_return_frac=0.5)},
            "none has an expected return of at least 0.5 either way; the largest is 0.0",
        ),
        (
            {"config": BacktestConfig(), "rules": RuleConfig(entry_min=9.0, sides="short")},
            r"none has a score of at least 9 \(short\); the strongest is",
        ),
    ],
)
def test_the_condition_that_nothing_met_is_named(simulation, change, words):
    reason = why_nothing_traded(entry_funnel(replace(simulation, **change)), {})
    assert re.search(words, reason)


def test_an_unknown_atr_is_a_reason(simulation):
    nothing = np.full(simulation.panel.shape, np.nan)
    opened, close = simulation.panel.field("open"), simulation.panel.field("close")
    fields = {
        "atr": nothing,
        "high": 1.1 * np.fmax(opened, close),
        "low": 0.9 * np.fmin(opened, close),
    }
    stopped = replace(
        simulation,
        panel=simulation.panel.with_fields(fields),
        rules=RuleConfig(entry_min=0.1, atr_stop_multiple=2.0),
        config=BacktestConfig(),
    )
    assert why_nothing_traded(entry_funnel(stopped), {}).endswith("none has an ATR")
