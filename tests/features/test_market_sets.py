"""The sets core_v1, cross_section, market, rotation, sector_rotation and research."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.specs import SpecCatalog
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.pipeline import FeatureSet, check_feature_set, compute_features
from quant_engine.features.research import catalogue
from quant_engine.features.rotation import (
    COMPONENTS,
    rotation_quadrants,
    rotation_score,
    rotation_signals,
)
from quant_engine.testing import assert_prefix_invariant

pytestmark = pytest.mark.feature("T-07")

SETS = ("core_v1", "cross_section", "market", "rotation", "sector_rotation", "research")


def shipped(name):
    return SpecCatalog.default().load("features", name, FeatureSet)


@pytest.fixture(scope="module")
def market(panel_factory):
    """Members for long stretches: one asset joins late, one leaves."""
    panel = panel_factory(450, 9, seed=21)
    member = np.ones(panel.shape, dtype=bool)
    member[:60, 0] = False
    member[380:, 1] = False
    return dataclasses.replace(panel, masks={"member": member})


@pytest.fixture(scope="module")
def frames(market):
    found = {name: pd.DataFrame(market.field(name)) for name in market.fields}
    paid = found["close"] + found["dividend"]
    found["ret"] = paid / found["close"].shift(1) - 1.0
    found["log"] = np.log1p(found["ret"])
    found["member"] = pd.DataFrame(market.mask("member"))
    held = found["member"].shift(1, fill_value=False)
    found["market"] = found["ret"].where(held).mean(axis=1)
    return found


def values(market, name):
    return compute_features(market, shipped(name))


def same(got, wanted, **limits):
    wanted = np.broadcast_to(np.asarray(wanted, dtype=float), got.shape)
    np.testing.assert_allclose(got, wanted, **({"rtol": 2e-5, "atol": 1e-6} | limits))


def grown(returns, rows):
    return np.exp(np.log1p(returns).rolling(rows).sum()) - 1.0


@pytest.mark.parametrize("name", SETS)
def test_a_set_keeps_its_promises_and_gives_values(name, market):
    assert catalogue.__all__
    loaded = shipped(name)
    check_feature_set(loaded)
    got = values(market, name)
    counted = market.mask("member").copy()
    counted[: loaded.max_lookback_sessions] = False
    for feature in loaded.names:
        known = np.isfinite(got.field(feature))
        assert known[counted].mean() > 0.5, feature


@pytest.mark.parametrize("name", SETS)
def test_no_feature_reads_the_future_or_the_members_of_later_sessions(name, market):
    loaded = shipped(name)
    report = assert_prefix_invariant(
        lambda panel: compute_features(panel, loaded), market, cuts=[400, 430], seed=8
    )
    assert set(loaded.names) <= set(report.fields)


@pytest.mark.parametrize("name", SETS)
def test_the_last_rows_need_no_more_history_than_is_said(name, market):
    program = compile_expressions({s.name: s.expression for s in shipped(name).features})
    whole = program.run(market, dtype=np.float64)
    tail = program.tail(market, first_row=440, dtype=np.float64)
    for feature in whole.fields:
        np.testing.assert_array_equal(tail.field(feature), whole.field(feature)[440:], feature)


def test_core_equals_pandas(market, frames):
    got = values(market, "core_v1")
    assert "CLOSE" not in got.fields
    volume = np.log1p(frames["volume"])
    for rows in (1, 5, 21):
        same(got.field(f"RET{rows}"), grown(frames["ret"], rows))
    for rows in (21, 63):
        same(got.field(f"RV{rows}"), np.sqrt((frames["log"] ** 2).rolling(rows).mean()))
    same(got.field("DIST_HIGH20"), frames["close"] / frames["high"].rolling(20).max() - 1.0)
    same(got.field("DIST_LOW20"), frames["close"] / frames["low"].rolling(20).min() - 1.0)
    wanted = (volume - volume.rolling(20).mean()) / volume.rolling(20).std()
    same(got.field("LOGVOL_Z20"), wanted, atol=1e-5)


def test_a_missing_close_is_never_filled(market):
    close = market.field("close").copy()
    close[300, 2] = np.nan
    fields = {**market.fields, "close": close}
    got = values(dataclasses.replace(market, fields=fields), "core_v1")
    for name, rows in (("RET1", 2), ("RET5", 6), ("RV21", 22), ("DIST_HIGH20", 1)):
        missing = np.isnan(got.field(name)[:, 2])
        assert np.flatnonzero(missing[100:]).tolist() == list(range(200, 200 + rows)), name


def test_cross_section_equals_pandas(market, frames):
    got = values(market, "cross_section")
    member = frames["member"]

    def z(x):
        x = x.where(member)
        return x.sub(x.mean(axis=1), axis=0).div(x.std(axis=1), axis=0)

    def rank(x):
        return x.where(member).rank(axis=1, pct=True)

    same(got.field("XS_RET5_Z"), z(grown(frames["ret"], 5)), atol=1e-5)
    same(got.field("XS_RET21_RANK"), rank(grown(frames["ret"], 21)))
    strength = grown(frames["ret"], 20).where(member)
    same(got.field("XS_RS20"), strength.sub(strength.mean(axis=1), axis=0))
    traded = (frames["close"] * frames["volume"]).rolling(20).mean()
    same(got.field("XS_LIQUIDITY"), rank(traded))
    same(got.field("XS_VOL"), rank(frames["log"].rolling(63).std()))


def test_market_equals_pandas_and_is_one_value_per_session(market, frames):
    got = values(market, "market")
    for name in got.fields:
        rows = got.field(name)
        np.testing.assert_array_equal(rows, np.broadcast_to(rows[:, :1], rows.shape), name)

    def check(name, wanted, **limits):
        same(got.field(name)[:, 0], wanted, **limits)

    vol, member = frames["market"].rolling(20).std(), frames["member"]
    returns = frames["ret"].where(member)
    check("MKT_VOL20", vol)
    check("MKT_VOLVOL60", vol.rolling(60).std() / vol.rolling(60).mean(), atol=1e-5)
    check("MKT_DISPERSION", returns.std(axis=1))
    check("MKT_BREADTH", (returns > 0).sum(axis=1).div(returns.count(axis=1)).where(
        returns.count(axis=1) > 0))  # fmt: skip
    mean_close = frames["close"].rolling(50).mean()
    above = (frames["close"] > mean_close).where(member & mean_close.notna()).astype(float)
    check("MKT_ABOVE50", above.mean(axis=1))
    window = returns.iloc[-63:].loc[:, market.mask("member")[-1]].corr().to_numpy()
    mean_corr = window[np.triu_indices(len(window), 1)].mean()
    assert got.field("MKT_CORR63")[-1, 0] == pytest.approx(mean_corr, abs=1e-6)
    spike = got.field("MKT_CORR_SPIKE")
    assert set(np.unique(spike[~np.isnan(spike)])) <= {0.0, 1.0}


def centred_rank(x, member):
    x = x.where(member)
    return 2.0 * x.rank(axis=1, pct=True).sub(0.5 / x.count(axis=1), axis=0) - 1.0


def test_rotation_equals_its_array_functions(market, frames):
    got = values(market, "rotation")
    relative = np.log1p(frames["ret"]).sub(np.log1p(frames["market"]), axis=0)
    level = np.exp(relative.fillna(0.0).cumsum())
    ratio = 100.0 * level.rolling(14).mean() / level.shift(63)
    momentum = 100.0 * (level.rolling(14).mean() / level.rolling(14).mean().shift(14) - 1.0)
    rows = slice(100, None)
    same(got.field("RS_RATIO14")[rows], ratio[rows])
    same(got.field("RS_MOMENTUM14")[rows], momentum[rows], atol=2e-5)
    same(got.field("RS_QUADRANT")[rows], rotation_quadrants(ratio, momentum)[rows])
    typical = (frames["high"] + frames["low"] + frames["close"]) / 3.0
    traded = typical * frames["volume"]
    flow = (np.sign(typical.diff()) * traded).rolling(14).sum() / traded.rolling(14).sum()
    same(got.field("MONEY_FLOW14"), flow)
    obv = (np.sign(frames["close"].diff()) * frames["volume"]).cumsum()
    slope = obv.diff(20) / frames["volume"].rolling(20).sum()
    same(got.field("OBV_SLOPE20")[rows], slope[rows])
    trend = frames["close"] / frames["close"].rolling(50).mean()
    vol = frames["log"].rolling(63).std()
    parts = [centred_rank(x, frames["member"]) for x in (ratio, momentum, flow, trend, -vol)]
    assert len(parts) == len(COMPONENTS)
    score = rotation_score(np.array(parts))
    same(got.field("ROTATION_SCORE")[rows], score[rows])
    signal = got.field("ROTATION_SIGNAL")[rows]
    known = ~np.isnan(signal)
    np.testing.assert_array_equal(signal[known], rotation_signals(score)[rows][known])


def test_sectors_rotate_as_their_members_do_together(market, frames):
    got = values(market, "sector_rotation")
    codes = market.group("sector").codes[0]
    member, rows = frames["member"], slice(100, None)
    for code in set(codes) - {-1}:
        inside = np.flatnonzero(codes == code)
        group = frames["ret"].where(member)[inside].mean(axis=1)
        level = np.exp((np.log1p(group) - np.log1p(frames["market"])).fillna(0.0).cumsum())
        ratio = 100.0 * level.rolling(14).mean() / level.shift(63)
        traded = frames["close"] * frames["volume"]
        signed = (np.sign(frames["close"].diff()) * traded).rolling(20).sum()
        flow = signed.where(member)[inside].mean(axis=1)
        flow /= traded.rolling(20).sum().where(member)[inside].mean(axis=1)
        for j in inside:
            if market.mask("member")[:, j].all():
                same(got.field("SECTOR_RS_RATIO14")[rows, j], ratio[rows], rtol=1e-4)
                same(got.field("SECTOR_OBV_SLOPE20")[rows, j], flow[rows], rtol=1e-4)
    assert np.nanmax(np.abs(got.field("SECTOR_SCORE"))) <= 1.0


def test_the_rest_of_the_market_leaves_out_the_asset_itself(market, frames):
    spread = np.log(0.0001 + np.log(frames["high"] / frames["low"]))
    inside = spread.where(frames["member"])
    member = frames["member"].astype(float)
    rest = (-(spread * member)).add(inside.sum(axis=1), axis=0)
    rest /= (-member).add(inside.count(axis=1), axis=0)
    others = inside.drop(columns=3).mean(axis=1)
    np.testing.assert_allclose(rest[3], others, rtol=1e-12)
    from_rest = catalogue.spillover.SPILLOVER.run(spread, rest, numbers=(126, 5, 0.01))[0]
    same(values(market, "research").field("SPILLOVER_FROM126"), from_rest, atol=1e-5)
