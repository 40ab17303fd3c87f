"""Target weights against a plain loop, and the rules one by one."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from quant_engine.backtest.portfolio import PortfolioConfig, schedule, target_weights
from quant_engine.core.errors import ConfigError, EmptyDataError, SchemaMismatchError

pytestmark = pytest.mark.feature("Q-34")


def plain_weights(scores, config, asset_ids, long_ok, short_ok):
    """Weights by sorting Python lists; shares nothing with the kernel."""
    n_rows, n_assets = scores.shape
    out = np.zeros(scores.shape)
    tranche = np.full(n_rows, -1)
    books = [{} for _ in range(config.n_tranches)]
    last_decision = first = None
    for t in range(n_rows):
        short_row = [bool(s) and config.mode == "long_short" for s in short_ok[t]]
        names = [
            i
            for i in range(n_assets)
            if np.isfinite(scores[t, i]) and (long_ok[t, i] or short_row[i])
        ]
        if not names:
            continue
        first = t if first is None else first
        if config.rebalance == "staggered":
            k = (t - first) % config.rebalance_sessions
        elif last_decision is None or t - last_decision >= config.rebalance_sessions:
            k, last_decision = 0, t
        else:
            continue
        tranche[t] = k
        names.sort(key=lambda i: (-scores[t, i], asset_ids[i]))
        half = len(names) // 2 if config.mode == "long_short" else len(names)
        if config.names_per_side is not None:
            size = config.names_per_side
        else:
            size = max(1, int(config.fraction_per_side * len(names) + 1e-9))
        size = min(size, half)
        book = {}
        for side, ordered in ((1, names[:half]), (-1, names[::-1][:half])):
            if side == -1 and config.mode == "long_only":
                continue
            permitted = long_ok[t] if side == 1 else short_row
            inner = ordered[: size + config.rank_buffer] if config.rank_buffer else []
            kept = [i for i in inner if books[k].get(i) == side and permitted[i]][:size]
            fresh = [i for i in ordered if permitted[i] and i not in kept]
            chosen = set(kept + fresh[: size - len(kept)])
            picks = [i for i in ordered if i in chosen]
            gross = config.gross_exposure / (2 if config.mode == "long_short" else 1)
            for i, weight in _capped(picks, gross, config).items():
                out[t, i] = side * weight
                book[i] = side
        books[k] = book
    return out, tranche


def _capped(picks, gross, config):
    m = len(picks)
    raw = {i: (m - j if config.weighting == "rank" else 1.0) for j, i in enumerate(picks)}
    weights, capped = {}, set()
    while True:
        free = [i for i in picks if i not in capped]
        left = gross - config.max_weight_frac * len(capped)
        weights = {i: config.max_weight_frac for i in capped}
        total = sum(raw[i] for i in free)
        weights |= {i: left * raw[i] / total for i in free}
        over = {i for i in free if weights[i] > config.max_weight_frac * (1 + 1e-12)}
        if not over:
            return weights
        capped |= over


CONFIGS = [
    PortfolioConfig(names_per_side=3, max_weight_frac=1.0),
    PortfolioConfig(names_per_side=3, weighting="rank", max_weight_frac=0.19),
    PortfolioConfig(names_per_side=2, rank_buffer=2, max_weight_frac=1.0, rebalance_sessions=3),
    PortfolioConfig(names_per_side=4, rebalance="staggered", rebalance_sessions=4, rank_buffer=1),
    PortfolioConfig(
        mode="long_only", names_per_side=None, fraction_per_side=0.3, max_weight_frac=0.4
    ),
    PortfolioConfig(
        mode="long_only", names_per_side=20, gross_exposure=0.9, weighting="rank", rank_buffer=3
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("seed", [0, 1])
def test_weights_equal_a_plain_loop(config, seed, make_market):
    market = make_market(seed)
    rng = np.random.default_rng(seed)
    long_ok, short_ok = rng.random((2, *market.scores.shape)) > 0.15
    ids = market.panel.asset_ids
    got = target_weights(
        market.scores, config=config, asset_ids=ids, allowed_long=long_ok, allowed_short=short_ok
    )
    wanted, tranche = plain_weights(market.scores, config, ids, long_ok, short_ok)
    assert got.tranche.tolist() == tranche.tolist()
    np.testing.assert_allclose(got.weights, wanted, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("config", CONFIGS)
def test_weights_respect_cap_and_gross(config, make_market):
    market = make_market(3)
    got = target_weights(market.scores, config=config, asset_ids=market.panel.asset_ids).weights
    assert np.abs(got).max() <= config.max_weight_frac * (1 + 1e-12)
    assert np.abs(got).sum(axis=1).max() <= config.gross_exposure * (1 + 1e-12)


def test_equal_scores_are_ordered_by_asset_id_whatever_the_columns():
    config = PortfolioConfig(names_per_side=1, max_weight_frac=1.0)
    ids = ("C@US#1", "A@US#1", "D@US#1", "B@US#1")
    weights = target_weights(np.full((1, 4), 0.5), config=config, asset_ids=ids).weights
    assert weights.tolist() == [[0.0, 0.5, -0.5, 0.0]]


def test_column_order_does_not_change_weights(make_market):
    market = make_market(5)
    config = PortfolioConfig(names_per_side=2, rank_buffer=1)
    ids = np.array(market.panel.asset_ids)
    order = np.random.default_rng(0).permutation(ids.size)
    one = target_weights(market.scores, config=config, asset_ids=ids).weights
    two = target_weights(market.scores[:, order], config=config, asset_ids=ids[order]).weights
    assert np.array_equal(one[:, order], two)


def test_monotone_transform_of_scores_changes_nothing(make_market):
    market = make_market(6)
    config = PortfolioConfig(names_per_side=3)
    ids = market.panel.asset_ids
    one = target_weights(market.scores, config=config, asset_ids=ids).weights
    two = target_weights(np.exp(market.scores) * 7, config=config, asset_ids=ids).weights
    assert np.array_equal(one, two)


@pytest.mark.leakage
def test_later_scores_do_not_change_earlier_weights(make_market):
    market = make_market(7)
    config = PortfolioConfig(names_per_side=2, rebalance="staggered", rebalance_sessions=3)
    ids = market.panel.asset_ids
    one = target_weights(market.scores, config=config, asset_ids=ids)
    poisoned = market.scores.copy()
    poisoned[30:] = 99.0
    two = target_weights(poisoned, config=config, asset_ids=ids)
    assert np.array_equal(one.weights[:30], two.weights[:30])
    assert np.array_equal(one.tranche[:30], two.tranche[:30])


def test_buffer_keeps_held_names_and_cuts_turnover(make_market):
    market = make_market(8)
    ids = market.panel.asset_ids
    moved = []
    for buffer in (0, 2):
        config = PortfolioConfig(names_per_side=2, rank_buffer=buffer, max_weight_frac=1.0)
        weights = target_weights(market.scores, config=config, asset_ids=ids).weights
        moved.append(np.abs(np.diff(weights, axis=0)).sum())
    assert moved[1] < moved[0]


def test_size_multiplier_scales_rows_and_zero_goes_flat(make_market):
    market = make_market(9)
    config = PortfolioConfig(names_per_side=2, max_weight_frac=1.0)
    ids = market.panel.asset_ids
    factor = np.tile([1.0, 0.5, 0.0], 20)
    full = target_weights(market.scores, config=config, asset_ids=ids)
    sized = target_weights(market.scores, config=config, asset_ids=ids, size_multiplier=factor)
    assert np.allclose(sized.weights, full.weights * factor[:, None])
    assert np.array_equal(sized.tranche, full.tranche)


def test_schedule_waits_a_full_period_after_a_late_decision():
    config = PortfolioConfig(rebalance_sessions=3)
    has = np.array([True, True, True, False, True, True, True, True])
    assert schedule(has, config).tolist() == [0, -1, -1, -1, 0, -1, -1, 0]


def test_inputs_are_not_changed(make_market):
    market = make_market(1)
    before = market.scores.copy()
    target_weights(market.scores, config=PortfolioConfig(), asset_ids=market.panel.asset_ids)
    assert np.array_equal(before, market.scores, equal_nan=True)


def test_unusable_inputs_are_refused():
    ids = ("A@US#1", "B@US#1")
    config = PortfolioConfig()
    with pytest.raises(EmptyDataError, match="scores"):
        target_weights(np.full((3, 2), np.nan), config=config, asset_ids=ids)
    with pytest.raises(SchemaMismatchError, match="asset_ids"):
        target_weights(np.ones((3, 3)), config=config, asset_ids=ids)
    with pytest.raises(SchemaMismatchError, match="allowed_long"):
        target_weights(
            np.ones((3, 2)), config=config, asset_ids=ids, allowed_long=np.ones((2, 2), bool)
        )
    with pytest.raises(ConfigError, match="long_only"):
        target_weights(np.ones((3, 1)), config=config, asset_ids=ids[:1])


@pytest.mark.parametrize(
    "bad",
    [
        {"names_per_side": None},
        {"fraction_per_side": 0.1},
        {"names_per_side": None, "fraction_per_side": 0.6},
        {"rebalance_sessions": 0},
    ],
)
def test_contradicting_settings_are_refused(bad):
    with pytest.raises(ValidationError):
        PortfolioConfig(**bad)
