"""As-of reads against brute force: late arrivals, ties, staleness, gaps, and every source."""

import numpy as np
import pyarrow as pa
import pytest

from quant_engine.core.errors import ConfigError, SchemaMismatchError
from quant_engine.kalshi.storage import KalshiStore
from quant_engine.kalshi.store.asof import QUOTE_SOURCES, quotes_asof, versions_on_grid

pytestmark = [pytest.mark.feature("Q-45"), pytest.mark.leakage]

FACT = {"recorded_us": 9, "avail_basis": "assumed", "src": "x"}


@pytest.fixture
def store(tmp_path):
    with KalshiStore(tmp_path / "k.duckdb", run_id="one", threads=1) as made:
        yield made


def grid(markets, asofs, stale_after_us=10**6):
    return pa.table(
        {
            "market_id": pa.array(markets, pa.int32()),
            "asof_us": pa.array(asofs, pa.int64()),
            "stale_after_us": pa.array([stale_after_us] * len(markets), pa.int64()),
        }
    )


def draw(rng, n):
    """Facts with many ties: events repeat, availabilities repeat, and a third arrives late."""
    event_us = rng.integers(0, 40, n)
    late = rng.random(n) < 0.3
    return {
        "market_id": rng.integers(1, 4, n),
        "event_us": event_us,
        "avail_us": event_us + 1 + np.where(late, rng.integers(0, 30, n), rng.integers(0, 3, n)),
    }


def newest(facts, market, asof_us, keep=None):
    """Index of the best known fact: newest event, of those the one that was learned last."""
    known = [
        k
        for k in range(len(facts["event_us"]))
        if facts["market_id"][k] == market
        and facts["avail_us"][k] <= asof_us
        and (keep is None or keep[k])
    ]
    # Learned last: later availability, then later rank.
    return max(known, key=lambda k: (facts["event_us"][k], facts["avail_us"][k], k), default=None)


@pytest.mark.parametrize("seed", range(4))
def test_quotes_by_brute_force(store, seed):
    rng = np.random.default_rng(seed)
    facts = draw(rng, 150)
    bid = [None if rng.random() < 0.2 else int(b) for b in rng.integers(0, 9000, 150)]
    store.append("quote", FACT | facts | {"ordinal": np.arange(150), "bid_e4": bid})
    lines = grid(*zip(*[(m, t) for m in (1, 2, 3, 4) for t in range(0, 75)], strict=True))
    found = quotes_asof(store.connection, lines).to_pylist()
    for row in found:
        k = newest(facts, row["market_id"], row["asof_us"])
        if k is None:
            assert (row["absent"], row["bid_e4"], row["event_us"]) == ("none", None, None)
        else:
            assert (row["absent"], row["event_us"]) == (None, facts["event_us"][k])
            assert row["bid_e4"] == bid[k]
            assert row["avail_us"] <= row["asof_us"]
    assert [(r["market_id"], r["asof_us"]) for r in found] == [
        (r["market_id"], r["asof_us"]) for r in lines.to_pylist()
    ]


def test_quotes_from_prints_by_brute_force(store):
    rng = np.random.default_rng(9)
    facts = draw(rng, 200)
    taker = np.where(rng.random(200) < 0.5, "yes", "no")
    price = rng.integers(1, 99, 200) * 100
    columns = {"trade_id": [str(k) for k in range(200)], "taker_outcome": taker.tolist()}
    store.append("trade", FACT | facts | columns | {"yes_price_e4": price})
    lines = grid(*zip(*[(m, t) for m in (1, 2, 3) for t in range(0, 75)], strict=True))
    for row in quotes_asof(store.connection, lines, source="trade").to_pylist():
        yes, no = (
            newest(facts, row["market_id"], row["asof_us"], taker == t) for t in ("yes", "no")
        )
        assert row["ask_e4"] == (None if yes is None else price[yes])
        assert row["bid_e4"] == (None if no is None else price[no])
        times = [facts["event_us"][k] for k in (yes, no) if k is not None]
        assert row["event_us"] == max(times, default=None)
        assert (row["absent"] is None) == bool(times)


def test_quotes_from_candles_hold_only_from_their_end(store):
    columns = {
        "market_id": [1, 1, 1], "period_min": 1, "end_us": [100, 160, 220],
        "avail_us": [110, 170, 230], "bid_c_e4": [0, 4000, 4100], "ask_c_e4": [5000, 10_000, 5200],
    }  # fmt: skip
    store.append("candle", FACT | columns)
    found = quotes_asof(store.connection, grid([1] * 4, [109, 110, 229, 230]), source="candle")
    assert [(r["bid_e4"], r["ask_e4"]) for r in found.to_pylist()] == [
        (None, None), (None, 5000), (4000, None), (4100, 5200),
    ]  # fmt: skip


def test_of_rows_that_became_available_together_the_newest_counts_whatever_their_order(store):
    for number, order in enumerate(([0, 1, 2], [2, 1, 0], [1, 2, 0]), start=1):
        columns = {
            "market_id": [number] * 3, "event_us": [5, 7, 6], "ordinal": 0,
            "bid_e4": [50, 70, 60], "avail_us": [9, 9, 9],
        }  # fmt: skip
        moved = {k: [v[i] for i in order] if isinstance(v, list) else v for k, v in columns.items()}
        store.append("quote", FACT | moved)
    found = quotes_asof(store.connection, grid([1, 2, 3], [9, 9, 9]))
    assert found["bid_e4"].to_pylist() == [70, 70, 70]


def test_a_stale_quote_is_absent_and_hides_no_older_one(store):
    columns = {
        "market_id": [1, 1], "event_us": [10, 50], "ordinal": 0, "bid_e4": [1, 2],
        "avail_us": [11, 51],
    }  # fmt: skip
    store.append("quote", FACT | columns)
    found = quotes_asof(store.connection, grid([1] * 4, [49, 51, 70, 71], 20)).to_pylist()
    assert [r["absent"] for r in found] == ["stale", None, None, "stale"]
    assert [r["bid_e4"] for r in found] == [None, 2, 2, None]
    # Nothing is dropped, and the time of what was too old is told.
    assert [r["event_us"] for r in found] == [10, 50, 50, 50]


@pytest.mark.parametrize("source", QUOTE_SOURCES)
def test_a_gap_of_the_book_takes_the_quote_away(store, source):
    rows = FACT | {"market_id": [1, 2], "avail_us": [6, 6]}
    store.append("quote", rows | {"event_us": [5, 5], "ordinal": 0, "bid_e4": [1, 1]})
    store.append("candle", rows | {"end_us": [5, 5], "period_min": 1, "bid_c_e4": [1, 1]})
    store.append(
        "trade",
        rows | {"event_us": [5, 5], "trade_id": ["a", "b"], "yes_price_e4": [1, 1],
                "taker_outcome": "no"},
    )  # fmt: skip
    gaps = {"market_id": [1, 1], "sid": [1, 1], "from_us": [10, 30], "to_us": [20, None]}
    store.append("book_gap", FACT | gaps | {"avail_us": [10, 30]})
    asofs = [9, 10, 19, 20, 29, 30, 99]
    found = quotes_asof(store.connection, grid([1] * 7 + [2] * 7, asofs * 2), source=source)
    assert found["absent"].to_pylist()[:7] == [None, "gap", "gap", None, None, "gap", "gap"]
    assert set(found["absent"].to_pylist()[7:]) == {None}
    assert found["bid_e4"].to_pylist()[:7] == [1, None, None, 1, 1, None, None]


def test_a_gap_that_is_not_known_yet_changes_nothing(store):
    quote = {"market_id": [1], "event_us": [5], "ordinal": 0, "bid_e4": [1], "avail_us": [6]}
    store.append("quote", FACT | quote)
    gap = {"market_id": [1], "sid": [1], "from_us": [10], "to_us": [40], "avail_us": [25]}
    store.append("book_gap", FACT | gap)
    found = quotes_asof(store.connection, grid([1] * 3, [20, 24, 25]))
    assert found["absent"].to_pylist() == [None, None, "gap"]


def test_a_book_that_says_it_is_not_right_gives_no_quote(store):
    quote = {"market_id": [1], "event_us": [5], "ordinal": 0, "bid_e4": [1], "avail_us": [6]}
    store.append("quote", FACT | quote | {"book_ok": False})
    assert quotes_asof(store.connection, grid([1], [7]))["absent"].to_pylist() == ["gap"]


def test_versions_on_a_grid_of_moments(store):
    store.record_versions(
        "event_v", FACT | {"event_id": [1, 1, 2], "title": ["a", "b", "c"], "avail_us": [5, 9, 7]}
    )
    asked = pa.table({"event_id": pa.array([2, 1, 1, 1], pa.int32()), "asof_us": [6, 9, 8, 4]})
    found = versions_on_grid(store.connection, "event_v", asked).to_pylist()
    assert [r["title"] for r in found] == [None, "b", "a", None]
    assert [r["first_avail_us"] for r in found] == [None, 5, 5, None]
    with pytest.raises(SchemaMismatchError, match="asof_us"):
        versions_on_grid(store.connection, "event_v", asked.select(["event_id"]))


def test_wrong_questions(store):
    with pytest.raises(ConfigError, match="one of"):
        quotes_asof(store.connection, grid([1], [1]), source="rumour")
    with pytest.raises(SchemaMismatchError, match="stale_after_us"):
        quotes_asof(store.connection, grid([1], [1]).select(["market_id", "asof_us"]))
    assert quotes_asof(store.connection, grid([], [])).num_rows == 0
