"""Digest of the code that made an artifact: the sources of its packages, not the commit."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from quant_engine.core.errors import ConfigError, did_you_mean


@lru_cache(maxsize=64)
def code_digest(packages: tuple[str, ...]) -> str:
    """Hash the Python sources of some packages of quant_engine.

    Parameters
    ----------
    packages : tuple of str
        Names below ``quant_engine``, such as ``("core", "features")``.

    Returns
    -------
    str
        64 hexadecimal characters; equal exactly when all sources are equal.

    Raises
    ------
    ConfigError
        For a name that is no package: hashing nothing would hide every change of it.

    Examples
    --------
    >>> code_digest(("core",)) == code_digest(("core",))
    True
    """
    root = Path(str(files("quant_engine")))
    digest = hashlib.sha256()
    for package in sorted(set(packages)):
        if not (root / package).is_dir():
            raise ConfigError(
                "packages",
                wanted="names of packages below quant_engine",
                got=repr(package),
                hint=did_you_mean(package, (path.name for path in root.iterdir() if path.is_dir())),
            )
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
