"""Where tasks run is said by flags, else by the settings, and is part of no result."""

from __future__ import annotations

import argparse
import importlib.util

import pytest

from quant_engine.cli.flags import add_run_flags, make_parser
from quant_engine.cli.setup import open_workspace
from quant_engine.core.errors import ConfigError, MissingExtraError
from quant_engine.core.executor import ProcessExecutor, SerialExecutor


@pytest.fixture
def parsed(tmp_path, monkeypatch):
    """Parse flags of a computing command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("QE_EXECUTOR", "QE_RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)

    def parse(*flags: str) -> argparse.Namespace:
        parser = make_parser("qe example", "An example.")
        add_run_flags(parser)
        return parser.parse_args(["--quiet", *flags])

    return parse


def test_the_number_of_jobs_decides_unless_a_name_is_given(parsed, monkeypatch):
    assert isinstance(open_workspace(parsed()).executor, ProcessExecutor)
    assert isinstance(open_workspace(parsed("--jobs", "1")).executor, SerialExecutor)
    assert isinstance(open_workspace(parsed("--executor", "serial")).executor, SerialExecutor)
    monkeypatch.setenv("QE_EXECUTOR", "serial")
    assert isinstance(open_workspace(parsed()).executor, SerialExecutor)
    assert isinstance(open_workspace(parsed("--executor", "process")).executor, ProcessExecutor)


def test_ray_by_flag_and_by_environment(parsed, monkeypatch):
    wanted = ("--executor", "ray", "--ray-address", "127.0.0.1:6379")
    if importlib.util.find_spec("ray") is None:
        with pytest.raises(MissingExtraError, match="distributed"):
            open_workspace(parsed(*wanted))
        return
    assert open_workspace(parsed(*wanted)).executor.address == "127.0.0.1:6379"
    monkeypatch.setenv("QE_RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("QE_EXECUTOR", "ray")
    found = open_workspace(parsed("--jobs", "3")).executor
    assert (found.address, found.jobs) == ("127.0.0.1:1", 3)
    assert open_workspace(parsed(*wanted)).executor.address == "127.0.0.1:6379"


def test_an_address_without_ray_and_an_unknown_name_are_refused(parsed, monkeypatch, capsys):
    with pytest.raises(ConfigError, match="ray_address"):
        open_workspace(parsed("--ray-address", "127.0.0.1:6379"))
    monkeypatch.setenv("QE_EXECUTOR", "threads")
    with pytest.raises(ConfigError, match="executor: wanted one of serial, process, ray"):
        open_workspace(parsed())
    with pytest.raises(SystemExit) as left:
        parsed("--executor", "threads")
    assert left.value.code == 2
    assert "invalid choice: 'threads'" in capsys.readouterr().err
