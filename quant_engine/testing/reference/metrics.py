"""Reference cases of returns and risk: Sharpe ratios and their errors, metrics, tails."""

from __future__ import annotations

from typing import Any

import numpy as np

from quant_engine.stats.metrics import (
    CoverageTest,
    DailyReturns,
    SharpeResult,
    alpha_beta,
    annual_return,
    annual_vol,
    calmar,
    cdar,
    christoffersen_conditional_test,
    christoffersen_test,
    cornish_fisher_z,
    cumulative_return,
    daily_returns,
    daily_sharpe,
    gaussian_tail,
    hit_rate,
    information_ratio,
    kupiec_test,
    lo_annualisation,
    max_drawdown,
    moments,
    omega,
    pain_index,
    profit_factor,
    sharpe,
    sortino,
    stability,
    student_t_tail,
    tail_ratio,
    tracking_error,
    ulcer_index,
    var_es,
)
from quant_engine.stats.sharpe_inference import (
    NORMAL_SHAPE,
    ReturnShape,
    probabilistic_sharpe,
    sharpe_sample,
    sharpe_std_error,
)
from quant_engine.testing.reference.adapters import Adapter, Give
from quant_engine.testing.reference.inputs import Inputs, array, each

SHARPE, RISK = "sharpe_stats", "risk_tail_execution"


# ---------------------------------------------------------------- Sharpe and performance


def _per_year(inputs: Inputs) -> float:
    for name in ("periods_per_year", "entries_per_year"):
        if name in inputs:
            return float(inputs[name])
    return 1.0


def _riskless(inputs: Inputs) -> float:
    names = ("risk_free_per_period", "rf_per_period", "risk_free")
    return float(next((inputs[name] for name in names if name in inputs), 0.0))


def _sharpe(inputs: Inputs) -> float:
    return sharpe(
        array(inputs["returns"]),
        periods_per_year=_per_year(inputs),
        rf_per_period=_riskless(inputs),
    ).value


def _of_returns(function: Any) -> Give:
    return lambda inputs: function(array(inputs["returns"]))


def _per_year_of(function: Any) -> Give:
    return lambda inputs: function(array(inputs["returns"]), periods_per_year=_per_year(inputs))


def _against(function: Any) -> Give:
    return lambda inputs: function(
        array(inputs["returns"]),
        array(inputs.get("benchmark_returns", inputs.get("benchmark"))),
        periods_per_year=_per_year(inputs),
    )


def _psr_above_zero(inputs: Inputs) -> float:
    sample = sharpe_sample(array(inputs["returns"]), missing="omit")
    return float(
        probabilistic_sharpe(
            sample.sharpe_per_period, n_obs=sample.n_obs, shape=sample.shape
        ).probability
    )


_PERFORMANCE: dict[str, Give] = {
    "sharpe": _sharpe,
    "sortino": _per_year_of(sortino),
    "max_drawdown": _of_returns(max_drawdown),
    "annual_return": _per_year_of(annual_return),
    "annual_vol": _per_year_of(annual_vol),
    "calmar": _per_year_of(calmar),
    "cum_return": _of_returns(cumulative_return),
    "skew_pop": _of_returns(lambda r: moments(r).skew),
    "kurtosis_pop_pearson": _of_returns(lambda r: moments(r).kurtosis),
    "excess_kurtosis_pop": _of_returns(lambda r: moments(r).excess_kurtosis),
    "tail_ratio": _of_returns(tail_ratio),
    "omega0": _of_returns(omega),
    "psr_2012_vs_0": _psr_above_zero,
    "stability": _of_returns(stability),
    "ulcer_index": _of_returns(ulcer_index),
    "pain_index": _of_returns(pain_index),
    "hit_rate": _of_returns(hit_rate),
    "profit_factor": _of_returns(profit_factor),
    "cdar": lambda inputs: cdar(array(inputs["returns"]), alpha=inputs["alpha"]),
    "alpha": _against(lambda r, b, periods_per_year: alpha_beta(
        r, b, periods_per_year=periods_per_year).alpha_per_period),
    "beta": _against(lambda r, b, periods_per_year: alpha_beta(
        r, b, periods_per_year=periods_per_year).beta),
    "tracking_error": _against(tracking_error),
    "information_ratio": _against(information_ratio),
}  # fmt: skip


def _steps(inputs: Inputs) -> tuple[Any, list[float]]:
    steps = inputs["steps"]
    times = np.array([step["ts"].removesuffix("Z") for step in steps], dtype="M8[ms]")
    return times, [step["pnl"] for step in steps]


def _running_days(inputs: Inputs, *, is_filled: bool) -> Any:
    days = np.unique(_steps(inputs)[0].astype("M8[D]"))
    return np.arange(days[0], days[-1] + 1) if is_filled else days


def _daily(inputs: Inputs, *, is_filled: bool) -> DailyReturns:
    times, pnl = _steps(inputs)
    return daily_returns(times, pnl, running_days=_running_days(inputs, is_filled=is_filled))


def _daily_sharpe(inputs: Inputs, *, is_filled: bool) -> SharpeResult:
    times, pnl = _steps(inputs)
    return daily_sharpe(times, pnl, running_days=_running_days(inputs, is_filled=is_filled))


def _of_sharpe(name: str, *, is_filled: bool) -> Give:
    return lambda inputs: getattr(_daily_sharpe(inputs, is_filled=is_filled), name)


def _std_error(inputs: Inputs) -> Any:
    shape = ReturnShape(
        inputs.get("skew", NORMAL_SHAPE.skew),
        inputs.get("kurtosis", NORMAL_SHAPE.kurtosis_pearson),
        autocorrelation=inputs.get("rho", NORMAL_SHAPE.autocorrelation),
    )
    return sharpe_std_error(inputs["sr"], n_obs=inputs["n"], shape=shape)


def _eta(q: int, rho: float) -> float:
    return lo_annualisation(rho ** np.arange(1.0, q), q=q)


_SHARPE_ADAPTERS = (
    Adapter(SHARPE, "sharpe_small", frozenset({"returns"}), {"sharpe": _sharpe}),
    Adapter(SHARPE, "performance_", frozenset({"returns"}), _PERFORMANCE),
    Adapter(
        SHARPE,
        "sharpe_daily",
        frozenset({"steps"}),
        {
            "daily_observed_days": lambda inputs: _daily(inputs, is_filled=False).values,
            "daily_calendar_filled": lambda inputs: _daily(inputs, is_filled=True).values,
            "sharpe_daily_observed_days": _of_sharpe("value", is_filled=False),
            "sharpe_daily_calendar_filled": _of_sharpe("value", is_filled=True),
            "observation_days": _of_sharpe("observation_days", is_filled=True),
            "running_days": _of_sharpe("n_obs", is_filled=True),
        },
    ),
    Adapter(
        SHARPE,
        "lo2002_annualisation",
        frozenset({"q", "rho"}),
        {"eta": lambda inputs: each(_eta, inputs["q"], inputs["rho"])},
    ),
    Adapter(SHARPE, "lo2002_se", frozenset({"sr", "n"}), {"se": _std_error}),
    Adapter(SHARPE, "sharpe_se_autocorr", frozenset({"sr", "n", "rho"}), {"se": _std_error}),
)  # fmt: skip


# ---------------------------------------------------------------- tails


def _tail(method: Any, name: str) -> Give:
    return lambda inputs: getattr(
        var_es(array(inputs["returns"]), alpha=_alpha(inputs), method=method), name
    )


def _alpha(inputs: Inputs) -> float:
    for name in ("beta", "confidence", "level"):
        if name in inputs:
            return 1.0 - float(inputs[name])
    return float(inputs["alpha"])


def _expanded_quantile(inputs: Inputs) -> float:
    shape = moments(array(inputs["returns"]))
    z = -gaussian_tail(alpha=_alpha(inputs)).var
    return cornish_fisher_z(z, skew=shape.skew, excess_kurtosis=shape.excess_kurtosis)


_TAILS: dict[str, Give] = {
    "gaussian_var": _tail("gaussian", "var"),
    "gaussian_es": _tail("gaussian", "es"),
    "skew": _of_returns(lambda r: moments(r).skew),
    "excess_kurtosis": _of_returns(lambda r: moments(r).excess_kurtosis),
    "z_cf": _expanded_quantile,
    "cornish_fisher_var": _tail("cornish_fisher", "var"),
    "cornish_fisher_es": _tail("cornish_fisher", "es"),
    "hist_var_numpy_linear": _tail("historical_linear", "var"),
    "numpy_linear": _tail("historical_linear", "var"),
    "hist_es_mean_leq_var": _tail("historical_linear", "es"),
    "hist_es_rockafellar_uryasev": _tail("historical", "es"),
    "cvar_skfolio": _tail("historical", "es"),
    "hist_var_skfolio": _tail("historical", "var"),
    "var_skfolio": _tail("historical", "var"),
    "hist_var_riskfolio": _tail("historical_upper", "var"),
}


def _student(name: str) -> Give:
    return lambda inputs: each(
        lambda alpha, nu: getattr(
            student_t_tail(
                alpha=alpha, dof=nu, mean=inputs.get("mu", 0.0), scale=inputs.get("scale", 1.0)
            ),
            name,
        ),
        inputs["alpha"],
        inputs["nu"],
    )


def _gaussian(name: str) -> Give:
    def give(inputs: Inputs) -> Any:
        mean, std = inputs.get("mu", 0.0), inputs.get("sigma", 1.0)
        return each(
            lambda level: getattr(gaussian_tail(alpha=1.0 - level, mean=mean, std=std), name),
            inputs["levels"],
        )

    return give


def _kupiec(name: str) -> Give:
    return lambda inputs: each(
        lambda n, x, p: getattr(kupiec_test(x, n_obs=n, alpha=p), name),
        inputs["n"],
        inputs["exceptions"],
        inputs["p"],
    )


def _conditional(inputs: Inputs) -> CoverageTest:
    return christoffersen_conditional_test(inputs["hits"], alpha=inputs["p"])


_RISK_ADAPTERS = (
    Adapter(RISK, "var_es", frozenset({"returns"}), _TAILS),
    Adapter(RISK, "trap_var", frozenset({"returns"}), _TAILS),
    Adapter(
        RISK, "student_t_var", frozenset({"nu"}), {n: _student(n) for n in ("var", "es")}
    ),
    Adapter(
        RISK, "gaussian_es", frozenset({"levels"}), {n: _gaussian(n) for n in ("var", "es")}
    ),
    Adapter(
        RISK,
        "kupiec",
        frozenset({"exceptions"}),
        {name: _kupiec(name) for name in ("lr", "p_value")},
    ),
    Adapter(
        RISK,
        "christoffersen",
        frozenset({"hits"}),
        {
            "lr_ind": lambda inputs: christoffersen_test(inputs["hits"]).lr,
            "p_value": lambda inputs: christoffersen_test(inputs["hits"]).p_value,
            "lr_cc": lambda inputs: _conditional(inputs).lr,
            "p_value_cc": lambda inputs: _conditional(inputs).p_value,
        },
    ),
)  # fmt: skip


ADAPTERS: tuple[Adapter, ...] = (*_SHARPE_ADAPTERS, *_RISK_ADAPTERS)
