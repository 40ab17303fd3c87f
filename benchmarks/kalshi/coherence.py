"""Rows 1 and 17: no arbitrage in what comes out, and two ways to the same band.

    python benchmarks/kalshi/coherence.py [--ladders N] [--bands N]

Row 1: random ladders of thresholds, bins or both, with crossed, one-sided, stale and empty quotes;
every distribution must be non-negative, add up to one and fall monotonically. A ladder that is
refused says why and is counted apart. Row 17: the closed form of the no-arbitrage band against the
linear program.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
from goals import GOALS, SEEDS, show

from quant_engine.kalshi.bounds import closed_form_band, lp_band
from quant_engine.kalshi.distribution import fit_distribution, prepare_ladder
from quant_engine.kalshi.lattice import LadderStructure, SettlementGrid, ladder_structure
from quant_engine.kalshi.payoffs import Contract
from quant_engine.kalshi.quotes import LadderQuotes, LegQuote, ladder_quotes

GRID = SettlementGrid(1.0)
STRUCTURES = 60
TOLERANCE = 1e-9


def make_ladder(rng: np.random.Generator) -> LadderStructure:
    kind = rng.choice(["greater", "less", "bins", "covering", "mixed"])
    n = int(rng.integers(3, 11))
    strikes = np.sort(rng.choice(np.arange(0, 40), n, replace=False)).tolist()
    bins = [Contract(f"B{k}", "between", 3.0 * k, 3.0 * k + 2.0) for k in range(n)]
    if kind == "greater":
        legs = [Contract(f"T{k}", "greater", floor_strike=float(k)) for k in strikes]
    elif kind == "less":
        legs = [Contract(f"T{k}", "less", cap_strike=float(k)) for k in strikes]
    elif kind == "bins":
        legs = bins
    elif kind == "covering":
        legs = [*bins, Contract("LOW", "less", cap_strike=0.0),
                Contract("HIGH", "greater", floor_strike=3.0 * n - 1.0)]  # fmt: skip
    else:
        legs = [Contract(f"T{k}", "greater", floor_strike=float(k)) for k in (4, 10, 16)]
        legs += [Contract("B1", "between", 5.0, 7.0), Contract("B2", "between", 11.0, 13.0)]
    return ladder_structure(legs, GRID, is_exclusive=kind in ("bins", "covering"))


def make_quotes(rng: np.random.Generator, ladder: LadderStructure, noise: float) -> LadderQuotes:
    fair = ladder.pays.T @ rng.dirichlet(np.full(len(ladder.atoms), 0.6))
    quotes = []
    for ticker, p in zip(ladder.tickers, fair, strict=True):
        middle = 10_000 * p + noise * rng.normal()
        # Now and then the ask lies below the bid.
        half = rng.uniform(-60, 400)
        bid, ask = (int(np.clip(middle + side * half, 0, 10_000)) for side in (-1, 1))
        sizes = (int(size) for size in rng.integers(0, 900, 2))
        age = float(rng.exponential(1_800.0))
        quotes.append(
            LegQuote(
                ticker,
                bid if rng.random() > 0.2 else -1,
                ask if rng.random() > 0.2 else -1,
                *sizes,
                age_s=age,
            )
        )
    return ladder_quotes(ladder, quotes)


def coherent_output(n: int, seed: int) -> None:
    rng = np.random.default_rng([seed, 1])
    models = [prepare_ladder(make_ladder(rng)) for _ in range(STRUCTURES)]
    faults, refused = 0, Counter[str]()
    for _ in range(n):
        model = models[int(rng.integers(STRUCTURES))]
        quotes = make_quotes(rng, model.structure, float(rng.choice([0.0, 200.0, 1_500.0])))
        fitted = fit_distribution(model, quotes)
        if not fitted.is_available:
            refused[fitted.gates[0].code if fitted.gates else "without a reason"] += 1
            continue
        survival = 1.0 - np.cumsum(fitted.pmf)
        is_sound = (
            np.isfinite(fitted.pmf).all()
            and fitted.pmf.min() >= 0
            and abs(fitted.pmf.sum() - 1.0) <= TOLERANCE
            and np.diff(survival).max(initial=-1.0) <= 0
        )
        faults += not is_sound
    print(f"       {n - refused.total():,} distributions; refused {dict(refused)}")
    show("1", faults + refused["without a reason"], size=n)


def equal_bands(n: int, seed: int) -> None:
    rng = np.random.default_rng([seed, 17])
    wrong, done, infeasible = 0, 0, 0
    while done < n:
        ladder = make_ladder(rng)
        if ladder.kind == "mixed":
            continue
        quotes = make_quotes(rng, ladder, float(rng.choice([0.0, 400.0])))
        closed, solved = closed_form_band(quotes), lp_band(quotes)
        is_equal = closed.is_feasible == solved.is_feasible and all(
            np.allclose(getattr(closed, name), getattr(solved, name), atol=1e-8, equal_nan=True)
            for name in ("leg_low", "leg_high", "atom_low", "atom_high")
        )
        wrong += not is_equal
        infeasible += not closed.is_feasible
        done += 1
    print(f"       {done:,} bands, {infeasible:,} of contradicting quotes")
    show("17", wrong, size=n)


def main() -> None:
    """Measure both rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ladders", type=int, default=GOALS["1"].size)
    parser.add_argument("--bands", type=int, default=GOALS["17"].size)
    parser.add_argument("--seed", type=int, default=SEEDS["coherence"])
    flags = parser.parse_args()
    coherent_output(flags.ladders, flags.seed)
    equal_bands(flags.bands, flags.seed)


if __name__ == "__main__":
    main()
