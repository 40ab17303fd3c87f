"""Registry: unique names, declared parameters, near names, discovery."""

from types import SimpleNamespace

import pytest

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError
from quant_engine.core.registry import NoParams, PluginMetadata, Registry

pytestmark = pytest.mark.feature("D-01")


class Lags(FrozenConfig):
    lags: int = 5


@pytest.fixture
def factors() -> Registry:
    registry: Registry = Registry("factor")

    @registry.register("momentum", metadata=PluginMetadata(summary="Past returns.", params=Lags))
    def momentum(): ...

    registry.register("carry", metadata=PluginMetadata(summary="Yield."))(lambda: None)
    return registry


def test_get_metadata_and_sorted_names(factors):
    assert factors.names() == ("carry", "momentum")
    assert factors.get("momentum").__name__ == "momentum"
    assert factors.metadata("momentum").params is Lags
    assert factors.metadata("carry").params is NoParams
    assert factors.metadata("carry").test_params == ({},)


def test_the_decorator_returns_its_object(factors):
    def value(): ...

    assert factors.register("value", metadata=PluginMetadata(summary="Cheap."))(value) is value


def test_a_taken_name_is_refused_and_the_first_plugin_stays(factors):
    first = factors.get("carry")
    with pytest.raises(ConfigError, match=r"factor name: wanted a name that is not taken.*'carry'"):
        factors.register("carry", metadata=PluginMetadata(summary="Other."))(object())
    assert factors.get("carry") is first
    assert factors.metadata("carry").summary == "Yield."


@pytest.mark.parametrize("method", ["get", "metadata"])
def test_unknown_name_names_the_nearest(factors, method):
    with pytest.raises(ConfigError, match=r"Did you mean 'momentum'\?"):
        getattr(factors, method)("momentun")
    with pytest.raises(ConfigError, match="Known: carry, momentum"):
        getattr(factors, method)("zzz")


def test_registries_do_not_share_names(factors):
    assert Registry("factor").names() == ()


def test_discovery_imports_entry_points_in_order_and_reports_what_is_new(factors, monkeypatch):
    loaded = []

    def point(name):
        def load():
            loaded.append(name)
            factors.register(name, metadata=PluginMetadata(summary="Found."))(object())

        return SimpleNamespace(name=name, load=load)

    def entry_points(*, group):
        assert group == "quant_engine.factors"
        return [point("zeta"), point("alpha")]

    monkeypatch.setattr("quant_engine.core.registry.entry_points", entry_points)
    assert factors.discover("quant_engine.factors") == ("alpha", "zeta")
    assert loaded == ["alpha", "zeta"]


def test_metadata_is_frozen():
    with pytest.raises(AttributeError):
        PluginMetadata(summary="x").summary = "y"
