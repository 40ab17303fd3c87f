"""Progress: lines for logs, bars for terminals, nothing when quiet."""

import io
import re

import pytest

from quant_engine.core.progress import SILENT, LineProgress, TerminalProgress, make_progress


class FakeTimer:
    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_stage_writes_its_start_and_its_end():
    stream, timer = io.StringIO(), FakeTimer()
    with LineProgress(stream, timer).stage("features", 3) as stage:
        stage.advance()
        timer.now += 2.25
        stage.advance(2)
    assert stream.getvalue() == "features: started (3 steps)\nfeatures: done in 2.2 s\n"


def test_at_most_one_heartbeat_per_interval():
    stream, timer = io.StringIO(), FakeTimer()
    with LineProgress(stream, timer).stage("folds", 100) as stage:
        for _ in range(100):
            timer.now += 0.5
            stage.advance()
    lines = stream.getvalue().splitlines()
    assert lines[1:-1] == [f"folds: {n}/100 after {n / 2:.0f} s" for n in (20, 40, 60, 80, 100)]


def test_one_step_needs_no_count():
    stream = io.StringIO()
    with LineProgress(stream, FakeTimer()).stage("load", 1):
        pass
    assert stream.getvalue().startswith("load: started\n")


def test_a_failed_stage_is_not_reported_as_done():
    stream = io.StringIO()
    with (
        pytest.raises(RuntimeError, match="boom"),
        LineProgress(stream, FakeTimer()).stage("fit", 2),
    ):
        raise RuntimeError("boom")
    assert "done" not in stream.getvalue()


def test_every_line_is_flushed_at_once():
    flushed = []

    class Pipe(io.StringIO):
        def flush(self):
            flushed.append(self.getvalue())

    with LineProgress(Pipe(), FakeTimer()).stage("load", 1):
        assert flushed == ["load: started\n"]


def test_silence():
    with SILENT.stage("anything", 10) as stage:
        stage.advance()
        stage.advance(5)


def test_the_listener_is_chosen_by_the_stream():
    timer = FakeTimer()
    assert make_progress(quiet=True, timer=timer) is SILENT
    assert isinstance(make_progress(quiet=False, timer=timer, stream=io.StringIO()), LineProgress)
    assert isinstance(make_progress(quiet=False, timer=timer, stream=Terminal()), TerminalProgress)


def test_standard_error_is_the_default_stream(capsys):
    progress = make_progress(quiet=False, timer=FakeTimer())
    with progress.stage("load", 1):
        pass
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "load" in captured.err


def test_a_terminal_shows_name_and_count():
    stream = Terminal()
    with make_progress(quiet=False, timer=FakeTimer(), stream=stream).stage("fit", 4) as stage:
        stage.advance(4)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "fit" in plain
    assert "4/4" in plain
