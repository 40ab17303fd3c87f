"""Evaluation: the phases of a plan on arrays, with few and reused buffers.

1. `evaluate` walks over the phases; inside a phase the blocks of `COLUMN_BLOCK` assets are
   independent of each other and may run on several threads, with equal bits.
2. `_Block` computes the steps of one block. Its values are contiguous (T, B) arrays from a pool; a
   value goes back to the pool after its last use.
3. Targets are written to their pages, float32 or float64; a value outside the range of float32 is
   NaN there.
4. `_cross_section` computes the cross-sectional nodes of the phase on whole rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
from numba import njit

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
from quant_engine.core.panel import Panel
from quant_engine.features.expressions import order, sliding
from quant_engine.features.expressions.callables import find_callable
from quant_engine.features.expressions.fields import read_field
from quant_engine.features.expressions.graph import CONSTANT, FIELD, Graph, Node
from quant_engine.features.expressions.plan import FAMILIES, Phase, family_of
from quant_engine.features.expressions.pointwise import KERNELS
from quant_engine.features.functions import Function
from quant_engine.stats.cross_section import (
    average_ranks,
    equal_weight_mean,
    equal_weight_std,
    group_mean,
    session_quantile,
    taking_part,
    z_score,
)

__all__ = ["COLUMN_BLOCK", "evaluate"]

COLUMN_BLOCK = 128
"""Assets per block: a value of 3,500 rows is 3.6 MB. Narrower blocks read and write shorter pieces
of rows; wider ones leave the caches."""

_NO_GROUPS = np.empty((0, 0), dtype=np.int16)

Pages = list[FloatMatrix]
Starts = tuple[sliding.IntVector, sliding.IntVector]


def evaluate(
    graph: Graph,
    plan: Iterable[Phase],
    panel: Panel,
    pages: dict[int, Pages],
    *,
    first_row: int,
    threads: int,
) -> None:
    """Compute nodes on a panel and write their last rows.

    Parameters
    ----------
    graph : Graph
        All nodes.
    plan : iterable of Phase
        Of `quant_engine.features.expressions.plan.phases`.
    panel : Panel
        The whole history (T, N).
    pages : dict of int to list of ndarray
        Where each wanted node goes: arrays of shape (R, N), the last R rows, float32 or float64.
    first_row : int
        Row of the history to start from.
    threads : int
        Column blocks computed at the same time.

    Returns
    -------
    None
        The pages are written.
    """
    whole: dict[int, FloatMatrix] = {}
    member = panel.masks.get("member")
    mask = None if member is None else member[first_row:]
    shape = (panel.shape[0] - first_row, panel.shape[1])
    for phase in plan:
        kept: dict[int, FloatMatrix] = {
            i: np.empty(shape) for c in phase.cross for i in graph.nodes[c].inputs
            if i not in whole
        }  # fmt: skip
        sinks = {i: [*pages.get(i, []), *([kept[i]] if i in kept else [])] for i in phase.targets}
        _columns(_Work(graph, phase, panel, whole, sinks, first_row), threads)
        for position in phase.cross:
            node = graph.nodes[position]
            series = tuple(kept[i] if i in kept else whole[i] for i in node.inputs)
            function = find_callable(node.operator)
            if isinstance(function, Function):
                if position not in whole:
                    whole |= _across(function, graph, phase, position, series, mask)
            else:
                codes = panel.group(node.name).codes[first_row:] if node.name else _NO_GROUPS
                whole[position] = _cross_section(node, series[0], mask, codes)
            for page in pages.get(position, []):
                _fill_page(whole[position], page)


class _Work:
    # What all blocks of one phase share; nothing in it changes while they run.
    def __init__(
        self,
        graph: Graph,
        phase: Phase,
        panel: Panel,
        whole: dict[int, FloatMatrix],
        sinks: dict[int, Pages],
        first_row: int,
    ) -> None:
        self.graph = graph
        self.phase = phase
        self.panel = panel
        self.whole = whole
        self.sinks = sinks
        self.first_row = first_row


def _columns(work: _Work, threads: int) -> None:
    n_assets = work.panel.shape[1]
    blocks = [
        slice(first, min(first + COLUMN_BLOCK, n_assets))
        for first in range(0, n_assets if work.phase.steps else 0, COLUMN_BLOCK)
    ]
    pools: SimpleQueue[_Pool] = SimpleQueue()
    for _ in range(threads):
        pools.put(_Pool())

    def compute(columns: slice) -> None:
        pool = pools.get()
        try:
            _Block(work, columns, pool).compute()
        finally:
            pools.put(pool)

    if threads == 1:
        for columns in blocks:
            compute(columns)
        return
    with ThreadPoolExecutor(threads) as executor:
        list(executor.map(compute, blocks))


class _Pool:
    # Buffers by size; a returned one serves the next value of that size.
    def __init__(self) -> None:
        self._free: dict[int, list[np.ndarray]] = {}

    def take(self, size: int) -> np.ndarray:
        free = self._free.setdefault(size, [])
        return free.pop() if free else np.empty(size)

    def give(self, buffer: np.ndarray) -> None:
        self._free[buffer.size].append(buffer)


class _Block:
    def __init__(self, work: _Work, columns: slice, pool: _Pool) -> None:
        self.work = work
        self.nodes = work.graph.nodes
        self.columns = columns
        self.pool = pool
        self.shape = (work.panel.shape[0] - work.first_row, columns.stop - columns.start)
        self.values: dict[int, FloatMatrix] = {}
        self.uses = dict(work.phase.uses)
        self.starts: dict[tuple[int, ...], Starts] = {}
        self.buffers: dict[int, tuple[int, ...]] = {}
        self.memory: dict[tuple[int, ...], np.ndarray] = {}

    def compute(self) -> None:
        for step in self.work.phase.steps:
            self._compute_step(step)
            for position in step:
                if position in self.work.phase.targets:
                    for page in self.work.sinks[position]:
                        _fill_page(self.values[position], page, self.columns.start)
                    self._used(position)
            if step[0] not in self.work.whole:
                for position in self.nodes[step[0]].inputs:
                    if position in self.values:
                        self._used(position)

    def _used(self, position: int) -> None:
        self.uses[position] -= 1
        if self.uses[position] > 0:
            return
        del self.values[position]
        self.starts = {key: s for key, s in self.starts.items() if position not in key}
        step = self.buffers.pop(position)
        if all(other not in self.values for other in step):
            self.pool.give(self.memory.pop(step))

    def _compute_step(self, step: tuple[int, ...]) -> None:
        node = self.nodes[step[0]]
        found = find_callable(node.operator)
        function = found if isinstance(found, Function) and not found.across else None
        # A function computes all its outputs, wanted or not; other steps what is wanted alone.
        n_pages = len(function.outputs) if function else len(step)
        buffer = self.pool.take(n_pages * self.shape[0] * self.shape[1])
        out = buffer.reshape(n_pages, *self.shape)
        self.memory[step] = buffer
        for place, position in enumerate(step):
            name = self.nodes[position].operator
            self.values[position] = out[function.names.index(name) if function else place]
            self.buffers[position] = step
        if step[0] in self.work.whole:
            for page, position in zip(out, step, strict=True):
                page[:] = self.work.whole[position][:, self.columns]
        elif function is not None:
            series = tuple(self.values[i] for i in node.inputs)
            function.compute(series, node.numbers, out)
            _blank_infinite(buffer)
        elif node.operator == FIELD:
            first_row, first_column = self.work.first_row, self.columns.start
            read_field(
                self.work.panel, node.name, out[0], first_row=first_row, first_column=first_column
            )
        elif node.operator in KERNELS:
            arguments = [
                self.nodes[i].number
                if self.nodes[i].operator == CONSTANT
                else self.values[i].reshape(-1)
                for i in node.inputs
            ]
            KERNELS[node.operator](*arguments, out.reshape(-1))
        elif node.operator in FAMILIES:
            self._compute_family(FAMILIES[node.operator], step, out)
        else:
            self._compute_single(node, out[0])

    def _starts_of(self, inputs: tuple[int, ...]) -> Starts:
        if inputs not in self.starts:
            known = self.values[inputs[0]]
            for i in inputs[1:]:
                known = known + self.values[i]
            self.starts[inputs] = sliding.run_starts(known)
        return self.starts[inputs]

    def _compute_family(self, family: str, step: tuple[int, ...], out: np.ndarray) -> None:
        node = self.nodes[step[0]]
        x = self.values[node.inputs[0]]
        offset = self.work.first_row
        if family == "quantiles":
            levels = np.array([self.nodes[i].number for i in step])
            order.window_quantiles(x, node.window, levels, out)
        elif family == "ranks":
            windows = np.array([self.nodes[i].window for i in step])
            slots = np.argsort(windows)
            order.window_ranks(x, windows[slots], slots, out)
        else:
            kernel, places = _SLIDING[family]
            slots = np.full(len(places), -1, dtype=np.int64)
            for page, i in enumerate(step):
                slots[places.index(self.nodes[i].operator)] = page
            series = (x, self.values[node.inputs[1]]) if family == "pairs" else x
            kernel(series, self._starts_of(node.inputs), offset, node.window, slots, out)

    def _compute_single(self, node: Node, out: FloatMatrix) -> None:
        x, window = self.values[node.inputs[0]], node.window
        if node.operator == "Ref":
            _shift(x, window, out)
        elif node.operator == "EMA":
            starts = self._starts_of(node.inputs)
            sliding.sliding_decay(x, starts, self.work.first_row, window, node.number, out)
        elif node.operator == "WMA":
            weights = np.arange(1.0, window + 1.0)
            order.window_weights(x, weights / weights.sum(), out)
        else:
            _WINDOWS[node.operator](x, window, out)


_SLIDING: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    "sums": (sliding.sliding_sums, ("Sum", "Mean")),
    "moments": (sliding.sliding_moments, ("Std", "Var", "Slope", "Rsquare", "Resi")),
    "pairs": (sliding.sliding_pairs, ("Corr", "Cov")),
}
"""Kernel of a family and its outputs in the order of the kernel's slots."""

_BESIDE_EVERY_ASSET: dict[str, Callable[[FloatMatrix, BoolMatrix | None, float], FloatVector]] = {
    "CsMean": lambda x, mask, _: equal_weight_mean(x, mask),
    "CsStd": lambda x, mask, _: equal_weight_std(x, mask),
    "CsCount": lambda x, mask, _: np.isfinite(taking_part(x, mask)).sum(axis=1).astype(float),
    "CsQuantile": lambda x, mask, level: session_quantile(x, level, mask),
}
"""One number per row, given to every asset."""

_WINDOWS: dict[str, Callable[[FloatMatrix, int, FloatMatrix], None]] = {
    "Max": lambda x, w, out: order.window_extremes(x, w, 1.0, out),
    "Min": lambda x, w, out: order.window_extremes(x, w, -1.0, out),
    "IdxMax": lambda x, w, out: order.window_places(x, w, 1.0, out),
    "IdxMin": lambda x, w, out: order.window_places(x, w, -1.0, out),
    "Count": order.present_counts,
    "Product": order.window_products,
    "Skew": lambda x, w, out: order.window_shapes(x, w, order.SKEWNESS, out),
    "Kurt": lambda x, w, out: order.window_shapes(x, w, order.KURTOSIS, out),
    "Mad": lambda x, w, out: order.window_shapes(x, w, order.MEAN_DEVIATION, out),
}


def _shift(x: FloatMatrix, rows: int, out: FloatMatrix) -> None:
    if abs(rows) >= len(x):
        out[:] = np.nan
    elif rows > 0:
        out[:rows] = np.nan
        out[rows:] = x[:-rows]
    else:
        out[rows:] = np.nan
        out[:rows] = x[-rows:]


def _without_infinity(values: FloatMatrix) -> FloatMatrix:
    return np.where(np.isfinite(values), values, np.nan)


def _fill_page(values: FloatMatrix, page: FloatMatrix, first_column: int = 0) -> None:
    target = page[:, first_column : first_column + values.shape[1]]
    newest = values[len(values) - len(page) :]
    try:
        # The processor notices an overflow by itself; looking for one would cost as much again.
        with np.errstate(over="raise"):
            np.copyto(target, newest, casting="same_kind")
    except FloatingPointError:
        largest = np.finfo(target.dtype).max
        target[:] = np.where(np.abs(newest) <= largest, newest, np.nan)


@njit(cache=True, nogil=True, error_model="numpy")
def _blank_infinite(values: np.ndarray) -> None:
    for i in range(values.size):
        if not abs(values[i]) < np.inf:
            values[i] = np.nan


def _across(
    function: Function,
    graph: Graph,
    phase: Phase,
    position: int,
    series: tuple[FloatMatrix, ...],
    mask: BoolMatrix | None,
) -> dict[int, FloatMatrix]:
    # All wanted outputs of one call of a function that reads across the assets.
    member = np.ones(series[0].shape, dtype=bool) if mask is None else mask
    out = np.empty((len(function.outputs), *series[0].shape))
    function.compute(series, graph.nodes[position].numbers, out, member)
    _blank_infinite(out.reshape(-1))
    family = family_of(graph, position)
    return {
        i: out[function.names.index(graph.nodes[i].operator)]
        for i in phase.cross
        if family_of(graph, i) == family
    }


def _cross_section(
    node: Node, values: FloatMatrix, mask: BoolMatrix | None, codes: np.ndarray
) -> FloatMatrix:
    # A row without spread or without values divides by zero and is NaN.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if node.operator == "CsRank":
            ranks, counts = average_ranks(values, mask=mask)
            return ranks / counts[:, None]
        if node.operator == "CsZscore":
            return z_score(values, mask=mask)
        if node.operator in _BESIDE_EVERY_ASSET:
            row = _BESIDE_EVERY_ASSET[node.operator](values, mask, node.number)
            return np.repeat(row[:, None], values.shape[1], axis=1)
        chosen = taking_part(values, mask)
        if node.operator == "CsDemean":
            return chosen - equal_weight_mean(chosen)[:, None]
        if node.operator == "CsScale":
            total = equal_weight_mean(np.abs(chosen)) * np.isfinite(chosen).sum(axis=1)
            return _without_infinity(node.number * chosen / total[:, None])
        return chosen - group_mean(chosen, codes)
