"""The simulator against vectorbt: a million orders with full records, sweeps of variants.

1. ``orders``: every asset is bought and sold in turn, one order per asset and session, in one
   account. Ours runs twice: by target weights and by rules. vectorbt replays the shares that the
   weights run filled, at the same prices, so that order count and final equity must agree.
2. ``averages``: pairs of moving averages per asset; total returns must agree.
3. ``rules``: variants of rules with shared cash, stops and every market detail; vectorbt has no
   such sweep, so it stands alone.

Each engine runs in a process of its own, repeats alternate, the median of CPU seconds of one
thread counts. Run ``python benchmarks/simulator.py``; the peer comes from
``sh benchmarks/peers/install.sh``. Without it its rows say "peer absent".
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from features import Worker

PEER = Path(__file__).parents[1] / ".peers" / "vectorbt" / "bin" / "python"
PEER_WORKER = Path(__file__).parent / "peers" / "vectorbt_worker.py"
FEE_BPS, CASH = 10.0, 1e9
ENGINES = ("numba", "rust")
"""Both engines of the peer; every ratio is given against each."""


def market(n_rows: int, n_assets: int) -> dict[str, np.ndarray]:
    """Geometric walks with consistent bars, dense, seed fixed."""
    rng = np.random.default_rng(0)
    shape = (n_rows, n_assets)
    close = 50.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(shape), axis=0))
    opened = close * np.exp(0.01 * rng.standard_normal(shape))
    return {
        "open": opened,
        "high": np.maximum(opened, close) * np.exp(0.01 * rng.random(shape)),
        "low": np.minimum(opened, close) * np.exp(-0.01 * rng.random(shape)),
        "close": close,
        "volume": np.full(shape, 1e6),
    }


def our_panel(fields: dict[str, np.ndarray]):
    """The market as a panel of this project."""
    from quant_engine.core.panel import Panel, TimeAxis

    n_rows, n_assets = fields["close"].shape
    every = np.arange(np.datetime64("1980-01-01"), np.datetime64("2080-01-01"))
    days = every[np.is_busday(every)][:n_rows]
    ids = tuple(f"A{j:05d}@US#1" for j in range(n_assets))
    return Panel(TimeAxis.sessions(days), ids, fields)


def plain_costs():
    """A fee and nothing else: the subset that both engines have."""
    from quant_engine.execution import CostProfile

    return CostProfile(
        name="fee", fee_bps=FEE_BPS, half_spread_bps=0.0, use_panel_spread=False,
        impact_coef_bps=0.0, borrow_bps_ann=0.0, participation_cap_frac=None, min_fill_frac=0.0,
    )  # fmt: skip


class Ours:
    """Prepared runs of this project; preparing is not timed, as the peer gets ready arrays too."""

    def __init__(self, fields: dict[str, np.ndarray]) -> None:
        from quant_engine.backtest import BacktestConfig, RuleConfig
        from quant_engine.backtest.inputs import build_market, build_rules
        from quant_engine.backtest.rules_inputs import (
            build_rule_market,
            build_rule_numbers,
            build_rule_signals,
            parse_rule_inputs,
        )

        n_rows, n_assets = fields["close"].shape
        score = np.zeros((n_rows, n_assets))
        score[::2] = 1.0
        costs = plain_costs()
        config = BacktestConfig(initial_equity_usd=CASH)
        inputs = parse_rule_inputs(score, our_panel(fields), config=config, costs=costs)
        rules = RuleConfig(
            max_positions=n_assets, position_frac=0.9 / n_assets, entry_min=0.5, holding_sessions=1
        )
        rows = slice(0, n_rows)
        self.account = build_rules(config, costs)
        self.market = build_market(inputs.panel, inputs.delistings, costs, rows)
        self.world = build_rule_market(inputs, rules.fill, rows)
        self.signals = build_rule_signals(inputs, rows)
        self.plan = build_rule_numbers(rules, costs)
        self.weights = 0.9 / n_assets * score

    def by_weights(self, places: np.ndarray | None = None) -> tuple[np.ndarray, float]:
        """Orders and final equity of target weights; `places` are records of an earlier run."""
        from quant_engine.backtest.kernel import simulate
        from quant_engine.backtest.kernel_state import EQUITY

        tranche = np.zeros(len(self.weights), np.int64)
        run = simulate(self.market, self.weights, tranche, 1, self.account, places)
        return run.orders, float(run.daily[-1, EQUITY])

    def by_rules(self) -> tuple[np.ndarray, float]:
        """Orders and final equity of rules."""
        from quant_engine.backtest.kernel_state import EQUITY
        from quant_engine.backtest.rules_kernel import simulate_rules
        from quant_engine.backtest.rules_state import make_desk

        desk = make_desk(*self.weights.shape, self.plan.max_positions)
        _, orders, _ = simulate_rules(
            self.world, self.signals, self.plan, self.account, desk, np.empty((0, 0)), True
        )
        return orders, float(desk.daily[-1, EQUITY])


def measure(work) -> tuple[float, object]:
    """CPU seconds and the result."""
    start = time.process_time()
    made = work()
    return time.process_time() - start, made


def peer() -> Worker | None:
    """A fresh worker of the peer, if it is installed."""
    return Worker([str(PEER), str(PEER_WORKER)]) if PEER.exists() else None


def report(title: str, name: str, times: list[float], count: float, unit: str) -> float:
    """Print one line; return units per second."""
    rate = count / float(np.median(times))
    print(
        f"{title:24} {name:14} {np.median(times):9.4f} CPU s ({min(times):.4f} best), "
        f"{rate / 1e6:9.2f} M {unit}/s"
    )
    return rate


def compare_orders(n_rows: int, n_assets: int, repeats: int, folder: Path) -> None:
    """A million orders, by default."""
    fields = market(n_rows, n_assets)
    ours = Ours(fields)
    orders, final = ours.by_weights()
    ours.by_rules()
    size = np.zeros(fields["close"].shape)
    size[orders["row"], orders["asset"]] = orders["filled_shares"]
    np.savez(folder / "orders.npz", close=fields["close"], price=fields["open"], size=size)
    request = {"task": "orders", "file": str(folder / "orders.npz"), "fee_frac": FEE_BPS / 1e4,
               "cash": CASH}  # fmt: skip
    worker = peer()
    engines = ENGINES if worker else ()
    for engine in engines:
        worker.ask({**request, "engine": engine})
    places = np.zeros(2 * len(orders), orders.dtype)
    times: dict[str, list[float]] = {"target weights": [], "records reused": [], "rules": []}
    times |= {engine: [] for engine in engines}
    for _ in range(repeats):
        times["target weights"].append(measure(ours.by_weights)[0])
        times["records reused"].append(measure(lambda: ours.by_weights(places))[0])
        times["rules"].append(measure(ours.by_rules)[0])
        for engine in engines:
            theirs = worker.ask({**request, "engine": engine})
            times[engine].append(theirs["cpu"])
    title, n = f"{len(orders):,} orders", len(orders)
    rates = {
        name: report(title, name, found, n, "orders") for name, found in times.items() if found
    }
    by_rules, rules_final = ours.by_rules()
    gap = abs(rules_final / final - 1.0)
    print(f"{title:24} rules and weights: {len(by_rules):,} orders, equity differs by {gap:.1e}")
    if not worker:
        print(f"{title:24} vectorbt       peer absent: sh benchmarks/peers/install.sh")
        return
    gap = abs(theirs["final"] / final - 1.0)
    print(f"{title:24} {theirs['n_orders']:,} orders of the peer, equity differs by {gap:.1e}")
    for engine in engines:
        by_weights, by_rules = (rates[own] / rates[engine] for own in ("target weights", "rules"))
        print(f"{title:24} against {engine:6} {by_weights:9.1f}x weights, {by_rules:.1f}x rules")
    worker.close()


def compare_averages(
    n_rows: int, sizes: tuple[int, int], n_peer_pairs: int, repeats: int, folder: Path
) -> None:
    """All pairs of the shipped spec for ours, some pairs and assets for the peer."""
    from quant_engine.backtest import BacktestConfig
    from quant_engine.backtest.sweep import SweepIdentity
    from quant_engine.backtest.sweep_averages import sweep_average_crosses
    from quant_engine.backtest.sweep_spec import SweepSpec
    from quant_engine.core.specs import SpecCatalog
    from quant_engine.core.trials import MemoryTrialSink

    n_assets, n_peer = sizes
    variants = SpecCatalog.default().load("sweeps", "average_crosses", SweepSpec).variants()
    fields = market(n_rows, n_assets)
    panel = our_panel(fields)
    settings = {"config": BacktestConfig(), "costs": plain_costs(),
                "identity": SweepIdentity("benchmark", "market", "none")}  # fmt: skip

    def ours():
        return sweep_average_crosses(panel, variants, trials=MemoryTrialSink(), **settings)

    chosen = np.linspace(0, len(variants) - 1, n_peer_pairs).astype(int)
    pairs = [[variants[v].fast_sessions, variants[v].slow_sessions] for v in chosen]
    np.savez(folder / "averages.npz", **{k: fields[k][:, :n_peer] for k in ("open", "close")})
    request = {"task": "averages", "file": str(folder / "averages.npz"), "pairs": pairs,
               "fee_frac": FEE_BPS / 1e4}  # fmt: skip
    worker = peer()
    engines = ENGINES if worker else ()
    sweep = ours()
    for engine in engines:
        theirs = worker.ask({**request, "engine": engine})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times: dict[str, list[float]] = {"ours": [], **{engine: [] for engine in engines}}
    for _ in range(repeats):
        times["ours"].append(measure(ours)[0])
        for engine in engines:
            times[engine].append(worker.ask({**request, "engine": engine})["cpu"])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    title = f"{len(variants):,} average pairs"
    rate = report(title, "ours", times["ours"], len(variants) * n_rows * n_assets, "cells")
    print(f"{title:24} memory         {grown:.0f} MB more at the peak than after the first run")
    if not worker:
        print(f"{title:24} vectorbt       peer absent: sh benchmarks/peers/install.sh")
        return
    cells = n_peer_pairs * n_rows * n_peer
    for engine in engines:
        other = report(
            f"{n_peer_pairs} pairs, {n_peer} assets", engine, times[engine], cells, "cells"
        )
        print(f"{title:24} against {engine:6} {rate / other:9.1f}x")
    own = sweep.statistic("total_return").to_numpy()[chosen][:, :n_peer]
    gap = float(np.abs(own - np.array(theirs["returns"])).max())
    print(f"{title:24} total returns differ by {gap:.1e}, peak of the peer "
          f"{theirs['peak_gb']:.2f} GB")  # fmt: skip
    worker.close()


def time_rules(n_rows: int, n_assets: int, repeats: int) -> None:
    """The shipped grid of stops, shared cash, all costs."""
    from quant_engine.backtest import BacktestConfig
    from quant_engine.backtest.rules_inputs import parse_rule_inputs
    from quant_engine.backtest.sweep import SweepIdentity, sweep_rules
    from quant_engine.backtest.sweep_spec import SweepSpec
    from quant_engine.core.specs import SpecCatalog
    from quant_engine.core.trials import MemoryTrialSink
    from quant_engine.execution import CostProfile

    fields = market(n_rows, n_assets)
    fields["atr"] = 0.03 * fields["close"]
    score = 0.01 * np.random.default_rng(1).standard_normal((n_rows, n_assets))
    inputs = parse_rule_inputs(
        score, our_panel(fields), config=BacktestConfig(), costs=CostProfile(name="base")
    )
    variants = SpecCatalog.default().load("sweeps", "risk_managed", SweepSpec).variants()
    identity = SweepIdentity("benchmark", "market", "none")

    def work():
        return sweep_rules(inputs, variants, trials=MemoryTrialSink(), identity=identity)

    sweep = work()
    times = [measure(work)[0] for _ in range(repeats)]
    title = f"{len(variants)} rules, shared cash"
    report(title, "ours", times, len(variants) * n_rows * n_assets, "cells")
    trades = int(sweep.table["n_trades"].sum())
    rate = len(variants) / float(np.median(times))
    print(f"{title:24} {rate:.1f} variants/s, {trades:,} trades in all")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3500)
    parser.add_argument("--assets", type=int, default=800)
    parser.add_argument("--order-rows", type=int, default=1001)
    parser.add_argument("--order-assets", type=int, default=1000)
    parser.add_argument("--peer-assets", type=int, default=10)
    parser.add_argument("--peer-pairs", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=("orders", "averages", "rules"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.only in (None, "orders"):
            compare_orders(args.order_rows, args.order_assets, args.repeats, folder)
        if args.only in (None, "averages"):
            sizes = args.assets, min(args.peer_assets, args.assets)
            compare_averages(args.rows, sizes, args.peer_pairs, args.repeats, folder)
        if args.only in (None, "rules"):
            time_rules(args.rows, args.assets, args.repeats)


if __name__ == "__main__":
    main()
