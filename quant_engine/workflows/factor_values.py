"""Values of chosen factors: formulas, features of a set and plug-ins as one panel.

Every source gives columns under names of their own. A whole feature set goes through the stage that
training uses, so that equal data gives one artifact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quant_engine.artifacts.kinds.panel import FEATURE_PANEL
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.core.causality import Causality
from quant_engine.core.errors import ConfigError, MissingFieldError, did_you_mean
from quant_engine.core.hashing import sha256_json
from quant_engine.core.panel import Panel
from quant_engine.data.universe import total_returns
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.factors import FACTORS, FactorSpec, build_factor
from quant_engine.features.factors.pipeline import FactorPipelineSpec
from quant_engine.features.factors.plan import factor_causality, factor_needs
from quant_engine.features.pipeline import compute_features
from quant_engine.features.sets import FeatureSet, FeatureSpec
from quant_engine.features.volatility import trailing_volatility
from quant_engine.models.inputs import FeatureSchema, ModelFeatures
from quant_engine.workflows.context import Stages, Workspace
from quant_engine.workflows.data import LoadedData
from quant_engine.workflows.factor_config import FactorChoice
from quant_engine.workflows.factors import factor_scores
from quant_engine.workflows.inputs import (
    feature_schema,
    feature_stage,
    feature_version,
    read_feature_set,
)


@dataclass(frozen=True)
class ChosenFactors:
    """Factors under unique names: features first, then plug-ins.

    Parameters
    ----------
    features : FeatureSet or None
        Formulas.
    plugins : FactorPipelineSpec or None
        Registered factors.
    """

    features: FeatureSet | None
    plugins: FactorPipelineSpec | None = None

    def __post_init__(self) -> None:
        names = self.names
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated or not names:
            raise ConfigError(
                "factors",
                wanted="at least one, each under a name of its own",
                got=f"{repeated[0]!r} twice" if repeated else "none",
                hint="Write --expr NAME=FORMULA with another name.",
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names in column order."""
        features = () if self.features is None else self.features.names
        return features + tuple(spec.label for spec in _plugin_specs(self.plugins))

    @property
    def set_id(self) -> str:
        """Hash of everything that determines the values."""
        if self.plugins is None and self.features is not None:
            return self.features.set_id()
        parts = [part and part.content() for part in (self.features, self.plugins)]
        return sha256_json([parts, [FACTORS.metadata(s.name).version for s in self._specs]])

    @property
    def version(self) -> str:
        """Name and beginning of the hash, for manifests."""
        if self.plugins is None and self.features is not None:
            return feature_version(self.features)
        return f"factors/{self.set_id[:12]}"

    @property
    def shortest_lookback_sessions(self) -> int:
        """Rows that the first of all factors to have a value needs."""
        features = () if self.features is None else self.features.features
        found = [spec.lookback_sessions for spec in features]
        return min([*found, *(build_factor(spec).lookback_sessions for spec in self._specs)])

    @property
    def _specs(self) -> tuple[FactorSpec, ...]:
        return _plugin_specs(self.plugins)

    def descriptions(self) -> list[dict[str, str]]:
        """Return ``factor, family, formula, unit`` of each factor in column order."""
        features = () if self.features is None else self.features.features
        rows = [
            {"factor": s.name, "family": s.family, "formula": s.expression, "unit": s.unit}
            for s in features
        ]
        return rows + [
            {
                "factor": spec.label,
                "family": "plug-in",
                "formula": f"{spec.name}: {FACTORS.metadata(spec.name).summary}",
                "unit": "standard deviations of the session",
            }
            for spec in self._specs
        ]


def chosen_factors(workspace: Workspace, choice: FactorChoice, *, default: str) -> ChosenFactors:
    """Look up the chosen factors.

    Parameters
    ----------
    workspace : Workspace
        Specs.
    choice : FactorChoice
        What is wanted.
    default : str
        Feature set where `choice` names none.

    Returns
    -------
    ChosenFactors
        Features, formulas and plug-ins together. A set counts whole unless some of its features
        are named; the default set counts only where nothing is chosen, or for its features.

    Raises
    ------
    ConfigError
        For a name that neither the set nor the registry has, with the nearest ones; for a formula
        that cannot be read; for one name twice.
    """
    picked: tuple[FeatureSpec, ...] = ()
    if choice.features or choice.feature_set or not choice.names_some:
        whole = read_feature_set(workspace, choice.feature_set or default)
        picked = pick_features(whole, choice.features) if choice.features else whole.features
        if not choice.names_some:
            return ChosenFactors(whole)
    written = tuple(expression_feature(name, text) for name, text in choice.expressions)
    return ChosenFactors(features_of((*picked, *written)), plugins_of(choice.plugins))


def features_of(specs: Sequence[FeatureSpec]) -> FeatureSet | None:
    """Put single features together as a set under the name ``chosen``; None without any."""
    return FeatureSet(name="chosen", version="1", features=tuple(specs)) if specs else None


def plugins_of(names: Sequence[str]) -> FactorPipelineSpec | None:
    """Put registered factors together as a pipeline with default settings; None without any.

    Parameters
    ----------
    names : sequence of str
        Registered names.

    Returns
    -------
    FactorPipelineSpec or None
        Winsorised at 1 % a side and z-scored, not neutralised.

    Raises
    ------
    ConfigError
        For an unknown name, with the nearest ones.

    Examples
    --------
    >>> plugins_of(["vsm"]).factors[0].name
    'vsm'
    """
    for name in names:
        FACTORS.get(name)
    if not names:
        return None
    return FactorPipelineSpec(name="chosen", factors=tuple(FactorSpec(name=name) for name in names))


def pick_features(feature_set: FeatureSet, names: Sequence[str]) -> tuple[FeatureSpec, ...]:
    """Pick features of a set by name.

    Parameters
    ----------
    feature_set : FeatureSet
        Whole set.
    names : sequence of str
        Wanted ones.

    Returns
    -------
    tuple of FeatureSpec
        In the order of `names`.

    Raises
    ------
    ConfigError
        For an unknown name, with the nearest ones.
    """
    known = {spec.name: spec for spec in feature_set.features}
    for name in names:
        if name not in known:
            raise ConfigError(
                f"factor {name!r}",
                wanted=f"a feature of the set {feature_set.name}",
                got="no such name",
                hint=did_you_mean(name, known),
            )
    return tuple(known[name] for name in names)


def expression_feature(name: str, text: str) -> FeatureSpec:
    """Describe a formula that somebody just wrote, as a feature.

    Parameters
    ----------
    name : str
        Name of the factor.
    text : str
        Formula.

    Returns
    -------
    FeatureSpec
        With what the compiler found out about the formula.

    Raises
    ------
    ExpressionError
        With the place in the formula.

    Examples
    --------
    >>> expression_feature("mom", "$close/Ref($close, 20)").lookback_sessions
    21
    """
    program = compile_expressions({name: text})
    return FeatureSpec(
        name=name,
        expression=text,
        lookback_sessions=program.lookback_of(name),
        causality=Causality.CAUSAL,
        unit="as written",
        family="expression",
        source="written for this run",
        known_when="at the close of the session whose row holds it",
    )


def value_stage(
    workspace: Workspace, stages: Stages, data: LoadedData, chosen: ChosenFactors
) -> dict[str, ArtifactRef]:
    """Compute the values of chosen factors.

    Parameters
    ----------
    workspace : Workspace
        Progress.
    stages : Stages
        Writes the artifact.
    data : LoadedData
        The market.
    chosen : ChosenFactors
        What to compute.

    Returns
    -------
    dict of str to ArtifactRef
        Role ``features``.

    Raises
    ------
    MissingFieldError
        When the market lacks a field, or a plug-in needs reports that are not there.
    """
    features, plugins = chosen.features, chosen.plugins
    if plugins is None and features is not None:
        return feature_stage(workspace, stages, data, features)

    needs = factor_needs(_plugin_specs(plugins))
    if needs and data.statements is None:
        raise MissingFieldError(
            "statements",
            wanted=f"reports of companies with {needs[0].item}",
            got="none",
            hint="Name a table of reports with --statements FILE, or leave the factor out.",
        )
    reports = [] if data.statements is None else [s.sha256 for s in data.statements.sources]

    def compute() -> dict[str, tuple[Any, Any]]:
        panel = data.panel
        fields: dict[str, Any] = {}
        if features is not None:
            fields |= compute_features(panel, features, progress=workspace.progress).fields
        if plugins is not None:
            with workspace.progress.stage("factor plug-ins", 1):
                fields |= factor_scores(panel, plugins, statements=data.statements).fields
        values = Panel(
            panel.time, panel.asset_ids, fields, panel.masks, panel.groups, panel.price_basis
        )
        return {"features": (FEATURE_PANEL, values)}

    return stages.run(
        "factors.values",
        compute,
        packages=FEATURE_PANEL.packages,
        config={"factors": chosen.set_id, "statements": reports},
        inputs=(data.refs["panel"],),
        facts={"feature_version": chosen.version},
    )


def model_inputs(values: Panel, chosen: ChosenFactors, panel: Panel) -> ModelFeatures:
    """Put factor values, their identity and the trailing volatility together for a model.

    Parameters
    ----------
    values : Panel
        From :func:`value_stage`, (T, N).
    chosen : ChosenFactors
        Their definition.
    panel : Panel
        The market panel they were computed from.

    Returns
    -------
    ModelFeatures
        Input of trainer and predictor.
    """
    causality: tuple[Causality, ...] = ()
    if chosen.features is not None:
        causality = feature_schema(chosen.features).causality
    # A price is known at the close, a report of its day in the evening.
    plugins = [factor_causality([spec]) for spec in _plugin_specs(chosen.plugins)]
    schema = FeatureSchema(
        set_id=chosen.set_id,
        names=chosen.names,
        causality=(*causality, *plugins),
    )
    volatility = trailing_volatility(total_returns(panel))
    return ModelFeatures(values.only_fields(chosen.names), schema, volatility)


def _plugin_specs(plugins: FactorPipelineSpec | None) -> tuple[FactorSpec, ...]:
    return () if plugins is None else plugins.factors
