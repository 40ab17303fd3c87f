"""Leak audit of panels: spoiled futures, rows that cannot be, folds that share, features that know.

Four halves of one question, because each sees what the others cannot:

* :func:`audit_panel` overwrites and removes everything that became known after a moment and demands
  the same rows up to it; with :func:`~quant_engine.kalshi.panel_store.panel_view` the audit of the
  store does the same one level deeper.
* :func:`panel_faults` looks at rows and labels: late inputs, decisions that do not count back from
  the schedule, labels that are no first prints or were known at a decision.
* :func:`fold_faults` looks at a split: clusters on both sides, labels that came after the test
  began.
* :func:`outcome_echoes` looks at values: a feature that orders surprises almost perfectly knows
  them, however its availability was stamped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from quant_engine.core.errors import ConfigError
from quant_engine.kalshi.audit import POISONS, AuditFinding
from quant_engine.kalshi.events import LadderLook
from quant_engine.kalshi.exchange.fixed import ONE_DOLLAR_E4
from quant_engine.kalshi.panel import EventPanel, PanelConfig, PanelInputs, event_panel
from quant_engine.kalshi.quotes import NO_QUOTE

__all__ = [
    "Echo",
    "audit_panel",
    "fold_faults",
    "outcome_echoes",
    "panel_faults",
    "spoil_inputs",
]

US_PER_S = 1_000_000
_TEXT = {"taker_outcome": "yes", "unit": "garbage"}


@dataclass(frozen=True)
class Echo:
    """A feature that orders surprises.

    Parameters
    ----------
    feature : str
        Column.
    horizon_s : int
        Seconds before the schedule.
    correlation : float
        Spearman's, with the surprise.
    n : int
        Events.
    """

    feature: str
    horizon_s: int
    correlation: float
    n: int


def spoil_inputs(inputs: PanelInputs, asof_us: int, *, poison: str) -> PanelInputs:
    """Overwrite or remove everything that became known after a moment.

    Parameters
    ----------
    inputs : PanelInputs
        Honest frames, which are not changed.
    asof_us : int
        Moment, microseconds UTC.
    poison : str
        One of `kalshi.audit.POISONS`: ``garbage`` leaves the rows with other numbers, and with
        event times just before the moment, the most tempting ones; ``removed`` drops them.

    Returns
    -------
    PanelInputs

    Raises
    ------
    ConfigError
        Another poison.
    """
    if poison not in POISONS:
        raise ConfigError("poison", wanted=f"one of {POISONS}", got=poison, hint="Use garbage.")
    frames = {
        name: _spoil_frame(getattr(inputs, name), asof_us, poison)
        for name in ("trades", "ticks", "outcomes", "series")
    }
    looks = [
        look if look.asof_us <= asof_us else _spoil_look(look)
        for look in inputs.looks
        if look.asof_us <= asof_us or poison == "garbage"
    ]
    return replace(inputs, looks=looks, **frames)


def _spoil_frame(frame: pd.DataFrame, asof_us: int, poison: str) -> pd.DataFrame:
    late = (frame["avail_us"] > asof_us).to_numpy(np.bool_)
    if poison == "removed":
        return frame[~late]
    spoilt = frame.copy()
    for name in frame.columns:
        if name in ("avail_us", "ticker", "event_id", "release_id"):
            continue
        if name.endswith("_us"):
            spoilt.loc[late, name] = asof_us - 1
        elif name in _TEXT:
            spoilt.loc[late, name] = _TEXT[name]
        elif name == "is_block":
            spoilt.loc[late, name] = True
        else:
            spoilt.loc[late, name] = 9_973
    return spoilt


def _spoil_look(look: LadderLook) -> LadderLook:
    turned = tuple(
        replace(quote, bid_e4=NO_QUOTE, ask_e4=ONE_DOLLAR_E4 - max(quote.bid_e4, 0))
        for quote in look.quotes
    )
    return replace(look, quotes=turned, last_e4=tuple(9_973 for _ in look.last_e4))


def audit_panel(
    inputs: PanelInputs, config: PanelConfig, asofs: Sequence[int]
) -> list[AuditFinding]:
    """Compare the rows up to each moment with those of spoiled inputs.

    Parameters
    ----------
    inputs : PanelInputs
        Frames.
    config : PanelConfig
        How the panel is made.
    asofs : sequence of int
        Moments, microseconds UTC.

    Returns
    -------
    list of AuditFinding
        Per moment and poison, of the view ``event panel``. A finding without rows proves nothing.
    """
    honest = event_panel(inputs, config)
    findings = []
    for asof_us in asofs:
        wanted = _rows_until(honest, asof_us)
        for poison in POISONS:
            again = event_panel(spoil_inputs(inputs, asof_us, poison=poison), config)
            same = all(
                left.equals(right)
                for left, right in zip(wanted, _rows_until(again, asof_us), strict=True)
            )
            findings.append(AuditFinding("event panel", asof_us, poison, len(wanted[0]), same))
    return findings


def _rows_until(panel: EventPanel, asof_us: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    looks = panel.looks[panel.looks["asof_us"] <= asof_us]
    return looks, panel.legs[panel.legs.index.droplevel("ticker").isin(looks.index)]


def panel_faults(panel: EventPanel, labels: pd.DataFrame | None = None) -> Counter[str]:
    """Count rows that could not have been decided on, and labels that are none.

    Parameters
    ----------
    panel : EventPanel
        Rows.
    labels : pandas.DataFrame, optional
        As `kalshi.panel_store.label_frame` gives them.

    Returns
    -------
    Counter
        Empty for a sound panel.
    """
    looks = panel.looks
    horizon_s = looks.index.get_level_values("horizon_s").to_numpy(np.int64)
    gap_us = (looks["scheduled_us"] - looks["asof_us"]).to_numpy(np.int64)
    faults = Counter[str]()
    faults["input after the decision"] = int((looks["max_input_avail_us"] > looks["asof_us"]).sum())
    faults["decision at or after the schedule"] = int((gap_us <= 0).sum())
    faults["decision that does not count back from the schedule"] = int(
        (gap_us // US_PER_S != horizon_s).sum()
    )
    schedules = looks.groupby(level="event_id")["scheduled_us"].nunique()
    faults["event with several schedules"] = int((schedules > 1).sum())
    if labels is not None:
        known = labels[labels["value"].notna()]
        faults["label that is no first print"] = int((known["print_kind"] != "first_print").sum())
        last_us = looks.groupby(level="event_id")["asof_us"].max()
        avail_us = known["label_avail_us"].astype("int64")
        decided = last_us.reindex(known.index)
        faults["label known at a decision"] = int((avail_us <= decided).sum())
        due_us = looks.groupby(level="event_id")["scheduled_us"].max().reindex(known.index)
        faults["label before its schedule"] = int((avail_us < due_us).sum())
    return +faults


def fold_faults(
    panel: EventPanel,
    labels: pd.DataFrame,
    folds: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    embargo_us: int = 0,
) -> Counter[str]:
    """Count what a split shares between training and test.

    Parameters
    ----------
    panel : EventPanel
        Rows.
    labels : pandas.DataFrame
        Labels by event.
    folds : sequence of (sequence of int, sequence of int)
        Events of training and of test.
    embargo_us : int
        A training label has to be available this long before the first test decision.

    Returns
    -------
    Counter
        Empty for a sound split; events of unknown cluster count as a fault of their own.
    """
    first_us = panel.looks.groupby(level="event_id")["asof_us"].min()
    faults = Counter[str]()
    for train, test in folds:
        sides = [labels.reindex(list(events)) for events in (train, test)]
        clusters = [set(side["cluster_id"].dropna().tolist()) for side in sides]
        faults["cluster on both sides"] += len(clusters[0] & clusters[1])
        faults["event on both sides"] += len(set(train) & set(test))
        faults["event without a cluster"] += sum(int(s["cluster_id"].isna().sum()) for s in sides)
        began = first_us.reindex(list(test)).min()
        late = sides[0]["label_avail_us"].astype("float64") + embargo_us > began
        faults["training label after the test began"] += int(late.sum())
    return +faults


def outcome_echoes(
    panel: EventPanel, labels: pd.DataFrame, *, limit: float = 0.8, least: int = 20
) -> list[Echo]:
    """Features that order the surprises of first prints too well to be honest.

    Parameters
    ----------
    panel : EventPanel
        Rows.
    labels : pandas.DataFrame
        Labels by event.
    limit : float
        Absolute rank correlation from which on a feature is named.
    least : int
        Events below which nothing is said.

    Returns
    -------
    list of Echo
        By horizon and column. The surprise is ``first print - mean`` of the event's distribution,
        so that a mean which is right is no echo.
    """
    found = []
    looks = panel.looks
    names = [*panel.features.names, "quality", "sum_of_lasts", "raw_favourite"]
    for horizon_s in sorted(set(looks.index.get_level_values("horizon_s"))):
        rows = looks.xs(horizon_s, level="horizon_s")
        surprise = labels["value"].reindex(rows.index) - rows["mean"]
        for name in names:
            both = pd.DataFrame({"x": rows[name], "y": surprise}).dropna()
            if len(both) < least or both["x"].nunique() < 2 or both["y"].nunique() < 2:
                continue
            correlation = float(spearmanr(both["x"], both["y"]).statistic)
            if abs(correlation) >= limit:
                found.append(Echo(name, int(horizon_s), correlation, len(both)))
    return found
