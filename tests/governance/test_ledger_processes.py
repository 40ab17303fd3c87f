"""Processes: many writers, one of them killed again and again, and nothing acknowledged is lost."""

import os
import signal
import subprocess
import sys
import time

import pytest

WRITER = """
import sys
from pathlib import Path
from quant_engine.artifacts.signing import Signer
from quant_engine.core.clock import SystemClock
from quant_engine.core.trials import Trial
from quant_engine.governance.ledger import TrialLedger

root, name, batches = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
signer = Signer(root / "key")
ledger = TrialLedger(root / "ledger", clock=SystemClock(), signer=signer, segment_bytes=60_000)
for number in range(batches):
    specs = [f"{name}-{number}-{part}" for part in range(7)]
    with ledger.batch():
        for spec in specs:
            ledger.record(Trial("race", spec, "data", "split", name))
    # Acknowledged: from here on the rows may not be lost.
    print(" ".join(specs), flush=True)
"""


def start(root, name, batches):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), name, str(batches)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )


def race(root, *, writers, batches, kills, life_seconds):
    """Run writers beside one that is killed; return what was acknowledged."""
    steady = [start(root, f"w{number}", batches) for number in range(writers - 1)]
    acknowledged = []
    for number in range(kills):
        victim = start(root, f"victim{number}", 100_000)
        first = victim.stdout.readline()
        time.sleep(life_seconds)
        victim.send_signal(signal.SIGKILL)
        rest, _ = victim.communicate()
        # A line without its end was not acknowledged to anybody.
        whole = (first + rest).rpartition("\n")[0]
        acknowledged += whole.split()
    for process in steady:
        output, _ = process.communicate()
        assert process.returncode == 0
        acknowledged += output.split()
    return acknowledged


def check(make_ledger, acknowledged, *, steady_rows):
    ledger = make_ledger(segment_bytes=60_000)
    found = ledger.read(("spec_id",))["spec_id"].to_pylist()
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)
    assert sum(name.startswith("w") for name in found) == steady_rows
    # Every writer's rows stand in the order in which it asked.
    for name in {spec.split("-")[0] for spec in found}:
        mine = [tuple(map(int, s.split("-")[1:])) for s in found if s.split("-")[0] == name]
        assert mine == sorted(mine)
    verified = ledger.verify()
    assert verified.faults == ()
    assert verified.n_rows == len(found)


def test_three_writers_and_a_kill(make_ledger, tmp_path):
    acknowledged = race(tmp_path, writers=3, batches=15, kills=2, life_seconds=0.05)
    check(make_ledger, acknowledged, steady_rows=2 * 15 * 7)


@pytest.mark.slow
def test_eight_writers_and_one_that_is_killed_again_and_again(make_ledger, tmp_path):
    acknowledged = race(tmp_path, writers=8, batches=150, kills=12, life_seconds=0.15)
    check(make_ledger, acknowledged, steady_rows=7 * 150 * 7)


def test_a_reader_beside_a_writer_sees_whole_rows_in_order(make_ledger, tmp_path):
    ledger = make_ledger(segment_bytes=60_000)
    process = start(tmp_path, "w0", 60)
    seen = [0]
    while process.poll() is None:
        numbers = ledger.read(("number",))["number"].to_pylist()
        assert numbers == list(range(1, len(numbers) + 1))
        seen.append(len(numbers))
        assert ledger.head().number >= seen[-1]
    process.communicate()
    assert process.returncode == 0
    assert seen == sorted(seen)
    assert ledger.read().num_rows == 60 * 7
