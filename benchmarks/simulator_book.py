"""A full-featured book of target weights against vectorbt's ``from_orders``.

Every session the strongest tenth of the assets is bought in equal weights, one account. First the
rules that both engines have: fee and spread in one rate, fills at the next open; order counts and
final equity must agree. Then ours alone with everything: impact, a volume cap, borrow, dividends,
splits in raw prices, halts and delistings, whole shares. The peer stays with its subset.

Run ``python benchmarks/simulator_book.py``; the peer comes from ``sh benchmarks/peers/install.sh``.
The peer's interpreter runs this same file with ``--serve``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RATE_BPS, CASH = 15.0, 1e8


def serve() -> None:
    """Answer requests with the peer: target percentages at given prices, one account."""
    import vectorbt as vbt

    print(json.dumps({"ready": vbt.__version__}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        vbt.settings["engine"] = request["engine"]
        with np.load(request["file"]) as stored:
            data = {name: stored[name] for name in stored.files}
        start = time.process_time()
        book = vbt.Portfolio.from_orders(
            data["close"], size=data["weight"], size_type="targetpercent", price=data["price"],
            val_price=data["mark"], fees=RATE_BPS / 1e4, init_cash=CASH, cash_sharing=True,
            group_by=True, call_seq="auto", freq="1D",
        )  # fmt: skip
        n_orders = len(book.order_records)
        cpu = time.process_time() - start
        made = {"cpu": cpu, "n_orders": n_orders, "final": float(book.final_value())}
        print(json.dumps(made), flush=True)


def targets(fields: dict[str, np.ndarray]) -> np.ndarray:
    """Equal weights of the tenth with the largest 20-session gain; sums below one pay the costs."""
    close = fields["close"]
    gain = np.full(close.shape, -np.inf)
    gain[20:] = close[20:] / close[:-20]
    n_held = close.shape[1] // 10
    weight = np.zeros(close.shape)
    best = np.argpartition(-gain, n_held, axis=1)[:, :n_held]
    np.put_along_axis(weight, best, 0.9 / n_held, axis=1)
    weight[:20] = 0.0
    return weight


def difficult(fields: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same walks in raw prices, with splits, dividends, borrow fees, halts and ends."""
    rng = np.random.default_rng(1)
    shape = fields["close"].shape
    ratio = np.where(rng.random(shape) < 0.0005, 2.0, np.nan)
    per_share = np.cumprod(np.nan_to_num(ratio, nan=1.0), axis=0)
    close = fields["close"] / per_share
    gone = np.arange(shape[0])[:, None] >= rng.integers(shape[0] // 2, 3 * shape[0], shape[1])
    missing = gone | (rng.random(shape) < 0.002)
    made = {name: fields[name] / per_share for name in ("open", "high", "low", "close")}
    made["volume"] = rng.lognormal(14.0, 1.0, shape) * per_share
    made = {name: np.where(missing, np.nan, values) for name, values in made.items()}
    made["dividend"] = np.where(rng.random(shape) < 0.004, 0.005 * close, 0.0)
    made["borrow_bps_ann"] = rng.uniform(20.0, 500.0, shape)
    made["split_factor"] = ratio
    return made


def prepared(fields: dict[str, np.ndarray], weight: np.ndarray, costs: object, lots: float):
    """Everything but the run itself; preparing is not timed, as the peer gets ready arrays too."""
    from simulator import our_panel

    from quant_engine.backtest.config import BacktestConfig, TradingRules
    from quant_engine.backtest.inputs import build_market, build_rules, parse_panel
    from quant_engine.backtest.trading import traded_rules
    from quant_engine.core.panel import Panel, PriceBasis
    from quant_engine.execution.delistings import TerminalReturns, parse_delistings

    basis = PriceBasis.RAW if "split_factor" in fields else PriceBasis.SPLIT_ADJ
    plain = our_panel(fields)
    panel = parse_panel(
        Panel(plain.time, plain.asset_ids, plain.fields, price_basis=basis), accepts_raw=True
    )
    config = BacktestConfig(
        initial_equity_usd=CASH,
        halt_limit_sessions=21,
        trading=TradingRules(lot_shares=lots),
    )
    market = build_market(
        panel, parse_delistings(None, panel, TerminalReturns()), costs, slice(0, len(weight))
    )
    rules = traded_rules(build_rules(config, costs), config)
    return market, weight, np.zeros(len(weight), np.int64), 1, rules


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3500)
    parser.add_argument("--assets", type=int, default=800)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--serve", action="store_true")
    args = parser.parse_args()
    if args.serve:
        serve()
        return
    from features import Worker
    from simulator import ENGINES, PEER, market, measure, report

    from quant_engine.backtest.kernel import simulate
    from quant_engine.backtest.kernel_state import EQUITY
    from quant_engine.backtest.round_trips import run_weights
    from quant_engine.execution import CostProfile

    fields = market(args.rows, args.assets)
    weight = targets(fields)
    subset = CostProfile(
        name="rate", fee_bps=RATE_BPS, half_spread_bps=0.0, use_panel_spread=False,
        impact_coef_bps=0.0, borrow_bps_ann=0.0, participation_cap_frac=None, min_fill_frac=0.0,
    )  # fmt: skip
    full = CostProfile(name="full", participation_cap_frac=0.1)
    shared = prepared(fields, weight, subset, 0.0)
    half = weight - np.roll(weight, args.assets // 2, axis=1)
    hard = prepared(difficult(fields), 0.5 * half, full, 1.0)
    jobs = {
        "shared rules": lambda: simulate(*shared),
        "everything": lambda: simulate(*hard),
        "everything, with trades": lambda: run_weights(*hard),
    }
    counts = {name: len(job().orders) for name, job in jobs.items()}
    engines = ENGINES if PEER.exists() else ()
    times: dict[str, list[float]] = {name: [] for name in (*jobs, *engines)}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "book.npz"
        if engines:
            lagged = np.vstack([np.zeros((1, args.assets)), weight[:-1]])
            mark = np.vstack([fields["close"][:1], fields["close"][:-1]])
            np.savez(path, close=fields["close"], price=fields["open"], weight=lagged, mark=mark)
            worker = Worker([str(PEER), __file__, "--serve"])
        for engine in engines:
            theirs = worker.ask({"file": str(path), "engine": engine})
        for _ in range(args.repeats):
            for job, run in jobs.items():
                times[job].append(measure(run)[0])
            for engine in engines:
                times[engine].append(worker.ask({"file": str(path), "engine": engine})["cpu"])
    title = f"{args.assets} x {args.rows} book"
    rates = {job: report(title, job, times[job], counts[job], "orders") for job in jobs}
    if not engines:
        print(f"{title:24} vectorbt       peer absent: sh benchmarks/peers/install.sh")
        return
    for engine in engines:
        peer = report(title, engine, times[engine], theirs["n_orders"], "orders")
        for job, rate in rates.items():
            print(f"{title:24} {job} against {engine}: {rate / peer:.1f}x orders per second")
    final = float(simulate(*shared).daily[-1, EQUITY])
    gap = abs(theirs["final"] / final - 1.0)
    print(
        f"{title:24} shared rules: {counts['shared rules']:,} orders, the peer "
        f"{theirs['n_orders']:,}; equity differs by {gap:.1e}"
    )


if __name__ == "__main__":
    main()
