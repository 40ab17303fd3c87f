"""How a value becomes text: one format per unit, a true minus sign, never "-0".

The tear sheet prints every figure twice: rounded for the eye, and exactly (``repr``) for machines
and tests. Both come from here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pandas as pd

__all__ = [
    "BPS",
    "COUNT",
    "DAYS",
    "FLAG",
    "IC",
    "MONEY",
    "NOT_AVAILABLE",
    "PERCENT",
    "PERCENT2",
    "PRICE",
    "RATIO",
    "SIGNED_BPS",
    "SIGNED_IC",
    "SIGNED_MONEY",
    "SIGNED_PERCENT",
    "SIGNED_PERCENT2",
    "SIGNED_RATIO",
    "TIMES",
    "FlagFormat",
    "NumberFormat",
    "exact_text",
    "is_absent",
    "value_text",
]

NOT_AVAILABLE = "n/a"
"""Text of an absent value."""

_MINUS = "−"


@dataclass(frozen=True)
class NumberFormat:
    """Rounded text of a number in a unit.

    Parameters
    ----------
    decimals : int
        Digits after the point.
    scale : float
        Factor from the stored unit to the shown one (100 for fraction to percent).
    suffix : str
        Unit sign, appended without a space unless it holds one.
    is_signed : bool
        True to show a plus sign, and to colour by sign.

    Examples
    --------
    >>> NumberFormat(1, scale=100, suffix="%", is_signed=True).text(0.1234)
    '+12.3%'
    >>> NumberFormat(2).text(-1234.567)
    '−1,234.57'
    >>> NumberFormat(1, is_signed=True).text(-0.01)
    '0.0'
    """

    decimals: int
    scale: float = 1.0
    suffix: str = ""
    is_signed: bool = False

    def text(self, value: float) -> str:
        """Round ``value`` (finite, in the stored unit) and add sign, separators and unit."""
        digits = f"{abs(value) * self.scale:,.{self.decimals}f}"
        is_zero = not any(character in "123456789" for character in digits)
        if is_zero or (value > 0 and not self.is_signed):
            sign = ""
        else:
            sign = "+" if value > 0 else _MINUS
        return f"{sign}{digits}{self.suffix}"


PERCENT = NumberFormat(1, scale=100, suffix="%")
PERCENT2 = NumberFormat(2, scale=100, suffix="%")
SIGNED_PERCENT = NumberFormat(1, scale=100, suffix="%", is_signed=True)
SIGNED_PERCENT2 = NumberFormat(2, scale=100, suffix="%", is_signed=True)
RATIO = NumberFormat(2)
SIGNED_RATIO = NumberFormat(2, is_signed=True)
IC = NumberFormat(4)
SIGNED_IC = NumberFormat(4, is_signed=True)
BPS = NumberFormat(1, suffix=" bps")
SIGNED_BPS = NumberFormat(1, suffix=" bps", is_signed=True)
TIMES = NumberFormat(1, suffix="×")
COUNT = NumberFormat(0)
DAYS = NumberFormat(1)
MONEY = NumberFormat(0)
SIGNED_MONEY = NumberFormat(0, is_signed=True)
PRICE = NumberFormat(2)


@dataclass(frozen=True)
class FlagFormat(NumberFormat):
    """Yes or no of a flag that may be stored as 0 or 1.

    Examples
    --------
    >>> FlagFormat(0).text(1.0)
    'yes'
    """

    def text(self, value: float) -> str:
        """``yes`` for anything but zero."""
        return "yes" if value else "no"


FLAG = FlagFormat(0)


def is_absent(value: object) -> bool:
    """Whether a value is None, NaN, NaT or infinite.

    Parameters
    ----------
    value : object
        A scalar.

    Returns
    -------
    bool
        True when there is nothing to show.

    Examples
    --------
    >>> is_absent(float("nan")), is_absent(0.0), is_absent(None), is_absent("")
    (True, False, True, False)
    """
    if value is None or value is pd.NaT or value is pd.NA:
        return True
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    if isinstance(value, float | np.floating):
        return not math.isfinite(value)
    return False


def exact_text(value: object) -> str:
    """The value in full, as a machine reads it back.

    Parameters
    ----------
    value : object
        Number, date, bool or text; absent values give an empty string.

    Returns
    -------
    str
        ``repr`` of the Python number, the ISO date, ``True``/``False`` or the text itself.

    Examples
    --------
    >>> exact_text(0.1 + 0.2), exact_text(7), exact_text(pd.Timestamp("2024-02-01"))
    ('0.30000000000000004', '7', '2024-02-01')
    """
    if is_absent(value):
        return ""
    if isinstance(value, bool | np.bool_):
        return repr(bool(value))
    if isinstance(value, int | np.integer):
        return repr(int(value))
    if isinstance(value, float | np.floating):
        return repr(float(value))
    if isinstance(value, datetime | date | np.datetime64):
        return _date_text(value)
    return str(value)


def value_text(value: object, number_format: NumberFormat | None = None) -> str:
    """The value as a person reads it.

    Parameters
    ----------
    value : object
        Number, date, bool or text.
    number_format : NumberFormat or None
        How to round a number; None shows whole numbers in full, floats to four significant
        digits and text as it is.

    Returns
    -------
    str
        Text; ``n/a`` for absent values, ``yes``/``no`` for booleans, ISO dates.

    Examples
    --------
    >>> value_text(0.051, PERCENT), value_text(True), value_text(float("nan"), PERCENT)
    ('5.1%', 'yes', 'n/a')
    """
    if is_absent(value):
        return NOT_AVAILABLE
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating) and number_format is None:
        number_format = _plain_format(abs(float(value)))
    if isinstance(value, int | float | np.integer | np.floating) and number_format is not None:
        return number_format.text(float(value))
    return exact_text(value)


def _plain_format(size: float) -> NumberFormat:
    """Four significant digits, or whole numbers from a thousand."""
    if size == 0.0 or size >= 1000.0:
        return NumberFormat(0)
    return NumberFormat(max(0, 3 - math.floor(math.log10(size))))


def _date_text(value: datetime | date | np.datetime64) -> str:
    stamp = pd.Timestamp(value)
    return stamp.date().isoformat() if stamp == stamp.normalize() else stamp.isoformat()
