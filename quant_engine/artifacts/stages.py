"""Stage records: which artifacts a finished stage wrote, so that a run can be resumed.

A stage is identified before it runs by what will determine its result: name, configuration,
code and input artifacts. Its record is written after its artifacts, so a record always points to
whole artifacts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quant_engine.artifacts.files import read_json, write_json
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.artifacts.store import ArtifactStore
from quant_engine.core.errors import IntegrityError
from quant_engine.core.hashing import sha256_json


class StageRecords:
    """Finished stages of one results folder.

    Parameters
    ----------
    store : ArtifactStore
        Where the artifacts lie; records lie in ``root/stages``.
    """

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._folder = store.root / "stages"

    @staticmethod
    def key(stage: str, *, config: dict[str, Any], code: str, inputs: list[str]) -> str:
        """Return the identity of a stage before it ran.

        Parameters
        ----------
        stage : str
            Name such as ``"train.features"``.
        config : dict
            Semantic configuration.
        code : str
            Code digest.
        inputs : list of str
            Ids or content hashes of what it reads.

        Returns
        -------
        str
            64 hexadecimal characters.
        """
        return sha256_json([stage, config, code, inputs])

    def save(self, key: str, outputs: dict[str, ArtifactRef]) -> None:
        """Record the artifacts of a finished stage by role."""
        content = {role: ref.content() for role, ref in outputs.items()}
        write_json(self._path(key), content)

    def load(self, key: str) -> dict[str, ArtifactRef] | None:
        """Return the artifacts of a finished stage, or None when it has to run.

        Parameters
        ----------
        key : str
            What :meth:`key` returned.

        Returns
        -------
        dict of str to ArtifactRef, or None
            None also when one of the artifacts is gone.

        Raises
        ------
        IntegrityError
            When the record is damaged.
        """
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            outputs = {role: ArtifactRef(**ref) for role, ref in read_json(path).items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise IntegrityError(
                str(path),
                wanted="roles and artifact addresses",
                got=str(error)[:200],
                hint="Remove the file; the stage will run again.",
            ) from error
        whole = all(self._store.path(ref).is_dir() for ref in outputs.values())
        return outputs if whole else None

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"
