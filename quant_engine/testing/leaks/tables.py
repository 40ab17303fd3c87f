"""Planted leaks in joins: facts read before they were known, restated, or after they expired."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quant_engine.core.asof import asof_join
from quant_engine.testing.leaks.arenas import JoinArena
from quant_engine.testing.leaks.registry import PlantedLeak, add_leak
from quant_engine.testing.redraws import Facts

_Table = pd.DataFrame


def _filings() -> tuple[_Table, Facts]:
    # Quarterly reports of three firms, filed 30 to 60 days late, every other one restated later.
    rng = np.random.default_rng(2)
    rows = []
    for firm in ("A@US#1", "B@US#1", "C@US#1"):
        for quarter in pd.date_range("2019-03-31", periods=8, freq="QE"):
            filed = quarter + pd.Timedelta(days=int(rng.integers(30, 60)))
            rows.append((firm, quarter, filed, float(rng.normal(1, 0.3))))
            if rng.random() < 0.5:
                later = filed + pd.Timedelta(days=int(rng.integers(60, 200)))
                rows.append((firm, quarter, later, float(rng.normal(1, 0.3))))
    facts = pd.DataFrame(rows, columns=["asset_id", "period_end", "known_ts", "eps"])
    facts = facts.astype({"period_end": "datetime64[us]", "known_ts": "datetime64[us]"})
    days = pd.date_range("2019-06-03", "2021-03-31", freq="7D", unit="us")
    decisions = pd.DataFrame(
        [(firm, day) for day in days for firm in ("A@US#1", "B@US#1", "C@US#1")],
        columns=["asset_id", "decision_ts"],
    )
    return decisions, Facts(facts)


def _intervals() -> tuple[_Table, Facts]:
    # Five-minute figures: created at the start of their interval, complete at its end.
    rng = np.random.default_rng(3)
    created = pd.date_range("2021-01-01", periods=300, freq="5min", unit="us")
    known = created + pd.Timedelta(minutes=5)
    facts = pd.DataFrame(
        {"create_time": created, "known_ts": known, "open_interest": rng.normal(size=300).cumsum()}
    )
    decisions = pd.DataFrame({"decision_ts": created[10:-1] + pd.Timedelta(minutes=2)})
    return decisions, Facts(facts)


def _funding() -> tuple[_Table, Facts]:
    # Rates of eight-hour intervals, calculated and published at the end of each.
    rng = np.random.default_rng(4)
    begins = pd.date_range("2021-01-01", periods=120, freq="8h", unit="us")
    facts = pd.DataFrame(
        {
            "interval_start": begins,
            "known_ts": begins + pd.Timedelta(hours=8, milliseconds=5),
            "rate": rng.normal(0, 1e-4, 120),
        }
    )
    decisions = pd.DataFrame({"decision_ts": begins[5:-1] + pd.Timedelta(hours=3)})
    return decisions, Facts(facts)


def _quotes() -> tuple[_Table, Facts]:
    # Quotes that hold for ninety minutes, of a market that is silent now and then.
    rng = np.random.default_rng(5)
    quoted = pd.date_range("2021-01-01", periods=200, freq="h", unit="us")
    quoted = quoted[rng.random(200) < 0.6]
    facts = pd.DataFrame(
        {
            "known_ts": quoted,
            "valid_until": quoted + pd.Timedelta(minutes=90),
            "price": rng.uniform(0.1, 0.9, len(quoted)),
        }
    )
    decisions = pd.DataFrame(
        {"decision_ts": pd.date_range("2021-01-01 00:30", periods=199, freq="h", unit="us")}
    )
    return decisions, Facts(facts)


def _as_of(decisions: _Table, facts: _Table, *, column: str, by: list[str]) -> _Table:
    facts = facts.sort_values(column, kind="stable")
    left = decisions.assign(row=np.arange(len(decisions))).sort_values("decision_ts", kind="stable")
    joined = pd.merge_asof(
        left, facts, left_on="decision_ts", right_on=column, by=by or None, direction="backward"
    )
    joined = joined.sort_values("row").drop(columns="row")
    return joined.set_axis(decisions.index)


def _by_period(decisions: _Table, facts: _Table) -> _Table:
    first = facts.drop_duplicates(["asset_id", "period_end"])
    return _as_of(decisions, first, column="period_end", by=["asset_id"])


def _newest_vintage_by_first_filing(decisions: _Table, facts: _Table) -> _Table:
    groups = facts.sort_values("known_ts", kind="stable").groupby(["asset_id", "period_end"])
    newest = groups.agg(filed=("known_ts", "first"), eps=("eps", "last")).reset_index()
    return _as_of(decisions, newest, column="filed", by=["asset_id"])


def _as_known(decisions: _Table, facts: _Table) -> _Table:
    return asof_join(decisions, facts, by=["asset_id"], left_ts="decision_ts")


def _by_creation(decisions: _Table, facts: _Table) -> _Table:
    return _as_of(decisions, facts, column="create_time", by=[])


def _by_interval_start(decisions: _Table, facts: _Table) -> _Table:
    return _as_of(decisions, facts, column="interval_start", by=[])


def _as_published(decisions: _Table, facts: _Table) -> _Table:
    return asof_join(decisions, facts, by=[], left_ts="decision_ts")


def _held_while_valid(decisions: _Table, facts: _Table) -> _Table:
    joined = _as_published(decisions, facts)
    columns = ["known_ts", "valid_until", "price"]
    joined[columns] = joined[columns].where(joined["valid_until"] >= joined["decision_ts"])
    return joined


for _leak in (
    PlantedLeak(
        "fundamentals-at-period-end",
        "data",
        "reports joined at the end of their period instead of their filing",
        leak=_by_period,
        clean=_as_known,
        arena=JoinArena(_filings),
    ),
    PlantedLeak(
        "restated-values",
        "data",
        "the newest vintage joined at the first filing",
        leak=_newest_vintage_by_first_filing,
        clean=_as_known,
        arena=JoinArena(_filings),
    ),
    PlantedLeak(
        "metrics-at-create-time",
        "crypto",
        "figures of an interval joined at its beginning",
        leak=_by_creation,
        clean=_as_published,
        arena=JoinArena(_intervals),
    ),
    PlantedLeak(
        "funding-before-calculation",
        "crypto",
        "a rate joined before it was calculated",
        leak=_by_interval_start,
        clean=_as_published,
        arena=JoinArena(_funding),
    ),
    PlantedLeak(
        "stale-quote",
        "event market",
        "a quote carried on after it expired",
        leak=_as_published,
        clean=_held_while_valid,
        arena=JoinArena(_quotes),
    ),
):
    add_leak(_leak)
