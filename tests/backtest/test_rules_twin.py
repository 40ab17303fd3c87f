"""The compiled rules against a plain account: same orders, same trades, same money.

The twin holds one dictionary per position, walks through each bar in words, and types every
formula again.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from quant_engine.backtest import BacktestConfig, Backtester, RuleConfig
from quant_engine.core.panel import Panel
from quant_engine.execution import TerminalReturns

pytestmark = pytest.mark.feature("Q-34")

CONFIG = BacktestConfig(
    cash_interest_bps_ann=200.0,
    halt_limit_sessions=8,
    terminal=TerminalReturns(merger_frac=0.02),
    beta_sessions=10,
    beta_min_sessions=5,
)


def with_ranges(market, seed):
    """Bars with highs and lows, an ATR with gaps, borrow fees and unborrowable sessions."""
    rng = np.random.default_rng(seed + 100)
    panel = market.panel
    opened, close = panel.field("open"), panel.field("close")
    high = np.maximum(opened, close) * (1.0 + 0.02 * rng.random(close.shape))
    low = np.minimum(opened, close) * (1.0 - 0.02 * rng.random(close.shape))
    atr = 0.02 * close * (0.5 + rng.random(close.shape))
    atr[:3] = np.nan
    fee = np.where(rng.random(close.shape) < 0.3, np.nan, 2000.0 * rng.random(close.shape))
    shortable = rng.random(close.shape) > 0.05
    fields = {**panel.fields, "high": high, "low": low, "atr": atr, "borrow_bps_ann": fee}
    masks = {**panel.masks, "shortable": shortable}
    return Panel(panel.time, panel.asset_ids, fields, masks, panel.groups, panel.price_basis)


class PlainAccount:
    """One session after another, one position after another."""

    def __init__(self, panel, scores, market, config, costs, rules):
        self.panel, self.config, self.costs, self.rules = panel, config, costs, rules
        ids = list(panel.asset_ids)
        self.order = sorted(range(len(ids)), key=lambda i: ids[i])
        self.bars = {name: np.asarray(panel.field(name)) for name in panel.fields}
        self.scores = scores
        self.n_rows, self.n_assets = panel.shape
        regimes = market.regimes["regime"]
        self.regime = [int(regimes.iloc[t]) for t in range(self.n_rows)]
        sessions = panel.time.values
        self.gone = {}
        for row in market.delistings.itertuples():
            first = int(np.searchsorted(sessions, np.datetime64(row.session, "D")))
            paid = row.terminal_return
            if math.isnan(paid):
                paid = config.terminal.merger_frac
            self.gone[ids.index(row.asset_id)] = (first, paid)
        self.lag = 0 if rules.unsafe_same_bar else 1

    def bar(self, name, t, i):
        return float(self.bars[name][t, i])

    def trades_on(self, t, i):
        o, c = self.bar("open", t, i), self.bar("close", t, i)
        return math.isfinite(o) and math.isfinite(c) and self.bar("volume", t, i) > 0

    def adv(self, t, i):
        value = [self.bar("close", s, i) * self.bar("volume", s, i) for s in range(t + 1)]
        known = [s for s, v in enumerate(value) if math.isfinite(v)]
        if not known or t - known[0] + 1 < self.costs.adv_min_sessions:
            return math.nan
        n = min(self.costs.adv_sessions, t - known[0] + 1)
        return sum(v for v in value[t - n + 1 : t + 1] if math.isfinite(v)) / n

    def last_close(self, t, i):
        known = [s for s in range(self.first, t + 1) if math.isfinite(self.bar("close", s, i))]
        return self.bar("close", known[-1], i) if known else math.nan

    def idle(self, t, i):
        n = 0
        while t - n >= self.first and not self.trades_on(t - n, i):
            n += 1
        return n

    def fill_price(self, t, i):
        if self.rules.fill == "next_open":
            return self.bar("open", t, i)
        if self.rules.fill == "next_close":
            return self.bar("close", t, i)
        return (self.bar("high", t, i) + self.bar("low", t, i) + self.bar("close", t, i)) / 3.0

    def run(self):
        member = self.panel.mask("member")
        usable = [
            t
            for t in range(self.n_rows)
            if any(
                math.isfinite(self.scores[t, i]) and member[t, i] and self.trades_on(t, i)
                for i in range(self.n_assets)
            )
        ]
        self.first = usable[0] - (1 - self.lag)
        self.cash = self.equity = self.config.initial_equity_usd
        self.long = self.short = 0.0
        self.held, self.last_exit, self.entries = {}, {}, []
        self.orders, self.trades, self.daily = [], [], []
        if self.lag:
            self.decide_entries(self.first)
        for t in range(self.first + 1, self.n_rows):
            self.session(t)
            if self.equity <= 0:
                break
        for i in list(self.held):
            self.close_lot(i, t, "end_of_run", self.last_close(t, i))
        return self.daily, self.orders, self.trades

    def session(self, t):
        kinds = ("interest", "dividends", "traded", "fees", "spread", "impact", "borrow")
        self.day = dict.fromkeys(kinds, 0.0)
        self.day["interest"] = self.cash * self.config.cash_interest_bps_ann / 1e4 / 252.0
        for i, lot in self.held.items():
            paid = self.bar("dividend", t, i)
            if math.isfinite(paid):
                self.day["dividends"] += lot["shares"] * paid
                lot["cash"] += lot["shares"] * paid
                lot["dividends"] += lot["shares"] * paid
        self.cash += self.day["interest"] + self.day["dividends"]
        if self.rules.fill == "next_open":
            self.fill_decided(t)
            self.live_through(t)
        else:
            self.live_through(t)
            if self.lag:
                self.fill_decided(t)
        self.settle(t)
        self.pay_borrow(t)
        self.value(t)
        if self.equity > 0 and (t < self.n_rows - 1 or not self.lag):
            self.decide_exits(t)
            self.decide_entries(t)
            if not self.lag:
                self.fill_decided(t)
                self.value(t)
        self.daily.append({"equity": self.equity, "cash": self.cash, **self.day})

    def value(self, t):
        values = [lot["shares"] * self.last_close(t, i) for i, lot in self.held.items()]
        self.long = sum(v for v in values if v > 0)
        self.short = -sum(v for v in values if v < 0)
        self.equity = self.cash + self.long - self.short

    def fill_decided(self, t):
        for i, lot in list(self.held.items()):
            if lot["exit"] and lot["tried"] != t:
                lot["tried"] = t
                self.reduce(t, i, lot["exit"], self.last_close(t - self.lag, i),
                            self.fill_price(t, i), self.lag)  # fmt: skip
        equity = self.equity
        for i, shares, reason in self.entries:
            decided = self.last_close(t - self.lag, i)
            if len(self.held) >= self.rules.max_positions:
                self.orders.append((t, i, reason, "no_slot", shares, 0.0, math.nan))
                continue
            price = self.fill_price(t, i)
            status, filled, cost = self.execute(t, i, shares, price, 0.0, self.lag)
            self.orders.append((t, i, reason, status, shares, filled, price))
            if filled:
                self.open(t, i, filled, price, cost, decided, reason, shares, equity)
        self.entries = []

    def execute(self, t, i, shares, price, held, lag):
        costs, adv = self.costs, self.adv(t - lag, i)
        if not self.trades_on(t, i):
            return "no_bar", 0.0, 0.0
        if costs.needs_adv and not adv > 0:
            return "adv_unknown", 0.0, 0.0
        fraction = 1.0
        if costs.participation_cap_frac is not None:
            fraction = min(1.0, costs.participation_cap_frac * adv / (abs(shares) * price))
        if held == 0 and fraction < costs.min_fill_frac:
            return "below_min_fill", 0.0, 0.0
        filled = shares * fraction
        value = abs(filled) * price
        half = costs.half_spread_bps / 1e4
        if costs.use_panel_spread and math.isfinite(self.bar("half_spread_frac", t, i)):
            half = self.bar("half_spread_frac", t, i)
        stress = costs.stress_multiplier
        fee, spread = value * costs.fee_bps / 1e4 * stress, value * half * stress
        impact = 0.0
        if costs.impact_coef_bps:
            impact = value * costs.impact_coef_bps / 1e4 * stress * math.sqrt(value / adv)
        self.cash -= filled * price + fee + spread + impact
        for name, amount in (("fees", fee), ("spread", spread), ("impact", impact),
                             ("traded", value)):  # fmt: skip
            self.day[name] += amount
        return ("filled" if fraction == 1 else "partial"), filled, fee + spread + impact

    def reduce(self, t, i, reason, decided, price, lag):
        lot = self.held[i]
        shares = -lot["shares"]
        status, filled, cost = self.execute(t, i, shares, price, lot["shares"], lag)
        self.orders.append((t, i, reason, status, shares, filled, price))
        if not filled:
            return
        lot["seen"].append(price)
        lot["cash"] -= filled * price + cost
        lot["paper"] -= filled * decided
        lot["shares"] += filled
        if status == "filled":
            lot["shares"] = 0.0
            self.close_lot(i, t, reason, 0.0)

    def open(self, t, i, filled, price, cost, decided, reason, ordered, equity):
        rules, side = self.rules, 1 if filled > 0 else -1
        label = self.regime[t - self.lag]
        factor = 1.0
        if rules.stop_regime_factor is not None and label >= 0:
            factor = rules.stop_regime_factor[label]
        lot = {
            "shares": filled, "side": side, "entry": t, "price": price, "seen": [price],
            "cash": -filled * price - cost, "paper": -filled * decided, "dividends": 0.0,
            "borrow": 0.0, "exit": None, "tried": None, "regime": label, "factor": factor,
            "atr": self.bar("atr", t - self.lag, i), "reason": reason, "decided": decided,
            "size": abs(filled) * price / equity, "ratio": filled / ordered,
            "stops": [], "target": None, "best": price, "value": abs(filled) * price,
            "paper_value": abs(filled) * decided,
        }  # fmt: skip
        if rules.hard_stop_frac:
            level = price * (1.0 - side * rules.hard_stop_frac * factor)
            lot["stops"].append((level, "hard_stop"))
        if rules.atr_stop_multiple:
            level = price - side * rules.atr_stop_multiple * factor * lot["atr"]
            lot["stops"].append((level, "atr_stop"))
        if rules.profit_target_frac:
            lot["target"] = price * (1.0 + side * rules.profit_target_frac)
        self.held[i] = lot
        self.trail(lot)

    def trail(self, lot):
        rules, side, best = self.rules, lot["side"], lot["best"]
        if side * (best / lot["price"] - 1.0) < rules.trailing_arm_frac:
            return
        if rules.trailing_stop_frac:
            level = best * (1.0 - side * rules.trailing_stop_frac * lot["factor"])
            lot["stops"].append((level, "trailing_stop"))
        if rules.trailing_atr_multiple:
            level = best - side * rules.trailing_atr_multiple * lot["factor"] * lot["atr"]
            lot["stops"].append((level, "trailing_stop"))

    def nearest_stop(self, lot):
        """The stop hit first; of equal levels the one that existed first."""
        if not lot["stops"]:
            return None
        levels = [level for level, _ in lot["stops"]]
        level = max(levels) if lot["side"] > 0 else min(levels)
        return level, next(reason for value, reason in lot["stops"] if value == level)

    def live_through(self, t):
        for i, lot in list(self.held.items()):
            if not self.trades_on(t, i):
                continue
            if lot["tried"] != t:
                hit = self.what_happens(t, i, lot)
                if hit:
                    reason, level, price, before = hit
                    lot["tried"] = t
                    lot["exit_seen"] = before
                    filled_before = lot["shares"]
                    self.reduce(t, i, reason, level, price, 1)
                    if i in self.held:
                        if lot["shares"] != filled_before:
                            lot["seen"].extend(before)
                        lot["exit"] = reason
            if i in self.held:
                lot["seen"] += [self.bar("high", t, i), self.bar("low", t, i)]
                lot["best"] = max(lot["seen"]) if lot["side"] > 0 else min(lot["seen"])
                self.trail(lot)

    def what_happens(self, t, i, lot):
        """Walk through the bar: open, then the bad side, then the good side."""
        stop, target, is_long = self.nearest_stop(lot), lot["target"], lot["side"] > 0
        opened, high, low = (self.bar(name, t, i) for name in ("open", "high", "low"))
        bad, good = (low, high) if is_long else (high, low)

        def beyond(price, level, falls):
            return price <= level if falls else price >= level

        if lot["entry"] < t:
            if stop and beyond(opened, stop[0], is_long):
                return stop[1], stop[0], opened, []
            if target and beyond(opened, target, not is_long):
                return "profit_target", target, opened, []
        if stop and beyond(bad, stop[0], is_long):
            return stop[1], stop[0], stop[0], []
        if target and beyond(good, target, not is_long):
            return "profit_target", target, target, [bad]
        return None

    def settle(self, t):
        for i, lot in list(self.held.items()):
            if self.trades_on(t, i):
                continue
            mark = self.last_close(t - 1, i)
            if i in self.gone and t >= self.gone[i][0]:
                price, reason = mark * (1.0 + self.gone[i][1]), "delisting"
            elif self.idle(t - 1, i) + 1 >= self.config.halt_limit_sessions:
                price, reason = mark * (1.0 + self.config.terminal.unknown_frac), "halt_limit"
            else:
                continue
            shares = lot["shares"]
            self.orders.append((t, i, reason, "filled", -shares, -shares, price))
            self.cash += shares * price
            lot["cash"] += shares * price
            lot["paper"] += shares * mark
            lot["seen"].append(price)
            lot["shares"] = 0.0
            self.close_lot(i, t, reason, 0.0)

    def pay_borrow(self, t):
        for i, lot in self.held.items():
            if lot["side"] > 0:
                continue
            rate = self.costs.borrow_bps_ann
            if math.isfinite(self.bar("borrow_bps_ann", t, i)):
                rate = self.bar("borrow_bps_ann", t, i)
            rate *= self.costs.stress_multiplier
            fee = -lot["shares"] * self.last_close(t, i) * rate / 1e4 / 252.0
            self.day["borrow"] += fee
            lot["borrow"] += fee
            lot["cash"] -= fee
        self.cash -= self.day["borrow"]

    def close_lot(self, i, t, reason, mark):
        lot = self.held.pop(i)
        lot["cash"] += lot["shares"] * mark
        lot["paper"] += lot["shares"] * mark
        seen = [p / lot["price"] - 1.0 for p in (*lot["seen"], *lot.get("exit_seen", ()))]
        moves = [lot["side"] * move for move in seen]
        short = lot["paper"] + lot["dividends"] - (lot["cash"] + lot["borrow"])
        self.last_exit[i] = t
        self.trades.append(
            (lot["entry"], i, t, reason, lot["reason"], lot["cash"], min(moves), max(moves),
             lot["ratio"], lot["size"], 1e4 * short / lot["paper_value"])
        )  # fmt: skip

    def called(self):
        limit = self.rules.maintenance_margin_frac
        return limit is not None and self.equity < limit * (self.long + self.short)

    def decide_exits(self, t):
        rules, called = self.rules, self.called()
        for i, lot in self.held.items():
            if lot["exit"]:
                continue
            old, new, score = lot["regime"], self.regime[t], self.scores[t, i]
            if called:
                lot["exit"] = "margin_call"
            elif lot["side"] < 0 and not self.panel.mask("shortable")[t, i]:
                lot["exit"] = "borrow_recall"
            elif rules.exit_on_regime_change and min(old, new) >= 0 and old != new:
                lot["exit"] = "regime"
            elif rules.holding_sessions and t + self.lag - lot["entry"] >= rules.holding_sessions:
                lot["exit"] = "holding_period"
            elif rules.exit_score is not None and lot["side"] * score < rules.exit_score:
                lot["exit"] = "signal"

    def decide_entries(self, t):
        rules = self.rules
        allowed = rules.entry_regimes is None or self.regime[t] in rules.entry_regimes
        if self.called() or not allowed:
            return
        staying = {i: lot for i, lot in self.held.items() if not lot["exit"]}
        room = rules.max_gross_frac * self.equity
        for i, lot in staying.items():
            room -= abs(lot["shares"] * self.last_close(t, i))
        slots = min(rules.max_positions, self.n_assets) - len(staying)
        wanted = rules.position_frac * self.equity
        strong = [i for i in self.order if abs(self.scores[t, i]) >= rules.entry_min]
        for i in sorted(strong, key=lambda i: -abs(self.scores[t, i])):
            if slots == 0:
                return
            if not self.may_open(t, i):
                continue
            value = min(wanted, room)
            if value <= 0 or value < self.costs.min_fill_frac * wanted:
                return
            side = 1 if self.scores[t, i] > 0 else -1
            reason = "entry" if value == wanted else "entry_cut_to_room"
            self.entries.append((i, side * value / self.last_close(t, i), reason))
            slots -= 1
            room -= value

    def may_open(self, t, i):
        rules, long = self.rules, self.scores[t, i] > 0
        since = t - self.last_exit.get(i, -(10**6))
        needs_atr = rules.atr_stop_multiple or rules.trailing_atr_multiple
        return (
            i not in self.held
            and since >= rules.reentry_wait_sessions
            and self.panel.mask("member")[t, i]
            and self.trades_on(t, i)
            and (not needs_atr or self.bar("atr", t, i) > 0)
            and rules.sides in ("both", "long" if long else "short")
            and (long or self.panel.mask("shortable")[t, i])
        )


RULES = {
    "plain": RuleConfig(entry_min=0.5, max_positions=4, position_frac=0.3, holding_sessions=5),
    "stops": RuleConfig(
        sides="both", entry_min=0.4, max_positions=5, position_frac=0.2, holding_sessions=9,
        hard_stop_frac=0.04, profit_target_frac=0.03, atr_stop_multiple=1.5,
        stop_regime_factor=(1.0, 0.8, 1.2, 1.5), reentry_wait_sessions=2,
    ),
    "trailing": RuleConfig(
        sides="both", entry_min=0.3, max_positions=6, position_frac=0.25, max_gross_frac=1.2,
        holding_sessions=None, trailing_atr_multiple=1.2, trailing_stop_frac=0.03,
        trailing_arm_frac=0.02, exit_score=-0.2, hard_stop_frac=0.06,
    ),
    "regimes": RuleConfig(
        sides="short", entry_min=0.2, max_positions=3, position_frac=0.3, holding_sessions=12,
        exit_on_regime_change=True, entry_regimes=(0, 2, -1), profit_target_frac=0.05,
    ),
    "margin": RuleConfig(
        sides="both", entry_min=0.2, max_positions=8, position_frac=0.6, max_gross_frac=4.0,
        holding_sessions=15, maintenance_margin_frac=0.6, trailing_stop_frac=0.1,
    ),
    "close": RuleConfig(
        sides="both", entry_min=0.4, max_positions=4, position_frac=0.25, holding_sessions=4,
        hard_stop_frac=0.03, profit_target_frac=0.03, fill="next_close",
    ),
    "vwap": RuleConfig(
        sides="both", entry_min=0.4, max_positions=4, position_frac=0.25, holding_sessions=1,
        hard_stop_frac=0.03, fill="next_vwap_proxy",
    ),
    "same_bar": RuleConfig(
        sides="both", entry_min=0.4, max_positions=4, position_frac=0.25, holding_sessions=3,
        profit_target_frac=0.02, atr_stop_multiple=1.0, fill="next_close", unsafe_same_bar=True,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def run_both(make_market, request):
    made = {}

    def run(seed, name, profile):
        key = (seed, name, profile)
        if key not in made:
            costs = request.getfixturevalue(profile)
            market = make_market(seed)
            panel = with_ranges(market, seed)
            scores = market.scores.copy()
            scores[0] = np.nan
            result = Backtester(CONFIG).run_signals(
                scores, panel, rules=RULES[name], costs=costs,
                delistings=market.delistings, regimes=market.regimes,
            )  # fmt: skip
            account = PlainAccount(panel, scores, market, CONFIG, costs, RULES[name])
            made[key] = result, account.run(), panel
        return made[key]

    return run


@pytest.mark.parametrize("name", list(RULES))
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("profile", ["costly", "free"])
def test_rules_equal_a_plain_account(seed, name, profile, run_both):
    result, (daily, orders, trades), panel = run_both(seed, name, profile)
    assert len(result.daily) == len(daily)
    columns = {
        "equity": "equity", "cash": "cash", "interest": "interest", "dividends": "dividends",
        "traded_value": "traded", "cost_fees": "fees", "cost_spread": "spread",
        "cost_impact": "impact", "cost_borrow": "borrow",
    }  # fmt: skip
    for column, key in columns.items():
        wanted = [day[key] for day in daily]
        np.testing.assert_allclose(result.daily[column], wanted, rtol=1e-9, atol=1e-6, err_msg=key)
    ids, sessions = panel.asset_ids, panel.time.index
    frame = result.orders
    assert len(frame) == len(orders)
    for row, (t, i, reason, status, ordered, filled, price) in zip(
        frame.itertuples(), orders, strict=True
    ):
        assert (row.session, row.asset_id, row.reason, row.status) == (
            sessions[t], ids[i], reason, status,
        )  # fmt: skip
        assert (row.ordered_shares, row.filled_shares) == pytest.approx((ordered, filled), rel=1e-9)
        if filled:
            assert row.reference_price == pytest.approx(price, rel=1e-12)
    frame = result.trades
    assert len(frame) == len(trades)
    for row, (entry, i, t, reason, why, *numbers) in zip(frame.itertuples(), trades, strict=True):
        assert (row.entry_session, row.asset_id, row.exit_session) == (
            sessions[entry], ids[i], sessions[t],
        )  # fmt: skip
        assert (row.exit_reason, row.entry_reason) == (reason, why)
        assert (
            row.pnl_net, row.mae_frac, row.mfe_frac, row.fill_ratio, row.size_frac,
            row.implementation_shortfall_bps,
        ) == pytest.approx(numbers, rel=1e-7, abs=1e-6)  # fmt: skip


def test_the_markets_take_every_branch(run_both):
    """The twin proves nothing about a branch that its markets never take."""
    statuses, exits, entries = set(), set(), set()
    for name, seed, profile in product(RULES, range(3), ("costly", "free")):
        result, _, _ = run_both(seed, name, profile)
        statuses |= set(result.orders["status"].unique())
        exits |= set(result.trades["exit_reason"].unique())
        entries |= set(result.trades["entry_reason"].unique())
    assert statuses == {
        "filled", "partial", "no_bar", "below_min_fill", "adv_unknown", "no_slot",
    }  # fmt: skip
    assert entries == {"entry", "entry_cut_to_room"}
    assert exits == {
        "delisting", "halt_limit", "end_of_run", "signal", "holding_period", "hard_stop",
        "atr_stop", "trailing_stop", "profit_target", "regime", "margin_call", "borrow_recall",
    }  # fmt: skip
