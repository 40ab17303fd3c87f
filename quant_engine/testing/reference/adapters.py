"""What an adapter is: the sentence "this function of ours gives that expected value"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Give = Callable[[Mapping[str, Any]], Any]
"""From a case's inputs to one value."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """How cases of one form are computed.

    Parameters
    ----------
    topic : str
        Topic of the cases.
    prefix : str
        Beginning of the names it was written for. The longest matching prefix wins; a case whose
        name no prefix fits is matched by its inputs and expected values alone. Empty with ``due``:
        whatever of the topic nothing else fits.
    needs : frozenset of str
        Inputs that a case must hold.
    gives : mapping
        Expected name -> function of the inputs.
    others : mapping
        Expected name of a convention that is not ours -> which one is ours. Reported, not run.
    due : str
        What is not built yet. A case whose expected values are not all given counts as due.
    """

    topic: str
    prefix: str
    needs: frozenset[str] = frozenset()
    gives: Mapping[str, Give] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)
    due: str = ""
