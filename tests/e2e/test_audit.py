"""``qe audit`` as a person calls it: exit codes, reports, own plug-ins, resuming."""

from __future__ import annotations

import json
import signal

import pytest

from quant_engine.cli import audit as command
from quant_engine.cli.main import main as qe
from quant_engine.core.errors import ConfigError

pytestmark = [pytest.mark.leakage, pytest.mark.feature("Q-21", "Q-47"), pytest.mark.feature("Q-21")]

PLUGIN = """\
import numpy as np

from quant_engine.core.registry import PluginMetadata
from quant_engine.features.factors import FactorBase, Need


def clean(panel):
    return panel.field("close") / panel.field("open") - 1


class Leaking:
    def compute(self, panel):
        close = panel.field("close")
        return {"z": (close - np.nanmean(close, axis=0)) / np.nanstd(close, axis=0)}


class Called:
    def __call__(self, panel):
        return np.log(panel.field("close"))


class Factor(FactorBase):
    metadata = PluginMetadata(summary="Close over open.", test_params=({},))

    def compute(self, inputs):
        return inputs.panel.field("close") / inputs.panel.field("open") - 1


class ReportFactor(Factor):
    needs = (Need("total_assets_usd"),)


number = 3
"""


@pytest.fixture(autouse=True)
def signals():
    """Commands set handlers of their own; give the test runner's back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "own_factors.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *words: str) -> tuple[int, str]:
    code = qe(["audit", words[0], "--assets", "24", "--quiet", *words[1:]])
    seen = capsys.readouterr()
    return code, seen.out + seen.err


def test_a_shipped_set_is_clean_and_the_report_is_written(folder, capsys):
    code, text = run(capsys, "features", "--set", "simulated_core")
    assert code == 0, text
    assert "40 fields, 1 seeds" in text
    report = json.loads((folder / "results" / "audits" / "report.json").read_text())
    assert report["counts"]["leaks"] == 0
    (one,) = report["audits"]
    assert one["subject"] == "simulated_core"
    assert all(row["verdict"] == "clean" for row in one["rows"])


def test_stand_ins_are_told(folder, capsys):
    text = "$open_interest/Mean($open_interest, 5)"
    code = qe(["audit", "features", "--expr", text, "--assets", "24", "--quiet"])
    assert code == 0
    assert "the data has no open_interest; a stand-in was audited" in capsys.readouterr().err


def test_json_output_counts(folder, capsys):
    code, text = run(capsys, "features", "--set", "simulated_core", "--json")
    content = json.loads(text)
    assert (code, content["exit_code"]) == (0, 0)
    assert content["metrics"]["fields"] == content["metrics"]["clean"] == 40
    assert content["artifacts"][0]["path"].endswith("report.json")


def test_own_plugins_are_audited(folder, capsys):
    code, text = run(capsys, "features", "--plugin", "own_factors:Leaking")
    assert code == 4
    assert "z (CAUSAL): leaks" in text
    assert "mean and deviation" in text
    assert run(capsys, "features", "--plugin", "own_factors:clean")[0] == 0
    assert run(capsys, "features", "--plugin", "own_factors:Called")[0] == 0
    assert run(capsys, "features", "--plugin", "own_factors:Factor")[0] == 0


def test_an_own_formula_is_audited(folder, capsys):
    code, text = run(capsys, "features", "--expr", "Mean($close, 5)/$close - 1")
    assert code == 0
    assert "expression" not in text.splitlines()[1] or "clean" in text


def test_a_battery_goes_on_after_the_seeds_that_are_done(folder, capsys, monkeypatch):
    assert run(capsys, "features", "--set", "simulated_core", "--seeds", "2")[0] == 0
    kept = list((folder / "results" / "audits").glob("*.json"))
    assert len(kept) == 3

    def forbidden(*args, **options):
        raise AssertionError("a finished seed ran again")

    monkeypatch.setattr("quant_engine.testing.audit.audit", forbidden)
    code, text = run(
        capsys, "features", "--set", "simulated_core", "--seeds", "2", "--resume", "--debug"
    )
    assert code == 0, text
    assert "40 fields, 2 seeds" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["labels", "--set", "simulated_core"], "one of --set, --plugin and --expr"),
        (["features", "--expr", "$close", "--set", "x"], "one of --set, --plugin and --expr"),
        (["features", "--plugin", "nothing"], "MODULE:NAME"),
        (["features", "--plugin", "own_factors:absent"], "has no attribute 'absent'"),
        (["features", "--plugin", "no_such_module:x"], "No module named"),
        (["features", "--plugin", "own_factors:number"], "a function of a panel"),
        (["features", "--plugin", "own_factors:ReportFactor"], "reads prices alone"),
        (["features", "--set", "no_such_set"], "a spec in specs/features"),
        (["features", "--expr", "Ref($close, -1)"], "a look into the future"),
    ],
)
def test_bad_requests_say_what_is_wrong(folder, capsys, words, message):
    code, text = run(capsys, *words)
    assert code == 2
    assert message in text


@pytest.mark.slow
def test_regimes_and_labels_have_doors_of_their_own(folder, capsys):
    code, text = run(capsys, "regimes")
    assert code == 0, text
    assert "regimes" in text
    code, text = run(capsys, "labels")
    assert code == 0, text
    assert "splits: walk-forward" in text
    assert "labels: barrier" in text
    assert "labels: meta" in text


@pytest.mark.slow
def test_the_whole_pipeline(folder, capsys):
    # Labels within a sector need as many names as the default market has.
    code, text = run(capsys, "pipeline", "--assets", "60")
    assert code == 0, text
    for stage in ("model matrix", "targets", "predictions", "book", "fill times", "filings"):
        assert stage in text


@pytest.mark.slow
def test_the_audit_is_graded(folder, capsys):
    code, text = run(capsys, "leaks")
    assert code == 0
    assert "34 of 34 alive, 34 caught, 0 false alarms" in text


def test_a_plugin_name_is_resolved_once(folder):
    with pytest.raises(ConfigError, match="MODULE:NAME"):
        command.load_plugin(":x")
