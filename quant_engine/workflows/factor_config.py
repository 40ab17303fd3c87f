"""Which factors are studied, ranked or added, and on which data: the settings of `run_factors.py`.

Data, labels, regimes, folds and model are those of a training run and take the same settings; the
section ``study`` says what is asked of every factor.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, did_you_mean
from quant_engine.core.specs import SpecCatalog, build_config
from quant_engine.stats.factor_study import FactorStudyConfig
from quant_engine.workflows.config import TrainConfig, resolve_train_config, section_of

SECTIONS = ("study", "ranking")
"""Settings that only factor research has."""

PREDICTION = "prediction"
"""Name of the newest model's forecast among the parts of a ranking."""

DEFAULT_TOP = 50


def _pairs(value: object) -> object:
    # Stored configurations sort the keys of a mapping; the order of columns must survive that.
    return tuple(value.items()) if isinstance(value, Mapping) else value


Formulas = Annotated[tuple[tuple[str, str], ...], BeforeValidator(_pairs)]
Weights = Annotated[tuple[tuple[str, float], ...], BeforeValidator(_pairs)]


class FactorChoice(FrozenConfig):
    """Where factors come from; several sources are put together.

    Parameters
    ----------
    expressions : tuple of (str, str), or mapping
        Name and formula, in the order of the columns.
    features : tuple of str
        Names out of `feature_set`.
    plugins : tuple of str
        Registered factors with their default parameters, such as ``vsm``; their scores are
        winsorised and z-scored.
    feature_set : str
        Set in ``specs/features``; all of it unless some of its features are named.

    Examples
    --------
    >>> FactorChoice(expressions={"mom": "$close/Ref($close, 20)"}).names_some
    True
    """

    expressions: Formulas = ()
    features: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    feature_set: str = ""

    @property
    def names_some(self) -> bool:
        """Whether single factors are named."""
        return bool(self.expressions or self.features or self.plugins)


class FactorConfig(FrozenConfig):
    """Everything that determines a factor report.

    Parameters
    ----------
    run : TrainConfig
        Data, labels, target, regimes.
    choice : FactorChoice
        Factors.
    study : FactorStudyConfig
        Horizons, quantiles, delays.
    """

    run: TrainConfig
    choice: FactorChoice
    study: FactorStudyConfig = FactorStudyConfig()


class RankConfig(FrozenConfig):
    """Everything that determines a ranking.

    Parameters
    ----------
    run : TrainConfig
        Data and regimes.
    choice : FactorChoice
        Where the named parts are looked up.
    weights : tuple of (str, float), or mapping
        Weight of each part's z-score, in the order of the columns; ``prediction`` is the newest
        model's score.
    top : int or None
        Names that are kept of each session, best first; None = all.
    history : bool
        Whether every session is ranked, for a backtest of the ranking; else the last one alone.
    """

    run: TrainConfig
    choice: FactorChoice
    weights: Weights
    top: int | None = Field(default=DEFAULT_TOP, ge=1)
    history: bool = False


class GainConfig(FrozenConfig):
    """Everything that determines the measured gain of a block.

    Parameters
    ----------
    run : TrainConfig
        Data, labels, folds, model; its feature set is the baseline.
    block : FactorChoice
        Features that are added.
    """

    run: TrainConfig
    block: FactorChoice


def resolve_factor_config(
    overrides: Mapping[str, Any],
    catalog: SpecCatalog,
    *,
    choice: FactorChoice,
    world: str | None = None,
    quality: str | None = None,
) -> FactorConfig:
    """Build the configuration of a factor report from nested overrides.

    Parameters
    ----------
    overrides : mapping
        Those of a training run, and the section ``study``.
    catalog : SpecCatalog
        Specs that names refer to.
    choice : FactorChoice
        Factors.
    world, quality : str, optional
        Names in ``specs/worlds`` and ``specs/quality``.

    Returns
    -------
    FactorConfig
        The main horizon is the label horizon, and one of the horizons.

    Raises
    ------
    ConfigError
        For an unknown key or a value outside its limits.
    """
    run = _run_config(overrides, catalog, world=world, quality=quality)
    asked = section_of(overrides, "study")
    main = run.labels.horizon_sessions
    default = FactorStudyConfig.model_fields["horizons"].default
    horizons = asked.get("horizons", default)
    if isinstance(horizons, list | tuple):
        horizons = sorted({*horizons, main})
    study = {"main_horizon": main, **asked, "horizons": horizons}
    return FactorConfig(
        run=run,
        choice=choice,
        study=build_config(FactorStudyConfig, study, where="settings: study"),
    )


def resolve_rank_config(
    overrides: Mapping[str, Any],
    catalog: SpecCatalog,
    *,
    choice: FactorChoice,
    world: str | None = None,
    quality: str | None = None,
) -> RankConfig:
    """Build the configuration of a ranking from nested overrides.

    Parameters
    ----------
    overrides : mapping
        Those of a training run, and the section ``ranking``: ``weights`` (name to number),
        ``history``, ``top`` (50; a history keeps every name unless a number is given).
    catalog : SpecCatalog
        Specs that names refer to.
    choice : FactorChoice
        Formulas, and the feature set in which other names are looked up.
    world, quality : str, optional
        Names in ``specs/worlds`` and ``specs/quality``.

    Returns
    -------
    RankConfig
        Every weight finite, at least one not zero.

    Raises
    ------
    ConfigError
        Without weights, for a weight that is no number, for a formula or feature that was named
        but has no weight, or for an unknown key.
    """
    run = _run_config(overrides, catalog, world=world, quality=quality)
    asked = section_of(overrides, "ranking")
    weights = {name: _weight(name, value) for name, value in section_of(asked, "weights").items()}
    if not any(weights.values()):
        raise ConfigError(
            "--weights",
            wanted="a weight for every part of the score, not all zero",
            got=weights or "none",
            hint="Write --weights mom=0.6,prediction=0.4.",
        )
    for name in (*dict(choice.expressions), *choice.features, *choice.plugins):
        if name not in weights:
            raise ConfigError(
                f"--weights: {name}",
                wanted="a weight for every factor that is named",
                got="none",
                hint=did_you_mean(name, weights),
            )
    if asked.get("history") and asked.get("top") is None:
        asked["top"] = None
    content = {**asked, "run": run, "choice": choice, "weights": weights}
    return build_config(RankConfig, content, where="settings: ranking")


def resolve_gain_config(
    overrides: Mapping[str, Any],
    catalog: SpecCatalog,
    *,
    block: FactorChoice,
    world: str | None = None,
    quality: str | None = None,
) -> GainConfig:
    """Build the configuration of a measured gain from nested overrides.

    Parameters
    ----------
    overrides : mapping
        Those of a training run; its feature set is the baseline.
    catalog : SpecCatalog
        Specs that names refer to.
    block : FactorChoice
        What is added.
    world, quality : str, optional
        Names in ``specs/worlds`` and ``specs/quality``.

    Returns
    -------
    GainConfig
        Ready to run.

    Raises
    ------
    ConfigError
        Without a block, or for an unknown key.
    """
    if not block.names_some and not block.feature_set:
        raise ConfigError(
            "--block",
            wanted="features to add to the baseline",
            got="none",
            hint="Give --block SET, formulas with --expr, or plug-ins with --factors.",
        )
    if block.features and not block.feature_set:
        raise ConfigError(
            "--feature",
            wanted="the set that has these features",
            got=", ".join(block.features[:5]),
            hint="Name it with --block SET.",
        )
    run = _run_config(overrides, catalog, world=world, quality=quality)
    return GainConfig(run=run, block=block)


def _run_config(
    overrides: Mapping[str, Any], catalog: SpecCatalog, *, world: str | None, quality: str | None
) -> TrainConfig:
    rest = {name: value for name, value in overrides.items() if name not in SECTIONS}
    return resolve_train_config(rest, catalog, world=world, quality=quality)


def _weight(name: str, value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise ConfigError(
            f"--weights: {name}",
            wanted="a finite number",
            got=repr(value),
            hint="Write --weights mom=0.6,prediction=0.4.",
        )
    return number
