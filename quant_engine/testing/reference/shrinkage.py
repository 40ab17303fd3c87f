"""Reference cases of shrinkage: James-Stein, partial pooling, random effects."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from quant_engine.stats.random_effects import (
    NestedEffects,
    OneWayEffects,
    nested_effects,
    one_way_effects,
)
from quant_engine.stats.shrinkage import (
    JamesStein,
    PartialPooling,
    PoolingMethod,
    Target,
    james_stein,
    james_stein_rates,
    partial_pooling,
)
from quant_engine.testing.reference.adapters import Adapter, Give

Inputs = Mapping[str, Any]

_METHODS: Mapping[str, PoolingMethod] = MappingProxyType(
    {"DL": "dersimonian_laird", "PM": "paule_mandel", "REML": "reml"}
)


def _array(values: Any) -> Any:
    return np.array(values, dtype=np.float64)


def _stein(inputs: Inputs, target: Target) -> JamesStein:
    return james_stein(_array(inputs["x"]), variance=inputs["variance"], target=target)


def _rates(inputs: Inputs) -> JamesStein:
    return james_stein_rates(_array(inputs["hits"]), trials=inputs["at_bats"])


def _pooled(inputs: Inputs) -> PartialPooling:
    method = _METHODS[inputs.get("method", "DL")]
    return partial_pooling(_array(inputs["y"]), _array(inputs["v"]), method=method)


def _one_way(inputs: Inputs) -> OneWayEffects:
    return one_way_effects(_array(inputs["y"]), inputs["group"])


def _nested(inputs: Inputs) -> NestedEffects:
    return nested_effects(_array(inputs["y"]), inputs["family"], inputs["event"])


def _squared_error(estimates: Any, truth: Any) -> float:
    return float(((_array(estimates) - _array(truth)) ** 2).sum())


_RATES: Mapping[str, Give] = {
    "grand_mean": lambda inputs: _rates(inputs).center,
    "shrink_factor": lambda inputs: _rates(inputs).factor,
    "estimates": lambda inputs: _rates(inputs).estimates,
    "sse_js": lambda inputs: _squared_error(_rates(inputs).estimates, inputs["rest_of_season"]),
    "sse_mle": lambda inputs: _squared_error(
        _array(inputs["hits"]) / inputs["at_bats"], inputs["rest_of_season"]
    ),
}
_STEIN: Mapping[str, Give] = {
    "factor_mean": lambda inputs: _stein(inputs, "mean").factor,
    "est_mean": lambda inputs: _stein(inputs, "mean").estimates,
    "factor_zero": lambda inputs: _stein(inputs, "zero").factor,
    "est_zero": lambda inputs: _stein(inputs, "zero").estimates,
}
_POOLED: Mapping[str, Give] = {
    "Q": lambda inputs: _pooled(inputs).q,
    "tau2": lambda inputs: _pooled(inputs).tau2,
    "mu": lambda inputs: _pooled(inputs).mu,
    "se_mu": lambda inputs: _pooled(inputs).mu_std_error,
    "weight_own": lambda inputs: _pooled(inputs).weight_own,
    "blup": lambda inputs: _pooled(inputs).estimates,
}
_ONE_WAY: Mapping[str, Give] = {
    "var_within": lambda inputs: _one_way(inputs).var_within,
    "var_between": lambda inputs: _one_way(inputs).var_between,
    "n0": lambda inputs: _one_way(inputs).n0,
    "weight_own": lambda inputs: _one_way(inputs).weight_own,
    "group_mean": lambda inputs: _one_way(inputs).group_mean,
    "shrunk": lambda inputs: _one_way(inputs).shrunk,
    "grand_mean": lambda inputs: _one_way(inputs).grand_mean,
}
_NESTED: Mapping[str, Give] = {
    "var_family": lambda inputs: _nested(inputs).var_family,
    "var_event": lambda inputs: _nested(inputs).var_event,
    "var_within": lambda inputs: _nested(inputs).var_within,
    # One weight stands for all where the design is balanced.
    "weight_family": lambda inputs: _nested(inputs).weight_family[0],
    "weight_event": lambda inputs: _nested(inputs).weight_event[0],
    "family_est": lambda inputs: _nested(inputs).family_shrunk,
    "event_est": lambda inputs: _nested(inputs).event_shrunk,
    "event_order": lambda inputs: [event for _, event in _nested(inputs).events],
    "family_order": lambda inputs: list(_nested(inputs).families),
}

ADAPTERS: tuple[Adapter, ...] = (
    Adapter("shrinkage", "efron_morris", frozenset({"hits", "at_bats"}), _RATES),
    Adapter("shrinkage", "james_stein", frozenset({"x", "variance"}), _STEIN),
    Adapter("shrinkage", "bcg_", frozenset({"y", "v"}), _POOLED),
    Adapter("shrinkage", "one_way", frozenset({"y", "group"}), _ONE_WAY),
    Adapter("shrinkage", "nested", frozenset({"y", "family", "event"}), _NESTED),
)
