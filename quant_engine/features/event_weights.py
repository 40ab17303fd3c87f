"""Weights of overlapping labels: how many labels share a bar, and what each one adds.

Contract: a label is active on every bar of its closed span [t0, t1], given as rows of an axis of
``n_bars``. Labels of different assets share no bar; pass ``group`` where a table holds several.
Formulas of Lopez de Prado (2018), chapter 4. Weights of a training window are computed from the
labels of that window alone: concurrency looks at later labels, which is no leak inside a window
that purging has closed and one across its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.features.positions import parse_positions

__all__ = [
    "SpanRows",
    "Uniqueness",
    "average_uniqueness",
    "concurrency",
    "return_attribution",
    "sequential_bootstrap",
    "sequential_probabilities",
    "span_rows",
    "time_decay",
]

IntVector: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SpanRows:
    """Spans of labels as rows; made by :func:`span_rows`.

    Parameters
    ----------
    first, last : ndarray of int64, shape (E,)
        Rows on one axis on which the groups stand one after another.
    n_bars : int
        Bars of one group.
    n_groups : int
        Number of groups.
    """

    first: IntVector
    last: IntVector
    n_bars: int
    n_groups: int

    def __len__(self) -> int:
        return int(self.first.size)

    @property
    def n_cells(self) -> int:
        """Bars of all groups."""
        return self.n_bars * self.n_groups


@dataclass(frozen=True, eq=False)
class Uniqueness:
    """How much of its span each label has for itself.

    Parameters
    ----------
    per_label : ndarray of float64, shape (E,)
        Mean of 1/concurrency over the span, in (0, 1].
    pooled : float
        The same mean over the bars of all labels together, in which long labels count more; NaN
        without a label.
    mean : float
        Plain mean of `per_label`; NaN without a label.
    """

    per_label: FloatVector
    pooled: float
    mean: float


def span_rows(
    first: npt.ArrayLike,
    last: npt.ArrayLike,
    *,
    n_bars: int,
    group: npt.ArrayLike | None = None,
) -> SpanRows:
    """Parse the spans of labels once.

    Parameters
    ----------
    first, last : array-like of int, shape (E,)
        Rows of the entry and exit bars, 0 <= first <= last < n_bars.
    n_bars : int
        Length of the axis in bars.
    group : array-like of int, shape (E,), optional
        Asset of each label, from 0; one asset without it.

    Returns
    -------
    SpanRows

    Raises
    ------
    DataError
        Arrays of different lengths, rows that are not whole numbers, off the axis or out of order.

    Examples
    --------
    >>> len(span_rows([0, 2], [2, 3], n_bars=6))
    2
    """
    start, end = parse_positions("first", first), parse_positions("last", last)
    zeros = np.zeros(start.size, np.int64)
    asset = zeros if group is None else parse_positions("group", group)
    if start.shape != end.shape or asset.shape != start.shape:
        raise DataError(
            "spans",
            wanted="a first row, a last row and a group for every label",
            got=f"shapes {start.shape}, {end.shape}, {asset.shape}",
            hint="Leave out events without a label.",
        )
    inside = (start >= 0) & (start <= end) & (end < n_bars) & (asset >= 0)
    if not inside.all():
        raise DataError(
            "spans",
            wanted=f"rows with 0 <= first <= last < {n_bars} and groups from 0",
            got=f"{int((~inside).sum())} others",
            hint="Leave out events without a label.",
        )
    offset = asset * n_bars
    n_groups = int(asset.max(initial=0)) + 1
    return SpanRows(start + offset, end + offset, int(n_bars), n_groups)


def concurrency(spans: SpanRows) -> IntVector:
    """Number of labels that are active on each bar (AFML 4.1).

    Parameters
    ----------
    spans : SpanRows
        Spans of the labels.

    Returns
    -------
    ndarray of int64, shape (n_groups * n_bars,)
        Counts, the groups one after another.

    Examples
    --------
    >>> concurrency(span_rows([0, 2, 4], [2, 3, 5], n_bars=6)).tolist()
    [1, 1, 2, 1, 1, 1]
    """
    steps = np.bincount(spans.first, minlength=spans.n_cells + 1)
    steps -= np.bincount(spans.last + 1, minlength=spans.n_cells + 1)
    return np.cumsum(steps)[:-1]


def average_uniqueness(spans: SpanRows) -> Uniqueness:
    """Average uniqueness of labels (AFML 4.2).

    Parameters
    ----------
    spans : SpanRows
        Spans of the labels.

    Returns
    -------
    Uniqueness

    Examples
    --------
    >>> unique = average_uniqueness(span_rows([0, 2, 4], [2, 3, 5], n_bars=6))
    >>> unique.per_label.round(3), round(unique.pooled, 3)
    (array([0.833, 0.75 , 1.   ]), 0.857)
    """
    count = concurrency(spans)
    share = 1.0 / np.maximum(count, 1)
    sums, lengths = _span_sums(share, spans.first, spans.last), spans.last - spans.first + 1
    if not len(spans):
        return Uniqueness(sums, float("nan"), float("nan"))
    per_label = sums / lengths
    return Uniqueness(per_label, float(sums.sum() / lengths.sum()), float(per_label.mean()))


def sequential_probabilities(spans: SpanRows, drawn: npt.ArrayLike) -> FloatVector:
    """Chances of the next draw of a sequential bootstrap (AFML 4.3 to 4.5).

    Parameters
    ----------
    spans : SpanRows
        Spans of the labels.
    drawn : array-like of int, shape (k,)
        Labels drawn so far, repeats included.

    Returns
    -------
    ndarray of float64, shape (E,)
        Proportional to the mean over the label's bars of 1/(1 + c), with c the number of earlier
        draws that are active there; sums to 1.

    Raises
    ------
    DataError
        A draw that is no label.

    Examples
    --------
    >>> sequential_probabilities(span_rows([0, 2, 4], [2, 3, 5], n_bars=6), [1]).round(3)
    array([0.357, 0.214, 0.429])
    """
    taken = parse_positions("drawn", drawn)
    if taken.size and not (taken.min() >= 0 and taken.max() < len(spans)):
        raise DataError(
            "drawn",
            wanted=f"positions from 0 to {len(spans) - 1}",
            got=f"{taken.min()} to {taken.max()}",
            hint="Draws are positions of labels.",
        )
    active = np.zeros(spans.n_cells)
    for label in taken:
        active[spans.first[label] : spans.last[label] + 1] += 1.0
    means: FloatVector = _span_sums(1.0 / (1.0 + active), spans.first, spans.last)
    means /= spans.last - spans.first + 1
    chances: FloatVector = means / means.sum()
    return chances


def sequential_bootstrap(spans: SpanRows, *, n_draws: int, seed: int) -> IntVector:
    """Draw labels so that overlapping ones seldom come together.

    Parameters
    ----------
    spans : SpanRows
        Spans of the labels, at least one.
    n_draws : int
        Draws with replacement, at least 1.
    seed : int
        Seed of the draws.

    Returns
    -------
    ndarray of int64, shape (n_draws,)
        Positions of labels in the order in which they were drawn. The same seed gives the same
        draws; each has the chances of :func:`sequential_probabilities` given those before it.

    Raises
    ------
    ConfigError
        No draw or no label.

    Notes
    -----
    One draw costs a pass over the labels; the means are taken afresh only for labels that overlap
    the one drawn last.

    Examples
    --------
    >>> sequential_bootstrap(span_rows([0, 2, 4], [2, 3, 5], n_bars=6), n_draws=4, seed=1)
    array([1, 2, 0, 2])
    """
    if n_draws < 1 or not len(spans):
        raise ConfigError(
            "n_draws",
            wanted="at least one draw from at least one label",
            got=f"{n_draws} draws from {len(spans)} labels",
            hint="Draw as many labels as there are.",
        )
    uniforms = np.random.default_rng(seed).random(n_draws)
    return _draw_sequentially(spans.first, spans.last, spans.n_cells, uniforms)


def return_attribution(close: npt.ArrayLike, spans: SpanRows) -> FloatVector:
    """Weight of each label by the return that is its own (AFML 4.10).

    Parameters
    ----------
    close : array-like, shape (n_bars,) or (n_bars, n_groups)
        Closes, one column per group; NaN = not traded.
    spans : SpanRows
        Spans of the labels.

    Returns
    -------
    ndarray of float64, shape (E,)
        ``|sum over the span of r_t / c_t|`` with log returns r and concurrency c, scaled to sum to
        the number of labels; 0 for every label where all sums are 0. The first bar of a series and
        a bar next to a missing close have no return and count 0.

    Raises
    ------
    DataError
        Closes that do not fit the spans.

    Examples
    --------
    >>> spans = span_rows([0, 1], [1, 2], n_bars=3)
    >>> return_attribution([100.0, 101.0, 104.0], spans).round(3)
    array([0.254, 1.746])
    """
    prices = np.asarray(close, dtype=np.float64)
    wide = prices.reshape(len(prices), -1)
    if wide.shape[0] != spans.n_bars or wide.shape[1] < spans.n_groups:
        raise DataError(
            "close",
            wanted=f"{spans.n_bars} bars of {spans.n_groups} groups",
            got=f"shape {prices.shape}",
            hint="Give the closes on which the spans were measured.",
        )
    logs = np.log(np.where(wide > 0.0, wide, np.nan))[:, : spans.n_groups]
    returns = np.diff(logs, axis=0, prepend=np.nan)
    known = np.where(np.isnan(returns), 0.0, returns).T.ravel()
    own = known / np.maximum(concurrency(spans), 1)
    weights = np.abs(_span_sums(own, spans.first, spans.last))
    total = weights.sum()
    return weights * (len(spans) / total) if total > 0.0 else weights


def time_decay(uniqueness: npt.ArrayLike, *, last_weight: float) -> FloatVector:
    """Weights that fall with age, where age is counted in uniqueness (AFML 4.11).

    Parameters
    ----------
    uniqueness : array-like, shape (E,)
        Average uniqueness of the labels, oldest first, above 0.
    last_weight : float
        In (-1, 1]. From 0 on: weight towards which the oldest label falls (1 = no decay). Below 0:
        share of the oldest uniqueness that gets no weight at all.

    Returns
    -------
    ndarray of float64, shape (E,)
        In [0, 1]; the newest label has 1.

    Raises
    ------
    ConfigError
        A last weight outside (-1, 1].
    DataError
        Uniqueness that is not positive.

    Examples
    --------
    >>> time_decay([1.0, 1.0, 2.0], last_weight=0.5).tolist()
    [0.625, 0.75, 1.0]
    """
    if not -1.0 < last_weight <= 1.0:
        raise ConfigError(
            "last_weight", wanted="in (-1, 1]", got=last_weight, hint="1 means no decay."
        )
    unique = np.asarray(uniqueness, dtype=np.float64)
    if unique.ndim != 1 or not (unique > 0.0).all():
        raise DataError(
            "uniqueness",
            wanted="one positive number per label",
            got=f"shape {unique.shape}",
            hint="Use average_uniqueness(spans).per_label.",
        )
    if not unique.size:
        return unique
    age = np.cumsum(unique)
    if last_weight >= 0.0:
        slope = (1.0 - last_weight) / age[-1]
    else:
        slope = 1.0 / ((last_weight + 1.0) * age[-1])
    weights: FloatVector = np.maximum(1.0 - slope * (age[-1] - age), 0.0)
    return weights


@njit(cache=True, nogil=True, error_model="numpy")
def _span_sums(values: FloatVector, first: IntVector, last: IntVector) -> FloatVector:
    # Added up inside each span: a difference of running totals would carry the rounding of bars
    # outside it.
    out = np.zeros(first.size)
    for i in range(first.size):
        for t in range(first[i], last[i] + 1):
            out[i] += values[t]
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _draw_sequentially(
    first: IntVector, last: IntVector, n_cells: int, uniforms: FloatVector
) -> IntVector:
    n_labels = first.size
    active, means = np.zeros(n_cells), np.ones(n_labels)
    drawn = np.empty(uniforms.size, dtype=np.int64)
    for k in range(uniforms.size):
        total = 0.0
        for i in range(n_labels):
            total += means[i]
        reach, chosen = uniforms[k] * total, n_labels - 1
        for i in range(n_labels):
            reach -= means[i]
            if reach < 0.0:
                chosen = i
                break
        drawn[k] = chosen
        for t in range(first[chosen], last[chosen] + 1):
            active[t] += 1.0
        for i in range(n_labels):
            if first[i] <= last[chosen] and last[i] >= first[chosen]:
                share = 0.0
                for t in range(first[i], last[i] + 1):
                    share += 1.0 / (1.0 + active[t])
                means[i] = share / (last[i] - first[i] + 1)
    return drawn
