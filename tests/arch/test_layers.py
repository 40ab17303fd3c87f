"""Layers: the picture in the document is the contract that import-linter enforces."""

import ast

import pytest

pytestmark = pytest.mark.arch


def contract(project: dict, identity: str) -> dict:
    (found,) = [c for c in project["tool"]["importlinter"]["contracts"] if c["id"] == identity]
    return found


def layer_blocks(text: str) -> list[list[str]]:
    """Fenced blocks that begin with cli and end with core."""
    blocks = [part.strip("\n").splitlines() for part in text.split("```")[1::2]]
    cleaned = [[line.strip() for line in block if line.strip()] for block in blocks]
    return [block for block in cleaned if block and block[0] == "cli" and block[-1] == "core"]


def test_the_layer_list_of_the_document_is_the_contract(project, required_text):
    text = required_text("docs/ARCHITECTURE.md", "it draws the layers in a fenced block")
    blocks = layer_blocks(text)
    assert len(blocks) == 1, "docs/ARCHITECTURE.md needs one fenced block from cli to core"
    assert blocks[0] == contract(project, "layers")["layers"]


def test_every_package_stands_in_exactly_one_layer(project, root):
    layers = contract(project, "layers")
    assert layers["exhaustive"]
    listed = [name.strip() for layer in layers["layers"] for name in layer.split("|")]
    built = {
        path.name
        for path in (root / "quant_engine").iterdir()
        if path.is_dir() and any(path.glob("*.py"))
    }
    names = [name.strip("()") for name in listed]
    assert len(names) == len(set(names))
    assert built <= set(names)
    optional = {name.strip("()") for name in listed if name.startswith("(")}
    assert not optional & built, "a package that is built loses its parentheses"


def test_no_contract_ignores_an_import(project, demand):
    contracts = project["tool"]["importlinter"]["contracts"]
    ignored = [c["id"] for c in contracts if c.get("ignore_imports")]
    demand(ignored, "Contracts have no exceptions; move the shared piece down instead.")


def test_conformance_suites_know_core_alone(sources, demand):
    found = [
        f"{source.name}:{node.lineno} imports {node.module}"
        for source in sources
        # The adapters of reference cases name what they check.
        if source.package == "testing" and "testing/reference" not in source.name
        for node in source.nodes
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("quant_engine.")
        and node.module.split(".")[1] not in ("core", "testing")
    ]
    demand(found, "Conformance suites take callables and import quant_engine.core alone.")
