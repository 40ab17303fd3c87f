"""Event worlds with known edges, and the battery that judges them."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta

from quant_engine.core.errors import ConfigError, EmptyDataError
from quant_engine.kalshi.battery import BatteryConfig, WorldVerdict, judge_world, promoted_share
from quant_engine.kalshi.boosting import BoostingConfig
from quant_engine.kalshi.fake.edge_worlds import EdgeWorldConfig, make_edge_world
from quant_engine.kalshi.models import ModelConfig
from quant_engine.kalshi.walkforward import WalkForwardEventsConfig


def brier_gap(world):
    """Happened minus truth per cell, standardised over clusters."""
    happened = world.frames.labels["happened"].to_numpy()
    n = world.config.n_cells
    gap = np.eye(n)[happened] - world.truth.reshape(-1, n)
    by_cluster = gap.reshape(world.config.n_clusters, -1, n).mean(axis=1)
    return by_cluster.mean(axis=0) / (by_cluster.std(axis=0) / np.sqrt(len(by_cluster)))


def test_a_null_world_shows_the_truth_and_the_truth_is_true():
    world = make_edge_world(EdgeWorldConfig(seed=2, n_clusters=1_000))
    np.testing.assert_array_equal(world.frames.cells["market_prob"], world.truth)
    assert np.abs(brier_gap(world)).max() < 3.5
    # Nothing is earned at the displayed prices, before any fee, by whoever buys everything.
    legs, happened = world.frames.legs, world.frames.labels["happened"].to_numpy()
    paid = (legs["first_cell"].to_numpy() == np.repeat(happened, 8)) * 1.0
    asked = legs["ask_e4"].to_numpy()
    assert (paid - asked / 1e4)[asked > 0].mean() < 0
    assert ((legs["ask_e4"] >= 1e4 * world.truth) | (asked < 0)).all()
    assert (legs["bid_e4"] <= 1e4 * world.truth).all()


def test_quotes_are_martingales_of_the_truth():
    # The law seen at the first look is the average of the laws seen at the second one.
    knobs = {"n_clusters": 1_200, "horizons_s": (7_200, 3_600), "degrees": 4.0}
    world = make_edge_world(EdgeWorldConfig(seed=3, **knobs))
    looks = world.truth.reshape(-1, 2, 8)
    moved = looks[:, 1] - looks[:, 0]
    t = moved.mean(axis=0) / (moved.std(axis=0) / np.sqrt(len(moved)))
    assert np.abs(t).max() < 3.5
    # And a change cannot be forecast from the level.
    slope = (moved * (looks[:, 0] - looks[:, 0].mean(axis=0))).mean(axis=0)
    error = (moved * (looks[:, 0] - looks[:, 0].mean(axis=0))).std(axis=0) / np.sqrt(len(moved))
    assert np.abs(slope / error).max() < 3.5


@pytest.mark.parametrize("kind", ["longshot", "delay"])
def test_a_planted_edge_is_as_large_as_stated(kind):
    world = make_edge_world(EdgeWorldConfig(seed=1, kind=kind, edge=0.06, n_clusters=50))
    market = world.frames.cells["market_prob"].to_numpy().reshape(-1, 8)
    truth = world.truth.reshape(-1, 8)
    gap = np.abs(market - truth).max(axis=1)
    np.testing.assert_allclose(market.sum(axis=1), 1.0)
    if kind == "longshot":
        assert (gap >= 0.06 - 1e-12).all()
        rows, likeliest = np.arange(100), truth.argmax(axis=1)
        np.testing.assert_allclose((truth - market)[rows, likeliest], 0.06, atol=1e-12)
        assert (market[truth < 0.125] > truth[truth < 0.125]).all()
    else:
        assert gap.max() <= 0.06 + 1e-12
        assert (gap > 0.0599).mean() > 0.7
    assert world.largest_gap == pytest.approx(gap.mean(), abs=1e-12)


def test_a_world_is_a_function_of_its_seed():
    one, two = (make_edge_world(EdgeWorldConfig(seed=8, n_clusters=5)) for _ in range(2))
    pd.testing.assert_frame_equal(one.frames.cells, two.frames.cells)
    pd.testing.assert_frame_equal(one.frames.legs, two.frames.legs)
    other = make_edge_world(EdgeWorldConfig(seed=9, n_clusters=5))
    assert not other.frames.cells.equals(one.frames.cells)
    # More clusters leave the first ones as they are.
    longer = make_edge_world(EdgeWorldConfig(seed=8, n_clusters=9)).frames.cells
    pd.testing.assert_frame_equal(longer.iloc[: len(one.frames.cells)], one.frames.cells)
    free = make_edge_world(EdgeWorldConfig(seed=8, n_clusters=5, half_spread_e4=0, tick_e4=1))
    legs = free.frames.legs[free.frames.legs["bid_e4"] > 0]
    assert (legs["ask_e4"] - legs["bid_e4"]).max() <= 1


@pytest.mark.parametrize(
    "knobs", [{"kind": "none"}, {"horizons_s": (60, 3_600)}, {"n_cells": 2}, {"degrees": 2.0}]
)
def test_knobs_out_of_range_are_refused(knobs):
    with pytest.raises(ConfigError, match="world"):
        EdgeWorldConfig(seed=1, **knobs)


def test_the_interval_of_a_share_is_exact():
    world = EdgeWorldConfig(seed=1)

    class Passed:
        passed = True

    verdicts = [WorldVerdict(world, (Passed(),) if k < 3 else (), 0.0, 1.0) for k in range(200)]
    found = promoted_share(verdicts)
    assert (found.n_promoted, found.n_worlds, found.share) == (3, 200, 0.015)
    assert found.low == pytest.approx(beta.ppf(0.025, 3, 198))
    assert found.high == pytest.approx(beta.ppf(0.975, 4, 197))
    with pytest.raises(EmptyDataError, match="verdicts"):
        promoted_share([])


SMALL = BatteryConfig(
    walk=WalkForwardEventsConfig(models=ModelConfig(boosting=BoostingConfig(n_trees=5)))
)


def test_a_world_is_judged_alike_each_time():
    world = EdgeWorldConfig(seed=1, n_clusters=100)
    one, two = judge_world(world, SMALL), judge_world(world, SMALL)
    assert [j.report.digest() for j in one.judged] == [j.report.digest() for j in two.judged]
    assert not one.is_promoted
    assert one.cpu_seconds > 0.0
    assert {j.report.track for j in one.judged} == {"calibration"}
    assert all(j.report.blocks == () for j in one.judged)


@pytest.mark.slow
def test_a_large_edge_is_promoted_and_none_is_not():
    planted = EdgeWorldConfig(seed=11, kind="longshot", edge=0.15, n_clusters=400)
    assert judge_world(planted, BatteryConfig()).is_promoted
    free = replace(SMALL, fee_multiplier=Fraction(0))
    null = EdgeWorldConfig(seed=11, n_clusters=240, half_spread_e4=0, tick_e4=1)
    assert not judge_world(null, free).is_promoted
