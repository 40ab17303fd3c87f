"""Reference cases of bootstrap plans, Newey-West tests, haircut Sharpe ratios and t p-values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from quant_engine.stats.bootstrap import (
    bootstrap_means,
    measured_block_length,
    optimal_block_length,
    stationary_from_draws,
    stationary_indices,
)
from quant_engine.stats.hac import (
    MeanTest,
    RegressionTest,
    newey_west_lags,
    newey_west_mean,
    newey_west_regression,
    student_p_value,
)
from quant_engine.stats.haircut import (
    HaircutSharpe,
    ProfitHurdle,
    StrategyModel,
    haircut_sharpe,
    profit_hurdle,
)
from quant_engine.stats.ic import summarise_ic
from quant_engine.testing.reference.adapters import Adapter, Give

Inputs = Mapping[str, Any]

SNOOPING, TESTING = "bootstrap_snooping_hac", "multiple_testing"
SEED = 0


def _plan(inputs: Inputs) -> Any:
    return stationary_indices(
        inputs["n"], avg_block=inputs["avg_block"], n_draws=inputs["reps"], seed=SEED
    )


def _rule(inputs: Inputs) -> Any:
    return stationary_from_draws(
        inputs["starts"], inputs["uniforms"], avg_block=inputs["avg_block"]
    )


def _frequencies(inputs: Inputs) -> Any:
    """How often the most frequent observation was drawn."""
    return float(bootstrap_means(np.eye(inputs["n"]), _plan(inputs)).mean(axis=0).max())


def _mean_test(inputs: Inputs, *, small_sample: bool, lags: int | None = None) -> MeanTest:
    series = np.array(inputs["ic"] if "ic" in inputs else inputs["x"], dtype=np.float64)
    return newey_west_mean(
        series, lags=inputs["lags"] if lags is None else lags, small_sample=small_sample
    )


def _regression(inputs: Inputs, *, small_sample: bool) -> RegressionTest:
    return newey_west_regression(
        inputs["y"], inputs["X"], lags=inputs["lags"], small_sample=small_sample
    )


def _model(inputs: Inputs) -> StrategyModel | None:
    if "rho_strategies" not in inputs:
        return None
    return StrategyModel(
        correlation=inputs["rho_strategies"],
        n_simulations=inputs.get("n_simulations", 2000),
        seed=SEED,
    )


def _cut(inputs: Inputs) -> HaircutSharpe:
    return haircut_sharpe(
        inputs["sr_annual"],
        n_obs=inputs["n_obs"],
        periods_per_year=inputs["periods_per_year"],
        n_tests=inputs["n_tests"],
        autocorrelation=inputs.get("rho_autocorr", 0.0),
        model=_model(inputs),
    )


def _hurdle(inputs: Inputs) -> ProfitHurdle:
    return profit_hurdle(
        vol_annual=inputs["vol_annual"],
        n_obs=inputs["n_obs"],
        periods_per_year=inputs.get("periods_per_year", 12),
        n_tests=inputs["n_tests"],
        alpha=inputs.get("alpha", 0.05),
        model=_model(inputs),
    )


def _haircut_gives() -> dict[str, Give]:
    gives: dict[str, Give] = {
        "sr_annual_autocorr_adjusted": lambda inputs: _cut(inputs).sharpe_annual,
        "n_monthly": lambda inputs: _cut(inputs).n_monthly,
        "t": lambda inputs: _cut(inputs).t,
        "p_single": lambda inputs: _cut(inputs).p_single,
    }
    fields = {"p_": "p_value", "haircut_sr_": "sharpe_annual", "haircut_pct_": "haircut_pct"}
    for rule in ("bonferroni", "holm", "bhy", "average"):
        for start, field in fields.items():
            gives[start + rule] = lambda inputs, rule=rule, field=field: getattr(
                getattr(_cut(inputs), rule), field
            )
    return gives


def _hurdle_gives() -> dict[str, Give]:
    return {
        f"hurdle_{rule}_pct": lambda inputs, rule=rule: 100.0 * getattr(_hurdle(inputs), rule)
        for rule in ("independent", "bonferroni", "holm", "bhy", "average")
    }


ADAPTERS: tuple[Adapter, ...] = (
    Adapter(
        SNOOPING,
        "stationary_bootstrap",
        frozenset({"starts", "uniforms", "avg_block"}),
        {"indices": _rule},
    ),
    Adapter(
        SNOOPING,
        "stationary_bootstrap",
        frozenset({"n", "avg_block", "reps"}),
        {
            "mean_block_length": lambda inputs: measured_block_length(_plan(inputs)),
            "marginal_probability_each_obs": _frequencies,
        },
    ),
    Adapter(
        SNOOPING,
        "optimal_block_length",
        frozenset({"x"}),
        {
            "stationary": lambda inputs: optimal_block_length(inputs["x"]).stationary,
            "circular": lambda inputs: optimal_block_length(inputs["x"]).circular,
        },
    ),
    Adapter(
        SNOOPING,
        "newey_west_macro",
        frozenset({"y", "X", "lags"}),
        {
            "params": lambda inputs: _regression(inputs, small_sample=False).params,
            "se_small": lambda inputs: _regression(inputs, small_sample=True).std_errors,
            "t_small": lambda inputs: _regression(inputs, small_sample=True).t,
            "se_no_correction": lambda inputs: _regression(inputs, small_sample=False).std_errors,
            "t_no_correction": lambda inputs: _regression(inputs, small_sample=False).t,
        },
    ),
    *(
        Adapter(
            SNOOPING,
            prefix,
            frozenset({series, "lags"}),
            {
                "mean": lambda inputs: _mean_test(inputs, small_sample=False).mean,
                "se_no_correction": lambda inputs: _mean_test(inputs, small_sample=False).std_error,
                "se_small": lambda inputs: _mean_test(inputs, small_sample=True).std_error,
                "t_no_correction": lambda inputs: _mean_test(inputs, small_sample=False).t,
                "t_small": lambda inputs: _mean_test(inputs, small_sample=True).t,
                "t_iid": lambda inputs: _mean_test(inputs, small_sample=True, lags=0).t,
                "icir": lambda inputs: summarise_ic(inputs.get("ic", inputs.get("x")), lags=0).icir,
            },
        )
        for prefix, series in (("newey_west_mean_ic", "ic"), ("newey_west_mean", "x"))
    ),
    Adapter(
        SNOOPING,
        "newey_west_auto_lag",
        frozenset({"n"}),
        {
            "floor_4_n100_29": lambda inputs: [newey_west_lags(n) for n in inputs["n"]],
            "floor_n_14": lambda inputs: [
                newey_west_lags(n, rule="fourth_root") for n in inputs["n"]
            ],
        },
    ),
    Adapter(
        TESTING,
        "harvey_liu",
        frozenset({"sr_annual", "n_obs", "n_tests", "periods_per_year"}),
        _haircut_gives(),
    ),
    Adapter(
        TESTING, "profit_hurdle", frozenset({"vol_annual", "n_obs", "n_tests"}), _hurdle_gives()
    ),
    Adapter(
        TESTING,
        "t_pvalues",
        frozenset({"t", "df"}),
        {
            "one_sided": lambda inputs: student_p_value(
                inputs["t"], df=inputs["df"], two_sided=False
            ),
            "two_sided": lambda inputs: student_p_value(inputs["t"], df=inputs["df"]),
        },
    ),
)
"""Which of our functions gives which value of the resampling and haircut cases."""
