"""What is planted is found: leaders, spillovers, areas, waves, neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.features.functions import FUNCTIONS
from quant_engine.features.research import catalogue

pytestmark = pytest.mark.feature("Q-19")


def outputs(name, *series, numbers):
    function = FUNCTIONS.get(name)
    assert function.compute.__module__.split(".")[-1] in catalogue.__all__
    return dict(zip(function.names, function.run(*series, numbers=numbers), strict=True))


@pytest.fixture
def rng():
    return np.random.default_rng(12)


def test_the_levy_area_of_a_circle_is_its_area():
    angle = np.linspace(0.0, 2.0 * np.pi, 2001)
    x, y = 3.0 * np.cos(angle), 3.0 * np.sin(angle)
    steps = np.diff(x)[:, None], np.diff(y)[:, None]
    area = outputs("LevyArea", *steps, numbers=(2000,))["LevyArea"][-1, 0]
    assert area == pytest.approx(9.0 * np.pi, rel=1e-5)
    back = outputs("LevyArea", *steps[::-1], numbers=(2000,))["LevyArea"][-1, 0]
    assert back == pytest.approx(-area, rel=1e-12)


def test_a_straight_path_has_no_levy_area_and_known_integrals():
    a, b = np.full((4, 1), 0.5), np.full((4, 1), -1.0)
    got = {name: page[-1, 0] for name, page in outputs("SigA", a, b, numbers=(4,)).items()}
    wanted = {
        "SigA": 2.0, "SigB": -4.0, "SigTA": 1.0, "SigAT": 1.0, "SigTB": -2.0, "SigBT": -2.0,
        "SigAA": 2.0, "SigBB": 8.0, "SigAB": -4.0, "SigBA": -4.0, "LevyArea": 0.0,
    }  # fmt: skip
    assert got == pytest.approx(wanted, abs=1e-15)


def test_the_levy_area_is_positive_where_the_first_series_moves_first():
    first, second = np.zeros((6, 1)), np.zeros((6, 1))
    first[1], second[4] = 1.0, 1.0
    assert outputs("LevyArea", first, second, numbers=(6,))["LevyArea"][-1, 0] == 0.5


@pytest.mark.parametrize("period", [2, 3, 4, 5, 8, 16, 32])
def test_a_wave_of_known_length_spreads_as_the_squared_gains_of_the_haar_filter(period):
    rows, window = np.arange(40 + 32 * period), 32 * period
    wave = np.cos(2.0 * np.pi * rows / period)[:, None]
    shares = outputs("WaveShare1", wave, numbers=(window,))
    gains, passed = [], 1.0
    for j in range(4):
        phase = np.pi * 2**j / period
        gains.append(passed * np.sin(phase) ** 2)
        passed *= np.cos(phase) ** 2
    np.testing.assert_allclose(
        [page[-1, 0] for page in shares.values()], [*gains, passed], atol=1e-12
    )


def test_a_constant_is_all_flow():
    assert outputs("FlowShare", np.ones((160, 1)), numbers=(64,))["FlowShare"][-1, 0] == 1.0


def test_white_noise_spreads_its_energy_as_the_haar_filter_says(rng):
    noise = rng.standard_normal((4100, 30))
    shares = outputs("WaveShare1", noise, numbers=(4000,))
    found = [page[-1].mean() for page in shares.values()]
    np.testing.assert_allclose(found, [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16], atol=4e-3)


def test_a_series_without_energy_has_no_shares():
    assert np.isnan(outputs("FlowShare", np.zeros((90, 1)), numbers=(32,))["FlowShare"]).all()


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_a_planted_leader_is_found_with_its_lag(rng, shift):
    leader = rng.standard_normal((400, 6))
    follower = np.roll(leader, shift, axis=0) + 0.1 * rng.standard_normal(leader.shape)
    got = outputs("WarpLag", leader, follower, numbers=(60, 5))
    assert np.nanmean(got["WarpLag"][100:]) == pytest.approx(shift, abs=0.5)
    assert np.nanmean(got["WarpLead"][100:]) > 0.8 > 0.1 > np.nanmean(got["WarpFollow"][100:])
    other = outputs("WarpLag", follower, leader, numbers=(60, 5))
    np.testing.assert_allclose(other["WarpLag"], -got["WarpLag"], atol=0.3)


def test_equal_series_neither_lead_nor_follow(rng):
    x = rng.standard_normal((80, 3))
    got = outputs("WarpLag", x, 2.0 * x + 1.0, numbers=(40, 5))
    for page in got.values():
        np.testing.assert_array_equal(page[39:], 0.0)


def test_unrelated_series_have_no_mean_lag(rng):
    a, b = rng.standard_normal((2, 600, 20))
    lag = outputs("WarpLag", a, b, numbers=(60, 5))["WarpLag"][60:]
    assert abs(lag.mean()) < 0.15


def test_the_leader_of_a_group_is_found_among_its_peers(rng):
    n_rows = 220
    moves = rng.standard_normal((n_rows, 12))
    news = rng.standard_normal(n_rows + 2)
    for j in range(6):
        delay = 0 if j == 0 else 2
        moves[:, j] = news[2 - delay : n_rows + 2 - delay] + 0.3 * rng.standard_normal(n_rows)
    weekly = np.full(moves.shape, np.nan)
    weekly[4:] = sum(moves[k : n_rows - 4 + k] for k in range(5))
    got = outputs("PeerLag", moves, weekly, numbers=(60, 5, 4))
    lag = np.nanmean(got["PeerLag"], axis=0)
    assert lag[0] > 1.0
    assert np.all(np.abs(lag[1:]) < 0.75)
    assert np.nanmean(got["PeerLead"], axis=0).argmax() == 0


def planted_volatility(rng, n_rows=700, n_assets=8):
    """Log volatilities: the rest moves by itself, each asset takes 0.5 of its last value."""
    rest, own = np.zeros((n_rows, n_assets)), np.zeros((n_rows, n_assets))
    for t in range(1, n_rows):
        rest[t] = 0.5 * rest[t - 1] + rng.standard_normal(n_assets)
        own[t] = 0.3 * own[t - 1] + 0.5 * rest[t - 1] + rng.standard_normal(n_assets)
    return own, rest


@pytest.mark.parametrize(
    ("prefix", "numbers", "least"),
    [("Spillover", (250, 5, 0.01), 0.1), ("Harx", (250, 0.01), 0.25)],
)
def test_a_planted_spillover_is_found_with_its_direction(rng, prefix, numbers, least):
    own, rest = planted_volatility(rng)
    got = outputs(f"{prefix}From", own, rest, numbers=numbers)
    received, given = got[f"{prefix}From"][400:], got[f"{prefix}To"][400:]
    assert received.mean() > least
    assert abs(given.mean()) < 0.05
    assert got[f"{prefix}Net"][400:].mean() < -least / 2
    turned = outputs(f"{prefix}From", rest, own, numbers=numbers)
    np.testing.assert_allclose(turned[f"{prefix}From"], got[f"{prefix}To"], rtol=1e-9)
    np.testing.assert_allclose(turned[f"{prefix}Net"], -got[f"{prefix}Net"], atol=1e-12)


def test_unrelated_volatilities_spill_little(rng):
    own, rest = rng.standard_normal((2, 600, 10))
    got = outputs("SpilloverFrom", own, rest, numbers=(250,))
    assert np.nanmean(got["SpilloverFrom"]) < 0.02
    assert abs(np.nanmean(got["SpilloverNet"])) < 0.01


def test_neighbours_are_those_of_the_own_group(rng):
    n_rows = 80
    groups = np.repeat([0, 1], 5)
    returns = rng.standard_normal((n_rows, 2))[:, groups] + 0.3 * rng.standard_normal((n_rows, 10))
    value = np.where(groups == 0, 1.0, -1.0) * np.ones((n_rows, 1))
    value[:, 0] = 50.0
    got = outputs("NetMomentum", value, returns, numbers=(60, 4))["NetMomentum"][-1]
    # The own value is not read, and the one odd member of the group is.
    assert got[0] == pytest.approx(1.0)
    assert np.all(got[1:5] > 10.0)
    np.testing.assert_allclose(got[5:], -1.0)


def test_a_neighbour_without_a_value_leaves_its_weight_to_the_others(rng):
    returns = rng.standard_normal((40, 1)) + 0.5 * rng.standard_normal((40, 5))
    value = np.full((40, 5), 2.0)
    value[:, 3] = np.nan
    got = outputs("NetMomentum", value, returns, numbers=(30, 4))["NetMomentum"][-1]
    np.testing.assert_allclose(got, 2.0)


def test_the_centre_of_a_star_is_most_central(rng):
    centre = rng.standard_normal((300, 1))
    rays = centre + 2.0 * rng.standard_normal((300, 7))
    returns = np.hstack([centre, rays])
    got = outputs("NetCentrality", returns, returns, numbers=(250, 3))["NetCentrality"][-1]
    assert got.argmax() == 0
    assert got.mean() == pytest.approx(1.0)


def test_the_mean_of_peer_correlations_is_that_of_all_pairs(rng):
    returns = rng.standard_normal((120, 1)) + rng.standard_normal((120, 9))
    got = outputs("PeerCorrelation", returns, numbers=(63,))["PeerCorrelation"]
    pairs = np.corrcoef(returns[-63:], rowvar=False)[np.triu_indices(9, 1)]
    assert got[-1].mean() == pytest.approx(pairs.mean(), abs=1e-12)


def test_components_point_to_higher_steeper_and_humped_curves(rng):
    shapes = np.array(
        [[1.0, 1.0, 1.0, 1.0, 1.0], [-2.0, -1.0, 0.0, 1.0, 2.0], [-2.0, 1.0, 2.0, 1.0, -2.0]]
    )
    scale = np.array([1.0, 0.3, 0.1])
    weights = scale * rng.standard_normal((400, 3))
    curves = [x[:, None] for x in (weights @ shapes).T]
    got = outputs("VolCurvePc1", *curves, numbers=(120,))
    for k in (1, 2, 3):
        score, planted = got[f"VolCurvePc{k}"][119:, 0], weights[119:, k - 1]
        assert np.corrcoef(score, planted)[0, 1] > 0.95
    share = np.array([5.0, 10.0, 14.0]) * scale**2
    assert np.nanmean(got["VolCurveShare"]) == pytest.approx(share[0] / share.sum(), abs=0.03)
