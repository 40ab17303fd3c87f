"""A study of one factor: every table against pandas, planted factors, and noise."""

from __future__ import annotations

from dataclasses import replace
from math import isnan

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.factor_study import (
    FactorMarket,
    FactorStudyConfig,
    false_discovery,
    study_factor,
    study_table,
)
from quant_engine.stats.ic import rank_autocorrelation
from quant_engine.stats.signal import quantile_by_date

pytestmark = pytest.mark.feature("Q-48")

N_DATES, N_ASSETS = 260, 30
ASKED = FactorStudyConfig(horizons=(1, 5), main_horizon=5, delays=(0, 1, 5, 10))


def smooth(rng, shape, keep):
    """Standard normal scores that forget a share of themselves every session."""
    values = rng.standard_normal(shape)
    for t in range(1, shape[0]):
        values[t] = keep * values[t - 1] + np.sqrt(1.0 - keep**2) * values[t]
    return values


def make_market(rng, drift, horizons=(1, 5)):
    """Returns that follow `drift` in the next session, summed over horizons."""
    returns = 0.02 * (drift + rng.standard_normal(drift.shape))
    padded = np.vstack([returns, np.full((max(horizons), drift.shape[1]), np.nan)])
    outcomes = {h: sum(padded[k : k + len(drift)] for k in range(h)) for h in horizons}
    days = np.arange("2020-01-01", "2030-01-01", dtype="M8[D]")
    sectors = np.tile(np.arange(drift.shape[1]) % 3, (len(drift), 1))
    return FactorMarket(
        sessions=days[np.is_busday(days)][: len(drift)],
        outcomes=outcomes,
        allowed=np.ones(drift.shape, dtype=bool),
        regimes=np.repeat([-1, 0, 1, 3], -(-len(drift) // 4))[: len(drift)],
        sectors=sectors,
        sector_names=("a", "b", "c"),
    )


@pytest.fixture(scope="module")
def planted():
    rng = np.random.default_rng(12)
    score = smooth(rng, (N_DATES, N_ASSETS), 0.9)
    return score, make_market(rng, 0.15 * score)


def test_a_planted_factor_is_found_with_its_sign(planted):
    score, market = planted
    for sign in (1.0, -1.0):
        study = study_factor(sign * score, market, ASKED)
        assert (sign * study.horizons["t"] > 3.0).all()
        assert (sign * study.horizons["spread_t"] > 3.0).all()
        assert (sign * study.horizons["monotonicity"] > 0.6).all()
        assert (study.horizons["p"] < 0.01).all()
        assert (sign * study.groups["rank_ic"].dropna() > 0.0).all()


def test_the_half_life_is_near_the_memory_of_the_planted_score(planted):
    score, market = planted
    asked = FactorStudyConfig(horizons=(1,), main_horizon=1, delays=(0, 2, 4, 6, 8, 12, 20))
    half = study_factor(score, market, asked).headline["half_life_sessions"]
    assert 2.0 < half < 15.0  # ln 2 / -ln 0.9 = 6.6


def test_figures_of_a_horizon_equal_pandas(planted):
    score, market = planted
    study = study_factor(score, market, ASKED)
    for row in study.horizons.itertuples(index=False):
        outcome = pd.DataFrame(market.outcomes[row.horizon])
        ranked = pd.DataFrame(score).where(outcome.notna())
        series = ranked.rank(axis=1).corrwith(outcome.rank(axis=1), axis=1)
        known = series.dropna()
        assert row.n == len(known)
        assert row.rank_ic == pytest.approx(known.mean(), abs=1e-12)
        assert row.ic_std == pytest.approx(known.std(), abs=1e-12)
        assert row.icir == pytest.approx(known.mean() / known.std())
        assert row.hit_share == pytest.approx((known > 0).mean())
        assert row.ic == pytest.approx(ranked.corrwith(outcome, axis=1).mean(), abs=1e-12)
        books = quantile_by_date(score, market.outcomes[row.horizon], n_quantiles=5)
        spread = pd.Series(books[:, 4] - books[:, 0])
        assert row.spread_bps == pytest.approx(1e4 * spread.mean())
        by_date = study.by_date[study.by_date["horizon"] == row.horizon]
        np.testing.assert_allclose(by_date["rank_ic"], known, atol=1e-12)
        np.testing.assert_allclose(by_date["spread"], spread.dropna(), atol=1e-15)
        means = study.quantiles[study.quantiles["horizon"] == row.horizon]
        np.testing.assert_allclose(means["mean_fwd_return_bps"], 1e4 * np.nanmean(books, axis=0))


def test_only_allowed_names_count_and_coverage_says_so(planted):
    score, market = planted
    allowed = market.allowed.copy()
    allowed[:, 20:] = False
    allowed[3] = False
    holes = score.copy()
    holes[:50, 0] = np.nan
    limited = replace(market, allowed=allowed)
    study = study_factor(holes, limited, ASKED)
    changed = holes.copy()
    changed[:, 20:] = 99.0
    again = study_factor(changed, limited, ASKED)
    pd.testing.assert_frame_equal(study.horizons, again.horizons)
    share = study.coverage["share"].to_numpy()
    assert share[0] == pytest.approx(19 / 20)
    assert isnan(share[3])
    assert share[60] == 1.0
    assert study.headline["coverage"] == pytest.approx(np.nanmean(share))
    assert study.headline["n_sessions"] == N_DATES - 1


def test_headline_figures_are_means_of_their_series(planted):
    score, market = planted
    head = study_factor(score, market, ASKED).headline
    assert head["rank_autocorr"] == pytest.approx(np.mean(rank_autocorrelation(score, lag=1)))
    assert head["rank_autocorr_main"] == pytest.approx(np.mean(rank_autocorrelation(score, lag=5)))
    ordered = score.argsort(axis=1)
    outer = []
    for t in range(1, N_DATES):
        for pick in (slice(0, 6), slice(24, 30)):
            kept = np.isin(ordered[t, pick], ordered[t - 1, pick]).sum()
            outer.append(1.0 - kept / 6)
    assert head["turnover"] == pytest.approx(np.mean(outer))


def test_q_values_are_those_of_statsmodels():
    p_values = np.random.default_rng(2).random(40) ** 3
    found = false_discovery(p_values)
    for rule in ("bh", "by"):
        wanted = multipletests(p_values, method=f"fdr_{rule}")[1]
        np.testing.assert_allclose(found[f"q_{rule}"], wanted)
    some = false_discovery([0.01, np.nan, 0.02])
    assert isnan(some["q_bh"][1])
    assert some["q_bh"][0] == pytest.approx(0.02)
    assert np.isnan(false_discovery([np.nan])["q_by"]).all()


def test_noise_is_seldom_found():
    seeds_with_a_finding = {"q_bh": 0, "q_by": 0}
    asked = FactorStudyConfig(horizons=(1, 5), main_horizon=5, delays=(0, 5))
    for seed in range(12):
        rng = np.random.default_rng(seed)
        market = make_market(rng, np.zeros((200, 20)))
        tests = pd.concat(
            [
                study_factor(smooth(rng, (200, 20), keep), market, asked).horizons
                for keep in (0.0, 0.5, 0.9, 0.98)
            ]
        )
        for rule, q in false_discovery(tests["p"]).items():
            seeds_with_a_finding[rule] += bool((q < 0.05).any())
    assert seeds_with_a_finding["q_by"] <= 1
    assert seeds_with_a_finding["q_bh"] <= 2


def test_a_score_without_variation_measures_nothing(planted):
    _, market = planted
    study = study_factor(np.ones((N_DATES, N_ASSETS)), market, ASKED)
    assert study.horizons[["rank_ic", "t", "p", "spread_bps"]].isna().all().all()
    assert study.quantiles["mean_fwd_return_bps"].isna().all()
    assert study.by_date.empty
    assert isnan(study.headline["half_life_sessions"])


def test_what_does_not_fit_is_refused(planted):
    score, market = planted
    with pytest.raises(ConfigError, match="part: wanted a table of a study"):
        study_table({"a": study_factor(score, market, ASKED)}, "horizon")
    with pytest.raises(DataError, match="scores"):
        study_factor(score[:, 1:], market, ASKED)
    with pytest.raises(ConfigError, match="horizons: wanted sessions"):
        FactorStudyConfig(horizons=(1, 5), main_horizon=10)
    with pytest.raises(ConfigError, match="delays: wanted increasing sessions from 0"):
        FactorStudyConfig(delays=(1, 2))
    with pytest.raises(DataError, match="outcome of 1 sessions"):
        replace(market, outcomes={1: score[1:]})
