"""A small market as files, the scripts as a person calls them, and one finished chain of runs."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pytest
from filelock import FileLock

from quant_engine.cli import backtest, predict, retrain, train
from quant_engine.cli.main import main as qe_main
from quant_engine.data.simulated import EquityWorldConfig, simulate_equity_world
from quant_engine.data.simulated.files import write_world_as_files

REPO = Path(__file__).resolve().parents[2]
MAINS: dict[str, Callable[[Sequence[str]], int]] = {
    "run_train.py": train.main,
    "run_predict.py": predict.main,
    "run_backtest.py": backtest.main,
    "run_retrain.py": retrain.main,
    "qe": qe_main,
}
TINY_FEATURES = """\
name: tiny
version: "1"
features:
  - {name: KMID, expression: "$close/$open - 1", lookback_sessions: 1, causality: CAUSAL,
     unit: fraction, family: bar shape, source: "open to close"}
  - {name: GAP0, expression: "($open + $dividend)/Ref($close, 1) - 1", lookback_sessions: 2,
     causality: CAUSAL, unit: fraction, family: reversal, source: "overnight total return"}
  - {name: ROC5, expression: "Ref($close, 5)/$close", lookback_sessions: 6, causality: CAUSAL,
     unit: ratio, family: trend, source: "past price over price"}
  - {name: ROC20, expression: "Ref($close, 20)/$close", lookback_sessions: 21, causality: CAUSAL,
     unit: ratio, family: trend, source: "past price over price"}
  - {name: STD20, expression: "Std($close, 20)/$close", lookback_sessions: 20, causality: CAUSAL,
     unit: ratio, family: volatility, source: "standard deviation of closes"}
"""
MEMBERS = (
    "[{learner: ridge, column: ridge},"
    " {learner: lightgbm_shallow, column: lgbm, params: {n_trees: 10}}]"
)
SHORT = ("--set", "split.min_train_sessions=120", "--set", "split.test_sessions=60")
# A model that trains in a second on 30 names and 420 sessions; nothing here relaxes a check.
FAST = (
    *("--horizon", "5", "--features", "tiny", *SHORT),
    *("--set", f"model.members={MEMBERS}", "--set", "model.maps.n_bins=5"),
)


@dataclass(frozen=True)
class CompletedRun:
    """What one command left behind: exit code and the two streams."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        return json.loads(self.stdout)

    def ok(self) -> CompletedRun:
        """Return itself; fail with both streams when the command did."""
        assert self.code == 0, f"exit code {self.code}\n{self.stdout}\n{self.stderr}"
        return self


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The present environment without settings of the person who runs the tests."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("QE_")}
    return {**clean, **(extra or {})}


def command_line(args: Sequence[str]) -> list[str]:
    """Turn ``["run_train.py", ...]`` or ``["qe", ...]`` into what a shell would start."""
    script, *rest = args
    if script == "qe":
        start = "import sys; from quant_engine.cli.main import main; sys.exit(main())"
        return [sys.executable, "-c", start, *rest]
    return [sys.executable, str(REPO / script), *rest]


def start_script(
    args: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a script in a process group of its own, so that a test can kill it."""
    return subprocess.Popen(
        command_line([str(arg) for arg in args]),
        cwd=cwd,
        env={**environment(env), "PYTHONPATH": str(REPO)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_script(
    args: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None, *, timeout: float = 120
) -> CompletedRun:
    """Run a script as a person does: a new process, streams apart."""
    process = start_script(args, cwd, env)
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return CompletedRun(process.returncode, stdout, stderr)


def call_main(args: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None) -> CompletedRun:
    """Call a command's main function in this process: no start-up time, same text and code."""
    script, *rest = (str(arg) for arg in args)
    stdout, stderr = io.StringIO(), io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    with (
        contextlib.chdir(cwd),
        mock.patch.dict(os.environ, environment(env), clear=True),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        try:
            code = MAINS[script](rest)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            signal.signal(signal.SIGTERM, handler)
    return CompletedRun(code, stdout.getvalue(), stderr.getvalue())


@dataclass(frozen=True)
class Chain:
    """A working folder in which the scripts ran, and what each of them said."""

    folder: Path
    runs: dict[str, CompletedRun] = field(default_factory=dict)

    @property
    def results(self) -> Path:
        """The results folder."""
        return self.folder / "results"

    def identities(self) -> dict[str, str]:
        """Kind and id to content hash, of every artifact of the store."""
        return stored_identities(self.results)


def stored_identities(results: Path) -> dict[str, str]:
    """Read ``KIND/ID -> content sha256`` from the manifests of a results folder."""
    return {
        f"{path.parts[-3]}/{path.parts[-2]}": json.loads(path.read_text())["content_sha256"]
        for path in sorted(results.glob("artifacts/*/*/manifest.json"))
    }


def payload_digest(folder: Path) -> str:
    """Hash the payload of an artifact by the documented rule, without the store's own code."""
    files = {
        path.relative_to(folder / "payload").as_posix(): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted((folder / "payload").rglob("*"))
        if path.is_file()
    }
    text = json.dumps(files, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders below a working folder."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix == ".tmp" or path.parent.name == ".tmp"
    )


def working_folder(folder: Path) -> Path:
    """Make a folder with the small feature set in its own specs."""
    (folder / "specs" / "features").mkdir(parents=True, exist_ok=True)
    (folder / "specs" / "features" / "tiny.yaml").write_text(TINY_FEATURES, encoding="utf-8")
    return folder


def write_prices(folder: Path, frames: Mapping[str, pd.DataFrame], *, suffix: str = ".csv") -> Path:
    """Write one price file per symbol."""
    folder.mkdir(parents=True, exist_ok=True)
    for ticker, frame in frames.items():
        frame.to_csv(folder / f"{ticker}{suffix}", index=False)
    return folder


def one_error(done: CompletedRun, code: int) -> str:
    """Return the message of a refused command: one sentence of parameter, wanted, got, next step.

    A message of several lines, a traceback or anything on standard output fails the test.
    """
    assert done.code == code, f"exit code {done.code}\n{done.stdout}\n{done.stderr}"
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(r"error: [^:]+.*: wanted .+, got .+\. .+[.?]", line), line
    return line


def nothing_stored(folder: Path) -> bool:
    """Tell whether a working folder holds no artifact, no run, no model and no temporary file."""
    registries = [folder / "results" / "runs.json", folder / "trained_models" / "registry.json"]
    return (
        not stored_identities(folder / "results")
        and not any(path.exists() for path in registries)
        and not leftovers(folder)
    )


class Cli:
    """Everything a test of the command line needs, in one fixture."""

    short = SHORT
    fast = FAST
    repo = REPO
    run = staticmethod(run_script)
    call = staticmethod(call_main)
    start = staticmethod(start_script)
    identities = staticmethod(stored_identities)
    payload_digest = staticmethod(payload_digest)
    leftovers = staticmethod(leftovers)
    working_folder = staticmethod(working_folder)
    write_prices = staticmethod(write_prices)
    one_error = staticmethod(one_error)
    nothing_stored = staticmethod(nothing_stored)

    def train(self, prices: Path, cwd: Path, *more: str, **options: Any) -> CompletedRun:
        """Train the fast model in this process."""
        args = ("run_train.py", "--path", str(prices), "--jobs", "1", *FAST, *more)
        return self.call(args, cwd, **options)


@pytest.fixture(scope="session")
def cli() -> Cli:
    """The scripts, in new processes (``run``) or in this one (``call``)."""
    return Cli()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """An empty working folder that knows the small feature set."""
    return working_folder(tmp_path / "work")


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """Build a folder once for all processes of a test run; later users only read it."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = root / name
    with FileLock(root / f"{name}.lock"):
        if not (root / f"{name}.done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            build(folder)
            (root / f"{name}.done").touch()
    return folder


@pytest.fixture(scope="session")
def build_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Build a folder by name once, whichever process of the test run asks first."""

    def build(name: str, make: Callable[[Path], object]) -> Path:
        return built_once(tmp_path_factory, name, make)

    return build


@pytest.fixture(scope="session")
def world(build_once: Callable[..., Path]) -> Path:
    """A simulated market of 30 symbols and 420 sessions as files, with its tables."""

    def build(folder: Path) -> None:
        config = EquityWorldConfig(seed=5, n_assets=30, n_sessions=420)
        write_world_as_files(simulate_equity_world(config), folder)

    return build_once("world", build)


@pytest.fixture(scope="session")
def bars(world: Path) -> dict[str, pd.DataFrame]:
    """The market's price files as frames by symbol; tests change copies."""
    return {path.stem: pd.read_csv(path) for path in sorted((world / "prices").glob("*.csv"))}


@pytest.fixture(scope="session")
def chain(build_once: Callable[..., Path], world: Path) -> Chain:
    """Train, bare predict and bare backtest as three processes; nobody writes here afterwards."""

    def build(folder: Path) -> None:
        working_folder(folder)
        train_args = ("run_train.py", "--path", str(world / "prices"), *FAST)
        for name, args in (
            ("train", (*train_args, "--jobs", "2", "--json")),
            ("predict", ("run_predict.py", "--json")),
            ("backtest", ("run_backtest.py", "--json")),
        ):
            done = run_script(args, folder)
            content = {"code": done.code, "stdout": done.stdout, "stderr": done.stderr}
            (folder / f"{name}.streams.json").write_text(json.dumps(content), encoding="utf-8")

    folder = build_once("chain", build)
    runs = {
        name: CompletedRun(**json.loads((folder / f"{name}.streams.json").read_text()))
        for name in ("train", "predict", "backtest")
    }
    return Chain(folder, runs)


@pytest.fixture
def copied_chain(chain: Chain, tmp_path: Path) -> Chain:
    """A copy of the finished chain that a test may change."""
    shutil.copytree(chain.folder, tmp_path / "chain")
    return Chain(tmp_path / "chain", chain.runs)
