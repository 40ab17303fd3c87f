"""Statistical functions: twins, gaps, look-ahead, independence of columns and of the start.

Every case names a function, its numbers, what it reads and a twin: a plain calculation of one
window, or another library's.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from math import factorial
from typing import Any

import numpy as np
import pytest
from arch.unitroot import VarianceRatio
from scipy.signal import periodogram
from scipy.special import gamma
from scipy.stats import entropy
from statsmodels.stats.diagnostic import breaks_cusumolsresid

from quant_engine.core.errors import ConfigError
from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.functions import FUNCTIONS
from quant_engine.features.indicators import catalogue
from quant_engine.stats.distances import wasserstein
from quant_engine.stats.metrics.tails import var_es
from quant_engine.testing import assert_prefix_invariant

pytestmark = pytest.mark.feature("Q-19")

assert catalogue.memory

RETURNS, LEVEL, BARS = "returns", "level", "bars"


def twin_hurst(r: np.ndarray) -> tuple[float, ...]:
    sizes, excess = [], []
    size = len(r)
    while size >= 8:
        values = []
        for stop in range(len(r), size - 1, -size):
            block = r[stop - size : stop]
            sums = np.concatenate([[0.0], np.cumsum(block - block.mean())])
            values.append(np.ptp(sums) / block.std())
        i = np.arange(1, size)
        ratio = gamma((size - 1) / 2) / (np.sqrt(np.pi) * gamma(size / 2))
        sizes.append(size)
        excess.append(np.log(np.mean(values) / (ratio * np.sqrt((size - i) / i).sum())))
        size //= 2
    return (0.5 + np.polyfit(np.log(sizes), excess, 1)[0],)


def twin_dfa(r: np.ndarray) -> tuple[float, ...]:
    profile = np.cumsum(r - r.mean())
    sizes = sorted({*np.geomspace(6, len(r) // 4, 6).round().astype(int).tolist()})
    excess = []
    for size in sizes:
        squares = []
        for stop in range(len(r), size - 1, -size):
            box = profile[stop - size : stop]
            i = np.arange(size)
            squares.append(np.mean((box - np.polyval(np.polyfit(i, box, 1), i)) ** 2))
        # Of unit independent steps: trace of what a line leaves of the covariance of their sums.
        line = np.vander(np.arange(size), 2).astype(float)
        left = np.eye(size) - line @ np.linalg.pinv(line)
        sums = np.tril(np.ones((size, size)))
        expected = np.trace(left @ sums @ sums.T) / size
        excess.append(0.5 * np.log(np.mean(squares) / expected))
    return (0.5 + np.polyfit(np.log(sizes), excess, 1)[0],)


def twin_variance_ratio(r: np.ndarray, q: float) -> tuple[float, ...]:
    test = VarianceRatio(np.concatenate([[0.0], np.cumsum(r)]), lags=int(q))
    return float(test.vr), float(test.stat)


def twin_half_life(x: np.ndarray) -> tuple[float, ...]:
    slope = np.polyfit(x[:-1], np.diff(x), 1)[0]
    phi = 1.0 + slope
    if phi <= 0.0:
        return 0.0, -slope
    if phi >= 1.0:
        return float(len(x)), -slope
    return min(np.log(2.0) / -np.log(phi), len(x)), -slope


def twin_shannon(r: np.ndarray, bins: float) -> tuple[float, ...]:
    return (entropy(np.histogram(r, int(bins))[0]) / np.log(bins),)


def twin_permutation(r: np.ndarray, order: float) -> tuple[float, ...]:
    order = int(order)
    seen = Counter(
        tuple(np.argsort(r[i : i + order], kind="stable")) for i in range(len(r) - order + 1)
    )
    return (entropy(list(seen.values())) / np.log(factorial(order)),)


def twin_approximate(r: np.ndarray, tolerance: float) -> tuple[float, ...]:
    def phi(m: int) -> float:
        patterns = np.array([r[i : i + m] for i in range(len(r) - m + 1)])
        distance = np.abs(patterns[:, None] - patterns[None]).max(axis=2)
        return float(np.log((distance <= tolerance * r.std()).mean(axis=1)).mean())

    return (phi(2) - phi(3),)


def twin_higuchi(x: np.ndarray, steps: float) -> tuple[float, ...]:
    lengths = []
    n = len(x)
    for k in range(1, int(steps) + 1):
        parts = []
        for m in range(k):
            path = x[m::k]
            norm = (n - 1) / ((len(path) - 1) * k)
            parts.append(np.abs(np.diff(path)).sum() * norm / k)
        lengths.append(np.mean(parts))
    return (-np.polyfit(np.log(np.arange(1, int(steps) + 1)), np.log(lengths), 1)[0],)


def twin_corwin_schultz(bars: np.ndarray) -> tuple[float, ...]:
    spreads = []
    for (h1, l1, c1), (h2, l2, _) in pairwise(bars):
        if c1 < l2:
            h2, l2 = h2 * c1 / l2, c1
        elif c1 > h2:
            h2, l2 = c1, l2 * c1 / h2
        beta = np.log(h1 / l1) ** 2 + np.log(h2 / l2) ** 2
        gamma_ = np.log(max(h1, h2) / min(l1, l2)) ** 2
        width = 3 - 2 * np.sqrt(2)
        alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / width - np.sqrt(gamma_ / width)
        spreads.append(max(2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha)), 0.0))
    return (np.mean(spreads),)


def twin_shortfall(r: np.ndarray, level: float) -> tuple[float, ...]:
    return (var_es(r, alpha=level, method="historical").es,)


def twin_cusum(r: np.ndarray) -> tuple[float, ...]:
    deviations = r - r.mean()
    statistic = breaks_cusumolsresid(deviations)[0]
    sums = np.cumsum(deviations)
    place = int(np.argmax(np.abs(sums)))
    return np.sign(sums[place]) * statistic, (len(r) - 1 - place) / len(r)


def twin_ssa(r: np.ndarray, lags: float, components: float) -> tuple[float, ...]:
    trajectory = np.lib.stride_tricks.sliding_window_view(r - r.mean(), int(lags))
    shares = np.linalg.svd(trajectory, compute_uv=False) ** 2
    shares /= shares.sum()
    first = int(components)
    return shares[0], shares[1:first].sum(), shares[first:].sum(), entropy(shares) / np.log(lags)


def twin_spectrum(r: np.ndarray, cut: float) -> tuple[float, ...]:
    frequency, power = (part[1:] for part in periodogram(r, window="hann", detrend="constant"))
    shares = power / power.sum()
    high = shares[frequency * cut > 1.0].sum()
    mean = (shares * frequency).sum()
    spread = np.sqrt((shares * (frequency - mean) ** 2).sum())
    period = 1.0 / frequency[np.argmax(power)]
    return high, 1.0 - high, entropy(shares) / np.log(len(shares)), period, spread


def twin_cycle(x: np.ndarray, shortest: float) -> tuple[float, ...]:
    frequency, power = (part[1:] for part in periodogram(x, window="hann", detrend="linear"))
    allowed = (frequency > 1.5 / len(x)) & (frequency <= 1.0 / shortest)
    best = int(np.argmax(np.where(allowed, power, -1.0)))
    return 1.0 / frequency[best], power[best - 1 : best + 2].sum() / power.sum()


def twin_wasserstein(r: np.ndarray, recent: float) -> tuple[float, ...]:
    return (wasserstein(r[: -int(recent)], r[-int(recent) :]),)


def twin_sinkhorn(
    r: np.ndarray, recent: float, epsilon: float, iterations: float
) -> tuple[float, ...]:
    new, old = r[-int(recent) :], r[: -int(recent)]
    cost = np.abs(new[:, None] - old[None])
    kernel = np.exp(-cost / (epsilon * np.ptp(r)))
    v = np.ones(len(old))
    for _ in range(int(iterations)):
        u = 1.0 / len(new) / (kernel @ v)
        v = 1.0 / len(old) / (kernel.T @ u)
    return ((u[:, None] * kernel * v[None] * cost).sum(),)


@dataclass(frozen=True)
class Case:
    name: str
    reads: str
    numbers: tuple[float, ...]
    twin: Any
    passed: int = 0  # how many of the numbers, from the back, the twin takes

    @property
    def arguments(self) -> tuple[float, ...]:
        return self.numbers[len(self.numbers) - self.passed :]


CASES = (
    Case("Hurst", RETURNS, (100,), twin_hurst),
    Case("Hurst", RETURNS, (33,), twin_hurst),
    Case("DFA", RETURNS, (100,), twin_dfa),
    Case("DFA", RETURNS, (32,), twin_dfa),
    Case("VarianceRatio", RETURNS, (100, 5), twin_variance_ratio, 1),
    Case("VarianceRatio", RETURNS, (41, 2), twin_variance_ratio, 1),
    Case("HalfLife", LEVEL, (60,), twin_half_life),
    Case("HalfLife", RETURNS, (11,), twin_half_life),
    Case("ShannonEntropy", RETURNS, (60, 8), twin_shannon, 1),
    Case("PermutationEntropy", RETURNS, (60, 3), twin_permutation, 1),
    Case("PermutationEntropy", RETURNS, (30, 4), twin_permutation, 1),
    Case("ApproxEntropy", RETURNS, (60, 0.2), twin_approximate, 1),
    Case("Higuchi", LEVEL, (100, 8), twin_higuchi, 1),
    Case("Higuchi", LEVEL, (25, 5), twin_higuchi, 1),
    Case("CorwinSchultz", BARS, (20,), twin_corwin_schultz),
    Case("ExpectedShortfall", RETURNS, (60, 0.05), twin_shortfall, 1),
    Case("ExpectedShortfall", RETURNS, (25, 0.1), twin_shortfall, 1),
    Case("Cusum", RETURNS, (60,), twin_cusum),
    Case("SSATrend", RETURNS, (60, 12, 5), twin_ssa, 2),
    Case("SSATrend", RETURNS, (33, 7, 7), twin_ssa, 2),
    Case("SpectralHigh", RETURNS, (100, 20), twin_spectrum, 1),
    Case("SpectralHigh", RETURNS, (51, 8), twin_spectrum, 1),
    Case("DominantCycle", LEVEL, (100, 6), twin_cycle, 1),
    Case("DominantCycle", LEVEL, (45, 4), twin_cycle, 1),
    Case("Wasserstein", RETURNS, (30, 60), lambda r, recent, _: twin_wasserstein(r, recent), 2),
    Case("Wasserstein", RETURNS, (7, 5), lambda r, recent, _: twin_wasserstein(r, recent), 2),
    Case(
        "Sinkhorn",
        RETURNS,
        (30, 60, 0.01, 20),
        lambda r, recent, _, epsilon, rounds: twin_sinkhorn(r, recent, epsilon, rounds),
        4,
    ),
    Case(
        "Sinkhorn",
        RETURNS,
        (12, 9, 0.1, 3),
        lambda r, recent, _, epsilon, rounds: twin_sinkhorn(r, recent, epsilon, rounds),
        4,
    ),
)
each_case = pytest.mark.parametrize(
    "case", CASES, ids=[f"{case.name}{case.numbers}" for case in CASES]
)


def sample(reads: str, *, rows: int = 260, columns: int = 3) -> tuple[np.ndarray, ...]:
    """Fat-tailed returns with ties, their level, or bars; gaps in all but the first column."""
    rng = np.random.default_rng(11)
    returns = 0.01 * rng.standard_t(4, (rows, columns)).round(2)
    close = 40.0 * np.exp(returns.cumsum(axis=0))
    opened = close * np.exp(0.004 * rng.standard_normal(close.shape))
    high = np.maximum(opened, close) * np.exp(0.01 * rng.random(close.shape))
    low = np.minimum(opened, close) * np.exp(-0.01 * rng.random(close.shape))
    series = {RETURNS: (returns,), LEVEL: (np.log(close),), BARS: (high, low, close)}[reads]
    gaps = ((1, 5), (1, 7), (1, 125), (2, 131), (2, 132))
    for column, row in gaps:
        if column < columns:
            for values in series:
                values[row, column] = np.nan
    return series


def run(case: Case, *series: np.ndarray) -> np.ndarray:
    return FUNCTIONS.get(case.name).run(*series, numbers=case.numbers)


def lookback(case: Case) -> int:
    return FUNCTIONS.get(case.name).lookback(case.numbers)


@each_case
def test_value_is_that_of_a_plain_calculation(case: Case) -> None:
    series = sample(case.reads)
    found = run(case, *series)
    n = lookback(case)
    rows = np.unique(np.linspace(n - 1, len(series[0]) - 1, 9).astype(int))
    for column in range(3):
        for t in rows:
            window = np.stack([values[t - n + 1 : t + 1, column] for values in series], axis=1)
            if np.isnan(window).any():
                continue
            wanted = case.twin(window if len(series) > 1 else window[:, 0], *case.arguments)
            np.testing.assert_allclose(found[:, t, column], wanted, rtol=1e-8, atol=1e-11)


@each_case
def test_value_is_there_exactly_where_the_window_is_complete(case: Case) -> None:
    series = sample(case.reads)
    missing = np.isnan(sum(series))
    n = lookback(case)
    complete = np.zeros(missing.shape, bool)
    for t in range(n - 1, len(missing)):
        complete[t] = ~missing[t - n + 1 : t + 1].any(axis=0)
    found = run(case, *series)
    for page in found:
        np.testing.assert_array_equal(np.isfinite(page), complete)
    assert not np.isinf(found).any()


@each_case
def test_other_columns_do_not_change_a_bit(case: Case) -> None:
    series = sample(case.reads, columns=11)
    whole = run(case, *series)
    for column in (0, 2, 9):
        alone = run(case, *(values[:, [column]] for values in series))
        assert alone[:, :, 0].tobytes() == np.ascontiguousarray(whole[:, :, column]).tobytes()


@each_case
def test_start_of_the_history_does_not_change_a_bit(case: Case) -> None:
    series = sample(case.reads)
    whole = run(case, *series)
    n = lookback(case)
    for first in (3, 64):
        part = run(case, *(values[first:] for values in series))
        rest = np.ascontiguousarray(whole[:, first + n - 1 :])
        assert np.ascontiguousarray(part[:, n - 1 :]).tobytes() == rest.tobytes()


@each_case
def test_no_value_reads_the_future(case: Case) -> None:
    series = sample(case.reads)
    days = np.datetime64("2015-01-01") + np.arange(len(series[0]))
    names = [f"T{j}@US#1" for j in range(3)]
    # Names of prices, so that the poisoned future stays a price.
    fields = dict(zip(("high", "low", "close"), (np.exp(x) for x in series), strict=False))
    panel = Panel(TimeAxis.sessions(days), tuple(names), fields)

    def compute(market: Panel) -> dict[str, np.ndarray]:
        pages = run(case, *(np.log(values) for values in market.fields.values()))
        return {f"page{i}": page for i, page in enumerate(pages)}

    cuts = [lookback(case) + 9, 200]
    assert assert_prefix_invariant(compute, panel, cuts=cuts, seed=3).n_values > 0


@each_case
def test_constant_window_has_no_value_or_zero(case: Case) -> None:
    series = sample(case.reads)
    flat = tuple(np.full((len(values), 1), 0.25) for values in series)
    zero = case.name in {"CorwinSchultz", "PermutationEntropy", "Sinkhorn", "Wasserstein"}
    for page in run(case, *flat):
        values = page[lookback(case) - 1 :]
        if case.name == "ExpectedShortfall":
            np.testing.assert_allclose(values, -0.25)
        elif zero:
            np.testing.assert_array_equal(values, 0.0)
        else:
            assert np.isnan(values).all()


def test_straight_line_has_no_cycle() -> None:
    line = 3.0 + 0.01 * np.arange(150.0)[:, None]
    assert np.isnan(FUNCTIONS.get("DominantCycle").run(line, numbers=(100, 6))).all()


SCALE_FREE = [
    case
    for case in CASES
    if case.name not in {"ExpectedShortfall", "Wasserstein", "Sinkhorn", "CorwinSchultz"}
]


@pytest.mark.parametrize("case", SCALE_FREE, ids=[f"{c.name}{c.numbers}" for c in SCALE_FREE])
def test_unit_of_the_input_does_not_matter(case: Case) -> None:
    (series,) = sample(case.reads)
    np.testing.assert_allclose(run(case, 8.0 * series), run(case, series), rtol=1e-12, atol=1e-12)


def test_kalman_filter_is_that_of_matrices_with_a_vague_prior() -> None:
    (x,) = sample(LEVEL)
    slope, gap = FUNCTIONS.get("KalmanSlope").run(x, numbers=(0.2, 0.004))
    step, noise = np.array([[1.0, 1.0], [0.0, 1.0]]), np.diag([0.2, 0.004])
    seen = np.array([[1.0, 0.0]])
    for column in range(3):
        state, covariance, run_rows = np.zeros(2), 1e8 * np.eye(2), 0
        for t, value in enumerate(x[:, column]):
            if np.isnan(value):
                state, covariance, run_rows = np.zeros(2), 1e8 * np.eye(2), 0
                assert np.isnan([slope[t, column], gap[t, column]]).all()
                continue
            if run_rows > 0:
                state, covariance = step @ state, step @ covariance @ step.T + noise
            gain = covariance @ seen.T / (seen @ covariance @ seen.T + 1.0)
            state = state + (gain * (value - state[0]))[:, 0]
            covariance = (np.eye(2) - gain @ seen) @ covariance
            run_rows += 1
            if run_rows < 3:
                assert np.isnan([slope[t, column], gap[t, column]]).all()
                continue
            np.testing.assert_allclose(slope[t, column], state[1], rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(gap[t, column], value - state[0], rtol=1e-4, atol=1e-6)


def test_kalman_filter_forgets_its_start_within_the_lookback() -> None:
    (x,) = sample(LEVEL, rows=400, columns=1)
    function = FUNCTIONS.get("KalmanSlope")
    numbers = (0.1, 0.001)
    rows = function.lookback(numbers)
    other = x.copy()
    other[:3] += 5.0
    moved = np.abs(function.run(x, numbers=numbers) - function.run(other, numbers=numbers))
    assert moved[:, 3].max() > 0.1
    assert moved[:, rows + 2 :].max() < 5e-6


def test_kalman_filter_reads_no_future_and_no_other_column() -> None:
    (x,) = sample(LEVEL)
    function = FUNCTIONS.get("KalmanSlope")
    whole = function.run(x)
    np.testing.assert_array_equal(function.run(x[:200]), whole[:, :200])
    np.testing.assert_array_equal(function.run(x[:, 1:2]), whole[:, :, 1:2])


@pytest.mark.parametrize(
    ("formula", "wanted"),
    [
        ("VarianceRatio($return, 20, 11)", "q of VarianceRatio: wanted at most 10, got 11"),
        ("SSANoise($return, 20, 11, 5)", "lags of SSATrend: wanted at most 10, got 11"),
        ("SSANoise($return, 20, 4, 5)", "components of SSATrend: wanted at most 4, got 5"),
        ("KalmanSlope($close, 2, 0.0001)", "level_noise of KalmanSlope: wanted at most 1, got 2"),
        ("DominantCycle($close, 30, 16)", "shortest of DominantCycle: wanted at most 15, got 16"),
    ],
)
def test_numbers_that_contradict_each_other_are_refused(formula: str, wanted: str) -> None:
    with pytest.raises(ConfigError, match=wanted):
        compile_expressions({"X": formula})
    name, *numbers = formula.rstrip(")").replace("(", ", ").split(", ")
    with pytest.raises(ConfigError, match=wanted):
        FUNCTIONS.get(name).run(np.ones((40, 1)), numbers=[float(n) for n in numbers[1:]])
