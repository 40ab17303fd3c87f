"""Canonical labels: planted regimes are found, and the future changes nothing."""

from math import sqrt

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy as scipy_entropy
from scipy.stats import norm

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.regime.detector import (
    RegimeConfig,
    canonical_labels,
    detect_regimes,
    trend_probabilities,
)

pytestmark = pytest.mark.feature("Q-23")


def two_state_world(
    seed: int, n_sessions: int, *, tail_dof: float | None = 5.0, vols: tuple = (0.007, 0.018)
) -> tuple[np.ndarray, np.ndarray]:
    """True states (0 calm, 1 wild) and returns; Student-t noise of unit variance, or normal."""
    rng = np.random.default_rng(seed)
    stay = (0.997, 0.993)
    switch = rng.random(n_sessions)
    states = np.zeros(n_sessions, dtype=np.int64)
    for t in range(1, n_sessions):
        kept = switch[t] < stay[states[t - 1]]
        states[t] = states[t - 1] if kept else 1 - states[t - 1]
    if tail_dof is None:
        noise = rng.standard_normal(n_sessions)
    else:
        noise = rng.standard_t(tail_dof, n_sessions) / np.sqrt(tail_dof / (tail_dof - 2))
    returns = np.array([0.0006, -0.0008])[states] + np.array(vols)[states] * noise
    return states, returns


def balanced_accuracy(truth: np.ndarray, said: np.ndarray) -> float:
    """Mean of the hit rates in the two true states."""
    return ((said[truth == 1] == 1).mean() + (said[truth == 0] == 0).mean()) / 2


def n_switches(states: np.ndarray) -> int:
    """Changes from one session to the next."""
    return int((np.diff(states) != 0).sum())


def days(n: int) -> np.ndarray:
    """Consecutive session dates."""
    return np.datetime64("2012-01-01", "D") + np.arange(n)


def small_market(n=900, n_assets=8, seed=40):
    """Market and assets that follow it, with a few holes."""
    _, market = two_state_world(seed, n)
    rng = np.random.default_rng(seed)
    assets = market[:, None] + 0.01 * rng.standard_normal((n, n_assets))
    assets[rng.random(assets.shape) < 0.002] = np.nan
    return market, assets


@pytest.mark.leakage
@pytest.mark.parametrize("poison", [np.nan, 0.5, "noise"])
def test_no_future_row_changes_a_past_value(poison):
    market, assets = small_market()
    full = detect_regimes(market, assets, RegimeConfig(), sessions=days(900))
    rng = np.random.default_rng(0)
    switches = np.flatnonzero(np.diff(full["regime"])) + 1
    cuts = np.unique(np.concatenate([rng.integers(60, 899, 8), switches[:8], [252, 253, 504]]))
    for cut in cuts:
        broken_market, broken_assets = market.copy(), assets.copy()
        noise = 0.05 * rng.standard_normal(900 - cut)
        broken_market[cut:] = noise if poison == "noise" else poison
        broken_assets[cut:] = noise[:, None] if poison == "noise" else poison
        if poison == 0.5:
            broken_market[cut:] += noise
        got = detect_regimes(broken_market, broken_assets, RegimeConfig(), sessions=days(900))
        for name in full.columns:
            assert got[name].to_numpy()[:cut].tobytes() == full[name].to_numpy()[:cut].tobytes()


@pytest.mark.leakage
def test_a_shorter_history_gives_the_same_past():
    market, assets = small_market()
    full = detect_regimes(market, assets, RegimeConfig(), sessions=days(900))
    for cut in (1, 2, 63, 64, 252, 253, 300, 505, 777):
        got = detect_regimes(market[:cut], assets[:cut], RegimeConfig(), sessions=days(cut))
        for name in full.columns:
            assert got[name].to_numpy().tobytes() == full[name].to_numpy()[:cut].tobytes()


@pytest.mark.slow
@pytest.mark.leakage
def test_prefix_invariance_on_five_hundred_cuts():
    market, assets = small_market(n=1300, seed=41)
    full = detect_regimes(market, assets, RegimeConfig(), sessions=days(1300))
    switches = np.flatnonzero(np.diff(full["regime"])) + 1
    drawn = np.random.default_rng(1).choice(np.arange(2, 1300), 500, replace=False)
    for cut in np.union1d(drawn, switches):
        got = detect_regimes(market[:cut], assets[:cut], RegimeConfig(), sessions=days(cut))
        for name in full.columns:
            assert got[name].to_numpy().tobytes() == full[name].to_numpy()[:cut].tobytes()


def scored_world(seed, n=2600, skip=600):
    """Truth, label and model probability after the first fits."""
    truth, market = two_state_world(seed, n)
    frame = detect_regimes(market, np.full((n, 1), np.nan), RegimeConfig(), sessions=days(n))
    said = (frame["regime"] == 3).to_numpy().astype(int)
    return truth[skip:], said[skip:], frame["hmm_prob_high_vol"].to_numpy()[skip:]


def check_worlds(seeds):
    """Balanced accuracy, switches and calibration over several Student-t"""
    results = [scored_world(seed) for seed in seeds]
    true_switches = sum(n_switches(truth) for truth, _, _ in results)
    said_switches = sum(n_switches(said) for _, said, _ in results)
    truth, said, prob = (np.concatenate(parts) for parts in zip(*results, strict=True))
    group = np.minimum((10 * prob).astype(int), 9)
    gap = [abs(prob[group == g].mean() - truth[group == g].mean()) for g in np.unique(group)]
    weight = [(group == g).mean() for g in np.unique(group)]
    assert balanced_accuracy(truth, said) >= 0.85
    assert said_switches <= 2.5 * true_switches
    assert float(np.dot(gap, weight)) <= 0.05


def test_planted_volatility_states_are_found_under_fat_tails():
    check_worlds(seeds=(200, 201, 202))


@pytest.mark.slow
def test_planted_volatility_states_are_found_in_many_worlds():
    check_worlds(seeds=range(300, 330))


def test_trends_and_storms_get_their_labels():
    """Calm, storm, calm, bull, calm, bear, storm; both volatilities were seen before the trends."""
    rng = np.random.default_rng(6)
    lengths = [200, 150, 300, 150, 150, 150, 150]
    drift = np.repeat([0.0, 0.0, 0.0, 0.003, 0.0, -0.003, 0.0], lengths)
    sigma = np.repeat([0.008, 0.025, 0.008, 0.008, 0.008, 0.008, 0.025], lengths)
    market = drift + sigma * rng.standard_normal(1250)
    frame = detect_regimes(market, np.full((1250, 1), np.nan), RegimeConfig(), sessions=days(1250))
    label = frame["regime"].to_numpy()
    for expected, first, last in [
        (3, 270, 350),
        (2, 420, 650),
        (0, 700, 800),
        (2, 860, 950),
        (1, 1000, 1100),
        (3, 1120, 1250),
    ]:
        # Without drift the trend statistic leaves its band a third of the time by chance.
        share = 0.5 if expected == 2 else 0.75
        assert (label[first:last] == expected).mean() > share, (expected, first)


def test_columns_are_consistent_with_each_other():
    market, assets = small_market()
    frame = detect_regimes(market, assets, RegimeConfig(), sessions=days(900))
    prob = frame[["prob_0", "prob_1", "prob_2", "prob_3"]].to_numpy()
    label = frame["regime"].to_numpy()
    assert label.dtype == np.int8
    assert (label[:252] == -1).all()
    assert (label[252:] >= 0).all()
    np.testing.assert_allclose(prob[252:].sum(axis=1), 1.0, rtol=1e-12)
    assert np.isnan(prob[:252]).all()
    np.testing.assert_array_equal(
        frame["confidence"].to_numpy()[252:], prob[np.arange(252, 900), label[252:]]
    )
    wanted = scipy_entropy(prob[252:], axis=1) / np.log(4)
    np.testing.assert_allclose(frame["entropy"].to_numpy()[252:], wanted, rtol=1e-9)
    run = 0
    for t in range(900):
        run = 1 if t == 0 or label[t] != label[t - 1] else run + 1
        assert frame["duration_sessions"].iloc[t] == (-1 if label[t] < 0 else run)
    expected_vol = frame["ewma_vol_ann"].iloc[-1] / sqrt(252)
    assert 0.3 < expected_vol / market[-60:].std() < 3.0
    assert frame.index.name == "date"
    assert frame.index.dtype == "datetime64[us]"


def test_sessions_without_a_market_return_have_no_label_and_change_no_other():
    market, assets = small_market()
    holes = np.insert(market, [0, 0, 400], np.nan)
    wide = np.insert(assets, [0, 0, 400], np.nan, axis=0)
    frame = detect_regimes(holes, wide, RegimeConfig(), sessions=days(903))
    base = detect_regimes(market, assets, RegimeConfig(), sessions=days(900))
    assert frame["regime"].iloc[[0, 1, 402]].tolist() == [-1, -1, -1]
    assert frame["duration_sessions"].iloc[402] == -1
    kept = np.delete(np.arange(903), [0, 1, 402])
    for name in ("regime", "confidence", "prob_3", "entropy", "hmm_prob_high_vol"):
        np.testing.assert_array_equal(frame[name].to_numpy()[kept], base[name].to_numpy())


def test_a_history_shorter_than_the_warm_up_has_no_label():
    market, assets = small_market(n=100)
    frame = detect_regimes(market, assets, RegimeConfig(), sessions=days(100))
    assert (frame["regime"] == -1).all()
    assert frame["prob_3"].isna().all()
    assert frame["avg_pairwise_corr"].notna().any()
    empty = detect_regimes(market[:0], assets[:0], RegimeConfig(), sessions=days(0))
    assert len(empty) == 0


def test_inputs_are_not_changed():
    market, assets = small_market(n=400)
    kept = market.copy(), assets.copy()
    market.flags.writeable = assets.flags.writeable = False
    detect_regimes(market, assets, RegimeConfig(), sessions=days(400))
    np.testing.assert_array_equal(market, kept[0])
    np.testing.assert_array_equal(assets, kept[1])


def test_scale_of_the_returns_changes_no_label():
    market, assets = small_market()
    base = detect_regimes(market, assets, RegimeConfig(), sessions=days(900))
    scaled = detect_regimes(2.0 * market, 2.0 * assets, RegimeConfig(), sessions=days(900))
    pd.testing.assert_series_equal(scaled["regime"], base["regime"])
    np.testing.assert_allclose(scaled["ewma_vol_ann"], 2.0 * base["ewma_vol_ann"], rtol=1e-9)


def test_trend_probabilities_equal_the_plain_formula():
    returns = 0.01 * np.random.default_rng(5).standard_normal(120)
    got = trend_probabilities(returns, trend_sessions=30, trend_z=0.8)
    assert np.isnan(got[:29]).all()
    for t in range(29, 120):
        window = returns[t - 29 : t + 1]
        z = window.sum() / sqrt((window**2).sum())
        up, down = norm.cdf(z - 0.8), norm.cdf(-z - 0.8)
        np.testing.assert_allclose(got[t], [up, down, 1 - up - down], atol=1e-12)
    flat = trend_probabilities(np.zeros(40), trend_sessions=30, trend_z=0.8)
    assert flat[-1].tolist() == [0.0, 0.0, 1.0]
    up = trend_probabilities(-returns, trend_sessions=30, trend_z=0.8)
    np.testing.assert_allclose(up[29:, 0], got[29:, 1], rtol=1e-12)


def test_labels_equal_the_plain_state_machine():
    rng = np.random.default_rng(8)
    prob = rng.dirichlet(np.ones(4), 500)
    prob[[0, 100]] = np.nan
    is_high = (rng.random(500) < 0.2).astype(np.int8)
    got = canonical_labels(prob, is_high, switch_margin=0.2)
    label = -1
    for t in range(500):
        if np.isnan(prob[t]).any():
            label = -1
        elif is_high[t]:
            label = 3
        else:
            trend = prob[t, :3] / prob[t, :3].sum()
            best = int(trend.argmax())
            if label not in (0, 1, 2) or trend[best] - trend[label] >= 0.2:
                label = best
        assert got[t] == label


def test_bad_arguments_name_themselves():
    market, assets = small_market(n=300)
    with pytest.raises(DataError, match="wanted one length"):
        detect_regimes(market, assets[1:], RegimeConfig(), sessions=days(300))
    with pytest.raises(DataError, match="sessions: wanted strictly increasing"):
        detect_regimes(market, assets, RegimeConfig(), sessions=days(300)[::-1])
    with pytest.raises(DataError, match="market_returns: wanted finite"):
        detect_regimes(np.full(300, np.inf), assets, RegimeConfig(), sessions=days(300))
    with pytest.raises(ConfigError, match="exit_prob: wanted below"):
        RegimeConfig(enter_prob=0.5, exit_prob=0.5)
