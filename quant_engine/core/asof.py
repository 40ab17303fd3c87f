"""The one as-of join: what was known at each time, and how stale it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from quant_engine.core.errors import (
    DataError,
    LookAheadError,
    MissingFieldError,
    SchemaMismatchError,
)

KNOWN_TS = "known_ts"
EVENT_TS = "event_ts"
_UNITS = ("s", "ms", "us", "ns")


def asof_join(
    left: pd.DataFrame,
    right: pd.DataFrame,
    *,
    by: Sequence[str],
    left_ts: str,
    right_ts: str = KNOWN_TS,
    tolerance: pd.Timedelta | None = None,
) -> pd.DataFrame:
    """Attach to each row of `left` the newest row of `right` that was known by then.

    The join runs backward on knowledge time: a row is eligible when
    ``right[right_ts] <= left[left_ts]``. Of several rows known at the same instant the one with
    the latest ``event_ts`` (where that column exists) wins, then the last in file order. A fact
    without a time in `right_ts` is never joined: nobody can say when it was known.

    Parameters
    ----------
    left : DataFrame
        Decisions; column `left_ts` is their time.
    right : DataFrame
        Facts; column `right_ts` says when each could be known. An ``event_ts`` after
        ``known_ts`` is refused: a fact cannot be known before it happened.
    by : sequence of str
        Key columns that must be equal, such as ``["asset_id"]``; may be empty.
    left_ts, right_ts : str
        Names of the time columns.
    tolerance : Timedelta, optional
        Greatest age of a fact; older ones count as absent.

    Returns
    -------
    DataFrame
        `left` in its order with the columns of `right` added (without `right_ts` where `left`
        has a column of that name as its time) and ``staleness`` (Timedelta, NaT = nothing was
        known).

    Raises
    ------
    MissingFieldError
        When a time or key column is absent.
    SchemaMismatchError
        When both frames have a column of one name that is no key, or when one frame's times
        are UTC instants and the other's are plain dates.
    DataError
        When a decision has no time.
    LookAheadError
        When a fact is stamped as known before it happened.

    Examples
    --------
    >>> day = pd.to_datetime
    >>> left = pd.DataFrame({"id": ["A"], "ts": [day("2020-03-01")]})
    >>> right = pd.DataFrame({"id": ["A"], "known_ts": [day("2020-02-27")], "eps": [1.5]})
    >>> joined = asof_join(left, right, by=["id"], left_ts="ts")
    >>> float(joined["eps"].iloc[0]), joined["staleness"].iloc[0].days
    (1.5, 3)
    """
    keys = list(by)
    for name, frame, wanted in (("left", left, [*keys, left_ts]), ("right", right, [*keys])):
        _require(name, frame, wanted)
    _require("right", right, [right_ts])
    if EVENT_TS in right and (right[EVENT_TS] > right[right_ts]).any():
        raise LookAheadError(
            "right",
            wanted=f"{EVENT_TS} <= {right_ts} in every row",
            got=f"{int((right[EVENT_TS] > right[right_ts]).sum())} rows known before they happened",
            hint="Correct the publication times of the source.",
        )
    _check_times(left, right, left_ts, right_ts)
    _refuse_shared_columns(left, right, {*keys, left_ts} if left_ts == right_ts else {*keys})
    order = [right_ts, *([EVENT_TS] if EVENT_TS in right else [])]
    # An unknown event time sorts first, so that it never wins over a known one.
    facts = right.sort_values(order, kind="stable", na_position="first").dropna(subset=[right_ts])
    # The finer unit of the two: a coarser one would round a fact to before it was known.
    unit = max(left[left_ts].dt.unit, right[right_ts].dt.unit, key=_UNITS.index)
    facts = facts.assign(_fact_ts=facts[right_ts].dt.as_unit(unit))
    stamped = left.assign(_row=range(len(left)), _when=left[left_ts].dt.as_unit(unit))
    stamped = stamped.sort_values("_when", kind="stable")
    joined = pd.merge_asof(
        stamped,
        facts.drop(columns=[right_ts]) if right_ts == left_ts else facts,
        left_on="_when",
        right_on="_fact_ts",
        by=keys or None,
        direction="backward",
        tolerance=tolerance,
    )
    joined["staleness"] = joined["_when"] - joined["_fact_ts"]
    joined = joined.sort_values("_row").drop(columns=["_row", "_when", "_fact_ts"])
    joined.index = left.index
    return joined


def _require(name: str, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise MissingFieldError(
            f"{name} frame",
            wanted=f"columns {list(columns)}",
            got=f"missing {missing}",
            hint="Rename or add the columns before joining.",
        )


def _check_times(left: pd.DataFrame, right: pd.DataFrame, left_ts: str, right_ts: str) -> None:
    kinds = [
        _time_kind(frame[name], f"{side} {name}")
        for side, frame, name in (("left", left, left_ts), ("right", right, right_ts))
    ]
    if kinds[0] != kinds[1]:
        raise SchemaMismatchError(
            f"{left_ts} and {right_ts}",
            wanted="the same kind of time on both sides",
            got=f"{kinds[0]} and {kinds[1]}",
            hint="Sessions are tz-naive dates, instants are UTC; convert one side.",
        )
    if left[left_ts].isna().any():
        raise DataError(
            f"left {left_ts}",
            wanted="a time in every row",
            got=f"{int(left[left_ts].isna().sum())} rows without one",
            hint="Drop decisions without a time before joining.",
        )


def _time_kind(values: pd.Series[Any], where: str) -> str:
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        return f"instants in {values.dtype.tz}"
    if pd.api.types.is_datetime64_dtype(values.dtype):
        return "tz-naive dates"
    raise SchemaMismatchError(
        where, wanted="datetime64", got=values.dtype, hint="Convert with pd.to_datetime."
    )


def _refuse_shared_columns(left: pd.DataFrame, right: pd.DataFrame, allowed: set[str]) -> None:
    shared = sorted({*left.columns} & {*right.columns} - allowed)
    if shared:
        raise SchemaMismatchError(
            "right frame",
            wanted="columns that the left frame does not have",
            got=f"{shared} in both",
            hint="Rename them, or join by them.",
        )
