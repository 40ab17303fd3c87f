"""Reference cases of selection among strategies: SPA, StepM and Reality Check, and PBO by CSCV."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from quant_engine.stats.overfitting import OverfittingResult, n_combinations, pbo_cscv
from quant_engine.stats.snooping import (
    Recentring,
    SnoopingConfig,
    SpaResult,
    loss_differences,
    reality_check,
    spa_test,
    step_m,
)
from quant_engine.testing.reference.adapters import Adapter, Give

Inputs = Mapping[str, Any]

_RECENTRINGS: tuple[Recentring, ...] = ("lower", "consistent", "upper")
_LEVELS = MappingProxyType({"1pct": 0.01, "5pct": 0.05, "10pct": 0.10, "20pct": 0.20})


def _differences(inputs: Inputs) -> Any:
    """Return differences themselves where a case gives them, else from losses."""
    for name in ("differences", "loss_diff", "loss_differences"):
        if name in inputs:
            return inputs[name]
    return loss_differences(inputs["benchmark_losses"], inputs["model_losses"])


def _config(inputs: Inputs, *, studentised: bool) -> SnoopingConfig:
    block = inputs.get("block_size", inputs.get("avg_block"))
    return SnoopingConfig(avg_block=block, studentised=studentised)


def _spa(inputs: Inputs, *, studentised: bool = False) -> SpaResult:
    config = _config(inputs, studentised=studentised)
    return spa_test(_differences(inputs), config=config, indices=inputs["indices"])


def _p_values(*, studentised: bool) -> Give:
    def give(inputs: Inputs) -> dict[str, float]:
        result = _spa(inputs, studentised=studentised)
        return {name: getattr(result, f"p_{name}") for name in _RECENTRINGS}

    return give


def _critical_values(alpha: float, *, studentised: bool) -> Give:
    return lambda inputs: _spa(inputs, studentised=studentised).critical_values(alpha)


def _superior(alpha: float, *, studentised: bool) -> Give:
    def give(inputs: Inputs) -> Any:
        config = _config(inputs, studentised=studentised)
        return step_m(
            _differences(inputs), config=config, alpha=alpha, indices=inputs["indices"]
        ).superior

    return give


def _white(name: str) -> Give:
    def give(inputs: Inputs) -> float:
        config = _config(inputs, studentised=False)
        result = reality_check(_differences(inputs), config=config, indices=inputs["indices"])
        return float(getattr(result, name))

    return give


def _ordered(inputs: Inputs) -> bool:
    """Whether lower <= consistent <= upper on families of every mixture of good and bad."""
    rng = np.random.default_rng(0)
    for shift in (-1.0, -0.3, 0.0, 0.2):
        differences = rng.standard_normal((60, 6)) * [1, 1, 2, 3, 0.5, 1] + shift
        for studentised in (False, True):
            config = SnoopingConfig(avg_block=4, n_draws=200, studentised=studentised)
            result = spa_test(differences, config=config, seed=1)
            if not result.p_lower <= result.p_consistent <= result.p_upper:
                return False
    return True


def _by_level(name: str, give: Callable[..., Give]) -> dict[str, Give]:
    """Return one key per level, plain and studentised."""
    plain = {f"{name}_{text}": give(a, studentised=False) for text, a in _LEVELS.items()}
    studentised = {
        f"{name}_{text}_studentised": give(a, studentised=True) for text, a in _LEVELS.items()
    }
    return {**plain, **studentised}


def _cscv(inputs: Inputs) -> OverfittingResult:
    blocks = inputs.get("n_blocks", inputs.get("S"))
    return pbo_cscv(inputs["returns"], n_blocks=16 if blocks is None else blocks)


def _cscv_value(name: str) -> Give:
    return lambda inputs: getattr(_cscv(inputs), name)


def _counts(inputs: Inputs) -> Any:
    blocks = inputs["S"]
    return (
        [n_combinations(n) for n in blocks] if isinstance(blocks, list) else n_combinations(blocks)
    )


ADAPTERS: tuple[Adapter, ...] = (
    Adapter(
        topic="bootstrap_snooping_hac",
        prefix="spa_",
        gives={
            "loss_diff_mean": lambda inputs: _spa(inputs).mean_difference,
            "omega2": lambda inputs: _spa(inputs).variance,
            "valid_consistent": lambda inputs: _spa(inputs).is_relevant,
            "t_stat": lambda inputs: _spa(inputs).statistic,
            "t_stat_studentised": lambda inputs: _spa(inputs, studentised=True).statistic,
            "pvalues": _p_values(studentised=False),
            "pvalues_studentised": _p_values(studentised=True),
            "white_rc_statistic": _white("statistic"),
            "white_rc_pvalue": _white("p_value"),
            "statement": _ordered,
            **_by_level("critical_values", _critical_values),
            **_by_level("stepm_superior", _superior),
        },
    ),
    Adapter(
        topic="pbo_cpcv",
        prefix="cscv_",
        gives={
            **{
                name: _cscv_value(name)
                for name in (
                    "pbo",
                    "prob_loss",
                    "slope",
                    "intercept",
                    "logits",
                    "is_best",
                    "n_combinations",
                    "n_rows",
                    "n_rows_dropped",
                )
            },
            "is_metric": _cscv_value("in_sample"),
            "oos_metric": _cscv_value("out_of_sample"),
            "n": _counts,
        },
    ),
)
