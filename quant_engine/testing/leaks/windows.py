"""Planted leaks in features and labels: windows and statistics that reach past their row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.panel import Panel
from quant_engine.testing.leaks.arenas import PanelArena
from quant_engine.testing.leaks.registry import PlantedLeak, add_leak

MIN_ROWS = 20


def _close(panel: Panel) -> pd.DataFrame:
    return pd.DataFrame(panel.field("close"), panel.time.index, list(panel.asset_ids))


def _returns(panel: Panel) -> pd.DataFrame:
    return _close(panel).pct_change(fill_method=None)


def _return_ahead(panel: Panel) -> pd.DataFrame:
    return _returns(panel).shift(-1)


def _centred_mean(panel: Panel) -> pd.DataFrame:
    return _close(panel).rolling(5, center=True, min_periods=3).mean()


def _trailing_mean(panel: Panel) -> pd.DataFrame:
    return _close(panel).rolling(5, min_periods=3).mean()


def _full_sample_z(panel: Panel) -> pd.DataFrame:
    values = _returns(panel)
    return (values - values.mean()) / values.std()


def _expanding_z(panel: Panel) -> pd.DataFrame:
    values = _returns(panel)
    past = values.expanding(MIN_ROWS)
    return (values - past.mean()) / past.std()


def _full_sample_winsor(panel: Panel) -> pd.DataFrame:
    values = _returns(panel)
    return values.clip(np.nanquantile(values, 0.02), np.nanquantile(values, 0.98))


def _expanding_winsor(panel: Panel) -> pd.DataFrame:
    values = _returns(panel)
    past = values.expanding(MIN_ROWS)
    return values.clip(past.quantile(0.02), past.quantile(0.98))


def _full_sample_range(panel: Panel) -> pd.DataFrame:
    prices = _close(panel)
    return (prices - prices.min()) / (prices.max() - prices.min())


def _expanding_range(panel: Panel) -> pd.DataFrame:
    prices = _close(panel)
    low, high = prices.expanding(MIN_ROWS).min(), prices.expanding(MIN_ROWS).max()
    return (prices - low) / (high - low)


def _full_sample_rank(panel: Panel) -> pd.DataFrame:
    return _close(panel).rank(pct=True)


def _expanding_rank(panel: Panel) -> pd.DataFrame:
    return _close(panel).expanding(MIN_ROWS).rank(pct=True)


def _component(panel: Panel, n_rows: int | None) -> npt.NDArray[Any]:
    values = np.nan_to_num(_returns(panel).to_numpy())
    direction = np.linalg.svd(values[:n_rows], full_matrices=False)[2][0]
    # Summed row by row: the last bit of a matrix product depends on how many rows it has.
    return np.asarray((values * direction).sum(axis=1))


def _full_sample_component(panel: Panel) -> npt.NDArray[Any]:
    return _component(panel, None)


def _first_rows_component(panel: Panel) -> npt.NDArray[Any]:
    return _component(panel, 100)


def _backfilled(panel: Panel) -> pd.DataFrame:
    return _close(panel).bfill()


def _forward_filled(panel: Panel) -> pd.DataFrame:
    return _close(panel).ffill()


def _interpolated(panel: Panel) -> pd.DataFrame:
    return _close(panel).interpolate(limit_area="inside")


def _two_sided_average(panel: Panel) -> pd.DataFrame:
    values = _returns(panel).fillna(0.0)
    backward = values[::-1].ewm(halflife=3).mean()[::-1]
    return (values.ewm(halflife=3).mean() + backward) / 2


def _one_sided_average(panel: Panel) -> pd.DataFrame:
    return _returns(panel).fillna(0.0).ewm(halflife=3).mean()


def _excess_over_tomorrow(panel: Panel) -> pd.DataFrame:
    values = _returns(panel)
    return values.sub(values.mean(axis=1).shift(-1), axis=0)


def _excess_over_today(panel: Panel) -> pd.DataFrame:
    values = _returns(panel)
    return values.sub(values.mean(axis=1), axis=0)


def _drawdown_to_come(panel: Panel) -> pd.DataFrame:
    prices = _close(panel)
    return prices[::-1].rolling(20, min_periods=1).min()[::-1] / prices - 1


def _drawdown_so_far(panel: Panel) -> pd.DataFrame:
    prices = _close(panel)
    return prices / prices.rolling(20, min_periods=1).max() - 1


def _mean_of_month(panel: Panel) -> pd.DataFrame:
    prices = _close(panel)
    return prices.groupby(prices.index.to_period("M")).transform("mean")


def _mean_of_month_so_far(panel: Panel) -> pd.DataFrame:
    prices = _close(panel)
    months = prices.index.to_period("M")
    return prices.groupby(months).cumsum() / prices.notna().groupby(months).cumsum()


def _close_of_week(panel: Panel) -> pd.DataFrame:
    prices = _close(panel)
    return prices.groupby(prices.index.to_period("W")).transform("last")


def _close_of_last_week(panel: Panel) -> pd.DataFrame:
    prices = _close(panel)
    weeks = prices.index.to_period("W")
    finished = prices.groupby(weeks).last().shift(1)
    return finished.reindex(weeks).set_axis(prices.index)


_ALL: tuple[tuple[str, str, str, Callable[..., Any], Callable[..., Any]], ...] = (
    ("shift", "feature", "the return of the next row", _return_ahead, _returns),
    ("centred-window", "feature", "a centred mean", _centred_mean, _trailing_mean),
    ("full-sample-z", "feature", "mean and deviation of all rows", _full_sample_z, _expanding_z),
    (
        "full-sample-winsor",
        "feature",
        "limits from the quantiles of all rows",
        _full_sample_winsor,
        _expanding_winsor,
    ),
    (
        "full-sample-min-max",
        "feature",
        "scaled by the range of all rows",
        _full_sample_range,
        _expanding_range,
    ),
    ("full-sample-rank", "feature", "rank among all rows", _full_sample_rank, _expanding_rank),
    (
        "full-sample-pca",
        "feature",
        "a component fitted on all rows",
        _full_sample_component,
        _first_rows_component,
    ),
    ("backfill", "data", "gaps filled from later rows", _backfilled, _forward_filled),
    ("interpolate", "data", "gaps filled between both sides", _interpolated, _forward_filled),
    (
        "two-sided-ewm",
        "feature",
        "an average that runs backward too",
        _two_sided_average,
        _one_sided_average,
    ),
    (
        "mean-of-tomorrow",
        "feature",
        "excess over the cross-section of the next row",
        _excess_over_tomorrow,
        _excess_over_today,
    ),
    (
        "future-drawdown",
        "label",
        "the drawdown of the next 20 rows as a feature",
        _drawdown_to_come,
        _drawdown_so_far,
    ),
    (
        "month-transform",
        "feature",
        "the mean of the whole calendar month",
        _mean_of_month,
        _mean_of_month_so_far,
    ),
    (
        "weekly-bar-in-progress",
        "data",
        "the close of the week that is not over",
        _close_of_week,
        _close_of_last_week,
    ),
)

for _name, _part, _summary, _leak, _clean in _ALL:
    add_leak(PlantedLeak(_name, _part, _summary, leak=_leak, clean=_clean, arena=PanelArena()))
