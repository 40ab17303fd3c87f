"""Alpha158 on a panel larger than the memory: time, peak memory, resume after a kill.

The panel is written to disk and mapped; features are computed a few at a time and wait on disk
(`quant_engine.workflows.inputs.computed_features`). Each size runs in a process of its own. With
``--kill-after`` the run is killed after that many seconds and started again, which computes what is
missing and has to end with the same bytes. Run ``python benchmarks/large_panel.py``: 17 GB of free
disk space for the largest size.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from quant_engine.artifacts.kinds.panel import read_panel, write_panel
from quant_engine.artifacts.pages import PageFolder
from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.core.specs import SpecCatalog
from quant_engine.features.sets import FeatureSet
from quant_engine.workflows.inputs import computed_features

KEY = "0" * 64


def write_market(n_rows: int, n_assets: int, folder: Path) -> None:
    """Geometric walks with consistent bars, drawn in blocks of assets."""
    names = ("open", "high", "low", "close", "volume", "vwap")
    fields = {name: np.empty((n_rows, n_assets)) for name in names}
    for first in range(0, n_assets, 500):
        columns = slice(first, min(first + 500, n_assets))
        rng = np.random.default_rng(first)
        shape = (n_rows, columns.stop - first)
        close = 50.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(shape), axis=0))
        opened = close * np.exp(0.01 * rng.standard_normal(shape))
        high = np.maximum(opened, close) * np.exp(0.01 * rng.random(shape))
        low = np.minimum(opened, close) * np.exp(-0.01 * rng.random(shape))
        volume = np.round(np.exp(14.0 + 0.5 * rng.standard_normal(shape)))
        typical = (high + low + close) / 3
        for name, values in zip(names, (opened, high, low, close, volume, typical), strict=True):
            fields[name][:, columns] = values
    days = np.datetime64("2000-01-01") + np.arange(n_rows)
    ids = tuple(f"A{j:05d}@US#1" for j in range(n_assets))
    folder.mkdir()
    write_panel(Panel(TimeAxis.sessions(days), ids, fields), folder)


def compute(root: Path) -> None:
    """The measured process."""
    loaded = SpecCatalog.default().load("features", "alpha158", FeatureSet)
    panel = read_panel(root / "panel")
    pages = PageFolder(root, KEY)
    before = time.perf_counter(), time.process_time()
    found = computed_features(panel, loaded, pages)
    seconds = time.perf_counter() - before[0], time.process_time() - before[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    size = sum(values.nbytes for values in found.fields.values()) / 1e9
    print(json.dumps({"wall": seconds[0], "cpu": seconds[1], "peak_gb": peak, "result_gb": size}))


def digest(root: Path) -> str:
    """Hash of all pages."""
    total = hashlib.sha256()
    for path in sorted(PageFolder(root, KEY).folder.glob("*.npy")):
        with path.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def run(root: Path, kill_after: float | None = None) -> dict | None:
    """Start the measured process; None when it was killed."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--compute", str(root)], stdout=subprocess.PIPE, text=True
    )
    try:
        answer, _ = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return None
    return json.loads(answer)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 2000, 5000])
    parser.add_argument("--kill-after", type=float)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    parser.add_argument("--compute", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.compute:
        compute(args.compute)
        return
    for size in args.sizes:
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            root = Path(name)
            write_market(size, size, root / "panel")
            measured = run(root)
            print(
                f"{size} x {size}: {measured['wall']:.1f} s ({measured['cpu']:.1f} CPU s), "
                f"result {measured['result_gb']:.1f} GB, peak {measured['peak_gb']:.2f} GB, "
                f"{measured['cpu'] / size**2 / 158 * 1e9:.1f} CPU ns per value",
                flush=True,
            )
            if args.kill_after:
                before = digest(root)
                PageFolder(root, KEY).remove()
                killed = run(root, args.kill_after) is None
                kept = len(list(PageFolder(root, KEY).folder.glob("*.npy")))
                again = run(root)
                print(
                    f"  killed after {args.kill_after:.0f} s: {killed}, {kept} of 158 pages kept, "
                    f"rest in {again['wall']:.1f} s, same bytes: {digest(root) == before}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
