"""Executor: run independent tasks serially or in processes, with the same bits either way.

Each task runs with one BLAS/OpenMP thread, because thread counts change the order of floating
point sums. Large arrays are passed once through `shared`: the process pool writes them to
temporary files that its workers map read-only.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from quant_engine.core.errors import ConfigError
from quant_engine.core.scratch import scratch_folder

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
SharedArrays: TypeAlias = Mapping[str, npt.NDArray[Any]]
Task: TypeAlias = Callable[[SharedArrays, ItemT], ResultT]

_NOTHING_SHARED: SharedArrays = MappingProxyType({})


class Executor(Protocol):
    """Something that applies one function to many items and keeps their order."""

    def map(
        self,
        fn: Task[ItemT, ResultT],
        items: Sequence[ItemT],
        *,
        shared: SharedArrays | None = None,
        on_done: Callable[[], None] | None = None,
    ) -> list[ResultT]:
        """Return ``[fn(shared, item) for item in items]``.

        Parameters
        ----------
        fn : callable
            Module-level function of (shared, item).
        items : sequence
            Small, picklable work descriptions.
        shared : mapping of str to ndarray, optional
            Large read-only inputs, any shape; tasks see them in C order.
        on_done : callable, optional
            Called once per finished item, in order.

        Returns
        -------
        list
            Results in the order of the items.
        """
        ...


class SerialExecutor:
    """Run tasks one after the other in this process.

    Examples
    --------
    >>> SerialExecutor().map(lambda shared, item: item * 2, [1, 2])
    [2, 4]
    """

    def map(
        self,
        fn: Task[ItemT, ResultT],
        items: Sequence[ItemT],
        *,
        shared: SharedArrays | None = None,
        on_done: Callable[[], None] | None = None,
    ) -> list[ResultT]:
        """Apply ``fn`` to every item in order; see :meth:`Executor.map`."""
        # The same layout and the same read-only view that worker processes get: the order of
        # memory decides the order of floating point sums.
        arrays = {name: _readable(array) for name, array in (shared or _NOTHING_SHARED).items()}
        results = []
        for item in items:
            results.append(_single_threaded(fn, arrays, item))
            if on_done is not None:
                on_done()
        return results


class ProcessExecutor:
    """Run tasks in a pool of spawned processes.

    Parameters
    ----------
    jobs : int
        Number of worker processes, at least 1.
    """

    def __init__(self, jobs: int) -> None:
        if jobs < 1:
            raise ConfigError("jobs", wanted="at least 1", got=jobs, hint="Use --jobs 1 or more.")
        self.jobs = jobs

    def map(
        self,
        fn: Task[ItemT, ResultT],
        items: Sequence[ItemT],
        *,
        shared: SharedArrays | None = None,
        on_done: Callable[[], None] | None = None,
    ) -> list[ResultT]:
        """Apply ``fn`` to every item in worker processes; see :meth:`Executor.map`."""
        with scratch_folder() as folder:
            paths = _spill(shared or _NOTHING_SHARED, folder)
            workers = min(self.jobs, max(1, len(items)))
            results: list[ResultT] = []
            with _pool(workers) as pool:
                for result in pool.map(partial(_run_mapped, fn, paths), items):
                    results.append(result)
                    if on_done is not None:
                        on_done()
            return results


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Open a pool whose workers end with it: at once when interrupted, and with their parent."""
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown()


def _end_with_parent() -> None:
    """Watch the parent in the background: a killed parent cannot tell its workers to stop."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_leave, args=(parent,), daemon=True).start()


def _wait_and_leave(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def make_executor(jobs: int) -> Executor:
    """Return the serial executor for one job, else a process pool.

    Parameters
    ----------
    jobs : int
        Wanted parallel tasks.

    Returns
    -------
    Executor
        Results do not depend on which one is returned.
    """
    return SerialExecutor() if jobs == 1 else ProcessExecutor(jobs)


def _single_threaded(fn: Task[ItemT, ResultT], shared: SharedArrays, item: ItemT) -> ResultT:
    with threadpool_limits(limits=1):
        return fn(shared, item)


def _readable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = np.ascontiguousarray(array).view(np.ndarray)
    view.setflags(write=False)
    return view


def _spill(shared: SharedArrays, folder: Path) -> dict[str, str]:
    paths = {}
    for number, (name, array) in enumerate(shared.items()):
        path = folder / f"{number}.npy"
        np.save(path, _readable(array), allow_pickle=False)
        paths[name] = str(path)
    return paths


def _run_mapped(fn: Task[ItemT, ResultT], paths: Mapping[str, str], item: ItemT) -> ResultT:
    shared = {
        name: _readable(np.load(path, mmap_mode="r", allow_pickle=False))
        for name, path in paths.items()
    }
    return _single_threaded(fn, shared, item)
