"""Sweeps of moving-average rules: every pair of windows over every asset.

The simplest weight rule there is, and therefore the one to sweep by the thousand: a weight while
the fast average of the closes lies above the slow one, another weight otherwise. Every asset has
an account of its own with one unit of capital. Averages known at a close are traded at the next
open; a position is opened with the account's whole equity times the weight and left alone until
the averages cross. A missing bar trades nothing and keeps its last close; a delisted asset pays
its terminal return and ends there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, model_validator

from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.inputs import parse_panel
from quant_engine.backtest.sweep import SweepIdentity, record_variants
from quant_engine.backtest.sweep_kernel import (
    BLOCK,
    STATISTICS,
    Columns,
    pack_columns,
    sweep_averages,
)
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, EmptyDataError, IdentityError, did_you_mean
from quant_engine.core.panel import Panel
from quant_engine.core.trials import TrialSink
from quant_engine.core.units import BPS
from quant_engine.execution.costs import CostProfile
from quant_engine.execution.delistings import Delistings, parse_delistings

__all__ = ["AverageCross", "AverageSweep", "sweep_average_crosses"]


class AverageCross(FrozenConfig):
    """A weight above and a weight not above the slow average.

    Parameters
    ----------
    fast_sessions, slow_sessions : int
        Windows of the two averages of the closes, fast below slow.
    above, below : float
        Weights, fraction of the account's equity, -1 to 1. Averages that agree to nine digits
        count as not above.

    Examples
    --------
    >>> AverageCross(fast_sessions=10, slow_sessions=50).below
    0.0
    """

    fast_sessions: int = Field(ge=1)
    slow_sessions: int = Field(ge=2)
    above: float = Field(default=1.0, ge=-1.0, le=1.0)
    below: float = Field(default=0.0, ge=-1.0, le=1.0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.fast_sessions >= self.slow_sessions:
            raise ValueError("fast_sessions must be below slow_sessions")
        return self


@dataclass(frozen=True, eq=False)
class AverageSweep:
    """A finished sweep of average crosses.

    Parameters
    ----------
    table : DataFrame indexed by ``variant``
        ``spec_id``, ``trial_id`` and the mean of every statistic over the assets that have it.
    statistics : ndarray of float64, shape (V, N, S)
        `STATISTICS` per variant and asset in the order of `asset_ids`; NaN = does not exist.
    variants : tuple of AverageCross
        In the order of the table.
    panel : Panel
        Parsed market.
    delistings : Delistings
        On its rows.
    cost_frac : float
        Cost of trading, fraction of traded value.
    periods_per_year : float
        Annualisation.
    """

    table: pd.DataFrame
    statistics: npt.NDArray[np.float64]
    variants: tuple[AverageCross, ...]
    panel: Panel
    delistings: Delistings
    cost_frac: float
    periods_per_year: float

    def statistic(self, name: str) -> pd.DataFrame:
        """One statistic of every variant (rows) and asset (columns).

        Parameters
        ----------
        name : str
            Of `STATISTICS`.

        Returns
        -------
        DataFrame
            NaN = does not exist.

        Raises
        ------
        ConfigError
            Unknown name.
        """
        if name not in STATISTICS:
            raise ConfigError(
                "statistic", wanted="a known one", got=name, hint=did_you_mean(name, STATISTICS)
            )
        values = self.statistics[:, :, STATISTICS.index(name)]
        return pd.DataFrame(values, columns=list(self.panel.asset_ids)).rename_axis(index="variant")

    def curve(self, variant: int, asset_id: str) -> pd.Series:
        """Equity of one variant in one asset, computed again.

        Parameters
        ----------
        variant : int
            Row of the table.
        asset_id : str
            Of the panel.

        Returns
        -------
        Series indexed by ``session``
            Per unit of capital; its last value has the bits that the statistics came from.

        Raises
        ------
        ConfigError
            No such variant.
        IdentityError
            No such asset.
        """
        if not 0 <= variant < len(self.variants):
            raise ConfigError(
                "variant",
                wanted=f"0 to {len(self.variants) - 1}",
                got=variant,
                hint="Use a row of the table.",
            )
        if asset_id not in self.panel.asset_ids:
            raise IdentityError(
                "asset_id",
                wanted="an asset of the panel",
                got=asset_id,
                hint=did_you_mean(asset_id, self.panel.asset_ids),
            )
        column = self.panel.asset_ids.index(asset_id)
        start = column - column % BLOCK
        block = _pack(self.panel, self.delistings, start)
        equity = np.empty(block.mark.shape)
        windows, weights = _arrays([self.variants[variant]])
        out = np.empty((1, len(block.mark), len(STATISTICS)))
        sweep_averages(block, windows, weights, self.cost_frac, self.periods_per_year, out, equity)
        return pd.Series(
            equity[column - start], index=self.panel.time.index.rename("session"), name="equity"
        )


def sweep_average_crosses(
    panel: Panel,
    variants: Sequence[AverageCross],
    *,
    config: BacktestConfig,
    costs: CostProfile,
    trials: TrialSink,
    identity: SweepIdentity,
    delistings: pd.DataFrame | None = None,
) -> AverageSweep:
    """Run every variant over every asset of a panel.

    Parameters
    ----------
    panel : Panel
        Daily market panel as for a backtest. NaN = not traded; dividends are refused.
    variants : sequence of AverageCross
        At least one; repeated ones are one trial.
    config : BacktestConfig
        Its periods per year and assumptions on delistings.
    costs : CostProfile
        Proportional costs: no impact, no cap, and no borrow fee where a weight is below 0, because
        an account of one unit has no size to measure them with.
    trials : TrialSink
        Remembers every variant.
    identity : SweepIdentity
        Of the trials.
    delistings : DataFrame, optional
        asset_id, session, terminal_return, reason.

    Returns
    -------
    AverageSweep
        Statistics per variant and asset, and curves on demand.

    Raises
    ------
    EmptyDataError
        No variant.
    ConfigError
        Costs that are not proportional, or a panel with dividends.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> from quant_engine.core.trials import MemoryTrialSink
    >>> close = np.array([[10.0], [10.0], [11.0], [11.0], [22.0]])
    >>> days = ["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07", "2020-01-08"]
    >>> fields = {"open": close, "close": close, "volume": np.ones((5, 1))}
    >>> panel = Panel(TimeAxis.sessions(days), ("A@US#1",), fields)
    >>> fee = CostProfile(name="fee", fee_bps=0, half_spread_bps=0, impact_coef_bps=0,
    ...                   participation_cap_frac=None)
    >>> sink = MemoryTrialSink()
    >>> sweep = sweep_average_crosses(
    ...     panel, [AverageCross(fast_sessions=1, slow_sessions=2)], config=BacktestConfig(),
    ...     costs=fee, trials=sink, identity=SweepIdentity("averages", "data", "split"),
    ... )
    >>> float(sweep.table["total_return"].iloc[0]), len(sink.trials)
    (1.0, 1)
    >>> sweep.curve(0, "A@US#1").tolist()
    [1.0, 1.0, 1.0, 1.0, 2.0]
    """
    if not variants:
        raise EmptyDataError("variants", wanted="at least one", got="none", hint="Widen the grid.")
    parsed = parse_panel(panel)
    cost_frac = _proportional(costs, variants, parsed)
    content = {"account": config.content(), "costs": costs.profile_id()}
    ids = record_variants(variants, content, trials=trials, identity=identity)
    delist = parse_delistings(delistings, parsed, config.terminal)
    windows, weights = _arrays(variants)
    n_assets = parsed.shape[1]
    statistics = np.empty((len(variants), n_assets, len(STATISTICS)))
    for start in range(0, n_assets, BLOCK):
        block = _pack(parsed, delist, start)
        part = np.empty((len(variants), len(block.mark), len(STATISTICS)))
        sweep_averages(
            block, windows, weights, cost_frac, config.periods_per_year, part, np.empty((0, 0))
        )
        statistics[:, start : start + BLOCK] = part
    means = pd.DataFrame(_mean_over_assets(statistics), columns=list(STATISTICS))
    means.insert(0, "spec_id", [spec for spec, _ in ids])
    means.insert(1, "trial_id", [trial for _, trial in ids])
    return AverageSweep(
        means.rename_axis(index="variant"),
        statistics,
        tuple(variants),
        parsed,
        delist,
        cost_frac,
        config.periods_per_year,
    )


def _mean_over_assets(statistics: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    known = np.isfinite(statistics)
    n = known.sum(axis=1)
    total = np.where(known, statistics, 0.0).sum(axis=1)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def _proportional(costs: CostProfile, variants: Sequence[AverageCross], panel: Panel) -> float:
    goes_short = any(min(rule.above, rule.below) < 0.0 for rule in variants)
    if (
        costs.needs_adv
        or (goes_short and costs.effective_borrow_bps_ann > 0.0)
        or (costs.use_panel_spread and "half_spread_frac" in panel.fields)
        or "dividend" in panel.fields
    ):
        raise ConfigError(
            "costs",
            wanted="fee and half-spread of the profile alone, on a panel without dividends",
            got="impact, a participation cap, borrow fees, spreads per bar, or dividends",
            hint="Sweep RuleConfig variants for those; or set impact_coef_bps=0, "
            "participation_cap_frac=None, borrow_bps_ann=0 and use total_adj prices.",
        )
    return costs.effective_fee_bps * BPS + costs.effective_half_spread_frac


def _arrays(
    variants: Sequence[AverageCross],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    windows = np.array([(rule.fast_sessions, rule.slow_sessions) for rule in variants], np.int64)
    return windows, np.array([(rule.above, rule.below) for rule in variants])


def _pack(panel: Panel, delistings: Delistings, start: int) -> Columns:
    return Columns(
        *pack_columns(
            panel.field("open"),
            panel.field("close"),
            panel.mask("tradable"),
            delistings.first_row,
            delistings.terminal_return_frac,
            start,
        )
    )
