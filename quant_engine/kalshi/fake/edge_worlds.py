"""Event worlds with a known edge, or none, beside their truth: a pure function of a seed.

Each cluster is one release. Its outcome is ``X = m + s Z``; at every look the true law of X is that
of Z around the location known then, cut into cells of one ladder. The market shows

* ``null``: the true probabilities, so that quotes are martingales of the true posterior and nothing
  can be earned;
* ``longshot``: ``(1 - w) p + w / n``, unlikely cells too dear and likely ones too cheap; w is such
  that the likeliest cell is too cheap by `edge`;
* ``delay``: ``(1 - w) p + w p_old`` with the law before the newest news; w is such that the largest
  gap of a cell is `edge` (or all of the news, where that is less).

Bids are rounded down and asks up to the tick. A noisy reference density (a nowcast) stands beside
the market in every world. Nothing here is shared with models or with the fill simulation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import stdtr

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError
from quant_engine.kalshi.event_frames import EventFrames

__all__ = ["EdgeKind", "EdgeWorld", "EdgeWorldConfig", "make_edge_world"]

EdgeKind = Literal["null", "longshot", "delay"]

DAY_US = 86_400_000_000
START_US = 1_600_000_000_000_000
NODES, _MASS = hermegauss(24)
WEIGHTS = _MASS / _MASS.sum()
"""Gauss-Hermite quadrature over the news still to come."""


@dataclass(frozen=True)
class EdgeWorldConfig:
    """Knobs of a world.

    Parameters
    ----------
    seed : int
        Everything random follows from it.
    kind : {"null", "longshot", "delay"}
        Which edge is planted; see the module text.
    edge : float
        Dollars by which the most mispriced cell is off.
    n_clusters : int
        Releases, one per day.
    horizons_s : tuple of int
        Looks before each release, seconds, largest first.
    n_cells : int
        Cells and legs of a ladder.
    degrees : float
        Of the t distribution of the surprise, above 2.
    surprise_sd, drift_sd : float
        s, and the standard deviation of the news before each look, units of the outcome.
    half_spread_e4, tick_e4 : int
        Half the quoted spread and the price step, 1e-4 dollars.
    reference_noise : float
        Standard deviation of the log error of the reference density.

    Raises
    ------
    ConfigError
        When a knob is out of range.
    """

    seed: int
    kind: EdgeKind = "null"
    edge: float = 0.05
    n_clusters: int = 240
    horizons_s: tuple[int, ...] = (86_400, 21_600)
    n_cells: int = 8
    degrees: float = 5.0
    surprise_sd: float = 1.0
    drift_sd: float = 1.0
    half_spread_e4: int = 100
    tick_e4: int = 100
    reference_noise: float = 0.1

    def __post_init__(self) -> None:
        """Refuse knobs out of range."""
        known = self.kind in get_args(EdgeKind)
        falling = list(self.horizons_s) == sorted(set(self.horizons_s), reverse=True)
        sizes = min(self.n_clusters, self.surprise_sd, self.tick_e4, len(self.horizons_s)) > 0
        small = min(self.half_spread_e4, self.drift_sd, self.reference_noise) >= 0
        if not (known and falling and sizes and small) or self.n_cells < 3 or self.degrees <= 2.0:
            raise ConfigError(
                "world",
                wanted="a kind of null, longshot or delay, falling horizons, 3 or more cells, "
                "degrees above 2, positive sizes",
                got=self,
                hint="See the text of the module.",
            )


@dataclass(frozen=True, eq=False)
class EdgeWorld:
    """Frames of a world and the truth beside them.

    Parameters
    ----------
    config : EdgeWorldConfig
        Knobs.
    frames : EventFrames
        What an evaluation may see.
    truth : ndarray of float64, shape (N,)
        True probability of every row of ``frames.cells``, known to nobody inside.
    """

    config: EdgeWorldConfig
    frames: EventFrames
    truth: FloatVector

    @property
    def largest_gap(self) -> float:
        """Mean over looks of the largest distance of the market from the truth, dollars."""
        gap = np.abs(self.frames.cells["market_prob"].to_numpy() - self.truth)
        return float(gap.reshape(-1, self.config.n_cells).max(axis=1).mean())


def make_edge_world(config: EdgeWorldConfig) -> EdgeWorld:
    """Draw a world.

    Parameters
    ----------
    config : EdgeWorldConfig
        Knobs, among them the seed.

    Returns
    -------
    EdgeWorld
        Equal for equal configs.

    Examples
    --------
    >>> world = make_edge_world(EdgeWorldConfig(seed=1, kind="longshot", n_clusters=4))
    >>> round(world.largest_gap, 3)
    0.05
    """
    draws = [
        _cluster(np.random.default_rng(stream), number, config)
        for number, stream in enumerate(
            np.random.SeedSequence(config.seed).spawn(config.n_clusters)
        )
    ]
    looks = pd.DataFrame([row for part in draws for row in part[0]])
    cells = pd.DataFrame({k: np.concatenate([part[1][k] for part in draws]) for k in draws[0][1]})
    legs = pd.DataFrame({k: np.concatenate([part[2][k] for part in draws]) for k in draws[0][2]})
    looks = looks.set_index(["event_id", "horizon_s"])
    frames = EventFrames(
        looks=looks.drop(columns=["happened", "label_avail_us"]),
        cells=cells.drop(columns="truth"),
        labels=looks[["happened", "label_avail_us"]],
        legs=legs,
        features=("depth",),
        cell_features=("reference_gap",),
    )
    return EdgeWorld(config, frames, cells["truth"].to_numpy())


Columns = dict[str, np.ndarray]


def _cluster(
    rng: np.random.Generator, number: int, config: EdgeWorldConfig
) -> tuple[list[dict[str, object]], Columns, Columns]:
    """Looks, cells and legs of one release."""
    n_looks, n = len(config.horizons_s), config.n_cells
    news = config.drift_sd * rng.standard_normal(n_looks)
    scale = np.sqrt((config.degrees - 2.0) / config.degrees)
    outcome = float(news.sum() + config.surprise_sd * scale * rng.standard_t(config.degrees))
    total_sd = float(np.hypot(config.surprise_sd, config.drift_sd * np.sqrt(n_looks)))
    # The first ladder is centred near, not at, the location: nobody lists strikes round it.
    strikes = total_sd * (np.linspace(-1.5, 1.5, n - 1) + rng.uniform(-0.2, 0.2))
    happened = int(np.searchsorted(strikes, outcome, side="left"))
    scheduled_us = START_US + (number + 1) * DAY_US
    looks: list[dict[str, object]] = []
    cells, legs = [], []
    for place, horizon_s in enumerate(config.horizons_s):
        known = float(news[: place + 1].sum())
        ahead = n_looks - place - 1
        truth = _law(strikes, known, ahead, config)
        old = _law(strikes, known - float(news[place]), ahead + 1, config)
        market = _shown(truth, old, config)
        reference = truth * np.exp(config.reference_noise * rng.standard_normal(n))
        reference /= reference.sum()
        is_thin = bool(rng.random() < 0.4)
        key = {"event_id": np.full(n, number), "horizon_s": np.full(n, horizon_s)}
        cells.append(
            key
            | {
                "cell": np.arange(n),
                "market_prob": market,
                "reference_gap": reference - market,
                "truth": truth,
            }
        )
        legs.append(key | _legs(rng, market, number, is_thin=is_thin, config=config))
        asof_us = scheduled_us - horizon_s * 1_000_000
        looks.append(
            {
                "event_id": number,
                "horizon_s": horizon_s,
                "cluster_id": number,
                "family": "daily",
                "series": "KXEDGE",
                "event_ticker": f"KXEDGE-{number}",
                "regime": "thin" if is_thin else "deep",
                "asof_us": asof_us,
                "scheduled_us": scheduled_us,
                "max_input_avail_us": asof_us - int(rng.integers(0, 60_000_000)),
                "depth": float(legs[-1]["ask_size_c2"].mean()),
                "happened": happened,
                "label_avail_us": scheduled_us + 3_600_000_000,
            }
        )
    return looks, _stacked(cells), _stacked(legs)


def _stacked(parts: list[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _law(
    strikes: FloatVector, location: float, n_ahead: int, config: EdgeWorldConfig
) -> FloatVector:
    """Exact probabilities of cells: the law of the surprise averaged over the news to come."""
    centres = location + config.drift_sd * np.sqrt(n_ahead) * NODES
    scale = config.surprise_sd * np.sqrt((config.degrees - 2.0) / config.degrees)
    below = stdtr(config.degrees, (strikes[:, None] - centres) / scale) @ WEIGHTS
    return np.diff(np.concatenate(([0.0], below, [1.0])))


def _shown(truth: FloatVector, old: FloatVector, config: EdgeWorldConfig) -> FloatVector:
    if config.kind == "null":
        return truth
    other = np.full(len(truth), 1.0 / len(truth)) if config.kind == "longshot" else old
    if config.kind == "longshot":
        widest = float(truth.max()) - 1.0 / len(truth)
    else:
        widest = float(np.abs(old - truth).max())
    weight = min(config.edge / max(widest, 1e-12), 1.0)
    return (1.0 - weight) * truth + weight * other


def _legs(
    rng: np.random.Generator,
    market: FloatVector,
    number: int,
    *,
    is_thin: bool,
    config: EdgeWorldConfig,
) -> Columns:
    n = len(market)
    most = 5_000 if is_thin else 20_000
    # Between a look and the following snapshot a little news arrives, about a tick of it.
    moved = np.clip(market + 0.004 * (1.0 - 2.0 * rng.random(n)) * market, 0.0, 1.0)
    now, later = _quoted(market, config), _quoted(moved, config)
    sizes = rng.integers(1_000, most, (4, n))
    return {
        "ticker": np.array([f"KXEDGE-{number}-{k}" for k in range(n)], dtype=object),
        "first_cell": np.arange(n),
        "last_cell": np.arange(n),
        "bid_e4": now[0],
        "ask_e4": now[1],
        "bid_size_c2": sizes[0],
        "ask_size_c2": sizes[1],
        "next_bid_e4": later[0],
        "next_ask_e4": later[1],
        "next_bid_size_c2": sizes[2],
        "next_ask_size_c2": sizes[3],
    }


def _quoted(prob: FloatVector, config: EdgeWorldConfig) -> tuple[np.ndarray, np.ndarray]:
    tick = config.tick_e4
    bid = np.floor((prob * 10_000 - config.half_spread_e4) / tick).astype(np.int64) * tick
    ask = np.ceil((prob * 10_000 + config.half_spread_e4) / tick).astype(np.int64) * tick
    return np.where(bid >= tick, bid, -1), np.where(ask <= 10_000 - tick, ask, -1)
