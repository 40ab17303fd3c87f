"""Syntax: the text of a formula as a typed tree, every node with its place in the text.

Grammar, loosest first; the precedence is Python's, so that formulas written for Qlib, which
evaluates them as Python, mean the same here::

    comparison  =  or [(">" | ">=" | "<" | "<=" | "==" | "!=") or]       not chained
    or          =  and {"|" and}
    and         =  sum {"&" sum}
    sum         =  product {("+" | "-") product}
    product     =  unary {("*" | "/") unary}
    unary       =  ("-" | "+" | "~") unary  |  power
    power       =  atom ["**" unary]
    atom        =  number | "$" name | name "(" comparison {"," comparison} ")" | "(" comparison ")"

Signs become calls of the operator that they stand for, so ``a + b`` and ``Add(a, b)`` are one tree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

__all__ = ["BINARY", "Call", "FieldName", "Number", "Span", "Token", "Tree"]


class Span(NamedTuple):
    """Characters start (inclusive) to stop (exclusive) of a formula."""

    start: int
    stop: int


@dataclass(frozen=True)
class Number:
    """A number.

    Parameters
    ----------
    value : float
        Its value.
    span : Span
        Its place.
    """

    value: float
    span: Span


@dataclass(frozen=True)
class FieldName:
    """A panel field (or, where an operator asks for one, a panel group), written ``$name``.

    Parameters
    ----------
    name : str
        Name without the sign.
    span : Span
        Its place.
    """

    name: str
    span: Span


@dataclass(frozen=True)
class Call:
    """An operator with its arguments.

    Parameters
    ----------
    operator : str
        Name, such as ``"Mean"``; for a sign the name that it stands for.
    arguments : tuple
        Trees.
    span : Span
        Place of the operator's name or sign.
    """

    operator: str
    arguments: tuple[Tree, ...]
    span: Span


Tree: TypeAlias = Number | FieldName | Call


class Token(NamedTuple):
    """A word of a formula: its kind, its text and its place."""

    kind: str
    text: str
    span: Span


TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"|(?P<field>\$[A-Za-z_]\w*)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign>\*\*|>=|<=|==|!=|[-+*/()<>,&|~])"
)

BINARY = {
    ">": ("Gt", 1), ">=": ("Ge", 1), "<": ("Lt", 1), "<=": ("Le", 1), "==": ("Eq", 1),
    "!=": ("Ne", 1), "|": ("Or", 2), "&": ("And", 3), "+": ("Add", 4), "-": ("Sub", 4),
    "*": ("Mul", 5), "/": ("Div", 5), "**": ("Power", 7),
}  # fmt: skip
"""Sign: the operator that it stands for, and how tightly it binds."""
