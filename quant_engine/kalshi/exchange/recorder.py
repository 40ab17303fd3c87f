"""Recordings: raw messages as they came, one JSON line each, compressed.

A line is ``{"recorded_us", "kind", "source", "status", "body"}``: kind is ``rest`` or ``ws``,
source the path with its query or the websocket's address, body the text as received (``body_b64``
where it is not UTF-8). Headers, and with them keys and signatures, are never recorded.
"""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlencode

from quant_engine.core.errors import SchemaMismatchError, UnreadableFileError
from quant_engine.kalshi.exchange.codec import decode, encode
from quant_engine.kalshi.exchange.transport import Answer

__all__ = ["Recorded", "Recorder", "read_recording"]

REST, WS = "rest", "ws"


@dataclass(frozen=True)
class Recorded:
    """One raw message.

    Parameters
    ----------
    recorded_us : int
        Local time of arrival, microseconds UTC: the first moment at which it could be used.
    kind : str
        ``rest`` or ``ws``.
    source : str
        Path with its query, or the websocket's path.
    status : int
        HTTP status; 0 for websocket messages.
    body : bytes
        As received.
    """

    recorded_us: int
    kind: str
    source: str
    status: int
    body: bytes

    def line(self) -> bytes:
        """The message as one line of a recording."""
        fields: dict[str, object] = {
            "recorded_us": self.recorded_us,
            "kind": self.kind,
            "source": self.source,
            "status": self.status,
        }
        try:
            fields["body"] = self.body.decode("utf-8")
        except UnicodeDecodeError:
            fields["body_b64"] = base64.b64encode(self.body).decode("ascii")
        return encode(fields) + b"\n"


class Recorder:
    """Appends raw messages to a compressed stream.

    Parameters
    ----------
    stream : binary stream
        Open for writing; the caller opens and closes it. What is appended to an existing recording
        is a further gzip member, which readers join.
    flush_every : int
        Messages after which everything so far is readable even if the process dies.

    Examples
    --------
    >>> from io import BytesIO
    >>> stream = BytesIO()
    >>> with Recorder(stream) as recorder:
    ...     recorder.add(Recorded(1, "ws", "/trade-api/ws/v2", 0, b'{"type":"ok"}'))
    >>> len(gzip.decompress(stream.getvalue()).splitlines())
    1
    """

    def __init__(self, stream: BinaryIO | BufferedIOBase, *, flush_every: int = 1000) -> None:
        # Neither name nor time go into the header: equal messages make equal bytes.
        self._gzip = gzip.GzipFile(filename="", fileobj=stream, mode="wb", mtime=0)
        self._flush_every = flush_every
        self.count = 0

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._gzip.close()

    def add(self, message: Recorded) -> None:
        """Append one message."""
        self._gzip.write(message.line())
        self.count += 1
        if self.count % self._flush_every == 0:
            self._gzip.flush()

    def answer(self, answer: Answer) -> None:
        """Append one answer; a listener for `Transport.listeners`."""
        query = urlencode(answer.params)
        source = f"{answer.path}?{query}" if query else answer.path
        self.add(Recorded(answer.received_us, REST, source, answer.status, answer.body))

    def frame(self, frame: bytes | str, *, source: str, received_us: int) -> None:
        """Append one websocket frame.

        Parameters
        ----------
        frame : bytes or str
            As received.
        source : str
            Path of the websocket.
        received_us : int
            Local time, microseconds UTC.
        """
        body = frame.encode() if isinstance(frame, str) else frame
        self.add(Recorded(received_us, WS, source, 0, body))


def read_recording(path: Path, *, allow_cut_off: bool = False) -> Iterator[Recorded]:
    """Read a recording in its order.

    Parameters
    ----------
    path : Path
        Gzipped JSON lines.
    allow_cut_off : bool
        Take the whole lines of a recording whose writer was killed, instead of an error at its end.

    Yields
    ------
    Recorded
        Raw messages.

    Raises
    ------
    UnreadableFileError
        When the file is no recording, or ends in the middle.
    """
    try:
        with gzip.open(path, "rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    raise EOFError
                yield _recorded(line, path)
    except EOFError as error:
        if not allow_cut_off:
            raise _unreadable(path, "a file that ends in the middle") from error
    except (OSError, zlib.error) as error:
        raise _unreadable(path, str(error)) from error


def _recorded(line: bytes, path: Path) -> Recorded:
    try:
        fields = decode(line)
        body = fields.get("body")
        raw = base64.b64decode(fields["body_b64"]) if body is None else body.encode()
        return Recorded(
            int(fields["recorded_us"]), fields["kind"], fields["source"], fields["status"], raw
        )
    except (SchemaMismatchError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(path, f"the line {line[:60]!r}") from error


def _unreadable(path: Path, got: str) -> UnreadableFileError:
    return UnreadableFileError(
        str(path),
        wanted="a recording: gzipped JSON lines, written to the end",
        got=got,
        hint="Record again, or read the whole lines with allow_cut_off.",
    )
