"""Walk-forward plans: no train label span touches the test span, whatever the labels look like."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.splits import (
    Fold,
    WalkForwardConfig,
    label_horizon,
    picture,
    walk_forward,
)

pytestmark = pytest.mark.feature("Q-26")

NAT = np.datetime64("NaT", "D")


def weekdays(count: int) -> np.ndarray:
    """Sessions with weekend gaps, so that calendar days and positions differ."""
    days = np.arange("2015-01-01", "2035-01-01", dtype="datetime64[D]")
    return days[np.is_busday(days)][:count]


def shifted_spans(
    days: np.ndarray, horizon: int, entry_lag: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Spans [t + lag, t + lag + horizon] in sessions, NaT where they run past the data."""
    start = np.full(len(days), NAT)
    end = np.full(len(days), NAT)
    usable = max(0, len(days) - entry_lag - horizon)
    start[:usable] = days[entry_lag : entry_lag + usable]
    end[:usable] = days[entry_lag + horizon : entry_lag + horizon + usable]
    return start, end


def touching_train_rows(fold: Fold, start: np.ndarray, end: np.ndarray) -> list[int]:
    """Plain loop: train rows whose closed span shares a date with any test row's closed reach."""
    touching = []
    for row in fold.train:
        for other in fold.test:
            first = fold.test_window[0]
            last = end[other] if not np.isnat(end[other]) else fold.test_window[1]
            if start[row] <= last and end[row] >= first:
                touching.append(int(row))
                break
    return touching


@st.composite
def random_plans(draw):
    """Irregular spans, as triple barriers give them, with holes and every configuration."""
    n = draw(st.integers(12, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    max_length = draw(st.integers(0, 6))
    days = weekdays(n + 20)
    lag = rng.integers(0, 3, n)
    length = rng.integers(0, max_length + 1, n)
    first = np.arange(n) + lag
    start, end = days[first].copy(), days[first + length].copy()
    absent = (rng.random(n) < draw(st.sampled_from([0.0, 0.2]))) | (first + length >= n)
    start[absent] = end[absent] = NAT
    config = WalkForwardConfig(
        min_train_sessions=draw(st.integers(1, 12)),
        test_sessions=draw(st.integers(1, 8)),
        embargo_sessions=draw(st.sampled_from([None, max_length, max_length + 3])),
        mode=draw(st.sampled_from(["expanding", "rolling"])),
        holdout_frac=draw(st.sampled_from([0.0, 0.15, 0.3])),
    )
    return days[:n], start, end, config


@given(random_plans())
@settings(max_examples=150, deadline=None)
def test_no_train_label_span_touches_the_test_span(plan):
    days, start, end, config = plan
    try:
        folds = walk_forward(days, start, end, config=config)
    except InsufficientHistoryError:
        return
    gap = label_horizon(days, start, end)
    gap = gap if config.embargo_sessions is None else config.embargo_sessions
    for fold in folds:
        assert touching_train_rows(fold, start, end) == []
        assert fold.test[0] - fold.train[-1] > gap
        assert not np.isnat(end[fold.train]).any()
        assert len(fold.train) >= config.min_train_sessions
        if config.mode == "rolling":
            assert len(fold.train) == config.min_train_sessions


@given(random_plans())
@settings(max_examples=60, deadline=None)
def test_test_blocks_tile_the_sessions_after_the_first_train_window(plan):
    days, start, end, config = plan
    try:
        folds = walk_forward(days, start, end, config=config)
    except InsufficientHistoryError:
        return
    covered = np.concatenate([fold.test for fold in folds])
    assert covered.tolist() == list(range(int(covered[0]), len(days)))
    development = [fold for fold in folds if not fold.is_holdout]
    assert all(len(fold.test) == config.test_sessions for fold in development[:-1])
    assert config.test_sessions <= len(development[-1].test) < 2 * config.test_sessions
    assert [fold.number for fold in folds] == list(range(1, len(folds) + 1))


def naive_train(days, start, end, *, first_test: int, embargo: int) -> list[int]:
    """The definition, one row at a time."""
    rows = []
    for row in range(first_test):
        ended = not np.isnat(end[row]) and end[row] < days[first_test]
        if ended and row < first_test - embargo:
            rows.append(row)
    return rows


@pytest.mark.parametrize(("horizon", "embargo"), [(0, 0), (5, None), (5, 12), (20, 20)])
def test_train_rows_equal_the_plain_loop(horizon, embargo):
    days = weekdays(200)
    start, end = shifted_spans(days, horizon)
    config = WalkForwardConfig(min_train_sessions=60, test_sessions=21, embargo_sessions=embargo)
    for fold in walk_forward(days, start, end, config=config):
        wanted = naive_train(
            days,
            start,
            end,
            first_test=int(fold.test[0]),
            embargo=horizon if embargo is None else embargo,
        )
        assert fold.train.tolist() == wanted


def test_touching_intervals_count_as_overlap():
    days = weekdays(40)
    start, end = shifted_spans(days, horizon=3)
    config = WalkForwardConfig(min_train_sessions=10, test_sessions=10, holdout_frac=0.0)
    fold = walk_forward(days, start, end, config=config)[0]
    last = fold.train[-1]
    # The next row is outside the embargo (4 sessions before the block, 3 embargoed): its label ends
    # on the first test session itself, and that shared session alone keeps it out.
    assert end[last] < days[fold.test[0]]
    assert end[last + 1] == days[fold.test[0]]


def test_holdout_is_the_last_share_and_development_scores_end_before_it():
    days = weekdays(300)
    start, end = shifted_spans(days, horizon=10)
    config = WalkForwardConfig(min_train_sessions=100, test_sessions=40)
    folds = walk_forward(days, start, end, config=config)
    assert [fold.is_holdout for fold in folds] == [False] * (len(folds) - 1) + [True]
    holdout = folds[-1]
    assert len(holdout.test) == 45
    assert holdout.test[-1] == 299
    for fold in folds[:-1]:
        assert (end[fold.scored] < holdout.test_window[0]).all()
        unscored = np.setdiff1d(fold.test, fold.scored)
        assert (end[unscored] >= holdout.test_window[0]).all()
    assert not np.isnat(end[holdout.scored]).any()
    assert np.isnat(end[np.setdiff1d(holdout.test, holdout.scored)]).all()


def test_a_small_holdout_share_of_few_sessions_gives_no_holdout():
    days = weekdays(30)
    config = WalkForwardConfig(min_train_sessions=5, test_sessions=5, holdout_frac=0.01)
    folds = walk_forward(days, days, days, config=config)
    assert not any(fold.is_holdout for fold in folds)
    assert folds[-1].test[-1] == 29


def test_early_folds_do_not_change_when_sessions_are_appended():
    config = WalkForwardConfig(min_train_sessions=50, test_sessions=20)
    short, long = weekdays(200), weekdays(320)
    first = walk_forward(short, *shifted_spans(short, 5), config=config)
    second = walk_forward(long, *shifted_spans(long, 5), config=config)
    for before, after in zip(first[:-2], second, strict=False):
        assert before.train.tolist() == after.train.tolist()
        assert before.test.tolist() == after.test.tolist()


def test_too_few_sessions_names_the_number_that_is_needed():
    config = WalkForwardConfig()
    days = weekdays(300)
    with pytest.raises(InsufficientHistoryError) as caught:
        walk_forward(days, *shifted_spans(days, 10), config=config)
    needed = int(caught.value.wanted.split()[1])
    assert caught.value.got == 300
    enough, short = weekdays(needed), weekdays(needed - 1)
    assert len(walk_forward(enough, *shifted_spans(enough, 10), config=config)) == 2
    with pytest.raises(InsufficientHistoryError):
        walk_forward(short, *shifted_spans(short, 10), config=config)


def test_fewer_labels_than_the_first_window_is_insufficient_history():
    days = weekdays(40)
    with pytest.raises(InsufficientHistoryError, match="at least 252 labelled sessions"):
        walk_forward(days, *shifted_spans(days, 5), config=WalkForwardConfig())
    empty = np.full(40, NAT)
    with pytest.raises(InsufficientHistoryError):
        walk_forward(days, empty, empty, config=WalkForwardConfig())


def test_an_embargo_shorter_than_the_label_is_refused():
    days = weekdays(400)
    config = WalkForwardConfig(embargo_sessions=4)
    with pytest.raises(ConfigError, match=r"embargo_sessions: wanted >= 5"):
        walk_forward(days, *shifted_spans(days, 5), config=config)


def test_malformed_spans_are_refused_with_the_parameter_name():
    days = weekdays(20)
    config = WalkForwardConfig(min_train_sessions=3, test_sessions=3)
    with pytest.raises(DataError, match="sessions: wanted strictly increasing"):
        walk_forward(days[::-1], days, days, config=config)
    with pytest.raises(DataError, match="span_end: wanted 20 values"):
        walk_forward(days, days, days[:-1], config=config)
    with pytest.raises(DataError, match="span_start: wanted a one-dimensional datetime64"):
        walk_forward(days, np.arange(20), days, config=config)
    with pytest.raises(DataError, match="span_start <= span_end"):
        walk_forward(days, days + 1, days, config=config)
    half = days.copy()
    half[4] = NAT
    with pytest.raises(DataError, match="NaT in both"):
        walk_forward(days, half, days, config=config)
    with pytest.raises(DataError, match="folds: wanted at least one fold"):
        picture([])


def test_bar_instants_split_like_sessions():
    bars = np.datetime64("2024-01-01T00:05", "us") + np.arange(100) * np.timedelta64(5, "m")
    config = WalkForwardConfig(min_train_sessions=20, test_sessions=10)
    spans = bars + np.timedelta64(5, "m"), bars + np.timedelta64(15, "m")
    folds = walk_forward(bars, *spans, config=config)
    assert all(touching_train_rows(fold, *spans) == [] for fold in folds)


def test_wide_plans_share_columns():
    days = weekdays(1000)
    drawing = picture(walk_forward(days, *shifted_spans(days, 10), config=WalkForwardConfig()))
    assert "one column = 13 sessions" in drawing
    assert max(len(line) for line in drawing.splitlines()) <= 104
