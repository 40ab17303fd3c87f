"""Size and repetition: small pieces, each concept once."""

import ast
from collections import defaultdict

import pytest

pytestmark = pytest.mark.arch

MAX_FILE_LINES = 800
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 7
LONG_FUNCTION_MARK = "# Long:"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(source) -> list[tuple[str, Function]]:
    """(qualified name, node) of every function, methods and inner functions included."""
    found = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = f"{prefix}{getattr(child, 'name', '')}"
            if isinstance(child, Function):
                found.append((name, child))
            if isinstance(child, Function | ast.ClassDef):
                visit(child, f"{name}.")
            else:
                visit(child, prefix)

    visit(source.tree, "")
    return found


def code_lines(node: Function) -> int:
    """Lines of a function without its docstring."""
    total = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node) is not None:
        docstring = node.body[0]
        total -= docstring.end_lineno - docstring.lineno + 1
    return total


def test_files_have_at_most_800_lines(sources, test_sources, demand):
    found = [
        f"{source.name} has {len(source.lines)} lines"
        for source in [*sources, *test_sources]
        if len(source.lines) > MAX_FILE_LINES
    ]
    demand(found, f"A file has at most {MAX_FILE_LINES} lines.")


def test_functions_have_at_most_60_lines(sources, demand):
    found = []
    for source in sources:
        for name, node in functions(source):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            above = source.lines[first - 2].strip() if first > 1 else ""
            if code_lines(node) > MAX_FUNCTION_LINES and LONG_FUNCTION_MARK not in above:
                found.append(f"{source.name}:{node.lineno} {name} has {code_lines(node)} lines")
    demand(
        found,
        f"A function has at most {MAX_FUNCTION_LINES} lines without its docstring; a longer one "
        f"says why in a comment above it that begins with '{LONG_FUNCTION_MARK}'.",
    )


def test_public_functions_have_at_most_seven_parameters(sources, demand):
    found = []
    for source in sources:
        for name, node in functions(source):
            if any(part.startswith("_") for part in name.split(".")):
                continue
            args = node.args
            names = [a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
            names = names[1:] if names[:1] in (["self"], ["cls"]) else names
            if len(names) > MAX_PARAMETERS:
                found.append(f"{source.name}:{node.lineno} {name} has {len(names)} parameters")
    demand(
        found, f"A public function has at most {MAX_PARAMETERS} parameters, else a config object."
    )


def test_no_private_helper_is_defined_in_three_packages(sources, demand):
    homes = defaultdict(set)
    for source in sources:
        for node in source.tree.body:
            private = getattr(node, "name", "").startswith("_")
            if isinstance(node, Function | ast.ClassDef) and private:
                homes[node.name].add(source.package)
    found = [
        f"{name} in {', '.join(sorted(packages))}"
        for name, packages in sorted(homes.items())
        if len(packages) >= 3
    ]
    demand(found, "A private helper that three packages define belongs into core, once.")


def test_the_rules_see_what_they_should(parse_text):
    body = "\n".join(f"    x = {number}" for number in range(61))
    text = f'def long():\n    """One\n\n    two."""\n{body}\n\nclass A:\n    def _b(self): ...\n'
    source = parse_text(text)
    assert [name for name, _ in functions(source)] == ["long", "A._b"]
    assert code_lines(functions(source)[0][1]) == 62
