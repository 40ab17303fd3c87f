"""Defects that earlier event-market code is known for, one by one: none of them comes back.

The numbers are those of the public audits of such code: directions read from words (1), results
joined by place (2), writes that null what was known (3), capacity counted per look (4), zeros taken
for absent values (5), moments without a direction (6), versions ordered as text (7), damaged bins
(8), values put into the text of queries (9), first prints mixed with revisions (10), purges that
are not wired (11), stress gates that pass on nothing (12), keys that show (13), ways out without
all fields (14), times as text and fees as basis points (15).
"""

import copy
import traceback
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from quant_engine.core.errors import ConfigError, DataError, SchemaMismatchError
from quant_engine.core.specs import SpecCatalog
from quant_engine.core.tracks import Track
from quant_engine.governance.bundle import Metric, MetricBundle
from quant_engine.governance.catalogue import MetricCatalogue
from quant_engine.governance.gate_specs import load_profile
from quant_engine.governance.gates import Status, evaluate_gates
from quant_engine.kalshi.boosting import BoostingConfig
from quant_engine.kalshi.distribution import (
    LadderDistribution,
    fit_distribution,
    prepare_ladder,
    reconstruct,
)
from quant_engine.kalshi.events import ladder_at, map_events, outcomes_asof, put_outcomes
from quant_engine.kalshi.exchange import fixed, wire
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.records import Event, Market
from quant_engine.kalshi.exchange.signing import Signer
from quant_engine.kalshi.exchange.timing import VirtualTimer
from quant_engine.kalshi.execution import FillConfig, decide_orders, fill_orders
from quant_engine.kalshi.fake.edge_worlds import EdgeWorldConfig, make_edge_world
from quant_engine.kalshi.fees import FeeEntry, Fill, trade_fee_e6
from quant_engine.kalshi.lattice import SettlementGrid, find_structure_faults, ladder_structure
from quant_engine.kalshi.models import ModelConfig
from quant_engine.kalshi.payoffs import STRIKE_TYPES, Contract, payoff_set
from quant_engine.kalshi.promotion import PROFILE, origin_of
from quant_engine.kalshi.quotes import LegQuote, ladder_quotes
from quant_engine.kalshi.storage import KalshiStore
from quant_engine.kalshi.store.asof import versions_asof
from quant_engine.kalshi.store.writing import Sighting, put_events, put_markets
from quant_engine.kalshi.walkforward import (
    DAY_US,
    WalkForwardEventsConfig,
    WalkForwardForecasts,
    plan_folds,
)

pytestmark = pytest.mark.feature("Q-45")

GRID = SettlementGrid(1.0)
MODEL = prepare_ladder(
    ladder_structure(
        [Contract(f"T{k}", "greater", float(k)) for k in range(1, 9)], GRID, is_exclusive=False
    )
)
QUADRATIC = FeeEntry("series", "S", "quadratic")
CONFIG = WalkForwardEventsConfig(models=ModelConfig(boosting=BoostingConfig(n_trees=10)))
FACT = {"recorded_us": 9, "avail_basis": "recorded", "src": "x"}


@pytest.fixture
def store(tmp_path):
    with KalshiStore(tmp_path / "k.duckdb", run_id="one", threads=1) as made:
        yield made


@pytest.fixture(scope="module")
def frames():
    return make_edge_world(
        EdgeWorldConfig(seed=5, kind="longshot", edge=0.1, n_clusters=130)
    ).frames


def rows(store, sql):
    return store.connection.execute(sql).fetchall()


def versions(store, **columns):
    length = next(len(v) for v in columns.values() if isinstance(v, list))
    columns.setdefault("market_id", [1] * length)
    return store.record_versions("market_v", FACT | columns)


def quotes_of(probabilities, **more):
    records = [
        LegQuote(t, max(int(1e4 * p) - 100, -1), min(int(1e4 * p) + 100, 10_000), 500, 500, **more)
        for t, p in zip(MODEL.structure.tickers, probabilities, strict=True)
    ]
    return ladder_quotes(MODEL.structure, records)


def number(name, value, at_us, **more):
    return {"release": name, "value": value, "unit": "%", "publish_us": at_us, **more}


def field_names(found):
    return {f.name for f in fields(found)}


def fault_codes(contracts, grid=GRID, *, is_exclusive=True):
    return [f.code for f in find_structure_faults(contracts, grid, is_exclusive=is_exclusive)]


def secrets_of(pem: bytes) -> list[str]:
    return [line for line in pem.decode().splitlines() if len(line) > 20 and "-----" not in line]


def test_r01_the_direction_is_never_read_from_words():
    contract = Contract("KXRECOVERY-OVER-T3", "less", cap_strike=3.0)
    assert contract.payoff().contains(2.0)
    assert not contract.payoff().contains(4.0)


def test_r01_the_direction_of_a_record_is_its_strike_type_and_nothing_else():
    record = {"ticker": "A-T3", "title": "Will the recovery be over 3 %?", "floor_strike": 3}
    assert wire.read_market(record, DriftLog()).strike_type is None
    assert wire.read_market(record | {"strike_type": "less"}, DriftLog()).strike_type == "less"


def test_r02_quotes_are_joined_by_ticker_whatever_their_order():
    records = [LegQuote(f"T{k}", 9_500 - 1_000 * k, 9_700 - 1_000 * k) for k in range(1, 9)]
    rng = np.random.default_rng(0)
    first = fit_distribution(MODEL, ladder_quotes(MODEL.structure, records))
    shuffled = [records[i] for i in rng.permutation(8)]
    second = fit_distribution(MODEL, ladder_quotes(MODEL.structure, shuffled))
    assert np.array_equal(first.pmf, second.pmf)
    with pytest.raises(DataError, match="of no leg"):
        ladder_quotes(MODEL.structure, [LegQuote("T99", 1, 2)])
    with pytest.raises(DataError, match="twice"):
        ladder_quotes(MODEL.structure, [records[0]] * 2)


def test_r02_books_belong_to_the_ticker_they_name(scene, world, monkeypatch):
    made = scene(timer=VirtualTimer(world.events[-1].release_us - 60_000_000))
    tickers = [contract.ticker for contract in world.events[-1].contracts]
    straight = {ticker: made.client.book(ticker) for ticker in tickers}
    original = made.exchange._books
    monkeypatch.setattr(
        made.exchange, "_books", lambda p: {"orderbooks": original(p)["orderbooks"][::-1]}
    )
    assert made.client.books(tickers) == straight
    monkeypatch.setattr(
        made.exchange, "_books", lambda p: {"orderbooks": original(p)["orderbooks"][1:]}
    )
    with pytest.raises(SchemaMismatchError, match=tickers[0]):
        made.client.books(tickers)


def test_r03_a_version_never_nulls_what_was_known(store):
    assert versions(store, ticker=["T"], floor_strike=[0.0], avail_us=[10]) == 1
    assert versions(store, status=["active"], avail_us=[20]) == 1
    (row,) = versions_asof(store.connection, "market_v", 20).to_pylist()
    assert (row["ticker"], row["floor_strike"], row["status"]) == ("T", 0.0, "active")
    assert versions(store, ticker=["T"], status=["active"], avail_us=[30]) == 0
    assert versions(store, status=["closed", "active", "closed"], avail_us=[40, 50, 60]) == 3
    hashes = [h for (h,) in rows(store, "SELECT row_hash FROM market_v ORDER BY avail_us")]
    assert hashes[2] == hashes[4] != hashes[3]
    assert hashes[1] == hashes[3]


def test_r04_looks_at_one_contract_share_its_limit(frames):
    """A contract that is seen at three horizons can be bought once, not three times."""
    places = np.arange(len(frames.looks))
    known = frames.looks[["cluster_id", "regime"]].assign(fold=1, place=places)
    keys = ["event_id", "horizon_s", "cell"]
    cells = frames.cells[keys].copy()
    cells["shrunk"] = (cells["cell"] == 0).astype(float)
    forecasts = WalkForwardForecasts(frames, known, cells, (), None, "data", "split")
    free = (FeeEntry("series", "KXEDGE", "quadratic"),)
    config = FillConfig(max_leg_c2=500, max_event_risk_e6=10**12, max_cluster_risk_e6=10**12)
    orders = decide_orders(forecasts, "shrunk", fees=free, config=config)
    fills = fill_orders(forecasts, orders, fees=free, config=config).fills
    assert frames.legs.groupby("ticker")["horizon_s"].nunique().max() > 1
    bought = fills.groupby("ticker")["count_c2"].sum()
    assert len(bought) > 100
    assert bought.max() == 500


def test_r05_a_strike_of_zero_is_a_strike_and_none_is_not():
    assert payoff_set("greater", floor_strike=0.0).lower == 0
    assert payoff_set("between", floor_strike=-0.1, cap_strike=0.0).contains(-0.1)
    with pytest.raises(DataError, match="floor_strike"):
        payoff_set("greater")


def test_r05_zero_is_a_value_where_zero_means_something():
    record = {
        "ticker": "A", "floor_strike": 0, "cap_strike": 0.0, "volume": 0, "open_interest": 0,
        "settlement_timer_seconds": 0, "settlement_value_dollars": "0.0000",
    }  # fmt: skip
    market = wire.read_market(record, DriftLog())
    assert (market.floor_strike, market.cap_strike) == (0.0, 0.0)
    assert (market.volume_c2, market.open_interest_c2, market.settlement_timer_s) == (0, 0, 0)
    assert market.settlement_value_e6 == 0
    assert wire.read_series({"ticker": "S", "fee_multiplier": 0}, DriftLog()).fee_multiplier == 0.0
    assert wire.read_candle({"end_period_ts": 0}, DriftLog()).end_us == 0


def test_r05_a_bid_of_zero_is_a_quote_and_an_absent_one_is_not():
    absent, zero = (
        ladder_quotes(MODEL.structure, [LegQuote("T1", bid, -1)]).is_quoted[0] for bid in (-1, 0)
    )
    assert not absent
    assert zero


@pytest.mark.parametrize("strike_type", [*STRIKE_TYPES[5:], "above", "", "Greater"])
def test_r06_a_type_without_a_set_of_numbers_is_refused(strike_type):
    with pytest.raises(DataError, match="strike_type"):
        payoff_set(strike_type, floor_strike=1.0, cap_strike=2.0)


def test_r06_r08_no_numbers_for_unresolved_or_damaged_ladders():
    legs = [Contract("A", "functional"), Contract("B", "greater", 1.0), Contract("C", "custom")]
    found = reconstruct(legs, [], GRID, is_exclusive=False)
    assert {gate.code for gate in found.gates} == {"unresolved_direction"}
    assert np.isnan([found.mean, found.sd, found.p_above_highest]).all()
    bins = [Contract("A", "between", 1, 3), Contract("B", "between", 3, 4)]
    assert reconstruct(bins, [], GRID, is_exclusive=True).gates[0].code == "overlapping_bins"
    assert reconstruct([], [], GRID, is_exclusive=True).gates[0].code == "no_contracts"


def test_r07_versions_and_vintages_are_numbers_and_ten_comes_after_two(store):
    for vintage in (10, 2, 9):
        revised = number("cpi", 3.0 + vintage, 50 + vintage, print_kind="revised", vintage=vintage)
        put_outcomes(store, [revised], recorded_us=99, src="x")
    found = outcomes_asof(store.connection, 99, print_kind="revised")
    assert found["value"].to_pylist() == [13.0]
    for k, at_us in enumerate((20, 100, 3)):
        fact = FACT | {"avail_us": at_us}
        map_events(store, {"E": (f"v{k}", f"v{k}")}, facts=[fact])
    (state,) = versions_asof(store.connection, "event_map", 999).to_pylist()
    assert state["cluster"] == "v1"


def test_r08_overlapping_and_gapped_bins_are_faults():
    overlap = [Contract("A", "between", 1, 3), Contract("B", "between", 3, 4)]
    gap = [Contract("A", "between", 1, 2), Contract("B", "between", 4, 5)]
    assert fault_codes(overlap) == ["overlapping_bins"]
    assert fault_codes(overlap, is_exclusive=False) == ["overlapping_bins"]
    assert fault_codes(gap) == ["gapped_bins"]
    assert fault_codes(gap, is_exclusive=False) == []
    assert fault_codes([Contract("A", "greater", 1.0), Contract("B", "greater", 2.0)]) == [
        "overlapping_bins"
    ]
    with pytest.raises(DataError, match="gapped_bins"):
        ladder_structure(gap, GRID, is_exclusive=True)


def test_r09_names_are_values_and_never_text_of_a_query(store):
    name = "E'; DROP TABLE market_v; --"
    seen = Sighting(10, "x'); DELETE FROM event_v; --")
    put_events(store, [Event(ticker=name, series_ticker="S\"'", strike_us=900)], seen)
    legs = [
        Market(
            ticker=f"{name}{k}", event_ticker=name, strike_type="greater", floor_strike=float(k),
            open_us=10, created_us=10,
        )
        for k in range(3)
    ]  # fmt: skip
    put_markets(store, legs, seen)
    (event_id,) = store.ids("event", [name])
    look = ladder_at(store.connection, event_id, 20)
    assert look.event_ticker == name
    assert sorted(c.ticker for c in look.contracts) == [leg.ticker for leg in legs]


def test_r10_a_first_print_and_its_revisions_are_different_facts(store):
    put_outcomes(store, [number("cpi", 3.1, 10)], recorded_us=99, src="x")
    revised = number("cpi", 3.2, 50, print_kind="revised", vintage=1)
    put_outcomes(store, [revised], recorded_us=99, src="x")
    put_outcomes(store, [revised | {"vintage": 2, "value": 3.3, "publish_us": 90}],
                 recorded_us=99, src="x")  # fmt: skip

    def value(asof_us, kind):
        return outcomes_asof(store.connection, asof_us, print_kind=kind)["value"].to_pylist()

    assert [value(t, "first_print") for t in (9, 10, 50, 99)] == [[], [3.1], [3.1], [3.1]]
    assert [value(t, "revised") for t in (10, 49, 50, 89, 90)] == [[], [], [3.2], [3.2], [3.3]]
    with pytest.raises(DataError, match="the value that is stored"):
        put_outcomes(store, [number("cpi", 3.0, 10)], recorded_us=99, src="x")
    assert put_outcomes(store, [number("cpi", 3.1, 10)], recorded_us=99, src="x")["outcome"] == 0
    with pytest.raises(DataError, match="first_print"):
        put_outcomes(store, [number("cpi", 3.0, 10, print_kind="flash")], recorded_us=1, src="x")
    with pytest.raises(ConfigError, match="first_print"):
        outcomes_asof(store.connection, 1, print_kind="flash")


def test_r11_clusters_train_only_after_their_label_and_the_purge_of_their_family(frames):
    config = CONFIG.model_copy(update={"purge_days": {"daily": 3.0}})
    plan = plan_folds(frames, config)
    start = frames.looks["asof_us"].to_numpy()
    known = frames.labels["label_avail_us"].to_numpy()
    cluster = frames.looks["cluster_id"].to_numpy()
    for split in plan:
        assert known[split.train].max() + 3 * DAY_US < start[split.test].min()
        assert not set(cluster[split.train]) & set(cluster[split.test])
        assert all((cluster == c).sum() == (cluster[split.test] == c).sum()
                   for c in cluster[split.test])  # fmt: skip
        # The newest cluster that may train does.
        free = known + 3 * DAY_US < start[split.test].min()
        np.testing.assert_array_equal(np.flatnonzero(free), split.train)
    with pytest.raises(ConfigError, match="purge_days"):
        plan_folds(frames, CONFIG.model_copy(update={"purge_days": {"cpi": 14.0}}))


def test_r12_no_regimes_pass_no_gate_of_regimes():
    catalog = SpecCatalog.default()
    metrics = MetricCatalogue.load(catalog)
    profile = load_profile(catalog, PROFILE, metrics=metrics)
    where = {"gates": ("adequacy", "skill"), "track": Track.CALIBRATION, "metrics": metrics}

    def metric(name, value, n_obs=80, **more):
        return Metric(name, value, metrics.get(name).unit, n_obs=n_obs, **more)

    def refused(*more):
        skill = metric("skill_market_ci_low", 0.01), metric("calibration_slope", 1.0)
        bundle = MetricBundle("s", (*skill, *more), origin_of("fake"), event="market_recalibration")
        report = evaluate_gates(profile, bundle, **where)
        bad = {o.rule.split()[0] for o in report.outcomes if o.status is not Status.PASS}
        return {name for name in bad if "regime" in name}

    counted = metric("n_regimes", 2)
    by_regime = [
        metric("regime_skill_ratio", 0.2, 40, scope=f"regime:{name}") for name in ("thin", "deep")
    ]
    assert refused(counted, *by_regime) == set()
    assert {name.split("[")[0] for name in refused(counted)} == {"regime_skill_ratio"}
    assert refused(*by_regime) == {"n_regimes"}
    assert len(refused()) == 2


@pytest.mark.parametrize("name", ["rsa", "ed"])
def test_r13_no_text_shows_the_key(keys, name, caplog):
    caplog.set_level("DEBUG")
    signer, pem = keys.signer(name), keys.pem(name)
    texts = [repr(signer), str(signer), f"{vars(signer)}", caplog.text]
    broken = pem.replace(b"PRIVATE KEY-----\n", b"PRIVATE KEY-----\nAAAA", 1)
    with pytest.raises(ConfigError, match="unreadable") as caught:
        Signer(signer.key_id, broken)
    texts += ["".join(traceback.format_exception(caught.value)), repr(caught.value.__dict__)]
    for text in texts:
        assert not any(secret[4:24] in text for secret in secrets_of(pem))
    assert signer.key_id not in repr(signer)
    for refuse in (copy.copy, copy.deepcopy):
        with pytest.raises(ConfigError, match="serialise"):
            refuse(signer)


def test_r14_every_way_out_has_the_same_fields():
    refused = reconstruct([Contract("A", "custom")], [], GRID, is_exclusive=True)
    gated = fit_distribution(MODEL, quotes_of(np.full(8, 0.5), is_paused=True))
    fitted = fit_distribution(MODEL, quotes_of(np.linspace(0.9, 0.1, 8)))
    assert isinstance(refused, LadderDistribution)
    assert field_names(refused) == field_names(gated) == field_names(fitted)


def test_r14_a_sparse_record_has_every_field():
    sparse = wire.read_market({"ticker": "A"}, DriftLog())
    assert {f.name for f in fields(sparse)} == {f.name for f in fields(Market)}
    assert sparse.yes_bid_e4 is None
    assert sparse.price_ranges == ()


def test_r15_times_are_integers():
    zone = timezone(timedelta(hours=-5))
    instant = datetime(2024, 8, 16, 8, 0, 27, 274904, tzinfo=zone)
    expected = int((instant - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 10**6 + 274904
    assert fixed.instant_us(instant.isoformat()) == expected
    assert fixed.instant_us("2024-08-16T13:00:27.274904Z") == expected
    assert fixed.instant_us("2024-08-16T13:00:27.27490Z") == expected - 4
    assert fixed.seconds_us(expected // 10**6) == fixed.milliseconds_us(expected // 1000) - 274_000
    for text in ("2024-08-16", "2024-08-16T13:00:27", "yesterday", 5):
        with pytest.raises(SchemaMismatchError, match="instant"):
            fixed.instant_us(text)


def test_r15_a_fee_is_no_number_of_basis_points():
    cheap, dear = (trade_fee_e6(Fill(p, 10_000), QUADRATIC) / p for p in (100, 5_000))
    assert cheap > 1.5 * dear
