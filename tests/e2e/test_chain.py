"""Train, predict and backtest as three processes: what they print and what they leave behind."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

TRAIN, PREDICT, BACKTEST = "train", "predict", "backtest"
COMMANDS = (TRAIN, PREDICT, BACKTEST)
SCHEMA = {
    "schema": str,
    "ok": bool,
    "command": str,
    "run_id": str,
    "status": str,
    "exit_code": int,
    "track": str,
    "dataset": str,
    "artifacts": list,
    "metrics": dict,
    "warnings": list,
    "timings": dict,
    "error": type(None),
}
MADE_BY = {
    TRAIN: {
        *("source", "quality_report", "panel", "market", "feature_panel", "label_panel"),
        *("regime_panel", "model", "oos_predictions", "training_report"),
    },
    PREDICT: {
        *("source", "quality_report", "panel", "market", "feature_panel", "regime_panel"),
        "predictions",
    },
    BACKTEST: {"backtest_result", "trades", "orders", "evaluation", "validation_report"},
}


@pytest.mark.feature("Q-02")
@pytest.mark.parametrize("command", COMMANDS)
def test_standard_output_is_one_object_of_the_published_schema(chain, command) -> None:
    done = chain.runs[command].ok()
    content = done.json
    assert {key: type(value) for key, value in content.items()} == SCHEMA
    assert content["schema"] == "qe.run/1"
    assert (content["ok"], content["exit_code"], content["status"]) == (True, 0, "completed")
    assert content["command"] == f"run_{command}.py"
    assert content["track"] == "research"
    assert all(type(text) is str for text in content["warnings"])


@pytest.mark.feature("Q-02")
@pytest.mark.parametrize("command", COMMANDS)
def test_metrics_are_flat_numbers_or_null_and_timings_are_seconds(chain, command) -> None:
    content = chain.runs[command].json
    for name, value in content["metrics"].items():
        assert value is None or type(value) in (int, float), f"{name} = {value!r}"
        assert value is None or math.isfinite(value), f"{name} = {value!r}"
    assert content["timings"]["total_s"] > 0
    assert all(type(value) is float for value in content["timings"].values())


@pytest.mark.feature("Q-46")
@pytest.mark.parametrize("command", COMMANDS)
def test_every_listed_artifact_exists_with_the_hash_that_is_printed(cli, chain, command) -> None:
    listed = chain.runs[command].json["artifacts"]
    for item in listed:
        assert set(item) == {"kind", "id", "path", "sha256"}
        folder = chain.folder / item["path"]
        assert folder.parts[-2:] == (item["kind"], item["id"])
        assert cli.payload_digest(folder) == item["sha256"]
    assert {item["kind"] for item in listed} == MADE_BY[command]
    assert len({(item["kind"], item["id"]) for item in listed}) == len(listed)


@pytest.mark.feature("Q-46")
def test_the_store_holds_what_the_three_commands_listed_and_nothing_else(cli, chain) -> None:
    listed = {
        f"{item['kind']}/{item['id']}"
        for command in COMMANDS
        for item in chain.runs[command].json["artifacts"]
    }
    assert listed == set(cli.identities(chain.results))
    assert cli.leftovers(chain.folder) == []


@pytest.mark.feature("Q-02")
@pytest.mark.parametrize("command", COMMANDS)
def test_progress_goes_to_standard_error_only(chain, command) -> None:
    done = chain.runs[command]
    assert "done in" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("{\n")


@pytest.mark.feature("Q-04")
def test_exports_carry_their_documented_names(chain) -> None:
    names = {path.name for path in chain.results.iterdir() if path.is_file()}
    assert {
        "predictions_5d.csv",
        "backtest_5d_trades.csv",
        "backtest_5d_summary.json",
        "backtest_5d.html",
        "runs.json",
    } <= names
    models = chain.folder / "trained_models"
    (version,) = json.loads((models / "registry.json").read_text())["current"]["versions"]
    assert {path.name for path in (models / version["version"]).iterdir()} == {
        "model.json",
        "member_ridge.npz",
        "member_lgbm.txt",
    }


@pytest.mark.feature("Q-02")
def test_no_pickle_is_left_anywhere(chain) -> None:
    endings = {path.suffix for path in chain.folder.rglob("*") if path.is_file()}
    assert endings <= {
        *(
            ".json",
            ".parquet",
            ".npy",
            ".npz",
            ".txt",
            ".csv",
            ".html",
            ".key",
            ".yaml",
            ".lock",
            ".tsv",
        ),
    }


def _payload(chain, command: str, kind: str) -> Path:
    (item,) = [i for i in chain.runs[command].json["artifacts"] if i["kind"] == kind]
    return chain.folder / item["path"] / "payload"


@pytest.fixture(scope="module")
def predictions(chain) -> pd.DataFrame:
    return pd.read_csv(chain.results / "predictions_5d.csv", keep_default_na=False)


@pytest.mark.feature("Q-03")
def test_predictions_have_the_promised_columns(predictions) -> None:
    promised = {
        *("date", "asset_id", "ticker", "score", "expected_return_frac", "lo", "hi"),
        *("confidence", "regime", "regime_confidence", "percentile", "z", "is_long", "is_short"),
        *("n_missing_features", "model_version", "ridge_score", "lgbm_score"),
        *("raw_ridge", "raw_lgbm", "top_features_ridge", "top_features_lgbm"),
    }
    assert promised == set(predictions.columns)


@pytest.mark.feature("Q-03")
def test_predictions_are_sorted_best_first_and_agree_with_themselves(
    chain, predictions, bars
) -> None:
    assert predictions["score"].is_monotonic_decreasing
    assert predictions["percentile"].is_monotonic_decreasing
    assert (predictions["lo"] <= predictions["expected_return_frac"]).all()
    assert (predictions["expected_return_frac"] <= predictions["hi"]).all()
    assert predictions["confidence"].between(0, 1).all()
    assert set(predictions["regime"]) <= {-1, 0, 1, 2, 3}
    last = max(frame["date"].iloc[-1] for frame in bars.values())
    assert set(predictions["date"]) == {last}
    metrics = chain.runs[PREDICT].json["metrics"]
    assert metrics["n_predictions"] == len(predictions)
    assert metrics["n_long"] == (predictions["is_long"].astype(str) == "True").sum()


@pytest.mark.feature("Q-03")
@pytest.mark.parametrize("member", ["ridge", "lgbm"])
def test_contributions_add_up_to_the_member_s_raw_output(chain, member) -> None:
    payload = _payload(chain, PREDICT, "predictions")
    table = pd.read_parquet(payload / "predictions.parquet").set_index("asset_id")
    parts = pd.read_parquet(payload / "contributions.parquet").set_index("asset_id")
    columns = [c for c in parts.columns if c.startswith(f"contrib_{member}_")]
    assert [c.rsplit("_", 1)[-1] for c in columns] == ["KMID", "GAP0", "ROC5", "ROC20", "STD20"]
    total = parts[columns].sum(axis=1) + parts[f"base_{member}"]
    np.testing.assert_allclose(total, table[f"raw_{member}"].reindex(total.index), atol=1e-7)


@pytest.mark.feature("Q-03")
def test_top_features_are_the_largest_contributions(chain, predictions) -> None:
    parts = pd.read_parquet(_payload(chain, PREDICT, "predictions") / "contributions.parquet")
    best = predictions.iloc[0]
    row = parts.set_index("asset_id").loc[best["asset_id"]]
    contributions = row[[c for c in parts.columns if c.startswith("contrib_ridge_")]]
    largest = contributions.astype(float).abs().idxmax().removeprefix("contrib_ridge_")
    assert best["top_features_ridge"].startswith(f"{largest} ")


@pytest.mark.feature("Q-04")
def test_trades_have_the_contract_columns_and_add_up_to_the_summary(chain) -> None:
    trades = pd.read_csv(chain.results / "backtest_5d_trades.csv")
    assert {
        *("asset_id", "entry_session", "entry_price", "exit_session", "exit_price", "predicted"),
        *("actual_gross_return", "actual_net_return", "regime", "confidence", "size_frac"),
        *("holding_sessions", "exit_reason", "fill_ratio", "entry_impact_bps", "exit_impact_bps"),
        *("entry_reference_price", "exit_reference_price"),
    } <= set(trades.columns)
    summary = json.loads((chain.results / "backtest_5d_summary.json").read_text())
    closed = trades[trades["exit_reason"] != "end_of_run"]
    assert (summary["n_trades"], summary["n_open_at_end"]) == (
        len(closed),
        len(trades) - len(closed),
    )
    assert summary["hit_rate"] == pytest.approx((closed["actual_net_return"] > 0).mean())
    assert (trades["entry_session"] > trades["decision_session"]).all()
    metrics = chain.runs[BACKTEST].json["metrics"]
    assert metrics["sharpe"] == summary["sharpe"]


@pytest.mark.feature("Q-04")
def test_the_equity_curve_compounds_the_daily_returns(chain) -> None:
    daily = pd.read_parquet(_payload(chain, BACKTEST, "backtest_result") / "daily.parquet")
    summary = json.loads((chain.results / "backtest_5d_summary.json").read_text())
    equity = summary["initial_equity"] * np.cumprod(1 + daily["ret_net"].to_numpy())
    np.testing.assert_allclose(equity, daily["equity"], rtol=1e-9)
    assert summary["final_equity"] == pytest.approx(equity[-1])


@pytest.mark.feature("Q-04")
def test_only_out_of_sample_predictions_are_traded(chain) -> None:
    folds = pd.read_parquet(_payload(chain, TRAIN, "training_report") / "folds.parquet")
    trades = pd.read_csv(chain.results / "backtest_5d_trades.csv", parse_dates=["decision_session"])
    first_test = pd.to_datetime(folds["test_first"]).min()
    assert trades["decision_session"].min() >= first_test
    assert (pd.to_datetime(folds["train_last"]) < pd.to_datetime(folds["test_first"])).all()


@pytest.mark.feature("Q-04")
def test_the_tear_sheet_is_one_page_that_loads_nothing_from_outside(chain) -> None:
    page = (chain.results / "backtest_5d.html").read_text(encoding="utf-8")
    dataset = chain.runs[TRAIN].json["dataset"]
    assert dataset in page
    assert 'src="http' not in page
    assert 'rel="stylesheet" href="http' not in page


@pytest.mark.feature("Q-03")
@pytest.mark.feature("Q-04")
def test_a_second_dataset_takes_over_and_is_named_first(cli, copied_chain, world) -> None:
    first = copied_chain.runs[TRAIN].json["dataset"]
    sector = sorted(path.stem for path in (world / "prices").glob("*.csv"))[:14]
    more = ("--dataset", "mine", "--tickers", *sector, "--json")
    second = cli.train(world / "prices", copied_chain.folder, *more).ok().json["dataset"]
    assert second.startswith("mine-")

    for script in ("run_predict.py", "run_backtest.py"):
        done = cli.call([script, "--jobs", "1"], copied_chain.folder).ok()
        title = done.stdout.splitlines()[0]
        assert title.startswith(f"dataset {second} (2012-01-03 to ")
        assert "version " in title
        assert "horizon 5 sessions" in title
        assert first not in done.stdout
    table = pd.read_csv(copied_chain.results / "predictions_5d.csv", keep_default_na=False)
    assert set(table["ticker"]) <= set(sector)


@pytest.mark.feature("Q-03")
def test_predict_reads_the_newest_bars_of_data_that_grew(cli, copied_chain, bars, tmp_path) -> None:
    days = ["2013-09-05", "2013-09-06", "2013-09-09"]
    frames = {
        ticker: pd.concat([frame, *(frame.tail(1).assign(date=day) for day in days)])
        for ticker, frame in bars.items()
    }
    grown = cli.write_prices(tmp_path / "grown", frames)
    args = ["run_predict.py", "--path", str(grown), "--jobs", "1", "--json"]
    done = cli.call(args, copied_chain.folder).ok()
    assert not any("in-sample" in text for text in done.json["warnings"])
    table = pd.read_csv(copied_chain.results / "predictions_5d.csv", keep_default_na=False)
    assert set(table["date"]) == {days[-1]}
    assert done.json["dataset"] == copied_chain.runs[TRAIN].json["dataset"]
    (made,) = [i["id"] for i in done.json["artifacts"] if i["kind"] == "predictions"]
    replayed = cli.call(["qe", "replay", made, "--jobs", "1"], copied_chain.folder).ok()
    assert "same bytes" in replayed.stdout


@pytest.mark.feature("Q-13")
def test_a_market_with_all_its_tables_is_survivorship_safe(cli, work, world) -> None:
    tables = [
        *("--membership", world / "membership.csv", "--sectors", world / "sectors.csv"),
        *("--delistings", world / "delistings.csv", "--benchmark", world / "benchmark.csv"),
    ]
    demand = ("--survivorship", "--set", "target=sector_excess", "--json")
    trained = cli.train(world / "prices", work, *map(str, tables), *demand).ok().json
    assert trained["metrics"]["mean_member_coverage"] > 0.999
    assert any("sectors known for 30 of 30 names" in text for text in trained["warnings"])
    args = ["run_backtest.py", "--no-survivorship", "--jobs", "1"]
    text = cli.call(args, work).ok().stdout
    assert (
        "  pass         the universe holds names that later vanished as well; 100.0% of the members"
        in text
    )
    assert "equal-weight returns with and without survivorship" in text
    table = pd.read_csv(work / "results" / "backtest_5d_trades.csv")
    assert len(table) > 100


@pytest.mark.slow
@pytest.mark.feature("Q-01")
def test_the_demo_runs_the_chain_on_the_embedded_market(cli, work) -> None:
    done = cli.run(["qe", "demo", "--json"], work, timeout=400).ok()
    listed = [(item["kind"], item["id"]) for item in done.json["artifacts"]]
    assert len(set(listed)) == len(listed) == len(cli.identities(work / "results"))
    assert done.json["track"] == "calibration"
    assert done.json["metrics"]["n_trades"] > 0
    names = {path.name for path in (work / "results").iterdir() if path.is_file()}
    assert {"predictions_10d.csv", "backtest_10d.html"} <= names
    dry = cli.call(["qe", "demo", "--dry-run"], work.parent).ok()
    assert "nothing was written" in dry.stdout
    assert not (work.parent / "results").exists()


@pytest.mark.feature("Q-04")
def test_in_sample_results_say_so_everywhere(cli, copied_chain) -> None:
    args = ["run_backtest.py", "--allow-in-sample", "--jobs", "1"]
    text = cli.call(args, copied_chain.folder).ok().stdout
    assert "IN-SAMPLE" in text
    assert "fail         the scores were fitted on the sessions that are traded" in text
    page = (copied_chain.results / "backtest_5d.html").read_text(encoding="utf-8")
    assert "in-sample" in page.lower()


@pytest.mark.feature("Q-04")
def test_costs_mode_and_size_of_the_book_are_flags(cli, copied_chain) -> None:
    args = ["run_backtest.py", "--json", "--jobs", "1"]
    base = copied_chain.runs[BACKTEST].json["metrics"]
    stressed = cli.call([*args, "--costs", "stress_2x"], copied_chain.folder).ok().json["metrics"]
    assert stressed["cost_total"] > 1.5 * base["cost_total"]
    long_only = ["--mode", "long_only", "--top", "2", "--capital", "50000"]
    other = cli.call([*args, *long_only], copied_chain.folder).ok().json["metrics"]
    assert other["initial_equity"] == 50_000
    assert other["avg_net_exposure"] > 0.05 > abs(base["avg_net_exposure"])


@pytest.mark.feature("Q-03")
def test_predict_as_of_an_earlier_session(cli, copied_chain, bars) -> None:
    day = bars["XBKQ"]["date"].iloc[-40]
    output = copied_chain.folder / "mine.csv"
    args = ["run_predict.py", "--end", day, "--output", str(output), "--jobs", "1"]
    cli.call(args, copied_chain.folder).ok()
    assert set(pd.read_csv(output)["date"]) == {day}
