"""Tables that are worked out from a run's own tables for display: rolling, yearly, worst periods.

Every metric comes from :mod:`quant_engine.stats.metrics`; this module only slices and arranges.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quant_engine.reports.tearsheet_data import COST_KINDS, OPEN_AT_END
from quant_engine.stats.metrics import (
    annual_vol,
    cumulative_return,
    drawdown_spells,
    hit_rate,
    max_drawdown,
    profit_factor,
    sharpe,
)

__all__ = [
    "Reconciliation",
    "closed_trades",
    "cost_table",
    "growth_table",
    "reconcile",
    "regime_spans",
    "rolling_table",
    "top_drawdowns",
    "trade_statistics",
    "worst_and_best",
    "year_table",
]

BPS_PER_UNIT = 1e4


@dataclass(frozen=True)
class Reconciliation:
    """Whether the daily columns agree with one another.

    Parameters
    ----------
    n_sessions : int
        Sessions compared.
    equity_gap_bps : float
        Largest absolute difference between ``ret_net`` and the growth of ``equity`` (bps).
    cost_gap_bps : float
        Largest absolute difference between ``ret_gross`` minus the listed costs and ``ret_net``
        (bps); NaN without cost columns.
    """

    n_sessions: int
    equity_gap_bps: float
    cost_gap_bps: float


def growth_table(daily: pd.DataFrame) -> pd.DataFrame:
    """Growth of 1 for every return series that is there.

    Parameters
    ----------
    daily : DataFrame, index session
        Columns ``ret_net``, ``ret_gross`` and optionally ``benchmark_ret``, ``ret_hedged``
        (simple, per session, fraction; NaN = not observed, growth stays).

    Returns
    -------
    DataFrame, index session
        Columns among ``net``, ``gross``, ``benchmark``, ``hedged``; a series without any value
        is left out. NaN before the first and after the last value of a series.

    Examples
    --------
    >>> sessions = pd.to_datetime(["2024-01-02", "2024-01-03"])
    >>> daily = pd.DataFrame({"ret_net": [0.1, -0.5], "ret_gross": [0.1, 0.0]}, index=sessions)
    >>> growth_table(daily).round(2).to_dict("list")
    {'net': [1.1, 0.55], 'gross': [1.1, 1.1]}
    """
    names = {
        "net": "ret_net",
        "gross": "ret_gross",
        "benchmark": "benchmark_ret",
        "hedged": "ret_hedged",
    }
    grown = {}
    for name, column in names.items():
        if column in daily and daily[column].notna().any():
            returns = daily[column]
            observed = returns.notna()
            is_inside = observed.cummax() & observed[::-1].cummax()[::-1]
            grown[name] = (1.0 + returns.fillna(0.0)).cumprod().where(is_inside)
    return pd.DataFrame(grown, index=daily.index)


def reconcile(daily: pd.DataFrame) -> Reconciliation:
    """Compare equity with net returns, and gross returns minus costs with net returns.

    Parameters
    ----------
    daily : DataFrame, index session
        Columns ``equity``, ``ret_net``, ``ret_gross`` and the ``cost_*`` that are there.

    Returns
    -------
    Reconciliation
        Largest differences in bps.

    Examples
    --------
    >>> sessions = pd.to_datetime(["2024-01-02", "2024-01-03"])
    >>> daily = pd.DataFrame(
    ...     {
    ...         "equity": [101.0, 102.01],
    ...         "ret_net": [0.01, 0.01],
    ...         "ret_gross": [0.011, 0.012],
    ...         "cost_fees": [0.001, 0.001],
    ...     },
    ...     index=sessions,
    ... )
    >>> round(reconcile(daily).cost_gap_bps, 6)
    10.0
    """
    gaps = (daily["equity"] / daily["equity"].shift(1) - 1.0 - daily["ret_net"]).abs()
    equity_gap = float(gaps.max()) if gaps.notna().any() else 0.0
    columns = [f"cost_{kind}" for kind in COST_KINDS if f"cost_{kind}" in daily]
    cost_gap = float("nan")
    if columns:
        paid = daily[columns].sum(axis=1)
        cost_gap = float((daily["ret_gross"] - paid - daily["ret_net"]).abs().max())
    return Reconciliation(len(daily), equity_gap * BPS_PER_UNIT, cost_gap * BPS_PER_UNIT)


def rolling_table(
    daily: pd.DataFrame, *, periods_per_year: float, window_sessions: int
) -> pd.DataFrame:
    """Sharpe ratio, volatility and beta over a moving window of past sessions.

    Parameters
    ----------
    daily : DataFrame, index session
        Columns ``ret_net`` and optionally ``benchmark_ret`` (fraction per session).
    periods_per_year : float
        Annualisation.
    window_sessions : int
        Length of the window, at least 2.

    Returns
    -------
    DataFrame, index session
        ``sharpe`` and ``vol_ann`` (as ``stats.metrics``, ddof 1) and, where a benchmark is there,
        ``beta`` = cov(net, benchmark) / var(benchmark). NaN until the window is full, where a
        session inside it is missing, and where the denominator is 0.

    Examples
    --------
    >>> sessions = pd.date_range("2024-01-01", periods=4)
    >>> daily = pd.DataFrame({"ret_net": [0.01, 0.0, 0.02, 0.01]}, index=sessions)
    >>> rolling_table(daily, periods_per_year=252, window_sessions=3)["vol_ann"].round(4).tolist()
    [nan, nan, 0.1587, 0.1587]
    """
    net = daily["ret_net"]
    window = net.rolling(window_sessions)
    deviation = window.std(ddof=1)
    deviation = deviation.where(deviation > 1e-14)
    table = pd.DataFrame(
        {
            "sharpe": window.mean() / deviation * sqrt(periods_per_year),
            "vol_ann": deviation * sqrt(periods_per_year),
        },
        index=daily.index,
    )
    if "benchmark_ret" in daily and daily["benchmark_ret"].notna().any():
        market = daily["benchmark_ret"].where(net.notna())
        variance = market.rolling(window_sessions).var(ddof=1)
        covariance = net.rolling(window_sessions).cov(market, ddof=1)
        table["beta"] = covariance / variance.where(variance > 1e-28)
    return table


def top_drawdowns(returns: pd.Series, *, n_worst: int) -> pd.DataFrame:
    """The deepest drawdowns: from peak to trough to recovery.

    Parameters
    ----------
    returns : Series, index session
        Simple net returns (fraction); NaN = not observed.
    n_worst : int
        How many, deepest first.

    Returns
    -------
    DataFrame
        ``peak`` (last session at the old high, NaT = before the first session), ``trough``,
        ``recovered`` (first session at a new high, NaT = not yet), ``depth`` (negative fraction),
        ``sessions_to_trough`` (from the peak) and ``sessions_under`` (below the old high).

    Examples
    --------
    >>> sessions = pd.date_range("2024-01-01", periods=5)
    >>> table = top_drawdowns(pd.Series([0.1, -0.2, 0.5, -0.1, 0.0], index=sessions), n_worst=2)
    >>> table[["depth", "sessions_to_trough", "sessions_under"]].round(2).values.tolist()
    [[-0.2, 1.0, 1.0], [-0.1, 1.0, 2.0]]
    """
    observed = returns.dropna()
    sessions = observed.index
    rows = [
        {
            "peak": sessions[spell.first - 1] if spell.first > 0 else pd.NaT,
            "trough": sessions[spell.trough],
            "recovered": pd.NaT if spell.recovered is None else sessions[spell.recovered],
            "depth": spell.depth,
            "sessions_to_trough": spell.trough - spell.first + 1,
            "sessions_under": spell.n_periods,
        }
        for spell in drawdown_spells(observed.to_numpy())
    ]
    columns = ["peak", "trough", "recovered", "depth", "sessions_to_trough", "sessions_under"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("depth", kind="stable").head(n_worst).reset_index(drop=True)


def year_table(daily: pd.DataFrame, *, periods_per_year: float) -> pd.DataFrame:
    """Calendar years side by side.

    Parameters
    ----------
    daily : DataFrame, index session
        Columns ``ret_net``, ``ret_gross`` and optionally ``benchmark_ret``.
    periods_per_year : float
        Annualisation of volatility and Sharpe ratio.

    Returns
    -------
    DataFrame
        One row per year: ``year``, ``n_sessions`` (observed), ``ret_net``, ``ret_gross``,
        ``ret_benchmark`` (compounded over the year, NaN where absent), ``vol_ann``, ``sharpe``,
        ``max_drawdown`` (within the year).

    Examples
    --------
    >>> sessions = pd.to_datetime(["2023-12-29", "2024-01-02", "2024-01-03"])
    >>> daily = pd.DataFrame({"ret_net": [0.1, 0.1, 0.1], "ret_gross": 0.1}, index=sessions)
    >>> year_table(daily, periods_per_year=252)[["year", "n_sessions", "ret_net"]].values.round(2)
    array([[2.023e+03, 1.000e+00, 1.000e-01],
           [2.024e+03, 2.000e+00, 2.100e-01]])
    """
    rows = []
    for year, part in daily.groupby(daily.index.year):
        net = part["ret_net"].to_numpy(dtype=float)
        benchmark = part.get("benchmark_ret", pd.Series(np.nan, index=part.index))
        rows.append(
            {
                "year": int(year),
                "n_sessions": int(part["ret_net"].notna().sum()),
                "ret_net": cumulative_return(net),
                "ret_gross": cumulative_return(part["ret_gross"].to_numpy(dtype=float)),
                "ret_benchmark": cumulative_return(benchmark.to_numpy(dtype=float)),
                "vol_ann": annual_vol(net, periods_per_year=periods_per_year),
                "sharpe": sharpe(net, periods_per_year=periods_per_year).value,
                "max_drawdown": max_drawdown(net),
            }
        )
    return pd.DataFrame(rows)


def cost_table(daily: pd.DataFrame) -> pd.DataFrame:
    """Costs by kind and turnover per calendar year.

    Parameters
    ----------
    daily : DataFrame, index session
        The ``cost_*`` columns that are there (fraction of equity) and optionally ``turnover``.

    Returns
    -------
    DataFrame
        One row per year: ``year``, ``n_sessions``, ``turnover`` (sum of the year), each kind and
        ``total`` (sum of the year, bps of equity). Kinds without a column are left out.

    Examples
    --------
    >>> sessions = pd.to_datetime(["2024-01-02", "2024-01-03"])
    >>> costs = pd.DataFrame({"cost_fees": [1e-4, 2e-4]}, index=sessions)
    >>> cost_table(costs)["total"].round(6).tolist()
    [3.0]
    """
    kinds = [kind for kind in COST_KINDS if f"cost_{kind}" in daily]
    yearly = daily.groupby(daily.index.year)
    table = pd.DataFrame({"n_sessions": yearly.size()})
    if "turnover" in daily:
        table["turnover"] = yearly["turnover"].sum(min_count=1)
    for kind in kinds:
        table[kind] = yearly[f"cost_{kind}"].sum(min_count=1) * BPS_PER_UNIT
    table["total"] = table[kinds].sum(axis=1, min_count=1)
    return table.rename_axis("year").reset_index()


def closed_trades(trades: pd.DataFrame) -> pd.DataFrame:
    """Trades that were really closed.

    Parameters
    ----------
    trades : DataFrame
        Columns ``ret_net`` and optionally ``exit_reason``.

    Returns
    -------
    DataFrame
        Without positions still open at the end and without trades that have no net return.

    Examples
    --------
    >>> trades = pd.DataFrame({"ret_net": [0.1, 0.2], "exit_reason": ["horizon", "end_of_run"]})
    >>> closed_trades(trades)["ret_net"].tolist()
    [0.1]
    """
    is_closed = trades["ret_net"].notna()
    if "exit_reason" in trades:
        is_closed &= trades["exit_reason"] != OPEN_AT_END
    return trades[is_closed]


def trade_statistics(trades: pd.DataFrame) -> pd.DataFrame:
    """Round trips in figures, for all trades and by side.

    Parameters
    ----------
    trades : DataFrame
        Closed trades: columns ``side``, ``ret_net`` (fraction, no NaN), ``holding_sessions``.

    Returns
    -------
    DataFrame
        One row per group ``all``, ``long``, ``short`` (a side without trades is left out):
        ``n_trades``, ``hit_rate`` (share of trades with ret_net > 0), ``mean_ret``,
        ``median_ret``, ``mean_win``, ``mean_loss``, ``profit_factor`` (equal weight per trade),
        ``mean_holding_sessions``.

    Examples
    --------
    >>> trades = pd.DataFrame(
    ...     {"side": ["long"] * 3, "ret_net": [0.02, -0.01, 0.01], "holding_sessions": [5, 5, 8]}
    ... )
    >>> trade_statistics(trades)[["group", "n_trades", "profit_factor"]].values.tolist()
    [['all', 3, 3.0], ['long', 3, 3.0]]
    """
    groups = [("all", trades)]
    groups += [(side, trades[trades["side"] == side]) for side in ("long", "short")]
    rows = []
    for name, part in groups:
        if part.empty:
            continue
        returns = part["ret_net"].to_numpy(dtype=float)
        wins, losses = returns[returns > 0], returns[returns < 0]
        rows.append(
            {
                "group": name,
                "n_trades": len(part),
                "hit_rate": hit_rate(returns),
                "mean_ret": float(returns.mean()),
                "median_ret": float(np.median(returns)),
                "mean_win": float(wins.mean()) if wins.size else float("nan"),
                "mean_loss": float(losses.mean()) if losses.size else float("nan"),
                "profit_factor": profit_factor(returns),
                "mean_holding_sessions": float(part["holding_sessions"].mean()),
            }
        )
    return pd.DataFrame(rows)


def worst_and_best(trades: pd.DataFrame, *, n_each: int) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """The trades that lost and made most.

    Parameters
    ----------
    trades : DataFrame
        With ``pnl_usd`` (currency) or, failing that, ``ret_net`` (fraction).
    n_each : int
        How many of each.

    Returns
    -------
    worst, best : DataFrame
        Worst first, best first; ties keep their order; winners are never among the worst, nor
        losers among the best.
    ranked_by : str
        The column that was used.

    Examples
    --------
    >>> trades = pd.DataFrame({"ret_net": [0.02, -0.01, 0.05]})
    >>> worst, best, ranked_by = worst_and_best(trades, n_each=2)
    >>> worst["ret_net"].tolist(), best["ret_net"].tolist(), ranked_by
    ([-0.01], [0.05, 0.02], 'ret_net')
    """
    has_pnl = "pnl_usd" in trades and trades["pnl_usd"].notna().any()
    ranked_by = "pnl_usd" if has_pnl else "ret_net"
    ordered = trades.sort_values(ranked_by, kind="stable")
    worst = ordered[ordered[ranked_by] < 0].head(n_each)
    best = ordered[ordered[ranked_by] > 0][::-1].head(n_each)
    return worst, best, ranked_by


def regime_spans(regime: pd.Series, *, n_max: int) -> tuple[pd.DataFrame, bool]:
    """Stretches of sessions in one regime.

    Parameters
    ----------
    regime : Series, index session
        Integer codes; NaN or -1 = none.
    n_max : int
        Greatest number of stretches wanted; above it the most frequent code of each calendar
        month is used instead, because a page cannot shade thousands of stripes.

    Returns
    -------
    spans : DataFrame
        ``code``, ``first`` and ``last`` (sessions; ``last`` is the first session of the next
        stretch, so that stretches touch).
    is_monthly : bool
        Whether months were merged.

    Examples
    --------
    >>> sessions = pd.date_range("2024-01-01", periods=4)
    >>> spans, is_monthly = regime_spans(pd.Series([0, 0, 1, -1], index=sessions), n_max=10)
    >>> spans["code"].tolist(), is_monthly
    ([0, 1], False)
    """
    codes = regime.fillna(-1).astype(int)
    spans = _runs(codes)
    if len(spans) <= n_max:
        return spans, False
    month = codes.index.to_period("M")
    merged = codes.groupby(month).transform(lambda part: part.mode().iloc[0])
    return _runs(merged), True


def _runs(codes: pd.Series) -> pd.DataFrame:
    values: NDArray[np.int64] = codes.to_numpy()
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    ends = np.minimum(np.concatenate([starts[1:], [len(values)]]), len(values) - 1)
    table = pd.DataFrame(
        {"code": values[starts], "first": codes.index[starts], "last": codes.index[ends]}
    )
    return table[table["code"] >= 0].reset_index(drop=True)
