"""Forms of forward labels: without sector and market beta, ranked, net of costs.

Contract: a form reads the labels of its own row, what was known at that row (sector, beta, side),
and costs of the row's own trade. So it keeps the span of the labels it is made of, and purging by
that span stays right.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import BoolMatrix, FloatMatrix
from quant_engine.core.errors import DataError
from quant_engine.core.panel import LabelPanel
from quant_engine.features.labels import SECTOR
from quant_engine.stats.cross_section import group_mean, rank_gaussian

__all__ = ["gaussian_labels", "net_labels", "residual_labels"]

PREFIX = "fwd_"


def residual_labels(
    labels: LabelPanel, field: str, *, beta: FloatMatrix, min_assets: int = 3
) -> LabelPanel:
    """Add the part of a forward return that sector and market beta do not explain.

    Parameters
    ----------
    labels : LabelPanel
        Forward labels (T, N); group ``sector`` is used where it is present, mask ``member`` says
        who the line is fitted on.
    field : str
        A field such as ``fwd_ret_10s``.
    beta : ndarray, shape (T, N)
        Beta to the market, known at the decision; NaN = unknown.
    min_assets : int
        Members with label and beta that a sector needs on a date, at least 2.

    Returns
    -------
    LabelPanel
        The same spans and one more field, ``fwd_residual_ret_10s``: fractions, NaN without label,
        beta or sector, and where the sector is too small.

    Raises
    ------
    MissingFieldError
        No such field.
    DataError
        Betas of another shape, or `min_assets` below 2.

    Notes
    -----
    Row by row, with y and b taken as distances from their sector means (over members),
    ``residual = y - lambda b`` and ``lambda = sum(b y) / sum(b^2)`` over the members: the residual
    of the least-squares fit on sector dummies and beta (Frisch and Waugh 1933). Where no beta
    differs from its sector's mean, lambda is 0. Assets that are no members get the residual from
    the members' line.

    Examples
    --------
    >>> from quant_engine.core.panel import Panel, TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02"])
    >>> fields = {"fwd_ret_1s": np.array([[0.01, 0.02, 0.03, 0.06]])}
    >>> day = axis.values
    >>> labels = LabelPanel(Panel(axis, tuple("ABCD"), fields), day, day)
    >>> wide = residual_labels(labels, "fwd_ret_1s", beta=np.array([[0.0, 1.0, 2.0, 3.0]]))
    >>> wide.values.field("fwd_residual_ret_1s").round(4).tolist()
    [[0.004, -0.002, -0.008, 0.006]]
    """
    values = np.asarray(labels.values.field(field), dtype=np.float64)
    slopes = _same_shape("beta", beta, values)
    if min_assets < 2:
        raise DataError(
            "min_assets", wanted="at least 2", got=min_assets, hint="One asset is its own mean."
        )
    known = np.isfinite(values) & np.isfinite(slopes)
    y, b = np.where(known, values, np.nan), np.where(known, slopes, np.nan)
    codes = np.zeros(values.shape, dtype=np.int64)
    if SECTOR in labels.values.groups:
        codes = labels.values.group(SECTOR).codes.astype(np.int64)
    members = _members(labels)
    y = y - group_mean(y, codes, mask=members, min_assets=min_assets)
    b = b - group_mean(b, codes, mask=members, min_assets=min_assets)
    fitted = np.isfinite(y) if members is None else np.isfinite(y) & members
    # Sorted sums, so that the order of the assets cannot change a bit.
    product = np.sort(np.where(fitted, b * y, 0.0), axis=1).sum(axis=1)
    square = np.sort(np.where(fitted, b * b, 0.0), axis=1).sum(axis=1)
    slope = np.divide(product, square, out=np.zeros_like(product), where=square > 0.0)
    return _with_field(labels, f"{PREFIX}residual_{_stem(field)}", y - slope[:, None] * b)


def gaussian_labels(labels: LabelPanel, field: str) -> LabelPanel:
    """Add the normal scores of a label within each date.

    Parameters
    ----------
    labels : LabelPanel
        Forward labels (T, N); mask ``member``, where present, says who is ranked.
    field : str
        A field such as ``fwd_ret_10s``.

    Returns
    -------
    LabelPanel
        The same spans and one more field, ``fwd_gaussian_ret_10s``, in standard normal units; NaN
        without a label and for assets that are no members.

    Raises
    ------
    MissingFieldError
        No such field.

    Notes
    -----
    See :func:`quant_engine.stats.cross_section.rank_gaussian`.

    Examples
    --------
    >>> from quant_engine.core.panel import Panel, TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02"])
    >>> panel = Panel(axis, tuple("ABC"), {"fwd_ret_1s": np.array([[0.01, 0.5, 0.02]])})
    >>> labels = gaussian_labels(LabelPanel(panel, axis.values, axis.values), "fwd_ret_1s")
    >>> labels.values.field("fwd_gaussian_ret_1s").round(3).tolist()
    [[-0.967, 0.967, 0.0]]
    """
    values = np.asarray(labels.values.field(field), dtype=np.float64)
    scores = rank_gaussian(values, mask=_members(labels))
    return _with_field(labels, f"{PREFIX}gaussian_{_stem(field)}", scores)


def net_labels(
    labels: LabelPanel,
    field: str,
    *,
    round_trip_frac: FloatMatrix,
    side: npt.NDArray[np.integer] | None = None,
) -> LabelPanel:
    """Add what a label leaves after the costs of entering and leaving.

    Parameters
    ----------
    labels : LabelPanel
        Forward labels (T, N).
    field : str
        A field such as ``fwd_ret_10s``.
    round_trip_frac : ndarray, shape (T, N)
        Cost of entry and exit together, fraction of the entry value, at least 0; row t is the
        trade decided at row t. NaN = unknown.
    side : ndarray of int, shape (T, N), optional
        1 long, -1 short, 0 no bet; long without it.

    Returns
    -------
    LabelPanel
        The same spans and one more field, ``fwd_net_ret_10s``: ``side * label - cost``, fraction;
        NaN without label, cost or bet. A cost measured after the exit would reach beyond the span.

    Raises
    ------
    MissingFieldError
        No such field.
    DataError
        Arrays of another shape, or a negative cost.

    Examples
    --------
    >>> from quant_engine.core.panel import Panel, TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02"])
    >>> panel = Panel(axis, tuple("AB"), {"fwd_ret_1s": np.array([[0.01, -0.02]])})
    >>> labels = LabelPanel(panel, axis.values, axis.values)
    >>> cost, side = np.full((1, 2), 0.002), np.array([[1, -1]])
    >>> net = net_labels(labels, "fwd_ret_1s", round_trip_frac=cost, side=side)
    >>> net.values.field("fwd_net_ret_1s").round(4).tolist()
    [[0.008, 0.018]]
    """
    values = np.asarray(labels.values.field(field), dtype=np.float64)
    costs = _same_shape("round_trip_frac", round_trip_frac, values)
    if (costs < 0.0).any():
        raise DataError(
            "round_trip_frac",
            wanted="costs of at least 0",
            got=float(np.nanmin(costs)),
            hint="A cost lowers a return; pass it as a positive fraction.",
        )
    if side is not None:
        sides = _same_shape("side", side, values)
        values = np.where(sides == 0.0, np.nan, np.sign(sides) * values)
    return _with_field(labels, f"{PREFIX}net_{_stem(field)}", values - costs)


def _same_shape(name: str, given: npt.ArrayLike, values: FloatMatrix) -> FloatMatrix:
    wide = np.asarray(given, dtype=np.float64)
    if wide.shape != values.shape:
        raise DataError(
            name,
            wanted=f"shape {values.shape}, that of the labels",
            got=wide.shape,
            hint="Compute it on the panel of the labels.",
        )
    return wide


def _members(labels: LabelPanel) -> BoolMatrix | None:
    return labels.values.mask("member") if "member" in labels.values.masks else None


def _stem(field: str) -> str:
    return field.removeprefix(PREFIX)


def _with_field(labels: LabelPanel, name: str, values: FloatMatrix) -> LabelPanel:
    return dataclasses.replace(labels, values=labels.values.with_fields({name: values}))
