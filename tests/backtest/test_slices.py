"""Slices and evaluation: every figure a second time, and thin slices marked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from quant_engine.backtest.evaluation import (
    decile_spread,
    ic_decay,
    recovery_times,
    rolling_ic,
    sign_calibration,
    top_trade_share,
)
from quant_engine.backtest.slices import (
    MIN_OBS,
    PHASES,
    SLICE_COLUMNS,
    PhaseConfig,
    market_phases,
    positive_share,
    slice_table,
)
from quant_engine.core.errors import ConfigError, DataError

pytestmark = pytest.mark.feature("T-12")


def named(returns, **changes):
    return [PHASES[code] for code in market_phases(returns, PhaseConfig(**changes))]


def record(n_rows=60):
    rng = np.random.default_rng(4)
    net = rng.normal(0.001, 0.01, n_rows)
    sessions = pd.bdate_range("2020-12-15", periods=n_rows).rename("session")
    daily = pd.DataFrame(
        {
            "ret_net": net,
            "equity": 100.0 * np.cumprod(1.0 + net),
            "gross_exposure": 1.0,
            "net_exposure": np.linspace(-0.1, 0.1, n_rows),
            "regime": np.where(np.arange(n_rows) < 15, 1, 0),
        },
        index=sessions,
    )
    trades = pd.DataFrame(
        {
            "asset_id": ["A", "B", "A", "C"],
            "entry_session": sessions[[0, 20, 21, 50]],
            "pnl_net": [1.0, 2.0, -4.0, 8.0],
        }
    )
    return daily, trades


@pytest.mark.feature("Q-48")
def test_phases_of_a_market_that_falls_and_comes_back():
    rng = np.random.default_rng(0)
    windows = {"trend_sessions": 20, "vol_sessions": 10}
    calm = 0.002 + 0.002 * rng.standard_normal(120)
    fall, rise = np.full(40, -0.008), np.full(120, 0.004)
    found = named(np.concatenate((calm, fall, rise)), **windows, high_vol_quantile=0.99)
    assert set(found[:19]) == {"unknown"}
    assert found[110] == "normal"
    assert found[155] == "crash"
    assert found[185] == "recovery"
    assert found[-1] == "normal"


@pytest.mark.feature("Q-48")
def test_wild_and_trendless_markets_are_named():
    # A zigzag goes nowhere; its last part swings five times as far.
    zigzag = np.tile([0.001, -0.001], 100)
    wild = np.concatenate((zigzag, 5.0 * zigzag[:30]))
    found = named(wild, trend_sessions=20, vol_sessions=10)
    assert found[100] == "trendless"
    assert found[-1] == "high_vol"
    assert named([float("nan")] * 5) == ["unknown"] * 5


def test_slices_cover_the_record_and_agree_with_pandas():
    daily, trades = record()
    phases = np.where(np.arange(60) < 30, 1, 5)
    sectors = pd.Series({"A": "one", "B": "two"})
    table = slice_table(daily, trades, phases=phases, sectors=sectors, periods_per_year=252.0)
    assert tuple(table.columns) == SLICE_COLUMNS
    by = table.set_index(["dimension", "slice"])
    for dimension in ("phase", "regime", "year"):
        assert by.loc[dimension, "n_obs"].sum() == 60
        assert by.loc[dimension, "n_trades"].sum() == 4
        total = daily["equity"].iloc[-1] - 100.0
        assert by.loc[dimension, "pnl_net"].sum() == pytest.approx(total)
    crash = daily["ret_net"].iloc[:30]
    row = by.loc[("phase", "crash")]
    assert row["sharpe"] == pytest.approx(crash.mean() / crash.std() * np.sqrt(252))
    assert row["annual_return"] == pytest.approx((1 + crash).prod() ** (252 / 30) - 1)
    assert row["avg_net_exposure"] == pytest.approx(daily["net_exposure"].iloc[:30].mean())
    assert by.loc[("sector", "one"), "pnl_net"] == -3.0
    assert by.loc[("sector", "unknown"), "n_obs"] == 1


@pytest.mark.feature("Q-48")
def test_fewer_than_twenty_observations_are_thin_and_decide_nothing():
    daily, trades = record()
    table = slice_table(daily, trades, phases=np.full(60, 5), sectors=None, periods_per_year=252.0)
    by = table.set_index(["dimension", "slice"])
    assert MIN_OBS == 20
    assert bool(by.loc[("regime", "bear_trend"), "is_thin"])
    assert not by.loc[("regime", "bull_trend"), "is_thin"]
    judged = by.loc[("regime", "bull_trend"), "annual_return"] > 0
    assert positive_share(table, "regime") == float(judged)
    assert np.isnan(positive_share(table, "sector"))
    with pytest.raises(DataError, match="one per session"):
        slice_table(daily, trades, phases=np.zeros(3, int), sectors=None, periods_per_year=252.0)


@pytest.mark.feature("Q-48")
def test_a_fading_signal_is_seen():
    rng = np.random.default_rng(1)
    series = np.concatenate((rng.normal(0.05, 0.01, 300), rng.normal(0.0, 0.01, 60)))
    assert ic_decay(series) == pytest.approx(series[:300].mean() - series[300:].mean())
    assert ic_decay(series) > 0.02 > abs(ic_decay(series[:300]))
    assert np.isnan(ic_decay(series[:119]))
    rolled = rolling_ic(np.insert(series, 100, np.nan), sessions=60)
    assert np.isnan(rolled[100])
    assert rolled[-1] == pytest.approx(series[-60:].mean())
    with pytest.raises(ConfigError):
        rolling_ic(series, sessions=1)


def test_the_spread_of_deciles_is_that_of_a_sort():
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(40, 50))
    outcomes = 0.01 * scores + 0.02 * rng.normal(size=scores.shape)
    found = decile_spread(scores, outcomes, lags=1)
    by_hand = []
    for score, outcome in zip(scores, outcomes, strict=True):
        order = outcome[np.argsort(score)]
        by_hand.append(order[-5:].mean() - order[:5].mean())
    assert found["mean"] == pytest.approx(np.mean(by_hand))
    assert found["n_sessions"] == 40
    assert found["t"] > 3.0
    assert spearmanr(scores[0], outcomes[0]).statistic > 0.0


def test_confidence_is_compared_with_what_came():
    table = sign_calibration([0.55, 0.56, 0.95, np.nan], [1.0, 0.0, 1.0, 1.0])
    by_bin = table.set_index(table["bin_low"].round(1))
    assert by_bin.loc[0.5, "frequency"] == 0.5
    assert by_bin.loc[0.9, "n_obs"] == 1
    assert sign_calibration([np.nan], [1.0]).empty


@pytest.mark.feature("Q-48")
def test_concentration_and_recovery():
    assert top_trade_share([1.0, 1.0, 1.0, 1.0], n_trades=2) == 0.5
    assert top_trade_share([5.0, 5.0, -2.0, -3.0], n_trades=2) == 2.0
    assert np.isnan(top_trade_share([1.0, -2.0]))
    # Two sessions below the peak, then four, then one that has not ended.
    returns = [0.0, -0.1, 0.0, 0.2, -0.1, 0.0, 0.0, 0.0, 0.2, -0.05]
    found = recovery_times(returns)
    assert found == {"n_spells": 3.0, "longest": 4.0, "median": 2.0, "open": 1.0, "trend": 2.0}
    assert np.isnan(recovery_times([0.1, 0.1])["longest"])
