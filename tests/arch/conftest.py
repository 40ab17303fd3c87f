"""Parsed sources, shared by all architecture tests; nothing of the package is imported."""

from __future__ import annotations

import ast
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What a working copy holds beside the project: state, caches, environments.
NOT_OURS = {"results", "trained_models", "data", "dist", "build", "node_modules", "__pycache__"}


@dataclass(frozen=True)
class Source:
    """One Python file.

    Parameters
    ----------
    name : str
        Path below the repository.
    package : str
        Folder below ``quant_engine``; empty elsewhere.
    lines : tuple of str
        Its text.
    tree : ast.Module
        Its parsed form.
    """

    name: str
    package: str
    lines: tuple[str, ...]
    tree: ast.Module

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the tree, walked once for all tests."""
        return tuple(ast.walk(self.tree))


def parse(path: Path) -> Source:
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT).as_posix()
    parts = name.split("/")
    package = parts[1] if parts[0] == "quant_engine" and len(parts) > 2 else ""
    return Source(name, package, tuple(text.splitlines()), ast.parse(text, name))


def walk(folder: Path) -> list[Path]:
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") and path.name != ".ci":
            continue
        if path.is_dir():
            if path.name not in NOT_OURS or folder != ROOT:
                found.extend([] if path.name == "__pycache__" else walk(path))
        else:
            found.append(path)
    return found


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def sources() -> list[Source]:
    """Every module of the package."""
    return [parse(path) for path in walk(ROOT / "quant_engine") if path.suffix == ".py"]


@pytest.fixture(scope="session")
def test_sources() -> list[Source]:
    """Every Python file below tests."""
    return [parse(path) for path in walk(ROOT / "tests") if path.suffix == ".py"]


@pytest.fixture(scope="session")
def project() -> dict:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def text_files() -> dict[str, str]:
    """Name to text of every file that belongs to the project."""
    found = {}
    for path in walk(ROOT):
        try:
            found[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


@pytest.fixture(scope="session")
def parse_text():
    """Parse a planted text, to show that a rule can fail."""

    def parse_planted(text: str) -> Source:
        return Source("planted.py", "planted", tuple(text.splitlines()), ast.parse(text))

    return parse_planted


@pytest.fixture(scope="session")
def required_text():
    """Read a file that must exist; fail with what has to be written when it does not."""

    def read(name: str, purpose: str) -> str:
        path = ROOT / name
        assert path.is_file(), f"{name} is missing: {purpose}"
        return path.read_text(encoding="utf-8")

    return read


@pytest.fixture(scope="session")
def demand():
    """Fail with one line per violation and the rule that they break."""

    def check(violations: list[str], rule: str) -> None:
        assert not violations, "\n".join([rule, *(f"  {line}" for line in violations)])

    return check
