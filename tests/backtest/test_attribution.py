"""Attribution: parts that add up, a plain twin, planted exposures found again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.backtest import BacktestConfig, Backtester, PortfolioConfig
from quant_engine.backtest.attribution import (
    ALPHA_PARTS,
    STYLES,
    HeldBook,
    StyleConfig,
    attribute,
    attribution_totals,
    style_exposures,
)
from quant_engine.backtest.holdings import (
    held_weights,
    opened_weights,
    split_adjusted,
    split_growth,
)
from quant_engine.core.errors import DataError
from quant_engine.core.panel import Panel, PriceBasis, TimeAxis
from quant_engine.execution import CostProfile

pytestmark = pytest.mark.feature("Q-48")


def random_book(seed, n_rows=12, n_assets=40, n_sectors=3, missing=0.1):
    rng = np.random.default_rng(seed)
    shape = (n_rows, n_assets)
    exposures = {name: rng.normal(0.0, 2.0, shape) for name in STYLES}
    for values in exposures.values():
        values[rng.random(shape) < missing] = np.nan
    returns = rng.normal(0.0, 0.02, shape)
    returns[rng.random(shape) < missing] = np.nan
    weights = rng.normal(0.0, 0.05, shape) * (rng.random(shape) < 0.5)
    sectors = rng.integers(-1, n_sectors, shape).astype(np.int16)
    opened = rng.normal(0.0, 0.03, shape) * (rng.random(shape) < 0.3)
    opened[0] = 0.0
    after_open = np.where(rng.random(shape) < missing, np.nan, rng.normal(0.0, 0.01, shape))
    gross = np.nansum(weights * returns, axis=1) + rng.normal(0.0, 0.001, n_rows)
    daily = pd.DataFrame(
        {"ret_gross": gross, "ret_net": gross - rng.uniform(0.0, 0.001, n_rows)},
        index=pd.bdate_range("2021-01-04", periods=n_rows, name="session"),
    )
    universe = rng.random(shape) > 0.05
    return daily, HeldBook(weights, returns, exposures, sectors, universe, opened, after_open)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_assets=st.integers(2, 60),
    n_sectors=st.integers(0, 8),
    missing=st.sampled_from([0.0, 0.1, 0.6]),
)
def test_the_parts_of_every_session_add_up_to_its_return(seed, n_assets, n_sectors, missing):
    daily, book = random_book(seed, 4, n_assets, n_sectors, missing)
    found = attribute(daily, book)
    explained = found[["market", "sector", *STYLES]].sum(axis=1)
    np.testing.assert_allclose(explained + found["alpha"], daily["ret_net"], rtol=0, atol=1e-15)
    np.testing.assert_allclose(
        found[list(ALPHA_PARTS)].sum(axis=1), found["alpha"], rtol=0, atol=1e-15
    )
    np.testing.assert_array_equal(found["ret_net"], daily["ret_net"])
    equity = 1e6 * np.cumprod(1.0 + daily["ret_net"].to_numpy())
    totals = attribution_totals(found, equity).set_index("part")
    own = ["market", "sector", *STYLES, "alpha"]
    for column, whole in (
        ("sum_frac", daily["ret_net"].sum()),
        ("money", equity[-1] - 1e6),
        ("total_frac", equity[-1] / 1e6 - 1.0),
    ):
        assert totals.loc[own, column].sum() == pytest.approx(whole, rel=1e-9, abs=1e-8)
        assert totals.loc["net", column] == pytest.approx(whole, rel=1e-9, abs=1e-8)


def plain_parts(book, row, weights, returns):
    """The regression with all its columns at once, by normal equations with a constraint."""
    in_session = [
        i for i in range(weights.shape[0])
        if np.isfinite(book.returns[row, i]) and book.universe[row, i]
    ]  # fmt: skip
    names = [i for i in in_session if np.isfinite(returns[i])]
    columns = []
    for raw in book.exposures.values():
        known = [raw[row, i] for i in in_session if np.isfinite(raw[row, i])]
        mean = sum(known) / len(known)
        sd = (sum((one - mean) ** 2 for one in known) / (len(known) - 1)) ** 0.5
        score = [
            max(-3.0, min(3.0, (raw[row, i] - mean) / sd)) if np.isfinite(raw[row, i]) else 0.0
            for i in names
        ]
        middle = sum(score) / len(score)
        columns.append([one - middle for one in score])
    groups = sorted({int(book.sectors[row, i]) for i in names})
    dummies = [[float(book.sectors[row, i] == g) for i in names] for g in groups]
    design = np.array([[1.0] * len(names), *dummies, *columns]).T
    y = np.array([returns[i] for i in names])
    sizes = np.array([0.0, *(sum(d) for d in dummies), *([0.0] * len(columns))])
    system = np.block([[design.T @ design, sizes[:, None]], [sizes[None, :], np.zeros((1, 1))]])
    beta = np.linalg.lstsq(system, np.append(design.T @ y, 0.0), rcond=None)[0][:-1]
    held = np.array([weights[i] for i in names])
    market = held.sum() * beta[0]
    sector = held @ design[:, 1 : 1 + len(groups)] @ beta[1 : 1 + len(groups)]
    styles = (held @ design[:, 1 + len(groups) :]) * beta[1 + len(groups) :]
    outside = sum(
        weights[i] * returns[i]
        for i in range(weights.shape[0])
        if i not in names and np.isfinite(returns[i])
    )
    selection = held @ (y - design @ beta) + outside
    return np.array([market, sector, *styles, selection]), y.mean(), beta[0]


@pytest.mark.parametrize("seed", range(3))
def test_a_plain_regression_gives_the_same_parts(seed):
    daily, book = random_book(seed)
    found = attribute(daily, book)
    for row in range(len(daily)):
        plain, mean, market = plain_parts(book, row, book.weights[row], book.returns[row])
        # Sector effects and styles sum to 0 over the names, so the market is their mean return.
        assert market == pytest.approx(mean, abs=1e-12)
        if row > 0:
            plain += plain_parts(book, row, book.opened[row], book.after_open[row])[0]
        own = found.iloc[row][["market", "sector", *STYLES, "selection"]].to_numpy(dtype=float)
        np.testing.assert_allclose(own, plain, rtol=1e-8, atol=1e-12)


def test_sessions_are_explained_one_by_one():
    daily, book = random_book(5)
    whole = attribute(daily, book)
    names = ("weights", "returns", "sectors", "universe", "opened", "after_open")
    parts = []
    for block in (slice(0, 5), slice(5, 12)):
        cut = {name: getattr(book, name)[block] for name in names}
        exposures = {name: values[block] for name, values in book.exposures.items()}
        parts.append(attribute(daily.iloc[block], HeldBook(**cut, exposures=exposures)))
    pd.testing.assert_frame_equal(pd.concat(parts), whole)


def test_fills_at_the_open_are_explained_and_other_fills_are_trading():
    """One name bought at the open and another at a stop: the plain account of both."""
    day = pd.to_datetime(["2024-05-02", "2024-05-03"])
    names = [f"N{i}" for i in range(6)]
    opens = pd.DataFrame(10.0, index=day, columns=names)
    closes = pd.DataFrame(np.linspace(9.0, 11.5, 6)[None, :].repeat(2, axis=0), day, names)
    closes.iloc[0] = 10.0
    orders = pd.DataFrame(
        {
            "session": day[[1, 1]],
            "asset_id": ["N5", "N0"],
            "filled_shares": [10.0, 10.0],
            "reference_price": [10.0, 9.5],
        }
    )
    gain = 10.0 * 1.5 - 10.0 * 0.5
    daily = pd.DataFrame(
        {"equity": [1000.0, 1000.0 + gain], "ret_net": [0.0, gain / 1000.0], "ret_gross": 0.0}, day
    )
    daily["ret_gross"] = daily["ret_net"]
    opened = opened_weights(orders, daily, opens=opens)
    np.testing.assert_allclose(opened, [[0.0] * 6, [0.0] * 5 + [0.1]])
    moves = closes.to_numpy() / opens.to_numpy() - 1.0
    book = HeldBook(np.zeros((2, 6)), moves, {}, opened=opened, after_open=moves)
    found = attribute(daily, book).iloc[1]
    assert found["market"] == pytest.approx(0.1 * 0.025)
    assert found["selection"] == pytest.approx(0.1 * (0.15 - 0.025))
    assert found["trading"] == pytest.approx(-0.005)
    assert found["alpha"] + found["market"] == pytest.approx(gain / 1000.0)
    with pytest.raises(DataError, match="opened, after_open"):
        HeldBook(np.zeros((2, 6)), moves, {}, opened=opened)


def test_a_planted_style_is_found_and_leaves_no_selection():
    daily, book = random_book(4, missing=0.0)
    size = book.exposures["size"]
    z = (size - size.mean(axis=1, keepdims=True)) / size.std(axis=1, ddof=1, keepdims=True)
    returns = 0.001 + 0.01 * np.clip(z, -3.0, 3.0)
    weights = np.where(z > 1.0, 0.05, 0.0)
    planted = HeldBook(weights, returns, {"size": size})
    gross = (weights * returns).sum(axis=1)
    found = attribute(daily.assign(ret_gross=gross, ret_net=gross), planted)
    np.testing.assert_allclose(found["selection"], 0.0, atol=1e-12)
    np.testing.assert_allclose(found["trading"], 0.0, atol=1e-12)
    assert (found["size"] > 5.0 * found["market"].abs()).all()


def test_too_few_names_explain_nothing_and_lose_nothing():
    daily, book = random_book(0, n_assets=9)
    found = attribute(daily, book)
    assert (found[["market", "sector", *STYLES, "selection"]] == 0.0).all(axis=None)
    np.testing.assert_array_equal(found["alpha"], daily["ret_net"])


def test_shapes_that_differ_are_refused():
    daily, book = random_book(0)
    with pytest.raises(DataError, match="returns"):
        HeldBook(book.weights, book.returns[1:], {})
    with pytest.raises(DataError, match="daily"):
        attribute(daily.iloc[1:], book)


def test_styles_use_nothing_after_their_close():
    rng = np.random.default_rng(3)
    close = 20.0 * np.exp(np.cumsum(rng.normal(0, 0.02, (320, 5)), axis=0))
    volume = rng.lognormal(10.0, 1.0, close.shape)
    row = 300
    whole = style_exposures(close, volume)
    poisoned = close.copy()
    poisoned[row + 1 :] = 1e6
    cut = style_exposures(poisoned, np.where(poisoned == 1e6, 1e9, volume))
    for name in STYLES:
        np.testing.assert_array_equal(whole[name][: row + 1], cut[name][: row + 1])
    logs = np.log(close)
    assert whole["momentum"][row, 2] == pytest.approx(logs[row - 21, 2] - logs[row - 252, 2])
    assert whole["reversal"][row, 2] == pytest.approx(logs[row - 21, 2] - logs[row, 2])
    changes = np.diff(logs, axis=0)
    assert whole["volatility"][row, 2] == pytest.approx(changes[row - 63 : row, 2].std(ddof=1))
    value = (close * volume)[row - 62 : row + 1, 2].mean()
    assert whole["size"][row, 2] == pytest.approx(np.log(value))
    assert np.isnan(whole["momentum"][251]).all()
    assert np.isfinite(
        style_exposures(close, volume, StyleConfig(momentum_sessions=30))["momentum"][40]
    ).all()


def test_weights_are_rebuilt_from_orders(make_market):
    market = make_market(1)
    panel = market.panel
    book = PortfolioConfig(names_per_side=2, max_weight_frac=0.5, rebalance_sessions=3)
    costs = CostProfile(name="x", adv_min_sessions=1)
    result = Backtester(BacktestConfig(portfolio=book, initial_equity_usd=1e4)).run(
        market.scores, panel, costs=costs, delistings=market.delistings
    )
    closes = pd.DataFrame(
        panel.field("close"), index=panel.time.index, columns=list(panel.asset_ids)
    )[list(result.weights.asset_ids)]
    found = held_weights(result.orders, result.daily, closes=closes)
    np.testing.assert_allclose(found, result.weights.field("weight"), atol=1e-12)
    with pytest.raises(DataError, match="holdings"):
        held_weights(result.orders.iloc[3:], result.daily, closes=closes)
    with pytest.raises(DataError, match="orders"):
        held_weights(result.orders, result.daily.iloc[5:], closes=closes)


def test_splits_of_raw_prices_change_nothing():
    """A raw market with splits and the same market split-adjusted: the same holdings and styles."""
    rng = np.random.default_rng(8)
    shape = (60, 6)
    close = 20.0 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=0))
    open_ = close * np.exp(rng.normal(0, 0.005, shape))
    factor = np.where(rng.random(shape) < 0.04, rng.choice([0.5, 2.0, 3.0], shape), np.nan)
    factor[0] = np.nan
    growth = split_growth(factor)
    assert (growth[-1] != 1.0).any()
    fields = {"open": open_, "close": close, "volume": np.full(shape, 1e9)}
    raw_fields = {
        "open": open_ / growth,
        "close": close / growth,
        "volume": fields["volume"] * growth,
        "split_factor": factor,
        "dividend": np.where(rng.random(shape) < 0.1, 0.2, np.nan) / growth,
    }
    axis = TimeAxis.sessions(pd.bdate_range("2022-01-03", periods=shape[0]).to_numpy())
    ids = tuple(f"{letter}@US#1" for letter in "ABCDEF")
    raw = Panel(axis, ids, raw_fields, price_basis=PriceBasis.RAW)
    adjusted = split_adjusted(raw)
    for name in ("open", "close", "volume"):
        np.testing.assert_allclose(adjusted.field(name), fields[name], rtol=1e-12)
    assert split_adjusted(adjusted) is adjusted
    book = PortfolioConfig(names_per_side=2, max_weight_frac=0.5, rebalance_sessions=3)
    costs = CostProfile(name="x", adv_min_sessions=1)
    scores = rng.normal(size=shape)
    result = Backtester(BacktestConfig(portfolio=book)).run(scores, raw, costs=costs)
    frames = {
        name: pd.DataFrame(adjusted.field(name), index=axis.index, columns=list(ids))
        for name in ("open", "close")
    }
    found = held_weights(result.orders, result.daily, closes=frames["close"], growth=growth)
    np.testing.assert_allclose(found, result.weights.field("weight"), atol=1e-12)
    with pytest.raises(DataError, match="holdings"):
        held_weights(result.orders, result.daily, closes=frames["close"])
    traded = pd.DataFrame(raw.field("open"), index=axis.index, columns=list(ids))
    opened = np.abs(opened_weights(result.orders, result.daily, opens=traded)).sum(axis=1)
    np.testing.assert_allclose(opened / 2.0, result.daily["turnover"], rtol=1e-9)
