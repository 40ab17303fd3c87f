"""Sparse shrinkage against numerical integration, plain EM and simulated event studies."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.shrinkage import partial_pooling
from quant_engine.stats.spike_slab import grouped_spike_and_slab, spike_and_slab

pytestmark = pytest.mark.feature("B-11")


def sample(seed, size, share=0.2, width=3.0):
    rng = np.random.default_rng(seed)
    theta = np.where(rng.random(size) < share, width * rng.standard_normal(size), 0.0)
    s = np.exp(0.3 * rng.standard_normal(size))
    return theta + s * rng.standard_normal(size), s, theta


def loop_em(y, s, sds, penalty, steps=5_000):
    """Weights by the plain EM recursion."""
    lik = norm.pdf(y[:, None], 0.0, np.sqrt(sds[None, :] ** 2 + s[:, None] ** 2))
    weights = np.full(len(sds), 1 / len(sds))
    for _ in range(steps):
        counts = (lik * weights / (lik @ weights)[:, None]).sum(axis=0)
        counts[0] += penalty - 1.0
        weights = counts / counts.sum()
    return np.log(lik @ weights).sum() + (penalty - 1.0) * np.log(weights[0])


@pytest.mark.parametrize("penalty", [1.0, 10.0])
def test_weights_reach_the_maximum_that_em_climbs_to(penalty):
    y, s, _ = sample(1, 150)
    got = spike_and_slab(y, s, null_penalty=penalty)
    best = loop_em(y, s, got.prior_sd[:, 0], penalty)
    mine = got.log_likelihood + (penalty - 1.0) * np.log(got.pi0)
    assert mine >= best - 1e-3
    assert got.gap <= 1e-4
    assert mine <= best + 0.05, "EM is nearly there"
    assert got.prior_weights.sum() == pytest.approx(1.0)
    assert (got.prior_weights >= 0.0).all()


def test_posteriors_equal_numerical_integration():
    y, s, _ = sample(2, 60)
    got = spike_and_slab(y, s, null_penalty=1.0)
    sds, weights = got.prior_sd[1:, 0], got.prior_weights[1:]
    for i in (0, 7, 33, int(np.argmax(np.abs(y)))):

        def slab(theta, power=0, i=i):
            prior = (weights * norm.pdf(theta, 0.0, sds)).sum()
            return theta**power * prior * norm.pdf(y[i], theta, s[i])

        edge = 15.0
        points = [0.0, y[i]]
        spike = got.pi0 * norm.pdf(y[i], 0.0, s[i])
        mass = quad(slab, -edge, edge, points=points, limit=300)[0]
        first = quad(slab, -edge, edge, args=(1,), points=points, limit=300)[0]
        second = quad(slab, -edge, edge, args=(2,), points=points, limit=300)[0]
        below = quad(slab, -edge, 0.0, points=[y[i]] if y[i] < 0 else None, limit=300)[0]
        total = spike + mass
        assert got.mean[i] == pytest.approx(first / total, abs=1e-6)
        assert got.sd[i] == pytest.approx(np.sqrt(second / total - (first / total) ** 2), abs=1e-6)
        assert got.lfdr[i] == pytest.approx(spike / total, abs=1e-7)
        wanted = min(below + spike, mass - below + spike) / total
        assert got.lfsr[i] == pytest.approx(wanted, abs=1e-6)


def test_grouped_posteriors_equal_the_joint_normal():
    """Posterior of one group as a mixture of multivariate normals, by matrix algebra."""
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(12), 3)
    s = 0.5 + rng.random(36)
    y = s * rng.standard_normal(36) + np.repeat(rng.standard_normal(12) * 3, 3) * (group < 4)
    fit = grouped_spike_and_slab(y, s, group, null_penalty=1.0)
    mine = group == 2
    noise, terms = np.diag(s[mine] ** 2), []
    for (common, own), weight in zip(fit.effects.prior_sd, fit.effects.prior_weights, strict=True):
        prior = common**2 * np.ones((3, 3)) + own**2 * np.eye(3)
        density = multivariate_normal.pdf(y[mine], np.zeros(3), prior + noise)
        gain = prior @ np.linalg.inv(prior + noise)
        shared = common**2 * np.ones(3) @ np.linalg.inv(prior + noise)
        variance = np.diag(prior - gain @ prior)
        mean = gain @ y[mine]
        terms.append((weight * density, mean, variance, shared @ y[mine]))
    total = sum(term[0] for term in terms)
    mean = sum(w * m for w, m, _, _ in terms) / total
    square = sum(w * (v + m**2) for w, m, v, _ in terms) / total
    np.testing.assert_allclose(fit.effects.mean[mine], mean, atol=1e-9)
    np.testing.assert_allclose(fit.effects.sd[mine], np.sqrt(square - mean**2), atol=1e-7)
    assert fit.mean[2] == pytest.approx(sum(w * m for w, _, _, m in terms) / total, abs=1e-9)


def event_study(seed, planted_bps, n_events=300, n_symbols=4, share=0.1):
    """Effects in bps of events on four symbols; a tenth of the events move all of them."""
    rng = np.random.default_rng(seed)
    event = np.repeat(np.arange(n_events), n_symbols)
    s = 3.9 * np.exp(0.15 * rng.standard_normal(len(event)))
    theta = np.where(event < share * n_events, planted_bps, 0.0)
    return theta + s * rng.standard_normal(len(event)), s, event, theta


def rms(values):
    return np.sqrt((values**2).mean())


def test_null_worlds_shrink_to_nothing():
    """Where raw effects have an RMSE of 3.9 bps, what is left is below a tenth of one."""
    raw, plain, grouped = [], [], []
    for seed in range(6):
        y, s, event, _ = event_study(seed, 0.0)
        raw.append(rms(y))
        plain.append(rms(spike_and_slab(y, s).mean))
        grouped.append(rms(grouped_spike_and_slab(y, s, event).effects.mean))
    assert np.mean(raw) == pytest.approx(3.95, abs=0.1)
    assert np.mean(plain) < 0.1
    assert np.mean(grouped) < 0.15


def test_a_planted_effect_is_recovered():
    """8 bps in a tenth of the events: about 7 with groups, while one normal prior leaves 3."""
    grouped, single, errors = [], [], []
    for seed in range(4):
        y, s, event, theta = event_study(seed, 8.0)
        fit = grouped_spike_and_slab(y, s, event).effects
        normal = partial_pooling(y, s**2).estimates
        grouped.append(fit.mean[theta > 0].mean())
        single.append(normal[theta > 0].mean())
        errors.append((rms(fit.mean - theta), rms(normal - theta)))
    assert np.mean(grouped) == pytest.approx(7.0, abs=0.4)
    assert np.mean(single) < 3.5
    mine, normal = np.mean(errors, axis=0)
    assert mine < 0.6 * normal


def test_an_effect_in_one_member_is_found_there():
    y, s, event, _ = event_study(1, 0.0)
    y[::40] += 25.0
    fit = grouped_spike_and_slab(y, s, event).effects
    assert fit.mean[::40].mean() > 18.0
    others = np.delete(fit.mean, np.arange(0, len(y), 40))
    assert rms(others) < 1.5


def test_sign_rates_are_calibrated():
    """Among effects called at a rate near x, a share near x has the other sign or is zero."""
    y, s, theta = sample(4, 20_000, share=0.4)
    fit = spike_and_slab(y, s, null_penalty=1.0)
    called = fit.lfsr < 0.1
    wrong = np.sign(fit.mean) != np.sign(theta)
    assert called.sum() > 500
    assert wrong[called].mean() == pytest.approx(fit.lfsr[called].mean(), abs=0.02)
    assert fit.pi0 == pytest.approx(0.6, abs=0.08)


def test_laws():
    y, s, _ = sample(5, 80)
    fit = spike_and_slab(y, s)
    assert (np.abs(fit.mean) <= np.abs(y)).all()
    assert (fit.mean * y >= 0.0).all()
    assert ((fit.lfsr >= fit.lfdr - 1e-12) & (fit.lfsr <= 0.5 + 0.5 * fit.lfdr + 1e-12)).all()
    turned = spike_and_slab(-y, s)
    np.testing.assert_allclose(turned.mean, -fit.mean)
    scaled = spike_and_slab(y * 1e4, s * 1e4)
    np.testing.assert_allclose(scaled.mean, fit.mean * 1e4, rtol=1e-3, atol=1.0)
    sharp = np.append(y, 4.0), np.append(s, 1e-4)
    assert spike_and_slab(*sharp).mean[-1] == pytest.approx(4.0, abs=1e-3)


def test_nan_and_order_of_groups():
    y, s, event, _ = event_study(2, 8.0, n_events=30)
    wanted = grouped_spike_and_slab(y, s, event)
    holes_y, holes_s = np.append(y, [np.nan, 3.0]), np.append(s, [1.0, np.nan])
    got = grouped_spike_and_slab(holes_y, holes_s, np.append(event, [99, 5]))
    assert got.groups == wanted.groups == tuple(range(30))
    np.testing.assert_allclose(got.effects.mean[:-2], wanted.effects.mean)
    assert np.isnan(got.effects.mean[-2:]).all()
    order = np.random.default_rng(0).permutation(len(y))
    mixed = grouped_spike_and_slab(y[order], s[order], event[order])
    np.testing.assert_allclose(mixed.effects.mean, wanted.effects.mean[order], atol=1e-4)
    place = [mixed.groups.index(label) for label in wanted.groups]
    np.testing.assert_allclose(mixed.mean[place], wanted.mean, atol=1e-4)


@pytest.mark.slow
def test_a_hundred_thousand_effects():
    y, s, _ = sample(6, 100_000, share=0.1)
    fit = spike_and_slab(y, s)
    assert fit.gap <= 1e-4
    assert fit.pi0 == pytest.approx(0.9, abs=0.03)


def test_bad_arguments_name_themselves():
    with pytest.raises(ConfigError, match="null_penalty"):
        spike_and_slab([1.0, 2.0], [1.0, 1.0], null_penalty=0.5)
    with pytest.raises(ConfigError, match="grid_ratio"):
        spike_and_slab([1.0, 2.0], [1.0, 1.0], grid_ratio=1.0)
    with pytest.raises(DataError, match="std_errors: wanted positive"):
        spike_and_slab([1.0, 2.0], [1.0, 0.0])
    with pytest.raises(InsufficientHistoryError, match="at least 2"):
        spike_and_slab([1.0, np.nan], [1.0, 1.0])
    with pytest.raises(DataError, match="one label for each of 2"):
        grouped_spike_and_slab([1.0, 2.0], [1.0, 1.0], ["a"])
