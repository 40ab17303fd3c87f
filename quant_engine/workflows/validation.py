"""Verdicts on a backtest, in words: what was observed, whether it was enough, what follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.artifacts.kinds.bundle import Bundle

MIN_SESSIONS = 252
"""Sessions below which a Sharpe ratio is not judged: a year."""

MIN_T = 2.0
PASS, FAIL, WARN, INSUFFICIENT = "pass", "fail", "warn", "insufficient"
Check = tuple[str, float | None, str, str]


def validation_table(
    summary: Mapping[str, Any],
    report: Bundle,
    market: Bundle,
    *,
    rebalance_sessions: int,
    in_sample: bool,
) -> pd.DataFrame:
    """Judge a backtest.

    Parameters
    ----------
    summary : mapping
        Flat figures of the backtest; None = not available.
    report : Bundle
        Training report of the run.
    market : Bundle
        Market facts of the run.
    rebalance_sessions : int
        Holding period of the book, sessions.
    in_sample : bool
        Whether in-sample predictions were traded.

    Returns
    -------
    DataFrame
        ``check, value, verdict, reason``.
    """
    plan, quality = report.documents["plan"], report.documents["quality"]
    checks: list[Check] = [
        _out_of_sample(in_sample),
        _contract(plan, rebalance_sessions),
        _sharpe("net Sharpe", "sharpe", summary),
        _sharpe("hedged Sharpe", "sharpe_hedged", summary),
        _rank_ic(quality["figures"]),
        _quality(quality),
        _coverage(market.documents["facts"]),
    ]
    frame = pd.DataFrame(checks, columns=["check", "value", "verdict", "reason"])
    frame["value"] = frame["value"].astype(float)
    return frame


def _out_of_sample(in_sample: bool) -> Check:
    if in_sample:
        return "out of sample", None, FAIL, "the predictions were made on the training data"
    return "out of sample", None, PASS, "every prediction comes from a purged walk-forward fold"


def _contract(plan: Mapping[str, Any], rebalance_sessions: int) -> Check:
    """The book must hold what the label promised: same lag, same holding period."""
    name, horizon = "execution contract", plan["horizon_sessions"]
    if plan["entry_lag"] != 1:
        return name, None, FAIL, f"labels enter after {plan['entry_lag']} sessions, fills after 1"
    if rebalance_sessions != horizon:
        reason = f"positions are held {rebalance_sessions} sessions, labels {horizon}"
        return name, None, WARN, reason
    return name, None, PASS, f"labels and fills both run {horizon} sessions from the next open"


def _sharpe(name: str, key: str, summary: Mapping[str, Any]) -> Check:
    value, low = summary.get(key), summary.get(f"{key}_ci_low")
    if value is None or low is None:
        return name, value, INSUFFICIENT, "it cannot be computed from this run"
    if summary["n_sessions"] < MIN_SESSIONS:
        reason = f"{summary['n_sessions']} sessions are fewer than {MIN_SESSIONS}"
        return name, value, INSUFFICIENT, reason
    reason = f"{value:.2f}, lower end of the 95 % interval {low:.2f}"
    return name, value, PASS if low > 0 else FAIL, reason


def _rank_ic(figures: Mapping[str, Any]) -> Check:
    value, t_value = figures.get("oos_rank_ic"), figures.get("oos_rank_ic_t")
    if value is None or t_value is None:
        return "rank IC", value, INSUFFICIENT, "too few out-of-sample sessions"
    reason = f"mean {value:+.4f}, Newey-West t {t_value:.2f}, without the holdout"
    return "rank IC", value, PASS if t_value > MIN_T else FAIL, reason


def _quality(quality: Mapping[str, Any]) -> Check:
    if quality["promotable"]:
        return "model quality rules", None, PASS, "all hold"
    return "model quality rules", None, FAIL, "; ".join(quality["reasons"])


def _coverage(facts: Mapping[str, Any]) -> Check:
    value = facts.get("mean_member_coverage")
    if value is None or np.isnan(value):
        reason = "no membership history was given; survivorship bias cannot be excluded"
        return "survivorship", None, INSUFFICIENT, reason
    reason = f"{value:.1%} of the universe's members have prices on an average session"
    return "survivorship", value, PASS if facts["survivorship_safe"] else FAIL, reason
