"""Rotation: ratio, momentum, quadrants, scorecard, and their formulas in the sets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.errors import DataError
from quant_engine.features.rotation import (
    BUY_SCORE,
    COMPONENTS,
    QUADRANTS,
    RS_MOMENTUM,
    RS_RATIO,
    SELL_SCORE,
    rotation_quadrants,
    rotation_score,
    rotation_signals,
)

pytestmark = pytest.mark.feature("D-05")


def test_the_ratio_does_not_depend_on_the_level_of_prices():
    rng = np.random.default_rng(0)
    price = 40.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(120)))
    market = 3000.0 * np.exp(np.cumsum(0.01 * rng.standard_normal(120)))
    relative = np.diff(np.log(price / market), prepend=np.nan)[:, None]
    got = RS_RATIO.run(relative, numbers=(14, 63))[0, :, 0]
    ratio = pd.Series(price / market)
    wanted = 100.0 * ratio.rolling(14).mean() / ratio.shift(63)
    np.testing.assert_allclose(got, wanted, rtol=1e-12)
    assert np.isnan(got[:63]).all()


def test_a_steady_winner_leads_and_one_that_turns_weakens_then_lags_then_improves():
    relative = np.full((400, 1), 0.002)
    relative[100:200] = -0.002
    relative[200:300] = -0.001
    relative[300:] = 0.001
    ratio = RS_RATIO.run(relative, numbers=(14, 63))[0, :, 0]
    momentum = RS_MOMENTUM.run(relative, numbers=(14,))[0, :, 0]
    seen = [QUADRANTS[c] for c in rotation_quadrants(ratio, momentum) if c >= 0]
    passed = [name for i, name in enumerate(seen) if i == 0 or name != seen[i - 1]]
    assert passed == ["leading", "weakening", "lagging", "improving", "leading"]


def test_the_edges_of_the_quadrants_belong_to_the_better_side():
    codes = rotation_quadrants(np.array([100.0, 100.0, 99.9]), np.array([0.0, -1e-9, 0.0]))
    assert [QUADRANTS[c] for c in codes] == ["leading", "weakening", "improving"]


def test_the_scorecard_weighs_as_published():
    assert list(COMPONENTS.values()) == [0.25, 0.20, 0.20, 0.20, 0.15]
    assert sum(COMPONENTS.values()) == pytest.approx(1.0)
    for i, weight in enumerate(COMPONENTS.values()):
        assert rotation_score(np.eye(5)[i]) == weight
    assert (BUY_SCORE, SELL_SCORE) == (0.6, -0.3)


def test_a_missing_component_leaves_no_score_and_no_signal():
    components = np.ones((5, 2))
    components[3, 0] = np.nan
    score = rotation_score(components)
    assert np.isnan(score[0])
    assert rotation_signals(score).tolist() == [0, 1]


def test_a_score_that_meets_a_limit_but_for_rounding_counts():
    scores = np.array([0.1 + 0.2 + 0.3 - 2e-16, 0.6 - 1e-9, 0.2 - 0.5 + 1e-16, -0.3 + 1e-9])
    assert rotation_signals(scores).tolist() == [1, 0, -1, 0]


def test_components_out_of_scale_are_refused():
    with pytest.raises(DataError, match=r"largest 1\.5"):
        rotation_score(np.full((5, 3), 1.5))
    with pytest.raises(DataError, match="4 components"):
        rotation_score(np.ones((4, 3)))
