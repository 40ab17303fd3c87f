"""Signatures of evaluation records: HMAC-SHA256 with a key that never enters an artifact.

A signature shows that a record was written by a holder of this results folder's key and was not
edited since. It is no proof against the key's owner.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from filelock import FileLock

from quant_engine.artifacts.files import explained_os_errors, sync_folder
from quant_engine.core.errors import IntegrityError

_KEY_BYTES = 32


class Signer:
    """Signs and checks text with the key in one file.

    Parameters
    ----------
    key_file : Path
        Made at first signing, mode 0600.
    """

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file

    def sign(self, text: str) -> str:
        """Return the signature of a text, 64 hexadecimal characters."""
        return self._digest(self._key_or_new(), text)

    def is_valid(self, text: str, signature: str) -> bool:
        """Tell whether a signature belongs to a text and this key.

        Parameters
        ----------
        text : str
            Signed text.
        signature : str
            What :meth:`sign` returned.

        Returns
        -------
        bool
            False also when the key file is absent.
        """
        if not self._key_file.is_file():
            return False
        # Bytes, because compare_digest refuses text outside ASCII, which a damaged record may hold.
        expected = self._digest(self._read_key(), text).encode()
        return hmac.compare_digest(expected, signature.encode("utf-8", "surrogatepass"))

    def _key_or_new(self) -> bytes:
        if self._key_file.is_file():
            return self._read_key()
        with explained_os_errors(self._key_file):
            self._key_file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self._key_file}.lock"):
                if self._key_file.is_file():
                    return self._read_key()
                key = secrets.token_bytes(_KEY_BYTES)
                temporary = self._key_file.with_suffix(".tmp")
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                with os.fdopen(os.open(temporary, flags, 0o600), "wb") as stream:
                    stream.write(key)
                    stream.flush()
                    os.fsync(stream.fileno())
                temporary.replace(self._key_file)
                sync_folder(self._key_file.parent)
                return key

    def _read_key(self) -> bytes:
        key = self._key_file.read_bytes()
        if len(key) != _KEY_BYTES:
            raise IntegrityError(
                str(self._key_file),
                wanted=f"a key of {_KEY_BYTES} bytes",
                got=f"{len(key)} bytes",
                hint="Restore the key; with a new one old records cannot be verified.",
            )
        return key

    @staticmethod
    def _digest(key: bytes, text: str) -> str:
        return hmac.new(key, text.encode("utf-8"), hashlib.sha256).hexdigest()
