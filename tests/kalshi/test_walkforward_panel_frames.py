"""Frames of a panel: atoms, raw market, labels and legs by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.errors import EmptyDataError, MissingFieldError
from quant_engine.kalshi.events import LadderLook, LookConfig
from quant_engine.kalshi.lattice import SettlementGrid, ladder_structure
from quant_engine.kalshi.panel import (
    OUTCOME_COLUMNS,
    SERIES_COLUMNS,
    TICK_COLUMNS,
    TRADE_COLUMNS,
    PanelConfig,
    PanelInputs,
    event_panel,
)
from quant_engine.kalshi.panel_frames import frames_of_panel, market_atoms
from quant_engine.kalshi.payoffs import Contract
from quant_engine.kalshi.quotes import LegQuote, ladder_quotes

CONFIG = PanelConfig(horizons_s=(3_600,), grids={"cpi": SettlementGrid(0.1)})
HOUR_US = 3_600_000_000
SCHEDULED_US = 1_700_000_000_000_000
THRESHOLDS = [Contract(f"T{k}", "greater", k) for k in (3.0, 3.1, 3.2)]


def look(contracts, quotes, *, event_id=1, exclusive=False):
    asof_us = SCHEDULED_US - HOUR_US
    return LadderLook(
        event_id, f"KXCPI-{event_id}", asof_us, 3_600, SCHEDULED_US, tuple(contracts),
        tuple(
            LegQuote(contract.ticker, *quote, event_us=asof_us)
            for contract, quote in zip(contracts, quotes, strict=True)
        ),
        tuple(None for _ in contracts), {}, (), exclusive, 5, 9, "cpi-2024-01", "cpi", asof_us,
    )  # fmt: skip


def panel_of(*looks):
    empty = [
        pd.DataFrame(columns=list(columns))
        for columns in (TRADE_COLUMNS, TICK_COLUMNS, OUTCOME_COLUMNS, SERIES_COLUMNS)
    ]
    return event_panel(PanelInputs(looks, *empty), CONFIG)


def labels(value, *events):
    known = {"value": value, "label_avail_us": SCHEDULED_US + 1}
    return pd.DataFrame(known, index=pd.Index(events, name="event_id"))


SERIES = {"KXCPI-1": "KXCPI", "KXCPI-2": "KXCPI"}
QUOTED = [(7_800, 8_200, 500, 900), (4_900, 5_100, 300, 400), (1_800, 2_200, 100, 200)]


def test_thresholds_become_atoms_and_legs():
    one = look(THRESHOLDS, QUOTED)
    later = look(THRESHOLDS[:2], [(7_700, 8_000, 50, 90), (4_700, 5_000, 30, 40)])
    made = frames_of_panel(
        panel_of(one), [one], labels(3.2, 1), config=CONFIG, series_of=SERIES, later=[later]
    )
    frames = made.frames
    # P(X <= 3.0), (3.0, 3.1], (3.1, 3.2], above: from survival 0.8, 0.5, 0.2.
    np.testing.assert_allclose(frames.cells["market_prob"], [0.2, 0.3, 0.3, 0.2])
    assert frames.labels["happened"].tolist() == [2]
    # The fitted distribution, cut at the strikes, beside the market.
    fit = panel_of(one).distributions[1, 3_600]
    above = [fit.survival(k) for k in (3.0, 3.1, 3.2)]
    fitted = -np.diff([1.0, *above, 0.0])
    gap = frames.cells["fitted_gap"].to_numpy()
    np.testing.assert_allclose(gap, fitted - frames.cells["market_prob"], atol=1e-9)
    legs = frames.legs.set_index("ticker")
    assert legs[["first_cell", "last_cell"]].to_numpy().tolist() == [[1, 3], [2, 3], [3, 3]]
    assert legs.loc["T3.0", ["ask_e4", "next_ask_e4", "next_ask_size_c2"]].tolist() == [
        8200,
        8000,
        90,
    ]
    assert legs.loc["T3.2", ["next_bid_e4", "next_bid_size_c2"]].tolist() == [-1, 0]
    assert frames.looks["regime"].tolist() == ["all"]
    assert frames.looks["series"].tolist() == ["KXCPI"]


def test_middles_out_of_order_are_pooled_and_bins_divided_by_their_sum():
    grid = SettlementGrid(0.1)
    ladder = ladder_structure(THRESHOLDS, grid, is_exclusive=False)
    crossed = look(THRESHOLDS, [(3_900, 4_100), (5_900, 6_100), (900, 1_100)])
    found = market_atoms(ladder, ladder_quotes(ladder, crossed.quotes))
    np.testing.assert_allclose(found, [0.5, 0.0, 0.4, 0.1])
    below = [Contract(f"L{k}", "less_or_equal", cap_strike=k) for k in (3.0, 3.1)]
    ladder = ladder_structure(below, grid, is_exclusive=False)
    quotes = look(below, [(1_900, 2_100), (5_900, 6_100)]).quotes
    np.testing.assert_allclose(market_atoms(ladder, ladder_quotes(ladder, quotes)), [0.2, 0.4, 0.4])
    bins = [
        Contract("B0", "less", cap_strike=3.0), Contract("B1", "between", 3.0, 3.1),
        Contract("B2", "greater", 3.1),
    ]  # fmt: skip
    ladder = ladder_structure(bins, grid, is_exclusive=True)
    quotes = look(bins, [(2_100, 2_300), (5_400, 5_600), (3_200, 3_400)]).quotes
    np.testing.assert_allclose(market_atoms(ladder, ladder_quotes(ladder, quotes)), [0.2, 0.5, 0.3])
    gap = ladder_structure(bins[:2], grid, is_exclusive=True)
    assert market_atoms(gap, ladder_quotes(gap, quotes[:2])) is None
    unquoted = ladder_quotes(ladder, quotes[:2])
    assert market_atoms(ladder, unquoted) is None


def test_last_prices_are_the_market_where_quotes_come_from_trades():
    one = replace(look(THRESHOLDS, QUOTED), last_e4=(9_000, 6_000, 1_000))
    traded = replace(CONFIG, look=LookConfig("trade"))
    given = {"config": traded, "series_of": SERIES}
    made = frames_of_panel(panel_of(one), [one], labels(3.0, 1), **given)
    np.testing.assert_allclose(made.frames.cells["market_prob"], [0.1, 0.3, 0.5, 0.1])
    silent = replace(one, last_e4=(9_000, None, 1_000))
    with pytest.raises(EmptyDataError, match="prices give no distribution"):
        frames_of_panel(panel_of(silent), [silent], labels(3.0, 1), **given)


def test_looks_without_a_place_are_named():
    one, two = look(THRESHOLDS, QUOTED), look(THRESHOLDS, QUOTED, event_id=2)
    panel = panel_of(one, two)
    given = {"config": CONFIG, "series_of": SERIES}
    assert frames_of_panel(panel, [one], labels(3.0, 1, 2), **given).left_out == {
        (2, 3_600): "no look"
    }
    assert frames_of_panel(panel, [one, two], labels(3.0, 1), **given).left_out == {
        (2, 3_600): "no outcome"
    }
    silent = replace(two, quotes=tuple(LegQuote(c.ticker) for c in THRESHOLDS))
    found = frames_of_panel(panel, [one, silent], labels(3.0, 1, 2), **given)
    assert found.left_out == {(2, 3_600): "prices give no distribution"}
    holed = replace(two, without_strikes=("X",))
    found = frames_of_panel(panel, [one, holed], labels(3.0, 1, 2), **given)
    assert found.left_out == {(2, 3_600): "the ladder has faults"}
    with pytest.raises(EmptyDataError, match="no outcome"):
        frames_of_panel(panel, [one, two], labels(np.nan, 1, 2), **given)
    with pytest.raises(MissingFieldError, match="KXCPI-1"):
        frames_of_panel(panel, [one], labels(3.0, 1), config=CONFIG, series_of={})


def test_regimes_are_joined_by_look():
    one = look(THRESHOLDS, QUOTED)
    regimes = pd.Series(["thin"], index=pd.MultiIndex.from_tuples([(1, 3_600)]))
    made = frames_of_panel(
        panel_of(one), [one], labels(3.0, 1), config=CONFIG, series_of=SERIES, regimes=regimes
    )
    assert made.frames.looks["regime"].tolist() == ["thin"]
