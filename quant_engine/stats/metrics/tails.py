"""Value at risk and expected shortfall of one period, by named method.

Contract: risks are positive losses (fractions). ``alpha`` is the probability of the tail, 0.05 and
not 0.95. Returns are simple returns per period; NaN = not observed, left out.

1. ``var_es`` estimates from returns; the method is an argument and part of the result.
2. ``gaussian_tail``, ``cornish_fisher_tail`` and ``student_t_tail`` are the parametric formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, exp, floor, isnan, pi, sqrt
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, ndtri, stdtrit

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, did_you_mean
from quant_engine.stats.checks import check_coverage, exact_level, parse_observed
from quant_engine.stats.metrics.moments import Moments, moments

__all__ = [
    "TailMethod",
    "TailRisk",
    "cornish_fisher_tail",
    "expected_shortfall_of",
    "gaussian_tail",
    "student_t_tail",
    "var_es",
]

TailMethod = Literal[
    "historical", "historical_upper", "historical_linear", "gaussian", "cornish_fisher", "student_t"
]
TailStatus = Literal["ok", "too_few", "no_variation", "not_monotone"]

STUDENT_T_DOF = 5.0
"""Degrees of freedom where none are given: the tail weight of daily equity returns, roughly."""


@dataclass(frozen=True)
class TailRisk:
    """Value at risk and expected shortfall of one period.

    Parameters
    ----------
    var : float
        Loss that is not exceeded with probability ``1 - alpha`` (positive = loss, fraction).
    es : float
        Mean loss of the worst ``alpha`` share of periods (positive = loss, fraction).
    alpha : float
        Tail probability.
    method : str
        How both were found; see :func:`var_es`.
    n_obs : int
        Observed periods; 0 for a formula of given parameters.
    status : str
        ``"ok"``; ``"too_few"`` or ``"no_variation"`` where var and es are NaN for that reason;
        ``"not_monotone"`` where skew and kurtosis lie outside the domain of the Cornish-Fisher
        expansion, whose numbers are then no quantile of any distribution.

    Examples
    --------
    >>> var_es([-0.03, -0.01, 0.0, 0.02], alpha=0.25).es
    0.03
    """

    var: float
    es: float
    alpha: float
    method: TailMethod
    n_obs: int
    status: TailStatus


def var_es(
    returns: npt.ArrayLike,
    *,
    alpha: float,
    method: TailMethod = "historical",
    dof: float = STUDENT_T_DOF,
) -> TailRisk:
    """Value at risk and expected shortfall of observed returns.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period; NaN = not observed, left out.
    alpha : float
        Tail probability, for instance 0.05.
    method : str
        ``"historical"``: with losses ``l = -r`` sorted upwards, ``var = l_(k)`` with
        ``k = ceil((1 - alpha) n)`` in rational arithmetic, the smallest loss whose distribution
        function reaches ``1 - alpha``. ``"historical_upper"``: ``k = floor((1 - alpha) n) + 1``,
        the largest one; it differs only where ``alpha n`` is whole. ``"historical_linear"``:
        interpolated between order statistics as numpy does by default, and ``es`` is the mean of
        the losses at or above it. ``"gaussian"``, ``"cornish_fisher"`` and ``"student_t"``: the
        parametric formulas with the sample's mean, standard deviation (ddof 1) and population
        skew and kurtosis.
    dof : float
        Degrees of freedom of ``"student_t"``, above 2; its scale is the one that gives the
        sample's standard deviation.

    Returns
    -------
    TailRisk
        Positive losses; NaN with the reason in ``status``.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.
    ConfigError
        ``alpha`` not strictly between 0 and 1, an unknown method, or too few degrees of freedom.

    Notes
    -----
    Both plain historical methods have ``es = c + sum(max(l - c, 0)) / (alpha n)`` at ``c = var``,
    the minimum over c (Rockafellar and Uryasev 2000). Only that shortfall is coherent in small
    samples: the mean of the losses beyond the quantile weighs the last of them too much or too
    little unless ``alpha n`` is whole.

    Examples
    --------
    >>> risk = var_es([-0.05, -0.04, -0.03, -0.02, -0.01], alpha=0.4)
    >>> risk.var, risk.es, risk.method
    (0.03, 0.045, 'historical')
    """
    check_coverage("alpha", alpha)
    if method not in get_args(TailMethod):
        raise ConfigError(
            "method",
            wanted="a named tail method",
            got=repr(method),
            hint=did_you_mean(method, list(get_args(TailMethod))),
        )
    observed = parse_observed("returns", returns)
    nan = float("nan")
    if len(observed) == 0:
        return TailRisk(nan, nan, alpha, method, 0, "too_few")
    if method in _HISTORICAL:
        var, es = _HISTORICAL[method](np.sort(-observed), alpha)
        return TailRisk(var, es, alpha, method, len(observed), "ok")
    shape = moments(observed)
    if shape.n_obs < 2:
        return TailRisk(nan, nan, alpha, method, shape.n_obs, "too_few")
    if shape.std == 0.0:
        return TailRisk(nan, nan, alpha, method, shape.n_obs, "no_variation")
    risk = _parametric(shape, alpha, method, dof)
    return TailRisk(risk.var, risk.es, alpha, method, shape.n_obs, risk.status)


def expected_shortfall_of(losses: npt.ArrayLike, *, alpha: float) -> float:
    """Mean of the worst ``alpha`` share of losses (Rockafellar and Uryasev 2000).

    ``c + sum(max(l - c, 0)) / (alpha n)`` at the lower ``1 - alpha`` quantile c of the losses.

    Parameters
    ----------
    losses : array-like, shape (n,)
        Losses, drawdown depths or costs, positive = bad, any unit; NaN = not observed, left out.
    alpha : float
        Tail share.

    Returns
    -------
    float
        In the unit of the input; NaN without observation.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.
    ConfigError
        ``alpha`` not strictly between 0 and 1.

    Examples
    --------
    >>> round(expected_shortfall_of([1.0, 2.0, 3.0, 4.0], alpha=0.375), 4)
    3.6667
    """
    check_coverage("alpha", alpha)
    observed = np.sort(parse_observed("losses", losses))
    return _lower(observed, alpha)[1] if len(observed) else float("nan")


def gaussian_tail(*, alpha: float, mean: float = 0.0, std: float = 1.0) -> TailRisk:
    """Tail risk of a normal distribution of returns.

    ``var = -(mean + z std)`` and ``es = -mean + std phi(z) / alpha`` with ``z = Phi^-1(alpha)``.

    Parameters
    ----------
    alpha : float
        Tail probability.
    mean, std : float
        Of the return per period (fraction); std at least 0.

    Returns
    -------
    TailRisk
        Positive losses.

    Raises
    ------
    ConfigError
        ``alpha`` not strictly between 0 and 1, or a negative std.

    Examples
    --------
    >>> risk = gaussian_tail(alpha=0.05)
    >>> f"{risk.var:.4f} {risk.es:.4f}"
    '1.6449 2.0627'
    """
    _check_spread(alpha, std)
    z = float(ndtri(alpha))
    es = -mean + std * _normal_density(z) / alpha
    return TailRisk(-(mean + z * std), es, alpha, "gaussian", 0, "ok")


def cornish_fisher_tail(
    *, alpha: float, mean: float, std: float, skew: float, excess_kurtosis: float
) -> TailRisk:
    """Tail risk by the third-order Cornish-Fisher expansion of the quantile.

    ``z_cf = z + (z^2 - 1) S / 6 + (z^3 - 3 z) K / 24 - (2 z^3 - 5 z) S^2 / 36`` and
    ``var = -(mean + z_cf std)``. ``es`` is the mean of that quantile over the tail,
    ``-mean + std phi(z)/alpha [1 + z S/6 + (z^2 - 1) K/24 - (2 z^2 - 1) S^2/36]``.

    Parameters
    ----------
    alpha : float
        Tail probability.
    mean, std : float
        Of the return per period (fraction); std at least 0.
    skew : float
        S, population skew.
    excess_kurtosis : float
        K: 0 for a normal distribution.

    Returns
    -------
    TailRisk
        With ``status="not_monotone"`` where the expansion falls somewhere, so that it is the
        quantile function of nothing.

    Raises
    ------
    ConfigError
        ``alpha`` not strictly between 0 and 1, or a negative std.

    Notes
    -----
    Cornish and Fisher (1938); the domain is discussed by Maillard (2012).

    Examples
    --------
    >>> tail = cornish_fisher_tail(alpha=0.05, mean=0.0, std=0.01, skew=-0.5, excess_kurtosis=1.5)
    >>> f"{tail.var:.5f} {tail.es:.5f} {tail.status}"
    '0.01752 0.02502 ok'
    """
    _check_spread(alpha, std)
    z = float(ndtri(alpha))
    s, k = skew, excess_kurtosis
    tail_mean = 1.0 + z * s / 6.0 + (z * z - 1.0) * k / 24.0 - (2.0 * z * z - 1.0) * s * s / 36.0
    return TailRisk(
        var=-(mean + cornish_fisher_z(z, skew=s, excess_kurtosis=k) * std),
        es=-mean + std * _normal_density(z) / alpha * tail_mean,
        alpha=alpha,
        method="cornish_fisher",
        n_obs=0,
        status="ok" if _is_monotone(s, k) else "not_monotone",
    )


def cornish_fisher_z(z: float, *, skew: float, excess_kurtosis: float) -> float:
    """Quantile of a standardised distribution from the normal quantile and the shape.

    Parameters
    ----------
    z : float
        Normal quantile.
    skew : float
        Population skew.
    excess_kurtosis : float
        0 for a normal distribution.

    Returns
    -------
    float
        Standard deviations from the mean.

    Examples
    --------
    >>> cornish_fisher_z(-1.645, skew=0.0, excess_kurtosis=0.0)
    -1.645
    """
    s, k = skew, excess_kurtosis
    return (
        z
        + (z * z - 1.0) * s / 6.0
        + (z**3 - 3.0 * z) * k / 24.0
        - (2.0 * z**3 - 5.0 * z) * s * s / 36.0
    )


def student_t_tail(*, alpha: float, dof: float, mean: float = 0.0, scale: float = 1.0) -> TailRisk:
    """Tail risk of a Student t distribution of returns with location and scale.

    ``var = -(mean + q scale)`` and ``es = -mean + scale f(q) (dof + q^2) / ((dof - 1) alpha)``
    with q the ``alpha`` quantile and f the density of the standard t distribution (McNeil, Frey
    and Embrechts 2015, example 2.15).

    Parameters
    ----------
    alpha : float
        Tail probability.
    dof : float
        Degrees of freedom, above 1: below that the shortfall is infinite.
    mean : float
        Location (fraction per period).
    scale : float
        Scale, not the standard deviation: that is ``scale sqrt(dof / (dof - 2))``.

    Returns
    -------
    TailRisk
        Positive losses.

    Raises
    ------
    ConfigError
        ``alpha`` not strictly between 0 and 1, a negative scale, or ``dof`` at or below 1.

    Examples
    --------
    >>> risk = student_t_tail(alpha=0.01, dof=5)
    >>> f"{risk.var:.4f} {risk.es:.4f}"
    '3.3649 4.4524'
    """
    _check_spread(alpha, scale)
    if not dof > 1.0:
        raise ConfigError("dof", wanted="above 1", got=dof, hint="Returns have about 3 to 6.")
    q = float(stdtrit(dof, alpha))
    log_density = gammaln((dof + 1.0) / 2.0) - gammaln(dof / 2.0) - np.log(dof * pi) / 2.0
    density = float(np.exp(log_density - (dof + 1.0) / 2.0 * np.log1p(q * q / dof)))
    es = -mean + scale * density * (dof + q * q) / ((dof - 1.0) * alpha)
    return TailRisk(-(mean + q * scale), es, alpha, "student_t", 0, "ok")


def _lower(losses: FloatVector, alpha: float) -> tuple[float, float]:
    """Lower quantile of sorted losses and the shortfall beyond it."""
    n_obs = len(losses)
    var = float(losses[max(ceil((1 - exact_level(alpha)) * n_obs), 1) - 1])
    return var, _shortfall(losses, var, alpha)


def _upper(losses: FloatVector, alpha: float) -> tuple[float, float]:
    n_obs = len(losses)
    var = float(losses[min(floor((1 - exact_level(alpha)) * n_obs), n_obs - 1)])
    return var, _shortfall(losses, var, alpha)


def _linear(losses: FloatVector, alpha: float) -> tuple[float, float]:
    var = float(np.quantile(losses, 1.0 - alpha))
    # Interpolation may end a rounding error above the loss that it stands on.
    beyond = losses[losses >= var - 1e-12 * abs(var)]
    return var, float(beyond.mean())


_HISTORICAL: dict[str, Callable[[FloatVector, float], tuple[float, float]]] = {
    "historical": _lower,
    "historical_upper": _upper,
    "historical_linear": _linear,
}


def _shortfall(losses: FloatVector, var: float, alpha: float) -> float:
    return var + float(np.maximum(losses - var, 0.0).sum()) / (alpha * len(losses))


def _parametric(shape: Moments, alpha: float, method: str, dof: float) -> TailRisk:
    if method == "gaussian":
        return gaussian_tail(alpha=alpha, mean=shape.mean, std=shape.std)
    if method == "cornish_fisher":
        return cornish_fisher_tail(
            alpha=alpha,
            mean=shape.mean,
            std=shape.std,
            skew=shape.skew,
            excess_kurtosis=shape.excess_kurtosis,
        )
    if not dof > 2.0:
        raise ConfigError(
            "dof", wanted="above 2, where a variance exists", got=dof, hint="Use 4 or 5."
        )
    scale = shape.std * sqrt((dof - 2.0) / dof)
    return student_t_tail(alpha=alpha, dof=dof, mean=shape.mean, scale=scale)


def _is_monotone(skew: float, excess_kurtosis: float) -> bool:
    """Whether the expansion rises everywhere: its slope is a parabola in z."""
    if isnan(skew) or isnan(excess_kurtosis):
        return False
    # slope = a z^2 + b z + c
    a = excess_kurtosis / 8.0 - skew * skew / 6.0
    b = skew / 3.0
    c = 1.0 - excess_kurtosis / 8.0 + 5.0 * skew * skew / 36.0
    if a == 0.0:
        return b == 0.0 and c > 0.0
    return a > 0.0 and b * b <= 4.0 * a * c


def _normal_density(z: float) -> float:
    return exp(-z * z / 2.0) / sqrt(2.0 * pi)


def _check_spread(alpha: float, spread: float) -> None:
    check_coverage("alpha", alpha)
    if not spread >= 0.0:
        raise ConfigError(
            "std", wanted="at least 0", got=spread, hint="Pass a standard deviation or scale."
        )
