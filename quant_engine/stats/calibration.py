"""Is a probability what it says: Brier score, its parts, expected calibration error, bins.

Contract: forecasts are probabilities of a yes/no outcome. Bins have equal width on [0, 1], each
contains its lower edge, and the last one also its upper edge. A pair with NaN on either side is
left out and the number of pairs used is part of every result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, DataError, EmptyDataError
from quant_engine.stats.checks import check_same_shape, parse_vector

__all__ = [
    "BrierParts",
    "brier_decomposition",
    "brier_score",
    "expected_calibration_error",
    "log_loss",
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
    p, o = _parse_pairs(prob, outcome)
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
    p, o = _parse_pairs(prob, outcome)
    given = np.where(o == 1.0, p, 1.0 - p)
    if (given == 0.0).any():
        return float("inf")
    return float(-np.log(given).mean())


def reliability_table(
    prob: npt.ArrayLike, outcome: npt.ArrayLike, *, n_bins: int = 10
) -> pd.DataFrame:
    """Forecast against frequency per bin of equal width.

    Parameters
    ----------
    prob : array-like, shape (n,)
        Forecast probabilities in [0, 1]; NaN = no forecast, pair left out.
    outcome : array-like, shape (n,)
        1 or True where it happened, else 0; NaN = unknown, pair left out.
    n_bins : int
        Bins on [0, 1].

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
        Fewer than 1 bin.

    Examples
    --------
    >>> reliability_table([0.1, 0.2, 0.9], [0, 1, 1], n_bins=2)
       bin_low  bin_high  n_obs  mean_prob  frequency
    0      0.0       0.5      2       0.15        0.5
    1      0.5       1.0      1       0.90        1.0
    """
    p, o = _parse_pairs(prob, outcome)
    edges = _edges(n_bins)
    group = _bin_of(p, edges)
    count = np.bincount(group, minlength=n_bins)
    filled = count > 0
    mean_prob, frequency = np.full(n_bins, np.nan), np.full(n_bins, np.nan)
    np.divide(np.bincount(group, weights=p, minlength=n_bins), count, out=mean_prob, where=filled)
    np.divide(np.bincount(group, weights=o, minlength=n_bins), count, out=frequency, where=filled)
    return pd.DataFrame(
        {
            "bin_low": edges[:-1],
            "bin_high": edges[1:],
            "n_obs": count.astype(np.int64),
            "mean_prob": mean_prob,
            "frequency": frequency,
        }
    )


def expected_calibration_error(
    prob: npt.ArrayLike, outcome: npt.ArrayLike, *, n_bins: int = 10
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
        Bins of equal width on [0, 1].

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
        Fewer than 1 bin.

    Examples
    --------
    >>> round(expected_calibration_error([0.1, 0.2, 0.9], [0, 1, 1], n_bins=2), 4)
    0.2667
    """
    table = reliability_table(prob, outcome, n_bins=n_bins)
    used = table[table["n_obs"] > 0]
    gap = (used["mean_prob"] - used["frequency"]).abs()
    return float((gap * used["n_obs"]).sum() / used["n_obs"].sum())


def brier_decomposition(
    prob: npt.ArrayLike, outcome: npt.ArrayLike, *, n_bins: int | None = None
) -> BrierParts:
    """Split the Brier score into calibration, information and luck of the draw.

    Parameters
    ----------
    prob : array-like, shape (n,)
        Forecast probabilities in [0, 1]; NaN = no forecast, pair left out.
    outcome : array-like, shape (n,)
        1 or True where it happened, else 0; NaN = unknown, pair left out.
    n_bins : int, optional
        Group by bins of equal width; without it by distinct forecast values.

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
        Fewer than 1 bin.

    Examples
    --------
    >>> parts = brier_decomposition([0.2, 0.2, 0.8, 0.8], [0, 1, 1, 1])
    >>> [round(x, 4) for x in (parts.brier, parts.reliability, parts.resolution)]
    [0.19, 0.065, 0.0625]
    """
    p, o = _parse_pairs(prob, outcome)
    group = np.unique(p, return_inverse=True)[1] if n_bins is None else _bin_of(p, _edges(n_bins))
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


def _parse_pairs(prob: npt.ArrayLike, outcome: npt.ArrayLike) -> tuple[FloatVector, FloatVector]:
    """Complete pairs of a probability and a 0/1 outcome."""
    p, o = parse_vector("prob", prob), parse_vector("outcome", outcome)
    check_same_shape("prob", p, "outcome", o)
    complete = ~(np.isnan(p) | np.isnan(o))
    p, o = p[complete], o[complete]
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
    if not np.isin(o, (0.0, 1.0)).all():
        raise DataError(
            "outcome",
            wanted="0 or 1",
            got=f"values from {o.min()} to {o.max()}",
            hint="Turn returns into outcomes first, for instance returns > 0.",
        )
    return p, o


def _edges(n_bins: int) -> FloatVector:
    """Edges of equal-width bins on [0, 1]."""
    if n_bins < 1:
        raise ConfigError("n_bins", wanted="at least 1", got=n_bins, hint="Use 10.")
    edges: FloatVector = np.linspace(0.0, 1.0, n_bins + 1)
    return edges


def _bin_of(p: FloatVector, edges: FloatVector) -> npt.NDArray[np.intp]:
    """Bin number of each probability; 1.0 belongs to the last bin."""
    return np.minimum(np.searchsorted(edges, p, side="right") - 1, len(edges) - 2)
