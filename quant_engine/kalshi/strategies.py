"""Strategies of event markets: a forecast and a threshold each, all of them counted.

Every strategy that is looked at trades every out-of-sample cluster, or stays out of it with zero,
so that all of them can be tested together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.hashing import sha256_json
from quant_engine.core.trials import Trial, TrialSink
from quant_engine.kalshi.execution import (
    DISPLAYED,
    STRESSES,
    FillConfig,
    FillResult,
    decide_orders,
    fill_orders,
)
from quant_engine.kalshi.fees import FeeEntry
from quant_engine.kalshi.models import Member
from quant_engine.kalshi.walkforward import WalkForwardEventsConfig, WalkForwardForecasts

__all__ = ["StrategyConfig", "StrategyRun", "StrategySetConfig", "StrategyTable", "run_strategies"]


class StrategyConfig(FrozenConfig):
    """One strategy.

    Parameters
    ----------
    member : str
        Forecast that decides.
    fills : FillConfig
        Threshold and limits.
    """

    member: Member
    fills: FillConfig = FillConfig()

    @property
    def name(self) -> str:
        """Such as ``"shrunk@0.015"``; resting orders say so."""
        resting = "" if self.fills.liquidity == "taker" else " maker"
        return f"{self.member}@{self.fills.threshold:g}{resting}"


class StrategySetConfig(FrozenConfig):
    """Strategies that are tried together.

    Parameters
    ----------
    members : tuple of str
        Forecasts.
    thresholds : tuple of float
        Dollars per contract after fee.
    fills : FillConfig
        Limits; its threshold is replaced.
    capital : float
        Dollars behind a strategy, for returns per event.
    """

    members: tuple[Member, ...] = ("recalibrated", "shrunk")
    thresholds: tuple[float, ...] = (0.01, 0.02)
    fills: FillConfig = FillConfig(
        max_leg_c2=1_000, max_event_risk_e6=50_000_000, max_cluster_risk_e6=50_000_000
    )
    capital: float = Field(default=1_000.0, gt=0.0)

    def strategies(self) -> tuple[StrategyConfig, ...]:
        """Every forecast with every threshold."""
        return tuple(
            StrategyConfig(member=m, fills=self.fills.model_copy(update={"threshold": t}))
            for m in self.members
            for t in self.thresholds
        )


@dataclass(frozen=True, eq=False)
class StrategyRun:
    """What one strategy earned.

    Parameters
    ----------
    config : StrategyConfig
        Strategy.
    displayed : FillResult
        At displayed prices.
    stressed : tuple of FillResult
        The same orders filled worse; empty for resting orders, for which that is not defined.
    trial_id : str
        Its trial in the ledger.
    """

    config: StrategyConfig
    displayed: FillResult
    stressed: tuple[FillResult, ...]
    trial_id: str


@dataclass(frozen=True, eq=False)
class StrategyTable:
    """All strategies of one walk-forward.

    Parameters
    ----------
    runs : tuple of StrategyRun
        One per strategy.
    pnl : DataFrame, index cluster_id
        Dollars after fees per cluster in time order, one column per strategy name.
    family : str
        Family of their trials.
    capital : float
        Dollars behind each.
    """

    runs: tuple[StrategyRun, ...]
    pnl: pd.DataFrame
    family: str
    capital: float


def run_strategies(
    forecasts: WalkForwardForecasts,
    config: StrategySetConfig,
    *,
    fees: Sequence[FeeEntry],
    walk: WalkForwardEventsConfig,
    trials: TrialSink,
    family: str,
) -> StrategyTable:
    """Trade every strategy and count it.

    Parameters
    ----------
    forecasts : WalkForwardForecasts
        Out-of-sample forecasts with legs.
    config : StrategySetConfig
        Strategies.
    fees : sequence of FeeEntry
        Schedule.
    walk : WalkForwardEventsConfig
        How the forecasts were made: part of what is tried.
    trials : TrialSink
        Counts every strategy.
    family : str
        Family of the trials, such as ``"kalshi_strategy|fake"``.

    Returns
    -------
    StrategyTable

    Raises
    ------
    MissingFieldError
        Frames without legs.
    DataError
        No fee schedule for a trade.
    """
    runs = []
    for strategy in config.strategies():
        orders = decide_orders(forecasts, strategy.member, fees=fees, config=strategy.fills)
        stresses = STRESSES if strategy.fills.liquidity == "taker" else ()
        displayed, *stressed = (
            fill_orders(forecasts, orders, fees=fees, config=strategy.fills, stress=stress)
            for stress in (DISPLAYED, *stresses)
        )
        tried = {"strategy": strategy.content(), "walk_forward": walk.content()}
        trial = Trial(
            family, sha256_json(tried), forecasts.data_id, forecasts.split_id, "run_strategies"
        )
        runs.append(StrategyRun(strategy, displayed, tuple(stressed), trials.record(trial)))
    pnl = pd.DataFrame({run.config.name: run.displayed.by_cluster["pnl"] for run in runs})
    return StrategyTable(tuple(runs), pnl.astype(np.float64), family, config.capital)
