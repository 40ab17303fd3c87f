"""Cross-sectional transforms of feature panels: each date on its own.

The transforms themselves live in `quant_engine.stats.cross_section`; they are named here again
because a feature panel is where most of them are applied.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.config import FrozenConfig
from quant_engine.core.panel import Panel
from quant_engine.stats.cross_section import (
    equal_weight_mean,
    percentile_rank,
    rank_gaussian,
    taking_part,
    winsorise,
    z_score,
)

__all__ = [
    "TransformConfig",
    "equal_weight_mean",
    "percentile_rank",
    "rank_gaussian",
    "transform_panel",
    "winsorise",
    "z_score",
]


class TransformConfig(FrozenConfig):
    """Which cross-sectional transform to apply to a panel of features.

    Parameters
    ----------
    method : {"rank_gaussian", "z_score", "winsorise", "none"}
        ``rank_gaussian`` is the default: bounded, free of outliers, the same spread every date.
    tail_frac : float
        Share of each tail that ``winsorise`` pulls in, and that ``z_score`` pulls in before
        scaling; 0 = none. 1 % follows the usual practice for daily characteristics.
    mask : str or None
        Mask of the assets that take part; None = all.

    Examples
    --------
    >>> TransformConfig(method="z_score").tail_frac
    0.01
    """

    method: Literal["rank_gaussian", "z_score", "winsorise", "none"] = "rank_gaussian"
    tail_frac: float = Field(default=0.01, ge=0.0, lt=0.5)
    mask: str | None = "member"


def transform_panel(panel: Panel, config: TransformConfig) -> Panel:
    """Apply one cross-sectional transform to every field of a panel.

    Parameters
    ----------
    panel : Panel
        Features, shape (T, N) each; NaN = missing, stays NaN.
    config : TransformConfig
        Method, tails and mask.

    Returns
    -------
    Panel
        Same axes, masks and groups; fields in the same order and dtype.

    Raises
    ------
    MissingFieldError
        When the panel lacks the mask.

    Examples
    --------
    >>> import numpy as np
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02"])
    >>> panel = Panel(axis, ("A@US#1", "B@US#1"), {"x": np.array([[5.0, 7.0]])})
    >>> scores = transform_panel(panel, TransformConfig(mask=None)).field("x")
    >>> scores.round(3).tolist()
    [[-0.674, 0.674]]
    """
    mask = None if config.mask is None else panel.mask(config.mask)
    out: dict[str, FloatMatrix] = {}
    for name, values in panel.fields.items():
        if config.method == "rank_gaussian":
            out[name] = rank_gaussian(values, mask=mask)
        elif config.method == "none":
            out[name] = taking_part(values, mask)
        else:
            out[name] = winsorise(values, tail_frac=config.tail_frac, mask=mask)
            if config.method == "z_score":
                out[name] = z_score(out[name], mask=mask)
    return panel.with_fields(out)
