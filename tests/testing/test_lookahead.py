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


def leak_seen_by_poison_alone(panel):
    """Blank prices that triple later; in the true data none does, so cutting it off is harmless."""
    prices = closes(panel)
    best_later = prices[::-1].expanding().max()[::-1]
    return prices.where(best_later / prices < 3)


def leak_seen_by_prefix_alone(panel):
    """Position relative to the end of the data: no value of a later row is read."""
    return np.arange(len(panel.time)) / len(panel.time)


class TestBothDetectorsAreNeeded:
    def test_poison(self):
        pd.testing.assert_frame_equal(leak_seen_by_poison_alone(market()), closes(market()))
        with pytest.raises(LeakFoundError) as caught:
            audit(leak_seen_by_poison_alone, count=8)
        assert caught.value.got.detector == "poison"

    def test_prefix(self):
        with pytest.raises(LeakFoundError) as caught:
            audit(leak_seen_by_prefix_alone)
        assert caught.value.got.detector == "prefix"
        poisoned = poison_future(market(), cut=100, seed=1)
        same = leak_seen_by_prefix_alone(market()) == leak_seen_by_prefix_alone(poisoned)
        assert same.all()

    def test_one_row_would_miss_a_full_sample_limit(self):
        """The reason for ten rows: at some cuts no value of the last row stands at the limit."""
        whole = leak_full_sample_winsor(market()).to_numpy()
        missed = []
        for cut in range(60, 150):
            part = leak_full_sample_winsor(market().rows(0, cut + 1)).to_numpy()
            same = [
                np.array_equal(whole[r], part[r], equal_nan=True) for r in range(cut - 9, cut + 1)
            ]
            missed.append(same[-1] and not all(same))
        assert sum(missed) > 10


class TestReport:
    def test_the_first_difference_is_named(self):
        def late_leak(panel):
            """Leaks in one field, for one asset, on the last two rows before the end."""
            values = np.array(panel.field("close"))
            values[-2:, 3] = -1.0
            return {"clean": panel.field("open"), "late": values}

        with pytest.raises(LeakFoundError) as caught:
            assert_prefix_invariant(late_leak, market(), cuts=[100], seed=0)
        found = caught.value.got
        session = str(market().time.values[99])
        assert (found.detector, found.field, found.session) == ("prefix", "late", session)
        assert (found.asset, found.cut) == ("T03@US#1", str(market().time.values[100]))
        assert (found.before, found.after) == (market().field("close")[99, 3], -1.0)
        assert f"late at {session} of T03@US#1" in str(caught.value)

    def test_masks_groups_and_texts_are_compared_too(self):
        def mask_of_the_end(panel):
            return panel.with_masks(
                {"member": np.tile(panel.mask("member")[-1], (len(panel.time), 1))}
            )

        def group_of_the_end(panel):
            codes = np.tile(
                (panel.group("sector").codes[-1:] + len(panel.time)) % 3, (len(panel.time), 1)
            )
            return panel.with_groups({"sector": GroupTable(codes, ("a", "b", "c"))})

        def text_of_the_end(panel):
            last = "up" if np.nansum(panel.field("char_00")[-1]) > 0 else "down"
            return pd.DataFrame({"x": 1.0, "trend": last}, panel.time.index)

        for fn, name in ((mask_of_the_end, "mask member"), (group_of_the_end, "group sector")):
            with pytest.raises(LeakFoundError) as caught:
                audit(fn)
            assert caught.value.got.field == name
        with pytest.raises(LeakFoundError) as caught:
            audit(text_of_the_end, count=8)
        assert caught.value.got.field == "trend"

    def test_a_lost_row_is_a_difference(self):
        def without_last_rows(panel):
            return panel.only_fields(["close"]).to_long().iloc[:-50]

        with pytest.raises(LeakFoundError) as caught:
            audit(without_last_rows)
        assert caught.value.got.after is None

    def test_the_last_bit_and_the_sign_of_zero_count(self):
        def last_bit(panel):
            values = panel.field("close")
            return np.nextafter(values, np.inf) if len(values) == T else values

        def negative_zero(panel):
            return np.full(panel.shape, 0.0 if len(panel.time) == T else -0.0)

        for fn in (last_bit, negative_zero):
            with pytest.raises(LeakFoundError):
                audit(fn)


class TestRefusals:
    def test_a_function_that_is_not_repeatable(self):
        rng = np.random.default_rng(0)
        with pytest.raises(ConformanceError) as caught:
            audit(lambda panel: rng.normal(size=panel.shape))
        assert caught.value.rule == "repeatable"
        assert not isinstance(caught.value, LeakFoundError)

    def test_a_warm_up_longer_than_the_past_proves_nothing(self):
        def long_warmup(panel):
            return {
                "short": closes(panel).to_numpy(),
                "long": closes(panel).shift(T - 1).to_numpy(),
            }

        with pytest.raises(ConformanceError) as caught:
            audit(long_warmup)
        assert caught.value.rule == "something to compare"
        assert "['long']" in str(caught.value)

    def test_arrays_without_labels_need_every_row(self):
        with pytest.raises(ConformanceError) as caught:
            audit(lambda panel: panel.field("close")[10:])
        assert caught.value.rule == "one row per time"

    @pytest.mark.parametrize("make", [
        lambda panel: pd.DataFrame({"x": np.arange(len(panel.time))}),
        lambda panel: pd.concat([closes(panel), closes(panel)]),
    ])  # fmt: skip
    def test_frames_need_times_without_repetition(self, make):
        with pytest.raises(ConformanceError) as caught:
            audit(make)
        assert caught.value.rule == "labelled rows"

    @pytest.mark.parametrize("cuts", [[], [8], [T - 1], [-1], [100, T]])
    def test_cuts_need_rows_before_and_after(self, cuts):
        with pytest.raises(ConfigError, match="cuts: wanted row positions from 9 to 158"):
            assert_prefix_invariant(closes, market(), cuts=cuts, seed=0)

    def test_fewer_than_ten_rows(self):
        with pytest.raises(ConfigError, match="rows: wanted at least 10, got 9"):
            assert_prefix_invariant(closes, market(), cuts=[50], seed=0, rows=9)

    def test_an_error_of_the_function_says_where_it_happened(self):
        def fails_on_less(panel):
            if len(panel.time) < T:
                raise ZeroDivisionError("no")
            return panel.field("close")

        with pytest.raises(ZeroDivisionError) as caught:
            audit(fails_on_less)
        assert "while fails_on_less ran on prefix at cut 2019" in caught.value.__notes__[0]


class TestPoison:
    def test_the_past_is_the_same_bits_and_the_future_is_another_one(self):
        panel = market()
        poisoned = poison_future(panel, cut=90, seed=3)
        assert (poisoned.time, poisoned.asset_ids) == (panel.time, panel.asset_ids)
        for name, values in panel.fields.items():
            other = poisoned.field(name)
            assert other.dtype == values.dtype
            assert other[:91].tobytes() == values[:91].tobytes()
            present = ~np.isnan(values[91:]) & ~np.isnan(other[91:])
            assert present.sum() > 200
            assert (values[91:][present] != other[91:][present]).all()
        for name, mask in panel.masks.items():
            assert (poisoned.mask(name)[:91] == mask[:91]).all()
            assert (poisoned.mask(name)[91:] != mask[91:]).mean() > 0.2
        codes = panel.group("sector").codes
        assert (poisoned.group("sector").codes[:91] == codes[:91]).all()
        assert (poisoned.group("sector").codes[91:] != codes[91:]).mean() > 0.4

    def test_bars_stay_well_formed_and_positive(self):
        poisoned = poison_future(market(), cut=20, seed=5)
        bars = {
            name: poisoned.field(name)[21:] for name in ("open", "high", "low", "close", "volume")
        }
        known = ~np.isnan(bars["close"])
        assert (bars["high"] >= np.maximum(bars["open"], bars["close"]))[known].all()
        assert (bars["low"] <= np.minimum(bars["open"], bars["close"]))[known].all()
        assert (bars["low"][known] > 0).all()
        assert (bars["volume"][known] > 0).all()

    def test_missing_cells_are_drawn_anew_and_some_assets_vanish(self):
        panel = market(n_assets=60)
        poisoned = poison_future(panel, cut=60, seed=2)
        before, after = (np.isnan(p.field("close")[61:]) for p in (panel, poisoned))
        assert (before & ~after).any()
        assert (~before & after).any()
        assert after[-1].mean() > 0.15
        assert not (poisoned.mask("tradable")[61:] & after).any()

    def test_seeds(self):
        one, two, three = (
            poison_future(market(), cut=50, seed=s).field("close") for s in (1, 1, 2)
        )
        assert one.tobytes() == two.tobytes()
        assert one.tobytes() != three.tobytes()

    def test_assets_and_fields_that_were_never_seen(self):
        values = np.full((30, 2), np.nan)
        values[:, 1] = 5.0
        axis = TimeAxis.sessions(np.datetime64("2020-01-01") + np.arange(30))
        panel = Panel(axis, ("A", "B"), {"close": values, "empty": np.full((30, 2), np.nan)})
        poisoned = poison_future(panel, cut=10, seed=0)
        assert np.isfinite(poisoned.field("close")[11:]).any(axis=0).all()
        assert np.isfinite(poisoned.field("empty")[11:]).any()

    def test_the_true_panel_is_left_alone(self):
        panel = market()
        before = {name: values.tobytes() for name, values in panel.fields.items()}
        poison_future(panel, cut=30, seed=1)
        assert {name: values.tobytes() for name, values in panel.fields.items()} == before


class TestRandomCuts:
    def test_range_order_and_seed(self):
        panel = market()
        cuts = random_cuts(panel, count=30, seed=4, warmup=100)
        assert len(cuts) == 30
        assert list(cuts) == sorted(set(cuts))
        assert min(cuts) >= 100
        assert max(cuts) <= T - 2
        assert cuts == random_cuts(panel, count=30, seed=4, warmup=100)
        assert cuts != random_cuts(panel, count=30, seed=5, warmup=100)
        assert len(random_cuts(panel, count=500, seed=0, warmup=100)) == T - 101

    def test_no_room(self):
        with pytest.raises(ConfigError, match="warmup"):
            random_cuts(market(), count=1, seed=0, warmup=T - 1)


def test_reports_can_be_compared_and_changed_copies_made():
    report = audit(simple_returns)
    assert dataclasses.replace(report, n_cuts=1) != report
    assert report.fields == ("value",)
