"""Trailing volatility as sizes need it: of many assets or of one book, known at each close."""

from __future__ import annotations

from typing import Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import DataError
from quant_engine.stats.decayed_volatility import decayed_volatility

__all__ = ["VolatilityConfig", "realised_volatility"]


class VolatilityConfig(FrozenConfig):
    """How volatility is estimated from returns per session.

    Parameters
    ----------
    window_sessions : int or None
        Rolling estimate: standard deviation about the mean (ddof 1) of the returns inside the last
        so many sessions.
    half_life_sessions : float or None
        Instead of the window: exponentially weighted root mean square, in which a return so many
        sessions ago weighs half. The mean is taken as zero, so there is no ddof.
    min_sessions : int
        Returns needed; with fewer there is no estimate.
    floor_ann : float
        An estimate below this annual volatility counts as this: a price that hardly moved is stale
        or halted, not safe.

    Examples
    --------
    >>> VolatilityConfig(window_sessions=None, half_life_sessions=20).min_sessions
    20
    """

    window_sessions: int | None = Field(default=60, ge=2)
    half_life_sessions: float | None = Field(default=None, gt=0.0)
    min_sessions: int = Field(default=20, ge=2)
    floor_ann: float = Field(default=0.01, gt=0.0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.window_sessions is None) == (self.half_life_sessions is None):
            raise ValueError(
                "give exactly one of window_sessions and half_life_sessions; set the other to null"
            )
        if self.window_sessions is not None and self.min_sessions > self.window_sessions:
            raise ValueError("min_sessions must not exceed window_sessions")
        return self


def realised_volatility(
    returns: FloatMatrix, config: VolatilityConfig, *, periods_per_year: float
) -> FloatMatrix:
    """Annualised trailing volatility known at each close.

    Parameters
    ----------
    returns : ndarray, shape (T, N) or (T,)
        Simple returns per session, fraction; NaN = did not trade, and is left out.
    config : VolatilityConfig
        Estimator.
    periods_per_year : float
        Sessions per year.

    Returns
    -------
    ndarray of float64, shape of `returns`
        Fraction per year, at least ``floor_ann``; row t uses returns up to and including t. NaN
        with fewer than ``min_sessions`` returns (inside the window, or so far).

    Raises
    ------
    DataError
        An infinite return.

    Notes
    -----
    Rolling: ``v_t^2 = P / (n - 1) sum (r_s - m)^2`` over the n returns of the last W sessions.
    Exponential: ``sqrt(P)`` times `stats.decayed_volatility`. P is `periods_per_year`: the square
    root of time holds for returns without serial correlation.

    Examples
    --------
    >>> config = VolatilityConfig(window_sessions=3, min_sessions=2)
    >>> r = np.array([0.01, 0.03, np.nan, 0.01])
    >>> realised_volatility(r, config, periods_per_year=252).round(4).tolist()
    [nan, 0.2245, 0.2245, 0.2245]
    """
    values = np.asarray(returns, dtype=np.float64)
    if np.isinf(values).any():
        raise DataError(
            "returns",
            wanted="finite numbers or NaN",
            got="an infinite return",
            hint="A price of 0 is not a price; make it NaN.",
        )
    if config.window_sessions is None:
        assert config.half_life_sessions is not None  # The config takes one of the two.
        per_session = decayed_volatility(
            values, half_life=config.half_life_sessions, min_returns=config.min_sessions
        )
    else:
        wide = values if values.ndim == 2 else values[:, None]
        window = pd.DataFrame(wide).rolling(config.window_sessions, min_periods=config.min_sessions)
        per_session = window.std(ddof=1).to_numpy().reshape(values.shape)
    annual = per_session * np.sqrt(periods_per_year)
    # NaN stays NaN: maximum passes it on.
    floored: FloatMatrix = np.maximum(annual, config.floor_ann)
    return floored
