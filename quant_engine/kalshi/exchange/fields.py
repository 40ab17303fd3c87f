"""The lenient reader of records: tables of fields, every surprise counted in a DriftLog.

A table names, per field of a record, the wire names that may carry it in order of preference (the
dollar schema first, the older cents schema after it) and how each is read. What a table does not
name is an unknown field; what cannot be read becomes None. Both are counted, neither stops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from quant_engine.core.errors import SchemaMismatchError
from quant_engine.kalshi.exchange.drift import DriftKind, DriftLog

__all__ = ["Choice", "Table", "one_of", "read_fields", "same"]

Convert = Callable[[Any], Any]
Choice = tuple[str, Convert]
"""A wire name and how its value is read."""


def _mismatch(wanted: str, value: object) -> SchemaMismatchError:
    return SchemaMismatchError(
        "field of a record",
        wanted=wanted,
        got=type(value).__name__,
        hint="The exchange changed its format; compare with the API's changelog.",
    )


@dataclass(frozen=True)
class Table:
    """How one record is read.

    Parameters
    ----------
    model : str
        Name of the record, for the drift log.
    fields : mapping of str to tuple of (str, callable)
        Field of the record to the wire names that may carry it, best first.
    ignored : frozenset of str
        Wire names that are known and not read.
    vocabularies : mapping of str to frozenset of str
        Field to its known values; others are kept as they are and counted.
    """

    model: str
    fields: Mapping[str, tuple[Choice, ...]]
    ignored: frozenset[str] = frozenset()
    vocabularies: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @cached_property
    def known(self) -> frozenset[str]:
        """Every wire name that is no surprise."""
        named = {name for choices in self.fields.values() for name, _ in choices}
        return frozenset(named | self.ignored)


def same(kind: type) -> Convert:
    """Make a reader that takes a value of one JSON type as it is.

    Parameters
    ----------
    kind : type
        ``str``, ``bool``, ``dict``, ``list``; ``float`` also takes whole numbers.

    Returns
    -------
    callable
        Value to value.

    Examples
    --------
    >>> same(float)(0)
    0.0
    """

    def read(value: Any) -> Any:
        if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if not isinstance(value, kind):
            raise _mismatch(kind.__name__, value)
        return value

    return read


def one_of(choices: tuple[Choice, ...], record: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Read the first wire name that holds a readable value.

    Parameters
    ----------
    choices : tuple of (str, callable)
        Wire names, best first.
    record : mapping
        Parsed JSON object.

    Returns
    -------
    value : object
        None when no name held a readable value.
    unreadable : list of str
        Names whose value could not be read.

    Examples
    --------
    >>> one_of((("a_dollars", same(str)), ("a", same(str))), {"a_dollars": 1, "a": "x"})
    ('x', ['a_dollars'])
    """
    unreadable: list[str] = []
    for name, convert in choices:
        value = record.get(name)
        if value is None:
            continue
        try:
            return convert(value), unreadable
        except SchemaMismatchError:
            unreadable.append(name)
    return None, unreadable


def read_fields(table: Table, record: Any, drift: DriftLog) -> dict[str, Any]:
    """Read one JSON object by a table.

    Parameters
    ----------
    table : Table
        How to read it.
    record : object
        Parsed JSON; anything but an object is refused.
    drift : DriftLog
        Counts what was not understood.

    Returns
    -------
    dict
        Field to value, without the fields that have none.

    Raises
    ------
    SchemaMismatchError
        When `record` is no JSON object.

    Examples
    --------
    >>> table = Table("Note", {"text": (("text", same(str)),)})
    >>> drift = DriftLog()
    >>> read_fields(table, {"text": "a", "colour": "red"}, drift)
    {'text': 'a'}
    >>> drift.notes()[0].field
    'colour'
    """
    if not isinstance(record, dict):
        raise SchemaMismatchError(
            table.model,
            wanted="a JSON object",
            got=type(record).__name__,
            hint="The answer is not what its endpoint promises; ask again.",
        )
    if not record.keys() <= table.known:
        drift.unknown_fields(table.model, record.keys() - table.known, record=record)
    values = {}
    for target, choices in table.fields.items():
        value, unreadable = one_of(choices, record)
        for name in unreadable:
            drift.note(table.model, name, DriftKind.UNREADABLE, sample=record[name])
        if value is None:
            continue
        vocabulary = table.vocabularies.get(target)
        if vocabulary is not None and value not in vocabulary:
            drift.note(table.model, target, DriftKind.UNKNOWN_VALUE, sample=value)
        values[target] = value
    return values
