"""Plug-ins: every registered one says with which parameters a suite may build it."""

import ast
import importlib
import sys

import pytest

from quant_engine.core.registry import Registry

pytestmark = pytest.mark.arch


def registering_modules(sources) -> list[str]:
    """Modules that define a registry or register something with metadata."""
    found = []
    for source in sources:
        for node in source.nodes:
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            registers = called.endswith(".register") and any(
                keyword.arg == "metadata" for keyword in node.keywords
            )
            if registers or called.split("[")[0] == "Registry":
                found.append(source.name.removesuffix(".py").replace("/", "."))
                break
    return found


@pytest.fixture(scope="module")
def registries(sources) -> dict[str, Registry]:
    for name in registering_modules(sources):
        importlib.import_module(name)
    return {
        value.kind: value
        for name, module in list(sys.modules.items())
        if name.startswith("quant_engine.")
        for value in vars(module).values()
        if isinstance(value, Registry)
    }


def test_the_shipped_registries_are_found(registries):
    assert {"provider", "learner", "function"} <= set(registries)
    assert all(registry.names() for registry in registries.values())


def test_every_plugin_has_test_params_that_its_parameters_accept(registries, demand):
    found = []
    for registry in registries.values():
        for name in registry.names():
            metadata = registry.metadata(name)
            if not metadata.test_params:
                found.append(f"{registry.kind} {name}: no test_params")
            for values in metadata.test_params:
                metadata.params.model_validate(values)
    demand(found, "Plug-ins give at least one set of test_params in their metadata.")
