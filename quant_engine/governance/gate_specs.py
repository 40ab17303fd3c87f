"""Gate profiles: rules as data, checked when they are read.

A profile is a YAML file in ``specs/gates``. It holds gates, a gate holds rules, and ``stages`` says
which gates a strategy must pass for which move of its life. A profile may extend another one; if
any rule becomes weaker on the way, the profile must carry a ``track_label``, which travels with
every verdict and keeps it away from production.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictFloat, StrictInt

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, did_you_mean
from quant_engine.core.specs import SpecCatalog
from quant_engine.governance.catalogue import MetricCatalogue, MetricSpec

KIND = "gates"


def _plain_limit(value: object) -> object:
    """Refuse texts and NaN here, because a union of types would complain about its first one."""
    if value is None or (isinstance(value, bool | int | float) and math.isfinite(value)):
        return value
    raise ValueError("a finite number, true or false (a number in quotes is a text)")


Threshold = Annotated[StrictBool | StrictInt | StrictFloat, BeforeValidator(_plain_limit)]
OptionalThreshold = Annotated[
    StrictBool | StrictInt | StrictFloat | None, BeforeValidator(_plain_limit)
]
Operator = Literal[">=", ">", "<=", "<", "==", "!="]
_AT_LEAST, _AT_MOST = (">=", ">"), ("<=", "<")
_MISSING_ORDER = {"fail": 0, "insufficient": 1, "warn": 2}


class Scope(FrozenConfig):
    """Part of the evidence that a rule speaks of; at most one of the three.

    Parameters
    ----------
    regime, event, slice : str
        A name, or ``"*"`` for every one in which the bundle gives the figure. All empty = the
        whole.
    """

    regime: str = ""
    event: str = ""
    slice: str = ""

    @property
    def key(self) -> str:
        """Spelling inside a bundle: ``"regime:high_vol"``; empty for the whole."""
        named = {"regime": self.regime, "event": self.event, "slice": self.slice}
        return ",".join(f"{kind}:{name}" for kind, name in named.items() if name)


class EventOverride(FrozenConfig):
    """Another threshold for one event type.

    Parameters
    ----------
    event : str
        Event type of the subject.
    threshold : bool, int, float or None
        Replaces the rule's; None with ``skip``.
    skip : bool
        True when the rule is not applied to this event type.
    """

    event: str
    threshold: OptionalThreshold = None
    skip: bool = False


class GateRule(FrozenConfig):
    """One demand on one figure.

    Parameters
    ----------
    metric : str
        Name in the catalogue.
    op : {">=", ">", "<=", "<", "==", "!="}
        How the value must stand to the threshold.
    threshold : bool, int, float or None
        Limit, in the figure's unit.
    against : str
        Another figure that is the limit, such as the error budget of this look. With a threshold
        as well, both hold.
    severity : {"hard", "soft"}
        A hard rule decides; a soft one warns.
    adequacy : bool
        True for a demand on how much was observed: not met means insufficient, not fail.
    scope : Scope
        Part of the evidence.
    missing : {"fail", "insufficient", "warn"}
        What a missing figure means; never a pass.
    min_obs : int or None
        Observations of the figure below which it is not judged.
    overrides : tuple of EventOverride
        Other thresholds by event type.
    note : str
        Why the rule is as it is; printed in reports.

    Examples
    --------
    >>> GateRule(metric="n_trades", op=">=", threshold=80).key
    'n_trades >='
    """

    metric: str
    op: Operator
    threshold: OptionalThreshold = None
    against: str = ""
    severity: Literal["hard", "soft"] = "hard"
    adequacy: bool = False
    scope: Scope = Scope()
    missing: Literal["fail", "insufficient", "warn"] = "fail"
    min_obs: int | None = Field(default=None, ge=1)
    overrides: tuple[EventOverride, ...] = ()
    note: str = ""

    @property
    def key(self) -> str:
        """Identity inside a gate: figure, scope and direction."""
        direction = ">=" if self.op in _AT_LEAST else "<=" if self.op in _AT_MOST else self.op
        place = f" [{self.scope.key}]" if self.scope.key else ""
        return f"{self.metric}{place} {direction}"


class Gate(FrozenConfig):
    """Rules that belong together.

    Parameters
    ----------
    name : str
        Unique in the profile.
    source : str
        Document the thresholds come from.
    rules : tuple of GateRule
        At least one.
    """

    name: str
    source: str
    rules: tuple[GateRule, ...] = Field(min_length=1)


class GateProfile(FrozenConfig):
    """All gates of one way of judging.

    Parameters
    ----------
    schema_name : str
        ``"qe.gates/1"``.
    name : str
        Name of the file.
    title : str
        One line.
    extends : str
        Profile whose gates and stages it takes over where it has none of that name.
    track_label : str
        Label of verdicts under a weaker profile; empty for a profile that may decide promotion.
    never_decisive : tuple of str
        Figures over which no hard rule may be written, here or in a profile that extends this.
    stages : dict of str to tuple of str
        Move of a strategy's life -> names of the gates it takes.
    gates : tuple of Gate
        The rules.
    """

    schema_name: Literal["qe.gates/1"] = Field(alias="schema")
    name: str
    title: str
    extends: str = ""
    track_label: str = ""
    never_decisive: tuple[str, ...] = ()
    stages: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    gates: tuple[Gate, ...] = ()

    def gate(self, name: str) -> Gate:
        """Return a gate, or raise ConfigError naming the nearest known names."""
        for gate in self.gates:
            if gate.name == name:
                return gate
        raise ConfigError(
            f"gate of profile {self.name}",
            wanted="a gate of this profile",
            got=repr(name),
            hint=did_you_mean(name, [gate.name for gate in self.gates]),
        )

    def stage(self, name: str) -> tuple[Gate, ...]:
        """Return the gates of a stage, or raise ConfigError naming the nearest known names."""
        if name not in self.stages:
            raise ConfigError(
                f"stage of profile {self.name}",
                wanted="a stage of this profile",
                got=repr(name),
                hint=did_you_mean(name, self.stages),
            )
        return tuple(self.gate(gate) for gate in self.stages[name])


def load_profile(
    catalog: SpecCatalog, name: str, *, metrics: MetricCatalogue | None = None
) -> GateProfile:
    """Read a profile, take over what it extends, and check every rule.

    Parameters
    ----------
    catalog : SpecCatalog
        Shipped specs and those of the working folder.
    name : str
        File name without ``.yaml``.
    metrics : MetricCatalogue, optional
        Figures that rules may name; those of `catalog` by default.

    Returns
    -------
    GateProfile
        With the gates and stages of the profile it extends.

    Raises
    ------
    ConfigError
        For an unknown figure, operator or gate, a doubled rule, a threshold of the wrong kind, a
        rule over a diagnostic, a hard rule over a figure that is never decisive, a soft rule over
        a risk limit, profiles that extend one another in a circle, or a weaker profile without a
        track label.

    Examples
    --------
    >>> profile = load_profile(SpecCatalog.default(), "seed_v1")
    >>> [r.threshold for r in profile.gate("promotion").rules if r.metric == "sharpe_daily"]
    [0.75]
    """
    metrics = MetricCatalogue.load(catalog) if metrics is None else metrics
    return _load(catalog, name, metrics, ())


def _load(
    catalog: SpecCatalog, name: str, metrics: MetricCatalogue, above: tuple[str, ...]
) -> GateProfile:
    profile = catalog.load(KIND, name, GateProfile)
    where = f"{KIND}/{name}.yaml"
    if profile.name != name:
        raise _refusal(f"{where}: name", f"{name!r}, as the file", repr(profile.name), "Rename it.")
    is_shipped = catalog.path(KIND, name).parent == catalog.folders[0] / KIND
    base = None
    if profile.extends:
        chain = (*above, name)
        if profile.extends in chain:
            got = " -> ".join((*chain, profile.extends))
            raise _refusal(f"{where}: extends", "a profile above it", got, "Break the circle.")
        base = _load(catalog, profile.extends, metrics, chain)
        profile = _merged(profile, base)
    elif not is_shipped and not profile.track_label:
        raise _refusal(
            f"{where}: extends",
            "a shipped profile, or a track_label",
            "neither",
            "A profile that stands alone may be weaker than any other, so its verdicts are "
            "labelled and stay out of production.",
        )
    _check_profile(profile, metrics, where)
    if base is not None and not profile.track_label:
        weaker = weaknesses(profile, base)
        if weaker or base.track_label:
            raise _refusal(
                f"{where}: track_label",
                f"a label, because the profile is weaker than {base.name}",
                "none; " + "; ".join(weaker or (f"{base.name} is labelled",)),
                "Name a track_label such as 'discovery', or restore the rules.",
            )
    return profile


def weaknesses(profile: GateProfile, base: GateProfile) -> tuple[str, ...]:
    """Say where a profile asks for less than another one.

    Parameters
    ----------
    profile : GateProfile
        The one that is compared.
    base : GateProfile
        What it is compared with.

    Returns
    -------
    tuple of str
        One sentence per rule that is absent, soft, looser or laxer; empty when there is none.
    """
    found = []
    for stage, names in base.stages.items():
        dropped = sorted(set(names) - set(profile.stages.get(stage, ())))
        found += [f"stage {stage} no longer takes gate {name}" for name in dropped]
    mine = {gate.name: gate for gate in profile.gates}
    for gate in base.gates:
        rules = {rule.key: rule for rule in mine[gate.name].rules} if gate.name in mine else {}
        for old in gate.rules:
            why = _weaker(rules.get(old.key), old)
            found += [f"{gate.name}: {old.key} {why}"] if why else []
    found += [f"{name} may decide" for name in base.never_decisive
              if name not in profile.never_decisive]  # fmt: skip
    return tuple(found)


def _weaker(new: GateRule | None, old: GateRule) -> str:
    if new is None:
        return "is gone" if old.severity == "hard" else ""
    if old.severity == "hard" and new.severity == "soft":
        return "is soft"
    if old.severity == "soft":
        return ""
    if _MISSING_ORDER[new.missing] > _MISSING_ORDER[old.missing] or new.adequacy > old.adequacy:
        return "says less when it is not met"
    if (new.min_obs or 0) < (old.min_obs or 0):
        return "judges fewer observations"
    if new.against != old.against or set(new.overrides) - set(old.overrides):
        return "compares with something else"
    return _looser(new, old)


def _looser(new: GateRule, old: GateRule) -> str:
    if new.threshold is None or old.threshold is None:
        return "" if new.threshold == old.threshold or old.threshold is None else "has no threshold"
    sign = 1 if old.op in _AT_LEAST else -1 if old.op in _AT_MOST else 0
    if sign == 0:
        return "" if new.threshold == old.threshold else "has another value"
    gap = sign * (new.threshold - old.threshold)
    opened = gap == 0 and old.op in (">", "<") and new.op != old.op
    return "has a looser threshold" if gap < 0 or opened else ""


def _merged(profile: GateProfile, base: GateProfile) -> GateProfile:
    own = {gate.name: gate for gate in profile.gates}
    inherited = [own.pop(gate.name, gate) for gate in base.gates]
    return profile.model_copy(
        update={
            "gates": (*inherited, *own.values()),
            "stages": {**base.stages, **profile.stages},
            "never_decisive": tuple(dict.fromkeys((*base.never_decisive, *profile.never_decisive))),
        }
    )


def _check_profile(profile: GateProfile, metrics: MetricCatalogue, where: str) -> None:
    names = [gate.name for gate in profile.gates]
    _check_single(f"{where}: gates", names)
    for name in profile.never_decisive:
        metrics.get(name, where=f"{where}: never_decisive")
    for stage, wanted in profile.stages.items():
        _check_single(f"{where}: stage {stage}", list(wanted))
        for name in wanted:
            profile.gate(name)
    for gate in profile.gates:
        _check_single(f"{where}: gate {gate.name}", [rule.key for rule in gate.rules])
        for rule in gate.rules:
            place = f"{where}: gate {gate.name}: {rule.key}"
            check_rule(rule, metrics, place)
            if rule.severity == "hard" and rule.metric in profile.never_decisive:
                raise _refusal(
                    place,
                    f"a soft rule: {rule.metric} never decides in this profile",
                    "a hard one",
                    "Write `severity: soft`.",
                )


def check_rule(rule: GateRule, metrics: MetricCatalogue, where: str) -> None:
    """Refuse a rule that could not be judged, or judged to no purpose.

    Parameters
    ----------
    rule : GateRule
        Demand.
    metrics : MetricCatalogue
        Figures it may name.
    where : str
        Place of the rule, for messages.

    Raises
    ------
    ConfigError
        See :func:`load_profile`.
    """
    spec = metrics.get(rule.metric, where=where)
    if spec.diagnostic:
        raise _refusal(where, "a figure that gates may read", rule.metric, spec.diagnostic)
    if spec.risk and rule.severity == "soft":
        hint = "Risk limits veto any gain in profit; write `severity: hard` or leave it out."
        raise _refusal(where, "a hard rule over a risk limit", "a soft one", hint)
    if rule.threshold is None and not rule.against:
        raise _refusal(where, "a threshold or `against`", "neither", "Say what is demanded.")
    if rule.against:
        other = metrics.get(rule.against, where=f"{where}: against")
        if (other.unit, other.kind) != (spec.unit, spec.kind) or spec.kind == "flag":
            got = f"{rule.against} in {other.unit}"
            raise _refusal(where, f"a figure in {spec.unit}", got, "Compare like with like.")
    for threshold in (rule.threshold, *(item.threshold for item in rule.overrides)):
        if threshold is not None:
            _check_threshold(threshold, rule, spec, where)
    for override in rule.overrides:
        if override.skip == (override.threshold is not None):
            wanted = "either a threshold or `skip: true`"
            raise _refusal(f"{where}: {override.event}", wanted, "both or neither", "Choose one.")
    _check_single(f"{where}: overrides", [item.event for item in rule.overrides])
    if rule.severity == "hard" and rule.missing == "warn":
        wanted = "`missing: fail` or `missing: insufficient` for a hard rule"
        raise _refusal(where, wanted, "warn", "A missing figure never passes a hard rule.")
    if sum(map(bool, (rule.scope.regime, rule.scope.event, rule.scope.slice))) > 1:
        raise _refusal(where, "one scope", rule.scope.key, "Write one rule per scope.")


def _check_threshold(
    threshold: bool | int | float, rule: GateRule, spec: MetricSpec, where: str
) -> None:
    is_flag = isinstance(threshold, bool)
    if is_flag != (spec.kind == "flag"):
        wanted = "true or false" if spec.kind == "flag" else f"a number in {spec.unit}"
        raise _refusal(where, wanted, repr(threshold), "See specs/gate_metrics.")
    if is_flag and rule.op not in ("==", "!="):
        raise _refusal(where, "`==` or `!=` for a flag", rule.op, "Flags have no order.")
    if spec.kind == "count" and not isinstance(threshold, int):
        raise _refusal(where, "a whole number", repr(threshold), f"{rule.metric} is a count.")


def _check_single(where: str, names: list[str]) -> None:
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise _refusal(where, "each name once", ", ".join(doubled), "Remove or rename one.")


def _refusal(where: str, wanted: str, got: str, hint: str) -> ConfigError:
    return ConfigError(where, wanted=wanted, got=got, hint=hint)
