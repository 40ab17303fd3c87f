"""Temporary folders that name their owner, so that a killed process leaves nothing for ever."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    for leftover in root.glob(f"{prefix}*-*"):
        owner = leftover.name.removeprefix(prefix).partition("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(leftover, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
