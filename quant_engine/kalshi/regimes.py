"""Regimes of event markets: how liquid, how jumpy, and how near the release, as known then.

Contract: every tag is filtered. It compares a look with looks of the same family and horizon that
were decided before it, never with its own cluster and never with a later one; adding later events
changes no earlier tag. Too little history is ``UNKNOWN``, which is -1: 0 is a regime.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pandas as pd

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, MissingFieldError, did_you_mean
from quant_engine.kalshi.history import past_clusters
from quant_engine.kalshi.panel import EventPanel

__all__ = [
    "Activity",
    "Liquidity",
    "RegimeConfig",
    "ReleaseWindow",
    "event_regimes",
    "regime_names",
]

NORMAL_MAD = 1.4826
"""Scales a median absolute deviation to a standard deviation of a normal number."""
HALF_TICK_CENTS = 0.5


class Liquidity(IntEnum):
    """How a look's spread and volume rank among its past."""

    UNKNOWN = -1
    THIN = 0
    NORMAL = 1
    DEEP = 2


class Activity(IntEnum):
    """Whether the distribution moves as usual."""

    UNKNOWN = -1
    CALM = 0
    JUMPY = 1


class ReleaseWindow(IntEnum):
    """How near the schedule is."""

    FAR = 0
    NEAR = 1
    PRE_RELEASE = 2


@dataclass(frozen=True)
class RegimeConfig:
    """Limits of the tags.

    Parameters
    ----------
    clusters : int
        Newest earlier clusters that a look is compared with.
    least : int
        Below this number the tag is unknown.
    thin, deep : float
        Rank below which a look is thin, and from which on it is deep, as fractions.
    deviations : float
        Robust standard deviations above the median from which on a look is jumpy.
    near_s, pre_release_s : int
        Seconds before the schedule from which on it is near, and the window before the release.
    spread, volume, speed : str
        Features that are read: cents, contracts, and unit per square root of an hour.

    Raises
    ------
    ConfigError
        Limits out of order.
    """

    clusters: int = 60
    least: int = 15
    thin: float = 1.0 / 3.0
    deep: float = 2.0 / 3.0
    deviations: float = 4.0
    near_s: int = 86_400
    pre_release_s: int = 3_600
    spread: str = "HALF_SPREAD"
    volume: str = "CONTRACTS_24H"
    speed: str = "SPEED_6H"

    def __post_init__(self) -> None:
        ranks = 0.0 < self.thin <= self.deep < 1.0
        windows = 0 < self.pre_release_s <= self.near_s
        if not ranks or not windows or not 2 <= self.least <= self.clusters or self.deviations <= 0:
            raise ConfigError(
                "thin, deep, near_s, pre_release_s, least, clusters, deviations",
                wanted="0 < thin <= deep < 1, pre_release_s <= near_s, 2 <= least <= clusters",
                got=self,
                hint="Use the defaults.",
            )


def event_regimes(panel: EventPanel, config: RegimeConfig | None = None) -> pd.DataFrame:
    """Regime tags of every look.

    Parameters
    ----------
    panel : EventPanel
        Looks with the features that the settings name.
    config : RegimeConfig, optional
        Limits.

    Returns
    -------
    pandas.DataFrame
        Index of the looks; int8 ``liquidity``, ``activity``, ``window``, float64
        ``liquidity_rank`` (share of earlier clusters that were less liquid) and ``activity_score``
        (robust standard deviations above the usual), NaN where the tag is unknown.

    Raises
    ------
    MissingFieldError
        A panel without these features.

    Notes
    -----
    Liquidity is ``log(1 + contracts) - log(half-spread + half a tick)``; a ladder that is listed
    and has no usable leg is less liquid than any that has one. Activity is the speed of the
    distribution over its standard deviation, in logarithms, against the median and the median
    absolute deviation of earlier clusters.
    """
    settings = RegimeConfig() if config is None else config
    wanted = (settings.spread, settings.volume, settings.speed)
    missing = [name for name in wanted if name not in panel.looks.columns]
    if missing:
        raise MissingFieldError(
            "panel", wanted=f"features {wanted}", got=f"without {missing}", hint="Declare them."
        )
    looks = panel.looks.reset_index()
    liquidity, speed = _liquidity(looks, settings), _speed(looks, settings)
    rank, score = np.full(len(looks), np.nan), np.full(len(looks), np.nan)
    groups = looks["family"].fillna("")
    for _, block in looks.groupby([groups, looks["horizon_s"]], sort=False):
        block = block.sort_values(["asof_us", "event_id"])
        places = block.index.to_numpy()
        cluster = block["cluster_id"].to_numpy(np.float64, na_value=np.nan)
        asof_us = block["asof_us"].to_numpy(np.int64)
        for row, place in enumerate(places):
            past = past_clusters(
                cluster, asof_us, asof_us=int(asof_us[row]) - 1,
                own=None if np.isnan(cluster[row]) else int(cluster[row]), most=settings.clusters,
            )  # fmt: skip
            rank[place] = _rank(liquidity[place], liquidity[places[past]], settings.least)
            score[place] = _deviations(speed[place], speed[places[past]], settings.least)
    horizon = looks["horizon_s"].to_numpy()
    near, pre = horizon <= settings.near_s, horizon <= settings.pre_release_s
    tags = {
        "liquidity": _tag(rank, (rank >= settings.thin).astype(int) + (rank >= settings.deep)),
        "activity": _tag(score, score > settings.deviations),
        "window": (near.astype(np.int8) + pre).astype(np.int8),
        "liquidity_rank": rank,
        "activity_score": score,
    }
    return pd.DataFrame(tags, index=panel.looks.index)


_TAGS: dict[str, type[IntEnum]] = {
    "liquidity": Liquidity,
    "activity": Activity,
    "window": ReleaseWindow,
}


def regime_names(regimes: pd.DataFrame, tag: str = "liquidity") -> pd.Series:
    """One tag as text, for reports and for slices of an evaluation.

    Parameters
    ----------
    regimes : pandas.DataFrame
        As :func:`event_regimes` gives them.
    tag : {"liquidity", "activity", "window"}
        Which one.

    Returns
    -------
    pandas.Series
        Names such as ``thin`` and ``unknown`` on the same index.

    Raises
    ------
    ConfigError
        For another tag.

    Examples
    --------
    >>> table = pd.DataFrame({"liquidity": [-1, 0, 2]})
    >>> regime_names(table).tolist()
    ['unknown', 'thin', 'deep']
    """
    if tag not in _TAGS:
        raise ConfigError(
            "tag", wanted=f"one of {tuple(_TAGS)}", got=tag, hint=did_you_mean(tag, _TAGS)
        )
    names = {int(value): value.name.lower() for value in _TAGS[tag]}
    return regimes[tag].map(names).astype("string")


def _liquidity(looks: pd.DataFrame, config: RegimeConfig) -> FloatVector:
    volume = np.log1p(looks[config.volume].to_numpy(np.float64))
    spread = np.log(looks[config.spread].to_numpy(np.float64) + HALF_TICK_CENTS)
    # Nobody quotes anything usable: that is known, and thinner than everything else.
    empty = (looks["n_usable"] == 0) & (looks["n_legs"] > 0)
    return np.where(empty, -np.inf, volume - spread)


def _speed(looks: pd.DataFrame, config: RegimeConfig) -> FloatVector:
    speed, sd = looks[config.speed].to_numpy(np.float64), looks["sd"].to_numpy(np.float64)
    relative = np.divide(speed, sd, out=np.full(len(speed), np.nan), where=sd > 0.0)
    # Without a floor a market that did not move at all would be infinitely calm.
    return np.log(relative + 1e-3)


def _rank(value: float, past: FloatVector, least: int) -> float:
    known = past[~np.isnan(past)]
    if np.isnan(value) or len(known) < least:
        return float("nan")
    return float((known < value).mean() + 0.5 * (known == value).mean())


def _deviations(value: float, past: FloatVector, least: int) -> float:
    known = past[~np.isnan(past)]
    if np.isnan(value) or len(known) < least:
        return float("nan")
    centre = float(np.median(known))
    spread = NORMAL_MAD * float(np.median(np.abs(known - centre)))
    return (value - centre) / spread if spread > 0.0 else float("nan")


def _tag(score: FloatVector, tag: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(score), -1, tag).astype(np.int8)
