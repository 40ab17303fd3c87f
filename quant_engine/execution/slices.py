"""Schedules: one order spread over the buckets of a session, evenly in time or along its volume.

Contract, in three steps:

1. shares are split by weights that add up to 1 (`twap_weights`, `vwap_weights`) on the *cumulative*
   order, rounded to whole lots towards zero; the last bucket takes what rounding left over;
2. a bucket trades at most its cap, participation times the volume that is expected in it;
3. what a cap holds back goes to the next bucket, never to an earlier one; what is left after the
   last bucket is `SliceSchedule.unfilled_shares` and expires.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.core.units import BPS_PER_UNIT
from quant_engine.execution.costs import impact_cost
from quant_engine.stats.checks import parse_matrix, parse_vector

__all__ = [
    "SliceSchedule",
    "schedule_impact_bps",
    "slice_order",
    "twap_weights",
    "volume_profile",
    "vwap_weights",
]


class SliceSchedule(NamedTuple):
    """An order by bucket.

    Parameters
    ----------
    shares : ndarray of float64, shape (B,)
        Shares per bucket, with the sign of the order.
    unfilled_shares : float
        What no bucket could take, with the sign of the order.
    participation_frac : ndarray of float64, shape (B,)
        Shares over the expected volume; NaN without an expectation.
    """

    shares: FloatVector
    unfilled_shares: float
    participation_frac: FloatVector


def volume_profile(volumes: FloatMatrix, *, min_sessions: int = 5) -> FloatVector:
    """Average share of a session's volume by bucket.

    ``p_b = mean over sessions of (v_b / sum of v)``; a session weighs the same whatever its volume.

    Parameters
    ----------
    volumes : ndarray, shape (D, B)
        Shares traded by past session and bucket, at least 0; a bucket without trades has NaN or 0.
    min_sessions : int
        Sessions with volume that are needed; the others are left out.

    Returns
    -------
    ndarray of float64, shape (B,)
        Fractions that add up to 1.

    Raises
    ------
    DataError
        A negative volume.
    InsufficientHistoryError
        Too few sessions with volume.

    Examples
    --------
    >>> volume_profile([[30.0, 10.0], [5.0, 5.0]], min_sessions=2)
    array([0.625, 0.375])
    """
    given = np.nan_to_num(parse_matrix("volumes", volumes), nan=0.0)
    if (given < 0.0).any():
        raise DataError(
            "volumes", wanted="at least 0", got=given.min(), hint="A volume is not signed."
        )
    totals = given.sum(axis=1)
    used = given[totals > 0.0]
    if len(used) < max(1, min_sessions):
        raise InsufficientHistoryError(
            "volumes",
            wanted=f"at least {max(1, min_sessions)} sessions with volume",
            got=len(used),
            hint="Load more sessions, or slice evenly in time (twap_weights).",
        )
    mean = (used / used.sum(axis=1, keepdims=True)).mean(axis=0)
    return np.asarray(mean / mean.sum(), dtype=np.float64)


def twap_weights(n_buckets: int) -> FloatVector:
    """Equal parts.

    Parameters
    ----------
    n_buckets : int
        Number of buckets, at least 1.

    Returns
    -------
    ndarray of float64, shape (n_buckets,)
        Fractions that add up to 1.

    Raises
    ------
    ConfigError
        No bucket.

    Examples
    --------
    >>> twap_weights(4)
    array([0.25, 0.25, 0.25, 0.25])
    """
    if n_buckets < 1:
        raise ConfigError("n_buckets", wanted="at least 1", got=n_buckets, hint="Use 13.")
    return np.full(n_buckets, 1.0 / n_buckets)


def vwap_weights(profile: FloatVector, *, first_bucket: int = 0) -> FloatVector:
    """Parts along the volume that is still to come.

    Parameters
    ----------
    profile : ndarray, shape (B,)
        Share of the session's volume by bucket, see `volume_profile`; fractions of at least 0.
    first_bucket : int
        Bucket in which the order begins; earlier ones get 0.

    Returns
    -------
    ndarray of float64, shape (B,)
        Fractions that add up to 1.

    Raises
    ------
    DataError
        NaN or negative shares, or none left from the first bucket on.

    Examples
    --------
    >>> vwap_weights(np.array([0.5, 0.3, 0.2]), first_bucket=1)
    array([0. , 0.6, 0.4])
    """
    given = parse_vector("profile", profile)
    left = np.where(np.arange(given.size) >= first_bucket, given, 0.0)
    if first_bucket < 0 or not (given >= 0.0).all() or not left.sum() > 0.0:
        raise DataError(
            "profile",
            wanted="fractions of at least 0, with some volume from the first bucket on",
            got=f"{given.tolist()}, first bucket {first_bucket}",
            hint="Make it with volume_profile.",
        )
    return np.asarray(left / left.sum(), dtype=np.float64)


def slice_order(
    shares: float,
    weights: FloatVector,
    *,
    expected_volume: FloatVector | None = None,
    participation_cap_frac: float | None = None,
    lot_shares: float = 0.0,
) -> SliceSchedule:
    """Spread an order over buckets.

    Parameters
    ----------
    shares : float
        Shares to trade, signed.
    weights : ndarray, shape (B,)
        Fractions that add up to 1.
    expected_volume : ndarray, shape (B,), optional
        Shares expected to trade per bucket; NaN = unknown, which takes nothing under a cap.
    participation_cap_frac : float, optional
        Largest share of the expected volume; None = no cap.
    lot_shares : float
        Slices are whole multiples of this, the last one excepted; 0 = fractions are allowed.

    Returns
    -------
    SliceSchedule
        Slices and the rest add up to `shares` up to rounding. A cap is never exceeded, and with
        lots a capped slice is rounded down.

    Raises
    ------
    ConfigError
        A cap without volumes, a cap outside (0, 1], or negative lots.
    DataError
        Weights that do not add up to 1, or shapes that differ.

    Examples
    --------
    >>> made = slice_order(
    ...     100.0, twap_weights(4), expected_volume=[500.0, 100.0, 500.0, 500.0],
    ...     participation_cap_frac=0.1,
    ... )
    >>> made.shares.tolist(), made.unfilled_shares
    ([25.0, 10.0, 40.0, 25.0], 0.0)
    """
    parts, volume = _checked(shares, weights, expected_volume)
    cap = _caps(volume, participation_cap_frac, lot_shares)
    wanted = _whole(abs(shares) * np.cumsum(parts), lot_shares)
    wanted[-1] = abs(shares)
    done = 0.0
    slices = np.zeros(parts.size)
    for bucket in range(parts.size):
        is_last = bucket == parts.size - 1
        due = wanted[bucket] - done
        room = cap[bucket] if due > cap[bucket] or not is_last else math.inf
        if lot_shares > 0.0 and math.isfinite(room):
            room = float(_whole(np.array([room]), lot_shares)[0])
        slices[bucket] = max(0.0, min(due, room))
        done += slices[bucket]
    left = max(0.0, abs(shares) - done)
    sign = math.copysign(1.0, shares)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(slices == 0.0, 0.0, slices / volume)
    return SliceSchedule(sign * slices, sign * left if left else 0.0, rate)


def _whole(amounts: FloatVector, lot: float) -> FloatVector:
    """Whole lots towards zero; an amount within rounding of a whole lot is one."""
    if lot == 0.0:
        return amounts.copy()
    return np.asarray(np.floor(amounts / lot * (1.0 + 1e-12)) * lot, dtype=np.float64)


def _checked(
    shares: float, weights: FloatVector, expected_volume: FloatVector | None
) -> tuple[FloatVector, FloatVector]:
    parts = parse_vector("weights", weights)
    if not math.isfinite(shares) or parts.size == 0 or not (parts >= 0.0).all():
        raise DataError(
            "shares and weights",
            wanted="a finite order and weights of at least 0",
            got=f"{shares}, {parts.tolist()}",
            hint="Make weights with twap_weights or vwap_weights.",
        )
    if abs(parts.sum() - 1.0) > 1e-9:
        raise DataError("weights", wanted="a sum of 1", got=parts.sum(), hint="Normalise them.")
    volume = np.full(parts.size, np.nan)
    if expected_volume is not None:
        volume = parse_vector("expected_volume", expected_volume)
        if volume.shape != parts.shape:
            raise DataError(
                "expected_volume",
                wanted=f"{parts.size} buckets, as many as weights",
                got=volume.size,
                hint="Use the same buckets for both.",
            )
    return parts, volume


def _caps(volume: FloatVector, cap: float | None, lot: float) -> FloatVector:
    if lot < 0.0 or (cap is not None and (np.isnan(volume).all() or not 0.0 < cap <= 1.0)):
        raise ConfigError(
            "participation_cap_frac and lot_shares",
            wanted="a cap in (0, 1] together with expected volumes, lots of at least 0",
            got=f"cap {cap}, lots {lot}",
            hint="Pass expected_volume, or no cap.",
        )
    if cap is None:
        return np.full(volume.size, math.inf)
    return cap * np.nan_to_num(volume, nan=0.0)


def schedule_impact_bps(
    schedule: SliceSchedule, expected_volume: FloatVector, *, impact_coef_bps: float
) -> float:
    """Impact of a schedule by the square-root law in every bucket.

    ``sum n_b c sqrt(n_b / v_b) / sum n_b``: each slice is charged against the volume of its bucket,
    so trading along the volume costs least among the schedules that trade everything.

    Parameters
    ----------
    schedule : SliceSchedule
        Slices.
    expected_volume : ndarray, shape (B,)
        Shares expected to trade per bucket.
    impact_coef_bps : float
        Impact of trading all of a bucket's volume, bps.

    Returns
    -------
    float
        Average over the filled shares, bps; NaN where nothing is filled or a bucket that trades
        has no expected volume.

    Examples
    --------
    >>> volume = np.array([400.0, 100.0])
    >>> even = slice_order(10.0, twap_weights(2))
    >>> along = slice_order(10.0, vwap_weights(volume / 500.0))
    >>> round(schedule_impact_bps(even, volume, impact_coef_bps=25.0), 3)
    4.193
    >>> round(schedule_impact_bps(along, volume, impact_coef_bps=25.0), 3)
    3.536
    """
    volume = parse_vector("expected_volume", expected_volume)
    shares = np.abs(schedule.shares)
    used = shares > 0.0
    if not used.any() or not (volume[used] > 0.0).all():
        return math.nan
    cost = impact_cost(shares[used], volume[used], impact_coef_bps)
    return float(np.sum(cost) / shares[used].sum() * BPS_PER_UNIT)
