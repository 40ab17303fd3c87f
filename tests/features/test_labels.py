"""Forward labels against a plain loop, their spans, and what they may depend on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from quant_engine.core.errors import ConfigError, DataError, SchemaMismatchError
from quant_engine.core.panel import GroupTable, Panel, PriceBasis, TimeAxis
from quant_engine.features.labels import (
    LabelConfig,
    forward_labels,
    label_names,
)

pytestmark = pytest.mark.feature("Q-22")


def gappy_panel(seed=1, n_rows=70, n_assets=14):
    """Gaps, missing opens beside closes, dividends, changing sectors, and names that end."""
    rng = np.random.default_rng(seed)
    shape = (n_rows, n_assets)
    close = 20.0 * np.exp(np.cumsum(0.03 * rng.standard_normal(shape), axis=0))
    opened = close * np.exp(0.01 * rng.standard_normal(shape))
    halted = rng.random(shape) < 0.08
    close[halted] = opened[halted] = np.nan
    opened[rng.random(shape) < 0.04] = np.nan
    close[rng.random(shape) < 0.02] = np.nan
    ends = {2: 25, 5: 40, 7: 41, 9: 55}
    for column, end in ends.items():
        close[end + 1 :, column] = opened[end + 1 :, column] = np.nan
    opened[41, 7] = np.nan
    cash = np.where(rng.random(shape) < 0.1, rng.random(shape), 0.0)
    cash[rng.random(shape) < 0.1] = np.nan
    sector = GroupTable(rng.integers(-1, 3, shape).astype(np.int16), ("a", "b", "c"))
    days = np.arange(np.datetime64("2020-01-01"), np.datetime64("2021-01-01"))
    panel = Panel(
        TimeAxis.sessions(days[np.is_busday(days)][:n_rows]),
        tuple(f"X{j}@US#1" for j in range(n_assets)),
        {"open": opened, "close": close, "dividend": cash},
        {"member": rng.random(shape) < 0.85},
        {"sector": sector},
    )
    sessions = panel.time.values
    table = pd.DataFrame(
        {
            "asset_id": ["X2@US#1", "X5@US#1", "X7@US#1", "GONE@US#1"],
            # Stated as the last session, as the one after, and on a weekend in between.
            "session": [sessions[25], sessions[41], sessions[41] + 1, sessions[3]],
            "terminal_return": [-0.5, np.nan, np.nan, -1.0],
            "reason": ["bankruptcy", "Merger", "liquidation", "bankruptcy"],
        }
    )
    return panel, table


def plain_return(panel, deaths, t, j, lag, horizon):
    """One label by the text of the contract."""
    opened, close = panel.field("open"), panel.field("close")
    first, last = t + lag, t + lag + horizon
    if last >= len(opened) or np.isnan(opened[first, j]):
        return np.nan
    value = opened[last, j]
    if np.isnan(value):
        traded = [s for s in range(first, last + 1) if not np.isnan(close[s, j])]
        if not traded:
            return np.nan
        value = close[traded[-1], j]
        session, terminal = deaths.get(panel.asset_ids[j], (None, 0.0))
        if session is not None and session <= panel.time.values[last]:
            value *= 1.0 + terminal
    cash = np.nansum(panel.field("dividend")[first + 1 : last + 1, j])
    return (value + cash) / opened[first, j] - 1.0


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("horizon", "lag"), [(1, 1), (5, 1), (10, 2), (69, 1)])
def test_labels_equal_a_plain_loop(seed, horizon, lag):
    panel, table = gappy_panel(seed)
    benchmark = 0.01 * np.random.default_rng(seed).standard_normal(len(panel.time))
    config = LabelConfig(horizon_sessions=horizon, entry_lag=lag)
    got = forward_labels(panel, config, benchmark_returns=benchmark, delistings=table)
    terminal = {"X2@US#1": -0.5, "X5@US#1": 0.0, "X7@US#1": -0.3}
    deaths = {
        asset: (np.datetime64(day, "D"), terminal[asset])
        for asset, day in zip(table["asset_id"], table["session"], strict=True)
        if asset in terminal
    }
    n_rows, n_assets = panel.shape
    want = np.array(
        [
            [plain_return(panel, deaths, t, j, lag, horizon) for j in range(n_assets)]
            for t in range(n_rows)
        ]
    )
    np.testing.assert_allclose(
        got.values.field(f"fwd_ret_{horizon}s"), want, rtol=1e-13, atol=1e-15
    )

    excess, sector = np.full(want.shape, np.nan), np.full(want.shape, np.nan)
    codes, member = panel.group("sector").codes, panel.mask("member")
    for t in range(n_rows - lag - horizon):
        over = np.prod(1.0 + benchmark[t + lag : t + lag + horizon]) - 1.0
        excess[t] = want[t] - over
        for j in range(n_assets):
            peers = (codes[t] == codes[t, j]) & member[t] & ~np.isnan(want[t])
            if codes[t, j] >= 0 and peers.sum() >= 3:
                sector[t, j] = want[t, j] - want[t, peers].mean()
    np.testing.assert_allclose(
        got.values.field(f"fwd_excess_{horizon}s"), excess, rtol=1e-11, atol=1e-13
    )
    np.testing.assert_allclose(
        got.values.field(f"fwd_sector_excess_{horizon}s"), sector, rtol=1e-11, atol=1e-13
    )


def test_spans_are_entry_and_exit_sessions():
    panel, _ = gappy_panel()
    got = forward_labels(panel, LabelConfig(horizon_sessions=4, entry_lag=2, kinds=("ret",)))
    sessions = panel.time.values
    for t in range(len(sessions)):
        if t + 6 < len(sessions):
            assert got.span_start[t] == sessions[t + 2]
            assert got.span_end[t] == sessions[t + 6]
        else:
            assert np.isnat(got.span_start[t])
            assert np.isnat(got.span_end[t])
            assert np.isnan(got.values.field("fwd_ret_4s")[t]).all()


@pytest.mark.leakage
@pytest.mark.parametrize("inside", [False, True])
def test_a_label_depends_on_its_span_alone(inside):
    panel, table = gappy_panel()
    config = LabelConfig(horizon_sessions=5)
    names = label_names(config)
    n_rows = len(panel.time)
    benchmark = np.full(n_rows, 0.001)
    plain = forward_labels(panel, config, benchmark_returns=benchmark, delistings=table).values
    rng = np.random.default_rng(0)
    for t in range(0, n_rows - 6, 7):
        changed = np.ones(n_rows, dtype=bool)
        changed[t + 1 : t + 7] = False
        if inside:
            changed = ~changed
        fields = {}
        for name, values in panel.fields.items():
            noise = np.where(
                rng.random(panel.shape) < 0.2, np.nan, 30.0 * rng.random(panel.shape) + 1.0
            )
            fields[name] = np.where(changed[:, None], noise, values)
        # The benchmark row that starts in the last session of the span is already outside it.
        other = np.where(changed | (np.arange(n_rows) == t + 6), 0.02, benchmark)
        got = forward_labels(
            panel.with_fields(fields), config, benchmark_returns=other, delistings=table
        ).values
        for name in names:
            same = got.field(name)[t].tobytes() == plain.field(name)[t].tobytes()
            assert same is not inside, (name, t)


def test_the_holder_at_the_open_of_an_ex_session_is_paid_and_the_buyer_is_not():
    price = np.full((5, 1), 10.0)
    axis = TimeAxis.sessions(["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07", "2020-01-08"])
    config = LabelConfig(horizon_sessions=2, kinds=("ret",))

    def label(ex_row):
        cash = np.zeros((5, 1))
        cash[ex_row] = 1.0
        fields = {"open": price, "close": price, "dividend": cash}
        panel = Panel(axis, ("A@US#1",), fields)
        return forward_labels(panel, config).values.field("fwd_ret_2s")[0, 0]

    # Decision row 0, entry at the open of row 1, exit at the open of row 3.
    assert [round(float(label(row)), 12) for row in range(5)] == [0.0, 0.0, 0.1, 0.1, 0.0]


def halted_panel():
    opened = np.array([[10.0], [10.0], [np.nan], [np.nan], [13.0]])
    close = np.array([[10.0], [10.0], [11.0], [np.nan], [13.0]])
    axis = TimeAxis.sessions(["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07", "2020-01-08"])
    return Panel(axis, ("A@US#1",), {"open": opened, "close": close})


def test_a_halt_at_the_exit_takes_the_last_close_of_the_span():
    got = forward_labels(halted_panel(), LabelConfig(horizon_sessions=2, kinds=("ret",)))
    # Row 0: entry 10 at row 1, no open at row 3, last close inside the span is 11. Row 1 cannot
    # enter at row 2, whose open is missing although it traded later that session.
    np.testing.assert_allclose(
        got.values.field("fwd_ret_2s").ravel(), [0.1, np.nan, np.nan, np.nan, np.nan]
    )


@pytest.mark.feature("Q-14")
def test_a_delisting_inside_the_span_pays_the_terminal_return():
    table = pd.DataFrame({"asset_id": ["A@US#1"], "session": ["2020-01-06"]})
    config = LabelConfig(horizon_sessions=2, kinds=("ret",))

    def label(**columns):
        got = forward_labels(halted_panel(), config, delistings=table.assign(**columns))
        return float(got.values.field("fwd_ret_2s")[0, 0])

    assert label(terminal_return=-0.5) == pytest.approx(11.0 * 0.5 / 10.0 - 1.0)
    assert label() == pytest.approx(11.0 * 0.7 / 10.0 - 1.0)
    assert label(reason="merger") == pytest.approx(0.1)
    # Delisted after the exit session: only a halt so far.
    assert label(session="2020-01-08", terminal_return=-0.5) == pytest.approx(0.1)


def test_prices_that_hold_dividends_are_not_paid_twice():
    panel, table = gappy_panel()
    config = LabelConfig(horizon_sessions=5, kinds=("ret",))
    adjusted = Panel(
        panel.time, panel.asset_ids, panel.fields, panel.masks, price_basis=PriceBasis.TOTAL_ADJ
    )
    bare = panel.only_fields(["open", "close"])
    a = forward_labels(adjusted, config, delistings=table).values.field("fwd_ret_5s")
    b = forward_labels(bare, config, delistings=table).values.field("fwd_ret_5s")
    np.testing.assert_array_equal(a, b)


def _simple(panel):
    """Open-to-open total returns of every asset, without delistings."""
    opened = panel.field("open")
    cash = np.nan_to_num(panel.fields["dividend"]) if "dividend" in panel.fields else 0 * opened
    return (opened + cash)[1:] / opened[:-1] - 1.0


def test_excess_over_the_own_universe_sums_to_zero_for_one_session():
    panel, _ = gappy_panel()
    whole = panel.with_masks({"member": np.ones(panel.shape, bool)})
    # Without halts every label enters the mean.
    opened = np.where(np.isnan(panel.field("open")), 15.0, panel.field("open"))
    whole = whole.with_fields({"open": opened})
    got = forward_labels(
        whole,
        LabelConfig(horizon_sessions=1, kinds=("excess",)),
        benchmark_returns=np.append(np.nanmean(_simple(whole), axis=1), np.nan),
    )
    rows = got.values.field("fwd_excess_1s")[:-2]
    np.testing.assert_allclose(rows.mean(axis=1), 0.0, atol=1e-14)


def test_a_split_changes_no_label():
    panel, table = gappy_panel()
    config = LabelConfig(horizon_sessions=5, kinds=("ret", "sector_excess"))
    scaled = panel.with_fields({n: 4.0 * panel.field(n) for n in panel.fields})
    a = forward_labels(panel, config, delistings=table).values
    b = forward_labels(scaled, config, delistings=table).values
    for name in label_names(config):
        np.testing.assert_allclose(b.field(name), a.field(name), rtol=1e-12, atol=1e-14)


def test_kinds_without_their_input_are_not_built():
    panel, _ = gappy_panel()
    config = LabelConfig(horizon_sessions=5)
    bare = Panel(panel.time, panel.asset_ids, panel.fields, panel.masks)
    assert tuple(forward_labels(bare, config).values.fields) == ("fwd_ret_5s",)
    assert tuple(forward_labels(panel, config).values.fields) == (
        "fwd_ret_5s",
        "fwd_sector_excess_5s",
    )
    with pytest.raises(ConfigError, match="benchmark"):
        forward_labels(bare, LabelConfig(kinds=("excess",)))


def test_an_unknown_benchmark_return_blanks_the_spans_over_it():
    panel, _ = gappy_panel()
    benchmark = np.zeros(len(panel.time))
    benchmark[30] = np.nan
    got = forward_labels(
        panel, LabelConfig(horizon_sessions=5, kinds=("excess",)), benchmark_returns=benchmark
    )
    blank = np.isnan(got.values.field("fwd_excess_5s")).all(axis=1)
    assert np.flatnonzero(blank[:-6]).tolist() == [25, 26, 27, 28, 29]


def test_inputs_that_cannot_give_a_label_are_refused():
    panel, table = gappy_panel()
    config = LabelConfig()
    raw = Panel(panel.time, panel.asset_ids, panel.fields, price_basis=PriceBasis.RAW)
    with pytest.raises(DataError, match="split"):
        forward_labels(raw, config)
    with pytest.raises(SchemaMismatchError, match="one value per session"):
        forward_labels(panel, config, benchmark_returns=np.zeros(3))
    with pytest.raises(SchemaMismatchError, match="asset_id and session"):
        forward_labels(panel, config, delistings=table.rename(columns={"session": "day"}))
    with pytest.raises(DataError, match="at least -1"):
        forward_labels(panel, config, delistings=table.assign(terminal_return=-30.0))
    bars = TimeAxis("bar", panel.time.values.astype("datetime64[us]"), "24/7", 300)
    intraday = Panel(bars, panel.asset_ids, panel.fields)
    with pytest.raises(ConfigError, match="sessions"):
        forward_labels(intraday, config)


def test_same_bar_entry_cannot_be_configured():
    with pytest.raises(ValidationError, match="entry_lag"):
        LabelConfig(entry_lag=0)


def test_a_panel_shorter_than_the_horizon_has_no_labels():
    panel, table = gappy_panel(n_rows=60)
    got = forward_labels(
        panel.rows(0, 8), LabelConfig(horizon_sessions=10, kinds=("ret",)), delistings=table
    )
    assert np.isnan(got.values.field("fwd_ret_10s")).all()
    assert np.isnat(got.span_end).all()
