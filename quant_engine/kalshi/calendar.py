"""The calendar of a synchronised store: releases, clusters and outcomes from its records.

The exchange says when an event is decided (its strike date), not which release that is. Every event
with a strike date therefore gets a release of its own, of the family of its series; events of one
series that are decided at one moment share a cluster. Nothing becomes known earlier than the event
itself: the rows carry the availability of the first record that named the strike date.

An outcome is the number by which the exchange settled, known from the settlement on. A result
without a number has no outcome, and its event no label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pandas as pd

from quant_engine.kalshi.events import Release, map_events, put_outcomes, put_releases
from quant_engine.kalshi.store.database import KalshiStore

__all__ = ["calendar_table", "derive_calendar", "settlement_steps"]

MOST_DECIMALS = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_EVENTS = """
    SELECT e.event_ticker, s.name AS series, e.strike_us, e.recorded_us, e.avail_us, e.avail_basis
    FROM event_v e JOIN dimension s ON s.kind = 'series' AND s.id = e.series_id
    WHERE e.strike_us IS NOT NULL AND e.event_ticker IS NOT NULL
      AND e.event_id NOT IN (SELECT event_id FROM event_map)
    QUALIFY row_number() OVER (PARTITION BY e.event_id ORDER BY e.avail_us, e.kid) = 1
    ORDER BY e.avail_us, e.event_ticker"""

_OUTCOMES = """
    SELECT x.release_name, min(r.expiration_value) AS value, max(r.settled_us) AS publish_us,
      min(r.recorded_us) AS recorded_us
    FROM market_result r
    JOIN (SELECT market_id, arg_min(event_id, (avail_us, kid)) AS event_id FROM market_v
          WHERE event_id IS NOT NULL GROUP BY market_id) m USING (market_id)
    JOIN (SELECT event_id, arg_min(release_id, (avail_us, kid)) AS release_id
          FROM event_map GROUP BY event_id) p USING (event_id)
    JOIN (SELECT release_id, min(release_name) AS release_name FROM release
          GROUP BY release_id) x USING (release_id)
    WHERE r.expiration_value IS NOT NULL AND r.settled_us IS NOT NULL
      AND x.release_id NOT IN (SELECT release_id FROM outcome)
    GROUP BY x.release_name HAVING count(DISTINCT r.expiration_value) = 1
    ORDER BY recorded_us, x.release_name"""

_CALENDAR = """
    SELECT e.event_id, e.event_ticker, coalesce(s.name, '') AS series,
      coalesce(x.family, '') AS family, coalesce(x.release_name, '') AS release,
      coalesce(p.cluster, '') AS cluster, least(e.strike_us, x.scheduled_us) AS scheduled_us,
      o.value, o.publish_us, coalesce(n.n_markets, 0) AS n_markets
    FROM (SELECT event_id, arg_min(event_ticker, (avail_us, kid)) AS event_ticker,
            arg_min(series_id, (avail_us, kid)) AS series_id,
            arg_min(strike_us, (avail_us, kid)) AS strike_us
          FROM event_v GROUP BY event_id) e
    LEFT JOIN dimension s ON s.kind = 'series' AND s.id = e.series_id
    LEFT JOIN (SELECT event_id, arg_min(release_id, (avail_us, kid)) AS release_id,
                 arg_min(cluster, (avail_us, kid)) AS cluster
               FROM event_map GROUP BY event_id) p USING (event_id)
    LEFT JOIN (SELECT release_id, arg_min(family, (avail_us, kid)) AS family,
                 min(release_name) AS release_name,
                 arg_min(scheduled_us, (avail_us, kid)) AS scheduled_us
               FROM release GROUP BY release_id) x USING (release_id)
    LEFT JOIN (SELECT release_id, arg_min(value, (avail_us, vintage, kid)) AS value,
                 min(publish_us) AS publish_us
               FROM outcome WHERE print_kind = 'first_print' AND avail_us <= $last
               GROUP BY release_id) o USING (release_id)
    LEFT JOIN (SELECT event_id, count(DISTINCT market_id) AS n_markets FROM market_v
               WHERE event_id IS NOT NULL GROUP BY event_id) n USING (event_id)
    WHERE e.event_ticker IS NOT NULL ORDER BY scheduled_us NULLS LAST, e.event_id"""

_STRIKES = """
    SELECT coalesce(x.family, '') AS family, m.floor_strike, m.cap_strike
    FROM market_v m LEFT JOIN event_map p USING (event_id) LEFT JOIN release x USING (release_id)
    WHERE m.floor_strike IS NOT NULL OR m.cap_strike IS NOT NULL"""


def derive_calendar(
    store: KalshiStore, *, families: Mapping[str, str], src: str = "exchange"
) -> Counter[str]:
    """Store releases, clusters and outcomes of every event that has none yet.

    Parameters
    ----------
    store : KalshiStore
        Synchronised store.
    families : mapping of str to str
        Series to its family; a series that is not named is a family of its own, in lower case.
    src : str
        Name in the ``src`` column.

    Returns
    -------
    Counter
        New rows by table; nothing where the store is up to date.
    """
    written = Counter[str]()
    with store.transaction():
        events = _rows(store.connection, _EVENTS)
        if events:
            facts = [
                {name: row[name] for name in ("recorded_us", "avail_us", "avail_basis")}
                | {"src": src}
                for row in events
            ]
            releases = [_release_of(row, families) for row in events]
            due = [int(row["strike_us"]) for row in events]
            written += put_releases(store, releases, due, facts=facts)
            places = {
                row["event_ticker"]: (release.name, f"{row['series']} {_stamp(row['strike_us'])}")
                for row, release in zip(events, releases, strict=True)
            }
            written += map_events(store, places, facts=facts)
        by_fetch: dict[int, list[dict[str, object]]] = {}
        for row in _rows(store.connection, _OUTCOMES):
            printed = {
                "release": row["release_name"], "value": row["value"], "unit": "settlement unit",
                "publish_us": row["publish_us"],
            }  # fmt: skip
            by_fetch.setdefault(int(row["recorded_us"]), []).append(printed)
        for recorded_us, printed_then in by_fetch.items():
            written += put_outcomes(store, printed_then, recorded_us=recorded_us, src=src)
    return written


def _stamp(us: int) -> str:
    return (_EPOCH + timedelta(microseconds=us)).isoformat().replace("+00:00", "Z")


def calendar_table(
    connection: duckdb.DuckDBPyConnection, *, until_us: int | None = None
) -> pd.DataFrame:
    """Every event with its release, cluster and outcome, in the order of the schedule.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.
    until_us : int, optional
        Outcomes that were known by then, microseconds UTC; all where None.

    Returns
    -------
    DataFrame
        ``event_id, event_ticker, series, family, release, cluster, scheduled_us, value,
        publish_us, n_markets``; NaN and NA where something is not known.
    """
    last_us = (1 << 62) if until_us is None else until_us
    table = connection.execute(_CALENDAR, {"last": last_us}).df()
    return table.astype({"scheduled_us": "Int64", "publish_us": "Int64", "value": "float64"})


def settlement_steps(connection: duckdb.DuckDBPyConnection) -> dict[str, float]:
    """Reporting precision of every family, as far as its strikes show it.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.

    Returns
    -------
    dict of str to float
        Family (``""`` = unknown) to the coarsest power of ten, at most 1, on which all its strikes
        lie. That is an assumption: the exchange does not publish the precision, and a source may
        report more decimals than its strikes have.

    Examples
    --------
    >>> from pathlib import Path
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with KalshiStore(Path(folder) / "k.duckdb", run_id="demo") as store:
    ...         settlement_steps(store.connection)
    {'': 1.0}
    """
    named = _rows(connection, "SELECT DISTINCT family FROM release WHERE family IS NOT NULL")
    strikes: dict[str, set[float]] = {"": set(), **{row["family"]: set() for row in named}}
    for row in _rows(connection, _STRIKES):
        known = [row[name] for name in ("floor_strike", "cap_strike") if row[name] is not None]
        strikes.setdefault(row["family"], set()).update(known)
    return {family: _step(values) for family, values in sorted(strikes.items())}


def _step(strikes: set[float]) -> float:
    for decimals in range(MOST_DECIMALS):
        if all(abs(round(value, decimals) - value) < 1e-9 for value in strikes):
            return float(f"1e-{decimals}")
    return float(f"1e-{MOST_DECIMALS}")


def _release_of(row: Mapping[str, Any], families: Mapping[str, str]) -> Release:
    ticker, series = str(row["event_ticker"]), str(row["series"])
    family = families.get(series, series.lower())
    return Release(ticker, family, ticker.partition("-")[2], tz="UTC")


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    return list(connection.sql(sql).to_arrow_table().to_pylist())
