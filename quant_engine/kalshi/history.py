"""What a family's past says: surprises of finished clusters, and the base rate of its numbers.

Contract: only first prints that were available at the decision count, never one of the look's own
cluster, and a cluster counts once however many markets it had. The forecast that a surprise is
measured against is the distribution of that event at the same horizon, as it was then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import log, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import SchemaMismatchError
from quant_engine.kalshi.features import EventFeature

__all__ = ["HISTORY_COLUMNS", "base_rate", "history_features", "past_clusters"]

HISTORY_COLUMNS = (
    "event_id", "horizon_s", "asof_us", "release_id", "cluster_id", "family", "series_id", "mean",
    "sd", "is_moment_truncated",
)  # fmt: skip
"""Columns of looks that histories are made of."""

NAN = float("nan")
IntVector = npt.NDArray[np.int64]


def past_clusters(
    cluster_id: npt.ArrayLike, avail_us: npt.ArrayLike, *, asof_us: int, own: int | None, most: int
) -> IntVector:
    """Rows of the newest clusters that were over at a decision.

    Parameters
    ----------
    cluster_id : array-like, shape (n,)
        Cluster of every finished row; a row of unknown cluster (NaN) does not count.
    avail_us : array-like of int, shape (n,)
        When its first print was known, ascending.
    asof_us : int
        Decision, microseconds UTC.
    own : int or None
        The look's own cluster, which never counts.
    most : int
        How many clusters.

    Returns
    -------
    ndarray of int64
        Their places, ascending.

    Examples
    --------
    >>> past_clusters([1, 2, 3], [10, 20, 30], asof_us=25, own=2, most=5).tolist()
    [0]
    """
    cluster = np.asarray(cluster_id, dtype=np.float64)
    n_known = int(np.searchsorted(np.asarray(avail_us, dtype=np.int64), asof_us, side="right"))
    counted: set[float] = set()
    places = []
    for place in range(n_known - 1, -1, -1):
        name = cluster[place]
        if np.isnan(name) or (own is not None and name == own):
            continue
        if name not in counted and len(counted) == most:
            continue
        counted.add(name)
        places.append(place)
    return np.array(places[::-1], dtype=np.int64)


def base_rate(values: Sequence[float] | FloatVector) -> tuple[float, float]:
    """Mean and standard deviation of past numbers.

    Parameters
    ----------
    values : sequence of float
        First prints, one per cluster.

    Returns
    -------
    tuple of float
        NaN without values; the standard deviation is NaN for fewer than 2.

    Examples
    --------
    >>> base_rate([1.0, 3.0])
    (2.0, 1.4142135623730951)
    """
    known = np.asarray(values, dtype=np.float64)
    mean = float(known.mean()) if len(known) else NAN
    return mean, float(known.std(ddof=1)) if len(known) > 1 else NAN


def history_features(
    looks: pd.DataFrame, outcomes: pd.DataFrame, features: Sequence[EventFeature]
) -> tuple[pd.DataFrame, pd.Series]:
    """Features of kind ``history`` of every look.

    Parameters
    ----------
    looks : pandas.DataFrame
        Columns :data:`HISTORY_COLUMNS`; one row per event and horizon.
    outcomes : pandas.DataFrame
        First prints: ``release_id``, ``value`` and ``avail_us``.
    features : sequence of EventFeature
        Declarations; those of other kinds are passed over.

    Returns
    -------
    tuple of pandas.DataFrame and pandas.Series
        One column per feature on the index of `looks`, NaN where nothing was over, and the newest
        availability of what a row rests on (0 = nothing).

    Raises
    ------
    SchemaMismatchError
        Columns that are missing.

    Notes
    -----
    A surprise is ``(first print - mean) / sd`` of the event's own distribution at the same horizon,
    averaged over the events of a cluster. An event whose moments were truncated has none: its mean
    rested on where the lattice ends. ``base_gap`` is ``(mean - base mean) / base sd`` and
    ``base_spread`` the logarithm of ``sd / base sd``.
    """
    for name, frame, wanted in (
        ("looks", looks, HISTORY_COLUMNS),
        ("outcomes", outcomes, ("release_id", "value", "avail_us")),
    ):
        missing = sorted(set(wanted) - set(frame.columns))
        if missing:
            raise SchemaMismatchError(
                name, wanted=f"columns {wanted}", got=f"without {missing}", hint="Add them."
            )
    declared = [feature for feature in features if feature.kind == "history"]
    found = {feature.name: np.full(len(looks), NAN) for feature in declared}
    newest = np.zeros(len(looks), dtype=np.int64)
    printed = outcomes.set_index("release_id")[["value", "avail_us"]]
    rows = looks[[*HISTORY_COLUMNS]].reset_index(drop=True).join(printed, on="release_id")
    for group, clusters in dict.fromkeys((f.group, f.clusters) for f in declared):
        mine = [f for f in declared if (f.group, f.clusters) == (group, clusters)]
        key = "family" if group == "family" else "series_id"
        for _, block in rows[rows[key].notna()].groupby([key, "horizon_s"], sort=False):
            for place, value in _block_values(block, mine, clusters):
                newest[place] = max(newest[place], value.pop("avail_us"))
                for name, number in value.items():
                    found[name][place] = number
    frame = pd.DataFrame(found, index=looks.index, columns=[f.name for f in declared])
    return frame, pd.Series(newest, index=looks.index)


def _block_values(
    block: pd.DataFrame, features: Sequence[EventFeature], clusters: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Values of every look of one group and horizon, with the newest availability behind them."""
    finished = block[block["value"].notna()].sort_values(["avail_us", "event_id"])
    names = ("cluster_id", "value", "mean", "sd")
    cluster, value, mean, sd = (
        finished[name].to_numpy(dtype=np.float64, na_value=NAN) for name in names
    )
    mean = np.where(finished["is_moment_truncated"].to_numpy(np.bool_), NAN, mean)
    avail = finished["avail_us"].to_numpy(np.int64)
    for place, look in zip(block.index, block.itertuples(index=False), strict=True):
        own = None if pd.isna(look.cluster_id) else int(look.cluster_id)
        past = past_clusters(cluster, avail, asof_us=int(look.asof_us), own=own, most=clusters)
        surprise = _by_cluster(cluster[past], (value[past] - mean[past]) / sd[past])
        level, spread = base_rate(_by_cluster(cluster[past], value[past]))
        scene = {
            "surprise": surprise, "level": level, "spread": spread,
            "mean": float(look.mean), "sd": float(look.sd),
        }  # fmt: skip
        found: dict[str, Any] = {f.name: _HISTORY[f.of](scene) for f in features}
        yield place, found | {"avail_us": int(avail[past].max()) if len(past) else 0}


def _by_cluster(cluster: FloatVector, values: FloatVector) -> FloatVector:
    """Mean per cluster in order of first appearance; a cluster without a number is left out."""
    known = ~np.isnan(values)
    cluster, values = cluster[known], values[known]
    names = list(dict.fromkeys(cluster.tolist()))
    return np.array([values[cluster == name].mean() for name in names])


def _surprise(measure: Callable[[FloatVector], float]) -> Callable[[Mapping[str, Any]], float]:
    return lambda scene: float(measure(scene["surprise"])) if len(scene["surprise"]) else NAN


def _base_gap(scene: Mapping[str, Any]) -> float:
    spread = scene["spread"]
    return (scene["mean"] - scene["level"]) / spread if spread > 0.0 else NAN


def _base_spread(scene: Mapping[str, Any]) -> float:
    return log(scene["sd"] / scene["spread"]) if scene["spread"] > 0.0 < scene["sd"] else NAN


_HISTORY: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "surprise_mean": _surprise(lambda s: float(s.mean())),
    "surprise_abs": _surprise(lambda s: float(np.abs(s).mean())),
    "surprise_rms": _surprise(lambda s: sqrt(float((s**2).mean()))),
    "surprise_last": _surprise(lambda s: float(s[-1])),
    "n_clusters": lambda scene: float(len(scene["surprise"])),
    "base_gap": _base_gap,
    "base_spread": _base_spread,
}
