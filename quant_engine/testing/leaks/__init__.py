"""Planted leaks: mistakes that somebody made, each beside the same code without it.

They grade an auditor as a detector is graded: what is alive must be caught, and the clean twins
must stay silent. ``python -m quant_engine.testing.leaks`` prints how the audit of this package
does; :func:`~quant_engine.testing.leaks.grade.grade` takes anybody's auditor.
"""

from quant_engine.testing.leaks.arenas import Arena, example_market
from quant_engine.testing.leaks.catalogue import LEAKS
from quant_engine.testing.leaks.grade import Auditor, Grade, grade, grade_table, is_alive
from quant_engine.testing.leaks.registry import PlantedLeak

__all__ = [
    "LEAKS",
    "Arena",
    "Auditor",
    "Grade",
    "PlantedLeak",
    "example_market",
    "grade",
    "grade_table",
    "is_alive",
]
