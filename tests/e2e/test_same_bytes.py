"""The same inputs give the same ids and bytes: elsewhere, later, with another number of jobs."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from unittest import mock

import pytest

from quant_engine.core.clock import SystemClock

pytestmark = [pytest.mark.feature("Q-46"), pytest.mark.feature("L-19")]

LATER = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def elsewhere(cli, world, build_once):
    """The chain again: data copied to another path, another folder, another year, one process."""

    def build(root) -> None:
        shutil.copytree(world / "prices", root / "data" / "other_name")
        folder = cli.working_folder(root / "another" / "place")
        with mock.patch.object(SystemClock, "now", return_value=LATER):
            cli.train(root / "data" / "other_name", folder).ok()
            cli.call(["run_predict.py", "--jobs", "1"], folder).ok()
            cli.call(["run_backtest.py", "--jobs", "1"], folder).ok()

    return build_once("moved", build) / "another" / "place" / "results"


def test_ids_and_content_hashes_of_the_whole_chain_are_equal(cli, chain, elsewhere) -> None:
    assert len(cli.identities(chain.results)) >= 15
    assert cli.identities(elsewhere) == cli.identities(chain.results)


def test_every_payload_file_has_equal_bytes(chain, elsewhere) -> None:
    for path in sorted(chain.results.glob("artifacts/*/*/payload/**/*")):
        if path.is_file():
            twin = elsewhere / path.relative_to(chain.results)
            assert twin.read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize(
    "name", ["predictions_5d.csv", "backtest_5d_trades.csv", "backtest_5d_summary.json"]
)
def test_exports_have_equal_bytes(chain, elsewhere, name) -> None:
    assert (elsewhere / name).read_bytes() == (chain.results / name).read_bytes()


def test_runs_of_one_second_are_told_apart(cli, elsewhere) -> None:
    """The clock of this chain stands still: only what was run can tell its runs apart."""
    runs = json.loads((elsewhere / "runs.json").read_text())["current"]["runs"]
    assert len({run["run_id"] for run in runs}) == len(runs) == 3
    assert [run["parent"] for run in runs] == ["", runs[0]["run_id"], runs[0]["run_id"]]


def test_no_manifest_holds_a_path_a_time_or_a_host(chain, world) -> None:
    for path in chain.results.glob("artifacts/*/*/manifest.json"):
        text = path.read_text(encoding="utf-8")
        assert str(world) not in text
        assert str(chain.folder) not in text
        assert "created_at" not in text


@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("run_train.py", ("--set", "seed=8")),
        ("run_train.py", ("--set", "model.max_missing_frac=0.4")),
        ("run_backtest.py", ("--capital", "2000000")),
    ],
)
def test_what_changes_the_result_changes_the_id(cli, copied_chain, world, script, flags) -> None:
    """A hash that ignored a setting would make two different runs one."""
    before = set(cli.identities(copied_chain.results))
    if script == "run_train.py":
        cli.train(world / "prices", copied_chain.folder, *flags).ok()
        changed = {"model", "oos_predictions", "training_report"}
    else:
        cli.call([script, "--jobs", "1", *flags], copied_chain.folder).ok()
        changed = {"backtest_result", "trades", "orders", "evaluation", "validation_report"}
    new = set(cli.identities(copied_chain.results)) - before
    assert {name.partition("/")[0] for name in new} >= changed - {"trades", "orders"}
