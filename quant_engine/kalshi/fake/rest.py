"""The REST side of the fake exchange: a request in, an answer out, faults by script.

It knows its own wire format and shares no reader with the client. Times and limits follow the
timer it is given, so a client and an exchange on one virtual timer run without waiting.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from quant_engine.kalshi.exchange.timing import Timer
from quant_engine.kalshi.fake.auth import KeyRing
from quant_engine.kalshi.fake.world import Contract, World, WorldEvent, WorldTrade

__all__ = ["FakeConfig", "FakeExchange", "Fault", "Reply"]

_ROOT = "/trade-api/v2"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PRIVATE = ("/account", "/portfolio")
_SIZE = "25.00"


@dataclass(frozen=True)
class Fault:
    """One scripted misbehaviour.

    Parameters
    ----------
    kind : str
        ``429``, ``500`` or another status; ``cut_off`` (half a body); ``repeat_page``,
        ``empty_page``, ``cursor_loop``, ``cursor_expired`` (listings only); ``plain_error`` and
        ``nested_error`` (a 503 in another of the three error shapes).
    """

    kind: str


@dataclass(frozen=True)
class FakeConfig:
    """How the fake exchange behaves.

    Parameters
    ----------
    tokens_per_s, capacity, cost : float
        Its own token bucket for reads.
    page_size : int
        Largest page of a listing, whatever the request wants.
    trades_cutoff_us, markets_cutoff_us : int
        Where the historical tier ends.
    cutoff_step_us : int
        Both move forward by so much after every ``/historical/cutoff`` (a moving cut-off).
    clock_offset_us : int
        The exchange's clock minus the timer.
    market_fields : mapping
        Put into every market record: unknown fields, statuses and strike types.
    needs_key : bool
        Also public endpoints want a signature.
    """

    tokens_per_s: float = 200.0
    capacity: float = 400.0
    cost: float = 10.0
    page_size: int = 1000
    trades_cutoff_us: int = 0
    markets_cutoff_us: int = 0
    cutoff_step_us: int = 0
    clock_offset_us: int = 0
    market_fields: Mapping[str, Any] = field(default_factory=dict)
    needs_key: bool = True


@dataclass(frozen=True)
class Reply:
    """An HTTP answer."""

    status: int
    body: bytes
    headers: dict[str, str]


def _stamp(us: int) -> str:
    return (_EPOCH + timedelta(microseconds=us)).isoformat().replace("+00:00", "Z")


def _dollars(price_e4: int) -> str:
    return f"{price_e4 // 10_000}.{price_e4 % 10_000:04d}"


def _contracts(count_c2: int) -> str:
    return f"{count_c2 // 100}.{count_c2 % 100:02d}"


class FakeExchange:
    """Answers requests about one world.

    Parameters
    ----------
    world : World
        Truth and quotes.
    keys : KeyRing
        Who may ask.
    timer : Timer
        The exchange's clock without its offset.
    config : FakeConfig
        Behaviour.
    faults : mapping of int to Fault
        Number of the request, from 0, to what goes wrong with it.

    Attributes
    ----------
    log : list of (str, int)
        Target and status of every request; the ground truth for tests.
    """

    def __init__(
        self,
        world: World,
        keys: KeyRing,
        *,
        timer: Timer,
        config: FakeConfig,
        faults: Mapping[int, Fault] | None = None,
    ) -> None:
        self.world = world
        self.config = config
        self.log: list[tuple[str, int]] = []
        self.counts: Counter[str] = Counter()
        self._keys = keys
        self._timer = timer
        self._markets_by_ticker = {
            contract.ticker: (event, contract)
            for event in world.events
            for contract in event.contracts
        }
        self._prints: dict[str, list[WorldTrade]] = {}
        for event in world.events:
            for trade in event.trades:
                self._prints.setdefault(trade.ticker, []).append(trade)
        self._faults = dict(faults or {})
        self._tokens = config.capacity
        self._refilled_s = timer.elapsed_s()

    def now_us(self) -> int:
        """The exchange's clock."""
        return self._timer.now_us() + self.config.clock_offset_us

    def date(self) -> str:
        """The exchange's clock as a Date header, whole seconds."""
        instant = _EPOCH + timedelta(seconds=self.now_us() // 1_000_000)
        return format_datetime(instant, usegmt=True)

    def handle(self, method: str, target: str, headers: Mapping[str, str]) -> Reply:
        """Answer one request.

        Parameters
        ----------
        method : str
            HTTP verb.
        target : str
            Path with its query.
        headers : mapping of str to str
            Names in any case.

        Returns
        -------
        Reply
            Never raises for what a client may send.
        """
        number = len(self.log)
        self.counts[method] += 1
        lower = {name.lower(): value for name, value in headers.items()}
        fault = self._faults.get(number)
        status, value = self._answer(method, target, lower, fault)
        body = json.dumps(value).encode()
        if fault is not None and fault.kind == "cut_off":
            body = body[: len(body) // 2]
        self.log.append((target, status))
        return Reply(status, body, {"Date": self.date(), "Content-Type": "application/json"})

    def _answer(
        self, method: str, target: str, headers: Mapping[str, str], fault: Fault | None
    ) -> tuple[int, Any]:
        if fault is not None and fault.kind.isdigit():
            return int(fault.kind), {"error": "scripted"}
        if fault is not None and fault.kind == "plain_error":
            return 503, {"error": "service unavailable"}
        if fault is not None and fault.kind == "nested_error":
            return 503, {"error": {"code": "unavailable", "message": "try again"}}
        if not self._spend():
            return 429, {"error": "too many requests"}
        path = urlsplit(target).path.removeprefix(_ROOT)
        if self.config.needs_key or path.startswith(_PRIVATE):
            refused = self._keys.check(headers, method=method, target=target, now_us=self.now_us())
            if refused is not None:
                return 401, {"error": {"code": refused.code, "message": refused.message}}
        if method != "GET":
            return 405, {"code": "method_not_allowed", "message": "read only", "details": ""}
        try:
            return self._route(path, parse_qsl(urlsplit(target).query), fault)
        except (KeyError, ValueError) as error:
            return 400, {"code": "invalid_parameters", "message": str(error), "details": ""}

    def _spend(self) -> bool:
        now_s = self._timer.elapsed_s()
        earned = (now_s - self._refilled_s) * self.config.tokens_per_s
        self._tokens = min(self.config.capacity, self._tokens + earned)
        self._refilled_s = now_s
        if self._tokens < self.config.cost - 1e-6:
            return False
        self._tokens -= self.config.cost
        return True

    def _route(
        self, path: str, pairs: list[tuple[str, str]], fault: Fault | None
    ) -> tuple[int, Any]:
        query = dict(pairs)
        parts = path.strip("/").split("/")
        fixed: dict[str, Callable[[], dict[str, Any]]] = {
            "/exchange/status": lambda: {"exchange_active": True, "trading_active": True},
            "/historical/cutoff": self._cutoff,
            "/account/limits": self._limits,
            "/account/endpoint_costs": lambda: {
                "default_cost": self.config.cost, "endpoint_costs": [],
            },
            "/series": lambda: {"series": [self._series(name) for name in self.world.all_series]},
            "/markets/orderbooks": lambda: self._books(pairs),
        }  # fmt: skip
        if path in fixed:
            return 200, fixed[path]()
        listings = {
            "/events": ("events", self._events),
            "/markets": ("markets", lambda q: self._markets(q, historical=False)),
            "/historical/markets": ("markets", lambda q: self._markets(q, historical=True)),
            "/markets/trades": ("trades", lambda q: self._trades(q, historical=False)),
            "/historical/trades": ("trades", lambda q: self._trades(q, historical=True)),
        }
        if path in listings:
            key, rows = listings[path]
            return self._page(key, rows(query), query, fault)
        if parts[-1] == "candlesticks":
            return self._candles(parts, query)
        if len(parts) == 2 and parts[0] == "events":
            return self._event(parts[1])
        if parts[0] == "markets" and len(parts) in (2, 3):
            found = self._find(parts[1])
            if found is not None and len(parts) == 2:
                return 200, {"market": self._market(*found)}
            if found is not None and parts[2] == "orderbook":
                return 200, {"orderbook_fp": self._book(parts[1])}
        return 404, {"code": "not_found", "message": f"{path} not found", "details": ""}

    def _page(
        self, key: str, rows: list[dict[str, Any]], query: Mapping[str, str], fault: Fault | None
    ) -> tuple[int, Any]:
        kind = "" if fault is None else fault.kind
        cursor = query.get("cursor", "")
        if cursor and (kind == "cursor_expired" or not cursor.startswith("c")):
            return 400, {"code": "invalid_parameters", "message": "cursor expired", "details": ""}
        start = int(cursor[1:] or 0) if cursor else 0
        size = min(self.config.page_size, int(query.get("limit", "100")))
        if kind == "empty_page":
            return 200, {key: [], "cursor": f"c{start:06d}" if cursor else "c0"}
        if kind == "repeat_page":
            start = max(0, start - size)
        following = start + size
        following_cursor = f"c{following}" if following < len(rows) else ""
        if kind == "cursor_loop" and cursor:
            following_cursor = cursor
        return 200, {key: rows[start:following], "cursor": following_cursor}

    def _cutoff(self) -> dict[str, str]:
        now = self.config
        step = now.cutoff_step_us
        answer = {
            "trades_created_ts": _stamp(now.trades_cutoff_us),
            "market_settled_ts": _stamp(now.markets_cutoff_us),
            "orders_updated_ts": _stamp(now.trades_cutoff_us),
        }
        self.config = replace(
            now,
            trades_cutoff_us=now.trades_cutoff_us + step,
            markets_cutoff_us=now.markets_cutoff_us + step,
        )
        return answer

    def _limits(self) -> dict[str, Any]:
        rate, capacity = self.config.tokens_per_s, self.config.capacity
        return {
            "usage_tier": "basic",
            "read": {"refill_rate": rate, "bucket_capacity": capacity},
            "write": {"refill_rate": rate / 2, "bucket_capacity": capacity / 2},
        }

    def _series(self, ticker: str) -> dict[str, Any]:
        return {
            "ticker": ticker, "title": "A fake number", "category": "Economics",
            "frequency": "daily", "fee_type": "quadratic", "fee_multiplier": 1, "tags": [],
        }  # fmt: skip

    def _events(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        return [
            self._event_record(event)
            for event in self._listed()
            if query.get("series_ticker", event.series) == event.series
        ]

    def _listed(self) -> list[WorldEvent]:
        """Events that the exchange shows by now."""
        latest_us = self.now_us() + self.world.config.listed_before_s * 1_000_000
        return [event for event in self.world.events if event.release_us <= latest_us]

    def _event_record(self, event: WorldEvent) -> dict[str, Any]:
        return {
            "event_ticker": event.ticker,
            "series_ticker": event.series,
            "title": "What will the number be?",
            "sub_title": "",
            "category": "Economics",
            "mutually_exclusive": event.contracts[0].strike_type == "less",
            "collateral_return_type": "MECNET",
            "strike_date": _stamp(event.release_us),
        }

    def _event(self, ticker: str) -> tuple[int, Any]:
        for event in self._listed():
            if event.ticker == ticker:
                markets = [self._market(event, contract) for contract in event.contracts]
                return 200, {"event": self._event_record(event), "markets": markets}
        return 404, {"code": "not_found", "message": "event not found", "details": ""}

    def _find(self, ticker: str) -> tuple[WorldEvent, Contract] | None:
        return self._markets_by_ticker.get(ticker)

    def _is_historical(self, event: WorldEvent) -> bool:
        return event.release_us < min(self.config.markets_cutoff_us, self.now_us())

    def _markets(self, query: Mapping[str, str], *, historical: bool) -> list[dict[str, Any]]:
        low_us = int(query.get("min_close_ts", 0)) * 1_000_000
        return [
            self._market(event, contract)
            for event in self._listed()
            if query.get("event_ticker", event.ticker) == event.ticker
            and query.get("series_ticker", event.series) == event.series
            and event.release_us >= low_us
            and self._is_historical(event) == historical
            for contract in event.contracts
        ]

    def _market(self, event: WorldEvent, contract: Contract) -> dict[str, Any]:
        released = event.release_us <= self.now_us()
        shown = [q for q in event.quotes[contract.ticker] if q.at_us <= self.now_us()]
        bid = shown[-1].bid_e4 if shown and not released else None
        ask = shown[-1].ask_e4 if shown and not released else None
        prints = [t for t in self._prints.get(contract.ticker, ()) if t.at_us <= self.now_us()]
        record: dict[str, Any] = {
            "ticker": contract.ticker,
            "event_ticker": event.ticker,
            "market_type": "binary",
            "status": "finalized" if released else "active",
            "title": "",
            "yes_sub_title": contract.ticker,
            "no_sub_title": "",
            "strike_type": contract.strike_type,
            "open_time": _stamp(event.release_us - self.world.config.listed_before_s * 1_000_000),
            "close_time": _stamp(event.release_us),
            "yes_bid_dollars": _dollars(bid or 0),
            "yes_ask_dollars": _dollars(ask if ask is not None else 10_000),
            "yes_bid_size_fp": _SIZE if bid is not None else "0.00",
            "yes_ask_size_fp": _SIZE if ask is not None else "0.00",
            "last_price_dollars": _dollars(prints[-1].price_e4 if prints else 0),
            "volume_fp": _contracts(sum(t.count_c2 for t in prints)),
            "open_interest_fp": _contracts(sum(t.count_c2 for t in prints)),
            "notional_value_dollars": "1.0000",
            "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
            "result": ("yes" if event.pays(contract) else "no") if released else "",
            "settlement_ts": _stamp(event.release_us) if released else None,
        }
        record |= _strikes(contract, self.world.config.settlement_step)
        if released and self.world.config.settlement_step:
            record["expiration_value"] = f"{event.outcome:.9g}"
        return record | dict(self.config.market_fields)

    def _book(self, ticker: str) -> dict[str, Any]:
        found = self._find(ticker)
        if found is None:
            return {"yes_dollars": [], "no_dollars": []}
        shown = [q for q in found[0].quotes[ticker] if q.at_us <= self.now_us()]
        bid = shown[-1].bid_e4 if shown else None
        ask = shown[-1].ask_e4 if shown else None
        yes = [] if bid is None else [[_dollars(bid), _SIZE]]
        no = [] if ask is None else [[_dollars(10_000 - ask), _SIZE]]
        return {"yes_dollars": yes, "no_dollars": no}

    def _books(self, pairs: list[tuple[str, str]]) -> dict[str, Any]:
        # As observed on the real one: a comma list is taken for one unknown market.
        tickers = [value for name, value in pairs if name == "tickers"]
        return {"orderbooks": [{"ticker": t, "orderbook_fp": self._book(t)} for t in tickers]}

    def _trades(self, query: Mapping[str, str], *, historical: bool) -> list[dict[str, Any]]:
        low = int(query.get("min_ts", 0)) * 1_000_000
        high = int(query.get("max_ts", 1 << 40)) * 1_000_000
        asked = [query["ticker"]] if "ticker" in query else list(self._prints)
        rows = [
            trade
            for ticker in asked
            for trade in self._prints.get(ticker, ())
            if low <= trade.at_us <= high
            and trade.at_us <= self.now_us()
            and (trade.at_us < self.config.trades_cutoff_us) == historical
        ]
        return [_trade(trade) for trade in reversed(rows)]

    def _candles(self, parts: list[str], query: Mapping[str, str]) -> tuple[int, Any]:
        historical = parts[0] == "historical"
        ticker = parts[2] if historical else parts[3]
        found = self._find(ticker)
        if found is None or self._is_historical(found[0]) != historical:
            return 404, {"code": "not_found", "message": "market not found", "details": ""}
        event, _ = found
        start, end = int(query["start_ts"]), int(query["end_ts"])
        period_s = int(query.get("period_interval", "60")) * 60
        suffix, fixed = ("", "") if historical else ("_dollars", "_fp")
        rows = []
        for quote in event.quotes[ticker]:
            last = quote.at_us // 1_000_000 + period_s
            if not start <= last <= end or last * 1_000_000 > self.now_us():
                continue
            inside = [
                t for t in self._prints.get(ticker, ()) if quote.at_us < t.at_us <= last * 1_000_000
            ]
            prints = [t.price_e4 for t in inside]
            rows.append(
                {
                    "end_period_ts": last,
                    "yes_bid": _ohlc([quote.bid_e4 or 0], suffix),
                    "yes_ask": _ohlc([quote.ask_e4 or 10_000], suffix),
                    "price": _ohlc(prints, suffix),
                    f"volume{fixed}": _contracts(sum(t.count_c2 for t in inside)),
                    f"open_interest{fixed}": "0.00",
                }
            )
        return 200, {"ticker": ticker, "candlesticks": rows}


def _strikes(contract: Contract, step: float) -> dict[str, float]:
    """Strike fields of a contract that pays above its floor and up to its cap.

    On a grid the exchange's ``between`` includes both ends and ``less`` excludes its cap.
    """
    fields = {}
    if contract.floor is not None:
        is_bin = contract.strike_type == "between"
        fields["floor_strike"] = round(contract.floor + (step if is_bin else 0.0), 9)
    if contract.cap is not None:
        is_below = contract.strike_type == "less"
        fields["cap_strike"] = round(contract.cap + (step if is_below else 0.0), 9)
    return fields


def _ohlc(prices: list[int], suffix: str) -> dict[str, str | None]:
    if not prices:
        return {f"{name}{suffix}": None for name in ("open", "high", "low", "close")}
    chosen = {
        "open": prices[0], "high": max(prices), "low": min(prices), "close": prices[-1],
    }  # fmt: skip
    return {f"{name}{suffix}": _dollars(price) for name, price in chosen.items()}


def _trade(trade: WorldTrade) -> dict[str, Any]:
    return {
        "trade_id": trade.trade_id,
        "ticker": trade.ticker,
        "yes_price_dollars": _dollars(trade.price_e4),
        "no_price_dollars": _dollars(10_000 - trade.price_e4),
        "count_fp": _contracts(trade.count_c2),
        "created_time": _stamp(trade.at_us),
        "taker_side": trade.taker,
        "is_block_trade": False,
    }
