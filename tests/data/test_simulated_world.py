"""The equity world: contract, determinism, consistency of the vendor's tables, realism."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from quant_engine.core.asof import asof_join
from quant_engine.core.calendar import is_session
from quant_engine.core.errors import ConfigError
from quant_engine.core.ids import SecurityMaster
from quant_engine.core.panel import PriceBasis
from quant_engine.core.specs import SpecCatalog
from quant_engine.data.simulated import (
    AlphaShape,
    AlphaSpec,
    CorporateSpec,
    EquityWorld,
    EquityWorldConfig,
    FundamentalSpec,
    ListingSpec,
    MarketSpec,
    RegimeSpec,
    VolatilitySpec,
    simulate_equity_world,
)


def config(**changes) -> EquityWorldConfig:
    return EquityWorldConfig(**{"seed": 11, "n_assets": 80, "n_sessions": 900, **changes})


@pytest.fixture(scope="module")
def world() -> EquityWorld:
    """Many delistings, splits and halts, so that every table has rows."""
    return simulate_equity_world(
        config(
            listing=ListingSpec(delisted_7y_frac=0.4, n_ticker_reuses=2),
            corporate=CorporateSpec(split_above_usd=120.0, halt_rate=0.003),
        )
    )


@pytest.fixture(scope="module")
def plain() -> EquityWorld:
    return simulate_equity_world(config())


def returns_of(world: EquityWorld) -> np.ndarray:
    close = world.panel.field("close")
    cash = np.nan_to_num(world.panel.field("dividend"))
    return (close[1:] + cash[1:]) / close[:-1] - 1.0


def role(world: EquityWorld, name: str) -> np.ndarray:
    table = world.truth.characteristics
    return world.panel.field(table.loc[table["role"] == name, "name"].item()).astype(np.float64)


# ------------------------------------------------------------------ determinism


def test_same_configuration_gives_the_same_bytes(plain: EquityWorld):
    assert simulate_equity_world(config()).digest() == plain.digest()
    assert simulate_equity_world(config(seed=12)).digest() != plain.digest()


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_number_of_threads():
    script = (
        "from quant_engine.data.simulated import EquityWorldConfig, simulate_equity_world\n"
        "print(simulate_equity_world(EquityWorldConfig(seed=4, n_assets=30, n_sessions=200,"
        " alpha={'shape': 'mixed'})).digest())"
    )
    digests = set()
    for threads in ("1", "4"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            env={**os.environ, **dict.fromkeys(names, threads)},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"alpha": AlphaSpec(shape=AlphaShape.MIXED)}, ["factors", "lives", "fundamental lags"]),
        ({"listing": ListingSpec(delisted_7y_frac=0.6)}, ["factors"]),
        (
            {"fundamentals": FundamentalSpec(restated_frac=0.9)},
            ["factors", "lives", "bars", "characteristics"],
        ),
        ({"corporate": CorporateSpec(payer_frac=0.1)}, ["factors", "lives", "characteristics"]),
    ],
)
def test_one_knob_leaves_the_other_components_alone(
    plain: EquityWorld, change: dict[str, object], same: list[str]
):
    other = simulate_equity_world(config(**change))
    if "factors" in same:
        pd.testing.assert_frame_equal(other.truth.factor_returns, plain.truth.factor_returns)
        np.testing.assert_array_equal(other.truth.beta, plain.truth.beta)
        np.testing.assert_array_equal(other.truth.idio_vol, plain.truth.idio_vol)
    if "lives" in same:
        pd.testing.assert_frame_equal(other.delistings, plain.delistings)
        pd.testing.assert_frame_equal(other.security_master, plain.security_master)
    if "bars" in same:
        np.testing.assert_array_equal(other.panel.field("close"), plain.panel.field("close"))
    if "characteristics" in same:
        np.testing.assert_array_equal(other.panel.field("char_07"), plain.panel.field("char_07"))
    if "fundamental lags" in same:
        columns = ["asset_id", "item", "event_ts", "known_ts", "is_restatement"]
        pd.testing.assert_frame_equal(other.fundamentals[columns], plain.fundamentals[columns])
    assert other.digest() != plain.digest()


# ------------------------------------------------------------------ contract


def test_panel_has_the_canonical_shape(world: EquityWorld):
    panel = world.panel
    assert panel.shape == (900, 80)
    assert panel.price_basis is PriceBasis.SPLIT_ADJ
    assert world.raw_panel.price_basis is PriceBasis.RAW
    wanted = ["open", "high", "low", "close", "volume", "dividend", "half_spread_frac", "vwap"]
    characteristics = [f"char_{k:02d}" for k in range(40)]
    assert set(panel.fields) == {*wanted, "market_cap_usd", *characteristics}
    assert panel.field("close").dtype == np.float64
    assert panel.field("char_00").dtype == np.float32
    assert is_session("XNYS", panel.time.values).all()
    np.testing.assert_array_equal(panel.mask("tradable"), ~np.isnan(panel.field("open")))
    sector = panel.group("sector")
    assert len(sector.categories) == 10
    alive = ~np.isnan(world.truth.alpha)
    assert (sector.codes[alive] >= 0).all()
    assert (sector.codes[~alive] == -1).all()
    counts = np.bincount(sector.codes.max(axis=0))
    assert counts.min() == counts.max() == 8


def test_bars_are_ordered_positive_and_complete(world: EquityWorld):
    for panel in (world.panel, world.raw_panel):
        o, h, lo, c = (panel.field(name) for name in ("open", "high", "low", "close"))
        traded = ~np.isnan(c)
        for values in (o, h, lo, *(panel.field(n) for n in ("volume", "dividend", "vwap"))):
            np.testing.assert_array_equal(~np.isnan(values), traded)
        assert (h[traded] >= np.maximum(o, c)[traded]).all()
        assert (lo[traded] <= np.minimum(o, c)[traded]).all()
        assert (lo[traded] > 0).all()
    volume = world.raw_panel.field("volume")
    assert np.nanmin(volume) >= 1
    np.testing.assert_array_equal(volume[~np.isnan(volume)] % 1, 0.0)


def test_members_have_bars_except_in_halts(world: EquityWorld):
    member, tradable = world.panel.mask("member"), world.panel.mask("tradable")
    missing = member & ~tradable
    assert 0 < missing.sum() < 0.01 * member.sum()
    alive = ~np.isnan(world.truth.alpha)
    assert (alive | ~member).all()
    share = member.sum() / alive.sum()
    assert 0.85 < share <= 0.97


# ------------------------------------------------------------------ corporate actions


def test_split_adjusted_prices_are_raw_prices_over_later_splits(world: EquityWorld):
    assert len(world.splits) > 5
    factor = np.ones(world.panel.shape)
    for name, when, ratio in world.splits.itertuples(index=False):
        column = world.panel.asset_ids.index(name)
        factor[: world.panel.time.position(when), column] /= ratio
    for field in ("open", "high", "low", "close", "dividend"):
        np.testing.assert_allclose(
            world.panel.field(field), world.raw_panel.field(field) * factor, rtol=1e-12
        )
    np.testing.assert_allclose(
        world.panel.field("volume"), world.raw_panel.field("volume") / factor, rtol=1e-12
    )


def test_split_adjusted_prices_are_continuous_where_raw_ones_jump(world: EquityWorld):
    for name, when, ratio in world.splits.itertuples(index=False):
        column, row = world.panel.asset_ids.index(name), world.panel.time.position(when)
        raw, adjusted = (
            panel.field("close")[row, column] / panel.field("close")[row - 1, column]
            for panel in (world.raw_panel, world.panel)
        )
        assert adjusted == pytest.approx(raw * ratio, rel=1e-12)
        assert abs(adjusted - 1) < 0.35


def test_dividends_are_listed_as_paid_and_adjusted(world: EquityWorld):
    paid = world.dividends
    assert (paid["amount_usd"] > 0).all()
    field = world.panel.field("dividend")
    assert np.nansum(field) == pytest.approx(paid["amount_split_adj_usd"].sum(), rel=1e-12)
    row = paid.iloc[len(paid) // 2]
    column, at = (
        world.panel.asset_ids.index(row["asset_id"]),
        world.panel.time.position(row["ex_session"]),
    )
    assert world.raw_panel.field("dividend")[at, column] == row["amount_usd"]
    yield_frac = row["amount_usd"] / world.raw_panel.field("close")[at - 1, column]
    assert 0.001 < yield_frac < 0.0105
    per_name = paid.groupby("asset_id")["ex_session"].diff().dropna().dt.days
    assert per_name.median() == pytest.approx(91, abs=3)


def test_total_returns_do_not_know_about_splits(world: EquityWorld):
    raw, cash = world.raw_panel.field("close"), world.raw_panel.field("dividend")
    ratio = np.ones(world.panel.shape)
    for name, when, new_per_old in world.splits.itertuples(index=False):
        ratio[world.panel.time.position(when), world.panel.asset_ids.index(name)] = new_per_old
    total = (raw[1:] + cash[1:]) * ratio[1:] / raw[:-1] - 1.0
    np.testing.assert_allclose(total, returns_of(world), rtol=1e-9, atol=1e-12)


# ------------------------------------------------------------------ lives


@pytest.mark.feature("Q-13")
def test_delistings_end_the_bars_and_carry_terminal_returns(world: EquityWorld):
    gone = world.delistings
    assert len(gone) > 5
    assert set(gone["reason"]) == {"performance", "merger"}
    close = world.panel.field("close")
    for name, last, terminal, _ in gone.itertuples(index=False):
        column, row = world.panel.asset_ids.index(name), world.panel.time.position(last)
        assert not np.isnan(close[row, column])
        assert np.isnan(close[row + 1 :, column]).all()
        assert -1 <= terminal < 0.25
    assert (gone.loc[gone["reason"] == "performance", "terminal_return"] < 0).all()
    survivors = ~np.isin(world.panel.asset_ids, gone["asset_id"])
    assert not np.isnan(close[-1, survivors]).any()


@pytest.mark.feature("Q-12")
def test_a_reused_ticker_belongs_to_one_company_at_a_time(world: EquityWorld):
    master = SecurityMaster(world.security_master)  # refuses overlaps
    reused = world.security_master[world.security_master["ticker"].duplicated(keep=False)]
    assert len(reused) >= 2
    first, second = reused.iloc[0], reused.iloc[1]
    assert first["ticker"] == second["ticker"]
    assert first["asset_id"].endswith("#1")
    assert second["asset_id"].endswith("#2")
    assert first["valid_to"] < second["valid_from"]
    assert master.resolve(second["ticker"], second["valid_from"]) == second["asset_id"]
    assert master.resolve(first["ticker"], first["valid_from"]) == first["asset_id"]
    assert len(set(world.panel.asset_ids)) == 80


def test_delisting_count_and_loss_are_as_configured():
    count, expected, losses = 0, 0.0, []
    for seed in range(12):
        sample = simulate_equity_world(config(seed=seed, n_sessions=600))
        count += len(sample.delistings)
        expected += sample.truth.hazards.sum()
        losses.extend(sample.delistings["terminal_return"])
    rate = ListingSpec().delisting_rate
    assert 1 - (1 - rate) ** 1764 == pytest.approx(0.12)
    assert abs(count - expected) < 4 * np.sqrt(expected)
    assert np.mean(losses) == pytest.approx(-0.30, abs=4 * np.std(losses) / np.sqrt(len(losses)))


@pytest.mark.feature("Q-13")
def test_membership_spells_and_mask_say_the_same(world: EquityWorld):
    sessions = world.panel.time.values
    mask = np.zeros(world.panel.shape, dtype=bool)
    for name, start, end in world.membership.itertuples(index=False):
        inside = sessions >= np.datetime64(start)
        if not pd.isna(end):
            inside &= sessions < np.datetime64(end)
        assert not mask[inside, world.panel.asset_ids.index(name)].any()  # spells do not overlap
        mask[inside, world.panel.asset_ids.index(name)] = True
    np.testing.assert_array_equal(mask, world.panel.mask("member"))


@pytest.mark.leakage
def test_membership_is_decided_by_sizes_of_the_session_before_a_review(world: EquityWorld):
    member, size = world.panel.mask("member"), world.panel.field("market_cap_usd")
    changes = np.flatnonzero((member[1:] & ~member[:-1]).any(axis=1)) + 1
    assert set(np.diff(changes) % 63) == {0}
    review = changes[1]
    known = np.where(np.isnan(size[review - 1]), -np.inf, size[review - 1])
    joined = member[review] & ~member[review - 1]
    left_out = ~member[review] & np.isfinite(known)
    assert known[joined].min() > known[left_out].max()


# ------------------------------------------------------------------ fundamentals


def test_reports_have_lags_and_restatements(plain: EquityWorld):
    reports = plain.fundamentals
    lag = (reports["known_ts"].dt.normalize() - reports["event_ts"]).dt.days
    first = ~reports["is_restatement"]
    assert lag[first].between(30, 60).all()
    assert (lag[~first] > 30).all()
    assert set(reports["item"]) == {
        "revenue_usd",
        "net_income_usd",
        "total_assets_usd",
        "book_equity_usd",
    }
    keys = ["asset_id", "item", "event_ts"]
    assert not reports[first].duplicated(keys).any()
    early = reports["event_ts"] < reports["event_ts"].max() - pd.Timedelta(days=300)
    share = (early & ~first).sum() / (early & first).sum()
    assert share == pytest.approx(0.20, abs=0.03)
    both = reports[first].merge(reports[~first], on=keys, suffixes=("", "_again"))
    assert (both["known_ts_again"] > both["known_ts"]).all()
    assert (both["value_again"] != both["value"]).all()


@pytest.mark.leakage
def test_reports_join_as_of_what_was_known(plain: EquityWorld):
    reports = plain.fundamentals
    book = reports[reports["item"] == "book_equity_usd"]
    when = pd.Timestamp(plain.panel.time.values[300], tz="UTC")
    decisions = pd.DataFrame({"asset_id": list(plain.panel.asset_ids), "ts": when})
    decisions["ts"] = decisions["ts"].astype(book["known_ts"].dtype)
    joined = asof_join(decisions, book, by=["asset_id"], left_ts="ts")
    known = ~joined["value"].isna().to_numpy()
    alive = ~np.isnan(plain.truth.alpha[300])
    assert known[alive & ~np.isnan(plain.truth.alpha[0])].all()
    one = joined[known].iloc[0]
    history = book[(book["asset_id"] == one["asset_id"]) & (book["known_ts"] <= when)]
    assert one["value"] == history.sort_values("known_ts")["value"].iloc[-1]


# ------------------------------------------------------------------ benchmark


def test_benchmarks_are_returns_of_funds_of_members(world: EquityWorld):
    close = pd.DataFrame(world.panel.field("close")).ffill().to_numpy()
    open_ = pd.DataFrame(world.panel.field("open")).to_numpy()
    cash = np.nan_to_num(world.panel.field("dividend"))
    size, member = world.panel.field("market_cap_usd"), world.panel.mask("member")
    terminal = dict(
        zip(
            zip(world.delistings["asset_id"], world.delistings["last_session"], strict=True),
            world.delistings["terminal_return"],
            strict=True,
        )
    )
    last_rows = {world.panel.time.position(w) + 1 for _, w in terminal}
    for t in sorted({1, 50, 400, *list(last_rows)[:3]} - {900}):
        equal, weighted, weights = [], 0.0, 0.0
        for i in np.flatnonzero(member[t - 1]):
            key = (world.panel.asset_ids[i], world.panel.time.index[t - 1])
            change = terminal.get(key)
            if change is None:
                change = (close[t, i] + cash[t, i]) / close[t - 1, i] - 1
            equal.append(change)
            weighted += size[t - 1, i] * change
            weights += size[t - 1, i]
        row = world.benchmark.iloc[t]
        assert row["equal_weight"] == pytest.approx(np.mean(equal), rel=1e-9)
        assert row["cap_weight"] == pytest.approx(weighted / weights, rel=1e-9)
    held = member[9] & ~np.isnan(open_[10])
    night = ((open_[10] + cash[10]) / close[9] - 1)[held].mean()
    assert world.benchmark["equal_weight_overnight"].iloc[10] == pytest.approx(night, rel=1e-6)
    level = (1 + world.benchmark["equal_weight"].fillna(0)).cumprod().to_numpy()
    opens = level[:-1] * (1 + world.benchmark["equal_weight_overnight"].to_numpy()[1:])
    np.testing.assert_allclose(
        world.benchmark["equal_weight_open"].to_numpy()[2:], opens[1:] / opens[:-1] - 1, rtol=1e-9
    )


# ------------------------------------------------------------------ realism


def autocorrelation(values: np.ndarray, lag: int) -> float:
    centred = values - np.nanmean(values, axis=0)
    return float(np.nanmean(centred[lag:] * centred[:-lag]) / np.nanmean(centred**2))


@pytest.fixture(scope="module")
def large() -> EquityWorld:
    return simulate_equity_world(EquityWorldConfig(seed=2, n_assets=150, n_sessions=1500))


def test_volatility_clusters_while_returns_do_not(large: EquityWorld):
    change = returns_of(large)
    assert autocorrelation(np.abs(change), 1) > 0.08
    assert autocorrelation(np.abs(change), 20) > 0.03
    assert abs(autocorrelation(change, 1)) < 0.05


def test_tails_are_fat_and_skewed_by_leverage(large: EquityWorld):
    change = returns_of(large)
    pooled = pd.Series(change[~np.isnan(change)])
    assert pooled.kurt() > 4
    assert pooled.abs().max() < 0.9
    index = large.benchmark["equal_weight"].to_numpy()[1:]
    future = np.array([np.abs(index[t + 1 : t + 11]).mean() for t in range(index.size - 10)])
    assert np.corrcoef(index[:-10], future)[0, 1] < -0.03


def test_levels_of_volatility_and_correlation():
    names, pairs, market = [], [], []
    for seed in range(8):  # regimes make single samples differ a lot
        sample = simulate_equity_world(config(seed=seed, n_assets=60))
        change = returns_of(sample)
        names.extend(np.nanstd(change, axis=0) * np.sqrt(252))
        matrix = pd.DataFrame(change).corr(min_periods=250).to_numpy()
        pairs.append(np.nanmean(matrix[np.triu_indices_from(matrix, 1)]))
        market.append(sample.benchmark["equal_weight"].std() * np.sqrt(252))
    assert 0.25 < np.nanmedian(names) < 0.38
    low, high = np.nanquantile(names, [0.05, 0.95])
    assert 0.18 < low < 0.28
    assert 0.35 < high < 0.48
    assert 0.20 < np.mean(pairs) < 0.40
    assert 0.12 < np.mean(market) < 0.22


def test_turbulence_raises_volatility_and_correlation(large: EquityWorld):
    change = returns_of(large)
    state = large.truth.regime[:-1]
    vol, corr = {}, {}
    for k in (0, 2):
        rows = pd.DataFrame(change[state == k])
        vol[k] = float(np.nanmedian(rows.std()))
        matrix = rows.corr(min_periods=100).to_numpy()
        corr[k] = float(np.nanmean(matrix[np.triu_indices_from(matrix, 1)]))
    assert vol[2] > 1.4 * vol[0]
    assert corr[2] > corr[0] + 0.1


def test_volume_range_and_spread_behave(large: EquityWorld):
    change, panel = np.abs(returns_of(large)), large.panel
    shock = np.log(panel.field("volume"))[1:]
    shock = shock - np.nanmean(shock, axis=0)
    known = ~np.isnan(change) & ~np.isnan(shock)
    assert np.corrcoef(change[known], shock[known])[0, 1] > 0.2
    half_spread, size = panel.field("half_spread_frac")[700], panel.field("market_cap_usd")[700]
    alive = ~np.isnan(size)
    assert np.corrcoef(np.log(half_spread[alive]), np.log(size[alive]))[0, 1] < -0.8
    assert 0.5e-4 < np.nanmedian(half_spread) < 6e-4
    # Parkinson's range variance against the close-to-open variance of the same bars.
    high_low = np.log(panel.field("high") / panel.field("low"))
    park = np.sqrt(np.nanmean(high_low**2) / (4 * np.log(2)))
    intraday = np.nanstd(np.log(panel.field("close") / panel.field("open")))
    assert park == pytest.approx(intraday, rel=0.2)


def test_overnight_share_of_variance(large: EquityWorld):
    panel = large.panel
    night = np.log(panel.field("open")[1:] / panel.field("close")[:-1])
    day = np.log(panel.field("close") / panel.field("open"))
    share = np.nanvar(night) / (np.nanvar(night) + np.nanvar(day))
    assert share == pytest.approx(0.3, abs=0.03)


def test_characteristics_are_uniform_ranks_with_the_stated_persistence(large: EquityWorld):
    for name, _, persistence in large.truth.characteristics.itertuples(index=False):
        values = large.panel.field(name)
        assert np.nanmax(np.abs(values)) < 1
        assert abs(np.nanmean(values)) < 1e-6
        assert np.nanvar(values) == pytest.approx(1 / 3, rel=0.02)
        assert autocorrelation(values.astype(np.float64), 1) == pytest.approx(
            persistence, abs=0.015
        )


def test_characteristics_predict_risk_in_the_null(large: EquityWorld):
    truth = large.truth
    alive = ~np.isnan(truth.alpha)
    assert np.corrcoef(role(large, "beta")[alive], truth.beta[alive])[0, 1] > 0.5
    loading = truth.style_loadings[3][alive]
    assert np.corrcoef(role(large, "style_3")[alive], loading)[0, 1] > 0.5
    change = np.abs(returns_of(large))
    vol_char = role(large, "volatility")[:-1]
    known = ~np.isnan(change) & ~np.isnan(vol_char)
    assert np.corrcoef(vol_char[known], change[known])[0, 1] > 0.05
    hazard = truth.hazards[0][alive]
    assert np.corrcoef(role(large, "distress")[alive], hazard)[0, 1] > 0.5


# ------------------------------------------------------------------ configuration


@pytest.mark.parametrize("name", SpecCatalog.default().names("worlds"))
def test_shipped_worlds_load(name: str):
    loaded = SpecCatalog.default().load("worlds", name, EquityWorldConfig)
    assert loaded.config_id() == EquityWorldConfig(**loaded.content()).config_id()
    assert name == "demo" or loaded.n_assets == 300
    if name.startswith("null"):
        assert loaded.alpha.shape is AlphaShape.NONE


def test_shipped_alpha_worlds_cover_every_shape():
    catalog = SpecCatalog.default()
    shapes = {
        catalog.load("worlds", name, EquityWorldConfig).alpha.shape
        for name in catalog.names("worlds")
    }
    assert shapes == set(AlphaShape)


@pytest.mark.parametrize(
    "build",
    [
        lambda: config(n_assets=5),
        lambda: config(alpha=AlphaSpec(horizon_sessions=252), n_sessions=300),
        lambda: config(listing=ListingSpec(n_ticker_reuses=20), n_assets=40),
        lambda: VolatilitySpec(alpha=0.2, beta=0.85, leverage=1.0, degrees_of_freedom=5),
        lambda: VolatilitySpec(alpha=0.1, beta=0.85, degrees_of_freedom=2),
        lambda: ListingSpec(mean_terminal_return=-0.9),
        lambda: MarketSpec(regimes=()),
        lambda: EquityWorldConfig(seed=1, unknown=3),
    ],
)
def test_impossible_settings_are_refused(build):
    with pytest.raises(ValidationError):
        build()


def test_a_calendar_with_too_few_sessions_is_refused(monkeypatch: pytest.MonkeyPatch):
    few = np.arange("2012-01-03", "2012-03-01", dtype="datetime64[D]")
    monkeypatch.setattr("quant_engine.data.simulated.simulate.sessions_between", lambda *_: few)
    with pytest.raises(ConfigError, match="at most 58 sessions of XNYS"):
        simulate_equity_world(config())


def test_one_regime_is_a_world_too():
    calm = MarketSpec(
        regimes=(RegimeSpec(name="only", mean_duration_sessions=50, market_vol_ann=0.15),)
    )
    assert (simulate_equity_world(config(n_sessions=200, market=calm)).truth.regime == 0).all()


@pytest.mark.slow
def test_reference_world_takes_less_than_three_seconds():
    reference = EquityWorldConfig(seed=1, alpha=AlphaSpec(shape=AlphaShape.MIXED))
    simulate_equity_world(reference)
    start = time.process_time()
    simulate_equity_world(reference)
    assert time.process_time() - start < 3.0
