"""How far a market's distribution is from another opinion, in which direction, and how surely.

Contract: a reference carries the moment from which on it was known; one that is later than the
decision is refused. Both sides are compared on the lattice of the market. References are inputs:
forecasts, the history of first prints, or another ladder that the caller says asks for the same
number. Nothing here looks at the outcome of the event that it compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import log, sqrt

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import DataError, LookAheadError, SchemaMismatchError
from quant_engine.kalshi.distribution import LadderDistribution
from quant_engine.kalshi.history import base_rate, past_clusters
from quant_engine.kalshi.panel import EventPanel
from quant_engine.stats.distances import js_divergence, wasserstein_shares

__all__ = [
    "Disagreement",
    "Reference",
    "disagree",
    "disagreement_frame",
    "forecast_references",
    "history_references",
    "ladder_references",
    "normal_reference",
    "on_lattice",
]

NAN = float("nan")
SURE = 0.05
"""Two-sided probability below which a difference of means counts as one."""
_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
LookKey = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Reference:
    """Another opinion on a settlement value.

    Parameters
    ----------
    points : ndarray of float64, shape (k,)
        Rising cell values, evenly spaced, unit of the settlement value.
    pmf : ndarray of float64, shape (k,)
        Probability per cell; adds up to 1.
    avail_us : int
        From when on it was known, microseconds UTC.
    mean_sd : float
        Standard deviation of its own mean, for the significance; 0 = exact.
    n : int
        Observations that it rests on.

    Raises
    ------
    DataError
        Cells that do not rise evenly, or probabilities that are none.
    """

    points: FloatVector
    pmf: FloatVector
    avail_us: int
    mean_sd: float = 0.0
    n: int = 0

    def __post_init__(self) -> None:
        gaps = np.diff(self.points)
        even = len(gaps) >= 1 and gaps.min() > 0.0 and np.allclose(gaps, gaps[0])
        whole = self.pmf.shape == self.points.shape and abs(float(self.pmf.sum()) - 1.0) <= 1e-6
        if not even or not whole or self.pmf.min() < 0.0 or not self.mean_sd >= 0.0:
            raise DataError(
                "points, pmf",
                wanted="evenly rising cells with probabilities that add up to 1",
                got=f"{len(self.points)} cells, sum {float(self.pmf.sum()):.6g}",
                hint="Use normal_reference for a mean and a standard deviation.",
            )

    @property
    def mean(self) -> float:
        """Mean, unit of the settlement value."""
        return float(self.pmf @ self.points)


@dataclass(frozen=True)
class Disagreement:
    """Market against reference; gaps are market - reference, NaN where there is no distribution.

    Parameters
    ----------
    wasserstein, js_nats, hellinger : float
        Distances; the first in the unit of the settlement value.
    mean_gap, q05_gap, q25_gap, q50_gap, q75_gap, q95_gap : float
        Differences, unit of the settlement value.
    log_sd_ratio : float
        Logarithm of the market's standard deviation over the reference's.
    z : float
        Mean gap over the standard deviation of both means.
    p_value : float
        Two-sided, of z as a normal number.
    sign : float
        Sign of the mean gap where ``p_value < 0.05``, else 0.
    outside_share : float
        Share of cells where the reference's distribution function lies outside the market's 95 %
        posterior interval.
    """

    wasserstein: float
    js_nats: float
    hellinger: float
    mean_gap: float
    q05_gap: float
    q25_gap: float
    q50_gap: float
    q75_gap: float
    q95_gap: float
    log_sd_ratio: float
    z: float
    p_value: float
    sign: float
    outside_share: float


def normal_reference(
    mean: float,
    sd: float,
    distribution: LadderDistribution,
    *,
    avail_us: int,
    mean_sd: float = 0.0,
    n: int = 0,
) -> Reference:
    """Normal opinion on the lattice of a market.

    Parameters
    ----------
    mean, sd : float
        Of the settlement value; the standard deviation is positive.
    distribution : LadderDistribution
        The market; its lattice is used and nothing else of it. Tails fall into the outer cells.
    avail_us : int
        From when on it was known.
    mean_sd : float
        Standard deviation of the mean.
    n : int
        Observations behind it.

    Returns
    -------
    Reference

    Raises
    ------
    DataError
        A standard deviation that is not positive, or a market without a lattice.
    """
    if not sd > 0.0 or len(distribution.points) < 2:
        raise DataError(
            "sd, distribution",
            wanted="a positive standard deviation and a lattice",
            got=f"{sd}, {len(distribution.points)} cells",
            hint="Leave the look without a reference.",
        )
    points = distribution.points
    inner = points[:-1] + distribution.width / 2.0
    cdf = np.concatenate([[0.0], ndtr((inner - mean) / sd), [1.0]])
    return Reference(points, np.diff(cdf), avail_us, mean_sd, n)


def on_lattice(reference: Reference, points: npt.ArrayLike) -> FloatVector:
    """Probabilities of a reference on other cells.

    Parameters
    ----------
    reference : Reference
        Opinion on its own cells, spread evenly within each.
    points : array-like, shape (n,)
        Evenly rising cell values; the outer cells take what lies beyond them.

    Returns
    -------
    ndarray of float64, shape (n,)
        Adds up to 1.

    Examples
    --------
    >>> fine = Reference(np.array([0.0, 1.0, 2.0, 3.0]), np.full(4, 0.25), avail_us=0)
    >>> on_lattice(fine, [0.5, 2.5]).tolist()
    [0.5, 0.5]
    """
    x = np.asarray(points, dtype=np.float64)
    own = reference.points
    if len(own) == len(x) and np.allclose(own, x):
        return reference.pmf
    half = (own[1] - own[0]) / 2.0
    edges = np.append(own[0] - half, own + half)
    cdf = np.concatenate([[0.0], np.cumsum(reference.pmf)])
    inner = x[:-1] + (x[1] - x[0]) / 2.0
    found: FloatVector = np.diff(np.concatenate([[0.0], np.interp(inner, edges, cdf), [1.0]]))
    return np.maximum(found, 0.0)


def disagree(
    distribution: LadderDistribution, reference: Reference, *, asof_us: int
) -> Disagreement:
    """Compare a market with a reference.

    Parameters
    ----------
    distribution : LadderDistribution
        The market at a decision.
    reference : Reference
        Known by then.
    asof_us : int
        Decision, microseconds UTC.

    Returns
    -------
    Disagreement
        NaN in every field for a market without a distribution.

    Raises
    ------
    LookAheadError
        A reference from after the decision.

    Notes
    -----
    The posterior of a market says what its quotes leave open, not how often markets are wrong; the
    significance is about the opinions, not about the truth.

    Examples
    --------
    >>> from quant_engine.kalshi.distribution import reconstruct
    >>> from quant_engine.kalshi.lattice import SettlementGrid
    >>> from quant_engine.kalshi.payoffs import Contract
    >>> from quant_engine.kalshi.quotes import LegQuote
    >>> legs = [Contract(f"T{k}", "greater", float(k)) for k in range(1, 5)]
    >>> bids = {1: 8_400, 2: 4_900, 3: 1_500, 4: 200}
    >>> quotes = [LegQuote(f"T{k}", bid, bid + 200) for k, bid in bids.items()]
    >>> market = reconstruct(legs, quotes, SettlementGrid(1.0), is_exclusive=False)
    >>> lower = normal_reference(2.0, 1.0, market, avail_us=5)
    >>> found = disagree(market, lower, asof_us=9)
    >>> round(found.mean_gap, 1), found.sign
    (0.5, 1.0)
    """
    if reference.avail_us > asof_us:
        raise LookAheadError(
            "reference",
            wanted=f"an opinion that was known by {asof_us}",
            got=reference.avail_us,
            hint="Take the newest one with avail_us at or before the decision.",
        )
    if not distribution.is_available:
        return Disagreement(*[NAN] * len(fields(Disagreement)))
    x, p = distribution.points, distribution.pmf
    q = on_lattice(reference, x)
    mean = float(q @ x)
    sd = sqrt(float(q @ (x - mean) ** 2))
    gaps = distribution.quantiles(_LEVELS) - _reference_quantiles(x, distribution.width, q)
    gap = distribution.mean - mean
    unsure = sqrt(distribution.mean_sd**2 + reference.mean_sd**2)
    z = gap / unsure if unsure > 0.0 else NAN
    p_value = 2.0 * float(ndtr(-abs(z)))
    low, high = distribution.cdf_interval(0.95)
    cdf = np.cumsum(q)
    return Disagreement(
        wasserstein_shares(p, q, support=x),
        js_divergence(p, q),
        sqrt(max(0.0, 1.0 - float(np.sqrt(p * q).sum()))),
        gap,
        *gaps.tolist(),
        log(distribution.sd / sd) if distribution.sd > 0.0 and sd > 0.0 else NAN,
        z,
        p_value,
        float(np.sign(gap)) if p_value < SURE else 0.0,
        float(((cdf[:-1] < low[:-1]) | (cdf[:-1] > high[:-1])).mean()),
    )


def _reference_quantiles(points: FloatVector, width: float, pmf: FloatVector) -> FloatVector:
    edges = np.append(points[0] - width / 2.0, points + width / 2.0)
    found: FloatVector = np.interp(_LEVELS, np.concatenate([[0.0], np.cumsum(pmf)]), edges)
    return found


def disagreement_frame(
    panel: EventPanel, references: Mapping[str, Mapping[LookKey, Reference]]
) -> pd.DataFrame:
    """Disagreements of every look with every reference.

    Parameters
    ----------
    panel : EventPanel
        Markets.
    references : mapping of str to mapping of (int, int) to Reference
        Name to the references per event and horizon; a look without one is NaN.

    Returns
    -------
    pandas.DataFrame
        Index of the looks; float64 columns ``NAME__FIELD`` for every field of
        :class:`Disagreement`, and int64 ``max_input_avail_us``.

    Raises
    ------
    LookAheadError
        A reference from after its decision.
    """
    names = [field.name for field in fields(Disagreement)]
    columns = [f"{name}__{measure}" for name in references for measure in names]
    values = np.full((len(panel.looks), len(columns)), NAN)
    newest = panel.looks["max_input_avail_us"].to_numpy(np.int64).copy()
    asof_us = panel.looks["asof_us"].to_numpy(np.int64)
    for row, key in enumerate(panel.looks.index):
        for place, by_look in enumerate(references.values()):
            reference = by_look.get(key)
            if reference is None:
                continue
            found = disagree(panel.distributions[key], reference, asof_us=int(asof_us[row]))
            start = place * len(names)
            values[row, start : start + len(names)] = [getattr(found, name) for name in names]
            newest[row] = max(newest[row], reference.avail_us)
    frame = pd.DataFrame(values, index=panel.looks.index, columns=columns)
    frame["max_input_avail_us"] = newest
    return frame


def history_references(
    panel: EventPanel, outcomes: pd.DataFrame, *, clusters: int = 20, least: int = 8
) -> dict[LookKey, Reference]:
    """Base rate of a series as a normal opinion: its newest first prints.

    Parameters
    ----------
    panel : EventPanel
        Markets.
    outcomes : pandas.DataFrame
        First prints: ``release_id``, ``value`` and ``avail_us``.
    clusters : int
        Newest finished clusters that count.
    least : int
        Below this number there is no reference.

    Returns
    -------
    dict of (int, int) to Reference
        The spread is that of a new number: ``sd sqrt(1 + 1 / n)``.
    """
    rows = _finished(panel, outcomes)
    found: dict[LookKey, Reference] = {}
    for key, past in _pasts(rows, clusters):
        distribution = panel.distributions[key]
        mean, sd = base_rate(past["value"].to_numpy(np.float64))
        if len(past) >= least and sd > 0.0 and len(distribution.points) > 1:
            n = len(past)
            found[key] = normal_reference(
                mean, sd * sqrt(1.0 + 1.0 / n), distribution,
                avail_us=int(past["avail_us"].max()), mean_sd=sd / sqrt(n), n=n,
            )  # fmt: skip
    return found


def forecast_references(
    panel: EventPanel,
    forecasts: pd.DataFrame,
    outcomes: pd.DataFrame,
    *,
    clusters: int = 60,
    least: int = 10,
) -> dict[LookKey, Reference]:
    """Point forecasts as normal opinions, with the bias and spread of their own past errors.

    Parameters
    ----------
    panel : EventPanel
        Markets.
    forecasts : pandas.DataFrame
        ``release_id``, ``avail_us`` (when that forecast was out) and ``value``; several per release
        as they were revised.
    outcomes : pandas.DataFrame
        First prints: ``release_id``, ``value`` and ``avail_us``.
    clusters : int
        Newest finished clusters whose errors count.
    least : int
        Below this number of errors there is no reference.

    Returns
    -------
    dict of (int, int) to Reference
        From the newest forecast that was out at the decision, moved by the mean past error at the
        same horizon.

    Raises
    ------
    SchemaMismatchError
        A frame without these columns: a forecast that does not say when it was out is no input.
    """
    missing = sorted({"release_id", "avail_us", "value"} - set(forecasts.columns))
    if missing:
        raise SchemaMismatchError(
            "forecasts",
            wanted="columns release_id, avail_us, value",
            got=f"without {missing}",
            hint="A file that does not say when its forecasts were issued cannot be used.",
        )
    rows = _finished(panel, outcomes)
    known = forecasts.sort_values("avail_us", kind="stable").rename(
        columns={"value": "forecast", "avail_us": "forecast_us"}
    )
    known["release_id"] = known["release_id"].astype("int64")
    asked = rows[rows["release_id"].notna()].sort_values("asof_us", kind="stable")
    asked = asked.assign(release_id=asked["release_id"].astype("int64"))
    joined = pd.merge_asof(
        asked, known[["release_id", "forecast_us", "forecast"]], left_on="asof_us",
        right_on="forecast_us", by="release_id",
    )  # fmt: skip
    joined["error"] = joined["value"] - joined["forecast"]
    found: dict[LookKey, Reference] = {}
    own = joined.set_index(["event_id", "horizon_s"])[["forecast", "forecast_us"]]
    for key, past in _pasts(joined, clusters):
        errors = past[past["error"].notna()]
        bias, sd = base_rate(errors["error"].to_numpy(np.float64))
        value, out_us = own.loc[key]
        distribution = panel.distributions[key]
        if len(errors) < least or not sd > 0.0 or np.isnan(value) or len(distribution.points) < 2:
            continue
        n = len(errors)
        found[key] = normal_reference(
            float(value) + bias, sd * sqrt(1.0 + 1.0 / n), distribution,
            avail_us=max(int(out_us), int(errors["avail_us"].max())), mean_sd=sd / sqrt(n), n=n,
        )  # fmt: skip
    return found


def ladder_references(panel: EventPanel, pairs: Mapping[int, int]) -> dict[LookKey, Reference]:
    """Other ladders as opinions.

    Parameters
    ----------
    panel : EventPanel
        Markets.
    pairs : mapping of int to int
        Event to the other event that asks for the same number in the same unit. That is what the
        caller knows; a common release alone does not make two ladders comparable.

    Returns
    -------
    dict of (int, int) to Reference
        Where the other ladder had a distribution at the same horizon, decided no later.
    """
    looks = panel.looks
    found: dict[LookKey, Reference] = {}
    for event_id, horizon_s in looks.index:
        other = (pairs.get(event_id, -1), horizon_s)
        distribution = panel.distributions.get(other)
        if distribution is None or not distribution.is_available:
            continue
        if looks.at[other, "asof_us"] <= looks.at[(event_id, horizon_s), "asof_us"]:
            found[event_id, horizon_s] = Reference(
                distribution.points,
                distribution.pmf,
                int(looks.at[other, "max_input_avail_us"]),
                distribution.mean_sd,
            )
    return found


def _finished(panel: EventPanel, outcomes: pd.DataFrame) -> pd.DataFrame:
    """Looks with the first print of their release, where there is one."""
    columns = ["asof_us", "release_id", "cluster_id", "series_id"]
    printed = outcomes.set_index("release_id")[["value", "avail_us"]]
    return panel.looks[columns].reset_index().join(printed, on="release_id")


def _pasts(rows: pd.DataFrame, clusters: int) -> list[tuple[LookKey, pd.DataFrame]]:
    """Every look with the finished rows of its series and horizon that were known at it."""
    found = []
    for _, block in rows[rows["series_id"].notna()].groupby(["series_id", "horizon_s"]):
        finished = block[block["value"].notna()].sort_values(["avail_us", "event_id"])
        cluster = finished["cluster_id"].to_numpy(np.float64, na_value=NAN)
        for look in block.itertuples(index=False):
            own = None if pd.isna(look.cluster_id) else int(look.cluster_id)
            places = past_clusters(
                cluster, finished["avail_us"].to_numpy(np.int64), asof_us=int(look.asof_us),
                own=own, most=clusters,
            )  # fmt: skip
            key = (int(look.event_id), int(look.horizon_s))
            found.append((key, finished.iloc[places]))
    return found
