"""D4, joins: nothing is read before it was known, nor after it expired, whatever the vintage.

Two proofs of one join:

* the contract: where the joined table carries the time a value was known, it is not after the
  decision; where it carries the time until which the value holds, it is not before the decision;
* the vintage swap: facts that became known after a cut are dropped, moved and restated
  (:func:`~quant_engine.testing.redraws.redraw_facts`); what decisions up to the cut got must keep
  its bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant_engine.core.asof import KNOWN_TS
from quant_engine.core.causality import Causality
from quant_engine.core.errors import MissingFieldError
from quant_engine.testing.findings import Detector, Finding
from quant_engine.testing.redraws import Facts, redraw_facts
from quant_engine.testing.results import AuditRow

__all__ = ["Join", "audit_join"]

N_CUTS = 4


@dataclass(frozen=True, eq=False)
class Join:
    """What is audited: a join of facts to decisions.

    Parameters
    ----------
    attach : callable
        ``attach(decisions, facts)`` returns one row per decision, in their order.
    decisions : DataFrame
        With the column `decided`.
    facts : Facts
        With the time each fact was known; that time is the truth of the audit, also where the join
        reads another column.
    decided : str
        Column of `decisions`: when each decision is made.
    known, until : str
        Columns of the result with the time its values were known, and until when they hold.
        Without them the contract is not checked, the vintage swap still is.
    """

    attach: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]
    decisions: pd.DataFrame
    facts: Facts
    decided: str = "decision_ts"
    known: str = KNOWN_TS
    until: str = "valid_until"


def audit_join(join: Join, *, seed: int, name: str = "join") -> tuple[AuditRow, ...]:
    """Prove that a join reads only what was known and still held.

    Parameters
    ----------
    join : Join
        What is audited.
    seed : int
        Seed of cuts and redrawn facts.
    name : str
        For reports.

    Returns
    -------
    tuple of AuditRow
        One per column that the join adds.

    Raises
    ------
    MissingFieldError
        When the decisions have no time.

    Examples
    --------
    >>> days = pd.date_range("2020-01-01", periods=40, unit="us")
    >>> decisions = pd.DataFrame({"decision_ts": days})
    >>> reports = pd.DataFrame({"known_ts": days[::4] + pd.Timedelta(days=3), "period": days[::4],
    ...                         "eps": np.arange(10.0)})
    >>> def by_period(left, right):
    ...     return pd.merge_asof(left, right.sort_values("period"), left_on="decision_ts",
    ...                          right_on="period")
    >>> rows = audit_join(Join(by_period, decisions, Facts(reports)), seed=1)
    >>> {row.field: str(row.verdict) for row in rows}["join.eps"]
    'leaks'
    """
    if join.decided not in join.decisions:
        raise MissingFieldError(
            "decisions",
            wanted=f"column {join.decided!r}",
            got=list(join.decisions.columns),
            hint="Name the column with decided=.",
        )
    joined = join.attach(join.decisions, join.facts.frame).reset_index(drop=True)
    times = join.decisions[join.decided].reset_index(drop=True)
    added = [column for column in joined.columns if column not in join.decisions.columns]
    found: dict[str, list[Finding]] = {column: [] for column in added}
    _check_contract(join, joined, times, found)
    rng = np.random.default_rng(seed)
    unique = np.unique(times)
    room = unique[len(unique) // 4 : -1]
    for number, cut in enumerate(rng.choice(room, min(N_CUTS, len(room)), replace=False)):
        stamp = np.datetime64(pd.Timestamp(cut).tz_localize(None), "us")
        swapped = redraw_facts(join.facts, after=stamp, seed=seed + number)
        other = join.attach(join.decisions, swapped).reset_index(drop=True)
        past = (times <= pd.Timestamp(cut)).to_numpy()
        for column in added:
            _swap_differs(joined[column][past], other[column][past], times, cut, found[column])
    return tuple(
        AuditRow(f"{name}.{column}", Causality.CAUSAL, int(joined[column].notna().sum()), tuple(f))
        for column, f in found.items()
    )


def _check_contract(
    join: Join,
    joined: pd.DataFrame,
    times: pd.Series[pd.Timestamp],
    found: dict[str, list[Finding]],
) -> None:
    rules = (
        (join.known, lambda limit: limit > times, "known before the decision", "joined too early"),
        (join.until, lambda limit: limit < times, "still valid at the decision", "stale value"),
    )
    for column, is_broken, wanted, cause in rules:
        if column not in joined:
            continue
        broken = np.flatnonzero(is_broken(joined[column]).to_numpy())
        if len(broken):
            row = int(broken[0])
            finding = Finding(
                detector=Detector.JOIN,
                field=column,
                row=str(times[row]),
                asset="",
                cut=str(times[row]),
                before=wanted,
                after=str(joined[column][row]),
                n_cells=len(broken),
                cause=cause,
            )
            found.setdefault(column, []).append(finding)


def _swap_differs(
    before: pd.Series[float],
    after: pd.Series[float],
    times: pd.Series[pd.Timestamp],
    cut: np.datetime64,
    found: list[Finding],
) -> None:
    same = (before == after) | (before.isna() & after.isna())
    moved = before.index[~same.to_numpy()]
    if not len(moved) or any("later vintage" in finding.cause for finding in found):
        return
    row = int(moved[0])
    found.append(
        Finding(
            detector=Detector.JOIN,
            field=str(before.name),
            row=str(times[row]),
            asset="",
            cut=str(pd.Timestamp(cut)),
            before=before[row],
            after=after[row],
            n_cells=len(moved),
            cause="a fact or a later vintage is joined before it was known",
        )
    )
