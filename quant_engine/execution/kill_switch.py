"""Kill switch: measured limits beyond which nothing new is traded.

Contract: `evaluate_kill_switch` is a pure function of what was measured; it says for every limit
whether it holds, is broken, or could not be judged, and why. What must always be known (the age of
the data and the drawdown) breaks its limit when it is absent; what needs observations is not
judged below their minimum. `Latch` of `execution.safety` keeps the answer until a person releases
it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import DataError
from quant_engine.execution.lifecycle import OrderEvent, OrderStatus

__all__ = [
    "KillCheck",
    "KillSwitchConfig",
    "KillSwitchInputs",
    "OrderFigures",
    "evaluate_kill_switch",
    "measure_orders",
]

CheckStatus = Literal["ok", "broken", "not_judged"]


class KillSwitchConfig(FrozenConfig):
    """Limits.

    Parameters
    ----------
    max_stale_bars : int
        Broken when the newest data are more bars old than this.
    max_drawdown_frac : float
        Broken when equity is further below its peak than this, fraction below 0.
    max_slippage_ratio : float
        Broken when realised cost is more than this multiple of the cost that was expected.
    min_fills : int
        Fills before the slippage ratio is judged.
    max_reject_frac : float
        Broken when a larger fraction of the orders was rejected.
    min_orders : int
        Orders before the fraction is judged.

    Examples
    --------
    >>> KillSwitchConfig().max_drawdown_frac
    -0.15
    """

    max_stale_bars: int = Field(default=3, ge=0)
    max_drawdown_frac: float = Field(default=-0.15, lt=0.0, ge=-1.0)
    max_slippage_ratio: float = Field(default=2.5, gt=0.0)
    min_fills: int = Field(default=20, ge=1)
    max_reject_frac: float = Field(default=0.20, ge=0.0, lt=1.0)
    min_orders: int = Field(default=20, ge=1)


@dataclass(frozen=True)
class KillSwitchInputs:
    """What was measured.

    Parameters
    ----------
    stale_bars : int or None
        Bars since the newest data; None = there are none.
    drawdown_frac : float
        Equity relative to its running peak less 1, at most 0; NaN = unknown.
    realised_cost_usd, expected_cost_usd : float
        Sums over the same recent fills, currency: slippage against the decision price, and what
        the cost profile said for them.
    n_fills : int
        Number of those fills.
    n_orders, n_rejected : int
        Orders sent recently, and how many of them were rejected.
    """

    stale_bars: int | None
    drawdown_frac: float
    realised_cost_usd: float = 0.0
    expected_cost_usd: float = 0.0
    n_fills: int = 0
    n_orders: int = 0
    n_rejected: int = 0

    def __post_init__(self) -> None:
        counts = (self.stale_bars or 0, self.n_fills, self.n_orders - self.n_rejected)
        if min(*counts, self.n_rejected) < 0 or self.drawdown_frac > 0.0:
            raise DataError(
                "kill switch inputs",
                wanted="counts of at least 0, rejected <= orders, drawdown <= 0",
                got=self,
                hint="A drawdown is negative; a rejected order is also an order.",
            )


class KillCheck(NamedTuple):
    """One limit and what was found.

    Parameters
    ----------
    name : {"staleness", "drawdown", "slippage", "rejects"}
        Limit.
    status : {"ok", "broken", "not_judged"}
        Verdict.
    value, limit : float
        Measured and allowed; NaN where there is no measurement.
    reason : str
        A sentence, ready for `Latch.trip` where broken.
    """

    name: str
    status: CheckStatus
    value: float
    limit: float
    reason: str


def evaluate_kill_switch(
    inputs: KillSwitchInputs, config: KillSwitchConfig | None = None
) -> tuple[KillCheck, ...]:
    """Judge every limit.

    Parameters
    ----------
    inputs : KillSwitchInputs
        Measurements.
    config : KillSwitchConfig, optional
        Limits; a value equal to its limit holds it.

    Returns
    -------
    tuple of KillCheck
        Always the same four, in the same order.

    Examples
    --------
    >>> checks = evaluate_kill_switch(KillSwitchInputs(stale_bars=5, drawdown_frac=-0.02))
    >>> [(check.name, check.status) for check in checks]
    [('staleness', 'broken'), ('drawdown', 'ok'), ('slippage', 'not_judged'), \
('rejects', 'not_judged')]
    >>> checks[0].reason
    'staleness 5 bars, limit 3'
    """
    config = KillSwitchConfig() if config is None else config
    return (
        _staleness(inputs, config),
        _drawdown(inputs, config),
        _slippage(inputs, config),
        _rejects(inputs, config),
    )


@dataclass(frozen=True)
class OrderFigures:
    """What a part of a trail says about orders.

    Parameters
    ----------
    n_orders, n_rejected, n_fills : int
        Orders that became known, rejections, fills.
    shortfall_usd : float
        Implementation shortfall: what the fills paid beyond their decision prices, costs included,
        currency. Moves between decision and open are in it, so it is noisy for few fills.
    cost_usd : float
        Fees, spread and impact of the fills, currency.
    """

    n_orders: int
    n_rejected: int
    n_fills: int
    shortfall_usd: float
    cost_usd: float


def measure_orders(events: Sequence[OrderEvent]) -> OrderFigures:
    """Count orders and add up what their fills cost.

    ``shortfall = sum shares (price - decision price) + cost``.

    Parameters
    ----------
    events : sequence of OrderEvent
        The part of a trail that is to be judged, for example the last 20 sessions.

    Returns
    -------
    OrderFigures
        Counts, and amounts in currency.

    Examples
    --------
    >>> measure_orders(()).n_orders
    0
    """
    fills = [(event.order, event.fill) for event in events if event.fill is not None]
    cost = math.fsum(fill.cost for _, fill in fills)
    moves = (fill.shares * (fill.price - order.decision_price) for order, fill in fills)
    return OrderFigures(
        n_orders=sum(event.status is OrderStatus.NEW for event in events),
        n_rejected=sum(event.status is OrderStatus.REJECTED for event in events),
        n_fills=len(fills),
        shortfall_usd=math.fsum(moves) + cost,
        cost_usd=cost,
    )


def _verdict(name: str, broken: bool, value: float, limit: float, unit: str) -> KillCheck:
    reason = f"{name} {value:.4g}{unit}, limit {limit:.4g}"
    return KillCheck(name, "broken" if broken else "ok", value, limit, reason)


def _staleness(inputs: KillSwitchInputs, config: KillSwitchConfig) -> KillCheck:
    limit = float(config.max_stale_bars)
    if inputs.stale_bars is None:
        return KillCheck("staleness", "broken", math.nan, limit, "there are no data")
    value = float(inputs.stale_bars)
    return _verdict("staleness", value > limit, value, limit, " bars")


def _drawdown(inputs: KillSwitchInputs, config: KillSwitchConfig) -> KillCheck:
    value, limit = inputs.drawdown_frac, config.max_drawdown_frac
    if math.isnan(value):
        return KillCheck("drawdown", "broken", value, limit, "the drawdown is not known")
    return _verdict("drawdown", value < limit, value, limit, "")


def _slippage(inputs: KillSwitchInputs, config: KillSwitchConfig) -> KillCheck:
    limit = config.max_slippage_ratio
    if inputs.n_fills < config.min_fills or not inputs.expected_cost_usd > 0.0:
        reason = f"{inputs.n_fills} fills, {config.min_fills} and an expected cost are needed"
        return KillCheck("slippage", "not_judged", math.nan, limit, reason)
    value = inputs.realised_cost_usd / inputs.expected_cost_usd
    if math.isnan(value):
        return KillCheck("slippage", "broken", value, limit, "the slippage is not known")
    return _verdict("slippage", value > limit, value, limit, " x expected")


def _rejects(inputs: KillSwitchInputs, config: KillSwitchConfig) -> KillCheck:
    limit = config.max_reject_frac
    if inputs.n_orders < config.min_orders:
        reason = f"{inputs.n_orders} orders, {config.min_orders} are needed"
        return KillCheck("rejects", "not_judged", math.nan, limit, reason)
    value = inputs.n_rejected / inputs.n_orders
    return _verdict("rejects", value > limit, value, limit, "")
