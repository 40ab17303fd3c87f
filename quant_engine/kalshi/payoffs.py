"""What a contract pays on: a set of settlement values, read from the strike fields alone.

Contract: the direction of a contract is its ``strike_type`` and nothing else; titles, rules and
tickers are never searched for words. Numbers are exact: a strike of 3.1 is the decimal 3.1, so that
it lies on a grid of step 0.1. Recordings older than the strike fields have a parser of their own,
whose results say that they were read from text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import isfinite
from typing import Literal, get_args

from quant_engine.core.errors import DataError, did_you_mean

__all__ = [
    "BOUNDED_TYPES",
    "STRIKE_TYPES",
    "Contract",
    "PayoffSet",
    "StrikeBasis",
    "exact_number",
    "parse_recorded_text",
    "payoff_set",
]

StrikeBasis = Literal["fields", "recorded_text"]

NumericStrikeType = Literal["greater", "greater_or_equal", "less", "less_or_equal", "between"]

BOUNDED_TYPES: tuple[str, ...] = get_args(NumericStrikeType)
"""Strike types that are a set of numbers."""

STRIKE_TYPES: tuple[str, ...] = (*BOUNDED_TYPES, "functional", "custom", "structured")
"""Every strike type of the exchange; the last three have no numeric payoff set."""

_NUMBER = r"(-?\d+(?:,\d{3})*(?:\.\d+)?)"
_UNIT = r"\s*(?:°\s*F?|%|bps)?\s*"
_BELOW = re.compile(rf"^{_NUMBER}{_UNIT}or (?:below|lower|less)$")
_ABOVE = re.compile(rf"^{_NUMBER}{_UNIT}or (?:above|higher|more)$")
_RANGE = re.compile(rf"^{_NUMBER}{_UNIT}to {_NUMBER}{_UNIT}$")


@dataclass(frozen=True)
class PayoffSet:
    """An interval of settlement values that make a contract pay 1.

    Parameters
    ----------
    lower, upper : Fraction or None
        Ends, exact, in the unit of the settlement value; None = no end on that side.
    is_lower_closed, is_upper_closed : bool
        Whether the end itself pays.

    Examples
    --------
    >>> payoff_set("greater", floor_strike=3.1).contains(3.1)
    False
    """

    lower: Fraction | None
    upper: Fraction | None
    is_lower_closed: bool = False
    is_upper_closed: bool = False

    def contains(self, value: float) -> bool:
        """Whether a settlement value makes the contract pay."""
        exact = exact_number("value", value)
        if self.lower is not None and (
            exact < self.lower or (exact == self.lower and not self.is_lower_closed)
        ):
            return False
        return self.upper is None or (
            exact < self.upper or (exact == self.upper and self.is_upper_closed)
        )


@dataclass(frozen=True)
class Contract:
    """One leg of a ladder: its name and its strike fields.

    Parameters
    ----------
    ticker : str
        Name of the market; a key, never a source of strikes.
    strike_type : str
        One of :data:`STRIKE_TYPES`.
    floor_strike, cap_strike : float, optional
        Numbers of the strike, in the unit of the settlement value; 0 is a strike.
    basis : {"fields", "recorded_text"}
        Where the strike comes from; only ``"fields"`` is a statement of the exchange.

    Examples
    --------
    >>> Contract("T-3", "greater", floor_strike=3.0).payoff().contains(3.1)
    True
    """

    ticker: str
    strike_type: str
    floor_strike: float | None = None
    cap_strike: float | None = None
    basis: StrikeBasis = "fields"

    def payoff(self) -> PayoffSet:
        """Set of settlement values that pay; see :func:`payoff_set`."""
        return payoff_set(
            self.strike_type, floor_strike=self.floor_strike, cap_strike=self.cap_strike
        )


def exact_number(name: str, value: float) -> Fraction:
    """Read a number as the decimal that was written.

    Parameters
    ----------
    name : str
        Argument name for the message.
    value : float
        Finite number; its shortest decimal form is what counts.

    Returns
    -------
    Fraction
        Exact: 0.1 is one tenth.

    Raises
    ------
    DataError
        NaN or an infinite value.

    Examples
    --------
    >>> exact_number("step", 0.1)
    Fraction(1, 10)
    """
    if not isfinite(value):
        raise DataError(
            name, wanted="a finite number", got=value, hint="Leave an absent strike as None."
        )
    return _as_written(float(value))


@lru_cache(maxsize=65_536)
def _as_written(value: float) -> Fraction:
    # A ladder asks for the same few numbers at every decision.
    return Fraction(repr(value))


def payoff_set(
    strike_type: str, *, floor_strike: float | None = None, cap_strike: float | None = None
) -> PayoffSet:
    """Set of settlement values that a contract pays on.

    Parameters
    ----------
    strike_type : str
        ``greater`` pays above the floor, ``greater_or_equal`` also at it, ``less`` below the cap,
        ``less_or_equal`` also at it, ``between`` from floor to cap with both ends.
    floor_strike, cap_strike : float, optional
        The strikes, in the unit of the settlement value.

    Returns
    -------
    PayoffSet

    Raises
    ------
    DataError
        A strike type without a set of numbers (functional, custom, structured, unknown), or a
        strike that its type needs and that is absent, not finite or out of order.

    Notes
    -----
    Kalshi Trade API v2, market fields ``strike_type``, ``floor_strike`` and ``cap_strike``. The
    direction is never guessed: a title with "recovery" contains the word "over".

    Examples
    --------
    >>> weather = payoff_set("between", floor_strike=75, cap_strike=76)
    >>> [weather.contains(v) for v in (74, 75, 76, 77)]
    [False, True, True, False]
    """
    if strike_type not in BOUNDED_TYPES:
        raise DataError(
            "strike_type",
            wanted="one of " + ", ".join(BOUNDED_TYPES),
            got=repr(strike_type),
            hint="Such a contract has no numeric payoff set; leave its event without a "
            "distribution."
            if strike_type in STRIKE_TYPES
            else did_you_mean(str(strike_type), BOUNDED_TYPES),
        )
    lower = upper = None
    if strike_type in ("greater", "greater_or_equal", "between"):
        lower = _needed(strike_type, "floor_strike", floor_strike)
    if strike_type in ("less", "less_or_equal", "between"):
        upper = _needed(strike_type, "cap_strike", cap_strike)
    if lower is not None and upper is not None and lower > upper:
        raise DataError(
            "floor_strike, cap_strike",
            wanted="a floor at or below the cap",
            got=f"{floor_strike} and {cap_strike}",
            hint="The record is damaged; leave the contract out.",
        )
    return PayoffSet(
        lower,
        upper,
        is_lower_closed=strike_type in ("greater_or_equal", "between"),
        is_upper_closed=strike_type in ("less_or_equal", "between"),
    )


def parse_recorded_text(ticker: str, text: str) -> Contract:
    """Read the strike of an older recording, which has only the label that people see.

    Parameters
    ----------
    ticker : str
        Name of the market.
    text : str
        Label such as ``"68° or below"``, ``"69° to 70°"`` or ``"46° or above"``; all three
        include the numbers that they name.

    Returns
    -------
    Contract
        With basis ``"recorded_text"``, so that what rests on it can be marked.

    Raises
    ------
    DataError
        A label of another form.

    Notes
    -----
    For recordings whose files lost the strike fields, never for the exchange's own records: the
    whole label has to match, so that a number or a word inside a sentence is no strike.

    Examples
    --------
    >>> parse_recorded_text("B69.5", "69° to 70°")
    Contract(ticker='B69.5', strike_type='between', floor_strike=69.0, cap_strike=70.0,
    basis='recorded_text')
    """
    label = text.strip()
    if match := _BELOW.match(label):
        return Contract(
            ticker, "less_or_equal", cap_strike=_number(match[1]), basis="recorded_text"
        )
    if match := _ABOVE.match(label):
        return Contract(
            ticker, "greater_or_equal", floor_strike=_number(match[1]), basis="recorded_text"
        )
    if match := _RANGE.match(label):
        return Contract(
            ticker, "between", _number(match[1]), _number(match[2]), basis="recorded_text"
        )
    raise DataError(
        "text",
        wanted="'A or below', 'A to B' or 'A or above'",
        got=repr(text),
        hint="Take the strike fields of the exchange, or leave the contract out.",
    )


def _needed(strike_type: str, name: str, value: float | None) -> Fraction:
    # A strike of 0.0 is a strike: absence is None, never falsity.
    if value is None:
        raise DataError(
            name,
            wanted=f"a number for strike type {strike_type!r}",
            got=value,
            hint="Strikes are never taken from tickers; leave the contract out.",
        )
    return exact_number(name, value)


def _number(text: str) -> float:
    return float(text.replace(",", ""))
