"""One p-value from many: the test of whether anything is there at all.

Contract: the null hypothesis is the global one, that all the single hypotheses are true. NaN = not
tested and is left out. The result names the dependence under which its level holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log, pi
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc, ndtr, ndtri
from scipy.stats import landau

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, DataError, did_you_mean
from quant_engine.stats.checks import check_same_shape, parse_vector
from quant_engine.stats.multiplicity import parse_p_values

__all__ = ["CombineMethod", "CombinedTest", "combine_p"]

CombineMethod = Literal["simes", "fisher", "stouffer", "cauchy", "harmonic"]

_DEPENDENCE: Mapping[str, str] = {
    "simes": "independence or positive dependence",
    "fisher": "independence",
    "stouffer": "independence",
    "cauchy": "any dependence, for small p",
    "harmonic": "any dependence, for small p and many tests",
}
_WEIGHTED = ("stouffer", "cauchy")


@dataclass(frozen=True)
class CombinedTest:
    """Test of the global null hypothesis.

    Parameters
    ----------
    method : str
        Rule.
    dependence : str
        Dependence between the p-values under which the level holds.
    statistic : float
        Simes: the p-value itself; Fisher: chi-squared with 2 m degrees of freedom; Stouffer: z;
        Cauchy: mean tangent; harmonic: harmonic mean of the p-values.
    p_value : float
        Combined p-value.
    m : int
        Tests: finite p-values.

    Examples
    --------
    >>> combine_p([0.01, 0.5], method="simes").p_value
    0.02
    """

    method: str
    dependence: str
    statistic: float
    p_value: float
    m: int


def combine_p(
    p: npt.ArrayLike, *, method: CombineMethod, weights: npt.ArrayLike | None = None
) -> CombinedTest:
    """Combine p-values into one test of the global null hypothesis.

    * ``simes``: ``min_i m p_(i) / i`` (Simes 1986);
    * ``fisher``: ``-2 sum ln p``, chi-squared with 2 m degrees of freedom;
    * ``stouffer``: ``sum w z / sqrt(sum w^2)`` with ``z = Phi^-1(1 - p)``: one-sided p-values;
    * ``cauchy``: ``T = sum w tan((1/2 - p) pi) / sum w`` is standard Cauchy in its tail under any
      dependence (Liu and Xie 2020). A p-value of exactly 1 would drown all others, so that with
      one the answer is Bonferroni's ``min(1, m min p)``, as in the authors' software;
    * ``harmonic``: ``1 / HMP`` of m independent p-values tends to a Landau variable with location
      ``ln m + 1 - gamma - ln(2 / pi)`` and scale ``pi / 2`` (Wilson 2019).

    Parameters
    ----------
    p : array-like, shape (n,)
        p-values in [0, 1] (a probability); NaN = not tested.
    method : str
        One of the above.
    weights : array-like, shape (n,), optional
        Weights of at least 0, fixed before the p-values were seen; ``stouffer`` and ``cauchy``
        only. NaN is allowed where ``p`` is NaN.

    Returns
    -------
    CombinedTest

    Raises
    ------
    ConfigError
        Unknown method, or weights with a method that has none.
    DataError
        p-values outside [0, 1], negative, missing or all-zero weights, or p-values of exactly 0 and
        of exactly 1 together in Stouffer's sum.
    EmptyDataError
        No finite p-value.

    Examples
    --------
    >>> round(combine_p([0.01, 0.2, 0.3], method="fisher").p_value, 6)
    0.021562
    """
    if method not in get_args(CombineMethod):
        raise ConfigError(
            "method",
            wanted="a rule that combines p-values",
            got=repr(method),
            hint=did_you_mean(method, get_args(CombineMethod)),
        )
    values, tested = parse_p_values(p)
    known = values[tested]
    weight = _weights(weights, values, tested, method)
    statistic, p_value = _METHODS[method](known, weight)
    return CombinedTest(
        method=method,
        dependence=_DEPENDENCE[method],
        statistic=statistic,
        p_value=p_value,
        m=len(known),
    )


def _weights(
    weights: npt.ArrayLike | None,
    values: FloatVector,
    tested: npt.NDArray[np.bool_],
    method: str,
) -> FloatVector:
    """Weights of the tested hypotheses, all 1 unless given."""
    if weights is None:
        return np.ones(int(tested.sum()))
    if method not in _WEIGHTED:
        raise ConfigError(
            "weights",
            wanted=f"none, or one of the methods {', '.join(_WEIGHTED)}",
            got=f"method {method!r}",
            hint="Leave the weights out.",
        )
    raw = parse_vector("weights", weights)
    check_same_shape("p", values, "weights", raw)
    known = raw[tested]
    if not (known >= 0.0).all() or not known.any():
        raise DataError(
            "weights",
            wanted="weights of at least 0, not all 0, for every tested hypothesis",
            got=f"{int((~(known >= 0.0)).sum())} negative or NaN",
            hint="Use 1 where nothing is known in advance.",
        )
    return known


def _simes(p: FloatVector, _weight: FloatVector) -> tuple[float, float]:
    value = float((np.sort(p) * len(p) / np.arange(1, len(p) + 1)).min())
    return value, value


def _fisher(p: FloatVector, _weight: FloatVector) -> tuple[float, float]:
    if (p == 0.0).any():
        return float("inf"), 0.0
    statistic = float(-2.0 * np.log(p).sum())
    return statistic, float(chdtrc(2.0 * len(p), statistic))


def _stouffer(p: FloatVector, weight: FloatVector) -> tuple[float, float]:
    used = weight > 0.0
    p, weight = p[used], weight[used]
    if (p == 0.0).any() and (p == 1.0).any():
        raise DataError(
            "p",
            wanted="not both 0 and 1, whose normal scores are opposite infinities",
            got="both",
            hint="Use method 'fisher', or p-values of a finite sample, (1 + k) / (1 + n).",
        )
    z = float((weight * -ndtri(p)).sum() / np.sqrt((weight**2).sum()))
    return z, float(ndtr(-z))


def _cauchy(p: FloatVector, weight: FloatVector) -> tuple[float, float]:
    used = weight > 0.0
    p, weight = p[used], weight[used]
    if (p == 1.0).any():
        return float("nan"), min(1.0, float(p.min()) * len(p))
    if (p == 0.0).any():
        return float("inf"), 0.0
    # tan((1/2 - p) pi) = 1 / tan(pi p), which keeps its digits for tiny p.
    statistic = float((weight / np.tan(pi * p)).sum() / weight.sum())
    return statistic, float(np.arctan2(1.0, statistic) / pi)


def _harmonic(p: FloatVector, _weight: FloatVector) -> tuple[float, float]:
    if (p == 0.0).any():
        return 0.0, 0.0
    m = len(p)
    mean = float(m / (1.0 / p).sum())
    location = log(m) + 1.0 - float(np.euler_gamma) - log(2.0 / pi)
    return mean, float(landau.sf(1.0 / mean, loc=location, scale=pi / 2.0))


_METHODS: Mapping[str, Callable[[FloatVector, FloatVector], tuple[float, float]]] = {
    "simes": _simes,
    "fisher": _fisher,
    "stouffer": _stouffer,
    "cauchy": _cauchy,
    "harmonic": _harmonic,
}
