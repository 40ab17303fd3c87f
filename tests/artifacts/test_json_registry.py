"""JsonRegistry: concurrent writers lose nothing, readers see whole states, history is bounded."""

import errno
import json
import os
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quant_engine.artifacts.json_registry import JsonRegistry, RegistryState
from quant_engine.core.clock import FixedClock
from quant_engine.core.errors import IntegrityError, StoreError

CLOCK = FixedClock(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))

# One interpreter without threads forks all writers, so that they start at the same moment.
WRITERS = """
import os, sys
from pathlib import Path
from quant_engine.artifacts.json_registry import JsonRegistry
from quant_engine.core.clock import SystemClock

def work(name):
    registry = JsonRegistry(Path(sys.argv[1]), clock=SystemClock(), max_history=60)
    for number in range(25):
        registry.change(
            "added", {"writer": name, "number": number},
            lambda now: {**now, name: now.get(name, 0) + 1, "total": now.get("total", 0) + 1})

children = []
for number in range(8):
    child = os.fork()
    if child == 0:
        try:
            work(f"w{number}")
        finally:
            os._exit(int(sys.exc_info()[0] is not None))
    children.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


@pytest.fixture
def registry(tmp_path) -> JsonRegistry:
    return JsonRegistry(tmp_path / "state" / "registry.json", clock=CLOCK)


def add(registry: JsonRegistry, value: int, event: str = "added") -> RegistryState:
    return registry.change(event, {"value": value}, lambda now: {**now, str(value): value})


def archived(registry: JsonRegistry) -> list[int]:
    path = registry.path.with_suffix(".archive.jsonl")
    return [json.loads(line)["version"] for line in path.read_text().splitlines()]


class TestOneWriter:
    def test_an_absent_file_is_an_empty_registry(self, registry):
        assert registry.read() == RegistryState(0, {}, ())
        assert not registry.path.exists()

    def test_a_change_is_recorded_with_version_time_event_and_details(self, registry):
        assert add(registry, 7) == registry.read()
        state = add(registry, 8, "replaced")
        assert state == registry.read()
        assert state.version == 2
        assert state.current == {"7": 7, "8": 8}
        at = "2026-01-02T03:04:05+00:00"
        assert state.history == (
            {"version": 1, "at": at, "event": "added", "details": {"value": 7}},
            {"version": 2, "at": at, "event": "replaced", "details": {"value": 8}},
        )

    def test_details_cannot_hide_the_version_of_the_entry(self, registry):
        """A model registry says which model version it added; that is not the entry's version."""
        state = registry.change("version_added", {"version": "v9", "at": "x"}, lambda now: now)
        assert state.history[0]["version"] == 1
        assert state.history[0]["details"] == {"version": "v9", "at": "x"}

    def test_a_failing_update_changes_nothing(self, registry):
        before = add(registry, 1)
        with pytest.raises(ZeroDivisionError):
            registry.change("broken", {}, lambda now: {"x": 1 / 0})
        assert registry.read() == before

    def test_an_update_may_not_smuggle_changes_through_the_state_it_was_given(self, registry):
        before = add(registry, 1)

        def update(now):
            now["smuggled"] = 1
            raise RuntimeError("no")

        with pytest.raises(RuntimeError, match="no"):
            registry.change("broken", {}, update)
        assert registry.read() == before

    def test_nan_is_refused_and_nothing_changes(self, registry):
        before = add(registry, 1)
        with pytest.raises(ValueError, match="Out of range float"):
            registry.change("added", {}, lambda now: {"sharpe": float("nan")})
        assert registry.read() == before


class TestHistory:
    @pytest.mark.feature("Q-40")
    def test_the_file_keeps_the_newest_and_the_archive_the_rest(self, tmp_path):
        registry = JsonRegistry(tmp_path / "registry.json", clock=CLOCK, max_history=3)
        for value in range(8):
            state = add(registry, value)
        assert [entry["version"] for entry in state.history] == [6, 7, 8]
        assert archived(registry) == [1, 2, 3, 4, 5]
        assert state.version == 8
        assert len(state.current) == 8

    def test_a_change_that_fails_after_archiving_archives_its_entry_once(
        self, tmp_path, monkeypatch
    ):
        registry = JsonRegistry(tmp_path / "registry.json", clock=CLOCK, max_history=2)
        for value in range(3):
            add(registry, value)
        before = registry.read()

        def full(path, target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", full)
            with pytest.raises(StoreError, match="free disk space"):
                add(registry, 3)
        assert registry.read() == before
        add(registry, 3)
        assert archived(registry) == [1, 2]

    def test_half_a_line_of_a_killed_writer_is_dropped(self, tmp_path):
        registry = JsonRegistry(tmp_path / "registry.json", clock=CLOCK, max_history=2)
        for value in range(4):
            add(registry, value)
        with registry.path.with_suffix(".archive.jsonl").open("a") as stream:
            stream.write('{"version":3,"at":"20')
        add(registry, 4)
        assert archived(registry) == [1, 2, 3]

    def test_raising_the_bound_is_harmless(self, tmp_path):
        small = JsonRegistry(tmp_path / "registry.json", clock=CLOCK, max_history=2)
        for value in range(4):
            add(small, value)
        large = JsonRegistry(tmp_path / "registry.json", clock=CLOCK, max_history=10)
        state = add(large, 4)
        assert [entry["version"] for entry in state.history] == [3, 4, 5]


class TestDamage:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            "{}",
            '{"version": 1, "current": {}}',
            '{"version": "1", "current": {}, "history": []}',
            '{"version": 1, "current": [], "history": []}',
            '{"version": 1, "current": {}, "history": {}}',
            '{"version": 1, "current": {}, "history": [3]}',
            '{"version": 5, "current": {}, "history": [{"version": 4}]}',
        ],
    )
    def test_a_damaged_registry_is_refused_and_left_as_it_is(self, registry, text):
        registry.path.parent.mkdir(parents=True)
        registry.path.write_text(text)
        with pytest.raises(IntegrityError, match=r"registry\.json"):
            registry.read()
        with pytest.raises(IntegrityError, match=r"registry\.json"):
            add(registry, 1)
        assert registry.path.read_text() == text

    @pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
    @pytest.mark.parametrize("owner_and_name", [(os, "fsync"), (Path, "replace")], ids=str)
    def test_a_disk_that_refuses(self, registry, monkeypatch, owner_and_name, number):
        before = add(registry, 1)

        def refuse(*args, **kwargs):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(*owner_and_name, refuse)
        with pytest.raises(StoreError, match="--results"):
            add(registry, 2)
        assert registry.read() == before
        assert [p.name for p in registry.path.parent.iterdir() if p.suffix == ".tmp"] == []

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "state").write_text("a file")
        with pytest.raises(StoreError, match="wanted a folder"):
            add(JsonRegistry(tmp_path / "state" / "registry.json", clock=CLOCK), 1)


@pytest.mark.feature("Q-46")
def test_eight_processes_lose_nothing_and_a_reader_always_sees_a_whole_state(tmp_path):
    """8 x 25 changes with a bound of 60 entries, read all the while."""
    path = tmp_path / "registry.json"
    registry = JsonRegistry(path, clock=CLOCK, max_history=60)
    seen = [0]
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITERS), str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as writers:
        while writers.poll() is None:
            state = registry.read()
            assert state.current.get("total", 0) == state.version
            assert [entry["version"] for entry in state.history] == list(
                range(max(0, state.version - 60) + 1, state.version + 1)
            )
            seen.append(state.version)
            time.sleep(0.005)
    assert writers.returncode == 0
    assert seen == sorted(seen)
    state = registry.read()
    assert state.version == 200
    assert state.current == {"total": 200, **{f"w{number}": 25 for number in range(8)}}
    lines = path.with_suffix(".archive.jsonl").read_text().splitlines()
    entries = [*map(json.loads, lines), *state.history]
    assert [entry["version"] for entry in entries] == list(range(1, 201))
    per_writer = {f"w{number}": [] for number in range(8)}
    for entry in entries:
        per_writer[entry["details"]["writer"]].append(entry["details"]["number"])
    assert all(numbers == list(range(25)) for numbers in per_writer.values())
