"""Schedules: a plain loop, conservation, caps that hold, and the best of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.execution.slices import (
    schedule_impact_bps,
    slice_order,
    twap_weights,
    volume_profile,
    vwap_weights,
)

pytestmark = pytest.mark.feature("D-22")


def test_a_profile_is_the_mean_of_daily_shares():
    rng = np.random.default_rng(0)
    volumes = rng.lognormal(5, 1, (12, 6))
    volumes[3] = 0.0
    volumes[4] = np.nan
    volumes[5, 2] = np.nan
    by_hand = []
    for day in volumes:
        total = sum(v for v in day if v > 0)
        if total:
            by_hand.append([v / total if v > 0 else 0.0 for v in day])
    want = [sum(column) / len(by_hand) for column in zip(*by_hand, strict=True)]
    got = volume_profile(volumes)
    assert got == pytest.approx(want, rel=1e-12)
    assert got.sum() == pytest.approx(1.0)
    with pytest.raises(InsufficientHistoryError, match="sessions with volume"):
        volume_profile(volumes, min_sessions=11)
    with pytest.raises(DataError, match="signed"):
        volume_profile([[-1.0, 2.0]])


def test_lots_are_whole_on_the_running_total_and_the_last_takes_the_rest():
    made = slice_order(1_003.0, twap_weights(4), lot_shares=100.0)
    assert made.shares.tolist() == [200.0, 300.0, 200.0, 303.0]
    assert made.unfilled_shares == 0.0
    assert np.isnan(made.participation_frac).all()


def test_what_a_cap_holds_back_moves_on_and_never_back():
    volume = [1_000.0, 100.0, 1_000.0, 100.0]
    made = slice_order(-100.0, twap_weights(4), expected_volume=volume, participation_cap_frac=0.1)
    assert made.shares.tolist() == [-25.0, -10.0, -40.0, -10.0]
    assert made.unfilled_shares == -15.0
    assert made.participation_frac == pytest.approx([0.025, 0.1, 0.04, 0.1])


def test_an_unknown_volume_takes_nothing_under_a_cap():
    made = slice_order(
        10.0, twap_weights(2), expected_volume=[np.nan, 500.0], participation_cap_frac=0.1
    )
    assert made.shares.tolist() == [0.0, 10.0]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.floats(-1e5, 1e5),
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8).filter(lambda w: sum(w) > 1e-3),
    st.sampled_from([None, 0.02, 1.0]),
    st.sampled_from([0.0, 1.0, 100.0]),
    st.integers(0, 10**6),
)
def test_nothing_is_lost_and_no_cap_is_exceeded(shares, raw, cap, lot, seed):
    weights = vwap_weights(np.array(raw))
    volume = np.random.default_rng(seed).uniform(0, 1e6, len(raw))
    made = slice_order(
        shares, weights, expected_volume=volume, participation_cap_frac=cap, lot_shares=lot
    )
    total = made.shares.sum() + made.unfilled_shares
    assert total == pytest.approx(shares, rel=1e-12, abs=1e-9)
    assert (made.shares * shares >= 0.0).all()
    if cap is not None:
        assert (np.abs(made.shares) <= cap * volume * (1 + 1e-12)).all()
    else:
        assert made.unfilled_shares == 0.0
    if lot:
        whole = np.abs(made.shares[:-1]) / lot
        assert whole == pytest.approx(np.round(whole), abs=1e-9)
    # Never ahead of the wanted running total.
    wanted = abs(shares) * np.cumsum(weights)
    assert (np.cumsum(np.abs(made.shares))[:-1] <= wanted[:-1] * (1 + 1e-9) + 1e-9).all()


def test_trading_along_the_volume_costs_least():
    rng = np.random.default_rng(1)
    volume = rng.lognormal(8, 0.7, 10)
    best = slice_order(5_000.0, vwap_weights(volume / volume.sum()))
    cost = schedule_impact_bps(best, volume, impact_coef_bps=25.0)
    share = 5_000.0 / volume.sum()
    assert cost == pytest.approx(25.0 * math.sqrt(share))
    assert best.participation_frac == pytest.approx(np.full(10, math.nan), nan_ok=True)
    for _ in range(30):
        other = slice_order(5_000.0, rng.dirichlet(np.ones(10)))
        assert schedule_impact_bps(other, volume, impact_coef_bps=25.0) >= cost


def test_impact_without_fills_or_volume_is_not_available():
    nothing = slice_order(0.0, twap_weights(2))
    assert math.isnan(schedule_impact_bps(nothing, [1.0, 1.0], impact_coef_bps=25.0))
    some = slice_order(5.0, twap_weights(2))
    assert math.isnan(schedule_impact_bps(some, [1.0, 0.0], impact_coef_bps=25.0))


@pytest.mark.parametrize(
    ("error", "match", "call"),
    [
        (ConfigError, "n_buckets", lambda: twap_weights(0)),
        (DataError, "profile", lambda: vwap_weights(np.array([0.5, -0.5]))),
        (DataError, "profile", lambda: vwap_weights(np.array([1.0, 0.0]), first_bucket=1)),
        (DataError, "sum of 1", lambda: slice_order(1.0, np.array([0.5, 0.4]))),
        (DataError, "finite order", lambda: slice_order(math.nan, np.array([1.0]))),
        (ConfigError, "cap", lambda: slice_order(1.0, np.array([1.0]), participation_cap_frac=0.1)),
        (ConfigError, "lots", lambda: slice_order(1.0, np.array([1.0]), lot_shares=-1.0)),
        (
            DataError,
            "buckets",
            lambda: slice_order(1.0, np.array([1.0]), expected_volume=np.ones(2)),
        ),
    ],
)
def test_bad_arguments_are_refused(error, match, call):
    with pytest.raises(error, match=match):
        call()
