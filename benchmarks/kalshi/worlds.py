"""Event worlds through the whole chain: is anything promoted where nothing can be earned?

Worlds of kind ``null`` (martingale quotes; with and without fees and spread), ``longshot`` and
``delay`` (a planted edge of known cents) go through walk-forward, fills, evidence and gates. The
share with a promotion is printed with its Clopper-Pearson interval, and CPU seconds per world.

Run ``python benchmarks/kalshi/worlds.py --null 40 --planted 20``: row 19, whose whole size is 500
null worlds. Seeds count up from ``--seed``;
the settings of worlds, models and gates were fixed on seeds below 100.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from fractions import Fraction
from statistics import median

from goals import SEEDS, show

from quant_engine.kalshi.battery import BatteryConfig, judge_world, promoted_share
from quant_engine.kalshi.fake.edge_worlds import EdgeWorldConfig

N_CLUSTERS = 480


def cells(options: argparse.Namespace) -> Iterator[tuple[str, int, dict, BatteryConfig]]:
    """Name, number of worlds, knobs and chain of every row that is printed."""
    plain = BatteryConfig()
    free = BatteryConfig(fee_multiplier=Fraction(0))
    yield "null, fees and 1 cent half spread", options.null, {}, plain
    yield "null, free", options.free, {"half_spread_e4": 0, "tick_e4": 1}, free
    for kind in ("longshot", "delay"):
        for cents in options.cents:
            knobs = {"kind": kind, "edge": cents / 100}
            yield f"{kind}, {cents:g} cents", options.planted, knobs, plain


def main() -> None:
    """Print one line per kind of world."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--null", type=int, default=40)
    parser.add_argument("--free", type=int, default=0)
    parser.add_argument("--planted", type=int, default=20)
    parser.add_argument("--cents", type=float, nargs="*", default=[10.0])
    parser.add_argument("--seed", type=int, default=SEEDS["worlds"])
    options = parser.parse_args()
    print(f"{'world':<36} {'promoted':>9} {'95 % interval':>16} {'gap':>6} {'CPU s':>6}")
    nulls, promoted, costs = 0, 0, []
    for name, count, knobs, chain in cells(options):
        if not count:
            continue
        verdicts = [
            judge_world(EdgeWorldConfig(seed=seed, n_clusters=N_CLUSTERS, **knobs), chain)
            for seed in range(options.seed, options.seed + count)
        ]
        share = promoted_share(verdicts)
        gap = sum(verdict.largest_gap for verdict in verdicts) / count
        cpu = median(verdict.cpu_seconds for verdict in verdicts)
        interval = f"{share.low:.3f} - {share.high:.3f}"
        print(f"{name:<36} {share.n_promoted:>4}/{count:<4} {interval:>16} {gap:>6.3f} {cpu:>6.1f}",
              flush=True)  # fmt: skip
        if name.startswith("null"):
            nulls += count
            promoted += share.n_promoted
        else:
            show("19b", share.share)
        costs.append(cpu)
    if nulls:
        show("19a", promoted / nulls, size=nulls)
    if costs:
        show("19c", max(costs))


if __name__ == "__main__":
    main()
