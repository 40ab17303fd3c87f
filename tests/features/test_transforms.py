"""Cross-sectional transforms against pandas and scipy, date by date."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri
from scipy.stats import rankdata

from quant_engine.core.errors import MissingFieldError
from quant_engine.features.transforms import (
    TransformConfig,
    equal_weight_mean,
    percentile_rank,
    rank_gaussian,
    transform_panel,
    winsorise,
    z_score,
)

pytestmark = pytest.mark.feature("Q-20")


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(5)
    x = rng.standard_t(2, (60, 23))
    x[:, :8] = np.round(x[:, :8])
    x[20:30, :3] = [[0.0, -0.0, 0.0]]
    x[30, :] = -np.abs(x[30, :])
    x[rng.random(x.shape) < 0.1] = np.nan
    x[10] = np.nan
    x[11, 1:] = np.nan
    x[11, 0] = 3.0
    x[12] = 7.5
    x[13, :2] = np.inf, -np.inf
    return x


@pytest.fixture(scope="module")
def mask(values):
    return np.random.default_rng(6).random(values.shape) < 0.8


def clean(values, mask=None):
    keep = np.isfinite(values) if mask is None else np.isfinite(values) & mask
    return np.where(keep, values, np.nan)


def by_date(values, function):
    out = np.full(values.shape, np.nan)
    for t, row in enumerate(values):
        known = np.isfinite(row)
        if known.any():
            out[t, known] = function(row[known])
    return out


@pytest.mark.parametrize("masked", [False, True])
def test_ranks_equal_scipy(values, mask, masked):
    chosen = mask if masked else None
    x = clean(values, chosen)
    share = by_date(x, lambda row: (rankdata(row) - 0.5) / row.size)
    np.testing.assert_allclose(percentile_rank(values, mask=chosen), share, rtol=1e-14)
    np.testing.assert_allclose(
        rank_gaussian(values, mask=chosen), ndtri(share), rtol=1e-13, atol=1e-15
    )


def test_normal_scores_of_a_wide_date_reach_the_tails():
    wide = np.random.default_rng(0).permutation(200_000.0 + np.arange(100_000))[None, :]
    want = ndtri((rankdata(wide[0]) - 0.5) / wide.size)
    np.testing.assert_allclose(rank_gaussian(wide)[0], want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("masked", [False, True])
def test_z_scores_equal_pandas(values, mask, masked):
    chosen = mask if masked else None
    frame = pd.DataFrame(clean(values, chosen)).T
    want = ((frame - frame.mean()) / frame.std()).T.to_numpy().copy()
    want[12] = np.nan
    np.testing.assert_allclose(z_score(values, mask=chosen), want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("tail_frac", [0.0, 0.01, 0.1, 0.4])
def test_winsorised_values_equal_numpy(values, mask, tail_frac):
    def clip(row):
        return np.clip(row, *np.quantile(row, [tail_frac, 1.0 - tail_frac]))

    got = winsorise(values, tail_frac=tail_frac, mask=mask)
    np.testing.assert_allclose(got, by_date(clean(values, mask), clip), rtol=1e-13)


def test_mean_equals_pandas_and_ignores_column_order(values, mask):
    x = clean(values, mask)
    np.testing.assert_allclose(equal_weight_mean(values, mask), pd.DataFrame(x).mean(axis=1))
    order = np.random.default_rng(1).permutation(values.shape[1])
    shuffled = equal_weight_mean(values[:, order], mask[:, order])
    assert shuffled.tobytes() == equal_weight_mean(values, mask).tobytes()


def test_ranks_of_single_precision_values_are_exact(values):
    single = np.concatenate([values, 1e-42 * values, 1e30 * values]).astype(np.float32)
    got = percentile_rank(single)
    want = by_date(clean(single), lambda row: (rankdata(row) - 0.5) / row.size)
    np.testing.assert_array_equal(got, want.astype(np.float32))


@pytest.mark.parametrize("function", [percentile_rank, rank_gaussian, z_score])
def test_dtype_is_kept_and_the_input_is_not_changed(values, function):
    single = values.astype(np.float32)
    before = single.copy()
    got = function(single)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(single, before)
    np.testing.assert_allclose(got, function(single.astype(float)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (3, 1)])
def test_empty_and_single_cross_sections(shape):
    x = np.ones(shape)
    for got in (rank_gaussian(x), z_score(x), winsorise(x, tail_frac=0.1)):
        assert got.shape == shape
    assert (rank_gaussian(np.ones((3, 1))) == 0.0).all()
    assert np.isnan(z_score(np.ones((3, 1)))).all()


def test_every_method_on_a_panel(panel):
    mask = panel.mask("member")
    x = panel.field("close")
    scores = {
        method: transform_panel(panel, TransformConfig(method=method, tail_frac=0.1))
        for method in ("rank_gaussian", "z_score", "winsorise", "none")
    }
    pulled = winsorise(x, tail_frac=0.1, mask=mask)
    np.testing.assert_array_equal(
        scores["rank_gaussian"].field("close"), rank_gaussian(x, mask=mask)
    )
    np.testing.assert_array_equal(scores["winsorise"].field("close"), pulled)
    np.testing.assert_array_equal(scores["z_score"].field("close"), z_score(pulled, mask=mask))
    np.testing.assert_array_equal(scores["none"].field("close"), np.where(mask, x, np.nan))
    assert tuple(scores["none"].fields) == tuple(panel.fields)


def test_a_missing_mask_is_an_error(panel):
    with pytest.raises(MissingFieldError, match="'membr'"):
        transform_panel(panel, TransformConfig(mask="membr"))
