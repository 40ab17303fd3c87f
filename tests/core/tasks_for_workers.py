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
