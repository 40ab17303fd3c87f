"""Validation: what a single backtest is told about itself, by the gates of ``backtest_v1``.

The workflow collects the figures; the rules stand in ``specs/gates/backtest_v1.yaml`` and are
applied by the one gate engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.manifest import Provenance
from quant_engine.core.specs import SpecCatalog
from quant_engine.execution.contract import ContractDifference, ExecutionContract
from quant_engine.governance.bundle import Metric, MetricBundle, Origin
from quant_engine.governance.catalogue import MetricCatalogue
from quant_engine.governance.gate_specs import GateProfile, load_profile
from quant_engine.governance.gates import evaluate_gates

PROFILE, GATE = "backtest_v1", "validation"
HOLDING = "horizon_sessions"
"""The term of the contract that a book may break with a warning."""


def validation_profile(catalog: SpecCatalog, name: str = PROFILE) -> GateProfile:
    """Read the rules that backtests are told.

    Parameters
    ----------
    catalog : SpecCatalog
        Shipped specs and those of the working folder.
    name : str
        ``backtest_v1``, or another profile with one gate ``validation``.

    Returns
    -------
    GateProfile
        Its rules.
    """
    return load_profile(catalog, name)


def validation_metrics(
    summary: Mapping[str, Any],
    report: Bundle,
    market: Bundle,
    *,
    fills: ExecutionContract,
    in_sample: bool,
) -> tuple[Metric, ...]:
    """Collect the figures of one backtest that the rules ask for.

    Parameters
    ----------
    summary : mapping
        Flat figures of the backtest; None = not available.
    report : Bundle
        Training report of the run.
    market : Bundle
        Market facts of the run.
    fills : ExecutionContract
        What the book did from decision to exit.
    in_sample : bool
        Whether in-sample predictions were traded.

    Returns
    -------
    tuple of Metric
        What is not known has no value.
    """
    quality = report.documents["quality"]
    broken = broken_terms(report, fills)
    facts, n_obs = market.documents["facts"], int(summary["n_sessions"])
    coverage = facts.get("mean_member_coverage")
    is_covered = coverage is not None and not np.isnan(coverage)
    return (
        Metric("is_out_of_sample", not in_sample, "flag"),
        Metric("contract_kept", not set(broken) - {HOLDING}, "flag"),
        Metric("holding_matches_label", HOLDING not in broken, "flag"),
        Metric("sharpe_ci_low", summary.get("sharpe_ci_low"), "annualised", n_obs),
        Metric("sharpe_hedged_ci_low", summary.get("sharpe_hedged_ci_low"), "annualised", n_obs),
        Metric("oos_rank_ic_t", quality["figures"].get("oos_rank_ic_t"), "t"),
        Metric("model_rules_hold", bool(quality["promotable"]), "flag"),
        Metric(
            "is_survivorship_safe", bool(facts["survivorship_safe"]) if is_covered else None, "flag"
        ),
    )


def broken_terms(report: Bundle, fills: ExecutionContract) -> dict[str, ContractDifference]:
    """Compare what the labels promised with what the book did.

    Parameters
    ----------
    report : Bundle
        Training report of the run, which holds the contract of the labels.
    fills : ExecutionContract
        What the book did from decision to exit.

    Returns
    -------
    dict of str to ContractDifference
        Term to both sides, for the terms that differ.
    """
    promised = ExecutionContract.model_validate(report.documents["plan"]["contract"])
    return {found.term: found for found in promised.differences(fills)}


def validation_table(
    metrics: tuple[Metric, ...],
    provenance: Provenance,
    *,
    catalog: SpecCatalog,
    details: Mapping[str, str],
    profile: str = PROFILE,
) -> pd.DataFrame:
    """Judge a backtest.

    Parameters
    ----------
    metrics : tuple of Metric
        From :func:`validation_metrics`.
    provenance : Provenance
        Of the backtest; decides the track.
    catalog : SpecCatalog
        Rules and figures.
    details : mapping of str to str
        Figure to words that are added to its reason, such as which quality rules are broken.
    profile : str
        Name of the rules.

    Returns
    -------
    DataFrame
        ``check, value, verdict, reason``, one row per rule.
    """
    catalogue, rulebook = MetricCatalogue.load(catalog), validation_profile(catalog, profile)
    origin = Origin(provenance.run_source, provenance.score_source, provenance.data_regime)
    bundle = MetricBundle(subject=profile, metrics=metrics, origin=origin, details=details)
    verdict = evaluate_gates(rulebook, bundle, gates=(GATE,), track=origin.track, metrics=catalogue)
    rules = rulebook.gate(GATE).rules
    rows = []
    for rule, outcome in zip(rules, verdict.outcomes, strict=True):
        rows.append(
            {
                "check": catalogue.get(rule.metric).label,
                "value": np.nan if outcome.value is None else float(outcome.value),
                "verdict": str(outcome.status),
                "reason": outcome.reason,
            }
        )
    return pd.DataFrame(rows)


def validation_details(
    report: Bundle, market: Bundle, *, fills: ExecutionContract
) -> dict[str, str]:
    """Say what stands behind the figures that are only true or false.

    Parameters
    ----------
    report : Bundle
        Training report of the run.
    market : Bundle
        Market facts of the run.
    fills : ExecutionContract
        What the book did from decision to exit.

    Returns
    -------
    dict of str to str
        Broken quality rules, broken terms, and the share of members with prices.
    """
    broken = broken_terms(report, fills)
    terms = [
        f"{found.term}: labels {found.promised}, fills {found.kept}" for found in broken.values()
    ]
    reasons = "; ".join(report.documents["quality"]["reasons"])
    coverage = market.documents["facts"].get("mean_member_coverage")
    if coverage is None or np.isnan(coverage):
        covered = "no membership history was given; survivorship bias cannot be excluded"
    else:
        covered = f"{coverage:.1%} of the members have prices on an average session"
    return {
        "contract_kept": "; ".join(text for text in terms if not text.startswith(HOLDING)),
        "holding_matches_label": "; ".join(text for text in terms if text.startswith(HOLDING)),
        "model_rules_hold": reasons,
        "is_survivorship_safe": covered,
    }
