"""Factor tables against plain loops, scipy and statsmodels."""

from __future__ import annotations

from math import inf, isnan

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import spearmanr
from scipy.stats import t as student

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.factor_tables import (
    book_turnover,
    half_life_sessions,
    ic_by_group,
    ic_by_state,
    ic_decay,
    overlap_lags,
    overlap_mean,
    quantile_monotonicity,
)
from quant_engine.stats.signal import quantile_by_date, quantile_groups

pytestmark = pytest.mark.feature("Q-48")

N_DATES, N_ASSETS = 80, 24


@pytest.fixture(scope="module")
def market():
    """Scores with ties and holes, outcomes with holes, a thin session."""
    rng = np.random.default_rng(4)
    scores = rng.standard_normal((N_DATES, N_ASSETS))
    outcomes = 0.01 * (0.3 * scores + rng.standard_normal(scores.shape))
    scores[:, :5] = scores[:, :5].round()
    for values in (scores, outcomes):
        values[rng.random(values.shape) < 0.15] = np.nan
    scores[7, 6:] = np.nan
    return scores, outcomes


def rank_ic(a, b, least):
    both = ~(np.isnan(a) | np.isnan(b))
    return spearmanr(a[both], b[both]).statistic if both.sum() >= least else np.nan


@pytest.mark.parametrize("horizon", [1, 3, 10])
def test_a_mean_of_overlapping_labels_is_tested_as_statsmodels_does(horizon):
    rng = np.random.default_rng(horizon)
    noise = rng.standard_normal(200 + horizon)
    series = np.array([noise[k : k + horizon].sum() for k in range(200)]) + 0.3
    got = overlap_mean(series, horizon=horizon)
    lags = 2 * (horizon - 1)
    fit = sm.OLS(series, np.ones(200)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False}
    )
    assert (got.lags, got.n) == (lags, 200)
    assert got.mean == pytest.approx(fit.params[0])
    assert got.t == pytest.approx(fit.tvalues[0])
    freedom = min(199.0, 1.5 * 200 / (lags + 1))
    assert got.p_value == pytest.approx(2 * student.sf(abs(got.t), freedom))


def test_too_few_sessions_are_not_tested_and_a_horizon_is_at_least_one():
    short = overlap_mean([0.1, 0.2, np.nan], horizon=5)
    assert short.mean == pytest.approx(0.15)
    assert isnan(short.t)
    assert isnan(short.p_value)
    with pytest.raises(ConfigError, match="horizon: wanted at least 1"):
        overlap_lags(0)


@pytest.mark.slow
def test_the_size_of_the_test_of_overlapping_labels_is_near_its_level():
    rng = np.random.default_rng(0)
    steps = rng.standard_normal((2000, 420)).cumsum(axis=1)
    sums = steps[:, 20:] - steps[:, :-20]
    p_values = np.array([overlap_mean(row, horizon=20).p_value for row in sums])
    assert (p_values < 0.05).mean() < 0.105
    assert (p_values < 0.001).mean() < 0.008


def test_decay_equals_a_loop_over_shifted_outcomes(market):
    scores, outcomes = market
    table = ic_decay(scores, outcomes, delays=[5, 0, 1], horizon=2, min_assets=10)
    assert table["delay"].tolist() == [0, 1, 5]
    for row in table.itertuples(index=False):
        series = [
            rank_ic(scores[t], outcomes[t + row.delay], 10) for t in range(N_DATES - row.delay)
        ]
        known = [value for value in series if not isnan(value)]
        assert row.rank_ic == pytest.approx(np.mean(known), abs=1e-12)
        assert row.t == pytest.approx(overlap_mean(series, horizon=2).t)
        assert row.n == len(known)


def test_a_delay_beyond_the_history_has_no_sessions_and_a_negative_one_is_refused(market):
    table = ic_decay(*market, delays=[0, 500], horizon=1)
    assert table["n"].tolist()[1] == 0
    assert isnan(table["rank_ic"].iloc[1])
    with pytest.raises(ConfigError, match="delays: wanted at least 0"):
        ic_decay(*market, delays=[-1, 0], horizon=1)


@pytest.mark.parametrize(
    ("shares", "t", "wanted"),
    [
        ([1.0, 0.75, 0.25], 4.0, 6.0),
        ([1.0, 0.5, 0.2], 4.0, 4.0),
        ([1.0, 1.2, 0.9], 4.0, inf),
        ([1.0, -0.5, 0.0], 4.0, 4.0 * 0.5 / 1.5),
        ([1.0, np.nan, 0.0], 4.0, 4.0),
    ],
)
@pytest.mark.parametrize("fresh", [0.04, -0.04])
def test_half_life_is_linear_between_delays_whatever_the_sign(shares, t, wanted, fresh):
    table = pd.DataFrame({"delay": [0, 4, 8], "rank_ic": fresh * np.array(shares), "t": t})
    assert half_life_sessions(table) == pytest.approx(wanted)


def test_half_life_needs_a_measurable_fresh_score():
    weak = pd.DataFrame({"delay": [0, 4], "rank_ic": [0.04, 0.0], "t": [1.9, 0.0]})
    assert isnan(half_life_sessions(weak))
    assert isnan(half_life_sessions(weak.assign(t=np.nan)))
    assert isnan(half_life_sessions(weak.assign(delay=[1, 4], t=5.0)))
    assert isnan(half_life_sessions(weak[:0]))


def test_quantile_groups_are_those_whose_means_quantile_by_date_takes(market):
    scores, outcomes = market
    both = np.where(np.isnan(outcomes), np.nan, scores)
    groups = quantile_groups(both, n_quantiles=4, min_assets=10)
    books = quantile_by_date(scores, outcomes, n_quantiles=4, min_assets=10)
    for t in range(N_DATES):
        for number in range(4):
            held = groups[t] == number
            if held.any():
                assert books[t, number] == pytest.approx(outcomes[t, held].mean())
            else:
                assert isnan(books[t, number])
    assert (groups[7] == -1).all()
    assert (groups[np.isnan(both)] == -1).all()


@pytest.mark.parametrize("lag", [1, 7])
def test_turnover_equals_half_of_the_changed_weights(market, lag):
    scores, _ = market
    groups = quantile_groups(scores, n_quantiles=3, min_assets=10)
    got = book_turnover(scores, n_quantiles=3, lag=lag, min_assets=10)
    assert got.shape == (N_DATES - lag, 3)
    for t in range(lag, N_DATES):
        for number in range(3):
            now, before = groups[t] == number, groups[t - lag] == number
            if not (now.any() and before.any()):
                assert isnan(got[t - lag, number])
                continue
            changed = abs(now / now.sum() - before / before.sum()).sum() / 2
            assert got[t - lag, number] == pytest.approx(changed)


def test_books_that_never_change_or_are_replaced():
    still = np.tile(np.arange(12.0), (3, 1))
    assert book_turnover(still, n_quantiles=3).tolist() == [[0.0] * 3] * 2
    swapped = still.copy()
    swapped[1] = still[1][::-1]
    assert book_turnover(swapped, n_quantiles=2).tolist() == [[1.0] * 2] * 2
    with pytest.raises(ConfigError, match="lag: wanted at least 1"):
        book_turnover(still, n_quantiles=3, lag=0)


def test_monotonicity_is_the_rank_correlation_with_the_number():
    means = [-2.0, 1.0, 0.5, 3.0, 9.0]
    assert quantile_monotonicity(means) == pytest.approx(spearmanr(range(5), means).statistic)
    assert isnan(quantile_monotonicity([1.0, np.nan]))
    assert isnan(quantile_monotonicity([1.0, 1.0, 1.0]))
    assert isnan(quantile_monotonicity([1.0]))


def test_groups_equal_a_loop_and_follow_names_that_move(market):
    scores, outcomes = market
    codes = np.tile(np.arange(N_ASSETS) % 3, (N_DATES, 1))
    codes[40:, 0] = 1
    codes[:, 1] = -1
    table = ic_by_group(scores, outcomes, codes, ["a", "b", "c", "d"], horizon=1, min_assets=4)
    assert table["group"].tolist() == ["a", "b", "c", "d"]
    for number in range(3):
        series = []
        for t in range(N_DATES):
            inside = codes[t] == number
            series.append(rank_ic(scores[t, inside], outcomes[t, inside], 4))
        row = table.iloc[number]
        assert row["rank_ic"] == pytest.approx(np.nanmean(series), abs=1e-12)
        assert row["n"] == np.count_nonzero(~np.isnan(series))
    assert isnan(table["rank_ic"].iloc[3])
    with pytest.raises(DataError, match="codes"):
        ic_by_group(scores, outcomes, codes[:, 1:], ["a"], horizon=1)


def test_states_keep_their_sessions_in_time(market):
    rng = np.random.default_rng(9)
    series, states = rng.standard_normal(60), rng.integers(-1, 3, 60)
    table = ic_by_state(series, states, {0: "calm", 2: "wild", 7: "never"}, horizon=3)
    calm = np.where(states == 0, series, np.nan)
    assert table["rank_ic"].iloc[0] == pytest.approx(series[states == 0].mean())
    assert table["t"].iloc[0] == pytest.approx(overlap_mean(calm, horizon=3).t)
    assert table["n"].tolist()[2] == 0
    assert isnan(table["rank_ic"].iloc[2])
