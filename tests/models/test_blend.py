"""The rank average against a plain loop, its ties and its flags."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata, zscore

from quant_engine.models.blend import blend_members


@pytest.fixture(scope="module")
def raw():
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((2, 30, 17))
    gap = rng.random((30, 17)) < 0.2
    a[gap] = b[gap] = np.nan
    return {"a": a, "b": b}


def test_score_equals_a_plain_loop(raw):
    blend = blend_members(raw, long_short_frac=0.2)
    for t in range(30):
        known = ~np.isnan(raw["a"][t])
        n = known.sum()
        both = rankdata(raw["a"][t, known]) + rankdata(raw["b"][t, known])
        percentile = (rankdata(both) - 0.5) / n
        np.testing.assert_allclose(blend.percentile[t, known], percentile)
        np.testing.assert_allclose(blend.score[t, known], 2 * percentile - 1, atol=1e-15)
        np.testing.assert_allclose(blend.z[t, known], zscore(both, ddof=1), atol=1e-14)
        own = 2 * (rankdata(raw["b"][t, known]) - 0.5) / n - 1
        np.testing.assert_allclose(blend.member_scores["b"][t, known], own, atol=1e-15)
        assert np.isnan(blend.score[t, ~known]).all()


@pytest.mark.feature("Q-29")
@pytest.mark.parametrize(("n", "flagged"), [(10, 2), (15, 3), (25, 5), (500, 100), (7, 1)])
def test_flags_mark_the_top_and_bottom_fifth(n, flagged):
    values = np.random.default_rng(n).permutation(n)[None, :].astype(float)
    blend = blend_members({"only": values}, long_short_frac=0.2)
    assert blend.is_long.sum() == blend.is_short.sum() == flagged
    assert values[blend.is_long].min() >= n - flagged
    assert values[blend.is_short].max() < flagged
    assert not (blend.is_long & blend.is_short).any()


def test_scores_depend_on_order_alone_and_are_antisymmetric(raw):
    base = blend_members(raw, long_short_frac=0.2)
    bent = blend_members({"a": np.exp(raw["a"]), "b": 100 * raw["b"] - 7}, long_short_frac=0.2)
    np.testing.assert_array_equal(base.score, bent.score)
    turned = blend_members({k: -v for k, v in raw.items()}, long_short_frac=0.2)
    np.testing.assert_array_equal(turned.score, -base.score)


def test_disagreement_is_a_tie_and_not_float_noise():
    up = np.arange(11.0)[None, :]
    blend = blend_members({"a": up, "b": -up}, long_short_frac=0.2)
    assert (blend.score == 0.0).all()
    assert (blend.z == 0.0).all()
    assert not blend.is_long.any()
    assert not blend.is_short.any()
