"""Reference cases of execution and of risk by position: impact, schedules, fills, components."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from quant_engine.core.units import BPS_PER_UNIT
from quant_engine.execution.costs import impact_cost
from quant_engine.execution.fills import fill_fraction
from quant_engine.execution.impact import (
    AlmgrenChriss,
    AlmgrenImpact,
    Trajectory,
    almgren_chriss_trajectory,
    permanent_impact_frac,
    realised_impact_frac,
)
from quant_engine.execution.shortfall import (
    implementation_shortfall,
    slippage_bps,
    volume_weighted_price,
)
from quant_engine.execution.slices import slice_order, vwap_weights
from quant_engine.risk.components import RiskParts, component_var
from quant_engine.stats.metrics import gaussian_tail
from quant_engine.testing.reference.adapters import Adapter, Give
from quant_engine.testing.reference.inputs import Inputs, array, each

RISK = "risk_tail_execution"
_MILLION = 1e6


def _impact_bps(inputs: Inputs) -> Any:
    def one(sigma: float, participation: float) -> float:
        coefficient = inputs.get("Y", 1.0) * sigma * BPS_PER_UNIT
        cost = float(impact_cost(participation, 1.0, coefficient))
        return cost / participation * BPS_PER_UNIT if participation else cost

    return each(one, inputs["sigma_daily"], inputs["participation"])


def _capped_fills(inputs: Inputs) -> tuple[list[float], float]:
    left, fills = float(inputs["shares"]), []
    for volume in inputs["volume"]:
        cap = inputs.get("cap", inf)
        fills.append(left * fill_fraction(left, float(volume), cap))
        left -= fills[-1]
    return fills, left


# ---------------------------------------------------------------- schedules


def _trajectory(inputs: Inputs) -> Trajectory:
    setting = AlmgrenChriss(
        duration_days=inputs["T"],
        n_slices=inputs["N"],
        sigma_per_share=inputs["sigma"],
        fixed_cost_per_share=inputs["epsilon"],
        permanent_coef=inputs["gamma"],
        temporary_coef=inputs["eta"],
        risk_aversion=inputs["lam"],
    )
    return almgren_chriss_trajectory(float(inputs["X"]), setting)


_TRAJECTORY: dict[str, Give] = {
    "kappa": lambda inputs: _trajectory(inputs).kappa_per_day,
    "half_life": lambda inputs: _trajectory(inputs).half_life_days,
    "half_life_days": lambda inputs: _trajectory(inputs).half_life_days,
    "holdings": lambda inputs: _trajectory(inputs).holdings,
    "trades": lambda inputs: _trajectory(inputs).trades,
    "expected_cost": lambda inputs: _trajectory(inputs).expected_cost,
    "variance": lambda inputs: _trajectory(inputs).variance,
    "std": lambda inputs: _trajectory(inputs).variance ** 0.5,
    "mean_musd": lambda inputs: _trajectory(inputs).expected_cost / _MILLION,
    "variance_musd2": lambda inputs: _trajectory(inputs).variance / _MILLION**2,
    "utility_musd": lambda inputs: (
        (_trajectory(inputs).expected_cost + inputs["lam"] * _trajectory(inputs).variance)
        / _MILLION
    ),
}


def _permanent_bps(inputs: Inputs) -> float:
    paid = permanent_impact_frac(
        inputs["x_over_v"],
        inputs["sigma_daily"],
        shares_to_volume=inputs["theta_over_v"],
        model=AlmgrenImpact(),
    )
    return float(paid) * BPS_PER_UNIT


def _realised_bps(inputs: Inputs) -> Any:
    paid = realised_impact_frac(
        inputs["x_over_v"],
        inputs["sigma_daily"],
        shares_to_volume=inputs["theta_over_v"],
        duration_days=array(inputs["durations_days"]),
        model=AlmgrenImpact(),
    )
    return np.asarray(paid) * BPS_PER_UNIT


def _slices(inputs: Inputs, *, lot_shares: float) -> Any:
    weights = vwap_weights(array(inputs["profile"]))
    return slice_order(float(inputs["shares"]), weights, lot_shares=lot_shares).shares


def _paid(inputs: Inputs) -> float:
    return volume_weighted_price(array(inputs["price"]), array(inputs["fill_qty"]))


def _market_vwap(inputs: Inputs) -> float:
    return volume_weighted_price(array(inputs["price"]), array(inputs["volume"]))


def _missed_cash(inputs: Inputs) -> float:
    return implementation_shortfall(
        _paid(inputs),
        inputs["arrival"],
        inputs["last"],
        filled_shares=float(array(inputs["fill_qty"]).sum()),
        unfilled_shares=inputs["unfilled"],
        side=inputs["side"],
    ).total


_ORDER_COSTS: dict[str, Give] = {
    "vwap": _market_vwap,
    "avg_fill": _paid,
    "slippage_vs_vwap_bps": lambda inputs: slippage_bps(
        _paid(inputs), _market_vwap(inputs), side=inputs["side"]
    ),
    "slippage_vs_arrival_bps": lambda inputs: slippage_bps(
        _paid(inputs), inputs["arrival"], side=inputs["side"]
    ),
    "implementation_shortfall_cash": _missed_cash,
}


# ---------------------------------------------------------------- risk by position


def _parts(inputs: Inputs) -> RiskParts:
    if "cov" in inputs:
        sizes = array(inputs["weights"]) * inputs["value"]
        z = gaussian_tail(alpha=1.0 - inputs["confidence"]).var
        return component_var(sizes, array(inputs["cov"]), z=z)
    vol = array(inputs["vol"])
    correlation = np.full((vol.size, vol.size), inputs["corr"], dtype=np.float64)
    np.fill_diagonal(correlation, 1.0)
    covariance = correlation * np.outer(vol, vol)
    return component_var(array(inputs["positions_musd"]), covariance, z=inputs["z"])


def _part(name: str) -> Give:
    return lambda inputs: getattr(_parts(inputs), name)


_COMPONENTS: dict[str, Give] = {
    "sigma": _part("sigma"),
    "var": _part("var"),
    "individual_var": _part("individual"),
    "undiversified_var": _part("undiversified"),
    "marginal_var": _part("marginal"),
    "component_var": _part("component"),
    "component_pct": _part("share"),
    "beta": _part("beta"),
}

# What a case of a form holds, and what it waits for.
_DUE = (
    (("S", "K", "r"), "option prices and Greeks"),
    (("spot", "strike", "portfolio_value"), "tail hedge by puts"),
)

ADAPTERS: tuple[Adapter, ...] = (
    Adapter(
        RISK,
        "square_root_impact",
        frozenset({"sigma_daily", "participation"}),
        {"bps": _impact_bps},
    ),
    Adapter(
        RISK,
        "participation_cap",
        frozenset({"shares", "volume"}),
        {
            "fills": lambda inputs: _capped_fills(inputs)[0],
            "unfilled": lambda inputs: _capped_fills(inputs)[1],
        },
    ),
    Adapter(RISK, "almgren_chriss", frozenset({"X", "T", "N", "lam"}), _TRAJECTORY),
    Adapter(
        RISK,
        "almgren2005",
        frozenset({"x_over_v", "theta_over_v"}),
        {
            "I_bps": _permanent_bps,
            "K_bps": lambda inputs: _realised_bps(inputs) - 0.5 * _permanent_bps(inputs),
            "J_bps": _realised_bps,
        },
    ),
    Adapter(
        RISK,
        "vwap_schedule",
        frozenset({"shares", "profile"}),
        {
            "exact": lambda inputs: _slices(inputs, lot_shares=0.0),
            "sum": lambda inputs: float(_slices(inputs, lot_shares=1.0).sum()),
        },
        others={"integer": "the cumulative order is rounded, so that no slice runs ahead of it"},
    ),
    Adapter(
        RISK,
        "vwap_and_implementation_shortfall",
        frozenset({"price", "volume", "fill_qty", "arrival"}),
        _ORDER_COSTS,
    ),
    Adapter(RISK, "component_var", frozenset({"weights", "cov"}), _COMPONENTS),
    Adapter(RISK, "jorion", frozenset({"positions_musd", "vol"}), _COMPONENTS),
    *(Adapter(RISK, "", frozenset(needs), due=reason) for needs, reason in _DUE),
)
