"""Speed and memory of Alpha158 as formulas: full run, appended day, parity with pandas.

Run ``python benchmarks/expressions.py --assets 800 --rows 3500``. Times are process CPU seconds of
one thread; the first run pays for fresh memory, the later ones write into the same buffer. Every
figure is printed beside a naive pandas evaluation of a few of the same formulas on some of the same
columns, whose numbers must agree.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import pandas as pd

from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.core.specs import SpecCatalog
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.sets import FeatureSet

PANDAS = {
    "MA20": lambda f: f["close"].rolling(20).mean() / f["close"],
    # Not rolling(60).std(): its running form has lost nine digits by the end of a long series.
    "STD60": lambda f: f["close"].rolling(60).apply(lambda x: x.std(ddof=1), raw=True) / f["close"],
    "QTLU60": lambda f: f["close"].rolling(60).quantile(0.8) / f["close"],
    "RANK60": lambda f: f["close"].rolling(60).rank(pct=True),
    "CORR20": lambda f: f["close"].rolling(20).corr(np.log(f["volume"] + 1)),
    "MAX30": lambda f: f["high"].rolling(30).max() / f["close"],
}


def market(n_rows: int, n_assets: int) -> Panel:
    """Geometric walks with consistent bars and lognormal volume, dense, seed fixed."""
    rng = np.random.default_rng(0)
    shape = (n_rows, n_assets)
    close = 50.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(shape), axis=0))
    opened = close * np.exp(0.01 * rng.standard_normal(shape))
    high = np.maximum(opened, close) * np.exp(0.01 * rng.random(shape))
    low = np.minimum(opened, close) * np.exp(-0.01 * rng.random(shape))
    fields = {
        "open": opened,
        "high": high,
        "low": low,
        "close": close,
        "volume": np.round(np.exp(14.0 + 0.5 * rng.standard_normal(shape))),
        "vwap": (high + low + close) / 3.0,
    }
    days = np.datetime64("2000-01-01") + np.arange(n_rows)
    return Panel(TimeAxis.sessions(days), tuple(f"A{j}@US#1" for j in range(n_assets)), fields)


def cpu(work):
    """Result and process CPU seconds of a call."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=int, default=800)
    parser.add_argument("--rows", type=int, default=3500)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    loaded = SpecCatalog.default().load("features", "alpha158", FeatureSet)
    texts = {s.name: s.expression for s in loaded.features}
    program, seconds = cpu(lambda: compile_expressions(texts))
    print(f"compile {len(texts)} formulas into {len(program.graph.nodes)} nodes  {seconds:8.3f} s")
    panel = market(args.rows, args.assets)
    _, seconds = cpu(lambda: program.run(panel.rows(0, 300)))
    print(f"first call, kernels compiled or loaded             {seconds:8.3f} s")
    before = peak_gb()
    out = np.empty((len(texts), *panel.shape), dtype=np.float32)
    times = [cpu(lambda: program.run(panel, out=out))[1] for _ in range(args.repeats)]
    print(f"Alpha158 {args.assets} x {args.rows}, float32, fresh buffer     {times[0]:8.3f} s")
    print(f"same, reused buffer: median, best      {np.median(times[1:]):8.3f} {min(times):8.3f} s")
    inputs = sum(panel.field(name).nbytes for name in panel.fields) / 1e9
    result = out.nbytes / 1e9
    print(f"peak {peak_gb():.2f} GB, before the run {before:.2f} GB")
    print(
        f"inputs {inputs:.2f} + result {result:.2f} GB, ratio {peak_gb() / (inputs + result):.2f}"
    )
    tail, seconds = cpu(lambda: program.tail(panel, first_row=args.rows - 1))
    same = all(
        tail.field(name).tobytes() == page[-1:].tobytes()
        for name, page in zip(program.names, out, strict=True)
    )
    print(f"last day alone {seconds:8.3f} s, same bits as the full run: {same}")
    columns = np.arange(min(40, args.assets))
    part = panel.columns(columns)
    frames = {name: pd.DataFrame(part.field(name)) for name in part.fields}
    few = compile_expressions({name: texts[name] for name in PANDAS})
    got, ours = cpu(lambda: few.run(part, dtype=np.float64))
    total = 0.0
    for name, formula in PANDAS.items():
        want, seconds = cpu(lambda formula=formula: formula(frames).to_numpy())
        total += seconds
        np.testing.assert_allclose(got.field(name), want, rtol=1e-9, atol=1e-10, err_msg=name)
    print(f"{len(PANDAS)} formulas, {len(columns)} assets, equal to 1e-9:")
    print(f"  pandas {total:.3f} s, here {ours:.3f} s")


if __name__ == "__main__":
    main()
