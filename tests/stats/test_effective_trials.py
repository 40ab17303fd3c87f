"""Effective number of trials: planted groups, limits, sklearn's silhouette."""

from math import isnan

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import silhouette_score

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.effective_trials import correlation_clusters, eigenvalue_participation


def planted(seed, n_groups=5, copies=6, noise=0.5, n_obs=400):
    rng = np.random.default_rng(seed)
    ideas = rng.standard_normal((n_obs, n_groups))
    return np.repeat(ideas, copies, axis=1) + noise * rng.standard_normal(
        (n_obs, n_groups * copies)
    )


@pytest.mark.parametrize("seed", range(4))
def test_planted_groups_are_found(seed):
    found = correlation_clusters(planted(seed))
    assert found.n_effective == 5.0
    assert found.labels.tolist() == np.repeat(np.arange(5), 6).tolist()
    assert found.n_trials == 30


def test_groups_do_not_depend_on_the_order_of_trials():
    x = planted(1)
    order = np.random.default_rng(0).permutation(30)
    one, other = correlation_clusters(x), correlation_clusters(x[:, order])
    same = one.labels[order][:, None] == one.labels[order]
    assert (same == (other.labels[:, None] == other.labels)).all()
    assert other.silhouette == pytest.approx(one.silhouette)
    assert other.trial_variance_per_period == pytest.approx(one.trial_variance_per_period)


@pytest.mark.parametrize("seed", range(4))
def test_the_silhouette_is_the_best_of_all_cuts(seed):
    x = planted(seed, noise=1.4)
    distance = np.sqrt(np.maximum(0.5 * (1.0 - np.corrcoef(x.T)), 0.0))
    np.fill_diagonal(distance, 0.0)
    tree = linkage(distance[np.triu_indices(30, 1)], "average")
    scores = [
        silhouette_score(distance, fcluster(tree, k, "maxclust"), metric="precomputed")
        for k in range(2, 30)
    ]
    found = correlation_clusters(x, min_silhouette=-1.0)
    assert found.silhouette == pytest.approx(max(scores), rel=1e-9)
    assert found.n_effective == 2 + int(np.argmax(scores))


def test_variance_is_taken_across_aggregates():
    x = planted(2, noise=0.3)
    x[:, 6:12] *= 3.0
    found = correlation_clusters(x)
    sharpes = []
    for group in range(5):
        part = x[:, 6 * group : 6 * group + 6]
        weights = 1.0 / part.var(axis=0, ddof=1)
        series = part @ weights / weights.sum()
        sharpes.append(series.mean() / series.std(ddof=1))
    assert found.trial_variance_per_period == pytest.approx(np.var(sharpes, ddof=1))


def test_independent_trials_all_count():
    x = np.random.default_rng(3).standard_normal((500, 40))
    sharpes = x.mean(axis=0) / x.std(axis=0, ddof=1)
    clusters, directions = correlation_clusters(x), eigenvalue_participation(x)
    assert clusters.n_effective == 40.0
    assert "every trial counted" in clusters.method
    assert directions.n_effective == pytest.approx(40.0, abs=1.0)
    for result in (clusters, directions):
        assert result.trial_variance_per_period == pytest.approx(np.var(sharpes, ddof=1))


def test_copies_are_one_trial():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((300, 1)) + 0.05 * rng.standard_normal((300, 12))
    clusters = correlation_clusters(x)
    assert (clusters.n_effective, clusters.trial_variance_per_period) == (1.0, 0.0)
    assert isnan(clusters.silhouette)
    assert eigenvalue_participation(x).n_effective == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("rho", [0.2, 0.5, 0.8])
def test_participation_of_equal_correlation_has_a_closed_form(rho):
    """``N^2 / (N + N (N - 1) rho^2)``, whatever the length of the history."""
    rng = np.random.default_rng(5)
    for n_obs in (60, 3000):
        got = [
            eigenvalue_participation(
                np.sqrt(rho) * rng.standard_normal((n_obs, 1))
                + np.sqrt(1 - rho) * rng.standard_normal((n_obs, 20))
            ).n_effective
            for _ in range(20)
        ]
        assert np.mean(got) == pytest.approx(20 / (1 + 19 * rho**2), rel=0.12)


def test_one_and_two_trials():
    rng = np.random.default_rng(6)
    one, two = rng.standard_normal((50, 1)), rng.standard_normal((50, 2))
    for count, x in ((1.0, one), (2.0, two)):
        assert correlation_clusters(x).n_effective == count
        assert 1.0 <= eigenvalue_participation(x).n_effective <= count
    assert correlation_clusters(one).trial_variance_per_period == 0.0


def test_bad_arguments_name_themselves():
    x = np.random.default_rng(7).standard_normal((20, 3))
    broken = x.copy()
    broken[3, 1] = np.nan
    constant = x.copy()
    constant[:, 2] = 0.1
    for count in (correlation_clusters, eigenvalue_participation):
        with pytest.raises(DataError, match="no NaN"):
            count(broken)
        with pytest.raises(DataError, match="constant"):
            count(constant)
        with pytest.raises(InsufficientHistoryError, match="at least 3 periods"):
            count(x[:2])
    with pytest.raises(ConfigError, match="max_clusters"):
        correlation_clusters(x, max_clusters=1)
    assert correlation_clusters(planted(0), max_clusters=3).labels.max() <= 2
