"""Features of event markets: declared by name, unit, inputs and lookback, made from one decision.

Contract: a feature reads what its declaration names and nothing else; a declaration whose inputs or
lookback are not those of its kind is refused. A value that cannot be had is NaN, and 0 is a value.
No feature sees an outcome of its own cluster; features of the history are made in
:mod:`quant_engine.kalshi.history` from clusters that were over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import log, log1p, sqrt
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, StringConstraints, model_validator

from quant_engine.core.arrays import FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.specs import SpecCatalog
from quant_engine.kalshi.decisions import MEASURES, NAN, Decision, LadderState
from quant_engine.kalshi.shape import DistributionDistance, distribution_distance

__all__ = [
    "KINDS",
    "EventFeature",
    "EventFeatureSet",
    "compute_features",
    "load_features",
]

US_PER_S = 1_000_000
S_PER_HOUR = 3_600.0
CENTS = 100.0

Input = Literal["quotes", "trades", "ticks", "schedule", "outcomes"]
DISTANCES = ("wasserstein", "js_nats", "hellinger")
FLOWS = (
    "count", "contracts", "taker_imbalance", "direction", "block_share", "price_changes",
    "price_range",
)  # fmt: skip
HISTORIES = (
    "surprise_mean", "surprise_abs", "surprise_rms", "surprise_last", "n_clusters", "base_gap",
    "base_spread",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """What one kind of feature may say of itself.

    Parameters
    ----------
    inputs : tuple of str
        What it reads.
    of : tuple of str
        What it can be made of.
    steps : {"none", "one", "many"}
        How many earlier states it reads.
    """

    inputs: tuple[Input, ...]
    of: tuple[str, ...]
    steps: Literal["none", "one", "many"] = "none"


_STATE = tuple(MEASURES)
KINDS: dict[str, Kind] = {
    "level": Kind(("quotes",), _STATE),
    "change": Kind(("quotes",), _STATE, "one"),
    "log_ratio": Kind(("quotes",), _STATE, "one"),
    "distance": Kind(("quotes",), DISTANCES, "one"),
    "speed": Kind(("quotes",), DISTANCES[:1], "one"),
    "jump": Kind(("quotes",), DISTANCES[:1], "many"),
    "slope": Kind(("quotes",), _STATE, "many"),
    "term_slope": Kind(("quotes", "schedule"), _STATE, "many"),
    "reversal": Kind(("quotes",), _STATE, "many"),
    "flow": Kind(("quotes", "trades"), FLOWS),
    "print_age": Kind(("trades",), ("any",)),
    "activity": Kind(("ticks",), ("volume", "open_interest", "updates")),
    "activity_change": Kind(("ticks",), ("volume", "open_interest")),
    "clock": Kind(("schedule",), ("hours", "log_hours")),
    "history": Kind(("quotes", "outcomes"), HISTORIES),
}
"""Kinds of features."""


class EventFeature(FrozenConfig):
    """One declared feature.

    Parameters
    ----------
    name : str
        Column.
    kind : str
        One of :data:`KINDS`.
    of : str
        What it is made of.
    unit : str
        Unit of its values.
    inputs : tuple of str
        What it reads; has to be what its kind reads.
    lookback_s : int, optional
        Seconds before the decision that it reaches back; None = to the listing of the event, or of
        a history to its beginning.
    steps_s : tuple of int
        Distances of the earlier states, rising; the one of ``lookback_s`` where empty.
    clusters : int
        Newest finished clusters that a history counts.
    group : {"family", "series"}
        What a history is the history of.
    source : str
        Where the idea comes from.

    Examples
    --------
    >>> EventFeature(name="SD", kind="level", of="sd", unit="settlement unit",
    ...              inputs=("quotes",), lookback_s=0, source="shape").steps
    ()
    """

    name: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$")]
    kind: str
    of: str
    unit: str = Field(min_length=1)
    inputs: tuple[Input, ...]
    lookback_s: int | None = Field(ge=0)
    steps_s: tuple[int, ...] = ()
    clusters: int = Field(default=20, ge=1)
    group: Literal["family", "series"] = "family"
    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _is_what_its_kind_says(self) -> Self:
        kind = KINDS.get(self.kind)
        if kind is None or self.of not in kind.of:
            wanted = tuple(KINDS) if kind is None else kind.of
            raise ValueError(
                f"{self.name}: {self.kind!r} of {self.of!r} is unknown. One of {wanted}."
            )
        if self.inputs != kind.inputs:
            raise ValueError(
                f"{self.name}: inputs are {self.inputs}, a {self.kind} reads {kind.inputs}."
            )
        steps = self.steps
        enough = {"none": 0, "one": 1, "many": 2}[kind.steps]
        if kind.steps != "none" and (
            len(steps) < enough
            or list(steps) != sorted(set(steps))
            or steps[0] <= 0
            or steps[-1] != self.lookback_s
        ):
            raise ValueError(
                f"{self.name}: a {self.kind} needs at least {enough} positive rising steps that "
                f"end at lookback_s, got {steps} and {self.lookback_s}."
            )
        if kind.steps == "none" and self.steps_s:
            raise ValueError(f"{self.name}: a {self.kind} reads no earlier state; drop steps_s.")
        return self

    @property
    def steps(self) -> tuple[int, ...]:
        """Distances of the earlier states that are read, seconds, rising."""
        if KINDS[self.kind].steps == "none":
            return ()
        return self.steps_s or ((self.lookback_s,) if self.lookback_s else ())


class EventFeatureSet(FrozenConfig):
    """An ordered list of features with unique names.

    Parameters
    ----------
    name : str
        Name, the same as its file.
    version : str
        A new one whenever a feature changes.
    features : tuple of EventFeature
        The order of the columns.

    Examples
    --------
    >>> len(load_features().steps_s) >= 3
    True
    """

    name: str = Field(min_length=1)
    version: str = Field(min_length=1)
    features: tuple[EventFeature, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = list(self.names)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"feature names {twice} occur twice. Give each feature its own.")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names in column order."""
        return tuple(feature.name for feature in self.features)

    @property
    def steps_s(self) -> tuple[int, ...]:
        """Distances of all earlier states that are read, seconds, rising."""
        return tuple(sorted({step for feature in self.features for step in feature.steps}))


def load_features(
    name: str = "features_v1", *, catalog: SpecCatalog | None = None
) -> EventFeatureSet:
    """Read a declared set from ``specs/kalshi``.

    Parameters
    ----------
    name : str
        File without ``.yaml``.
    catalog : SpecCatalog, optional
        Where to look; the shipped specs where None.

    Returns
    -------
    EventFeatureSet

    Examples
    --------
    >>> load_features().version
    '1'
    """
    found = SpecCatalog.default() if catalog is None else catalog
    return found.load("kalshi", name, EventFeatureSet)


def compute_features(decision: Decision, features: EventFeatureSet) -> dict[str, float]:
    """Features of one decision, without those of the history.

    Parameters
    ----------
    decision : Decision
        What was known.
    features : EventFeatureSet
        Declarations.

    Returns
    -------
    dict of str to float
        In the order of the set; NaN where a value cannot be had, and for every feature of kind
        ``history``, which :func:`~quant_engine.kalshi.history.history_features` fills.
    """
    moves = _Moves(decision)
    return {
        feature.name: _COMPUTE[feature.kind](decision, feature, moves)
        if feature.kind in _COMPUTE
        else NAN
        for feature in features.features
    }


class _Moves:
    """Distances between states of one decision, each computed once."""

    def __init__(self, decision: Decision) -> None:
        self._states: dict[int, LadderState] = {0: decision.now, **decision.before}
        self._found: dict[tuple[int, int], DistributionDistance] = {}

    def between(self, near_s: int, far_s: int) -> DistributionDistance:
        """Distance of the states at two steps; NaN where one is missing."""
        key = (near_s, far_s)
        if key not in self._found:
            near, far = self._states.get(near_s), self._states.get(far_s)
            pair = [s.distribution for s in (near, far) if s is not None]
            whole = len(pair) == 2 and all(d.is_available for d in pair)
            self._found[key] = (
                distribution_distance(*pair) if whole else DistributionDistance(NAN, NAN, NAN)
            )
        return self._found[key]

    def speed(self, near_s: int, far_s: int) -> float:
        """First Wasserstein distance per square root of an hour."""
        return self.between(near_s, far_s).wasserstein / sqrt((far_s - near_s) / S_PER_HOUR)


def _value(decision: Decision, of: str, step_s: int) -> float:
    state = decision.now if step_s == 0 else decision.before.get(step_s)
    return NAN if state is None else MEASURES[of](state)


def _level_now(decision: Decision, feature: EventFeature, moves: _Moves) -> float:
    return _value(decision, feature.of, 0)


def _change(decision: Decision, feature: EventFeature, moves: _Moves) -> float:
    return _value(decision, feature.of, 0) - _value(decision, feature.of, feature.steps[0])


def _log_ratio(decision: Decision, feature: EventFeature, moves: _Moves) -> float:
    now, then = (_value(decision, feature.of, step) for step in (0, feature.steps[0]))
    return log(now / then) if now > 0.0 and then > 0.0 else NAN


def _distance(decision: Decision, feature: EventFeature, moves: _Moves) -> float:
    return float(getattr(moves.between(0, feature.steps[0]), feature.of))


def _speed(decision: Decision, feature: EventFeature, moves: _Moves) -> float:
    return moves.speed(0, feature.steps[0])


def _jump(decision: Decision, feature: EventFeature, moves: _Moves) -> float:
    steps = feature.steps
    earlier = np.array([moves.speed(near, far) for near, far in pairwise(steps)])
    known = earlier[~np.isnan(earlier)]
    usual = float(np.median(known)) if len(known) else NAN
    return moves.speed(0, steps[0]) / usual if usual > 0.0 else NAN


def _points(decision: Decision, feature: EventFeature) -> tuple[FloatVector, FloatVector]:
    """Steps and values of the states that have one."""
    steps = np.array([0, *feature.steps], dtype=np.float64)
    values = np.array([_value(decision, feature.of, int(step)) for step in steps])
    known = ~np.isnan(values)
    return steps[known], values[known]


def _ols_slope(x: FloatVector, y: FloatVector) -> float:
    centred = x - x.mean()
    return float(centred @ y / (centred @ centred))


def _slope(decision: Decision, feature: EventFeature, moves: _Moves) -> float:
    steps, values = _points(decision, feature)
    return _ols_slope(-steps / S_PER_HOUR, values) if len(steps) >= 3 else NAN


def _term_slope(decision: Decision, feature: EventFeature, moves: _Moves) -> float:
    steps, values = _points(decision, feature)
    if len(steps) < 3 or values.min() <= 0.0:
        return NAN
    return _ols_slope(np.log(decision.now.look.horizon_s + steps), np.log(values))


def _reversal(decision: Decision, feature: EventFeature, moves: _Moves) -> float:
    near, far = feature.steps[0], feature.steps[-1]
    now, then, before = (_value(decision, feature.of, step) for step in (0, near, far))
    scale = decision.now.shape.sd
    return (now - then) * (then - before) / scale**2 if scale > 0.0 else NAN


def _window(
    event_us: npt.NDArray[np.int64], decision: Decision, feature: EventFeature
) -> npt.NDArray[np.bool_]:
    """Which records happened within the lookback."""
    if feature.lookback_s is None:
        return np.ones(len(event_us), dtype=np.bool_)
    return np.asarray(event_us > decision.asof_us - feature.lookback_s * US_PER_S, dtype=np.bool_)


def _direction(decision: Decision, inside: npt.NDArray[np.bool_]) -> float:
    """Mean tilt of the takers: what a leg adds to the mean, in standard deviations."""
    state, prints = decision.now, decision.prints
    if state.quotes is None or not state.distribution.is_available:
        return NAN
    shape, distribution = state.shape, state.distribution
    tickers = state.quotes.structure.tickers
    pull = state.payoff @ (distribution.pmf * (distribution.points - shape.mean)) / shape.sd
    tilt = dict(zip(tickers, pull.tolist(), strict=True))
    signed = np.array([tilt.get(name, 0.0) for name in prints.ticker[inside]])
    weight = prints.count_c2[inside] / CENTS
    return float((signed * prints.side[inside]) @ weight / weight.sum())


def _flow(decision: Decision, feature: EventFeature, moves: _Moves) -> float:
    prints = decision.prints
    if not len(prints.event_us):
        # Silence and a missing recording look alike.
        return NAN
    inside = _window(prints.event_us, decision, feature)
    contracts = prints.count_c2[inside] / CENTS
    total = float(contracts.sum())
    if feature.of == "count":
        return float(inside.sum())
    if feature.of == "contracts":
        return total
    if not total > 0.0:
        return NAN
    if feature.of == "taker_imbalance":
        said = prints.side[inside] != 0
        told = float(contracts[said].sum())
        return float(contracts @ prints.side[inside]) / told if told > 0.0 else NAN
    if feature.of == "block_share":
        return float(contracts[prints.is_block[inside]].sum()) / total
    if feature.of == "direction":
        return _direction(decision, inside)
    return _print_path(decision, inside, feature.of)


def _print_path(decision: Decision, inside: npt.NDArray[np.bool_], of: str) -> float:
    """Changes of price from print to print of a market, or the widest range, in cents."""
    prints = decision.prints
    names, price = prints.ticker[inside], prints.price_e4[inside]
    order = np.argsort(prints.event_us[inside], kind="stable")
    found = [price[order][names[order] == name] for name in dict.fromkeys(names)]
    if of == "price_changes":
        return float(sum(int((np.diff(path) != 0).sum()) for path in found))
    return float(max(int(np.ptp(path)) for path in found)) / CENTS


def _print_age(decision: Decision, feature: EventFeature, moves: _Moves) -> float:
    event_us = decision.prints.event_us
    return (decision.asof_us - int(event_us.max())) / US_PER_S if len(event_us) else NAN


def _total(decision: Decision, of: str, at_us: int) -> float:
    """Sum over markets of the newest record up to a moment; NaN where one of them has none."""
    ticks = decision.ticks
    column = ticks.volume_c2 if of == "volume" else ticks.oi_c2
    total = 0.0
    for contract in decision.now.look.contracts:
        mine = (ticks.ticker == contract.ticker) & (ticks.event_us <= at_us) & ~np.isnan(column)
        if not mine.any():
            return NAN
        places = np.flatnonzero(mine)
        total += float(column[places[ticks.event_us[places].argmax()]])
    return total / CENTS if decision.now.look.contracts else NAN


def _activity(decision: Decision, feature: EventFeature, moves: _Moves) -> float:
    if feature.of == "updates":
        inside = _window(decision.ticks.event_us, decision, feature)
        return float(inside.sum()) if len(inside) else NAN
    return _total(decision, feature.of, decision.asof_us)


def _activity_change(decision: Decision, feature: EventFeature, moves: _Moves) -> float:
    then_us = decision.asof_us - (feature.lookback_s or 0) * US_PER_S
    return _total(decision, feature.of, decision.asof_us) - _total(decision, feature.of, then_us)


def _clock(decision: Decision, feature: EventFeature, moves: _Moves) -> float:
    hours = decision.now.look.horizon_s / S_PER_HOUR
    return hours if feature.of == "hours" else log1p(hours)


_COMPUTE: dict[str, Callable[[Decision, EventFeature, _Moves], float]] = {
    "level": _level_now,
    "change": _change,
    "log_ratio": _log_ratio,
    "distance": _distance,
    "speed": _speed,
    "jump": _jump,
    "slope": _slope,
    "term_slope": _term_slope,
    "reversal": _reversal,
    "flow": _flow,
    "print_age": _print_age,
    "activity": _activity,
    "activity_change": _activity_change,
    "clock": _clock,
}
