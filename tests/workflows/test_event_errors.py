"""What the command of the event vertical does when the exchange misbehaves: by its own faults.

Each ends in a clear message, in a distribution that is absent with its reason, or in a stop that
is resumed without loss.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import duckdb
import pytest

from quant_engine.artifacts.kinds.events import EVENT_DISTRIBUTIONS, EVENT_HEALTH
from quant_engine.artifacts.store import ArtifactStore
from quant_engine.cli.kalshi import main
from quant_engine.core.clock import SystemClock
from quant_engine.core.errors import SourceUnavailableError
from quant_engine.core.settings import exchange_variables
from quant_engine.kalshi.fake.rest import Fault
from quant_engine.kalshi.fake.season import make_season, serve_season
from quant_engine.workflows import event_sources

pytestmark = pytest.mark.feature("Q-45", "Q-06")

FLAGS = ["--events", "3", "--quiet", "--json"]
STORM = range(40, 100_000)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in exchange_variables():
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def misbehave(monkeypatch):
    def change(**options):
        monkeypatch.setattr(event_sources, "serve_season", partial(serve_season, **options))

    return change


@pytest.fixture
def ladders(monkeypatch):
    """Change the contracts of every event that is a row of bins, or of every event."""

    def change(edit):
        def made(config):
            season = make_season(config)
            events = tuple(
                replace(event, contracts=tuple(edit(list(event.contracts))))
                for event in season.world.events
            )
            return replace(season, world=replace(season.world, events=events))

        monkeypatch.setattr(event_sources, "make_season", made)

    return change


def run(capsys, *argv):
    code = main([*argv, *FLAGS])
    return code, json.loads(capsys.readouterr().out)


def artifact(place, kind):
    store = ArtifactStore(place / "results", clock=SystemClock())
    (ref,) = [ref for ref in store.refs() if ref.kind == kind.name]
    return store.read(kind, ref).tables


def counters(place):
    rows = artifact(place, EVENT_HEALTH)["counters"]
    return dict(zip(rows["counter"], rows["value"], strict=True))


def rows_of(place):
    """What is known in the end; a poll that had to wait tells of other moments, not of others."""
    tables = {
        "event_v": "event_ticker", "market_v": "ticker", "market_result": "market_id, result",
        "trade": "trade_id, event_us", "candle": "market_id, end_us, bid_c_e4, ask_c_e4",
        "quote": "market_id, bid_e4, ask_e4",
    }  # fmt: skip
    sql = "SELECT DISTINCT {} FROM '{}/results/kalshi/fake/{}.parquet' ORDER BY ALL"
    with duckdb.connect() as db:
        return {n: db.execute(sql.format(key, place, n)).fetchall() for n, key in tables.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Rows that an exchange without faults leaves."""
    place = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(["sync", *FLAGS]) == 0
        return rows_of(place)


def test_a_storm_that_ends_is_waited_out_and_one_that_does_not_is_resumed(
    place, capsys, misbehave, whole
):
    misbehave(faults={n: Fault("429") for n in STORM})
    code, told = run(capsys, "sync")
    assert code == SourceUnavailableError.exit_code
    assert "429" in told["error"]["message"]
    assert "status page" in told["error"]["hint"]
    # The storm is over after five refusals.
    misbehave(faults={n: Fault("429") for n in range(10, 15)})
    assert run(capsys, "sync", "--resume")[0] == 0
    assert counters(place)["transport: status_429"] == 5
    assert rows_of(place) == whole


def test_half_answers_and_a_wrong_clock_are_noticed_and_corrected(place, capsys, misbehave, whole):
    faults = {n: Fault("cut_off") for n in (12, 13, 30, 55)}
    misbehave(faults=faults, behaviour={"clock_offset_us": 45_000_000})
    assert run(capsys, "sync")[0] == 0
    found = counters(place)
    assert found["transport: cut_off"] == 4
    assert found["transport: resynchronised"] >= 1
    assert rows_of(place) == whole


def gates(place):
    looks = artifact(place, EVENT_DISTRIBUTIONS)["looks"]
    refused = looks[~looks["has_distribution"]]
    # Absent means absent: no figure of the distribution stands beside the reason.
    assert refused["mean"].isna().all()
    return (
        {gate for gates in refused["gates"] for gate in gates.split(";")},
        len(refused),
        len(looks),
    )


@pytest.mark.parametrize(
    ("fields", "gate", "drifts"),
    [
        pytest.param({"status": "melted"}, None, "status", marks=pytest.mark.slow),
        ({"strike_type": "spiral"}, "unresolved_direction", "strike_type"),
        pytest.param({"status": "inactive"}, "market_paused", None, marks=pytest.mark.slow),
    ],
)
def test_words_of_a_market_that_change_what_may_be_said(
    place, capsys, misbehave, fields, gate, drifts
):
    misbehave(behaviour={"market_fields": fields})
    code, told = run(capsys, "sync")
    assert code == 0
    assert (told["metrics"]["n_schema_drifts"] > 0) == (drifts is not None)
    assert any(str(drifts) in name for name in counters(place)) == (drifts is not None)
    assert run(capsys, "distributions")[0] == 0
    found, n_refused, n_looks = gates(place)
    assert n_looks == 6
    assert (found, n_refused) == (({gate}, 6) if gate else (set(), 0))


def overlapping(contracts):
    if contracts[0].strike_type == "less":
        contracts[1] = replace(contracts[1], floor=contracts[1].floor - 0.1)
    return contracts


def gapped(contracts):
    return contracts[:1] + contracts[2:] if contracts[0].strike_type == "less" else contracts


@pytest.mark.parametrize(
    ("edit", "gate", "n"),
    [
        (overlapping, "overlapping_bins", 2),
        pytest.param(gapped, "gapped_bins", 2, marks=pytest.mark.slow),
        pytest.param(lambda contracts: contracts[:2], "too_few_legs", 6, marks=pytest.mark.slow),
    ],
)
def test_ladders_that_are_none_have_no_distribution(place, capsys, ladders, edit, gate, n):
    ladders(edit)
    assert run(capsys, "sync")[0] == 0
    assert run(capsys, "distributions")[0] == 0
    found, n_refused, _ = gates(place)
    assert gate in found
    assert n_refused == n
