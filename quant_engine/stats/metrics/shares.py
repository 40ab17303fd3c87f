"""Concentration and turnover: how few positions, or how few periods, made the whole.

Contract: weights are fractions of equity and may be negative; their sign counts only where a
docstring says so. NaN = not held.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import DataError
from quant_engine.stats.checks import check_same_shape, parse_matrix, parse_observed, parse_vector

__all__ = [
    "Concentration",
    "concentration",
    "effective_number",
    "herfindahl",
    "return_concentration",
    "turnover",
]


@dataclass(frozen=True)
class Concentration:
    """How evenly something is spread over its parts.

    Parameters
    ----------
    herfindahl : float
        Sum of squared shares: 1 / n (even) to 1 (one part is everything).
    normalised : float
        ``(herfindahl - 1/n) / (1 - 1/n)``: 0 (even) to 1; NaN for a single part.
    effective_number : float
        ``1 / herfindahl``.
    largest_share : float
        Share of the largest part (fraction).
    n_parts : int
        n.

    Examples
    --------
    >>> concentration([0.5, -0.5]).effective_number
    2.0
    """

    herfindahl: float
    normalised: float
    effective_number: float
    largest_share: float
    n_parts: int


def concentration(amounts: npt.ArrayLike) -> Concentration:
    """Concentration of amounts, by absolute size.

    Parameters
    ----------
    amounts : array-like, shape (n,)
        Weights, exposures or sums, any unit; NaN = not a part. The sign does not matter: a short
        position concentrates a book as a long one does.

    Returns
    -------
    Concentration
        NaN where nothing is there or everything is 0.

    Raises
    ------
    DataError
        Not a finite one-dimensional series.

    Examples
    --------
    >>> result = concentration([0.6, -0.3, 0.1])
    >>> f"{result.herfindahl:.2f} {result.normalised:.2f} {result.largest_share:.2f}"
    '0.46 0.19 0.60'
    """
    sizes = np.abs(parse_observed("amounts", amounts))
    total = float(sizes.sum())
    n_parts, nan = len(sizes), float("nan")
    if not total > 0.0:
        return Concentration(nan, nan, nan, nan, n_parts)
    share = sizes / total
    index = float(share @ share)
    even = 1.0 / n_parts
    return Concentration(
        herfindahl=index,
        normalised=(index - even) / (1.0 - even) if n_parts > 1 else nan,
        effective_number=1.0 / index,
        largest_share=float(share.max()),
        n_parts=n_parts,
    )


def herfindahl(weights: npt.ArrayLike) -> FloatVector:
    """Sum of squared shares of gross exposure, per period (Hirschman 1945, Herfindahl 1950).

    Parameters
    ----------
    weights : array-like, shape (T, N)
        Weights (fraction of equity), any sign; NaN = not held.

    Returns
    -------
    ndarray of float64, shape (T,)
        1 / n (even) to 1; NaN in a period without a position.

    Raises
    ------
    DataError
        Not a finite two-dimensional array.

    Examples
    --------
    >>> herfindahl([[0.5, -0.5], [1.0, 0.0]])
    array([0.5, 1. ])
    """
    sizes = np.abs(np.nan_to_num(parse_matrix("weights", weights)))
    gross = sizes.sum(axis=1)
    share = np.full(sizes.shape, np.nan)
    np.divide(sizes, gross[:, None], out=share, where=(gross > 0.0)[:, None])
    index: FloatVector = (share**2).sum(axis=1)
    return index


def effective_number(weights: npt.ArrayLike) -> FloatVector:
    """Number of equal positions that would be as concentrated, ``1 / herfindahl``.

    Parameters
    ----------
    weights : array-like, shape (T, N)
        Weights (fraction of equity), any sign; NaN = not held.

    Returns
    -------
    ndarray of float64, shape (T,)
        1 to n; NaN in a period without a position.

    Raises
    ------
    DataError
        Not a finite two-dimensional array.

    Examples
    --------
    >>> effective_number([[0.5, -0.5], [1.0, 0.0]])
    array([2., 1.])
    """
    number: FloatVector = 1.0 / herfindahl(weights)
    return number


def return_concentration(
    returns: npt.ArrayLike, periods: npt.ArrayLike, *, is_gain: bool = True
) -> Concentration:
    """How much of all gains (or losses) came from few periods, such as months.

    Returns are summed per period; the gains are the periods with a positive sum, the losses those
    with a negative one (Lopez de Prado 2018, 14.5).

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns (fraction); NaN = not observed, adds nothing.
    periods : array-like, shape (T,)
        Label of the period of each return, for instance ``datetime64[M]``.
    is_gain : bool
        Look at gains, or else at losses.

    Returns
    -------
    Concentration
        Over the periods with a gain (or loss); NaN without one.

    Raises
    ------
    DataError
        Lengths that differ, or not a finite one-dimensional series.

    Examples
    --------
    >>> months = ["2024-01", "2024-01", "2024-02", "2024-03"]
    >>> result = return_concentration([0.01, 0.02, 0.01, -0.05], months)
    >>> result.n_parts, round(result.largest_share, 2)
    (2, 0.75)
    """
    series, labels = parse_vector("returns", returns), np.asarray(periods)
    if labels.shape != series.shape:
        raise DataError(
            "periods",
            wanted=f"one label per return, shape {series.shape}",
            got=labels.shape,
            hint="Pass the month of each session.",
        )
    _, group = np.unique(labels, return_inverse=True)
    sums = np.bincount(group, weights=np.nan_to_num(series)) * (1.0 if is_gain else -1.0)
    return concentration(sums[sums > 0.0])


def turnover(weights: npt.ArrayLike, *, held_before: npt.ArrayLike | None = None) -> FloatVector:
    """Half of the traded weight per period, ``sum |w_t - h_t| / 2``.

    Parameters
    ----------
    weights : array-like, shape (T, N)
        Weights after trading (fraction of equity); NaN = not held, counts as 0.
    held_before : array-like, shape (T, N), optional
        Weights just before trading, drifted by returns. Without it the previous row is used,
        which ignores drift, and the first row starts from cash.

    Returns
    -------
    ndarray of float64, shape (T,)
        Fraction of equity per period; times periods per year for the annual number.

    Raises
    ------
    DataError
        Shapes that differ, or values that are not finite.

    Examples
    --------
    >>> turnover([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0]])
    array([0.5, 0.5, 0. ])
    """
    after = np.nan_to_num(parse_matrix("weights", weights))
    if held_before is None:
        before = np.vstack([np.zeros((1, after.shape[1])), after[:-1]])[: len(after)]
    else:
        before = np.nan_to_num(parse_matrix("held_before", held_before))
    check_same_shape("weights", after, "held_before", before)
    moved: FloatVector = np.abs(after - before).sum(axis=1) / 2.0
    return moved
