"""Parser: the text of a formula in, a tree out, or an error that points at the place."""

from __future__ import annotations

from quant_engine.features.expressions.errors import ExpressionError
from quant_engine.features.expressions.syntax import (
    BINARY,
    TOKEN,
    Call,
    FieldName,
    Number,
    Span,
    Token,
    Tree,
)

__all__ = ["parse_expression"]

COMPARISON = 1
UNARY = 6
POWER = 7
MAX_DEPTH = 100
"""Nesting that is still readable; a deeper text would exhaust the interpreter's stack."""


def parse_expression(text: str, *, name: str = "") -> Tree:
    """Parse one formula.

    Parameters
    ----------
    text : str
        Formula, see `quant_engine.features.expressions.syntax` for the grammar.
    name : str
        Name of the formula, for messages.

    Returns
    -------
    Number, FieldName or Call
        Root of the tree.

    Raises
    ------
    ExpressionError
        With the place of the first character that cannot be understood.

    Examples
    --------
    >>> tree = parse_expression("Mean($close, 5) / $close")
    >>> tree.operator, tree.arguments[0].operator, tree.arguments[1].name
    ('Div', 'Mean', 'close')
    """
    parser = _Parser(text, name)
    tree = parser.operation(COMPARISON, 0)
    parser.expect_end()
    return tree


class _Parser:
    # Precedence climbing: `operation(level)` reads a formula whose signs bind at least that tight.

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self.tokens = self._split()
        self.place = 0

    def _split(self) -> list[Token]:
        tokens, at = [], 0
        while at < len(self.text):
            match = TOKEN.match(self.text, at)
            if match is None:
                raise self._error(
                    Span(at, at + 1),
                    wanted="a number, $field, Operator(...) or sign",
                    got=repr(self.text[at]),
                    hint="Fields are written $close; signs are + - * / ** > >= < <= == != & | ~.",
                )
            at = match.end()
            if match.lastgroup != "space":
                tokens.append(Token(str(match.lastgroup), match.group(), Span(*match.span())))
        end = len(self.text.rstrip())
        tokens.append(Token("end", "", Span(end, end + 1)))
        return tokens

    def _error(self, span: Span, *, wanted: str, got: str, hint: str) -> ExpressionError:
        return ExpressionError.at(
            self.text, span, wanted=wanted, got=got, hint=hint, name=self.name
        )

    @property
    def token(self) -> Token:
        return self.tokens[self.place]

    def _take(self) -> Token:
        token = self.token
        self.place += token.kind != "end"
        return token

    def _expect(self, sign: str) -> None:
        if self.token.text != sign:
            raise self._error(
                self.token.span,
                wanted=f"{sign!r}",
                got=repr(self.token.text) if self.token.text else "the end of the formula",
                hint="Close what was opened, and separate arguments by commas.",
            )
        self._take()

    def expect_end(self) -> None:
        if self.token.kind != "end":
            raise self._error(
                self.token.span,
                wanted="a sign between two values, or the end of the formula",
                got=repr(self.token.text),
                hint="Is a sign missing before it, or a parenthesis too many?",
            )

    def operation(self, level: int, depth: int) -> Tree:
        if depth > MAX_DEPTH:
            raise self._error(
                self.token.span,
                wanted=f"at most {MAX_DEPTH} levels of nesting",
                got="more",
                hint="Split the formula into named parts.",
            )
        left = self._operand(depth)
        while True:
            sign = self.token
            operator, binding = BINARY.get(sign.text, ("", 0))
            if binding < max(level, COMPARISON):
                return left
            self._take()
            # A power is right-associative and takes a signed exponent: 2 ** -1.
            tighter = UNARY if binding == POWER else binding + 1
            right = self.operation(tighter, depth + 1)
            left = Call(operator, (left, right), sign.span)
            if binding == COMPARISON and BINARY.get(self.token.text, ("", 0))[1] == COMPARISON:
                raise self._error(
                    self.token.span,
                    wanted="one comparison",
                    got=f"a second one, {self.token.text!r}",
                    hint="& and | bind tighter than comparisons: write ($a > 1) & ($b > 2).",
                )

    def _operand(self, depth: int) -> Tree:
        token = self._take()
        if token.kind == "number":
            return Number(float(token.text), token.span)
        if token.kind == "field":
            return FieldName(token.text[1:], token.span)
        if token.kind == "name":
            return self._call(token, depth)
        if token.text == "(":
            inner = self.operation(COMPARISON, depth + 1)
            self._expect(")")
            return inner
        if token.text in ("-", "+", "~"):
            inner = self.operation(UNARY, depth + 1)
            return self._signed(token, inner)
        raise self._error(
            token.span,
            wanted="a value",
            got=repr(token.text) if token.text else "the end of the formula",
            hint="A value is a number, a $field, an Operator(...) or a parenthesis.",
        )

    def _signed(self, token: Token, inner: Tree) -> Tree:
        if token.text == "+":
            return inner
        if token.text == "~":
            return Call("Not", (inner,), token.span)
        if isinstance(inner, Number):
            return Number(-inner.value, Span(token.span.start, inner.span.stop))
        return Call("Mul", (inner, Number(-1.0, token.span)), token.span)

    def _call(self, name: Token, depth: int) -> Call:
        if self.token.text != "(":
            raise self._error(
                name.span,
                wanted="a value",
                got=repr(name.text),
                hint=f"A field is written ${name.text}, an operator {name.text}(...).",
            )
        self._take()
        arguments = [self.operation(COMPARISON, depth + 1)]
        while self.token.text == ",":
            self._take()
            arguments.append(self.operation(COMPARISON, depth + 1))
        self._expect(")")
        return Call(name.text, tuple(arguments), name.span)
