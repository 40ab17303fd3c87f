"""Reference cases of factors: information coefficients, cross-sections, beta."""

from __future__ import annotations

from typing import Any

import numpy as np

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.core.specs import SpecCatalog
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.factors import FactorInputs, FactorSpec
from quant_engine.features.factors.plan import run_factors
from quant_engine.features.rotation import QUADRANTS, RS_MOMENTUM, RS_RATIO, rotation_quadrants
from quant_engine.features.sets import FeatureSet
from quant_engine.stats.cross_section import (
    average_ranks,
    group_mean,
    percentile_rank,
    rank_gaussian,
    winsorise,
    z_score,
)
from quant_engine.stats.ic import ICSummary, ic_by_date, rank_autocorrelation, summarise_ic
from quant_engine.stats.metrics import BenchmarkLine, alpha_beta
from quant_engine.stats.signal import quantile_by_date
from quant_engine.testing.reference.adapters import Adapter, Give
from quant_engine.testing.reference.inputs import Inputs, array

TOPIC = "indicators_factors_ic"
TAIL_FRAC = 0.05
"""Tail of the cases that name none."""

QUANTILE_KEY = "quantile_mean_returns_"


def _factor_ic(inputs: Inputs, method: Any) -> Any:
    return ic_by_date(
        array(inputs["factor"]), array(inputs["forward_returns"]), method=method, min_assets=2
    )


def _ic_summary(inputs: Inputs) -> ICSummary:
    return summarise_ic(_factor_ic(inputs, "rank"), lags=0, small_sample=True)


def _of_summary(name: str) -> Give:
    return lambda inputs: getattr(_ic_summary(inputs), name)


def _quantile_means(n_quantiles: int) -> Give:
    return lambda inputs: np.nanmean(
        quantile_by_date(
            array(inputs["factor"]),
            array(inputs["forward_returns"]),
            n_quantiles=n_quantiles,
            min_assets=2,
        ),
        axis=0,
    )


def _matrix(inputs: Inputs) -> Any:
    return np.atleast_2d(array(inputs.get("X", inputs.get("values"))))


def _pulled_in(inputs: Inputs) -> Any:
    low = inputs.get("low", TAIL_FRAC)
    high = inputs.get("high", 1.0 - TAIL_FRAC)
    return winsorise(_matrix(inputs), tail_frac=low, upper_tail_frac=1.0 - high)


def _ranked(inputs: Inputs, digits: int | None = None) -> Any:
    values = _matrix(inputs) if digits is None else _matrix(inputs).round(digits)
    ranks, counts = average_ranks(values)
    return (ranks / counts[:, None])[0]


def _sector_neutral(inputs: Inputs) -> Any:
    score = z_score(_pulled_in(inputs))
    return (score - group_mean(score, np.atleast_2d(inputs["sector"])))[0]


def _line(inputs: Inputs) -> BenchmarkLine:
    return alpha_beta(
        array(inputs["asset_returns"]), array(inputs["market_returns"]), periods_per_year=1.0
    )


def _last_factor(name: str, **params: Any) -> Give:
    """Newest value of a price factor of one close series."""

    def give(inputs: Inputs) -> float:
        close = array(inputs["close"])[:, None]
        days = np.datetime64("2020-01-01") + np.arange(len(close))
        panel = Panel(TimeAxis.sessions(days), ("A@US#1",), {"close": close})
        spec = FactorSpec(name=name, params=params)
        return float(run_factors(FactorInputs(panel), [spec]).factor(spec)[-1, 0])

    return give


def _last_alphas(inputs: Inputs) -> dict[str, Any]:
    """Last six rows of every formulaic alpha, by its number."""
    fields = {name: array(inputs[name]) for name in ("open", "high", "low", "close", "volume")}
    fields["vwap"] = array(inputs["vwap"])
    n_rows, n_assets = fields["close"].shape
    days = np.datetime64("2020-01-01") + np.arange(n_rows)
    panel = Panel(TimeAxis.sessions(days), tuple(f"A{i}" for i in range(n_assets)), fields)
    alphas = SpecCatalog.default().load("features", "alpha101", FeatureSet).features
    program = compile_expressions({spec.name: spec.expression for spec in alphas})
    got = program.run(panel, dtype=np.float64, allow_short=True)
    return {str(int(name.removeprefix("ALPHA"))): got.field(name)[-6:] for name in got.fields}


def _mean_price_ratio(inputs: Inputs) -> Any:
    """Ours is rebased to the oldest row of the average; that ratio of prices undoes it."""
    ratio, period = array(inputs["sector"]) / array(inputs["benchmark"]), inputs["period"]
    got = RS_RATIO.run(_log_changes(ratio), numbers=(period, period - 1))[0, :, 0]
    got[period - 1 :] *= ratio[: len(ratio) - period + 1]
    return got


def _relative_momentum(inputs: Inputs) -> Any:
    ratio = array(inputs["sector"]) / array(inputs["benchmark"])
    return RS_MOMENTUM.run(_log_changes(ratio), numbers=(inputs["period"],))[0, :, 0]


def _log_changes(ratio: FloatVector) -> FloatMatrix:
    return np.diff(np.log(ratio), prepend=np.nan)[:, None]


def _quadrant_names(inputs: Inputs) -> list[str]:
    codes = rotation_quadrants(array(inputs["ratio"]), array(inputs["momentum"]))
    return [QUADRANTS[code].capitalize() for code in codes]


ADAPTERS: tuple[Adapter, ...] = (
    Adapter(
        TOPIC,
        "information_coefficient",
        frozenset({"factor"}),
        {
            "ic_spearman": lambda inputs: _factor_ic(inputs, "rank"),
            "ic_pearson": lambda inputs: _factor_ic(inputs, "pearson"),
            "mean_ic": _of_summary("mean"),
            "icir": _of_summary("icir"),
            "t_stat": _of_summary("t"),
            "hit_rate": _of_summary("hit_rate"),
            "factor_rank_autocorrelation": lambda inputs: rank_autocorrelation(
                array(inputs["factor"]), min_assets=2
            ),
            **{f"{QUANTILE_KEY}{n}": _quantile_means(n) for n in (2, 3, 4, 5, 10)},
        },
    ),
    Adapter(
        TOPIC,
        "cs_winsorize",
        frozenset({"X"}),
        {
            "winsorized": _pulled_in,
            "zscore": lambda inputs: z_score(_matrix(inputs)),
            "percentile_rank": lambda inputs: percentile_rank(_matrix(inputs)),
            # Those normal scores are rescaled to unit spread; ours are plain.
            "gaussian_rank": lambda inputs: z_score(rank_gaussian(_matrix(inputs))),
        },
    ),
    Adapter(
        TOPIC,
        "winsorize_",
        frozenset({"values"}),
        {
            "winsorized": lambda inputs: _pulled_in(inputs)[0],
            "zscore": lambda inputs: z_score(_pulled_in(inputs))[0],
            "sector_neutral": _sector_neutral,
            "percentile_rank_midrank": lambda inputs: percentile_rank(_matrix(inputs))[0],
        },
    ),
    Adapter(
        TOPIC,
        "trap_rank",
        frozenset({"values"}),
        {
            "rank_pct_exact_float": _ranked,
            "rank_pct_after_round_12": lambda inputs: _ranked(inputs, 12),
        },
    ),
    Adapter(
        TOPIC,
        "beta_ivol",
        frozenset({"asset_returns", "market_returns"}),
        {
            "beta": lambda inputs: _line(inputs).beta,
            "alpha": lambda inputs: _line(inputs).alpha_per_period,
            "ivol_ddof2": lambda inputs: _line(inputs).residual_std,
        },
    ),
    Adapter(
        TOPIC,
        "momentum_vsm",
        frozenset({"close"}),
        {
            "mom_252": _last_factor("momentum"),
            "mom_12_1": _last_factor("momentum_12_1"),
            "vol60_ddof1": _last_factor("volatility", window_sessions=60),
            "vsm": _last_factor("vsm"),
            "levy_rsl_260": _last_factor("levy_rsl"),
        },
    ),
    Adapter(
        TOPIC,
        "alpha101",
        frozenset({"open", "high", "low", "close", "volume", "vwap"}),
        {"alpha_last6": _last_alphas},
    ),
    Adapter(
        TOPIC,
        "rs_ratio",
        frozenset({"sector", "benchmark", "period"}),
        {
            "ratio_of_prices_then_sma": _mean_price_ratio,
            "rs_momentum_roc14_of_first": _relative_momentum,
        },
        others={"ratio_of_smas": "mean of the price ratio"},
    ),
    Adapter(TOPIC, "rs_quadrants", frozenset({"ratio", "momentum"}), {"quadrant": _quadrant_names}),
)
