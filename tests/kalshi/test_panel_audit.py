"""Panels from a store: their frame, their labels, and planted leaks that are alive and caught."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from quant_engine.core.errors import (
    ConfigError,
    LookAheadError,
    SchemaMismatchError,
)
from quant_engine.core.executor import ProcessExecutor
from quant_engine.kalshi import events, panel_store
from quant_engine.kalshi import panel as panel_module
from quant_engine.kalshi.audit import POISONS, audit_views, view_hash
from quant_engine.kalshi.events import (
    LookConfig,
    Release,
    map_events,
    put_outcomes,
    put_releases,
)
from quant_engine.kalshi.exchange.records import Candle, Event, Market, Ohlc, Trade
from quant_engine.kalshi.features import EventFeatureSet, load_features
from quant_engine.kalshi.lattice import SettlementGrid
from quant_engine.kalshi.panel import (
    IDENTITY,
    LEG_COLUMNS,
    SUMMARY,
    PanelConfig,
    PanelInputs,
    event_panel,
)
from quant_engine.kalshi.panel_audit import (
    audit_panel,
    fold_faults,
    outcome_echoes,
    panel_faults,
    spoil_inputs,
)
from quant_engine.kalshi.panel_store import (
    LABEL_COLUMNS,
    label_frame,
    leg_results,
    panel_view,
    read_inputs,
    store_panel,
)
from quant_engine.kalshi.storage import KalshiStore
from quant_engine.kalshi.store import asof as store_asof
from quant_engine.kalshi.store.writing import (
    Sighting,
    put_candles,
    put_events,
    put_markets,
    put_trades,
)

pytestmark = [pytest.mark.feature("Q-45"), pytest.mark.leakage]

HOUR = 3_600_000_000
DAY = 24 * HOUR
N_DAYS = 5
WORDS = ("70° or below", "71° to 72°", "73° to 74°", "75° to 76°", "77° or above")
EDGES = (-np.inf, 70.5, 72.5, 74.5, 76.5, np.inf)
TRUTH = (73.0, 75.0, 71.0, 78.0, 74.0)
FETCH = (N_DAYS + 9) * DAY
FETCHED = Sighting(FETCH, "x")


def strike_us(day):
    return (day + 2) * DAY


def put_day(store, day, city):
    """One event: listed two days before, traded every hour, closed early, fetched at the end."""
    name, opened = f"{city}-{day}", strike_us(day) - 2 * DAY
    rng = np.random.default_rng(100 * day + len(city))
    tickers = [f"{name}-{k}" for k in range(len(WORDS))]
    listed = {"event_ticker": name, "open_us": opened, "created_us": opened}
    seen = Sighting(opened + 1, "x")
    event = Event(
        ticker=name, series_ticker=city, strike_us=strike_us(day), mutually_exclusive=True
    )
    put_events(store, [event], seen, listed_us={name: opened})
    legs = [
        Market(ticker=t, yes_sub_title=w, status="active", **listed)
        for t, w in zip(tickers, WORDS, strict=True)
    ]
    put_markets(store, legs, seen, text_strikes=True)
    trades, candles = [], {t: [] for t in tickers}
    mean = 74.0
    for hour in range(1, 44):
        mean += 0.1 * (TRUTH[day] - mean) + rng.normal(0.0, 0.15)
        price = np.diff(norm.cdf(EDGES, mean, 2.6 - 0.04 * hour))
        for leg, (ticker, p) in enumerate(zip(tickers, price, strict=True)):
            cents = int(np.clip(round(100 * p), 2, 97))
            end_us = opened + hour * HOUR
            candles[ticker].append(
                Candle(
                    end_us=end_us, bid=Ohlc(close_e4=100 * cents - 100),
                    ask=Ohlc(close_e4=100 * cents + 100), open_interest_c2=100 * hour,
                )
            )  # fmt: skip
            trades += [
                Trade(
                    trade_id=f"{ticker}-{hour}-{side}", ticker=ticker,
                    yes_price_e4=100 * (cents + lean), count_c2=100 * int(rng.integers(1, 9)),
                    created_us=end_us - 60_000_000 * (leg + 1), taker_outcome=side,
                )
                for side, lean in (("yes", 1), ("no", -1))
            ]  # fmt: skip
    # Candles of the last two days are enough for what is asked of them.
    for ticker, rows in candles.items() if day >= N_DAYS - 2 else ():
        put_candles(store, {ticker: rows}, FETCHED, period_min=60)
    final = {"status": "finalized", "close_us": strike_us(day) - (3 + day) * HOUR}
    over = [
        Market(
            ticker=t, yes_sub_title=w, result="no", volume_c2=900 + 100 * k + day,
            open_interest_c2=70 + k, expiration_value=str(TRUTH[day]), **listed | final,
        )
        for k, (t, w) in enumerate(zip(tickers, WORDS, strict=True))
    ]  # fmt: skip
    put_markets(store, over, Sighting(FETCH + day, "x"), text_strikes=True)
    return trades


def fill(store):
    places = [(f"{city}-{day}", day, city) for day in range(N_DAYS) for city in ("A", "BB")]
    put_trades(store, [t for _, day, city in places for t in put_day(store, day, city)], FETCHED)
    facts = [
        {"recorded_us": us, "avail_us": us, "avail_basis": "release_calendar", "src": "x"}
        for us in (strike_us(day) - 2 * DAY for _, day, _ in places)
    ]
    releases = [Release(f"R{name}", "high", str(day)) for name, day, _ in places]
    due = [strike_us(day) + 10 * HOUR for _, day, _ in places]
    put_releases(store, releases, due, facts=facts)
    map_events(store, {name: (f"R{name}", f"day {day}") for name, day, _ in places}, facts=facts)
    printed = [
        {"release": f"R{name}", "value": TRUTH[day], "unit": "F", "publish_us": us}
        for (name, day, _), us in zip(places, due, strict=True)
    ]
    changed = [
        number | {
            "value": number["value"] + 5.0, "print_kind": "revised", "vintage": 1,
            "publish_us": number["publish_us"] + 2 * DAY,
        }
        for number in printed
    ]  # fmt: skip
    put_outcomes(store, printed + changed, recorded_us=FETCH, src="x")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with KalshiStore(tmp_path_factory.mktemp("panel") / "k.duckdb", run_id="a", threads=1) as made:
        with made.transaction():
            fill(made)
        yield made


HORIZONS = (12 * 3600, 6 * 3600)
NAMES = (
    "MEAN", "MEAN_CHANGE_6H", "CONTRACTS_6H", "VOLUME", "OPEN_INTEREST", "PAST_CLUSTERS",
    "SURPRISE_MEAN", "BASE_GAP", "HALF_SPREAD", "CONTRACTS_24H", "SPEED_6H",
)  # fmt: skip
FEW = EventFeatureSet(
    name="few", version="1", features=tuple(f for f in load_features().features if f.name in NAMES)
)


def config(source="trade", **changed):
    facts = {"horizons_s": HORIZONS, "grids": {"high": SettlementGrid(1.0)}, "features": FEW,
             "look": LookConfig(source)}  # fmt: skip
    return PanelConfig(**facts | changed)


@pytest.fixture(scope="module")
def inputs(store):
    return read_inputs(store.connection, config())


@pytest.fixture(scope="module")
def panel(inputs):
    return event_panel(inputs, config())


@pytest.fixture(scope="module")
def labels(store, panel):
    return label_frame(store.connection, panel)


def test_the_frame_is_what_its_columns_say(panel):
    cells = panel.looks
    assert cells.index.names == ["event_id", "horizon_s"]
    assert cells.index.is_monotonic_increasing
    assert cells.index.is_unique
    wanted = IDENTITY | SUMMARY | dict.fromkeys(FEW.names, "float64")
    assert {name: str(kind) for name, kind in cells.dtypes.items()} == wanted
    assert {n: str(k) for n, k in panel.legs.dtypes.items()} == LEG_COLUMNS
    assert len(cells) == 2 * N_DAYS * len(HORIZONS)
    assert len(panel.legs) == len(WORDS) * len(cells)
    assert cells["has_distribution"].all()
    assert (cells["max_input_avail_us"] <= cells["asof_us"]).all()
    assert (cells["asof_us"] < cells["scheduled_us"]).all()
    assert set(panel.distributions) == set(cells.index)
    # Both cities of a day are one cluster, and two series.
    assert cells["cluster_id"].nunique() == N_DAYS
    assert cells["series_id"].nunique() == 2
    for key, d in panel.distributions.items():
        row = cells.loc[key]
        assert row["mean"] == pytest.approx(d.pmf @ d.points)
        legs = panel.legs.loc[key]
        assert legs["probability"].sum() == pytest.approx(1.0)
        np.testing.assert_allclose(legs["raw_probability"].sum(), 1.0)
    pd.testing.assert_frame_equal(panel.values, cells[list(FEW.names)])


@pytest.mark.slow
def test_ladders_fitted_in_processes_are_the_same_bits(inputs, panel, monkeypatch):
    monkeypatch.setattr(panel_module, "EVENTS_PER_BATCH", 3)
    again = event_panel(inputs, config(), executor=ProcessExecutor(2))
    assert again.content_hash() == panel.content_hash()
    assert list(again.distributions) == list(panel.distributions)
    for key, one in panel.distributions.items():
        assert again.distributions[key].pmf.tobytes() == one.pmf.tobytes()


def test_the_same_inputs_give_the_same_panel(inputs, panel, store):
    shuffled = replace(
        inputs,
        looks=inputs.looks[::-1],
        outcomes=inputs.outcomes.iloc[::-1],
        series=inputs.series.iloc[::-1],
    )
    assert event_panel(shuffled, config()).content_hash() == panel.content_hash()
    whole = store_panel(store.connection, config())
    assert whole.content_hash() == panel.content_hash()
    middle = strike_us(3)
    until = store_panel(store.connection, config(), until_us=middle)
    assert until.looks.equals(panel.looks[panel.looks["asof_us"] <= middle])


def test_labels_are_first_prints_and_stand_apart(store, panel, labels):
    assert {n: str(k) for n, k in labels.dtypes.items()} == LABEL_COLUMNS
    assert not set(LABEL_COLUMNS) - {"release_id", "cluster_id"} & set(panel.looks.columns)
    tickers = panel.looks.groupby(level="event_id")["event_ticker"].first()
    wanted = tickers.map(lambda name: TRUTH[int(name.split("-")[1])])
    assert labels["value"].reindex(wanted.index).tolist() == wanted.tolist()
    assert set(labels["print_kind"]) == {"first_print"}
    half = label_frame(store.connection, panel, asof_us=strike_us(2) + 11 * HOUR)
    assert half["value"].notna().sum() == 6
    paid = leg_results(panel.legs, labels)
    assert (paid.groupby(level=["event_id", "horizon_s"]).sum() == 1.0).all()
    by_hand = [
        np.searchsorted(EDGES, labels.loc[key[0], "value"]) - 1 == int(key[2][-1])
        for key in panel.legs.index
    ]
    assert paid.tolist() == [float(p) for p in by_hand]
    assert leg_results(panel.legs, half).isna().sum() == 5 * 2 * (2 * N_DAYS - 6)


def test_a_label_that_was_known_at_a_decision_is_refused(store, panel):
    early = panel.looks.assign(asof_us=FETCH, scheduled_us=FETCH + 1)
    with pytest.raises(LookAheadError, match="known before"):
        label_frame(store.connection, replace(panel, looks=early))


def test_a_panel_has_no_place_for_an_outcome(panel):
    with pytest.raises(SchemaMismatchError, match="result"):
        replace(panel, looks=panel.looks.assign(result=1.0))
    with pytest.raises(SchemaMismatchError, match="winner"):
        replace(panel, legs=panel.legs.assign(winner=1.0))


def test_a_late_input_and_a_late_decision_are_refused(panel):
    cells = panel.looks
    for name, value in (
        ("max_input_avail_us", cells["asof_us"] + 1),
        ("scheduled_us", cells["asof_us"]),
    ):
        with pytest.raises(LookAheadError, match="max_input_avail_us <= asof_us"):
            replace(panel, looks=cells.assign(**{name: value}))


def test_settings_and_frames_are_checked(inputs):
    with pytest.raises(ConfigError, match="positive seconds"):
        config(horizons_s=())
    with pytest.raises(ConfigError, match="positive seconds"):
        config(horizons_s=(60, 60))
    with pytest.raises(ConfigError, match="settlement grid for family 'high'"):
        event_panel(inputs, config(grids={"low": SettlementGrid(1.0)}))
    with pytest.raises(SchemaMismatchError, match="without"):
        replace(inputs, trades=inputs.trades.drop(columns="is_block"))
    twice = pd.concat([inputs.outcomes, inputs.outcomes.iloc[:1]])
    with pytest.raises(SchemaMismatchError, match="one first print"):
        replace(inputs, outcomes=twice)
    with pytest.raises(ConfigError, match="poison"):
        spoil_inputs(inputs, 0, poison="salt")


def test_a_series_that_was_named_later_is_not_known(inputs):
    late = inputs.series.assign(avail_us=FETCH)
    cells = event_panel(replace(inputs, series=late), config()).looks
    assert cells["series_id"].isna().all()
    assert cells["BASE_GAP"].isna().all()
    assert (cells["PAST_CLUSTERS"] > 0).any()


MIDDLE = strike_us(3) - 5 * HOUR
# Between the first print of day 2 and its revision.
BETWEEN = strike_us(4) - 6 * HOUR + 1


@pytest.mark.parametrize("source", ["trade", "candle"])
def test_a_spoilt_future_changes_no_row(store, source):
    view = {"panel": panel_view(config(source, horizons_s=(12 * 3600, 6 * 3600 + 1800)))}
    findings = audit_views(store.connection, view, [BETWEEN])
    assert len(findings) == len(POISONS)
    assert all(f.is_equal and f.n_rows > 0 for f in findings)


def test_a_spoilt_future_of_the_frames_changes_no_row(inputs):
    findings = audit_panel(inputs, config(), [MIDDLE])
    assert [(f.poison, f.is_equal) for f in findings] == [(p, True) for p in POISONS]
    assert all(f.n_rows == 16 for f in findings)
    # Alive: rows that claim to have been known always are read, and are seen to change.
    lying = replace(inputs, trades=inputs.trades.assign(avail_us=0))
    honest = event_panel(inputs, config()).looks
    assert (event_panel(lying, config()).looks["CONTRACTS_6H"] > honest["CONTRACTS_6H"]).any()


@contextmanager
def replaced(place, name, value):
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


FINAL_CLOSE = (
    events, "_SCHEDULES",
    """SELECT event_id, max(close_us) AS scheduled_us, 0::BIGINT AS avail_us FROM market_v
       WHERE close_us IS NOT NULL AND event_id IS NOT NULL GROUP BY event_id""",
)  # fmt: skip
LIFETIME_VOLUME = (
    panel_store, "_TICKS",
    {"quote": """SELECT m.event_id, m.ticker, 0::BIGINT AS event_us, 0::BIGINT AS avail_us,
        max(q.volume_c2) AS volume_c2, max(q.oi_c2) AS oi_c2 FROM quote q JOIN market_v m
        USING (market_id) WHERE m.event_id IS NOT NULL AND $last > 0 GROUP BY ALL
        ORDER BY ALL"""},
)  # fmt: skip
OPEN_CANDLE = (
    store_asof, "_RELATIONS",
    store_asof._RELATIONS
    | {"candle": """SELECT market_id, end_us AS event_us,
        end_us - period_min * 60000000::BIGINT AS avail_us, kid, bid_c_e4 AS bid_e4,
        ask_c_e4 AS ask_e4, NULL::BIGINT AS bid_sz_c2, NULL::BIGINT AS ask_sz_c2,
        px_c_e4 AS last_e4, true AS book_ok FROM candle"""},
)  # fmt: skip
REVISED = (
    panel_store, "_OUTCOMES",
    """SELECT release_id, arg_max(value, vintage) AS value, max(unit) AS unit,
       min(publish_us) AS publish_us, min(avail_us) AS avail_us FROM outcome
       GROUP BY release_id HAVING min(avail_us) <= $last ORDER BY release_id""",
)  # fmt: skip
RESULT = (
    panel_store, "_OUTCOMES",
    """SELECT release_id, value, unit, publish_us, 0::BIGINT AS avail_us FROM outcome
       WHERE print_kind = 'first_print' AND $last > 0 ORDER BY release_id""",
)  # fmt: skip
LEAKS = {
    "anchored on the final close": (FINAL_CLOSE, "trade"),
    "lifetime volume": (LIFETIME_VOLUME, "trade"),
    "candle in progress": (OPEN_CANDLE, "candle"),
    "revised instead of first print": (REVISED, "trade"),
    "results of events that are open": (RESULT, "trade"),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_alive_and_caught(store, name):
    plant, source = LEAKS[name]
    # Half an hour into a candle, so that one is in progress.
    wanted = config(source, horizons_s=(6 * 3600 + 1800,))
    view = panel_view(wanted)
    honest = view(store.connection, BETWEEN)
    seen = []

    def kept(connection, asof_us):
        seen.append(view(connection, asof_us))
        return seen[-1]

    with replaced(*plant):
        findings = audit_views(store.connection, {name: kept}, [BETWEEN])
    # Alive: what it shows is not what could be known.
    assert view_hash(seen[0]) != view_hash(honest)
    assert not findings[POISONS.index("removed")].is_equal


def test_sound_rows_and_labels_have_no_faults(panel, labels):
    assert panel_faults(panel, labels) == {}


def test_rows_that_cannot_be_are_counted(panel, labels):
    cells = panel.looks
    moved = cells.assign(
        scheduled_us=cells["scheduled_us"] + 3 * HOUR * (np.arange(len(cells)) % 2)
    )
    faults = panel_faults(replace(panel, looks=moved))
    assert faults["decision that does not count back from the schedule"] == 2 * N_DAYS
    assert faults["event with several schedules"] == 2 * N_DAYS
    revised = labels.assign(print_kind="revised")
    assert panel_faults(panel, revised) == {"label that is no first print": 2 * N_DAYS}
    early = labels.assign(label_avail_us=labels["label_avail_us"] - 11 * HOUR)
    assert panel_faults(panel, early) == {"label before its schedule": 2 * N_DAYS}
    at_once = labels.assign(label_avail_us=labels["label_avail_us"] * 0 + 1)
    assert panel_faults(panel, at_once)["label known at a decision"] == 2 * N_DAYS


def test_a_cluster_on_both_sides_of_a_fold_is_counted(panel, labels):
    cells = panel.looks.reset_index().drop_duplicates("event_id")
    day = cells["event_ticker"].str.split("-").str[1].astype(int).to_numpy()
    ids = cells["event_id"].to_numpy()
    sound = [(ids[day < 3], ids[day == 4])]
    assert fold_faults(panel, labels, sound) == {}
    city = cells["event_ticker"].str.startswith("A").to_numpy()
    # By market instead of by day: every day stands on both sides, and its label in training.
    shared = fold_faults(panel, labels, [(ids[city], ids[~city])])
    assert shared["cluster on both sides"] == N_DAYS
    # Only the first day's label came before the first test decision: none did.
    assert shared["training label after the test began"] == N_DAYS
    assert fold_faults(panel, labels, [(ids, ids[:1])])["event on both sides"] == 1
    # Day 2 is known 26 hours before the first decision on day 4, day 1 a day earlier.
    wide = fold_faults(panel, labels, sound, embargo_us=27 * HOUR)
    assert wide == {"training label after the test began": 2}
    assert fold_faults(panel, labels, sound, embargo_us=25 * HOUR) == {}
    # Day 3 is known ten hours after its strike, two hours before that.
    near = [(ids[day < 4], ids[day == 4])]
    assert fold_faults(panel, labels, near) == {}
    assert fold_faults(panel, labels, near, embargo_us=3 * HOUR) == {
        "training label after the test began": 2
    }
    unknown = labels.assign(cluster_id=labels["cluster_id"].where(labels.index != ids[0]))
    assert fold_faults(panel, unknown, sound)["event without a cluster"] == 1


def test_a_feature_that_knows_the_outcome_echoes(panel, labels):
    assert outcome_echoes(panel, labels, least=8, limit=0.95) == []
    value = labels["value"].reindex(panel.looks.index.get_level_values("event_id")).to_numpy()
    surprise = value - panel.looks["mean"]
    noise = 0.05 * np.random.default_rng(0).normal(size=len(surprise))
    knowing = replace(panel, looks=panel.looks.assign(CONTRACTS_6H=surprise + noise))
    found = outcome_echoes(knowing, labels, least=8, limit=0.95)
    assert {e.feature for e in found} == {"CONTRACTS_6H"}
    assert {e.horizon_s for e in found} == set(HORIZONS)
    assert outcome_echoes(knowing, labels, least=15) == []


def test_nothing_gives_an_empty_panel(inputs):
    empty = PanelInputs(
        [], inputs.trades.iloc[:0], inputs.ticks.iloc[:0], inputs.outcomes, inputs.series
    )
    made = event_panel(empty, config())
    assert len(made.looks) == 0
    assert list(made.looks.columns)[: len(IDENTITY)] == list(IDENTITY)
