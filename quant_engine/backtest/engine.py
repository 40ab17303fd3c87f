"""The backtester: scores and prices in, a costed and accounted track record out.

Two ways lead from scores to trades: target weights (`Backtester.run`, below) and rules that open
and close single positions (`Backtester.run_signals`, see `rules`).

1. `inputs` aligns scores, delistings, regimes and benchmark with the panel and refuses what cannot
   be aligned.
2. `portfolio.target_weights` turns the scores known after each close into wanted weights.
3. `kernel.simulate` trades towards them at the next open, within the participation cap, and keeps
   cash and shares session by session; `round_trips` works out the trades from its orders.
4. `result` and `performance` turn its records into frames and metrics, when they are asked for.

Time contract: a score dated t was known after the close of session t. It is sized at that close,
fills at the open of t+1 and earns from there. A run starts at the first session with a usable score
and ends one holding period after the last one (or with the panel).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from quant_engine.backtest.book_inputs import BookInputs, parse_book
from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.inputs import Signals, allowed_sides, parse_scores
from quant_engine.backtest.kernel_state import Run, market_reasons
from quant_engine.backtest.portfolio import TargetWeights, target_weights
from quant_engine.backtest.result import BacktestResult, RunContext
from quant_engine.backtest.round_trips import run_weights
from quant_engine.backtest.rules import RuleConfig
from quant_engine.backtest.rules_inputs import (
    RuleInputs,
    build_account,
    build_rule_market,
    build_rule_numbers,
    build_rule_signals,
    check_fields,
    parse_rule_inputs,
)
from quant_engine.backtest.rules_kernel import simulate_rules
from quant_engine.backtest.rules_result import RuleBacktestResult
from quant_engine.backtest.rules_state import RULE_REASONS, RULE_STATUSES, make_desk
from quant_engine.backtest.run_costs import Costs
from quant_engine.backtest.sizing import sized_targets
from quant_engine.backtest.trading import check_targets, simulated_rows
from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.panel import Panel
from quant_engine.risk.limits import regime_scale


class Backtester:
    """Simulates a book that follows scores, by target weights or by rules.

    Parameters
    ----------
    config : BacktestConfig
        What is simulated.

    Examples
    --------
    >>> from quant_engine.backtest.portfolio import PortfolioConfig
    >>> from quant_engine.core.panel import TimeAxis
    >>> from quant_engine.execution.costs import CostProfile
    >>> prices = np.array([[10.0, 10.0], [10.0, 10.0], [11.0, 9.0]])
    >>> panel = Panel(
    ...     TimeAxis.sessions(["2020-01-02", "2020-01-03", "2020-01-06"]),
    ...     ("A@US#1", "B@US#1"),
    ...     {"open": prices, "close": prices, "volume": np.full((3, 2), 1e6)},
    ... )
    >>> book = PortfolioConfig(names_per_side=1, max_weight_frac=1.0)
    >>> free = CostProfile(
    ...     name="free", fee_bps=0, half_spread_bps=0, impact_coef_bps=0, borrow_bps_ann=0,
    ...     participation_cap_frac=None,
    ... )
    >>> scores = np.array([[1.0, -1.0], [1.0, -1.0], [1.0, -1.0]])
    >>> result = Backtester(BacktestConfig(portfolio=book)).run(scores, panel, costs=free)
    >>> result.daily["ret_net"].round(6).tolist()
    [0.0, 0.1]
    """

    def __init__(self, config: BacktestConfig) -> None:
        self.config = config

    def run(
        self,
        scores: pd.DataFrame | FloatMatrix,
        panel: Panel,
        *,
        costs: Costs,
        delistings: pd.DataFrame | None = None,
        regimes: pd.DataFrame | None = None,
        benchmark_returns: pd.Series | FloatVector | None = None,
        symbol_changes: pd.DataFrame | None = None,
    ) -> BacktestResult:
        """Simulate the book and measure it.

        Parameters
        ----------
        scores : DataFrame or ndarray
            Long frame with date, asset_id, score (columns or index levels for the first two) and
            optional expected_return_frac and confidence; or an array of shape (T, N) like the
            panel. Higher is better; NaN = no opinion. Row t = known after the close of t.
        panel : Panel
            Market of sessions or bars, split-adjusted, or raw beside its splits; see
            `inputs.parse_panel`. NaN = not traded.
        costs : CostProfile or CostModel
            Cost of trading.
        delistings : DataFrame, optional
            asset_id, session, terminal_return, reason; see `execution.parse_delistings`.
        regimes : DataFrame indexed by session, optional
            Column ``regime``, filtered labels known at each close.
        benchmark_returns : Series indexed by session or ndarray of shape (T,), optional
            Simple close-to-close returns of the benchmark; NaN = not available.
        symbol_changes : DataFrame, optional
            from_asset, to_asset, session, ratio; see `trading.parse_symbol_changes`. A position
            goes on under the new id.

        Returns
        -------
        BacktestResult
            Frames, metrics and the identity of config and costs.

        Raises
        ------
        QuantEngineError
            DataError and its kinds for inputs that cannot be aligned or used (duplicates, unknown
            assets, dates off the panel, no finite score, no volume), ConfigError for settings that
            do not fit the panel, LookAheadError when no decision has a next session.
        """
        inputs = parse_book(
            panel,
            config=self.config,
            costs=costs,
            delistings=delistings,
            regimes=regimes,
            benchmark_returns=benchmark_returns,
            symbol_changes=symbol_changes,
        )
        return run_book(inputs, scores)

    def run_signals(
        self,
        scores: pd.DataFrame | FloatMatrix,
        panel: Panel,
        *,
        rules: RuleConfig,
        costs: Costs,
        delistings: pd.DataFrame | None = None,
        regimes: pd.DataFrame | None = None,
        benchmark_returns: pd.Series | FloatVector | None = None,
    ) -> RuleBacktestResult:
        """Simulate rules that open and close positions on a signal, and measure the run.

        Of the configuration, `portfolio` and `fill` are not read: the rules size and fill. The
        run starts at the first close with a usable score and ends with the panel.

        Parameters
        ----------
        scores : DataFrame or ndarray
            As for :meth:`run`; ``entry_min`` of the rules is in their unit.
        panel : Panel
            As for :meth:`run`, and the optional fields of `rules_inputs.parse_rule_panel`.
        rules : RuleConfig
            Entries, sizes and exits; how bars decide is in `quant_engine.backtest.rules`.
        costs : CostProfile or CostModel
            Cost of trading.
        delistings : DataFrame, optional
            asset_id, session, terminal_return, reason.
        regimes : DataFrame indexed by session, optional
            Column ``regime``, filtered labels known at each close.
        benchmark_returns : Series indexed by session or ndarray of shape (T,), optional
            Simple close-to-close returns; NaN = not available.

        Returns
        -------
        RuleBacktestResult
            Frames, metrics and the identity of config, rules and costs.

        Raises
        ------
        QuantEngineError
            As :meth:`run`, MissingFieldError for rules whose fields the panel lacks, and
            ConfigError for settings of target weights beside rules.

        Examples
        --------
        >>> from quant_engine.core.panel import TimeAxis
        >>> from quant_engine.execution.costs import CostProfile
        >>> close = np.array([[10.0], [10.0], [12.0], [12.0]])
        >>> fields = {"open": close, "high": close, "low": close, "close": close}
        >>> panel = Panel(
        ...     TimeAxis.sessions(["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07"]),
        ...     ("A@US#1",),
        ...     {**fields, "volume": np.full((4, 1), 1e6)},
        ... )
        >>> free = CostProfile(
        ...     name="free", fee_bps=0, half_spread_bps=0, impact_coef_bps=0, borrow_bps_ann=0,
        ...     participation_cap_frac=None,
        ... )
        >>> rules = RuleConfig(max_positions=1, position_frac=1.0, profit_target_frac=0.1)
        >>> scores = np.array([[0.02], [0.0], [0.0], [0.0]])
        >>> result = Backtester(BacktestConfig()).run_signals(
        ...     scores, panel, rules=rules, costs=free
        ... )
        >>> result.trades[["entry_price", "exit_price", "exit_reason"]].values.tolist()
        [[10.0, 12.0, 'profit_target']]
        """
        inputs = parse_rule_inputs(
            scores,
            panel,
            config=self.config,
            costs=costs,
            delistings=delistings,
            regimes=regimes,
            benchmark_returns=benchmark_returns,
        )
        return run_rules(inputs, rules)


def run_book(inputs: BookInputs, scores: pd.DataFrame | FloatMatrix) -> BacktestResult:
    """Simulate target weights on a parsed market.

    Parameters
    ----------
    inputs : BookInputs
        Market, account and costs.
    scores : DataFrame or ndarray
        As :meth:`Backtester.run` takes them; an array is in the caller's order of assets.

    Returns
    -------
    BacktestResult
        Records of the run, and what is made of them when asked for.

    Raises
    ------
    QuantEngineError
        As :meth:`Backtester.run`, for scores that cannot be aligned or traded.
    """
    config, panel = inputs.config, inputs.panel
    signals = parse_scores(scores, panel, inputs.source.asset_ids)
    targets = _targets(inputs, signals)
    check_targets(targets.weights, max_gross_frac=config.trading.max_gross_frac)
    rows = simulated_rows(
        targets.decision_rows,
        len(panel.time),
        holding_sessions=config.portfolio.rebalance_sessions,
        unsafe_same_bar=config.unsafe_same_bar,
    )
    market = inputs.market(rows)
    run = run_weights(
        market, targets.weights[rows], targets.tranche[rows], targets.n_tranches, inputs.rules()
    )
    has_margin = config.trading.maintenance_margin_frac is not None
    context = _context(inputs, signals, rows, market_reasons(market, has_margin))
    return BacktestResult(run, context, inputs.costs.name, inputs.costs.costs_id)


def _targets(inputs: BookInputs, signals: Signals) -> TargetWeights:
    config, panel, size = inputs.config, inputs.panel, None
    allowed_long, allowed_short = allowed_sides(signals, panel, config)
    if config.regime_size is not None:
        size = regime_scale(inputs.regimes, config.regime_size)
    chosen = target_weights(
        signals.score,
        config=config.portfolio,
        asset_ids=panel.asset_ids,
        allowed_long=allowed_long,
        allowed_short=allowed_short,
        size_multiplier=None if config.sizing else size,
    )
    if config.sizing is None:
        return chosen
    return sized_targets(chosen, panel, config=config, sizing=config.sizing, regime_factor=size)


def run_rules(inputs: RuleInputs, rules: RuleConfig) -> RuleBacktestResult:
    """Simulate rules on parsed inputs, with all records.

    Parameters
    ----------
    inputs : RuleInputs
        Aligned scores, market and account.
    rules : RuleConfig
        The rules.

    Returns
    -------
    RuleBacktestResult
        Frames, metrics and identity.

    Raises
    ------
    MissingFieldError
        The panel lacks a field that the rules need.
    """
    check_fields(rules, inputs.panel)
    rows = inputs.rows(rules)
    shape = inputs.panel.rows(rows.start, rows.stop).shape
    desk = make_desk(*shape, rules.max_positions)
    positions = np.zeros(shape)
    n_rows, orders, trades = simulate_rules(
        build_rule_market(inputs, rules.fill, rows),
        build_rule_signals(inputs, rows),
        build_rule_numbers(rules, inputs.costs.profile),
        build_account(inputs),
        desk,
        positions,
        True,
    )
    context = replace(_context(inputs, inputs.signals, rows, RULE_REASONS), statuses=RULE_STATUSES)
    run = Run(desk.daily, positions, n_rows, orders, trades)
    return RuleBacktestResult(run, context, inputs.costs.name, inputs.costs.costs_id, rules)


def _context(
    inputs: BookInputs | RuleInputs, signals: Signals, rows: slice, reasons: tuple[str, ...]
) -> RunContext:
    """What frames need of the simulated rows, and no more: a result keeps it alive."""
    panel, benchmark = inputs.panel, inputs.benchmark_returns
    kept = Panel(
        panel.time, panel.asset_ids, {"close": panel.field("close")}, {}, panel.groups,
        panel.price_basis,
    )  # fmt: skip
    return RunContext(
        kept.rows(rows.start, rows.stop),
        _cut(signals, rows),
        inputs.regimes[rows],
        None if benchmark is None else benchmark[rows],
        inputs.config,
        reasons,
    )


def _cut(signals: Signals, rows: slice) -> Signals:
    expected, confidence = signals.expected_return_frac, signals.confidence
    return Signals(
        signals.score[rows],
        None if expected is None else expected[rows],
        None if confidence is None else confidence[rows],
    )
