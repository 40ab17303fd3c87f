"""Every notebook runs from top to bottom as a person would run it."""

from __future__ import annotations

from pathlib import Path

import jupytext
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_notebook_is_a_valid_jupytext_file(path):
    book = jupytext.read(path)
    kinds = {cell.cell_type for cell in book.cells}
    assert kinds == {"markdown", "code"}
    assert book.metadata["kernelspec"]["name"] == "python3"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_notebook_imports_only_the_package(path):
    """A notebook shows the public doors, so it imports nothing else."""
    lines = path.read_text(encoding="utf-8").splitlines()
    imports = [line.split()[1] for line in lines if line.startswith(("import ", "from "))]
    assert imports
    assert all(name.startswith("quant_engine.") for name in imports)
