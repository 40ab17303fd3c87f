"""Figures of the validation suite as the rules of ``advanced_v1`` ask for them, and their words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant_engine.artifacts.kinds.validation import (
    EVALUATION,
    MONTE_CARLO,
    NULLS,
    PARITY,
    REFIT_PATHS,
    STRESS,
)
from quant_engine.backtest.slices import positive_share
from quant_engine.core.hashing import finite_or_none
from quant_engine.governance.bundle import Metric
from quant_engine.governance.catalogue import MetricCatalogue
from quant_engine.stats.inference import known_mean
from quant_engine.workflows.advanced import Suite
from quant_engine.workflows.advanced_parts import Subject

PROFILE = "advanced_v1"

_HEADLINE = {
    "is_oos_gap": "wf_gap",
    "monte_carlo_p_value": "monte_carlo_p",
    "null_p_value": "null_p",
    **{
        name: name
        for name in (
            "cpcv_median_sharpe",
            "monte_carlo_drawdown",
            "variant_positive_frac",
            "positive_regime_frac",
            "rolling_ic_decay",
            "pnl_top20_frac",
            "ensemble_disagreement",
            "paper_deviation",
        )
    },
}
"""Judged figures that programs are told as well, and under which name."""


@dataclass(frozen=True, eq=False)
class SuiteFigures:
    """Figures of the suite.

    Parameters
    ----------
    metrics : tuple of Metric
        What the rules may judge; what is not known has no value.
    headline : dict of str to float or None
        Flat figures for programs.
    """

    metrics: tuple[Metric, ...]
    headline: dict[str, float | int | None]


def suite_figures(tested: Subject, suite: Suite) -> SuiteFigures:
    """Collect the figures of the suite.

    Parameters
    ----------
    tested : Subject
        The backtest.
    suite : Suite
        What was found.

    Returns
    -------
    SuiteFigures
        For the rules and for programs.
    """
    store, refs = tested.workspace.store, suite.refs
    stress = store.read(STRESS, refs["stress"])
    nulls = store.read(NULLS, refs["nulls"])
    paths = store.read(REFIT_PATHS, refs["paths"]).documents["facts"] if "paths" in refs else {}
    capital = stress.documents["capacity"]["capacity_usd"]
    always = float(nulls.tables["draws"].set_index("kind")["sharpe"].loc["always_long"])
    own = nulls.documents["facts"]["strategy_sharpe"]
    levels = _by_level(stress.tables["stress"])
    values = {
        "is_oos_gap": tested.training_report.documents["quality"]["figures"].get("is_oos_gap"),
        "cpcv_median_sharpe": paths.get("median_sharpe"),
        "cpcv_negative_frac": paths.get("negative_frac"),
        "null_p_value": nulls.documents["facts"]["p_value"]["random_entry"],
        "always_long_gap": None if own is None else finite_or_none(own - always),
        "stress_cost_2x_sharpe": levels.get(("cost", 2.0)),
        "stress_cost_5x_sharpe": levels.get(("cost", 5.0)),
        "stress_delay_1_sharpe": levels.get(("delay", 1.0)),
        "stress_delay_3_sharpe": levels.get(("delay", 3.0)),
        "variant_positive_frac": _positive(suite.variants),
        "capacity_multiple": _multiple(capital, tested),
        **_described(tested, suite),
    }
    units = MetricCatalogue.load(tested.workspace.catalog).units()
    n_obs = len(tested.daily)
    own_metrics = (Metric(name, value, units[name], n_obs) for name, value in values.items())
    headline = {
        **_selected(suite),
        **{_HEADLINE[name]: values[name] for name in _HEADLINE},
        "capacity_usd": capital,
        "null_percentile": nulls.documents["facts"]["percentile"]["random_entry"],
        "always_long_sharpe": finite_or_none(always),
        "cpcv_lowest_sharpe": paths.get("lowest_sharpe"),
        **{f"{_level(level, kind)}_sharpe": value for (kind, level), value in levels.items()},
    }
    return SuiteFigures(metrics=(*own_metrics, *suite.selection), headline=headline)


def _described(tested: Subject, suite: Suite) -> dict[str, float | None]:
    """Figures of Monte Carlo, evaluation and the paper account."""
    store, refs = tested.workspace.store, suite.refs
    monte_carlo = store.read(MONTE_CARLO, refs["monte_carlo"]).documents["facts"]
    evaluation = store.read(EVALUATION, refs["evaluation"])
    metrics = evaluation.documents["metrics"]
    regimes = positive_share(evaluation.tables["slices"], "regime")
    return {
        "monte_carlo_p_value": monte_carlo["p_value"],
        "monte_carlo_drawdown": monte_carlo["drawdown_5pct"],
        "positive_regime_frac": finite_or_none(regimes),
        "rolling_ic_decay": metrics["rolling_ic_decay"],
        "pnl_top20_frac": metrics["pnl_top20_frac"],
        "recovery_trend": metrics["recovery"]["trend"],
        "ensemble_disagreement": metrics["disagreement_mean"],
        "paper_deviation": store.read(PARITY, refs["parity"]).documents["facts"]["worst_deviation"],
    }


def _selected(suite: Suite) -> dict[str, float | int | None]:
    """Figures that depend on all trials of the family."""
    selection = {metric.name: metric.value for metric in suite.selection}
    p_value = selection.get("dsr_p_value")
    return {
        "dsr": None if p_value is None else 1.0 - p_value,
        "pbo": selection.get("pbo"),
        "spa_p": selection.get("spa_p_value"),
        "n_trials": suite.n_trials,
    }


def suite_details(tested: Subject, suite: Suite) -> dict[str, str]:
    """Say what stands behind figures of the suite, or why they are missing.

    Parameters
    ----------
    tested : Subject
        The backtest.
    suite : Suite
        What was found.

    Returns
    -------
    dict of str to str
        Figure to words.
    """
    store = tested.workspace.store
    limit = store.read(STRESS, suite.refs["stress"]).documents["capacity"]
    facts = store.read(NULLS, suite.refs["nulls"]).documents["facts"]
    turnover = facts["turnover_ann"]["random_entry"]
    worst = suite.variants["sharpe"].min() if len(suite.variants) else np.nan
    details = dict(suite.notes)
    followed = store.read(PARITY, suite.refs["parity"]).documents["facts"]
    details["paper_deviation"] = followed["reason"]
    if limit["capacity_usd"] is None:
        details["capacity_multiple"] = limit["reason"]
    else:
        details["capacity_multiple"] = (
            f"{limit['capacity_usd']:,.0f} in all, where the participation cap would cut "
            f"{limit['capped_value_frac']:.0%} of the traded value"
        )
    if turnover is not None:
        details["null_p_value"] = (
            f"turnover {turnover:.1f} a year against {facts['strategy_turnover_ann']:.1f}"
        )
    metrics = store.read(EVALUATION, suite.refs["evaluation"]).documents["metrics"]
    if metrics["pnl_top20_frac"] is None:
        details["pnl_top20_frac"] = "the trades made no net profit that could be shared out"
    if metrics["recovery"]["trend"] is None:
        n_spells = metrics["recovery"]["n_spells"] or 0.0
        details["recovery_trend"] = (
            f"losses of 1 % or more: {n_spells:.0f}, too few that ended for two halves"
        )
    if metrics["disagreement_mean"] is None:
        details["ensemble_disagreement"] = metrics["absent"]["disagreement"]
    if metrics["rolling_ic_decay"] is None:
        details["rolling_ic_decay"] = "fewer than 120 sessions with a rank IC"
    if not np.isnan(worst):
        details["variant_positive_frac"] = f"lowest Sharpe ratio {worst:.2f}"
    return details


def _by_level(stress: pd.DataFrame) -> dict[tuple[str, float], float | None]:
    return {
        (str(row.kind), float(row.level)): finite_or_none(float(row.sharpe))
        for row in stress.itertuples(index=False)
    }


def _level(level: float, kind: str) -> str:
    text = f"{level:g}".replace(".", "_")
    return f"stress_{text}x" if kind == "cost" else f"delay_{text}"


def _positive(variants: pd.DataFrame) -> float | None:
    ratio = variants["sharpe"].to_numpy(dtype=np.float64)
    return finite_or_none(known_mean(np.where(np.isnan(ratio), np.nan, ratio > 0.0)))


def _multiple(capital: float | None, tested: Subject) -> float | None:
    return None if capital is None else capital / tested.config.backtest.initial_equity_usd
