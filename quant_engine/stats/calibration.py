"""Is a probability what it says: Brier score, its parts, log loss, calibration error, bins.

Contract: forecasts are probabilities of a yes/no outcome, or of one of K classes. Bins have equal
width on [0, 1] unless edges are given; each contains its lower edge, and the last one also its
upper edge. A pair with NaN on either side is left out and the number of pairs used is part of
every result.

Scores of whole distributions are in `quant_engine.stats.crps`; maps that make probabilities honest
are in `quant_engine.stats.recalibration`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, DataError, EmptyDataError
from quant_engine.stats.checks import check_same_shape, parse_matrix, parse_vector

__all__ = [
    "BrierParts",
    "brier_decomposition",
    "brier_score",
    "expected_calibration_error",
    "log_loss",
    "multiclass_brier_score",
    "multiclass_log_loss",
    "parse_pairs",
    "reliability_table",
]


@dataclass(frozen=True)
class BrierParts:
    """Brier score and the five terms that add up to it.

    ``brier = reliability - resolution + uncertainty + within_bin_variance
    - 2 within_bin_covariance`` (Stephenson, Coelho and Jolliffe 2008). Grouped by distinct
    forecasts the last two are zero and Murphy's (1973) three terms remain.

    Parameters
    ----------
    brier : float
        Mean squared error of the probability, 0 (perfect) to 1.
    reliability : float
        Mean squared gap between forecast and frequency per group; 0 = calibrated.
    resolution : float
        Variance of the group frequencies; larger = more informative.
    uncertainty : float
        Variance of the outcome.
    within_bin_variance, within_bin_covariance : float
        Spread of forecasts inside groups, and its covariance with outcomes.
    skill_score : float
        ``1 - brier / uncertainty``; NaN where every outcome is the same.
    n_obs : int
        Pairs used.

    Examples
    --------
    >>> brier_decomposition([1.0, 0.0], [1, 0]).skill_score
    1.0
    """

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within_bin_variance: float
    within_bin_covariance: float
    skill_score: float
    n_obs: int


def brier_score(prob: npt.ArrayLike, outcome: npt.ArrayLike) -> float:
    """Mean squared difference of probability and outcome.

    Parameters
    ----------
    prob : array-like, shape (n,)
        Forecast probabilities in [0, 1]; NaN = no forecast, pair left out.
    outcome : array-like, shape (n,)
        1 or True where it happened, else 0; NaN = unknown, pair left out.

    Returns
    -------
    float
        0 (perfect) to 1; a constant 0.5 scores 0.25.

    Raises
    ------
    DataError
        Values outside their range, or shapes that differ.
    EmptyDataError
        No complete pair.

    Examples
    --------
    >>> brier_score([0.8, 0.4], [1, 0])
    0.1
    """
    p, o = parse_pairs(prob, outcome)
    return float(np.mean((p - o) ** 2))


def log_loss(prob: npt.ArrayLike, outcome: npt.ArrayLike) -> float:
    """Mean negative natural logarithm of the probability given to what happened.

    Parameters
    ----------
    prob : array-like, shape (n,)
        Forecast probabilities in [0, 1]; NaN = no forecast, pair left out.
    outcome : array-like, shape (n,)
        1 or True where it happened, else 0; NaN = unknown, pair left out.

    Returns
    -------
    float
        Nats; infinity where something happened that was given probability 0.

    Raises
    ------
    DataError
        Values outside their range, or shapes that differ.
    EmptyDataError
        No complete pair.

    Examples
    --------
    >>> round(log_loss([0.8, 0.4], [1, 0]), 4)
    0.367
    """
    p, o = parse_pairs(prob, outcome)
    return _mean_surprise(np.where(o == 1.0, p, 1.0 - p))


def multiclass_brier_score(prob: npt.ArrayLike, outcome: npt.ArrayLike) -> float:
    """Sum of squared differences over classes, averaged over forecasts (Brier 1950).

    With two classes it is twice :func:`brier_score`.

    Parameters
    ----------
    prob : array-like, shape (n, K)
        Forecast probabilities per class, rows that add up to 1; a row with NaN is left out.
    outcome : array-like, shape (n,)
        Class that happened, 0 to K - 1; NaN = unknown, left out.

    Returns
    -------
    float
        0 (perfect) to 2.

    Raises
    ------
    DataError
        Values outside their range, rows that do not add up to 1, or lengths that differ.
    EmptyDataError
        No complete row.

    Examples
    --------
    >>> round(multiclass_brier_score([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], [0, 2]), 3)
    0.2
    """
    p, o = _parse_classes(prob, outcome)
    happened = np.zeros_like(p)
    happened[np.arange(len(p)), o] = 1.0
    return float(((p - happened) ** 2).sum(axis=1).mean())


def multiclass_log_loss(prob: npt.ArrayLike, outcome: npt.ArrayLike) -> float:
    """Mean negative natural logarithm of the probability given to the class that happened.

    Parameters
    ----------
    prob : array-like, shape (n, K)
        Forecast probabilities per class, rows that add up to 1; a row with NaN is left out.
    outcome : array-like, shape (n,)
        Class that happened, 0 to K - 1; NaN = unknown, left out.

    Returns
    -------
    float
        Nats; infinity where a class happened that was given probability 0.

    Raises
    ------
    DataError
        Values outside their range, rows that do not add up to 1, or lengths that differ.
    EmptyDataError
        No complete row.

    Examples
    --------
    >>> round(multiclass_log_loss([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], [0, 2]), 4)
    0.4338
    """
    p, o = _parse_classes(prob, outcome)
    return _mean_surprise(p[np.arange(len(p)), o])


def reliability_table(
    prob: npt.ArrayLike,
    outcome: npt.ArrayLike,
    *,
    n_bins: int = 10,
    edges: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """Forecast against frequency per bin.

    Parameters
    ----------
    prob : array-like, shape (n,)
        Forecast probabilities in [0, 1]; NaN = no forecast, pair left out.
    outcome : array-like, shape (n,)
        1 or True where it happened, else 0; NaN = unknown, pair left out.
    n_bins : int
        Bins of equal width on [0, 1], where no edges are given.
    edges : array-like, shape (B + 1,), optional
        Edges of the bins, rising from 0 to 1.

    Returns
    -------
    DataFrame
        One row per bin: ``bin_low``, ``bin_high``, ``n_obs``, ``mean_prob``, ``frequency``; the
        last two are NaN in an empty bin.

    Raises
    ------
    DataError
        Values outside their range, or shapes that differ.
    EmptyDataError
        No complete pair.
    ConfigError
        Fewer than 1 bin, or edges that do not rise from 0 to 1.

    Examples
    --------
    >>> reliability_table([0.1, 0.2, 0.9], [0, 1, 1], n_bins=2)
       bin_low  bin_high  n_obs  mean_prob  frequency
    0      0.0       0.5      2       0.15        0.5
    1      0.5       1.0      1       0.90        1.0
    """
    p, o = parse_pairs(prob, outcome)
    limits = _edges(n_bins, edges)
    group, bins = _bin_of(p, limits), len(limits) - 1
    count = np.bincount(group, minlength=bins)
    filled = count > 0
    mean_prob, frequency = np.full(bins, np.nan), np.full(bins, np.nan)
    np.divide(np.bincount(group, weights=p, minlength=bins), count, out=mean_prob, where=filled)
    np.divide(np.bincount(group, weights=o, minlength=bins), count, out=frequency, where=filled)
    return pd.DataFrame(
        {
            "bin_low": limits[:-1],
            "bin_high": limits[1:],
            "n_obs": count.astype(np.int64),
            "mean_prob": mean_prob,
            "frequency": frequency,
        }
    )


def expected_calibration_error(
    prob: npt.ArrayLike,
    outcome: npt.ArrayLike,
    *,
    n_bins: int = 10,
    edges: npt.ArrayLike | None = None,
) -> float:
    """Gap between forecast and frequency, averaged over bins by their share of pairs.

    ``sum_b (n_b / n) |mean p_b - mean o_b|`` (Naeini, Cooper and Hauskrecht 2015). It is biased
    upwards in small samples: a calibrated forecast scores about ``0.4 sqrt(n_bins / n)``.

    Parameters
    ----------
    prob : array-like, shape (n,)
        Forecast probabilities in [0, 1]; NaN = no forecast, pair left out.
    outcome : array-like, shape (n,)
        1 or True where it happened, else 0; NaN = unknown, pair left out.
    n_bins : int
        Bins of equal width on [0, 1], where no edges are given.
    edges : array-like, shape (B + 1,), optional
        Edges of the bins, rising from 0 to 1.

    Returns
    -------
    float
        0 (calibrated) to 1.

    Raises
    ------
    DataError
        Values outside their range, or shapes that differ.
    EmptyDataError
        No complete pair.
    ConfigError
        Fewer than 1 bin, or edges that do not rise from 0 to 1.

    Examples
    --------
    >>> round(expected_calibration_error([0.1, 0.2, 0.9], [0, 1, 1], n_bins=2), 4)
    0.2667
    """
    table = reliability_table(prob, outcome, n_bins=n_bins, edges=edges)
    used = table[table["n_obs"] > 0]
    gap = (used["mean_prob"] - used["frequency"]).abs()
    return float((gap * used["n_obs"]).sum() / used["n_obs"].sum())


def brier_decomposition(
    prob: npt.ArrayLike,
    outcome: npt.ArrayLike,
    *,
    n_bins: int | None = None,
    edges: npt.ArrayLike | None = None,
) -> BrierParts:
    """Split the Brier score into calibration, information and luck of the draw.

    Parameters
    ----------
    prob : array-like, shape (n,)
        Forecast probabilities in [0, 1]; NaN = no forecast, pair left out.
    outcome : array-like, shape (n,)
        1 or True where it happened, else 0; NaN = unknown, pair left out.
    n_bins : int, optional
        Group by bins of equal width; without bins and edges by distinct forecast values.
    edges : array-like, shape (B + 1,), optional
        Group by bins with these edges, rising from 0 to 1.

    Returns
    -------
    BrierParts
        Terms that add up to the score exactly.

    Raises
    ------
    DataError
        Values outside their range, or shapes that differ.
    EmptyDataError
        No complete pair.
    ConfigError
        Fewer than 1 bin, or edges that do not rise from 0 to 1.

    Examples
    --------
    >>> parts = brier_decomposition([0.2, 0.2, 0.8, 0.8], [0, 1, 1, 1])
    >>> [round(x, 4) for x in (parts.brier, parts.reliability, parts.resolution)]
    [0.19, 0.065, 0.0625]
    """
    p, o = parse_pairs(prob, outcome)
    if n_bins is None and edges is None:
        group = np.unique(p, return_inverse=True)[1]
    else:
        group = _bin_of(p, _edges(n_bins or 0, edges))
    count = np.bincount(group)
    safe = np.maximum(count, 1)
    mean_p, mean_o = np.bincount(group, weights=p) / safe, np.bincount(group, weights=o) / safe
    spread_p, spread_o = p - mean_p[group], o - mean_o[group]
    base = float(o.mean())
    weight = count / len(p)
    brier = float(np.mean((p - o) ** 2))
    uncertainty = base * (1.0 - base)
    return BrierParts(
        brier=brier,
        reliability=float((weight * (mean_p - mean_o) ** 2).sum()),
        resolution=float((weight * (mean_o - base) ** 2).sum()),
        uncertainty=uncertainty,
        within_bin_variance=float(np.mean(spread_p**2)),
        within_bin_covariance=float(np.mean(spread_p * spread_o)),
        skill_score=1.0 - brier / uncertainty if uncertainty > 0.0 else float("nan"),
        n_obs=len(p),
    )


def parse_pairs(prob: npt.ArrayLike, outcome: npt.ArrayLike) -> tuple[FloatVector, FloatVector]:
    """Read complete pairs of a probability and a yes/no outcome.

    Parameters
    ----------
    prob : array-like, shape (n,)
        Forecast probabilities in [0, 1]; NaN = no forecast, pair left out.
    outcome : array-like, shape (n,)
        1 or True where it happened, else 0; NaN = unknown, pair left out.

    Returns
    -------
    tuple of ndarray of float64, shape (m,)
        Probabilities and outcomes.

    Raises
    ------
    DataError
        Values outside their range, or shapes that differ.
    EmptyDataError
        No complete pair.

    Examples
    --------
    >>> parse_pairs([0.2, float("nan")], [True, False])
    (array([0.2]), array([1.]))
    """
    p, o = parse_vector("prob", prob), parse_vector("outcome", outcome)
    check_same_shape("prob", p, "outcome", o)
    complete = ~(np.isnan(p) | np.isnan(o))
    p, o = p[complete], o[complete]
    _check_probabilities(p)
    if not np.isin(o, (0.0, 1.0)).all():
        raise DataError(
            "outcome",
            wanted="0 or 1",
            got=f"values from {o.min()} to {o.max()}",
            hint="Turn returns into outcomes first, for instance returns > 0.",
        )
    return p, o


def _parse_classes(
    prob: npt.ArrayLike, outcome: npt.ArrayLike
) -> tuple[FloatVector, npt.NDArray[np.int64]]:
    """Complete rows of class probabilities and the class that happened."""
    p, o = parse_matrix("prob", prob), parse_vector("outcome", outcome)
    check_same_shape("prob, first axis", p[:, :1].ravel(), "outcome", o)
    complete = ~(np.isnan(p).any(axis=1) | np.isnan(o))
    p, o = p[complete], o[complete]
    _check_probabilities(p)
    gap = float(np.abs(p.sum(axis=1) - 1.0).max())
    if gap > 1e-6:
        raise DataError(
            "prob",
            wanted="rows that add up to 1",
            got=f"a row that misses it by {gap:.3g}",
            hint="Divide each row by its sum, where that is what is meant.",
        )
    codes = o.astype(np.int64)
    if (codes != o).any() or codes.min() < 0 or codes.max() >= p.shape[1]:
        raise DataError(
            "outcome",
            wanted=f"a class number from 0 to {p.shape[1] - 1}",
            got=f"values from {o.min()} to {o.max()}",
            hint="Number the classes as the columns of prob.",
        )
    return p, codes


def _check_probabilities(p: FloatVector) -> None:
    if len(p) == 0:
        raise EmptyDataError(
            "prob, outcome",
            wanted="at least one complete pair",
            got=0,
            hint="Score a period whose outcomes are known.",
        )
    if p.min() < 0.0 or p.max() > 1.0:
        raise DataError(
            "prob",
            wanted="probabilities in [0, 1]",
            got=f"values from {p.min()} to {p.max()}",
            hint="Pass probabilities, not scores or percent.",
        )


def _mean_surprise(given: FloatVector) -> float:
    """Mean of -ln of the probabilities that were given to what happened."""
    if (given == 0.0).any():
        return float("inf")
    return float(-np.log(given).mean())


def _edges(n_bins: int, edges: npt.ArrayLike | None) -> FloatVector:
    """Edges of the bins on [0, 1]."""
    if edges is None:
        if n_bins < 1:
            raise ConfigError("n_bins", wanted="at least 1", got=n_bins, hint="Use 10.")
        equal: FloatVector = np.linspace(0.0, 1.0, n_bins + 1)
        return equal
    limits = parse_vector("edges", edges)
    if len(limits) < 2 or limits[0] != 0.0 or limits[-1] != 1.0 or not (np.diff(limits) > 0).all():
        raise ConfigError(
            "edges",
            wanted="numbers that rise from 0 to 1",
            got=limits.tolist(),
            hint="Every probability needs a bin.",
        )
    return limits


def _bin_of(p: FloatVector, edges: FloatVector) -> npt.NDArray[np.intp]:
    """Bin number of each probability; 1.0 belongs to the last bin."""
    return np.minimum(np.searchsorted(edges, p, side="right") - 1, len(edges) - 2)
