"""The detectors that do not need a panel: purge, joins, fills, processes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.errors import (
    DataError,
    InsufficientObservationError,
    MissingFieldError,
    SchemaMismatchError,
)
from quant_engine.testing.fills import audit_fill_times
from quant_engine.testing.joins import Join, audit_join
from quant_engine.testing.leaks import LEAKS
from quant_engine.testing.processes import NULL_LIMIT, null_z
from quant_engine.testing.purge import audit_splits, overlapping
from quant_engine.testing.redraws import Facts
from quant_engine.testing.results import Verdict

pytestmark = [pytest.mark.leakage, pytest.mark.feature("Q-47")]


def overlapping_by_pairs(start, end, train, test):
    """Every training row against every test row."""
    return sorted(
        int(i) for i in train if any(start[i] <= end[j] and end[i] >= start[j] for j in test)
    )


class TestPurge:
    @pytest.mark.parametrize("seed", range(25))
    def test_the_same_rows_as_by_pairs(self, seed):
        rng = np.random.default_rng(seed)
        start = rng.integers(0, 60, 80)
        end = start + rng.integers(0, 15, 80)
        rows = rng.permutation(80)
        train, test = rows[:50], rows[50 : 50 + rng.integers(1, 30)]
        found = overlapping(start, end, train=train, test=test)
        assert found.tolist() == overlapping_by_pairs(start, end, train, test)

    def test_nothing_to_compare(self):
        empty = np.empty(0, dtype=np.int64)
        row = np.array([0])
        assert overlapping(row, row, train=empty, test=row).size == 0
        assert overlapping(row, row, train=row, test=empty).size == 0

    def test_touching_counts(self):
        start = np.array([0, 3])
        (row,) = audit_splits(start, np.array([3, 5]), [(np.array([0]), np.array([1]))])
        assert row.verdict is Verdict.LEAKS
        (row,) = audit_splits(start, np.array([2, 5]), [(np.array([0]), np.array([1]))])
        assert row.verdict is Verdict.CLEAN

    def test_a_row_without_an_interval_is_refused(self):
        days = np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[D]")
        ends = np.array(["2020-01-01", "NaT"], dtype="datetime64[D]")
        with pytest.raises(DataError, match="no end yet"):
            audit_splits(days, ends, [(np.array([0]), np.array([1]))])


class TestJoins:
    def test_decisions_without_a_time_are_refused(self):
        facts = Facts(pd.DataFrame({"known_ts": pd.to_datetime(["2020-01-01"])}))
        with pytest.raises(MissingFieldError, match="decision_ts"):
            audit_join(Join(lambda left, right: left, pd.DataFrame({"x": [1]}), facts), seed=0)

    def test_the_contract_is_checked_where_the_times_are_carried(self):
        """A join that is right by luck of the data, and says itself that it is not."""
        days = pd.date_range("2020-01-01", periods=8, unit="us")
        decisions = pd.DataFrame({"decision_ts": days})
        facts = Facts(pd.DataFrame({"known_ts": days, "x": np.ones(8)}))

        def ahead(left, right):
            shifted = right["known_ts"].shift(-1).fillna(right["known_ts"])
            return left.assign(known_ts=shifted, x=1.0)

        rows = {row.field: row for row in audit_join(Join(ahead, decisions, facts), seed=0)}
        (finding, *_) = rows["join.known_ts"].findings
        assert finding.cause == "joined too early"
        assert rows["join.x"].verdict is Verdict.CLEAN


class TestFills:
    def test_unfilled_decisions_are_passed_over(self):
        days = np.array(["2020-01-02", "2020-01-03"], dtype="datetime64[D]")
        row = audit_fill_times(days, np.array(["2020-01-03", "NaT"], dtype="datetime64[D]"))
        assert row.verdict is Verdict.CLEAN
        assert row.n_values == 1

    def test_lengths_have_to_agree(self):
        day = np.array(["2020-01-02"], dtype="datetime64[D]")
        with pytest.raises(SchemaMismatchError, match="one time per decision"):
            audit_fill_times(day, np.repeat(day, 2))


class TestNullWorlds:
    def test_the_z_of_a_clean_process_is_standard_normal(self):
        """Twenty audits of forty worlds: mean 0, deviation 1, as far as twenty can tell."""

        def fit(x, y, train, test):
            return x[test] @ np.linalg.lstsq(x[train], y[train], rcond=None)[0]

        z = np.array([null_z(fit, seed=seed, shape=(90, 2)) for seed in range(20)])
        assert abs(z.mean()) < 3 / np.sqrt(20)
        assert 0.5 < z.std(ddof=1) < 1.7
        assert np.abs(z).max() < NULL_LIMIT

    def test_a_leak_that_gives_the_answers_away_is_far_out(self):
        leak = LEAKS["selection-on-all"]
        assert null_z(leak.leak, seed=0, shape=(150, 60)) > 2 * NULL_LIMIT

    def test_a_process_that_never_varies_proves_nothing(self):
        with pytest.raises(InsufficientObservationError, match="ten null worlds"):
            null_z(lambda x, y, train, test: np.zeros(len(test)), seed=0, shape=(30, 2))
