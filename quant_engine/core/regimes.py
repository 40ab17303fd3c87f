"""Canonical market regimes: the labels that a detector gives and everything after it reads."""

from __future__ import annotations

from enum import IntEnum


class RegimeLabel(IntEnum):
    """Regime of the market, known at the close of its session.

    ``UNKNOWN``
        Warm-up, or no data.
    ``BULL_TREND``, ``BEAR_TREND``
        A trend in that direction.
    ``MEAN_REVERTING``
        No trend; also the default when nothing else is likely.
    ``HIGH_VOLATILITY``
        Volatility far above its own past, with or without a trend.

    Examples
    --------
    >>> RegimeLabel(2).text, [int(label) for label in RegimeLabel.known()]
    ('mean_reverting', [0, 1, 2, 3])
    """

    UNKNOWN = -1
    BULL_TREND = 0
    BEAR_TREND = 1
    MEAN_REVERTING = 2
    HIGH_VOLATILITY = 3

    @property
    def text(self) -> str:
        """Name as it stands in tables: ``bull_trend``."""
        return self.name.lower()

    @classmethod
    def known(cls) -> tuple[RegimeLabel, ...]:
        """Labels that have a probability, in the order of the columns ``prob_0`` to ``prob_3``."""
        return tuple(label for label in cls if label is not cls.UNKNOWN)
