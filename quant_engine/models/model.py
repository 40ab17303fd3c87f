"""FittedModel: members, maps and the identity of everything they were fitted on.

Contract: a model is a value. It holds no data, reads no file and predicts only for features of
the very schema it was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quant_engine.models.config import ModelConfig
from quant_engine.models.inputs import FeatureSchema
from quant_engine.models.learners import FittedLearner
from quant_engine.models.maps import ScoreMaps

__all__ = ["FittedModel", "FoldWindow", "TrainingRecord"]


@dataclass(frozen=True)
class FoldWindow:
    """Dates of one fold of the plan a model was measured on.

    Parameters
    ----------
    number : int
        1 for the first fold in time.
    is_holdout : bool
        True for the holdout fold.
    train_first, train_last, test_first, test_last : str
        ISO dates.
    """

    number: int
    is_holdout: bool
    train_first: str
    train_last: str
    test_first: str
    test_last: str


@dataclass(frozen=True)
class TrainingRecord:
    """What a model was fitted on.

    Parameters
    ----------
    first_session, last_session : str
        ISO dates of the first and last labelled session the final fit used.
    n_sessions, n_rows : int
        Labelled sessions and rows of the final fit.
    folds : tuple of FoldWindow
        The split plan.
    learner_library : str
        Name and version of the tree library, for a reader of the stored text.
    """

    first_session: str
    last_session: str
    n_sessions: int
    n_rows: int
    folds: tuple[FoldWindow, ...]
    learner_library: str


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A trained cross-sectional return model.

    Parameters
    ----------
    schema : FeatureSchema
        Feature set it was trained on, the only one it accepts.
    target : str
        Name of the label field, such as ``fwd_excess_10s``.
    config : ModelConfig
        Its configuration.
    members : mapping of str to FittedLearner
        By member column, in the order of the configuration.
    maps : ScoreMaps or None
        Fitted on all out-of-fold rows outside the holdout; None where there were too few, and
        then predictions carry no expected return, interval or confidence.
    training : TrainingRecord
        What it was fitted on.
    """

    schema: FeatureSchema
    target: str
    config: ModelConfig
    members: Mapping[str, FittedLearner]
    maps: ScoreMaps | None
    training: TrainingRecord
