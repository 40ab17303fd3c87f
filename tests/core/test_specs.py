"""Specs: YAML that is checked, and a name that means one thing everywhere."""

import pytest

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError
from quant_engine.core.specs import SpecCatalog, build_config, parse_spec

pytestmark = pytest.mark.feature("T-05")


class Leg(FrozenConfig):
    weight: float
    side: str = "long"


class Plan(FrozenConfig):
    horizon: int
    legs: tuple[Leg, ...] = ()
    best: Leg | None = None


def refused(text: str, *parts: str, model: type[FrozenConfig] = Plan) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_spec(text, model, where="plans/mine.yaml")
    for part in ("plans/mine.yaml", *parts):
        assert part in str(caught.value)


class TestParse:
    def test_a_valid_spec(self):
        plan = parse_spec("horizon: 10\nlegs:\n  - {weight: 0.5}\n", Plan, where="x")
        assert plan == Plan(horizon=10, legs=(Leg(weight=0.5),))

    def test_unknown_key_names_the_nearest(self):
        refused("horizon: 10\nleg: []\n", "plans/mine.yaml: leg", "Did you mean 'legs'?")

    def test_a_misspelt_required_key_is_not_reported_as_missing(self):
        refused("horizn: 10\n", "horizn", "Did you mean 'horizon'?")

    def test_unknown_key_inside_a_list_or_an_optional(self):
        refused("horizon: 1\nlegs: [{wieght: 1}]\n", "legs.0.wieght", "Did you mean 'weight'?")
        refused("horizon: 1\nbest: {weight: 1, sde: long}\n", "best.sde", "Did you mean 'side'?")

    def test_wrong_value_names_key_and_value(self):
        refused("horizon: ten\n", "horizon", "valid integer", "'ten'", "docstring of Plan")

    def test_missing_key(self):
        refused("legs: []\n", "horizon", "wanted a value, got none")

    def test_repeated_key_is_refused_with_its_line(self):
        refused("horizon: 10\nhorizon: 20\n", "'horizon' occurs twice (line 2)")
        refused("horizon: 1\nlegs:\n  - {weight: 1, weight: 2}\n", "'weight' occurs twice (line 3)")

    @pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text", "42"])
    def test_anything_but_a_mapping_is_refused(self, text):
        refused(text, "a mapping of keys to values")

    @pytest.mark.parametrize(
        "text", ["a: [1,", "\ta: 1", "? [a, b]\n: c\n", "a: !!python/name:os.system"]
    )
    def test_broken_or_dangerous_yaml_is_refused(self, text):
        refused(text, "valid YAML")

    def test_build_config_names_the_whole_file_for_a_rule_over_all_keys(self):
        with pytest.raises(ConfigError, match="--set: horizon"):
            build_config(Plan, {"horizon": 1.5}, where="--set")


class TestCatalog:
    @pytest.fixture
    def working_dir(self, tmp_path):
        folder = tmp_path / "specs" / "costs"
        folder.mkdir(parents=True)
        (folder / "mine.yaml").write_text("horizon: 3\n")
        return tmp_path

    def test_own_specs_join_the_shipped_ones(self, working_dir):
        names = SpecCatalog.default(working_dir).names("costs")
        assert "mine" in names
        assert set(SpecCatalog.default().names("costs")) == set(names) - {"mine"}
        assert list(names) == sorted(names)

    def test_own_spec_loads(self, working_dir):
        assert SpecCatalog.default(working_dir).load("costs", "mine", Plan) == Plan(horizon=3)

    def test_redefinition_of_a_shipped_spec_is_refused(self, working_dir):
        shipped = SpecCatalog.default().names("costs")[0]
        (working_dir / "specs" / "costs" / f"{shipped}.yaml").write_text("horizon: 3\n")
        with pytest.raises(ConfigError, match=f"spec costs/{shipped}.*never overridden"):
            SpecCatalog.default(working_dir)

    def test_unknown_spec_names_the_nearest(self, working_dir):
        with pytest.raises(ConfigError, match=r"Did you mean 'mine'\?"):
            SpecCatalog.default(working_dir).load("costs", "mime", Plan)

    @pytest.mark.parametrize("name", ["../costs/mine", "../../outside", "/etc/passwd", ""])
    def test_a_name_cannot_lead_out_of_its_folder(self, working_dir, name):
        (working_dir / "outside.yaml").write_text("horizon: 3\n")
        with pytest.raises(ConfigError, match="costs spec"):
            SpecCatalog.default(working_dir).path("costs", name)

    def test_unknown_kind_has_no_names(self):
        assert SpecCatalog.default().names("nothing_of_the_kind") == ()

    def test_a_working_folder_without_specs(self, tmp_path):
        assert SpecCatalog.default(tmp_path) == SpecCatalog.default()

    def test_another_encoding_is_refused(self, working_dir):
        (working_dir / "specs" / "costs" / "latin.yaml").write_bytes(b"horizon: 3 # \xe9\n")
        with pytest.raises(ConfigError, match=r"costs/latin\.yaml: wanted UTF-8"):
            SpecCatalog.default(working_dir).load("costs", "latin", Plan)

    def test_every_shipped_file_is_yaml_without_repeated_keys(self):
        catalog = SpecCatalog.default()
        (shipped,) = catalog.folders
        files = sorted(shipped.glob("*/*.yaml"))
        assert files
        for path in files:
            with pytest.raises(ConfigError) as caught:
                parse_spec(path.read_text(encoding="utf-8"), FrozenConfig, where=path.name)
            assert "wanted a key that exists" in str(caught.value), path.name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("horizon: [unclosed\n", "line 2, column 1"),
        ("legs: []\n", "plans/mine.yaml: horizon: wanted a value, got none"),
        ("horizon: 1.5\n", "horizon: wanted a valid integer"),
        ("horizn: 3\nhorizon: 3\n", "horizn: wanted a key that exists, got 3. Did you mean"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_in_one_line(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_spec(text, Plan, where="plans/mine.yaml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "unicode string" not in str(caught.value)
