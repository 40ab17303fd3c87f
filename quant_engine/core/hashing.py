"""Content hashes: one canonical JSON and one way to digest arrays and files."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_CHUNK_BYTES = 1 << 20


def canonical_json(value: Any) -> str:
    """Serialise to JSON with one spelling: sorted keys, no spaces, no NaN.

    Parameters
    ----------
    value : JSON-like
        Dicts with string keys, lists, tuples, strings, finite numbers, booleans, None.

    Returns
    -------
    str
        The canonical text, stable across processes and platforms.

    Raises
    ------
    ValueError
        For NaN or infinity, which JSON cannot carry.

    Examples
    --------
    >>> canonical_json({"b": 1, "a": [1.5, None]})
    '{"a":[1.5,null],"b":1}'
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def finite_or_none(value: float | None) -> float | None:
    """Map NaN and infinity to None, the JSON spelling of "not available".

    Parameters
    ----------
    value : float or None
        Any number.

    Returns
    -------
    float or None
        The number as a Python float when finite, else None.

    Examples
    --------
    >>> finite_or_none(float("nan")) is None
    True
    """
    if value is None or not math.isfinite(value):
        return None
    return float(value)


def sha256_bytes(data: bytes) -> str:
    """Hash bytes.

    Parameters
    ----------
    data : bytes
        Any bytes.

    Returns
    -------
    str
        64 hexadecimal characters.

    Examples
    --------
    >>> sha256_bytes(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def sha256_text(text: str) -> str:
    """Hash the UTF-8 encoding of a text.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        64 hexadecimal characters.
    """
    return sha256_bytes(text.encode("utf-8"))


def sha256_json(value: Any) -> str:
    """Hash the canonical JSON of a value.

    Parameters
    ----------
    value : JSON-like
        See :func:`canonical_json`.

    Returns
    -------
    str
        64 hexadecimal characters.
    """
    return sha256_text(canonical_json(value))


def sha256_file(path: Path) -> str:
    """Hash a file's bytes in chunks, so that large files need no memory.

    Parameters
    ----------
    path : Path
        Existing file.

    Returns
    -------
    str
        64 hexadecimal characters.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def array_digest(array: npt.NDArray[Any]) -> str:
    """Hash dtype, shape and C-order bytes of an array.

    Parameters
    ----------
    array : ndarray, any shape
        NaN payloads are part of the bytes, so two arrays are equal only bit for bit.

    Returns
    -------
    str
        64 hexadecimal characters.
    """
    digest = hashlib.sha256()
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
