"""Manifest: what an artifact is, what made it, and on which track it counts.

Everything in the manifest is part of the artifact's identity. What may differ between two equal
runs (time, commit, signature) stands in the record beside it.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from quant_engine.core.config import FrozenConfig
from quant_engine.core.hashing import sha256_json
from quant_engine.core.tracks import DataRegime, RunSource, ScoreSource, Track, track_of

ID_LENGTH = 32


class ArtifactRef(FrozenConfig):
    """The address of an artifact: its kind and its id."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.id}"


class Provenance(FrozenConfig):
    """What a workflow says about an artifact when it writes it.

    Parameters
    ----------
    producer : str
        Workflow step, such as ``"train.features"``.
    config : dict
        Semantic configuration of the step, as plain JSON values; never paths, job counts,
        host names or times.
    inputs : tuple of ArtifactRef
        Artifacts that were read.
    dataset : str
        Dataset id.
    as_of : str
        Last session whose data was used, ISO date; empty when it has none.
    run_source, data_regime, score_source, track
        See ``core.tracks``; the track must be the one that ``track_of`` derives.
    seed : int or None
        Seed of random numbers; None where none were drawn.
    feature_version, data_version, model_name, model_version : str
        Contract of alignment; empty where it does not apply.
    """

    producer: str
    config: dict[str, Any]
    inputs: tuple[ArtifactRef, ...]
    dataset: str
    as_of: str
    run_source: RunSource
    data_regime: DataRegime
    score_source: ScoreSource
    track: Track
    seed: int | None = None
    feature_version: str = ""
    data_version: str = ""
    model_name: str = ""
    model_version: str = ""

    @model_validator(mode="after")
    def _track_is_derived(self) -> Provenance:
        derived = track_of(self.data_regime, self.run_source, self.score_source)
        if self.track is not derived:
            raise ValueError(f"track is {derived.value} for these sources, not {self.track.value}")
        return self


class Manifest(FrozenConfig):
    """Identity card of an artifact, stored as ``manifest.json`` beside its payload.

    Parameters
    ----------
    kind : str
        Name of the kind.
    schema_version : int
        Version of the payload's layout (the payload schema version).
    files : dict of str to str
        Payload file names and their sha256.
    content_sha256 : str
        Hash over names and hashes of all payload files.
    config_sha256 : str
        Hash of ``provenance.config``.
    code_digest : str
        Hash of the sources that made it.
    provenance : Provenance
        Inputs, configuration, track and versions.
    lineage_id : str
        Hash of what made it: kind, config, code and inputs, without the content.
    signed : bool
        Whether a record of this kind must carry a signature; part of the identity, so that
        removing a signature is noticed.
    """

    kind: str
    schema_version: int = Field(ge=1)
    files: dict[str, str]
    content_sha256: str
    config_sha256: str
    code_digest: str
    provenance: Provenance
    lineage_id: str
    signed: bool = False

    @classmethod
    def build(
        cls,
        kind: str,
        *,
        schema_version: int,
        files: dict[str, str],
        code_digest: str,
        provenance: Provenance,
        signed: bool = False,
    ) -> Manifest:
        """Compose a manifest and derive its hashes.

        Parameters
        ----------
        kind : str
            Name of the kind.
        schema_version : int
            Version of the payload's layout.
        files : dict of str to str
            Payload file names and their sha256.
        code_digest : str
            Hash of the sources that made it.
        provenance : Provenance
            What the workflow says.
        signed : bool
            Whether the record must carry a signature.

        Returns
        -------
        Manifest
            With ``content_sha256``, ``config_sha256`` and ``lineage_id`` filled.
        """
        config_sha256 = sha256_json(provenance.config)
        maker = [kind, schema_version, signed]
        lineage = [*maker, config_sha256, code_digest, provenance.content()]
        return cls(
            kind=kind,
            schema_version=schema_version,
            files=files,
            content_sha256=sha256_json(files),
            config_sha256=config_sha256,
            code_digest=code_digest,
            provenance=provenance,
            lineage_id=sha256_json(lineage),
            signed=signed,
        )

    @property
    def id(self) -> str:
        """Identity: hash of content and lineage."""
        return sha256_json([self.content_sha256, self.lineage_id])[:ID_LENGTH]

    @property
    def ref(self) -> ArtifactRef:
        """Address of the artifact."""
        return ArtifactRef(kind=self.kind, id=self.id)

    def alignment(self) -> dict[str, str]:
        """Return the six fields that must match before anything is promoted."""
        return {
            "payload_schema_version": f"{self.kind}/{self.schema_version}",
            "feature_version": self.provenance.feature_version,
            "data_version": self.provenance.data_version,
            "model_name": self.provenance.model_name,
            "model_version": self.provenance.model_version,
            "lineage_id": self.lineage_id,
        }
