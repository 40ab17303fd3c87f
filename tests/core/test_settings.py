"""Settings: the environment is read in one place, and the order of overrides is fixed."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from quant_engine.core.errors import ConfigError
from quant_engine.core.settings import Settings, environment_overrides, set_nested

pytestmark = pytest.mark.feature("L-21")


class TestSettings:
    def test_defaults_are_the_folders_of_the_documentation(self, monkeypatch):
        for name in ("QE_DATA_ROOT", "QE_RESULTS_ROOT", "QE_MODELS_ROOT"):
            monkeypatch.delenv(name, raising=False)
        settings = Settings()
        assert (settings.data_root, settings.results_root, settings.models_root) == (
            Path("data"),
            Path("results"),
            Path("trained_models"),
        )

    @pytest.mark.feature("T-02")
    def test_environment_moves_folders_and_arguments_win(self, monkeypatch):
        monkeypatch.setenv("QE_RESULTS_ROOT", "elsewhere/results")
        monkeypatch.setenv("QE_MODELS_ROOT", "elsewhere/models")
        settings = Settings(models_root=Path("mine"))
        assert settings.results_root == Path("elsewhere/results")
        assert settings.models_root == Path("mine")

    def test_frozen(self):
        with pytest.raises(ValidationError, match="frozen"):
            Settings().data_root = Path("x")


class TestEnvironmentOverrides:
    def test_sections_and_types(self):
        found = environment_overrides(
            {
                "QE_MODEL__N_TREES": "200",
                "QE_MODEL__RIDGE__ALPHA": "0.5",
                "QE_DATA__TICKERS": "[AAPL, 'NO']",
                "QE_BACKTEST__LONG_ONLY": "true",
                "QE_BACKTEST__NOTE": "plain text",
                "QE_DATA_ROOT": "not an override",
                "HOME": "x",
                "MY_QE_MODEL__N_TREES": "1",
            }
        )
        assert found == {
            "model": {"n_trees": 200, "ridge": {"alpha": 0.5}},
            "data": {"tickers": ["AAPL", "NO"]},
            "backtest": {"long_only": True, "note": "plain text"},
        }

    def test_the_process_environment_is_the_default(self, monkeypatch):
        monkeypatch.setenv("QE_ONLY_IN__THIS_TEST", "1")
        assert environment_overrides()["only_in"] == {"this_test": 1}

    def test_a_section_and_a_value_of_one_name_are_refused(self):
        with pytest.raises(ConfigError, match=r"wanted a\.b to be a section, got the value 1"):
            environment_overrides({"QE_A__B": "1", "QE_A__B__C": "2"})

    def test_broken_values_name_the_variable(self):
        with pytest.raises(ConfigError, match="QE_A__B: wanted a YAML value"):
            environment_overrides({"QE_A__B": "[1,"})


class TestPrecedence:
    def test_later_layers_replace_single_keys_and_keep_the_rest(self):
        """config.py, then the environment, then --set: the last one wins, key by key."""
        resolved = {"model": {"n_trees": 100, "depth": 2, "alpha": 1.0}}
        for section, values in environment_overrides(
            {"QE_MODEL__N_TREES": "200", "QE_MODEL__DEPTH": "3"}
        ).items():
            for key, value in values.items():
                set_nested(resolved, [section, key], value)
        set_nested(resolved, ["model", "depth"], 4)
        assert resolved == {"model": {"n_trees": 200, "depth": 4, "alpha": 1.0}}

    def test_set_nested_makes_sections_and_refuses_to_enter_values(self):
        target: dict = {"a": 1}
        set_nested(target, ["b", "c", "d"], 2)
        assert target == {"a": 1, "b": {"c": {"d": 2}}}
        with pytest.raises(ConfigError, match="wanted a to be a section"):
            set_nested(target, ["a", "x"], 3)
