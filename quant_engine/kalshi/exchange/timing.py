"""Time as the client needs it: what time it is, how long since, and waiting."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from quant_engine.core.clock import Clock, SystemClock
from quant_engine.core.errors import ConfigError

__all__ = ["SystemTimer", "Timer", "VirtualTimer", "microseconds"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(instant: datetime) -> int:
    """Turn an aware instant into microseconds since 1970 UTC.

    Parameters
    ----------
    instant : datetime
        Aware.

    Returns
    -------
    int
        Exact microseconds.

    Examples
    --------
    >>> microseconds(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    return (instant - _EPOCH) // timedelta(microseconds=1)


class Timer(Protocol):
    """Something that tells the time, measures durations and waits."""

    def now_us(self) -> int:
        """Return microseconds since 1970 UTC; may jump when the machine's clock is set."""
        ...

    def elapsed_s(self) -> float:
        """Return seconds since some moment; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


@dataclass(frozen=True)
class SystemTimer:
    """The machine's time.

    Parameters
    ----------
    clock : Clock
        Source of the wall clock.
    """

    clock: Clock = field(default_factory=SystemClock)

    def now_us(self) -> int:
        """Return microseconds since 1970 UTC."""
        return microseconds(self.clock.now())

    def elapsed_s(self) -> float:
        """Return seconds of the monotonic clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(seconds)


class VirtualTimer:
    """Time that moves only when somebody waits: replays, fake exchange, tests.

    Parameters
    ----------
    start_us : int
        First instant, microseconds since 1970 UTC.

    Examples
    --------
    >>> timer = VirtualTimer(1_000_000)
    >>> timer.sleep(0.5)
    >>> timer.now_us(), timer.elapsed_s()
    (1500000, 0.5)
    """

    def __init__(self, start_us: int) -> None:
        self._start_us = start_us
        self._now_us = start_us

    def now_us(self) -> int:
        """Return the virtual instant."""
        return self._now_us

    def elapsed_s(self) -> float:
        """Return virtual seconds since the start."""
        return (self._now_us - self._start_us) / 1e6

    def sleep(self, seconds: float) -> None:
        """Move time forward at once; a negative wait is refused."""
        if seconds < 0:
            raise ConfigError(
                "seconds", wanted="a wait of at least 0", got=seconds, hint="Time does not go back."
            )
        self._now_us += round(seconds * 1e6)
