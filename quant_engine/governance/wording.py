"""Numbers in sentences: short, in their unit, and never rounded until two of them look equal."""

from __future__ import annotations

_DIGITS = range(2, 13)
_PERCENT = ("fraction",)


def number_text(value: bool | int | float, unit: str, *, digits: int = 2) -> str:
    """Spell a number in its unit.

    Parameters
    ----------
    value : bool, int or float
        Any finite value.
    unit : str
        Fractions are spelled in percent; bps, days and the like follow the number.
    digits : int
        Digits after the point.

    Returns
    -------
    str
        Words for a sentence.

    Examples
    --------
    >>> number_text(0.41, "annualised"), number_text(-0.2, "fraction"), number_text(9, "days")
    ('0.41', '-20%', '9 days')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if unit in _PERCENT:
        return _trimmed(100.0 * value, max(digits - 1, 1)) + "%"
    text = str(value) if isinstance(value, int) else f"{value:.{digits}f}"
    if not isinstance(value, int) and 0 < abs(value) < 0.1:
        text = f"{value:.{digits}g}"
    named = unit in ("bps", "days", "weeks", "bars", "seconds")
    return f"{text} {unit}" if named else text


def number_pair(value: bool | int | float, limit: bool | int | float, unit: str) -> tuple[str, str]:
    """Spell a value and its limit with as many digits as it takes to tell them apart.

    Parameters
    ----------
    value, limit : bool, int or float
        Finite values.
    unit : str
        Unit of both.

    Returns
    -------
    tuple of str
        Value and limit.

    Examples
    --------
    >>> number_pair(0.7499, 0.75, "annualised")
    ('0.7499', '0.7500')
    """
    pairs = [
        (number_text(value, unit, digits=n), number_text(limit, unit, digits=n)) for n in _DIGITS
    ]
    return next((pair for pair in pairs if pair[0] != pair[1] or value == limit), pairs[-1])


def _trimmed(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
