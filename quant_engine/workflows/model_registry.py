"""Model registry: versions, the champion per (dataset, horizon, track), and rollback.

``trained_models/registry.json`` lists versions; ``trained_models/champion_registry.json`` names
the champion of every triple; ``trained_models/VERSION/`` holds a readable copy of the model's
files. The model itself is an artifact, and predictions read it from there.

Only a promotable model becomes champion. A challenger replaces a champion when its score is at
least 2 % better; the score is 1.5 x out-of-sample rank IC + 1.0 x holdout rank IC
- 0.5 x (in-sample - out-of-sample gap).
"""

from __future__ import annotations

import shutil
from typing import Any

from quant_engine.artifacts.files import write_atomic
from quant_engine.artifacts.json_registry import JsonRegistry
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError, did_you_mean
from quant_engine.governance.contest import beats
from quant_engine.workflows.context import Workspace

KEPT_VERSIONS = 5
CHALLENGER_MARGIN = 0.02


class ModelVersion(FrozenConfig):
    """One trained model of a triple.

    Parameters
    ----------
    version : str
        Name: time of registration and beginning of the artifact id.
    dataset : str
        Dataset id.
    horizon_sessions : int
        Label horizon.
    track : str
        Track on which it counts.
    model : ArtifactRef
        The model artifact.
    run_id : str
        Training run.
    promotable : bool
        Whether every quality rule held.
    reasons : tuple of str
        Why not, in words.
    figures : dict of str to float or None
        ``oos_rank_ic``, ``holdout_rank_ic``, ``is_oos_gap`` and the like.
    """

    version: str
    dataset: str
    horizon_sessions: int
    track: str
    model: ArtifactRef
    run_id: str
    promotable: bool
    reasons: tuple[str, ...]
    figures: dict[str, float | None]

    @property
    def triple(self) -> str:
        """Key of the competition: models compare only inside it."""
        return f"{self.dataset}|{self.horizon_sessions}|{self.track}"

    def score(self) -> float | None:
        """Return the champion score; None when one of its figures is missing."""
        parts = [self.figures.get(n) for n in ("oos_rank_ic", "holdout_rank_ic", "is_oos_gap")]
        if any(part is None for part in parts):
            return None
        oos, holdout, gap = (float(part) for part in parts if part is not None)
        return 1.5 * oos + 1.0 * holdout - 0.5 * gap


class ModelRegistry:
    """Versions and champions of one model folder.

    Parameters
    ----------
    workspace : Workspace
        Model folder and clock.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._root = workspace.settings.models_root
        self._clock = workspace.clock
        self._versions = JsonRegistry(self._root / "registry.json", clock=workspace.clock)
        self._champions = JsonRegistry(self._root / "champion_registry.json", clock=workspace.clock)

    def add(self, candidate: ModelVersion, files: dict[str, bytes]) -> ModelVersion:
        """Register a trained model, export its files, and let it challenge the champion.

        Parameters
        ----------
        candidate : ModelVersion
            Its ``version`` is filled in here.
        files : dict of str to bytes
            The model's files.

        Returns
        -------
        ModelVersion
            The registered version; the earlier one when the same model is already registered
            for the triple.
        """
        stamp = f"{self._clock.now():%Y%m%dT%H%M%S}"
        new = candidate.model_copy(update={"version": f"{stamp}-{candidate.model.id[:8]}"})
        registered = new

        def update(current: dict[str, Any]) -> dict[str, Any]:
            nonlocal registered
            versions = [ModelVersion.model_validate(v) for v in current.get("versions", [])]
            same = [v for v in versions if (v.triple, v.model) == (new.triple, new.model)]
            registered = same[-1] if same else new
            kept = versions if same else [*versions, new]
            return {"versions": [v.content() for v in kept]}

        self._versions.change("version_added", {"version": new.version}, update)
        # After the registry: a kill in between leaves no folder that nobody knows.
        for name, data in files.items():
            write_atomic(self._root / registered.version / name, data)
        self._challenge(registered)
        self._prune(registered.triple)
        return registered

    def all(self) -> list[ModelVersion]:
        """Return all registered versions, oldest first."""
        current = self._versions.read().current
        return [ModelVersion.model_validate(v) for v in current.get("versions", [])]

    def get(self, version: str) -> ModelVersion:
        """Return a version by name; it is never silently replaced by another one."""
        versions = {v.version: v for v in self.all()}
        if version not in versions:
            raise ConfigError(
                "--version",
                wanted="a registered model version, 'latest' or 'champion'",
                got=repr(version),
                hint=did_you_mean(version, versions),
            )
        return versions[version]

    def champion(self, dataset: str, horizon: int, track: str) -> ModelVersion | None:
        """Return the champion of a triple, or None."""
        entry = self._champions.read().current.get(f"{dataset}|{horizon}|{track}")
        return None if entry is None else self.get(entry["version"])

    def champions(self) -> dict[str, str]:
        """Return triple -> version of every champion."""
        return {key: entry["version"] for key, entry in self._champions.read().current.items()}

    def rollback(self, triple: str) -> ModelVersion:
        """Make the previous champion of a triple champion again.

        Parameters
        ----------
        triple : str
            ``dataset|horizon|track``.

        Returns
        -------
        ModelVersion
            The champion after the rollback.

        Raises
        ------
        DataError
            When there is no earlier champion to go back to.
        """
        target = self.earlier_champion(triple)
        previous = self._champions.read().current[triple]["previous"]
        self._set_champion("rollback", target, previous=previous[:-1])
        return target

    def earlier_champion(self, triple: str) -> ModelVersion:
        """Return the champion before the present one; DataError when there is none."""
        entry = self._champions.read().current.get(triple, {"previous": []})
        if not entry["previous"]:
            raise DataError(
                f"rollback of {triple}",
                wanted="an earlier champion",
                got="none",
                hint="See `python run_retrain.py --versions`.",
            )
        return self.get(entry["previous"][-1])

    def _challenge(self, challenger: ModelVersion) -> None:
        new = challenger.score()
        if not challenger.promotable or new is None:
            return
        champion = self.champion(challenger.dataset, challenger.horizon_sessions, challenger.track)
        if champion is None:
            self._set_champion("champion_first", challenger, previous=[])
            return
        old = champion.score()
        is_better = old is None or beats(new, old, margin=CHALLENGER_MARGIN)
        if champion.version == challenger.version or not is_better:
            return
        entry = self._champions.read().current[challenger.triple]
        previous = [*entry["previous"], champion.version]
        self._set_champion("champion_replaced", challenger, previous=previous)

    def _set_champion(self, event: str, champion: ModelVersion, *, previous: list[str]) -> None:
        entry = {"version": champion.version, "score": champion.score(), "previous": previous}
        details = {"triple": champion.triple, "version": champion.version}
        self._champions.change(event, details, lambda now: {**now, champion.triple: entry})

    def _prune(self, triple: str) -> None:
        """Keep the newest versions of a triple and every champion, present or past."""
        entry = self._champions.read().current.get(triple, {"version": "", "previous": []})
        protected = {entry["version"], *entry["previous"]}
        mine = [v.version for v in self.all() if v.triple == triple]
        dropped = {v for v in mine[:-KEPT_VERSIONS] if v not in protected}
        if not dropped:
            return

        def update(current: dict[str, Any]) -> dict[str, Any]:
            kept = [v for v in current["versions"] if v["version"] not in dropped]
            return {"versions": kept}

        self._versions.change("versions_pruned", {"versions": sorted(dropped)}, update)
        for version in sorted(dropped):
            shutil.rmtree(self._root / version, ignore_errors=True)
