"""Errors of the expression language: what is wrong, and a caret under the place."""

from __future__ import annotations

from typing import Self

from quant_engine.core.errors import ConfigError
from quant_engine.features.expressions.syntax import Span

__all__ = ["ExpressionError"]


class ExpressionError(ConfigError):
    """A formula cannot be read, or asks for something that is not allowed.

    The message shows the line of the formula with carets under the place. `text` and `span` hold
    the formula and the place.

    Examples
    --------
    >>> try:
    ...     raise ExpressionError.at("Meen($close, 5)", Span(0, 4), wanted="a known operator",
    ...                              got="'Meen'", hint="Did you mean 'Mean'?")
    ... except ExpressionError as error:
    ...     print(error)
    expression, column 1: wanted a known operator, got 'Meen'
        Meen($close, 5)
        ^^^^
    . Did you mean 'Mean'?
    """

    code = "expression"
    text: str = ""
    span: Span = Span(0, 0)

    @classmethod
    def at(cls, text: str, span: Span, *, wanted: str, got: str, hint: str, name: str = "") -> Self:
        """Build the error for a place in a formula.

        Parameters
        ----------
        text : str
            The formula.
        span : Span
            Characters that the error is about.
        wanted, got, hint : str
            As in every error of the project.
        name : str
            Name of the formula; empty = it has none.

        Returns
        -------
        ExpressionError
            With `text` and `span` set.
        """
        line_start = text.rfind("\n", 0, span.start) + 1
        line_end = text.find("\n", span.start)
        line = text[line_start : len(text) if line_end < 0 else line_end]
        column = span.start - line_start
        width = max(min(span.stop, line_start + len(line)) - span.start, 1)
        number = text.count("\n", 0, span.start)
        where = f"expression {name!r}" if name else "expression"
        where += f", line {number + 1}" if number else ""
        carets = " " * column + "^" * width
        error = cls(
            f"{where}, column {column + 1}",
            wanted=wanted,
            got=f"{got}\n    {line}\n    {carets}\n",
            hint=hint,
        )
        error.text = text
        error.span = span
        return error
