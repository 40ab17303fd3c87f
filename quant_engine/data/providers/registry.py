"""Provider registry: named sources of daily bars, built lazily, each able to say if it can run.

A provider that needs an optional package imports it only when it loads, so listing providers and
asking ``available()`` never imports a network client.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import MissingExtraError
from quant_engine.core.registry import Registry
from quant_engine.core.specs import build_config
from quant_engine.data.bars import LoadedBars

__all__ = ["PROVIDERS", "Availability", "BarQuery", "Provider", "make_provider"]


class BarQuery(FrozenConfig):
    """Which bars are wanted.

    Parameters
    ----------
    tickers : tuple of str
        Symbols; empty = everything the provider holds (network providers refuse that).
    start, end : date or None
        Closed range of sessions; None = open.

    Examples
    --------
    >>> BarQuery(tickers=("AAPL",)).start is None
    True
    """

    tickers: tuple[str, ...] = ()
    start: date | None = None
    end: date | None = None

    def apply(self, bars: LoadedBars) -> LoadedBars:
        """Return the part of `bars` that was asked for."""
        return bars.select(self.tickers or None, self.start, self.end)


@dataclass(frozen=True)
class Availability:
    """Whether a provider can load here and now, and if not, why.

    Parameters
    ----------
    ok : bool
        True when `load` may be called.
    reason : str
        Empty when ok, else one sentence.
    error : MissingExtraError or None
        Raised when the provider was asked for by name.
    """

    ok: bool
    reason: str = ""
    error: MissingExtraError | None = None


class Provider(Protocol):
    """A source of daily bars."""

    @property
    def name(self) -> str:
        """Name in the registry."""
        ...

    def available(self) -> Availability:
        """Tell whether `load` may be called, without importing a network client."""
        ...

    def load(self, query: BarQuery) -> LoadedBars:
        """Return the bars asked for, uncleaned; SourceUnavailableError when nobody answers."""
        ...


ProviderFactory = Callable[[FrozenConfig, Path | None], Provider]

PROVIDERS: Registry[ProviderFactory] = Registry("provider")
"""Factories by name; each takes its typed parameters and, where it reads files, a path."""


def make_provider(
    name: str, params: dict[str, object] | None = None, *, path: Path | None = None
) -> Provider:
    """Build a provider by name.

    Parameters
    ----------
    name : str
        Registered name.
    params : dict, optional
        Values of the provider's parameter class; unknown keys are refused.
    path : Path, optional
        Folder or file, for providers that read files.

    Returns
    -------
    Provider
        Not yet loaded.

    Raises
    ------
    ConfigError
        For an unknown name or parameter.

    Examples
    --------
    >>> import quant_engine.data.providers
    >>> make_provider("local", {"vendor": "mine"}, path=Path(".")).name
    'local'
    """
    factory = PROVIDERS.get(name)
    model = PROVIDERS.metadata(name).params
    return factory(build_config(model, params or {}, where=f"provider {name}"), path)
