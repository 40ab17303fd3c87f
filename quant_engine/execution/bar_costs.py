"""Costs of one trade in bars, for event studies: a fee, a slippage, and what the bar adds to it.

Contract: everything is in bps of traded value per side, and the slippage is capped, because a thin
bar says little about its own depth. For daily books with known sizes use `CostProfile`; this one
needs no account and no order size, only how much of the bar's volume is taken.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import DataError
from quant_engine.execution.costs import CostProfile

__all__ = ["BarCosts", "bar_cost_bps"]

Amount = float | FloatMatrix


class BarCosts(FrozenConfig):
    """Assumptions per side.

    Parameters
    ----------
    fee_bps : float
        Taker fee, bps.
    slippage_bps : float
        Slippage of a small order in a calm bar, bps.
    spread_weight, sigma_weight, illiquidity_weight, impact_weight : float
        What part of the bar's spread, volatility, illiquidity and impact is added to it.
    heavy_participation_frac : float
        Participation above which impact grows by the excess on top of its root.
    slippage_cap_bps : float
        Largest slippage, bps.
    stress_multiplier : float
        Factor on fee and slippage; the cap grows with it.

    Examples
    --------
    >>> BarCosts().fee_bps
    4.0
    """

    fee_bps: float = Field(default=4.0, ge=0.0)
    slippage_bps: float = Field(default=2.0, ge=0.0)
    spread_weight: float = Field(default=0.5, ge=0.0)
    sigma_weight: float = Field(default=0.1, ge=0.0)
    illiquidity_weight: float = Field(default=0.1, ge=0.0)
    impact_weight: float = Field(default=0.1, ge=0.0)
    heavy_participation_frac: float = Field(default=0.10, ge=0.0, le=1.0)
    slippage_cap_bps: float = Field(default=150.0, ge=0.0)
    stress_multiplier: float = Field(default=1.0, ge=0.0)

    def fixed_profile(self, name: str) -> CostProfile:
        """Fee and calm slippage as a profile, for the simulator: no cap, no impact, no borrow."""
        return CostProfile(
            name=name,
            fee_bps=self.fee_bps,
            half_spread_bps=self.slippage_bps,
            use_panel_spread=False,
            impact_coef_bps=0.0,
            borrow_bps_ann=0.0,
            participation_cap_frac=None,
            min_fill_frac=0.0,
            stress_multiplier=self.stress_multiplier,
        )


def bar_cost_bps(
    costs: BarCosts,
    spread_bps: Amount,
    sigma_bps: Amount,
    *,
    illiquidity_bps: Amount,
    participation_frac: Amount,
) -> Amount:
    """Cost per side of a trade in a bar.

    ``fee + min(cap, s + a spread + b sigma + c illiquidity + d sigma (sqrt(p) + max(0, p - p0)))``.

    Parameters
    ----------
    costs : BarCosts
        Assumptions.
    spread_bps : float or ndarray, any shape
        Quoted or estimated spread, bps. NaN in any argument gives NaN.
    sigma_bps : float or ndarray
        Volatility of one bar, bps.
    illiquidity_bps : float or ndarray
        Price move per traded order of this size, for example Amihud's measure times its value, bps.
    participation_frac : float or ndarray
        Order over the bar's traded value, fraction.

    Returns
    -------
    float or ndarray
        Bps of traded value, at least 0, stress included.

    Raises
    ------
    DataError
        A negative argument.

    Notes
    -----
    Impact is measured in volatilities of a bar, the square-root law; the source documents name the
    weights and the cap and leave this unit open.

    Examples
    --------
    >>> cost = bar_cost_bps(
    ...     BarCosts(), 4.0, 20.0, illiquidity_bps=5.0, participation_frac=0.04
    ... )
    >>> round(float(cost), 6)
    10.9
    """
    given = {
        "spread_bps": spread_bps,
        "sigma_bps": sigma_bps,
        "illiquidity_bps": illiquidity_bps,
        "participation_frac": participation_frac,
    }
    for name, value in given.items():
        if (np.asarray(value) < 0.0).any():
            raise DataError(name, wanted="at least 0", got="a negative value", hint="No sign here.")
    heavy = np.maximum(0.0, np.asarray(participation_frac) - costs.heavy_participation_frac)
    impact = np.asarray(sigma_bps) * (np.sqrt(participation_frac) + heavy)
    slippage = (
        costs.slippage_bps
        + costs.spread_weight * np.asarray(spread_bps)
        + costs.sigma_weight * np.asarray(sigma_bps)
        + costs.illiquidity_weight * np.asarray(illiquidity_bps)
        + costs.impact_weight * impact
    )
    total = costs.fee_bps + np.minimum(costs.slippage_cap_bps, slippage)
    return np.asarray(costs.stress_multiplier * total, dtype=np.float64)
