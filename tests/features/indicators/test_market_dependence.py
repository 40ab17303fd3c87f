"""Dependence across the market: members only, complete windows only, order of assets irrelevant."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.functions import FUNCTIONS
from quant_engine.regime.correlation import average_pairwise_correlation
from quant_engine.testing import assert_prefix_invariant

pytestmark = pytest.mark.feature("Q-19")

NAMES = ("EigenConcentration", "EffectiveRank", "ConditionNumber", "AverageCorrelation")


def market(rows: int = 90, assets: int = 9, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    returns = rng.standard_normal((rows, assets)) + 0.7 * rng.standard_normal((rows, 1))
    returns[50, 2] = np.nan
    returns[:, 3] = 0.0
    member = rng.random(returns.shape) < 0.85
    member[60:, 0] = False
    return 0.01 * returns, member


def compute(returns: np.ndarray, member: np.ndarray, window: int) -> np.ndarray:
    function = FUNCTIONS.get("EigenConcentration")
    out = np.empty((4, *returns.shape))
    function.compute((returns,), (float(window),), out, member)
    return out


def twin(returns: np.ndarray, member: np.ndarray, t: int, window: int) -> np.ndarray:
    part = returns[t - window + 1 : t + 1, member[t]]
    part = part[:, ~np.isnan(part).any(axis=0)]
    part = part[:, part.std(axis=0) > 0.0]
    if part.shape[1] < 5:
        return np.full(4, np.nan)
    matrix = np.corrcoef(part.T)
    rank = min(part.shape[1], window - 1)
    values = np.sort(np.linalg.eigvalsh(matrix))[::-1][:rank]
    shares = values / values.sum()
    n = len(matrix)
    return np.array([
        shares[0],
        np.exp(-(shares * np.log(shares)).sum()) / rank,
        np.log10(values[0] / values[-1]),
        (matrix.sum() - n) / (n * (n - 1)),
    ])  # fmt: skip


@pytest.mark.parametrize(("window", "assets"), [(20, 9), (12, 30)])
def test_values_are_those_of_the_whole_correlation_matrix(window: int, assets: int) -> None:
    returns, member = market(assets=assets)
    found = compute(returns, member, window)
    seen = 0
    for t in range(len(returns)):
        wanted = twin(returns, member, t, window) if t >= window - 1 else np.full(4, np.nan)
        seen += bool(np.isfinite(wanted).all())
        np.testing.assert_allclose(found[:, t, member[t]].T, [wanted] * member[t].sum(), rtol=1e-8)
        assert np.isnan(found[:, t, ~member[t]]).all()
    assert seen > 40


def test_order_of_the_assets_does_not_change_a_bit() -> None:
    returns, member = market(assets=30)
    order = np.random.default_rng(0).permutation(30)
    found = compute(returns, member, 20)
    again = compute(np.ascontiguousarray(returns[:, order]), member[:, order], 20)
    assert np.ascontiguousarray(found[:, :, order]).tobytes() == again.tobytes()


def test_start_of_the_history_does_not_change_a_bit() -> None:
    returns, member = market()
    whole, part = compute(returns, member, 20), compute(returns[7:], member[7:], 20)
    np.testing.assert_array_equal(part[:, 19:], whole[:, 26:])


def test_members_without_a_complete_window_get_the_value_and_do_not_make_it() -> None:
    returns, _ = market()
    member = np.ones(returns.shape, dtype=bool)
    found = compute(returns, member, 20)
    other = returns.copy()
    # Asset 2 has a gap at row 50 and so is out of every window up to row 69.
    other[51:70, 2] *= -3.0
    np.testing.assert_array_equal(found[:, 50:70], compute(other, member, 20)[:, 50:70])
    assert np.isfinite(found[:, 60, 2]).all()


def test_fewer_than_five_assets_have_no_value() -> None:
    rng = np.random.default_rng(0)
    assert np.isnan(FUNCTIONS.get("EffectiveRank").run(rng.random((30, 4)), numbers=(20,))).all()
    enough = FUNCTIONS.get("EffectiveRank").run(rng.random((30, 5)), numbers=(20,))
    assert np.isfinite(enough[:, 19:]).all()


def test_market_that_moves_as_one_and_market_without_dependence() -> None:
    rng = np.random.default_rng(2)
    common = rng.standard_normal((40, 1))
    one = FUNCTIONS.get("EffectiveRank").run(common * np.arange(1.0, 9.0), numbers=(30,))
    np.testing.assert_allclose(one[0, 29:], 1.0)
    np.testing.assert_allclose(one[1, 29:], 1.0 / 8.0, rtol=1e-6)
    np.testing.assert_allclose(one[2, 29:], 12.0)
    np.testing.assert_allclose(one[3, 29:], 1.0)
    free = FUNCTIONS.get("EffectiveRank").run(rng.standard_normal((600, 8)), numbers=(500,))
    assert free[0, -1, 0] < 0.16
    assert free[1, -1, 0] > 0.98
    assert abs(free[3, -1, 0]) < 0.03


def test_mean_correlation_is_that_of_the_correlation_regime() -> None:
    rng = np.random.default_rng(4)
    returns = rng.standard_normal((80, 7)) + rng.standard_normal((80, 1))
    found = FUNCTIONS.get("AverageCorrelation").run(returns, numbers=(30,))[3, :, 0]
    other = average_pairwise_correlation(returns, window_sessions=30, min_assets=5)
    np.testing.assert_allclose(found, other, rtol=1e-9)


def test_no_value_reads_the_future() -> None:
    returns, member = market(rows=120)
    days = np.datetime64("2015-01-01") + np.arange(len(returns))
    close = 20.0 * np.exp(np.nancumsum(returns, axis=0))
    names = tuple(f"T{j}@US#1" for j in range(close.shape[1]))
    panel = Panel(TimeAxis.sessions(days), names, {"close": close}, {"member": member})
    program = compile_expressions({name: f"{name}($return, 20)" for name in NAMES})
    report = assert_prefix_invariant(program.run, panel, cuts=[60, 100], seed=1)
    assert set(NAMES) <= set(report.fields)
