"""Feature pipeline: a market panel and a feature set in, a panel of features out.

1. `check_feature_set` compares what the set claims with what its kinds promise.
2. `_check_panel` looks for every field that is needed and refuses unadjusted prices.
3. Features that share state are computed together, one kernel call for all their windows; formulas
   that stand in the set are compiled to one program (`quant_engine.features.expressions`).
4. Infinities become NaN; nothing is ever filled.

Value of row t: rows up to t alone. The same function serves training and prediction, so the
columns cannot differ.
"""

from __future__ import annotations

import numpy as np

from quant_engine.core.causality import Causality
from quant_engine.core.errors import ConfigError, MissingFieldError, did_you_mean
from quant_engine.core.panel import Panel
from quant_engine.core.progress import SILENT, Progress
from quant_engine.features import price_volume
from quant_engine.features.expressions.program import Program, compile_expressions
from quant_engine.features.kernels import blank_infinite
from quant_engine.features.kinds import (
    FEATURE_KINDS,
    FeatureKind,
    FeatureRequest,
    GroupCompute,
)
from quant_engine.features.prices import check_adjusted
from quant_engine.features.sets import EXPRESSION, PASS_THROUGH, FeatureSet, FeatureSpec
from quant_engine.features.workspace import Workspace

__all__ = [
    "FEATURE_KINDS",
    "Causality",
    "FeatureKind",
    "FeatureSet",
    "FeatureSpec",
    "check_feature_set",
    "compute_features",
    "price_volume",
    "required_fields",
]


def compute_features(
    panel: Panel, feature_set: FeatureSet, *, progress: Progress = SILENT
) -> Panel:
    """Compute every feature of a set on a panel.

    Parameters
    ----------
    panel : Panel
        Canonical market panel (T, N), basis ``split_adj`` or ``total_adj``; NaN = not traded.
    feature_set : FeatureSet
        What to compute, in column order.
    progress : Progress, optional
        Listener; one step per feature.

    Returns
    -------
    Panel
        One float32 field per feature in set order, the same axes, masks, groups and basis. NaN in
        the warm-up, wherever the window has a missing bar, and in place of infinities. State is
        accumulated in float64.

    Raises
    ------
    ConfigError
        When the set names an unknown kind or claims something its kind does not promise.
    MissingFieldError
        When the panel lacks a field; the message names the set and the features concerned.
    DataError
        When price features are asked of unadjusted prices.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03", "2020-01-06"])
    >>> panel = Panel(axis, ("A@US#1",), {"close": np.array([[10.0], [12.0], [11.0]])})
    >>> spec = FeatureSpec(name="MA2", kind="ma", window=2, lookback_sessions=2,
    ...                    causality="CAUSAL", unit="ratio", family="trend", source="Alpha158")
    >>> out = compute_features(panel, FeatureSet(name="tiny", version="1", features=(spec,)))
    >>> [round(float(x), 4) for x in out.field("MA2").ravel()]
    [nan, 0.9167, 1.0455]
    """
    check_feature_set(feature_set)
    _check_panel(panel, feature_set)
    block = np.empty((len(feature_set.features), *panel.shape), dtype=np.float32)
    space = Workspace(panel)
    groups = _group(feature_set)
    program = _program(feature_set)
    with (
        progress.stage(f"features {feature_set.name}", len(feature_set.features)) as stage,
        # Zero divisors and logarithms of zero are expected; step 4 turns them into NaN.
        np.errstate(divide="ignore", invalid="ignore", over="ignore"),
    ):
        for compute, requests in groups.items():
            compute(space, requests, block)
            stage.advance(len(requests))
        if program is not None:
            slots = [feature_set.names.index(name) for name in program.names]
            program.run_into(panel, [block[slot] for slot in slots], allow_short=True)
            stage.advance(len(program.names))
    blank_infinite(block)
    fields = {name: block[slot] for slot, name in enumerate(feature_set.names)}
    return Panel(panel.time, panel.asset_ids, fields, panel.masks, panel.groups, panel.price_basis)


def check_feature_set(feature_set: FeatureSet) -> None:
    """Compare what a set claims with what its kinds promise.

    Parameters
    ----------
    feature_set : FeatureSet
        Set to check.

    Returns
    -------
    None
        The claims hold.

    Raises
    ------
    ConfigError
        For an unknown kind, a window that the kind does not allow, a wrong lookback, a causality
        class stronger than the kind's, or a feature that is listed twice under two names.

    Examples
    --------
    >>> spec = FeatureSpec(name="MA5", kind="ma", window=5, lookback_sessions=4,
    ...                    causality="CAUSAL", unit="ratio", family="trend", source="Alpha158")
    >>> tiny = FeatureSet(name="tiny", version="1", features=(spec,))
    >>> check_feature_set(tiny)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    quant_engine.core.errors.ConfigError: feature set 'tiny', feature 'MA5', lookback_sessions: ...
    """
    program = _program(feature_set)
    seen: dict[tuple[object, ...], str] = {}
    for spec in feature_set.features:
        where = f"feature set {feature_set.name!r}, feature {spec.name!r}"
        if program is not None and spec.kind == EXPRESSION:
            key = _check_formula(spec, program, where)
        else:
            key = _check_kind(spec, where)
        if key in seen:
            raise ConfigError(
                where,
                wanted="one name per formula and window",
                got=f"a repetition of {seen[key]!r}",
                hint="Remove one of the two.",
            )
        seen[key] = spec.name


def _check_kind(spec: FeatureSpec, where: str) -> tuple[object, ...]:
    # Returns what makes two features the same formula.
    kind = FEATURE_KINDS.get(spec.kind)
    if (spec.window == 0) != (kind.min_window == 0) or spec.window < kind.min_window:
        wanted = f"at least {kind.min_window}" if kind.min_window else "0 (no window)"
        raise ConfigError(
            f"{where}, window", wanted=wanted, got=spec.window, hint=f"Kind {spec.kind!r}."
        )
    source = f"Kind {spec.kind!r} with window {spec.window}"
    _check_claims(spec, where, source, kind.lookback_sessions(spec.window), kind.causality)
    own = spec.name if spec.kind == PASS_THROUGH else ""
    return (kind.compute, kind.output, spec.window, own)


def _check_formula(spec: FeatureSpec, program: Program, where: str) -> tuple[object, ...]:
    if spec.window:
        raise ConfigError(
            f"{where}, window",
            wanted="0 (no window)",
            got=spec.window,
            hint="The windows of a formula stand in the formula.",
        )
    lookback = program.lookback_of(spec.name)
    _check_claims(spec, where, "The formula", lookback, program.causality)
    return (program.canonical[program.names.index(spec.name)],)


def _check_claims(
    spec: FeatureSpec, where: str, source: str, lookback: int, causality: Causality
) -> None:
    if spec.lookback_sessions != lookback:
        raise ConfigError(
            f"{where}, lookback_sessions",
            wanted=str(lookback),
            got=spec.lookback_sessions,
            hint=f"{source} reads that many rows.",
        )
    if spec.causality.strength > causality.strength:
        raise ConfigError(
            f"{where}, causality",
            wanted=f"{causality} or weaker",
            got=str(spec.causality),
            hint="A set cannot promise more than the formula does.",
        )


def _program(feature_set: FeatureSet) -> Program | None:
    texts = {s.name: s.expression for s in feature_set.features if s.kind == EXPRESSION}
    return compile_expressions(texts) if texts else None


def required_fields(feature_set: FeatureSet) -> tuple[str, ...]:
    """Panel fields that a set reads, in alphabetical order.

    Parameters
    ----------
    feature_set : FeatureSet
        Checked set.

    Returns
    -------
    tuple of str
        Without the optional ``dividend``.

    Examples
    --------
    >>> spec = FeatureSpec(name="CORR5", kind="corr", window=5, lookback_sessions=5,
    ...                    causality="CAUSAL", unit="correlation", family="f", source="Alpha158")
    >>> required_fields(FeatureSet(name="tiny", version="1", features=(spec,)))
    ('close', 'volume')
    """
    return tuple(sorted({name for spec in feature_set.features for name in _inputs(spec)}))


def _inputs(spec: FeatureSpec) -> tuple[str, ...]:
    if spec.kind == EXPRESSION:
        return compile_expressions({spec.name: spec.expression}).fields
    return (spec.name,) if spec.kind == PASS_THROUGH else FEATURE_KINDS.get(spec.kind).inputs


def _check_panel(panel: Panel, feature_set: FeatureSet) -> None:
    lacking = [name for name in required_fields(feature_set) if name not in panel.fields]
    if lacking:
        users = [s.name for s in feature_set.features if set(_inputs(s)) & set(lacking)]
        raise MissingFieldError(
            f"feature set {feature_set.name!r}",
            wanted=f"panel fields {', '.join(lacking)} (for {', '.join(users[:5])}"
            + (f" and {len(users) - 5} more)" if len(users) > 5 else ")"),
            got="absent",
            hint=did_you_mean(lacking[0], panel.fields),
        )
    where = f"feature set {feature_set.name!r}"
    check_adjusted(panel, required_fields(feature_set), where=where)


def _group(feature_set: FeatureSet) -> dict[GroupCompute, list[FeatureRequest]]:
    groups: dict[GroupCompute, list[FeatureRequest]] = {}
    for slot, spec in enumerate(feature_set.features):
        if spec.kind == EXPRESSION:
            continue
        kind = FEATURE_KINDS.get(spec.kind)
        request = FeatureRequest(slot, spec.name, kind.output, spec.window)
        groups.setdefault(kind.compute, []).append(request)
    return groups
