"""Functions and derived fields in formulas: checks of calls, shared work, the market return."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.errors import ConfigError, MissingFieldError
from quant_engine.core.panel import PriceBasis
from quant_engine.core.registry import Registry
from quant_engine.features import functions
from quant_engine.features.expressions.errors import ExpressionError
from quant_engine.features.expressions.operators import OPERATORS
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.functions import FUNCTIONS, Function, Output, Parameter, add_function
from quant_engine.features.prices import total_returns

pytestmark = pytest.mark.feature("Q-19")

CALLS = []


def _running(series, numbers, out):
    # A recursion: the decayed sum of everything since the start, and its double.
    CALLS.append(numbers)
    total = np.zeros(series[0].shape[1])
    for t in range(len(out[0])):
        total = numbers[0] * total + series[0][t]
        out[0][t], out[1][t] = total, 2.0 * total


def _spread(series, numbers, out, member):
    chosen = np.where(member, series[0], np.nan)
    out[0] = (np.nanmax(chosen, axis=1) - np.nanmin(chosen, axis=1))[:, None]
    out[0][0] = np.inf


@pytest.fixture
def registered(monkeypatch):
    """Two functions of this test alone, in a registry of their own."""
    own = Registry("function")
    for name in FUNCTIONS.names():
        own.register(name, metadata=FUNCTIONS.metadata(name))(FUNCTIONS.get(name))
    monkeypatch.setattr(functions, "FUNCTIONS", own)
    monkeypatch.setattr("quant_engine.features.expressions.callables.FUNCTIONS", own)
    add_function(
        Function(
            (Output("Running", "decayed sum", "x"), Output("Twice", "its double", "x")), 1,
            (Parameter("decay", 0.0, 0.99, whole=False), Parameter("rows", 1, 100, default=50)),
            lambda numbers: int(numbers[1]), _running, "test", recursive=True,
        )
    )  # fmt: skip
    add_function(
        Function((Output("Spread", "largest less smallest", "x"),), 1, (), lambda numbers: 1,
                 _spread, "test", across=True)
    )  # fmt: skip
    CALLS.clear()
    return own


def test_outputs_of_one_call_are_computed_once(registered, panel):
    program = compile_expressions(
        {"a": "Running($close, 0.5)", "b": "Twice($close, 0.5) - 2*Running($close, 0.5)",
         "c": "Twice($close, 0.5, 20)"}
    )  # fmt: skip
    out = program.run(panel, dtype=np.float64)
    assert len(CALLS) == 2
    assert (out.field("b") == 0.0).all()
    np.testing.assert_array_equal(out.field("c"), 2.0 * out.field("a"))
    assert [program.lookback_of(name) for name in "abc"] == [50, 50, 20]
    assert program.canonical[0] == "Running($close, 0.5, 50.0)"


def test_a_recursive_function_starts_where_the_history_starts(registered, panel):
    program = compile_expressions({"a": "Mean(Running($close, 0.9), 3)"})
    whole = program.run(panel, dtype=np.float64)
    tail = program.tail(panel, first_row=300, dtype=np.float64)
    np.testing.assert_array_equal(tail.field("a"), whole.field("a")[300:])
    early = program.run(panel.rows(0, 310), dtype=np.float64)
    again = program.update(panel, early)
    np.testing.assert_array_equal(again.field("a"), whole.field("a"))


def test_a_function_across_assets_counts_members_and_has_no_infinity(registered, panel):
    got = compile_expressions({"s": "Spread($close)/2"}).run(panel, dtype=np.float64).field("s")
    close = np.where(panel.mask("member"), panel.field("close"), np.nan)
    assert np.isnan(got[0]).all()
    for t in (1, 100, 329):
        np.testing.assert_allclose(got[t], (np.nanmax(close[t]) - np.nanmin(close[t])) / 2)
    tail = compile_expressions({"s": "Spread($close)/2"}).run(panel.rows(5, 330))
    np.testing.assert_allclose(tail.field("s")[1:], got[6:], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Running($close)", "wanted 3 arguments of Running (or 2), got 1"),
        ("Running($close, 0.5, 2, 3)", "wanted 3 arguments of Running (or 2), got 4"),
        ("Running($close, 2)", "decay as a number from 0 to 0.99 in Running, got 2"),
        ("Running($close, 0.5, 2.5)", "rows as a whole number from 1 to 100 in Running, got 2.5"),
        ("Running($close, $open)", "the parameter decay of Running, written as a number"),
        ("Running(3, 0.5)", "a formula of a field in Running, got a number"),
        ("Runing($close, 0.5)", "Did you mean 'Running'"),
    ],
)
def test_wrong_calls_say_where_and_what(registered, text, message):
    with pytest.raises(ExpressionError) as caught:
        compile_expressions({"f": text})
    assert message in str(caught.value)
    assert "expression 'f', column" in str(caught.value)


def test_names_are_taken_once(registered):
    taken = Function((Output("Running", "again", "x"),), 1, (), lambda n: 1, _running, "test")
    with pytest.raises(ConfigError, match="a name that is not taken"):
        add_function(taken)


def test_every_shipped_function_is_documented_and_no_operator():
    for name in FUNCTIONS.names():
        function = FUNCTIONS.get(name)
        assert name not in OPERATORS
        assert function.source, name
        assert all(output.summary and output.unit for output in function.outputs), name
        for parameter in function.parameters:
            assert parameter.low <= parameter.high, name
            if parameter.default is not None:
                assert parameter.low <= parameter.default <= parameter.high, name


def test_derived_fields_are_what_they_say(panel):
    texts = {name: f"${name}" for name in
             ("return", "log_return", "dollar_volume", "typical", "market_return")}  # fmt: skip
    got = compile_expressions(texts).run(panel, dtype=np.float64)
    want = total_returns(panel)
    np.testing.assert_array_equal(got.field("return"), want)
    np.testing.assert_allclose(got.field("log_return"), np.log1p(want), rtol=1e-9, atol=1e-15)
    money = panel.field("close") * panel.field("volume")
    np.testing.assert_array_equal(got.field("dollar_volume"), money)
    prices = sum(panel.field(name) for name in ("high", "low", "close")) / 3
    np.testing.assert_allclose(got.field("typical"), prices, rtol=1e-15)
    held = np.vstack([np.zeros((1, 5), bool), panel.mask("member")[:-1]])
    market = pd.DataFrame(want).where(held).mean(axis=1)
    for column in range(5):
        np.testing.assert_allclose(got.field("market_return")[:, column], market, rtol=1e-12)


def test_what_a_panel_need_not_have(panel):
    program = compile_expressions({"m": "$member", "t": "$tradable", "d": "$dividend"})
    assert program.fields == ()
    got = program.run(panel, dtype=np.float64)
    np.testing.assert_array_equal(got.field("m"), panel.mask("member"))
    np.testing.assert_array_equal(got.field("d"), panel.field("dividend"))
    bare = type(panel)(
        panel.time, panel.asset_ids, {"close": panel.field("close")},
        price_basis=PriceBasis.TOTAL_ADJ,
    )  # fmt: skip
    plain = program.run(bare)
    assert (plain.field("m") == 1.0).all()
    assert (plain.field("t") == 1.0).all()
    assert (plain.field("d") == 0.0).all()


def test_what_a_derived_field_lacks_is_reported_at_its_place(panel):
    program = compile_expressions({"f": "1 + $dollar_volume"})
    with pytest.raises(MissingFieldError, match="expression 'f', column 5"):
        program.run(panel.only_fields(["close"]))
