"""Conformance suite of factors: scores from prices and published reports, checked from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, TimeVector
from quant_engine.core.panel import Panel
from quant_engine.core.published import Published
from quant_engine.testing.errors import ConformanceError, LeakFoundError, refuse
from quant_engine.testing.poison import poison_future

__all__ = ["FactorLike", "check_factor"]

FactorLike: TypeAlias = Callable[[Panel, Mapping[str, Published]], FloatMatrix]
"""Panel (T, N) and views of reports (T, N) in, scores (T, N) out."""


def check_factor(
    compute: FactorLike,
    panel: Panel,
    published: Mapping[str, Published],
    *,
    cuts: Sequence[int],
    seed: int = 0,
) -> int:
    """Check a function that scores assets from prices and reports.

    Rules: ``shape`` (float64, the panel's), ``no infinity``, ``repeatable``, ``asset order``
    (permuting assets permutes the scores, bit for bit), ``no look-ahead`` (cutting off or redrawing
    prices and reports after a cut changes nothing up to it, bit for bit), ``something to compare``
    (scores before at least one cut), ``unknown is not zero`` (an asset of which no report is known
    gets no score, where reports are read).

    Parameters
    ----------
    compute : callable
        The factor.
    panel : Panel
        Example market data, shape (T, N).
    published : mapping of str to Published
        Exactly the views that the factor reads, each (T, N); empty for a price factor.
    cuts : sequence of int
        Row positions; rows up to and including a cut are the past.
    seed : int
        Seed of permutation and redrawn futures.

    Returns
    -------
    int
        Scores compared in the look-ahead audit.

    Raises
    ------
    ConformanceError
        Naming the rule; LeakFoundError for a leak.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> days = np.datetime64("2020-01-01") + np.arange(40)
    >>> panel = Panel(TimeAxis.sessions(days), ("A@US#1",), {"close": np.ones((40, 1))})
    >>> check_factor(lambda market, reports: market.field("close") * 2, panel, {}, cuts=[20])
    21
    """
    subject = f"factor {getattr(compute, '__qualname__', type(compute).__name__)}"
    scores = compute(panel, published)
    if scores.dtype != np.float64 or scores.shape != panel.shape:
        refuse(subject, "shape", f"float64 of {panel.shape}", f"{scores.dtype} of {scores.shape}")
    if np.isinf(scores).any():
        refuse(subject, "no infinity", "NaN where there is no score", "infinite scores")
    if not _same(scores, compute(panel, published)):
        refuse(subject, "repeatable", "equal bits from two runs", "other scores")
    order = np.random.default_rng(seed).permutation(panel.shape[1])
    shuffled = {name: view.columns(order) for name, view in published.items()}
    if not _same(scores[:, order], compute(panel.columns(order), shuffled)):
        refuse(subject, "asset order", "the same bits for assets in another order", "other scores")
    compared = sum(
        _check_cut(subject, compute, (panel, published, scores), cut, seed) for cut in cuts
    )
    if compared == 0:
        raise ConformanceError.broken(
            subject,
            "something to compare",
            wanted="a score before at least one cut",
            got="missing scores alone",
            hint="Use later cuts or more data: the warm-up is longer than the past.",
        )
    if published:
        unknown = {name: _without_first(view) for name, view in published.items()}
        if np.isfinite(compute(panel, unknown)[:, 0]).any():
            refuse(subject, "unknown is not zero", "no score without any report", "a score")
    return compared


def _check_cut(
    subject: str,
    compute: FactorLike,
    given: tuple[Panel, Mapping[str, Published], FloatMatrix],
    cut: int,
    seed: int,
) -> int:
    panel, published, scores = given
    sessions = panel.time.values
    rng = np.random.default_rng(seed + cut)
    cut_off = {name: view.rows(0, cut + 1) for name, view in published.items()}
    redrawn = {name: _redrawn(view, sessions, cut, rng) for name, view in published.items()}
    futures = {
        "prefix": compute(panel.rows(0, cut + 1), cut_off),
        "poison": compute(poison_future(panel, cut=cut, seed=seed + cut), redrawn),
        "reports redrawn": compute(panel, redrawn),
    }
    past = scores[: cut + 1]
    for detector, changed in futures.items():
        differing = _unequal(past, changed[: cut + 1])
        if differing.any():
            row, column = np.argwhere(differing)[0]
            raise LeakFoundError.broken(
                subject,
                "no look-ahead",
                wanted="a past that does not depend on the future",
                got=f"{past[row, column]} at {sessions[row]} of {panel.asset_ids[column]} became "
                f"{changed[row, column]} ({detector} at cut {sessions[cut]})",
                hint="Row t may read rows up to t alone.",
            )
    return int(np.isfinite(past).sum())


def _redrawn(
    view: Published, sessions: TimeVector, cut: int, rng: np.random.Generator
) -> Published:
    """Reports after the cut that never were: other values, some published anew, some absent."""
    values, known, period = view.values.copy(), view.known.copy(), view.period_end.copy()
    later = values[cut + 1 :]
    finite = values[np.isfinite(values)]
    scale = float(finite.std()) if finite.size else 1.0
    later[:] = np.where(
        rng.random(later.shape) < 0.2, np.nan, rng.normal(0, 1 + scale, later.shape)
    )
    days = sessions.astype("datetime64[D]")[cut + 1 :, None]
    fresh = rng.random(later.shape) < 0.1
    unset = np.isnat(known[cut + 1 :])
    known[cut + 1 :] = np.where(fresh | unset, days, known[cut + 1 :])
    period[cut + 1 :] = np.where(fresh | unset, days - 30, period[cut + 1 :])
    return Published(values, known, period)


def _without_first(view: Published) -> Published:
    values, known, period = view.values.copy(), view.known.copy(), view.period_end.copy()
    values[:, 0], known[:, 0], period[:, 0] = np.nan, np.datetime64("NaT"), np.datetime64("NaT")
    return Published(values, known, period)


def _unequal(before: FloatMatrix, after: FloatMatrix) -> BoolMatrix:
    unequal: BoolMatrix = (before != after) & ~(np.isnan(before) & np.isnan(after))
    return unequal


def _same(before: FloatMatrix, after: FloatMatrix) -> bool:
    return before.shape == after.shape and not _unequal(before, after).any()
