"""A store in a temporary folder, a kind that writes text, and provenance to vary."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quant_engine.artifacts.manifest import Provenance
from quant_engine.artifacts.store import ArtifactStore
from quant_engine.core.clock import FixedClock
from quant_engine.core.tracks import DataRegime, RunSource, ScoreSource, Track

INSTANT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True)
class TextKind:
    """Two small files, one of them in a folder."""

    name: str = "text"
    schema_version: int = 1
    packages: tuple[str, ...] = ("core",)
    signed: bool = False

    def write(self, value: str, folder: Path) -> None:
        (folder / "value.txt").write_text(value, encoding="utf-8")
        (folder / "deep").mkdir()
        (folder / "deep" / "length.txt").write_text(str(len(value)), encoding="utf-8")

    def read(self, folder: Path) -> str:
        return (folder / "value.txt").read_text(encoding="utf-8")


@pytest.fixture
def text_kind():
    """The class, so that tests vary name, version and signature."""
    return TextKind


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(INSTANT)


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def store(root, clock) -> ArtifactStore:
    return ArtifactStore(root, clock=clock)


@pytest.fixture
def provenance():
    """Provenance of a calibration run, with fields to vary."""

    def make(**changes) -> Provenance:
        facts = {
            "producer": "test.step",
            "config": {"horizon": 10},
            "inputs": (),
            "dataset": "world-1",
            "as_of": "2026-01-02",
            "run_source": RunSource.MAINTENANCE,
            "data_regime": DataRegime.SIMULATED,
            "score_source": ScoreSource.MODEL,
            "track": Track.CALIBRATION,
        }
        return Provenance(**{**facts, **changes})

    return make


@pytest.fixture
def leftovers(root):
    """Every file of the results folder that is neither a key nor a lock."""

    def files() -> list[str]:
        return sorted(
            path.relative_to(root).as_posix()
            for path in root.rglob("*")
            if path.is_file() and ".keys" not in path.parts and path.suffix != ".lock"
        )

    return files
