"""Published characteristics: 40 persistent series; some drive risk, some alpha, most nothing.

Each characteristic is the cross-sectional rank, mapped to (-1, 1), of a Gaussian AR(1) latent
(the data-generating process of Gu, Kelly & Xiu 2020, online appendix A, at daily frequency). The
latents that drive volatility, beta, style loadings and delisting do so in every world, the null
included. Which published name carries which role is a permutation drawn from the seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
from quant_engine.data.simulated.config import N_CHARACTERISTICS, N_STYLES, CharacteristicSpec
from quant_engine.data.simulated.kernels import ar1_in_place, rank_map
from quant_engine.data.simulated.streams import Streams

N_ALPHA = 8
_ROLES = (
    *(f"alpha_{k}" for k in range(N_ALPHA)),
    "volatility",
    "beta",
    *(f"style_{k}" for k in range(N_STYLES)),
    "distress",
    "takeover",
    "liquidity",
)


@dataclass(frozen=True)
class CharacteristicPlan:
    """Which latent drives what, how persistent it is, and under which name it is published.

    Parameters
    ----------
    persistence : ndarray, shape (40,)
        Daily autocorrelation of each latent.
    published_as : ndarray of int64, shape (40,)
        Number of the published characteristic of each latent.
    """

    persistence: FloatVector
    published_as: npt.NDArray[np.int64]

    @classmethod
    def draw(cls, spec: CharacteristicSpec, streams: Streams) -> CharacteristicPlan:
        """Draw persistences and published names from the seed."""
        rng = streams.of("roles")
        published_as = rng.permutation(N_CHARACTERISTICS).astype(np.int64)
        low, high = spec.persistence_min, spec.persistence_max
        persistence = low + (high - low) * rng.random(N_CHARACTERISTICS)
        persistence[:N_ALPHA] = spec.alpha_persistence
        return cls(persistence, published_as)

    def table(self) -> pd.DataFrame:
        """Return one row per published characteristic: name, role, persistence."""
        roles = [*_ROLES, *["none"] * (N_CHARACTERISTICS - len(_ROLES))]
        frame = pd.DataFrame(
            {
                "name": [f"char_{number:02d}" for number in self.published_as],
                "role": roles,
                "persistence": self.persistence,
            }
        )
        return frame.sort_values("name", ignore_index=True)

    def path(self, latent: int, streams: Streams, shape: tuple[int, int]) -> FloatMatrix:
        """Simulate one latent: standard normal, shape (R, N), float32."""
        rng = streams.of("characteristics", latent)
        values = rng.standard_normal(shape, dtype=np.float32)
        ar1_in_place(values, float(self.persistence[latent]))
        return values


def driver_paths(
    plan: CharacteristicPlan, streams: Streams, shape: tuple[int, int]
) -> dict[str, FloatMatrix]:
    """Simulate the latents that drive risk and delisting in every world.

    Parameters
    ----------
    plan : CharacteristicPlan
        Persistences.
    streams : Streams
        Random streams of the world.
    shape : tuple of int
        (R, N).

    Returns
    -------
    dict of str to ndarray of float32, shape (R, N)
        Role to latent, standard normal.
    """
    return {
        role: plan.path(latent, streams, shape)
        for latent, role in enumerate(_ROLES)
        if latent >= N_ALPHA
    }


def publish(
    plan: CharacteristicPlan,
    streams: Streams,
    *,
    drivers: Mapping[str, FloatMatrix],
    listed: BoolMatrix,
) -> list[FloatMatrix]:
    """Rank every latent across the listed names of each row.

    Parameters
    ----------
    plan : CharacteristicPlan
        Persistences.
    streams : Streams
        Random streams of the world.
    drivers : mapping of str to ndarray
        Latents that were simulated already.
    listed : ndarray of bool, shape (R, N)
        Names with a bar in the row.

    Returns
    -------
    list of 40 ndarrays of float32, shape (R, N)
        In latent order, values in (-1, 1), NaN where not listed.
    """
    ranked = []
    for latent in range(N_CHARACTERISTICS):
        role = _ROLES[latent] if latent < len(_ROLES) else ""
        known = drivers.get(role)
        path = plan.path(latent, streams, listed.shape) if known is None else known
        out = np.empty(listed.shape, dtype=np.float32)
        rank_map(path, listed, out)
        ranked.append(out)
    return ranked
