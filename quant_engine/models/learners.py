"""Learners: what can be fitted on a row matrix, and the registry of those that exist.

A learner is a class built from its typed parameters; ``fit`` returns a fitted learner that
predicts, explains each prediction as a sum over features, and turns into bytes without pickle.
Two are shipped: ``ridge`` (closed form) and ``lightgbm_shallow`` (small trees, many of them);
importing ``quant_engine.models`` registers them.

An explanation is additive: the contributions of all features plus a base value equal the raw
prediction. For ridge this is exact by definition; for trees LightGBM's own TreeSHAP gives it.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError
from quant_engine.core.registry import Registry
from quant_engine.models.config import MemberConfig

__all__ = ["LEARNERS", "FittedLearner", "Learner", "Rows", "build_learner"]

Rows: TypeAlias = npt.NDArray[np.float32]
"""Shape (R, P), float32 standardised features without NaN."""


class FittedLearner(Protocol):
    """A trained member of the ensemble."""

    def predict(self, x: Rows) -> FloatVector:
        """Raw predictions, shape (R,), in units of the transformed target."""
        ...

    def contributions(self, x: Rows) -> npt.NDArray[np.float64]:
        """Additive parts, shape (R, P + 1): one per feature, then the base value."""
        ...

    def to_bytes(self) -> bytes:
        """Everything that ``from_bytes`` needs, as text or npz."""
        ...


class Learner(Protocol):
    """Something that can be fitted; registered by name in ``LEARNERS``."""

    file_suffix: ClassVar[str]

    def __init__(self, params: Any) -> None: ...

    def fit(self, x: Rows, y: FloatVector, sample_weight: FloatVector | None) -> FittedLearner:
        """Fit on rows x (R, P), targets y (R,) and optional positive weights (R,)."""
        ...

    @staticmethod
    def from_bytes(data: bytes) -> FittedLearner:
        """Rebuild a fitted learner from ``FittedLearner.to_bytes``."""
        ...


LEARNERS: Registry[type[Learner]] = Registry("learner")
"""Learners by name."""


def build_learner(member: MemberConfig) -> Learner:
    """Build the learner that a member names, with its parameters checked.

    Parameters
    ----------
    member : MemberConfig
        Learner name and parameters.

    Returns
    -------
    Learner
        Unfitted.

    Raises
    ------
    ConfigError
        Unknown learner, unknown parameter, or a value out of range.

    Examples
    --------
    >>> build_learner(MemberConfig(learner="ridge", column="ridge")).params.alpha_share
    0.5
    """
    learner = LEARNERS.get(member.learner)
    params_type = LEARNERS.metadata(member.learner).params
    try:
        params = params_type.model_validate(member.params)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"learner {member.learner!r}, parameter {'.'.join(str(p) for p in first['loc'])}",
            wanted=str(first["msg"]),
            got=repr(first["input"]),
            hint=f"Parameters: {', '.join(params_type.model_fields)}.",
        ) from error
    return learner(params)
