"""Models: cross-sectional return prediction with honest probabilities and a verdict.

The public doors are :func:`train`, :func:`predict`, :func:`dump` and :func:`load`. Packages above
hand in panels and frozen configurations and get values back; nothing here touches a disk.
"""

from quant_engine.models.config import MapConfig, MemberConfig, ModelConfig, QualityConfig
from quant_engine.models.inputs import FeatureSchema, ModelFeatures, RowWeights, Target
from quant_engine.models.learners import LEARNERS
from quant_engine.models.model import FittedModel
from quant_engine.models.predictor import Predictions, predict
from quant_engine.models.quality import QualityVerdict
from quant_engine.models.ridge import Ridge, RidgeParams
from quant_engine.models.serialization import dump, load
from quant_engine.models.shallow_trees import ShallowTrees, ShallowTreesParams
from quant_engine.models.trainer import TrainResult, train

__all__ = [
    "LEARNERS",
    "FeatureSchema",
    "FittedModel",
    "MapConfig",
    "MemberConfig",
    "ModelConfig",
    "ModelFeatures",
    "Predictions",
    "QualityConfig",
    "QualityVerdict",
    "Ridge",
    "RidgeParams",
    "RowWeights",
    "ShallowTrees",
    "ShallowTreesParams",
    "Target",
    "TrainResult",
    "dump",
    "load",
    "predict",
    "train",
]
