"""Funnel: how many scores were left after each condition of an entry, to say why nothing traded.

A run without a trade is no track record. Whoever reports it says which condition left nothing, and
how near the best score came.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quant_engine.backtest.inputs import Signals, parse_panel, parse_scores
from quant_engine.backtest.rules import RuleConfig
from quant_engine.backtest.rules_inputs import parse_rule_panel
from quant_engine.backtest.simulation import Simulation
from quant_engine.core.arrays import BoolMatrix, FloatMatrix
from quant_engine.core.panel import Panel

__all__ = ["Condition", "entry_funnel", "why_nothing_traded"]


@dataclass(frozen=True)
class Condition:
    """A condition of an entry.

    Parameters
    ----------
    wanted : str
        In words.
    n_left : int
        Scores that meet it and every condition before it.
    nearest : str
        How near the others came; empty where that says nothing.
    """

    wanted: str
    n_left: int
    nearest: str = ""


def entry_funnel(simulation: Simulation) -> tuple[Condition, ...]:
    """Count the scores that meet the conditions of an entry, one condition after another.

    Parameters
    ----------
    simulation : Simulation
        Scores, market, thresholds and rules.

    Returns
    -------
    tuple of Condition
        In the order in which a run asks; the first counts all finite scores.

    Raises
    ------
    QuantEngineError
        For scores and markets that a run refuses as well.

    Examples
    --------
    >>> import pandas as pd
    >>> from quant_engine.backtest.config import BacktestConfig
    >>> from quant_engine.core.panel import TimeAxis
    >>> from quant_engine.execution.costs import CostProfile
    >>> prices = np.full((2, 1), 10.0)
    >>> panel = Panel(
    ...     TimeAxis.sessions(["2020-01-02", "2020-01-03"]), ("A@US#1",),
    ...     {"open": prices, "close": prices, "volume": np.full((2, 1), 1e6)},
    ... )
    >>> scores = pd.DataFrame(
    ...     {"date": pd.to_datetime(["2020-01-02"]), "asset_id": ["A@US#1"], "score": [0.001]}
    ... )
    >>> run = Simulation(scores, panel, CostProfile(name="x"), BacktestConfig(), rules=RuleConfig())
    >>> [condition.n_left for condition in entry_funnel(run)]
    [1, 1, 1, 0]
    """
    parsed = (parse_panel if simulation.rules is None else parse_rule_panel)(simulation.panel)
    signals = parse_scores(simulation.scores, parsed, simulation.panel.asset_ids)
    left = np.isfinite(signals.score)
    found = [Condition("a score", int(left.sum()))]
    left = left & parsed.mask("member")
    found.append(Condition("a member of the universe that day", int(left.sum())))
    left = left & parsed.mask("tradable")
    found.append(Condition("a bar with volume that day", int(left.sum())))
    found += _thresholds(simulation, signals, left)
    return tuple(found)


def _thresholds(simulation: Simulation, signals: Signals, left: BoolMatrix) -> list[Condition]:
    config, rules = simulation.config, simulation.rules
    found = []
    if config.min_confidence is not None and signals.confidence is not None:
        held, best = left, _highest(signals.confidence, left)
        left = held & (np.nan_to_num(signals.confidence, nan=-1.0) >= config.min_confidence)
        wanted = f"a confidence of at least {config.min_confidence:g}"
        found.append(Condition(wanted, int(left.sum()), f"the highest is {best:.4g}"))
    expected = signals.expected_return_frac
    if config.min_expected_return_frac is not None and expected is not None:
        limit, best = config.min_expected_return_frac, _highest(np.abs(expected), left)
        left = left & (np.nan_to_num(np.abs(expected)) >= limit)
        wanted = f"an expected return of at least {limit:g} either way"
        found.append(Condition(wanted, int(left.sum()), f"the largest is {best:.4g}"))
    if rules is not None:
        found += _rule_conditions(rules, signals, simulation.panel, left)
    return found


def _rule_conditions(
    rules: RuleConfig, signals: Signals, panel: Panel, left: BoolMatrix
) -> list[Condition]:
    side = {"long": signals.score, "short": -signals.score, "both": np.abs(signals.score)}
    strength, best = side[rules.sides], _highest(side[rules.sides], left)
    left = left & (np.nan_to_num(strength, nan=-np.inf) >= rules.entry_min)
    wanted = f"a score of at least {rules.entry_min:g} ({rules.sides})"
    found = [Condition(wanted, int(left.sum()), f"the strongest is {best:.4g}")]
    if rules.needs_atr and "atr" in panel.fields:
        known = (np.asarray(panel.field("atr"), dtype=np.float64) > 0.0).sum()
        found.append(Condition("an ATR", int(left.sum()) if known else 0))
    return found


def _highest(values: FloatMatrix, left: BoolMatrix) -> float:
    known = values[left & np.isfinite(values)]
    return float(known.max()) if known.size else float("nan")


def why_nothing_traded(funnel: tuple[Condition, ...], statuses: dict[str, int]) -> str:
    """Say in one sentence why a run has no trade.

    Parameters
    ----------
    funnel : tuple of Condition
        Of :func:`entry_funnel`.
    statuses : dict of str to int
        Orders of the run by what became of them.

    Returns
    -------
    str
        The first condition that nothing met, else what became of the orders.

    Examples
    --------
    >>> why_nothing_traded((Condition("a score", 7), Condition("a bar", 0)), {})
    'of 7 scores none has a bar'
    >>> why_nothing_traded((Condition("a score", 7),), {"adv_unknown": 3})
    'none of 3 orders filled: adv_unknown 3'
    >>> why_nothing_traded((Condition("a score", 7),), {})
    '7 scores meet every condition, and no order was written'
    """
    before = funnel[0].n_left
    for condition in funnel:
        if condition.n_left == 0:
            near = f"; {condition.nearest}" if condition.nearest else ""
            return f"of {before} scores none has {condition.wanted}{near}"
        before = condition.n_left
    if statuses:
        counts = ", ".join(f"{name} {number}" for name, number in statuses.items())
        return f"none of {sum(statuses.values())} orders filled: {counts}"
    return f"{before} scores meet every condition, and no order was written"
