"""Jobs from the exchange into the store: complete, once, resumable, around a moving cut-off."""

import io
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import pytest

from quant_engine.core.errors import ConfigError
from quant_engine.kalshi.events import LookConfig, ladder_panel
from quant_engine.kalshi.exchange.client import KalshiClient, Span
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.environments import local_environment
from quant_engine.kalshi.exchange.recorder import Recorded, Recorder, read_recording
from quant_engine.kalshi.exchange.replay import answering
from quant_engine.kalshi.exchange.stream import BookStream
from quant_engine.kalshi.exchange.timing import VirtualTimer
from quant_engine.kalshi.exchange.transport import Transport
from quant_engine.kalshi.fake.books import FakeBooks, FakeChannel
from quant_engine.kalshi.fake.rest import FakeConfig
from quant_engine.kalshi.fake.world import WorldConfig, make_world
from quant_engine.kalshi.provider import JOBS, SyncConfig, Synchronizer
from quant_engine.kalshi.recordings.live import ingest_recording
from quant_engine.kalshi.storage import KalshiStore, export_store

pytestmark = pytest.mark.feature("Q-45")

WORK = ("catalog", "historical", "trades", "candles")


@pytest.fixture(scope="module")
def world():
    return make_world(WorldConfig(seed=7, n_events=2, n_snapshots=3, trades_per_snapshot=4.0))


@pytest.fixture
def store(tmp_path):
    with KalshiStore(tmp_path / "k.duckdb", run_id="one", threads=1) as made:
        yield made


def config(world, **options):
    options.setdefault("keeps_raw", False)
    span = Span(world.events[0].release_us - 10**12, world.events[-1].release_us + 10**11)
    return SyncConfig(("KXFAKE",), span, source="fake", **options)


def sync(made, store, world, what=WORK, **options):
    jobs = Synchronizer(made.client, store, config(world, **options), timer=made.timer)
    return jobs.run(what)


def rows(store, sql):
    return store.connection.execute(sql).fetchall()


def test_everything_arrives_once(scene, store, world):
    made = scene()
    done = sync(made, store, world, keeps_raw=True)
    truth = sorted(
        (t.trade_id, t.ticker, t.at_us, t.price_e4, t.count_c2, t.taker)
        for event in world.events
        for t in event.trades
    )
    sql = """SELECT trade_id, d.name, event_us, yes_price_e4, count_c2, taker_outcome
        FROM trade JOIN dimension d ON d.kind = 'market' AND d.id = market_id ORDER BY 1"""
    assert rows(store, sql) == truth
    n_legs = sum(len(event.contracts) for event in world.events)
    assert done["candles"]["candle"] == n_legs * world.config.n_snapshots
    assert store.count("market_result") == n_legs
    assert rows(store, "SELECT fee_type, multiplier FROM fee_schedule") == [("quadratic", 1.0)]
    assert rows(store, "SELECT count(*) FROM raw_message")[0][0] > n_legs
    # Everything was fetched afterwards: nothing but listings and prints is older than the fetch.
    first = rows(store, "SELECT min(avail_us) FROM market_result")[0][0]
    assert first > world.events[-1].release_us
    assert {b for (b,) in rows(store, "SELECT DISTINCT avail_basis FROM trade")} == {"trade_ts+lag"}
    again = sync(made, store, world)
    assert {job: dict(+counts) for job, counts in again.items()} == {job: {} for job in WORK}
    looks = ladder_panel(store.connection, [1800], config=LookConfig(source="trade"))
    assert [look.event_ticker for look in looks] == [event.ticker for event in world.events]


@pytest.mark.slow
def test_another_run_asks_anew_and_stores_nothing_twice(scene, tmp_path, world):
    made = scene()
    path = tmp_path / "k.duckdb"
    with KalshiStore(path, run_id="one", threads=1) as store:
        sync(made, store, world)
        before = (store.count("trade"), store.count("candle"), store.count("market_v"))
    asked = len(made.exchange.log)
    with KalshiStore(path, run_id="two", threads=1) as store:
        done = sync(made, store, world)
        assert (store.count("trade"), store.count("candle"), store.count("market_v")) == before
    assert len(made.exchange.log) > asked + 10
    assert {name for counts in done.values() for name in +counts} <= {"quote", "raw_message"}


@pytest.mark.parametrize(
    ("place", "step_us"), [(0.3, 0), (0.5, 3_000_000_000), (0.1, 20_000_000_000)]
)
def test_the_tiers_join_without_gap_or_repetition_around_a_moving_cutoff(
    scene, store, world, place, step_us
):
    start, end = world.events[0].trades[0].at_us, world.events[-1].release_us
    cutoff = start + round(place * (end - start))
    options = FakeConfig(
        page_size=40, trades_cutoff_us=cutoff, markets_cutoff_us=cutoff, cutoff_step_us=step_us
    )
    made = scene(config=options)
    sync(made, store, world, what=("catalog", "historical", "trades"))
    truth = {t.trade_id for event in world.events for t in event.trades}
    stored = [t for (t,) in rows(store, "SELECT trade_id FROM trade")]
    assert len(stored) == len(set(stored))
    assert set(stored) == truth


def test_quotes_before_the_release_are_truly_recorded(scene, store, world):
    event = world.events[-1]
    timer = VirtualTimer(event.release_us - 90_000_000)
    made = scene(timer=timer)
    sync(made, store, world, what=("catalog",))
    done = sync(made, store, world, what=("quotes", "quotes"))
    assert done["quotes"]["quote"] == len(event.contracts)
    sql = f"""SELECT d.name, bid_e4, ask_e4, avail_us - recorded_us, avail_basis FROM quote
        JOIN dimension d ON d.kind = 'market' AND d.id = market_id
        WHERE d.name LIKE '{event.ticker}%' QUALIFY row_number() OVER
        (PARTITION BY market_id ORDER BY kid DESC) = 1"""
    found = {name: tuple(rest) for name, *rest in rows(store, sql)}
    for contract in event.contracts:
        shown = event.quotes[contract.ticker][-1]
        assert found[contract.ticker] == (shown.bid_e4, shown.ask_e4, 0, "recorded")


def test_a_candle_in_progress_is_left_out(scene, store, world):
    event = world.events[-1]
    made = scene(timer=VirtualTimer(event.release_us + 86_400_000_000))
    sync(made, store, world, what=("catalog",))
    early = VirtualTimer(event.release_us - 5_400_000_000)
    jobs = Synchronizer(made.client, store, config(world), timer=early)
    done = jobs.candles()
    # The hours that end half an hour later and at the release.
    assert done["candle in progress"] == 2 * len(event.contracts)
    assert rows(store, "SELECT count(*) FROM candle WHERE end_us > recorded_us") == [(0,)]


def test_what_is_synchronised_is_checked(scene, store, world):
    with pytest.raises(ConfigError, match="at least one series"):
        SyncConfig((), Span(0, 1))
    with pytest.raises(ConfigError, match="period"):
        SyncConfig(("A",), Span(0, 1), period_min=7)
    with pytest.raises(ConfigError, match="jobs of"):
        Synchronizer(scene().client, store, config(world), timer=VirtualTimer(0)).run(["all"])
    assert JOBS[0] == "catalog"


def test_a_recorded_session_fills_the_store_as_the_live_one_did(scene, store, tmp_path, world):
    made = scene()
    buffer = io.BytesIO()
    with Recorder(buffer) as recorder:
        made.transport.listeners.append(recorder.answer)
        sync(made, store, world)
    path = tmp_path / "session.jsonl.gz"
    path.write_bytes(buffer.getvalue())
    with (
        httpx.Client(transport=answering(read_recording(path))) as http,
        KalshiStore(tmp_path / "again.duckdb", run_id="x", threads=1) as second,
    ):
        timer = VirtualTimer(made.timer.now_us())
        transport = Transport(http, local_environment(1, 2), timer=timer, jitter=lambda: 0.0)
        client = KalshiClient(transport, DriftLog())
        Synchronizer(client, second, config(world), timer=timer).run(WORK)
        sql = "SELECT * EXCLUDE (recorded_us) FROM trade ORDER BY kid"
        assert rows(second, sql) == rows(store, sql)
        assert second.count("candle") == store.count("candle")
        assert second.count("market_v") == store.count("market_v")


def test_a_recording_of_books_becomes_quotes_prints_and_gaps(store):
    books = FakeBooks(3, ["A", "B"])
    channel, stream = FakeChannel(books, faults={40: "drop"}), BookStream(DriftLog())
    live = BookStream(DriftLog())
    live.subscribe(["A", "B"])
    messages, tops = [], []
    for number in range(200):
        frames = [f for c in live.commands() for f in channel.command(c)] or channel.delta()
        for frame in frames:
            body = frame.encode() if isinstance(frame, str) else frame
            messages.append(Recorded(number * 1000, "ws", "/ws", 0, body))
            changed = live.feed(frame, received_us=number * 1000)
            if changed is not None:
                tops.append((changed.ticker, number * 1000, changed.top()))
    written = ingest_recording(store, messages, stream, rows_per_batch=17)
    kept = [
        tops[k]
        for k in range(len(tops))
        if tops[k][2] != next((t for name, _, t in tops[:k][::-1] if name == tops[k][0]), None)
    ]
    sql = """SELECT d.name, event_us, bid_e4, ask_e4, bid_sz_c2, ask_sz_c2 FROM quote
        JOIN dimension d ON d.kind = 'market' AND d.id = market_id ORDER BY kid"""
    assert rows(store, sql) == [
        (name, at, t.bid_e4, t.ask_e4, t.bid_size_c2, t.ask_size_c2) for name, at, t in kept
    ]
    assert written["quote"] == len(kept)
    gaps = rows(store, "SELECT from_us, to_us, reason FROM book_gap ORDER BY market_id")
    assert gaps == [
        (g.from_us, g.to_us, g.reason) for g in sorted(live.gaps, key=lambda g: g.ticker)
    ]
    assert len(gaps) > 0
    assert ingest_recording(store, messages, BookStream(DriftLog())) == {}
    with pytest.raises(ConfigError, match="at least 1"):
        ingest_recording(store, [], stream, rows_per_batch=0)


KILLED = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from conftest import Keys, Scene
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from test_store_provider import WORK, config
    from quant_engine.kalshi.exchange.limits import RateLimit
    from quant_engine.kalshi.exchange.timing import VirtualTimer
    from quant_engine.kalshi.fake.rest import FakeConfig
    from quant_engine.kalshi.fake.world import WorldConfig, make_world
    from quant_engine.kalshi.provider import Synchronizer
    from quant_engine.kalshi.storage import KalshiStore, export_store

    path, last = Path(sys.argv[2]), int(sys.argv[3])
    world = make_world(WorldConfig(seed=7, n_events=2, n_snapshots=3))
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    keys = type("OneKey", (Keys,), {"ring": lambda self: type(self).known})(None, key)
    from conftest import ED_ID
    from quant_engine.kalshi.fake.auth import KeyRing
    type(keys).known = KeyRing({ED_ID: key.public_key()})

    class Still(VirtualTimer):
        def sleep(self, seconds):
            pass

    timer = Still(world.events[-1].release_us + 86_400_000_000)
    fast = RateLimit(10**9, 10**9)
    made = Scene(keys, world, timer=timer, limit=fast,
                 config=FakeConfig(tokens_per_s=1e9, capacity=1e9))
    handle = made.exchange.handle

    def handled(*args):
        if len(made.exchange.log) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return handle(*args)

    made.exchange.handle = handled
    with KalshiStore(path / "k.duckdb", run_id="night", threads=1) as store:
        Synchronizer(made.client, store, config(world), timer=timer).run(WORK)
        export_store(store, path / "out")
"""


def run_until(path, last):
    code = textwrap.dedent(KILLED)
    here = str(Path(__file__).parent)
    return subprocess.run(
        [sys.executable, "-c", code, here, str(path), str(last)],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    done = run_until(whole, -1)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    for last in (6, 20):
        assert run_until(torn, last).returncode == -signal.SIGKILL
    assert run_until(torn, -1).returncode == 0
    files = [{p.name: p.read_bytes() for p in (f / "out").iterdir()} for f in (whole, torn)]
    assert files[0] == files[1]


def test_a_run_that_stops_in_the_middle_goes_on_where_it_was(scene, store, tmp_path, world):
    class Killed(Exception):
        pass

    made = scene()
    handle = made.exchange.handle

    def handled(*args):
        if len(made.exchange.log) == 30:
            raise Killed
        return handle(*args)

    made.exchange.handle = handled
    with pytest.raises(Killed):
        sync(made, store, world)
    finished = store.connection.execute("SELECT count(*) FROM ingest_checkpoint").fetchall()[0][0]
    assert 0 < finished
    made.exchange.handle = handle
    sync(made, store, world)
    other = scene()
    with KalshiStore(tmp_path / "w.duckdb", run_id="one", threads=1) as whole:
        sync(other, whole, world)
        sql = "SELECT trade_id, event_us, yes_price_e4, avail_us, kid FROM trade ORDER BY kid"
        assert rows(store, sql) == rows(whole, sql)
        assert store.count("candle") == whole.count("candle")
        assert export_store(whole, tmp_path / "a")["trade"]
