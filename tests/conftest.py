"""Fixtures that every test package may use."""

from __future__ import annotations

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


def _shared_folder(name: str) -> Path:
    folder = _SHARED / name
    if not folder.is_dir():
        pytest.skip(f"needs the folder ../shared/{name} beside the repository, which is absent")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real market data beside the repository; tests that need it skip where it is absent."""
    return _shared_folder("data")


@pytest.fixture(scope="session")
def shared_reference() -> Path:
    """Exact reference numbers beside the repository."""
    return _shared_folder("reference")
