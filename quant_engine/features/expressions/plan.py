"""Plan: in which order the nodes of a graph are computed, and which of them together.

1. Cross-sectional operators need every asset of a row, all others only their own column. So a
   program runs in *phases*: in each one the columns are computed block by block, then the
   cross-sectional operators whose inputs are now complete (`phases`).
2. Inside a phase every target is reached depth first, so that values are used soon after they are
   made; nodes that share their state are one *step* (`family_of`).
3. A node may be computed again in a later phase; keeping it would cost a whole (T, N) array.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from quant_engine.features.expressions.callables import (
    find_callable,
    first_input_row,
    reads_across,
)
from quant_engine.features.expressions.graph import CONSTANT, Graph
from quant_engine.features.functions import Function

__all__ = ["FAMILIES", "Phase", "family_of", "first_rows", "phases"]

FAMILIES = {
    "Sum": "sums", "Mean": "sums",
    "Std": "moments", "Var": "moments", "Slope": "moments", "Rsquare": "moments",
    "Resi": "moments",
    "Corr": "pairs", "Cov": "pairs",
    "Quantile": "quantiles",
    "Rank": "ranks",
}  # fmt: skip
"""Operators whose nodes share state where they have the same inputs and, but for ranks, window."""


@dataclass(frozen=True)
class Phase:
    """One pass over the column blocks, and the cross-sections that follow it.

    Parameters
    ----------
    targets : frozenset of int
        Nodes whose columns are kept.
    steps : tuple of tuple of int
        Nodes in order of computation; nodes of one step are computed together.
    uses : Counter of int
        How often each node is read inside the phase, a target once more.
    cross : tuple of int
        Cross-sectional nodes computed after the columns.
    """

    targets: frozenset[int]
    steps: tuple[tuple[int, ...], ...]
    uses: Counter[int]
    cross: tuple[int, ...]


def _is_cross(graph: Graph, position: int) -> bool:
    return reads_across(graph.nodes[position].operator)


def phases(graph: Graph, roots: Sequence[int]) -> tuple[Phase, ...]:
    """Arrange the computation of some nodes.

    Parameters
    ----------
    graph : Graph
        All nodes.
    roots : sequence of int
        Wanted nodes.

    Returns
    -------
    tuple of Phase
        In order.

    Examples
    --------
    >>> from quant_engine.features.expressions.parser import parse_expression
    >>> graph = Graph()
    >>> text = "Mean(CsRank($close), 5)"
    >>> [len(phase.steps) for phase in phases(graph, [graph.add(parse_expression(text), text)])]
    [1, 2]
    """
    level: list[int] = []
    for position, node in enumerate(graph.nodes):
        below = max((level[i] for i in node.inputs), default=0)
        level.append(below + _is_cross(graph, position))
    needed = _closure(graph, roots, stop=False)
    found = []
    for number in range(max((level[i] for i in roots), default=0) + 1):
        cross = tuple(i for i in sorted(needed) if _is_cross(graph, i) and level[i] == number + 1)
        inputs = {i for c in cross for i in graph.nodes[c].inputs if not _is_cross(graph, i)}
        wanted = [i for i in roots if level[i] == number and not _is_cross(graph, i)]
        targets = list(dict.fromkeys([*wanted, *sorted(inputs)]))
        found.append(_phase(graph, targets, cross))
    return tuple(found)


def first_rows(graph: Graph, roots: Sequence[int], first_row: int) -> int:
    """First row of the history that is needed to get rows from `first_row` on, bit for bit.

    Parameters
    ----------
    graph : Graph
        All nodes.
    roots : sequence of int
        Wanted nodes.
    first_row : int
        First wanted row.

    Returns
    -------
    int
        Row, at least 0.

    Examples
    --------
    >>> from quant_engine.features.expressions.parser import parse_expression
    >>> graph = Graph()
    >>> root = graph.add(parse_expression("Mean($close, 5)"), "")
    >>> first_rows(graph, [root], 600), first_rows(graph, [root], 100)
    (508, 0)
    """
    need = dict.fromkeys(_closure(graph, roots, stop=False), first_row)
    for position in sorted(need, reverse=True):
        node = graph.nodes[position]
        row = first_input_row(node.operator, node.window, need[position])
        for i in node.inputs:
            need[i] = min(need[i], row)
    return max(min(need.values(), default=0), 0)


def _closure(graph: Graph, roots: Sequence[int], *, stop: bool) -> set[int]:
    # Everything below the roots; with `stop`, no deeper than cross-sectional nodes.
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        position = waiting.pop()
        if position not in found:
            found.add(position)
            if not (stop and _is_cross(graph, position)):
                waiting += graph.nodes[position].inputs
    return found


def family_of(graph: Graph, position: int) -> tuple[object, ...]:
    """What nodes that are computed together have in common.

    Parameters
    ----------
    graph : Graph
        All nodes.
    position : int
        A node.

    Returns
    -------
    tuple
        Equal for the nodes of one step.
    """
    node = graph.nodes[position]
    found = find_callable(node.operator)
    if isinstance(found, Function):
        return (found.names[0], node.inputs, node.numbers)
    family = FAMILIES.get(node.operator)
    if family is None:
        return (position,)
    return (family, node.inputs, 0 if family == "ranks" else node.window)


def _phase(graph: Graph, targets: Sequence[int], cross: tuple[int, ...]) -> Phase:
    inside = {i for i in _closure(graph, targets, stop=True) if graph.nodes[i].operator != CONSTANT}
    families: dict[tuple[object, ...], list[int]] = {}
    for position in sorted(inside):
        families.setdefault(family_of(graph, position), []).append(position)
    steps: dict[tuple[int, ...], None] = {}
    uses = Counter(targets)

    def reach(position: int) -> None:
        step = tuple(families[family_of(graph, position)])
        if step in steps:
            return
        if not _is_cross(graph, position):
            for i in graph.nodes[position].inputs:
                if i in inside:
                    reach(i)
        steps[step] = None

    for target in targets:
        reach(target)
    for step in steps:
        if not _is_cross(graph, step[0]):
            # A step reads its inputs once, whatever the number of its nodes.
            uses.update(i for i in graph.nodes[step[0]].inputs if i in inside)
    return Phase(frozenset(targets), tuple(steps), uses, cross)
