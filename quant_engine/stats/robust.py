"""Robust regression: least squares that a few wild observations cannot bend.

Contract: Huber's M-estimate with the scale re-estimated in every step, and Huber's own asymptotic
covariance with its small-sample factor. Observations are independent; for serial or clustered
errors see `hac` and `clustered`.

Source: Huber and Ronchetti (2009), Robust Statistics, chapter 7.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.checks import parse_matrix, parse_vector

__all__ = ["RobustFit", "huber_regression"]

MAX_STEPS = 200
TOLERANCE = 1e-10
EXACT = 1e-13
"""A scale below this part of the largest outcome is rounding."""


@dataclass(frozen=True)
class RobustFit:
    """Coefficients of a robust regression.

    Parameters
    ----------
    coefficients, std_errors : ndarray of float64, shape (p,)
        One per column of the regressors, in the unit of y per unit of the column.
    scale : float
        Robust standard deviation of the residuals, in the unit of y.
    n : int
        Observations.
    n_outliers : int
        Observations that were given less than full weight.
    """

    coefficients: FloatVector
    std_errors: FloatVector
    scale: float
    n: int
    n_outliers: int


def huber_regression(y: FloatVector, x: FloatMatrix, *, tuning: float = 1.345) -> RobustFit:
    """Fit a linear model by Huber's M-estimate.

    Minimises ``sum rho((y - x b) / s)`` with rho quadratic up to `tuning` and linear beyond, by
    reweighted least squares; ``s = median(|residual|) / 0.6745`` in every step.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Outcome; NaN is refused.
    x : ndarray, shape (n, p)
        Regressors; a constant is a column of ones. NaN is refused.
    tuning : float
        Residuals beyond so many scales lose weight; 1.345 keeps 95 % of the efficiency of least
        squares under normal errors.

    Returns
    -------
    RobustFit
        Coefficients with standard errors.

    Raises
    ------
    DataError
        NaN, shapes that differ, columns that depend on each other, residuals without a scale
        (more than half of them zero), or no convergence.
    InsufficientHistoryError
        Not more observations than coefficients.
    ConfigError
        Tuning that is not above 0.

    Examples
    --------
    >>> y = np.array([0.0, 1.1, 1.9, 3.0, 4.1, 5.0, 6.1, 6.9, 50.0])
    >>> x = np.column_stack([np.ones(9), np.arange(9.0)])
    >>> huber_regression(y, x).coefficients.round(2)
    array([-0.02,  1.01])
    """
    outcome, columns = _parsed(y, x)
    if not tuning > 0.0:
        raise ConfigError("tuning", wanted="above 0", got=tuning, hint="Use 1.345.")
    level = float(np.max(np.abs(outcome)))
    coefficients = np.linalg.lstsq(columns, outcome, rcond=None)[0]
    for _ in range(MAX_STEPS):
        residuals = outcome - columns @ coefficients
        scale = _scale(residuals, level)
        weights = np.minimum(1.0, tuning * scale / np.maximum(np.abs(residuals), 1e-300))
        root = np.sqrt(weights)
        after = np.linalg.lstsq(columns * root[:, None], outcome * root, rcond=None)[0]
        moved = float(np.max(np.abs(columns @ (after - coefficients))))
        coefficients = after
        if moved <= TOLERANCE * scale:
            break
    else:
        raise DataError(
            "y and x",
            wanted=f"convergence within {MAX_STEPS} steps",
            got=f"a last step of {moved:g}",
            hint="Look for a column of very different scale.",
        )
    residuals = outcome - columns @ coefficients
    scale = _scale(residuals, level)
    errors = _std_errors(residuals / scale, columns, scale, tuning)
    outside = int(np.sum(np.abs(residuals) > tuning * scale))
    found = np.asarray(coefficients, dtype=np.float64)
    return RobustFit(found, errors, scale, outcome.size, outside)


def _parsed(y: FloatVector, x: FloatMatrix) -> tuple[FloatVector, FloatMatrix]:
    outcome, columns = parse_vector("y", y), parse_matrix("x", x)
    if len(outcome) != len(columns) or np.isnan(outcome).any() or np.isnan(columns).any():
        raise DataError(
            "y and x",
            wanted="as many rows in both, without NaN",
            got=f"shapes {outcome.shape} and {columns.shape}",
            hint="Drop incomplete observations first and say how many.",
        )
    n_columns = columns.shape[1]
    if outcome.size <= n_columns:
        raise InsufficientHistoryError(
            "y", wanted=f"more than {n_columns} observations", got=outcome.size, hint="Wait."
        )
    if np.linalg.matrix_rank(columns) < n_columns:
        raise DataError(
            "x",
            wanted="columns that do not depend on each other",
            got=f"rank {np.linalg.matrix_rank(columns)} of {n_columns}",
            hint="A regressor that does not vary cannot be told from the constant.",
        )
    return outcome, columns


def _scale(residuals: FloatVector, level: float) -> float:
    scale = float(np.median(np.abs(residuals)) / ndtri(0.75))
    if not scale > EXACT * level:
        raise DataError(
            "y",
            wanted="residuals that vary",
            got="more than half of them zero",
            hint="The outcome is an exact function of the regressors; no error can be estimated.",
        )
    return scale


def _std_errors(
    standardised: FloatVector, columns: FloatMatrix, scale: float, tuning: float
) -> FloatVector:
    """Huber's asymptotic covariance: K^2 E[psi^2] / E[psi']^2 s^2 (X'X)^-1."""
    n, p = columns.shape
    psi = np.clip(standardised, -tuning, tuning)
    inside = (np.abs(standardised) <= tuning).astype(np.float64)
    slope = float(inside.mean())
    factor = 1.0 + p / n * float(inside.var()) / slope**2
    spread = float(np.sum(psi**2)) / (n - p) * scale**2 / slope**2
    covariance = factor**2 * spread * np.linalg.inv(columns.T @ columns)
    return np.asarray(np.sqrt(np.diag(covariance)), dtype=np.float64)
