"""Ray: the same bits on one machine and on a cluster of two nodes, and nothing lost on the way."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from quant_engine.core.errors import ConfigError, IdentityError, MissingExtraError
from quant_engine.core.executor import ProcessExecutor, SerialExecutor
from quant_engine.core.executor_choice import make_executor
from quant_engine.core.executor_ray import RayExecutor

needs_ray = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import ray"], capture_output=True).returncode != 0,
    reason='Ray is absent: pip install "quant-engine[distributed]"',
)
STORE = 90 * 1024 * 1024
NODE = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
# Ray 2.60 leaves handles of its own processes to the garbage collector.
LEFT_OPEN = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def tasks():
    sys.path.insert(0, str(Path(__file__).parent))
    sys.modules.pop("tasks_for_workers", None)
    import tasks_for_workers

    yield tasks_for_workers
    sys.path.remove(str(Path(__file__).parent))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two nodes of one processor each, on the loopback interface."""
    from quant_engine.core.executor_ray import local_environment
    from quant_engine.core.settings import exported

    with exported(local_environment()):
        from ray.cluster_utils import Cluster

        made = Cluster(initialize_head=True, head_node_args=NODE)
        made.add_node(**NODE)
        yield made
        made.shutdown()


def bits(results) -> list[bytes]:
    return [b"".join(np.asarray(part).tobytes() for part in result) for result in results]


def children() -> set[int]:
    """Processes that descend from this one and still live."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(stat.parent.name)] = int(fields[1])
    found, fresh = set(), {os.getpid()}
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return found


def wait_for_end(before: set[int]) -> set[int]:
    """What is left of later processes after at most ten seconds."""
    deadline = time.monotonic() + 10
    while (left := children() - before) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


@needs_ray
@LEFT_OPEN
@pytest.mark.slow
@pytest.mark.feature("D-28")
def test_a_local_cluster_gives_the_bits_of_serial_and_processes(tasks, capfd):
    matrix = np.random.default_rng(1).normal(size=(700, 90)) * 1e6
    shared = {"matrix": matrix, "fortran": np.asfortranarray(matrix), "strided": matrix[::2]}
    items, done, before = list(range(6)), [], children()
    serial = SerialExecutor().map(tasks.noisy_sums, items, shared=shared)
    made = RayExecutor(2).map(
        tasks.noisy_sums, items, shared=shared, on_done=lambda: done.append(os.getpid())
    )
    assert wait_for_end(before) == set()
    assert done == [os.getpid()] * 6
    assert bits(made) == bits(serial)
    assert bits(ProcessExecutor(2).map(tasks.noisy_sums, items, shared=shared)) == bits(serial)
    assert capfd.readouterr() == ("", "")
    assert "RAY_AUTH_TOKEN" not in os.environ


@needs_ray
@LEFT_OPEN
@pytest.mark.slow
def test_a_local_cluster_listens_on_the_loopback_interface_alone(tasks):
    (found,) = RayExecutor(1).map(tasks.listening_addresses, [os.getpid()])
    assert found
    assert all(address == "0100007F" for address in found)


@needs_ray
@LEFT_OPEN
@pytest.mark.slow
@pytest.mark.feature("D-28")
def test_two_nodes(tasks, cluster):
    """One cluster for all questions, because starting one takes seconds."""
    executor = RayExecutor(1, address=cluster.address)
    shared = {
        "floats": np.ones((3, 2), dtype=np.float32),
        "empty": np.empty((0, 4)),
        "days": np.array(["2020-01-02"], dtype="datetime64[D]"),
    }
    seen = executor.map(tasks.describe_shared, list(shared), shared=shared)
    assert seen == [(True, array.dtype.str, array.shape, False) for array in shared.values()]
    (part,) = executor.map(tasks.slice_of, [(0, 2)], shared={"matrix": np.arange(4e5)[:, None]})
    np.testing.assert_array_equal(part[:, 0], [0.0, 1.0])
    assert executor.map(tasks.square_unless_three, []) == []
    found = executor.map(tasks.native_threads, range(4))
    assert {threads for _, threads in found} == {1}
    nodes = {node for node, _ in executor.map(tasks.node_and_square, range(8))}
    assert len(nodes) == 2


@needs_ray
@LEFT_OPEN
@pytest.mark.slow
def test_errors_of_tasks_are_raised_as_themselves_and_once(tasks, cluster, tmp_path):
    executor, calls = RayExecutor(1, address=cluster.address), []
    with pytest.raises(IdentityError) as caught:
        executor.map(tasks.square_unless_three, [1, 2, 3, 4], on_done=lambda: calls.append(1))
    assert type(caught.value) is IdentityError
    assert (caught.value.parameter, caught.value.got) == ("asset", 3)
    assert "while squaring item 3" in caught.value.__notes__
    assert len(calls) == 2
    with pytest.raises(ValueError, match="bad item 7"):
        executor.map(tasks.count_and_raise, [(str(tmp_path / "calls"), 7)])
    assert (tmp_path / "calls").read_text() == "x", "an error of the task is not tried again"
    with pytest.raises(ValueError, match="bad item 7"):
        executor.map(
            tasks.raise_or_write, [("", 7), *((str(tmp_path / f"late{n}"), n) for n in range(9))]
        )
    time.sleep(2.0)
    assert len(list(tmp_path.glob("late*"))) < 9, "what waits behind an error does not run"


@needs_ray
@LEFT_OPEN
@pytest.mark.slow
@pytest.mark.feature("D-28")
def test_a_worker_and_a_node_that_die_lose_nothing(tasks, cluster, tmp_path):
    executor = RayExecutor(1, address=cluster.address)
    items = [(n, str(tmp_path / "killed") if n == 5 else "") for n in range(12)]
    assert executor.map(tasks.square_after_one_death, items) == [n * n for n in range(12)]
    assert (tmp_path / "killed").exists()
    extra, done = cluster.add_node(**NODE), []

    def remove_one_node() -> None:
        done.append(1)
        if len(done) == 4:
            cluster.remove_node(extra, allow_graceful=False)

    found = executor.map(tasks.node_and_square, range(24), on_done=remove_one_node)
    assert [square for _, square in found] == [n * n for n in range(24)]
    assert len(done) == 24


PARENT = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, sys.argv[1])
import tasks_for_workers as tasks
from quant_engine.core.executor_ray import RayExecutor

if __name__ == "__main__":
    RayExecutor(1).map(tasks.announce_and_wait, [sys.argv[2] + "/a", sys.argv[2] + "/b"])
"""


@needs_ray
@pytest.mark.slow
def test_an_interrupt_cancels_and_leaves_no_process(tmp_path):
    script, named = tmp_path / "parent.py", tmp_path / "a"
    script.write_text(PARENT)
    before = children()
    with subprocess.Popen(
        [sys.executable, str(script), str(Path(__file__).parent), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
    ) as parent:
        deadline = time.monotonic() + 60
        while not (named.is_file() and named.read_text()) and time.monotonic() < deadline:
            time.sleep(0.1)
        worker = int(named.read_text())
        parent.send_signal(signal.SIGINT)
        _, said = parent.communicate(timeout=30)
    assert parent.returncode != 0
    assert b"KeyboardInterrupt" in said
    assert wait_for_end(before) == set()
    assert not Path(f"/proc/{worker}").exists()
    assert not (tmp_path / "b").exists()


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "quant-engine\[distributed\]"') as e:
        make_executor(2, "ray")
    assert e.value.exit_code == 7


def test_executors_are_chosen_by_name_or_by_jobs():
    assert isinstance(make_executor(1), SerialExecutor)
    assert make_executor(3).jobs == 3
    assert isinstance(make_executor(1, "process"), ProcessExecutor)
    assert isinstance(make_executor(4, "serial"), SerialExecutor)
    for jobs in (0, -1):
        with pytest.raises(ConfigError, match="jobs: wanted at least 1"):
            make_executor(jobs)
    with pytest.raises(ConfigError, match="executor: wanted one of serial, process, ray"):
        make_executor(1, "threads")
    with pytest.raises(ConfigError, match="ray_address: wanted no address"):
        make_executor(1, "process", ray_address="10.0.0.1:6379")


@needs_ray
def test_ray_is_chosen_without_importing_it():
    code = (
        "import sys\n"
        "from quant_engine.core.executor_choice import make_executor\n"
        "made = make_executor(2, 'ray', ray_address='10.0.0.1:6379')\n"
        "print(type(made).__name__, made.jobs, made.address, 'ray' in sys.modules)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["RayExecutor", "2", "10.0.0.1:6379", "False"]
    with pytest.raises(ConfigError, match="jobs"):
        RayExecutor(0)
