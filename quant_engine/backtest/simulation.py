"""Simulation: a book with all that it was simulated with, ready to be run with one thing changed.

A stress, a null baseline and a variant are each the same simulation with other costs, other scores
or other settings; nothing else may differ, or the comparison says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from quant_engine.backtest.book_inputs import BookInputs, parse_book
from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.engine import run_book, run_rules
from quant_engine.backtest.result import BacktestResult
from quant_engine.backtest.rules import RuleConfig
from quant_engine.backtest.rules_inputs import RuleInputs, parse_rule_inputs, rescored
from quant_engine.backtest.run_costs import Costs
from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import ConfigError
from quant_engine.core.panel import Panel

FIGURES = (
    "sharpe",
    "annual_return",
    "annual_vol",
    "max_drawdown",
    "turnover_ann",
    "cost_total",
    "n_trades",
)
"""Figures by which runs of one simulation are compared; names of `BacktestResult.summary`."""


@dataclass(frozen=True, eq=False)
class Simulation:
    """Inputs of one backtest. What does not depend on the scores is aligned once and kept.

    Parameters
    ----------
    scores : DataFrame
        Long frame ``date, asset_id, score`` with optional ``expected_return_frac`` and
        ``confidence``. Row t = known after the close of session t. NaN = no opinion.
    panel : Panel
        Daily market panel (T, N) in a split-adjusted basis.
    costs : CostProfile or CostModel
        Cost of trading.
    config : BacktestConfig
        What is simulated.
    delistings : DataFrame, optional
        asset_id, session, terminal_return, reason.
    regimes : DataFrame indexed by session, optional
        Column ``regime``.
    benchmark_returns : Series indexed by session, optional
        Simple close-to-close returns of the benchmark.
    rules : RuleConfig, optional
        Trade single positions by these rules instead of target weights; ``entry_min`` is in the
        unit of ``score``.
    symbol_changes : DataFrame, optional
        from_asset, to_asset, session, ratio; of target weights alone.

    Examples
    --------
    >>> import numpy as np
    >>> from quant_engine.execution.costs import CostProfile
    >>> from quant_engine.backtest.portfolio import PortfolioConfig
    >>> from quant_engine.core.panel import TimeAxis
    >>> prices = np.array([[10.0, 10.0], [10.0, 10.0], [11.0, 9.0]])
    >>> panel = Panel(
    ...     TimeAxis.sessions(["2020-01-02", "2020-01-03", "2020-01-06"]),
    ...     ("A@US#1", "B@US#1"),
    ...     {"open": prices, "close": prices, "volume": np.full((3, 2), 1e9)},
    ... )
    >>> scores = pd.DataFrame(
    ...     {"date": pd.to_datetime(["2020-01-02"] * 2), "asset_id": panel.asset_ids,
    ...      "score": [1.0, -1.0]}
    ... )
    >>> book = PortfolioConfig(names_per_side=1, max_weight_frac=1.0)
    >>> costs = CostProfile(name="x", adv_min_sessions=1)
    >>> simulation = Simulation(scores, panel, costs, BacktestConfig(portfolio=book))
    >>> len(simulation.run().daily), len(simulation.run(costs=costs.stressed(2.0)).daily)
    (1, 1)
    """

    scores: pd.DataFrame
    panel: Panel
    costs: Costs
    config: BacktestConfig
    delistings: pd.DataFrame | None = None
    regimes: pd.DataFrame | None = None
    benchmark_returns: pd.Series | None = None
    rules: RuleConfig | None = None
    symbol_changes: pd.DataFrame | None = None

    def run(
        self,
        *,
        scores: pd.DataFrame | FloatMatrix | None = None,
        costs: Costs | None = None,
        config: BacktestConfig | None = None,
    ) -> BacktestResult:
        """Simulate, with what is given in place of its own.

        Parameters
        ----------
        scores : DataFrame or ndarray of shape (T, N), optional
            Other scores; an array is in the row and column order of the panel.
        costs : CostProfile or CostModel, optional
            Other costs.
        config : BacktestConfig, optional
            Another book.

        Returns
        -------
        BacktestResult
            Of `Backtester.run`, or of `Backtester.run_signals` where there are rules.

        Raises
        ------
        QuantEngineError
            As these; ConfigError for changes of symbol beside rules, which do not follow them.
        """
        given = self.scores if scores is None else scores
        if self.rules is None:
            return run_book(self._book(costs, config), given)
        if self.symbol_changes is not None:
            raise ConfigError(
                "symbol_changes",
                wanted="none beside rules",
                got=f"{len(self.symbol_changes)} changes",
                hint="Give the asset one id throughout, or trade target weights.",
            )
        inputs = self._ruled(costs, config)
        if scores is not None:
            inputs = rescored(inputs, scores, self.panel.asset_ids)
        return run_rules(inputs, self.rules)

    def _book(self, costs: Costs | None, config: BacktestConfig | None) -> BookInputs:
        """Aligned market, costs and account; its own ones are made once."""
        if costs is None and config is None:
            return self._own_book
        changes = self.symbol_changes
        return parse_book(self.panel, symbol_changes=changes, **self._given(costs, config))

    def _ruled(self, costs: Costs | None, config: BacktestConfig | None) -> RuleInputs:
        if costs is None and config is None:
            return self._own_ruled
        return parse_rule_inputs(self.scores, self.panel, **self._given(costs, config))

    @cached_property
    def _own_book(self) -> BookInputs:
        return self._book(self.costs, self.config)

    @cached_property
    def _own_ruled(self) -> RuleInputs:
        return self._ruled(self.costs, self.config)

    def _given(self, costs: Costs | None, config: BacktestConfig | None) -> dict[str, Any]:
        return {
            "config": config or self.config,
            "costs": costs or self.costs,
            "delistings": self.delistings,
            "regimes": self.regimes,
            "benchmark_returns": self.benchmark_returns,
        }


def compared_figures(result: BacktestResult) -> dict[str, float]:
    """Figures by which runs of one simulation are compared.

    Parameters
    ----------
    result : BacktestResult
        A finished run.

    Returns
    -------
    dict of str to float
        `FIGURES`: annualised ratio and rates (fractions), deepest loss (fraction, at most 0),
        cost in currency, closed trades; NaN where a figure does not exist.
    """
    values = {name: result.summary[name] for name in FIGURES}
    return {name: float("nan" if value is None else value) for name, value in values.items()}
