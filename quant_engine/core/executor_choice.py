"""Executor choice: from a name and a number of jobs to the executor that does the work."""

from __future__ import annotations

from quant_engine.core.errors import ConfigError
from quant_engine.core.executor import Executor, ProcessExecutor, SerialExecutor
from quant_engine.core.executor_ray import RayExecutor

EXECUTORS = ("serial", "process", "ray")
"""Names that can be asked for."""


def make_executor(
    jobs: int, name: str | None = None, *, ray_address: str | None = None
) -> Executor:
    """Return the executor of a name; by default serial for one job, else a process pool.

    Parameters
    ----------
    jobs : int
        Wanted parallel tasks, at least 1.
    name : {"serial", "process", "ray"}, optional
        Where tasks run.
    ray_address : str, optional
        ``HOST:PORT`` of a running Ray cluster; without it Ray is started on this machine.

    Returns
    -------
    Executor
        Results do not depend on which one is returned.

    Raises
    ------
    ConfigError
        Fewer than one job, an unknown name, or an address for another executor than Ray.
    MissingExtraError
        Ray was asked for and is not installed.

    Examples
    --------
    >>> type(make_executor(1)).__name__, type(make_executor(2)).__name__
    ('SerialExecutor', 'ProcessExecutor')
    """
    chosen = name or ("serial" if jobs == 1 else "process")
    if chosen not in EXECUTORS:
        raise ConfigError(
            "executor",
            wanted=f"one of {', '.join(EXECUTORS)}",
            got=repr(chosen),
            hint="Leave it out to choose by the number of jobs.",
        )
    if ray_address is not None and chosen != "ray":
        raise ConfigError(
            "ray_address",
            wanted="no address without the ray executor",
            got=f"{ray_address!r} with {chosen}",
            hint="Add --executor ray, or leave the address out.",
        )
    if jobs < 1:
        raise ConfigError("jobs", wanted="at least 1", got=jobs, hint="Use --jobs 1 or more.")
    if chosen == "ray":
        return RayExecutor(jobs, address=ray_address)
    return SerialExecutor() if chosen == "serial" else ProcessExecutor(jobs)
