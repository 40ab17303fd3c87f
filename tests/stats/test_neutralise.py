"""Neutral scores: residuals of each session's regression."""

import numpy as np
import pytest

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.neutralise import neutralise

pytestmark = pytest.mark.feature("D-04")

RNG = np.random.default_rng(9)
SHAPE = (25, 40)


def drawn():
    values, first, second = RNG.normal(size=(3, *SHAPE))
    codes = RNG.integers(-1, 4, SHAPE)
    for array in (values, first, second):
        array[RNG.random(SHAPE) < 0.05] = np.nan
    return values, [first, 1e6 * second], codes


def test_normal_equations():
    values, exposures, codes = drawn()
    mask = RNG.random(SHAPE) < 0.9
    got = neutralise(values, exposures=exposures, codes=codes, mask=mask)
    for row in range(SHAPE[0]):
        keep = mask[row] & (codes[row] >= 0) & np.isfinite(values[row])
        for part in exposures:
            keep &= np.isfinite(part[row])
        x = np.column_stack(
            [codes[row, keep] == group for group in range(4)]
            + [part[row, keep] for part in exposures]
        ).astype(float)
        beta = np.linalg.solve(x.T @ x, x.T @ values[row, keep])
        np.testing.assert_allclose(got[row, keep], values[row, keep] - x @ beta, atol=1e-9)
        assert np.isnan(got[row, ~keep]).all()


def test_repeated_exposures_change_nothing():
    values, exposures, codes = drawn()
    once = neutralise(values, exposures=exposures, codes=codes)
    twice = neutralise(values, exposures=[*exposures, 3.0 * exposures[0]], codes=codes)
    np.testing.assert_allclose(once, twice, atol=1e-9)
    constant = neutralise(values, exposures=[*exposures, np.ones(SHAPE)], codes=codes)
    np.testing.assert_allclose(once, constant, atol=1e-9)


def test_column_order_changes_no_bit():
    values, exposures, codes = drawn()
    order = RNG.permutation(SHAPE[1])
    whole = neutralise(values, exposures=exposures, codes=codes)
    mixed = neutralise(
        values[:, order], exposures=[part[:, order] for part in exposures], codes=codes[:, order]
    )
    np.testing.assert_array_equal(whole[:, order], mixed)


def test_a_share():
    values, exposures, _ = drawn()
    full = neutralise(values, exposures=exposures)
    half = neutralise(values, exposures=exposures, proportion=0.5)
    both = np.isfinite(full)
    np.testing.assert_allclose(half[both], (values[both] + full[both]) / 2, atol=1e-12)


def test_too_few_assets_explain_everything():
    values, exposure = RNG.normal(size=(2, 1, 3))
    assert np.isnan(neutralise(values[:, :2], exposures=[exposure[:, :2]])).all()
    assert np.isfinite(neutralise(values, exposures=[exposure])).all()


def test_refusals():
    values, exposures, codes = drawn()
    for bad in ({"proportion": 1.1, "codes": codes}, {}):
        with pytest.raises(ConfigError, match="groups or exposures"):
            neutralise(values, **bad)
    with pytest.raises(DataError):
        neutralise(values, exposures=[exposures[0][1:]])
    with pytest.raises(DataError):
        neutralise(values, codes=codes[1:])
