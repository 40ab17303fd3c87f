"""Rules of a backtest: read from ``specs/rules``, given what they need, and traded on a run.

A rule compares a score with a threshold. Where its unit is a return, the score that is traded is
the run's ``expected_return_frac``; where it is a score, the model's own.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from quant_engine.backtest.random_scores import RandomScores, randomised
from quant_engine.backtest.rules import RuleConfig
from quant_engine.core.config import FrozenConfig
from quant_engine.core.panel import Panel
from quant_engine.core.specs import SpecCatalog, build_config
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.workflows.config import section_of
from quant_engine.workflows.run_registry import RunRecord

__all__ = ["RuleSpec", "TradedRules", "resolve_rules", "rule_panel", "rule_scores", "take_rules"]

ATR = "ATR($high, $low, $close, 14)"
"""Average true range of the feature catalogue, in currency, known at the close."""

SPECS = "rules"


class RuleSpec(FrozenConfig):
    """A file of ``specs/rules``.

    Parameters
    ----------
    name : str
        Display name.
    base : {"plain", "risk_managed"}
        `RuleConfig` with its defaults, or `RuleConfig.risk_managed`.
    unit : {"return", "score"}
        What ``entry_min`` and ``exit_score`` are compared with: the expected return over the
        horizon (fraction), or the model's score.
    min_confidence : float, optional
        Least confidence of a prediction that may open a position.
    hold_label_horizon : bool
        Hold as long as the labels look ahead, unless the settings say otherwise.
    settings : dict
        Fields of `RuleConfig` that differ from the base.

    Examples
    --------
    >>> RuleSpec(name="mine", base="plain").rules({}).max_positions
    20
    """

    name: str = Field(min_length=1)
    base: Literal["plain", "risk_managed"]
    unit: Literal["return", "score"] = "return"
    min_confidence: float | None = Field(default=None, ge=0.0, le=1.0)
    hold_label_horizon: bool = False
    settings: dict[str, Any] = Field(default_factory=dict)

    def rules(self, changes: dict[str, Any], *, horizon_sessions: int | None = None) -> RuleConfig:
        """Build the rules.

        Parameters
        ----------
        changes : dict
            Fields of `RuleConfig` that somebody gave; they win.
        horizon_sessions : int, optional
            Horizon of the labels.

        Returns
        -------
        RuleConfig
            Complete.

        Raises
        ------
        ConfigError
            For an unknown field, with the nearest names, or a value that the rules refuse.
        """
        base = RuleConfig() if self.base == "plain" else RuleConfig.risk_managed()
        content = base.content()
        if self.hold_label_horizon and horizon_sessions is not None:
            content["holding_sessions"] = horizon_sessions
        content |= {**self.settings, **changes}
        return build_config(RuleConfig, content, where=f"rules {self.name}")


class TradedRules(FrozenConfig):
    """Rules of one backtest, complete.

    Parameters
    ----------
    settings : RuleConfig
        Entries, sizes and exits.
    unit : {"return", "score"}
        Which score is traded.
    random : RandomScores, optional
        Hand the scores out at random first; for demonstrations.

    Examples
    --------
    >>> TradedRules().unit
    'return'
    """

    settings: RuleConfig = RuleConfig()
    unit: Literal["return", "score"] = "return"
    random: RandomScores | None = Field(default=None, exclude_if=lambda value: value is None)


def take_rules(
    overrides: dict[str, Any], catalog: SpecCatalog, run: RunRecord
) -> tuple[dict[str, Any], TradedRules | None]:
    """Take the section of rules out of the settings of a backtest.

    Parameters
    ----------
    overrides : dict
        Nested settings. Section ``rules`` holds ``name`` (a spec), ``settings`` (fields of
        `RuleConfig` that differ from it) and ``unit``; without a name, `RuleConfig` is the start.
    catalog : SpecCatalog
        Shipped specs and those of the working folder.
    run : RunRecord
        What is traded; its horizon may be the holding period.

    Returns
    -------
    dict
        The other settings, with the spec's least confidence where nobody gave another.
    TradedRules or None
        None = target weights are traded.

    Raises
    ------
    ConfigError
        For an unknown spec or setting.
    """
    others = {name: value for name, value in overrides.items() if name != SPECS}
    if not overrides.get(SPECS):
        return others, None
    given = section_of(overrides, SPECS)
    name = given.pop("name", None)
    if name is None:
        return others, build_config(TradedRules, given, where="settings: rules")
    spec = catalog.load(SPECS, str(name), RuleSpec)
    if spec.min_confidence is not None:
        book = section_of(others, "backtest")
        book.setdefault("min_confidence", spec.min_confidence)
        others["backtest"] = book
    return others, resolve_rules(spec, given, run.horizon_sessions)


def resolve_rules(spec: RuleSpec, given: dict[str, Any], horizon_sessions: int) -> TradedRules:
    """Complete the rules of a spec.

    Parameters
    ----------
    spec : RuleSpec
        The start.
    given : dict
        Fields of `TradedRules` that somebody gave.
    horizon_sessions : int
        Horizon of the labels.

    Returns
    -------
    TradedRules
        Complete.

    Raises
    ------
    ConfigError
        For an unknown setting.
    """
    changes = section_of(given, "settings")
    rules = spec.rules(changes, horizon_sessions=horizon_sessions)
    content = {"unit": spec.unit, **given, "settings": rules.content()}
    return build_config(TradedRules, content, where="settings: rules")


def rule_panel(panel: Panel, rules: RuleConfig) -> Panel:
    """Give a market the indicators that rules read.

    Parameters
    ----------
    panel : Panel
        Market (T, N) with high, low and close.
    rules : RuleConfig
        Says what is needed.

    Returns
    -------
    Panel
        With a field ``atr`` (currency, known at the close of its row; NaN = not known yet) where
        the rules have ATR stops.

    Raises
    ------
    MissingFieldError
        The panel lacks high or low.
    """
    if not rules.needs_atr or "atr" in panel.fields:
        return panel
    program = compile_expressions({"atr": ATR})
    made = program.run(panel, dtype=np.float64, allow_short=True)
    return panel.with_fields({**panel.fields, "atr": made.field("atr")})


def rule_scores(scores: pd.DataFrame, traded: TradedRules) -> pd.DataFrame:
    """Put the score that the rules compare into the column ``score``.

    Parameters
    ----------
    scores : DataFrame
        ``date, asset_id, score, expected_return_frac, confidence``.
    traded : TradedRules
        Unit of the rules.

    Returns
    -------
    DataFrame
        The same columns.
    """
    if traded.unit == "return":
        scores = scores.assign(score=scores["expected_return_frac"])
    return scores if traded.random is None else randomised(scores, traded.random)
