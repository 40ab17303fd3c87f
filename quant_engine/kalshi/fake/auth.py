"""The exchange's side of signing: public keys, and every reason to refuse a request.

Written apart from `exchange.signing`: a mistake there must not be repeated here.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from quant_engine.core.errors import MissingExtraError

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
except ImportError as error:
    raise MissingExtraError.for_extra(
        "kalshi", package="cryptography", purpose="checking signatures"
    ) from error

__all__ = ["KeyRing", "Rejection"]

_SHA256_BYTES = 32


@dataclass(frozen=True)
class Rejection:
    """Why a request is refused: code and sentence of the 401 answer."""

    code: str
    message: str


class KeyRing:
    """Registered public keys.

    Parameters
    ----------
    keys : mapping of str to public key
        Key id to RSA or Ed25519 public key.
    tolerance_ms : int
        Largest difference between a request's time and the exchange's clock. The real one is not
        documented; 5 s is this project's assumption.
    """

    def __init__(
        self, keys: Mapping[str, RSAPublicKey | Ed25519PublicKey], *, tolerance_ms: int = 5000
    ) -> None:
        self._keys = dict(keys)
        self._tolerance_ms = tolerance_ms

    def check(
        self, headers: Mapping[str, str], *, method: str, target: str, now_us: int
    ) -> Rejection | None:
        """Verify one request.

        Parameters
        ----------
        headers : mapping of str to str
            Names in lower case.
        method : str
            HTTP verb.
        target : str
            Path with its query, from the API's root.
        now_us : int
            The exchange's time, microseconds UTC.

        Returns
        -------
        Rejection or None
            None when the request is genuine.
        """
        names = [f"kalshi-access-{part}" for part in ("key", "timestamp", "signature")]
        identity, stamp, signature = (headers.get(name, "") for name in names)
        if not (identity and stamp and signature):
            return Rejection("authentication_required", "missing authentication headers")
        key = self._keys.get(identity)
        if key is None:
            return Rejection("api_key_not_found", "unknown api key")
        if not stamp.isdigit():
            return Rejection("invalid_timestamp", "timestamp must be milliseconds")
        if abs(int(stamp) - now_us // 1000) > self._tolerance_ms:
            return Rejection("timestamp_expired", "request timestamp is outside the allowed window")
        text = stamp + method.upper() + target.split("?")[0]
        if not _is_genuine(key, signature, text.encode("ascii")):
            return Rejection("incorrect_signature", "signature does not verify")
        return None


def _is_genuine(key: RSAPublicKey | Ed25519PublicKey, signature: str, text: bytes) -> bool:
    try:
        raw = base64.b64decode(signature, validate=True)
        if isinstance(key, Ed25519PublicKey):
            key.verify(raw, text)
        else:
            scheme = padding.PSS(padding.MGF1(hashes.SHA256()), _SHA256_BYTES)
            key.verify(raw, text, scheme, hashes.SHA256())
    except (InvalidSignature, binascii.Error):
        return False
    return True
