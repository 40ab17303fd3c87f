"""A simulation that is run again aligns its market once, and says what a fresh run says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quant_engine.backtest import BacktestConfig, Backtester, PortfolioConfig, RuleConfig
from quant_engine.backtest.nulls import DRAWS_PER_TASK, ScoreOrder, autoregressive, null_baselines
from quant_engine.backtest.simulation import FIGURES, Simulation, compared_figures
from quant_engine.core.errors import IdentityError

RULES = RuleConfig(max_positions=3, position_frac=0.3, entry_min=0.5, holding_sessions=4)
BOOK = PortfolioConfig(
    names_per_side=2, max_weight_frac=1.0, rebalance="staggered", rebalance_sessions=3
)


@pytest.fixture(scope="module")
def market(make_market):
    return make_market(5)


@pytest.fixture(scope="module", params=["weights", "rules"])
def simulation(request, market, costly):
    n_rows, n_assets = market.panel.shape
    frame = pd.DataFrame(
        {
            "date": np.repeat(market.panel.time.index, n_assets),
            "asset_id": np.tile(market.panel.asset_ids, n_rows),
            "score": market.scores.ravel(),
        }
    )
    return Simulation(
        frame,
        market.panel,
        costly,
        BacktestConfig(portfolio=BOOK, halt_limit_sessions=8),
        delistings=market.delistings,
        regimes=market.regimes,
        benchmark_returns=market.benchmark,
        rules=RULES if request.param == "rules" else None,
    )


def fresh(simulation, scores=None, costs=None, config=None):
    """The same run through the door, with nothing aligned before."""
    engine = Backtester(config or simulation.config)
    given = simulation.scores if scores is None else scores
    others = {
        "costs": costs or simulation.costs,
        "delistings": simulation.delistings,
        "regimes": simulation.regimes,
        "benchmark_returns": simulation.benchmark_returns,
    }
    if simulation.rules is None:
        return engine.run(given, simulation.panel, **others)
    return engine.run_signals(given, simulation.panel, rules=simulation.rules, **others)


def assert_same(found, wanted):
    assert dict(found.summary) == dict(wanted.summary)
    for name in ("daily", "trades", "orders", "exposures", "regime_breakdown", "monthly_returns"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(wanted, name), check_exact=True)
    assert (found.cost_profile_id, found.config) == (wanted.cost_profile_id, wanted.config)


def test_every_run_says_what_a_fresh_one_says(simulation, market):
    rng = np.random.default_rng(0)
    order = ScoreOrder.of(simulation.scores)
    doubled = simulation.costs.stressed(2.0)
    small = simulation.config.model_copy(update={"initial_equity_usd": 1e4})
    late = np.where(np.arange(len(market.scores))[:, None] < 20, np.nan, market.scores)
    for change in (
        {},
        {"scores": market.scores},
        {"scores": late},
        {"scores": order.drawn(0.5, rng)},
        {"costs": doubled},
        {"config": small},
        {"scores": late, "costs": doubled, "config": small},
        {},
    ):
        assert_same(simulation.run(**change), fresh(simulation, **change))


def test_the_market_is_aligned_once(simulation, monkeypatch):
    aligned = []
    for name in ("parse_book", "parse_rule_inputs"):
        module = "quant_engine.backtest.simulation"
        taken = getattr(__import__(module, fromlist=[name]), name)

        def counted(*args, _taken=taken, **others):
            aligned.append(others["costs"])
            return _taken(*args, **others)

        monkeypatch.setattr(f"{module}.{name}", counted)
    again = replace(simulation)
    for _ in range(3):
        again.run()
        again.run(scores=again.scores.assign(score=-again.scores["score"]))
    assert aligned == [simulation.costs]
    stressed = simulation.costs.stressed(2.0)
    again.run(costs=stressed)
    assert aligned == [simulation.costs, stressed]


@pytest.mark.feature("Q-47")
def test_draws_are_books_of_their_own(simulation):
    n_draws = DRAWS_PER_TASK // 2 + 1
    found = null_baselines(simulation, n_draws=n_draws, seed=4).draws
    order = ScoreOrder.of(simulation.scores)
    for draw in range(n_draws):
        scores = order.drawn(0.0, np.random.default_rng([4, 0, draw]))
        wanted = compared_figures(fresh(simulation, scores))
        row = found[(found["kind"] == "shuffled") & (found["draw"] == draw)].iloc[0]
        np.testing.assert_array_equal([row[name] for name in FIGURES], list(wanted.values()))


@pytest.mark.feature("Q-47")
def test_values_go_to_the_names_in_the_order_of_their_series(market):
    n_rows, n_assets = market.panel.shape
    frame = pd.DataFrame(
        {
            "date": np.repeat(market.panel.time.index, n_assets),
            "asset_id": np.tile(market.panel.asset_ids, n_rows),
            "score": market.scores.ravel(),
        }
    )
    order = ScoreOrder.of(frame)
    drawn = order.drawn(0.7, np.random.default_rng(8))
    shape = (int(order.session[-1]) + 1, len(order.assets))
    series = autoregressive(shape, persistence=0.7, rng=np.random.default_rng(8))
    by_series = np.lexsort((series[order.session, order.asset], order.session))
    assert drawn["asset_id"].tolist() == order.assets[order.asset[by_series]].tolist()
    pd.testing.assert_series_equal(drawn["score"], order.values["score"])


def test_a_pair_that_occurs_twice_is_no_order(simulation):
    twice = pd.concat([simulation.scores, simulation.scores.dropna().iloc[:1]])
    with pytest.raises(IdentityError, match="one score per"):
        ScoreOrder.of(twice)
