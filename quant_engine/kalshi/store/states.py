"""What was known of every entity of a versioned table, kept in memory between writes.

Most records of a poll say what the last one said. They are told apart here, at the time of the
record and not only by the newest state, so that the database is given only what is new.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from quant_engine.core.hashing import sha256_text
from quant_engine.kalshi.store.tables import Table

__all__ = ["KnownStates"]

Values = tuple[Any, ...]


@dataclass
class _History:
    """Records of one entity by their availability, and what all of them say together."""

    avail_us: list[int]
    said: list[Values]
    newest: Values

    def known(self, avail_us: int) -> tuple[int, Values | None]:
        """Place of a record that became available now, and what was known before it."""
        place = bisect_right(self.avail_us, avail_us)
        if place == len(self.said):
            return place, self.newest
        return place, _together(self.said[:place]) if place else None

    def put(self, place: int, avail_us: int, said: Values) -> None:
        """Add a record; one that is learned late takes nothing from those after it."""
        is_newest = place == len(self.said)
        self.avail_us.insert(place, avail_us)
        self.said.insert(place, said)
        self.newest = _said_over(self.newest, said) if is_newest else _together(self.said)


class KnownStates:
    """What was known of every entity of one table, at every moment.

    Parameters
    ----------
    spec : Table
        A versioned table.
    histories : dict
        Entity to its records.

    Examples
    --------
    >>> from quant_engine.kalshi.store.batches import arrow_batch
    >>> from quant_engine.kalshi.store.tables import table_named
    >>> spec = table_named("event_map")
    >>> row = {"event_id": [1, 1], "cluster": ["a", "a"], "avail_us": [5, 9], "recorded_us": 9,
    ...        "avail_basis": "recorded", "src": "x", "row_hash": ""}
    >>> KnownStates(spec, {}).changes(arrow_batch(spec, row, first_kid=0)).num_rows
    1
    """

    def __init__(self, spec: Table, histories: dict[Values, _History]) -> None:
        self._spec = spec
        self._histories = histories

    @classmethod
    def load(cls, connection: duckdb.DuckDBPyConnection, spec: Table) -> KnownStates:
        """Read the records that a database holds.

        Parameters
        ----------
        connection : duckdb.DuckDBPyConnection
            Store.
        spec : Table
            A versioned table.

        Returns
        -------
        KnownStates
        """
        made = cls(spec, {})
        names = ", ".join((*spec.key, "avail_us", *spec.own))
        rows = connection.execute(
            f"SELECT {names} FROM {spec.name} ORDER BY avail_us, kid"
        ).fetchall()
        n_keys = len(spec.key)
        for row in rows:
            made._put(row[:n_keys], row[n_keys], row[n_keys + 1 :])
        return made

    def changes(self, batch: pa.Table) -> pa.Table:
        """Records that change what was known when they became available; they are remembered.

        Parameters
        ----------
        batch : pyarrow.Table
            Records in any order; an undone transaction makes this object worthless.

        Returns
        -------
        pyarrow.Table
            They in their order, with ``row_hash`` of everything that is known with them. What they
            do not say stays NULL: were carried values stored, one that is learned later about a
            time between would be hidden behind them.
        """
        keys = list(zip(*(batch[name].to_pylist() for name in self._spec.key), strict=True))
        said = list(zip(*(batch[name].to_pylist() for name in self._spec.own), strict=True))
        avail = batch["avail_us"].to_pylist()
        hashes: dict[int, str] = {}
        # Oldest first: each sees what the ones before it left.
        for place in sorted(range(len(keys)), key=avail.__getitem__):
            merged = self._put(keys[place], avail[place], said[place])
            if merged is not None:
                hashes[place] = _hash(merged)
        kept = sorted(hashes)
        at = batch.schema.get_field_index("row_hash")
        column = pa.array([hashes[place] for place in kept], pa.string())
        return batch.take(pa.array(kept, pa.int64())).set_column(at, "row_hash", column)

    def _put(self, key: Values, avail_us: int, said: Values) -> Values | None:
        """Remember a record; what is known with it, or None where it changes nothing."""
        if key not in self._histories:
            self._histories[key] = _History([avail_us], [said], said)
            return said
        history = self._histories[key]
        place, known = history.known(avail_us)
        merged = said if known is None else _said_over(known, said)
        if known is not None and merged == known:
            return None
        history.put(place, avail_us, said)
        return merged


def _said_over(known: Values, said: Values) -> Values:
    return tuple(old if new is None else new for new, old in zip(said, known, strict=True))


def _together(records: list[Values]) -> Values:
    merged = records[0]
    for said in records[1:]:
        merged = _said_over(merged, said)
    return merged


def _hash(values: Values) -> str:
    return sha256_text("|".join("\\N" if v is None else str(v) for v in values))[:32]
