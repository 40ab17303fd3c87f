"""Delisting tables: alignment, assumptions where the return is unknown, errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.errors import DataError, SchemaMismatchError
from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.execution import TerminalReturns, parse_delistings
from quant_engine.execution.delistings import NEVER

pytestmark = pytest.mark.feature("Q-34")
IDS = ("A@US#1", "B@US#1", "C@US#1", "D@US#1")


@pytest.fixture
def panel():
    axis = TimeAxis.sessions(["2020-01-02", "2020-01-03", "2020-01-06"])
    return Panel(axis, IDS, {"close": np.ones((3, 4))})


def test_known_returns_win_and_reasons_decide_the_rest(panel):
    table = pd.DataFrame(
        {
            "asset_id": ["A@US#1", "B@US#1", "C@US#1", "ELSE@US#1"],
            "session": ["2020-01-03", "2020-01-04", "2020-01-06", "2020-01-03"],
            "terminal_return": [-0.8, np.nan, np.nan, 0.0],
            "reason": ["bankruptcy", "Merger", "performance", "merger"],
        }
    )
    parsed = parse_delistings(table, panel, TerminalReturns(unknown_frac=-0.4, merger_frac=0.01))
    # 2020-01-04 is a Saturday: the first session on or after it is row 2.
    assert parsed.first_row.tolist() == [1, 2, 2, NEVER]
    assert parsed.terminal_return_frac == pytest.approx([-0.8, 0.01, -0.4, np.nan], nan_ok=True)


def test_the_first_of_several_rows_counts_whatever_their_order(panel):
    table = pd.DataFrame(
        {"asset_id": ["A@US#1"] * 2, "session": ["2020-01-06", "2020-01-02"], "reason": "x"}
    )
    for frame in (table, table.iloc[::-1]):
        assert parse_delistings(frame, panel, TerminalReturns()).first_row[0] == 0


def test_no_table_means_no_delisting(panel):
    for nothing in (None, pd.DataFrame(columns=["asset_id", "session"])):
        assert (parse_delistings(nothing, panel, TerminalReturns()).first_row == NEVER).all()


def test_unusable_tables_are_refused(panel):
    with pytest.raises(SchemaMismatchError, match="asset_id and session"):
        parse_delistings(pd.DataFrame({"asset_id": ["A@US#1"]}), panel, TerminalReturns())
    percent = pd.DataFrame(
        {"asset_id": ["A@US#1"], "session": ["2020-01-03"], "terminal_return": [-30.0]}
    )
    with pytest.raises(DataError, match="percent"):
        parse_delistings(percent, panel, TerminalReturns())
