"""Materialise, read as of an instant, and drift, over market files that grow and are revised."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from quant_engine.artifacts.feature_store import FeatureStore, SnapshotQuery
from quant_engine.artifacts.kinds.feature_store import FEATURE_DRIFT
from quant_engine.artifacts.kinds.panel import FEATURE_PANEL, PANEL
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.core.errors import (
    ConfigError,
    EmptyDataError,
    SchemaMismatchError,
)
from quant_engine.workflows.data import Location
from quant_engine.workflows.feature_drift import DriftRequest, drift
from quant_engine.workflows.feature_store import instant, materialise, read_as_of
from quant_engine.workflows.run_registry import RunRegistry
from quant_engine.workflows.train import train

pytestmark = pytest.mark.feature("Q-17")

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
NAMES = ["GAP", "ROC5", "STD20"]


@pytest.fixture
def files(market_files: Path, tmp_path: Path) -> Path:
    """Price files that a test may change."""
    shutil.copytree(market_files / "prices", tmp_path / "prices")
    return tmp_path / "prices"


@pytest.fixture
def write(workspace_at, fast_config, files):
    """Materialise at an instant with some sessions."""

    def run(now=NOON, *, sessions=1, **data):
        config = fast_config(data={"source": "local", "benchmark": "equal_weight", **data})
        location = Location(bars=str(files))
        return materialise(workspace_at(now), config, location, sessions=sessions)

    return run


@pytest.fixture
def known(workspace_at):
    """Rows that were known at an instant."""

    def read(as_of=NOON, **query):
        store = FeatureStore(workspace_at().store)
        return store.read(SnapshotQuery("three", as_of, **query))

    return read


def last_days(files: Path, count: int) -> list[str]:
    days = sorted({day for path in files.iterdir() for day in pd.read_csv(path).iloc[:, 0]})
    return [str(day) for day in days[-count:]]


def test_the_store_holds_what_the_features_of_training_say(write, known, workspace_at):
    done = write(sessions=3)
    assert done.metrics == {"n_written": 3, "n_unchanged": 0}
    workspace, frame = workspace_at(), known()
    refs = {item["kind"]: item["id"] for item in done.artifacts}
    features = workspace.store.read(
        FEATURE_PANEL, ArtifactRef(kind="feature_panel", id=refs["feature_panel"])
    )
    market = workspace.store.read(PANEL, ArtifactRef(kind="panel", id=refs["panel"]))
    assert frame["session"].nunique() == 3
    for row in frame.itertuples(index=False):
        t = features.time.position(row.session)
        j = features.asset_ids.index(row.asset_id)
        stored = np.array([getattr(row, name) for name in NAMES])
        np.testing.assert_array_equal(stored, [features.field(name)[t, j] for name in NAMES])
        assert row.n_missing == np.isnan(stored).sum()
        bars = market.time.values[
            np.isfinite(market.field("close")[: t + 1, j].astype(float)).nonzero()[0]
        ]
        assert row.bar_session == pd.Timestamp(bars[-1])
    assert frame["is_tradable"].any()


def test_a_second_look_at_the_same_bars_writes_nothing(write, workspace_at):
    write(sessions=5)
    again = write(NOON + timedelta(days=1), sessions=5)
    assert again.metrics == {"n_written": 0, "n_unchanged": 5}
    assert len(FeatureStore(workspace_at().store).snapshots()) == 5


def test_one_new_session_writes_one_snapshot_and_rewrites_none(write, files, known, workspace_at):
    before_last, last = last_days(files, 2)
    write(end=before_last, sessions=3)
    root = workspace_at().settings.results_root / "artifacts" / "feature_snapshot"
    stored = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    done = write(NOON + timedelta(days=1), sessions=4)
    assert done.metrics == {"n_written": 1, "n_unchanged": 3}
    assert {path: path.read_bytes() for path in stored} == stored
    assert known(NOON)["session"].max() == pd.Timestamp(before_last)
    assert known(NOON + timedelta(days=1))["session"].max() == pd.Timestamp(last)


def test_a_revised_bar_is_another_version_and_the_past_does_not_change(write, files, known):
    write(sessions=2)
    first = known()
    path = sorted(files.iterdir())[0]
    bars = pd.read_csv(path)
    column = next(name for name in bars.columns if name.lower() == "open")
    bars.loc[bars.index[-1], column] = bars[column].iloc[-1] * 1.001
    bars.to_csv(path, index=False)
    later = NOON + timedelta(hours=2)
    assert write(later, sessions=2).metrics == {"n_written": 1, "n_unchanged": 1}
    pd.testing.assert_frame_equal(known(later - timedelta(seconds=1)), first)
    revised = known(later)
    changed = (revised[NAMES] != first[NAMES]).any(axis=1) & first[NAMES].notna().all(axis=1)
    assert changed.sum() == 1
    assert revised.loc[changed, "session"].iloc[0] == first["session"].max()


def test_samples_carry_the_quality_findings_of_their_bars(write, files, known):
    path = sorted(files.iterdir())[0]
    bars = pd.read_csv(path)
    high = next(name for name in bars.columns if name.lower() == "high")
    close = next(name for name in bars.columns if name.lower() == "close")
    bars.loc[bars.index[-1], high] = bars[close].iloc[-1] * 0.99
    bars.to_csv(path, index=False)
    write(sessions=1)
    frame = known()
    flagged = frame[frame["quality"] != ""]
    assert len(flagged) == 1
    assert flagged["n_findings"].iloc[0] >= 1


def test_each_row_leads_back_to_its_source(write, known, workspace_at):
    write()
    store = workspace_at().store
    ref = ArtifactRef(kind="feature_snapshot", id=known()["snapshot"][0])
    (item,) = FeatureStore(store).snapshots()
    kinds = {parent.kind for parent in store.manifest(ref).provenance.inputs}
    assert kinds == {"feature_panel", "panel", "quality_report", "source"}
    assert {text.partition("/")[0] for text in item.header.inputs} == kinds
    assert store.manifest(ref).provenance.as_of == str(item.header.session)
    assert store.faults(ref) == []


def test_reading_prints_sessions_and_writes_rows(write, workspace_at, tmp_path):
    write(sessions=2)
    output = tmp_path / "rows.csv"
    done = read_as_of(workspace_at(), SnapshotQuery("three", NOON), output=output)
    assert done.metrics["n_sessions"] == 2
    assert done.text.count("computed 2026-01-02T12:00:00+00:00") == 2
    assert len(pd.read_csv(output)) == done.metrics["n_rows"]


def test_a_dry_run_writes_nothing(workspace_at, fast_config, files):
    workspace = workspace_at()
    done = materialise(workspace, fast_config(), Location(bars=str(files)), dry_run=True)
    assert done.status == "dry_run"
    assert not workspace.settings.results_root.exists()


def test_no_session_is_no_wish(write):
    with pytest.raises(ConfigError, match="sessions"):
        write(sessions=0)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2024-01-31", "2024-01-31T23:59:59.999999+00:00"),
        ("2024-01-31T21:00:00Z", "2024-01-31T21:00:00+00:00"),
        ("2024-01-31T21:00:00-05:00", "2024-02-01T02:00:00+00:00"),
        ("2024-01-31T21:00", "2024-01-31T21:00:00+00:00"),
    ],
)
def test_instants_are_utc_and_dates_count_whole(text, wanted):
    assert instant(text).isoformat() == wanted


def test_a_text_that_is_no_instant_is_refused():
    with pytest.raises(ConfigError, match="as_of"):
        instant("yesterday")


@pytest.fixture
def trained(workspace_at, fast_config, files):
    """A run on the sessions before the last thirty."""
    cut = last_days(files, 31)[0]
    config = fast_config(data={"source": "local", "benchmark": "equal_weight", "end": cut})
    workspace = workspace_at()
    train(workspace, config, Location(bars=str(files)), register=False)
    return RunRegistry(workspace).newest("train")


def test_drift_compares_the_training_data_with_what_is_known_now(
    trained, write, known, workspace_at
):
    write(sessions=30)
    workspace = workspace_at()
    done = drift(workspace, DriftRequest(sessions=30))
    assert done.warnings == []
    (listed,) = done.artifacts
    ref = ArtifactRef(kind="feature_drift", id=listed["id"])
    table = workspace.store.read(FEATURE_DRIFT, ref).tables["drift"].set_index("feature")
    assert set(table.index) == set(NAMES)
    features = workspace.store.read(FEATURE_PANEL, trained.artifacts["features"])
    market = workspace.store.read(PANEL, trained.artifacts["panel"])
    rows = (market.mask("member") & market.mask("tradable"))[19:]
    frame = known()
    for name in NAMES:
        then = features.field(name)[19:].astype(np.float64)
        missing = np.isnan(then[rows]).mean()
        # Sessions of the reference are thinned to 250, evenly.
        kept = np.linspace(0, len(then) - 1, min(250, len(then))).round().astype(int)
        old = np.where(rows, then, np.nan)[kept]
        old, new = old[np.isfinite(old)], frame[name].dropna().to_numpy()
        row = table.loc[name]
        assert row["ks"] == pytest.approx(ks_2samp(old, new).statistic, abs=1e-12)
        assert row["mean_shift_sd"] == pytest.approx((new.mean() - old.mean()) / old.std())
        assert (row["n_then"], row["n_now"]) == (len(old), len(new))
        assert row["missing_then"] == pytest.approx(missing, abs=0.01)
        assert row["missing_now"] == pytest.approx(frame[name].isna().mean())
    # The same question at the same instant is the same artifact.
    assert drift(workspace, DriftRequest(sessions=30)).artifacts == done.artifacts


def test_drift_sees_a_jump_of_the_volatility(trained, write, files, workspace_at):
    days = set(last_days(files, 30))
    for path in files.iterdir():
        bars = pd.read_csv(path)
        prices = [n for n in bars.columns if n.lower() in ("open", "high", "low", "close")]
        now = bars.iloc[:, 0].isin(days).to_numpy()
        swing = np.where(np.arange(len(bars)) % 2, 1.08, 1.0)
        for name in prices:
            bars.loc[now, name] = bars.loc[now, name] * swing[now]
        bars.to_csv(path, index=False)
    write(sessions=21)
    workspace = workspace_at()
    done = drift(workspace, DriftRequest())
    table = workspace.store.read(
        FEATURE_DRIFT, ArtifactRef(kind="feature_drift", id=done.artifacts[0]["id"])
    ).tables["drift"]
    table = table.set_index("feature")
    assert table.loc["STD20", "psi"] > 1.0
    # The opens jump by the same swing; session means of closes wander too slowly for an alarm.
    assert table.loc["GAP", "is_alarm"]
    assert table.loc["GAP", "first_alarm"] >= pd.Timestamp(min(days))
    assert table["psi"].is_monotonic_decreasing
    assert "STD20" in done.text


def test_drift_says_when_there_is_nothing_to_compare(trained, write, workspace_at):
    with pytest.raises(EmptyDataError, match="materialise"):
        drift(workspace_at(), DriftRequest())
    write(sessions=2)
    with pytest.raises(EmptyDataError):
        drift(workspace_at(), DriftRequest(as_of=NOON - timedelta(seconds=1)))


def test_drift_warns_when_the_run_has_seen_the_sessions(trained, write, files, workspace_at):
    write(end=trained.last_session, sessions=21)
    (sentence,) = drift(workspace_at(), DriftRequest()).warnings
    assert sentence.startswith("21 of 21 sessions")


def test_drift_refuses_another_definition_of_the_features(
    trained, write, workspace_at, specs, tmp_path
):
    write(sessions=2)
    path = tmp_path / "work" / "specs" / "features" / "three.yaml"
    path.write_text(path.read_text().replace("Ref($close, 5)", "Ref($close, 4)"))
    with pytest.raises(SchemaMismatchError, match="feature set"):
        drift(workspace_at(), DriftRequest())
