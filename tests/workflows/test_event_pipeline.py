"""The command of the event vertical: from nothing to a verdict, its errors, and its resumption."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import time
from hashlib import sha256

import duckdb
import pytest

from quant_engine.artifacts.kinds import events as kinds
from quant_engine.artifacts.store import ArtifactStore
from quant_engine.cli.kalshi import STAGES as CLI_STAGES
from quant_engine.cli.kalshi import main
from quant_engine.core.clock import SystemClock
from quant_engine.core.errors import ConfigError, StoreError, UnreadableFileError
from quant_engine.core.settings import exchange_variables
from quant_engine.governance.gates import Status
from quant_engine.kalshi import provider
from quant_engine.kalshi.pipeline import EventPipelineConfig
from quant_engine.kalshi.promotion import NOT_EVALUATED, Judgement
from quant_engine.kalshi.recordings.folders import folder_kind
from quant_engine.workflows.event_config import pipeline_config
from quant_engine.workflows.event_run import STAGES, EventRequest
from quant_engine.workflows.event_sources import EventSource, store_name
from quant_engine.workflows.event_verdict import EventVerdict

pytestmark = pytest.mark.feature("Q-45", "Q-06")

SMALL = ["--events", "3", "--quiet", "--json"]
KINDS = {
    "event_distributions": kinds.EVENT_DISTRIBUTIONS,
    "event_panel": kinds.EVENT_PANEL,
    "event_forecasts": kinds.EVENT_FORECASTS,
    "event_trades": kinds.EVENT_TRADES,
    "event_report": kinds.EVENT_REPORT,
    "event_health": kinds.EVENT_HEALTH,
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in exchange_variables():
        monkeypatch.delenv(name)
    return tmp_path


def run(capsys, *argv):
    code = main([*argv])
    out = capsys.readouterr().out
    return code, json.loads(out)


def files_of(folder):
    """Bytes of everything that has to repeat: payloads, manifests and exports."""
    found = [
        path
        for path in sorted((folder / "results").rglob("*"))
        if path.is_file() and (path.suffix == ".parquet" or "artifacts" in path.parts)
    ]
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in found if "event_health" not in p.parts
    }


def test_a_small_season_ends_with_too_little_observed(place, capsys):
    code, told = run(capsys, "all", *SMALL)
    assert (code, told["status"], told["track"]) == (5, "insufficient_observation", "calibration")
    assert told["metrics"]["n_leak_faults"] == 0
    assert told["metrics"]["recorded_frac"] > 0.5
    store = ArtifactStore(place / "results", clock=SystemClock())
    found = {ref.kind: store.read(KINDS[ref.kind], ref) for ref in store.refs()}
    assert set(found) == {"event_distributions", "event_panel", "event_report", "event_health"}
    cells = found["event_distributions"].tables["cells"]
    total = cells.groupby(["event_id", "horizon_s"])["prob"].sum()
    assert total.to_numpy() == pytest.approx(1.0)
    atoms = found["event_distributions"].tables["atoms"]
    for name in ("prob", "market_prob"):
        sums = atoms.groupby(["event_id", "horizon_s"])[name].sum()
        assert sums.to_numpy() == pytest.approx(1.0)
    looks = found["event_panel"].tables["looks"]
    assert (looks["max_input_avail_us"] <= looks["asof_us"]).all()
    assert (found["event_report"].tables["audit"]["n_faults"] == 0).all()
    with duckdb.connect() as db:
        sql = "SELECT count(*) FROM 'results/kalshi/fake/{}.parquet'"
        rows = {n: db.execute(sql.format(n)).fetchone()[0] for n in ("distribution", "feature")}
    assert rows["distribution"] == len(looks) == 6
    assert rows["feature"] == int(
        looks[found["event_panel"].tables["features"]["feature"]].notna().sum().sum()
    )
    assert (place / "results/kalshi_event_features.parquet").is_file()
    page = place / "results/kalshi_report.html"
    (entry,) = [one for one in told["artifacts"] if one["kind"] == "page"]
    assert (entry["path"], entry["sha256"]) == (
        "results/kalshi_report.html", sha256(page.read_bytes()).hexdigest()
    )  # fmt: skip
    # A single stage adds to the page of the whole run and takes nothing from it.
    before = page.read_text()
    assert "The stage distributions was not run" not in before
    assert run(capsys, "arb", *SMALL)[0] == 0
    assert "The stage distributions was not run" not in page.read_text()


@pytest.mark.slow
def test_a_second_run_from_nothing_has_the_same_bytes(place, capsys, monkeypatch):
    found = []
    # The second one fits its ladders in two processes.
    for name, flags in (("one", ()), ("two", ("--executor", "process", "--jobs", "2"))):
        (place / name).mkdir()
        monkeypatch.chdir(place / name)
        run(capsys, "all", *SMALL, *flags)
        found.append(files_of(place / name))
    assert found[0] == found[1]
    # The same command with --resume reuses what stands there.
    assert run(capsys, "all", *SMALL, "--resume")[0] == 5
    assert files_of(place / "two") == found[1]


COMMAND = [
    sys.executable,
    "-c",
    "import sys; from quant_engine.cli.kalshi import main; sys.exit(main(sys.argv[1:]))",
]


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed_it_ends_with_the_same_exports(place):
    whole, torn = place / "whole", place / "torn"
    whole.mkdir()
    torn.mkdir()
    started = time.monotonic()
    first = subprocess.run([*COMMAND, "all", *SMALL], cwd=whole, capture_output=True, check=False)
    took = time.monotonic() - started
    assert first.returncode == 5, first.stderr.decode()[-2000:]
    options = [*COMMAND, "all", *SMALL, "--resume"]
    for number in range(20):
        process = subprocess.Popen(
            options, cwd=torn, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # Spread over the whole run, in an order without a pattern.
        time.sleep(took * (((number * 7) % 20) + 0.5) / 20)
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = subprocess.run(options, cwd=torn, capture_output=True, check=False)
    assert last.returncode == 5, last.stderr.decode()[-2000:]
    assert files_of(torn) == files_of(whole)


@pytest.mark.slow
def test_interrupted_it_ends_with_130_and_a_hint(place):
    process = subprocess.Popen(
        [*COMMAND, "all", "--quiet"], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    time.sleep(8)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"--resume" in told


@pytest.mark.parametrize(
    "error",
    [
        duckdb.IOException("Could not write: No space left on device"),
        duckdb.TransactionException(
            "Failed to commit: Could not write file: No space left on device"
        ),
        OSError(errno.ENOSPC, "No space"),
    ],
)
def test_a_full_disk_stops_with_a_sentence_and_loses_nothing(place, capsys, monkeypatch, error):
    honest = provider.put_markets
    calls = []

    def failing(store, markets, sighting):
        calls.append(len(markets))
        if len(calls) == 3:
            raise error
        return honest(store, markets, sighting)

    monkeypatch.setattr(provider, "put_markets", failing)
    code, told = run(capsys, "sync", *SMALL)
    assert code == StoreError.exit_code
    assert "space" in told["error"]["message"].lower()
    monkeypatch.setattr(provider, "put_markets", honest)
    assert run(capsys, "sync", *SMALL, "--resume")[0] == 0
    with duckdb.connect(str(place / "data/kalshi/fake.duckdb"), read_only=True) as db:
        assert db.execute("SELECT count(*) FROM event_v").fetchone() == (3,)
        assert db.execute("SELECT count(DISTINCT market_id) FROM market_result").fetchone()[0] > 10


def test_a_file_where_the_store_should_be_is_told(place, capsys):
    (place / "taken").touch()
    code, told = run(capsys, "sync", *SMALL, "--data", str(place / "taken"))
    assert code == StoreError.exit_code
    assert "a folder" in told["error"]["message"]
    assert "--results" not in told["error"]["hint"]


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["--backend", "sqlite"], "ASOF"),
        (["sync", "--what", "orders"], "--what"),
        (["--env", "replay"], "--path"),
        (["--path", "nowhere"], "--path"),
        (["--env", "demo"], "--series"),
        (["--env", "demo", "--series", "KXCPI"], "QE_KALSHI_PRIVATE_KEY"),
        (["--since", "2026-02-02", "--until", "2026-02-01"], "--since"),
        (["--set", "walks.test_clusters=1"], "walk"),
        (["--set", "later_s=-1"], "later_s"),
        (["--set", "walk.foo=1"], "walk.foo:"),
        (["--set", "walk.test_clusters=many"], "walk.test_clusters:"),
        (["record", "--minutes", "0"], "--minutes"),
    ],
)
def test_usage_errors_say_what_to_write(place, capsys, argv, word):
    code, told = run(capsys, "--json", "--quiet", *argv)
    assert code == 2
    assert word in told["error"]["message"] + told["error"]["hint"]
    assert not (place / "results/artifacts").exists()


def test_a_demo_key_is_refused_on_prod_and_never_shown(place, capsys, monkeypatch):
    monkeypatch.setenv("QE_KALSHI_KEY_ID", "11111111-2222-3333-4444-5555aaaa6666")
    monkeypatch.setenv("QE_KALSHI_PRIVATE_KEY", "-----BEGIN SECRET-----")
    code, told = run(capsys, "--json", "--quiet", "sync", "--env", "prod", "--series", "KXCPI")
    assert code == 2
    text = json.dumps(told)
    assert "demo" in text
    assert "SECRET" not in text
    assert "1111" not in text


def test_the_command_knows_the_stages_of_the_workflow():
    assert CLI_STAGES == STAGES
    with pytest.raises(ConfigError, match="stage"):
        EventRequest("everything")


def test_settings_by_source(tmp_path):
    assert pipeline_config(EventSource("fake"), {}) == EventPipelineConfig()
    (tmp_path / "kxhighny/events").mkdir(parents=True)
    (tmp_path / "kxhighny/events/2024-08-16.json.gz").write_bytes(b"")
    source = EventSource("replay", path=tmp_path)
    settings = pipeline_config(source, {"grids": {"x": 0.5}})
    assert (settings.source, settings.widest_e4, settings.grids) == ("trade", 10_000, {"x": 0.5})
    assert store_name(source) == f"replay-{tmp_path.name}"
    with pytest.raises(UnreadableFileError, match="none of these files"):
        folder_kind(tmp_path / "kxhighny")


def test_verdicts_and_their_exit_codes():
    def judged(*statuses):
        class Report:
            def __init__(self, status):
                self.status = status
                self.passed = status in (Status.PASS, Status.WARN)

        return tuple(Judgement(s, s, Report(s)) for s in statuses)

    cases = {
        (): ("insufficient_observation", 5),
        (Status.FAIL, Status.INSUFFICIENT): ("not promoted", 4),
        (Status.INSUFFICIENT,): ("insufficient_observation", 5),
        (Status.FAIL, Status.WARN): ("promoted", 0),
    }
    for statuses, (word, code) in cases.items():
        verdict = EventVerdict(judged(*statuses), 1.0, 0)
        assert (verdict.status, verdict.exit_code) == (word, code)
    off = EventVerdict(judged(Status.FAIL), 1.0, 0, is_switched_off=True)
    assert (off.status, off.exit_code) == (NOT_EVALUATED, 0)
