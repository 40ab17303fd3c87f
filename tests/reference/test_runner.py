"""The runner of reference cases: matching, comparing and counting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quant_engine.core.errors import DataError, EmptyDataError
from quant_engine.testing.reference.__main__ import main
from quant_engine.testing.reference.adapters import Adapter
from quant_engine.testing.reference.cases import agree, read_cases
from quant_engine.testing.reference.run import render, run_folder, to_json, total_line

ADAPTERS = (
    Adapter(
        "sums",
        "sum_",
        frozenset({"x"}),
        {"total": lambda i: sum(i["x"]), "largest": lambda i: max(i["x"])},
        others={"total_twice": "the total is counted once"},
    ),
    Adapter(
        "sums", "sum_signed", frozenset({"x", "sign"}), {"total": lambda i: i["sign"] * sum(i["x"])}
    ),
    Adapter("sums", "late_", due="lateness"),
)


def case(name: str, inputs: object, expected: object) -> dict[str, object]:
    return {"name": name, "inputs": inputs, "expected": expected, "tol": {"abs": 1e-9, "rel": 0}}


def write(folder: Path, *cases: dict[str, object]) -> Path:
    content = {"topic": "sums", "schema_version": 1, "cases": list(cases)}
    (folder / "sums.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def statuses(folder: Path, *cases: dict[str, object]) -> list[str]:
    return [outcome.status for outcome in run_folder(write(folder, *cases), ADAPTERS)]


def test_a_case_passes_fails_or_is_named_for_what_is_missing(tmp_path: Path):
    got = statuses(
        tmp_path,
        case("sum_small", {"x": [1, 2]}, {"total": 3, "largest": 2}),
        case("sum_wrong", {"x": [1, 2]}, {"total": 4}),
        case("sum_strange", {"x": [1, 2]}, {"total": 3, "median": 1.5}),
        case("late_one", {"y": 1}, {"z": 1}),
        case("sum_other", {"x": [1, 2]}, {"total": 3, "total_twice": 6}),
        case("sum_only_other", {"x": [1, 2]}, {"total_twice": 6}),
        case("sum_no_file", {"x_file": "a/nowhere.json"}, {"total": 6}),
    )
    assert got == ["passed", "failed", "unknown", "due", "passed", "skipped", "skipped"]


def test_the_longest_prefix_wins_and_a_strange_name_is_matched_by_its_keys(tmp_path: Path):
    got = statuses(
        tmp_path,
        case("sum_signed_a", {"x": [1, 2], "sign": -1}, {"total": -3, "largest": 2}),
        case("sum_plain", {"x": [1, 2], "sign": -1}, {"total": 3}),
        case("new_name", {"x": [1, 2]}, {"largest": 2}),
        case("new_name", {"y": [1, 2]}, {"largest": 2}),
    )
    assert got == ["passed", "passed", "passed", "unknown"]


def test_data_files_are_found_beside_the_folder(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "long.json").write_text("[1, 2, 3]", encoding="utf-8")
    (tmp_path / "dev").mkdir()
    folder = tmp_path / "dev"
    assert statuses(folder, case("sum", {"x_file": "cases/data/long.json"}, {"total": 6})) == [
        "passed"
    ]


def test_an_input_that_our_function_refuses_is_a_failure(tmp_path: Path):
    (outcome,) = run_folder(
        write(tmp_path, case("any", {"x": [1]}, {"broken": 1})),
        (Adapter("sums", "any", frozenset(), {"broken": lambda i: i["missing"]}),),
    )
    assert outcome.status == "failed"
    assert "KeyError" in outcome.detail


@pytest.mark.parametrize(
    ("got", "expected", "same"),
    [
        (1.0 + 1e-12, 1.0, True),
        (1.1, 1.0, False),
        (float("nan"), None, True),
        (None, None, True),
        (1.0, None, False),
        (float("nan"), 1.0, False),
        (float("inf"), "inf", True),
        (float("inf"), 1.0, False),
        (float("-inf"), "inf", False),
        ([1, [2, 3]], [1, [2, 3]], True),
        ([1, 2], [1, 2, 3], False),
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"b": 2}, {"a": 1}, False),
        (True, "p_lower <= p_upper for every data set", True),
        (False, "p_lower <= p_upper for every data set", False),
        ("leading", "leading", True),
        ("1", 1, False),
        (True, True, True),
    ],
)
def test_values_agree_within_their_tolerance(got: object, expected: object, same: bool):
    assert agree(got, expected, tol_abs=1e-9, tol_rel=0.0) is same


def test_report_ends_with_the_total(tmp_path: Path):
    folder = write(
        tmp_path,
        case("sum", {"x": [1]}, {"total": 1, "total_twice": 2}),
        case("sum", {"x": [1]}, {"total": 2}),
    )
    outcomes = run_folder(folder, ADAPTERS)
    report = render(outcomes).splitlines()
    assert report[0] == "sums: 1 passed, 1 failed"
    assert report[-1] == total_line(outcomes)
    assert report[-1] == "total 1 passed, 1 failed, 0 unknown, 0 due, 0 skipped"
    assert json.loads(to_json(outcomes))["total"]["failed"] == 1


def test_a_folder_without_cases_and_a_broken_file_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(EmptyDataError, match=r"named TOPIC\.json"):
        read_cases(tmp_path)
    assert main([str(tmp_path)]) == 3
    assert "folder" in capsys.readouterr().err
    (tmp_path / "sums.json").write_text('{"topic": "sums"}', encoding="utf-8")
    with pytest.raises(DataError, match="schema_version"):
        read_cases(tmp_path)
    (tmp_path / "sums.json").write_text("not JSON", encoding="utf-8")
    with pytest.raises(DataError, match=r"sums\.json"):
        read_cases(tmp_path)


def test_strict_counts_unknown_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = str(write(tmp_path, case("sum", {"x": [1]}, {"total": 1})))
    # The shipped table has no topic of this name.
    assert main([folder]) == 0
    assert main([folder, "--strict", "--json"]) == 1
    assert '"unknown": 1' in capsys.readouterr().out
