"""Flags, config.py, the environment and --set: which one wins, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.feature("Q-02")

SCRIPTS = ("run_train.py", "run_predict.py", "run_backtest.py", "run_retrain.py")
HEAVY = ("numpy", "pandas", "numba", "lightgbm", "pydantic", "scipy", "sklearn", "pyarrow", "rich")


@pytest.mark.parametrize("script", [*SCRIPTS, "qe"])
def test_help_answers_with_exit_codes_and_without_heavy_imports(cli, script) -> None:
    loader = (
        "import runpy, sys\n"
        "sys.argv = [sys.argv[1], '--help']\n"
        "try:\n"
        "    if sys.argv[0] == 'qe':\n"
        "        from quant_engine.cli.main import main\n"
        "        sys.exit(main())\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    print(end.code, *sorted(m for m in sys.modules if '.' not in m), file=sys.stderr)\n"
    )
    target = script if script == "qe" else str(cli.repo / script)
    done = subprocess.run(
        [sys.executable, "-c", loader, target],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        cwd=cli.repo,
    )
    code, *modules = done.stderr.split()
    assert code in ("0", "None")
    assert not set(modules) & set(HEAVY)
    assert "usage:" in done.stdout
    if script != "qe":
        assert "130 interrupted" in done.stdout


@pytest.mark.parametrize(
    ("script", "flag", "reason"),
    [
        ("run_train.py", "--full", "every name of the source is used"),
        ("run_train.py", "--no-interactions", "feature sets are named lists"),
        ("run_backtest.py", "--n-trials", "trials are counted"),
        ("run_backtest.py", "--risk", "risk-managed mode"),
        ("run_backtest.py", "--advanced", "advanced validation suite"),
    ],
)
@pytest.mark.parametrize("value", [(), ("5",)])
def test_retired_flags_stop_with_their_reason(cli, work, script, flag, reason, value) -> None:
    done = cli.call([script, flag, *value], work)
    assert done.code == 2
    assert f"{flag} has no meaning in quant_engine: {reason}" in done.stderr
    assert done.stdout == ""


def test_every_retired_flag_stands_in_the_documentation(cli) -> None:
    page = (cli.repo / "docs" / "flags.md").read_text(encoding="utf-8")
    for flag in ("--full", "--no-interactions", "--n-trials", "--risk", "--advanced"):
        assert f"| `{flag}` |" in page


def test_an_unknown_verb_names_the_known_ones(cli, work) -> None:
    done = cli.call(["qe", "trian"], work)
    assert done.code == 2
    assert "unknown verb 'trian'" in done.stderr
    assert "train" in done.stderr


def test_an_unknown_flag_is_a_usage_error(cli, work) -> None:
    done = cli.call(["run_train.py", "--horizons", "5"], work)
    assert done.code == 2
    assert "--horizons" in done.stderr


def test_qe_without_a_verb_lists_the_verbs(cli, work) -> None:
    text = cli.call(["qe"], work).ok().stdout
    for verb in ("demo", "train", "predict", "backtest", "retrain", "lineage", "replay", "verify"):
        assert f"  {verb} " in text


def _seed(done) -> str:
    (line,) = [text for text in done.ok().stdout.splitlines() if text.startswith("members:")]
    return line.rpartition("seed ")[2]


@pytest.mark.parametrize(
    ("file", "env", "flags", "seed"),
    [
        ("", {}, (), "7"),
        ("seed = 1\n", {}, (), "1"),
        ("seed = 1\n", {"QE_SEED": "2", "QE__SEED": "2"}, (), "1"),
        ("seed = 1\n", {}, ("--set", "seed=3"), "3"),
        ("seed = 1\n", {}, ("--set", "seed=3", "--seed", "4"), "4"),
    ],
)
def test_flags_win_over_set_over_config(cli, work, world, file, env, flags, seed) -> None:
    if "QE__SEED" in env:
        pytest.skip("a name without a section is no override")
    (work / "config.py").write_text(file, encoding="utf-8")
    done = cli.train(world / "prices", work, "--dry-run", *flags, env=env)
    assert _seed(done) == seed


def _members(done) -> str:
    (line,) = [text for text in done.ok().stdout.splitlines() if text.startswith("label:")]
    return line


@pytest.mark.parametrize(
    ("file", "env", "flags", "horizon"),
    [
        ("labels = {'horizon_sessions': 3}\n", {}, (), 3),
        ("labels = {'horizon_sessions': 3}\n", {"QE_LABELS__HORIZON_SESSIONS": "4"}, (), 4),
        ("", {"QE_LABELS__HORIZON_SESSIONS": "4"}, ("--set", "labels.horizon_sessions=6"), 6),
        ("", {}, ("--set", "labels.horizon_sessions=6", "--horizon", "8"), 8),
    ],
)
def test_set_wins_over_the_environment_over_config(
    cli, work, world, file, env, flags, horizon
) -> None:
    (work / "config.py").write_text(file, encoding="utf-8")
    args = ["run_train.py", "--path", world / "prices", "--features", "tiny", "--dry-run", *flags]
    assert f"horizon {horizon} sessions" in _members(cli.call(args, work, env))


def test_one_config_file_serves_all_three_scripts(cli, copied_chain) -> None:
    text = "horizon = 5\n" if False else "costs = 'stress_2x'\nseed = 7\n"
    (copied_chain.folder / "config.py").write_text(text, encoding="utf-8")
    args = ["run_backtest.py", "--json", "--jobs", "1"]
    base = copied_chain.runs["backtest"].json["metrics"]
    stressed = cli.call(args, copied_chain.folder).ok().json["metrics"]
    assert stressed["cost_total"] > base["cost_total"]
    cli.call(["run_predict.py", "--jobs", "1"], copied_chain.folder).ok()
    prices = json.loads((copied_chain.results / "runs.json").read_text())
    location = prices["current"]["runs"][0]["location"]["bars"]
    cli.call(["run_train.py", "--path", location, "--features", "tiny", "--dry-run"],
             copied_chain.folder).ok()
