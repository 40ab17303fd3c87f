"""Several looks at a ladder as one: older quotes count, with the drift since then as more variance.

Contract: every look is a quote once, however many snapshots repeat it, and nothing from before the
last reset (a scheduled release) or after ``now`` is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import DataError, LookAheadError
from quant_engine.kalshi.distribution import (
    LadderDistribution,
    LadderModel,
    fit_distribution,
    leg_weights,
)
from quant_engine.kalshi.quotes import LadderQuotes

__all__ = ["Snapshot", "drift_variance_per_hour", "fit_pooled", "pool_quotes"]

US_PER_HOUR = 3_600_000_000


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Quotes with the moment at which they could be known.

    Parameters
    ----------
    avail_us : int
        UTC microseconds.
    quotes : LadderQuotes
        The quotes.
    """

    avail_us: int
    quotes: LadderQuotes


def drift_variance_per_hour(times_us: npt.ArrayLike, moves: npt.ArrayLike) -> float:
    """Variance of the distribution's shift per hour, from realised distances.

    Parameters
    ----------
    times_us : array-like of int, shape (k + 1,)
        Rising moments of the snapshots, UTC microseconds.
    moves : array-like, shape (k,)
        First Wasserstein distance from each snapshot to the next, unit of the settlement value.

    Returns
    -------
    float
        ``sum W1^2 / hours``, squared unit per hour.

    Raises
    ------
    DataError
        Lengths that do not fit, moments that do not rise, or a NaN.

    Examples
    --------
    >>> drift_variance_per_hour([0, 1_800_000_000, 3_600_000_000], [0.1, 0.1])
    0.020000000000000004
    """
    times, distance = np.asarray(times_us, dtype=np.int64), np.asarray(moves, dtype=np.float64)
    rises = len(times) == len(distance) + 1 >= 2 and bool((np.diff(times) > 0).all())
    if not rises or not np.isfinite(distance).all():
        raise DataError(
            "times_us, moves",
            wanted="rising moments, one more than finite distances",
            got=f"{len(times)} moments, {len(distance)} distances",
            hint="Leave out snapshots without a distribution.",
        )
    return float((distance**2).sum() / ((times[-1] - times[0]) / US_PER_HOUR))


def pool_quotes(
    model: LadderModel,
    history: Sequence[Snapshot],
    pmf: npt.ArrayLike,
    *,
    now_us: int,
    drift_per_hour: float,
    reset_us: int | None = None,
) -> tuple[FloatVector, FloatVector]:
    """Combine the quotes of several snapshots into one middle and weight per leg.

    Parameters
    ----------
    model : LadderModel
        The prepared ladder.
    history : sequence of Snapshot
        Snapshots in any order, the present one among them.
    pmf : array-like, shape (n,)
        A first distribution, from which the slope of each leg is taken.
    now_us : int
        Moment of the decision, UTC microseconds.
    drift_per_hour : float
        Variance of the shift per hour, squared unit of the settlement value.
    reset_us : int, optional
        Last scheduled release: what was known before it is not used.

    Returns
    -------
    tuple of ndarray of float64, shapes (m,) and (m,)
        Weighted middle and inverse variance per leg.

    Raises
    ------
    LookAheadError
        A snapshot from after now.

    Notes
    -----
    A look of variance v and age t has variance ``v + (dP/dx)^2 drift t`` (delta method for a
    shift). Looks at one leg add their inverse variances, which is the same least-squares problem as
    one row per look. Looks with one ``event_us`` (not 0) are one look, the newest snapshot's.

    Examples
    --------
    >>> from quant_engine.kalshi.lattice import SettlementGrid, ladder_structure
    >>> from quant_engine.kalshi.payoffs import Contract
    >>> from quant_engine.kalshi.quotes import LegQuote, ladder_quotes
    >>> from quant_engine.kalshi.distribution import prepare_ladder
    >>> legs = [Contract(f"T{k}", "greater", float(k)) for k in (1, 2, 3)]
    >>> model = prepare_ladder(ladder_structure(legs, SettlementGrid(1.0), is_exclusive=False))
    >>> looks = [
    ...     Snapshot(t, ladder_quotes(model.structure, [LegQuote("T1", b, b + 200)]))
    ...     for t, b in ((0, 5_000), (US_PER_HOUR, 6_000))
    ... ]
    >>> flat = np.full(model.lattice.n_cells, 1.0 / model.lattice.n_cells)
    >>> pool_quotes(model, looks, flat, now_us=US_PER_HOUR, drift_per_hour=0.0)[0][0].round(3)
    np.float64(0.56)
    """
    late = [s.avail_us for s in history if s.avail_us > now_us]
    if late:
        raise LookAheadError(
            "history",
            wanted=f"snapshots up to {now_us}",
            got=f"{len(late)} later ones",
            hint="Take snapshots by their avail_us, backward only.",
        )
    p = np.asarray(pmf, dtype=np.float64)
    # Shifting the distribution by dx changes each cell by -dp/dx dx.
    slope = model.payoff @ np.gradient(p, model.lattice.width)
    m = len(model.payoff)
    top, total = np.zeros(m), np.zeros(m)
    seen: set[tuple[int, int]] = set()
    for snapshot in sorted(history, key=lambda s: -s.avail_us):
        if reset_us is not None and snapshot.avail_us < reset_us:
            continue
        quotes = snapshot.quotes
        weight = leg_weights(quotes, model.config)
        for leg in range(m):
            look = (leg, int(quotes.event_us[leg]))
            if look in seen:
                weight[leg] = 0.0
            elif look[1] != 0 and weight[leg] > 0.0:
                seen.add(look)
        hours = (now_us - snapshot.avail_us) / US_PER_HOUR
        weight = weight / (1.0 + weight * slope**2 * drift_per_hour * hours)
        top += weight * quotes.middle
        total += weight
    return np.divide(top, total, out=np.zeros(m), where=total > 0.0), total


def fit_pooled(
    model: LadderModel,
    history: Sequence[Snapshot],
    *,
    now_us: int,
    drift_per_hour: float,
    reset_us: int | None = None,
) -> LadderDistribution:
    """Fit the present snapshot with the help of earlier ones.

    Parameters
    ----------
    model : LadderModel
        The prepared ladder.
    history : sequence of Snapshot
        Snapshots up to now in any order, at least one; the newest is the present one.
    now_us : int
        Moment of the decision, UTC microseconds.
    drift_per_hour : float
        Variance of the shift per hour; :func:`drift_variance_per_hour`.
    reset_us : int, optional
        Last scheduled release.

    Returns
    -------
    LadderDistribution
        Gates are those of the present snapshot: old quotes do not open a closed one.

    Raises
    ------
    DataError
        No snapshot.
    LookAheadError
        A snapshot from after now.
    """
    if not history:
        raise DataError("history", wanted="at least one snapshot", got=0, hint="Pass the present.")
    present = max(history, key=lambda s: s.avail_us).quotes
    first = fit_distribution(model, present)
    if not first.is_available:
        return first
    pooled = pool_quotes(
        model, history, first.pmf, now_us=now_us, drift_per_hour=drift_per_hour, reset_us=reset_us
    )
    second = fit_distribution(model, present, pooled=pooled, with_band=False)
    band = first.band
    outside = float("nan") if band is None else band.distance(second.leg_probability)
    return replace(second, band=band, outside_band=outside)
