"""Arbitrage: planted ones are found and proven, and nothing is found where fees eat the gain."""

from fractions import Fraction

import numpy as np
import pytest

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.kalshi.arbitrage import (
    Arbitrage,
    ArbitrageLeg,
    find_state_prices,
    price_portfolio,
    scan_ladder,
    track_violations,
)
from quant_engine.kalshi.fees import CENT_E6, FeeEntry, Fill, charge_order
from quant_engine.kalshi.lattice import SettlementGrid, ladder_structure
from quant_engine.kalshi.payoffs import Contract
from quant_engine.kalshi.quotes import LegQuote, ladder_quotes

GRID = SettlementGrid(1.0)
FREE = FeeEntry("series", "S", "quadratic", Fraction(0))
USUAL = FeeEntry("series", "S", "quadratic")


def ladder_of(kind):
    if kind == "greater":
        legs = [Contract(f"T{k}", "greater", float(k)) for k in range(4)]
    elif kind == "less":
        legs = [Contract(f"T{k}", "less", cap_strike=float(k)) for k in range(4)]
    else:
        legs = [Contract(f"B{k}", "between", 2.0 * k, 2.0 * k + 1) for k in range(3)]
        if kind == "covering":
            legs += [Contract("LOW", "less", cap_strike=0.0), Contract("HIGH", "greater", 5.0)]
    return ladder_structure(legs, GRID, is_exclusive="B0" in {c.ticker for c in legs})


def quotes_of(ladder, prices, size=2_000):
    return ladder_quotes(
        ladder, [LegQuote(t, bid, ask, size, size) for t, (bid, ask) in prices.items()]
    )


@pytest.mark.parametrize(
    ("kind", "prices"),
    [
        ("greater", {"T0": (3_000, 3_200), "T2": (4_500, 4_700)}),
        ("less", {"T2": (3_000, 3_200), "T0": (4_500, 4_700)}),
    ],
)
def test_a_vertical_has_the_direction_of_its_strike_type(kind, prices):
    ladder = ladder_of(kind)
    found = scan_ladder(quotes_of(ladder, prices), USUAL)[0]
    assert found.kind == "vertical"
    bought, sold = found.legs
    assert bought.is_buy
    assert not sold.is_buy
    assert (bought.price_e4, sold.price_e4, bought.count_c2) == (3_200, 4_500, 2_000)
    charges = [charge_order([Fill(p, 2_000)], USUAL)[0] for p in (3_200, 5_500)]
    worst = 20 * 1_000_000 + sum(c.balance_change_e6 for c in charges)
    assert found.profit_e6 == worst == min(found.profit_by_atom_e6)
    assert found.fees_e6 == sum(c.net_fee_e6 for c in charges)
    mirrored = {t: prices[o] for t, o in zip(prices, reversed(prices), strict=True)}
    assert scan_ladder(quotes_of(ladder, mirrored), USUAL) == ()


def test_fees_can_eat_a_violation():
    quotes = quotes_of(ladder_of("greater"), {"T0": (4_800, 5_000), "T2": (5_200, 5_400)})
    assert scan_ladder(quotes, FREE)[0].profit_e6 == 400_000
    assert scan_ladder(quotes, USUAL) == ()
    prices = find_state_prices(quotes, USUAL).probability
    assert prices.sum() == pytest.approx(1.0)
    fair = quotes.structure.pays.T @ prices
    for leg in (0, 2):
        bid, ask = quotes.bid_e4[leg] / 1e4, quotes.ask_e4[leg] / 1e4
        assert bid - 0.07 * bid * (1 - bid) - 1e-6 <= fair[leg]
        assert fair[leg] <= ask + 0.07 * ask * (1 - ask) + 1e-6
    assert find_state_prices(quotes, FREE) is None


def test_sums_of_bins():
    bins = ladder_of("bins")
    rich = {f"B{k}": (4_000, 4_200) for k in range(3)}
    found = scan_ladder(quotes_of(bins, rich), USUAL)[0]
    assert found.kind == "sum_of_bids"
    assert {leg.is_buy for leg in found.legs} == {False}
    cheap = {f"B{k}": (1_000, 1_200) for k in range(3)}
    # The bins do not cover: nobody has promised that one of them pays.
    assert scan_ladder(quotes_of(bins, cheap), FREE) == ()
    whole = quotes_of(ladder_of("covering"), cheap | {"LOW": (800, 1_000), "HIGH": (800, 1_000)})
    found = scan_ladder(whole, USUAL)[0]
    assert found.kind == "sum_of_asks"
    assert len(set(found.profit_by_atom_e6)) == 1


def test_the_general_program_finds_what_no_pair_shows():
    legs = [Contract("A", "greater", 0.0), Contract("B", "greater", 2.0)]
    legs.append(Contract("C", "between", 1.0, 2.0))
    ladder = ladder_structure(legs, GRID, is_exclusive=False)
    prices = {"A": (6_800, 7_000), "B": (3_800, 4_000), "C": (1_000, 1_200)}
    found = scan_ladder(quotes_of(ladder, prices), USUAL)
    assert found[0].kind == "portfolio"
    assert found[0].key == ("portfolio", "+B", "+C", "-A") or {
        (leg.ticker, leg.is_buy) for leg in found[0].legs
    } == {("A", False), ("B", True), ("C", True)}
    assert min(found[0].profit_by_atom_e6) == found[0].profit_e6 > 0


def test_no_false_positive_on_coherent_ladders_and_every_planted_one_is_found():
    rng = np.random.default_rng(4)
    ladder = ladder_of("greater")
    for _ in range(30):
        fair = np.sort(rng.uniform(0.05, 0.95, 4))[::-1]
        prices = {
            t: (int(1e4 * p) - int(rng.integers(1, 300)), int(1e4 * p) + int(rng.integers(1, 300)))
            for t, p in zip(ladder.tickers, fair, strict=True)
        }
        assert scan_ladder(quotes_of(ladder, prices), FREE) == ()
        low, high = sorted(rng.choice(4, 2, replace=False))
        ask = max(prices[f"T{low}"][1], 400)
        planted = prices | {f"T{high}": (min(ask + 1_200, 9_900), min(ask + 1_300, 9_950))}
        if planted[f"T{high}"][0] - ask >= 600:
            found = scan_ladder(quotes_of(ladder, planted), USUAL)
            assert found
            for item in found:
                again = price_portfolio(quotes_of(ladder, planted), item.legs, USUAL)
                assert again.profit_by_atom_e6 == item.profit_by_atom_e6


def test_a_side_without_size_or_room_is_not_traded():
    ladder = ladder_of("greater")
    prices = {"T0": (3_000, 3_200), "T2": (4_500, 4_700)}
    assert scan_ladder(quotes_of(ladder, prices, size=0), FREE) == ()
    assert scan_ladder(quotes_of(ladder, prices, size=99), FREE) == ()
    assert scan_ladder(quotes_of(ladder, prices, size=99), FREE, unit_c2=1)[0].profit_e6 > 0
    sure = quotes_of(ladder, {"T0": (10_000, -1), "T2": (10_000, 10_000)})
    assert scan_ladder(sure, FREE) == ()


def test_a_crossed_quote_is_found():
    found = scan_ladder(quotes_of(ladder_of("greater"), {"T1": (5_000, 4_000)}), USUAL)
    assert found[0].kind == "crossed_quote"
    assert found[0].capital_e6 == 2_000 * (4_000 + 5_000)


def test_life_times_of_violations():
    leg = ArbitrageLeg("A", True, 4_000, 100)
    a = Arbitrage("vertical", (leg,), 10, 0, (10,), CENT_E6)
    b = Arbitrage("vertical", (ArbitrageLeg("B", True, 4_000, 100),), 30, 0, (30,), CENT_E6)
    better = Arbitrage("vertical", (leg,), 25, 0, (25,), CENT_E6)
    episodes = track_violations([(0, [a]), (5, [better, b]), (9, [b]), (12, [a, b])])
    assert [(e.key[1], e.first_us, e.last_us, e.gone_us, e.n_seen) for e in episodes] == [
        ("+A", 0, 5, 9, 2),
        ("+B", 5, 12, None, 3),
        ("+A", 12, 12, None, 1),
    ]
    assert episodes[0].best_profit_e6 == 25
    assert episodes[0].lifetime_us == 9
    with pytest.raises(DataError, match="snapshots"):
        track_violations([(5, []), (5, [])])


def test_unusable_requests_are_refused():
    quotes = quotes_of(ladder_of("greater"), {"T1": (4_000, 5_000)})
    with pytest.raises(ConfigError, match="unit_c2"):
        scan_ladder(quotes, FREE, unit_c2=0)
    with pytest.raises(DataError, match="legs"):
        price_portfolio(quotes, [], FREE)
    with pytest.raises(DataError, match="T9"):
        price_portfolio(quotes, [ArbitrageLeg("T9", True, 1, 1)], FREE)
    assert find_state_prices(quotes_of(ladder_of("greater"), {}), FREE) is None
