"""From artifacts to the data of a page: the only module of reports that reads the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from quant_engine.artifacts.kinds.backtest import BACKTEST, TRADES, VALIDATION
from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.factor_report import FACTOR_REPORT
from quant_engine.artifacts.kinds.market import MARKET, QUALITY
from quant_engine.artifacts.kinds.training import TRAINING_REPORT
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.artifacts.store import ArtifactStore
from quant_engine.core.ids import ticker_of
from quant_engine.core.units import BPS_PER_UNIT
from quant_engine.reports.book_terms import book_terms
from quant_engine.reports.factor_data import FactorPageData
from quant_engine.reports.load_evaluation import load_evaluation
from quant_engine.reports.load_lineage import load_lineage
from quant_engine.reports.load_suite import load_suite
from quant_engine.reports.tearsheet_data import (
    COST_KINDS,
    FRAMES,
    DatasetFacts,
    MetricValue,
    QualityOutcome,
    RunFacts,
    TearSheetData,
)
from quant_engine.stats.inference import newey_west_or_nan

_RENAMED = {
    "sharpe": "sharpe_session",
    "sharpe_ci_low": "sharpe_session_ci_low",
    "sharpe_ci_high": "sharpe_session_ci_high",
    "benchmark_annual_return": "annual_return_benchmark",
    "avg_beta": "beta",
}
MAX_WARNINGS = 8
"""Verdicts that stand on top of a page."""

_NOT_SHOWN = ("first_session", "last_session")
_TRADE_COLUMNS = {
    "actual_net_return": "ret_net",
    "predicted": "predicted_frac",
    "size_frac": "weight",
    "pnl_net": "pnl_usd",
}


@dataclass(frozen=True)
class TearSheetSources:
    """Which artifacts and facts a tear sheet is made from.

    Parameters
    ----------
    refs : mapping of str to ArtifactRef
        Roles ``market, quality, report, backtest, trades, validation, evaluation``, and those of
        the validation suite where it was run.
    title : str
        Heading.
    run_id, model_version : str
        Shown in the header.
    is_in_sample, is_same_bar : bool
        Marked on top of the page.
    """

    refs: Mapping[str, ArtifactRef]
    title: str
    run_id: str
    model_version: str
    is_in_sample: bool = False
    is_same_bar: bool = False


def load_tearsheet(store: ArtifactStore, sources: TearSheetSources) -> TearSheetData:
    """Read the artifacts of a backtest and arrange them for the tear sheet.

    Parameters
    ----------
    store : ArtifactStore
        Where they lie.
    sources : TearSheetSources
        Which ones.

    Returns
    -------
    TearSheetData
        Every table filled, or its absence explained.
    """
    refs = sources.refs
    backtest = store.read(BACKTEST, refs["backtest"])
    trades = store.read(TRADES, refs["trades"]).tables["trades"]
    report = store.read(TRAINING_REPORT, refs["report"])
    market = store.read(MARKET, refs["market"])
    quality = store.read(QUALITY, refs["quality"])
    validation = store.read(VALIDATION, refs["validation"])
    manifest = store.manifest(refs["backtest"])
    facts = market.documents["facts"]
    daily = _daily(backtest)
    plan = report.documents["plan"]
    verdict = report.documents["quality"]
    return TearSheetData(
        title=sources.title,
        track=manifest.provenance.track,
        dataset=_dataset(facts, market, manifest.provenance.dataset),
        run=RunFacts(
            run_id=sources.run_id,
            model_version=sources.model_version,
            config_id=manifest.config_sha256,
            code_digest=manifest.code_digest,
            horizon_sessions=plan["horizon_sessions"],
            as_of=manifest.provenance.as_of,
            seed=manifest.provenance.seed,
            is_in_sample=sources.is_in_sample,
            is_same_bar=sources.is_same_bar,
        ),
        periods_per_year=backtest.documents["settings"]["backtest"]["periods_per_year"],
        summary=_summary(backtest, report, facts, daily),
        verdict=QualityOutcome(promotable=verdict["promotable"], reasons=tuple(verdict["reasons"])),
        daily=daily,
        trades=_trades(trades, market),
        ic_by_date=report.tables["ic_by_date"].set_index("session"),
        ic_by_horizon=report.tables["ic_by_horizon"],
        ic_by_year=report.tables["ic_by_year"],
        quantile_returns=report.tables["quantile_returns"],
        quantile_cumulative=_quantile_cumulative(report),
        folds=_fold_rows(report),
        regime_slices=_regimes(backtest, daily),
        monthly_returns=_months(daily),
        quality_findings=_findings(quality),
        time_contract=_time_contract(plan, backtest),
        lineage=load_lineage(store, refs["validation"]),
        warnings=_warnings(validation),
        absent=_absences(facts),
        checks=validation.tables["checks"],
        evaluation=load_evaluation(store, refs),
        suite=load_suite(store, refs),
    )


@dataclass(frozen=True)
class FactorSources:
    """Which artifacts and facts a factor page is made from.

    Parameters
    ----------
    refs : mapping of str to ArtifactRef
        Roles ``market`` and ``report``.
    title : str
        Heading.
    run_id : str
        Shown in the header.
    n_trials : int
        Factor trials ever recorded on the source of data.
    """

    refs: Mapping[str, ArtifactRef]
    title: str
    run_id: str
    n_trials: int


def load_factor_page(store: ArtifactStore, sources: FactorSources) -> FactorPageData:
    """Read a factor report and arrange it for its page.

    Parameters
    ----------
    store : ArtifactStore
        Where the artifacts lie.
    sources : FactorSources
        Which ones.

    Returns
    -------
    FactorPageData
        Tables as stored.
    """
    report = store.read(FACTOR_REPORT, sources.refs["report"])
    market = store.read(MARKET, sources.refs["market"])
    manifest = store.manifest(sources.refs["report"])
    return FactorPageData(
        title=sources.title,
        run_id=sources.run_id,
        as_of=manifest.provenance.as_of,
        config_id=manifest.config_sha256,
        code_digest=manifest.code_digest,
        track=manifest.provenance.track,
        dataset=_dataset(market.documents["facts"], market, manifest.provenance.dataset),
        facts=report.documents["facts"],
        tables=report.tables,
        n_trials=sources.n_trials,
        lineage=load_lineage(store, sources.refs["report"]),
    )


def _dataset(facts: Mapping[str, Any], market: Bundle, dataset: str) -> DatasetFacts:
    coverage = market.tables["coverage"].set_index("session")
    return DatasetFacts(
        dataset_id=dataset,
        source=facts["source"],
        first_session=coverage.index[0].date(),
        last_session=coverage.index[-1].date(),
        n_assets=facts["n_assets"],
        coverage=coverage if facts["has_membership"] else None,
        absences=tuple(facts["absent"]),
    )


def _daily(backtest: Bundle) -> pd.DataFrame:
    """Keep the columns of the page; costs become fractions of the equity at the session's start."""
    frame = backtest.tables["daily"].set_index("session")
    start = frame["equity"] / (1.0 + frame["ret_net"])
    for kind in COST_KINDS:
        frame[f"cost_{kind}"] = frame[f"cost_{kind}"] / start
    schema = FRAMES["daily"]
    return frame[[c for c in (*schema.required, *schema.optional) if c in frame.columns]]


def _summary(
    backtest: Bundle, report: Bundle, facts: Mapping[str, Any], daily: pd.DataFrame
) -> dict[str, MetricValue]:
    stored = backtest.documents["summary"]
    summary: dict[str, MetricValue] = {
        _RENAMED.get(name, name): value for name, value in stored.items() if name not in _NOT_SHOWN
    }
    by_date = report.tables["ic_by_date"]
    costs = daily[[f"cost_{kind}" for kind in COST_KINDS]].sum(axis=1)
    periods = backtest.documents["settings"]["backtest"]["periods_per_year"]
    spread = float(by_date["rank_ic"].std(ddof=1))
    summary |= {
        "ic_mean": float(by_date["ic"].mean()),
        "ic_std": float(by_date["ic"].std(ddof=1)),
        "rank_ic_mean": float(by_date["rank_ic"].mean()),
        "rank_ic_ir": float(by_date["rank_ic"].mean()) / spread if spread > 0 else None,
        "rank_ic_t_nw": newey_west_or_nan(
            by_date["rank_ic"].to_numpy(), lags=report.documents["plan"]["horizon_sessions"]
        ).t,
        "coverage_mean": facts.get("mean_member_coverage"),
        "cost_bps_ann": float(costs.mean()) * periods * BPS_PER_UNIT,
    }
    return summary


def _trades(trades: pd.DataFrame, market: Bundle) -> pd.DataFrame:
    securities = market.tables["securities"].set_index("asset_id")["ticker"]
    frame = trades.rename(columns=_TRADE_COLUMNS)
    costs = frame[[f"cost_{kind}" for kind in COST_KINDS]].sum(axis=1)
    frame["cost_bps"] = costs / frame["entry_value"] * BPS_PER_UNIT
    frame["ticker"] = [str(securities.get(asset, ticker_of(asset))) for asset in frame["asset_id"]]
    schema = FRAMES["trades"]
    return frame[[c for c in (*schema.required, *schema.optional) if c in frame.columns]]


def _quantile_cumulative(report: Bundle) -> pd.DataFrame:
    frame = report.tables["quantile_cumulative"].set_index("session")
    frame.columns = [int(str(name).removeprefix("q")) for name in frame.columns]
    return frame


def _fold_rows(report: Bundle) -> pd.DataFrame:
    table = report.tables["folds"]
    return pd.DataFrame(
        {
            "fold": table["fold"],
            "train_first": table["train_first"],
            "train_last": table["train_last"],
            "test_first": table["test_first"],
            "test_last": table["test_last"],
            "n_train_rows": table["n_train_rows"].astype("int64"),
            "n_test_rows": table["n_test_rows"].astype("int64"),
            "ic_in_sample": table["blend_is_rank_ic"],
            "ic": table["blend_oos_ic"],
            "rank_ic": table["blend_oos_rank_ic"],
        }
    )


def _regimes(backtest: Bundle, daily: pd.DataFrame) -> pd.DataFrame:
    table = backtest.tables["regime_breakdown"]
    worst = daily.groupby("regime")["ret_net"].apply(_drawdown)
    return pd.DataFrame(
        {
            "regime": table["regime"].astype("int64"),
            "n_sessions": table["n_sessions"].astype("int64"),
            "annual_return": table["annual_return"],
            "annual_vol": table["annual_vol"],
            "sharpe": table["sharpe"],
            "max_drawdown": [float(worst.get(regime, float("nan"))) for regime in table["regime"]],
        }
    )


def _drawdown(returns: pd.Series[float]) -> float:
    grown = (1.0 + returns).cumprod()
    return float((grown / grown.cummax().clip(lower=1.0) - 1.0).min())


def _months(daily: pd.DataFrame) -> pd.DataFrame:
    sessions = pd.DatetimeIndex(daily.index)
    grown = (1.0 + daily["ret_net"]).groupby([sessions.year, sessions.month]).prod() - 1.0
    frame = grown.rename_axis(["year", "month"]).reset_index(name="ret_net")
    return frame.astype({"year": "int64", "month": "int64"})


def _findings(quality: Bundle) -> pd.DataFrame | None:
    if quality.documents["summary"]["profile"] is None:
        return None
    table = quality.tables["by_rule"]
    return pd.DataFrame(
        {
            "rule": table["rule"],
            "severity": table["action"],
            "n_findings": table["n_findings"].astype("int64"),
        }
    )


def _time_contract(plan: Mapping[str, Any], backtest: Bundle) -> tuple[str, ...]:
    horizon, lag = plan["horizon_sessions"], plan["entry_lag"]
    fill, *held = book_terms(backtest.documents["settings"])
    embargo = plan["embargo_sessions"]
    shown = f"{embargo} sessions" if embargo is not None else "the longest label horizon"
    return (
        "Decision: after the close of session t, from data known by then.",
        fill,
        f"Label: from the open of t + {lag} to the open of t + {lag + horizon}; its span is the "
        "closed interval of these sessions.",
        "Purge: no training label's span touches the test block (closed intervals of time).",
        f"Embargo: {shown} before each test block train nothing.",
        *held,
    )


def _warnings(validation: Bundle) -> tuple[str, ...]:
    """What is no pass, failures first; the rest is counted, for the verdicts hold every row."""
    table = validation.tables["checks"]
    order = {"fail": 0, "warn": 1}
    open_rows = [row for row in table.itertuples(index=False) if row.verdict != "pass"]
    open_rows.sort(key=lambda row: order.get(row.verdict, len(order)))
    told = [f"{row.verdict.partition('_')[0]}: {row.reason}" for row in open_rows]
    if len(told) > MAX_WARNINGS:
        n_more = len(told) - MAX_WARNINGS + 1
        told = [*told[: MAX_WARNINGS - 1], f"{n_more} more verdicts are no pass; see Validation"]
    return tuple(told)


def _absences(facts: Mapping[str, Any]) -> dict[str, str]:
    reasons = {
        "quality_findings": "The market is simulated, so no quality profile was applied.",
        "excursions": "A book of target weights has no entry and exit prices to measure from: "
        "only runs of trading rules record them.",
        "cost_share_of_gross": "The gross profit is not positive, so it has no cost share.",
    }
    if not facts["has_membership"]:
        sentence = "No membership history was given, so the share of members covered is unknown."
        reasons |= {"coverage": sentence, "coverage_mean": sentence}
    return reasons
