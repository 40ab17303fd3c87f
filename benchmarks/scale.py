"""Time and memory of the simulator as the work grows: names x days, bars, and variants.

Every row is measured in a process of its own: CPU seconds of the call, and how far its memory rose
above what the process held with the inputs ready. Kinds:

* ``daily``: `Backtester.run` with the default book (50 names per side, traded every session) and
  the base costs, frames and metrics included;
* ``bars``: the same book, 5 names per side, on 5-minute bars;
* ``sweep``: pairs of moving averages over 500 names of 10 years, statistics alone.

Run ``python benchmarks/scale.py``; ``--svg FILE`` draws the table, ``--small`` is a quick check.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
from books import make_panel
from simulator import measure, plain_costs

YEAR, BARS_PER_DAY = 252, 288
DAILY = [(500, 20), (1000, 20), (2500, 20), (5000, 20), (5000, 5), (5000, 10)]
BARS = [(30, 25_000), (30, 50_000), (30, 100_000)]
SWEEP = [10, 100, 1_000]


def fields_of(n_rows: int, n_assets: int, vol: float) -> dict[str, np.ndarray]:
    """Open, close and volume of walks, seed fixed."""
    rng = np.random.default_rng(0)
    close = rng.standard_normal((n_rows, n_assets))
    close *= vol
    np.cumsum(close, axis=0, out=close)
    np.exp(close, out=close)
    close *= 50.0
    opened = np.vstack([close[:1], close[:-1]])
    return {"open": opened, "close": close, "volume": np.full(close.shape, 1e6)}


def book_work(panel, names_per_side: int, periods_per_year: float):
    """A call of the public door; scores are fixed noise."""
    from quant_engine.backtest import BacktestConfig, Backtester, PortfolioConfig
    from quant_engine.execution import CostProfile

    score = np.random.default_rng(1).standard_normal(panel.shape)
    config = BacktestConfig(
        portfolio=PortfolioConfig(names_per_side=names_per_side), periods_per_year=periods_per_year
    )
    door, costs = Backtester(config), CostProfile(name="base")
    return lambda: door.run(score, panel, costs=costs)


def daily(n_assets: int, n_years: int):
    """Daily book."""
    panel = make_panel(fields_of(n_years * YEAR, n_assets, 0.02))
    return book_work(panel, 50, float(YEAR))


def bars(n_assets: int, n_bars: int):
    """5-minute book around the clock."""
    from quant_engine.core.panel import Panel, TimeAxis

    start = np.datetime64("2015-01-01T00:05", "us")
    times = start + np.arange(n_bars) * np.timedelta64(300_000_000, "us")
    axis = TimeAxis(kind="bar", values=times, calendar="24/7", bar_seconds=300)
    ids = tuple(f"A{j:05d}@CC#1" for j in range(n_assets))
    panel = Panel(axis, ids, fields_of(n_bars, n_assets, 0.001))
    return book_work(panel, 5, 365.0 * BARS_PER_DAY)


def sweep(n_variants: int, _: int):
    """Average pairs."""
    from quant_engine.backtest import BacktestConfig
    from quant_engine.backtest.sweep import SweepIdentity
    from quant_engine.backtest.sweep_averages import AverageCross, sweep_average_crosses
    from quant_engine.core.trials import MemoryTrialSink

    panel = make_panel(fields_of(10 * YEAR, 500, 0.02))
    pairs = [(fast, fast + slow) for slow in range(5, 255, 5) for fast in range(2, 42, 2)]
    variants = [AverageCross(fast_sessions=f, slow_sessions=s) for f, s in pairs[:n_variants]]
    identity, costs = SweepIdentity("benchmark", "market", "none"), plain_costs()
    return lambda: sweep_average_crosses(
        panel, variants, config=BacktestConfig(), costs=costs, trials=MemoryTrialSink(),
        identity=identity,
    )  # fmt: skip


KINDS = {"daily": daily, "bars": bars, "sweep": sweep}


def peak_mb() -> float:
    """Highest memory of the process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one(kind: str, size: tuple[int, int], repeats: int) -> dict:
    """Measure one row; code is compiled on a small one before."""
    small = {"daily": (120, 1), "bars": (12, 600), "sweep": (2, 0)}[kind]
    KINDS[kind](*small)()
    work = KINDS[kind](*size)
    before = peak_mb()
    times = []
    for _ in range(repeats):
        cpu, made = measure(work)
        times.append(cpu)
        n_orders = len(made.orders) if hasattr(made, "orders") else 0
        del made
    return {"cpu": float(np.median(times)), "inputs_mb": before, "more_mb": peak_mb() - before,
            "orders": n_orders}  # fmt: skip


def cells(kind: str, size: tuple[int, int]) -> int:
    """Cells of work: names x rows, or names x rows x variants."""
    if kind == "daily":
        return size[0] * size[1] * YEAR
    return size[0] * size[1] if kind == "bars" else size[0] * 500 * 10 * YEAR


def label(kind: str, size: tuple[int, int]) -> str:
    """What a row is."""
    if kind == "daily":
        return f"{size[0]:,} names, {size[1]} years of days"
    if kind == "bars":
        return f"{size[0]} names, {size[1]:,} 5-minute bars"
    return f"{size[0]:,} variants, 500 names, 10 years"


def series(kind: str, size: tuple[int, int]) -> list[str]:
    """Lines of the picture on which a row lies."""
    if kind != "daily":
        return [kind]
    grown = {"names": size[1] == DAILY[0][1], "days": size[0] == DAILY[-1][0]}
    return [name for name, is_on in grown.items() if is_on]


def table(small: bool, repeats: int) -> list[dict]:
    """Measure every row."""
    sizes = {"daily": DAILY, "bars": BARS, "sweep": [(n, 0) for n in SWEEP]}
    if small:
        sizes = {"daily": [(200, 1), (200, 2)], "bars": [(12, 2000)], "sweep": [(2, 0)]}
    rows = []
    for kind, wanted in sizes.items():
        for size in wanted:
            command = [sys.executable, __file__, "--one", kind, str(size[0]), str(size[1])]
            told = subprocess.run(
                [*command, "--repeats", str(repeats)], capture_output=True, text=True, check=True
            )
            row = {"series": series(kind, size), "what": label(kind, size)}
            row["cells"] = cells(kind, size)
            rows.append(row | json.loads(told.stdout.splitlines()[-1]))
            last = rows[-1]
            print(
                f"{last['what']:34} {last['cells'] / 1e6:9.1f} M cells {last['cpu']:8.2f} CPU s "
                f"{last['cells'] / last['cpu'] / 1e6:8.1f} M cells/s {last['orders']:>10,} orders "
                f"{last['inputs_mb']:7.0f} MB before, {last['more_mb']:6.0f} MB more",
                flush=True,
            )
    return rows


def text(x: float, y: float, words: str, anchor: str) -> str:
    """A label of the picture."""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{words}</text>'


def draw(rows: list[dict], file: Path) -> None:
    """Two log-log panels: CPU seconds and memory against cells."""
    colours = {"names": "#1f77b4", "days": "#9467bd", "bars": "#d62728", "sweep": "#2ca02c"}
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" width="920" height="380" '
             'font-family="sans-serif" font-size="12">',
             '<rect width="920" height="380" fill="white"/>']  # fmt: skip
    for left, key, title in ((70, "cpu", "CPU seconds"), (530, "more_mb", "memory, MB more")):
        xs = [math.log10(row["cells"]) for row in rows]
        ys = [math.log10(max(row[key], 0.01)) for row in rows]
        low_x, high_x = math.floor(min(xs)), math.ceil(max(xs))
        low_y, high_y = math.floor(min(ys)), math.ceil(max(ys))

        def place(x, y, left=left, a=(low_x, high_x), b=(low_y, high_y)):
            across = left + 340 * (x - a[0]) / (a[1] - a[0])
            return across, 320 - 270 * (y - b[0]) / (b[1] - b[0])

        parts.append(f'<text x="{left}" y="30" font-size="14">{title} against cells of work</text>')
        for power in range(low_x, high_x + 1):
            x, y = place(power, low_y)
            parts.append(f'<path d="M{x:.0f} {y:.0f}V50" stroke="#ddd"/>')
            parts.append(text(x, y + 18, f"1e{power}", "middle"))
        for power in range(low_y, high_y + 1):
            x, y = place(low_x, power)
            parts.append(f'<path d="M{x:.0f} {y:.0f}h340" stroke="#ddd"/>')
            parts.append(text(x - 6, y + 4, f"{10.0**power:g}", "end"))
        for number, (kind, colour) in enumerate(colours.items()):
            own = sorted(
                (x, y) for x, y, row in zip(xs, ys, rows, strict=True) if kind in row["series"]
            )
            points = [place(x, y) for x, y in own]
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}"/>')
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in points
            ]
            parts.append(
                f'<text x="{left + 20 + 70 * number}" y="366" fill="{colour}">{kind}</text>'
            )
    file.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, metavar=("KIND", "A", "B"), help="measure one row")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    if args.one:
        kind, size = args.one[0], (int(args.one[1]), int(args.one[2]))
        print(json.dumps(one(kind, size, args.repeats)))
        return
    rows = table(args.small, args.repeats)
    if args.svg:
        draw(rows, args.svg)


if __name__ == "__main__":
    main()
