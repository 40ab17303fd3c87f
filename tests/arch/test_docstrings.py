"""Docstrings: parameters, returns, and for every array its shape or unit."""

import ast
import re

import pytest

pytestmark = pytest.mark.arch

PACKAGES = (
    "core", "artifacts", "stats", "governance", "risk", "execution", "features", "models",
    "testing",
)  # fmt: skip
ARRAY = re.compile(
    r"ndarray|NDArray|ArrayLike|(Float|Bool|Code|Time|Int)(Vector|Matrix|Array)|\bRows\b"
)
SHAPE_OR_UNIT = re.compile(
    r"shape|any shape|\(T\b|\(N\b|\(R\b|\(D\b|\(S\b|one per|per (row|session|asset|period|date)|"
    r"fraction|bps|sessions|days|currency|shares|position|seconds|annual|probabilit"
)
IGNORED_PARAMETERS = {"self", "cls"}


def documented(source) -> list[tuple[str, ast.FunctionDef, bool]]:
    """(name, node, is_method) of public functions and of public methods of public classes."""
    found = []
    for node in source.tree.body:
        if isinstance(node, ast.FunctionDef):
            found.append((node.name, node, False))
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found += [
                (f"{node.name}.{item.name}", item, True)
                for item in node.body
                if isinstance(item, ast.FunctionDef)
            ]
    return [
        (name, node, is_method)
        for name, node, is_method in found
        if not node.name.startswith("_") and not is_property(node)
    ]


def is_property(node: ast.FunctionDef) -> bool:
    names = [ast.unparse(decorator) for decorator in node.decorator_list]
    return any(name.split(".")[-1] in ("property", "cached_property", "setter") for name in names)


def parameters(node: ast.FunctionDef) -> list[ast.arg]:
    args = node.args
    every = [*args.posonlyargs, *args.args, *args.kwonlyargs]
    return [arg for arg in every if arg.arg not in IGNORED_PARAMETERS]


def is_array(arg: ast.arg) -> bool:
    text = "" if arg.annotation is None else ast.unparse(arg.annotation)
    return bool(ARRAY.search(text)) and "Callable" not in text and "ndarray]]" not in text


def returns_something(node: ast.FunctionDef) -> bool:
    return node.returns is not None and ast.unparse(node.returns) not in (
        "None",
        "Never",
        "Iterator[None]",
    )


def entry(docstring: str, name: str) -> str:
    """The part of the Parameters section that describes one parameter."""
    head = re.compile(
        rf"^(?:[*\w]+, )*\*{{0,2}}{re.escape(name)}(?:, [*\w]+)* ?(:|$)", re.MULTILINE
    )
    match = head.search(docstring)
    if match is None:
        return ""
    lines = docstring[match.start() :].splitlines()
    described = [lines[0]]
    for line in lines[1:]:
        if line.strip() and not line.startswith(" "):
            break
        described.append(line)
    return "\n".join(described)


def interface_methods(sources) -> set[str]:
    """Names of methods that a Protocol of these files describes once for all implementations."""
    return {
        item.name
        for source in sources
        for node in source.tree.body
        if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(b) for b in node.bases)
        for item in node.body
        if isinstance(item, ast.FunctionDef)
    }


def may_be_brief(node: ast.FunctionDef, docstring: str, interfaces: set[str]) -> bool:
    """A method may say everything in its summary when that is possible.

    At most two plain parameters, or shapes that stand in the sentence, or a method that its
    Protocol describes.
    """
    if any(is_array(arg) for arg in parameters(node)):
        return bool(SHAPE_OR_UNIT.search(docstring)) or node.name in interfaces
    return len(parameters(node)) <= 2 or node.name in interfaces


def faults(source, interfaces: set[str]) -> list[str]:
    found = []
    for name, node, is_method in documented(source):
        docstring = ast.get_docstring(node) or ""
        where = f"{source.name}:{node.lineno} {name}"
        has_parameters = "Parameters\n---" in docstring
        if is_method and not has_parameters and may_be_brief(node, docstring, interfaces):
            continue
        if parameters(node) and not has_parameters:
            found.append(f"{where}: no Parameters section")
            continue
        if returns_something(node) and not re.search(r"(Returns|Yields)\n---", docstring):
            found.append(f"{where}: no Returns section")
        for arg in parameters(node):
            described = entry(docstring, arg.arg)
            if not described:
                found.append(f"{where}: parameter {arg.arg} is not described")
            elif is_array(arg) and not SHAPE_OR_UNIT.search(described):
                found.append(f"{where}: array {arg.arg} has neither shape nor unit")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_public_functions_say_what_goes_in_and_what_comes_out(sources, demand, package):
    mine = [source for source in sources if source.package == package]
    interfaces = interface_methods(mine)
    found = [fault for source in mine for fault in faults(source, interfaces)]
    demand(found, "Docstrings name parameters, returns, and the shape or unit of every array.")


def test_every_package_and_module_has_a_docstring(sources, demand):
    found = [source.name for source in sources if not ast.get_docstring(source.tree)]
    demand(found, "A module's first line names the concept and its contract.")


PLANTED = """
def bare(returns: FloatMatrix) -> float:
    "Sharpe ratio."

def vague(returns: FloatMatrix) -> float:
    '''Sharpe ratio.

    Parameters
    ----------
    returns : ndarray
        Returns.
    '''

def good(returns: FloatMatrix, *, bars: int) -> float:
    '''Sharpe ratio.

    Parameters
    ----------
    returns : ndarray, shape (T, N)
        Simple returns per period.
    bars : int
        Count.

    Returns
    -------
    float
        Ratio.
    '''

class Fitted:
    def predict(self, x: FloatMatrix) -> FloatVector:
        "Predict."

    def explain(self, x: FloatMatrix) -> FloatMatrix:
        "Parts, shape (R, P + 1)."

    def name(self, style: str) -> str:
        "Return the name."
"""


def test_the_rule_sees_what_it_should(parse_text):
    assert [fault.partition(" ")[2] for fault in faults(parse_text(PLANTED), set())] == [
        "bare: no Parameters section",
        "vague: no Returns section",
        "vague: array returns has neither shape nor unit",
        "Fitted.predict: no Parameters section",
    ]
    assert "predict" not in " ".join(faults(parse_text(PLANTED), {"predict"}))
