"""The websocket itself: connect, sign, listen, send what the books ask for, reconnect."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from quant_engine.core.errors import MissingExtraError, SourceUnavailableError
from quant_engine.kalshi.exchange.book import OrderBook
from quant_engine.kalshi.exchange.codec import encode
from quant_engine.kalshi.exchange.environments import WS_PATH, Environment
from quant_engine.kalshi.exchange.recorder import Recorder
from quant_engine.kalshi.exchange.records import Trade
from quant_engine.kalshi.exchange.refusals import is_retryable, read_refusal, refusal_error
from quant_engine.kalshi.exchange.signing import Signer, check_home
from quant_engine.kalshi.exchange.skew import ClockSkew
from quant_engine.kalshi.exchange.stream import BookStream
from quant_engine.kalshi.exchange.timing import Timer
from quant_engine.kalshi.exchange.transport import RetryPolicy

try:
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
except ImportError as error:
    raise MissingExtraError.for_extra(
        "kalshi", package="websockets", purpose="live order books"
    ) from error

__all__ = ["Feed", "FeedConfig"]


_RECONNECT = RetryPolicy(attempts=10, base_s=0.5, cap_s=30.0)


@dataclass(frozen=True)
class FeedConfig:
    """How a feed connects.

    Parameters
    ----------
    retry : RetryPolicy
        Failed connections in a row before giving up, and the waits between them.
    open_timeout_s : float
        Longest handshake.
    ping_timeout_s : float
        Silence after which a connection counts as broken; the exchange pings every 10 s.
    max_frame_bytes : int
        Largest message.
    """

    retry: RetryPolicy = _RECONNECT
    open_timeout_s: float = 10.0
    ping_timeout_s: float = 30.0
    max_frame_bytes: int = 64 * 1024 * 1024


class Feed:
    """A connection that lasts: changes of books and prints, one after the other.

    Parameters
    ----------
    environment : Environment
        Hosts.
    signer : Signer
        Key; the handshake is always signed.
    stream : BookStream
        Books and subscriptions.
    timer : Timer
        Tells the time.
    jitter : callable
        Uniform draws from [0, 1) for the waits between connections.
    config : FeedConfig
        Time-outs and retries.

    Attributes
    ----------
    recorder : Recorder, optional
        Gets every frame before it is parsed.
    sleep : callable
        How to wait between connections.
    skew : ClockSkew
        Share the transport's to sign with its corrected time.
    """

    def __init__(
        self,
        environment: Environment,
        signer: Signer,
        stream: BookStream,
        *,
        timer: Timer,
        jitter: Callable[[], float],
        config: FeedConfig = FeedConfig(),
    ) -> None:
        check_home(signer, environment.name)
        self.counts: Counter[str] = Counter()
        self.recorder: Recorder | None = None
        self.sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
        self.skew = ClockSkew()
        self._environment = environment
        self._signer = signer
        self._stream = stream
        self._timer = timer
        self._jitter = jitter
        self._config = config

    async def changes(self) -> AsyncIterator[OrderBook | Trade]:
        """Listen until the caller stops; a lost connection is replaced and its gap declared.

        Yields
        ------
        OrderBook or Trade
            What changed.

        Raises
        ------
        ConfigError
            When the exchange refuses the key or the clock.
        SourceUnavailableError
            When no connection comes about in the configured number of attempts.
        """
        failures = 0
        while True:
            try:
                connection = await self._connect()
            except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed) as error:
                failures += 1
                self._check(error, failures)
                await self.sleep(self._config.retry.wait_s(failures - 1, self._jitter()))
                continue
            self.counts["connections"] += 1
            try:
                async for changed in self._listen(connection):
                    failures = 0
                    yield changed
            except ConnectionClosed:
                self.counts["lost"] += 1
            finally:
                await connection.close()
                self._stream.disconnected(now_us=self._timer.now_us())
            failures += 1
            self._check(ConnectionError("the exchange closed the connection"), failures)
            await self.sleep(self._config.retry.wait_s(failures - 1, self._jitter()))

    async def _connect(self) -> ClientConnection:
        sent_us = self._timer.now_us()
        stamp_ms = (sent_us + self.skew.offset_us) // 1000
        try:
            return await connect(
                self._environment.ws_url + WS_PATH,
                additional_headers=self._signer.headers("GET", WS_PATH, timestamp_ms=stamp_ms),
                open_timeout=self._config.open_timeout_s,
                ping_timeout=self._config.ping_timeout_s,
                max_size=self._config.max_frame_bytes,
                proxy=None,
            )
        except InvalidStatus as error:
            self.skew.observe(
                error.response.headers.get("Date"),
                sent_us=sent_us,
                received_us=self._timer.now_us(),
            )
            raise

    async def _listen(self, connection: ClientConnection) -> AsyncIterator[OrderBook | Trade]:
        await self._send_commands(connection)
        async for frame in connection:
            received_us = self._timer.now_us()
            self.counts["frames"] += 1
            if self.recorder is not None:
                self.recorder.frame(frame, source=WS_PATH, received_us=received_us)
            changed = self._stream.feed(frame, received_us=received_us)
            await self._send_commands(connection)
            if changed is not None:
                yield changed

    async def _send_commands(self, connection: ClientConnection) -> None:
        for command in self._stream.commands():
            await connection.send(encode(command).decode("utf-8"))

    def _check(self, error: BaseException, failures: int) -> None:
        """Raise when there is no point in another connection."""
        name = self._environment.name
        if isinstance(error, InvalidStatus):
            refusal = read_refusal(error.response.status_code, bytes(error.response.body or b""))
            # A clock that was wrong once is corrected by then; wrong twice it stays wrong.
            if not is_retryable(refusal.status) and not (refusal.about_time and failures == 1):
                raise refusal_error(refusal, WS_PATH, environment=name) from error
        if failures >= self._config.retry.attempts:
            raise SourceUnavailableError(
                WS_PATH,
                wanted=f"a connection to {name} in {failures} attempts",
                got=f"{type(error).__name__}: {error}",
                hint="Try again later; see the exchange's status page.",
            ) from error
