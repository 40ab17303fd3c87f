"""Serialization: a fitted model as named bytes, and back, without pickle.

Contract: ``load(dump(model))`` predicts the same bits. ``model.json`` names every other file with
its SHA-256 and carries the digest of its own content, so that an edited, missing or foreign file
is refused before any of it is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from quant_engine.core.errors import IntegrityError, SchemaMismatchError, UnreadableFileError
from quant_engine.core.hashing import canonical_json, sha256_bytes, sha256_json
from quant_engine.models.config import ModelConfig
from quant_engine.models.inputs import FeatureSchema
from quant_engine.models.learners import LEARNERS
from quant_engine.models.maps import ScoreMaps
from quant_engine.models.model import FittedModel, FoldWindow, TrainingRecord

__all__ = ["FORMAT", "HEADER_FILE", "dump", "load"]

FORMAT = "quant_engine.model/1"
HEADER_FILE = "model.json"


def dump(model: FittedModel) -> dict[str, bytes]:
    """Turn a model into files.

    Parameters
    ----------
    model : FittedModel
        Trained model.

    Returns
    -------
    dict of str to bytes
        ``model.json`` and one file per member (LightGBM text, npz); the same bytes for the same
        model.
    """
    files = {}
    for member in model.config.members:
        suffix = LEARNERS.get(member.learner).file_suffix
        files[f"member_{member.column}{suffix}"] = model.members[member.column].to_bytes()
    content: dict[str, Any] = {
        "format": FORMAT,
        "schema": model.schema.content(),
        "target": model.target,
        "config": model.config.content(),
        "maps": None if model.maps is None else model.maps.to_json(),
        "training": asdict(model.training),
        "files": {name: sha256_bytes(data) for name, data in files.items()},
    }
    content["digest"] = sha256_json(content)
    return {HEADER_FILE: canonical_json(content).encode("utf-8"), **files}


def load(files: Mapping[str, bytes]) -> FittedModel:
    """Rebuild a model from its files.

    Parameters
    ----------
    files : mapping of str to bytes
        Exactly what :func:`dump` returned.

    Returns
    -------
    FittedModel
        Predicts the same bits as the model that was dumped.

    Raises
    ------
    UnreadableFileError
        The header is missing or is no JSON.
    SchemaMismatchError
        Another format version, or content this version does not know.
    IntegrityError
        A file is missing, unknown, or not the bytes that were written.
    """
    content = _checked_header(files)
    _check_files(content["files"], files)
    try:
        config = ModelConfig.model_validate_json(json.dumps(content["config"]))
        schema = FeatureSchema.model_validate_json(json.dumps(content["schema"]))
    except ValidationError as error:
        raise SchemaMismatchError(
            HEADER_FILE,
            wanted="a configuration and feature schema that this version knows",
            got=str(error.errors()[0]["msg"]),
            hint="Load it with the version of quant_engine that wrote it.",
        ) from error
    members = {}
    for member in config.members:
        learner = LEARNERS.get(member.learner)
        data = files[f"member_{member.column}{learner.file_suffix}"]
        members[member.column] = learner.from_bytes(data)
    record = dict(content["training"])
    record["folds"] = tuple(FoldWindow(**window) for window in record["folds"])
    return FittedModel(
        schema=schema,
        target=content["target"],
        config=config,
        members=members,
        maps=None if content["maps"] is None else ScoreMaps.from_json(content["maps"]),
        training=TrainingRecord(**record),
    )


def _checked_header(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Parsed header whose own digest holds."""
    if HEADER_FILE not in files:
        raise UnreadableFileError(
            "model files",
            wanted=HEADER_FILE,
            got=", ".join(sorted(files)) or "no file",
            hint="Pass every file of the model version.",
        )
    try:
        content: Any = json.loads(files[HEADER_FILE].decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UnreadableFileError(
            HEADER_FILE, wanted="JSON", got=str(error), hint="Restore the file or retrain."
        ) from error
    stated = content.get("format") if isinstance(content, dict) else None
    if stated != FORMAT:
        raise SchemaMismatchError(
            HEADER_FILE,
            wanted=f"format {FORMAT}",
            got=repr(stated),
            hint="Load it with the version of quant_engine that wrote it.",
        )
    digest = content.pop("digest", None)
    if digest != sha256_json(content):
        raise _not_as_written(HEADER_FILE, "content that does not match its digest")
    checked: dict[str, Any] = content
    return checked


def _check_files(wanted: Mapping[str, str], files: Mapping[str, bytes]) -> None:
    """Every named file is present and unchanged, and there is no other."""
    for name, digest in wanted.items():
        if name not in files:
            raise _not_as_written(name, "no such file")
        if sha256_bytes(files[name]) != digest:
            raise _not_as_written(name, "other bytes")
    unknown = sorted(set(files) - set(wanted) - {HEADER_FILE})
    if unknown:
        raise _not_as_written(unknown[0], "a file that the model does not name")


def _not_as_written(name: str, got: str) -> IntegrityError:
    return IntegrityError(
        f"model file {name!r}",
        wanted="the bytes that were written with the model",
        got=got,
        hint="Restore the model version, or retrain; never edit its files.",
    )
