"""The compiled day loop against a plain one: same orders, same money, same round trips.

The twin keeps positions in dictionaries, walks day by day and asset by asset, and types every cost
formula again.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from quant_engine.backtest import BacktestConfig, Backtester, PortfolioConfig, target_weights
from quant_engine.execution import TerminalReturns

pytestmark = pytest.mark.feature("Q-34")


class PlainSimulator:
    """One day after another, one asset after another."""

    def __init__(self, market, config, costs):
        self.config, self.costs = config, costs
        self.panel = market.panel
        fields = {name: market.panel.field(name) for name in market.panel.fields}
        self.open, self.close, self.volume = fields["open"], fields["close"], fields["volume"]
        self.dividend, self.spread = fields["dividend"], fields["half_spread_frac"]
        self.n_rows, self.n_assets = self.close.shape
        ids = list(market.panel.asset_ids)
        self.ids = ids
        self.order = sorted(range(self.n_assets), key=lambda i: ids[i])
        self.gone = {}
        sessions = market.panel.time.values
        for row in market.delistings.itertuples():
            first = int(np.searchsorted(sessions, np.datetime64(row.session, "D")))
            if math.isnan(row.terminal_return):
                paid = (
                    config.terminal.merger_frac
                    if row.reason == "merger"
                    else config.terminal.unknown_frac
                )
            else:
                paid = row.terminal_return
            self.gone[ids.index(row.asset_id)] = (first, paid)
        member = market.panel.mask("member")
        trades = [[self.trades_on(t, i) for i in range(self.n_assets)] for t in range(self.n_rows)]
        allowed = member & np.array(trades)
        self.targets = target_weights(
            market.scores,
            config=config.portfolio,
            asset_ids=ids,
            allowed_long=allowed,
            allowed_short=allowed,
        )

    def trades_on(self, t, i):
        return (
            math.isfinite(self.open[t, i])
            and math.isfinite(self.close[t, i])
            and self.volume[t, i] > 0
        )

    def adv(self, t, i):
        first = next(
            (s for s in range(t + 1) if math.isfinite(self.close[s, i] * self.volume[s, i])), None
        )
        if first is None or t - first + 1 < self.costs.adv_min_sessions:
            return math.nan
        n = min(self.costs.adv_sessions, t - first + 1)
        values = [self.close[s, i] * self.volume[s, i] for s in range(t - n + 1, t + 1)]
        return sum(v for v in values if math.isfinite(v)) / n

    def run(self):
        config = self.config
        decisions = [t for t in range(self.n_rows) if self.targets.tranche[t] >= 0]
        first = decisions[0]
        last = min(self.n_rows - 1, decisions[-1] + config.portfolio.rebalance_sessions)
        self.cash = self.equity = config.initial_equity_usd
        self.shares, self.lots, self.mark, self.idle, self.pending = {}, {}, {}, {}, {}
        self.orders, self.trades, daily = [], [], []
        kinds = ("interest", "dividends", "traded", "fees", "spread", "impact", "borrow")
        for t in range(first, last + 1):
            self.day = dict.fromkeys(kinds, 0.0)
            if t > first:
                self.collect_income(t)
                self.fill_orders(t)
                self.settle_dead(t)
            for i in range(self.n_assets):
                if math.isfinite(self.close[t, i]):
                    self.mark[i] = self.close[t, i]
                self.idle[i] = 0 if self.trades_on(t, i) else self.idle.get(i, 0) + 1
            self.charge_borrow()
            held = sum(s * self.mark[i] for (_, i), s in self.shares.items())
            self.equity = self.cash + held
            if t > first:
                daily.append({"equity": self.equity, "cash": self.cash, **self.day})
            if t < last:
                self.plan(t)
        for key in sorted(self.lots):
            self.lots[key]["cash"] += self.shares[key] * self.mark[key[1]]
            self.close_lot(key, self.lots.pop(key), last, "end_of_run")
        return daily, self.orders, self.trades

    def collect_income(self, t):
        rate = self.config.cash_interest_bps_ann / 1e4 / self.config.periods_per_year
        self.day["interest"] = self.cash * rate
        for (k, i), held in self.shares.items():
            if math.isfinite(self.dividend[t, i]):
                self.day["dividends"] += held * self.dividend[t, i]
                self.lots[k, i]["cash"] += held * self.dividend[t, i]
        self.cash += self.day["interest"] + self.day["dividends"]

    def fill_orders(self, t):
        for i, (k, wanted) in self.pending.items():
            status, fraction = self.outcome(t, i, wanted, self.shares.get((k, i), 0.0))
            filled = wanted * fraction
            self.orders.append((t, i, wanted, filled, status))
            if filled:
                price = self.open[t, i]
                cost = self.trading_cost(t, i, abs(filled) * price)
                self.cash -= filled * price + cost
                self.book_fill((k, i), filled, price, cost, t)
        self.pending = {}

    def outcome(self, t, i, wanted, held):
        costs, adv = self.costs, self.adv(t - 1, i)
        if not self.trades_on(t, i):
            return "no_bar", 0.0
        if costs.needs_adv and not adv > 0:
            return "adv_unknown", 0.0
        fraction = 1.0
        if costs.participation_cap_frac is not None:
            cap = costs.participation_cap_frac * adv
            fraction = min(1.0, cap / (abs(wanted) * self.open[t, i]))
        if held * wanted >= 0 and fraction < costs.min_fill_frac:
            return "below_min_fill", 0.0
        return ("filled" if fraction == 1 else "partial"), fraction

    def trading_cost(self, t, i, value):
        costs = self.costs
        half = costs.half_spread_bps / 1e4
        if costs.use_panel_spread and math.isfinite(self.spread[t, i]):
            half = self.spread[t, i]
        stress = costs.stress_multiplier
        impact = 0.0
        if costs.impact_coef_bps:
            share = value / self.adv(t - 1, i)
            impact = value * costs.impact_coef_bps / 1e4 * stress * math.sqrt(share)
        self.day["fees"] += value * costs.fee_bps / 1e4 * stress
        self.day["spread"] += value * half * stress
        self.day["impact"] += impact
        self.day["traded"] += value
        return value * (costs.fee_bps / 1e4 + half) * stress + impact

    def settle_dead(self, t):
        limit = self.config.halt_limit_sessions
        for key in sorted(self.shares, key=lambda key: (key[1], key[0])):
            i = key[1]
            if self.trades_on(t, i):
                continue
            if i in self.gone and t >= self.gone[i][0]:
                paid, reason = self.gone[i][1], "delisting"
            elif limit is not None and self.idle.get(i, 0) + 1 >= limit:
                paid, reason = self.config.terminal.unknown_frac, "halt_limit"
            else:
                continue
            held = self.shares.pop(key)
            received = held * self.mark[i] * (1 + paid)
            self.cash += received
            self.lots[key]["cash"] += received
            self.orders.append((t, i, -held, -held, "filled"))
            self.close_lot(key, self.lots.pop(key), t, reason)

    def charge_borrow(self):
        rate = self.costs.borrow_bps_ann / 1e4 * self.costs.stress_multiplier
        for i in range(self.n_assets):
            own = {key: s for key, s in self.shares.items() if key[1] == i}
            net = sum(own.values())
            if net >= 0:
                continue
            fee = -net * self.mark[i] * rate / self.config.periods_per_year
            self.day["borrow"] += fee
            self.cash -= fee
            short = {key: s for key, s in own.items() if s < 0}
            for key, s in short.items():
                self.lots[key]["cash"] -= fee * s / sum(short.values())
                self.lots[key]["costs"] += fee * s / sum(short.values())

    def plan(self, t):
        book, k = self.config.portfolio, int(self.targets.tranche[t])
        if k < 0:
            return
        for i in range(self.n_assets):
            weight, held = self.targets.weights[t, i], self.shares.get((k, i), 0.0)
            wanted = weight * self.equity / book.n_tranches / self.mark[i] if weight else 0.0
            change = wanted - held
            if wanted * held > 0 and abs(change) <= book.no_trade_band_frac * abs(wanted):
                continue
            if change:
                self.pending[i] = (k, change)

    def close_lot(self, key, lot, t, reason):
        self.trades.append((*key, lot["entry"], t, reason, lot["cash"], lot["side"], lot["costs"]))

    def book_fill(self, key, filled, price, cost, t):
        held = self.shares.get(key, 0.0)
        after = held + filled
        if held * filled < 0:
            closing = min(abs(held), abs(filled))
            part = closing / abs(filled)
            lot = self.lots[key]
            lot["cash"] += math.copysign(closing, held) * price - cost * part
            lot["costs"] += cost * part
            if after * held > 0:
                self.shares[key] = after
                return
            self.close_lot(key, self.lots.pop(key), t, "rebalance")
            filled, cost = after, cost * (1 - part)
        if filled:
            new = {"entry": t, "side": 1 if filled > 0 else -1, "cash": 0.0, "costs": 0.0}
            lot = self.lots.setdefault(key, new)
            lot["cash"] -= filled * price + cost
            lot["costs"] += cost
        self.shares[key] = after
        if not after:
            del self.shares[key]


BOOKS = [
    PortfolioConfig(names_per_side=2, max_weight_frac=1.0),
    PortfolioConfig(names_per_side=3, weighting="rank", max_weight_frac=0.2, rebalance_sessions=4),
    PortfolioConfig(
        names_per_side=2, max_weight_frac=1.0, rebalance="staggered", rebalance_sessions=5
    ),
    PortfolioConfig(mode="long_only", names_per_side=3, max_weight_frac=1.0, rank_buffer=1),
    PortfolioConfig(names_per_side=2, gross_exposure=1.6, max_weight_frac=1.0,
                    no_trade_band_frac=0.1),
]  # fmt: skip


@pytest.mark.parametrize("book", BOOKS)
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("profile", ["costly", "free"])
def test_engine_equals_a_plain_loop(seed, book, profile, make_market, request):
    costs = request.getfixturevalue(profile)
    market = make_market(seed)
    config = BacktestConfig(
        portfolio=book,
        cash_interest_bps_ann=200.0,
        halt_limit_sessions=8,
        terminal=TerminalReturns(merger_frac=0.02),
        beta_sessions=10,
        beta_min_sessions=5,
    )
    result = Backtester(config).run(
        market.scores, market.panel, costs=costs, delistings=market.delistings
    )
    daily, orders, trades = PlainSimulator(market, config, costs).run()
    assert len(result.daily) == len(daily)
    for column, name in {
        "equity": "equity",
        "cash": "cash",
        "interest": "interest",
        "dividends": "dividends",
        "traded_value": "traded",
        "cost_fees": "fees",
        "cost_spread": "spread",
        "cost_impact": "impact",
        "cost_borrow": "borrow",
    }.items():
        wanted = [day[name] for day in daily]
        np.testing.assert_allclose(result.daily[column], wanted, rtol=1e-9, atol=1e-6)
    _compare_orders(result, orders, market)
    _compare_trades(result, trades, market)


def _compare_orders(result, orders, market):
    ids = market.panel.asset_ids
    sessions = market.panel.time.index
    frame = result.orders
    assert len(frame) == len(orders)
    got = sorted(
        zip(frame["session"], frame["asset_id"], frame["status"], frame["ordered_shares"],
            frame["filled_shares"], strict=True)
    )  # fmt: skip
    wanted = sorted((sessions[t], ids[i], status, o, f) for t, i, o, f, status in orders)
    for left, right in zip(got, wanted, strict=True):
        assert left[:3] == right[:3]
        assert left[3:] == pytest.approx(right[3:], rel=1e-9, abs=1e-9)


def _compare_trades(result, trades, market):
    ids = market.panel.asset_ids
    sessions = market.panel.time.index
    frame = result.trades
    assert len(frame) == len(trades)
    costs = frame[["cost_fees", "cost_spread", "cost_impact", "cost_borrow"]].sum(axis=1)
    got = sorted(
        zip(frame["entry_session"], frame["asset_id"], frame["tranche"], frame["side"],
            frame["exit_session"], frame["exit_reason"], frame["pnl_net"], costs, strict=True)
    )  # fmt: skip
    wanted = sorted(
        (sessions[a], ids[i], k, "long" if side > 0 else "short", sessions[b], reason, cash, cost)
        for k, i, a, b, reason, cash, side, cost in trades
    )
    for left, right in zip(got, wanted, strict=True):
        assert left[:6] == right[:6]
        assert left[6:] == pytest.approx(right[6:], rel=1e-8, abs=1e-5)


def test_the_difficult_market_exercises_every_path(make_market, costly):
    """The twin proves nothing about a branch that its markets never take."""
    statuses, reasons = set(), set()
    for seed in range(3):
        market = make_market(seed)
        for book in BOOKS:
            config = BacktestConfig(portfolio=book, halt_limit_sessions=8)
            result = Backtester(config).run(
                market.scores, market.panel, costs=costly, delistings=market.delistings
            )
            statuses |= set(result.orders["status"].unique())
            reasons |= set(result.trades["exit_reason"].unique())
    assert statuses == {"filled", "partial", "no_bar", "below_min_fill", "adv_unknown"}
    assert reasons == {"rebalance", "delisting", "halt_limit", "end_of_run"}
