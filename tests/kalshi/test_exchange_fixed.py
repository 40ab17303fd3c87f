"""Fixed point: exact against fractions, and nothing that is not exact."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
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


ODD = st.text(alphabet="0123456789..--+_ e\u0663\u00b2", max_size=8)


@given(text=ODD | st.decimals(-1000, 1000, places=4).map(str) | st.decimals(places=2).map(str))
@settings(deadline=None)
def test_the_short_way_reads_what_the_long_way_reads(text):
    """Texts with all their decimals are read without a Decimal, and to the same number."""
    for read, digits in ((fixed.count_c2, 2), (fixed.dollars_e4, 4)):
        try:
            number = Decimal(text)
            is_readable = number.is_finite() and number.adjusted() <= 32 and len(text) <= 32
            scaled = Fraction(number) * 10**digits if is_readable else Fraction(1, 2)
            wanted = scaled.numerator if scaled.denominator == 1 else None
        except ArithmeticError:
            wanted = None
        if wanted is None:
            with pytest.raises(SchemaMismatchError, match="fixed-point"):
                read(text)
        else:
            assert read(text) == wanted


def test_no_digit_of_a_long_text_is_rounded_away():
    assert fixed.count_c2("100000000000000000000000000.01") == 10**28 + 1
    assert fixed.count_c2("100000000000000000000000000.010") == 10**28 + 1
    with pytest.raises(SchemaMismatchError):
        fixed.count_c2("100000000000000000000000000.001")


def test_the_older_schema_has_the_same_units():
    assert fixed.cents_e4(37) == fixed.dollars_e4("0.37")
    assert fixed.cents_e6(37) == fixed.dollars_e6("0.37")
    assert fixed.count_c2("37.00") == fixed.count_c2(37) == 3700
    for read in (fixed.cents_e4, fixed.seconds_us, fixed.milliseconds_us):
        assert read(0) == 0
        with pytest.raises(SchemaMismatchError, match="whole number"):
            read(1.0)
