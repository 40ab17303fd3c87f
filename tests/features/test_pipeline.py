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
    FEATURE_KINDS,
    FeatureSet,
    FeatureSpec,
    check_feature_set,
    compute_features,
    required_fields,
)

pytestmark = pytest.mark.feature("Q-20")


def spec(**changes):
    content = {
        "name": "MA5",
        "kind": "ma",
        "window": 5,
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
        spec(name="STD20", kind="std", window=20, lookback_sessions=20),
        spec(),
        spec(name="KMID", kind="kmid", window=0, lookback_sessions=1),
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
    volume_set = feature_set(spec(name="VMA5", kind="vma"))
    with pytest.raises(MissingFieldError, match=r"'mine'.*volume \(for VMA5\)"):
        compute_features(without, volume_set)


def test_unadjusted_prices_are_refused_but_characteristics_are_not(panel):
    raw = Panel(panel.time, panel.asset_ids, panel.fields, panel.masks, price_basis=PriceBasis.RAW)
    with pytest.raises(DataError, match="split"):
        compute_features(raw, feature_set(spec()))
    passed = spec(
        name="char_00",
        kind="pass_through",
        window=0,
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
def test_a_passed_through_field_must_say_when_it_is_known():
    with pytest.raises(ValidationError, match="known_when"):
        spec(name="char_00", kind="pass_through", window=0, lookback_sessions=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "moving_average"}, "feature kind"),
        ({"kind": "mas"}, "Did you mean"),
        ({"lookback_sessions": 4}, "lookback_sessions: wanted 5"),
        ({"window": 0, "lookback_sessions": 1}, "window: wanted at least 2"),
        ({"kind": "kmid", "lookback_sessions": 6}, r"window: wanted 0 \(no window\)"),
        ({"kind": "momentum", "window": 21, "lookback_sessions": 22}, "at least 22"),
    ],
)
def test_a_set_cannot_claim_what_its_kind_does_not_promise(changes, message):
    with pytest.raises(ConfigError, match=message):
        check_feature_set(feature_set(spec(**changes)))


@pytest.mark.feature("Q-21")
def test_a_weaker_claim_than_the_kind_promises_is_allowed():
    check_feature_set(feature_set(spec(causality="END_OF_DAY")))
    check_feature_set(feature_set(spec(causality="RESEARCH_ONLY")))


def test_names_are_unique_and_formulas_too():
    with pytest.raises(ValidationError, match="occurs twice"):
        feature_set(spec(), spec())
    with pytest.raises(ConfigError, match="repetition of 'MA5'"):
        check_feature_set(feature_set(spec(), spec(name="MEAN5")))


def test_the_id_depends_on_order_and_content():
    first, second = spec(), spec(name="STD5", kind="std")
    identity = feature_set(first, second).set_id()
    assert identity == feature_set(first, second).set_id()
    assert identity != feature_set(second, first).set_id()
    assert identity != feature_set(first, spec(name="STD5", kind="std", unit="x")).set_id()


def test_required_fields_and_longest_lookback():
    wanted = feature_set(spec(), spec(name="WVMA20", kind="wvma", window=20, lookback_sessions=21))
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


def test_every_kind_is_documented_and_testable():
    for name in FEATURE_KINDS.names():
        metadata = FEATURE_KINDS.metadata(name)
        kind = FEATURE_KINDS.get(name)
        assert metadata.summary
        for params in metadata.test_params:
            window = metadata.params(**params).content().get("window", 0)
            assert window >= kind.min_window
            assert (window > 0) == (kind.min_window > 0)
            assert kind.lookback_sessions(window) >= 1
