"""Order books of the websocket: equal to the truth, or declared unknown."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import ConfigError
from quant_engine.kalshi.exchange.book import OrderBook
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.records import Trade
from quant_engine.kalshi.exchange.stream import BookStream
from quant_engine.kalshi.fake.books import FRAME_FAULTS, FakeBooks, FakeChannel


def frame(kind, seq=None, sid=7, **msg):
    numbered = {} if seq is None else {"seq": seq}
    return json.dumps({"type": kind, "sid": sid, **numbered, "msg": msg}).encode()


def change(seq, size="1.00", *, ticker="A", side="yes", price="0.4000"):
    return frame(
        "orderbook_delta", seq, market_ticker=ticker, price_dollars=price, delta_fp=size, side=side
    )


def snapshot(seq, ticker="A", **sides):
    return frame("orderbook_snapshot", seq, market_ticker=ticker, **sides)


@pytest.fixture
def stream():
    """Subscribed to A and B, both known, last number 2."""
    made = BookStream(DriftLog())
    made.subscribe(["A", "B"])
    (command,) = made.commands()
    assert command["params"] == {
        "channels": ["orderbook_delta"],
        "market_tickers": ["A", "B"],
        "use_yes_price": True,
    }
    ack = {
        "id": command["id"],
        "type": "subscribed",
        "msg": {"channel": "orderbook_delta", "sid": 7},
    }
    made.feed(json.dumps(ack), received_us=0)
    levels = [["0.4000", "5.00"]]
    made.feed(snapshot(1, yes_dollars_fp=levels), received_us=10)
    made.feed(snapshot(2, "B", no_dollars_fp=[["0.6000", "2.00"]]), received_us=20)
    assert made.commands() == []
    return made


def known(stream):
    return {ticker for ticker, book in stream.books.items() if book.is_known}


def test_snapshots_and_changes(stream):
    assert stream.feed(change(3, "2.50"), received_us=30) is stream.books["A"]
    assert stream.books["A"].yes == {4000: 750}
    stream.feed(change(4, "-7.50"), received_us=40)
    assert stream.books["A"].yes == {}
    # A no bid shown at the yes price 0.60 is a bid of 0.40 for no, an ask of 0.60 for yes.
    assert stream.books["B"].no == {4000: 200}
    assert stream.books["B"].top().ask_e4 == 6000
    stream.feed(change(5, "1.00", ticker="B", side="no", price="0.5500"), received_us=50)
    assert stream.books["B"].top().ask_e4 == 5500
    assert stream.positions() == {7: 5}


def test_an_older_recording_has_no_prices_on_the_no_side():
    made = BookStream(DriftLog(), yes_prices=False)
    made.feed(snapshot(1, no_dollars_fp=[["0.4000", "2.00"]]), received_us=0)
    assert made.books["A"].top().ask_e4 == 6000


def test_acknowledgements_consume_numbers(stream):
    assert stream.feed(frame("ok", 3, market_tickers=[]), received_us=30) is None
    stream.feed(change(4), received_us=40)
    assert known(stream) == {"A", "B"}
    assert stream.gaps == []


def test_a_jump_opens_a_gap_for_every_book_of_the_subscription(stream):
    stream.feed(change(3), received_us=30)
    assert stream.feed(change(5), received_us=50) is None
    assert known(stream) == set()
    assert stream.open_gaps() == {"A": "missing message", "B": "missing message"}
    (command,) = stream.commands()
    assert command["params"] == {
        "sids": [7], "action": "get_snapshot", "market_tickers": ["A", "B"],
    }  # fmt: skip
    stream.feed(snapshot(6, yes_dollars_fp=[["0.41", "1.00"]]), received_us=60)
    assert known(stream) == {"A"}
    (gap,) = stream.gaps
    assert (gap.from_seq, gap.to_seq, gap.from_us, gap.to_us) == (3, 6, 30, 60)


def test_duplicates_and_late_messages_are_dropped(stream):
    stream.feed(change(3), received_us=30)
    for late in (change(3), change(2), snapshot(1)):
        assert stream.feed(late, received_us=40) is None
    assert stream.books["A"].yes == {4000: 600}
    assert (known(stream), stream.counts["late"]) == ({"A", "B"}, 3)


def test_swapped_messages_cost_a_gap_but_never_a_wrong_book(stream):
    stream.feed(change(4), received_us=30)
    stream.feed(change(3), received_us=31)
    assert known(stream) == set()
    assert stream.counts["late"] == 1


def test_numbers_that_begin_anew_are_noticed(stream):
    for seq in range(3, 80):
        stream.feed(change(seq), received_us=seq)
    for seq in range(1, 65):
        stream.feed(change(seq), received_us=100 + seq)
    assert stream.open_gaps()["A"] == "numbers began anew"
    stream.feed(snapshot(65), received_us=300)
    assert known(stream) == {"A"}


def test_a_snapshot_that_does_not_come_is_asked_for_again(stream):
    stream.feed(change(9), received_us=0)
    assert len(stream.commands()) == 1
    stream.feed(change(10), received_us=1_000_000)
    assert stream.commands() == []
    stream.feed(change(11), received_us=2_000_000)
    (again,) = stream.commands()
    assert again["params"]["market_tickers"] == ["A"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (change(3, "-5.01"), "negative size"),
        (change(3, "one"), "unreadable change"),
        (change(3, price="0.40001"), "unreadable change"),
        (change(3, side="maybe"), "unreadable change"),
        (frame("orderbook_delta", 3), "unreadable change"),
        (snapshot(3, yes_dollars_fp=[["0.40"]]), "unreadable snapshot"),
        (frame("orderbook_snapshot", 3), "unreadable snapshot"),
        (change(3)[:40], "unreadable frame"),
        (b"", "unreadable frame"),
        (b"[]", "unreadable frame"),
        (b'{"no": "type"}', "unreadable frame"),
        (frame("error", code=25, msg="overflow"), "terminal error 25"),
        (frame("error", code=10, msg="channel"), "terminal error 10"),
    ],
)
def test_whatever_may_have_broken_a_book_is_declared(stream, bad, reason):
    stream.feed(bad, received_us=30)
    assert not stream.books["A"].is_known
    assert stream.open_gaps()["A"] == reason
    assert stream.commands()


def test_an_error_that_ends_nothing_is_counted(stream):
    stream.feed(frame("error", code=27, msg="slow down"), received_us=30)
    assert known(stream) == {"A", "B"}
    assert stream.counts["error_27"] == 1


def test_after_a_terminal_error_the_channel_is_asked_for_again(stream):
    stream.feed(frame("error", code=25, msg="overflow"), received_us=30)
    (command,) = stream.commands()
    assert command["cmd"] == "subscribe"
    assert command["params"]["market_tickers"] == ["A", "B"]
    assert stream.positions() == {}


def test_two_subscriptions_of_one_market_do_not_count_twice(stream):
    stream.feed(frame("orderbook_snapshot", 1, sid=8, market_ticker="A"), received_us=30)
    stream.feed(change(3), received_us=31)
    assert stream.books["A"].yes == {}
    assert stream.counts["other_subscription"] == 1
    again = json.loads(change(2)) | {"sid": 8}
    stream.feed(json.dumps(again), received_us=32)
    assert stream.books["A"].yes == {4000: 100}


def test_a_terminal_error_of_a_subscription_never_acknowledged_subscribes_anew():
    made = BookStream(DriftLog())
    made.subscribe(["A", "B"])
    made.commands()
    made.feed(json.dumps({"type": "error", "sid": 3, "msg": {"code": 25}}), received_us=0)
    (command,) = made.commands()
    assert command["params"]["market_tickers"] == ["A", "B"]


def test_a_lost_connection_declares_and_subscribes_anew(stream):
    stream.disconnected(now_us=99)
    assert known(stream) == set()
    assert set(stream.open_gaps().values()) == {"disconnected"}
    (command,) = stream.commands()
    assert command["cmd"] == "subscribe"
    stream.feed(frame("orderbook_snapshot", 1, sid=8, market_ticker="A"), received_us=120)
    assert known(stream) == {"A"}
    assert (stream.gaps[0].from_us, stream.gaps[0].to_us) == (20, 120)


def test_unknown_messages_and_fields_are_counted(stream):
    drift = stream._drift
    stream.feed(frame("surprise", 3, x=1), received_us=30)
    stream.feed(snapshot(4, colour="red"), received_us=40)
    assert {note.field for note in drift.notes()} == {"surprise", "colour"}
    assert known(stream) == {"A", "B"}
    assert stream.positions() == {7: 4}


def test_an_unknown_field_of_a_change_is_counted_and_the_change_applies(stream):
    drift = stream._drift
    odd = json.loads(change(3)) | {"colour": "red"}
    odd["msg"] |= {"shape": 1, "ts_ms": 5, "client_order_id": "x"}
    for seq in (3, 4):
        assert stream.feed(json.dumps(odd | {"seq": seq}), received_us=30) is stream.books["A"]
    assert stream.books["A"].yes == {4000: 700}
    assert [(note.model, note.field, note.count) for note in drift.notes()] == [
        ("orderbook_delta", "shape", 2), ("websocket", "colour", 2),
    ]  # fmt: skip
    stream.feed(json.dumps({"type": "ok", "sid": 7, "seq": 5, "hue": 1}), received_us=31)
    assert ("websocket", "hue") in {(note.model, note.field) for note in drift.notes()}
    assert known(stream) == {"A", "B"}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
KINDS = ("orderbook_delta", "orderbook_snapshot", "trade", "ok", "error", "subscribed", "ticker")


@given(
    kind=st.sampled_from(KINDS) | ANYTHING,
    envelope=st.dictionaries(st.sampled_from(["sid", "seq", "id", "msg", "x"]), ANYTHING),
    msg=st.dictionaries(
        st.sampled_from(
            "market_ticker side price_dollars delta_fp yes_dollars_fp code sid".split()
        ),
        ANYTHING | st.sampled_from(["A", "yes", "0.40", "1.00", 7, 25]),
    ),
    seq=st.sampled_from([3, 4, None, 3.0, "3", True]),
)
@settings(max_examples=300, deadline=None)
def test_no_frame_of_any_shape_stops_the_stream(kind, envelope, msg, seq):
    made = BookStream(DriftLog())
    made.feed(snapshot(1, yes_dollars_fp=[["0.40", "5.00"]]), received_us=0)
    made.feed(snapshot(2, "B"), received_us=1)
    odd = {"type": kind, "sid": 7, "seq": seq, "msg": msg} | envelope
    made.feed(json.dumps(odd), received_us=2)
    # Whatever it was: the books are known and whole numbers, or a gap says why they are not.
    for ticker, book in made.books.items():
        assert book.is_known != (ticker in made.open_gaps())
        assert all(type(v) is int and v > 0 for side in (book.yes, book.no) for v in side.values())


def test_prints_come_through(stream):
    print_ = frame(
        "trade", trade_id="x", market_ticker="A", yes_price_dollars="0.36", count_fp="136.00",
        taker_side="no", taker_outcome_side="no", taker_book_side="ask", is_block_trade=False,
        ts_ms=1669149841000, no_price_dollars="0.64", ts=1669149841,
    )  # fmt: skip
    trade = stream.feed(print_, received_us=30)
    assert isinstance(trade, Trade)
    assert (trade.yes_price_e4, trade.count_c2, trade.created_us) == (
        3600,
        13600,
        1669149841 * 10**6,
    )
    assert stream.feed(frame("trade", price=1), received_us=31) is None
    assert known(stream) == {"A", "B"}


def play(n, share, seed, *, stream_class=BookStream):
    """Errors in books that were called known, over n frames with faults; and gaps declared."""
    tickers = [f"M{i}" for i in range(8)]
    rng = np.random.default_rng(seed)
    script = {
        int(i): FRAME_FAULTS[rng.integers(len(FRAME_FAULTS))]
        for i in np.flatnonzero(rng.random(n) < share)
    }
    books = FakeBooks(seed, tickers)
    channel, stream = FakeChannel(books, faults=script), stream_class(DriftLog())
    stream.subscribe(tickers)
    truth = {t: {"yes": {}, "no": {}} for t in tickers}
    done = errors = checked = sent = connections = 0
    while sent + channel.sent < n:
        commands = stream.commands()
        frames = [f for c in commands for f in channel.command(c)] or channel.delta()
        assert len(books.changes) < 4 * n, "nobody is subscribed any more"
        for raw in frames:
            changed = stream.feed(raw, received_us=(sent + channel.sent) * 1000)
            for position in stream.positions().items():
                until = channel.truth.get(position, 0)
                for ticker, side, price, delta in books.changes[done:until]:
                    levels = truth[ticker][side]
                    levels[price] = levels.get(price, 0) + delta
                    if not levels[price]:
                        del levels[price]
                done = max(done, until)
            if isinstance(changed, OrderBook) and changed.is_known:
                checked += 1
                errors += {"yes": changed.yes, "no": changed.no} != truth[changed.ticker]
        if channel.is_closed:
            stream.disconnected(now_us=(sent + channel.sent) * 1000)
            sent += channel.sent
            connections += 1
            script = {k - channel.sent: v for k, v in script.items() if k >= channel.sent}
            channel = FakeChannel(books, faults=script, first_sid=10 * connections)
    return errors, checked, len(stream.gaps)


@pytest.mark.parametrize(("share", "seed"), [(0.0, 1), (0.01, 2), (0.05, 3)])
def test_no_undeclared_error_under_faults(share, seed):
    errors, checked, gaps = play(6000, share, seed)
    assert errors == 0
    assert checked > 6000 * (0.95 - 10 * share)
    assert (gaps > 0) == (share > 0)


def test_the_comparison_finds_a_stream_that_trusts_a_jump():
    class Trusting(BookStream):
        def _in_step(self, subscription, seq, now_us):
            return True

    errors, _, _ = play(3000, 0.02, 4, stream_class=Trusting)
    assert errors > 0


def test_an_unknown_fault_is_refused():
    with pytest.raises(ConfigError, match="faults"):
        FakeChannel(FakeBooks(1, ["A"]), faults={0: "explode"})
