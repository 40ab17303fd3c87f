"""Without the extra there is one clear error that names it, and the rest of the package imports."""

import importlib
import importlib.util
import sys

import pytest

from quant_engine.core.errors import MissingExtraError


@pytest.mark.parametrize(
    ("module", "package", "blocked"),
    [
        ("exchange.codec", "orjson", "orjson"),
        ("exchange.signing", "cryptography", "cryptography.exceptions"),
        ("exchange.feed", "websockets", "websockets.asyncio.client"),
        ("fake.auth", "cryptography", "cryptography.exceptions"),
        ("fake.server", "websockets", "websockets.asyncio.server"),
    ],
)
def test_a_missing_package_names_the_extra(monkeypatch, module, package, blocked):
    monkeypatch.setitem(sys.modules, blocked, None)
    spec = importlib.util.find_spec(f"quant_engine.kalshi.{module}")
    with pytest.raises(MissingExtraError, match=package) as caught:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert 'pip install "quant-engine[kalshi]"' in caught.value.hint


def test_maths_of_the_vertical_needs_no_extra(monkeypatch):
    for name in ("orjson", "cryptography", "websockets", "httpx"):
        monkeypatch.setitem(sys.modules, name, None)
    for module in ("exchange.fixed", "exchange.wire", "exchange.book", "fake.world", "fake.books"):
        spec = importlib.util.find_spec(f"quant_engine.kalshi.{module}")
        made = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, made)
        spec.loader.exec_module(made)
