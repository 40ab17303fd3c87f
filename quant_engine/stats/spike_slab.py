"""Sparse effects: empirical Bayes with a spike at zero and a mixture of normals beside it.

Contract: each estimate is ``y ~ N(theta, s^2)`` with known s, and the prior of theta is learned
from all of them: a share pi0 of exact zeros and zero-centred normals of many widths (adaptive
shrinkage, Stephens 2017). Where nothing is true nearly everything shrinks to 0; where something
large is true it stays. Results are effect sizes, sign and null probabilities for expectancy,
ranking and sizing. **No p-value comes from here**: p-values are made of un-shrunk, clustered
statistics. NaN = not estimated: left out of the fit, NaN in the result.

1. ``_grid`` lays out the widths, ``_log_likelihoods`` evaluates every group under every pair.
2. ``_fit_weights`` maximises the penalised likelihood of the mixture weights, a convex problem, by
   sequential quadratic programming (Kim, Carbonetto, Stephens and Anitescu 2020) with a bound on
   the distance to the maximum.
3. ``_posteriors`` averages the conjugate posteriors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import erfc, log, pi, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.errors import ConfigError, InsufficientHistoryError
from quant_engine.stats.checks import parse_labels
from quant_engine.stats.shrinkage import parse_effects

__all__ = ["GroupedSpikeSlab", "SpikeSlab", "grouped_spike_and_slab", "spike_and_slab"]

_TOLERANCE = 1e-4
_EM_STEPS = 20
_MAX_STEPS = 300


@dataclass(frozen=True, eq=False)
class SpikeSlab:
    """Shrunk effects and the prior that shrank them.

    Parameters
    ----------
    pi0 : float
        Share of exact zeros in the prior.
    prior_sd : ndarray of float64, shape (K, 2)
        Standard deviations of each prior component: of what a group shares, and of what each
        effect has of its own (0 in an ungrouped fit), in the unit of the effects.
    prior_weights : ndarray of float64, shape (K,)
        Their weights, adding up to 1; the first is pi0.
    mean, sd : ndarray of float64, shape (n,)
        Posterior mean and standard deviation, in the unit of the effects.
    lfsr : ndarray of float64, shape (n,)
        Local false sign rate, ``min(P(theta >= 0), P(theta <= 0))``.
    lfdr : ndarray of float64, shape (n,)
        Posterior probability that the effect is exactly 0.
    log_likelihood : float
        Of the effects at the fitted weights, without the penalty.
    gap : float
        Bound on how much the penalised log-likelihood could still rise.
    null_penalty : float
        Dirichlet weight of the spike.
    n : int
        Effects used.

    Examples
    --------
    >>> fit = spike_and_slab([0.5, -0.3, 8.0, 0.1], [1.0, 1.0, 1.0, 1.0])
    >>> fit.mean[2] > 5.0 > fit.mean[0]
    np.True_
    """

    pi0: float
    prior_sd: FloatMatrix
    prior_weights: FloatVector
    mean: FloatVector
    sd: FloatVector
    lfsr: FloatVector
    lfdr: FloatVector
    log_likelihood: float
    gap: float
    null_penalty: float
    n: int


@dataclass(frozen=True, eq=False)
class GroupedSpikeSlab:
    """Shrunk effects of a grouped fit, and what each group shares.

    Parameters
    ----------
    effects : SpikeSlab
        One entry per effect.
    groups : tuple, length G
        Labels of groups with an effect, in the order of their first appearance.
    mean, sd : ndarray of float64, shape (G,)
        Posterior mean and standard deviation of what the group shares.
    lfsr : ndarray of float64, shape (G,)
        Local false sign rate of that.

    Examples
    --------
    >>> fit = grouped_spike_and_slab([6.0, 5.0, 0.3, -0.2], [1.0] * 4, ["a", "a", "b", "b"])
    >>> fit.mean.round(1)
    array([5.4, 0. ])
    """

    effects: SpikeSlab
    groups: tuple[Any, ...]
    mean: FloatVector
    sd: FloatVector
    lfsr: FloatVector


def spike_and_slab(
    effects: npt.ArrayLike,
    std_errors: npt.ArrayLike,
    *,
    null_penalty: float = 10.0,
    grid_ratio: float = sqrt(2.0),
) -> SpikeSlab:
    """Shrink many effects of which most may be nothing.

    Prior ``theta ~ pi0 [0] + sum_k pi_k N(0, sigma_k^2)`` with a fixed grid of sigma from a tenth
    of the smallest standard error to twice the largest excess ``sqrt(y^2 - s^2)``, and weights that
    maximise ``sum log sum_k pi_k N(y; 0, sigma_k^2 + s^2) + (null_penalty - 1) log pi0``.

    Parameters
    ----------
    effects : array-like, shape (n,)
        Estimates, any one unit such as bps; NaN = none.
    std_errors : array-like, shape (n,)
        Their standard errors (clustered), positive, in the same unit; NaN = unknown.
    null_penalty : float
        At least 1. 10 as in the paper's software, so that doubt goes to the spike; 1 is the plain
        maximum likelihood.
    grid_ratio : float
        Ratio of neighbouring sigma, above 1.

    Returns
    -------
    SpikeSlab

    Raises
    ------
    ConfigError
        Penalty below 1 or ratio not above 1.
    DataError
        Shapes that differ, or standard errors that are not positive.
    InsufficientHistoryError
        Fewer than 2 effects.

    Notes
    -----
    Estimates are taken as independent given the effects. Common noise, as of correlated assets,
    looks like a common effect, and is not told from it here.

    Examples
    --------
    >>> y = [0.2, -1.1, 0.7, 6.0, -0.4, 0.9, -0.6, 7.0, 0.1, -0.8]
    >>> fit = spike_and_slab(y, [1.0] * 10, null_penalty=1.0)
    >>> fit.mean.round(1) + 0.0, round(fit.pi0, 1)
    (array([ 0. , -0.1,  0. ,  5.9,  0. ,  0.1,  0. ,  6.8,  0. , -0.1]), 0.8)
    """
    values, scale, used = _parse(effects, std_errors, null_penalty, grid_ratio)
    y, s = values[used], scale[used]
    stops = np.arange(1, len(y) + 1, dtype=np.int64)
    pairs = _pairs(_grid(y, s, grid_ratio), np.zeros(1))
    fit, _ = _fit(_Sample(y, s, stops), pairs, null_penalty)
    return _spread(fit, used)


def grouped_spike_and_slab(
    effects: npt.ArrayLike,
    std_errors: npt.ArrayLike,
    group: npt.ArrayLike,
    *,
    null_penalty: float = 10.0,
    grid_ratio: float = sqrt(2.0),
) -> GroupedSpikeSlab:
    """Shrink effects that come in groups, such as one event on several symbols.

    Prior ``theta_c = mu_g + delta_c`` with ``(mu_g, delta_c) ~ sum_kl pi_kl N(0, sigma_k^2) N(0,
    omega_l^2)``: one component per group says how large its common part and its own parts are, and
    the component (0, 0) is the spike (a mixture over covariance matrices, Urbut et al. 2019). An
    effect that all members share is recognised at ``s / sqrt(members)``; one that a single member
    has is found through omega.

    Parameters
    ----------
    effects : array-like, shape (n,)
        Estimates, any one unit such as bps; NaN = none.
    std_errors : array-like, shape (n,)
        Their standard errors (clustered), positive, in the same unit; NaN = unknown.
    group : array-like, shape (n,)
        Label of each effect, one per effect.
    null_penalty : float
        At least 1, with the meaning of :func:`spike_and_slab`, counted in groups.
    grid_ratio : float
        Ratio of neighbouring sigma, above 1; omega takes its square.

    Returns
    -------
    GroupedSpikeSlab
        ``effects.pi0`` and ``effects.lfdr`` are about whole groups: an effect is exactly 0 where
        its group is.

    Raises
    ------
    ConfigError
        Penalty below 1 or ratio not above 1.
    DataError
        Shapes that differ, standard errors that are not positive, or a missing label.
    InsufficientHistoryError
        Fewer than 2 effects.

    Examples
    --------
    >>> y = [5.1, 4.2, 6.0, 0.3, -0.9, 0.6, 0.2, 0.8, -0.5]
    >>> fit = grouped_spike_and_slab(y, [1.0] * 9, list("aaabbbccc"), null_penalty=1.0)
    >>> fit.effects.mean.round(1) + 0.0
    array([5., 5., 5., 0., 0., 0., 0., 0., 0.])
    """
    values, scale, used = _parse(effects, std_errors, null_penalty, grid_ratio)
    all_codes, labels = parse_labels("group", group, length=len(values))
    kept, codes = np.unique(all_codes[used], return_inverse=True)
    order = np.argsort(codes, kind="stable")
    y, s = values[used][order], scale[used][order]
    sample = _Sample(y, s, np.cumsum(np.bincount(codes)))
    total = np.add.reduceat(s**-2.0, np.append(0, sample.stops[:-1]))
    pooled = np.add.reduceat(y * s**-2.0, np.append(0, sample.stops[:-1])) / total
    common = _grid(np.append(pooled, y), np.append(total**-0.5, s), grid_ratio)
    pairs = _pairs(common, _grid(y, s, grid_ratio**2))
    fit, shared = _fit(sample, pairs, null_penalty)
    places = np.flatnonzero(used)[order]
    return GroupedSpikeSlab(
        effects=_spread(fit, used, places),
        groups=tuple(labels[k] for k in kept),
        mean=shared[0],
        sd=shared[1],
        lfsr=shared[2],
    )


@dataclass(frozen=True, eq=False)
class _Sample:
    """Known effects sorted by group; ``stops[g]`` is the end of group g."""

    y: FloatVector
    s: FloatVector
    stops: npt.NDArray[np.int64]


def _parse(
    effects: npt.ArrayLike, std_errors: npt.ArrayLike, null_penalty: float, grid_ratio: float
) -> tuple[FloatVector, FloatVector, npt.NDArray[np.bool_]]:
    if not null_penalty >= 1.0:
        raise ConfigError(
            "null_penalty",
            wanted="at least 1",
            got=null_penalty,
            hint="1 is no penalty; 10 gives the benefit of the doubt to the spike.",
        )
    if not grid_ratio > 1.0:
        raise ConfigError(
            "grid_ratio", wanted="above 1", got=grid_ratio, hint="Use the square root of 2."
        )
    values, scale, used = parse_effects(effects, std_errors, name="std_errors")
    if used.sum() < 2:
        raise InsufficientHistoryError(
            "effects",
            wanted="at least 2 with a standard error",
            got=int(used.sum()),
            hint="A prior is learned from many effects; report a single one as it is.",
        )
    return values, scale, used


def _grid(y: FloatVector, s: FloatVector, ratio: float) -> FloatVector:
    """0 and a geometric grid of standard deviations."""
    low = float(s.min()) / 10.0
    excess = float((y**2 - s**2).max())
    high = max(2.0 * sqrt(excess) if excess > 0.0 else 0.0, 8.0 * low)
    count = int(np.ceil(log(high / low) / log(ratio))) + 1
    return np.append(0.0, low * ratio ** np.arange(count))


def _pairs(common: FloatVector, own: FloatVector) -> FloatMatrix:
    """Every pair of a common and an own standard deviation, the spike (0, 0) first."""
    left, right = np.meshgrid(common, own, indexing="ij")
    return np.column_stack([left.ravel(), right.ravel()])


def _fit(
    sample: _Sample, pairs: FloatMatrix, null_penalty: float
) -> tuple[SpikeSlab, tuple[FloatVector, FloatVector, FloatVector]]:
    """Weights and posteriors of the sorted sample."""
    n, n_groups = len(sample.y), len(sample.stops)
    log_lik = np.empty((n_groups, len(pairs)))
    _log_likelihoods(sample.y, sample.s, sample.stops, pairs, log_lik)
    peak = log_lik.max(axis=1, keepdims=True)
    lik = np.exp(log_lik - peak)
    weights, gap = _fit_weights(lik, null_penalty)
    density = lik @ weights
    own, shared = np.empty((4, n)), np.empty((3, n_groups))
    responsibility = lik * weights / density[:, None]
    _posteriors(sample.y, sample.s, sample.stops, pairs, responsibility, own, shared)
    fit = SpikeSlab(
        pi0=float(weights[0]),
        prior_sd=pairs,
        prior_weights=weights,
        mean=own[0],
        sd=own[1],
        lfsr=own[2],
        lfdr=own[3],
        log_likelihood=float((np.log(density) + peak[:, 0]).sum()),
        gap=gap,
        null_penalty=null_penalty,
        n=n,
    )
    return fit, (shared[0], shared[1], shared[2])


def _spread(
    fit: SpikeSlab, used: npt.NDArray[np.bool_], places: npt.NDArray[np.intp] | None = None
) -> SpikeSlab:
    """The fit with one entry per effect of the caller, NaN where none was known."""
    where = np.flatnonzero(used) if places is None else places

    def back(known: FloatVector) -> FloatVector:
        out = np.full(len(used), np.nan)
        out[where] = known
        return out

    return replace(
        fit, mean=back(fit.mean), sd=back(fit.sd), lfsr=back(fit.lfsr), lfdr=back(fit.lfdr)
    )


def _fit_weights(lik: FloatMatrix, null_penalty: float) -> tuple[FloatVector, float]:
    """Mixture weights at the maximum of the penalised likelihood, and the bound on what is left.

    Minimises ``sum x - (1/W) sum_i w_i log (L x)_i`` over x >= 0, whose solution adds up to 1; the
    penalty is ``null_penalty - 1`` more observations that only the spike explains. The objective is
    convex, so that the largest mean of ``L_k / (L x)`` bounds the distance to its minimum.
    """
    spike = np.zeros((1, lik.shape[1]))
    spike[0, 0] = 1.0
    rows = np.vstack([lik, spike]) if null_penalty > 1.0 else lik
    count = np.ones(len(rows))
    if null_penalty > 1.0:
        count[-1] = null_penalty - 1.0
    total = float(count.sum())
    share = count / total
    x = np.full(rows.shape[1], 1.0 / rows.shape[1])
    gap = float("inf")
    for step in range(_MAX_STEPS):
        density = rows @ x
        ratio = rows.T @ (share / density)
        gap = total * max(float(ratio.max()) - 1.0, 0.0)
        if gap <= _TOLERANCE:
            break
        # EM climbs surely and slowly; Newton is for the end.
        x = x * ratio if step < _EM_STEPS else _newton_step(rows, share, x)
    return x / x.sum(), gap


def _newton_step(rows: FloatMatrix, share: FloatVector, x: FloatVector) -> FloatVector:
    """One step of sequential quadratic programming with backtracking, or EM where it fails."""
    density = rows @ x
    scaled = rows * (np.sqrt(share) / density)[:, None]
    hessian = scaled.T @ scaled
    slope = 1.0 - rows.T @ (share / density)
    hessian[np.diag_indices_from(hessian)] += 1e-8 * float(np.diag(hessian).mean())
    upper = cholesky(hessian)
    aim = solve_triangular(upper, hessian @ x - slope, trans="T")
    direction = nnls(upper, aim, maxiter=30 * len(x))[0] - x
    descent = float(slope @ direction)
    now = _objective(density, share, x)
    length = 1.0
    while length > 1e-6:
        candidate: FloatVector = np.maximum(x + length * direction, 0.0)
        value = _objective(rows @ candidate, share, candidate)
        if value <= now + 1e-3 * length * descent:
            candidate /= candidate.sum()
            return candidate
        length *= 0.5
    return x * (1.0 - slope)


def _objective(density: FloatVector, share: FloatVector, x: FloatVector) -> float:
    if not (density > 0.0).all():
        return float("inf")
    return float(x.sum() - (share * np.log(density)).sum())


@njit(cache=True, nogil=True)
def _log_likelihoods(
    y: FloatVector,
    s: FloatVector,
    stops: npt.NDArray[np.int64],
    pairs: FloatMatrix,
    out: FloatMatrix,
) -> None:
    """Log density of each group under each pair, the common part integrated out."""
    start = 0
    for g in range(len(stops)):
        for k in range(len(pairs)):
            common, own = pairs[k, 0] ** 2, pairs[k, 1] ** 2
            precision, pull, square, logs = 0.0, 0.0, 0.0, 0.0
            for i in range(start, stops[g]):
                v = own + s[i] ** 2
                precision += 1.0 / v
                pull += y[i] / v
                square += y[i] ** 2 / v
                logs += log(2.0 * pi * v)
            shared = 1.0 + common * precision
            out[g, k] = 0.5 * (common * pull**2 / shared - square - logs - log(shared))
        start = stops[g]


@njit(cache=True, nogil=True)
def _posteriors(
    y: FloatVector,
    s: FloatVector,
    stops: npt.NDArray[np.int64],
    pairs: FloatMatrix,
    responsibility: FloatMatrix,
    own_out: FloatMatrix,
    shared_out: FloatMatrix,
) -> None:
    """Mean, sd, lfsr and (effects only) lfdr, averaged over the components."""
    own_out[:] = 0.0
    shared_out[:] = 0.0
    negative = np.zeros(len(y))
    start = 0
    for g in range(len(stops)):
        below, zero = 0.0, 0.0
        for k in range(len(pairs)):
            weight = responsibility[g, k]
            if weight < 1e-14:
                continue
            common, own = pairs[k, 0] ** 2, pairs[k, 1] ** 2
            precision, pull = 0.0, 0.0
            for i in range(start, stops[g]):
                precision += 1.0 / (own + s[i] ** 2)
                pull += y[i] / (own + s[i] ** 2)
            mu_var = common / (1.0 + common * precision)
            mu = pull * mu_var
            shared_out[0, g] += weight * mu
            shared_out[1, g] += weight * (mu_var + mu**2)
            if mu_var > 0.0:
                below += weight * 0.5 * erfc(mu / sqrt(2.0 * mu_var))
            else:
                zero += weight
            for i in range(start, stops[g]):
                noise = s[i] ** 2 / (own + s[i] ** 2)
                mean = mu + (1.0 - noise) * (y[i] - mu)
                variance = own * noise + noise**2 * mu_var
                own_out[0, i] += weight * mean
                own_out[1, i] += weight * (variance + mean**2)
                if variance > 0.0:
                    negative[i] += weight * 0.5 * erfc(mean / sqrt(2.0 * variance))
                else:
                    own_out[3, i] += weight
        shared_out[1, g] = sqrt(max(shared_out[1, g] - shared_out[0, g] ** 2, 0.0))
        shared_out[2, g] = max(min(below + zero, 1.0 - below), 0.0)
        for i in range(start, stops[g]):
            own_out[1, i] = sqrt(max(own_out[1, i] - own_out[0, i] ** 2, 0.0))
            own_out[2, i] = max(min(negative[i] + own_out[3, i], 1.0 - negative[i]), 0.0)
        start = stops[g]
