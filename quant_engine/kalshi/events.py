"""Events on a calendar: releases, outcomes, clusters, and ladders as they stood at a decision.

* A *release* is the moment at which a number comes out; its schedule is known before, the number
  after. A first print and its revisions are different facts and never stand for each other.
* A *cluster* is one occurrence of the real world. Events that the same occurrence decides belong to
  one cluster: they are one observation, however many markets there are.
* A *look* is a ladder at a decision time: the legs that were listed and the quotes that were known
  by then, with ``max_input_avail_us``, which is never after the decision.

Decision times count back from what was scheduled, the strike date or the release, whichever comes
first. The final close of a market is never asked: it tells whether the question resolved early.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quant_engine.core.errors import ConfigError, DataError, LookAheadError
from quant_engine.kalshi.distribution import DistributionConfig, LadderDistribution, reconstruct
from quant_engine.kalshi.lattice import SettlementGrid
from quant_engine.kalshi.payoffs import BOUNDED_TYPES, Contract
from quant_engine.kalshi.quotes import NO_QUOTE, LegQuote
from quant_engine.kalshi.store.asof import QUOTE_SOURCES, quotes_asof, versions_on_grid
from quant_engine.kalshi.store.database import KalshiStore

__all__ = [
    "PRINT_KINDS",
    "LadderLook",
    "LookConfig",
    "Release",
    "ladder_at",
    "ladder_panel",
    "map_events",
    "outcomes_asof",
    "put_outcomes",
    "put_releases",
    "reconstruct_look",
]

PRINT_KINDS = ("first_print", "revised")
"""A number as it first came out, and as it was changed later."""
_HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Release:
    """One number that comes out once.

    Parameters
    ----------
    name : str
        Key.
    family : str
        What is released, such as ``cpi``.
    reference_period : str
        What it speaks about, such as ``2026-04``.
    tz : str
        Time zone of its schedule.
    """

    name: str
    family: str
    reference_period: str
    tz: str = "America/New_York"


def put_releases(
    store: KalshiStore,
    releases: Sequence[Release],
    scheduled_us: Sequence[int | None],
    *,
    facts: Sequence[Mapping[str, object]],
    actual_us: Sequence[int | None] | None = None,
) -> Counter[str]:
    """Store the calendar, or a change of it.

    Parameters
    ----------
    store : KalshiStore
        Where.
    releases : sequence of Release
        What comes out.
    scheduled_us : sequence of int or None
        When it is due, microseconds UTC.
    facts : sequence of mapping
        Per release: ``recorded_us``, ``avail_us``, ``avail_basis`` and ``src``.
    actual_us : sequence of int or None, optional
        When it came out.

    Returns
    -------
    Counter
        New rows by table.
    """
    columns: dict[str, object] = {
        "release_id": store.ids("release", [r.name for r in releases]),
        "release_name": [r.name for r in releases],
        "family": [r.family for r in releases],
        "reference_period": [r.reference_period for r in releases],
        "tz": [r.tz for r in releases],
        "scheduled_us": list(scheduled_us),
        "actual_us": list(actual_us) if actual_us is not None else None,
    } | _facts(facts)
    return Counter({"release": store.record_versions("release", columns)})


def map_events(
    store: KalshiStore,
    places: Mapping[str, tuple[str, str]],
    *,
    facts: Sequence[Mapping[str, object]],
) -> Counter[str]:
    """Say which release and which cluster events belong to.

    Parameters
    ----------
    store : KalshiStore
        Where.
    places : mapping of str to (str, str)
        Event ticker to the name of its release and of its cluster.
    facts : sequence of mapping
        Per event: ``recorded_us``, ``avail_us``, ``avail_basis`` and ``src``.

    Returns
    -------
    Counter
        New rows by table.
    """
    clusters = [cluster for _, cluster in places.values()]
    columns: dict[str, object] = {
        "event_id": store.ids("event", list(places)),
        "release_id": store.ids("release", [release for release, _ in places.values()]),
        "cluster_id": store.ids("cluster", clusters),
        "cluster": clusters,
    } | _facts(facts)
    return Counter({"event_map": store.record_versions("event_map", columns)})


def _facts(facts: Sequence[Mapping[str, object]]) -> dict[str, object]:
    return {
        name: [fact[name] for fact in facts]
        for name in ("recorded_us", "avail_us", "avail_basis", "src")
    }


def put_outcomes(
    store: KalshiStore,
    printed: Sequence[Mapping[str, object]],
    *,
    recorded_us: int,
    src: str,
) -> Counter[str]:
    """Store numbers that came out.

    Parameters
    ----------
    store : KalshiStore
        Where.
    printed : sequence of mapping
        Each with ``release`` (name), ``value``, ``unit``, ``publish_us``, and for anything but a
        first print ``print_kind`` and ``vintage``, counted from 1.
    recorded_us : int
        When they were written down.
    src : str
        Source.

    Returns
    -------
    Counter
        New rows by table.

    Raises
    ------
    DataError
        When a number of this kind and vintage is stored with another value: what was printed first
        does not change, a revision is another fact.
    """
    kinds = [str(p.get("print_kind", "first_print")) for p in printed]
    unknown = set(kinds) - set(PRINT_KINDS)
    if unknown:
        raise DataError(
            "print_kind", wanted=f"one of {PRINT_KINDS}", got=sorted(unknown), hint="Choose one."
        )
    releases = store.ids("release", [str(p["release"]) for p in printed])
    vintages = [p.get("vintage", 0) for p in printed]
    stored = store.connection.execute(
        "SELECT release_id, print_kind, vintage, value FROM outcome"
    ).fetchall()
    known = {tuple(row[:3]): row[3] for row in stored}
    for key, p in zip(zip(releases, kinds, vintages, strict=True), printed, strict=True):
        if known.get(key, p["value"]) != p["value"]:
            raise DataError(
                f"{p['release']}, {key[1]} {key[2]}",
                wanted=f"the value that is stored, {known[key]}",
                got=p["value"],
                hint="Store a later number as print_kind revised with its vintage.",
            )
    columns = {
        "release_id": releases,
        "print_kind": kinds,
        "vintage": vintages,
        "value": [p["value"] for p in printed],
        "unit": [p["unit"] for p in printed],
        "publish_us": [p["publish_us"] for p in printed],
        "avail_us": [p["publish_us"] for p in printed],
        "avail_basis": "release_calendar",
        "recorded_us": [recorded_us] * len(printed),
        "src": src,
    }
    return Counter({"outcome": store.append("outcome", columns)})


def outcomes_asof(
    connection: duckdb.DuckDBPyConnection, asof_us: int, *, print_kind: str = "first_print"
) -> pa.Table:
    """Numbers that had come out by a moment.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.
    asof_us : int
        Moment, microseconds UTC.
    print_kind : str
        One of :data:`PRINT_KINDS`; of revisions the newest vintage that was known.

    Returns
    -------
    pyarrow.Table
        ``release_id``, ``value``, ``unit``, ``publish_us``, ``avail_us``, ordered by release.
    """
    if print_kind not in PRINT_KINDS:
        raise ConfigError("print_kind", wanted=f"one of {PRINT_KINDS}", got=print_kind, hint="-")
    return connection.sql(
        "SELECT release_id, value, unit, publish_us, avail_us FROM outcome "
        "WHERE avail_us <= ? AND print_kind = ? "
        "QUALIFY row_number() OVER (PARTITION BY release_id ORDER BY vintage DESC) = 1 "
        "ORDER BY release_id",
        params=[asof_us, print_kind],
    ).to_arrow_table()


@dataclass(frozen=True)
class LookConfig:
    """How ladders are looked at.

    Parameters
    ----------
    source : str
        Where quotes come from, one of `store.asof.QUOTE_SOURCES`.
    stale_after_us : int
        Age of the last event beyond which a quote is absent.

    Raises
    ------
    ConfigError
        For an unknown source or a limit that is not positive.
    """

    source: str = "quote"
    stale_after_us: int = 24 * _HOUR_US

    def __post_init__(self) -> None:
        if self.source not in QUOTE_SOURCES or self.stale_after_us <= 0:
            raise ConfigError(
                "source, stale_after_us",
                wanted=f"one of {QUOTE_SOURCES} and a positive age",
                got=self,
                hint="Use the defaults.",
            )


@dataclass(frozen=True, eq=False)
class LadderLook:
    """A ladder as it was known at a decision time.

    Parameters
    ----------
    event_id : int
        Number of the event.
    event_ticker : str
        Its name.
    asof_us, horizon_s : int
        The decision, microseconds UTC, and how long before the schedule it is.
    scheduled_us : int
        Strike date or release, whichever comes first, as known when the event was listed.
    contracts : tuple of Contract
        Legs that were listed and have numeric strikes.
    quotes : tuple of LegQuote
        One per leg.
    last_e4 : tuple of int or None
        Last price per leg.
    absent : dict of str to str
        Ticker to why there is no quote.
    without_strikes : tuple of str
        Listed legs whose strikes are unknown: the ladder is not whole.
    is_exclusive : bool
        At most one leg pays.
    release_id, cluster_id : int or None
        Where the event belongs, as known then.
    cluster, family : str or None
        Their names.
    max_input_avail_us : int
        Newest availability of anything above; at most ``asof_us``.
    """

    event_id: int
    event_ticker: str
    asof_us: int
    horizon_s: int
    scheduled_us: int
    contracts: tuple[Contract, ...]
    quotes: tuple[LegQuote, ...]
    last_e4: tuple[int | None, ...]
    absent: dict[str, str]
    without_strikes: tuple[str, ...]
    is_exclusive: bool
    release_id: int | None
    cluster_id: int | None
    cluster: str | None
    family: str | None
    max_input_avail_us: int

    def __post_init__(self) -> None:
        if self.max_input_avail_us > self.asof_us:
            raise LookAheadError(
                self.event_ticker,
                wanted=f"inputs available by {self.asof_us}",
                got=self.max_input_avail_us,
                hint="A row of the store claims another availability than the query read.",
            )


def ladder_at(
    connection: duckdb.DuckDBPyConnection,
    event_id: int,
    asof_us: int,
    *,
    config: LookConfig | None = None,
) -> LadderLook | None:
    """One ladder at one moment.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.
    event_id : int
        Event.
    asof_us : int
        Decision, microseconds UTC.
    config : LookConfig, optional
        How to look.

    Returns
    -------
    LadderLook or None
        None where the event or its schedule was not known then.
    """
    grid = pa.table({"event_id": pa.array([event_id], pa.int32()), "asof_us": [asof_us]})
    looks = _looks_on(connection, grid, LookConfig() if config is None else config)
    return looks[0] if looks else None


def ladder_panel(
    connection: duckdb.DuckDBPyConnection,
    horizons_s: Sequence[int],
    *,
    config: LookConfig | None = None,
    until_us: int | None = None,
) -> list[LadderLook]:
    """Every ladder at fixed distances before its schedule.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.
    horizons_s : sequence of int
        Seconds before the schedule, positive.
    config : LookConfig, optional
        How to look.
    until_us : int, optional
        Latest decision; all where None.

    Returns
    -------
    list of LadderLook
        Ordered by decision and event. An event that was not listed yet at a horizon has no look
        there.

    Raises
    ------
    ConfigError
        When a horizon is not positive.
    """
    if not horizons_s or min(horizons_s) <= 0:
        raise ConfigError(
            "horizons_s", wanted="positive seconds", got=list(horizons_s), hint="Use 86400."
        )
    # Schedules as first known; a line exists only if that was by its own decision time.
    found = connection.sql(f"""
        WITH listed AS ({_SCHEDULES})
        SELECT event_id, scheduled_us - h * 1000000 AS asof_us
        FROM listed, (SELECT unnest({[int(h) for h in horizons_s]}::BIGINT[]) AS h)
        WHERE avail_us <= asof_us ORDER BY asof_us, event_id
    """).to_arrow_table()
    if until_us is not None:
        found = found.filter(pc.less_equal(found["asof_us"], until_us))
    return _looks_on(connection, found, LookConfig() if config is None else config)


# Strike dates and releases as they were first known. A release counts beside a strike date only if
# it was known as early, so that a schedule never changes after it began to hold.
_SCHEDULES = """
    SELECT event_id,
      CASE WHEN r.avail_us IS NULL OR r.avail_us > e.avail_us THEN e.strike_us
        ELSE least(e.strike_us, r.scheduled_us) END AS scheduled_us,
      coalesce(e.avail_us, r.avail_us) AS avail_us
    FROM (
        SELECT event_id, arg_min(strike_us, (avail_us, kid)) AS strike_us,
          min(avail_us) AS avail_us
        FROM event_v WHERE strike_us IS NOT NULL GROUP BY event_id
    ) e FULL JOIN (
        SELECT m.event_id, greatest(m.avail_us, x.avail_us) AS avail_us, x.scheduled_us FROM (
          SELECT event_id, arg_min(release_id, (avail_us, kid)) AS release_id,
            min(avail_us) AS avail_us FROM event_map GROUP BY event_id
        ) m JOIN (
          SELECT release_id, arg_min(scheduled_us, (avail_us, kid)) AS scheduled_us,
            min(avail_us) AS avail_us
          FROM release WHERE scheduled_us IS NOT NULL GROUP BY release_id
        ) x USING (release_id)
    ) r USING (event_id)"""


def _looks_on(
    connection: duckdb.DuckDBPyConnection, grid: pa.Table, config: LookConfig
) -> list[LadderLook]:
    """Looks at the lines of a grid of events and moments, in its order."""
    if not grid.num_rows:
        return []
    schedules = dict(
        connection.execute(f"SELECT event_id, scheduled_us FROM ({_SCHEDULES})").fetchall()
    )
    events = versions_on_grid(connection, "event_v", grid).to_pylist()
    maps = versions_on_grid(connection, "event_map", grid)
    families = versions_on_grid(
        connection, "release", maps.select(["release_id", "asof_us"])
    ).to_pylist()
    legs = _legs(connection, grid)
    quotes = quotes_asof(
        connection,
        pa.table(
            {
                "market_id": pa.array([leg["market_id"] for leg in legs], pa.int32()),
                "asof_us": pa.array([leg["asof_us"] for leg in legs], pa.int64()),
                "stale_after_us": np.full(len(legs), config.stale_after_us),
            }
        ),
        source=config.source,
    ).to_pylist()
    by_line: dict[int, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for leg, quote in zip(legs, quotes, strict=True):
        by_line.setdefault(leg["line"], []).append((leg, quote))
    looks = []
    for line, (event, place, release) in enumerate(
        zip(events, maps.to_pylist(), families, strict=True)
    ):
        scheduled_us = schedules.get(event["event_id"])
        if event["first_avail_us"] is not None and scheduled_us is not None:
            around = {"event": event, "place": place, "release": release}
            looks.append(_look(around, by_line.get(line, []), scheduled_us))
    return looks


def _legs(connection: duckdb.DuckDBPyConnection, grid: pa.Table) -> list[dict[str, Any]]:
    """Markets of every line's event that were listed by then, as they were known."""
    connection.register(
        "asked", grid.append_column("line", pa.array(range(grid.num_rows), pa.int64()))
    )
    try:
        pairs = connection.sql("""
            SELECT a.line, m.market_id, a.asof_us FROM asked a JOIN (
              SELECT event_id, market_id, min(avail_us) AS first_us FROM market_v
              WHERE event_id IS NOT NULL GROUP BY event_id, market_id
            ) m ON m.event_id = a.event_id AND m.first_us <= a.asof_us
            ORDER BY a.line, m.market_id
        """).to_arrow_table()
    finally:
        connection.unregister("asked")
    known = versions_on_grid(connection, "market_v", pairs).to_pylist()
    lines = pairs["line"].to_pylist()
    return [
        leg | {"line": line}
        for line, leg in zip(lines, known, strict=True)
        # Listed in the middle of an event's life: created is stricter than first seen.
        if leg["created_us"] is None or leg["created_us"] <= leg["asof_us"]
    ]


def _look(
    around: Mapping[str, Mapping[str, Any]],
    legs: Sequence[tuple[dict[str, Any], dict[str, Any]]],
    scheduled_us: int,
) -> LadderLook:
    event, place, release = around["event"], around["place"], around["release"]
    asof_us = int(event["asof_us"])
    numeric = [(leg, quote) for leg, quote in legs if leg["strike_type"] in BOUNDED_TYPES]
    inputs = [event["avail_us"], place["avail_us"], release["avail_us"]]
    inputs += [leg["avail_us"] for leg, _ in legs]
    inputs += [quote["avail_us"] for _, quote in legs]
    return LadderLook(
        event_id=event["event_id"],
        event_ticker=event["event_ticker"],
        asof_us=asof_us,
        horizon_s=(scheduled_us - asof_us) // 1_000_000,
        scheduled_us=scheduled_us,
        contracts=tuple(
            Contract(
                leg["ticker"], leg["strike_type"], leg["floor_strike"], leg["cap_strike"],
                leg["strike_basis"],
            )
            for leg, _ in numeric
        ),
        quotes=tuple(_leg_quote(leg, quote, asof_us) for leg, quote in numeric),
        last_e4=tuple(quote["last_e4"] for _, quote in numeric),
        absent={leg["ticker"]: quote["absent"] for leg, quote in numeric if quote["absent"]},
        without_strikes=tuple(
            leg["ticker"] for leg, _ in legs if leg["strike_type"] not in BOUNDED_TYPES
        ),
        is_exclusive=bool(event["mutually_exclusive"]),
        release_id=place["release_id"],
        cluster_id=place["cluster_id"],
        cluster=place["cluster"],
        family=release["family"],
        max_input_avail_us=max(int(us) for us in inputs if us is not None),
    )  # fmt: skip


def _leg_quote(leg: Mapping[str, Any], quote: Mapping[str, Any], asof_us: int) -> LegQuote:
    ended = leg["close_us"] is not None and asof_us >= leg["close_us"]
    bid, ask = (None, None) if ended else (quote["bid_e4"], quote["ask_e4"])
    event_us = quote["event_us"] or 0
    return LegQuote(
        leg["ticker"],
        bid_e4=NO_QUOTE if bid is None else bid,
        ask_e4=NO_QUOTE if ask is None else ask,
        bid_size_c2=quote["bid_sz_c2"] or 0,
        ask_size_c2=quote["ask_sz_c2"] or 0,
        age_s=max(0.0, (asof_us - event_us) / 1e6),
        event_us=event_us,
        is_paused=ended or leg["status"] in ("inactive", "closed"),
        has_gap=quote["absent"] == "gap",
    )


def reconstruct_look(
    look: LadderLook, grid: SettlementGrid, *, config: DistributionConfig | None = None
) -> LadderDistribution:
    """Distribution of the settlement value that a look implies.

    Parameters
    ----------
    look : LadderLook
        Ladder.
    grid : SettlementGrid
        Values that a settlement can take.
    config : DistributionConfig, optional
        Settings.

    Returns
    -------
    LadderDistribution
        With its gates where there is none; a ladder with legs whose strikes are unknown fails them
        because it is not whole.
    """
    unknown = [Contract(ticker, "custom") for ticker in look.without_strikes]
    return reconstruct(
        [*look.contracts, *unknown],
        look.quotes,
        grid,
        is_exclusive=look.is_exclusive,
        config=config,
    )
