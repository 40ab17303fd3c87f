"""Regime models: filtered probabilities of a hidden Markov model with given parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from quant_engine.core.arrays import FloatVector
from quant_engine.regime.hmm import HMMParams, forward_filter, log_densities
from quant_engine.testing.reference.adapters import Adapter
from quant_engine.testing.reference.inputs import array

__all__ = ["ADAPTERS"]

TOPIC = "regime_models"
_NORMAL_DOF = 1e9
"""Degrees of freedom at which the tail of our emission is the normal one."""

Filtered = tuple[FloatVector, float]


def _discrete(case: Mapping[str, Any]) -> Filtered:
    emission = array(case["emission"]).T[case["obs"]]
    return forward_filter(np.log(emission), array(case["startprob"]), array(case["transmat"]))


def _gaussian(case: Mapping[str, Any], stop: int | None = None) -> Filtered:
    params = HMMParams(
        start=array(case["startprob"]),
        transition=array(case["transmat"]),
        means=array(case["means"]),
        variances=array(case["variances"]),
    )
    logs = log_densities(array(case["y"])[:stop], params, tail_dof=_NORMAL_DOF)
    return forward_filter(logs, params.start, params.transition)


def _change_of_prefix(case: Mapping[str, Any]) -> float:
    prefix = case["prefix"]
    return float(np.abs(_gaussian(case, prefix)[0] - _gaussian(case)[0][:prefix]).max())


ADAPTERS: tuple[Adapter, ...] = (
    Adapter(
        TOPIC,
        "",
        frozenset({"emission", "obs", "startprob", "transmat"}),
        {"filtered": lambda case: _discrete(case)[0], "loglik": lambda case: _discrete(case)[1]},
        due="smoothed probabilities and most likely paths",
    ),
    Adapter(
        TOPIC,
        "",
        frozenset({"y", "startprob", "transmat", "means", "variances", "prefix"}),
        {
            "filtered_at_prefix_end": lambda case: _gaussian(case, case["prefix"])[0][-1],
            "max_change_of_filtered": _change_of_prefix,
        },
        due="smoothed probabilities and most likely paths",
    ),
    Adapter(
        TOPIC,
        "",
        frozenset({"y", "startprob", "transmat", "means", "variances"}),
        {
            "filtered": lambda case: _gaussian(case)[0],
            "loglik": lambda case: _gaussian(case)[1],
            "loglik_before": lambda case: _gaussian(case)[1],
        },
        due="smoothed probabilities, most likely paths and single fitting steps",
    ),
)
