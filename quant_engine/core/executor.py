"""Executor: run independent tasks serially or in processes, with the same bits either way.

Each task runs with one BLAS/OpenMP thread, because thread counts change the order of floating
point sums. Large arrays are passed once through `shared`: the process pool writes them to
temporary files that its workers map read-only. `executor_ray` spreads tasks over machines,
`executor_choice` picks by name.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
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

NOTHING_SHARED: SharedArrays = MappingProxyType({})
"""No arrays."""


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
        arrays = {name: readable(array) for name, array in (shared or NOTHING_SHARED).items()}
        results = []
        for item in items:
            results.append(single_threaded(fn, arrays, item))
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
            paths = _spill(shared or NOTHING_SHARED, folder)
            workers = min(self.jobs, max(1, len(items)))
            results: list[ResultT] = []
            with _pool(workers) as pool:
                with _interrupts_held_back():
                    waiting = pool.map(partial(_run_mapped, fn, paths), items)
                for result in waiting:
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


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Deliver interrupts afterwards: one in the middle of a start leaves a worker that complains.

    Only the main thread is ever interrupted, and only handlers set from Python can be put back.
    """
    held: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in handlers.items() if handler is not None}
    for number in handlers:
        signal.signal(number, lambda caught, frame: held.append(caught))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for received in held:
            signal.raise_signal(received)


def _end_with_parent() -> None:
    """Watch the parent in the background: a killed parent cannot tell its workers to stop."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_leave, args=(parent,), daemon=True).start()


def _wait_and_leave(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def single_threaded(fn: Task[ItemT, ResultT], shared: SharedArrays, item: ItemT) -> ResultT:
    """Run one task with one native thread.

    Parameters
    ----------
    fn : callable
        Function of (shared, item).
    shared : mapping of str to ndarray
        Read-only inputs, any shape.
    item : object
        Work description.

    Returns
    -------
    object
        What the function returned.
    """
    with threadpool_limits(limits=1):
        return fn(shared, item)


def readable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The form in which every task sees a shared array, wherever it runs.

    Parameters
    ----------
    array : ndarray, any shape
        Any order of memory.

    Returns
    -------
    ndarray
        Same values in C order, read-only; a view where that needs no copy.
    """
    view = np.ascontiguousarray(array).view(np.ndarray)
    view.setflags(write=False)
    return view


def _spill(shared: SharedArrays, folder: Path) -> dict[str, str]:
    paths = {}
    for number, (name, array) in enumerate(shared.items()):
        path = folder / f"{number}.npy"
        np.save(path, readable(array), allow_pickle=False)
        paths[name] = str(path)
    return paths


def _run_mapped(fn: Task[ItemT, ResultT], paths: Mapping[str, str], item: ItemT) -> ResultT:
    shared = {
        name: readable(np.load(path, mmap_mode="r", allow_pickle=False))
        for name, path in paths.items()
    }
    return single_threaded(fn, shared, item)
