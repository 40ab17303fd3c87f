"""What a refusal of the exchange means: three shapes of body, one error by cause."""

from __future__ import annotations

from dataclasses import dataclass

from quant_engine.core.errors import (
    ConfigError,
    EmptyDataError,
    QuantEngineError,
    SchemaMismatchError,
    SourceUnavailableError,
)
from quant_engine.kalshi.exchange.codec import decode

__all__ = ["Refusal", "is_retryable", "read_refusal", "refusal_error"]

_TOO_MANY = 429


@dataclass(frozen=True)
class Refusal:
    """A status beyond 2xx and what its body says.

    Parameters
    ----------
    status : int
        HTTP status.
    code : str
        Machine-readable cause; empty where the body has none.
    message : str
        Sentence of the exchange, at most 200 characters.
    """

    status: int
    code: str
    message: str

    @property
    def about_time(self) -> bool:
        """True when the exchange complains about the timestamp of a signature."""
        return self.status == 401 and "timestamp" in f"{self.code} {self.message}".lower()


def read_refusal(status: int, body: bytes) -> Refusal:
    """Read any of the three documented error bodies; another body keeps its beginning.

    Parameters
    ----------
    status : int
        HTTP status.
    body : bytes
        As received.

    Returns
    -------
    Refusal
        Its code and message.

    Examples
    --------
    >>> read_refusal(429, b'{"error":"too many requests"}')
    Refusal(status=429, code='', message='too many requests')
    >>> read_refusal(401, b'{"error":{"code":"auth","message":"bad key"}}').code
    'auth'
    """
    try:
        value = decode(body)
    except SchemaMismatchError:
        return Refusal(status, "", body[:200].decode("utf-8", "replace"))
    if isinstance(value, dict) and isinstance(value.get("error"), str):
        return Refusal(status, "", value["error"][:200])
    inner = value.get("error", value) if isinstance(value, dict) else {}
    if not isinstance(inner, dict):
        return Refusal(status, "", repr(value)[:200])
    message = " ".join(str(inner[key]) for key in ("message", "details") if inner.get(key))
    return Refusal(status, str(inner.get("code", "")), message[:200])


def is_retryable(status: int) -> bool:
    """True for 429 and 5xx: asking again may help.

    Parameters
    ----------
    status : int
        HTTP status.

    Returns
    -------
    bool
        Whether to ask again.

    Examples
    --------
    >>> is_retryable(429), is_retryable(503), is_retryable(400)
    (True, True, False)
    """
    return status == _TOO_MANY or status >= 500


def refusal_error(refusal: Refusal, path: str, *, environment: str) -> QuantEngineError:
    """Choose the error of a final refusal.

    Parameters
    ----------
    refusal : Refusal
        What came.
    path : str
        What was asked for.
    environment : str
        Where.

    Returns
    -------
    QuantEngineError
        ConfigError for 400, 401, 403 and 405; EmptyDataError for 404; SourceUnavailableError else.

    Examples
    --------
    >>> error = refusal_error(Refusal(404, "not_found", "market not found"), "/markets/X",
    ...     environment="demo")
    >>> type(error).__name__
    'EmptyDataError'
    """
    got = f"{refusal.status} {refusal.code} {refusal.message}".strip()
    if refusal.about_time:
        return ConfigError(
            "clock of this machine",
            wanted=f"a signature with the time of the exchange ({environment})",
            got=got,
            hint="Set the machine's clock; the correction from the Date header was not enough.",
        )
    if refusal.status in (401, 403):
        return ConfigError(
            "API key",
            wanted=f"a key that {environment} knows, with the scope read",
            got=got,
            hint="Demo and production keys are separate: check QE_KALSHI_KEY_ID and --env.",
        )
    if refusal.status == 404:
        return EmptyDataError(
            path, wanted="something that exists", got=got, hint="Check the ticker."
        )
    if not is_retryable(refusal.status):
        return ConfigError(
            path, wanted="a request that the exchange accepts", got=got, hint="Check the filters."
        )
    return SourceUnavailableError(
        path, wanted=f"an answer of {environment}", got=got, hint="Try again later."
    )
