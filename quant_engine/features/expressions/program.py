"""Program: named formulas, compiled once, run on any panel that has their fields.

How a formula becomes numbers: `parser` reads the text, `graph` merges what formulas share,
`plan` orders the work, `evaluate` runs the kernels.

Rules that hold for every formula:

* the value of row t reads rows up to t, and is known at the close of t's bar; only a program
  compiled with ``allow_future=True`` may do otherwise, and is `Causality.RESEARCH_ONLY`;
* a window with a missing value is NaN, and so is the warm-up: never a partial window;
* prices that are not positive and negative volumes count as missing;
* what is not finite (x/0, the logarithm of 0, an overflow) is NaN;
* cross-sectional operators count the assets of the mask ``member``; without it every asset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.causality import Causality
from quant_engine.core.errors import (
    ConfigError,
    InsufficientHistoryError,
    MissingFieldError,
    SchemaMismatchError,
)
from quant_engine.core.hashing import sha256_json
from quant_engine.core.panel import Panel
from quant_engine.features.expressions.errors import ExpressionError
from quant_engine.features.expressions.evaluate import evaluate
from quant_engine.features.expressions.fields import OPTIONAL, missing_hint
from quant_engine.features.expressions.graph import FIELD, Graph
from quant_engine.features.expressions.parser import parse_expression
from quant_engine.features.expressions.plan import first_rows, phases
from quant_engine.features.prices import check_adjusted

__all__ = ["Program", "compile_expressions"]


def compile_expressions(texts: Mapping[str, str], *, allow_future: bool = False) -> Program:
    """Compile named formulas.

    Parameters
    ----------
    texts : mapping of str to str
        Formula by name; the order is the order of the results.
    allow_future : bool
        Whether `Ref` and `Delta` may take negative shifts. For labels only.

    Returns
    -------
    Program
        Ready to run.

    Raises
    ------
    ExpressionError
        With the place in the formula.
    ConfigError
        Without any formula.

    Examples
    --------
    >>> program = compile_expressions({"MA5": "Mean($close, 5)/$close", "UP": "$close > $open"})
    >>> program.names, program.fields, program.lookback_sessions
    (('MA5', 'UP'), ('close', 'open'), 5)
    >>> compile_expressions({"TOMORROW": "Ref($close, -1)/$close"})
    Traceback (most recent call last):
    ...
    quant_engine.features.expressions.errors.ExpressionError: expression 'TOMORROW', column 13: \
wanted a shift of at least 1 in Ref, got -1, a look into the future
        Ref($close, -1)/$close
                    ^^
    . Only labels may: compile them with allow_future=True.
    """
    if not texts:
        raise ConfigError(
            "texts", wanted="at least one formula", got="none", hint="Pass {name: formula}."
        )
    graph = Graph(allow_future=allow_future)
    roots = tuple(
        graph.add(parse_expression(text, name=name), text, name=name)
        for name, text in texts.items()
    )
    return Program(tuple(texts), tuple(texts.values()), roots, graph)


@dataclass(frozen=True, eq=False)
class Program:
    """Compiled formulas.

    Parameters
    ----------
    names : tuple of str
        Names, in the order of the results.
    texts : tuple of str
        Formulas as written.
    roots : tuple of int
        Position of each formula in the graph.
    graph : Graph
        All nodes, each once.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03", "2020-01-06"])
    >>> panel = Panel(axis, ("A@US#1",), {"close": np.array([[10.0], [12.0], [11.0]])})
    >>> program = compile_expressions({"MA2": "Mean($close, 2)"})
    >>> program.run(panel).field("MA2").ravel().tolist()
    [nan, 11.0, 11.5]
    """

    names: tuple[str, ...]
    texts: tuple[str, ...]
    roots: tuple[int, ...]
    graph: Graph = field(repr=False)

    @cached_property
    def canonical(self) -> tuple[str, ...]:
        """Formulas in canonical form: equal meanings that the graph knows have equal texts."""
        return tuple(self.graph.text(root) for root in self.roots)

    @cached_property
    def program_id(self) -> str:
        """Hash of names, order and canonical formulas."""
        return sha256_json([list(pair) for pair in zip(self.names, self.canonical, strict=True)])

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Panel fields that the formulas must have, in alphabetical order."""
        return tuple(sorted({field for name in self.names for field in self.fields_of(name)}))

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Panel groups that the formulas read, in alphabetical order."""
        nodes = [self.graph.nodes[i] for root in self.roots for i in self.graph.below(root)]
        named = {n.name for n in nodes if n.name and n.operator != FIELD}
        return tuple(sorted(named))

    @property
    def lookback_sessions(self) -> int:
        """Rows, including the newest, that the last row of all formulas needs."""
        return max(self.graph.lookback_sessions(root) for root in self.roots)

    @property
    def lookahead_sessions(self) -> int:
        """Rows of the future that a value reads; 0 unless the program was allowed to."""
        return max(self.graph.lookahead_sessions(root) for root in self.roots)

    @property
    def causality(self) -> Causality:
        """CAUSAL: known at the close of the bar; RESEARCH_ONLY with a look into the future."""
        return Causality.RESEARCH_ONLY if self.lookahead_sessions else Causality.CAUSAL

    def lookback_of(self, name: str) -> int:
        """Rows, including the newest, that one value of the named formula needs."""
        return self.graph.lookback_sessions(self.roots[self.names.index(name)])

    def fields_of(self, name: str) -> tuple[str, ...]:
        """Panel fields that the named formula must have, in alphabetical order."""
        below = self.graph.below(self.roots[self.names.index(name)])
        read = {self.graph.nodes[i].name for i in below if self.graph.nodes[i].operator == FIELD}
        return tuple(sorted(read - OPTIONAL))

    def causality_of(self, name: str) -> Causality:
        """Class of the named formula."""
        future = self.graph.lookahead_sessions(self.roots[self.names.index(name)])
        return Causality.RESEARCH_ONLY if future else Causality.CAUSAL

    def part(self, start: int, stop: int) -> Program:
        """The formulas from position `start` to `stop`; their values are the same bits."""
        chosen = slice(start, stop)
        return Program(self.names[chosen], self.texts[chosen], self.roots[chosen], self.graph)

    def run(
        self,
        panel: Panel,
        *,
        dtype: Any = np.float32,
        out: npt.NDArray[np.floating] | None = None,
        threads: int = 1,
        allow_short: bool = False,
    ) -> Panel:
        """Compute all formulas on a panel.

        Parameters
        ----------
        panel : Panel
            Market panel (T, N), prices adjusted for splits; NaN = not traded.
        dtype : dtype
            float32 or float64, of the result; state is float64 always. Not read with `out`.
        out : ndarray of float32 or float64, shape (F, T, N), optional
            Where the results go; a buffer that is used again saves the time to get fresh memory.
        threads : int
            Column blocks computed at the same time; the bits do not depend on it.
        allow_short : bool
            Whether a history shorter than the lookback gives NaN instead of an error.

        Returns
        -------
        Panel
            One field per formula, on the axes, masks and groups of the panel.

        Raises
        ------
        MissingFieldError
            When the panel lacks a field or group; the message shows the place in the formula.
        DataError
            When formulas of prices meet unadjusted prices.
        InsufficientHistoryError
            When the panel has fewer rows than one value needs.
        """
        block = np.empty((len(self.names), *panel.shape), dtype=dtype) if out is None else out
        self.run_into(panel, list(block), threads=threads, allow_short=allow_short)
        return self._panel(panel, block)

    def run_into(
        self,
        panel: Panel,
        pages: Sequence[FloatMatrix],
        *,
        threads: int = 1,
        allow_short: bool = False,
    ) -> None:
        """Compute all formulas on a panel into arrays that need not lie beside each other.

        Parameters
        ----------
        panel : Panel
            As for `run`.
        pages : sequence of ndarray of float32 or float64, shape (T, N)
            One per formula, C order.
        threads : int
            Column blocks computed at the same time.
        allow_short : bool
            As for `run`.

        Returns
        -------
        None
            The pages are written.

        Raises
        ------
        SchemaMismatchError
            When the pages do not fit; otherwise as `run`.
        """
        self._check(panel, allow_short=allow_short)
        self._evaluate(panel, pages, panel.shape[0], first_row=0, threads=threads)

    def tail(
        self, panel: Panel, *, first_row: int, dtype: Any = np.float32, threads: int = 1
    ) -> Panel:
        """Compute the rows from `first_row` on, reading no more history than they need.

        Parameters
        ----------
        panel : Panel
            The whole history (T, N).
        first_row : int
            Position of the first wanted row.
        dtype : dtype
            float32 or float64.
        threads : int
            Column blocks computed at the same time.

        Returns
        -------
        Panel
            Rows `first_row` to T, the same bits as those rows of `run`.

        Raises
        ------
        ConfigError
            For a row outside the panel; otherwise as `run`.
        """
        if not 0 <= first_row <= panel.shape[0]:
            raise ConfigError(
                "first_row",
                wanted=f"a row from 0 to {panel.shape[0]}",
                got=first_row,
                hint="Count rows of the panel that is passed, the oldest is 0.",
            )
        self._check(panel, allow_short=False)
        rest = panel.rows(first_row, panel.shape[0])
        block = np.empty((len(self.names), *rest.shape), dtype=dtype)
        self._evaluate(panel, list(block), rest.shape[0], first_row=first_row, threads=threads)
        return self._panel(rest, block)

    def update(self, panel: Panel, previous: Panel, *, threads: int = 1) -> Panel:
        """Append the new rows of a longer panel to earlier results.

        Parameters
        ----------
        panel : Panel
            The whole history, of which the first rows are those of `previous`, unchanged.
        previous : Panel
            Result of this program on those rows.
        threads : int
            Column blocks computed at the same time.

        Returns
        -------
        Panel
            The same bits as ``run(panel)`` in the precision of `previous`.

        Raises
        ------
        SchemaMismatchError
            When `previous` has other names, assets or times.
        """
        known = previous.shape[0]
        same = (
            tuple(previous.fields) == self.names
            and previous.asset_ids == panel.asset_ids
            and known <= panel.shape[0]
            and previous.time == panel.time.slice(0, known)
        )
        if not same:
            raise SchemaMismatchError(
                "previous",
                wanted="results of this program on the first rows of the panel",
                got=f"{len(previous.fields)} fields of {known} rows that do not belong to it",
                hint="Run the program on the whole panel instead.",
            )
        first_row = max(known - self.lookahead_sessions, 0)
        dtype = previous.field(self.names[0]).dtype
        self._check(panel, allow_short=True)
        block = np.empty((len(self.names), *panel.shape), dtype=dtype)
        for page, name in zip(block, self.names, strict=True):
            page[:known] = previous.field(name)
        pages = [page[first_row:] for page in block]
        self._evaluate(panel, pages, len(pages[0]), first_row=first_row, threads=threads)
        return self._panel(panel, block)

    def _evaluate(
        self,
        panel: Panel,
        pages: Sequence[FloatMatrix],
        n_rows: int,
        *,
        first_row: int,
        threads: int,
    ) -> None:
        shape = (n_rows, panel.shape[1])
        if len(pages) != len(self.names) or not all(_fits(page, shape) for page in pages):
            raise SchemaMismatchError(
                "out",
                wanted=f"{len(self.names)} writable float32 or float64 pages of shape {shape}",
                got=f"{len(pages)} pages, {', '.join({f'{p.dtype} {p.shape}' for p in pages})}",
                hint="Pass one page in C order per formula.",
            )
        if threads < 1:
            raise ConfigError("threads", wanted="at least 1", got=threads, hint="Use 1.")
        if 0 in shape:
            return
        sinks: dict[int, list[FloatMatrix]] = {}
        for page, root in zip(pages, self.roots, strict=True):
            sinks.setdefault(root, []).append(page)
        start = first_rows(self.graph, self.roots, first_row)
        plan = phases(self.graph, self.roots)
        evaluate(self.graph, plan, panel, sinks, first_row=start, threads=threads)

    def _panel(self, panel: Panel, block: npt.NDArray[np.floating]) -> Panel:
        fields = dict(zip(self.names, block, strict=True))
        return Panel(
            panel.time, panel.asset_ids, fields, panel.masks, panel.groups, panel.price_basis
        )

    def _check(self, panel: Panel, *, allow_short: bool) -> None:
        for name in self.fields:
            if name not in panel.fields:
                text, span, owner = self.graph.places[name]
                error = ExpressionError.at(text, span, wanted="", got="absent", hint="", name=owner)
                raise MissingFieldError(
                    error.parameter,
                    wanted=f"panel field {name!r}",
                    got=error.got,
                    hint=missing_hint(name, panel.fields),
                )
        for name in self.groups:
            panel.group(name)
        check_adjusted(panel, self.fields, where="expressions")
        if self.lookback_sessions > panel.shape[0] and not allow_short:
            longest = max(self.names, key=self.lookback_of)
            raise InsufficientHistoryError(
                f"expression {longest!r}",
                wanted=f"at least {self.lookback_of(longest)} rows of history",
                got=panel.shape[0],
                hint="Load more history, or pass allow_short=True to get NaN.",
            )


def _fits(page: FloatMatrix, shape: tuple[int, int]) -> bool:
    floats = page.dtype in (np.float32, np.float64)
    return floats and page.shape == shape and page.flags.c_contiguous and page.flags.writeable
