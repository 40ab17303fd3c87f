"""Every notebook runs from top to bottom as a person would run it."""

from __future__ import annotations

import os
import subprocess
import sys
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


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_notebook_runs_from_top_to_bottom(path, tmp_path):
    """Takes some seconds and stays in the default suite: a notebook that fails is a broken door."""
    target = tmp_path / f"{path.stem}.ipynb"
    jupytext.write(jupytext.read(path), target)
    # A process of its own: the kernel's libraries warn, and warnings are errors here.
    command = [sys.executable, "-m", "pytest", "-q", "--nbmake", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-c", os.devnull, str(target)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
