"""Speed and parity of triple-barrier labels: a million events against plain loops and a peer.

1. ``make_market`` draws a market of 800 assets and 3,500 sessions, symbol-major prices included.
2. ``time_ours`` parses, groups and labels a million events, on bars and on closes, in two orders:
   session by session, as a panel gives them, and shuffled.
3. ``by_pandas`` and ``by_numpy`` label a subset event by event; every label has to be the same.
4. ``by_peer`` labels a subset of one asset with mlfinpy on closes, in its own environment.

Laying prices out once per panel (`price_paths`) is timed by itself; a second set of events on the
same panel does not pay for it again. Run ``python benchmarks/triple_barrier.py``. Measurement code
outside the package.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.features.barrier_inputs import (
    PricePaths,
    barrier_events,
    price_paths,
)
from quant_engine.features.barriers import (
    CLOSE_TO_CLOSE,
    BarrierConfig,
    BarrierLabels,
    barrier_labels,
)

PEER = Path(__file__).parents[1] / ".peers" / "mlfinpy" / "bin" / "python"
PEER_SCRIPT = Path(__file__).parent / "peers" / "mlfinpy_labels.py"
N_ASSETS, N_SESSIONS = 800, 3_500
HOLDING, MULTIPLE, TARGET = 20, 2.0, 0.02
BARS = BarrierConfig(holding_bars=HOLDING)
CLOSES = BarrierConfig(**{**CLOSE_TO_CLOSE.content(), "holding_bars": HOLDING})


def make_market(seed: int) -> Panel:
    """Draw random walks with consistent bars."""
    rng = np.random.default_rng(seed)
    shape = (N_SESSIONS, N_ASSETS)
    close = 100.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(shape), axis=0))
    opened = close * np.exp(0.005 * rng.standard_normal(shape))
    fields = {
        "open": opened,
        "high": np.maximum(opened, close) * np.exp(0.007 * rng.random(shape)),
        "low": np.minimum(opened, close) * np.exp(-0.007 * rng.random(shape)),
        "close": close,
    }
    days = np.arange(np.datetime64("2000-01-03"), np.datetime64("2030-01-01"))
    axis = TimeAxis.sessions(days[np.is_busday(days)][:N_SESSIONS])
    return Panel(axis, tuple(f"T{j}@US#1" for j in range(N_ASSETS)), fields)


def draw_events(n_events: int, seed: int, *, shuffled: bool) -> tuple[np.ndarray, ...]:
    """Rows, assets, targets and sides of distinct cells."""
    rng = np.random.default_rng(seed)
    cells = rng.choice(N_ASSETS * (N_SESSIONS - HOLDING - 2), n_events, replace=False)
    cells = cells if shuffled else np.sort(cells)
    side = np.where(rng.random(n_events) < 0.5, 1, -1).astype(np.int8)
    return cells // N_ASSETS, cells % N_ASSETS, np.full(n_events, TARGET), side


def label(paths: PricePaths, events: tuple[np.ndarray, ...], config: BarrierConfig):
    """Parse, group and label."""
    rows, assets, target, side = events
    grouped = barrier_events(paths, rows, assets, target_frac=target, side=side)
    return barrier_labels(paths, grouped, config)


def best_of(n_runs: int, work: Callable[[], BarrierLabels]) -> tuple[float, BarrierLabels]:
    """Shortest of some runs after one to warm up; seconds of CPU, and the result."""
    result, times = work(), []
    for _ in range(n_runs):
        start = time.process_time()
        result = work()
        times.append(time.process_time() - start)
    return min(times), result


def one_event(config: BarrierConfig, bars, entry: int, side: int) -> tuple[int, float]:
    """Row and return of one event by the text of the contract; bars are open, high, low, close."""
    opened, high, low, close = bars
    if config.path == "closes":
        base = close[entry]
        for row in range(entry, entry + HOLDING + 1):
            ret = (close[row] / base - 1.0) * side
            if ret > MULTIPLE * TARGET or ret < -MULTIPLE * TARGET:
                return row, ret
        return row, ret
    base = opened[entry]
    profit = base * (1.0 + side * MULTIPLE * TARGET)
    stop = base * (1.0 - side * MULTIPLE * TARGET)
    for row in range(entry, entry + HOLDING):
        worst, best = (low[row], high[row]) if side > 0 else (high[row], low[row])
        if side * opened[row] <= side * stop or side * opened[row] > side * profit:
            return row, (opened[row] / base - 1.0) * side
        if side * worst <= side * stop:
            return row, (stop / base - 1.0) * side
        if side * best > side * profit:
            return row, (profit / base - 1.0) * side
    return entry + HOLDING, (opened[entry + HOLDING] / base - 1.0) * side


def by_numpy(panel: Panel, events, config: BarrierConfig) -> tuple[np.ndarray, np.ndarray]:
    """Loop over events and bars."""
    fields = [panel.field(name) for name in ("open", "high", "low", "close")]
    rows, assets, _, side = events
    made = [
        one_event(config, [f[:, a] for f in fields], r + config.entry_lag, int(s))
        for r, a, s in zip(rows, assets, side, strict=True)
    ]
    return np.array([m[0] for m in made]), np.array([m[1] for m in made])


def by_pandas(panel: Panel, events, config: BarrierConfig) -> tuple[np.ndarray, np.ndarray]:
    """The usual recipe on closes: slice the path of an event, look for the first touch."""
    close = pd.DataFrame(panel.field("close"))
    exits, returns = [], []
    for r, a, _, s in zip(*events, strict=True):
        path = close[a].loc[r + config.entry_lag : r + config.entry_lag + HOLDING]
        ret = (path / path.iloc[0] - 1.0) * s
        touched = ret.index[(ret > MULTIPLE * TARGET) | (ret < -MULTIPLE * TARGET)]
        last = touched[0] if len(touched) else path.index[-1]
        exits.append(last)
        returns.append(ret.loc[last])
    return np.array(exits), np.array(returns)


def by_peer(panel: Panel, n_events: int) -> float | None:
    """CPU seconds per event of mlfinpy (first touches and bins), None where it is not installed."""
    if not PEER.exists():
        return None
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "close.csv"
        pd.Series(panel.field("close")[:, 0], panel.time.index, name="close").to_csv(path)
        command = [PEER, PEER_SCRIPT, path, str(n_events), str(MULTIPLE), str(TARGET)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1]) / n_events


def same(ours: BarrierLabels, theirs: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether every exit row and every bit of every return agrees."""
    rows = ours.in_given_order(ours.exit_row)
    returns = ours.in_given_order(ours.ret_frac)
    return bool((rows == theirs[0]).all() and (returns == theirs[1]).all())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--subset", type=int, default=2_000)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    panel = make_market(options.seed)
    start = time.process_time()
    paths = price_paths(panel)
    print(f"price_paths, once per panel: {time.process_time() - start:.3f} s")
    per_event = 0.0
    for name, config in (("bars", BARS), ("closes", CLOSES)):
        for order, shuffled in (("by session", False), ("shuffled", True)):
            events = draw_events(options.events, options.seed, shuffled=shuffled)
            seconds, _ = best_of(options.runs, lambda e=events, c=config: label(paths, e, c))
            print(
                f"{name}, {order}: {options.events:,} events with grouping in {seconds:.4f} s, "
                f"{options.events / seconds / 1e6:.1f} M/s"
            )
            if not shuffled:
                per_event = seconds / options.events
        subset = draw_events(options.subset, options.seed + 1, shuffled=False)
        ours = label(paths, subset, config)
        loops = {"numpy": by_numpy} | ({"pandas": by_pandas} if name == "closes" else {})
        for loop, function in loops.items():
            start = time.process_time()
            theirs = function(panel, subset, config)
            each = (time.process_time() - start) / options.subset
            print(
                f"{name}, {loop} event by event: {each * options.events:.1f} s per "
                f"{options.events:,}, ratio {each / per_event:,.0f}x, "
                f"parity {'exact' if same(ours, theirs) else 'BROKEN'} on {options.subset:,}"
            )
    peer = by_peer(panel, options.subset)
    if peer is None:
        print("mlfinpy: peer absent, sh benchmarks/peers/install.sh")
    else:
        print(
            f"mlfinpy on closes: {peer * options.events:.0f} s per {options.events:,}, "
            f"ratio {peer / per_event:,.0f}x"
        )


if __name__ == "__main__":
    main()
