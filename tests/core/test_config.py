"""FrozenConfig: immutable, strict, and identified by its content."""

import pytest
from pydantic import Field, ValidationError

from quant_engine.core.config import FrozenConfig
from quant_engine.core.hashing import sha256_json

pytestmark = pytest.mark.feature("T-05")


class Inner(FrozenConfig):
    depth: int = Field(default=2, ge=1)


class Outer(FrozenConfig):
    penalty: float = 1.0
    names: tuple[str, ...] = ("a", "b")
    inner: Inner = Inner()


@pytest.mark.feature("T-06")
def test_equal_settings_share_an_id_however_they_were_spelled():
    assert Outer().config_id() == Outer(penalty=1, names=["a", "b"], inner={"depth": 2}).config_id()
    assert Outer().config_id() == sha256_json(
        {"penalty": 1.0, "names": ["a", "b"], "inner": {"depth": 2}}
    )


def test_every_setting_counts():
    variants = [Outer(), Outer(penalty=2), Outer(names=("b", "a")), Outer(inner=Inner(depth=3))]
    assert len({config.config_id() for config in variants}) == len(variants)


def test_unknown_keys_are_refused():
    with pytest.raises(ValidationError, match="penality"):
        Outer(penality=2.0)


def test_nothing_can_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Outer().penalty = 2.0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_no_settings(value):
    with pytest.raises(ValidationError, match="finite number"):
        Outer(penalty=value)


def test_defaults_are_validated_too():
    class Wrong(FrozenConfig):
        depth: int = Field(default=0, ge=1)

    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Wrong()


def test_content_is_plain_json():
    assert Outer().content() == {"penalty": 1.0, "names": ["a", "b"], "inner": {"depth": 2}}
