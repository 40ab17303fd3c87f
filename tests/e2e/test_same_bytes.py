"""The same inputs give the same ids and bytes: elsewhere, later, and with another number of jobs."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from unittest import mock

import pytest

from quant_engine.core.clock import SystemClock

pytestmark = [pytest.mark.feature("Q-46"), pytest.mark.feature("L-19")]

LATER = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.fixture
def elsewhere(cli, world, tmp_path):
    """Copy the raw data to another path, with another working folder."""
    shutil.copytree(world / "prices", tmp_path / "moved" / "other_name")
    return tmp_path / "moved" / "other_name", cli.working_folder(tmp_path / "another" / "place")


def test_another_place_time_and_number_of_jobs_give_the_same_ids_and_bytes(
    cli, chain, elsewhere
) -> None:
    prices, folder = elsewhere
    with mock.patch.object(SystemClock, "now", return_value=LATER):
        cli.train(prices, folder).ok()
        cli.call(["run_predict.py", "--jobs", "1"], folder).ok()
        cli.call(["run_backtest.py", "--jobs", "1"], folder).ok()

    assert cli.identities(folder / "results") == cli.identities(chain.results)


def test_exports_of_another_place_and_time_are_the_same_bytes(cli, chain, elsewhere) -> None:
    prices, folder = elsewhere
    with mock.patch.object(SystemClock, "now", return_value=LATER):
        cli.train(prices, folder).ok()
        cli.call(["run_predict.py", "--jobs", "1"], folder).ok()
        cli.call(["run_backtest.py", "--jobs", "1"], folder).ok()

    for name in ("predictions_5d.csv", "backtest_5d_trades.csv", "backtest_5d_summary.json"):
        assert (folder / "results" / name).read_bytes() == (chain.results / name).read_bytes()
