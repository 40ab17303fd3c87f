"""Temporary folders name their owner: dead owners' folders are swept, living ones' are not."""

import os
import subprocess
import sys

import pytest

from quant_engine.core.scratch import owned_folder, sweep


@pytest.fixture
def dead_process() -> int:
    """Number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_the_folder_is_removed_with_its_content(tmp_path):
    with owned_folder(tmp_path, prefix="mine_") as folder:
        assert folder.name.startswith(f"mine_{os.getpid()}-")
        (folder / "deep").mkdir()
        (folder / "deep" / "x.bin").write_bytes(b"x")
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []


def test_it_is_removed_after_an_error_too(tmp_path):
    with pytest.raises(RuntimeError, match="boom"), owned_folder(tmp_path):
        raise RuntimeError("boom")
    assert list(tmp_path.iterdir()) == []


def test_folders_of_dead_processes_are_swept_and_others_stay(tmp_path, dead_process):
    stay = [
        f"mine_{os.getpid()}-abc",
        "mine_1-init",
        "mine_other",
        "mine_x-y",
        f"{dead_process}-no-prefix",
        f"theirs_{dead_process}-abc",
    ]
    for name in [*stay, f"mine_{dead_process}-abc"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "content").write_text("x")
    with owned_folder(tmp_path, prefix="mine_") as folder:
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*stay, folder.name])


def test_two_folders_of_one_process_live_side_by_side(tmp_path):
    with owned_folder(tmp_path) as one, owned_folder(tmp_path) as two:
        assert one != two
        assert one.is_dir()
        assert two.is_dir()


def test_sweep_removes_files_too_and_takes_the_prefix_literally(tmp_path, dead_process):
    gone, stays = tmp_path / f".x[1].json.{dead_process}-a.tmp", tmp_path / ".x1.json.1-a.tmp"
    gone.touch()
    stays.touch()
    sweep(tmp_path, prefix=".x[1].json.")
    assert list(tmp_path.iterdir()) == [stays]
