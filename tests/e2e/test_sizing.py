"""``run_backtest --risk``: sizes by a spec, recorded whole, whatever the environment holds."""

from __future__ import annotations

import json

import pytest

from quant_engine.artifacts.kinds.backtest import BACKTEST
from quant_engine.core.hashing import sha256_json
from quant_engine.core.settings import Settings
from quant_engine.core.specs import SpecCatalog
from quant_engine.risk import SizingConfig
from quant_engine.workflows.context import Workspace
from quant_engine.workflows.run_registry import RunRegistry
from quant_engine.workflows.sizing import DEFAULT_SIZING, put_sizing
from quant_engine.workflows.trials import track_ledger

BACK = ("run_backtest.py", "--jobs", "1", "--quiet")
STRAY = {
    "QE_SIZING": "equal",
    "QE_KELLY_FRACTION": "1.0",
    "QE_TARGET_ANN": "0.9",
    "MAX_LEVERAGE": "9",
    "KELLY_FRACTION": "1.0",
    "SIZING": "fractional_kelly",
}


def spec(name):
    return SpecCatalog.default().load("sizing", name, SizingConfig)


def newest(folder):
    """The workspace of a folder and its newest backtest."""
    settings = Settings(results_root=folder / "results", models_root=folder / "trained_models")
    workspace = Workspace.open(settings=settings)
    return workspace, RunRegistry(workspace).newest("backtest")


def recorded(folder):
    """The sizing in the newest run record and in the settings of its backtest artifact."""
    workspace, run = newest(folder)
    documents = workspace.store.read(BACKTEST, run.artifacts["backtest"]).documents
    return run.config["backtest"].get("sizing"), documents["settings"]["backtest"].get("sizing")


@pytest.mark.slow
@pytest.mark.feature("L-21")
def test_the_whole_sizing_is_recorded_and_stray_variables_change_nothing(cli, copied_chain) -> None:
    folder = copied_chain.folder
    plain = newest(folder)[1]
    assert recorded(folder) == (None, None)
    args = (*BACK, "--risk", "inverse_volatility")
    cli.call(args, folder).ok()
    wanted = spec("inverse_volatility").content()
    assert recorded(folder) == (wanted, wanted)
    workspace, clean = newest(folder)
    assert clean.config["backtest"]["portfolio"]["max_weight_frac"] == 0.10
    assert clean.artifacts["backtest"] != plain.artifacts["backtest"]
    cli.call(args, folder, STRAY).ok()
    again = newest(folder)[1]
    assert again.run_id != clean.run_id
    for role in ("backtest", "orders", "trades"):
        assert again.artifacts[role] == clean.artifacts[role]
    # The trial ledger identifies the book by its whole configuration: two books, three runs.
    specs = track_ledger(workspace, clean.track).read(("spec_id",))["spec_id"].to_pylist()
    training = RunRegistry(workspace).get(clean.parent)
    for run in (plain, clean, again):
        assert sha256_json({"model": training.config, "book": run.config}) in specs


@pytest.mark.slow
@pytest.mark.feature("L-21")
def test_a_setting_on_top_of_a_spec_stands_in_the_record(cli, copied_chain) -> None:
    folder = copied_chain.folder
    env = {"QE_BACKTEST__SIZING__CAPS__MAX_NAME_FRAC": "0.08"}
    more = ("--risk", "--set", "backtest.sizing.target.target_ann=0.05")
    cli.call((*BACK, *more), folder, env).ok()
    wanted = spec(DEFAULT_SIZING).content()
    wanted["target"]["target_ann"] = 0.05
    wanted["caps"]["max_name_frac"] = 0.08
    assert recorded(folder) == (wanted, wanted)


@pytest.mark.parametrize(
    ("flags", "code", "parts"),
    [
        (("--risk", "vol_taget"), 2, ("sizing spec", "Did you mean 'vol_target'?")),
        (("--risk", "--set", "backtest.sizing.targt=1"), 2, ("targt", "'target'")),
        (("--risk", "--set", "backtest.sizing.caps.max_name_frac=3"), 2, ("max_name_frac",)),
        (("--risk", "--rules", "plain"), 2, ("--risk: wanted a book of target weights",)),
        (("--risk", "--set", "rules.name=plain"), 2, ("--risk: wanted no sizing beside --rules",)),
        (
            ("--risk", "equal", "--set", "backtest.sizing.caps.when_full=error"),
            2,
            ("caps: wanted room for a gross of 0.5", "when_full='cash'"),
        ),
    ],
)
def test_a_bad_sizing_is_one_clear_error(cli, chain, flags, code, parts) -> None:
    message = cli.one_error(cli.call((*BACK, *flags), chain.folder), code)
    for part in parts:
        assert part in message


def test_given_settings_stand_over_the_spec_and_unknown_names_are_refused() -> None:
    settings = {"costs": "base", "backtest": {"sizing": {"kelly": {"window": 50}}}}
    put_sizing(settings, "fractional_kelly", SpecCatalog.default())
    wanted = spec("fractional_kelly").content()
    wanted["kelly"]["window"] = 50
    assert settings["backtest"]["sizing"] == wanted
    assert settings["backtest"]["portfolio"] == {"max_weight_frac": 0.10}
    assert settings["costs"] == "base"
    mine = {"backtest": {"portfolio": {"max_weight_frac": 0.02, "mode": "long_only"}}}
    put_sizing(mine, "equal", SpecCatalog.default())
    assert mine["backtest"]["portfolio"] == {"max_weight_frac": 0.02, "mode": "long_only"}
    assert json.loads(json.dumps(wanted)) == wanted


def test_every_shipped_sizing_differs_and_is_valid() -> None:
    names = SpecCatalog.default().names("sizing")
    assert set(names) >= {"equal", "inverse_volatility", "vol_target", "fractional_kelly"}
    assert len({spec(name).config_id() for name in names}) == len(names)
