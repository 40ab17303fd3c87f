"""Feature sets: an ordered, named list of features as frozen data.

A set is written as YAML under ``specs/features`` and read by `quant_engine.core.specs`; compute
code receives the frozen object. The order is part of the set, and so of its id: a model fitted on
one order refuses another. A set may take in others by name; `whole_set` puts them together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from quant_engine.core.causality import Causality
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, did_you_mean

__all__ = ["FeatureSet", "FeatureSpec", "whole_set"]

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


class FeatureSpec(FrozenConfig):
    """One feature: a formula under a name, with its promises.

    Parameters
    ----------
    name : str
        Column name.
    expression : str
        Formula, see `quant_engine.features.expressions`.
    lookback_sessions : int
        Rows, including the newest, that one value needs. Must be what the formula says.
    causality : Causality
        When the value may be used; there is no default, an unknown class is an error.
    unit : str
        Unit of the values.
    family : str
        Group for reports, such as ``"momentum"``.
    source : str
        Where the formula comes from.
    version : str
        Version of the feature; a new one whenever its formula changes under the same name.
    known_when : str
        When the values are known. Required of a formula that reads published fields, because
        nothing else proves that they are point-in-time; prices and volumes of a bar are known at
        its close.
    """

    name: Identifier
    expression: str = Field(min_length=1)
    lookback_sessions: int = Field(ge=1)
    causality: Causality
    unit: str = Field(min_length=1)
    family: str = Field(min_length=1)
    source: str = Field(min_length=1)
    version: str = Field(default="1", min_length=1)
    known_when: str = ""


class FeatureSet(FrozenConfig):
    """An ordered list of features with unique names.

    Parameters
    ----------
    name : str
        Name of the set, the same as its file.
    version : str
        Version of the set; a new one whenever a feature changes.
    features : tuple of FeatureSpec
        The order is the column order of every panel and model built from it.
    include : tuple of str
        Sets whose features come first, in that order; gone once `whole_set` has put them together.
    omit : tuple of str
        Features of the included sets that are left out.

    Examples
    --------
    >>> spec = FeatureSpec(name="MA5", expression="Mean($close, 5)/$close", lookback_sessions=5,
    ...                    causality="CAUSAL", unit="ratio", family="trend", source="Alpha158")
    >>> tiny = FeatureSet(name="tiny", version="1", features=(spec,))
    >>> tiny.names, tiny.max_lookback_sessions, len(tiny.set_id())
    (('MA5',), 5, 64)
    """

    name: Identifier
    version: str = Field(min_length=1)
    features: tuple[FeatureSpec, ...] = ()
    include: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    omit: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        seen: set[str] = set()
        for spec in self.features:
            if spec.name in seen:
                raise ValueError(
                    f"feature name {spec.name!r} occurs twice. Give each feature its own name."
                )
            seen.add(spec.name)
        if not self.features and not self.include:
            raise ValueError("a set needs features, or other sets to include.")
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
        """Hash of the whole set: names, order, formulas and promises."""
        return self.config_id()


def whole_set(name: str, load: Callable[[str], FeatureSet]) -> FeatureSet:
    """Read a set and put the sets that it includes in front of its own features.

    Parameters
    ----------
    name : str
        Name of the set.
    load : callable
        Reads one set by name, as ``SpecCatalog.load`` does.

    Returns
    -------
    FeatureSet
        The same name and version, every feature, nothing left to include. A feature that two
        included sets share stands once, at its first place.

    Raises
    ------
    ConfigError
        When sets include each other in a circle, when one name means two formulas, or when `omit`
        names a feature that no included set has.

    Examples
    --------
    >>> spec = FeatureSpec(name="MA5", expression="Mean($close, 5)/$close", lookback_sessions=5,
    ...                    causality="CAUSAL", unit="ratio", family="trend", source="Alpha158")
    >>> files = {"tiny": FeatureSet(name="tiny", version="1", features=(spec,)),
    ...          "all": FeatureSet(name="all", version="1", include=("tiny",))}
    >>> whole_set("all", files.__getitem__).names
    ('MA5',)
    """
    return _whole(name, load, ())


def _whole(name: str, load: Callable[[str], FeatureSet], outer: tuple[str, ...]) -> FeatureSet:
    if name in outer:
        raise ConfigError(
            f"feature set {outer[0]!r}, include",
            wanted="sets that do not include each other in a circle",
            got=" -> ".join([*outer, name]),
            hint="Remove one of the inclusions.",
        )
    own = load(name)
    if not own.include:
        return own
    found: dict[str, FeatureSpec] = {}
    for part in own.include:
        for spec in _whole(part, load, (*outer, name)).features:
            _add(found, spec, f"feature set {name!r}, include {part!r}")
    unknown = [feature for feature in own.omit if feature not in found]
    if unknown:
        raise ConfigError(
            f"feature set {name!r}, omit",
            wanted="features of the included sets",
            got=unknown[0],
            hint=did_you_mean(unknown[0], found),
        )
    kept = {feature: spec for feature, spec in found.items() if feature not in own.omit}
    for spec in own.features:
        _add(kept, spec, f"feature set {name!r}")
    return FeatureSet(name=own.name, version=own.version, features=tuple(kept.values()))


def _add(found: dict[str, FeatureSpec], spec: FeatureSpec, where: str) -> None:
    if found.setdefault(spec.name, spec) != spec:
        raise ConfigError(
            where,
            wanted=f"one meaning of the feature {spec.name!r}",
            got=f"{found[spec.name].expression!r} and {spec.expression!r}",
            hint="Rename one of the two, or leave one out with omit.",
        )
