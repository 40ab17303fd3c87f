"""The one table of adapters: which of our functions gives which reference value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quant_engine.testing.reference.adapters import Adapter


def choose(
    adapters: Sequence[Adapter],
    topic: str,
    name: str,
    inputs: Mapping[str, Any],
    expected: set[str],
) -> tuple[Adapter, ...]:
    """Return the adapters of a case, best first.

    The longest matching prefix of the name comes first; after it the adapters whose inputs the
    case holds and that give or name at least one expected value, most of them first.

    Parameters
    ----------
    adapters : sequence of Adapter
        The table.
    topic, name : str
        Of the case.
    inputs : mapping
        Of the case.
    expected : set of str
        Names of its expected values.

    Returns
    -------
    tuple of Adapter
        Empty when nothing fits.
    """

    def rank(adapter: Adapter) -> tuple[int, int, int]:
        named = len(adapter.prefix) if adapter.prefix and name.startswith(adapter.prefix) else -1
        return (named, len(expected & adapter.gives.keys()), len(adapter.needs))

    fitting = [
        adapter
        for adapter in adapters
        if adapter.topic == topic
        and adapter.needs <= inputs.keys()
        and (
            expected & (adapter.gives.keys() | adapter.others.keys())
            or (adapter.due and (adapter.needs or name.startswith(adapter.prefix)))
        )
    ]
    return tuple(sorted(fitting, key=rank, reverse=True))
