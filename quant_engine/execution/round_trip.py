"""Round-trip cost of an order of a stated size, as it could be estimated at the decision.

Contract: row t reads rows up to t alone. The same rates as in a fill (`execution.costs`, or
`execution.cost_model` as a decision knows them), twice: once for entering and once for leaving.
Borrow fees are left out, because they depend on the side and the time held.
"""

from __future__ import annotations

import numpy as np

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import ConfigError
from quant_engine.core.panel import Panel
from quant_engine.execution.cost_model import Costs, decision_rates, profile_of
from quant_engine.execution.costs import CostProfile, fee_cost, impact_cost, spread_cost
from quant_engine.execution.fills import trailing_adv

__all__ = ["round_trip_costs"]


MARKET_CAP = "market_cap_usd"
"""Optional field of a panel, currency, known at the close of its row."""


def round_trip_costs(panel: Panel, costs: Costs, *, order_value: float) -> FloatMatrix:
    """Estimate what entering and leaving a position of a stated size costs.

    Parameters
    ----------
    panel : Panel
        Daily market panel (T, N) with ``close`` and ``volume``; optional ``half_spread_frac``; for
        a cost model the fields that it needs, ``market_cap_usd`` among them where its segments
        are by market capitalisation.
    costs : CostProfile or CostModel
        Cost rates; the stress multiplier counts.
    order_value : float
        Value of the order, currency, above 0.

    Returns
    -------
    ndarray of float64, shape (T, N)
        Fraction of the entry value, at least 0; NaN where the average daily value that impact
        needs is not known or zero. A missing spread of the panel is that of the profile, or the
        one that the model estimates or assumes.

    Raises
    ------
    ConfigError
        An order of no size.
    MissingFieldError
        No close or volume, or another field that a cost model needs.

    Notes
    -----
    ``2 (fee + half spread + c sqrt(V / ADV))`` with V the order and ADV the trailing average daily
    traded value; see :func:`quant_engine.execution.costs.impact_cost`. Leaving is assumed to cost
    what entering does: conditions of the exit are not known.

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
    profile = profile_of(costs)
    adv = trailing_adv(
        panel.field("close"),
        panel.field("volume"),
        adv_sessions=profile.adv_sessions,
        min_sessions=profile.adv_min_sessions,
    )
    spread, impact_coef_bps = _rates(panel, costs)
    # A rate of impact of 0 needs no volume; any other is unknown without it.
    of_one = impact_cost(order_value, np.where(adv > 0.0, adv, np.nan), 1.0)
    one_way = (
        fee_cost(order_value, profile.effective_fee_bps)
        + spread_cost(order_value, spread)
        + np.where(impact_coef_bps == 0.0, 0.0, of_one * impact_coef_bps)
    )
    return np.asarray(2.0 * one_way / order_value, dtype=np.float64)


def _rates(panel: Panel, costs: Costs) -> tuple[FloatMatrix, FloatMatrix]:
    """Half-spread (fraction) and impact of trading all of ADV (bps), stress included."""
    if not isinstance(costs, CostProfile):
        caps = panel.fields.get(MARKET_CAP)
        size = None if caps is None else np.asarray(caps, dtype=np.float64)
        rates = decision_rates(panel, costs, market_cap_usd=size)
        return rates.half_spread_frac, rates.impact_coef_bps
    spread = np.full(panel.shape, costs.effective_half_spread_frac)
    if costs.use_panel_spread and "half_spread_frac" in panel.fields:
        quoted = np.asarray(panel.field("half_spread_frac"), dtype=np.float64)
        spread = np.where(np.isnan(quoted), spread, quoted * costs.stress_multiplier)
    return spread, np.full(panel.shape, costs.effective_impact_coef_bps)
