"""Tables of what was found: forecasts and their scores, trades, verdicts, arbitrage, audit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.core.arrays import FloatVector
from quant_engine.kalshi.arbitrage import ViolationEpisode
from quant_engine.kalshi.event_frames import LOOK_KEY
from quant_engine.kalshi.exchange.fixed import ONE_DOLLAR_E4
from quant_engine.kalshi.execution import FillResult, pnl_per_contract
from quant_engine.kalshi.forecast_scores import score_forecasts, skill_table, summarise_calibration
from quant_engine.kalshi.models import MEMBERS
from quant_engine.kalshi.pipeline import AuditLine, Evaluation
from quant_engine.kalshi.promotion import Judgement
from quant_engine.kalshi.strategies import StrategyRun, StrategyTable
from quant_engine.kalshi.walkforward import WalkForwardForecasts
from quant_engine.stats.calibration import reliability_table
from quant_engine.stats.clustered import cluster_mean

__all__ = [
    "arbitrage_table",
    "audit_table",
    "forecast_tables",
    "longshot_table",
    "trade_tables",
    "verdict_tables",
]

NAN = float("nan")
PRICE_EDGES = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 1.0)
"""Edges of the longshot curve, dollars: finer where the bias is."""
ALL_HORIZONS = 0
E6 = 1e6


def forecast_tables(evaluation: Evaluation) -> dict[str, pd.DataFrame]:
    """Forecasts, scores, folds, skill, calibration, reliability and the longshot curve.

    Parameters
    ----------
    evaluation : Evaluation
        Walk-forward.

    Returns
    -------
    dict of str to DataFrame
        Tables of the artifact ``event_forecasts``.
    """
    forecasts = evaluation.forecasts
    scores = score_forecasts(forecasts)
    cells = _happened(forecasts)
    keys = [*LOOK_KEY, "cluster_id", "fold", "cell", "happened"]
    long = cells.melt(keys, list(MEMBERS), "member", "prob")
    order = [*LOOK_KEY, "member", "cell"]
    return {
        "forecasts": long.sort_values(order, ignore_index=True),
        "scores": scores,
        "folds": _fold_rows(forecasts),
        "skill": skill_table(scores),
        "calibration": _calibration(forecasts, scores),
        "reliability": _reliability(cells),
        "longshot": longshot_table(forecasts),
    }


def _happened(forecasts: WalkForwardForecasts) -> pd.DataFrame:
    """Cells of every test look with what came true."""
    looks = forecasts.looks
    truth = forecasts.frames.labels["happened"].to_numpy()[looks["place"]]
    known = looks[["cluster_id", "fold"]].assign(truth=truth).reset_index()
    cells = forecasts.cells.merge(known, on=LOOK_KEY, how="left", validate="many_to_one")
    return cells.assign(happened=cells["cell"] == cells["truth"]).drop(columns="truth")


def _fold_rows(forecasts: WalkForwardForecasts) -> pd.DataFrame:
    frames = forecasts.frames
    cluster = frames.looks["cluster_id"].to_numpy()
    asof = frames.looks["asof_us"].to_numpy()
    due = frames.looks["scheduled_us"].to_numpy()
    label = frames.labels["label_avail_us"].to_numpy()
    rows = []
    for split, weight in zip(forecasts.plan, forecasts.mix_weights, strict=True):
        train, test = split.train, split.test
        rows.append(
            {
                "fold": split.number,
                "n_train_looks": len(train),
                "n_train_clusters": len(np.unique(cluster[train])),
                "n_dropped_looks": len(split.purged) + len(split.embargoed),
                "n_test_looks": len(test),
                "n_test_clusters": len(np.unique(cluster[test])),
                "train_from_us": int(asof[train].min()),
                "train_to_us": int(label[train].max()),
                "test_from_us": int(asof[test].min()),
                "test_to_us": int(due[test].max()),
                "mix_weight": weight,
            }
        )
    return pd.DataFrame(rows)


def _calibration(forecasts: WalkForwardForecasts, scores: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for member in MEMBERS:
        found = summarise_calibration(forecasts, scores, member)
        covered = {f"coverage_{round(100 * c)}": share for c, share in found.coverage.items()}
        rows.append(
            {
                "member": member,
                **asdict(found.brier),
                "calibration_error": found.calibration_error,
                "slope": found.slope,
                "intercept": found.intercept,
                **covered,
            }
        )
    return pd.DataFrame(rows)


def _reliability(cells: pd.DataFrame) -> pd.DataFrame:
    parts = [(ALL_HORIZONS, cells), *cells.groupby("horizon_s")]
    rows = [
        reliability_table(part[member], part["happened"]).assign(member=member, horizon_s=horizon)
        for member in MEMBERS
        for horizon, part in parts
    ]
    names = {"bin_low": "prob_low", "bin_high": "prob_high"}
    return pd.concat(rows, ignore_index=True).rename(columns=names)


def longshot_table(forecasts: WalkForwardForecasts) -> pd.DataFrame:
    """How often contracts paid, by their price.

    Parameters
    ----------
    forecasts : WalkForwardForecasts
        With legs; contracts without a bid or an ask are left out.

    Returns
    -------
    DataFrame
        One row per bin of middle prices that holds a contract; the error is clustered by
        real-world event, NaN with fewer than 2.
    """
    legs, frames = forecasts.frames.legs, forecasts.frames
    names = [
        "price_low", "price_high", "mean_price_usd", "frequency", "gain_usd", "std_error_usd",
        "n_legs", "n_clusters",
    ]  # fmt: skip
    if legs is None or not len(legs):
        return pd.DataFrame(columns=names)
    place = frames.looks.index.get_indexer(pd.MultiIndex.from_frame(legs[LOOK_KEY]))
    truth = frames.labels["happened"].to_numpy()[place]
    paid = (legs["first_cell"].to_numpy() <= truth) & (truth <= legs["last_cell"].to_numpy())
    bid, ask = legs["bid_e4"].to_numpy(), legs["ask_e4"].to_numpy()
    price = (bid + ask) / (2.0 * ONE_DOLLAR_E4)
    quoted = (bid >= 0) & (ask >= 0)
    cluster = frames.looks["cluster_id"].to_numpy()[place]
    rows = [
        (low, high, *_price_bin(price[inside], paid[inside], cluster[inside]))
        for low, high in pairwise(PRICE_EDGES)
        if (inside := quoted & (low <= price) & ((price < high) | (high == 1.0))).any()
    ]
    return pd.DataFrame(rows, columns=names)


def _price_bin(
    price: FloatVector, paid: np.ndarray, cluster: np.ndarray
) -> tuple[float, float, float, float, int, int]:
    n_clusters = len(np.unique(cluster))
    error = cluster_mean(paid - price, cluster).std_error if n_clusters > 1 else NAN
    mean, share = float(price.mean()), float(paid.mean())
    return mean, share, share - mean, error, len(price), n_clusters


def trade_tables(table: StrategyTable, frames_looks: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Strategies, their fills under every stress, and equity by real-world event.

    Parameters
    ----------
    table : StrategyTable
        Strategies.
    frames_looks : DataFrame
        Looks of the frames, for the schedule of every cluster.

    Returns
    -------
    dict of str to DataFrame
        Tables of the artifact ``event_trades``.
    """
    due = frames_looks.groupby("cluster_id")["scheduled_us"].max()
    fills = [
        result.fills.assign(strategy=run.config.name, stress=result.stress.name)
        for run in table.runs
        for result in (run.displayed, *run.stressed)
    ]
    return {
        "strategies": pd.DataFrame([_strategy_row(run, table.capital) for run in table.runs]),
        "fills": pd.concat(fills, ignore_index=True)[
            [
                "strategy", "stress", *LOOK_KEY, "cluster_id", "ticker", "side", "price_e4",
                "count_c2", "fee_e6", "cost_e6", "pnl_e6", "liquidity",
            ]
        ],
        "stresses": pd.DataFrame(
            [
                _stress_row(run.config.name, result)
                for run in table.runs
                for result in (run.displayed, *run.stressed)
            ]
        ),
        "clusters": pd.concat(
            [_equity(run, table.capital, due) for run in table.runs], ignore_index=True
        ),
    }  # fmt: skip


def _strategy_row(run: StrategyRun, capital: float) -> dict[str, Any]:
    fills, clusters = run.displayed.fills, run.displayed.by_cluster
    pnl = float(clusters["pnl"].sum())
    return {
        "strategy": run.config.name,
        "member": run.config.member,
        "threshold_usd": run.config.fills.threshold,
        "liquidity": run.config.fills.liquidity,
        "trial_id": run.trial_id,
        "pnl_usd": pnl,
        "fee_usd": float(fills["fee_e6"].sum()) / E6,
        "n_fills": len(fills),
        "n_contracts": float(clusters["contracts"].sum()),
        "worst_cluster_usd": float(clusters["pnl"].min()),
        "return_frac": pnl / capital,
    }


def _stress_row(name: str, result: FillResult) -> dict[str, Any]:
    per = pnl_per_contract(result)
    return {
        "strategy": name,
        "stress": result.stress.name,
        "pnl_usd": float(result.by_cluster["pnl"].sum()),
        "pnl_contract_usd": per.mean,
        "ci_low_usd": per.ci_low,
        "ci_high_usd": per.ci_high,
        "n_clusters": per.n_clusters,
        "n_contracts": per.n_contracts,
    }


def _equity(run: StrategyRun, capital: float, due: pd.Series) -> pd.DataFrame:
    clusters = run.displayed.by_cluster
    return pd.DataFrame(
        {
            "strategy": run.config.name,
            "place": np.arange(len(clusters)),
            "cluster_id": clusters.index.to_numpy(),
            "scheduled_us": due.reindex(clusters.index).to_numpy(),
            "pnl_usd": clusters["pnl"].to_numpy(),
            "risk_usd": clusters["risk"].to_numpy(),
            "n_contracts": clusters["contracts"].to_numpy(dtype=np.float64),
            "n_orders": clusters["n_orders"].to_numpy(),
            "equity_usd": capital + clusters["pnl"].cumsum().to_numpy(),
        }
    )


def verdict_tables(judged: Sequence[Judgement]) -> dict[str, pd.DataFrame]:
    """Verdict of every strategy and every rule behind it.

    Parameters
    ----------
    judged : sequence of Judgement
        Of the gates; without reports where they were switched off.

    Returns
    -------
    dict of str to DataFrame
        ``verdicts`` and ``checklist`` of the artifact ``event_report``.
    """
    verdicts = [
        {
            "subject": one.subject,
            "strategy": one.strategy,
            "status": one.status,
            "is_promoted": one.passed,
            "blocks": "" if one.report is None else ";".join(one.report.blocks),
        }
        for one in judged
    ]
    rules = [row for one in judged for row in _rules(one)]
    names = [
        "subject", "strategy", "gate", "rule", "status", "severity", "value", "threshold",
        "n_obs", "reason", "note",
    ]  # fmt: skip
    checklist = pd.DataFrame(rules, columns=names).astype({"n_obs": "Int64"})
    return {
        "verdicts": pd.DataFrame(
            verdicts, columns=["subject", "strategy", "status", "is_promoted", "blocks"]
        ),
        "checklist": checklist,
    }


def _rules(one: Judgement) -> Iterator[dict[str, Any]]:
    if one.report is None:
        return
    for outcome in one.report.outcomes:
        yield {
            "subject": one.subject,
            "strategy": one.strategy,
            "gate": outcome.gate,
            "rule": outcome.rule,
            "status": str(outcome.status),
            "severity": outcome.severity,
            "value": NAN if outcome.value is None else float(outcome.value),
            "threshold": NAN if outcome.threshold is None else float(outcome.threshold),
            "n_obs": outcome.n_obs,
            "reason": outcome.reason,
            "note": outcome.note,
        }


def arbitrage_table(found: Mapping[str, Sequence[ViolationEpisode]]) -> pd.DataFrame:
    """Violations with their life-times.

    Parameters
    ----------
    found : mapping of str to sequence of ViolationEpisode
        Event ticker to its episodes.

    Returns
    -------
    DataFrame
        Largest profit first, then by event and sighting.
    """
    rows = [
        {
            "event_ticker": ticker,
            "kind": episode.key[0],
            "legs": " ".join(episode.key[1:]),
            "first_us": episode.first_us,
            "last_us": episode.last_us,
            "gone_us": episode.gone_us,
            "lifetime_s": episode.lifetime_us / E6,
            "n_seen": episode.n_seen,
            "best_profit_usd": episode.best_profit_e6 / E6,
        }
        for ticker, episodes in found.items()
        for episode in episodes
    ]
    rows.sort(key=lambda row: (-row["best_profit_usd"], row["event_ticker"], row["first_us"]))
    names = [
        "event_ticker", "kind", "legs", "first_us", "last_us", "gone_us", "lifetime_s", "n_seen",
        "best_profit_usd",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=names).astype({"gone_us": "Int64"})


def audit_table(lines: Sequence[AuditLine]) -> pd.DataFrame:
    """Checks of the leak audit.

    Parameters
    ----------
    lines : sequence of AuditLine
        Checks.

    Returns
    -------
    DataFrame
        ``check, subject, asof_us, poison, n_rows, n_faults``.

    Examples
    --------
    >>> audit_table([AuditLine("rows", "print before it happened", 0)])["n_faults"].tolist()
    [0]
    """
    names = ["check", "subject", "asof_us", "poison", "n_rows", "n_faults"]
    table = pd.DataFrame([asdict(line) for line in lines], columns=names)
    return table.astype({"asof_us": "Int64", "n_rows": "Int64"})
