"""Training end to end on planted worlds: what it finds, what it must not see, what it reports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, spearmanr

from quant_engine.core.errors import (
    ConfigError,
    InsufficientHistoryError,
    LookAheadError,
    MissingFieldError,
    SchemaMismatchError,
)
from quant_engine.core.executor import ProcessExecutor
from quant_engine.models import MapConfig, dump, train
from quant_engine.stats.inference import newey_west_mean

KEYS = ["date", "asset_id"]


@pytest.fixture(scope="module")
def result(world, config, target):
    return train(world.features, world.labels, target=target, folds=world.folds, config=config)


def _run(world, config, target):
    return train(world.features, world.labels, target=target, folds=world.folds, config=config)


def _frames(result):
    return [result.oos, result.folds, result.importance, pd.Series(result.quality.figures)]


def test_a_planted_linear_signal_is_found_and_promotable(result):
    figures = result.quality.figures
    assert figures["oos_rank_ic"] > 0.2
    assert figures["holdout_rank_ic"] > 0.2
    assert figures["holdout_r2"] > 0.02
    assert result.quality.promotable, result.quality.reasons
    share = result.importance.query("fold == 0 and member == 'ridge'").set_index("feature")["share"]
    assert list(share.sort_values(ascending=False).index[:2]) == ["f0", "f1"]


@pytest.mark.feature("Q-25")
def test_trees_find_what_a_line_cannot(make_world, config, target):
    figures = _run(make_world(1, kind="nonlinear"), config, target).quality.figures
    assert figures["lgbm_oos_rank_ic"] > figures["ridge_oos_rank_ic"] + 0.03
    assert figures["oos_rank_ic"] > figures["ridge_oos_rank_ic"]


@pytest.mark.leakage
@pytest.mark.feature("Q-26")
def test_a_null_world_gives_no_out_of_sample_ic(make_world, config, target):
    means, gaps = [], []
    for seed in range(8):
        world = make_world(100 + seed, signal=0.0, shape=(170, 30, 4))
        result = _run(world, config, target)
        dev = result.folds[~result.folds["is_holdout"]]
        means.append(dev["blend_oos_ic"].mean())
        gaps.append(result.quality.figures["is_oos_gap"])
    assert abs(np.mean(means)) < 3.0 * np.std(means, ddof=1) / np.sqrt(8)
    assert np.mean(gaps) > 0.05, "the in-sample fit of noise shows as a gap"


def test_out_of_sample_table_covers_every_test_session_once(world, result):
    oos = result.oos
    assert not oos.duplicated(KEYS).any()
    pd.testing.assert_frame_equal(oos, oos.sort_values(KEYS, ignore_index=True))
    days = world.features.panel.time.index
    for fold in world.folds:
        part = oos[oos["fold"] == fold.number]
        assert list(part["date"].unique()) == list(days[fold.test])
        assert len(part) == 40 * len(fold.test)
        assert (part["is_holdout"] == fold.is_holdout).all()
    unlabelled = oos.set_index("date").loc[days[-3:]]
    assert unlabelled["label"].isna().all()
    assert unlabelled["score"].notna().all(), "a decision needs no label"
    assert oos["score"].between(-1.0, 1.0).all()
    assert oos[["expected_return_frac", "lo", "hi", "confidence"]].notna().all().all()
    assert (oos["lo"] < oos["expected_return_frac"]).all()
    assert (oos["expected_return_frac"] < oos["hi"]).all()
    np.testing.assert_allclose(oos["percentile"], (oos["score"] + 1.0) / 2.0)


def test_fold_figures_equal_scipy_in_a_plain_loop(world, result):
    days = world.features.panel.time.index
    series = []
    for fold, row in zip(world.folds, result.folds.itertuples(), strict=True):
        part = result.oos[result.oos["date"].isin(days[fold.scored])].dropna(subset="label")
        by_date = [g for _, g in part.groupby("date")]
        rank = [spearmanr(g["score"], g["label"]).statistic for g in by_date]
        assert row.blend_oos_rank_ic == pytest.approx(np.mean(rank))
        plain = [pearsonr(g["ridge_score"], g["label"]).statistic for g in by_date]
        assert row.ridge_oos_ic == pytest.approx(np.mean(plain))
        inside = part["label"].between(part["lo"], part["hi"])
        assert row.coverage == pytest.approx(inside.mean())
        assert row.n_scored_sessions == len(by_date) == len(fold.scored)
        assert row.train_last == days[fold.train[-1]]
        assert row.n_train_rows == 40 * len(fold.train)
        assert row.is_oos_gap == pytest.approx(row.blend_is_rank_ic - row.blend_oos_rank_ic)
        if fold.is_holdout:
            y = part["label"] - part.groupby("date")["label"].transform("mean")
            expected = part["expected_return_frac"]
            e = expected - expected.groupby(part["date"]).transform("mean")
            r2 = 1.0 - ((y - e) ** 2).sum() / (y**2).sum()
            assert result.quality.figures["holdout_r2"] == pytest.approx(r2)
        else:
            series += rank
    figures = result.quality.figures
    assert figures["oos_rank_ic"] == pytest.approx(np.mean(series))
    assert figures["oos_rank_ic_t"] == pytest.approx(newey_west_mean(series, lags=3).t)
    assert figures["n_oos_sessions"] == len(series)


@pytest.mark.leakage
@pytest.mark.feature("Q-26")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_nothing_before_a_test_block_depends_on_labels_from_it_on(
    world, result, config, target, number
):
    """Scores and maps alike: the block's own label column is all that may change up to there."""
    first = int(world.folds[number - 1].test[0])
    label = world.label
    label[first:] = np.random.default_rng(0).standard_normal(label[first:].shape)
    after = _run(world.with_label(label), config, target).oos
    before = result.oos
    upto = (before["fold"] <= number).to_numpy()
    pd.testing.assert_frame_equal(
        before[upto].drop(columns="label"), after[upto].drop(columns="label"), check_exact=True
    )
    later = before["fold"] == number + 1
    assert not before.loc[later, "score"].equals(after.loc[later, "score"]), "the probe is alive"


@pytest.mark.leakage
def test_nothing_depends_on_later_features(world, result, config, target):
    first = int(world.folds[1].test[0])
    values = np.array(world.features.panel.field("f0"))
    values[first:] = -values[first:]
    after = _run(world.with_field("f0", values), config, target).oos
    upto = (result.oos["fold"] == 1).to_numpy()
    pd.testing.assert_frame_equal(result.oos[upto], after[upto], check_exact=True)


@pytest.mark.leakage
@pytest.mark.feature("Q-27")
def test_the_holdout_decides_nothing_but_its_own_figures(world, result, config, target):
    """Turned holdout labels: same maps, same development rows and figures, another verdict."""
    holdout = world.folds[-1]
    label = world.label
    label[holdout.test] = -label[holdout.test]
    turned = _run(world.with_label(label), config, target)
    dev = (~result.oos["is_holdout"]).to_numpy()
    pd.testing.assert_frame_equal(result.oos[dev], turned.oos[dev], check_exact=True)
    pd.testing.assert_frame_equal(
        result.oos.drop(columns="label"), turned.oos.drop(columns="label"), check_exact=True
    )
    assert turned.model.maps.to_json() == result.model.maps.to_json()
    assert dump(turned.model)["member_ridge.npz"] != dump(result.model)["member_ridge.npz"]
    figures = result.quality.figures
    changed = {k for k, v in turned.quality.figures.items() if v != figures[k]}
    assert changed == {"holdout_rank_ic", "holdout_ic", "holdout_r2"}
    assert not turned.quality.promotable
    assert [reason.split(" is ")[0] for reason in turned.quality.reasons] == [
        "holdout rank IC",
        "holdout R-squared",
    ]


def test_a_scored_label_never_reaches_into_the_holdout(world, result):
    maps = result.model.maps
    warmup = int(0.25 * len(world.folds[0].train))
    scored = sum(len(fold.scored) for fold in world.folds if not fold.is_holdout)
    assert maps.n_sessions == warmup + scored
    assert result.folds["n_map_sessions"].iloc[0] == warmup
    assert result.folds["n_map_sessions"].is_monotonic_increasing


def test_without_a_warm_up_the_first_block_says_unavailable(world, config, target):
    cold = config.model_copy(update={"maps": MapConfig(warmup_frac=0.0)})
    oos = _run(world, cold, target).oos
    columns = ["expected_return_frac", "lo", "hi", "confidence"]
    first = oos["fold"] == 1
    assert oos.loc[first, columns].isna().all().all()
    assert oos.loc[first, "score"].notna().all()
    assert oos.loc[~first, columns].notna().all().all()


@pytest.mark.feature("Q-28")
def test_intervals_cover_out_of_sample_at_low_and_high_volatility(world, result, make_world):
    del make_world
    part = result.oos.dropna(subset="label")
    inside = part["label"].between(part["lo"], part["hi"])
    assert inside.mean() == pytest.approx(0.9, abs=0.03)
    volatility = dict(
        zip(world.features.panel.asset_ids, world.features.volatility[0], strict=True)
    )
    high = part["asset_id"].map(volatility) > np.median(list(volatility.values()))
    assert inside[high].mean() == pytest.approx(0.9, abs=0.04)
    assert inside[~high].mean() == pytest.approx(0.9, abs=0.04)


@pytest.mark.slow
def test_one_and_two_jobs_give_the_same_bytes(world, result, config, target):
    other = train(
        world.features,
        world.labels,
        target=target,
        folds=world.folds,
        config=config,
        executor=ProcessExecutor(2),
    )
    for ours, theirs in zip(_frames(result)[:3], _frames(other)[:3], strict=True):
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    assert other.quality == result.quality
    assert dump(other.model) == dump(result.model)


def test_the_same_call_gives_the_same_bytes_and_leaves_inputs_alone(world, result, config, target):
    again = _run(world, config, target)
    assert dump(again.model) == dump(result.model)
    pd.testing.assert_frame_equal(again.oos, result.oos, check_exact=True)


def test_asset_order_does_not_matter(world, result, config, target):
    order = np.random.default_rng(1).permutation(40)
    features = replace(
        world.features,
        panel=world.features.panel.columns(order),
        volatility=world.features.volatility[:, order],
    )
    labels = replace(world.labels, values=world.labels.values.columns(order))
    oos = train(features, labels, target=target, folds=world.folds, config=config).oos
    np.testing.assert_array_equal(oos[KEYS].to_numpy(), result.oos[KEYS].to_numpy())
    np.testing.assert_allclose(oos["raw_ridge"], result.oos["raw_ridge"], atol=1e-9)
    assert np.corrcoef(oos["score"], result.oos["score"])[0, 1] > 0.99


@pytest.mark.feature("Q-27")
def test_recency_weights_follow_calendar_age(world, config, target):
    """Old sessions hold the opposite relation: only a decaying model forgets them."""
    label = world.label
    label[:40] = -label[:40]
    flipped = world.with_label(label)
    flat = _run(flipped, config, target).folds["ridge_oos_rank_ic"].iloc[0]
    decay = config.model_copy(update={"recency_decay_per_day": 0.1})
    recent = _run(flipped, decay, target).folds["ridge_oos_rank_ic"].iloc[0]
    assert recent > flat + 0.2


def test_labels_that_are_missing_shrink_training_and_not_prediction(world, config, target):
    label = world.label
    label[:, :10] = np.nan
    result = _run(world.with_label(label), config, target)
    assert result.folds["n_train_rows"].iloc[0] == 30 * len(world.folds[0].train)
    assert result.folds["n_test_rows"].iloc[0] == 40 * len(world.folds[0].test)


def test_the_record_says_what_the_model_was_fitted_on(world, result):
    record = result.model.training
    days = world.features.panel.time.values.astype(str)
    assert (record.first_session, record.last_session) == (days[0], days[-5])
    assert (record.n_sessions, record.n_rows) == (196, 40 * 196)
    assert [w.is_holdout for w in record.folds] == [fold.is_holdout for fold in world.folds]
    assert record.folds[0].test_first == str(world.folds[0].test_window[0])


def test_importance_shares_sum_to_one(result):
    total = result.importance.groupby(["fold", "member"])["share"].sum()
    np.testing.assert_allclose(total, 1.0)
    assert set(result.importance["fold"]) == {0, *result.folds["fold"]}


def test_too_few_rows_are_refused_in_words(world, config, target):
    greedy = config.model_copy(update={"min_train_rows": 3_500})
    with pytest.raises(InsufficientHistoryError, match=r"train rows of fold 1.*at least 3500"):
        _run(world, greedy, target)


@pytest.mark.feature("Q-21")
def test_research_only_features_are_refused(world, config, target):
    schema = world.features.schema
    causality = ("CAUSAL", "RESEARCH_ONLY", *schema.causality[2:])
    research = replace(world.features, schema=schema.model_copy(update={"causality": causality}))
    with pytest.raises(LookAheadError, match="RESEARCH_ONLY f1"):
        _run(replace(world, features=research), config, target)


def test_mismatched_inputs_are_refused(world, config, target):
    other = replace(world.labels.values, asset_ids=world.labels.values.asset_ids[::-1])
    with pytest.raises(SchemaMismatchError, match="the axes of the features"):
        _run(replace(world, labels=replace(world.labels, values=other)), config, target)
    with pytest.raises(MissingFieldError, match="Did you mean 'fwd_excess_3s'"):
        _run(world, config, "fwd_excess_5s")
    with pytest.raises(SchemaMismatchError, match="volatility"):
        replace(world.features, volatility=world.features.volatility[:-1])
    names = world.features.schema.names[::-1]
    schema = world.features.schema.model_copy(update={"names": names})
    with pytest.raises(SchemaMismatchError, match="in this order"):
        replace(world.features, schema=schema)


def test_a_plan_without_development_folds_is_refused(world, config, target):
    for folds in ((), world.folds[-1:], (*world.folds, world.folds[-1])):
        with pytest.raises(ConfigError, match="development folds"):
            _run(replace(world, folds=folds), config, target)
