"""Statistics against frozen numbers of papers and other software: one table, case name -> callable.

An adapter returns the expected fields that our functions stand for, under the names of the case. A
case lists several published conventions side by side; fields that are another convention, or that
no function here computes, are simply not returned.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quant_engine.regime.hmm import HMMParams, forward_filter, log_densities
from quant_engine.stats.calibration import (
    brier_decomposition,
    brier_score,
    expected_calibration_error,
    log_loss,
    reliability_table,
)
from quant_engine.stats.conformal import (
    adaptive_alpha,
    conformal_quantile,
    conformal_rank,
    fit_split_conformal,
)
from quant_engine.stats.ic import ic_by_date, summarise_ic
from quant_engine.stats.inference import newey_west_lags, newey_west_mean, newey_west_regression
from quant_engine.stats.metrics import (
    annual_return,
    annual_vol,
    calmar,
    daily_sharpe,
    max_drawdown,
    sharpe,
    sortino,
    var_es,
)

Adapter = Callable[[dict[str, Any]], dict[str, Any]]


def floats(values: Any) -> np.ndarray:
    """Expected value of any rank; null means NaN and the text "inf" infinity."""
    if isinstance(values, list):
        return np.array([floats(value) for value in values])
    return np.asarray(np.nan if values is None else values, dtype=np.float64)


def numbers(values: Any) -> np.ndarray:
    """Case values as floats; null means NaN."""
    return np.atleast_1d(floats(values))


def small_sharpe(case: dict[str, Any]) -> dict[str, Any]:
    result = sharpe(
        case["returns"],
        periods_per_year=case["entries_per_year"],
        rf_per_period=case["risk_free_per_period"],
    )
    return {"sharpe": result.value}


def performance(case: dict[str, Any]) -> dict[str, Any]:
    returns, per_year = case["returns"], case["periods_per_year"]
    return {
        "sharpe": sharpe(returns, periods_per_year=per_year).value,
        "sortino": sortino(returns, periods_per_year=per_year),
        "max_drawdown": max_drawdown(returns),
        "annual_return": annual_return(returns, periods_per_year=per_year),
        "annual_vol": annual_vol(returns, periods_per_year=per_year),
        "calmar": calmar(returns, periods_per_year=per_year),
    }


def sharpe_per_utc_day(case: dict[str, Any]) -> dict[str, Any]:
    times = np.array([step["ts"].rstrip("Z") for step in case["steps"]], dtype="M8[s]")
    pnl = [step["pnl"] for step in case["steps"]]
    days = np.unique(times.astype("M8[D]"))
    calendar = np.arange(days[0], days[-1] + 1)
    observed = daily_sharpe(times, pnl, running_days=days)
    filled = daily_sharpe(times, pnl, running_days=calendar)
    return {
        "sharpe_daily_observed_days": observed.value,
        "sharpe_daily_calendar_filled": filled.value,
        "observation_days": filled.observation_days,
    }


def sharpe_of_returns(case: dict[str, Any]) -> dict[str, Any]:
    result = sharpe(numbers(case["returns"]), periods_per_year=1, rf_per_period=case["risk_free"])
    return {"sharpe": result.value}


def tail_sample(case: dict[str, Any]) -> dict[str, Any]:
    risk = var_es(case["returns"], alpha=case["alpha"])
    return {"hist_var_skfolio": risk.var, "hist_es_rockafellar_uryasev": risk.es}


def tail_trap(case: dict[str, Any]) -> dict[str, Any]:
    risk = var_es(case["returns"], alpha=1.0 - case["beta"])
    return {"var_skfolio": risk.var, "cvar_skfolio": risk.es}


def murphy(case: dict[str, Any]) -> dict[str, Any]:
    parts = brier_decomposition(case["p"], case["o"])
    return {
        "brier": brier_score(case["p"], case["o"]),
        "reliability": parts.reliability,
        "resolution": parts.resolution,
        "uncertainty": parts.uncertainty,
        "brier_skill_score": parts.skill_score,
        "log_loss": log_loss(case["p"], case["o"]),
    }


def binned_brier(case: dict[str, Any]) -> dict[str, Any]:
    n_bins = len(case["edges"]) - 1
    parts = brier_decomposition(case["p"], case["o"], n_bins=n_bins)
    table = reliability_table(case["p"], case["o"], n_bins=n_bins)
    filled = table[table["n_obs"] > 0]
    return {
        "brier": parts.brier,
        "reliability": parts.reliability,
        "resolution": parts.resolution,
        "uncertainty": parts.uncertainty,
        "within_bin_variance": parts.within_bin_variance,
        "within_bin_covariance": parts.within_bin_covariance,
        "ece": expected_calibration_error(case["p"], case["o"], n_bins=n_bins),
        "bin_mean_p": filled["mean_prob"].to_numpy(),
        "bin_freq": filled["frequency"].to_numpy(),
    }


def perfect_and_climatology(case: dict[str, Any]) -> dict[str, Any]:
    parts = [brier_decomposition(p, case["o"]) for p in case["p"]]
    names = ("brier", "reliability", "resolution", "uncertainty")
    return {name: [getattr(part, name) for part in parts] for name in names}


def conformal_ranks(case: dict[str, Any]) -> dict[str, Any]:
    pairs = list(zip(case["n"], case["alpha"], strict=True))
    ranks = [conformal_rank(n, coverage=1.0 - alpha) for n, alpha in pairs]
    return {
        "k": ranks,
        "infinite": [
            bool(np.isinf(conformal_quantile(np.arange(float(n)), coverage=1.0 - alpha)))
            for n, alpha in pairs
        ],
        "mean_coverage": [min(k / (n + 1), 1.0) for k, (n, _) in zip(ranks, pairs, strict=True)],
    }


def conformal_regression(case: dict[str, Any]) -> dict[str, Any]:
    y, pred, lo, hi = (np.array(case[name]) for name in ("y", "pred", "lo", "hi"))
    coverage = 1.0 - case["alpha"]
    fitted = fit_split_conformal(y - pred, coverage=coverage)
    low, high = fitted.interval([0.0])
    q_cqr = conformal_quantile(np.maximum(lo - y, y - hi), coverage=coverage)
    return {
        "k": conformal_rank(len(y), coverage=coverage),
        "q_abs": fitted.quantile,
        "interval_for_pred_0": [low[0], high[0]],
        "q_cqr": q_cqr,
        "cqr_interval_for_lo0_hi1": [-q_cqr, 1.0 + q_cqr],
        "empirical_coverage_abs_on_calibration": np.mean(np.abs(y - pred) <= fitted.quantile),
    }


def conformal_classes(case: dict[str, Any]) -> dict[str, Any]:
    prob = np.array(case["prob"])
    scores = 1.0 - prob[np.arange(len(prob)), case["y"]]
    q = conformal_quantile(scores, coverage=1.0 - case["alpha"])
    return {"q": q, "prediction_set": np.flatnonzero(1.0 - np.array(case["test_prob"]) <= q)}


def conformal_coverage(case: dict[str, Any]) -> dict[str, Any]:
    n = case["n"]
    draws = np.random.default_rng(0).standard_normal((case["trials"], n + 1))
    coverage = 1.0 - case["alpha"]
    hits = [row[n] <= conformal_quantile(row[:n], coverage=coverage) for row in draws]
    return {"mean_coverage": np.mean(hits)}


def adaptive_levels(case: dict[str, Any]) -> dict[str, Any]:
    path = adaptive_alpha(case["err"], alpha=case["alpha"], gamma=case["gamma"])
    return {"alpha_path": path}


def information_coefficient(case: dict[str, Any]) -> dict[str, Any]:
    factor = np.array([numbers(row) for row in case["factor"]])
    forward = np.array([numbers(row) for row in case["forward_returns"]])
    rank = ic_by_date(factor, forward, method="rank", min_assets=2)
    summary = summarise_ic(rank, lags=0)
    return {
        "ic_spearman": rank,
        "ic_pearson": ic_by_date(factor, forward, method="pearson", min_assets=2),
        "mean_ic": summary.mean,
        "icir": summary.icir,
        "hit_rate": summary.hit_rate,
        "t_stat": newey_west_mean(rank, lags=0, small_sample=True).t,
        "factor_rank_autocorrelation": ic_by_date(
            factor[1:], factor[:-1], method="rank", min_assets=2
        ),
    }


def newey_west_macro(case: dict[str, Any]) -> dict[str, Any]:
    stata = newey_west_regression(case["y"], case["X"], lags=case["lags"], small_sample=True)
    plain = newey_west_regression(case["y"], case["X"], lags=case["lags"])
    return {
        "params": plain.params,
        "se_small": stata.std_errors,
        "t_small": stata.t,
        "se_no_correction": plain.std_errors,
    }


def newey_west_of_ic(case: dict[str, Any]) -> dict[str, Any]:
    plain = newey_west_mean(case["ic"], lags=case["lags"])
    stata = newey_west_mean(case["ic"], lags=case["lags"], small_sample=True)
    return {
        "mean": plain.mean,
        "se_no_correction": plain.std_error,
        "se_small": stata.std_error,
        "t_no_correction": plain.t,
        "t_small": stata.t,
        "icir": summarise_ic(case["ic"], lags=0).icir,
        "t_iid": newey_west_mean(case["ic"], lags=0, small_sample=True).t,
    }


def automatic_lags(case: dict[str, Any]) -> dict[str, Any]:
    return {"floor_4_n100_29": [newey_west_lags(n) for n in case["n"]]}


def discrete_filter(case: dict[str, Any]) -> dict[str, Any]:
    emission = np.array(case["emission"]).T[case["obs"]]
    filtered, log_likelihood = forward_filter(
        np.log(emission), np.array(case["startprob"]), np.array(case["transmat"])
    )
    return {"filtered": filtered, "loglik": log_likelihood}


def gaussian_params(case: dict[str, Any]) -> HMMParams:
    return HMMParams(
        start=np.array(case["startprob"]),
        transition=np.array(case["transmat"]),
        means=np.array(case["means"]),
        variances=np.array(case["variances"]),
    )


def gaussian_filter(case: dict[str, Any]) -> dict[str, Any]:
    params = gaussian_params(case)
    logs = log_densities(np.array(case["y"]), params, tail_dof=1e9)
    filtered, log_likelihood = forward_filter(logs, params.start, params.transition)
    return {"filtered": filtered, "loglik": log_likelihood}


def prefix_filter(case: dict[str, Any]) -> dict[str, Any]:
    params = gaussian_params(case)
    logs = log_densities(np.array(case["y"]), params, tail_dof=1e9)
    full, _ = forward_filter(logs, params.start, params.transition)
    prefix, _ = forward_filter(logs[: case["prefix"]], params.start, params.transition)
    return {
        "filtered_at_prefix_end": prefix[-1],
        "max_change_of_filtered": np.abs(prefix - full[: case["prefix"]]).max(),
    }


ADAPTERS: dict[tuple[str, str], Adapter] = {
    ("sharpe_stats", "sharpe_small_"): small_sharpe,
    ("sharpe_stats", "performance_stats_"): performance,
    ("sharpe_stats", "sharpe_daily_agg_"): sharpe_per_utc_day,
    ("sharpe_stats", "psr_from_returns_"): sharpe_of_returns,
    ("risk_tail_execution", "var_es_sample_"): tail_sample,
    ("risk_tail_execution", "trap_var_100_obs"): tail_trap,
    ("calibration_crps_shap_conformal", "brier_murphy_"): murphy,
    ("calibration_crps_shap_conformal", "brier_binned_"): binned_brier,
    ("calibration_crps_shap_conformal", "brier_perfect_"): perfect_and_climatology,
    ("calibration_crps_shap_conformal", "split_conformal_rank_"): conformal_ranks,
    ("calibration_crps_shap_conformal", "split_conformal_and_cqr"): conformal_regression,
    ("calibration_crps_shap_conformal", "conformal_classification_"): conformal_classes,
    ("calibration_crps_shap_conformal", "conformal_monte_carlo_"): conformal_coverage,
    ("calibration_crps_shap_conformal", "adaptive_conformal_"): adaptive_levels,
    ("indicators_factors_ic", "information_coefficient"): information_coefficient,
    ("bootstrap_snooping_hac", "newey_west_macro_"): newey_west_macro,
    ("bootstrap_snooping_hac", "newey_west_mean_ic_"): newey_west_of_ic,
    ("bootstrap_snooping_hac", "newey_west_auto_lag"): automatic_lags,
    ("regime_models", "umbrella_world"): discrete_filter,
    ("regime_models", "healthy_fever"): discrete_filter,
    ("regime_models", "gaussian_hmm_2state_fixed"): gaussian_filter,
    ("regime_models", "filtered_prefix_invariance"): prefix_filter,
}


def matching_cases(folder: Path, topic: str, prefix: str) -> list[dict[str, Any]]:
    """Cases of every split of a topic whose name begins with the prefix."""
    found = []
    for file in sorted(folder.glob(f"*/{topic}.json")):
        document = json.loads(file.read_text(encoding="utf-8"))
        found += [case for case in document["cases"] if case["name"].startswith(prefix)]
    return found


@pytest.mark.reference
@pytest.mark.feature("Q-36")
@pytest.mark.parametrize(("topic", "prefix"), list(ADAPTERS), ids=lambda value: value)
def test_reference_numbers(shared_reference, topic, prefix):
    cases = matching_cases(shared_reference, topic, prefix)
    assert cases, f"no case {topic}/{prefix}*: the reference files or the table changed"
    for case in cases:
        got = ADAPTERS[topic, prefix](case["inputs"])
        assert got
        for name, value in got.items():
            wanted = case["expected"][name]
            np.testing.assert_allclose(
                np.asarray(value, dtype=np.float64),
                floats(wanted),
                atol=case["tol"]["abs"],
                rtol=case["tol"]["rel"],
                err_msg=f"{case['name']}: {name}",
            )
