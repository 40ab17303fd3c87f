"""Wire formats: two schemas, one record; every surprise is counted and none stops the reader."""

import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import SchemaMismatchError
from quant_engine.kalshi.exchange import stream, wire
from quant_engine.kalshi.exchange.drift import DriftKind, DriftLog
from quant_engine.kalshi.exchange.records import Ohlc
from quant_engine.kalshi.exchange.replay import read_event_file, read_trades_file

CENTS = {
    "ticker": "A-T82", "event_ticker": "A", "market_type": "binary", "status": "finalized",
    "strike_type": "less", "cap_strike": 82, "yes_bid": 3, "yes_ask": 5, "last_price": 4,
    "volume": 50, "open_interest": 0, "notional_value": 100, "result": "no",
    "close_time": "2024-08-17T03:59:00Z", "can_close_early": True,
}  # fmt: skip
DOLLARS = {
    "ticker": "A-T82", "event_ticker": "A", "market_type": "binary", "status": "finalized",
    "strike_type": "less", "cap_strike": 82.0, "yes_bid_dollars": "0.0300",
    "yes_ask_dollars": "0.050000", "last_price_dollars": "0.0400", "volume_fp": "50.00",
    "open_interest_fp": "0.00", "notional_value_dollars": "1.0000", "result": "no",
    "close_time": "2024-08-17T03:59:00Z", "can_close_early": True,
}  # fmt: skip


def test_both_schemas_give_the_same_market():
    drift = DriftLog()
    old, new = wire.read_market(CENTS, drift), wire.read_market(DOLLARS, drift)
    assert old == new
    assert (new.yes_bid_e4, new.yes_ask_e4, new.volume_c2, new.notional_e6) == (
        300, 500, 5000, 1_000_000,
    )  # fmt: skip
    assert old.raw is CENTS
    assert drift.total() == 0


def test_the_dollar_field_wins_over_the_rounded_cent():
    both = {"ticker": "A", "yes_bid": 3, "yes_bid_dollars": "0.0325"}
    assert wire.read_market(both, DriftLog()).yes_bid_e4 == 325


def test_a_missing_quote_is_not_a_price():
    nobody = {"ticker": "A", "yes_bid": 0, "yes_ask_dollars": "1.0000", "last_price": 0}
    market = wire.read_market(nobody, DriftLog())
    assert (market.yes_bid_e4, market.yes_ask_e4, market.last_e4) == (None, None, None)


@pytest.mark.parametrize(
    ("change", "field", "kind"),
    [
        ({"status": "hibernating"}, "status", DriftKind.UNKNOWN_VALUE),
        ({"strike_type": "spiral"}, "strike_type", DriftKind.UNKNOWN_VALUE),
        ({"colour": {"a": 1}}, "colour", DriftKind.UNKNOWN_FIELD),
        ({"yes_bid_dollars": 0.03}, "yes_bid_dollars", DriftKind.UNREADABLE),
        ({"close_time": "soon"}, "close_time", DriftKind.UNREADABLE),
        ({"price_ranges": [1]}, "price_ranges", DriftKind.UNREADABLE),
    ],
)
def test_drift_is_counted_and_kept(change, field, kind, caplog):
    drift = DriftLog()
    for _ in range(3):
        market = wire.read_market(DOLLARS | change, drift)
    (note,) = drift.notes()
    assert (note.model, note.field, note.kind, note.count) == ("Market", field, kind, 3)
    assert len(caplog.records) == 1
    (name, value) = next(iter(change.items()))
    assert market.raw[name] == value
    if kind == DriftKind.UNKNOWN_VALUE:
        assert getattr(market, field) == value


@pytest.mark.parametrize("record", [None, [], "x", {}, {"ticker": ""}, {"ticker": 5}])
def test_a_record_without_its_key_is_refused_alone_and_skipped_in_a_list(record):
    drift = DriftLog()
    with pytest.raises(SchemaMismatchError):
        wire.read_market(record, drift)
    assert [m.ticker for m in wire.read_list(wire.read_market, [record, CENTS], drift)] == ["A-T82"]
    assert ("read_market", "*") in {(note.model, note.field) for note in drift.notes()}
    with pytest.raises(SchemaMismatchError, match="a list"):
        wire.read_list(wire.read_market, {"a": 1}, drift)


def test_live_historical_and_cents_candles_are_equal():
    def candle(suffix, fixed, price, count):
        side = {f"{name}{suffix}": price for name in ("open", "high", "low", "close")}
        return {
            "end_period_ts": 3600, "yes_bid": side, "yes_ask": side,
            "price": side | {f"mean{suffix}": price, f"previous{suffix}": None},
            f"volume{fixed}": count, f"open_interest{fixed}": count,
        }  # fmt: skip

    drift = DriftLog()
    live = wire.read_candle(candle("_dollars", "_fp", "0.3700", "5.00"), drift)
    assert live == wire.read_candle(candle("", "", "0.3700", 5), drift)
    assert live == wire.read_candle(candle("", "", 37, 5), drift)
    assert live.bid == Ohlc(3700, 3700, 3700, 3700)
    assert (live.mean_e6, live.previous_e4, drift.total()) == (370_000, None, 0)


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_levels_means_nothing(order):
    levels = [["0.05", "1.00"], ["0.07", "2.00"], ["0.06", "0.00"]][::order]
    book = wire.read_book("A", {"yes_dollars": levels, "no_dollars": []}, DriftLog())
    assert book.yes == ((700, 200), (500, 100))
    cents = {"yes": [[5, 1], [7, 2], [6, 0]][::order], "no": None}
    assert wire.read_book("A", cents, DriftLog()) == book


@pytest.mark.parametrize("bad", [None, {"yes": {}}, {"yes": [[1]]}, {"no_dollars": [["x", "1"]]}])
def test_half_a_book_is_no_book(bad):
    with pytest.raises(SchemaMismatchError):
        wire.read_book("A", bad, DriftLog())


def in_spec(shared_data, name, *schemas):
    """Names of the properties of one schema of the pinned documents, and of those inside it."""
    text = (shared_data / "kalshi" / "spec" / name).read_text(encoding="utf-8")
    block = re.search(rf"^    {schemas[0]}:\n(?:(?:      .*)?\n)+", text, re.MULTILINE).group()
    found = yaml.safe_load(block)[schemas[0]]
    for inside in schemas[1:]:
        found = found["properties"][inside]
    return set(found["properties"])


@pytest.mark.parametrize(
    ("schema", "known"),
    [
        ("Market", wire._MARKET.known),
        ("EventData", wire._EVENT.known),
        ("Series", wire._SERIES.known),
        ("Trade", wire._TRADE.known),
        ("MarketCandlestick", wire._CANDLE.known),
        ("MarketCandlestickHistorical", wire._CANDLE.known),
        ("BidAskDistribution", wire._OHLC.known),
        ("PriceDistribution", wire._OHLC.known),
        ("PriceDistributionHistorical", wire._OHLC.known),
        ("OrderbookCountFp", wire._BOOK_KNOWN),
    ],
)
def test_the_pinned_specification_holds_no_surprise(shared_data, schema, known):
    assert in_spec(shared_data, "specs/openapi.yaml", schema) - known == set()


@pytest.mark.parametrize(
    ("schema", "known"),
    [
        ("orderbookDeltaPayload", stream._CHANGE_FIELDS),
        ("orderbookSnapshotPayload", wire._BOOK_KNOWN),
        ("tradePayload", wire._TRADE.known),
    ],
)
def test_the_pinned_websocket_specification_holds_no_surprise(shared_data, schema, known):
    assert in_spec(shared_data, "asyncapi.yaml", schema) <= stream._ENVELOPE_FIELDS
    assert in_spec(shared_data, "asyncapi.yaml", schema, "msg") - known == set()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
READERS = {
    "ticker": (wire.read_market, wire._MARKET),
    "event_ticker": (wire.read_event, wire._EVENT),
    "trade_id": (wire.read_trade, wire._TRADE),
    "end_period_ts": (wire.read_candle, wire._CANDLE),
}


@pytest.mark.parametrize("key", READERS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_field_of_any_type_stops_a_reader(key, data):
    """Every unknown name is counted, and every known one is read or counted as unreadable."""
    read, table = READERS[key]
    names = st.sampled_from(sorted(table.known - {key})) | st.text(max_size=6)
    record = data.draw(st.dictionaries(names, ANYTHING, max_size=6))
    record[key] = 60 if key == "end_period_ts" else "A"
    drift = DriftLog()
    got = read(record, drift)
    assert got.raw is record
    unknown = {note.field for note in drift.notes() if note.kind == DriftKind.UNKNOWN_FIELD}
    assert set(record) - table.known <= unknown


def test_a_real_archive_of_the_cents_schema(shared_data):
    root = shared_data / "kalshi" / "cpratim_kxhigh_ny_chi_2024_08_2025_02"
    drift = DriftLog()
    found = [read_event_file(path, drift) for path in sorted(root.glob("kx*/events/*.json.gz"))]
    markets = [market for archived in found for market in archived.markets]
    assert (len(found), len(markets), drift.total()) == (368, 2208, 0)
    assert all(archived.is_final for archived in found)
    unnamed = [market for market in markets if market.strike_type is None]
    # The presence of a field leaks the result here, which is why it is never inferred.
    assert [market.result for market in unnamed] == ["yes"] * 50
    paths = sorted(root.glob("kxhighny/trades/*.json.gz"))[:20]
    trades = [trade for path in paths for trade in read_trades_file(path, drift)]
    assert drift.total() == 0
    assert all(t.yes_price_e4 == t.raw["yes_price"] * 100 for t in trades)
    assert all(t.count_c2 == t.raw["count"] * 100 and t.created_us for t in trades)


@pytest.mark.slow
def test_every_print_of_the_archive_is_read(shared_data):
    root = shared_data / "kalshi" / "cpratim_kxhigh_ny_chi_2024_08_2025_02"
    drift = DriftLog()
    paths = sorted(root.glob("kx*/trades/*.json.gz"))
    assert sum(len(read_trades_file(path, drift)) for path in paths) == 420_671
    assert drift.total() == 0
