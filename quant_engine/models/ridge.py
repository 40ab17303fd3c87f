"""Ridge regression in closed form, with exact contributions.

Contract: sums are accumulated in float64 over chunks of rows, so the float32 matrix is never
copied; a row's prediction does not depend on the rows beside it.
"""

from __future__ import annotations

import io
import zipfile
from typing import ClassVar

import numba
import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.linalg import cho_factor, cho_solve

from quant_engine.core.arrays import FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import InsufficientHistoryError, UnreadableFileError
from quant_engine.core.registry import PluginMetadata
from quant_engine.models.learners import LEARNERS, Rows

__all__ = ["FittedRidge", "Ridge", "RidgeParams"]

CHUNK_ROWS = 16_384
"""Rows converted to float64 at a time: 8 MB at 60 features, whatever the matrix holds."""


class RidgeParams(FrozenConfig):
    """Penalty of the ridge regression.

    Parameters
    ----------
    alpha_share : float
        Penalty divided by the sum of sample weights: ``alpha = alpha_share * sum w``, so that a
        direction of unit variance is shrunk by ``1 / (1 + alpha_share)`` at any number of rows.
        0.5 is far above textbook values because labels overlap and features are correlated: in
        four planted worlds (200 assets, 60 correlated features, 10-session labels, oracle IC
        .003 to .044) the correlation of the prediction with the true signal rises from .38 at
        0.01 over .42 at 0.1 to .50 at 0.5, while for independent features it changes nothing.

    Examples
    --------
    >>> RidgeParams().alpha_share
    0.5
    """

    alpha_share: float = Field(default=0.5, ge=0.0)


class FittedRidge:
    """Linear prediction ``base + sum_j coef_j (x_j - mean_j)``.

    Parameters
    ----------
    coef, mean : ndarray of float64, shape (P,)
        Coefficients and weighted training means.
    base : float
        Weighted training mean of the target: the prediction of an average row.

    Examples
    --------
    >>> fitted = FittedRidge(np.array([2.0]), np.array([1.0]), 0.5)
    >>> fitted.predict(np.array([[2.0]], dtype=np.float32))
    array([2.5])
    """

    def __init__(self, coef: FloatVector, mean: FloatVector, base: float) -> None:
        self.coef, self.mean, self.base = coef, mean, base

    def predict(self, x: Rows) -> FloatVector:
        """Raw predictions; a row's bits do not depend on the rows beside it."""
        out = np.empty(len(x))
        _linear(np.asarray(x), self.mean, self.coef, self.base, out)
        return out

    def contributions(self, x: Rows) -> npt.NDArray[np.float64]:
        """Exact parts ``coef_j (x_j - mean_j)`` and the base value, shape (R, P + 1)."""
        out = np.empty((len(x), len(self.coef) + 1))
        np.subtract(x, self.mean, out=out[:, :-1])
        out[:, :-1] *= self.coef
        out[:, -1] = self.base
        return out

    def to_bytes(self) -> bytes:
        """Npz of the three arrays, same bytes for the same values."""
        buffer = io.BytesIO()
        np.savez(buffer, coef=self.coef, mean=self.mean, base=np.float64(self.base))
        return buffer.getvalue()


@LEARNERS.register(
    "ridge",
    metadata=PluginMetadata(
        summary="Linear regression with a squared penalty, solved from sufficient statistics.",
        params=RidgeParams,
        test_params=({}, {"alpha_share": 0.01}),
        source="Hoerl and Kennard (1970), Technometrics 12(1)",
    ),
)
class Ridge:
    """Closed-form ridge regression with an unpenalised intercept.

    ``coef = (X' W X - W_+ m m' + alpha I)^-1 (X' W y - W_+ m y_bar)`` with m the weighted feature
    means, y_bar the weighted target mean, ``W_+ = sum w`` and ``alpha = alpha_share W_+``. The
    sums are accumulated in float64 over chunks of rows, so the float32 matrix is never copied.

    Parameters
    ----------
    params : RidgeParams
        Penalty.

    Examples
    --------
    >>> x = np.array([[-1.0], [0.0], [1.0]], dtype=np.float32)
    >>> Ridge(RidgeParams(alpha_share=0.0)).fit(x, np.array([-2.0, 0.0, 2.0]), None).coef
    array([2.])
    """

    file_suffix: ClassVar[str] = ".npz"

    def __init__(self, params: RidgeParams) -> None:
        self.params = params

    def fit(self, x: Rows, y: FloatVector, sample_weight: FloatVector | None) -> FittedRidge:
        """Fit coefficients.

        Parameters
        ----------
        x : ndarray of float32, shape (R, P)
            Standardised features without NaN.
        y : ndarray of float64, shape (R,)
            Targets without NaN.
        sample_weight : ndarray of float64, shape (R,), or None
            Positive weights; None = equal.

        Returns
        -------
        FittedRidge
            Coefficients in units of target per unit of feature.

        Raises
        ------
        InsufficientHistoryError
            The normal equations are singular, which a positive penalty excludes.
        """
        gram, cross, first, total, y_mean = _sufficient_statistics(x, y, sample_weight)
        mean = first / total
        gram -= total * np.outer(mean, mean)
        cross -= total * mean * y_mean
        gram[np.diag_indices_from(gram)] += self.params.alpha_share * total
        try:
            coef = cho_solve(cho_factor(gram, lower=True), cross)
        except np.linalg.LinAlgError as error:
            raise InsufficientHistoryError(
                "ridge",
                wanted="features that are not collinear, or a positive alpha_share",
                got=f"{len(x)} rows, {x.shape[1]} features, alpha_share {self.params.alpha_share}",
                hint="Raise alpha_share or remove duplicate features.",
            ) from error
        return FittedRidge(np.asarray(coef, dtype=np.float64), mean, y_mean)

    @staticmethod
    def from_bytes(data: bytes) -> FittedRidge:
        """Read the npz of :meth:`FittedRidge.to_bytes`.

        Parameters
        ----------
        data : bytes
            Npz archive.

        Returns
        -------
        FittedRidge
            Predicts the same bits.

        Raises
        ------
        UnreadableFileError
            Not such an archive.
        """
        try:
            if not data.startswith(b"PK\x03\x04"):
                raise ValueError("no npz header")
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                return FittedRidge(archive["coef"], archive["mean"], float(archive["base"]))
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise UnreadableFileError(
                "ridge file",
                wanted="an npz archive with coef, mean and base",
                got=f"{len(data)} bytes that are none",
                hint="Restore the file or retrain.",
            ) from error


def _sufficient_statistics(
    x: Rows, y: FloatVector, weight: FloatVector | None
) -> tuple[npt.NDArray[np.float64], FloatVector, FloatVector, float, float]:
    """Weighted X'X, X'y, column sums, weight sum and target mean, in float64."""
    n_features = x.shape[1]
    gram = np.zeros((n_features, n_features))
    cross, first = np.zeros(n_features), np.zeros(n_features)
    total, y_sum = 0.0, 0.0
    for start in range(0, len(x), CHUNK_ROWS):
        part = slice(start, start + CHUNK_ROWS)
        root = None if weight is None else np.sqrt(weight[part])
        rows, target = x[part].astype(np.float64), y[part]
        ones = np.ones(len(target)) if root is None else root
        if root is not None:
            rows *= root[:, None]
            target = target * root
        gram += rows.T @ rows
        cross += rows.T @ target
        first += rows.T @ ones
        total += float(ones @ ones)
        y_sum += float(target @ ones)
    return gram, cross, first, total, y_sum / total


@numba.njit(cache=True, nogil=True)
def _linear(x, mean, coef, base, out):  # type: ignore[no-untyped-def]  # noqa: ANN001
    for i in range(x.shape[0]):
        value = base
        for j in range(x.shape[1]):
            value += (x[i, j] - mean[j]) * coef[j]
        out[i] = value
