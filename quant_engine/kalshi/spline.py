"""Log-density spline: kernels that fit ``p = softmax(reference + V c)`` to quoted payoffs.

Contract: caller-owned arrays of one ladder and one lattice; nothing here knows about contracts. The
modes V are the eigenvectors of the squared third difference, so that the penalty is diagonal: a
mode of eigenvalue e has prior precision ``smoothness * e + ridge``.

One fit, in steps:

1. `pilot_location_scale` looks for the normal curve nearest to the quotes on a small grid.
2. `fit_models` goes through references (rows) and smoothness values, from stiff to soft, and
   starts each fit at the last one.
3. `fit_mode_weights` takes Gauss-Newton steps in the space of the quotes, halving a step that does
   not improve.
4. Each fit gets its Laplace evidence, and `add_posterior` turns those that count into standard
   deviations of the distribution function, the mean and the standard deviation.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from quant_engine.core.arrays import FloatMatrix, FloatVector

__all__ = [
    "fit_mode_weights",
    "fit_models",
    "pilot_location_scale",
    "softmax_into",
    "third_difference_modes",
]

MAX_STEPS = 25
"""Gauss-Newton steps per fit; warm-started fits need three to six."""

LEAST_GAIN = 1e-7
"""Relative fall of the objective at which a fit has converged."""

MAX_HALVINGS = 8

LEAST_WEIGHT = 1e-3
"""Evidence weight below which a model adds nothing visible to the posterior."""

N_LOCATIONS = 11
N_SCALES = 7
N_EXTRA = 2
"""Functionals after the distribution function: mean and standard deviation."""


def third_difference_modes(n: int) -> tuple[FloatVector, FloatMatrix]:
    """Eigenvalues and eigenvectors of ``D'D`` for the third difference D on n cells.

    Parameters
    ----------
    n : int
        Cells, at least 4.

    Returns
    -------
    tuple of ndarray of float64, shapes (n,) and (n, n)
        Rising eigenvalues, the first three 0 (quadratics), and eigenvectors in columns.

    Examples
    --------
    >>> third_difference_modes(6)[0].round(6)[:3].tolist()
    [0.0, 0.0, 0.0]
    """
    difference = np.diff(np.eye(n), n=3, axis=0)
    values, vectors = np.linalg.eigh(difference.T @ difference)
    values[:3] = 0.0
    return np.maximum(values, 0.0), np.ascontiguousarray(vectors)


@njit(cache=True, nogil=True, error_model="numpy")
def softmax_into(theta: FloatVector, p: FloatVector) -> None:
    """Write ``exp(theta) / sum exp(theta)``, shape (n,), into p, shape (n,).

    Parameters
    ----------
    theta : ndarray of float64, shape (n,)
        Log-density up to a constant.
    p : ndarray of float64, shape (n,)
        Output: probability per cell.
    """
    n = theta.shape[0]
    top = theta[0]
    for j in range(1, n):
        if theta[j] > top:
            top = theta[j]
    total = 0.0
    for j in range(n):
        p[j] = np.exp(theta[j] - top)
        total += p[j]
    for j in range(n):
        p[j] /= total


@njit(cache=True, nogil=True, error_model="numpy")
def pilot_location_scale(
    payoff: FloatMatrix, middle: FloatVector, weight: FloatVector, x: FloatVector
) -> tuple[float, float]:
    """Location and scale of the normal curve nearest to the quotes, on a grid.

    Parameters
    ----------
    payoff : ndarray of float64, shape (m, n)
        Payoff per leg and cell.
    middle, weight : ndarray of float64, shape (m,)
        Quoted probability and inverse variance per leg.
    x : ndarray of float64, shape (n,)
        Cell values, rising, any one unit.

    Returns
    -------
    tuple of float
        Location and scale, in the unit of x.
    """
    m, n = payoff.shape
    width = x[1] - x[0]
    span = x[n - 1] - x[0]
    theta, p = np.empty(n), np.empty(n)
    best = np.inf
    location, scale = x[n // 2], span / 6.0
    low, high = x[0], x[n - 1]
    narrow, wide = np.log(0.5 * width), np.log(0.5 * span)
    for _ in range(2):
        for a in range(N_LOCATIONS):
            centre = low + (high - low) * a / (N_LOCATIONS - 1)
            for b in range(N_SCALES):
                spread = np.exp(narrow + (wide - narrow) * b / (N_SCALES - 1))
                for j in range(n):
                    z = (x[j] - centre) / spread
                    theta[j] = -0.5 * z * z
                softmax_into(theta, p)
                total = 0.0
                for i in range(m):
                    fitted = 0.0
                    for j in range(n):
                        fitted += payoff[i, j] * p[j]
                    total += weight[i] * (middle[i] - fitted) ** 2
                if total < best:
                    best, location, scale = total, centre, spread
        step, ratio = (high - low) / (N_LOCATIONS - 1), (wide - narrow) / (N_SCALES - 1)
        low, high = location - step, location + step
        narrow, wide = np.log(scale) - ratio, np.log(scale) + ratio
    return location, scale


@njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(
    payoff: FloatMatrix,
    middle: FloatVector,
    root: FloatVector,
    theta: FloatVector,
    p: FloatVector,
    residual: FloatVector,
) -> float:
    # Residuals in standard deviations of the quotes; returns their sum of squares.
    softmax_into(theta, p)
    fitted = payoff @ p
    total = 0.0
    for i in range(middle.shape[0]):
        residual[i] = root[i] * (middle[i] - fitted[i])
        total += residual[i] * residual[i]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_lower(factor: FloatMatrix, right: FloatMatrix) -> None:
    # In place: factor^-1 right, for a lower triangular factor; row operations stay contiguous.
    m, k = right.shape
    for i in range(m):
        for j in range(i):
            share = factor[i, j]
            for col in range(k):
                right[i, col] -= share * right[j, col]
        for col in range(k):
            right[i, col] /= factor[i, i]


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_both(factor: FloatMatrix, right: FloatVector) -> None:
    # In place: (factor factor')^-1 right.
    m = right.shape[0]
    for i in range(m):
        for j in range(i):
            right[i] -= factor[i, j] * right[j]
        right[i] /= factor[i, i]
    for i in range(m - 1, -1, -1):
        for j in range(i + 1, m):
            right[i] -= factor[j, i] * right[j]
        right[i] /= factor[i, i]


@njit(cache=True, nogil=True, error_model="numpy")
def _sensitivity(
    payoff: FloatMatrix, root: FloatVector, modes: FloatMatrix, p: FloatVector
) -> FloatMatrix:
    # d(fitted)/dc in standard deviations: root * (payoff * p - fitted p') V.
    m, n = payoff.shape
    slope = np.empty((m, n))
    for i in range(m):
        fitted = 0.0
        for j in range(n):
            fitted += payoff[i, j] * p[j]
        for j in range(n):
            slope[i, j] = root[i] * (payoff[i, j] - fitted) * p[j]
    return slope @ modes


@njit(cache=True, nogil=True, error_model="numpy")
def fit_mode_weights(
    payoff: FloatMatrix,
    middle: FloatVector,
    root: FloatVector,
    modes: FloatMatrix,
    precision: FloatVector,
    reference: FloatVector,
    c: FloatVector,
) -> tuple[float, float, FloatMatrix, FloatMatrix, FloatVector]:
    """Penalised least squares of one model; c is start and result.

    Parameters
    ----------
    payoff : ndarray of float64, shape (m, n)
        Payoff per leg and cell.
    middle, root : ndarray of float64, shape (m,)
        Quoted probability and inverse standard deviation per leg.
    modes : ndarray of float64, shape (n, n)
        Directions of the log-density in columns.
    precision : ndarray of float64, shape (n,)
        Prior precision per mode, positive.
    reference : ndarray of float64, shape (n,)
        Log-density at c = 0.
    c : ndarray of float64, shape (n,)
        Mode weights: start, overwritten by the result.

    Returns
    -------
    tuple
        Objective ``|r|^2 + c' precision c``; ``log|I + B precision^-1 B'|``; B (m, n); the lower
        Cholesky factor of ``I + B precision^-1 B'`` (m, m); probabilities (n,).
    """
    m, n = payoff.shape
    p, residual = np.empty(n), np.empty(m)
    trial_p, trial_residual = np.empty(n), np.empty(m)
    objective = _evaluate(payoff, middle, root, reference + modes @ c, p, residual)
    for k in range(n):
        objective += precision[k] * c[k] * c[k]
    b = _sensitivity(payoff, root, modes, p)
    factor = np.linalg.cholesky(np.eye(m) + (b / precision) @ b.T)
    for _ in range(MAX_STEPS):
        pull = residual + b @ c
        _solve_both(factor, pull)
        direction = (b.T @ pull) / precision - c
        share, gain = 1.0, 0.0
        for _ in range(MAX_HALVINGS):
            trial = c + share * direction
            value = _evaluate(
                payoff, middle, root, reference + modes @ trial, trial_p, trial_residual
            )
            for k in range(n):
                value += precision[k] * trial[k] * trial[k]
            if value < objective:
                gain = objective - value
                objective = value
                c[:], p[:], residual[:] = trial, trial_p, trial_residual
                break
            share *= 0.5
        if gain > 0.0:
            b = _sensitivity(payoff, root, modes, p)
            factor = np.linalg.cholesky(np.eye(m) + (b / precision) @ b.T)
        if gain <= LEAST_GAIN * (objective + 1.0):
            break
    log_det = 0.0
    for i in range(m):
        log_det += 2.0 * np.log(factor[i, i])
    return objective, log_det, b, factor, p


@njit(cache=True, nogil=True, error_model="numpy")
def _functionals(p: FloatVector, x: FloatVector, modes: FloatMatrix) -> FloatMatrix:
    # d/dc of the distribution function at every cell, of the mean and of the standard deviation.
    n = p.shape[0]
    weighted = np.empty((n + N_EXTRA, n))
    mean = 0.0
    for j in range(n):
        mean += p[j] * x[j]
    variance = 0.0
    for j in range(n):
        variance += p[j] * (x[j] - mean) ** 2
    spread = np.sqrt(max(variance, 1e-300))
    total = np.zeros(n)
    for j in range(n):
        for k in range(n):
            total[k] += p[j] * modes[j, k]
    running, below = np.zeros(n), 0.0
    weighted[n:] = 0.0
    for j in range(n):
        below += p[j]
        to_mean = p[j] * (x[j] - mean)
        to_spread = p[j] * ((x[j] - mean) ** 2 - variance) / (2.0 * spread)
        for k in range(n):
            running[k] += p[j] * modes[j, k]
            weighted[j, k] = running[k] - below * total[k]
            weighted[n, k] += to_mean * modes[j, k]
            weighted[n + 1, k] += to_spread * modes[j, k]
    return weighted


@njit(cache=True, nogil=True, error_model="numpy")
def _posterior_variances(
    functionals: FloatMatrix, b: FloatMatrix, factor: FloatMatrix, precision: FloatVector
) -> FloatVector:
    # Diagonal of E (precision + B'B)^-1 E' by the matrix inversion lemma.
    scaled = functionals / precision
    explained = b @ scaled.T
    _solve_lower(factor, explained)
    count = functionals.shape[0]
    variances = np.empty(count)
    for row in range(count):
        total = 0.0
        for k in range(functionals.shape[1]):
            total += functionals[row, k] * scaled[row, k]
        for i in range(explained.shape[0]):
            total -= explained[i, row] ** 2
        variances[row] = max(total, 0.0)
    return variances


@njit(cache=True, nogil=True, error_model="numpy")
def fit_models(
    payoff: FloatMatrix,
    middle: FloatVector,
    weight: FloatVector,
    x: FloatVector,
    modes: FloatMatrix,
    precisions: FloatMatrix,
    references: FloatMatrix,
) -> tuple[FloatVector, FloatMatrix, FloatMatrix, FloatMatrix]:
    """Fit every reference with every smoothness and weigh the fits by their evidence.

    Parameters
    ----------
    payoff : ndarray of float64, shape (m, n)
        Payoff per leg and cell.
    middle, weight : ndarray of float64, shape (m,)
        Quoted probability and inverse variance per leg.
    x : ndarray of float64, shape (n,)
        Cell values, any one unit.
    modes : ndarray of float64, shape (n, n)
        Directions of the log-density in columns.
    precisions : ndarray of float64, shape (S, n)
        Prior precision per smoothness (stiff first) and mode.
    references : ndarray of float64, shape (R, n)
        Log-densities that the models start from.

    Returns
    -------
    tuple of ndarray of float64
        Evidence weights (R * S,), probabilities (R * S, n), functionals (R * S, n + 2), namely
        distribution function, mean and standard deviation, and their posterior variances, NaN for
        models whose weight is below :data:`LEAST_WEIGHT`.
    """
    m, n = payoff.shape
    n_smooth, n_models = precisions.shape[0], precisions.shape[0] * references.shape[0]
    root = np.sqrt(weight)
    evidence, pmf = np.empty(n_models), np.empty((n_models, n))
    b_all, factor_all = np.empty((n_models, m, n)), np.empty((n_models, m, m))
    for r in range(references.shape[0]):
        c = np.zeros(n)
        for s in range(n_smooth):
            model = r * n_smooth + s
            objective, log_det, b, factor, p = fit_mode_weights(
                payoff, middle, root, modes, precisions[s], references[r], c
            )
            evidence[model] = -0.5 * (objective + log_det)
            pmf[model], b_all[model], factor_all[model] = p, b, factor
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()
    values, variances = np.empty((n_models, n + N_EXTRA)), np.full((n_models, n + N_EXTRA), np.nan)
    for model in range(n_models):
        p = pmf[model]
        below, mean, square = 0.0, 0.0, 0.0
        for j in range(n):
            below += p[j]
            values[model, j] = min(below, 1.0)
            mean += p[j] * x[j]
        for j in range(n):
            square += p[j] * (x[j] - mean) ** 2
        values[model, n], values[model, n + 1] = mean, np.sqrt(square)
        if weights[model] >= LEAST_WEIGHT:
            variances[model] = _posterior_variances(
                _functionals(p, x, modes),
                b_all[model],
                factor_all[model],
                precisions[model % n_smooth],
            )
    return weights, pmf, values, variances
