"""The log-density spline: brute-force quadrature, plain twins, and invariants on bad ladders."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.kalshi.distribution import (
    DistributionConfig,
    fit_distribution,
    prepare_ladder,
)
from quant_engine.kalshi.lattice import Lattice, SettlementGrid, ladder_structure
from quant_engine.kalshi.payoffs import Contract
from quant_engine.kalshi.quality import QualityConfig
from quant_engine.kalshi.quotes import LegQuote, ladder_quotes
from quant_engine.kalshi.spline import (
    fit_mode_weights,
    fit_models,
    pilot_location_scale,
    softmax_into,
    third_difference_modes,
)

pytestmark = pytest.mark.feature("Q-45")

GRID = SettlementGrid(1.0)


def ladder_of(strikes):
    legs = [Contract(f"T{k}", "greater", float(k)) for k in strikes]
    return ladder_structure(legs, GRID, is_exclusive=False)


MODEL = prepare_ladder(ladder_of(range(1, 9)))


def quotes_of(probabilities, *, half=100, model=MODEL, **more):
    records = [
        LegQuote(
            t, max(int(1e4 * p) - half, -1), min(int(1e4 * p) + half, 10_000), 500, 500, **more
        )
        for t, p in zip(model.structure.tickers, probabilities, strict=True)
    ]
    return ladder_quotes(model.structure, records)


def small_problem():
    payoff = np.array([[0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    middle, weight = np.array([0.86, 0.55, 0.17]), np.full(3, 1.0 / 0.015**2)
    return payoff, middle, weight, np.arange(4.0)


def test_posterior_and_evidence_against_brute_force_quadrature():
    payoff, middle, weight, x = small_problem()
    eigenvalues, modes = third_difference_modes(4)
    precisions = np.array([5.0, 0.05])[:, None] * eigenvalues + 0.05
    reference = -0.5 * (x - 1.5) ** 2
    weights, pmf, values, variances = fit_models(
        payoff, middle, weight, x, modes, precisions, reference[None, :]
    )
    axes = np.linspace(-3.5, 3.5, 61)
    shifts = np.array(np.meshgrid(axes, axes, axes, indexing="ij")).reshape(3, -1).T
    basis = np.linalg.qr(np.column_stack([np.ones(4), np.eye(4)[:, :3]]))[0][:, 1:]
    theta = shifts @ basis.T
    p = softmax(reference + theta, axis=1)
    misfit = ((p @ payoff.T - middle) ** 2 @ weight) / 2.0
    cdf = np.cumsum(p, axis=1)
    evidence = []
    for s in range(2):
        precision = modes @ np.diag(precisions[s]) @ modes.T
        inside = basis.T @ precision @ basis
        prior = np.einsum("ij,jk,ik->i", shifts, inside, shifts) / 2.0
        density = np.exp(-(misfit + prior)) * np.sqrt(np.linalg.det(inside))
        evidence.append(density.sum())
        mean = density @ cdf / density.sum()
        sd = np.sqrt(density @ (cdf - mean) ** 2 / density.sum())
        np.testing.assert_allclose(values[s, :3], mean[:3], atol=0.1 * sd[:3].max())
        np.testing.assert_allclose(np.sqrt(variances[s, :3]), sd[:3], rtol=0.05)
        outcome = p @ x
        centre = density @ outcome / density.sum()
        spread = np.sqrt(density @ (outcome - centre) ** 2 / density.sum())
        assert np.sqrt(variances[s, 4]) == pytest.approx(spread, rel=0.05)
    assert weights[0] == pytest.approx(evidence[0] / sum(evidence), abs=0.02)
    np.testing.assert_allclose(pmf.sum(axis=1), 1.0)


def test_the_fit_is_the_minimum_that_a_general_optimiser_finds():
    rng = np.random.default_rng(2)
    n, m = 12, 5
    _, modes = third_difference_modes(n)
    for _ in range(5):
        payoff = (np.arange(n) > rng.integers(0, n - 1, m)[:, None]).astype(float)
        middle, root = rng.uniform(0.1, 0.9, m), rng.uniform(5.0, 40.0, m)
        precision, reference = rng.uniform(0.01, 3.0, n), rng.normal(size=n)

        def objective(c, payoff=payoff, middle=middle, root=root, g=precision, ref=reference):
            p = softmax(ref + modes @ c)
            return ((root * (middle - payoff @ p)) ** 2).sum() + (g * c * c).sum()

        c = np.zeros(n)
        value, log_det, b, factor, p = fit_mode_weights(
            payoff, middle, root, modes, precision, reference, c
        )
        best = minimize(objective, np.zeros(n), method="BFGS", options={"gtol": 1e-6})
        assert value == pytest.approx(objective(c), rel=1e-12)
        assert value <= best.fun * (1.0 + 1e-5) + 1e-9
        np.testing.assert_allclose(p, softmax(reference + modes @ c), atol=1e-12)
        slope = root[:, None] * (payoff @ (np.diag(p) - np.outer(p, p))) @ modes
        np.testing.assert_allclose(b, slope, atol=1e-12)
        inner = np.eye(m) + slope @ np.diag(1.0 / precision) @ slope.T
        np.testing.assert_allclose(factor @ factor.T, inner, atol=1e-9)
        assert log_det == pytest.approx(np.linalg.slogdet(inner)[1])


def test_kernels_have_plain_twins():
    payoff, middle, weight, x = small_problem()
    p = np.empty(4)
    softmax_into(np.array([900.0, 901.0, 0.0, -900.0]), p)
    np.testing.assert_allclose(p, softmax([900.0, 901.0, 0.0, -900.0]), atol=1e-15)
    found = pilot_location_scale(payoff, middle, weight, x)

    def misfit(location, scale):
        fitted = payoff @ softmax(-0.5 * ((x - location) / scale) ** 2)
        return weight @ (middle - fitted) ** 2

    coarse = [misfit(a, b) for a in np.linspace(0, 3, 11) for b in np.linspace(0.5, 1.5, 7)]
    assert misfit(*found) <= min(coarse) * 1.05
    values, modes = third_difference_modes(9)
    d = np.diff(np.eye(9), n=3, axis=0)
    np.testing.assert_allclose(modes @ np.diag(values) @ modes.T, d.T @ d, atol=1e-12)
    eigenvalues, modes = third_difference_modes(4)
    precisions = eigenvalues[None, :] + 0.5
    _, pmf, values, variances = fit_models(
        payoff, middle, weight, x, modes, precisions, np.zeros((1, 4))
    )
    p = pmf[0]
    slope = (np.diag(p) - np.outer(p, p)) @ modes
    j = np.sqrt(weight)[:, None] * (payoff @ slope)
    covariance = np.linalg.inv(np.diag(precisions[0]) + j.T @ j)
    mean, sd = values[0, 4:]
    rows = np.vstack([np.cumsum(slope, axis=0), x @ slope, ((x - mean) ** 2 @ slope) / (2.0 * sd)])
    np.testing.assert_allclose(variances[0], np.diag(rows @ covariance @ rows.T), atol=1e-12)
    assert mean == pytest.approx(p @ x)
    assert sd == pytest.approx(np.sqrt(p @ (x - mean) ** 2))


def test_clean_quotes_of_a_normal_curve_are_recovered():
    truth = softmax(-0.5 * ((MODEL.points - 4.6) / 1.4) ** 2)
    fitted = fit_distribution(MODEL, quotes_of(MODEL.payoff @ truth))
    assert 0.5 * np.abs(fitted.pmf - truth).sum() < 0.01
    assert fitted.mean == pytest.approx(4.6, abs=3.0 * fitted.mean_sd)
    assert fitted.sd == pytest.approx(1.4, abs=3.0 * fitted.sd_sd)
    assert fitted.outside_band < 0.005
    assert fitted.quantiles([0.5])[0] == pytest.approx(4.6, abs=0.05)
    low, high = fitted.cdf_interval(0.9)
    assert ((0.0 <= low) & (low <= fitted.cdf) & (fitted.cdf <= high) & (high <= 1.0)).all()
    narrow = (fitted.cdf > 0.1) & (fitted.cdf < 0.9)
    reach = 1.645 * fitted.cdf_sd
    np.testing.assert_allclose((high - fitted.cdf)[narrow], reach[narrow], rtol=0.05)
    assert fitted.survival(4.0) == pytest.approx(fitted.pmf[MODEL.points > 4.0].sum())


def test_any_quotes_give_an_arbitrage_free_distribution():
    rng = np.random.default_rng(8)
    for _ in range(150):
        half = int(rng.integers(0, 1_200))
        fitted = fit_distribution(MODEL, quotes_of(rng.uniform(0.0, 1.0, 8), half=half))
        assert fitted.pmf.min() >= 0.0
        assert fitted.pmf.sum() == pytest.approx(1.0, abs=1e-12)
        survival = fitted.leg_probability
        assert (np.diff(survival) <= 1e-12).all()
        assert np.isfinite(fitted.cdf_sd).all()


def test_all_mass_beyond_one_end_is_a_distribution_and_flagged():
    fitted = fit_distribution(MODEL, quotes_of(np.full(8, 0.99)))
    assert fitted.p_above_highest > 0.9
    assert fitted.is_moment_truncated
    assert np.isfinite(fitted.mean_sd)


def test_bins_and_mixed_ladders_are_fitted_too():
    bins = [Contract("LOW", "less", cap_strike=1.0), Contract("HIGH", "greater", 6.0)]
    bins += [Contract(f"B{k}", "between", float(k), float(k + 1)) for k in (1, 3, 5)]
    ladder = ladder_structure(bins, GRID, is_exclusive=True)
    model = prepare_ladder(ladder)
    truth = softmax(-0.5 * ((model.points - 3.5) / 1.5) ** 2)
    fitted = fit_distribution(model, quotes_of(model.payoff @ truth, model=model))
    assert 0.5 * np.abs(fitted.pmf - truth).sum() < 0.03
    mixed = ladder_structure(
        [*ladder.contracts, Contract("T3", "greater", 3.0)], GRID, is_exclusive=False
    )
    model = prepare_ladder(mixed, Lattice(GRID, -4, 16))
    truth = softmax(-0.5 * ((model.points - 3.5) / 1.5) ** 2)
    fitted = fit_distribution(model, quotes_of(model.payoff @ truth, model=model))
    assert fitted.band.method == "lp"
    assert fitted.outside_band < 0.01
    without = fit_distribution(model, quotes_of(model.payoff @ truth, model=model), with_band=False)
    assert without.band is None
    assert np.isnan(without.outside_band)


@pytest.mark.parametrize(
    ("more", "code"), [({"is_paused": True}, "market_paused"), ({"has_gap": True}, "book_gap")]
)
def test_a_closed_gate_gives_nan_with_its_reason(more, code):
    found = fit_distribution(MODEL, quotes_of(np.linspace(0.9, 0.1, 8), **more))
    assert not found.is_available
    assert [gate.code for gate in found.gates] == [code]
    assert np.isnan(found.pmf).all()
    assert np.isnan([found.mean, found.sd, found.p_below_lowest, found.quality.score]).all()
    assert np.isnan(found.quantiles([0.5])).all()
    assert np.isnan(found.survival(3.0))
    assert found.n_usable == 8


def test_fewer_than_three_usable_legs_are_no_distribution():
    records = [LegQuote("T1", 8_000, 8_200), LegQuote("T4", 3_000, 3_200), LegQuote("T8", 0, 9_000)]
    found = fit_distribution(MODEL, ladder_quotes(MODEL.structure, records))
    assert [gate.code for gate in found.gates] == ["too_few_legs"]
    assert found.n_usable == 2


def test_wider_and_older_quotes_count_less():
    base = np.linspace(0.9, 0.1, 8)
    tight, wide = (fit_distribution(MODEL, quotes_of(base, half=h)) for h in (50, 600))
    old = fit_distribution(MODEL, quotes_of(base, half=50, age_s=36_000.0))
    assert tight.mean_sd < wide.mean_sd
    assert tight.mean_sd < old.mean_sd
    assert old.n_stale == 8
    assert old.quality.freshness == 0.0


def test_settings_and_foreign_quotes_are_refused():
    for wrong in (
        {"variance_share": 0.0}, {"smoothness": (1.0, 2.0)}, {"references": ("cauchy",)},
        {"smoothness": ()},
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            DistributionConfig(**wrong)
    with pytest.raises(ConfigError, match="least_legs"):
        QualityConfig(least_legs=2)
    other = prepare_ladder(ladder_of(range(3, 7)))
    with pytest.raises(DataError, match="another ladder"):
        fit_distribution(other, quotes_of(np.full(8, 0.5)))
    fitted = fit_distribution(MODEL, quotes_of(np.linspace(0.9, 0.1, 8)))
    with pytest.raises(ConfigError, match="coverage"):
        fitted.cdf_interval(1.0)
    with pytest.raises(DataError, match="bid_e4"):
        LegQuote("T1", 10_001, -1)


def test_the_same_quotes_give_the_same_bytes():
    quotes = quotes_of(np.linspace(0.93, 0.04, 8))
    first, second = (fit_distribution(replace(MODEL), quotes) for _ in range(2))
    assert first.pmf.tobytes() == second.pmf.tobytes()
    assert first.cdf_sd.tobytes() == second.cdf_sd.tobytes()
