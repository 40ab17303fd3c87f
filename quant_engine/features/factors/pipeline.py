"""Factor pipeline: winsorise, z-score, neutralise, each session on its own.

1. `run_factors` computes every enabled factor, after what it requires.
2. Values outside the session's quantiles are pulled in.
3. The z-score of the session is taken.
4. What sector, market slope, size or any other factor explains is taken out, by group means or by
   one regression per session.

Only assets of the mask ``member`` are counted and scored, where the panel has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.config import FrozenConfig
from quant_engine.core.panel import Panel
from quant_engine.features.factors.base import FactorInputs, FactorSpec
from quant_engine.features.factors.plan import run_factors
from quant_engine.stats.cross_section import group_mean, winsorise, z_score
from quant_engine.stats.neutralise import neutralise

__all__ = [
    "FactorPipelineSpec",
    "NeutraliseSpec",
    "compute_factors",
    "enabled_specs",
    "neutral_scores",
    "neutralise_panel",
    "standardise",
]


class NeutraliseSpec(FrozenConfig):
    """What scores are made neutral to.

    Parameters
    ----------
    method : {"regression", "group_mean", "none"}
        ``group_mean`` subtracts the mean of the asset's group; ``regression`` takes group dummies
        and exposures out together.
    group : str or None
        Panel group such as ``sector``; an asset whose group is unknown gets no score.
    exposures : tuple of FactorSpec
        Factors such as ``beta`` and ``size``, winsorised and z-scored before; ``regression`` alone.
    proportion : float
        Share of the explained part that is taken out.

    Examples
    --------
    >>> NeutraliseSpec().method
    'none'
    """

    method: Literal["regression", "group_mean", "none"] = "none"
    group: str | None = None
    exposures: tuple[FactorSpec, ...] = ()
    proportion: float = Field(default=1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> NeutraliseSpec:
        if self.method == "none" and (self.group or self.exposures):
            raise ValueError("a group or exposures need a method")
        if self.method == "group_mean" and (self.group is None or self.exposures):
            raise ValueError("group_mean takes a group and no exposures")
        if self.method == "regression" and not (self.group or self.exposures):
            raise ValueError("regression takes a group, exposures, or both")
        return self


class FactorPipelineSpec(FrozenConfig):
    """Which factors, and how their scores are made comparable.

    Parameters
    ----------
    name : str
        Name of the pipeline.
    factors : tuple of FactorSpec
        In the order of the columns.
    lower_tail_frac, upper_tail_frac : float
        Share of each tail that is pulled in; 0 = none.
    neutralise : NeutraliseSpec
        What comes last.

    Examples
    --------
    >>> spec = FactorPipelineSpec(name="tiny", factors=({"name": "vsm"}, {"name": "bab"}))
    >>> [factor.label for factor in spec.factors]
    ['vsm', 'bab']
    """

    name: str
    factors: tuple[FactorSpec, ...] = Field(min_length=1)
    lower_tail_frac: float = Field(default=0.01, ge=0, lt=0.5)
    upper_tail_frac: float = Field(default=0.01, ge=0, lt=0.5)
    neutralise: NeutraliseSpec = NeutraliseSpec()

    @model_validator(mode="after")
    def _check(self) -> FactorPipelineSpec:
        labels = [factor.label for factor in self.factors if factor.enabled]
        repeated = sorted({label for label in labels if labels.count(label) > 1})
        if repeated:
            raise ValueError(f"several factors are called {', '.join(repeated)}; use `column`")
        if not labels:
            raise ValueError("at least one factor must be enabled")
        return self


def compute_factors(inputs: FactorInputs, spec: FactorPipelineSpec) -> Panel:
    """Compute the scores of a pipeline.

    Parameters
    ----------
    inputs : FactorInputs
        Market panel (T, N) and views of every report item that a factor needs.
    spec : FactorPipelineSpec
        Factors and treatment.

    Returns
    -------
    Panel
        One float64 field per enabled factor, in units of standard deviations of the session, on the
        axes, masks and groups of the panel; NaN = no score.

    Raises
    ------
    ConfigError
        For an unknown factor or parameter, or factors that require each other in a circle.
    MissingFieldError
        When the panel lacks a field or group, or a report item is not given.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03"])
    >>> close = np.array([[10.0, 10.0, 10.0], [11.0, 10.0, 9.0]])
    >>> panel = Panel(axis, ("A@US#1", "B@US#1", "C@US#1"), {"close": close})
    >>> day = FactorSpec(name="momentum", params={"lookback_sessions": 1})
    >>> scores = compute_factors(FactorInputs(panel), FactorPipelineSpec(name="x", factors=(day,)))
    >>> scores.field("momentum").round(3)[1, ::2].tolist()
    [1.0, -1.0]
    """
    wanted = enabled_specs(spec)
    computed = run_factors(inputs, [*wanted, *spec.neutralise.exposures])
    exposures = [
        standardise(computed.factor(one), spec, inputs=inputs) for one in spec.neutralise.exposures
    ]
    fields: dict[str, FloatMatrix] = {}
    for factor in wanted:
        score = standardise(computed.factor(factor), spec, inputs=inputs)
        fields[factor.label] = neutral_scores(score, spec.neutralise, inputs, exposures)
    panel = inputs.panel
    return Panel(panel.time, panel.asset_ids, fields, panel.masks, panel.groups, panel.price_basis)


def enabled_specs(spec: FactorPipelineSpec) -> tuple[FactorSpec, ...]:
    """Factors of a pipeline that are switched on.

    Parameters
    ----------
    spec : FactorPipelineSpec
        Pipeline.

    Returns
    -------
    tuple of FactorSpec
        In order.

    Examples
    --------
    >>> off = FactorSpec(name="bab", enabled=False)
    >>> spec = FactorPipelineSpec(name="x", factors=(FactorSpec(name="vsm"), off))
    >>> [factor.name for factor in enabled_specs(spec)]
    ['vsm']
    """
    return tuple(factor for factor in spec.factors if factor.enabled)


def standardise(
    values: FloatMatrix, spec: FactorPipelineSpec, *, inputs: FactorInputs
) -> FloatMatrix:
    """Winsorise and z-score each session.

    Parameters
    ----------
    values : ndarray of float64, shape (T, N)
        Factor values; NaN = missing.
    spec : FactorPipelineSpec
        Shares of the tails.
    inputs : FactorInputs
        Says who is counted.

    Returns
    -------
    ndarray of float64, shape (T, N)
        Standard deviations of the session.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> panel = Panel(TimeAxis.sessions(["2020-01-02"]), ("A@US#1", "B@US#1", "C@US#1"), {})
    >>> spec = FactorPipelineSpec(name="x", factors=({"name": "vsm"},), lower_tail_frac=0.0)
    >>> standardise(np.array([[1.0, 2.0, 3.0]]), spec, inputs=FactorInputs(panel)).round(2).tolist()
    [[-1.0, 0.01, 1.0]]
    """
    pulled = winsorise(
        np.asarray(values, dtype=np.float64),
        tail_frac=spec.lower_tail_frac,
        upper_tail_frac=spec.upper_tail_frac,
        mask=inputs.member,
    )
    return z_score(pulled, mask=inputs.member)


def neutral_scores(
    score: FloatMatrix,
    spec: NeutraliseSpec,
    inputs: FactorInputs,
    exposures: Sequence[FloatMatrix] = (),
) -> FloatMatrix:
    """Take out of scores what a pipeline is made neutral to.

    Parameters
    ----------
    score : ndarray of float64, shape (T, N)
        Standardised scores.
    spec : NeutraliseSpec
        Method and group.
    inputs : FactorInputs
        Holds the groups.
    exposures : sequence of ndarray of float64, shape (T, N)
        Standardised values of ``spec.exposures``, in that order.

    Returns
    -------
    ndarray of float64, shape (T, N)
        Neutral scores.

    Examples
    --------
    >>> from quant_engine.core.panel import GroupTable, TimeAxis
    >>> ids = ("A@US#1", "B@US#1", "C@US#1")
    >>> sector = GroupTable(np.array([[0, 0, 1]]), ("one", "two"))
    >>> panel = Panel(TimeAxis.sessions(["2020-01-02"]), ids, {}, groups={"sector": sector})
    >>> neutral = NeutraliseSpec(method="group_mean", group="sector")
    >>> neutral_scores(np.array([[1.0, 2.0, 4.0]]), neutral, FactorInputs(panel)).tolist()
    [[-0.5, 0.5, 0.0]]
    """
    if spec.method == "none":
        return score
    codes: npt.NDArray[np.integer] | None = None
    if spec.group is not None:
        codes = inputs.panel.group(spec.group).codes
    if spec.method == "group_mean" and codes is not None:
        return score - spec.proportion * group_mean(score, codes)
    return neutralise(score, exposures=exposures, codes=codes, proportion=spec.proportion)


def neutralise_panel(
    features: Panel,
    exposures: Sequence[FloatMatrix],
    *,
    group: str | None = None,
    proportion: float = 1.0,
) -> Panel:
    """Make every field of a panel of features neutral to exposures and a group, session by session.

    Parameters
    ----------
    features : Panel
        Features (T, N); the mask ``member``, where it exists, says who is counted.
    exposures : sequence of ndarray of float, shape (T, N)
        What is taken out; may be empty when a group is named.
    group : str, optional
        Panel group such as ``sector``.
    proportion : float
        Share of the explained part that is taken out, in [0, 1].

    Returns
    -------
    Panel
        The same fields as residuals, float64.

    Raises
    ------
    ConfigError
        For a proportion outside [0, 1], or nothing to be neutral to.
    MissingFieldError
        When the panel has no such group.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> ids = ("A@US#1", "B@US#1", "C@US#1")
    >>> panel = Panel(TimeAxis.sessions(["2020-01-02"]), ids, {"x": np.array([[1.0, 2.0, 4.0]])})
    >>> out = neutralise_panel(panel, [np.array([[0.0, 1.0, 0.0]])])
    >>> out.field("x").round(6).tolist()
    [[-1.5, 0.0, 1.5]]
    """
    codes = None if group is None else features.group(group).codes
    fields = {
        name: neutralise(
            values,
            exposures=exposures,
            codes=codes,
            mask=features.masks.get("member"),
            proportion=proportion,
        )
        for name, values in features.fields.items()
    }
    return features.with_fields(fields)
