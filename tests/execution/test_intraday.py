"""Prices of sliced orders, derived again with the schedules of single orders."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.backtest import BacktestConfig, Backtester, PortfolioConfig
from quant_engine.core.errors import ConfigError, IdentityError, MissingFieldError
from quant_engine.core.panel import Panel, PriceBasis, TimeAxis
from quant_engine.execution import (
    CostProfile,
    scheduled_prices,
    slice_order,
    twap_weights,
    volume_profile,
    volume_weighted_price,
    vwap_weights,
)

pytestmark = pytest.mark.feature("Q-35")

NAMES = ("B@US#1", "A@US#1")
N_DAYS, N_BUCKETS = 12, 6


def market(seed, gaps=0.15):
    rng = np.random.default_rng(seed)
    days = np.arange("2024-03-04", "2024-03-20", dtype="datetime64[D]")
    days = days[np.is_busday(days)][:N_DAYS]
    # Clocks change on 10 March: the same buckets, an hour earlier.
    opens = np.where(days < np.datetime64("2024-03-10"), 870, 810)
    times = [
        (day.astype("datetime64[m]") + minute + 65 * (b + 1)).astype("datetime64[us]")
        for day, minute in zip(days, opens, strict=True)
        for b in range(N_BUCKETS)
    ]
    shape = (len(times), 2)
    price = 50.0 * np.exp(np.cumsum(rng.normal(0, 0.01, shape), axis=0))
    price[rng.random(shape) < gaps] = np.nan
    fields = {
        "high": price * 1.01, "low": price * 0.98, "close": price,
        "volume": np.where(np.isnan(price), np.nan, rng.lognormal(8, 1, shape)),
    }  # fmt: skip
    bars = Panel(TimeAxis("bar", np.array(times), "XNYS", 3900), NAMES, fields)
    close = price[N_BUCKETS - 1 :: N_BUCKETS]
    daily = Panel(TimeAxis.sessions(days), NAMES[::-1], {"close": close[:, ::-1]})
    return bars, daily


@pytest.mark.parametrize("seed", range(4))
def test_equals_an_order_sliced_by_hand(seed):
    bars, daily = market(seed)
    found = scheduled_prices(bars, daily, history_sessions=4, min_sessions=3)
    proxy = (bars.field("high") + bars.field("low") + bars.field("close")) / 3.0
    for column, asset in enumerate(daily.asset_ids):
        source = bars.asset_ids.index(asset)
        price = proxy[:, source].reshape(N_DAYS, N_BUCKETS)
        volume = bars.field("volume")[:, source].reshape(N_DAYS, N_BUCKETS)
        for day in range(N_DAYS):
            past = volume[max(0, day - 4) : day]
            weights = twap_weights(N_BUCKETS)
            if (np.nansum(past, axis=1) > 0.0).sum() >= 3:
                weights = vwap_weights(volume_profile(past, min_sessions=3))
            # One share is far below any bucket's volume, so only absent bars hold it back.
            made = slice_order(
                1.0, weights, expected_volume=volume[day], participation_cap_frac=1.0
            )
            wanted = volume_weighted_price(price[day], made.shares)
            assert found[day, column] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.leakage
def test_a_price_reads_the_past_for_its_slices_and_the_session_for_its_prices():
    bars, daily = market(9, gaps=0.0)
    before = scheduled_prices(bars, daily, history_sessions=3, min_sessions=2)
    volume = bars.field("volume").copy()
    volume[7 * N_BUCKETS :] *= np.random.default_rng(1).uniform(1, 9, volume[7 * N_BUCKETS :].shape)
    after = scheduled_prices(
        bars.with_fields({"volume": volume}), daily, history_sessions=3, min_sessions=2
    )
    np.testing.assert_array_equal(before[:8], after[:8])  # row 7 trades on the profile before it
    assert (before[8:] != after[8:]).all()


def test_a_book_fills_at_the_price_of_its_schedule():
    bars, daily = market(2, gaps=0.0)
    close = daily.field("close")
    fields = {"open": close, "close": close, "volume": np.full(close.shape, 1e6)}
    panel = daily.with_fields({**fields, "vwap": scheduled_prices(bars, daily)})
    book = PortfolioConfig(mode="long_only", names_per_side=1, max_weight_frac=1.0)
    engine = Backtester(BacktestConfig(portfolio=book, fill="next_vwap"))
    free = CostProfile(name="free", fee_bps=0, half_spread_bps=0, impact_coef_bps=0,
                       borrow_bps_ann=0, participation_cap_frac=None)  # fmt: skip
    orders = engine.run(np.tile([2.0, 1.0], (N_DAYS, 1)), panel, costs=free).orders
    assert orders["reference_price"].iloc[0] == scheduled_prices(bars, daily)[1, 0]


def test_bars_that_do_not_fit_are_refused():
    bars, daily = market(0)
    with pytest.raises(ConfigError, match="bars and one of sessions"):
        scheduled_prices(daily, bars)
    with pytest.raises(ConfigError, match="from 1 to history_sessions"):
        scheduled_prices(bars, daily, history_sessions=3)
    with pytest.raises(IdentityError, match="B@US#1"):
        scheduled_prices(bars.columns(np.array([1])), daily)
    with pytest.raises(MissingFieldError, match="no high, low"):
        scheduled_prices(bars.only_fields(["close", "volume"]), daily)
    raw = Panel(bars.time, bars.asset_ids, bars.fields, price_basis=PriceBasis.RAW)
    with pytest.raises(ConfigError, match="price_basis"):
        scheduled_prices(raw, daily)
