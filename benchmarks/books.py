"""Target-weight books in one account against vectorbt, bt and zipline, in orders per second.

Parity first, on the rules that two engines share, then speed:

1. ``vectorbt``: replays the shares that our run filled, at the same prices and fee (parity with
   fees); then trades towards the same weights by ``from_orders(size_type="targetpercent")``, which
   sizes after its fee too (parity without fees). The second is a target-weight book and is timed;
   the replay is timed beside it.
2. ``bt``: trades towards the same weights; free of fees, because bt sizes after its commission.
3. ``zipline``: orders the same shares, rounded, at the same prices and fee.
4. ``full``: our book with everything that they lack: costs with spread and impact, borrow,
   dividends, splits, delistings, whole lots, the participation cap. Orders that the cap leaves
   unfilled are orders too. ``door`` is the same book through `Backtester`, with daily frame and all
   metrics.

Each engine runs in a process of its own, repeats alternate, the median of CPU seconds counts. Run
``python benchmarks/books.py``; the peers come from ``sh benchmarks/peers/install.sh``. Without one
its rows say "peer absent".
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from features import Worker
from simulator import CASH, ENGINES, FEE_BPS, market, measure

PEERS = Path(__file__).parents[1] / ".peers"
WORKERS = Path(__file__).parent / "peers"
BT_CASH = 1e6
"""bt finds sizes by trial; in a large account its tolerance is below float precision: it stops."""

HINT = "peer absent: sh benchmarks/peers/install.sh"


def days(n_rows: int) -> np.ndarray:
    """Weekdays, as many as wanted."""
    every = np.arange(np.datetime64("1980-01-01"), np.datetime64("2080-01-01"))
    return every[np.is_busday(every)][:n_rows]


def make_panel(fields: dict[str, np.ndarray], *, is_raw: bool = False):
    """A panel of this project."""
    from quant_engine.core.panel import Panel, PriceBasis, TimeAxis

    n_rows, n_assets = fields["close"].shape
    ids = tuple(f"A{j:05d}@US#1" for j in range(n_assets))
    basis = PriceBasis.RAW if is_raw else PriceBasis.SPLIT_ADJ
    return Panel(TimeAxis.sessions(days(n_rows)), ids, fields, price_basis=basis)


def plain_profile(fee_bps: float):
    """A fee and nothing else."""
    from quant_engine.execution import CostProfile

    return CostProfile(
        name="fee", fee_bps=fee_bps, half_spread_bps=0.0, use_panel_spread=False,
        impact_coef_bps=0.0, borrow_bps_ann=0.0, participation_cap_frac=None, min_fill_frac=0.0,
    )  # fmt: skip


def random_weights(shape: tuple[int, int]) -> np.ndarray:
    """Long and short, gross 1, new every day: every asset trades every day."""
    drawn = np.random.default_rng(1).standard_normal(shape)
    return drawn / np.abs(drawn).sum(axis=1, keepdims=True)


class Book:
    """A prepared run; preparing is not timed, as the peers get ready arrays too."""

    def __init__(self, panel, weights: np.ndarray, costs, *, delistings=None, trading=None) -> None:
        from quant_engine.backtest.config import BacktestConfig, TradingRules
        from quant_engine.backtest.inputs import build_market, build_rules, parse_panel
        from quant_engine.backtest.run_costs import costed_market, costed_rules, parse_costs
        from quant_engine.backtest.trading import parse_symbol_changes, traded_market, traded_rules
        from quant_engine.execution.delistings import parse_delistings

        config = BacktestConfig(initial_equity_usd=CASH, trading=trading or TradingRules())
        parsed, rows = parse_panel(panel, accepts_raw=True), slice(0, len(weights))
        delist = parse_delistings(delistings, parsed, config.terminal)
        charged = parse_costs(costs, panel)
        changes = parse_symbol_changes(None, parsed)
        built = build_market(parsed, delist, charged.profile, rows)
        built = traded_market(built, panel, config.fill, changes, rows)
        self.market = costed_market(built, charged, rows)
        rules = costed_rules(build_rules(config, charged.profile), charged)
        self.rules = traded_rules(rules, config)
        self.weights = weights
        self.tranche = np.zeros(len(weights), np.int64)

    def run(self):
        """Every order, round trip and day."""
        from quant_engine.backtest.round_trips import run_weights

        return run_weights(self.market, self.weights, self.tranche, 1, self.rules)


def equity_of(run) -> np.ndarray:
    """Equity per row."""
    from quant_engine.backtest.kernel_state import EQUITY

    return run.daily[: run.n_rows, EQUITY]


def filled_shares(run, shape: tuple[int, int]) -> np.ndarray:
    """Shares by row and asset."""
    size = np.zeros(shape)
    size[run.orders["row"], run.orders["asset"]] = run.orders["filled_shares"]
    return size


def full_book(n_rows: int, n_assets: int) -> tuple[Book, object]:
    """Everything that a book can meet; also a call of the public door on the same market."""
    import pandas as pd

    from quant_engine.backtest import BacktestConfig, Backtester, PortfolioConfig
    from quant_engine.backtest.config import TradingRules
    from quant_engine.execution import CostProfile

    rng = np.random.default_rng(2)
    fields = market(n_rows, n_assets)
    shape = (n_rows, n_assets)
    fields["dividend"] = np.where(rng.random(shape) < 0.016, 0.003 * fields["close"], np.nan)
    fields["borrow_bps_ann"] = rng.uniform(30.0, 800.0, shape)
    ratio = np.where(rng.random(shape) < 0.0005, 2.0, np.nan)
    shrink = np.cumprod(np.where(np.isnan(ratio), 1.0, ratio), axis=0)
    for name in ("open", "high", "low", "close"):
        fields[name] = fields[name] / shrink
    fields["split_factor"] = ratio
    fields["volume"] = np.exp(rng.normal(12.0, 1.5, shape)) * shrink
    gone = rng.choice(n_assets, n_assets // 20, replace=False)
    last = rng.integers(n_rows // 4, n_rows - 2, len(gone))
    for row, asset in zip(last, gone, strict=True):
        for values in fields.values():
            values[row + 1 :, asset] = np.nan
    panel = make_panel(fields, is_raw=True)
    delistings = pd.DataFrame(
        {
            "asset_id": [panel.asset_ids[asset] for asset in gone],
            "session": days(n_rows)[last + 1],
            "terminal_return": -0.3,
            "reason": "bankruptcy",
        }
    )
    costs, trading = CostProfile(name="base"), TradingRules(lot_shares=1.0)
    weights = random_weights(shape)
    book = Book(panel, weights, costs, delistings=delistings, trading=trading)
    config = BacktestConfig(
        initial_equity_usd=CASH,
        portfolio=PortfolioConfig(names_per_side=n_assets // 2),
        trading=trading,
    )
    door = Backtester(config)

    def through_door():
        result = door.run(weights, panel, costs=costs, delistings=delistings)
        # Frames are made when asked for; the metrics need every record.
        return result, result.summary

    return book, through_door


def peer(name: str) -> Worker | None:
    """A fresh worker of a peer, if it is installed."""
    python = PEERS / name / "bin" / "python"
    return Worker([str(python), str(WORKERS / f"{name}_worker.py")]) if python.exists() else None


def say(engine: str, n_orders: int, times: list[float]) -> float:
    """Print one line; return orders per second."""
    rate = n_orders / float(np.median(times))
    best = f"({min(times):.4f} best)"
    print(f"{engine:24} {n_orders:>10,} orders {np.median(times):9.4f} CPU s {best} "
          f"{rate:>14,.0f} orders/s")  # fmt: skip
    return rate


def gap_of(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest relative difference of two equity curves."""
    return float(np.abs(np.asarray(found) / wanted - 1.0).max())


def ask_vectorbt(shape: tuple[int, int], repeats: int, folder: Path) -> tuple[list[float], int]:
    """Replay our shares, then trade towards our weights; times of its faster engine and orders."""
    worker = peer("vectorbt")
    if worker is None:
        print(f"{'vectorbt':24} {HINT}")
        return [], 0
    fields, weights = market(*shape), random_weights(shape)
    run = Book(make_panel(fields), weights, plain_profile(FEE_BPS)).run()
    replayed = folder / "replay.npz"
    np.savez(replayed, close=fields["close"], price=fields["open"], size=filled_shares(run, shape))
    request = {"task": "orders", "file": str(replayed), "fee_frac": FEE_BPS / 1e4, "cash": CASH}
    for engine in ENGINES:
        answers = [worker.ask({**request, "engine": engine}) for _ in range(repeats + 1)]
        gap = abs(answers[0]["final"] / equity_of(run)[-1] - 1.0)
        print(f"{'parity vectorbt':24} {answers[0]['n_orders']:,} orders of {len(run.orders):,} "
              f"replayed, equity differs by {gap:.1e}")  # fmt: skip
        say(f"vectorbt replay {engine}", len(run.orders), [own["cpu"] for own in answers[1:]])
    fields["open"][1:] = fields["close"][:-1]
    free = Book(make_panel(fields), weights, plain_profile(0.0)).run()
    wanted = np.vstack([np.zeros((1, shape[1])), weights[:-1]])
    file = folder / "weights.npz"
    np.savez(file, close=fields["close"], price=fields["open"], weights=wanted)
    request |= {"task": "weights", "file": str(file), "engine": "numba"}
    found = worker.ask({**request, "fee_frac": 0.0})
    times = {
        engine: [worker.ask({**request, "engine": engine})["cpu"] for _ in range(repeats)]
        for engine in ENGINES
    }
    worker.close()
    gap = abs(found["final"] / equity_of(free)[-1] - 1.0)
    print(f"{'parity vectorbt':24} {found['n_orders']:,} orders of {len(free.orders):,} to "
          f"weights, without fees equity differs by {gap:.1e}")  # fmt: skip
    return min(times.values(), key=np.median), found["n_orders"]


def ask_bt(shape: tuple[int, int], repeats: int, folder: Path) -> tuple[list[float], int]:
    """Trade towards our weights; bt sizes at the price it trades at, so opens repeat closes."""
    fields, weights = market(*shape), random_weights(shape)
    fields["open"][1:] = fields["close"][:-1]
    run = Book(make_panel(fields), weights, plain_profile(0.0)).run()
    shifted = np.vstack([np.zeros((1, shape[1])), weights[:-1]])
    file = folder / "bt.npz"
    np.savez(file, price=fields["open"], weights=shifted)
    worker = peer("bt")
    if worker is None:
        print(f"{'bt':24} {HINT}")
        return [], len(run.orders)
    request = {"file": str(file), "cash": BT_CASH}
    free = worker.ask({**request, "fee_frac": 0.0})
    answers = [worker.ask({**request, "fee_frac": FEE_BPS / 1e4}) for _ in range(repeats)]
    worker.close()
    gap = gap_of(free["equity"][1:], equity_of(run)[:-1] * (BT_CASH / CASH))
    print(f"{'parity bt':24} {free['n_orders']:,} orders of {len(run.orders):,}, without fees "
          f"equity differs by {gap:.1e}")  # fmt: skip
    return [own["cpu"] for own in answers], len(run.orders)


def ask_zipline(shape: tuple[int, int], repeats: int, folder: Path) -> tuple[list[float], int]:
    """Order our shares, rounded; one price per bar, as zipline fills at the close."""
    fields = market(*shape)
    fields["open"] = fields["close"] = np.round(fields["close"], 2)
    run = Book(make_panel(fields), random_weights(shape), plain_profile(FEE_BPS)).run()
    file = folder / "zipline.npz"
    np.savez(file, price=fields["open"], size=filled_shares(run, shape))
    worker = peer("zipline")
    if worker is None:
        print(f"{'zipline':24} {HINT}")
        return [], len(run.orders)
    request = {"file": str(file), "cash": CASH, "fee_frac": FEE_BPS / 1e4}
    answers = [worker.ask(request) for _ in range(repeats + 1)]
    worker.close()
    gap = gap_of(answers[0]["equity"], equity_of(run))
    print(f"{'parity zipline':24} {answers[0]['n_orders']:,} orders of {len(run.orders):,}, whole "
          f"shares: equity differs by {gap:.1e}")  # fmt: skip
    return [own["cpu"] for own in answers[1:]], len(run.orders)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1001)
    parser.add_argument("--assets", type=int, default=500)
    parser.add_argument("--slow-rows", type=int, default=253, help="sessions of bt and zipline")
    parser.add_argument("--slow-assets", type=int, default=50, help="assets of bt and zipline")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    from quant_engine.backtest.kernel_state import STATUSES

    shape, slow = (args.rows, args.assets), (args.slow_rows, args.slow_assets)
    book, door = full_book(*shape)
    n_orders = len(book.run().orders)
    n_door = len(door()[0].orders)
    times: dict[str, list[float]] = {
        "full": [],
        "door": [],
        "vectorbt": [],
        "bt": [],
        "zipline": [],
    }
    counts = {"full": n_orders, "door": n_door}
    asks = {"vectorbt": (ask_vectorbt, shape), "bt": (ask_bt, slow), "zipline": (ask_zipline, slow)}
    with tempfile.TemporaryDirectory() as name:
        for engine, (ask, size) in asks.items():
            # One of our runs stands between any two of a peer's.
            for _ in range(args.repeats):
                times["full"].append(measure(book.run)[0])
            times["door"].append(measure(door)[0])
            times[engine], counts[engine] = ask(size, args.repeats, Path(name))
    rates = {engine: say(engine, counts[engine], found) for engine, found in times.items() if found}
    codes, n = np.unique(book.run().orders["status"], return_counts=True)
    named = ", ".join(f"{STATUSES[code]} {count:,}" for code, count in zip(codes, n, strict=True))
    print(f"{'full, by status':24} {named}")
    for engine in asks:
        if engine in rates:
            print(f"{'ratio':24} {engine:14} {rates['full'] / rates[engine]:9.1f}x full, "
                  f"{rates['door'] / rates[engine]:.1f}x through the door")  # fmt: skip


if __name__ == "__main__":
    main()
