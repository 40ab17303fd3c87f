"""Units that are only a factor: one place for the number and for its direction."""

from __future__ import annotations

BPS = 1e-4
"""One basis point as a fraction: ``fraction = bps * BPS``."""

BPS_PER_UNIT = 1e4
"""Basis points in a fraction of 1: ``bps = fraction * BPS_PER_UNIT``."""
