"""Bars on exchange sessions: holes, dividends, masks, and no carrying forward."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.calendar import sessions_between
from quant_engine.core.errors import EmptyDataError, IdentityError
from quant_engine.core.panel import Panel, PriceBasis
from quant_engine.data.bars import LoadedBars
from quant_engine.data.panel import PanelConfig, build_panel, implied_dividends

PRICES = ("open", "high", "low", "close")


def bars_of(rows: list[tuple[str, str, float]], **extra: list[float]) -> LoadedBars:
    ticker, session, price = zip(*rows, strict=True)
    fields: dict[str, object] = dict.fromkeys(PRICES, price)
    fields["volume"] = [100.0] * len(rows)
    return LoadedBars.from_columns(
        ticker=list(ticker),
        session=list(session),
        fields={**fields, **extra},
        vendor="test",
        price_basis=PriceBasis.SPLIT_ADJ,
    )


def test_panel_rows_are_exchange_sessions_and_absent_bars_are_nan():
    bars = bars_of([("B", "2020-07-02", 1.0), ("B", "2020-07-06", 2.0), ("A", "2020-07-06", 5.0)])
    panel = build_panel(bars).panel
    assert panel.asset_ids == ("A@US#1", "B@US#1")
    assert panel.time.values.astype(str).tolist() == ["2020-07-02", "2020-07-06"]
    np.testing.assert_array_equal(panel.field("close"), [[np.nan, 1.0], [5.0, 2.0]])
    np.testing.assert_array_equal(panel.mask("member"), [[False, True], [True, True]])


def test_panel_agrees_with_core_from_long():
    rng = np.random.default_rng(0)
    days = sessions_between("XNYS", "2020-01-02", "2020-03-31")
    rows = [
        (name, str(day), float(rng.uniform(10, 20)))
        for name in ("C", "A", "B")
        for day in days
        if rng.random() > 0.1
    ]
    bars = bars_of(rows)
    long = bars.frame.assign(
        date=bars.frame["session"], asset_id=bars.frame["asset_id"].astype(str)
    )
    long = long.set_index(["date", "asset_id"])[[*PRICES, "volume"]]
    expected = Panel.from_long(long)
    panel = build_panel(bars, PanelConfig(min_traded_frac=0)).panel
    assert panel.time == expected.time
    for name in (*PRICES, "volume"):
        np.testing.assert_array_equal(panel.field(name), expected.field(name))


def test_session_that_hardly_any_name_has_is_left_out_and_noted():
    days = ["2020-01-02", "2020-01-03", "2020-01-06"]
    rows = [(f"S{i}", day, 1.0) for i in range(10) for day in days if day != days[1] or i == 0]
    result = build_panel(bars_of(rows))
    assert result.panel.shape == (2, 10)
    assert result.dropped_sessions.astype(str).tolist() == ["2020-01-03"]
    assert "2020-01-03" in " ".join(result.notes)
    assert build_panel(bars_of(rows), PanelConfig(min_traded_frac=0.05)).panel.shape == (3, 10)


def test_names_listed_later_do_not_make_early_sessions_look_empty():
    early = [("OLD", str(day), 1.0) for day in sessions_between("XNYS", "2020-01-02", "2020-02-28")]
    late = [(f"NEW{i}", "2020-02-28", 1.0) for i in range(9)]
    assert build_panel(bars_of(early + late)).dropped_sessions.size == 0


@pytest.mark.parametrize("field", ["open", "close", "volume"])
def test_tradable_needs_open_close_and_volume(field: str):
    bars = bars_of([("A", "2020-01-02", 1.0), ("B", "2020-01-02", 1.0)])
    frame = bars.frame.copy()
    frame.loc[0, field] = 0.0 if field == "volume" else np.nan
    panel = build_panel(bars.with_frame(frame), PanelConfig(min_traded_frac=0)).panel
    assert panel.mask("tradable").ravel().tolist() == [False, True]


def test_weekend_calendar_and_repeated_rows():
    bars = bars_of([("A", "2020-01-04", 1.0), ("A", "2020-01-05", 2.0)])
    assert build_panel(bars, PanelConfig(calendar="24/7")).panel.shape == (2, 1)
    with pytest.raises(EmptyDataError, match="calendar"):
        build_panel(bars)
    twice = bars_of([("A", "2020-01-02", 1.0), ("A", "2020-01-02", 1.0)])
    with pytest.raises(IdentityError, match="quality"):
        build_panel(twice)


def test_dividends_come_from_the_column_or_from_the_adjusted_close():
    rows = [("A", day, 100.0) for day in ("2020-01-02", "2020-01-03", "2020-01-06")]
    given = build_panel(bars_of(rows, dividend=[0.0, 1.5, 0.0])).panel
    assert given.field("dividend").ravel().tolist() == [0.0, 1.5, 0.0]
    derived = build_panel(bars_of(rows, adj_close=[99.0, 100.0, 100.0]))
    np.testing.assert_allclose(derived.panel.field("dividend").ravel(), [0.0, 1.0, 0.0])
    assert "1 dividends derived" in " ".join(derived.notes)
    assert "adj_close" not in derived.panel.fields
    assert "no dividends" in " ".join(build_panel(bars_of(rows)).notes)


def test_implied_dividends_reproduce_adjusted_returns_also_over_gaps():
    rng = np.random.default_rng(1)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, (200, 3)), axis=0))
    cash = np.zeros_like(close)
    cash[40, 0], cash[90, 1], cash[91, 1] = 0.5, 1.0, 0.25
    factor = np.ones_like(close)
    for t in range(198, -1, -1):
        factor[t] = factor[t + 1] * (1 - cash[t + 1] / close[t])
    np.testing.assert_allclose(implied_dividends(close, close * factor), cash, atol=1e-10)
    holes = close.copy()
    holes[89, 1] = np.nan
    got = implied_dividends(holes, holes * factor)
    assert np.isnan(got[89, 1])
    assert got[90, 1] == pytest.approx(close[88, 1] * (1 - factor[88, 1] / factor[90, 1]))


def test_total_adjusted_prices_carry_no_dividends():
    rows = [("A", day, 100.0) for day in ("2020-01-02", "2020-01-03")]
    bars = bars_of(rows, dividend=[0.0, 1.5])
    total = LoadedBars(bars.frame, bars.vendor, PriceBasis.TOTAL_ADJ)
    result = build_panel(total)
    assert "dividend" not in result.panel.fields
    assert "inside total-adjusted prices" in " ".join(result.notes)


def test_no_future_bar_changes_a_past_row():
    rng = np.random.default_rng(2)
    days = sessions_between("XNYS", "2020-01-02", "2020-06-30")
    rows = [(f"S{i}", str(d), float(rng.uniform(1, 9))) for i in range(5) for d in days]
    whole = build_panel(bars_of(rows)).panel
    cut = pd.Timestamp("2020-04-01")
    part = build_panel(bars_of([r for r in rows if pd.Timestamp(r[1]) <= cut])).panel
    for name, values in part.fields.items():
        np.testing.assert_array_equal(whole.field(name)[: part.shape[0]], values)
    for name, values in part.masks.items():
        np.testing.assert_array_equal(whole.mask(name)[: part.shape[0]], values)
