"""The client against the fake exchange: complete, once each, whatever the pages do."""

import numpy as np
import pytest

from quant_engine.core.errors import ConfigError, SchemaMismatchError, SourceUnavailableError
from quant_engine.kalshi.exchange.client import Cutoff, Span
from quant_engine.kalshi.exchange.routing import all_candles, all_markets, all_trades
from quant_engine.kalshi.exchange.timing import VirtualTimer
from quant_engine.kalshi.fake.rest import FakeConfig, Fault

pytestmark = pytest.mark.feature("Q-45")

PAGE_FAULTS = ("repeat_page", "empty_page", "cursor_loop", "cursor_expired")


def truth(world, ticker):
    return [t for event in world.events for t in event.trades if t.ticker == ticker]


def busiest(world):
    names = [t.ticker for event in world.events for t in event.trades]
    return max(sorted(set(names)), key=names.count)


def whole(world):
    return Span(world.events[0].release_us - 10**12, world.events[-1].release_us + 10**11)


def assert_complete(trades, world, ticker):
    assert [t.trade_id for t in trades] == [t.trade_id for t in truth(world, ticker)]


def test_the_catalogue(scene, world):
    made = scene()
    client = made.client
    assert [s.ticker for s in client.series()] == ["KXFAKE"]
    assert [e.ticker for e in client.events(series="KXFAKE")] == [e.ticker for e in world.events]
    assert client.events(series="OTHER") == []
    for known in world.events:
        event, markets = client.event(known.ticker)
        assert (event.ticker, event.strike_us) == (known.ticker, known.release_us)
        for market, contract in zip(markets, known.contracts, strict=True):
            assert market == client.market(contract.ticker)
            assert (market.ticker, market.strike_type) == (contract.ticker, contract.strike_type)
            assert (market.floor_strike, market.cap_strike) == (contract.floor, contract.cap)
            assert (market.result == "yes") == known.pays(contract)
    assert made.drift.total() == 0


def test_live_quotes_before_the_release(scene, world):
    event = world.events[-1]
    made = scene(timer=VirtualTimer(event.release_us - 60_000_000))
    for contract in event.contracts:
        quote = event.quotes[contract.ticker][-1]
        market, book = made.client.market(contract.ticker), made.client.book(contract.ticker)
        assert (market.yes_bid_e4, market.yes_ask_e4) == (quote.bid_e4, quote.ask_e4)
        assert book.yes == (() if quote.bid_e4 is None else ((quote.bid_e4, 2500),))
        assert book.no == (() if quote.ask_e4 is None else ((10_000 - quote.ask_e4, 2500),))
        assert market.result == ""


def test_unknown_status_and_strike_type_pass_and_are_counted(scene, world):
    surprise = {"status": "hibernating", "strike_type": "spiral", "colour": "red"}
    made = scene(config=FakeConfig(market_fields=surprise))
    _, markets = made.client.event(world.events[0].ticker)
    assert {m.status for m in markets} == {"hibernating"}
    assert {m.strike_type for m in markets} == {"spiral"}
    notes = {note.field: note.count for note in made.drift.notes()}
    assert notes == dict.fromkeys(("status", "strike_type", "colour"), len(markets))


@pytest.mark.parametrize("kind", PAGE_FAULTS)
@pytest.mark.parametrize("where", [1, 2, 3])
def test_pages_that_misbehave_lose_nothing(scene, world, kind, where):
    ticker = busiest(world)
    made = scene(config=FakeConfig(page_size=7), faults={where: Fault(kind)})
    assert_complete(made.client.trades(ticker, whole(world)), world, ticker)


def test_a_cursor_that_always_loops_is_an_error(scene, world):
    faults = {number: Fault("cursor_loop") for number in range(1000)}
    made = scene(config=FakeConfig(page_size=3), faults=faults)
    with pytest.raises(SourceUnavailableError, match="circles or expired 4 times"):
        made.client.trades(busiest(world), whole(world))


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_chaos_is_complete_and_without_repetitions(scene, world, share):
    rng = np.random.default_rng(5)
    kinds = ("429", "500", "503", "cut_off", "plain_error", *PAGE_FAULTS[:2])
    faults = {
        int(n): Fault(kinds[rng.integers(len(kinds))])
        for n in np.flatnonzero(rng.random(3000) < share)
    }
    made = scene(config=FakeConfig(page_size=5, clock_offset_us=30_000_000), faults=faults)
    tickers = [contract.ticker for event in world.events for contract in event.contracts]
    for ticker in tickers:
        assert_complete(made.client.trades(ticker, whole(world)), world, ticker)
    assert dict(made.exchange.counts) == {"GET": len(made.exchange.log)}
    assert made.transport.counts["repeated"] > 5


@pytest.mark.parametrize("step_us", [0, 1, 3_000_000_000, 20_000_000_000])
@pytest.mark.parametrize("place", [-1.0, 0.0, 0.3, 0.6, 2.0])
def test_live_and_historical_join_around_a_moving_cutoff(scene, world, place, step_us):
    ticker = busiest(world)
    known = truth(world, ticker)
    start, end = known[0].at_us, known[-1].at_us
    cutoff = start + round(place * (end - start))
    config = FakeConfig(page_size=4, trades_cutoff_us=cutoff, cutoff_step_us=step_us)
    made = scene(config=config)
    trades = all_trades(made.client, {ticker: whole(world)})
    assert_complete(trades, world, ticker)


def test_markets_and_candles_of_both_tiers_agree(scene, world):
    event = world.events[0]
    live, past = scene(), scene(config=FakeConfig(markets_cutoff_us=event.release_us + 1))
    expected = {contract.ticker for contract in event.contracts}
    answers = [all_markets(made.client, event.ticker) for made in (live, past)]
    assert answers[0] == answers[1]
    assert {m.ticker for m in answers[0]} == expected
    assert not past.client.markets(event=event.ticker)
    for market in answers[0][:3]:
        candles = [
            all_candles(made.client, {market.ticker: ("KXFAKE", market, whole(world))})[
                market.ticker
            ]
            for made in (live, past)
        ]
        assert candles[0] == candles[1]
        assert len(candles[0]) == world.config.n_snapshots
        quotes = event.quotes[market.ticker]
        assert [c.bid.close_e4 for c in candles[0]] == [q.bid_e4 or 0 for q in quotes]
        volume = sum(t.count_c2 for t in truth(world, market.ticker))
        assert sum(c.volume_c2 for c in candles[0]) == volume
    assert live.drift.total() == past.drift.total() == 0


def test_spans_and_periods_are_checked(scene, world):
    with pytest.raises(ConfigError, match="start before its end"):
        Span(5, 5)
    with pytest.raises(ConfigError, match="one of"):
        scene().client.candles("KXFAKE", "A", Span(0, 1), period_min=5)
    config = FakeConfig(trades_cutoff_us=1_000_001, markets_cutoff_us=2_000_000)
    assert scene(config=config).client.cutoff() == Cutoff(1_000_001, 2_000_000)


def test_an_answer_of_another_shape_is_named(scene, monkeypatch):
    made = scene()
    monkeypatch.setattr(made.exchange, "_series", lambda: None)
    monkeypatch.setattr(made.exchange, "_route", lambda *_: (200, {"surprise": 1}))
    for ask in (made.client.series, made.client.events, made.client.cutoff):
        with pytest.raises(SchemaMismatchError):
            ask()
