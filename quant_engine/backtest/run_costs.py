"""Costs of a run: a profile, or a cost model evaluated on the run's own market.

A profile holds one rate of everything and goes into the numbers that the kernels take. A cost
model gives a rate per session and asset: its arrays go into the market, its stress is contained in
them, and the profile that it starts from keeps what does not vary (fee, borrow, smallest fill).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_engine.backtest.holdings import split_adjusted
from quant_engine.backtest.kernel_state import Market, Rules
from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import ConfigError
from quant_engine.core.ids import id_order
from quant_engine.core.panel import Panel
from quant_engine.execution.cost_model import CostModel, CostRates, Costs, cost_rates, costs_id
from quant_engine.execution.costs import CostProfile

__all__ = ["Costs", "RunCosts", "costed_market", "costed_rules", "parse_costs"]

MARKET_CAP = "market_cap_usd"
"""Optional field of the panel, currency, known at the close of its row."""

QUOTED = "half_spread_frac"


@dataclass(frozen=True, eq=False)
class RunCosts:
    """Costs as a run charges them.

    Parameters
    ----------
    profile : CostProfile
        Fee, borrow, smallest fill, and all rates where `rates` is None.
    rates : CostRates or None
        Of a cost model, on the rows of the panel and its assets in ascending order of id.
    name, costs_id : str
        Display name and digest of the profile or the model.
    """

    profile: CostProfile
    rates: CostRates | None
    name: str
    costs_id: str


def parse_costs(costs: Costs, panel: Panel) -> RunCosts:
    """Evaluate costs on a panel.

    Parameters
    ----------
    costs : CostProfile or CostModel
        Cost of trading.
    panel : Panel
        The caller's market (T, N) with the fields that the model needs; ``market_cap_usd`` where
        its segments are by market capitalisation. NaN = not traded. Raw prices are read through
        their splits.

    Returns
    -------
    RunCosts
        A profile has no rates of its own.

    Raises
    ------
    ConfigError
        Something else than costs, such as a name.
    MissingFieldError
        The panel lacks a field that the model needs.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> from quant_engine.execution.cost_model import CostModel
    >>> fields = {"close": np.full((1, 2), 10.0), "volume": np.full((1, 2), 1e5)}
    >>> panel = Panel(TimeAxis.sessions(["2020-01-02"]), ("B@US#1", "A@US#1"), fields)
    >>> model = CostModel(name="flat", profile=CostProfile(name="base"))
    >>> parse_costs(model, panel).rates.impact_coef_bps.tolist()
    [[25.0, 25.0]]
    """
    if not isinstance(costs, CostProfile | CostModel):
        raise ConfigError(
            "costs",
            wanted="a CostProfile or a CostModel",
            got=repr(costs)[:200],
            hint='A shipped one by name: SpecCatalog.default().load("costs", "base", CostProfile).',
        )
    if isinstance(costs, CostProfile):
        return RunCosts(costs, None, costs.name, costs_id(costs))
    caps = panel.fields.get(MARKET_CAP)
    size = None if caps is None else np.asarray(caps, dtype=np.float64)
    rates = cost_rates(_through_splits(panel), costs, market_cap_usd=size)
    order = id_order(panel.asset_ids)
    in_order = CostRates(
        np.ascontiguousarray(rates.half_spread_frac[:, order]),
        np.ascontiguousarray(rates.impact_coef_bps[:, order]),
        np.ascontiguousarray(rates.participation_cap_frac[:, order]),
        np.ascontiguousarray(rates.segment[:, order]),
    )
    return RunCosts(costs.profile, in_order, costs.name, costs_id(costs))


def _through_splits(panel: Panel) -> Panel:
    """Raw prices without the jumps of splits, which are no volatility and no gap."""
    adjusted = split_adjusted(panel)
    if adjusted is panel or QUOTED not in panel.fields:
        return adjusted
    return adjusted.with_fields({QUOTED: panel.field(QUOTED)})


def costed_market(market: Market, costs: RunCosts, rows: slice) -> Market:
    """Put the rates of a cost model into a market.

    Parameters
    ----------
    market : Market
        The simulated rows.
    costs : RunCosts
        Of :func:`parse_costs`.
    rows : slice
        Simulated rows of the panel.

    Returns
    -------
    Market
        The same one for a profile.
    """
    if costs.rates is None:
        return market
    return market._replace(
        half_spread_frac=_readonly(costs.rates.half_spread_frac[rows]),
        impact_coef_bps=_readonly(costs.rates.impact_coef_bps[rows]),
        participation_cap_frac=_readonly(costs.rates.participation_cap_frac[rows]),
    )


def costed_rules(rules: Rules, costs: RunCosts) -> Rules:
    """Say to the kernel that rates contain their stress, and whether a fill needs an ADV.

    Parameters
    ----------
    rules : Rules
        Numbers of the profile.
    costs : RunCosts
        Of :func:`parse_costs`.

    Returns
    -------
    Rules
        The same ones for a profile.
    """
    if costs.rates is None:
        return rules
    has_cap = bool(np.isfinite(costs.rates.participation_cap_frac).any())
    has_impact = bool((costs.rates.impact_coef_bps > 0.0).any())
    return rules._replace(spread_multiplier=1.0, needs_adv=has_cap or has_impact)


def _readonly(array: FloatMatrix) -> npt.NDArray[np.float64]:
    """A read-only view: the compiler makes one version per type of array."""
    view = np.asarray(array, dtype=np.float64).view()
    view.setflags(write=False)
    return view
