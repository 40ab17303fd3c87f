"""Versions, champions, rollback and retraining, on a market whose alpha is easy to find."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest

from quant_engine.core.clock import SystemClock

pytestmark = [pytest.mark.feature("Q-08"), pytest.mark.feature("Q-30")]

STRONG = "seed: 11\nn_assets: 60\nn_sessions: 420\nalpha: {shape: linear, oracle_rank_ic: 0.25}\n"
RIDGE = "{learner: ridge, column: ridge}"
SMOOTH = "{learner: ridge, column: ridge, params: {alpha_share: 0.52}}"


def _trees(n: int, depth: int = 2) -> str:
    return f"{{learner: lightgbm_shallow, column: lgbm, params: {{n_trees: {n}, depth: {depth}}}}}"


# In the order of training: a weak model, an overfitted one that is better, a good one, the best,
# one that is not 2 % better, a mixture, and further weak ones that fill the registry.
MEMBERS = {
    "weak": _trees(1, depth=1),
    "overfitted": _trees(200),
    "good": _trees(6),
    "best": RIDGE,
    "alike": SMOOTH,
    "mixture": f"{RIDGE}, {_trees(30)}",
    "weak again": _trees(2, depth=1),
    "weak once more": _trees(3, depth=1),
}


@dataclass(frozen=True)
class History:
    """A folder in which all models were trained; registry and champion after each of them."""

    folder: Path
    metrics: dict[str, dict[str, float]]
    registered: dict[str, list[dict]]
    champion: dict[str, str | None]

    def version(self, name: str) -> str:
        return self.registered[name][-1]["version"]


def _current(folder: Path, name: str) -> dict:
    path = folder / "trained_models" / name
    return json.loads(path.read_text())["current"] if path.exists() else {}


def _champion(folder: Path) -> str | None:
    found = list(_current(folder, "champion_registry.json").values())
    return found[0]["version"] if found else None


def _train(cli, folder: Path, members: str):
    return cli.call(
        [
            *("run_train.py", "--world", "strong", "--horizon", "5", "--jobs", "1", "--json"),
            *cli.short,
            *("--set", f"model.members=[{members}]"),
        ],
        folder,
    ).ok()


@pytest.fixture(scope="module")
def history(cli, build_once) -> History:
    def build(folder: Path) -> None:
        cli.working_folder(folder)
        (folder / "specs" / "worlds").mkdir()
        (folder / "specs" / "worlds" / "strong.yaml").write_text(STRONG, encoding="utf-8")
        made: dict[str, dict] = {"metrics": {}, "registered": {}, "champion": {}}
        for name, members in MEMBERS.items():
            made["metrics"][name] = _train(cli, folder, members).json["metrics"]
            made["registered"][name] = _current(folder, "registry.json")["versions"]
            made["champion"][name] = _champion(folder)
        (folder / "history.json").write_text(json.dumps(made), encoding="utf-8")

    folder = build_once("strong", build)
    return History(folder, **json.loads((folder / "history.json").read_text(encoding="utf-8")))


@pytest.fixture
def copied(history, tmp_path) -> Path:
    shutil.copytree(history.folder, tmp_path / "copy")
    return tmp_path / "copy"


def _score(metrics: dict[str, float]) -> float:
    return (
        1.5 * metrics["oos_rank_ic"]
        + 1.0 * metrics["holdout_rank_ic"]
        - 0.5 * metrics["is_oos_gap"]
    )


def test_the_champion_is_who_the_rule_names(history) -> None:
    """The documented rule again, on the printed figures alone."""
    champion: str | None = None
    for name in MEMBERS:
        metrics = history.metrics[name]
        if metrics["promotable"]:
            score = _score(metrics)
            if champion is None or score >= 1.02 * _score(history.metrics[champion]):
                champion = name
        expected = None if champion is None else history.version(champion)
        assert history.champion[name] == expected, name


def test_every_case_of_the_rule_occurred(history) -> None:
    scores = {name: _score(metrics) for name, metrics in history.metrics.items()}
    promotable = [name for name in MEMBERS if history.metrics[name]["promotable"]]
    assert promotable == [name for name in MEMBERS if name != "overfitted"]
    assert scores["overfitted"] > 1.02 * scores["weak"]
    assert scores["best"] > 1.02 * scores["good"] > 1.02**2 * scores["weak"]
    assert abs(scores["alike"] / scores["best"] - 1) < 0.02
    assert history.champion["mixture"] == history.version("best")


def test_a_model_that_is_not_promotable_is_kept_with_its_reasons(history) -> None:
    (entry,) = [
        v for v in history.registered["overfitted"] if v["version"] == history.version("overfitted")
    ]
    assert entry["promotable"] is False
    assert "in-sample rank IC exceeds out-of-sample rank IC" in entry["reasons"][0]


def test_five_versions_are_kept_and_every_champion(history) -> None:
    kept = [v["version"] for v in history.registered["weak once more"]]
    champions = [history.version(name) for name in ("weak", "good", "best")]
    newest = list(MEMBERS)[-5:]
    assert kept == [*champions[:2], *(history.version(name) for name in newest)]
    folders = {p.name for p in (history.folder / "trained_models").iterdir() if p.is_dir()}
    assert folders == set(kept)
    assert history.version("overfitted") not in kept


def test_history_of_the_registry_is_append_only(history) -> None:
    content = json.loads((history.folder / "trained_models" / "registry.json").read_text())
    versions = [entry["version"] for entry in content["history"]]
    assert versions == list(range(1, content["version"] + 1))
    events = [entry["event"] for entry in content["history"]]
    assert events.count("version_added") == len(MEMBERS)
    assert "versions_pruned" in events


def test_versions_lists_them_and_marks_the_champion(cli, history) -> None:
    text = cli.call(["run_retrain.py", "--versions"], history.folder).ok().stdout
    lines = text.splitlines()
    assert len(lines) == len(history.registered["weak once more"])
    (marked,) = [line for line in lines if line.endswith("champion")]
    assert marked.startswith(history.version("best"))
    assert all("calibration" in line for line in lines)


def test_predict_takes_the_champion_or_a_version_when_asked(cli, copied, history) -> None:
    args = ["run_predict.py", "--jobs", "1", "--quiet"]
    newest = cli.call(args, copied).ok().stdout
    assert f"version {history.version('weak once more')}" in newest
    for flags in (("--champion",), ("--version", history.version("best"))):
        assert f"version {history.version('best')}" in cli.call([*args, *flags], copied).ok().stdout
    table = pd.read_csv(copied / "results" / "predictions_5d.csv", keep_default_na=False)
    (entry,) = [v for v in history.registered["best"] if v["version"] == history.version("best")]
    assert set(table["model_version"]) == {entry["model"]["id"]}


def test_a_version_that_was_pruned_is_not_silently_replaced(cli, history) -> None:
    gone = history.version("overfitted")
    args = ["run_predict.py", "--version", gone, "--quiet"]
    assert gone in cli.one_error(cli.call(args, history.folder), 2)


def test_rollback_goes_back_one_champion_at_a_time(cli, copied, history) -> None:
    roll = ["run_retrain.py", "--rollback"]
    dry = cli.call([*roll, "--dry-run"], copied).ok().stdout
    assert history.version("good") in dry
    assert _champion(copied) == history.version("best")
    for name in ("good", "weak"):
        text = cli.call(roll, copied).ok().stdout
        assert history.version(name) in text
        assert _champion(copied) == history.version(name)
    assert "an earlier champion" in cli.one_error(cli.call(roll, copied), 3)
    predicted = cli.call(["run_predict.py", "--champion", "--jobs", "1", "--quiet"], copied).ok()
    assert f"version {history.version('weak')}" in predicted.stdout


def test_status_judges_each_trigger_and_trains_nothing(cli, history) -> None:
    done = cli.call(["run_retrain.py", "--status", "--json"], history.folder).ok()
    text = cli.call(["run_retrain.py", "--status"], history.folder).ok().stdout
    assert f"champion: {history.version('best')}" in text
    assert "  quiet        age: 0.0 days, limit 30" in text
    assert "  quiet        out-of-sample rank IC: 0." in text
    assert "  insufficient net Sharpe: not observed" in text
    assert text.splitlines()[-1] == "no trigger fires"
    assert done.json["metrics"] == {"due": 0}
    assert done.json["artifacts"] == []


def test_without_a_backtest_the_answer_is_insufficient_and_not_no(cli, history) -> None:
    message = cli.one_error(cli.call(["run_retrain.py", "--quiet"], history.folder), 5)
    assert "net Sharpe" in message
    assert "run_backtest.py" in message


def test_after_a_good_backtest_nothing_is_trained(cli, copied) -> None:
    summary = cli.call(["run_backtest.py", "--json", "--jobs", "1"], copied).ok().json["metrics"]
    assert summary["sharpe"] > 0.3
    done = cli.call(["run_retrain.py", "--jobs", "1", "--quiet"], copied).ok()
    assert "no trigger fires; nothing was trained" in done.stdout


def test_force_trains_the_newest_configuration_again(cli, copied, history) -> None:
    before = cli.identities(copied / "results")
    done = cli.call(["run_retrain.py", "--force", "--jobs", "1", "--json"], copied).ok()
    assert done.json["metrics"] == history.metrics["weak once more"]
    assert cli.identities(copied / "results") == before
    runs = json.loads((copied / "results" / "runs.json").read_text())["current"]["runs"]
    assert len([run for run in runs if run["command"] == "train"]) == len(MEMBERS) + 1
    assert runs[-1]["model_version"] == history.version("weak once more")


def test_an_old_model_is_due(cli, copied) -> None:
    later = datetime.now(UTC) + timedelta(days=31)
    with mock.patch.object(SystemClock, "now", return_value=later):
        text = cli.call(["run_retrain.py", "--status"], copied).ok().stdout
        assert "  fires        age: 31.0 days, limit 30" in text
        done = cli.call(["run_retrain.py", "--jobs", "1", "--quiet"], copied).ok()
    assert "promotable: " in done.stdout


def test_no_version_registers_nothing(cli, copied) -> None:
    before = _current(copied, "registry.json")
    args = ["run_train.py", "--world", "strong", "--no-version", "--horizon", "5", "--jobs", "1"]
    cli.call([*args, *cli.short, "--set", f"model.members=[{RIDGE}]"], copied).ok()
    assert _current(copied, "registry.json") == before


@pytest.mark.feature("Q-46")
def test_a_simulated_run_counts_on_the_calibration_track_only(cli, history, world, copied) -> None:
    """A champion of a simulated market is never champion of recorded prices."""
    cli.train(world / "prices", copied, "--quiet").ok()
    triples = {v["dataset"]: v["track"] for v in _current(copied, "registry.json")["versions"]}
    assert sorted(triples.values()) == ["calibration", "research"]
    assert _champion(copied) == history.version("best")
    refused = cli.call(["run_predict.py", "--champion", "--quiet"], copied)
    assert "a promotable model for dataset local-" in cli.one_error(refused, 3)
