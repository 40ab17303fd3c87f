"""ArtifactStore: write a typed value once, read it back checked, follow where it came from.

How a value becomes an artifact:

1. the kind writes the payload into a temporary folder (`ArtifactStore.write`);
2. every payload file is flushed and hashed (`_hash_payload`);
3. the manifest is derived from hashes, configuration, code and inputs (`Manifest.build`);
4. manifest and record are added and the folder is renamed into place (`_publish`).

A reader therefore never sees half an artifact, a killed run leaves only a temporary folder that
the next writer sweeps, and equal inputs give an equal id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from quant_engine.artifacts.code import code_digest
from quant_engine.artifacts.files import (
    explained_os_errors,
    json_bytes,
    read_json,
    sync_folder,
    sync_tree,
)
from quant_engine.artifacts.manifest import ArtifactRef, Manifest, Provenance
from quant_engine.artifacts.signing import Signer
from quant_engine.core.clock import Clock
from quant_engine.core.errors import IntegrityError, SchemaMismatchError, StoreError
from quant_engine.core.hashing import canonical_json, sha256_file
from quant_engine.core.scratch import owned_folder

ValueT = TypeVar("ValueT")
_MANIFEST, _RECORD, _PAYLOAD, _TEMPORARY = "manifest.json", "record.json", "payload", ".tmp"


class ArtifactKind(Protocol[ValueT]):
    """The one owner of a kind's layout: columns, dtypes, units, read, write, migrate."""

    @property
    def name(self) -> str:
        """Name of the kind, which is also its folder."""
        ...

    @property
    def schema_version(self) -> int:
        """Version of the layout."""
        ...

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages whose sources determine the content."""
        ...

    @property
    def signed(self) -> bool:
        """Whether a record of this kind must carry a signature."""
        ...

    def write(self, value: ValueT, folder: Path) -> None:
        """Write the payload files of a value into an empty folder."""
        ...

    def read(self, folder: Path) -> ValueT:
        """Read the value back; SchemaMismatchError when columns or dtypes are off."""
        ...


@dataclass(frozen=True)
class StoredArtifact:
    """An artifact as a listing sees it.

    Parameters
    ----------
    manifest : Manifest
        Its identity card.
    folder : Path
        Where it lies.
    created_at : str
        ISO instant of writing.
    """

    manifest: Manifest
    folder: Path
    created_at: str


class ArtifactStore:
    """Artifacts of one results folder.

    Parameters
    ----------
    root : Path
        Results folder; artifacts lie in ``root/artifacts/KIND/ID``.
    clock : Clock
        Source of ``created_at``, which is outside the identity.
    commit : str
        Commit of the working copy where known, likewise outside.

    Notes
    -----
    ``signer`` holds the key of the results folder; governance signs its records with it too.
    """

    def __init__(self, root: Path, *, clock: Clock, commit: str = "") -> None:
        self.root = root
        self.folder = root / "artifacts"
        self._clock = clock
        self._commit = commit
        self.signer = Signer(root / ".keys" / "evaluation.key")

    def write(
        self, kind: ArtifactKind[ValueT], value: ValueT, provenance: Provenance
    ) -> ArtifactRef:
        """Store a value and return its address.

        Parameters
        ----------
        kind : ArtifactKind
            Owner of the layout.
        value : object
            What the kind writes.
        provenance : Provenance
            Inputs, configuration, track and versions.

        Returns
        -------
        ArtifactRef
            Equal for equal content and lineage. Storing twice is harmless: a whole artifact
            stays as it is, a damaged one is replaced.

        Raises
        ------
        StoreError
            When the place cannot be written; nothing is left behind.
        IntegrityError
            When an input is not in this store.
        """
        for ref in provenance.inputs:
            if not self.path(ref).is_dir():
                raise IntegrityError(
                    f"input {ref}",
                    wanted="an artifact of this store",
                    got="absent",
                    hint="Artifacts are written after the artifacts they depend on.",
                )
        temporary_root = self.folder / _TEMPORARY
        with explained_os_errors(self.folder):
            temporary_root.mkdir(parents=True, exist_ok=True)
            with owned_folder(temporary_root) as temporary:
                fresh = temporary / "fresh"
                payload = fresh / _PAYLOAD
                payload.mkdir(parents=True)
                kind.write(value, payload)
                manifest = Manifest.build(
                    kind.name,
                    schema_version=kind.schema_version,
                    files=_hash_payload(payload),
                    code_digest=code_digest(kind.packages),
                    provenance=provenance,
                    signed=kind.signed,
                )
                self._publish(manifest, fresh)
        return manifest.ref

    def read(self, kind: ArtifactKind[ValueT], ref: ArtifactRef) -> ValueT:
        """Read a value back after checking kind, version, hash and schema.

        Parameters
        ----------
        kind : ArtifactKind
            Expected kind.
        ref : ArtifactRef
            Address.

        Returns
        -------
        object
            The value.

        Raises
        ------
        StoreError
            When there is no such artifact.
        SchemaMismatchError
            When kind or schema version differ.
        IntegrityError
            When bytes differ from what was written.
        """
        manifest = self.manifest(ref)
        if (manifest.kind, manifest.schema_version) != (kind.name, kind.schema_version):
            raise SchemaMismatchError(
                f"artifact {ref}",
                wanted=f"{kind.name} version {kind.schema_version}",
                got=f"{manifest.kind} version {manifest.schema_version}",
                hint="Run the step that makes it again.",
            )
        faults = self.faults(ref)
        if faults:
            raise IntegrityError(
                f"artifact {ref}", wanted="unchanged bytes", got=faults[0], hint="Run `qe verify`."
            )
        return kind.read(self.path(ref) / _PAYLOAD)

    def manifest(self, ref: ArtifactRef) -> Manifest:
        """Return the manifest of an artifact; StoreError when it is not there."""
        path = self.path(ref) / _MANIFEST
        if not path.is_file():
            raise StoreError(
                f"artifact {ref}",
                wanted=f"an artifact in {self.folder}",
                got="absent",
                hint="List what is there with `qe artifacts`.",
            )
        try:
            return Manifest.model_validate(read_json(path))
        except ValueError as error:
            raise IntegrityError(
                str(path), wanted="a manifest", got=str(error)[:200], hint="Run `qe verify`."
            ) from error

    def path(self, ref: ArtifactRef) -> Path:
        """Return the folder of an artifact, whether it exists or not."""
        return self.folder / ref.kind / ref.id

    def find(self, identity: str) -> ArtifactRef:
        """Find an artifact by its id, by a unique beginning of it, or by ``KIND/ID``.

        Parameters
        ----------
        identity : str
            At least four characters.

        Returns
        -------
        ArtifactRef
            Its address.

        Raises
        ------
        StoreError
            When none or several match.
        """
        kind, _, prefix = identity.rpartition("/")
        found = [
            ref
            for ref in self.refs()
            if ref.id.startswith(prefix) and kind in ("", ref.kind) and len(prefix) >= 4
        ]
        if len(found) != 1:
            raise StoreError(
                f"artifact {identity!r}",
                wanted="the id of one artifact",
                got=f"{len(found)} matches",
                hint="Give more characters of the id, or list them with `qe artifacts`.",
            )
        return found[0]

    def refs(self, kind: str | None = None) -> Iterator[ArtifactRef]:
        """Iterate over all artifacts, or those of one kind, in a stable order."""
        pattern = f"{kind or '*'}/*/{_MANIFEST}"
        for path in sorted(self.folder.glob(pattern)):
            if path.parts[-3] != _TEMPORARY:
                yield ArtifactRef(kind=path.parts[-3], id=path.parts[-2])

    def describe(self, ref: ArtifactRef) -> StoredArtifact:
        """Return manifest, place and time of writing of an artifact."""
        manifest = self.manifest(ref)
        return StoredArtifact(manifest, self.path(ref), self._record(ref)["created_at"])

    def faults(self, ref: ArtifactRef) -> list[str]:
        """Re-hash an artifact and say in words what is wrong with it.

        Parameters
        ----------
        ref : ArtifactRef
            Address.

        Returns
        -------
        list of str
            Empty when every byte, the id, the inputs and the signature are right.
        """
        try:
            manifest = self.manifest(ref)
        except IntegrityError as error:
            return [f"{_MANIFEST} is damaged: {error.got}"]
        found = []
        if manifest.ref != ref:
            found.append(f"{_MANIFEST} belongs to {manifest.ref}")
        found.extend(self._layout_faults(ref))
        found.extend(self._hash_faults(ref, manifest))
        for parent in manifest.provenance.inputs:
            if not self.path(parent).is_dir():
                found.append(f"input {parent} is missing")
        found.extend(self._signature_faults(ref, manifest))
        return found

    def is_signed(self, ref: ArtifactRef) -> bool:
        """Tell whether an artifact carries a signature that this folder's key confirms."""
        signature = self._record(ref)["signature"]
        return self.signer.is_valid(_signed_text(self.manifest(ref)), signature)

    def _layout_faults(self, ref: ArtifactRef) -> list[str]:
        present = {path.name for path in self.path(ref).iterdir()}
        return [
            f"{name} {'is missing' if name not in present else 'was added'}"
            for name in sorted(present ^ {_MANIFEST, _RECORD, _PAYLOAD})
        ]

    def _hash_faults(self, ref: ArtifactRef, manifest: Manifest) -> list[str]:
        found = []
        present = _hash_payload(self.path(ref) / _PAYLOAD)
        for name in sorted(set(manifest.files) | set(present)):
            if manifest.files.get(name) != present.get(name):
                state = "was added or changed" if name in present else "is missing"
                found.append(f"payload file {name} {state}")
        derived = Manifest.build(
            manifest.kind,
            schema_version=manifest.schema_version,
            files=manifest.files,
            code_digest=manifest.code_digest,
            provenance=manifest.provenance,
            signed=manifest.signed,
        )
        for field in ("content_sha256", "config_sha256", "lineage_id"):
            if getattr(derived, field) != getattr(manifest, field):
                found.append(f"{field} does not match the rest of {_MANIFEST}")
        return found

    def _signature_faults(self, ref: ArtifactRef, manifest: Manifest) -> list[str]:
        if not (self.path(ref) / _RECORD).is_file():
            return []
        try:
            signature = self._record(ref)["signature"]
        except IntegrityError as error:
            return [f"{_RECORD} is damaged: {error.got}"]
        if not signature:
            return ["signature is missing"] if manifest.signed else []
        if not self.signer.is_valid(_signed_text(manifest), signature):
            return ["signature is not valid for this results folder's key"]
        return []

    def _record(self, ref: ArtifactRef) -> dict[str, str]:
        """Return what stands beside the identity: time, commit, signature ("" = none)."""
        path = self.path(ref) / _RECORD
        record = read_json(path) if path.is_file() else None
        if not isinstance(record, dict) or not isinstance(record.get("created_at"), str):
            raise IntegrityError(
                str(path), wanted="a record", got="none or no record", hint="Run `qe verify`."
            )
        return {"signature": "", **{name: str(value) for name, value in record.items()}}

    def _publish(self, manifest: Manifest, fresh: Path) -> None:
        target = self.path(manifest.ref)
        exists = target.is_dir()
        if exists and not self.faults(manifest.ref):
            return
        record: dict[str, Any] = {
            "created_at": self._clock.now().isoformat(timespec="seconds"),
            "commit": self._commit,
        }
        if manifest.signed:
            record["signature"] = self.signer.sign(_signed_text(manifest))
        (fresh / _MANIFEST).write_bytes(json_bytes(manifest.content()))
        (fresh / _RECORD).write_bytes(json_bytes(record))
        sync_tree(fresh)
        target.parent.mkdir(parents=True, exist_ok=True)
        if exists:
            # A damaged copy makes way for the whole one and is removed with the temporary folder.
            target.rename(fresh.with_name("damaged"))
        try:
            fresh.rename(target)
        except OSError:
            # Another process published the same artifact first; ids make both equal.
            if not target.is_dir():
                raise
        sync_folder(target.parent)


def _signed_text(manifest: Manifest) -> str:
    return canonical_json(manifest.content())


def _hash_payload(payload: Path) -> dict[str, str]:
    return {
        path.relative_to(payload).as_posix(): sha256_file(path)
        for path in sorted(payload.rglob("*"))
        if path.is_file()
    }
