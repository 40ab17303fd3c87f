"""Rules and sweeps from the command line: records, marks, counts, refusals."""

from __future__ import annotations

import json

import pandas as pd
import pytest

CONTRACT_COLUMNS = (
    *("asset_id", "entry_session", "exit_session", "entry_price", "exit_price", "predicted"),
    *("actual_net_return", "regime", "confidence", "holding_sessions", "size_frac", "exit_reason"),
    *("fill_ratio", "entry_impact_bps", "exit_impact_bps", "entry_reference_price"),
    *("exit_reference_price", "entry_reason", "mae_frac", "mfe_frac"),
    "implementation_shortfall_bps",
)
"""Columns of mission 1.2 under their names here, and those of rules."""

MINI = """\
name: mini
rule: signals
unit: score
fixed: {max_positions: 5, position_frac: 0.2}
grid:
  entry_min: [0.5, 0.7]
  holding_sessions: [3, 5, 8]
"""
RANDOM = """\
name: luck
rule: random
unit: score
random: {n_draws: 40, seed: 5, persistence: 0.9}
fixed: {entry_min: 0.5, max_positions: 5, position_frac: 0.2, holding_sessions: 5}
"""


@pytest.fixture
def folder(copied_chain):
    specs = copied_chain.folder / "specs" / "sweeps"
    specs.mkdir(parents=True)
    (specs / "mini.yaml").write_text(MINI, encoding="utf-8")
    (specs / "luck.yaml").write_text(RANDOM, encoding="utf-8")
    return copied_chain.folder


def newest(folder):
    """The newest completed run."""
    text = (folder / "results" / "runs.json").read_text(encoding="utf-8")
    return json.loads(text)["current"]["runs"][-1]


def backtest(cli, folder, *args):
    return cli.call(["run_backtest.py", "--jobs", "1", *args], folder)


@pytest.mark.feature("Q-34")
def test_a_run_of_rules_leaves_everything_that_a_backtest_leaves(cli, folder):
    args = ("--rules", "top_ranked", "--min-predicted", "0.5", "--costs", "us_conditions", "--json")
    done = backtest(cli, folder, *args).ok().json
    assert done["status"] == "completed"
    results = folder / "results"
    trades = pd.read_csv(results / "backtest_5d_trades.csv")
    assert set(CONTRACT_COLUMNS) <= set(trades.columns)
    # Positions open at the end are rows of the table and no closed trades.
    closed = (trades["exit_reason"] != "end_of_run").sum()
    assert closed == done["metrics"]["n_trades"] > 0
    assert (trades["mae_frac"] <= 0.0).all()
    assert (trades["mfe_frac"] >= 0.0).all()
    assert set(trades["entry_reason"]) <= {"entry", "entry_cut_to_room"}
    assert done["metrics"]["unsafe_same_bar"] == 0
    config = newest(folder)["config"]
    assert config["rules"]["settings"]["holding_sessions"] == 5
    assert config["costs"] == "us_conditions"
    checks = backtest(cli, folder, *args[:-1], "--resume").ok().stdout
    assert "NO TRADES" not in checks


@pytest.mark.feature("Q-34")
def test_a_run_without_a_trade_says_why_and_writes_nothing(cli, folder):
    page = folder / "results" / "backtest_5d.html"
    before = page.read_bytes()
    done = backtest(cli, folder, "--rules", "plain", "--min-confidence", "1").ok()
    assert "NO TRADES: of " in done.stdout
    assert "none has a confidence of at least 1; the highest is" in done.stdout
    assert "warning: no trades" in done.stderr
    assert page.read_bytes() == before
    weights = backtest(cli, folder, "--min-confidence", "1", "--json")
    assert (weights.code, weights.json["status"]) == (0, "no_trades")
    assert weights.json["metrics"] == {"n_trades": 0}


@pytest.mark.feature("Q-34")
@pytest.mark.parametrize("way", [("--rules", "top_ranked", "--min-predicted", "0.5"), ()])
def test_fills_on_the_deciding_bar_are_marked_and_never_judged(cli, folder, way):
    args = (*way, "--unsafe-same-bar")
    done = backtest(cli, folder, *args).ok()
    assert "SAME-BAR fills" in done.stdout
    assert "entry_lag: labels 1, fills 0" in done.stdout
    page = (folder / "results" / "backtest_5d.html").read_text(encoding="utf-8")
    assert "Fills on the deciding bar" in page
    summary = json.loads((folder / "results" / "backtest_5d_summary.json").read_text())
    assert summary["unsafe_same_bar"] is True
    run_id = newest(folder)["run_id"]
    for verb in (["qualify"], ["promote", run_id, "--tier", "candidate", "--reason", "x"]):
        refused = cli.call(["qe", *verb], folder)
        assert "--unsafe-same-bar" in cli.one_error(refused, 3)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--sweep", "mini", "--unsafe-same-bar"), "whose grid says its own fills"),
        (("--sweep", "mini", "--fill", "next_close"), "whose grid says its own fills"),
        (("--sweep", "mini", "--set", "backtest.fill=next_close"), "rules.settings.fill"),
        (("--rules", "plain", "--set", "backtest.fill=next_close"), "rules.settings.fill"),
        (("--unsafe-same-bar", "--fill", "next_open"), "state fill='next_close'"),
        (
            ("--sweep", "average_crosses", "--set", "backtest.trading.min_notional_usd=5"),
            "beside averages",
        ),
        (("--variant", "3"), "--sweep NAME beside it"),
        (("--curve", "3"), "--sweep NAME without --variant"),
        (("--rules", "plain", "--sweep", "mini"), "no --sweep beside it"),
        (("--rules", "plain", "--mode", "long_only"), "target weights"),
        (("--sweep", "mini", "--advanced"), "a single backtest"),
        (("--sweep", "mini", "--curve", "6"), "0 to 5"),
        (("--sweep", "mimi"), "mini"),
        (("--rules", "plane"), "plain"),
        (("--costs", "us_segment"), "us_segments"),
        (("--sweep", "average_crosses", "--variant", "1"), "averages"),
        (("--walk-forward",), "--sweep NAME without --variant"),
        (("--sweep", "average_crosses", "--walk-forward"), "averages in an account per asset"),
        (("--sweep", "mini", "--set", "walk_forward.choose_by=mean"), "walk_forward"),
        (("--sweep", "mini", "--walk-forward", "--set", "walk_forward.split.tst=3"), "test_sess"),
        (("--sweep", "mini", "--walk-forward", "--set", "walk_forward.choose_by=x"), "choose_by"),
        (("--capital", "0"), "greater than 0"),
        (("--sweep", "mini", "--set", "rules.name=plain"), "no rules beside a sweep"),
    ],
)
def test_what_would_change_nothing_or_is_unknown_is_refused(cli, folder, args, words):
    assert words in cli.one_error(backtest(cli, folder, *args), 2)


@pytest.mark.feature("T-13")
def test_a_sweep_is_counted_shown_and_traded(cli, folder):
    before = cli.call(["qe", "ledger", "--json"], folder).ok().json["metrics"]
    done = cli.call(["qe", "sweep", "mini", "--curve", "4", "--json", "--jobs", "1"], folder).ok()
    metrics = done.json["metrics"]
    after = cli.call(["qe", "ledger", "--json"], folder).ok().json["metrics"]
    assert after["n_trials_research"] == before["n_trials_research"] + 6
    assert (metrics["n_variants"], metrics["n_trials"]) == (6, 7)
    table = pd.read_csv(folder / "results" / "sweep_mini.csv", index_col="variant")
    assert table["sharpe"].idxmax() == metrics["best"]
    assert list(table["holding_sessions"]) == [3, 5, 8] * 2
    curve = pd.read_csv(folder / "results" / "sweep_mini_v4.csv")
    assert curve["equity"].iloc[-1] / 1e6 - 1.0 == pytest.approx(table["total_return"][4], rel=1e-9)
    again = cli.call(["qe", "sweep", "mini", "--resume", "--json", "--jobs", "1"], folder).ok()
    assert again.json["metrics"] == metrics
    traded = backtest(cli, folder, "--sweep", "mini", "--variant", "4", "--json").ok().json
    assert traded["metrics"]["sharpe"] == pytest.approx(table["sharpe"][4], rel=1e-9)
    told = cli.call(["qe", "sweep", "mini", "--resume", "--jobs", "1"], folder).ok().stdout
    assert "6 variants of mini, 0 without a trade" in told
    assert "neighbours keep" in told


@pytest.mark.feature("T-13")
def test_a_sweep_is_walked_forward_from_its_stored_returns(cli, folder):
    before = cli.call(["qe", "ledger", "--json"], folder).ok().json["metrics"]
    split = ("min_train_sessions=60", "test_sessions=30")
    flags = [f"--set=walk_forward.split.{text}" for text in split]
    args = ["qe", "sweep", "mini", "--walk-forward", "--jobs", "1", *flags]
    metrics = cli.call([*args, "--json"], folder).ok().json["metrics"]
    after = cli.call(["qe", "ledger", "--json"], folder).ok().json["metrics"]
    # Six variants, each once, and the rule that chose among them.
    assert after["n_trials_research"] == before["n_trials_research"] + 7
    folds = pd.read_csv(folder / "results" / "sweep_mini_walk_folds.csv")
    chained = pd.read_csv(folder / "results" / "sweep_mini_walk_chained.csv")
    assert (len(folds), len(chained)) == (metrics["wf_n_folds"], metrics["wf_n_sessions"])
    assert folds["n_train"].iloc[0] == 60
    assert (folds["test_first"] > folds["train_last"]).all()
    assert folds["chosen"].isin(range(6)).all()
    assert metrics["wf_out_of_sample_mean"] == pytest.approx(chained["ret"].mean(), rel=1e-9)
    assert metrics["wf_gap"] == pytest.approx(
        folds["train_mean"].mean() - chained["ret"].mean(), rel=1e-9
    )
    assert metrics["wf_sharpe_ci_low"] < metrics["wf_sharpe"] < metrics["wf_sharpe_ci_high"]
    told = cli.call([*args, "--resume"], folder).ok().stdout
    assert "net Sharpe ratio of the choice" in told
    assert cli.call(["qe", "ledger", "--json"], folder).ok().json["metrics"] == after


@pytest.mark.slow
@pytest.mark.feature("T-13")
def test_averages_are_swept_in_accounts_of_one_unit(cli, folder):
    done = cli.call(
        ["qe", "sweep", "average_crosses", "--curve", "0", "--json", "--jobs", "1"], folder
    ).ok()
    assert done.json["metrics"]["n_variants"] == 1000
    assert done.json["metrics"]["dsr"] is None
    assert (folder / "results" / "sweep_average_crosses_v0.csv").is_file()


@pytest.mark.slow
@pytest.mark.feature("Q-46", "T-13")
def test_rules_and_sweeps_are_replayed_from_raw_data(cli, folder):
    rules = ("--rules", "risk_managed", "--set", "rules.unit=score", "--min-predicted", "0.5")
    made = backtest(cli, folder, *rules, "--min-confidence", "0", "--json").ok().json
    walk = ("--walk-forward", "--set", "walk_forward.split.min_train_sessions=60")
    swept = cli.call(["qe", "sweep", "luck", *walk, "--json", "--jobs", "1"], folder).ok().json
    for found, kind in ((made, "trades"), (swept, "sweep"), (swept, "sweep_walk_forward")):
        (ref,) = [item for item in found["artifacts"] if item["kind"] == kind]
        done = cli.call(["qe", "replay", f"{kind}/{ref['id']}", "--jobs", "1"], folder).ok()
        assert "same bytes" in done.stdout


@pytest.mark.slow
@pytest.mark.feature("Q-36", "Q-39")
def test_the_best_of_many_random_rules_is_refused(cli, folder):
    swept = cli.call(["qe", "sweep", "luck", "--json", "--jobs", "1"], folder).ok().json["metrics"]
    assert swept["n_trials"] == 41
    best = str(swept["best"])
    plain = backtest(cli, folder, "--sweep", "luck", "--variant", best).ok()
    assert "RANDOM scores" in plain.stdout
    suite = (
        *("--set", "advanced.n_null_draws=3", "--set", "advanced.n_paths=100"),
        *("--set", "advanced.refit=false", "--json"),
    )
    judged = backtest(cli, folder, "--sweep", "luck", "--variant", best, "--advanced", *suite)
    assert judged.ok().json["metrics"]["n_trials"] > 41
    assert cli.call(["qe", "qualify"], folder).code in (4, 5)
