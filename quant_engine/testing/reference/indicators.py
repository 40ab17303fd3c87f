"""Reference cases of factors: information coefficients, cross-sections, beta."""

from __future__ import annotations

from typing import Any

import numpy as np

from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.core.specs import SpecCatalog
from quant_engine.features.expressions.program import compile_expressions
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


# What a case of a form holds, and what it waits for.
_DUE = (
    (("close", "period"), "technical indicators"),
    (("open", "high", "low", "close", "volume"), "technical indicators"),
    (("high", "low", "close", "volume_scale"), "technical indicators"),
    (("sector", "benchmark"), "relative strength"),
    (("ratio", "momentum"), "relative strength"),
    (("close",), "momentum factors"),
)

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
        "alpha101",
        frozenset({"open", "high", "low", "close", "volume", "vwap"}),
        {"alpha_last6": _last_alphas},
    ),
    *(Adapter(TOPIC, "", frozenset(needs), due=reason) for needs, reason in _DUE),
)
