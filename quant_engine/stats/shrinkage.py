"""Shrinkage of many estimates towards a common value: James-Stein and partial pooling.

Contract: shrinkage improves effect sizes, for expectancy, ranking and sizing. **It makes no
p-values**: those come from the un-shrunk, clustered statistic of each effect, since a shrunk mean
over an un-shrunk standard error is no test statistic. NaN = not estimated: left out of the fit, NaN
in the result. Groups of observations are in :mod:`quant_engine.stats.random_effects`, sparse
effects in :mod:`quant_engine.stats.spike_slab`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import (
    ConfigError,
    DataError,
    InsufficientHistoryError,
    did_you_mean,
)
from quant_engine.stats.checks import check_same_shape, parse_vector

__all__ = [
    "JamesStein",
    "PartialPooling",
    "PoolingMethod",
    "james_stein",
    "james_stein_rates",
    "parse_effects",
    "partial_pooling",
]

Target = Literal["mean", "zero"]
PoolingMethod = Literal["dersimonian_laird", "paule_mandel", "reml"]


@dataclass(frozen=True, eq=False)
class JamesStein:
    """Estimates of equal variance, drawn towards one target.

    Parameters
    ----------
    target : str
        ``"mean"`` or ``"zero"``.
    center : float
        The grand mean, or 0.
    factor : float
        c, the weight on the own estimate; 1 = no shrinkage.
    estimates : ndarray of float64, shape (n,)
        ``center + c (x - center)``; NaN where x is.
    variance : float
        Sampling variance of each estimate.
    positive_part : bool
        Whether c was clipped at 0.
    n : int
        Estimates used.

    Examples
    --------
    >>> james_stein([3.0, -1.0, 2.0], variance=1.0, target="zero").n
    3
    """

    target: str
    center: float
    factor: float
    estimates: FloatVector
    variance: float
    positive_part: bool
    n: int


@dataclass(frozen=True, eq=False)
class PartialPooling:
    """Estimates of unequal variance, drawn towards their common mean.

    Parameters
    ----------
    method : str
        How the variance between effects was estimated.
    tau2 : float
        Variance between true effects, never negative.
    q : float
        Cochran's Q, ``sum (y - mu_fixed)^2 / v``.
    mu, mu_std_error : float
        Mean of the true effects with weights ``1 / (v + tau2)``, and ``1 / sqrt(sum of weights)``.
    weight_own : ndarray of float64, shape (n,)
        ``B = tau2 / (tau2 + v)``, in [0, 1): the weight on the own estimate.
    estimates : ndarray of float64, shape (n,)
        ``mu + B (y - mu)``; NaN where y or v is.
    std_errors : ndarray of float64, shape (n,)
        ``sqrt(B v + (1 - B)^2 mu_std_error^2)``, the uncertainty of a true effect given tau2. It is
        no standard error to test with.
    n : int
        Effects used.

    Examples
    --------
    >>> partial_pooling([1.0, 3.0, 8.0], [1.0, 1.0, 1.0], method="dersimonian_laird").tau2
    12.0
    """

    method: str
    tau2: float
    q: float
    mu: float
    mu_std_error: float
    weight_own: FloatVector
    estimates: FloatVector
    std_errors: FloatVector
    n: int


def james_stein(
    x: npt.ArrayLike, *, variance: float, target: Target = "mean", positive_part: bool = True
) -> JamesStein:
    """James-Stein estimator for independent estimates of one known variance.

    To zero: ``c = 1 - (k - 2) s2 / sum x^2`` (James and Stein 1961). To the grand mean:
    ``c = 1 - (k - 3) s2 / sum (x - xbar)^2`` (Efron and Morris 1975). Its total squared error is
    smaller in expectation than that of x for every true value; the positive part never turns a
    sign.

    Parameters
    ----------
    x : array-like, shape (n,)
        Estimates, any one unit; NaN = none.
    variance : float
        Sampling variance of each, in that unit squared.
    target : {"mean", "zero"}
        Where to shrink.
    positive_part : bool
        Clip c at 0.

    Returns
    -------
    JamesStein

    Raises
    ------
    ConfigError
        Unknown target, or a variance that is not positive.
    DataError
        Not one-dimensional numbers, or equal estimates without the positive part.
    InsufficientHistoryError
        Fewer than 3 (zero) or 4 (mean) estimates, for which there is no such gain.

    Examples
    --------
    >>> shrunk = james_stein([1.2, -0.4, 0.3, 0.9, -1.1, 0.05], variance=0.16, target="zero")
    >>> round(shrunk.factor, 4), shrunk.estimates.round(3)
    (0.8276, array([ 0.993, -0.331,  0.248,  0.745, -0.91 ,  0.041]))
    """
    values = parse_vector("x", x)
    if target not in get_args(Target):
        raise ConfigError(
            "target", wanted="'mean' or 'zero'", got=repr(target), hint="Use 'zero' for returns."
        )
    _check_variance(variance)
    known = values[~np.isnan(values)]
    lost = 3 if target == "mean" else 2
    _check_count(len(known), lost + 1)
    # The mean of equal floats need not equal them: rounding would be left as a spread.
    mean = float(known[0] if known.min() == known.max() else known.mean())
    center = mean if target == "mean" else 0.0
    spread = float(((known - center) ** 2).sum())
    factor = _stein_factor(spread, variance * (len(known) - lost), positive_part)
    return JamesStein(
        target=target,
        center=center,
        factor=factor,
        estimates=center + factor * (values - center),
        variance=variance,
        positive_part=positive_part,
        n=len(known),
    )


def james_stein_rates(successes: npt.ArrayLike, *, trials: int) -> JamesStein:
    """Shrink success rates with equal numbers of trials to their grand mean.

    The variance of each rate is ``pbar (1 - pbar) / trials`` (Efron and Morris 1977, whose batting
    averages are the classic example).

    Parameters
    ----------
    successes : array-like, shape (n,)
        Counts from 0 to `trials`; NaN = none.
    trials : int
        Trials behind each count.

    Returns
    -------
    JamesStein
        Of the rates, positive part.

    Raises
    ------
    ConfigError
        Fewer than 1 trial.
    DataError
        Counts outside their range, or all 0 or all `trials`.
    InsufficientHistoryError
        Fewer than 4 rates.

    Examples
    --------
    >>> james_stein_rates([18, 17, 10, 7], trials=45).estimates.round(3)
    array([0.388, 0.368, 0.229, 0.17 ])
    """
    counts = parse_vector("successes", successes)
    if trials < 1:
        raise ConfigError("trials", wanted="at least 1", got=trials, hint="Pass the trial count.")
    known = counts[~np.isnan(counts)]
    _check_count(len(known), 4)
    mean_rate = float(known.mean()) / trials
    if (known < 0.0).any() or (known > trials).any() or not 0.0 < mean_rate < 1.0:
        raise DataError(
            "successes",
            wanted=f"counts from 0 to {trials}, not all at one end",
            got=f"{known.min():g} to {known.max():g}",
            hint="Without a failure or without a success the rates have no sampling variance.",
        )
    return james_stein(counts / trials, variance=mean_rate * (1.0 - mean_rate) / trials)


def partial_pooling(
    y: npt.ArrayLike, v: npt.ArrayLike, *, method: PoolingMethod = "paule_mandel"
) -> PartialPooling:
    """Normal-normal partial pooling: ``y ~ N(theta, v)``, ``theta ~ N(mu, tau2)``.

    * ``dersimonian_laird``: ``tau2 = max(0, (Q - (k - 1)) / (sum w - sum w^2 / sum w))`` with
      ``w = 1 / v`` (1986). It is clipped at 0, unlike one well-known library;
    * ``paule_mandel``: the tau2 at which Q with weights ``1 / (v + tau2)`` is ``k - 1`` (1982);
    * ``reml``: the maximum of the restricted likelihood of normal effects.

    Parameters
    ----------
    y : array-like, shape (n,)
        Estimated effects, any one unit; NaN = none.
    v : array-like, shape (n,)
        Their sampling variances, in that unit squared, positive; NaN = unknown.
    method : str
        One of the above.

    Returns
    -------
    PartialPooling

    Raises
    ------
    ConfigError
        Unknown method.
    DataError
        Shapes that differ, or variances that are not positive.
    InsufficientHistoryError
        Fewer than 2 effects.

    Examples
    --------
    >>> pooled = partial_pooling([28.0, 8.0, -3.0, 7.0], [225.0, 100.0, 256.0, 121.0])
    >>> round(pooled.tau2, 3), round(pooled.mu, 3)
    (0.0, 9.415)
    """
    if method not in get_args(PoolingMethod):
        raise ConfigError(
            "method",
            wanted="an estimator of the variance between effects",
            got=repr(method),
            hint=did_you_mean(method, get_args(PoolingMethod)),
        )
    effects, variances, used = parse_effects(y, v, name="v")
    _check_count(int(used.sum()), 2)
    known, spread = effects[used], variances[used]
    tau2 = _TAU2[method](known, spread)
    mu, total = _weighted_mean(known, spread, tau2)
    weight = np.where(used, tau2 / (tau2 + variances), np.nan)
    return PartialPooling(
        method=method,
        tau2=tau2,
        q=_cochran_q(known, spread, 0.0),
        mu=mu,
        mu_std_error=1.0 / sqrt(total),
        weight_own=weight,
        estimates=mu + weight * (effects - mu),
        std_errors=np.sqrt(weight * variances + (1.0 - weight) ** 2 / total),
        n=len(known),
    )


def parse_effects(
    effects: npt.ArrayLike, spread: npt.ArrayLike, *, name: str
) -> tuple[FloatVector, FloatVector, npt.NDArray[np.bool_]]:
    """Read effects and their standard errors or variances.

    Parameters
    ----------
    effects : array-like, shape (n,)
        Estimates, any one unit; NaN = none.
    spread : array-like, shape (n,)
        Standard error or variance of each, positive; NaN = unknown.
    name : str
        Argument name of `spread` for the message.

    Returns
    -------
    effects, spread : ndarray of float64, shape (n,)
        The numbers.
    used : ndarray of bool, shape (n,)
        Where both are known.

    Raises
    ------
    DataError
        Shapes that differ, or a spread that is not positive.

    Examples
    --------
    >>> parse_effects([1.0, float("nan")], [0.5, 0.5], name="v")[2]
    array([ True, False])
    """
    values, scale = parse_vector("effects", effects), parse_vector(name, spread)
    check_same_shape("effects", values, name, scale)
    n_bad = int((scale <= 0.0).sum())
    if n_bad:
        raise DataError(
            name,
            wanted="positive numbers or NaN",
            got=f"{n_bad} not positive",
            hint="An effect without sampling noise is a constant series; make it NaN upstream.",
        )
    return values, scale, ~(np.isnan(values) | np.isnan(scale))


def _stein_factor(spread: float, noise: float, positive_part: bool) -> float:
    if spread > 0.0:
        factor = 1.0 - noise / spread
        return max(factor, 0.0) if positive_part else factor
    if positive_part:
        return 0.0
    raise DataError(
        "x",
        wanted="estimates that differ from the target",
        got="none that does",
        hint="Use positive_part=True, which returns the target.",
    )


def _check_variance(variance: float) -> None:
    if not 0.0 < variance < float("inf"):
        raise ConfigError(
            "variance",
            wanted="a positive number",
            got=variance,
            hint="Pass the squared standard error of one estimate.",
        )


def _check_count(n: int, needed: int) -> None:
    if n < needed:
        raise InsufficientHistoryError(
            "estimates",
            wanted=f"at least {needed} that are not NaN",
            got=n,
            hint="Report the estimates as they are; too few to learn from each other.",
        )


def _weighted_mean(y: FloatVector, v: FloatVector, tau2: float) -> tuple[float, float]:
    """Mean with weights 1 / (v + tau2), and the sum of the weights."""
    w = 1.0 / (v + tau2)
    total = float(w.sum())
    return float((w * y).sum() / total), total


def _cochran_q(y: FloatVector, v: FloatVector, tau2: float) -> float:
    mean, _ = _weighted_mean(y, v, tau2)
    return float(((y - mean) ** 2 / (v + tau2)).sum())


def _dersimonian_laird(y: FloatVector, v: FloatVector) -> float:
    w = 1.0 / v
    scale = float(w.sum() - (w**2).sum() / w.sum())
    return max(0.0, (_cochran_q(y, v, 0.0) - (len(y) - 1)) / scale)


def _largest_tau2(y: FloatVector, v: FloatVector) -> float:
    """A tau2 above every root: at a root, mean squared residual and noise bound it."""
    k = len(y)
    return 2.0 * (float(np.ptp(y)) ** 2 + float(v.max()) / k) / (1.0 - 1.0 / k)


def _paule_mandel(y: FloatVector, v: FloatVector) -> float:
    wanted = len(y) - 1.0
    if _cochran_q(y, v, 0.0) <= wanted:
        return 0.0
    upper = _largest_tau2(y, v)
    return float(brentq(lambda t: _cochran_q(y, v, t) - wanted, 0.0, upper, xtol=1e-14, rtol=1e-14))


def _reml(y: FloatVector, v: FloatVector) -> float:
    """Best of a grid, then the root of the score around it.

    The restricted likelihood can have more than one maximum, so that a start from one value may end
    at the wrong one.
    """
    grid = np.append(0.0, np.geomspace(1e-9, 1.0, 181)) * _largest_tau2(y, v)
    best = int(np.argmax([_restricted_likelihood(y, v, t) for t in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    if _restricted_score(y, v, low) <= 0.0:
        return 0.0
    return float(brentq(lambda t: _restricted_score(y, v, t), low, high, xtol=1e-14, rtol=1e-14))


def _restricted_likelihood(y: FloatVector, v: FloatVector, tau2: float) -> float:
    _, total = _weighted_mean(y, v, tau2)
    return -0.5 * float(np.log(v + tau2).sum() + np.log(total) + _cochran_q(y, v, tau2))


def _restricted_score(y: FloatVector, v: FloatVector, tau2: float) -> float:
    """Derivative of the restricted log-likelihood in tau2."""
    mean, total = _weighted_mean(y, v, tau2)
    w = 1.0 / (v + tau2)
    return 0.5 * float((w**2 * (y - mean) ** 2).sum() - w.sum() + (w**2).sum() / total)


_TAU2: Mapping[str, Callable[[FloatVector, FloatVector], float]] = {
    "dersimonian_laird": _dersimonian_laird,
    "paule_mandel": _paule_mandel,
    "reml": _reml,
}
