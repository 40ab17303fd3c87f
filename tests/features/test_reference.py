"""Features and transforms against numbers computed outside this project."""

from __future__ import annotations

import json

import numpy as np
import pytest

from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.features import kernels
from quant_engine.features.pipeline import FeatureSet, FeatureSpec, compute_features
from quant_engine.features.transforms import percentile_rank, rank_gaussian, winsorise, z_score

pytestmark = [pytest.mark.reference, pytest.mark.feature("Q-19")]


@pytest.fixture(scope="module")
def case(shared_reference):
    path = shared_reference / "dev" / "indicators_factors_ic.json"
    cases = {c["name"]: c for c in json.loads(path.read_text())["cases"]}

    def pick(name):
        return cases[name]["inputs"], cases[name]["expected"]

    return pick


def matrix(rows):
    return np.array(rows, dtype=float)


def one_feature(panel, name, kind, window):
    spec = FeatureSpec(
        name=name,
        kind=kind,
        window=window,
        lookback_sessions=window + 1,
        causality="CAUSAL",
        unit="fraction",
        family="test",
        source="test",
    )
    wanted = FeatureSet(name="test", version="1", features=(spec,))
    return float(compute_features(panel, wanted).field(name)[-1, 0])


def test_momentum_and_volatility(case):
    given, expected = case("momentum_vsm")
    close = matrix(given["close"])[:, None]
    days = np.datetime64("2015-01-01") + np.arange(len(close))
    panel = Panel(TimeAxis.sessions(days), ("A@US#1",), {"close": close})
    got = one_feature(panel, "MOM", "momentum", 252)
    assert got == pytest.approx(expected["mom_12_1"], rel=1e-6)
    got = one_feature(panel, "VOL", "vol", 60)
    assert got == pytest.approx(expected["vol60_ddof1"], rel=1e-6)


def test_market_line(case):
    given, expected = case("beta_ivol")
    x, y = (matrix(given[n])[:, None] for n in ("asset_returns", "market_returns"))
    run = np.arange(1, len(x) + 1, dtype=np.int32)[:, None]
    block, slots = np.empty((2, *x.shape)), np.array([[-1], [0], [1]])
    kernels.rolling_pair(x, y, run, np.array([len(x)]), slots, block)
    assert block[0, -1, 0] == pytest.approx(expected["beta"], abs=1e-10)
    assert block[1, -1, 0] == pytest.approx(expected["ivol_ddof2"], abs=1e-10)


def test_cross_sectional_transforms(case):
    given, expected = case("cs_winsorize_zscore_docs")
    x = matrix(given["X"])
    tail_frac = given["low"]
    np.testing.assert_allclose(
        winsorise(x, tail_frac=tail_frac), matrix(expected["winsorized"]), atol=1e-9
    )
    np.testing.assert_allclose(z_score(x), matrix(expected["zscore"]), atol=1e-9)
    np.testing.assert_allclose(percentile_rank(x), matrix(expected["percentile_rank"]), atol=1e-9)
    # The outside library rescales normal scores to unit spread; ours are plain normal scores.
    np.testing.assert_allclose(
        z_score(rank_gaussian(x)), matrix(expected["gaussian_rank"]), atol=1e-9
    )


def test_winsorised_then_scaled(case):
    given, expected = case("winsorize_zscore_neutralize")
    x = matrix([given["values"]])
    pulled = winsorise(x, tail_frac=0.05)
    np.testing.assert_allclose(pulled[0], matrix(expected["winsorized"]), atol=1e-9)
    np.testing.assert_allclose(z_score(pulled)[0], matrix(expected["zscore"]), atol=1e-9)
    np.testing.assert_allclose(
        percentile_rank(x)[0], matrix(expected["percentile_rank_midrank"]), atol=1e-9
    )
