"""Round-trip cost of an order of a stated size, as it could be estimated at the decision.

Contract: row t reads closes, volumes and spreads up to t alone. The same rates as in a fill
(`quant_engine.execution.costs`), twice: once for entering and once for leaving. Borrow fees are
left out, because they depend on the side and the time held.
"""

from __future__ import annotations

import numpy as np

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import ConfigError
from quant_engine.core.panel import Panel
from quant_engine.execution.costs import CostProfile, fee_cost, impact_cost, spread_cost
from quant_engine.execution.fills import trailing_adv

__all__ = ["round_trip_costs"]


def round_trip_costs(panel: Panel, profile: CostProfile, *, order_value: float) -> FloatMatrix:
    """Estimate what entering and leaving a position of a stated size costs.

    Parameters
    ----------
    panel : Panel
        Daily market panel (T, N) with ``close`` and ``volume``; optional ``half_spread_frac``.
    profile : CostProfile
        Cost rates; its stress multiplier counts.
    order_value : float
        Value of the order, currency, above 0.

    Returns
    -------
    ndarray of float64, shape (T, N)
        Fraction of the entry value, at least 0; NaN where the average daily value that impact
        needs is not known or zero. A missing spread of the panel is that of the profile.

    Raises
    ------
    ConfigError
        An order of no size.
    MissingFieldError
        No close or volume.

    Notes
    -----
    ``2 (fee + half spread + c sqrt(V / ADV))`` with V the order and ADV the trailing average daily
    traded value; see :func:`quant_engine.execution.costs.impact_cost`.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> fields = {"close": np.array([[10.0]]), "volume": np.array([[1e5]])}
    >>> panel = Panel(TimeAxis.sessions(["2020-01-02"]), ("A@US#1",), fields)
    >>> profile = CostProfile(name="a", adv_min_sessions=1)
    >>> round_trip_costs(panel, profile, order_value=10_000.0).round(6).tolist()
    [[0.001]]
    """
    if not order_value > 0.0:
        raise ConfigError(
            "order_value", wanted="more than 0", got=order_value, hint="Use the size of one order."
        )
    adv = trailing_adv(
        panel.field("close"),
        panel.field("volume"),
        adv_sessions=profile.adv_sessions,
        min_sessions=profile.adv_min_sessions,
    )
    spread = np.full(panel.shape, profile.effective_half_spread_frac)
    if profile.use_panel_spread and "half_spread_frac" in panel.fields:
        quoted = np.asarray(panel.field("half_spread_frac"), dtype=np.float64)
        spread = np.where(np.isnan(quoted), spread, quoted * profile.stress_multiplier)
    known = np.where(adv > 0.0, adv, np.nan)
    one_way = (
        fee_cost(order_value, profile.effective_fee_bps)
        + spread_cost(order_value, spread)
        + impact_cost(order_value, known, profile.effective_impact_coef_bps)
    )
    return np.asarray(2.0 * one_way / order_value, dtype=np.float64)
