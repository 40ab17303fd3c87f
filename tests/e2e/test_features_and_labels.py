"""The feature store and the label forms from the command line."""

from __future__ import annotations

import json

import pandas as pd
import pytest


@pytest.mark.slow
def test_features_are_written_read_and_compared_from_the_command_line(cli, copied_chain, world):
    folder = copied_chain.folder
    flags = ("--path", str(world / "prices"), "--features", "tiny", "--quiet", "--json")
    first = cli.call(["qe", "features", "materialise", *flags, "--sessions", "3"], folder).ok().json
    assert (first["metrics"]["n_written"], first["metrics"]["n_unchanged"]) == (3, 0)
    assert first["command"] == "qe features materialise"
    again = cli.call(["qe", "features", "materialise", *flags], folder).ok().json
    assert (again["metrics"]["n_written"], again["metrics"]["n_unchanged"]) == (0, 1)
    read = ["qe", "features", "read", "tiny", "--output", "rows.csv", "--json"]
    shown = cli.call(read, folder).ok().json
    rows = pd.read_csv(folder / "rows.csv")
    assert shown["metrics"] == {"n_sessions": 3, "n_rows": len(rows), "n_features": 5}
    assert {"asset_id", "computed_at", "snapshot", "dataset", "quality", "STD20"} <= set(rows)
    drift = cli.call(["qe", "features", "drift"], folder).ok()
    assert "lie inside the data of the training run" in drift.stderr
    assert "mean_shift_sd" in drift.stdout
    assert cli.call(["qe", "verify", "--quiet"], folder).ok()


def test_nothing_was_known_before_it_was_computed(cli, copied_chain, world):
    folder = copied_chain.folder
    flags = ("--path", str(world / "prices"), "--features", "tiny", "--quiet")
    cli.call(["qe", "features", "materialise", *flags], folder).ok()
    done = cli.call(["qe", "features", "read", "tiny", "--as-of", "2020-01-01"], folder)
    assert "computed by 2020-01-01T23:59:59.999999+00:00" in cli.one_error(done, 3)
    done = cli.call(["qe", "features", "read", "tiny", "--as-of", "soon"], folder)
    assert "as_of" in cli.one_error(done, 2)


def test_the_verbs_of_features_are_listed_and_others_refused(cli, work):
    listed = cli.call(["qe", "features"], work).ok().stdout
    for verb in ("materialise", "read", "drift"):
        assert f"  {verb} " in listed
    assert "unknown verb 'rd'" in cli.call(["qe", "features", "rd"], work).stderr


def test_a_form_of_label_is_a_flag(cli, work, world):
    done = cli.train(world / "prices", work, "--label", "cost_aware", "--json").ok()
    artifacts = {item["kind"]: item["path"] for item in done.json["artifacts"]}
    report = work / artifacts["training_report"] / "payload" / "plan.json"
    plan = json.loads(report.read_text(encoding="utf-8"))
    assert plan["target"] == "fwd_net_ret_5s"
    assert len(plan["contract"]["costs"]) == 64
    assert plan["label"]["costs"]["name"] == "base"
    refused = cli.call(["run_train.py", "--label", "alpha"], work)
    assert refused.code == 2
    assert "rank_gaussian" in refused.stderr
