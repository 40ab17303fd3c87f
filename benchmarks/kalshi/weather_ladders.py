"""Recorded temperature ladders: does the spline forecast better than normalised last prices?

Every event whose six bins had traded by the as-of moment is scored. Quotes are implied: the last
price that a taker of YES paid stands for the ask, the last one that a taker of NO hit for the bid.
As-of moments count back from the scheduled end of the measured day, not from the recorded
close, which encodes early resolution. Both cities of a day are one cluster of the t-statistic.

Run ``python benchmarks/kalshi/weather_ladders.py FOLDER``; FOLDER holds per city ``events`` and
``trades``, one file per day. Methods are developed on the first half of the days; ``--half second``
is for the one report about days that nobody has looked at. Measurement code outside the package.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from goals import show

from quant_engine.core.errors import DataError
from quant_engine.kalshi.distribution import fit_distribution, prepare_ladder
from quant_engine.kalshi.lattice import SettlementGrid, ladder_structure
from quant_engine.kalshi.payoffs import Contract, parse_recorded_text
from quant_engine.kalshi.quotes import LegQuote, ladder_quotes
from quant_engine.kalshi.scoring import score_event

HOURS = (30, 24, 18, 12)
GOAL_HOURS = 24
Z_95 = 1.959963984540054
GRID = SettlementGrid(1.0)


def load(path: Path) -> dict:
    return json.loads(gzip.decompress(path.read_bytes()))


def contract_of(market: dict) -> Contract:
    # The winner of some events lost its strike fields; its label is whole and the basis says so.
    if not market.get("strike_type"):
        return parse_recorded_text(market["ticker"], market["yes_sub_title"])
    return Contract(
        market["ticker"],
        market["strike_type"],
        market.get("floor_strike"),
        market.get("cap_strike"),
    )


def looks(trades: dict[str, list[dict]], asof: pd.Timestamp) -> dict[str, tuple[LegQuote, int]]:
    """Implied quote and last price per ticker; tickers without a trade by then are absent."""
    found = {}
    for ticker, rows in trades.items():
        known = [(pd.Timestamp(r["created_time"]), r) for r in rows]
        known = sorted((pair for pair in known if pair[0] <= asof), key=lambda pair: pair[0])
        if known:
            side = {r["taker_side"]: 100 * r["yes_price"] for _, r in known}
            age = (asof - known[-1][0]).total_seconds()
            quote = LegQuote(ticker, side.get("no", -1), side.get("yes", -1), age_s=age)
            found[ticker] = (quote, known[-1][1]["yes_price"])
    return found


def days_of(paths: list[Path], half: str) -> set[str]:
    """Names of the files of one half of the days, by their date alone."""
    days = sorted({path.name for path in paths})
    middle = (len(days) + 1) // 2
    return set(days[:middle] if half == "first" else days[middle:])


def report(
    half: str,
    n_days: int,
    refused: int,
    *,
    gains: dict[int, dict[str, list[float]]],
    totals: dict[int, list[tuple[float, float, float, float, float]]],
) -> None:
    """One line per horizon, and the goal's."""
    print(f"{half} half, {n_days} days")
    print(f"{refused} events without one winner, trades or a whole ladder")
    print("hours events  last_LL spline_LL     diff      t  last_RPS spline_RPS  sum_last")
    for hours in HOURS:
        if not totals[hours]:
            continue
        mean = np.mean(totals[hours], axis=0)
        n = len(totals[hours])
        centred = np.array(
            [np.sum(d) - len(d) * (mean[1] - mean[0]) for d in gains[hours].values()]
        )
        error = np.sqrt((centred**2).sum()) / n
        effect = mean[1] - mean[0]
        t = effect / error
        print(
            f"{hours:5d}{n:7d}{mean[0]:9.4f}{mean[1]:10.4f}{effect:9.4f}{t:7.2f}"
            f"{mean[2]:10.4f}{mean[3]:11.4f}{mean[4]:10.3f}"
            f"   95 % {effect - Z_95 * error:.4f} to {effect + Z_95 * error:.4f}"
        )
        if hours == GOAL_HOURS:
            goal = effect
    if totals[GOAL_HOURS]:
        show("5", goal)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--half", choices=["first", "second"], default="first")
    args = parser.parse_args()
    gains: dict[int, dict[str, list[float]]] = {h: defaultdict(list) for h in HOURS}
    totals: dict[int, list[tuple[float, float, float, float, float]]] = {h: [] for h in HOURS}
    refused = 0
    paths = sorted(args.folder.glob("*/events/*.json.gz"))
    days = days_of(paths, args.half)
    for path in paths:
        if path.name not in days:
            continue
        event = load(path)
        trades_path = path.parents[1] / "trades" / path.name
        winners = [m["ticker"] for m in event["markets"] if m["result"] == "yes"]
        if not trades_path.is_file() or len(winners) != 1:
            refused += 1
            continue
        try:
            legs = [contract_of(market) for market in event["markets"]]
            ladder = ladder_structure(legs, GRID, is_exclusive=True)
        except DataError:
            refused += 1
            continue
        model, trades = prepare_ladder(ladder), load(trades_path)
        place = ladder.tickers.index(winners[0])
        for hours in HOURS:
            asof = pd.Timestamp(event["event"]["strike_date"]) - pd.Timedelta(hours=hours)
            seen = looks(trades, asof)
            if set(seen) != set(ladder.tickers):
                continue
            fitted = fit_distribution(
                model, ladder_quotes(ladder, [quote for quote, _ in seen.values()])
            )
            if not fitted.is_available:
                continue
            last = np.array([seen[t][1] for t in ladder.tickers], dtype=float)
            before = score_event(last / last.sum(), place)
            spline = fitted.leg_probability / fitted.leg_probability.sum()
            after = score_event(spline, place)
            gains[hours][path.name].append(after.log_loss - before.log_loss)
            totals[hours].append(
                (before.log_loss, after.log_loss, before.rps, after.rps, last.sum() / 100.0)
            )
    report(args.half, len(days), refused, gains=gains, totals=totals)


if __name__ == "__main__":
    main()
