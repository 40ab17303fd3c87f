"""Signal tables against plain loops: year split, horizons, quantile sizes and their errors."""

from __future__ import annotations

from math import isnan

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, spearmanr

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.inference import newey_west_mean
from quant_engine.stats.signal import (
    MIN_TESTED,
    ic_by_horizon,
    ic_by_year,
    ic_table,
    quantile_by_date,
    quantile_table,
)

pytestmark = pytest.mark.feature("Q-48")

N_DATES, N_ASSETS = 60, 24


@pytest.fixture(scope="module")
def sessions():
    """Two years with 36 and 24 sessions."""
    days = np.arange(np.datetime64("2019-11-11"), np.datetime64("2020-12-31"))
    return days[np.is_busday(days)][:N_DATES]


@pytest.fixture(scope="module")
def market():
    """Scores and outcomes with holes, ties, a thin session and a flat one."""
    rng = np.random.default_rng(8)
    scores = rng.standard_normal((N_DATES, N_ASSETS))
    outcomes = 0.01 * (0.2 * scores + rng.standard_normal(scores.shape))
    scores[:, :6] = scores[:, :6].round()
    for values in (scores, outcomes):
        values[rng.random(values.shape) < 0.1] = np.nan
    scores[5, 7:] = np.nan
    scores[6] = 0.25
    outcomes[-3:] = np.nan
    return scores, outcomes


def pairs(scores, outcomes, t):
    both = ~(np.isnan(scores[t]) | np.isnan(outcomes[t]))
    return scores[t, both], outcomes[t, both]


def known(values):
    return [value for value in values if not isnan(value)]


def test_ic_table_equals_scipy_and_drops_sessions_that_measured_nothing(market, sessions):
    table = ic_table(*market, sessions).set_index("session")
    for t, session in enumerate(pd.DatetimeIndex(sessions)):
        score, outcome = pairs(*market, t)
        if len(score) < 10 or len(set(score)) == 1:
            assert session not in table.index
            continue
        row = table.loc[session]
        assert row["ic"] == pytest.approx(pearsonr(score, outcome).statistic, abs=1e-12)
        assert row["rank_ic"] == pytest.approx(spearmanr(score, outcome).statistic, abs=1e-12)
    assert len(table) == N_DATES - 5
    assert not {5, 6} & set(np.searchsorted(sessions, table.index.to_numpy().astype("M8[D]")))


def test_ic_table_wants_enough_pairs(market, sessions):
    assert len(ic_table(*market, sessions, min_assets=5)) == len(ic_table(*market, sessions)) + 1
    empty = ic_table(*market, sessions, min_assets=N_ASSETS + 1)
    assert empty.empty
    assert list(empty.columns) == ["session", "ic", "rank_ic"]


def test_a_year_is_the_calendar_year_of_the_session(market, sessions):
    table = ic_table(*market, sessions)
    by_year = ic_by_year(table, lags=3)
    assert by_year["year"].tolist() == [2019, 2020]
    for _, row in by_year.iterrows():
        part = [
            (ic, rank_ic)
            for session, ic, rank_ic in table.itertuples(index=False)
            if session.year == row["year"]
        ]
        ranks = [rank_ic for _, rank_ic in part]
        assert row["n"] == len(part)
        assert row["ic"] == pytest.approx(sum(ic for ic, _ in part) / len(part))
        assert row["rank_ic"] == pytest.approx(sum(ranks) / len(part))
        assert row["t_nw"] == newey_west_mean(ranks, lags=3).t
    assert by_year["n"].sum() == len(table)


def test_a_short_year_has_a_mean_and_no_t():
    days = pd.DatetimeIndex(["2020-12-30", "2020-12-31", *pd.bdate_range("2021-01-04", periods=20)])
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"session": days, "ic": 0.1, "rank_ic": rng.standard_normal(22)})
    by_year = ic_by_year(table, lags=2).set_index("year")
    assert by_year.loc[2020, "n"] == 2 < MIN_TESTED
    assert by_year.loc[2020, "rank_ic"] == pytest.approx(table["rank_ic"][:2].mean())
    assert isnan(by_year.loc[2020, "t_nw"])
    assert by_year.loc[2021, "t_nw"] == newey_west_mean(table["rank_ic"][2:], lags=2).t


def test_a_session_with_one_kind_of_ic_counts_for_that_kind_only():
    days = pd.bdate_range("2021-01-04", periods=15)
    table = pd.DataFrame({"session": days, "ic": 0.1, "rank_ic": np.linspace(0.0, 1.4, 15)})
    table.loc[4, "rank_ic"] = np.nan
    (row,) = ic_by_year(table, lags=2).to_dict("records")
    assert row["n"] == 14
    assert row["ic"] == pytest.approx(0.1)
    assert row["rank_ic"] == pytest.approx(sum(known(table["rank_ic"])) / 14)
    # The gap keeps its place: values on both sides of it are two sessions apart.
    assert row["t_nw"] == newey_west_mean(table["rank_ic"], lags=2).t
    assert row["t_nw"] != newey_west_mean(known(table["rank_ic"]), lags=2).t


def test_no_session_gives_an_empty_table_with_its_columns(market, sessions):
    empty = ic_by_year(ic_table(*market, sessions, min_assets=N_ASSETS + 1), lags=1)
    assert empty.empty
    assert list(empty.columns) == ["year", "ic", "rank_ic", "t_nw", "n"]


def test_horizons_are_sorted_and_their_lags_are_the_horizon(market):
    scores, outcome = market
    rng = np.random.default_rng(9)
    outcomes = {20: rng.standard_normal(outcome.shape), 5: outcome}
    table = ic_by_horizon(scores, outcomes)
    assert table["horizon"].tolist() == [5, 20]
    for _, row in table.iterrows():
        horizon = int(row["horizon"])
        series = np.full(N_DATES, np.nan)
        for t in range(N_DATES):
            score, value = pairs(scores, outcomes[horizon], t)
            if len(score) >= 10 and len(set(score)) > 1:
                series[t] = spearmanr(score, value).statistic
        assert row["n"] == len(known(series))
        assert row["mean"] == pytest.approx(sum(known(series)) / len(known(series)))
        assert row["t_nw"] == pytest.approx(newey_west_mean(series, lags=horizon).t, rel=1e-9)


def test_a_horizon_without_outcomes_is_a_row_of_nan(market):
    scores, outcome = market
    few = np.where(np.arange(N_DATES)[:, None] < 4, outcome, np.nan)
    table = ic_by_horizon(scores, {1: np.full_like(outcome, np.nan), 2: few}).set_index("horizon")
    assert table.loc[1, "n"] == 0
    assert table.loc[1, ["mean", "t_nw"]].isna().all()
    assert table.loc[2, "n"] == 4
    assert not isnan(table.loc[2, "mean"])
    assert isnan(table.loc[2, "t_nw"])


@pytest.mark.parametrize("n_quantiles", [2, 3, 5, 10])
def test_quantile_means_equal_a_plain_loop(market, n_quantiles):
    scores, outcomes = market
    got = quantile_by_date(scores, outcomes, n_quantiles=n_quantiles)
    assert got.shape == (N_DATES, n_quantiles)
    for t in range(N_DATES):
        score, outcome = pairs(scores, outcomes, t)
        if len(score) < 10:
            assert np.isnan(got[t]).all()
            continue
        groups = [[] for _ in range(n_quantiles)]
        # sorted() is stable: equal scores stay in column order.
        for place, j in enumerate(sorted(range(len(score)), key=lambda j: score[j])):
            groups[place * n_quantiles // len(score)].append(outcome[j])
        np.testing.assert_allclose(got[t], [sum(g) / len(g) for g in groups], atol=1e-15)


@pytest.mark.parametrize("n_quantiles", [2, 3, 7, 10])
@pytest.mark.parametrize("n_names", [10, 11, 16, 23])
def test_quantile_sizes_differ_by_at_most_one(n_quantiles, n_names):
    scores = np.random.default_rng(n_names).permutation(n_names)[None, :].astype(float)
    # The outcome is 1 for one name at a time: the mean of its group is one over the group's size.
    share = np.stack(
        [
            quantile_by_date(scores, own[None, :], n_quantiles=n_quantiles)[0]
            for own in np.eye(n_names)
        ]
    )
    sizes = np.round(1.0 / share.max(axis=0))
    assert sizes.sum() == n_names
    assert sizes.max() - sizes.min() <= 1
    # Every name of a group scores above every name of the group before it.
    group = share.argmax(axis=1)
    assert (np.diff(group[np.argsort(scores[0])]) >= 0).all()


def test_quantiles_need_a_name_each_and_enough_names(market):
    scores, outcomes = market
    n_pairs = (~(np.isnan(scores) | np.isnan(outcomes))).sum(axis=1)
    for n_quantiles, min_assets in ((2, 15), (20, 2)):
        got = quantile_by_date(scores, outcomes, n_quantiles=n_quantiles, min_assets=min_assets)
        enough = n_pairs >= max(n_quantiles, min_assets)
        np.testing.assert_array_equal(np.isnan(got).any(axis=1), ~enough)
        np.testing.assert_array_equal(np.isnan(got).all(axis=1), ~enough)


def test_an_outcome_without_a_score_counts_nowhere(market):
    scores, outcomes = market
    loud = np.where(np.isnan(scores), 1e6, outcomes)
    np.testing.assert_array_equal(
        quantile_by_date(scores, loud, n_quantiles=4),
        quantile_by_date(scores, np.where(np.isnan(scores), np.nan, loud), n_quantiles=4),
    )


def test_quantile_table_has_the_errors_of_the_mean_test(market):
    by_date = quantile_by_date(*market, n_quantiles=4)
    by_date[::7, 1] = np.nan
    table = quantile_table(by_date, lags=5)
    assert table["quantile"].tolist() == [1, 2, 3, 4]
    for number, row in enumerate(table.to_dict("records")):
        column = by_date[:, number]
        assert row["mean_fwd_return_bps"] == pytest.approx(
            1e4 * sum(known(column)) / len(known(column))
        )
        assert row["std_error_bps"] == 1e4 * newey_west_mean(column, lags=5).std_error


def test_few_sessions_have_a_mean_and_no_error():
    by_date = np.full((30, 2), np.nan)
    by_date[: MIN_TESTED - 1, 0] = np.arange(MIN_TESTED - 1) * 1e-4
    table = quantile_table(by_date, lags=5)
    assert table.loc[0, "mean_fwd_return_bps"] == pytest.approx(4.0)
    assert isnan(table.loc[0, "std_error_bps"])
    assert table.loc[1].drop("quantile").isna().all()
    # More lags than observations are cut, not refused.
    by_date[:MIN_TESTED, 0] = np.arange(MIN_TESTED) * 1e-4
    cut = quantile_table(by_date, lags=25).loc[0, "std_error_bps"]
    assert cut == 1e4 * newey_west_mean(by_date[:, 0], lags=MIN_TESTED - 1).std_error


def test_inputs_are_not_changed(market, sessions):
    kept = [values.copy() for values in market]
    ic_table(*market, sessions)
    ic_by_horizon(market[0], {5: market[1]})
    quantile_table(quantile_by_date(*market, n_quantiles=5), lags=2)
    for before, after in zip(kept, market, strict=True):
        np.testing.assert_array_equal(before, after)


def test_bad_arguments_name_themselves(market, sessions):
    scores, outcomes = market
    for call in (
        lambda other: ic_table(scores, other, sessions),
        lambda other: ic_by_horizon(scores, {5: other}),
        lambda other: quantile_by_date(scores, other, n_quantiles=5),
    ):
        with pytest.raises(DataError, match="wanted shape"):
            call(outcomes[1:])
        with pytest.raises(DataError, match="wanted finite"):
            call(np.where(np.isnan(outcomes), np.inf, outcomes))
    with pytest.raises(ConfigError, match="n_quantiles: wanted at least 2"):
        quantile_by_date(scores, outcomes, n_quantiles=1)
    with pytest.raises(ConfigError, match="min_assets"):
        ic_table(scores, outcomes, sessions, min_assets=1)
    with pytest.raises(ConfigError, match="lags"):
        quantile_table(quantile_by_date(scores, outcomes, n_quantiles=2), lags=-1)
