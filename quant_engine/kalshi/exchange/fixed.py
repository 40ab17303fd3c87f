"""Fixed-point numbers of the exchange: integers with the unit in the name, never floats.

============ =========================== ===========================
suffix       one unit                    wire forms
============ =========================== ===========================
``_e4``      1e-4 dollars of price       ``"0.0500"``, 5 (cents)
``_e6``      1e-6 dollars of money       ``"12.340000"``, 1234 (cents)
``_c2``      0.01 contracts              ``"10.00"``, 10 (contracts)
``_us``      microseconds since 1970 UTC ``"2026-02-19T08:48:16Z"``, s, ms
============ =========================== ===========================

A JSON float is refused: ``0.1 + 0.2`` has no place in a price.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation

from quant_engine.core.errors import SchemaMismatchError

__all__ = [
    "ONE_DOLLAR_E4",
    "cents_e4",
    "cents_e6",
    "count_c2",
    "dollars_e4",
    "dollars_e6",
    "instant_us",
    "milliseconds_us",
    "seconds_us",
    "whole",
]

ONE_DOLLAR_E4 = 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# No price, count or sum of the exchange needs more digits; longer texts are hostile or broken.
_MAX_CHARACTERS = 32
# Decimals are rounded to 28 digits elsewhere.
_WIDE = Context(prec=2 * _MAX_CHARACTERS)


def _refuse(value: object, wanted: str) -> SchemaMismatchError:
    return SchemaMismatchError(
        "fixed-point number",
        wanted=wanted,
        got=repr(value)[: 2 * _MAX_CHARACTERS],
        hint="The exchange changed its format; compare with the API's changelog.",
    )


def _scaled(value: object, digits: int) -> int:
    if isinstance(value, str):
        # The usual text has all its decimals: without its point it is the number, at a third of
        # the cost of a Decimal.
        before, _, after = value.partition(".")
        if len(after) == digits and after.isdecimal() and len(value) <= _MAX_CHARACTERS:
            try:
                return int(before + after)
            except ValueError:
                return _exactly(value, digits)
        return _exactly(value, digits)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _refuse(value, _decimals(digits))
    return value * int(10**digits)


def _exactly(text: str, digits: int) -> int:
    """Read any decimal text, however it is written."""
    if len(text) > _MAX_CHARACTERS:
        raise _refuse(text, _decimals(digits))
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise _refuse(text, _decimals(digits)) from error
    if not number.is_finite() or number.adjusted() > _MAX_CHARACTERS:
        raise _refuse(text, _decimals(digits))
    scaled = _WIDE.scaleb(number, digits)
    units = int(scaled)
    if units != scaled:
        raise _refuse(text, _decimals(digits))
    return units


def _decimals(digits: int) -> str:
    return f"a decimal text with at most {digits} decimals"


def dollars_e4(value: object) -> int:
    """Read a price in dollars as a whole number of 1e-4 dollars.

    Parameters
    ----------
    value : object
        Decimal text such as ``"0.0500"``, or a whole number of dollars.

    Returns
    -------
    int
        Price in 1e-4 dollars.

    Raises
    ------
    SchemaMismatchError
        For a float, a text that is no number, or one that is finer than 1e-4 dollars.

    Examples
    --------
    >>> dollars_e4("0.0500"), dollars_e4("0.120000"), dollars_e4("1")
    (500, 1200, 10000)
    """
    return _scaled(value, 4)


def dollars_e6(value: object) -> int:
    """Read money in dollars as a whole number of 1e-6 dollars; see :func:`dollars_e4`.

    Parameters
    ----------
    value : object
        Decimal text.

    Returns
    -------
    int
        Money in 1e-6 dollars.

    Examples
    --------
    >>> dollars_e6("1.000001")
    1000001
    """
    return _scaled(value, 6)


def count_c2(value: object) -> int:
    """Read a fixed-point contract count as a whole number of 0.01 contracts.

    Parameters
    ----------
    value : object
        Decimal text such as ``"-54.00"``, or a whole number of contracts.

    Returns
    -------
    int
        Count in 0.01 contracts.

    Raises
    ------
    SchemaMismatchError
        As in :func:`dollars_e4`.

    Examples
    --------
    >>> count_c2("-54.00"), count_c2("0.25")
    (-5400, 25)
    """
    return _scaled(value, 2)


def whole(value: object) -> int:
    """Read a whole JSON number; a bool, float or text is refused.

    Parameters
    ----------
    value : object
        Parsed JSON.

    Returns
    -------
    int
        The number.

    Raises
    ------
    SchemaMismatchError
        When it is not a whole number.

    Examples
    --------
    >>> whole(0)
    0
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise _refuse(value, "a whole number")
    return value


def cents_e4(value: object) -> int:
    """Read a price of the older schema, whole cents, as 1e-4 dollars.

    Parameters
    ----------
    value : object
        Whole cents.

    Returns
    -------
    int
        Price in 1e-4 dollars.

    Examples
    --------
    >>> cents_e4(5)
    500
    """
    return whole(value) * 100


def cents_e6(value: object) -> int:
    """Read money of the older schema, whole cents, as 1e-6 dollars.

    Parameters
    ----------
    value : object
        Whole cents.

    Returns
    -------
    int
        Money in 1e-6 dollars.

    Examples
    --------
    >>> cents_e6(100)
    1000000
    """
    return whole(value) * 10_000


def instant_us(value: object) -> int:
    """Read an RFC 3339 text as microseconds since 1970 UTC.

    Parameters
    ----------
    value : object
        Text with an offset; digits beyond the microsecond are cut.

    Returns
    -------
    int
        Microseconds.

    Raises
    ------
    SchemaMismatchError
        When it is no instant or has no offset.

    Examples
    --------
    >>> instant_us("1970-01-01T00:00:01.5Z")
    1500000
    """
    wanted = "an instant with an offset, such as 2026-02-19T08:48:16Z"
    if not isinstance(value, str):
        raise _refuse(value, wanted)
    try:
        instant = datetime.fromisoformat(value)
    except ValueError as error:
        raise _refuse(value, wanted) from error
    if instant.tzinfo is None:
        raise _refuse(value, wanted)
    return (instant - _EPOCH) // _MICROSECOND


def seconds_us(value: object) -> int:
    """Read whole seconds since 1970 as microseconds.

    Parameters
    ----------
    value : object
        Whole seconds.

    Returns
    -------
    int
        Microseconds.

    Examples
    --------
    >>> seconds_us(1)
    1000000
    """
    return whole(value) * 1_000_000


def milliseconds_us(value: object) -> int:
    """Read whole milliseconds since 1970 as microseconds.

    Parameters
    ----------
    value : object
        Whole milliseconds.

    Returns
    -------
    int
        Microseconds.

    Examples
    --------
    >>> milliseconds_us(1669149841000)
    1669149841000000
    """
    return whole(value) * 1_000
