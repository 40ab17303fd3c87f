"""The registry of planted leaks: each one beside its clean twin, and the arena it runs in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from quant_engine.core.errors import ConfigError
from quant_engine.testing.leaks.arenas import Arena

__all__ = ["LEAKS", "PlantedLeak", "add_leak"]


@dataclass(frozen=True, eq=False)
class PlantedLeak:
    """A mistake that somebody made, and the same code without it.

    Parameters
    ----------
    name : str
        Words joined by hyphens.
    part : {"data", "feature", "label", "regime", "training", "fill", "event market", "crypto"}
        Part of a pipeline in which it is made.
    summary : str
        What the code does wrong.
    leak, clean : callable
        The mistake and its clean twin, with the signature of the arena.
    arena : Arena
        Data and detectors.
    """

    name: str
    part: str
    summary: str
    leak: Callable[..., Any]
    clean: Callable[..., Any]
    arena: Arena


LEAKS: dict[str, PlantedLeak] = {}
"""Every planted leak by name, in the order of the suite."""


def add_leak(leak: PlantedLeak) -> None:
    """Enter a leak in :data:`LEAKS`.

    Parameters
    ----------
    leak : PlantedLeak
        With a new name.

    Raises
    ------
    ConfigError
        When the name is taken.
    """
    if leak.name in LEAKS:
        raise ConfigError(
            "planted leak", wanted="a new name", got=repr(leak.name), hint="Each leak stands once."
        )
    LEAKS[leak.name] = leak
