"""TrainConfig: every setting of a training run, composed from the components' own configs.

Precedence: ``--set a.b=v`` and flags, then ``QE_A__B`` in the environment, then ``config.py``, then
the defaults beside each component.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError
from quant_engine.core.specs import SpecCatalog, build_config
from quant_engine.data.loader import LoadRequest
from quant_engine.features.labels import LabelConfig
from quant_engine.features.sample_weights import SampleWeights
from quant_engine.features.training_labels import FormConfig, LabelForm, learned_field
from quant_engine.models.config import ModelConfig
from quant_engine.regime.detector import RegimeConfig
from quant_engine.stats.splits import WalkForwardConfig

RECENCY_DECAY_PER_DAY = 0.003
"""Decay that ``--recency`` switches on: half weight after 231 calendar days."""

DEFAULT_FEATURE_SETS = {"simulated": "simulated_core"}
OTHER_FEATURE_SET = "price_volume_core"


class TrainConfig(FrozenConfig):
    """Everything that determines a training run, except where raw data lies.

    Parameters
    ----------
    data : LoadRequest
        Which market data, how cleaned, against which universe and benchmark.
    feature_set : str
        Name in ``specs/features``.
    target : str
        Form of the label to learn, a name in ``features.training_labels.FORMS``.
    labels : LabelConfig
        Horizon and entry lag.
    forms : FormConfig
        Beta, costs, barriers and primary signal of the forms that need them. Left out of the
        content, and so of the id, where nothing differs from the defaults.
    weights : SampleWeights
        Uniqueness and time decay of the training rows; left out in the same way.
    regime : RegimeConfig
        Regime detector.
    split : WalkForwardConfig
        Walk-forward plan.
    model : ModelConfig
        Members, maps, quality rules.
    seed : int
        Seed of every learner that draws random numbers.
    """

    data: LoadRequest = LoadRequest()
    feature_set: str = ""
    target: LabelForm = "excess"
    labels: LabelConfig = LabelConfig()
    forms: FormConfig = Field(default=FormConfig(), exclude_if=lambda forms: forms == FormConfig())
    weights: SampleWeights = Field(
        default=SampleWeights(), exclude_if=lambda weights: weights.is_plain
    )
    regime: RegimeConfig = RegimeConfig()
    split: WalkForwardConfig = WalkForwardConfig(test_sessions=126)
    model: ModelConfig = ModelConfig()
    seed: int = Field(default=7, ge=0)

    @property
    def target_field(self) -> str:
        """Name of the label field to learn."""
        return learned_field(self.target, self.labels.horizon_sessions)

    def seeded_model(self) -> ModelConfig:
        """Return the model configuration with the run's seed in members that take one."""
        members = tuple(
            member
            if member.learner == "ridge"
            else member.model_copy(update={"params": {"seed": self.seed, **member.params}})
            for member in self.model.members
        )
        return self.model.model_copy(update={"members": members})


DEFAULT_WORLD = "demo"
DEFAULT_QUALITY = "default"


def resolve_train_config(
    overrides: dict[str, Any],
    catalog: SpecCatalog,
    *,
    world: str | None = None,
    quality: str | None = None,
) -> TrainConfig:
    """Build the configuration of a run from nested overrides.

    Parameters
    ----------
    overrides : dict
        Nested plain values; unknown keys are refused with the nearest known name.
    catalog : SpecCatalog
        Specs that names refer to.
    world, quality : str, optional
        Names in ``specs/worlds`` and ``specs/quality``.

    Returns
    -------
    TrainConfig
        Complete: specs are filled in, and ``feature_set`` follows the source when not given.

    Raises
    ------
    ConfigError
        For an unknown key or a value outside its limits.
    """
    config = build_config(TrainConfig, overrides, where="settings")
    data = config.data.completed(
        catalog, quality=quality or DEFAULT_QUALITY, world=world or DEFAULT_WORLD
    )
    config = config.model_copy(update={"data": data})
    if not config.feature_set:
        name = DEFAULT_FEATURE_SETS.get(config.data.source, OTHER_FEATURE_SET)
        config = config.model_copy(update={"feature_set": name})
    return config


def section_of(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a copy of one section of nested settings, empty where it is not there.

    Parameters
    ----------
    values : mapping
        Nested plain values.
    name : str
        Section.

    Returns
    -------
    dict
        Its settings.

    Raises
    ------
    ConfigError
        When the name holds something else than a section.

    Examples
    --------
    >>> section_of({"model": {"n_trees": 5}}, "model"), section_of({}, "model")
    ({'n_trees': 5}, {})
    """
    section = values.get(name, {})
    if not isinstance(section, dict):
        raise ConfigError(
            f"settings: {name}",
            wanted="a section of settings",
            got=repr(section)[:200],
            hint=f"Write --set {name}.KEY=VALUE.",
        )
    return dict(section)
