"""Target weights in a full market against a plain ledger, and the laws of accounting.

Markets are small, random and raw: splits, dividends, halts, delistings, changes of symbol, borrow
fees and recalls, lots, smallest orders, margin calls, every kind of fill. The ledger walks session
by session and asset by asset with dictionaries and types every rule again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_engine.backtest import BacktestConfig, Backtester, PortfolioConfig, target_weights
from quant_engine.backtest.config import TradingRules
from quant_engine.core.panel import Panel, PriceBasis, TimeAxis
from quant_engine.execution import CostProfile

pytestmark = pytest.mark.feature("Q-34")

N_ROWS, N_ASSETS = 24, 4
NAMES = tuple(f"{letter}@US#1" for letter in "BDACE"[:N_ASSETS])
BOOKS = (
    PortfolioConfig(names_per_side=1, max_weight_frac=1.0),
    PortfolioConfig(
        names_per_side=1, max_weight_frac=1.0, rebalance="staggered", rebalance_sessions=3
    ),
    PortfolioConfig(
        names_per_side=2, gross_exposure=1.8, max_weight_frac=1.0, no_trade_band_frac=0.1
    ),
)
DEAR = CostProfile(
    name="dear", fee_bps=5.0, half_spread_bps=6.0, impact_coef_bps=80.0, borrow_bps_ann=700.0,
    participation_cap_frac=0.2, min_fill_frac=0.2, adv_sessions=4, adv_min_sessions=2,
    stress_multiplier=1.5,
)  # fmt: skip
FREE = CostProfile(
    name="free", fee_bps=0.0, half_spread_bps=0.0, use_panel_spread=False, impact_coef_bps=0.0,
    borrow_bps_ann=0.0, participation_cap_frac=None, min_fill_frac=0.0,
)  # fmt: skip


@dataclass(frozen=True)
class World:
    panel: Panel
    scores: np.ndarray
    delistings: pd.DataFrame
    changes: pd.DataFrame


def make_world(seed):
    rng = np.random.default_rng(seed)
    shape = (N_ROWS, N_ASSETS)
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.04, shape), axis=0))
    opened = close * np.exp(rng.normal(0, 0.01, shape))
    ratio = np.where(rng.random(shape) < 0.04, rng.choice([0.5, 2.0, 3.0, 1.5], shape), np.nan)
    per_share = np.cumprod(np.nan_to_num(ratio, nan=1.0), axis=0)
    close, opened = close / per_share, opened / per_share
    spread = np.where(rng.random(shape) < 0.3, np.nan, rng.uniform(1e-4, 2e-3, shape))
    fields = {
        "open": opened,
        "high": np.maximum(opened, close) * 1.01,
        "low": np.minimum(opened, close) * 0.99,
        "close": close,
        "volume": rng.lognormal(8, 1, shape) * per_share,
        "dividend": np.where(rng.random(shape) < 0.06, 0.3 / per_share, 0.0),
        "vwap": 0.5 * (opened + close),
        "half_spread_frac": spread,
        "borrow_bps_ann": np.where(rng.random(shape) < 0.4, np.nan, rng.uniform(0, 3e3, shape)),
        "split_factor": ratio,
    }
    missing = rng.random(shape) < 0.06
    start = int(rng.integers(0, 20))
    missing[start : start + 6, 1] = True  # a halt
    ends = int(rng.integers(8, N_ROWS))
    missing[ends:, 2] = True
    for name in ("open", "high", "low", "close", "volume", "vwap"):
        fields[name] = np.where(missing, np.nan, fields[name])
    days = pd.bdate_range("2021-01-04", periods=N_ROWS).to_numpy()
    masks = {"shortable": rng.random(shape) > 0.15}
    panel = Panel(TimeAxis.sessions(days), NAMES, fields, masks, {}, PriceBasis.RAW)
    scores = np.round(rng.normal(0, 1, shape), 1)
    scores[0] = np.nan
    gone = {"asset_id": [NAMES[2]], "session": [days[ends]], "terminal_return": [-0.4]}
    row = int(rng.integers(3, N_ROWS))
    moved = {"from_asset": [NAMES[3]], "to_asset": [NAMES[0]], "session": [days[row]]}
    # Worth about the same before and after, so that nobody is ruined by the change itself.
    moved["ratio"] = [float(close[row - 1, 3] / close[row - 1, 0])]
    return World(panel, scores, pd.DataFrame(gone), pd.DataFrame(moved))


class Practice(NamedTuple):
    """Where orders fill, and the market practice."""

    fill: str = "next_open"
    unsafe_same_bar: bool = False
    trading: TradingRules = TradingRules()


NEXT_OPEN = Practice()


def simulate(world, book, practice=NEXT_OPEN, costs=DEAR, *, moves=True, **changes):
    config = BacktestConfig(
        portfolio=book, halt_limit_sessions=5, cash_interest_bps_ann=300.0,
        beta_sessions=5, beta_min_sessions=3, initial_equity_usd=50_000.0,
    ).model_copy(update={**practice._asdict(), **changes})  # fmt: skip
    return Backtester(config).run(
        world.scores,
        world.panel,
        costs=costs,
        delistings=world.delistings,
        symbol_changes=world.changes if moves else None,
    )


class Ledger:
    """The account of a run, kept with dictionaries."""

    def __init__(self, world, book, practice, costs):
        self.book, self.costs = book, costs
        self.fill, self.same_bar, self.trading = practice
        self.field = {name: world.panel.field(name) for name in world.panel.fields}
        self.can_borrow = world.panel.mask("shortable")
        sessions = list(pd.DatetimeIndex(world.panel.time.values))
        self.ends = sessions.index(world.delistings["session"][0])
        self.moves = sessions.index(world.changes["session"][0])
        self.ratio = world.changes["ratio"][0]
        self.bars = np.isfinite(self.field["close"]) & (self.field["volume"] > 0)
        self.targets = target_weights(
            world.scores, config=book, asset_ids=NAMES,
            allowed_long=self.bars, allowed_short=self.bars,
        )  # fmt: skip
        self.shares, self.mark, self.idle = {}, dict.fromkeys(range(N_ASSETS), math.nan), {}
        self.adv = [[self.own_adv(t, i) for i in range(N_ASSETS)] for t in range(N_ROWS)]
        for t in range(self.moves - 1, N_ROWS):
            if math.isnan(self.adv[t][0]):
                self.adv[t][0] = self.adv[self.moves - 1][3]

    def own_adv(self, t, i):
        value = self.field["close"][: t + 1, i] * self.field["volume"][: t + 1, i]
        known = np.flatnonzero(np.isfinite(value))
        if not known.size or t - known[0] + 1 < self.costs.adv_min_sessions:
            return math.nan
        recent = value[known[0] :][-self.costs.adv_sessions :]
        return np.nansum(recent) / recent.size

    def price(self, t, i):
        at = {name: self.field[name][t, i] for name in ("open", "high", "low", "close", "vwap")}
        proxy = (at["high"] + at["low"] + at["close"]) / 3
        return {"next_open": at["open"], "next_close": at["close"], "next_vwap": at["vwap"],
                "next_vwap_proxy": proxy}[self.fill]  # fmt: skip

    def run(self):
        decided = [t for t in range(N_ROWS) if self.targets.tranche[t] >= 0]
        same = self.same_bar
        first = decided[0] - same
        last = min(N_ROWS - 1, decided[-1] + self.book.rebalance_sessions)
        self.cash = equity = 50_000.0
        self.gross, rows, self.orders = 0.0, [], []
        for t in range(first, last + 1):
            self.day = dict.fromkeys(("fees", "spread", "impact", "borrow", "dividends"), 0.0)
            if t > first:
                if not same:
                    self.weights = dict(enumerate(self.targets.weights[t - 1]))
                self.reorganise(t, same)
                self.collect(t)
                if not same:
                    self.trade(t, t - 1, equity)
                self.settle(t)
            for i in range(N_ASSETS):
                if math.isfinite(self.field["close"][t, i]):
                    self.mark[i] = self.field["close"][t, i]
                self.idle[i] = 0 if self.bars[t, i] else self.idle.get(i, 0) + 1
            if t > first:
                self.pay_borrow(t)
            equity = self.value()
            if t > first and same and equity > 0:
                self.weights = dict(enumerate(self.targets.weights[t]))
                self.trade(t, t, equity)
                equity = self.value()
            if t > first:
                rows.append((equity, self.cash, *self.day.values()))
            if not equity > 0:
                break
        return rows, self.orders

    def value(self):
        values = [held * self.mark[i] for (_, i), held in self.shares.items()]
        self.gross = sum(abs(sum(held * self.mark[i] for (_, j), held in self.shares.items()
                                 if j == i)) for i in range(N_ASSETS)
                         if math.isfinite(self.mark[i]))  # fmt: skip
        return self.cash + sum(values)

    def reorganise(self, t, same):
        for i in range(N_ASSETS):
            ratio = self.field["split_factor"][t, i]
            if math.isfinite(ratio):
                self.mark[i] /= ratio
                for key in [key for key in self.shares if key[1] == i]:
                    self.shares[key] *= ratio
        if t != self.moves:
            return
        if math.isnan(self.mark[0]):
            self.mark[0] = self.mark[3] / self.ratio
        if not same:
            self.weights[0] += self.weights[3]
            self.weights[3] = 0.0
        held = {i for _, i in self.shares}
        if 3 in held and 0 not in held:
            self.idle[0] = self.idle.get(3, 0)
        for key in [key for key in self.shares if key[1] == 3]:
            arriving = self.ratio * self.shares.pop(key)
            self.hold((key[0], 0), self.shares.get((key[0], 0), 0.0) + arriving)

    def hold(self, key, shares):
        self.shares[key] = shares
        if shares == 0:
            del self.shares[key]

    def collect(self, t):
        income = self.cash * 0.03 / 252
        for (_, i), held in self.shares.items():
            paid = held * self.field["dividend"][t, i]
            income, self.day["dividends"] = income + paid, self.day["dividends"] + paid
        self.cash += income

    def trade(self, t, d, equity):
        limit = self.trading.maintenance_margin_frac
        called = limit is not None and equity < limit * self.gross
        for k in range(self.book.n_tranches):
            for i in range(N_ASSETS):
                held, weight = self.shares.get((k, i), 0.0), self.weights[i]
                recalled = held < 0 and not self.can_borrow[d, i]
                if called or (recalled and k != self.targets.tranche[d]):
                    weight = 0.0
                elif k != self.targets.tranche[d]:
                    continue
                elif not self.can_borrow[d, i]:
                    weight = max(weight, 0.0)
                self.order(t, d, (k, i), self.change(weight, held, i, equity))

    def change(self, weight, held, i, equity):
        if weight == 0:
            return -held
        if math.isnan(self.mark[i]):
            return 0.0
        wanted = weight * equity / self.book.n_tranches / self.mark[i]
        change = wanted - held
        if held * wanted > 0 and abs(change) <= self.book.no_trade_band_frac * abs(wanted):
            return 0.0
        change = self.whole(change)
        return 0.0 if abs(change) * self.mark[i] < self.trading.min_notional_usd else change

    def whole(self, shares):
        lot = self.trading.lot_shares
        return math.trunc(shares / lot) * lot if lot else shares

    def order(self, t, d, key, ordered):
        i, adv, held = key[1], self.adv[d][key[1]], self.shares.get(key, 0.0)
        if ordered == 0:
            return
        filled, price = 0.0, self.price(t, i)
        if self.bars[t, i] and (adv > 0 or not self.costs.needs_adv):
            part = 1.0
            if self.costs.participation_cap_frac:
                part = min(1.0, self.costs.participation_cap_frac * adv / abs(ordered * price))
            if held * ordered < 0 or part >= self.costs.min_fill_frac:
                filled = ordered if part == 1 else self.whole(ordered * part)
        self.orders.append((t, key[0], i, ordered, filled))
        if not filled:
            return
        value, stress = abs(filled) * price, self.costs.stress_multiplier
        half = self.field["half_spread_frac"][t, i]
        if math.isnan(half) or not self.costs.use_panel_spread:
            half = self.costs.half_spread_bps / 1e4
        paid = {"fees": value * self.costs.fee_bps / 1e4 * stress, "spread": value * half * stress,
                "impact": 0.0}  # fmt: skip
        if self.costs.impact_coef_bps:
            paid["impact"] = (
                value * self.costs.impact_coef_bps / 1e4 * stress * math.sqrt(value / adv)
            )
        for kind, cost in paid.items():
            self.day[kind] += cost
        self.cash -= filled * price + sum(paid.values())
        self.hold(key, held + filled)

    def settle(self, t):
        for key in sorted(self.shares, key=lambda key: (key[1], key[0])):
            i = key[1]
            if self.bars[t, i]:
                continue
            dead = i == 2 and t >= self.ends
            if not dead and self.idle.get(i, 0) + 1 < 5:
                continue
            held = self.shares.pop(key)
            self.orders.append((t, *key, -held, -held))
            self.cash += held * self.mark[i] * (1 + (-0.4 if dead else -0.3))

    def pay_borrow(self, t):
        for i in range(N_ASSETS):
            net = sum(held for (_, j), held in self.shares.items() if j == i)
            if net < 0:
                rate = self.field["borrow_bps_ann"][t, i]
                if math.isnan(rate):
                    rate = self.costs.borrow_bps_ann
                fee = -net * self.mark[i] * rate / 1e4 * self.costs.stress_multiplier / 252
                self.cash, self.day["borrow"] = self.cash - fee, self.day["borrow"] + fee


PRACTICE = st.builds(
    lambda fill, same, lot, least, margin: Practice(
        "next_close" if same else fill,
        same,
        TradingRules(
            lot_shares=lot, min_notional_usd=least, maintenance_margin_frac=margin
        ),
    ),
    st.sampled_from(["next_open", "next_close", "next_vwap_proxy", "next_vwap"]),
    st.booleans(), st.sampled_from([0.0, 1.0, 100.0]), st.sampled_from([0.0, 500.0]),
    st.sampled_from([None, 0.6]),
)  # fmt: skip
SEEDS = st.integers(0, 100_000)
FEW = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


def _equals_the_ledger(seed, book, practice, costs):
    world = make_world(seed)
    result = simulate(world, book, practice, costs)
    rows, orders = Ledger(world, book, practice, costs).run()
    columns = ["equity", "cash", "cost_fees", "cost_spread", "cost_impact", "cost_borrow",
               "dividends"]  # fmt: skip
    np.testing.assert_allclose(result.daily[columns], rows, rtol=1e-9, atol=1e-6)
    frame = result.orders
    days = pd.DatetimeIndex(world.panel.time.values)
    own = sorted(
        zip(days.get_indexer(frame["session"]), frame["tranche"],
            [NAMES.index(a) for a in frame["asset_id"]], frame["ordered_shares"],
            frame["filled_shares"], strict=True)
    )  # fmt: skip
    # A wanted change of rounding size is an order in one account and none in the other.
    found, wanted = ([row for row in rows if abs(row[3]) > 1e-9] for rows in (own, sorted(orders)))
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


def _money_adds_up(seed, book, practice):
    world = make_world(seed)
    result = simulate(world, book, practice)
    daily, trades = result.daily, result.trades
    held = result.weights.field("weight").sum(axis=1) * daily["equity"]
    alive = daily["equity"] > 0.0
    assert (abs(daily["cash"] + held - daily["equity"])[alive] < 0.01).all()
    assert held[~alive].isna().all()  # fractions of an equity that is gone do not exist
    change = daily["equity"].iloc[-1] - 50_000.0
    assert abs(trades["pnl_net"].sum() + daily["interest"].sum() - change) < 0.01
    for kind in ("cost_fees", "cost_spread", "cost_impact", "cost_borrow"):
        assert (daily[kind] >= 0).all()
        assert abs(trades[kind].sum() - daily[kind].sum()) < 0.01
    assert abs(trades["dividends"].sum() - daily["dividends"].sum()) < 0.01
    lot = practice.trading.lot_shares
    if lot:
        partial = result.orders[result.orders["status"] == "partial"]
        rest = partial["filled_shares"] % lot
        assert np.minimum(rest, lot - rest).lt(1e-6).all()


@settings(max_examples=15, **FEW)
@given(SEEDS, st.sampled_from(BOOKS), PRACTICE, st.sampled_from([DEAR, FREE]))
def test_equals_a_plain_ledger(seed, book, practice, costs):
    _equals_the_ledger(seed, book, practice, costs)


@settings(max_examples=15, **FEW)
@given(SEEDS, st.sampled_from(BOOKS), PRACTICE)
def test_money_adds_up_to_the_cent(seed, book, practice):
    _money_adds_up(seed, book, practice)


@pytest.mark.slow
@settings(max_examples=2000, **FEW)
@given(SEEDS, st.sampled_from(BOOKS), PRACTICE, st.sampled_from([DEAR, FREE]))
def test_thousands_of_markets(seed, book, practice, costs):
    _equals_the_ledger(seed, book, practice, costs)
    _money_adds_up(seed, book, practice)


def _split(world, row, column, ratio):
    """The same market with one split more."""
    fields = {name: values.copy() for name, values in world.panel.fields.items()}
    for name in ("open", "high", "low", "close", "vwap", "dividend"):
        fields[name][row:, column] /= ratio
    fields["volume"][row:, column] *= ratio
    factor = fields["split_factor"][row, column]
    fields["split_factor"][row, column] = ratio * (1.0 if math.isnan(factor) else factor)
    return replace(world, panel=world.panel.with_fields(fields))


@settings(max_examples=8, **FEW)
@given(SEEDS, st.sampled_from(BOOKS), st.integers(1, N_ROWS - 1), st.integers(0, N_ASSETS - 1))
def test_a_split_changes_nothing(seed, book, row, column):
    world = make_world(seed)
    one = simulate(world, book, moves=False)
    two = simulate(_split(world, row, column, 2.0), book, moves=False)
    pd.testing.assert_frame_equal(one.daily, two.daily, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(one.trades["pnl_net"], two.trades["pnl_net"], rtol=1e-7, atol=1e-6)


@settings(max_examples=8, **FEW)
@given(SEEDS, st.sampled_from(BOOKS), PRACTICE)
def test_double_capital_doubles_the_result_without_impact(seed, book, practice):
    world = make_world(seed)
    costs = FREE.model_copy(update={"fee_bps": 10.0, "borrow_bps_ann": 500.0})
    trading = practice.trading
    doubled = trading.model_copy(
        update={
            "lot_shares": 2 * trading.lot_shares,
            "min_notional_usd": 2 * trading.min_notional_usd,
        }
    )
    scaled = practice._replace(trading=doubled)
    one = simulate(world, book, practice, costs).daily["equity"] - 50_000.0
    two = simulate(world, book, scaled, costs, initial_equity_usd=100_000.0)
    np.testing.assert_allclose(two.daily["equity"] - 100_000.0, 2 * one, rtol=1e-9, atol=1e-6)


@settings(max_examples=8, **FEW)
@given(SEEDS, st.sampled_from(BOOKS), PRACTICE, st.permutations(range(N_ASSETS)))
def test_the_order_of_assets_changes_nothing(seed, book, practice, order):
    world = make_world(seed)
    columns = np.array(order)
    other = replace(world, panel=world.panel.columns(columns), scores=world.scores[:, columns])
    one, two = simulate(world, book, practice), simulate(other, book, practice)
    for name in ("daily", "trades", "orders"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name), rtol=0, atol=0)


@pytest.mark.leakage
@settings(max_examples=8, **FEW)
@given(SEEDS, st.sampled_from(BOOKS), PRACTICE, st.integers(4, N_ROWS - 3))
def test_poisoned_bars_change_no_fill_before_them(seed, book, practice, cut):
    world = make_world(seed)
    fields = {name: values.copy() for name, values in world.panel.fields.items()}
    for name in ("open", "high", "low", "close", "vwap", "dividend"):
        fields[name][cut + 1 :] *= 3.0
    fields["volume"][cut + 1 :] *= 7.0
    borrow = world.panel.mask("shortable").copy()
    borrow[cut + 1 :] = ~borrow[cut + 1 :]
    other = replace(world, panel=world.panel.with_fields(fields).with_masks({"shortable": borrow}))
    last = pd.DatetimeIndex(world.panel.time.values)[cut]
    one, two = (simulate(each, book, practice).orders for each in (world, other))
    pd.testing.assert_frame_equal(
        one[one["session"] <= last], two[two["session"] <= last], rtol=0, atol=0
    )


@settings(max_examples=8, **FEW)
@given(SEEDS, st.sampled_from(BOOKS), st.floats(0.0, 40.0))
def test_fees_never_create_money(seed, book, fee):
    world = make_world(seed)
    costs = FREE.model_copy(update={"fee_bps": fee})
    daily = simulate(world, book, costs=costs).daily
    start = np.concatenate([[50_000.0], daily["equity"].to_numpy()[:-1]])
    gap = (daily["ret_gross"] - daily["ret_net"]) * start
    np.testing.assert_allclose(gap, daily["cost_fees"] + daily["cost_borrow"], atol=1e-6)
    np.testing.assert_allclose(daily["cost_fees"], daily["traded_value"] * fee / 1e4, atol=1e-6)


def test_the_worlds_take_every_branch():
    reasons, statuses = set(), set()
    trading = TradingRules(lot_shares=100.0, maintenance_margin_frac=0.6)
    practice = Practice(trading=trading)
    for seed in range(10):
        for book in BOOKS:
            result = simulate(make_world(seed), book, practice)
            reasons |= set(result.trades["exit_reason"]) | set(result.orders["reason"])
            statuses |= set(result.orders["status"])
    assert reasons == {"rebalance", "delisting", "halt_limit", "end_of_run", "margin_call",
                       "borrow_recall", "symbol_change"}  # fmt: skip
    assert statuses == {"filled", "partial", "no_bar", "below_min_fill", "adv_unknown"}
