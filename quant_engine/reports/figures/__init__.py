"""Figures as pure functions: table in, Plotly figure out; usable in pages, notebooks, reports."""

from quant_engine.reports.figures.activity import (
    cost_figure,
    exposure_figure,
    trade_histogram,
    turnover_figure,
)
from quant_engine.reports.figures.evidence import coverage_figure, fold_figure
from quant_engine.reports.figures.performance import (
    equity_figure,
    monthly_heatmap,
    return_histogram,
    rolling_figure,
    yearly_returns_figure,
)
from quant_engine.reports.figures.signal import (
    ic_by_date_figure,
    ic_by_horizon_figure,
    quantile_bar_figure,
    quantile_cumulative_figure,
)

__all__ = [
    "cost_figure",
    "coverage_figure",
    "equity_figure",
    "exposure_figure",
    "fold_figure",
    "ic_by_date_figure",
    "ic_by_horizon_figure",
    "monthly_heatmap",
    "quantile_bar_figure",
    "quantile_cumulative_figure",
    "return_histogram",
    "rolling_figure",
    "trade_histogram",
    "turnover_figure",
    "yearly_returns_figure",
]
