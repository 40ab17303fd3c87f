"""Running programs: laws that hold for every formula, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.core.errors import (
    ConfigError,
    DataError,
    InsufficientHistoryError,
    MissingFieldError,
    SchemaMismatchError,
)
from quant_engine.core.panel import GroupTable, Panel, PriceBasis, TimeAxis
from quant_engine.features.expressions import evaluate
from quant_engine.features.expressions.operators import CROSS, OPERATORS, POINTWISE
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.testing.lookahead import assert_prefix_invariant

pytestmark = [pytest.mark.feature("Q-19"), pytest.mark.leakage]

N_ROWS, N_ASSETS = 820, 5


def call(operator):
    parts = ["$x", "$y", "$x - $y"][: operator.n_series]
    parts += ["7"] * bool(operator.min_window)
    parts += ["0.7"] * bool(operator.number)
    parts += ["$sector"] * operator.group
    return f"{operator.name}({', '.join(parts)})"


TEXTS = {f"f_{name}": call(operator) for name, operator in OPERATORS.items()} | {
    "deep": "Std(Mean(Delta($x, 3), 20) / Max($y, 15), 40)",
    "mixed": "Mean(CsRank(Corr($x, $y, 10)), 5) - CsZscore(EMA($x, 5))",
    "long": "Rsquare(Mean($x, 60), 60)",
}


@pytest.fixture(scope="module")
def market():
    rng = np.random.default_rng(21)
    shape = (N_ROWS, N_ASSETS)
    fields = {
        name: 20.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(shape), axis=0)) for name in "xy"
    }
    for values in fields.values():
        values[rng.random(shape) < 0.002] = np.nan
        values[250:260, 1] = np.nan
    fields["y"][500, 2] = 1e9
    days = np.datetime64("2015-01-01") + np.arange(N_ROWS)
    sector = GroupTable(rng.integers(-1, 2, shape).astype(np.int16), ("a", "b"))
    names = tuple(f"A{j}@US#1" for j in range(N_ASSETS))
    member = rng.random(shape) < 0.9
    return Panel(TimeAxis.sessions(days), names, fields, {"member": member}, {"sector": sector})


@pytest.fixture(scope="module")
def program():
    return compile_expressions(TEXTS)


@pytest.fixture(scope="module")
def computed(market, program):
    return program.run(market, dtype=np.float64)


def assert_same_bits(a, b):
    assert [n for n in a.fields if a.field(n).tobytes() != b.field(n).tobytes()] == []


def test_no_formula_sees_the_future(market, program):
    report = assert_prefix_invariant(
        lambda panel: program.run(panel, dtype=np.float64), market, cuts=[300, 512, 700], seed=3
    )
    assert set(TEXTS) <= set(report.fields)


@pytest.mark.parametrize("known", [0, 1, 100, 255, 256, 400, 511, 512, 700, 819, 820])
def test_appending_rows_gives_the_bits_of_a_full_run(market, program, computed, known):
    previous = computed.rows(0, known)
    assert_same_bits(program.update(market, previous), computed)


@pytest.mark.parametrize("first_row", [0, 257, 600, 819, 820])
def test_a_tail_has_the_bits_of_a_full_run(market, program, computed, first_row):
    tail = program.tail(market, first_row=first_row, dtype=np.float64)
    assert_same_bits(tail, computed.rows(first_row, N_ROWS))


def test_a_tail_reads_no_more_than_it_needs(market):
    program = compile_expressions({"f": "Mean(Max($x, 10), 20)"})
    want = program.run(market).rows(800, N_ROWS)
    fields = {"x": market.field("x").copy()}
    # Anchor 768, one window of 20 and one of 10 before it.
    first = 768 - 19 - 9
    fields["x"][:first] = np.nan
    assert_same_bits(program.tail(market.with_fields(fields), first_row=800), want)
    fields["x"][first] = np.nan
    changed = program.tail(market.with_fields(fields), first_row=768)
    assert np.isnan(changed.field("f")[0]).all()


def test_labels_update_their_open_end(market):
    program = compile_expressions({"f": "Ref($x, -5) / $x"}, allow_future=True)
    previous = program.run(market.rows(0, 600))
    assert_same_bits(program.update(market, previous), program.run(market))


def test_threads_blocks_and_company_do_not_change_a_bit(market, program, computed, monkeypatch):
    assert_same_bits(program.run(market, dtype=np.float64, threads=3), computed)
    for name, text in TEXTS.items():
        alone = compile_expressions({name: text}).run(market, dtype=np.float64)
        assert alone.field(name).tobytes() == computed.field(name).tobytes(), name
    monkeypatch.setattr(evaluate, "COLUMN_BLOCK", 2)
    assert_same_bits(program.run(market, dtype=np.float64, threads=2), computed)


def test_the_order_of_the_assets_does_not_matter(market, program, computed):
    turned = np.arange(N_ASSETS)[::-1]
    assert_same_bits(
        program.run(market.columns(turned), dtype=np.float64), computed.columns(turned)
    )


def test_results_have_no_infinity_and_warm_up_is_missing(program, computed):
    for name in program.names:
        values = computed.field(name)
        assert not np.isinf(values).any()
        assert np.isnan(values[: program.lookback_of(name) - 1]).all(), name
        assert np.isfinite(values).any(), name


def test_every_windowed_operator_needs_exactly_its_lookback(program, market):
    full = market.with_fields({n: np.nan_to_num(market.field(n), nan=20.0) for n in "xy"})
    for name in program.names:
        operator = OPERATORS.get(name[2:])
        if operator is not None and operator.kind in (POINTWISE, CROSS):
            continue
        rows = program.lookback_of(name)
        alone = compile_expressions({name: TEXTS[name]})
        last = full.rows(0, rows).with_masks({"member": np.ones((rows, N_ASSETS), bool)})
        got = alone.run(last, dtype=np.float64).field(name)
        assert np.isfinite(got[-1]).all(), name
        assert np.isnan(got[:-1]).all(), name


def test_float32_results_are_the_rounded_float64_ones(market, program, computed):
    single = program.run(market)
    for name in program.names:
        want = computed.field(name)
        fits = np.where(np.abs(want) <= np.finfo(np.float32).max, want, np.nan)
        np.testing.assert_array_equal(single.field(name), fits.astype(np.float32), err_msg=name)


def test_a_buffer_of_the_caller_is_filled(market):
    program = compile_expressions({"f": "$x", "g": "$x", "h": "CsRank($x)"})
    out = np.empty((3, *market.shape), np.float32)
    got = program.run(market, out=out)
    assert np.shares_memory(got.field("h"), out)
    np.testing.assert_array_equal(out[0], market.field("x").astype(np.float32))
    np.testing.assert_array_equal(out[0], out[1])
    for bad in (out[:2], np.zeros(out.shape, np.int32), out[:, ::-1]):
        with pytest.raises(SchemaMismatchError, match="pages of shape"):
            program.run(market, out=bad)


def test_missing_fields_and_groups_are_named(market):
    program = compile_expressions({"f": "1 + $xx"})
    with pytest.raises(MissingFieldError, match=r"(?s)'f', column 5.*'xx'.*\^\^\^.*Did you mean"):
        program.run(market)
    with pytest.raises(MissingFieldError, match="sectors"):
        compile_expressions({"f": "CsNeutralize($x, $sectors)"}).run(market)


def test_a_history_that_is_too_short_is_refused(market):
    program = compile_expressions({"f": "Mean($x, 50)", "g": "$x"})
    with pytest.raises(InsufficientHistoryError, match=r"'f': wanted at least 50 rows.*got 49"):
        program.run(market.rows(0, 49))
    assert np.isnan(program.run(market.rows(0, 49), allow_short=True).field("f")).all()


def test_unadjusted_prices_are_refused(market):
    fields = {"close": market.field("x")}
    raw = Panel(market.time, market.asset_ids, fields, price_basis=PriceBasis.RAW)
    with pytest.raises(DataError, match="split"):
        compile_expressions({"f": "$close"}).run(raw)
    zero = Panel(market.time, market.asset_ids, {"close": np.zeros(market.shape)})
    assert np.isnan(compile_expressions({"f": "$close"}).run(zero).field("f")).all()


def test_bad_calls_are_refused(market, program, computed):
    with pytest.raises(ConfigError, match="threads"):
        program.run(market, threads=0)
    with pytest.raises(ConfigError, match="first_row"):
        program.tail(market, first_row=-1)
    for other in (
        computed.only_fields(["deep"]),
        computed.columns(np.array([0, 1])),
        computed.rows(1, 700),
    ):
        with pytest.raises(SchemaMismatchError, match="previous"):
            program.update(market, other)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_empty_panels(shape):
    axis = TimeAxis.sessions(np.datetime64("2020-01-01") + np.arange(shape[0]))
    panel = Panel(axis, tuple("ABC"[: shape[1]]), {"x": np.empty(shape)})
    got = compile_expressions({"f": "CsRank(Mean($x, 2))"}).run(panel, allow_short=True)
    assert got.field("f").shape == shape
