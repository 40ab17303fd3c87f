"""Scores of whole distributions: CRPS, ranked probability score, and the PIT with its tests.

Contract: ``CRPS = integral (F(x) - 1{x >= y})^2 dx``, lower is better, in the unit of the outcome;
for a forecast without spread it is the absolute error. Rows with NaN score NaN, so that scores
stay aligned with forecasts.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc, ndtr
from scipy.stats import kstest

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.checks import check_same_shape, parse_matrix, parse_observed, parse_vector

__all__ = [
    "PitTest",
    "crps_ensemble",
    "crps_gaussian",
    "crps_intervals",
    "pit_ensemble",
    "pit_gaussian",
    "pit_test",
    "ranked_probability_score",
]


def crps_gaussian(mean: npt.ArrayLike, std: npt.ArrayLike, outcome: npt.ArrayLike) -> FloatVector:
    """Score of normal forecasts.

    ``std [z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)]`` with ``z = (outcome - mean) / std``
    (Gneiting and Raftery 2007, equation 21).

    Parameters
    ----------
    mean, std : array-like, shape (n,)
        Forecast mean and positive standard deviation, in the unit of the outcome.
    outcome : array-like, shape (n,)
        What happened.

    Returns
    -------
    ndarray of float64, shape (n,)
        Score per forecast; NaN where anything is NaN.

    Raises
    ------
    DataError
        Shapes that differ, infinite values, or a standard deviation that is not positive.

    Examples
    --------
    >>> crps_gaussian([0.0], [1.0], [0.0]).round(4)
    array([0.2337])
    """
    z, spread = _standardised(mean, std, outcome)
    density = np.exp(-z * z / 2.0) / sqrt(2.0 * pi)
    score: FloatVector = spread * (z * (2.0 * ndtr(z) - 1.0) + 2.0 * density - 1.0 / sqrt(pi))
    return score


def crps_ensemble(
    members: npt.ArrayLike, outcome: npt.ArrayLike, *, is_fair: bool = False
) -> FloatVector:
    """Score of ensembles, each taken as the distribution of its members.

    ``mean |x_i - y| - sum_ij |x_i - x_j| / (2 m^2)``; the fair form divides by ``2 m (m - 1)``
    and estimates the score of the distribution that the members were drawn from (Ferro 2014).

    Parameters
    ----------
    members : array-like, shape (n, m)
        Ensemble per row.
    outcome : array-like, shape (n,)
        What happened.
    is_fair : bool
        Without the bias that makes small ensembles look worse.

    Returns
    -------
    ndarray of float64, shape (n,)
        Score per ensemble; NaN where the outcome or a member is NaN.

    Raises
    ------
    DataError
        Lengths that differ, or infinite values.
    ConfigError
        No member, or a fair score of one.

    Examples
    --------
    >>> crps_ensemble([[0.0, 1.0, 2.0]], [1.0]).round(4)
    array([0.2222])
    """
    ensemble, y = _parse_ensembles(members, outcome)
    m = ensemble.shape[1]
    if m < 1 + is_fair:
        raise ConfigError(
            "members",
            wanted=f"at least {1 + is_fair} members",
            got=m,
            hint="A fair score measures the spread of the members.",
        )
    ordered = np.sort(ensemble, axis=1)
    # sum_ij |x_i - x_j| = 2 sum_i (2 i - m - 1) x_(i), i from 1
    spread = 2.0 * ordered @ (2.0 * np.arange(1, m + 1) - m - 1.0)
    pairs = 2.0 * m * (m - 1) if is_fair else 2.0 * m * m
    score: FloatVector = np.abs(ensemble - y[:, None]).mean(axis=1) - spread / pairs
    return score


def crps_intervals(
    edges: npt.ArrayLike, mass: npt.ArrayLike, outcome: npt.ArrayLike
) -> FloatVector:
    """Score of one distribution with a piecewise linear distribution function.

    Parameters
    ----------
    edges : array-like, shape (K + 1,)
        Rising edges of the intervals, in the unit of the outcome.
    mass : array-like, shape (K,)
        Probability of each interval, spread evenly inside it; adds up to 1.
    outcome : array-like, shape (n,)
        Outcomes to score the distribution with; may lie outside the edges.

    Returns
    -------
    ndarray of float64, shape (n,)
        Score per outcome, exact; NaN where the outcome is NaN.

    Raises
    ------
    DataError
        Edges that do not rise, masses that are negative or do not add up to 1, or lengths that do
        not fit.

    Examples
    --------
    >>> crps_intervals([0.0, 1.0], [1.0], [0.5, 0.0]).round(4)
    array([0.0833, 0.3333])
    """
    limits, share = parse_intervals(edges, mass)
    y = parse_vector("outcome", outcome)[:, None]
    low, high = limits[:-1], limits[1:]
    upper = np.cumsum(share)
    below = upper - share
    split = np.clip(y, low, high)
    at_split = below + share * (split - low) / (high - low)
    # The mean of a squared linear function from a to b is (a^2 + a b + b^2) / 3.
    before = (split - low) * (below**2 + below * at_split + at_split**2)
    left, right = 1.0 - at_split, 1.0 - upper
    after = (high - split) * (left**2 + left * right + right**2)
    outside = np.maximum(limits[0] - y, 0.0) + np.maximum(y - limits[-1], 0.0)
    score: FloatVector = (before + after).sum(axis=1) / 3.0 + outside[:, 0]
    return score


def ranked_probability_score(
    prob: npt.ArrayLike, outcome: npt.ArrayLike, *, is_normalised: bool = False
) -> FloatVector:
    """Score of forecasts over ordered categories.

    ``sum_{k < K} (P_1 + ... + P_k - 1{outcome <= k})^2`` (Epstein 1969), the CRPS on a lattice of
    step 1; normalised it is divided by K - 1 and lies in [0, 1].

    Parameters
    ----------
    prob : array-like, shape (n, K)
        Probabilities per category, rows that add up to 1.
    outcome : array-like, shape (n,)
        Category that happened, 0 to K - 1.
    is_normalised : bool
        Divide by K - 1.

    Returns
    -------
    ndarray of float64, shape (n,)
        Score per forecast; NaN where anything is NaN.

    Raises
    ------
    DataError
        Rows that do not add up to 1, negative values, categories that do not exist.
    ConfigError
        Fewer than 2 categories.

    Examples
    --------
    >>> ranked_probability_score([[0.1, 0.2, 0.4, 0.2, 0.1]], [2]).round(4)
    array([0.2])
    """
    p, y = _parse_ensembles(prob, outcome, name="prob")
    n_categories = p.shape[1]
    if n_categories < 2:
        raise ConfigError(
            "prob", wanted="at least 2 categories", got=n_categories, hint="Nothing is ranked."
        )
    known = p[~np.isnan(p).any(axis=1)]
    codes = y[~np.isnan(y)]
    sums_to_one = np.abs(known.sum(axis=1) - 1.0).max(initial=0.0) <= 1e-6
    in_range = ((codes >= 0) & (codes < n_categories) & (codes == np.floor(codes))).all()
    if known.min(initial=0.0) < 0.0 or not sums_to_one or not in_range:
        raise DataError(
            "prob, outcome",
            wanted=f"rows that add up to 1 and categories from 0 to {n_categories - 1}",
            got="others",
            hint="Divide each row by its sum, where that is what is meant.",
        )
    happened = np.where(np.isnan(y)[:, None], np.nan, np.arange(n_categories) >= y[:, None])
    score: FloatVector = ((np.cumsum(p, axis=1) - happened)[:, :-1] ** 2).sum(axis=1)
    return score / (n_categories - 1) if is_normalised else score


def pit_gaussian(mean: npt.ArrayLike, std: npt.ArrayLike, outcome: npt.ArrayLike) -> FloatVector:
    """Probability integral transform of normal forecasts, ``Phi((outcome - mean) / std)``.

    Parameters
    ----------
    mean, std : array-like, shape (n,)
        Forecast mean and positive standard deviation, in the unit of the outcome.
    outcome : array-like, shape (n,)
        What happened.

    Returns
    -------
    ndarray of float64, shape (n,)
        In [0, 1], uniform where the forecasts are right; NaN where anything is NaN.

    Raises
    ------
    DataError
        Shapes that differ, infinite values, or a standard deviation that is not positive.

    Examples
    --------
    >>> pit_gaussian([0.0], [1.0], [0.0])
    array([0.5])
    """
    return np.asarray(ndtr(_standardised(mean, std, outcome)[0]), dtype=np.float64)


def pit_ensemble(members: npt.ArrayLike, outcome: npt.ArrayLike, *, seed: int) -> FloatVector:
    """Randomised probability integral transform of ensembles.

    The rank of the outcome among m members and itself is one of m + 1; a uniform number inside
    ``[(rank - 1) / (m + 1), rank / (m + 1)]`` is uniform where outcome and members are alike. Ties
    are broken at random (Hamill 2001; Czado, Gneiting and Held 2009).

    Parameters
    ----------
    members : array-like, shape (n, m)
        Ensemble per row.
    outcome : array-like, shape (n,)
        What happened.
    seed : int
        Seed of the generator.

    Returns
    -------
    ndarray of float64, shape (n,)
        In [0, 1]; NaN where the outcome or a member is NaN.

    Raises
    ------
    DataError
        Lengths that differ, or infinite values.

    Examples
    --------
    >>> pit_ensemble([[0.0, 1.0, 2.0]], [5.0], seed=0) > 0.75
    array([ True])
    """
    ensemble, y = _parse_ensembles(members, outcome)
    rng = np.random.default_rng(seed)
    below = (ensemble < y[:, None]).sum(axis=1)
    ties = (ensemble == y[:, None]).sum(axis=1)
    place = below + rng.integers(0, ties + 1) + rng.random(len(y))
    pit: FloatVector = place / (ensemble.shape[1] + 1.0)
    return np.where(np.isnan(y) | np.isnan(ensemble).any(axis=1), np.nan, pit)


@dataclass(frozen=True)
class PitTest:
    """Test that transforms are uniform.

    Parameters
    ----------
    ks_statistic, ks_p_value : float
        Kolmogorov-Smirnov distance from the uniform distribution, exact or asymptotic p-value.
    chi2_statistic, chi2_p_value : float
        Pearson's statistic of the histogram, ``n_bins - 1`` degrees of freedom.
    n_bins : int
        Bins of equal width.
    n_obs : int
        Transforms.

    Examples
    --------
    >>> pit_test([0.1, 0.3, 0.5, 0.7, 0.9] * 5, n_bins=5).chi2_statistic
    0.0
    """

    ks_statistic: float
    ks_p_value: float
    chi2_statistic: float
    chi2_p_value: float
    n_bins: int
    n_obs: int


def pit_test(pit: npt.ArrayLike, *, n_bins: int = 10) -> PitTest:
    """Test that forecasts were calibrated: their transforms are uniform.

    Parameters
    ----------
    pit : array-like, shape (n,)
        Transforms in [0, 1]; NaN = no forecast or no outcome, left out.
    n_bins : int
        Bins of the histogram test, at least 2.

    Returns
    -------
    PitTest
        Both p-values hold for independent transforms: those of overlapping horizons are not, and
        the test then rejects too often.

    Raises
    ------
    DataError
        Values outside [0, 1].
    ConfigError
        Fewer than 2 bins.
    InsufficientHistoryError
        Fewer than 5 transforms per bin.

    Examples
    --------
    >>> biased = pit_test(np.linspace(0.0, 0.7, 60), n_bins=6)
    >>> biased.ks_p_value < 0.001, biased.chi2_p_value < 0.001
    (True, True)
    """
    values = parse_observed("pit", pit)
    if n_bins < 2:
        raise ConfigError("n_bins", wanted="at least 2", got=n_bins, hint="Use 10.")
    if len(values) < 5 * n_bins:
        raise InsufficientHistoryError(
            "pit",
            wanted=f"at least {5 * n_bins} transforms for {n_bins} bins",
            got=len(values),
            hint="Use fewer bins or more forecasts.",
        )
    if values.min() < 0.0 or values.max() > 1.0:
        raise DataError(
            "pit",
            wanted="values in [0, 1]",
            got=f"values from {values.min()} to {values.max()}",
            hint="Pass the forecast distribution function at the outcome.",
        )
    distance = kstest(values, "uniform")
    counts = np.histogram(values, bins=n_bins, range=(0.0, 1.0))[0]
    expected = len(values) / n_bins
    chi2 = float(((counts - expected) ** 2).sum() / expected)
    return PitTest(
        ks_statistic=float(distance.statistic),
        ks_p_value=float(distance.pvalue),
        chi2_statistic=chi2,
        chi2_p_value=float(chdtrc(n_bins - 1, chi2)),
        n_bins=n_bins,
        n_obs=len(values),
    )


def parse_intervals(edges: npt.ArrayLike, mass: npt.ArrayLike) -> tuple[FloatVector, FloatVector]:
    """Read a distribution over adjacent intervals.

    Parameters
    ----------
    edges : array-like, shape (K + 1,)
        Rising edges.
    mass : array-like, shape (K,)
        Probability of each interval; adds up to 1.

    Returns
    -------
    tuple of ndarray of float64
        Edges and masses.

    Raises
    ------
    DataError
        Edges that do not rise, masses that are negative or do not add up to 1, or lengths that do
        not fit.

    Examples
    --------
    >>> parse_intervals([0, 1, 3], [0.5, 0.5])[0]
    array([0., 1., 3.])
    """
    limits, share = parse_vector("edges", edges), parse_vector("mass", mass)
    rises = len(limits) == len(share) + 1 >= 2 and bool((np.diff(limits) > 0.0).all())
    if not rises or not (share >= -1e-12).all() or abs(float(share.sum()) - 1.0) > 1e-6:
        raise DataError(
            "edges, mass",
            wanted="rising edges, one more than masses, and masses of 0 or more that add up to 1",
            got=f"{len(limits)} edges, {len(share)} masses with sum {float(share.sum()):.6g}",
            hint="Give the outer intervals finite edges.",
        )
    return limits, share


def _standardised(
    mean: npt.ArrayLike, std: npt.ArrayLike, outcome: npt.ArrayLike
) -> tuple[FloatVector, FloatVector]:
    centre, spread = parse_vector("mean", mean), parse_vector("std", std)
    y = parse_vector("outcome", outcome)
    check_same_shape("mean", centre, "std", spread)
    check_same_shape("mean", centre, "outcome", y)
    if (spread <= 0.0).any():
        raise DataError(
            "std",
            wanted="positive values or NaN",
            got=f"{int((spread <= 0.0).sum())} values at or below 0",
            hint="A forecast without spread is scored by its absolute error.",
        )
    return (y - centre) / spread, spread


def _parse_ensembles(
    members: npt.ArrayLike, outcome: npt.ArrayLike, *, name: str = "members"
) -> tuple[FloatVector, FloatVector]:
    ensemble, y = parse_matrix(name, members), parse_vector("outcome", outcome)
    if len(ensemble) != len(y):
        raise DataError(
            "outcome",
            wanted=f"{len(ensemble)} outcomes, one per row of {name}",
            got=len(y),
            hint="Align forecasts and outcomes first.",
        )
    return ensemble, y
