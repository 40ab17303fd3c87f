"""Market: what all assets of a session did together."""

from __future__ import annotations

import numpy as np

from quant_engine.core.arrays import BoolMatrix, FloatMatrix
from quant_engine.features.functions import Function, Numbers, Output, Pages, add_function
from quant_engine.stats.cross_section import equal_weight_mean

__all__ = ["HELD_MEAN"]


def _held_mean(
    series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages, member: BoolMatrix
) -> None:
    # The members of the session itself are known too late to hold them through it.
    held = np.zeros_like(member)
    held[1:] = member[:-1]
    out[0] = equal_weight_mean(series[0], held)[:, None]


HELD_MEAN = add_function(
    Function(
        outputs=(
            Output("HeldMean", "mean over the members of the session before", "as the input"),
        ),
        n_series=1,
        parameters=(),
        lookback=lambda numbers: 2,
        compute=_held_mean,
        source="equal-weight portfolio of the previous members",
        across=True,
    )
)
"""`HeldMean`: of returns, the equal-weight market that an investor could have held."""
