"""The cost model: fees, half-spread, impact and stock borrow, each in currency.

A cost is charged on the value that was traded (fees, spread, impact) or held short overnight
(borrow). Every kind is one function, so that a backtest, a label and a paper trade cannot
disagree; the functions are plain arithmetic and accept numbers or arrays of one shape, and the
compiled simulator calls the very same code.

What is known when: sizes and participation caps use the average traded value (ADV) of the
sessions up to and including the *decision* session. The spread and the fee are outcomes of the
fill session and are charged as they occur.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
from numba.extending import register_jitable
from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.hashing import sha256_json
from quant_engine.core.units import BPS, BPS_PER_UNIT

Amount = float | npt.NDArray[np.float64]
"""A number, or an array of any shape; NaN in gives NaN out unless said otherwise."""


class CostProfile(FrozenConfig):
    """Assumptions about the cost and the size of fills.

    The defaults describe liquid US stocks traded at the open in small size: a broker's all-in fee
    of about 1 bp, a quoted spread of 3 bps (half of it is paid per side), 25 bps of impact for
    trading a full day's volume scaled by the square root of the share actually traded, and general
    collateral borrow of 50 bps a year. Hard-to-borrow names cost far more than this profile says.
    Fee, spread and impact above 10,000 bps, the whole value, are refused.

    Parameters
    ----------
    name : str
        Display name; not part of `profile_id`.
    fee_bps : float
        Commission and exchange fees per side, bps of traded value.
    half_spread_bps : float
        Half of the quoted bid-ask spread per side, bps of traded value.
    use_panel_spread : bool
        Charge the panel's ``half_spread_frac`` of the fill session where it is present and
        finite; `half_spread_bps` elsewhere.
    impact_coef_bps : float
        Impact of trading 100 % of ADV, bps of traded value; scales with sqrt(participation).
    borrow_bps_ann : float
        Annual fee on the market value of short positions, bps.
    participation_cap_frac : float or None
        Largest share of ADV that one order may trade in a session; the rest is not filled.
        None = no cap.
    min_fill_frac : float
        An order that opens or adds to a position and could fill less than this fraction is not
        executed at all. Orders that reduce a position always fill as far as the cap allows.
    adv_sessions : int
        Length of the trailing average of traded value.
    adv_min_sessions : int
        Sessions since an asset's first bar before its ADV counts as known.
    stress_multiplier : float
        Factor on every cost rate (fee, spread, impact, borrow), not on caps.

    Examples
    --------
    >>> profile = CostProfile(name="mine", fee_bps=2.0)
    >>> profile.stressed(2.0).effective_fee_bps
    4.0
    >>> profile.profile_id() == CostProfile(name="other", fee_bps=2.0).profile_id()
    True
    """

    name: str = Field(min_length=1)
    fee_bps: float = Field(default=1.0, ge=0.0, le=BPS_PER_UNIT)
    half_spread_bps: float = Field(default=1.5, ge=0.0, le=BPS_PER_UNIT)
    use_panel_spread: bool = True
    impact_coef_bps: float = Field(default=25.0, ge=0.0, le=BPS_PER_UNIT)
    borrow_bps_ann: float = Field(default=50.0, ge=0.0)
    participation_cap_frac: float | None = Field(default=0.02, gt=0.0, le=1.0)
    min_fill_frac: float = Field(default=0.20, ge=0.0, le=1.0)
    adv_sessions: int = Field(default=20, ge=1)
    adv_min_sessions: int = Field(default=5, ge=1)
    stress_multiplier: float = Field(default=1.0, ge=0.0)

    def profile_id(self) -> str:
        """Digest of the assumptions without the name (64 hexadecimal characters)."""
        content = self.content()
        del content["name"]
        return sha256_json(content)

    def stressed(self, multiplier: float) -> Self:
        """Return the profile with every cost rate multiplied.

        Parameters
        ----------
        multiplier : float
            Factor, at least 0; 1 changes nothing, 0 makes trading free. Factors compound.

        Returns
        -------
        CostProfile
            Named after the original and the factor.
        """
        content = self.content()
        content["name"] = f"{self.name} x{multiplier:g}"
        content["stress_multiplier"] = self.stress_multiplier * multiplier
        return type(self).model_validate(content)

    @property
    def effective_fee_bps(self) -> float:
        """Fee per side after stress, bps of traded value."""
        return self.fee_bps * self.stress_multiplier

    @property
    def effective_half_spread_frac(self) -> float:
        """Half-spread of the profile after stress, fraction of traded value."""
        return self.half_spread_bps * BPS * self.stress_multiplier

    @property
    def effective_impact_coef_bps(self) -> float:
        """Impact coefficient after stress, bps of traded value at 100 % participation."""
        return self.impact_coef_bps * self.stress_multiplier

    @property
    def effective_borrow_bps_ann(self) -> float:
        """Annual borrow fee after stress, bps of short market value."""
        return self.borrow_bps_ann * self.stress_multiplier

    @property
    def needs_adv(self) -> bool:
        """Whether a fill needs a known ADV: for the cap or for impact."""
        return self.participation_cap_frac is not None or self.effective_impact_coef_bps > 0.0


@register_jitable
def fee_cost(traded_value: Amount, fee_bps: float) -> Amount:
    """Commission and exchange fees of a fill, in currency.

    ``fee = |V| * fee_bps * 1e-4`` with V the traded value.

    Parameters
    ----------
    traded_value : float or ndarray, any shape
        Shares times fill price in currency; the sign does not matter. NaN gives NaN.
    fee_bps : float
        Fee per side, bps of traded value.

    Returns
    -------
    float or ndarray
        Currency, >= 0, shape of `traded_value`.

    Examples
    --------
    >>> round(float(fee_cost(-10_000.0, 2.0)), 10)
    2.0
    """
    return np.abs(traded_value) * fee_bps * BPS


@register_jitable
def spread_cost(traded_value: Amount, half_spread_frac: Amount) -> Amount:
    """Cost of crossing half of the quoted spread, in currency.

    ``spread = |V| * s`` with s = (ask - bid) / (ask + bid), the half-spread as a fraction of the
    mid price.

    Parameters
    ----------
    traded_value : float or ndarray, any shape
        Shares times fill price in currency; the sign does not matter. NaN gives NaN.
    half_spread_frac : float or ndarray
        Half-spread, fraction of price.

    Returns
    -------
    float or ndarray
        Currency, >= 0.

    Examples
    --------
    >>> float(spread_cost(10_000.0, 0.0005))
    5.0
    """
    return np.abs(traded_value) * half_spread_frac


@register_jitable
def participation_frac(traded_value: Amount, adv_value: Amount) -> Amount:
    """Share of the average daily traded value that a fill takes.

    ``p = |V| / ADV``.

    Parameters
    ----------
    traded_value : float or ndarray, any shape
        Shares times fill price in currency; the sign does not matter.
    adv_value : float or ndarray
        Trailing average of daily traded value known at the decision, currency, > 0. NaN gives NaN.

    Returns
    -------
    float or ndarray
        Fraction, >= 0.

    Examples
    --------
    >>> participation_frac(2_000.0, 100_000.0)
    np.float64(0.02)
    """
    return np.abs(traded_value) / adv_value


@register_jitable
def impact_cost(traded_value: Amount, adv_value: Amount, impact_coef_bps: float) -> Amount:
    """Market impact of a fill by the square-root law, in currency.

    ``impact = |V| * c * 1e-4 * sqrt(|V| / ADV)``: the price moves against the order by c bps times
    the square root of participation (Almgren et al. 2005 find an exponent near 0.6; 0.5 is the
    common square-root law). Halving the size divides the cost by 2**1.5.

    Parameters
    ----------
    traded_value : float or ndarray, any shape
        Shares times fill price in currency; the sign does not matter.
    adv_value : float or ndarray
        Trailing average of daily traded value known at the decision, currency, > 0. NaN gives NaN
        unless the coefficient is 0.
    impact_coef_bps : float
        Impact of trading all of ADV, bps of traded value.

    Returns
    -------
    float or ndarray
        Currency, >= 0.

    Examples
    --------
    >>> round(float(impact_cost(10_000.0, 1_000_000.0, 25.0)), 10)
    2.5
    """
    if impact_coef_bps == 0.0:
        return np.abs(traded_value) * 0.0
    share = participation_frac(traded_value, adv_value)
    return np.abs(traded_value) * impact_coef_bps * BPS * np.sqrt(share)


@register_jitable
def borrow_cost(short_value: Amount, borrow_bps_ann: float, periods_per_year: float) -> Amount:
    """Fee for holding a short position over one session, in currency.

    ``borrow = S * b * 1e-4 / periods_per_year`` with S the market value of the borrowed shares.

    Parameters
    ----------
    short_value : float or ndarray, any shape
        Market value of the short position at the close, currency, >= 0. NaN gives NaN.
    borrow_bps_ann : float
        Annual fee, bps of market value.
    periods_per_year : float
        Sessions per year over which the annual fee accrues (252 for US stocks).

    Returns
    -------
    float or ndarray
        Currency per session, >= 0.

    Examples
    --------
    >>> round(float(borrow_cost(252_000.0, 50.0, 252.0)), 10)
    5.0
    """
    return short_value * borrow_bps_ann * BPS / periods_per_year
