"""Quality profiles: which rules run, with which limits, and what is done about a hit (data)."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from quant_engine.core.config import FrozenConfig
from quant_engine.data.quality.rules import RULES

__all__ = ["Action", "Context", "QualityProfile", "RuleSetting"]


class Context(StrEnum):
    """When the rules run: on new bars every day, or on history that is complete."""

    DAILY = "daily"
    BACKFILL = "backfill"


class Action(StrEnum):
    """What is done about a hit."""

    REJECT = "reject"
    FIX = "fix"
    WARN = "warn"
    QUARANTINE = "quarantine"


# These look at the next bar, which does not exist yet for the newest one.
_NEEDS_NEXT_BAR = ("spike_reverts",)


class RuleSetting(FrozenConfig):
    """One rule in a profile.

    Parameters
    ----------
    rule : str
        Name in ``data.quality.rules.RULES``.
    action : Action
        ``reject`` drops the row, ``fix`` repairs it as the rule documents, ``warn`` keeps it and
        reports it, ``quarantine`` drops the whole symbol.
    enabled : bool
        Rules that exist and are off stay visible in the profile.
    limits : dict of str to float
        Overrides of the rule's default limits.
    """

    rule: str
    action: Action
    enabled: bool = True
    limits: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> RuleSetting:
        if self.rule not in RULES:
            raise ValueError(f"unknown rule {self.rule!r}; known: {', '.join(RULES)}")
        spec = RULES[self.rule]
        if self.action.value not in spec.actions:
            raise ValueError(f"rule {self.rule} takes {', '.join(spec.actions)}")
        unknown = sorted(set(self.limits) - set(spec.limits))
        if unknown:
            raise ValueError(f"rule {self.rule} has no limit {unknown}; it has {list(spec.limits)}")
        return self

    def merged_limits(self) -> dict[str, float]:
        """Return the rule's limits with this setting's overrides."""
        return {**RULES[self.rule].limits, **self.limits}


class QualityProfile(FrozenConfig):
    """A named set of rule settings.

    Parameters
    ----------
    name : str
        Name of the profile, as in ``specs/quality/NAME.yaml``.
    context : Context
        ``daily`` refuses rules that look at the next bar.
    rules : tuple of RuleSetting
        At most one setting per rule; they run in the catalogue's order, not in this one.
    max_non_session_frac : float
        Above this share of rows on non-sessions the calendar itself is wrong and the load is
        refused: crypto has 2 of 7 days on weekends, a stock file a handful of stray rows.

    Examples
    --------
    >>> profile = QualityProfile(name="mine", context="daily", rules=(
    ...     RuleSetting(rule="large_return", action="warn", limits={"return_frac": 0.5}),))
    >>> profile.setting("large_return").merged_limits()
    {'return_frac': 0.5}
    """

    name: str
    context: Context
    rules: tuple[RuleSetting, ...]
    max_non_session_frac: float = Field(default=0.20, gt=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> QualityProfile:
        names = [setting.rule for setting in self.rules]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"rules set twice: {', '.join(repeated)}")
        if self.context is Context.DAILY:
            ahead = [s.rule for s in self.rules if s.enabled and s.rule in _NEEDS_NEXT_BAR]
            if ahead:
                raise ValueError(f"{', '.join(ahead)} needs the next bar: use context backfill")
        return self

    def setting(self, rule: str) -> RuleSetting | None:
        """Return the setting of a rule, or None when the profile does not name it."""
        return next((s for s in self.rules if s.rule == rule), None)

    def active(self) -> tuple[RuleSetting, ...]:
        """Return the enabled settings in execution order."""
        found = (self.setting(rule) for rule in RULES)
        return tuple(s for s in found if s is not None and s.enabled)
