"""Caps: a bisection and plain loops as twins, and properties over random books."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.risk.caps import (
    CapConfig,
    cap_weights,
    check_placed,
    share_out,
    share_sides,
    side_totals,
)

pytestmark = pytest.mark.feature("Q-37")

SLACK = 1 + 1e-12
WEIGHT = st.floats(-3.0, 3.0, allow_subnormal=False)
RAW = st.one_of(st.just(0.0), st.floats(1e-9, 1e9))


@st.composite
def books(draw):
    shape = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    return draw(arrays(np.float64, shape, elements=st.one_of(st.just(0.0), WEIGHT)))


@st.composite
def cap_configs(draw):
    gross = draw(st.floats(0.01, 3.0))
    return CapConfig(
        max_name_frac=gross * draw(st.floats(0.01, 1.0)),
        max_gross_frac=gross,
        max_net_frac=draw(st.one_of(st.none(), st.floats(0.0, 1.0).map(lambda f: f * gross))),
    )


def plain_cap(book, caps):
    """The three cuts written one after the other with Python sums."""
    row = [min(abs(w), caps.max_name_frac) * (1 if w > 0 else -1) for w in book]
    gross = sum(abs(w) for w in row)
    if gross > caps.max_gross_frac:
        row = [w * caps.max_gross_frac / gross for w in row]
    longs, shorts = sum(w for w in row if w > 0), -sum(w for w in row if w < 0)
    if caps.max_net_frac is not None and longs - shorts > caps.max_net_frac:
        row = [w * (shorts + caps.max_net_frac) / longs if w > 0 else w for w in row]
    if caps.max_net_frac is not None and shorts - longs > caps.max_net_frac:
        row = [w * (longs + caps.max_net_frac) / shorts if w < 0 else w for w in row]
    return row


def assert_capped(weights, caps):
    assert (np.abs(weights) <= caps.max_name_frac * SLACK).all()
    assert (np.abs(weights).sum(axis=1) <= caps.max_gross_frac * SLACK).all()
    if caps.max_net_frac is not None:
        room = caps.max_net_frac + 1e-12 * caps.max_gross_frac
        assert (np.abs(weights.sum(axis=1)) <= room).all()


@settings(max_examples=120, deadline=None)
@given(books(), cap_configs())
def test_every_cap_holds_nothing_grows_and_no_sign_turns(book, caps) -> None:
    cut = cap_weights(book, caps)
    assert_capped(cut, caps)
    assert (np.abs(cut) <= np.abs(book)).all()
    assert (cut * book >= 0.0).all()


@settings(max_examples=120, deadline=None)
@given(books(), cap_configs())
def test_cuts_equal_a_plain_loop_and_a_second_cut_changes_nothing(book, caps) -> None:
    cut = cap_weights(book, caps)
    plain = np.array([plain_cap(row, caps) for row in book])
    np.testing.assert_allclose(cut, plain, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(cap_weights(cut, caps), cut, rtol=1e-12, atol=1e-15)


def test_a_book_within_its_caps_keeps_its_bytes() -> None:
    book = np.array([[0.1, -0.05, 0.0, 1 / 3]])
    caps = CapConfig(max_name_frac=0.5, max_net_frac=0.5)
    assert cap_weights(book, caps).tobytes() == book.tobytes()


def test_what_was_scaled_to_nothing_is_a_plain_zero() -> None:
    assert not np.signbit(cap_weights(np.array([[-0.0, 0.1]]), CapConfig())).any()


def filled_by_bisection(raw, total, cap):
    """The level x of ``min(cap, x raw)`` found by halving an interval."""
    held = raw > 0
    if not held.any():
        return np.zeros_like(raw)
    if held.sum() * cap <= total:
        return np.where(held, cap, 0.0)
    low, high = 0.0, cap / raw[held].min()
    for _ in range(200):
        level = (low + high) / 2
        low, high = (low, level) if np.minimum(cap, level * raw).sum() > total else (level, high)
    return np.minimum(cap, low * raw)


@settings(max_examples=120, deadline=None)
@given(
    arrays(np.float64, st.integers(1, 12), elements=RAW),
    st.floats(0.0, 2.0),
    st.floats(0.01, 1.5),
)
def test_a_total_is_shared_out_as_far_as_the_cap_allows(raw, total, cap) -> None:
    shares = share_out(raw, total, max_name_frac=cap)
    assert (shares >= 0.0).all()
    assert (shares <= cap).all()
    assert (shares[raw == 0.0] == 0.0).all()
    room = min(total, (raw > 0.0).sum() * cap)
    assert shares.sum() == pytest.approx(room, rel=1e-12, abs=1e-15)
    np.testing.assert_allclose(
        shares, filled_by_bisection(raw, total, cap), rtol=1e-6, atol=1e-9 * max(total, cap)
    )
    # Redistribution never overtakes: a larger raw size has at least the share of a smaller one.
    order = np.argsort(raw, kind="stable")
    assert (np.diff(shares[order]) >= -1e-15).all()


@settings(max_examples=60, deadline=None)
@given(books(), st.floats(0.01, 1.5), st.integers(0, 2**32 - 1))
def test_sides_are_shared_out_like_single_totals_in_any_column_order(book, cap, seed) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.lognormal(0, 2, book.shape)
    raw[rng.random(book.shape) < 0.2] = np.nan
    shared = share_sides(book, raw, max_name_frac=cap)
    for t, row in enumerate(book):
        for side in (1, -1):
            held = side * row > 0
            total = float((side * row)[held].sum())
            alone = share_out(np.where(held, raw[t], 0.0), total, max_name_frac=cap)
            np.testing.assert_allclose(np.where(held, side * shared[t], 0.0), alone, rtol=1e-9)
    assert (shared * book >= 0.0).all()
    order = rng.permutation(book.shape[1])
    moved = share_sides(book[:, order], raw[:, order], max_name_frac=cap)
    np.testing.assert_allclose(moved, shared[:, order], rtol=1e-12)


def test_a_huge_head_does_not_swallow_the_tail() -> None:
    shares = share_out(np.array([1e18, 3.0, 1.0]), 1.0, max_name_frac=0.5)
    np.testing.assert_allclose(shares, [0.5, 0.375, 0.125], rtol=1e-12)


def test_totals_by_side() -> None:
    assert side_totals(np.array([[0.2, -0.3, 0.1], [0.0, 0.0, 0.0]])).tolist() == [
        [pytest.approx(0.3), 0.3],
        [0.0, 0.0],
    ]


def test_infeasible_caps_are_named_where_that_is_asked_for() -> None:
    placed = np.array([[0.1, 0.1, -0.1], [0.0, 0.0, -0.5]])
    check_placed(placed, 0.5, CapConfig(max_name_frac=0.1))
    with pytest.raises(ConfigError) as caught:
        check_placed(placed, 0.5, CapConfig(max_name_frac=0.1, when_full="error"))
    assert caught.value.wanted == "room for a gross of 0.5 on the long side"
    assert "2 names under a cap of 0.1 in decision 0, which hold 0.2" in caught.value.got
    assert "when_full='cash'" in caught.value.hint
    # A side without a name has nothing to place.
    check_placed(placed[1:], 0.5, CapConfig(max_name_frac=0.1, when_full="error"))


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"max_name_frac": 1.5}, "max_name_frac must not exceed max_gross_frac"),
        ({"max_net_frac": 1.5}, "max_net_frac must not exceed max_gross_frac"),
        ({"max_name_frac": 0.0}, "greater than 0"),
        ({"max_gros_frac": 1.0}, "max_gros_frac"),
    ],
)
def test_contradicting_caps_are_refused(settings_, words) -> None:
    with pytest.raises(ValidationError, match=words):
        CapConfig(**settings_)


@pytest.mark.parametrize(
    ("call", "parameter"),
    [
        (lambda: cap_weights(np.array([[0.1, np.nan]]), CapConfig()), "weights"),
        (lambda: cap_weights(np.array([[0.1, np.inf]]), CapConfig()), "weights"),
        (lambda: share_sides(np.array([[np.nan]]), np.ones((1, 1)), max_name_frac=1.0), "weights"),
        (lambda: share_sides(np.ones((1, 1)), -np.ones((1, 1)), max_name_frac=1.0), "raw"),
        (lambda: share_sides(np.ones((1, 2)), np.ones((1, 1)), max_name_frac=1.0), "raw"),
        (lambda: share_out(np.array([-1.0]), 1.0, max_name_frac=1.0), "raw"),
        (lambda: share_out(np.array([1.0]), -1.0, max_name_frac=1.0), "raw"),
        (lambda: share_out(np.array([1.0]), np.nan, max_name_frac=1.0), "raw"),
    ],
)
def test_what_is_no_book_is_refused(call, parameter) -> None:
    with pytest.raises(DataError) as caught:
        call()
    assert caught.value.parameter == parameter


def test_nan_is_found_by_row_and_column() -> None:
    with pytest.raises(DataError, match="NaN in row 1, column 2"):
        cap_weights(np.array([[0.0, 0.0, 0.0], [0.0, 0.1, np.nan]]), CapConfig())
