"""Replays: recordings run through the code that reads the live exchange.

Own recordings are replayed message by message (`replay_books`, `answering`). Archives of raw
answers, one file per event as public collections keep them, are read by `read_event_file` and
`read_trades_file`; the wire readers accept their cents schema.
"""

from __future__ import annotations

import gzip
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

from quant_engine.core.errors import SchemaMismatchError, UnreadableFileError
from quant_engine.kalshi.exchange.codec import decode
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.environments import API_PATH
from quant_engine.kalshi.exchange.recorder import REST, WS, Recorded
from quant_engine.kalshi.exchange.records import Event, Market, Trade
from quant_engine.kalshi.exchange.stream import BookStream
from quant_engine.kalshi.exchange.wire import read_event, read_list, read_market, read_trade

__all__ = [
    "ArchivedEvent",
    "answering",
    "read_event_file",
    "read_trades_file",
    "replay_books",
]


@dataclass(frozen=True)
class ArchivedEvent:
    """An event with its ladder as an archive holds it.

    Parameters
    ----------
    event : Event
        The question.
    markets : tuple of Market
        Its ladder, in the order of the file.
    is_final : bool
        Some market carries its result: every changing field of these records (quotes, volume, last
        price, result, and even which fields are present) is knowledge from after the decision.
    """

    event: Event
    markets: tuple[Market, ...]
    is_final: bool


def _load(path: Path) -> Any:
    try:
        with gzip.open(path, "rb") as stream:
            return decode(stream.read(), name=str(path))
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableFileError(
            str(path), wanted="a gzipped answer", got=str(error), hint="Fetch the file again."
        ) from error


def read_event_file(path: Path, drift: DriftLog) -> ArchivedEvent:
    """Read one archived answer of ``/events/{ticker}``.

    Parameters
    ----------
    path : Path
        Gzipped JSON with the fields ``event`` and ``markets``.
    drift : DriftLog
        Counts what was not understood.

    Returns
    -------
    ArchivedEvent
        In today's units.

    Raises
    ------
    UnreadableFileError
        When the file is damaged.
    SchemaMismatchError
        When it holds something else.
    """
    value = _load(path)
    if not isinstance(value, dict) or "event" not in value:
        raise SchemaMismatchError(
            str(path),
            wanted="an object with the field event",
            got=type(value).__name__,
            hint="Give a file of one event.",
        )
    markets = tuple(read_list(read_market, value.get("markets"), drift))
    return ArchivedEvent(
        read_event(value["event"], drift), markets, any(market.result for market in markets)
    )


def read_trades_file(path: Path, drift: DriftLog) -> list[Trade]:
    """Read the archived prints of one event.

    Parameters
    ----------
    path : Path
        Gzipped JSON: ticker to a list of prints.
    drift : DriftLog
        Counts what was not understood.

    Returns
    -------
    list of Trade
        Oldest first, each once.

    Raises
    ------
    UnreadableFileError
        When the file is damaged.
    SchemaMismatchError
        When it holds something else.
    """
    value = _load(path)
    if not isinstance(value, dict):
        raise SchemaMismatchError(
            str(path),
            wanted="an object from ticker to prints",
            got=type(value).__name__,
            hint="Give a file of trades.",
        )
    found = {
        trade.trade_id: trade
        for records in value.values()
        for trade in read_list(read_trade, records, drift)
    }
    return sorted(found.values(), key=lambda trade: (trade.created_us or 0, trade.trade_id))


def replay_books(messages: Iterable[Recorded], stream: BookStream) -> Iterator[tuple[int, Any]]:
    """Feed the websocket messages of a recording to a stream.

    Parameters
    ----------
    messages : iterable of Recorded
        In their order; answers of the REST side are passed over.
    stream : BookStream
        Fresh, with the price scale of the recording.

    Yields
    ------
    tuple of (int, OrderBook or Trade)
        When it could be known, microseconds UTC, and what changed.
    """
    for message in messages:
        if message.kind == WS:
            changed = stream.feed(message.body, received_us=message.recorded_us)
            # Nobody listens to commands here: a gap lasts until the recording has a snapshot.
            stream.commands()
            if changed is not None:
                yield message.recorded_us, changed


def answering(messages: Iterable[Recorded]) -> httpx.MockTransport:
    """Make a connection that answers from a recording, for an unchanged client.

    Parameters
    ----------
    messages : iterable of Recorded
        Websocket messages are passed over.

    Returns
    -------
    httpx.MockTransport
        For ``httpx.Client(transport=...)``. A request that was recorded several times gets its
        answers in order and then the last one again; one that never was gets 404.
    """
    recorded: dict[str, list[Recorded]] = defaultdict(list)
    for message in messages:
        if message.kind == REST:
            recorded[message.source].append(message)

    def answer(request: httpx.Request) -> httpx.Response:
        query = urlencode(request.url.params.multi_items())
        path = request.url.path.removeprefix(API_PATH)
        found = recorded.get(f"{path}?{query}" if query else path)
        if not found:
            missing = {"code": "not_recorded", "message": f"{path} is not in the recording"}
            return httpx.Response(404, json=missing)
        message = found.pop(0) if len(found) > 1 else found[0]
        return httpx.Response(message.status, content=message.body)

    return httpx.MockTransport(answer)
