"""Cross-sections: ranks, scores and moments of each session across its assets.

Contract: every function takes one field of shape (sessions, assets) and an optional mask of the
assets that take part. A value that takes no part, is NaN or is infinite counts nowhere and is NaN
in the result. Each session stands alone, so nothing is fitted and nothing can leak over time; and
no result depends, by a single bit, on the order of the assets.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.checks import check_same_shape
from quant_engine.stats.ordering import row_order

__all__ = [
    "average_ranks",
    "equal_weight_mean",
    "equal_weight_std",
    "group_mean",
    "percentile_rank",
    "rank_gaussian",
    "session_quantile",
    "taking_part",
    "winsorise",
    "z_score",
]

IntMatrix = npt.NDArray[np.int64]

RANK, PERCENTILE, GAUSSIAN = range(3)
"""What is made of an average rank."""

# Rational approximations of the normal quantile: Wichura (1988), AS 241, routine PPND16.
_CENTRE_P = np.array([
    2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
    13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608,
])  # fmt: skip
_CENTRE_Q = np.array([
    5226.495278852545925, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867,
    5394.1960214247511077, 687.1870074920579083, 42.313330701600911252, 1.0,
])  # fmt: skip
_NEAR_P = np.array([
    7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177,
    1.27045825245236838258, 3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959,
    1.42343711074968357734,
])  # fmt: skip
_NEAR_Q = np.array([
    1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966,
    0.14810397642748007459, 0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187,
    1.0,
])  # fmt: skip
_FAR_P = np.array([
    2.01033439929228813265e-7, 2.71155556874348757815e-5, 0.0012426609473880784386,
    0.026532189526576123093, 0.29656057182850489123, 1.7848265399172913358, 5.4637849111641143699,
    6.6579046435011037772,
])  # fmt: skip
_FAR_Q = np.array([
    2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5,
    7.868691311456132591e-4, 0.0148753612908506148525, 0.13692988092273580531,
    0.59983220655588793769, 1.0,
])  # fmt: skip


def average_ranks(
    values: FloatMatrix, *, mask: BoolMatrix | None = None
) -> tuple[FloatVector, IntMatrix]:
    """Rank of each asset among the assets of its session, ties sharing their mean rank.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (T, N)
        Any unit; NaN = missing, stays NaN.
    mask : ndarray of bool, shape (T, N), optional
        Assets that take part.

    Returns
    -------
    ranks : ndarray of float64, shape (T, N)
        1 (smallest) to n, exact multiples of one half.
    counts : ndarray of int64, shape (T,)
        n, the assets of each session that took part.

    Raises
    ------
    DataError
        No two-dimensional floats, or a mask of another shape.

    Examples
    --------
    >>> average_ranks(np.array([[5.0, 5.0, 1.0, np.nan]]))[0]
    array([[2.5, 2.5, 1. , nan]])
    """
    chosen = taking_part(values, mask)
    ranks = np.empty(chosen.shape)
    counts = np.empty(len(chosen), dtype=np.int64)
    _fill_scores(chosen, row_order(chosen), RANK, ranks, counts)
    return ranks, counts


def percentile_rank(values: FloatMatrix, *, mask: BoolMatrix | None = None) -> FloatMatrix:
    """Midrank of each asset among the assets of its session, in (0, 1).

    (average rank - 1/2)/n with n the number of values of the session; ties share their average.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (T, N)
        Any unit; NaN = missing, stays NaN.
    mask : ndarray of bool, shape (T, N), optional
        Assets that take part.

    Returns
    -------
    ndarray, shape (T, N)
        Same dtype as the input.

    Raises
    ------
    DataError
        No two-dimensional floats, or a mask of another shape.

    Examples
    --------
    >>> percentile_rank(np.array([[1.0, np.nan, 3.0, 3.0]])).round(3).tolist()
    [[0.167, nan, 0.667, 0.667]]
    """
    return _scores(taking_part(values, mask), PERCENTILE)


def rank_gaussian(values: FloatMatrix, *, mask: BoolMatrix | None = None) -> FloatMatrix:
    """Normal score of each asset's midrank among the assets of its session.

    Phi^-1((average rank - 1/2)/n); a session with one value gives 0, equal values give equal
    scores, and the scores of -x are exactly minus the scores of x.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (T, N)
        Any unit; NaN = missing, stays NaN.
    mask : ndarray of bool, shape (T, N), optional
        Assets that take part.

    Returns
    -------
    ndarray, shape (T, N)
        Same dtype as the input, standard normal units.

    Raises
    ------
    DataError
        No two-dimensional floats, or a mask of another shape.

    Notes
    -----
    Normal quantile by Wichura (1988), Applied Statistics 37(3), AS 241, relative error 5e-16.

    Examples
    --------
    >>> rank_gaussian(np.array([[1.0, np.nan, 3.0, 2.0]])).round(3).tolist()
    [[-0.967, nan, 0.967, 0.0]]
    """
    return _scores(taking_part(values, mask), GAUSSIAN)


def z_score(values: FloatMatrix, *, mask: BoolMatrix | None = None) -> FloatMatrix:
    """Distance from the mean of the session in standard deviations of the session (ddof 1).

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (T, N)
        Any unit; NaN = missing, stays NaN.
    mask : ndarray of bool, shape (T, N), optional
        Assets that take part.

    Returns
    -------
    ndarray, shape (T, N)
        Same dtype as the input, computed in float64; NaN in a session with fewer than two
        different values, which measured no distance.

    Raises
    ------
    DataError
        No two-dimensional floats, or a mask of another shape.

    Examples
    --------
    >>> z_score(np.array([[1.0, 2.0, 3.0, np.nan]])).tolist()
    [[-1.0, 0.0, 1.0, nan]]
    """
    chosen = taking_part(values, mask)
    ordered = np.sort(chosen, axis=1)
    out = np.empty_like(chosen)
    _fill_z(chosen, ordered, _mean_of_sorted(ordered), out)
    return out


def winsorise(
    values: FloatMatrix,
    *,
    tail_frac: float,
    upper_tail_frac: float | None = None,
    mask: BoolMatrix | None = None,
) -> FloatMatrix:
    """Pull each session's tails in to its own quantiles.

    Values below the `tail_frac` quantile or above the 1 - `upper_tail_frac` quantile of the session
    (linear interpolation) become that quantile.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (T, N)
        Any unit; NaN = missing, stays NaN.
    tail_frac : float
        Share of the lower tail, and of the upper one where that has none of its own, in [0, 0.5).
    upper_tail_frac : float, optional
        Share of the upper tail, in [0, 0.5).
    mask : ndarray of bool, shape (T, N), optional
        Assets that take part.

    Returns
    -------
    ndarray, shape (T, N)
        Same dtype as the input.

    Raises
    ------
    ConfigError
        A share outside [0, 0.5).
    DataError
        No two-dimensional floats, or a mask of another shape.

    Examples
    --------
    >>> winsorise(np.array([[1.0, np.nan, 3.0, 4.0]]), tail_frac=0.1).round(3).tolist()
    [[1.4, nan, 3.0, 3.8]]
    """
    upper_frac = tail_frac if upper_tail_frac is None else upper_tail_frac
    for name, share in (("tail_frac", tail_frac), ("upper_tail_frac", upper_frac)):
        if not 0.0 <= share < 0.5:
            raise ConfigError(
                name,
                wanted="a share of each tail in [0, 0.5)",
                got=share,
                hint="Write 0.01 for 1 %.",
            )
    wide = taking_part(values, mask).astype(np.float64)
    ordered = np.sort(wide, axis=1)
    last = np.maximum(np.isfinite(wide).sum(axis=1) - 1, 0)
    low = _row_quantile(ordered, last, tail_frac)
    high = _row_quantile(ordered, last, 1.0 - upper_frac)
    return np.clip(wide, low[:, None], high[:, None]).astype(values.dtype)


def equal_weight_mean(values: FloatMatrix, mask: BoolMatrix | None = None) -> FloatVector:
    """Plain mean over the assets of each session.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (T, N)
        Any unit; NaN = missing, left out.
    mask : ndarray of bool, shape (T, N), optional
        Assets that take part.

    Returns
    -------
    ndarray of float64, shape (T,)
        NaN in a session without a value.

    Raises
    ------
    DataError
        No two-dimensional floats, or a mask of another shape.

    Examples
    --------
    >>> equal_weight_mean(np.array([[1.0, 3.0], [np.nan, np.nan]])).tolist()
    [2.0, nan]
    """
    return _mean_of_sorted(np.sort(taking_part(values, mask), axis=1))


def equal_weight_std(values: FloatMatrix, mask: BoolMatrix | None = None) -> FloatVector:
    """Standard deviation (ddof 1) over the assets of each session.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (T, N)
        Any unit; NaN = missing, left out.
    mask : ndarray of bool, shape (T, N), optional
        Assets that take part.

    Returns
    -------
    ndarray of float64, shape (T,)
        NaN in a session with fewer than two values.

    Raises
    ------
    DataError
        No two-dimensional floats, or a mask of another shape.

    Examples
    --------
    >>> equal_weight_std(np.array([[1.0, 2.0, 3.0], [1.0, np.nan, np.nan]])).tolist()
    [1.0, nan]
    """
    ordered = np.sort(taking_part(values, mask).astype(np.float64), axis=1)
    count = np.isfinite(ordered).sum(axis=1)
    squares = np.nansum((ordered - _mean_of_sorted(ordered)[:, None]) ** 2, axis=1)
    std: FloatVector = np.sqrt(squares / np.where(count > 1, count - 1, np.nan))
    return std


def session_quantile(
    values: FloatMatrix, level: float, mask: BoolMatrix | None = None
) -> FloatVector:
    """Quantile over the assets of each session, linear interpolation.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (T, N)
        Any unit; NaN = missing, left out.
    level : float
        From 0 to 1.
    mask : ndarray of bool, shape (T, N), optional
        Assets that take part.

    Returns
    -------
    ndarray of float64, shape (T,)
        NaN in a session without a value.

    Raises
    ------
    ConfigError
        A level outside [0, 1].
    DataError
        No two-dimensional floats, or a mask of another shape.

    Examples
    --------
    >>> session_quantile(np.array([[1.0, np.nan, 3.0, 4.0]]), 0.5).tolist()
    [3.0]
    """
    if not 0.0 <= level <= 1.0:
        raise ConfigError(
            "level", wanted="a level in [0, 1]", got=level, hint="Write 0.25 for the quartile."
        )
    ordered = np.sort(taking_part(values, mask).astype(np.float64), axis=1)
    last = np.maximum(np.isfinite(ordered).sum(axis=1) - 1, 0)
    return _row_quantile(ordered, last, level)


def group_mean(
    values: FloatMatrix,
    codes: npt.NDArray[np.integer],
    *,
    mask: BoolMatrix | None = None,
    min_assets: int = 1,
) -> FloatVector:
    """Mean over the assets of each session and group, given back to every asset of the group.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (T, N)
        Any unit; NaN = missing, left out.
    codes : ndarray of int, shape (T, N)
        Group of each asset, from 0; -1 = unknown.
    mask : ndarray of bool, shape (T, N), optional
        Assets that take part in the mean.
    min_assets : int
        Values that a group needs on a session.

    Returns
    -------
    ndarray of float64, shape (T, N)
        Mean of the asset's group, also for assets that took no part in it; NaN where the group is
        unknown or has too few values.

    Raises
    ------
    DataError
        No two-dimensional floats, or codes or a mask of another shape.

    Examples
    --------
    >>> group_mean(np.array([[1.0, 3.0, 5.0]]), np.array([[0, 0, -1]])).tolist()
    [[2.0, 2.0, nan]]
    """
    chosen = taking_part(values, mask).astype(np.float64)
    check_same_shape("values", chosen, "codes", codes)
    n_groups = int(codes.max(initial=-1)) + 2
    keys = np.arange(len(chosen))[:, None] * n_groups + codes + 1
    # Ascending, as everywhere here: the order of the columns must not change a bit.
    order = np.argsort(chosen, axis=1, kind="stable")
    ordered = np.take_along_axis(chosen, order, axis=1)
    known = np.isfinite(ordered)
    places = np.take_along_axis(keys, order, axis=1)[known]
    size = len(chosen) * n_groups
    counts = np.bincount(places, minlength=size)
    sums = np.bincount(places, weights=ordered[known], minlength=size)
    enough = counts >= max(min_assets, 1)
    means = np.where(enough, sums / np.maximum(counts, 1), np.nan)
    mean: FloatVector = np.where(codes >= 0, means[keys], np.nan)
    return mean


def taking_part(values: FloatMatrix, mask: BoolMatrix | None = None) -> FloatMatrix:
    """Copy of the values in which everything that takes no part is NaN, and zero has one sign.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (T, N)
        Any unit; NaN and infinity = missing.
    mask : ndarray of bool, shape (T, N), optional
        Assets that take part.

    Returns
    -------
    ndarray, shape (T, N), C order
        Same dtype as the input.

    Raises
    ------
    DataError
        No two-dimensional floats, or a mask of another shape.

    Examples
    --------
    >>> taking_part(np.array([[1.0, np.inf, 3.0]]), np.array([[True, True, False]])).tolist()
    [[1.0, nan, nan]]
    """
    if values.ndim != 2 or values.dtype not in (np.float32, np.float64):
        raise DataError(
            "values",
            wanted="float32 or float64 of shape (sessions, assets)",
            got=f"shape {values.shape}, dtype {values.dtype}",
            hint="Pass one field of a panel.",
        )
    keep = np.isfinite(values)
    if mask is not None:
        check_same_shape("values", values, "mask", mask)
        keep &= mask
    # C order, because the order in which numpy adds depends on the memory layout. Adding zero turns
    # -0.0 into 0.0: the two are one value, and which of them a sort puts first is open.
    chosen = np.ascontiguousarray(np.where(keep, values, values.dtype.type(np.nan)))
    chosen += 0.0
    return chosen


def _scores(chosen: FloatMatrix, form: int) -> FloatMatrix:
    out = np.empty_like(chosen)
    _fill_scores(chosen, row_order(chosen), form, out, np.empty(len(chosen), dtype=np.int64))
    return out


def _mean_of_sorted(ordered: FloatMatrix) -> FloatVector:
    # Values are summed in ascending order, so the order of the columns cannot change a bit.
    wide = ordered.astype(np.float64, copy=False)
    count = np.isfinite(wide).sum(axis=1)
    mean: FloatVector = np.nansum(wide, axis=1) / np.where(count > 0, count, np.nan)
    return mean


def _row_quantile(ordered: FloatMatrix, last: npt.NDArray[np.int64], level: float) -> FloatVector:
    # Linear interpolation at level*(n - 1) of each sorted row; n differs from row to row.
    if ordered.shape[1] == 0:
        return np.full(ordered.shape[0], np.nan)
    place = level * last
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, last)
    rows = np.arange(ordered.shape[0])
    share = place - below
    value: FloatVector = ordered[rows, below] * (1.0 - share) + ordered[rows, above] * share
    return value


@njit(cache=True, nogil=True, error_model="numpy")
def _horner(coefficients: FloatVector, x: float) -> float:
    total = 0.0
    for c in coefficients:
        total = total * x + c
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _normal_quantile(p: float) -> float:
    # For 0 < p <= 1/2; the other half is its mirror image.
    q = p - 0.5
    if q >= -0.425:
        r = 0.180625 - q * q
        return q * _horner(_CENTRE_P, r) / _horner(_CENTRE_Q, r)
    r = np.sqrt(-np.log(p))
    if r <= 5.0:
        return -_horner(_NEAR_P, r - 1.6) / _horner(_NEAR_Q, r - 1.6)
    return -_horner(_FAR_P, r - 5.0) / _horner(_FAR_Q, r - 5.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _build_table(form: int, count: int, table: FloatVector) -> None:
    # Score of every possible average rank of `count` values; place k stands for rank (k + 1)/2.
    for k in range(1, 2 * count):
        if form == RANK:
            table[k] = 0.5 * (k + 1)
        elif form == PERCENTILE:
            table[k] = 0.5 * k / count
        elif k <= count:
            table[k] = _normal_quantile(0.5 * k / count)
            table[2 * count - k] = -table[k]
    if form == GAUSSIAN:
        table[count] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_scores(
    values: FloatMatrix,
    sorted_rows: tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]],
    form: int,
    out: FloatMatrix,
    counts: npt.NDArray[np.int64],
) -> None:
    # The order has NaN last, so the known values come first and ties are adjacent.
    # A score depends on the average rank and the count alone; the table is rebuilt when the count
    # changes, which in most sessions it does not.
    order, tied = sorted_rows
    n_rows, n_assets = values.shape
    table = np.empty(2 * n_assets + 1)
    built_for = -1
    for t in range(n_rows):
        count = n_assets
        while count > 0 and np.isnan(values[t, order[t, count - 1]]):
            count -= 1
            out[t, order[t, count]] = np.nan
        counts[t] = count
        if count != built_for:
            _build_table(form, count, table)
            built_for = count
        if not tied[t]:
            for i in range(count):
                out[t, order[t, i]] = table[2 * i + 1]
            continue
        start = 0
        while start < count:
            stop = start + 1
            x = values[t, order[t, start]]
            while stop < count and values[t, order[t, stop]] == x:
                stop += 1
            # Places start+1..stop share the average rank (start + stop + 1)/2.
            for i in range(start, stop):
                out[t, order[t, i]] = table[start + stop]
            start = stop


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_z(values: FloatMatrix, ordered: FloatMatrix, mean: FloatVector, out: FloatMatrix) -> None:
    # Squares are summed in the order of the values, as the mean is.
    n_rows, n_assets = values.shape
    for t in range(n_rows):
        count = n_assets
        while count > 0 and np.isnan(ordered[t, count - 1]):
            count -= 1
        squares = 0.0
        if count > 1 and ordered[t, 0] < ordered[t, count - 1]:
            for i in range(count):
                deviation = ordered[t, i] - mean[t]
                squares += deviation * deviation
        spread = np.sqrt(squares / (count - 1)) if count > 1 else 0.0
        # A spread that underflows or overflows is no unit to measure in.
        unit = spread if 0.0 < spread < np.inf else np.nan
        for j in range(n_assets):
            out[t, j] = (values[t, j] - mean[t]) / unit
