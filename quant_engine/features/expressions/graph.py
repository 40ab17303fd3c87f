"""Graph: formulas as one acyclic graph in which an equal part exists once.

A node is an operator, the positions of its inputs and its numbers; equal nodes are one node, so
what formulas share is computed once. The order of the nodes is an order of computation. What one
operator says through others is rewritten (``a < b`` is ``b > a``, `Delta` is a difference, `Med`
a quantile), derived fields become their formulas (`fields.DERIVED`) and constants are folded, so
that two ways of writing one thing meet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quant_engine.core.errors import did_you_mean
from quant_engine.features.expressions import operators
from quant_engine.features.expressions.callables import find_callable, known_names
from quant_engine.features.expressions.errors import ExpressionError
from quant_engine.features.expressions.fields import DERIVED
from quant_engine.features.expressions.operators import OPERATORS, Operator, decay_of
from quant_engine.features.expressions.parser import parse_expression
from quant_engine.features.expressions.pointwise import KERNELS
from quant_engine.features.expressions.syntax import Call, FieldName, Number, Span, Tree
from quant_engine.features.functions import Function

__all__ = ["CONSTANT", "FIELD", "Graph", "Node"]

FIELD, CONSTANT = "$", "="
"""Operators of the leaves: a panel field, a number."""

COMMUTATIVE = frozenset({"Add", "Mul", "Eq", "Ne", "And", "Or", "Greater", "Less"})
SWAPPED = {"Lt": "Gt", "Le": "Ge"}


@dataclass(frozen=True)
class Node:
    """One value per row and asset.

    Parameters
    ----------
    operator : str
        Name, or `FIELD` or `CONSTANT`.
    inputs : tuple of int
        Positions of the inputs in the graph, all smaller than the node's own.
    window : int
        Rows of the window or of the shift (negative = into the future); 0 = none.
    number : float
        Further number: value of a constant, level of a quantile, ratio of weights.
    name : str
        Field or group.
    numbers : tuple of float
        Parameters of a function.
    """

    operator: str
    inputs: tuple[int, ...] = ()
    window: int = 0
    number: float = 0.0
    name: str = ""
    numbers: tuple[float, ...] = ()


class Graph:
    """Nodes of all formulas of a program, each once.

    Parameters
    ----------
    allow_future : bool
        Whether `Ref` and `Delta` may look into the future.

    Examples
    --------
    >>> from quant_engine.features.expressions.parser import parse_expression
    >>> graph = Graph()
    >>> for text in ("Mean($close, 5)/$close", "Mean($close, 5) > $open"):
    ...     root = graph.add(parse_expression(text), text)
    >>> [graph.text(i) for i in range(len(graph.nodes))][1]
    'Mean($close, 5)'
    >>> len(graph.nodes), graph.lookback_sessions(root)
    (5, 5)
    """

    def __init__(self, *, allow_future: bool = False) -> None:
        self.nodes: list[Node] = []
        self.first: list[int] = []
        self.last: list[int] = []
        self.places: dict[str, tuple[str, Span, str]] = {}
        self._known: dict[Node, int] = {}
        self._allow_future = allow_future
        self._text = ""
        self._name = ""
        self._derived: FieldName | None = None

    def add(self, tree: Tree, text: str, *, name: str = "") -> int:
        """Add a formula and return the position of its root.

        Parameters
        ----------
        tree : Number, FieldName or Call
            Of `parse_expression`.
        text, name : str
            The formula and its name, for messages.

        Returns
        -------
        int
            Position of the root.

        Raises
        ------
        ExpressionError
            For an unknown operator, a wrong number or kind of arguments, a window that is not a
            whole number or too small, a look into the future, or a formula without any field.
        """
        self._text, self._name = text, name
        root = self._build(tree)
        if self.nodes[root].operator == CONSTANT:
            raise self._error(
                tree.span, wanted="a formula of a field", got="a number", hint="Use a field."
            )
        return root

    def lookback_sessions(self, position: int) -> int:
        """Rows, including the newest, that one value of a node needs."""
        return 1 - min(self.first[position], 0)

    def lookahead_sessions(self, position: int) -> int:
        """Rows of the future that one value of a node needs; 0 unless the future was allowed."""
        return max(self.last[position], 0)

    def below(self, position: int) -> set[int]:
        """Positions of a node and of everything that it is computed from."""
        found: set[int] = set()
        waiting = [position]
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting += self.nodes[node].inputs
        return found

    def text(self, position: int) -> str:
        """Canonical text of a node: equal nodes have equal texts."""
        node = self.nodes[position]
        if node.operator == FIELD:
            return f"${node.name}"
        if node.operator == CONSTANT:
            return repr(node.number)
        parts = [self.text(i) for i in node.inputs]
        if isinstance(find_callable(node.operator), Function):
            return f"{node.operator}({', '.join([*parts, *map(repr, node.numbers)])})"
        parts += [str(node.window)] * bool(node.window)
        parts += [repr(node.number)] * bool(node.number)
        parts += [f"${node.name}"] * bool(node.name)
        return f"{node.operator}({', '.join(parts)})"

    def _error(self, span: Span, *, wanted: str, got: str, hint: str) -> ExpressionError:
        return ExpressionError.at(
            self._text, span, wanted=wanted, got=got, hint=hint, name=self._name
        )

    def _intern(self, node: Node) -> int:
        if node in self._known:
            return self._known[node]
        shift = OPERATORS[node.operator].kind if node.operator in OPERATORS else ""
        older = node.window if shift == operators.SHIFT else max(node.window - 1, 0)
        newer = node.window if shift == operators.SHIFT else 0
        # Offsets of the oldest and the newest row that are read, from the row of the value.
        first = [self.first[i] for i in node.inputs if self.nodes[i].operator != CONSTANT]
        last = [self.last[i] for i in node.inputs if self.nodes[i].operator != CONSTANT]
        self.first.append(min(first, default=0) - older)
        self.last.append(max(last, default=0) - newer)
        self.nodes.append(node)
        self._known[node] = len(self.nodes) - 1
        return len(self.nodes) - 1

    def _build(self, tree: Tree) -> int:
        if isinstance(tree, Number):
            return self._intern(Node(CONSTANT, number=tree.value + 0.0))
        if isinstance(tree, FieldName):
            return self._field(tree)
        found = find_callable(tree.operator)
        if found is None:
            raise self._error(
                tree.span,
                wanted="a known operator or function",
                got=repr(tree.operator),
                hint=did_you_mean(tree.operator, known_names()),
            )
        least, most = found.n_arguments
        if not least <= len(tree.arguments) <= most:
            raise self._error(
                tree.span,
                wanted=f"{most} arguments of {tree.operator}"
                + (f" (or {least})" if least < most else ""),
                got=str(len(tree.arguments)),
                hint=_help(found, tree.operator),
            )
        inputs = tuple(self._build(part) for part in tree.arguments[: found.n_series])
        if isinstance(found, Function):
            return self._function(found, tree, inputs)
        return self._call(found, tree, inputs)

    def _field(self, tree: FieldName) -> int:
        if tree.name in DERIVED:
            # Messages about what a derived field reads point at the place of its name.
            outer, self._derived = self._derived, self._derived or tree
            root = self._build(parse_expression(DERIVED[tree.name]))
            self._derived = outer
            return root
        span = (self._derived or tree).span
        self.places.setdefault(tree.name, (self._text, span, self._name))
        return self._intern(Node(FIELD, name=tree.name))

    def _function(self, function: Function, tree: Call, inputs: tuple[int, ...]) -> int:
        self._refuse_constants(inputs, tree)
        given = tree.arguments[function.n_series :]
        numbers = [
            self._literal(part, f"the parameter {parameter.name}", tree.operator)
            for parameter, part in zip(function.parameters, given, strict=False)
        ]
        for parameter, part, value in zip(function.parameters, given, numbers, strict=False):
            whole = not parameter.whole or value == int(value)
            if not whole or not parameter.low <= value <= parameter.high:
                raise self._error(
                    part.span,
                    wanted=f"{parameter.name} as a {'whole ' * parameter.whole}number from "
                    f"{parameter.low:g} to {parameter.high:g} in {tree.operator}",
                    got=f"{value:g}",
                    hint=_help(function, tree.operator),
                )
        numbers += [float(p.default or 0.0) for p in function.parameters[len(given) :]]
        rows = function.lookback(tuple(numbers))
        return self._intern(Node(tree.operator, inputs, rows, numbers=tuple(numbers)))

    def _refuse_constants(self, inputs: tuple[int, ...], tree: Call) -> None:
        for position, part in zip(inputs, tree.arguments, strict=False):
            if self.nodes[position].operator == CONSTANT:
                raise self._error(
                    part.span,
                    wanted=f"a formula of a field in {tree.operator}",
                    got="a number",
                    hint=_help(find_callable(tree.operator), tree.operator),
                )

    def _call(self, operator: Operator, tree: Call, inputs: tuple[int, ...]) -> int:
        if operator.kind == operators.POINTWISE:
            root = self._pointwise(operator.name, inputs)
            if np.isnan(self.nodes[root].number):
                raise self._error(
                    tree.span, wanted="a finite number", got="none", hint="Correct the constants."
                )
            return root
        self._refuse_constants(inputs, tree)
        rest = list(tree.arguments[operator.n_series :])
        window = self._window(operator, rest.pop(0)) if operator.min_window else 0
        number = operator.default or 0.0
        if operator.number and rest:
            number = self._number(operator, rest.pop(0))
        name = self._group(operator, rest.pop(0)) if operator.group else ""
        return self._windowed(Node(operator.name, inputs, window, number, name))

    def _windowed(self, node: Node) -> int:
        if node.operator == "Delta":
            before = self._intern(Node("Ref", node.inputs, node.window))
            return self._pointwise("Sub", (node.inputs[0], before))
        if node.operator == "Med":
            node = Node("Quantile", node.inputs, node.window, 0.5)
        if node.operator == "IndNeutralize":
            node = Node("CsNeutralize", node.inputs, name=node.name)
        if node.operator == "EMA":
            keep, rows = decay_of(node.number)
            node = Node("EMA", node.inputs, rows, keep)
        return self._intern(node)

    def _pointwise(self, name: str, inputs: tuple[int, ...]) -> int:
        if name in SWAPPED:
            name, inputs = SWAPPED[name], inputs[::-1]
        if name in COMMUTATIVE:
            # By text, because positions depend on the other formulas of the program.
            inputs = tuple(sorted(inputs, key=self.text))
        nodes = [self.nodes[i] for i in inputs]
        if all(node.operator == CONSTANT for node in nodes):
            out = np.empty(1)
            KERNELS[name](*(node.number for node in nodes), out)
            return self._intern(Node(CONSTANT, number=float(out[0])))
        return self._intern(Node(name, inputs))

    def _literal(self, tree: Tree, wanted: str, name: str) -> float:
        if isinstance(tree, Number):
            return tree.value
        raise self._error(
            tree.span,
            wanted=f"{wanted} of {name}, written as a number",
            got="a formula",
            hint=_help(find_callable(name), name),
        )

    def _window(self, operator: Operator, tree: Tree) -> int:
        value = self._literal(tree, "the window", operator.name)
        shift = operator.kind == operators.SHIFT
        if shift and value < 0 and not self._allow_future:
            raise self._error(
                tree.span,
                wanted=f"a shift of at least 1 in {operator.name}",
                got=f"{value:g}, a look into the future",
                hint="Only labels may: compile them with allow_future=True.",
            )
        if value != int(value) or (value < operator.min_window and not (shift and value < 0)):
            raise self._error(
                tree.span,
                wanted=f"a whole number of rows of at least {operator.min_window} in "
                f"{operator.name}",
                got=f"{value:g}",
                hint=_help(operator, operator.name),
            )
        return int(value)

    def _number(self, operator: Operator, tree: Tree) -> float:
        value = self._literal(tree, "the number", operator.name)
        low, high = operator.number
        if not low <= value <= high or (operator.name == "EMA" and value == 1.0):
            raise self._error(
                tree.span,
                wanted=f"a number from {low:g} to {high:g}"
                + (" other than 1" if operator.name == "EMA" else ""),
                got=f"{value:g}",
                hint=_help(operator, operator.name),
            )
        return value

    def _group(self, operator: Operator, tree: Tree) -> str:
        if isinstance(tree, FieldName):
            return tree.name
        raise self._error(
            tree.span,
            wanted=f"a panel group in {operator.name}, such as $sector",
            got="a number or formula",
            hint="Groups are the dated categories of the panel.",
        )


def _help(found: Operator | Function | None, name: str) -> str:
    if isinstance(found, Function):
        parameters = ", ".join(parameter.name for parameter in found.parameters) or "no parameters"
        summary = found.outputs[found.names.index(name)].summary
        return f"{name}: {summary}; {found.n_series} formulas, then {parameters}."
    return f"{name}: {found.summary}." if found else ""
