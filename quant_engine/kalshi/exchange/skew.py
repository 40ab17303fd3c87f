"""How far this machine's clock is from the exchange's, from the Date header of its answers.

An answer that left at local time s and arrived at r, stamped with the whole second D, proves that
the exchange's clock minus ours lies in ``[D - r, D + 1 s - s]``. Intersecting the intervals of many
answers narrows the offset far below the header's resolution; an empty intersection proves that a
clock was set, and the newest interval counts alone.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from quant_engine.kalshi.exchange.timing import microseconds

__all__ = ["ClockSkew"]

_RESOLUTION_US = 1_000_000


class ClockSkew:
    """Running estimate of the exchange's clock minus this machine's.

    Examples
    --------
    >>> skew = ClockSkew()
    >>> skew.observe("Thu, 01 Jan 1970 00:01:00 GMT", sent_us=28_000_000, received_us=30_000_000)
    >>> skew.offset_us
    31500000
    """

    def __init__(self) -> None:
        self._low_us: int | None = None
        self._high_us: int | None = None

    @property
    def offset_us(self) -> int:
        """Microseconds to add to the local clock; 0 while nothing speaks against 0."""
        if self._low_us is None or self._high_us is None:
            return 0
        if self._low_us <= 0 <= self._high_us:
            return 0
        return (self._low_us + self._high_us) // 2

    @property
    def width_us(self) -> int | None:
        """Width of the proven interval; None before the first answer."""
        if self._low_us is None or self._high_us is None:
            return None
        return self._high_us - self._low_us

    def observe(self, date: str | None, *, sent_us: int, received_us: int) -> None:
        """Learn from one answer.

        Parameters
        ----------
        date : str, optional
            Its Date header; an absent or unreadable one teaches nothing.
        sent_us, received_us : int
            Local time before the request and after the answer, microseconds.
        """
        if date is None or received_us < sent_us:
            return
        try:
            instant = parsedate_to_datetime(date)
        except ValueError:
            return
        if instant.tzinfo is None:
            return
        stamp_us = microseconds(instant)
        low_us, high_us = stamp_us - received_us, stamp_us + _RESOLUTION_US - sent_us
        if self._low_us is not None and self._high_us is not None:
            joint = max(low_us, self._low_us), min(high_us, self._high_us)
            if joint[0] <= joint[1]:
                low_us, high_us = joint
        self._low_us, self._high_us = low_us, high_us
