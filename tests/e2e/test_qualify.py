"""Trials are counted by the scripts, and a backtest passes the gates or learns why not."""

from __future__ import annotations

import json
import shutil

import pytest

pytestmark = pytest.mark.feature("Q-39")

OWN_PROFILE = """\
schema: qe.gates/1
name: own
title: A profile that the small market can pass
track_label: exercise
stages: {qualified: [counted], canary: [counted]}
gates:
  - name: counted
    source: exercise
    rules:
      - {metric: n_trials, op: ">=", threshold: 1, adequacy: true}
      - {metric: max_drawdown, op: ">=", threshold: -0.99}
      - {metric: n_invalid_values, op: "<=", threshold: 0}
"""


@pytest.fixture
def book(copied_chain):
    """A finished chain whose working folder knows a profile of its own."""
    folder = copied_chain.folder / "specs" / "gates"
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text(OWN_PROFILE, encoding="utf-8")
    return copied_chain


def _backtest_id(chain) -> str:
    (item,) = [i for i in chain.runs["backtest"].json["artifacts"] if i["kind"] == BACKTEST]
    return item["id"]


BACKTEST = "backtest_result"


def _qualification(chain, identity: str):
    folder = chain.results / "research" / "qualification" / identity
    assert (folder / "qualification_report.md").read_text(encoding="utf-8").startswith("# ")
    return json.loads((folder / "qualification_report.json").read_text(encoding="utf-8"))


def test_every_run_is_counted_once_whoever_repeats_it(cli, copied_chain) -> None:
    folder = copied_chain.folder
    before = cli.call(["qe", "ledger", "--json"], folder).ok().json["metrics"]
    assert before == {"n_trials_research": 2}
    cli.call(["run_backtest.py", "--jobs", "1"], folder).ok()
    assert cli.call(["qe", "ledger", "--json"], folder).ok().json["metrics"] == before
    cli.call(["run_backtest.py", "--jobs", "1", "--costs", "stress_2x"], folder).ok()
    done = cli.call(["qe", "ledger", "--verify"], folder).ok()
    assert "strategy|local|5s" in done.stdout
    assert "4 rows: whole" in done.stdout
    line = next(row for row in done.stdout.splitlines() if row.startswith("strategy|local|5s"))
    n_trials, n_effective, askings = line.split()[1:]
    # The two differ in cost alone, so they are nearly one.
    assert (n_trials, askings) == ("2", "3")
    assert 1.0 <= float(n_effective) < 1.2


def test_in_sample_backtests_compete_in_a_family_of_their_own(cli, copied_chain) -> None:
    folder = copied_chain.folder
    cli.call(["run_backtest.py", "--allow-in-sample", "--jobs", "1"], folder).ok()
    assert "strategy_in_sample|local|5s" in cli.call(["qe", "ledger"], folder).ok().stdout
    refused = cli.call(["qe", "qualify"], folder)
    assert refused.code == 3
    assert "out-of-sample" in refused.stderr


def test_a_weak_backtest_fails_and_says_why(cli, copied_chain) -> None:
    identity = _backtest_id(copied_chain)
    done = cli.call(["qe", "qualify", "--json"], copied_chain.folder)
    assert done.code == 4
    assert done.json["status"] == "fail"
    assert done.json["metrics"]["n_trials"] == 1
    report = _qualification(copied_chain, identity)
    assert report["schema"] == "qe.qualification_report/1"
    assert report["subject"] == identity
    assert not report["passed"]
    assert any(reason.startswith("max-T p-value") for reason in report["failed_hard"])
    move = ("qe", "promote", identity, "--tier", "candidate", "--reason", "hope")
    promoted = cli.call(move, copied_chain.folder)
    assert promoted.code == 4
    assert "max-T p-value" in promoted.stderr


def test_too_few_days_are_insufficient_and_no_pass(cli, book) -> None:
    rule = '      - {metric: observation_days, op: ">=", threshold: 9999, adequacy: true}\n'
    path = book.folder / "specs" / "gates" / "own.yaml"
    path.write_text(OWN_PROFILE + rule, encoding="utf-8")
    done = cli.call(["qe", "qualify", "--profile", "own", "--json"], book.folder)
    assert done.code == 5
    assert done.json["status"] == "insufficient_observation"
    identity = _backtest_id(book)
    move = ("qe", "promote", identity, "--tier", "candidate", "--profile", "own", "--reason", "r")
    assert cli.call(move, book.folder).code == 5


def test_a_passed_backtest_is_promoted_once_with_a_signed_record(cli, book) -> None:
    identity = _backtest_id(book)
    own = ("--profile", "own")
    cli.call(["qe", "qualify", identity[:8], *own], book.folder).ok()
    move = ("qe", "promote", identity, "--tier", "candidate", *own, "--reason", "it held")
    done = cli.call(move, book.folder).ok()
    assert "is qualified (tier candidate, track research), record 2: it held" in done.stdout
    record = json.loads((book.results / "research" / "lifecycle" / "00000002.json").read_text())
    text = json.dumps(record)
    assert "signature" in text
    assert "it held" in text
    again = cli.call(move, book.folder)
    assert again.code == 2
    assert "qualified -> qualified" in again.stderr
    higher = (*move[:4], "production", *move[5:])
    refused = cli.call(higher, book.folder)
    assert refused.code == 2
    cli.call(["qe", "verify"], book.folder).ok()


def test_a_later_look_at_more_trials_has_a_smaller_error_budget(cli, book) -> None:
    def budget() -> float:
        done = cli.call(["qe", "qualify", "--profile", "own", "--json"], book.folder).ok()
        return done.json["metrics"]["alpha_this_look"]

    first = budget()
    assert budget() == first
    cli.call(["run_backtest.py", "--jobs", "1", "--costs", "stress_2x"], book.folder).ok()
    assert budget() == pytest.approx(first / 4)


def test_a_baseline_shows_what_changed(cli, book) -> None:
    baseline = _backtest_id(book)
    cli.call(["run_backtest.py", "--jobs", "1", "--costs", "stress_2x"], book.folder).ok()
    done = cli.call(["qe", "qualify", "--baseline", baseline, "--json"], book.folder)
    assert done.code in (4, 5)
    (folder,) = (book.results / "research" / "qualification").iterdir()
    deltas = {item["name"]: item["value"] for item in _deltas(folder)}
    assert deltas["sharpe_drop_frac"] > 0
    assert deltas["turnover_increase_frac"] == pytest.approx(0.0, abs=1e-2)


def _deltas(folder):
    text = (folder / "qualification_report.json").read_text(encoding="utf-8")
    return json.loads(text)["comparison_deltas"]


def test_lost_returns_are_told_and_nothing_is_computed_without_them(cli, book) -> None:
    lost = _backtest_id(book)
    cli.call(["run_backtest.py", "--jobs", "1", "--costs", "stress_2x"], book.folder).ok()
    shutil.rmtree(book.results / "artifacts" / "backtest_result" / lost)
    done = cli.call(["qe", "qualify", "--profile", "own", "--json"], book.folder)
    assert "returns of 1 counted trials are no longer in the store" in done.json["warnings"][0]
    assert "max_t_p_value" not in done.json["metrics"]
    assert done.json["metrics"]["n_trials"] == 2


def test_an_edited_row_is_found_with_its_position(cli, copied_chain) -> None:
    rows = copied_chain.results / "research" / "ledger" / "rows-00000001.tsv"
    text = rows.read_text(encoding="utf-8")
    rows.write_text(text.replace("\tbacktest\t", "\tnobody__\t"), encoding="utf-8")
    done = cli.call(["qe", "ledger", "--verify"], copied_chain.folder)
    assert done.code == 4
    assert "row 2" in done.stdout
    refused = cli.call(["qe", "verify"], copied_chain.folder)
    assert refused.code == 3
    assert "ledger research" in refused.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("qualify", "nothing"), "one backtest, by run id or artifact id"),
        (("qualify", "--profile", "strict_v2"), "strict_v1"),
        (("promote", "x", "--tier", "produktion", "--reason", "r"), "production"),
        (("ledger", "--track", "resaerch"), "research"),
    ],
)
def test_wrong_names_are_answered_with_the_right_ones(cli, chain, args, said) -> None:
    done = cli.call(["qe", *args], chain.folder)
    assert done.code == 2
    assert said in done.stderr


def test_a_promotion_without_a_reason_is_refused(cli, book) -> None:
    identity = _backtest_id(book)
    args = ("--tier", "candidate", "--profile", "own", "--reason", " ")
    done = cli.call(["qe", "promote", identity, *args], book.folder)
    assert done.code == 2
    assert "reason" in done.stderr
