"""Null baselines: no opinion, equal costs, equal turnover."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quant_engine.backtest import BacktestConfig, PortfolioConfig
from quant_engine.backtest.nulls import (
    NullBaselines,
    ScoreOrder,
    autoregressive,
    null_baselines,
)
from quant_engine.backtest.simulation import Simulation, compared_figures
from quant_engine.core.errors import ConfigError, DataError, EmptyDataError
from quant_engine.core.executor import ProcessExecutor
from quant_engine.core.panel import GroupTable, Panel, TimeAxis
from quant_engine.execution import CostProfile

BOOK = PortfolioConfig(
    names_per_side=None,
    fraction_per_side=0.2,
    max_weight_frac=0.5,
    rebalance="staggered",
    rebalance_sessions=3,
)
COSTS = CostProfile(name="plain", adv_min_sessions=1, adv_sessions=2)


def world(strength: float, *, seed: int = 1, n_rows: int = 260, n_assets: int = 30):
    """Prices whose next returns follow a persistent score as strongly as wanted."""
    rng = np.random.default_rng(seed)
    score = autoregressive((n_rows, n_assets), persistence=0.9, rng=rng)
    step = 0.01 * rng.standard_normal((n_rows, n_assets))
    # Row t is decided at the close of t, filled at the open of t + 1 and earns from there.
    step[2:] += strength * 0.01 * score[:-2]
    price = 50.0 * np.exp(np.cumsum(step, axis=0))
    ids = tuple(f"N{i:02d}@US#1" for i in range(n_assets))
    sessions = pd.bdate_range("2020-01-01", periods=n_rows)
    panel = Panel(
        TimeAxis.sessions(sessions.to_numpy()),
        ids,
        {"open": price, "close": price, "volume": np.full(price.shape, 1e7)},
    )
    frame = pd.DataFrame(
        {
            "date": np.repeat(sessions, n_assets),
            "asset_id": np.tile(ids, n_rows),
            "score": score.ravel(),
            "confidence": np.linspace(0.4, 0.9, score.size),
        }
    )
    return Simulation(frame, panel, COSTS, BacktestConfig(portfolio=BOOK))


@pytest.fixture(scope="module")
def planted():
    simulation = world(0.5)
    return simulation, null_baselines(simulation, n_draws=12, seed=3)


def test_a_draw_hands_out_the_same_values_in_another_order(planted):
    simulation, _ = planted
    frame = simulation.scores.copy()
    frame.loc[::7, "score"] = np.nan
    drawn = ScoreOrder.of(frame).drawn(0.0, np.random.default_rng(0))
    known = frame.dropna(subset=["score"])
    for (_, was), (_, now) in zip(known.groupby("date"), drawn.groupby("date"), strict=True):
        np.testing.assert_array_equal(np.sort(was["score"]), np.sort(now["score"]))
        assert set(was["asset_id"]) == set(now["asset_id"])
        # Confidence stays with its score, so thresholds let as many names through.
        pairs = set(zip(was["score"], was["confidence"], strict=True))
        assert pairs == set(zip(now["score"], now["confidence"], strict=True))
    assert (drawn["asset_id"].to_numpy() != known["asset_id"].to_numpy()).mean() > 0.8
    with pytest.raises(EmptyDataError):
        ScoreOrder.of(frame.assign(score=np.nan))


def test_series_have_the_persistence_and_the_variance_that_were_asked_for():
    drawn = autoregressive((4000, 40), persistence=0.8, rng=np.random.default_rng(2))
    lagged = (drawn[1:] * drawn[:-1]).mean() / (drawn**2).mean()
    assert lagged == pytest.approx(0.8, abs=0.01)
    assert drawn.std() == pytest.approx(1.0, abs=0.02)
    by_hand = np.random.default_rng(2).standard_normal((4000, 40))
    assert drawn[1, 0] == pytest.approx(0.8 * by_hand[0, 0] + 0.6 * by_hand[1, 0])
    with pytest.raises(ConfigError):
        autoregressive((2, 2), persistence=1.0, rng=np.random.default_rng(0))


@pytest.mark.feature("Q-47")
def test_random_entry_trades_as_much_as_the_strategy(planted):
    simulation, found = planted
    wanted = simulation.run().summary["turnover_ann"]
    turnover = found.draws.groupby("kind")["turnover_ann"].mean()
    assert turnover["random_entry"] == pytest.approx(wanted, rel=0.06)
    assert turnover["shuffled"] > 1.15 * wanted
    assert (found.draws.loc[found.draws["kind"] != "always_long", "cost_total"] > 0.0).all()


def test_draws_do_not_depend_on_how_many_there_are(planted):
    simulation, found = planted
    fewer = null_baselines(simulation, n_draws=2, seed=3).draws
    same = found.draws[(found.draws["draw"] < 2)].reset_index(drop=True)
    pd.testing.assert_frame_equal(fewer, same)
    with pytest.raises(ConfigError):
        null_baselines(simulation, n_draws=0, seed=3)


def test_wide_and_long_draws_are_the_same_book(planted):
    simulation, _ = planted
    frame = simulation.scores.copy()
    frame.loc[::7, "score"] = np.nan
    order = ScoreOrder.of(frame)
    long = order.drawn(0.6, np.random.default_rng(4))
    wide = order.wide(0.6, np.random.default_rng(4), simulation.panel)
    again = long.pivot(index="date", columns="asset_id", values="score")
    again = again.reindex(index=simulation.panel.time.index, columns=simulation.panel.asset_ids)
    np.testing.assert_array_equal(wide, again.to_numpy())
    by_wide, by_long = simulation.run(scores=wide), simulation.run(scores=long)
    assert compared_figures(by_wide) == compared_figures(by_long)
    with pytest.raises(DataError, match="other dates"):
        order.wide(0.6, np.random.default_rng(4), simulation.panel.rows(0, 9))


class BackwardsExecutor:
    """Runs the last item first, each on arrays of its own."""

    def map(self, fn, items, *, shared=None, on_done=None):
        found = {}
        for place in reversed(range(len(items))):
            own = {name: values.copy() for name, values in shared.items()}
            found[place] = fn(own, items[place])
            on_done()
        return [found[place] for place in range(len(items))]


@pytest.mark.parametrize("confidence", [None, 0.5])
def test_draws_are_the_same_wherever_they_are_simulated(planted, confidence):
    simulation, _ = planted
    panel = simulation.panel
    member = np.ones(panel.shape, dtype=bool)
    member[:40, 3] = False
    sector = GroupTable(np.zeros(panel.shape, dtype=np.int16), ("all",))
    config = simulation.config.model_copy(update={"min_confidence": confidence})
    marked = replace(
        simulation,
        panel=panel.with_masks({"member": member}).with_groups({"sector": sector}),
        config=config,
    )
    here = null_baselines(marked, n_draws=2, seed=3)
    there = null_baselines(marked, n_draws=2, seed=3, executor=BackwardsExecutor())
    pd.testing.assert_frame_equal(here.draws, there.draws, check_exact=True)
    assert here.persistence == there.persistence


@pytest.mark.slow
def test_draws_are_the_same_in_worker_processes(planted):
    simulation, found = planted
    there = null_baselines(simulation, n_draws=12, seed=3, executor=ProcessExecutor(2))
    pd.testing.assert_frame_equal(found.draws, there.draws, check_exact=True)


def test_always_long_holds_everything(planted):
    simulation, found = planted
    own = found.draws.set_index("kind").loc["always_long"]
    close = simulation.panel.field("close")
    # Equal weights, re-decided by thirds: close to the mean of all returns.
    steps = (close[1:] / close[:-1]).mean(axis=1)
    expected = np.prod(steps[1:]) ** (252.0 / (len(steps) - 1)) - 1.0
    assert own["annual_return"] == pytest.approx(expected, abs=0.02)


def test_places_and_p_values_are_counted():
    draws = pd.DataFrame({"kind": ["shuffled"] * 4, "sharpe": [0.0, 1.0, 2.0, np.nan]})
    found = NullBaselines(draws, 0.5)
    assert found.percentile("shuffled", 1.0) == pytest.approx(1 / 3)
    assert found.p_value("shuffled", 1.0) == pytest.approx(3 / 4)
    assert np.isnan(found.p_value("shuffled", float("nan")))
    assert np.isnan(found.percentile("shuffled", float("nan")))


@pytest.mark.feature("Q-47")
def test_a_planted_edge_beats_every_random_book(planted):
    simulation, found = planted
    own = float(simulation.run().summary["sharpe"])
    assert found.percentile("random_entry", own) == 1.0
    assert found.p_value("random_entry", own) == pytest.approx(1 / 13)


@pytest.mark.slow
@pytest.mark.feature("Q-47")
def test_scores_without_an_edge_stand_anywhere_among_random_books():
    p_values = []
    for seed in range(12):
        simulation = world(0.0, seed=100 + seed)
        found = null_baselines(simulation, n_draws=19, seed=seed)
        p_values.append(found.p_value("random_entry", float(simulation.run().summary["sharpe"])))
    # Uniform over {1/20 ... 1}: the mean of 12 has a standard deviation of 0.083.
    assert 0.525 - 0.25 < np.mean(p_values) < 0.525 + 0.25
    assert min(p_values) > 0.0
