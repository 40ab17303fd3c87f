"""Executors: the same bits, the same errors and the same order, serially and in processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from quant_engine.core import executor as executor_module
from quant_engine.core.errors import ConfigError, IdentityError, MissingExtraError
from quant_engine.core.executor import ProcessExecutor, SerialExecutor
from quant_engine.core.executor_choice import make_executor

EXECUTORS = [SerialExecutor(), ProcessExecutor(1)]
BOTH = pytest.mark.parametrize("executor", EXECUTORS, ids=["serial", "process"])


@pytest.fixture
def tasks(monkeypatch):
    """The task functions, importable by spawned workers, which inherit the search path."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.delitem(sys.modules, "tasks_for_workers", raising=False)
    import tasks_for_workers

    return tasks_for_workers


def bits(results) -> list[bytes]:
    return [b"".join(np.asarray(part).tobytes() for part in result) for result in results]


def test_serial_and_two_processes_agree_bit_for_bit(tasks):
    matrix = np.random.default_rng(1).normal(size=(700, 90)) * 1e6
    shared = {"matrix": matrix, "fortran": np.asfortranarray(matrix), "strided": matrix[::2]}
    items = list(range(7))
    serial = SerialExecutor().map(tasks.noisy_sums, items, shared=shared)
    processes = ProcessExecutor(2).map(tasks.noisy_sums, items, shared=shared)
    assert bits(serial) == bits(processes)


def test_results_keep_the_order_of_the_items_and_use_other_processes(tasks):
    assert ProcessExecutor(2).map(tasks.square_unless_three, [5, 1, 4]) == [25, 1, 16]
    workers = set(ProcessExecutor(2).map(tasks.process_id, [0, 1, 2, 3]))
    assert os.getpid() not in workers
    assert SerialExecutor().map(tasks.process_id, [0]) == [os.getpid()]


@BOTH
def test_shared_arrays_look_the_same(tasks, executor):
    shared = {
        "floats": np.ones((3, 2), dtype=np.float32),
        "flags": np.zeros((2, 2, 2), dtype=bool),
        "empty": np.empty((0, 4)),
        "days": np.array(["2020-01-02"], dtype="datetime64[D]"),
    }
    seen = executor.map(tasks.describe_shared, list(shared), shared=shared)
    assert seen == [(True, array.dtype.str, array.shape, False) for array in shared.values()]


@BOTH
def test_shared_arrays_cannot_be_written_to(tasks, executor):
    matrix = np.zeros((2, 2))
    with pytest.raises(ValueError, match="read-only"):
        executor.map(tasks.write_into, [1.0], shared={"matrix": matrix})
    assert matrix.sum() == 0.0
    assert matrix.flags.writeable


@BOTH
def test_a_slice_of_a_shared_array_outlives_the_pool(tasks, executor):
    matrix = np.arange(12.0).reshape(4, 3)
    (part,) = executor.map(tasks.slice_of, [(1, 3)], shared={"matrix": matrix})
    assert type(part) is np.ndarray
    np.testing.assert_array_equal(part, matrix[1:3])


@BOTH
def test_errors_travel_with_their_attributes_and_notes(tasks, executor):
    with pytest.raises(IdentityError) as caught:
        executor.map(tasks.square_unless_three, [1, 2, 3, 4])
    error = caught.value
    assert (error.parameter, error.wanted, error.got, error.hint) == (
        "asset", "one", 3, "Look again.",
    )  # fmt: skip
    assert error.exit_code == 3
    assert str(error) == "asset: wanted one, got 3. Look again."
    assert "while squaring item 3" in error.__notes__


@BOTH
def test_other_errors_travel_too(tasks, executor):
    with pytest.raises(MissingExtraError, match=r'pip install "quant-engine\[neural\]"'):
        executor.map(tasks.need_an_extra, [1])
    with pytest.raises(ValueError, match="bad item 7"):
        executor.map(tasks.raise_value_error, [7])


@BOTH
def test_on_done_is_called_once_per_item_in_this_process(tasks, executor):
    calls = []
    executor.map(tasks.square_unless_three, [1, 2, 4], on_done=lambda: calls.append(os.getpid()))
    assert calls == [os.getpid()] * 3


@BOTH
def test_on_done_stops_at_the_failing_item(tasks, executor):
    calls = []
    with pytest.raises(IdentityError):
        executor.map(tasks.square_unless_three, [1, 2, 3], on_done=lambda: calls.append(1))
    assert len(calls) == 2


@BOTH
def test_no_items(tasks, executor):
    assert executor.map(tasks.square_unless_three, []) == []


@BOTH
def test_every_task_runs_on_one_native_thread(tasks, executor):
    assert {threads for _, threads in executor.map(tasks.native_threads, [0, 1])} == {1}


def test_shared_files_are_removed(tasks, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ProcessExecutor(1).map(tasks.slice_of, [(0, 1)], shared={"matrix": np.ones((2, 2))})
    assert list(tmp_path.iterdir()) == []


def test_make_executor():
    assert isinstance(make_executor(1), SerialExecutor)
    assert make_executor(3).jobs == 3
    with pytest.raises(ConfigError, match="jobs: wanted at least 1, got 0"):
        make_executor(0)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"


PARENT = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell leaves it ignored
sys.path.insert(0, sys.argv[1])
import tasks_for_workers as tasks
from quant_engine.core.executor import ProcessExecutor

if __name__ == "__main__":
    ProcessExecutor(2).map(tasks.announce_and_wait, [sys.argv[2] + "/a", sys.argv[2] + "/b"])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path, number):
    """Killed, a parent cannot say goodbye; interrupted, it must not wait for long tasks."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, str(script), str(Path(__file__).parent), str(tmp_path)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TMPDIR": str(tmp_path),
        },
        stderr=subprocess.DEVNULL,
    ) as parent:
        workers = [wait_for(lambda name=name: read_number(tmp_path / name)) for name in "ab"]
        assert all(is_alive(worker) for worker in workers)
        parent.send_signal(number)
        parent.wait(timeout=20)
    assert wait_for(lambda: not any(is_alive(worker) for worker in workers))


def read_number(path: Path) -> int:
    return int(path.read_text() or 0) if path.is_file() else 0


def wait_for(condition):
    """Poll until the condition gives something true."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.02)
    raise AssertionError("nothing happened within 20 seconds")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_workers_start_comes_afterwards(number, monkeypatch):
    seen = []

    def interrupted(received, frame):
        seen.append("interrupt")
        raise KeyboardInterrupt

    monkeypatch.setattr(executor_module, "ProcessPoolExecutor", FakePool.of(number, seen))
    before = signal.signal(number, interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            ProcessExecutor(2).map(len, [1, 2])
        assert signal.getsignal(number) is interrupted
    finally:
        signal.signal(number, before)
    assert seen == ["started", "interrupt", "shut down", "shut down"]


class FakePool:
    """A pool that is interrupted in the middle of its start."""

    def __init__(self, number, seen):
        self.number, self.seen = number, seen

    @classmethod
    def of(cls, number, seen):
        return lambda *args, **kwargs: cls(number, seen)

    def map(self, fn, items):
        os.kill(os.getpid(), self.number)
        self.seen.append("started")
        return iter(())

    def shutdown(self, **kwargs):
        self.seen.append("shut down")
