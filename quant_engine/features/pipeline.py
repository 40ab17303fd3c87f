"""Feature pipeline: a market panel and a feature set in, a panel of features out.

1. `check_feature_set` compares what the set claims with what its formulas say.
2. `_check_panel` looks for every field that is needed and refuses unadjusted prices.
3. All formulas are compiled to one program (`quant_engine.features.expressions`), so that what they
   share is computed once.
4. What is not finite is NaN; nothing is ever filled.

Value of row t: rows up to t alone. The same function serves training and prediction, so the
columns cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quant_engine.core.causality import Causality
from quant_engine.core.errors import ConfigError, MissingFieldError, did_you_mean
from quant_engine.core.panel import Panel
from quant_engine.core.progress import SILENT, Progress
from quant_engine.features.expressions.fields import DERIVED, missing_hint
from quant_engine.features.expressions.program import Program, compile_expressions
from quant_engine.features.prices import BAR_PRICES, check_adjusted
from quant_engine.features.sets import FeatureSet, FeatureSpec, whole_set

__all__ = [
    "Causality",
    "FeatureSet",
    "FeatureSpec",
    "check_feature_set",
    "compute_features",
    "required_fields",
    "whole_set",
]

BAR_FIELDS = BAR_PRICES | {"volume"}
"""Fields that are known at the close of their bar; other fields need a `known_when`."""

FEATURES_PER_PASS = 64
"""Formulas compiled together: enough to share their parts, few enough to bound the memory."""


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
        When the set claims something that its formulas do not promise, or a formula is wrong.
    MissingFieldError
        When the panel lacks a field; the message names the set and the features concerned.
    DataError
        When price features are asked of unadjusted prices.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03", "2020-01-06"])
    >>> panel = Panel(axis, ("A@US#1",), {"close": np.array([[10.0], [12.0], [11.0]])})
    >>> spec = FeatureSpec(name="MA2", expression="Mean($close, 2)/$close", lookback_sessions=2,
    ...                    causality="CAUSAL", unit="ratio", family="trend", source="Alpha158")
    >>> out = compute_features(panel, FeatureSet(name="tiny", version="1", features=(spec,)))
    >>> [round(float(x), 4) for x in out.field("MA2").ravel()]
    [nan, 0.9167, 1.0455]
    """
    program = check_feature_set(feature_set)
    _check_panel(panel, feature_set, program)
    block = np.empty((len(feature_set.features), *panel.shape), dtype=np.float32)
    pages = iter(block)
    with progress.stage(f"features {feature_set.name}", len(feature_set.features)) as stage:
        for part in _parts(program):
            part.run_into(panel, [next(pages) for _ in part.names], allow_short=True)
            stage.advance(len(part.names))
    fields = dict(zip(feature_set.names, block, strict=True))
    return Panel(panel.time, panel.asset_ids, fields, panel.masks, panel.groups, panel.price_basis)


def check_feature_set(feature_set: FeatureSet) -> Program:
    """Compare what a set claims with what its formulas say.

    Parameters
    ----------
    feature_set : FeatureSet
        Set to check, without anything left to include.

    Returns
    -------
    Program
        The compiled formulas, in set order; the claims hold.

    Raises
    ------
    ConfigError
        For a wrong formula, a wrong lookback, a causality class stronger than the formula's, a
        formula of published fields that does not say when they are known, a formula that is
        listed under two names, or a set that still has others to include.

    Examples
    --------
    >>> spec = FeatureSpec(name="MA5", expression="Mean($close, 5)/$close", lookback_sessions=4,
    ...                    causality="CAUSAL", unit="ratio", family="trend", source="Alpha158")
    >>> tiny = FeatureSet(name="tiny", version="1", features=(spec,))
    >>> check_feature_set(tiny)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    quant_engine.core.errors.ConfigError: feature set 'tiny', feature 'MA5', lookback_sessions: ...
    """
    if feature_set.include:
        raise ConfigError(
            f"feature set {feature_set.name!r}",
            wanted="a set put together with the sets that it includes",
            got=f"include: {', '.join(feature_set.include)}",
            hint="Read it with quant_engine.features.pipeline.whole_set.",
        )
    program = compile_expressions(
        {spec.name: spec.expression for spec in feature_set.features},
        allow_future=any(s.causality is Causality.RESEARCH_ONLY for s in feature_set.features),
    )
    seen: dict[str, str] = {}
    for spec, formula in zip(feature_set.features, program.canonical, strict=True):
        where = f"feature set {feature_set.name!r}, feature {spec.name!r}"
        _check_claims(spec, program, where)
        if formula in seen:
            raise ConfigError(
                where,
                wanted="one name per formula",
                got=f"a repetition of {seen[formula]!r}",
                hint="Remove one of the two.",
            )
        seen[formula] = spec.name
    return program


def _check_claims(spec: FeatureSpec, program: Program, where: str) -> None:
    lookback = program.lookback_of(spec.name)
    if spec.lookback_sessions != lookback:
        raise ConfigError(
            f"{where}, lookback_sessions",
            wanted=str(lookback),
            got=spec.lookback_sessions,
            hint="The formula reads that many rows.",
        )
    causality = program.causality_of(spec.name)
    if spec.causality.strength > causality.strength:
        raise ConfigError(
            f"{where}, causality",
            wanted=f"{causality} or weaker",
            got=str(spec.causality),
            hint="A set cannot promise more than the formula does: it looks into the future.",
        )
    published = sorted(set(program.fields_of(spec.name)) - BAR_FIELDS)
    if published and not spec.known_when.strip():
        raise ConfigError(
            f"{where}, known_when",
            wanted=f"when the published field {published[0]!r} is known",
            got="nothing",
            hint=_misspelt(published[0])
            + "A field of unknown date is not point-in-time; write for instance "
            "known_when: published by the close of the session.",
        )


def _misspelt(field: str) -> str:
    guess = did_you_mean(field, {*BAR_FIELDS, *DERIVED})
    return f"{guess} " if guess.startswith("Did you mean") else ""


def _parts(program: Program) -> Iterator[Program]:
    # The same bits as the whole: a formula's value does not depend on its company.
    for first in range(0, len(program.names), FEATURES_PER_PASS):
        yield program.part(first, first + FEATURES_PER_PASS)


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
    >>> spec = FeatureSpec(name="CORR5", expression="Corr($close, $volume, 5)",
    ...                    lookback_sessions=5, causality="CAUSAL", unit="correlation",
    ...                    family="f", source="Alpha158")
    >>> required_fields(FeatureSet(name="tiny", version="1", features=(spec,)))
    ('close', 'volume')
    """
    return check_feature_set(feature_set).fields


def _check_panel(panel: Panel, feature_set: FeatureSet, program: Program) -> None:
    lacking = [name for name in program.fields if name not in panel.fields]
    if lacking:
        users = [n for n in feature_set.names if set(program.fields_of(n)) & set(lacking)]
        raise MissingFieldError(
            f"feature set {feature_set.name!r}",
            wanted=f"panel fields {', '.join(lacking)} (for {', '.join(users[:5])}"
            + (f" and {len(users) - 5} more)" if len(users) > 5 else ")"),
            got="absent",
            hint=missing_hint(lacking[0], panel.fields),
        )
    check_adjusted(panel, program.fields, where=f"feature set {feature_set.name!r}")
