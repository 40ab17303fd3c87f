"""Reference cases of distances between distributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from quant_engine.stats.distances import (
    DEFAULT_EPSILON,
    PSI,
    energy_distance,
    js_divergence,
    kl_divergence,
    ks_distance,
    psi,
    psi_shares,
    wasserstein,
)
from quant_engine.testing.reference.adapters import Adapter, Give

Inputs = Mapping[str, Any]


def _samples(inputs: Inputs) -> tuple[Any, Any]:
    later = inputs["current"] if "current" in inputs else inputs["actual"]
    return np.array(inputs["reference"], np.float64), np.array(later, np.float64)


def _epsilon(inputs: Inputs) -> float:
    return float(inputs.get("eps", inputs.get("epsilon", DEFAULT_EPSILON)))


def _psi(inputs: Inputs) -> PSI:
    return psi(*_samples(inputs), n_bins=inputs.get("n_bins", 10), epsilon=_epsilon(inputs))


_SHARES: Mapping[str, Give] = {
    "psi": lambda inputs: psi_shares(
        inputs["expected"], inputs["actual"], epsilon=_epsilon(inputs)
    ),
    "kl": lambda inputs: kl_divergence(inputs["actual"], inputs["expected"]),
    "js": lambda inputs: js_divergence(inputs["actual"], inputs["expected"]),
}
_SAMPLES: Mapping[str, Give] = {
    "psi": lambda inputs: _psi(inputs).psi,
    "expected_share": lambda inputs: _psi(inputs).expected_share,
    "actual_share": lambda inputs: _psi(inputs).actual_share,
    "ks_stat": lambda inputs: ks_distance(*_samples(inputs)).statistic,
    "ks_p": lambda inputs: ks_distance(*_samples(inputs)).p_value,
    "wasserstein": lambda inputs: wasserstein(*_samples(inputs)),
    "energy": lambda inputs: energy_distance(*_samples(inputs)),
}

ADAPTERS: tuple[Adapter, ...] = (
    Adapter("risk_tail_execution", "psi_", frozenset({"expected", "actual"}), _SHARES),
    Adapter("risk_tail_execution", "psi_", frozenset({"reference"}), _SAMPLES),
)
