"""Features against Qlib: fourteen factors, Alpha158, loading a panel; rank IC against pandas.

1. ``market`` draws prices, rounded to float32 because Qlib stores that, and writes them twice: as a
   panel of this project and as Qlib's bin files.
2. Each engine runs in a process of its own (``Worker``), so that peak memory is its own; the tasks
   alternate, engine by engine, and the median of the repeats counts. Times are CPU seconds of one
   thread.
3. Values of some assets are compared after the first 60 rows, in which Qlib has partial windows.

Run ``python benchmarks/features.py``; peers come from ``sh benchmarks/peers/install.sh``. Without
them their rows say "peer absent". ``--threads 2`` measures a second thread instead.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

PEER = Path(__file__).parents[1] / ".peers" / "qlib" / "bin" / "python"
QLIB_WORKER = Path(__file__).parent / "peers" / "qlib_worker.py"
FIELDS = ("open", "high", "low", "close", "volume", "vwap")
N_COMPARED, WARM_UP = 20, 60

FACTORS = {
    "KMID": "($close-$open)/$open",
    "KLEN": "($high-$low)/$open",
    "KSFT": "(2*$close-$high-$low)/$open",
    "ROC5": "Ref($close, 5)/$close",
    "ROC20": "Ref($close, 20)/$close",
    "MA10": "Mean($close, 10)/$close",
    "MA60": "Mean($close, 60)/$close",
    "STD20": "Std($close, 20)/$close",
    "BETA20": "Slope($close, 20)/$close",
    "MAX20": "Max($high, 20)/$close",
    "MIN20": "Min($low, 20)/$close",
    "RSV20": "($close-Min($low, 20))/(Max($high, 20)-Min($low, 20)+1e-12)",
    "CORR20": "Corr($close, Log($volume+1), 20)",
    "VMA20": "Mean($volume, 20)/($volume+1e-12)",
}
"""The paper on Qlib times 14 factors and does not list them; these are of the same shape."""


def market(n_rows: int, n_assets: int) -> dict[str, np.ndarray]:
    """Geometric walks with consistent bars and lognormal volume, dense, seed fixed."""
    rng = np.random.default_rng(0)
    shape = (n_rows, n_assets)
    close = 50.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(shape), axis=0))
    opened = close * np.exp(0.01 * rng.standard_normal(shape))
    high = np.maximum(opened, close) * np.exp(0.01 * rng.random(shape))
    low = np.minimum(opened, close) * np.exp(-0.01 * rng.random(shape))
    volume = np.round(np.exp(14.0 + 0.5 * rng.standard_normal(shape)))
    values = dict(
        zip(FIELDS, (opened, high, low, close, volume, (high + low + close) / 3), strict=True)
    )
    return {name: v.astype(np.float32).astype(np.float64) for name, v in values.items()}


def write_qlib(fields: dict[str, np.ndarray], days: np.ndarray, folder: Path) -> None:
    """Qlib's layout: a calendar, a list of instruments, and one float32 file per field."""
    (folder / "calendars").mkdir(parents=True)
    (folder / "calendars" / "day.txt").write_text("\n".join(map(str, days)) + "\n")
    (folder / "instruments").mkdir()
    n_assets = fields["close"].shape[1]
    lines = [f"A{j:05d}\t{days[0]}\t{days[-1]}" for j in range(n_assets)]
    (folder / "instruments" / "all.txt").write_text("\n".join(lines) + "\n")
    for j in range(n_assets):
        own = folder / "features" / f"a{j:05d}"
        own.mkdir(parents=True)
        for name, values in fields.items():
            column = np.concatenate([[0.0], values[:, j]]).astype("<f4")
            column.tofile(own / f"{name}.day.bin")


def write_ours(fields: dict[str, np.ndarray], days: np.ndarray, folder: Path) -> None:
    """The layout of a stored panel."""
    from quant_engine.artifacts.kinds.panel import write_panel
    from quant_engine.core.panel import Panel, TimeAxis

    folder.mkdir()
    ids = tuple(f"A{j:05d}@US#1" for j in range(fields["close"].shape[1]))
    write_panel(Panel(TimeAxis.sessions(days), ids, fields), folder)


def our_answer(request: dict, folder: Path) -> dict:
    """One request, computed here: from the files to a frame (factors), or to arrays."""
    from quant_engine.artifacts.kinds.panel import read_panel
    from quant_engine.features.expressions.program import compile_expressions

    before = time.process_time(), time.perf_counter()
    panel = read_panel(folder)
    if request["task"] == "load":
        result = sum(float(values.sum()) for values in panel.fields.values())
        size = sum(values.nbytes for values in panel.fields.values())
    else:
        program = compile_expressions(request["expressions"])
        shape = (len(program.names), *panel.shape)
        if shape not in BUFFERS:
            BUFFERS[shape] = np.empty(shape, np.float32)
        result = program.run(panel, out=BUFFERS[shape], threads=request.get("threads", 1))
        size = sum(values.nbytes for values in result.fields.values())
        if request.get("frame"):
            result.to_long()
    cpu, wall = time.process_time() - before[0], time.perf_counter() - before[1]
    if request.get("save"):
        kept = {n: v[:, : request["n_saved"]].astype(float) for n, v in result.fields.items()}
        np.savez(request["save"], **kept)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"cpu": cpu, "wall": wall, "peak_gb": peak, "result_gb": size / 1e9}


BUFFERS: dict[tuple[int, ...], np.ndarray] = {}
"""Results that are written again, as a service would; the first run pays for the fresh memory."""


class Worker:
    """An engine in a process of its own."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        self.version = json.loads(self._read())["ready"]

    def ask(self, request: dict) -> dict:
        """Send a request and wait for the answer."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._read())

    def _read(self) -> str:
        # A library may print; answers are the lines that hold an object.
        while line := self._process.stdout.readline():
            if line.startswith("{"):
                return line
        raise RuntimeError(f"worker ended with {self._process.wait()}")

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()


def serve(folder: Path) -> None:
    """The worker of this project."""
    print(json.dumps({"ready": "quant_engine"}), flush=True)
    for line in sys.stdin:
        print(json.dumps(our_answer(json.loads(line), folder)), flush=True)


def engines(root: Path, n_assets: int) -> dict[str, Worker]:
    """A fresh worker per engine."""
    found = {"ours": Worker([sys.executable, __file__, "--serve", str(root / "ours")])}
    if PEER.exists():
        command = [str(PEER), str(QLIB_WORKER), str(root / "qlib"), str(n_assets)]
        found["qlib"] = Worker(command)
    return found


def compare(title: str, request: dict, root: Path, n_assets: int, repeats: int) -> None:
    """Run a task on all engines in turn, print medians, the ratio, memory and parity."""
    workers = engines(root, n_assets)
    saved = {name: root / f"{name}.npz" for name in workers}
    for name, worker in workers.items():  # warms caches and keeps the values
        keep = {"save": str(saved[name]), "n_saved": N_COMPARED} if "expressions" in request else {}
        worker.ask({**request, **keep})
    runs: dict[str, list[dict]] = {name: [] for name in workers}
    for _ in range(repeats):
        for name, worker in workers.items():
            runs[name].append(worker.ask(request))
    medians = {name: float(np.median([r["cpu"] for r in found])) for name, found in runs.items()}
    for name, found in runs.items():
        last = found[-1]
        print(
            f"{title:34} {name:6} {medians[name]:9.4f} CPU s ({min(r['cpu'] for r in found):.4f} "
            f"best), result {last['result_gb']:.2f} GB, peak {last['peak_gb']:.2f} GB"
        )
    if "qlib" in medians:
        print(f"{title:34} ratio  {medians['qlib'] / medians['ours']:9.1f}x", end="")
        print(f", {parity(saved)}" if "expressions" in request else "")
    else:
        print(f"{title:34} qlib   peer absent: sh benchmarks/peers/install.sh")
    for worker in workers.values():
        worker.close()


def parity(saved: dict[str, Path]) -> str:
    """Largest difference in words, after Qlib's partial windows."""
    ours, theirs = np.load(saved["ours"]), np.load(saved["qlib"])
    worst, name_of_worst, nan_mismatch = 0.0, "", 0
    for name in ours.files:
        a, b = ours[name][WARM_UP:], theirs[name][WARM_UP:]
        nan_mismatch += int((np.isnan(a) != np.isnan(b)).sum())
        scale = np.nanmedian(np.abs(b)) or 1.0
        error = float(np.nanquantile(np.abs(a - b) / np.maximum(np.abs(b), 0.01 * scale), 0.99))
        if error > worst:
            worst, name_of_worst = error, name
    return (
        f"99 % of relative differences below {worst:.1e} ({name_of_worst}), "
        f"{nan_mismatch} cells present in one alone"
    )


def rank_ic(n_rows: int, n_assets: int, repeats: int) -> None:
    """IC and rank IC per session: this project and the wide pandas recipe, alternating."""
    from quant_engine.stats.ic import ic_by_date

    rng = np.random.default_rng(1)
    score = rng.standard_normal((n_rows, n_assets))
    future = 0.02 * score + rng.standard_normal((n_rows, n_assets))
    frames = pd.DataFrame(score), pd.DataFrame(future)
    tasks = {
        "IC": (
            lambda: ic_by_date(score, future, method="pearson"),
            lambda: frames[0].corrwith(frames[1], axis=1).to_numpy(),
        ),
        "rank IC": (
            lambda: ic_by_date(score, future, method="rank"),
            lambda: frames[0].rank(axis=1).corrwith(frames[1].rank(axis=1), axis=1).to_numpy(),
        ),
    }
    for title, (ours, pandas) in tasks.items():
        np.testing.assert_allclose(ours(), pandas(), rtol=1e-6, atol=1e-9)
        times = np.array([[_cpu(ours), _cpu(pandas)] for _ in range(repeats)])
        first, second = np.median(times, axis=0)
        print(
            f"{title + ' by date':34} ours   {first:9.4f} CPU s, pandas {second:.4f}, "
            f"ratio {second / first:.1f}x, equal"
        )


def _cpu(work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def second_thread(expressions: dict[str, str], root: Path, n_assets: int, repeats: int) -> None:
    """Wall time of one and two threads, alternating, with the CPU time that both took."""
    worker = engines(root, n_assets)["ours"]
    request = {"task": "features", "expressions": expressions}
    worker.ask(request)
    runs = [[worker.ask({**request, "threads": n}) for n in (1, 2)] for _ in range(repeats)]
    wall = np.median([[r["wall"] for r in pair] for pair in runs], axis=0)
    cpu = np.median([[r["cpu"] for r in pair] for pair in runs], axis=0)
    print(
        f"Alpha158, wall seconds: one thread {wall[0]:.2f}, two {wall[1]:.2f}, "
        f"ratio {wall[0] / wall[1]:.2f}x; CPU seconds {cpu[0]:.2f} and {cpu[1]:.2f}"
    )
    worker.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=int, default=800)
    parser.add_argument("--rows", type=int, default=3500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, choices=(1, 2))
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=("factors", "alpha158", "load", "ic"))
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return
    from quant_engine.core.specs import SpecCatalog
    from quant_engine.features.sets import FeatureSet

    loaded = SpecCatalog.default().load("features", "alpha158", FeatureSet)
    alpha158 = {spec.name: spec.expression for spec in loaded.features}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        fields = market(args.rows, args.assets)
        every = np.arange(np.datetime64("2000-01-03"), np.datetime64("2060-01-01"))
        days = every[np.is_busday(every)][: args.rows]
        write_ours(fields, days, root / "ours")
        write_qlib(fields, days, root / "qlib")
        if args.threads == 2:
            second_thread(alpha158, root, args.assets, args.repeats)
            return
        tasks = {
            "load": ("load six fields", {"task": "load"}),
            "factors": ("14 factors, files to frame",
                        {"task": "features", "expressions": FACTORS, "frame": True}),
            "alpha158": ("Alpha158, files to values",
                         {"task": "features", "expressions": alpha158}),
        }  # fmt: skip
        for key, (title, request) in tasks.items():
            if args.only in (None, key):
                compare(title, request, root, args.assets, args.repeats)
    if args.only in (None, "ic"):
        rank_ic(args.rows, args.assets, max(args.repeats, 5))


if __name__ == "__main__":
    main()
