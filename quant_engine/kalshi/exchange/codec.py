"""JSON bytes to values and back; the one place that names the JSON library."""

from __future__ import annotations

from typing import Any

from quant_engine.core.errors import MissingExtraError, SchemaMismatchError

try:
    import orjson
except ImportError as error:
    raise MissingExtraError.for_extra(
        "kalshi", package="orjson", purpose="messages of the exchange"
    ) from error

__all__ = ["decode", "encode"]

_HEAD = 60


def decode(body: bytes | str, *, name: str = "message") -> Any:
    """Parse one JSON text.

    Parameters
    ----------
    body : bytes or str
        The whole text, UTF-8.
    name : str
        What it is, for the error.

    Returns
    -------
    object
        Plain values.

    Raises
    ------
    SchemaMismatchError
        When the text is not whole JSON, for example because it was cut off.

    Examples
    --------
    >>> decode(b'{"cursor": ""}')
    {'cursor': ''}
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise SchemaMismatchError(
            name,
            wanted="whole JSON",
            got=f"{len(body)} bytes that begin with {body[:_HEAD]!r}",
            hint="It was cut off or is not from the exchange; ask again.",
        ) from error


def encode(value: Any) -> bytes:
    """Write plain values as compact JSON with keys in their given order.

    Parameters
    ----------
    value : object
        Plain values without NaN.

    Returns
    -------
    bytes
        UTF-8 without a final newline.

    Examples
    --------
    >>> encode({"id": 1})
    b'{"id":1}'
    """
    return orjson.dumps(value)
