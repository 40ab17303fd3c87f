"""Reading formulas: precedence, canonical form, and errors that point at the place."""

from __future__ import annotations

import pytest

from quant_engine.core.causality import Causality
from quant_engine.core.errors import ConfigError
from quant_engine.features.expressions.errors import ExpressionError
from quant_engine.features.expressions.operators import OPERATORS
from quant_engine.features.expressions.program import compile_expressions

pytestmark = pytest.mark.feature("Q-19")


def canonical(text):
    return compile_expressions({"f": text}).canonical[0]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("$a + $b * $c", "Add($a, Mul($b, $c))"),
        ("$a - $b - $c", "Sub(Sub($a, $b), $c)"),
        ("$a / $b * $c", "Mul(Div($a, $b), $c)"),
        ("$a ** $b ** $c", "Power($a, Power($b, $c))"),
        ("-$a ** 2", "Mul(Power($a, 2), -1)"),
        ("$a ** -2", "Power($a, -2)"),
        ("$a + 1 > $b * 2", "Gt(Add($a, 1), Mul($b, 2))"),
        ("($a > 1) & ($b > 1) | ($c > 1)", "Or(And($a > 1, $b > 1), $c > 1)"),
        ("$a & $b > $c", "Gt(And($a, $b), $c)"),
        ("~$a & $b", "And(Not($a), $b)"),
        ("$b + $a", "$a + $b"),
        ("$a < $b", "$b > $a"),
        ("+$a * (2 + 3)", "$a * 5"),
        ("Delta($a, 3)", "$a - Ref($a, 3)"),
        ("Med($a, 3)", "Quantile($a, 3, 0.5)"),
        ("Mean($a\n, 5) * .5e1", "Mean($a, 5) * 5"),
        ("CsScale($a)", "CsScale($a, 1)"),
    ],
)
def test_formulas_that_are_the_same(text, same):
    assert canonical(text) == canonical(same)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("$a - $b", "$b - $a"),
        ("$a > $b", "$a >= $b"),
        ("Mean($a, 5)", "Mean($a, 6)"),
        ("Quantile($a, 5, 0.1)", "Quantile($a, 5, 0.2)"),
        ("CsNeutralize($a, $g)", "CsNeutralize($a, $h)"),
    ],
)
def test_formulas_that_differ(text, other):
    assert canonical(text) != canonical(other)


def test_shared_parts_exist_once_and_ids_follow_meaning():
    texts = {"f": "Mean($a + $b, 5)", "g": "Std($b + $a, 5) / Mean($b + $a, 5)"}
    program = compile_expressions(texts)
    assert len(program.graph.nodes) == 6
    again = compile_expressions({"f": "Mean( $b+$a , 5 )", "g": texts["g"]})
    assert program.program_id == again.program_id
    assert program.program_id != compile_expressions({"g": texts["g"], "f": texts["f"]}).program_id


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("$a", 1),
        ("Ref($a, 3)", 4),
        ("Mean($a, 5)", 5),
        ("Mean(Delta($a, 2), 5) + Ref(Max($b, 10), 1)", 11),
        ("CsRank(Mean(CsRank($a), 5))", 5),
        ("Ref(Mean($a, 5), -2)", 3),
    ],
)
def test_lookback(text, rows):
    assert compile_expressions({"f": text}, allow_future=True).lookback_sessions == rows


def test_the_future_is_for_labels_only():
    label = compile_expressions({"f": "Ref($close, -5) / Ref($close, -1) - 1"}, allow_future=True)
    assert (label.lookahead_sessions, label.causality) == (5, Causality.RESEARCH_ONLY)
    assert compile_expressions({"f": "$close"}).causality is Causality.CAUSAL
    for text in ("Ref($close, -1)", "Delta($close, -1)", "Mean(Ref($close, -(1)), 5)"):
        with pytest.raises(ExpressionError, match="look into the future"):
            compile_expressions({"f": text})
    # A look ahead and back again reads no future in the end.
    there_and_back = compile_expressions({"f": "Ref(Ref($close, -1), 2)"}, allow_future=True)
    assert there_and_back.lookahead_sessions == 0


@pytest.mark.parametrize(
    ("text", "under", "message"),
    [
        ("Meen($close, 5)", "Meen", r"known operator.*Did you mean 'Mean'"),
        ("Mean($close)", "Mean", "wanted 2 arguments of Mean, got 1"),
        ("CsScale($a, 1, 2)", "CsScale", r"2 arguments of CsScale \(or 1\), got 3"),
        ("Mean($close, 0)", "0", "whole number of rows of at least 1 in Mean, got 0"),
        ("Std($close, 1)", "1", "at least 2 in Std"),
        ("Mean($close, 2.5)", "2.5", "whole number.*got 2.5"),
        ("Mean($close, -5)", "-5", "whole number.*got -5"),
        ("Mean($close, $open)", "$open", "written as a number"),
        ("Ref($close, 0)", "0", "at least 1 in Ref"),
        ("Quantile($close, 5, 1.5)", "1.5", "from 0 to 1"),
        ("EMA($close, 1)", "1", "other than 1"),
        ("Mean(5, 5)", "5", "formula of a field in Mean"),
        ("CsNeutralize($close, 5)", "5", "panel group"),
        ("1 + 2", "+", "formula of a field, got a number"),
        ("$close + 1 / 0", "/", "finite number"),
        ("$close +", " ", "the end of the formula"),
        ("$close $open", "$open", "a sign between"),
        ("($close", " ", r"wanted '\)', got the end"),
        ("$close)", ")", "parenthesis too many"),
        ("close + 1", "close", r"a field is written \$close|A field is written \$close"),
        ("1 < $close < 2", "<", "one comparison"),
        ("$close ? 1", "?", "number"),
        ("Mean(, 5)", ",", "a value"),
        ("(" * 150 + "$close" + ")" * 150, "(", "levels of nesting"),
    ],
)
def test_errors_point_at_the_place(text, under, message):
    with pytest.raises(ExpressionError, match=f"(?s){message}") as caught:
        compile_expressions({"mine": text})
    error = caught.value
    assert "'mine'" in error.parameter
    assert error.text == text
    start, stop = error.span
    assert (text + " ")[start:stop] == under
    line, carets = str(error.got).splitlines()[1:3]
    assert line[4:] == text
    assert carets.index("^") - 4 == start


def test_the_caret_stands_under_the_right_line():
    with pytest.raises(ExpressionError) as caught:
        compile_expressions({"f": "Mean($close, 5)\n  + Meen($close, 5)"})
    assert "line 2, column 5" in str(caught.value)
    assert str(caught.value.got).splitlines()[1:] == ["      + Meen($close, 5)", "        ^^^^"]


def test_a_program_needs_a_formula():
    with pytest.raises(ConfigError, match="at least one formula"):
        compile_expressions({})


def test_every_operator_says_what_it_is():
    for name, operator in OPERATORS.items():
        assert operator.name == name
        assert operator.summary
