"""Ray executor: the same tasks on a Ray cluster, started on this machine or reached by address.

The extra ``distributed`` brings Ray; it is imported when tasks run, never before. Without an
address a cluster of this machine is started for the run and stopped after it: it listens on the
loopback interface alone, under a token of its own, reports no usage, and keeps its files in a
scratch folder. With an address the cluster is somebody's: its own settings hold, quant_engine must
be installed on its machines, and the run only connects and leaves.

Shared arrays are put into the object store once; workers map them read-only. A worker or machine
that dies loses nothing: its tasks run again elsewhere. An error that a task raises is raised as
itself and not tried again. Ray carries functions and results between our own processes by pickle;
nothing of it is kept.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy.typing as npt

from quant_engine.core.errors import ConfigError, MissingExtraError
from quant_engine.core.executor import (
    NOTHING_SHARED,
    ItemT,
    ResultT,
    SharedArrays,
    Task,
    readable,
    single_threaded,
)
from quant_engine.core.scratch import scratch_folder
from quant_engine.core.settings import exported

__all__ = ["RayExecutor", "local_environment"]

RETRIES = 3
"""Times a task runs again after its worker died; a task that kills four workers is at fault."""

SPARE_BYTES = 80 * 1024 * 1024
"""Room in the object store beside the shared arrays; Ray refuses less than 75 MB."""


class RayExecutor:
    """Run tasks on a Ray cluster.

    Parameters
    ----------
    jobs : int
        Parallel tasks, at least 1: workers of the cluster that is started here. A cluster that is
        reached by address runs as many as it has processors.
    address : str, optional
        ``HOST:PORT`` of a running cluster. Without it one is started on this machine.

    Raises
    ------
    ConfigError
        Fewer than one job.
    MissingExtraError
        Ray is not installed.
    """

    def __init__(self, jobs: int, *, address: str | None = None) -> None:
        if jobs < 1:
            raise ConfigError("jobs", wanted="at least 1", got=jobs, hint="Use --jobs 1 or more.")
        if importlib.util.find_spec("ray") is None:
            raise MissingExtraError.for_extra(
                "distributed", package="ray", purpose="the ray executor"
            )
        self.jobs = jobs
        self.address = address

    def map(
        self,
        fn: Task[ItemT, ResultT],
        items: Sequence[ItemT],
        *,
        shared: SharedArrays | None = None,
        on_done: Callable[[], None] | None = None,
    ) -> list[ResultT]:
        """Apply ``fn`` to every item on the cluster; see :meth:`Executor.map`."""
        if not items:
            return []
        arrays = {name: readable(array) for name, array in (shared or NOTHING_SHARED).items()}
        room = sum(array.nbytes for array in arrays.values()) + SPARE_BYTES
        with self._connected(room) as ray:
            return _run(ray, fn, items, arrays, on_done)

    @contextmanager
    def _connected(self, room: int) -> Iterator[Any]:
        """Connect to the cluster, or start one; leave or stop it at the end, come what may."""
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self.address is not None:
            ray = _ray()
            ray.init(address=self.address, **quiet)
            try:
                yield ray
            finally:
                ray.shutdown()
            return
        with scratch_folder() as folder, exported(local_environment()):
            ray = _ray()
            ray.init(
                address="local",
                num_cpus=self.jobs,
                object_store_memory=room,
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                _temp_dir=str(folder),
                **quiet,
            )
            try:
                yield ray
            finally:
                ray.shutdown()


def _run(
    ray: Any,
    fn: Task[ItemT, ResultT],
    items: Sequence[ItemT],
    arrays: SharedArrays,
    on_done: Callable[[], None] | None,
) -> list[ResultT]:
    stored = [ray.put(array) for array in arrays.values()]
    # max_retries tries a task again whose worker died; retry_exceptions would also hide errors.
    remote = ray.remote(num_cpus=1, max_retries=RETRIES, retry_exceptions=False)(_run_packed)
    paths, names = ray.put(tuple(sys.path)), tuple(arrays)
    pack = ray.cloudpickle.dumps
    waiting = [remote.remote(pack((fn, item)), paths, names, *stored) for item in items]
    results: list[ResultT] = []
    try:
        for reference in waiting:
            results.append(ray.cloudpickle.loads(ray.get(reference)))
            if on_done is not None:
                on_done()
    except ray.exceptions.RayTaskError as error:
        # Ray wraps what the task raised; every other executor raises it as it is. What still runs
        # ends with the connection: a forced cancel that meets a reply on its way aborts Ray 2.60.
        raise error.cause from None
    return results


def _run_packed(
    task: bytes, paths: tuple[str, ...], names: tuple[str, ...], *arrays: npt.NDArray[Any]
) -> bytes:
    """Run one task in a worker; the result leaves as bytes.

    An array that Ray hands over lies in the object store and would be gone with the cluster. The
    worker looks for modules where its driver does, as spawned processes do.
    """
    packing = _ray().cloudpickle
    sys.path.extend(path for path in paths if path not in sys.path)
    fn, item = packing.loads(task)
    shared = {name: readable(array) for name, array in zip(names, arrays, strict=True)}
    packed: bytes = packing.dumps(single_threaded(fn, shared, item))
    return packed


def _ray() -> Any:
    """The extra, imported where it is asked for; it has no types."""
    return importlib.import_module("ray")


@cache
def _token() -> str:
    """Secret of the clusters of this process: Ray reads it once per process."""
    return secrets.token_hex(32)


def local_environment() -> dict[str, str]:
    """What a cluster of this machine takes from the environment alone.

    Returns
    -------
    dict of str to str
        Loopback interface, a token of this process, no usage reports.
    """
    return {
        # Listen on the loopback interface, as Ray does by itself on other systems than Linux.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": _token(),
        # Without a GPU of its own a task keeps the machine's settings of accelerators.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
