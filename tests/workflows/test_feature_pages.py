"""A feature panel too large for the memory: same bits, computed in parts, resumed after a kill."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.artifacts.pages import PageFolder
from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.features.pipeline import FeatureSet, FeatureSpec, compute_features
from quant_engine.workflows import inputs
from quant_engine.workflows.inputs import computed_features

pytestmark = pytest.mark.feature("Q-20")


def formula(name, text, lookback):
    return FeatureSpec(
        name=name, expression=text, lookback_sessions=lookback, causality="CAUSAL", unit="ratio",
        family="test", source="test",
    )  # fmt: skip


SET = FeatureSet(
    name="mine",
    version="1",
    features=(
        formula("MA3", "Mean($close, 3)/$close", 3),
        formula("R", "CsRank(Ref($close, 2)/$close)", 3),
        formula("STD4", "Std($close, 4)/$close", 4),
        formula("UP", "$close > Ref($close, 1)", 2),
        formula("MAX5", "Max($close, 5)/$close", 5),
    ),
)
SHAPE = (30, 4)
TWO_FEATURES = 2 * 4 * SHAPE[0] * SHAPE[1]


@pytest.fixture
def market():
    rng = np.random.default_rng(3)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, SHAPE), axis=0))
    days = np.datetime64("2020-01-01") + np.arange(SHAPE[0])
    return Panel(TimeAxis.sessions(days, "24/7"), tuple("ABCD"), {"close": close})


def same(a, b):
    return all(a.field(name).tobytes() == b.field(name).tobytes() for name in SET.names)


def test_parts_on_disk_have_the_bits_of_the_whole(tmp_path, market):
    pages = PageFolder(tmp_path, "a" * 64)
    got = computed_features(market, SET, pages, max_bytes=TWO_FEATURES)
    assert tuple(got.fields) == SET.names
    assert same(got, compute_features(market, SET))
    assert {path.name for path in pages.folder.iterdir()} == {f"{n}.npy" for n in SET.names}
    small = computed_features(market, SET, PageFolder(tmp_path, "b" * 64))
    assert same(small, got)
    assert not PageFolder(tmp_path, "b" * 64).folder.exists()
    pages.remove()
    assert not pages.folder.exists()


def test_a_killed_run_computes_what_is_missing_alone(tmp_path, market, monkeypatch):
    pages = PageFolder(tmp_path, "a" * 64)
    computed = []

    def counted(panel, feature_set, **more):
        if len(computed) == 1:
            raise KeyboardInterrupt
        computed.append(feature_set.names)
        return compute_features(panel, feature_set, **more)

    monkeypatch.setattr(inputs, "compute_features", counted)
    with pytest.raises(KeyboardInterrupt):
        computed_features(market, SET, pages, max_bytes=TWO_FEATURES)
    assert pages.missing(list(SET.names)) == ("STD4", "UP", "MAX5")
    computed.clear()
    monkeypatch.setattr(inputs, "compute_features", lambda *a, **k: (
        computed.append(a[1].names), compute_features(*a, **k))[1])  # fmt: skip
    got = computed_features(market, SET, pages, max_bytes=TWO_FEATURES)
    assert computed == [("STD4", "UP"), ("MAX5",)]
    assert same(got, compute_features(market, SET))
