"""Module-level functions that worker processes of the executor tests can import."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from quant_engine.core.errors import IdentityError, MissingExtraError


def noisy_sums(shared, seed):
    """Random numbers and floating point sums whose bits depend on memory order."""
    draws = np.random.default_rng(seed).normal(size=1000)
    sums = [array.ravel(order="K").cumsum()[-1] for array in shared.values()]
    return draws.sum(), draws @ draws, *sums, *(array.sum(axis=0) for array in shared.values())


def describe_shared(shared, name):
    array = shared[name]
    return type(array) is np.ndarray, array.dtype.str, array.shape, array.flags.writeable


def slice_of(shared, rows):
    return shared["matrix"][rows[0] : rows[1]]


def write_into(shared, item):
    shared["matrix"][0, 0] = item


def square_unless_three(shared, item):
    if item == 3:
        error = IdentityError("asset", wanted="one", got=3, hint="Look again.")
        error.add_note("while squaring item 3")
        raise error
    return item * item


def need_an_extra(shared, item):
    raise MissingExtraError.for_extra("neural", package="torch", purpose="the sequence model")


def raise_value_error(shared, item):
    raise ValueError(f"bad item {item}")


def native_threads(shared, item):
    """(process id, largest native thread pool) while a task runs."""
    a = np.ones((8, 8))
    a @ a
    return os.getpid(), max((pool["num_threads"] for pool in threadpool_info()), default=1)


def process_id(shared, item):
    return os.getpid()


def announce_and_wait(shared, path):
    """Write the process number and work for a minute."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


def listening_addresses(shared, parent):
    """IPv4 addresses, in hexadecimal, on which the children of a process and itself listen."""
    family = {str(parent), *Path(f"/proc/{parent}/task/{parent}/children").read_text().split()}
    for pid in tuple(family):
        family |= set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    sockets = set()
    for pid in family:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(link) if link.is_symlink() else ""
            if target.startswith("socket:["):
                sockets.add(target[8:-1])
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                found.append(fields[1].partition(":")[0][-8:])
    return found


def node_and_square(shared, item):
    """Identity of the node that ran the task, and the square; slow enough to spread."""
    import ray

    time.sleep(0.15)
    return ray.get_runtime_context().get_node_id(), item * item


def square_after_one_death(shared, item):
    """Die once, the first time that the marked item is seen."""
    number, marker = item
    if marker and not Path(marker).exists():
        Path(marker).write_text("")
        os.kill(os.getpid(), 9)
    return number * number


def count_and_raise(shared, item):
    path, number = item
    with Path(path).open("a") as stream:
        stream.write("x")
    raise ValueError(f"bad item {number}")


def raise_or_write(shared, item):
    """Raise at once where no path is given, else work a while and write."""
    path, number = item
    if not path:
        raise ValueError(f"bad item {number}")
    time.sleep(0.7)
    Path(path).write_text("")
