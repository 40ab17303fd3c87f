"""Feature kinds: the formulas a feature set may name, and what each one promises.

A *kind* is a formula (``ma``, ``beta_market``); a *feature* is a kind with a window and a name
(``MA20``). Kinds declare the panel fields they read, how many rows they look back, and their
causality class; a feature set repeats lookback and causality, and `check_feature_set` in
`quant_engine.features.pipeline` refuses a set whose claims differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field

from quant_engine.core.causality import Causality
from quant_engine.core.config import FrozenConfig
from quant_engine.core.registry import Registry

if TYPE_CHECKING:
    from quant_engine.features.workspace import Workspace

__all__ = [
    "FEATURE_KINDS",
    "FeatureKind",
    "FeatureRequest",
    "WindowParams",
    "slot_table",
]


class WindowParams(FrozenConfig):
    """Parameter of a windowed kind.

    Parameters
    ----------
    window : int
        Length in sessions; 0 for a kind without a window.
    """

    window: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class FeatureRequest:
    """One wanted feature: which page of the block, which output of the kind's group, which window.

    Parameters
    ----------
    slot : int
        Page of the output block.
    name : str
        Feature name.
    output : int
        Output number inside the group that computes it.
    window : int
        Length in sessions; 0 for none.
    """

    slot: int
    name: str
    output: int
    window: int


GroupCompute: TypeAlias = Callable[
    ["Workspace", Sequence[FeatureRequest], npt.NDArray[np.floating]], None
]


@dataclass(frozen=True)
class FeatureKind:
    """A formula and its promises.

    Parameters
    ----------
    compute : callable
        ``compute(workspace, requests, block)`` fills the pages of all requests of its group; kinds
        that share state (mean, standard deviation, slope of one series) share the callable.
    output : int
        Output number of this kind inside the group.
    inputs : tuple of str
        Panel fields it reads; empty for a pass-through, which reads the field of its own name.
    extra_rows : int
        Rows needed beyond the window: lookback = window + extra_rows.
    min_window : int
        Smallest window allowed; 0 = the kind has no window.
    causality : Causality
        Strongest class that a feature of this kind may claim.
    unit : str
        Unit of the values.
    """

    compute: GroupCompute
    output: int
    inputs: tuple[str, ...]
    extra_rows: int
    min_window: int
    causality: Causality
    unit: str

    def lookback_sessions(self, window: int) -> int:
        """Rows, including the newest, that one value with this window needs."""
        return window + self.extra_rows


FEATURE_KINDS: Registry[FeatureKind] = Registry("feature kind")
"""Every kind by name; `quant_engine.features.price_volume` registers the shipped ones."""


def slot_table(
    requests: Sequence[FeatureRequest], n_outputs: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Arrange requests as the window list and slot table that kernels read.

    Parameters
    ----------
    requests : sequence of FeatureRequest
        Requests of one group; an output and window pair at most once.
    n_outputs : int
        Number of outputs of the kernel.

    Returns
    -------
    windows : ndarray of int64, shape (W,)
        Distinct windows, ascending.
    slots : ndarray of int64, shape (n_outputs, W)
        Page per output and window, -1 = not wanted.

    Examples
    --------
    >>> windows, slots = slot_table([FeatureRequest(3, "MA5", 0, 5)], 2)
    >>> windows.tolist(), slots.tolist()
    ([5], [[3], [-1]])
    """
    windows = np.array(sorted({r.window for r in requests}), dtype=np.int64)
    slots = np.full((n_outputs, windows.size), -1, dtype=np.int64)
    for request in requests:
        slots[request.output, np.searchsorted(windows, request.window)] = request.slot
    return windows, slots
