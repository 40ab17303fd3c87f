"""Factors of earnings announcements: surprise and the drift after it.

An announcement is the first session on whose evening a new period is known; a restatement of a
known period is none.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, TimeVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.published import Published
from quant_engine.core.registry import PluginMetadata
from quant_engine.features.factors.base import (
    FactorBase,
    FactorInputs,
    Need,
    register_factor,
    run_formulas,
)

__all__ = [
    "AnnouncementDrift",
    "DriftParams",
    "StandardisedSurprise",
    "SurpriseParams",
    "announcements",
]

EXPECTED = Need("eps_consensus_usd")
FORECAST_STD = Need("eps_forecast_std_usd")


class DriftParams(FrozenConfig):
    """Window of the drift after an announcement.

    Parameters
    ----------
    window_sessions : int
        Sessions after the announcement that are summed.
    last_session : int
        Session after the announcement until which the sum stands; later it is missing.
    item : str
        Report item whose publication for a new period is the announcement; total assets stand in
        every report, while a quarter's earnings may have to be derived from earlier ones.
    """

    window_sessions: int = Field(default=60, ge=1)
    last_session: int = Field(default=63, ge=1)
    item: str = "total_assets_usd"

    @model_validator(mode="after")
    def _check(self) -> DriftParams:
        if self.last_session < self.window_sessions:
            raise ValueError("last_session must be at least window_sessions")
        return self


class SurpriseParams(FrozenConfig):
    """What was expected, and in which unit the surprise is measured.

    Parameters
    ----------
    expectation : {"consensus", "seasonal"}
        ``consensus``: published forecasts and their standard deviation. ``seasonal``: the same
        quarter a year ago, over the standard deviation of such changes.
    history_quarters : int
        Earlier changes that ``seasonal`` needs, all of them.
    item : str
        Earnings per share of one quarter.
    """

    expectation: Literal["consensus", "seasonal"] = "consensus"
    history_quarters: int = Field(default=8, ge=3, le=40)
    item: str = "eps_diluted_usd_q"


def announcements(view: Published, sessions: TimeVector) -> BoolMatrix:
    """Sessions on whose evening a new period of an item became known.

    Parameters
    ----------
    view : Published
        View of the item, (T, N).
    sessions : ndarray of datetime64[D], shape (T,)
        Sessions of the rows.

    Returns
    -------
    ndarray of bool, shape (T, N)
        A period that was known before the first session is no announcement.

    Examples
    --------
    >>> sessions = np.array(["2020-02-19", "2020-02-20", "2020-02-21"], dtype="datetime64[D]")
    >>> known = np.array([["NaT"], ["2020-02-20"], ["2020-02-20"]], dtype="datetime64[D]")
    >>> view = Published(np.array([[np.nan], [1.0], [1.0]]), known, known - 51)
    >>> announcements(view, sessions).ravel().tolist()
    [False, True, False]
    """
    period = np.where(np.isfinite(view.values), view.period_end.astype(np.int64), _NONE)
    newest = np.maximum.accumulate(period, axis=0)
    before = np.vstack([np.full((1, period.shape[1]), _NONE), newest[:-1]])
    days = sessions.astype("datetime64[D]")
    previous = np.concatenate([days[:1] - 1, days[:-1]])
    fresh: BoolMatrix = (period > before) & (view.known > previous[:, None])
    return fresh


_NONE = np.iinfo(np.int64).min


@register_factor("pead")
class AnnouncementDrift(FactorBase):
    """Cumulative abnormal return of the sessions after the announcement, as far as they are over.

    Parameters
    ----------
    params : DriftParams
        Window.
    """

    metadata = PluginMetadata(
        summary="Drift after earnings: sum of r - market over sessions 1..60 after the report.",
        params=DriftParams,
        test_params=({}, {"window_sessions": 5, "last_session": 10}),
        source="Ball and Brown 1968; Bernard and Thomas 1989",
    )

    @property
    def needs(self) -> tuple[Need, ...]:
        """The item whose publication counts."""
        return (Need(self.params.item),)

    @property
    def lookback_sessions(self) -> int:
        """The whole life of a sum, and the close before it."""
        return int(self.params.last_session) + 2

    def compute(self, inputs: FactorInputs) -> FloatMatrix:
        """Return the sum (fraction), float64 of shape (T, N).

        Session k after the announcement adds its return to the value of its own row; the value is
        NaN on the announcement itself, and from a session without a return on.
        """
        formulas = {"abnormal": "$return - $market_return"}
        abnormal = run_formulas(inputs.panel, formulas)["abnormal"]
        fresh = announcements(inputs.view(self.needs[0]), inputs.panel.time.values)
        window, last = self.params.window_sessions, self.params.last_session
        out = np.full(abnormal.shape, np.nan)
        total = np.zeros(abnormal.shape[1])
        age = np.full(abnormal.shape[1], last + 1)
        for row in range(len(out)):
            age = np.where(fresh[row], 0, np.minimum(age + 1, last + 1))
            summed = (age >= 1) & (age <= window)
            total = np.where(fresh[row], 0.0, np.where(summed, total + abnormal[row], total))
            out[row] = np.where((age >= 1) & (age <= last), total, np.nan)
        return out


@register_factor("sue")
class StandardisedSurprise(FactorBase):
    """Earnings minus what was expected, in standard deviations.

    Parameters
    ----------
    params : SurpriseParams
        Expectation.
    """

    metadata = PluginMetadata(
        summary="Standardised unexpected earnings: (EPS - expected)/standard deviation.",
        params=SurpriseParams,
        test_params=({}, {"expectation": "seasonal", "history_quarters": 4}),
        source="Latane and Jones 1979; seasonal random walk: Bernard and Thomas 1989",
    )

    @property
    def needs(self) -> tuple[Need, ...]:
        """Earnings of the quarter, and forecasts or earlier quarters."""
        item = self.params.item
        if self.params.expectation == "consensus":
            return (Need(item), EXPECTED, FORECAST_STD)
        return tuple(Need(item, back) for back in range(self.params.history_quarters + 5))

    def compute(self, inputs: FactorInputs) -> FloatMatrix:
        """Return standard deviations, float64 of shape (T, N)."""
        if self.params.expectation == "consensus":
            actual, expected, spread = (inputs.statement(need) for need in self.needs)
            return _surprise(actual - expected, spread)
        eps = np.stack([inputs.statement(need) for need in self.needs])
        change = eps[:-4] - eps[4:]
        return _surprise(change[0], np.std(change[1:], axis=0, ddof=1))


def _surprise(gap: FloatMatrix, spread: FloatMatrix) -> FloatMatrix:
    unit = np.where(spread > 0.0, spread, np.nan)
    surprise: FloatMatrix = gap / unit
    return surprise
