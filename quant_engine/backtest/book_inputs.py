"""What a run of target weights reads beside its scores, aligned once for runs with other scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.inputs import (
    build_market,
    build_rules,
    known_adv,
    parse_panel,
    parse_regimes,
    parse_series,
)
from quant_engine.backtest.kernel_state import Market, Rules, SymbolChanges
from quant_engine.backtest.run_costs import (
    Costs,
    RunCosts,
    costed_market,
    costed_rules,
    parse_costs,
)
from quant_engine.backtest.trading import (
    check_market,
    parse_symbol_changes,
    traded_market,
    traded_rules,
)
from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.panel import Panel
from quant_engine.execution.delistings import Delistings, parse_delistings

__all__ = ["BookInputs", "parse_book"]


@dataclass(frozen=True, eq=False)
class BookInputs:
    """Market, account and costs of a book, aligned; runs with other scores share them.

    Parameters
    ----------
    source : Panel
        The caller's market (T, N), in the caller's order of assets.
    panel : Panel
        Parsed market, assets in ascending order of id.
    regimes : ndarray of int64, shape (T,)
        Label known at each close, -1 = unknown.
    benchmark_returns : ndarray of float64, shape (T,), or None
        Per session.
    delistings : Delistings
        On the panel's rows.
    changes : SymbolChanges
        On the panel's rows.
    config : BacktestConfig
        Settings.
    costs : RunCosts
        Cost of trading, on the panel's rows.
    adv_value : ndarray of float64, shape (T, N)
        Known at each close, currency; NaN = not known.
    """

    source: Panel
    panel: Panel
    regimes: npt.NDArray[np.int64]
    benchmark_returns: FloatVector | None
    delistings: Delistings
    changes: SymbolChanges
    config: BacktestConfig
    costs: RunCosts
    adv_value: FloatMatrix

    def market(self, rows: slice) -> Market:
        """Arrays that the day loop reads.

        Parameters
        ----------
        rows : slice
            Simulated rows, from the first decision.

        Returns
        -------
        Market
            Views where possible.
        """
        built = build_market(
            self.panel, self.delistings, self.costs.profile, rows, adv_value=self.adv_value
        )
        traded = traded_market(built, self.source, self.config.fill, self.changes, rows)
        return costed_market(traded, self.costs, rows)

    def rules(self) -> Rules:
        """Numbers of the account: capital, costs and market practice."""
        rules = costed_rules(build_rules(self.config, self.costs.profile), self.costs)
        return traded_rules(rules, self.config)


def parse_book(
    panel: Panel,
    *,
    config: BacktestConfig,
    costs: Costs,
    delistings: pd.DataFrame | None = None,
    regimes: pd.DataFrame | None = None,
    benchmark_returns: pd.Series | FloatVector | None = None,
    symbol_changes: pd.DataFrame | None = None,
) -> BookInputs:
    """Align market, costs and everything beside the scores.

    Parameters
    ----------
    panel : Panel
        As :func:`quant_engine.backtest.inputs.parse_panel` takes it, raw prices too.
    config : BacktestConfig
        What is simulated.
    costs : CostProfile or CostModel
        Cost of trading.
    delistings, regimes, symbol_changes : DataFrame, optional
        As `Backtester.run` takes them.
    benchmark_returns : Series or ndarray of shape (T,), optional
        Simple returns; NaN = not available.

    Returns
    -------
    BookInputs
        Arrays of the panel's shape in asset-id order.

    Raises
    ------
    DataError
        And its kinds, where something cannot be aligned.
    ConfigError
        Settings that do not fit the market.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> from quant_engine.execution.costs import CostProfile
    >>> price = np.full((2, 1), 10.0)
    >>> fields = {"open": price, "close": price, "volume": price}
    >>> panel = Panel(TimeAxis.sessions(["2020-01-02", "2020-01-03"]), ("A@US#1",), fields)
    >>> costs = CostProfile(name="x", adv_min_sessions=1)
    >>> parse_book(panel, config=BacktestConfig(), costs=costs).adv_value.ravel()
    array([100., 100.])
    """
    parsed = parse_panel(panel, accepts_raw=True)
    labels = parse_regimes(regimes, parsed)
    benchmark = parse_series("benchmark_returns", benchmark_returns, parsed)
    delist = parse_delistings(delistings, parsed, config.terminal)
    changes = parse_symbol_changes(symbol_changes, parsed)
    charged = parse_costs(costs, panel)
    check_market(parsed, config, charged.profile)
    adv = known_adv(parsed, charged.profile)
    return BookInputs(panel, parsed, labels, benchmark, delist, changes, config, charged, adv)
