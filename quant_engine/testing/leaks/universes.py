"""Planted leaks in data: assets, rows and price levels chosen by what happens later."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.panel import Panel
from quant_engine.testing.leaks.arenas import PanelArena
from quant_engine.testing.leaks.registry import PlantedLeak, add_leak


def _members_of_the_end(panel: Panel) -> FloatMatrix:
    return np.where(panel.mask("member")[-1], panel.field("close"), np.nan)


def _members_of_the_day(panel: Panel) -> FloatMatrix:
    return np.where(panel.mask("member"), panel.field("close"), np.nan)


def _log_level(panel: Panel) -> FloatMatrix:
    return np.log(panel.field("close"))


def _log_level_as_traded(panel: Panel) -> FloatMatrix:
    return np.log(panel.field("close_raw"))


def _rows_with_a_future(panel: Panel) -> pd.DataFrame:
    # Drops assets that stop trading within the data, as dropna() after labelling does.
    prices = pd.DataFrame(panel.field("close"), panel.time.index, list(panel.asset_ids))
    alive = prices.iloc[-20:].notna().any()
    return prices.loc[:, alive].stack(future_stack=True).to_frame("close")


def _rows_of_today(panel: Panel) -> pd.DataFrame:
    prices = pd.DataFrame(panel.field("close"), panel.time.index, list(panel.asset_ids))
    return prices.stack(future_stack=True).to_frame("close")


for _leak in (
    PlantedLeak(
        "survivor-universe",
        "data",
        "today's members over the whole history",
        leak=_members_of_the_end,
        clean=_members_of_the_day,
        arena=PanelArena(),
    ),
    PlantedLeak(
        "back-adjusted-level",
        "data",
        "the level of a price that later splits rescale",
        leak=_log_level,
        clean=_log_level_as_traded,
        arena=PanelArena(is_scale_free=True),
    ),
    PlantedLeak(
        "drop-by-future-nan",
        "data",
        "assets dropped because a later value is missing",
        leak=_rows_with_a_future,
        clean=_rows_of_today,
        arena=PanelArena(),
    ),
):
    add_leak(_leak)
