"""Parse what a run of trading rules is given.

The same market and scores as target weights take, and beside them the fields that rules alone read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.inputs import (
    Signals,
    allowed_sides,
    build_market,
    check_fillable,
    parse_panel,
    parse_regimes,
    parse_scores,
    parse_series,
)
from quant_engine.backtest.rules import RuleConfig
from quant_engine.backtest.rules_state import RuleMarket, RuleNumbers, RuleSignals
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

RULE_FIELDS = ("high", "low", "atr", "borrow_bps_ann")
"""Optional fields of a panel that rules read."""

_NONE = np.empty((0, 0))
_NO_MASK = np.empty((0, 0), dtype=np.bool_)
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
    costs : CostProfile
        Cost of trading.
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
    costs: CostProfile

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
    costs: CostProfile,
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
        Thresholds, size by regime, assumptions on delistings.
    costs : CostProfile
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
    """
    parsed = parse_rule_panel(panel)
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
        np.argsort(-np.abs(signals.score), axis=1, kind="stable").astype(np.int32),
        labels,
        size,
        parse_series("benchmark_returns", benchmark_returns, parsed),
        parse_delistings(delistings, parsed, config.terminal),
        config,
        costs,
    )


def parse_rule_panel(panel: Panel) -> Panel:
    """Return the part of a panel that rules read, assets in ascending order of id.

    Parameters
    ----------
    panel : Panel
        As :func:`quant_engine.backtest.inputs.parse_panel` takes it, and optional fields ``high``
        and ``low`` (currency), ``atr`` (currency, known at the close of its row),
        ``borrow_bps_ann`` (annual fee of the session, instead of the cost profile's) and mask
        ``shortable`` (whether shares can be borrowed, as known at the close). NaN = not known.

    Returns
    -------
    Panel
        float64 fields.

    Raises
    ------
    DataError
        A traded bar whose high and low do not enclose open and close, or a negative borrow fee.
    """
    parsed = parse_panel(panel)
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
    if "borrow_bps_ann" in extra and (extra["borrow_bps_ann"] < 0.0).any():
        raise DataError(
            "panel.borrow_bps_ann",
            wanted="fees of at least 0 bps a year",
            got=float(np.nanmin(extra["borrow_bps_ann"])),
            hint="A rebate is not a fee; clip it to 0.",
        )
    masks = {}
    if "shortable" in panel.masks:
        masks["shortable"] = np.ascontiguousarray(panel.mask("shortable")[:, order])
    return parsed.with_fields({**parsed.fields, **extra}).with_masks({**parsed.masks, **masks})


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
    market = build_market(panel, inputs.delistings, inputs.costs, rows)
    cut = {name: _view(panel.fields[name][rows]) for name in RULE_FIELDS if name in panel.fields}
    high, low = cut.get("high", _view(_NONE)), cut.get("low", _view(_NONE))
    price = {"next_open": market.open, "next_close": market.close}.get(fill)
    if price is None:
        price = _view((high + low + market.close) / 3.0)
    shortable = panel.masks.get("shortable")
    return RuleMarket(
        market=market,
        high=high,
        low=low,
        fill=price,
        mark=_view(_last_known(market.close)),
        idle=_view(_idle_sessions(market.can_trade)),
        atr=cut.get("atr", _view(_NONE)),
        borrow_bps_ann=cut.get("borrow_bps_ann", _view(_NONE)),
        shortable=_view(_NO_MASK if shortable is None else shortable[rows]),
    )


def _view(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A read-only view in C order, so that the compiler sees one type per array."""
    view = np.ascontiguousarray(array).view()
    view.setflags(write=False)
    return view


def _last_known(close: FloatMatrix) -> FloatMatrix:
    mark = np.array(close, dtype=np.float64)
    for t in range(1, len(mark)):
        np.copyto(mark[t], mark[t - 1], where=~np.isfinite(mark[t]))
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
        borrow_multiplier=costs.stress_multiplier,
        stop_factor=np.array([*factor, 1.0]),
        entry_regime=np.array([label in regimes for label in (0, 1, 2, 3, -1)]),
    )
