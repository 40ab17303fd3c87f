"""Releases, outcomes, clusters and ladders as they were known."""

from dataclasses import replace

import pytest

from quant_engine.core.errors import ConfigError, LookAheadError
from quant_engine.kalshi.events import (
    LookConfig,
    Release,
    ladder_at,
    ladder_panel,
    map_events,
    put_releases,
    reconstruct_look,
)
from quant_engine.kalshi.exchange.records import Event, Market
from quant_engine.kalshi.lattice import SettlementGrid
from quant_engine.kalshi.quotes import NO_QUOTE
from quant_engine.kalshi.storage import KalshiStore
from quant_engine.kalshi.store.writing import Lags, Sighting, equal_strikes, put_events, put_markets

pytestmark = pytest.mark.feature("Q-45")

HOUR = 3_600_000_000
OPEN, STRIKE = 100 * HOUR, 148 * HOUR


@pytest.fixture
def store(tmp_path):
    with KalshiStore(tmp_path / "k.duckdb", run_id="one", threads=1) as made:
        yield made


def fact(avail_us):
    return {"recorded_us": 0, "avail_us": avail_us, "avail_basis": "assumed", "src": "x"}


def market(number, **fields):
    known = {"strike_type": "greater", "floor_strike": float(number), "open_us": OPEN}
    return Market(ticker=f"E-{number}", event_ticker="E", **(known | fields))


def listed(store, markets, *, at_us=OPEN, strike_us=STRIKE):
    seen = Sighting(at_us, "x")
    event = Event(ticker="E", series_ticker="S", strike_us=strike_us, mutually_exclusive=False)
    put_events(store, [event], seen)
    put_markets(store, markets, seen)


def number(name, value, at_us, **more):
    return {"release": name, "value": value, "unit": "%", "publish_us": at_us, **more}


def test_decisions_count_back_from_the_schedule_and_never_from_the_close(store):
    listed(store, [market(k, status="active") for k in (1, 2, 3)])
    # It resolved a day early; the schedule says nothing about it.
    over = [market(k, status="finalized", close_us=STRIKE - 24 * HOUR, result="no") for k in (1, 2)]
    put_markets(store, over, Sighting(STRIKE + HOUR, "x"))
    found = ladder_panel(store.connection, [3600, 7200])
    assert [(k.asof_us, k.scheduled_us) for k in found] == [
        (STRIKE - 2 * HOUR, STRIKE), (STRIKE - HOUR, STRIKE),
    ]  # fmt: skip
    assert not any(q.is_paused for look in found for q in look.quotes)
    # An event has no look at a horizon that lies before its listing.
    assert ladder_panel(store.connection, [49 * 3600]) == []
    assert len(ladder_panel(store.connection, [48 * 3600])) == 1
    assert ladder_panel(store.connection, [3600], until_us=STRIKE - HOUR - 1) == []
    with pytest.raises(ConfigError, match="positive seconds"):
        ladder_panel(store.connection, [0])


@pytest.mark.parametrize(
    ("release_us", "known_us", "wanted"),
    [
        (STRIKE - 5 * HOUR, OPEN, STRIKE - 5 * HOUR),  # the release comes before the strike date
        (STRIKE + 5 * HOUR, OPEN, STRIKE),
        (STRIKE - 5 * HOUR, OPEN + 1, STRIKE),  # learned after the schedule began to hold
    ],
)
def test_the_earlier_of_strike_date_and_release_is_the_schedule(
    store, release_us, known_us, wanted
):
    listed(store, [market(1)])
    put_releases(store, [Release("R", "cpi", "p")], [release_us], facts=[fact(known_us)])
    map_events(store, {"E": ("R", "C")}, facts=[fact(known_us)])
    (look,) = ladder_panel(store.connection, [3600])
    assert (look.scheduled_us, look.asof_us) == (wanted, wanted - HOUR)
    assert (look.family, look.cluster) == ("cpi", "C")


def test_without_a_strike_date_the_release_is_the_schedule(store):
    listed(store, [market(1)], strike_us=None)
    assert ladder_panel(store.connection, [3600]) == []
    put_releases(store, [Release("R", "cpi", "p")], [STRIKE], facts=[fact(OPEN + HOUR)])
    map_events(store, {"E": ("R", "C")}, facts=[fact(OPEN + 2 * HOUR)])
    (look,) = ladder_panel(store.connection, [3600])
    assert look.max_input_avail_us == OPEN + 2 * HOUR
    assert ladder_panel(store.connection, [47 * 3600]) == []


def test_a_postponed_release_moves_no_decision(store):
    listed(store, [market(1)], strike_us=None)
    put_releases(store, [Release("R", "cpi", "p")], [STRIKE], facts=[fact(OPEN)])
    map_events(store, {"E": ("R", "C")}, facts=[fact(OPEN)])
    before = ladder_panel(store.connection, [3600])[0].asof_us
    put_releases(store, [Release("R", "cpi", "p")], [STRIKE + HOUR], facts=[fact(STRIKE - HOUR)])
    assert ladder_panel(store.connection, [3600])[0].asof_us == before


def test_strikes_that_are_listed_later_are_not_on_the_ladder_before(store):
    listed(store, [market(1), market(2)])
    middle = OPEN + 20 * HOUR
    put_markets(store, [market(3, created_us=middle)], Sighting(STRIKE + HOUR, "x"))
    (event_id,) = store.ids("event", ["E"])
    for asof_us, n in ((middle - 1, 2), (middle, 3)):
        look = ladder_at(store.connection, event_id, asof_us)
        assert len(look.contracts) == n
    assert ladder_at(store.connection, event_id, OPEN - 1) is None


def test_a_look_has_quotes_ages_reasons_and_its_newest_input(store):
    listed(store, [market(1, yes_bid_e4=4000, yes_ask_e4=4200), market(2), market(3)])
    later = Sighting(OPEN + 2 * HOUR, "x")
    put_markets(store, [market(3, yes_ask_e4=900, yes_ask_size_c2=70)], later)
    (event_id,) = store.ids("event", ["E"])
    config = LookConfig(stale_after_us=3 * HOUR)
    look = ladder_at(store.connection, event_id, OPEN + 3 * HOUR, config=config)
    found = {q.ticker: q for q in look.quotes}
    assert (found["E-1"].bid_e4, found["E-1"].ask_e4, found["E-1"].age_s) == (4000, 4200, 10_800.0)
    assert (found["E-3"].bid_e4, found["E-3"].ask_e4) == (NO_QUOTE, 900)
    assert found["E-3"].ask_size_c2 == 70
    assert look.absent == {"E-2": "none"}
    assert look.max_input_avail_us == OPEN + 2 * HOUR
    look = ladder_at(store.connection, event_id, OPEN + 4 * HOUR, config=config)
    assert look.absent == {"E-1": "stale", "E-2": "none"}
    assert {q.ticker: q.bid_e4 for q in look.quotes}["E-1"] == NO_QUOTE
    with pytest.raises(LookAheadError, match="inputs available by"):
        replace(look, max_input_avail_us=look.asof_us + 1)


def test_a_ladder_with_unknown_strikes_is_not_whole_and_gets_no_distribution(store):
    listed(store, [market(1), market(2), market(3, strike_type="custom", floor_strike=None)])
    (look,) = ladder_panel(store.connection, [3600])
    assert look.without_strikes == ("E-3",)
    fitted = reconstruct_look(look, SettlementGrid(1.0))
    assert [gate.code for gate in fitted.gates] == ["unresolved_direction"]


def test_legs_are_read_in_one_way_whichever_lost_its_fields(store):
    texts = {1: "1 or below", 2: "2 to 3", 3: "4 or above"}
    whole = [market(k, yes_sub_title=t) for k, t in texts.items()]
    assert {c.basis for c in equal_strikes(whole).values()} == {"fields"}
    for gone in (0, 1, 2):
        legs = list(whole)
        legs[gone] = replace(legs[gone], strike_type=None, floor_strike=None)
        found = equal_strikes(legs)
        assert {c.basis for c in found.values()} == {"recorded_text"}
        assert found == equal_strikes(whole, text_only=True)
    unreadable = [replace(whole[0], strike_type=None, yes_sub_title="low"), *whole[1:]]
    assert equal_strikes(unreadable) == {}


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="positive age"):
        LookConfig(stale_after_us=0)
    with pytest.raises(ConfigError, match="positive age"):
        LookConfig("rumour")
    with pytest.raises(ConfigError, match="at least 0"):
        Lags(trade_us=-1)
