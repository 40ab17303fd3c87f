"""Signatures: only a holder of the key can make one, and a removed one is missed."""

import json

import pytest

from quant_engine.artifacts.store import ArtifactStore
from quant_engine.core.errors import IntegrityError

pytestmark = pytest.mark.feature("L-20")


@pytest.fixture
def ref(store, text_kind, provenance):
    return store.write(text_kind(signed=True), "evaluation", provenance())


def edit_record(store, ref, **changes):
    path = store.path(ref) / "record.json"
    record = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in record.items() if v is not None}))


def test_a_signed_artifact_verifies(store, text_kind, provenance, ref):
    assert store.is_signed(ref)
    assert store.faults(ref) == []
    unsigned = store.write(text_kind(), "other", provenance())
    assert not store.is_signed(unsigned)
    assert store.faults(unsigned) == []


def test_the_key_is_private_and_outside_the_artifacts(store, root, ref):
    key = root / ".keys" / "evaluation.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.stat().st_size == 32
    secret = key.read_bytes()
    for path in (root / "artifacts").rglob("*"):
        assert not path.is_file() or (
            secret not in path.read_bytes() and secret.hex().encode() not in path.read_bytes()
        )


def test_unsigned_stores_make_no_key(store, text_kind, provenance, root):
    store.write(text_kind(), "other", provenance())
    assert not (root / ".keys").exists()


@pytest.mark.parametrize("signature", ["0" * 64, "é", "short"])
def test_a_wrong_signature_is_a_fault(store, text_kind, ref, signature):
    edit_record(store, ref, signature=signature)
    assert store.faults(ref) == ["signature is not valid for this results folder's key"]
    assert not store.is_signed(ref)
    with pytest.raises(IntegrityError):
        store.read(text_kind(signed=True), ref)


@pytest.mark.parametrize("signature", ["", None])
def test_a_removed_signature_is_a_fault(store, ref, signature):
    edit_record(store, ref, signature=signature)
    assert store.faults(ref) == ["signature is missing"]


def test_an_edited_evaluation_with_consistent_hashes_is_still_a_fault(
    store, text_kind, provenance, root, tmp_path, clock, ref
):
    """Someone without the key rebuilds everything and copies a signature."""
    forger = ArtifactStore(tmp_path / "forger", clock=clock)
    forged = forger.write(text_kind(signed=True), "better evaluation", provenance())
    signature = json.loads((store.path(ref) / "record.json").read_text())["signature"]
    edit_record(forger, forged, signature=signature)
    forger.path(forged).rename(store.path(forged))
    assert store.faults(forged) == ["signature is not valid for this results folder's key"]


def test_another_key_or_none_confirms_nothing(store, root, ref):
    key = root / ".keys" / "evaluation.key"
    good = key.read_bytes()
    key.write_bytes(bytes(32))
    assert not store.is_signed(ref)
    key.unlink()
    assert not store.is_signed(ref)
    assert store.faults(ref) == ["signature is not valid for this results folder's key"]
    assert not key.exists()
    key.write_bytes(good)
    assert store.is_signed(ref)


def test_a_damaged_key_is_an_integrity_error(store, root, ref):
    (root / ".keys" / "evaluation.key").write_bytes(b"short")
    with pytest.raises(IntegrityError, match="a key of 32 bytes"):
        store.is_signed(ref)


def test_the_same_key_signs_later_records(store, text_kind, provenance, root, ref):
    secret = (root / ".keys" / "evaluation.key").read_bytes()
    second = store.write(text_kind(signed=True), "second", provenance())
    assert (root / ".keys" / "evaluation.key").read_bytes() == secret
    assert store.is_signed(second)
    signatures = {
        json.loads((store.path(r) / "record.json").read_text())["signature"] for r in (ref, second)
    }
    assert len(signatures) == 2
