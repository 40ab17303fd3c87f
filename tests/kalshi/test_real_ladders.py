"""Recorded ladders: what they break, and what is made of it."""

import gzip
import json
import sqlite3
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from quant_engine.kalshi.arbitrage import scan_ladder
from quant_engine.kalshi.bounds import measure_incoherence
from quant_engine.kalshi.distribution import fit_distribution, prepare_ladder, reconstruct
from quant_engine.kalshi.fees import FeeEntry
from quant_engine.kalshi.lattice import SettlementGrid, find_structure_faults, ladder_structure
from quant_engine.kalshi.payoffs import Contract, parse_recorded_text
from quant_engine.kalshi.quotes import LegQuote, ladder_quotes
from quant_engine.stats.threshold_curve import fit_threshold_curve

STEPS = {"CPI": 0.1, "Core_CPI_MoM": 0.1, "GDP": 0.1, "Payrolls": 1_000.0}


@pytest.fixture(scope="module")
def macro(shared_data):
    path = shared_data / "kalshi/forte_macro_ladders_2026/db/kalshi_macro_data_v2.db"
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    frame = pd.read_sql("select * from v_contract_details", connection)
    connection.close()
    return frame[(frame.strike_structure == "cumulative") & frame.strike.notna()]


def test_macro_ladders_become_distributions_and_their_violations_are_counted(macro):
    n_negative = n_fitted = n_band = 0
    groups = list(macro.groupby(["market_type", "contract_series", "timestamp"]))
    for (market, _, _), rows in groups[:: len(groups) // 30]:
        rows = rows.drop_duplicates("contract_code").sort_values("strike")
        mass = rows.implied_probability.to_numpy()
        if len(rows) < 5 or np.isnan(mass).any():
            continue
        # The recording holds differences of adjacent prices: their sums from above are the prices.
        survival = np.clip(np.cumsum(mass[::-1])[::-1], 0.0, 1.0)
        n_negative += int((mass < 0).sum())
        legs = [
            Contract(code, "greater_or_equal", float(strike))
            for code, strike in zip(rows.contract_code, rows.strike, strict=True)
        ]
        ladder = ladder_structure(legs, SettlementGrid(STEPS[market]), is_exclusive=False)
        model = prepare_ladder(ladder)
        quotes = ladder_quotes(
            ladder,
            [
                LegQuote(t, max(round(1e4 * p) - 100, 0), min(round(1e4 * p) + 100, 10_000))
                for t, p in zip(ladder.tickers, survival, strict=True)
            ],
        )
        fitted = fit_distribution(model, quotes)
        assert fitted.is_available
        assert fitted.pmf.min() >= 0.0
        assert fitted.pmf.sum() == pytest.approx(1.0)
        assert (np.diff(fitted.leg_probability) <= 1e-12).all()
        strikes = rows.strike.to_numpy()
        gap = float(np.diff(strikes).max())
        repaired = fit_threshold_curve(
            strikes, survival, lower_edge=strikes[0] - gap, upper_edge=strikes[-1] + gap
        )
        assert repaired.mass.min() >= -1e-12
        assert repaired.n_violations == int((np.diff(survival) > 0.0).sum())
        n_fitted += 1
        n_band += not fitted.band.is_feasible
        if not fitted.band.is_feasible:
            assert measure_incoherence(quotes).total_e4 > 0.0
    assert n_fitted >= 20
    assert n_negative > 25
    assert n_band > 0


def test_weather_ladders_are_whole_on_degrees(shared_data):
    folder = shared_data / "kalshi/cpratim_kxhigh_ny_chi_2024_08_2025_02/kxhighny/events"
    grid = SettlementGrid(1.0)
    n_whole = n_missing = 0
    for path in sorted(folder.iterdir())[-90:]:
        event = json.loads(gzip.decompress(path.read_bytes()))
        legs = [
            Contract(
                market["ticker"], market.get("strike_type") or "", market.get("floor_strike"),
                market.get("cap_strike"),
            )
            for market in event["markets"]
        ]  # fmt: skip
        faults = find_structure_faults(legs, grid, is_exclusive=True)
        unresolved = [f for f in faults if f.code == "unresolved_direction"]
        n_missing += len(unresolved)
        if unresolved:
            # The winner lost its strike fields after settlement: refused, and read from its label
            # only by the parser that marks it.
            assert not reconstruct(legs, [], grid, is_exclusive=True).is_available
            labels = {m["ticker"]: m["yes_sub_title"] for m in event["markets"]}
            legs = [
                parse_recorded_text(c.ticker, labels[c.ticker]) if c.strike_type == "" else c
                for c in legs
            ]
            assert {c.basis for c in legs} == {"fields", "recorded_text"}
            faults = find_structure_faults(legs, grid, is_exclusive=True)
        if not faults:
            ladder = ladder_structure(legs, grid, is_exclusive=True)
            assert (ladder.kind, ladder.is_covering) == ("exclusive", True)
            n_whole += 1
    assert n_whole >= 85
    assert n_missing == 25


def test_a_recorded_book_gives_a_distribution(shared_data):
    path = shared_data / "kalshi/orderbook_snapshots_202602/market_snapshots/2026-02-12.parquet"
    frame = pd.read_parquet(path)
    grid = SettlementGrid(1.0)
    n_rich = 0
    for _, rows in frame.groupby("snapshot_ts"):
        legs = [
            parse_recorded_text(t, s)
            for t, s in zip(rows.market_ticker, rows.subtitle, strict=True)
        ]
        quotes = [
            LegQuote(
                r.market_ticker,
                100 * r.yes_bid if r.yes_bid else -1,
                100 * r.yes_ask,
                10_000,
                10_000,
            )
            for r in rows.itertuples()
        ]
        fitted = reconstruct(legs, quotes, grid, is_exclusive=True)
        assert fitted.is_available
        assert 38.0 < fitted.quantiles([0.5])[0] < 42.0
        # Bids add up to 101 cents: a violation, and one that fees eat.
        total = int(rows.yes_bid.sum())
        assert fitted.band.is_feasible == (total <= 100)
        n_rich += total > 100
        ladder = ladder_structure(legs, grid, is_exclusive=True)
        free, usual = (FeeEntry("series", "S", "quadratic", Fraction(m)) for m in (0, 1))
        found = scan_ladder(ladder_quotes(ladder, quotes), free)
        assert bool(found) == (total > 100)
        assert scan_ladder(ladder_quotes(ladder, quotes), usual) == ()
    assert n_rich > 0
