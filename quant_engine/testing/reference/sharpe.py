"""Reference cases of Sharpe inference: PSR, DSR, track record, power, false discovery, maximum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from quant_engine.stats.deflation import (
    DeflatedSharpe,
    MinBacktestLength,
    deflated_sharpe,
    expected_max_normal,
    expected_max_sharpe,
    min_backtest_length,
    sd_of_max_normal,
    trial_variance,
)
from quant_engine.stats.sharpe_design import (
    SharpeTestDesign,
    fdr_critical_sharpe,
    positive_fdr,
    sharpe_power,
)
from quant_engine.stats.sharpe_inference import (
    MinTrackRecord,
    ProbabilisticSharpe,
    ReturnShape,
    SharpeSample,
    min_track_record,
    per_period,
    probabilistic_sharpe,
    sharpe_sample,
    sharpe_std_error,
)
from quant_engine.testing.reference.adapters import Adapter, Give

Inputs = Mapping[str, Any]

TOPIC = "sharpe_stats"


def _first(inputs: Inputs, *names: str, default: Any = None) -> Any:
    """Value of the first name that the case holds."""
    return next((inputs[name] for name in names if inputs.get(name) is not None), default)


def _sample(inputs: Inputs) -> SharpeSample:
    """What the case says about returns: the returns themselves, or their Sharpe ratio and shape."""
    if "returns" in inputs:
        returns = np.array(inputs["returns"], dtype=np.float64)
        return sharpe_sample(
            returns,
            rf_per_period=_first(inputs, "risk_free", "risk_free_per_period", default=0.0),
            missing="omit",
        )
    sharpe = _first(inputs, "sr", "sharpe", "sr_per_period", "sharpe_per_period")
    if sharpe is None and "sr_annual" in inputs:
        sharpe = per_period(inputs["sr_annual"], periods_per_year=inputs["periods_per_year"])
    shape = ReturnShape(
        skew=inputs.get("skew", 0.0),
        kurtosis_pearson=inputs.get("kurtosis", 3.0),
        autocorrelation=inputs.get("rho", 0.0),
    )
    n_obs = np.asarray(_first(inputs, "n", "n_obs", default=3))
    return SharpeSample(sharpe_per_period=np.asarray(sharpe), n_obs=n_obs, shape=shape)


def _benchmark(inputs: Inputs) -> Any:
    return _first(inputs, "sr_benchmark", "benchmark_sharpe", "sr0", default=0.0)


def _psr(inputs: Inputs, *, null_variance: bool) -> ProbabilisticSharpe:
    sample = _sample(inputs)
    return probabilistic_sharpe(
        sample.sharpe_per_period,
        n_obs=sample.n_obs,
        shape=sample.shape,
        benchmark_per_period=_benchmark(inputs),
        null_variance=null_variance,
    )


def _std_error(inputs: Inputs) -> Any:
    sample = _sample(inputs)
    return sharpe_std_error(sample.sharpe_per_period, n_obs=sample.n_obs, shape=sample.shape)


def _record(inputs: Inputs, *, null_variance: bool) -> MinTrackRecord:
    sample = _sample(inputs)
    return min_track_record(
        sample.sharpe_per_period,
        shape=sample.shape,
        benchmark_per_period=_benchmark(inputs),
        confidence=1.0 - inputs.get("alpha", 0.05),
        null_variance=null_variance,
    )


def _years(inputs: Inputs, *, null_variance: bool) -> Any:
    return _record(inputs, null_variance=null_variance).years(inputs["periods_per_year"])


def _trials(inputs: Inputs, ddof: int) -> tuple[Any, Any]:
    """Variance of the trials' Sharpe ratios per period, and how many there were."""
    if "trial_sharpes" in inputs:
        sharpes = inputs["trial_sharpes"]
        variance = trial_variance(sharpes, ddof=inputs.get("ddof", ddof))
        return variance, inputs.get("n_trials", len(sharpes))
    if "var_trials_annual" in inputs:
        return inputs["var_trials_annual"] / inputs["periods_per_year"], inputs["n_trials"]
    variance = _first(inputs, "var_trials", "trial_variance", "variance")
    if variance is None:
        variance = np.square(_first(inputs, "std", "std_trials"))
    return variance, inputs["n_trials"]


def _dsr(inputs: Inputs, *, ddof: int, null_variance: bool = False) -> DeflatedSharpe:
    sample = _sample(inputs)
    variance, n_trials = _trials(inputs, ddof)
    return deflated_sharpe(
        sample.sharpe_per_period,
        n_obs=sample.n_obs,
        shape=sample.shape,
        trial_variance_per_period=variance,
        n_trials=n_trials,
        null_variance=null_variance,
    )


def _sr0(inputs: Inputs, *, ddof: int) -> Any:
    variance, n_trials = _trials(inputs, ddof)
    return expected_max_sharpe(n_trials=n_trials, trial_variance_per_period=variance)


def _design(inputs: Inputs) -> SharpeTestDesign:
    sample = _sample(inputs)
    hypotheses = {
        "sharpe_null": inputs.get("sr0", 0.0),
        "sharpe_alternative": inputs["sr1"],
        "n_obs": sample.n_obs,
        "shape": sample.shape,
    }
    if "q" in inputs:
        return fdr_critical_sharpe(fdr=inputs["q"], prior_alternative=inputs["p_h1"], **hypotheses)
    other = hypotheses.pop("sharpe_alternative")
    return sharpe_power(other, alpha=inputs["alpha"], **hypotheses)


def _pfdr(inputs: Inputs) -> Any:
    design = _design(inputs)
    return positive_fdr(prior_alternative=inputs["p_h1"], alpha=design.alpha, power=design.power)


def _length(inputs: Inputs) -> MinBacktestLength:
    target = _first(inputs, "target_max_sr_annual", "target_sharpe_annual", default=1.0)
    return min_backtest_length(inputs["n_trials"], target_sharpe_annual=target)


def _fields(make: Callable[[Inputs], Any], **names: str) -> dict[str, Give]:
    """Expected name -> field of one result."""
    return {
        expected: lambda inputs, field=field: getattr(make(inputs), field)
        for expected, field in names.items()
    }


def _psr_gives(*, null_variance: bool) -> dict[str, Give]:
    return {
        **_fields(
            lambda inputs: _psr(inputs, null_variance=null_variance),
            psr="probability",
            z="z",
        ),
        "psr_2012": lambda inputs: _psr(inputs, null_variance=False).probability,
        "psr_2025": lambda inputs: _psr(inputs, null_variance=True).probability,
        # The error of the estimate, at the observed ratio, whichever variance the test takes.
        "se": _std_error,
        "sharpe": lambda inputs: _sample(inputs).sharpe_per_period,
        "skew": lambda inputs: _sample(inputs).shape.skew,
        "kurtosis": lambda inputs: _sample(inputs).shape.kurtosis_pearson,
    }


def _record_gives(*, null_variance: bool) -> dict[str, Give]:
    return {
        "min_obs": lambda inputs: _record(inputs, null_variance=null_variance).min_obs,
        "min_years": lambda inputs: _years(inputs, null_variance=null_variance),
        "min_obs_2012": lambda inputs: _record(inputs, null_variance=False).min_obs,
        "min_obs_2025": lambda inputs: _record(inputs, null_variance=True).min_obs,
    }


def _dsr_gives(*, ddof: int) -> dict[str, Give]:
    return {
        "dsr": lambda inputs: _dsr(inputs, ddof=ddof).probability,
        "dsr_correct": lambda inputs: _dsr(inputs, ddof=ddof).probability,
        "dsr_2025": lambda inputs: _dsr(inputs, ddof=ddof, null_variance=True).probability,
        "dsr_ddof0": lambda inputs: _dsr(inputs, ddof=0).probability,
        "dsr_ddof1": lambda inputs: _dsr(inputs, ddof=1).probability,
        "sr0": lambda inputs: _sr0(inputs, ddof=ddof),
        "sr0_per_period": lambda inputs: _sr0(inputs, ddof=ddof),
        "sr0_ddof0": lambda inputs: _sr0(inputs, ddof=0),
        "sr0_ddof1": lambda inputs: _sr0(inputs, ddof=1),
    }


_MISTAKE = MappingProxyType(
    {"dsr_wrong": "the mistake itself; Pearson kurtosis and per-period ratios give dsr_correct"}
)
_PSR, _PSR_2025 = _psr_gives(null_variance=False), _psr_gives(null_variance=True)
_DSR = _dsr_gives(ddof=1)
_MOMENTS = frozenset({"skew", "kurtosis"})

ADAPTERS: tuple[Adapter, ...] = (
    Adapter(TOPIC, "psr_", _MOMENTS | {"sr", "n"}, _PSR),
    Adapter(TOPIC, "psr_from_returns", frozenset({"returns"}), _PSR),
    Adapter(TOPIC, "psr2025", _MOMENTS | {"sr", "n"}, _PSR_2025),
    Adapter(TOPIC, "psr_2025", _MOMENTS | {"sr", "n"}, _PSR_2025),
    Adapter(TOPIC, "mintrl", _MOMENTS | {"sr"}, _record_gives(null_variance=False)),
    Adapter(TOPIC, "mintrl2025", _MOMENTS | {"sr", "n"}, _record_gives(null_variance=True)),
    Adapter(TOPIC, "mintrl_2025", _MOMENTS | {"sr", "n"}, _record_gives(null_variance=True)),
    Adapter(TOPIC, "dsr_", _MOMENTS | {"n", "n_trials"}, _DSR, _MISTAKE),
    Adapter(TOPIC, "dsr_from_returns", frozenset({"returns", "trial_sharpes"}), _DSR, _MISTAKE),
    # mlfinlab's list of trials has the population variance.
    Adapter(TOPIC, "dsr_trial_list", frozenset({"trial_sharpes"}), _dsr_gives(ddof=0)),
    Adapter(
        TOPIC,
        "expected_max",
        frozenset({"n_trials"}),
        {
            "approx": lambda inputs: expected_max_normal(inputs["n_trials"]),
            "exact": lambda inputs: expected_max_normal(inputs["n_trials"], form="exact"),
        },
    ),
    Adapter(TOPIC, "emax_", frozenset({"n_trials"}), _DSR),
    Adapter(
        TOPIC,
        "sd_of_max",
        frozenset({"n_trials"}),
        {"sd": lambda inputs: sd_of_max_normal(inputs["n_trials"])},
    ),
    Adapter(
        TOPIC,
        "minbtl",
        frozenset({"n_trials"}),
        _fields(_length, min_years="min_years", upper_bound_years="upper_bound_years"),
    ),
    *(
        Adapter(
            TOPIC,
            prefix,
            frozenset({"sr1", "n"}),
            {
                **_fields(
                    _design,
                    critical_sr="critical_per_period",
                    power="power",
                    alpha="alpha",
                    beta="beta",
                ),
                "pfdr": _pfdr,
            },
        )
        for prefix in ("sharpe_power", "sharpe_fdr")
    ),
)
"""Which of our functions gives which value of the Sharpe cases."""
