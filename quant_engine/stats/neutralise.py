"""Neutralisation: what is left of a score of each session beside its exposures.

Each session is one least-squares regression of the scores on group dummies and exposures; the
residuals are the neutral scores. Sessions stand alone, so nothing is fitted over time. Assets are
put into an order of their own before sums are formed, so that the order of the columns changes no
bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
from quant_engine.core.errors import ConfigError
from quant_engine.stats.checks import check_same_shape
from quant_engine.stats.cross_section import group_mean, taking_part

__all__ = ["neutralise"]


def neutralise(
    values: FloatMatrix,
    *,
    exposures: Sequence[FloatMatrix] = (),
    codes: npt.NDArray[np.integer] | None = None,
    mask: BoolMatrix | None = None,
    proportion: float = 1.0,
) -> FloatMatrix:
    """Take out of each session's scores what groups and exposures explain.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (T, N)
        Scores; NaN = missing.
    exposures : sequence of ndarray of float, shape (T, N)
        Such as market slope and size; NaN = missing.
    codes : ndarray of int, shape (T, N), optional
        Group of each asset, from 0; -1 = unknown. None = one group of all assets.
    mask : ndarray of bool, shape (T, N), optional
        Assets that take part.
    proportion : float
        Share of the explained part that is taken out, in [0, 1].

    Returns
    -------
    ndarray of float64, shape (T, N)
        values - proportion * fitted. NaN where the score, the group or an exposure is missing, and
        in a session that has no more assets than the regression has unknowns: it would explain
        everything.

    Raises
    ------
    ConfigError
        For a proportion outside [0, 1], or neither groups nor exposures.
    DataError
        For arrays of another shape.

    Notes
    -----
    Least squares by singular value decomposition of the exposures, each divided by its spread,
    after the group means are taken from scores and exposures (Frisch and Waugh 1933; Lovell 1963).
    Exposures that repeat each other are allowed: residuals do not depend on how their coefficients
    are split.

    Examples
    --------
    >>> scores = np.array([[1.0, 3.0, 5.0, 9.0]])
    >>> neutralise(scores, codes=np.array([[0, 0, 1, 1]])).tolist()
    [[-1.0, 1.0, -2.0, 2.0]]
    >>> neutralise(scores, exposures=[np.array([[1.0, 2.0, 2.0, 1.0]])]).round(6).tolist()
    [[-4.0, -1.0, 1.0, 4.0]]
    """
    if not 0.0 <= proportion <= 1.0 or (codes is None and not exposures):
        raise ConfigError(
            "proportion, codes and exposures",
            wanted="a share in [0, 1], and groups or exposures",
            got=f"{proportion}, {'no' if codes is None else 'some'} groups, "
            f"{len(exposures)} exposures",
            hint="Leave the step out to neutralise against nothing.",
        )
    scores = taking_part(values, mask).astype(np.float64)
    groups = np.zeros(scores.shape, dtype=np.int64) if codes is None else codes
    check_same_shape("values", scores, "codes", groups)
    parts = [taking_part(np.asarray(part, dtype=np.float64)) for part in exposures]
    keep = np.isfinite(scores) & (groups >= 0)
    for part in parts:
        check_same_shape("values", scores, "exposures", part)
        keep &= np.isfinite(part)
    inside = [np.where(keep, part, np.nan) for part in (scores, *parts)]
    centred = [part - group_mean(part, groups) for part in inside]
    residual = centred[0] if not parts else _regressed(centred[0], centred[1:], groups, keep)
    neutral: FloatMatrix = inside[0] - proportion * (inside[0] - residual)
    return neutral


def _regressed(
    scores: FloatMatrix,
    exposures: Sequence[FloatMatrix],
    groups: npt.NDArray[np.integer],
    keep: BoolMatrix,
) -> FloatMatrix:
    """Residuals of centred scores on centred exposures, session by session."""
    out = np.full(scores.shape, np.nan)
    for row in range(len(scores)):
        columns = np.flatnonzero(keep[row])
        n_unknowns = len(np.unique(groups[row, columns])) + len(exposures)
        if len(columns) <= n_unknowns:
            continue
        x = np.stack([part[row, columns] for part in exposures], axis=1)
        y = scores[row, columns]
        order = np.lexsort((*x.T[::-1], y))
        out[row, columns[order]] = _residual(y[order], x[order])
    return out


def _residual(y: FloatVector, x: FloatMatrix) -> FloatVector:
    spread = np.sqrt((x * x).sum(axis=0))
    scaled = x[:, spread > 0.0] / spread[spread > 0.0]
    beta = np.linalg.lstsq(scaled, y, rcond=None)[0]
    left: FloatVector = y - scaled @ beta
    return left
