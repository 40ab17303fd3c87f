"""Fixed point: exact against fractions, and nothing that is not exact."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_engine.core.errors import SchemaMismatchError
from quant_engine.kalshi.exchange import fixed


@given(units=st.integers(-(10**12), 10**12), extra=st.integers(0, 2))
def test_prices_are_exact(units, extra):
    sign = "-" if units < 0 else ""
    text = f"{sign}{abs(units) // 10_000}.{abs(units) % 10_000:04d}" + "0" * extra
    assert fixed.dollars_e4(text) == units == Fraction(text) * 10_000
    assert fixed.dollars_e6(text) == units * 100
    if units % 100 == 0:
        assert fixed.count_c2(text) == units // 100


@pytest.mark.parametrize(
    "value", [0.05, True, None, "", "a", "NaN", "Infinity", "1e400", "0.00001", "9" * 40, [], "1,0"]
)
def test_what_is_not_a_price_is_refused(value):
    with pytest.raises(SchemaMismatchError, match="fixed-point"):
        fixed.dollars_e4(value)


def test_the_older_schema_has_the_same_units():
    assert fixed.cents_e4(37) == fixed.dollars_e4("0.37")
    assert fixed.cents_e6(37) == fixed.dollars_e6("0.37")
    assert fixed.count_c2("37.00") == fixed.count_c2(37) == 3700
    for read in (fixed.cents_e4, fixed.seconds_us, fixed.milliseconds_us):
        assert read(0) == 0
        with pytest.raises(SchemaMismatchError, match="whole number"):
            read(1.0)
