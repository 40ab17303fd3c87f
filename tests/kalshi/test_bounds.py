"""No-arbitrage bands: closed forms against linear programs, certificates checked by hand."""

import numpy as np
import pytest

from quant_engine.core.errors import DataError
from quant_engine.kalshi.bounds import (
    closed_form_band,
    functional_bounds,
    lp_band,
    measure_incoherence,
)
from quant_engine.kalshi.lattice import SettlementGrid, ladder_structure
from quant_engine.kalshi.payoffs import Contract
from quant_engine.kalshi.quotes import LegQuote, ladder_quotes

GRID = SettlementGrid(1.0)


def threshold_ladder(rng, n):
    legs = []
    for k in range(n):
        strike = float(rng.integers(0, n + 2))
        kind = ("greater", "greater_or_equal", "less", "less_or_equal")[int(rng.integers(4))]
        legs.append(Contract(f"L{k}", kind, strike, strike))
    return ladder_structure(legs, GRID, is_exclusive=False)


def exclusive_ladder(rng, n):
    legs = [Contract(f"B{k}", "between", 2.0 * k, 2.0 * k + 1.0) for k in range(n)]
    if rng.random() < 0.6:
        legs.append(Contract("LOW", "less", cap_strike=0.0))
    if rng.random() < 0.6:
        legs.append(Contract("HIGH", "greater", floor_strike=2.0 * n - 1.0))
    return ladder_structure(legs, GRID, is_exclusive=True)


def random_quotes(rng, ladder, noise):
    share = rng.dirichlet(np.ones(len(ladder.atoms)))
    fair = ladder.pays.T @ share
    quotes = []
    for ticker, p in zip(ladder.tickers, fair, strict=True):
        middle = 10_000 * p + noise * rng.normal()
        bid, ask = (int(np.clip(middle + s * rng.uniform(50, 400), 0, 10_000)) for s in (-1, 1))
        quotes.append(
            LegQuote(
                ticker,
                bid if rng.random() > 0.15 else -1,
                ask if rng.random() > 0.15 else -1,
                int(rng.integers(1, 900)),
                int(rng.integers(1, 900)),
            )
        )
    return ladder_quotes(ladder, quotes)


@pytest.mark.parametrize("make", [threshold_ladder, exclusive_ladder])
def test_the_closed_form_is_the_linear_program(make):
    rng = np.random.default_rng(11)
    n_infeasible = 0
    for _ in range(25):
        ladder = make(rng, int(rng.integers(2, 5)))
        if ladder.kind == "mixed":
            continue
        quotes = random_quotes(rng, ladder, noise=rng.choice([0.0, 400.0]))
        closed, solved = closed_form_band(quotes), lp_band(quotes)
        assert closed.is_feasible == solved.is_feasible
        n_infeasible += not closed.is_feasible
        for name in ("leg_low", "leg_high", "atom_low", "atom_high"):
            np.testing.assert_allclose(
                getattr(closed, name), getattr(solved, name), atol=1e-9, err_msg=name
            )
        incoherence = measure_incoherence(quotes)
        assert (incoherence.total_e4 > 1e-6) == (not closed.is_feasible)
    assert 0 < n_infeasible < 25


def test_certificates_cover_the_functional_and_cost_the_limit():
    rng = np.random.default_rng(5)
    for _ in range(10):
        quotes = random_quotes(rng, threshold_ladder(rng, 4), noise=0.0)
        values = rng.normal(size=len(quotes.structure.atoms))
        bound = functional_bounds(quotes, values)
        for limit, sign, proof in (
            (bound.high, 1.0, bound.high_certificate),
            (bound.low, -1.0, bound.low_certificate),
        ):
            assert min(proof.bought.min(), proof.sold.min()) >= -1e-12
            pays = quotes.structure.pays @ (proof.bought - proof.sold) + proof.cash
            assert (pays >= sign * values - 1e-9).all()
            cost = proof.bought @ quotes.upper - proof.sold @ quotes.lower + proof.cash
            assert cost == pytest.approx(sign * limit, abs=1e-9)


def test_a_mixed_ladder_has_no_closed_form_and_a_crossed_one_no_band():
    mixed = ladder_structure(
        [Contract("A", "greater", 1.0), Contract("B", "between", 2.0, 3.0)],
        GRID,
        is_exclusive=False,
    )
    quotes = ladder_quotes(mixed, [LegQuote("A", 1_000, 2_000), LegQuote("B", 3_000, 4_000)])
    with pytest.raises(DataError, match="mixed"):
        closed_form_band(quotes)
    band = lp_band(quotes)
    assert not band.is_feasible
    assert np.isnan(band.distance(np.array([0.1, 0.1])))
    bound = functional_bounds(quotes, np.zeros(len(mixed.atoms)))
    assert np.isnan(bound.low)
    assert bound.low_certificate is None


def test_incoherence_widens_the_side_with_less_behind_it():
    ladder = ladder_structure(
        [Contract("A", "greater", 1.0), Contract("B", "greater", 2.0)], GRID, is_exclusive=False
    )
    quotes = ladder_quotes(
        ladder, [LegQuote("A", 4_000, 4_200, 10, 10), LegQuote("B", 5_000, 5_200, 1_000, 1_000)]
    )
    found = measure_incoherence(quotes)
    assert found.ask_slack_e4.tolist() == pytest.approx([800.0, 0.0])
    assert found.total_e4 == pytest.approx(8.0)


def test_values_per_atom_are_checked():
    ladder = ladder_structure([Contract("A", "greater", 1.0)], GRID, is_exclusive=False)
    with pytest.raises(DataError, match="values"):
        functional_bounds(ladder_quotes(ladder, []), [0.0, np.inf])
