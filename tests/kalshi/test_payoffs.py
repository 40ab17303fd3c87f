"""Payoff sets: from the strike fields, exactly, and from nothing else."""

from fractions import Fraction

import pytest

from quant_engine.core.errors import DataError
from quant_engine.kalshi.payoffs import (
    Contract,
    exact_number,
    parse_recorded_text,
    payoff_set,
)

CASES = [
    ("greater", 3.0, None, lambda v: v > 3.0),
    ("greater_or_equal", 3.0, None, lambda v: v >= 3.0),
    ("less", None, 3.0, lambda v: v < 3.0),
    ("less_or_equal", None, 3.0, lambda v: v <= 3.0),
    ("between", 3.0, 3.2, lambda v: 3.0 <= v <= 3.2),
]


@pytest.mark.parametrize(("strike_type", "floor", "cap", "pays"), CASES)
def test_each_strike_type_pays_where_its_definition_says(strike_type, floor, cap, pays):
    found = payoff_set(strike_type, floor_strike=floor, cap_strike=cap)
    for value in (2.9, 3.0, 3.1, 3.2, 3.3):
        assert found.contains(value) == pays(value)


@pytest.mark.parametrize(("floor", "cap"), [(2.0, 1.0), (float("nan"), 1.0), (1.0, float("inf"))])
def test_damaged_strikes_are_refused(floor, cap):
    with pytest.raises(DataError):
        payoff_set("between", floor_strike=floor, cap_strike=cap)


def test_numbers_are_the_decimals_that_were_written():
    assert exact_number("x", 0.1) * 3 == Fraction(3, 10)
    assert exact_number("x", 1e-7) == Fraction(1, 10_000_000)


def test_texts_of_older_recordings_are_parsed_and_marked():
    below = parse_recorded_text("T", "68° or below")
    assert (below.strike_type, below.cap_strike) == ("less_or_equal", 68.0)
    above = parse_recorded_text("T", "-1,250 or above")
    assert (above.strike_type, above.floor_strike) == ("greater_or_equal", -1250.0)
    assert {below.basis, above.basis} == {"recorded_text"}
    assert Contract("T", "greater", 1.0).basis == "fields"


@pytest.mark.parametrize("text", ["over 3", "recovery above 3%", "Hike 25bps", "", "B69.5"])
def test_other_texts_are_refused(text):
    with pytest.raises(DataError, match="text"):
        parse_recorded_text("T", text)
