"""Pages: arrays of a panel that is still being computed, one file each, that survive a killed run.

A panel too large for the memory is computed a few fields at a time. Every finished field is a file
that is renamed into place when it is whole; a resumed run finds it under the same key and computes
the rest. The key says what determines the content, so a page of other data or other code is never
found.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy.typing as npt

from quant_engine.artifacts.files import explained_os_errors
from quant_engine.artifacts.kinds.panel import map_array, save_array

__all__ = ["PageFolder"]


class PageFolder:
    """Finished fields of one unfinished panel.

    Parameters
    ----------
    root : Path
        Results folder; pages lie in ``root/pages/KEY``.
    key : str
        Hash of everything that determines the content.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as root:
    ...     pages = PageFolder(Path(root), "0" * 64)
    ...     pages.save("MA5", np.ones((2, 1)))
    ...     pages.missing(["MA5", "MA10"]), pages.load("MA5").shape
    (('MA10',), (2, 1))
    """

    def __init__(self, root: Path, key: str) -> None:
        self.folder = root / "pages" / key[:32]

    def missing(self, names: list[str]) -> tuple[str, ...]:
        """Those of the names that have no finished page, in the same order."""
        return tuple(name for name in names if not self._path(name).is_file())

    def save(self, name: str, array: npt.NDArray[Any]) -> None:
        """Write one page; it appears when it is whole.

        Parameters
        ----------
        name : str
            Field name, a plain identifier.
        array : ndarray
            Any shape and unit.

        Raises
        ------
        StoreError
            When the place cannot be written.
        """
        with explained_os_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            unfinished = self.folder / f".{name}.{os.getpid()}"
            try:
                save_array(unfinished, array)
                unfinished.replace(self._path(name))
            finally:
                unfinished.unlink(missing_ok=True)

    def load(self, name: str) -> npt.NDArray[Any]:
        """Map one page read-only."""
        return map_array(self._path(name))

    def remove(self) -> None:
        """Delete all pages of this key."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"
