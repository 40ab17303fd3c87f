"""Feature sets: an ordered, named list of features as frozen data.

A set is written as YAML under ``specs/features`` and read by `quant_engine.core.specs`; compute
code receives the frozen object. The order is part of the set, and so of its id: a model fitted on
one order refuses another.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from quant_engine.core.causality import Causality
from quant_engine.core.config import FrozenConfig

__all__ = ["EXPRESSION", "PASS_THROUGH", "FeatureSet", "FeatureSpec"]

PASS_THROUGH = "pass_through"
"""The kind that copies a panel field of the feature's own name."""

EXPRESSION = "expression"
"""The kind of a feature whose formula stands in the set itself."""

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


class FeatureSpec(FrozenConfig):
    """One feature: a kind with a window, under a name, with its promises.

    Parameters
    ----------
    name : str
        Column name; for a pass-through also the panel field.
    kind : str
        Registered formula, see `quant_engine.features.kinds.FEATURE_KINDS`, or ``"expression"``.
    window : int
        Length in sessions; 0 for a kind without a window.
    lookback_sessions : int
        Rows, including the newest, that one value needs. Must be what the kind says.
    causality : Causality
        When the value may be used; there is no default, an unknown class is an error.
    unit : str
        Unit of the values.
    family : str
        Group for reports, such as ``"momentum"``.
    source : str
        Where the formula comes from.
    known_when : str
        For a pass-through: when the published value is known. Required there, because nothing
        else proves that the field is point-in-time.
    expression : str
        For the kind ``"expression"``: the formula, see `quant_engine.features.expressions`. Left
        out of the content, and so of the id, where there is none.
    """

    name: Identifier
    kind: str
    window: int = Field(default=0, ge=0)
    lookback_sessions: int = Field(ge=1)
    causality: Causality
    unit: str = Field(min_length=1)
    family: str = Field(min_length=1)
    source: str = Field(min_length=1)
    known_when: str = ""
    expression: str = Field(default="", exclude_if=lambda text: not text)

    @model_validator(mode="after")
    def _pass_through_says_when_it_is_known(self) -> Self:
        if self.kind == PASS_THROUGH and not self.known_when.strip():
            raise ValueError(
                f"feature {self.name!r}: known_when is missing. Say when the published value of "
                "a passed-through field is known; a field of unknown date is not point-in-time."
            )
        return self

    @model_validator(mode="after")
    def _formula_stands_where_it_is_read(self) -> Self:
        if (self.kind == EXPRESSION) != bool(self.expression.strip()):
            raise ValueError(
                f"feature {self.name!r}: a formula goes with the kind {EXPRESSION!r} and with no "
                f"other. Set kind: {EXPRESSION} and expression: <formula>, or remove the formula."
            )
        return self


class FeatureSet(FrozenConfig):
    """An ordered list of features with unique names.

    Parameters
    ----------
    name : str
        Name of the set, the same as its file.
    version : str
        Version of the set; a new one whenever a feature changes.
    features : tuple of FeatureSpec
        At least one; the order is the column order of every panel and model built from it.

    Examples
    --------
    >>> spec = FeatureSpec(name="MA5", kind="ma", window=5, lookback_sessions=5,
    ...                    causality="CAUSAL", unit="ratio", family="trend", source="Alpha158")
    >>> tiny = FeatureSet(name="tiny", version="1", features=(spec,))
    >>> tiny.names, tiny.max_lookback_sessions, len(tiny.set_id())
    (('MA5',), 5, 64)
    """

    name: Identifier
    version: str = Field(min_length=1)
    features: tuple[FeatureSpec, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        seen: set[str] = set()
        for spec in self.features:
            if spec.name in seen:
                raise ValueError(
                    f"feature name {spec.name!r} occurs twice. Give each feature its own name."
                )
            seen.add(spec.name)
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names in column order."""
        return tuple(spec.name for spec in self.features)

    @property
    def max_lookback_sessions(self) -> int:
        """Rows, including the newest, that the last row of all features needs."""
        return max(spec.lookback_sessions for spec in self.features)

    def set_id(self) -> str:
        """Hash of the whole set: names, order, formulas, windows and promises."""
        return self.config_id()
