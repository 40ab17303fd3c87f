"""Recovery: processes whose answer is known, put in and found again."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.functions import FUNCTIONS
from quant_engine.features.indicators import catalogue

assert catalogue.memory


def last(name: str, *series: np.ndarray, numbers: tuple[float, ...]) -> np.ndarray:
    """Last row of the output of a name."""
    function = FUNCTIONS.get(name)
    pages = function.run(*series, numbers=numbers)
    return np.array(pages[function.names.index(name), -1])


def fractional_noise(h: float, n: int, columns: int, seed: int = 7) -> np.ndarray:
    """Exact fractional Gaussian noise: its covariance, factored."""
    k = np.arange(float(n))
    covariance = 0.5 * ((k + 1) ** (2 * h) - 2 * k ** (2 * h) + np.abs(k - 1) ** (2 * h))
    lags = np.abs(np.arange(n)[:, None] - np.arange(n))
    noise = np.random.default_rng(seed).standard_normal((n, columns))
    return np.linalg.cholesky(covariance[lags]) @ noise


@pytest.mark.parametrize(
    ("h", "hurst", "dfa"), [(0.3, 0.34, 0.31), (0.5, 0.49, 0.49), (0.7, 0.62, 0.67)]
)
def test_exponents_of_fractional_noise_are_as_documented(h: float, hurst: float, dfa: float):
    noise = fractional_noise(h, 100, 600)
    assert last("Hurst", noise, numbers=(100,)).mean() == pytest.approx(hurst, abs=0.02)
    assert last("DFA", noise, numbers=(100,)).mean() == pytest.approx(dfa, abs=0.02)
    path = noise.cumsum(axis=0)
    assert last("Higuchi", path, numbers=(100, 8)).mean() == pytest.approx(2.0 - h, abs=0.02)


def test_fluctuations_do_not_see_a_drift():
    noise = fractional_noise(0.5, 100, 20)
    moved = last("DFA", noise + 3.0, numbers=(100,))
    np.testing.assert_allclose(moved, last("DFA", noise, numbers=(100,)), rtol=1e-9)


def test_dimension_of_a_line_and_of_white_noise():
    line = np.linspace(1.0, 3.0, 200)[:, None]
    assert last("Higuchi", line, numbers=(200, 8))[0] == pytest.approx(1.0)
    noise = np.random.default_rng(1).standard_normal((200, 60))
    assert last("Higuchi", noise, numbers=(200, 8)).mean() == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.25])
def test_variance_ratio_of_an_autoregression(rho: float):
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((2000, 40))
    returns = noise.copy()
    for t in range(1, len(returns)):
        returns[t] += rho * returns[t - 1]
    wanted = 1.0 + 2.0 * sum((1 - k / 5) * rho**k for k in range(1, 5))
    found = last("VarianceRatio", returns, numbers=(2000, 5))
    assert found.mean() == pytest.approx(wanted, abs=0.03)
    z = last("VarianceRatioZ", returns, numbers=(2000, 5))
    assert np.sign(z.mean()) == np.sign(rho) if rho else abs(z.mean()) < 0.4
    if rho == 0.0:
        assert 0.7 < z.std() < 1.3


@pytest.mark.parametrize("rows", [5.0, 20.0])
def test_half_life_of_a_known_process(rows: float):
    rng = np.random.default_rng(4)
    phi = 0.5 ** (1.0 / rows)
    level = np.zeros((2000, 200))
    for t in range(1, len(level)):
        level[t] = phi * level[t - 1] + rng.standard_normal(200)
    bias = (1.0 + 3.0 * phi) / 2000
    speed = last("ReversionSpeed", level, numbers=(2000,))
    assert speed.mean() == pytest.approx(1.0 - phi + bias, rel=0.05)
    found = np.median(last("HalfLife", level, numbers=(2000,)))
    assert found == pytest.approx(np.log(2.0) / -np.log(phi - bias), rel=0.05)


def test_half_life_of_a_trend_and_of_alternation():
    growth = np.exp(0.05 * np.arange(60.0))[:, None]
    assert last("HalfLife", growth, numbers=(60,))[0] == 60.0
    assert last("ReversionSpeed", growth, numbers=(60,))[0] < 0.0
    saw = np.where(np.arange(60) % 2, 1.0, -1.0)[:, None]
    assert last("HalfLife", saw, numbers=(60,))[0] == 0.0


def test_filter_follows_a_line_without_a_gap():
    line = 2.0 + 0.01 * np.arange(60.0)[:, None]
    assert last("KalmanSlope", line, numbers=())[0] == pytest.approx(0.01)
    assert last("KalmanGap", line, numbers=())[0] == pytest.approx(0.0, abs=1e-12)


def test_entropies_know_order_from_chance():
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((400, 20))
    wave = np.sin(2 * np.pi * np.arange(400) / 40)[:, None]
    assert last("PermutationEntropy", noise, numbers=(400, 3)).mean() > 0.99
    assert last("PermutationEntropy", np.arange(400.0)[:, None], numbers=(400, 3))[0] == 0.0
    assert last("ApproxEntropy", wave, numbers=(400, 0.2))[0] < 0.3
    assert last("ApproxEntropy", noise, numbers=(400, 0.2)).mean() > 1.2
    uniform = np.linspace(0.0, 1.0, 400)[:, None]
    assert last("ShannonEntropy", uniform, numbers=(400, 8))[0] == pytest.approx(1.0, abs=1e-4)
    jump = np.where(np.arange(400) == 200, 50.0, noise[:, 0])[:, None]
    assert last("ShannonEntropy", jump, numbers=(400, 8))[0] < 0.2


def intraday_bars(spread: float, volatility: float, seed: int = 7) -> tuple[np.ndarray, ...]:
    """Daily bars of a walk in 390 steps a day that trades half a spread above or below."""
    rng = np.random.default_rng(seed)
    days, steps, assets = 241, 390, 8
    moves = volatility / np.sqrt(steps) * rng.standard_normal((days * steps, assets))
    traded = moves.cumsum(axis=0) + 0.5 * spread * rng.choice([-1.0, 1.0], moves.shape)
    by_day = traded.reshape(days, steps, assets)
    return np.exp(by_day.max(axis=1)), np.exp(by_day.min(axis=1)), np.exp(by_day[:, -1])


ROLL = "2*Sqrt(Greater(0 - Cov($log_return, Ref($log_return, 1), 239), 0))"
MIDDLE = "0.5*Log($high*$low)"
ABDI_RANALDO = (
    f"2*Sqrt(Greater(Mean((Log(Ref($close, 1)) - Ref({MIDDLE}, 1))"
    f"*(Log(Ref($close, 1)) - {MIDDLE}), 240), 0))"
)


def test_spread_is_found_in_bars_that_bounce(panel_factory):
    high, low, close = intraday_bars(0.02, 0.01)
    panel = panel_factory(241, 8, dividends=False)
    panel = panel.with_fields({"high": high, "low": low, "close": close})
    program = compile_expressions({
        "ROLL": ROLL,
        "ABDI_RANALDO": ABDI_RANALDO,
        "CORWIN_SCHULTZ": "CorwinSchultz($high, $low, $close, 240)",
    })  # fmt: skip
    found = program.run(panel)
    for name in program.names:
        assert found.field(name)[-1].mean() == pytest.approx(0.02, rel=0.1), name


def test_break_is_found_where_it_was_planted():
    rng = np.random.default_rng(6)
    returns = rng.standard_normal((60, 40))
    returns[40:] -= 3.0
    assert last("Cusum", returns, numbers=(60,)).min() > 1.5
    assert np.median(last("CusumAge", returns, numbers=(60,))) == pytest.approx(20 / 60)
    quiet = np.abs(last("Cusum", rng.standard_normal((400, 400)), numbers=(400,)))
    assert 0.02 < (quiet > 1.358).mean() < 0.07


def test_cycle_and_spectrum_of_a_wave_in_noise():
    rng = np.random.default_rng(8)
    time = np.arange(252.0)[:, None]
    wave = np.sin(2 * np.pi * time / 12.0 + rng.uniform(0, 6, (1, 20)))
    returns = wave + 0.3 * rng.standard_normal(wave.shape)
    assert np.all(last("SpectralPeriod", returns, numbers=(252, 20)) == 12.0)
    assert last("SpectralHigh", returns, numbers=(252, 20)).min() > 0.95
    entropy = last("SpectralEntropy", returns, numbers=(252, 20))
    noise = rng.standard_normal(wave.shape)
    assert entropy.max() < 0.7 < last("SpectralEntropy", noise, numbers=(252, 20)).min()
    level = 0.05 * time + np.sin(2 * np.pi * time / 28.0) + 0.2 * rng.standard_normal(wave.shape)
    assert np.all(last("DominantCycle", level, numbers=(252, 6)) == 28.0)
    assert last("DominantCycleShare", level, numbers=(252, 6)).min() > 0.8


def test_singular_spectrum_tells_trend_wave_and_noise_apart():
    rng = np.random.default_rng(9)
    time = np.arange(60.0)[:, None]
    small = 0.05 * rng.standard_normal((60, 10))
    assert last("SSATrend", time / 60 + small, numbers=(60, 12, 5)).min() > 0.85
    wave = np.sin(2 * np.pi * time / 6.0) + small
    # A wave is a pair of equal components, one of which counts as the first.
    assert last("SSATrend", wave, numbers=(60, 12, 5)).max() < 0.55
    assert last("SSANoise", wave, numbers=(60, 12, 5)).max() < 0.02
    noise = rng.standard_normal((60, 200))
    assert last("SSATrend", noise, numbers=(60, 12, 5)).mean() == pytest.approx(0.156, abs=0.01)
    assert last("SSAEntropy", noise, numbers=(60, 12, 5)).min() > 0.85


def test_shortfall_of_normal_returns():
    returns = np.random.default_rng(10).standard_normal((2000, 40))
    found = last("ExpectedShortfall", returns, numbers=(2000, 0.05)).mean()
    assert found == pytest.approx(2.0627, abs=0.03)


def test_transport_distances_of_shifted_samples():
    rng = np.random.default_rng(12)
    returns = rng.standard_normal((90, 30))
    chance = last("Wasserstein", returns, numbers=(30, 60)).mean()
    assert chance == pytest.approx(0.27, abs=0.06)
    returns[60:] += 5.0
    moved = last("Wasserstein", returns, numbers=(30, 60))
    np.testing.assert_allclose(moved, returns[60:].mean(axis=0) - returns[:60].mean(axis=0))
    regular = last("Sinkhorn", returns, numbers=(30, 60, 0.01, 100))
    np.testing.assert_allclose(regular, moved, rtol=0.02)
    assert np.all(last("Sinkhorn", returns, numbers=(30, 60, 0.1, 100)) > moved - 1e-9)
