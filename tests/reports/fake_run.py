"""A complete, plausible and entirely invented run, to show and to check a tear sheet with."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd

from quant_engine.core.tracks import Track
from quant_engine.reports import (
    DatasetFacts,
    Lineage,
    LineageNode,
    QualityOutcome,
    RunFacts,
    TearSheetData,
)
from quant_engine.reports.evaluation_data import EvaluationData
from quant_engine.stats.metrics import (
    annual_return,
    annual_vol,
    daily_sharpe,
    max_drawdown,
    sharpe,
    sharpe_step_raw,
    var_es,
)

PERIODS = 252
DIGEST = "9f2c4e7ab01d6583c2f4a9d07be15c36a8e4f1209b7d5a63ce8f10247ab9d3e5"


def sessions(n_sessions: int) -> pd.DatetimeIndex:
    return pd.bdate_range("2016-03-01", periods=n_sessions)


def regimes(rng: np.random.Generator, n_sessions: int) -> np.ndarray:
    codes = np.empty(n_sessions, dtype=np.int8)
    code = 0
    for position in range(n_sessions):
        if rng.random() < 0.018:
            code = int(rng.choice(4, p=[0.42, 0.17, 0.26, 0.15]))
        codes[position] = code
    codes[:30] = -1
    return codes


def daily_table(rng: np.random.Generator, n_sessions: int) -> pd.DataFrame:
    regime = regimes(rng, n_sessions)
    vol = np.array([0.007, 0.013, 0.009, 0.019, 0.009])[regime]
    drift = np.array([0.0008, -0.0007, 0.0002, -0.0004, 0.0003])[regime]
    market = drift + vol * rng.standard_t(5, n_sessions) / np.sqrt(5 / 3)
    alpha = np.array([0.00062, 0.00035, 0.00075, -0.0002, 0.0])[regime]
    own = 0.0052 * rng.standard_t(6, n_sessions) / np.sqrt(1.5)
    gross = alpha + 0.12 * market + own * (vol / 0.01) ** 0.5
    turnover = np.clip(0.085 + 0.02 * rng.standard_normal(n_sessions), 0.01, None)
    turnover *= 1.0 + 0.35 * (regime == 3)
    costs = {
        "cost_fees": turnover * 2 * 0.00008,
        "cost_spread": turnover * 2 * 0.00045 * (1 + 0.6 * (regime == 3)),
        "cost_impact": turnover * 2 * 0.00031 * (1 + 0.9 * (regime == 3)),
        "cost_borrow": np.full(n_sessions, 0.000012),
    }
    net = gross - sum(costs.values())
    frame = pd.DataFrame(
        {
            "equity": 1_000_000 * np.cumprod(1 + net),
            "ret_net": net,
            "ret_gross": gross,
            "gross_exposure": np.clip(0.97 + 0.02 * rng.standard_normal(n_sessions), 0, 1)
            * np.where(regime == 3, 0.6, 1.0),
            "net_exposure": 0.08 * np.sin(np.arange(n_sessions) / 90)
            + 0.03 * rng.standard_normal(n_sessions),
            "n_long": 20 + rng.integers(-2, 3, n_sessions),
            "n_short": 18 + rng.integers(-3, 3, n_sessions),
            "turnover": turnover,
            **costs,
            "benchmark_ret": market,
            "regime": regime,
            "ret_hedged": net - 0.12 * market,
        },
        index=sessions(n_sessions),
    )
    frame.index.name = "session"
    return frame


def trade_table(rng: np.random.Generator, index: pd.DatetimeIndex, n_trades: int) -> pd.DataFrame:
    names = [a + b + c for a in "ABKMT" for b in "CEORX" for c in ("A", "L", "N", "")]
    entry = np.sort(rng.integers(0, len(index) - 15, n_trades))
    held = np.minimum(rng.integers(3, 13, n_trades), 12)
    ret = 0.0022 + 0.043 * rng.standard_t(4, n_trades) / np.sqrt(2)
    price = np.round(rng.uniform(12, 380, n_trades), 2)
    side = rng.choice(["long", "short"], n_trades, p=[0.55, 0.45])
    ticker = rng.choice(names, n_trades)
    return pd.DataFrame(
        {
            "asset_id": [f"{name}@US#1" for name in ticker],
            "ticker": ticker,
            "side": side,
            "entry_session": index[entry],
            "exit_session": index[entry + held],
            "holding_sessions": held,
            "ret_net": ret,
            "entry_price": price,
            "exit_price": np.round(price * (1 + ret * np.where(side == "long", 1, -1)), 2),
            "predicted_frac": 0.01 + 0.004 * rng.standard_normal(n_trades),
            "pnl_usd": ret * 50_000 * rng.uniform(0.6, 1.1, n_trades),
            "cost_bps": rng.uniform(8, 30, n_trades),
            "mae_frac": np.minimum(ret, 0.0) - 0.01,
            "mfe_frac": np.maximum(ret, 0.0) + 0.01,
            "exit_reason": rng.choice(
                ["horizon", "stop loss", "trailing stop", "regime", "end_of_run"],
                n_trades,
                p=[0.69, 0.15, 0.1, 0.05, 0.01],
            ),
        }
    )


def summary_of(daily: pd.DataFrame, ic: pd.DataFrame, trades: pd.DataFrame) -> dict[str, object]:
    net = daily["ret_net"].to_numpy()
    headline = sharpe(net, periods_per_year=PERIODS, method="session_agg_v1")
    stamps = daily.index.to_numpy()
    per_day = daily_sharpe(stamps, net, running_days=stamps.astype("M8[D]"))
    costs = daily[["cost_fees", "cost_spread", "cost_impact", "cost_borrow"]].sum(axis=1)
    rank_ic = ic["rank_ic"]
    growth = np.cumprod(1 + net)
    return {
        "sharpe_session": headline.value,
        "sharpe_session_ci_low": headline.ci_low,
        "sharpe_session_ci_high": headline.ci_high,
        "sharpe_method": headline.method,
        "sharpe_daily": per_day.value,
        "sharpe_step_raw": sharpe_step_raw(net).value,
        "vol_floor_applied": headline.vol_floor_applied,
        "observation_days": headline.observation_days,
        "n_sessions": len(daily),
        "annual_return": annual_return(net, periods_per_year=PERIODS),
        "annual_return_gross": annual_return(
            daily["ret_gross"].to_numpy(), periods_per_year=PERIODS
        ),
        "annual_return_benchmark": annual_return(
            daily["benchmark_ret"].to_numpy(), periods_per_year=PERIODS
        ),
        "total_return": float(growth[-1] - 1),
        "annual_vol": annual_vol(net, periods_per_year=PERIODS),
        "max_drawdown": max_drawdown(net),
        "var_95": var_es(net, alpha=0.05).var,
        "es_95": var_es(net, alpha=0.05).es,
        "turnover_ann": float(daily["turnover"].mean() * PERIODS),
        "cost_share_of_gross": float(costs.sum() / daily["ret_gross"].sum()),
        "cost_bps_ann": float(costs.mean() * PERIODS * 1e4),
        "beta": float(np.cov(net, daily["benchmark_ret"])[0, 1] / daily["benchmark_ret"].var()),
        "hit_rate": float((trades["ret_net"] > 0).mean()),
        "profit_factor": 1.13,
        "n_trades": len(trades),
        "avg_holding_sessions": float(trades["holding_sessions"].mean()),
        "ic_mean": float(ic["ic"].mean()),
        "rank_ic_mean": float(rank_ic.mean()),
        "rank_ic_t_nw": 4.27,
        "rank_ic_ir": float(rank_ic.mean() / rank_ic.std()),
        "coverage_mean": 0.9931,
        "deflated_sharpe": None,
        "capacity_usd": 41_500_000.0,
    }


def regime_slices(daily: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for code, part in daily.groupby("regime"):
        net = part["ret_net"].to_numpy()
        rows.append(
            {
                "regime": int(code),
                "n_sessions": len(part),
                "annual_return": annual_return(net, periods_per_year=PERIODS),
                "annual_vol": annual_vol(net, periods_per_year=PERIODS),
                "sharpe": sharpe(net, periods_per_year=PERIODS).value,
                "max_drawdown": max_drawdown(net),
            }
        )
    return pd.DataFrame(rows)


def monthly_table(daily: pd.DataFrame) -> pd.DataFrame:
    keys = [daily.index.year, daily.index.month]
    grouped = (1 + daily["ret_net"]).groupby(keys).prod() - 1
    grouped.index.names = ["year", "month"]
    return grouped.rename("ret_net").reset_index()


def ic_tables(
    rng: np.random.Generator, index: pd.DatetimeIndex
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    slow = pd.Series(rng.standard_normal(len(index))).ewm(span=60).mean().to_numpy()
    rank_ic = 0.024 + 0.05 * slow + 0.09 * rng.standard_normal(len(index))
    ic = rank_ic * 0.9 + 0.02 * rng.standard_normal(len(index))
    by_date = pd.DataFrame({"ic": ic, "rank_ic": rank_ic}, index=index)
    by_date.iloc[5] = np.nan
    by_horizon = pd.DataFrame(
        {
            "horizon": [1, 5, 10, 20],
            "mean": [0.0091, 0.0187, 0.0240, 0.0212],
            "t_nw": [2.31, 3.66, 4.27, 2.94],
            "n": [len(index) - h for h in (1, 5, 10, 20)],
        }
    )
    yearly = by_date.groupby(by_date.index.year)
    by_year = yearly.mean().reset_index(names="year")
    by_year["t_nw"] = (yearly["rank_ic"].mean() / yearly["rank_ic"].std() * 6).to_numpy()
    by_year["n"] = yearly["rank_ic"].count().to_numpy()
    return by_date, by_horizon, by_year


def quantile_tables(
    rng: np.random.Generator, index: pd.DatetimeIndex
) -> tuple[pd.DataFrame, pd.DataFrame]:
    tilt = np.linspace(-24, 29, 10) + rng.normal(0, 2.2, 10)
    means = pd.DataFrame(
        {
            "quantile": range(1, 11),
            "mean_fwd_return_bps": tilt,
            "std_error_bps": rng.uniform(4.5, 6.5, 10),
        }
    )
    common = 0.00022 + 0.008 * rng.standard_normal(len(index))
    paths = {
        k + 1: np.cumprod(1 + common + tilt[k] / 1e4 / 10 + 0.002 * rng.standard_normal(len(index)))
        - 1
        for k in range(10)
    }
    return means, pd.DataFrame(paths, index=index)


def fold_table(rng: np.random.Generator, index: pd.DatetimeIndex, n_folds: int) -> pd.DataFrame:
    edges = np.linspace(0, len(index) - 1, n_folds + 1).astype(int)
    before = pd.bdate_range(end=index[0] - pd.Timedelta(days=1), periods=504)
    rows = []
    for number in range(n_folds):
        first, last = edges[number], edges[number + 1] - (number < n_folds - 1)
        train_last = index[first - 22] if first > 22 else before[-22]
        rank_ic = 0.024 + 0.016 * rng.standard_normal()
        rows.append(
            {
                "fold": number + 1,
                "train_first": before[0],
                "train_last": train_last,
                "test_first": index[first],
                "test_last": index[last],
                "n_train_rows": 140 * (504 + int(first)),
                "n_test_rows": 140 * int(last - first + 1),
                "ic_in_sample": 0.071 + 0.006 * rng.standard_normal(),
                "ic": rank_ic * 0.9,
                "rank_ic": rank_ic,
            }
        )
    return pd.DataFrame(rows)


def lineage() -> Lineage:
    kinds = [
        ("raw_bars", "a1", "Daily bars, 187 files"),
        ("security_master", "a2", "Identities and delistings"),
        ("panel", "b1", "Canonical panel"),
        ("feature_panel", "c1", "price_volume_v1, 34 features"),
        ("label_panel", "c2", "Excess return, 10 sessions"),
        ("regime_panel", "c3", "Filtered regimes"),
        ("model", "d1", "Ridge and LightGBM, 12 folds"),
        ("oos_predictions", "e1", "Out-of-sample scores"),
        ("backtest_result", "f1", "Long/short, costs v2"),
    ]
    nodes = tuple(
        LineageNode(
            kind=kind, artifact_id=f"{kind}/{one}", sha256=DIGEST[k:] + DIGEST[:k], label=label
        )
        for k, (kind, one, label) in enumerate(kinds)
    )
    ids = {node.kind: node.artifact_id for node in nodes}
    pairs = [
        ("raw_bars", "panel"),
        ("security_master", "panel"),
        ("panel", "feature_panel"),
        ("panel", "label_panel"),
        ("panel", "regime_panel"),
        ("feature_panel", "model"),
        ("label_panel", "model"),
        ("regime_panel", "model"),
        ("model", "oos_predictions"),
        ("oos_predictions", "backtest_result"),
        ("panel", "backtest_result"),
    ]
    return Lineage(nodes=nodes, edges=tuple((ids[a], ids[b]) for a, b in pairs))


def evaluation(rng: np.random.Generator, daily: pd.DataFrame) -> EvaluationData:
    net = daily["ret_net"].to_numpy()
    costs = net - daily["ret_gross"].to_numpy()
    parts = {name: 0.001 * rng.standard_normal(len(daily)) for name in ("market", "sector")}
    parts |= {name: 0.0005 * rng.standard_normal(len(daily)) for name in ("momentum", "size")}
    parts["selection"] = 0.002 * rng.standard_normal(len(daily))
    parts["trading"] = net - costs - sum(parts.values())
    parts["costs"] = costs
    parts["alpha"] = parts["selection"] + parts["trading"] + costs
    attribution = pd.DataFrame({**parts, "ret_net": net, "n_assets": 150}, index=daily.index)
    start = daily["equity"].to_numpy() / (1 + net)
    totals = [
        {
            "part": "net" if name == "ret_net" else name,
            "sum_frac": attribution[name].sum(),
            "money": (start * attribution[name]).sum(),
            "total_frac": (start * attribution[name]).sum() / start[0],
        }
        for name in (*parts, "ret_net")
    ]
    sliced = {"annual_return": 0.1, "sharpe": 0.7, "max_drawdown": -0.05, "pnl_net": 12.0}
    sliced |= {"avg_gross_exposure": 1.0, "avg_net_exposure": 0.0}
    shortfall = {"delay": 50.0, "spread": 30.0, "impact": 20.0, "fees": 10.0, "opportunity": -5.0}
    return EvaluationData(
        slices=pd.DataFrame(
            [
                {"dimension": dimension, "slice": name, "n_obs": n, "is_thin": n < 20, **sliced}
                for dimension, name, n in (
                    ("phase", "high_vol", 12),
                    ("year", "2016", 200),
                    ("sector", "Energy", 40),
                    ("size", "large", 90),
                )
            ]
        ),
        calibration_slices=pd.DataFrame(
            {
                "dimension": ["all", "phase"],
                "slice": ["all predictions", "crash"],
                "n_obs": [900, 9],
                "is_thin": [False, True],
                "mean_confidence": [0.52, 0.55],
                "frequency": [0.51, 0.4],
                "calibration_error": [0.01, 0.15],
            }
        ),
        tca=pd.DataFrame(
            [
                {
                    "dimension": dimension,
                    "slice": name,
                    "n_orders": 300,
                    "ordered_value": 1e6,
                    "traded_value": 9.9e5,
                    "fill_frac": 0.99,
                    **shortfall,
                    "shortfall": 105.0,
                    "shortfall_bps": 1.05,
                }
                for dimension, name in (("all", "all orders"), ("side", "buy"))
            ]
        ),
        attribution=attribution,
        attribution_totals=pd.DataFrame(totals),
        metrics={
            "trading_costs": {
                **{"pnl_gross": 900.0, "spread": 30.0, "impact": 20.0, "fees": 10.0},
                **{"borrow": 5.0, "pnl_net": 835.0, "gap": 0.0},
            },
            "benchmark": {"n_sessions": 600.0, "beta_part": 0.02, "hedged": 0.1, "net": 0.12},
            "rolling_ic_decay": 0.03,
            "rolling_ic_alarm": True,
            "pnl_top20_frac": 0.4,
            "pnl_is_fragile": False,
            "disagreement_mean": None,
            "disagreement_alarm": None,
        },
        absent={"disagreement": "the model has one member, so there is nobody to disagree"},
    )


def checks() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "check": ["one", "two", "three"],
            "value": [1.0, 0.2, np.nan],
            "verdict": ["pass", "fail", "insufficient_observation"],
            "reason": ["one: yes", "two 0.20 is above 0.05", "three is missing"],
        }
    )


def fake_run(n_sessions: int = 700, *, n_trades: int = 300, seed: int = 7) -> TearSheetData:
    rng = np.random.default_rng(seed)
    daily = daily_table(rng, n_sessions)
    index = daily.index
    trades = trade_table(rng, index, n_trades)
    by_date, by_horizon, by_year = ic_tables(rng, index)
    means, paths = quantile_tables(rng, index)
    members = np.full(n_sessions, 150)
    share = 1 - np.clip(rng.exponential(0.006, n_sessions), 0, 0.09)
    coverage = pd.DataFrame(
        {
            "n_assets": (162 + np.arange(n_sessions) // 100).astype(int),
            "n_members": members,
            "share_covered": share,
        },
        index=index,
    )
    return TearSheetData(
        title="Cross-sectional momentum and value, 10 sessions",
        track=Track.CALIBRATION,
        dataset=DatasetFacts(
            dataset_id="sim-equity-core-v1",
            source="Simulated equity market, seed 7",
            first_session=date(2014, 3, 3),
            last_session=index[-1].date(),
            n_assets=187,
            coverage=coverage,
            absences=(
                "No intraday prices: fills are at the open.",
                "No borrow availability: every short is assumed to be locatable.",
            ),
        ),
        run=RunFacts(
            run_id="bt-2026-11-20-7f3a",
            model_version="ridge-lgbm-h10-v0007",
            config_id=DIGEST,
            code_digest=DIGEST[::-1],
            horizon_sessions=10,
            as_of=str(index[-1].date()),
            seed=7,
        ),
        periods_per_year=PERIODS,
        summary=summary_of(daily, by_date, trades),
        verdict=QualityOutcome(
            promotable=False,
            reasons=(
                "Calibration track: simulated data can never be promoted.",
                "Maximum drawdown −14.2 % is deeper than the limit of −12 %.",
            ),
        ),
        daily=daily,
        trades=trades,
        ic_by_date=by_date,
        ic_by_horizon=by_horizon,
        ic_by_year=by_year,
        quantile_returns=means,
        quantile_cumulative=paths,
        folds=fold_table(rng, index, 12),
        regime_slices=regime_slices(daily),
        monthly_returns=monthly_table(daily),
        quality_findings=pd.DataFrame(
            {
                "rule": [
                    "Price jump above 50 %",
                    "High below low",
                    "Stale price, 5 sessions",
                    "Missing volume",
                    "Negative volume",
                ],
                "severity": ["warn", "reject", "warn", "warn", "reject"],
                "n_findings": [14, 0, 37, 112, 0],
            }
        ),
        checks=checks(),
        evaluation=evaluation(rng, daily),
        time_contract=(
            "Decision: after the close of session t, from data known by then.",
            "Fill: at the open of session t+1; participation at most 2 % of volume.",
            "Label: open of t+1 to open of t+11, total return minus benchmark.",
            "Purge: training rows whose label span touches the test span are dropped.",
            "Embargo: 10 further sessions before each test block.",
        ),
        lineage=lineage(),
        warnings=("Turnover of 2,142 % a year is above the warning level of 500 %.",),
        absent={"deflated_sharpe": "The trial ledger of this dataset holds a single trial."},
    )
