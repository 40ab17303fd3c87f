"""Steps of a sizing on plain arrays: properties of each step, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.risk import CapConfig, SizingConfig, VolatilityTarget
from quant_engine.risk.sizing import scale_book, volatility_scale, weigh_names

pytestmark = pytest.mark.feature("Q-37")

CAPS = CapConfig(max_name_frac=0.2, max_gross_frac=1.2, max_net_frac=0.3)
INVERSE = SizingConfig(weighting="inverse_volatility", caps=CAPS)


def random_books(seed, n_rows=20, n_assets=12):
    rng = np.random.default_rng(seed)
    sides = rng.choice([-1, 0, 1], (n_rows, n_assets))
    books = sides * rng.uniform(0.01, 0.1, sides.shape)
    vol = rng.lognormal(-1.5, 0.6, sides.shape)
    vol[rng.random(sides.shape) < 0.15] = np.nan
    return rng, books, vol


def assert_within(books, caps):
    slack = 1 + 1e-12
    assert np.abs(books).max() <= caps.max_name_frac * slack
    assert np.abs(books).sum(axis=1).max() <= caps.max_gross_frac * slack
    assert np.abs(books.sum(axis=1)).max() <= caps.max_net_frac + 1e-12


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_caps_hold_after_every_step_and_signs_are_kept(seed) -> None:
    rng, books, vol = random_books(seed)
    shared = weigh_names(books, INVERSE, volatility=vol)
    assert_within(shared, CAPS)
    factors = [rng.uniform(0, 3, 20), rng.uniform(0, 1.5, 20), rng.choice([0.0, 0.6, 1.0], 20)]
    path = shared
    for k in range(3):
        scaled = scale_book(shared, factors[: k + 1], CAPS)
        assert_within(scaled, CAPS)
        assert (scaled * books >= 0.0).all()
        # One more step: nobody is above their own size times the factor.
        assert (np.abs(scaled) <= np.abs(path) * factors[k][:, None] * (1 + 1e-12)).all()
        path = scaled


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_without_binding_caps_each_side_keeps_its_gross_and_shares_its_risk(seed) -> None:
    _, books, vol = random_books(seed)
    free = SizingConfig(
        weighting="inverse_volatility", caps=CapConfig(max_name_frac=5.0, max_gross_frac=5.0)
    )
    shared = weigh_names(books, free, volatility=vol)
    for t, row in enumerate(books):
        for side in (1, -1):
            held = side * row > 0
            known = held & np.isfinite(vol[t])
            assert not shared[t][held & ~known].any()
            if known.any():
                assert np.abs(shared[t][held]).sum() == pytest.approx(np.abs(row[held]).sum())
                risk = shared[t][known] * vol[t][known]
                np.testing.assert_allclose(risk, risk[0], rtol=1e-9)


def test_even_weights_and_the_weights_that_came() -> None:
    books = np.array([[0.3, 0.1, -0.2, 0.0]])
    caps = CapConfig(max_name_frac=0.5)
    even = weigh_names(books, SizingConfig(weighting="equal", caps=caps))
    np.testing.assert_allclose(even, [[0.2, 0.2, -0.2, 0.0]])
    as_it_came = weigh_names(books, SizingConfig(caps=caps))
    np.testing.assert_allclose(as_it_came, books, rtol=1e-15)
    # What the cap cuts off the first name goes to the second one of its side alone.
    tight = weigh_names(books, SizingConfig(caps=CapConfig(max_name_frac=0.25)))
    np.testing.assert_allclose(tight, [[0.25, 0.15, -0.2, 0.0]])


def test_a_volatility_target_scales_and_stops() -> None:
    target = VolatilityTarget(target_ann=0.12, max_leverage=1.5)
    got = volatility_scale(np.array([0.24, 0.12, 0.01, np.nan]), target)
    assert got.tolist() == [0.5, 1.0, 1.5, 1.0]
    careful = VolatilityTarget(target_ann=0.12, max_leverage=0.8)
    assert volatility_scale(np.array([np.nan, 0.12]), careful).tolist() == [0.8, 0.8]


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: weigh_names(np.ones((1, 2)), INVERSE), ConfigError, "weighting='inverse_vol"),
        (
            lambda: weigh_names(np.ones((1, 2)), INVERSE, volatility=np.zeros((1, 2))),
            DataError,
            "annual volatilities above 0",
        ),
        (
            lambda: weigh_names(np.ones((1, 2)), INVERSE, volatility=np.ones((2, 2))),
            DataError,
            "shape (1, 2)",
        ),
        (
            lambda: weigh_names(np.array([[np.nan]]), SizingConfig()),
            DataError,
            "0 = not held",
        ),
        (
            lambda: scale_book(np.ones((1, 2)), [np.array([-0.5])], CAPS),
            ConfigError,
            "got -0.5",
        ),
        (
            lambda: scale_book(np.ones((1, 2)), [np.array([np.nan])], CAPS),
            ConfigError,
            "got nan",
        ),
    ],
)
def test_what_cannot_be_sized_is_refused(call, kind, words) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert words in str(caught.value)
