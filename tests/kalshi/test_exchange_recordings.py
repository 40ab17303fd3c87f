"""Recordings: what was heard is what is replayed, through the same code."""

import gzip
import io

import httpx
import pytest

from quant_engine.core.errors import SchemaMismatchError, UnreadableFileError
from quant_engine.kalshi.exchange.client import KalshiClient
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.environments import local_environment
from quant_engine.kalshi.exchange.recorder import Recorded, Recorder, read_recording
from quant_engine.kalshi.exchange.replay import (
    answering,
    read_event_file,
    read_trades_file,
    replay_books,
)
from quant_engine.kalshi.exchange.stream import BookStream
from quant_engine.kalshi.exchange.timing import VirtualTimer
from quant_engine.kalshi.exchange.transport import Transport
from quant_engine.kalshi.fake.books import FakeBooks, FakeChannel

MESSAGES = [
    Recorded(1, "ws", "/trade-api/ws/v2", 0, b'{"type":"ok"}'),
    Recorded(2, "rest", "/markets?limit=1", 200, '{"title":"\u00e9\\n"}'.encode()),
    Recorded(3, "ws", "/trade-api/ws/v2", 0, b"\xff\xfe cut"),
    Recorded(4, "ws", "/trade-api/ws/v2", 0, b""),
]


def write(path, messages, **options):
    with path.open("ab") as stream, Recorder(stream, **options) as recorder:
        for message in messages:
            recorder.add(message)


def test_bytes_come_back_as_they_were(tmp_path):
    path, again = tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl.gz"
    write(path, MESSAGES)
    assert list(read_recording(path)) == MESSAGES
    write(again, MESSAGES)
    assert path.read_bytes() == again.read_bytes()
    write(path, MESSAGES[:1])
    assert list(read_recording(path)) == [*MESSAGES, MESSAGES[0]]


def test_a_killed_writer_leaves_whole_lines(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    with path.open("wb") as stream:
        recorder = Recorder(stream, flush_every=2)
        for message in MESSAGES[:2]:
            recorder.add(message)
        stream.flush()
        killed = path.read_bytes()
        recorder.__exit__()
    path.write_bytes(killed)
    with pytest.raises(UnreadableFileError, match="ends in the middle"):
        list(read_recording(path))
    assert list(read_recording(path, allow_cut_off=True)) == MESSAGES[:2]


@pytest.mark.parametrize(
    "content",
    # The time of packing would stand in the names of the tests.
    [gzip.compress(text, mtime=0) for text in (b"no json\n", b'{"kind":"ws"}\n')] + [b"not gzip"],
    ids=["no JSON", "an unfinished record", "not packed"],
)
def test_what_is_no_recording_is_refused(tmp_path, content):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match="a recording"):
        list(read_recording(path))
    with pytest.raises((UnreadableFileError, SchemaMismatchError)):
        read_event_file(path, DriftLog())


def test_archives_of_something_else_are_refused(tmp_path):
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b"[]"))
    with pytest.raises(SchemaMismatchError, match="field event"):
        read_event_file(path, DriftLog())
    with pytest.raises(SchemaMismatchError, match="from ticker to prints"):
        read_trades_file(path, DriftLog())


def test_a_recorded_session_is_replayed_by_the_unchanged_client(scene, world, tmp_path):
    made = scene()
    buffer = io.BytesIO()
    with Recorder(buffer) as recorder:
        made.transport.listeners.append(recorder.answer)
        event = world.events[0].ticker
        live = (made.client.event(event), made.client.events(), made.client.cutoff())
    path = tmp_path / "session.jsonl.gz"
    path.write_bytes(buffer.getvalue())
    signature = "KALSHI-ACCESS"
    assert signature not in gzip.decompress(path.read_bytes()).decode()
    with httpx.Client(transport=answering(read_recording(path))) as http:
        transport = Transport(
            http, local_environment(1, 2), timer=VirtualTimer(0), jitter=lambda: 0.0
        )
        client = KalshiClient(transport, DriftLog())
        assert (client.event(event), client.events(), client.cutoff()) == live


def test_books_of_a_recording_equal_the_live_ones():
    books = FakeBooks(3, ["A", "B"])
    channel, live = FakeChannel(books, faults={40: "drop", 90: "duplicate"}), BookStream(DriftLog())
    live.subscribe(["A", "B"])
    buffer = io.BytesIO()
    seen = []
    with Recorder(buffer) as recorder:
        for number in range(200):
            frames = [f for c in live.commands() for f in channel.command(c)] or channel.delta()
            for frame in frames:
                recorder.frame(frame, source="/trade-api/ws/v2", received_us=number)
                changed = live.feed(frame, received_us=number)
                if changed is not None:
                    seen.append((number, changed.snapshot()))
    lines = gzip.decompress(buffer.getvalue()).splitlines()
    assert len(lines) == recorder.count
    replayed = BookStream(DriftLog())
    messages = read_messages(buffer)
    again = [(at, changed.snapshot()) for at, changed in replay_books(messages, replayed)]
    assert again == seen
    assert replayed.gaps == live.gaps
    assert len(live.gaps) == 2


def read_messages(buffer):
    from quant_engine.kalshi.exchange.codec import decode

    for line in gzip.decompress(buffer.getvalue()).splitlines():
        fields = decode(line)
        yield Recorded(
            fields["recorded_us"], fields["kind"], fields["source"], 0, fields["body"].encode()
        )
