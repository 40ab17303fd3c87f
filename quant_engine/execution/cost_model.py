"""Cost model: a profile whose rates depend on the asset's segment, its spread and the market.

A `CostProfile` holds one set of rates for everything. A `CostModel` starts from one and says, in
this order: which segment an asset belongs to, where its spread comes from, and what market
conditions and shocks do to it. `cost_rates` evaluates it into one rate per session and asset; the
formulas that turn rates into money stay those of `execution.costs`.

Row t of `cost_rates` is for fills of session t. Segment, ADV, estimated spread, volatility, range
and shock are those known at the close of t - 1; quoted spread and gap are those of t itself. Row t
of `decision_rates` is what the close of t knows of a fill in the next session.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import MissingFieldError
from quant_engine.core.hashing import sha256_json
from quant_engine.core.panel import Panel
from quant_engine.core.units import BPS, BPS_PER_UNIT
from quant_engine.execution.conditions import (
    CostConditions,
    ShockMode,
    liquidity_multiplier,
    shock_sessions,
    stress_multiplier,
    trailing_sigma_ann,
)
from quant_engine.execution.costs import CostProfile
from quant_engine.execution.fills import FillRates, trailing_adv
from quant_engine.stats.checks import check_same_shape, parse_matrix
from quant_engine.stats.spread_estimates import abdi_ranaldo_spread, corwin_schultz_spread

__all__ = [
    "CostModel",
    "CostRates",
    "CostSegment",
    "Costs",
    "SegmentTable",
    "SpreadEstimate",
    "cost_rates",
    "costs_id",
    "decision_rates",
    "profile_of",
    "segment_codes",
]


class CostSegment(FrozenConfig):
    """Rates of one segment of the market.

    Parameters
    ----------
    name : str
        Display name.
    below_usd : float or None
        Upper end of the measure, exclusive, currency; None = no upper end.
    impact_coef_bps : float
        Impact of trading all of ADV, bps.
    half_spread_bps : float or None
        Half-spread, bps; None = that of the profile.

    Examples
    --------
    >>> CostSegment(name="large", impact_coef_bps=15.0).below_usd is None
    True
    """

    name: str = Field(min_length=1)
    below_usd: float | None = Field(default=None, gt=0.0)
    impact_coef_bps: float = Field(ge=0.0, le=BPS_PER_UNIT)
    half_spread_bps: float | None = Field(default=None, ge=0.0, le=BPS_PER_UNIT)


class SegmentTable(FrozenConfig):
    """Segments by size or by liquidity.

    Parameters
    ----------
    by : {"market_cap", "adv"}
        Measure: market capitalisation, which the caller gives, or the average daily traded value.
    segments : tuple of CostSegment
        In ascending order of their upper ends; only the last has none.
    unknown : str
        Segment of an asset whose measure is not known.

    Examples
    --------
    >>> thin = CostSegment(name="thin", below_usd=1e6, impact_coef_bps=40.0)
    >>> deep = CostSegment(name="deep", impact_coef_bps=15.0)
    >>> SegmentTable(by="adv", segments=(thin, deep), unknown="thin").names
    ('thin', 'deep')
    """

    by: Literal["market_cap", "adv"]
    segments: tuple[CostSegment, ...] = Field(min_length=1)
    unknown: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the segments, in order."""
        return tuple(segment.name for segment in self.segments)

    @model_validator(mode="after")
    def _check(self) -> Self:
        ends = [math.inf if s.below_usd is None else s.below_usd for s in self.segments]
        if sorted(set(ends)) != ends or ends[-1] != math.inf:
            raise ValueError("below_usd must ascend, and only the last segment has none")
        if len(set(self.names)) != len(self.names) or self.unknown not in self.names:
            raise ValueError("names must differ, and unknown must be one of them")
        return self


class SpreadEstimate(FrozenConfig):
    """Spread read from daily bars where no quote exists.

    Parameters
    ----------
    method : {"corwin_schultz", "abdi_ranaldo"}
        Estimator; see :mod:`quant_engine.stats.spread_estimates`.
    window_sessions : int
        Sessions in its mean.
    floor_half_spread_bps, ceiling_half_spread_bps : float
        The estimate is brought between these, bps; both estimators give 0 for liquid assets.

    Examples
    --------
    >>> SpreadEstimate(method="abdi_ranaldo").floor_half_spread_bps
    0.5
    """

    method: Literal["corwin_schultz", "abdi_ranaldo"]
    window_sessions: int = Field(default=20, ge=1)
    floor_half_spread_bps: float = Field(default=0.5, ge=0.0)
    ceiling_half_spread_bps: float = Field(default=200.0, gt=0.0)


class CostModel(FrozenConfig):
    """A profile with what makes its rates vary.

    Parameters
    ----------
    name : str
        Display name; not part of `model_id`.
    profile : CostProfile
        Rates to start from, cap, minimum fill, stress multiplier.
    segments : SegmentTable, optional
        Impact and spread by segment instead of those of the profile.
    spread_estimate : SpreadEstimate, optional
        Used where there is no quote; the segment or the profile where it is not known yet.
    conditions : CostConditions, optional
        Multipliers. They act on assumed rates, not on quoted or estimated spreads, which contain
        the conditions already; impact always takes them.
    shock : ShockMode, optional
        Needs no conditions.
    periods_per_year : float
        Sessions per year, for volatility.

    Examples
    --------
    >>> model = CostModel(name="plain", profile=CostProfile(name="base"))
    >>> model.stressed(2.0).profile.stress_multiplier
    2.0
    """

    name: str = Field(min_length=1)
    profile: CostProfile
    segments: SegmentTable | None = None
    spread_estimate: SpreadEstimate | None = None
    conditions: CostConditions | None = None
    shock: ShockMode | None = None
    periods_per_year: float = Field(default=252.0, gt=0.0)

    def model_id(self) -> str:
        """Digest of the assumptions without the names (64 hexadecimal characters)."""
        content = self.content()
        del content["name"]
        content["profile"] = self.profile.profile_id()
        return sha256_json(content)

    def stressed(self, multiplier: float) -> Self:
        """Return the model with every cost rate multiplied; see `CostProfile.stressed`."""
        content = self.content()
        content["name"] = f"{self.name} x{multiplier:g}"
        content["profile"] = self.profile.stressed(multiplier).content()
        return type(self).model_validate(content)


Costs = CostProfile | CostModel
"""Either way of saying what trading costs."""


def profile_of(costs: Costs) -> CostProfile:
    """Return what does not vary: a profile itself, or the one that a cost model starts from.

    Parameters
    ----------
    costs : CostProfile or CostModel
        Cost of trading.

    Returns
    -------
    CostProfile

    Examples
    --------
    >>> profile_of(CostModel(name="m", profile=CostProfile(name="p"))).name
    'p'
    """
    return costs if isinstance(costs, CostProfile) else costs.profile


def costs_id(costs: Costs) -> str:
    """Return the digest of what is assumed about costs (64 hexadecimal characters).

    Parameters
    ----------
    costs : CostProfile or CostModel
        Cost of trading.

    Returns
    -------
    str
        That of the profile, or of the model.

    Examples
    --------
    >>> profile = CostProfile(name="p")
    >>> costs_id(profile) == costs_id(CostProfile(name="q"))
    True
    """
    return costs.profile_id() if isinstance(costs, CostProfile) else costs.model_id()


class CostRates(NamedTuple):
    """Rates of fills by session and asset, stress included.

    Parameters
    ----------
    half_spread_frac : ndarray of float64, shape (T, N)
        Fraction of the price.
    impact_coef_bps : ndarray of float64, shape (T, N)
        Impact of trading all of ADV, bps.
    participation_cap_frac : ndarray of float64, shape (T, N)
        Largest share of ADV; infinity = no cap.
    segment : ndarray of int64, shape (T, N)
        Position in the segment table; 0 without one.
    """

    half_spread_frac: FloatMatrix
    impact_coef_bps: FloatMatrix
    participation_cap_frac: FloatMatrix
    segment: npt.NDArray[np.int64]

    def at(self, row: int, column: int) -> FillRates:
        """Rates of the fill of one asset in one session."""
        return FillRates(
            float(self.half_spread_frac[row, column]),
            float(self.impact_coef_bps[row, column]),
            float(self.participation_cap_frac[row, column]),
        )


def segment_codes(measure: FloatMatrix, table: SegmentTable) -> npt.NDArray[np.int64]:
    """Assign segments.

    Parameters
    ----------
    measure : ndarray of float64, any shape
        Market capitalisation or average daily traded value, currency; NaN = unknown.
    table : SegmentTable
        Limits.

    Returns
    -------
    ndarray of int64, shape of `measure`
        Positions in ``table.segments``; that of ``table.unknown`` for NaN.

    Examples
    --------
    >>> thin = CostSegment(name="thin", below_usd=1e6, impact_coef_bps=40.0)
    >>> deep = CostSegment(name="deep", impact_coef_bps=15.0)
    >>> table = SegmentTable(by="adv", segments=(thin, deep), unknown="thin")
    >>> segment_codes(np.array([5e5, 1e6, np.nan]), table).tolist()
    [0, 1, 0]
    """
    ends = [s.below_usd for s in table.segments if s.below_usd is not None]
    codes = np.searchsorted(np.asarray(ends, dtype=np.float64), measure, side="right")
    return np.where(np.isnan(measure), table.names.index(table.unknown), codes).astype(np.int64)


def cost_rates(
    panel: Panel, model: CostModel, *, market_cap_usd: FloatMatrix | None = None
) -> CostRates:
    """Evaluate a cost model on a market.

    Parameters
    ----------
    panel : Panel
        Daily market panel (T, N) with ``close`` and ``volume``; ``open``, ``high``, ``low`` where
        conditions or a spread estimate are asked for; optional ``half_spread_frac``.
    model : CostModel
        What to evaluate.
    market_cap_usd : ndarray of float64, shape (T, N), optional
        Known at each close, currency; NaN = unknown. Needed by segments of market capitalisation.

    Returns
    -------
    CostRates
        Row t = fills of session t. Without segments, estimate, conditions and shock exactly the
        rates of the profile.

    Raises
    ------
    MissingFieldError
        A field that the model needs.

    Notes
    -----
    ``half spread = s * stress * liquidity * shock``;
    ``impact = c (1 + share (stress - 1)) * liquidity``; both times the profile's multiplier.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> fields = {"close": np.full((2, 1), 10.0), "volume": np.full((2, 1), 1e5)}
    >>> panel = Panel(TimeAxis.sessions(["2020-01-02", "2020-01-03"]), ("A@US#1",), fields)
    >>> rates = cost_rates(panel, CostModel(name="m", profile=CostProfile(name="p")))
    >>> rates.impact_coef_bps.tolist(), rates.participation_cap_frac.tolist()
    ([[25.0], [25.0]], [[0.02], [0.02]])
    """
    return _rates(panel, model, market_cap_usd, known=_before, gap=_gap(panel, model))


def decision_rates(
    panel: Panel, model: CostModel, *, market_cap_usd: FloatMatrix | None = None
) -> CostRates:
    """Evaluate a cost model as a decision at each close can: for a fill in the next session.

    Parameters
    ----------
    panel : Panel
        As for :func:`cost_rates`.
    model : CostModel
        What to evaluate.
    market_cap_usd : ndarray of float64, shape (T, N), optional
        As for :func:`cost_rates`.

    Returns
    -------
    CostRates
        Row t reads rows up to t alone. They are the rates that :func:`cost_rates` gives the fills
        of t + 1, with the quoted spread of t and without an opening gap, which nobody knows yet.

    Raises
    ------
    MissingFieldError
        A field that the model needs.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> fields = {"close": np.full((1, 1), 10.0), "volume": np.full((1, 1), 1e5)}
    >>> panel = Panel(TimeAxis.sessions(["2020-01-02"]), ("A@US#1",), fields)
    >>> model = CostModel(name="m", profile=CostProfile(name="p", stress_multiplier=2.0))
    >>> decision_rates(panel, model).impact_coef_bps.tolist()
    [[50.0]]
    """
    unknown = np.full(panel.shape, np.nan)
    return _rates(panel, model, market_cap_usd, known=np.asarray, gap=unknown)


def _gap(panel: Panel, model: CostModel) -> FloatMatrix:
    """Open of the fill session over the close before, less 1; NaN where nothing asks for it."""
    if model.conditions is None:
        return np.full(panel.shape, np.nan)
    return np.asarray(panel.field("open") / _before(panel.field("close")) - 1.0)


def _rates(
    panel: Panel,
    model: CostModel,
    market_cap_usd: FloatMatrix | None,
    *,
    known: Callable[[FloatMatrix], FloatMatrix],
    gap: FloatMatrix,
) -> CostRates:
    """Evaluate a model; `known` maps values of each close to those that a rate of the row reads."""
    profile = model.profile
    adv = known(
        trailing_adv(
            panel.field("close"),
            panel.field("volume"),
            adv_sessions=profile.adv_sessions,
            min_sessions=profile.adv_min_sessions,
        )
    )
    size = None if market_cap_usd is None else parse_matrix("market_cap_usd", market_cap_usd)
    codes = _codes(panel, model, adv, None if size is None else known(size))
    spread, impact = _assumed(model, codes)
    # Conditions and shock read the same volatility; a plain model needs none.
    needs_sigma = model.conditions is not None or model.shock is not None
    sigma = _sigma(panel, model) if needs_sigma else np.empty((0, 0))
    if model.conditions is not None:
        span = (panel.field("high") - panel.field("low")) / panel.field("close")
        moved = (known(sigma), gap, known(span))
        stress = np.asarray(stress_multiplier(*moved, conditions=model.conditions))
        liquid = liquidity_multiplier(adv, conditions=model.conditions)
        spread = spread * stress * liquid
        impact = impact * (1.0 + model.conditions.impact_share_of_stress * (stress - 1.0)) * liquid
    spread = _observed(panel, model, spread, known)
    cap = np.full(panel.shape, math.inf)
    if profile.participation_cap_frac is not None:
        cap[:] = profile.participation_cap_frac
    if model.shock is not None:
        shocks = shock_sessions(sigma, model.shock).astype(np.float64)[:, None]
        in_shock = known(shocks)[:, 0] == 1.0
        spread[in_shock] *= model.shock.spread_multiplier
        cap[in_shock] = np.minimum(cap[in_shock], model.shock.participation_cap_frac)
    multiplier = profile.stress_multiplier
    return CostRates(spread * multiplier, impact * multiplier, cap, codes)


def _before(values: FloatMatrix) -> FloatMatrix:
    """What was known at the close of the session before."""
    out = np.full(values.shape, np.nan)
    out[1:] = values[:-1]
    return out


def _codes(
    panel: Panel, model: CostModel, adv: FloatMatrix, market_cap_usd: FloatMatrix | None
) -> npt.NDArray[np.int64]:
    if model.segments is None:
        return np.zeros(panel.shape, dtype=np.int64)
    if model.segments.by == "adv":
        return segment_codes(adv, model.segments)
    if market_cap_usd is None:
        raise MissingFieldError(
            "market_cap_usd",
            wanted="an array, because the segments are by market capitalisation",
            got="None",
            hint="Pass it, or use segments by adv.",
        )
    check_same_shape("panel", np.empty(panel.shape), "market_cap_usd", market_cap_usd)
    return segment_codes(market_cap_usd, model.segments)


def _assumed(model: CostModel, codes: npt.NDArray[np.int64]) -> tuple[FloatMatrix, FloatMatrix]:
    """Half-spread (fraction) and impact (bps) of the segments or the profile, before stress."""
    profile = model.profile
    if model.segments is None:
        spreads, impacts = [profile.half_spread_bps], [profile.impact_coef_bps]
    else:
        found = model.segments.segments
        spreads = [
            profile.half_spread_bps if s.half_spread_bps is None else s.half_spread_bps
            for s in found
        ]
        impacts = [segment.impact_coef_bps for segment in found]
    return np.asarray(spreads)[codes] * BPS, np.asarray(impacts)[codes]


def _sigma(panel: Panel, model: CostModel) -> FloatMatrix:
    conditions = CostConditions() if model.conditions is None else model.conditions
    return trailing_sigma_ann(
        np.asarray(panel.field("close"), dtype=np.float64),
        window_sessions=conditions.sigma_sessions,
        periods_per_year=model.periods_per_year,
    )


def _observed(
    panel: Panel,
    model: CostModel,
    assumed: FloatMatrix,
    known: Callable[[FloatMatrix], FloatMatrix],
) -> FloatMatrix:
    """Quoted spread, else the estimated one, else the assumed one."""
    spread = assumed.copy()
    rule = model.spread_estimate
    if rule is not None:
        estimator = {
            "corwin_schultz": corwin_schultz_spread,
            "abdi_ranaldo": abdi_ranaldo_spread,
        }[rule.method]
        bars = (panel.field("high"), panel.field("low"), panel.field("close"))
        half = 0.5 * known(estimator(*bars, window_sessions=rule.window_sessions))
        low, high = rule.floor_half_spread_bps * BPS, rule.ceiling_half_spread_bps * BPS
        spread = np.where(np.isnan(half), spread, np.clip(half, low, high))
    if model.profile.use_panel_spread and "half_spread_frac" in panel.fields:
        quoted = np.asarray(panel.field("half_spread_frac"), dtype=np.float64)
        spread = np.where(np.isnan(quoted), spread, quoted)
    return spread
