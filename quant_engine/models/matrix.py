"""Row matrices: from wide panels to the (row x feature) float32 matrix that learners read.

Contract: a row is one asset at one session where a decision is allowed; rows are ordered by
session, then by asset column, so that a range of sessions is a range of rows. Everything is
standardised inside its own session: no statistic crosses sessions, so no fold can leak into
another and a session's rows do not depend on which other sessions were asked for.

1. ``_usable`` decides the rows: member, tradable, enough features, enough assets.
2. ``standardize`` maps each feature within each session.
3. A missing value becomes 0, the cross-sectional middle; how many were missing stays with the row
   (``n_missing``), so that a consumer can tell a middle value from an unknown one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import BoolMatrix, FloatMatrix
from quant_engine.core.errors import DataError, EmptyDataError
from quant_engine.models.config import ModelConfig
from quant_engine.models.inputs import ModelFeatures
from quant_engine.stats.cross_section import rank_gaussian, taking_part, z_score

__all__ = ["RowMatrix", "build_rows", "standardize", "transform_target"]

Sessions = npt.NDArray[np.int64]
"""Positions on the session axis, increasing."""

Z_CLIP = 5.0
"""Largest absolute cross-sectional z-score: beyond it a value is a data error or a story."""


@dataclass(frozen=True, eq=False)
class RowMatrix:
    """Learner inputs of the usable rows.

    Parameters
    ----------
    x : ndarray of float32, shape (R, P), C order
        Standardised features; never NaN.
    session, asset : ndarray of int32, shape (R,)
        Position of each row on the session axis and among the assets.
    offsets : ndarray of int64, shape (T + 1,)
        Rows of session t are ``offsets[t]`` to ``offsets[t + 1]`` (exclusive).
    n_missing : ndarray of int32, shape (R,)
        Features that were missing and stand at 0.

    Examples
    --------
    >>> rows = RowMatrix(
    ...     np.zeros((2, 1), np.float32), np.array([0, 2]), np.array([0, 0]),
    ...     np.array([0, 1, 1, 2]), np.zeros(2, np.int32),
    ... )
    >>> rows.of_sessions(np.array([1, 2]))
    array([1])
    """

    x: npt.NDArray[np.float32]
    session: npt.NDArray[np.int32]
    asset: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    n_missing: npt.NDArray[np.int32]

    def of_sessions(self, sessions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Row numbers of the given sessions.

        Parameters
        ----------
        sessions : ndarray of int64, shape (S,)
            Session positions, increasing.

        Returns
        -------
        ndarray of int64
            Row numbers in order.
        """
        return row_numbers(self.offsets, sessions)


def row_numbers(
    offsets: npt.NDArray[np.int64], sessions: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Row numbers of sessions in a session-ordered matrix.

    Parameters
    ----------
    offsets : ndarray of int64, shape (T + 1,)
        First row of each session, then the number of rows.
    sessions : ndarray of int64, shape (S,)
        Session positions, increasing.

    Returns
    -------
    ndarray of int64
        Row numbers in order.

    Examples
    --------
    >>> row_numbers(np.array([0, 2, 5]), np.array([1]))
    array([2, 3, 4])
    """
    first, stop = offsets[sessions], offsets[sessions + 1]
    counts = stop - first
    shift = np.repeat(first - np.concatenate(([0], np.cumsum(counts)[:-1])), counts)
    return np.arange(int(counts.sum()), dtype=np.int64) + shift


def build_rows(
    features: ModelFeatures,
    config: ModelConfig,
    *,
    sessions: npt.NDArray[np.int64] | None = None,
) -> RowMatrix:
    """Build the rows of all sessions, or of the given ones.

    Parameters
    ----------
    features : ModelFeatures
        Feature panel (T, N), masks and volatility; NaN = missing.
    config : ModelConfig
        Transform and row rules.
    sessions : ndarray of int64, shape (S,), optional
        Session positions, increasing; the other sessions get no rows.

    Returns
    -------
    RowMatrix
        Rows of every usable (session, asset); memory is 4 bytes per row and feature.

    Raises
    ------
    EmptyDataError
        No usable row.
    DataError
        An infinite feature value.
    """
    allowed = np.array(features.allowed)
    if sessions is not None:
        outside = np.ones(len(allowed), dtype=bool)
        outside[sessions] = False
        allowed[outside] = False
    n_missing = missing_counts(features, allowed)
    usable = _usable(allowed, n_missing, len(features.schema.names), config)
    session, asset = np.nonzero(usable)
    if not session.size:
        raise EmptyDataError(
            "feature rows",
            wanted=f"a session with >= {config.min_assets_per_session} assets that are members, "
            f"tradable and miss at most {config.max_missing_frac:.0%} of their features",
            got="none",
            hint="Check the universe, the warm-up of the features, or lower "
            "min_assets_per_session.",
        )
    x = np.zeros((session.size, len(features.schema.names)), dtype=np.float32)
    for column, name in enumerate(features.schema.names):
        values = standardize(features.panel.field(name), config.feature_transform, mask=usable)
        x[:, column] = np.nan_to_num(values[usable], nan=0.0)
    counts = usable.sum(axis=1, dtype=np.int64)
    return RowMatrix(
        x=x,
        session=session.astype(np.int32),
        asset=asset.astype(np.int32),
        offsets=np.concatenate((np.zeros(1, np.int64), np.cumsum(counts))),
        n_missing=n_missing[session, asset],
    )


def missing_counts(features: ModelFeatures, allowed: BoolMatrix) -> npt.NDArray[np.int32]:
    """Count missing features per asset and session.

    Parameters
    ----------
    features : ModelFeatures
        Feature panel, shape (T, N).
    allowed : ndarray of bool, shape (T, N)
        Where an infinite value is an error; elsewhere values are not read.

    Returns
    -------
    ndarray of int32, shape (T, N)
        Number of NaN features.

    Raises
    ------
    DataError
        An infinite value where a decision is allowed.
    """
    counts = np.zeros(features.panel.shape, dtype=np.int32)
    for name in features.schema.names:
        values = features.panel.field(name)
        counts += np.isnan(values)
        n_infinite = int((np.isinf(values) & allowed).sum())
        if n_infinite:
            raise DataError(
                f"feature {name!r}",
                wanted="finite values or NaN",
                got=f"{n_infinite} infinite values",
                hint="Infinity is usually a division by zero; make it NaN where it arises.",
            )
    return counts


def transform_target(labels: FloatMatrix, rows: RowMatrix, config: ModelConfig) -> npt.NDArray[Any]:
    """Turn labels into what the learners fit: their standardised order within each session.

    Parameters
    ----------
    labels : ndarray, shape (T, N)
        Forward returns, fraction; NaN = no label.
    rows : RowMatrix
        Usable rows.
    config : ModelConfig
        Target transform and smallest cross-section.

    Returns
    -------
    ndarray of float64, shape (R,)
        Transformed labels, NaN without a label or where fewer than ``min_assets_per_session``
        rows of the session have one. Only labelled rows of the same session enter a value.
    """
    dense = np.full(labels.shape, np.nan)
    dense[rows.session, rows.asset] = labels[rows.session, rows.asset]
    too_few = (~np.isnan(dense)).sum(axis=1) < config.min_assets_per_session
    dense[too_few] = np.nan
    return standardize(dense, config.target_transform)[rows.session, rows.asset]


def standardize(values: FloatMatrix, method: str, *, mask: BoolMatrix | None = None) -> FloatMatrix:
    """Standardise each row of a matrix across its columns.

    ``rank_gaussian`` and ``z_score`` of :mod:`quant_engine.stats.cross_section`; for a learner
    z-scores are clipped at 5, and 0, the middle, where all values are equal.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (T, N)
        Any unit; NaN = missing and stays NaN.
    method : {"rank_gaussian", "z_score"}
        Transform.
    mask : ndarray of bool, shape (T, N), optional
        Values that take part; the others become NaN.

    Returns
    -------
    ndarray, shape (T, N)
        Unitless, same dtype as the input.

    Examples
    --------
    >>> standardize(np.array([[3.0, 1.0, 2.0, np.nan]]), "rank_gaussian").round(3)
    array([[ 0.967, -0.967,  0.   ,    nan]])
    """
    if method == "rank_gaussian":
        return rank_gaussian(values, mask=mask)
    z = z_score(values, mask=mask)
    np.clip(z, -Z_CLIP, Z_CLIP, out=z)
    z[np.isnan(z) & np.isfinite(taking_part(values, mask))] = 0.0
    return z


def _usable(
    allowed: BoolMatrix, n_missing: npt.NDArray[np.int32], n_features: int, config: ModelConfig
) -> BoolMatrix:
    """Rows with enough features, in sessions with enough such rows."""
    enough = allowed & (n_missing <= config.max_missing_frac * n_features)
    enough[enough.sum(axis=1) < config.min_assets_per_session] = False
    return enough
