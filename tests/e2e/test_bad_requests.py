"""Flags, settings, folders and models that cannot be used: one clear error, nothing left behind."""

from __future__ import annotations

import errno
import json
import shutil
from unittest import mock

import pytest

from quant_engine.artifacts import files, store

pytestmark = pytest.mark.feature("Q-02")


@pytest.mark.parametrize(
    ("flags", "code", "parts"),
    [
        (("--horizon", "0"), 2, ("labels.horizon_sessions", "got 0")),
        (("--horizon", "-3"), 2, ("labels.horizon_sessions", "got -3")),
        (("--horizon", "1000"), 3, ("sessions: ", "label horizon")),
        (("--features", "tinny"), 2, ("'tinny'", "Did you mean 'tiny'?")),
        (("--quality", "defualt"), 2, ("'defualt'", "Did you mean 'default'?")),
        (("--source", "yahooo"), 2, ("'yahooo'", "Did you mean 'yahoo'?")),
        (("--source", "simulated", "--world", "demmo"), 2, ("Did you mean 'demo'?",)),
        (("--path", "/no/such/place"), 2, ("--path", "/no/such/place")),
        (("--membership", "/no/such.csv"), 2, ("--membership", "/no/such.csv")),
        (("--sectors", "/no/such.csv"), 2, ("--sectors",)),
        (("--delistings", "/no/such.csv"), 2, ("--delistings",)),
        (("--benchmark", "SPYY"), 3, ("benchmark: ", "SPYY")),
        (("--benchmark", "none"), 2, ("target: ", "--set target=ret")),
        (("--set", "target=sector_excess"), 2, ("target: ", "sectors")),
        (("--tickers", "NOPE"), 3, ("--tickers",)),
        (("--start", "2020-01-01"), 3, ("--start",)),
        (("--start", "2013-06-01", "--end", "2012-06-01"), 3, ("--start",)),
        (("--years", "-1"), 2, ("data.years",)),
        (("--map", "close"), 2, ("--map: wanted ", "close")),
        (("--map", "close=Last"), 3, ("'Last' for close",)),
        (("--date-format", "sometimes"), 2, ("date_format",)),
        (("--set", "nonsense"), 2, ("--set: wanted A.B=VALUE",)),
        (("--set", "model=3"), 2, ("settings: model",)),
        (("--set", "seed=soon"), 2, ("settings: seed",)),
        (("--survivorship",), 3, ("survivorship", "--membership FILE")),
    ],
)
def test_a_bad_training_request_is_refused_before_anything_is_written(
    cli, work, world, flags, code, parts
) -> None:
    message = cli.one_error(cli.train(world / "prices", work, "--quiet", *flags), code)
    for part in parts:
        assert part in message
    assert cli.nothing_stored(work)


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (("run_train.py", "--jobs", "0"), "argument --jobs: wanted a whole number of at least 1"),
        (("run_train.py", "--jobs", "many"), "got many"),
        (("run_train.py", "--start", "yesterday"), "wanted a date such as 2024-01-31, got yester"),
        (("run_predict.py", "--end", "garbage"), "wanted a date such as 2024-01-31, got garbage"),
        (("run_predict.py", "--top", "0"), "argument --top: wanted a whole number of at least 1"),
        (("run_backtest.py", "--top", "2.5"), "argument --top: wanted a whole number of names"),
        (("run_backtest.py", "--top", "-1"), "argument --top: wanted a whole number of names"),
        (("run_retrain.py", "--status", "--versions"), "not allowed with argument --status"),
    ],
)
def test_a_bad_flag_is_a_usage_error(cli, work, args, part) -> None:
    done = cli.call(args, work)
    assert done.code == 2
    assert part in done.stderr.splitlines()[-1]
    assert done.stdout == ""
    assert cli.nothing_stored(work)


@pytest.mark.parametrize(
    ("args", "code", "parts"),
    [
        (("run_predict.py", "--horizon", "99"), 3, ("horizon 99", "[5]")),
        (("run_predict.py", "--version", "nope"), 2, ("--version", "'nope'")),
        (("run_predict.py", "--champion"), 3, ("champion", "run_retrain.py --status")),
        (("run_predict.py", "--path", "/no/such/place"), 3, ("path",)),
        (("run_predict.py", "--end", "1990-01-01"), 3, ("bars",)),
        (("run_predict.py", "--output", "."), 2, ("--output", "the name of a file")),
        (("run_predict.py", "--output", "/dev/null"), 2, ("--output", "/dev/null")),
        (("run_backtest.py", "--run", "nope"), 2, ("run id", "'nope'")),
        (("run_backtest.py", "--horizon", "3"), 3, ("horizon 3",)),
        (("run_backtest.py", "--costs", "bse"), 2, ("Did you mean 'base'?",)),
        (("run_backtest.py", "--capital", "-5"), 2, ("initial_equity_usd",)),
        (("run_backtest.py", "--min-confidence", "2"), 2, ("min_confidence",)),
        (("run_backtest.py", "--set", "backtest.portfolio.rebalance=never"), 2, ("'staggered'",)),
        (("run_retrain.py", "--rollback"), 3, ("an earlier champion", "--versions")),
        (("run_retrain.py", "--horizon", "3"), 3, ("horizon 3",)),
        (("qe", "lineage", "zz"), 2, ("0 matches", "qe artifacts")),
    ],
)
def test_a_bad_request_after_training_changes_nothing(cli, chain, args, code, parts) -> None:
    before = _listing(chain.folder)
    message = cli.one_error(cli.call([*args, "--quiet"], chain.folder), code)
    for part in parts:
        assert part in message
    assert _listing(chain.folder) == before


def _listing(folder) -> dict[str, int]:
    return {
        str(path): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


@pytest.mark.parametrize("script", ["run_predict.py", "run_backtest.py", "run_retrain.py"])
def test_going_on_without_a_training_run_says_which_script_to_run(cli, work, script) -> None:
    message = cli.one_error(cli.call([script, "--quiet"], work), 3)
    assert "Run `python run_train.py` first." in message
    assert cli.nothing_stored(work)


def test_an_unknown_kind_of_artifact_names_those_that_exist(cli, chain) -> None:
    text = cli.call(["qe", "artifacts", "--kind", "modell"], chain.folder).ok().stdout
    assert "no artifact of kind 'modell'" in text
    assert "model" in text


def test_a_spec_of_the_working_folder_cannot_redefine_a_shipped_one(cli, work, world) -> None:
    shipped = cli.repo / "quant_engine" / "specs" / "features" / "simulated_core.yaml"
    shutil.copy(shipped, work / "specs" / "features")
    message = cli.one_error(cli.train(world / "prices", work, "--quiet"), 2)
    assert "spec features/simulated_core" in message
    assert "Rename your file" in message
    assert cli.nothing_stored(work)


def test_a_feature_without_any_value_is_refused(cli, work, world) -> None:
    path = work / "specs" / "features" / "tiny.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("$close/$open - 1", "Log(0 - $close)"))
    message = cli.one_error(cli.train(world / "prices", work, "--quiet"), 3)
    assert "none of KMID" in message
    assert "KMID is Log(0 - $close)" in message


@pytest.mark.parametrize("name", ["results", "trained_models"])
def test_a_file_in_the_place_of_a_state_folder(cli, work, world, name) -> None:
    (work / name).write_text("in the way", encoding="utf-8")
    message = cli.one_error(cli.train(world / "prices", work, "--quiet"), 2)
    assert name in message
    assert "A file stands where a folder is needed" in message
    assert (work / name).read_text(encoding="utf-8") == "in the way"
    assert cli.nothing_stored(work)


@pytest.mark.parametrize("after", [0, 3, 8])
def test_a_full_disk_while_artifacts_are_written(cli, work, world, after) -> None:
    """The store's flush fails as a full disk makes it fail; the next run goes on undisturbed."""
    with mock.patch.object(store, "sync_tree", _full_after(after, store.sync_tree)):
        message = cli.one_error(cli.train(world / "prices", work, "--quiet"), 2)
    assert "wanted free disk space" in message
    assert "Free some space" in message
    assert not (work / "results" / "runs.json").exists()
    assert len(cli.identities(work / "results")) == after
    assert cli.leftovers(work) == []
    cli.call(["qe", "verify"], work).ok()
    cli.train(world / "prices", work, "--quiet", "--resume").ok()


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_full_disk_while_exports_are_written(cli, copied_chain, after) -> None:
    runs = (copied_chain.results / "runs.json").read_bytes()
    args = ["run_backtest.py", "--jobs", "1", "--quiet", "--resume"]
    with mock.patch.object(files.os, "fsync", _full_after(after, files.os.fsync)):
        message = cli.one_error(cli.call(args, copied_chain.folder), 2)
    assert "wanted free disk space" in message
    assert cli.leftovers(copied_chain.folder) == []
    assert (copied_chain.results / "runs.json").read_bytes() == runs
    json.loads((copied_chain.results / "backtest_5d_summary.json").read_text())


def _full_after(calls: int, real):
    """Let some calls pass, then fail like a full disk."""
    left = calls

    def call(*args):
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        left -= 1
        return real(*args)

    return call


@pytest.mark.feature("Q-03")
def test_a_changed_feature_set_is_refused_before_anything_is_written(cli, copied_chain) -> None:
    path = copied_chain.folder / "specs" / "features" / "tiny.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace(
            'Ref($close, 5)/$close", lookback_sessions: 6',
            'Ref($close, 6)/$close", lookback_sessions: 7',
        )
    )
    before = _listing(copied_chain.folder)
    for args in (["run_predict.py"], ["run_backtest.py", "--allow-in-sample"]):
        message = cli.one_error(cli.call([*args, "--quiet"], copied_chain.folder), 3)
        assert "feature set id: wanted " in message
        assert "retrain" in message
    assert _listing(copied_chain.folder) == before


@pytest.mark.feature("Q-03")
def test_another_feature_set_in_the_newest_run_is_refused(cli, copied_chain) -> None:
    path = copied_chain.results / "runs.json"
    content = json.loads(path.read_text())
    for run in content["current"]["runs"]:
        if run["command"] == "train":
            run["config"]["feature_set"] = "price_volume_core"
    path.write_text(json.dumps(content), encoding="utf-8")
    before = _listing(copied_chain.folder)
    message = cli.one_error(cli.call(["run_predict.py", "--quiet"], copied_chain.folder), 3)
    assert "features: wanted the 5 features the model was trained on" in message
    assert _listing(copied_chain.folder) == before


@pytest.mark.feature("Q-46")
def test_a_model_file_that_was_changed_by_hand_is_refused(cli, copied_chain) -> None:
    (path,) = copied_chain.results.glob("artifacts/model/*/payload/model.json")
    path.write_text(path.read_text().replace("ROC5", "ROC6"), encoding="utf-8")
    message = cli.one_error(cli.call(["run_predict.py", "--quiet"], copied_chain.folder), 3)
    assert "payload file model.json was added or changed" in message


def test_an_artifact_that_was_deleted_is_named(cli, copied_chain) -> None:
    (folder,) = copied_chain.results.glob("artifacts/oos_predictions/*")
    shutil.rmtree(folder)
    message = cli.one_error(cli.call(["run_backtest.py", "--quiet"], copied_chain.folder), 2)
    assert f"oos_predictions/{folder.name}" in message


def test_a_damaged_run_registry_is_named(cli, copied_chain) -> None:
    (copied_chain.results / "runs.json").write_text('{"version": 1', encoding="utf-8")
    message = cli.one_error(cli.call(["run_predict.py", "--quiet"], copied_chain.folder), 3)
    assert "runs.json" in message


@pytest.mark.feature("Q-03")
def test_a_prediction_inside_the_training_window_is_marked(cli, copied_chain, bars) -> None:
    day = bars["XBKQ"]["date"].iloc[200]
    done = cli.call(["run_predict.py", "--end", day, "--jobs", "1"], copied_chain.folder).ok()
    assert "warning: in-sample: the model has seen sessions up to " in done.stderr


def test_failures_print_one_json_object_too(cli, work, world) -> None:
    done = cli.train(world / "prices", work, "--json", "--features", "tinny")
    assert done.code == 2
    content = done.json
    assert (content["ok"], content["status"], content["exit_code"]) == (False, "failed", 2)
    assert content["artifacts"] == []
    assert set(content["error"]) == {"code", "message", "hint"}
    assert content["error"]["code"] == "config"
    assert "Did you mean 'tiny'?" in content["error"]["message"]
