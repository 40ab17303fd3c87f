"""Parse what a run of trading rules is given.

The same market and scores as target weights take, and beside them the fields that rules alone read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.inputs import (
    Signals,
    allowed_sides,
    build_market,
    build_rules,
    check_fillable,
    parse_panel,
    parse_regimes,
    parse_scores,
    parse_series,
)
from quant_engine.backtest.kernel_state import Rules
from quant_engine.backtest.rules import RuleConfig
from quant_engine.backtest.rules_state import RuleMarket, RuleNumbers, RuleSignals
from quant_engine.backtest.run_costs import (
    Costs,
    RunCosts,
    costed_market,
    costed_rules,
    parse_costs,
)
from quant_engine.backtest.trading import check_market, traded_rules
from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
from quant_engine.core.errors import (
    ConfigError,
    DataError,
    EmptyDataError,
    MissingFieldError,
)
from quant_engine.core.ids import id_order
from quant_engine.core.panel import Panel
from quant_engine.execution.costs import CostProfile
from quant_engine.execution.delistings import NEVER, Delistings, parse_delistings
from quant_engine.stats.ordering import row_order

RULE_FIELDS = ("high", "low", "atr")
"""Optional fields of a panel that rules read."""

_NONE = np.empty((0, 0))
_SIDES = {"long": 1, "both": 0, "short": -1}


@dataclass(frozen=True, eq=False)
class RuleInputs:
    """Everything that a run of rules reads, aligned; runs with other rules share it.

    Parameters
    ----------
    panel : Panel
        Parsed market with the optional fields of rules.
    signals : Signals
        Scores.
    allowed_long, allowed_short : ndarray of bool, shape (T, N)
        Sides that thresholds and membership allow at each close.
    order : ndarray of int32, shape (T, N)
        Columns by falling absolute score, equal ones by asset id, absent ones last.
    regimes : ndarray of int64, shape (T,)
        Label known at each close, -1 = unknown.
    size : ndarray of float64, shape (T,)
        Factor on new positions.
    benchmark_returns : ndarray of float64, shape (T,), or None
        Per session.
    delistings : Delistings
        On the panel's rows.
    config : BacktestConfig
        Settings of the account.
    costs : RunCosts
        Cost of trading, on the panel's rows.
    """

    panel: Panel
    signals: Signals
    allowed_long: BoolMatrix
    allowed_short: BoolMatrix
    order: npt.NDArray[np.int32]
    regimes: npt.NDArray[np.int64]
    size: FloatVector
    benchmark_returns: FloatVector | None
    delistings: Delistings
    config: BacktestConfig
    costs: RunCosts

    def rows(self, rules: RuleConfig) -> slice:
        """Simulated rows, from the first close with a usable score to the end of the panel.

        Parameters
        ----------
        rules : RuleConfig
            A fill on the deciding bar needs one more row in front, for the starting capital.

        Returns
        -------
        slice
            Of the panel's rows.

        Raises
        ------
        EmptyDataError
            No finite score of an eligible asset.
        LookAheadError
            Only the last session decides.
        ConfigError
            Fills on the deciding bar, and the first session of the panel already decides.
        """
        allowed = self.allowed_long | self.allowed_short
        decisions = np.flatnonzero((np.isfinite(self.signals.score) & allowed).any(axis=1))
        if decisions.size == 0:
            raise EmptyDataError(
                "scores",
                wanted="at least one finite score of an eligible asset",
                got="none",
                hint="Check that scores fall on sessions where the asset is a member and trades.",
            )
        if not rules.unsafe_same_bar:
            check_fillable(decisions, self.panel.shape[0])
            return slice(int(decisions[0]), self.panel.shape[0])
        if decisions[0] == 0:
            raise ConfigError(
                "unsafe_same_bar",
                wanted="a session before the first score",
                got="scores from the panel's first session on",
                hint="Drop the scores of the first session.",
            )
        return slice(int(decisions[0]) - 1, self.panel.shape[0])


def parse_rule_inputs(
    scores: pd.DataFrame | FloatMatrix,
    panel: Panel,
    *,
    config: BacktestConfig,
    costs: Costs,
    delistings: pd.DataFrame | None = None,
    regimes: pd.DataFrame | None = None,
    benchmark_returns: pd.Series | FloatVector | None = None,
) -> RuleInputs:
    """Align scores, market and everything beside them.

    Parameters
    ----------
    scores : DataFrame or ndarray
        As :func:`quant_engine.backtest.inputs.parse_scores` takes them.
    panel : Panel
        As :func:`parse_rule_panel` takes it.
    config : BacktestConfig
        Thresholds, size by regime, assumptions on delistings, lots and smallest order.
    costs : CostProfile or CostModel
        Cost of trading.
    delistings, regimes : DataFrame, optional
        As for target weights.
    benchmark_returns : Series or ndarray of shape (T,), optional
        Simple returns; NaN = not available.

    Returns
    -------
    RuleInputs
        Arrays of the panel's shape in asset-id order.

    Raises
    ------
    DataError
        And its kinds, where something cannot be aligned.
    ConfigError
        Settings of target weights that rules have of their own, or that do not fit the market.
    """
    refuse_settings_of_weights(config)
    parsed = parse_rule_panel(panel)
    charged = parse_costs(costs, panel)
    check_market(parsed, config, charged.profile)
    signals = parse_scores(scores, parsed, panel.asset_ids)
    labels = parse_regimes(regimes, parsed)
    size = np.ones(parsed.shape[0])
    if config.regime_size is not None:
        # The last entry serves label -1: an unknown regime keeps the full size.
        size = np.asarray((*config.regime_size, 1.0))[labels]
    allowed_long, allowed_short = allowed_sides(signals, parsed, config)
    return RuleInputs(
        parsed,
        signals,
        allowed_long,
        allowed_short,
        _strongest_first(signals),
        labels,
        size,
        parse_series("benchmark_returns", benchmark_returns, parsed),
        parse_delistings(delistings, parsed, config.terminal),
        config,
        charged,
    )


def refuse_settings_of_weights(config: BacktestConfig) -> None:
    """Refuse what rules would not read, because a setting without effect misleads.

    Parameters
    ----------
    config : BacktestConfig
        Settings of the account beside rules.

    Raises
    ------
    ConfigError
        A sizing, or a fill, margin or largest book, which rules have of their own.

    Examples
    --------
    >>> refuse_settings_of_weights(BacktestConfig(fill="next_close"))
    Traceback (most recent call last):
    ...
    quant_engine.core.errors.ConfigError: backtest.fill: wanted no fill beside rules, got both. \
Rules and grids have one of their own: rules.settings.fill.
    """
    trading = config.trading
    own = "Rules and grids have one of their own: rules.settings."
    for name, is_given, hint in (
        ("sizing", config.sizing is not None,
         "Rules size by position_frac and max_gross_frac; sizing is of target weights."),
        ("fill", config.fill != "next_open", f"{own}fill."),
        ("unsafe_same_bar", config.unsafe_same_bar, f"{own}unsafe_same_bar."),
        ("trading.maintenance_margin_frac", trading.maintenance_margin_frac is not None,
         f"{own}maintenance_margin_frac."),
        ("trading.max_gross_frac", trading.max_gross_frac is not None, f"{own}max_gross_frac."),
    ):  # fmt: skip
        if is_given:
            raise ConfigError(
                f"backtest.{name}", wanted=f"no {name} beside rules", got="both", hint=hint
            )


def rescored(
    inputs: RuleInputs,
    scores: pd.DataFrame | FloatMatrix,
    asset_ids: Sequence[str] | None = None,
) -> RuleInputs:
    """Replace the scores and what follows from them.

    Parameters
    ----------
    inputs : RuleInputs
        Aligned inputs.
    scores : DataFrame or ndarray
        As for :func:`parse_rule_inputs`.
    asset_ids : sequence of str, length N, optional
        Column order of an array; the parsed panel's by default.

    Returns
    -------
    RuleInputs
        On the same market.

    Raises
    ------
    DataError
        And its kinds, for scores that cannot be aligned.
    """
    signals = parse_scores(scores, inputs.panel, asset_ids or inputs.panel.asset_ids)
    allowed_long, allowed_short = allowed_sides(signals, inputs.panel, inputs.config)
    return replace(
        inputs,
        signals=signals,
        allowed_long=allowed_long,
        allowed_short=allowed_short,
        order=_strongest_first(signals),
    )


def _strongest_first(signals: Signals) -> npt.NDArray[np.int32]:
    score = signals.score
    # Zero is added because an order of rows takes no -0.0.
    known = np.where(np.isfinite(score), -np.abs(score) + 0.0, np.nan)
    return row_order(known)[0]


def parse_rule_panel(panel: Panel) -> Panel:
    """Return the part of a panel that rules read, assets in ascending order of id.

    Parameters
    ----------
    panel : Panel
        As :func:`quant_engine.backtest.inputs.parse_panel` takes it, and optional fields ``high``
        and ``low`` (currency) and ``atr`` (currency, known at the close of its row). NaN = not
        known.

    Returns
    -------
    Panel
        float64 fields.

    Raises
    ------
    DataError
        A traded bar whose high and low do not enclose open and close.
    """
    parsed = parse_panel(panel, accepts_raw=True)
    order = id_order(panel.asset_ids)
    extra = {
        name: np.ascontiguousarray(np.asarray(panel.field(name), np.float64)[:, order])
        for name in RULE_FIELDS
        if name in panel.fields
    }
    if ("high" in extra) != ("low" in extra):
        raise MissingFieldError(
            "panel", wanted="high and low together", got=sorted(extra), hint="Add the other field."
        )
    if "high" in extra:
        _check_range(parsed, extra["high"], extra["low"])
    return parsed.with_fields({**parsed.fields, **extra})


def _check_range(parsed: Panel, high: FloatMatrix, low: FloatMatrix) -> None:
    opened, close = parsed.field("open"), parsed.field("close")
    encloses = (high >= np.maximum(opened, close)) & (low <= np.minimum(opened, close)) & (low > 0)
    wrong = parsed.mask("tradable") & ~encloses
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            "panel high and low",
            wanted="low <= open, close <= high and low > 0 in every traded bar",
            got=f"{int(wrong.sum())} other bars, first ({parsed.time.values[row]}, "
            f"{parsed.asset_ids[column]})",
            hint="Repair the bars, or leave them out of the tradable mask.",
        )


def check_fields(rules: RuleConfig, panel: Panel) -> None:
    """Refuse rules whose fields the panel does not have.

    Parameters
    ----------
    rules : RuleConfig
        The rules.
    panel : Panel
        Of :func:`parse_rule_panel`.

    Raises
    ------
    MissingFieldError
        Stops, a target or the VWAP proxy without high and low, ATR stops without ``atr``.
    """
    wanted = (("high", rules.needs_range), ("atr", rules.needs_atr))
    for name, is_needed in wanted:
        if is_needed and name not in panel.fields:
            raise MissingFieldError(
                "panel",
                wanted=f"a field {name!r} for these rules",
                got=sorted(panel.fields),
                hint="Add high and low of the bars; the ATR is an indicator of the feature "
                "catalogue, in currency.",
            )


def build_rule_market(inputs: RuleInputs, fill: str, rows: slice) -> RuleMarket:
    """Collect the arrays that the kernel reads, for the simulated rows.

    Parameters
    ----------
    inputs : RuleInputs
        Aligned market.
    fill : str
        Where orders fill, of `RuleConfig`.
    rows : slice
        Simulated rows.

    Returns
    -------
    RuleMarket
        Views where possible.
    """
    panel = inputs.panel
    costs = inputs.costs
    market = build_market(panel, inputs.delistings, costs.profile, rows)
    market = costed_market(market, costs, rows)
    cut = {name: _view(panel.fields[name][rows]) for name in RULE_FIELDS if name in panel.fields}
    high, low = cut.get("high", _view(_NONE)), cut.get("low", _view(_NONE))
    price = {"next_open": market.open, "next_close": market.close}.get(fill)
    if price is None:
        price = _view((high + low + market.close) / 3.0)
    return RuleMarket(
        market=market,
        high=high,
        low=low,
        fill=price,
        mark=_view(_last_known(market.close, market.split_ratio)),
        idle=_view(_idle_sessions(market.can_trade)),
        atr=cut.get("atr", _view(_NONE)),
    )


def _view(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A read-only view in C order, so that the compiler sees one type per array."""
    view = np.ascontiguousarray(array).view()
    view.setflags(write=False)
    return view


def _last_known(close: FloatMatrix, split_ratio: FloatMatrix) -> FloatMatrix:
    """Last close, per share of its row: a split before the next close divides it."""
    mark = np.array(close, dtype=np.float64)
    for t in range(1, len(mark)):
        before = mark[t - 1]
        if split_ratio.size > 0:
            before = before / np.nan_to_num(split_ratio[t], nan=1.0)
        np.copyto(mark[t], before, where=~np.isfinite(mark[t]))
    return mark


def _idle_sessions(can_trade: BoolMatrix) -> npt.NDArray[np.int64]:
    idle = np.zeros(can_trade.shape, dtype=np.int64)
    idle[0] = ~can_trade[0]
    for t in range(1, len(idle)):
        idle[t] = np.where(can_trade[t], 0, idle[t - 1] + 1)
    return idle


def build_rule_signals(inputs: RuleInputs, rows: slice) -> RuleSignals:
    """Cut the scores and everything decided with them to the simulated rows.

    Parameters
    ----------
    inputs : RuleInputs
        Aligned scores.
    rows : slice
        Simulated rows.

    Returns
    -------
    RuleSignals
        Views.
    """
    return RuleSignals(
        score=_view(inputs.signals.score[rows]),
        order=_view(inputs.order[rows]),
        allowed_long=_view(inputs.allowed_long[rows]),
        allowed_short=_view(inputs.allowed_short[rows]),
        regime=_view(inputs.regimes[rows]),
        size=_view(inputs.size[rows]),
    )


def build_account(inputs: RuleInputs) -> Rules:
    """Numbers of the account: capital, costs, lots and the smallest order.

    Parameters
    ----------
    inputs : RuleInputs
        Aligned market.

    Returns
    -------
    Rules
        The fill and the margin are those of the rules themselves.
    """
    rules = costed_rules(build_rules(inputs.config, inputs.costs.profile), inputs.costs)
    return traded_rules(rules, inputs.config)


def build_rule_numbers(rules: RuleConfig, costs: CostProfile) -> RuleNumbers:
    """Flatten the rules into the numbers that the kernel takes.

    Parameters
    ----------
    rules : RuleConfig
        The rules.
    costs : CostProfile
        Its smallest fill and its stress.

    Returns
    -------
    RuleNumbers
        0 for absent stops, infinity or `NEVER` for absent limits.
    """
    factor = (1.0,) * 4 if rules.stop_regime_factor is None else rules.stop_regime_factor
    regimes = set(range(-1, 4)) if rules.entry_regimes is None else set(rules.entry_regimes)
    return RuleNumbers(
        sides=_SIDES[rules.sides],
        entry_min=rules.entry_min,
        max_positions=rules.max_positions,
        position_frac=rules.position_frac,
        max_gross_frac=rules.max_gross_frac,
        min_entry_frac=costs.min_fill_frac,
        holding_sessions=NEVER if rules.holding_sessions is None else rules.holding_sessions,
        exit_score=-np.inf if rules.exit_score is None else rules.exit_score,
        hard_stop_frac=rules.hard_stop_frac or 0.0,
        atr_stop_multiple=rules.atr_stop_multiple or 0.0,
        trailing_stop_frac=rules.trailing_stop_frac or 0.0,
        trailing_atr_multiple=rules.trailing_atr_multiple or 0.0,
        trailing_arm_frac=rules.trailing_arm_frac,
        profit_target_frac=rules.profit_target_frac or 0.0,
        exit_on_regime_change=rules.exit_on_regime_change,
        reentry_wait_sessions=rules.reentry_wait_sessions,
        maintenance_margin_frac=rules.maintenance_margin_frac or 0.0,
        needs_atr=rules.needs_atr,
        fill_at_open=rules.fill == "next_open",
        same_bar=rules.unsafe_same_bar,
        stop_factor=np.array([*factor, 1.0]),
        entry_regime=np.array([label in regimes for label in (0, 1, 2, 3, -1)]),
    )
