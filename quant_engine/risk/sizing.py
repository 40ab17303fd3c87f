"""How much of each chosen name is held: the sizing configuration and its steps.

Who is held is decided elsewhere (`backtest.portfolio`). Sizes follow in this order, and every cap
holds after each step:

1. `weigh_names`: each side's gross exposure is shared out among its names;
2. `volatility_scale`: the book is scaled to a target volatility;
3. `kelly.trailing_kelly`: the book is scaled by what its own results justify;
4. the factor of the regime.

Each step is a function of arrays whose row t was known at the close of t. Nothing here reads a
file, a clock or the environment: a size is determined by its arguments alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
from pydantic import Field

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.risk.caps import CapConfig, cap_weights, parse_weights, share_sides
from quant_engine.risk.kelly import KellyConfig
from quant_engine.risk.volatility import VolatilityConfig
from quant_engine.stats.checks import parse_matrix, parse_vector

__all__ = [
    "SizingConfig",
    "VolatilityTarget",
    "scale_book",
    "volatility_scale",
    "weigh_names",
]


class VolatilityTarget(FrozenConfig):
    """Scaling of a book towards a wanted volatility.

    Parameters
    ----------
    target_ann : float
        Wanted annual volatility, fraction.
    max_leverage : float
        Largest factor on the book; the gross cap holds besides.
    volatility : VolatilityConfig
        Estimator on the book's own returns.

    Examples
    --------
    >>> VolatilityTarget(target_ann=0.1).max_leverage
    2.0
    """

    target_ann: float = Field(default=0.15, gt=0.0)
    max_leverage: float = Field(default=2.0, gt=0.0)
    volatility: VolatilityConfig = VolatilityConfig(window_sessions=20)


class SizingConfig(FrozenConfig):
    """How much of each chosen name is held.

    Parameters
    ----------
    weighting : {"portfolio", "equal", "inverse_volatility"}
        How a side's gross exposure is shared among its names: as the portfolio configuration
        weighs them, evenly, or in proportion to one over their volatility.
    volatility : VolatilityConfig
        Estimator of the names' volatility, for ``inverse_volatility``.
    target : VolatilityTarget or None
        Scale the book to a volatility; None = off.
    kelly : KellyConfig or None
        Scale the book by a fraction of what its own results justify; None = off.
    caps : CapConfig
        What holds after every step.

    Examples
    --------
    >>> SizingConfig(weighting="inverse_volatility").caps.max_gross_frac
    1.0
    """

    weighting: Literal["portfolio", "equal", "inverse_volatility"] = "portfolio"
    volatility: VolatilityConfig = VolatilityConfig()
    target: VolatilityTarget | None = None
    kelly: KellyConfig | None = None
    caps: CapConfig = CapConfig()


def weigh_names(
    weights: FloatMatrix, config: SizingConfig, *, volatility: FloatMatrix | None = None
) -> FloatMatrix:
    """Share the gross exposure of each side out among its names.

    Parameters
    ----------
    weights : ndarray, shape (T, N)
        Signed weights, fraction of equity; 0 = not held. The sum of a side is kept as far as the
        name cap allows; what it cuts off goes to the side's other names, then to cash.
    config : SizingConfig
        Weighting and caps.
    volatility : ndarray, shape (T, N), optional
        Annual volatility of the names known at each close, for ``inverse_volatility``; NaN = no
        estimate: the name is not held and its share goes to the side's other names.

    Returns
    -------
    ndarray of float64, shape (T, N)
        Signed weights within every cap; no sign changes.

    Raises
    ------
    ConfigError
        Inverse volatility without volatilities.
    DataError
        Weights that are NaN, another shape, or a volatility that is not above 0.

    Notes
    -----
    ``w_i = min(cap, x / v_i)`` on each side, with the x for which they add up to the side's gross.
    Without caps and correlations this gives every name the same risk.

    Examples
    --------
    >>> book = np.array([[0.25, 0.25, -0.5]])
    >>> config = SizingConfig(weighting="inverse_volatility", caps=CapConfig(max_name_frac=1.0))
    >>> vol = np.array([[0.1, 0.4, 0.2]])
    >>> weigh_names(book, config, volatility=vol).round(6).tolist()
    [[0.4, 0.1, -0.5]]
    """
    books = parse_weights(weights)
    raw = _raw_sizes(books, config, volatility)
    shared = share_sides(books, raw, max_name_frac=config.caps.max_name_frac)
    return cap_weights(shared, config.caps)


def _raw_sizes(
    books: FloatMatrix, config: SizingConfig, volatility: FloatMatrix | None
) -> FloatMatrix:
    """Size of every name before it is shared out, at least 0; NaN = gets nothing."""
    if config.weighting == "portfolio":
        return np.abs(books)
    if config.weighting == "equal":
        return np.ones_like(books)
    if volatility is None:
        raise ConfigError(
            "volatility",
            wanted="volatilities of the names for weighting='inverse_volatility'",
            got="none",
            hint="Pass realised_volatility of the names' returns.",
        )
    known = parse_matrix("volatility", volatility)
    if (known <= 0.0).any():
        raise DataError(
            "volatility",
            wanted="annual volatilities above 0; NaN = no estimate",
            got=f"{np.nanmin(known):g}",
            hint="realised_volatility has a floor for prices that did not move.",
        )
    return 1.0 / known


def volatility_scale(volatility: FloatVector, target: VolatilityTarget) -> FloatVector:
    """Factor that brings a book to its target volatility.

    Parameters
    ----------
    volatility : ndarray, shape (T,)
        Annual volatility of the book known at each close, fraction; NaN = no estimate.
    target : VolatilityTarget
        Target and largest factor.

    Returns
    -------
    ndarray of float64, shape (T,)
        ``min(max_leverage, target / volatility)``; without an estimate ``min(max_leverage, 1)``,
        because a size is not raised on what is unknown.

    Notes
    -----
    Moreira and Muir (2017), with volatility in place of variance; Harvey et al. (2018).

    Examples
    --------
    >>> volatility_scale(np.array([np.nan, 0.3, 0.05]), VolatilityTarget(target_ann=0.15)).tolist()
    [1.0, 0.5, 2.0]
    """
    known = parse_vector("volatility", volatility)
    with np.errstate(divide="ignore"):
        factor = target.target_ann / known
    return np.minimum(np.where(np.isnan(known), 1.0, factor), target.max_leverage)


def scale_book(
    weights: FloatMatrix, factors: Iterable[FloatVector], caps: CapConfig
) -> FloatMatrix:
    """Scale books by one factor after the other, cut to the caps after each.

    Parameters
    ----------
    weights : ndarray, shape (T, N)
        Signed weights, fraction of equity; no NaN.
    factors : iterable of ndarrays, shape (T,)
        Factor per book, at least 0; no NaN.
    caps : CapConfig
        What a cap cuts off in a scaling stays in cash.

    Returns
    -------
    ndarray of float64, shape (T, N)
        Signed weights within every cap; no absolute weight is above its product with the factors
        applied, each cut at its turn.

    Raises
    ------
    ConfigError
        A factor that is negative or NaN.

    Examples
    --------
    >>> caps = CapConfig(max_name_frac=0.3)
    >>> scale_book(np.array([[0.2, -0.1]]), [np.array([2.0]), np.array([0.5])], caps).tolist()
    [[0.15, -0.1]]
    """
    book = cap_weights(weights, caps)
    for factor in factors:
        if not (factor >= 0.0).all():
            raise ConfigError(
                "factors",
                wanted="numbers of at least 0",
                got=f"{factor[~(factor >= 0.0)][0]}",
                hint="A size is scaled, never turned; 0 means no position.",
            )
        book = cap_weights(book * factor[:, None], caps)
    return book
