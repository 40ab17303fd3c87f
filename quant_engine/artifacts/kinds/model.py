"""Models on disk: the files that `models.serialization` makes, byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from quant_engine.core.errors import SchemaMismatchError

ModelFiles = Mapping[str, bytes]
_ENDINGS = (".txt", ".npz", ".json")


@dataclass(frozen=True)
class ModelKind:
    """Owner of the layout of a model: LightGBM text, NumPy arrays without objects, JSON.

    Parameters
    ----------
    name, packages, schema_version, signed
        See :class:`~quant_engine.artifacts.store.ArtifactKind`.
    """

    name: str = "model"
    packages: tuple[str, ...] = (
        "core",
        "artifacts",
        "stats",
        "execution",
        "data",
        "features",
        "models",
        "workflows",
    )
    schema_version: int = 1
    signed: bool = False

    def write(self, value: ModelFiles, folder: Path) -> None:
        """Write the files; only names without folders and the three endings are accepted."""
        for name, data in sorted(value.items()):
            if PurePosixPath(name).name != name or not name.endswith(_ENDINGS):
                raise SchemaMismatchError(
                    "model file",
                    wanted=f"a plain name ending in one of {_ENDINGS}",
                    got=repr(name),
                    hint="Models are stored as text, arrays and JSON.",
                )
            (folder / name).write_bytes(data)

    def read(self, folder: Path) -> ModelFiles:
        """Read all files."""
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


MODEL = ModelKind()
