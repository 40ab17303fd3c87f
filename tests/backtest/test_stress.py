"""Stress and capacity: the same book with one thing changed, and nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_engine.backtest import BacktestConfig, Backtester, PortfolioConfig
from quant_engine.backtest.capacity import capacity
from quant_engine.backtest.perturbation import neighbouring_books
from quant_engine.backtest.simulation import FIGURES, Simulation, compared_figures
from quant_engine.backtest.stress import cost_stress, delay_stress, delayed_scores
from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError

pytestmark = pytest.mark.feature("B-20")

BOOK = PortfolioConfig(
    names_per_side=2, max_weight_frac=0.5, rebalance="staggered", rebalance_sessions=2
)
CONFIG = BacktestConfig(portfolio=BOOK)


def long_frame(panel, values):
    frame = pd.DataFrame(values, panel.time.index.rename("date"), list(panel.asset_ids))
    long = frame.rename_axis(columns="asset_id").stack(future_stack=True).rename("score")
    return long.reset_index().dropna(subset=["score"])


@pytest.fixture(scope="module")
def market(make_market):
    return make_market(5, n_rows=80)


@pytest.fixture(scope="module")
def simulation(market, costly):
    return Simulation(
        long_frame(market.panel, market.scores),
        market.panel,
        costly,
        CONFIG,
        market.delistings,
        market.regimes,
        market.benchmark,
    )


def test_a_simulation_is_the_backtest_of_its_inputs(simulation, market, costly):
    direct = Backtester(CONFIG).run(
        simulation.scores,
        market.panel,
        costs=costly,
        delistings=market.delistings,
        regimes=market.regimes,
        benchmark_returns=market.benchmark,
    )
    pd.testing.assert_frame_equal(simulation.run().daily, direct.daily)
    found = compared_figures(direct)
    assert tuple(found) == FIGURES
    assert found["sharpe"] == direct.summary["sharpe"]


@pytest.mark.feature("Q-47")
def test_costs_are_charged_in_proportion(simulation, market):
    # Without a cap, an impact or a need for volume, every cost is linear in its rate.
    linear = simulation.costs.model_copy(
        update={"impact_coef_bps": 0.0, "participation_cap_frac": None, "stress_multiplier": 1.0}
    )
    plain = Simulation(simulation.scores, market.panel, linear, CONFIG)
    table = cost_stress(plain, (0.0, 1e-6, 2e-6)).set_index("level")
    assert table.loc[0.0, "cost_total"] == 0.0
    ratio = table.loc[2e-6, "cost_total"] / table.loc[1e-6, "cost_total"]
    assert ratio == pytest.approx(2.0, rel=1e-6)


@pytest.mark.feature("Q-47")
def test_a_stressed_row_is_the_backtest_at_those_costs(simulation):
    table = cost_stress(simulation, (0.5, 1.0, 2.0, 5.0))
    assert table["kind"].unique().tolist() == ["cost"]
    returns = table["annual_return"].to_numpy()
    assert (np.diff(returns) < 0.0).all()
    other = simulation.run(costs=simulation.costs.stressed(5.0)).summary
    assert table["annual_return"].iloc[-1] == other["annual_return"]


def test_late_entries_are_the_same_scores_some_rows_later(simulation, market):
    table = delay_stress(simulation, (0, 2)).set_index("level")
    shifted = np.vstack([np.full((2, market.panel.shape[1]), np.nan), market.scores[:-2]])
    by_hand = simulation.run(scores=long_frame(market.panel, shifted))
    assert table.loc[2.0, "sharpe"] == by_hand.summary["sharpe"]
    assert table.loc[0.0, "sharpe"] == simulation.run().summary["sharpe"]


def test_scores_move_into_the_future_only(simulation):
    sessions = simulation.panel.time.values
    with pytest.raises(ConfigError, match="not known yet"):
        delayed_scores(simulation.scores, sessions, -1)
    with pytest.raises(DataError, match="sessions of the panel"):
        delayed_scores(simulation.scores, sessions[5:], 1)
    later = delayed_scores(simulation.scores, sessions, 3)
    assert later["date"].min() == pd.Timestamp(sessions[3])
    assert len(later) < len(simulation.scores)


def test_stresses_need_something_to_do(simulation):
    with pytest.raises(ConfigError, match="at least 0"):
        cost_stress(simulation, (-1.0,))
    with pytest.raises(ConfigError, match="one or more"):
        delay_stress(simulation, ())


def liquid_book(n_rows=300):
    """A profitable book of constant size whose only cost is impact."""
    rng = np.random.default_rng(0)
    net = 0.001 + 0.008 * rng.standard_normal(n_rows)
    equity = 1e6 * np.cumprod(1.0 + net)
    impact = 5e-5 * equity / (1.0 + net)
    return pd.DataFrame({"equity": equity, "ret_net": net, "cost_impact": impact})


def asked(daily, **changes):
    orders = pd.DataFrame({"traded_value": [1e4, 3e4, np.nan], "adv_value": [1e6, 1e6, 1e6]})
    settings = {
        "initial_equity_usd": 1e6,
        "periods_per_year": 252.0,
        "participation_cap_frac": 0.02,
    }
    return capacity(daily, orders, **{**settings, **changes})


def test_capacity_is_where_the_sharpe_ratio_is_half():
    daily = liquid_book()
    found = asked(daily)
    # Impact is a constant drain of 5e-5 a session, so only the mean moves: closed form.
    multiple = (1.0 + 0.5 * daily["ret_net"].mean() / 5e-5) ** 2
    assert found.capacity_usd == pytest.approx(multiple * 1e6, rel=1e-6)
    by_multiple = found.table.set_index("multiple")
    assert by_multiple.loc[1.0, "capped_value_frac"] == pytest.approx(1e4 / 4e4)
    assert by_multiple.loc[10.0, "capped_value_frac"] == pytest.approx((8e4 + 28e4) / 40e4)
    assert (np.diff(found.table["sharpe"]) < 0.0).all()


def test_there_is_no_capacity_without_profit_or_impact():
    daily = liquid_book()
    lost = asked(daily.assign(ret_net=daily["ret_net"] - 0.01))
    assert (lost.capacity_usd, "nothing to halve" in lost.reason) == (None, True)
    free = asked(daily.assign(cost_impact=0.0))
    assert (free.capacity_usd, "no limit" in free.reason) == (None, True)
    with pytest.raises(InsufficientHistoryError):
        asked(daily.head(2))
    with pytest.raises(ConfigError):
        asked(daily, multiples=(0.0,))


def test_the_cost_model_agrees_with_a_simulation_of_more_capital(market, costly):
    costs = costly.model_copy(
        update={"participation_cap_frac": None, "stress_multiplier": 1.0, "impact_coef_bps": 20.0}
    )
    simulation = Simulation(long_frame(market.panel, market.scores), market.panel, costs, CONFIG)
    small = simulation.run()
    table = capacity(
        small.daily,
        small.orders,
        initial_equity_usd=1e6,
        periods_per_year=252.0,
        participation_cap_frac=None,
        multiples=(4.0,),
    ).table
    large = simulation.run(config=CONFIG.model_copy(update={"initial_equity_usd": 4e6}))
    drop = float(small.summary["sharpe"]) - float(large.summary["sharpe"])
    expected = float(small.summary["sharpe"]) - table["sharpe"].iloc[0]
    # The larger book grows on another path, so sizes differ a little later on.
    assert drop == pytest.approx(expected, rel=0.1)
    assert drop > 0.0


def test_neighbours_differ_in_one_setting():
    books = neighbouring_books(CONFIG)
    assert set(books) == {"1 names", "4 names", "holding 1", "holding 4", "full rebalance"}
    own = BOOK.content()
    for book in books.values():
        other = book.portfolio.content()
        assert sum(own[name] != other[name] for name in own) == 1
        assert book.model_copy(update={"portfolio": BOOK}) == CONFIG
    with pytest.raises(ConfigError):
        neighbouring_books(CONFIG, size_factors=(0.0,))
    assert neighbouring_books(CONFIG, size_factors=(1.0,), holding_factors=(1.0,)).keys() == {
        "full rebalance"
    }
