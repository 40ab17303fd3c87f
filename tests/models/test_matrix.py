"""Row matrices: who becomes a row, and that nothing crosses sessions."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import rankdata

from quant_engine.core.errors import DataError, EmptyDataError, MissingFieldError
from quant_engine.models import ModelConfig
from quant_engine.models.matrix import build_rows, row_numbers, standardize, transform_target
from quant_engine.stats.cross_section import rank_gaussian


@pytest.fixture(scope="module")
def untidy() -> np.ndarray:
    """Ties, gaps, one empty and one single-valued session."""
    values = np.random.default_rng(3).integers(0, 6, (12, 9)).astype(float)
    values[np.random.default_rng(4).random(values.shape) < 0.2] = np.nan
    values[5] = np.nan
    values[6] = 2.0
    return values


def test_learners_read_the_cross_sectional_scores(untidy):
    np.testing.assert_array_equal(standardize(untidy, "rank_gaussian"), rank_gaussian(untidy))
    single = standardize(untidy.astype(np.float32), "rank_gaussian")
    assert single.dtype == np.float32


def test_z_scores_are_clipped_and_zero_without_variation(untidy):
    fast = standardize(untidy, "z_score")
    for row, z in zip(untidy, fast, strict=True):
        known = ~np.isnan(row)
        assert np.isnan(z[~known]).all()
        if known.any() and np.std(row[known]) > 0:
            wanted = (row[known] - row[known].mean()) / row[known].std(ddof=1)
            np.testing.assert_allclose(z[known], wanted, atol=1e-13)
        else:
            assert (z[known] == 0.0).all()
    outlier = np.zeros((1, 100))
    outlier[0, 7] = 1e9
    assert standardize(outlier, "z_score")[0, 7] == 5.0


@pytest.mark.parametrize("method", ["rank_gaussian", "z_score"])
def test_a_mask_is_the_same_as_missing_values(untidy, method):
    mask = np.random.default_rng(5).random(untidy.shape) < 0.7
    masked = standardize(untidy, method, mask=mask)
    np.testing.assert_array_equal(masked, standardize(np.where(mask, untidy, np.nan), method))
    assert np.isnan(masked[~mask]).all()


def test_a_row_is_a_member_that_trades(world, config):
    mask = np.random.default_rng(0).random(world.features.panel.shape) < 0.7
    other = np.random.default_rng(1).random(world.features.panel.shape) < 0.9
    rows = build_rows(world.with_mask("member", mask).with_mask("tradable", other).features, config)
    seen = np.zeros(mask.shape, dtype=bool)
    seen[rows.session, rows.asset] = True
    np.testing.assert_array_equal(seen, mask & other)
    assert (np.diff(rows.session) >= 0).all()
    np.testing.assert_array_equal(np.diff(rows.offsets), (mask & other).sum(axis=1))


def test_excluded_assets_do_not_move_the_ranks_of_the_others(world, config):
    member = np.array(world.features.panel.mask("member"))
    member[:, 0] = False
    wild = np.array(world.features.panel.field("f0"))
    wild[:, 0] = 1e6
    quiet = build_rows(world.with_mask("member", member).features, config)
    loud = build_rows(world.with_mask("member", member).with_field("f0", wild).features, config)
    np.testing.assert_array_equal(quiet.x, loud.x)


@pytest.mark.feature("Q-26")
@pytest.mark.leakage
def test_rows_of_a_session_do_not_depend_on_other_sessions(world, config):
    chosen = np.array([3, 40, 41, 149])
    alone = build_rows(world.features, config, sessions=chosen)
    together = build_rows(world.features, config)
    np.testing.assert_array_equal(alone.x, together.x[together.of_sessions(chosen)])
    values = np.array(world.features.panel.field("f1"))
    values[42:] = -(values[42:] ** 3)
    changed = build_rows(world.with_field("f1", values).features, config)
    before = together.of_sessions(np.arange(42))
    np.testing.assert_array_equal(changed.x[before], together.x[before])


@pytest.mark.feature("L-11")
@pytest.mark.feature("L-23")
def test_missing_features_stand_in_the_middle_and_are_counted(world, config):
    values = np.array(world.features.panel.field("f0"))
    values[10, :4] = np.nan
    gap = world.with_field("f0", values)
    rows = build_rows(gap.features, config)
    at = rows.of_sessions(np.array([10]))
    assert (rows.x[at[:4], 0] == 0.0).all()
    np.testing.assert_array_equal(rows.n_missing[at], [1, 1, 1, 1] + [0] * 36)
    known = rankdata(values[10, 4:])
    expected = [NormalDist().inv_cdf((r - 0.5) / 36) for r in known]
    np.testing.assert_allclose(rows.x[at[4:], 0], expected, atol=1e-6)


def test_rows_that_miss_most_features_are_left_out(world, config):
    gap = world
    for name in ("f0", "f1", "f2"):
        values = np.array(world.features.panel.field(name))
        values[10, :4] = np.nan
        gap = gap.with_field(name, values)
    rows = build_rows(gap.features, config)
    assert np.diff(rows.offsets)[10] == 36
    lenient = ModelConfig(max_missing_frac=0.6)
    assert np.diff(build_rows(gap.features, lenient).offsets)[10] == 40


def test_thin_sessions_have_no_rows(world, config):
    member = np.array(world.features.panel.mask("member"))
    member[7, 9:] = False
    rows = build_rows(world.with_mask("member", member).features, config)
    assert np.diff(rows.offsets)[7] == 0


def test_a_single_asset_is_refused_in_words(world, config):
    member = np.zeros(world.features.panel.shape, dtype=bool)
    member[:, 0] = True
    with pytest.raises(EmptyDataError, match="wanted a session with >= 10 assets"):
        build_rows(world.with_mask("member", member).features, config)


def test_infinite_features_and_absent_masks_are_refused(world, config):
    values = np.array(world.features.panel.field("f2"))
    values[3, 3] = np.inf
    with pytest.raises(DataError, match=r"feature 'f2'.*1 infinite"):
        build_rows(world.with_field("f2", values).features, config)
    panel = world.features.panel
    bare = type(panel)(panel.time, panel.asset_ids, panel.fields)
    with pytest.raises(MissingFieldError, match="'member'"):
        build_rows(
            type(world.features)(bare, world.features.schema, world.features.volatility), config
        )


@pytest.mark.feature("Q-22")
def test_target_is_the_order_of_labelled_rows_of_its_own_session(world, config):
    label = world.label
    label[20, ::2] = np.nan
    label[21, 5:] = np.nan
    rows = build_rows(world.features, config)
    y = transform_target(label, rows, config)
    here = rows.of_sessions(np.array([20]))
    known = ~np.isnan(label[20])
    expected = [NormalDist().inv_cdf((r - 0.5) / 20) for r in rankdata(label[20, known])]
    np.testing.assert_allclose(y[here[known]], expected, atol=1e-12)
    assert np.isnan(y[here[~known]]).all()
    assert np.isnan(y[rows.of_sessions(np.array([21]))]).all(), "5 labels are fewer than 10"


def test_row_numbers_in_a_plain_loop():
    offsets = np.array([0, 3, 3, 7, 8])
    for sessions in ([0], [1], [0, 1, 3], [2, 3], []):
        slow = [r for s in sessions for r in range(offsets[s], offsets[s + 1])]
        fast = row_numbers(offsets, np.array(sessions, dtype=np.int64))
        np.testing.assert_array_equal(fast, np.array(slow, dtype=np.int64))
