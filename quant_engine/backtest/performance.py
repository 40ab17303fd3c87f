"""Series and tables that describe a finished run: hedge ratio, regimes, months, flat metrics.

Every metric comes from `quant_engine.stats.metrics`; here they are only applied and named.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pandas as pd

from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.facts import OrderFacts, TradeFacts
from quant_engine.core.arrays import FloatVector
from quant_engine.core.hashing import finite_or_none
from quant_engine.core.regimes import RegimeLabel
from quant_engine.core.units import BPS_PER_UNIT
from quant_engine.stats.inference import known_mean
from quant_engine.stats.metrics import (
    SHARPE_PERIODS_PER_YEAR,
    SharpeResult,
    annual_return,
    annual_vol,
    calmar,
    daily_sharpe,
    hit_rate,
    max_drawdown,
    profit_factor,
    sharpe,
    sharpe_step_raw,
    sortino,
)

COST_COLUMNS = ("cost_fees", "cost_spread", "cost_impact", "cost_borrow")
SESSION_METHOD = "session_agg_v1"

Metrics: TypeAlias = dict[str, float | int | str | None]
"""Flat named numbers and texts; None = does not exist."""


def session_sharpe(returns: FloatVector, *, periods_per_year: float) -> SharpeResult:
    """Sharpe ratio of one return per session, under its named convention where one applies.

    Parameters
    ----------
    returns : ndarray of float64, shape (R,)
        Simple returns per session; NaN = not observed.
    periods_per_year : float
        252 gives method ``session_agg_v1``; any other number ``per_period``.

    Returns
    -------
    SharpeResult
        With its error and interval.

    Examples
    --------
    >>> session_sharpe(np.array([0.01, -0.01, 0.02]), periods_per_year=252).method
    'session_agg_v1'
    """
    is_named = periods_per_year == SHARPE_PERIODS_PER_YEAR[SESSION_METHOD]
    return sharpe(
        returns,
        periods_per_year=periods_per_year,
        method=SESSION_METHOD if is_named else "per_period",
    )


def utc_day_sharpe(daily: pd.DataFrame) -> SharpeResult:
    """Sharpe ratio of net returns per UTC calendar day (``daily_agg_v1``, square root of 365).

    The book is held over weekends and holidays, so the strategy is running on every calendar day
    from the first session to the last; days without a session count as zero returns.

    Parameters
    ----------
    daily : DataFrame indexed by session
        With ``ret_net``.

    Returns
    -------
    SharpeResult
        ``n_obs`` calendar days, ``observation_days`` sessions.
    """
    sessions = daily.index.to_numpy().astype("datetime64[D]")
    running = np.arange(sessions[0], sessions[-1] + np.timedelta64(1, "D"))
    return daily_sharpe(sessions, daily["ret_net"].to_numpy(), running_days=running)


def summarize(
    daily: pd.DataFrame, trades: TradeFacts, orders: OrderFacts, *, config: BacktestConfig
) -> Metrics:
    """Flat named metrics of a run.

    Parameters
    ----------
    daily : DataFrame indexed by session
        Of the result.
    trades : TradeFacts
        Of its round trips.
    orders : OrderFacts
        Of its orders.
    config : BacktestConfig
        Its capital and periods per year.

    Returns
    -------
    dict
        Name to number, text, or None where the value does not exist (no trade, no benchmark, a
        ratio over zero). Returns and volatilities are fractions, money is in currency.
    """
    per_year = config.periods_per_year
    values = {
        **_account_metrics(daily, config),
        **_sharpe_metrics(daily, per_year),
        **_benchmark_metrics(daily, per_year),
        **_cost_metrics(daily, config),
        **_trade_metrics(trades, len(daily) / per_year),
        **_order_metrics(orders),
    }
    return {name: _plain(value) for name, value in values.items()}


def _account_metrics(daily: pd.DataFrame, config: BacktestConfig) -> Metrics:
    net = daily["ret_net"].to_numpy()
    per_year = config.periods_per_year
    final = float(daily["equity"].iloc[-1])
    return {
        "first_session": str(daily.index[0].date()),
        "last_session": str(daily.index[-1].date()),
        "n_sessions": len(daily),
        "initial_equity": config.initial_equity_usd,
        "final_equity": final,
        "is_ruined": int(final <= 0.0),
        "total_return": final / config.initial_equity_usd - 1.0,
        "annual_return": annual_return(net, periods_per_year=per_year),
        "annual_return_gross": annual_return(daily["ret_gross"], periods_per_year=per_year),
        "annual_vol": annual_vol(net, periods_per_year=per_year),
        "sortino": sortino(net, periods_per_year=per_year),
        "max_drawdown": max_drawdown(net),
        "calmar": calmar(net, periods_per_year=per_year),
        "session_hit_rate": hit_rate(net),
        "avg_gross_exposure": float(daily["gross_exposure"].mean()),
        "avg_net_exposure": float(daily["net_exposure"].mean()),
        "turnover_ann": float(daily["turnover"].mean() * per_year),
    }


def _sharpe_metrics(daily: pd.DataFrame, per_year: float) -> Metrics:
    net = daily["ret_net"].to_numpy()
    ratio = session_sharpe(net, periods_per_year=per_year)
    gross = session_sharpe(daily["ret_gross"].to_numpy(), periods_per_year=per_year)
    by_day = utc_day_sharpe(daily)
    return {
        "sharpe": ratio.value,
        "sharpe_method": ratio.method,
        "sharpe_std_error": ratio.std_error,
        "sharpe_ci_low": ratio.ci_low,
        "sharpe_ci_high": ratio.ci_high,
        "sharpe_gross": gross.value,
        "sharpe_daily": by_day.value,
        "sharpe_daily_method": by_day.method,
        "sharpe_step_raw": sharpe_step_raw(net).value,
        "observation_days": by_day.observation_days,
        "vol_floor_applied": int(ratio.vol_floor_applied),
    }


def _plain(value: float | int | str | None) -> float | int | str | None:
    return finite_or_none(value) if isinstance(value, float) else value


def _benchmark_metrics(daily: pd.DataFrame, per_year: float) -> Metrics:
    hedged = session_sharpe(daily["ret_hedged"].to_numpy(), periods_per_year=per_year)
    known = daily["benchmark_ret"].notna()
    benchmark = daily["benchmark_ret"].to_numpy()
    return {
        "benchmark_annual_return": annual_return(benchmark, periods_per_year=per_year),
        "benchmark_sharpe": session_sharpe(benchmark, periods_per_year=per_year).value,
        "benchmark_correlation": float(
            daily.loc[known, ["ret_net", "benchmark_ret"]].corr().iloc[0, 1]
        )
        if known.sum() >= 3
        else None,
        "n_sessions_benchmark": int(known.sum()),
        "avg_beta": float(daily["beta"].mean()) if daily["beta"].notna().any() else None,
        "sharpe_hedged": hedged.value,
        "sharpe_hedged_ci_low": hedged.ci_low,
        "sharpe_hedged_ci_high": hedged.ci_high,
        "n_sessions_hedged": hedged.n_obs,
        "annual_return_hedged": annual_return(daily["ret_hedged"], periods_per_year=per_year),
    }


def _cost_metrics(daily: pd.DataFrame, config: BacktestConfig) -> Metrics:
    totals = {name: float(daily[name].sum()) for name in COST_COLUMNS}
    total = sum(totals.values())
    net_pnl = float(daily["equity"].iloc[-1]) - config.initial_equity_usd
    gross_pnl = net_pnl + total
    traded = float(daily["traded_value"].sum())
    trading = total - totals["cost_borrow"]
    return {
        **totals,
        "cost_total": total,
        "pnl_net": net_pnl,
        "pnl_gross": gross_pnl,
        "cost_share_of_gross": total / gross_pnl if gross_pnl > 0.0 else None,
        "trading_cost_bps_per_side": trading / traded * BPS_PER_UNIT if traded > 0.0 else None,
        "traded_value": traded,
        "dividends": float(daily["dividends"].sum()),
        "settlement_pnl": float(daily["settlement_pnl"].sum()),
    }


def _trade_metrics(trades: TradeFacts, years: float) -> Metrics:
    results = trades.net_return
    n_closed = int(results.size)
    return {
        "n_trades": n_closed,
        "n_open_at_end": trades.n_open,
        "trades_per_year": n_closed / years,
        "avg_holding_sessions": known_mean(trades.holding_sessions),
        "hit_rate": hit_rate(results),
        "profit_factor": profit_factor(trades.pnl_net),
        "avg_trade_return": known_mean(results),
        "avg_win_return": known_mean(results[results > 0.0]),
        "avg_loss_return": known_mean(results[results < 0.0]),
        **{f"n_exits_{name}": n for name, n in trades.n_exits.items()},
    }


def _order_metrics(orders: OrderFacts) -> Metrics:
    share, value = orders.participation_frac, orders.traded_value
    return {
        "n_orders": orders.n_orders,
        "n_unfilled_orders": orders.n_unfilled,
        **{f"n_orders_{name}": n for name, n in orders.n_by_status.items()},
        "avg_participation": float(share.mean()) if share.size else None,
        "max_participation": float(share.max()) if share.size else None,
        "avg_fill_value": float(value.mean()) if value.size else None,
    }


def regime_breakdown(
    daily: pd.DataFrame,
    trades: pd.DataFrame,
    *,
    initial_equity_usd: float,
    periods_per_year: float,
) -> pd.DataFrame:
    """Performance by the regime that was known before each session.

    Parameters
    ----------
    daily : DataFrame indexed by session
        With ``regime`` = the label at the close before the session, -1 = unknown.
    trades : DataFrame
        With ``regime`` = the label at the entry decision.
    initial_equity_usd : float
        Equity before the first session.
    periods_per_year : float
        Annualisation.

    Returns
    -------
    DataFrame indexed by ``regime``
        label, n_sessions, session_share, annual_return, annual_vol, sharpe, sharpe_ci_low,
        sharpe_ci_high, session_hit_rate, worst_session, pnl_net, cost_total, turnover_ann,
        n_trades, trade_hit_rate, avg_trade_return. Sessions of a regime are pooled although they
        are not adjacent, so there is no drawdown here. NaN where a number does not exist.
    """
    rows = []
    pnl = np.diff(daily["equity"].to_numpy(), prepend=initial_equity_usd)
    for regime in sorted(daily["regime"].unique()):
        inside = (daily["regime"] == regime).to_numpy()
        net = daily["ret_net"].to_numpy()[inside]
        ratio = session_sharpe(net, periods_per_year=periods_per_year)
        results = trades["actual_net_return"].to_numpy()[(trades["regime"] == regime).to_numpy()]
        rows.append(
            {
                "regime": int(regime),
                "label": RegimeLabel(regime).text,
                "n_sessions": int(inside.sum()),
                "session_share": float(inside.mean()),
                "annual_return": annual_return(net, periods_per_year=periods_per_year),
                "annual_vol": annual_vol(net, periods_per_year=periods_per_year),
                "sharpe": ratio.value,
                "sharpe_ci_low": ratio.ci_low,
                "sharpe_ci_high": ratio.ci_high,
                "session_hit_rate": hit_rate(net),
                "worst_session": float(net.min()),
                "pnl_net": float(pnl[inside].sum()),
                "cost_total": float(daily.loc[inside, list(COST_COLUMNS)].sum().sum()),
                "turnover_ann": float(daily["turnover"].to_numpy()[inside].mean())
                * periods_per_year,
                "n_trades": results.size,
                "trade_hit_rate": hit_rate(results),
                "avg_trade_return": known_mean(results),
            }
        )
    return pd.DataFrame(rows).set_index("regime")


def monthly_returns(daily: pd.DataFrame) -> pd.DataFrame:
    """Compound the session returns of each calendar month.

    ``prod(1 + r) - 1`` over the sessions of the month inside the run; the first and last month may
    be partial (see ``n_sessions``).

    Parameters
    ----------
    daily : DataFrame indexed by session
        With ret_net, ret_gross, ret_hedged and benchmark_ret (NaN = not available, left out; NaN
        for a month without any).

    Returns
    -------
    DataFrame indexed by ``month`` (text such as ``2019-01``)
        ret_net, ret_gross, ret_hedged, benchmark_ret (fractions), n_sessions.
    """
    names = ["ret_net", "ret_gross", "ret_hedged", "benchmark_ret"]
    month = pd.Index(daily.index.strftime("%Y-%m"), dtype="str", name="month")
    grouped = (1.0 + daily[names]).groupby(month)
    table = grouped.prod(min_count=1) - 1.0
    table["n_sessions"] = grouped.size()
    return table
