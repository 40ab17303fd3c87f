"""Schema drift: what the exchange sent and the reader did not know, counted and never lost."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["DriftKind", "DriftLog", "DriftNote"]

_LOGGER = logging.getLogger(__name__)
_SAMPLE_CHARACTERS = 80


class DriftKind(StrEnum):
    """How a message differed from what its reader knows."""

    UNKNOWN_FIELD = "unknown_field"
    UNKNOWN_VALUE = "unknown_value"
    UNREADABLE = "unreadable"
    UNKNOWN_MESSAGE = "unknown_message"


@dataclass(frozen=True)
class DriftNote:
    """One difference and how often it was met.

    Parameters
    ----------
    model : str
        Record or message in which it stood.
    field : str
        Field of the record; the type of an unknown message.
    kind : DriftKind
        How it differed.
    sample : str
        The first value met, cut to 80 characters.
    count : int
        Times met.
    """

    model: str
    field: str
    kind: DriftKind
    sample: str
    count: int


class DriftLog:
    """Counter of differences; the first of each kind is also logged as a warning.

    Examples
    --------
    >>> log = DriftLog()
    >>> log.note("Market", "status", DriftKind.UNKNOWN_FIELD, sample="x")
    >>> [(note.field, note.count) for note in log.notes()]
    [('status', 1)]
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, DriftKind]] = Counter()
        self._samples: dict[tuple[str, str, DriftKind], str] = {}

    def note(self, model: str, field: str, kind: DriftKind, *, sample: object) -> None:
        """Count one difference.

        Parameters
        ----------
        model : str
            Record or message in which it stood.
        field : str
            Field of the record; the type of an unknown message.
        kind : DriftKind
            How it differed.
        sample : object
            The value met.
        """
        key = (model, field, kind)
        self._counts[key] += 1
        if key not in self._samples:
            self._samples[key] = repr(sample)[:_SAMPLE_CHARACTERS]
            _LOGGER.warning("%s.%s: %s, first %s", model, field, kind, self._samples[key])

    def unknown_fields(
        self, model: str, fields: Iterable[str], *, record: Mapping[str, object]
    ) -> None:
        """Count the named fields of a record as unknown.

        Parameters
        ----------
        model : str
            Record in which they stood.
        fields : iterable of str
            Their names.
        record : mapping
            The record, for the samples.
        """
        for field in sorted(fields):
            self.note(model, field, DriftKind.UNKNOWN_FIELD, sample=record[field])

    def notes(self) -> tuple[DriftNote, ...]:
        """Every difference met so far, sorted by model, field and kind."""
        return tuple(
            DriftNote(*key, sample=self._samples[key], count=self._counts[key])
            for key in sorted(self._counts)
        )

    def total(self) -> int:
        """Differences met so far, repetitions counted."""
        return self._counts.total()
