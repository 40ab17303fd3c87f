"""Feature snapshots: what a read at an instant may see, and that nothing stored ever changes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from quant_engine.artifacts.feature_store import FeatureStore, SnapshotQuery
from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.feature_store import (
    FEATURE_DRIFT,
    FEATURE_SNAPSHOT,
    LINEAGE_COLUMNS,
    FeatureSnapshot,
    SnapshotHeader,
)
from quant_engine.artifacts.store import ArtifactStore
from quant_engine.core.clock import FixedClock
from quant_engine.core.errors import (
    DataError,
    EmptyDataError,
    IntegrityError,
    LookAheadError,
    SchemaMismatchError,
)

pytestmark = pytest.mark.feature("Q-17")

DAY = date(2024, 3, 4)
NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)
FEATURES = ("mom", "vol")


def snapshot(
    session: date = DAY, *, at: datetime = NOON, value: float = 1.0, **changes: object
) -> FeatureSnapshot:
    """Two assets, the second without its first feature."""
    header = SnapshotHeader.model_validate(
        {
            "set_name": "tiny",
            "set_version": "1",
            "set_id": "ab" * 32,
            "session": session,
            "computed_at": at,
            "dataset": "world-1",
            "data_version": "d" * 8,
            "inputs": ("panel/x",),
            "features": FEATURES,
            "values_digest": str(value),
            **changes,
        }
    )
    stamp = np.datetime64(session, "us")
    rows = pd.DataFrame(
        {
            "asset_id": ["A@US#1", "B@US#1"],
            "session": stamp,
            "bar_session": [stamp, np.datetime64("NaT", "us")],
            "is_member": [True, True],
            "is_tradable": [True, False],
            "n_missing": [0, 1],
            "n_findings": [2, 0],
            "quality": ["zero_volume", ""],
            "mom": [value, np.nan],
            "vol": [0.1, 0.2],
        }
    )
    return FeatureSnapshot(header, rows)


@pytest.fixture
def features(store):
    return FeatureStore(store)


@pytest.fixture
def add(features, provenance):
    def write(session: date = DAY, **changes: object):
        return features.add(snapshot(session, **changes), provenance(as_of=str(session)))

    return write


def ask(as_of: datetime = NOON, **changes: object) -> SnapshotQuery:
    return SnapshotQuery(**{"set_name": "tiny", "as_of": as_of, **changes})


def stored_bytes(root) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_snapshot_is_a_table_named_after_its_session_and_json(store, add):
    names = {path.name for path in (store.path(add()) / "payload").iterdir()}
    assert names == {"features_2024-03-04.parquet", "snapshot.json"}


def test_a_snapshot_reads_back_bit_for_bit(store, add):
    again = store.read(FEATURE_SNAPSHOT, add())
    assert again.header == snapshot().header
    assert list(again.rows.columns) == [*LINEAGE_COLUMNS, *FEATURES]
    pd.testing.assert_frame_equal(again.rows, snapshot().rows, check_dtype=False)


def test_every_row_of_a_read_carries_its_lineage(features, add):
    ref = add()
    frame = features.read(ask())
    assert list(frame.columns) == [
        *LINEAGE_COLUMNS,
        *("computed_at", "snapshot", "dataset"),
        *FEATURES,
    ]
    assert set(frame["snapshot"]) == {ref.id}
    assert set(frame["dataset"]) == {"world-1"}
    assert frame["computed_at"].tolist() == [pd.Timestamp(NOON)] * 2
    assert frame["quality"].tolist() == ["zero_volume", ""]


def test_a_read_sees_the_instant_itself_and_nothing_after_it(features, add):
    add(value=1.0)
    later = NOON + timedelta(hours=1)
    add(at=later, value=2.0)
    tick = timedelta(microseconds=1)
    for as_of, wanted in ((NOON, 1.0), (later - tick, 1.0), (later, 2.0)):
        assert features.read(ask(as_of))["mom"][0] == wanted
    with pytest.raises(EmptyDataError, match="computed by 2024-03-05T11:59:59"):
        features.read(ask(NOON - tick))
    # The older version stays readable for ever.
    assert features.read(ask(NOON))["mom"][0] == 1.0


def test_the_choice_equals_a_plain_loop_over_everything_stored(features, add):
    rng = np.random.default_rng(4)
    stored = []
    for number in range(30):
        session = DAY + timedelta(days=int(rng.integers(0, 4)))
        at = NOON + timedelta(days=4, minutes=int(rng.integers(0, 12)))
        add(session, at=at, value=float(number))
        stored.append((session, at, float(number)))
    for minute in range(-1, 13):
        as_of = NOON + timedelta(days=4, minutes=minute)
        seen = [item for item in stored if item[1] <= as_of]
        found = {
            item.header.session: item.header.computed_at for item in features.visible(ask(as_of))
        }
        assert found == {
            session: max(at for s, at, _ in seen if s == session) for session, _, _ in seen
        }


def test_sessions_are_bounded_on_both_sides_and_come_in_order(features, add):
    days = [DAY + timedelta(days=number) for number in range(4)]
    for day in reversed(days):
        add(day, at=NOON + timedelta(days=9))
    query = ask(NOON + timedelta(days=9), first=days[1], last=days[2])
    assert [item.header.session for item in features.visible(query)] == days[1:3]
    assert features.read(query)["session"].is_monotonic_increasing


def test_one_more_session_is_one_more_artifact_and_changes_no_byte(root, store, add):
    add()
    before = stored_bytes(root / "artifacts")
    add(DAY + timedelta(days=1), at=NOON + timedelta(days=1))
    after = stored_bytes(root / "artifacts")
    assert {path: after[path] for path in before} == before
    assert len(list(store.refs("feature_snapshot"))) == 2


def test_equal_snapshots_are_one_artifact(store, add):
    assert add() == add()
    assert len(list(store.refs("feature_snapshot"))) == 1


def test_writers_side_by_side_lose_nothing(root, provenance):
    def work(number: int) -> None:
        # A store of its own, as another process has.
        store = FeatureStore(ArtifactStore(root, clock=FixedClock(NOON)))
        for step in range(4):
            at = NOON + timedelta(days=step, seconds=number // 2)
            day = DAY + timedelta(days=step)
            store.add(snapshot(day, at=at, value=float(number // 2)), provenance())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    store = ArtifactStore(root, clock=FixedClock(NOON))
    found = FeatureStore(store).snapshots()
    # Eight writers, two and two with the same content.
    assert len(found) == 4 * 4
    assert all(store.faults(item.ref) == [] for item in found)
    assert not list((root / "artifacts" / ".tmp").iterdir())


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"set_id": "cd" * 32}, "set_id"),
        ({"set_version": "2"}, "set_version"),
        ({"dataset": "world-2"}, "dataset"),
    ],
)
def test_what_is_not_the_same_thing_is_never_mixed(features, add, change, name):
    add()
    add(at=NOON + timedelta(hours=1), **change)
    late = NOON + timedelta(hours=1)
    with pytest.raises(SchemaMismatchError, match=f"one {name}"):
        features.read(ask(late))
    assert len(features.read(ask(late, **change))) == 2
    # At an instant when only one of them was known there is nothing to mix.
    assert len(features.read(ask(NOON))) == 2


def test_another_set_is_not_seen(features, add):
    add(set_name="other")
    with pytest.raises(EmptyDataError):
        features.read(ask())


def test_a_local_time_is_no_instant():
    with pytest.raises(DataError, match="as_of"):
        ask(datetime(2024, 3, 5, 12))  # noqa: DTZ001


def test_features_cannot_be_known_before_their_session():
    with pytest.raises(LookAheadError, match="computed_at"):
        snapshot(at=datetime(2024, 3, 3, 23, tzinfo=UTC))


def test_columns_are_those_of_the_header(features, provenance):
    made = snapshot()
    for rows in (made.rows.drop(columns="vol"), made.rows[made.rows.columns[::-1]]):
        with pytest.raises(SchemaMismatchError, match="feature snapshot"):
            features.add(FeatureSnapshot(made.header, rows), provenance())


def test_changed_bytes_are_refused(store, features, add):
    path = store.path(add()) / "payload" / "features_2024-03-04.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(IntegrityError):
        features.read(ask())


def test_the_drift_table_keeps_unknown_alarms_apart(store, provenance):
    table = pd.DataFrame(
        {
            "feature": ["mom", "vol"],
            "psi": [0.1, np.nan],
            "ks": [0.2, np.nan],
            "mean_shift_sd": [1.0, np.nan],
            "is_alarm": [True, False],
            "first_alarm": pd.to_datetime(["2024-03-04", None]).astype("datetime64[us]"),
            "missing_then": [0.0, 1.0],
            "missing_now": [0.0, 1.0],
            "flagged_now": [0.0, np.nan],
            "n_then": [10, 0],
            "n_now": [5, 0],
        }
    )
    ref = store.write(FEATURE_DRIFT, Bundle({"drift": table}, {"facts": {}}), provenance())
    again = store.read(FEATURE_DRIFT, ref).tables["drift"]
    assert again["first_alarm"].isna().tolist() == [False, True]
    assert again["psi"].tolist()[0] == 0.1
