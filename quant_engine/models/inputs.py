"""ModelFeatures: what a model may see about a decision, and the identity of the feature set.

A fitted model accepts only the feature set it was trained on: same id, same names, same order.
The trailing volatility travels with the features because it too is known at the decision; it
scales intervals and is no input of a learner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
from quant_engine.core.causality import Causality
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import LookAheadError, SchemaMismatchError
from quant_engine.core.panel import Panel

__all__ = ["FeatureSchema", "ModelFeatures", "RowWeights", "Target"]


class RowWeights(Protocol):
    """Weighs the labels of one training window; must be picklable."""

    def __call__(
        self,
        first: npt.NDArray[np.int64],
        last: npt.NDArray[np.int64],
        asset: npt.NDArray[np.int64],
        *,
        n_bars: int,
    ) -> FloatVector:
        """Return one weight of at least 0 per label, from rows of entry and exit, oldest first."""
        ...


@dataclass(frozen=True)
class Target:
    """What a model learns, what its predictions are measured by, and how rows count.

    Parameters
    ----------
    learned : str
        Label field that the learners fit.
    outcome : str
        Label field of figures, expected returns and intervals, fraction.
    exit_field : str
        Field with the sessions from decision to exit of each single label; empty where all labels
        of a row end with its span. Read for `weigh` only: purging goes by the spans of rows.
    weigh : RowWeights or None
        Weights of the rows of a training window; None = all the same.

    Examples
    --------
    >>> Target.of("fwd_ret_5s").outcome
    'fwd_ret_5s'
    """

    learned: str
    outcome: str
    exit_field: str = ""
    weigh: RowWeights | None = None

    @classmethod
    def of(cls, target: str | Target) -> Target:
        """Read a field name as a target that is learned and measured alike."""
        return target if isinstance(target, Target) else cls(target, target)


class FeatureSchema(FrozenConfig):
    """Identity of a feature set, as far as a model cares.

    Parameters
    ----------
    set_id : str
        Hash of the feature set's definition.
    names : tuple of str
        Feature names in column order.
    causality : tuple of Causality
        One per name: when its value may be used. Trainer and predictor refuse ``RESEARCH_ONLY``.

    Examples
    --------
    >>> FeatureSchema(set_id="ab", names=("mom",), causality=("CAUSAL",)).names
    ('mom',)
    """

    set_id: str
    names: tuple[str, ...]
    causality: tuple[Causality, ...]

    @model_validator(mode="after")
    def _consistent(self) -> FeatureSchema:
        if not self.names or len(set(self.names)) != len(self.names):
            raise SchemaMismatchError(
                "feature names",
                wanted="at least one, all different",
                got=f"{len(self.names)} names, {len(set(self.names))} different",
                hint="Check the feature set.",
            )
        if len(self.names) != len(self.causality):
            raise SchemaMismatchError(
                "causality",
                wanted=f"{len(self.names)} entries, one per feature",
                got=len(self.causality),
                hint="Every feature declares when it is known.",
            )
        return self

    def require_usable(self) -> None:
        """Refuse a set that holds a research-only feature.

        Raises
        ------
        LookAheadError
            Names the features.
        """
        research = [
            name
            for name, kind in zip(self.names, self.causality, strict=True)
            if kind == Causality.RESEARCH_ONLY
        ]
        if research:
            raise LookAheadError(
                "feature set",
                wanted="features known at the decision (CAUSAL or END_OF_DAY)",
                got=f"RESEARCH_ONLY {', '.join(research[:5])}",
                hint="Research-only features may be studied, never trained on or used to predict.",
            )

    def require_same(self, other: FeatureSchema) -> None:
        """Refuse features that a model with this schema was not trained on.

        Parameters
        ----------
        other : FeatureSchema
            Schema of the features offered.

        Raises
        ------
        SchemaMismatchError
            Other names, another order, or another set id.
        """
        if other.names != self.names:
            missing = sorted(set(self.names) - set(other.names))
            extra = sorted(set(other.names) - set(self.names))
            difference = (
                f"missing {missing[:5]}, extra {extra[:5]}" if missing or extra else "another order"
            )
            raise SchemaMismatchError(
                "features",
                wanted=f"the {len(self.names)} features the model was trained on, in their order",
                got=difference,
                hint="Compute the feature set named in the model's metadata.",
            )
        if (other.set_id, other.causality) != (self.set_id, self.causality):
            raise SchemaMismatchError(
                "feature set id",
                wanted=self.set_id,
                got=other.set_id,
                hint="Names agree but definitions differ; retrain, or use the model's own set.",
            )


@dataclass(frozen=True, eq=False)
class ModelFeatures:
    """Features of every asset and session, with what is needed to use them.

    Parameters
    ----------
    panel : Panel
        One field per feature, shape (T, N), in the order of ``schema.names``; NaN = missing.
        Masks ``member`` (in the universe, known that session) and ``tradable``: a decision is
        allowed where both hold.
    schema : FeatureSchema
        Identity of the feature set.
    volatility : ndarray, shape (T, N)
        Trailing volatility of each asset's return, fraction per session, known at the close of
        the session; NaN or 0 = unknown, and then no interval is given.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> one = np.ones((1, 1))
    >>> panel = Panel(
    ...     TimeAxis.sessions(["2024-01-02"]), ("A@US#1",), {"mom": one},
    ...     masks={"member": one > 0, "tradable": one > 0},
    ... )
    >>> schema = FeatureSchema(set_id="ab", names=("mom",), causality=("CAUSAL",))
    >>> ModelFeatures(panel, schema, one).allowed
    array([[ True]])
    """

    panel: Panel
    schema: FeatureSchema
    volatility: FloatMatrix

    def __post_init__(self) -> None:
        if tuple(self.panel.fields) != self.schema.names:
            raise SchemaMismatchError(
                "feature panel",
                wanted=f"exactly the fields {_shown(self.schema.names)} in this order",
                got=_shown(tuple(self.panel.fields)),
                hint="Use panel.only_fields(schema.names).",
            )
        volatility = np.asarray(self.volatility)
        if volatility.shape != self.panel.shape or volatility.dtype.kind != "f":
            raise SchemaMismatchError(
                "volatility",
                wanted=f"floats of shape {self.panel.shape} (sessions x assets)",
                got=f"{volatility.dtype} of shape {volatility.shape}",
                hint="Use the axes of the feature panel.",
            )
        object.__setattr__(self, "volatility", volatility)

    @property
    def allowed(self) -> BoolMatrix:
        """Where a decision may be made, bool (T, N): member and tradable."""
        return self.panel.mask("member") & self.panel.mask("tradable")

    def window(self, start: int, stop: int) -> ModelFeatures:
        """Features of session positions start (inclusive) to stop (exclusive), sharing memory."""
        return ModelFeatures(self.panel.rows(start, stop), self.schema, self.volatility[start:stop])


def _shown(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (f", ... ({len(names)})" if len(names) > 4 else "")
