"""Pooling, quality, description and scores, each against a direct computation."""

from math import exp, log, sqrt

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.special import softmax

from quant_engine.core.errors import ConfigError, DataError, LookAheadError
from quant_engine.kalshi.distribution import (
    DistributionConfig,
    fit_distribution,
    leg_weights,
    prepare_ladder,
    reconstruct,
)
from quant_engine.kalshi.lattice import SettlementGrid, ladder_structure
from quant_engine.kalshi.payoffs import Contract
from quant_engine.kalshi.pooling import (
    US_PER_HOUR,
    Snapshot,
    drift_variance_per_hour,
    fit_pooled,
    pool_quotes,
)
from quant_engine.kalshi.quality import (
    QualityConfig,
    incoherence_of_middles_e4,
    score_quality,
    stale_limit_s,
)
from quant_engine.kalshi.quotes import LegQuote, ladder_quotes
from quant_engine.kalshi.scoring import HALF_TICK, score_event
from quant_engine.kalshi.shape import (
    describe_shape,
    distribution_distance,
    moment_bounds,
    support_of,
)

GRID = SettlementGrid(1.0)
LEGS = [Contract(f"T{k}", "greater", float(k)) for k in range(1, 7)]
MODEL = prepare_ladder(ladder_structure(LEGS, GRID, is_exclusive=False))
QUALITY = QualityConfig()


def quotes_of(probabilities, half=150, **more):
    return ladder_quotes(
        MODEL.structure,
        [
            LegQuote(t, max(int(1e4 * p) - half, 0), int(1e4 * p) + half, 300, 700, **more)
            for t, p in zip(MODEL.structure.tickers, probabilities, strict=True)
        ],
    )


def curve(location):
    return MODEL.payoff @ softmax(-0.5 * ((MODEL.points - location) / 1.3) ** 2)


def test_pooled_legs_are_the_same_least_squares_problem_as_one_row_per_look():
    looks = [
        Snapshot(hour * US_PER_HOUR, quotes_of(curve(3.0 + 0.2 * hour), half=100 + 40 * hour))
        for hour in range(4)
    ]
    p = fit_distribution(MODEL, looks[-1].quotes).pmf
    drift, now = 0.04, 3 * US_PER_HOUR
    middle, weight = pool_quotes(MODEL, looks, p, now_us=now, drift_per_hour=drift)
    slope = np.zeros(6)
    for leg in range(6):
        for j in range(len(p)):
            left, right = max(j - 1, 0), min(j + 1, len(p) - 1)
            slope[leg] += MODEL.payoff[leg, j] * (p[right] - p[left]) / (right - left)
    for leg in range(6):
        total = top = 0.0
        for hour, look in enumerate(looks):
            v = 1.0 / leg_weights(look.quotes, MODEL.config)[leg]
            v += slope[leg] ** 2 * drift * (3 - hour)
            total += 1.0 / v
            top += look.quotes.middle[leg] / v
        assert weight[leg] == pytest.approx(total)
        assert middle[leg] == pytest.approx(top / total)


def test_pooling_counts_a_look_once_and_nothing_before_a_release():
    same = [Snapshot(t, quotes_of(curve(3.5), event_us=77)) for t in (0, 10, 20)]
    fresh = [Snapshot(20, quotes_of(curve(3.5), event_us=77))]
    p = fit_distribution(MODEL, fresh[0].quotes).pmf
    for history, reset in ((same, None), ([*same[:2], *fresh], 15)):
        found = pool_quotes(MODEL, history, p, now_us=20, drift_per_hour=0.0, reset_us=reset)
        alone = pool_quotes(MODEL, fresh, p, now_us=20, drift_per_hour=0.0)
        np.testing.assert_array_equal(found[1], alone[1])
    with pytest.raises(LookAheadError, match="history"):
        pool_quotes(MODEL, same, p, now_us=19, drift_per_hour=0.0)


def test_a_pooled_fit_is_surer_and_keeps_the_gates_of_the_present():
    looks = [Snapshot(k, quotes_of(curve(3.5), event_us=k + 1)) for k in range(6)]
    pooled = fit_pooled(MODEL, looks, now_us=10, drift_per_hour=0.01)
    alone = fit_distribution(MODEL, looks[-1].quotes)
    assert pooled.mean_sd < 0.7 * alone.mean_sd
    assert pooled.band is not None
    closed = [*looks, Snapshot(9, quotes_of(curve(3.5), is_paused=True))]
    found = fit_pooled(MODEL, closed, now_us=10, drift_per_hour=0.01)
    assert found.gates[0].code == "market_paused"
    found = fit_pooled(MODEL, looks, now_us=10, drift_per_hour=0.01, reset_us=8)
    assert found.gates[0].code == "too_few_legs"
    with pytest.raises(DataError, match="history"):
        fit_pooled(MODEL, [], now_us=10, drift_per_hour=0.01)
    with pytest.raises(DataError, match="times_us"):
        drift_variance_per_hour([0, 0], [0.1])


def test_quality_is_the_product_of_its_four_components():
    quotes = quotes_of(curve(3.5), half=300, age_s=1_800.0)
    found = score_quality(quotes, QUALITY, tail_mass=0.1, posterior_sd=0.01)
    assert found.spread == pytest.approx(exp(-1.0))
    assert found.freshness == pytest.approx(exp(-0.5))
    assert found.coverage == pytest.approx(0.9)
    assert found.score == pytest.approx(exp(-1.5) * 0.9 * found.coherence)
    assert found.depth == pytest.approx(1.0 - exp(-0.03))
    stale = score_quality(quotes, QUALITY, tail_mass=0.1, posterior_sd=0.0, stale_after_s=60.0)
    assert stale.freshness == 0.0
    empty = score_quality(
        ladder_quotes(MODEL.structure, []), QUALITY, tail_mass=0.0, posterior_sd=0.0
    )
    assert np.isnan(empty.score)


def test_incoherence_of_middles_by_kind():
    rising = quotes_of([0.8, 0.6, 0.65, 0.3, 0.32, 0.1])
    assert incoherence_of_middles_e4(rising, QUALITY) == pytest.approx(700.0)
    bins = [Contract("L", "less", cap_strike=1.0), Contract("M", "between", 1, 2)]
    bins.append(Contract("H", "greater", 2.0))
    for legs, expected in ((bins, 500.0), (bins[:2], 0.0)):
        ladder = ladder_structure(legs, GRID, is_exclusive=True)
        quotes = ladder_quotes(ladder, [LegQuote(c.ticker, 3_400, 3_600) for c in legs[:3]])
        assert incoherence_of_middles_e4(quotes, QUALITY) == pytest.approx(expected)
    mixed = ladder_structure([bins[1], Contract("T", "greater", 0.0)], GRID, is_exclusive=False)
    quotes = ladder_quotes(mixed, [LegQuote("M", 5_000, 5_100), LegQuote("T", 3_000, 4_000)])
    assert incoherence_of_middles_e4(quotes, QUALITY) == pytest.approx(1_000.0)


@pytest.mark.parametrize(
    ("minutes", "more", "expected"),
    [
        (0, {}, 2.0), (-5, {}, 2.0), (30, {}, 2.0), (1_440, {}, 60.0), (10_000, {}, 60.0),
        (735, {}, 31.0), (1_440, {"family": "CPI"}, 48.0), (1_440, {"family": "fomc"}, 42.0),
        (1_440, {"liquidity": 2.0}, 81.0), (1_440, {"liquidity": 6.0}, 48.0),
    ],
)  # fmt: skip
def test_stale_limits(minutes, more, expected):
    assert stale_limit_s(60.0 * minutes, **more) == pytest.approx(60.0 * expected)


def test_shape_and_distances_by_hand():
    left, right = (fit_distribution(MODEL, quotes_of(curve(c))) for c in (3.2, 4.1))
    shape = describe_shape(left)
    x, p = left.points, left.pmf
    mean = sum(a * b for a, b in zip(x, p, strict=True))
    assert shape.mean == pytest.approx(mean)
    assert shape.entropy_nats == pytest.approx(-sum(v * log(v) for v in p if v > 0.0))
    assert shape.skew == pytest.approx(((x - mean) ** 3 @ p) / shape.sd**3)
    assert shape.q05 < shape.q25 < shape.q50 < shape.q75 < shape.q95
    assert support_of(left) == (x[0], x[-1])
    found = distribution_distance(left, right)
    assert found.wasserstein == pytest.approx(np.abs(left.cdf - right.cdf).sum(), abs=1e-9)
    overlap = np.sqrt(left.pmf * right.pmf).sum()
    assert found.hellinger == pytest.approx(sqrt(1.0 - overlap), abs=1e-9)
    assert 0.0 < found.js_nats < log(2.0)
    gone = fit_distribution(MODEL, quotes_of(curve(3.0), is_paused=True))
    assert np.isnan(distribution_distance(left, gone).wasserstein)
    assert np.isnan(describe_shape(gone).entropy_nats)
    refused = reconstruct([Contract("A", "custom")], [], GRID, is_exclusive=True)
    with pytest.raises(DataError, match="right"):
        distribution_distance(left, refused)
    with pytest.raises(DataError, match="lattice"):
        support_of(refused)


@pytest.mark.parametrize(("order", "about"), [(1, 0.0), (2, 3.0)])
def test_moment_bounds_are_a_linear_program_over_every_settlement_value(order, about):
    quotes = quotes_of(curve(3.4))
    values = np.arange(-2.0, 11.0)
    pays = np.array([[c.payoff().contains(v) for v in values] for c in LEGS], dtype=float)
    ends = [
        linprog(
            sign * (values - about) ** order,
            A_ub=np.vstack([pays, -pays]),
            b_ub=np.concatenate([quotes.upper, -quotes.lower]),
            A_eq=np.ones((1, len(values))),
            b_eq=[1.0],
        ).fun
        * sign
        for sign in (1, -1)
    ]
    found = moment_bounds(quotes, (-2.0, 10.0), order=order, about=about)
    assert [found.low, found.high] == pytest.approx(ends)
    assert fit_distribution(MODEL, quotes).band.is_feasible
    with pytest.raises(DataError, match="support"):
        moment_bounds(quotes, (2.0, 10.0))
    with pytest.raises(ConfigError, match="order"):
        moment_bounds(quotes, (-2.0, 10.0), order=3)


def test_scores_by_hand_and_the_refusal_of_what_does_not_add_up():
    p = np.array([0.1, 0.2, 0.4, 0.3])
    found = score_event(p, 2, width=0.5)
    assert found.log_loss == pytest.approx(-log(0.4))
    assert found.brier == pytest.approx(0.01 + 0.04 + 0.36 + 0.09)
    assert found.rps == pytest.approx(0.1**2 + 0.3**2 + 0.3**2)
    assert found.crps == pytest.approx(0.5 * found.rps)
    assert (found.pit_low, found.pit_high) == pytest.approx((0.3, 0.7))
    assert score_event([1.0, 0.0], 1).log_loss == pytest.approx(-log(HALF_TICK))
    assert np.isnan(score_event([np.nan, 1.0], 1).log_loss)
    with pytest.raises(DataError, match=r"1\.08"):
        score_event([0.5, 0.58], 0)
    with pytest.raises(DataError, match="happened"):
        score_event(p, 4)


def test_references_are_weighed_by_their_evidence():
    legs = [Contract(f"T{k}", "greater", float(k)) for k in range(1, 31)]
    ladder = ladder_structure(legs, GRID, is_exclusive=False)
    model = prepare_ladder(ladder, config=DistributionConfig(smoothness=(1e4,)))
    z = (model.points - 15.0) / 3.5
    shares = []
    for truth in ((1.0 + z**2 / 2.0) ** -2.5, np.exp(-0.5 * z**2)):
        fair = model.payoff @ (truth / truth.sum())
        records = [
            LegQuote(t, max(int(1e4 * p) - 50, 0), min(int(1e4 * p) + 50, 10_000))
            for t, p in zip(ladder.tickers, fair, strict=True)
        ]
        fitted = fit_distribution(model, ladder_quotes(ladder, records))
        shares.append(fitted.model_weights[1, 0])
    assert shares[0] > 0.8 > 0.2 > shares[1]
