"""Fees: the exchange's own tables, a hand table, and decimals on random fills."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.kalshi.fees import (
    CENT_E6,
    DIRECT_MEMBER_E6,
    FeeEntry,
    Fill,
    charge_order,
    fee_entry_at,
    round_fills,
    trade_fee_e6,
)

pytestmark = pytest.mark.feature("Q-45")

QUADRATIC = FeeEntry("series", "S", "quadratic")
MAKER = FeeEntry("series", "S", "quadratic_with_maker_fees")
COMBO = FeeEntry("series", "S", "quadratic_with_combo_maker_fees")
HALF = FeeEntry("series", "S", "quadratic", Fraction("0.5"))

# Price (1e-4), count (0.01), rounding fee, accumulator, rebate, net fee, balance change, in 1e-6,
# for a given trade fee: the three examples of the exchange's page on fee rounding.
TABLES = [
    ((550, 100), 8_500, [
        (6_500, 6_500, 0, 15_000, -70_000),
        (6_500, 13_000, 10_000, 5_000, -70_000),
        (6_500, 9_500, 0, 15_000, -70_000),
    ]),
    ((5_000, 30), 4_100, [
        (5_900, 5_900, 0, 10_000, -160_000),
        (5_900, 11_800, 10_000, 0, -160_000),
        (5_900, 7_700, 0, 10_000, -160_000),
    ]),
    ((3_301, 3), 500, [
        (9_597, 9_597, 0, 10_097, -20_000),
        (9_597, 19_194, 10_000, 97, -20_000),
        (9_597, 18_791, 10_000, 97, -20_000),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("fill", "fee", "rows"), TABLES)
def test_the_nine_fills_of_the_exchange(fill, fee, rows):
    charges = round_fills([Fill(*fill)] * 3, [fee] * 3)
    assert [
        (c.rounding_fee_e6, c.accumulator_e6, c.rebate_e6, c.net_fee_e6, c.balance_change_e6)
        for c in charges
    ] == rows


# 0.07 C P (1 - P), rounded up to 1e-4 dollars, by hand.
HAND = [
    (QUADRATIC, "taker", 5_000, 100, 17_500),
    (QUADRATIC, "taker", 550, 100, 3_700),  # 0.00363825
    (QUADRATIC, "taker", 5_000, 30, 5_300),  # 0.00525
    (QUADRATIC, "taker", 3_301, 3, 500),  # 0.000464
    (QUADRATIC, "taker", 100, 10_000, 69_300),
    (QUADRATIC, "maker", 5_000, 10_000, 0),
    (MAKER, "maker", 5_000, 100, 4_400),  # 0.004375
    (MAKER, "taker", 5_000, 100, 17_500),
    (COMBO, "maker", 5_000, 100, 8_800),  # 0.00875
    (HALF, "taker", 5_000, 100, 8_800),
    (FeeEntry("series", "S", "quadratic", Fraction(0)), "taker", 5_000, 100, 0),
    (FeeEntry("series", "S", "flat", flat_fee_e4=25), "taker", 5_000, 150, 3_800),  # 0.00375
]


@pytest.mark.parametrize(("entry", "liquidity", "price", "count", "fee"), HAND)
def test_trade_fees_by_hand(entry, liquidity, price, count, fee):
    assert trade_fee_e6(Fill(price, count, liquidity=liquidity), entry) == fee


@given(
    price=st.integers(1, 9_999),
    counts=st.lists(st.integers(1, 1_000_000), min_size=1, max_size=6),
    multiplier=st.sampled_from(["0", "0.5", "1", "1.5", "0.035"]),
    is_buy=st.booleans(),
    precision=st.sampled_from([CENT_E6, DIRECT_MEMBER_E6]),
)
def test_random_orders_agree_with_decimals(price, counts, multiplier, is_buy, precision):
    entry = FeeEntry("series", "S", "quadratic", Fraction(multiplier))
    charges = charge_order(
        [Fill(price, count, is_buy) for count in counts], entry, precision_e6=precision
    )
    p, unit, carried = Decimal(price) / 10_000, Decimal(precision) / 1_000_000, Decimal(0)
    for count, charge in zip(counts, charges, strict=True):
        contracts = Decimal(count) / 100
        exact = Decimal("0.07") * Decimal(multiplier) * contracts * p * (1 - p)
        fee = exact.quantize(Decimal("0.0001"), rounding=ROUND_CEILING)
        change = contracts * p * (-1 if is_buy else 1) - fee
        posted = (change / unit).to_integral_value(rounding=ROUND_FLOOR) * unit
        carried += change - posted
        cent = Decimal("0.01")
        is_due = carried > cent and fee + change - posted >= cent
        rebate = cent if is_due else Decimal(0)
        assert charge.accumulator_e6 == carried * 1_000_000
        carried -= rebate
        assert charge.trade_fee_e6 == fee * 1_000_000
        assert charge.balance_change_e6 == posted * 1_000_000
        assert charge.rebate_e6 == rebate * 1_000_000
        assert charge.net_fee_e6 >= 0


def test_the_schedule_is_that_of_the_trade():
    entries = [
        FeeEntry("series", "S", "quadratic", effective_us=0),
        FeeEntry("series", "S", "quadratic_with_maker_fees", effective_us=100),
        FeeEntry("event", "E", "quadratic", Fraction(0), effective_us=50),
        FeeEntry("event", "OTHER", "flat", flat_fee_e4=1, effective_us=0),
    ]

    def at(event, trade_us):
        return fee_entry_at(entries, series="S", event=event, trade_us=trade_us)

    assert at("X", 99).fee_type == "quadratic"
    assert at("X", 100).fee_type == "quadratic_with_maker_fees"
    assert at("E", 49).scope == "series"
    assert at("E", 200).multiplier == 0
    with pytest.raises(DataError, match="entries"):
        at("X", -1)


def test_two_different_lines_of_one_moment_are_refused():
    entries = [QUADRATIC, HALF]
    with pytest.raises(DataError, match="one entry"):
        fee_entry_at(entries, series="S", event="E", trade_us=5)
    assert fee_entry_at([HALF, HALF], series="S", event="E", trade_us=5) == HALF


def test_unusable_fees_are_refused():
    with pytest.raises(DataError, match="flat_fee_e4"):
        trade_fee_e6(Fill(5_000, 100), FeeEntry("series", "S", "flat"))
    with pytest.raises(DataError, match="fee_type"):
        FeeEntry("series", "S", "flat").rate("taker")
    with pytest.raises(ConfigError, match="fee_type"):
        FeeEntry("series", "S", "quadratisch")
    with pytest.raises(ConfigError, match="multiplier"):
        FeeEntry("series", "S", "quadratic", Fraction(-1))
    with pytest.raises(DataError, match="price_e4"):
        Fill(10_000, 100)
    with pytest.raises(DataError, match="liquidity"):
        Fill(5_000, 100, liquidity="both")
    with pytest.raises(DataError, match="precision_e6"):
        round_fills([Fill(5_000, 100)], [0], precision_e6=1)
