"""Named random streams: one independent generator per component of a world.

``SeedSequence(seed).spawn(n)`` gives each component its own child in a fixed order, so that a
knob that changes how much one component draws leaves every other component's draws untouched.
A new component is appended to the list, never inserted.
"""

from __future__ import annotations

import numpy as np

_COMPONENTS = (
    "regime",
    "factors",
    "exposures",
    "idio",
    "idio_level",
    "characteristics",
    "roles",
    "listing",
    "delisting",
    "terminal",
    "alpha",
    "initial",
    "range",
    "volume",
    "spread",
    "halts",
    "dividends",
    "fundamentals",
    "tickers",
    "vwap",
)


class Streams:
    """The random generators of one world.

    Parameters
    ----------
    seed : int
        Root seed.

    Examples
    --------
    >>> a, b = Streams(1), Streams(1)
    >>> _ = a.of("range").standard_normal(5)  # one component draws more in world a
    >>> bool(a.of("volume").random() == b.of("volume").random())
    True
    """

    def __init__(self, seed: int) -> None:
        children = np.random.SeedSequence(seed).spawn(len(_COMPONENTS))
        self._children = dict(zip(_COMPONENTS, children, strict=True))

    def of(self, component: str, number: int | None = None) -> np.random.Generator:
        """Return a fresh generator at the start of its stream.

        Parameters
        ----------
        component : str
            Name of the component.
        number : int, optional
            One of many independent streams of the component.

        Returns
        -------
        numpy.random.Generator
            The same stream on every call.
        """
        child = self._children[component]
        if number is not None:
            # Built from the key, because SeedSequence.spawn counts its calls.
            key = (*child.spawn_key, number)
            child = np.random.SeedSequence(child.entropy, spawn_key=key)
        return np.random.Generator(np.random.PCG64(child))
