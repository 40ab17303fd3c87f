"""Every adapter, in one tuple."""

from __future__ import annotations

from quant_engine.testing.reference import (
    calibration,
    drift,
    execution,
    indicators,
    labels,
    metrics,
    multiplicity,
    pending,
    regime,
    resampling,
    selection,
    sharpe,
    shrinkage,
    splits,
    technical,
)
from quant_engine.testing.reference.adapters import Adapter

_AREAS = (
    calibration,
    drift,
    execution,
    indicators,
    labels,
    metrics,
    multiplicity,
    pending,
    regime,
    resampling,
    selection,
    sharpe,
    shrinkage,
    splits,
    technical,
)

ADAPTERS: tuple[Adapter, ...] = tuple(adapter for area in _AREAS for adapter in area.ADAPTERS)
