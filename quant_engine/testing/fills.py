"""D6, fills: a decision trades after it was made, at a price that nobody knew when it was made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.causality import Causality
from quant_engine.core.errors import SchemaMismatchError
from quant_engine.core.panel import Panel
from quant_engine.testing.audit import late_cut
from quant_engine.testing.findings import Detector, Finding, iso
from quant_engine.testing.poison import poison_future
from quant_engine.testing.results import AuditRow

__all__ = ["audit_fill_prices", "audit_fill_times"]


def audit_fill_times(
    decided: npt.NDArray[Any], filled: npt.NDArray[Any], *, name: str = "fills"
) -> AuditRow:
    """Prove that every fill is later than its decision.

    Parameters
    ----------
    decided, filled : ndarray of datetime64, shape (F,)
        Time of each decision and of its fill; NaT in `filled` = not filled.
    name : str
        For reports.

    Returns
    -------
    AuditRow
        Its findings name the first fill that is not later.

    Raises
    ------
    SchemaMismatchError
        When the lengths differ.

    Examples
    --------
    >>> days = np.array(["2020-01-02", "2020-01-03"], dtype="datetime64[D]")
    >>> str(audit_fill_times(days, days + 1).verdict), str(audit_fill_times(days, days).verdict)
    ('clean', 'leaks')
    """
    decided, filled = np.asarray(decided), np.asarray(filled)
    if decided.shape != filled.shape:
        raise SchemaMismatchError(
            "filled",
            wanted=f"one time per decision, shape {decided.shape}",
            got=filled.shape,
            hint="Write NaT for a decision that did not fill.",
        )
    is_filled = ~np.isnat(filled)
    early = np.flatnonzero(is_filled & (filled <= decided))
    findings: tuple[Finding, ...] = ()
    if len(early):
        row = early[0]
        findings = (
            Finding(
                detector=Detector.FILL,
                field=name,
                row=iso(decided[row]),
                asset="",
                cut=iso(decided[row]),
                before="a fill after the decision",
                after=iso(filled[row]),
                n_cells=len(early),
                cause="same-bar fill",
            ),
        )
    return AuditRow(name, Causality.CAUSAL, int(is_filled.sum()), findings)


def audit_fill_prices(
    prices: Callable[[Panel], FloatMatrix], panel: Panel, *, seed: int, name: str = "fill prices"
) -> AuditRow:
    """Prove that fill prices come from later rows than their decisions.

    The future after a cut is poisoned. The fill price of a decision made at the cut row must move:
    one that keeps its bits was known when the decision was made.

    Parameters
    ----------
    prices : callable
        Panel (T, N) to ndarray, shape (T, N): the price at which a decision of row t fills, NaN =
        no fill.
    panel : Panel
        Example data, shape (T, N).
    seed : int
        Seed of the cut and the poisoned future.
    name : str
        For reports.

    Returns
    -------
    AuditRow
        Its findings name the first price that did not move.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> days = np.datetime64("2020-01-01") + np.arange(40)
    >>> close = np.exp(np.random.default_rng(0).normal(0, 0.1, (40, 3)).cumsum(axis=0))
    >>> panel = Panel(TimeAxis.sessions(days), ("A@US#1", "B@US#1", "C@US#1"), {"close": close})
    >>> str(audit_fill_prices(lambda p: p.field("close"), panel, seed=1).verdict)
    'leaks'
    """
    cut = late_cut(panel, warmup=1, seed=seed)
    true = np.asarray(prices(panel))[cut]
    moved = np.asarray(prices(poison_future(panel, cut=cut, seed=seed)))[cut]
    kept = np.flatnonzero(np.isfinite(true) & (true == moved))
    findings: tuple[Finding, ...] = ()
    if len(kept):
        time, column = iso(panel.time.values[cut]), int(kept[0])
        findings = (
            Finding(
                detector=Detector.FILL,
                field=name,
                row=time,
                asset=panel.asset_ids[column],
                cut=time,
                before=true[column],
                after=moved[column],
                n_cells=len(kept),
                cause="same-bar fill: the price was known when the decision was made",
            ),
        )
    return AuditRow(name, Causality.CAUSAL, int(np.isfinite(true).sum()), findings)
