"""Looking at what was stored: list, lineage, verify, doctor and replay."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.feature("Q-46")


def _id(chain, command: str, kind: str) -> str:
    (item,) = [i for i in chain.runs[command].json["artifacts"] if i["kind"] == kind]
    return item["id"]


def test_artifacts_lists_every_artifact_once(cli, chain) -> None:
    done = cli.call(["qe", "artifacts", "--json"], chain.folder).ok()
    listed = {f"{item['kind']}/{item['id']}": item["sha256"] for item in done.json["artifacts"]}
    assert listed == cli.identities(chain.results)
    text = cli.call(["qe", "artifacts", "--kind", "model"], chain.folder).ok().stdout
    assert text.count("\n") == 1
    assert _id(chain, "train", "model") in text


def test_lineage_leads_from_the_backtest_to_the_raw_files(cli, chain) -> None:
    identity = _id(chain, "backtest", "backtest_result")
    done = cli.call(["qe", "lineage", identity[:8]], chain.folder).ok()
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"backtest_result/{identity}")
    for kind in ("oos_predictions", "feature_panel", "label_panel", "panel", "market", "source"):
        assert f"<- {kind}/" in done.stdout
    kinds = {item["kind"] for item in _lineage(cli, chain, identity)}
    assert "predictions" not in kinds
    assert "quality_report" not in kinds


def _lineage(cli, chain, identity: str) -> list[dict[str, str]]:
    return cli.call(["qe", "lineage", identity, "--json"], chain.folder).ok().json["artifacts"]


@pytest.mark.feature("L-19")
def test_the_six_fields_of_alignment_stand_in_every_evaluated_manifest(chain) -> None:
    for command, kind in (("train", "training_report"), ("backtest", "backtest_result")):
        path = chain.results / "artifacts" / kind / _id(chain, command, kind) / "manifest.json"
        manifest = json.loads(path.read_text())
        facts = manifest["provenance"]
        assert manifest["schema_version"] >= 1
        assert facts["feature_version"].startswith("tiny/1/")
        assert len(facts["data_version"]) == 32
        assert facts["model_name"] == "ridge+lgbm"
        assert len(manifest["lineage_id"]) == 64
    assert facts["model_version"] == _id(chain, "train", "model")
    assert (facts["track"], facts["data_regime"]) == ("research", "maintenance_replay")
    assert (facts["run_source"], facts["score_source"]) == ("prod", "model")


def test_verify_accepts_the_store_and_counts_it(cli, chain) -> None:
    done = cli.call(["qe", "verify", "--json"], chain.folder).ok()
    assert done.json["metrics"] == {
        "artifacts": len(cli.identities(chain.results)),
        "runs": 3,
        "signed": 2,
        "faults": 0,
    }


@pytest.mark.feature("L-20")
@pytest.mark.parametrize("damage", ["payload", "added", "record", "signature", "removed", "key"])
def test_verify_finds_damage_and_names_it(cli, copied_chain, damage) -> None:
    kind = "training_report"
    folder = copied_chain.results / "artifacts" / kind / _id(copied_chain, "train", kind)
    record = json.loads((folder / "record.json").read_text())
    if damage == "payload":
        path = folder / "payload" / "quality.json"
        path.write_text(path.read_text().replace("false", "true"), encoding="utf-8")
    elif damage == "added":
        (folder / "payload" / "more.json").write_text("{}", encoding="utf-8")
    elif damage == "record":
        (folder / "record.json").write_text("{", encoding="utf-8")
    elif damage == "signature":
        record["signature"] = "0" * 64
        (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
    elif damage == "removed":
        (folder / "record.json").write_text(
            json.dumps({**record, "signature": ""}), encoding="utf-8"
        )
    else:
        key = copied_chain.results / ".keys" / "evaluation.key"
        key.write_bytes(key.read_bytes()[::-1])
    done = cli.call(["qe", "verify"], copied_chain.folder)
    assert done.code == 3
    assert f"{kind}/{folder.name}" in done.stderr
    assert "Remove the damaged artifacts" in done.stderr


def test_a_damaged_artifact_is_made_again_by_resume(cli, copied_chain, world) -> None:
    before = cli.identities(copied_chain.results)
    model = copied_chain.results / "artifacts" / "model" / _id(copied_chain, "train", "model")
    (model / "payload" / "member_lgbm.txt").write_text("tree", encoding="utf-8")
    refused = cli.call(["run_predict.py", "--jobs", "1"], copied_chain.folder)
    assert refused.code == 3
    assert "member_lgbm.txt was added or changed" in refused.stderr

    cli.train(world / "prices", copied_chain.folder, "--resume").ok()
    cli.call(["qe", "verify"], copied_chain.folder).ok()
    assert cli.identities(copied_chain.results) == before


@pytest.mark.parametrize(
    ("command", "kind"),
    [("train", "model"), ("predict", "predictions"), ("backtest", "backtest_result")],
)
def test_replay_gives_the_same_bytes(cli, chain, command, kind) -> None:
    before = cli.identities(chain.results)
    identity = f"{kind}/{_id(chain, command, kind)}"
    done = cli.call(["qe", "replay", identity, "--jobs", "1", "--json"], chain.folder).ok()
    assert done.json["metrics"]["identical"] == 1
    assert done.json["metrics"]["runs_repeated"] == (1 if command == "train" else 2)
    assert done.json["warnings"] == []
    assert cli.identities(chain.results) == before


def test_replay_notices_other_raw_data(cli, world, work, tmp_path) -> None:
    prices = tmp_path / "prices"
    prices.mkdir()
    for path in (world / "prices").iterdir():
        (prices / path.name).write_bytes(path.read_bytes())
    done = cli.train(prices, work, "--json").ok()
    (model,) = [i["id"] for i in done.json["artifacts"] if i["kind"] == "model"]
    path = prices / "XBKQ.csv"
    first, *rows = path.read_text().splitlines()
    path.write_text("\n".join([first, *rows[:-30]]) + "\n", encoding="utf-8")
    replayed = cli.call(["qe", "replay", model, "--jobs", "1"], work)
    assert replayed.code == 3
    assert "wanted the same bytes" in replayed.stderr


def test_replay_of_an_unknown_id_says_what_to_do(cli, chain) -> None:
    done = cli.call(["qe", "replay", "0123456789"], chain.folder)
    assert done.code == 2
    assert "0 matches" in done.stderr
    assert "qe artifacts" in done.stderr


def test_replay_dry_run_names_the_runs(cli, chain) -> None:
    identity = _id(chain, "backtest", "backtest_result")
    text = cli.call(["qe", "replay", identity, "--dry-run"], chain.folder).ok().stdout
    assert text.startswith("would repeat train ")
    assert ", then backtest " in text


def test_doctor_reports_versions_folders_and_the_newest_run(cli, chain) -> None:
    text = cli.call(["qe", "doctor"], chain.folder).ok().stdout
    assert "numpy " in text
    assert "folder results: results (writable" in text
    assert f"newest training run: dataset {chain.runs['train'].json['dataset']}" in text


def test_doctor_prints_no_credential(cli, chain) -> None:
    env = {"WRDS_PASSWORD": "s3cret-word", "KALSHI_API_KEY": "s3cret-word"}
    done = cli.call(["qe", "doctor", "--json"], chain.folder, env).ok()
    assert "s3cret-word" not in done.stdout + done.stderr
