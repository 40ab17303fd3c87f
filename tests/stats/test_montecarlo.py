"""Simulated paths: plain loops, the library's own drawdown, known probabilities."""

from math import isnan, sqrt

import numpy as np
import pytest

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.bootstrap import iid_indices, stationary_indices
from quant_engine.stats.metrics.drawdowns import max_drawdown
from quant_engine.stats.montecarlo import resample_paths, shuffle_trades

RNG = np.random.default_rng(41)
RETURNS = RNG.normal(0.0008, 0.02, 200)


def plain_walk(returns, compounding):
    wealth, peak, lowest, deepest = 1.0, 1.0, 1.0, 0.0
    for r in returns:
        if wealth > 0:
            wealth = max(wealth * (1 + r) if compounding else wealth + r, 0.0)
        peak, lowest = max(peak, wealth), min(lowest, wealth)
        deepest = min(deepest, wealth / peak - 1)
    return wealth, deepest, lowest


@pytest.mark.parametrize("compounding", [True, False])
def test_paths_equal_the_loop(compounding):
    plan = stationary_indices(200, avg_block=8.0, n_draws=30, seed=1)
    paths = resample_paths(RETURNS, indices=plan, periods_per_year=252, compounding=compounding)
    for path, row in enumerate(plan):
        drawn = RETURNS[row]
        got = (paths.terminal_wealth[path], paths.max_drawdown[path], paths.lowest_wealth[path])
        assert got == pytest.approx(plain_walk(drawn, compounding), rel=1e-10)
        wanted = drawn.mean() / drawn.std(ddof=1) * sqrt(252)
        assert paths.sharpe[path] == pytest.approx(wanted, rel=1e-10)
    assert ("compounding" in paths.method) == compounding


def test_drawdown_is_the_one_of_the_metrics():
    plan = iid_indices(200, n_draws=20, seed=2)
    paths = resample_paths(RETURNS, indices=plan, periods_per_year=1)
    wanted = [max_drawdown(RETURNS[row]) for row in plan]
    np.testing.assert_allclose(paths.max_drawdown, wanted, atol=1e-12)
    assert paths.observed["max_drawdown"] == pytest.approx(max_drawdown(RETURNS))
    assert paths.observed["terminal_wealth"] == pytest.approx(np.prod(1 + RETURNS))


@pytest.mark.parametrize("compounding", [True, False])
def test_another_order_of_trades_changes_the_way_and_not_the_end(compounding):
    paths = shuffle_trades(RETURNS, n_paths=300, seed=0, compounding=compounding)
    np.testing.assert_allclose(paths.terminal_wealth, paths.observed["terminal_wealth"], rtol=1e-10)
    assert paths.max_drawdown.std() > 0.01
    assert (paths.sharpe == paths.observed["sharpe"]).all()
    again = shuffle_trades(RETURNS, n_paths=300, seed=0, compounding=compounding)
    np.testing.assert_array_equal(paths.max_drawdown, again.max_drawdown)


def test_probabilities_of_orders_that_can_be_counted():
    """Of the 6 orders of +50 %, -50 %, 0: the loss first or last decides the depth and the low."""
    paths = shuffle_trades([0.5, -0.5, 0.0], n_paths=6000, seed=3)
    assert paths.probability_of_drawdown(0.5) == 1.0
    # Wealth falls to half before the gain comes in three of six orders.
    assert paths.probability_of_ruin(0.5) == pytest.approx(0.5, abs=0.03)
    assert paths.probability_of_ruin(0.4) == 0.0
    assert paths.probability_of_drawdown(0.51) == 0.0


def test_clustered_losses_are_deeper_in_blocks_than_in_single_draws():
    calm, storm = np.full(90, 0.01), np.full(10, -0.05)
    x = np.concatenate([calm, storm, calm, storm]) + RNG.normal(0, 1e-4, 200)
    depth = {}
    for name, plan in (
        ("single", iid_indices(200, n_draws=400, seed=0)),
        ("block", stationary_indices(200, avg_block=40.0, n_draws=400, seed=0)),
    ):
        paths = resample_paths(x, indices=plan, periods_per_year=252)
        depth[name] = np.median(paths.max_drawdown)
    assert depth["block"] < 1.5 * depth["single"] < 0.0


def test_ruin_is_final():
    trades = [-1.0, 0.5, 0.5, 0.5]
    paths = shuffle_trades(trades, n_paths=50, seed=0)
    assert (paths.terminal_wealth == 0.0).all()
    assert (paths.max_drawdown == -1.0).all()
    assert paths.probability_of_ruin(0.0) == 1.0
    fixed = shuffle_trades([-1.5, 0.5, 0.5, 0.75], n_paths=600, seed=0, compounding=False)
    # Bankrupt unless at least 0.5 has been earned before: first in a quarter of the orders, and
    # exactly at zero after one half; wealth stays at zero then.
    assert fixed.probability_of_ruin(0.0) == pytest.approx(0.25 + 0.25 * 2 / 3, abs=0.06)


def test_the_table_holds_quantiles_and_the_observed_value():
    plan = iid_indices(200, n_draws=99, seed=4)
    paths = resample_paths(RETURNS, indices=plan, periods_per_year=252)
    table = paths.quantiles((0.1, 0.5))
    assert table.index.tolist() == ["0.1", "0.5", "observed"]
    assert table.loc["0.5", "max_drawdown"] == np.quantile(paths.max_drawdown, 0.5)
    assert table.loc["observed", "sharpe"] == paths.observed["sharpe"]
    rising = paths.quantiles()[:-1]
    assert (rising.diff().iloc[1:] >= 0).all().all()


def test_equal_drawn_returns_have_no_sharpe():
    paths = resample_paths(
        [0.1, 0.2, 0.3], indices=np.array([[1, 1, 1], [0, 1, 2]]), periods_per_year=1
    )
    assert isnan(paths.sharpe[0])
    assert paths.sharpe[1] == pytest.approx(2.0)


def test_bad_arguments_name_themselves():
    plan = iid_indices(3, n_draws=2, seed=0)
    with pytest.raises(DataError, match="1 NaN"):
        resample_paths([0.1, np.nan, 0.2], indices=plan, periods_per_year=1)
    with pytest.raises(DataError, match="trade_returns"):
        shuffle_trades([0.1, -1.2, 0.2], n_paths=5, seed=0)
    with pytest.raises(InsufficientHistoryError, match="at least 3"):
        shuffle_trades([0.1, 0.2], n_paths=5, seed=0)
    with pytest.raises(ConfigError, match="n_paths"):
        shuffle_trades([0.1, 0.2, 0.3], n_paths=0, seed=0)
    with pytest.raises(ConfigError, match="periods_per_year"):
        resample_paths([0.1, 0.2, 0.3], indices=plan, periods_per_year=0)
    with pytest.raises(DataError, match="indices"):
        resample_paths([0.1, 0.2, 0.3, 0.1], indices=plan, periods_per_year=1)
    paths = shuffle_trades([0.1, 0.2, 0.3], n_paths=5, seed=0)
    for wealth in (-0.1, 1.0):
        with pytest.raises(ConfigError, match="wealth"):
            paths.probability_of_ruin(wealth)
    for depth in (0.0, -0.2, 1.1):
        with pytest.raises(ConfigError, match="depth"):
            paths.probability_of_drawdown(depth)
