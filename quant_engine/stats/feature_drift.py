"""Drift of one feature between a reference window and now: distances of values, and an alarm.

Contract: values are (sessions x assets) of both windows; distances compare all values of one window
with all of the other, the alarm watches the means of the sessions. Distances of thousands of values
are never zero, and the values of one session share its market: so the distances are sizes to be
read, and the alarm, whose false-alarm rate is calibrated on the reference with its autocorrelation
kept, is what says whether something happened.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import DataError
from quant_engine.stats.distances import ks_distance, psi
from quant_engine.stats.drift import Calibration, Cusum, calibrate_drift

__all__ = ["FeatureDrift", "FeatureDriftConfig", "feature_drift"]

_MIN_SESSIONS = 20
"""Session means behind a calibrated alarm, see :mod:`quant_engine.stats.drift`."""


class FeatureDriftConfig(FrozenConfig):
    """How drift is measured.

    Parameters
    ----------
    n_bins : int
        Quantile bins of the reference for PSI.
    max_reference_sessions : int
        Sessions of the reference, evenly spaced, whose values are compared: beyond a year of them
        the distances change in the third digit only. The alarm reads all of them.
    false_alarm : float
        Share of undisturbed windows with an alarm, per feature.
    avg_block : float
        Mean block of the resampling, in sessions: about the length of the autocorrelation of the
        session means.
    n_draws : int
        Resampled windows of the calibration.
    seed : int
        Of the resampling.

    Examples
    --------
    >>> FeatureDriftConfig().false_alarm
    0.01
    """

    n_bins: int = Field(default=10, ge=2)
    max_reference_sessions: int = Field(default=250, ge=1)
    false_alarm: float = Field(default=0.01, gt=0.0, lt=1.0)
    avg_block: float = Field(default=20.0, ge=1.0)
    n_draws: int = Field(default=199, ge=1)
    seed: int = Field(default=7, ge=0)


@dataclass(frozen=True)
class FeatureDrift:
    """How far a feature is from its reference.

    Parameters
    ----------
    psi, ks : float
        Population stability index and Kolmogorov-Smirnov distance; NaN where a window has no
        value, and PSI also for a constant reference.
    mean_shift_sd : float
        Mean now minus mean then, in standard deviations of the reference; NaN likewise.
    alarm : int or None
        Position of the session, among those of now, at which the detector raised an alarm.
    is_watched : bool
        Whether there were enough varying session means to calibrate it.
    missing_then, missing_now : float
        Share of rows without a value; NaN without rows.
    n_then, n_now : int
        Values compared.
    """

    psi: float
    ks: float
    mean_shift_sd: float
    alarm: int | None
    is_watched: bool
    missing_then: float
    missing_now: float
    n_then: int
    n_now: int


def feature_drift(
    reference: FloatMatrix,
    current: FloatMatrix,
    config: FeatureDriftConfig,
    *,
    rows: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]] | None = None,
) -> FeatureDrift:
    """Compare the values of a feature in two windows.

    Parameters
    ----------
    reference : ndarray, shape (T0, N0)
        Values of the reference window; NaN = missing.
    current : ndarray, shape (T1, N1)
        Values of now; the assets may be others.
    config : FeatureDriftConfig
        Bins, calibration.
    rows : pair of ndarray of bool, shapes (T0, N0) and (T1, N1), optional
        Cells of both windows that count as rows; without it all of them.

    Returns
    -------
    FeatureDrift

    Raises
    ------
    DataError
        Windows that are not two-dimensional, or rows of another shape.

    Notes
    -----
    PSI and KS are those of :mod:`quant_engine.stats.distances`; the alarm is the CUSUM of
    :mod:`quant_engine.stats.drift` on the mean over the assets of each session.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> then, now = rng.standard_normal((200, 20)), rng.standard_normal((30, 20)) + 1.0
    >>> found = feature_drift(then, now, FeatureDriftConfig())
    >>> round(found.mean_shift_sd, 1), found.alarm is not None
    (1.0, True)
    """
    if rows is None:
        rows = np.ones(reference.shape, dtype=bool), np.ones(current.shape, dtype=bool)
    shapes = [values.shape for values in (reference, current)]
    if [part.shape for part in rows] != shapes or {len(shape) for shape in shapes} != {2}:
        raise DataError(
            "windows",
            wanted="two matrices (sessions x assets), and rows of their shapes",
            got=f"shapes {shapes}, {[part.shape for part in rows]}",
            hint="Give one feature at a time.",
        )
    then, now = (
        np.where(part, np.asarray(values, dtype=np.float64), np.nan)
        for part, values in zip(rows, (reference, current), strict=True)
    )
    chosen = _evenly_spaced(len(then), config.max_reference_sessions)
    past = then[chosen]
    old, new = past[np.isfinite(past)], now[np.isfinite(now)]
    nan = float("nan")
    varies = old.size > 0 and old.min() < old.max()
    both = old.size > 0 and new.size > 0
    alarm, is_watched = _alarm(_session_means(then), _session_means(now), config)
    return FeatureDrift(
        psi=psi(old, new, n_bins=config.n_bins).psi if both and varies else nan,
        ks=ks_distance(old, new).statistic if both else nan,
        mean_shift_sd=float((new.mean() - old.mean()) / old.std()) if both and varies else nan,
        alarm=alarm,
        is_watched=is_watched,
        missing_then=_missing_share(past, rows[0][chosen]),
        missing_now=_missing_share(now, rows[1]),
        n_then=int(old.size),
        n_now=int(new.size),
    )


def _alarm(
    then: FloatVector, now: FloatVector, config: FeatureDriftConfig
) -> tuple[int | None, bool]:
    known = then[~np.isnan(then)]
    if len(known) < _MIN_SESSIONS or known.min() == known.max() or np.isnan(now).all():
        return None, False
    monitor = calibrate_drift(
        known,
        detector=Cusum(),
        config=Calibration(
            run_length=len(now),
            false_alarm=config.false_alarm,
            avg_block=config.avg_block,
            n_draws=config.n_draws,
        ),
        seed=config.seed,
    )
    return monitor.watch(now).first_alarm, True


def _session_means(values: FloatMatrix) -> FloatVector:
    """Mean over the assets of each session; NaN for a session without a value."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _missing_share(values: FloatMatrix, rows: npt.NDArray[np.bool_]) -> float:
    n_rows = int(rows.sum())
    return float((rows & ~np.isfinite(values)).sum() / n_rows) if n_rows else float("nan")


def _evenly_spaced(n: int, limit: int) -> npt.NDArray[np.int64]:
    if n <= limit:
        return np.arange(n)
    return np.linspace(0, n - 1, limit).round().astype(np.int64)
