"""Gates: one engine that applies rules to a metric bundle and says why.

How a verdict comes about:

1. every rule of the stage becomes an `Outcome` (`judge_rule`): pass, fail, warn or
   insufficient_observation, with a sentence;
2. the origin, lineage, signature and ledger of the evidence are examined (`blocks_of`);
3. `GateReport.status` follows: a block or a broken risk limit fails, whatever was earned; then an
   unmet demand on how much was observed makes the verdict insufficient; then a broken hard rule
   fails; then a hard rule that could not be judged makes it insufficient; then soft rules warn.

Insufficient is not a pass, and a missing or NaN figure never passes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from quant_engine.core.errors import (
    ConfigError,
    GateNotPassedError,
    InsufficientObservationError,
)
from quant_engine.core.hashing import sha256_json
from quant_engine.core.tracks import DataRegime, RunSource, ScoreSource, Track
from quant_engine.governance.bundle import Metric, MetricBundle, SignatureState, Value
from quant_engine.governance.catalogue import MetricCatalogue, MetricSpec
from quant_engine.governance.gate_specs import Gate, GateProfile, GateRule, Operator
from quant_engine.governance.wording import number_pair, number_text

REPORT_SCHEMA: Final = "qe.gate_report/1"
_PRODUCTION = {
    "run_source": RunSource.PROD,
    "score_source": ScoreSource.MODEL,
    "data_regime": DataRegime.PROD_LIVE,
}
_NOT_MET = {
    ">=": "is below",
    ">": "is not above",
    "<=": "is above",
    "<": "is not below",
    "==": "is not",
    "!=": "is",
}
_MET = {
    ">=": "is at least",
    ">": "is above",
    "<=": "is at most",
    "<": "is below",
    "==": "is",
    "!=": "is not",
}


class Status(StrEnum):
    """What a rule or a gate says."""

    PASS = "pass"
    FAIL = "fail"
    WARN = "warn"
    INSUFFICIENT = "insufficient_observation"


@dataclass(frozen=True)
class Outcome:
    """What one rule said.

    Parameters
    ----------
    gate : str
        Gate of the rule.
    rule : str
        Figure, scope and direction.
    status : Status
        Its word. A soft rule that is not met warns.
    severity : str
        ``"hard"`` or ``"soft"``.
    reason : str
        One sentence.
    value : bool, int, float or None
        What was judged; None when missing.
    threshold : bool, int, float or None
        The limit that applied; None when it could not be found.
    n_obs : int or None
        Observations behind the value.
    method : str
        Named convention of the value.
    adequacy : bool
        Whether the rule asks how much was observed.
    veto : bool
        Whether a risk limit is broken.
    note : str
        Why the rule is as it is.
    """

    gate: str
    rule: str
    status: Status
    severity: str
    reason: str
    value: Value | None = None
    threshold: Value | None = None
    n_obs: int | None = None
    method: str = ""
    adequacy: bool = False
    veto: bool = False
    note: str = ""


@dataclass(frozen=True)
class GateReport:
    """The verdict on one subject.

    Parameters
    ----------
    profile : str
        Name of the profile.
    profile_id : str
        Hash of all its rules.
    stage : str
        Move of the subject's life that was judged; empty when gates were named one by one.
    gates : tuple of str
        Gates that were applied.
    subject : str
        What was judged.
    track : Track
        Where the verdict counts.
    track_label : str
        Label of a weaker profile; empty for one that may decide promotion.
    blocks : tuple of str
        Why nothing may follow from the figures, however good they are.
    outcomes : tuple of Outcome
        One per rule and scope.
    evidence : dict
        Content of the bundle.
    """

    profile: str
    profile_id: str
    stage: str
    gates: tuple[str, ...]
    subject: str
    track: Track
    track_label: str
    blocks: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    evidence: dict[str, Any]

    @property
    def status(self) -> Status:
        """The word of the whole report; see the module's text for the order."""
        hard = [outcome for outcome in self.outcomes if outcome.severity == "hard"]
        said = {outcome.status for outcome in hard}
        if self.blocks or any(outcome.veto for outcome in hard):
            return Status.FAIL
        if any(o.status is Status.INSUFFICIENT for o in hard if o.adequacy):
            return Status.INSUFFICIENT
        if Status.FAIL in said:
            return Status.FAIL
        if Status.INSUFFICIENT in said:
            return Status.INSUFFICIENT
        is_clean = all(outcome.status is Status.PASS for outcome in self.outcomes)
        return Status.PASS if is_clean else Status.WARN

    @property
    def passed(self) -> bool:
        """Whether every hard rule holds and nothing blocks; warnings do not matter."""
        return self.status in (Status.PASS, Status.WARN)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Sentences for everything that did not pass: blocks, then hard rules, then soft ones."""
        return (*self.blocks, *self.failed_hard, *self.failed_soft)

    @property
    def failed_hard(self) -> tuple[str, ...]:
        """Sentences of hard rules that did not pass."""
        return self._sentences("hard")

    @property
    def failed_soft(self) -> tuple[str, ...]:
        """Sentences of soft rules that did not pass."""
        return self._sentences("soft")

    def _sentences(self, severity: str) -> tuple[str, ...]:
        return tuple(
            outcome.reason
            for outcome in self.outcomes
            if outcome.severity == severity and outcome.status is not Status.PASS
        )

    def summary(self) -> dict[str, dict[str, int]]:
        """Return gate -> status -> number of rules."""
        counts = {gate: dict.fromkeys(map(str, Status), 0) for gate in self.gates}
        for outcome in self.outcomes:
            counts[outcome.gate][str(outcome.status)] += 1
        return counts

    def content(self) -> dict[str, Any]:
        """Return the report as plain JSON values under its schema name."""
        return {
            "schema": REPORT_SCHEMA,
            "profile": self.profile,
            "profile_id": self.profile_id,
            "stage": self.stage,
            "gates": list(self.gates),
            "subject": self.subject,
            "track": str(self.track),
            "track_label": self.track_label,
            "status": str(self.status),
            "passed": self.passed,
            "blocks": list(self.blocks),
            "failed_hard": list(self.failed_hard),
            "failed_soft": list(self.failed_soft),
            "gate_summary": self.summary(),
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
            "evidence": self.evidence,
        }

    def digest(self) -> str:
        """Hash of the content: equal evidence under equal rules has an equal digest."""
        return sha256_json(self.content())

    def require_passed(self) -> None:
        """Raise when the report did not pass.

        Raises
        ------
        GateNotPassedError
            With the reasons.
        InsufficientObservationError
            When too little was observed for a verdict.
        """
        if self.passed:
            return
        insufficient = self.status is Status.INSUFFICIENT
        raise (InsufficientObservationError if insufficient else GateNotPassedError)(
            f"{self.subject} at stage {self.stage or ', '.join(self.gates)}",
            wanted=f"every hard rule of profile {self.profile}",
            got=f"{self.status}: " + "; ".join(self.reasons),
            hint="The report holds every rule with its value.",
        )


def evaluate(
    profile: GateProfile,
    bundle: MetricBundle,
    *,
    stage: str,
    track: Track,
    metrics: MetricCatalogue,
) -> GateReport:
    """Judge evidence for one move of a strategy's life.

    Parameters
    ----------
    profile : GateProfile
        Rules.
    bundle : MetricBundle
        Evidence.
    stage : str
        A stage of the profile, such as ``"qualified"``.
    track : Track
        Where the verdict is to count. Thresholds are the same on every track; evidence of another
        track is refused by name.
    metrics : MetricCatalogue
        Figures with units.

    Returns
    -------
    GateReport
        With outcomes and blocks.

    Raises
    ------
    ConfigError
        For an unknown stage, or a figure in another unit or of another kind than the
        catalogue's.
    """
    gates = profile.stage(stage)
    return _report(profile, bundle, gates, stage, track, metrics, blocks_of(bundle, profile, track))


def evaluate_gates(
    profile: GateProfile,
    bundle: MetricBundle,
    *,
    gates: tuple[str, ...],
    track: Track,
    metrics: MetricCatalogue,
) -> GateReport:
    """Judge evidence by single gates, such as event quality; no move of a life follows from it.

    Parameters
    ----------
    profile : GateProfile
        Rules.
    bundle : MetricBundle
        Evidence.
    gates : tuple of str
        Names of gates of the profile.
    track : Track
        Where the verdict is to count; evidence of another track is refused by name.
    metrics : MetricCatalogue
        Figures with units.

    Returns
    -------
    GateReport
        Without a stage, so that nothing can be promoted with it.

    Raises
    ------
    ConfigError
        For an unknown gate, or a figure in another unit or of another kind than the catalogue's.
    """
    chosen = tuple(profile.gate(name) for name in gates)
    return _report(profile, bundle, chosen, "", track, metrics, track_blocks(bundle, track))


def _report(
    profile: GateProfile,
    bundle: MetricBundle,
    gates: tuple[Gate, ...],
    stage: str,
    track: Track,
    metrics: MetricCatalogue,
    blocks: tuple[str, ...],
) -> GateReport:
    for metric in bundle.metrics:
        _check_metric(metric, metrics.get(metric.name, where=f"metrics of {bundle.subject}"))
    outcomes = [
        outcome
        for gate in gates
        for rule in gate.rules
        for outcome in judge_rule(rule, bundle, gate=gate.name, metrics=metrics)
    ]
    return GateReport(
        profile=profile.name,
        profile_id=profile.config_id(),
        stage=stage,
        gates=tuple(gate.name for gate in gates),
        subject=bundle.subject,
        track=track,
        track_label=profile.track_label,
        blocks=blocks,
        outcomes=tuple(outcomes),
        evidence=bundle.content(),
    )


def track_blocks(bundle: MetricBundle, track: Track) -> tuple[str, ...]:
    """Say why evidence does not belong on a track.

    Parameters
    ----------
    bundle : MetricBundle
        Evidence with its origin.
    track : Track
        Where it is to count.

    Returns
    -------
    tuple of str
        For production one sentence per field that production does not admit.
    """
    origin = bundle.origin
    if origin.track is track:
        return ()
    if track is not Track.PRODUCTION:
        return (f"this is evidence of track {origin.track}; records of {track} never mix with it",)
    return tuple(
        f"{name} is {str(getattr(origin, name))!r}; track production admits {str(only)!r} alone"
        for name, only in _PRODUCTION.items()
        if getattr(origin, name) is not only
    )


def blocks_of(bundle: MetricBundle, profile: GateProfile, track: Track) -> tuple[str, ...]:
    """Say why nothing may follow from a bundle, whatever its figures.

    Parameters
    ----------
    bundle : MetricBundle
        Evidence.
    profile : GateProfile
        A labelled profile is refused on production.
    track : Track
        Where the verdict is to count.

    Returns
    -------
    tuple of str
        One sentence per reason: track, signature, alignment, fallback, synthetic links, ledger.
    """
    lineage = bundle.lineage
    found = list(track_blocks(bundle, track))
    if profile.track_label and track is Track.PRODUCTION:
        found.append(
            f"profile {profile.name} is weaker (label {profile.track_label!r}); "
            "track production admits unlabelled profiles alone"
        )
    if lineage.signature is not SignatureState.SIGNED:
        state = {"unsigned": "is not signed", "invalid": "has an invalid signature"}
        found.append(f"the evaluation {state[str(lineage.signature)]}")
    found += lineage.evaluated.mismatches(lineage.deployed)
    found += [f"fallback {name!r} stands in the lineage" for name in lineage.fallbacks]
    if lineage.n_synthetic_links is None:
        found.append("synthetic links were not counted")
    elif lineage.n_synthetic_links:
        found.append(f"{lineage.n_synthetic_links} synthetic links stand in the lineage")
    if bundle.trials is None:
        found.append("no trial ledger was consulted")
    elif not bundle.trials.promotable:
        found.append("the trials were counted in a session's ledger; nothing is promoted from one")
    return tuple(found)


def judge_rule(
    rule: GateRule, bundle: MetricBundle, *, gate: str, metrics: MetricCatalogue
) -> tuple[Outcome, ...]:
    """Apply one rule.

    Parameters
    ----------
    rule : GateRule
        Demand.
    bundle : MetricBundle
        Evidence.
    gate : str
        Gate of the rule, for the outcome.
    metrics : MetricCatalogue
        Figures with units.

    Returns
    -------
    tuple of Outcome
        One; for a scope ``"*"`` one per scope in which the bundle gives the figure, or one that
        is missing; none when the rule is skipped for the subject's event type.
    """
    override = next((o for o in rule.overrides if bundle.event and o.event == bundle.event), None)
    if override is not None and override.skip:
        return ()
    threshold = rule.threshold if override is None else override.threshold
    kind, _, name = rule.scope.key.partition(":")
    keys = bundle.scopes(kind, rule.metric) if name == "*" else (rule.scope.key,)
    spec = metrics.get(rule.metric)
    return tuple(
        _judge(rule, bundle, gate, spec, key, threshold) for key in keys or (rule.scope.key,)
    )


def compare(value: Value, op: Operator, threshold: Value) -> bool:
    """Tell whether a value stands to a threshold as an operator demands.

    Parameters
    ----------
    value : bool, int or float
        Not NaN.
    op : {">=", ">", "<=", "<", "==", "!="}
        Operator.
    threshold : bool, int or float
        Limit.

    Returns
    -------
    bool
        Exact comparison, no tolerance.

    Examples
    --------
    >>> compare(0.75, ">=", 0.75), compare(0.75, ">", 0.75)
    (True, False)
    """
    answers = {
        ">=": value >= threshold,
        ">": value > threshold,
        "<=": value <= threshold,
        "<": value < threshold,
        "==": value == threshold,
        "!=": value != threshold,
    }
    return bool(answers[op])


def _judge(
    rule: GateRule,
    bundle: MetricBundle,
    gate: str,
    spec: MetricSpec,
    scope: str,
    threshold: Value | None,
) -> Outcome:
    metric = bundle.get(rule.metric, scope)
    label = spec.label + (f" in {scope.replace(':', ' ')}" if scope else "")
    limits = [] if threshold is None else [threshold]
    status, reason = Status.PASS, ""
    if rule.against:
        other = bundle.get(rule.against, scope)
        if other is None or other.is_missing or other.value is None:
            status, reason = _missing(rule), f"the limit {rule.against} is not available"
        else:
            limits.append(other.value)
    if metric is None or metric.is_missing or metric.value is None:
        status, reason = _missing(rule), f"{label} is not available"
    elif spec.methods and metric.method not in spec.methods:
        said = f"measured by {metric.method!r}" if metric.method else "given without its method"
        status, reason = Status.FAIL, f"{label} is {said}, not by {' or '.join(spec.methods)}"
    elif rule.min_obs is not None and (metric.n_obs is None or metric.n_obs < rule.min_obs):
        seen = "an unknown number of" if metric.n_obs is None else str(metric.n_obs)
        status = Status.INSUFFICIENT
        reason = f"{label} rests on {seen} observations, {rule.min_obs} are needed"
    elif not reason:
        status, reason = _compared(rule, label, metric.value, limits, spec.unit)
        reason = (spec.when_true if metric.value else spec.when_false) or reason
    if rule.severity == "soft" and status is Status.FAIL:
        status = Status.WARN
    told = bundle.details.get(rule.metric, "")
    return Outcome(
        gate=gate,
        rule=rule.key if not scope or scope == rule.scope.key else f"{rule.key} ({scope})",
        status=status,
        severity=rule.severity,
        reason=f"{reason}; {told}" if told else reason,
        value=None if metric is None or metric.is_missing else metric.value,
        threshold=_deciding(rule, metric, limits),
        n_obs=None if metric is None else metric.n_obs,
        method="" if metric is None else metric.method,
        adequacy=rule.adequacy,
        veto=spec.risk and rule.severity == "hard" and status is Status.FAIL,
        note=rule.note,
    )


def _missing(rule: GateRule) -> Status:
    words = {"fail": Status.FAIL, "insufficient": Status.INSUFFICIENT, "warn": Status.WARN}
    return words[rule.missing]


def _deciding(rule: GateRule, metric: Metric | None, limits: list[Value]) -> Value | None:
    """Pick the limit of several that the reason names: the first that is broken, else the last."""
    if metric is not None and metric.value is not None and not metric.is_missing:
        for limit in limits:
            if not compare(metric.value, rule.op, limit):
                return limit
    return limits[-1] if limits else None


def _compared(
    rule: GateRule, label: str, value: Value, limits: list[Value], unit: str
) -> tuple[Status, str]:
    broken = [limit for limit in limits if not compare(value, rule.op, limit)]
    if not broken and rule.op == "==":
        return Status.PASS, f"{label}{':' if unit == 'flag' else ' is'} {number_text(value, unit)}"
    if not broken:
        told = " and ".join(number_text(limit, unit) for limit in limits)
        return Status.PASS, f"{label} {number_text(value, unit)} {_MET[rule.op]} {told}"
    shown, limit = number_pair(value, broken[0], unit)
    status = Status.INSUFFICIENT if rule.adequacy else Status.FAIL
    if unit == "flag":
        return status, f"{label}: {shown}, not {limit}"
    return status, f"{label} {shown} {_NOT_MET[rule.op]} {limit}"


def _check_metric(metric: Metric, spec: MetricSpec) -> None:
    is_flag = isinstance(metric.value, bool)
    wrong_kind = metric.value is not None and is_flag != (spec.kind == "flag")
    if metric.unit != spec.unit or wrong_kind:
        raise ConfigError(
            f"metric {metric.name}",
            wanted=f"a {spec.kind} in {spec.unit}",
            got=f"{metric.value!r} in {metric.unit}",
            hint="Convert it where the bundle is made; a gate never guesses a unit.",
        )
