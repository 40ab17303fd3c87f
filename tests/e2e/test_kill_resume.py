"""Killed and interrupted runs: the store stays whole, and --resume gives the same ids.

Two ways to kill. *Crash points*: the process kills itself (SIGKILL) just before the n-th time that
it flushes or renames something, which reaches every moment at which a half-written file could be
seen. *Random moments*: another process kills it at seeded times, wherever it happens to be.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.feature("Q-46")

KILLS = 20
SEED = 20_260_105
MEMBERS = "model.members=[{learner: lightgbm_shallow, column: lgbm, params: {n_trees: 20000}}]"

# Runs commands in one process; kills it before the n-th flush or rename, or before the first that
# concerns a path with a given text in it.
DRIVER = """
import json, os, signal, sys
from quant_engine.cli import backtest, predict, train

plan = json.loads(sys.argv[1])
steps = 0

def counted(name):
    real = getattr(os, name)
    def call(target, *more, **options):
        global steps
        steps += 1
        path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else str(target)
        if steps == plan["step"] or (plan["text"] and plan["text"] in path):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(target, *more, **options)
    setattr(os, name, call)

for name in ("fsync", "rename", "replace"):
    counted(name)
mains = {"train": train.main, "predict": predict.main, "backtest": backtest.main}
for name, *args in plan["commands"]:
    code = mains[name](args)
    if code:
        sys.exit(code)
print("steps", steps, file=sys.stderr)
"""


def _environment(cli, folder: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("QE_")}
    (folder / "scratch").mkdir(exist_ok=True)
    return {**clean, "PYTHONPATH": str(cli.repo), "TMPDIR": str(folder / "scratch")}


def _commands(cli, world: Path, *flags: str) -> list[list[str]]:
    return [
        ["train", "--path", str(world / "prices"), "--jobs", "1", *cli.fast, *flags],
        ["predict", "--jobs", "1", *flags],
        ["backtest", "--jobs", "1", *flags],
    ]


def _start(cli, folder: Path, commands, *, step: int = 0, text: str = "") -> subprocess.Popen[str]:
    plan = json.dumps({"commands": commands, "step": step, "text": text})
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, plan],
        cwd=folder,
        env=_environment(cli, folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _drive(cli, folder: Path, commands, **where) -> subprocess.CompletedProcess[str]:
    process = _start(cli, folder, commands, **where)
    _, stderr = process.communicate(timeout=120)
    return subprocess.CompletedProcess([], process.returncode, "", stderr)


def _is_whole(cli, folder: Path) -> None:
    """What a reader can see after a kill: whole artifacts, whole registries, whole exports."""
    if (folder / "results").exists():
        cli.call(["qe", "verify"], folder).ok()
    for path in folder.rglob("*.json"):
        if ".tmp" not in path.parts:
            json.loads(path.read_text(encoding="utf-8"))
    for path in (folder / "results").glob("*.csv"):
        assert path.read_text(encoding="utf-8").endswith("\n")
    for path in (folder / "results").glob("*.html"):
        assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")


def _is_clean(cli, folder: Path) -> None:
    """No temporary file is left in the state folders or in the system's temporary folder."""
    assert cli.leftovers(folder) == []
    models = {path.name for path in (folder / "trained_models").iterdir() if path.is_dir()}
    assert models == {entry["version"] for entry in _versions(folder)}
    assert [path.name for path in (folder / "scratch").iterdir()] == []


def _versions(folder: Path) -> list[dict]:
    content = json.loads((folder / "trained_models" / "registry.json").read_text())
    return content["current"]["versions"]


@pytest.mark.parametrize(
    "text",
    ["payload/member_ridge.npz", ".runs.json."],
    ids=["while the model is published", "while the run is entered"],
)
def test_a_kill_while_something_is_written_leaves_nothing_half(
    cli, chain, world, work, text
) -> None:
    """The second kill falls between the registry of models and that of runs."""
    train = _commands(cli, world)[:1]
    killed = _drive(cli, work, train, text=text)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    _is_whole(cli, work)
    assert not (work / "results" / "runs.json").exists()
    assert cli.one_error(cli.call(["run_predict.py", "--quiet"], work), 3)

    done = cli.train(world / "prices", work, "--resume", "--json").ok()
    expected = {f"{i['kind']}/{i['id']}" for i in chain.runs["train"].json["artifacts"]}
    assert {f"{i['kind']}/{i['id']}" for i in done.json["artifacts"]} == expected
    assert set(cli.identities(work / "results")) == expected
    (version,) = _versions(work)
    by_name = ["run_predict.py", "--version", version["version"], "--jobs", "1", "--quiet"]
    assert f"version {version['version']}" in cli.call(by_name, work).ok().stdout
    _is_whole(cli, work)
    assert cli.leftovers(work) == []


def _interrupt(cli, folder, args, sent: signal.Signals):
    """Start a command, send a signal once models are being fitted, and wait for its end."""
    process = cli.start(args, folder)
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("model fits: started"):
            break
    os.kill(process.pid, sent)
    reader = threading.Timer(60, process.kill)
    reader.start()
    stdout, stderr = process.communicate()
    reader.cancel()
    return process.returncode, stdout, "".join(lines) + stderr


@pytest.mark.parametrize(
    ("sent", "jobs", "flags"),
    [(signal.SIGINT, "1", ()), (signal.SIGTERM, "2", ("--json",))],
    ids=["ctrl-c", "terminated with two workers"],
)
def test_an_interrupted_run_says_how_to_go_on(cli, world, work, sent, jobs, flags) -> None:
    args = ["run_train.py", "--path", str(world / "prices"), *cli.fast, "--jobs", jobs, *flags]
    code, stdout, stderr = _interrupt(cli, work, [*args, "--set", MEMBERS], sent)
    assert code == 130
    assert "Traceback" not in stderr
    if flags:
        content = json.loads(stdout)
        assert (content["status"], content["exit_code"]) == ("interrupted", 130)
        assert "--resume" in content["error"]["message"]
    else:
        assert stderr.splitlines()[-1].endswith("go on with: run_train.py ... --resume")
    assert cli.leftovers(work) == []
    assert not (work / "results" / "runs.json").exists()
    cli.call(["qe", "verify"], work).ok()


def test_resume_takes_finished_stages_from_the_store(cli, copied_chain, world) -> None:
    """Nothing is fitted a second time, and the ids are the ones of the first run."""
    before = cli.identities(copied_chain.results)
    done = cli.train(world / "prices", copied_chain.folder, "--resume", "--json").ok()
    assert "model fits" not in done.stderr
    assert done.json["artifacts"] == chain_artifacts(copied_chain, "train")
    again = cli.train(world / "prices", copied_chain.folder, "--json").ok()
    assert "model fits" in again.stderr
    assert cli.identities(copied_chain.results) == before


def chain_artifacts(chain, command: str) -> list[dict[str, str]]:
    return chain.runs[command].json["artifacts"]


@pytest.mark.slow
def test_twenty_kills_at_crash_points(cli, chain, world, work) -> None:
    """Twenty seeded flushes and renames of the whole chain; state builds up in one folder."""
    undisturbed = cli.working_folder(work.parent / "undisturbed")
    counted = _drive(cli, undisturbed, _commands(cli, world))
    n_steps = int(counted.stderr.split()[-1])
    assert cli.identities(undisturbed / "results") == cli.identities(chain.results)
    moments = random.Random(SEED).sample(range(1, n_steps), KILLS)
    for number, step in enumerate(moments):
        flags = ("--resume",) if number % 2 else ()
        killed = _drive(cli, work, _commands(cli, world, *flags), step=step)
        # A resumed chain has fewer steps and may come to its end.
        assert killed.returncode in (-signal.SIGKILL, 0), killed.stderr
        _is_whole(cli, work)
    finished = _drive(cli, work, _commands(cli, world, "--resume"))
    assert finished.returncode == 0, finished.stderr
    assert cli.identities(work / "results") == cli.identities(chain.results)
    _is_whole(cli, work)
    _is_clean(cli, work)


@pytest.mark.slow
def test_twenty_kills_at_random_moments(cli, chain, world, work) -> None:
    """Twenty seeded times over the length of the chain, half of the runs with two workers."""
    delays = random.Random(SEED)
    commands = _commands(cli, world)
    length = _seconds(cli, cli.working_folder(work.parent / "undisturbed"), commands)
    n_killed = 0
    for number in range(KILLS):
        flags = ("--resume",) if number % 4 == 3 else ()
        commands = _commands(cli, world, *flags)
        commands[0][commands[0].index("--jobs") + 1] = "1" if number % 2 else "2"
        process = _start(cli, work, commands)
        process.stderr.readline()
        time.sleep(delays.uniform(0, length))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        n_killed += process.returncode == -signal.SIGKILL
        _is_whole(cli, work)
    assert n_killed >= KILLS // 2
    finished = _drive(cli, work, _commands(cli, world, "--resume"))
    assert finished.returncode == 0, finished.stderr
    assert cli.identities(work / "results") == cli.identities(chain.results)
    _is_whole(cli, work)
    _is_clean(cli, work)


def _seconds(cli, folder: Path, commands) -> float:
    """Time from the first line of progress to the end of the chain."""
    process = _start(cli, folder, commands)
    process.stderr.readline()
    started = time.monotonic()
    process.communicate(timeout=120)
    assert process.returncode == 0
    return time.monotonic() - started


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(cli, world, work) -> None:
    args = ["run_train.py", "--path", str(world / "prices"), *cli.fast, "--jobs", "2"]
    env = {"TMPDIR": str(work / "scratch")}
    (work / "scratch").mkdir()
    process = cli.start([*args, "--set", MEMBERS], work, env)
    for line in process.stderr:
        if line.startswith("model fits: started"):
            break
    deadline = time.monotonic() + 30
    while len(_group(process.pid)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(_group(process.pid)) >= 3
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    while _group(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _group(process.pid) == []
    cli.run([*args, "--jobs", "1", "--quiet"], work, env).ok()
    assert [path.name for path in (work / "scratch").iterdir()] == []


def _group(session: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found
