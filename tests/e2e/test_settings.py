"""Flags, config.py, the environment and --set: which one wins, and what is refused."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.feature("Q-02"), pytest.mark.feature("L-21")]

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
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", loader, target],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        cwd=cli.repo,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor time, because the clock on the wall depends on what else the machine does.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
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
    for flag in ("--full", "--no-interactions", "--n-trials"):
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


def _line(done, start: str) -> str:
    (line,) = [text for text in done.ok().stdout.splitlines() if text.startswith(start)]
    return line


@pytest.mark.parametrize(
    ("file", "flags", "seed"),
    [
        ("", (), 7),
        ("seed = 1\n", (), 1),
        ("seed = 1\n", ("--set", "seed=3"), 3),
        ("seed = 1\n", ("--set", "seed=3", "--seed", "4"), 4),
    ],
)
def test_flags_win_over_set_over_config(cli, work, world, file, flags, seed) -> None:
    (work / "config.py").write_text(file, encoding="utf-8")
    done = cli.train(world / "prices", work, "--dry-run", *flags)
    assert _line(done, "members:").endswith(f"seed {seed}")


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
    args = ["run_train.py", "--path", world / "prices", "--features", "tiny", "--dry-run"]
    done = cli.call([*args, *cli.short, *flags], work, env)
    assert f"horizon {horizon} sessions" in _line(done, "label:")


def _prices(chain) -> str:
    runs = json.loads((chain.results / "runs.json").read_text())["current"]["runs"]
    return runs[0]["location"]["bars"]


def test_one_config_file_serves_all_three_scripts(cli, copied_chain) -> None:
    folder = copied_chain.folder
    template = (cli.repo / "config.py").read_text(encoding="utf-8")
    settings = "\n".join(
        line.removeprefix("# ") for line in template.splitlines() if line.startswith("# ")
    )
    assert "horizon" in settings
    assert "costs" in settings
    (folder / "config.py").write_text(settings.replace('"base"', '"stress_2x"'), encoding="utf-8")

    base = copied_chain.runs["backtest"].json["metrics"]
    args = ["run_backtest.py", "--json", "--jobs", "1"]
    stressed = cli.call(args, folder).ok().json["metrics"]
    assert stressed["cost_total"] > base["cost_total"]
    cli.call(["run_predict.py", "--jobs", "1"], folder).ok()
    train = ["run_train.py", "--path", _prices(copied_chain), "--features", "tiny", "--dry-run"]
    assert "horizon 10 sessions" in _line(cli.call(train, folder), "label:")


@pytest.mark.parametrize(
    ("script", "setting", "near"),
    [
        ("run_train.py", "model.membres=1", "members"),
        ("run_train.py", "splitt.test_sessions=9", "split"),
        ("run_train.py", "costs=base", "Known: data"),
        ("run_backtest.py", "backtest.portfolio.naems_per_side=3", "names_per_side"),
        ("run_backtest.py", "bactest.min_confidence=0.6", "'backtest'"),
        ("run_backtest.py", "model.recency_decay_per_day=0", "Known: advanced, backtest, costs"),
        ("run_backtest.py", "in_sample=true", "Known: advanced, backtest, costs"),
        ("run_backtest.py", "backtest=3", "backtest.KEY=VALUE"),
    ],
)
def test_unknown_settings_are_refused_with_the_nearest_name(
    cli, chain, world, script, setting, near
) -> None:
    data = ("--path", world / "prices") if script == "run_train.py" else ()
    done = cli.call([script, *data, "--dry-run", "--set", setting], chain.folder)
    assert done.code == 2
    assert done.stderr.startswith("error: settings: ")
    assert near in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("script", ["run_train.py", "run_backtest.py"])
@pytest.mark.parametrize("where", ["file", "environment"])
def test_unknown_keys_of_config_and_environment_are_refused(
    cli, chain, work, world, script, where
) -> None:
    section = "model" if script == "run_train.py" else "backtest"
    env = {f"QE_{section.upper()}__NO_SUCH_KEY": "1"} if where == "environment" else {}
    text = f"{section} = {{'no_such_key': 1}}\n" if where == "file" else ""
    (work / "config.py").write_text(text, encoding="utf-8")
    data = ("--path", world / "prices") if script == "run_train.py" else ()
    args = [script, *data, "--dry-run", "--results", chain.results]
    done = cli.call(args, work, env)
    assert done.code == 2
    assert f"{section}.no_such_key" in done.stderr


@pytest.mark.parametrize("script", ["run_predict.py", "run_retrain.py"])
def test_commands_without_settings_refuse_set_instead_of_ignoring_it(cli, chain, script) -> None:
    done = cli.call([script, "--set", "model.seed=1", "--dry-run"], chain.folder)
    assert done.code == 2
    assert "--set" in done.stderr


def test_a_config_file_that_computes_is_refused_and_not_executed(cli, work, world) -> None:
    text = "open('executed', 'w').close()\n"
    (work / "config.py").write_text(text, encoding="utf-8")
    done = cli.train(world / "prices", work, "--dry-run")
    assert done.code == 2
    assert done.stderr.startswith("error: config.py: wanted plain assignments of literals")
    assert not (work / "executed").exists()


@pytest.mark.parametrize(
    "args",
    [
        ("run_train.py", "--json"),
        ("run_predict.py", "--json"),
        ("run_backtest.py", "--json"),
        ("run_retrain.py", "--json", "--force"),
    ],
)
def test_a_dry_run_writes_nothing(cli, copied_chain, args) -> None:
    more = ("--path", _prices(copied_chain), *cli.fast) if args[0] == "run_train.py" else ()
    before = _state(copied_chain.folder)
    done = cli.call([*args, *more, "--dry-run"], copied_chain.folder).ok()
    assert done.json["artifacts"] == []
    assert _state(copied_chain.folder) == before


def test_a_dry_run_in_an_empty_folder_leaves_it_empty(cli, work, world) -> None:
    done = cli.train(world / "prices", work, "--dry-run").ok()
    assert "nothing was written" in done.stdout
    assert [path.name for path in work.iterdir()] == ["specs"]


def _state(folder) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_state_folders_follow_flags_and_environment(cli, work, chain) -> None:
    env = {"QE_RESULTS_ROOT": str(chain.results)}
    dry = ["run_predict.py", "--dry-run"]
    dataset = chain.runs["train"].json["dataset"]
    assert dataset in cli.call(dry, work, env).ok().stdout
    assert dataset in cli.call([*dry, "--results", chain.results], work).ok().stdout
    missing = cli.call(dry, work)
    assert missing.code == 3
    assert "run_train.py" in missing.stderr
