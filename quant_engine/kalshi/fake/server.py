"""The fake exchange on sockets of this machine: HTTP and websocket servers on 127.0.0.1 only."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from quant_engine.core.errors import MissingExtraError
from quant_engine.kalshi.fake.auth import KeyRing
from quant_engine.kalshi.fake.books import FakeChannel
from quant_engine.kalshi.fake.rest import FakeExchange

try:
    from websockets.asyncio.server import Server, ServerConnection, serve
    from websockets.datastructures import Headers
    from websockets.exceptions import ConnectionClosed
    from websockets.http11 import Request, Response
except ImportError as error:
    raise MissingExtraError.for_extra(
        "kalshi", package="websockets", purpose="the fake exchange"
    ) from error

__all__ = ["LOOPBACK", "RestServer", "book_server"]

LOOPBACK = "127.0.0.1"


class RestServer:
    """Serves a `FakeExchange` over HTTP in threads of its own, while the block runs.

    Parameters
    ----------
    exchange : FakeExchange
        Answers; it is asked by one request at a time.

    Attributes
    ----------
    port : int
        Free port of 127.0.0.1 that the system chose.
    """

    def __init__(self, exchange: FakeExchange) -> None:
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            """One connection."""

            protocol_version = "HTTP/1.1"
            # A read after which the thread of a silent client ends.
            timeout = 5.0
            # Head and body leave together: two small packets would wait for one another.
            wbufsize = -1

            def log_message(self, *_: object) -> None:
                """Stay quiet: the exchange keeps its own log."""

            def _reply(self) -> None:
                # A body that stays unread would be taken for the next request.
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with lock:
                    reply = exchange.handle(self.command, self.path, dict(self.headers.items()))
                self.send_response_only(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)
                self.wfile.flush()

            do_GET = do_POST = do_PUT = do_DELETE = _reply

        class QuietServer(ThreadingHTTPServer):
            """Without waiting for the threads of idle connections."""

            daemon_threads = True
            block_on_close = False

        self._server = QuietServer((LOOPBACK, 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def __enter__(self) -> RestServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


async def book_server(
    keys: KeyRing, exchange: FakeExchange, channels: Callable[[], FakeChannel], *, n_deltas: int
) -> Server:
    """Serve order books over a websocket of 127.0.0.1.

    Parameters
    ----------
    keys : KeyRing
        Who may connect.
    exchange : FakeExchange
        Its clock stamps refusals and judges signatures.
    channels : callable
        Makes the channel of the next connection.
    n_deltas : int
        Changes sent after a subscription before the connection falls silent.

    Returns
    -------
    websockets Server
        Use it in ``async with``; ``server.sockets[0].getsockname()[1]`` is its port.
    """

    def check(_: ServerConnection, request: Request) -> Response | None:
        headers = {name.lower(): value for name, value in request.headers.raw_items()}
        now_us = exchange.now_us()
        refused = keys.check(headers, method="GET", target=request.path, now_us=now_us)
        if refused is None:
            return None
        error = {"error": {"code": refused.code, "message": refused.message}}
        body = json.dumps(error).encode()
        stamped = {"Date": exchange.date(), "Content-Length": str(len(body))}
        return Response(HTTPStatus.UNAUTHORIZED, "Unauthorized", Headers(stamped), body)

    async def converse(connection: ServerConnection) -> None:
        channel = channels()
        pumping: asyncio.Task[None] | None = None
        try:
            async for text in connection:
                for frame in channel.command(json.loads(text)):
                    await connection.send(frame, text=True)
                if pumping is None:
                    pumping = asyncio.create_task(_pump(connection, channel, n_deltas))
        except ConnectionClosed:
            return
        finally:
            if pumping is not None:
                pumping.cancel()

    return await serve(converse, LOOPBACK, 0, process_request=check)


async def _pump(connection: ServerConnection, channel: FakeChannel, n_deltas: int) -> None:
    try:
        for _ in range(n_deltas):
            for frame in channel.delta():
                await connection.send(frame, text=True)
            if channel.is_closed:
                # As a crash looks from outside: no closing handshake.
                connection.transport.abort()
                return
            # Lets commands in between two changes.
            await asyncio.sleep(0)
    except ConnectionClosed:
        return
