"""Ladders with a known truth: how fast and how near the reconstructed distribution is.

Simulated threshold ladders of five families of truth, with noise, cent rounding, stale legs and
prices that are compressed towards one half, are given to naive differencing, to monotone repair
and to the log-density spline; eight looks at a slowly moving truth are given to temporal pooling.
Settings were chosen on the seed ``--seed 1``; the default seed was not used for that.

Run ``python benchmarks/kalshi/distributions.py``: rows 2, 3, 4, 6, 7 and 8 of the goals.
Measurement code outside the package.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import numpy as np
from goals import SEEDS, show
from scipy.special import expit, logit
from scipy.stats import norm, spearmanr, t

from quant_engine.kalshi.distribution import (
    DistributionConfig,
    LadderModel,
    fit_distribution,
    prepare_ladder,
)
from quant_engine.kalshi.lattice import Lattice, SettlementGrid, ladder_structure
from quant_engine.kalshi.payoffs import Contract
from quant_engine.kalshi.pooling import US_PER_HOUR, Snapshot, fit_pooled
from quant_engine.kalshi.quotes import LadderQuotes, LegQuote, ladder_quotes
from quant_engine.stats.recalibration import pool_adjacent_violators

NOISE = (0.5, 1.0, 2.0, 4.0)
FAMILIES = ("normal", "student", "skewed", "bimodal", "logistic")
STEP, CELLS = 0.1, 61
FINE = 20
STALE_SHARE = 0.15
COMPRESSION = 0.95
"""Of the logit: contracts at 5 cents win 4.2 % of the time (Becker, 72.1 million Kalshi trades)."""
SHIFT_PER_HOUR = 0.05


def truth_cdf(family: str, x: np.ndarray, loc: float, sd: float) -> np.ndarray:
    z = (x - loc) / sd
    if family == "normal":
        return norm.cdf(z)
    if family == "student":
        return t.cdf(z * np.sqrt(2.0), 4)
    if family == "skewed":
        return 0.65 * norm.cdf((z + 0.43) / 0.6) + 0.35 * norm.cdf((z - 0.8) / 0.95)
    if family == "bimodal":
        return 0.5 * norm.cdf((z + 0.85) / 0.5) + 0.5 * norm.cdf((z - 0.85) / 0.5)
    return 1.0 / (1.0 + np.exp(-z * np.pi / np.sqrt(3.0)))


def make_model(
    rng: np.random.Generator, config: DistributionConfig, loc: float, sd: float
) -> tuple[LadderModel, np.ndarray]:
    """Strikes as an exchange lists them: about two standard deviations to each side."""
    gap = 2 if sd > 0.5 else 1
    first = round((loc - rng.uniform(1.5, 2.5) * sd) / STEP)
    last = round((loc + rng.uniform(1.5, 2.5) * sd) / STEP)
    strikes = np.arange(first, last + 1, gap)
    legs = [Contract(f"T{k}", "greater", floor_strike=round(k * STEP, 1)) for k in strikes]
    grid = SettlementGrid(STEP)
    ladder = ladder_structure(legs, grid, is_exclusive=False)
    return prepare_ladder(ladder, Lattice(grid, 0, CELLS), config=config), strikes


def cell_truth(family: str, loc: float, sd: float) -> np.ndarray:
    edges = (np.arange(CELLS + 1) - 0.5) * STEP
    cdf = truth_cdf(family, edges, loc, sd)
    mass = np.diff(cdf)
    mass[0] += cdf[0]
    mass[-1] += 1.0 - cdf[-1]
    return mass


def look(
    rng: np.random.Generator, model: LadderModel, truth: np.ndarray, noise: float, is_easy: bool
) -> LadderQuotes:
    fair = model.payoff @ truth
    quotes = []
    for ticker, value in zip(model.structure.tickers, fair, strict=True):
        half = noise * rng.uniform(0.005, 0.02)
        age = float(rng.exponential(120.0))
        p = value if is_easy else float(expit(COMPRESSION * logit(np.clip(value, 1e-9, 1 - 1e-9))))
        if not is_easy and rng.random() < STALE_SHARE:
            age = float(rng.uniform(1_800.0, 10_800.0))
            p += rng.normal(0.0, 0.03)
        middle = p + rng.normal(0.0, 0.75 * half + 0.002)
        bid = int(np.floor(np.clip(middle - half, 0.0, 0.99) * 100.0 + 0.5))
        ask = int(np.floor(np.clip(middle + half, 0.01, 1.0) * 100.0 + 0.5))
        ask = max(ask, bid + 1)
        quotes.append(
            LegQuote(
                ticker,
                bid * 100 if bid > 0 else -1,
                ask * 100 if ask < 100 else -1,
                10_000,
                10_000,
                age_s=age,
            )
        )
    return ladder_quotes(model.structure, quotes)


def differenced(model: LadderModel, quotes: LadderQuotes, strikes: np.ndarray, repaired: bool):
    survival = quotes.middle
    if repaired:
        weights = 1.0 / (quotes.half_spread**2 + 0.005**2)
        survival = pool_adjacent_violators(survival, weights=weights, increasing=False)
    mass = np.clip(-np.diff(np.concatenate([[1.0], survival, [0.0]])), 0.0, None)
    mass /= mass.sum()
    gap = strikes[1] - strikes[0]
    edges = np.concatenate([[strikes[0] - 2 * gap], strikes, [strikes[-1] + 2 * gap]])
    p = np.zeros(CELLS)
    for low, high, share in zip(edges[:-1], edges[1:], mass, strict=True):
        inside = np.arange(max(low + 1, 0), min(high, CELLS - 1) + 1)
        p[inside] += share / len(inside)
    return p


def errors(model: LadderModel, p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    starts = [0, *(i.first for i in model.structure.intervals)]
    bins = np.add.reduceat(p - truth, starts)
    gap = np.cumsum(p - truth)
    return np.array([0.5 * np.abs(bins).sum(), (gap**2).sum() * STEP, np.abs(gap).sum() * STEP])


def draw_truth(rng: np.random.Generator) -> tuple[str, float, float]:
    return str(rng.choice(FAMILIES)), float(rng.uniform(2.5, 3.5)), float(rng.uniform(0.35, 0.8))


def measure_speed(seed: int, config: DistributionConfig) -> dict[str, float]:
    """Processor time of warm fits: median over ladders of the mean of ten."""
    rng = np.random.default_rng([seed, 7])
    found, legs = [], []
    for _ in range(30):
        family, loc, sd = draw_truth(rng)
        model, _ = make_model(rng, config, loc, sd)
        quotes = look(rng, model, cell_truth(family, loc, sd), 1.0, is_easy=False)
        fit_distribution(model, quotes)
        started = time.process_time()
        for _ in range(10):
            fit_distribution(model, quotes)
        found.append(1e2 * (time.process_time() - started))
        legs.append(len(model.payoff))
    return {"cpu_ms_median": float(np.median(found)), "legs_median": float(np.median(legs))}


def measure(
    noise: float, ladders: int, seed: int, config: DistributionConfig
) -> tuple[dict[str, float], list[tuple[float, float]]]:
    """Accuracy at one noise level, and (quality, error) per ladder."""
    rng = np.random.default_rng([seed, int(noise * 10)])
    rows, quality, covered, worst = [], [], [], 0.0
    for _ in range(ladders):
        family, loc, sd = draw_truth(rng)
        model, strikes = make_model(rng, config, loc, sd)
        truth = cell_truth(family, loc, sd)
        quotes = look(rng, model, truth, noise, is_easy=False)
        fitted = fit_distribution(model, quotes)
        if not fitted.is_available:
            continue
        worst = max(worst, abs(float(fitted.pmf.sum()) - 1.0), -float(fitted.pmf.min()))
        found = [
            errors(model, p, truth)
            for p in (
                differenced(model, quotes, strikes, False),
                differenced(model, quotes, strikes, True),
                fitted.pmf,
            )
        ]
        rows.append(found)
        quality.append((fitted.quality.score, found[2][0]))
        low, high = fitted.cdf_interval(0.9)
        inside = (low <= np.cumsum(truth)) & (np.cumsum(truth) <= high)
        covered.append(inside[strikes].mean())
    mean = np.array(rows).mean(axis=0)
    return {
        "naive_tv": mean[0, 0],
        "pava_tv": mean[1, 0],
        "spline_tv": mean[2, 0],
        "tv_ratio": mean[2, 0] / mean[0, 0],
        "crps_ratio": mean[2, 1] / mean[0, 1],
        "w1_ratio": mean[2, 2] / mean[0, 2],
        "coverage_90": float(np.mean(covered)),
        "largest_fault": worst,
        "unavailable": float(ladders - len(rows)),
    }, quality


def measure_pooling(ladders: int, seed: int, config: DistributionConfig) -> dict[str, float]:
    rng = np.random.default_rng([seed, 99])
    rows = []
    for _ in range(ladders):
        family, loc, sd = draw_truth(rng)
        model, strikes = make_model(rng, config, loc, sd)
        history, truth = [], np.empty(0)
        for k in range(8):
            loc += rng.normal(0.0, SHIFT_PER_HOUR * np.sqrt(0.25))
            truth = cell_truth(family, loc, sd)
            quotes = look(rng, model, truth, 1.0, is_easy=True)
            history.append(Snapshot(k * US_PER_HOUR // 4, quotes))
        last = history[-1]
        pooled = fit_pooled(model, history, now_us=last.avail_us, drift_per_hour=SHIFT_PER_HOUR**2)
        if pooled.is_available:
            alone = fit_distribution(model, last.quotes)
            rows.append(
                [
                    errors(model, p, truth)[:2]
                    for p in (
                        differenced(model, last.quotes, strikes, False), alone.pmf, pooled.pmf,
                    )
                ]
            )  # fmt: skip
    mean = np.array(rows).mean(axis=0)
    return {
        "naive_tv": mean[0, 0],
        "last_tv": mean[1, 0],
        "pooled_tv": mean[2, 0],
        "pooled_ratio": mean[2, 0] / mean[0, 0],
        "pooled_crps_ratio": mean[2, 1] / mean[0, 1],
    }


def show_goals(result: dict[str, dict[str, float]], ladders: int) -> None:
    """One line per goal."""
    levels = [result[f"noise x{noise:g}"] for noise in NOISE]
    for row, level in zip(("2a", "2b", "2c", "2d"), levels, strict=True):
        show(row, level["tv_ratio"], size=ladders)
    show("3", result["8 snapshots"]["pooled_ratio"], size=ladders)
    for row, level in zip(("4a", "4b", "4c"), levels[1:], strict=True):
        show(row, level["crps_ratio"], size=ladders)
    show("6", result["all noise levels"]["quality_spearman"], size=ladders)
    coverage = float(np.mean([level["coverage_90"] for level in levels]))
    show("7", abs(coverage - 0.9), size=ladders)
    show("8", result["speed"]["cpu_ms_median"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ladders", type=int, default=300, help="per noise level")
    parser.add_argument("--seed", type=int, default=SEEDS["distributions"])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--variance-share", type=float, help="for tuning; see DistributionConfig")
    args = parser.parse_args()
    config = DistributionConfig()
    if args.variance_share is not None:
        config = replace(config, variance_share=args.variance_share)
    result, quality = {}, []
    for noise in NOISE:
        result[f"noise x{noise:g}"], pairs = measure(noise, args.ladders, args.seed, config)
        quality += pairs
    rank = -float(spearmanr(np.array(quality)).statistic)
    result["all noise levels"] = {"quality_spearman": rank}
    result["8 snapshots"] = measure_pooling(args.ladders, args.seed, config)
    result["speed"] = measure_speed(args.seed, config)
    if args.json:
        print(json.dumps(result, indent=1))
        return
    for name, row in result.items():
        print(name)
        for key, value in row.items():
            print(f"  {key:20s}{value:10.4g}")
    show_goals(result, args.ladders)


if __name__ == "__main__":
    main()
