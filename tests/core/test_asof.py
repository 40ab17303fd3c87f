"""As-of join: what was known at each decision, against a plain loop."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.asof import asof_join
from quant_engine.core.errors import (
    DataError,
    LookAheadError,
    MissingFieldError,
    SchemaMismatchError,
)

DAY = pd.Timedelta(days=1)


def stamp(day: int) -> pd.Timestamp:
    return pd.Timestamp("2020-01-01") + day * DAY


def naive_join(left: pd.DataFrame, right: pd.DataFrame, tolerance: pd.Timedelta | None):
    """For each decision, walk over all facts and keep the best one known by then."""
    found = []
    for _, decision in left.iterrows():
        best = None
        for position, fact in enumerate(right.itertuples()):
            if fact.asset_id != decision["asset_id"] or pd.isna(fact.known_ts):
                continue
            age = decision["ts"] - fact.known_ts
            if age < pd.Timedelta(0) or (tolerance is not None and age > tolerance):
                continue
            key = (fact.known_ts, fact.event_ts, position)
            if best is None or key > best[0]:
                best = (key, fact.value, age)
        found.append((np.nan, pd.NaT) if best is None else best[1:])
    return found


@st.composite
def decisions_and_facts(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_left, n_right = draw(st.integers(1, 8)), draw(st.integers(0, 12))
    left = pd.DataFrame(
        {
            "asset_id": rng.choice(["A", "B"], n_left),
            "ts": pd.to_datetime([stamp(int(d)) for d in rng.integers(0, 12, n_left)]),
        },
        index=rng.permutation(n_left) + 100,
    )
    event = rng.integers(-5, 12, n_right)
    known = event + rng.integers(0, 4, n_right)
    right = pd.DataFrame(
        {
            "asset_id": pd.Series(rng.choice(["A", "B", "C"], n_right), dtype="str"),
            "event_ts": pd.Series([stamp(int(d)) for d in event], dtype="datetime64[us]"),
            "known_ts": pd.Series([stamp(int(d)) for d in known], dtype="datetime64[us]"),
            "value": np.arange(n_right, dtype=float),
        }
    )
    right.loc[rng.random(n_right) < 0.1, "known_ts"] = pd.NaT
    tolerance = draw(st.sampled_from([None, 0 * DAY, 2 * DAY]))
    return left, right, tolerance


@settings(deadline=None, max_examples=40)
@given(decisions_and_facts())
def test_equals_the_plain_loop(case):
    left, right, tolerance = case
    joined = asof_join(left, right, by=["asset_id"], left_ts="ts", tolerance=tolerance)
    assert joined.index.tolist() == left.index.tolist()
    assert joined["ts"].tolist() == left["ts"].tolist()
    for row, (value, age) in enumerate(naive_join(left, right, tolerance)):
        got = joined.iloc[row]
        if pd.isna(age):
            assert pd.isna(got["value"])
            assert pd.isna(got["staleness"])
        else:
            assert (got["value"], got["staleness"]) == (value, age)


def frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    left = pd.DataFrame({"asset_id": ["A", "A"], "ts": [stamp(10), stamp(3)]})
    right = pd.DataFrame(
        {
            "asset_id": ["A", "A"],
            "event_ts": [stamp(0), stamp(5)],
            "known_ts": [stamp(2), stamp(9)],
            "eps": [1.0, 2.0],
        }
    )
    return left, right


def test_order_columns_and_inputs_are_kept():
    left, right = frames()
    copies = left.copy(), right.copy()
    joined = asof_join(left, right, by=["asset_id"], left_ts="ts")
    columns = ["asset_id", "ts", "event_ts", "known_ts", "eps", "staleness"]
    assert joined.columns.tolist() == columns
    assert joined["eps"].tolist() == [2.0, 1.0]
    assert joined["staleness"].tolist() == [DAY, DAY]
    pd.testing.assert_frame_equal(left, copies[0])
    pd.testing.assert_frame_equal(right, copies[1])


def test_a_fact_known_at_the_instant_counts_and_one_later_does_not():
    left, right = frames()
    moments = [stamp(2), stamp(2) - DAY / 86_400_000]
    left = pd.DataFrame({"asset_id": ["A", "A"], "ts": moments})
    joined = asof_join(left, right, by=["asset_id"], left_ts="ts")
    assert joined["eps"].iloc[0] == 1.0
    assert np.isnan(joined["eps"].iloc[1])


def test_units_differ_without_rounding_a_fact_into_the_past():
    left = pd.DataFrame({"ts": np.array(["2020-01-02T12:00:00"], dtype="datetime64[s]")})
    known = np.array(["2020-01-02T12:00:00.500", "2020-01-01"], dtype="datetime64[ms]")
    right = pd.DataFrame({"known_ts": known, "value": [2.0, 1.0]})
    joined = asof_join(left, right, by=[], left_ts="ts")
    assert joined["value"].tolist() == [1.0]
    assert joined["ts"].dtype == left["ts"].dtype


def test_instants_work_on_both_sides():
    left, right = frames()
    for frame in (left, right):
        for name in frame.select_dtypes("datetime"):
            frame[name] = frame[name].dt.tz_localize("UTC")
    assert asof_join(left, right, by=["asset_id"], left_ts="ts")["eps"].tolist() == [2.0, 1.0]


def test_the_same_time_column_name_on_both_sides():
    left, right = frames()
    left = left.rename(columns={"ts": "known_ts"})
    joined = asof_join(left, right, by=["asset_id"], left_ts="known_ts")
    assert joined["known_ts"].tolist() == left["known_ts"].tolist()
    assert joined["eps"].tolist() == [2.0, 1.0]


def test_an_unknown_event_time_does_not_win_over_a_known_one():
    left, right = frames()
    right = right.assign(known_ts=stamp(5), event_ts=[stamp(1), pd.NaT])
    assert asof_join(left.iloc[:1], right, by=["asset_id"], left_ts="ts")["eps"].tolist() == [1.0]


@pytest.mark.leakage
def test_a_fact_known_before_it_happened_is_refused():
    left, right = frames()
    right.loc[0, "known_ts"] = right.loc[0, "event_ts"] - DAY
    with pytest.raises(LookAheadError, match="1 rows known before they happened"):
        asof_join(left, right, by=["asset_id"], left_ts="ts")


def test_missing_columns_are_named():
    left, right = frames()
    with pytest.raises(MissingFieldError, match=r"left frame.*'when'"):
        asof_join(left, right, by=["asset_id"], left_ts="when")
    with pytest.raises(MissingFieldError, match=r"right frame.*'known_ts'"):
        asof_join(left, right.drop(columns="known_ts"), by=["asset_id"], left_ts="ts")
    with pytest.raises(MissingFieldError, match="'permno'"):
        asof_join(left, right, by=["permno"], left_ts="ts")


def test_columns_in_both_frames_are_refused_instead_of_renamed():
    left, right = frames()
    with pytest.raises(SchemaMismatchError, match=r"\['eps'\] in both"):
        asof_join(left.assign(eps=0.0), right, by=["asset_id"], left_ts="ts")


def test_sessions_and_instants_are_not_mixed():
    left, right = frames()
    left["ts"] = left["ts"].dt.tz_localize("UTC")
    with pytest.raises(SchemaMismatchError, match="tz-naive dates"):
        asof_join(left, right, by=["asset_id"], left_ts="ts")
    with pytest.raises(SchemaMismatchError, match="datetime64"):
        asof_join(left.assign(ts=["x", "y"]), right, by=["asset_id"], left_ts="ts")


def test_a_decision_without_time_is_refused():
    left, right = frames()
    left.loc[0, "ts"] = pd.NaT
    with pytest.raises(DataError, match="1 rows without one"):
        asof_join(left, right, by=["asset_id"], left_ts="ts")
