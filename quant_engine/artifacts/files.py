"""Writing files so that a reader never sees half of one, and naming why a disk refused."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quant_engine.core.errors import IntegrityError, StoreError
from quant_engine.core.scratch import sweep

_PLACE_ERRORS = {
    errno.ENOSPC: ("free disk space", "Free some space or choose another --results folder."),
    errno.EDQUOT: ("disk quota", "Free some space or choose another --results folder."),
    errno.EFBIG: ("room for a large file", "Lift the file size limit (see `ulimit -f`)."),
    errno.EROFS: ("a writable folder", "Choose another folder with --results."),
    errno.EACCES: (
        "a writable folder",
        "Change its permissions or choose another --results folder.",
    ),
    errno.EPERM: (
        "a writable folder",
        "Change its permissions or choose another --results folder.",
    ),
    errno.ENOENT: ("a folder that can be made", "Choose another folder with --results."),
    errno.ENOTDIR: ("a folder", "A file stands where a folder is needed; move it away."),
    errno.EEXIST: ("a folder", "A file stands where a folder is needed; move it away."),
}


@contextmanager
def explained_os_errors(place: Path) -> Iterator[None]:
    """Turn operating-system refusals about a place into a StoreError that says what to do.

    Parameters
    ----------
    place : Path
        The file or folder that is being written.

    Raises
    ------
    StoreError
        For a full disk, a read-only folder and the like; other errors pass unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _PLACE_ERRORS:
            raise
        wanted, hint = _PLACE_ERRORS[error.errno]
        raise StoreError(str(place), wanted=wanted, got=error.strerror, hint=hint) from error


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file by new bytes: temporary file, fsync, rename, fsync of the folder.

    What a killed writer of the same file left behind is removed first.

    Parameters
    ----------
    path : Path
        Target; its folder is made when absent.
    data : bytes
        Whole content.

    Raises
    ------
    StoreError
        When the place cannot be written; the old file is untouched.
    """
    with explained_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{path.name}."
        sweep(path.parent, prefix=prefix)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f"{prefix}{os.getpid()}-", suffix=".tmp"
        )
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            # mkstemp makes private files; results are ordinary files of the user.
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON atomically, keys sorted.

    Parameters
    ----------
    path : Path
        Target; see :func:`write_atomic`.
    value : JSON-like
        Plain values without NaN.
    """
    write_atomic(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Return the readable JSON form used in files: sorted keys, two spaces, final newline.

    Parameters
    ----------
    value : JSON-like
        Plain values without NaN.

    Returns
    -------
    bytes
        UTF-8.
    """
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8")


def read_json(path: Path) -> Any:
    """Read JSON; IntegrityError when the file is not whole JSON.

    Parameters
    ----------
    path : Path
        Existing file.

    Returns
    -------
    object
        Parsed value.

    Raises
    ------
    IntegrityError
        When the content is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(
            str(path), wanted="valid JSON", got=str(error), hint="Run `qe verify`."
        ) from error


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below a folder to the disk.

    Parameters
    ----------
    folder : Path
        Existing folder.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    for path in [*sorted(folder.rglob("*")), folder]:
        if path.is_dir():
            sync_folder(path)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename survives a power cut.

    Parameters
    ----------
    folder : Path
        Existing folder.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
