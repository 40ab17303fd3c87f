"""The one as-of join: what was known at each time, and how stale it was."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from quant_engine.core.errors import LookAheadError, MissingFieldError

KNOWN_TS = "known_ts"
EVENT_TS = "event_ts"


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
    the latest ``event_ts`` (where that column exists) wins, then the last in file order.

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
        `left` in its order with the columns of `right` added and ``staleness`` (Timedelta,
        NaT = nothing was known).

    Raises
    ------
    MissingFieldError
        When a time or key column is absent.
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
    order = [right_ts, *([EVENT_TS] if EVENT_TS in right else [])]
    facts = right.sort_values(order, kind="stable").dropna(subset=[right_ts])
    stamped = left.assign(_row=range(len(left))).sort_values(left_ts, kind="stable")
    facts = facts.assign(_fact_ts=facts[right_ts])
    joined = pd.merge_asof(
        stamped,
        facts.drop(columns=[right_ts]) if right_ts == left_ts else facts,
        left_on=left_ts,
        right_on="_fact_ts",
        by=keys or None,
        direction="backward",
        tolerance=tolerance,
    )
    joined["staleness"] = joined[left_ts] - joined["_fact_ts"]
    joined = joined.sort_values("_row").drop(columns=["_row", "_fact_ts"])
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
