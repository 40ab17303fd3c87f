"""Row 18: the arbitrage scanner finds what was planted and nothing else, after exact fees.

    python benchmarks/kalshi/arbitrage.py [--ladders N]

Coherent ladders of known state prices must give nothing. In each of them one vertical is planted
that pays at least one cent per contract after fees in every outcome; it must be found, and every
portfolio that is reported must pay in every outcome when it is priced again. Bins that do not cover
all outcomes and whose asks add up to less than a dollar are no arbitrage.
"""

from __future__ import annotations

import argparse

import numpy as np
from goals import GOALS, SEEDS, show

from quant_engine.kalshi.arbitrage import price_portfolio, scan_ladder
from quant_engine.kalshi.fees import FeeEntry
from quant_engine.kalshi.lattice import LadderStructure, SettlementGrid, ladder_structure
from quant_engine.kalshi.payoffs import Contract
from quant_engine.kalshi.quotes import LadderQuotes, LegQuote, ladder_quotes

GRID = SettlementGrid(1.0)
FEES = FeeEntry("series", "S", "quadratic")
SIZE_C2 = 10_000
# Twice the largest fee of a contract, a cent of rounding on each side, and a cent to earn.
PLANTED_E4 = 2 * 175 + 2 * 100 + 100


def thresholds(rng: np.random.Generator) -> LadderStructure:
    strikes = np.sort(rng.choice(np.arange(40), int(rng.integers(3, 9)), replace=False)).tolist()
    legs = [Contract(f"T{k}", "greater", floor_strike=float(k)) for k in strikes]
    return ladder_structure(legs, GRID, is_exclusive=False)


def priced(ladder: LadderStructure, prices: dict[str, tuple[int, int]]) -> LadderQuotes:
    legs = [LegQuote(t, bid, ask, SIZE_C2, SIZE_C2) for t, (bid, ask) in prices.items()]
    return ladder_quotes(ladder, legs)


def around(rng: np.random.Generator, fair: float) -> tuple[int, int]:
    bid = int(np.clip(np.floor(1e4 * fair) - rng.integers(0, 300), 0, 9_999))
    return bid, int(np.clip(np.ceil(1e4 * fair) + rng.integers(0, 300), 1, 10_000))


def main() -> None:
    """Measure the three figures of the row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ladders", type=int, default=GOALS["18a"].size)
    parser.add_argument("--seed", type=int, default=SEEDS["arbitrage"])
    flags = parser.parse_args()
    rng = np.random.default_rng(flags.seed)
    false, lost, planted, sums = 0, 0, 0, 0
    for _ in range(flags.ladders):
        ladder = thresholds(rng)
        fair = ladder.pays.T @ rng.dirichlet(np.ones(len(ladder.atoms)))
        prices = {t: around(rng, p) for t, p in zip(ladder.tickers, fair, strict=True)}
        false += len(scan_ladder(priced(ladder, prices), FEES))
        low, high = np.sort(rng.choice(len(ladder.tickers), 2, replace=False))
        order = sorted(ladder.tickers, key=lambda ticker: int(ticker[1:]))
        bought, sold = order[int(low)], order[int(high)]
        bid = prices[bought][1] + PLANTED_E4
        if bid <= 9_900:
            planted += 1
            crossed = priced(ladder, prices | {sold: (bid, min(bid + 100, 10_000))})
            found = scan_ladder(crossed, FEES)
            lost += not found
            for one in found:
                again = price_portfolio(crossed, one.legs, FEES)
                false += min(again.profit_by_atom_e6) <= 0
        bins = [Contract(f"B{k}", "between", 2.0 * k, 2.0 * k + 1.0) for k in range(4)]
        open_bins = ladder_structure(bins, GRID, is_exclusive=True)
        cheap = {t: (100, int(rng.integers(300, 2_000))) for t in open_bins.tickers}
        sums += len(scan_ladder(priced(open_bins, cheap), FEES))
    print(f"       {flags.ladders:,} ladders, {planted:,} planted violations")
    show("18a", lost, size=flags.ladders)
    show("18b", false, size=flags.ladders)
    show("18c", sums, size=flags.ladders)


if __name__ == "__main__":
    main()
