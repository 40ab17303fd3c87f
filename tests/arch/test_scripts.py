"""Scripts: doors without logic."""

import ast

import pytest

pytestmark = pytest.mark.arch

SCRIPTS = ("run_train.py", "run_predict.py", "run_backtest.py", "run_factors.py")
ALLOWED = ("sys", "quant_engine.cli")


def imported(tree: ast.Module) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.append("." * node.level + (node.module or ""))
    return names


def test_the_scripts_exist(root):
    missing = [name for name in SCRIPTS if not (root / name).is_file()]
    assert not missing, f"scripts to write: {missing}"


def test_scripts_are_short_and_import_only_sys_and_cli(root, demand):
    found = []
    for path in sorted(root.glob("run_*.py")):
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > 60:
            found.append(f"{path.name} has {len(text.splitlines())} lines, at most 60")
        found += [
            f"{path.name} imports {name}"
            for name in imported(ast.parse(text))
            if name not in ALLOWED and not name.startswith("quant_engine.cli.")
        ]
    demand(found, "run_*.py hold no logic: they import sys and quant_engine.cli alone.")


def test_commands_of_the_package_exist(project, root):
    for target in project["project"]["scripts"].values():
        module, _, function = target.partition(":")
        path = root / (module.replace(".", "/") + ".py")
        assert path.is_file(), f"{target}: {path.name} is missing"
        names = [n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)]
        assert function in names, f"{target}: no function {function}"
