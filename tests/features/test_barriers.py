"""Triple-barrier labels against a plain loop, and what they may depend on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import ConfigError, DataError, MissingFieldError
from quant_engine.core.panel import Panel, PriceBasis, TimeAxis
from quant_engine.execution.delistings import TerminalReturns, parse_delistings
from quant_engine.features.barrier_inputs import (
    barrier_events,
    events_of_mask,
    price_paths,
)
from quant_engine.features.barriers import (
    BARRIERS,
    CLOSE_TO_CLOSE,
    PRICE_TYPES,
    BarrierConfig,
    barrier_label_panel,
    barrier_labels,
)
from quant_engine.features.event_weights import average_uniqueness, span_rows
from quant_engine.features.labels import LabelConfig, forward_labels
from quant_engine.stats.splits import PurgedKFoldConfig, label_spans, purged_kfold
from quant_engine.testing.poison import poison_future

pytestmark = [pytest.mark.feature("Q-22"), pytest.mark.feature("D-11")]

CONFIGS = {
    "bars": BarrierConfig(profit_multiple=1.5, stop_multiple=1.0, holding_bars=8),
    "bars_from_close": BarrierConfig(entry_price="close", holding_bars=6, stop_multiple=0.0),
    "bars_without_end": BarrierConfig(holding_bars=None, profit_multiple=3.0, min_target_frac=0.01),
    "bars_whole": BarrierConfig(holding_bars=10, whole_windows=True, profit_multiple=0.0),
    "closes": BarrierConfig(path="closes", holding_bars=7, stop_multiple=1.0),
    "closes_lag": BarrierConfig(path="closes", entry_price="close", entry_lag=2, holding_bars=9),
    "afml": CLOSE_TO_CLOSE,
}


def market(seed=3, n_rows=60, n_assets=9):
    """Gaps, halts, dividends, missing opens, names that end, and a table of delistings."""
    rng = np.random.default_rng(seed)
    shape = (n_rows, n_assets)
    close = 30.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(shape), axis=0))
    opened = close * np.exp(0.012 * rng.standard_normal(shape))
    high = np.maximum(opened, close) * np.exp(0.01 * rng.random(shape))
    low = np.minimum(opened, close) * np.exp(-0.01 * rng.random(shape))
    halted = rng.random(shape) < 0.06
    for end, column in ((30, 1), (41, 4), (20, 6)):
        halted[end + 1 :, column % n_assets] = True
    fields = {"open": opened, "high": high, "low": low, "close": close}
    for values in fields.values():
        values[halted] = np.nan
    opened[rng.random(shape) < 0.04] = np.nan
    fields["dividend"] = np.where(rng.random(shape) < 0.06, 0.3, 0.0)
    days = np.datetime64("2020-01-01") + np.arange(n_rows)
    names = tuple(f"X{j}@US#1" for j in range(n_assets))
    panel = Panel(TimeAxis.sessions(days), names, fields, {"member": rng.random(shape) < 0.9})
    gone = pd.DataFrame(
        {
            "asset_id": ["X1@US#1", "X4@US#1"],
            "session": [days[0] + 30, days[0] + 44],
            "terminal_return": [-0.5, np.nan],
            "reason": ["bankruptcy", "merger"],
        }
    )
    return panel, gone


def random_events(panel, seed=0, count=500):
    rng = np.random.default_rng(seed)
    rows, assets = rng.integers(0, panel.shape[0], count), rng.integers(0, panel.shape[1], count)
    target = rng.uniform(0.005, 0.05, count)
    target[rng.random(count) < 0.05] = np.nan
    return rows, assets, target, rng.integers(-1, 2, count)


def reached(price, side, profit, stop):
    if side * price <= side * stop:
        return "stop"
    return "profit" if side * price > side * profit else None


def plain_touch(panel, deaths, config, row, asset, target, side):  # noqa: PLR0912, C901
    """One label by the text of the contract: (barrier, exit row, exit price type, exit price)."""
    o, h, lo, c = (panel.field(n)[:, asset] for n in ("open", "high", "low", "close"))
    n_rows, entry = len(c), row + config.entry_lag
    if entry >= n_rows or side == 0 or not target > config.min_target_frac:
        return "no_entry", None, "none", np.nan
    base = (o if config.entry_price == "open" else c)[entry]
    if np.isnan(base):
        return "no_entry", None, "none", np.nan
    end = None if config.holding_bars is None else entry + config.holding_bars
    if config.whole_windows and end is not None and end >= n_rows:
        return "open", None, "none", np.nan
    profit = stop = np.nan
    if config.profit_multiple:
        profit = base * (1.0 + side * config.profit_multiple * target)
    if config.stop_multiple:
        stop = base * (1.0 - side * config.stop_multiple * target)

    def beyond(price):
        if config.path == "bars":
            return reached(price, side, profit, stop)
        x = (price / base - 1.0) * side
        if config.profit_multiple and x > config.profit_multiple * target:
            return "profit"
        return "stop" if config.stop_multiple and x < -config.stop_multiple * target else None

    def last_close(until):
        closes = [c[r] for r in range(entry, until + 1) if not np.isnan(c[r])]
        if not closes:
            return np.nan
        dead = deaths.first_row[asset] <= until
        return closes[-1] * (1.0 + deaths.terminal_return_frac[asset] if dead else 1.0)

    def forced(way, r):
        price = last_close(r)
        if np.isnan(price):
            return "no_entry", None, "none", np.nan
        return beyond(price) or way, r, "last_close", price

    at_open = config.entry_price == "open"
    for r in range(entry, n_rows):
        if r >= deaths.first_row[asset] and np.isnan(o[r]) and np.isnan(c[r]):
            return forced("delisted", r)
        over = r == end
        if config.path == "closes":
            if beyond(c[r]):
                return beyond(c[r]), r, "close", c[r]
        elif over and at_open:
            if np.isnan(o[r]):
                return forced("vertical", r)
            return beyond(o[r]) or "vertical", r, "open", o[r]
        elif r > entry or at_open:
            # A bar without extremes did not trade.
            if not np.isnan(h[r]) and beyond(o[r]):
                return beyond(o[r]), r, "open", o[r]
            worst, best = (lo[r], h[r]) if side > 0 else (h[r], lo[r])
            if beyond(worst) == "stop":
                return "stop", r, "level", stop
            if beyond(best) == "profit":
                return "profit", r, "level", profit
        if over:
            return forced("vertical", r) if np.isnan(c[r]) else ("vertical", r, "close", c[r])
    return "open", None, "none", np.nan


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", [1, 2])
def test_labels_equal_a_plain_loop(name, seed):
    config = CONFIGS[name]
    panel, gone = market(seed)
    deaths = parse_delistings(gone, panel, TerminalReturns())
    rows, assets, target, side = random_events(panel, seed)
    paths = price_paths(panel, delistings=gone)
    events = barrier_events(paths, rows, assets, target_frac=target, side=side)
    labels = barrier_labels(paths, events, config)
    got = {
        key: labels.in_given_order(values)
        for key, values in (
            ("barrier", labels.barrier),
            ("row", labels.exit_row),
            ("price", labels.exit_price),
            ("ret", labels.ret_frac),
        )
    }
    cash, seen = panel.field("dividend"), set()
    for i, (row, asset) in enumerate(zip(rows, assets, strict=True)):
        way, exit_row, kind, price = plain_touch(
            panel, deaths, config, row, asset, target[i], side[i]
        )
        seen.add((way, kind))
        assert BARRIERS[int(got["barrier"][i])] == way
        assert PRICE_TYPES[got["price"][i]] == kind
        assert got["row"][i] == (-1 if exit_row is None else exit_row)
        want = np.nan
        if exit_row is not None:
            entry = row + config.entry_lag
            base = panel.field(config.entry_price)[entry, asset]
            paid = cash[entry + 1 : exit_row + 1, asset].sum()
            want = ((price + paid) / base - 1.0) * side[i]
        np.testing.assert_allclose(got["ret"][i], want, rtol=1e-12, atol=1e-15)
    assert len(seen) >= 5


def test_ten_thousand_random_paths_equal_the_plain_loop_bit_for_bit():
    """Without dividends every step is the same arithmetic, so the bits are equal too."""
    panel, gone = market(5, n_rows=120, n_assets=4)
    fields = {name: panel.field(name) for name in ("open", "high", "low", "close")}
    panel = dataclasses.replace(panel, fields=fields)
    deaths = parse_delistings(gone, panel, TerminalReturns())
    paths = price_paths(panel, delistings=gone)
    rows, assets, target, side = random_events(panel, 7, count=5_000)
    for name in ("bars", "closes"):
        events = barrier_events(paths, rows, assets, target_frac=target, side=side)
        labels = barrier_labels(paths, events, CONFIGS[name])
        ret = labels.in_given_order(labels.ret_frac)
        for i, (row, asset) in enumerate(zip(rows, assets, strict=True)):
            price = plain_touch(panel, deaths, CONFIGS[name], row, asset, target[i], side[i])[3]
            if np.isnan(ret[i]):
                assert np.isnan(price)
            else:
                base = fields["open"][row + 1, asset]
                assert ret[i] == (price / base - 1.0) * side[i]


def one_bar(opened, high, low, close, **settings):
    """A long position from an open of 100 through one more bar; stop 95, profit above 110."""
    fields = {
        "open": [100.0, 100.0, opened, 100.0],
        "high": [100.0, 101.0, high, 100.0],
        "low": [100.0, 99.0, low, 100.0],
        "close": [100.0, 100.0, close, 100.0],
    }
    axis = TimeAxis.sessions(np.datetime64("2020-01-01") + np.arange(4))
    panel = Panel(axis, ("A@US#1",), {k: np.array(v)[:, None] for k, v in fields.items()})
    paths = price_paths(panel)
    events = barrier_events(paths, [0], [0], target_frac=[0.05])
    labels = barrier_labels(paths, events, BarrierConfig(stop_multiple=1.0, **settings))
    return (
        BARRIERS[int(labels.barrier[0])],
        PRICE_TYPES[labels.exit_price[0]],
        round(float(labels.ret_frac[0]), 12),
        int(labels.exit_row[0]),
    )


@pytest.mark.parametrize(
    ("bar", "wanted"),
    [
        ((100.0, 111.0, 94.0, 100.0), ("stop", "level", -0.05, 2)),
        ((100.0, 111.0, 96.0, 100.0), ("profit", "level", 0.10, 2)),
        ((90.0, 112.0, 88.0, 100.0), ("stop", "open", -0.10, 2)),
        ((112.0, 113.0, 90.0, 100.0), ("profit", "open", 0.12, 2)),
        ((100.0, 109.0, 96.0, 100.0), ("vertical", "open", 0.0, 3)),
    ],
)
def test_ties_are_stops_and_gaps_fill_at_the_open(bar, wanted):
    assert one_bar(*bar, holding_bars=2) == wanted


def test_without_barriers_the_label_is_the_forward_return():
    panel, gone = market(11)
    free = BarrierConfig(profit_multiple=0.0, stop_multiple=0.0, holding_bars=10)
    paths = price_paths(panel, delistings=gone)
    everywhere = np.ones(panel.shape, dtype=bool)
    events = events_of_mask(paths, everywhere, np.full(panel.shape, 0.02))
    wide = barrier_label_panel(barrier_labels(paths, events, free), panel)
    plain = forward_labels(panel, LabelConfig(horizon_sessions=10, kinds=("ret",)), delistings=gone)
    got, want = wide.values.field("tb_ret_10b"), plain.values.field("fwd_ret_10s")
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)
    assert np.isfinite(want).sum() > 300
    np.testing.assert_array_equal(wide.span_start, plain.span_start)
    np.testing.assert_array_equal(wide.span_end, plain.span_end)


@pytest.mark.leakage
@pytest.mark.parametrize("name", CONFIGS)
def test_a_label_depends_on_its_span_alone(name):
    """Whatever comes after t1 is replaced: labels that were over by then keep every bit."""
    panel, gone = market(13)
    rows, assets, target, side = random_events(panel, 5)

    def run(changed):
        paths = price_paths(changed, delistings=gone)
        events = barrier_events(paths, rows, assets, target_frac=target, side=side)
        return barrier_labels(paths, events, CONFIGS[name])

    whole = run(panel)
    for cut in (20, 35, 50):
        other = run(poison_future(panel, cut=cut, seed=cut))
        over = whole.is_labelled & (whole.exit_row <= cut)
        # A payout is decided by the delisting table, and a poisoned asset may trade on.
        over &= whole.exit_price != PRICE_TYPES.index("last_close")
        assert over.sum() > 30
        for field in ("exit_row", "ret_frac", "barrier", "exit_price"):
            np.testing.assert_array_equal(getattr(whole, field)[over], getattr(other, field)[over])
        started = whole.is_labelled & (whole.entry_row > 0)
        early = Panel(
            panel.time,
            panel.asset_ids,
            {k: np.where(np.arange(60)[:, None] < cut, np.nan, v) for k, v in panel.fields.items()},
        )
        late = started & (whole.entry_row >= cut)
        np.testing.assert_array_equal(run(early).ret_frac[late], whole.ret_frac[late])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.5, 2.0, 1024.0]))
def test_units_and_the_order_of_events_do_not_matter(seed, scale):
    panel, gone = market(seed, n_rows=30, n_assets=3)
    rows, assets, target, side = random_events(panel, seed, count=40)

    def run(fields, order):
        changed = dataclasses.replace(panel, fields=fields)
        paths = price_paths(changed, delistings=gone[:0])
        events = barrier_events(
            paths, rows[order], assets[order], target_frac=target[order], side=side[order]
        )
        labels = barrier_labels(paths, events, CONFIGS["bars"])
        return labels.in_given_order(labels.ret_frac), labels.in_given_order(labels.barrier)

    plain = run(panel.fields, np.arange(40))
    scaled = run({k: v * scale for k, v in panel.fields.items()}, np.arange(40))
    shuffled = np.random.default_rng(seed).permutation(40)
    mixed = run(panel.fields, shuffled)
    for one, two, three in zip(plain, scaled, mixed, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one[shuffled], three)


def test_long_and_short_are_mirror_images_in_reciprocal_free_levels():
    """A short on a path mirrored around its entry price ends as the long on the path itself."""
    rng = np.random.default_rng(4)
    close = 100.0 + np.cumsum(rng.standard_normal(200))
    ends = []
    for path, side in ((close, 1), (200.0 - close, -1)):
        axis = TimeAxis.sessions(np.datetime64("2020-01-01") + np.arange(200))
        panel = Panel(axis, ("A@US#1",), {"close": (path - path[0] + 100.0)[:, None]})
        paths = price_paths(panel)
        events = barrier_events(paths, [0], [0], target_frac=[0.02], side=[side])
        ends.append(barrier_labels(paths, events, CLOSE_TO_CLOSE))
    assert ends[0].exit_row == ends[1].exit_row
    assert ends[0].barrier == ends[1].barrier
    np.testing.assert_allclose(ends[0].ret_frac, ends[1].ret_frac, rtol=1e-12)


def test_spans_and_forms():
    panel, gone = market()
    paths = price_paths(panel, delistings=gone)
    rows, assets, target, side = random_events(panel)
    labels = barrier_labels(
        paths,
        barrier_events(paths, rows, assets, target_frac=target, side=side),
        CONFIGS["bars"],
    )
    starts, ends = labels.spans()
    known = labels.is_labelled
    assert np.isnat(starts[~known]).all()
    assert (starts[known] <= ends[known]).all()
    assert (starts[known] > panel.time.values[labels.events.arrays.row[known]]).all()
    ret = labels.label("ret")
    np.testing.assert_array_equal(labels.label("sign")[known], np.sign(ret[known]))
    np.testing.assert_array_equal(labels.label("meta")[known], (ret[known] > 0).astype(float))
    for code, value in ((1, 1.0), (-1, -1.0), (0, 0.0), (2, 0.0)):
        assert set(labels.label("barrier")[labels.barrier == code]) <= {value}
    for form in ("barrier", "sign", "meta", "ret"):
        np.testing.assert_array_equal(np.isnan(labels.label(form)), ~known)


def test_spans_feed_purging_and_label_weights():
    panel, gone = market()
    paths = price_paths(panel, delistings=gone)
    rows, assets, target, side = random_events(panel)
    events = barrier_events(paths, rows, assets, target_frac=target, side=side)
    labels = barrier_labels(paths, events, CONFIGS["bars"])
    known = labels.is_labelled
    starts, ends = labels.spans()
    by_time = np.argsort(starts[known], kind="stable")
    spans = label_spans(starts[known][by_time], ends[known][by_time])
    plan = purged_kfold(spans, config=PurgedKFoldConfig(n_splits=4))
    for train, test in plan.split():
        first, last = spans.interval(test)
        assert ((spans.end[train] < first) | (spans.start[train] > last)).all()
    placed = span_rows(
        labels.entry_row[known],
        labels.exit_row[known],
        n_bars=len(panel.time),
        group=labels.events.asset[known],
    )
    unique = average_uniqueness(placed)
    assert 0.0 < unique.per_label.min() < unique.per_label.max() <= 1.0


def test_an_event_that_is_open_has_no_label_and_whole_windows_leave_out_fast_touches():
    axis = TimeAxis.sessions(np.datetime64("2020-01-01") + np.arange(4))
    close = np.array([[100.0], [100.0], [106.0], [106.0]])
    panel = Panel(axis, ("A@US#1",), {"close": close})
    paths = price_paths(panel)
    events = barrier_events(paths, [0, 2], [0, 0], target_frac=[0.05, 0.05])
    config = BarrierConfig(path="closes", entry_price="close", holding_bars=3, profit_multiple=1.0)
    assert [BARRIERS[int(b)] for b in barrier_labels(paths, events, config).barrier] == [
        "profit",
        "open",
    ]
    strict = config.model_copy(update={"whole_windows": True})
    assert not barrier_labels(paths, events, strict).is_labelled.any()


def test_the_label_panel_holds_whole_windows_alone():
    panel, gone = market()
    paths = price_paths(panel, delistings=gone)
    target = np.full(panel.shape, 0.02)
    events = events_of_mask(paths, panel.mask("member"), target, side=np.full(panel.shape, -1))
    wide = barrier_label_panel(barrier_labels(paths, events, CONFIGS["bars"]), panel)
    values = wide.values.field("tb_barrier_8b")
    assert np.isnan(values[~panel.mask("member")]).all()
    assert np.isnan(values[-9:]).all()
    assert np.isnat(wide.span_end[-9:]).all()
    assert wide.span_end[0] == panel.time.values[9]


def test_errors_say_what_is_wrong():
    panel, _ = market()
    paths = price_paths(panel)
    with pytest.raises(ConfigError, match="unsafe_same_bar"):
        BarrierConfig(entry_lag=0)
    with pytest.raises(DataError, match="one value per event"):
        barrier_events(paths, [0, 1], [0], target_frac=[0.1, 0.1])
    with pytest.raises(DataError, match="rows: wanted whole numbers"):
        barrier_events(paths, [0.5], [0], target_frac=[0.1])
    with pytest.raises(DataError, match="whole numbers from 0 to 8"):
        barrier_events(paths, [0], [9], target_frac=[0.1])
    with pytest.raises(DataError, match="side"):
        barrier_events(paths, [0], [0], target_frac=[0.1], side=[2])
    with pytest.raises(DataError, match="mask"):
        events_of_mask(paths, np.ones((2, 2), bool), np.ones((2, 2)))
    early = barrier_events(paths, [3], [0], target_frac=[0.1], last_rows=[3])
    with pytest.raises(DataError, match="end before it"):
        barrier_labels(paths, early, CONFIGS["bars"])
    closes = price_paths(Panel(panel.time, panel.asset_ids, {"close": panel.field("close")}))
    with pytest.raises(DataError, match="no high, low, open"):
        barrier_labels(closes, barrier_events(closes, [0], [0], target_frac=[0.1]), CONFIGS["bars"])
    other = price_paths(market(n_assets=5)[0])
    with pytest.raises(DataError, match="the 5 assets of the prices"):
        barrier_labels(other, barrier_events(paths, [0], [8], target_frac=[0.1]), CONFIGS["bars"])
    with pytest.raises(MissingFieldError, match="close"):
        price_paths(Panel(panel.time, panel.asset_ids, {"open": panel.field("open")}))
    raw = dataclasses.replace(panel, price_basis=PriceBasis.RAW)
    with pytest.raises(DataError, match="adjusted for splits"):
        price_paths(raw)
    twice = barrier_events(paths, [0, 0], [1, 1], target_frac=[0.1, 0.1])
    with pytest.raises(DataError, match="at most one event"):
        barrier_label_panel(barrier_labels(paths, twice, CONFIGS["bars"]), panel)
    endless = barrier_labels(paths, twice, CONFIGS["bars_without_end"])
    with pytest.raises(ConfigError, match="holding period"):
        barrier_label_panel(endless, panel)


@pytest.mark.feature("Q-47")
def test_contracts_name_entry_exit_and_window():
    contract = CONFIGS["bars"].contract(PriceBasis.SPLIT_ADJ)
    assert (contract.entry_price, contract.exit_price) == ("open", "barrier")
    assert (contract.entry_lag, contract.horizon_sessions) == (1, 8)
    with pytest.raises(ConfigError, match="holding period"):
        CONFIGS["bars_without_end"].contract(PriceBasis.SPLIT_ADJ)
