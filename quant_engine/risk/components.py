"""Value at risk of a book by position, for normally distributed returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.checks import parse_matrix, parse_vector

__all__ = ["RiskParts", "component_var"]

_ROUNDING = 1e-10


@dataclass(frozen=True, eq=False)
class RiskParts:
    """What each position contributes; losses are positive.

    Parameters
    ----------
    sigma : float
        Volatility of the book, in the unit of the positions.
    var : float
        Value at risk of the book, the same unit.
    undiversified : float
        Sum of the individual values at risk.
    individual : ndarray of float64, shape (N,)
        Value at risk of each position alone.
    marginal : ndarray of float64, shape (N,)
        Change of the book's value at risk per unit more of the position.
    component : ndarray of float64, shape (N,)
        Position times marginal; adds up to `var`.
    share : ndarray of float64, shape (N,)
        Component as a fraction of `var`.
    beta : ndarray of float64, shape (N,)
        Covariance of the position's return with the book's over the book's variance, per unit of
        the book's net size.
    """

    sigma: float
    var: float
    undiversified: float
    individual: FloatVector
    marginal: FloatVector
    component: FloatVector
    share: FloatVector
    beta: FloatVector


def component_var(positions: FloatVector, covariance: FloatMatrix, *, z: float) -> RiskParts:
    """Split the value at risk of a book into what its positions contribute.

    Parameters
    ----------
    positions : ndarray, shape (N,)
        Signed sizes in currency or as fractions; no NaN.
    covariance : ndarray, shape (N, N)
        Of the returns over the horizon, symmetric and positive semidefinite; no NaN.
    z : float
        Standard normal quantile of the confidence level, above 0, such as 1.645 for 95 %.

    Returns
    -------
    RiskParts
        In the unit of `positions`. Betas are NaN for a book whose sizes add up to 0.

    Raises
    ------
    ConfigError
        A quantile that is not above 0.
    DataError
        Shapes that do not fit, NaN, a matrix that is not a covariance, or a book without risk.

    Notes
    -----
    With ``s = sqrt(x' S x)``: ``VaR = z s``, ``marginal = z S x / s``, ``component = x marginal``
    (Euler's theorem makes them add up), ``individual = z |x_i| sqrt(S_ii)``,
    ``beta = (S x / s^2) sum x`` (Jorion, *Value at Risk*, chapter 7).

    Examples
    --------
    >>> parts = component_var(np.array([2.0, 1.0]), np.diag([0.05**2, 0.12**2]), z=1.65)
    >>> round(parts.var, 4), parts.component.round(4).tolist()
    (0.2577, [0.1056, 0.1521])
    """
    sizes, cov = parse_vector("positions", positions), parse_matrix("covariance", covariance)
    if not z > 0.0:
        raise ConfigError(
            "z",
            wanted="a quantile above 0",
            got=z,
            hint="Use 1.645 for 95 %; losses are positive.",
        )
    if cov.shape != (sizes.size, sizes.size) or np.isnan(cov).any() or np.isnan(sizes).any():
        raise DataError(
            "covariance",
            wanted=f"numbers of shape ({sizes.size}, {sizes.size}) beside as many positions",
            got=f"shape {cov.shape}, {int(np.isnan(cov).sum())} NaN, "
            f"{int(np.isnan(sizes).sum())} NaN positions",
            hint="Leave out names without an estimate.",
        )
    scale = float(np.abs(cov).max(initial=0.0))
    lowest = float(np.linalg.eigvalsh(cov).min()) if sizes.size else 0.0
    if np.abs(cov - cov.T).max(initial=0.0) > _ROUNDING * scale or lowest < -_ROUNDING * scale:
        raise DataError(
            "covariance",
            wanted="a symmetric matrix without negative eigenvalues",
            got=f"smallest eigenvalue {lowest:g}",
            hint="A matrix put together pair by pair need not be one; shrink or clip it.",
        )
    with_book = cov @ sizes
    variance = float(sizes @ with_book)
    if not variance > 0.0:
        raise DataError(
            "positions", wanted="a book with risk", got=f"variance {variance:g}", hint="It is flat."
        )
    sigma = variance**0.5
    marginal = z * with_book / sigma
    individual = z * np.abs(sizes) * np.sqrt(np.diag(cov))
    component = sizes * marginal
    net = float(sizes.sum())
    return RiskParts(
        sigma=sigma,
        var=z * sigma,
        undiversified=float(individual.sum()),
        individual=individual,
        marginal=marginal,
        component=component,
        share=component / (z * sigma),
        beta=with_book / variance * (net if net != 0.0 else np.nan),
    )
