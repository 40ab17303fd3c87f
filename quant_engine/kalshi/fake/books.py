"""The websocket side of the fake exchange without a socket: commands in, frames out, faults.

`FakeBooks` is the truth: one seeded sequence of changes. `FakeChannel` is what one connection is
told about it, with its own subscription numbers and with whatever the script does to the frames.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from quant_engine.core.errors import ConfigError

__all__ = ["FRAME_FAULTS", "FakeBooks", "FakeChannel"]

FRAME_FAULTS = (
    "drop", "duplicate", "reorder", "cut_off", "unknown_message", "unknown_field", "overflow",
    "disconnect",
)  # fmt: skip
"""What can happen to a frame: lost, sent twice, swapped with the next, halved, followed by a
message of an unknown type, given an unknown field, replaced by the terminal error 25, or the
connection ends."""
_DRAWS = 4096
Change = tuple[str, str, int, int]
"""Ticker, side, price in 1e-4 dollars of that side, signed size in 0.01 contracts."""


class FakeBooks:
    """Order books that change for ever, as a pure function of a seed.

    Parameters
    ----------
    seed : int
        Of all changes.
    tickers : sequence of str
        Markets.

    Attributes
    ----------
    changes : list
        Every change so far, in order: the truth that tests replay.

    Examples
    --------
    >>> a, b = FakeBooks(1, ["T"]), FakeBooks(1, ["T"])
    >>> [a.step() for _ in range(3)] == [b.step() for _ in range(3)]
    True
    """

    def __init__(self, seed: int, tickers: list[str]) -> None:
        self.tickers = list(tickers)
        self.levels: dict[str, dict[str, dict[int, int]]] = {
            ticker: {"yes": {}, "no": {}} for ticker in tickers
        }
        self.changes: list[Change] = []
        self._draws = self._draw(np.random.default_rng(seed))

    def _draw(self, rng: np.random.Generator) -> Iterator[tuple[int, int, int, float, int]]:
        while True:
            columns = (
                rng.integers(0, len(self.tickers), _DRAWS).tolist(),
                rng.integers(0, 2, _DRAWS).tolist(),
                rng.integers(1, 50, _DRAWS).tolist(),
                rng.random(_DRAWS).tolist(),
                rng.integers(1, 20_000, _DRAWS).tolist(),
            )
            yield from zip(*columns, strict=True)

    def step(self) -> Change:
        """Change one level and return how."""
        which, coin, cent, choice, size = next(self._draws)
        ticker, side = self.tickers[which], ("yes", "no")[coin]
        levels = self.levels[ticker][side]
        price = cent * 100
        held = levels.get(price, 0)
        # Half of the changes to a filled level take from it, some of them all of it.
        delta = -min(held, size) if held and choice < 0.5 else size
        if held + delta:
            levels[price] = held + delta
        else:
            del levels[price]
        change = (ticker, side, price, delta)
        self.changes.append(change)
        return change


def _signed(count_c2: int) -> str:
    return f"{'-' if count_c2 < 0 else ''}{abs(count_c2) // 100}.{abs(count_c2) % 100:02d}"


class FakeChannel:
    """One connection to `FakeBooks`.

    Parameters
    ----------
    books : FakeBooks
        Truth, shared by all connections.
    faults : mapping of int to str
        Number of the outgoing frame, from 0, to one of `FRAME_FAULTS`.
    first_sid : int
        Number of the first subscription.

    Attributes
    ----------
    is_closed : bool
        True after a scripted disconnection.
    truth : dict
        (sid, seq) to how many changes the books had made when that message was made.

    Raises
    ------
    ConfigError
        For an unknown fault.
    """

    def __init__(
        self, books: FakeBooks, *, faults: Mapping[int, str] | None = None, first_sid: int = 1
    ) -> None:
        self.is_closed = False
        self.truth: dict[tuple[int, int], int] = {}
        self.sent = 0
        self._books = books
        self._faults = dict(faults or {})
        unknown = set(self._faults.values()) - set(FRAME_FAULTS)
        if unknown:
            raise ConfigError(
                "faults", wanted=f"some of {FRAME_FAULTS}", got=sorted(unknown), hint="Rename them."
            )
        self._next_sid = first_sid
        self._sid: int | None = None
        self._seq = 0
        self._yes_prices = False
        self._tickers: list[str] = []
        self._held: bytes | None = None

    def command(self, command: Any) -> list[bytes]:
        """Answer one parsed command with the frames to send."""
        name = command.get("cmd") if isinstance(command, dict) else None
        params = command.get("params", {}) if isinstance(command, dict) else {}
        if name == "subscribe":
            return self._subscribe(command["id"], params)
        if name == "update_subscription" and params.get("action") == "get_snapshot":
            if self._sid not in params.get("sids", []):
                return self._emit(self._error(command["id"], 7, "Unknown subscription ID"))
            tickers = [t for t in params["market_tickers"] if t in self._books.levels]
            numbered = {"id": command["id"], "type": "ok", "msg": {"market_tickers": tickers}}
            return self._numbered(numbered) + self._snapshots(tickers)
        return self._emit(self._error(None, 5, "Unknown command"))

    def delta(self) -> list[bytes]:
        """Change a book and return the frames that say so; none when nobody is subscribed."""
        ticker, side, price, delta = self._books.step()
        if self._sid is None or ticker not in self._tickers:
            return []
        shown = 10_000 - price if side == "no" and self._yes_prices else price
        msg = {
            "market_ticker": ticker,
            "market_id": "00000000-0000-0000-0000-000000000000",
            "price_dollars": f"0.{shown:04d}",
            "delta_fp": _signed(delta),
            "side": side,
            "ts_ms": 1_700_000_000_000 + len(self._books.changes),
        }
        return self._numbered({"type": "orderbook_delta", "msg": msg})

    def _subscribe(self, identity: int, params: Mapping[str, Any]) -> list[bytes]:
        channels = params.get("channels", [])
        if channels != ["orderbook_delta"]:
            sid, self._next_sid = self._next_sid, self._next_sid + 1
            return self._emit(
                {"id": identity, "type": "subscribed", "msg": {"channel": channels[0], "sid": sid}}
            )
        self._sid, self._next_sid = self._next_sid, self._next_sid + 1
        self._seq = 0
        self._tickers = [t for t in params.get("market_tickers", []) if t in self._books.levels]
        self._yes_prices = bool(params.get("use_yes_price", False))
        msg = {"channel": channels[0], "sid": self._sid}
        acknowledged = self._emit({"id": identity, "type": "subscribed", "msg": msg})
        return acknowledged + self._snapshots(self._tickers)

    def _snapshots(self, tickers: list[str]) -> list[bytes]:
        frames = []
        for ticker in tickers:
            msg: dict[str, Any] = {"market_ticker": ticker, "market_id": "0"}
            for side, levels in self._books.levels[ticker].items():
                turned = side == "no" and self._yes_prices
                rows = [
                    [f"0.{10_000 - price if turned else price:04d}", _signed(size)]
                    for price, size in levels.items()
                ]
                if rows:  # an empty side is left out, as on the real one
                    msg[f"{side}_dollars_fp"] = rows
            frames += self._numbered({"type": "orderbook_snapshot", "msg": msg})
        return frames

    def _error(self, identity: int | None, code: int, text: str) -> dict[str, Any]:
        return {"id": identity, "type": "error", "msg": {"code": code, "msg": text}}

    def _numbered(self, message: dict[str, Any]) -> list[bytes]:
        if self._sid is None:
            return []
        self._seq += 1
        self.truth[self._sid, self._seq] = len(self._books.changes)
        return self._emit({"sid": self._sid, "seq": self._seq, **message})

    def _emit(self, message: dict[str, Any]) -> list[bytes]:
        if self.is_closed:
            return []
        fault = self._faults.get(self.sent, "")
        self.sent += 1
        if fault == "overflow" and self._sid is not None:
            message = {**self._error(None, 25, "Subscription buffer overflow"), "sid": self._sid}
            self._sid = None
        if fault == "unknown_field":
            message = {**message, "colour": "red", "msg": {**message.get("msg", {}), "shape": 1}}
        frame = json.dumps(message, separators=(",", ":")).encode()
        released = [] if self._held is None else [self._held]
        self._held = None
        if fault == "disconnect":
            self.is_closed = True
            return []
        if fault == "reorder":
            self._held = frame
            return released
        made = {
            "drop": [],
            "duplicate": [frame, frame],
            "cut_off": [frame[: len(frame) // 2]],
            "unknown_message": [frame, b'{"type":"surprise","msg":{}}'],
        }.get(fault, [frame])
        return made + released
