"""Round-trip costs against the fill formulas, row by row, and what they may not see."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.core.errors import ConfigError
from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.execution import CostProfile, round_trip_costs, trailing_adv
from quant_engine.execution.cost_model import CostModel, CostSegment, SegmentTable

BASE = CostProfile(name="base")


@pytest.fixture
def panel():
    rng = np.random.default_rng(3)
    days = np.arange(np.datetime64("2020-01-01"), np.datetime64("2020-04-01"))
    days = days[np.is_busday(days)]
    shape = (len(days), 4)
    close, volume = rng.uniform(5, 90, shape), rng.uniform(1e4, 1e6, shape)
    close[rng.random(shape) < 0.1] = np.nan
    volume[np.isnan(close)] = np.nan
    spread = rng.uniform(0.0, 0.002, shape)
    spread[rng.random(shape) < 0.3] = np.nan
    fields = {"close": close, "volume": volume, "half_spread_frac": spread}
    return Panel(TimeAxis.sessions(days), tuple("ABCD"), fields)


@pytest.mark.feature("Q-35")
@pytest.mark.parametrize("profile", [BASE, BASE.stressed(2.0), BASE.stressed(0.0)])
def test_costs_are_twice_those_of_one_fill(panel, profile):
    got = round_trip_costs(panel, profile, order_value=20_000.0)
    close, volume, spread = (panel.field(n) for n in ("close", "volume", "half_spread_frac"))
    stress = profile.stress_multiplier
    for t in range(panel.shape[0]):
        for j in range(4):
            bars = np.flatnonzero(np.isfinite(close[: t + 1, j]))
            age = t + 1 - bars[0] if bars.size else 0
            window = (close * volume)[max(0, t - 19) : t + 1, j]
            adv = np.nansum(window) / min(20, age) if age >= 5 else np.nan
            half = 1.5e-4 if np.isnan(spread[t, j]) else spread[t, j]
            impact = 25e-4 * stress * np.sqrt(20_000.0 / adv) if stress else 0.0
            wanted = 2 * (stress * (1e-4 + half) + impact)
            np.testing.assert_allclose(got[t, j], wanted, rtol=1e-10)


@pytest.mark.feature("Q-35")
def test_a_model_that_varies_nothing_costs_what_its_profile_does(panel):
    for profile in (BASE, BASE.stressed(2.0), BASE.stressed(0.0)):
        model = CostModel(name="plain", profile=profile)
        np.testing.assert_allclose(
            round_trip_costs(panel, model, order_value=20_000.0),
            round_trip_costs(panel, profile, order_value=20_000.0),
            rtol=1e-12,
        )


@pytest.mark.feature("Q-35", "B-18")
def test_a_model_charges_the_segment_that_the_decision_knows(panel):
    table = SegmentTable(
        by="adv",
        segments=(
            CostSegment(name="thin", below_usd=2e7, impact_coef_bps=80.0, half_spread_bps=9.0),
            CostSegment(name="deep", impact_coef_bps=0.0, half_spread_bps=2.0),
        ),
        unknown="deep",
    )
    profile = BASE.model_copy(update={"use_panel_spread": False})
    model = CostModel(name="two", profile=profile, segments=table)
    got = round_trip_costs(panel, model, order_value=20_000.0)
    adv = trailing_adv(panel.field("close"), panel.field("volume"))
    assert 0.1 < np.mean(adv[5:] < 2e7) < 0.9
    for t, j in np.ndindex(panel.shape):
        # Where nothing but the volume-free segment applies, an unknown volume costs nothing more.
        wanted = 2 * (1e-4 + 2e-4)
        if adv[t, j] < 2e7:
            wanted = 2 * (1e-4 + 9e-4 + 80e-4 * np.sqrt(20_000.0 / adv[t, j]))
        np.testing.assert_allclose(got[t, j], wanted, rtol=1e-10)


@pytest.mark.feature("Q-35")
def test_a_row_reads_nothing_that_comes_later(panel):
    def compute(part: Panel):
        return round_trip_costs(part, BASE, order_value=5_000.0)

    full = compute(panel)
    for cut in (1, 7, 30):
        np.testing.assert_array_equal(compute(panel.rows(0, cut)), full[:cut])


def test_an_order_of_no_size_is_refused(panel):
    with pytest.raises(ConfigError, match="order_value"):
        round_trip_costs(panel, BASE, order_value=0.0)
