"""Display tables against plain loops, and thinning against brute force."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.reports.decimate import envelope_positions, even_positions
from quant_engine.reports.derived import (
    closed_trades,
    reconcile,
    regime_spans,
    rolling_table,
    top_drawdowns,
    worst_and_best,
)
from quant_engine.stats.metrics import annual_vol, max_drawdown, sharpe

SESSIONS = pd.bdate_range("2020-01-01", periods=60)


@pytest.fixture
def daily() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    market = 0.01 * rng.standard_normal(60)
    net = 0.4 * market + 0.005 * rng.standard_normal(60)
    frame = pd.DataFrame({"ret_net": net, "benchmark_ret": market}, index=SESSIONS)
    frame.iloc[30, 0] = np.nan
    return frame


def test_rolling_table_equals_the_metrics_of_every_window(daily) -> None:
    table = rolling_table(daily, periods_per_year=252, window_sessions=12)
    for stop in range(1, 61):
        window = daily.iloc[max(0, stop - 12) : stop]
        row = table.iloc[stop - 1]
        if len(window) < 12 or window["ret_net"].isna().any():
            assert row.isna().all()
            continue
        net, market = window["ret_net"].tolist(), window["benchmark_ret"].tolist()
        assert row["sharpe"] == pytest.approx(sharpe(net, periods_per_year=252).value, rel=1e-9)
        assert row["vol_ann"] == pytest.approx(annual_vol(net, periods_per_year=252), rel=1e-9)
        slope = statistics.linear_regression(market, net).slope
        assert row["beta"] == pytest.approx(slope, rel=1e-9)


def test_rolling_table_sees_no_future(daily) -> None:
    whole = rolling_table(daily, periods_per_year=252, window_sessions=10)
    part = rolling_table(daily.iloc[:45], periods_per_year=252, window_sessions=10)
    pd.testing.assert_frame_equal(whole.iloc[:45], part)


def test_constant_returns_have_no_sharpe() -> None:
    flat = pd.DataFrame({"ret_net": 0.001}, index=SESSIONS)
    table = rolling_table(flat, periods_per_year=252, window_sessions=10)
    assert table["sharpe"].isna().all()


returns = st.lists(st.floats(-0.2, 0.2).map(lambda x: round(x, 4)), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(returns)
def test_drawdowns_are_disjoint_ordered_and_contain_the_deepest(values) -> None:
    series = pd.Series(values, index=SESSIONS[: len(values)])
    table = top_drawdowns(series, n_worst=100)
    assert table["depth"].is_monotonic_increasing
    deepest = max_drawdown(series.to_numpy())
    if deepest < 0:
        assert table["depth"].iloc[0] == pytest.approx(deepest)
    else:
        assert table.empty
    equity, peak, under = 1.0, 1.0, 0
    for one in values:
        equity *= 1 + one
        under += equity / max(peak, equity) - 1 < 0
        peak = max(peak, equity)
    assert table["sessions_under"].sum() == under
    assert (table["sessions_to_trough"] <= table["sessions_under"]).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(math.nan)), min_size=2, max_size=400),
    st.integers(8, 80),
)
def test_envelope_keeps_ends_and_extremes(values, n_max) -> None:
    array = np.array(values)
    chosen = envelope_positions([array, -array], n_max=n_max)
    assert chosen.size <= max(n_max, 2)
    assert (np.diff(chosen) > 0).all()
    assert {0, len(values) - 1} <= set(chosen.tolist())
    finite = array[np.isfinite(array)]
    if finite.size:
        assert np.nanmax(array[chosen]) == finite.max()
        assert np.nanmin(array[chosen]) == finite.min()


@given(st.integers(1, 500), st.integers(2, 60))
def test_even_positions_are_bounded_and_reach_both_ends(n_points, n_max) -> None:
    chosen = even_positions(n_points, n_max)
    assert chosen.size <= max(n_max, 1)
    assert chosen[0] == 0
    assert chosen[-1] == n_points - 1


def test_reconciliation_finds_the_planted_gap() -> None:
    index = SESSIONS[:3]
    frame = pd.DataFrame(
        {
            "equity": [100.0, 101.0, 102.01],
            "ret_net": [0.0, 0.0098, 0.01],
            "ret_gross": [0.0, 0.0100, 0.0105],
            "cost_fees": [0.0, 0.0002, 0.0001],
        },
        index=index,
    )
    result = reconcile(frame)
    assert result.equity_gap_bps == pytest.approx(2.0)
    assert result.cost_gap_bps == pytest.approx(4.0)
    assert math.isnan(reconcile(frame.drop(columns="cost_fees")).cost_gap_bps)


def test_regime_spans_touch_and_cover_every_coded_session() -> None:
    codes = pd.Series([0, 0, 1, 1, -1, 2, 0], index=SESSIONS[:7])
    spans, is_monthly = regime_spans(codes, n_max=10)
    assert not is_monthly
    assert spans["code"].tolist() == [0, 1, 2, 0]
    assert spans["first"].tolist() == [SESSIONS[k] for k in (0, 2, 5, 6)]
    assert spans["last"].tolist() == [SESSIONS[k] for k in (2, 4, 6, 6)]


def test_many_regime_spans_become_months() -> None:
    codes = pd.Series([0, 1] * 30, index=SESSIONS)
    codes.iloc[0:23:2] = 3
    spans, is_monthly = regime_spans(codes, n_max=10)
    assert is_monthly
    assert len(spans) <= 4


def test_extremes_rank_by_profit_when_it_is_known() -> None:
    trades = pd.DataFrame({"ret_net": [0.5, 0.1, -0.4], "pnl_usd": [1.0, 9.0, -1.0]})
    worst, best, ranked_by = worst_and_best(trades, n_each=5)
    assert ranked_by == "pnl_usd"
    assert best["ret_net"].tolist() == [0.1, 0.5]
    assert worst["ret_net"].tolist() == [-0.4]


def test_open_positions_are_no_closed_trades() -> None:
    trades = pd.DataFrame(
        {"ret_net": [0.1, np.nan, 0.3], "exit_reason": ["horizon", "horizon", "end_of_run"]}
    )
    assert closed_trades(trades).index.tolist() == [0]
