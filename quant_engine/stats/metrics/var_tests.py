"""Did a value at risk hold? Tests of how often, and how clustered, it was exceeded.

Contract: likelihood ratios with their chi-squared p-value; a small p-value speaks against the risk
model. With few expected exceptions the tests have little power: passing is no proof.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc, xlog1py, xlogy

from quant_engine.core.errors import DataError, InsufficientHistoryError
from quant_engine.stats.checks import check_coverage, parse_observed

__all__ = [
    "CoverageTest",
    "christoffersen_conditional_test",
    "christoffersen_test",
    "kupiec_test",
]


@dataclass(frozen=True)
class CoverageTest:
    """Likelihood-ratio test of the exceptions of a value at risk.

    Parameters
    ----------
    lr : float
        Statistic, at least 0.
    p_value : float
        Of a chi-squared distribution with ``dof`` degrees of freedom.
    dof : int
        Degrees of freedom.
    method : str
        ``"kupiec_pof"``, ``"christoffersen_independence"`` or ``"christoffersen_conditional"``.
    n_exceptions, n_obs : int
        Exceptions and periods.

    Examples
    --------
    >>> kupiec_test(20, n_obs=252, alpha=0.05).method
    'kupiec_pof'
    """

    lr: float
    p_value: float
    dof: int
    method: str
    n_exceptions: int
    n_obs: int


def kupiec_test(n_exceptions: int, *, n_obs: int, alpha: float) -> CoverageTest:
    """Test that a value at risk was exceeded as often as it said (Kupiec 1995).

    ``LR = 2 ln [ (x/n)^x (1 - x/n)^(n-x) / (alpha^x (1 - alpha)^(n-x)) ]``, proportion of
    failures, one degree of freedom.

    Parameters
    ----------
    n_exceptions : int
        x: periods whose loss was larger than the value at risk.
    n_obs : int
        n: periods.
    alpha : float
        Probability of an exception that the value at risk claims.

    Returns
    -------
    CoverageTest
        Two-sided: too few exceptions are found as well as too many.

    Raises
    ------
    DataError
        Counts that do not fit.
    InsufficientHistoryError
        No period.
    ConfigError
        ``alpha`` not strictly between 0 and 1.

    Examples
    --------
    >>> test = kupiec_test(20, n_obs=252, alpha=0.05)
    >>> f"{test.lr:.2f} {test.p_value:.3f}"
    '3.91 0.048'
    """
    check_coverage("alpha", alpha)
    if n_obs < 1:
        raise InsufficientHistoryError(
            "n_obs", wanted="at least 1", got=n_obs, hint="Pass the number of periods."
        )
    if not 0 <= n_exceptions <= n_obs:
        raise DataError(
            "n_exceptions",
            wanted=f"a count from 0 to {n_obs}",
            got=n_exceptions,
            hint="Count the periods whose loss was above the value at risk.",
        )
    lr = 2.0 * (_log_likelihood(n_exceptions, n_obs) - _log_at(alpha, n_exceptions, n_obs))
    return _result(lr, 1, "kupiec_pof", n_exceptions, n_obs)


def christoffersen_test(hits: npt.ArrayLike) -> CoverageTest:
    """Test that exceptions do not follow one another (Christoffersen 1998, independence).

    Likelihood ratio of a first-order Markov chain with its own exception probability after an
    exception and after none, against one probability; one degree of freedom.

    Parameters
    ----------
    hits : array-like, shape (T,)
        1 or True where the loss was larger than the value at risk, in time order; NaN = unknown,
        left out.

    Returns
    -------
    CoverageTest
        ``lr`` 0 where no transition tells the two apart, for instance without any exception.

    Raises
    ------
    DataError
        Values other than 0 and 1.
    InsufficientHistoryError
        Fewer than 2 periods.

    Examples
    --------
    >>> test = christoffersen_test([0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0])
    >>> f"{test.lr:.3f} {test.p_value:.3f}"
    '0.790 0.374'
    """
    indicator = _parse_hits(hits)
    before, after = indicator[:-1], indicator[1:]
    n_after_hit, n_after_none = int(before.sum()), int((1.0 - before).sum())
    again, fresh = int((before * after).sum()), int(((1.0 - before) * after).sum())
    chain = _log_likelihood(again, n_after_hit) + _log_likelihood(fresh, n_after_none)
    lr = 2.0 * (chain - _log_likelihood(again + fresh, len(after)))
    return _result(lr, 1, "christoffersen_independence", int(indicator.sum()), len(indicator))


def christoffersen_conditional_test(hits: npt.ArrayLike, *, alpha: float) -> CoverageTest:
    """Test frequency and independence of exceptions together (Christoffersen 1998).

    The sum of the Kupiec statistic of the periods after the first one and of the independence
    statistic, both on the same transitions; two degrees of freedom.

    Parameters
    ----------
    hits : array-like, shape (T,)
        1 or True where the loss was larger than the value at risk, in time order; NaN = unknown,
        left out.
    alpha : float
        Probability of an exception that the value at risk claims.

    Returns
    -------
    CoverageTest
        Two degrees of freedom.

    Raises
    ------
    DataError
        Values other than 0 and 1.
    InsufficientHistoryError
        Fewer than 2 periods.
    ConfigError
        ``alpha`` not strictly between 0 and 1.

    Examples
    --------
    >>> christoffersen_conditional_test([0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0], alpha=0.4).dof
    2
    """
    independence = christoffersen_test(hits)
    indicator = _parse_hits(hits)
    frequency = kupiec_test(int(indicator[1:].sum()), n_obs=len(indicator) - 1, alpha=alpha)
    return _result(
        independence.lr + frequency.lr,
        2,
        "christoffersen_conditional",
        independence.n_exceptions,
        independence.n_obs,
    )


def _parse_hits(hits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    indicator = parse_observed("hits", hits)
    if not np.isin(indicator, (0.0, 1.0)).all():
        raise DataError(
            "hits", wanted="0 or 1", got="other values", hint="Pass losses > value at risk."
        )
    if len(indicator) < 2:
        raise InsufficientHistoryError(
            "hits",
            wanted="at least 2 periods",
            got=len(indicator),
            hint="Independence needs a period and the one after it.",
        )
    return indicator


def _log_at(p: float, x: int, n: int) -> float:
    return float(xlogy(x, p) + xlog1py(n - x, -p))


def _log_likelihood(x: int, n: int) -> float:
    """Largest log-likelihood of x successes in n trials; 0 for no trial."""
    return _log_at(x / n, x, n) if n else 0.0


def _result(lr: float, dof: int, method: str, n_exceptions: int, n_obs: int) -> CoverageTest:
    # Rounding can leave a statistic of -1e-16.
    statistic = max(lr, 0.0)
    return CoverageTest(statistic, float(chdtrc(dof, statistic)), dof, method, n_exceptions, n_obs)
