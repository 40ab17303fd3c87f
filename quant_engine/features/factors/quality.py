"""Quality minus junk: profitable, growing and safe companies, scored across each session.

    quality = w_p z(profitability) + w_g z(growth) + w_s z(safety)

Each of the three is a sum of z-scores of its components. Which components count is a parameter: a
component whose report item is not given is an error, and one that is unknown for an asset leaves
that asset without the group's score, unless `min_available_frac` says that a part of them is
enough; then the mean of those known stands for the rest. Nothing unknown ever counts as zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from quant_engine.core.arrays import BoolMatrix, FloatMatrix
from quant_engine.core.config import FrozenConfig
from quant_engine.core.registry import PluginMetadata
from quant_engine.features.factors.base import (
    FactorBase,
    FactorInputs,
    FactorSpec,
    Need,
    register_factor,
)
from quant_engine.features.factors.fundamental import ratio
from quant_engine.stats.cross_section import winsorise, z_score

__all__ = ["QualityMinusJunk", "QualityParams", "combined_z"]

Profit = Literal["gpoa", "roe", "roa", "cfoa"]
Safety = Literal["beta", "leverage", "volatility", "accruals"]

RATIOS = {
    "gpoa": ("gross_profit_usd_ttm", "total_assets_usd"),
    "roe": ("net_income_usd_ttm", "book_equity_usd"),
    "roa": ("net_income_usd_ttm", "total_assets_usd"),
    "cfoa": ("operating_cash_flow_usd_ttm", "total_assets_usd"),
}
"""Numerator and denominator of each measure of profit."""

LEVERAGE = ("book_equity_usd", "total_assets_usd")
_QUARTERS_PER_YEAR = 4


class QualityParams(FrozenConfig):
    """Components and weights of quality.

    Parameters
    ----------
    profitability : tuple of {"gpoa", "roe", "roa", "cfoa"}
        Gross profit, income and operating cash flow of four quarters over assets (or equity).
    growth : tuple of the same
        Measures whose change over `growth_years` counts; empty = growth is left out.
    safety : tuple of {"beta", "leverage", "volatility", "accruals"}
        Each with a minus sign; empty = safety is left out.
    profitability_weight, growth_weight, safety_weight : float
        Weights of the three z-scores.
    growth_years : int
        Years of a change.
    window_sessions : int
        Daily returns of beta and volatility.
    tail_frac : float
        Share of each tail that is pulled in before a component is scored.
    min_available_frac : float
        Share of a group's components that an asset needs.

    Examples
    --------
    >>> QualityParams(growth=()).min_available_frac
    1.0
    """

    profitability: tuple[Profit, ...] = ("gpoa", "roe", "roa", "cfoa")
    growth: tuple[Profit, ...] = ("gpoa", "roe", "roa")
    safety: tuple[Safety, ...] = ("beta", "leverage", "volatility", "accruals")
    profitability_weight: float = Field(default=1.0, ge=0)
    growth_weight: float = Field(default=1.0, ge=0)
    safety_weight: float = Field(default=1.0, ge=0)
    growth_years: int = Field(default=5, ge=1, le=20)
    window_sessions: int = Field(default=252, ge=3)
    tail_frac: float = Field(default=0.01, ge=0, lt=0.5)
    min_available_frac: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> QualityParams:
        groups = (self.profitability, self.growth, self.safety)
        if not any(groups):
            raise ValueError("at least one component is needed")
        if any(len(set(group)) != len(group) for group in groups):
            raise ValueError("a component stands twice in a group")
        return self


def combined_z(
    parts: Sequence[FloatMatrix],
    *,
    mask: BoolMatrix | None = None,
    tail_frac: float = 0.0,
    min_available_frac: float = 1.0,
) -> FloatMatrix:
    """Sum of the z-scores of several measures.

    Parameters
    ----------
    parts : sequence of ndarray of float64, shape (T, N)
        Measures, large = good; NaN = missing.
    mask : ndarray of bool, shape (T, N), optional
        Assets that are counted.
    tail_frac : float
        Share of each tail that is pulled in first.
    min_available_frac : float
        Share of the measures that an asset needs; the mean of those known stands for the rest.

    Returns
    -------
    ndarray of float64, shape (T, N)
        Sum of z-scores; NaN where too few are known.

    Examples
    --------
    >>> combined_z([np.array([[1.0, 2.0, 3.0]]), np.array([[3.0, 2.0, np.nan]])]).round(2).tolist()
    [[-0.29, -0.71, nan]]
    """
    scores = np.stack(
        [z_score(winsorise(part, tail_frac=tail_frac, mask=mask), mask=mask) for part in parts]
    )
    known = np.isfinite(scores)
    count = known.sum(axis=0)
    enough = count >= max(1, np.ceil(min_available_frac * len(parts) - 1e-9))
    total = np.where(known, scores, 0.0).sum(axis=0)
    return np.where(enough, total * (len(parts) / np.maximum(count, 1)), np.nan)


@register_factor("qmj")
class QualityMinusJunk(FactorBase):
    """Profitability, growth and safety, each a sum of z-scores, z-scored and added.

    Parameters
    ----------
    params : QualityParams
        Components and weights.
    """

    metadata = PluginMetadata(
        summary="Quality minus junk: z(profitability) + z(growth) + z(safety).",
        params=QualityParams,
        test_params=(
            {},
            {"profitability": ("roe", "roa", "cfoa"), "growth": (), "window_sessions": 20},
        ),
        source="Asness, Frazzini and Pedersen 2019",
    )

    @property
    def needs(self) -> tuple[Need, ...]:
        """Items of all components, now and at the start of a growth period."""
        past = _QUARTERS_PER_YEAR * self.params.growth_years
        found = [Need(item) for name in self.params.profitability for item in RATIOS[name]]
        for name in self.params.growth:
            found += [Need(item, back) for item in RATIOS[name] for back in (0, past)]
        if "leverage" in self.params.safety:
            found += [Need(item) for item in LEVERAGE]
        return tuple(dict.fromkeys(found))

    @property
    def requires(self) -> tuple[FactorSpec, ...]:
        """Beta, volatility and accruals, where safety counts them."""
        window = {"window_sessions": self.params.window_sessions}
        params = {"beta": window, "volatility": window, "accruals": {}}
        return tuple(
            FactorSpec(name=name, params=params[name])
            for name in self.params.safety
            if name in params
        )

    def compute(self, inputs: FactorInputs) -> FloatMatrix:
        """Return quality in z-scores, float64 of shape (T, N)."""
        past = _QUARTERS_PER_YEAR * self.params.growth_years
        groups = (
            (self.params.profitability_weight, [
                _measure(inputs, name) for name in self.params.profitability]),
            (self.params.growth_weight, [
                _measure(inputs, name) - _measure(inputs, name, past)
                for name in self.params.growth]),
            (self.params.safety_weight, self._safety(inputs)),
        )  # fmt: skip
        total = np.zeros(inputs.panel.shape)
        for weight, parts in groups:
            if parts and weight > 0.0:
                score = combined_z(
                    parts,
                    mask=inputs.member,
                    tail_frac=self.params.tail_frac,
                    min_available_frac=self.params.min_available_frac,
                )
                total += weight * z_score(score, mask=inputs.member)
        return total

    def _safety(self, inputs: FactorInputs) -> list[FloatMatrix]:
        required = {spec.name: spec for spec in self.requires}
        parts = []
        for name in self.params.safety:
            if name == "leverage":
                equity, assets = (inputs.statement(Need(item)) for item in LEVERAGE)
                parts.append(ratio(equity, assets) - 1.0)
            else:
                parts.append(-inputs.factor(required[name]))
        return parts


def _measure(inputs: FactorInputs, name: str, quarters_ago: int = 0) -> FloatMatrix:
    top, bottom = (inputs.statement(Need(item, quarters_ago)) for item in RATIOS[name])
    return ratio(top, bottom)
