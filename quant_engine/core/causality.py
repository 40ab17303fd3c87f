"""Causality classes: when the value that stands in row t of a feature may be used.

One vocabulary for those who compute features, those who train on them and those who predict.
"""

from __future__ import annotations

from enum import StrEnum


class Causality(StrEnum):
    """When the value of row t may be used.

    ``CAUSAL``
        Computed from rows up to and including t alone; usable by a decision after the close of t.
    ``END_OF_DAY``
        Published after the close of t and before the next open; usable for a fill at the next
        open, not in the closing auction of t.
    ``RESEARCH_ONLY``
        Depends on something known later than the next open; may be studied, and trainer and
        predictor refuse it.

    Examples
    --------
    >>> Causality("END_OF_DAY").strength < Causality.CAUSAL.strength
    True
    """

    CAUSAL = "CAUSAL"
    END_OF_DAY = "END_OF_DAY"
    RESEARCH_ONLY = "RESEARCH_ONLY"

    @property
    def strength(self) -> int:
        """Place among the classes: a larger number is a stronger promise, 0 promises nothing."""
        return len(Causality) - 1 - list(Causality).index(self)
