"""Request signing: who asks, when, and for what, signed with a key that is never shown.

The signed text is ``timestamp_ms + METHOD + path``, the path from the API's root and without its
query. RSA keys sign with PSS, SHA-256, MGF1-SHA256 and a salt as long as the digest; Ed25519 keys
sign the same text. The signature travels in base64.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from quant_engine.core.errors import ConfigError, MissingExtraError

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
except ImportError as error:
    raise MissingExtraError.for_extra(
        "kalshi", package="cryptography", purpose="signing requests to the exchange"
    ) from error

__all__ = [
    "KEY_HEADER",
    "SIGNATURE_HEADER",
    "TIMESTAMP_HEADER",
    "Signer",
    "check_home",
    "masked",
    "signer_from_environment",
    "signer_from_file",
    "signing_text",
]

KEY_HEADER = "KALSHI-ACCESS-KEY"
TIMESTAMP_HEADER = "KALSHI-ACCESS-TIMESTAMP"
SIGNATURE_HEADER = "KALSHI-ACCESS-SIGNATURE"
_SHOWN = 4
_MIN_RSA_BITS = 2048


def signing_text(timestamp_ms: int, method: str, path: str) -> bytes:
    """Compose the text that is signed.

    Parameters
    ----------
    timestamp_ms : int
        Milliseconds since 1970 UTC.
    method : str
        HTTP verb in any case.
    path : str
        Path from the API's root; a query is cut off.

    Returns
    -------
    bytes
        UTF-8.

    Examples
    --------
    >>> signing_text(1703123456789, "get", "/trade-api/v2/markets?limit=5")
    b'1703123456789GET/trade-api/v2/markets'
    """
    return f"{timestamp_ms}{method.upper()}{path.partition('?')[0]}".encode()


def masked(secret: str) -> str:
    """Show the end of an identifier, enough to tell two apart.

    Parameters
    ----------
    secret : str
        Key id.

    Returns
    -------
    str
        Its last four signs, or none of a short one.

    Examples
    --------
    >>> masked("a952bcbe-ec3b-4b5b-b8f9-11dae589608c"), masked("short")
    ('…608c', '…')
    """
    return "…" + (secret[-_SHOWN:] if len(secret) > 3 * _SHOWN else "")


class Signer:
    """A key id and its private key, which no text form of this object shows.

    Parameters
    ----------
    key_id : str
        Identifier that the exchange gave the key.
    pem : bytes
        Private key in PEM: PKCS#1 or PKCS#8 RSA of at least 2048 bits, or PKCS#8 Ed25519.
    passphrase : str, optional
        Of an encrypted PEM.
    environment : str, optional
        Where the key is registered; a transport to another environment refuses it.

    Raises
    ------
    ConfigError
        When the id is empty or the key cannot be used. The message names the cause, never the key.
    """

    def __init__(
        self,
        key_id: str,
        pem: bytes,
        *,
        passphrase: str | None = None,
        environment: str | None = None,
    ) -> None:
        if not key_id.strip():
            raise ConfigError(
                "key id", wanted="the id of an API key", got="nothing", hint="Set QE_KALSHI_KEY_ID."
            )
        self._key_id = key_id.strip()
        self._key = _load(pem, passphrase)
        self.environment = environment

    @property
    def key_id(self) -> str:
        """Identifier that the exchange gave the key."""
        return self._key_id

    @property
    def algorithm(self) -> str:
        """``rsa-pss`` or ``ed25519``."""
        return "rsa-pss" if isinstance(self._key, RSAPrivateKey) else "ed25519"

    def sign(self, text: bytes) -> bytes:
        """Return the raw signature of a text."""
        if isinstance(self._key, RSAPrivateKey):
            digest = hashes.SHA256()
            return self._key.sign(
                text, PSS(mgf=MGF1(digest), salt_length=digest.digest_size), digest
            )
        return self._key.sign(text)

    def headers(self, method: str, path: str, *, timestamp_ms: int) -> dict[str, str]:
        """Sign one request.

        Parameters
        ----------
        method : str
            HTTP verb.
        path : str
            Path from the API's root.
        timestamp_ms : int
            Milliseconds since 1970 UTC by the exchange's clock.

        Returns
        -------
        dict
            The three headers of the exchange.
        """
        signature = self.sign(signing_text(timestamp_ms, method, path))
        return {
            KEY_HEADER: self._key_id,
            TIMESTAMP_HEADER: str(timestamp_ms),
            SIGNATURE_HEADER: base64.b64encode(signature).decode("ascii"),
        }

    def __repr__(self) -> str:
        return f"Signer(key_id={masked(self._key_id)!r}, algorithm={self.algorithm!r})"

    def __reduce__(self) -> str | tuple[object, ...]:
        """Refuse to be copied into another process or a file."""
        raise ConfigError(
            "Signer",
            wanted="to stay in the process that read the key",
            got="an attempt to serialise it",
            hint="Send the path of the key file instead.",
        )


def _load(pem: bytes, passphrase: str | None) -> RSAPrivateKey | Ed25519PrivateKey:
    secret = None if passphrase is None else passphrase.encode()
    try:
        key = load_pem_private_key(pem, password=secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The library's message can quote the input; only its class is passed on.
        raise ConfigError(
            "private key",
            wanted="a PEM with an RSA or Ed25519 private key and its passphrase, if it has one",
            got=f"something unreadable ({type(error).__name__})",
            hint="Download the key again, or check the passphrase.",
        ) from None
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, RSAPrivateKey) and key.key_size >= _MIN_RSA_BITS:
        return key
    raise ConfigError(
        "private key",
        wanted=f"RSA of at least {_MIN_RSA_BITS} bits or Ed25519",
        got=type(key).__name__.strip("_"),
        hint="Generate a key on the exchange's web site.",
    )


def signer_from_file(
    key_id: str, path: Path, *, passphrase: str | None = None, environment: str | None = None
) -> Signer:
    """Read a private key from a PEM file.

    Parameters
    ----------
    key_id : str
        Identifier that the exchange gave the key.
    path : Path
        PEM file.
    passphrase : str, optional
        Of an encrypted PEM.
    environment : str, optional
        Where the key is registered.

    Returns
    -------
    Signer
        Ready to sign.

    Raises
    ------
    ConfigError
        When the file is absent or holds no usable key.
    """
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            "private key file",
            wanted="a readable PEM file",
            got=error.strerror,
            hint=f"Check the path {path}.",
        ) from error
    return Signer(key_id, pem, passphrase=passphrase, environment=environment)


def signer_from_environment(variables: Mapping[str, str], *, environment: str) -> Signer:
    """Make a signer from environment variables that the caller read.

    ``QE_KALSHI_KEY_ID`` names the key; ``QE_KALSHI_PRIVATE_KEY`` holds its PEM or
    ``QE_KALSHI_PRIVATE_KEY_FILE`` its path; ``QE_KALSHI_PASSPHRASE`` decrypts it;
    ``QE_KALSHI_ENVIRONMENT`` says where the key is registered. A single underscore after
    ``KALSHI`` keeps them out of the overrides of a run, which are recorded.

    Parameters
    ----------
    variables : mapping of str to str
        Name to value.
    environment : str
        Where the key is to be used.

    Returns
    -------
    Signer
        Of that environment.

    Raises
    ------
    ConfigError
        When a variable is missing, both forms of the key are given, or the key belongs elsewhere.
    """
    inline, file = (
        variables.get(name) for name in ("QE_KALSHI_PRIVATE_KEY", "QE_KALSHI_PRIVATE_KEY_FILE")
    )
    if bool(inline) == bool(file):
        raise ConfigError(
            "private key",
            wanted="exactly one of QE_KALSHI_PRIVATE_KEY and QE_KALSHI_PRIVATE_KEY_FILE",
            got="both" if inline else "neither",
            hint="Set one of them; the fake exchange and recordings need none.",
        )
    home = variables.get("QE_KALSHI_ENVIRONMENT", "demo")
    if home != environment:
        raise _elsewhere(home, environment)
    key_id = variables.get("QE_KALSHI_KEY_ID", "")
    passphrase = variables.get("QE_KALSHI_PASSPHRASE")
    if file:
        return signer_from_file(key_id, Path(file), passphrase=passphrase, environment=home)
    # Shells and services often carry a PEM on one line with literal \n.
    pem = (inline or "").replace("\\n", "\n").encode()
    return Signer(key_id, pem, passphrase=passphrase, environment=home)


def check_home(signer: Signer, environment: str) -> None:
    """Refuse a key that is registered in another environment.

    Parameters
    ----------
    signer : Signer
        Key; one that does not say where it is registered passes.
    environment : str
        Where it is to be used.

    Raises
    ------
    ConfigError
        For a demo key on production and the like.
    """
    if signer.environment is not None and signer.environment != environment:
        raise _elsewhere(signer.environment, environment)


def _elsewhere(home: str, environment: str) -> ConfigError:
    return ConfigError(
        "API key",
        wanted=f"a key of the environment {environment}",
        got=f"a key of {home}",
        hint="Demo and production keys are separate; set QE_KALSHI_ENVIRONMENT to the key's own.",
    )
