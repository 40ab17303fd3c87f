"""Factor research from the command line: report, ranking and gain, what they print and leave."""

from __future__ import annotations

import json

import pandas as pd
import pytest

pytestmark = pytest.mark.feature("D-09")

MOM = "mom=$close/Ref($close, 20)"
GAP = "$open/Ref($close, 1)"
REPORT = {
    *("source", "quality_report", "panel", "market", "feature_panel", "regime_panel"),
    "factor_report",
}


@pytest.fixture(scope="module")
def reported(cli, build_once, world):
    """A working folder in which a report was made by the script itself."""

    def build(folder):
        cli.working_folder(folder)
        args = ["run_factors.py", "--path", str(world / "prices"), "--horizon", "5", "--json"]
        args += ["--expr", MOM, "--expr", GAP, "--feature", "STD20", "--features", "tiny"]
        done = cli.run([*args, "--horizons", "1,5", "--jobs", "1"], folder)
        (folder / "report.json").write_text(done.ok().stdout, encoding="utf-8")

    folder = build_once("reported", build)
    return folder, json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_the_report_prints_the_published_schema_and_leaves_page_table_and_artifacts(reported):
    folder, content = reported
    assert (content["ok"], content["command"]) == (True, "run_factors.py report")
    assert content["track"] == "research"
    assert {item["kind"] for item in content["artifacts"]} == REPORT
    assert content["metrics"]["n_tests"] == content["metrics"]["n_trials_recorded"] == 6
    table = pd.read_csv(folder / "results" / "factor_report.csv")
    assert table["factor"].unique().tolist() == ["STD20", "mom", "expr_2"]
    assert table["horizon"].unique().tolist() == [1, 5]
    page = (folder / "results" / "factor_report.html").read_text(encoding="utf-8")
    assert "expr_2" in page
    assert GAP.replace("$", "") in page.replace("$", "")


def test_the_report_is_whole(cli, reported):
    folder, _ = reported
    cli.call(("qe", "verify", "--quiet"), folder).ok()


@pytest.mark.slow
def test_the_report_can_be_computed_again(cli, reported):
    folder, content = reported
    (report,) = [one for one in content["artifacts"] if one["kind"] == "factor_report"]
    again = cli.call(("qe", "replay", report["id"], "--quiet", "--json"), folder).ok()
    assert again.json["metrics"]["identical"] == 1


def test_a_dry_run_writes_nothing(cli, work, world):
    args = ("qe", "factors", "--path", str(world / "prices"), "--expr", MOM, "--dry-run")
    done = cli.call((*args, "--quiet"), work).ok()
    assert "4 trials would be counted" in done.stdout
    assert cli.nothing_stored(work)


def test_a_ranking_writes_the_best_names(cli, work, world):
    args = ("qe", "factors", "rank", "--path", str(world / "prices"), "--features", "tiny")
    done = cli.call(
        (*args, "--expr", MOM, "--weights", "mom=0.4,STD20=-0.6", "--top", "4", "--quiet"), work
    ).ok()
    assert "best 4 by 0.4 mom + -0.6 STD20" in done.stdout
    table = pd.read_csv(work / "results" / "signals.csv")
    assert table["rank"].tolist() == [1, 2, 3, 4]
    assert {"mom", "STD20", "regime", "model", "ticker"} <= set(table.columns)


def test_a_ranking_with_the_prediction_of_the_newest_model(cli, copied_chain, world):
    args = ("qe", "factors", "rank", "--path", str(world / "prices"), "--features", "tiny")
    done = cli.call(
        (*args, "--weights", "prediction=0.7,ROC20=-0.3", "--quiet", "--json"), copied_chain.folder
    ).ok()
    table = pd.read_csv(copied_chain.results / "signals.csv")
    assert done.json["metrics"]["n_signals"] == len(table)
    expected = 0.7 * table["prediction"] - 0.3 * table["ROC20"]
    pd.testing.assert_series_equal(table["score"], expected, check_names=False)
    newest = pd.read_csv(copied_chain.results / "predictions_5d.csv").set_index("asset_id")
    order = newest.loc[table.sort_values("prediction")["asset_id"], "score"]
    assert order.is_monotonic_increasing


def test_a_ranked_history_is_traded_counted_and_replayed(cli, copied_chain, world):
    folder = copied_chain.folder
    args = ("qe", "factors", "rank", "--path", str(world / "prices"), "--features", "tiny")
    weights = ("--weights", "prediction=0.5,ROC20=-0.5", "--horizon", "5", "--quiet", "--json")
    one = cli.call((*args, *weights), folder).ok()
    assert one.json["metrics"]["n_sessions"] == 1
    message = cli.one_error(cli.call(("run_backtest.py", "--signals", "--quiet"), folder), 3)
    assert "run_factors.py rank --history" in message
    ranked = cli.call((*args, "--history", *weights), folder).ok()
    assert ranked.json["metrics"]["n_sessions"] > 50
    table = pd.read_csv(copied_chain.results / "signals.csv")
    assert (table.groupby("date")["rank"].min() == 1).all()
    best = table.sort_values(["date", "rank"]).groupby("date")["score"]
    assert best.apply(lambda scores: scores.is_monotonic_decreasing).all()
    # A model's part of a past session is its out-of-sample prediction, and nothing else.
    assert table["prediction"].notna().all()
    traded = cli.call(("run_backtest.py", "--signals", "--quiet", "--json"), folder).ok()
    assert traded.json["metrics"]["n_trades"] > 0
    assert (copied_chain.results / "signals_5d_trades.csv").is_file()
    (found,) = [a for a in traded.json["artifacts"] if a["kind"] == "backtest_result"]
    again = cli.call(("qe", "replay", found["id"], "--quiet", "--json"), folder).ok()
    assert again.json["metrics"]["identical"]
    families = cli.call(("qe", "ledger", "--quiet"), folder).ok().stdout
    assert "signals" in families
    message = cli.one_error(
        cli.call(("run_backtest.py", "--signals", "--allow-in-sample", "--quiet"), folder), 2
    )
    assert "--allow-in-sample" in message


def test_a_gain_is_printed_and_written(cli, work, world):
    args = ("qe", "factors", "gain", "--path", str(world / "prices"), "--features", "tiny")
    members = "model.members=[{learner: ridge, column: ridge}]"
    done = cli.call(
        (*args, "--expr", MOM, "--horizon", "5", *cli.short, "--set", members, "--quiet"), work
    ).ok()
    assert "development  rank_ic" in done.stdout
    written = json.loads((work / "results" / "factor_gain.json").read_text(encoding="utf-8"))
    assert {row["sample"] for row in written["tests"]} >= {"development", "holdout"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("rank", "--weights", "momentun=1"), "Did you mean 'momentum'"),
        (("rank", "--weights", "STD20"), "--weights: wanted NAME=VALUE"),
        (("rank",), "--weights: wanted a weight for every part"),
        (("rank", "--weights", "STD20=1", "--output", "x.txt"), "--output: wanted the name"),
        (("gain",), "--block: wanted features to add"),
        (("--feature", "STD2"), "Did you mean 'STD20'"),
        (("--expr", "a=$close", "--expr", "a=$open"), "'a' twice"),
        (("--expr", "a=$close", "--set", "study.horizons=[0]"), "horizons: wanted sessions"),
        (("--expr", "a=$close", "--set", "study.quantiles=3"), "Did you mean 'n_quantiles'"),
    ],
)
def test_a_wrong_request_is_one_sentence_and_exit_code_2(cli, work, world, args, message):
    base = ("qe", "factors", *args, "--path", str(world / "prices"), "--features", "tiny")
    assert message in cli.one_error(cli.call((*base, "--quiet"), work), 2)
    assert cli.nothing_stored(work)


def test_a_factor_that_needs_reports_is_refused_where_there_are_none(cli, work, world):
    args = ("qe", "factors", "--path", str(world / "prices"), "--factors", "book_to_market")
    assert "--statements FILE" in cli.one_error(cli.call((*args, "--quiet"), work), 3)


@pytest.mark.parametrize("task", [(), ("rank",), ("gain",)])
def test_help_lists_the_shared_data_flags(cli, work, task):
    done = cli.call(("qe", "factors", *task, "--help"), work)
    assert done.code == 0
    assert "--membership FILE" in done.stdout
    assert "--expr [NAME=]FORMULA" in done.stdout
