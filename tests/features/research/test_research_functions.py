"""Every research function: against its twin, at gaps, without the future, column by column."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.features.functions import FUNCTIONS
from quant_engine.features.research import catalogue
from quant_engine.testing import assert_prefix_invariant

pytestmark = pytest.mark.feature("Q-19")

ALONE = {
    "SigA": (20.0,),
    "WaveShare1": (32.0,),
    "VolCurvePc1": (60.0,),
    "SpilloverFrom": (60.0, 5.0, 0.01),
    "HarxFrom": (60.0, 0.01),
    "WarpLead": (30.0, 4.0),
    "RsRatio": (14.0, 40.0),
    "RsMomentum": (14.0,),
}
ACROSS = {"PeerLead": (30.0, 4.0, 3.0), "NetMomentum": (30.0, 4.0), "PeerCorrelation": (20.0,)}
POINTWISE = {"RsQuadrant", "RotationScore", "RotationSignal"}
N_ROWS, N_ASSETS = 150, 7


def inputs(name, seed=3):
    """Related random series, as many as the function takes."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((N_ROWS, 1))
    n_series = FUNCTIONS.get(name).n_series
    return tuple(0.02 * (common + rng.standard_normal((N_ROWS, N_ASSETS))) for _ in range(n_series))


def with_gaps(series, seed=5):
    rng = np.random.default_rng(seed)
    series = tuple(x.copy() for x in series)
    for x in series:
        x[rng.integers(0, N_ROWS, 3), rng.integers(1, N_ASSETS, 3)] = np.nan
    return series


def run(name, series, member=None):
    function = FUNCTIONS.get(name)
    numbers = (ALONE | ACROSS)[name]
    if member is None:
        return function.run(*series, numbers=numbers)
    out = np.empty((len(function.outputs), *series[0].shape))
    function.compute(series, numbers, out, member)
    return out


def test_the_table_names_every_function():
    modules = {getattr(catalogue, name).__name__ for name in catalogue.__all__}
    registered = {
        FUNCTIONS.get(name).names[0]
        for name in FUNCTIONS.names()
        if FUNCTIONS.get(name).compute.__module__ in modules
    }
    assert registered == set(ALONE) | set(ACROSS) | POINTWISE


@pytest.mark.parametrize("name", ALONE)
def test_a_function_of_one_asset_equals_its_twin(name, twins):
    series = inputs(name)
    got = run(name, series)
    for j in range(2):
        wanted = twins[0][name]([x[:, j] for x in series], ALONE[name])
        np.testing.assert_allclose(got[:, :, j], wanted, rtol=1e-9, atol=1e-12)
    lookback = FUNCTIONS.get(name).lookback(ALONE[name])
    assert np.isfinite(got[:, lookback - 1 :]).all()
    assert np.isnan(got[:, : lookback - 1]).all()


@pytest.mark.parametrize("name", ACROSS)
@pytest.mark.parametrize("gaps", [False, True])
def test_a_function_of_all_assets_equals_its_twin(name, gaps, twins):
    series = with_gaps(inputs(name)) if gaps else inputs(name)
    series = tuple(x[:80] for x in series)
    member = np.random.default_rng(9).random(series[0].shape) < 0.85
    got = run(name, series, member)
    wanted = twins[1][name](series, ACROSS[name], member)
    np.testing.assert_allclose(got, wanted, rtol=1e-7, atol=1e-9)
    assert np.isfinite(got[:, 40:]).mean() > 0.4


@pytest.mark.parametrize("name", ALONE)
def test_a_missing_value_blanks_the_windows_that_hold_it_and_no_other(name):
    series = inputs(name)
    holed = tuple(x.copy() for x in series)
    holed[-1][100, 2] = np.nan
    whole, got = run(name, series), run(name, holed)
    lookback = FUNCTIONS.get(name).lookback(ALONE[name])
    stop = min(100 + lookback, N_ROWS)
    changed = np.zeros(whole.shape[1:], dtype=bool)
    changed[100:stop, 2] = True
    np.testing.assert_array_equal(got[:, ~changed], whole[:, ~changed])
    # The last output reads every series; it is missing until the value has left its window.
    assert np.isnan(got[-1, 100:stop, 2]).all()


@pytest.mark.parametrize("name", ALONE)
def test_a_column_does_not_depend_on_its_neighbours_by_a_single_bit(name):
    series = inputs(name)
    whole = run(name, series)
    for columns in ([4], [2, 4], [6, 5, 4]):
        got = run(name, tuple(np.ascontiguousarray(x[:, columns]) for x in series))
        np.testing.assert_array_equal(got[:, :, columns.index(4)], whole[:, :, 4])


@pytest.mark.parametrize("name", [*ALONE, *ACROSS])
def test_the_lookback_holds_all_that_a_value_reads(name):
    series = inputs(name)
    first = 20
    shorter = run(name, tuple(x[first:] for x in series))
    lookback = FUNCTIONS.get(name).lookback((ALONE | ACROSS)[name])
    whole = run(name, series)
    np.testing.assert_array_equal(shorter[:, lookback - 1 :], whole[:, first + lookback - 1 :])


@pytest.mark.parametrize("name", [*ALONE, *ACROSS])
def test_no_value_reads_the_future(name):
    series = with_gaps(inputs(name))
    fields = {f"x{i}": x for i, x in enumerate(series)}
    days = np.datetime64("2020-01-01") + np.arange(N_ROWS)
    member = np.random.default_rng(2).random((N_ROWS, N_ASSETS)) < 0.9
    panel = Panel(
        TimeAxis.sessions(days), tuple(f"A{j}@US#1" for j in range(N_ASSETS)), fields,
        {"member": member},
    )  # fmt: skip

    def compute(given):
        arrays = tuple(given.field(field) for field in fields)
        across = FUNCTIONS.get(name).across
        out = run(name, arrays, given.mask("member") if across else None)
        return dict(zip(FUNCTIONS.get(name).names, out, strict=True))

    report = assert_prefix_invariant(compute, panel, cuts=[95, 120], seed=4)
    assert report.n_values > 0


@pytest.mark.parametrize("name", ACROSS)
def test_the_order_of_the_assets_does_not_matter(name):
    series = inputs(name)
    order = np.random.default_rng(1).permutation(N_ASSETS)
    whole = run(name, series)
    shuffled = run(name, tuple(np.ascontiguousarray(x[:, order]) for x in series))
    np.testing.assert_array_equal(shuffled, whole[:, :, order])


@pytest.mark.parametrize("name", ACROSS)
def test_only_the_members_of_the_row_are_counted(name):
    series = inputs(name)
    member = np.ones((N_ROWS, N_ASSETS), dtype=bool)
    member[:90, 0] = False  # joins late
    member[120:, 1] = False  # leaves
    got = run(name, series, member)
    assert np.isnan(got[:, ~member]).all()
    # Before it joins, the market is that of the others alone.
    others = run(name, tuple(np.ascontiguousarray(x[:90, 1:]) for x in series))
    np.testing.assert_array_equal(got[:, :90, 1:], others)
    # On the day it joins its own past is known; who was a member before does not matter.
    np.testing.assert_array_equal(got[:, 90:120], run(name, series)[:, 90:120])
    # Its values while it was no member cannot be seen by others.
    changed = tuple(x.copy() for x in series)
    for x in changed:
        x[120:, 1] += 1.0
    np.testing.assert_array_equal(got, run(name, changed, member))


@pytest.mark.parametrize("name", ACROSS)
def test_too_few_members_have_no_values(name):
    series = tuple(np.ascontiguousarray(x[:, :2]) for x in inputs(name))
    assert np.isnan(run(name, series)).all()


@pytest.mark.parametrize("name", ["VolCurvePc1", "SpilloverFrom", "HarxFrom", "WarpLead", *ACROSS])
def test_a_constant_series_has_no_values(name):
    # The mean of equal values is not exactly their value: what is left is rounding.
    flat = tuple(np.full_like(x, 0.1) for x in inputs(name))
    assert np.isnan(run(name, flat)).all()
