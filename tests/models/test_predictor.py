"""Predictions: the same numbers as out of sample, explained, and only for the model's features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from quant_engine.core.errors import (
    ConfigError,
    EmptyDataError,
    LookAheadError,
    SchemaMismatchError,
)
from quant_engine.models import predict, train


@pytest.fixture(scope="module")
def model(world, config, target):
    return train(
        world.features, world.labels, target=target, folds=world.folds, config=config
    ).model


@pytest.fixture(scope="module")
def newest(model, world):
    return predict(model, world.features, rows=slice(-2, None))


@pytest.mark.feature("L-11")
@pytest.mark.parametrize("member", ["ridge", "lgbm"])
def test_contributions_sum_to_the_raw_output(newest, member):
    parts = newest.contributions
    columns = [c for c in parts if c.startswith(f"contrib_{member}_")]
    assert columns == [f"contrib_{member}_f{j}" for j in range(5)]
    total = parts[columns].sum(axis=1) + parts[f"base_{member}"]
    np.testing.assert_allclose(total, newest.table[f"raw_{member}"], rtol=0, atol=1e-6)
    pd.testing.assert_frame_equal(parts[["date", "asset_id"]], newest.table[["date", "asset_id"]])


@pytest.mark.feature("L-11")
def test_top_features_are_the_largest_contributions(newest):
    text = newest.table["top_features_ridge"].iloc[0]
    row = newest.contributions.iloc[0]
    named = [part.split(" ") for part in text.split("; ")]
    sizes = {f"f{j}": row[f"contrib_ridge_f{j}"] for j in range(5)}
    assert [name for name, _ in named] == sorted(sizes, key=lambda n: -abs(sizes[n]))
    assert all(float(value) == pytest.approx(sizes[name], abs=5e-5) for name, value in named)


@pytest.mark.feature("Q-29")
def test_rank_columns_per_session(newest):
    for _, part in newest.table.groupby("date"):
        n = len(part)
        total = rankdata(part["raw_ridge"]) + rankdata(part["raw_lgbm"])
        np.testing.assert_allclose(part["percentile"], (rankdata(total) - 0.5) / n)
        assert part["z"].mean() == pytest.approx(0.0, abs=1e-12)
        assert part["z"].std(ddof=1) == pytest.approx(1.0)
        assert (part["is_long"] == (part["percentile"] > 0.8 + 1e-9)).all()
        assert (part["is_short"] == (part["percentile"] < 0.2 - 1e-9)).all()
        assert 7 <= part["is_long"].sum() <= 9


def test_predictions_carry_the_maps_of_the_model(model, newest, world):
    frame = newest.table
    np.testing.assert_array_equal(
        frame["expected_return_frac"], model.maps.expected_return(frame["score"].to_numpy())
    )
    half = model.maps.interval.quantile * np.tile(world.features.volatility[0], 2)
    np.testing.assert_allclose(frame["hi"] - frame["expected_return_frac"], half)
    assert frame["confidence"].between(0.0, 1.0).all()


@pytest.mark.leakage
def test_a_session_is_predicted_alike_alone_and_in_company(model, world):
    alone = predict(model, world.features, rows=[100]).table
    company = predict(model, world.features, rows=slice(None)).table
    pd.testing.assert_frame_equal(
        alone, company[company["date"] == alone["date"][0]].reset_index(drop=True), check_exact=True
    )


def test_final_model_ranks_the_planted_signal(model, world):
    frame = predict(model, world.features, rows=slice(-3, None), with_contributions=False).table
    assert not any(column.startswith("top_features") for column in frame)
    x = world.features.panel
    truth = (x.field("f0")[-3:] - 0.5 * x.field("f1")[-3:]).ravel()
    assert np.corrcoef(truth, frame["score"])[0, 1] > 0.8


def test_allowed_rows_with_too_many_gaps_are_listed_as_unavailable(model, world):
    gap = world
    for name in ("f0", "f1", "f2"):
        values = np.array(world.features.panel.field(name))
        values[-1, 5] = np.nan
        gap = gap.with_field(name, values)
    result = predict(model, gap.features, rows=slice(-1, None))
    row = result.table.set_index("asset_id").loc["A05@US#1"]
    assert row["n_missing_features"] == 3
    assert row[["score", "raw_lgbm", "expected_return_frac", "lo", "confidence"]].isna().all()
    assert not row["is_long"]
    assert not row["is_short"]
    assert row["top_features_ridge"] == ""
    assert result.table["score"].notna().sum() == 39
    assert result.contributions.filter(like="contrib_").isna().any(axis=1).sum() == 1


def test_one_missing_feature_still_gets_a_score(model, world):
    values = np.array(world.features.panel.field("f0"))
    values[-1, 5] = np.nan
    frame = predict(model, world.with_field("f0", values).features, rows=slice(-1, None)).table
    row = frame.set_index("asset_id").loc["A05@US#1"]
    assert row["n_missing_features"] == 1
    assert np.isfinite(row["score"])


def test_only_members_that_trade_are_predicted(model, world):
    member = np.array(world.features.panel.mask("member"))
    member[-1, :3] = False
    frame = predict(model, world.with_mask("member", member).features, rows=slice(-1, None)).table
    assert len(frame) == 37
    assert not {"A00@US#1", "A01@US#1", "A02@US#1"} & set(frame["asset_id"])


@pytest.mark.feature("Q-20")
def test_another_feature_set_is_refused(model, world):
    features = world.features
    schema = features.schema
    other_id = replace(features, schema=schema.model_copy(update={"set_id": "set-2"}))
    with pytest.raises(SchemaMismatchError, match="feature set id: wanted set-1, got set-2"):
        predict(model, other_id, rows=slice(-1, None))
    names = schema.names[::-1]
    order = replace(
        features,
        panel=features.panel.only_fields(names),
        schema=schema.model_copy(update={"names": names}),
    )
    with pytest.raises(SchemaMismatchError, match="another order"):
        predict(model, order, rows=slice(-1, None))
    fewer = replace(
        features,
        panel=features.panel.only_fields(schema.names[:4]),
        schema=schema.model_copy(
            update={"names": schema.names[:4], "causality": schema.causality[:4]}
        ),
    )
    with pytest.raises(SchemaMismatchError, match=r"missing \['f4'\]"):
        predict(model, fewer, rows=slice(-1, None))


@pytest.mark.feature("Q-21")
def test_research_only_features_are_refused(model, world):
    schema = world.features.schema
    causality = ("RESEARCH_ONLY",) * 5
    research = replace(world.features, schema=schema.model_copy(update={"causality": causality}))
    with pytest.raises(LookAheadError, match="RESEARCH_ONLY f0"):
        predict(model, research, rows=slice(-1, None))


def test_thin_sessions_and_wrong_positions_are_refused(model, world):
    member = np.array(world.features.panel.mask("member"))
    member[-1, 1:] = False
    thin = world.with_mask("member", member).features
    with pytest.raises(EmptyDataError, match="wanted a session with >= 10 assets"):
        predict(model, thin, rows=slice(-1, None))
    both = predict(model, thin, rows=slice(-2, None)).table.groupby("date")["score"]
    assert list(both.size()) == [40, 1]
    assert list(both.count()) == [40, 0]
    for rows in (slice(0, 0), [200], [-1]):
        with pytest.raises(ConfigError, match="session positions from 0 to 199"):
            predict(model, world.features, rows=rows)
