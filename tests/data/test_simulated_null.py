"""The null: no function of the past predicts a simple return net of beta times the market.

The statistic is the *pooled* Pearson correlation: cross products and squares are summed over all
dates before dividing. A mean of per-date correlations is not zero in a null with delistings, since
the date of a crash is divided by the dispersion that the crash itself creates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest

from quant_engine.data.simulated import (
    EquityWorld,
    EquityWorldConfig,
    FactorSpec,
    ListingSpec,
    MarketSpec,
    expected_hedged_return,
    simulate_equity_world,
)
from quant_engine.data.simulated.lifecycle import compensation

HORIZON = 10


def worlds(count: int, first_seed: int, **changes) -> Iterator[EquityWorld]:
    settings = {"n_assets": 60, "n_sessions": 400, **changes}
    for seed in range(first_seed, first_seed + count):
        yield simulate_equity_world(EquityWorldConfig(seed=seed, **settings))


def hedged_label(world: EquityWorld) -> np.ndarray:
    """Open-to-open simple return over the label minus point-in-time beta times the market's."""
    night, day = np.log1p(world.truth.market_half_returns)
    step = np.concatenate([[0.0], np.cumsum(day[:-1] + night[1:])])
    market = np.full(len(world.panel.time), np.nan)
    market[: -1 - HORIZON] = np.expm1(step[1 + HORIZON :] - step[1:-HORIZON])
    return world.truth.forward_return - world.truth.beta * market[:, None]


def centred(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    filled = np.where(known, values, 0.0)
    return np.where(known, filled - filled.sum(axis=1, keepdims=True) / count, 0.0)


def pooled_correlation(score: np.ndarray, label: np.ndarray) -> float:
    known = ~np.isnan(score) & ~np.isnan(label)
    x, y = centred(score, known), centred(label, known)
    return float((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum()))


def past_return(world: EquityWorld, sessions: int) -> np.ndarray:
    close = world.panel.field("close")
    out = np.full_like(close, np.nan)
    out[sessions:] = close[sessions:] / close[:-sessions] - 1.0
    return out


def scores_of(world: EquityWorld) -> dict[str, np.ndarray]:
    """Every characteristic by role, and what a person would compute from bars."""
    named = {
        role if role != "none" else f"none_{name}": world.panel.field(name).astype(np.float64)
        for name, role, _ in world.truth.characteristics.itertuples(index=False)
    }
    noise = [name for name in named if name.startswith("none_")]
    named["noise"] = named[noise[0]]
    for name in noise:
        del named[name]
    size = np.log(world.panel.field("market_cap_usd"))
    return {
        **named,
        "hazard": world.truth.hazards.sum(axis=0),
        "volatility_truth": world.truth.total_vol,
        "momentum": past_return(world, 60),
        "reversal": past_return(world, 5),
        "size": size,
        "turnover": np.log(world.panel.field("volume") * world.panel.field("close")) - size,
    }


def ridge_score(world: EquityWorld, label: np.ndarray) -> np.ndarray:
    """Ridge on all observable scores, fitted on the first half, purged, applied to the second."""
    observed = {k: v for k, v in scores_of(world).items() if not k.endswith("_truth")}
    del observed["hazard"]
    stack = np.stack([pd.DataFrame(v).rank(axis=1, pct=True).to_numpy() for v in observed.values()])
    x = np.nan_to_num(stack - 0.5)
    middle = label.shape[0] // 2
    known = ~np.isnan(label)
    past = known.copy()
    past[middle - HORIZON - 1 :] = False
    y = centred(label, known)[past]
    weights = np.linalg.solve(x[:, past] @ x[:, past].T + 50.0 * np.eye(x.shape[0]), x[:, past] @ y)
    score = np.einsum("f,ftn->tn", weights, x)
    score[:middle] = np.nan
    return score


def z_scores(samples: dict[str, list[float]]) -> dict[str, float]:
    table = {name: np.array(values) for name, values in samples.items()}
    return {
        name: float(values.mean() / (values.std(ddof=1) / np.sqrt(values.size)))
        for name, values in table.items()
    }


def collect(
    source: Iterator[EquityWorld],
    label_of: Callable[[EquityWorld], np.ndarray],
    *,
    ridge: bool = True,
) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {}
    for world in source:
        label = label_of(world)
        scores = scores_of(world)
        if ridge:
            scores["ridge"] = ridge_score(world, label)
        for name, score in scores.items():
            samples.setdefault(name, []).append(pooled_correlation(score, label))
    return samples


# ------------------------------------------------------------------ exact


@pytest.mark.parametrize("delisted", [0.0, 0.12, 0.9])
def test_alpha_and_expected_hedged_return_are_zero(delisted: float):
    listing = ListingSpec(delisted_7y_frac=delisted)
    (world,) = worlds(1, 5, listing=listing)
    alive = ~np.isnan(world.panel.field("close"))
    assert (world.truth.alpha[alive] == 0.0).all()
    assert world.truth.alpha_scale == 0.0
    assert world.truth.alpha_terms.empty
    assert np.isnan(world.truth.mean_oracle_ic)
    expected = expected_hedged_return(world)
    assert np.nanmax(np.abs(expected)) < 1e-17


def test_style_premium_is_the_only_expected_return_of_the_premium_null():
    premium = (0.05, 0.0, -0.02, 0.0, 0.0)
    (world,) = worlds(1, 5, factors=FactorSpec(style_premium_ann=premium))
    loadings = world.truth.style_loadings
    expected = (0.05 * loadings[0] - 0.02 * loadings[2]) / 252
    alive = ~np.isnan(world.truth.alpha)
    np.testing.assert_allclose(
        expected_hedged_return(world)[alive], expected[alive], rtol=1e-9, atol=1e-17
    )


def test_compensation_by_enumerating_the_outcomes_of_a_night():
    spec = ListingSpec(mean_terminal_return=-0.25, merger_frac=0.4, merger_mean_return=0.1)
    hazards = np.array([0.02, 0.01]).reshape(2, 1, 1)
    drift = np.array([[0.0007]])
    extra = compensation(spec, hazards, drift).item()
    fails = (-0.25 - 0.4 * 0.1) / 0.6
    outcomes = [(0.02, fails), (0.01, 0.1), (0.97, 0.0007 + extra)]
    assert sum(p * r for p, r in outcomes) == pytest.approx(0.0007, abs=1e-17)


def test_survivors_are_paid_exactly_the_compensation():
    """Worlds with and without delistings share their noise; they differ by the compensation."""
    listing = ListingSpec(delisted_7y_frac=0.6, late_listing_frac=0.0, n_ticker_reuses=0)
    (risky,) = worlds(1, 8, listing=listing)
    (safe,) = worlds(1, 8, listing=listing.model_copy(update={"delisted_7y_frac": 0.0}))
    assert len(safe.delistings) == 0
    assert len(risky.delistings) > 3

    def overnight(world: EquityWorld) -> np.ndarray:
        cash = np.nan_to_num(world.panel.field("dividend"))[1:]
        return (world.panel.field("open")[1:] + cash) / world.panel.field("close")[:-1] - 1.0

    extra = overnight(risky) - overnight(safe)
    truth = risky.truth
    market = truth.market_mean[0][:, None] * truth.beta
    wanted = compensation(listing, truth.hazards, market)[:-1]
    known = ~np.isnan(extra)
    np.testing.assert_allclose(extra[known], wanted[known], rtol=1e-6, atol=1e-14)
    day = risky.panel.field("close") / risky.panel.field("open")
    safe_day = safe.panel.field("close") / safe.panel.field("open")
    np.testing.assert_allclose(day[~np.isnan(day)], safe_day[~np.isnan(day)], rtol=1e-12)


# ------------------------------------------------------------------ statistical


def test_nothing_predicts_hedged_returns_in_a_few_worlds():
    samples = collect(worlds(16, 100, n_assets=40, n_sessions=300), hedged_label)
    worst = max(z_scores(samples).items(), key=lambda item: abs(item[1]))
    assert abs(worst[1]) < 3.5, worst  # 28 scores: one beyond 3.5 happens in 1.3 % of runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first_seed", "delisted"), [(1000, 0.12), (3000, 0.9)], ids=["usual", "many delistings"]
)
def test_nothing_predicts_hedged_returns(first_seed: int, delisted: float):
    listing = ListingSpec(delisted_7y_frac=delisted)
    samples = collect(worlds(200, first_seed, listing=listing), hedged_label)
    z = z_scores(samples)
    assert max(abs(value) for value in z.values()) < 3.0, z
    assert np.std(list(z.values())) < 1.5


@pytest.mark.slow
def test_nothing_predicts_plain_returns_without_a_market_premium():
    regimes = tuple(
        regime.model_copy(update={"mean_offset_ann": 0.0}) for regime in MarketSpec().regimes
    )
    flat = MarketSpec(premium_ann=0.0, regimes=regimes)
    samples = collect(worlds(200, 5000, market=flat), lambda world: world.truth.forward_return)
    z = z_scores(samples)
    assert max(abs(value) for value in z.values()) < 3.0, z


@pytest.mark.slow
def test_dropping_delisted_names_is_found_out():
    """The check has power: without terminal returns the same worlds show a false return."""
    listing = ListingSpec(delisted_7y_frac=0.9)

    def survivors_only(world: EquityWorld) -> np.ndarray:
        label = hedged_label(world)
        for name, last in zip(
            world.delistings["asset_id"], world.delistings["last_session"], strict=True
        ):
            row, column = world.panel.time.position(last), world.panel.asset_ids.index(name)
            label[max(row - HORIZON, 0) : row + 1, column] = np.nan
        return label

    samples = collect(worlds(60, 3000, listing=listing), survivors_only, ridge=False)
    assert z_scores(samples)["hazard"] > 5
