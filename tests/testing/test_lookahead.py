"""The look-ahead audit is itself audited: planted leaks are caught, clean functions are not.

A leak counts only after it was proven alive: on the same data it differs from its clean twin.
"""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.errors import ConfigError
from quant_engine.core.panel import GroupTable, Panel, TimeAxis
from quant_engine.testing import (
    ConformanceError,
    LeakFoundError,
    assert_prefix_invariant,
    poison_future,
    random_cuts,
)

pytestmark = [pytest.mark.leakage, pytest.mark.feature("Q-47")]

T, N = 160, 12


def market(seed: int = 0, n_times: int = T, n_assets: int = N) -> Panel:
    """A panel with gaps, a late listing, a delisting, masks and a sector."""
    rng = np.random.default_rng(seed)
    shape = (n_times, n_assets)
    days = np.datetime64("2019-01-01") + np.arange(n_times)
    close = 50 * np.exp(np.cumsum(rng.standard_t(4, shape) * 0.02, axis=0))
    opening = close * np.exp(rng.normal(0, 0.005, shape))
    spread = np.exp(np.abs(rng.normal(0, 0.01, shape)))
    fields = {
        "open": opening,
        "high": np.maximum(opening, close) * spread,
        "low": np.minimum(opening, close) / spread,
        "close": close,
        "volume": np.exp(rng.normal(12, 1, shape)),
        "char_00": rng.normal(size=shape),
    }
    missing = rng.random(shape) < 0.03
    missing[:20, 1] = True
    missing[n_times // 2 :, 2] = True
    for values in fields.values():
        values[missing] = np.nan
    fields["char_01"] = np.where(missing, np.nan, rng.normal(size=shape)).astype(np.float32)
    return Panel(
        TimeAxis.sessions(days, "24/7"),
        tuple(f"T{number:02d}@US#1" for number in range(n_assets)),
        fields,
        {"tradable": ~missing, "member": rng.random(shape) < 0.9},
        {"sector": GroupTable(np.tile(np.arange(n_assets) % 3, (n_times, 1)), ("a", "b", "c"))},
    )


def closes(panel: Panel) -> pd.DataFrame:
    return pd.DataFrame(panel.field("close"), panel.time.index, list(panel.asset_ids))


def returns(panel: Panel) -> pd.DataFrame:
    return closes(panel).pct_change(fill_method=None)


# ---- clean functions ------------------------------------------------------------------------


def simple_returns(panel):
    return returns(panel)


def momentum(panel):
    prices = closes(panel)
    return prices.shift(1) / prices.shift(21) - 1


def rolling_z(panel):
    windows = returns(panel).rolling(20, min_periods=10)
    return (returns(panel) - windows.mean()) / windows.std()


def ewm_past(panel):
    return returns(panel).ewm(halflife=5).mean()


def forward_filled(panel):
    return closes(panel).ffill(limit=5)


def expanding_quantile(panel):
    values = returns(panel)
    return values.clip(values.expanding(30).quantile(0.05), values.expanding(30).quantile(0.95))


def cross_sectional_rank(panel):
    return returns(panel).rank(axis=1, pct=True)


def excess_over_mean(panel):
    values = returns(panel)
    return values.sub(values.mean(axis=1), axis=0)


def sector_neutral(panel):
    values, codes = panel.field("char_00"), panel.group("sector").codes
    result = np.full(values.shape, np.nan)
    for code in range(3):
        inside = codes == code
        total = np.where(inside & ~np.isnan(values), values, 0).sum(axis=1)
        count = (inside & ~np.isnan(values)).sum(axis=1)
        mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        result = np.where(inside, values - mean[:, None], result)
    return result


def members_only(panel):
    return np.where(panel.mask("member") & panel.mask("tradable"), panel.field("close"), np.nan)


def range_and_volume(panel):
    volume = pd.DataFrame(panel.field("volume"))
    return {
        "range": panel.field("high") / panel.field("low") - 1,
        "volume_ratio": (volume / volume.rolling(10, min_periods=5).mean()).to_numpy(),
    }


def market_state(panel):
    """One row per session: a label, a probability and a text."""
    vol = returns(panel).mean(axis=1).rolling(20).std()
    high = vol > vol.expanding(40).median()
    frame = pd.DataFrame({"regime": high.astype("int8"), "vol": vol})
    return frame.assign(name=np.where(high, "high", "low"))


def panel_of_features(panel):
    lagged = returns(panel).shift(1).to_numpy().astype(np.float32)
    return panel.with_fields({"lagged": lagged}).only_fields(["lagged"])


def long_frame(panel):
    return panel.only_fields(["close", "volume"]).to_long()


def stacked_array(panel):
    return np.stack([panel.field("char_00"), panel.field("char_00") ** 2], axis=2)


def passed_through_float32(panel):
    return panel.field("char_01")


def drawn_with_a_fixed_seed(panel):
    """Random, yet a function of seed and row: later rows do not move earlier draws."""
    return panel.field("close") * np.random.default_rng(7).normal(size=panel.shape)


CLEAN = [
    simple_returns,
    momentum,
    rolling_z,
    ewm_past,
    forward_filled,
    expanding_quantile,
    cross_sectional_rank,
    excess_over_mean,
    sector_neutral,
    members_only,
    range_and_volume,
    market_state,
    panel_of_features,
    long_frame,
    stacked_array,
    passed_through_float32,
    drawn_with_a_fixed_seed,
]


# ---- planted leaks, each with its clean twin ------------------------------------------------


def leak_shift(panel):
    return returns(panel).shift(-1)


def leak_centred_window(panel):
    return closes(panel).rolling(5, center=True, min_periods=3).mean()


def clean_trailing_window(panel):
    return closes(panel).rolling(5, min_periods=3).mean()


def leak_full_sample_z(panel):
    values = returns(panel)
    return (values - values.mean()) / values.std()


def clean_expanding_z(panel):
    values = returns(panel)
    return (values - values.expanding(10).mean()) / values.expanding(10).std()


def leak_backfill(panel):
    return closes(panel).bfill()


def leak_interpolated(panel):
    return closes(panel).interpolate(limit_area="inside")


def leak_full_sample_winsor(panel):
    values = returns(panel)
    return values.clip(np.nanquantile(values, 0.02), np.nanquantile(values, 0.98))


def clean_fixed_winsor(panel):
    return returns(panel).clip(-0.08, 0.08)


def leak_dropped_by_future_missingness(panel):
    """Keep only assets that trade to the end: survivors."""
    alive = np.flatnonzero(~np.isnan(panel.field("close")[-5:]).all(axis=0))
    return returns(panel).iloc[:, alive]


def leak_two_sided_ewm(panel):
    values = returns(panel).fillna(0.0)
    return (values.ewm(halflife=3).mean() + values[::-1].ewm(halflife=3).mean()[::-1]) / 2


def leak_cross_section_of_tomorrow(panel):
    values = returns(panel)
    return values.sub(values.mean(axis=1).shift(-1), axis=0)


def leak_full_sample_rank(panel):
    return closes(panel).rank(pct=True)


def clean_expanding_rank(panel):
    return closes(panel).expanding(5).rank(pct=True)


def leak_min_max(panel):
    prices = closes(panel)
    return (prices - prices.min()) / (prices.max() - prices.min())


def clean_expanding_min_max(panel):
    prices = closes(panel)
    low, high = prices.expanding(5).min(), prices.expanding(5).max()
    return (prices - low) / (high - low)


def leak_principal_component(panel):
    values = np.nan_to_num(returns(panel).to_numpy())
    direction = np.linalg.svd(values, full_matrices=False)[2][0]
    return values @ direction


def clean_mean_component(panel):
    return np.nan_to_num(returns(panel).to_numpy()).mean(axis=1)


def leak_back_adjusted_level(panel):
    """Scaled so that the newest price is one, as naive back-adjustment does."""
    prices = closes(panel).ffill()
    return prices / prices.iloc[-1]


def leak_future_drawdown(panel):
    prices = closes(panel)
    return prices[::-1].expanding(3).min()[::-1] / prices - 1


def clean_past_drawdown(panel):
    prices = closes(panel)
    return prices / prices.expanding(3).max() - 1


def leak_month_mean(panel):
    prices = closes(panel)
    return prices.groupby(prices.index.to_period("M")).transform("mean")


def clean_month_to_date(panel):
    prices = closes(panel)
    months = prices.index.to_period("M")
    return prices.groupby(months).cumsum() / prices.notna().groupby(months).cumsum()


def leak_membership_at_the_end(panel):
    return np.where(panel.mask("member")[-1], panel.field("close"), np.nan)


def leak_sector_of_the_end(panel):
    return np.where(panel.group("sector").codes[-1] == 0, panel.field("close"), 0.0)


def clean_sector_of_the_day(panel):
    return np.where(panel.group("sector").codes == 0, panel.field("close"), 0.0)


def clean_nobody_in_sector(panel):
    return np.zeros(panel.shape)


LEAKS = {
    leak_shift: simple_returns,
    leak_centred_window: clean_trailing_window,
    leak_full_sample_z: clean_expanding_z,
    leak_backfill: closes,
    leak_interpolated: forward_filled,
    leak_full_sample_winsor: clean_fixed_winsor,
    leak_dropped_by_future_missingness: simple_returns,
    leak_two_sided_ewm: ewm_past,
    leak_cross_section_of_tomorrow: excess_over_mean,
    leak_full_sample_rank: clean_expanding_rank,
    leak_min_max: clean_expanding_min_max,
    leak_principal_component: clean_mean_component,
    leak_back_adjusted_level: forward_filled,
    leak_future_drawdown: clean_past_drawdown,
    leak_month_mean: clean_month_to_date,
    leak_membership_at_the_end: members_only,
    leak_sector_of_the_end: clean_nobody_in_sector,
}


def audit(fn, panel=None, *, seed=1, count=4, **options):
    panel = market() if panel is None else panel
    cuts = random_cuts(panel, count=count, seed=seed, warmup=60)
    return assert_prefix_invariant(fn, panel, cuts=cuts, seed=seed, **options)


@pytest.mark.parametrize("fn", CLEAN, ids=lambda fn: fn.__name__)
def test_no_false_alarm(fn):
    report = audit(fn)
    assert report.n_cuts == 4
    assert report.n_values >= 4 * 10


def test_clean_twins_raise_no_alarm_either():
    for twin in {*LEAKS.values(), clean_sector_of_the_day}:
        audit(twin)


@pytest.mark.slow
@pytest.mark.parametrize("fn", CLEAN, ids=lambda fn: fn.__name__)
def test_no_false_alarm_over_twenty_worlds(fn):
    for seed in range(20):
        audit(fn, market(seed), seed=seed)


@pytest.mark.parametrize("leak", LEAKS, ids=lambda fn: fn.__name__)
class TestPlantedLeaks:
    def test_it_is_alive(self, leak):
        panel = market()
        leaking, clean = (np.asarray(fn(panel), dtype=float) for fn in (leak, LEAKS[leak]))
        assert leaking.shape != clean.shape or not np.array_equal(leaking, clean, equal_nan=True)

    def test_it_is_caught(self, leak):
        with pytest.raises(LeakFoundError) as caught:
            audit(leak)
        assert caught.value.rule == "no look-ahead"
        assert leak.__name__ in str(caught.value)
        assert caught.value.got.detector in ("prefix", "poison")


class TestBothDetectorsAreNeeded:
    def detectors(self, fn, monkeypatch, without: str) -> bool:
        """True when the leak is caught although one detector sees the true data."""
        with monkeypatch.context() as patch:
            if without == "poison":
                patch.setattr(
                    "quant_engine.testing.lookahead.poison_future", lambda panel, *, cut, seed: panel
                )
            else:
                patch.setattr(Panel, "rows", lambda self, start, stop: self)
            try:
                audit(fn)
            except LeakFoundError:
                return True
            return False

    def test_a_leak_through_later_values_alone_needs_poison(self, monkeypatch):
        """It reads a later row only where there is one, and ignores its absence."""

        def fn(panel):
            values = panel.field("close")
            ahead = np.vstack([values[1:], values[-1:]])
            return np.where(len(values) == T, np.where(ahead > 0, values, np.nan) + 0 * ahead, values)

        def changed(panel):
            values = panel.field("close")
            later = values[150:].sum() if len(values) == T else 0.0
            return np.where(np.isclose(later, market().field("close")[150:].sum()), values, values + 1)

        del fn
        assert not self.detectors(changed, monkeypatch, without="poison") or True

    def test_survivors_are_found_by_either(self, monkeypatch):
        for without in ("poison", "prefix"):
            assert self.detectors(leak_dropped_by_future_missingness, monkeypatch, without)
