"""Caps on one name, on the gross and on the net of a book, and what a cap cuts off.

Two operations, each for one decision at a time:

* `share_out` divides a total among names in proportion to raw sizes, none above the cap. What the
  cap cuts off goes to the other names in proportion, and to cash when all of them are capped. This
  is the only place where one name becomes larger because another one is capped. `share_sides` does
  it for both sides of many books.
* `cap_weights` cuts a book until every cap holds. It only ever makes positions smaller, never
  moves anything to another name, and never changes a sign.
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numba import njit
from pydantic import Field, model_validator

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.checks import check_same_shape, parse_matrix, parse_vector

__all__ = [
    "CapConfig",
    "cap_weights",
    "check_placed",
    "parse_weights",
    "share_out",
    "share_sides",
    "side_totals",
]

_ROUNDING = 1e-9


class CapConfig(FrozenConfig):
    """What a book may hold at most, as fractions of equity.

    Parameters
    ----------
    max_name_frac : float
        Absolute weight of one name.
    max_gross_frac : float
        Sum of absolute weights.
    max_net_frac : float or None
        Absolute sum of signed weights; None = no limit of its own.
    when_full : {"cash", "error"}
        When all names of a side are at their cap and the side's gross exposure is not reached: the
        rest stays in cash, or the caps are refused as infeasible.

    Examples
    --------
    >>> CapConfig(max_name_frac=0.05).max_gross_frac
    1.0
    """

    max_name_frac: float = Field(default=0.10, gt=0.0)
    max_gross_frac: float = Field(default=1.0, gt=0.0)
    max_net_frac: float | None = Field(default=None, ge=0.0)
    when_full: Literal["cash", "error"] = "cash"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_name_frac > self.max_gross_frac:
            raise ValueError("max_name_frac must not exceed max_gross_frac: one name at its cap "
                             "would already break the gross cap")  # fmt: skip
        if self.max_net_frac is not None and self.max_net_frac > self.max_gross_frac:
            raise ValueError("max_net_frac must not exceed max_gross_frac, which bounds it")
        return self


def share_out(raw: FloatVector, total: float, *, max_name_frac: float) -> FloatVector:
    """Divide a total in proportion to raw sizes, none above the cap.

    Parameters
    ----------
    raw : ndarray, shape (N,)
        Raw sizes in any unit, at least 0; 0 or NaN = gets nothing.
    total : float
        What is divided, fraction of equity, at least 0.
    max_name_frac : float
        Cap on one share, fraction of equity.

    Returns
    -------
    ndarray of float64, shape (N,)
        ``min(cap, x raw_i)`` with the x for which they add up to `total`, or the cap for every name
        with a raw size when ``n cap <= total``.

    Raises
    ------
    DataError
        A negative raw size or a negative total.

    Notes
    -----
    Water filling: with the raw sizes in descending order the capped names are a head of the list,
    so one pass finds the unique solution (Boyd and Vandenberghe, *Convex Optimization*, ex. 5.2).

    Examples
    --------
    >>> share_out(np.array([6.0, 3.0, 1.0, np.nan]), 1.0, max_name_frac=0.5).tolist()
    [0.5, 0.375, 0.125, 0.0]
    """
    sizes = np.nan_to_num(parse_vector("raw", raw), nan=0.0)
    if (sizes < 0.0).any() or not total >= 0.0:
        raise DataError(
            "raw",
            wanted="sizes and a total of at least 0",
            got=f"smallest size {sizes.min(initial=0.0):g}, total {total:g}",
            hint="Share out each side by its absolute sizes and put the sign back afterwards.",
        )
    shares = np.zeros(sizes.size)
    _share_out_kernel(sizes, float(total), float(max_name_frac), shares)
    return shares


def share_sides(weights: FloatMatrix, raw: FloatMatrix, *, max_name_frac: float) -> FloatMatrix:
    """Share the gross exposure of each side of each book out among its names.

    Parameters
    ----------
    weights : ndarray, shape (T, N)
        Signed weights, fraction of equity; 0 = not held; no NaN. They say who is held on which
        side, and the sum of a side what is shared out.
    raw : ndarray, shape (T, N)
        Raw sizes in any unit, at least 0; 0 or NaN = gets nothing. Read where a name is held.
    max_name_frac : float
        Cap on one name, fraction of equity.

    Returns
    -------
    ndarray of float64, shape (T, N)
        `share_out` of each side, with the sign put back.

    Raises
    ------
    DataError
        Weights that are NaN, another shape, or a negative raw size.

    Examples
    --------
    >>> book = np.array([[0.4, 0.1, -0.5]])
    >>> share_sides(book, np.array([[1.0, 3.0, 7.0]]), max_name_frac=0.3).round(6).tolist()
    [[0.2, 0.3, -0.3]]
    """
    books, sizes = parse_weights(weights), parse_matrix("raw", raw)
    check_same_shape("weights", books, "raw", sizes)
    sizes = np.where(books != 0.0, np.nan_to_num(sizes, nan=0.0), 0.0)
    if (sizes < 0.0).any():
        raise DataError(
            "raw",
            wanted="sizes of at least 0",
            got=f"{sizes.min():g}",
            hint="The side is the sign of the weight; a size has none.",
        )
    shared = np.zeros_like(books)
    _share_sides_kernel(books, sizes, float(max_name_frac), shared)
    return shared


def parse_weights(weights: FloatMatrix) -> FloatMatrix:
    """Read books, in which every name must have a weight.

    Parameters
    ----------
    weights : ndarray, shape (T, N)
        Signed weights, fraction of equity.

    Returns
    -------
    ndarray of float64, shape (T, N), C order
        The weights; not a copy where they already were.

    Raises
    ------
    DataError
        Another rank, or a weight that is NaN or infinite.

    Examples
    --------
    >>> parse_weights(np.array([[0.5, 0.0]])).tolist()
    [[0.5, 0.0]]
    """
    books = parse_matrix("weights", weights)
    if np.isnan(books).any():
        row, column = (int(i[0]) for i in np.nonzero(np.isnan(books)))
        raise DataError(
            "weights",
            wanted="a number for every name; 0 = not held",
            got=f"NaN in row {row}, column {column}",
            hint="A name without a size is not held: write 0.",
        )
    return books


def cap_weights(weights: FloatMatrix, caps: CapConfig) -> FloatMatrix:
    """Cut books until every cap holds.

    Parameters
    ----------
    weights : ndarray, shape (T, N)
        Signed weights, fraction of equity, one book per row; no NaN.
    caps : CapConfig
        The caps.

    Returns
    -------
    ndarray of float64, shape (T, N)
        In this order: every name cut to its cap; the whole book scaled down to the gross cap; the
        larger side scaled down to the net cap. No absolute weight grows and no sign changes; a book
        within its caps comes back as it was.

    Raises
    ------
    DataError
        A weight that is NaN or infinite.

    Examples
    --------
    >>> caps = CapConfig(max_name_frac=0.5, max_gross_frac=1.0, max_net_frac=0.2)
    >>> cap_weights(np.array([[0.8, 0.3, -0.2]]), caps).round(6).tolist()
    [[0.25, 0.15, -0.2]]
    """
    net = np.inf if caps.max_net_frac is None else caps.max_net_frac
    cut = parse_weights(weights).copy()
    _cap_kernel(cut, caps.max_name_frac, caps.max_gross_frac, net)
    return cut


def side_totals(weights: FloatMatrix) -> FloatMatrix:
    """Sum of absolute weights per side.

    Parameters
    ----------
    weights : ndarray, shape (T, N)
        Signed weights, fraction of equity; no NaN.

    Returns
    -------
    ndarray of float64, shape (T, 2)
        Long and short total, both at least 0.

    Examples
    --------
    >>> side_totals(np.array([[0.5, -0.25, 0.25]])).tolist()
    [[0.75, 0.25]]
    """
    return np.column_stack(
        [np.maximum(weights, 0.0).sum(axis=1), np.maximum(-weights, 0.0).sum(axis=1)]
    )


def check_placed(weights: FloatMatrix, side_gross: float, caps: CapConfig) -> None:
    """Refuse caps under which a side cannot be filled, where the configuration asks for that.

    Parameters
    ----------
    weights : ndarray, shape (T, N)
        Signed weights after sharing out, fraction of equity. A side without any name is not
        counted: there is nothing to hold.
    side_gross : float
        Gross exposure that each side should reach, fraction of equity.
    caps : CapConfig
        With ``when_full="cash"`` nothing is checked.

    Raises
    ------
    ConfigError
        The caps are infeasible for the names of a decision.

    Examples
    --------
    >>> check_placed(np.array([[0.5, -0.5]]), 0.5, CapConfig(max_name_frac=0.5, when_full="error"))
    """
    if caps.when_full == "cash":
        return
    placed = side_totals(weights)
    n_names = np.column_stack([(weights > 0.0).sum(axis=1), (weights < 0.0).sum(axis=1)])
    short = (n_names > 0) & (placed < side_gross * (1.0 - _ROUNDING))
    if not short.any():
        return
    row, side = (int(i[0]) for i in np.nonzero(short))
    names = int(n_names[row, side])
    raise ConfigError(
        "caps",
        wanted=f"room for a gross of {side_gross:g} on the {('long', 'short')[side]} side",
        got=f"{names} names under a cap of {caps.max_name_frac:g} in decision {row}, "
        f"which hold {placed[row, side]:g}",
        hint="Hold more names, raise max_name_frac, or let the rest stay in cash "
        "(when_full='cash').",
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _share_out_kernel(raw: FloatVector, total: float, cap: float, shares: FloatVector) -> None:
    order = np.argsort(-raw)
    rest = np.zeros(raw.size + 1)
    # Sums from the smallest up, so that a tail beside a huge head keeps its digits.
    for j in range(raw.size - 1, -1, -1):
        rest[j] = rest[j + 1] + raw[order[j]]
    left = total
    for j in range(raw.size):
        size = raw[order[j]]
        if not size > 0.0:
            return
        if left * (size / rest[j]) > cap:
            shares[order[j]] = cap
            left -= cap
            continue
        for k in range(j, raw.size):
            shares[order[k]] = left * (raw[order[k]] / rest[j])
        return


@njit(cache=True, nogil=True, error_model="numpy")
def _share_sides_kernel(
    books: FloatMatrix, sizes: FloatMatrix, cap: float, shared: FloatMatrix
) -> None:
    n_assets = books.shape[1]
    names, raw, shares = np.empty(n_assets, np.int64), np.empty(n_assets), np.empty(n_assets)
    for t in range(books.shape[0]):
        for side in (1.0, -1.0):
            n, total = 0, 0.0
            for i in range(n_assets):
                if side * books[t, i] > 0.0:
                    names[n], raw[n], shares[n] = i, sizes[t, i], 0.0
                    total += side * books[t, i]
                    n += 1
            _share_out_kernel(raw[:n], total, cap, shares[:n])
            for j in range(n):
                shared[t, names[j]] = side * shares[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _cap_kernel(books: FloatMatrix, name_cap: float, gross_cap: float, net_cap: float) -> None:
    for t in range(books.shape[0]):
        book = books[t]
        long_gross, short_gross = 0.0, 0.0
        for i in range(book.size):
            # Adding 0 makes 0 of the -0 that a short times 0 is.
            book[i] = min(max(book[i], -name_cap), name_cap) + 0.0
            long_gross += max(book[i], 0.0)
            short_gross += max(-book[i], 0.0)
        gross = long_gross + short_gross
        both = gross_cap / gross if gross > gross_cap else 1.0
        long_factor, short_factor = both, both
        long_gross, short_gross = both * long_gross, both * short_gross
        if long_gross - short_gross > net_cap:
            long_factor = both * ((short_gross + net_cap) / long_gross)
        elif short_gross - long_gross > net_cap:
            short_factor = both * ((long_gross + net_cap) / short_gross)
        if min(long_factor, short_factor) < 1.0:
            for i in range(book.size):
                book[i] *= long_factor if book[i] > 0.0 else short_factor
