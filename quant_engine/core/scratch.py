"""Temporary folders that name their owner, so that a killed process leaves nothing for ever."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

SCRATCH_PREFIX = "quant_engine_"


@contextmanager
def owned_folder(root: Path, *, prefix: str = "") -> Iterator[Path]:
    """Make a temporary folder ``PREFIX<process id>-...`` and remove it afterwards.

    Folders with the same prefix whose owner died are removed first; those of living processes
    stay.

    Parameters
    ----------
    root : Path
        Existing folder to make it in.
    prefix : str
        Beginning of the name, so that nobody else's folders are touched.

    Yields
    ------
    Path
        An empty folder.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as root, owned_folder(Path(root)) as folder:
    ...     folder.name.startswith(f"{os.getpid()}-")
    True
    """
    sweep(root, prefix=prefix)
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def scratch_folder() -> AbstractContextManager[Path]:
    """Make a folder of the running process in the system's place for temporary files.

    Returns
    -------
    context manager of Path
        An empty folder, removed afterwards; see :func:`owned_folder`.
    """
    return owned_folder(Path(tempfile.gettempdir()), prefix=SCRATCH_PREFIX)


def sweep_scratch() -> None:
    """Remove scratch folders whose process was killed."""
    sweep(Path(tempfile.gettempdir()), prefix=SCRATCH_PREFIX)


def sweep(root: Path, *, prefix: str) -> None:
    """Remove files and folders ``PREFIX<process id>-...`` whose process has ended.

    Parameters
    ----------
    root : Path
        Folder that holds them.
    prefix : str
        Beginning of the name, so that nobody else's are touched.
    """
    for leftover in root.glob(f"{glob.escape(prefix)}*-*"):
        owner = leftover.name.removeprefix(prefix).partition("-")[0]
        if not owner.isdigit() or _is_alive(int(owner)):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
