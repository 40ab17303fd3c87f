"""Laws that every feature obeys: no future, no column order, no unit of price, no infinity."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.core.panel import Panel
from quant_engine.core.specs import SpecCatalog
from quant_engine.features.pipeline import FeatureSet, compute_features
from quant_engine.features.transforms import TransformConfig, transform_panel

pytestmark = pytest.mark.feature("Q-20")

N_ROWS = 420
CUTS = (40, 255, 256, 257, 300, 371, 419)


@pytest.fixture(scope="module")
def full_set():
    """All price features and the passed-through characteristics, as one set."""
    catalog = SpecCatalog.default()
    prices = catalog.load("features", "price_volume_v1", FeatureSet)
    published = catalog.load("features", "simulated_core", FeatureSet)
    return FeatureSet(name="everything", version="1", features=prices.features + published.features)


@pytest.fixture(scope="module")
def market(panel_factory):
    panel = panel_factory(N_ROWS, 6, seed=11, gaps=0.0005)
    rng = np.random.default_rng(12)
    fields = {name: values.copy() for name, values in panel.fields.items()}
    fields |= {f"char_{i:02d}": rng.standard_normal(panel.shape) for i in range(40)}
    # Bars missing just before a cut: a feature that fills backwards shows itself only there.
    for values in fields.values():
        values[[39, 254, 255, 370], [1, 2, 2, 3]] = np.nan
    return panel.with_fields(fields)


@pytest.fixture(scope="module")
def computed(market, full_set):
    return compute_features(market, full_set)


def poisoned(panel: Panel, cut: int, seed: int) -> Panel:
    """The same market up to row cut, another one from there on: other walk, other members."""
    rng = np.random.default_rng(seed)
    fields = {}
    for name, values in panel.fields.items():
        changed = values.copy()
        shape = changed[cut:].shape
        walk = np.exp(np.cumsum(0.1 * rng.standard_normal(shape), axis=0))
        changed[cut:] = np.nan_to_num(changed[cut - 1], nan=1.0) * walk + 1.0
        changed[cut:][rng.random(shape) < 0.1] = np.nan
        changed[cut:][rng.random(shape) < 0.02] *= 1e9
        fields[name] = changed
    member = panel.mask("member").copy()
    member[cut:] = rng.random(member[cut:].shape) < 0.5
    return panel.with_fields(fields).with_masks({"member": member})


def assert_same_bytes(a: Panel, b: Panel, rows: slice) -> None:
    differing = [
        name for name in a.fields if a.field(name)[rows].tobytes() != b.field(name)[rows].tobytes()
    ]
    assert differing == []


@pytest.mark.leakage
@pytest.mark.feature("Q-21")
@pytest.mark.parametrize("cut", CUTS)
def test_no_future_row_changes_a_past_feature(market, full_set, computed, cut):
    changed = compute_features(poisoned(market, cut, seed=cut), full_set)
    assert_same_bytes(changed, computed, slice(0, cut))
    # The poison is alive: something after the cut did change.
    assert any(
        changed.field(n)[cut:].tobytes() != computed.field(n)[cut:].tobytes()
        for n in computed.fields
    )


@pytest.mark.leakage
@pytest.mark.feature("Q-21")
@pytest.mark.parametrize("cut", CUTS)
def test_features_of_a_prefix_are_the_prefix_of_the_features(market, full_set, computed, cut):
    prefix = compute_features(market.rows(0, cut), full_set)
    assert_same_bytes(prefix, computed, slice(0, cut))


@pytest.mark.leakage
@pytest.mark.parametrize("method", ["rank_gaussian", "z_score", "winsorise", "none"])
def test_no_future_row_changes_a_transformed_feature(market, full_set, computed, method):
    config = TransformConfig(method=method)
    whole = transform_panel(computed, config)
    for cut in (256, 371):
        changed = transform_panel(
            compute_features(poisoned(market, cut, seed=cut), full_set), config
        )
        assert_same_bytes(changed, whole, slice(0, cut))
        prefix = compute_features(market.rows(0, cut), full_set)
        assert_same_bytes(transform_panel(prefix, config), whole, slice(0, cut))


def test_the_order_of_assets_changes_no_bit(market, full_set, computed):
    order = np.array([3, 0, 5, 1, 4, 2])
    shuffled = compute_features(market.columns(order), full_set)
    assert_same_bytes(shuffled, computed.columns(order), slice(None))
    config = TransformConfig()
    assert_same_bytes(
        transform_panel(shuffled, config),
        transform_panel(computed, config).columns(order),
        slice(None),
    )


def test_a_split_changes_no_feature(market, full_set, computed):
    factor = 7.0
    fields = {n: market.field(n) * factor for n in ("open", "high", "low", "close", "dividend")}
    fields["volume"] = market.field("volume") / factor
    scaled = compute_features(market.with_fields(fields), full_set)
    for name in full_set.names:
        np.testing.assert_allclose(
            scaled.field(name), computed.field(name), rtol=2e-4, atol=1e-5, err_msg=name
        )


def test_an_asset_without_data_has_no_features_and_disturbs_nobody(market, full_set, computed):
    empty = np.full((N_ROWS, 1), np.nan)
    wider = Panel(
        market.time,
        (*market.asset_ids, "EMPTY@US#1"),
        {name: np.hstack([values, empty]) for name, values in market.fields.items()},
        {name: np.hstack([v, np.ones((N_ROWS, 1), bool)]) for name, v in market.masks.items()},
    )
    got = compute_features(wider, full_set)
    for name in full_set.names:
        assert np.isnan(got.field(name)[:, -1]).all(), name
        assert got.field(name)[:, :-1].tobytes() == computed.field(name).tobytes(), name


def test_one_asset_is_its_own_market(market, full_set):
    alone = market.columns(np.array([0])).with_masks({"member": np.ones((N_ROWS, 1), bool)})
    got = compute_features(alone, full_set)
    beta, spread = got.field("BETAM60")[-1, 0], got.field("IVOL60")[-1, 0]
    np.testing.assert_allclose([beta, spread], [1.0, 0.0], atol=1e-6)


def test_a_constant_price_gives_exact_constants_or_nothing(market, full_set):
    flat = {name: np.full(market.shape, 42.7) for name in ("open", "high", "low", "close")}
    flat["dividend"] = np.zeros(market.shape)
    flat["volume"] = np.full(market.shape, 1000.0)
    got = compute_features(market.with_fields(flat), full_set)
    wanted = {
        "KMID": 0.0,
        "KMID2": 0.0,
        "ROC60": 1.0,
        "MA60": 1.0,
        "STD60": 0.0,
        "BETA60": 0.0,
        "RSQR60": np.nan,
        "RESI60": 0.0,
        "QTLU60": 1.0,
        "RANK60": 0.5 + 0.5 / 60,
        "RSV60": 0.0,
        "IMAX60": 1 / 60,
        "IMXD60": 0.0,
        "CORR60": np.nan,
        "CORD60": np.nan,
        "CNTP60": 0.0,
        "SUMD60": 0.0,
        "WVMA60": 0.0,
        "VSUMD60": 0.0,
        "MOM12_1": 0.0,
        "VOL60": 0.0,
        "VOLR252": np.nan,
        "PARK20": 0.0,
        "AMIHUD20": 0.0,
        "DVOLZ60": np.nan,
        "HIGHD252": 0.0,
        "BETAM252": np.nan,
    }
    for name, value in wanted.items():
        np.testing.assert_allclose(
            got.field(name)[-1], np.float32(value), rtol=1e-6, atol=0.0, err_msg=name
        )


def test_nothing_is_ever_infinite(market, full_set):
    fields = {name: values.copy() for name, values in market.fields.items()}
    fields["close"][100, 0] = 0.0
    fields["open"][120, 1] = -5.0
    fields["volume"][130:160, 2] = 0.0
    fields["high"][140, 3] = np.inf
    fields["char_03"][150, 4] = -np.inf
    got = compute_features(market.with_fields(fields), full_set)
    assert not any(np.isinf(got.field(name)).any() for name in full_set.names)
    assert np.isnan(got.field("char_03")[150, 4])
    assert np.isnan(got.field("MA5")[100:105, 0]).all()
