"""Every kind's code digest covers every package whose code its value depends on."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import quant_engine
from quant_engine.artifacts.kinds import backtest, feature_store, market, model, panel, training

ROOT = Path(quant_engine.__file__).parent
KINDS = [
    kind
    for module in (backtest, feature_store, market, model, panel, training)
    for kind in vars(module).values()
    if hasattr(kind, "schema_version") and hasattr(kind, "packages") and not isinstance(kind, type)
]


def imported_packages(package: str) -> set[str]:
    """First-party packages that a package imports directly."""
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("quant_engine."):
                found.add(node.module.split(".")[1])
    return found


@pytest.mark.feature("Q-46")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_digest_covers_what_the_packages_import(kind):
    """Workflows are named where they compute part of the value; what they import is named apart."""
    for package in set(kind.packages) - {"workflows"}:
        missing = imported_packages(package) - set(kind.packages)
        assert not missing, f"{kind.name}: {package} imports {sorted(missing)}"


def test_kinds_have_names_of_their_own():
    names = [kind.name for kind in KINDS]
    assert len(names) == len(set(names)) >= 12
