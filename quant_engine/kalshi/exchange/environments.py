"""Where the exchange is: production, demo, or a fake on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from quant_engine.core.errors import ConfigError, did_you_mean

__all__ = ["API_PATH", "ENVIRONMENTS", "WS_PATH", "Environment", "environment", "local_environment"]

API_PATH = "/trade-api/v2"
WS_PATH = "/trade-api/ws/v2"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Environment:
    """One set of hosts; keys of one environment are unknown to every other.

    Parameters
    ----------
    name : str
        ``prod``, ``demo`` or ``fake``.
    rest_url : str
        Scheme and host, without a path.
    ws_url : str
        Scheme and host of the websocket, without a path.

    Raises
    ------
    ConfigError
        When a host beyond this machine would be spoken to without encryption.

    Examples
    --------
    >>> Environment("fake", "http://127.0.0.1:8000", "ws://127.0.0.1:8001").name
    'fake'
    """

    name: str
    rest_url: str
    ws_url: str

    def __post_init__(self) -> None:
        for url, secure in ((self.rest_url, "https"), (self.ws_url, "wss")):
            parts = urlsplit(url)
            if parts.scheme != secure and parts.hostname not in _LOOPBACK:
                raise ConfigError(
                    "environment",
                    wanted=f"{secure} for a host beyond this machine",
                    got=url,
                    hint="Signed requests are never sent in the clear.",
                )


ENVIRONMENTS = {
    "demo": Environment(
        "demo", "https://external-api.demo.kalshi.co", "wss://external-api-ws.demo.kalshi.co"
    ),
    "prod": Environment(
        "prod", "https://external-api.kalshi.com", "wss://external-api-ws.kalshi.com"
    ),
}


def environment(name: str = "demo") -> Environment:
    """Return a public environment by name; demo unless production is asked for.

    Parameters
    ----------
    name : str
        ``demo`` or ``prod``.

    Returns
    -------
    Environment
        Its hosts.

    Raises
    ------
    ConfigError
        For another name.

    Examples
    --------
    >>> environment().name
    'demo'
    """
    if name not in ENVIRONMENTS:
        raise ConfigError(
            "environment",
            wanted=" or ".join(sorted(ENVIRONMENTS)),
            got=repr(name),
            hint=did_you_mean(name, ENVIRONMENTS),
        )
    return ENVIRONMENTS[name]


def local_environment(rest_port: int, ws_port: int, *, name: str = "fake") -> Environment:
    """Name the ports of a fake exchange on this machine.

    Parameters
    ----------
    rest_port, ws_port : int
        Ports on 127.0.0.1.
    name : str
        Which environment it plays.

    Returns
    -------
    Environment
        Loopback hosts.

    Examples
    --------
    >>> local_environment(8000, 8001).rest_url
    'http://127.0.0.1:8000'
    """
    return Environment(name, f"http://127.0.0.1:{rest_port}", f"ws://127.0.0.1:{ws_port}")
