"""What the disk and the operating system can do to a writer, and what is left afterwards."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from quant_engine.artifacts.files import explained_os_errors, read_json, write_atomic, write_json
from quant_engine.artifacts.store import ArtifactStore
from quant_engine.core.errors import IntegrityError, SchemaMismatchError, StoreError

REFUSALS = {
    errno.ENOSPC: "free disk space",
    errno.EDQUOT: "disk quota",
    errno.EROFS: "a writable folder",
    errno.EACCES: "a writable folder",
    errno.EPERM: "a writable folder",
    errno.ENOENT: "a folder that can be made",
    errno.ENOTDIR: "a folder",
    errno.EEXIST: "a folder",
    errno.EFBIG: "room for a large file",
}


def refuse_after(monkeypatch, owner, name: str, *, calls: int, number: int) -> None:
    """Let an operating-system call work `calls` times and fail from then on."""
    original = getattr(owner, name)
    left = [calls]

    def limited(*args, **kwargs):
        if left[0] <= 0:
            raise OSError(number, os.strerror(number))
        left[0] -= 1
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, limited)


# Every call with which a store touches the disk, in the order of a write.
STEPS = [
    (Path, "mkdir"),
    (tempfile, "mkdtemp"),
    (Path, "write_text"),
    (Path, "write_bytes"),
    (os, "fsync"),
    (Path, "rename"),
]


class TestFullOrReadOnlyDisk:
    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
    @pytest.mark.parametrize(("owner", "name"), STEPS, ids=[name for _, name in STEPS])
    def test_every_step_may_fail_and_nothing_is_left_behind(
        self, store, text_kind, provenance, leftovers, monkeypatch, owner, name, number
    ):
        """Fail the first call, the second call and so on, until a write goes through."""
        for calls in range(20):
            with monkeypatch.context() as patch:
                refuse_after(patch, owner, name, calls=calls, number=number)
                refusal = None
                try:
                    store.write(text_kind(), "hello", provenance())
                except StoreError as error:
                    refusal = error
            if refusal is None:
                break
            assert (refusal.wanted, refusal.got) == (REFUSALS[number], os.strerror(number))
            assert "--results" in refusal.hint
            # The last flush comes after the rename: then the artifact is whole.
            whole = [ref for ref in store.refs() if store.faults(ref) == []]
            assert leftovers() == [] or (name == "fsync" and len(whole) == 1)
            assert list((store.folder / ".tmp").glob("*")) == []
            if whole:
                break
        else:
            pytest.fail("the write never went through")
        ref = store.write(text_kind(), "hello", provenance())
        assert store.read(text_kind(), ref) == "hello"
        assert calls > 0

    def test_a_signed_write_whose_key_cannot_be_made(
        self, store, text_kind, provenance, leftovers, monkeypatch
    ):
        original = os.open

        def no_keys(path, *args, **kwargs):
            if "evaluation" in str(path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(path, *args, **kwargs)

        monkeypatch.setattr(os, "open", no_keys)
        with pytest.raises(StoreError, match="free disk space"):
            store.write(text_kind(signed=True), "hello", provenance())
        assert leftovers() == []

    def test_a_file_where_the_results_folder_should_be(
        self, tmp_path, clock, text_kind, provenance
    ):
        (tmp_path / "results").write_text("a file")
        store = ArtifactStore(tmp_path / "results", clock=clock)
        with pytest.raises(StoreError, match="wanted a folder"):
            store.write(text_kind(), "hello", provenance())

    def test_the_earlier_artifacts_stay_whole(self, store, text_kind, provenance, monkeypatch):
        first = store.write(text_kind(), "first", provenance())
        refuse_after(monkeypatch, Path, "write_bytes", calls=0, number=errno.ENOSPC)
        with pytest.raises(StoreError):
            store.write(text_kind(), "second", provenance())
        assert list(store.refs()) == [first]
        assert store.read(text_kind(), first) == "first"

    def test_an_error_of_the_kind_leaves_nothing_behind_and_is_not_renamed(
        self, store, text_kind, provenance, leftovers, monkeypatch
    ):
        def refuse(self, value, folder):
            (folder / "half.txt").write_text("half")
            raise SchemaMismatchError("column", wanted="a", got="b", hint="c")

        monkeypatch.setattr(text_kind, "write", refuse)
        with pytest.raises(SchemaMismatchError):
            store.write(text_kind(), "hello", provenance())
        assert leftovers() == []
        assert list((store.folder / ".tmp").iterdir()) == []

    @pytest.mark.parametrize("number", sorted(REFUSALS))
    def test_explained_errors(self, number):
        with (
            pytest.raises(StoreError, match=REFUSALS[number]) as caught,
            explained_os_errors(Path("results")),
        ):
            raise OSError(number, os.strerror(number))
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.exit_code == 2

    def test_other_errors_pass_unchanged(self):
        with pytest.raises(InterruptedError), explained_os_errors(Path("results")):
            raise InterruptedError(errno.EINTR, "interrupted")


class TestWriteAtomic:
    @pytest.mark.parametrize(
        ("owner", "name"),
        [(tempfile, "mkstemp"), (os, "fsync"), (Path, "chmod"), (Path, "replace")],
        ids=["mkstemp", "fsync", "chmod", "replace"],
    )
    def test_the_old_file_stays_when_a_step_fails(self, tmp_path, monkeypatch, owner, name):
        path = tmp_path / "current.json"
        write_atomic(path, b"old")
        with monkeypatch.context() as patch:
            refuse_after(patch, owner, name, calls=0, number=errno.ENOSPC)
            with pytest.raises(StoreError, match="free disk space"):
                write_atomic(path, b"new")
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_folders_are_made_and_permissions_are_ordinary(self, tmp_path):
        path = tmp_path / "a" / "b" / "c.txt"
        previous = os.umask(0o027)
        try:
            write_atomic(path, b"x")
        finally:
            os.umask(previous)
        assert path.stat().st_mode & 0o777 == 0o640

    def test_json_has_one_readable_form(self, tmp_path):
        write_json(tmp_path / "x.json", {"b": "é", "a": [1, None]})
        text = (tmp_path / "x.json").read_text(encoding="utf-8")
        assert text == '{\n  "a": [\n    1,\n    null\n  ],\n  "b": "é"\n}\n'
        assert read_json(tmp_path / "x.json") == {"a": [1, None], "b": "é"}

    @pytest.mark.parametrize("data", [b"", b"{", b'{"a": 1}}', b"\xff\xfe"])
    def test_damaged_json_is_an_integrity_error(self, tmp_path, data):
        (tmp_path / "x.json").write_bytes(data)
        with pytest.raises(IntegrityError, match="valid JSON"):
            read_json(tmp_path / "x.json")


WRITER = """
import os, signal, sys, time
from datetime import UTC, datetime
from pathlib import Path
from quant_engine.artifacts.manifest import Provenance
from quant_engine.artifacts.store import ArtifactStore
from quant_engine.core.clock import FixedClock
from quant_engine.core.tracks import DataRegime, RunSource, ScoreSource, Track

ending = sys.argv[2]

class Kind:
    name, schema_version, packages, signed = "text", 1, ("core",), False

    def write(self, value, folder):
        (folder / "value.txt").write_text("half of the va")
        print("writing", flush=True)
        if ending == "exit":
            os._exit(1)
        if ending == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        sys.stdin.readline()

    def read(self, folder): ...

store = ArtifactStore(Path(sys.argv[1]), clock=FixedClock(datetime(2026, 1, 2, tzinfo=UTC)))
store.write(Kind(), "x", Provenance(
    producer="test.killed", config={}, inputs=(), dataset="d", as_of="",
    run_source=RunSource.SMOKE, data_regime=DataRegime.SIMULATED,
    score_source=ScoreSource.NONE, track=Track.CALIBRATION))
"""


def start_writer(root: Path, ending: str) -> subprocess.Popen:
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(root), ending],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "writing\n"
    return child


class TestKilledWriters:
    @pytest.mark.parametrize("ending", ["exit", "kill"])
    def test_a_killed_writer_leaves_a_temporary_folder_that_the_next_one_sweeps(
        self, root, store, text_kind, provenance, leftovers, ending
    ):
        with start_writer(root, ending) as child:
            child.wait(timeout=30)
        assert child.returncode == (-signal.SIGKILL if ending == "kill" else 1)
        (left,) = leftovers()
        assert left.startswith(f"artifacts/.tmp/{child.pid}-")
        assert list(store.refs()) == []
        ref = store.write(text_kind(), "hello", provenance())
        assert list((store.folder / ".tmp").iterdir()) == []
        assert list(store.refs()) == [ref]

    def test_a_living_writers_folder_is_not_swept(
        self, root, store, text_kind, provenance, leftovers
    ):
        with start_writer(root, "wait") as child:
            (mine,) = leftovers()
            ref = store.write(text_kind(), "hello", provenance())
            assert mine in leftovers()
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.wait(timeout=30) == 0
        assert len(list(store.refs())) == 2
        assert store.read(text_kind(), ref) == "hello"
        assert list((store.folder / ".tmp").iterdir()) == []

    def test_another_publisher_of_the_same_artifact_wins_and_both_are_content(
        self, store, text_kind, provenance, root, clock, monkeypatch
    ):
        """The other process publishes between our check and our rename."""
        other = ArtifactStore(root, clock=clock)
        original = Path.mkdir

        def publish_first(self, *args, **kwargs):
            if self == store.folder / "text":
                monkeypatch.setattr(Path, "mkdir", original)
                other.write(text_kind(), "hello", provenance())
            return original(self, *args, **kwargs)

        monkeypatch.setattr(Path, "mkdir", publish_first)
        ref = store.write(text_kind(), "hello", provenance())
        assert store.read(text_kind(), ref) == "hello"
        assert list((store.folder / ".tmp").iterdir()) == []

    def test_folders_of_other_makes_are_left_alone(self, store, text_kind, provenance):
        stranger = store.folder / ".tmp" / "mine-to-keep"
        stranger.mkdir(parents=True)
        store.write(text_kind(), "hello", provenance())
        assert stranger.is_dir()
