"""Participation cap and trailing traded value against plain loops."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.execution import fill_fraction, trailing_adv

pytestmark = pytest.mark.feature("Q-35")


@pytest.mark.reference
def test_cap_reproduces_the_reference_schedule(shared_reference):
    content = json.loads((shared_reference / "dev" / "risk_tail_execution.json").read_text())
    case = next(c for c in content["cases"] if c["name"] == "participation_cap")
    left, fills = float(case["inputs"]["shares"]), []
    for volume in case["inputs"]["volume"]:
        fill = left * fill_fraction(left, volume, case["inputs"]["cap"])
        fills.append(fill)
        left -= fill
    assert fills == pytest.approx(case["expected"]["fills"])
    assert left == pytest.approx(case["expected"]["unfilled"], abs=1e-9)


@pytest.mark.parametrize(
    ("ordered", "adv", "cap", "expected"),
    [
        (100.0, 1_000.0, 0.02, 0.2),
        (-100.0, 1_000.0, 0.02, 0.2),
        (10.0, 1_000.0, 0.02, 1.0),
        (10.0, float("nan"), 0.02, 0.0),
        (10.0, 0.0, 0.02, 0.0),
        (10.0, float("nan"), float("inf"), 1.0),
    ],
)
def test_fill_fraction_cases(ordered, adv, cap, expected):
    assert fill_fraction(ordered, adv, cap) == pytest.approx(expected)


@pytest.mark.parametrize(("window", "minimum"), [(20, 5), (3, 1), (1, 1), (4, 6)])
def test_trailing_adv_equals_a_plain_loop(window, minimum):
    rng = np.random.default_rng(7)
    close = rng.uniform(5, 50, (40, 6))
    volume = rng.uniform(0, 1e5, (40, 6))
    gaps = rng.random((40, 6)) < 0.2
    close[gaps] = np.nan
    volume[rng.random((40, 6)) < 0.1] = np.nan
    close[:12, 0] = np.nan
    got = trailing_adv(close, volume, adv_sessions=window, min_sessions=minimum)
    for i in range(6):
        values, first = [], None
        for t in range(40):
            value = close[t, i] * volume[t, i]
            if first is None and not np.isnan(value):
                first = t
            values.append(0.0 if np.isnan(value) else value)
            age = 0 if first is None else t - first + 1
            if age < minimum:
                assert np.isnan(got[t, i])
            else:
                n = min(window, age)
                assert got[t, i] == pytest.approx(sum(values[t - n + 1 :]) / n, rel=1e-12)


@pytest.mark.leakage
def test_trailing_adv_does_not_see_the_future():
    rng = np.random.default_rng(8)
    close, volume = rng.uniform(5, 50, (60, 4)), rng.uniform(1, 1e5, (60, 4))
    before = trailing_adv(close, volume)
    for cut in (1, 21, 40):
        close2, volume2 = close.copy(), volume.copy()
        close2[cut:], volume2[cut:] = 1e12, np.nan
        assert np.array_equal(before[:cut], trailing_adv(close2, volume2)[:cut], equal_nan=True)


def test_trailing_adv_is_the_same_in_every_split_basis():
    rng = np.random.default_rng(9)
    close, volume = rng.uniform(5, 50, (30, 2)), rng.uniform(1, 1e5, (30, 2))
    assert trailing_adv(close * 4, volume / 4) == pytest.approx(
        trailing_adv(close, volume), nan_ok=True
    )


def test_trailing_adv_refuses_bad_arguments():
    with pytest.raises(DataError, match="volume"):
        trailing_adv(np.ones((2, 2)), np.ones((2, 3)))
    with pytest.raises(ConfigError, match="adv_sessions"):
        trailing_adv(np.ones((2, 2)), np.ones((2, 2)), adv_sessions=0)


def test_a_compiled_loop_decides_as_the_plain_rule():
    from numba import njit

    from quant_engine.execution.fills import FILL_STATUSES, FillLimits, decide_fill

    @njit
    def compiled(ordered, price, adv, held, can_trade, limits):
        return decide_fill(ordered, price, adv, held, can_trade, limits)

    def by_hand(ordered, price, adv, held, can_trade, limits):
        if not can_trade:
            return "no_bar", 0.0
        if limits.needs_adv and not adv > 0:
            return "adv_unknown", 0.0
        room = limits.participation_cap_frac * adv
        wanted = abs(ordered) * price
        part = 1.0 if wanted == 0 or math.isinf(limits.participation_cap_frac) else room / wanted
        part = min(1.0, part) if adv > 0 or math.isinf(limits.participation_cap_frac) else 0.0
        if (held == 0 or (held > 0) == (ordered > 0)) and part < limits.min_fill_frac:
            return "below_min_fill", 0.0
        return ("filled" if part >= 1 else "partial"), part

    rng = np.random.default_rng(3)
    seen = set()
    for _ in range(400):
        args = (
            float(rng.choice([-500.0, -20.0, 30.0, 900.0])),
            10.0,
            float(rng.choice([np.nan, 0.0, 1e4, 1e6])),
            float(rng.choice([-100.0, 0.0, 100.0])),
            bool(rng.random() < 0.9),
            FillLimits(float(rng.choice([0.02, np.inf])), 0.2, bool(rng.random() < 0.7)),
        )
        code, part = decide_fill(*args)
        assert compiled(*args) == (code, part)
        name, expected = by_hand(*args)
        assert FILL_STATUSES[code] == name
        assert part == pytest.approx(expected, rel=1e-12)
        seen.add(name)
    assert seen == set(FILL_STATUSES)
