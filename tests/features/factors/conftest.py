"""Panels and views of reports for the factor tests."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.core.panel import Panel, PriceBasis
from quant_engine.core.published import Published
from quant_engine.features.factors.base import FactorInputs, Need


def draw_view(panel: Panel, rng: np.random.Generator, *, low: float, high: float) -> Published:
    """Reports every 60 sessions, the first before the panel for half of the assets."""
    n_assets = panel.shape[1]
    sessions = panel.time.values
    values = np.full(panel.shape, np.nan)
    known = np.full(panel.shape, np.datetime64("NaT"), dtype="datetime64[D]")
    period = known.copy()
    for column in range(n_assets):
        first = int(rng.integers(0, 40))
        start = sessions[0] - 20 if column % 2 else None
        days = [d for d in (start, *sessions[first::60]) if d is not None]
        for day in days:
            row = int(np.searchsorted(sessions, day))
            values[row:, column] = rng.uniform(low, high)
            known[row:, column] = day
            period[row:, column] = day - 35
    return Published(values, known, period)


def draw_views(panel: Panel, needs: tuple[Need, ...], seed: int = 3) -> dict[str, Published]:
    """One positive view per need; each item and lag has its own values on the same days."""
    days = draw_view(panel, np.random.default_rng(seed), low=1.0, high=2.0)
    out = {}
    for number, need in enumerate(needs):
        rng = np.random.default_rng([seed, number])
        _, code = np.unique(days.known.astype(np.int64), return_inverse=True)
        code = code.reshape(panel.shape)
        table = rng.uniform(1.0, 2.0, (code.max() + 1, panel.shape[1]))
        values = table[code, np.arange(panel.shape[1])]
        out[need.key] = Published(
            np.where(np.isnan(days.values), np.nan, values), days.known, days.period_end
        )
    return out


@pytest.fixture(scope="session")
def market(panel_factory) -> Panel:
    panel = panel_factory(330, 12, dividends=False)
    quoted = panel.with_fields({"close_raw": panel.field("close") * 2.0})
    return quoted


@pytest.fixture(scope="session")
def raw_market(panel_factory) -> Panel:
    panel = panel_factory(30, 4, dividends=False)
    return Panel(
        panel.time, panel.asset_ids, panel.fields, panel.masks, panel.groups, PriceBasis.RAW
    )


@pytest.fixture(scope="session")
def views_of():
    return draw_views


@pytest.fixture
def inputs(market) -> FactorInputs:
    return FactorInputs(market)
