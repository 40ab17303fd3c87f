"""The only wall clock: everything that needs the time takes a Clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Something that knows the time in UTC."""

    def now(self) -> datetime:
        """Return an aware instant in UTC."""
        ...


@dataclass(frozen=True)
class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the current instant in UTC."""
        return datetime.now(UTC)


@dataclass(frozen=True)
class FixedClock:
    """A clock that stands still, for tests and replays.

    Parameters
    ----------
    instant : datetime
        Aware instant that ``now`` returns.

    Examples
    --------
    >>> FixedClock(datetime(2020, 1, 2, tzinfo=UTC)).now().isoformat()
    '2020-01-02T00:00:00+00:00'
    """

    instant: datetime

    def now(self) -> datetime:
        """Return the fixed instant."""
        return self.instant
