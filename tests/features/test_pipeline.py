"""The public door: what a feature set may claim, what a panel must hold, what comes out."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from pydantic import ValidationError

from quant_engine.core.errors import ConfigError, DataError, MissingFieldError
from quant_engine.core.panel import Panel, PriceBasis
from quant_engine.core.specs import SpecCatalog
from quant_engine.features.pipeline import (
    FeatureSet,
    FeatureSpec,
    check_feature_set,
    compute_features,
    required_fields,
    whole_set,
)

pytestmark = pytest.mark.feature("Q-20")


def spec(**changes):
    content = {
        "name": "MA5",
        "expression": "Mean($close, 5)/$close",
        "lookback_sessions": 5,
        "causality": "CAUSAL",
        "unit": "ratio",
        "family": "trend",
        "source": "Qlib Alpha158",
    }
    return FeatureSpec(**{**content, **changes})


def feature_set(*specs):
    return FeatureSet(name="mine", version="1", features=specs)


def test_output_is_float32_in_set_order_with_the_axes_of_the_panel(panel):
    wanted = feature_set(
        spec(name="STD20", expression="Std($close, 20)/$close", lookback_sessions=20),
        spec(),
        spec(name="KMID", expression="$close/$open - 1", lookback_sessions=1),
    )
    got = compute_features(panel, wanted)
    assert tuple(got.fields) == ("STD20", "MA5", "KMID")
    assert {values.dtype for values in got.fields.values()} == {np.dtype(np.float32)}
    assert got.time == panel.time
    assert got.asset_ids == panel.asset_ids
    assert got.price_basis is panel.price_basis
    np.testing.assert_array_equal(got.mask("member"), panel.mask("member"))
    np.testing.assert_array_equal(got.group("sector").codes, panel.group("sector").codes)


def test_a_subset_of_features_has_the_same_bytes_as_the_whole_set(panel):
    catalog = SpecCatalog.default()
    whole = compute_features(panel, catalog.load("features", "price_volume_v1", FeatureSet))
    part = compute_features(panel, catalog.load("features", "price_volume_core", FeatureSet))
    for name in part.fields:
        assert part.field(name).tobytes() == whole.field(name).tobytes(), name


def test_published_characteristics_pass_through_unchanged(panel):
    chars = {f"char_{i:02d}": np.random.default_rng(i).random(panel.shape) for i in range(40)}
    loaded = SpecCatalog.default().load("features", "simulated_core", FeatureSet)
    got = compute_features(panel.with_fields(chars), loaded)
    assert tuple(got.fields) == tuple(chars)
    for name, values in chars.items():
        np.testing.assert_array_equal(got.field(name), values.astype(np.float32))


def test_a_missing_field_names_the_set_and_the_features(panel):
    loaded = SpecCatalog.default().load("features", "simulated_core", FeatureSet)
    with pytest.raises(MissingFieldError, match=r"'simulated_core'.*char_00.*and 35 more"):
        compute_features(panel, loaded)
    without = panel.only_fields(["open", "high", "low", "close"])
    volume_set = feature_set(spec(name="VMA5", expression="Mean($volume, 5)/$volume"))
    with pytest.raises(MissingFieldError, match=r"'mine'.*volume \(for VMA5\)"):
        compute_features(without, volume_set)


def test_unadjusted_prices_are_refused_but_characteristics_are_not(panel):
    raw = Panel(panel.time, panel.asset_ids, panel.fields, panel.masks, price_basis=PriceBasis.RAW)
    with pytest.raises(DataError, match="split"):
        compute_features(raw, feature_set(spec()))
    passed = spec(
        name="char_00",
        expression="$char_00",
        lookback_sessions=1,
        known_when="published by the close",
    )
    got = compute_features(raw.with_fields({"char_00": np.ones(panel.shape)}), feature_set(passed))
    assert (got.field("char_00") == 1.0).all()


@pytest.mark.feature("Q-21")
def test_an_unknown_or_absent_causality_class_is_an_error():
    with pytest.raises(ValidationError, match="causality"):
        spec(causality="PROBABLY_FINE")
    content = spec().model_dump()
    del content["causality"]
    with pytest.raises(ValidationError, match="causality"):
        FeatureSpec(**content)


@pytest.mark.feature("Q-21")
def test_a_published_field_must_say_when_it_is_known():
    read = spec(name="SURPRISE", expression="Delta($earnings, 1)/$close", lookback_sessions=2)
    with pytest.raises(ConfigError, match="known_when: wanted when the published field 'earnings'"):
        check_feature_set(feature_set(read))


def test_a_misspelt_field_is_answered_with_the_nearest_name():
    with pytest.raises(ConfigError, match="Did you mean 'close'"):
        check_feature_set(feature_set(spec(expression="Mean($clos, 5)")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lookback_sessions": 4}, "lookback_sessions: wanted 5"),
        ({"expression": "Meen($close, 5)"}, "Did you mean 'Mean'"),
        ({"expression": "Mean($close, 0)"}, "at least 1 in Mean, got 0"),
        ({"expression": "Mean($close)"}, "wanted 2 arguments of Mean, got 1"),
        ({"expression": "Ref($close, -4)"}, "look into the future"),
    ],
)
def test_a_set_cannot_claim_what_its_formula_does_not_promise(changes, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        check_feature_set(feature_set(spec(**changes)))


@pytest.mark.feature("Q-21")
def test_a_look_into_the_future_is_research_only():
    ahead = {"name": "AHEAD", "expression": "Ref($close, -4)/$close", "lookback_sessions": 1}
    check_feature_set(feature_set(spec(), spec(**ahead, causality="RESEARCH_ONLY")))
    claims = feature_set(spec(causality="RESEARCH_ONLY"), spec(**ahead))
    with pytest.raises(ConfigError, match="'AHEAD', causality: wanted RESEARCH_ONLY or weaker"):
        check_feature_set(claims)


@pytest.mark.feature("Q-21")
def test_a_weaker_claim_than_the_formula_promises_is_allowed():
    check_feature_set(feature_set(spec(causality="END_OF_DAY")))
    check_feature_set(feature_set(spec(causality="RESEARCH_ONLY")))


def test_names_are_unique_and_formulas_too():
    with pytest.raises(ValidationError, match="occurs twice"):
        feature_set(spec(), spec())
    with pytest.raises(ConfigError, match="repetition of 'MA5'"):
        check_feature_set(
            feature_set(spec(), spec(name="SAME", expression="Mean( $close,5 ) / $close"))
        )


def test_the_id_depends_on_order_and_content():
    first, second = spec(), spec(name="UP", expression="$close > $open")
    identity = feature_set(first, second).set_id()
    assert identity == feature_set(first, second).set_id()
    assert identity != feature_set(second, first).set_id()
    assert (
        identity
        != feature_set(first, spec(name="UP", expression="$close > $open", unit="x")).set_id()
    )


def test_required_fields_and_longest_lookback():
    flow = spec(name="FLOW", expression="Mean($return*$volume, 20)", lookback_sessions=21)
    wanted = feature_set(spec(), flow)
    assert required_fields(wanted) == ("close", "volume")
    assert wanted.max_lookback_sessions == 21


def test_progress_counts_every_feature(panel):
    steps = []

    class Listener:
        @contextmanager
        def stage(self, name, total):
            steps.append((name, total))
            yield self

        def advance(self, n=1):
            steps.append(n)

    core = SpecCatalog.default().load("features", "price_volume_core", FeatureSet)
    compute_features(panel, core, progress=Listener())
    assert steps[0] == ("features price_volume_core", len(core.features))
    assert sum(steps[1:]) == len(core.features)


def test_dividends_count_once(panel):
    price_only = panel.only_fields(["open", "high", "low", "close", "volume"])
    loaded = SpecCatalog.default().load("features", "price_volume_core", FeatureSet)
    plain = compute_features(price_only, loaded)
    paid = compute_features(panel, loaded)
    assert not np.array_equal(plain.field("VOL20"), paid.field("VOL20"), equal_nan=True)
    assert plain.field("MA20").tobytes() == paid.field("MA20").tobytes()
    # With total_adj the prices hold the dividends already.
    adjusted = Panel(
        panel.time, panel.asset_ids, panel.fields, panel.masks, price_basis=PriceBasis.TOTAL_ADJ
    )
    again = compute_features(adjusted, loaded)
    assert again.field("VOL20").tobytes() == plain.field("VOL20").tobytes()


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (20, 2)])
def test_panels_too_short_for_any_window_give_only_nan(panel_factory, shape):
    short = panel_factory(max(shape[0], 1), max(shape[1], 1)).rows(0, shape[0])
    short = short.columns(np.arange(shape[1]))
    loaded = SpecCatalog.default().load("features", "price_volume_v1", FeatureSet)
    got = compute_features(short, loaded)
    for item in loaded.features:
        values = got.field(item.name)
        assert values.shape == shape
        assert np.isnan(values[: item.lookback_sessions - 1]).all()


def test_a_set_takes_in_others_once_and_in_order():
    files = {
        "a": FeatureSet(name="a", version="1", features=(spec(), spec(name="X"))),
        "b": FeatureSet(name="b", version="1", include=("a",), features=(spec(name="Y"),)),
        "c": FeatureSet(name="c", version="1", include=("b", "a"), omit=("X",)),
    }
    assert whole_set("b", files.__getitem__).names == ("MA5", "X", "Y")
    assert whole_set("c", files.__getitem__).names == ("MA5", "Y")
    assert not whole_set("c", files.__getitem__).include
    with pytest.raises(ConfigError, match="wanted a set put together"):
        check_feature_set(files["c"])


def test_inclusions_that_mean_nothing_are_refused():
    files = {
        "a": FeatureSet(name="a", version="1", features=(spec(),)),
        "other": FeatureSet(name="other", version="1", features=(spec(expression="$close"),)),
        "both": FeatureSet(name="both", version="1", include=("a", "other")),
        "misses": FeatureSet(name="misses", version="1", include=("a",), omit=("MA6",)),
        "round": FeatureSet(name="round", version="1", include=("circle",)),
        "circle": FeatureSet(name="circle", version="1", include=("round",)),
    }
    with pytest.raises(ConfigError, match="one meaning of the feature 'MA5'"):
        whole_set("both", files.__getitem__)
    with pytest.raises(ConfigError, match="Did you mean 'MA5'"):
        whole_set("misses", files.__getitem__)
    with pytest.raises(ConfigError, match="round -> circle -> round"):
        whole_set("round", files.__getitem__)
    with pytest.raises(ValidationError, match="needs features"):
        FeatureSet(name="nothing", version="1")
