"""Websocket messages to order books, without a socket: bytes go in, changes and commands come out.

Guarantee: a book whose ``is_known`` is true equals the exchange's book at the last applied number.
Everything that could break this declares a gap instead:

1. every message of a subscription carries the next number, acknowledgements included; a jump puts
   all books of the subscription into a gap that began at the last good message;
2. numbers that were already applied (duplicates, late messages) are dropped;
3. a frame that is not whole JSON may have belonged to any subscription: all books go into a gap;
4. a level that would become negative, a change that cannot be read, a terminal error of the
   exchange and a lost connection do the same for the books concerned;
5. a gap ends with the next snapshot, which is asked for at once and again when it does not come.

The shell that owns the socket sends what `BookStream.commands` returns; a recording is replayed by
feeding its frames to the same object.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from quant_engine.core.errors import SchemaMismatchError
from quant_engine.kalshi.exchange.book import BookGap, OrderBook
from quant_engine.kalshi.exchange.codec import decode
from quant_engine.kalshi.exchange.drift import DriftKind, DriftLog
from quant_engine.kalshi.exchange.fixed import ONE_DOLLAR_E4, count_c2, dollars_e4
from quant_engine.kalshi.exchange.records import BookSnapshot, Trade
from quant_engine.kalshi.exchange.wire import read_book, read_trade

__all__ = ["BOOK_CHANNEL", "TERMINAL_CODES", "TRADE_CHANNEL", "BookStream"]

BOOK_CHANNEL = "orderbook_delta"
TRADE_CHANNEL = "trade"
TERMINAL_CODES = frozenset({10, 17, 25})
"""Errors after which a subscription is dead: channel error, internal error, buffer overflow."""
_RESYNC_AFTER_US = 2_000_000
# So many late messages in a row are not late: the exchange has begun to count anew.
_RESTARTED_AFTER = 64
_MEMO_SIZE = 65_536
# A tuple, because a kind may be anything, also what no set can look up.
_UNCOUNTED = ("ticker", "trade")
_ENVELOPE_FIELDS = frozenset({"id", "type", "sid", "seq", "msg", "sending_ts_ms"})
_CHANGE_FIELDS = frozenset(
    "market_ticker market_id price_dollars delta_fp side client_order_id subaccount ts ts_ms "
    "sending_ts_ms".split()
)


class _Memo(dict[str, int]):
    """Texts to integers; the same few prices come millions of times.

    Sizes are too many: a table of them does not stay in the processor's cache, and reading the text
    is quicker.
    """

    def __init__(self, read: Any) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, text: str) -> int:
        value: int = self._read(text)
        if len(self) >= _MEMO_SIZE:
            self.clear()
        if isinstance(text, str):
            self[text] = value
        return value


@dataclass(slots=True)
class _Subscription:
    """State of one sid: the next number, and the tickers whose books hang on it."""

    sid: int
    channel: str
    tickers: set[str] = field(default_factory=set)
    # Books whose last snapshot came on this subscription: only its changes apply to them.
    owned: dict[str, OrderBook] = field(default_factory=dict)
    is_announced: bool = False
    next_seq: int | None = None
    good_us: int = 0
    late: int = 0


@dataclass(slots=True)
class _OpenGap:
    sid: int
    reason: str
    from_seq: int
    from_us: int
    asked_us: int


class BookStream:
    """All books of one connection.

    Parameters
    ----------
    drift : DriftLog
        Counts what was not understood.
    yes_prices : bool
        Levels of the no side come as yes prices, which the subscription asks for explicitly because
        the exchange's default is announced to change. False reads older recordings.

    Attributes
    ----------
    books : dict of str to OrderBook
        Ticker to book; look at ``is_known`` before reading one.
    gaps : list of BookGap
        Ended gaps, oldest first.
    counts : Counter
        Applied, dropped and unreadable messages, by cause.

    Examples
    --------
    >>> stream = BookStream(DriftLog())
    >>> stream.subscribe(["T"])
    >>> stream.commands()[0]["params"]["channels"]
    ['orderbook_delta']
    >>> _ = stream.feed(b'{"id":1,"type":"subscribed","msg":{"channel":"orderbook_delta","sid":7}}',
    ...     received_us=0)
    >>> _ = stream.feed(b'{"type":"orderbook_snapshot","sid":7,"seq":1,"msg":{"market_ticker":"T",'
    ...     b'"yes_dollars_fp":[["0.40","3.00"]]}}', received_us=1)
    >>> stream.books["T"].top().bid_e4
    4000
    """

    def __init__(self, drift: DriftLog, *, yes_prices: bool = True) -> None:
        self.books: dict[str, OrderBook] = {}
        self.gaps: list[BookGap] = []
        self.counts: Counter[str] = Counter()
        self._drift = drift
        self._yes_prices = yes_prices
        self._subscriptions: dict[int, _Subscription] = {}
        self._wanted: list[tuple[str, tuple[str, ...]]] = []
        self._pending: dict[int, tuple[str, tuple[str, ...]]] = {}
        self._open: dict[str, _OpenGap] = {}
        self._outbox: list[dict[str, Any]] = []
        self._next_id = 1
        self._price = _Memo(dollars_e4)

    def subscribe(self, tickers: Iterable[str], *, channel: str = BOOK_CHANNEL) -> None:
        """Ask for a channel of some markets, now and after every reconnection.

        Parameters
        ----------
        tickers : iterable of str
            Markets.
        channel : str
            Channel.
        """
        wanted = (channel, tuple(tickers))
        self._wanted.append(wanted)
        self._send_subscribe(wanted)

    def commands(self) -> list[dict[str, Any]]:
        """Take the commands that are to be sent now, oldest first."""
        taken, self._outbox = self._outbox, []
        return taken

    def open_gaps(self) -> dict[str, str]:
        """Ticker to reason of the books that are in a gap now."""
        return {ticker: gap.reason for ticker, gap in sorted(self._open.items())}

    def positions(self) -> dict[int, int]:
        """Subscription to the last number that was applied or skipped by a declared gap."""
        return {
            sid: subscription.next_seq - 1
            for sid, subscription in self._subscriptions.items()
            if subscription.next_seq is not None
        }

    def disconnected(self, *, now_us: int) -> None:
        """Put every book into a gap and prepare the subscriptions of the next connection."""
        for subscription in list(self._subscriptions.values()):
            self._fail(subscription, "disconnected", now_us, ask=False)
        self._subscriptions.clear()
        self._pending.clear()
        self._outbox.clear()
        for wanted in self._wanted:
            self._send_subscribe(wanted)

    def feed(self, frame: bytes | str, *, received_us: int) -> OrderBook | Trade | None:
        """Apply one frame.

        Parameters
        ----------
        frame : bytes or str
            As received.
        received_us : int
            Local time, microseconds UTC.

        Returns
        -------
        OrderBook or Trade or None
            The book that changed, or the print; None for everything else. Never raises for
            anything that the exchange may send.
        """
        try:
            message = decode(frame)
            kind = message["type"]
        except (SchemaMismatchError, KeyError, TypeError, IndexError):
            self._lost_frame(frame, received_us)
            return None
        sid, seq = message.get("sid"), message.get("seq")
        subscription = self._subscriptions.get(sid) if isinstance(sid, int) else None
        if seq is not None and kind not in _UNCOUNTED:
            if subscription is None:
                subscription = self._unannounced(sid, kind)
            if subscription is None or not isinstance(seq, int):
                self._lost_frame(frame, received_us)
                return None
            if seq != subscription.next_seq and not self._in_step(subscription, seq, received_us):
                return None
            subscription.next_seq = seq + 1
            subscription.good_us = received_us
            if kind == BOOK_CHANNEL:
                # Four keys are type, sid, seq and msg, or the change cannot be read.
                if len(message) > 4:
                    self._check_envelope(message)
                return self._delta(subscription, seq, message.get("msg"), received_us)
        self._check_envelope(message)
        return self._other(kind, subscription, message, received_us)

    def _check_envelope(self, message: dict[str, Any]) -> None:
        unknown = message.keys() - _ENVELOPE_FIELDS
        if unknown:
            self._drift.unknown_fields("websocket", unknown, record=message)

    def _in_step(self, subscription: _Subscription, seq: int, now_us: int) -> bool:
        """Handle a number that is not the next one; False when the message is to be dropped."""
        expected = subscription.next_seq
        if expected is None:
            return True
        if seq < expected:
            self.counts["late"] += 1
            subscription.late += 1
            if subscription.late < _RESTARTED_AFTER:
                return False
            self._fail(subscription, "numbers began anew", now_us)
        else:
            self.counts["jumps"] += 1
            self._fail(subscription, "missing message", now_us)
        subscription.late = 0
        return True

    def _delta(
        self, subscription: _Subscription, seq: int, msg: Any, now_us: int
    ) -> OrderBook | None:
        subscription.late = 0
        try:
            ticker, side = msg["market_ticker"], msg["side"]
            price = self._price[msg["price_dollars"]]
            delta = count_c2(msg["delta_fp"])
            book = subscription.owned.get(ticker)
        except (SchemaMismatchError, KeyError, TypeError):
            ticker = None
        if not isinstance(ticker, str):
            self._drift.note("orderbook_delta", "*", DriftKind.UNREADABLE, sample=msg)
            self._fail(subscription, "unreadable change", now_us)
            return None
        if not msg.keys() <= _CHANGE_FIELDS:
            self._drift.unknown_fields(BOOK_CHANNEL, msg.keys() - _CHANGE_FIELDS, record=msg)
        if book is None or not book.is_known:
            if book is None and ticker in self.books and self.books[ticker].is_known:
                self.counts["other_subscription"] += 1
                return None
            self._waiting(subscription, ticker, seq, now_us)
            return None
        if side == "no":
            price = ONE_DOLLAR_E4 - price if self._yes_prices else price
        elif side != "yes":
            self._drift.note("orderbook_delta", "side", DriftKind.UNKNOWN_VALUE, sample=side)
            self._fail(subscription, "unreadable change", now_us, only=ticker)
            return None
        if not book.apply(side, price, delta):
            self._fail(subscription, "negative size", now_us, only=ticker)
            return None
        return book

    def _snapshot(
        self, subscription: _Subscription, seq: int, msg: Any, now_us: int
    ) -> OrderBook | None:
        ticker = msg.get("market_ticker") if isinstance(msg, dict) else None
        if not isinstance(ticker, str):
            self._drift.note("orderbook_snapshot", "*", DriftKind.UNREADABLE, sample=msg)
            self._fail(subscription, "unreadable snapshot", now_us)
            return None
        try:
            snapshot = read_book(ticker, msg, self._drift)
        except SchemaMismatchError:
            self._drift.note("orderbook_snapshot", "*", DriftKind.UNREADABLE, sample=msg)
            subscription.tickers.add(ticker)
            self._fail(subscription, "unreadable snapshot", now_us, only=ticker)
            return None
        if self._yes_prices:
            no = tuple((ONE_DOLLAR_E4 - price, size) for price, size in reversed(snapshot.no))
            snapshot = BookSnapshot(ticker, snapshot.yes, no)
        subscription.tickers.add(ticker)
        book = self.books.setdefault(ticker, OrderBook(ticker))
        book.restore(snapshot)
        for other in self._subscriptions.values():
            other.owned.pop(ticker, None)
        subscription.owned[ticker] = book
        self.counts["snapshots"] += 1
        gap = self._open.pop(ticker, None)
        if gap is not None:
            self.gaps.append(
                BookGap(ticker, gap.sid, gap.reason, gap.from_seq, seq, gap.from_us, now_us)
            )
        return book

    def _other(
        self, kind: Any, subscription: _Subscription | None, message: dict[str, Any], now_us: int
    ) -> OrderBook | Trade | None:
        msg = message.get("msg")
        if kind == "orderbook_snapshot" and subscription is not None and "seq" in message:
            return self._snapshot(subscription, message["seq"], msg, now_us)
        if kind == "trade":
            try:
                return read_trade(msg, self._drift)
            except SchemaMismatchError:
                self._drift.note("trade", "*", DriftKind.UNREADABLE, sample=msg)
                return None
        if kind == "subscribed" and isinstance(msg, dict):
            self._subscribed(message.get("id"), msg)
        elif kind == "error":
            self._refused(message, now_us)
        elif kind not in ("ok", "unsubscribed", "ticker", "market_lifecycle_v2"):
            self._drift.note("websocket", str(kind), DriftKind.UNKNOWN_MESSAGE, sample=message)
        return None

    def _subscribed(self, identity: Any, msg: dict[str, Any]) -> None:
        sid = msg.get("sid")
        named = (str(msg.get("channel")), ())
        channel, tickers = (
            self._pending.pop(identity, named) if isinstance(identity, int) else named
        )
        if not isinstance(sid, int):
            self._drift.note("subscribed", "sid", DriftKind.UNREADABLE, sample=msg)
            return
        subscription = self._subscriptions.setdefault(sid, _Subscription(sid, channel))
        subscription.tickers.update(tickers)
        subscription.is_announced = True
        if channel == BOOK_CHANNEL:
            for ticker in tickers:
                self.books.setdefault(ticker, OrderBook(ticker))

    def _refused(self, message: dict[str, Any], now_us: int) -> None:
        msg = message.get("msg")
        code = msg.get("code") if isinstance(msg, dict) else None
        self.counts[f"error_{code}"] += 1
        if not isinstance(code, int) or code not in TERMINAL_CODES:
            return
        sid = message.get("sid")
        named = self._subscriptions.get(sid) if isinstance(sid, int) else None
        # An error that names no known subscription may mean any of them, and one whose
        # acknowledgement was lost is still waited for in vain.
        dead = [named] if named is not None else list(self._subscriptions.values())
        if named is None or not named.is_announced:
            self._pending.clear()
        for subscription in dead:
            self._fail(subscription, f"terminal error {code}", now_us, ask=False)
            del self._subscriptions[subscription.sid]
        covered = [
            (live.channel, live.tickers)
            for live in self._subscriptions.values()
            if live.is_announced
        ]
        for wanted in self._wanted:
            held = any(wanted[0] == name and tickers >= set(wanted[1]) for name, tickers in covered)
            if not held and wanted not in self._pending.values():
                self._send_subscribe(wanted)

    def _unannounced(self, sid: Any, kind: str) -> _Subscription | None:
        """Messages of a subscription whose acknowledgement was lost still count."""
        if not isinstance(sid, int):
            return None
        channel = BOOK_CHANNEL if str(kind).startswith("orderbook") else str(kind)
        self._subscriptions[sid] = _Subscription(sid, channel)
        return self._subscriptions[sid]

    def _lost_frame(self, frame: bytes | str, now_us: int) -> None:
        self.counts["unreadable_frames"] += 1
        self._drift.note("websocket", "frame", DriftKind.UNREADABLE, sample=frame[:60])
        for subscription in self._subscriptions.values():
            self._fail(subscription, "unreadable frame", now_us)

    def _waiting(self, subscription: _Subscription, ticker: str, seq: int, now_us: int) -> None:
        """A change of a book that is not known: drop it, and make sure a snapshot is coming."""
        self.counts["dropped_in_gap"] += 1
        subscription.tickers.add(ticker)
        gap = self._open.get(ticker)
        if gap is None:
            self.books.setdefault(ticker, OrderBook(ticker))
            self._fail(subscription, "no snapshot yet", now_us, only=ticker)
        elif now_us - gap.asked_us >= _RESYNC_AFTER_US:
            gap.asked_us = now_us
            self._send_snapshot(subscription.sid, [ticker])

    def _fail(
        self,
        subscription: _Subscription,
        reason: str,
        now_us: int,
        *,
        only: str | None = None,
        ask: bool = True,
    ) -> None:
        """Open gaps for the books of a subscription, or ask again for those already in one."""
        if subscription.channel != BOOK_CHANNEL:
            return
        tickers = sorted(subscription.tickers) if only is None else [only]
        for ticker in tickers:
            book = self.books.setdefault(ticker, OrderBook(ticker))
            book.is_known = False
            gap = self._open.get(ticker)
            if gap is None:
                last_seq = (subscription.next_seq or 1) - 1
                self._open[ticker] = _OpenGap(
                    subscription.sid, reason, last_seq, subscription.good_us or now_us, now_us
                )
            else:
                gap.asked_us = now_us
        if ask and tickers:
            self._send_snapshot(subscription.sid, tickers)

    def _send_subscribe(self, wanted: tuple[str, tuple[str, ...]]) -> None:
        channel, tickers = wanted
        params: dict[str, Any] = {"channels": [channel], "market_tickers": list(tickers)}
        if channel == BOOK_CHANNEL:
            params["use_yes_price"] = self._yes_prices
        self._pending[self._send("subscribe", params)] = wanted

    def _send_snapshot(self, sid: int, tickers: list[str]) -> None:
        params = {"sids": [sid], "action": "get_snapshot", "market_tickers": tickers}
        self._send("update_subscription", params)

    def _send(self, command: str, params: dict[str, Any]) -> int:
        identity = self._next_id
        self._next_id += 1
        self._outbox.append({"id": identity, "cmd": command, "params": params})
        return identity
