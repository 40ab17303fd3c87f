"""Regimes: ranks and deviations against plain loops, filtered, unknown without a history."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.errors import ConfigError, MissingFieldError
from quant_engine.kalshi.regimes import (
    Activity,
    Liquidity,
    RegimeConfig,
    ReleaseWindow,
    event_regimes,
    regime_names,
)

pytestmark = pytest.mark.feature("Q-45")

DAY = 86_400_000_000
HORIZONS = (2 * 86_400, 86_400, 3_600)


def make_panel(n_days=40, seed=3):
    """Two events a day in one cluster; volume and spread wander, one day jumps."""
    rng = np.random.default_rng(seed)
    keys = [(2 * d + s, h) for d in range(n_days) for s in (0, 1) for h in HORIZONS]
    cells = pd.DataFrame(
        {
            "family": pd.array(["f"] * len(keys), "string"),
            "cluster_id": pd.array([e // 2 for e, _ in keys], "Int64"),
            "asof_us": [(10 + e // 2) * DAY - h * 1_000_000 for e, h in keys],
            "n_legs": 5,
            "n_usable": 5,
            "sd": 2.0,
            "HALF_SPREAD": rng.uniform(0.5, 6.0, len(keys)),
            "CONTRACTS_24H": rng.uniform(0.0, 1e5, len(keys)),
            "SPEED_6H": np.exp(rng.normal(-2.0, 0.4, len(keys))),
        },
        index=pd.MultiIndex.from_tuples(keys, names=["event_id", "horizon_s"]),
    )
    cells.loc[[(60, h) for h in HORIZONS], "SPEED_6H"] = 9.0
    cells.loc[(50, 3_600), ["n_usable", "HALF_SPREAD"]] = [0, np.nan]
    return SimpleNamespace(looks=cells)


@pytest.fixture(scope="module")
def panel():
    return make_panel()


@pytest.fixture(scope="module")
def regimes(panel):
    return event_regimes(panel, RegimeConfig(least=10, clusters=20))


def test_tags_by_plain_loops(panel, regimes):
    cells = panel.looks.reset_index()
    score = np.log1p(cells["CONTRACTS_24H"]) - np.log(cells["HALF_SPREAD"] + 0.5)
    score[cells["n_usable"] == 0] = -np.inf
    speed = np.log(cells["SPEED_6H"] / cells["sd"] + 1e-3)
    for place, cell in cells.iterrows():
        past = cells[
            (cells["horizon_s"] == cell.horizon_s)
            & (cells["asof_us"] < cell.asof_us)
            & (cells["cluster_id"] < cell.cluster_id)
            & (cells["cluster_id"] >= cell.cluster_id - 20)
        ].index
        found = regimes.iloc[place]
        if len(past) < 10:
            assert found["liquidity"] == Liquidity.UNKNOWN
            assert found["activity"] == Activity.UNKNOWN
            continue
        rank = np.mean(
            [1.0 if score[p] < score[place] else 0.5 * (score[p] == score[place]) for p in past]
        )
        assert found["liquidity_rank"] == pytest.approx(rank)
        wanted = 0 if rank < 1 / 3 else 1 if rank < 2 / 3 else 2
        assert found["liquidity"] == wanted
        median = np.median(speed[past])
        mad = 1.4826 * np.median(np.abs(speed[past] - median))
        assert found["activity_score"] == pytest.approx((speed[place] - median) / mad)


def test_a_jump_is_jumpy_and_an_empty_ladder_is_thin(regimes):
    assert (regimes.loc[60, "activity"] == Activity.JUMPY).all()
    assert (regimes["activity"] == Activity.JUMPY).sum() < 12
    assert regimes.loc[(50, 3_600), "liquidity"] == Liquidity.THIN
    assert regimes.loc[(50, 3_600), "liquidity_rank"] == 0.0


def test_the_window_is_that_of_the_horizon(regimes):
    found = regimes["window"].groupby(level="horizon_s").unique()
    assert {h: [int(v) for v in values] for h, values in found.items()} == {
        HORIZONS[0]: [ReleaseWindow.FAR],
        HORIZONS[1]: [ReleaseWindow.NEAR],
        HORIZONS[2]: [ReleaseWindow.PRE_RELEASE],
    }
    assert {str(regimes[name].dtype) for name in ("liquidity", "activity", "window")} == {"int8"}


def test_tags_have_names(regimes):
    names = regime_names(regimes)
    assert set(names) == {"unknown", "thin", "normal", "deep"}
    assert (names == "unknown").sum() == (regimes["liquidity"] == -1).sum()
    assert set(regime_names(regimes, "window")) == {"far", "near", "pre_release"}
    with pytest.raises(ConfigError, match="activity"):
        regime_names(regimes, "mood")


@pytest.mark.leakage
def test_later_events_and_the_own_cluster_change_no_tag(panel, regimes):
    config = RegimeConfig(least=10, clusters=20)
    until = panel.looks["asof_us"] <= 35 * DAY
    spoilt = panel.looks.copy()
    spoilt.loc[~until, ["HALF_SPREAD", "CONTRACTS_24H", "SPEED_6H"]] = 1e9
    again = event_regimes(SimpleNamespace(looks=spoilt), config)
    pd.testing.assert_frame_equal(again[until], regimes[until])
    removed = event_regimes(SimpleNamespace(looks=panel.looks[until]), config)
    pd.testing.assert_frame_equal(removed, regimes[until])
    twin = panel.looks.copy()
    twin.loc[[(41, h) for h in HORIZONS], "SPEED_6H"] = 1e9
    other = event_regimes(SimpleNamespace(looks=twin), config)
    pd.testing.assert_frame_equal(other.loc[[40]], regimes.loc[[40]])
    # Alive: the whole sample would have known better.
    assert not event_regimes(SimpleNamespace(looks=spoilt), config).equals(regimes)


def test_what_is_not_known_is_unknown(panel):
    cells = panel.looks.assign(SPEED_6H=np.nan)
    found = event_regimes(SimpleNamespace(looks=cells), RegimeConfig(least=10))
    assert (found["activity"] == Activity.UNKNOWN).all()
    assert found["activity_score"].isna().all()
    still = panel.looks.assign(SPEED_6H=1.0)
    flat = event_regimes(SimpleNamespace(looks=still), RegimeConfig(least=10))
    assert (flat["activity"] == Activity.UNKNOWN).all()


def test_settings_and_columns_are_checked(panel):
    with pytest.raises(MissingFieldError, match="HALF_SPREAD"):
        event_regimes(SimpleNamespace(looks=panel.looks.drop(columns="HALF_SPREAD")))
    for changed in ({"thin": 0.9}, {"least": 1}, {"near_s": 60}, {"deviations": 0.0}):
        with pytest.raises(ConfigError, match="thin <= deep"):
            RegimeConfig(**changed)
