"""Lifecycle specs: what a move demands, how much capital a state carries, what halts it."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError
from quant_engine.core.specs import SpecCatalog
from quant_engine.governance.bundle import MetricBundle
from quant_engine.governance.catalogue import MetricCatalogue
from quant_engine.governance.gate_specs import GateRule, Operator, Scope, Threshold, check_rule
from quant_engine.governance.gates import Status, judge_rule


class State(StrEnum):
    """Where a strategy stands in its life."""

    CANDIDATE = "candidate"
    QUALIFIED = "qualified"
    SHADOW = "shadow"
    PAPER = "paper"
    CANARY = "canary"
    STAGED = "staged"
    ACTIVE = "active"
    HALTED = "halted"
    RETIRED = "retired"


class Tier(StrEnum):
    """Coarse place: evidence without capital, or capital."""

    NONE = "none"
    CANDIDATE = "candidate"
    PRODUCTION = "production"


MOVES: dict[State, tuple[State, ...]] = {
    State.CANDIDATE: (State.QUALIFIED, State.RETIRED),
    State.QUALIFIED: (State.SHADOW, State.HALTED, State.RETIRED),
    State.SHADOW: (State.PAPER, State.HALTED, State.RETIRED),
    State.PAPER: (State.CANARY, State.HALTED, State.RETIRED),
    State.CANARY: (State.STAGED, State.HALTED, State.RETIRED),
    State.STAGED: (State.ACTIVE, State.HALTED, State.RETIRED),
    State.ACTIVE: (State.HALTED, State.RETIRED),
    State.HALTED: (State.CANDIDATE, State.RETIRED),
    State.RETIRED: (),
}
"""From each state the states it may move to. What was halted begins again as a candidate."""

_TIERS = {
    **dict.fromkeys((State.QUALIFIED, State.SHADOW, State.PAPER), Tier.CANDIDATE),
    **dict.fromkeys((State.CANARY, State.STAGED, State.ACTIVE), Tier.PRODUCTION),
}


def tier_of(state: State) -> Tier:
    """Return the tier of a state.

    Parameters
    ----------
    state : State
        Any state.

    Returns
    -------
    Tier
        ``candidate`` from qualified to paper, ``production`` from canary to active, else
        ``none``.

    Examples
    --------
    >>> tier_of(State.PAPER).value, tier_of(State.CANARY).value, tier_of(State.HALTED).value
    ('candidate', 'production', 'none')
    """
    return _TIERS.get(state, Tier.NONE)


class RollbackTrigger(FrozenConfig):
    """One reason to halt a strategy in service.

    Parameters
    ----------
    name : str
        Short name for records.
    metric : str
        Figure of the catalogue.
    op, threshold
        The trigger fires when the figure stands to the threshold like this.
    missing : {"halt", "warn"}
        What an absent figure does.
    scope : Scope
        Part of the evidence.
    source : str
        Document it comes from.
    """

    name: str
    metric: str
    op: Operator
    threshold: Threshold
    missing: Literal["halt", "warn"] = "halt"
    scope: Scope = Scope()
    source: str = ""

    def as_rule(self) -> GateRule:
        """Return the demand that holds while the trigger is silent."""
        opposite: dict[Operator, Operator] = {
            ">=": "<", ">": "<=", "<=": ">", "<": ">=", "==": "!=", "!=": "==",
        }  # fmt: skip
        return GateRule(
            metric=self.metric, op=opposite[self.op], threshold=self.threshold, scope=self.scope
        )


class LifecycleSpec(FrozenConfig):
    """Demands of a strategy's life.

    Parameters
    ----------
    schema_name : str
        ``"qe.lifecycle/1"``.
    name, title : str
        Name of the file, and one line.
    capital_frac : dict of State to float
        Share of the planned capital in each production state.
    max_production : int
        Strategies of a track that may carry capital at one time.
    challenger_margin : float
        Relative margin by which a challenger must beat a champion.
    entry : dict of State to tuple of str
        State -> stages of the gate profile, one of which must have passed.
    beats_baseline : tuple of State
        States whose entry must beat the frozen baseline.
    rollback : tuple of RollbackTrigger
        What halts a strategy in service.
    """

    schema_name: Literal["qe.lifecycle/1"] = Field(alias="schema")
    name: str
    title: str
    capital_frac: dict[State, float]
    max_production: int = Field(ge=1)
    challenger_margin: float = Field(ge=0.0)
    entry: dict[State, tuple[str, ...]]
    beats_baseline: tuple[State, ...]
    rollback: tuple[RollbackTrigger, ...]


class Trigger(FrozenConfig):
    """What one rollback trigger said.

    Parameters
    ----------
    name : str
        Name of the trigger.
    fired : bool
        Whether it halts.
    reason : str
        One sentence.
    """

    name: str
    fired: bool
    reason: str


def load_lifecycle(
    catalog: SpecCatalog, name: str = "default", *, metrics: MetricCatalogue | None = None
) -> LifecycleSpec:
    """Read a lifecycle spec and check its triggers and capital.

    Parameters
    ----------
    catalog : SpecCatalog
        Shipped specs and those of the working folder.
    name : str
        File name without ``.yaml``.
    metrics : MetricCatalogue, optional
        Figures that triggers may name; those of `catalog` by default.

    Returns
    -------
    LifecycleSpec
        Checked.

    Raises
    ------
    ConfigError
        For an unknown figure, capital outside 0 to 1 or that falls on the way to active, an
        entry into canary without a gate, or a doubled trigger.

    Examples
    --------
    >>> spec = load_lifecycle(SpecCatalog.default())
    >>> spec.capital_frac[State.CANARY], len(spec.rollback)
    (0.1, 7)
    """
    metrics = MetricCatalogue.load(catalog) if metrics is None else metrics
    spec = catalog.load("lifecycle", name, LifecycleSpec)
    where = f"lifecycle/{name}.yaml"
    shares = [spec.capital_frac.get(s, -1.0) for s in State if tier_of(s) is Tier.PRODUCTION]
    names = [trigger.name for trigger in spec.rollback]
    faults = {
        "capital_frac: canary, staged and active, rising from above 0 to at most 1": (
            shares == sorted(shares) and shares[0] > 0.0 and shares[-1] <= 1.0
        ),
        "entry: at least one stage for qualified and for each production state": all(
            spec.entry.get(state)
            for state in State
            if state is State.QUALIFIED or tier_of(state) is Tier.PRODUCTION
        ),
        "rollback: each name once": len(names) == len(set(names)),
    }
    for wanted, holds in faults.items():
        if not holds:
            key, _, meaning = wanted.partition(": ")
            raise ConfigError(
                f"{where}: {key}", wanted=meaning, got="something else", hint="Mend the file."
            )
    for trigger in spec.rollback:
        check_rule(trigger.as_rule(), metrics, f"{where}: rollback {trigger.name}")
    return spec


def rollback_triggers(
    spec: LifecycleSpec, bundle: MetricBundle, *, metrics: MetricCatalogue
) -> tuple[Trigger, ...]:
    """Look at a strategy in service.

    Parameters
    ----------
    spec : LifecycleSpec
        Triggers.
    bundle : MetricBundle
        Figures of the strategy in service.
    metrics : MetricCatalogue
        Figures with units.

    Returns
    -------
    tuple of Trigger
        One per trigger; those that fired halt the strategy.
    """
    found = []
    for trigger in spec.rollback:
        (outcome,) = judge_rule(trigger.as_rule(), bundle, gate="rollback", metrics=metrics)
        silent = outcome.status is Status.PASS
        unknown = outcome.value is None
        fired = not silent and not (unknown and trigger.missing == "warn")
        found.append(Trigger(name=trigger.name, fired=fired, reason=outcome.reason))
    return tuple(found)
