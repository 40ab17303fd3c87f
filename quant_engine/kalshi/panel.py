"""The event panel: one row per event and horizon, from what was known at that decision.

In one sentence: looks at decisions before the schedule become distributions, the distributions and
the trades known by then become features, and outcomes stay in another frame until a model is fitted
or scored.

Contract: ``max_input_avail_us <= asof_us < scheduled_us`` in every row, or the panel is not made.
The columns are a closed list, so that a result, a lifetime volume or a final close has no place to
stand. `event_panel` is a pure function of frames; `read_inputs` takes them from the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.core.errors import (
    ConfigError,
    LookAheadError,
    SchemaMismatchError,
    did_you_mean,
)
from quant_engine.core.executor import Executor, SerialExecutor, SharedArrays
from quant_engine.core.hashing import sha256_json
from quant_engine.core.progress import SILENT, Progress
from quant_engine.kalshi.decisions import (
    MEASURES,
    NAN,
    Decision,
    LadderState,
    Prints,
    StateFitter,
    Ticks,
    last_probabilities,
    raw_probabilities,
)
from quant_engine.kalshi.distribution import DistributionConfig, LadderDistribution
from quant_engine.kalshi.events import LadderLook, LookConfig
from quant_engine.kalshi.exchange.fixed import ONE_DOLLAR_E4
from quant_engine.kalshi.features import EventFeatureSet, compute_features, load_features
from quant_engine.kalshi.history import history_features
from quant_engine.kalshi.lattice import SettlementGrid
from quant_engine.kalshi.quotes import NO_QUOTE

__all__ = [
    "IDENTITY",
    "LEG_COLUMNS",
    "OUTCOME_COLUMNS",
    "SERIES_COLUMNS",
    "SUMMARY",
    "TICK_COLUMNS",
    "TRADE_COLUMNS",
    "EventPanel",
    "PanelConfig",
    "PanelInputs",
    "event_panel",
]

IDENTITY: dict[str, str] = {
    "event_ticker": "string", "family": "string", "cluster": "string", "release_id": "Int64",
    "cluster_id": "Int64", "series_id": "Int64", "asof_us": "int64", "scheduled_us": "int64",
    "max_input_avail_us": "int64",
}  # fmt: skip
"""Columns that say what a row is about, with their types."""

_MEASURED = (
    "mean", "mean_sd", "sd", "sd_sd", "skew", "bowley_skew", "q05", "q25", "q50", "q75", "q95",
    "mode", "entropy_nats", "entropy_share", "p_below_lowest", "p_above_highest", "post_sd_mean",
    "outside_band", "quality", "quality_spread", "quality_freshness", "quality_coverage",
    "quality_coherence", "quality_depth", "quality_listed", "sum_of_middles", "sum_of_lasts",
    "raw_favourite", "raw_entropy_share",
)  # fmt: skip
SUMMARY: dict[str, str] = dict.fromkeys(_MEASURED, "float64") | {
    "n_legs": "int64", "n_usable": "int64", "n_stale": "int64", "has_distribution": "bool",
    "is_moment_truncated": "bool", "gates": "string",
}  # fmt: skip
"""Columns that describe the distribution and the raw market, with their types."""

LEG_COLUMNS: dict[str, str] = {
    "strike_type": "string", "floor_strike": "float64", "cap_strike": "float64", "bid": "float64",
    "ask": "float64", "last": "float64", "bid_size": "float64", "ask_size": "float64",
    "age_s": "float64", "absent": "string", "raw_probability": "float64",
    "last_probability": "float64", "probability": "float64",
}  # fmt: skip
"""Columns of legs: prices in dollars (NaN where nobody quotes), sizes in contracts."""

TRADE_COLUMNS = (
    "event_id", "ticker", "event_us", "avail_us", "yes_price_e4", "count_c2", "taker_outcome",
    "is_block",
)  # fmt: skip
TICK_COLUMNS = ("event_id", "ticker", "event_us", "avail_us", "volume_c2", "oi_c2")
OUTCOME_COLUMNS = ("release_id", "value", "unit", "publish_us", "avail_us")
SERIES_COLUMNS = ("event_id", "series_id", "avail_us")


@dataclass(frozen=True, eq=False)
class PanelConfig:
    """How a panel is made.

    Parameters
    ----------
    horizons_s : tuple of int
        Decisions, seconds before the schedule, positive.
    grids : mapping of str to SettlementGrid
        Family of releases to the values that they can take; ``""`` stands for an unknown family.
    features : EventFeatureSet
        Declared features; the shipped set where left out.
    look : LookConfig
        Where quotes come from and when they are stale.
    distribution : DistributionConfig
        Settings of the fit.
    stale_after_s : float, optional
        Age beyond which a leg counts as stale in the quality; by horizon and family where None.

    Raises
    ------
    ConfigError
        No horizon, one that is not positive or occurs twice, or no grid.
    """

    horizons_s: tuple[int, ...]
    grids: Mapping[str, SettlementGrid]
    features: EventFeatureSet = field(default_factory=load_features)
    look: LookConfig = field(default_factory=LookConfig)
    distribution: DistributionConfig = field(default_factory=DistributionConfig)
    stale_after_s: float | None = None

    def __post_init__(self) -> None:
        horizons = self.horizons_s
        unique = len(set(horizons)) == len(horizons)
        if not horizons or min(horizons) <= 0 or not unique or not self.grids:
            raise ConfigError(
                "horizons_s, grids",
                wanted="different positive seconds, and at least one settlement grid",
                got=f"{horizons}, {len(self.grids)} grids",
                hint="Use (86400, 3600) and a grid per family.",
            )
        object.__setattr__(self, "grids", MappingProxyType(dict(self.grids)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process, which a read-only view cannot."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return type(self), tuple((values | {"grids": dict(self.grids)}).values())

    @property
    def looks_s(self) -> tuple[int, ...]:
        """Horizons of every look that is read: decisions and the steps back from them."""
        steps = (0, *self.features.steps_s)
        return tuple(sorted({horizon + step for horizon in self.horizons_s for step in steps}))

    def grid_of(self, family: str | None) -> SettlementGrid:
        """Settlement grid of a family; one that is not named is refused."""
        name = family or ""
        if name not in self.grids:
            raise ConfigError(
                "grids",
                wanted=f"a settlement grid for family {name!r}",
                got=sorted(self.grids),
                hint=did_you_mean(name, self.grids),
            )
        return self.grids[name]


@dataclass(frozen=True, eq=False)
class PanelInputs:
    """Frames that a panel is made of; they may reach beyond a decision, which reads up to itself.

    Parameters
    ----------
    looks : sequence of LadderLook
        At :attr:`PanelConfig.looks_s` before the schedules.
    trades, ticks, outcomes, series : pandas.DataFrame
        Columns :data:`TRADE_COLUMNS`, :data:`TICK_COLUMNS`, :data:`OUTCOME_COLUMNS` (first prints,
        one per release) and :data:`SERIES_COLUMNS`.

    Raises
    ------
    SchemaMismatchError
        Missing columns, or two first prints of one release.
    """

    looks: Sequence[LadderLook]
    trades: pd.DataFrame
    ticks: pd.DataFrame
    outcomes: pd.DataFrame
    series: pd.DataFrame

    def __post_init__(self) -> None:
        for name, wanted in (
            ("trades", TRADE_COLUMNS), ("ticks", TICK_COLUMNS), ("outcomes", OUTCOME_COLUMNS),
            ("series", SERIES_COLUMNS),
        ):  # fmt: skip
            missing = sorted(set(wanted) - set(getattr(self, name).columns))
            if missing:
                raise SchemaMismatchError(
                    name, wanted=f"columns {wanted}", got=f"without {missing}", hint="Add them."
                )
        twice = self.outcomes["release_id"].duplicated()
        if twice.any():
            raise SchemaMismatchError(
                "outcomes",
                wanted="one first print per release",
                got=f"{int(twice.sum())} more",
                hint="Keep revisions out: they are other facts.",
            )


@dataclass(frozen=True, eq=False)
class EventPanel:
    """Rows of decisions.

    Parameters
    ----------
    looks : pandas.DataFrame
        Index ``event_id``, ``horizon_s``; columns :data:`IDENTITY`, :data:`SUMMARY` and one per
        feature, in this order. Events and horizons ascend.
    legs : pandas.DataFrame
        Index ``event_id``, ``horizon_s``, ``ticker``; columns :data:`LEG_COLUMNS`.
    distributions : mapping of (int, int) to LadderDistribution
        Event and horizon to the distribution.
    features : EventFeatureSet
        What the feature columns are.

    Raises
    ------
    SchemaMismatchError
        Other columns than these: an outcome in a panel is a leak.
    LookAheadError
        A row with an input from after its decision, or a decision at or after its schedule.
    """

    looks: pd.DataFrame
    legs: pd.DataFrame
    distributions: Mapping[tuple[int, int], LadderDistribution]
    features: EventFeatureSet

    def __post_init__(self) -> None:
        wanted = [*IDENTITY, *SUMMARY, *self.features.names]
        if list(self.looks.columns) != wanted or list(self.legs.columns) != list(LEG_COLUMNS):
            strange = sorted(
                (set(self.looks.columns) - set(wanted)) | (set(self.legs.columns) - {*LEG_COLUMNS})
            )
            raise SchemaMismatchError(
                "looks, legs",
                wanted="the columns of a panel and nothing else",
                got=f"besides them {strange}",
                hint="Outcomes belong into the label frame.",
            )
        late = self.looks["max_input_avail_us"] > self.looks["asof_us"]
        over = self.looks["asof_us"] >= self.looks["scheduled_us"]
        if late.any() or over.any():
            raise LookAheadError(
                "looks",
                wanted="max_input_avail_us <= asof_us < scheduled_us",
                got=f"{int(late.sum())} rows with later inputs, {int(over.sum())} decided too late",
                hint=f"First: {self.looks.index[(late | over).to_numpy()][0]}.",
            )

    @property
    def values(self) -> pd.DataFrame:
        """Feature columns alone, float64; NaN = missing."""
        return self.looks[list(self.features.names)]

    def content_hash(self) -> str:
        """Hash of all looks and legs, equal for equal panels."""
        frames = {
            "looks": self.looks.reset_index().to_csv(index=False, float_format="%.17g"),
            "legs": self.legs.reset_index().to_csv(index=False, float_format="%.17g"),
        }
        return sha256_json({"features": self.features.config_id()} | frames)


def event_panel(
    inputs: PanelInputs,
    config: PanelConfig,
    *,
    progress: Progress = SILENT,
    executor: Executor | None = None,
) -> EventPanel:
    """Make the panel of all events and horizons that have a look.

    Parameters
    ----------
    inputs : PanelInputs
        What is known, at whatever time.
    config : PanelConfig
        How.
    progress : Progress
        Told about every batch of events.
    executor : Executor, optional
        Where events are fitted; serial by default. Panels are the same bits on each.

    Returns
    -------
    EventPanel
        Without a row where the event was not listed yet. A ladder without a distribution has a row
        with its gates and NaN.

    Raises
    ------
    ConfigError
        A family without a settlement grid.
    LookAheadError
        An input from after its decision.
    """
    records = _records(inputs)
    batches = [
        _Batch(config, tuple(records[k : k + EVENTS_PER_BATCH]))
        for k in range(0, len(records), EVENTS_PER_BATCH)
    ]
    sizes = iter([len(batch.events) for batch in batches])
    with progress.stage("event panel", len(records)) as stage:
        made = (executor or SerialExecutor()).map(
            _fit_batch, batches, on_done=lambda: stage.advance(next(sizes))
        )
    rows = [row for part in made for row in part.rows]
    legs = [leg for part in made for leg in part.legs]
    found = {key: fit for part in made for key, fit in part.distributions.items()}
    frame = _look_frame(rows, inputs, config.features)
    return EventPanel(frame, _leg_frame(legs), MappingProxyType(found), config.features)


EVENTS_PER_BATCH = 16
"""Events that one task fits: they share what ladders have in common."""


@dataclass(frozen=True, eq=False)
class _EventRecords:
    """One event: its looks by horizon, its prints and its records of quotes."""

    looks: Mapping[int, LadderLook]
    prints: Prints
    ticks: Ticks


@dataclass(frozen=True, eq=False)
class _Batch:
    config: PanelConfig
    events: tuple[_EventRecords, ...]


@dataclass(frozen=True, eq=False)
class _FittedBatch:
    rows: list[dict[str, Any]]
    legs: list[dict[str, Any]]
    distributions: dict[tuple[int, int], LadderDistribution]


def _records(inputs: PanelInputs) -> list[_EventRecords]:
    by_event: dict[int, dict[int, LadderLook]] = {}
    for look in inputs.looks:
        by_event.setdefault(look.event_id, {})[look.horizon_s] = look
    trades = dict(iter(inputs.trades.groupby("event_id", sort=False)))
    ticks = dict(iter(inputs.ticks.groupby("event_id", sort=False)))
    return [
        _EventRecords(
            by_event[event_id],
            Prints.from_frame(trades.get(event_id, inputs.trades.iloc[:0])),
            Ticks.from_frame(ticks.get(event_id, inputs.ticks.iloc[:0])),
        )
        for event_id in sorted(by_event)
    ]


def _fit_batch(shared: SharedArrays, batch: _Batch) -> _FittedBatch:
    del shared
    config = batch.config
    fitter = StateFitter(config.distribution, config.stale_after_s)
    made = _FittedBatch([], [], {})
    for event in batch.events:
        for horizon_s in sorted(set(event.looks) & set(config.horizons_s)):
            decision = _decision(event, horizon_s, config, fitter)
            now = decision.now
            made.rows.append(_look_row(decision, config.features))
            made.legs.extend(_leg_rows(now))
            made.distributions[now.look.event_id, horizon_s] = now.distribution
        fitter.forget()
    return made


def _decision(
    event: _EventRecords, horizon_s: int, config: PanelConfig, fitter: StateFitter
) -> Decision:
    look = event.looks[horizon_s]
    grid = config.grid_of(look.family)
    now = fitter.fit(look, grid)
    before: dict[int, LadderState] = {}
    lattice = None if now.quotes is None else fitter.lattice_of(look, grid)
    for step in config.features.steps_s:
        earlier = event.looks.get(horizon_s + step)
        if earlier is not None and lattice is not None:
            before[step] = fitter.fit(earlier, grid, lattice=lattice)
    return Decision(
        now=now,
        before=before,
        prints=event.prints.known(look.asof_us),
        ticks=event.ticks.known(look.asof_us),
    )


def _look_row(decision: Decision, features: EventFeatureSet) -> dict[str, Any]:
    look, distribution = decision.now.look, decision.now.distribution
    identity = {name: getattr(look, name) for name in ("event_id", "horizon_s")}
    identity |= {name: getattr(look, name) for name in IDENTITY if hasattr(look, name)}
    measured = {name: MEASURES[name](decision.now) for name in _MEASURED}
    counted = {
        "n_legs": len(look.contracts) + len(look.without_strikes),
        "n_usable": distribution.n_usable,
        "n_stale": distribution.n_stale,
        "has_distribution": distribution.is_available,
        "is_moment_truncated": distribution.is_moment_truncated,
        "gates": ";".join(gate.code for gate in distribution.gates),
    }
    newest = {"max_input_avail_us": decision.max_input_avail_us}
    return identity | measured | counted | newest | compute_features(decision, features)


def _look_frame(
    rows: list[dict[str, Any]], inputs: PanelInputs, features: EventFeatureSet
) -> pd.DataFrame:
    types = IDENTITY | SUMMARY | dict.fromkeys(features.names, "float64")
    columns = ["event_id", "horizon_s", *types]
    frame = pd.DataFrame(rows, columns=columns).astype(
        {"event_id": "int64", "horizon_s": "int64"}
        | {name: kind for name, kind in types.items() if name != "series_id"}
    )
    # A series that was named only after the decision is not known at it.
    known = inputs.series.drop_duplicates("event_id").set_index("event_id")
    frame["series_id"] = frame["event_id"].map(known["series_id"]).astype("Int64")
    named_us = frame["event_id"].map(known["avail_us"]).astype("Int64")
    is_known = (named_us <= frame["asof_us"]).fillna(value=False).to_numpy(np.bool_)
    frame["series_id"] = frame["series_id"].where(is_known)
    past, past_us = history_features(frame, inputs.outcomes, features.features)
    for name in past.columns:
        frame[name] = past[name]
    newest = [frame["max_input_avail_us"], past_us, named_us.where(is_known, 0)]
    frame["max_input_avail_us"] = np.maximum.reduce([part.to_numpy(np.int64) for part in newest])
    # A copy: columns that were put in one by one lie in pieces.
    return frame.set_index(["event_id", "horizon_s"]).sort_index()[list(types)].copy()


def _price(price_e4: int | None) -> float:
    return NAN if price_e4 is None or price_e4 == NO_QUOTE else price_e4 / ONE_DOLLAR_E4


def _leg_rows(state: LadderState) -> list[dict[str, Any]]:
    look, quotes = state.look, state.quotes
    fitted: dict[str, tuple[float, float, float]] = {}
    if quotes is not None:
        columns = (
            raw_probabilities(quotes), last_probabilities(quotes, look),
            state.distribution.leg_probability,
        )  # fmt: skip
        values = zip(*(column.tolist() for column in columns), strict=True)
        fitted = dict(zip(quotes.structure.tickers, values, strict=True))
    rows = []
    for contract, quote, last in zip(look.contracts, look.quotes, look.last_e4, strict=True):
        raw, last_probability, probability = fitted.get(contract.ticker, (NAN, NAN, NAN))
        rows.append({
            "event_id": look.event_id, "horizon_s": look.horizon_s, "ticker": contract.ticker,
            "strike_type": contract.strike_type, "floor_strike": contract.floor_strike,
            "cap_strike": contract.cap_strike, "bid": _price(quote.bid_e4),
            "ask": _price(quote.ask_e4), "last": _price(last), "bid_size": quote.bid_size_c2 / 100,
            "ask_size": quote.ask_size_c2 / 100, "age_s": quote.age_s,
            "absent": look.absent.get(contract.ticker), "raw_probability": raw,
            "last_probability": last_probability, "probability": probability,
        })  # fmt: skip
    return rows


def _leg_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    keys = {"event_id": "int64", "horizon_s": "int64", "ticker": "string"}
    frame = pd.DataFrame(rows, columns=[*keys, *LEG_COLUMNS]).astype(keys | LEG_COLUMNS)
    return frame.set_index(list(keys)).sort_index()
