"""Purged k-fold, combinatorial, grouped and row-wise walk-forward plans against plain loops."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import (
    GridSearchCV,
    TimeSeriesSplit,
    cross_val_predict,
    cross_val_score,
)

from quant_engine.core.errors import (
    ConfigError,
    DataError,
    EmptyDataError,
    InsufficientHistoryError,
)
from quant_engine.stats.splits import (
    CombinatorialConfig,
    GroupedWalkForwardConfig,
    PurgeConfig,
    PurgedKFoldConfig,
    WalkForwardConfig,
    combinatorial,
    describe,
    grouped_kfold,
    grouped_walk_forward,
    label_spans,
    picture,
    purged_kfold,
    walk_forward,
    walk_forward_rows,
)
from quant_engine.stats.splits.spans import block_edges, clear_of

pytestmark = pytest.mark.feature("Q-26")

EXAMPLES = settings(max_examples=40, deadline=None, derandomize=True)


def sessions(count: int) -> np.ndarray:
    """Weekdays, so that calendar days and positions differ."""
    days = np.arange("2019-01-01", "2025-01-01", dtype="datetime64[D]")
    return days[np.is_busday(days)][:count]


@st.composite
def random_spans(draw, min_sessions=24, max_rows=80):
    """Rows in any order, several per session, label lengths of 0 to 4 sessions."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_sessions = draw(st.integers(min_sessions, 40))
    days = sessions(n_sessions + 10)
    extra = rng.integers(0, n_sessions, draw(st.integers(0, max_rows - n_sessions)))
    at = rng.permutation(np.concatenate((np.arange(n_sessions), extra)))
    length = rng.integers(0, draw(st.integers(0, 4)) + 1, len(at))
    return label_spans(days[at], days[at + length])


def naive_roles(spans, tested_rows, rule):
    """The definition, one row and one tested block at a time."""
    axis = list(spans.sessions)
    embargo = max(rule.embargo_sessions, int(rule.embargo_frac * len(axis) + 1e-9))
    closed = rule.touching == "purged"
    purged, embargoed = set(), set()
    for block in tested_rows:
        first = min(spans.start[row] for row in block)
        last = max(spans.end[row] for row in block)
        behind = [day for day in axis if (day > last if closed else day >= last)]
        for row in range(len(spans)):
            start, end = spans.start[row], spans.end[row]
            before = end < first if closed else end <= first
            after = start > last if closed else start >= last
            if not (before or after):
                purged.add(row)
            elif after and not before and start in behind[:embargo]:
                embargoed.add(row)
    tested = {row for block in tested_rows for row in block}
    train = set(range(len(spans))) - tested - purged - embargoed
    return sorted(train), sorted(purged - tested), sorted(embargoed - purged - tested)


@given(
    random_spans(),
    st.integers(2, 5),
    st.integers(0, 2),
    st.sampled_from(["purged", "allowed"]),
    st.sampled_from(["first", "last"]),
)
@EXAMPLES
def test_kfold_equals_the_plain_loop_and_tests_every_row_once(
    spans, n_splits, embargo, touching, remainder
):
    config = PurgedKFoldConfig(
        n_splits=n_splits, embargo_sessions=embargo, touching=touching, remainder=remainder
    )
    try:
        plan = purged_kfold(spans, config=config)
    except InsufficientHistoryError:
        return
    for split in plan:
        train, purged, embargoed = naive_roles(spans, split.test_blocks, config)
        assert split.train.tolist() == train
        assert split.purged.tolist() == purged
        assert split.embargoed.tolist() == embargoed
    tested = np.concatenate([split.test for split in plan])
    assert sorted(tested.tolist()) == list(range(len(spans)))


@given(random_spans(), st.integers(3, 6), st.integers(1, 4), st.floats(0.0, 0.05))
@EXAMPLES
def test_combinatorial_equals_the_plain_loop_and_tests_every_row_alike(spans, n, k, embargo_frac):
    k = min(k, n - 1)
    config = CombinatorialConfig(n_folds=n, n_test_folds=k, embargo_frac=embargo_frac)
    try:
        plan = combinatorial(spans, config=config)
    except InsufficientHistoryError:
        return
    assert [split.blocks for split in plan] == list(combinations(range(n), k))
    counts = np.zeros(len(spans), dtype=int)
    for split in plan:
        assert split.train.tolist() == naive_roles(spans, split.test_blocks, config)[0]
        counts[split.test] += 1
        for row in split.train:
            for block in split.test_blocks:
                first, last = spans.interval(block)
                assert spans.end[row] < first or spans.start[row] > last
    assert (counts == comb(n - 1, k - 1)).all()


@given(random_spans(), st.integers(0, 2**32 - 1), st.sampled_from(["kfold", "cpcv", "rows"]))
@EXAMPLES
def test_the_order_of_the_rows_does_not_matter(spans, seed, kind):
    order = np.random.default_rng(seed).permutation(len(spans))
    shuffled = spans.take(order)
    plans = []
    for one in (spans, shuffled):
        try:
            plans.append(_plan(kind, one))
        except InsufficientHistoryError:
            plans.append(())
    assert len(plans[0]) == len(plans[1])
    for before, after in zip(*plans, strict=True):
        for part in ("train", "test", "purged", "embargoed"):
            moved = sorted(order[getattr(after, part)].tolist())
            assert moved == getattr(before, part).tolist()


def _plan(kind, spans):
    if kind == "kfold":
        return purged_kfold(spans, config=PurgedKFoldConfig(n_splits=4, embargo_sessions=1))
    if kind == "cpcv":
        return combinatorial(spans, config=CombinatorialConfig(n_folds=5, n_test_folds=2))
    config = WalkForwardConfig(min_train_sessions=8, test_sessions=4, holdout_frac=0.2)
    return walk_forward_rows(spans, config=config)


@given(random_spans(min_sessions=30), st.integers(20, 29), st.booleans())
@EXAMPLES
def test_future_rows_never_change_earlier_walk_forward_splits(spans, keep, rolling):
    known = np.flatnonzero(spans.end <= spans.sessions[keep])
    config = WalkForwardConfig(
        min_train_sessions=6,
        test_sessions=3,
        holdout_frac=0.0,
        embargo_sessions=6,
        mode="rolling" if rolling else "expanding",
        left_over="drop",
    )
    full = walk_forward_rows(spans, config=config)
    part = walk_forward_rows(label_spans(spans.start[known], spans.end[known]), config=config)
    # A session counts as known when all of its labels are over.
    unsettled = spans.position[np.setdiff1d(np.arange(len(spans)), known)]
    first_unsettled = int(unsettled.min()) if len(unsettled) else len(spans.sessions)
    compared = 0
    for before, after in zip(part, full, strict=False):
        if spans.position[after.test].max() < first_unsettled:
            assert known[before.train].tolist() == after.train.tolist()
            assert known[before.test].tolist() == after.test.tolist()
            compared += 1
    assert compared > 0


@given(random_spans(), st.floats(0.1, 0.4))
@EXAMPLES
def test_a_holdout_is_neither_trained_nor_tested_nor_reached(spans, holdout_frac):
    config = PurgedKFoldConfig(n_splits=3, holdout_frac=holdout_frac)
    try:
        plan = purged_kfold(spans, config=config)
    except InsufficientHistoryError:
        return
    begin = spans.start[plan.holdout].min()
    assert (spans.position[plan.holdout] >= 0).all()
    n_held = int(holdout_frac * len(spans.sessions) + 1e-9)
    assert len(np.unique(spans.start[plan.holdout])) == n_held
    for split in plan:
        used = np.concatenate((split.train, split.test))
        assert not np.isin(plan.holdout, used).any()
        assert (spans.end[used] < begin).all()


def test_remainders_against_numpy_and_by_hand():
    for n, k in [(10, 3), (11, 4), (12, 5), (7, 7)]:
        pieces = [len(piece) for piece in np.array_split(np.arange(n), k)]
        assert np.diff(block_edges(n, k, remainder="first")).tolist() == pieces
    assert np.diff(block_edges(12, 5, remainder="last")).tolist() == [2, 2, 2, 2, 4]
    with pytest.raises(InsufficientHistoryError, match="blocks: wanted between 1 and 3"):
        block_edges(3, 4, remainder="first")


def test_a_panel_of_many_assets_has_the_plan_of_one():
    days = sessions(60)
    one = label_spans(days, days + 7)
    many = label_spans(np.tile(days, 20), np.tile(days, 20) + 7)
    config = PurgedKFoldConfig(n_splits=4, embargo_sessions=3)
    for single, wide in zip(
        purged_kfold(one, config=config), purged_kfold(many, config=config), strict=True
    ):
        assert np.unique(wide.train % 60).tolist() == single.train.tolist()
        assert len(wide.train) == 20 * len(single.train)


def test_the_embargo_is_the_larger_of_sessions_and_share():
    rule = PurgeConfig(embargo_sessions=3, embargo_frac=0.1)
    assert (rule.embargo(20), rule.embargo(50)) == (3, 5)
    # 0.07 * 100 is 7.000000000000001 and 0.29 * 100 is 28.999999999999996.
    assert PurgeConfig(embargo_frac=0.07).embargo(100) == 7
    assert PurgeConfig(embargo_frac=0.29).embargo(100) == 29
    spans = label_spans(np.arange(10), np.arange(10) + 1)
    purged, embargoed = clear_of(spans, (3, 4), rule=PurgeConfig(embargo_sessions=2))
    assert (np.flatnonzero(purged).tolist(), np.flatnonzero(embargoed).tolist()) == (
        [2, 3, 4],
        [5, 6],
    )


def test_an_embargo_counts_sessions_without_rows_when_the_axis_is_given():
    axis = np.arange(12)
    start = np.array([0, 1, 2, 3, 8, 9, 10, 11])
    config = PurgedKFoldConfig(n_splits=4, embargo_sessions=3)
    own = purged_kfold(label_spans(start, start), config=config)
    given_axis = purged_kfold(label_spans(start, start, sessions=axis), config=config)
    assert own[0].embargoed.tolist() == [2, 3, 4]
    assert given_axis[0].embargoed.tolist() == [3]


def test_a_plan_is_a_scikit_learn_splitter():
    rng = np.random.default_rng(3)
    days = sessions(60)
    x = rng.standard_normal((60, 2))
    y = x @ np.array([1.0, -1.0]) + 0.1 * rng.standard_normal(60)
    plan = purged_kfold(label_spans(days, days + 3), config=PurgedKFoldConfig(n_splits=4))
    scores = cross_val_score(LinearRegression(), x, y, cv=plan, scoring="r2")
    by_hand = [
        LinearRegression().fit(x[s.train], y[s.train]).score(x[s.test], y[s.test]) for s in plan
    ]
    np.testing.assert_allclose(scores, by_hand, rtol=1e-12)
    assert plan.get_n_splits(x, y) == len(plan) == 4
    assert cross_val_predict(LinearRegression(), x, y, cv=plan).shape == (60,)
    search = GridSearchCV(LinearRegression(), {"fit_intercept": [True, False]}, cv=plan)
    assert search.fit(x, y).n_splits_ == 4
    with pytest.raises(DataError, match="X: wanted the 60 rows that the plan was made for, got 59"):
        next(plan.split(x[:-1]))


@pytest.mark.parametrize(("n", "blocks", "size", "gap"), [(17, 3, 3, 1), (50, 4, None, 0)])
def test_end_anchored_windows_equal_scikit_learn(n, blocks, size, gap):
    day = np.arange(n).astype("datetime64[D]")
    config = WalkForwardConfig.ending_with(n, n_blocks=blocks, test_sessions=size, gap=gap)
    folds = walk_forward(day, day, day + gap, config=config)
    reference = TimeSeriesSplit(n_splits=blocks, gap=gap, test_size=size).split(np.zeros(n))
    for fold, (train, test) in zip(folds, reference, strict=True):
        assert fold.train.tolist() == train.tolist()
        assert fold.test.tolist() == test.tolist()
    with pytest.raises(InsufficientHistoryError, match="blocks of 5 sessions"):
        WalkForwardConfig.ending_with(10, n_blocks=2, test_sessions=5)


def test_left_over_sessions_join_are_dropped_or_make_a_short_block():
    day = np.arange(20).astype("datetime64[D]")

    def tests(left_over):
        config = WalkForwardConfig(
            min_train_sessions=6, test_sessions=5, left_over=left_over, holdout_frac=0.0
        )
        return [fold.test.tolist() for fold in walk_forward(day, day, day, config=config)]

    assert [len(test) for test in tests("join_last")] == [5, 9]
    assert [len(test) for test in tests("drop")] == [5, 5]
    assert [len(test) for test in tests("short_block")] == [5, 5, 4]


def test_a_train_limit_keeps_the_newest_sessions():
    day = np.arange(30).astype("datetime64[D]")
    config = WalkForwardConfig(
        min_train_sessions=5, test_sessions=5, max_train_sessions=8, holdout_frac=0.0
    )
    trains = [fold.train.tolist() for fold in walk_forward(day, day, day, config=config)]
    assert trains[0] == list(range(5))
    assert trains[1] == list(range(2, 10))
    assert config.model_copy(update={"mode": "rolling"}).train_limit == 8


def test_rows_of_a_session_stay_together_in_a_walk_forward():
    days = sessions(40)
    rng = np.random.default_rng(0)
    start = np.repeat(days, 3)
    end = np.repeat(np.arange(40), 3) + rng.integers(0, 3, 120)
    spans = label_spans(start, sessions(50)[end])
    config = WalkForwardConfig(min_train_sessions=10, test_sessions=5, holdout_frac=0.2)
    plan = walk_forward_rows(spans, config=config)
    holdout_from = spans.start[plan.holdout].min()
    for split in plan:
        first = spans.start[split.test].min()
        assert (spans.end[split.train] < first).all()
        assert (spans.end[split.test] < holdout_from).all()
        sides = [set(spans.position[rows].tolist()) for rows in (split.train, split.test)]
        assert not sides[0] & sides[1]


@st.composite
def random_events(draw):
    """Groups of 1 to 4 rows that begin in time order and last a few sessions."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_groups = draw(st.integers(12, 24))
    first = np.sort(rng.integers(0, 5 * n_groups, n_groups))
    size = rng.integers(1, 5, n_groups)
    group = np.repeat(rng.permutation(n_groups), size)
    start = np.repeat(first, size) + rng.integers(0, 4, size.sum())
    order = rng.permutation(len(group))
    return label_spans(start[order], (start + rng.integers(0, 3, size.sum()))[order]), group[order]


@given(random_events(), st.integers(2, 4), st.integers(0, 3))
@EXAMPLES
def test_no_group_is_on_both_sides_of_a_kfold(events, n_splits, embargo):
    spans, groups = events
    config = PurgedKFoldConfig(n_splits=n_splits, embargo_sessions=embargo)
    try:
        plan = grouped_kfold(spans, groups, config=config)
    except InsufficientHistoryError:
        return
    for split in plan:
        assert not set(groups[split.train]) & set(groups[split.test])
        assert split.train.tolist() == naive_roles(spans, split.test_blocks, config)[0]
    tested = np.concatenate([split.test for split in plan])
    assert sorted(tested.tolist()) == list(range(len(spans)))


@given(random_events(), st.integers(1, 6), st.integers(1, 4), st.integers(0, 3), st.booleans())
@EXAMPLES
def test_grouped_walk_forward_equals_the_plain_loop(events, n_train, n_test, embargo, rolling):
    spans, groups = events
    config = GroupedWalkForwardConfig(
        min_train_groups=n_train,
        test_groups=n_test,
        embargo_sessions=embargo,
        mode="rolling" if rolling else "expanding",
        left_over="short_block",
    )
    extent = {
        g: (spans.start[groups == g].min(), spans.end[groups == g].max()) for g in set(groups)
    }
    order = sorted(extent, key=lambda g: (*extent[g], g))
    axis = list(spans.sessions)

    def over(begin):
        """Groups with at least ``embargo`` sessions between their end and ``begin``."""
        return [
            g for g in order if len([d for d in axis if extent[g][1] < d < begin]) >= embargo
            and extent[g][1] < begin
        ]  # fmt: skip

    first = next((i for i, g in enumerate(order) if len(over(extent[g][0])) >= n_train), len(order))
    if len(order) - first < n_test:
        with pytest.raises(InsufficientHistoryError, match="groups: wanted"):
            grouped_walk_forward(spans, groups, config=config)
        return
    plan = grouped_walk_forward(spans, groups, config=config)
    for number, split in enumerate(plan):
        block = order[first + number * n_test : first + (number + 1) * n_test]
        known = over(extent[block[0]][0])
        known = known[-n_train:] if rolling else known
        assert set(groups[split.test]) == set(block)
        assert set(groups[split.train]) == set(known)
        assert (spans.end[split.train] < spans.start[split.test].min()).all()


def test_a_group_that_reaches_into_the_holdout_leaves_development():
    start = np.arange(20)
    groups = np.repeat(np.arange(10), 2)
    groups[[15, 16]] = 99
    config = PurgedKFoldConfig(n_splits=3, holdout_frac=0.2)
    plan = grouped_kfold(label_spans(start, start), groups, config=config)
    assert plan.holdout.tolist() == [16, 17, 18, 19]
    for split in plan:
        assert 15 in split.purged
        assert 15 not in np.concatenate((split.train, split.test))


def test_events_of_a_kind_may_ask_for_a_longer_purge():
    day = np.arange("2024-01-01", "2024-04-10", dtype="datetime64[D]")
    kind = np.arange(100) % 2
    spans = label_spans(day, day).extended(np.where(kind == 0, 14, 21).astype("timedelta64[D]"))
    split = purged_kfold(spans, config=PurgedKFoldConfig(n_splits=4))[1]
    first = int(split.test[0])
    for number, purge_days in ((0, 14), (1, 21)):
        before = [row for row in split.train if row < first and kind[row] == number]
        wanted = [row for row in range(first) if kind[row] == number and row + purge_days < first]
        assert before == wanted


def test_a_group_that_lasts_for_ever_leaves_nothing_to_train_on():
    start = np.tile(np.arange(10), 2)
    groups = np.repeat([0, 1], 10)
    config = PurgedKFoldConfig(n_splits=2)
    with pytest.raises(InsufficientHistoryError, match="split 1: wanted rows to train on"):
        grouped_kfold(label_spans(start, start), groups, config=config)


def test_what_cannot_be_planned_is_refused_by_name():
    day = sessions(10)
    with pytest.raises(EmptyDataError, match="start: wanted at least one labelled row"):
        label_spans(day[:0], day[:0])
    with pytest.raises(DataError, match="end: wanted start <= end"):
        label_spans(day, day[::-1])
    with pytest.raises(DataError, match="end: wanted 10 values"):
        label_spans(day, day[:-1])
    with pytest.raises(DataError, match="start: wanted one-dimensional datetime64"):
        label_spans(np.arange(3.0), np.arange(3.0))
    missing = day.copy()
    missing[2] = np.datetime64("NaT")
    with pytest.raises(DataError, match="a time in every row, got 1 NaT"):
        label_spans(missing, day)
    with pytest.raises(DataError, match="sessions: wanted strictly increasing"):
        label_spans(day, day, sessions=day[::-1])
    with pytest.raises(DataError, match="got 1 starts that are not on it"):
        label_spans(day, day, sessions=day[1:])
    spans = label_spans(day, day)
    with pytest.raises(DataError, match="groups: wanted shape"):
        grouped_kfold(spans, np.zeros(3))
    with pytest.raises(InsufficientHistoryError, match="blocks"):
        purged_kfold(spans, config=PurgedKFoldConfig(n_splits=11))
    with pytest.raises(InsufficientHistoryError, match="split 1: wanted rows to train on"):
        purged_kfold(label_spans(day, day + 100), config=PurgedKFoldConfig(n_splits=2))
    with pytest.raises(ConfigError, match=r"at most 100000 splits, got C\(40, 20\)"):
        combinatorial(spans, config=CombinatorialConfig(n_folds=40, n_test_folds=20))
    with pytest.raises(ValidationError, match="must be below 3 folds"):
        CombinatorialConfig(n_folds=3, n_test_folds=3)


def test_a_picture_of_every_kind_of_plan():
    spans = label_spans(np.arange(12), np.arange(12) + 1)
    config = CombinatorialConfig(n_folds=4, n_test_folds=2, embargo_sessions=1)
    assert picture(combinatorial(spans, config=config)).splitlines()[2] == (
        "    2     1      3       2    6 |TTTxexTTTxe#|"
    )
    wide = label_spans(np.arange(400), np.arange(400))
    drawing = picture(purged_kfold(wide)).splitlines()
    assert "one column = 5 sessions" in drawing[0]
    assert drawing[1].endswith("|" + "T" * 16 + "#" * 64 + "|")


def test_a_table_of_a_plan_and_of_folds():
    days = sessions(20)
    table = describe(purged_kfold(label_spans(days, days), config=PurgedKFoldConfig(n_splits=2)))
    assert table["test_first"].tolist() == [days[0], days[10]]
    assert table[["train", "test"]].to_numpy().tolist() == [[10, 10], [10, 10]]
    config = WalkForwardConfig(min_train_sessions=5, test_sessions=5, holdout_frac=0.2)
    folds = walk_forward(days, days, days, config=config)
    rows = describe(folds)
    assert rows["name"].tolist() == ["1", "2", "H"]
    assert rows["train_last"].tolist() == [days[4], days[9], days[15]]
    with pytest.raises(DataError, match="folds: wanted at least one fold"):
        describe([])


def test_equal_plans_share_an_id():
    spans = label_spans(np.arange(12), np.arange(12) + 1)
    first = purged_kfold(spans, config=PurgedKFoldConfig(n_splits=3))
    again = purged_kfold(spans, config=PurgedKFoldConfig(n_splits=3))
    other = purged_kfold(spans, config=PurgedKFoldConfig(n_splits=3, embargo_sessions=1))
    assert first.plan_id() == again.plan_id() != other.plan_id()
    assert first.convention == "closed spans, embargo 0 sessions, remainder first"
