"""Residual, ranked and net labels against least squares and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from quant_engine.core.errors import DataError, MissingFieldError
from quant_engine.core.panel import GroupTable, Panel
from quant_engine.features.label_forms import gaussian_labels, net_labels, residual_labels
from quant_engine.features.labels import LabelConfig, forward_labels

pytestmark = pytest.mark.feature("Q-22")

FIELD = "fwd_ret_5s"


@pytest.fixture(scope="module")
def labels(panel_factory):
    made = panel_factory(40, 14, gaps=0.05)
    codes = np.random.default_rng(1).integers(-1, 3, made.shape).astype(np.int16)
    panel = made.with_groups({"sector": GroupTable(codes, ("a", "b", "c"))})
    return forward_labels(panel, LabelConfig(horizon_sessions=5, kinds=("ret",)))


@pytest.fixture(scope="module")
def beta(labels):
    rng = np.random.default_rng(2)
    values = 1.0 + 0.4 * rng.standard_normal(labels.values.shape)
    values[rng.random(values.shape) < 0.05] = np.nan
    return values


def test_residuals_equal_least_squares_on_sectors_and_beta(labels, beta):
    got = residual_labels(labels, FIELD, beta=beta, min_assets=2)
    y, codes = labels.values.field(FIELD), labels.values.group("sector").codes
    residual, member = got.values.field("fwd_residual_ret_5s"), labels.values.mask("member")
    for t in range(len(y)):
        known = np.isfinite(y[t]) & np.isfinite(beta[t]) & (codes[t] >= 0)
        inside = known & member[t]
        large = [c for c in range(3) if (codes[t, inside] == c).sum() >= 2]
        known &= np.isin(codes[t], large)
        inside &= known
        np.testing.assert_array_equal(np.isfinite(residual[t]), known)
        if not inside.any():
            continue
        design = np.column_stack([codes[t] == c for c in large] + [beta[t]]).astype(float)
        line = np.linalg.lstsq(design[inside], y[t, inside], rcond=None)[0]
        want = y[t, known] - design[known] @ line
        np.testing.assert_allclose(residual[t, known], want, rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(got.span_end, labels.span_end)


def test_without_sectors_and_with_equal_betas_the_mean_is_taken_away(labels):
    bare = Panel(labels.values.time, labels.values.asset_ids, {FIELD: labels.values.field(FIELD)})
    plain = type(labels)(bare, labels.span_start, labels.span_end)
    got = residual_labels(plain, FIELD, beta=np.ones(bare.shape))
    y = bare.field(FIELD)[:30]
    want = y - np.nanmean(y, axis=1, keepdims=True)
    np.testing.assert_allclose(got.values.field("fwd_residual_ret_5s")[:30], want, atol=1e-14)


def test_scores_equal_midranks(labels):
    got = gaussian_labels(labels, FIELD).values.field("fwd_gaussian_ret_5s")
    y, member = labels.values.field(FIELD), labels.values.mask("member")
    for t in range(len(y)):
        known = np.isfinite(y[t]) & member[t]
        assert np.isnan(got[t, ~known]).all()
        if known.any():
            want = norm.ppf((rankdata(y[t, known]) - 0.5) / known.sum())
            np.testing.assert_allclose(got[t, known], want, atol=1e-12)


def test_net_labels_pay_the_round_trip_on_either_side(labels):
    y = labels.values.field(FIELD)
    rng = np.random.default_rng(3)
    cost, side = rng.uniform(0.0, 0.01, y.shape), rng.integers(-1, 2, y.shape)
    got = net_labels(labels, FIELD, round_trip_frac=cost, side=side)
    want = np.where(side == 0, np.nan, side * y - cost)
    np.testing.assert_array_equal(got.values.field("fwd_net_ret_5s"), want)
    free = net_labels(labels, FIELD, round_trip_frac=np.zeros(y.shape))
    np.testing.assert_array_equal(free.values.field("fwd_net_ret_5s"), y)
    assert FIELD in free.values.fields


@pytest.mark.leakage
def test_a_form_of_a_row_reads_that_row_alone(labels, beta):
    cut = 20
    fields = {FIELD: labels.values.field(FIELD).copy()}
    fields[FIELD][cut:] = 9.0
    other_beta = np.where(np.arange(40)[:, None] < cut, beta, 5.0)
    values = labels.values.with_fields(fields)
    changed = type(labels)(values, labels.span_start, labels.span_end)
    for one, two in (
        (
            residual_labels(labels, FIELD, beta=beta),
            residual_labels(changed, FIELD, beta=other_beta),
        ),
        (gaussian_labels(labels, FIELD), gaussian_labels(changed, FIELD)),
    ):
        name = list(one.values.fields)[-1]
        np.testing.assert_array_equal(one.values.field(name)[:cut], two.values.field(name)[:cut])


def test_errors_say_what_is_wrong(labels, beta):
    with pytest.raises(DataError, match="beta"):
        residual_labels(labels, FIELD, beta=beta[:3])
    with pytest.raises(DataError, match="min_assets"):
        residual_labels(labels, FIELD, beta=beta, min_assets=1)
    with pytest.raises(MissingFieldError, match="fwd_ret_9s"):
        gaussian_labels(labels, "fwd_ret_9s")
    with pytest.raises(DataError, match="costs of at least 0"):
        net_labels(labels, FIELD, round_trip_frac=np.full(beta.shape, -0.1))
    with pytest.raises(DataError, match="side"):
        net_labels(labels, FIELD, round_trip_frac=np.zeros(beta.shape), side=np.ones((2, 2)))
