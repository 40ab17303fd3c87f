"""Walk-forward by real-world event: frames, members, folds and scores."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import ttest_1samp
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from quant_engine.core.errors import (
    ConfigError,
    DataError,
    EmptyDataError,
    InsufficientHistoryError,
    LookAheadError,
    MissingFieldError,
    SchemaMismatchError,
)
from quant_engine.core.executor import ProcessExecutor
from quant_engine.core.trials import MemoryTrialSink
from quant_engine.kalshi.boosting import BoostedTrees, BoostingConfig, fit_boosted_trees
from quant_engine.kalshi.event_frames import EventFrames, cell_arrays, frames_digest
from quant_engine.kalshi.fake.edge_worlds import EdgeWorldConfig, make_edge_world
from quant_engine.kalshi.forecast_scores import (
    compare_members,
    score_forecasts,
    skill_table,
    summarise_calibration,
)
from quant_engine.kalshi.models import MEMBERS, FittedMembers, ModelConfig, fit_members
from quant_engine.kalshi.recalibration import (
    BetaMap,
    Recalibration,
    fit_beta_map,
    fit_recalibration,
)
from quant_engine.kalshi.walkforward import (
    WalkForwardEventsConfig,
    walk_forward_events,
)

pytestmark = pytest.mark.feature("Q-45")

CONFIG = WalkForwardEventsConfig(models=ModelConfig(boosting=BoostingConfig(n_trees=10)))
KNOBS = {"seed": 5, "kind": "longshot", "edge": 0.1, "n_clusters": 130}


@pytest.fixture(scope="module")
def frames():
    return make_edge_world(EdgeWorldConfig(**KNOBS)).frames


@pytest.fixture(scope="module")
def forecasts(frames):
    return walk_forward_events(frames, CONFIG, trials=MemoryTrialSink(), family="k")


@pytest.fixture(scope="module")
def scores(forecasts):
    return score_forecasts(forecasts)


def changed(frames: EventFrames, name: str, **columns) -> EventFrames:
    return replace(frames, **{name: getattr(frames, name).assign(**columns)})


# Frames


def test_a_look_that_rests_on_the_future_is_refused(frames):
    with pytest.raises(LookAheadError, match="max_input_avail_us"):
        changed(frames, "looks", max_input_avail_us=frames.looks["asof_us"] + 1)
    with pytest.raises(LookAheadError, match="looks"):
        changed(frames, "looks", asof_us=frames.looks["scheduled_us"])
    with pytest.raises(LookAheadError, match="label_avail_us"):
        changed(frames, "labels", label_avail_us=frames.looks["scheduled_us"] - 1)


def test_frames_keep_their_schema(frames):
    with pytest.raises(MissingFieldError, match="regime"):
        replace(frames, looks=frames.looks.drop(columns="regime"))
    with pytest.raises(DataError, match="looks"):
        replace(frames, looks=frames.looks.reset_index())
    with pytest.raises(DataError, match="cells"):
        changed(frames, "cells", market_prob=frames.cells["market_prob"] * 1.06)
    with pytest.raises(DataError, match="cells"):
        replace(frames, cells=frames.cells.iloc[1:])
    with pytest.raises(DataError, match="rows of looks that exist"):
        changed(frames, "cells", horizon_s=7)
    with pytest.raises(DataError, match="labels"):
        replace(frames, labels=frames.labels.iloc[:-1])
    with pytest.raises(DataError, match="happened"):
        changed(frames, "labels", happened=8)
    with pytest.raises(DataError, match="legs"):
        changed(frames, "legs", bid_e4=frames.legs["bid_e4"] / 10_000)


def test_cell_arrays_by_hand(frames):
    cells = cell_arrays(frames)
    p = frames.cells["market_prob"].to_numpy()[8:16]
    assert cells.start[:3].tolist() == [0, 8, 16]
    np.testing.assert_allclose(cells.x[8:16, 1], np.cumsum(p) - p / 2, atol=1e-12)
    np.testing.assert_allclose(cells.x[8:16, 0], np.log(p / (1 - p)))
    np.testing.assert_allclose(cells.x[8:16, 2], np.log(21_600))
    hit = cells.outcome(frames.labels["happened"].to_numpy())
    assert hit.sum() == len(frames.looks)
    assert frames_digest(frames) == frames_digest(make_edge_world(EdgeWorldConfig(**KNOBS)).frames)
    assert frames_digest(frames) != frames_digest(changed(frames, "looks", depth=0.0))


# Members


def planted(slope: float, n: int = 4_000):
    rng = np.random.default_rng(3)
    p = rng.uniform(0.02, 0.98, n)
    q = 1 / (1 + np.exp(-slope * np.log(p / (1 - p))))
    return p, (rng.random(n) < q).astype(float)


def test_the_beta_map_is_the_minimum_of_its_penalised_likelihood():
    p, y = planted(1.5, 500)
    w = np.linspace(0.5, 1.5, 500)
    found = fit_beta_map(p, y, weights=w, towards=BetaMap(1, 1, 0), strength=8.0)

    def loss(v):
        z = v[0] * np.log(p) - v[1] * np.log(1 - p) + v[2]
        fit = (w * (np.logaddexp(0, z) - y * z)).sum()
        return fit + 8.0 / 8.0 * ((v - np.array([1, 1, 0])) ** 2).sum()

    best = minimize(loss, [1.0, 1.0, 0.0], method="BFGS", options={"gtol": 1e-8}).x
    np.testing.assert_allclose([found.a, found.b, found.c], best, atol=1e-5)


def test_a_planted_longshot_bias_is_found_and_belief_wins_without_data():
    p, y = planted(1.5)
    w = np.ones_like(p)
    found = fit_beta_map(p, y, weights=w, towards=BetaMap(1, 1, 0), strength=1.0)
    assert found.a == pytest.approx(1.5, abs=0.2)
    assert found.b == pytest.approx(1.5, abs=0.2)
    believed = fit_beta_map(p[:20], y[:20], weights=w[:20], towards=BetaMap(1, 1, 0), strength=1e6)
    np.testing.assert_allclose(believed.apply([0.1, 0.7]), [0.1, 0.7], atol=1e-3)
    with pytest.raises(EmptyDataError):
        fit_beta_map([], [], weights=[], towards=BetaMap(1, 1, 0), strength=1.0)
    with pytest.raises(DataError, match="strength"):
        fit_beta_map(p, y, weights=w, towards=BetaMap(1, 1, 0), strength=0.0)


def test_horizons_have_their_own_map_and_unseen_ones_the_pooled_one():
    (p, y), (_, biased) = planted(1.0), planted(2.0)
    found = fit_recalibration(
        np.tile(p, 2), np.concatenate([y, biased]), np.repeat([60, 3_600], len(p)),
        weights=np.ones(2 * len(p)), strength=1.0,
    )  # fmt: skip
    assert found.by_horizon[3_600].a > found.pooled.a > found.by_horizon[60].a
    assert found.apply([0.2], [5]) == found.pooled.apply([0.2])
    again = Recalibration.from_content(found.content())
    assert again == found
    with pytest.raises(SchemaMismatchError):
        Recalibration.from_content({"schema": "other"})


def test_stored_trees_forecast_as_scikit_learn_does_and_never_fall():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(800, 3))
    x[::7, 2] = np.nan
    y = -x[:, 0] + np.nan_to_num(x[:, 2]) + x[:, 1] + rng.normal(size=800)
    w = rng.uniform(0.5, 2.0, 800)
    config = BoostingConfig(min_leaf=20)
    trees = fit_boosted_trees(x, y, weights=w, rising=(0,), config=config)
    plain = HistGradientBoostingRegressor(
        max_iter=60, max_depth=2, min_samples_leaf=20, max_bins=32, learning_rate=0.05,
        l2_regularization=20.0, monotonic_cst=[1, 0, 0], early_stopping=False, random_state=0,
    )  # fmt: skip
    with threadpool_limits(limits=1):
        expected = plain.fit(x, y, sample_weight=w).predict(x)
    np.testing.assert_allclose(trees.predict(x), expected, atol=1e-12)
    line = np.column_stack([np.linspace(-3, 3, 50), np.zeros(50), np.full(50, np.nan)])
    assert (np.diff(trees.predict(line)) >= 0).all()
    wider = np.column_stack([x, np.full(800, np.nan)])
    empty = fit_boosted_trees(wider, y, weights=w, rising=(0,), config=config)
    np.testing.assert_array_equal(empty.predict(wider), trees.predict(x))
    again = BoostedTrees.from_content(trees.content())
    np.testing.assert_array_equal(again.predict(x), trees.predict(x))
    with pytest.raises(SchemaMismatchError):
        BoostedTrees.from_content({})
    with pytest.raises(DataError, match="residual"):
        fit_boosted_trees(x, y[1:], weights=w, rising=(), config=config)


def test_members_are_distributions_that_survive_storage(frames):
    cells = cell_arrays(frames)
    hit = cells.outcome(frames.labels["happened"].to_numpy())
    looks = np.arange(120)
    fitted = fit_members(cells, hit, looks, inner=(looks[:80], looks[80:]), config=CONFIG.models)
    made = fitted.forecast(cells, np.arange(120, 160))
    for member in MEMBERS:
        np.testing.assert_allclose(made[member].reshape(-1, 8).sum(axis=1), 1.0)
        assert made[member].min() > 0.0
    again = FittedMembers.from_content(fitted.content())
    np.testing.assert_array_equal(again.forecast(cells, looks)["shrunk"],
                                  fitted.forecast(cells, looks)["shrunk"])  # fmt: skip
    alone = fit_members(cells, hit, looks, inner=None, config=CONFIG.models)
    np.testing.assert_array_equal(alone.forecast(cells, looks)["shrunk"], cells.prob[:960])
    with pytest.raises(SchemaMismatchError):
        FittedMembers.from_content({})
    with pytest.raises(DataError, match="columns"):
        fitted.forecast(replace(cells, names=("other",)), looks)


# Folds


def test_outcomes_of_the_future_change_no_earlier_forecast(frames, forecasts):
    place = forecasts.looks["place"].to_numpy()
    last = forecasts.looks["fold"].to_numpy() == forecasts.n_folds
    happened = frames.labels["happened"].to_numpy().copy()
    # Also the second to last block: its outcomes train only the last one.
    tail = place[forecasts.looks["fold"].to_numpy() >= forecasts.n_folds - 1]
    happened[tail] = 7 - happened[tail]
    other = walk_forward_events(
        changed(frames, "labels", happened=happened), CONFIG, trials=MemoryTrialSink(), family="k"
    )
    n = int((~last).sum()) * 8
    pd.testing.assert_frame_equal(other.cells.iloc[:n], forecasts.cells.iloc[:n])
    assert not other.cells.iloc[n:].equals(forecasts.cells.iloc[n:])


def test_every_member_is_counted_once(frames, forecasts):
    sink = MemoryTrialSink()
    again = walk_forward_events(frames, CONFIG, trials=sink, family="k")
    walk_forward_events(frames, CONFIG, trials=sink, family="k")
    assert len(sink.trials) == len(MEMBERS)
    assert {t.data_id for t in sink.trials.values()} == {frames_digest(frames)}
    pd.testing.assert_frame_equal(again.cells, forecasts.cells)
    assert forecasts.n_clusters == forecasts.looks["cluster_id"].nunique() == 79


@pytest.mark.slow
def test_folds_in_processes_give_the_same_bits(frames, forecasts):
    again = walk_forward_events(
        frames, CONFIG, trials=MemoryTrialSink(), family="k", executor=ProcessExecutor(2)
    )
    for member in MEMBERS:
        assert (
            again.cells[member].to_numpy().tobytes() == forecasts.cells[member].to_numpy().tobytes()
        )
    pd.testing.assert_frame_equal(again.looks, forecasts.looks)
    assert (again.mix_weights, again.split_id) == (forecasts.mix_weights, forecasts.split_id)


def test_a_fold_is_what_its_members_say(frames, forecasts):
    """The one loop of folds against members that are fitted and asked by hand."""
    cells = cell_arrays(frames)
    hit = cells.outcome(frames.labels["happened"].to_numpy())
    split = next(iter(forecasts.plan))
    fitted = fit_members(cells, hit, split.train, inner=None, config=CONFIG.models)
    made = fitted.forecast(cells, split.test)
    here = forecasts.cells.iloc[: len(cells.cells_of(split.test))]
    for member in ("market", "recalibrated", "boosted"):
        np.testing.assert_array_equal(here[member], made[member])
    weight = forecasts.mix_weights[0]
    mixed = weight * made["boosted"] + (1 - weight) * made["market"]
    np.testing.assert_allclose(here["shrunk"], mixed, rtol=1e-12)


def test_too_few_clusters_are_an_error():
    few = make_edge_world(EdgeWorldConfig(seed=1, n_clusters=30)).frames
    with pytest.raises(InsufficientHistoryError, match="groups"):
        walk_forward_events(few, CONFIG, trials=MemoryTrialSink(), family="k")


# Scores


def test_scores_by_hand(forecasts, scores):
    key = forecasts.looks.index[3]
    p = forecasts.cells.set_index(["event_id", "horizon_s"]).loc[key, "boosted"].to_numpy()
    y = forecasts.frames.labels.loc[key, "happened"]
    row = scores[(scores["member"] == "boosted") & (scores["event_id"] == key[0])
                 & (scores["horizon_s"] == key[1])].iloc[0]  # fmt: skip
    assert row["log_loss"] == pytest.approx(-np.log(max(p[y], 0.005)))
    assert row["brier"] == pytest.approx(((p - np.eye(8)[y]) ** 2).sum())
    assert row["rps"] == pytest.approx(((np.cumsum(p) - (np.arange(8) >= y))[:-1] ** 2).sum())
    assert p[:y].sum() <= row["pit"] <= p[: y + 1].sum() + 1e-12


def test_the_comparison_is_a_t_test_over_cluster_means(scores):
    wide = scores.pivot(index=["event_id", "horizon_s"], columns="member", values="rps")
    gain = (wide["market"] - wide["recalibrated"]).groupby("event_id").mean()
    plain = ttest_1samp(gain, 0.0)
    found = compare_members(scores, "recalibrated", "market", score="rps")
    low, high = plain.confidence_interval(0.95)
    assert found.t == pytest.approx(plain.statistic)
    assert found.p_value == pytest.approx(plain.pvalue)
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high))
    assert found.n_clusters == 79
    thin = compare_members(scores, "recalibrated", "market", regime="thin")
    assert thin.n_clusters < 79
    with pytest.raises(ConfigError, match="recalibrated"):
        compare_members(scores, "recalibrat", "market")


def test_the_table_holds_every_comparison(scores):
    table = skill_table(scores)
    assert len(table) == (3 + 2) * 3
    row = table.set_index(["member", "base", "score"]).loc[("shrunk", "recalibrated", "brier")]
    found = compare_members(scores, "shrunk", "recalibrated", score="brier")
    assert (row["mean"], row["ci_low"]) == (found.mean, found.ci_low)


def test_calibration_parts_add_up(forecasts, scores):
    found = summarise_calibration(forecasts, scores, "market")
    b = found.brier
    total = (b.reliability - b.resolution + b.uncertainty + b.within_bin_variance
             - 2 * b.within_bin_covariance)  # fmt: skip
    assert b.brier == pytest.approx(total)
    # Unlikely cells are too dear: outcomes are sharper than prices.
    assert found.slope > 1.1
    assert found.coverage[0.5] < found.coverage[0.8] < found.coverage[0.95]
    assert found.pit is not None
