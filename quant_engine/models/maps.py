"""ScoreMaps: from a unitless score to an expected return, a confidence and an interval.

Contract: a map is fitted only on predictions that were out of fold when they were made and whose
labels were over before the rows it is applied to; :mod:`.trainer` chooses those rows, this module
only fits and applies.

1. *Expected return.* Per session the slope of label on score; the mean slope is shrunk by
   ``max(0, 1 - 1 / t^2)`` with its Newey-West t (positive-part James-Stein for one mean), and set
   to zero where it is negative, so that the map never turns a better score into a worse forecast.
   The mean label is shrunk alike. The result is clipped at ``clip_sigmas`` label deviations.
2. *Confidence.* Probability that the label has the sign of the score, from an isotonic regression
   of ``label > 0`` on binned scores (pool adjacent violators).
3. *Interval.* Split conformal with residuals divided by the volatility known at the decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.hashing import finite_or_none
from quant_engine.models.config import MapConfig
from quant_engine.stats.conformal import SplitConformal, fit_split_conformal
from quant_engine.stats.inference import newey_west_mean
from quant_engine.stats.recalibration import pool_adjacent_violators

__all__ = ["ScoreMaps", "fit_maps", "shrunk_mean"]


@dataclass(frozen=True, eq=False)
class ScoreMaps:
    """Three fitted maps and what they were fitted on.

    Parameters
    ----------
    intercept_frac : float
        Expected label at score 0, fraction.
    slope_frac : float
        Expected label per unit of score, fraction, never negative.
    clip_frac : float
        Expected returns stay within plus and minus this, fraction.
    knot_score, knot_prob_up : ndarray of float64, shape (K,)
        Score bin centres and the probability of a positive label there, both non-decreasing;
        linear in between, constant outside.
    interval : SplitConformal
        Half width in units of volatility.
    n_sessions, n_rows : int
        Out-of-fold sessions and rows they were fitted on.
    """

    intercept_frac: float
    slope_frac: float
    clip_frac: float
    knot_score: FloatVector
    knot_prob_up: FloatVector
    interval: SplitConformal
    n_sessions: int
    n_rows: int

    def expected_return(self, score: FloatMatrix) -> npt.NDArray[np.float64]:
        """Expected label.

        Parameters
        ----------
        score : ndarray, any shape
            Scores in [-1, 1]; NaN stays NaN.

        Returns
        -------
        ndarray of float64, same shape
            Fraction over the label's horizon.
        """
        linear = self.intercept_frac + self.slope_frac * np.asarray(score, dtype=np.float64)
        return np.clip(linear, -self.clip_frac, self.clip_frac)

    def confidence(self, score: FloatMatrix) -> npt.NDArray[np.float64]:
        """Probability that the label has the sign of the score (score 0 counts as positive).

        Parameters
        ----------
        score : ndarray, any shape
            Scores in [-1, 1]; NaN stays NaN.

        Returns
        -------
        ndarray of float64, same shape
            Probability; below .5 where the base rate works against the score.
        """
        prob_up = np.interp(score, self.knot_score, self.knot_prob_up)
        honest = np.where(np.asarray(score) >= 0.0, prob_up, 1.0 - prob_up)
        return np.where(np.isnan(score), np.nan, honest)

    def bounds(
        self, expected: FloatMatrix, volatility: FloatMatrix
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Interval that holds the label with the wanted coverage.

        Parameters
        ----------
        expected : ndarray, any shape
            Expected labels, fraction; NaN gives NaN bounds.
        volatility : ndarray, same shape
            Volatility known at the decision; NaN or 0 = unknown, NaN bounds.

        Returns
        -------
        tuple of ndarray of float64, same shape
            Lower and upper bound, fraction.
        """
        shape = np.shape(expected)
        low, high = self.interval.interval(
            np.ravel(expected), scale=known_volatility(np.ravel(volatility))
        )
        return low.reshape(shape), high.reshape(shape)

    def to_json(self) -> dict[str, Any]:
        """Plain values; floats keep every bit in JSON, an infinite interval is null."""
        return {
            "intercept_frac": self.intercept_frac,
            "slope_frac": self.slope_frac,
            "clip_frac": self.clip_frac,
            "knot_score": self.knot_score.tolist(),
            "knot_prob_up": self.knot_prob_up.tolist(),
            "interval_quantile": finite_or_none(self.interval.quantile),
            "coverage": self.interval.coverage,
            "n_calibration": self.interval.n_calibration,
            "n_sessions": self.n_sessions,
            "n_rows": self.n_rows,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ScoreMaps:
        """Rebuild from :meth:`to_json`."""
        quantile = content["interval_quantile"]
        return cls(
            intercept_frac=content["intercept_frac"],
            slope_frac=content["slope_frac"],
            clip_frac=content["clip_frac"],
            knot_score=np.asarray(content["knot_score"], dtype=np.float64),
            knot_prob_up=np.asarray(content["knot_prob_up"], dtype=np.float64),
            interval=SplitConformal(
                quantile=float("inf") if quantile is None else quantile,
                coverage=content["coverage"],
                n_calibration=content["n_calibration"],
                is_scaled=True,
            ),
            n_sessions=content["n_sessions"],
            n_rows=content["n_rows"],
        )


def fit_maps(
    score: FloatMatrix,
    label: FloatMatrix,
    volatility: FloatMatrix,
    *,
    config: MapConfig,
    lags: int,
) -> ScoreMaps | None:
    """Fit the three maps on out-of-fold rows.

    Parameters
    ----------
    score : ndarray, shape (S, N)
        Out-of-fold scores in [-1, 1] in session order; NaN = not predicted.
    label : ndarray, shape (S, N)
        Realised labels, fraction; NaN = unknown.
    volatility : ndarray, shape (S, N)
        Volatility known at each decision; NaN or 0 = unknown.
    config : MapConfig
        Coverage, bins, smallest sample.
    lags : int
        Newey-West lags of the session means: the label horizon, because labels overlap.

    Returns
    -------
    ScoreMaps or None
        None where fewer than ``min_sessions`` sessions, or no volatility at all, are known.
    """
    known = ~(np.isnan(score) | np.isnan(label))
    sessions = np.flatnonzero(known.sum(axis=1) >= 2)
    scaled = known & ~np.isnan(known_volatility(volatility))
    if len(sessions) < config.min_sessions or not scaled.any():
        return None
    slope, level = _session_slopes(score[sessions], label[sessions], known[sessions])
    lags = min(lags, len(sessions) - 1)
    used = label[known].astype(np.float64)
    varies = int((~np.isnan(slope)).sum()) > 1
    intercept = shrunk_mean(level, lags=lags)
    slope_frac = max(0.0, shrunk_mean(slope, lags=lags)) if varies else 0.0
    clip = config.clip_sigmas * float(used.std())
    expected = np.clip(intercept + slope_frac * score[scaled], -clip, clip)
    knots, prob_up = _sign_curve(score[known].astype(np.float64), used, config.n_bins)
    return ScoreMaps(
        intercept_frac=intercept,
        slope_frac=slope_frac,
        clip_frac=clip,
        knot_score=knots,
        knot_prob_up=prob_up,
        interval=fit_split_conformal(
            label[scaled] - expected, coverage=config.coverage, scale=volatility[scaled]
        ),
        n_sessions=len(sessions),
        n_rows=int(known.sum()),
    )


def shrunk_mean(x: FloatVector, *, lags: int) -> float:
    """Mean of a series, shrunk towards zero by how little is known about it.

    ``mean * max(0, 1 - 1 / t^2)`` with the Newey-West t of the mean: the positive-part
    James-Stein factor for one mean with estimated variance.

    Parameters
    ----------
    x : ndarray, shape (S,)
        Observations in time order, any unit; NaN = not observed.
    lags : int
        Newey-West lags.

    Returns
    -------
    float
        In the unit of x; 0 where ``|t| <= 1``, the mean itself where x does not vary.

    Examples
    --------
    >>> shrunk_mean(np.array([2.0, 2.0, 2.0]), lags=0), shrunk_mean(np.array([-1.0, 1.0]), lags=0)
    (2.0, 0.0)
    """
    test = newey_west_mean(x, lags=lags)
    if not np.isfinite(test.t):
        return test.mean
    if abs(test.t) <= 1.0:
        return 0.0
    return test.mean * (1.0 - 1.0 / test.t**2)


def known_volatility(volatility: FloatMatrix) -> npt.NDArray[np.float64]:
    """Volatility with every value that cannot scale an interval as NaN.

    Parameters
    ----------
    volatility : ndarray, any shape
        Fraction; NaN, zero and negative values are unknown.

    Returns
    -------
    ndarray of float64, same shape
        Positive or NaN.

    Examples
    --------
    >>> known_volatility(np.array([0.02, 0.0]))
    array([0.02,  nan])
    """
    values = np.asarray(volatility, dtype=np.float64)
    return np.where(values > 0.0, values, np.nan)


def _session_slopes(
    score: FloatMatrix, label: FloatMatrix, known: npt.NDArray[np.bool_]
) -> tuple[FloatVector, FloatVector]:
    """Per-session regression slope and mean label; slope is NaN where scores do not vary."""
    count = known.sum(axis=1)
    s, y = np.where(known, score, 0.0), np.where(known, label, 0.0)
    s_mean, y_mean = s.sum(axis=1) / count, y.sum(axis=1) / count
    s_dev = np.where(known, s - s_mean[:, None], 0.0)
    variation = (s_dev**2).sum(axis=1)
    slope = np.divide(
        (s_dev * y).sum(axis=1), variation, out=np.full(len(s), np.nan), where=variation > 0.0
    )
    return slope, y_mean


def _sign_curve(
    score: FloatVector, label: FloatVector, n_bins: int
) -> tuple[FloatVector, FloatVector]:
    """Isotonic probability of a positive label at the centres of equal-width score bins."""
    edges = np.linspace(-1.0, 1.0, n_bins + 1)
    group = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, n_bins - 1)
    count = np.bincount(group, minlength=n_bins)
    positive = np.bincount(group, weights=label > 0.0, minlength=n_bins)
    filled = count > 0
    prob_up = pool_adjacent_violators(positive[filled] / count[filled], weights=count[filled])
    centres = 0.5 * (edges[:-1] + edges[1:])
    return centres[filled], prob_up
