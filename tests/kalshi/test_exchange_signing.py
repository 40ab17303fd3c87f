"""Signing: what verifies, what must not, and that no text shows a key."""

import base64

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from quant_engine.core.errors import ConfigError
from quant_engine.kalshi.exchange import signing
from quant_engine.kalshi.exchange.signing import Signer

NOW_US = 1_800_000_000_000_000
NOW_MS = NOW_US // 1000
PATH = "/trade-api/v2/portfolio/balance"


def check(keys, headers, *, target=PATH, method="GET", now_us=NOW_US):
    lower = {name.lower(): value for name, value in headers.items()}
    rejection = keys.ring().check(lower, method=method, target=target, now_us=now_us)
    return None if rejection is None else rejection.code


@pytest.mark.parametrize(("name", "form"), [
    ("rsa", "PKCS8"), ("rsa", "TraditionalOpenSSL"), ("ed", "PKCS8"),
])  # fmt: skip
def test_the_exchange_accepts_both_kinds_of_key(keys, name, form):
    signer = Signer(keys.signer(name).key_id, keys.pem(name, form=form))
    headers = signer.headers("get", PATH + "?limit=5", timestamp_ms=NOW_MS)
    assert check(keys, headers) is None
    assert check(keys, headers, target=PATH + "?limit=5") is None
    assert check(keys, headers, target=PATH + "s") == "incorrect_signature"
    assert check(keys, headers, method="POST") == "incorrect_signature"
    assert check(keys, headers, now_us=NOW_US + 6_000_000) == "timestamp_expired"
    moved = headers | {"KALSHI-ACCESS-TIMESTAMP": str(NOW_MS + 1)}
    assert check(keys, moved) == "incorrect_signature"
    assert check(keys, headers | {"KALSHI-ACCESS-KEY": "other"}) == "api_key_not_found"
    seconds = signer.headers("GET", PATH, timestamp_ms=NOW_MS // 1000)
    assert check(keys, seconds) == "timestamp_expired"
    assert check(keys, headers | {"KALSHI-ACCESS-SIGNATURE": "%%"}) == "incorrect_signature"
    assert check(keys, {}) == "authentication_required"


@pytest.mark.parametrize("name", ["rsa", "ed"])
def test_the_query_is_never_signed(keys, name):
    signer = keys.signer(name)
    plain = signing.signing_text(NOW_MS, "GET", PATH)
    assert signing.signing_text(NOW_MS, "get", PATH + "?limit=5&cursor=a%2Fb") == plain
    with_query = base64.b64encode(signer.sign(plain + b"?limit=5")).decode()
    headers = signer.headers("GET", PATH, timestamp_ms=NOW_MS)
    headers["KALSHI-ACCESS-SIGNATURE"] = with_query
    assert check(keys, headers, target=PATH + "?limit=5") == "incorrect_signature"


@pytest.mark.parametrize("name", ["rsa", "ed"])
def test_no_altered_byte_verifies(keys, name):
    """Against the public key itself: text and signature, one bit each."""
    signer = keys.signer(name)
    text = signing.signing_text(NOW_MS, "GET", PATH)
    signature = signer.sign(text)
    digest = hashes.SHA256()
    more = () if name == "ed" else (padding.PSS(padding.MGF1(digest), 32), digest)
    public = getattr(keys, name).public_key()
    public.verify(signature, text, *more)
    for i in range(len(text)):
        other = text[:i] + bytes([text[i] ^ 1]) + text[i + 1 :]
        with pytest.raises(InvalidSignature):
            public.verify(signature, other, *more)
    for i in range(len(signature)):
        other = signature[:i] + bytes([signature[i] ^ 1]) + signature[i + 1 :]
        with pytest.raises(InvalidSignature):
            public.verify(other, text, *more)


def test_known_answer_ed25519():
    """RFC 8032, section 7.1, test 1: the empty message."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    assert Signer("id", pem).sign(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
        "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )


def test_the_salt_is_as_long_as_the_digest(keys):
    text = signing.signing_text(NOW_MS, "GET", PATH)
    assert text == f"{NOW_MS}GET{PATH}".encode()
    signature = keys.signer("rsa").sign(text)
    public = keys.rsa.public_key()
    digest = hashes.SHA256()
    public.verify(signature, text, padding.PSS(padding.MGF1(digest), 32), digest)
    with pytest.raises(InvalidSignature):
        public.verify(signature, text, padding.PSS(padding.MGF1(digest), 20), digest)
    longest = padding.PSS(padding.MGF1(digest), padding.PSS.MAX_LENGTH)
    headers = keys.signer("rsa").headers("GET", PATH, timestamp_ms=NOW_MS)
    wrong = base64.b64encode(keys.rsa.sign(text, longest, digest)).decode()
    assert check(keys, headers | {"KALSHI-ACCESS-SIGNATURE": wrong}) == "incorrect_signature"


@pytest.mark.parametrize("pem", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAA\n-----END"])
def test_a_broken_key_is_refused(pem):
    with pytest.raises(ConfigError, match="private key"):
        Signer("id", pem)


def test_other_kinds_and_short_keys_are_refused():
    for key in (ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 1024)):
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        with pytest.raises(ConfigError, match="RSA of at least 2048 bits or Ed25519"):
            Signer("id", pem)


def test_an_encrypted_key_needs_its_passphrase(keys):
    pem = keys.pem(passphrase=b"open sesame")
    assert Signer("id", pem, passphrase="open sesame").algorithm == "ed25519"
    for wrong in (None, "x"):
        with pytest.raises(ConfigError, match="passphrase") as caught:
            Signer("id", pem, passphrase=wrong)
        assert "sesame" not in str(caught.value)


def test_keys_from_variables_and_files(keys, tmp_path):
    path = tmp_path / "key.pem"
    path.write_bytes(keys.pem("rsa"))
    named = {"QE_KALSHI_KEY_ID": "k", "QE_KALSHI_PRIVATE_KEY_FILE": str(path)}
    assert signing.signer_from_environment(named, environment="demo").algorithm == "rsa-pss"
    one_line = keys.pem().decode().replace("\n", "\\n")
    inline = {"QE_KALSHI_KEY_ID": "k", "QE_KALSHI_PRIVATE_KEY": one_line}
    assert signing.signer_from_environment(inline, environment="demo").environment == "demo"
    for broken, message in [
        ({"QE_KALSHI_KEY_ID": "k"}, "neither"),
        (named | inline, "both"),
        (named | {"QE_KALSHI_KEY_ID": " "}, "key id"),
        (named | {"QE_KALSHI_PRIVATE_KEY_FILE": str(tmp_path / "absent")}, "No such file"),
        (named | {"QE_KALSHI_ENVIRONMENT": "prod"}, "a key of prod"),
    ]:
        with pytest.raises(ConfigError, match=message):
            signing.signer_from_environment(broken, environment="demo")
