"""Data quality: rule profiles as data, faults found and reported, nothing dropped in silence."""

from quant_engine.data.quality.engine import check_quality
from quant_engine.data.quality.profile import Action, Context, QualityProfile, RuleSetting
from quant_engine.data.quality.report import QualityReport
from quant_engine.data.quality.rules import RULES

__all__ = [
    "RULES",
    "Action",
    "Context",
    "QualityProfile",
    "QualityReport",
    "RuleSetting",
    "check_quality",
]
