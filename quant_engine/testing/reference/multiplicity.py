"""Reference cases of adjusted p-values, q-values and grouped tests."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from quant_engine.stats.families import GroupedBH, bh_within_groups
from quant_engine.stats.multiplicity import (
    Method,
    Rejection,
    adjusted_p,
    by_factor,
    parse_p_values,
    reject,
)
from quant_engine.testing.reference.adapters import Adapter, Give

Inputs = Mapping[str, Any]

_NAMES: Mapping[str, Method] = MappingProxyType(
    {
        "BH": "bh",
        "BY": "by",
        "bonferroni": "bonferroni",
        "hochberg": "hochberg",
        "holm": "holm",
        "holm_sidak": "holm_sidak",
        "hommel": "hommel",
        "sidak": "sidak",
    }
)
_LEVELS = ("0.01", "0.05", "0.1", "0.10", "0.2")


def _p(inputs: Inputs) -> Any:
    """Read p-values, which stand in the case or under a key of the file that it names."""
    given = inputs["p"]
    listed = given["p"] if isinstance(given, Mapping) else given
    return np.array(listed, dtype=np.float64)


def _storey(inputs: Inputs, alpha: float = 0.05) -> Rejection:
    lam = inputs.get("lam", inputs.get("lambda", 0.5))
    return reject(_p(inputs), method="storey", alpha=alpha, lam=lam)


def _two_stage(inputs: Inputs) -> Rejection:
    return reject(_p(inputs), method="bky", alpha=inputs.get("alpha", 0.05))


def _grouped(inputs: Inputs, alpha: float = 0.05) -> GroupedBH:
    return bh_within_groups(_p(inputs), inputs["group"], alpha=alpha)


def _adjust(method: Method) -> Give:
    return lambda inputs: adjusted_p(_p(inputs), method=method)


def _counts(alpha: float) -> Give:
    return lambda inputs: {
        name: reject(_p(inputs), method=method, alpha=alpha).n_rejected
        for name, method in _NAMES.items()
    }


def _by_level(level: str) -> dict[str, Give]:
    """Counts at one level, which stands in the name of the value."""
    alpha = float(level)
    return {
        f"reject_count_at_{level}": _counts(alpha),
        f"n_q_below_{level}": lambda inputs: _storey(inputs, alpha).n_rejected,
        f"n_within_{level}": lambda inputs: _grouped(inputs, alpha).n_rejected,
        f"n_global_{level}": lambda inputs: _grouped(inputs, alpha).overall.n_rejected,
    }


def _only(names: tuple[str, ...], *more: Mapping[str, Give]) -> dict[str, Give]:
    """The values whose name begins with one of these, and more."""
    every = {name: give for level in _LEVELS for name, give in _by_level(level).items()}
    chosen = {name: give for name, give in every.items() if name.startswith(names)}
    for mapping in more:
        chosen.update(mapping)
    return chosen


_FAMILY = _only(
    ("reject_count_at",),
    {name: _adjust(method) for name, method in _NAMES.items()},
    {"c_m": lambda inputs: by_factor(int(parse_p_values(_p(inputs))[1].sum()))},
)
_STOREY = _only(
    ("n_q_below",),
    {
        "pi0": lambda inputs: _storey(inputs).pi0,
        "q": lambda inputs: _storey(inputs).adjusted,
        "q_first10": lambda inputs: _storey(inputs).adjusted[:10],
        "q_min": lambda inputs: np.nanmin(_storey(inputs).adjusted),
    },
)
_TWO_STAGE: Mapping[str, Give] = {
    "reject": lambda inputs: _two_stage(inputs).rejected,
    "reject_count": lambda inputs: _two_stage(inputs).n_rejected,
    "m0_hat": lambda inputs: _two_stage(inputs).pi0 * _two_stage(inputs).m,
}
_GROUPED = _only(
    ("n_within", "n_global"),
    {
        "q_within_group": lambda inputs: _grouped(inputs).adjusted,
        "q_global": lambda inputs: _grouped(inputs).overall.adjusted,
    },
)
_P = frozenset({"p"})

ADAPTERS: tuple[Adapter, ...] = (
    *(
        Adapter("multiple_testing", prefix, _P, _FAMILY)
        for prefix in ("bh1995", "ties", "single", "nan_")
    ),
    Adapter("multiple_testing", "storey", _P, _STOREY),
    Adapter("multiple_testing", "bky", _P, _TWO_STAGE),
    Adapter("multiple_testing", "bh_within", frozenset({"p", "group"}), _GROUPED),
)
