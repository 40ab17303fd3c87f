"""Registry[T]: named plug-ins that must exist, must be unique and must say what they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, did_you_mean

T = TypeVar("T")


class NoParams(FrozenConfig):
    """Parameters of a plug-in that has none."""


@dataclass(frozen=True)
class PluginMetadata:
    """What a plug-in declares about itself.

    Parameters
    ----------
    summary : str
        One sentence for lists and help texts.
    version : str
        Version of the plug-in's behaviour; part of lineage.
    params : type of FrozenConfig
        Typed parameters; unknown keys are refused.
    test_params : tuple of dict
        Parameter sets with which the conformance suite builds the plug-in.
    source : str
        Paper, book or vendor document the method follows.
    extra : str or None
        Optional dependency group it needs.
    """

    summary: str
    version: str = "1"
    params: type[FrozenConfig] = NoParams
    test_params: tuple[dict[str, Any], ...] = field(default_factory=lambda: ({},))
    source: str = ""
    extra: str | None = None


class Registry(Generic[T]):
    """Plug-ins of one kind by name.

    Parameters
    ----------
    kind : str
        Singular noun used in messages, such as ``"provider"``.

    Examples
    --------
    >>> shapes: Registry[type] = Registry("shape")
    >>> @shapes.register("square", metadata=PluginMetadata(summary="Four equal sides."))
    ... class Square: ...
    >>> shapes.names()
    ('square',)
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._plugins: dict[str, T] = {}
        self._metadata: dict[str, PluginMetadata] = {}

    def register(self, name: str, *, metadata: PluginMetadata) -> Callable[[T], T]:
        """Return a decorator that stores its object under a new name.

        Parameters
        ----------
        name : str
            Unique lower-case name.
        metadata : PluginMetadata
            Description, typed parameters and test parameters.

        Returns
        -------
        callable
            The decorator; it returns the object unchanged.

        Raises
        ------
        ConfigError
            When the name is taken.
        """

        def decorate(plugin: T) -> T:
            if name in self._plugins:
                raise ConfigError(
                    f"{self.kind} name",
                    wanted="a name that is not taken",
                    got=repr(name),
                    hint="Choose another name; registered plug-ins are never overwritten.",
                )
            self._plugins[name] = plugin
            self._metadata[name] = metadata
            return plugin

        return decorate

    def get(self, name: str) -> T:
        """Return the plug-in, or raise ConfigError naming the nearest known names."""
        self._check(name)
        return self._plugins[name]

    def metadata(self, name: str) -> PluginMetadata:
        """Return what the plug-in declared about itself."""
        self._check(name)
        return self._metadata[name]

    def __contains__(self, name: object) -> bool:
        return name in self._plugins

    def names(self) -> tuple[str, ...]:
        """Return all names in alphabetical order."""
        return tuple(sorted(self._plugins))

    def discover(self, group: str) -> tuple[str, ...]:
        """Import installed plug-ins that announce themselves under an entry-point group.

        Parameters
        ----------
        group : str
            Entry-point group, for instance ``"quant_engine.providers"``.

        Returns
        -------
        tuple of str
            Names that were added by the import.
        """
        before = set(self._plugins)
        for point in sorted(entry_points(group=group), key=lambda item: item.name):
            point.load()
        return tuple(sorted(set(self._plugins) - before))

    def _check(self, name: str) -> None:
        if name not in self._plugins:
            raise ConfigError(
                self.kind,
                wanted=f"a registered {self.kind}",
                got=repr(name),
                hint=did_you_mean(name, self._plugins),
            )
