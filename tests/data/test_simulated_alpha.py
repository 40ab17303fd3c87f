"""Planted alpha: its formula, its strength, and the truth that is stored beside it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from quant_engine.core.errors import ConfigError
from quant_engine.data.simulated import (
    AlphaShape,
    AlphaSpec,
    EquityWorld,
    EquityWorldConfig,
    ListingSpec,
    expected_hedged_return,
    simulate_equity_world,
)
from quant_engine.data.simulated.alpha import (
    AlphaTerm,
    _autocorrelation,
    alpha_terms,
    calibrate_scale,
)
from quant_engine.data.simulated.streams import Streams

SHAPES = [shape for shape in AlphaShape if shape is not AlphaShape.NONE]
KINDS = ("linear", "square", "fold", "wave", "tails", "product", "switch")


def simulate(shape: AlphaShape, **changes) -> EquityWorld:
    settings = {"seed": 21, "n_assets": 70, "n_sessions": 500, **changes}
    return simulate_equity_world(EquityWorldConfig(alpha=AlphaSpec(shape=shape), **settings))


@pytest.fixture(scope="module")
def worlds() -> dict[AlphaShape, EquityWorld]:
    listing = ListingSpec(delisted_7y_frac=0.5)
    return {shape: simulate(shape, listing=listing) for shape in AlphaShape}


def term_by_hand(kind: str, u: float, v: float) -> float:
    formulas = {
        "linear": u * 3**0.5,
        "square": (u * u - 1 / 3) * (45 / 4) ** 0.5,
        "fold": (abs(u) - 0.5) * 12**0.5,
        "wave": 2**0.5 * np.cos(np.pi * u),
        "tails": ((1 if abs(u) > 2 / 3 else 0) - 1 / 3) * (9 / 2) ** 0.5,
        "product": 3 * u * v,
        "switch": 3**0.5 * u * (1 if v > 0 else -1 if v < 0 else 0),
    }
    return float(formulas[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_terms_are_standardised_and_only_linear_is_linear(kind: str):
    grid = (np.arange(900) + 0.5) / 450 - 1
    u, v = np.meshgrid(grid, grid)
    values = AlphaTerm(kind, 0, 1, 1.0).evaluate(u, v)
    assert values.mean() == pytest.approx(0, abs=2e-3)
    assert values.var() == pytest.approx(1, abs=3e-3)
    slope = np.mean(values * u) / np.mean(u * u)
    assert slope == pytest.approx(3**0.5 if kind == "linear" else 0.0, abs=1e-9)
    assert values[3, 700] == pytest.approx(term_by_hand(kind, u[3, 700], v[3, 700]))


@pytest.mark.parametrize("shape", SHAPES)
def test_alpha_is_its_published_formula(worlds: dict[AlphaShape, EquityWorld], shape: AlphaShape):
    world = worlds[shape]
    terms = world.truth.alpha_terms
    assert (terms["weight"] ** 2).sum() == pytest.approx(1.0)
    used = set(terms["first"]) | set(terms["second"])
    roles = world.truth.characteristics.set_index("name")["role"]
    assert all(roles[name].startswith("alpha_") for name in used)
    assert len(used) == 8
    for row in (0, 100, 433):
        alive = np.flatnonzero(~np.isnan(world.truth.alpha[row]))
        values = {name: world.panel.field(name)[row].astype(float) for name in used}
        raw = np.array(
            [
                sum(
                    weight * term_by_hand(kind, values[first][i], values[second][i])
                    for kind, first, second, weight in terms.itertuples(index=False)
                )
                for i in alive
            ]
        )
        strength = world.truth.alpha_scale
        if shape is AlphaShape.DECAYING:
            strength *= 0.5 ** ((row + 1) / 504)
        if shape is AlphaShape.REGIME:
            strength *= (1, -1, -1)[world.truth.regime[row]]
        np.testing.assert_allclose(
            world.truth.alpha[row, alive], strength * (raw - raw.mean()), rtol=1e-5, atol=1e-10
        )


def test_half_of_mixed_alpha_is_linear():
    terms = alpha_terms(AlphaShape.MIXED, Streams(3))
    linear = sum(term.weight**2 for term in terms if term.kind == "linear")
    assert linear == pytest.approx(0.5)
    assert {term.kind for term in terms} == {"linear", "square", "fold", "product", "switch"}
    assert all(t.kind != "linear" for t in alpha_terms(AlphaShape.INTERACTION, Streams(3)))
    assert alpha_terms(AlphaShape.NONE, Streams(3)) == ()


@pytest.mark.parametrize("shape", SHAPES)
def test_expected_return_is_the_alpha(worlds: dict[AlphaShape, EquityWorld], shape: AlphaShape):
    """Also for names that may delist: their compensation includes the alpha they would miss."""
    world = worlds[shape]
    alive = ~np.isnan(world.truth.alpha)
    np.testing.assert_allclose(
        expected_hedged_return(world)[alive], world.truth.alpha[alive], rtol=0, atol=1e-17
    )
    assert np.nanmax(np.abs(world.truth.alpha)) > 1e-5


def test_alpha_reaches_the_prices(worlds: dict[AlphaShape, EquityWorld]):
    """The same world with and without alpha differs by the alpha, half-session by half-session."""
    with_alpha, without = worlds[AlphaShape.MIXED], worlds[AlphaShape.NONE]
    pd.testing.assert_frame_equal(with_alpha.delistings, without.delistings)

    def intraday(world: EquityWorld) -> np.ndarray:
        return world.panel.field("close") / world.panel.field("open") - 1.0

    extra = (intraday(with_alpha) - intraday(without))[1:]
    known = ~np.isnan(extra) & ~np.isnan(with_alpha.truth.alpha[:-1])
    np.testing.assert_allclose(
        extra[known], 0.7 * with_alpha.truth.alpha[:-1][known], rtol=1e-6, atol=1e-13
    )


def test_forward_return_is_what_a_holder_earns(worlds: dict[AlphaShape, EquityWorld]):
    world = worlds[AlphaShape.MIXED]
    o, c = world.panel.field("open"), world.panel.field("close")
    cash = np.nan_to_num(world.panel.field("dividend"))
    ends = {
        world.panel.asset_ids.index(name): (world.panel.time.position(last), terminal)
        for name, last, terminal, _ in world.delistings.itertuples(index=False)
    }
    assert ends
    rng = np.random.default_rng(1)
    pairs = [(int(t), int(i)) for t, i in rng.integers(0, [500, 70], size=(400, 2))]
    for column, (last, _) in ends.items():
        pairs += [(last - k, column) for k in (0, 1, 2, 9, 10, 11) if last >= k]
    for t, i in pairs:
        got = world.truth.forward_return[t, i]
        if t + 11 >= 500 or np.isnan(o[t + 1, i]):
            assert np.isnan(got)
            continue
        last, terminal = ends.get(i, (10_000, 0.0))
        cut = min(last, t + 11)
        wealth = sum(cash[s, i] for s in range(t + 2, cut + 1))
        wealth += c[last, i] * (1 + terminal) if last < t + 11 else o[t + 11, i]
        if np.isnan(wealth):
            assert np.isnan(got)
        else:
            assert got == pytest.approx(wealth / o[t + 1, i] - 1, abs=1e-12)


def test_oracle_ic_is_a_rank_correlation_across_members(worlds: dict[AlphaShape, EquityWorld]):
    world = worlds[AlphaShape.MIXED]
    for row in (5, 250, 480):
        known = world.panel.mask("member")[row] & ~np.isnan(world.truth.forward_return[row])
        expected = stats.spearmanr(
            world.truth.oracle_score[row, known], world.truth.forward_return[row, known]
        ).statistic
        assert world.truth.oracle_ic[row] == pytest.approx(expected, abs=1e-12)
    assert np.isnan(world.truth.oracle_ic[-11:]).all()
    assert not np.isnan(world.truth.oracle_ic[:-11]).any()


def test_oracle_score_forecasts_the_alpha_of_the_label(worlds: dict[AlphaShape, EquityWorld]):
    """The score's units are right: regressing the realised alpha sum on it has slope one."""
    for shape in (AlphaShape.LINEAR, AlphaShape.INTERACTION, AlphaShape.NONLINEAR):
        truth = worlds[shape].truth
        alpha = truth.alpha
        total = 0.7 * alpha[:-10] + 0.3 * alpha[10:]
        total = total + sum(alpha[k : alpha.shape[0] - 10 + k] for k in range(1, 10))
        known = ~np.isnan(total)
        score = truth.oracle_score[:-10][known]
        slope = (score * total[known]).sum() / (score**2).sum()
        assert slope == pytest.approx(1.0, abs=0.05), shape


@pytest.mark.parametrize("kind", KINDS)
def test_autocorrelation_of_a_term_by_simulation(kind: str):
    latent = np.array([0.95, 0.7])
    rng = np.random.default_rng(8)
    draws = rng.standard_normal((4, 400_000))
    for r, expected in zip(latent, _autocorrelation(latent)[kind], strict=True):
        later = r * draws[:2] + np.sqrt(1 - r * r) * draws[2:]
        now, then = (2 * stats.norm.cdf(x) - 1 for x in (draws[:2], later))
        values = [AlphaTerm(kind, 0, 1, 1.0).evaluate(u, v) for u, v in (now, then)]
        assert np.corrcoef(*values)[0, 1] == pytest.approx(expected, abs=0.006)


# ------------------------------------------------------------------ strength


def test_calibration_agrees_with_the_closed_form_for_normal_data():
    """For a bivariate normal with correlation r the rank correlation is 6/pi asin(r/2)."""
    rng = np.random.default_rng(2)
    score = rng.standard_normal((150, 1500))
    noise = 0.07 * rng.standard_normal((150, 1500))
    for target in (0.03, 0.2):
        scale = calibrate_scale(target, score=score, alpha_sum=10.0 * score, noise_sum=noise)
        r = 2 * np.sin(np.pi * target / 6)
        assert scale == pytest.approx(0.007 * r / np.sqrt(1 - r * r), rel=0.01)


def test_calibration_does_not_depend_on_how_the_noise_happened_to_fall():
    rng = np.random.default_rng(3)
    score = rng.standard_normal((100, 300))
    noise = rng.standard_normal((100, 300))
    lucky = noise + 0.05 * score  # realised rank IC about .05 without any alpha
    arguments = {"score": score, "alpha_sum": score}
    fair = calibrate_scale(0.03, noise_sum=noise, **arguments)
    assert calibrate_scale(0.03, noise_sum=lucky, **arguments) == pytest.approx(fair, rel=0.01)


def test_an_unreachable_strength_is_refused():
    score = np.tile(np.arange(20.0), (50, 1))
    noise = np.random.default_rng(4).standard_normal((50, 20))
    with pytest.raises(ConfigError, match="oracle_rank_ic"):
        calibrate_scale(0.2, score=score, alpha_sum=-score, noise_sum=noise)


def test_strength_scales_with_the_wanted_ic():
    scales = [
        simulate_equity_world(
            EquityWorldConfig(
                seed=3,
                n_assets=60,
                n_sessions=300,
                alpha=AlphaSpec(shape=AlphaShape.MIXED, oracle_rank_ic=ic),
            )
        ).truth.alpha_scale
        for ic in (0.01, 0.02, 0.05)
    ]
    assert scales[1] / scales[0] == pytest.approx(2.0, rel=0.03)
    assert scales[2] / scales[0] == pytest.approx(5.0, rel=0.06)


def test_realised_oracle_ic_is_near_the_target_in_a_few_worlds():
    realised = [
        simulate(AlphaShape.MIXED, seed=seed, n_assets=60, n_sessions=400).truth.mean_oracle_ic
        for seed in range(16)
    ]
    error = np.std(realised, ddof=1) / 4
    assert abs(np.mean(realised) - 0.03) < 3 * error
    assert error < 0.008


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_realised_oracle_ic_is_the_target_over_twenty_worlds(shape: AlphaShape):
    realised = [
        simulate(shape, seed=seed, n_assets=300, n_sessions=1000).truth.mean_oracle_ic
        for seed in range(20)
    ]
    error = np.std(realised, ddof=1) / np.sqrt(20)
    assert abs(np.mean(realised) - 0.03) < 3 * error
    assert np.mean(realised) == pytest.approx(0.03, abs=0.004)
