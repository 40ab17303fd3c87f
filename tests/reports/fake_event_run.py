"""An invented run of the event-market pipeline: tables of every kind, hours of two series."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
from scipy.stats import norm

from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.manifest import Provenance
from quant_engine.artifacts.store import ArtifactStore
from quant_engine.core.clock import FixedClock
from quant_engine.core.tracks import DataRegime, RunSource, ScoreSource, Track
from quant_engine.reports.event_data import ROLES, EventReportData, EventReportSources

HOUR_US = 3_600_000_000
HORIZONS = (86_400, 21_600, 3_600)
MEMBERS = ("market", "recalibrated", "boosted", "shrunk")
STRIKES = np.round(np.arange(2.2, 3.81, 0.2), 1)
N_EVENTS = 30
START_US = 1_700_000_000_000_000
_EMPTY = {"float": np.nan, "int": 0, "bool": False, "str": ""}


def filled(role, name, rows):
    """Rows with every declared column; what they do not say is NaN, 0, no or empty."""
    schema = ROLES[role][0].tables[name]
    frame = pd.DataFrame(rows)
    columns = {c: frame[c] if c in frame else _EMPTY[s.dtype] for c, s in schema.items()}
    return pd.DataFrame(columns, index=frame.index)


def empty(role, name):
    dtypes = {"float": "float64", "int": "int64", "bool": "bool", "str": "str"}
    schema = ROLES[role][0].tables[name]
    return pd.DataFrame({c: pd.Series(dtype=dtypes[s.dtype]) for c, s in schema.items()})


def scheduled(event):
    return START_US + event * 24 * HOUR_US


def ticker(event):
    return f"{'KXCPI' if event % 2 else 'KXRATE'}-{event:03d}"


def distributions(rng):
    looks, cells, atoms, legs = [], [], [], []
    for event in range(1, N_EVENTS + 1):
        for horizon in HORIZONS:
            key = {"event_id": event, "horizon_s": horizon}
            sd = 0.2 + 0.2 * (horizon / 86_400)
            mean = 3.0 + 0.3 * rng.normal()
            has = not (event == 3 and horizon == 3_600)
            quantiles = {
                f"q{p:02d}": norm.ppf(p / 100, mean, sd) if has else np.nan
                for p in (5, 10, 25, 50, 75, 90, 95)
            }
            looks.append(
                key
                | quantiles
                | {
                    "event_ticker": ticker(event), "family": "cpi" if event % 2 else "rate",
                    "cluster": f"c{event}", "asof_us": scheduled(event) - horizon * 10**6,
                    "scheduled_us": scheduled(event), "has_distribution": has,
                    "gates": "" if has else "too_few_legs", "n_legs": len(STRIKES), "n_usable": 8,
                    "n_stale": 1, "mean": mean, "mean_sd": 0.02, "sd": sd, "sd_sd": 0.01,
                    "quality": 0.61, "quality_spread": 0.8, "quality_freshness": 0.9,
                    "quality_coverage": 0.95, "quality_coherence": 0.9, "quality_depth": 0.7,
                    "quality_listed": 1.0, "outside_band": 0.004, "is_band_feasible": event != 5,
                    "sum_of_middles": np.nan, "half_spread_usd": 0.015, "age_s": 240.0,
                    "incoherence_e4": 40.0 * rng.random(), "neg_mass_pre": 0.01,
                    "isotonic_l1": 0.002, "p_below_lowest": 0.01, "p_above_highest": 0.02,
                    "entropy_nats": 2.0, "post_sd_mean": 0.01,
                }
            )  # fmt: skip
            if not has:
                continue
            # Settlement in tenths: a value stands for everything that is rounded to it.
            edges = np.arange(1.05, 5.0001, 0.1)
            cdf = norm.cdf(edges, mean, sd)
            for k in range(len(edges) - 1):
                spread = 0.1 * cdf[k + 1] * (1 - cdf[k + 1])
                cells.append(
                    key
                    | {
                        "cell": k, "lo": edges[k], "hi": edges[k + 1], "prob": cdf[k + 1] - cdf[k],
                        "cdf": cdf[k + 1], "cdf_low": cdf[k + 1] - spread,
                        "cdf_high": cdf[k + 1] + spread,
                    }
                )  # fmt: skip
            marks = np.concatenate([[-np.inf], STRIKES, [np.inf]])
            for k in range(len(marks) - 1):
                p = np.diff(norm.cdf(marks[k : k + 2] + 0.05, mean, sd))[0]
                atoms.append(
                    key
                    | {"atom": k, "lo": marks[k], "hi": marks[k + 1], "prob": p, "market_prob": p,
                       "band_low": max(p - 0.03, 0), "band_high": min(p + 0.03, 1)}
                )  # fmt: skip
            for k, strike in enumerate(STRIKES):
                p = 1 - norm.cdf(strike + 0.05, mean, sd)
                bid = np.nan if k == 0 else max(round(p - 0.02, 2), 0.0)
                legs.append(
                    key
                    | {
                        "ticker": f"{ticker(event)}-T{strike:g}", "strike_type": "greater",
                        "floor_strike": strike, "cap_strike": np.nan, "bid_usd": bid,
                        "ask_usd": min(round(p + 0.02, 2), 1.0), "last_usd": p, "age_s": 60.0 * k,
                        "bid_contracts": 100.0, "ask_contracts": 50.0,
                        "absent": "stale" if k == 0 else "", "raw_prob": p, "last_prob": p,
                        "prob": p, "band_low": max(p - 0.02, 0), "band_high": min(p + 0.02, 1),
                        "residual": 0.003,
                    }
                )  # fmt: skip
    return {"looks": looks, "cells": cells, "atoms": atoms, "legs": legs}


def panel():
    calendar = [
        {
            "event_id": event, "event_ticker": ticker(event), "series": ticker(event).split("-")[0],
            "family": "cpi", "release": f"r{event}", "cluster": f"c{event}",
            "scheduled_us": scheduled(event), "value": 3.1 if event < N_EVENTS else np.nan,
            "publish_us": scheduled(event), "n_markets": len(STRIKES),
        }
        for event in range(1, N_EVENTS + 1)
    ]  # fmt: skip
    return {"calendar": calendar}


def forecasts(rng):
    scores = [
        {
            "event_id": event, "horizon_s": horizon, "cluster_id": event, "fold": 1 + event // 8,
            "regime": "deep", "member": member, "brier": 0.5, "rps": 0.3,
            "log_loss": 1.0 - 0.02 * number + 0.05 * rng.normal(), "pit": rng.random(),
        }
        for event in range(1, N_EVENTS + 1)
        for horizon in HORIZONS
        for number, member in enumerate(MEMBERS)
    ]  # fmt: skip
    skill = [
        {
            "member": member, "base": base, "score": score, "mean": 0.02 * k, "t": 2.0 * k,
            "ci_low": 0.02 * k - 0.03, "ci_high": 0.02 * k + 0.03, "p_value": 0.04,
            "n_clusters": N_EVENTS, "coverage": 0.95,
        }
        for k, member in enumerate(MEMBERS)
        for base in ("market", "recalibrated")
        for score in ("log_loss", "brier", "rps")
        if member not in (base, "market")
    ]  # fmt: skip
    reliability = [
        {
            "member": member, "horizon_s": horizon, "prob_low": p - 0.05, "prob_high": p + 0.05,
            "mean_prob": p, "frequency": min(max(p + 0.04 * rng.normal(), 0), 1), "n_obs": 40,
        }
        for member in MEMBERS
        for horizon in (0, *HORIZONS)
        for p in np.arange(0.05, 1, 0.1)
    ]  # fmt: skip
    calibration = [
        {
            "member": member, "brier": 0.1, "reliability": 0.002 / (k + 1), "resolution": 0.05,
            "uncertainty": 0.148, "skill_score": 0.32, "n_obs": 900, "calibration_error": 0.02,
            "slope": 0.95, "intercept": 0.01, "coverage_50": 0.5, "coverage_80": 0.79,
            "coverage_95": 0.94,
        }
        for k, member in enumerate(MEMBERS)
    ]  # fmt: skip
    longshot = [
        {
            "price_low": p - 0.05, "price_high": p + 0.05, "mean_price_usd": p,
            "frequency": p + 0.03 * (p - 0.5), "gain_usd": 0.03 * (p - 0.5),
            "std_error_usd": 0.01, "n_legs": 200, "n_clusters": N_EVENTS,
        }
        for p in np.arange(0.05, 1, 0.1)
    ]  # fmt: skip
    folds = [
        {
            "fold": fold, "n_train_looks": 30 * fold, "n_train_clusters": 10 * fold,
            "n_dropped_looks": 2, "n_test_looks": 24, "n_test_clusters": 8,
            "train_from_us": START_US, "train_to_us": scheduled(8 * fold - 1),
            "test_from_us": scheduled(8 * fold), "test_to_us": scheduled(8 * fold + 8),
            "mix_weight": 0.4,
        }
        for fold in range(1, 5)
    ]  # fmt: skip
    return {
        "scores": scores, "skill": skill, "reliability": reliability, "calibration": calibration,
        "longshot": longshot, "folds": folds,
    }  # fmt: skip


STRATEGIES = ("shrunk@0.02", "shrunk@0.01", "recalibrated@0.01")


def trades(rng):
    gains = {s: rng.normal(0.4 - 0.3 * k, 3.0, N_EVENTS) for k, s in enumerate(STRATEGIES)}
    strategies = [
        {
            "strategy": s, "member": s.split("@")[0], "threshold_usd": 0.01, "liquidity": "taker",
            "trial_id": "t", "pnl_usd": gains[s].sum(), "fee_usd": 12.5, "n_fills": 40,
            "n_contracts": 800.0, "worst_cluster_usd": gains[s].min(),
            "return_frac": gains[s].sum() / 1000,
        }
        for s in STRATEGIES
    ]  # fmt: skip
    stresses = [
        {
            "strategy": s, "stress": stress, "pnl_usd": gains[s].sum() - k,
            "pnl_contract_usd": 0.012 - 0.004 * k, "ci_low_usd": 0.002 - 0.004 * k,
            "ci_high_usd": 0.022 - 0.004 * k, "n_clusters": N_EVENTS, "n_contracts": 800.0,
        }
        for s in STRATEGIES
        for k, stress in enumerate(("displayed", "spread_x2", "fee_x2", "delay_1"))
    ]  # fmt: skip
    clusters = [
        {
            "strategy": s, "place": place, "cluster_id": place + 1,
            "scheduled_us": scheduled(place + 1), "pnl_usd": gains[s][place], "risk_usd": 40.0,
            "n_contracts": 20.0, "n_orders": 2, "equity_usd": 1000 + gains[s][: place + 1].sum(),
        }
        for s in STRATEGIES
        for place in range(N_EVENTS)
    ]  # fmt: skip
    return {"strategies": strategies, "stresses": stresses, "clusters": clusters}


def report():
    verdicts = [
        {"subject": f"{s}-1", "strategy": s, "status": "fail", "is_promoted": False, "blocks": ""}
        for s in STRATEGIES
    ]
    checklist = [
        {
            "subject": f"{s}-1", "strategy": s, "gate": "skill", "rule": rule, "status": status,
            "severity": "hard", "value": number, "threshold": 0.0, "n_obs": 30,
            "reason": f"{rule} is {status}.", "note": "",
        }
        for s in STRATEGIES
        for rule, status, number in (
            ("skill_market_ci_low >", "pass", 0.01),
            ("recorded_frac >=", "fail", 0.2),
            ("regime_skill_ratio >=", "insufficient_observation", np.nan),
        )
    ]  # fmt: skip
    arbitrage = [
        {
            "event_ticker": ticker(k), "kind": "vertical", "legs": "+A -B", "first_us": START_US,
            "last_us": START_US + HOUR_US, "gone_us": START_US + 2 * HOUR_US,
            "lifetime_s": 7_200.0, "n_seen": 2, "best_profit_usd": 1.5 + k,
        }
        for k in range(1, 4)
    ]  # fmt: skip
    audit = [
        {"check": "views", "subject": view, "asof_us": START_US, "poison": poison, "n_rows": 50}
        for view in ("ladders", "market_v", "quotes (trade)")
        for poison in ("garbage", "removed")
    ]
    availability = [
        {"table": name, "basis": basis, "n_rows": n}
        for name, basis, n in (
            ("quote", "recorded", 700), ("quote", "trade_ts+lag", 300), ("trade", "recorded", 90),
            ("candle", "candle_end+lag", 50), ("market_v", "assumed", 40),
        )
    ]  # fmt: skip
    return {
        "verdicts": verdicts, "checklist": checklist, "arbitrage": arbitrage, "audit": audit,
        "availability": availability, "gaps": [],
    }  # fmt: skip


def health():
    counters = [
        {"endpoint": "fake", "counter": name, "value": n}
        for name, n in (("transport: status_429", 3), ("drift: Market.colour", 7))
    ]
    stored = [
        {"table": name, "n_rows": 90, "first_us": START_US, "last_us": scheduled(9)}
        for name in ("quote", "trade")
    ]
    runs = [{"run_id": "r1", "table": "quote", "n_offered": 90, "n_new": 90}]
    return {"counters": counters, "tables": stored, "runs": runs}


def bundles(seed=5):
    """Tables and documents by role."""
    rng = np.random.default_rng(seed)
    made = {
        "distributions": distributions(rng), "panel": panel(), "forecasts": forecasts(rng),
        "trades": trades(rng), "report": report(), "health": health(),
    }  # fmt: skip
    found = {}
    for role, (kind, _) in ROLES.items():
        tables = {
            name: filled(role, name, made[role][name])
            if made[role].get(name)
            else empty(role, name)
            for name in kind.tables
        }
        found[role] = Bundle(tables=tables, documents={name: {} for name in kind.documents})
    return found


def stored(root, *, roles=tuple(ROLES)):
    """The same, written to a store, and the sources of a page about it."""
    store = ArtifactStore(root, clock=FixedClock(datetime(2026, 1, 2, tzinfo=UTC)))
    refs, before = {}, ()
    for role in roles:
        provenance = Provenance(
            producer=f"events.{role}",
            config={},
            inputs=before,
            dataset="fake/7",
            as_of="2023-12-14",
            run_source=RunSource.MAINTENANCE,
            data_regime=DataRegime.SIMULATED,
            score_source=ScoreSource.MODEL,
            track=Track.CALIBRATION,
        )
        refs[role] = store.write(ROLES[role][0], bundles()[role], provenance)
        before = (refs[role],)
    sources = EventReportSources(
        refs=refs, title="Events of the fake <exchange>", run_id="run-1", environment="fake"
    )
    return store, sources


def data(**changes):
    """The page's data without a store."""
    found = bundles()
    facts = {
        "title": "Events of the fake <exchange>", "run_id": "run-1", "environment": "fake",
        "as_of": "2023-12-14", "dataset": "fake/7", "config_id": "c" * 64,
        "code_digest": "d" * 64, "track": Track.CALIBRATION,
        "tables": {(r, n): t for r, bundle in found.items() for n, t in bundle.tables.items()},
    }  # fmt: skip
    return EventReportData(**(facts | changes))
