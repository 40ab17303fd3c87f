"""Mean, spread and shape of a series of returns, with the convention of each number in the result.

Contract: NaN = the period was not observed and is left out; infinity is refused. Kurtosis is plain
(Pearson, normal = 3) wherever it is a field; ``excess_kurtosis`` says so in its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError
from quant_engine.stats.checks import parse_observed

__all__ = ["Moments", "moments", "standard_deviation"]

MomentConvention = Literal["population", "sample"]


@dataclass(frozen=True)
class Moments:
    """First four moments of a series.

    Parameters
    ----------
    mean : float
        In the unit of the input.
    std : float
        Standard deviation with ``ddof``, in the unit of the input.
    skew : float
        Standardised third moment.
    kurtosis : float
        Standardised fourth moment, plain: 3 for a normal distribution.
    n_obs : int
        Observed values.
    ddof : int
        Of ``std``.
    convention : str
        ``"population"`` (moments divided by n) or ``"sample"`` (adjusted for bias).

    Examples
    --------
    >>> moments([1.0, 2.0, 3.0, 4.0]).excess_kurtosis
    -1.36
    """

    mean: float
    std: float
    skew: float
    kurtosis: float
    n_obs: int
    ddof: int
    convention: MomentConvention

    @property
    def excess_kurtosis(self) -> float:
        """Kurtosis minus 3: 0 for a normal distribution."""
        return self.kurtosis - 3.0


def moments(
    values: npt.ArrayLike, *, ddof: int = 1, convention: MomentConvention = "population"
) -> Moments:
    """Mean, standard deviation, skew and kurtosis.

    Parameters
    ----------
    values : array-like, shape (n,)
        Returns or any other numbers; NaN = not observed, left out.
    ddof : int
        Of the standard deviation: 1 sample, 0 population.
    convention : {"population", "sample"}
        ``population``: ``g1 = m3 / m2^1.5`` and ``b2 = m4 / m2^2`` with moments divided by n, what
        the Sharpe formulas take. ``sample``: the bias-adjusted G1 and G2 + 3, what pandas and most
        spreadsheets print.

    Returns
    -------
    Moments
        Skew and kurtosis are NaN without variation, and in the sample convention below 3 and 4
        observations; mean and std are NaN without (with ``ddof`` or fewer) observations.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.
    ConfigError
        Unknown convention.

    Notes
    -----
    ``G1 = g1 sqrt(n (n-1)) / (n-2)`` and ``G2 = (n-1) ((n+1) (b2-3) + 6) / ((n-2) (n-3))``
    (Joanes and Gill 1998).

    Examples
    --------
    >>> shape = moments([0.01, -0.02, 0.015, 0.0, 0.005])
    >>> f"{shape.skew:.3f} {shape.kurtosis:.3f}"
    '-0.898 2.505'
    """
    if convention not in ("population", "sample"):
        raise ConfigError(
            "convention",
            wanted="'population' or 'sample'",
            got=repr(convention),
            hint="Use 'population' for Sharpe formulas.",
        )
    observed = parse_observed("values", values)
    n_obs = len(observed)
    skew, kurtosis = _shape(observed)
    if convention == "sample":
        skew, kurtosis = _adjusted(skew, kurtosis, n_obs)
    return Moments(
        mean=float(observed.mean()) if n_obs else float("nan"),
        std=standard_deviation(observed, ddof=ddof),
        skew=skew,
        kurtosis=kurtosis,
        n_obs=n_obs,
        ddof=ddof,
        convention=convention,
    )


def standard_deviation(values: npt.ArrayLike, *, ddof: int = 1) -> float:
    """Standard deviation that is exactly zero for equal values.

    Parameters
    ----------
    values : array-like, shape (n,)
        Any unit; NaN = not observed, left out.
    ddof : int
        1 for the sample standard deviation, 0 for the population one.

    Returns
    -------
    float
        In the unit of the input; NaN with ``ddof`` or fewer observations.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> standard_deviation([0.1, 0.1, 0.1]), round(standard_deviation([1.0, 2.0]), 4)
    (0.0, 0.7071)
    """
    observed = parse_observed("values", values)
    if len(observed) <= ddof:
        return float("nan")
    if observed.min() == observed.max():
        # The mean of equal floats need not equal them, and rounding is not risk.
        return 0.0
    return float(observed.std(ddof=ddof))


def _shape(observed: FloatVector) -> tuple[float, float]:
    """Population skew and plain kurtosis; NaN without variation."""
    if len(observed) == 0 or observed.min() == observed.max():
        return float("nan"), float("nan")
    deviation = observed - observed.mean()
    # Scaled first, because the fourth power of small returns underflows long before they vanish.
    deviation /= np.abs(deviation).max()
    second = float(np.mean(deviation**2))
    return (
        float(np.mean(deviation**3)) / second**1.5,
        float(np.mean(deviation**4)) / second**2,
    )


def _adjusted(skew: float, kurtosis: float, n: int) -> tuple[float, float]:
    """Bias-adjusted shape; NaN where the adjustment divides by nothing."""
    nan = float("nan")
    g1 = skew * sqrt(n * (n - 1)) / (n - 2) if n >= 3 else nan
    g2 = (n - 1) * ((n + 1) * (kurtosis - 3.0) + 6.0) / ((n - 2) * (n - 3)) if n >= 4 else nan
    return g1, g2 + 3.0
