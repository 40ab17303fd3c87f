"""Backtests side by side: whose sessions count."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.workflows.competition import (
    MIN_SESSIONS,
    Competition,
    overfitting,
    trial_statistics,
    varies,
)


def competition(n_sessions: int, first_of_second: int) -> Competition:
    returns = np.random.default_rng(3).normal(0.0, 0.01, (n_sessions, 2))
    # A session of its own without a position is a zero that counts.
    returns[first_of_second + 1] = 0.0
    is_live = np.ones((n_sessions, 2), dtype=bool)
    is_live[:first_of_second, 1] = False
    returns[~is_live] = 0.0
    return Competition(
        refs=tuple(ArtifactRef(kind="backtest_result", id=name) for name in ("a", "b")),
        sessions=pd.bdate_range("2020-01-01", periods=n_sessions),
        returns=returns,
        is_live=is_live,
        lost=(),
    )


def test_ratios_are_compared_on_the_sessions_that_all_have():
    found = competition(MIN_SESSIONS + 100, 100)
    assert found.common.shape == (MIN_SESSIONS, 2)
    assert (found.common[1] == 0.0).all()
    np.testing.assert_array_equal(found.common, found.returns[100:])


def test_families_that_share_too_few_sessions_have_no_effective_number():
    families = {
        "long": competition(MIN_SESSIONS + 10, 10),
        "short": competition(MIN_SESSIONS + 10, 11),
    }
    assert set(trial_statistics(families).returns) == {"long"}


def test_trials_that_never_move_leave_the_effective_number_of_the_others():
    found = competition(MIN_SESSIONS + 10, 10)
    found.returns[10:, 1] = 0.0
    assert found.common.shape == (MIN_SESSIONS, 1)
    assert found.n_common == MIN_SESSIONS
    found.returns[:] = 0.0
    assert trial_statistics({"still": found}).returns == {}


def test_cash_that_differs_by_rounding_alone_never_moves():
    rng = np.random.default_rng(1)
    cash = 1e-4 + rng.choice([0.0, 2.2e-16], 300)
    assert varies(np.stack([cash, rng.normal(0.0, 0.01, 300)], axis=1)).tolist() == [False, True]
    assert varies(np.empty((0, 2))).tolist() == [False, False]


def test_nothing_is_compared_with_itself():
    returns = np.random.default_rng(2).normal(0.0, 0.01, (300, 2))
    returns[:, 1] = 0.0
    value, words = overfitting(returns, n_strategies=3)
    assert value is None
    assert words.startswith("1 of 3 books could be compared, of 2 needed; left out: 2")
    assert overfitting(returns[:, :0], n_strategies=1)[0] is None
