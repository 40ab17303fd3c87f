"""Small market panels for the feature and label tests."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.core.panel import GroupTable, Panel, TimeAxis


def make_panel(
    n_rows: int = 330,
    n_assets: int = 5,
    *,
    seed: int = 7,
    gaps: float = 0.0,
    dividends: bool = True,
) -> Panel:
    """A random market: geometric walks, consistent bars, lognormal volume, optional gaps."""
    rng = np.random.default_rng(seed)
    shape = (n_rows, n_assets)
    close = 50.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(shape), axis=0))
    opened = close * np.exp(0.01 * rng.standard_normal(shape))
    high = np.maximum(opened, close) * np.exp(0.01 * rng.random(shape))
    low = np.minimum(opened, close) * np.exp(-0.01 * rng.random(shape))
    volume = np.round(np.exp(14.0 + 0.5 * rng.standard_normal(shape)))
    fields = {"open": opened, "high": high, "low": low, "close": close, "volume": volume}
    missing = rng.random(shape) < gaps
    for values in fields.values():
        values[missing] = np.nan
    if dividends:
        fields["dividend"] = np.where(rng.random(shape) < 0.02, 0.01 * 50.0, 0.0)
    days = np.arange(np.datetime64("2015-01-01"), np.datetime64("2035-01-01"))
    sessions = days[np.is_busday(days)][:n_rows]
    sectors = GroupTable(rng.integers(-1, 2, n_assets) * np.ones(shape, np.int16), ("one", "two"))
    return Panel(
        TimeAxis.sessions(sessions),
        tuple(f"T{j}@US#1" for j in range(n_assets)),
        fields,
        {"member": rng.random(shape) < 0.9, "tradable": ~missing},
        {"sector": sectors},
    )


@pytest.fixture(scope="session")
def panel_factory():
    return make_panel


@pytest.fixture(scope="session")
def panel():
    return make_panel()
