"""Sizing inside the backtest: a plain twin, what is known when, and caps on every decided book."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_engine.backtest import BacktestConfig, Backtester, PortfolioConfig, RuleConfig
from quant_engine.backtest.portfolio import target_weights
from quant_engine.backtest.sizing import book_returns, session_returns, sized_targets, target_book
from quant_engine.core.errors import ConfigError
from quant_engine.core.panel import Panel, PriceBasis, TimeAxis
from quant_engine.core.specs import SpecCatalog
from quant_engine.risk import CapConfig, KellyConfig, SizingConfig, VolatilityConfig
from quant_engine.risk.sizing import VolatilityTarget

BOOK = PortfolioConfig(
    names_per_side=3, max_weight_frac=0.3, rebalance="staggered", rebalance_sessions=3
)
SHORT = VolatilityConfig(window_sessions=8, min_sessions=4)
EVERY_STEP = SizingConfig(
    weighting="inverse_volatility",
    volatility=SHORT,
    target=VolatilityTarget(target_ann=0.3, max_leverage=2.5, volatility=SHORT),
    kelly=KellyConfig(window=15, min_observations=5, cost_bps=20.0),
    caps=CapConfig(max_name_frac=0.25, max_gross_frac=1.1, max_net_frac=0.15),
)
SPECS = {
    name: SpecCatalog.default().load("sizing", name, SizingConfig)
    for name in ("equal", "inverse_volatility", "vol_target", "fractional_kelly")
}


def chosen_of(market, book=BOOK):
    return target_weights(market.scores, config=book, asset_ids=market.panel.asset_ids)


def sized(market, sizing, *, panel=None, book=BOOK, factor=None):
    config = BacktestConfig(portfolio=book, sizing=sizing)
    return sized_targets(
        chosen_of(market, book),
        panel or market.panel,
        config=config,
        sizing=sizing,
        regime_factor=factor,
    )


def poisoned(panel, row):
    fields = {name: np.array(values) for name, values in panel.fields.items()}
    for values in fields.values():
        values[row + 1 :] *= np.linspace(3.0, 9.0, values[row + 1 :].size).reshape(
            values[row + 1 :].shape
        )
    return Panel(panel.time, panel.asset_ids, fields, panel.masks, panel.groups, panel.price_basis)


@pytest.mark.leakage
@pytest.mark.parametrize("sizing", [*SPECS.values(), EVERY_STEP], ids=[*SPECS, "every_step"])
def test_later_prices_change_no_weight(make_market, sizing) -> None:
    market = make_market(3)
    for row in (20, 41):
        before = sized(market, sizing).weights
        after = sized(market, sizing, panel=poisoned(market.panel, row)).weights
        assert before[: row + 1].tobytes() == after[: row + 1].tobytes()
    if sizing is EVERY_STEP:
        assert not np.array_equal(before[row + 1 :], after[row + 1 :])


@pytest.mark.parametrize("seed", range(5))
def test_caps_hold_for_every_tranche_and_for_the_whole_book(make_market, seed) -> None:
    made = sized(make_market(seed), EVERY_STEP)
    caps = EVERY_STEP.caps
    for weights in (made.weights, target_book(made)):
        assert np.abs(weights).max() <= caps.max_name_frac * (1 + 1e-12)
        assert np.abs(weights).sum(axis=1).max() <= caps.max_gross_frac * (1 + 1e-12)
        assert np.abs(weights.sum(axis=1)).max() <= caps.max_net_frac + 1e-12
    assert np.abs(made.weights).sum() > 0


def test_the_tighter_of_both_name_caps_holds(make_market) -> None:
    book = BOOK.model_copy(update={"max_weight_frac": 0.12})
    weights = sized(make_market(1), SPECS["vol_target"], book=book).weights
    assert np.abs(weights).max() == pytest.approx(0.10)
    tight = book.model_copy(update={"max_weight_frac": 0.07})
    assert np.abs(sized(make_market(1), SPECS["vol_target"], book=tight).weights).max() == (
        pytest.approx(0.07)
    )


# ------------------------------------------------------------------- a plain twin of every step


def plain_close_returns(panel, i):
    """Returns from the last close before, by walking down a column."""
    last, out = None, []
    dividend = panel.fields.get("dividend")
    for t in range(panel.shape[0]):
        close = panel.field("close")[t, i]
        cash = 0.0 if dividend is None or np.isnan(dividend[t, i]) else dividend[t, i]
        out.append(np.nan if last is None or np.isnan(close) else (close + cash) / last - 1)
        last = last if np.isnan(close) else close
    return out


def plain_vol(returns, t, config, periods=252.0):
    known = [r for r in returns[max(0, t + 1 - config.window_sessions) : t + 1] if not np.isnan(r)]
    if len(known) < config.min_sessions:
        return np.nan
    return max(config.floor_ann, np.std(known, ddof=1) * periods**0.5)


def plain_capped(row, caps):
    row = np.clip(row, -caps.max_name_frac, caps.max_name_frac)
    row = row * min(1.0, caps.max_gross_frac / max(np.abs(row).sum(), 1e-300))
    longs, shorts = row[row > 0].sum(), -row[row < 0].sum()
    if longs - shorts > caps.max_net_frac:
        row = np.where(row > 0, row * (shorts + caps.max_net_frac) / longs, row)
    if shorts - longs > caps.max_net_frac:
        row = np.where(row < 0, row * (longs + caps.max_net_frac) / shorts, row)
    return row


def plain_weighed(row, vols, caps):
    out = np.zeros(len(row))
    for side in (1, -1):
        free = [i for i in range(len(row)) if side * row[i] > 0 and np.isfinite(vols[i])]
        left = sum(side * row[i] for i in range(len(row)) if side * row[i] > 0)
        while free:
            total = sum(1 / vols[i] for i in free)
            shares = {i: left / vols[i] / total for i in free}
            over = [i for i in free if shares[i] > caps.max_name_frac * (1 + 1e-12)]
            for i in over or free:
                out[i] = side * min(shares[i], caps.max_name_frac)
            if not over:
                break
            left -= caps.max_name_frac * len(over)
            free = [i for i in free if i not in over]
    return plain_capped(out, caps)


def plain_book_return(books, panel, t, cost_bps):
    """Return of session t of the books wanted after the two closes before."""
    old = books[t - 2] if t >= 2 else np.zeros(panel.shape[1])
    new = books[t - 1] if t >= 1 else np.zeros(panel.shape[1])
    if not (old.any() or new.any()):
        return np.nan
    total = 0.0
    for i in range(panel.shape[1]):
        open_, close = panel.field("open")[t, i], panel.field("close")[t, i]
        if np.isnan(open_):
            continue
        before = [c for c in panel.field("close")[:t, i] if not np.isnan(c)]
        cash = np.nan_to_num(panel.field("dividend")[t, i])
        if before:
            total += old[i] * ((open_ + cash) / before[-1] - 1)
        total += new[i] * (close / open_ - 1)
    return total - cost_bps / 1e4 * np.abs(new - old).sum()


def plain_kelly(results, config):
    known = [r for r in results if not np.isnan(r)][-config.window :]
    if len(known) < config.min_observations:
        return config.min_multiplier
    mean, error = np.mean(known), np.std(known, ddof=1) / len(known) ** 0.5
    if mean <= 0:
        return 0.0
    full = mean * max(0.0, 1 - error**2 / mean**2) / np.mean(np.square(known))
    return float(np.clip(config.fraction * full, config.min_multiplier, config.max_multiplier))


def plain_sized(chosen, panel, sizing, regime_factor):
    caps, n = sizing.caps, panel.shape[1]
    returns = [plain_close_returns(panel, i) for i in range(n)]
    latest, books, free, costly = {}, [], [], []
    out = np.zeros_like(chosen.weights)
    for t in range(panel.shape[0]):
        free.append(plain_book_return(books, panel, t, 0.0))
        costly.append(plain_book_return(books, panel, t, sizing.kelly.cost_bps))
        k = int(chosen.tranche[t])
        if k >= 0:
            vols = [plain_vol(returns[i], t, sizing.volatility) for i in range(n)]
            row = latest[k] = plain_weighed(chosen.weights[t], vols, caps)
            vol = plain_vol(free, t, sizing.target.volatility)
            scale = 1.0 if np.isnan(vol) else min(2.5, sizing.target.target_ann / vol)
            for factor in (scale, plain_kelly(costly, sizing.kelly), regime_factor[t]):
                row = plain_capped(row * factor, caps)
            out[t] = row
        books.append(np.mean(list(latest.values()), axis=0) if latest else np.zeros(n))
    return out


@pytest.mark.parametrize("seed", [0, 7])
def test_every_step_equals_a_plain_loop(make_market, seed) -> None:
    market = make_market(seed)
    factor = np.random.default_rng(seed).choice([0.0, 0.6, 1.0, 1.2], 60)
    made = sized(market, EVERY_STEP, factor=factor)
    wanted = plain_sized(chosen_of(market), market.panel, EVERY_STEP, factor)
    np.testing.assert_allclose(made.weights, wanted, rtol=1e-9, atol=1e-12)
    assert len(np.unique(np.abs(made.weights).sum(axis=1).round(6))) > 10


# ------------------------------------------------------------------------- the simulator's view


def smooth_market(n_rows=400, seed=2):
    rng = np.random.default_rng(seed)
    scale = np.repeat([0.004, 0.02, 0.008], [150, 100, 150])[:n_rows, None]
    steps = rng.normal(0.0003, 1.0, (n_rows, 6)) * scale * [0.5, 0.7, 1.0, 1.3, 1.6, 2.0]
    close = 50 * np.exp(np.cumsum(steps, axis=0))
    open_ = close * np.exp(-0.6 * steps)
    axis = TimeAxis.sessions(pd.bdate_range("2015-01-01", periods=n_rows).to_numpy())
    names = tuple(f"{letter}@US#1" for letter in "ABCDEF")
    fields = {"open": open_, "close": close, "volume": np.full(close.shape, 1e12)}
    return Panel(axis, names, fields), rng.normal(0, 1, close.shape)


def test_the_virtual_book_earns_what_the_simulator_earns_without_costs(free) -> None:
    panel, scores = smooth_market()
    book = PortfolioConfig(names_per_side=2, max_weight_frac=1.0)
    daily = Backtester(BacktestConfig(portfolio=book)).run(scores, panel, costs=free).daily
    made = target_weights(scores, config=book, asset_ids=panel.asset_ids)
    virtual = pd.Series(book_returns(target_book(made), panel), panel.time.index)
    both = pd.concat([daily["ret_net"], virtual], axis=1, join="inner").dropna()
    assert len(both) > 350
    # The virtual book is set back to its weights; the real one drifts during a session.
    np.testing.assert_allclose(both.iloc[:, 0], both.iloc[:, 1], atol=1e-3)
    assert np.corrcoef(both.T)[0, 1] > 0.999


def test_a_volatility_target_holds_the_volatility_where_the_market_changes(free) -> None:
    panel, scores = smooth_market()
    book = PortfolioConfig(mode="long_only", names_per_side=6, max_weight_frac=1.0)
    target = VolatilityTarget(target_ann=0.10, max_leverage=4.0)
    caps = CapConfig(max_name_frac=1.0, max_gross_frac=4.0)
    sizing = SizingConfig(target=target, caps=caps)
    found = {}
    for name, config in (
        ("plain", BacktestConfig(portfolio=book)),
        ("sized", BacktestConfig(portfolio=book, sizing=sizing)),
    ):
        daily = Backtester(config).run(scores, panel, costs=free).daily["ret_net"].to_numpy()
        found[name] = [daily[a:b].std(ddof=1) * 252**0.5 for a, b in ((30, 148), (175, 248))]
    assert found["plain"][1] / found["plain"][0] > 3.0
    np.testing.assert_allclose(found["sized"], 0.10, rtol=0.15)


def test_inverse_volatility_gives_every_name_the_same_risk() -> None:
    panel, scores = smooth_market()
    book = PortfolioConfig(mode="long_only", names_per_side=6, max_weight_frac=1.0)
    sizing = SizingConfig(
        weighting="inverse_volatility",
        volatility=VolatilityConfig(window_sessions=None, half_life_sessions=30.0),
        caps=CapConfig(max_name_frac=1.0),
    )
    config = BacktestConfig(portfolio=book, sizing=sizing)
    chosen = target_weights(scores, config=book, asset_ids=panel.asset_ids)
    weights = sized_targets(chosen, panel, config=config, sizing=sizing).weights
    squares = session_returns(panel) ** 2
    decay = 0.5 ** (np.arange(300)[::-1] / 30.0)
    recent = np.nansum(squares[:300] * decay[:, None], axis=0) ** 0.5
    risk = weights[299] * recent
    np.testing.assert_allclose(risk, risk.mean(), rtol=1e-9)
    assert weights[299].sum() == pytest.approx(1.0)
    assert not weights[10].any()  # nobody has a volatility yet: in cash


def test_splits_beside_raw_prices_are_no_returns() -> None:
    panel, _ = smooth_market(60)
    ratio = np.ones(panel.shape)
    ratio[20, 0], ratio[40, 1], ratio[41, 1] = 2.0, 0.1, np.nan
    raw = {n: np.array(panel.field(n)) for n in ("open", "close")}
    dividend = np.zeros(panel.shape)
    dividend[[15, 30], 0] = 0.5
    shares = np.cumprod(np.nan_to_num(ratio, nan=1.0), axis=0)
    raw = {name: values / shares for name, values in raw.items()}
    split = Panel(
        panel.time,
        panel.asset_ids,
        {**raw, "split_factor": ratio, "dividend": dividend / shares},
    )
    plain = Panel(panel.time, panel.asset_ids, {**panel.fields, "dividend": dividend})
    np.testing.assert_allclose(session_returns(split), session_returns(plain), rtol=1e-9)
    book = np.random.default_rng(1).normal(0, 0.2, panel.shape)
    np.testing.assert_allclose(book_returns(book, split), book_returns(book, plain), rtol=1e-9)


def test_raw_prices_beside_their_splits_give_the_same_book(free) -> None:
    panel, scores = smooth_market(120)
    factor = np.ones(panel.shape)
    factor[50, 0], factor[80, 3] = 4.0, 0.5
    shares = np.cumprod(factor, axis=0)
    raw = Panel(
        panel.time,
        panel.asset_ids,
        {
            "open": panel.field("open") / shares,
            "close": panel.field("close") / shares,
            "volume": panel.field("volume") * shares,
            "split_factor": factor,
        },
        price_basis=PriceBasis.RAW,
    )
    book = PortfolioConfig(names_per_side=2, max_weight_frac=0.5)
    backtester = Backtester(BacktestConfig(portfolio=book, sizing=SPECS["vol_target"]))
    adjusted = backtester.run(scores, panel, costs=free).daily["equity"]
    unadjusted = backtester.run(scores, raw, costs=free).daily["equity"]
    np.testing.assert_allclose(unadjusted, adjusted, rtol=1e-9)


def test_evenly_weighted_books_are_what_they_were(make_market, costly) -> None:
    market = make_market(2)
    # Where no cap binds, it makes no difference that the regime's factor comes last.
    book = BOOK.model_copy(update={"max_weight_frac": 1.0})
    plain = BacktestConfig(portfolio=book, regime_size=(1.0, 0.85, 0.95, 0.6))
    even = SizingConfig(weighting="equal", caps=CapConfig(max_name_frac=1.0))
    runs = [
        Backtester(config).run(market.scores, market.panel, costs=costly, regimes=market.regimes)
        for config in (plain, plain.model_copy(update={"sizing": even}))
    ]
    pd.testing.assert_frame_equal(runs[0].daily, runs[1].daily, rtol=1e-9)
    pd.testing.assert_frame_equal(runs[0].orders, runs[1].orders, rtol=1e-9)


def test_infeasible_caps_stop_a_run_that_asks_for_it(make_market, costly) -> None:
    market = make_market(0)
    sizing = SizingConfig(caps=CapConfig(max_name_frac=0.1, when_full="error"))
    backtester = Backtester(BacktestConfig(portfolio=BOOK, sizing=sizing))
    with pytest.raises(ConfigError, match=r"3 names under a cap of 0\.1 .*decision 0"):
        backtester.run(market.scores, market.panel, costs=costly)


def test_rules_refuse_a_sizing(make_market, costly) -> None:
    market = make_market(0)
    backtester = Backtester(BacktestConfig(sizing=SPECS["equal"]))
    with pytest.raises(ConfigError, match="no sizing beside rules"):
        backtester.run_signals(market.scores, market.panel, rules=RuleConfig(), costs=costly)


# ---------------------------------------------------------------------------- what is recorded


def test_a_book_without_sizing_keeps_its_identity() -> None:
    assert "sizing" not in BacktestConfig().content()
    config = BacktestConfig(sizing=EVERY_STEP)
    assert config.config_id() != BacktestConfig().config_id()
    assert BacktestConfig.model_validate(config.content()) == config
    assert config.content()["sizing"] == EVERY_STEP.content()
    assert set(EVERY_STEP.content()) == {"weighting", "volatility", "target", "kelly", "caps"}


@pytest.mark.feature("L-21")
def test_sizes_depend_on_no_variable_of_the_environment(make_market, costly, monkeypatch) -> None:
    market = make_market(4)
    config = BacktestConfig(portfolio=BOOK, sizing=EVERY_STEP)

    clean = Backtester(config).run(market.scores, market.panel, costs=costly)
    for name, value in {
        "QE_BACKTEST__SIZING__TARGET__TARGET_ANN": "0.9",
        "QE_BACKTEST__SIZING__CAPS__MAX_NAME_FRAC": "1.0",
        "QE_SIZING": "equal",
        "QE_KELLY_FRACTION": "1.0",
        "KELLY_FRACTION": "1.0",
        "MAX_LEVERAGE": "9",
        "TARGET_VOL": "0.9",
        "PYTHONHASHSEED": "1",
        "NUMBA_NUM_THREADS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    again = Backtester(BacktestConfig.model_validate(config.content())).run(
        market.scores, market.panel, costs=costly
    )
    assert again.config.config_id() == clean.config.config_id()
    pd.testing.assert_frame_equal(again.orders, clean.orders)
    pd.testing.assert_frame_equal(again.daily, clean.daily)
