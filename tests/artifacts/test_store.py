"""ArtifactStore: equal inputs give equal bytes, every change is noticed, addresses are found."""

import json
from datetime import UTC, datetime

import pytest

from quant_engine.artifacts.code import code_digest
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.artifacts.store import ArtifactStore
from quant_engine.core.clock import FixedClock
from quant_engine.core.errors import ConfigError, IntegrityError, SchemaMismatchError, StoreError
from quant_engine.core.hashing import sha256_text

pytestmark = pytest.mark.feature("Q-46")

LATER = FixedClock(datetime(2030, 1, 1, tzinfo=UTC))


def payload_bytes(store, ref) -> dict[str, bytes]:
    folder = store.path(ref) / "payload"
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


class TestIdentity:
    def test_equal_inputs_give_an_equal_id_and_equal_bytes(
        self, store, text_kind, provenance, tmp_path
    ):
        """Another folder, another clock and another commit change nothing that is hashed."""
        other = ArtifactStore(tmp_path / "far" / "away", clock=LATER, commit="abc")
        refs = [s.write(text_kind(), "hello", provenance()) for s in (store, other)]
        assert refs[0] == refs[1]
        assert payload_bytes(store, refs[0]) == payload_bytes(other, refs[1])
        manifests = [(s.path(refs[0]) / "manifest.json").read_bytes() for s in (store, other)]
        assert manifests[0] == manifests[1]
        assert store.describe(refs[0]).created_at == "2026-01-02T03:04:05+00:00"
        assert other.describe(refs[0]).created_at == "2030-01-01T00:00:00+00:00"

    def test_other_value_config_input_track_or_kind_give_another_id(
        self, store, text_kind, provenance
    ):
        first = store.write(text_kind(), "hello", provenance())
        others = [
            store.write(text_kind(), "hullo", provenance()),
            store.write(text_kind(), "hello", provenance(config={"horizon": 5})),
            store.write(text_kind(), "hello", provenance(inputs=(first,))),
            store.write(text_kind(), "hello", provenance(seed=1)),
            store.write(text_kind(name="note"), "hello", provenance()),
            store.write(text_kind(packages=("artifacts",)), "hello", provenance()),
            store.write(text_kind(schema_version=2), "hello", provenance()),
        ]
        assert len({ref.id for ref in [first, *others]}) == 8

    def test_writing_twice_is_harmless_and_keeps_the_first_record(
        self, store, text_kind, provenance, root, leftovers
    ):
        ref = store.write(text_kind(), "hello", provenance())
        files = leftovers()
        again = ArtifactStore(root, clock=LATER).write(text_kind(), "hello", provenance())
        assert again == ref
        assert leftovers() == files
        assert store.describe(ref).created_at == "2026-01-02T03:04:05+00:00"

    def test_nothing_about_place_time_or_host_is_in_the_manifest(
        self, store, text_kind, provenance, root
    ):
        ref = store.write(text_kind(), "hello", provenance())
        text = (store.path(ref) / "manifest.json").read_text()
        for word in (str(root), "created_at", "2026-01-02T03", "commit", "jobs", "host", "user"):
            assert word not in text


class TestReading:
    def test_the_value_comes_back(self, store, text_kind, provenance):
        ref = store.write(text_kind(), "hëllo", provenance())
        assert store.read(text_kind(), ref) == "hëllo"

    def test_absent_other_kind_and_other_version_are_refused(self, store, text_kind, provenance):
        ref = store.write(text_kind(), "hello", provenance())
        with pytest.raises(StoreError, match="absent"):
            store.read(text_kind(), ArtifactRef(kind="text", id="0" * 32))
        with pytest.raises(SchemaMismatchError, match="wanted note version 1, got text version 1"):
            store.read(text_kind(name="note"), ref)
        with pytest.raises(SchemaMismatchError, match="wanted text version 2"):
            store.read(text_kind(schema_version=2), ref)

    def test_a_missing_input_is_refused_before_anything_is_written(
        self, store, text_kind, provenance, leftovers
    ):
        ghost = ArtifactRef(kind="text", id="0" * 32)
        with pytest.raises(IntegrityError, match=f"input text/{'0' * 32}"):
            store.write(text_kind(), "hello", provenance(inputs=(ghost,)))
        assert leftovers() == []

    def test_listing(self, store, text_kind, provenance):
        assert list(store.refs()) == []
        refs = [store.write(text_kind(name=n), n, provenance()) for n in ("note", "text", "note")]
        refs.append(store.write(text_kind(name="note"), "more", provenance()))
        assert set(store.refs()) == set(refs)
        assert list(store.refs()) == sorted(set(refs), key=str)
        assert list(store.refs("text")) == [refs[1]]
        assert list(store.refs("absent")) == []

    def test_find(self, store, text_kind, provenance):
        ref = store.write(text_kind(), "hello", provenance())
        other = store.write(text_kind(name="note"), "hello", provenance())
        assert store.find(ref.id) == store.find(ref.id[:8]) == store.find(f"text/{ref.id}") == ref
        assert store.find(f"note/{other.id[:4]}") == other
        for nothing in (f"note/{ref.id}", "0123456789abcdef0", ref.id[:3], ""):
            with pytest.raises(StoreError, match="got 0 matches"):
                store.find(nothing)

    def test_an_ambiguous_beginning_is_refused(self, store, monkeypatch):
        twins = [ArtifactRef(kind="text", id="abcd" + digit * 28) for digit in "12"]
        monkeypatch.setattr(store, "refs", lambda: iter(twins))
        with pytest.raises(StoreError, match="got 2 matches"):
            store.find("abcd")


class TestTampering:
    @pytest.fixture
    def ref(self, store, text_kind, provenance):
        parent = store.write(text_kind(), "parent", provenance())
        return store.write(text_kind(), "hello", provenance(inputs=(parent,), seed=3))

    def test_an_untouched_artifact_has_no_faults(self, store, ref):
        assert store.faults(ref) == []

    @pytest.mark.parametrize("name", ["value.txt", "deep/length.txt"])
    def test_any_changed_payload_byte_is_named(self, store, text_kind, ref, name):
        path = store.path(ref) / "payload" / name
        good = path.read_bytes()
        for position in range(len(good)):
            for bit in range(8):
                bad = bytearray(good)
                bad[position] ^= 1 << bit
                path.write_bytes(bytes(bad))
                assert store.faults(ref) == [f"payload file {name} was added or changed"]
        for bad in (good[:-1], good + b"\n", b""):
            path.write_bytes(bad)
            assert store.faults(ref) == [f"payload file {name} was added or changed"]
        with pytest.raises(IntegrityError, match=name):
            store.read(text_kind(), ref)

    def test_removed_and_added_files_are_named(self, store, ref):
        folder = store.path(ref)
        (folder / "payload" / "deep" / "length.txt").unlink()
        assert store.faults(ref) == ["payload file deep/length.txt is missing"]
        (folder / "payload" / "value.txt").rename(folder / "payload" / "other.txt")
        assert store.faults(ref) == [
            "payload file deep/length.txt is missing",
            "payload file other.txt was added or changed",
            "payload file value.txt is missing",
        ]

    def test_files_beside_the_payload_are_named(self, store, ref):
        folder = store.path(ref)
        (folder / "evil.txt").write_text("x")
        assert store.faults(ref) == ["evil.txt was added"]
        (folder / "evil.txt").unlink()
        (folder / "record.json").unlink()
        assert store.faults(ref) == ["record.json is missing"]
        with pytest.raises(IntegrityError, match=r"record\.json"):
            store.describe(ref)

    def test_a_removed_payload_is_named(self, store, ref):
        (store.path(ref) / "payload").rename(store.path(ref).parent / "elsewhere")
        assert "payload is missing" in store.faults(ref)

    def test_every_manifest_field_is_protected(self, store, text_kind, ref):
        """Walk over all leaves of the manifest; a changed one is never accepted."""
        path = store.path(ref) / "manifest.json"
        good = json.loads(path.read_text())
        leaves = list(walk(good))
        assert len(leaves) > 20
        for where, value in leaves:
            bad = json.loads(path.read_text())
            holder = bad
            for key in where[:-1]:
                holder = holder[key]
            holder[where[-1]] = changed(value)
            path.write_text(json.dumps(bad))
            assert store.faults(ref), where
            with pytest.raises((IntegrityError, SchemaMismatchError)):
                store.read(text_kind(), ref)
            path.write_text(json.dumps(good))
        assert store.faults(ref) == []

    @pytest.mark.parametrize("where", [(), ("provenance",), ("provenance", "config")], ids=str)
    def test_added_and_removed_manifest_keys_are_noticed(self, store, ref, where):
        path = store.path(ref) / "manifest.json"
        good = path.read_text()

        def opened():
            whole = inner = json.loads(good)
            for key in where:
                inner = inner[key]
            return whole, inner

        whole, inner = opened()
        inner["added"] = 1
        path.write_text(json.dumps(whole))
        assert store.faults(ref)
        # A key that stands at its default means the same when it is absent.
        for key in [key for key, value in opened()[1].items() if value not in ("", None, False)]:
            whole, inner = opened()
            del inner[key]
            path.write_text(json.dumps(whole))
            assert store.faults(ref), key

    def test_payload_and_file_list_changed_together_are_noticed(self, store, ref):
        folder = store.path(ref)
        (folder / "payload" / "value.txt").write_text("forged")
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"]["value.txt"] = sha256_text("forged")
        (folder / "manifest.json").write_text(json.dumps(manifest))
        assert store.faults(ref) == ["content_sha256 does not match the rest of manifest.json"]

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "\xff"])
    def test_a_damaged_manifest_is_a_fault_and_cannot_be_read(self, store, text_kind, ref, text):
        (store.path(ref) / "manifest.json").write_bytes(text.encode("latin-1"))
        assert store.faults(ref)[0].startswith("manifest.json is damaged")
        with pytest.raises(IntegrityError):
            store.read(text_kind(), ref)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"created_at": 1}'])
    def test_a_damaged_record_is_a_fault(self, store, ref, text):
        (store.path(ref) / "record.json").write_text(text)
        assert store.faults(ref)[0].startswith("record.json is damaged")

    def test_an_artifact_under_another_address_is_noticed(self, store, text_kind, ref):
        elsewhere = ArtifactRef(kind="text", id="f" * 32)
        store.path(ref).rename(store.path(elsewhere))
        assert store.faults(elsewhere) == [f"manifest.json belongs to {ref}"]

    def test_a_removed_input_is_noticed(self, store, ref):
        (parent,) = store.manifest(ref).provenance.inputs
        store.path(parent).rename(store.folder / "gone")
        assert store.faults(ref) == [f"input {parent} is missing"]

    def test_writing_again_repairs_a_damaged_artifact(
        self, store, text_kind, provenance, leftovers
    ):
        ref = store.write(text_kind(), "hello", provenance())
        files = leftovers()
        (store.path(ref) / "payload" / "value.txt").write_text("damaged")
        assert store.write(text_kind(), "hello", provenance()) == ref
        assert store.faults(ref) == []
        assert store.read(text_kind(), ref) == "hello"
        assert leftovers() == files


def walk(value, where=()):
    """Yield (path, leaf) of nested JSON."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from walk(inner, (*where, key))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from walk(inner, (*where, position))
    else:
        yield where, value


def changed(value):
    """Return another value of the same type, or a number for null."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return ("1" if value[:1] == "0" else "0") + value[1:]
    return 1


class TestCodeDigest:
    def test_order_and_repetition_do_not_matter_and_every_package_does(self):
        assert code_digest(("core", "artifacts")) == code_digest(("artifacts", "core", "core"))
        assert code_digest(("core",)) != code_digest(("artifacts",))

    def test_a_changed_or_renamed_source_changes_it(self, tmp_path, monkeypatch):
        monkeypatch.setattr("quant_engine.artifacts.code.files", lambda _: tmp_path)
        folder = tmp_path / "parts"
        folder.mkdir()
        source = folder / "a.py"
        digests = []
        for text, name in (("x = 1\n", "a.py"), ("x = 2\n", "a.py"), ("x = 2\n", "b.py")):
            for path in folder.iterdir():
                path.unlink()
            (folder / name).write_text(text)
            (folder / "notes.txt").write_text(text)
            code_digest.cache_clear()
            digests.append(code_digest(("parts",)))
        source.unlink(missing_ok=True)
        code_digest.cache_clear()
        assert len(set(digests)) == 3

    def test_an_unknown_package_is_refused(self):
        with pytest.raises(ConfigError, match="Did you mean 'artifacts'"):
            code_digest(("artifact",))
